"""Folders, tables, images, sounds and texts as people have them."""

import itertools
import math
import os
import re
import struct
import zlib
from pathlib import Path

import pytest
import torch
from conftest import refused, survived
from matplotlib.figure import Figure
from PIL import Image

import start_dataloader as script

EACH = itertools.count(1)  # so that no two files are alike
CIFAR = Path(__file__).parents[2] / "shared" / "data" / "cifar10-sample"


@pytest.fixture
def look(command_line, monkeypatch):
    """Return a caller of a report in an empty folder.

    Nine panels take longer than all the rest: here they are one, unsaved.
    """
    figure = Figure()
    one_panel = figure, [(0, figure.subplots())]
    monkeypatch.setattr(script, "nine_panels", lambda count: one_panel)
    monkeypatch.setattr(script, "save_figure", lambda *args: None)

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
    """Check for a good end, and for words in the parts of the report.

    A number alone, as "1 ", is the count with which the part begins.
    """
    parts = told(outcome)
    survived(outcome)
    for name, words in expected.items():
        name = name.replace("_", " ")
        for word in [words] if isinstance(words, str) else words:
            text = parts[name]
            if re.fullmatch(r"[\d,]+ ", word):
                assert f"{text} ".startswith(word), (name, text)
            assert word in f"{text} ", (name, text)


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
        conflicts="none",
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
        ("pets/cat/@eaDir/a.png/THUMB_M.jpg", "faults", "none"),
        ("pets/lost+found/x", "classes", "2: cat 1, dog 1"),
        ("pets/cat/_DS_Store", "left out", "1 hidden"),
        ("pets/readme.txt", "left out", "1 beside the class folders: readme"),
        ("pets/labels.csv", "left out", "a table of labels? --labels /"),
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
    outcome = look("--images", "pets")
    says(outcome, classes="2: cat 2, dog 1", labels="1 files are in folders")


def test_a_linked_class_folder(look):
    paint("elsewhere/a.png")
    paint("pets/dog/c.png")
    if os.name == "nt":
        pytest.skip("links need a right there")
    Path("pets/cat").symlink_to(Path("elsewhere").absolute())
    says(look("--images", "pets"), classes="2: cat 1, dog 1")


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("link", ["pets/pets", "pets/cat/all"])
def test_a_link_that_leads_back(link, look):
    """`ln -s PLACE pets`, called twice, puts a link into pets."""
    for name in ("cat", "dog"):
        paint(f"pets/{name}/a.png")
    Path(link).symlink_to(Path("pets").absolute())
    outcome = look("--images", "pets")
    says(outcome, classes="2: cat 1, dog 1", samples="2 can be read of 2")
    says(outcome, repeated="none", faults="none")


