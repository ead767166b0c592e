# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "torchvision>=0.22", "matplotlib>=3.9"]
# ///
"""Optimizing a model: train, validate and test, and every step proved.

Run      python start_optimizer.py      (no download, any device, 50 s)
Read     README.md, "Optimizing a model"
Symbols  w weight, b bias, z scores, g gradient, v velocity, e a share;
         x and y are input and target, in a figure the axes, n a batch,
         t a tensor that is kept for backward
"""

import argparse
import contextlib
import copy
import functools
import io
import linecache
import math
import os
import pickle
import re
import sys
import tempfile
import textwrap
import threading
import time
import timeit
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn


# %%
def digits_need_no_download(
    digits: dict, figures: Path
) -> dict[str, tuple[Tensor, Tensor]]:
    """Fonts that come with matplotlib are a data set, split by family.

    DejaVu to train, STIX to validate, Computer Modern to test: no font has a
    relative in another split. Returns the three splits.
    """
    figure, panels = plt.subplots(1, 3, figsize=(9, 2.2), layout="constrained")
    for panel, split in zip(panels, digits, strict=True):
        images, labels = digits[split]
        assert images.shape == (len(labels), 1, 28, 28)
        assert images.min() >= 0 and images.max() <= 1
        print(f"{split:10} {len(labels):6,} images, labels", end=" ")
        print(f"{labels[:10].tolist()} ...")
        rows = images[:60].view(6, 10, 28, 28)
        # To tile: rows of images, then rows of pixels, form the height.
        tiled = rows.permute(0, 2, 1, 3).reshape(6 * 28, 10 * 28)
        panel.imshow(tiled.cpu().numpy(), cmap="gray")
        panel.set_title(split)
        panel.axis("off")
    save_figure(figure, "optimizer_digits", figures)

    # A seed draws the same images again.
    images, _ = digits["train"]
    again, _ = font_digits("train", len(images))
    assert torch.equal(images.cpu(), again)
    return digits


# %%
def a_split_by_image_flatters(
    digits: dict,
    device: torch.device,
    *,
    epochs: int = 6,
    batch_size: int = 64,
    lr: float = 0.003,
) -> dict[str, float]:
    """Held-out images look easy; held-out fonts show the truth.

    One network is measured twice. A random split of the images leaves every
    font on both sides; a split by family of fonts asks what a user will ask.
    Returns what was unseen -> fraction of wrong answers.
    """
    torch.manual_seed(0)
    images, labels = digits["train"]
    # The split that everybody writes first: one image in six, at random.
    order = torch.randperm(len(labels)).to(device)
    held_out, kept = order[: len(order) // 6], order[len(order) // 6 :]

    network = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10)
    ).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    for _ in range(epochs):
        shuffled = kept[torch.randperm(len(kept)).to(device)]
        for batch in shuffled.split(batch_size):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    unseen = {
        "images of known fonts": (images[held_out], labels[held_out]),
        "family of fonts": digits["validation"],
    }
    wrong = {}
    for name, (x, y) in unseen.items():
        with torch.no_grad():
            guesses = network(x).argmax(dim=1)
        wrong[name] = (guesses != y).float().mean().item()
        print(f"unseen {name:26} {1 - wrong[name]:6.1%} right", end="")
        print(f", {wrong[name]:6.1%} wrong")
    # The promise of the random split is broken by the first new font.
    by_image, by_font = wrong.values()
    assert by_font > by_image + 0.03
    return wrong


# %%
def losses_are_lines_of_arithmetic(
    device: torch.device,
) -> dict[str, tuple[float, float]]:
    """Cross-entropy and its kin, written out, equal those of torch.

    For scores z (batch, classes) and labels y, cross-entropy is the mean of
    -log softmax(z)[y]; smoothing by e spreads the share e over all classes.
    Returns name -> (by hand, by torch).
    """
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], device=device)
    labels = torch.tensor([0, 2], device=device)
    # The log of exp(z) / sum(exp(z)) is z - log(sum(exp(z))).
    log_softmax = logits - logits.exp().sum(dim=1, keepdim=True).log()
    surprise = -log_softmax.gather(1, labels[:, None])[:, 0]  # (batch,)
    of_all_classes = -log_softmax.mean(dim=1)  # (batch,)

    # Scores of three yes-or-no questions, and for MSE three plain guesses.
    x = torch.tensor([0.5, 2.0, -1.0], device=device)
    y = torch.tensor([1.0, 0.0, 0.0], device=device)
    chance = 1 / (1 + (-x).exp())  # the sigmoid turns a score into a chance
    chosen = torch.where(y == 1, chance, 1 - chance)

    by_hand = {
        "cross-entropy": surprise.mean(),
        "log-softmax, then NLL": surprise.mean(),
        "label smoothing 0.1": (0.9 * surprise + 0.1 * of_all_classes).mean(),
        "mean squared error": ((x - y) ** 2).mean(),
        "binary, with logits": -chosen.log().mean(),
    }
    by_torch = {
        "cross-entropy": F.cross_entropy(logits, labels),
        "log-softmax, then NLL": F.nll_loss(logits.log_softmax(1), labels),
        "label smoothing 0.1": F.cross_entropy(
            logits, labels, label_smoothing=0.1
        ),
        "mean squared error": F.mse_loss(x, y),
        "binary, with logits": F.binary_cross_entropy_with_logits(x, y),
    }
    pairs = {}
    for name, value in by_torch.items():
        torch.testing.assert_close(by_hand[name], value)
        pairs[name] = by_hand[name].item(), value.item()

    # Why not by hand, then? exp(100) is beyond float32: inf / inf is nan.
    # torch takes the largest score away first, which changes nothing else.
    huge = torch.tensor([100.0, 0.0], device=device)
    naive = -(huge.exp() / huge.exp().sum()).log()[0]
    first = torch.tensor(0, device=device)
    pairs["a score of 100"] = naive.item(), F.cross_entropy(huge, first).item()
    assert math.isnan(pairs["a score of 100"][0])
    assert pairs["a score of 100"][1] == 0
    for name, (hand, library) in pairs.items():
        print(f"{name:22} by hand {hand:6.4f}   by torch {library:6.4f}")
    return pairs


# %%
def a_step_is_four_moves(
    device: torch.device, *, steps: int = 50, lr: float = 0.1
) -> dict[str, Tensor]:
    """Guess, error, derivatives, update; old derivatives go in between.

    A line is fitted to y = 3 x + 1 from w = b = 0. Returns (w, b) for the step
    written by hand, and for `zero_grad` at the start, at the end, left out.
    """
    x = torch.linspace(-1, 1, 20, device=device)[:, None]  # (20, 1)
    y = 3 * x + 1

    # By hand: for the mean of (w x + b - y)**2 the derivatives are the means
    # of 2 (w x + b - y) x and of 2 (w x + b - y).
    w = b = torch.zeros((), device=device)
    for _ in range(steps):
        residual = w * x + b - y
        w, b = (
            w - lr * (2 * residual * x).mean(),
            b - lr * (2 * residual).mean(),
        )
    lines = {"by hand": torch.stack([w, b])}

    for place in ("at the start", "at the end", "never"):
        model = nn.Linear(1, 1, device=device)
        nn.init.zeros_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        for _ in range(steps):  # every training loop is these four moves
            if place == "at the start":
                optimizer.zero_grad()
            guess = model(x)  # 1. guess
            error = F.mse_loss(guess, y)  # 2. measure the error
            error.backward()  # 3. collect the derivatives
            optimizer.step()  # 4. update
            if place == "at the end":
                optimizer.zero_grad()
        lines[f"zero_grad {place}"] = torch.cat(
            [model.weight[0], model.bias]
        ).detach()

    for name, (w, b) in lines.items():
        print(f"{name:22} y = {w:.4f} x + {b:.4f}")
    by_hand, start, end, never = lines.values()
    torch.testing.assert_close(start, by_hand)
    torch.testing.assert_close(start, end)
    # Never zeroed, the sum of all old derivatives throws the line about.
    assert (never - by_hand).abs().max() > 0.1
    return lines


