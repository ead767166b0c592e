"""Whatever is wrong, the answer is one clear line, and nothing is lost."""

import errno
import gzip
import importlib
import math
import os
import pickle
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SCRIPTS, cells, refused, survived
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import start_optimizer as script

NAMES = [path.stem for path in SCRIPTS]
TRAIN = ("--tiny", "--device", "cpu", "--only", "train_validate_test")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "gpu"], ["--device", "'gpu'", "cuda:1"]),
        (["--device", "meta"], ["--device", "'meta'", "cpu"]),
        (["--device", ""], ["--device", "''"]),
        (["--device", "cuda:x"], ["--device", "'cuda:x'", "auto"]),
        (["--device", "cuda:-1"], ["--device", "'cuda:-1'", "auto"]),
        (["--device", "cuda:"], ["--device", "'cuda:'", "auto"]),
        (["--device", "CPU"], ["--device", "'CPU'", "cpu"]),
        (["--device", "cuda:999"], ["--device", "'cuda:999'", "auto"]),
        (["--device"], ["--device"]),
        (["--only"], ["--only"]),
        (["--only", "train me"], ["--only", "'train me'", "--list"]),
        (["--only", "mistakes", "quantum"], ["--only", "'quantum'"]),
        (["--figures"], ["--figures"]),
        (["--show"], ["--show", "no display", "figures"]),
        (["--amps"], ["--amps"]),
        (["--tin"], ["--tin"]),
        (["cpu"], ["cpu"]),
    ],
    ids=" ".join,
)
def test_flags_of_every_script(name, flags, words, command_line):
    refused(command_line(name, *flags), 2, *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_where_there_is_none(name, command_line):
    refused(command_line(name, "--device", "cuda"), 2, "'cuda'", "auto can")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is mps")
def test_a_device_is_refused_in_one_sentence(command_line):
    outcome = command_line("start_autograd", "--device", "mps")
    refused(outcome, 2, "--device", "'mps'", "auto can")
    assert len(outcome[2].splitlines()[-1]) < 200  # torch says 2,000


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "0"], ["--epochs", "'0'", "from 1"]),
        (["--epochs", "-3"], ["--epochs", "'-3'"]),
        (["--epochs", "2.5"], ["--epochs", "whole number"]),
        (["--epochs", "many"], ["--epochs", "'many'"]),
        (["--epochs", "nan"], ["--epochs", "'nan'"]),
        (["--epochs", ""], ["--epochs", "''"]),
        (["--epochs", "9" * 5000], ["--epochs", "to 1e+06"]),
        (["--epochs", "9" * 30], ["--epochs", "to 1e+06"]),
        (["--batch-size", "0"], ["--batch-size", "'0'"]),
        (["--batch-size", "1e3"], ["--batch-size", "whole number"]),
        (["--lr", "0"], ["--lr", "'0'"]),
        (["--lr", "-0.1"], ["--lr", "'-0.1'"]),
        (["--lr", "nan"], ["--lr", "'nan'"]),
        (["--lr", "inf"], ["--lr", "'inf'"]),
        (["--lr", "1e-400"], ["--lr", "'1e-400'"]),
        (["--lr", "1e9"], ["--lr", "to 1000"]),
        (["--lr", "fast"], ["--lr", "a number"]),
        (["--seed", "-1"], ["--seed", "'-1'"]),
        (["--seed", "1.5"], ["--seed", "whole number"]),
        (["--seed", "9" * 30], ["--seed"]),
        (["--model", "rnn"], ["--model", "'rnn'", "mlp", "cnn"]),
        (["--optimizer", "lion"], ["--optimizer", "'lion'", "adamw"]),
        (["--data", "cifar"], ["--data", "'cifar'", "mnist"]),
        (["--resume"], ["--resume", "--checkpoint FILE"]),
        (
            ["--checkpoint", "run.pt", "--only", "zero_grad_clears"],
            ["--checkpoint", "train_validate_test"],
        ),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_flags_of_the_optimizer_script(flags, words, command_line):
    refused(command_line("start_optimizer", *flags), 2, *words)


