# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "torchvision>=0.22", "matplotlib>=3.9"]
# ///
"""Data sets and loaders: image, text and audio, from files to batches.

Run      python start_dataloader.py      (no download, any device, 20 s)
Read     README.md, "Data sets and loaders"
Symbols  x input, y target; a shape is written (batch, 1, 28, 28)
"""

import argparse
import collections
import contextlib
import csv
import itertools
import linecache
import math
import multiprocessing
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import timeit
import traceback
import warnings
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pydoc_data import topics
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
    random_split,
)


# %%
class Squares(Dataset):
    """Each number below `count`, together with its square."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        """Return how many samples there are; `len(dataset)` calls this."""
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one sample; `dataset[index]` calls this."""
        return torch.tensor([float(index)]), index**2


def a_loader_is_six_lines_of_python(
    *, count: int = 10, batch_size: int = 4
) -> list[list[Tensor]]:
    """A loader asks for samples one by one and stacks them to batches.

    A data set says how many samples it has and what each of them is, no more.
    Returns the batches: numbers (batch, 1) and squares (batch,).
    """
    # Brackets and len() call the two methods, as they do for a list.
    dataset = Squares(count)
    number, square = dataset[3]
    assert len(dataset) == count and number.tolist() == [3.0] and square == 9
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    order = order.tolist()  # each index once, in any order

    def by_hand() -> Iterator[list[Tensor]]:
        """Yield what the loader yields."""
        for start in range(0, count, batch_size):
            indices = order[start : start + batch_size]
            samples = [dataset[index] for index in indices]
            # A list of pairs becomes a pair of lists, then of tensors.
            numbers, squares = zip(*samples, strict=True)
            yield [torch.stack(numbers), torch.tensor(squares)]

    # The sampler is where the order comes from; any list of indices will do.
    batches = list(DataLoader(dataset, batch_size, sampler=order))
    for batch, hand_batch in zip(batches, by_hand(), strict=True):
        torch.testing.assert_close(batch, hand_batch, rtol=0, atol=0)
        numbers, squares = batch
        print(f"numbers {tuple(numbers.shape)}: {numbers.flatten().tolist()}")
        print(f"squares {tuple(squares.shape)}:   {squares.tolist()}")
    return batches


# %%
def ready_made_data_are_transformed_when_indexed(
    data: dict, name: str, data_dir: Path, figures: Path
) -> dict[str, object]:
    """`.data` stays raw; a transform works on the sample that you ask for.

    The ready-made data sets of torchvision read files as they were published.
    Returns the raw bytes (count, 28, 28), the first sample as it is and
    transformed, and the names of the classes.
    """
    from torchvision import datasets
    from torchvision.transforms import v2

    images, labels = (part.cpu() for part in data["train"])
    with tempfile.TemporaryDirectory() as folder:
        if name == "digits":
            # Ours are stored as MNIST is: a head that says what follows and its
            # sizes, then one byte a pixel; for labels, one byte a label.
            name, data_dir = "mnist", Path(folder)
            place = data_dir / "MNIST" / "raw"
            place.mkdir(parents=True)
            pixels = (255 * images).round().byte().numpy()
            files = {
                "images-idx3": struct.pack(">4i", 2051, len(labels), 28, 28)
                + pixels.tobytes(),
                "labels-idx1": struct.pack(">2i", 2049, len(labels))
                + labels.byte().numpy().tobytes(),
            }
            for split, kind in itertools.product(("train", "t10k"), files):
                path = place / f"{split}-{kind}-ubyte"
                path.write_bytes(files[kind])

        # With download=True it would fetch files that are missing.
        names = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
        read = getattr(datasets, names.get(name, "KMNIST"))
        raw = read(data_dir, train=True)
        # One transform for the image, another one for the label.
        to_tensor = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        )
        ready = read(
            data_dir,
            train=True,
            transform=to_tensor,
            target_transform=raw.classes.__getitem__,
        )

    print(f".data      {tuple(raw.data.shape)} {raw.data.dtype}", end="")
    print(f", from {raw.data.min()} to {raw.data.max()}")
    # Indexing makes a picture of the bytes, then the transform a tensor of it.
    image, label = raw[0]
    print(f"raw[0]     {type(image).__name__} {image.size} and label {label}")
    pixels, text = ready[0]
    print(f"ready[0]   {type(pixels).__name__} {tuple(pixels.shape)}", end="")
    print(
        f" {pixels.dtype}, from {pixels.min():g} to {pixels.max():g}, {text!r}"
    )
    # The transform has changed the sample, and nothing of what is stored.
    assert torch.equal(ready.data, raw.data) and raw.data.dtype == torch.uint8
    torch.testing.assert_close(
        torch.Tensor(pixels), raw.data[:1] / 255, rtol=0, atol=1e-6
    )
    assert text == raw.classes[label] == raw.classes[labels[0]]

    figure, panels = plt.subplots(3, 3, figsize=(5, 5.5), layout="constrained")
    for panel, index in zip(panels.flat, range(9), strict=True):
        pixels, text = ready[index]
        panel.imshow(pixels[0].tolist(), cmap="gray")  # (28, 28)
        panel.set_title(text)
        panel.axis("off")
    save_figure(figure, "dataloader_samples", figures)
    return {
        "raw": raw.data,
        "as it is": raw[0],
        "transformed": ready[0],
        "classes": raw.classes,
    }


