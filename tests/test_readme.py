"""README.md: its commands run, and what it says is what the scripts say."""

import ast
import pickle
import re
import shlex
import struct
import textwrap
from pathlib import Path
from typing import NamedTuple

import benchmark
import exercise_checks
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import ROOT, SCRIPTS, cells
from PIL import Image
from torch import nn
from torch.distributed.run import get_args_parser
from update_readme import (
    FIGURES,
    OUTPUT,
    TABLE,
    called,
    figures,
    lost,
    rows,
    same,
    with_parts,
)

import start_dataloader

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
CONFTEST = (ROOT / "tests" / "conftest.py").read_text()
SOURCES = {script.name: script.read_text() for script in SCRIPTS}
SCRIPT_OF = {
    cell.name: script.name for script in SCRIPTS for cell in cells(script)
}
# Prose alone: without blocks of code, and without tables.
PROSE = re.sub(r"(?s:```.*?```)|^\|.*$", "", TEXT, flags=re.MULTILINE)


def blocks(language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def codes(text: str) -> list[str]:
    """Return what stands between single, or double, backticks."""
    found = re.findall(r"`` (.+?) ``|`([^`\n]+)`", text)
    return [double or single for double, single in found]


def table(first: str) -> list[list[str]]:
    """Return the rows of the table whose first column has that head."""
    (found,) = [
        found
        for found in TABLE.finditer(TEXT)
        if found["head"].startswith(f"| {first} |")
    ]
    lines = found["rows"].splitlines()
    return [line.strip("| ").split(" | ") for line in lines]


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


HEADINGS = re.findall(
    r"^#+ (.+)$", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL), re.MULTILINE
)


# Tables of sections, output, code.


def test_lists_and_tables_are_those_of_the_scripts_and_rows():
    assert with_parts(TEXT) == TEXT, "run python tests/update_readme.py"


def test_it_is_no_book():
    assert len(TEXT.encode()) <= 80_000


def test_every_script_has_its_heading():
    for source in SOURCES.values():
        named = re.search(r'^Read +README.md, "(.+)"$', source, re.MULTILINE)
        assert any(heading.startswith(named[1]) for heading in HEADINGS)


def test_tables_are_whole():
    for found in TABLE.finditer(TEXT):
        lines = found[0].splitlines()
        counts = {len(re.split(r"(?<!\\)\|", line)) for line in lines}
        assert len(counts) == 1 and len(lines) > 2, lines[0]
    in_tables = sum(
        len(found[0].splitlines()) for found in TABLE.finditer(TEXT)
    )
    assert in_tables == len(re.findall(r"^\|", TEXT, flags=re.MULTILINE))


def test_numbers_agree_up_to_one_in_their_last_digit():
    assert same("loss 0.10, w -1.0", "loss 0.11, w -1.0")
    assert not same("loss 0.10, w -1.0", "loss 0.12, w -1.0")
    assert not same("loss 0.10, w -1.0", "loss 0.10, w 1.0")
    assert not same("step 3", "step 4") and not same("a 0.1", "b 0.1")


