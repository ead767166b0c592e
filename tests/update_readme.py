"""Make the parts of README.md that can be made, and leave the rest alone.

    python tests/update_readme.py

It runs the scripts, so it takes about a minute. Made are: the tables of
sections and their number, the output under each command, the order of the
index and of the glossary, and the figures. `test_readme.py` calls the same
functions and compares.
"""

import contextlib
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
# Tables whose rows stand in the order of their first cell.
SORTED = ("| message |", "| symptom |", "| English |")


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


def escaped(claim: str) -> str:
    """Return a claim as Markdown, in which * and | mean what they are."""
    parts = claim.split("`")  # the odd ones are code
    parts[::2] = [re.sub(r"([*|<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def section_tables(script: Path) -> str:
    """Return a table for each chapter: section, linked to its line, claim."""
    tables = []
    for chapter, found in itertools.groupby(cells(script), lambda c: c.chapter):
        rows = [f"**{chapter}**\n", "| section | claim |", "| --- | --- |"]
        for cell in found:
            line = cell.line + cell.function.lineno - 1
            link = f"[`{cell.name}`]({script.name}#L{line})"
            rows.append(f"| {link} | {escaped(cell.claim)} |")
        tables.append("\n".join(rows) + "\n")
    return "\n".join(tables)


def with_sections(text: str) -> str:
    """Return the text with the tables of sections, and their numbers."""
    for script in SCRIPTS:
        begin, end = f"<!-- sections: {script.name} -->\n", "<!-- end -->\n"
        assert text.count(begin) == 1, f"README.md needs one line {begin!r}"
        head, tail = text.split(begin)
        rest = tail[tail.index(end) :]
        text = f"{head}{begin}\n{section_tables(script)}\n{rest}"
        # In the table of scripts the third cell is the number of sections.
        row = rf"^(\| \[`{script.name}`\]\S+ \|[^|\n]+\|) \d+ \|"
        count = rf"\1 {len(cells(script))} |"
        text, found = re.subn(row, count, text, flags=re.MULTILINE)
        assert found == 1, f"{script.name} is not in the table of scripts"
    return text


def sort_key(row: str) -> str:
    """Return the first cell without signs, in small letters."""
    return re.sub(r"[^\w ]", "", row.split(" | ")[0].lower()).strip()


def with_order(text: str) -> str:
    """Return the text with the index and the glossary sorted."""

    def replace(found: re.Match) -> str:
        if not found["head"].startswith(SORTED):
            return found[0]
        rows = found["rows"].splitlines(keepends=True)
        return found["head"] + "".join(sorted(rows, key=sort_key))

    return TABLE.sub(replace, text)


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
        with_sections,
        with_order,
        with_outputs,
    ]
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