# %%
class ImageTable(Dataset):
    """Images of a folder that a table lists: a line each, file name, label.

    The table is a CSV file. A first line that is no file and has no suffix is
    taken for a header. Samples are pairs: image, and the number of its class.
    Raises `FileNotFoundError` without the folder, `ValueError` for a table that
    cannot be used, and `OSError` with its name for an image that cannot.
    """

    def __init__(self, folder, table, transform=None, target_transform=None):
        """Read the table alone; an image is read when it is asked for."""
        self.folder = Path(folder)
        self.transform, self.target_transform = transform, target_transform
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder}: there is no such folder")
        try:
            # Spreadsheets begin a file with a mark, which utf-8-sig takes off.
            with open(table, encoding="utf-8-sig", newline="") as file:
                lines = [
                    [cell.strip() for cell in row] for row in csv.reader(file)
                ]
            # Empty lines are nothing; half a line is a mistake.
            for number, line in enumerate(lines, 1):
                if any(line) and not all((line + [""])[:2]):
                    raise csv.Error(f"line {number} is not: file name, label")
            rows = [line[:2] for line in lines if any(line)]
            # "file,label" is a header, unless there is a file of that name.
            first = self.folder / rows[0][0]
            self.rows = rows[not first.suffix and not first.is_file() :]
            self.rows[0]  # an IndexError where nothing is left
        except (OSError, UnicodeError, IndexError, csv.Error) as error:
            reason = str(getattr(error, "strerror", None) or error)
            if isinstance(error, IndexError):
                reason = "it lists no image"
            raise ValueError(f"{table}: {reason}") from None
        # Networks want numbers: the place of a label among all labels, sorted.
        self.classes = sorted({label for _, label in self.rows})

    def __len__(self) -> int:
        """Return the number of lines in the table."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple:
        """Return image and class of line `index`, both transformed."""
        image = self.read(index)
        target = self.classes.index(self.rows[index][1])
        if self.transform:
            image = self.transform(image)
        if self.target_transform:
            target = self.target_transform(target)
        return image, target

    def read(self, index: int) -> Image.Image:
        """Return the image of line `index` in colour, whatever it was.

        One mode for all, so that they can be stacked; to have them grey, begin
        the transform with `v2.Grayscale()`.
        """
        name, _ = self.rows[index]
        # All that Pillow raises; it warns as well, of much that it can read.
        bomb = Image.DecompressionBombError  # more pixels than anyone has
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(self.folder / name) as file:
                    # Here the pixels are decoded. A telephone does not turn
                    # them, it only notes how they are to be turned.
                    image = ImageOps.exif_transpose(file)
                    if image.mode == "F":  # 1.0 or 65535.0: which is white?
                        raise OSError(None, "floats have no known white")
                    if image.mode.startswith("I"):  # 16 bits become 8
                        image = image.point(lambda grey: grey / 256)
                        image = image.convert("L")
                    return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, bomb) as error:
            reason = getattr(error, "strerror", None) or "not a whole image"
            raise OSError(f"{name}: {reason}") from None

    def survey(self) -> tuple[list[int], collections.Counter, list[str]]:
        """Read all; return indices that work, sizes, and errors."""
        readable, sizes, errors = [], collections.Counter(), []
        for index in range(len(self)):
            try:
                image = self.read(index)
            except OSError as error:
                errors.append(str(error))
            else:
                readable.append(index)
                sizes[image.size] += 1
        return readable, sizes, errors

    @staticmethod
    def write(folder: Path, images: Tensor, labels: Tensor) -> Path:
        """Write images (count, 1, 28, 28) as files; return their table.

        Three formats, each second image large and red. The last file is cut in
        half, and the table lists one file that was never there.
        """
        lines = []
        for index, (image, label) in enumerate(
            zip(images, labels.tolist(), strict=True)
        ):
            picture = Image.fromarray((255 * image[0]).round().byte().numpy())
            if index % 2:
                black = Image.new("L", picture.size)
                picture = Image.merge("RGB", [picture, black, black])
                picture = picture.resize((56, 56))
            # The suffix tells Pillow which format to write.
            name = f"{label}/{index:02}" + (".png", ".jpg", ".bmp")[index % 3]
            lines.append(f"{name},{label}")
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            picture.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        table = folder / "labels.csv"
        lines = ["file,label", *lines, f"{label}/lost.png,{label}"]
        table.write_text("\n".join(lines))
        return table


def a_folder_and_a_table_are_a_data_set(
    data: dict, folder: Path | None, table: Path | None, *, size: int = 32
) -> dict[str, object]:
    """Two methods turn image files and a CSV of labels into a data set.

    Without a folder of your own it writes one, with two bad files in it.
    Returns the data set, the indices of the images that can be read, how many
    there are of each size, the errors of the others, and a batch.
    """
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    to_tensor = v2.Compose(
        [
            v2.Resize((size, size)),  # one size, so that they can be stacked
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    with tempfile.TemporaryDirectory() as written:
        ours = folder is None
        if ours:
            folder = Path(written)
            images, labels = (part[:12].cpu() for part in data["train"])
            table = ImageTable.write(folder, images, labels)
        try:
            dataset = ImageTable(folder, table, to_tensor)
        except FileNotFoundError as error:
            raise SystemExit(f"--images {error}") from None
        except ValueError as error:
            raise SystemExit(f"--labels {error}") from None
        # One look at every file, before hours of training depend on it.
        readable, sizes, errors = dataset.survey()
        print(f"{len(dataset):,} images in the table", end="")
        print(f", {len(dataset.classes):,} classes; ", end="")
        print(f"{len(readable):,} can be read", end="")
        # The most common sizes, width x height, and how many have them.
        for (width, height), count in sizes.most_common(3):
            print(f", {count:,} of {width} x {height}", end="")
        print()
        for error in errors:
            print(f"cannot be read: {error}")
        if not readable:
            raise SystemExit(f"--images {folder}: no image that can be read")
        # A subset is a list of indices: here those that give no error.
        loader = DataLoader(Subset(dataset, readable), batch_size=16)
        batch, targets = next(iter(loader))
        names = [dataset.classes[target] for target in targets[:5]]
        print(
            f"first batch {tuple(batch.shape)}, labels {', '.join(names)}, ..."
        )

        if ours:
            # A folder for each class is a rule so common that torchvision has
            # it ready. It looks into no file before it is asked for it.
            by_folder = ImageFolder(folder, to_tensor)
            assert by_folder.classes == dataset.classes
            places = [Path(path) for path, _ in by_folder.samples]
            for index in readable:
                place = places.index(folder / dataset.rows[index][0])
                torch.testing.assert_close(dataset[index], by_folder[place])
            # A PNG keeps every byte: the first, grey one is what was written.
            grey = v2.functional.pil_to_tensor(dataset.read(0))[:1]
            assert torch.equal(grey, (255 * images[0]).round().byte())
            # A class can be transformed too: here to zeros and a single one.
            one_hot = torch.eye(len(dataset.classes)).__getitem__
            dataset.target_transform = one_hot
            expected = [float(name == names[0]) for name in dataset.classes]
            assert dataset[0][1].tolist() == expected
    return {
        "dataset": dataset,
        "readable": readable,
        "sizes": dict(sizes),
        "errors": errors,
        "batch": (batch, targets),
    }


# %%
def bytes_become_normalized_tensors(data: dict) -> dict[str, Tensor]:
    """A transform makes a tensor of a picture, another one normalizes it.

    Bytes 0..255 of a picture, (height, width), become numbers 0..1 in a
    tensor, (channels, height, width); then the mean of the training images is
    taken away and their standard deviation divided by. Returns the numbers of
    one image at each stage.
    """
    from torchvision.transforms import v2

    images = data["train"][0].cpu()
    pixels = (255 * images[0, 0]).round().byte()  # (28, 28)
    picture = Image.fromarray(pixels.numpy())
    # Of all training images, and of these alone: nobody knows the others yet.
    mean, deviation = images.mean().item(), images.std().item()
    transforms = {
        "ToImage": v2.ToImage(),
        "ToDtype": v2.ToDtype(torch.float32, scale=True),
        "Normalize": v2.Normalize([mean], [deviation]),
    }
    # Compose does one after the other; here with a look at each stage.
    by_hand = {
        "ToImage": pixels[None],
        "ToDtype": pixels[None] / 255,
        "Normalize": (pixels[None] / 255 - mean) / deviation,
    }
    stages, stage = {}, picture
    for name, transform in transforms.items():
        stage = transform(stage)
        stages[name] = stage.as_subclass(Tensor)
        torch.testing.assert_close(stages[name], by_hand[name])
        print(f"{name:9} {tuple(stage.shape)} {str(stage.dtype):13}", end="")
        print(f" from {stage.min():7.4f} to {stage.max():8.4f}")
    whole = v2.Compose(list(transforms.values()))(picture)
    assert torch.equal(whole, stage)
    normalized = transforms["Normalize"](images)
    print(f"all images: mean {mean:.4f}, standard deviation {deviation:.4f}")
    average, spread = normalized.mean().item(), normalized.std().item()
    assert abs(average) < 1e-3 and abs(spread - 1) < 1e-3
    # abs, because what is left of 0 by rounding has either sign.
    print(f"normalized: mean {abs(average):.4f}", end="")
    print(f", standard deviation {spread:.4f}")
    return stages


# %%
def a_transform_moves_image_and_box_together(
    data: dict, figures: Path
) -> dict[str, list[int]]:
    """What moves the image moves its boxes; alone it would mislabel them.

    A box (left, top, width, height) says where something is.
    Returns the box before and after a flip and a new margin.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    # A white rectangle on black: columns 4 to 13, rows 6 to 25.
    scene = torch.zeros(1, 28, 28)
    scene[:, 6:26, 4:14] = 1
    kind = {"format": "XYWH", "canvas_size": (28, 28)}
    box = tv_tensors.BoundingBoxes([[4, 6, 10, 20]], **kind)
    move = v2.Compose([v2.RandomHorizontalFlip(p=1.0), v2.Pad([8, 0, 0, 4])])
    moved, moved_box = move(tv_tensors.Image(scene), box)
    # The second method: where do the white pixels begin and end?
    rows, columns = moved[0].nonzero().T.tolist()
    left, top = min(columns), min(rows)
    found = [left, top, max(columns) + 1 - left, max(rows) + 1 - top]
    assert moved_box[0].tolist() == found != box[0].tolist()
    print(f"box before {box[0].tolist()}, flipped and padded {found}")

    # Moved, made brighter or darker, and noisy: another one at each look.
    torch.manual_seed(0)
    augment = v2.Compose(
        [
            v2.RandomAffine(degrees=15, translate=(0.1, 0.1), scale=(0.8, 1.2)),
            v2.ColorJitter(brightness=0.5),
            v2.GaussianNoise(sigma=0.1),
        ]
    )
    figure, panels = plt.subplots(3, 6, figsize=(8, 4.2), layout="constrained")
    for row, image in zip(panels, data["train"][0][:3].cpu(), strict=True):
        # Around the ink; of a turned box it is the upright one around it.
        down, right = (image[0] > 0.6).nonzero().T
        corner = torch.stack([right.min(), down.min()])
        size = torch.stack([right.max(), down.max()]) + 1 - corner
        box = tv_tensors.BoundingBoxes(torch.cat([corner, size]), **kind)
        image = tv_tensors.Image(image)
        looks = [(image, box), *(augment(image, box) for _ in range(5))]
        for panel, (look, edges) in zip(row, looks, strict=True):
            panel.imshow(look[0].tolist(), cmap="gray", vmin=0, vmax=1)
            left, top, width, height = edges[0].tolist()
            # The middle of the first pixel is 0, its edge is half before.
            edge = plt.Rectangle((left - 0.5, top - 0.5), width, height)
            edge.set(edgecolor="red", fill=False)
            panel.add_patch(edge)
            panel.axis("off")
    panels[0, 0].set_title("before")
    panels[0, 1].set_title("after, five times")
    save_figure(figure, "dataloader_transforms", figures)
    return {"before": [4, 6, 10, 20], "after": found}