# %%
class HandSGD:
    """v = momentum * v + g, w = w - lr * v; Nesterov looks one step ahead."""

    def __init__(self, lr, momentum=0.0, nesterov=False):
        self.lr, self.momentum, self.nesterov = lr, momentum, nesterov
        self.velocity = 0.0

    def step(self, w: Tensor, gradient: Tensor) -> Tensor:
        """Return the next w."""
        # Old steps go on with the share `momentum`; without it v is g.
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
        # A moving average: the share 1 - alpha of it is the latest gradient.
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
    momentum = {"lr": 0.03, "momentum": 0.8}
    pairs = {
        "SGD": (HandSGD, optim.SGD, {"lr": 0.03}),
        "momentum": (HandSGD, optim.SGD, momentum),
        "Nesterov": (HandSGD, optim.SGD, {**momentum, "nesterov": True}),
        "RMSprop": (HandRMSprop, optim.RMSprop, {"lr": 0.05}),
        "Adam": (HandAdam, optim.Adam, {"lr": 0.2}),
        "AdamW": (HandAdam, optim.AdamW, {"lr": 0.2, "weight_decay": 0.5}),
    }
    # By hand the gradient is curvature * w; torch has to find it itself.
    curvature = torch.tensor([1.0, 20.0], device=device)
    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    paths = {}
    for name, (hand_class, torch_class, options) in pairs.items():
        w = nn.Parameter(torch.tensor([-4.0, 1.5], device=device))
        by_hand, by_torch = hand_class(**options), torch_class([w], **options)
        path, apart = [w.detach().clone()], 0.0
        for _ in range(steps):
            by_torch.zero_grad()
            loss = (curvature * w**2).sum() / 2
            loss.backward()
            by_torch.step()
            path.append(by_hand.step(path[-1], curvature * path[-1]))
            apart = max(apart, (path[-1] - w).abs().max().item())
        assert apart < 1e-4
        paths[name] = torch.stack(path)
        panel.plot(*paths[name].T.tolist(), ".-", linewidth=1, label=name)
        distance = torch.linalg.vector_norm(w)
        print(f"{name:9} ends {distance:.5f} from the minimum", end="")
        print(f", at most {apart:.0e} off torch's path")

    # Lines of equal height make the valley visible under the paths.
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
    Returns name -> w after all steps from w = 1; the minimum is at 0.
    """
    # Where |1 - lr * curvature| is 1, w only changes its sign.
    limit = 2 / curvature
    rates = {
        "too small": 0.01 * limit,
        "right": 0.4 * limit,
        "at the limit": limit,
        "too large": 1.05 * limit,
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
        # The same, without any step: one factor to the power of their number.
        expected = (1 - lr * curvature) ** steps
        assert math.isclose(w.item(), expected, rel_tol=1e-3, abs_tol=1e-6)
        print(f"{name:12} lr {lr:.3f}: w = {w:9.5f} after {steps} steps")
    return ends


# %%
def a_range_test_finds_the_learning_rate(
    digits: dict, device: torch.device, figures: Path, *, steps: int = 120
) -> dict[str, tuple[float, float]]:
    """Raise lr at every step: the loss falls, then explodes; stay below.

    A tenth of the rate with the lowest loss is picked, and tried against two
    others. Returns name -> (lr, mean loss of the last ten steps).
    Source: the range test of Smith 2017, "Cyclical Learning Rates".
    """
    images, labels = digits["train"]

    def train(rates: Tensor) -> Tensor:
        """Take one step for each rate; return the losses on the way."""
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10)
        ).to(device)
        optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
        losses = []
        for lr in rates.tolist():
            optimizer.param_groups[0]["lr"] = lr  # what every schedule sets
            batch = torch.randint(len(labels), (128,)).to(device)
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).cpu()

    # Equal factors, not equal differences: 0.0001 up to 10.
    rates = torch.logspace(-4, 1, steps)
    losses = train(rates)
    picked = rates[losses.argmin()].item() / 10
    print(f"lowest loss at lr {10 * picked:.3f}, so a tenth: {picked:.4f}")

    # On the left the test, on the right what its advice is worth.
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.5), layout="constrained"
    )
    left.semilogx(rates.tolist(), losses.clamp(max=4).tolist())
    left.axvline(picked, color="gray", linestyle=":")
    left.set(title="range test", xlabel="lr", ylabel="loss (cut at 4)")
    results = {}
    trials = {"too small": picked / 100, "picked": picked, "too large": 10.0}
    for name, lr in trials.items():
        losses = train(torch.full((steps,), lr))
        results[name] = lr, losses[-10:].mean().item()
        right.plot(losses.clamp(max=4).tolist(), label=f"{name}: {lr:.2g}")
        print(f"{name:9} lr {lr:8.5f}: loss {results[name][1]:.2f}", end="")
        print(f" after {steps} steps")
    # The picked rate must beat both others; guessing alike costs log(10).
    assert results["picked"][1] == min(loss for _, loss in results.values())
    assert results["picked"][1] < 0.7 * math.log(10)
    right.set(title="constant lr", xlabel="step", ylabel="loss (cut at 4)")
    right.legend()
    save_figure(figure, "optimizer_rates", figures)
    return results


# %%
def schedules_move_once_an_epoch_or_once_a_batch(
    figures: Path, *, epochs: int = 12, batches: int = 10, lr: float = 0.1
) -> dict[str, list[float]]:
    """Step, cosine and plateau move each epoch, one-cycle each batch.

    Returns name -> the learning rate of every batch.
    """
    schedules, total = torch.optim.lr_scheduler, epochs * batches
    classes = {
        "step": (schedules.StepLR, {"step_size": 4, "gamma": 0.1}),
        "cosine": (schedules.CosineAnnealingLR, {"T_max": epochs}),
        "plateau": (
            schedules.ReduceLROnPlateau,
            {"factor": 0.5, "patience": 1},
        ),
        "one-cycle": (
            schedules.OneCycleLR,
            {"max_lr": lr, "total_steps": total},
        ),
    }
    # The loss stops falling in epoch 3: each second idle epoch halves lr.
    validation_losses = [1.0, 0.8, 0.6] + [0.5] * (epochs - 3)
    rates = {name: [] for name in classes}
    for name, (schedule_class, options) in classes.items():
        w = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([w], lr=lr, momentum=0.9)
        schedule = schedule_class(optimizer, **options)
        for validation_loss in validation_losses:
            for _ in range(batches):
                rates[name].append(optimizer.param_groups[0]["lr"])
                optimizer.step()  # always before the step of the schedule
                if name == "one-cycle":
                    schedule.step()
            # An epoch is over: those that count epochs move now.
            if name == "plateau":
                schedule.step(validation_loss)
            elif name != "one-cycle":
                schedule.step()

    # What each formula says at the start of each epoch.
    for epoch in range(epochs):
        expected = {
            "step": lr * 0.1 ** (epoch // 4),
            "cosine": lr * (1 + math.cos(math.pi * epoch / epochs)) / 2,
            "plateau": lr * 0.5 ** max(0, (epoch - 4) // 2),
        }
        for name, rate in expected.items():
            assert math.isclose(rates[name][epoch * batches], rate), name
    # One-cycle climbs from lr / 25 for 30% of the run, then falls to nothing.
    cycle = rates["one-cycle"]
    assert math.isclose(cycle[0], lr / 25) and cycle[-1] < lr / 200_000
    assert math.isclose(cycle[round(0.3 * total) - 1], lr)

    figure, panel = plt.subplots(figsize=(7, 3.5), layout="constrained")
    print("epoch    ", *(f"{epoch:8}" for epoch in range(0, epochs, 2)))
    for name, curve in rates.items():
        panel.step([n / batches for n in range(total)], curve, where="post")
        print(f"{name:9}", *(f"{lr:8.5f}" for lr in curve[:: 2 * batches]))
    panel.set(title="four schedules", xlabel="epoch", ylabel="lr")
    panel.legend(rates)
    save_figure(figure, "optimizer_schedules", figures)
    return rates


# %%
def accumulated_gradients_equal_the_large_batch(
    device: torch.device,
) -> dict[str, float]:
    """Weigh each part by its share, and small batches add up to a large one.

    The batch of 10 comes in parts of 4, 4 and 2. This holds for layers that
    treat samples one by one, so not for batch norm. Returns weighting -> the
    largest difference from the gradient of the whole batch.
    """
    torch.manual_seed(0)
    model = nn.Linear(3, 1, device=device)
    x, y = torch.randn(10, 3, device=device), torch.randn(10, 1, device=device)
    F.mse_loss(model(x), y).backward()  # all ten at once
    whole = model.weight.grad.clone()

    # A loss is a mean over its own part; its share of the whole is 4 / 10.
    parts = list(zip(x.split(4), y.split(4), strict=True))
    weightings = {
        "by size": [0.4, 0.4, 0.2],
        "a third each": [1 / 3, 1 / 3, 1 / 3],
        "not at all": [1.0, 1.0, 1.0],
    }
    differences = {}
    for name, weights in weightings.items():
        model.zero_grad()
        for weight, (part_x, part_y) in zip(weights, parts, strict=True):
            # Each backward adds to the gradients; the step would come after.
            (weight * F.mse_loss(model(part_x), part_y)).backward()
        differences[name] = (model.weight.grad - whole).abs().max().item()
        print(f"weighted {name:12} off by {differences[name]:.6f}")
    assert differences["by size"] < 1e-6 < differences["a third each"]
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
    # Two tensors, as the parameters of a network are many.
    w = torch.zeros(2, device=device, requires_grad=True)
    b = torch.zeros(1, device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w, b], lr=1.0)
    (3 * w[0] + 4 * b).sum().backward()
    # Between backward and step; it returns the norm from before the cut.
    norm = nn.utils.clip_grad_norm_([w, b], max_norm)
    optimizer.step()

    clipped = torch.cat([w.grad, b.grad])
    after = torch.linalg.vector_norm(clipped)
    print(f"norm before {norm:.1f}, after {after:.1f}")
    print("gradient after", [round(number, 4) for number in clipped.tolist()])
    # (3, 0, 4) / 5, and with lr = 1 the step is exactly that long.
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

    # cross_entropy and mse_loss give means, so this is what a loop sees.
    means, total = [], 0.0
    batches = guesses.split(batch_size), targets.split(batch_size)
    for guess, target in zip(*batches, strict=True):
        mean = F.mse_loss(guess, target).item()
        means.append(mean)
        total += mean * len(target)  # back to a sum over samples
    wrong, right = sum(means) / len(means), total / len(targets)

    print(f"mean of the batch means           {wrong:.4f}, wrong")
    print(f"sum over samples / their number   {right:.4f}, right")
    whole = F.mse_loss(guesses, targets).item()
    assert abs(right - whole) < 1e-6 < abs(wrong - whole)
    return wrong, right


# %%
def eval_and_no_grad_switch_different_things(
    device: torch.device, *, width: int = 1000
) -> dict[tuple[str, str], tuple[float, int, int]]:
    """`eval()` changes what layers do, `no_grad` what autograd records.

    Neither stands in for the other: measuring needs both. Returns
    (mode, gradients) -> (fraction that dropout zeroed, batches that batch norm
    took into its statistics, bytes kept for backward).
    """
    torch.manual_seed(0)
    x = torch.ones(8, width, device=device)
    table = {}
    print(f"{'':17}dropped   batches in the norm   kept for backward")
    for mode in ("train", "eval"):
        for gradients in ("grad", "no_grad"):
            model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(width))
            model.to(device)
            model.train(mode == "train")  # eval() is short for train(False)
            kept = []
            hooks = torch.autograd.graph.saved_tensors_hooks
            with (
                torch.set_grad_enabled(gradients == "grad"),
                hooks(kept.append, lambda _: None),  # no backward follows
            ):
                hidden = model[0](x)
                model[1](hidden)
            dropped = (hidden == 0).float().mean().item()
            count = model[1].num_batches_tracked.item()
            size = sum({t.data_ptr(): t.nbytes for t in kept}.values())
            table[mode, gradients] = dropped, count, size
            print(f"{mode + '()':8}{gradients:9}{dropped:7.1%}", end="")
            print(f"{count:22}{size:14,} bytes")
    # Dropout and batch norm follow the mode, memory follows the gradients.
    for (mode, gradients), (dropped, count, size) in table.items():
        assert (dropped > 0) == (count > 0) == (mode == "train")
        assert (size > 0) == (gradients == "grad")
    return table


# %%
class MLP(nn.Sequential):
    """Pixels to scores through two hidden layers: 784-512-512-10."""

    def __init__(self):
        super().__init__(
            nn.Flatten(),  # (batch, 1, 28, 28) to (batch, 784)
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
            nn.BatchNorm2d(16),  # brings a bias of its own
            nn.ReLU(),  # (batch, 16, 14, 14)
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.MaxPool2d(2),  # before the norm, which then has less to do
            nn.BatchNorm2d(32),
            nn.ReLU(),  # (batch, 32, 7, 7)
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(64),
            nn.ReLU(),  # (batch, 64, 3, 3)
            nn.Flatten(),  # (batch, 576)
            nn.Linear(64 * 3 * 3, 10),  # (batch, 10), bare scores
        )


def convolution_and_augmentation_reach_unseen_fonts(
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

    Returns name -> accuracy on the validation fonts after each epoch.
    """
    images, labels = digits["train"]
    unseen_images, unseen_labels = digits["validation"]
    trials = {
        "MLP": (MLP, lambda batch: batch),
        "CNN": (CNN, lambda batch: batch),
        "CNN, augmented": (CNN, augment),  # no image is seen twice
    }
    figure, panel = plt.subplots(figsize=(6, 3.5), layout="constrained")
    curves = {}
    for name, (network, move) in trials.items():
        torch.manual_seed(0)
        model = network().to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        steps = len(labels) // batch_size  # a smaller last batch is left out
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, lr, total_steps=epochs * steps
        )
        start, curve = time.perf_counter(), []
        for _ in range(epochs):
            model.train()
            order = torch.randperm(len(labels))[: steps * batch_size]
            for batch in order.to(device).split(batch_size):
                logits = model(move(images[batch]))
                loss = F.cross_entropy(logits, labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            # Measured in eval mode, and back to train mode in the next epoch.
            model.eval()
            with torch.no_grad():
                right = model(unseen_images).argmax(dim=1) == unseen_labels
            curve.append(right.float().mean().item())
        # More parameters do not help; knowing that neighbours belong does.
        seconds = time.perf_counter() - start
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name:15}{count:8,} parameters, {seconds:4.1f} s", end="")
        print(f", unseen fonts {curve[-1]:.2%} right")
        panel.plot(range(1, epochs + 1), curve, "o-", label=name)
        curves[name] = curve

    panel.set(xlabel="epoch", ylabel="right on unseen fonts")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend()
    save_figure(figure, "optimizer_networks", figures)
    # `luck` allows for the few images of a tiny run; it is 0 in a full one.
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
    """Autocast keeps the accuracy and nearly halves the activations.

    Losses agree within 0.05 and accuracies within 3 points. The time depends
    on the device: without 16-bit arithmetic in hardware it goes up.
    Returns type -> (mean loss of the last 20 steps, accuracy on unseen
    fonts, milliseconds a step, bytes of activations kept for backward).
    """
    # The same seed for both: the same first weights, the same batches.
    images, labels = digits["train"]
    unseen_images, unseen_labels = digits["validation"]
    results = {}
    print("type            loss    unseen right   ms a step   activations, MB")
    for dtype in (torch.float32, half):
        torch.manual_seed(0)
        model = network().to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        autocast = torch.autocast(device.type, half, enabled=dtype == half)
        # Small gradients are 0 in float16: its scaler enlarges the loss, and
        # undoes it before the step. bfloat16 reaches as far down as float32.
        scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.half)

        kept = []
        hooks = torch.autograd.graph.saved_tensors_hooks
        with autocast, hooks(kept.append, lambda _: None):  # forward alone
            model(images[:batch_size])
        # A row for each sample makes an activation; weights are not counted.
        # Two layers may keep one tensor, so count by the place in memory.
        activations = [part for part in kept if len(part) == batch_size]
        size = sum({t.data_ptr(): t.nbytes for t in activations}.values())

        losses = []
        for step in range(steps + 10):
            if step == 10:  # the first steps only warm up
                start = time.perf_counter()
            batch = torch.randint(len(labels), (batch_size,)).to(device)
            with autocast:  # the forward pass and the loss, nothing else
                loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.detach())
        loss = torch.stack(losses[-20:]).mean().item()  # waits for a GPU
        milliseconds = 1000 * (time.perf_counter() - start) / steps

        # Measured as it was trained, under the same autocast.
        model.eval()
        with torch.no_grad(), autocast:
            right = model(unseen_images).argmax(dim=1) == unseen_labels
        accuracy = right.float().mean().item()
        results[dtype] = loss, accuracy, milliseconds, size
        print(f"{str(dtype):14} {loss:7.4f} {accuracy:12.2%}", end="")
        print(f"{milliseconds:12.2f} {size / 1e6:15.1f}")
        # The weights that the optimizer moves stay float32 in both.
        assert {w.dtype for w in model.parameters()} == {torch.float32}
    whole, mixed = results.values()
    assert abs(whole[0] - mixed[0]) < 0.05 and abs(whole[1] - mixed[1]) < 0.03
    assert mixed[3] < 0.7 * whole[3]
    return results


