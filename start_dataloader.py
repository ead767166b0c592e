# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "torchvision>=0.22", "matplotlib>=3.9"]
# ///
"""Data sets and loaders: images, tables, text and sound become batches.

Run      python start_dataloader.py      (no download, any device, 8 s)
Yours    --images DIR, --sounds DIR, --texts DIR, --table CSV: a report alone
Read     README.md, "Data sets and loaders"
Symbols  x input, y target; a shape is written (batch, 1, 28, 28)
"""

import argparse
import collections
import contextlib
import csv
import gc
import hashlib
import itertools
import linecache
import math
import multiprocessing
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import timeit
import traceback
import tracemalloc
import unicodedata
import warnings
import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.testing import assert_close
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
    random_split,
)

# %% [markdown]
# ## Dataset and loader
# A data set says how many samples it has and what each of them is. A loader
# asks for samples in some order and stacks them to batches.


# %%
class Squares(Dataset):
    """Each number below `count`, together with its square."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        """Return the number of samples; `len(dataset)` calls this."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one sample; `dataset[index]` calls this."""
        return torch.tensor([float(index)]), index**2


def a_dataset_has_two_methods_and_a_dataloader_six_lines() -> None:
    """A `Dataset` has `__len__` and `__getitem__`; a `DataLoader` stacks.

    Whatever has both methods will do, a list or a tensor as well. The six lines
    between the blank ones do what the loader does.
    """
    dataset = Squares(10)
    print("len(dataset) =", len(dataset), " dataset[3] =", dataset[3])
    assert len(dataset) == 10
    assert dataset[3] == (torch.tensor([3.0]), 9)
    order = [2, 0, 7, 1, 9, 3, 8, 4, 6, 5]

    by_hand = []
    for start in range(0, 10, 4):
        samples = [dataset[index] for index in order[start : start + 4]]
        x = torch.stack([sample[0] for sample in samples])  # (batch, 1)
        y = torch.tensor([sample[1] for sample in samples])  # (batch,)
        by_hand.append([x, y])

    # The sampler says the order; any list of indices will do.
    loader = DataLoader(dataset, batch_size=4, sampler=order)
    for x, y in loader:
        print("x =", x.flatten().tolist(), " y =", y.tolist())
    assert len(loader) == 3
    assert x.tolist() == [[6], [5]]  # the last batch has what is left
    assert y.tolist() == [36, 25]
    assert_close(list(loader), by_hand)
    assert list(DataLoader(["a", "b", "c"], 2)) == [["a", "b"], ["c"]]


# %%
def mnist_and_fashion_mnist_are_one_line_each(
    train: tuple[Tensor, Tensor], name: str, figures: Path
) -> None:
    """`MNIST(folder, download=True)` reads the files, or downloads first.

    Here `write_idx` (at the end of this script) wrote the files before, so
    nothing is downloaded. `.data` stays as it is in the files; a transform
    works on the sample that is asked for. `--data` picks one of the three.
    """
    from torchvision import datasets
    from torchvision.transforms import v2

    images, labels = train
    with tempfile.TemporaryDirectory() as folder:
        write_idx(Path(folder), name, images, labels)
        if name == "fashion-mnist":
            data = datasets.FashionMNIST(folder, train=True, download=True)
        elif name == "kmnist":
            data = datasets.KMNIST(folder, train=True, download=True)
        else:
            data = datasets.MNIST(folder, train=True, download=True)
    picture, label = data[0]
    print("data.data:", tuple(data.data.shape), data.data.dtype)
    print("data[0]:  ", type(picture).__name__, picture.size, label)
    assert data.data.dtype == torch.uint8
    assert_close(data.data / 255, images[:, 0], atol=0.002, rtol=0)
    assert picture.tobytes() == data.data[0].numpy().tobytes()

    # The same as transform=... in the line that made `data`.
    data.transform = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )
    figure, panels = plt.subplots(1, 4, figsize=(8, 2.4))
    for index, panel in enumerate(panels):
        pixels, label = data[index]  # (1, 28, 28)
        assert_close(pixels.as_subclass(Tensor), data.data[index][None] / 255)
        assert label == labels[index]
        panel.imshow(pixels[0].tolist(), cmap="gray")
        panel.set_title(data.classes[label])
        panel.axis("off")
    print("with ToImage, ToDtype:", tuple(pixels.shape), pixels.dtype)
    assert pixels.dtype == torch.float32
    save_figure(figure, "dataloader_samples", figures)


# %%
def default_collate_makes_lists_of_tuples_and_keeps_dicts() -> None:
    """In a batch a tuple becomes a list, a dict stays a dict.

    What stands at the same place in all samples is put together: numbers to a
    tensor, tensors to one with a dimension more. Texts stay texts.
    """
    samples = [
        (torch.zeros(3), {"name": "a", "weight": 0.5, "place": (3, 4)}),
        (torch.ones(3), {"name": "b", "weight": 1.5, "place": (5, 6)}),
    ]
    batch = next(iter(DataLoader(samples, batch_size=2)))
    pixels, about = batch
    print("sample 0:", samples[0])
    print("sample 1:", samples[1])
    print("batch is a", type(batch).__name__, "of two:")
    print("tensors:", pixels.tolist())
    print("texts:  ", about["name"])
    print("floats: ", about["weight"])
    print("pairs:  ", about["place"])
    assert isinstance(batch, list)
    assert isinstance(about, dict)
    assert pixels.tolist() == [[0, 0, 0], [1, 1, 1]]  # (batch, 3)
    assert about["name"] == ["a", "b"]

    # Two pairs become a pair of columns: all first numbers, all second ones.
    assert isinstance(about["place"], list)
    assert about["place"][0].tolist() == [3, 5]
    assert about["place"][1].tolist() == [4, 6]

    # A float of Python has 64 bits. Layers and losses have 32.
    assert about["weight"].dtype == torch.float64
    weight = about["weight"].float()
    assert_close(weight, torch.tensor([0.5, 1.5]))


# %%
def keep_boxes(samples: list[tuple]) -> tuple[Tensor, list[Tensor]]:
    """Return the images as one tensor, and a list of each image's boxes."""
    images, boxes = zip(*samples, strict=True)  # rows become columns
    return torch.stack(images), list(boxes)


def collate_fn_keeps_what_cannot_be_stacked() -> None:
    """Images with 1 and 2 boxes need a `collate_fn` that does not stack.

    An image is (1, 2, 3), its boxes are (count, 4). The function stands at
    module level, so that a worker can import it.
    """
    one = torch.tensor([[0.0, 0.0, 2.0, 1.0]])
    two = torch.tensor([[1.0, 0.0, 2.0, 2.0], [0.0, 1.0, 1.0, 1.0]])
    samples = [(torch.zeros(1, 2, 3), one), (torch.ones(1, 2, 3), two)]

    with caught(RuntimeError, "stack expects each tensor to be equal size"):
        next(iter(DataLoader(samples, 2)))
    loader = DataLoader(samples, 2, collate_fn=keep_boxes)  # right: a list
    images, boxes = next(iter(loader))
    print("images:", tuple(images.shape))
    print("boxes: ", boxes)
    assert_close(images[:, 0, 0, 0], torch.tensor([0.0, 1.0]))
    assert images.shape == (2, 1, 2, 3)
    assert torch.equal(boxes[0], one)
    assert torch.equal(boxes[1], two)


# %%
def shuffle_draws_a_new_order_each_epoch() -> None:
    """`shuffle=True`: every sample once an epoch, in a new order each time.

    The orders come from the generator: its seed repeats all of them.
    """
    numbers = torch.arange(10)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(numbers, 4, shuffle=True, generator=generator)
    first = torch.cat(list(loader))
    second = torch.cat(list(loader))
    generator.manual_seed(0)
    again = torch.cat(list(loader))

    print("epoch 1:     ", first.tolist())
    print("epoch 2:     ", second.tolist())
    print("seeded again:", again.tolist())
    assert not torch.equal(first, numbers)
    assert not torch.equal(first, second)
    assert torch.equal(first.sort().values, numbers)  # none lost, none twice
    assert torch.equal(second.sort().values, numbers)
    assert torch.equal(first, again)


# %%
def drop_last_leaves_out_the_smaller_batch() -> None:
    """Ten samples in batches of 4 leave 2: `drop_last=True` drops them.

    In training a tiny batch may disturb. Validation and test need every sample.
    """
    numbers = torch.arange(10)
    kept = DataLoader(numbers, batch_size=4)
    dropped = DataLoader(numbers, batch_size=4, drop_last=True)
    print("batch_size=4:                ", [b.tolist() for b in kept])
    print("batch_size=4, drop_last=True:", [b.tolist() for b in dropped])
    assert len(kept) == math.ceil(10 / 4) == 3  # batches, not samples
    assert len(dropped) == 10 // 4 == 2
    assert torch.equal(torch.cat(list(kept)), numbers)
    assert torch.equal(torch.cat(list(dropped)), numbers[:8])


# %%
class Transformed(Dataset):
    """A part of a data set, with a transform of its own."""

    def __init__(self, part: Dataset, transform: Callable):
        self.part = part
        self.transform = transform

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int):
        return self.transform(self.part[index])


def random_split_makes_train_validation_and_test() -> None:
    """Three parts: to fit, to choose with, and to report from once.

    A part is a `Subset`: the data set and a list of indices. The split happens
    before augmentation, which belongs to the training part alone.
    """
    numbers = torch.arange(1, 21)
    generator = torch.Generator().manual_seed(0)
    train, validation, test = random_split(
        numbers, [0.7, 0.15, 0.15], generator=generator
    )
    print("indices of 20 numbers, 1 to 20")
    print("train:     ", train.indices)
    print("validation:", validation.indices)
    print("test:      ", test.indices)
    assert [len(train), len(validation), len(test)] == [14, 3, 3]
    together = train.indices + validation.indices + test.indices
    assert sorted(together) == list(range(20))

    again = random_split(numbers, [0.7, 0.15, 0.15], generator.manual_seed(0))
    assert again[2].indices == test.indices  # the seed repeats the split

    augmented = Transformed(train, torch.neg)  # the minus sign shows it
    print("augmented = Transformed(train, torch.neg)")
    print(f"train[0] = {train[0]}, augmented[0] = {augmented[0]}")
    assert augmented[0] == -train[0]
    assert len(augmented) == 14
    assert min(test) > 0  # no minus sign: not augmented


# %%
def a_split_by_group_keeps_each_person_on_one_side() -> None:
    """A random split puts photographs of one person on both sides.

    12 people are on 10 photographs each; a quarter is held out. So the model
    would be tested on people whom it was trained on.
    """
    person = torch.arange(120) // 10  # 0 0 0 ... 11 11 11
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(120, generator=generator)
    held_out = set(person[order[:30]].tolist())
    kept = set(person[order[30:]].tolist())
    print("at random:", len(held_out & kept), "of 12 people on both sides")
    assert len(held_out & kept) >= 9

    people = torch.randperm(12, generator=generator)
    by_group = torch.isin(person, people[:3])  # 3 of 12 people, drawn
    held_out = set(person[by_group].tolist())
    kept = set(person[~by_group].tolist())
    print("by group: people", sorted(held_out), "are held out,")
    print("         ", len(held_out & kept), "of 12 people on both sides")
    assert by_group.sum() == 30
    assert len(kept) == 9
    assert len(held_out & kept) == 0


# %%
def draw_of_each_class(
    labels: Tensor, fraction: float, generator: torch.Generator
) -> Tensor:
    """Return indices of that fraction of each class, drawn at random."""
    drawn = []
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        count = round(fraction * len(members))
        drawn.append(members[order[:count]])
    return torch.cat(drawn)


def a_stratified_split_keeps_the_class_proportions() -> None:
    """Stratified: the same fraction of each class is held out.

    12 of 120 photographs show a smile; a quarter is held out, so 3 of the 30
    should. A random split has 3 on average, and now and then almost none.
    """
    smile = torch.arange(120) % 10 == 0
    at_random = []
    stratified = []
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(120, generator=generator)
        at_random.append(smile[order[:30]].sum().item())
        held_out = draw_of_each_class(smile, 0.25, generator)
        stratified.append(smile[held_out].sum().item())
        training = torch.ones(120, dtype=torch.bool)
        training[held_out] = False
        assert training.sum() == 90  # 30 are held out, none drawn twice
        assert smile[training].sum() == 9

    other = draw_of_each_class(smile, 0.25, generator)
    assert not torch.equal(other, held_out)  # another draw, other samples
    print("smiles among 30 held out, for a hundred seeds")
    print("at random: ", min(at_random), "to", max(at_random))
    print("stratified:", min(stratified), "to", max(stratified))
    assert stratified == [3] * 100
    assert min(at_random) <= 1
    assert max(at_random) >= 6
    assert abs(sum(at_random) / 100 - 3) < 0.5


# %%
def weighted_random_sampler_balances_classes() -> None:
    """`WeightedRandomSampler` with 1 / count draws classes equally often.

    Class imbalance: 990 samples of one, 10 of the other. 1,000 draws are tosses
    of a coin: 500 of each, give or take 63 (four standard deviations). It draws
    with replacement: a rare sample comes 50 times, and is the same each time.
    """
    labels = torch.tensor([0] * 990 + [1] * 10)
    counts = labels.bincount()
    weights = (1 / counts)[labels]  # (1000,): the two classes weigh the same
    assert_close(weights[labels == 0].sum(), weights[labels == 1].sum())

    generator = torch.Generator().manual_seed(0)
    sampler = WeightedRandomSampler(weights, 1000, generator=generator)
    loader = DataLoader(labels, batch_size=100, sampler=sampler)
    drawn = torch.cat(list(loader)).bincount()
    print("samples of each class:", counts.tolist())
    print("drawn of each class:  ", drawn.tolist())
    assert counts.tolist() == [990, 10]
    assert drawn.sum() == 1000
    assert abs(drawn[1] - 500) < 63

    often = torch.tensor(list(sampler)).bincount(minlength=1000)
    print("the rare ones, each:  ", often[990:].tolist(), "times")
    assert often[990:].min() > 20  # 50, give or take four times 6.9
    assert often[990:].max() < 80
    assert often[:990].max() < 10


# %% [markdown]
# ## Images of your own
# A folder for each class, or a CSV with the label of each file. The sections
# of this chapter build `read_image` and `ImageList`, and use them further on.