# %%
def every_epoch_shuffles_and_the_last_batch_is_smaller(
    *, count: int = 10, batch_size: int = 4
) -> dict[str, list[list[int]]]:
    """Each epoch holds every sample once, in an order of its own.

    Ten samples in batches of four leave a last batch of two. Returns how ->
    the batches of one epoch.
    """
    dataset = TensorDataset(torch.arange(count))

    def epoch(loader: DataLoader) -> list[list[int]]:
        """Return the batches of one pass; a data set gives tuples."""
        return [numbers.tolist() for (numbers,) in loader]

    generator = torch.Generator().manual_seed(0)
    shuffled = DataLoader(
        dataset, batch_size, shuffle=True, generator=generator
    )
    # In training a tiny last batch is noise; in testing it must not be dropped.
    dropping = DataLoader(dataset, batch_size, drop_last=True)
    epochs = {
        "in order": epoch(DataLoader(dataset, batch_size)),
        "drop_last": epoch(dropping),
        "shuffled, epoch 1": epoch(shuffled),
        "shuffled, epoch 2": epoch(shuffled),
    }
    generator.manual_seed(0)  # the whole order hangs on this one number
    epochs["seeded again"] = epoch(shuffled)
    for name, batches in epochs.items():
        print(f"{name:18} {batches}")

    in_order, dropped, first, second, again = epochs.values()
    assert len(shuffled) == math.ceil(count / batch_size) == len(in_order)
    assert len(dropping) == count // batch_size == len(dropped)
    for batches in (in_order, first, second):  # nothing lost, nothing twice
        seen = itertools.chain.from_iterable(batches)
        assert sorted(seen) == list(range(count))
    assert first == again and first != second
    return epochs


# %%
class Transformed(Dataset):
    """A part of a data set with a transform of its own."""

    def __init__(self, part: Dataset, transform: Callable):
        self.part, self.transform = part, transform

    def __len__(self) -> int:
        """Return the number of samples in the part."""
        return len(self.part)

    def __getitem__(self, index: int):
        """Return one sample of the part, transformed."""
        return self.transform(self.part[index])


