"""The exercises are fair: open as they stand, solved, and not fooled."""

import ast
import inspect
import re
import runpy
import shutil
import subprocess
import sys

import exercises
import pytest
import solutions
from conftest import ROOT, cells
from exercise_checks import ALL, EXERCISES, check, main, script_of

FILES = ("exercises.py", "exercise_checks.py", "solutions.py")

# Exercise, a typical mistake, a piece of the solution, what replaces it.
WRONG = [
    ("outer", "entry by entry", "a[:, None]", "a"),
    ("outer", "turned", "a[:, None] * b", "a * b[:, None]"),
    ("negatives_to_zero", "x changes", "x.clone()", "x"),
    ("negatives_to_zero", "the sign is lost", "y[x < 0] = 0", "y = y.abs()"),
    (
        "channels_last",
        "cut anew, not turned",
        "permute(1, 2, 0)",
        "reshape(*image.shape[1:], -1)",
    ),
    ("channels_last", "height last", "permute(1, 2, 0)", "transpose(0, 2)"),
    (
        "pick_labels",
        "all labels of all samples",
        "gather(1, labels[:, None])[:, 0]",
        "T[labels]",
    ),
    ("pick_labels", "along the batch", "gather(1,", "gather(0,"),
    ("softmax", "overflow", " - logits.amax(dim=1, keepdim=True)", ""),
    ("softmax", "over the batch", "powers.sum(dim=1", "powers.sum(dim=0"),
    (
        "softmax",
        "the largest of all",
        "logits.amax(dim=1, keep",
        "logits.amax(keep",
    ),
    ("pairwise_distances", "no root", ".sqrt()", ""),
    (
        "pairwise_distances",
        "absolute differences",
        "square().sum(dim=2).sqrt()",
        "abs().sum(dim=2)",
    ),
    ("convolve", "no zeros around", ", padding=padding", ""),
    (
        "convolve",
        "rows for columns",
        "(rows // 2, columns // 2)",
        "(columns // 2, rows // 2)",
    ),
    ("fit", "a sum, not a mean", " / len(x)", ""),
    ("fit", "up, not down", "w = w - rate", "w = w + rate"),
    ("whole_batches", "the smaller one", ", drop_last=True", ""),
    ("whole_batches", "shuffled", "drop_last", "shuffle=True, drop_last"),
    (
        "whole_batches",
        "a list",
        "DataLoader(numbers, batch_size=size, drop_last=True)",
        "[*DataLoader(numbers, batch_size=size, drop_last=True)]",
    ),
    ("held_out", "the wrong way round", "person, people", "people, person"),
    ("held_out", "the others", "torch.isin", "~torch.isin"),
    ("sampler_weights", "one for each class", ")[labels]", ")"),
    ("sampler_weights", "counts", "1 / labels", "labels"),
    (
        "stereo_to_mono",
        "halves, not pairs",
        "view(-1, 2).mean(dim=1)",
        "view(2, -1).mean(dim=0)",
    ),
    ("stereo_to_mono", "the sum", "mean(dim=1)", "sum(dim=1)"),
    (
        "normalize",
        "test by its own mean",
        "(test - mean)",
        "(test - test.mean(0))",
    ),
    (
        "normalize",
        "divided by a tiny number",
        "torch.where(std < 1e-6, 1.0, std)",
        "std.clamp(min=1e-6)",
    ),
    ("pad", "time first", "batch_first=True", "batch_first=False"),
    (
        "pad",
        "a 0 in a text",
        "torch.arange(padded.shape[1]) < lengths[:, None]",
        "padded != 0",
    ),
    ("windows", "y is x", "[1 : count * length + 1]", "[: count * length]"),
    ("windows", "no token for the last y", "(len(tokens) - 1)", "len(tokens)"),
    (
        "channel_statistics",
        "the mean of means",
        "sum(batch.sum(dim=(0, 2, 3)) for batch in batches) / count",
        "sum(batch.mean(dim=(0, 2, 3)) for batch in batches) / len(batches)",
    ),
    (
        "channel_statistics",
        "the mean of stds",
        "(squares / count - mean**2).sqrt()",
        "sum(batch.std(dim=(0, 2, 3)) for batch in batches) / len(batches)",
    ),
    ("linear", "weight not turned", "weight.T", "weight"),
    ("linear", "no bias", " + bias", ""),
    ("count_mlp", "no biases", " + sizes[i + 1]\n", "\n"),
    ("count_mlp", "biases of inputs", "+ sizes[i + 1]\n", "+ sizes[i]\n"),
    ("dropout", "not scaled", " / (1 - p)", ""),
    ("dropout", "scaled by p", " / (1 - p)", " / p"),
    ("build_mlp", "a ReLU at the end", "layers[:-1]", "layers"),
    ("build_mlp", "a list", "nn.Sequential(*layers[:-1])", "layers[:-1]"),
    (
        "normalize_images",
        "each channel by itself",
        "x.mean(dim=(1, 2, 3)",
        "x.mean(dim=(2, 3)",
    ),
    (
        "normalize_images",
        "the whole batch",
        "x.mean(dim=(1, 2, 3)",
        "x.mean(dim=(0, 1, 2, 3)",
    ),
    ("attention", "not scaled", " / q.shape[-1] ** 0.5", ""),
    ("attention", "softmax over queries", "dim=-1", "dim=-2"),
    ("window_mask", "one key too many", "1 - width", "-width"),
    ("window_mask", "no window", ".triu(1 - width)", ""),
    (
        "split_heads",
        "cut across time",
        "x.unflatten(2, (heads, -1)).transpose(1, 2)",
        "x.reshape(len(x), heads, x.shape[1], -1)",
    ),
    ("split_heads", "every second number", "(heads, -1)", "(-1, heads)"),
    ("cube_gradient", "backward of many", ".sum()", ""),
    ("cube_gradient", "the value", "x.grad", "x**3"),
    ("two_gradients", "added up", "    x.grad = None\n", ""),
    ("two_gradients", "both are one tensor", "x.grad = None", "x.grad.zero_()"),
    ("descend", "gradients add up", "        w.grad = None\n", ""),
    ("descend", "a new tensor", "w -= rate * w.grad", "w = w - rate * w.grad"),
    ("descend", "without grad", "return w", "return w.detach()"),
    (
        "round_straight_through",
        "slope 0",
        "x + (x.round() - x).detach()",
        "x.round()",
    ),
    ("round_straight_through", "nothing is detached", ".detach()", ""),
    ("numerical_gradient", "forward", "f(x - step)) / (2 * h)", "f(x)) / h"),
    ("numerical_gradient", "h, not 2 h", "(2 * h)", "h"),
    ("silu_backward", "no chain rule", "gradient * (", "("),
    ("silu_backward", "that of sigmoid", "s + x * s * (1 - s)", "s * (1 - s)"),
    ("hessian_times", "no graph", ", create_graph=True", ""),
    ("hessian_times", "without u", "gradient @ u", "gradient.sum()"),
    (
        "gradient_of_each_sample",
        "the gradient of the mean",
        "derive(w, x, y)",
        "torch.func.grad(lambda w: loss(w, x, y).mean())(w)",
    ),
    (
        "gradient_of_each_sample",
        "by x",
        "torch.func.grad(loss)",
        "torch.func.grad(loss, argnums=1)",
    ),
    ("accuracy", "over the batch", "dim=1", "dim=0"),
    ("accuracy", "a count", "mean()", "sum()"),
    ("mean_of_epoch", "not weighted", "losses[i] * sizes[i]", "losses[i]"),
    ("mean_of_epoch", "divided by batches", "sum(sizes)", "len(sizes)"),
    ("training_step", "no zero_grad", "    optimizer.zero_grad()\n", ""),
    ("training_step", "a tensor with its graph", "loss.item()", "loss"),
    ("warmup_hold_fall", "0 at step 0", "(step + 1)", "step"),
    ("warmup_hold_fall", "1 / total a step", "(total - hold)", "total"),
    ("warmup_hold_fall", "a step of more than 1", "< warmup", "<= warmup"),
    (
        "clip",
        "each by itself",
        "gradient * factor",
        "gradient * (max_norm / gradient.norm()).clamp(max=1)",
    ),
    ("clip", "short ones grow", ".clamp(max=1)", ""),
    ("clip", "to a norm of 1", "max_norm / norm", "1 / norm"),
    ("predict", "with dropout", "    model.eval()\n", ""),
    ("predict", "left in eval mode", "    model.train()\n", ""),
    (
        "predict",
        "nothing recorded from now on",
        "with torch.no_grad():",
        "if torch.set_grad_enabled(False):",
    ),
    ("adam", "means not divided", " / (1 - 0.9**n)", ""),
    ("adam", "no root", ".sqrt()", ""),
    ("adam", "eps in the root", ").sqrt() + 1e-8", " + 1e-8).sqrt()"),
    ("accumulate", "equal shares", "len(x) / count", "1 / len(parts)"),
    (
        "accumulate",
        "a step for each part",
        "    optimizer.step",
        "        optimizer.step",
    ),
    ("accumulate", "no zero_grad", "    optimizer.zero_grad()\n", ""),
    (
        "accumulate",
        "one backward",
        "for x, y in parts:",
        "for x, y in [[torch.cat(tensors) for tensors in zip(*parts)]]:",
    ),
]


