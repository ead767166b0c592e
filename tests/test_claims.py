"""Every claim broken: the section that makes it must notice by itself.

`claims_start_autograd.py` and its kin hold a table of breakings, `BREAKINGS`,
a row each: section, a piece of its cell, what replaces it, and the name of the
error if that is not AssertionError. Where it matters, the piece takes a whole
line; it stands exactly once in the cell.
"""

import collections
import contextlib
import copy
import importlib
import io
import multiprocessing
import traceback
import warnings
from pathlib import Path

import pytest
from conftest import ROOT, SCRIPTS, cells, state_kept

ROWS = []
for file in sorted(Path(__file__).parent.glob("claims_start_*.py")):
    path = ROOT / f"{file.stem.removeprefix('claims_')}.py"
    breakings = importlib.import_module(file.stem).BREAKINGS
    for section, piece, replacement, *named in breakings:
        error = named[0] if named else "AssertionError"
        row = path, section, piece, replacement, error
        name = f"{path.stem}-{section}-{piece.split()[0]}"
        ROWS.append(pytest.param(*row, id=name))


def verdict(path, section, piece, replacement, error, options) -> str:
    """Run the section, broken; return "", or what is wrong with the row."""
    found = [cell for cell in cells(path) if cell.name == section]
    if not found:
        return f"{path.name} has no section {section}"
    (cell,) = found
    if cell.source.count(piece) != 1:
        return "the piece must stand exactly once"
    broken = cell.source.replace(piece, replacement)
    # Lines keep their numbers, as `caught` looks them up in the file.
    code = compile("\n" * (cell.line - 1) + broken, str(path), "exec")
    namespace = dict(vars(importlib.import_module(path.stem)))
    exec(code, namespace)

    output = io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        warnings.catch_warnings(record=True),
    ):
        warnings.simplefilter("always")
        try:
            namespace[section](**copy.deepcopy(options[path][section]))
        except (Exception, SystemExit) as problem:
            raised = type(problem).__name__
            if raised == error:
                return ""
            return (
                f"not {error}: {''.join(traceback.format_exception(problem))}"
            )
    return f"nobody noticed:\n{output.getvalue()}"


def send_verdicts(rows, options, pipe) -> None:
    """Judge the rows, in a process of its own."""
    for row in rows:
        with state_kept():
            pipe.send(verdict(**row, options=options))


@pytest.fixture(scope="module")
def judge(request, options_of):
    """Return a judge of rows; every second one is judged beside the others."""
    options = {path: options_of(path) for path in SCRIPTS}
    rows = [
        item.callspec.params
        for item in request.session.items
        if item.originalname == "test_a_broken_claim_is_noticed"
    ]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = None
    if multiprocessing.get_start_method() == "fork":
        arguments = rows[1::2], options, sender
        process = multiprocessing.Process(target=send_verdicts, args=arguments)
        process.start()
    sender.close()  # here, so that the end of the process is noticed

    def of(row: dict) -> str:
        if process and rows.index(row) % 2:
            return receiver.recv()
        return verdict(**row, options=options)

    yield of
    if process:
        process.terminate()
        process.join()


@pytest.mark.parametrize("path,section,piece,replacement,error", ROWS)
def test_a_broken_claim_is_noticed(
    path, section, piece, replacement, error, judge
):
    row = {"path": path, "section": section, "piece": piece}
    row |= {"replacement": replacement, "error": error}
    wrong = judge(row)
    assert not wrong, wrong


def test_every_section_has_two_breakings(script):
    count = collections.Counter(row.values[:2] for row in ROWS)
    few = [c.name for c in cells(script) if count[script, c.name] < 2]
    assert few == [], f"fewer than two rows in claims_{script.stem}.py"