@pytest.mark.parametrize(
    "found",
    [pytest.param(m, id=m["commands"].strip()) for m in OUTPUT.finditer(TEXT)],
)
def test_output_is_what_the_command_prints(found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (command,) = found["commands"].splitlines()
    _, output = called(command)
    assert same(output, found["output"]), output
    assert all(len(line) <= 120 for line in output.splitlines())


def test_output_has_a_command():
    assert len(OUTPUT.findall(TEXT)) == len(blocks("text")) >= 1


@pytest.mark.parametrize("block", blocks("python"))
def test_python_is_that_of_a_script_or_runs(block, tmp_path, monkeypatch):
    if block.startswith(("import ", "from ")):  # it stands for itself
        monkeypatch.chdir(tmp_path)
        exec(block, {})
    else:
        deeper = [textwrap.indent(block, " " * n) for n in (0, 4, 8)]
        assert any(
            f"\n{part}" in source
            for part in deeper
            for source in SOURCES.values()
        ), block


# The page for contributors.


def test_contributing_lists_the_test_files():
    names = {file.name for file in (ROOT / "tests").glob("test_*.py")}
    listed = re.findall(r"^\| `(test_\w+\.py)`", CONTRIBUTING, re.MULTILINE)
    assert set(listed) == names


def test_contributing_shows_a_breaking_as_the_tests_have_it():
    (block,) = re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    namespace = {}
    exec(block, namespace)
    ((section, piece, _),) = namespace["BREAKINGS"]
    script = ROOT / SCRIPT_OF[section]
    (cell,) = [cell for cell in cells(script) if cell.name == section]
    assert cell.source.count(piece) == 1


# Commands.


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Stand in a folder with some photographs, and files like MNIST's."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(Path("photos", name))
    Path("photos/labels.csv").write_text("file,label\na.png,cat\nb.png,dog\n")
    for name in ("cat", "dog"):
        for folder in ("pets", "digits", "films"):
            Path(folder, name).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (9, 9), (60 * number, 0, 0))
            image.save(Path("pets", name, f"{number}.png"))
        silence = torch.zeros(800)
        start_dataloader.write_wav(Path(f"digits/{name}/1.wav"), silence, 8000)
        Path("films", name, "1.txt").write_text("a good film")
    Path("houses.csv").write_text("price;area\n90.5;40\n150.0;80\n")
    raw = Path("data/MNIST/raw")
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        head = struct.pack(">4i", 2051, 1200, 28, 28)
        pixels = bytes(index % 251 for index in range(1200 * 784))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(head + pixels)
        head = struct.pack(">2i", 2049, 1200)
        labels = bytes(index % 10 for index in range(1200))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(head + labels)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=block.splitlines()[0])
        for block in blocks("sh")
        if f"{block}```\n\n```text" not in TEXT  # tested above
    ],
)
def test_commands_run(block, reader, tiny_runs):
    ci = (ROOT / ".ci/run").read_text()
    for command in block.splitlines():
        match shlex.split(command):
            case ["python", script] if (ROOT / script) in SCRIPTS:
                _, status, _, _ = tiny_runs(ROOT / script, "cpu")[""]
                assert status == 0
            case ["python", script, *_] if (ROOT / script) in SCRIPTS:
                status, output = called(f"{command} --tiny --device cpu")
                assert status == 0, output
            case ["torchrun", *rest]:  # test_distributed.py runs it
                told = get_args_parser().parse_args(rest)
                flags = shlex.join(told.training_script_args)
                listed = f"python {told.training_script} {flags} --list"
                assert called(listed)[0] == 0
            case ["python", "tests/benchmark.py", *flags]:
                with pytest.raises(SystemExit, match="0"):
                    benchmark.main([*flags, "--help"])
            case ["python", "tests/exercises.py", *arguments]:
                exercise_checks.make_parser().parse_args(arguments)
            case ["python", script]:
                assert (ROOT / script).is_file()
            case ["uv", "run", script]:
                assert (ROOT / script) in SCRIPTS
            case ["uv", "run", "--no-project", *flag, "python", "-m", "pytest"]:
                assert flag[0] == "--with-requirements" and len(flag) == 2
                file = flag[1]
                assert f"pip install --quiet -r {file}" in ci
            case ["python3", "-m", "venv", folder]:
                assert f"\n. {folder}/bin/activate\n" in block
                assert f"{folder}\\Scripts\\python " in TEXT
                assert f"\n{folder}/\n" in (ROOT / ".gitignore").read_text()
            case [".", activate]:
                assert activate.endswith("/bin/activate")
            case ["python", "-m", "pip", "install", "-r", file]:
                assert f"pip install --quiet -r {file}" in ci
            case ["python", "-m", "pytest", "-m", marker]:
                assert f'"markers", "{marker}: ' in CONFTEST
            case ["python", "-m", "pytest", *files]:
                assert '"$python" -m pytest\n' in ci
                assert all((ROOT / file).is_file() for file in files)
            case _:
                pytest.fail(f"not tested: {command}")


# Links, names, figures.


def test_links_lead_somewhere():
    anchors = [anchor(heading) for heading in HEADINGS]
    assert len(anchors) == len(set(anchors)), "two headings of one name"
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif not link.startswith("https://"):
            assert (ROOT / link.partition("#")[0]).is_file(), link
    assert len(links) > 30 and "http://" not in TEXT