# %%
def a_skipped_step_holds_the_schedule() -> list[tuple[float, float, float]]:
    """The scaler skips a step whose gradients overflow; so must the schedule.

    The gradient is 2; times the first scale, 65536, it is beyond 65504, the
    largest float16, and the scaler halves until it fits. All on the CPU, so
    that anyone can watch. Returns (scale, lr, w) before each step.
    """
    w = torch.ones((), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    rows = []
    for step in range(4):
        scale, lr, before = (
            scaler.get_scale(),
            schedule.get_last_lr()[0],
            w.item(),
        )
        optimizer.zero_grad()
        scaler.scale(2 * w.half()).backward()  # the gradient is 2 * scale
        scaler.step(optimizer)  # no step where a gradient is inf or nan
        scaler.update()
        skipped = scaler.get_scale() < scale  # the only sign that it gives
        if not skipped:
            schedule.step()
        rows.append((scale, lr, before))
        print(f"step {step}: scale {scale:6.0f}, lr {lr:.3f}", end="")
        print(f", w {before:.2f} -> {w:.2f}{', skipped' if skipped else ''}")

    # 32768 * 2 is still too large, 16384 * 2 is not: then w falls by 2 * lr.
    by_hand = [
        (65536, 0.1, 1),
        (32768, 0.1, 1),
        (16384, 0.1, 1),
        (16384, 0.05, 0.8),
    ]
    torch.testing.assert_close(torch.tensor(rows), torch.tensor(by_hand))
    return rows


# %%
def a_seed_repeats_a_run(
    digits: dict, device: torch.device, *, steps: int = 30
) -> dict[str, float]:
    """Same seed, same weights; the order of the images is luck as well.

    Returns what was changed -> the largest difference in a weight.
    """
    images, labels = digits["train"]

    def train(seed: int, shuffle_seed: int) -> Tensor:
        """Return the last layer's weights, (10, 32), after all steps."""
        torch.manual_seed(seed)
        shuffle = torch.Generator().manual_seed(shuffle_seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10)
        ).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        order = torch.randperm(len(labels), generator=shuffle)
        for batch in order.to(device).split(32)[:steps]:
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model[3].weight.detach()

    # Two sources of luck: the first weights, and the order of the images.
    first = train(seed=0, shuffle_seed=0)
    others = {
        "nothing": train(seed=0, shuffle_seed=0),
        "the seed of the weights": train(seed=1, shuffle_seed=0),
        "the seed of the order": train(seed=0, shuffle_seed=1),
    }
    differences = {}
    for name, weights in others.items():
        differences[name] = (weights - first).abs().max().item()
        print(f"changed {name:24} largest difference {differences[name]:.6f}")
    # On the CPU equal is equal; a GPU may add the same numbers in any order.
    assert differences["nothing"] <= (0 if device.type == "cpu" else 1e-3)
    assert min(list(differences.values())[1:]) > 0.01
    return differences


