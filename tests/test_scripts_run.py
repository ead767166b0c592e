"""Every script as its user runs it: alone in an empty folder, tiny data."""

import importlib
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


@pytest.fixture(params=["--no-amp", "--amp"])
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
    lines = [x for x in output.splitlines() if x.startswith("figure  ")]
    named = {folder / line.removeprefix("figure  ") for line in lines}
    assert named == set((folder / "figures").glob("*")) and named
    for name in named:
        with Image.open(name) as image:
            assert image.format == "PNG"
            image.load()
            colours = image.convert("L").getcolors()
        paper = max(count for count, _ in colours)
        assert len(colours) > 10
        assert paper < 0.99 * image.width * image.height, "nearly empty"


def test_list_runs_nothing(path, command_line):
    status, output, errors = command_line(path.stem, "--list")
    expected = "".join(
        f"\n--- {cell.name}\n    {cell.claim}\n\n" for cell in cells(path)
    )
    assert (status, output, errors) == (0, expected, "")
    assert not any(Path().iterdir())


def test_only_runs_the_sections_that_are_named(path, command_line):
    name = cells(path)[2].name
    status, output, errors = command_line(path.stem, "--tiny", "--only", name)
    assert (status, errors) == (0, "")
    assert output.count("\n--- ") == 1 and f"--- {name}\n" in output


def test_unknown_section_is_answered_with_the_nearest(path, command_line):
    name = cells(path)[0].name
    wrong = name[:-2] + "xx"
    status, output, errors = command_line(path.stem, "--only", wrong)
    assert (status, output) == (2, "")
    (line,) = errors.splitlines()
    assert "--only" in line and name in line.partition("nearest")[2]


def test_a_notebook_is_not_asked_for_flags(path, command_line, monkeypatch):
    module = importlib.import_module(path.stem)
    monkeypatch.setattr(module, "run", lambda sections, args: print(args.tiny))
    kernel = "/somewhere/ipykernel_launcher.py"
    outcome = command_line(path.stem, "-f", "kernel.json", prog=kernel)
    assert outcome == (0, "False\n", "")
    status, _, errors = command_line(path.stem, "-f", "kernel.json")
    assert status == 2 and "-f" in errors


def test_readme_is_named_by_every_script(path):
    text = path.read_text()
    assert f"python {path.name}" in text.partition('"""\n\nimport')[0]
    assert path.name in (ROOT / "README.md").read_text(encoding="utf-8")