# %%
def image_folder_takes_the_class_from_the_folder() -> None:
    """`ImageFolder`: a folder for each class; classes sorted by name.

    Images of one batch need one size, so `v2.Resize` comes first.
    """
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    resize = v2.Resize((32, 24))  # height, width
    to_tensor = v2.Compose(
        [resize, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dog").mkdir()
        Path(folder, "cat").mkdir()
        Image.new("L", (20, 30), 51).save(Path(folder, "dog", "rex.png"))
        Image.new("L", (40, 10), 51).save(Path(folder, "cat", "tom.png"))
        Image.new("L", (25, 25), 51).save(Path(folder, "cat", "kitty.png"))

        dataset = ImageFolder(folder, to_tensor)
        images, targets = next(iter(DataLoader(dataset, batch_size=3)))
    print("written: dog/rex.png, cat/tom.png, cat/kitty.png")
    print("class_to_idx:", dataset.class_to_idx)
    print("targets:     ", targets.tolist())
    print("images:      ", tuple(images.shape), images.dtype)
    assert dataset.class_to_idx == {"cat": 0, "dog": 1}
    assert targets.tolist() == [0, 0, 1]
    # RGB, even where files are grey.
    assert_close(images, torch.full((3, 3, 32, 24), 51 / 255))


# %%
def read_image(path: Path) -> Image.Image:
    """Return the image in RGB, upright, on white, in 8 bits a channel.

    Raises `OSError` with the path for what cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what it reads anyhow
            with Image.open(path) as file:
                # A telephone does not turn the pixels, it notes the turn.
                image = ImageOps.exif_transpose(file)
    except Exception as error:  # a broken file can raise any
        reason = getattr(error, "strerror", None) or "not a whole image"
        if isinstance(error, UnidentifiedImageError):
            reason = "no format that Pillow reads"
        if isinstance(error, Image.DecompressionBombError):
            reason = f"over {2 * Image.MAX_IMAGE_PIXELS:,} pixels"
        raise OSError(f"{path}: {reason}") from None
    if image.mode[0] in "IF":  # 16 or 32 bits, or floats
        image = to_8_bits(image)
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


def to_8_bits(image: Image.Image) -> Image.Image:
    """Return the image in 8 bits: its darkest value 0, its brightest 255."""
    values = np.array(image, dtype=np.float64)
    values = np.nan_to_num(values, posinf=0, neginf=0)
    above = values - values.min()
    grey = 255 * above / max(above.max(), 1e-9)  # of equal values: black
    return Image.fromarray(grey.round().astype(np.uint8))


def exif_transpose_turns_a_photograph_upright() -> None:
    """A telephone notes in EXIF how to turn a photograph: turn it.

    The file below has 3 x 2 pixels, its top left one red, and orientation 6:
    a quarter to the right. So 2 x 3, and red at the top right.
    """
    picture = Image.new("RGB", (3, 2), "blue")
    picture.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the tag named Orientation
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.png")
        picture.save(path, exif=exif)
        raw = Image.open(path).convert("RGB")
        upright = read_image(path)
    print("Image.open:", raw.size, "at (0, 0):", raw.getpixel((0, 0)))
    print("read_image:", upright.size, "at (1, 0):", upright.getpixel((1, 0)))
    assert raw.size == (3, 2)
    assert raw.getpixel((0, 0)) == (255, 0, 0)
    assert upright.size == (2, 3)
    assert upright.getpixel((1, 0)) == (255, 0, 0)
    assert upright.getpixel((0, 0)) == (0, 0, 255)


# %%
def alpha_is_pasted_on_white() -> None:
    """`convert("RGB")` drops alpha: black on transparent is all black.

    Alpha says how much a pixel covers: 0 nothing, 255 all. Drawn on white, a
    pixel of value v is (alpha * v + (255 - alpha) * 255) / 255.
    """
    picture = Image.new("RGBA", (3, 1), (0, 0, 0, 0))  # black, transparent
    picture.putpixel((1, 0), (0, 0, 0, 255))  # black, covers all
    picture.putpixel((2, 0), (100, 100, 100, 51))  # grey, covers a fifth
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "logo.png")
        picture.save(path)
        dropped = np.array(Image.open(path).convert("RGB"))[0, :, 0].tolist()
        on_white = np.array(read_image(path))[0, :, 0].tolist()
    print("grey, alpha:    (0, 0) (0, 255) (100, 51)")
    print('convert("RGB"):', dropped)
    print("read_image:    ", on_white)
    assert dropped == [0, 0, 100]
    assert on_white == [255, 0, 224]  # (51 * 100 + 204 * 255) / 255 = 224


# %%
def sixteen_bits_are_stretched_to_eight() -> None:
    """Divided by 256, a 16-bit image may be black: stretch its values.

    Here they run from 300 to 700, of 65,535. `read_image` maps the darkest to 0
    and the brightest to 255. Where the values themselves count (heights,
    Hounsfield units), keep them: `torch.from_numpy(np.array(image))`.
    """
    values = np.array([[300, 400, 700]], dtype=np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "microscope.png")
        Image.fromarray(values).save(path)
        wrong = np.array(Image.open(path)) // 256
        right = np.array(read_image(path))[:, :, 0]
    print("values in the file:", values.tolist())
    print("divided by 256:    ", wrong.tolist())
    print("read_image:        ", right.tolist())
    assert wrong.tolist() == [[1, 1, 2]]
    assert right.tolist() == [[0, 64, 255]]  # 255 * 100 / 400 = 63.75


# %%
def in_order(labels: Iterable[str]) -> list[str]:
    """Return the different labels: numbers by their value, words by letter."""
    by_letter = sorted(set(labels))
    try:
        return sorted(by_letter, key=float)
    except ValueError:  # words
        return by_letter


class ImageList(Dataset):
    """Image files and their labels: samples are (image, number of class)."""

    def __init__(
        self,
        folder: Path,
        names: list[str],
        labels: list[str],
        classes: list[str] | None = None,
        transform: Callable | None = None,
    ):
        self.paths = [Path(folder, name) for name in names]
        self.classes = classes or in_order(labels)
        self.transform = transform
        numbers = {label: n for n, label in enumerate(self.classes)}
        self.targets = [numbers[label] for label in labels]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple:
        """Read one image, when it is asked for."""
        image = read_image(self.paths[index])
        if self.transform:
            image = self.transform(image)
        return image, self.targets[index]


def a_csv_of_labels_and_a_folder_are_a_dataset() -> None:
    """A folder of images and a CSV of labels make a `Dataset`."""
    from torchvision.transforms import v2

    with tempfile.TemporaryDirectory() as folder:
        Image.new("RGB", (2, 5), "red").save(Path(folder, "a.png"))
        Image.new("L", (2, 5), 128).save(Path(folder, "b.bmp"))
        table = Path(folder, "labels.csv")
        table.write_text("file,label\na.png,dog\nb.bmp,cat\n")

        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))  # a dict for each row
        names = [row["file"] for row in rows]
        labels = [row["label"] for row in rows]
        dataset = ImageList(folder, names, labels, transform=v2.ToImage())
        images, targets = next(iter(DataLoader(dataset, batch_size=2)))
    print("rows[1]:", rows[1])
    print("classes:", dataset.classes)
    print("batch:  ", tuple(images.shape), "targets", targets.tolist())
    assert rows[1] == {"file": "b.bmp", "label": "cat"}
    assert dataset.classes == ["cat", "dog"]
    assert len(dataset) == 2
    assert images.shape == (2, 3, 5, 2)  # batch, RGB, height, width
    assert images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert torch.all(images[1] == 128)  # grey becomes RGB
    assert targets.tolist() == [1, 0]


# %%
def classes_are_shared_by_train_and_test() -> None:
    """A test set takes `classes=` of the training set, or numbers differ.

    Numbered by its own labels, an owl is 2 in one set and 1 in the other. A
    label that is no class raises `KeyError: 'fox'`. Labels that are numbers are
    sorted as numbers.
    """
    train = ImageList(".", ["a", "b", "c"], ["owl", "cat", "dog"])
    wrong = ImageList(".", ["d", "e"], ["dog", "owl"])
    right = ImageList(".", ["d", "e"], ["dog", "owl"], classes=train.classes)
    print("train classes:          ", train.classes)
    print("train: owl, cat, dog are", train.targets)
    print("test, numbered alone:    dog, owl are", wrong.targets)
    print("test, classes of train:  dog, owl are", right.targets)
    assert train.classes == ["cat", "dog", "owl"]
    assert train.targets == [2, 0, 1]
    assert wrong.targets == [0, 1]
    assert right.targets == [1, 2]

    with caught(KeyError, "'fox'"):
        ImageList(".", ["f"], ["fox"], train.classes)
    ImageList(".", ["f"], ["cat"], train.classes)  # right: a known label

    numbers = ImageList(".", ["a", "b", "c"], ["10", "9", "1"])
    print("labels 10, 9, 1: classes", numbers.classes)
    assert numbers.classes == ["1", "9", "10"]
    assert numbers.targets == [2, 1, 0]


# %%
def look_at_every_image(dataset: ImageList) -> tuple[list, dict, list]:
    """Return indices that can be read, how many of each size, and errors."""
    readable = []
    sizes = collections.Counter()
    errors = []
    for index, path in enumerate(dataset.paths):
        try:
            sizes[read_image(path).size] += 1  # (width, height)
            readable.append(index)
        except OSError as error:
            errors.append(str(error))
    return readable, sizes, errors


def image_list_is_read_once_before_training() -> None:
    """One look at every file, before hours of training depend on it.

    A `Subset` leaves out what cannot be read. `--images DIR` reports so, and
    more, on your own files.
    """
    with tempfile.TemporaryDirectory() as folder:
        Image.new("RGB", (28, 20), "red").save(Path(folder, "a.png"))
        Path(folder, "b.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut")
        Image.new("L", (56, 40), 200).save(Path(folder, "c.jpg"))
        Image.new("L", (56, 40), 90).save(Path(folder, "d.jpg"))
        names = ["a.png", "b.png", "c.jpg", "d.jpg", "lost.png"]
        print("listed:", names)
        dataset = ImageList(folder, names, ["cat"] * 2 + ["dog"] * 3)

        readable, sizes, errors = look_at_every_image(dataset)
        print("can be read:", readable, " sizes:", dict(sizes))
        for error in errors:
            print("cannot be read:", error.removeprefix(f"{folder}{os.sep}"))
        assert readable == [0, 2, 3]
        assert sizes == {(28, 20): 1, (56, 40): 2}
        assert len(errors) == 2
        assert errors[0].endswith("b.png: no format that Pillow reads")
        assert errors[1].endswith("lost.png: No such file or directory")

        kept = Subset(dataset, readable)
        image, target = kept[1]
    print(f"kept: {len(kept)}; kept[1]: {image.size}, target {target}")
    assert len(kept) == 3
    assert image.size == (56, 40)
    assert target == 1


# %%
def mean_and_std_of_each_channel_come_from_a_loader() -> None:
    """Sums over batches give mean and standard deviation of all pixels.

    std^2 = mean(x^2) - mean(x)^2. The mean of the std of each batch is too
    small: it misses how batches differ. 50 images, (3, 4, 5), batches of 5.
    """
    generator = torch.Generator().manual_seed(0)
    level = torch.rand(50, 3, 1, 1, generator=generator)  # dark, bright ones
    images = level + 0.1 * torch.rand(50, 3, 4, 5, generator=generator)
    loader = DataLoader(images, batch_size=5)

    count = 0
    stds = []
    total = torch.zeros(3)
    squares = torch.zeros(3)
    for batch in loader:  # (batch, 3, height, width)
        count += batch[:, 0].numel()  # pixels in a channel
        total += batch.sum(dim=(0, 2, 3))
        squares += (batch**2).sum(dim=(0, 2, 3))
        stds.append(batch.std(dim=(0, 2, 3)))
    mean = total / count
    std = (squares / count - mean**2).sqrt()

    wrong = torch.stack(stds).mean(dim=0)
    print("mean of each channel:  ", mean)
    print("std of each channel:   ", std)
    print("mean of the batch stds:", wrong)
    assert_close(mean, images.mean(dim=(0, 2, 3)))
    assert_close(std, images.std(dim=(0, 2, 3), correction=0))
    assert (wrong < 0.99 * std).all()
    assert (wrong > 0.5 * std).all()


# %%
def v2_normalize_gives_mean_0_and_std_1(train: tuple[Tensor, Tensor]) -> None:
    """`ToImage`, `ToDtype(scale=True)`, `Normalize`: bytes to mean 0, std 1.

    x = (byte / 255 - mean) / std, with mean and std of the training images,
    for test images as well. (height, width) becomes (channels, height, width).
    """
    from torchvision.transforms import v2

    images = train[0]
    mean = images.mean().item()
    std = images.std().item()
    pixels = (255 * images[0, 0]).round().byte()  # (28, 28)
    picture = Image.fromarray(pixels.numpy())

    image = v2.ToImage()(picture)
    scaled = v2.ToDtype(torch.float32, scale=True)(image)
    normalized = v2.Normalize([mean], [std])(scaled)
    print("picture:  ", picture.size, picture.mode)
    print("ToImage:  ", tuple(image.shape), image.dtype, image.max().item())
    print(f"ToDtype:   {scaled.dtype}, {scaled.min():.3f}..{scaled.max():.3f}")
    print(f"Normalize: {normalized.min():.3f}..{normalized.max():.3f}")
    assert torch.equal(image.as_subclass(Tensor), pixels[None])
    assert_close(scaled.as_subclass(Tensor), pixels[None] / 255)
    by_hand = (pixels[None] / 255 - mean) / std
    assert_close(normalized.as_subclass(Tensor), by_hand)

    normalized = v2.Normalize([mean], [std])(images)
    print(f"all images: mean {mean:.3f}, std {std:.3f};", end="")
    print(f" normalized: {abs(normalized.mean()):.3f}, {normalized.std():.3f}")
    assert_close(normalized.mean(), torch.tensor(0.0), atol=1e-3, rtol=0)
    assert_close(normalized.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


# %%
def v2_moves_image_and_boxes_together() -> None:
    """`tv_tensors.BoundingBoxes` go through a transform with their image.

    A box is (left, top, width, height). A flip of 28 columns takes left to
    28 - left - width. A quarter turn to the left makes 28 x 20 of 20 x 28, and
    takes row r to column r, column c to row 27 - c. So look at white pixels.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    image = torch.zeros(1, 20, 28)
    image[:, 6:16, 4:7] = 1  # rows 6 to 15, columns 4 to 6
    boxes = tv_tensors.BoundingBoxes(
        [[4, 6, 3, 10]], format="XYWH", canvas_size=(20, 28)
    )
    flip = v2.RandomHorizontalFlip(p=1.0)
    turn = v2.RandomRotation((90, 90), expand=True)  # to the left
    flipped, flipped_boxes = flip(tv_tensors.Image(image), boxes)
    turned, turned_boxes = turn(flipped, flipped_boxes)

    rows, columns = turned[0].nonzero().T
    print("box before:", boxes.tolist(), "in", tuple(image.shape))
    print("flipped:   ", flipped_boxes.tolist(), "in", tuple(flipped.shape))
    print("and turned:", turned_boxes.tolist(), "in", tuple(turned.shape))
    print("white from column", columns.min().item(), "row", rows.min().item())
    assert flipped_boxes.tolist() == [[28 - 4 - 3, 6, 3, 10]]
    assert turned.shape == (1, 28, 20)
    assert turned_boxes.tolist() == [[6, 28 - 21 - 3, 10, 3]]
    assert columns.min() == turned_boxes[0, 0] == 6
    assert rows.min() == turned_boxes[0, 1] == 4
    assert columns.max() - columns.min() + 1 == 10
    assert rows.max() - rows.min() + 1 == 3


# %%
def augmentation_makes_another_image_at_each_look(
    train: tuple[Tensor, Tensor], figures: Path
) -> None:
    """A random transform gives another image each time one is asked for.

    So an epoch has images that no other epoch had. The figure shows three
    digits as they are, and five times moved.
    """
    from torchvision.transforms import v2

    torch.manual_seed(0)
    augment = v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.8, 1.2))
    rows = []
    for image in train[0][:3]:  # (1, 28, 28)
        looks = [image]
        for _ in range(5):
            looks.append(augment(image))
        different = torch.stack(looks).unique(dim=0)
        print(f"digit {len(rows)}: {len(different)} different images of 6")
        assert len(different) == 6
        rows.append(torch.cat(looks, dim=2))  # side by side: (1, 28, 168)
    picture = torch.cat(rows, dim=1)[0]  # (84, 168)
    figure, panel = plt.subplots(figsize=(8, 4.4), layout="constrained")
    panel.imshow(picture.tolist(), cmap="gray")
    panel.set_title("first as they are, then five times moved")
    panel.axis("off")
    save_figure(figure, "dataloader_transforms", figures)


# %% [markdown]
# ## Tables and text
# Rows of numbers become a float32 tensor, words become numbers, and texts of
# different length become a batch with padding. The vocabulary uses `tokens_of`.


# %%
class NumberTable(Dataset):
    """The numbers of a table, normalized: samples are (x, y).

    `rows` are lists of texts, first the header. `target` is the column of y,
    a number, or a word of `classes`. A test set gets mean, std and classes of
    the training set.
    """

    def __init__(
        self,
        rows: list[list[str]],
        target: str,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        classes: list[str] | None = None,
    ):
        place = rows[0].index(target)
        x = []
        y = []
        for row in rows[1:]:
            cell = row[place]
            y.append(classes.index(cell) if classes else float(cell))
            x.append([float(cell) for cell in row[:place] + row[place + 1 :]])
        self.y = torch.tensor(y)  # (rows,): float32, or int64 of classes
        self.x = torch.tensor(x)  # (rows, columns)
        if mean is None:
            mean, std = self.x.mean(dim=0), self.x.std(dim=0, correction=0)
        self.mean = mean
        # A column of equal values has std 0. Divided by a tiny number instead,
        # another value in the test set would become a million.
        self.std = torch.where(std > 1e-6 * mean.abs(), std, 1.0)
        self.x = (self.x - self.mean) / self.std

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the normalized numbers of a row, (columns,), and its y."""
        return self.x[index], self.y[index]


def normalize_test_data_by_the_training_statistics() -> None:
    """Mean and std come from the training rows, for test rows as well.

    Normalized by its own mean, a test set of large flats looks average. Areas
    in training 40, 80: mean 60, std 20; so 100 becomes (100 - 60) / 20 = 2.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.csv")
        path.write_text("price;area;floor\n90;40;1\n150;80;1\n")
        rows = list(read_rows(path))
    train = NumberTable(rows, "price")
    test_rows = [rows[0], ["190", "100", "2"], ["230", "120", "2"]]
    wrong = NumberTable(test_rows, "price")
    right = NumberTable(test_rows, "price", train.mean, train.std)
    with caught(ValueError, "could not convert string to float: ''"):
        NumberTable([rows[0], ["190", "", "2"]], "price")
    NumberTable(test_rows, "price")  # right: a number in each cell

    print("training area 40, 80:        ", train.x[:, 0].tolist())
    print("test 100, 120, own mean:     ", wrong.x[:, 0].tolist())
    print("test 100, 120, training mean:", right.x[:, 0].tolist())
    assert_close(train.x[:, 0], torch.tensor([-1.0, 1.0]))
    assert_close(wrong.x[:, 0], train.x[:, 0])
    assert train.x[:, 1].tolist() == [0, 0]  # all on floor 1: not nan
    assert_close(right.x, torch.tensor([[2.0, 1.0], [3.0, 1.0]]))
    assert right[1][1] == 230
    assert len(right) == 2

    kinds = [["area", "kind"], ["40", "flat"], ["90", "house"], ["50", "flat"]]
    words = NumberTable(kinds, "kind", classes=["flat", "house"])
    print("flat, house, flat:           ", words.y)
    assert torch.equal(words.y, torch.tensor([0, 1, 0]))


# %%
def read_utf8(path: Path) -> str:
    """Return the text of a UTF-8 file; `ValueError` where it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = "not UTF-8, but perhaps cp1252 or cp950"
        raise ValueError(f"{path}: {text}") from None
    if "\0" in text:
        raise ValueError(f"{path}: NUL in it, no text or UTF-16")
    return text


class TextFolder(Dataset):
    """UTF-8 files in a folder for each class: samples are (text, class)."""

    def __init__(self, folder: Path, classes: list[str] | None = None):
        self.paths = sorted(Path(folder).glob("*/[!.]*.txt"))  # none hidden
        if not self.paths:
            raise ValueError(f"{folder}: no files CLASS/NAME.txt")
        names = {path.parent.name for path in self.paths}
        self.classes = classes or sorted(names)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, int]:
        """Return the text of a file and the number of its class."""
        path = self.paths[index]
        return read_utf8(path), self.classes.index(path.parent.name)


def a_folder_of_texts_gives_text_and_label() -> None:
    """Labelled texts: a batch is a tuple of texts and a tensor of classes."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "good").mkdir()
        Path(folder, "bad").mkdir()
        Path(folder, "good", "1.txt").write_text("A fine film.")
        Path(folder, "good", "2.txt").write_text("I laughed.")
        Path(folder, "bad", "1.txt").write_text("Too long.")
        dataset = TextFolder(folder)
        texts, targets = next(iter(DataLoader(dataset, batch_size=3)))
        Path(folder, "bad", "1.txt").write_bytes(b"Sch\xf6n")  # Latin-1
        with caught(ValueError, "1.txt: not UTF-8"):
            dataset[0]
        Path(folder, "bad", "1.txt").write_text("Fine.")  # right: UTF-8
        assert dataset[0] == ("Fine.", 0)
        ours = TextFolder(folder, classes=["good", "bad"])  # of the training
        assert ours[0] == ("Fine.", 1)
    print("classes:", dataset.classes)
    print("texts:  ", texts)
    print("targets:", targets)
    assert dataset.classes == ["bad", "good"]
    assert texts == ("Too long.", "A fine film.", "I laughed.")
    assert targets.tolist() == [0, 1, 1]
    assert len(dataset) == 3


# %%
def tokens_of(text: str) -> list[str]:
    """Return words and single signs of a text in any script.

    Letters (L), the marks on them (M) and digits (N) form a word; any other
    sign stands alone. NFC makes one letter of u and two dots.
    """
    text = unicodedata.normalize("NFC", text.casefold())
    spaced = ""
    for sign in text:
        if unicodedata.category(sign)[0] in "LMN":
            spaced += sign
        else:
            spaced += f" {sign} "
    return spaced.split()