def splits_keep_groups_apart_or_classes_in_proportion(
    *, people: int = 12, photographs: int = 10
) -> dict[str, list[int]]:
    """A random split promises neither; the data say what you need.

    Each of twelve people is on ten photographs, and on one of the ten smiles:
    a rare class. A quarter is held out. Returns how -> its indices.
    """
    count = people * photographs
    group = torch.arange(count) // photographs  # 0 0 0 ... 1 1 1 ...
    smiles = torch.arange(count) % photographs == 0

    # At random: fractions, and a generator, so that it can be done again.
    generator = torch.Generator().manual_seed(0)
    train, random_part = random_split(range(count), [0.75, 0.25], generator)
    # By group: people are drawn, and all their photographs come along.
    drawn = torch.randperm(people, generator=generator)[: people // 4]
    by_group = torch.isin(group, drawn).nonzero().flatten()
    # Stratified: a quarter of each class, drawn class by class.
    stratified = []
    for one_class in (smiles, ~smiles):
        members = one_class.nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        stratified += members[order[: len(members) // 4]].tolist()

    held_out = {
        "at random": sorted(random_part.indices),
        "by group": by_group.tolist(),
        "stratified": sorted(stratified),
    }
    for how, indices in held_out.items():
        inside = torch.zeros(count, dtype=torch.bool)
        inside[indices] = True
        # Whoever is in both parts is known already: the test is too easy.
        both = set(group[inside].tolist()) & set(group[~inside].tolist())
        print(
            f"{how:10} {len(indices)} held out, {smiles[inside].sum()} of",
            end="",
        )
        print(f" {smiles.sum()} smiles; people on both sides: {len(both)}")
        assert (len(both) == 0) == (how == "by group")
    assert smiles[held_out["stratified"]].sum() == people // 4

    # One data set below, two transforms above: noise belongs to training.
    noisy = Transformed(train, lambda index: index + 1000)
    clean = Transformed(random_part, lambda index: index)
    together = [number - 1000 for number in noisy] + list(clean)
    assert sorted(together) == list(range(count))
    print(f"training sample {noisy[0] - 1000} becomes {noisy[0]}", end="")
    print(f", held-out sample {clean[0]} stays as it is")
    return held_out


# %%
def weights_draw_a_rare_class_as_often(
    *, common: int = 990, rare: int = 10, seed: int = 1
) -> dict[str, list[int]]:
    """A sampler that weighs by 1 / count shows all classes equally often.

    It draws with replacement: the ten rare samples come fifty times each, and
    that makes them no more different. Returns how -> drawn of each class.
    """
    labels = torch.tensor([0] * common + [1] * rare)
    counts = labels.bincount()
    total = len(labels)
    sampler = WeightedRandomSampler(
        (1 / counts)[labels],  # (total,), a weight for each sample
        num_samples=total,
        generator=torch.Generator().manual_seed(seed),
    )
    # Weights need not add up to 1; each class has the same sum, and so a half.
    samplers = {"as they come": None, "weighted": sampler}
    drawn = {}
    for how, sampler in samplers.items():
        loader = DataLoader(TensorDataset(labels), 100, sampler=sampler)
        seen = torch.cat([batch for (batch,) in loader])
        drawn[how] = seen.bincount(minlength=2).tolist()
        print(f"{how:12}  common {drawn[how][0]:4}  rare {drawn[how][1]:4}")
    assert drawn["as they come"] == [common, rare]
    # Tosses of a coin: half of them, give or take four standard deviations.
    assert abs(drawn["weighted"][1] - total / 2) < 4 * math.sqrt(total / 4)
    return drawn


# %%
class Vocabulary:
    """The words of some texts, numbered; 0 is padding, 1 is any other word."""

    def __init__(self, texts: list[str], minimum: int = 2):
        """Number the words that stand in the texts `minimum` times or more."""
        counts = collections.Counter()
        for text in texts:
            counts.update(self.tokens(text))
        # A word met once teaches nothing; the frequent ones come first.
        known = [
            word for word, count in counts.most_common() if count >= minimum
        ]
        self.words = ["<pad>", "<unk>", *known]
        self.numbers = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        """Return how many numbers there are."""
        return len(self.words)

    @staticmethod
    def tokens(text: str) -> list[str]:
        """Return words, numbers and single signs, in small letters."""
        return re.findall(r"[a-z]+|[0-9]+|[^a-z0-9\s]", text.lower())

    def encode(self, text: str) -> list[int]:
        """Return the number of each token, 1 for those that are not known."""
        return [self.numbers.get(token, 1) for token in self.tokens(text)]

    def decode(self, numbers: list[int]) -> list[str]:
        """Return the word behind each number."""
        return [self.words[number] for number in numbers]


def words_become_numbers(*, minimum: int = 2) -> dict[str, object]:
    """A vocabulary numbers the words it knows; all others share one number.

    It is made from the training texts alone: three in four topics of Python's
    own documentation. The fourth shows how many words are new. Returns the
    vocabulary, and the fraction of unknown tokens on either side.
    """
    texts = list(topics.topics.values())
    train = [text for place, text in enumerate(texts) if place % 4]
    unseen = texts[::4]
    vocabulary = Vocabulary(train, minimum)
    known = vocabulary.words[2:]  # behind the two that stand for no word
    print(f"{len(texts)} texts, {sum(map(len, texts)):,} characters", end="")
    print(f"; {len(known):,} tokens stand {minimum} times or more", end="")
    print(f" in {len(train)} of them")

    # There and back again: every token returns, but for the unknown one.
    sentence = "The class statement defines a flibbertigibbet."
    numbers = vocabulary.encode(sentence)
    words = vocabulary.decode(numbers)
    print(sentence)
    print("numbers", numbers)
    print("words  ", " ".join(words))
    tokens = Vocabulary.tokens(sentence)
    assert words == [*tokens[:-2], "<unk>", "."]

    unknown = {}
    for name, part in {"training": train, "unseen": unseen}.items():
        numbers = [
            number for text in part for number in vocabulary.encode(text)
        ]
        unknown[name] = numbers.count(1) / len(numbers)
        print(f"{name:8} texts: {len(numbers):7,} tokens", end="")
        print(f", {unknown[name]:.2%} unknown")
    assert 0 < unknown["training"] < unknown["unseen"] < 0.5
    return {"vocabulary": vocabulary, **unknown}


# %%
def pad_passages(passages: list[list[int]]) -> dict[str, Tensor]:
    """Stack passages of different lengths: padded, with lengths and a mask.

    No lambda, since a worker finds it by its name. Returns numbers and mask,
    (batch, longest), and lengths (batch,).
    """
    numbers = pad_sequence(
        [torch.tensor(passage) for passage in passages], batch_first=True
    )
    lengths = torch.tensor([len(passage) for passage in passages])
    # Place 5 is real where a passage has more than 5 words.
    mask = torch.arange(numbers.shape[1]) < lengths[:, None]
    return {"numbers": numbers, "lengths": lengths, "mask": mask}


class SimilarLengths(Sampler):
    """Batches of passages that are about as long, in random order.

    The samples are shuffled, each pool of many batches is sorted by length and
    cut, and the batches are shuffled: every epoch puts others together.
    """

    def __init__(self, lengths, batch_size, generator, pool=50):
        self.lengths, self.batch_size = lengths, batch_size
        self.generator, self.pool = generator, pool * batch_size

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch."""
        order = torch.randperm(len(self.lengths), generator=self.generator)
        batches = []
        for pool in order.split(self.pool):
            pool = sorted(pool.tolist(), key=self.lengths.__getitem__)
            for start in range(0, len(pool), self.batch_size):
                batches.append(pool[start : start + self.batch_size])
        for place in torch.randperm(len(batches), generator=self.generator):
            yield batches[place]


def batches_of_like_length_waste_less_padding(
    *, count: int = 2400, batch_size: int = 32
) -> dict[str, float]:
    """Texts are padded to the longest of their batch: put equals together.

    Lengths and mask say what is real, so that no result depends on padding.
    Returns order -> the fraction of all numbers that is padding.
    """
    parts = "\n\n".join(topics.topics.values()).split("\n\n")
    passages = [re.findall(r"\w+", part.lower()) for part in parts]
    words = sorted({word for passage in passages for word in passage})
    number = {word: place for place, word in enumerate(words, 1)}  # 0 pads
    passages = [[number[word] for word in part] for part in passages if part]
    passages = passages[:count]
    lengths = [len(passage) for passage in passages]
    print(
        f"{len(passages):,} passages of {min(lengths)} to {max(lengths)} words"
    )

    # Two passages by hand: the short one gets two zeros, and the mask says so.
    batch = pad_passages([[5, 6, 7], [8]])
    assert batch["numbers"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["mask"].tolist() == [[True, True, True], [True, False, False]]
    # A sampler gives indices, a batch sampler whole lists of them.
    generator = torch.Generator().manual_seed(0)
    similar = SimilarLengths(lengths, batch_size, generator)
    orders = {
        "shuffled": {
            "batch_size": batch_size,
            "shuffle": True,
            "generator": generator,
        },
        "similar": {"batch_sampler": similar},
    }
    wasted = {}
    for name, options in orders.items():
        loader = DataLoader(passages, collate_fn=pad_passages, **options)
        batches = list(loader)
        real = sum(batch["lengths"].sum().item() for batch in batches)
        cells = sum(batch["numbers"].numel() for batch in batches)
        # No passage is lost, and the mask counts what the lengths count.
        assert real == sum(lengths) and len(batches) == len(loader)
        assert real == sum(batch["mask"].sum().item() for batch in batches)
        wasted[name] = 1 - real / cells
        print(f"{name:8}  {len(batches)} batches, {cells:7,} numbers", end="")
        print(f", {wasted[name]:.1%} of them padding")
    assert wasted["similar"] < wasted["shuffled"] / 2
    return wasted


# %%
def flatten_passages(passages: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Put passages end to end; offsets say where each of them begins.

    Returns all numbers (words,) and the offsets (batch,).
    """
    starts = itertools.accumulate(map(len, passages[:-1]), initial=0)
    flat = list(itertools.chain.from_iterable(passages))
    return torch.tensor(flat), torch.tensor(list(starts))


def an_embedding_bag_is_the_mean_of_its_vectors() -> dict[str, Tensor]:
    """A bag needs no padding; with padding, the mask makes the same mean.

    Three passages of 3, 1 and 2 words, vectors of 4 numbers. Returns how ->
    a vector for each passage, (3, 4).
    """
    torch.manual_seed(0)
    passages = [[2, 3, 4], [5], [3, 2]]
    bag = nn.EmbeddingBag(6, 4, mode="mean")
    (batch,) = DataLoader(passages, batch_size=3, collate_fn=flatten_passages)
    numbers, offsets = batch
    print(f"end to end {numbers.tolist()}, beginning at {offsets.tolist()}")

    vectors = bag.weight.detach()  # (6, 4), a row for each word
    by_hand = [vectors[passage].mean(dim=0) for passage in passages]
    # The same once more, from a padded batch: 0 pads, the mask takes it out.
    padded = [torch.tensor(passage) for passage in passages]
    padded = pad_sequence(padded, batch_first=True)  # (3, 3)
    mask = (padded != 0)[:, :, None]  # (3, 3, 1)
    sums = (vectors[padded] * mask).sum(dim=1)  # (3, 4)
    means = {
        "by hand": torch.stack(by_hand),
        "bag": bag(numbers, offsets).detach(),
        "padded, masked": sums / mask.sum(dim=1),
    }
    for how, mean in means.items():
        torch.testing.assert_close(mean, means["by hand"])
        row = ", ".join(f"{number:7.4f}" for number in mean[0].tolist())
        print(f"{how:14}  passage 0: {row}")
    # Without the mask the vector of number 0 is taken for that of a word.
    wrong = vectors[padded].mean(dim=1)
    off = torch.linalg.vector_norm((wrong - means["bag"])[1])
    print(f"without the mask passage 1, the shortest, is {off:.2f} away")
    assert off > 0.1
    return means


# %%
class Recordings(Dataset):
    """WAV files of a folder; a name begins with two digits, its class."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.wav"))

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the waveform (samples,), from -1 to 1, and its class.

        Raises `ValueError` for stereo, or samples that are not of 16 bits.
        """
        path = self.paths[index]
        with wave.open(str(path)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError(f"{path.name}: not mono of 16 bits")
            frames = file.readframes(file.getnframes())
        # Two bytes a sample, whole numbers from -32768 to 32767.
        samples = torch.frombuffer(bytearray(frames), dtype=torch.int16)
        return samples / 32768, int(path.stem[:2])

    @staticmethod
    def write(path: Path, waveform: Tensor, rate: int) -> None:
        """Write a waveform (samples,), from -1 to 1, as a WAV file."""
        samples = (32767 * waveform.clamp(-1, 1)).round().numpy()
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)  # bytes
            file.setframerate(rate)  # samples a second
            file.writeframes(samples.astype("<i2").tobytes())  # low byte first


def pad_recordings(samples: list) -> tuple[Tensor, Tensor, Tensor]:
    """Pad waveforms with silence to the longest, and keep their lengths.

    Returns waveforms (batch, longest), lengths and classes, (batch,).
    """
    waveforms, classes = zip(*samples, strict=True)
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    padded = pad_sequence(waveforms, batch_first=True)
    return padded, lengths, torch.tensor(classes)


def two_tones_tell_the_key_of_a_telephone(
    figures: Path, *, takes: int = 4, rate: int = 8000
) -> dict[str, object]:
    """A spectrogram shows the two tones of a key, and they name the key.

    A key sounds the tone of its row and that of its column at once. WAV files
    of 0.1 to 0.4 s are written with noise, read, and decoded.
    Returns the keys in the files, those decoded, the lengths in samples, the
    padded waveforms, and the two loudest frequencies of a key 5, in hertz.
    Source: the frequencies of ITU-T Recommendation Q.23.
    """
    torch.manual_seed(0)
    names = "123A456B789C*0#D"  # four rows of four keys
    rows, columns = [697, 770, 852, 941], [1209, 1336, 1477, 1633]  # hertz
    with tempfile.TemporaryDirectory() as folder:
        for place, take in itertools.product(range(16), range(takes)):
            length = int(rate * (0.1 + 0.3 * torch.rand(()).item()))
            seconds = torch.arange(length) / rate
            row, column = rows[place // 4], columns[place % 4]
            turns = 2 * math.pi * seconds
            tones = (row * turns).sin() + (column * turns).sin()
            noisy = 0.3 * tones + 0.05 * torch.randn(length)
            path = Path(folder, f"{place:02}-{take}.wav")
            Recordings.write(path, noisy, rate)
        dataset = Recordings(Path(folder))
        loader = DataLoader(dataset, len(dataset), collate_fn=pad_recordings)
        ((waveforms, lengths, classes),) = loader  # one batch of them all
    print(f"{len(dataset)} files of {lengths.min()} to {lengths.max()}", end="")
    print(f" samples, {rate} a second: a batch {tuple(waveforms.shape)}")

    # How much of each frequency is in a piece of 256 samples; a new piece
    # begins every 64. The lines are rate / 256 = 31 hertz apart, and two tones
    # are never closer than 73.
    size = 256
    spectrum = torch.stft(
        waveforms, size, window=torch.hann_window(size), return_complex=True
    )
    power = spectrum.abs() ** 2  # (batch, 129 frequencies, pieces)
    # The silence that pads adds nothing to a sum over time.
    loudness = power.sum(dim=2)  # (batch, 129)
    loudest = []
    for frequencies in (rows, columns):
        lines = [round(frequency * size / rate) for frequency in frequencies]
        loudest.append(loudness[:, lines].argmax(dim=1))  # (batch,), 0 to 3
    decoded = 4 * loudest[0] + loudest[1]
    right = (decoded == classes).sum()
    print(f"{right} of {len(dataset)} keys decoded from their loudest tones")
    assert torch.equal(decoded, classes)

    five = takes * names.index("5")
    half = round(1075 * size / rate)  # between the rows and the columns
    low = loudness[five, :half].argmax().item() * rate / size
    high = (half + loudness[five, half:].argmax().item()) * rate / size
    print(
        f"key 5: loudest at {low:.0f} and {high:.0f} Hz, made of 770 and 1336"
    )
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3), layout="constrained"
    )
    left.plot(waveforms[five, :200].tolist())
    left.set(title="key 5: 200 samples", xlabel="sample", ylabel="waveform")
    # Ten times the power is 10 decibels more.
    decibels = 10 * (power[five] + 1e-6).log10()
    extent = (0, waveforms.shape[1] / rate, 0, rate / 2)
    style = {"origin": "lower", "aspect": "auto", "extent": extent}
    right.imshow(decibels.numpy(), **style)
    right.set(title="key 5: spectrogram, padded at the end")
    right.set(xlabel="seconds", ylabel="hertz")
    save_figure(figure, "dataloader_tones", figures)
    return {
        "keys": [names[place] for place in classes],
        "decoded": [names[place] for place in decoded],
        "lengths": lengths.tolist(),
        "waveforms": waveforms,
        "tones of 5": (low, high),
    }


# %%
class Numbers(IterableDataset):
    """The numbers below `count`, as a stream: there is no index to ask for."""

    def __init__(self, count: int, sharded: bool):
        self.count, self.sharded = count, sharded

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers, in a worker only those that are its own."""
        # Worker 0 of 2 takes 0, 2, 4, ..., worker 1 takes 1, 3, 5, ...
        first, step = 0, 1
        worker = get_worker_info()  # None where there are no workers
        if worker is not None and self.sharded:
            first, step = worker.id, worker.num_workers
        yield from range(first, self.count, step)


def a_stream_is_shared_out_among_its_workers(
    *, count: int = 8, workers: int = 2, start_method: str | None = None
) -> dict[str, list[int]]:
    """Every worker runs the whole stream, unless each keeps to its share.

    A loader cannot divide what it cannot index: with two workers each number
    comes twice. Returns how -> the numbers that came.
    """
    # The data set is copied to each worker; only there it knows which it is.
    came = {}
    for sharded in (False, True):
        loader = DataLoader(
            Numbers(count, sharded),
            batch_size=3,
            num_workers=workers,
            collate_fn=list,  # leave a batch the list that it is
            multiprocessing_context=start_method,
        )
        how = "in shares" if sharded else "as it is"
        came[how] = [number for batch in loader for number in batch]
        print(f"{how:9} {len(came[how])} numbers: {sorted(came[how])}")
    assert sorted(came["as it is"]) == sorted([*range(count)] * workers)
    assert sorted(came["in shares"]) == [*range(count)]
    return came


# %%
def a_mapped_file_is_read_only_where_it_is_touched(
    *, rows: int = 50_000, columns: int = 512, batch_size: int = 64
) -> dict[str, object]:
    """A mapped file may be larger than memory: a batch reads its own rows.

    Row r, column c of this one holds r * columns + c. Mapping reads nothing;
    just written, the file is still in the system's cache, and a disk is slower
    than what is printed here. Returns the size of the file, the rows that a
    batch holds, and the batch, int32 (batch_size, columns).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.bin")
        with open(path, "wb") as file:  # in pieces, never all of it at once
            for start in range(0, rows, 1000):
                numbers = torch.arange(1000 * columns, dtype=torch.int32)
                file.write((numbers + start * columns).numpy().tobytes())
        size = path.stat().st_size

        # From here on the file is a tensor, as large as the disk allows.
        begin = time.perf_counter()
        cells = torch.from_file(
            str(path), shared=True, size=rows * columns, dtype=torch.int32
        )
        table = cells.view(rows, columns)
        opened = time.perf_counter()
        # A tensor is a data set, and many rows are an index; so the loader
        # need not batch, and a batch is read in one piece.
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(rows, generator=generator).split(batch_size)
        loader = DataLoader(table, batch_size=None, sampler=order)
        batch = next(iter(loader))  # (64, columns)
        read = time.perf_counter()
        whole = path.read_bytes()
        all_read = time.perf_counter()
        # Nothing was kept back: what the file gets now, the tensor shows.
        with open(path, "r+b") as file:
            file.write((-1).to_bytes(4, sys.byteorder, signed=True))
        changed = table[0, :2].tolist()
        del table, cells, loader  # before the file goes

    print(
        f"{rows:,} rows of {columns} numbers, {size / 1e6:.0f} MB on the disk"
    )
    print(f"map the file           {1000 * (opened - begin):8.2f} ms")
    print(f"one batch of {batch_size} rows   {1000 * (read - opened):8.2f} ms")
    print(f"read the whole file    {1000 * (all_read - read):8.2f} ms")
    expected = order[0][:, None] * columns + torch.arange(columns)
    assert torch.equal(batch, expected.int()) and size == len(whole)
    print(f"rows {order[0][:5].tolist()}, ... are as the formula says")
    print(f"row 0 after -1 was written to the file: {changed}, ...")
    assert changed == [-1, 1]
    return {"size": size, "rows": order[0], "batch": batch}


# %%
class Draws(Dataset):
    """Each sample draws a number: from torch, and from a stored generator."""

    def __init__(self, count: int):
        self.count, self.stored = count, random.Random(0)

    def __len__(self) -> int:
        """Return how many samples there are."""
        return self.count

    def __getitem__(self, index: int) -> tuple[int, float, float]:
        """Return the worker, what torch draws, what the stored one draws."""
        worker = get_worker_info().id  # 0, 1, ...
        return worker, torch.rand(()).item(), self.stored.random()


def one_seed_repeats_all_workers(
    *, each: int = 4, workers: int = 2, start_method: str | None = None
) -> dict[str, list[list[tuple]]]:
    """The generator of the loader seeds each worker anew in each epoch.

    What torch draws in the workers is then the same in every run, and
    different in each worker and epoch. A generator that the data set carries
    is copied to all of them, and repeats. `each` worker gives so many samples.
    Returns run -> its epochs: lists of (worker, from torch, from the stored).
    """
    runs = {}
    # One number draws a seed an epoch, and every worker adds its own number.
    for run, epochs in {"first run": 2, "second run": 1}.items():
        loader = DataLoader(
            Draws(each * workers),
            batch_size=2,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator().manual_seed(0),
            multiprocessing_context=start_method,
            # Workers that stay would keep the state of what they carry.
            persistent_workers=False,
        )
        # Each pass is an epoch; one of the second run is enough to compare.
        runs[run] = [sum(loader, []) for _ in range(epochs)]
    for epoch, samples in enumerate(runs["first run"], 1):
        for worker in range(2):
            own = [sample for sample in samples if sample[0] == worker]
            drawn, stored = (
                " ".join(f"{sample[place]:.4f}" for sample in own[:3])
                for place in (1, 2)
            )
            print(f"epoch {epoch} worker {worker}  torch {drawn}", end="")
            print(f"   stored {stored}")

    assert runs["first run"][:1] == runs["second run"]
    samples = sum(runs["first run"], [])
    drawn, stored = ({sample[place] for sample in samples} for place in (1, 2))
    print(f"of {len(samples)} draws differ: torch {len(drawn)}", end="")
    print(f", stored {len(stored)}; the second run was the same")
    # The stored one gives each worker the same numbers, in both epochs.
    assert len(drawn) == len(samples) == 2 * workers * each
    assert len(stored) == each
    return runs


# %%
class Waiting(Dataset):
    """Samples that take their time, as from a slow disk or a network."""

    def __init__(self, count: int, seconds: float):
        self.count, self.seconds = count, seconds

    def __len__(self) -> int:
        """Return how many samples there are."""
        return self.count

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Return the index and the number of the worker, after a while."""
        time.sleep(self.seconds)
        worker = get_worker_info()
        return index, worker.id if worker else 0


def workers_help_where_samples_wait(
    *,
    count: int = 64,
    seconds: float = 0.005,
    workers: int = 2,
    start_method: str | None = None,
) -> dict[str, list[float]]:
    """Workers share the waiting, once their own start is paid for.

    Each new worker costs its start, above all under spawn and forkserver,
    where it imports torch and this script again; so let them persist.
    Returns number of workers -> milliseconds of three epochs.
    """
    times = {}
    for number in (0, workers):
        # A loader without workers takes neither of these.
        options = {"multiprocessing_context": start_method}
        options["persistent_workers"] = True
        loader = DataLoader(
            Waiting(count, seconds),
            batch_size=8,
            num_workers=number,
            collate_fn=list,
            **(options if number else {}),
        )
        times[f"{number} workers"] = milliseconds = []
        for _ in range(3):
            start = time.perf_counter()
            batches = list(loader)
            milliseconds.append(1000 * (time.perf_counter() - start))
            # The samples come in order, whichever worker was first, and each
            # worker has waited for some, as long as there are batches enough.
            samples = itertools.chain.from_iterable(batches)
            indices, waited = zip(*samples, strict=True)
            busy = min(max(number, 1), len(batches))
            assert list(indices) == list(range(count))
            assert set(waited) == set(range(busy))
        row = "   ".join(f"{epoch:7.0f}" for epoch in milliseconds)
        print(f"{number} workers: {row}   milliseconds in epochs 1, 2, 3")
    alone = 1000 * count * seconds
    print(f"waiting alone is {alone:.0f} ms, and shared {alone / busy:.0f}")
    # Whether workers gain depends on the machine; this does not.
    assert min(times["0 workers"]) > 0.9 * alone
    return times


# %%
class OneByOne(Dataset):
    """Images as everybody loads them: one at a time, through Pillow."""

    def __init__(self, pixels: Tensor, labels: Tensor, transform: Callable):
        self.pixels, self.labels = pixels, labels
        self.transform = transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image, float32 (1, 28, 28), and its label."""
        image = Image.fromarray(self.pixels[index].numpy())
        return self.transform(image), self.labels[index].item()


class WholeBatches(Dataset):
    """The same images, all made before; a batch is picked in one piece."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return images, float32 (batch, 1, 28, 28), and labels (batch,).

        A loader calls this where it finds it, and not `__getitem__`, for a list
        of samples to collate. Here they are a batch already.
        """
        which = torch.tensor(indices)
        return self.images.index_select(0, which), self.labels[which]


def as_it_is(batch):
    """Return `batch`, for a data set that gives batches: nothing to collate."""
    return batch


def a_loader_is_slow_one_sample_at_a_time(
    data: dict, device: torch.device, *, batch_size: int = 256
) -> dict[str, float]:
    """Images come many times as fast when made before, and in one piece.

    One at a time costs calls, objects and a transform for each image, far more
    than to copy it. The plain copy fills new memory, while a loop uses that of
    the last batch again and may even be faster. Returns way -> images a second.
    """
    from torchvision.transforms import v2

    images, labels = (part.cpu() for part in data["train"])
    pixels = (255 * images[:, 0]).round().byte()  # as files hold them
    images = pixels[:, None] / 255  # the transform, for all images at once
    on_device = images.to(device), labels.to(device)
    to_tensor = v2.Compose(
        [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )

    def load(dataset: Dataset, **options) -> DataLoader:
        """Return a loader that shuffles by the seed 0."""
        options["generator"] = torch.Generator().manual_seed(0)
        return DataLoader(dataset, batch_size, shuffle=True, **options)

    def index() -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of the tensors that stand on the device."""
        for which in torch.randperm(len(labels)).to(device).split(batch_size):
            yield on_device[0].index_select(0, which), on_device[1][which]

    # All of them have the same images to give, in a random order.
    usual = OneByOne(pixels, labels, to_tensor)
    ready = list(zip(images, labels, strict=True))  # a list will do as well
    whole = WholeBatches(images, labels)
    ways = {
        "one at a time": lambda: load(usual),
        "the same, ready": lambda: load(ready),
        "__getitems__": lambda: load(whole, collate_fn=as_it_is),
        f"indexed on {device}": index,
        "a plain copy": lambda: [(images.clone(), labels.clone())],
    }
    # The loaders give the same batch, float for float.
    (slow, slow_labels), *others = (
        next(iter(batches())) for batches in list(ways.values())[:3]
    )
    for fast, fast_labels in others:
        torch.testing.assert_close(slow.as_subclass(Tensor), fast)
        assert torch.equal(slow_labels, fast_labels)

    print(f"{len(labels):,} images, {images.nbytes / 1e6:.0f} MB of float32")
    speeds = {}
    # One thread, as a worker has: these pieces are too small to be shared.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for way, batches in ways.items():
        times = []
        # The best of five, as other programs can only slow it down.
        for _ in range(1 if way == "one at a time" else 5):
            start = time.perf_counter()
            count = sum(len(label) for _, label in batches())
            if device.type != "cpu":
                torch.accelerator.synchronize(device)  # the device is done
            times.append(time.perf_counter() - start)
            assert count == len(labels)
        speeds[way] = len(labels) / min(times)
        ratio = speeds[way] / speeds["one at a time"]
        print(f"{way:15} {1000 * min(times):8.1f} ms", end="")
        print(f" {speeds[way]:12,.0f} images/s, {ratio:6.1f} times as many")
    torch.set_num_threads(threads)
    # Both pay: what was made before, and the one piece.
    assert (
        speeds["__getitems__"]
        > speeds["the same, ready"]
        > speeds["one at a time"]
    )
    # Far below what is seen, so that no busy machine can break it.
    assert speeds["__getitems__"] > 5 * speeds["one at a time"]
    return speeds


# %%
class Prefetched:
    """Batches on the device, each sent while the one before is worked on.

    A GPU does the work of a stream in turn, copies among it. So what is sent
    goes through a stream of its own.
    """

    def __init__(self, loader: DataLoader, device: torch.device):
        self.loader, self.device = loader, device
        cuda = device.type == "cuda"
        self.side = torch.cuda.Stream(device) if cuda else None

    def send(self, batch: list[Tensor]) -> list[Tensor]:
        """Return the batch on its way to the device."""
        beside = contextlib.nullcontext()
        if self.side:
            beside = torch.cuda.stream(self.side)
        with beside:  # out of pinned memory Python does not wait for a copy
            return [part.to(self.device, non_blocking=True) for part in batch]

    def arrived(self, batch: list[Tensor]) -> list[Tensor]:
        """Return the batch; whatever the device does next waits for it."""
        if self.side:
            main = torch.cuda.current_stream(self.device)
            main.wait_stream(self.side)
            for part in batch:
                part.record_stream(main)  # its memory is in use there too
        return batch

    def __iter__(self) -> Iterator[list[Tensor]]:
        """Yield each batch when the next one is on its way."""
        here = None
        for batch in self.loader:
            if here is not None:
                here = self.arrived(here)
            coming = self.send(batch)
            if here is not None:
                yield here
            here = coming
        if here is not None:
            yield self.arrived(here)


def a_batch_travels_while_the_device_computes(
    data: dict,
    device: torch.device,
    *,
    half: torch.dtype | None = None,
    batch_size: int = 128,
) -> dict[str, object]:
    """A loop that looks ahead sends a batch while another one is computed.

    A GPU can copy and compute at the same time, out of pinned memory and in two
    streams. Elsewhere only the order is the same. `half` is the type to compute
    in under autocast, None for float32.
    Returns scores of the first batch, in float32 and as computed, (batch, 10).
    """
    torch.manual_seed(0)
    images, labels = (part[:1000].cpu() for part in data["train"])
    # Memory that stays in its place, which a GPU can fetch from by itself.
    pinned = device.type in ("cuda", "xpu")  # elsewhere it is a warning
    loader = DataLoader(
        TensorDataset(images, labels), batch_size, pin_memory=pinned
    )
    sent = list(Prefetched(loader, device))
    for (image, _), (plain, _) in zip(sent, loader, strict=True):
        assert image.device.type == device.type
        torch.testing.assert_close(image.cpu(), plain)
    # Who has been given one batch: two have left the loader.
    source = iter(loader)
    next(iter(Prefetched(source, device)))
    ahead = len(sent) - len(list(source))
    print(f"{len(sent)} batches came to {device}; at the first one", end="")
    print(f" {ahead} had been sent")
    assert ahead == 2

    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 12 * 12, 10),
    ).to(device)
    # Under autocast convolution and Linear compute in 16 bits, weights stay.
    batch = sent[0][0]  # (128, 1, 28, 28)
    with torch.no_grad():
        scores = model(batch)
        with torch.autocast(device.type, half, enabled=half is not None):
            computed = model(batch)
    off = (computed - scores).abs().max().item()
    print(f"scores are {computed.dtype}", end="")
    print(f", {off:.4f} off float32" if half else "; in 16 bits with --amp")
    assert computed.dtype == (half or torch.float32)
    torch.testing.assert_close(computed.float(), scores, atol=0.05, rtol=0.05)
    return {"float32": scores, "computed": computed}


# %%
def a_clock_must_wait_for_the_device(
    device: torch.device, *, seconds: float = 0.05, size: int = 1000
) -> dict[str, tuple[float, float]]:
    """A GPU takes an order and works later: wait, or time the ordering.

    On a CPU a call returns when its work is done; there a thread stands in
    for a GPU. Returns what works -> seconds timed without and with waiting.
    """
    times = {}
    with ThreadPoolExecutor(1) as worker:
        worker.submit(int).result()  # the thread starts with its first work
        start = time.perf_counter()
        work = worker.submit(time.sleep, seconds)
        ordered = time.perf_counter() - start
        work.result()  # waits until it is done
        times["a thread"] = ordered, time.perf_counter() - start

    matrix = torch.rand(size, size, device=device)
    for _ in range(2):  # the first time is for warming up
        start = time.perf_counter()
        for _ in range(5):
            matrix @ matrix
        ordered = time.perf_counter() - start
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times[str(device)] = ordered, time.perf_counter() - start
    for name, (ordered, done) in times.items():
        print(f"{name:8}  not waiting {1000 * ordered:8.2f} ms", end="")
        print(f", waiting {1000 * done:8.2f} ms")
    ordered, done = times["a thread"]
    assert ordered < seconds / 2 and done > 0.9 * seconds
    return times


# %%
class Sample(NamedTuple):
    """A picture with what is known about it."""

    pixels: Tensor
    about: dict
    boxes: Tensor  # (boxes, 4), another number of them in each picture


def keep_boxes(samples: list[Sample]) -> Sample:
    """Return one sample whose parts are batches, the boxes a list of tensors.

    They cannot be stacked; the rest is collated as usual.
    """
    boxes = [sample.boxes for sample in samples]
    usual = default_collate([sample[:2] for sample in samples])
    return Sample(*usual, boxes)


def batches_keep_the_shape_of_their_samples(
    device: torch.device, *, batch_size: int = 3
) -> dict[str, object]:
    """Dicts and named tuples stay what they are; their leaves are stacked.

    What cannot be stacked needs a collate function of its own, which leaves
    the rest to `default_collate`. Returns the batch, and the batch moved.
    """
    samples = [
        Sample(
            torch.full((1, 2, 2), float(number)),
            {"name": f"p{number}", "weight": 0.5, "place": (number, 0)},
            torch.zeros(number, 4),
        )
        for number in range(1, 4)
    ]
    with caught(RuntimeError, "stack expects each tensor to be equal size"):
        next(iter(DataLoader(samples, batch_size)))
    (batch,) = DataLoader(samples, batch_size, collate_fn=keep_boxes)

    # The batch goes to the device leaf by leaf, and keeps its form.
    def move(part):
        """Return `part` with every tensor in it on the device."""
        if isinstance(part, Tensor):
            # A float of Python has 64 bits, and so has a tensor of them; the
            # weights of layers have 32, and some devices know no others.
            double = part.dtype == torch.float64
            return part.to(device, torch.float32 if double else part.dtype)
        if isinstance(part, dict):
            return {name: move(inner) for name, inner in part.items()}
        if isinstance(part, tuple) and hasattr(part, "_fields"):
            return type(part)(*map(move, part))
        if isinstance(part, list | tuple):
            return type(part)(map(move, part))
        return part  # texts and whatever else

    moved = move(batch)
    about = moved.about  # a dict of a list, a tensor, and a pair of tensors
    print(f"pixels {tuple(moved.pixels.shape)}, boxes", end=" ")
    print([tuple(boxes.shape) for boxes in moved.boxes])
    places = [place.tolist() for place in about["place"]]
    print(f"name {about['name']}, place {places}")
    print(f"weight {about['weight'].tolist()}", end="")
    print(f" {batch.about['weight'].dtype}, moved {about['weight'].dtype}")
    assert isinstance(moved, Sample) and about["name"] == ["p1", "p2", "p3"]
    assert batch.about["weight"].dtype == torch.float64
    assert about["weight"].dtype == torch.float32
    by_hand = torch.stack([sample.pixels for sample in samples])
    assert torch.equal(moved.pixels.cpu(), by_hand)
    return {"batch": batch, "moved": moved}


# %%
class Forgetful(Dataset):
    """A sample is made, and not returned."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        return 4

    def __getitem__(self, index: int):
        """Make a sample."""
        torch.zeros(3)


class Misspelt(Dataset):
    """`__get_item__` is a name that nobody calls."""

    def __get_item__(self, index: int) -> int:
        """Return a sample."""
        return index


def mistakes_stop_the_loader() -> dict[str, object]:
    """Seven errors between a data set and its batches, and the ways out.

    Returns mistake -> what the right way gives.
    """
    from torchvision.transforms import v2

    right = {}
    pictures = [Image.new("L", (28, 28))] * 4
    with caught(TypeError, "batch must contain tensors"):
        next(iter(DataLoader(pictures)))  # the transform is forgotten
    tensors = [v2.functional.to_image(picture) for picture in pictures]
    right["pictures"] = tuple(next(iter(DataLoader(tensors))).shape)

    with caught(TypeError, "found <class 'NoneType'>"):
        next(iter(DataLoader(Forgetful())))  # right: `return` the sample
    with caught(NotImplementedError, "should implement __getitem__"):
        Misspelt()[0]  # right: `__getitem__`, two underscores on each side

    with tempfile.TemporaryDirectory() as folder:
        wrong_place = sorted(Path(folder).glob("*.png"))
        with caught(ValueError, "num_samples should be a positive integer"):
            DataLoader(wrong_place, shuffle=True)  # right: ask for len() first

    # A loader can be asked for an iterator, each time for a new epoch.
    loader = DataLoader(range(10), batch_size=4)
    with caught(TypeError, "'DataLoader' object is not an iterator"):
        next(loader)
    right["next"] = next(iter(loader)).tolist()

    # A data set without labels gives batches without labels.
    with caught(ValueError, "not enough values to unpack"):
        numbers, labels = next(
            iter(DataLoader(TensorDataset(torch.ones(4, 2))))
        )
    pairs = TensorDataset(torch.ones(4, 2), torch.arange(4))
    numbers, labels = next(iter(DataLoader(pairs, batch_size=4)))
    right["unpack"] = labels.tolist()

    # Ten samples in batches of four: the last batch has only two.
    batches = list(DataLoader(torch.zeros(10, 2, 3), batch_size=4))
    with caught(RuntimeError, "is invalid for input of size 12"):
        [batch.view(4, 6) for batch in batches]
    right["view"] = [tuple(batch.flatten(1).shape) for batch in batches]

    assert right["pictures"] == (1, 1, 28, 28) and right["unpack"] == [
        0,
        1,
        2,
        3,
    ]
    assert right["next"] == [0, 1, 2, 3]
    assert right["view"] == [(4, 6), (4, 6), (2, 6)]
    return right


# %%
def mistakes_stop_image_text_and_sound() -> dict[str, object]:
    """Five errors about what a sample is made of, and the ways out.

    Returns mistake -> what the right way gives.
    """
    right = {}
    # Torch has the channels first, matplotlib wants them last.
    panel = plt.figure().subplots()
    with caught(TypeError, "Invalid shape (3, 8, 8) for image data"):
        panel.imshow(torch.rand(3, 8, 8).numpy())
    shown = panel.imshow(torch.rand(3, 8, 8).permute(1, 2, 0).numpy())
    right["imshow"] = shown.get_size()
    plt.close()

    words = torch.tensor([1, 2, 10])
    with caught(IndexError, "index out of range in self"):
        nn.Embedding(10, 4)(words)  # ten words are 0 to 9
    right["embedding"] = tuple(nn.Embedding(11, 4)(words).shape)
    with caught(RuntimeError, "to have one of the following scalar types"):
        nn.Embedding(11, 4)(words.float())  # right: int64, as above

    # A spectrum has a size and a phase, so its numbers are complex.
    sound = torch.sin(torch.arange(1600) * 0.1)
    window = torch.hann_window(256)
    with caught(RuntimeError, "stft requires the return_complex parameter"):
        torch.stft(sound, 256, window=window)
    spectrum = torch.stft(sound, 256, window=window, return_complex=True)
    right["stft"] = spectrum.shape[0]  # frequencies: half of 256, and 0

    # Fractions that add up to 1 fit a data set of any length.
    with caught(ValueError, "Sum of input lengths does not equal"):
        random_split(range(10), [7, 2])
    right["split"] = [len(part) for part in random_split(range(10), [0.8, 0.2])]
    assert right == {
        "imshow": (8, 8),
        "embedding": (3, 4),
        "stft": 129,
        "split": [8, 2],
    }
    return right


# %%
class Fragile(Dataset):
    """A sample that cannot be made, and in a worker ends its process."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        return 4

    def __getitem__(self, index: int) -> int:
        """End the process in a worker, raise the reason elsewhere."""
        if get_worker_info():
            os._exit(1)  # as a crash, or the system for want of memory, does
        raise MemoryError("no room for this sample")


def mistakes_wait_for_the_first_worker(
    *, start_method: str | None = None
) -> dict[str, str]:
    """Workers bring errors of their own, or hide the cause: three of them.

    Returns script -> what it printed.
    """
    # 1. A new process under spawn runs the script again, from the top: what
    # starts the process must stand where only the first one comes.
    script = """
import multiprocessing

def start():
    spawn = multiprocessing.get_context("spawn")
    spawn.Process(target=print, args=("a worker started",)).start()

"""
    ends = {
        "without the guard": "start()",
        "with the guard": "if __name__ == '__main__': start()",
    }
    output = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.py")
        for name, end in ends.items():
            path.write_text(script + end)
            done = subprocess.run(
                [sys.executable, path], capture_output=True, text=True
            )
            output[name] = done.stdout + done.stderr.partition("Error:")[2]
    with caught(RuntimeError, "finished its bootstrapping phase"):
        raise RuntimeError(output["without the guard"])  # its very words
    print(f"if __name__ == '__main__': {output['with the guard']}", end="")
    assert output["with the guard"] == "a worker started\n"

    # 2. What goes to a worker is pickled; a lambda has no name to be found by.
    with caught(Exception, "local object"):
        try:
            pickle.dumps(lambda batch: batch)
        except (AttributeError, pickle.PicklingError) as error:
            # Some versions of Python tell its address as well.
            raise type(error)(re.sub(" at 0x.*>", ">", str(error))) from None
    assert pickle.loads(pickle.dumps(default_collate)) is default_collate

    # 3. A worker whose process ends cannot say why. Without workers an error
    # is seen as it is, and a crash happens in front of you.
    options = {"num_workers": 1, "multiprocessing_context": start_method}
    with caught(RuntimeError, "exited unexpectedly"):
        next(iter(DataLoader(Fragile(), **options)))
    with caught(MemoryError, "no room for this sample"):
        next(iter(DataLoader(Fragile(), num_workers=0)))
    return output


# %%
class SharedTransform(Dataset):
    """Ten numbers; one transform, for all who look at this data set."""

    transform = None

    def __len__(self) -> int:
        """Return how many samples there are."""
        return 10

    def __getitem__(self, index: int) -> int:
        """Return one sample."""
        return self.transform(index) if self.transform else index


class Crops(Dataset):
    """Five random places to crop at; `reseed` is the mistake."""

    def __init__(self, reseed: bool):
        self.reseed = reseed

    def __len__(self) -> int:
        """Return how many samples there are."""
        return 5

    def __getitem__(self, index: int) -> int:
        """Return a place from 0 to 999."""
        if self.reseed:
            torch.manual_seed(0)
        return torch.randint(1000, ()).item()


def mistakes_give_wrong_samples() -> dict[str, tuple]:
    """Five ways to wrong samples, and no word about any of them.

    Returns mistake -> (wrong number, right number).
    """
    torch.manual_seed(0)
    silent = {}
    # Each iter() begins a new epoch.
    loader = DataLoader(range(6), batch_size=2)
    silent["next(iter(loader)) in a loop, samples seen of 6"] = (
        len(torch.cat([next(iter(loader)) for _ in range(3)]).unique()),
        len(torch.cat(list(loader)).unique()),
    )

    # Ten classes, one after the other: the last is all that is remembered.
    labels = torch.arange(500) // 50
    points = 0.7 * torch.randn(10, 20)[labels] + torch.randn(500, 20)
    right = []
    for shuffle in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(20, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        for x, y in DataLoader(
            TensorDataset(points, labels), 25, shuffle=shuffle
        ):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        guesses = model(points).argmax(dim=1)
        right.append((guesses == labels).float().mean().item())
    silent["sorted data, no shuffle, fraction right"] = tuple(right)

    # A perfect guesser: what it guesses is the label.
    shuffled = DataLoader(TensorDataset(labels, labels), 50, shuffle=True)
    pairs = [torch.stack(batch) for batch in shuffled]
    guesses, own = torch.cat(pairs, dim=1)
    silent["shuffled guesses, unshuffled labels, fraction right"] = (
        (guesses == labels).float().mean().item(),
        (guesses == own).float().mean().item(),
    )

    # Both parts look at the same data set, and so through the same transform.
    dataset = SharedTransform()
    _, held_out = random_split(dataset, [8, 2])
    dataset.transform = (1000).__add__  # meant for the other part
    apart = Subset(SharedTransform(), held_out.indices)
    silent["one transform for both splits, largest of 0..9"] = (
        max(held_out),
        max(apart),
    )

    # The seed belongs to the beginning of the program.
    silent["manual_seed in __getitem__, random places of 5"] = tuple(
        len(set(DataLoader(Crops(reseed), batch_size=None)))
        for reseed in (True, False)
    )
    for mistake, (wrong, honest) in silent.items():
        print(f"{mistake}: {wrong:.5g} instead of {honest:.5g}")
        assert abs(wrong - honest) > 0.1
    return silent


# %%
def mistakes_give_wrong_numbers() -> dict[str, tuple]:
    """Five ways to wrong numbers, and no word about any of them.

    Returns mistake -> (wrong number, right number).
    """
    from torchvision.transforms import v2

    silent = {}
    # Only bytes are known to end at 255.
    scale = v2.ToDtype(torch.float32, scale=True)
    white = torch.full((1, 2, 2), 255)
    silent["pixels in int64, white scaled to 0..1"] = (
        scale(white).max().item(),
        scale(white.byte()).max().item(),
    )
    # v2 broadcasts: three means make three channels of one.
    colour, grey = (
        v2.Normalize([0.5] * 3, [0.5] * 3),
        v2.Normalize([0.5], [0.5]),
    )
    silent["a grey image normalized as colour, channels"] = (
        len(colour(white / 255)),
        len(grey(white / 255)),
    )
    # Layers are made for numbers around 1.
    pulses = torch.tensor([0, 16384, -32768], dtype=torch.int16)
    silent["16-bit sound not divided by 32768, loudest"] = (
        pulses.float().abs().max().item(),
        (pulses / 32768).abs().max().item(),
    )

    vectors = torch.tensor([0.5, 1.0, 3.0])  # the first one is the padding's
    words = torch.tensor([1, 2, 0, 0])
    silent["padding counted in, mean of 1 and 3"] = (
        vectors[words].mean().item(),
        vectors[words[words != 0]].mean().item(),
    )

    sentences = torch.randn(8, 5, 3)  # 8 sentences, 5 words, 3 numbers each
    silent["LSTM without batch_first, sentences seen of 8"] = tuple(
        nn.LSTM(3, 4, batch_first=first)(sentences)[1][0].shape[1]
        for first in (False, True)
    )
    for mistake, (wrong, honest) in silent.items():
        print(f"{mistake}: {wrong:.5g} instead of {honest:.5g}")
        assert abs(wrong - honest) > 0.1
    return silent


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
        font = ImageFont.truetype(str(folder / f"{name}.ttf"), size=26)
        for digit in "0123456789":
            image = Image.new("L", (28, 28))  # grey, one byte a pixel
            draw = ImageDraw.Draw(image)
            draw.text((14, 14), digit, fill=255, font=font, anchor="mm")
            glyphs.append(list(image.tobytes()))
    glyphs = torch.tensor(glyphs).view(-1, 1, 28, 28) / 255
    # One generator on the CPU: a seed gives the same images on every device.
    generator = torch.Generator().manual_seed(seed)
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
    flag("--images", type=Path, metavar="DIR", help="your own image files")
    flag("--labels", type=Path, metavar="FILE.csv", help="file name, label")
    flag("--workers", type=number(int, 2, 64), default=2, help="2 or more")
    flag("--start-method", choices=start_methods, help="by system")
    args = parse(parser)
    # What no single flag can know.
    if (args.images is None) != (args.labels is None):
        parser.error("argument --images: needs --labels, and --labels it")

    device, tiny = args.device, args.tiny
    half = amp_dtype(device)
    count = 1_000 if tiny else 12_000
    data = {}  # it stays empty where sections are only listed
    if args.data == "digits" and not args.list:
        data["train"] = font_digits("train", count)
    elif not args.list:
        images, labels = torchvision_digits(args.data, "train", args.data_dir)
        data["train"] = images[:count], labels[:count]
    # Two workers are one too many for one core, and here they are wanted.
    warnings.filterwarnings("ignore", "This DataLoader will create")

    # The table of contents, each section with the options that it gets.
    method = {"start_method": args.start_method}
    shared = {"workers": args.workers, **method}
    drawn = {"figures": args.figures}
    chapters = {
        "Data sets and images": {
            a_loader_is_six_lines_of_python: {},
            ready_made_data_are_transformed_when_indexed: {
                **drawn,
                "data": data,
                "name": args.data,
                "data_dir": args.data_dir,
            },
            a_folder_and_a_table_are_a_data_set: {
                "data": data,
                "folder": args.images,
                "table": args.labels,
            },
            bytes_become_normalized_tensors: {"data": data},
            a_transform_moves_image_and_box_together: {**drawn, "data": data},
            every_epoch_shuffles_and_the_last_batch_is_smaller: {},
            splits_keep_groups_apart_or_classes_in_proportion: {},
            weights_draw_a_rare_class_as_often: {},
        },
        "Text and sound": {
            words_become_numbers: {},
            batches_of_like_length_waste_less_padding: {
                "count": 800 if tiny else 2_400
            },
            an_embedding_bag_is_the_mean_of_its_vectors: {},
            two_tones_tell_the_key_of_a_telephone: {
                **drawn,
                "takes": 1 if tiny else 4,
            },
        },
        "Workers and speed": {
            a_stream_is_shared_out_among_its_workers: shared,
            a_mapped_file_is_read_only_where_it_is_touched: {
                "rows": 5_000 if tiny else 50_000
            },
            one_seed_repeats_all_workers: shared,
            workers_help_where_samples_wait: {
                **shared,
                "count": 16 if tiny else 64,
            },
            a_loader_is_slow_one_sample_at_a_time: {
                "data": data,
                "device": device,
            },
            a_batch_travels_while_the_device_computes: {
                "data": data,
                "device": device,
                "half": half if args.amp else None,
            },
            a_clock_must_wait_for_the_device: {
                "device": device,
                "size": 200 if tiny else 1_000,
            },
            batches_keep_the_shape_of_their_samples: {"device": device},
        },
        "Mistakes": {
            mistakes_stop_the_loader: {},
            mistakes_stop_image_text_and_sound: {},
            mistakes_wait_for_the_first_worker: method,
            mistakes_give_wrong_samples: {},
            mistakes_give_wrong_numbers: {},
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