def source_of(name: str) -> str:
    """Return the text of a solution."""
    return inspect.getsource(getattr(solutions, name))


def code_lines(name: str) -> int:
    """Count the lines of a solution, without its head and docstring."""
    (function,) = ast.parse(source_of(name)).body
    lines = source_of(name).splitlines()[function.body[1].lineno - 1 :]
    return sum(bool(line.strip()) for line in lines)


# Each exercise.


@pytest.mark.parametrize("name", ALL)
def test_it_is_open_as_it_stands_and_holds_with_its_solution(name):
    assert check(name, getattr(exercises, name)) == ("open", [])
    assert check(name, getattr(solutions, name)) == ("holds", [])


@pytest.mark.parametrize(
    ("name", "piece", "replaced"),
    [
        pytest.param(name, piece, replaced, id=f"{name}-{mistake}")
        for name, mistake, piece, replaced in WRONG
    ],
)
def test_a_typical_mistake_is_found(name, piece, replaced):
    head, body = source_of(name).rsplit('"""', 1)
    assert body.count(piece) == 1
    namespace = dict(vars(solutions))
    exec(head + '"""' + body.replace(piece, replaced), namespace)
    status, why = check(name, namespace[name])
    assert status == "wrong"
    assert why and all(len(line) <= 73 for line in why[1:]), why


