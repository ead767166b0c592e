"""The makers of data, the same functions wherever they stand."""

import functools
import gzip
import hashlib
import http.server
import itertools
import math
import shutil
import threading
from pathlib import Path

import matplotlib
import pytest
import torch
from conftest import ROOT
from PIL import Image, ImageDraw, ImageFont
from torch.testing import assert_close

from start_optimizer import font_digits, random_affine, torchvision_digits

SPLITS = ("train", "validation", "test")
MNIST = ROOT.parent / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (MNIST / "MNIST" / "raw").is_dir(), reason="no real MNIST beside us"
)


def test_no_limits_change_nothing():
    images = torch.rand(5, 1, 28, 28)
    same = random_affine(images, None, 0, 0, 0, 0)
    assert_close(same, images, atol=1e-5, rtol=0)


def test_a_square_turned_on_a_wide_image_stays_a_square():
    images = torch.zeros(50, 1, 60, 180)
    images[:, :, 10:50, 70:110] = 1
    torch.manual_seed(0)
    turned = random_affine(images, None, 90, 0, 0, 0) > 0.5
    areas = turned.sum(dim=(1, 2, 3))
    assert (areas - 1600).abs().max() < 80
    heights = turned.any(dim=3).sum(dim=(1, 2))
    widths = turned.any(dim=2).sum(dim=(1, 2))
    assert (heights - widths).abs().max() <= 2
    assert heights.max() > 52  # on its corner: 40 sqrt(2)


def test_the_angle_is_within_its_limit():
    images = torch.zeros(500, 1, 29, 29)
    images[:, :, 14, 24] = 1  # a dot 10 pixels right of the middle
    torch.manual_seed(0)
    moved = random_affine(images, None, 30, 0, 0, 0).flatten(1)
    place = moved.argmax(dim=1)
    row, column = place // 29 - 14, place % 29 - 14
    angles = torch.atan2(row.double(), column.double()).rad2deg()
    assert 25 < angles.max() < 34
    assert -34 < angles.min() < -25