# %%
def compiling_changes_the_time_alone(
    network: Callable[[], nn.Module],
    device: torch.device,
    *,
    compiled: bool,
    steps: int = 30,
) -> dict[str, Tensor]:
    """`model.compile()` keeps the numbers and the names of the weights.

    It takes up to a minute, once, and a C++ compiler; so it runs only with
    --compile. Returns how -> scores of one batch, (128, 10).
    """
    scores = {}
    for how in ["as it is", "compiled"][: 1 + compiled]:
        torch.manual_seed(0)
        model = network().to(device).eval()
        names = list(model.state_dict())
        x = torch.rand(128, 1, 28, 28, device=device)
        if how == "compiled":
            model.compile()
        times = []
        with torch.no_grad():
            for _ in range(steps):
                start = time.perf_counter()
                scores[how] = model(x)
                scores[how].sum().item()  # waits for a GPU
                times.append(1000 * (time.perf_counter() - start))
        assert list(model.state_dict()) == names  # so a checkpoint still fits
        later = sum(times[1:]) / (steps - 1)
        print(f"{how}: first batch {times[0]:8.2f} ms, later {later:.2f} ms")
    # Compiled code adds in another order, so the last bits may differ.
    if compiled:
        torch.testing.assert_close(*scores.values(), rtol=1e-3, atol=1e-4)
    else:
        print("compiled: only with --compile")
    return scores


