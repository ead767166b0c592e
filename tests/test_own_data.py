"""Folders, tables, images, sounds and texts as people have them."""

import itertools
import os
import struct
from pathlib import Path

import pytest
import torch
from conftest import refused, survived
from PIL import Image

import start_dataloader as script

EACH = itertools.count(1)  # so that no two files are alike
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
    """Write an image of one colour, but for one pixel that no other has."""
    place = put(path)
    image = Image.new("RGB", size, color)
    image.putpixel((0, 0), (next(EACH) % 256, 5, 0))
    image.convert(mode).save(place, **options)
    return place


def tone(path: str, samples: int = 800, rate: int = 8000, **options) -> Path:
    """Write a WAV file with a tone that no other has."""
    place = put(path)
    step = 0.1 + next(EACH) / 1000
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


# A folder for each class.


def test_class_folders(look):
    for name in ("cat/a.png", "cat/b.png", "dog/a.png"):
        paint(f"pets/{name}")
    says(
        look("--images", "pets"),
        folder=str(Path("pets").absolute()),
        samples="3 can be read of 3",
        faults="none",
        classes="2: cat 2, dog 1",
        sizes="3 of 9 x 7",
        read_as="3 RGB",
        repeated="none",
        contradict="none",
        batch=["images (3, 3, 7, 9) float32", "targets (3,) int64, 0..1"],
    )


@pytest.mark.parametrize(
    ("extra", "part", "words"),
    [
        ("pets/.DS_Store", "left out", "1 hidden"),
        ("pets/cat/Thumbs.db", "left out", "1 hidden"),
        ("pets/cat/._a.png", "left out", "1 hidden"),
        ("pets/__MACOSX/cat/a.png", "samples", "2 can be read of 2"),
        ("pets/.git/config", "classes", "2: cat 1, dog 1"),
        ("pets/readme.txt", "left out", "1 beside the class folders: readme"),
        ("pets/labels.csv", "left out", "1 beside the class folders: labels"),
        ("pets/cat/notes.txt", "faults", "cat/notes.txt: no format that"),
    ],
)
def test_other_files_among_the_images(extra, part, words, look):
    paint("pets/cat/a.png")
    paint("pets/dog/a.png")
    put(extra, "no image")
    says(look("--images", "pets"), **{part: words})


def test_nested_folders_are_of_the_class_above(look):
    paint("pets/cat/2024/may/a.png")
    paint("pets/cat/b.png")
    paint("pets/dog/c.png")
    says(look("--images", "pets"), classes="2: cat 2, dog 1")


def test_a_linked_class_folder(look):
    paint("elsewhere/a.png")
    paint("pets/dog/c.png")
    Path("pets/cat").symlink_to(Path("elsewhere").absolute())
    says(look("--images", "pets"), classes="2: cat 1, dog 1")


def test_an_empty_class_folder(look):
    paint("pets/cat/a.png")
    Path("pets/bird").mkdir()
    outcome = look("--images", "pets")
    says(outcome, labels="no file in 1: bird", classes="1: cat 1")
    says(outcome, classes="one class alone", batch="targets (1,) int64, 0..0")


def test_a_class_without_a_readable_image(look):
    paint("pets/cat/a.png")
    put("pets/dog/a.png", b"GIF89a, no more")
    says(look("--images", "pets"), classes="2: cat 1, dog 0", faults="1")


def test_images_without_class_folders(look):
    paint("pets/a.png")
    right = str(Path("pets/CLASS/a.png").absolute())
    refused(look("--images", "pets"), 1, "no class folders", right, "--labels")


@pytest.mark.parametrize(
    "parts", [["train", "test"], ["Train", "val"], ["pets-1.0"]], ids=str
)
def test_a_folder_above_the_class_folders(parts, look):
    for part in parts:
        paint(f"data/{part}/cat/a.png")
        paint(f"data/{part}/dog/a.png")
    right = Path("data", sorted(parts)[0]).absolute()
    words = f"give one alone: --images {right}"
    refused(look("--images", "data"), 1, "hold the class folders", words)


def test_classes_that_are_numbers_are_in_their_order(look):
    for name in ("10", "9", "1"):
        paint(f"digits/{name}/a.png")
    says(look("--images", "digits"), classes="3: 1 1, 9 1, 10 1")


def test_names_of_classes(look):
    for name in ("Cat", "cat", "\u8c93 $x$", "a_b^c$"):
        paint(f"pets/{name}/a.png")
    says(
        look("--images", "pets"), classes=["4: Cat 1, a_b^c$ 1, cat 1, \u8c93"]
    )
    says(look("--images", "pets"), classes="'cat': 2 classes that differ")


def test_a_thousand_classes_are_a_few_lines(look):
    for number in range(1000):
        put(f"many/c{number:03}/a.png", b"")
    paint("many/c500/b.png")
    outcome = look("--images", "many")
    says(outcome, classes="1,000: fewest c000 0, c001 0, c002 0; most")
    says(outcome, classes="c500 1", faults=["1,000", "and 997 more"])
    assert len(outcome[1].splitlines()) < 35


def test_unequal_classes(look):
    for number in range(10):
        paint(f"pets/cat/{number}.png")
    paint("pets/dog/a.png")
    says(look("--images", "pets"), classes=["unequal, 1 to 10", "sampler"])


def test_repeated_files_and_contradicting_classes(look):
    first = paint("pets/cat/a.png")
    for other in ("cat/b.png", "dog/c.png"):
        put(f"pets/{other}", first.read_bytes())
    outcome = look("--images", "pets")
    says(outcome, repeated=[str(first.absolute()), "cat/b.png"])
    says(outcome, contradict=["cat and dog", "dog/c.png"])


def test_images_of_many_sizes(look):
    paint("pets/cat/a.png")
    for width in range(1, 10):
        paint(f"pets/dog/{width}.png", size=(width * 20, 30))
    outcome = look("--images", "pets")
    says(outcome, sizes=["and 5 others", "widths 9..180, heights 7..30"])
    says(outcome, batch=["sizes differ", "images (10, 3, 64, 64)"])


def test_an_image_of_one_pixel(look):
    paint("pets/cat/a.png", size=(1, 1))
    says(look("--images", "pets"), batch="(1, 3, 1, 1)", one_colour="a.png")
