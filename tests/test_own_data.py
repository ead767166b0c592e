"""Folders, tables and images as people have them, good and bad."""

import struct
from pathlib import Path

import pytest
from conftest import refused, survived
from PIL import Image

import start_dataloader as script

SECTION = "image_list_is_read_once_before_training"
MINE = ("--images", "mine", "--labels", "mine.csv", "--device", "cpu")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images", "mine"], ["--images", "--labels"]),
        (["--labels", "mine.csv"], ["--labels", "--images"]),
        (["--images"], ["--images"]),
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


@pytest.fixture
def mine(command_line):
    """Return a caller with a folder of two images, and a table of them."""
    Path("mine").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(Path("mine", name))
    Path("mine.csv").write_text("a.png,cat\nb.png,dog\n")

    def call(*flags):
        return command_line(
            "start_dataloader", "--tiny", "--only", SECTION, *(flags or MINE)
        )

    return call


def test_the_good_folder_is_read(mine):
    status, output, errors = mine()
    assert (status, errors) == (0, "")
    assert "2 images" in output and "2 of 9 x 9" in output


def test_folder_that_is_missing_or_a_file(mine):
    for wrong in ("missing", "mine.csv", "", "x" * 300):
        flags = ("--images", wrong or "mine/none", *MINE[2:])
        refused(mine(*flags), 1, "--images", wrong, "no such folder")


def test_table_that_is_missing_or_a_folder(mine):
    for wrong in ("missing.csv", "mine"):
        flags = (*MINE[:2], "--labels", wrong)
        refused(mine(*flags), 1, "--labels", wrong)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["lists no image"]),
        (b"\n\n , \n", ["lists no image"]),
        (b"file,label\n", ["lists no image"]),
        (b"a.png\nb.png\n", ["needs a column with labels"]),
        (b"a.png,cat,more\n", ["needs a column with labels"]),
        (b"file,label\na.png,cat\nb.png,\n", ["file name, label: b.png"]),
        (b"a.png,cat\n,dog\n", ["file name, label: , dog"]),
        ("a.png,cat\n".encode("utf-16"), ["mine.csv"]),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", ["mine.csv"]),
        (b"a.png,\xff\xfe\n", ["mine.csv"]),
        (b"a.png,cat\n" + b"x" * 200_000 + b",dog\n", ["field larger"]),
    ],
)
def test_table_that_is_none(content, words, mine):
    Path("mine.csv").write_bytes(content)
    refused(mine(), 1, "--labels mine.csv", *words)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa.png,cat\nb.png,dog\n",
        b"\xef\xbb\xbffile,label\r\na.png,cat\r\nb.png,dog\r\n",
        b"a.png,cat\rb.png,dog",
        b'"a.png" , "cat"\n\n"b.png","dog"\n,\n',
        b"a.png;cat\nb.png;dog\n",
        b"a.png\tcat\nb.png\tdog\n",
        "a.png,\u8c93\nb.png,\u72d7\n".encode(),
    ],
    ids=[
        "BOM",
        "CRLF, header",
        "CR",
        "quotes",
        "semicolons",
        "tabs",
        "Chinese",
    ],
)
def test_table_as_a_spreadsheet_writes_it(content, mine):
    Path("mine.csv").write_bytes(content)
    survived(mine(), "2 images in the table, 2 classes; 2 can be read")


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
    ("mode", "name"),
    [
        *[("1", "x.png"), ("L", "x.png"), ("P", "x.gif"), ("LA", "x.png")],
        *[("RGBA", "x.png"), ("CMYK", "x.jpg"), ("CMYK", "x.tif")],
        *[("I;16", "x.png"), ("I;16", "x.tif"), ("I", "x.tif"), ("F", "x.tif")],
    ],
)
def test_image_of_another_mode(mode, name, mine):
    ramp(mode).save(Path("mine", name))
    Path("mine.csv").write_text(f"{name},ramp\n")
    survived(mine(), "1 can be read\n1 of 64 x 32")
    image = script.read_image(Path("mine", name))
    assert image.mode == "RGB"
    # Black is black, white is white, and grey lies between.
    row = [
        red
        for red, _, _ in zip(
            *[iter(image.resize((4, 1)).tobytes())] * 3, strict=True
        )
    ]
    assert row == pytest.approx([32, 96, 160, 224], abs=16), row


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_image_that_its_camera_turned(suffix, mine):
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter to the right, when it is shown
    ramp("L").save(Path("mine", f"x.{suffix}"), exif=exif)
    Path("mine.csv").write_text(f"x.{suffix},ramp\n")
    survived(mine(), "1 can be read\n1 of 32 x 64")


def test_no_image_can_be_read(mine):
    for name in ("a.png", "b.png"):
        Path("mine", name).write_bytes(b"GIF89a, no more")
    status, output, errors = mine()
    assert status == 1 and errors.count("\n") == 1
    assert "--images" in errors and "can be read" in errors
    assert "mine/a.png: " in output


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)),
        lambda path: path.write_bytes(path.read_bytes()[:16] + bytes(60)),
        lambda path: path.write_bytes(b"BM" + bytes(99)),
        lambda path: path.write_bytes(b"II*\0" + bytes(99)),
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(99)),
        lambda path: path.write_bytes(b"GIF89a" + bytes(range(99))),
        lambda path: path.write_bytes(b"P6 9 9 255 short"),
        lambda path: path.write_bytes(b"P6 x y z"),
        lambda path: path.write_bytes(b"P6 65000 65000 255 "),
    ],
    ids=[
        *("missing", "a folder", "empty", "cut", "zeros", "zero size"),
        *("bmp", "tiff", "jpeg", "gif", "ppm", "ppm head", "a bomb"),
    ],
)
def test_damaged_image_is_named_and_the_rest_goes_on(damage, mine):
    damage(Path("mine", "b.png"))
    survived(mine(), "1 can be read", "cannot be read: mine/b.png: ")


def test_a_name_too_long_for_a_file(mine):
    long = "x" * 300
    Path("mine.csv").write_text(f"a.png,cat\n{long},cat\n")
    error = f"cannot be read: mine/{long}: File name too long"
    survived(mine(), "1 can be read", error)


def test_data_that_cannot_be_fetched(mine, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [])
    Path("plain").write_text("mine")
    for folder in ("plain", "none/yet"):
        flags = ("--data", "mnist", "--data-dir", folder)
        refused(mine(*flags), 1, "--data mnist", folder, "--data digits")
    assert Path("plain").read_text() == "mine"


def test_figures_folder_that_is_a_file(command_line):
    Path("plain").write_text("mine")
    name = "two_tones_tell_the_key_of_a_telephone"
    flags = ("--tiny", "--only", name, "--figures", "plain")
    refused(command_line("start_dataloader", *flags), 2, "--figures", "plain")
    assert Path("plain").read_text() == "mine"