# %%
class TrainTogether:
    """What each process of the section does; `spawn` finds it by its name."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count
        self.ways = ("not at all", "by hand", "by DDP", "by DDP, batch norm")

    def __call__(self, rank: int) -> None:
        """Meet the others, train in each way, write the weights to a file."""
        # They find each other through a file, then talk through sockets.
        store = dist.FileStore(str(self.folder / "meeting"), self.count)
        patience = timedelta(minutes=1)
        dist.init_process_group(
            "gloo",  # between CPUs; "nccl" is the one between CUDA devices
            store=store,
            rank=rank,
            world_size=self.count,
            timeout=patience,
        )
        weights = {how: self.train(how) for how in self.ways}
        torch.save(weights, self.folder / f"{rank}.pt")
        dist.destroy_process_group()

    def train(self, how: str) -> Tensor:
        """Take 20 steps, averaging the gradients as named; return weights."""
        together = dist.is_initialized()  # if not, the one process has it all
        rank = dist.get_rank() if together else 0
        count = dist.get_world_size() if together else 1
        torch.manual_seed(0)  # the same data, weights and order everywhere
        x, y = torch.randn(64, 8), torch.randn(64, 1)
        norm = nn.BatchNorm1d(8) if "norm" in how else nn.Identity()
        model = nn.Sequential(nn.Linear(8, 8), norm, nn.Tanh(), nn.Linear(8, 1))
        forward = model
        if together and "DDP" in how:
            forward = nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(20):
            # Every process draws all 32, and takes each `count`-th of them.
            share = torch.randperm(64)[:32][rank::count]
            optimizer.zero_grad()
            F.mse_loss(forward(x[share]), y[share]).backward()
            if together and how == "by hand":
                for w in model.parameters():
                    dist.all_reduce(w.grad)  # the sum, now in each process
                    w.grad /= count
            optimizer.step()
        return nn.utils.parameters_to_vector(model.parameters()).detach()


def processes_average_their_gradients(
    *, processes: int = 2, start_method: str = "spawn"
) -> dict[str, tuple[float, float]]:
    """Averaged gradients of equal shares are those of the whole batch.

    So processes with equal weights keep them equal, and learn as one would.
    DistributedDataParallel (DDP) averages within `backward`. These are real
    processes on the CPU, which take seconds to start; `processes` has to
    divide 32, the batch. Returns how gradients were averaged -> the largest
    difference in a weight between processes, and from one with whole batches.
    """
    with tempfile.TemporaryDirectory() as folder:
        worker = TrainTogether(Path(folder), processes)
        if processes == 1:
            worker(0)  # in this process: nothing to start
        else:
            torch.multiprocessing.start_processes(
                worker, nprocs=processes, start_method=start_method
            )
        files = [Path(folder, f"{rank}.pt") for rank in range(processes)]
        weights = [torch.load(file, weights_only=True) for file in files]

    differences = {}
    if processes == 1:
        print("one process alone is the whole: a run without --tiny starts two")
    print(f"processes: {processes}; the largest difference in a weight:")
    print(f"{'gradients averaged':22}between processes   from one with all")
    for how in worker.ways:
        alone = worker.train(how)  # no others here: whole batches
        first, *others = (trained[how] for trained in weights)
        apart = [(first - other).abs().max().item() for other in others]
        off = (first - alone).abs().max().item()
        differences[how] = max(apart, default=0.0), off
        print(f"{how:22}{differences[how][0]:17.7f}{off:20.7f}")
    # Averaged, the processes agree to the last bit; from one process they
    # differ by rounding, as the mean of two means is added up in another order.
    for how in ("by hand", "by DDP"):
        assert differences[how][0] == 0 and differences[how][1] < 1e-6
    # Batch norm is the exception: each process normalizes its share alone.
    if processes > 1:
        assert min(differences["not at all"]) > 0.01
        assert differences["by DDP, batch norm"][0] == 0
        assert differences["by DDP, batch norm"][1] > 0.001
    return differences


# %%
class Checkpoint:
    """All that a training run needs to go on, in one file, whole or not at all.

    `settings` say what the run was started with; a file with others is
    refused. Each failure raises `SystemExit` with one line that names the file.
    Of several processes that hold the same, one alone has `writes`.
    """

    def __init__(self, path: Path, settings: dict | None = None, writes=True):
        self.path, self.settings = path, settings or {}
        self.writes = writes
        # Dropout and augmentation draw on the device, the rest on the CPU.
        self.random = [torch]
        if accelerator := torch.accelerator.current_accelerator(True):
            self.random.append(torch.get_device_module(accelerator))

    def save(self, parts: dict, **values) -> None:
        """Write the state of every part, and values: tensors and numbers.

        The new file takes the place of the old one when it is on the disk, so
        a crash at any moment leaves one of the two.
        """
        if not self.writes:
            return
        # Plain numbers, strings, tensors and dicts: all that may be read back.
        whole = {
            "settings": self.settings,
            "states": {name: part.state_dict() for name, part in parts.items()},
            "random": [source.get_rng_state() for source in self.random],
            "values": values,
        }
        memory = io.BytesIO()
        torch.save(whole, memory)
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            with open(partial, "wb") as file:
                file.write(memory.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # now it is on the disk
            os.replace(partial, self.path)
        except OSError as error:
            self.fail(error.strerror)
        finally:
            with contextlib.suppress(OSError):  # there is none after a good end
                partial.unlink()

    def load(self, parts: dict) -> dict:
        """Put the states back into `parts`; return the values."""
        try:
            # weights_only: tensors and numbers are read, no code is run.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # one line of our own is enough
                read = torch.load(
                    self.path, map_location="cpu", weights_only=True
                )
            whole = dict(read)  # whatever is none stops here
            made_with = dict(whole["settings"])
            for name, value in self.settings.items():
                if made_with.get(name) != value:
                    self.fail(f"made with {name} {made_with.get(name)}")
            for name, part in parts.items():
                part.load_state_dict(whole["states"][name])
            for source, state in zip(
                self.random, whole["random"], strict=False
            ):
                source.set_rng_state(state)
            return dict(whole["values"])
        except OSError as error:
            self.fail(error.strerror)
        except (
            AttributeError,
            EOFError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
            pickle.UnpicklingError,
        ):
            self.fail("not a checkpoint of this run, or a damaged one")

    def fail(self, reason: str) -> NoReturn:
        """End the run with one line."""
        raise SystemExit(f"--checkpoint {self.path}: {reason}")


def a_checkpoint_resumes_bit_for_bit(*, epochs: int = 4) -> dict[str, float]:
    """Two epochs, a crash, two more: the very weights of four in a row.

    On the CPU, where equal means equal to the last bit. The network has
    dropout and the optimizer a memory, so that nothing may be forgotten.
    Returns what was left out of the file -> largest difference in a weight.
    """
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randn(64, 1)

    # `forget` names what a careless checkpoint would leave out.
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
            schedule.step()  # an epoch ends: everything goes into the file
            checkpoint.save(parts, epoch=epoch + 1)
        return model[0].weight.detach()

    with tempfile.TemporaryDirectory() as folder:
        straight = train(Path(folder, "straight.pt"), epochs, "nothing")
        differences = {}
        for forget in ("nothing", "optimizer", "schedule", "random state"):
            path = Path(folder, f"{forget}.pt")
            train(path, epochs // 2, forget)  # and here the machine dies
            resumed = train(path, epochs, forget)
            differences[forget] = (resumed - straight).abs().max().item()
            print(f"{forget:12} left out: off by {differences[forget]:.6f}")
            assert (differences[forget] == 0) == (forget == "nothing")

        # A save that fails: the last good file is still there.
        before = path.read_bytes()
        with caught(TypeError, "pickle"):
            Checkpoint(path).save({}, value=threading.Lock())
        assert path.read_bytes() == before
    return differences


# %%
def mistakes_misplace_a_call(device: torch.device) -> dict[str, tuple]:
    """A call at the wrong place: three are silent, three are not.

    Returns mistake -> (wrong number, right number), the silent ones.
    """

    def walk(moves: str, slope: float = 1.0) -> float:
        """Return w after 10 rounds of `moves`, loss = slope * w, lr = 0.1."""
        w = torch.zeros(1, device=device, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        calls = {
            "zero": optimizer.zero_grad,
            "backward": lambda: (slope * w).sum().backward(),
            "clip": lambda: nn.utils.clip_grad_norm_([w], max_norm=1.0),
            "step": optimizer.step,
        }
        for move in moves.split() * 10:
            calls[move]()
        return w.item()

    def fall(place: str) -> float:
        """Return lr after 2 epochs of 50 batches: 0.1 until the tenth."""
        w = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
        for calls in (["batch"] * 50 + ["epoch"]) * 2:
            optimizer.step()
            if calls == place:
                schedule.step()
        return schedule.get_last_lr()[0]

    silent = {
        "zero_grad between backward and step: w moved by": (
            walk("backward zero step"),
            walk("zero backward step"),
        ),
        "clipping after the step: w moved by": (
            walk("zero backward step clip", slope=100.0),
            walk("zero backward clip step", slope=100.0),
        ),
        "schedule meant for epochs, stepped each batch: lr": (
            fall("batch"),
            fall("epoch"),
        ),
    }
    for mistake, (wrong, right) in silent.items():
        print(f"{mistake} {wrong:.3g} instead of {right:.3g}")
        assert not math.isclose(wrong, right, rel_tol=0.5)

    # Now those that torch speaks of.
    w = torch.ones(1, device=device, requires_grad=True)
    with caught(ValueError, "can't optimize a non-leaf Tensor"):
        torch.optim.SGD([0.1 * w], lr=0.1)
    optimizer = torch.optim.SGD(
        [w], lr=0.1
    )  # right: what was made, not derived
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)
    with caught(UserWarning, "`lr_scheduler.step()` before `optimizer.step()`"):
        schedule.step()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with caught(TypeError, "metrics"):
        plateau.step()
    plateau.step(0.7)  # right: with the validation loss of the epoch
    return silent


# %%
def mistakes_measure_wrongly(device: torch.device) -> dict[str, tuple]:
    """Five ways to a wrong number, and nothing is said of any.

    Returns mistake -> (wrong number, right number).
    """
    torch.manual_seed(0)
    silent = {}

    # (4, 1) == (4,) broadcasts to (4, 4): each guess against every label.
    guesses = torch.tensor([[1], [1], [0], [1]], device=device)
    labels = torch.tensor([1, 1, 0, 0], device=device)
    silent["guesses (N, 1), labels (N,): of 4 images right"] = (
        (guesses == labels).sum().item(),
        (guesses.squeeze(1) == labels).sum().item(),
    )

    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 9, 0]], device=device)
    labels = torch.tensor([0, 1, 1], device=device)
    silent["argmax over the batch: of 3 images right"] = (
        (logits.argmax(dim=0) == labels).sum().item(),
        (logits.argmax(dim=1) == labels).sum().item(),
    )

    # cross_entropy applies softmax itself; twice, the loss stays above 0.55.
    silent["softmax before cross_entropy: loss"] = (
        F.cross_entropy(logits.softmax(dim=1), labels).item(),
        F.cross_entropy(logits, labels).item(),
    )

    # Labels tossed by a coin cannot be learnt, only learnt by heart.
    x = torch.randn(1100, 50, device=device)
    coins = torch.randint(2, (1100,)).to(device)
    model = nn.Sequential(nn.Linear(50, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.to(device).parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(model(x[:100]), coins[:100]).backward()
        optimizer.step()
    # On the 100 that it saw, and on 1,000 that it did not.
    right = (model(x).argmax(dim=1) == coins).float()
    silent["tested on the training data: fraction right"] = (
        right[:100].mean().item(),
        right[100:].mean().item(),
    )

    # In eval mode batch norm takes nothing into its statistics.
    counts = []
    for modes in (["eval"], ["eval", "train"]):
        norm = nn.BatchNorm1d(50, device=device)
        for _ in range(3):
            norm(x)  # one training batch; then, to validate:
            for mode in modes:
                getattr(norm, mode)()
        counts.append(norm.num_batches_tracked.item())
    silent["train() forgotten after eval(): batches in the norm"] = tuple(
        counts
    )

    for mistake, (wrong, honest) in silent.items():
        print(f"{mistake} {wrong:.3g} instead of {honest:.3g}")
        assert abs(wrong - honest) > 0.3
    return silent


# %%
def mistakes_lose_what_was_learnt() -> dict[str, tuple]:
    """The optimizer, or the file, does not hold what you think it holds.

    Returns mistake -> (wrong number, right number), the silent ones.
    """
    torch.manual_seed(0)
    silent, moved = {}, []
    # The optimizer holds the tensors that it was given, not the model.
    for head_first in (False, True):
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model[1] = nn.Linear(4, 2)  # a new head, for two classes
        if head_first:  # right: the optimizer is made last
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        before = model[1].bias.detach().clone()
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        moved.append((before - model[1].bias)[0].item())
    silent["optimizer made before the new head: its bias moved"] = tuple(moved)

    # state_dict() shows the weights themselves, and training goes on.
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    best, copied = model.state_dict(), copy.deepcopy(model.state_dict())
    nn.init.constant_(model.weight, -9.0)  # later, worse epochs
    silent["best = model.state_dict(), no copy: best weight"] = (
        best["weight"].item(),
        copied["weight"].item(),
    )

    trained, other = nn.Linear(2, 1), nn.Sequential(nn.Linear(2, 1))
    state = trained.state_dict()  # weight, bias; in `other` 0.weight, 0.bias
    # No error: strict=False only returns a report, which has to be read.
    report = other.load_state_dict(state, strict=False)
    renamed = {f"0.{name}": tensor for name, tensor in state.items()}
    right_report = other.load_state_dict(renamed, strict=False)
    silent["strict=False, other names: tensors left as they were"] = (
        len(report.missing_keys),
        len(right_report.missing_keys),
    )
    for mistake, (wrong, right) in silent.items():
        print(f"{mistake} {wrong:.3g} instead of {right:.3g}")
        assert wrong != right

    # Errors that say what is wrong, in their own way.
    with caught(RuntimeError, "size mismatch for weight"):
        nn.Linear(4, 10).load_state_dict(nn.Linear(4, 2).state_dict())
    file = io.BytesIO()
    torch.save(trained, file)  # the whole module; right: its state_dict
    file.seek(0)
    with caught(pickle.UnpicklingError, "Weights only load failed"):
        torch.load(file, weights_only=True)
    # Two that come from not knowing what a call returns.
    with caught(TypeError, "'_IncompatibleKeys' object is not callable"):
        trained = trained.load_state_dict(state)  # a report, not the model
        trained(torch.ones(1, 2))
    with caught(AttributeError, "has no attribute 'eval'"):
        state.eval()  # right: load it into a model, then model.eval()
    return silent


# %%
class Team:
    """The processes that train one model together; alone, a team of one.

    `rank` is the number of this process, from 0 to `count` - 1. All of them
    make the same calls in the same order, and each call waits for the rest.
    """

    def __init__(self):
        self.together = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if self.together else 0
        self.count = dist.get_world_size() if self.together else 1

    def share(self, batch: Tensor) -> Tensor:
        """Return the rows of `batch` that this process works on."""
        return batch[self.rank :: self.count]

    def total(self, values: Tensor) -> Tensor:
        """Return `values` summed over all processes, to each of them."""
        if self.together:
            dist.all_reduce(values)  # in place; it adds unless told otherwise
        return values

    def whole(self, share: Tensor, count: int) -> Tensor:
        """Return all `count` rows, each from the process that has it."""
        if not self.together:
            return share
        rows = share.new_zeros(count, *share.shape[1:])
        rows[self.rank :: self.count] = share
        return self.total(rows)  # the others have zeros there

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Turn each tensor into its mean over all processes, in place."""
        for tensor in tensors:
            self.total(tensor).div_(self.count)

    def parallel(self, model: nn.Module) -> nn.Module:
        """Return `model`, wrapped so that backward averages its gradients."""
        if not self.together:
            return model
        return nn.parallel.DistributedDataParallel(model)