def a_tokenizer_for_any_script_asks_unicode() -> None:
    r"""`[a-z]+` splits a word at each letter that English does not have.

    Even `\w` does not match the vowel signs of Hindi. `unicodedata` knows the
    letters of all scripts. Chinese has no spaces: take `list(text)` there.
    """
    german = "Mu\u0308ller's Gr\u00fc\u00dfe"  # two ways to write an umlaut
    wrong = re.findall("[a-z]+", german.lower())
    right = tokens_of(german)
    print("text:    ", ascii(german))
    print("[a-z]+:  ", wrong)
    print("Unicode: ", ascii(right))
    assert wrong == ["mu", "ller", "s", "gr", "e"]
    assert right == ["m\u00fcller", "'", "s", "gr\u00fcsse"]

    hindi = "\u0928\u092e\u0938\u094d\u0924\u0947 \u091c\u0917"  # two words
    wrong = re.findall(r"\w+", hindi)
    right = tokens_of(hindi)
    print(f"two words of Hindi: {len(wrong)} by \\w+, {len(right)} by Unicode")
    assert len(wrong) == 3
    assert right == hindi.split()
    assert tokens_of("1 test_2!") == ["1", "test", "_", "2", "!"]


# %%
class Vocabulary:
    """Numbers of words: 0 is padding, 1 any word that is not known."""

    def __init__(self, texts: list[str], minimum: int = 2):
        """Number the words that stand in `texts` at least `minimum` times."""
        counts = collections.Counter()
        for text in texts:
            counts.update(tokens_of(text))
        self.words = ["<pad>", "<unk>"]
        for word, count in counts.most_common():
            if count >= minimum:
                self.words.append(word)
        self.numbers = {word: n for n, word in enumerate(self.words)}

    def encode(self, text: str) -> list[int]:
        """Return the number of each word."""
        return [self.numbers.get(word, 1) for word in tokens_of(text)]

    def decode(self, numbers: list[int]) -> str:
        """Return the words behind the numbers."""
        return " ".join(self.words[number] for number in numbers)


def a_vocabulary_comes_from_training_texts_alone() -> None:
    """A `Vocabulary` numbers known words; all others share `<unk>`.

    In use there are words that no training text had. A vocabulary that has
    seen the test texts hides that.
    """
    train = ["the cat sat", "the dog sat", "the dog ran"]
    test = "the owl sat"
    vocabulary = Vocabulary(train)
    numbers = vocabulary.encode(test)
    print("training texts:", train)
    print("words:   ", vocabulary.words)
    print("test:    ", repr(test))
    print("encoded: ", numbers)
    print("decoded: ", repr(vocabulary.decode(numbers)))
    assert vocabulary.words == ["<pad>", "<unk>", "the", "sat", "dog"]
    assert numbers == [2, 1, 3]
    assert vocabulary.decode(numbers) == "the <unk> sat"
    assert vocabulary.encode("cat") == [1]  # it stands only once
    assert Vocabulary(train, minimum=1).encode("cat") == [5]


# %%
def pad_texts(samples: list[tuple]) -> tuple[Tensor, Tensor, Tensor]:
    """Return word numbers (batch, longest), lengths and classes (batch,)."""
    texts, classes = zip(*samples, strict=True)  # rows become columns
    lengths = torch.tensor([len(text) for text in texts])
    # An empty text would become float32: so the type is said.
    texts = [torch.tensor(text, dtype=torch.long) for text in texts]
    numbers = pad_sequence(texts, batch_first=True)
    return numbers, lengths, torch.tensor(classes)


def pad_sequence_pads_texts_and_a_mask_tells_where() -> None:
    """Texts of different length: `pad_sequence` to the longest, and a mask.

    Place t holds a word where t < length. A mean over words needs the mask.
    """
    samples = [([5, 6, 7], 1), ([8], 0), ([], 0)]
    loader = DataLoader(samples, batch_size=3, collate_fn=pad_texts)
    numbers, lengths, classes = next(iter(loader))
    mask = torch.arange(numbers.shape[1]) < lengths[:, None]  # (batch, longest)
    print("samples:", samples)
    print("numbers:", numbers.tolist(), numbers.dtype)
    print("lengths:", lengths.tolist(), " classes:", classes.tolist())
    print("mask:   ", mask.int().tolist())
    assert numbers.tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]]
    assert numbers.dtype == torch.int64
    assert lengths.tolist() == [3, 1, 0]
    assert classes.tolist() == [1, 0, 0]
    assert mask.int().tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]

    empty, _, _ = pad_texts([([], 0), ([], 1)])
    assert empty.dtype == torch.int64
    assert torch.tensor([]).dtype == torch.float32


