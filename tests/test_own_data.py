"""Folders, tables, images, sounds and texts as people have them."""

import math
import struct
from pathlib import Path

import pytest
import torch
from conftest import refused, survived
from PIL import Image

import start_dataloader as script

CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10-sample"


@pytest.fixture
def look(command_line, monkeypatch):
    """Return a caller of a report in an empty folder; it writes no figure."""
    names = []
    monkeypatch.setattr(script, "save_nine", lambda *args: names.append(args))

    def call(*flags):
        return command_line("start_dataloader", "--device", "cpu", *flags)

    return call


def told(outcome) -> dict[str, str]:
    """Return a report by its parts: name -> text; a name may come twice."""
    status, output, errors = outcome
    assert (status, errors) == (0, ""), outcome
    parts, name = {}, ""
    for line in output.splitlines():
        name = line[:11].strip() or name
        parts[name] = f"{parts.get(name, '')} {line[11:]}".strip()
    return parts


def says(outcome, **expected):
    """Check for a good end, and for words in the parts of the report."""
    parts = told(outcome)
    survived(outcome)
    for name, words in expected.items():
        name = name.replace("_", " ")
        for word in [words] if isinstance(words, str) else words:
            assert word in parts[name], (name, parts[name])


def put(path: str, content: bytes | str = "") -> Path:
    """Write a file, and the folders that it needs."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    place.write_bytes(content)
    return place


def paint(path: str, color="red", mode="RGB", size=(9, 7), **options) -> Path:
    """Write an image of one colour, unlike any other, by its place."""
    place = put(path)
    image = Image.new("RGB", size, color)
    image.putpixel((1, 1), (hash(path) % 251, 5, hash(path) % 241))
    image.convert(mode).save(place, **options)
    return place


def tone(path: str, samples: int = 800, rate: int = 8000, **options) -> Path:
    """Write a WAV file whose tone is unlike others, by its place."""
    place = put(path)
    step = 0.1 + hash(path) % 997 / 1000
    wave = 0.5 * torch.sin(torch.arange(samples) * step)
    script.write_wav(place, wave, rate, **options)
    return place


# Flags.


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--labels", "mine.csv"], ["--labels", "--images"]),
        (["--images"], ["--images"]),
        (["--label-column", "x"], ["--label-column", "--labels or --table"]),
        (["--images", "a", "--label-column", "x"], ["--label-column"]),
        (["--sounds", "a", "--labels", "x"], ["--labels", "--images"]),
        (["--images", "a", "--sounds", "b"], ["--sounds", "at a time"]),
        (["--texts", "a", "--table", "b"], ["--table", "at a time"]),
        (["--images", "a", "--only", "exif"], ["alone", "--only"]),
        (["--table", "a", "--list"], ["alone", "--list"]),
        (["--workers", "1"], ["--workers", "'1'", "from 2"]),
        (["--workers", "-2"], ["--workers", "'-2'"]),
        (["--workers", "2.5"], ["--workers", "whole number"]),
        (["--workers", "many"], ["--workers", "'many'"]),
        (["--workers", "9" * 30], ["--workers", "to 64"]),
        (["--start-method", "thread"], ["--start-method", "spawn"]),
        (["--data", "cifar"], ["--data", "'cifar'", "mnist"]),
        (["--data", ""], ["--data", "''"]),
    ],
    ids=" ".join,
)
def test_flags(flags, words, command_line):
    outcome = command_line("start_dataloader", *flags)
    refused(outcome, 2, *words)
    assert outcome[1] == ""


@pytest.mark.parametrize("flag", ["--images", "--sounds", "--texts", "--table"])
@pytest.mark.parametrize("path", ["none/yet", "x" * 300, ""])
def test_a_path_that_is_not_there(flag, path, look):
    path = path or "."
    if path == "." and flag != "--table":
        words = "there is no file in it"
    elif path == ".":
        words = "Is a directory"
    elif flag == "--table":
        words = "No such file" if path == "none/yet" else "too long"
    else:
        words = "there is no such folder"
    where = str(Path(path).absolute())
    refused(look(flag, path), 1, flag, where, words)


def test_a_file_where_a_folder_should_be(look):
    put("photos.zip", b"PK\x03\x04")
    for flag in ("--images", "--sounds", "--texts"):
        refused(look(flag, "photos.zip"), 1, flag, "a file, not a folder")