DRAW = ("--tiny", "--only", "adam_steps_ignore_the_size_of_gradients")


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_figure_that_cannot_be_written(trouble, command_line, monkeypatch):
    survived(command_line("start_optimizer", *DRAW), "figure:   figures")
    (figure,) = Path("figures").iterdir()
    before = figure.read_bytes()

    def half(self, path, **options):
        Path(path).write_bytes(before[: len(before) // 2])
        raise OSError(trouble, os.strerror(trouble))

    # The figure of the last run stays, and no half of the new one.
    monkeypatch.setattr(Figure, "savefig", half)
    outcome = command_line("start_optimizer", *DRAW)
    refused(outcome, 1, "--figures figures", os.strerror(trouble))
    assert os.listdir("figures") == [figure.name]
    assert figure.read_bytes() == before


def test_figures_folder_with_too_long_a_name(command_line):
    outcome = command_line("start_optimizer", *DRAW, "--figures", "x" * 300)
    refused(outcome, 1, "--figures", "too long")


def test_figures_folder_that_is_a_file(command_line):
    Path("plain").write_text("mine")
    outcome = command_line("start_optimizer", *DRAW, "--figures", "plain")
    refused(outcome, 2, "--figures", "plain is no folder")
    assert Path("plain").read_text() == "mine"


class Bomb:
    """A pickle that would make a file if somebody ran its code."""

    def __reduce__(self):
        return (Path("exploded").write_text, ("boom",))


CHECKPOINT = []  # the bytes of one, once it has been made


@pytest.fixture
def trained(command_line):
    """Return the path of a checkpoint after one tiny run."""
    path = Path("run.pt")
    if not CHECKPOINT:
        flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt")
        assert command_line("start_optimizer", *flags)[0] == 0
        CHECKPOINT.append(path.read_bytes())
    path.write_bytes(CHECKPOINT[0])
    return path


def test_checkpoint_is_not_overwritten(trained, command_line):
    before = trained.read_bytes()
    flags = (*TRAIN, "--checkpoint", "run.pt")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 2, "--checkpoint", "run.pt", "--resume")
    assert trained.read_bytes() == before


def test_checkpoint_of_another_run(trained, command_line):
    before = trained.read_bytes()
    flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt", "--resume")
    for other in (("--model", "mlp"), ("--lr", "0.1"), ("--amp",)):
        outcome = command_line("start_optimizer", *flags, *other)
        refused(outcome, 1, "run.pt", other[0])
        assert trained.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: b"not a checkpoint at all\n" * 99,
        lambda whole: whole[:1000] + bytes(1000) + whole[2000:],
    ],
    ids=["empty", "half", "one byte short", "text", "zeros inside"],
)
def test_damaged_checkpoint(damage, trained, command_line):
    trained.write_bytes(damage(trained.read_bytes()))
    before = trained.read_bytes()
    flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint run.pt", "damaged")
    assert trained.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: Bomb(), id="code"),
        pytest.param(lambda: torch.ones(3), id="a tensor"),
        pytest.param(lambda: {"weight": torch.ones(3)}, id="a state_dict"),
        pytest.param(
            lambda: {"model": 1, "last": 2, "history": 3, "best": 4},
            id="wrong types",
        ),
    ],
)
def test_file_that_is_no_checkpoint(content, command_line):
    torch.save(content(), "other.pt")
    flags = (*TRAIN, "--checkpoint", "other.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint other.pt", "not a checkpoint")
    assert not Path("exploded").exists()


@pytest.mark.filterwarnings("error")
def test_plain_pickle_is_not_run(command_line):
    Path("other.pt").write_bytes(pickle.dumps(Bomb()))
    flags = (*TRAIN, "--checkpoint", "other.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint other.pt", "not a checkpoint")
    assert not Path("exploded").exists()


RESUME = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt", "--resume")