# %%
class SimilarLengths(Sampler):
    """Batches of texts of about the same length, in random order."""

    def __init__(self, lengths: list[int], batch_size: int):
        order = torch.tensor(lengths).argsort()  # from short to long
        self.batches = order.split(batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch."""
        for place in torch.randperm(len(self.batches)):
            yield self.batches[place].tolist()


def a_batch_sampler_of_similar_lengths_saves_padding() -> None:
    """A `batch_sampler` puts texts of like length together: less padding.

    It yields the indices of whole batches. 1,000 texts of 1 to 99 words have 50
    on average; of 32 texts the longest has about 97, and all are padded to it.
    """
    torch.manual_seed(0)
    lengths = torch.randint(1, 100, (1000,)).tolist()
    texts = [torch.ones(length) for length in lengths]  # a 1 for each word
    sampler = SimilarLengths(lengths, batch_size=32)
    as_they_come = DataLoader(texts, batch_size=32, collate_fn=pad_sequence)
    similar = DataLoader(texts, batch_sampler=sampler, collate_fn=pad_sequence)

    words = sum(lengths)
    size = 0
    for batch in as_they_come:  # (longest, batch)
        size += batch.numel()
    similar_size = 0
    for batch in similar:
        similar_size += batch.numel()
    print("words in all texts:      ", words)
    print("padding, as they come:   ", size - words)
    print("padding, similar lengths:", similar_size - words)
    assert 1.8 < size / words < 2.1  # 97 / 50 = 1.94
    assert words < similar_size < 1.1 * words

    first = list(sampler)
    second = list(sampler)
    assert len(first) == len(similar) == 32
    assert sorted(sum(first, [])) == list(range(1000))  # each text once
    assert first != second  # another order in each epoch


# %%
def pack_padded_sequence_gives_the_true_last_state() -> None:
    """A GRU goes on over padding; `pack_padded_sequence` ends each text.

    Two texts of 5 and 2 words, 3 numbers a word, padded to (2, 5, 3). The last
    state of the short one must be what it is when the text comes alone.
    """
    torch.manual_seed(0)
    gru = nn.GRU(3, 4, batch_first=True)
    long = torch.randn(5, 3)
    short = torch.randn(2, 3)
    batch = pad_sequence([long, short], batch_first=True)  # (2, 5, 3)
    lengths = torch.tensor([5, 2])  # on the CPU, also beside a GPU

    _, padded = gru(batch)  # the last state, (1, batch, 4)
    packed_batch = pack_padded_sequence(
        batch, lengths, batch_first=True, enforce_sorted=False
    )
    _, packed = gru(packed_batch)
    _, alone = gru(short[None])
    print("last state of the short text")
    print("padded:", padded[0, 1].detach())
    print("packed:", packed[0, 1].detach())
    print("alone: ", alone[0, 0].detach())
    assert_close(packed[0, 1], alone[0, 0])
    assert_close(packed[0, 0], padded[0, 0])  # the long one has no padding
    assert (padded[0, 1] - alone[0, 0]).abs().max() > 0.1


# %%
class TokenWindows(Dataset):
    """Windows of a file of tokens: x, and y, which is one token further.

    The file holds uint16 numbers and may be larger than memory. It is opened
    for each window: so the data set holds no tokens, and a worker under spawn
    is sent none.
    """

    def __init__(self, path: Path, length: int):
        self.path = path
        self.length = length

    def __len__(self) -> int:
        """Return the number of windows; the last y needs one token more."""
        return (self.path.stat().st_size // 2 - 1) // self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return x and y, int64 (length,)."""
        tokens = np.memmap(self.path, dtype=np.uint16, mode="r")
        start = index * self.length
        window = tokens[start : start + self.length + 1].astype(np.int64)
        return torch.from_numpy(window[:-1]), torch.from_numpy(window[1:])


def next_token_windows_have_y_one_further_than_x() -> None:
    """To predict the next token, y is x moved by one."""
    text = "to be or not to be"
    signs = sorted(set(text))
    tokens = np.array([signs.index(sign) for sign in text], dtype=np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokens.bin")
        path.write_bytes(tokens.tobytes())
        dataset = TokenWindows(path, length=6)
        x, y = dataset[1]
        assert len(dataset) == 2  # 18 tokens: the third has no last y
        loader = DataLoader(dataset, batch_size=2)
        inputs, targets = next(iter(loader))
    x_text = "".join(signs[token] for token in x)
    y_text = "".join(signs[token] for token in y)
    print("text:           ", repr(text))
    print("x of dataset[1]:", repr(x_text))
    print("y of dataset[1]:", repr(y_text))
    assert x_text == "or not"
    assert y_text == "r not "
    assert x.dtype == y.dtype == torch.int64  # as nn.Embedding wants it
    assert inputs.shape == targets.shape == (2, 6)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs.flatten().tolist() == tokens[:12].tolist()


# %%
def memmap_reads_one_window_of_a_large_file(
    workers: int, start_method: str | None
) -> None:
    """`np.memmap(path, mode="r")` reads what is touched, and cannot write.

    The file holds the numbers 0 to 59,999, 2 bytes each.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokens.bin")
        path.write_bytes(np.arange(60_000, dtype=np.uint16).tobytes())
        dataset = TokenWindows(path, length=100)

        tracemalloc.start()  # counts what NumPy allocates
        x, y = dataset[123]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print("file:", path.stat().st_size, "bytes; windows:", len(dataset))
        print("x of dataset[123]:", x[:3].tolist(), "...")
        print("memory taken to read it:", peak, "bytes")
        assert torch.equal(x, 12_300 + torch.arange(100))
        assert torch.equal(y, x + 1)
        assert 200 < peak < 120_000 / 10

        sent = pickle.dumps(vars(dataset))  # what a worker gets under spawn
        print("pickled for a worker:", len(sent), "bytes")
        assert len(sent) < 1000
        options = {"multiprocessing_context": start_method}
        loader = DataLoader(dataset, 200, num_workers=workers, **options)
        xs = torch.cat([x for x, _ in loader])  # (599, 100)
        print(workers, "workers bring windows:", tuple(xs.shape))
        assert torch.equal(xs.flatten(), torch.arange(59_900))

        with caught(FileNotFoundError, "No such file or directory"):
            np.memmap("misspelt.bin", np.uint16, mode="r")
        tokens = np.memmap(path, np.uint16, mode="r")  # right: it is there
        assert not tokens.flags.writeable
        del tokens  # Windows deletes no file that is open


# %% [markdown]
# ## Sound
# A recording becomes a mono waveform at one rate. The sections of this chapter
# build `read_wav` and `resample`, and use them further on.


# %%
def read_wav(path: Path) -> tuple[Tensor, int]:
    """Return the samples (samples, channels) of a WAV file, and its rate.

    Whole numbers of 8, 16, 24, 32 bits and floats become float32 in -1..1.
    Raises `ValueError` with the path for anything else.
    """
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError(f"{path}: no WAV file")
    chunks = {}
    place = 12
    while place + 8 <= len(data):  # each: name, size, that many bytes
        name, size = struct.unpack_from("<4sI", data, place)
        chunks[name] = data[place + 8 : place + 8 + size]
        if len(chunks[name]) < size < 2**32 - 1:  # a recorder's "unknown"
            raise ValueError(f"{path}: cut off")
        place += 8 + size + size % 2
    head = chunks.get(b"fmt ", b"")
    sound = chunks.get(b"data", b"")
    if len(head) < 16:
        raise ValueError(f"{path}: no format in it")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", head)
    if code == 0xFFFE and len(head) >= 26:  # "extensible": the code is later
        (code,) = struct.unpack_from("<H", head, 24)
    known = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)]
    if (code, bits) not in known or channels == 0 or rate == 0:
        text = f"format {code} of {bits} bits, {channels} channels"
        raise ValueError(f"{path}: {text}, {rate} samples a second")
    frame = channels * bits // 8  # bytes for all channels at one moment
    if len(sound) < frame:
        raise ValueError(f"{path}: no samples")
    sound = sound[: len(sound) // frame * frame]
    return decode_samples(sound, code, bits).view(-1, channels), rate


def decode_samples(sound: bytes, code: int, bits: int) -> Tensor:
    """Return the samples as float32: whole numbers divided by 2^(bits - 1)."""
    if code == 3:
        floats = np.frombuffer(sound, f"<f{bits // 8}")
        return torch.from_numpy(floats.astype(np.float32))
    width = bits // 8
    raw = np.frombuffer(sound, np.uint8).reshape(-1, width)
    if bits == 8:  # 0 to 255, silence is 128: the others have a sign
        raw = raw ^ 0x80
    high = np.zeros((len(raw), 4), np.uint8)
    high[:, 4 - width :] = raw  # low byte first: the highest is the last
    numbers = high.view("<i4")[:, 0]
    return torch.from_numpy((numbers / 2**31).astype(np.float32))


def wav_of_8_16_24_32_bits_and_float_is_one_waveform() -> None:
    """A WAV file holds bytes, whole numbers or floats: divide to -1..1.

    n bits have 2^(n - 1) steps on each side of 0: the error is about a step.
    """
    tone = 0.5 * torch.sin(torch.arange(80) * 0.3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tone.wav")
        write_wav(path, tone, rate=8000, bits=8)
        eight, rate = read_wav(path)
        write_wav(path, tone, rate=8000, bits=16)
        sixteen, _ = read_wav(path)
        with wave.open(str(path)) as file:  # 16 bits, by the library
            raw = np.frombuffer(file.readframes(80), "<i2")
        write_wav(path, tone, rate=8000, bits=24)
        twenty_four, _ = read_wav(path)
        write_wav(path, tone, rate=8000, bits=32)
        thirty_two, _ = read_wav(path)
        write_wav(path, tone, rate=8000, bits=32, code=3)
        floats, _ = read_wav(path)

    print("tone:   ", tone[:4])
    print("8 bits: ", eight[:4, 0])
    print("16 bits:", sixteen[:4, 0])
    print("16 bits, as they stand in the file:", raw[:4].tolist())
    assert rate == 8000
    assert eight.shape == (80, 1)  # samples, channels
    assert_close(eight[:, 0], tone, atol=2 / 128, rtol=0)
    assert torch.equal(sixteen[:, 0], torch.tensor(raw / 32768).float())
    assert_close(sixteen[:, 0], tone, atol=2 / 2**15, rtol=0)
    assert_close(twenty_four[:, 0], tone, atol=2 / 2**23, rtol=0)
    assert_close(thirty_two[:, 0], tone, atol=1e-7, rtol=0)
    assert torch.equal(floats[:, 0], tone)


# %%
def stereo_becomes_mono_by_the_mean_of_its_channels() -> None:
    """In a file the channels take turns: left, right, left, right.

    Read as mono, a stereo file is twice as long. The mean of the channels is
    one waveform.
    """
    left = torch.tensor([0.5, 0.25, -0.5])
    right = torch.tensor([0.0, 0.75, -1.0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stereo.wav")
        write_wav(path, torch.stack([left, right], dim=1), rate=8000, bits=24)
        samples, _ = read_wav(path)
        path.write_bytes(path.read_bytes()[:-5])
        with caught(ValueError, "stereo.wav: cut off"):
            read_wav(path)
        write_wav(path, left, rate=8000)  # right: record it again
    wrong = samples.flatten()
    mono = samples.mean(dim=1)
    print("left ", left.tolist(), " right", right.tolist())
    print("samples.flatten():  ", [round(v, 3) for v in wrong.tolist()])
    print("samples.mean(dim=1):", [round(v, 3) for v in mono.tolist()])
    taking_turns = torch.tensor([0.5, 0, 0.25, 0.75, -0.5, -1])
    assert samples.shape == (3, 2)
    assert_close(wrong, taking_turns, atol=1e-6, rtol=0)
    assert_close(mono, torch.tensor([0.25, 0.5, -0.75]), atol=1e-6, rtol=0)


# %%
def resample(waveform: Tensor, rate: int, new_rate: int) -> Tensor:
    """Return a waveform (samples,) at another rate, as long in seconds.

    `irfft` cuts the spectrum off above half the new rate, or adds zeros.
    """
    if rate == new_rate or len(waveform) == 0:
        return waveform
    count = max(1, round(len(waveform) * new_rate / rate))
    spectrum = torch.fft.rfft(waveform)
    return torch.fft.irfft(spectrum, n=count) * (count / len(waveform))


def loudest_hertz(waveform: Tensor, rate: int) -> float:
    """Return the loudest frequency of a waveform that has this rate."""
    spectrum = torch.fft.rfft(waveform).abs()
    return spectrum.argmax().item() * rate / len(waveform)


def resample_before_files_of_two_rates_share_a_batch() -> None:
    """At another rate a tone of 440 Hz looks like another tone: resample.

    0.5 s at 16,000 samples a second are 8,000. Taken for 8,000 a second they
    last 1 s, and 440 Hz becomes 220 Hz.
    """
    tone = torch.sin(2 * math.pi * 440 * torch.arange(8000) / 16_000)
    wrong = loudest_hertz(tone, rate=8000)
    resampled = resample(tone, 16_000, 8_000)
    right = loudest_hertz(resampled, rate=8000)
    print("440 Hz, 16,000 samples a second, taken for 8,000:", wrong, "Hz")
    print("resampled to 8,000 a second:                     ", right, "Hz")
    assert wrong == 220
    assert right == 440
    by_hand = torch.sin(2 * math.pi * 440 * torch.arange(4000) / 8_000)
    assert_close(resampled, by_hand, atol=1e-4, rtol=0)

    # What the new rate cannot hold must go: 5,000 Hz is over half of 8,000.
    # Every second sample alone would turn it to 8,000 - 5,000 = 3,000 Hz.
    high = torch.sin(2 * math.pi * 5000 * torch.arange(8000) / 16_000)
    wrong = loudest_hertz(high[::2], rate=8000)
    loudness = resample(high, 16_000, 8_000).abs().max()
    print("5,000 Hz, every second sample:", wrong, "Hz;", end=" ")
    print(f"resampled: {loudness:.4f} at most")
    assert wrong == 3000
    assert loudness < 1e-3


# %%
def draw_sound(sound: Tensor, power: Tensor, figures: Path) -> None:
    """Draw a waveform of 0.2 s and its spectrogram."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    panels[0].plot(sound[:200].tolist())
    panels[0].set(title="key 5: 200 samples", xlabel="sample")
    decibels = 10 * (power + 1e-6).log10().numpy()  # power times 10: 10 dB more
    extent = (0, 0.2, 0, 4000)
    panels[1].imshow(decibels, origin="lower", aspect="auto", extent=extent)
    panels[1].set(title="spectrogram", xlabel="seconds", ylabel="hertz")
    save_figure(figure, "dataloader_tones", figures)


def stft_shows_the_two_tones_of_a_telephone_key(figures: Path) -> None:
    """A spectrogram (`torch.stft`) shows which tones sound, and when.

    The key 5 sounds 770 and 1336 Hz (ITU-T Q.23), here for 0.1 s. Pieces of
    256 samples at 8,000 a second give frequencies 8000 / 256 = 31 Hz apart. A
    new piece begins every 64 samples.
    """
    rate = 8000
    seconds = torch.arange(1600) / rate
    low = torch.sin(2 * math.pi * 770 * seconds)
    high = torch.sin(2 * math.pi * 1336 * seconds)
    sound = (low + high) * (seconds < 0.1)
    window = torch.hann_window(256)  # fades each piece in and out
    spectrum = torch.stft(sound, 256, window=window, return_complex=True)
    power = spectrum.abs() ** 2  # (129 frequencies, 26 pieces)

    loudest = power.sum(dim=1).topk(2).indices.sort().values
    hertz = (loudest * rate / 256).tolist()
    in_time = power.sum(dim=0)
    print("key 5 sounds:  ", [770, 1336], "Hz from 0 to 0.1 s")
    print("spectrum:      ", tuple(spectrum.shape), spectrum.dtype)
    print("the two loudest:", hertz, "Hz")
    print(f"power at 0.05 s: {in_time[6]:.0f}, at 0.15 s: {in_time[19]:.0f}")
    assert spectrum.shape == (129, 26)
    assert_close(
        torch.tensor(hertz), torch.tensor([770.0, 1336.0]), atol=16, rtol=0
    )
    assert in_time[6] > 1000
    assert in_time[19] == 0
    draw_sound(sound, power, figures)


# %%
class SoundFolder(Dataset):
    """WAV files in a folder for each class: (mono waveform, class)."""

    def __init__(
        self, folder: Path, rate: int, classes: list[str] | None = None
    ):
        found = sorted(Path(folder).glob("*/[!.]*"))  # none hidden
        self.paths = [p for p in found if p.suffix.lower() == ".wav"]
        if not self.paths:
            raise ValueError(f"{folder}: no files CLASS/NAME.wav")
        self.rate = rate
        names = {path.parent.name for path in self.paths}
        self.classes = classes or sorted(names)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the waveform (samples,) at our rate, and its class."""
        path = self.paths[index]
        samples, rate = read_wav(path)
        waveform = resample(samples.mean(dim=1), rate, self.rate)
        return waveform, self.classes.index(path.parent.name)


def pad_sounds(samples: list[tuple]) -> tuple[Tensor, Tensor, Tensor]:
    """Return waveforms (batch, longest), lengths and classes (batch,)."""
    sounds, classes = zip(*samples, strict=True)  # rows become columns
    lengths = torch.tensor([len(sound) for sound in sounds])
    waveforms = pad_sequence(sounds, batch_first=True)
    return waveforms, lengths, torch.tensor(classes)


def a_folder_of_recordings_is_padded_with_silence() -> None:
    """Recordings of any rate and length: resampled, padded, lengths kept.

    The lengths say where the silence begins: a mean over time needs them.
    """
    stereo = torch.tensor([0.25, 0.75]).repeat(400, 1)  # left, right
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "cat").mkdir()
        Path(folder, "dog").mkdir()
        write_wav(Path(folder, "dog", "a.wav"), stereo, rate=16_000)
        write_wav(Path(folder, "dog", "b.WAV"), torch.full((300,), 0.5), 8000)
        write_wav(Path(folder, "cat", "c.wav"), torch.full((100,), 0.5), 4000)
        dataset = SoundFolder(folder, rate=8000)
        loader = DataLoader(dataset, batch_size=3, collate_fn=pad_sounds)
        waveforms, lengths, classes = next(iter(loader))
        ours = SoundFolder(folder, rate=8000, classes=["dog", "cat"])
        assert ours[0][1] == 1  # cat/c.wav
    print("cat/c.wav 100 at 4,000; dog/a.wav 400 at 16,000, stereo;", end="")
    print(" dog/b.WAV 300 at 8,000")
    print("lengths at 8,000:", lengths.tolist(), " classes:", classes.tolist())
    print("batch:", tuple(waveforms.shape))
    assert dataset.classes == ["cat", "dog"]
    assert lengths.tolist() == [200, 200, 300]
    assert classes.tolist() == [0, 1, 1]
    assert waveforms.shape == (3, 300)
    assert waveforms[:2, 200:].abs().max() == 0
    mean = waveforms.sum(dim=1) / lengths
    assert_close(mean, torch.full((3,), 0.5), atol=1e-3, rtol=0)


# %% [markdown]
# ## Workers and speed
# Workers are processes that make samples while the model trains. Under `fork`
# a worker is a copy of the program; under `spawn` and `forkserver` it imports
# the script and gets the data set pickled.


# %%
class Numbers(IterableDataset):
    """The numbers below `count`, as a stream: there is no index to ask for."""

    def __init__(self, count: int, shared: bool):
        self.count = count
        self.shared = shared

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield each number, and the process that it comes from."""
        numbers = range(self.count)
        worker = get_worker_info()  # None where there are no workers
        if worker is not None and self.shared:
            # Worker 0 of 2 has 0, 2, 4, ..., worker 1 has 1, 3, 5, ...
            numbers = range(worker.id, self.count, worker.num_workers)
        for number in numbers:
            yield number, os.getpid()


def an_iterable_dataset_is_shared_among_its_workers(
    workers: int, start_method: str | None
) -> None:
    """Each worker runs a whole `IterableDataset`, unless told its share.

    A loader cannot divide what has no index: with 2 workers each number comes
    twice.
    """
    options = {"multiprocessing_context": start_method, "num_workers": workers}
    wrong = list(DataLoader(Numbers(7, shared=False), **options))
    right = list(DataLoader(Numbers(7, shared=True), **options))
    wrong_numbers = torch.cat([number for number, _ in wrong])
    right_numbers = torch.cat([number for number, _ in right])
    processes = {process.item() for _, process in right}
    print(f"{workers} workers")
    print("each the whole stream:", wrong_numbers.tolist())
    print("each its share:       ", right_numbers.tolist())
    assert torch.equal(wrong_numbers.bincount(), torch.full((7,), workers))
    assert torch.equal(right_numbers.bincount(), torch.ones(7).long())
    assert len(processes) == min(workers, 7)  # each had its share
    assert right_numbers[:2].tolist() == [0, 1]  # they take turns


# %%
class Draws(Dataset):
    """Each sample draws from torch, NumPy, and a generator that is kept."""

    def __init__(self):
        self.kept = np.random.default_rng(0)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        """Return the draws of torch, NumPy, and the kept generator."""
        drawn = [torch.rand(()), np.random.rand(), self.kept.random()]  # noqa
        return torch.tensor(drawn)


def seed_kept(worker_id: int) -> None:
    """Give the data set of a worker a generator with the worker's own seed."""
    worker = get_worker_info()
    worker.dataset.kept = np.random.default_rng(worker.seed)


def a_generator_seeds_torch_and_numpy_in_every_worker(
    workers: int, start_method: str | None
) -> None:
    """`generator=` seeds `torch` and `np.random` anew in each worker.

    So a run can be repeated. A generator that is kept in the data set is copied
    to the workers as it is: all of them draw the same, in every epoch, unless a
    `worker_init_fn` seeds it.
    """
    options = {"num_workers": workers, "multiprocessing_context": start_method}
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(Draws(), generator=generator, **options)
    first = torch.cat(list(loader))  # (4, 3)
    second = torch.cat(list(loader))
    generator.manual_seed(0)
    again = torch.cat(list(loader))
    print(f"4 samples, {workers} workers in turn: torch, np.random, kept")
    print("epoch 1:", first, sep="\n")
    print("epoch 2:", second, sep="\n")
    assert torch.equal(first, again)  # the seed repeats all of it
    assert len(torch.cat([first[:, 0], second[:, 0]]).unique()) == 8
    assert len(torch.cat([first[:, 1], second[:, 1]]).unique()) == 8
    assert torch.equal(first[:, 2], second[:, 2])
    assert first[0, 2] == first[1, 2]  # of worker 0 and of worker 1
    assert len(first[:, 2].unique()) == math.ceil(4 / workers)

    loader = DataLoader(
        Draws(), generator=generator, worker_init_fn=seed_kept, **options
    )
    generator.manual_seed(0)
    first = torch.cat(list(loader))[:, 2]
    second = torch.cat(list(loader))[:, 2]
    generator.manual_seed(0)
    again = torch.cat(list(loader))[:, 2]
    print("kept, with worker_init_fn:", first)
    assert torch.equal(first, again)
    assert len(torch.cat([first, second]).unique()) == 8


# %%
class OneIsBroken(Dataset):
    """Four samples; number 2 cannot be made."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 2:
            raise ValueError("photo2.png is cut off")
        return index


def an_error_in_a_worker_comes_with_its_traceback(
    start_method: str | None,
) -> None:
    """An exception in a worker is raised in the loop, with its traceback.

    The message begins with the number of the worker; its last line is the one
    to read. `num_workers=0` raises it directly, so a debugger can stop there.
    """
    loader = DataLoader(
        OneIsBroken(), num_workers=1, multiprocessing_context=start_method
    )
    came = []
    try:
        for batch in loader:
            came.append(batch.item())
        raise AssertionError("no error")
    except ValueError as error:
        message = str(error).strip()
        # The traceback holds the loader's iterator, and so its worker: let go.
        error.__traceback__ = None
    lines = message.splitlines()
    print("samples before the error:", came)
    print(lines[0])
    print("...")
    print(lines[-1])
    assert came == [0, 1]
    assert lines[0] == "Caught ValueError in DataLoader worker process 0."
    assert lines[1] == "Original Traceback (most recent call last):"
    assert "in __getitem__" in message
    assert lines[-1] == "ValueError: photo2.png is cut off"


# %%
def end_worker(samples: list[int]) -> list[int]:
    """End the process, as the system does for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return samples


def a_killed_worker_has_a_cause(start_method: str | None) -> None:
    """A worker "exited unexpectedly": `__cause__` names the signal.

    "Killed" is most often want of memory: smaller batches, fewer workers. Under
    forkserver the workers are children of a server, and no signal is seen.
    "Bus error" is a full /dev/shm, through which batches come: in a container
    `--shm-size=8g`. "Segmentation fault" is a crash in a library.
    """
    options = {"num_workers": 1, "multiprocessing_context": start_method}
    loader = DataLoader([7], collate_fn=end_worker, **options)
    try:
        next(iter(loader))
        raise AssertionError("no error")
    except RuntimeError as error:
        message = str(error)
        cause = str(error.__cause__)
        error.__traceback__ = None  # it holds the loader's iterator
    print("error:          ", message)
    print("error.__cause__:", cause.split(". It is")[0])
    assert "DataLoader worker (pid(s) " in message
    assert "exited unexpectedly" in message
    assert "is killed by signal: Killed" in cause


# %%
class PidOfEachJpeg(Dataset):
    """JPEG files, decoded; a sample is (image, process that decoded it)."""

    def __init__(self, paths: list[Path]):
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image, float32 (3, 32, 32), and the process number."""
        with Image.open(self.paths[index]) as file:
            pixels = np.array(file.convert("RGB").resize((32, 32)))
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return image, os.getpid()


def time_two_epochs(
    paths: list[Path], workers: int, start_method: str | None
) -> tuple[Tensor, set[int]]:
    """Print how fast two epochs are; return their images and processes."""
    loader = DataLoader(
        PidOfEachJpeg(paths),
        batch_size=4,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=start_method if workers else None,
    )
    print(f"num_workers={workers}:", end="")
    processes = set()
    for epoch in (1, 2):
        start = time.perf_counter()
        images = []
        for batch, pids in loader:
            images.append(batch)
            processes.update(pids.tolist())
        seconds = time.perf_counter() - start
        print(f"  epoch {epoch} {len(paths) / seconds:6.0f} images/s", end="")
    print()
    return torch.cat(images), processes


def num_workers_is_found_by_timing_real_decoding(
    count: int, start_method: str | None
) -> None:
    """Time 0, 2 and 4 workers on your own files: the loader alone, no model.

    The first epoch pays for the start of the workers. `persistent_workers`
    keeps them for the second. Each makes `prefetch_factor` batches ahead, two
    if nothing is said. Try as many workers as there are cores.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index in range(count):
            path = Path(folder, f"{index}.jpg")
            Image.effect_noise((320, 240), 20).save(path)  # around 128
            paths.append(path)
        print(f"{count} JPEG files of 320 x 240; {os.cpu_count()} cores here")
        alone, _ = time_two_epochs(paths, 0, start_method)
        two, processes = time_two_epochs(paths, 2, start_method)
        assert_close(two, alone)  # same images in the same order
        assert len(processes) == 2  # not four: they persist
        assert os.getpid() not in processes
        four, processes = time_two_epochs(paths, 4, start_method)
        assert_close(four, alone)
        assert len(processes) == 4
    assert len(alone.unique(dim=0)) == count  # each file another image
    assert alone.shape == (count, 3, 32, 32)
    assert DataLoader(alone, num_workers=2).prefetch_factor == 2
    assert_close(alone.mean(), torch.tensor(0.5), atol=0.02, rtol=0)


# %%
class OneByOne(Dataset):
    """Images as everybody loads them: one at a time, through Pillow."""

    def __init__(self, pixels: Tensor, labels: Tensor, transform: Callable):
        self.pixels = pixels
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, float32 (1, 28, 28), and its label."""
        picture = Image.fromarray(self.pixels[index].numpy())
        return self.transform(picture), self.labels[index].item()


class WholeBatches(TensorDataset):
    """Images and labels in memory; a batch is picked in one piece."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images, float32 (batch, 1, 28, 28), and labels (batch,).

        A loader calls this where it finds it, instead of `__getitem__`.
        """
        which = torch.tensor(indices)
        images, labels = self.tensors
        return images.index_select(0, which), labels[which]


def as_it_is(batch):
    """Return `batch`: there is nothing to collate."""
    return batch


def quickest(loader: DataLoader) -> float:
    """Return the seconds of the quickest of five epochs."""
    return min(timeit.repeat(lambda: list(loader), number=1, repeat=5))


def getitems_loads_a_batch_in_one_piece(
    train: tuple[Tensor, Tensor],
) -> None:
    """`__getitems__` picks a whole batch: several times as fast as one by one.

    Transforms cost most: images that fit in memory are made once, before. Of
    what is left, most goes into a call for each image.
    """
    from torchvision.transforms import v2

    pixels = (255 * train[0][:500, 0]).round().byte()  # as files hold them
    labels = train[1][:500]
    to_tensor = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )
    slow = DataLoader(OneByOne(pixels, labels, to_tensor), batch_size=250)
    made = pixels[:, None] / 255
    single = DataLoader(TensorDataset(made, labels), batch_size=250)
    whole = WholeBatches(made, labels)
    fast = DataLoader(whole, batch_size=250, collate_fn=as_it_is)
    slow_seconds = quickest(slow)
    single_seconds = quickest(single)
    fast_seconds = quickest(fast)
    print("500 images, batches of 250")
    print(f"transformed one by one: {500 / slow_seconds:10,.0f} images/s")
    print(f"made before, one by one:{500 / single_seconds:10,.0f} images/s")
    print(f"made, __getitems__:     {500 / fast_seconds:10,.0f} images/s")
    assert slow_seconds > 4 * single_seconds
    assert single_seconds > 2 * fast_seconds

    x, y = list(fast)[1]
    slow_x, slow_y = list(slow)[1]
    assert_close(slow_x.as_subclass(Tensor), x)
    assert torch.equal(slow_y, y)
    assert torch.equal(y, labels[250:])


# %%
def pin_memory_lets_a_copy_run_beside_the_work(
    train: tuple[Tensor, Tensor], device: torch.device
) -> None:
    """`pin_memory=True` in the loader, `non_blocking=True` in `.to(device)`.

    A GPU copies by itself from pinned memory, which the system may not move,
    and Python goes on. From other memory it cannot: so `non_blocking` is asked
    for where `x.is_pinned()`.
    """
    images, labels = train
    loader = DataLoader(
        TensorDataset(images[:10], labels[:10]),
        batch_size=4,
        pin_memory=device.type == "cuda",  # elsewhere a warning
    )
    count = 0
    brightness = torch.zeros((), device=device)
    for x, y in loader:
        x = x.to(device, non_blocking=x.is_pinned())
        y = y.to(device, non_blocking=y.is_pinned())
        assert x.device == y.device == brightness.device
        brightness += x.mean(dim=(1, 2, 3)).sum()
        count += len(y)
    print("pinned:", loader.pin_memory, " device:", x.device.type)
    print(f"{count} images, mean {brightness.item() / count:.4f}")
    assert loader.pin_memory == (device.type == "cuda")
    assert count == 10
    by_hand = images[:10].mean().item()
    assert abs(brightness.item() / count - by_hand) < 1e-3
    assert torch.equal(y.cpu(), labels[8:10])
    assert torch.equal(x.cpu(), images[8:10])


# %% [markdown]
# ## Mistakes
# First those that torch reports, with the right line below the wrong one; then
# those that give wrong numbers without a word.


# %%
class ReturnsNothing(Dataset):
    """A sample is made, and not returned."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int):
        torch.zeros(3)


class Misspelt(Dataset):
    """`__get_item__` is a name that nobody calls."""

    def __get_item__(self, index: int) -> int:
        return index


def mistakes_in_a_dataset_stop_the_loader() -> None:
    """A sample must be there, and of a type that a batch can be made of."""
    with caught(TypeError, "found <class 'NoneType'>"):
        next(iter(DataLoader(ReturnsNothing())))
    next(iter(DataLoader([torch.zeros(3)])))  # right: there is a sample
    with caught(NotImplementedError, "should implement __getitem__"):
        Misspelt()[0]
    [7, 8, 9][0]  # right: __getitem__, two underscores on each side

    pictures = [Image.new("L", (3, 2))] * 4
    with caught(TypeError, "batch must contain tensors"):
        next(iter(DataLoader(pictures)))
    tensors = [torch.tensor(np.array(p)) for p in pictures]  # right: ToImage
    assert next(iter(DataLoader(tensors))).shape == (1, 2, 3)


# %%
def mistakes_in_the_use_of_a_loader() -> None:
    """A loader is no iterator, needs samples, and ends with what is left."""
    loader = DataLoader(torch.arange(10), batch_size=4)
    with caught(TypeError, "'DataLoader' object is not an iterator"):
        next(loader)
    batch = next(iter(loader))  # right: each iter() is a new epoch
    assert batch.tolist() == [0, 1, 2, 3]

    with caught(ValueError, "num_samples should be a positive integer"):
        DataLoader([], shuffle=True)
    DataLoader([7], shuffle=True)  # right: look where the files are

    last = list(DataLoader(torch.zeros(10, 2, 3), batch_size=4))[-1]  # 2 left
    with caught(RuntimeError, "is invalid for input of size 12"):
        last.view(4, 6)
    x = last.flatten(1)  # right: the batch stays as long as it is
    assert x.shape == (2, 6)


# %%
def mistakes_with_options_of_a_loader() -> None:
    """Options that exclude each other, parts that do not add up, no y."""
    numbers = torch.arange(10)
    order = [3, 1, 2]
    with caught(ValueError, "sampler option is mutually exclusive with"):
        DataLoader(numbers, sampler=order, shuffle=True)
    loader = DataLoader(numbers, sampler=order)  # right: the order is given
    assert torch.cat(list(loader)).tolist() == order

    with caught(ValueError, "Sum of input lengths does not equal"):
        random_split(numbers, [7, 2])
    parts = random_split(numbers, [0.7, 0.3])  # right: fractions of any length
    assert len(parts[0]) == 7

    only_x = TensorDataset(torch.ones(4, 2))
    with caught(ValueError, "not enough values to unpack"):
        x, y = next(iter(DataLoader(only_x)))
    (x,) = next(iter(DataLoader(only_x)))  # right: or TensorDataset(x, y)
    assert torch.equal(x, torch.ones(1, 2))


# %%
def mistakes_with_images_text_and_sound() -> None:
    """Channels first or last, word numbers, a complex spectrum."""
    panel = plt.figure().subplots()
    image = torch.rand(3, 4, 5)
    with caught(TypeError, "Invalid shape (3, 4, 5) for image data"):
        panel.imshow(image.numpy())
    shown = panel.imshow(image.permute(1, 2, 0).numpy())  # right: channels last
    assert shown.get_size() == (4, 5)
    plt.close(panel.figure)

    words = torch.tensor([1, 2, 10])
    with caught(IndexError, "index out of range in self"):
        nn.Embedding(10, 4)(words)
    vectors = nn.Embedding(11, 4)(words)  # right: 0 to 10 are 11 words
    assert vectors.shape == (3, 4)

    sound = torch.sin(torch.arange(1600) * 0.1)
    window = torch.hann_window(256)
    with caught(RuntimeError, "stft requires the return_complex parameter"):
        torch.stft(sound, 256, window=window)
    torch.stft(sound, 256, return_complex=True, window=window)  # right: said
    spectrum = torch.stft(sound, 256, window=window, return_complex=True)
    assert spectrum.shape[0] == 129


# %%
def mistakes_with_a_lambda_under_spawn() -> None:
    """Under spawn a lambda cannot go to a worker: it has no name to import.

    Spawn is the way of Windows and macOS; forkserver, of Linux from Python 3.14
    on, pickles too. Under fork nothing is pickled, and the lambda works.
    """
    numbers = torch.arange(4)
    spawn = {"num_workers": 1, "multiprocessing_context": "spawn"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.14 says it in words, too
        with caught(Exception, "local object"):
            iter(DataLoader(numbers, collate_fn=lambda batch: batch, **spawn))
        pickle.dumps(torch.stack)  # right: a function that can be imported
    gc.collect()  # what the error holds of the loader ends now

    if "fork" in multiprocessing.get_all_start_methods():
        fork = {"num_workers": 1, "multiprocessing_context": "fork"}
        loader = DataLoader(numbers, 4, collate_fn=lambda b: len(b), **fork)
        print("fork, collate_fn=lambda b: len(b):", list(loader))
        assert list(loader) == [4]


# %%
def mistakes_without_a_main_guard_under_spawn() -> None:
    """A spawned worker imports the script: unguarded, it starts workers too."""
    start = """
import multiprocessing
spawn = multiprocessing.get_context("spawn")
"""
    wrong = start + 'spawn.Process(target=print, args=("started",)).start()\n'
    right = start + "if __name__ == '__main__':\n"
    right += '    spawn.Process(target=print, args=("started",)).start()\n'
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.py")
        path.write_text(wrong)
        command = [sys.executable, path]
        run_wrong = subprocess.run(command, capture_output=True, text=True)
        path.write_text(right)
        run_right = subprocess.run(command, capture_output=True, text=True)
    print(textwrap.indent(right.strip(), "    "))
    print("with the guard:   ", run_right.stdout.strip())
    message = run_wrong.stderr.partition("RuntimeError:")[2]
    message = " ".join(message.split())
    print("without the guard:", message[:54], "...")
    assert run_right.stdout == "started\n"
    assert run_right.stderr == ""
    assert "started" not in run_wrong.stdout
    assert message.startswith(
        "An attempt has been made to start a new process before the current "
        "process has finished its bootstrapping phase"
    )


# %%
def mistakes_that_see_only_a_part_of_the_data() -> None:
    """`next(iter(loader))` in a loop gives the first batch each time."""
    loader = DataLoader(torch.arange(6), batch_size=2)
    wrong = []
    for _ in range(3):
        batch = next(iter(loader))  # a new epoch each time
        wrong.append(batch.tolist())
    right = []
    for batch in loader:
        right.append(batch.tolist())
    print("next(iter(loader)) three times:", wrong)
    print("for batch in loader:           ", right)
    assert wrong == [[0, 1], [0, 1], [0, 1]]
    assert right == [[0, 1], [2, 3], [4, 5]]


# %%
def fit_once(loader: DataLoader) -> nn.Linear:
    """Return a linear model after one epoch of SGD."""
    torch.manual_seed(0)
    model = nn.Linear(20, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def mistakes_with_data_sorted_by_class() -> None:
    """Sorted data without `shuffle`: the classes that came first fade.

    500 points of 10 classes, 50 after 50, noise around a center for each.
    """
    y = torch.arange(500) // 50
    generator = torch.Generator().manual_seed(0)
    center = 0.7 * torch.randn(10, 20, generator=generator)
    x = center[y] + torch.randn(500, 20, generator=generator)
    points = TensorDataset(x, y)
    unshuffled = DataLoader(points, 25)
    shuffled = DataLoader(points, 25, shuffle=True, generator=generator)
    wrong = (fit_once(unshuffled)(x).argmax(dim=1) == y).float()
    right = (fit_once(shuffled)(x).argmax(dim=1) == y).float()
    print("fraction right: first five classes, last five (with this seed)")
    print(f"sorted:   {wrong[:250].mean():.2f}  {wrong[250:].mean():.2f}")
    print(f"shuffled: {right[:250].mean():.2f}  {right[250:].mean():.2f}")
    assert right.mean() > wrong.mean() + 0.1
    assert wrong[250:].mean() > wrong[:250].mean() + 0.1


# %%
def mistakes_with_predictions_in_shuffled_order() -> None:
    """Predictions come in the order of the loader, labels in that of the file.

    The model here is perfect: its prediction is the label.
    """
    labels = torch.arange(100) % 10
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(labels, 25, shuffle=True, generator=generator)
    predictions = []
    targets = []
    for y in loader:
        predictions.append(y)  # model(x).argmax(dim=1)
        targets.append(y)
    predictions = torch.cat(predictions)
    wrong = (predictions == labels).float().mean().item()
    right = (predictions == torch.cat(targets)).float().mean().item()
    print(f"(predictions == labels of the file).mean():     {wrong:.2f}")
    print(f"(predictions == labels of the loop).mean():     {right:.2f}")
    assert wrong < 0.3
    assert right == 1


# %%
class RandomPlaces(Dataset):
    """Five random places to crop at; `seeded` is the mistake."""

    def __init__(self, seeded: bool):
        self.seeded = seeded

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        """Return a place from 0 to 999."""
        if self.seeded:
            torch.manual_seed(0)
        return torch.randint(1000, ()).item()


def mistakes_with_manual_seed_in_getitem() -> None:
    """`manual_seed` in `__getitem__`: each random crop is the same one."""
    torch.manual_seed(1)
    wrong = torch.cat(list(DataLoader(RandomPlaces(seeded=True))))
    torch.manual_seed(1)
    right = torch.cat(list(DataLoader(RandomPlaces(seeded=False))))
    print("seeded in __getitem__:       ", wrong.tolist())
    print("seeded once, at the beginning:", right.tolist())
    assert len(wrong.unique()) == 1
    assert len(right.unique()) == 5


# %%
def mistakes_with_the_range_of_pixels_and_sound() -> None:
    """Scaling goes by the type, normalizing by the number of channels."""
    from torchvision.transforms import v2

    white = torch.full((1, 2, 3), 255)  # int64
    scale = v2.ToDtype(torch.float32, scale=True)
    wrong = scale(white).max().item()  # over the largest int64
    right = scale(white.byte()).max().item()
    print(f"scale(white), int64:     {wrong:.1e}")
    print(f"scale(white.byte()):     {right}")
    assert 0 < wrong < 1e-15
    assert right == 1

    grey = torch.full((1, 2, 3), 0.75)
    wrong = v2.Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])(grey)
    right = v2.Normalize([0.5], [0.5])(grey)
    print("grey, 3 means, 3 stds:  ", tuple(wrong.shape))
    print("grey, 1 mean, 1 std:    ", tuple(right.shape))
    assert wrong.shape == (3, 2, 3)
    assert right.shape == (1, 2, 3)
    assert torch.all(right == 0.5)

    samples = torch.tensor([0, 16384, -32768], dtype=torch.int16)
    wrong = samples.float()
    right = samples / 32768
    print("samples.float():        ", wrong.tolist())
    print("samples / 32768:        ", right.tolist())
    assert wrong.tolist() == [0, 16384, -32768]
    assert right.tolist() == [0, 0.5, -1]


# %%
def mistakes_with_padding_and_batch_first() -> None:
    """Padding counted in a mean; an LSTM that takes sentences for words."""
    # After a layer with a bias, padding is not 0: here it is 9.
    values = torch.tensor([[1.0, 3.0, 9.0, 9.0], [2.0, 4.0, 6.0, 8.0]])
    lengths = torch.tensor([2, 4])
    wrong = values.mean(dim=1)
    mask = torch.arange(4) < lengths[:, None]
    right = (values * mask).sum(dim=1) / lengths
    print("values:", values.tolist(), "lengths:", lengths.tolist())
    print("values.mean(dim=1):  ", wrong.tolist())
    print("sums by the lengths: ", right.tolist())
    assert wrong.tolist() == [5.5, 5]
    assert right.tolist() == [2, 5]

    torch.manual_seed(0)
    sentences = torch.randn(8, 5, 3)  # 8 sentences, 5 words, 3 numbers a word
    _, (wrong, _) = nn.LSTM(3, 4)(sentences)
    _, (right, _) = nn.LSTM(3, 4, batch_first=True)(sentences)
    print("last state of 8 sentences, nn.LSTM(3, 4):", tuple(wrong.shape))
    print("batch_first=True:                        ", tuple(right.shape))
    assert wrong.shape == (1, 5, 4)
    assert right.shape == (1, 8, 4)


# %%
# The helpers below are the same, to the byte, in all five scripts.
def pick_device(name: str = "auto") -> torch.device:
    """Return that device, or the best; `ArgumentTypeError` if it fails."""
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    if name.partition(":")[0] not in ("cpu", "cuda", "mps", "xpu"):
        known = "auto, cpu, cuda, cuda:1, mps, xpu"
        raise argparse.ArgumentTypeError(f"{name!r} is none of {known}")
    try:
        torch.empty(1, device=name)  # fails where there is no such device
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"\.?\s*\n|\. ", str(error))[0]  # one sentence of it
        text = f"{name!r} cannot be used here, auto can: {reason}"
        raise argparse.ArgumentTypeError(text) from None
    return torch.device(name)


def amp_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16, or float16 for a CUDA GPU without bfloat16."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # of several, this one is asked
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                return torch.float16
    return torch.bfloat16


def product_seconds(dtype: torch.dtype) -> float:
    """Return the seconds that a 256 x 256 matrix product takes on the CPU."""
    matrix = torch.ones(256, 256, dtype=dtype)
    return min(timeit.repeat(lambda: matrix @ matrix, number=1))


@contextlib.contextmanager
def caught(error_type: type[Exception], message: str) -> Iterator[None]:
    """Print the line that must fail, its error, and the right line after it."""
    try:
        with warnings.catch_warnings():
            if issubclass(error_type, Warning):
                warnings.simplefilter("error", error_type)
            yield
    except error_type as error:
        assert message in str(error), error
        place = traceback.extract_tb(error.__traceback__)[1]  # in the section
        after = linecache.getline(place.filename, place.lineno + 1).strip()
        plain = re.sub(r"\x1b\[\d*m", "", str(error))  # some are in colour
        text = " ".join([f"{error_type.__name__}:", *plain.split()])
        print("mistake: ", place.line)
        print(textwrap.indent(textwrap.fill(text, 69, max_lines=3), " " * 10))
        if "  # right: " in after:
            print("right:   ", after.replace("  # right:", "  #"))
    else:
        raise AssertionError(f"no {error_type.__name__} with {message!r}")


def save_figure(figure: Figure, name: str, folder: Path) -> None:
    """Write `figure` to `folder` as a PNG, whole or not, and print where."""
    path = folder / f"{name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            figure.savefig(Path(own, path.name), dpi=100)
            Path(own, path.name).replace(path)
    except OSError as error:
        raise SystemExit(f"--figures {folder}: {error.strerror}") from None
    print(f"figure:   {path}")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the flags that all five scripts share."""
    if not __debug__:
        raise SystemExit("leave out -O: the assertions are the lesson")
    title = description.splitlines()[0]
    parser = argparse.ArgumentParser(description=title, allow_abbrev=False)
    flag = parser.add_argument
    flag("--device", type=pick_device, default="auto", help="cpu, cuda:1 ...")
    flag("--amp", action="store_true", help="train in mixed precision")
    flag("--tiny", action="store_true", help="tiny data, a few steps")
    flag("--figures", type=Path, default="figures", help="folder to draw to")
    flag("--show", action="store_true", help="open the figures in windows")
    flag("--list", action="store_true", help="list the sections, run none")
    flag("--only", nargs="+", metavar="PART", help="part of name or chapter")
    flag("--step", action="store_true", help="source, Enter, then results")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; in a notebook it is the kernel's, so nothing."""
    notebook = not hasattr(sys.modules["__main__"], "__file__")
    args = parser.parse_args([] if notebook else None)
    args.error = parser.error  # for what `run` finds
    with contextlib.suppress(AttributeError):  # in a notebook
        sys.stdout.reconfigure(errors="backslashreplace")
    if args.show and plt.get_backend().lower() == "agg":
        parser.error(f"argument --show: no display here, see {args.figures}")
    folder = args.figures.absolute()
    nearest = next(filter(os.path.exists, [folder, *folder.parents]))
    if not (os.path.isdir(nearest) and os.access(nearest, os.W_OK)):
        parser.error(f"argument --figures: {nearest} is no folder to write to")
    if args.tiny:  # tiny data gains nothing from a second thread
        torch.set_num_threads(1)
    if args.amp and args.device.type == "cpu" and not args.list:
        slower = product_seconds(torch.bfloat16) / product_seconds(torch.float)
        if slower > 1.2:
            print(f"--amp: here 16 bits take {slower:.1f} times as long as 32")
    return args


def asked_for(chapters: dict[str, dict], args: argparse.Namespace) -> set:
    """Return the sections with a part of --only in their name or chapter."""
    places = {}
    for chapter, sections in chapters.items():
        places |= {s: f"{chapter}\n{s.__name__}".casefold() for s in sections}
    asked = set()
    for part in args.only or [""]:
        found = {s for s in places if part.casefold() in places[s]}
        if not found:
            args.error(f"argument --only: {part!r} is in no name, see --list")
        asked |= found
    return asked


def read_first(section: Callable) -> None:
    """Print the cell of a section, classes and all, and wait for Enter."""
    text = Path(__file__).read_text(encoding="utf-8")
    for cell in re.split(r"^# %%.*\n", text, flags=re.MULTILINE):
        if f"def {section.__name__}(" in cell:
            print(f"\n{cell.strip()}\n")
    input("[Enter runs it, Ctrl-C ends] ")


def run(chapters: dict[str, dict], args: argparse.Namespace) -> None:
    """Run, or list, what --only asks for, and say how it ended."""
    asked = asked_for(chapters, args)
    try:
        for chapter, sections in chapters.items():
            if asked.intersection(sections):
                print(f"\n=== {chapter} ===")
            for section, options in sections.items():
                if section not in asked:
                    continue
                claim = section.__doc__.splitlines()[0]
                gap = "" if args.list else "\n"
                print(f"{gap}--- {section.__name__}\n    {claim}", flush=True)
                if args.step and not args.list:
                    read_first(section)
                if not args.list:
                    print()
                    section(**options)
        if not args.list:
            print("\nErrors above were made on purpose, and every claim held.")
            if args.show:
                plt.show()
        sys.stdout.flush()
    except (KeyboardInterrupt, EOFError):
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # as in `| head`: enough was read
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


# %%
def random_affine(
    images: Tensor,
    generator: torch.Generator | None = None,
    degrees: float = 20.0,
    scale: float = 0.2,
    shear: float = 0.3,
    shift: float = 0.2,
) -> Tensor:
    """Return `images`, each turned, scaled, sheared and shifted at random.

    `images` and the result are (batch, channels, height, width). Each amount
    is drawn from -limit to limit; `scale` and `shear` are fractions, `shift`
    counts half widths and heights. Where nothing was, the result is 0.
    """
    count, _, height, width = images.shape
    draws = torch.rand(5, count, generator=generator, device=images.device)
    draws = 2 * draws - 1  # -1..1
    angle = math.radians(degrees) * draws[0]
    zoom = 1 + scale * draws[1]
    slant = shear * draws[2]
    cosine = angle.cos() / zoom
    sine = angle.sin() / zoom
    right = shift * draws[3]
    down = shift * draws[4]
    # Where each new pixel is read, in half widths and half heights.
    across = (slant * cosine - sine) * height / width
    along = sine * width / height
    top = torch.stack([cosine, across, right], dim=1)
    bottom = torch.stack([along, slant * sine + cosine, down], dim=1)
    matrix = torch.stack([top, bottom], dim=1)  # (batch, 2, 3)
    grid = F.affine_grid(matrix, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def font_digits(split: str, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images and labels of the digits 0 to 9, drawn in fonts.

    The images are float32 (count, 1, 28, 28) in 0..1, the labels int64
    (count,). Each split has a family of fonts of its own: "train" DejaVu,
    "validation" STIX, "test" Computer Modern. All come with matplotlib.
    """
    fonts = {
        "train": "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique "
        "DejaVuSans-BoldOblique DejaVuSansMono DejaVuSansMono-Bold "
        "DejaVuSansMono-Oblique DejaVuSansMono-BoldOblique DejaVuSerif "
        "DejaVuSerif-Bold DejaVuSerif-Italic DejaVuSerif-BoldItalic",
        "validation": "STIXGeneral STIXGeneralItalic STIXGeneralBol "
        "STIXGeneralBolIta",
        "test": "cmr10 cmb10 cmss10 cmtt10",
    }
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    glyphs = []
    for name in fonts[split].split():
        path = str(folder / f"{name}.ttf")
        # Another layout, where FriBiDi is installed, moves some pixels.
        font = ImageFont.truetype(
            path, 26, layout_engine=ImageFont.Layout.BASIC
        )
        for digit in "0123456789":
            image = Image.new("L", (28, 28))  # grey, one byte a pixel
            draw = ImageDraw.Draw(image)
            draw.text((14, 14), digit, fill=255, font=font, anchor="mm")
            glyphs.append(list(image.tobytes()))
    glyphs = torch.tensor(glyphs).view(-1, 1, 28, 28) / 255
    # One generator on the CPU: a seed gives the same images on every device.
    # Each split draws anew: image 7 of one is not image 7 of another.
    own_seed = 1000 * seed + list(fonts).index(split)
    generator = torch.Generator().manual_seed(own_seed)
    which = torch.randint(len(glyphs), (count,), generator=generator)
    images = random_affine(glyphs[which], generator)
    ink = 0.5 + 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = 0.15 * torch.randn(images.shape, generator=generator)
    images = (ink * images + noise).clamp(0, 1)
    return images, which % 10  # ten glyphs a font: glyph 37 is a 7


def torchvision_digits(
    name: str, split: str, folder: Path
) -> tuple[Tensor, Tensor]:
    """Return images and labels of "mnist", "fashion-mnist" or "kmnist".

    Shapes and types are those of `font_digits`. What is missing in `folder`
    is downloaded. "test" is the makers' test set, "validation" the last
    5,000 of their training images (a sixth, if that is less), "train" the
    rest. Raises `SystemExit`, one line, where there are no such files.
    """
    from torchvision import datasets  # takes 2 s

    makers = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}
    make = makers.get(name, datasets.KMNIST)
    try:
        data = make(folder, train=split != "test", download=True)
        if data.data.shape != (len(data.targets), 28, 28):
            raise ValueError("images and labels do not belong together")
    except Exception as error:  # all that networks and files can do
        reason = [type(error).__name__, *str(error).splitlines()][-1]
        place = folder / make.__name__
        text = f"neither read from {place} nor downloaded: {reason}"
        text = f"--data {name}: {text}; --data digits needs no files"
        raise SystemExit(text) from None
    images = data.data[:, None].float() / 255  # (count, 1, 28, 28)
    apart = min(5000, len(images) // 6)
    if split == "train":
        return images[:-apart], data.targets[:-apart]
    if split == "validation":
        return images[-apart:], data.targets[-apart:]
    return images, data.targets


def write_idx(folder: Path, name: str, images: Tensor, labels: Tensor) -> None:
    """Write the files of MNIST, as torchvision would download them.

    A head says what follows and its sizes; then one byte for each pixel, or
    for each label. The test files are the same.
    """
    classes = {"fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
    place = folder / classes.get(name, "MNIST") / "raw"
    place.mkdir(parents=True)
    count, _, height, width = images.shape
    head = struct.pack(">4i", 2051, count, height, width)
    pixels = (255 * images).round().byte().numpy().tobytes()
    (place / "train-images-idx3-ubyte").write_bytes(head + pixels)
    (place / "t10k-images-idx3-ubyte").write_bytes(head + pixels)
    head = struct.pack(">2i", 2049, count)
    numbers = labels.byte().numpy().tobytes()
    (place / "train-labels-idx1-ubyte").write_bytes(head + numbers)
    (place / "t10k-labels-idx1-ubyte").write_bytes(head + numbers)


def read_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, without empty ones and outer spaces.

    The separator is the one of `,` `;` and tab that its first line has most
    of, without quotes and decimal commas. Raises `ValueError` with the path
    for what is no such file.
    """
    try:
        # Spreadsheets begin a file with a mark, which utf-8-sig takes off.
        with open(path, encoding="utf-8-sig", newline="") as file:
            first_line = next(filter(str.strip, file), "")
            if "\0" in first_line:  # UTF-16, or no text at all
                raise UnicodeError
            line = re.sub(r'"[^"]*"', "", first_line)
            no_decimals = re.sub(r"\d,\d", "", line)
            if "," not in no_decimals:  # as in 1,5;2,5
                line = no_decimals
            separator = max(",;\t", key=line.count)
            file.seek(0)
            form = {"delimiter": separator, "skipinitialspace": True}
            for row in csv.reader(file, **form):
                cells = [cell.strip() for cell in row]
                if any(cells) and cells[0] != "sep=":  # a line for Excel
                    yield cells
    except UnicodeError:
        text = "not UTF-8 text, or an Excel workbook: save it as CSV UTF-8"
        raise ValueError(f"{path}: {text}") from None
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path}: {reason}") from None


def write_wav(
    path: Path, waveform: Tensor, rate: int, bits: int = 16, code: int = 1
) -> None:
    """Write a waveform, (samples,) or (samples, channels), as a WAV file.

    The samples are from -1 to 1. Code 1 is whole numbers of 8, 16, 24 or 32
    bits, code 3 floats of 32 bits.
    """
    channels = 1 if waveform.ndim == 1 else waveform.shape[1]
    if code == 3:
        data = waveform.float().numpy().astype("<f4").tobytes()
    else:
        largest = 2 ** (bits - 1) - 1
        whole = (largest * waveform.double()).round().long().flatten()
        if bits == 8:
            whole = whole + 128  # bytes have no sign
        low_bytes_first = whole.numpy().astype("<i8").tobytes()
        eights = np.frombuffer(low_bytes_first, np.uint8).reshape(-1, 8)
        data = eights[:, : bits // 8].tobytes()
    frame = channels * bits // 8  # bytes for all channels at one moment
    head = (code, channels, rate, rate * frame, frame, bits)
    sizes = 28 + 8 + len(data), 16
    riff = struct.pack("<4sI4s4sI", b"RIFF", sizes[0], b"WAVE", b"fmt ", 16)
    riff += struct.pack("<HHIIHH", *head)
    riff += struct.pack("<4sI", b"data", len(data))
    path.write_bytes(riff + data + bytes(len(data) % 2))


# %%
# The reports on your own data: --images, --sounds, --texts, --table.
def printable(text: str) -> str:
    """Return a text in one line, without signs that move a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def stop(text: str) -> NoReturn:
    """End with a line on standard error, and status 1."""
    raise SystemExit(printable(text))


def tell(name: str, text: str) -> None:
    """Print a part of a report, in lines of 80 columns."""
    wrapper = textwrap.TextWrapper(80, f"{name:11}", " " * 11)
    wrapper.break_long_words = wrapper.break_on_hyphens = False  # of paths
    print(wrapper.fill(printable(text)))


def tell_some(name: str, texts: list[str]) -> None:
    """Print how many texts there are, the first three, and what is left."""
    tell(name, f"{len(texts):,}" if texts else "none")
    for text in texts[:3]:
        tell("", text)
    if len(texts) > 3:
        tell("", f"and {len(texts) - 3:,} more")


def listed(counts: collections.Counter, most: int = 8) -> str:
    """Return how many there are of each name, the most frequent first."""
    parts = [f"{count:,} {name}" for name, count in counts.most_common(most)]
    if len(counts) > most:
        parts.append(f"and {len(counts) - most:,} others")
    return ", ".join(parts)


def some_of(names: list[str], most: int = 12) -> str:
    """Return the first of the names, with commas between them."""
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def tell_classes(labels: list[str], classes: list[str]) -> None:
    """Print a count for each class, or of many classes the extremes."""
    counts = collections.Counter(labels)
    by_count = sorted(classes, key=lambda name: counts[name])
    fewest, most = counts[by_count[0]], counts[by_count[-1]]
    if len(classes) > 20:
        few = ", ".join(f"{name} {counts[name]:,}" for name in by_count[:3])
        many = ", ".join(f"{name} {counts[name]:,}" for name in by_count[-3:])
        shown = f"fewest {few}; most {many}"
    else:
        shown = ", ".join(f"{name} {counts[name]:,}" for name in classes)
    tell("classes", f"{len(classes):,}: {shown}")
    if len(classes) == 1:
        tell("", "one class alone: there is nothing to tell apart")
    elif most >= 10 * fewest:
        text = f"unequal, {fewest:,} to {most:,} samples: see"
        tell("", f"{text} weighted_random_sampler_balances_classes")
    same = collections.Counter(plain_name(n.casefold()) for n in classes)
    name, count = same.most_common(1)[0]
    if count > 1:
        text = "classes that differ in capitals or encoding alone"
        tell("", f"{name!r}: {count} {text}")
    missing = list(filter(is_missing, classes))
    if missing:
        tell("", f"{some_of(missing)}: a class, or a missing label?")
    if any(map(has_comma, classes)):
        tell("", "a number is written 1.5, not 1,5, and 1000, not 1,000")


def tell_repeats(
    contents: Iterable[bytes],
    names: list[str],
    labels: list[str],
    amounts: bool = False,
) -> None:
    """Print which samples are the same to the byte, and which labels differ.

    Amounts may differ: two flats of one size have two prices.
    """
    first = {}
    repeated = []
    contradicting = []
    for index, content in enumerate(contents):
        other = first.setdefault(hashlib.sha256(content).digest(), index)
        if other == index:
            continue
        same = f"{names[other]} = {names[index]}"
        if names[other] == names[index]:
            same = f"{names[index]} in several rows"
        if labels[other] == labels[index]:
            repeated.append(same)
        else:
            contradicting.append(f"{labels[other]} and {labels[index]}: {same}")
    tell_some("repeated", repeated)
    if not amounts:
        tell_some("conflicts", contradicting)


def tell_numbers(name: str, values: Tensor, column: str = "") -> None:
    """Print the range, mean and standard deviation of numbers."""
    limits = f"{values.min():.10g}..{values.max():.10g}"
    mean, std = values.mean(), values.std(correction=0)
    tell(name, f"{column}{limits}, mean {mean:.4g}, std {std:.4g}")


def tell_labels(
    labels: list[str], classes: list[str] | None, in_table: bool = False
) -> None:
    """Print what labels there are: classes, or amounts, such as prices."""
    if classes is None:
        values = torch.tensor([float(y) for y in labels], dtype=torch.double)
        tell_numbers("labels", values)
        count = len(values.unique())
        tell("", f"numbers, {count:,} different ones: a regression")
        return
    tell_classes(labels, classes)
    if in_table and not any(math.isnan(number_of(name)) for name in classes):
        tell("", "whole numbers that repeat: taken for classes")


def tell_batch(names: list[str], batch: list[Tensor]) -> None:
    """Print what the first batch of a loader holds."""
    for name, part in zip(names, batch, strict=True):
        kind = str(part.dtype).removeprefix("torch.")
        text = f"{name} {tuple(part.shape)} {kind}"
        if part.numel():  # else of empty texts
            text += f", {part.min().item():.6g}..{part.max().item():.6g}"
        tell("batch", text)


def nine_panels(count: int) -> tuple[Figure, list]:
    """Return a figure, and nine of `count` samples, each with its panel."""
    figure, panels = plt.subplots(3, 3, figsize=(8, 8), layout="constrained")
    for panel in panels.flat:
        panel.axis("off")
    places = torch.linspace(0, count - 1, min(count, 9)).round().int()
    return figure, list(zip(places.tolist(), panels.flat, strict=False))


def title_of(label: str, path: Path) -> str:
    """Return what stands above a sample in a figure."""
    return f"{printable(label)[:28]}\n{printable(path.name)[:28]}"


# Files in a folder for each class.
def is_hidden(name: str) -> bool:
    """Return whether a system put the file there: .DS_Store, Thumbs.db ..."""
    systems = "thumbs.db desktop.ini _ds_store __macosx @eadir lost+found"
    return name.startswith(".") or name.lower() in systems.split()


def cannot_list(error: OSError) -> NoReturn:
    """End in a line that says which folder cannot be listed, and why."""
    stop(f"{error.filename}: {error.strerror}")


def leads_back(path: Path) -> bool:
    """Return whether a folder is a link to one that it stands in."""
    if not path.is_symlink():
        return False
    return path.resolve() in [parent.resolve() for parent in path.parents]


def files_in(flag: str, folder: Path) -> tuple[list[Path], int]:
    """Return all files below a folder, and how many more are hidden."""
    if os.path.isfile(folder):
        stop(f"{flag} {folder}: a file, not a folder (unpack an archive)")
    if not os.path.isdir(folder):
        stop(f"{flag} {folder}: there is no such folder")
    paths = []
    hidden = 0
    for place, folders, names in os.walk(
        folder, onerror=cannot_list, followlinks=True
    ):
        folders[:] = [n for n in sorted(folders) if not is_hidden(n)]
        folders[:] = [n for n in folders if not leads_back(Path(place, n))]
        for name in sorted(names):
            if is_hidden(name):
                hidden += 1
            else:
                paths.append(Path(place, name))
    if not paths:
        stop(f"{flag} {folder}: there is no file in it")
    return paths, hidden


def is_part(name: str) -> bool:
    """Return whether a folder has this name for a part of a data set."""
    parts = "train|training|test|testing|val|valid|validation"
    form = rf"(seg_)?({parts})([_-]?(set|data|images|imgs))?\d*"
    return re.fullmatch(form, name.casefold()) is not None


def need_classes(
    flag: str, folder: Path, classes: list[str], found: list[Path]
) -> None:
    """End in a line that says what would be right, if these are no classes."""
    depths = [len(path.relative_to(folder).parts) for path in found]
    if max(depths) == 1:
        text = "there is no folder for each class in it; right would be"
        text += f" {folder / 'CLASS' / found[0].name}, or the folder above"
        if flag == "--images":
            text += ", or a table of labels: --labels CSV"
        stop(f"{flag} {folder}: {text}")
    parts = [name for name in classes if is_part(name)]
    parts.sort(key=lambda name: "train" not in name.lower())  # that first
    right = "give one alone:"
    if len(parts) > 1:
        text = f"{some_of(parts, 3)} are parts of a data set, no classes"
        stop(f"{flag} {folder}: {text}; {right} {flag} {folder / parts[0]}")
    deeper = [depth for depth in depths if depth > 2]
    if len(classes) == 1 and len(deeper) > depths.count(2):
        text = f"classes are deeper, in {classes[0]}"
        stop(f"{flag} {folder}: {text}; {right} {flag} {folder / classes[0]}")


def files_of_classes(
    flag: str, folder: Path, ending: str = ""
) -> list[tuple[Path, str]]:
    """Return the files of the class folders, each with its class.

    What stands beside the class folders is told and left out; with an ending,
    also what is not CLASS/NAME with it.
    """
    found, hidden = files_in(flag, folder)
    folders = [path.name for path in folder.iterdir() if path.is_dir()]
    classes = sorted(name for name in folders if not is_hidden(name))
    need_classes(flag, folder, classes, found)
    beside = [path for path in found if path.parent == folder]
    paths = [path for path in found if path.parent != folder]
    deeper = [path for path in paths if path.parent.parent != folder]
    empty = set(classes) - {path.relative_to(folder).parts[0] for path in paths}
    tell("folder", str(folder))
    tell("labels", "the name of the class folder")
    if deeper:
        tell("", f"{len(deeper):,} files are in folders below those")
    if empty:
        tell("", f"no file in {len(empty):,}: {some_of(sorted(empty))}")
    if beside:
        names = some_of([path.name for path in beside], 3)
        tell("left out", f"{len(beside):,} beside the class folders: {names}")
    tables = [path for path in beside if path.suffix.lower() == ".csv"]
    if tables and flag == "--images":
        tell("", f"a table of labels? --labels {tables[0]}")
    if hidden:
        tell("left out", f"{hidden:,} hidden, such as .DS_Store")
    if ending:
        left_out = set(deeper)
        left_out.update(p for p in paths if p.suffix.lower() != ending)
        paths = [path for path in paths if path not in left_out]
        if left_out:
            tell_some("left out", [str(path) for path in sorted(left_out)])
            tell("", f"because they are not CLASS/NAME{ending}")
        if not paths:
            right = folder / f"CLASS/NAME{ending}"
            stop(f"{flag} {folder}: there is no file {right}")
    return [(path, path.relative_to(folder).parts[0]) for path in paths]


def what_it_is(path: Path) -> str:
    """Return what a file that cannot be read looks like, by its first bytes."""
    beginnings = {
        b"<!doctype": "an HTML page, so the download went wrong",
        b"<html": "an HTML page, so the download went wrong",
        b"version https://git-lfs": "a pointer of Git LFS: git lfs pull",
        b"%pdf": "a PDF",
        b"pk\x03\x04": "a ZIP archive",
        b"id3": "MP3, see README.md",
        b"\xff\xfb": "MP3, see README.md",
        b"\xff\xf3": "MP3, see README.md",
        b"oggs": "Ogg, see README.md",
        b"flac": "FLAC, see README.md",
        b"\xff\xfe": "UTF-16: save it as UTF-8",
        b"\xfe\xff": "UTF-16: save it as UTF-8",
    }
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError:
        return ""
    if not head:
        return " (it is empty)"
    if head[4:11] in (b"ftyphei", b"ftypmif", b"ftyphev", b"ftypavi"):
        return " (it is HEIC or AVIF: save it as JPEG)"
    if head[8:16] == b"WAVEfmt " and head[20:21] not in b"\1\3\xfe":
        return " (it is compressed, see README.md)"
    if head[4:8] == b"ftyp":
        return " (it is MP4 or M4A)"
    for beginning, name in beginnings.items():
        if head.lstrip().lower().startswith(beginning):
            return f" (it is {name})"
    return ""


def readable(
    flag: str,
    folder: Path,
    samples: list[tuple[Path, str]],
    look: Callable,
    faults: list[str],
) -> tuple[tuple[Path], tuple[str]]:
    """Return paths and labels of what `look` can read; tell of the others."""
    good = []
    for number, (path, label) in enumerate(samples, 1):
        try:
            look(path)
            good.append((path, label))
        except Exception as error:  # a broken file can raise any
            text = str(error)
            if str(path) not in text:
                text = f"{path}: {text}"
            faults.append(f"{text}{what_it_is(path)}")
        if number % 10_000 == 0:
            print(f"{number:,} of {len(samples):,} read", flush=True)
    tell("samples", f"{len(good):,} can be read of {len(samples):,}")
    tell_some("faults", faults)
    if not good:
        stop(f"{flag} {folder}: no file in it can be read")
    return zip(*good, strict=True)


# --images
class ImageNotes:
    """What a look at many image files finds, file by file."""

    def __init__(self):
        self.sizes = collections.Counter()
        self.kinds = collections.Counter()
        self.spans = []  # lowest and highest values of 16 bits
        self.plain = []  # files of one colour
        self.histogram = np.zeros((3, 256), dtype=np.int64)

    def look(self, path: Path) -> None:
        """Read one file, and note what it is."""
        image = read_image(path)
        self.note_kind(path)
        self.sizes[image.size] += 1
        self.histogram += np.array(image.histogram()).reshape(3, 256)
        if all(low == high for low, high in image.getextrema()):
            self.plain.append(str(path))

    def note_kind(self, path: Path) -> None:
        """Note how `read_image` converts a file that it can read."""
        words = {
            "L": "grey to RGB",
            "1": "black and white to RGB",
            "P": "palette to RGB",
            "CMYK": "CMYK to RGB",
        }
        with Image.open(path) as file:
            sixteen = ";16" in str(file.tile)  # how the file stores a pixel
            kind = words.get(file.mode, file.mode)
            if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info:
                kind = "alpha on white"
            if file.mode[0] in "IF":
                kind = "of 16 bits or more, each file stretched to 0..255"
                values = np.array(file, dtype=np.float64)
                values = np.nan_to_num(values, posinf=0, neginf=0)
                self.spans += [values.min(), values.max()]
            elif sixteen:
                kind = "of 16 bits a colour, their upper 8 are taken"
            self.kinds[kind] += 1
            if file.getexif().get(0x0112, 1) != 1:
                self.kinds["turned upright by EXIF"] += 1
            if getattr(file, "n_frames", 1) > 1:
                self.kinds["the first of several frames"] += 1

    def tell(self) -> None:
        """Print what was found."""
        shown = collections.Counter()
        for (width, height), count in self.sizes.items():
            shown[f"of {width} x {height}"] = count
        tell("sizes", f"(width x height) {listed(shown, most=5)}")
        if len(shown) > 1:
            widths = [width for width, _ in self.sizes]
            heights = [height for _, height in self.sizes]
            text = f"widths {min(widths)}..{max(widths)}"
            tell("", f"{text}, heights {min(heights)}..{max(heights)}")
        tell("read as", listed(self.kinds))
        if self.spans:
            text = f"{min(self.spans):g}..{max(self.spans):g}"
            tell("", f"values in files of 16 bits or more: {text}")
        used = self.histogram.sum(axis=0).nonzero()[0]
        tell("pixels", f"bytes {used[0]}..{used[-1]}; divided by 255:")
        share = self.histogram / self.histogram.sum(axis=1, keepdims=True)
        values = np.arange(256) / 255
        mean = share @ values  # (3,): red, green, blue
        std = np.sqrt((share @ values**2 - mean**2).clip(min=0))
        tell("", "mean " + ", ".join(f"{value:.3f}" for value in mean))
        tell("", "std  " + ", ".join(f"{value:.3f}" for value in std))
        if self.plain:
            tell_some("one colour", self.plain)


def look_at_images(
    folder: Path, table: Path | None, label_column: str | None, figures: Path
) -> None:
    """Print a report on images: a folder for each class, or a table."""
    folder = folder.absolute()
    faults = []
    if table is None:
        samples = files_of_classes("--images", folder)
    else:
        table = table.absolute()
        samples, faults = files_of_table(folder, table, label_column)
    wanted = [label for _, label in samples]
    amounts = table is not None and are_amounts(wanted)
    classes = in_order(wanted)
    found = ImageNotes()
    paths, labels = readable("--images", folder, samples, found.look, faults)
    dataset = ImageList(folder, paths, labels, classes)
    if amounts:
        dataset.targets = [float(label) for label in labels]  # no classes
        classes = None
    tell_labels(labels, classes, in_table=table is not None)
    found.tell()
    tell_repeats(map(Path.read_bytes, paths), paths, labels)
    show_images(dataset, labels, len(found.sizes) == 1, figures)


def show_images(
    dataset: Dataset, labels: list[str], one_size: bool, figures: Path
) -> None:
    """Print the first batch, and draw nine images as they are."""
    figure, chosen = nine_panels(len(dataset))
    for index, panel in chosen:
        image, _ = dataset[index]
        panel.imshow(image)
        panel.set_title(title_of(labels[index], dataset.paths[index]))
    width, height = image.size
    if not one_size:
        width, height = 64, 64
        tell("batch", "the sizes differ: resized to 64 x 64")
    dataset.transform = lambda image: np.array(image.resize((width, height)))
    pixels, targets = next(iter(DataLoader(dataset, 16, shuffle=True)))
    images = pixels.permute(0, 3, 1, 2) / 255  # channels first
    tell_batch(["images", "targets"], [images, targets])
    save_figure(figure, "dataloader_own_images", figures)


# --labels: a table of files and their labels.
def rows_of(flag: str, path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file; end in a line where it is none."""
    first = []
    widest = 0
    try:
        for row in read_rows(path):
            first = first or row
            widest = max(widest, len(row))
            yield row
    except ValueError as error:
        stop(f"{flag} {error}")
    if widest == 0:
        stop(f"{flag} {path}: there is no row in it")
    if widest == 1:
        text = f"one column alone, row 1 is {first[0][:60]!r}; columns are"
        text += " separated by commas, semicolons or tabs"
        stop(f"{flag} {path}: {text}{what_it_is(path)}")


def column_names(rows: list[list[str]], header: bool) -> list[str]:
    """Return the names of the columns, or their numbers: "1", "2" ..."""
    width = max(map(len, rows))
    names = [str(number) for number in range(1, width + 1)]
    if header:
        for place, name in enumerate(rows[0]):
            names[place] = name or names[place]
    return names


def tell_header(path: Path, header: bool, columns: list[str]) -> None:
    """Print whether a table has a header, and its columns."""
    tell("table", str(path))
    none = "" if header else "none, row 1 is a sample; columns "
    tell("header", none + some_of(columns))


def names_labels(column: str) -> bool:
    """Return whether a column with this name has labels."""
    words = "label labels class class_name class_id classname category target"
    return column.casefold() in words.split()


def named_label(
    path: Path, columns: list[str], others: list[int], label_column: str | None
) -> int | None:
    """Return the column that --label-column names, or that says it is one."""
    if label_column is None:
        named = [n for n in others if names_labels(columns[n])]
        return named[0] if len(named) == 1 else None
    if columns.count(label_column) != 1:
        text = f"no column {label_column!r}; it has {some_of(columns)}"
        if label_column in columns:
            text = f"{columns.count(label_column)} columns {label_column!r}"
        stop(f"--label-column: {path}: {text}")
    return columns.index(label_column)


def plain_name(name: str | Path) -> str:
    """Return a file name with / between folders and joined accents."""
    name = unicodedata.normalize("NFC", str(name).replace("\\", "/"))
    return name.removeprefix("./")


class FileNames:
    """Finds the files of a folder by what a table calls them."""

    def __init__(self, folder: Path, paths: list[Path]):
        self.known = {}  # names with the folders
        self.short = {}  # names without, if one file alone has it
        # Of a1.json beside a1.png the image is meant by a1.
        endings = Image.registered_extensions()
        paths = sorted(paths, key=lambda p: p.suffix.lower() not in endings)
        names = collections.Counter(path.name for path in paths)
        stems = {path.with_suffix("") for path in paths}
        stems = collections.Counter(stem.name for stem in stems)
        for path in paths:
            if stems[path.stem] == 1:
                self.short.setdefault(plain_name(path.stem), path)
            stem = path.relative_to(folder).with_suffix("")
            self.known.setdefault(plain_name(stem), path)
        for path in paths:  # what has its ending is meant first
            if names[path.name] == 1:
                self.short[plain_name(path.name)] = path
            self.known[plain_name(path.relative_to(folder))] = path

    def find(self, cell: str) -> Path | None:
        """Return the file, also if the table has more folders before it."""
        name = plain_name(cell)
        if name in self.short:
            return self.short[name]
        while name not in self.known and "/" in name:
            name = name.partition("/")[2]
        return self.known.get(name)


def name_place(rows: list[list[str]], files: FileNames) -> int | None:
    """Return the column with the most files of the folder, if one has any.

    Names with their ending come first: the label 7 also is the file 7.png.
    """
    scores = []
    for column in range(max(map(len, rows))):
        cells = [row[column] for row in rows[:2000] if len(row) > column]
        found = [cell for cell in cells if files.find(cell)]
        in_full = [cell for cell in found if Path(cell).suffix]
        different = {files.find(cell) for cell in found}
        scores.append((len(in_full), len(found), len(different)))
    if max(scores)[1] == 0:
        return None
    return scores.index(max(scores))


def has_header(
    rows: list[list[str]], name: int, files: FileNames, label_column: str | None
) -> bool:
    """Return whether the first row of a table of files is its header."""
    cell = rows[0][name] if len(rows[0]) > name else ""
    endings = {path.suffix.lower() for path in files.known.values()}
    ending = Path(cell).suffix.lower()
    if files.find(cell) or (ending and ending in endings):
        return False
    words = "file filename image img path filepath name id label class category"
    said = re.findall("[a-z]+", " ".join(rows[0]).lower())
    if label_column in rows[0] or set(said) & set(words.split()):
        return True
    # In another language: no ending as the others have, and no known label.
    alike = [Path(row[name]).suffix for row in rows[1:] if len(row) > name]
    later = {cell for row in rows[1:] for cell in row}
    return Path(cell).suffix not in alike and not later.intersection(rows[0])


def files_of_table(
    folder: Path, table: Path, label_column: str | None
) -> tuple[list[tuple[Path, str]], list[str]]:
    """Return the files that a table lists, with labels, and its faults."""
    rows = list(rows_of("--labels", table))
    found = [p for p in files_in("--images", folder)[0] if p != table]
    files = FileNames(folder, found)
    name = name_place(rows, files)
    if name is None:
        there = some_of([path.name for path in found], 3)
        text = f"no row names a file in {folder}; not there:"
        text += f" {folder / rows[-1][0]}; there: {there}"
        stop(f"--labels {table}: {text}")
    header = has_header(rows, name, files, label_column)
    columns = column_names(rows, header)
    filled = {n for row in rows[header:] for n, cell in enumerate(row) if cell}
    others = sorted(filled - {name})
    label = named_label(table, columns, others, label_column)
    if label is None and len(others) == 1:
        label = others[0]
    if label is None:
        text = "which column has the labels? Say --label-column and one of"
        stop(f"--labels {table}: {text} {some_of(columns)}")
    tell("folder", str(folder))
    tell_header(table, header, columns)
    tell("columns", f"files in {columns[name]!r}, labels in {columns[label]!r}")
    boxes = {"xmin", "ymin", "xmax", "ymax", "bbox", "x_min", "y_min"}
    if boxes.intersection(map(str.casefold, columns)):
        text = "boxes: a row is one object; here its sample is the whole image"
        tell("", text)
    samples = []
    faults = []
    for number, row in enumerate(rows[header:], 1 + header):
        cells = row + [""] * (len(columns) - len(row))
        path = files.find(cells[name]) if cells[name] else None
        place = f"{table}, row {number}"
        if path is None:
            faults.append(f"{place}: no such file: {folder / cells[name]}")
        elif not cells[label]:
            faults.append(f"{place}: no label: {', '.join(row)}")
        else:
            samples.append((path, cells[label]))
    listed_files = {path for path, _ in samples}
    tell("rows", f"{len(rows) - header:,}, of {len(listed_files):,} files")
    extra = sorted(set(found) - listed_files)
    if extra:
        tell_some("not listed", [str(path) for path in extra])
    if are_amounts([label for _, label in samples]):
        for path, label in samples:
            if math.isnan(number_of(label)):
                faults.append(f"{table}: {path}: {label!r} is no number")
        samples = [s for s in samples if not math.isnan(number_of(s[1]))]
    return samples, faults


def are_amounts(labels: list[str]) -> bool:
    """Return whether most labels are numbers, but no numbered classes."""
    numbers = [number_of(label) for label in labels]
    numbers = [value for value in numbers if not math.isnan(value)]
    values = set(numbers)
    if not values or 2 * len(numbers) < len(labels):
        return False
    if any(value % 1 for value in values):  # a fraction
        return True
    count = len(values)
    few = count <= 20 and 2 * count <= len(numbers)
    no_gaps = max(values) - min(values) + 1 == count
    many_each = no_gaps and 5 * count <= len(numbers)
    return not (few or many_each or values <= {0, 1})


# --sounds
class SoundNotes:
    """What a look at many WAV files finds, file by file."""

    def __init__(self):
        self.rates = collections.Counter()
        self.formats = collections.Counter()
        self.seconds = []
        self.limits = []  # lowest and highest values
        self.silent = []
        self.clipped = []

    def look(self, path: Path) -> None:
        """Read one file, and note what it is."""
        samples, rate = read_wav(path)
        if not samples.isfinite().all():
            raise ValueError(f"{path}: nan or inf in it")
        self.rates[rate] += 1
        self.seconds.append(len(samples) / rate)
        data = path.read_bytes()
        head = struct.unpack_from("<HHIIHH", data, data.index(b"fmt ") + 8)
        kind = "-bit floats" if head[0] == 3 else " bits"
        self.formats[f"of {head[5]}{kind}"] += 1
        channels = samples.shape[1]
        if channels > 1:
            self.formats[f"of {channels} channels, their mean is taken"] += 1
        low, high = samples.min().item(), samples.max().item()
        self.limits += [low, high]
        if low == high:
            self.silent.append(str(path))
        # Several samples at the limit: the recording was too loud.
        if (samples.abs() >= 0.999).sum() > 3 and max(-low, high) <= 1:
            self.clipped.append(str(path))

    def tell(self, rate: int) -> None:
        """Print what was found."""
        shown = collections.Counter()
        for other, count in self.rates.items():
            shown[f"of {other:,} samples a second"] = count
        tell("rates", listed(shown))
        if len(shown) > 1:
            tell("", f"resampled to {rate:,}, the most frequent")
        tell("read as", listed(self.formats))
        seconds = sorted(self.seconds)
        text = f"{seconds[0]:.3g}..{seconds[-1]:.3g} s"
        text += f", median {seconds[len(seconds) // 2]:.3g} s"
        tell("lengths", f"{text}, together {sum(seconds):,.1f} s")
        tell("values", f"{min(self.limits):.3f}..{max(self.limits):.3f}")
        if max(map(abs, self.limits)) > 1:
            tell("", "floats beyond -1..1: divide them")
        if self.silent:
            tell_some("silent", self.silent)
        if self.clipped:
            tell_some("clipped", self.clipped)


def look_at_sounds(folder: Path, figures: Path) -> None:
    """Print a report on WAV files in a folder for each class."""
    folder = folder.absolute()
    samples = files_of_classes("--sounds", folder, ".wav")
    classes = in_order(label for _, label in samples)
    found = SoundNotes()
    paths, labels = readable("--sounds", folder, samples, found.look, [])
    tell_classes(labels, classes)
    rate = found.rates.most_common(1)[0][0]
    found.tell(rate)
    tell_repeats(map(Path.read_bytes, paths), paths, labels)

    dataset = SoundFolder(folder, rate, classes)
    dataset.paths = paths
    loader = DataLoader(dataset, 16, shuffle=True, collate_fn=pad_sounds)
    tell_batch(["waveforms", "lengths", "classes"], next(iter(loader)))
    figure, chosen = nine_panels(len(dataset))
    for index, panel in chosen:
        waveform, _ = dataset[index]
        seconds = torch.arange(len(waveform)) / rate
        panel.axis("on")
        panel.plot(seconds.tolist(), waveform.tolist(), linewidth=0.5)
        peak = max(1, waveform.abs().max().item())
        panel.set(ylim=(-peak, peak), xlabel="seconds")
        panel.set_title(title_of(labels[index], paths[index]))
    save_figure(figure, "dataloader_own_sounds", figures)


# --texts
def look_at_texts(folder: Path, figures: Path) -> None:
    """Print a report on UTF-8 texts in a folder for each class."""
    folder = folder.absolute()
    samples = files_of_classes("--texts", folder, ".txt")
    classes = in_order(label for _, label in samples)
    paths, labels = readable("--texts", folder, samples, read_utf8, [])
    texts = [read_utf8(path) for path in paths]
    marks = sum(p.read_bytes().startswith(b"\xef\xbb\xbf") for p in paths)
    tell("read as", f"{len(texts):,} of UTF-8, {marks:,} with a mark taken off")
    tell_classes(labels, classes)
    tell_words(texts, paths)
    tell_repeats(map(Path.read_bytes, paths), paths, labels)

    vocabulary = Vocabulary(texts)
    numbers = [vocabulary.encode(text) for text in texts]
    targets = [classes.index(label) for label in labels]
    samples = list(zip(numbers, targets, strict=True))
    loader = DataLoader(samples, 16, shuffle=True, collate_fn=pad_texts)
    tell_batch(["words", "lengths", "classes"], next(iter(loader)))
    figure, chosen = nine_panels(len(texts))
    for index, panel in chosen:
        panel.set_title(title_of(labels[index], paths[index]))
        begin = texts[index][:240]
        width = 20 if max(begin, default="") > "\u2e80" else 34  # Chinese
        begin = textwrap.fill(begin, width)
        panel.text(0, 0.95, begin, fontsize=8, va="top", in_layout=False)
    save_figure(figure, "dataloader_own_texts", figures)


def tell_words(texts: list[str], paths: list[Path]) -> None:
    """Print how long texts are, and which words they have."""
    counts = collections.Counter()
    lengths = []
    empty = []
    for text, path in zip(texts, paths, strict=True):
        tokens = tokens_of(text)
        counts.update(tokens)
        lengths.append(len(tokens))
        if not tokens:
            empty.append(str(path))
    if empty:
        tell_some("empty", empty)
    signs = sorted(len(text) for text in texts)
    text = f"{signs[0]:,}..{signs[-1]:,} characters"
    tell("lengths", f"{text}, median {signs[len(signs) // 2]:,}")
    lengths.sort()
    text = f"{lengths[0]:,}..{lengths[-1]:,} words and signs"
    tell("", f"{text}, median {lengths[len(lengths) // 2]:,}")
    once = sum(count == 1 for count in counts.values())
    tell("words", f"{len(counts):,} different ones, {once:,} stand once")
    often = [f"{word!r} {count:,}" for word, count in counts.most_common(6)]
    tell("", f"most frequent: {', '.join(often)}")
    chinese = sum("\u3040" <= sign <= "\u9fff" for sign in "".join(texts))
    if chinese > 0.2 * sum(signs):
        text = "Chinese or Japanese has no spaces between words:"
        tell("", f"{text} list(text) instead of tokens_of(text)")


# --table
def number_of(cell: str) -> float:
    """Return the number in a cell; nan for a text, inf, or nothing."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    # To Python 2024_01_31 is a number.
    return value if math.isfinite(value) and "_" not in cell else math.nan


def is_missing(cell: str) -> bool:
    """Return whether a cell says that nothing is known."""
    return cell.lower() in ("", "?", "-", "na", "n/a", "nan", "null")


def has_comma(cell: str) -> bool:
    """Return whether a cell is a number such as 1,5 or 1,234.50."""
    return re.fullmatch(r"[-+$]*\d+(,\d+)+(\.\d+)?", cell) is not None


def numbers_of(row: list[str]) -> np.ndarray:
    """Return the numbers in a row; nan as in `number_of`."""
    if "_" not in "".join(row):
        with contextlib.suppress(ValueError):
            values = np.array(row, dtype=np.float64)  # fast
            values[np.isinf(values)] = np.nan
            return values
    return np.array([number_of(cell) for cell in row])


def table_has_header(rows: list[list[str]], label_column: str | None) -> bool:
    """Return whether the first of these rows is the header of the table."""
    first = rows[0]
    if label_column in first and math.isnan(number_of(label_column)):
        return True
    if any(names_labels(cell) for cell in first):
        return True
    rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    first = rows[0]  # where 1,5 would be a number as well
    if len(rows) == 1:
        return all(math.isnan(number_of(cell)) for cell in first)
    values = []  # in row 1, where at least half of what is below are numbers
    for place, cell in enumerate(first):
        below = [row[place] for row in rows[1:] if len(row) > place]
        below = [number_of(other) for other in below if other]
        texts = sum(map(math.isnan, below))
        if cell and below and 2 * texts <= len(below):
            values.append(number_of(cell))
    numbers = [value for value in values if not math.isnan(value)]
    counting = list(range(len(numbers)))  # a header of 0, 1, 2, 3, 4 ...
    if len(numbers) > 3 and numbers in (counting, [n + 1 for n in counting]):
        return True
    return not values or 2 * len(numbers) < len(values)


class TableNotes:
    """The rows of a table: numbers as float64, other cells as texts.

    A row is read, kept as an array, and its texts are dropped: so 60,000 rows
    of 785 columns take 400 MB, not 4 GB. As float32 it would be half, but a
    date such as 20240131 has more digits than that keeps.
    """

    def __init__(self, columns: list[str], label: int | None):
        self.columns = columns
        self.label = label
        self.classes = None  # without labels, or where they are amounts
        self.count = 0
        self.places = []  # the number of each row in the file
        self.values = []  # (rows, columns): nan where there is no number
        self.labels = []
        self.texts = {}  # (row, column): what stands there instead
        self.faults = []  # (number in the file, text)

    def read(self, rows: Iterable[list[str]], first: int) -> None:
        """Read the rows; `first` is the number of the first in the file."""
        width = len(self.columns)
        for place, row in enumerate(rows, first):
            self.count += 1
            if len(row) != width:
                text = f"{len(row)} cells, not {width}: {some_of(row, 4)}"
                self.faults.append((place, text))
                continue
            values = numbers_of(row)
            for column in np.flatnonzero(np.isnan(values)):
                if row[column]:
                    self.texts[len(self.values), column] = row[column]
            self.places.append(place)
            self.values.append(values)
            self.labels.append("" if self.label is None else row[self.label])
        self.values = np.stack(self.values)

    def number_columns(self) -> list[int]:
        """Return the columns of x: at least half of their cells are numbers."""
        counts = (~np.isnan(self.values)).sum(axis=0)
        found = np.flatnonzero(2 * counts >= len(self.values))
        return [n for n in found if n != self.label]

    def find_classes(self) -> None:
        """Number the labels, if they are words or numbered classes."""
        if are_amounts(self.labels):
            return
        self.classes = in_order(label for label in self.labels if label)
        numbers = {label: n for n, label in enumerate(self.classes)}
        y = [numbers.get(label, math.nan) for label in self.labels]
        self.values[:, self.label] = y

    def usable_rows(self, needed: list[int]) -> np.ndarray:
        """Return the rows with a number in each needed column."""
        finite = ~np.isnan(self.values)[:, needed]
        usable = finite.all(axis=1)
        for row in np.flatnonzero(~usable):
            column = needed[finite[row].argmin()]  # the first without
            cell = self.texts.get((row, column))
            text = f"{cell[:40]!r} is no finite number" if cell else "empty"
            text = f"{self.columns[column]}: {text}"
            self.faults.append((self.places[row], text))
        return np.flatnonzero(usable)

    def tell_texts(self, places: list[int]) -> None:
        """Print which columns are left out, as they hold no numbers."""
        if not places:
            return
        cells = {place: [] for place in places}
        for (_, place), cell in self.texts.items():
            if place in cells and not is_missing(cell):
                cells[place].append(cell)
        numbers = (~np.isnan(self.values)).sum(axis=0)
        shown = []
        few = []
        commas = []
        for place, texts in cells.items():
            name = self.columns[place]
            if 2 * (len(texts) + numbers[place]) < len(self.values):
                shown.append(f"{name} (mostly empty)")
                continue
            shown.append(f"{name} ({texts[0][:20]})")
            if has_comma(texts[0]):
                commas.append(name)
            elif len(set(texts)) <= min(20, len(texts) - 1):
                few.append(name)
        tell("left out", f"of x: {some_of(shown)}")
        if commas:
            tell("", "a number is written 1.5, not 1,5, and 1000, not 1,000")
        if few:
            tell("", f"few words: number them, then F.one_hot: {some_of(few)}")


def tell_number_columns(columns: list[str], values: Tensor) -> None:
    """Print the range of each column, of the first twelve at most."""
    for place, name in enumerate(columns[:12]):
        column = values[:, place]
        tell_numbers("column", column, f"{name[:30]}: ")
        if len(column) > 1 and column.min() == column.max():
            tell("", "one value in all rows: leave it out")
        counting = column[0] + torch.arange(len(column))
        if len(column) > 2 and torch.equal(column, counting):
            tell("", "it counts the rows: leave it out")
    if len(columns) > 12:
        others = values[:, 12:]
        limits = f"{others.min():.10g}..{others.max():.10g}"
        tell("column", f"{len(columns) - 12:,} more, {limits}")
        same = (values == values[0]).all(dim=0).sum()
        tell("", f"{same:,} columns in all have one value in all rows")


def look_at_table(path: Path, label_column: str | None, figures: Path) -> None:
    """Print a report on a CSV file of numbers, with a column of labels."""
    path = path.absolute()
    rows = rows_of("--table", path)
    first = list(itertools.islice(rows, 1000))
    header = table_has_header(first, label_column)
    if len(first) == header:
        stop(f"--table {path}: a header and no rows")
    widths = collections.Counter(len(row) for row in first[header:])
    width = widths.most_common(1)[0][0]
    if len(first[0]) != width:
        text = f"row 1 has {len(first[0])} cells, most others {width}"
        stop(f"--table {path}: {text}{what_it_is(path)}")
    columns = column_names(first[:1], header)
    tell_header(path, header, columns)
    label = named_label(path, columns, list(range(width)), label_column)
    notes = TableNotes(columns, label)
    notes.read(itertools.chain(first[header:], rows), 1 + header)
    x_columns = notes.number_columns()
    notes.tell_texts(sorted(set(range(width)) - {*x_columns, label}))
    if not x_columns:
        stop(f"--table {path}: no column of numbers for x")
    needed = x_columns
    if label is not None:
        notes.find_classes()
        needed = [*x_columns, label]
    good = notes.usable_rows(needed)
    faults = [f"{path}, row {place}: {t}" for place, t in sorted(notes.faults)]
    tell("samples", f"{len(good):,} rows can be used of {notes.count:,}")
    tell_some("faults", faults)
    if len(good) == 0:
        stop(f"--table {path}: no row has all its numbers")
    show_table(notes, good, x_columns, figures)


def show_table(
    notes: TableNotes, good: np.ndarray, x_columns: list[int], figures: Path
) -> None:
    """Print labels, ranges and the first batch, and draw nine columns."""
    labels = [notes.labels[row] for row in good]
    if notes.label is None:
        tell("labels", "none named: --label-column and a name makes it y")
    else:
        tell("labels", f"column {notes.columns[notes.label]!r}")
        tell_labels(labels, notes.classes, in_table=True)
    names = [notes.columns[n] for n in x_columns]
    values = torch.from_numpy(notes.values[np.ix_(good, x_columns)])
    tell_number_columns(names, values)
    shown = [[f"{n:.10g}" for n in row] for row in values[:, :6].tolist()]
    shown = [", ".join(cells) for cells in shown]
    contents = (row.tobytes() for row in values.numpy())
    tell_repeats(contents, shown, labels, amounts=notes.classes is None)

    some = torch.randperm(len(good))[:16]
    mean, std = values.mean(dim=0), values.std(dim=0, correction=0)
    std = torch.where(std > 1e-12 * mean.abs(), std, 1.0)  # of equal values
    x = ((values[some] - mean) / std).float()
    tell("batch", "x has mean 0 and std 1 in each column")
    tell_batch(["x"], [x])
    y = None
    if notes.label is not None:
        y = torch.from_numpy(notes.values[good, notes.label]).float()
        if notes.classes is not None:
            y = y.long()
        tell_batch(["y"], [y[some]])
    figure, chosen = nine_panels(len(names))
    for place, panel in chosen:
        panel.axis("on")
        if y is None:
            panel.hist(values[:, place].tolist(), bins=30)
        else:
            panel.plot(values[:, place].tolist(), y.tolist(), ".")
        panel.set_title(printable(names[place])[:28])
    if y is not None:
        figure.supylabel(printable(notes.columns[notes.label])[:60])
    save_figure(figure, "dataloader_own_table", figures)


def report(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Look at the data that the flags name; no lesson runs."""
    asked = [args.images, args.sounds, args.texts, args.table]
    if sum(path is not None for path in asked) > 1:
        flags = "--images, --sounds, --texts, --table"
        parser.error(f"a report is on one of {flags} at a time")
    if args.labels and not args.images:
        parser.error("argument --labels: needs --images, the folder of files")
    if args.label_column is not None and not (args.labels or args.table):
        parser.error("argument --label-column: needs --labels or --table")
    if args.only or args.step or args.list:
        parser.error("a report comes alone, without --only, --step, --list")
    known = matplotlib.font_manager.get_font_names()
    fonts = ["DejaVu Sans", "Microsoft JhengHei", "PingFang TC"]
    fonts += ["Noto Sans CJK TC", "Noto Sans CJK JP", "WenQuanYi Zen Hei"]
    settings = {
        "font.family": [name for name in fonts if name in known],
        "text.parse_math": False,  # a $ begins no formula
        "axes.titlesize": 9,
    }
    try:
        with plt.rc_context(settings), warnings.catch_warnings():
            # Of letters in no font, and of what Pillow reads anyhow.
            warnings.simplefilter("ignore")
            if args.images:
                table, column = args.labels, args.label_column
                look_at_images(args.images, table, column, args.figures)
            elif args.sounds:
                look_at_sounds(args.sounds, args.figures)
            elif args.texts:
                look_at_texts(args.texts, args.figures)
            else:
                look_at_table(args.table, args.label_column, args.figures)
            if args.show:
                plt.show()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # as in `| head`: enough was read
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


# %%
def number(kind: type, low: float, high: float) -> Callable[[str], float]:
    """Return a reader for flags: `kind`, int or float, from low to high."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):  # nan is not between any two
            if low <= kind(text) <= high:
                return kind(text)
        name = {int: "a whole number", float: "a number"}[kind]
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {name} from {low:g} to {high:g}"
        )

    return read


def main() -> None:
    """Run the lesson from top to bottom."""
    data_names = ("digits", "mnist", "fashion-mnist", "kmnist")
    start_methods = multiprocessing.get_all_start_methods()
    parser = make_parser(__doc__)
    flag = parser.add_argument
    flag("--data", choices=data_names, default="digits")
    flag("--data-dir", type=Path, default=Path("data"), metavar="DIR")
    flag("--images", type=Path, metavar="DIR", help="look at your images")
    flag("--labels", type=Path, metavar="CSV", help="their labels")
    flag("--sounds", type=Path, metavar="DIR", help="look at your WAV files")
    flag("--texts", type=Path, metavar="DIR", help="look at your texts")
    flag("--table", type=Path, metavar="CSV", help="look at your numbers")
    flag("--label-column", metavar="NAME", help="in --labels or --table")
    flag("--workers", type=number(int, 2, 64), default=2, help="2 or more")
    flag("--start-method", choices=start_methods, help="by system")
    args = parse(parser)
    own = [args.images, args.labels, args.sounds, args.texts, args.table]
    if any(own) or args.label_column is not None:
        report(parser, args)
        return

    tiny = args.tiny
    train = None  # to list the sections, nothing is drawn
    if args.data == "digits" and not args.list:
        train = font_digits("train", 1_000 if tiny else 6_000)
    elif not args.list:
        images, labels = torchvision_digits(args.data, "train", args.data_dir)
        count = 1_000 if tiny else 6_000
        train = images[:count], labels[:count]
    # Two workers are one too many for one core, and here they are wanted.
    warnings.filterwarnings("ignore", "This DataLoader will create")

    start_method = args.start_method or multiprocessing.get_start_method()
    # A forkserver's workers are not ours: their signals do not reach us.
    kills = "spawn" if start_method == "forkserver" else start_method

    # The table of contents, each section with the options that it gets.
    here = {"device": args.device}
    given = {"train": train}
    drawn = {"figures": args.figures}
    method = {"start_method": args.start_method}
    shared = {"workers": args.workers, **method}
    chapters = {
        "Dataset and loader": {
            a_dataset_has_two_methods_and_a_dataloader_six_lines: {},
            mnist_and_fashion_mnist_are_one_line_each: {
                **given,
                "name": args.data,
                **drawn,
            },
            default_collate_makes_lists_of_tuples_and_keeps_dicts: {},
            collate_fn_keeps_what_cannot_be_stacked: {},
            shuffle_draws_a_new_order_each_epoch: {},
            drop_last_leaves_out_the_smaller_batch: {},
            random_split_makes_train_validation_and_test: {},
            a_split_by_group_keeps_each_person_on_one_side: {},
            a_stratified_split_keeps_the_class_proportions: {},
            weighted_random_sampler_balances_classes: {},
        },
        "Images of your own": {
            image_folder_takes_the_class_from_the_folder: {},
            exif_transpose_turns_a_photograph_upright: {},
            alpha_is_pasted_on_white: {},
            sixteen_bits_are_stretched_to_eight: {},
            a_csv_of_labels_and_a_folder_are_a_dataset: {},
            classes_are_shared_by_train_and_test: {},
            image_list_is_read_once_before_training: {},
            mean_and_std_of_each_channel_come_from_a_loader: {},
            v2_normalize_gives_mean_0_and_std_1: given,
            v2_moves_image_and_boxes_together: {},
            augmentation_makes_another_image_at_each_look: {**given, **drawn},
        },
        "Tables and text": {
            normalize_test_data_by_the_training_statistics: {},
            a_folder_of_texts_gives_text_and_label: {},
            a_tokenizer_for_any_script_asks_unicode: {},
            a_vocabulary_comes_from_training_texts_alone: {},
            pad_sequence_pads_texts_and_a_mask_tells_where: {},
            a_batch_sampler_of_similar_lengths_saves_padding: {},
            pack_padded_sequence_gives_the_true_last_state: {},
            next_token_windows_have_y_one_further_than_x: {},
            memmap_reads_one_window_of_a_large_file: shared,
        },
        "Sound": {
            wav_of_8_16_24_32_bits_and_float_is_one_waveform: {},
            stereo_becomes_mono_by_the_mean_of_its_channels: {},
            resample_before_files_of_two_rates_share_a_batch: {},
            stft_shows_the_two_tones_of_a_telephone_key: drawn,
            a_folder_of_recordings_is_padded_with_silence: {},
        },
        "Workers and speed": {
            an_iterable_dataset_is_shared_among_its_workers: shared,
            a_generator_seeds_torch_and_numpy_in_every_worker: shared,
            an_error_in_a_worker_comes_with_its_traceback: method,
            a_killed_worker_has_a_cause: {"start_method": kills},
            num_workers_is_found_by_timing_real_decoding: {
                "count": 16 if tiny else 400,
                **method,
            },
            getitems_loads_a_batch_in_one_piece: given,
            pin_memory_lets_a_copy_run_beside_the_work: {**given, **here},
        },
        "Mistakes": {
            mistakes_in_a_dataset_stop_the_loader: {},
            mistakes_in_the_use_of_a_loader: {},
            mistakes_with_options_of_a_loader: {},
            mistakes_with_images_text_and_sound: {},
            mistakes_with_a_lambda_under_spawn: {},
            mistakes_without_a_main_guard_under_spawn: {},
            mistakes_that_see_only_a_part_of_the_data: {},
            mistakes_with_data_sorted_by_class: {},
            mistakes_with_predictions_in_shuffled_order: {},
            mistakes_with_manual_seed_in_getitem: {},
            mistakes_with_the_range_of_pixels_and_sound: {},
            mistakes_with_padding_and_batch_first: {},
        },
    }
    notebook = not hasattr(sys.modules["__main__"], "__file__")
    if notebook and start_method != "fork":
        # A worker imports the file of its section, and a notebook has none.
        for sections in chapters.values():
            for section in list(sections):
                if "start_method" in sections[section]:
                    del sections[section]
        print(f"left out: 6 sections with workers, which {start_method} starts")
        print("from a file, not from a notebook: run the script in a terminal")
    elif not hasattr(signal, "SIGKILL"):  # Windows
        chapters["Workers and speed"].pop(a_killed_worker_has_a_cause)
    run(chapters, args)


if __name__ == "__main__":
    main()