class Trainer:
    """A model and all that changes while it learns.

    The images stand on the device as one tensor, and a batch is indexed from
    it: nothing is loaded, decoded or copied while the device waits. In a team
    all processes draw the same numbers, and each computes its share.
    """

    def __init__(self, model, make_optimizer, steps, device, half, seed):
        self.model, self.device, self.half = model, device, half
        self.team = Team()
        # To train with; the weights are those of `model`, under their names.
        self.parallel = self.team.parallel(model)
        self.optimizer = make_optimizer(model.parameters())
        # One cycle over the whole run, up to the lr of the optimizer.
        lr = self.optimizer.param_groups[0]["lr"]
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, lr, total_steps=steps, cycle_momentum=False
        )
        float16 = half == torch.float16  # bfloat16 needs no scaler
        self.scaler = torch.amp.GradScaler(device.type, enabled=float16)
        self.shuffle = torch.Generator().manual_seed(seed)
        self.losses = []  # of each epoch: training, validation
        self.best = {"loss": math.inf}

    def state_dict(self) -> dict:
        """Return everything that a run needs to go on."""
        parts = ("model", "optimizer", "schedule", "scaler")
        state = {part: getattr(self, part).state_dict() for part in parts}
        shuffle = self.shuffle.get_state()
        numbers = {"losses": self.losses, "best": self.best}
        return {"parts": state, "shuffle": shuffle, "numbers": numbers}

    def load_state_dict(self, state: dict) -> None:
        """Go back to where `state_dict` was called."""
        for part, saved in state["parts"].items():
            getattr(self, part).load_state_dict(saved)
        self.shuffle.set_state(state["shuffle"])
        self.losses = state["numbers"]["losses"]
        self.best = state["numbers"]["best"]

    def autocast(self) -> torch.autocast:
        """Return the context for forward passes, empty without `half`."""
        enabled = self.half is not None
        return torch.autocast(self.device.type, self.half, enabled=enabled)

    def train_epoch(self, images, labels, batch_size, augment) -> tuple:
        """Take one step a batch; return mean loss, accuracy, images/s."""
        self.model.train()
        start, losses, right = time.perf_counter(), [], 0
        order = torch.randperm(len(labels), generator=self.shuffle)
        # The last batch is left out where it is smaller than the others; the
        # next epoch shuffles again and leaves out other images.
        order = order[: len(order) // batch_size * batch_size].to(self.device)
        for batch in order.split(batch_size):
            # Moved before it is shared: so no image moves in another way when
            # there are more processes, and their random states stay equal.
            inputs = self.team.share(augment(images[batch]))
            targets = self.team.share(labels[batch])
            with self.autocast():  # 1. guess, 2. measure the error
                logits = self.parallel(inputs)
                loss = F.cross_entropy(logits, targets)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()  # 3. collect the derivatives
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimizer)  # 4. update
            self.scaler.update()
            if self.scaler.get_scale() >= scale:  # the step was not skipped
                self.schedule.step()
            # They stay on the device: reading a number means waiting for it.
            losses.append(loss.detach())
            right += (logits.argmax(dim=1) == targets).sum()
        # The statistics of batch norm differ by the last share of each.
        buffers = self.model.buffers()
        self.team.average(b for b in buffers if b.is_floating_point())
        losses, right = torch.stack(losses), self.team.total(right)
        self.team.average([losses])  # shares are equal, so this is the mean
        for step, loss in enumerate(losses.tolist(), 1):
            if not math.isfinite(loss):
                self.stop(f"step {step}: loss {loss}")
        loss, accuracy = losses.mean().item(), right.item() / len(order)
        return loss, accuracy, len(order) / (time.perf_counter() - start)

    def stop(self, reason: str) -> NoReturn:
        """End the run before nan is remembered: the last checkpoint is good."""
        instead = "a smaller --lr" + (" or no --amp" if self.half else "")
        epoch = len(self.losses) + 1
        raise SystemExit(f"epoch {epoch}, {reason}; try {instead}")

    @torch.no_grad()
    def evaluate(self, images, labels) -> tuple[float, float, Tensor]:
        """Return mean loss, accuracy, and scores (count, classes)."""
        self.model.eval()
        with self.autocast():
            parts = self.team.share(images).split(1000)
            logits = [self.model(part) for part in parts]
        logits = torch.cat(logits).float()  # all of them: no mean of means
        logits = self.team.whole(logits, len(labels))
        loss = F.cross_entropy(logits, labels).item()
        right = logits.argmax(dim=1) == labels
        return loss, right.float().mean().item(), logits

    def remember(self, loss: float, validation_loss: float) -> None:
        """Note the losses of an epoch, and its weights if it is the best."""
        self.losses.append([loss, validation_loss])
        if validation_loss < self.best["loss"]:
            # A copy: the next epoch changes the weights themselves.
            weights = copy.deepcopy(self.model.state_dict())
            epoch = len(self.losses)
            self.best = {
                "loss": validation_loss,
                "epoch": epoch,
                "weights": weights,
            }


