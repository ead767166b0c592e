"""The form that all scripts share, checked on their text and syntax tree."""

import ast
import contextlib
import copy
import functools
import io
import re
import shutil
import subprocess
import sys
import tokenize

import pytest
from conftest import (
    ROOT,
    SCRIPTS,
    cells,
    chapters_in_main,
    every_second_beside,
)

NAMES = [
    "start_Pytorch",
    "start_autograd",
    "start_buildnn",
    "start_dataloader",
    "start_optimizer",
]
HELPERS_BEGIN = "# The helpers below are the same, to the byte, in all five"
# Chapters that build one thing: a section may use earlier cells of its own.
BUILD_ONE_THING = [
    "An engine in forty lines",
    "A whole model in one page",
    "A small language model",
    "Images of your own",
    "Tables and text",
    "Sound",
    "The whole run",
]

DEFINITION = ast.ClassDef | ast.FunctionDef


def lesson(script) -> list[ast.ClassDef | ast.FunctionDef]:
    """Return the classes and functions above the helpers."""
    text = script.read_text()
    tree = ast.parse(text[: text.index(HELPERS_BEGIN)])
    return [node for node in tree.body if isinstance(node, DEFINITION)]


def helpers(script) -> str:
    """Return the block of helpers, from its comment to the next cell."""
    text = script.read_text()
    return text[text.index(HELPERS_BEGIN) :].partition("\n# %%")[0]


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


# The repository, and each script as a file.


def test_no_script_goes_unchecked():
    assert SCRIPTS and {path.stem for path in SCRIPTS} <= set(NAMES)


def test_nothing_else_at_the_top_level():
    git = shutil.which("git")  # who downloads a ZIP may have none
    if not git or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(
        [git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
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
            kinds = ast.Import | ast.ImportFrom | DEFINITION
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


def test_helpers_are_short_and_the_same_everywhere():
    blocks = {helpers(path) for path in SCRIPTS}
    assert len(blocks) == 1
    (block,) = blocks
    assert len(block.rstrip().splitlines()) <= 160
    names = re.findall(r"^def (\w+)", block, flags=re.MULTILINE)
    assert set(names) >= {
        *("pick_device", "amp_dtype", "caught", "save_figure"),
        *("make_parser", "parse", "run"),
    }


def test_what_has_one_name_is_one_text():
    texts = {}
    for path in SCRIPTS:
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, DEFINITION) and node.name != "main":
                source = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                texts.setdefault(node.name, set()).add(source)
    assert [name for name, found in texts.items() if len(found) > 1] == []


def test_names_are_unique(script):
    tree = ast.parse(script.read_text())
    names = [node.name for node in tree.body if isinstance(node, DEFINITION)]
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_comments_are_neither_rare_nor_dense(script):
    comments, code = set(), set()
    text = script.read_text().partition(HELPERS_BEGIN)[0]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type in (tokenize.NAME, tokenize.NUMBER):
            code.add(token.start[0])  # not a line of brackets alone
    ratio = len(comments) / len(code)
    assert 0.12 <= ratio <= 0.30, f"{ratio:.3f}"


def test_public_names_have_docstrings(script):
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, DEFINITION):
            assert ast.get_docstring(node), node.name


# Sections and chapters.


def test_main_lists_the_sections_as_they_stand(script):
    listed = chapters_in_main(ast.parse(script.read_text())).values()
    assert [cell.name for cell in cells(script)] == sum(listed, [])


def test_claims_are_one_short_sentence(script):
    for cell in cells(script):
        assert len(cell.claim) <= 72 and cell.claim.endswith("."), cell.name
        assert cell.claim not in cell.name and "_" in cell.name


def test_each_chapter_opens_with_a_heading(script):
    text = script.read_text()
    found = []  # chapters and sections, in the order of the text
    for cell in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        if cell.startswith(" [markdown]\n"):
            _, heading, *prose = cell.strip().splitlines()
            assert heading.startswith("# ## "), heading
            found.append(heading.removeprefix("# ## "))
            assert prose and all(line.startswith("# ") for line in prose)
            sentences = re.findall(r"[.!?]\)?(?:$|\s)", "\n".join(prose))
            assert 1 <= len(sentences) <= 3, heading
        elif HELPERS_BEGIN in cell:
            break
        else:
            found.append(ast.parse(cell).body[-1].name)
    expected = []
    for chapter, sections in chapters_in_main(ast.parse(text)).items():
        expected += [chapter, *sections]
    assert found == expected


def test_the_last_chapter_is_the_mistakes(script):
    *_, one_before, last = chapters_in_main(ast.parse(script.read_text()))
    if script.stem == "start_optimizer":
        assert (one_before, last) == ("Mistakes", "The whole run")
    else:
        assert last == "Mistakes"


def test_a_mistake_stands_above_its_cure(script):
    lines = script.read_text().splitlines()
    for node in lesson(script):
        for block in ast.walk(node):
            if isinstance(block, ast.With) and "caught(" in ast.unparse(
                block.items[0]
            ):
                (wrong,) = block.body
                assert wrong.lineno == wrong.end_lineno, ast.unparse(wrong)
                right = lines[wrong.lineno]  # the line after it
                assert "  # right: " in right, f"line {wrong.lineno + 1}"