def test_a_folder_that_cannot_be_listed(look, monkeypatch):
    paint("pets/cat/a.png")
    paint("pets/dog/a.png")
    scandir = os.scandir

    def deny(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    where = str(Path("pets/dog").absolute())
    refused(look("--images", "pets"), 1, f"{where}: Permission denied")


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
    refused(
        look("--images", "pets"),
        1,
        "no folder for each class",
        right,
        "--labels",
    )


@pytest.mark.parametrize(
    "parts",
    [
        ["train", "test"],
        ["Train", "val"],
        ["Training", "Testing"],  # tumours, fruits
        ["seg_train", "seg_test", "seg_pred"],  # buildings, forests
        ["training_set", "test_set"],  # cats and dogs
        ["train", "val", "test", "chest_xray", "__MACOSX"],  # X-rays
        ["train1", "test1", "data"],
    ],
    ids=str,
)
@pytest.mark.parametrize("deep", [True, False])
def test_parts_of_a_data_set_are_no_classes(parts, deep, look):
    for part in parts:
        paint(f"data/{part}/cat/a.png" if deep else f"data/{part}/a.png")
    put(f"data/{parts[0]}/readme.txt")
    right = f"give one alone: --images {Path('data', parts[0]).absolute()}"
    refused(look("--images", "data"), 1, "parts of a data set", right)


def test_a_folder_above_the_class_folders(look):
    paint("data/pets-1.0/cat/a.png")
    paint("data/pets-1.0/dog/a.png")
    put("data/pets-1.0/licence.txt")
    put("data/readme.txt")
    right = f"give one alone: --images {Path('data/pets-1.0').absolute()}"
    refused(look("--images", "data"), 1, "classes are deeper", right)


def test_a_class_may_be_named_train(look):
    for name in ("bus", "train", "valley"):
        paint(f"vehicles/{name}/a.png")
    says(look("--images", "vehicles"), classes="3: bus 1, train 1, valley 1")


def test_classes_that_are_numbers_are_in_their_order(look):
    for name in ("10", "9", "1"):
        paint(f"digits/{name}/a.png")
    says(look("--images", "digits"), classes="3: 1 1, 9 1, 10 1")


def test_classes_of_sounds_and_texts_that_are_numbers(look):
    for name in ("10", "9", "1"):
        tone(f"digits/{name}/a.wav")
        put(f"stars/{name}/a.txt", name)
    for outcome in (look("--sounds", "digits"), look("--texts", "stars")):
        says(outcome, classes="3: 1 1, 9 1, 10 1")


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
    says(outcome, conflicts=["cat and dog", "dog/c.png"])


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


def test_sixteen_bits_a_colour(look):
    """Pillow keeps the upper 8 bits of each: 0..694 becomes 0..2."""

    def chunk(name, data):
        size, check = len(data), zlib.crc32(name + data)
        return struct.pack(">I4s", size, name) + data + struct.pack(">I", check)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    pixels = zlib.compress(b"\0" + struct.pack(">6H", 0, 9, 694, 300, 2, 5))
    body = head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    put("mine/cell/x.png", PNG_HEAD + body)
    outcome = look("--images", "mine")
    says(outcome, read_as="1 of 16 bits a colour, their upper 8 are taken")
    says(outcome, pixels="bytes 0..2;")


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
        (b"\0\0\0\x18ftypheic" + bytes(80), "HEIC or AVIF: save it as JPEG"),
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
    assert "no file in it can be read" in errors
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


# Images, and a table of their labels.

MINE = ("--images", "mine", "--labels", "mine.csv")


@pytest.fixture
def mine(look):
    """Return a caller with images a.png to d.png and a table's content."""
    for name in "abcd":
        paint(f"mine/{name}.png")

    def call(content, *flags):
        put("mine.csv", content)
        return look(*MINE, *flags)

    return call


CAT_AND_DOG = "a.png,cat\nb.png,dog\n"


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (CAT_AND_DOG, "none, row 1 is a sample"),
        (f"file,label\n{CAT_AND_DOG}", "file, label"),
        (f"\ufeff{CAT_AND_DOG}", "none"),
        (f"sep=;\r\nfile;label\r\n{CAT_AND_DOG.replace(',', ';')}", "file, "),
        (
            f"\ufefffile,label\n{CAT_AND_DOG}".replace("\n", "\r\n"),
            "file, label",
        ),
        ("a.png,cat\rb.png,dog", "none"),
        ('"a.png" , "cat"\n\n"b.png","dog"\n,\n', "none"),
        ("a.png;cat\nb.png;dog\n", "none"),
        ("a.png\tcat\nb.png\tdog\n", "none"),
        ("cat,a.png\ndog,b.png\n", "none"),
        ("label,file\ncat,a.png\ndog,b.png\n", "label, file"),
        (f"image.name,label\n{CAT_AND_DOG}", "image.name, label"),
        (f"\u6a94\u540d,\u985e\u5225\n{CAT_AND_DOG}", "\u6a94\u540d, "),
        ("a.png,cat,\nb.png,dog,\n", "none"),
        ("id,breed\na,cat\nb,dog\n", "id, breed"),
        (",file,label\n0,a.png,cat\n1,b.png,dog\n", "1, file, label"),
        ("photos/a.png,cat\n/tmp/photos/b.png,dog\n", "none"),
        (".\\a.png,cat\nphotos\\b.png,dog\n", "none"),
        ("./a.png,cat\n./b.png,dog\n", "none"),
        ("path,split,label\na.png,train,cat\nb.png,train,dog", "path, split"),
        ("file,split,Class\na.png,x,cat\nb.png,x,dog\n", "file, split, Class"),
    ],
    ids=[
        *(
            "plain",
            "header",
            "BOM",
            "sep=",
            "BOM, CRLF, header",
            "CR",
            "quotes",
        ),
        *("semicolons", "tabs", "label first", "header, label first"),
        *("dotted header", "Chinese header", "comma at the end"),
        *("no endings", "numbered by pandas", "more folders", "Windows"),
        *("dots", "split and label", "capital Class"),
    ],
)
def test_table_as_programs_write_it(content, header, mine):
    outcome = mine(content)
    says(outcome, samples="2 can be read of 2", faults="none", header=header)
    says(outcome, classes="2: cat 1, dog 1", not_listed=["2 ", "c.png"])


def test_columns_of_boxes(mine):
    """The second column is the width, and an image may have several rows."""
    head = "filename,width,height,class,xmin,ymin,xmax,ymax"
    rows = "a.png,9,7,cat,0,0,3,3\na.png,9,7,cat,4,4,6,6\nb.png,9,7,dog,0,0,2,2"
    outcome = mine(f"{head}\n{rows}\n")
    says(outcome, columns="files in 'filename', labels in 'class' boxes: ")
    says(outcome, rows="3, of 2 files", classes="2: cat 2, dog 1")
    says(outcome, repeated="a.png in several rows", conflicts="none")


@pytest.mark.parametrize(
    ("content", "flags", "words"),
    [
        (
            "a.png,train,cat\nb.png,test,dog\n",
            [],
            ["--label-column", "1, 2, 3"],
        ),
        ("file,a,b\na.png,x,y\n", [], ["which column", "file, a, b"]),
        (CAT_AND_DOG, ["--label-column", "x"], ["no column 'x'", "has 1, 2"]),
        ("file,x,x\na.png,1,2\n", ["--label-column", "x"], ["2 columns 'x'"]),
        ("file,X\na.png,1\n", ["--label-column", "x"], ["it has file, X"]),
    ],
)
def test_which_column_has_the_labels(content, flags, words, mine):
    refused(mine(content, *flags), 1, "mine.csv", *words)


def test_the_label_column_is_named(mine):
    content = "file,kind,sex\na.png,cat,f\nb.png,dog,m\n"
    outcome = mine(content, "--label-column", "sex")
    says(outcome, columns="labels in 'sex'", classes="f 1, m 1")
    outcome = mine(content.partition("\n")[2], "--label-column", "3")
    says(outcome, columns="labels in '3'", classes="f 1, m 1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["there is no row in it"]),
        (b"\n\n , \n", ["there is no row in it"]),
        (b"file,label\n", ["no row names a file"]),
        (b"a.png\nb.png\n", ["one column alone", "'a.png'", "semicolons"]),
        (b"a.png|cat\nb.png|dog\n", ["'a.png|cat'", "tabs"]),
        ("a.png,cat\n".encode("utf-16"), ["not UTF-8", "save it as CSV UTF-8"]),
        ("a.png,cat\n".encode("utf-16-le"), ["not UTF-8"]),
        ("a.png,\u8c93\n".encode("cp950"), ["not UTF-8"]),
        (b"PK\x03\x04" + bytes(80), ["an Excel workbook", "CSV UTF-8"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["not UTF-8"]),
        (b"a.png,cat\n" + b"x" * 200_000 + b",dog\n", ["field larger"]),
        (b"x.png,cat\ny.png,dog\n", ["no row names a file", "there: a.png"]),
    ],
)
def test_table_that_is_none(content, words, mine):
    where = f"--labels {Path('mine.csv').absolute()}"
    refused(mine(content), 1, where, *words)