def test_links_to_lines_lead_to_sections_or_to_what_is_to_copy():
    """That each leads to its own is held by `with_parts`, which made it."""
    links = re.findall(r"\]\((start_\w+\.py)#L(\d+)\)", TEXT)
    for script, line in links:
        text = SOURCES[script].splitlines()[int(line) - 1]
        name = re.match(r"(?:def|class) (\w+)", text)[1]
        assert SCRIPT_OF.get(name, script) == script, name
    assert len(links) >= 200


def test_anchors_are_those_of_github():
    assert anchor("Glossary (詞彙)") == "glossary-詞彙"
    assert anchor("Which one first?") == "which-one-first"
    assert anchor("A `code`, and more: b_c") == "a-code-and-more-b_c"


def test_figures_are_drawn_by_the_scripts_and_small(tiny_runs):
    drawn_by = figures(TEXT)
    kept = {path.stem for path in FIGURES.glob("*")}
    assert kept == set(drawn_by) and len(kept) >= 6
    for name, (script, _) in drawn_by.items():
        path = FIGURES / f"{name}.png"
        assert path.stat().st_size < 80_000
        folder, *_ = tiny_runs(script, "cpu")[""]
        with Image.open(path) as image:
            image.load()
            with Image.open(folder / "figures" / path.name) as drawn:
                assert image.size == drawn.size


def test_flags_and_files_exist(command_line):
    helps = [command_line(path.stem, "--help")[1] for path in SCRIPTS]
    helps.append(exercise_checks.make_parser().format_help())
    helps.append(get_args_parser().format_help())  # of torchrun
    helps.append("--index-url --with-requirements")  # of pip, of uv
    known = set(re.findall(r"--[a-z][a-z-]*", "".join(helps)))
    for code in codes(TEXT):
        assert set(re.findall(r"--[a-z][a-z-]+", code)) <= known, code
        for file in re.findall(r"[\w./-]+\.(?:py|md|txt|toml)\b", code):
            assert (ROOT / file).is_file(), file


def test_names_are_those_of_the_scripts():
    """A section or function that gets another name must get it here too."""
    tests = [path.read_text() for path in ROOT.glob("tests/*.py")]
    words = set(re.findall(r"\w+", "".join([*SOURCES.values(), *tests])))
    for code in codes(PROSE):
        names = re.findall(r"\b[a-zA-Z]\w*_\w+", code)
        assert set(names) <= words, code


def test_troubleshooting_quotes_the_scripts_or_others():
    others = {
        "uv: command not found",
        "is not recognized as the name of a cmdlet",
        "Python was not found",
        "running scripts is disabled on this system",
        "can't open file",
        "Windows Long Path support",
        "Error loading",
        "c10.dll",
        "ensurepip is not available",
        "externally-managed-environment",
        "No module named 'torch'",
        "No matching distribution found for torch",
        "nvidia",
        "operator torchvision::nms does not exist",
        "CUDA out of memory",
        "Bus error",
        "Couldn't find appropriate backend",
        "No working C++ compiler found",
        "cl is not found",
    }
    # A long message may be written in two pieces.
    ours = re.sub(r'"\s+f?"', "", "".join(SOURCES.values()))
    quoted = set(codes(" ".join(row[0] for row in table("you see"))))
    assert others < quoted
    for message in quoted - others:
        assert message in ours, message


# Times.


def test_times_are_those_of_the_docstrings():
    """A script says how long it takes; the table of scripts says the same."""
    for name, source in SOURCES.items():
        (said,) = re.findall(r"^Run .*, (\d+) s\)$", source, re.MULTILINE)
        (full,) = re.findall(
            rf"^\| \[`{name}`\].*\| (\d+) s, \d+ s \|$", TEXT, re.MULTILINE
        )
        assert said == full, f"{name}: {said} s in its docstring, {full} s here"


# Rows that are looked up: questions, mistakes, words.


