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
import warnings
from pathlib import Path
from unittest import mock

import pytest
from conftest import ROOT, SCRIPTS, cells, every_second_beside

ROWS = []
for file in sorted(Path(__file__).parent.glob("claims_start_*.py")):
    path = ROOT / f"{file.stem.removeprefix('claims_')}.py"
    breakings = importlib.import_module(file.stem).BREAKINGS
    for section, piece, replacement, *named in breakings:
        error = named[0] if named else "AssertionError"
        row = path, section, piece, replacement, error
        name = f"{path.stem}-{section}-{piece.split()[0]}"
        ROWS.append(pytest.param(*row, id=name))


@pytest.fixture(scope="module")
def wrong(request, options_of):
    """Return a function that tries a row, and returns what is wrong with it."""
    options = {path: options_of(path) for path in SCRIPTS}

    def check(path, section, piece, replacement, error):
        found = [cell for cell in cells(path) if cell.name == section]
        assert found, f"{path.name} has no section {section}"
        (cell,) = found
        assert cell.source.count(piece) == 1, "it must stand exactly once"
        broken = cell.source.replace(piece, replacement)
        # Lines keep their numbers, as `caught` looks them up in the file.
        code = compile("\n" * (cell.line - 1) + broken, str(path), "exec")
        namespace = vars(importlib.import_module(path.stem))

        output, raised = io.StringIO(), None
        with (
            # Broken for the functions of other cells as well, until the end.
            mock.patch.dict(namespace),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
            warnings.catch_warnings(record=True),
        ):
            warnings.simplefilter("always")
            exec(code, namespace)
            try:
                namespace[section](**copy.deepcopy(options[path][section]))
            except (Exception, SystemExit) as problem:
                raised = problem
        assert raised is not None, f"nobody noticed:\n{output.getvalue()}"
        if type(raised).__name__ != error:
            raise raised

    name = "test_a_broken_claim_is_noticed"
    with every_second_beside(request, name, check) as wrong:
        yield wrong


@pytest.mark.parametrize("path,section,piece,replacement,error", ROWS)
def test_a_broken_claim_is_noticed(
    path, section, piece, replacement, error, wrong
):
    said = wrong(
        path=path,
        section=section,
        piece=piece,
        replacement=replacement,
        error=error,
    )
    if "this torch has no" in said:  # an old one: the section says so
        pytest.skip("the section is about what this torch lacks")
    assert not said, said


def test_every_section_has_two_breakings(script):
    count = collections.Counter(row.values[:2] for row in ROWS)
    few = [c.name for c in cells(script) if count[script, c.name] < 2]
    assert few == [], f"fewer than two rows in claims_{script.stem}.py"