def test_table_that_is_missing_or_a_folder(mine, look):
    mine(CAT_AND_DOG)
    for wrong in ("missing.csv", "mine"):
        refused(look(*MINE[:3], wrong), 1, "--labels", wrong)


def test_a_folder_without_a_file_for_a_table(look):
    Path("mine").mkdir()
    put("mine.csv", CAT_AND_DOG)
    refused(look(*MINE), 1, "there is no file in it")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("lost.png,cat", ["row 3: no such file", "mine/lost.png"]),
        ("c.png,", ["row 3: no label: c.png"]),
        ("c.png", ["row 3: no label: c.png"]),
        (",dog", ["row 3: no such file"]),
        ("x" * 300 + ".png,cat", ["row 3: no such file", "x.png"]),
        ("../mine.csv,cat", ["row 3: no such file"]),
    ],
)
def test_a_row_with_a_fault(row, words, mine):
    outcome = mine(f"{CAT_AND_DOG}{row}\n")
    where = f"1 {Path('mine.csv').absolute()}, "
    says(outcome, samples="2 can be read of 2", faults=[where, *words])


def test_a_first_row_whose_file_is_missing_is_no_header(mine):
    says(mine(f"lost.png,cat\n{CAT_AND_DOG}"), header="none", faults="row 1")
    says(mine("a1,cat\nb,dog\nc,cat\n"), header="none", faults="row 1")
    says(mine(f"a1,cat\n{CAT_AND_DOG}"), header="none", faults="row 1")
    outcome = mine(f"image_9.png,cat\n{CAT_AND_DOG}")
    says(outcome, header="none", faults="row 1: no such file")


def test_duplicate_and_contradictory_rows(mine):
    outcome = mine(f"{CAT_AND_DOG}a.png,cat\nb.png,cat\n")
    says(outcome, repeated=["1 ", "a.png in several rows"])
    says(outcome, conflicts=["1 dog and cat: ", "b.png in several rows"])
    says(outcome, rows="4, of 2 files", samples="4 can be read of 4")


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("Cat", "cat", "'cat': 2 classes that differ in capitals or"),
        (
            "caf\xe9",
            "cafe\u0301",
            "2 classes that differ in capitals or encoding",
        ),
        ("cat", "NA", "NA: a class, or a missing label?"),
        ("?", "1", "?: a class, or a missing label?"),
        ("1", "nan", "nan: a class, or a missing label?"),
        ('"1,5"', '"2,5"', "2: 1,5 1, 2,5 1 a number is written 1.5, not 1,5"),
    ],
)
def test_classes_that_are_perhaps_none(first, second, words, mine):
    says(mine(f"a.png,{first}\nb.png,{second}\n"), classes=words)


def test_an_amount_is_missing(mine):
    outcome = mine("a.png,31.5\nb.png,NA\nc.png,18\nd.png,\n")
    says(outcome, labels="18..31.5", batch="targets (2,) float64")
    says(outcome, faults=["2 ", "b.png: 'NA' is no number", "no label: d.png"])


def test_other_files_of_the_same_name_as_an_image(mine):
    """An id means the image, also where other programs left files by it."""
    put("mine/a.json", "{}")
    put("mine/b.aux", "{}")
    paint("mine/deep/e.png")
    put("mine/deep/e.json", "{}")
    outcome = mine("id,label\na,cat\nb,dog\ne,dog\n")
    says(outcome, samples="3 can be read of 3", classes="2: cat 1, dog 2")


def test_separators_in_quotes_and_decimal_commas(mine):
    outcome = mine("a.png;1,5;2,5\nb.png;2,5;3,5\n", "--label-column", "3")
    says(outcome, header="columns 1, 2, 3", classes="2: 2,5 1, 3,5 1")
    outcome = mine(f'"file; its; name",label\n{CAT_AND_DOG}')
    says(outcome, header="file; its; name, label", classes="2: cat 1, dog 1")


def test_names_in_other_scripts(mine):
    paint("mine/\u8c93/\u5927 1.png")
    paint("mine/cafe\u0301.png")  # as macOS stores it
    content = "\u8c93/\u5927 1.png,\u8c93\ncaf\xe9.png,caf\xe9\n"
    says(mine(content), classes="2: caf\xe9 1, \u8c93 1", faults="none")


def test_short_names_of_files_in_folders(mine):
    """A name that two files have says nothing."""
    for name in ("cat/x1", "dog/x2", "cat/y", "dog/y"):
        paint(f"mine/{name}.png")
    rows = "x1.png,cat\nx2,dog\ncat/y,cat\ny.png,dog\ny,dog\n"
    outcome = mine(f"{rows}data/mine/dog/y.png,dog\n")
    says(outcome, samples="4 can be read of 4", classes="2: cat 2, dog 2")
    says(outcome, faults=["2 ", "row 4: no such file", "row 5: no such file"])