def test_each_image_is_shifted_by_its_own_amount():
    images = torch.zeros(4, 1, 29, 29)
    images[:, :, 14, 14] = 1  # one dot in the middle
    torch.manual_seed(0)
    places = random_affine(images, None, 0, 0, 0, 0.5).flatten(1).argmax(dim=1)
    assert len(set(places.tolist())) == 4
    assert (places // 29 - 14).abs().max() <= 8
    assert (places % 29 - 14).abs().max() <= 8


def test_labels_name_the_digit_that_is_drawn():
    images, labels = font_digits("train", 2000)
    assert images.shape == (2000, 1, 28, 28)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert images.min() >= 0 and images.max() <= 1
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = ImageFont.truetype(str(folder / "DejaVuSans-Bold.ttf"), size=26)
    glyphs, means = [], []
    for digit in range(10):
        image = Image.new("L", (28, 28))
        draw = ImageDraw.Draw(image)
        draw.text((14, 14), str(digit), fill=255, font=font, anchor="mm")
        glyphs.append(torch.tensor(list(image.tobytes())).float())
        means.append(images[labels == digit].mean(dim=0).flatten())
    # What all ten have in common says nothing.
    glyphs, means = torch.stack(glyphs), torch.stack(means)
    glyphs, means = glyphs - glyphs.mean(dim=0), means - means.mean(dim=0)
    likeness = torch.corrcoef(torch.cat([means, glyphs]))[:10, 10:]
    assert likeness.argmax(dim=1).tolist() == list(range(10))


@pytest.mark.parametrize("split", SPLITS)
def test_a_seed_draws_the_same_again_and_leaves_the_global_state(split):
    before = torch.get_rng_state()
    first = font_digits(split, 100, seed=3)[0]
    assert torch.equal(first, font_digits(split, 100, seed=3)[0])
    assert not torch.equal(first, font_digits(split, 100, seed=4)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_splits_share_no_draws():
    """With one seed for all splits, image 7 would be the same digit in each."""
    labels = [font_digits(split, 2000)[1] for split in SPLITS]
    for one, other in itertools.combinations(labels, 2):
        assert 0.07 < (one == other).float().mean() < 0.13  # 0.1 by luck


def test_splits_share_no_family_of_fonts(monkeypatch):
    families = {}
    truetype = ImageFont.truetype
    for split in SPLITS:
        names = []

        def noted(path, size, layout_engine, names=names):
            names.append(Path(path).stem)
            return truetype(path, size, layout_engine=layout_engine)

        monkeypatch.setattr(ImageFont, "truetype", noted)
        font_digits(split, 1)
        families[split] = {name[:2] for name in names}
        assert len(names) == len(set(names)) == {"train": 12}.get(split, 4)
    assert families == {"train": {"De"}, "validation": {"ST"}, "test": {"cm"}}


@needs_mnist
def test_mnist_is_split_without_overlap():
    parts = [torchvision_digits("mnist", split, MNIST) for split in SPLITS]
    assert [len(labels) for _, labels in parts] == [55_000, 5_000, 10_000]
    images, labels = parts[0]
    assert images.shape == (55_000, 1, 28, 28) and images.max() == 1
    # The mean pixel of MNIST that everybody normalizes with.
    whole = torch.cat([images, parts[1][0]])
    assert math.isclose(whole.mean().item(), 0.1307, abs_tol=1e-4)
    assert labels.dtype == torch.int64 and len(labels.unique()) == 10


def idx(content: torch.Tensor, magic: int) -> bytes:
    """Return bytes (count, ...) in the IDX format of MNIST."""
    head = b"".join(n.to_bytes(4, "big") for n in (magic, *content.shape))
    return head + bytes(content.flatten().tolist())


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """Serve a small MNIST over HTTP, as its mirrors do; return its folder."""
    import torchvision

    folder = tmp_path / "served"
    folder.mkdir()
    resources = []
    for split in ("train", "t10k"):
        images = torch.randint(256, (60, 28, 28), dtype=torch.uint8)
        labels = torch.arange(60, dtype=torch.uint8) % 10
        for name, content in {
            f"{split}-images-idx3-ubyte.gz": idx(images, 2051),
            f"{split}-labels-idx1-ubyte.gz": idx(labels, 2049),
        }.items():
            packed = gzip.compress(content)
            (folder / name).write_bytes(packed)
            resources.append((name, hashlib.md5(packed).hexdigest()))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    yield folder
    server.shutdown()


def test_data_is_fetched_where_it_is_missing(mirror, tmp_path):
    folder = tmp_path / "data"
    parts = [torchvision_digits("mnist", split, folder) for split in SPLITS]
    assert [len(labels) for _, labels in parts] == [50, 10, 60]
    shutil.rmtree(mirror)  # a second time it is read from the disk
    again, _ = torchvision_digits("mnist", "test", folder)
    assert torch.equal(again, parts[2][0])


@pytest.mark.parametrize("how", ["gone", "wrong bytes"])
def test_a_failed_download_is_one_line(mirror, how, tmp_path):
    for file in mirror.iterdir():
        file.unlink() if how == "gone" else file.write_bytes(b"<html>")
    with pytest.raises(SystemExit, match="--data mnist: neither read") as end:
        torchvision_digits("mnist", "train", tmp_path / "data")
    assert "\n" not in str(end.value)


def test_files_that_do_not_belong_together(mirror, tmp_path):
    folder = tmp_path / "data"
    torchvision_digits("mnist", "train", folder)
    raw = folder / "MNIST" / "raw"
    few = torch.arange(7, dtype=torch.uint8)
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(few, 2049))
    with pytest.raises(SystemExit, match="do not belong together"):
        torchvision_digits("mnist", "train", folder)