def test_checkpoint_of_another_class_count(trained, command_line):
    whole = torch.load(trained, weights_only=True)
    model = whole["last"]
    *_, head, bias = model
    model[head], model[bias] = model[head][:7].clone(), model[bias][:7].clone()
    torch.save(whole, trained)
    outcome = command_line("start_optimizer", *RESUME)
    refused(outcome, 1, "--checkpoint run.pt", "not a checkpoint of this run")


def test_checkpoint_from_a_gpu(trained, command_line, monkeypatch):
    whole = torch.load(trained, weights_only=True)
    with monkeypatch.context() as patch:
        # So a GPU's tensors are marked in a file.
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(whole, trained)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(trained, weights_only=True)
    outcome = command_line("start_optimizer", *RESUME)
    survived(outcome, "resumed after epoch 1")


def test_half_a_save_beside_the_checkpoint(trained, command_line):
    half = Path("run.pt.partial")
    half.write_bytes(trained.read_bytes()[:1000])
    survived(command_line("start_optimizer", *RESUME), "resumed after epoch 1")
    # Nothing was left to save; the next save takes the place of the half.
    trained.unlink()
    best, parts = {"weights": {}}, [nn.Linear(2, 1)] * 4
    script.save_checkpoint(trained, parts, [], best, None)
    state = torch.load(trained, weights_only=True)
    assert state["model"] == {} and list(state["last"]) == ["weight", "bias"]
    assert sorted(os.listdir()) == ["figures", "run.pt"]


@pytest.mark.parametrize("trouble", [errno.ENOSPC, errno.EIO])
def test_save_that_fails(trouble, command_line, monkeypatch):
    sync, calls = os.fsync, []

    def fail_once_it_is_worth_it(file):
        calls.append(Path("run.pt").exists() and Path("run.pt").read_bytes())
        if len(calls) == 2:  # after the second epoch
            raise OSError(trouble, os.strerror(trouble))
        sync(file)

    monkeypatch.setattr(os, "fsync", fail_once_it_is_worth_it)
    flags = (*TRAIN, "--epochs", "2", "--checkpoint", "run.pt")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint run.pt", os.strerror(trouble))
    assert os.listdir() == ["run.pt"]
    assert Path("run.pt").read_bytes() == calls[1]


def test_interrupt_in_a_save(command_line, monkeypatch):
    sync, calls = os.fsync, []

    def interrupt_the_second(file):
        calls.append(Path("run.pt").exists() and Path("run.pt").read_bytes())
        if len(calls) == 2:
            raise KeyboardInterrupt
        sync(file)

    monkeypatch.setattr(os, "fsync", interrupt_the_second)
    flags = (*TRAIN, "--epochs", "2", "--checkpoint", "run.pt")
    status, _, errors = command_line("start_optimizer", *flags)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert os.listdir() == ["run.pt"]
    assert Path("run.pt").read_bytes() == calls[1]


def test_interrupt_while_torch_writes(command_line, monkeypatch):
    def save(state, file):
        try:
            raise KeyboardInterrupt
        finally:  # its writer notices that bytes are missing
            raise RuntimeError("unexpected pos 46 vs 0")

    monkeypatch.setattr(torch, "save", save)
    flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt")
    status, _, errors = command_line("start_optimizer", *flags)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert os.listdir() == []


def test_checkpoint_that_is_missing(command_line):
    flags = (*TRAIN, "--checkpoint", "missing.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint missing.pt", "No such file")


@pytest.mark.parametrize(
    "path",
    ["missing/run.pt", "plain/run.pt", "x" * 300],
    ids=["no folder", "a file for a folder", "too long"],
)
def test_checkpoint_where_no_file_can_be(path, command_line):
    Path("plain").write_text("mine")
    outcome = command_line("start_optimizer", *TRAIN, "--checkpoint", path)
    refused(outcome, 1, f"--checkpoint {path}")
    assert os.listdir() == ["plain"]


def test_checkpoint_that_is_a_folder(command_line):
    Path("folder").mkdir()
    flags = (*TRAIN, "--checkpoint", "folder")
    refused(command_line("start_optimizer", *flags), 2, "folder exists")
    outcome = command_line("start_optimizer", *flags, "--resume")
    refused(outcome, 1, "--checkpoint folder")
    assert os.listdir() == ["folder"] and not os.listdir("folder")