def test_labels_that_are_names_of_files_as_well(look):
    for number in range(6):
        paint(f"mine/{number}.png")
    rows = [f"{number % 2},{number}.png" for number in range(6)]
    put("mine.csv", "\n".join(rows))
    says(look(*MINE), columns="files in '2'", classes="2: 0 3, 1 3")
    rows = [f"{number % 2},{number}" for number in range(6)]
    put("mine.csv", "\n".join(["digit,id", *rows]))
    says(look(*MINE), columns="files in 'id'", classes="2: 0 3, 1 3")


def test_a_file_of_another_folder_is_not_taken_for_it(mine):
    paint("mine/dog/1.png")
    outcome = mine(f"{CAT_AND_DOG}cat/1.png,cat\n")
    says(outcome, samples="2 can be read of 2", faults="mine/cat/1.png")


def test_labels_that_are_amounts_and_labels_that_are_classes(mine):
    outcome = mine("a.png,31\nb.png,42.5\nc.png,18\nd.png,70\n")
    says(outcome, labels=["18..70, mean 40.38", "a regression"])
    says(outcome, batch="targets (4,) float64, 18..70")
    outcome = mine("a.png,10\nb.png,2\nc.png,10\nd.png,2\n")
    says(outcome, classes="2: 2 2, 10 2 whole numbers that repeat")
    says(outcome, batch="targets (4,) int64, 0..1")


def test_labels_beside_the_images(look):
    paint("mine/a.png")
    put("mine/labels.csv", "a.png,cat\n")
    outcome = look("--images", "mine", "--labels", "mine/labels.csv")
    says(outcome, samples="1 can be read of 1", classes="1: cat 1")
    assert "not listed" not in outcome[1]


# Sounds.


def test_sounds_in_class_folders(look):
    for digit in (0, 7):
        for take in range(3):
            tone(f"digits/{digit}/{digit}_jackson_{take}.wav", 800 + take)
    says(
        look("--sounds", "digits"),
        samples="6 can be read of 6",
        faults="none",
        classes="2: 0 3, 7 3",
        rates="6 of 8,000 samples a second",
        read_as="6 of 16 bits",
        lengths="0.1..0.1 s, median 0.1 s",
        values="-0.500..0.500",
        batch=["waveforms (6, 802) float32", "lengths (6,) int64, 800..802"],
    )


@pytest.mark.parametrize(
    ("bits", "code", "channels", "words"),
    [
        (8, 1, 1, "of 8 bits"),
        (16, 1, 1, "of 16 bits"),
        (24, 1, 1, "of 24 bits"),
        (32, 1, 1, "of 32 bits"),
        (32, 3, 1, "1 of 32-bit floats"),
        (16, 1, 2, "1 of 2 channels, their mean is taken"),
        (24, 1, 6, "1 of 6 channels, their mean is taken"),
    ],
)
def test_a_format_of_wav(bits, code, channels, words, look):
    wave = 0.5 * torch.sin(torch.arange(900) * 0.3)
    sound = torch.stack([wave] * channels, dim=1)
    path = put("mine/a/x.WAV")
    script.write_wav(path, sound, 44_100, bits, code)
    outcome = look("--sounds", "mine")
    says(outcome, read_as=words, rates="1 of 44,100", batch="(1, 900) float32")
    samples, _ = script.read_wav(path)
    assert (samples - sound).abs().max() < 2 / 2 ** min(bits - 1, 20)


def wav(head: tuple, data: bytes, size: int | None = None) -> bytes:
    """Return a WAV file of these fields, whole or not."""
    fields = struct.pack("<HHIIHH", *head)
    chunks = b"fmt " + struct.pack("<I", len(fields)) + fields
    size = len(data) if size is None else size
    chunks += b"LIST\x03\0\0\0abc\0"  # an odd size, and a byte to fill
    chunks += b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


MONO = (1, 1, 8000, 16000, 2, 16)
SOUND = struct.pack("<400h", *range(0, 4000, 10))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            wav((3, 1, 8000, 64000, 8, 64), struct.pack("<9d", *[0.5] * 9)),
            "64-bit",
        ),
        (wav(MONO, SOUND, 2**32 - 1), "16 bits"),  # as a recorder streams it
        (wav(MONO, SOUND + b"x"), "16 bits"),
        (wav(MONO, SOUND) + b"id3 \x04\0\0\0abcd", "16 bits"),
    ],
    ids=["float64", "size unknown", "a byte too many", "a chunk behind"],
)
def test_an_unusual_wav(content, words, look):
    put("mine/a/x.wav", content)
    says(look("--sounds", "mine"), samples="1 can be", read_as=words)


