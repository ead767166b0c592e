"""The benchmark measures; here it is only asked to run, on very little."""

import re
import subprocess

import benchmark
import pytest

import start_optimizer

RATIOS = ("ratio", "to the row above")
NUMBERS = r"(more than )?\d[\d.]*( / \d[\d.]*)?"
TABLES = ["loader", "epoch", "accuracy", "ladder", "writer", "amp"]


def tables(text):
    """Return the Markdown tables in `text`, each a list of rows of cells."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [
        [line.strip("| ").split(" | ") for line in block.splitlines()]
        for block in blocks
    ]


def test_each_table_has_a_ratio_in_every_row(monkeypatch, capsys):
    counts = {"train": 256, "validation": 100, "test": 100}

    def few(name, folder, device, _):
        return start_optimizer.load_digits("digits", folder, device, counts)

    monkeypatch.setattr(benchmark, "load_digits", few)
    medians = benchmark.medians

    def once(ways, args, *, times_more=1):
        return medians(ways, args)

    monkeypatch.setattr(benchmark, "medians", once)
    monkeypatch.setattr(benchmark, "EPOCHS", 1)
    monkeypatch.setattr(benchmark, "STEPS", 2)
    command = ["--device", "cpu", "--repeats", "1", "--only", *TABLES]
    benchmark.main(command)
    found = tables(capsys.readouterr().out)
    assert len(found) == len(TABLES)
    for head, rule, *rows in found:
        assert rows and all(len(row) == len(head) for row in [rule, *rows])
        ratios = [n for n, cell in enumerate(head) if cell in RATIOS]
        assert ratios
        for row in rows:
            for column in ratios:
                assert re.fullmatch(NUMBERS, row[column]), row


def test_a_command_is_timed_as_a_whole_and_must_succeed(tmp_path):
    took, peak = benchmark.command(
        "-c",
        "import time; time.sleep(0.2); _ = bytearray(200_000_000)",
        folder=tmp_path,
    )
    # Where it is told: in MB, and not that of this process, which holds torch.
    assert took > 0.2 and not peak < 200 and not peak > 300
    with pytest.raises(subprocess.CalledProcessError):
        benchmark.command("-c", "raise SystemExit(1)", folder=tmp_path)
