"""Every script as its user runs it: alone in an empty folder, tiny data."""

import importlib
import sys
import types
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SCRIPTS, cells, finish, start
from PIL import Image

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason="no GPU"
        ),
    ),
]


@pytest.mark.parametrize("address", ["a.test", "127.0.0.1"])
def test_the_network_is_blocked(address, tmp_path):
    script = tmp_path / "call.py"
    script.write_text(
        f"import socket; socket.create_connection(({address!r}, 80))"
    )
    status, _, errors = finish(start(script, tmp_path / "empty"))
    assert status == 1 and "must not use the network" in errors


@pytest.fixture(scope="module", params=SCRIPTS, ids=lambda path: path.stem)
def path(request):
    """Return each script in turn."""
    return request.param


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    """Return "cpu", and "cuda" where there is one."""
    return request.param


@pytest.fixture(scope="module")
def runs(path, device, tiny_runs):
    """Return flag -> folder and outcome of a run of the whole script."""
    return tiny_runs(path, device)


@pytest.fixture(params=["", "--amp"])
def finished(request, runs):
    """Return folder, exit status, standard output and standard error."""
    return runs[request.param]


def test_runs_clean(finished):
    _, status, _, errors = finished
    assert (status, errors) == (0, "")


def test_announces_every_section_in_order(finished, path):
    _, _, output, _ = finished
    lines = output.splitlines()
    announced = [line[4:] for line in lines if line.startswith("--- ")]
    assert announced == [cell.name for cell in cells(path)]
    for cell in cells(path):
        assert f"--- {cell.name}\n    {cell.claim}\n" in output


def test_prints_for_a_plain_terminal(finished):
    _, _, output, _ = finished
    for line in output.splitlines():
        assert line.isascii() and len(line) <= 80, line


def test_draws_the_figures_that_it_names(finished):
    folder, _, output, _ = finished
    lines = [x for x in output.splitlines() if x.startswith("figure:   ")]
    named = {folder / line.removeprefix("figure:   ") for line in lines}
    assert named == set((folder / "figures").glob("*")) and named
    for name in named:
        with Image.open(name) as image:
            assert image.format == "PNG"
            image.load()
            colours = image.convert("L").getcolors()
        paper = max(count for count, _ in colours)
        assert len(colours) > 10
        assert paper < 0.99 * image.width * image.height, "nearly empty"


def test_ends_with_one_line(finished, path):
    _, _, output, _ = finished
    end = "\n\nErrors above were made on purpose, and every claim held.\n"
    assert output.count(end) == 1
    after = output.partition(end)[2]
    assert after.count("\n") <= 1  # the tour says what is next


@pytest.mark.parametrize("slower", [0.5, 3.0])
def test_amp_on_a_cpu_says_if_it_is_slower(
    slower, path, command_line, monkeypatch
):
    module = importlib.import_module(path.stem)
    monkeypatch.setattr(module, "run", lambda *_: None)
    seconds = {torch.float32: 0.01, torch.bfloat16: 0.01 * slower}
    monkeypatch.setattr(module, "product_seconds", seconds.get)
    flags = ("--amp", "--tiny", "--device", "cpu")
    status, output, _ = command_line(path.stem, *flags)
    told = "--amp: here 16 bits take 3.0 times as long as 32\n"
    assert (status, told in output) == (0, slower > 1)


def listed(path) -> str:
    """Return what --list prints: two lines a section, a line a chapter."""
    lines, chapter = [], None
    for cell in cells(path):
        if cell.chapter != chapter:
            chapter = cell.chapter
            lines.append(f"\n=== {chapter} ===\n")
        lines.append(f"--- {cell.name}\n    {cell.claim}\n")
    return "".join(lines)


def test_list_runs_nothing(path, command_line):
    outcome = command_line(path.stem, "--list")
    assert outcome == (0, listed(path), "")
    assert not any(Path().iterdir())


@pytest.mark.parametrize("part", ["mistakes", "MISTAKES", "MisTakes"])
def test_only_lists_a_chapter(part, path, command_line):
    status, output, errors = command_line(path.stem, "--list", "--only", part)
    assert (status, errors) == (0, "")
    names = [cell.name for cell in cells(path) if cell.chapter == "Mistakes"]
    assert [f"--- {n}" for n in names] == [
        line for line in output.splitlines() if line.startswith("--- ")
    ]


def test_only_runs_a_chapter_in_any_case_of_letters(command_line):
    flags = ("--tiny", "--device", "cpu", "--only", "MISTAKES")
    status, output, errors = command_line("start_autograd", *flags)
    assert (status, errors) == (0, "")
    all_cells = cells(ROOT / "start_autograd.py")
    names = [cell.name for cell in all_cells if cell.chapter == "Mistakes"]
    lines = output.splitlines()
    announced = [line[4:] for line in lines if line.startswith("--- ")]
    assert announced == names
    assert lines.count("=== Mistakes ===") == output.count("===") / 2 == 1
    assert "mistake:  " in output and "right:    " in output


def test_only_runs_the_sections_that_are_named(path, command_line):
    name = cells(path)[2].name
    status, output, errors = command_line(path.stem, "--tiny", "--only", name)
    assert (status, errors) == (0, "")
    assert output.count("\n--- ") == 1 and f"--- {name}\n" in output


def test_step_shows_the_source_and_waits(path, command_line, monkeypatch):
    cell = cells(path)[0]
    flags = ("--tiny", "--step", "--only", cell.name)
    asked = []
    monkeypatch.setattr("builtins.input", asked.append)
    status, output, errors = command_line(path.stem, *flags)
    assert (status, errors, len(asked)) == (0, "", 1)
    assert cell.source.strip() in output
    assert output.index(cell.claim) < output.index(cell.source.strip())

    def end(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    status, output, errors = command_line(path.stem, *flags)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert output.rstrip().endswith(cell.source.strip())


def test_a_notebook_is_not_asked_for_flags(path, command_line, monkeypatch):
    module = importlib.import_module(path.stem)
    monkeypatch.setattr(module, "run", lambda chapters, args: print(args.tiny))
    status, _, errors = command_line(path.stem, "-f", "kernel.json")
    assert status == 2 and "-f" in errors
    # A kernel's `__main__` comes from no file.
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    status, output, errors = command_line(path.stem, "-f", "kernel.json")
    assert (status, errors) == (0, "")
    assert "False\n" in output


def test_readme_is_named_by_every_script(path):
    text = path.read_text()
    assert f"python {path.name}" in text.partition('"""\n\nimport')[0]
    assert path.name in (ROOT / "README.md").read_text(encoding="utf-8")