def test_extensible_wav(look):
    fields = struct.pack("<HHIIHH", 0xFFFE, 1, 8000, 32000, 4, 32)
    fields += struct.pack("<HHIH", 22, 32, 0, 3) + bytes(14)
    data = struct.pack("<4f", 0.5, -0.25, 0, 1.5)
    content = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 40) + fields
    put("mine/a/x.wav", content + b"data\x10\0\0\0" + data)
    outcome = look("--sounds", "mine")
    says(outcome, values=["-0.250..1.500", "beyond -1..1"], faults="none")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no WAV file (it is empty)"),
        (b"ID3\x04" + bytes(90), "no WAV file (it is MP3"),
        (b"\xff\xfb\x90" + bytes(90), "no WAV file (it is MP3"),
        (b"OggS" + bytes(90), "no WAV file (it is Ogg"),
        (b"fLaC" + bytes(90), "no WAV file (it is FLAC"),
        (b"\0\0\0\x20ftypM4A " + bytes(90), "no WAV file (it is MP4"),
        (b"<html>404", "an HTML page"),
        (b"RIFF\0\0\0\0WAVE", "no format in it"),
        (wav(MONO, b""), "no samples"),
        (wav(MONO, b"x"), "no samples"),
        (wav(MONO, SOUND)[:-9], "cut off"),
        (wav(MONO, SOUND)[:30], "cut off"),
        (wav((1, 0, 8000, 0, 0, 16), SOUND), "0 channels"),
        (wav((1, 1, 0, 0, 2, 16), SOUND), "0 samples a second"),
        (wav((1, 1, 8000, 0, 2, 12), SOUND), "format 1 of 12 bits"),
        (wav((6, 1, 8000, 8000, 1, 8), SOUND), "compressed, see README.md"),
        (wav(MONO, SOUND)[:18], "no format in it"),
        (wav((0xFFFE, 1, 8000, 8000, 2, 16), SOUND), "format 65534"),
        (wav((3, 1, 8, 32, 4, 32), struct.pack("<f", math.nan)), "nan or inf"),
    ],
)
def test_no_wav(content, words, look):
    tone("mine/a/good.wav")
    path = put("mine/a/7_jackson_3.wav", content).absolute()
    outcome = look("--sounds", "mine")
    says(outcome, samples="1 can be read of 2", faults=[f"1 {path}: ", words])


def test_files_of_several_rates(look):
    tone("mine/a/1.wav", 400, 8000)
    tone("mine/a/2.wav", 800, 16_000)
    tone("mine/a/3.wav", 200, 8000)
    outcome = look("--sounds", "mine")
    says(outcome, rates=["2 of 8,000", "1 of 16,000", "resampled to 8,000"])
    says(outcome, batch=["waveforms (3, 400)", "lengths (3,) int64, 200..400"])


def test_silent_clipped_repeated_and_contradicting_sounds(look):
    path = tone("mine/a/1.wav")
    put("mine/a/2.wav", path.read_bytes())
    put("mine/b/3.wav", path.read_bytes())
    script.write_wav(Path("mine/a/4.wav"), torch.zeros(50), 8000)
    loud = (3 * torch.sin(torch.arange(300) * 0.2)).clamp(-1, 1)
    script.write_wav(Path("mine/a/5.wav"), loud, 8000)
    outcome = look("--sounds", "mine")
    says(outcome, silent=["1 ", "a/4.wav"], clipped=["1 ", "a/5.wav"])
    says(outcome, repeated=["1 ", "a/2.wav"], conflicts=["a and b", "b/3.wav"])


def test_floats_beyond_1_are_not_clipped(look):
    loud = 20_000 * torch.sin(torch.arange(300) * 0.2)
    path = put("mine/a/1.wav")
    script.write_wav(path, loud, 8000, 32, 3)
    outcome = look("--sounds", "mine")
    says(outcome, values="floats beyond -1..1: divide them")
    assert "clipped" not in outcome[1]


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("mine/a/._1.wav", "1 hidden"),
        ("mine/.DS_Store", "1 hidden"),
        ("mine/a/x.mp3", "a/x.mp3 because they are not CLASS/NAME.wav"),
        ("mine/a/deep/x.wav", "a/deep/x.wav because they are not CLASS/NAME"),
        ("mine/readme.md", "1 beside the class folders: readme.md"),
    ],
)
def test_other_files_among_the_sounds(extra, words, look):
    tone("mine/a/1.wav")
    put(extra, b"no sound")
    outcome = look("--sounds", "mine")
    says(outcome, left_out=words, samples="1 can be read of 1", faults="none")


def test_sounds_without_class_folders(look):
    tone("mine/7_jackson_3.wav")
    right = str(Path("mine/CLASS/7_jackson_3.wav").absolute())
    refused(look("--sounds", "mine"), 1, "no folder for each class", right)


def test_folders_without_a_wav(look):
    put("mine/a/x.mp3", b"ID3")
    refused(look("--sounds", "mine"), 1, "mine/CLASS/NAME.wav", "no file")
    put("mine/a/x.wav", b"ID3")
    status, output, errors = look("--sounds", "mine")
    assert status == 1 and "no file in it can be read" in errors


# Tables of numbers.

HOUSES = "price,area,floor\n90,40,1\n110,60,3\n150,80,1\n"


@pytest.fixture
def table(look):
    """Return a caller with the content of a table, and flags."""

    def call(content, *flags):
        put("mine.csv", content)
        return look("--table", "mine.csv", *flags)

    return call


def test_a_regression(table):
    says(
        table(HOUSES, "--label-column", "price"),
        table=str(Path("mine.csv").absolute()),
        header="price, area, floor",
        samples="3 rows can be used of 3",
        faults="none",
        labels=["column 'price'", "90..150, mean 116.7", "a regression"],
        column=["area: 40..80, mean 60, std 16.33", "floor: 1..3"],
        repeated="none",
        batch=["x (3, 2) float32", "y (3,) float32, 90..150"],
    )