def test_loss_that_is_no_number(command_line):
    # Weight decay multiplies by 1 - 0.01 * lr: -9 a step, until it overflows.
    flags = (*TRAIN, "--model", "mlp", "--lr", "1000", "--epochs", "4")
    outcome = command_line("start_optimizer", *flags, "--checkpoint", "run.pt")
    refused(outcome, 1, "epoch 2, step ", ": loss ", "lower lr")
    # The checkpoint is the last good one: weights without a nan.
    state = torch.load("run.pt", weights_only=True)["last"]
    assert all(w.isfinite().all() for w in state.values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_step_that_is_no_number_is_named(value, command_line, monkeypatch):
    augment, batches = script.random_affine, []

    def spoil_the_twentieth(images, generator=None, **limits):
        batches.append(generator is None)  # and not a drawing of digits
        moved = augment(images, generator, **limits)
        return moved + value if sum(batches) == 20 else moved

    monkeypatch.setattr(script, "random_affine", spoil_the_twentieth)
    # Without 16-bit instructions the CNN would take a second a step.
    flags = ("--amp", "--model", "mlp") if math.isnan(value) else ()
    outcome = command_line("start_optimizer", *TRAIN, *flags)
    # Seven batches an epoch.
    refused(outcome, 1, "epoch 3, step 6: loss nan, lower lr")


def test_validation_loss_that_is_no_number(command_line, monkeypatch):
    losses = iter([(0.5, 0.5, None), (math.inf, 0.5, None)])
    monkeypatch.setattr(script, "evaluate", lambda *_: next(losses))
    outcome = command_line("start_optimizer", *TRAIN)
    refused(outcome, 1, "epoch 2, step 8: loss ")  # after its seven


@pytest.fixture
def pets(command_line):
    """Return the flags of a tiny run on a folder of eight photographs."""
    for name in ("cat", "dog"):
        Path("pets", name).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (9, 9), (60 * number, 0, 99))
            image.save(Path("pets", name, f"{number}.png"))
    return *TRAIN, "--images", "pets", "--epochs", "2", "--checkpoint", "run.pt"


def test_predict_goes_on_after_a_bad_file(pets, command_line):
    assert command_line("start_optimizer", *pets)[0] == 0
    Path("notes.txt").write_text("no image")
    files = ["missing.png", "pets/cat/0.png", "notes.txt", "pets/dog/1.png"]
    flags = ("--predict", *files, "--checkpoint", "run.pt")
    status, output, errors = command_line("start_optimizer", *flags)
    assert status == 1
    named = [line.partition(":")[0] for line in output.splitlines()]
    assert named == [str(Path("cat/0.png")), str(Path("dog/1.png"))]
    missing, notes = errors.splitlines()
    assert missing == "--predict missing.png: No such file or directory"
    assert notes.startswith("--predict notes.txt: cannot identify image file")


def test_resume_after_a_photograph_was_added(pets, command_line):
    assert command_line("start_optimizer", *pets)[0] == 0
    Image.new("RGB", (9, 9)).save(Path("pets", "cat", "more.png"))
    before = Path("run.pt").read_bytes()
    outcome = command_line("start_optimizer", *pets, "--resume")
    refused(outcome, 1, "--checkpoint run.pt", "made with training images 4")
    assert Path("run.pt").read_bytes() == before


def test_parts_of_a_data_set_are_no_classes(pets, command_line):
    Path("pets", "cat").rename(Path("pets", "test"))
    Path("pets", "dog").rename(Path("pets", "train"))
    outcome = command_line("start_optimizer", *pets)
    refused(outcome, 1, "parts, not classes", str(Path("pets", "train")))


def test_compile_without_a_compiler(command_line):
    from torch._inductor import config

    with config.patch({"cpp.cxx": (None, "missing-compiler")}):
        outcome = command_line("start_optimizer", *TRAIN, "--compile")
    refused(outcome, 1, "--compile: ")