class Report:
    """One figure of a run: its losses, what it confuses, its worst errors."""

    def __init__(self, losses: list, images: Tensor, labels: Tensor, logits):
        """Take the losses of each epoch, and the test set with its scores."""
        self.losses, self.images, self.labels = losses, images, labels
        self.wrongness = F.cross_entropy(logits, labels, reduction="none")
        self.guesses = logits.argmax(dim=1)
        # The pair (truth 3, guess 5) is number 35; counted, a 10 x 10 table.
        pairs = 10 * labels + self.guesses
        self.confusion = pairs.cpu().bincount(minlength=100).view(10, 10)

    def draw(self) -> Figure:
        """Return the figure, three panels side by side."""
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(11, 3.6), layout="constrained"
        )
        epochs = range(1, len(self.losses) + 1)
        left.plot(epochs, self.losses, "o-")
        left.legend(["training", "validation"])
        left.set(title="loss", xlabel="epoch", yscale="log")
        left.xaxis.get_major_locator().set_params(integer=True)

        # A logarithm keeps the few errors visible beside the many right ones.
        middle.imshow(self.confusion.log1p().numpy(), cmap="Blues")
        style = {"ha": "center", "va": "center", "size": 6}
        for truth, row in enumerate(self.confusion.tolist()):
            for guess, count in enumerate(row):
                colour = "white" if truth == guess else "black"
                middle.text(guess, truth, count, color=colour, **style)
        middle.set(title="test images", xlabel="guess", ylabel="truth")
        middle.set(xticks=range(10), yticks=range(10))

        # Twelve in three rows; in a good run the last of them may be right.
        worst = self.wrongness.topk(12).indices
        framed = F.pad(self.images[worst], (2, 2, 10, 2), value=1.0)  # 40 x 32
        rows = framed.view(3, 4, 40, 32)
        tiled = rows.permute(0, 2, 1, 3).reshape(3 * 40, 4 * 32)
        right.imshow(tiled.cpu().numpy(), cmap="gray")
        style = {"ha": "center", "va": "center", "size": 8}
        for place, index in enumerate(worst.tolist()):
            row, column = divmod(place, 4)
            text = f"{self.labels[index]} as {self.guesses[index]}"
            right.text(32 * column + 15.5, 40 * row + 5, text, **style)
        right.axis("off")
        right.set(title="most wrong: truth as guess")
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

    A team of processes, as torchrun starts it, trains like one process.
    `half` is the type to compute in under autocast, None for float32;
    `checkpoint`, if any, is saved before the first epoch and after each.
    Returns the test loss and accuracy, the best epoch, the losses of every
    epoch (training, validation), the confusion matrix (truth, guess).
    Raises `SystemExit` where the loss is no longer a number.
    """
    # Seeded before the model is made: its first weights are drawn here.
    torch.manual_seed(seed)
    images, labels = data["train"]
    # In a team that many for each process: equal shares of a larger batch.
    team = Team()
    batch_size = min(batch_size, len(labels) // team.count) * team.count
    steps = epochs * (len(labels) // batch_size)
    # With the channels of a pixel side by side, convolutions run faster.
    model = network().to(device, memory_format=torch.channels_last)
    if compiled:
        model.compile()
    trainer = Trainer(model, make_optimizer, steps, device, half, seed)
    if resume:
        checkpoint.load({"trainer": trainer})
        print(f"resumed after epoch {len(trainer.losses)} of {epochs}")
    elif checkpoint:
        # A file that cannot be written is found before the work, not after.
        checkpoint.save({"trainer": trainer})

    print(
        f"{len(labels):,} images stay on {device}, {images.nbytes / 1e6:.0f} MB"
    )
    print("epoch   training loss, right   validation loss, right", end="")
    print("   images/s   s left")
    for epoch in range(len(trainer.losses) + 1, epochs + 1):
        start = time.perf_counter()
        loss, accuracy, speed = trainer.train_epoch(
            images, labels, batch_size, augment
        )
        unseen_loss, unseen_accuracy, _ = trainer.evaluate(*data["validation"])
        if not math.isfinite(unseen_loss):
            trainer.stop(f"after its last step: validation loss {unseen_loss}")
        trainer.remember(loss, unseen_loss)
        if checkpoint:
            checkpoint.save({"trainer": trainer})
        # As many seconds again for each epoch to come.
        left = (epochs - epoch) * (time.perf_counter() - start)
        print(f"{epoch:5} {loss:15.4f} {accuracy:7.2%}", end="")
        print(f" {unseen_loss:15.4f} {unseen_accuracy:8.2%}", end="")
        print(f" {speed:10,.0f} {left:8.0f}")

    # Back to the best epoch; measured again, it must give the same loss.
    best = trainer.best
    model.load_state_dict(best["weights"])
    restored, _, _ = trainer.evaluate(*data["validation"])
    assert math.isclose(restored, best["loss"], rel_tol=1e-3)
    print(f"epoch {best['epoch']} has the lowest validation loss: restored")
    # The first and only look at the test set: nothing is chosen by it.
    test_loss, test_accuracy, logits = trainer.evaluate(*data["test"])
    report = Report(trainer.losses, *data["test"], logits)
    if team.rank == 0:
        save_figure(report.draw(), "optimizer_report", figures)
    print(f"test loss     {test_loss:.4f}")
    print(f"test accuracy {test_accuracy:.2%}")
    return {
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "best_epoch": best["epoch"],
        "losses": trainer.losses,
        "confusion": report.confusion,
    }


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


def load_digits(
    name: str, folder: Path, device: torch.device, counts: dict
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return split -> images and labels on `device`, `counts` of each."""
    splits = {}
    for split, count in counts.items():
        if name == "digits":
            images, labels = font_digits(split, count)
        else:
            images, labels = torchvision_digits(name, split, folder)
        splits[split] = images[:count].to(device), labels[:count].to(device)
    return splits


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