def test_no_label_column(table):
    outcome = table(HOUSES)
    says(outcome, labels="none named: --label-column", batch="x (3, 3) float32")
    assert "batch      y" not in outcome[1]


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (HOUSES, "price, area, floor"),
        (HOUSES.replace(",", ";"), "price, area, floor"),
        (HOUSES.replace(",", "\t"), "price, area, floor"),
        (HOUSES.replace("\n", "\r\n"), "price, area, floor"),
        ("\ufeff" + HOUSES, "price, area, floor"),
        (HOUSES.partition("\n")[2], "none, row 1 is a sample; columns 1, 2, 3"),
        ("0,1,2,3\n90,40,1,7\n110,60,3,7\n", "0, 1, 2, 3"),
        ("label,0,1\n4,0,200\n7,9,120\n", "label, 0, 1"),
        ("label,0,1,2,3,4\n4,0,0,0,200,0\n7,9,9,9,120,0\n", "label, 0, 1"),
        ("?,60,3\n90,40,1\n110,60,3\n", "none"),
        ('"area","a ""b"", c"\n"1","2"\n"3","4"\n', 'area, a "b", c'),
        ("\u9762\u7a4d,\u6a13\n1,2\n3,5\n", "\u9762\u7a4d, \u6a13"),
        ("a,a\n1,2\n3,5\n", "a, a"),
        ("PK,area\n1,40\n2,60\n", "PK, area"),  # not an Excel workbook
        ('"a; b; c";d\n1;2\n3;5\n', "a; b; c, d"),
        ('"a; b; c",d\n1,2\n3,5\n', "a; b; c, d"),
        ("1,5;3,5;7\n2,5;4,5;8\n", "none, row 1 is a sample; columns 1, 2, 3"),
        ("sep=;\na;b\n1;2\n2;4\n", "a, b"),
    ],
)
def test_header_of_a_table(content, header, table):
    says(table(content), header=header)


IRIS = "5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,virginica\n5,3,setosa\n"


@pytest.mark.parametrize(
    ("content", "column"),
    [
        (IRIS, "3"),
        (f"length,width,species\n{IRIS}", "species"),
        (f"length,width,class\n{IRIS}", ""),  # its name says it
    ],
)
def test_words_are_classes(content, column, table):
    flags = ["--label-column", column] if column else []
    outcome = table(content, *flags)
    says(outcome, classes="3: setosa 2, versicolor 1, virginica 1")
    says(outcome, batch=["x (4, 2) float32", "y (4,) int64, 0..2"])


@pytest.mark.parametrize(
    ("labels", "name", "words"),
    [
        ([0, 1, 1, 0], "classes", "2: 0 2, 1 2"),
        ([0, 1], "classes", "2: 0 1, 1 1"),
        ([3, 7, 3, 7, 7], "classes", "2: 3 2, 7 3 whole numbers that repeat"),
        (["1.0", "2.0"] * 3, "classes", "2: 1.0 3, 2.0 3"),
        ([*range(100)] * 5, "classes", "100: fewest"),
        ([10, 9, 1] * 3, "classes", "3: 1 3, 9 3, 10 3"),
        ([90, 110, 150], "labels", "a regression"),
        ([0.5, 1.5] * 9, "labels", "0.5..1.5, mean 1, std 0.5"),
        ([*range(0, 300, 3)] * 5, "labels", "100 different ones: a regression"),
        (["low", 2, 3, 4, 5, 6], "faults", "'low' is no finite number"),
        (["yes", "no", "yes", ""], "faults", "row 5: label: empty"),
        (["nan", 1.5, 2.5, 3.5], "faults", "label: 'nan' is no finite number"),
    ],
    ids=str,
)
def test_labels_of_a_table(labels, name, words, table):
    rows = [f"{number**1.5},{y}" for number, y in enumerate(labels)]
    says(table("\n".join(["x,label", *rows])), **{name: words})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("90,,1", "row 5: area: empty"),
        ("90,nan,1", "row 5: area: 'nan' is no finite number"),
        ("90,40,inf", "row 5: floor: 'inf' is no finite number"),
        ("90,about 40,1", "row 5: area: 'about 40' is no finite number"),
        ("90,40", "row 5: 2 cells, not 3: 90, 40"),
        ("90,40,1,7", "row 5: 4 cells, not 3"),
        (",40,1", "row 5: price: empty"),
    ],
)
def test_a_row_of_a_table_with_a_fault(row, words, table):
    outcome = table(f"{HOUSES}{row}\n", "--label-column", "price")
    where = str(Path("mine.csv").absolute())
    says(outcome, samples="3 rows can be used of 4", faults=["1 ", where])
    says(outcome, faults=words, batch="x (3, 2)")


def test_many_faults_are_three_and_a_count(table):
    outcome = table(HOUSES + "1,,\n" * 3 + HOUSES.partition("\n")[2] * 5)
    says(outcome, faults="3 ")
    outcome = table(HOUSES * 2 + ",1,1\n" * 5, "--label-column", "price")
    says(outcome, faults=["6 ", "row 5: area: 'area'", "and 3 more"])


def test_columns_that_teach_nothing(table):
    rows = [f"{n},7,{n * n}" for n in range(1, 6)]
    outcome = table("\n".join(["id,month,x", *rows]))
    says(outcome, column="id: 1..5, mean 3, std 1.414 it counts the rows")
    says(outcome, column="month: 7..7, mean 7, std 0 one value in all rows")


