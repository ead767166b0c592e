"""Make the parts of README.md that can be made, and leave the rest alone.

    python tests/update_readme.py

It runs the scripts, so it takes about a minute. Made are: the lists of
sections and their number, the tables of `readme_rows.txt`, the output under
each command, and the figures. `test_readme.py` calls the same functions and
compares.
"""

import contextlib
import functools
import importlib
import io
import itertools
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from conftest import ROOT, SCRIPTS, cells
from PIL import Image

README = ROOT / "README.md"
FIGURES = ROOT / ".github" / "figures"
# A command, and what it prints right below it.
OUTPUT = re.compile(
    r"(?<=```sh\n)(?P<commands>[^`]+)(?P<between>```\n\n```text\n)"
    r"(?P<output>.*?)(?=```\n)",
    re.DOTALL,
)
# A table is its head, the line below the head, and its rows.
TABLE = re.compile(
    r"^(?P<head>\|.*\n\| --- .*\n)(?P<rows>(?:\|.*\n)*)", re.MULTILINE
)


def called(command: str) -> tuple[int, str]:
    """Run `python start_....py ...` here; return status and all it prints."""
    _, script, *flags = shlex.split(command)
    output, status = io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", [script, *flags]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        try:
            importlib.import_module(script.removesuffix(".py")).main()
        except SystemExit as error:
            status = error.code
    # Markdown and people both lose blanks at the end of a line.
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    return status, "\n".join(lines).strip() + "\n"


def same(one: str, other: str) -> bool:
    """Whether two outputs agree, numbers up to one in their last digit."""
    number = re.compile(r"-?\d+\.\d+")
    if number.sub("#", one) != number.sub("#", other):
        return False
    pairs = zip(number.findall(one), number.findall(other), strict=True)
    return all(
        abs(float(a) - float(b)) < 1.01 * 10.0 ** -len(a.partition(".")[2])
        for a, b in pairs
    )


def with_outputs(text: str) -> str:
    """Return the text with the output of each command as it is today."""

    def replace(found: re.Match) -> str:
        (command,) = found["commands"].splitlines()
        _, output = called(command)
        if same(output, found["output"]):
            return found[0]  # no change for the sake of a rounding error
        return found["commands"] + found["between"] + output

    return OUTPUT.sub(replace, text)


LEVELS = {  # chapters that are not easy
    "Automatic differentiation": "medium",
    "Mixed precision": "medium",
    "Tables and text": "medium",
    "Sound": "medium",
    "Workers and speed": "hard",
    "Signals": "medium",
    "Convolution": "medium",
    "Sequences": "hard",
    "A small language model": "hard",
    "Changing a model": "medium",
    "An engine in forty lines": "medium",
    "Graphs": "medium",
    "Checking": "medium",
    "Beyond gradients": "hard",
    "16 bits": "medium",
    "The rate": "medium",
    "Measuring": "medium",
    "When the loss does not fall": "medium",
    "Scaling up": "hard",
    "The whole run": "hard",
}
SHORT = {
    "start_Pytorch.py": "tour",
    "start_dataloader.py": "data",
    "start_buildnn.py": "nets",
    "start_autograd.py": "grad",
    "start_optimizer.py": "optim",
}


def rows(part: str) -> list[list[str]]:
    """Return the rows of a part of readme_rows.txt, each a list of cells."""
    text = (ROOT / "tests" / "readme_rows.txt").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\[{part}\].*\n((?:.+\n)+)", text, re.MULTILINE)
    return [line.split(" | ") for line in found.splitlines()]


@functools.cache
def places() -> dict[str, tuple[str, int]]:
    """Return section -> its script and the line of its `def`."""
    return {
        cell.name: (script.name, cell.line + cell.function.lineno - 1)
        for script in SCRIPTS
        for cell in cells(script)
    }


def lost() -> list[str]:
    """Return the rows that name a section which no script has any more."""
    columns = {"how": 1, "messages": 3, "silent": 3, "terms": 3}
    return [
        f"[{part}] {row[0]}: {section}"
        for part, column in columns.items()
        for row in rows(part)
        for section in row[column].split()
        if section not in places()
    ] + [
        f"[aid] {what}: {section}"
        for what, where in rows("aid")
        for section in re.findall(r"\{(\w+): ", where)
        if section not in places()
    ]


def link(section: str, text: str = "") -> str:
    """Return a link to the line of a section."""
    script, line = places()[section]
    return f"[{text or SHORT[script]}]({script}#L{line})"


def section_lists(script: Path) -> str:
    """Return a list for each chapter; its name leads to its first section."""
    lists = []
    text = (ROOT / "tests" / "exercises.py").read_text()
    task = r"(?ms)^def (\w+)\(.*?\d+ minutes, \w+: (\w+)"
    exercises = {}
    for name, section in re.findall(task, text):
        before = exercises.get(section)
        start = f"{before}," if before else ", exercise"
        exercises[section] = f"{start} `{name}`"
    for chapter, found in itertools.groupby(cells(script), lambda c: c.chapter):
        names = [cell.name for cell in found]
        head = f"**{link(names[0], chapter)}** "
        if chapter == "Mistakes":  # they have tables of their own
            at = "[When it goes wrong](#when-it-goes-wrong)"
            for name in [name for name in names if name in exercises]:
                at += f"; `{name}`{exercises[name]}"
            lists.append(f"{head}({len(names)} sections): {at}\n")
            continue
        level = LEVELS.get(chapter, "easy")
        head += f"({2 * len(names)} min, {level})\n\n"
        lines = []
        for name in names:
            lines.append(f"- `{name}`{exercises.get(name, '')}\n")
        lists.append(head + "".join(lines))
    return "\n".join(lists)


