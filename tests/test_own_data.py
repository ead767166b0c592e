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
    if os.name == "nt":
        pytest.skip("links need a right there")
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
    for name in ("cat", "\u8c93 $x$", "a_b^c$"):
        paint(f"pets/{name}/a.png")
    classes = "3: a_b^c$ 1, cat 1, \u8c93 $x$ 1"
    says(look("--images", "pets"), classes=classes)


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


# Images, as they are.


def ramp(mode: str) -> Image.Image:
    """Return 64 x 32 pixels from black on the left to white on the right."""
    image = Image.linear_gradient("L").rotate(90).resize((64, 32))
    if mode.startswith("I"):  # 16 bits: 256 times as much
        sixteen = [value << 8 for value in image.tobytes()]
        image = Image.frombytes(
            "I;16", (64, 32), struct.pack("<2048H", *sixteen)
        )
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "name", "words"),
    [
        ("RGB", "x.jpg", "1 RGB"),
        ("1", "x.png", "1 black and white to RGB"),
        ("L", "x.png", "1 grey to RGB"),
        ("P", "x.gif", "1 palette to RGB"),
        ("LA", "x.png", "1 alpha on white"),
        ("RGBA", "x.png", "1 alpha on white"),
        ("CMYK", "x.jpg", "1 CMYK to RGB"),
        ("CMYK", "x.tif", "1 CMYK to RGB"),
        ("I;16", "x.png", "1 of 16 bits or more"),
        ("I;16", "x.tif", "in files of 16 bits or more: 512..64768"),
        ("I", "x.tif", "1 of 16 bits or more"),
        ("F", "x.tif", "stretched to 0..255 values"),
    ],
)
def test_image_of_another_mode(mode, name, words, look):
    path = put(f"mine/ramp/{name}")
    ramp(mode).save(path)
    outcome = look("--images", "mine")
    says(outcome, read_as=words, sizes="1 of 64 x 32", samples="1 can be")
    image = script.read_image(path)
    assert image.mode == "RGB"
    # Black is black, white is white, and grey lies between.
    red = image.resize((4, 1)).getchannel("R").tobytes()
    assert list(red) == pytest.approx([32, 96, 160, 224], abs=16)


def test_alpha_is_white_in_a_palette_as_well(look):
    path = put("mine/disc/x.gif")
    image = Image.new("P", (4, 4), 0)
    image.putpixel((1, 1), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(path, transparency=0)
    says(look("--images", "mine"), read_as="1 alpha on white")
    assert script.read_image(path).getpixel((0, 0)) == (255, 255, 255)
    assert script.read_image(path).getpixel((1, 1)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_image_that_its_camera_turned(suffix, look):
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter to the right, when it is shown
    ramp("L").save(put(f"mine/ramp/x.{suffix}"), exif=exif)
    outcome = look("--images", "mine")
    says(outcome, sizes="1 of 32 x 64", read_as="1 turned upright by EXIF")


def test_sixteen_bits_that_use_few_values(look):
    values = Image.frombytes("I;16", (2, 1), struct.pack("<2H", 291, 694))
    values.save(put("mine/cell/x.png"))
    says(look("--images", "mine"), read_as=": 291..694", pixels="0..255")


def test_floats_with_nan_and_inf(look):
    numbers = struct.pack("<4f", float("nan"), float("inf"), 2.0, 4.0)
    image = Image.frombytes("F", (2, 2), numbers)
    image.save(put("mine/cell/x.tif"))
    says(look("--images", "mine"), read_as=": 0..4", pixels="bytes 0..255")


def test_an_animation(look):
    frames = [Image.new("L", (5, 4), level) for level in (10, 90)]
    path = put("mine/run/x.gif")
    frames[0].save(path, save_all=True, append_images=frames[1:])
    says(look("--images", "mine"), read_as="1 the first of several frames")


def test_an_image_of_one_colour(look):
    Image.new("L", (5, 4), 7).save(put("mine/blank/x.png"))
    says(look("--images", "mine"), one_colour="1 ", pixels="bytes 7..7")


def test_a_name_without_an_ending(look):
    paint("mine/cat/a.png").rename("mine/cat/image0001")
    says(look("--images", "mine"), samples="1 can be read of 1")


PNG_HEAD = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no format that Pillow reads (it is empty)"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\n<html><body>404", "an HTML page"),
        (b"\0\0\0\x18ftypheic" + bytes(80), "HEIC: save it as JPEG"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"%PDF-1.7", "it is a PDF"),
        (b"file,label\na.png,cat\n", "no format that Pillow reads"),
        (PNG_HEAD + bytes(99), "x.jpg: "),
        (PNG_HEAD + b"\0\0\0\rIHDR" + bytes(60), "x.jpg: "),
        (b"BM" + bytes(99), "x.jpg: "),
        (b"II*\0" + bytes(99), "x.jpg: "),
        (b"\xff\xd8\xff\xe0" + bytes(99), "x.jpg: "),
        (b"GIF89a" + bytes(range(99)), "x.jpg: "),
        (b"P6 9 9 255 short", "not a whole image"),
        (b"P6 x y z", "x.jpg: "),
        (b"P6 65000 65000 255 ", "pixels"),
    ],
    ids=[
        *("empty", "html", "html 2", "heic", "git lfs", "pdf", "csv", "zeros"),
        *("zero size", "bmp", "tiff", "jpeg", "gif", "ppm", "ppm head", "huge"),
    ],
)
def test_no_image(content, words, look):
    paint("mine/cat/a.png")
    path = put("mine/cat/x.jpg", content).absolute()
    outcome = look("--images", "mine")
    says(outcome, samples="1 can be read of 2", faults=[f"1 {path}: ", words])


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_a_truncated_image(suffix, look):
    paint("mine/cat/a.png")
    path = put(f"mine/cat/x.{suffix}")
    image = Image.effect_noise((64, 64), 90)
    image.convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    outcome = look("--images", "mine")
    says(outcome, samples="1 can be read of 2", faults="not a whole image")


def test_no_image_can_be_read(look):
    for number in range(5):
        put(f"mine/cat/{number}.png", b"GIF89a, no more")
    status, output, errors = look("--images", "mine")
    assert status == 1 and errors.count("\n") == 1
    assert str(Path("mine").absolute()) in errors
    assert "no image in it can be read" in errors
    assert "cat/2.png" in output and "and 2 more" in output


def test_a_broken_link_and_a_folder_named_as_a_file(look):
    paint("mine/cat/a.png")
    Path("mine/cat/folder.png").mkdir()
    if os.name != "nt":
        Path("mine/cat/x.png").symlink_to("nowhere.png")
        says(look("--images", "mine"), faults="x.png: No such file")
    says(look("--images", "mine"), classes="1: cat 1")


@pytest.mark.skipif(not CIFAR.is_dir(), reason="no shared/data/cifar10-sample")
def test_real_photographs(look):
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    says(
        look("--images", str(CIFAR)),
        samples="2,500 can be read of 2,500",
        faults="none",
        classes="10: " + ", ".join(f"{name} 250" for name in names.split()),
        sizes="2,500 of 32 x 32",
        read_as="2,500 RGB",
        # Of all of CIFAR-10 0.491, 0.482, 0.447 and 0.247, 0.243, 0.262.
        pixels=["mean 0.492, 0.483, 0.446", "std  0.244, 0.242, 0.260"],
        repeated="none",
    )