def test_a_long_table_is_read_to_its_end(table):
    """Its header and columns are found in its first 1,000 rows."""
    rows = [f"{number**2},{number % 3}" for number in range(2500)]
    rows[1800] = "many,0"
    outcome = table("\n".join(["x,label", *rows, "7"]))
    says(outcome, samples="2,499 rows can be used of 2,501", batch="x (16, 1)")
    says(outcome, faults=["2 ", "row 1802: x: 'many'", "row 2502: 1 cells"])
    says(outcome, classes="3: 0 833, 1 833, 2 833")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["Rome", "Oslo", "Rome"], ["city (Rome) few words", "one_hot: city"]),
        (["2024-01-03", "2024-01-04", "2024-01-07"], ["city (2024-01-03)"]),
        (["2024_01_03", "2024_01_04", "2024_01_07"], ["city (2024_01_03)"]),
        (["1,5", "2,5", "2,5"], ["city (1,5)", "1.5, not 1,5"]),
        (["$1,200", "$900", "$1,500,000"], ["($1,200)", "1000, not 1,000"]),
        (["", "?", "Rome"], ["city (mostly empty)"]),
        (["", "NA", "7"], ["city (mostly empty)"]),
        (
            ["A long text, and none like it", "b", "c"],
            ["(A long text, and non)"],
        ),
    ],
    ids=str,
)
def test_a_column_that_is_left_out(cells, words, table):
    rows = [f"{cell};{n};{n * n}" for n, cell in enumerate(cells)]
    outcome = table("\n".join(["city;x;y", *rows]))
    says(outcome, left_out=["of x: city (", *words], batch="x (3, 2)")
    says(outcome, samples="3 rows can be used of 3")
    assert ("F.one_hot" in outcome[1]) == (cells[0] == "Rome")


def test_a_decimal_comma_in_any_column(table):
    outcome = table("day;x;y;z\n1/2;1;2;3,5\n1/3;2;3;4,5\n")
    says(outcome, left_out=["day (1/2), z (3,5)", "1.5, not 1,5"])
    outcome = table("x;price\n1;3,5\n2;4,5\n", "--label-column", "price")
    says(outcome, classes=["2: 3,5 1, 4,5 1", "1.5, not 1,5"])
    rows = "x;price\n1;3,5\n2;3,5\n3;3,5\n4;5\n5;6\n"  # one class of three
    outcome = table(rows, "--label-column", "price")
    says(outcome, classes=["3: 3,5 3, 5 1, 6 1", "1.5, not 1,5"])


def test_numbers_of_many_digits(table):
    """A date or the seconds since 1970 have more digits than float32."""
    rows = [f"{1_700_000_000 + n},{n % 2},20240131" for n in range(6)]
    outcome = table("\n".join(["second,label,day", *rows]))
    column = ["second: 1700000000..1700000005", "counts the rows"]
    says(outcome, column=[*column, "day: 20240131..20240131"])
    says(outcome, repeated="none", conflicts="none")
    assert re.search(r"x \(6, 2\) float32, -1.46\d*..1.46", outcome[1])


def test_small_numbers_are_normalized_as_well(table):
    rows = [f"{n}e-9,{n % 2}" for n in (1, 2, 3)]
    outcome = table("\n".join(["x,label", *rows]))
    says(outcome, batch="x (3, 1) float32, -1.22474..1.22474")


def test_repeated_and_contradictory_rows(table):
    outcome = table("a,b,class\n1,2,x\n1,2,x\n1,2,y\n3,4,y\n")
    says(outcome, repeated="1 1, 2", conflicts="1 x and y: 1, 2")


def test_one_row(table):
    outcome = table("area,price\n40,90\n", "--label-column", "price")
    says(outcome, samples="1 rows", batch=["x (1, 1) float32, 0..0", "90..90"])


def test_many_columns_are_a_few_lines(table):
    header = ",".join(["label", *[f"pixel{n}" for n in range(784)]])
    rows = [",".join(str(n * k % 256) for k in range(785)) for n in range(20)]
    outcome = table("\n".join([header, *rows]))
    says(
        outcome,
        column=["772 more, 0..255 ", "3 columns in all"],
        batch="x (16, 784)",
    )
    assert len(outcome[1].splitlines()) < 45
    _, *lines = outcome[1].splitlines()  # without that of the path
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("content", "flags", "words"),
    [
        (b"", [], ["there is no row in it"]),
        (b"area,price\n", [], ["a header and no rows"]),
        (b"a\n1\n2\n", [], ["one column alone"]),
        (HOUSES, ["--label-column", "rent"], ["'rent'", "price, area, floor"]),
        (HOUSES, ["--label-column", "Price"], ["'Price'", "price, area"]),
        (HOUSES, ["--label-column", "1"], ["'1'", "price, area"]),
        ("a,a\n1,2\n", ["--label-column", "a"], ["2 columns 'a'"]),
        ("a,b\nx,y\n", [], ["no column of numbers"]),
        ("a,b\nx,1\n", ["--label-column", "b"], ["no column of numbers"]),
        ("a,b\n1,\n,2\n", [], ["no row has all its numbers"]),
        ("a,b\n1,2,3\n4,5,6\n", [], ["row 1 has 2 cells, most others 3"]),
        (HOUSES.encode("utf-16"), [], ["not UTF-8", "CSV UTF-8"]),
        (b"PK\x03\x04" + bytes(80), [], ["an Excel workbook"]),
        (b"<!DOCTYPE html>\n<a>,\n<b>,\n", [], ["it is an HTML page"]),
        (b"version https://git-lfs.github.com/spec/v1", [], ["git lfs pull"]),
        ("1,5;2,5\n2,5;3,5\n", [], ["no column of numbers"]),
    ],
)
def test_no_table_of_numbers(content, flags, words, table):
    status, _, errors = table(content, *flags)
    assert (status, errors.count("\n")) == (1, 1), errors
    for word in [str(Path("mine.csv").absolute()), *words]:
        assert word in errors


# Texts.


