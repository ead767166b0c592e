# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "torchvision>=0.22", "matplotlib>=3.9"]
# ///
"""Optimizing a model: train, validate and test, and every step proved.

Run      python start_optimizer.py      (no download, any device, 50 s)
Read     README.md, "Optimizing a model"
Symbols  x input, y target, w weight, b bias
"""

import argparse
import contextlib
import copy
import difflib
import functools
import io
import math
import os
import pickle
import re
import socket
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn


# %%
class RandomAffine:
    """Turn, scale, shear and shift each image of a batch by its own amount.

    The whole batch moves at once, on its device: a 2 x 3 matrix per image says
    where each pixel comes from, `grid_sample` reads the image there.
    """

    def __init__(self, degrees=20.0, scale=0.2, shear=0.3, shift=0.2):
        """Amounts are drawn from -limit to limit; a shift of 2 is a width."""
        self.limits = (math.radians(degrees), scale, shear, shift, shift)

    def __call__(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return `images`, (batch, channels, height, width), moved."""
        count, device = len(images), images.device
        angle, scale, shear, right, down = (
            limit
            * (2 * torch.rand(count, generator=generator, device=device) - 1)
            for limit in self.limits
        )
        cosine, sine = angle.cos() / (1 + scale), angle.sin() / (1 + scale)
        top = torch.stack([cosine, shear * cosine - sine, right], dim=1)
        bottom = torch.stack([sine, shear * sine + cosine, down], dim=1)
        matrix = torch.stack([top, bottom], dim=1)  # (batch, 2, 3)
        grid = F.affine_grid(matrix, images.shape, align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)


class FontDigits(dict):
    """The digits 0 to 9 in the 20 typefaces that come with matplotlib.

    The keys "train", "validation" and "test" give a pair: images, float32
    (count, 1, 28, 28) in 0..1, and labels, int64 (count,). A split is drawn
    when it is first asked for, in typefaces that no other split contains.
    """

    typefaces = {
        "train": "DejaVuSans DejaVuSans-Bold DejaVuSans-BoldOblique "
        "DejaVuSansMono DejaVuSansMono-Oblique DejaVuSansMono-BoldOblique "
        "DejaVuSerif DejaVuSerif-Italic DejaVuSerif-BoldItalic "
        "STIXGeneral STIXGeneralItalic cmb10",
        "validation": "DejaVuSansMono-Bold STIXGeneralBolIta cmss10",
        "test": "DejaVuSans-Oblique DejaVuSerif-Bold STIXGeneralBol "
        "cmr10 cmtt10",
    }

    def __init__(
        self, device, *, train=12_000, validation=3_000, test=5_000, seed=0
    ):
        """Fix how many images of each split there are, and where."""
        super().__init__()
        self.device, self.seed = device, seed
        self.counts = {"train": train, "validation": validation, "test": test}

    def __missing__(self, split: str) -> tuple[Tensor, Tensor]:
        """Draw `split` and keep it."""
        folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
        glyphs = []
        for typeface in self.typefaces[split].split():
            font = ImageFont.truetype(str(folder / f"{typeface}.ttf"), size=26)
            for digit in "0123456789":
                image = Image.new("L", (28, 28))
                draw = ImageDraw.Draw(image)
                draw.text((14, 14), digit, fill=255, font=font, anchor="mm")
                glyphs.append(list(image.tobytes()))
        glyphs = torch.tensor(glyphs).view(-1, 1, 28, 28) / 255

        # The same pictures on every device: the numbers are drawn on the CPU.
        index = list(self.typefaces).index(split)
        generator = torch.Generator().manual_seed(10 * self.seed + index)
        count = self.counts[split]
        which = torch.randint(len(glyphs), (count,), generator=generator)
        images = RandomAffine()(glyphs[which], generator)
        ink = torch.rand(count, 1, 1, 1, generator=generator) / 2 + 0.5
        noise = 0.15 * torch.randn(images.shape, generator=generator)
        images = (ink * images + noise).clamp(0, 1)
        self[split] = images.to(self.device), (which % 10).to(self.device)
        return self[split]


def digits_need_no_download(
    device: torch.device, figures: Path, *, count: int = 12_000
) -> dict[str, tuple[Tensor, Tensor]]:
    """Twenty typefaces, moved and made noisy, are a data set to learn from.

    Returns the three splits; each typeface stands in one of them alone.
    """
    start = time.perf_counter()
    digits = FontDigits(device, train=count)
    images, labels = digits["train"]
    seconds = time.perf_counter() - start
    assert images.shape == (count, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    print(f"{count:,} images drawn in {seconds:.2f} s")

    # The same seed draws the same images.
    again, _ = FontDigits(device, train=count)["train"]
    assert torch.equal(images, again)

    names = [set(text.split()) for text in FontDigits.typefaces.values()]
    assert len(set.union(*names)) == sum(map(len, names)) == 20

    figure, panels = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    for panel, split in zip(panels, FontDigits.typefaces, strict=True):
        rows = digits[split][0][:60].view(6, 10, 28, 28)
        picture = rows.permute(0, 2, 1, 3).reshape(6 * 28, 10 * 28)
        panel.imshow(picture.cpu().numpy(), cmap="gray")
        typefaces = FontDigits.typefaces[split].split()
        panel.set_title(f"{split}: {len(typefaces)} typefaces")
        panel.axis("off")
        print(f"{split:10} {len(digits[split][1]):6,} images, ", end="")
        print(f"{len(typefaces):2} typefaces, {typefaces[0]} ...")
    save_figure(figure, "optimizer_digits", figures)
    return digits


# %%
def a_split_by_image_flatters(
    digits: dict, device: torch.device, *, epochs=5, batch_size=64, lr=1e-3
) -> tuple[float, float]:
    """Held-out images look easy, held-out typefaces show the truth.

    One network is measured twice. A random split of the images leaves every
    typeface on both sides; a split by typeface asks what a user will ask.
    Returns both accuracies, as fractions.
    """
    torch.manual_seed(0)
    images, labels = digits["train"]
    order = torch.randperm(len(labels)).to(device)
    held_out, kept = order[: len(order) // 6], order[len(order) // 6 :]

    network = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)
    ).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    for _ in range(epochs):
        shuffled = kept[torch.randperm(len(kept)).to(device)]
        for batch in shuffled.split(batch_size):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    accuracies = []
    unseen = {
        "unseen images of known typefaces": (
            images[held_out],
            labels[held_out],
        ),
        "unseen typefaces": digits["validation"],
    }
    for name, (x, y) in unseen.items():
        with torch.no_grad():
            right = network(x).argmax(dim=1) == y
        accuracies.append(right.float().mean().item())
        print(f"{name:33} {accuracies[-1]:6.1%} right")
    assert accuracies[0] > accuracies[1] + 0.03
    return tuple(accuracies)


# %%
def losses_are_lines_of_arithmetic(
    device: torch.device,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Cross-entropy and its kin, written out, equal those of torch.

    For scores z (batch, classes) and labels y, cross-entropy is the mean of
    -log softmax(z)[y]; smoothing by e puts the weight e on all classes alike.
    Returns name -> (by hand, by torch).
    """
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], device=device)
    labels = torch.tensor([0, 2], device=device)
    log_softmax = logits - logits.exp().sum(dim=1, keepdim=True).log()
    negative_log_likelihood = -log_softmax[range(2), labels]  # (batch,)
    uniform = -log_softmax.mean(dim=1)  # (batch,)
    smoothed = 0.9 * negative_log_likelihood + 0.1 * uniform

    x = torch.tensor([0.5, 2.0, -1.0], device=device)
    y = torch.tensor([1.0, 0.0, 0.0], device=device)
    chance = 1 / (1 + (-x).exp())  # the sigmoid
    binary = -(y * chance.log() + (1 - y) * (1 - chance).log())

    nll_of_torch = F.nll_loss(F.log_softmax(logits, dim=1), labels)
    pairs = {
        "cross-entropy": (
            negative_log_likelihood.mean(),
            F.cross_entropy(logits, labels),
        ),
        "log-softmax, then NLL": (negative_log_likelihood.mean(), nll_of_torch),
        "label smoothing 0.1": (
            smoothed.mean(),
            F.cross_entropy(logits, labels, label_smoothing=0.1),
        ),
        "mean squared error": (((x - y) ** 2).mean(), F.mse_loss(x, y)),
        "binary, with logits": (
            binary.mean(),
            F.binary_cross_entropy_with_logits(x, y),
        ),
    }
    for name, (by_hand, by_torch) in pairs.items():
        torch.testing.assert_close(by_hand, by_torch)
        print(f"{name:22} by hand {by_hand:.4f}   torch {by_torch:.4f}")

    # Why the built-in one all the same: exp(100) is inf in float32.
    huge = torch.tensor([[100.0, 0.0]], device=device)
    naive = -(huge.exp() / huge.exp().sum()).log()[0, 0]
    safe = F.cross_entropy(huge, torch.zeros(1, dtype=torch.long).to(device))
    assert naive.isnan() and safe == 0
    print(f"{'a score of 100':22} by hand {naive:6.4f}   torch {safe:.4f}")
    return pairs