def idx(array: torch.Tensor, magic: int) -> bytes:
    """Return `array`, bytes, in the IDX format of MNIST."""
    head = [magic, *array.shape]
    return b"".join(n.to_bytes(4, "big") for n in head) + bytes(
        array.flatten().tolist()
    )


@pytest.fixture
def stand_in(command_line):
    """Return a folder that looks like MNIST, with a hundred images."""
    raw = Path("data/MNIST/raw")
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        images = torch.randint(256, (100, 28, 28), dtype=torch.uint8)
        labels = torch.arange(100, dtype=torch.uint8) % 10
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images, 2051))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels, 2049))
    return raw


def test_the_stand_in_is_read(stand_in, command_line):
    flags = (*TRAIN, "--data", "mnist")
    status, output, errors = command_line("start_optimizer", *flags)
    assert (status, errors) == (0, "") and "84 images" in output


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:3],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: bytes(4) + whole[4:],
        lambda whole: b"<html>no such file</html>",
        lambda whole: gzip.compress(whole),
        lambda whole: whole + b"more",
    ],
    ids=["empty", "3 bytes", "half", "magic", "html", "gzip", "too long"],
)
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_damaged_data_file(damage, kind, stand_in, command_line):
    file = stand_in / f"train-{kind}-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "data", "--data digits")


def test_images_and_labels_that_do_not_match(stand_in, command_line):
    labels = torch.zeros(99, dtype=torch.uint8)
    file = stand_in / "train-labels-idx1-ubyte"
    file.write_bytes(idx(labels, 2049))
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "do not belong together")


def test_data_folder_that_is_a_file(command_line):
    Path("plain").write_text("mine")
    flags = (*TRAIN, "--data", "mnist", "--data-dir", "plain")
    refused(command_line("start_optimizer", *flags), 1, "--data mnist", "plain")
    assert Path("plain").read_text() == "mine"


@pytest.mark.parametrize("call", ["makedirs", "stat"])
def test_data_folder_that_is_locked(call, command_line, monkeypatch):
    def refuse(path, *args, **options):
        if "MNIST" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return usual(path, *args, **options)

    usual = getattr(os, call)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist: neither read", "--data digits")


@pytest.mark.parametrize("content", [b"", b"no gzip", gzip.compress(b"other")])
def test_packed_file_with_a_wrong_checksum(content, stand_in, command_line):
    file = stand_in / "train-images-idx3-ubyte"
    file.unlink()
    packed = stand_in / f"{file.name}.gz"
    packed.write_bytes(content)
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "data/MNIST", "--data digits")
    assert not file.exists() and packed.read_bytes() == content


def test_old_form_of_the_data_runs_no_code(command_line):
    folder = Path("data/MNIST/processed")
    folder.mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        Path(folder, name).write_bytes(pickle.dumps(Bomb()))
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "data/MNIST")
    assert not Path("exploded").exists()


def test_no_network_and_no_files(command_line, monkeypatch):
    import torchvision

    closed = ["http://127.0.0.1:9/"]
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", closed)
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "nor downloaded", "--data digits")
    # Empty folders are left, and no file.
    assert not [path for path in Path().rglob("*") if path.is_file()]


# What happens to a running script.


@pytest.fixture
def instead(command_line, monkeypatch):
    """Return a caller of a script whose first section does something else."""

    def call(name, act):
        module = importlib.import_module(name)
        section = cells(ROOT / f"{name}.py")[0].name
        act.__name__, act.__doc__ = section, "A claim."
        monkeypatch.setattr(module, section, act)
        return section, command_line(name, "--tiny", "--only", section)

    return call


@pytest.mark.parametrize("name", NAMES)
def test_interrupt(name, instead):
    ends = []

    def act(**options):
        try:
            raise KeyboardInterrupt
        finally:
            ends.append("files are closed")

    _, (status, _, errors) = instead(name, act)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert ends == ["files are closed"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [1, 2], ids=["-O", "-OO"])