@contextlib.contextmanager
def process_group(args: argparse.Namespace, rank: int) -> Iterator[None]:
    """Meet the processes that torchrun started; the first one alone prints.

    When one dies, each of the others ends here with one line. torchrun sees
    the first end, stops whatever is left, and adds a report of its own.
    """
    first = contextlib.nullcontext(sys.stdout)
    with open(os.devnull, "w") if rank else first as output:
        try:
            with contextlib.redirect_stdout(output):
                # nccl between CUDA devices, gloo between CPUs.
                backend = dist.get_default_backend_for_device(args.device)
                dist.init_process_group(backend, timeout=timedelta(minutes=5))
                yield
                dist.destroy_process_group()
        except SystemExit as error:
            # Where all fail alike, torchrun stops the others in their sleep,
            # and the reason stands there once.
            if rank and isinstance(error.code, str):
                time.sleep(5)
            raise
        except RuntimeError as error:
            # nccl has a class of errors; gloo only names itself in the text.
            gloo = "gloo" in str(error)
            if not gloo and not isinstance(error, dist.DistError):
                raise
            again = ""
            if args.checkpoint and args.checkpoint.exists():
                again = f"; --checkpoint {args.checkpoint} --resume goes on"
            reason = f"process {rank} lost another one and ends{again}"
            raise SystemExit(reason) from None


def main() -> None:
    """Run the lesson from top to bottom, or its last section in a team."""
    # Options that train the CNN well. Fused, one call moves all weights in one
    # pass over memory; there is no such RMSprop.
    fused = {"fused": True}
    optimizers = {
        "sgd": (
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, **fused},
        ),
        "rmsprop": (torch.optim.RMSprop, {"lr": 0.002}),
        "adam": (torch.optim.Adam, {"lr": 0.01, **fused}),
        "adamw": (torch.optim.AdamW, {"lr": 0.01, **fused}),
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

    # torchrun starts this file many times, and tells each process its number,
    # its number on its machine, and how many there are in all.
    team = dist.is_available() and dist.is_torchelastic_launched()
    rank, local_rank, processes, devices = 0, 0, 1, 0
    if team:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
        rank, local_rank, processes = (int(os.environ[name]) for name in names)
        if torch.accelerator.current_accelerator(check_available=True):
            devices = torch.accelerator.device_count()
        if local_rank < devices:  # from here on that is what "cuda" means
            torch.accelerator.set_device_index(local_rank)
    args = parse(parser)
    # What no single flag can know.
    if args.resume and not args.checkpoint:
        parser.error("argument --resume: needs --checkpoint FILE")
    if args.checkpoint and os.path.exists(args.checkpoint) and not args.resume:
        parser.error(
            f"argument --checkpoint: {args.checkpoint} exists; "
            "add --resume, or name another file"
        )
    whole = "the whole run\ntrain_validate_test"
    asked = [part.casefold() for part in args.only or [""]]
    trains = any(part in whole for part in asked)
    if args.checkpoint and not trains:
        parser.error(
            "argument --checkpoint: train_validate_test writes it, and --only "
            "leaves that section out"
        )
    if team and args.only not in (None, ["train_validate_test"]):
        parser.error(
            "argument --only: torchrun needs train_validate_test alone"
        )
    shared = args.device.index is not None or local_rank >= devices
    if team and args.device.type != "cpu" and shared:
        parser.error(
            f"argument --device: process {local_rank} needs a device of its "
            f"own, not {args.device}; start fewer, or use --device cpu"
        )

    device, tiny = args.device, args.tiny
    counts = {"train": 12_000, "validation": 3_000, "test": 5_000}
    if tiny:
        counts = {"train": 2_000, "validation": 600, "test": 300}
    digits, data, wanted = {}, {}, counts
    if not args.list:
        digits = load_digits("digits", args.data_dir, device, counts)
        data = digits
    if args.data != "digits":
        wanted = dict.fromkeys(counts, 1_000 if tiny else None)
        data = {}
    load = functools.partial(load_digits, args.data, args.data_dir, device)
    if not args.list and not team and args.data != "digits":
        data = load(wanted)
    network = {"mlp": MLP, "cnn": CNN}[args.model]
    # Real data is five times as much, so fewer epochs are as many steps.
    epochs = args.epochs or (2 if tiny or args.data != "digits" else 6)
    optimizer_class, options = optimizers[args.optimizer]
    options["lr"] = args.lr or options["lr"]
    # Milder than what the digits were drawn with: it must stay a digit.
    half = amp_dtype(device)
    augment = functools.partial(
        random_affine, degrees=10, scale=0.1, shear=0.1, shift=0.1
    )

    # A run goes on only with the flags that it was started with.
    checkpoint = None  # nothing is written unless a file is named
    if args.checkpoint:
        names = ("data", "tiny", "model", "optimizer", "seed", "amp")
        settings = {f"--{name}": getattr(args, name) for name in names}
        settings["--batch-size"] = processes * args.batch_size
        settings["--epochs"], settings["--lr"] = epochs, options["lr"]
        checkpoint = Checkpoint(args.checkpoint, settings, writes=rank == 0)

    # The table of contents, each section with the options that it gets.
    here = {"device": device}
    drawn = {"device": device, "figures": args.figures}
    chapters = {
        "Digits": {
            digits_need_no_download: {
                "digits": digits,
                "figures": args.figures,
            },
            a_split_by_image_flatters: {
                **here,
                "digits": digits,
                "batch_size": 200 if tiny else 64,
                "lr": 0.005 if tiny else 0.003,
            },
        },
        "Steps and rates": {
            losses_are_lines_of_arithmetic: here,
            a_step_is_four_moves: here,
            optimizers_differ_in_a_few_lines: drawn,
            learning_rates_creep_arrive_or_explode: here,
            a_range_test_finds_the_learning_rate: {
                **drawn,
                "digits": digits,
                "steps": 60 if tiny else 120,
            },
            schedules_move_once_an_epoch_or_once_a_batch: {
                "figures": args.figures
            },
        },
        "Measuring": {
            accumulated_gradients_equal_the_large_batch: here,
            clipping_shortens_a_gradient_and_keeps_its_direction: here,
            batch_means_are_weighted_by_batch_size: here,
            eval_and_no_grad_switch_different_things: here,
            convolution_and_augmentation_reach_unseen_fonts: {
                **drawn,
                "digits": digits,
                "augment": augment,
                "epochs": 1 if tiny else 4,
                "batch_size": 40 if tiny else 128,
                "luck": 0.05 if tiny else 0.0,
            },
        },
        "Scaling up": {
            mixed_precision_trains_as_well: {
                **here,
                "digits": digits,
                "network": network,
                "half": half,
                "steps": 10 if tiny else 100,
            },
            a_skipped_step_holds_the_schedule: {},
            a_seed_repeats_a_run: {**here, "digits": digits},
            compiling_changes_the_time_alone: {
                **here,
                "network": network,
                "compiled": args.compile,
            },
            # A tiny run starts no second process: that alone takes seconds.
            processes_average_their_gradients: {"processes": 1 if tiny else 2},
            a_checkpoint_resumes_bit_for_bit: {},
        },
        "Mistakes": {
            mistakes_misplace_a_call: here,
            mistakes_measure_wrongly: here,
            mistakes_lose_what_was_learnt: {},
        },
        "The whole run": {
            train_validate_test: {
                **drawn,
                "data": data,
                "network": network,
                "augment": augment,
                "half": half if args.amp else None,
                "make_optimizer": functools.partial(optimizer_class, **options),
                "epochs": epochs,
                "batch_size": args.batch_size,
                "seed": args.seed,
                "compiled": args.compile,
                "checkpoint": checkpoint,
                "resume": args.resume,
            },
        },
    }
    if not team:
        run(chapters, args)
        return

    args.only = ["train_validate_test"]  # lessons are for one process
    with process_group(args, rank):
        print(f"processes: {processes}, each with {args.batch_size}", end="")
        print(" images a step; the lessons are left out")
        # What is missing is fetched once, and once on each other machine.
        for now in (rank == 0, local_rank == 0, True):
            if now and not data and not args.list:
                data.update(load(wanted))
            Team().total(torch.zeros(1, device=device))  # wait for the rest
        run(chapters, args)


if __name__ == "__main__":
    main()