# %%
def a_step_is_four_moves(
    device: torch.device, *, steps: int = 50, lr: float = 0.1
) -> dict[str, Tensor]:
    """Guess, error, derivatives, update; old derivatives go in between.

    A line is fitted to y = 3 x + 1. Returns (w, b) for the step written by
    hand, and for `zero_grad` at the start, at the end, and left out.
    """
    x = torch.linspace(-1, 1, 20, device=device)[:, None]  # (20, 1)
    y = 3 * x + 1

    w = b = torch.zeros((), device=device)
    for _ in range(steps):
        guess = w * x + b
        residual = guess - y
        gradient = 2 * (residual * x).mean(), 2 * residual.mean()
        w, b = w - lr * gradient[0], b - lr * gradient[1]
    fits = {"by hand": torch.stack([w, b])}

    for zeroed in ("start", "end", "never"):
        model = nn.Linear(1, 1, device=device)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        for _ in range(steps):
            if zeroed == "start":
                optimizer.zero_grad()
            guess = model(x)  # 1. guess
            error = F.mse_loss(guess, y)  # 2. measure the error
            error.backward()  # 3. collect the derivatives
            optimizer.step()  # 4. update
            if zeroed == "end":
                optimizer.zero_grad()
        fits[zeroed] = torch.cat([model.weight[0], model.bias]).detach()

    for name, (w, b) in fits.items():
        print(f"zero_grad {name:8} y = {w:.4f} x + {b:.4f}")
    torch.testing.assert_close(fits["start"], fits["by hand"])
    torch.testing.assert_close(fits["start"], fits["end"])
    assert not torch.allclose(fits["never"], fits["start"], atol=0.1)
    return fits