def test_each_has_two_typical_mistakes():
    named = [row[0] for row in WRONG]
    assert all(named.count(name) >= 2 for name in ALL)
    assert len({row[:2] for row in WRONG}) == len(WRONG)


def test_forty_eight_for_each_script_in_the_order_of_the_file():
    assert {len(table) for table in EXERCISES.values()} == {8}
    for module in (exercises, solutions):
        tree = ast.parse(inspect.getsource(module))
        names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        assert names == list(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_task_has_shapes_minutes_and_a_section(name):
    exercise, solution = getattr(exercises, name), getattr(solutions, name)
    task = inspect.getdoc(exercise)
    assert len(task.splitlines()[0]) <= 72 and "->" in task
    last = r"(\d+) minutes, (easy|medium|hard): (\w+)"
    minutes, difficulty, section = re.fullmatch(
        last, task.splitlines()[-1]
    ).groups()
    assert 2 <= int(minutes) <= 20
    sections = [cell.name for cell in cells(ROOT / script_of(name))]
    assert section in sections

    parameters = list(inspect.signature(exercise).parameters)
    assert parameters == list(inspect.signature(solution).parameters)
    assert set(exercise.__annotations__) == {*parameters, "return"}
    assert code_lines(name) < 8
    why = inspect.getdoc(solution)
    assert re.fullmatch(r"[^\n]+[^.]\.", why)  # one sentence
    assert ALL[name].hint.endswith((".", "?"))


def test_the_first_takes_two_minutes_and_the_last_is_hard():
    for table in EXERCISES.values():
        tasks = [inspect.getdoc(getattr(exercises, name)) for name in table]
        assert "\n2 minutes, easy: " in tasks[0]
        assert " minutes, hard: " in tasks[-1]


@pytest.mark.parametrize("file", FILES)
def test_ascii_and_80_columns(file):
    for line in (ROOT / "tests" / file).read_bytes().splitlines():
        assert line.isascii() and len(line) <= 80, line


# As a reader runs it.

BAD_EDITS = {
    "outer": "return a * b",
    "negatives_to_zero": "x[x < 0] = 0; return x",
    "channels_last": "while True: pass",
    "pick_labels": "return logits[labels].tolist()",
    "softmax": "import numpi",
    "pairwise_distances": "return (a[:, None] - b).norm(dim=3)",
    "convolve": "exit()",
    "fit": "x.T @ y",
}
# The report on them, but for the random numbers in it.
REPORT = """\
wrong  outer: the shape is (2,), not (1, 2)
       a = tensor([#])
       b = tensor([#,#])
       came = tensor([#,#])
       expected = tensor([[#,#]])
wrong  negatives_to_zero: the answer is right, but it changes its input x
       x = tensor([[#,#]])
       came = tensor([[#,#]])
       expected = tensor([[#,#]])
wrong  channels_last: no answer in 1 seconds: an endless loop?
       line #: while True: pass
wrong  pick_labels: the type is list, not Tensor
       logits = tensor([[#,#]])
       labels = tensor([0])
       came = [[#,#]]
       expected = tensor([#])
wrong  softmax: ModuleNotFoundError: No module named 'numpi'
       line #: import numpi
       logits = tensor([[#,#]])
wrong  pairwise_distances: IndexError: Dimension out of range (expected to be in
       range of [-3, 2], but got 3)
       line #: return (a[:, None] - b).norm(dim=3)
       a = tensor([[#,#]])
       b = tensor([[#,#],
                   [#,#]])
wrong  convolve: SystemExit: None
       line #: exit()
       image = tensor([[#,#]])
       kernel = tensor([[#],
                        [#],
                        [#]])
wrong  fit: it returns None: is there a `return`?
open   linear (2 minutes, easy)
       start_buildnn.py: linear_is_a_weighted_sum
0 of 9 hold.
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a folder with copies of the three files, and import those."""
    for file in FILES:
        shutil.copy(ROOT / "tests" / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "exercises")
    return tmp_path


def fill_in(folder, answers):
    """Put answers into the `...` of a copy."""
    path = folder / "exercises.py"
    text = path.read_text()
    for name, answer in answers.items():
        head, tail = text.split(f"\ndef {name}(")
        tail = tail.replace("    ...\n", f"    {answer}\n", 1)
        text = f"{head}\ndef {name}({tail}"
    path.write_text(text)


def test_bad_edits_get_a_clear_answer(folder, capsys):
    fill_in(folder, BAD_EDITS)
    with pytest.raises(SystemExit, match="1"):
        main(["pytorch", "linear"], seconds=1)
    output = re.sub(r" *-?\d+\.\d*", "#", capsys.readouterr().out)
    assert re.sub(r"line \d+", "line #", output) == REPORT


# In the README, below the command, where this answer is given.
EXAMPLE = """\
wrong  outer: the shape is (2,), not (1, 2)
       a = tensor([-0.8000])
       b = tensor([ 1.1000, -0.4000])
       came = tensor([-0.8800,  0.3200])
       expected = tensor([[-0.8800,  0.3200]])
0 of 1 hold.
"""


def test_the_readme_shows_what_comes_of_a_wrong_answer(folder, capsys):
    fill_in(folder, {"outer": "return a * b"})
    with pytest.raises(SystemExit, match="1"):
        main(["outer"])
    assert capsys.readouterr().out == EXAMPLE
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert EXAMPLE in readme


def test_all_that_holds_ends_with_status_0(folder, capsys):
    text = (folder / "solutions.py").read_text()
    (folder / "exercises.py").write_text(text)
    with pytest.raises(SystemExit, match="0"):
        main(["dataloader"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == [f"holds  {name}" for name in EXERCISES["dataloader"]]
    assert last == "8 of 8 hold."


def test_a_syntax_error_is_named_with_its_line(folder):
    fill_in(folder, {"outer": "return (a[:, None] * b"})
    command = [sys.executable, "exercises.py", "pytorch"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(r'  File ".*exercises\.py", line \d+\n', done.stderr)
    assert "return (a[:, None] * b" in done.stderr
    assert "SyntaxError" in done.stderr and "Traceback" not in done.stderr


def test_what_is_deleted_or_excluded_is_named():
    missing = "there is no function outer in exercises.py"
    assert check("outer", None) == ("wrong", [missing])
    refused = "the task wants it without `outer`"
    assert check("outer", lambda a, b: a.outer(b)) == ("wrong", [refused])


def test_ctrl_c_is_no_endless_loop(folder, capsys):
    fill_in(folder, {"outer": "raise KeyboardInterrupt"})
    with pytest.raises(SystemExit, match="130"):
        main(["outer"])
    assert capsys.readouterr().out == "stopped\n"


def test_the_file_itself_takes_the_command_line(monkeypatch, capsys):
    path = str(ROOT / "tests" / "exercises.py")
    monkeypatch.setattr(sys, "argv", [path, "--hint", "outer"])
    runpy.run_path(path, run_name="__main__")
    assert capsys.readouterr().out == f"outer: {ALL['outer'].hint}\n"


def test_a_hint_and_a_solution_are_printed(capsys):
    main(["--solution", "linear"])
    assert capsys.readouterr().out == source_of("linear")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["atograd"], "neither a script nor an exercise: 'atograd' (did you"),
        (["x"], "'x' (pytorch, dataloader, buildnn, autograd, optimizer)"),
        (["--hint", "otter"], "--hint: neither a script nor an exercise"),
        (["--solution"], "--solution: expected one argument"),
    ],
)
def test_a_wrong_name_is_refused(arguments, answer, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert answer in capsys.readouterr().err