def test_texts_in_class_folders(look):
    put("films/good/1.txt", "A fine film, a fine day.")
    put("films/good/2.txt", "A day.")
    put("films/bad/1.txt", "Too long.")
    says(
        look("--texts", "films"),
        samples="3 can be read of 3",
        faults="none",
        classes="2: bad 1, good 2",
        read_as="3 of UTF-8, 0 with a mark",
        lengths="6..24 characters, median 9 3..8 words and signs, median 3",
        words=["8 different ones, 4 stand once", "'.' 3, 'a' 3, 'fine' 2"],
        batch=["words (3, 8) int64", "lengths (3,) int64, 3..8"],
    )


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        ("\ufeffGood.", "read as", "2 of UTF-8, 1 with a mark taken off"),
        ("M\xfcller\r\ngr\xfc\xdft", "samples", "2 can be read of 2"),
        ("\u597d\u770b\u7684\u96fb\u5f71" * 9, "words", "list(text)"),
        ("", "empty", ["1 ", "good/x.txt"]),
        (" \n ", "empty", ["1 ", "good/x.txt"]),
        ("a " * 300_000, "lengths", "300,000 words and signs"),
        ("a" * 300_000, "lengths", "..300,000 characters"),
        ("\u597d\u770b".encode("cp950"), "faults", "good/x.txt: not UTF-8"),
        (
            "Sch\xf6n".encode("cp1252"),
            "faults",
            "x.txt: not UTF-8, but perhaps cp1252",
        ),
        ("A day.".encode("utf-16"), "faults", "UTF-16: save it as UTF-8"),
        ("A day.".encode("utf-16-le"), "faults", "NUL in it"),
        (bytes(50), "faults", "NUL in it"),
        (b"%PDF-1.7 \xff", "faults", "cp950 (it is a PDF)"),
        ("A fine day.", "repeated", "good/x.txt"),
        ("$x^2$ <b> {y} %s \x1b \\", "samples", "2 can be read of 2"),
    ],
    ids=[
        *("BOM", "CRLF", "Chinese", "empty", "blank", "long", "one word"),
        *("cp950", "cp1252", "utf-16", "utf-16-le", "zeros", "PDF"),
        *("repeated", "signs"),
    ],
)
def test_a_text(content, name, words, look):
    put("films/good/1.txt", "A fine day.")
    put("films/good/x.txt", content)
    says(look("--texts", "films"), **{name: words})


def test_a_text_in_two_classes(look):
    put("films/good/1.txt", "A fine day.")
    put("films/bad/1.txt", "A fine day.")
    says(look("--texts", "films"), conflicts=["bad and good", "good/1.txt"])


def test_texts_without_a_word(look):
    put("films/good/1.txt")
    put("films/bad/1.txt", " \n")
    outcome = look("--texts", "films")
    says(outcome, empty="2 ", lengths="0..0 words and signs")
    says(outcome, batch=["words (2, 0) int64", "lengths (2,) int64, 0..0"])


def test_no_texts(look):
    put("films/good/1.doc", "A fine day.")
    refused(look("--texts", "films"), 1, "films/CLASS/NAME.txt")
    put("films/good/1.txt", b"\xff\xff")
    status, output, errors = look("--texts", "films")
    assert status == 1 and errors.endswith("no file in it can be read\n")
    Path("films/good/1.txt").rename("films/1.txt")
    Path("films/good/1.doc").unlink()
    refused(
        look("--texts", "films"), 1, "no folder for each class", "CLASS/1.txt"
    )


# Figures, and the end of a report.


@pytest.mark.parametrize("flag", ["--images", "--sounds", "--texts", "--table"])
def test_a_figure_of_nine(flag, command_line):
    for number in range(12):
        name = f"own/\u8c93 $x^$ {number % 3}/a_b^{number}"
        paint(f"{name}.png") if flag == "--images" else None
        tone(f"{name}.wav") if flag == "--sounds" else None
        put(f"{name}.txt", "$a^$ \u597d") if flag == "--texts" else None
    names = ",".join(f"$x^$ {number}" for number in range(12))
    put("own.csv", f"label,{names}\n1{',2' * 12}\n0{',3' * 12}\n")
    own = "own.csv" if flag == "--table" else "own"
    outcome = command_line("start_dataloader", flag, own, "--figures", "drawn")
    survived(outcome, f"figure:   {Path('drawn')}")
    (figure,) = Path("drawn").iterdir()
    with Image.open(figure) as image:
        assert image.size == (800, 800)
        assert len(image.convert("L").getcolors()) > 20


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_a_figure_of_names_that_are_not_utf8(command_line):
    """As they come out of an archive that another system made."""
    place = paint("own/cat/a.png").absolute()
    name = os.fsencode(place).replace(b"a.png", b"caf\xe9\n.png")
    try:
        os.rename(place, name)
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    outcome = command_line("start_dataloader", "--images", "own")
    survived(outcome, "figure:")


def test_figures_folder_that_is_a_file(command_line):
    Path("plain").write_text("mine")
    name = "two_tones_of_a_telephone"
    flags = ("--tiny", "--only", name, "--figures", "plain")
    refused(command_line("start_dataloader", *flags), 2, "--figures", "plain")
    assert Path("plain").read_text() == "mine"


def test_ctrl_c_in_a_report(look, monkeypatch):
    put("mine.csv", HOUSES)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "look_at_table", interrupt)
    status, _, errors = look("--table", "mine.csv")
    assert (status, errors) == (130, "\ninterrupted\n")


def test_a_report_comes_without_lessons(look):
    put("mine.csv", HOUSES)
    _, output, _ = look("--table", "mine.csv", "--tiny")
    assert "===" not in output and "on purpose" not in output


def test_data_that_cannot_be_fetched(command_line, monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [])
    Path("plain").write_text("mine")
    for folder in ("plain", "none/yet"):
        flags = ("--tiny", "--data", "mnist", "--data-dir", folder)
        outcome = command_line("start_dataloader", *flags)
        refused(outcome, 1, "--data mnist", folder, "--data digits")
    assert Path("plain").read_text() == "mine"
