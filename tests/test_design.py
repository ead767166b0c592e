"""The form that all scripts share, checked on their text and syntax tree."""

import ast
import contextlib
import io
import re
import subprocess
import sys
import tokenize

import pytest
from conftest import ROOT, SCRIPTS, cells, sections_in_main, tiny_table

NAMES = [
    "start_Pytorch",
    "start_autograd",
    "start_buildnn",
    "start_dataloader",
    "start_optimizer",
]
HELPERS_BEGIN = "# The helpers below are the same, to the byte, in all five"


def imported(tree: ast.AST) -> set[str]:
    """Return the top-level packages that the tree imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import needs a package"
            found.add(node.module.partition(".")[0])
    return found


def helpers(text: str) -> str:
    """Return the block of helpers, from its comment to the next cell."""
    return text[text.index(HELPERS_BEGIN) :].partition("\n# %%\n")[0]


def test_no_script_goes_unchecked():
    assert SCRIPTS and {path.stem for path in SCRIPTS} <= set(NAMES)


def test_nothing_else_at_the_top_level():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.partition("/")[0] for line in tracked.stdout.splitlines()}
    allowed = {"README.md", "requirements.txt", "tests"}
    scripts = {f"{name}.py" for name in NAMES}
    assert {name for name in top if name[0] != "."} <= allowed | scripts


def test_ascii_and_80_columns(script):
    for number, line in enumerate(script.read_bytes().splitlines(), 1):
        assert line.isascii() and len(line) <= 80, f"line {number}"


def test_metadata_agrees_with_requirements(script):
    text = script.read_text()
    block = re.match(r"# /// script\n((?:# .*\n)+)# ///\n", text)
    assert block, "the script must open with PEP 723 metadata"
    toml = re.sub(r"^# ", "", block[1], flags=re.MULTILINE)
    values = dict(re.findall(r"^(\S+) = (.+)$", toml, flags=re.MULTILINE))
    assert values["requires-python"] == '">=3.10"'
    needed = ast.literal_eval(values["dependencies"])
    assert set(needed) <= set((ROOT / "requirements.txt").read_text().split())

    packages = {re.match(r"\w+", line)[0] for line in needed}
    packages |= {"PIL", "numpy"}  # both come with matplotlib
    third_party = imported(ast.parse(text)) - sys.stdlib_module_names
    assert third_party <= packages
    assert packages - {"PIL", "numpy"} <= third_party


def test_requirements_are_four_lower_bounds():
    lines = (ROOT / "requirements.txt").read_text().split()
    names = [re.fullmatch(r"(\w+)>=[\d.]+", line)[1] for line in lines]
    assert names == ["torch", "torchvision", "matplotlib", "pytest"]


def test_imports_stand_at_the_top_but_torchvision(script):
    tree = ast.parse(script.read_text())
    outer = ast.Module(
        [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], []
    )
    inner = ast.Module([n for n in tree.body if n not in outer.body], [])
    assert "torchvision" not in imported(outer)
    assert imported(inner) <= {"torchvision"}


def test_module_level_only_defines(script):
    docstring, *body = ast.parse(script.read_text()).body
    assert len(docstring.value.value.splitlines()) <= 8
    *body, guard = body
    assert ast.unparse(guard).startswith("if __name__ == '__main__':")
    for node in body:
        if isinstance(node, ast.Assign):
            ast.literal_eval(node.value)  # a constant, nothing computed
        else:
            kinds = ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef
            assert isinstance(node, kinds), ast.unparse(node)


def test_importing_all_has_no_side_effect(tmp_path):
    names = ", ".join(path.stem for path in SCRIPTS)
    code = f"""