# Plainness: what a reader of a lesson has to decode.

COMPREHENSION = ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp
DENSE_CALLS = ("zip", "map", "partial", "functools.partial")
DENSE_CALLS += ("getattr", "setattr")
DENSE_METHODS = (".items", ".values")


def is_dense(node: ast.AST) -> bool:
    """Whether a reader has to decode this piece of syntax."""
    if isinstance(node, COMPREHENSION | ast.Lambda | ast.IfExp):
        return True
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return name in DENSE_CALLS or name.endswith(DENSE_METHODS)
    if isinstance(node, ast.For):  # over a table of cases
        cases = getattr(node.iter, "elts", getattr(node.iter, "keys", []))
        return len(cases) >= 3
    return False


def count_dense(definition: ast.ClassDef | ast.FunctionDef) -> int:
    """Count what a reader has to decode, functions in functions as well."""
    plain = [definition]
    if isinstance(definition, ast.ClassDef):
        plain += definition.body  # its methods
    count = 0
    for node in ast.walk(definition):
        count += is_dense(node)
        count += isinstance(node, ast.FunctionDef) and node not in plain
    return count


def lines_of_code(definition: ast.ClassDef | ast.FunctionDef) -> int:
    """Count the lines of all statements, without docstrings and comments."""
    lines = set()
    for node in ast.walk(definition):
        if not isinstance(node, ast.stmt) or node is definition:
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # a docstring
        end = node.end_lineno
        if hasattr(node, "body"):  # its head alone; what is in it comes later
            end = max(node.lineno, node.body[0].lineno - 1)
        lines.update(range(node.lineno, end + 1))
    return len(lines)


def test_what_is_dense():
    def count(code: str) -> int:
        (definition,) = ast.parse(code).body
        return count_dense(definition)

    assert count("def f():\n for x in (1, 2): print(x)") == 0
    assert count("def f():\n for x in (1, 2, 3): print(x)") == 1
    assert count("def f():\n for x in {1: 2, 3: 4, 5: 6}: print(x)") == 1
    assert count("def f():\n [x if x else 0 for x, y in zip(a, b)]") == 3
    assert count("def f():\n table.items(); partial(f, lambda: 0)") == 3
    assert count("def f(x):\n def g(): return x\n return g") == 1
    assert count("class C:\n def f(self): pass\n def g(self): pass") == 0


def test_lessons_are_plain(script):
    definitions = lesson(script)
    lines = sum(lines_of_code(node) for node in definitions)
    dense = sum(count_dense(node) for node in definitions)
    assert 100 * dense <= 4.0 * lines, f"{dense} to decode in {lines} lines"


def test_functions_are_short(script):
    for node in lesson(script):
        is_class = isinstance(node, ast.ClassDef)
        limit = 45 if is_class or node.name == "train" else 30
        assert lines_of_code(node) <= limit, node.name


# Cells, pasted.


@functools.cache
def without_lessons(script):
    """Return the compiled imports, helpers and data makers."""
    text = script.read_text()
    helpers_at = text[: text.index(HELPERS_BEGIN)].count("\n")
    *body, _, _ = ast.parse(text).body  # without main and its guard
    kept = [
        node
        for node in body
        if isinstance(node, ast.Import | ast.ImportFrom)
        or node.lineno > helpers_at
    ]
    return compile(ast.Module(kept, []), str(script), "exec")


def pasted(script, cell) -> dict:
    """Return a namespace of imports, helpers, data makers and the cell."""
    wanted = [cell]
    if cell.chapter in BUILD_ONE_THING:
        wanted = [
            other
            for other in cells(script)
            if other.chapter == cell.chapter and other.line <= cell.line
        ]
    namespace = {"__name__": "pasted"}
    exec(without_lessons(script), namespace)
    for other in wanted:
        # Lines keep their numbers, as `caught` looks them up in the file.
        source = "\n" * (other.line - 1) + other.source
        exec(compile(source, str(script), "exec"), namespace)
    return namespace


CELLS = [
    pytest.param(path, cell, id=f"{path.stem}-{cell.name}")
    for path in SCRIPTS
    for cell in cells(path)
]


@pytest.fixture(scope="module")
def wrong(request, options_of):
    """Return a function that runs a cell, and returns what is wrong with it."""
    options = {path: options_of(path) for path in SCRIPTS}

    def check(path, cell):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            section = pasted(path, cell)[cell.name]
            section(**copy.deepcopy(options[path][cell.name]))
        lines = output.getvalue().splitlines()
        assert lines, "a section shows something"
        assert len(lines) <= 12, output.getvalue()
        for line in lines:
            assert line.startswith("figure: ") or len(line) <= 80, line
            assert line.isascii(), line
            assert not re.search(r"\b0x[0-9a-f]{6,}", line), line

    name = "test_section_runs_pasted_alone"
    with every_second_beside(request, name, check) as wrong:
        yield wrong


@pytest.mark.parametrize(("path", "cell"), CELLS)
def test_section_runs_pasted_alone(path, cell, wrong):
    said = wrong(path=path, cell=cell)
    assert not said, said