class Row(NamedTuple):
    """A row of the index: what is searched for, and sections that show it."""

    searched: list[list[str]]  # wordings, each in pieces
    sections: list[str]

    def is_in(self, output: str) -> bool:
        """Whether the output has one of the wordings, wherever lines break."""
        output = re.sub(r"\s", "", output)
        return any(
            all(re.sub(r"\s", "", piece) in output for piece in wording)
            for wording in self.searched
        )


def wordings(message: str) -> list[list[str]]:
    """Return the wordings of a message, each in pieces."""
    return [codes(words) for words in re.split("(?<=`) or (?=`)", message)]


MESSAGES = [
    Row(wordings(message), where.split())
    for message, _, _, where in rows("messages")
]
SYMPTOMS = [Row([[shown]], [where]) for *_, where, shown in rows("silent")]


def name_of(row: Row) -> str:
    """Return what a test of the row is called."""
    return row.searched[0][0]


@pytest.fixture(scope="session")
def output_of(tiny_runs):
    """Return section -> what it prints in a tiny run on the CPU."""
    found = {}
    for script in SCRIPTS:
        _, _, output, _ = tiny_runs(script, "cpu")[""]
        for part in output.split("\n--- ")[1:]:
            name, _, found[name] = part.partition("\n")
    return found


def test_rows_name_sections():
    for row in MESSAGES + SYMPTOMS:
        assert row.sections and set(row.sections) <= set(SCRIPT_OF), row
    assert not lost()


def test_what_is_to_copy_is_there():
    questions = rows("how")
    assert len(questions) >= 60
    for question, section, copy in questions:
        text = re.sub(r"\W+", " ", SOURCES[SCRIPT_OF[section]])
        for piece in copy.split(", "):
            piece = re.sub(r"\W+", " ", piece).strip()
            assert piece in text, (question, copy)


def test_every_message_that_is_printed_is_in_the_index(output_of):
    # `caught` prints it, three lines at most, ten blanks before each.
    printed = re.compile(
        r"^ {10}\w+(?:Error|Warning): .*(?:\n {10}.*)*", re.MULTILINE
    )
    count = 0
    for section, output in output_of.items():
        for found in printed.findall(output):
            count += 1
            assert any(
                section in row.sections and row.is_in(found) for row in MESSAGES
            ), f"{section}: {found}"
    assert count >= 75


def test_every_caught_is_printed_or_in_the_index(output_of):
    """What is printed is looked up above; the rest is for other devices."""
    for cell in [cell for script in SCRIPTS for cell in cells(script)]:
        found = [row for row in MESSAGES if cell.name in row.sections]
        known = output_of[cell.name] + str([row.searched for row in found])
        for node in ast.walk(cell.function):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "caught"
            ):
                message = ast.literal_eval(node.args[1])
                assert Row([[message]], []).is_in(known), message


@pytest.mark.parametrize("row", MESSAGES, ids=name_of)
def test_a_message_of_the_index_is_printed(row, output_of):
    for section in row.sections:
        printed = output_of[section]
        if torch.__version__ < "2.14" and not row.is_in(printed):
            pytest.skip("an older torch says it in other words")
        assert row.is_in(printed), section


@pytest.mark.parametrize(
    ("message", "code"),
    [(message, code) for message, _, _, code in rows("asked")],
)
def test_a_message_that_is_asked_for_appears(message, code, tmp_path):
    names = {"torch": torch, "nn": nn, "F": F, "np": np, "pickle": pickle}
    names |= {"torchvision": torchvision, "empty": tmp_path}
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011
        exec(code, names)
    assert Row(wordings(message), []).is_in(str(caught.value)), caught.value


def test_every_silent_mistake_is_in_the_index():
    shown = {n for row in SYMPTOMS + MESSAGES for n in row.sections}
    for script in SCRIPTS:
        for cell in cells(script):
            if cell.chapter == "Mistakes" and "caught(" not in cell.source:
                assert cell.name in shown, cell.name


@pytest.mark.parametrize("row", SYMPTOMS, ids=name_of)
def test_a_symptom_of_the_index_is_printed(row, output_of):
    (section,) = row.sections
    assert row.is_in(output_of[section])


def test_glossary_is_in_chinese():
    found = rows("terms")
    assert len(found) >= 40
    for english, chinese, meaning, _ in found:
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
        assert 5 < len(meaning) < 72