def test_without_assertions_nothing_is_proved(level, name, command_line):
    # Compiled as `python -O` does. A process of its own would compile all of
    # torch once more, which takes 15 s.
    path = ROOT / f"{name}.py"
    code = compile(path.read_text(), path, "exec", optimize=level)
    module = types.ModuleType(name)
    exec(code, vars(module))
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == "leave out -O: the assertions are the lesson"
    assert not os.listdir()


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_in_a_section_keeps_its_traceback(name, instead):
    def act(**options):
        Path("missing").read_text()

    with pytest.raises(FileNotFoundError, match="missing"):
        instead(name, act)


def start(name, *flags, folder, **options):
    """Start a script in `folder`, in a process group of its own."""
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, str(ROOT / f"{name}.py"), "--device", "cpu", *flags],
        cwd=folder,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def outcome_of(process):
    """Return the exit status, standard output and standard error."""
    output, errors = process.communicate(timeout=60)
    return process.returncode, output or "", errors


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of Unix")
def test_ctrl_c_and_a_closed_pipe(tmp_path):
    train = start(
        *("start_optimizer", *TRAIN, "--epochs", "99"),
        *("--checkpoint", "run.pt"),
        folder=tmp_path / "train",
    )
    # A reader who has read enough, as `| head -1`.
    piped = start("start_optimizer", "--list", folder=tmp_path / "piped")
    piped.stdout.close()
    for line in train.stdout:
        if line.startswith("epoch  2"):  # so the first one is kept
            os.killpg(train.pid, signal.SIGINT)  # as Ctrl-C at a terminal
            break
    status, _, errors = outcome_of(train)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert os.listdir(tmp_path / "train") == ["run.pt"]
    piped.stdout = None
    assert outcome_of(piped) == (1, "", "")


def test_step_waits_for_enter_and_ends_with_the_input(tmp_path):
    first, second = cells(ROOT / "start_autograd.py")[:2]
    flags = ("--tiny", "--step", "--only", first.name, second.name)
    folder = tmp_path / "empty"
    process = start(
        "start_autograd", *flags, folder=folder, stdin=subprocess.PIPE
    )
    output, errors = process.communicate("\n", timeout=60)  # one Enter
    assert (process.returncode, errors) == (130, "\ninterrupted\n")
    before, between, after = output.split("[Enter runs it, Ctrl-C ends] ")
    # A section's source comes before its results, and nothing without Enter.
    assert before.endswith(f"{first.claim}\n\n{first.source.strip()}\n\n")
    results = between.partition(f"\n--- {second.name}\n")[0]
    assert results.strip()
    assert between.endswith(f"{second.claim}\n\n{second.source.strip()}\n\n")
    assert after == "" and os.listdir(folder) == []


def test_two_runs_draw_into_one_folder(tmp_path):
    only = ("--tiny", "--only", "silu_gelu", "--figures", "../figures")
    runs = [
        start("start_Pytorch", *only, folder=tmp_path / place)
        for place in ("one", "other")
    ]
    for process in runs:
        survived(outcome_of(process), "figure:   ../figures")
    # One whole figure, and nothing else.
    (figure,) = (tmp_path / "figures").iterdir()
    assert figure.name == "tour_activations.png"
    with Image.open(figure) as image:
        image.load()


def test_console_home_and_folder(tmp_path):
    name = "\u8cc7\u6599 \u593e"  # data folder, in Chinese, with a blank
    section = "relu_tanh_sigmoid_silu_gelu_by_formula"
    started = {}
    for encoding in ("ascii", "cp1252"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for variable in ("HOME", "USERPROFILE"):
            environment.pop(variable, None)
        folder = tmp_path / f"{name} {encoding}"
        flags = ("--tiny", "--only", section, "--figures", name)
        started[folder] = start(
            "start_Pytorch", *flags, folder=folder, env=environment
        )
    for folder, process in started.items():
        survived(outcome_of(process), "figure:   \\u8cc7\\u6599 \\u593e")
        (figure,) = (folder / name).iterdir()
        assert figure.read_bytes().startswith(b"\x89PNG")