def sort_key(row: str) -> str:
    """Return the first cell without signs, in small letters."""
    return re.sub(r"[^\w ]", "", row.split(" | ")[0].lower()).strip()


TOPICS = {  # question -> the topic that begins with it
    "see whether the GPU is used": "tensors",
    "write my own model (`nn.Module`)": "a first program",
    "write my own data set (`Dataset`)": "data",
    "see or set the weights of a layer": "networks",
    "get a gradient": "gradients",
    "write a training loop": "training",
}


def link_to_copy(section: str, copy: str) -> str:
    """Return a link to the class or function to copy, else to the section."""
    script, line = places()[section]
    source = (ROOT / script).read_text(encoding="utf-8")
    name = re.match(r"(?:class )?(\w*)", copy)[1]
    found = re.search(rf"^(?:class|def) {name}\b", source, re.MULTILINE)
    if name and found:
        line = source[: found.start()].count("\n") + 1
    return f"[`{copy}`]({script}#L{line})"


def how_table() -> str:
    """Return the table of questions, a line for each topic above its own."""
    lines = ["| how do I ... | look at |\n", "| --- | --- |\n"]
    questions = rows("how")
    for question, section, copy in questions:
        if question in TOPICS:
            lines.append(f"| **{TOPICS[question]}** | |\n")
        at = link(section) if copy == "-" else link_to_copy(section, copy)
        lines.append(f"| {question} | {at} |\n")
    assert len(lines) == 2 + len(questions) + len(TOPICS), "a topic is lost"
    return "".join(lines)


def first_aid() -> str:
    """Return the list of first aid, with links."""
    return "".join(
        f"{number}. **{what}.** "
        + re.sub(r"\{(\w+): ([^}]+)\}", lambda m: link(m[1], m[2]), where)
        + "\n"
        for number, (what, where) in enumerate(rows("aid"), 1)
    )


def mistake_table(head: str, *parts: str) -> str:
    """Return a table of mistakes, sorted by their first cell.

    A symptom is written "group: symptom", and a group has a line above it.
    """
    lines = []
    for part in parts:
        for first, why, cure, where, *_ in rows(part):
            at = "" if part == "asked" else link(where.split()[0])
            lines.append(f"| {first} | {why} | {cure} | {at} |\n")
    lines.sort(key=sort_key)
    if "silent" in parts:
        heads, groups = [], itertools.groupby(lines, lambda s: s.split(": ")[0])
        for group, found in groups:
            heads.append(f"| **{group[2:]}** | | | |\n")
            heads += [line.replace(f"{group}: ", "| ", 1) for line in found]
        lines = heads
    head = f"| {head} | why | what to do | at |\n| --- | --- | --- | --- |\n"
    return head + "".join(lines)


def glossary() -> str:
    """Return the table of words, sorted."""
    lines = [
        f"| {english} | {chinese} | {meaning} |\n"
        for english, chinese, meaning, _ in rows("terms")
    ]
    lines.sort(key=sort_key)
    return "| English | \u4e2d\u6587 | meaning |\n| --- | --- | --- |\n" + (
        "".join(lines)
    )


def with_parts(text: str) -> str:
    """Return the text with all that is made of scripts and rows."""
    made = {f"sections: {s.name}": section_lists(s) for s in SCRIPTS}
    made["rows: how"] = how_table()
    made["rows: aid"] = first_aid()
    made["rows: messages"] = mistake_table("message", "messages", "asked")
    made["rows: silent"] = mistake_table("symptom", "silent")
    made["rows: terms"] = glossary()
    for name, part in made.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->\n"
        assert text.count(begin) == 1, f"README.md needs one line {begin!r}"
        head, tail = text.split(begin)
        rest = tail[tail.index(end) :]
        text = f"{head}{begin}\n{part}\n{rest}"
    for script in SCRIPTS:
        # In the table of scripts the third cell is the number of sections.
        row = rf"^(\| \[`{script.name}`\]\S+ \|[^|\n]+\|) \d+ \|"
        count = rf"\1 {len(cells(script))} |"
        text, found = re.subn(row, count, text, flags=re.MULTILINE)
        assert found == 1, f"{script.name} is not in the table of scripts"
    return text


def figures(text: str) -> dict[str, tuple[Path, str]]:
    """Return figure -> the script and section that draw it."""
    drawn_by = {}
    for name in sorted(set(re.findall(r"\.github/figures/(\w+)\.png", text))):
        for script in SCRIPTS:
            for cell in cells(script):
                if f'"{name}"' in cell.source:
                    drawn_by[name] = script, cell.name
    return drawn_by


def draw(text: str) -> None:
    """Draw every figure of the README again, in 256 colours to be small."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, (script, section) in figures(text).items():
        called(f"python {script.name} --only {section} --figures .")
        with Image.open(f"{name}.png") as image:
            small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(FIGURES / f"{name}.png", optimize=True)


def main() -> None:
    """Write README.md and its figures."""
    steps: list[Callable[[str], str]] = [
        with_parts,
        with_outputs,
    ]
    if lost():
        sys.exit("\n".join(["No such section, see readme_rows.txt:", *lost()]))
    text = README.read_text(encoding="utf-8")
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # scripts write where they are started
        for step in steps:
            text = step(text)
        draw(text)
        os.chdir(before)
    README.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