import os, sys, torch
torch.manual_seed(5)
before, files = torch.get_rng_state(), os.listdir()
sys.path.insert(0, {str(ROOT)!r})
import {names}
assert torch.equal(torch.get_rng_state(), before)
assert os.listdir() == files
assert not torch.cuda.is_initialized() and "torchvision" not in sys.modules
"""
    command = [sys.executable, "-B", "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_helpers_are_the_same_everywhere():
    blocks = {helpers(path.read_text()) for path in SCRIPTS}
    assert len(blocks) == 1
    names = re.findall(r"^def (\w+)", blocks.pop(), flags=re.MULTILINE)
    assert set(names) >= {
        *("pick_device", "amp_dtype", "run"),
        *("save_figure", "caught", "make_parser"),
    }


def test_a_class_of_one_name_is_one_text():
    texts = {}
    for path in SCRIPTS:
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                source = ast.get_source_segment(text, node)
                texts.setdefault(node.name, set()).add(source)
    assert [name for name, found in texts.items() if len(found) > 1] == []


def test_every_cell_is_a_section_and_main_lists_it(script):
    text = script.read_text()
    names = [cell.name for cell in cells(script)]
    assert names == sections_in_main(ast.parse(text))
    for cell in cells(script):
        # Classes first, and functions for a worker, who finds them by name.
        *before, _ = cell.definitions
        for node in before:
            used = f"collate_fn={node.name}" in cell.source
            assert isinstance(node, ast.ClassDef) or used, node.name


def test_claims_are_one_short_sentence(script):
    for cell in cells(script):
        assert len(cell.claim) <= 72 and cell.claim.endswith("."), cell.name
        assert cell.claim not in cell.name and "_" in cell.name


def test_sections_are_short(script):
    for cell in cells(script):
        code = {
            node.lineno
            for statement in cell.function.body[1:]
            for node in ast.walk(statement)
            if hasattr(node, "lineno")
        }
        assert len(code) <= 60, f"{cell.name}: {len(code)} lines of code"


def test_comments_are_neither_rare_nor_dense(script):
    comments, code = set(), set()
    text = script.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type in (tokenize.NAME, tokenize.NUMBER):
            code.add(token.start[0])  # not a line of brackets alone
    ratio = len(comments) / len(code)
    assert 0.15 <= ratio <= 0.30, f"{ratio:.3f}"


def test_public_names_have_docstrings(script):
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ClassDef):
            assert ast.get_docstring(node), node.name
        if isinstance(node, ast.Module | ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    initial = inner.name == "__init__"
                    assert initial or ast.get_docstring(inner), inner.name


@pytest.fixture(scope="module")
def sections(tmp_path_factory):
    """Return a reader of a script's table of sections, read once each."""
    tables = {}

    def read(name: str) -> dict:
        if name not in tables:
            folder = tmp_path_factory.mktemp(name)
            table = tiny_table(name, folder)
            tables[name] = {f.__name__: o for f, o in table.items()}
        return tables[name]

    return read


def pasted(script, cell) -> dict:
    """Return a namespace with the imports, two helpers and the cell alone."""
    tree = ast.parse(script.read_text())
    allowed = ("caught", "save_figure")
    kept = [
        node
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or getattr(node, "name", None) in allowed
    ]
    namespace = {"__name__": "pasted"}
    kept = ast.Module([*kept, *cell.definitions], [])
    exec(compile(kept, str(script), "exec"), namespace)
    return namespace


CELLS = [
    pytest.param(path, cell, id=f"{path.stem}-{cell.name}")
    for path in SCRIPTS
    for cell in cells(path)
]


@pytest.mark.parametrize(("path", "cell"), CELLS)
def test_section_runs_pasted_alone(path, cell, sections):
    options = sections(path.stem)[cell.name]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        result = pasted(path, cell)[cell.name](**options)
    assert result is not None, "a section returns the values it talks about"
    lines = output.getvalue().splitlines()
    assert 1 <= len(lines) <= 12, "\n".join(lines)
    for line in lines:
        assert line.startswith("figure ") or len(line) <= 80, line
        assert line.isascii() and not re.search(r"\b0x[0-9a-f]{6,}", line)