# %%
class HandSGD:
    """v = momentum * v + g, w = w - lr * v; Nesterov looks one step ahead."""

    def __init__(self, lr, momentum=0.0, nesterov=False):
        self.lr, self.momentum, self.nesterov = lr, momentum, nesterov
        self.velocity = 0.0

    def step(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return the next w."""
        self.velocity = self.momentum * self.velocity + gradient
        if self.nesterov:
            return w - self.lr * (gradient + self.momentum * self.velocity)
        return w - self.lr * self.velocity


class HandRMSprop:
    """Each coordinate is divided by the root of its mean square gradient."""

    def __init__(self, lr, alpha=0.99, eps=1e-8):
        self.lr, self.alpha, self.eps = lr, alpha, eps
        self.square = 0.0

    def step(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return the next w."""
        self.square = self.alpha * self.square + (1 - self.alpha) * gradient**2
        return w - self.lr * gradient / (self.square.sqrt() + self.eps)


class HandAdam:
    """Momentum over RMSprop, corrected for the start; decayed it is AdamW."""

    def __init__(self, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        self.lr, self.betas, self.eps = lr, betas, eps
        self.weight_decay = weight_decay
        self.mean = self.square = 0.0
        self.count = 0

    def step(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return the next w."""
        self.count += 1
        beta1, beta2 = self.betas
        self.mean = beta1 * self.mean + (1 - beta1) * gradient
        self.square = beta2 * self.square + (1 - beta2) * gradient**2
        # Both averages began at 0; after n steps they hold 1 - beta**n of all.
        mean = self.mean / (1 - beta1**self.count)
        square = self.square / (1 - beta2**self.count)
        w = w * (1 - self.lr * self.weight_decay)  # beside the gradient
        return w - self.lr * mean / (square.sqrt() + self.eps)


def optimizers_differ_in_a_few_lines(
    device: torch.device, figures: Path, *, steps: int = 100
) -> dict[str, Tensor]:
    """Six optimizers by hand walk the very path of those in `torch.optim`.

    The valley is loss = (x**2 + 20 * y**2) / 2, 20 times steeper across than
    along, its gradient (x, 20 * y). Returns name -> path (steps + 1, 2).
    Source: Kingma & Ba 2015 (Adam), Loshchilov & Hutter 2019 (AdamW).
    """
    optim = torch.optim
    nesterov = {"momentum": 0.8, "nesterov": True}
    pairs = {
        "SGD": (HandSGD, optim.SGD, {"lr": 0.03}),
        "momentum": (HandSGD, optim.SGD, {"lr": 0.03, "momentum": 0.8}),
        "Nesterov": (HandSGD, optim.SGD, {"lr": 0.03, **nesterov}),
        "RMSprop": (HandRMSprop, optim.RMSprop, {"lr": 0.05}),
        "Adam": (HandAdam, optim.Adam, {"lr": 0.2}),
        "AdamW": (HandAdam, optim.AdamW, {"lr": 0.2, "weight_decay": 0.5}),
    }
    curvature = torch.tensor([1.0, 20.0], device=device)
    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    paths = {}
    for name, (hand_class, optimizer_class, options) in pairs.items():
        w = nn.Parameter(torch.tensor([-4.0, 1.5], device=device))
        by_hand, optimizer = (
            hand_class(**options),
            optimizer_class([w], **options),
        )
        path = [w.detach().clone()]
        for _ in range(steps):
            loss = (curvature * w**2).sum() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            path.append(by_hand.step(path[-1], curvature * path[-1]))
            torch.testing.assert_close(
                path[-1], w.detach(), rtol=1e-4, atol=1e-5
            )
        paths[name] = torch.stack(path)
        panel.plot(*paths[name].T.cpu(), ".-", linewidth=1, label=name)
        print(f"{name:9} ends {w.norm():.5f} from the minimum")

    x, y = torch.linspace(-4.5, 1, 60), torch.linspace(-1.5, 1.7, 60)
    height = (x**2 + 20 * y[:, None] ** 2) / 2  # (60, 60)
    panel.contour(x, y, height, levels=12, colors="lightgray", zorder=0)
    panel.set(title=f"{steps} steps down one valley", xlabel="x", ylabel="y")
    panel.legend()
    save_figure(figure, "optimizer_paths", figures)
    return paths


# %%
def learning_rates_creep_arrive_or_explode(
    device: torch.device, *, curvature: float = 10.0, steps: int = 40
) -> dict[str, float]:
    """Beyond 2 / curvature each step lands farther from the minimum.

    For loss = curvature * w**2 / 2 a step multiplies w by 1 - lr * curvature.
    Returns name -> w after all steps from w = 1.
    """
    limit = 2 / curvature
    rates = {
        "too small": limit / 100,
        "right": limit / 2.5,
        "at the limit": limit,
        "too large": limit * 1.05,
    }
    ends = {}
    for name, lr in rates.items():
        w = torch.ones((), device=device, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            (curvature * w**2 / 2).backward()
            optimizer.step()
        ends[name] = w.item()
        expected = (1 - lr * curvature) ** steps
        assert math.isclose(ends[name], expected, rel_tol=1e-3, abs_tol=1e-6)
        print(
            f"{name:12} lr {lr:.3f}: w = {ends[name]:9.5f} after {steps} steps"
        )
    return ends


# %%
def a_range_test_finds_the_learning_rate(
    digits: dict, device: torch.device, figures: Path, *, steps=120
) -> dict[float, float]:
    """Raise lr at every step: the loss falls, then explodes; stay below.

    Returns lr -> loss after `steps` steps, for the rate that the test picked
    (a tenth of the one with the lowest loss) and two far from it.
    Source: Smith 2017, "Cyclical Learning Rates".
    """
    images, labels = digits["train"]

    def train(rates: Tensor) -> Tensor:
        """Return the loss of each step, one step for each rate."""
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)
        ).to(device)
        optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
        losses = []
        for lr in rates.tolist():
            optimizer.param_groups[0]["lr"] = lr
            batch = torch.randint(len(labels), (128,)).to(device)
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).cpu()

    rates = torch.logspace(-4, 1, steps)
    losses = train(rates)
    lowest = rates[losses.argmin()].item()
    picked = lowest / 10
    print(f"lowest loss at lr {lowest:.3f}, so pick a tenth: {picked:.3f}")

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.5), layout="constrained"
    )
    left.semilogx(rates, losses.clamp(max=4))
    left.axvline(picked, color="gray", linestyle=":")
    left.set(title="range test", xlabel="lr", ylabel="loss (cut at 4)")
    ends = {}
    for name, lr in {"low": picked / 100, "ok": picked, "high": 10.0}.items():
        losses = train(torch.full((steps,), lr))
        ends[lr] = losses[-10:].mean().item()
        right.plot(losses.clamp(max=4), label=f"lr {lr:.2g}")
        print(f"{name:4} lr {lr:8.5f}: loss {ends[lr]:.3g} after {steps} steps")
    assert min(ends, key=ends.get) == picked
    right.set(title="constant lr", xlabel="step", ylabel="loss (cut at 4)")
    right.legend()
    save_figure(figure, "optimizer_rates", figures)
    return ends


# %%
def schedules_move_once_an_epoch_or_once_a_batch(
    figures: Path, *, epochs: int = 12, batches: int = 10, lr: float = 0.1
) -> dict[str, list[float]]:
    """Step, cosine and plateau move each epoch, one-cycle each batch.

    Returns name -> the learning rate of every batch, held against formulas.
    """
    schedules = torch.optim.lr_scheduler
    total = epochs * batches
    make = {
        "step": lambda o: schedules.StepLR(o, step_size=4, gamma=0.1),
        "cosine": lambda o: schedules.CosineAnnealingLR(o, T_max=epochs),
        "plateau": lambda o: schedules.ReduceLROnPlateau(o, "min", 0.5, 1),
        "one-cycle": lambda o: schedules.OneCycleLR(o, lr, total),
    }
    validation_losses = [1.0, 0.8, 0.6] + [0.5] * (epochs - 3)
    rates = {name: [] for name in make}
    for name, make_schedule in make.items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], momentum=0)
        optimizer.param_groups[0]["lr"] = lr
        schedule = make_schedule(optimizer)
        for validation_loss in validation_losses:
            for _ in range(batches):
                rates[name].append(optimizer.param_groups[0]["lr"])
                optimizer.step()  # always before the step of the schedule
                if name == "one-cycle":
                    schedule.step()
            if name == "plateau":
                schedule.step(validation_loss)
            elif name != "one-cycle":
                schedule.step()

    top = 0.3 * total - 1  # the batch at which one-cycle is at its highest
    for batch in range(total):
        epoch = batch // batches
        rise, fall = batch / top, (batch - top) / (total - 1 - top)
        low, part = (lr / 25, 1 - rise) if batch < top else (lr / 25e4, fall)
        expected = {
            "step": lr * 0.1 ** (epoch // 4),
            "cosine": lr * (1 + math.cos(math.pi * epoch / epochs)) / 2,
            "plateau": lr * 0.5 ** max(0, (epoch - 4) // 2),
            "one-cycle": low + (lr - low) * (1 + math.cos(math.pi * part)) / 2,
        }
        for name, rate in expected.items():
            assert math.isclose(rates[name][batch], rate, abs_tol=1e-9), name

    figure, panel = plt.subplots(figsize=(7, 3.5), layout="constrained")
    print("epoch     " + "".join(f"{epoch:9}" for epoch in range(0, epochs, 2)))
    for name, curve in rates.items():
        panel.plot(
            [batch / batches for batch in range(total)], curve, label=name
        )
        print(
            f"{name:10}" + "".join(f"{r:9.5f}" for r in curve[:: 2 * batches])
        )
    panel.set(title="four schedules", xlabel="epoch", ylabel="learning rate")
    panel.legend()
    save_figure(figure, "optimizer_schedules", figures)
    return rates


# %%
def accumulated_gradients_equal_the_large_batch(
    device: torch.device,
) -> dict[str, float]:
    """Weigh each part by its share, and small batches add up to a large one.

    The batch of 10 comes in parts of 4, 4 and 2. Holds for layers that treat
    samples one by one, so not for batch norm. Returns name -> the largest
    difference from the gradient of the whole batch.
    """
    torch.manual_seed(0)
    model = nn.Linear(3, 1, device=device)
    x, y = torch.randn(10, 3, device=device), torch.randn(10, 1, device=device)
    F.mse_loss(model(x), y).backward()
    whole = model.weight.grad.clone()

    parts = list(zip(x.split(4), y.split(4), strict=True))
    weights = {
        "weighted by size": [len(part) / len(x) for part, _ in parts],
        "each a third": [1 / 3] * 3,
        "not weighted": [1.0] * 3,
    }
    differences = {}
    for name, shares in weights.items():
        model.zero_grad()
        for share, (part_x, part_y) in zip(shares, parts, strict=True):
            (share * F.mse_loss(model(part_x), part_y)).backward()  # adds up
        differences[name] = (model.weight.grad - whole).abs().max().item()
        print(f"{name:17} off by {differences[name]:.6f}")
    assert differences["weighted by size"] < 1e-6 < differences["each a third"]
    return differences


# %%
def clipping_shortens_a_gradient_and_keeps_its_direction(
    device: torch.device, *, max_norm: float = 1.0
) -> Tensor:
    """All gradients together are one vector; only its length is cut.

    Two parameters with gradients (3, 0) and (4): the norm is 5, so each is
    multiplied by 1 / 5, between `backward` and `step`. Returns the clipped
    gradients, (3,).
    """
    w = torch.zeros(2, device=device, requires_grad=True)
    b = torch.zeros(1, device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w, b], lr=1.0)
    (3 * w[0] + 4 * b).sum().backward()
    norm = nn.utils.clip_grad_norm_([w, b], max_norm)
    optimizer.step()

    clipped = torch.cat([w.grad, b.grad])
    print(f"norm before {norm:.1f}, after {clipped.norm():.1f}")
    print("gradient after", [round(number, 4) for number in clipped.tolist()])
    expected = torch.tensor([0.6, 0.0, 0.8], device=device)
    torch.testing.assert_close(clipped, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(torch.cat([w, b]).detach(), -clipped)
    return clipped


# %%
def batch_means_are_weighted_by_batch_size(
    device: torch.device, *, batch_size: int = 4
) -> tuple[float, float]:
    """The mean of batch means counts a small last batch too much.

    Ten guesses in batches of 4, 4 and 2; the last two are wrong by 1.
    Returns the wrong and the right mean squared error.
    """
    guesses = torch.tensor([0.0] * 8 + [1.0] * 2, device=device)
    targets = torch.zeros(10, device=device)

    means, total = [], 0.0
    for guess, target in zip(
        guesses.split(batch_size), targets.split(batch_size), strict=True
    ):
        mean = F.mse_loss(guess, target).item()
        means.append(mean)
        total += mean * len(target)  # back to a sum over samples
    wrong, right = sum(means) / len(means), total / len(targets)

    print(f"mean of the batch means     {wrong:.4f}")
    print(f"sum over samples, divided   {right:.4f}")
    assert math.isclose(
        right, F.mse_loss(guesses, targets).item(), rel_tol=1e-6
    )
    assert math.isclose(wrong, 1 / 3) and math.isclose(right, 0.2, rel_tol=1e-6)
    return wrong, right


# %%
def eval_and_no_grad_switch_different_things(
    device: torch.device, *, width: int = 1000
) -> dict[tuple[str, str], tuple[float, int, int]]:
    """`eval()` changes what layers do, `no_grad` what autograd records.

    Returns (mode, gradients) -> (fraction that dropout zeroed, batches that
    batch norm counted, bytes kept for backward).
    """
    torch.manual_seed(0)
    x = torch.ones(8, width, device=device)
    table = {}
    print(f"{'':17}dropped   batch norm counted   kept for backward")
    for mode in ("train", "eval"):
        for gradients in ("grad", "no_grad"):
            dropout, norm = (
                nn.Dropout(0.5),
                nn.BatchNorm1d(width, device=device),
            )
            model = nn.Sequential(dropout, norm)
            model.train(mode == "train")  # what train() and eval() do
            kept = []

            def keep(tensor: Tensor, kept=kept) -> Tensor:
                kept.append(tensor.nbytes)
                return tensor

            with (
                torch.set_grad_enabled(gradients == "grad"),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
            ):
                dropped = (dropout(x) == 0).float().mean().item()
                model(x)
            counted = norm.num_batches_tracked.item()
            table[mode, gradients] = dropped, counted, sum(kept)
            print(f"{mode + '()':8}{gradients:9}{dropped:6.1%}", end="")
            print(f"{counted:15} batch {sum(kept):19,} bytes")
    assert [row[0] > 0 for row in table.values()] == [True, True, False, False]
    assert [row[1] for row in table.values()] == [1, 1, 0, 0]
    assert [row[2] > 0 for row in table.values()] == [True, False, True, False]
    return table


# %%
class MLP(nn.Sequential):
    """Pixels to scores through two hidden layers: 784-512-512-10."""

    def __init__(self):
        super().__init__(
            nn.Flatten(),  # (batch, 784)
            nn.Linear(784, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 10),  # (batch, 10), bare scores
        )


class CNN(nn.Sequential):
    """Three convolutions, each with batch norm and ReLU, then one Linear."""

    def __init__(self):
        super().__init__(
            # Stride 2 leaves a quarter of the pixels for all that follows.
            nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),  # (batch, 16, 14, 14)
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (batch, 32, 7, 7)
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (batch, 64, 3, 3)
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, 10),
        )


def convolution_and_augmentation_reach_unseen_typefaces(
    digits: dict,
    augment: Callable[[Tensor], Tensor],
    device: torch.device,
    figures: Path,
    *,
    epochs: int = 4,
    batch_size: int = 128,
    lr: float = 0.005,
    luck: float = 0.0,
) -> dict[str, list[float]]:
    """An MLP, then a CNN, then a CNN on moved images: each reads better.

    Returns name -> accuracy on the validation typefaces after each epoch.
    """
    images, labels = digits["train"]
    unseen_images, unseen_labels = digits["validation"]
    trials = {
        "MLP": (MLP, lambda images: images),
        "CNN": (CNN, lambda images: images),
        "CNN, augmented": (CNN, augment),  # new images in each epoch
    }
    curves = {}
    for name, (network_class, move) in trials.items():
        torch.manual_seed(0)
        model = network_class().to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        steps = len(labels) // batch_size
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, lr, total_steps=epochs * steps
        )
        start, curves[name] = time.perf_counter(), []
        for _ in range(epochs):
            model.train()
            order = torch.randperm(len(labels))[: steps * batch_size].to(device)
            for batch in order.split(batch_size):
                loss = F.cross_entropy(
                    model(move(images[batch])), labels[batch]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            model.eval()
            with torch.no_grad():
                right = model(unseen_images).argmax(dim=1) == unseen_labels
            curves[name].append(right.float().mean().item())
        seconds = time.perf_counter() - start
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name:15}{count:8,} parameters, {seconds:4.1f} s", end="")
        print(f", unseen typefaces {curves[name][-1]:.2%} right")

    figure, panel = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for name, curve in curves.items():
        panel.plot(range(1, epochs + 1), curve, "o-", label=name)
    panel.set(xlabel="epoch", ylabel="right on unseen typefaces")
    panel.legend()
    save_figure(figure, "optimizer_networks", figures)
    mlp, cnn, augmented = (curve[-1] for curve in curves.values())
    assert mlp < cnn and cnn - luck < augmented
    return curves


# %%
def mixed_precision_trains_as_well(
    digits: dict,
    network: Callable[[], nn.Module],
    device: torch.device,
    half: torch.dtype,
    *,
    steps: int = 100,
    batch_size: int = 128,
    lr: float = 0.005,
) -> dict[torch.dtype, tuple[float, float, float, int]]:
    """Autocast keeps the accuracy and about halves the memory.

    The losses agree within 0.05, the accuracies within 3 points.
    Returns type -> (mean loss of the last steps, accuracy on unseen
    typefaces, milliseconds a step, bytes kept for backward a step).
    """
    images, labels = digits["train"]
    unseen_images, unseen_labels = digits["validation"]
    results = {}
    for dtype in (torch.float32, half):
        torch.manual_seed(0)
        model = network().to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        # float16 loses small gradients: its scaler multiplies the loss first.
        scaler = torch.amp.GradScaler(
            device.type, enabled=dtype == torch.float16
        )
        autocast = torch.autocast(device.type, half, enabled=dtype == half)
        kept, losses = [], []

        def keep(tensor: Tensor, kept=kept) -> Tensor:
            kept.append(tensor.nbytes)
            return tensor

        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
            autocast,
        ):
            F.cross_entropy(model(images[:batch_size]), labels[:batch_size])

        for step in range(steps + 10):
            if step == 10:  # the first steps only warm up
                start = time.perf_counter()
            batch = torch.randint(len(labels), (batch_size,)).to(device)
            with autocast:
                loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.detach())
        loss = torch.stack(losses[-20:]).mean().item()  # waits for a GPU
        milliseconds = 1000 * (time.perf_counter() - start) / steps

        model.eval()
        with torch.no_grad(), autocast:
            right = model(unseen_images).argmax(dim=1) == unseen_labels
        accuracy = right.float().mean().item()
        results[dtype] = loss, accuracy, milliseconds, sum(kept)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        print(
            f"{str(dtype):15} loss {loss:.4f}, unseen {accuracy:.2%} right",
            end="",
        )
        print(f", {milliseconds:5.2f} ms a step, {sum(kept) / 1e6:.1f} MB kept")
    whole, mixed = results.values()
    assert abs(whole[0] - mixed[0]) < 0.05 and abs(whole[1] - mixed[1]) < 0.03
    assert mixed[3] < whole[3]
    return results


# %%
def a_skipped_step_holds_the_schedule() -> list[tuple[float, float, float]]:
    """The scaler skips a step whose gradients overflow; so must the schedule.

    The gradient is 2; times the first scale, 65536, it is beyond 65504, the
    largest float16. The scaler halves until it fits. It runs on the CPU, so
    that anyone can watch. Returns (scale, lr, w) before each step.
    """
    w = torch.ones((), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu")
    rows = []
    for step in range(4):
        rows.append((scaler.get_scale(), schedule.get_last_lr()[0], w.item()))
        optimizer.zero_grad()
        scaler.scale(2 * w.half()).backward()
        scaler.step(optimizer)  # not taken where a gradient is inf or nan
        scaler.update()
        skipped = scaler.get_scale() < rows[-1][0]
        if not skipped:
            schedule.step()
        scale, lr, before = rows[-1]
        print(f"step {step}: scale {scale:7.0f}, lr {lr:.3f}", end="")
        print(f", w {before:.2f} -> {w:.2f}{', skipped' * skipped}")
    torch.testing.assert_close(
        torch.tensor(rows),
        torch.tensor(
            [
                [65536.0, 0.1, 1.0],
                [32768.0, 0.1, 1.0],  # 65536 is still too large
                [16384.0, 0.1, 1.0],
                [16384.0, 0.05, 0.8],
            ]
        ),
    )
    return rows


# %%
def a_seed_repeats_a_run(
    digits: dict, device: torch.device, *, steps: int = 30
) -> dict[str, Tensor]:
    """Same seed, same weights; the order of the images is part of the luck.

    Returns name -> the last layer's weights after training, (10, 32).
    """
    images, labels = digits["train"]

    def train(seed: int, shuffle_seed: int) -> Tensor:
        torch.manual_seed(seed)
        shuffle = torch.Generator().manual_seed(shuffle_seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10)
        ).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            batch = torch.randint(len(labels), (64,), generator=shuffle).to(
                device
            )
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model[3].weight.detach()

    first = train(0, 0)
    others = {
        "seeds 0 and 0 again": train(0, 0),
        "other seed for the weights": train(1, 0),
        "other seed for the order": train(0, 1),
    }
    for name, weights in others.items():
        difference = (weights - first).abs().max().item()
        print(f"{name:27} largest difference {difference:.4f}")
        if device.type == "cpu":  # a GPU may add in another order
            assert torch.equal(weights, first) == (
                name == "seeds 0 and 0 again"
            )
    return others


# %%
def compiling_changes_the_time_alone(
    network: Callable[[], nn.Module],
    device: torch.device,
    *,
    compiled: bool,
    steps: int = 30,
) -> dict[str, Tensor]:
    """`model.compile()` keeps the numbers and the state's names.

    Compiling takes up to a minute once, and a C++ compiler; so it runs only
    with --compile. Returns name -> scores of one batch, (128, 10).
    """
    scores = {}
    for name in ["eager", "compiled"][: 1 + compiled]:
        torch.manual_seed(0)
        model = network().to(device).eval()
        x = torch.rand(128, 1, 28, 28, device=device)
        if name == "compiled":
            model.compile()
        with torch.no_grad():
            start = time.perf_counter()
            scores[name] = model(x)
            first = time.perf_counter() - start
            start = time.perf_counter()
            for _ in range(steps):
                total = model(x).sum()
            total.item()  # waits for a GPU
        later = (time.perf_counter() - start) / steps
        print(
            f"{name:9} first batch {first:6.2f} s, later {1e3 * later:6.2f} ms"
        )
    if compiled:
        torch.testing.assert_close(*scores.values(), rtol=1e-3, atol=1e-4)
    else:
        print("the compiled line is printed with --compile")
    assert all("_orig_mod" not in key for key in model.state_dict())
    return scores


# %%
class Checkpoint:
    """All that a training run needs to go on, in one file, whole or not at all.

    `settings` say what the run was started with; a file with others is
    refused. Each failure raises `SystemExit` with one line that names the file.
    """

    def __init__(self, path: Path, settings: dict | None = None):
        self.path, self.settings = path, settings or {}
        # Dropout and augmentation draw numbers on the device: both are kept.
        self.random = [torch]
        if accelerator := torch.accelerator.current_accelerator(True):
            self.random.append(torch.get_device_module(accelerator))

    def save(self, parts: dict, **values) -> None:
        """Write the state of every part and the values, tensors or numbers.

        A new file takes the place of the old one once it is on the disk, so a
        crash at any moment leaves the one or the other.
        """
        whole = {
            "settings": self.settings,
            "states": {name: part.state_dict() for name, part in parts.items()},
            "values": values,
            "random": [source.get_rng_state() for source in self.random],
        }
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            with open(partial, "wb") as file:
                torch.save(whole, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except OSError as error:
            self.fail(error.strerror)

    def load(self, parts: dict) -> dict:
        """Put the states back into `parts`; return the values."""
        try:
            # weights_only: tensors and numbers are read, no code is run.
            whole = torch.load(self.path, map_location="cpu", weights_only=True)
            settings, states = whole["settings"], whole["states"]
        except FileNotFoundError:
            self.fail("no such file; start without --resume")
        except OSError as error:
            self.fail(error.strerror)
        except (
            EOFError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            pickle.UnpicklingError,
        ):
            self.fail("not a checkpoint, or a damaged one")
        for name, value in self.settings.items():
            if settings.get(name) != value:
                self.fail(f"made with {name} {settings.get(name)}, not {value}")
        for name, part in parts.items():
            part.load_state_dict(states[name])
        for source, state in zip(self.random, whole["random"], strict=False):
            source.set_rng_state(state)
        return whole["values"]

    def fail(self, reason: str) -> NoReturn:
        """End the run with one line."""
        raise SystemExit(f"--checkpoint {self.path}: {reason}")


def a_checkpoint_resumes_bit_for_bit(*, epochs: int = 4) -> dict[str, float]:
    """Two epochs, a crash, two more: the very weights of four in a row.

    On the CPU, where equal means equal to the last bit; the network has
    dropout and the optimizer a memory, so both are put to the test.
    Returns what was left out of the file -> largest difference in a weight.
    """
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randn(64, 1)

    def train(path: Path, until: int, forget: str) -> Tensor:
        """Train from where the file ends, or from 0; return the weights."""
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        parts.pop(forget, None)
        checkpoint = Checkpoint(path)
        begin = checkpoint.load(parts)["epoch"] if path.exists() else 0
        if forget == "random state":
            torch.manual_seed(0)
        for epoch in range(begin, until):
            for _ in range(10):
                optimizer.zero_grad()
                F.mse_loss(model(x), y).backward()
                optimizer.step()
            schedule.step()
            checkpoint.save(parts, epoch=epoch + 1)
        return model[0].weight.detach()

    with tempfile.TemporaryDirectory() as folder:
        straight = train(Path(folder, "straight.pt"), epochs, "nothing")
        differences = {}
        for forget in ("nothing", "optimizer", "schedule", "random state"):
            path = Path(folder, f"{forget}.pt")
            train(path, epochs // 2, forget)
            resumed = train(path, epochs, forget)
            differences[forget] = (resumed - straight).abs().max().item()
            print(f"{forget:12} left out: off by {differences[forget]:.6f}")
            assert (differences[forget] == 0) == (forget == "nothing")

        # A crash in the middle of writing: the last good file is still there.
        before = path.read_bytes()
        with caught(TypeError, "pickle"):
            Checkpoint(path).save({}, value=threading.Lock())
        assert path.read_bytes() == before
    return differences


# %%
def mistakes_in_the_training_step(device: torch.device) -> dict[str, tuple]:
    """A call at the wrong place: three are silent, three are not.

    Returns mistake -> (wrong number, right number).
    """

    def train(order: str, steps: int = 10, slope: float = 1.0) -> float:
        """Return w after `steps` of loss = slope * w from w = 0, lr 0.1."""
        w = torch.zeros(1, device=device, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        moves = {
            "zero": optimizer.zero_grad,
            "backward": lambda: (slope * w).sum().backward(),
            "clip": lambda: nn.utils.clip_grad_norm_([w], 1.0),
            "step": optimizer.step,
        }
        for _ in range(steps):
            for move in order.split():
                moves[move]()
        return w.item()

    def decay(place: str, epochs: int = 2, batches: int = 50) -> float:
        """Return lr after all epochs, meant to fall tenfold every 10 epochs."""
        optimizer = torch.optim.SGD(
            [torch.zeros(1, requires_grad=True)], lr=0.1
        )
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
        for _ in range(epochs):
            for _ in range(batches):
                optimizer.step()
                if place == "batch":
                    schedule.step()
            if place == "epoch":
                schedule.step()
        return schedule.get_last_lr()[0]

    silent = {
        "zero_grad between backward and step": (
            train("backward zero step"),
            train("zero backward step"),
        ),
        "clipping after the step": (
            train("zero backward step clip", slope=100.0),
            train("zero backward clip step", slope=100.0),
        ),
        "epoch schedule stepped each batch": (decay("batch"), decay("epoch")),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:37} {wrong:9.3g}   right {right:9.3g}")
        assert not math.isclose(wrong, right, rel_tol=0.5)

    w = torch.ones(1, requires_grad=True, device=device)
    with caught(ValueError, "can't optimize a non-leaf Tensor"):
        torch.optim.SGD([w * 0.1], lr=0.1)
    optimizer = torch.optim.SGD([w], lr=0.1)
    with caught(UserWarning, "`lr_scheduler.step()` before `optimizer.step()`"):
        torch.optim.lr_scheduler.StepLR(optimizer, 10).step()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with caught(TypeError, "metrics"):
        plateau.step()
    plateau.step(0.7)  # right: the validation loss of this epoch
    return silent


# %%
def mistakes_in_measuring(device: torch.device) -> dict[str, tuple]:
    """Five ways to a number that is wrong, and nobody says so.

    Returns mistake -> (wrong number, right number).
    """
    torch.manual_seed(0)
    # (4, 1) == (4,) broadcasts to (4, 4): every guess against every label.
    guesses = torch.tensor([[1], [1], [0], [1]], device=device)
    labels = torch.tensor([1, 1, 0, 0], device=device)
    column = (guesses == labels).sum().item() / len(labels)
    squeezed = (guesses.squeeze(1) == labels).sum().item() / len(labels)

    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 9, 0]], device=device)
    classes = torch.tensor([0, 1, 1], device=device)
    over_batch = (logits.argmax(dim=0) == classes).float().mean().item()
    over_classes = (logits.argmax(dim=1) == classes).float().mean().item()

    # cross_entropy applies softmax itself: twice, and no loss gets near 0.
    twice = F.cross_entropy(logits.softmax(dim=1), classes).item()
    once = F.cross_entropy(logits, classes).item()

    # Labels tossed by a coin cannot be learnt, only learnt by heart.
    x = torch.randn(400, 50, device=device)
    coin = torch.randint(2, (400,)).to(device)
    model = nn.Sequential(nn.Linear(50, 64), nn.ReLU(), nn.Linear(64, 2))
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(x[:100]), coin[:100]).backward()
        optimizer.step()
    right = (model(x).argmax(dim=1) == coin).float()
    seen, unseen = right[:100].mean().item(), right[100:].mean().item()

    counted = []
    for train_again in (False, True):
        norm = nn.BatchNorm1d(50, device=device)
        for _ in range(3):  # epochs: train, then validate
            if train_again:
                norm.train()
            norm(x)
            norm.eval()
        counted.append(norm.num_batches_tracked.item())

    silent = {
        "accuracy of (N, 1) against (N,)": (column, squeezed),
        "argmax over the batch": (over_batch, over_classes),
        "softmax before cross_entropy": (twice, once),
        "accuracy on the training data": (seen, unseen),
        "epochs trained, train() forgotten": tuple(counted),
    }
    for name, (wrong, honest) in silent.items():
        print(f"{name:35} {wrong:6.3f}   right {honest:6.3f}")
        assert abs(wrong - honest) > 0.1
    return silent


# %%
def mistakes_with_what_is_optimized_and_saved() -> dict[str, tuple]:
    """The optimizer, or the file, does not hold what you think it holds.

    Returns mistake -> (wrong number, right number).
    """
    torch.manual_seed(0)
    moved = []
    for optimizer_first in (True, False):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[1] = nn.Linear(4, 2)  # a new head for two classes
        if not optimizer_first:
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model[1].weight.detach().clone()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        moved.append((model[1].weight - before).abs().max().item())

    # state_dict() points at the weights; training goes on under its feet.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    best, copied = model.state_dict(), copy.deepcopy(model.state_dict())
    nn.init.constant_(model.weight, -9.0)  # later and worse
    kept = best["weight"].item(), copied["weight"].item()

    trained = nn.Linear(2, 1)
    wrapped = nn.Sequential(nn.Linear(2, 1))  # its names begin with "0."
    state = trained.state_dict()
    report = wrapped.load_state_dict(state, strict=False)
    loaded = [2 - len(report.missing_keys)]
    state = {f"0.{name}": tensor for name, tensor in state.items()}
    report = wrapped.load_state_dict(state, strict=False)
    loaded.append(2 - len(report.missing_keys))

    silent = {
        "optimizer made before the new head": tuple(moved),
        "best = model.state_dict(), no copy": kept,
        "tensors loaded with strict=False": tuple(loaded),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:36} {wrong:7.3f}   right {right:7.3f}")
        assert wrong != right

    with caught(RuntimeError, "size mismatch for weight"):
        nn.Linear(4, 10).load_state_dict(nn.Linear(4, 2).state_dict())
    file = io.BytesIO()
    torch.save(trained, file)  # the whole module; save its state_dict
    file.seek(0)
    with caught(pickle.UnpicklingError, "Weights only load failed"):
        torch.load(file, weights_only=True)
    with caught(TypeError, "'_IncompatibleKeys' object is not callable"):
        trained.load_state_dict(trained.state_dict())(torch.ones(1, 2))
    with caught(AttributeError, "has no attribute 'eval'"):
        trained.state_dict().eval()
    return silent


# %%
class TorchvisionDigits(dict):
    """MNIST or a relative; the keys and pairs are those of `FontDigits`.

    The last 5,000 training images are set apart to validate, "test" is the
    test set of its makers. Raises `SystemExit`, one line, without the files.
    """

    def __init__(self, name, folder, device, *, count=None):
        """Read nothing yet; `count` limits each split, None means all of it."""
        super().__init__()
        self.name, self.folder, self.device = name, folder, device
        self.count = count

    def __missing__(self, split: str) -> tuple[Tensor, Tensor]:
        """Read the files that `split` is in, fetched where they are missing."""
        import torchvision  # takes 2 s: imported only where it is needed

        names = {"fashion-mnist": "FashionMNIST"}
        name = names.get(self.name, self.name.upper())
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(10)  # seconds: a dead server must not hang us
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                files = getattr(torchvision.datasets, name)(
                    self.folder, train=split != "test", download=True
                )
            images, labels = files.data, files.targets
            if images.shape != (len(labels), 28, 28) or labels.max() > 9:
                raise ValueError("images and labels do not belong together")
        except (
            OSError,
            RuntimeError,
            ValueError,
            LookupError,
            AssertionError,
        ) as error:
            raise SystemExit(
                f"--data {self.name}: cannot be read in {self.folder} nor "
                f"fetched ({str(error).splitlines()[0]}); use --data digits"
            ) from None
        finally:
            socket.setdefaulttimeout(patience)
        half_open = {"train": slice(0, -5000), "validation": slice(-5000, None)}
        part = half_open.get(split, slice(None))
        images, labels = images[part][: self.count], labels[part][: self.count]
        images = images.to(self.device)[:, None].float() / 255
        self[split] = images, labels.to(self.device)
        return self[split]


class Trainer:
    """A model and all that changes while it learns, one epoch at a time.

    The images stand on the device as one tensor, and a batch is indexed from
    it: nothing is loaded, decoded or copied while the device waits.
    """

    def __init__(self, model, make_optimizer, steps, device, half, seed):
        self.model, self.device, self.half = model, device, half
        self.optimizer = make_optimizer(model.parameters())
        top = self.optimizer.param_groups[0]["lr"]
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, top, total_steps=steps, cycle_momentum=False
        )
        float16 = half == torch.float16  # bfloat16 needs no scaler
        self.scaler = torch.amp.GradScaler(device.type, enabled=float16)
        self.shuffle = torch.Generator().manual_seed(seed)

    def parts(self) -> dict:
        """Return what a checkpoint has to hold, by name."""
        names = ("model", "optimizer", "schedule", "scaler")
        return {name: getattr(self, name) for name in names}

    def autocast(self) -> torch.autocast:
        """Return the context for forward passes, empty without `half`."""
        enabled = self.half is not None
        return torch.autocast(self.device.type, self.half, enabled=enabled)

    def train_epoch(self, images, labels, batch_size, augment) -> tuple:
        """Take one step a batch; return mean loss, accuracy, images/s."""
        self.model.train()
        start, loss_sum, right = time.perf_counter(), 0, 0
        order = torch.randperm(len(labels), generator=self.shuffle)
        # The last batch is left out where it is smaller than the others.
        order = order[: len(order) // batch_size * batch_size].to(self.device)
        for batch in order.split(batch_size):
            with self.autocast():
                logits = self.model(augment(images[batch]))
                loss = F.cross_entropy(logits, labels[batch])
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.scaler.get_scale() >= scale:  # the step was not skipped
                self.schedule.step()
            # The sums stay on the device: to read one is to wait for it.
            loss_sum += loss.detach() * batch_size
            right += (logits.argmax(dim=1) == labels[batch]).sum()
        loss, accuracy = loss_sum.item() / len(order), right.item() / len(order)
        return loss, accuracy, len(order) / (time.perf_counter() - start)

    @torch.no_grad()
    def evaluate(self, images, labels) -> tuple[float, float, Tensor]:
        """Return mean loss, accuracy, and scores (count, classes)."""
        self.model.eval()
        with self.autocast():
            logits = [self.model(part) for part in images.split(1000)]
        logits = torch.cat(logits).float()  # all of them: no mean of means
        loss = F.cross_entropy(logits, labels).item()
        right = logits.argmax(dim=1) == labels
        return loss, right.float().mean().item(), logits


class Report:
    """One figure of a run: its losses, what it confuses, its worst errors."""

    def __init__(self, losses: list, images: Tensor, labels: Tensor, logits):
        """Take the losses of each epoch, and the test set with its scores."""
        self.losses, self.images, self.labels = losses, images, labels
        self.wrongness = F.cross_entropy(logits, labels, reduction="none")
        self.guesses = logits.argmax(dim=1)
        pairs = 10 * labels + self.guesses
        self.confusion = pairs.bincount(minlength=100).view(10, 10)

    def draw(self) -> Figure:
        """Return the figure, three panels side by side."""
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(11, 3.6), layout="constrained"
        )
        epochs = range(1, len(self.losses) + 1)
        for name, curve in zip(
            ("training", "validation"),
            zip(*self.losses, strict=True),
            strict=True,
        ):
            left.plot(epochs, curve, "o-", label=name)
        left.set(title="loss", xlabel="epoch")
        left.legend()

        middle.imshow(self.confusion.cpu().log1p().numpy(), cmap="Blues")
        for truth, row in enumerate(self.confusion.tolist()):
            for guess, count in enumerate(row):
                middle.text(
                    guess, truth, count, ha="center", va="center", size=6
                )
        middle.set(title="test images", xlabel="guess", ylabel="truth")
        middle.set(xticks=range(10), yticks=range(10))

        worst = self.wrongness.topk(min(12, len(self.labels))).indices
        rows = self.images[worst, 0].cpu()
        blank = torch.zeros(12 - len(rows), 28, 28)
        rows = torch.cat([rows, blank]).view(3, 4, 28, 28)
        picture = rows.permute(0, 2, 1, 3).reshape(84, 112)
        right.imshow(picture.numpy(), cmap="gray")
        for place, index in enumerate(worst.tolist()):
            text = f"{self.labels[index]} as {self.guesses[index]}"
            y, x = 28 * (place // 4) + 4, 28 * (place % 4) + 1
            right.text(x, y, text, color="yellow", size=7)
        right.set(title="most wrong: truth as guess", xticks=[], yticks=[])
        return figure


def train_validate_test(
    data: dict,
    network: Callable[[], nn.Module],
    augment: Callable[[Tensor], Tensor],
    device: torch.device,
    figures: Path,
    *,
    half: torch.dtype | None = None,
    make_optimizer: Callable = torch.optim.AdamW,
    epochs: int = 6,
    batch_size: int = 128,
    seed: int = 0,
    compiled: bool = False,
    checkpoint=None,
    resume: bool = False,
) -> dict[str, object]:
    """Validation picks the epoch that is kept; the test set is used once.

    `half` is the type to compute in under autocast, None for float32;
    `checkpoint`, if any, is saved before the first epoch and after each.
    Returns the test loss and accuracy, the best epoch, the losses of every
    epoch, and the confusion matrix (truth, guess).
    Raises `SystemExit` where the loss is no longer a number.
    """
    torch.manual_seed(seed)
    images, labels = data["train"]
    batch_size = min(batch_size, len(labels))
    steps = epochs * (len(labels) // batch_size)
    model = network().to(device, memory_format=torch.channels_last)
    if compiled:
        model.compile()
    trainer = Trainer(model, make_optimizer, steps, device, half, seed)

    best, losses = {"loss": math.inf}, []

    def save() -> None:
        if checkpoint:
            shuffle = trainer.shuffle.get_state()
            checkpoint.save(
                trainer.parts(), best=best, losses=losses, shuffle=shuffle
            )

    if resume:
        saved = checkpoint.load(trainer.parts())
        best, losses = saved["best"], saved["losses"]
        trainer.shuffle.set_state(saved["shuffle"])
        print(f"resumed after epoch {len(losses)} of {epochs}")
    save()  # a path that cannot be written to is found before the work
    print("       training          validation")
    print("epoch  loss     right    loss     right    images/s  seconds left")
    for epoch in range(len(losses) + 1, epochs + 1):
        start = time.perf_counter()
        loss, accuracy, speed = trainer.train_epoch(
            images, labels, batch_size, augment
        )
        if not math.isfinite(loss):
            raise SystemExit(f"epoch {epoch}: loss {loss}; try a smaller --lr")
        measured = trainer.evaluate(*data["validation"])
        losses.append([loss, measured[0]])
        if measured[0] < best["loss"]:
            weights = copy.deepcopy(model.state_dict())
            best = {"loss": measured[0], "epoch": epoch, "weights": weights}
        save()
        left = (epochs - epoch) * (time.perf_counter() - start)
        print(
            f"{epoch:5}  {loss:.4f} {accuracy:8.2%}   {measured[0]:.4f}", end=""
        )
        print(f" {measured[1]:8.2%} {speed:11,.0f} {left:13.0f}")

    model.load_state_dict(best["weights"])
    restored = trainer.evaluate(*data["validation"])[0]
    assert math.isclose(restored, best["loss"], rel_tol=1e-3)
    print(f"epoch {best['epoch']} is the best by validation loss: restored")
    test_loss, test_accuracy, logits = trainer.evaluate(*data["test"])
    report = Report(losses, *data["test"], logits)
    save_figure(report.draw(), "optimizer_report", figures)
    print(f"test loss     {test_loss:.4f}")
    print(f"test accuracy {test_accuracy:.2%}")
    return {
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "best_epoch": best["epoch"],
        "losses": losses,
        "confusion": report.confusion,
    }


# %%
# The helpers below are the same, to the byte, in all five scripts.
def pick_device(name: str = "auto") -> torch.device:
    """Return the named device, or for "auto" the best one present.

    Raises `argparse.ArgumentTypeError` for one that cannot be used here.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    if name.partition(":")[0] not in ("cpu", "cuda", "mps", "xpu"):
        known = "auto, cpu, cuda, cuda:1, mps, xpu"
        raise argparse.ArgumentTypeError(f"{name!r} is none of {known}")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)  # fails where there is no such device
    except (RuntimeError, AssertionError) as error:
        reason = f"{name!r} cannot be used here, auto can: {error}"
        raise argparse.ArgumentTypeError(reason.splitlines()[0]) from None
    return device


def amp_dtype(device: torch.device) -> torch.dtype:
    """Return the 16-bit type that `device` computes with in hardware."""
    cuda = device.type == "cuda"
    if cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


@contextlib.contextmanager
def caught(error_type: type[Exception], message: str) -> Iterator[None]:
    """Print the error or warning that the block must raise, or fail."""
    try:
        with warnings.catch_warnings():
            if issubclass(error_type, Warning):
                warnings.simplefilter("error", error_type)
            yield
    except error_type as error:
        assert message in str(error), error
        text = re.sub(
            r"\x1b\[\d*m|\s+", " ", f"{type(error).__name__}: {error}"
        )
        print(textwrap.fill(text, 79, subsequent_indent="    ", max_lines=3))
    else:
        raise AssertionError(f"no {error_type.__name__} with {message!r}")


def save_figure(figure: Figure, name: str, folder: Path) -> None:
    """Write `figure` to `folder` as a PNG and print where it is."""
    path = folder / f"{name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise SystemExit(f"--figures {folder}: {error.strerror}") from None
    print(f"figure  {path}")


class CommandLine(argparse.ArgumentParser):
    """A parser that answers bad input with one line, and fits notebooks."""

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """Parse; in a notebook, where the line is the kernel's, nothing."""
        if args is None and sys.argv[0].endswith("kernel_launcher.py"):
            args = []
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 and the message, without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def make_parser(description: str) -> CommandLine:
    """Return a parser with the flags that all five scripts share."""
    title = description.splitlines()[0]
    parser = CommandLine(description=title, allow_abbrev=False)
    parser.set_defaults(error=parser.error)
    flag = parser.add_argument
    name = "auto, cpu, cuda, cuda:1, mps, xpu"
    flag("--device", type=pick_device, default="auto", help=name)
    flag("--amp", action=argparse.BooleanOptionalAction, default=False)
    flag("--tiny", action="store_true", help="tiny data, a few steps")
    flag("--figures", type=Path, default=Path("figures"), metavar="DIR")
    flag("--show", action="store_true", help="open the figures in windows")
    flag("--list", action="store_true", help="list the sections, run none")
    flag("--only", nargs="+", metavar="NAME", help="run these sections")
    return parser


def run(sections: dict[Callable, dict], args: argparse.Namespace) -> None:
    """Announce each section by its name and claim, then run it."""
    names = [section.__name__ for section in sections]
    for name in args.only or []:
        if name not in names:
            near = [longer for longer in names if name in longer]
            near = near or difflib.get_close_matches(name, names, cutoff=0)
            near = ", ".join(near)
            args.error(f"argument --only: no section {name!r}, nearest: {near}")
    if hasattr(sys.stdout, "reconfigure"):  # not in a notebook
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    for section, options in sections.items():
        if args.only and section.__name__ not in args.only:
            continue
        claim = section.__doc__.splitlines()[0]
        print(f"\n--- {section.__name__}\n    {claim}\n")
        if not args.list:
            section(**options)
    if args.show:
        plt.show()


# %%
def number(kind: type, low: float, high: float) -> Callable[[str], float]:
    """Return a reader for flags: `kind`, int or float, from low to high."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        name = {int: "a whole number", float: "a number"}[kind]
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {name} from {low:g} to {high:g}"
        )

    return read


def main() -> None:
    """Run the lesson from top to bottom."""
    optimizers = {  # each with options that train the CNN well
        "sgd": (
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        ),
        "rmsprop": (torch.optim.RMSprop, {"lr": 0.002}),
        "adam": (torch.optim.Adam, {"lr": 0.005}),
        "adamw": (torch.optim.AdamW, {"lr": 0.005}),
    }
    data_names = ("digits", "mnist", "fashion-mnist", "kmnist")
    parser = make_parser(__doc__)
    flag = parser.add_argument
    flag("--data", choices=data_names, default="digits")
    flag("--data-dir", type=Path, default=Path("data"), metavar="DIR")
    flag("--model", choices=("mlp", "cnn"), default="cnn")
    flag("--optimizer", choices=tuple(optimizers), default="adamw")
    flag("--epochs", type=number(int, 1, 1e6), help="6, or 2 of real data")
    flag("--batch-size", type=number(int, 1, 1e6), default=128)
    flag("--lr", type=number(float, 1e-9, 1e3), help="by optimizer")
    flag("--seed", type=number(int, 0, 2**63), default=0)
    flag("--checkpoint", type=Path, metavar="FILE", help="written each epoch")
    flag("--resume", action="store_true", help="go on from --checkpoint")
    flag("--compile", action="store_true", help="compile the network")
    args = parser.parse_args()
    if args.resume and not args.checkpoint:
        parser.error("argument --resume: needs --checkpoint FILE")
    if args.checkpoint and args.checkpoint.exists() and not args.resume:
        parser.error(
            f"argument --checkpoint: {args.checkpoint} exists; "
            "add --resume, or name another file"
        )

    device, tiny, figures = args.device, args.tiny, args.figures
    counts = {"train": 1_500, "validation": 300, "test": 500}
    digits = FontDigits(device, **(counts if tiny else {}))
    if args.data == "digits":
        data = digits
    else:
        count = 1_000 if tiny else None
        data = TorchvisionDigits(args.data, args.data_dir, device, count=count)
    network = {"mlp": MLP, "cnn": CNN}[args.model]
    epochs = args.epochs or (2 if tiny or args.data != "digits" else 6)
    optimizer_class, options = optimizers[args.optimizer]
    options["lr"] = args.lr or options["lr"]
    half = amp_dtype(device)
    augment = RandomAffine(degrees=10, scale=0.1, shear=0.1, shift=0.1)

    checkpoint = None
    if args.checkpoint:
        names = ("data", "model", "optimizer", "batch_size", "seed", "amp")
        settings = {f"--{name}": getattr(args, name) for name in names}
        settings.update({"--epochs": epochs, "--lr": options["lr"]})
        checkpoint = Checkpoint(args.checkpoint, settings)

    sections = {
        digits_need_no_download: {
            "device": device,
            "figures": figures,
            "count": 1_500 if tiny else 12_000,
        },
        a_split_by_image_flatters: {"digits": digits, "device": device},
        losses_are_lines_of_arithmetic: {"device": device},
        a_step_is_four_moves: {"device": device},
        optimizers_differ_in_a_few_lines: {
            "device": device,
            "figures": figures,
        },
        learning_rates_creep_arrive_or_explode: {"device": device},
        a_range_test_finds_the_learning_rate: {
            "digits": digits,
            "device": device,
            "figures": figures,
        },
        schedules_move_once_an_epoch_or_once_a_batch: {"figures": figures},
        accumulated_gradients_equal_the_large_batch: {"device": device},
        clipping_shortens_a_gradient_and_keeps_its_direction: {
            "device": device
        },
        batch_means_are_weighted_by_batch_size: {"device": device},
        eval_and_no_grad_switch_different_things: {"device": device},
        convolution_and_augmentation_reach_unseen_typefaces: {
            "digits": digits,
            "augment": augment,
            "device": device,
            "figures": figures,
            "luck": 0.05 if tiny else 0.0,
        },
        mixed_precision_trains_as_well: {
            "digits": digits,
            "network": network,
            "device": device,
            "half": half,
            "steps": 40 if tiny else 100,
        },
        a_skipped_step_holds_the_schedule: {},
        a_seed_repeats_a_run: {"digits": digits, "device": device},
        compiling_changes_the_time_alone: {
            "network": network,
            "device": device,
            "compiled": args.compile,
        },
        a_checkpoint_resumes_bit_for_bit: {},
        mistakes_in_the_training_step: {"device": device},
        mistakes_in_measuring: {"device": device},
        mistakes_with_what_is_optimized_and_saved: {},
        train_validate_test: {
            "data": data,
            "network": network,
            "augment": augment,
            "device": device,
            "figures": figures,
            "half": half if args.amp else None,
            "make_optimizer": functools.partial(optimizer_class, **options),
            "epochs": epochs,
            "batch_size": args.batch_size,
            "seed": args.seed,
            "compiled": args.compile,
            "checkpoint": checkpoint,
            "resume": args.resume,
        },
    }
    run(sections, args)


if __name__ == "__main__":
    main()
