# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "torchvision>=0.22", "matplotlib>=3.9"]
# ///
"""Optimizing a model: one step, the rate, measuring, the whole run.

Run      python start_optimizer.py      (no download, any device, 14 s)
Read     README.md, "Optimizing a model"
Symbols  w weight, b bias, x input, y target, p probability; in a parabola
         w alone, in a valley x and y are the two weights
"""

import argparse
import contextlib
import copy
import functools
import linecache
import math
import os
import pickle
import re
import sys
import tempfile
import textwrap
import time
import timeit
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.distributed as dist
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

# %% [markdown]
# ## One step
# Training is one step, many times: a guess, its error, the derivatives of the
# error, an update. Here is the step, and what stands in and around it.


# %%
def a_step_is_guess_error_derivatives_update(
    device: torch.device, *, steps: int = 50
) -> nn.Module:
    """Four lines make a step: guess, error, derivatives, update.

    A line is fitted to y = 3 x + 1 from w = b = 0. With the error
    e = w x + b - y the loss is mean(e^2), so by hand its derivatives are
    mean(2 e x) for w and mean(2 e) for b. Returns the model.
    """
    x = torch.linspace(-1, 1, 20, device=device).unsqueeze(1)  # (20, 1)
    y = 3 * x + 1
    model = nn.Linear(1, 1, device=device)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)

    w = torch.zeros((), device=device)
    b = torch.zeros((), device=device)
    for step in range(steps):
        guess = model(x)  # 1. guess
        loss = F.mse_loss(guess, y)  # 2. measure the error
        loss.backward()  # 3. collect the derivatives
        optimizer.step()  # 4. update
        optimizer.zero_grad()  # the next step begins without old derivatives

        error = w * x + b - y  # the same by hand
        if step % 10 == 0:
            print(f"step {step:2}: loss {loss:.6f}, by hand", end="")
            print(f" {(error**2).mean():.6f}")
        assert_close(loss.detach(), (error**2).mean())
        w = w - 0.3 * (2 * error * x).mean()
        b = b - 0.3 * (2 * error).mean()
        assert_close(model.weight[0, 0].detach(), w)
        assert_close(model.bias[0].detach(), b)
    print(f"after {steps}: y = {model.weight.item():.4f} x", end="")
    print(f" + {model.bias.item():.4f}, the data: y = 3 x + 1")
    assert math.isclose(model.weight.item(), 3, rel_tol=1e-3)
    assert math.isclose(model.bias.item(), 1, rel_tol=1e-3)
    return model


# %%
def cross_entropy_is_minus_the_log_of_softmax(device: torch.device) -> None:
    """`F.cross_entropy`: the mean of -log(probability of the label).

    Softmax turns logits z into probabilities exp(z) / sum(exp(z)).
    """
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], device=device)
    labels = torch.tensor([0, 2], device=device)  # (batch,), no one-hot rows
    exp = logits.exp()
    probabilities = exp / exp.sum(dim=1, keepdim=True)  # (batch, classes)
    print("logits:      ", logits.tolist(), " labels:", labels.tolist())
    print("softmax:     ", probabilities[0].cpu())
    print("             ", probabilities[1].cpu())
    assert_close(probabilities, logits.softmax(dim=1))

    first = -probabilities[0, 0].log()  # its label is 0
    second = -probabilities[1, 2].log()  # its label is 2
    loss = F.cross_entropy(logits, labels)
    print(f"by hand: ({first:.4f} + {second:.4f}) / 2 = ", end="")
    print(f"{(first + second) / 2:.4f}, F.cross_entropy: {loss:.4f}")
    assert_close(loss, (first + second) / 2)
    assert math.isclose(second.item(), math.log(2 + math.e), rel_tol=1e-5)


# %%
def binary_cross_entropy_with_logits_stays_finite(device: torch.device) -> None:
    """Losses take logits: by hand, a probability of 0 has no logarithm.

    A yes-or-no question has one logit z; its probability is the sigmoid
    p = 1 / (1 + exp(-z)), the loss -log(p) for yes, -log(1 - p) for no.
    """
    logits = torch.tensor([0.5, 2.0, -1.0], device=device)
    target = torch.tensor([1.0, 0.0, 0.0], device=device)  # yes, no, no
    p = 1 / (1 + (-logits).exp())  # the sigmoid
    by_hand = -(p[0].log() + (1 - p[1]).log() + (1 - p[2]).log()) / 3
    loss = F.binary_cross_entropy_with_logits(logits, target)
    print("logits [0.5, 2.0, -1.0], targets [1, 0, 0]")
    print(f"by hand {by_hand:.4f}, with_logits {loss:.4f}")
    assert_close(loss, by_hand)

    # A sure and wrong answer: in float32 exp(-200) is 0, and so is p.
    sure = torch.tensor([-200.0], device=device)
    yes = torch.tensor([1.0], device=device)
    by_hand = -sure.sigmoid().log()
    loss = F.binary_cross_entropy_with_logits(sure, yes)
    print(f"logit -200, target 1: by hand {by_hand.item()}", end="")
    print(f", with_logits {loss.item()}")
    assert by_hand == torch.inf
    assert loss == 200

    # Softmax by hand: exp(200) is inf, and inf / inf is nan.
    pair = torch.tensor([[200.0, 0.0]], device=device)
    by_hand = -(pair.exp() / pair.exp().sum()).log()[0, 0]
    loss = F.cross_entropy(pair, torch.tensor([0], device=device))
    print(f"logits (200, 0), label 0: by hand {by_hand.item()}", end="")
    print(f", cross_entropy {loss.item()}")
    assert by_hand.isnan()
    assert loss == 0


# %%
def zero_grad_clears_what_backward_adds(device: torch.device) -> None:
    """Without `zero_grad` a step adds up old gradients and overshoots.

    loss = w^2, its gradient 2 w, lr = 0.1: a step multiplies w by 0.8.
    Never cleared: the sums 2, 3.6, 4.48, ... of all gradients are subtracted.
    """
    w = torch.ones((), device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()  # first, or last: both are right
        (w**2).backward()
        optimizer.step()
    print("loss = w**2 from w = 1, three steps of lr 0.1")
    print(f"zero_grad, backward, step: w = {w.item():.4f}")
    assert math.isclose(w.item(), 0.8**3, rel_tol=1e-5)

    w = torch.ones((), device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    for _ in range(3):
        (w**2).backward()  # adds to w.grad
        optimizer.step()
    print(f"no zero_grad:              w = {w.item():.4f}, past 0")
    assert math.isclose(w.item(), 1 - 0.1 * (2 + 3.6 + 4.48), rel_tol=1e-3)

    w = torch.ones((), device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    for _ in range(3):
        (w**2).backward()
        assert w.grad == 2
        optimizer.zero_grad()  # too early: nothing is learnt
        optimizer.step()
    print(f"backward, zero_grad, step: w = {w.item():.4f}, where it was")
    assert w == 1


# %%
def clip_grad_norm_shortens_and_keeps_direction(device: torch.device) -> None:
    """All gradients together are one vector; its length is limited.

    The gradients are (3, 0) and (4): the norm is sqrt(9 + 16) = 5. To come
    down to 1, each is divided by 5. A shorter vector stays as it is.
    """
    w = torch.zeros(2, device=device, requires_grad=True)
    b = torch.zeros(1, device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w, b], lr=1.0)
    (3 * w[0] + 4 * b.sum()).backward()
    print("w.grad", w.grad.tolist(), " b.grad", b.grad.tolist())
    # Between backward and step; what it returns is the norm before.
    norm = nn.utils.clip_grad_norm_([w, b], max_norm=1.0)
    optimizer.step()

    moved = torch.cat([w, b]).detach()  # from 0, with lr 1
    print(f"max_norm=1:  norm {norm:.4f} before, the step {moved.norm():.4f}")
    print("w and b from 0 to", moved.cpu())
    assert_close(norm, torch.tensor(5.0, device=device))
    assert_close(moved, torch.tensor([-0.6, 0.0, -0.8], device=device))

    optimizer.zero_grad()
    (3 * w[0] + 4 * b.sum()).backward()
    nn.utils.clip_grad_norm_([w, b], max_norm=10.0)
    print("max_norm=10: w.grad", w.grad.tolist(), " b.grad", b.grad.tolist())
    assert w.grad.tolist() == [3, 0] and b.grad.tolist() == [4]


# %%
def gradient_accumulation_equals_a_large_batch(device: torch.device) -> None:
    """Small batches add up to a large one if each counts by its size.

    A batch of 10 comes in parts of 4, 4 and 2. A loss is the mean over its
    own part, so its share of the whole is 4/10, 4/10, 2/10, not a third. Not
    with batch norm: it normalizes a part by the mean of that part.
    """
    torch.manual_seed(0)
    x = torch.randn(10, 3, device=device)
    y = torch.randn(10, 1, device=device)
    model = nn.Linear(3, 1, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.mse_loss(model(x), y).backward()
    whole = model.weight.grad.clone()
    print("ten at once:     ", whole.cpu())

    optimizer.zero_grad()  # once, before the first part
    for start in range(0, 10, 4):
        part_x = x[start : start + 4]  # (4, 3), at last (2, 3)
        part_y = y[start : start + 4]
        loss = F.mse_loss(model(part_x), part_y) * len(part_x) / 10
        loss.backward()  # adds to the gradient
    print("weighted by size:", model.weight.grad.cpu())
    assert_close(model.weight.grad, whole)
    before = model.weight.detach().clone()
    optimizer.step()  # once, after the last part
    assert_close(model.weight.detach(), before - 0.1 * whole)

    # A third for each part: how much does each of the ten samples count?
    thirds = torch.zeros(10, device=device, requires_grad=True)
    for start in range(0, 10, 4):
        (thirds[start : start + 4].mean() / 3).backward()
    print("a third for each part, weight of a sample:", end="")
    print(f" {thirds.grad[0]:.4f} first, {thirds.grad[9]:.4f} last")
    expected = torch.tensor([1 / 12] * 8 + [1 / 6] * 2, device=device)
    assert_close(thirds.grad, expected)

    norm = nn.BatchNorm1d(3, affine=False).to(device)  # in train mode
    of_ten, of_four = norm(x)[:4], norm(x[:4])
    print(f"batch norm: {of_ten[0, 0]:.4f} in ten, {of_four[0, 0]:.4f} in four")
    assert of_four.mean().abs() < 1e-5 < 0.1 < of_ten.mean(dim=0).abs().max()


# %% [markdown]
# ## The rate
# The learning rate is the first number to get right. How large it may be, how
# optimizers change the step, how to find a rate, and how to let it fall.


# %%
def descend_parabola(lr: float, steps: int, device: torch.device) -> float:
    """Return w after `steps` steps down loss = 2 w^2 from w = 1."""
    w = torch.ones((), device=device, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        (2 * w**2).backward()  # the gradient is 4 w
        optimizer.step()
    return w.item()


def a_learning_rate_converges_below_two_over_curvature(
    device: torch.device,
) -> None:
    """Below 2 / curvature steps converge, above it they grow.

    The curvature of loss = 2 w^2 is 4, its gradient 4 w: a step multiplies w
    by 1 - 4 lr. At lr = 2 / 4 that is -1.
    """
    print("loss = 2 w**2 from w = 1, after 10 steps")
    small = descend_parabola(0.01, 10, device)
    print(f"lr 0.01,  too small: w = {small:8.4f}, factor  0.96 a step")
    assert math.isclose(small, 0.96**10, rel_tol=1e-4)

    right = descend_parabola(0.125, 10, device)
    print(f"lr 0.125, right:     w = {right:8.4f}, factor  0.5")
    assert math.isclose(right, 0.5**10, rel_tol=1e-4)

    # Beyond 1 / curvature it changes sign at each step and shrinks.
    high = descend_parabola(0.45, 10, device)
    print(f"lr 0.45,  swings:    w = {high:8.4f}, factor -0.8")
    assert math.isclose(high, 0.8**10, rel_tol=1e-4)

    # At 2 / curvature it only changes sign, for ever.
    limit = descend_parabola(0.5, 10, device)
    after_odd = descend_parabola(0.5, 11, device)
    print(f"lr 0.5,   the limit: w = {limit:8.4f}, factor -1, next", after_odd)
    assert limit == 1 and after_odd == -1

    large = descend_parabola(0.55, 10, device)
    print(f"lr 0.55,  too large: w = {large:8.4f}, factor -1.2")
    assert math.isclose(large, 1.2**10, rel_tol=1e-4)


# %%
def sgd_with_momentum_by_hand_equals_torch(device: torch.device) -> None:
    """Momentum: a step goes along a sum of gradients, old ones fading.

    velocity = 0.8 velocity + gradient, w = w - lr velocity.
    loss = (x^2 + 20 y^2) / 2, its gradient (x, 20 y).
    """
    curvature = torch.tensor([1.0, 20.0], device=device)
    start = torch.tensor([-4.0, 1.5], device=device)
    w = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([w], lr=0.03, momentum=0.8)
    hand, velocity = start, torch.zeros_like(start)
    for _ in range(20):
        optimizer.zero_grad()
        ((curvature * w**2).sum() / 2).backward()
        optimizer.step()

        velocity = 0.8 * velocity + curvature * hand  # old ones fade
        hand = hand - 0.03 * velocity
        assert_close(w.detach(), hand)

    print("loss = (x**2 + 20 * y**2) / 2 from (-4, 1.5), 20 steps of lr 0.03")
    plain = start * (1 - 0.03 * curvature) ** 20  # without momentum
    print(f"no momentum:   x {plain[0]:7.4f}, y {plain[1]:7.4f}")
    print(f"momentum=0.8:  x {w[0]:7.4f}, y {w[1]:7.4f}")
    print(f"by hand:       x {hand[0]:7.4f}, y {hand[1]:7.4f}")
    # Without momentum the steep axis is done and the flat one has hardly begun.
    assert abs(plain[1]) < 1e-6 and abs(w[0]) < abs(plain[0]) / 5


# %%
def adam_by_hand_equals_torch(device: torch.device) -> None:
    """Adam: a mean of gradients over the root of a mean of their squares.

    Both means began at 0: after n steps they hold 1 - beta^n of the whole, and
    are divided by it. loss = (x^2 + 20 y^2) / 2, its gradient (x, 20 y).
    Source: Kingma & Ba 2015.
    """
    curvature = torch.tensor([1.0, 20.0], device=device)
    w = torch.tensor([-4.0, 1.5], device=device, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.2, betas=(0.9, 0.999), eps=1e-8)

    hand = w.detach().clone()
    mean = torch.zeros_like(hand)
    square = torch.zeros_like(hand)
    for step in range(1, 21):
        optimizer.zero_grad()
        ((curvature * w**2).sum() / 2).backward()
        optimizer.step()

        gradient = curvature * hand
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        # Both began at 0: after one step a tenth of the mean is there.
        whole_mean = mean / (1 - 0.9**step)
        whole_square = square / (1 - 0.999**step)
        hand = hand - 0.2 * whole_mean / (whole_square.sqrt() + 1e-8)
        assert_close(w.detach(), hand)
    print("loss = (x**2 + 20 * y**2) / 2 from (-4, 1.5), 20 steps of lr 0.2")
    print("Adam:   ", w.detach().cpu())
    print("by hand:", hand.cpu())


# %%
def adamw_decays_weights_beside_the_gradient(device: torch.device) -> None:
    """AdamW shrinks w by lr * weight_decay; in Adam the decay gets lost.

    w = 2, gradient 10, lr = 0.1, weight_decay = 0.5. SGD and Adam add
    0.5 w = 1 to the gradient. Adam's first step is lr whatever the gradient,
    so the decay changes nothing. AdamW: w (1 - 0.1 * 0.5) - lr.
    Source: Loshchilov & Hutter 2019.
    """
    print("w = 2, gradient 10, one step of lr 0.1, weight_decay 0.5 or 0")
    w = torch.tensor(2.0, device=device, requires_grad=True)
    (10 * w).backward()
    torch.optim.SGD([w], lr=0.1, weight_decay=0.5).step()
    print(f"SGD:   {w:.4f}, without decay {2 - 0.1 * 10:.4f}")
    assert math.isclose(w.item(), 2 - 0.1 * (10 + 0.5 * 2), rel_tol=1e-5)

    w = torch.tensor(2.0, device=device, requires_grad=True)
    (10 * w).backward()
    torch.optim.Adam([w], lr=0.1, weight_decay=0.5).step()
    print(f"Adam:  {w:.4f}, without decay {2 - 0.1:.4f}, the same")
    assert math.isclose(w.item(), 2 - 0.1, rel_tol=1e-5)

    w = torch.tensor(2.0, device=device, requires_grad=True)
    (10 * w).backward()
    torch.optim.AdamW([w], lr=0.1, weight_decay=0.5).step()
    print(f"AdamW: {w:.4f}, without decay {2 - 0.1:.4f}")
    assert math.isclose(w.item(), 2 * (1 - 0.1 * 0.5) - 0.1, rel_tol=1e-5)


# %%
def walk_valley(
    kind: type[torch.optim.Optimizer], steps: int, device, **options
) -> Tensor:
    """Return a path (steps + 1, 2) from (-4, 1.5) down (x^2 + 20 y^2) / 2."""
    curvature = torch.tensor([1.0, 20.0], device=device)  # 1 flat, 20 steep
    w = torch.tensor([-4.0, 1.5], device=device, requires_grad=True)
    optimizer = kind([w], **options)
    path = [w.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        ((curvature * w**2).sum() / 2).backward()
        optimizer.step()
        path.append(w.detach().clone())  # a copy: w itself moves on
    return torch.stack(path).cpu()


def adam_steps_ignore_the_size_of_gradients(
    device: torch.device, figures: Path, *, steps: int = 60
) -> None:
    """SGD steps follow the gradient's size, Adam's and RMSprop's do not.

    At (-4, 1.5) the gradient (x, 20 y) is (-4, 30). SGD moves by lr times
    that. Adam and RMSprop divide each coordinate by the root of the mean of its
    squared gradients. Only Adam corrects that mean for its beginning at 0:
    RMSprop's is 0.01 of the first square, so its first step is 10 lr.
    """
    sgd = walk_valley(torch.optim.SGD, steps, device, lr=0.09)
    momentum = walk_valley(
        torch.optim.SGD, steps, device, lr=0.03, momentum=0.8
    )
    rmsprop = walk_valley(torch.optim.RMSprop, steps, device, lr=0.05)
    adam = walk_valley(torch.optim.Adam, steps, device, lr=0.2)
    print("loss = (x**2 + 20 * y**2) / 2 from (-4, 1.5), gradient (-4, 30)")
    print("first steps: SGD, lr 0.09    ", sgd[1] - sgd[0])
    print("             momentum, 0.03  ", momentum[1] - momentum[0])
    print("             RMSprop, lr 0.05", rmsprop[1] - rmsprop[0])
    print("             Adam, lr 0.2    ", adam[1] - adam[0])
    assert_close(sgd[1] - sgd[0], torch.tensor([0.36, -2.7]))
    assert_close(momentum[1] - momentum[0], torch.tensor([0.12, -0.9]))
    assert_close(rmsprop[1] - rmsprop[0], torch.tensor([0.5, -0.5]))
    assert_close(adam[1] - adam[0], torch.tensor([0.2, -0.2]))

    # Lines of equal loss make the valley visible under the paths.
    x = torch.linspace(-4.5, 1, 60)
    y = torch.linspace(-1.5, 1.7, 60)[:, None]
    figure, panel = plt.subplots(figsize=(7, 4.5))
    panel.contour(x, y[:, 0], (x**2 + 20 * y**2) / 2, 12, colors="lightgray")
    panel.plot(sgd[:, 0], sgd[:, 1], ".-", label="SGD")
    panel.plot(momentum[:, 0], momentum[:, 1], ".-", label="momentum")
    panel.plot(rmsprop[:, 0], rmsprop[:, 1], ".-", label="RMSprop")
    panel.plot(adam[:, 0], adam[:, 1], ".-", label="Adam")
    panel.set(title="down one valley", xlabel="x", ylabel="y")
    panel.legend()
    save_figure(figure, "optimizer_paths", figures)


# %%
def train_at_rates(rates: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of each step: one step at each of `rates`."""
    torch.manual_seed(0)
    model = small_network().to(images.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    losses = []
    for lr in rates.tolist():
        optimizer.param_groups[0]["lr"] = lr  # what each scheduler sets
        batch = torch.randint(len(labels), (64,)).to(images.device)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())  # without its graph
    return torch.stack(losses).cpu()  # (steps,)


def a_range_test_finds_the_learning_rate(
    images: Tensor, labels: Tensor, figures: Path, *, steps: int = 120
) -> None:
    """Raise lr at every step: pick a third of where the loss is lowest.

    After the lowest loss the rates are too large, and the loss rises. A third
    of the rate that stands there learns well in these few steps, a tenth of
    this pick learns less, and ten times the pick learns nothing.
    Source: Smith 2017, "Cyclical Learning Rates".
    """
    rates = torch.logspace(-4, 1, steps)  # equal factors, 0.0001 up to 10
    losses = train_at_rates(rates, images, labels)
    losses = losses.nan_to_num(torch.inf)  # else argmin finds a nan
    lowest = rates[losses.argmin()].item()
    pick = lowest / 3
    print(f"range test: lowest loss {losses.min():.2f} at lr {lowest:.3f}")
    assert losses[0] > 2 and losses[-1] > losses.min() + 1  # falls, explodes

    small = pick / 10
    large = pick * 10
    low = train_at_rates(torch.full((steps,), small), images, labels)
    picked = train_at_rates(torch.full((steps,), pick), images, labels)
    high = train_at_rates(torch.full((steps,), large), images, labels)
    print(f"mean loss of the last 10 of {steps} steps, each at one rate:")
    print(f"pick / 10, lr {small:.4f}: {low[-10:].mean():.2f}")
    print(f"pick,      lr {pick:.4f}: {picked[-10:].mean():.2f}")
    print(f"pick * 10, lr {large:.4f}: {high[-10:].mean():.2f}")
    assert math.isclose(small * 30, lowest) and math.isclose(large, 10 * pick)
    assert picked[-10:].mean() < low[-10:].mean() - 0.1
    assert low[-10:].mean() < 2.4  # slow, and not beyond a guess: log(10)
    assert high[-10:].mean() > 2  # it has learnt nothing, or forgot it
    assert picked[-10:].mean() < 0.5 * math.log(10)

    figure, panel = plt.subplots(figsize=(7, 4))
    panel.semilogx(rates.tolist(), losses.clamp(max=4).tolist())
    panel.axvline(pick, color="gray", linestyle=":", label="pick")
    panel.set(title="range test", xlabel="lr", ylabel="loss, cut at 4")
    panel.minorticks_off()
    panel.legend()
    save_figure(figure, "optimizer_rates", figures)


# %%
def schedulers_count_calls_of_step() -> None:
    """A scheduler counts calls of `step()`, not epochs and not batches.

    StepLR(step_size=2, gamma=0.1) divides lr by 10 at each second call. Six
    epochs of 4 batches are 6 calls or 24: which of them, is the caller's
    choice, and step_size has to be in the same unit.
    """
    w = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([w], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
    print("StepLR(step_size=2, gamma=0.1), 4 batches an epoch, lr at its end")
    print("step() once an epoch:", end="")
    for epoch in range(6):
        for _ in range(4):
            optimizer.step()
        scheduler.step()  # after the batches of an epoch
        lr = optimizer.param_groups[0]["lr"]
        print(f" {lr:.0e}", end="")
        assert math.isclose(lr, 0.1 ** ((epoch + 1) // 2))

    w = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([w], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.1)
    print("\nstep() once a batch: ", end="")
    for epoch in range(6):
        for _ in range(4):
            optimizer.step()
            scheduler.step()  # after each batch
        lr = optimizer.param_groups[0]["lr"]
        print(f" {lr:.0e}", end="")
        assert math.isclose(lr, 0.1 ** (2 * (epoch + 1)))
    print("\nin all", scheduler.last_epoch, "calls, scheduler.last_epoch")
    assert scheduler.last_epoch == 24  # counts calls, whatever its name


# %%
def warmup_then_cosine(step: int, warmup: int = 10, total: int = 30) -> float:
    """Return the factor of lr at `step`: up along a line, down a cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / (total - warmup)  # 0..1
    return (1 + math.cos(math.pi * done)) / 2


def lambda_lr_warms_up_then_falls_along_a_cosine() -> None:
    """`LambdaLR` multiplies lr by any function of the step: warm-up, cosine.

    Small steps come first, while the weights are random and Adam's means rest
    on few batches. At step 20, half-way down the cosine, the factor is 1/2.
    `OneCycleLR`, in the whole run, is a cosine up and a cosine down.
    """
    w = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([w], lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_cosine)
    rates = []
    for step in range(30):
        lr = optimizer.param_groups[0]["lr"]
        if step % 4 == 0:
            print(f"step {step:2}: lr {lr:.4f} ", "#" * round(400 * lr))
        rates.append(lr)
        optimizer.step()
        scheduler.step()  # after each batch, and after optimizer.step()
    assert math.isclose(rates[0], 0.1 / 10)  # a tenth more with each step
    assert math.isclose(rates[4], 0.1 * 5 / 10)
    assert math.isclose(rates[9], 0.1) and math.isclose(rates[10], 0.1)
    assert math.isclose(rates[20], 0.1 / 2)
    assert 0 < rates[29] < 0.001


# %%
def parameter_groups_spare_biases_weight_decay(device: torch.device) -> None:
    """A group of parameters may have an lr and a weight_decay of its own.

    Decay is for matrices; biases and the vectors of norms stay without. All
    parameters are 1 and all gradients 1, so AdamW's first step is lr long:
    1 (1 - 0.1 * 0.5) - 0.1 = 0.85 with decay, 1 - 0.02 = 0.98 without.
    """
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)).to(device)
    # A weight of nn.Linear or a convolution has two or more dimensions.
    matrices, vectors = [], []
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.ones_like(parameter)
        if parameter.ndim >= 2:
            matrices.append(parameter)
        else:
            vectors.append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": 0.5},
            {"params": vectors, "weight_decay": 0.0, "lr": 0.02},
        ],
        lr=0.1,  # for the groups that say nothing
    )
    optimizer.step()

    print("all were 1, gradients 1; after one step:")
    for name, parameter in model.named_parameters():
        value = parameter.flatten()[0].item()
        print(f"{name:9} {str(tuple(parameter.shape)):7} {value:.4f}")
        expected = 0.85 if name == "0.weight" else 0.98
        assert_close(parameter, torch.full_like(parameter, expected))


# %%
def orthogonalize(matrix: Tensor) -> Tensor:
    """Return `matrix`, wide, its singular values pulled near to 1.

    A round makes 3.4445 s - 4.775 s^3 + 2.0315 s^5 of a singular value s.
    """
    x = matrix / matrix.norm()  # no singular value is above 1
    for _ in range(5):
        square = x @ x.T  # (rows, rows), the smaller side
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x


def muon_by_hand_equals_torch(device: torch.device) -> None:
    """Muon steps about equally far along all singular vectors.

    The step is a mean of gradients, orthogonalized: all its singular values
    are near 1. torch does so in bfloat16, whose numbers have three digits, so
    by hand and by torch steps of 0.1 agree within 0.005.
    Source: Jordan et al. 2024.
    """
    if not hasattr(torch.optim, "Muon"):
        print("this torch has no Muon; torch 2.9 and later have")
        return
    target = torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.5, 0.5]], device=device)
    w = torch.zeros(2, 3, device=device, requires_grad=True)
    optimizer = torch.optim.Muon([w], lr=0.1, momentum=0.9, weight_decay=0.5)
    mean = torch.zeros(2, 3, device=device)
    for _ in range(10):
        before = w.detach().clone()
        optimizer.zero_grad()
        (((w - target) ** 2).sum() / 2).backward()
        optimizer.step()

        gradient = before - target  # (2, 3)
        mean = 0.9 * mean + 0.1 * gradient
        update = orthogonalize(0.1 * gradient + 0.9 * mean)
        hand = before * (1 - 0.1 * 0.5) - 0.1 * update
        assert_close(w.detach(), hand, rtol=0, atol=0.005)
    sizes = torch.linalg.svdvals(update.cpu())
    print("tenth step: singular values of the gradient:", end=" ")
    print(torch.linalg.svdvals(gradient.cpu()))
    print("            singular values of the update:  ", sizes)
    print("first row of w after it:", w[0].detach().cpu())
    print("by hand from the ninth: ", hand[0].cpu())
    assert 0.5 < sizes[1] < sizes[0] < 1.5

    layer = nn.Linear(3, 2, device=device)
    with caught(ValueError, "Muon only supports 2D parameters"):
        torch.optim.Muon(layer.parameters())
    torch.optim.Muon([layer.weight])  # right: biases go to AdamW


# %% [markdown]
# ## Measuring
# Three sets of images with one job each, and how to read what they say.
# `small_network`, `train_one_epoch` and `measure`, which these lessons share,
# stand below the helpers.


# %%
def fit_at_rate(lr: float, train: tuple) -> nn.Module:
    """Return a small network after 20 epochs."""
    torch.manual_seed(0)  # the same first weights for each rate
    model = small_network().to(train[0].device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    for _ in range(20):
        train_one_epoch(model, optimizer, *train)
    return model


def train_fits_validation_chooses_test_reports(
    train: tuple, validation: tuple, test: tuple
) -> None:
    """Train to fit weights, validate to choose the rate, test to report.

    Whatever you compare, rates, sizes or epochs, compare on validation. The
    test set is measured once, with the model that was chosen. The accuracy is
    the fraction of right answers; of ten digits a guess is right in 10%.
    """
    slow = fit_at_rate(0.0001, train)
    middle = fit_at_rate(0.01, train)
    fast = fit_at_rate(1.0, train)
    _, slow_accuracy = measure(slow, *validation)
    _, middle_accuracy = measure(middle, *validation)
    _, fast_accuracy = measure(fast, *validation)
    print(f"lr 0.0001: validation accuracy {slow_accuracy:.1%}")
    print(f"lr 0.01:   validation accuracy {middle_accuracy:.1%}, chosen")
    print(f"lr 1.0:    validation accuracy {fast_accuracy:.1%}")
    assert middle_accuracy > 0.3
    assert middle_accuracy > slow_accuracy + 0.1
    assert middle_accuracy > fast_accuracy + 0.1

    # Training images flatter: the weights were fitted to them.
    _, training_accuracy = measure(middle, *train)
    _, test_accuracy = measure(middle, *test)
    print(f"lr 0.01:   training accuracy   {training_accuracy:.1%}")
    print(f"lr 0.01:   test accuracy       {test_accuracy:.1%}, reported")
    assert training_accuracy > test_accuracy > 0.2


# %%
def batch_means_are_weighted_by_batch_size(device: torch.device) -> None:
    """The last batch is smaller: weigh each batch's mean by its size.

    Five losses 1, 1, 1, 1, 6 have the mean 10 / 5 = 2. In batches of four and
    one the means are 1 and 6, and their plain mean is 3.5.
    """
    losses = torch.tensor([1.0, 1.0, 1.0, 1.0, 6.0], device=device)
    total, plain, batches = 0.0, 0.0, 0
    for batch in losses.split(4):  # 4 losses, then 1
        mean = batch.mean().item()  # what F.cross_entropy returns
        total += mean * len(batch)
        plain += mean
        batches += 1
    print("losses", losses.tolist(), "in batches of 4 and 1")
    print("plain / batches:    ", plain / batches, "(wrong)")
    print("total / len(losses):", total / len(losses))
    assert plain / batches == 3.5
    assert total / len(losses) == 2 == losses.mean()


# %%
def name_by_a_line(x: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    """Return the class, 0 or 1, that logistic regression gives to each x."""
    model = nn.Linear(1, 2, device=x.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    for _ in range(50):
        loss = F.cross_entropy(model(x), labels, weight=weight)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model(x).argmax(dim=1)


def class_weights_find_more_of_a_rare_class(device: torch.device) -> None:
    """`weight=` in the loss: more recall of a rare class, less accuracy.

    Each -log(probability) counts by the weight of its label, and the sum is
    divided by the sum of these weights. With 1 / fraction, here 20/19 and 20,
    both classes count alike. Recall is the fraction of a class that is found:
    to name every sample 0 would be 95% accurate, and find none.
    """
    torch.manual_seed(0)
    labels = torch.tensor([0] * 1900 + [1] * 100)
    x = torch.randn(2000, 1) + 2 * labels[:, None]  # class 1 lies higher by 2
    x, labels = x.to(device), labels.to(device)
    weight = 2000 / labels.bincount()  # of each class
    print("samples", labels.bincount().tolist(), " weight", weight.cpu())
    assert_close(weight, torch.tensor([20 / 19, 20], device=device))

    logits = torch.cat([-x, x], dim=1)
    each = F.cross_entropy(logits, labels, reduction="none")
    by_hand = (weight[labels] * each).sum() / weight[labels].sum()
    loss = F.cross_entropy(logits, labels, weight=weight)
    print(f"by hand {by_hand:.4f}, F.cross_entropy {loss:.4f}")
    assert_close(loss, by_hand)

    plain = name_by_a_line(x, labels, None)
    weighted = name_by_a_line(x, labels, weight)
    accuracy = (plain == labels).float().mean().item()
    recall = (plain[labels == 1] == 1).float().mean().item()
    print(f"no weight: accuracy {accuracy:.1%}, recall of class 1 {recall:.0%}")
    assert accuracy > 0.94 and 0.1 < recall < 0.5
    accuracy = (weighted == labels).float().mean().item()
    recall = (weighted[labels == 1] == 1).float().mean().item()
    print(f"weight:    accuracy {accuracy:.1%}, recall of class 1 {recall:.0%}")
    assert 0.75 < accuracy < 0.9 and recall > 0.75


# %%
def no_grad_records_nothing_and_keeps_the_mode(device: torch.device) -> None:
    """`no_grad` stops the recording, `eval()` does not: measuring needs both.

    Under `no_grad` alone dropout goes on, and the measurement is too bad. In
    eval mode alone each result keeps its graph, and memory fills.
    """
    torch.manual_seed(0)
    linear = nn.Linear(3, 1000)
    model = nn.Sequential(linear, nn.Dropout(0.2)).to(device)
    x = torch.ones(2, 3, device=device)

    # A new model is in train mode, so dropout is on.
    with torch.no_grad():
        y = model(x)
    zeros = (y == 0).float().mean().item()
    print(f"no_grad alone: {zeros:.0%} dropped, grad_fn: {y.grad_fn}")
    assert 0.1 < zeros < 0.3
    assert y.grad_fn is None

    model.eval()
    y = model(x)
    zeros = (y == 0).float().mean().item()
    print(f"eval alone:    {zeros:.0%} dropped, grad_fn: {y.grad_fn.name()}")
    assert zeros == 0
    assert y.grad_fn.name() == "AddmmBackward0"

    with torch.no_grad():
        y = model(x)
    print(f"both:          {(y == 0).float().mean():.0%} dropped", end=", ")
    print(f"grad_fn: {y.grad_fn}")
    assert y.grad_fn is None
    assert_close(y, x @ linear.weight.T + linear.bias)
    model.train()  # before the next epoch
    assert (model(x) == 0).any()


# %%
def nearest_neighbour_accuracy(known: list, asked: tuple, count: int) -> float:
    """Name each image as the most similar one of `count` known is named.

    Each family in `known` gives its first images, as many as the others; of
    the family `asked` its last 300 are named. No training, so no luck.
    """
    share = count // len(known)
    pixels, names = [], []
    for images, labels in known:
        pixels.append(images[:share].flatten(1))
        names.append(labels[:share])
    names = torch.cat(names)  # (count,)
    images, labels = asked
    # No image may be known and asked.
    assert len(names) == count and share + 300 <= len(labels)
    distance = torch.cdist(images[-300:].flatten(1), torch.cat(pixels))
    nearest = distance.argmin(dim=1)  # (300,)
    return (names[nearest] == labels[-300:]).float().mean().item()


def a_split_by_family_of_fonts_shows_the_gap(
    families: dict[str, tuple], *, count: int = 2400
) -> None:
    """Fonts of a family look alike: hold out a family, not some images.

    A random split leaves each family on both sides, and says little about the
    next one. Both columns know equally many images. The gap differs from family
    to family: measure yours.
    """
    gaps = []
    print("family known?     yes     no    gap")
    for name in families:
        asked = families[name]
        every = list(families.values())  # as a random split of images does
        known = nearest_neighbour_accuracy(every, asked, count)
        others = [family for family in every if family is not asked]
        unknown = nearest_neighbour_accuracy(others, asked, count)
        print(f"{name:15} {known:.3f}  {unknown:.3f} {known - unknown:+.3f}")
        gaps.append(known - unknown)
        assert unknown > 0.4  # 0.1 by luck
    assert -0.1 < gaps[0] < 0.2  # DejaVu
    assert 0.03 < gaps[1] < 0.3  # STIX
    assert 0 < gaps[2] < 0.2  # Computer Modern


# %%
def training_loss_is_measured_under_other_conditions(
    train: tuple, validation: tuple
) -> None:
    """The training loss may lie above the validation loss: three reasons.

    It is a mean over an epoch in which the weights improve, with dropout, on
    augmented images. The same images give less after the epoch, in eval mode,
    as they are. To see overfitting, measure both sets in the same way.
    """
    torch.manual_seed(0)
    images, labels = train
    model = small_network(width=64, dropout=0.5).to(images.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    total = 0.0
    order = torch.randperm(len(labels)).to(images.device)
    for batch in order.split(10):
        logits = model(random_affine(images[batch]))
        loss = F.cross_entropy(logits, labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item() * len(batch)
    running = total / len(labels)

    # The same weights from here on: only the conditions differ.
    moved = random_affine(images)
    with torch.no_grad():
        after = F.cross_entropy(model(moved), labels).item()
    augmented, _ = measure(model, moved, labels)
    training_loss, _ = measure(model, images, labels)
    validation_loss, _ = measure(model, *validation)
    print("training loss")
    print(f"  mean over the epoch, dropout, augmented: {running:.3f}")
    print(f"  after the epoch, dropout, augmented:     {after:.3f}")
    print(f"  after the epoch, eval mode, augmented:   {augmented:.3f}")
    print(f"  after the epoch, eval mode, as they are: {training_loss:.3f}")
    print("validation loss")
    print(f"  after the epoch, eval mode, as they are: {validation_loss:.3f}")
    assert model[1].weight.grad is None
    assert 5 > running > after > augmented > training_loss > 0
    assert running > validation_loss > training_loss


# %%
def overfitting_shows_in_the_validation_loss(
    train: tuple, validation: tuple, figures: Path
) -> None:
    """The training loss goes on falling, the validation loss turns.

    From there on the model learns what is true of its few images alone. The
    lowest validation loss tells how many epochs are enough.
    """
    torch.manual_seed(0)
    model = small_network().to(train[0].device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    training_losses, validation_losses = [], []
    for _ in range(20):
        train_one_epoch(model, optimizer, *train)
        # After the epoch, both sets in the same way.
        loss, _ = measure(model, *train)
        training_losses.append(loss)
        loss, _ = measure(model, *validation)
        validation_losses.append(loss)
    best = validation_losses.index(min(validation_losses))
    print("epoch  training loss  validation loss")
    for epoch in (0, best, 19):
        print(f"{epoch + 1:5}  {training_losses[epoch]:13.3f}", end="")
        print(f"  {validation_losses[epoch]:15.3f}")
    print("lowest validation loss: epoch", best + 1)
    assert training_losses[19] < training_losses[best] < training_losses[0]
    assert training_losses[19] < 0.1
    assert 0 < best < 18
    assert validation_losses[19] > validation_losses[best] + 0.03

    figure, panel = plt.subplots(figsize=(6, 4))
    panel.plot(training_losses, label="training loss")
    panel.plot(validation_losses, label="validation loss")
    panel.set(xlabel="epoch, from 0", title="overfitting")
    panel.legend()
    save_figure(figure, "optimizer_overfitting", figures)


# %%
def fit_few(
    train: tuple, dropout=0.0, weight_decay=0.0, augment=torch.clone
) -> nn.Module:
    """Return a model after 20 epochs on a few images."""
    torch.manual_seed(0)  # the same first weights each time
    model = small_network(dropout=dropout).to(train[0].device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.01, weight_decay=weight_decay, fused=True
    )
    for _ in range(20):
        train_one_epoch(model, optimizer, *train, augment)
    return model


def augmentation_dropout_weight_decay_reduce_overfitting(
    train: tuple, validation: tuple
) -> None:
    """Each of the three lowers the validation loss, augmentation the most.

    Augmentation shows other images in each epoch, dropout (Srivastava et al.
    2014) another part of the network, weight decay keeps the weights small.
    """
    # One change at a time.
    plain = fit_few(train)
    decayed = fit_few(train, weight_decay=2.0)
    dropped = fit_few(train, dropout=0.5)
    augmented = fit_few(train, augment=random_affine)
    plain_loss, _ = measure(plain, *validation)
    decayed_loss, _ = measure(decayed, *validation)
    dropped_loss, _ = measure(dropped, *validation)
    augmented_loss, _ = measure(augmented, *validation)
    print(f"no remedy:        validation loss {plain_loss:.3f}")
    print(f"weight_decay=2.0: validation loss {decayed_loss:.3f}")
    print(f"nn.Dropout(0.5):  validation loss {dropped_loss:.3f}")
    print(f"random_affine:    validation loss {augmented_loss:.3f}")
    assert decayed_loss < plain_loss
    assert dropped_loss < plain_loss
    assert augmented_loss < min(decayed_loss, dropped_loss)

    plain_norm = plain[1].weight.norm().item()
    decayed_norm = decayed[1].weight.norm().item()
    print(f"norm of the weights without decay {plain_norm:.2f}", end="")
    print(f", with decay {decayed_norm:.2f}")
    assert decayed_norm < 0.8 * plain_norm


# %%
def early_stopping_keeps_the_best_epoch(
    train: tuple, validation: tuple
) -> None:
    """Stop after `patience` epochs without a new best; go back to the best.

    `state_dict()` shares its memory with the model: without `deepcopy` each
    step changes what was kept.
    """
    torch.manual_seed(0)
    model = small_network().to(train[0].device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    patience = 5
    losses = []
    for epoch in range(1, 101):
        train_one_epoch(model, optimizer, *train)
        assert model.training  # again, after `measure`
        loss, _ = measure(model, *validation)
        losses.append(loss)
        if loss == min(losses):
            best_epoch = epoch
            best_weights = copy.deepcopy(model.state_dict())
            no_copy = model.state_dict()
        elif epoch - best_epoch == patience:
            break
    print(f"stopped after epoch {epoch} of 100, validation loss {loss:.3f}")

    model.load_state_dict(no_copy)
    last, _ = measure(model, *validation)
    model.load_state_dict(best_weights)
    best, _ = measure(model, *validation)
    print(f"epoch {best_epoch} kept by state_dict():     {last:.3f}")
    print(f"epoch {best_epoch} kept by a deepcopy of it: {best:.3f}")
    assert epoch == len(losses) == best_epoch + patience < 100
    assert min(losses) == losses[best_epoch - 1] < losses[-1] - 0.001
    assert math.isclose(last, losses[-1], rel_tol=1e-4)
    assert math.isclose(best, min(losses), rel_tol=1e-4)


# %%
def accuracy_of_seed(
    train: tuple, validation: tuple, seed: int, width: int, epochs: int
) -> float:
    """Return the validation accuracy of a network of `width` hidden units."""
    torch.manual_seed(seed)  # the first weights depend on it
    model = small_network(width).to(train[0].device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for _ in range(epochs):
        train_one_epoch(model, optimizer, *train)
    _, accuracy = measure(model, *validation)
    return accuracy


def seeds_are_error_bars(train: tuple, validation: tuple) -> None:
    """Compare means over seeds: a difference in one run may be luck.

    The standard error of a mean of n runs is std / sqrt(n). Differences below
    two or three of them are not to be believed.
    """
    wide, narrow, short = torch.zeros(5), torch.zeros(5), torch.zeros(5)
    for seed in range(5):
        wide[seed] = accuracy_of_seed(train, validation, seed, 36, 5)
        narrow[seed] = accuracy_of_seed(train, validation, seed, 32, 5)
        short[seed] = accuracy_of_seed(train, validation, seed, 32, 1)
    error = narrow.std() / math.sqrt(5)
    print("validation accuracy with 5 seeds, 5 epochs")
    print("32 units:", narrow)
    print("36 units:", wide)
    print(f"mean with 32 units: {narrow.mean():.3f} +- {error:.3f}")
    print(f"mean with 36 units: {wide.mean():.3f}, may be luck")
    print(f"after 1 of 5 epochs: {short.mean():.3f}, is worse")
    mean = narrow.sum() / 5
    assert_close(error, ((narrow - mean) ** 2 / 4).sum().sqrt() / 5**0.5)
    assert 0 < error < 0.03
    # By the choice of seeds either width can be made to look better.
    assert wide.max() > narrow.min()
    assert narrow.max() > wide.min()
    assert short.mean() < narrow.mean() - 3 * error


# %%
def inside_a_step_each_layer_is_measured(train: tuple) -> None:
    """Print for each layer dead units, gradient norm, update / weight.

    A unit that is 0 for each image of a batch is dead: its gradient is 0. With
    SGD the ratio is lr * |gradient| / |weight|; about 0.001 is usual. Here half
    of the second layer's 20 units were killed by a bias of -100.
    """
    torch.manual_seed(0)
    images, labels = train
    layers = [nn.Linear(784, 40), nn.Linear(40, 20), nn.Linear(20, 10)]
    model = nn.Sequential(*layers).to(images.device)  # but for the ReLUs
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with torch.no_grad():
        layers[1].bias[:10] = -100  # 0 whatever the image
        layers[1].bias[10:] = 1

    dead, x = [], images.flatten(1)
    for layer in layers[:2]:
        x = layer(x).relu()  # (batch, units)
        dead.append((x == 0).all(dim=0).float().mean().item())
    dead.append(0.0)  # the last layer has no ReLU
    F.cross_entropy(layers[2](x), labels).backward()
    before = copy.deepcopy(layers)
    optimizer.step()

    sizes, ratios = [], []
    print("layer  dead units  gradient norm  update / weight")
    for layer in range(3):
        old, new = before[layer].weight, layers[layer].weight
        sizes.append(new.grad.norm().item())
        ratios.append(((new - old).norm() / old.norm()).item())
        by_hand = 0.05 * sizes[layer] / old.norm().item()
        assert math.isclose(ratios[layer], by_hand, rel_tol=0.01)
        print(f"{layer + 1:5}  {dead[layer]:10.0%}", end="")
        print(f"  {sizes[layer]:13.4f}  {ratios[layer]:15.5f}")
    assert dead[0] < 0.2 and dead[1] == 0.5
    assert layers[1].weight.grad[:10].norm() == 0 < sizes[1]
    assert min(sizes) > 0.001 and 1e-5 < min(ratios) < max(ratios) < 0.1


# %% [markdown]
# ## When the loss does not fall
# First aid, in this order. Each section has a sound model and one with a fault,
# and the step that tells them apart. `small_network` and `measure` are those of
# the chapter before.


# %%
def the_first_loss_is_log_of_the_classes(train: tuple) -> None:
    """Step 1: before training the loss of 10 classes is log(10) = 2.303.

    A model that knows nothing gives each class the probability 1 / 10, and
    -log(1 / 10) = log(10). Another number is a fault: images that were not
    scaled to 0..1, or a last layer that was made for another number of classes.
    """
    torch.manual_seed(0)
    images, labels = train
    model = small_network().to(images.device)
    sound, _ = measure(model, images, labels)
    unscaled, _ = measure(model, 255 * images, labels)
    model[4] = nn.Linear(32, 100).to(images.device)
    many, _ = measure(model, images, labels)

    print(f"log(10):                     {math.log(10):.3f}")
    print(f"first loss, sound:           {sound:.3f}")
    print(f"fault, images in 0..255:     {unscaled:.3f}")
    print(f"fault, 100 outputs, not 10:  {many:.3f}, log(100) = 4.605")
    assert abs(sound - math.log(10)) < 0.2
    assert unscaled > math.log(10) + 0.5
    assert abs(many - math.log(100)) < 0.2


# %%
def learn_by_heart(
    model: nn.Module, images: Tensor, labels: Tensor, shuffle: bool = False
) -> float:
    """Return the loss of the last of 50 steps on one batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for _ in range(50):
        if shuffle:  # a fault: the images stay where they are
            labels = labels[torch.randperm(len(labels)).to(labels.device)]
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model[1].weight.grad is None
    return loss.item()


def one_batch_is_learnt_by_heart(train: tuple) -> None:
    """Step 2: 50 steps on one batch of 32 images bring the loss near 0.

    If not, the loop, the model or the data are wrong: more images or more time
    will not help. With a softmax too many the loss stays above 1.46 (step 6);
    with labels shuffled anew only the share of each class can be learnt.
    """
    torch.manual_seed(0)
    images, labels = train[0][:32], train[1][:32]
    model = small_network(width=64).to(images.device)
    twice = copy.deepcopy(model).append(nn.Softmax(dim=1))  # a fault
    other = copy.deepcopy(model)  # three times the same first weights

    sound = learn_by_heart(model, images, labels)
    softmax = learn_by_heart(twice, images, labels)
    shuffled = learn_by_heart(other, images, labels, shuffle=True)
    print(f"sound:                    loss {sound:.5f} in step 50")
    print(f"fault, softmax twice:     loss {softmax:.5f}")
    print(f"fault, labels shuffled:   loss {shuffled:.5f}")
    assert 0 <= sound < 0.01
    assert 1.46 < softmax < 2.2
    assert 1.5 < shuffled < math.log(10) - 0.02


# %%
def pairs_that_fit(images: Tensor, labels: Tensor) -> float:
    """Return how often the mean image that is nearest has the same label.

    The first half of the images gives a mean image for each class, the second
    half is asked. Where labels belong to other images it is luck: 0.1.
    """
    half = len(labels) // 2
    pixels = images.flatten(1)  # (count, 784)
    classes = F.one_hot(labels[:half], 10).float()  # (half, 10)
    means = classes.T @ pixels[:half] / classes.sum(dim=0)[:, None]  # (10, 784)
    nearest = torch.cdist(pixels[half:], means).argmin(dim=1)
    return (nearest == labels[half:]).float().mean().item()


def look_at_a_batch_as_the_model_gets_it(train: tuple, figures: Path) -> None:
    """Step 3: print shape, type, range and labels, and draw the images.

    Take the batch from the loop, right before `model(images)`. The usual
    faults: scaled twice, the axes swapped, labels of other images.
    """
    torch.manual_seed(0)
    images, labels = train
    twice = images / 255  # a fault: they are in 0..1 already
    order = torch.randperm(len(labels)).to(labels.device)
    moved = labels[order]  # a fault: the images stay where they are

    print("shape", list(images.shape), images.dtype, labels.dtype)
    print("labels", labels[:12].tolist(), "...")
    print(f"largest pixel, sound:                      {images.max():.4f}")
    print(f"largest pixel, fault, divided twice:       {twice.max():.4f}")
    assert images.shape[1:] == (1, 28, 28) and labels.dtype == torch.long
    assert images.min() == 0 and 0.9 < images.max() <= 1
    assert 0.9 / 255 < twice.max() <= 1 / 255
    assert labels.unique().tolist() == list(range(10))

    # Do the labels belong to the images? Numbers for what eyes would see.
    sound = pairs_that_fit(images, labels)
    fault = pairs_that_fit(images, moved)
    print(f"label of the nearest mean image, sound:    {sound:.2f}")
    print(f"label of the nearest mean image, shuffled: {fault:.2f}")
    assert sound > 0.3
    assert fault < 0.2

    figure, panel = plt.subplots(figsize=(8, 1.6))
    row = torch.cat(list(images[:10, 0]), dim=1)  # (28, 280)
    panel.imshow(row.cpu().numpy(), cmap="gray")
    panel.set_title(
        f"sound {labels[:10].tolist()}, fault {moved[:10].tolist()}"
    )
    panel.axis("off")
    save_figure(figure, "optimizer_batch", figures)


# %%
def first_to_last(
    activation: nn.Module, images: Tensor, labels: Tensor
) -> float:
    """Return the first layer's gradient norm over the last's, of seven."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), activation)
    for _ in range(5):
        model.extend([nn.Linear(32, 32), activation])
    model = model.append(nn.Linear(32, 10)).to(images.device)
    F.cross_entropy(model(images), labels).backward()
    gradient = model[1].weight.grad.norm() / model[-1].weight.grad.norm()
    return gradient.item()


def gradient_norms_by_layer_find_the_cut(train: tuple) -> None:
    """Step 4: print each layer's gradient norm; None or almost 0 is a cut.

    A `detach()`, `.data` or `.item()` between two layers gives None to all
    before it. Six sigmoids multiply six slopes of at most 1/4: the gradient
    vanishes on its way to the first layer. ReLU has the slope 1.
    """
    torch.manual_seed(0)
    images, labels = train
    first = nn.Linear(784, 32).to(images.device)
    last = nn.Linear(32, 10).to(images.device)
    hidden = first(images.flatten(1)).relu().detach()  # the fault
    F.cross_entropy(last(hidden), labels).backward()
    print("detach(): first layer", first.weight.grad, end=", ")
    print(f"last layer {last.weight.grad.norm():.4f}")
    assert first.weight.grad is None
    assert last.weight.grad.norm() > 0.001

    # The second fault: nothing is cut, but little arrives.
    sigmoid_ratio = first_to_last(nn.Sigmoid(), images, labels)
    relu_ratio = first_to_last(nn.ReLU(), images, labels)
    print("gradient norm of the first of seven layers / of the last:")
    print(f"six nn.Sigmoid(): {sigmoid_ratio:.6f}")
    print(f"six nn.ReLU():    {relu_ratio:.6f}")
    assert 0 < sigmoid_ratio < 0.001
    assert 0.01 < relu_ratio < 10


# %%
def the_rate_is_tried_in_factors_of_ten(train: tuple) -> None:
    """Step 5: a rate ten or a hundred times off looks like a broken model.

    Short runs are enough: 20 steps each, from the same first weights. With a
    rate far too small the loss stays near log(10) = 2.303; far too large, it
    rises above. Chapter "The rate" has the range test, which is finer.
    """
    images, labels = train
    losses = []
    print("lr       loss in step 20")
    for power in range(-5, 2):
        lr = 10.0**power
        torch.manual_seed(0)
        model = small_network().to(images.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        for _ in range(20):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
        print(f"{lr:<8g} {losses[-1]:.3f}")
    best = losses.index(min(losses))
    print("lowest:  lr", 10.0 ** (best - 5))
    assert 10.0 ** (best - 5) in (0.01, 0.1)
    assert losses[best] < 1
    assert losses[0] > 2.2  # the fault: 1e-5
    assert losses[-1] > 2.4  # the fault: 10


# %%
def a_softmax_before_cross_entropy_keeps_the_loss_up(
    device: torch.device,
) -> None:
    """Step 6: rows that sum to 1 are probabilities; the loss wants logits.

    `cross_entropy` has a softmax of its own. The best that it can get from
    probabilities is one 1 and nine 0: the loss log(e + 9) - 1 = 1.461.
    """
    labels = torch.tensor([2, 0, 1], device=device)
    logits = 50 * F.one_hot(labels, 10).float()  # (3, 10), sure and right
    twice = logits.softmax(dim=1)  # the fault
    # How the step finds it: look at the sums of the rows.
    print("sums of the rows, sound:", logits.sum(dim=1).tolist())
    print("sums of the rows, fault:", twice.sum(dim=1).tolist())
    assert logits.sum(dim=1).tolist() == [50, 50, 50]
    assert_close(twice.sum(dim=1), torch.ones(3, device=device))

    sound = F.cross_entropy(logits, labels).item()
    fault = F.cross_entropy(twice, labels).item()
    print(f"sure and right: loss {sound:.3f}, softmax twice {fault:.3f}")
    assert 0 <= sound < 1e-6
    assert math.isclose(fault, math.log(math.e + 9) - 1, rel_tol=1e-5)


# %%
def the_same_answer_for_every_input_is_found_by_std(train: tuple) -> None:
    """Step 7: `logits.std(dim=0)` near 0 means the input does not count.

    It is the spread of each of the ten logits over the images. Look for dead
    units, which are 0 for each image, and at the range of the input (step 3).
    """
    torch.manual_seed(0)
    images, labels = train
    model = small_network().to(images.device)
    # A fault: the mean and std of 0..255, for images in 0..1.
    shifted = (images - 128) / 64  # each pixel is about -2
    with torch.no_grad():
        sound = model(images).std(dim=0).mean().item()
        scaled = model(shifted).std(dim=0).mean().item()
        model[1].bias.fill_(-100)  # a fault: each hidden unit is dead
        dead = model(images).std(dim=0).mean().item()
    print(f"mean of logits.std(dim=0), sound:   {sound:.6f}")
    print(f"fault, normalized for 0..255:       {scaled:.6f}")
    print(f"fault, all hidden units are dead:   {dead:.6f}")
    assert 0 <= dead < 1e-6
    assert 0 < scaled < sound / 10
    assert -2 <= shifted.min() < shifted.max() < -1.9


# %%
def fit_with_norm(momentum: float, images: Tensor, labels: Tensor) -> nn.Module:
    """Return a network with batch norm after 40 steps on all the images."""
    torch.manual_seed(0)
    model = small_network(width=64)
    model[3] = nn.BatchNorm1d(64, momentum=momentum)
    model.to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


@torch.no_grad()
def loss_in_both_modes(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Return the loss of a copy in train mode, and in eval mode."""
    trained = copy.deepcopy(model).train()  # a forward pass changes it
    in_train = F.cross_entropy(trained(images), labels).item()
    in_eval, _ = measure(model, images, labels)
    return in_train, in_eval


def good_in_train_and_bad_in_eval_is_batch_norm(train: tuple) -> None:
    """Step 8: measure the same images in both modes; they should agree.

    After n steps batch norm's running mean holds 1 - (1 - momentum)^n of the
    data: 99% with momentum 0.1 and n = 40, 4% with 0.001. Cure: more steps,
    or a pass over the data with momentum=None, which takes the plain mean.
    """
    model = fit_with_norm(0.1, *train)
    in_train, in_eval = loss_in_both_modes(model, *train)
    print(f"sound, momentum 0.1:    train {in_train:.3f}, eval {in_eval:.3f}")
    assert in_train < 0.5
    assert in_eval < 1.6 * in_train

    model = fit_with_norm(0.001, *train)  # the fault
    in_train, in_eval = loss_in_both_modes(model, *train)
    print(f"fault, momentum 0.001:  train {in_train:.3f}, eval {in_eval:.3f}")
    assert in_train < 0.5
    assert in_eval > 2.5 * in_train

    # The cure changes no weight, only the running mean and variance.
    model[3].reset_running_stats()
    model[3].momentum = None
    model.train()
    images, _ = train
    with torch.no_grad():
        for batch in images.split(50):
            model(batch)
    assert model[3].num_batches_tracked == len(images) / 50
    in_train, in_eval = loss_in_both_modes(model, *train)
    print(f"cured, momentum None:   train {in_train:.3f}, eval {in_eval:.3f}")
    assert in_eval < 1.2 * in_train


# %% [markdown]
# ## Scaling up
# A larger model, a longer run: 16 bits, threads, the bill in bytes and
# operations before the run starts, compiled graphs, checkpoints, and several
# processes that train one model.


# %%
def bytes_kept(
    model: nn.Module, x: Tensor, y: Tensor, half: torch.dtype, mixed: bool
) -> float:
    """Return the bytes that forward keeps for backward, of each image."""
    kept = []
    # The first function gets each tensor that is kept. The second would give
    # it back in backward, which is not called here.
    hooks = torch.autograd.graph.saved_tensors_hooks(kept.append, id)
    with hooks:
        with torch.autocast(x.device.type, half, enabled=mixed):
            logits = model(x)
        F.cross_entropy(logits.float(), y)
    sizes = {}
    for tensor in kept:
        if tensor.shape[:1] == y.shape:  # not a weight
            # Two layers may keep one tensor: count it once.
            sizes[tensor.data_ptr()] = tensor.nbytes
    return sum(sizes.values()) / len(x)


def autocast_keeps_half_the_activations(
    device: torch.device, half: torch.dtype
) -> None:
    """In 16 bits the activations that backward needs take half the bytes.

    Kept for each image: the 784 inputs of the first layer, the 512 outputs of
    ReLU, which are the inputs of the second, 10 log-probabilities (float32 in
    both) and the label, 8 bytes.
    """
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    model.to(device)
    x = torch.rand(100, 784, device=device)
    y = torch.arange(100, device=device) % 10

    exact = bytes_kept(model, x, y, half, mixed=False)
    print(f"{torch.float32}: {exact:,.0f} bytes an image")
    assert exact == 4 * (784 + 512 + 10) + 8
    rough = bytes_kept(model, x, y, half, mixed=True)
    print(f"{half}: {rough:,.0f} bytes an image")
    assert rough == 2 * (784 + 512) + 4 * 10 + 8
    assert 0.50 < rough / exact < 0.51


# %%
def train_in(
    dtype: torch.dtype, images: Tensor, labels: Tensor, steps: int
) -> tuple[float, float]:
    """Return the mean loss of the last 10 steps, and milliseconds a step."""
    torch.manual_seed(0)  # the same weights and batches for each type
    device = images.device
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)
    ).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    mixed = dtype != torch.float32
    # float16 needs a scaler; bfloat16 reaches as far down as float32.
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    batches = torch.randint(len(labels), (5 + steps, 64)).to(device)

    losses = []
    for step, batch in enumerate(batches):
        if step == 5:  # the first steps are slower: they do not count
            losses[-1].item()  # wait until a GPU has done them
            start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=mixed):
            logits = model(images[batch])
        assert logits.dtype == dtype
        loss = F.cross_entropy(logits.float(), labels[batch])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())  # `.item()` would wait at every step
    mean = torch.stack(losses[-10:]).mean().item()  # waits, too
    seconds = time.perf_counter() - start
    assert model[1].weight.dtype == torch.float32
    return mean, 1000 * seconds / steps


def autocast_trains_to_the_same_loss(
    digits: tuple[Tensor, Tensor], half: torch.dtype, *, steps: int = 100
) -> None:
    """`autocast` trains to the same loss; whether it is faster, measure.

    The time is a matter of the device: on one server bfloat16 trained 1.7
    times as fast, on a CPU without its instructions 15 times as slow. A small
    model like this one gains least.
    """
    images, labels = digits
    exact, slow = train_in(torch.float32, images, labels, steps)
    rough, fast = train_in(half, images, labels, steps)
    guessing = math.log(10)  # the loss of ten equal probabilities
    print(f"guessing:        loss {guessing:.4f}")
    print(f"{torch.float32}:   loss {exact:.4f}, {slow:.2f} ms a step")
    print(f"{half}:  loss {rough:.4f}, {fast:.2f} ms a step")
    assert exact < 0.6 * guessing
    assert math.isclose(rough, exact, rel_tol=0.05, abs_tol=0.02)
    assert slow > 0 and fast > 0


# %%
def time_products(matrix: Tensor) -> float:
    """Return the milliseconds of 20 products."""
    matrix @ matrix  # the first call is slower: it does not count
    start = time.perf_counter()
    for _ in range(20):
        matrix @ matrix
    return 1000 * (time.perf_counter() - start)


def set_num_threads_is_measured_not_guessed() -> None:
    """`set_num_threads`: measure 1 and 2, and keep what is faster here.

    On a shared machine two threads can be slower than one: each waits until the
    other gets a core. Before Python starts, `OMP_NUM_THREADS=1` sets it to 1.
    """
    matrix = torch.eye(200) + 0.1
    before = torch.get_num_threads()
    print(f"cores: {os.cpu_count()}, threads of torch: {before}")

    torch.set_num_threads(1)
    assert torch.get_num_threads() == 1
    one = time_products(matrix)
    print(f"1 thread:  {one:.0f} ms")
    torch.set_num_threads(2)
    assert torch.get_num_threads() == 2
    two = time_products(matrix)
    print(f"2 threads: {two:.0f} ms")
    assert one > 0 and two > 0
    faster = 1 if one < two else 2
    print(f"20 products; faster here: torch.set_num_threads({faster})")
    torch.set_num_threads(before)
    assert torch.get_num_threads() == before


# %%
def adamw_takes_16_bytes_a_parameter(device: torch.device) -> None:
    """Weight, gradient, `exp_avg`, `exp_avg_sq`: 4 bytes each in float32.

    `exp_avg` is the mean of the gradients, `exp_avg_sq` that of their squares.
    Activations come on top. A model on the device "meta" takes no memory: so
    the bill of a large one can be written before the run.
    """
    model = nn.Linear(20, 30).to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(5, 20, device=device)).sum().backward()
    optimizer.step()  # the first step makes the two means
    taken = 0
    for w in model.parameters():
        state = optimizer.state[w]
        taken += w.nbytes + w.grad.nbytes
        taken += state["exp_avg"].nbytes + state["exp_avg_sq"].nbytes
        # What else there is, is one number for a whole tensor.
        assert sorted(state) == ["exp_avg", "exp_avg_sq", "step"]
    parameters = 20 * 30 + 30
    print(f"parameters: {parameters}, bytes in AdamW: {taken:,}")
    assert taken == 16 * parameters

    with torch.device("meta"):
        large = nn.Linear(40_000, 25_000)
    count = large.weight.numel() + large.bias.numel()
    print(f"parameters: {count:,}, AdamW will take {16 * count / 1e9:.1f} GB")
    assert large.weight.is_meta
    assert count == 40_000 * 25_000 + 25_000


# %%
def flop_counter_mode_counts_the_operations_of_a_step(
    device: torch.device,
) -> None:
    """A step takes 6 operations for each weight and sample, or a bit less.

    Forward: a product and a sum, 2. Backward: 2 for the gradient of the
    weight, 2 for that of the input, which the first layer does not need.
    Operations of all steps, divided by those that the device does in a
    second, are the seconds of a run.
    """
    layers = [nn.Linear(64, 512), nn.Linear(512, 512), nn.Linear(512, 10)]
    model = nn.Sequential(*layers).to(device)
    x = torch.rand(32, 64, device=device)
    with FlopCounterMode(display=False) as forward:
        loss = model(x).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    first = 64 * 512
    others = 512 * 512 + 512 * 10
    print(f"weights: {first:,} in the first layer, {others:,} in the others")
    print(f"forward, 32 samples:  {forward.get_total_flops():11,} operations")
    print(f"backward:             {backward.get_total_flops():11,} operations")
    assert forward.get_total_flops() == 32 * 2 * (first + others)
    assert backward.get_total_flops() == 32 * (2 * first + 4 * others)

    total = forward.get_total_flops() + backward.get_total_flops()
    ratio = total / 32 / (first + others)
    print(f"a step: {ratio:.2f} operations for each weight and sample")
    assert 5.7 < ratio < 6


# %%
class GraphCounter:
    """A backend for `torch.compile` that counts graphs and compiles nothing."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list) -> Callable:
        """Take a graph that was recorded; return what shall run it."""
        self.graphs += 1
        return graph.forward


def double_and_cut(x: Tensor) -> Tensor:
    """Return 2 x, and 0 where that is negative."""
    return (2 * x).relu()


def torch_compile_compiles_again_for_a_new_size() -> None:
    """A new size is compiled again, unless the size is left open.

    At the second size torch leaves the size open by itself; `dynamic=False`
    forbids it. A backend that counts needs no C++ compiler. On the CPU.
    """
    torch.compiler.reset()  # forget what other sections compiled
    counter = GraphCounter()
    compiled = torch.compile(double_and_cut, backend=counter)
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    assert compiled(-torch.ones(3)).tolist() == [0, 0, 0]
    print("size 3, twice:          graphs", counter.graphs)
    assert counter.graphs == 1
    compiled(torch.ones(5))
    print("size 5:                 graphs", counter.graphs)
    assert counter.graphs == 2
    assert compiled(torch.ones(9)).tolist() == [2] * 9
    print("size 9:                 graphs", counter.graphs)
    assert counter.graphs == 2

    torch.compiler.reset()
    counter = GraphCounter()
    fixed = torch.compile(double_and_cut, backend=counter, dynamic=False)
    fixed(torch.ones(3))
    fixed(torch.ones(5))
    assert fixed(torch.ones(7)).tolist() == [2] * 7
    print("dynamic=False, 3, 5, 7: graphs", counter.graphs)
    assert counter.graphs == 3


# %%
def branch_on_data(x: Tensor) -> Tensor:
    """Return 2 x + 1 where the sum of x is positive, else 2 x - 1, by `if`."""
    y = 2 * x
    if x.sum() > 0:
        return y + 1
    return y - 1


def select_on_data(x: Tensor) -> Tensor:
    """Return the same; `torch.where` decides."""
    y = 2 * x
    return torch.where(x.sum() > 0, y + 1, y - 1)


def a_branch_on_data_breaks_the_graph() -> None:
    """An `if` on a tensor cuts the graph; `fullgraph=True` says so.

    Each piece is compiled alone, with Python in between: one graph up to the
    `if`, one after it. `torch._dynamo.explain` counts them. The backend
    "eager" needs no C++ compiler. On the CPU.
    """
    x = torch.tensor([3.0, -1.0])
    torch.compiler.reset()
    found = torch._dynamo.explain(branch_on_data)(x)
    print("if x.sum() > 0: graphs", found.graph_count, end=", ")
    print("breaks", found.graph_break_count)
    assert found.graph_count == 2 and found.graph_break_count == 1

    branch = torch.compile(branch_on_data, backend="eager", fullgraph=True)
    select = torch.compile(select_on_data, backend="eager", fullgraph=True)
    print("the same with fullgraph=True")
    with caught(RuntimeError, "Data-dependent branching"):
        branch(x)
    y = select(x)  # right: torch.where(x.sum() > 0, y + 1, y - 1)
    assert y.tolist() == [7, -1]
    assert select(-x).tolist() == [-7, 1]


# %%
def model_compile_keeps_results_and_names(device: torch.device) -> None:
    """`model.compile()` keeps results, and in `state_dict()` the names.

    So a checkpoint fits both. `torch.compile(model)` puts `_orig_mod.` before
    each name. The backend "eager" needs no C++ compiler; the usual one does.
    """
    torch.compiler.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    model.to(device)
    x = torch.rand(32, 64, device=device)
    with torch.no_grad():
        expected = model(x)
        wrapped = torch.compile(model, backend="eager")
        model.compile(backend="eager")
        result = model(x)
    print("model.compile():      ", list(model.state_dict())[0])
    print("torch.compile(model): ", list(wrapped.state_dict())[0])
    assert list(model.state_dict())[0] == "0.weight"
    assert list(wrapped.state_dict())[0] == "_orig_mod.0.weight"
    print(f"largest difference:    {(result - expected).abs().max():.6f}")
    assert_close(result, expected)


# %%
def new_run() -> tuple:
    """Return a model with dropout, its optimizer and its scheduler."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    return model, optimizer, scheduler


def train_for(epochs: int, model, optimizer, scheduler) -> None:
    """Train for so many epochs of 5 steps."""
    x = torch.linspace(-1, 1, 512).view(64, 8)
    for _ in range(epochs):
        for _ in range(5):
            optimizer.zero_grad()
            F.mse_loss(model(x), x[:, :1]).backward()
            optimizer.step()
        scheduler.step()


def resume(path: Path, leave_out: str = "") -> Tensor:
    """Begin anew, load the file, end the run; return the first weight."""
    # Read each time: an optimizer goes on with the very tensors that it loads.
    state = torch.load(path, weights_only=True)
    model, optimizer, scheduler = new_run()
    if leave_out != "model":
        model.load_state_dict(state["model"])
    if leave_out != "optimizer":
        optimizer.load_state_dict(state["optimizer"])
    if leave_out != "scheduler":
        scheduler.load_state_dict(state["scheduler"])
    if leave_out != "random":  # last: a new model draws its weights before
        torch.set_rng_state(state["random"])
    train_for(4 - state["epoch"], model, optimizer, scheduler)
    return model[0].weight.detach()


def a_checkpoint_resumes_bit_for_bit() -> None:
    """Two epochs, a crash, two more: the weights of four in a row, exactly.

    The file holds model, optimizer, scheduler, random state and epoch. Four
    of them are left out in turn, and the weights differ. On the CPU; a GPU has
    a random state of its own, `torch.cuda.get_rng_state()`.
    """
    model, optimizer, scheduler = new_run()
    train_for(4, model, optimizer, scheduler)
    straight = model[0].weight.detach()

    model, optimizer, scheduler = new_run()
    train_for(2, model, optimizer, scheduler)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "random": torch.get_rng_state(),
        "epoch": 2,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        torch.save(state, path)
        off = (resume(path) - straight).abs().max()
        print(f"all loaded:         a weight is off by {off:.4f}")
        assert off == 0
        for part in ("model", "optimizer", "scheduler", "random"):
            off = (resume(path, leave_out=part) - straight).abs().max()
            print(f"{part:9} left out: a weight is off by {off:.4f}")
            assert off > 0.001


# %%
def train_on_share(rank: int, count: int, how: str) -> Tensor:
    """Take 10 steps on a share of each batch; return all weights."""
    torch.manual_seed(0)  # the same data, weights and order everywhere
    x = torch.randn(64, 8)
    y = torch.randn(64, 1)
    model = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1))
    forward = model
    if how == "DDP":  # averages gradients within backward
        forward = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(10):
        batch = torch.randperm(64)[:32]
        share = batch[rank::count]
        optimizer.zero_grad()
        F.mse_loss(forward(x[share]), y[share]).backward()
        if how == "all_reduce":
            for w in model.parameters():
                dist.all_reduce(w.grad)  # the sum, now in each process
                w.grad /= count
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def join_and_train(rank: int, count: int, folder: str) -> None:
    """What each process does: meet the others, train, write its weights."""
    dist.init_process_group(
        "gloo",  # between CPUs; between CUDA devices it is "nccl"
        store=dist.FileStore(os.path.join(folder, "meeting"), count),
        rank=rank,
        world_size=count,
        timeout=timedelta(minutes=1),
    )
    weights = {}
    for how in ("nothing", "all_reduce", "DDP"):
        weights[how] = train_on_share(rank, count, how)
    torch.save(weights, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def gloo_starts() -> bool:
    """Return whether this machine lets processes talk through gloo."""
    try:
        dist.init_process_group(
            "gloo", store=dist.HashStore(), rank=0, world_size=1
        )
    except RuntimeError:  # such as a container without a loopback interface
        return False
    dist.destroy_process_group()
    return True


def processes_average_their_gradients(*, processes: int = 2) -> None:
    """`DistributedDataParallel`: several processes train as one would.

    Each takes its share of the batch and averages the gradients with the
    others: so equal weights stay equal. Each is a Python of its own, on the
    CPU, and takes seconds to start; `processes` has to divide the batch, 32.
    With --tiny, and in a notebook, whose functions they cannot import, there
    is one process, which has nothing to average.
    """
    if not dist.is_available() or not gloo_starts():
        print("gloo cannot start here: no processes, the lesson goes on")
        return
    with tempfile.TemporaryDirectory() as folder:
        if processes == 1:  # nothing to start
            join_and_train(0, 1, folder)
        else:
            torch.multiprocessing.spawn(
                join_and_train, (processes, folder), nprocs=processes
            )
        first = torch.load(Path(folder, "0.pt"), weights_only=True)
        last = Path(folder, f"{processes - 1}.pt")
        last = torch.load(last, weights_only=True)
    one = train_on_share(0, 1, "nothing")  # whole batches, one process
    print(f"processes: {processes}, the largest difference of a weight")
    print("averaged by   between processes   to one process")
    for how in ("nothing", "all_reduce", "DDP"):
        between = (first[how] - last[how]).abs().max().item()
        off = (first[how] - one).abs().max().item()
        print(f"{how:10}  {between:18.6f}  {off:15.6f}")
        if processes == 1 or how != "nothing":
            assert between == 0  # equal to the last bit
            assert off < 1e-5  # the same sum, added in another order
        else:
            assert between > 0.01
            assert off > 0.01


# %% [markdown]
# ## Mistakes
# Those that torch reports, with the line that makes them, the message and the
# line that is right; then those that give a wrong number without a word.


# %%
def mistakes_give_an_optimizer_no_weights(device: torch.device) -> None:
    """An optimizer takes leaf tensors, one at least; a generator runs out."""
    model = nn.Linear(2, 1, bias=False).to(device)
    nn.init.ones_(model.weight)
    weights = model.parameters()  # a generator: it can be read once
    count = sum(w.numel() for w in weights)
    assert count == 2
    with caught(ValueError, "optimizer got an empty parameter list"):
        torch.optim.SGD(weights, lr=0.1)
    torch.optim.SGD(model.parameters(), lr=0.1)  # right: a new one

    w = torch.ones(2, requires_grad=True, device=device)
    with caught(ValueError, "can't optimize a non-leaf Tensor"):
        torch.optim.SGD([0.1 * w], lr=0.1)
    optimizer = torch.optim.SGD([w], lr=0.1)  # right: w is a leaf
    w.sum().backward()  # the gradient is 1
    optimizer.step()
    assert_close(w.detach(), torch.full_like(w.detach(), 0.9))


# %%
def mistakes_call_a_scheduler() -> None:
    """A scheduler steps after the optimizer; one of them takes the loss."""
    w = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    with caught(UserWarning, "`lr_scheduler.step()` before `optimizer.step()`"):
        scheduler.step()
    optimizer.step()  # right: then scheduler.step()

    optimizer = torch.optim.SGD([w], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=0
    )
    with caught(TypeError, "metrics"):
        scheduler.step()
    scheduler.step(0.7)  # right: the validation loss of the epoch
    assert optimizer.param_groups[0]["lr"] == 0.1
    scheduler.step(0.8)
    assert optimizer.param_groups[0]["lr"] == 0.05


# %%
def mistakes_save_or_load_a_model() -> None:
    """A `state_dict()` goes into the file, and from it into a new model.

    `torch.load` reads tensors and numbers, no classes. `load_state_dict`
    changes the model and returns a report.
    """
    torch.manual_seed(0)
    x = torch.ones(1, 2)
    trained = nn.Linear(2, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.pt")
        torch.save(trained, path)
        with caught(pickle.UnpicklingError, "Weights only load failed"):
            torch.load(path, weights_only=True)
        torch.save(trained.state_dict(), path)  # right: tensors and names
        state = torch.load(path, weights_only=True)

    model = nn.Linear(2, 1)
    assert not torch.equal(model(x), trained(x))
    with caught(TypeError, "'_IncompatibleKeys' object is not callable"):
        model.load_state_dict(state)(x)
    model(x)  # right: the model has the weights now
    assert torch.equal(model(x), trained(x))


# %%
def mistake_clip_grad_norm_after_the_step(device: torch.device) -> None:
    """Gradients clipped after `step` have done their harm already.

    loss = 100 w: the gradient is 100, clipped 1. From w = 0 a step of 0.1
    leads to -10 or to -0.1.
    """
    w = torch.tensor(0.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([w], lr=0.1)
    (100 * w).backward()
    optimizer.step()
    nn.utils.clip_grad_norm_([w], max_norm=1.0)
    print(f"backward, step, clip:        w = {w:6.1f}, w.grad = {w.grad:.1f}")
    assert_close(w.detach(), torch.full_like(w.detach(), -10))
    assert_close(w.grad, torch.ones_like(w.grad))

    w = torch.tensor(0.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([w], lr=0.1)
    (100 * w).backward()
    nn.utils.clip_grad_norm_([w], max_norm=1.0)
    optimizer.step()
    print(f"right: backward, clip, step: w = {w:6.1f}, w.grad = {w.grad:.1f}")
    assert_close(w.detach(), torch.full_like(w.detach(), -0.1))


# %%
def mistake_accuracy_of_a_column(device: torch.device) -> None:
    """(4, 1) == (4,) compares each guess with every label.

    It broadcasts to (4, 4). Of four guesses three are right; counted are the
    pairs: three guesses of 1 with two labels of 1, one of 0 with two of 0: 8.
    """
    guesses = torch.tensor([[1], [1], [0], [1]], device=device)  # (4, 1)
    labels = torch.tensor([1, 1, 0, 0], device=device)  # (4,)
    print("guesses", guesses.tolist(), "labels", labels.tolist())
    right = (guesses == labels).sum().item()
    print(f"guesses == labels:                   {right} of 4 right")
    assert right == 3 * 2 + 1 * 2
    right = (guesses.squeeze(1) == labels).sum().item()
    print(f"right: guesses.squeeze(1) == labels: {right} of 4 right")
    assert right == 3


# %%
def mistake_argmax_over_the_batch(device: torch.device) -> None:
    """`argmax(dim=0)` finds a sample for each class; a class is `dim=1`.

    It goes unnoticed if a batch has as many samples as there are classes.
    """
    logits = torch.tensor([[9.0, 1, 0], [0, 9, 1], [0, 8, 2]], device=device)
    labels = torch.tensor([0, 1, 1], device=device)
    print("logits", logits.int().tolist(), "labels", labels.tolist())
    wrong = logits.argmax(dim=0)
    print("logits.argmax(dim=0):       ", wrong.tolist(), end=", ")
    print((wrong == labels).sum().item(), "of 3 right")
    assert wrong.tolist() == [0, 1, 2]
    assert (wrong == labels).sum() == 2

    guesses = logits.argmax(dim=1)
    print("right: logits.argmax(dim=1):", guesses.tolist(), end=", ")
    print((guesses == labels).sum().item(), "of 3 right")
    assert guesses.tolist() == [0, 1, 1]
    assert (guesses == labels).sum() == 3


# %%
def mistake_an_optimizer_made_before_the_new_head() -> None:
    """An optimizer holds tensors, not the model: a new layer is not in it.

    loss = the sum of the outputs: the gradient of a bias is 1, a step 0.1.
    """
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[1] = nn.Linear(3, 2)  # a new head, for two classes
    nn.init.zeros_(model[1].bias)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    print(f"optimizer, then the head:        bias {model[1].bias[0]:.1f}")
    assert model[1].bias.tolist() == [0, 0]

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.zero_grad()  # the old optimizer does not know the head either
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    print(f"right: the head, then optimizer: bias {model[1].bias[0]:.1f}")
    assert_close(model[1].bias.detach(), torch.full((2,), -0.1))


# %% [markdown]
# ## The whole run
# A training loop to copy: it trains, validates, keeps the best epoch and stops
# early; mixed precision, checkpoints and processes are a few lines of it each.
# The last section is the whole run, also on images of your own.


# %%
class MLP(nn.Sequential):
    """Pixels to logits through two hidden layers: 784-512-512-10."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10):
        super().__init__(
            nn.Flatten(),  # (batch, 784)
            nn.Linear(channels * size * size, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, classes),  # (batch, 10), logits
        )


class CNN(nn.Sequential):
    """Three convolutions, each with batch norm and ReLU, then one Linear."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10):
        side = (size + 1) // 2 // 2 // 2  # pixels: 28, 14, 7, 3
        # Stride 2 leaves a quarter of the pixels for all that follows.
        super().__init__(
            nn.Conv2d(channels, 16, 5, stride=2, padding=2, bias=False),
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
            nn.Linear(64 * side * side, classes),  # (batch, 10), logits
        )


@torch.no_grad()
def evaluate(
    model: nn.Module, images: Tensor, labels: Tensor, half=None
) -> tuple[float, float, Tensor]:
    """Return the mean loss, the accuracy, and the logits (count, classes)."""
    model.eval()
    with torch.autocast(images.device.type, half, enabled=half is not None):
        parts = [model(part) for part in images.split(1000)]
    logits = torch.cat(parts).float()  # all of them: no mean of means
    loss = F.cross_entropy(logits, labels).item()
    accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
    return loss, accuracy, logits


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    images: Tensor,
    labels: Tensor,
    validation: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch_size: int = 128,
    patience: int | None = None,
    augment: Callable[[Tensor], Tensor] = torch.clone,  # changes nothing
    seed: int = 0,
    half: torch.dtype | None = None,
    checkpoint: Path | None = None,
    about: dict | None = None,
    rank: int = 0,
    processes: int = 1,
) -> tuple[list, dict]:
    """Train `model`, and leave it with the weights of its best epoch.

    All images stand on the device as one tensor, and a batch is indexed from
    it; a smaller last batch is left out, if there is another. `scheduler` moves
    once a batch. `half` is the 16-bit type. `checkpoint` is written after each
    epoch, `about` with it; where it exists, the run goes on. Of `processes`,
    each takes its share of a batch; `model` is then DistributedDataParallel.
    Returns [loss, validation loss, accuracy] of each epoch, and the best.
    """
    device, steps = images.device, max(1, len(labels) // batch_size)
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
    bare = getattr(model, "module", model)  # what DistributedDataParallel wraps
    parts = [bare, optimizer, scheduler, scaler]
    history, best = [], {"epoch": 0, "loss": math.inf}
    if checkpoint and checkpoint.exists():
        history, best = load_checkpoint(checkpoint, parts, about)
    for epoch in range(len(history) + 1, epochs + 1):
        if patience and epoch > best["epoch"] + patience:
            break  # early stopping
        start, losses = time.perf_counter(), torch.zeros(steps, device=device)
        torch.manual_seed(seed + 1000 * epoch)  # so a resumed run draws alike
        model.train()
        order = torch.randperm(len(labels))[: steps * batch_size].to(device)
        for step, batch in enumerate(order.split(batch_size)):
            inputs = augment(images[batch])[rank::processes]
            targets = labels[batch][rank::processes]
            # The forward pass and the loss, nothing else.
            with torch.autocast(device.type, half, enabled=half is not None):
                loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
            losses[step] = loss.detach()  # `.item()` would wait for the GPU
        if processes > 1:
            dist.all_reduce(losses)  # the sum of all shares
        loss = losses.mean().item() / processes
        validation_loss, accuracy, _ = evaluate(model, *validation, half)
        if not math.isfinite(loss + validation_loss):
            at = losses.isfinite().sum().item() + 1
            raise SystemExit(f"epoch {epoch}, step {at}: loss {loss}, lower lr")
        history.append([loss, validation_loss, accuracy])
        if validation_loss < best["loss"]:
            best = {"epoch": epoch, "loss": validation_loss}
            best["weights"] = copy.deepcopy(bare.state_dict())
        left = (epochs - epoch) * (time.perf_counter() - start)
        print(f"epoch {epoch:2}: loss {loss:.4f}, validation loss", end=" ")
        print(f"{validation_loss:.4f}, {accuracy:.2%} right, {left:.0f} s left")
        if checkpoint and rank == 0:
            save_checkpoint(checkpoint, parts, history, best, about)
    bare.load_state_dict(best["weights"])
    return history, best


def train_stops_early_and_keeps_the_best_epoch(
    few: tuple, validation: tuple, half: torch.dtype | None
) -> None:
    """`train` stops early, with the weights of the lowest validation loss.

    1,000 images are few: the network soon overfits. From then on the training
    loss goes on falling, and the validation loss rises.
    """
    torch.manual_seed(0)
    model = small_network(width=128)
    model[3] = nn.BatchNorm1d(128)
    model.to(few[0].device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    history, best = train(
        model,
        optimizer,
        scheduler,
        *few,
        validation,
        epochs=30,
        batch_size=100,
        patience=2,
        half=half,
    )
    print(f"of 30 epochs {len(history)} ran, epoch {best['epoch']} is kept")
    losses, validation_losses, accuracies = torch.tensor(history).unbind(dim=1)
    lowest = validation_losses.argmin()  # from 0; epochs count from 1
    assert best["epoch"] == lowest + 1
    assert 1 < best["epoch"] == len(history) - 2
    assert losses[-1] < 0.3 * losses[0] and 1 < losses[0] < math.log(10)
    assert accuracies[lowest] > accuracies[0] > 0.1  # a guess: 0.1
    # Measured again: these are the weights of that epoch, not of the last.
    restored, _, _ = evaluate(model, *validation, half)
    print(f"its validation loss: {best['loss']:.4f}, now: {restored:.4f}")
    assert math.isclose(restored, best["loss"], rel_tol=1e-3)
    assert best["loss"] < validation_losses[-1]
    # Batch norm counts its batches, in train mode alone: 10 in each epoch.
    assert model[3].num_batches_tracked == 10 * best["epoch"]


# %%
def save_noise(path: Path, colour: tuple, width: int, height: int) -> None:
    """Save a PNG of that size: grey noise, mixed with a colour."""
    noise = torch.rand(height, width, 1)
    pixels = 255 * (0.5 * noise + 0.5 * torch.tensor(colour))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.byte().numpy()).save(path)


def three_classes(folder: Path) -> None:
    """Save 20 images of grass, 20 of sky and 4 of sand, of three sizes."""
    for number in range(20):
        save_noise(folder / f"grass/{number}.png", (0.2, 0.9, 0.2), 40, 24)
        save_noise(folder / f"sky/{number}.png", (0.2, 0.5, 1.0), 24, 36)
    for number in range(4):
        save_noise(folder / f"sand/{number}.png", (1.0, 0.8, 0.3), 32, 32)


def an_image_folder_is_split_within_each_class() -> None:
    """`--images` reads a folder for each class, and splits it by class.

    The middle square of an image of any size is resized. A tenth of each class,
    but at least one image, is for validation, as many are for the test.
    """
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        three_classes(folder)
        data, classes = image_folder(folder, size=16)
        # Black, but white in the upper half of the middle square and beside it.
        wide = Image.new("RGB", (90, 30))
        wide.paste("white", (25, 0, 65, 15))
        wide.save(folder / "wide.png")
        middle = read_square(folder / "wide.png", size=16)
    images, labels = data["train"]
    print("classes", classes)
    print("images to train on:", tuple(images.shape))
    assert classes == ["grass", "sand", "sky"]  # by the alphabet
    assert images.shape == (16 + 2 + 16, 3, 16, 16)
    assert middle.shape == (3, 16, 16)
    assert (middle[:, :6] == 1).all() and (middle[:, 10:] == 0).all()

    counts = labels.bincount().tolist()
    validation_counts = data["validation"][1].bincount().tolist()
    test_counts = data["test"][1].bincount().tolist()
    print("of each class", counts, "to train,", validation_counts, end=" ")
    print("to validate,", test_counts, "to test")
    assert counts == [16, 2, 16]
    assert validation_counts == test_counts == [2, 1, 2]
    # Labels and images belong together: grass is green, sand is red most.
    assert images[labels == 0].mean(dim=(0, 2, 3)).argmax() == 1
    assert images[labels == 1].mean(dim=(0, 2, 3)).argmax() == 0
    assert images[labels == 2].mean(dim=(0, 2, 3)).argmax() == 2
    assert 0 <= images.min() < images.max() <= 1
    # No image is in two of the sets.
    every = torch.cat([images, data["validation"][0], data["test"][0]])
    assert len(every.unique(dim=0)) == 20 + 20 + 4


# %%
def save_whole(state: dict, path: Path) -> None:
    """Write `state` to `path`, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # from here on it is on the disk
        os.replace(partial, path)  # at once: there is the old file, or the new
    finally:
        partial.unlink(missing_ok=True)  # it is there if the save failed


def os_replace_keeps_the_last_good_checkpoint() -> None:
    """A write that fails half-way must not touch the last good file.

    Write beside it, then `os.replace`, which happens at once or not at all.
    `torch.save(state, path)` empties the old file before it writes. Here it
    fails at `parameters()`, a generator, which cannot be saved; a full disk or
    a killed process leaves such a file, too.
    """
    old = {"w": torch.ones(3)}
    new = {"w": torch.zeros(3), "model": nn.Linear(3, 2).parameters()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint.pt")
        save_whole(old, path)
        with contextlib.suppress(TypeError):
            save_whole(new, path)
        left = torch.load(path, weights_only=True)
        print("failed, written beside: w =", left["w"].tolist(), "is left")
        assert torch.equal(left["w"], old["w"])
        assert os.listdir(folder) == ["checkpoint.pt"]

        with contextlib.suppress(TypeError):
            torch.save(new, path)
        print("failed, written over it: bytes left", path.stat().st_size)
        new["model"] = nn.Linear(3, 2).state_dict()
        with caught(RuntimeError, "PytorchStreamReader failed"):
            torch.load(path, weights_only=True)
        save_whole(new, path)  # right: beside it, then os.replace
        left = torch.load(path, weights_only=True)
        assert torch.equal(left["w"], new["w"])


# %%
def read_checkpoint(path: Path, about: dict | None = None) -> dict:
    """Return the dict in the file, made with the same `about`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one line of our own is enough
            # weights_only: tensors and numbers are read, no code is run.
            saved = torch.load(path, map_location="cpu", weights_only=True)
        for name in about or {}:
            if saved[name] != about[name]:
                reason = f"made with {name} {saved[name]}"
                raise SystemExit(f"--checkpoint {path}: {reason}")
        return saved
    except OSError as error:
        raise SystemExit(f"--checkpoint {path}: {error.strerror}") from None
    except Exception:  # a damaged file can raise anything
        reason = "not a checkpoint of this run, or a damaged one"
        raise SystemExit(f"--checkpoint {path}: {reason}") from None


def save_checkpoint(
    path: Path, parts: list, history: list, best: dict, about: dict | None
) -> None:
    """Write all that a run needs to go on."""
    model, optimizer, scheduler, scaler = parts
    state = {
        "model": best["weights"],  # of the best epoch, to use
        "last": model.state_dict(),  # to go on with
        "optimizer": optimizer.state_dict(),
        "schedule": scheduler.state_dict(),
        "scaler": scaler.state_dict(),
        "history": history,
        "best": best,
        **(about or {}),
    }
    try:
        save_whole(state, path)
    except (OSError, RuntimeError) as error:
        # After a full disk, or Ctrl-C, torch raises an error of its own.
        first = error.__context__ or error
        if isinstance(first, KeyboardInterrupt):
            raise first from None
        reason = getattr(first, "strerror", error)
        raise SystemExit(f"--checkpoint {path}: {reason}") from None


def load_checkpoint(
    path: Path, parts: list, about: dict | None
) -> tuple[list, dict]:
    """Put the states back into `parts`; return history and best epoch."""
    saved = read_checkpoint(path, about)
    model, optimizer, scheduler, scaler = parts
    try:
        model.load_state_dict(saved["last"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["schedule"])
        scaler.load_state_dict(saved["scaler"])
    except Exception:  # other names, shapes or types
        reason = "not a checkpoint of this run"
        raise SystemExit(f"--checkpoint {path}: {reason}") from None
    print("resumed after epoch", len(saved["history"]))
    return saved["history"], saved["best"]


def train_on_colours(
    data: dict, epochs: int, path: Path, about: dict
) -> Tensor:
    """Train up to that epoch, from where the file ends; return the history."""
    torch.manual_seed(0)
    images, labels = data["train"]
    model = CNN(channels=3, size=16, classes=3).to(images.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = OneCycleLR(optimizer, 0.01, 2 * 17)  # 2 epochs of 17 steps
    history, _ = train(
        model,
        optimizer,
        scheduler,
        images,
        labels,
        data["validation"],
        epochs=epochs,
        batch_size=2,
        checkpoint=path,
        about=about,
    )
    return torch.tensor(history)  # (epochs, 3)


def a_checkpoint_predicts_the_class_of_new_images(device: torch.device) -> None:
    """`--predict` names new images with what the checkpoint holds.

    That is the weights; what has to be done to an image before: its size and
    its channels; and the names of the classes. A run that stopped after the
    first of 2 epochs goes on from its checkpoint as if it had not stopped.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        three_classes(folder / "train")
        data, classes = image_folder(folder / "train", 16, device=device)
        about = {"--model": "cnn", "classes": classes, "channels": 3}
        about["size"] = 16
        print("2 epochs without a stop")
        whole = train_on_colours(data, 2, folder / "whole.pt", about)
        print("1 epoch, and from its checkpoint the second one")
        path = folder / "run.pt"
        first = train_on_colours(data, 1, path, about)
        resumed = train_on_colours(data, 2, path, about)

        # Two that it has not seen, of other sizes.
        files = [folder / "new/lawn.png", folder / "new/noon.png"]
        save_noise(files[0], (0.2, 0.9, 0.2), 50, 70)
        save_noise(files[1], (0.2, 0.5, 1.0), 30, 20)
        assert predict(files, path, device) == ["grass", "sky"]
        saved = read_checkpoint(path)
    assert_close(first, whole[:1], rtol=0.01, atol=0.001)
    assert_close(resumed, whole, rtol=0.01, atol=0.001)
    assert saved["schedule"]["last_epoch"] == 2 * 17


# %%
def draw_report(
    history: list, images: Tensor, labels: Tensor, logits: Tensor, classes: list
) -> Figure:
    """Return a figure: losses, a table of guesses, the most wrong images."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    left, middle, right = axes
    losses, validation_losses, _ = torch.tensor(history).unbind(dim=1)
    epochs = range(1, len(history) + 1)
    left.plot(epochs, losses, "o-", label="training")
    left.plot(epochs, validation_losses, "o-", label="validation")
    left.set(title="loss", xlabel="epoch")
    left.locator_params(axis="x", integer=True)
    left.legend()

    # Truth 3, guess 5 is the pair 35; all pairs counted, they make a table.
    guesses, count = logits.argmax(dim=1), len(classes)
    pairs = (count * labels + guesses).cpu()
    table = pairs.bincount(minlength=count * count).view(count, count)
    assert table.trace() == (guesses == labels).sum()
    assert torch.equal(table.sum(dim=1), labels.bincount(minlength=count).cpu())
    middle.imshow(table.log1p().numpy(), cmap="Blues")
    middle.set(title="test images", xlabel="guess", ylabel="truth")

    wrongness = F.cross_entropy(logits, labels, reduction="none")
    worst = wrongness.topk(min(12, len(labels))).indices.tolist()
    assert wrongness[worst[0]] == wrongness.max()
    for place, index in enumerate(worst):
        row, column = divmod(place, 4)
        pixels = images[index].permute(1, 2, 0).cpu().numpy()
        top = 1.2 * row + 0.2
        extent = (column, column + 0.9, top + 0.9, top)
        right.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=extent)
        text = f"{classes[labels[index]]} as {classes[guesses[index]]}"
        right.text(column, top - 0.03, text, size=8)
    right.set(title="most wrong: truth as guess", xlim=(0, 4), ylim=(3.6, 0))
    right.axis("off")
    return figure


def make_trainer(
    data: dict,
    classes: list,
    network: type[nn.Module],
    optimizer_class: type[torch.optim.Optimizer],
    options: dict,
    settings: dict,
) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer, OneCycleLR]:
    """Return the model, alone and for all processes, optimizer, scheduler."""
    torch.manual_seed(settings["seed"])  # of the first weights
    images, labels = data["train"]
    model = network(images.shape[1], images.shape[-1], len(classes))
    # With the channels of a pixel side by side, convolutions run faster.
    model = model.to(images.device, memory_format=torch.channels_last)
    parallel = model
    if settings["processes"] > 1:  # it averages gradients within `backward`
        parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = optimizer_class(model.parameters(), **options)
    # One cycle over the whole run: from lr / 25 up to lr, then down to 0.
    steps = settings["epochs"] * (len(labels) // settings["batch_size"])
    scheduler = OneCycleLR(
        optimizer, options["lr"], steps, cycle_momentum=False
    )
    return model, parallel, optimizer, scheduler


def train_validate_test(
    data: dict,
    classes: list,
    figures: Path | None,
    *,
    network: type[nn.Module],
    optimizer_class: type[torch.optim.Optimizer],
    options: dict,
    compiled: bool,
    least: float,
    settings: dict,
) -> tuple[nn.Module, list]:
    """Validation picks the epoch that is kept; the test set is used once.

    `options` are those of the optimizer, `settings` those of `train`. With
    torchrun each process runs this. `least` is the test accuracy that the data
    must reach. Returns the model and the history.
    """
    model, parallel, optimizer, scheduler = make_trainer(
        data, classes, network, optimizer_class, options, settings
    )
    if compiled:
        model.compile()  # the names of the weights stay
    images, labels = data["train"]
    print(
        f"{len(labels):,} images of {len(classes)} classes on {images.device}"
    )
    start, unseen = time.perf_counter(), data["validation"]
    history, best = train(
        parallel, optimizer, scheduler, images, labels, unseen, **settings
    )
    seconds = time.perf_counter() - start
    print(f"epoch {best['epoch']} of {len(history)} is kept, {seconds:.1f} s")
    losses, validation_losses, _ = torch.tensor(history).unbind(dim=1)
    assert best["epoch"] == validation_losses.argmin() + 1

    # The first and only look at the test set: nothing is chosen by it.
    images, labels = data["test"]
    loss, accuracy, logits = evaluate(model, images, labels, settings["half"])
    if figures:  # of all processes only the first one draws
        figure = draw_report(history, images, labels, logits, classes)
        save_figure(figure, "optimizer_report", figures)
    print(f"test loss     {loss:.4f}")
    print(f"test accuracy {accuracy:.2%}")
    if least:
        assert losses[-1] < losses[0]
        # Other images than those that were fitted and those that chose.
        _, fitted, _ = evaluate(model, *data["train"], settings["half"])
        assert least < accuracy < fitted <= 1
        assert loss != best["loss"]
    return model, history


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
def small_network(width: int = 32, dropout: float = 0.0) -> nn.Sequential:
    """Return pixels to logits through one hidden layer, 784-width-10."""
    return nn.Sequential(
        nn.Flatten(),  # (batch, 784)
        nn.Linear(784, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, 10),  # (batch, 10), logits
    )


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    augment: Callable[[Tensor], Tensor] = torch.clone,  # changes nothing
) -> None:
    """Take a step for each batch of 100 images, in train mode."""
    model.train()
    for batch in torch.randperm(len(labels)).to(images.device).split(100):
        loss = F.cross_entropy(model(augment(images[batch])), labels[batch])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def measure(
    model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[float, float]:
    """Return the mean loss and the accuracy, in eval mode."""
    model.eval()
    logits = model(images)
    accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
    return F.cross_entropy(logits, labels).item(), accuracy


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


def read_square(path: Path, size: int, channels: int = 3) -> Tensor:
    """Return the middle square of an image, (channels, size, size) in 0..1."""
    with Image.open(path) as image:
        if image.mode[0] in "IF":
            raise ValueError("more than 8 bits a pixel")
        image = ImageOps.exif_transpose(image)  # as its camera was held
        image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")  # behind what is transparent
    image = Image.alpha_composite(white, image)
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size))
    pixels = torch.tensor(list(image.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, channels).permute(2, 0, 1) / 255


def image_folder(
    folder: Path, size: int, most: int | None = None, device: str = "cpu"
) -> tuple[dict[str, tuple[Tensor, Tensor]], list[str]]:
    """Return splits of images and labels, and the names of the classes.

    `folder` has a folder for each class; at most `most` images of each are
    read. A tenth of each class, at least one image, is for validation, as many
    are for the test. Raises `SystemExit`, one line, where that cannot be.
    """
    if not folder.is_dir():
        raise SystemExit(f"--images {folder}: no such folder")
    places = sorted(p for p in folder.glob("[!.]*") if p.is_dir())
    names = {place.name.casefold() for place in places}
    if names and names <= {"train", "val", "valid", "validation", "test"}:
        raise SystemExit(
            f"--images {folder}: these are parts, not classes; give one alone, "
            f"such as {places[-1]}"
        )
    classes, parts = [], {"train": [], "validation": [], "test": []}
    for place in places:
        images = []
        for path in sorted(place.glob("[!.]*"))[:most]:  # no hidden ones
            try:
                images.append(read_square(path, size))
            except Exception as error:  # all that a damaged file can raise
                print(f"left out: {path}: {error}")
        if len(images) < 3:
            raise SystemExit(
                f"--images {folder}: class {place.name!r} needs 3 images, to "
                f"train, validate and test; it has {len(images)}"
            )
        order = torch.randperm(
            len(images), generator=torch.Generator().manual_seed(0)
        )
        images = torch.stack(images)[order]
        apart = max(1, len(images) // 10)
        parts["validation"].append(images[:apart])
        parts["test"].append(images[apart : 2 * apart])
        parts["train"].append(images[2 * apart :])
        classes.append(place.name)
    if len(classes) < 2:
        raise SystemExit(
            f"--images {folder}: {len(classes)} folders with images; it needs "
            "a folder for each class, 2 or more"
        )
    splits = {}
    for split, tensors in parts.items():
        counts = torch.tensor([len(images) for images in tensors])
        labels = torch.arange(len(classes)).repeat_interleave(counts)
        splits[split] = torch.cat(tensors).to(device), labels.to(device)
    everything = splits["train"][0]
    if (everything == everything[:, :1]).all():  # grey: red is green is blue
        for split, (images, labels) in splits.items():
            splits[split] = images[:, :1], labels
    return splits, classes


def augment_photos(images: Tensor) -> Tensor:
    """Return `images`, each moved a little, every second one mirrored."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    images = torch.where(mirrored, images.flip(dims=[3]), images)
    return random_affine(images, degrees=10, scale=0.2, shear=0.1, shift=0.2)


def predict(
    files: list[Path], checkpoint: Path, device: torch.device
) -> list[str]:
    """Print the three likeliest classes of each file; return the first."""
    saved = read_checkpoint(checkpoint)
    try:
        classes, channels = saved["classes"], saved["channels"]
        size = saved["size"]
        network = {"mlp": MLP, "cnn": CNN}[saved["--model"]]
        model = network(channels, size, len(classes))
        model.load_state_dict(saved["model"])
    except Exception:  # other names, shapes or types
        reason = "not a checkpoint of this script, or no epoch is over yet"
        raise SystemExit(f"--checkpoint {checkpoint}: {reason}") from None
    model.to(device).eval()
    first = []
    for file in files:
        try:
            image = read_square(file, size, channels).to(device)
        except Exception as error:  # all that a file that is none can raise
            reason = getattr(error, "strerror", None) or error
            print(f"--predict {file}: {reason}", file=sys.stderr)
            continue
        with torch.no_grad():
            probabilities = model(image[None]).softmax(dim=1)[0]  # (classes,)
        best = probabilities.argsort(descending=True)[:3]
        print(Path(*file.parts[-2:]), end=":")
        for index in best:
            print(f"  {classes[index]} {probabilities[index]:.1%}", end="")
        print()
        first.append(classes[best[0]])
    return first


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


def count_devices() -> int:
    """Return how many GPUs there are; torch 2.7 raises where there is none."""
    found = torch.accelerator.is_available()
    return torch.accelerator.device_count() if found else 0


def read_flags(launched: bool, local_rank: int) -> argparse.Namespace:
    """Return the command line, checked; what is wrong ends with one line."""
    parser = make_parser(__doc__)
    flag, refuse = parser.add_argument, parser.error
    names = ("digits", "mnist", "fashion-mnist", "kmnist")
    size, count = number(int, 8, 1024), number(int, 1, 1e6)
    flag("--data", choices=names, default="digits", help="default digits")
    flag("--data-dir", type=Path, default=Path("data"), metavar="DIR")
    flag("--images", type=Path, metavar="DIR", help="a folder for each class")
    flag("--image-size", type=size, default=32, help="pixels, default 32")
    flag("--predict", type=Path, nargs="+", metavar="FILE", help="name them")
    flag("--model", choices=("mlp", "cnn"), default="cnn", help="default cnn")
    names = ("sgd", "rmsprop", "adam", "adamw")
    flag("--optimizer", choices=names, default="adamw", help="default adamw")
    flag("--epochs", type=count, help="default by data")
    flag("--patience", type=count, help="epochs without a new best")
    flag("--batch-size", type=count, default=128, help="default 128")
    flag("--lr", type=number(float, 1e-9, 1e3), help="default by optimizer")
    flag("--seed", type=number(int, 0, 2**63), default=0, help="default 0")
    flag("--checkpoint", type=Path, metavar="FILE", help="written each epoch")
    flag("--resume", action="store_true", help="go on from --checkpoint")
    flag("--compile", action="store_true", help="compile the network")
    args = parse(parser)

    # What no single flag can know.
    again = args.resume or args.predict
    if args.predict and not args.checkpoint:
        refuse("argument --predict: needs --checkpoint FILE")
    if args.resume and not args.checkpoint:
        refuse("argument --resume: needs --checkpoint FILE")
    if args.images and args.data != "digits":
        refuse("argument --images: --data names other images")
    if args.checkpoint and os.path.exists(args.checkpoint) and not again:
        text = "exists; add --resume, or name another file"
        refuse(f"argument --checkpoint: {args.checkpoint} {text}")
    whole = "the whole run\ntrain_validate_test"
    asked = [part.casefold() for part in args.only or [""]]
    args.trains = any(part in whole for part in asked)
    if args.checkpoint and not args.trains and not args.predict:
        text = "train_validate_test writes it, and --only leaves that section"
        refuse(f"argument --checkpoint: {text} out")
    if launched and args.only not in (None, ["train_validate_test"]):
        refuse("argument --only: torchrun needs train_validate_test alone")
    devices = count_devices() if launched else 0
    shared = args.device.index is not None or local_rank >= devices
    if launched and args.device.type != "cpu" and shared:
        text = f"process {local_rank} needs a device of its own"
        text = f"{text}, not {args.device}; start fewer, or use --device cpu"
        refuse(f"argument --device: {text}")
    return args


@contextlib.contextmanager
def process_group(args: argparse.Namespace, rank: int) -> Iterator[None]:
    """Meet the processes that torchrun started; the first one alone prints."""
    if rank:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    # nccl between CUDA devices, gloo between CPUs.
    backend = dist.get_default_backend_for_device(args.device)
    try:
        dist.init_process_group(backend, timeout=timedelta(minutes=5))
        yield
        dist.destroy_process_group()
    except RuntimeError as error:
        # nccl has a class of errors; gloo only names itself in the text.
        if "gloo" not in str(error) and not isinstance(error, dist.DistError):
            raise
        again = ""
        if args.checkpoint and args.checkpoint.exists():
            again = f"; --checkpoint {args.checkpoint} --resume goes on"
        reason = f"process {rank} lost another one and ends{again}"
        raise SystemExit(reason) from None


def check_writable(path: Path) -> None:
    """End with one line where no checkpoint can be: before the work."""
    partial = path.with_name(path.name + ".partial")
    try:
        open(partial, "wb").close()
        partial.unlink()
    except OSError as error:
        raise SystemExit(f"--checkpoint {path}: {error.strerror}") from None


def load_data(args: argparse.Namespace) -> tuple[dict, list]:
    """Return the splits that the flags name, and the names of the classes."""
    if args.images:
        most = 20 if args.tiny else None
        return image_folder(args.images, args.image_size, most, args.device)
    counts = {"train": 12_000, "validation": 3_000, "test": 5_000}
    if args.tiny:
        counts = {"train": 1_000, "validation": 300, "test": 300}
    if args.data != "digits":
        counts = dict.fromkeys(counts, 1_000 if args.tiny else None)
    data = load_digits(args.data, args.data_dir, args.device, counts)
    classes = "0 1 2 3 4 5 6 7 8 9"
    if args.data == "fashion-mnist":
        classes = (
            "top trousers pullover dress coat sandal shirt sneaker bag boot"
        )
    return data, classes.split()


def whole_run(
    args: argparse.Namespace, rank: int, local_rank: int, processes: int
) -> dict:
    """Return the options of `train_validate_test`, all of them checked."""
    data = None
    # What is missing is fetched once, and once on each other machine.
    for now in (rank == 0, local_rank == 0, True):
        if now and data is None:
            data, classes = load_data(args)
        if processes > 1:  # wait for the rest
            dist.all_reduce(torch.zeros(1, device=args.device))
    images, labels = data["train"]
    share = min(args.batch_size, len(labels) // processes)
    if share == 0:
        raise SystemExit(
            f"{processes} processes, {len(labels)} images: too few"
        )
    optimizers = {
        "sgd": (torch.optim.SGD, 0.1, {"momentum": 0.9, "nesterov": True}),
        "rmsprop": (torch.optim.RMSprop, 0.002, {}),
        "adam": (torch.optim.Adam, 0.01, {}),
        "adamw": (torch.optim.AdamW, 0.01, {}),
    }
    optimizer_class, lr, options = optimizers[args.optimizer]
    options["lr"] = args.lr or lr  # those train the CNN well
    if args.optimizer != "rmsprop":  # there is none
        options["fused"] = True  # one call moves all weights
    epochs = {"digits": 4, "mnist": 1}.get(args.data, 2)
    if args.images:
        epochs = 20
    if args.tiny:
        epochs = 3
    epochs = args.epochs or epochs

    # A run goes on only with the flags that it was started with.
    names = ("data", "images", "tiny", "model", "optimizer", "seed", "amp")
    about = {f"--{name}": getattr(args, name) for name in names}
    about["--images"] = str(args.images)
    about["--batch-size"] = processes * args.batch_size
    about["--epochs"], about["--lr"] = epochs, options["lr"]
    about["classes"] = classes
    about["channels"], about["size"] = images.shape[1], images.shape[-1]
    about["training images"] = len(labels)
    if args.resume:
        read_checkpoint(args.checkpoint, about)
    elif args.checkpoint and rank == 0:  # the process that writes it
        check_writable(args.checkpoint)
    if args.compile:  # it needs a C++ compiler, or Triton on a GPU
        try:
            torch.compile(torch.neg)(torch.ones(2, device=args.device))
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise SystemExit(f"--compile: {reason}") from None
    # Milder than what the digits were drawn with: they stay digits.
    augment = functools.partial(
        random_affine, degrees=10, scale=0.1, shear=0.1, shift=0.1
    )
    if images.shape[1] == 3:  # grey images may be writing: not mirrored
        augment = augment_photos
    # Of the digits it is known what a run with the usual flags reaches.
    least = 0.2 if args.tiny else 0.8
    changed = args.epochs or args.lr or args.batch_size != 128 or args.patience
    others = args.images or args.data != "digits" or args.model != "cnn"
    if changed or others or args.optimizer != "adamw":
        least = 0.0
    settings = {
        "epochs": epochs,
        "batch_size": processes * share,
        "patience": args.patience,
        "augment": augment,
        "seed": args.seed,
        "half": amp_dtype(args.device) if args.amp else None,
        "checkpoint": args.checkpoint,
        "about": about,
        "rank": rank,
        "processes": processes,
    }
    return {
        "data": data,
        "classes": classes,
        "figures": None if rank else args.figures,
        "network": {"mlp": MLP, "cnn": CNN}[args.model],
        "optimizer_class": optimizer_class,
        "options": options,
        "compiled": args.compile,
        "least": least,
        "settings": settings,
    }


def main() -> None:
    """Run the lesson from top to bottom, or its last section in processes."""
    # torchrun starts this file many times, and tells each process its number,
    # its number on its machine, and how many there are in all.
    launched = dist.is_available() and dist.is_torchelastic_launched()
    rank, local_rank, processes = 0, 0, 1
    if launched:
        rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ["LOCAL_RANK"])
        if local_rank < count_devices():
            # From here on that is what "cuda" means.
            torch.accelerator.set_device_index(local_rank)
    args = read_flags(launched, local_rank)
    if args.predict:
        named = predict(args.predict, args.checkpoint, args.device)
        if len(named) < len(args.predict):
            sys.exit(1)  # it was said which could not be read
        return
    group = contextlib.nullcontext()
    if launched:
        args.only = ["train_validate_test"]  # lessons are for one process
        group = process_group(args, rank)
    with group:
        if launched:
            print(
                f"processes: {processes}, each with {args.batch_size}", end=""
            )
            print(" images a step; the lessons are left out")
        notebook = not hasattr(sys.modules["__main__"], "__file__")
        whole = {}
        if args.trains and not args.list:
            whole = whole_run(args, rank, local_rank, processes)
        # The lessons draw their own images; those of the run come above.
        device, tiny, figures = args.device, args.tiny, args.figures
        half = amp_dtype(device)
        each = 1000 if tiny else 1500
        if args.list or launched:  # no lesson is run
            each = 1
        counts = {"train": each, "validation": each, "test": each}
        digits = load_digits("digits", Path(), device, counts)
        train, validation = digits["train"], digits["validation"]
        # So few that a network learns them by heart.
        some = 200 if tiny else 400
        few = train[0][:some], train[1][:some]
        others = validation[0][:500], validation[1][:500]

        here = {"device": device}
        drawn = {"figures": figures}
        known = {"train": few}
        small = {"train": few, "validation": others}
        held_out = {"test": digits["test"]}
        chapters = {
            "One step": {
                a_step_is_guess_error_derivatives_update: here,
                cross_entropy_is_minus_the_log_of_softmax: here,
                binary_cross_entropy_with_logits_stays_finite: here,
                zero_grad_clears_what_backward_adds: here,
                clip_grad_norm_shortens_and_keeps_direction: here,
                gradient_accumulation_equals_a_large_batch: here,
            },
            "The rate": {
                a_learning_rate_converges_below_two_over_curvature: here,
                sgd_with_momentum_by_hand_equals_torch: here,
                adam_by_hand_equals_torch: here,
                adamw_decays_weights_beside_the_gradient: here,
                adam_steps_ignore_the_size_of_gradients: here | drawn,
                a_range_test_finds_the_learning_rate: {
                    "images": train[0],
                    "labels": train[1],
                    "figures": figures,
                    "steps": 60 if tiny else 120,
                },
                schedulers_count_calls_of_step: {},
                lambda_lr_warms_up_then_falls_along_a_cosine: {},
                parameter_groups_spare_biases_weight_decay: here,
                muon_by_hand_equals_torch: here,
            },
            "Measuring": {
                train_fits_validation_chooses_test_reports: small | held_out,
                batch_means_are_weighted_by_batch_size: here,
                class_weights_find_more_of_a_rare_class: here,
                no_grad_records_nothing_and_keeps_the_mode: here,
                a_split_by_family_of_fonts_shows_the_gap: {
                    "families": {
                        "DejaVu": train,
                        "STIX": validation,
                        "Computer Modern": digits["test"],
                    },
                    "count": 900 if tiny else 2400,
                },
                training_loss_is_measured_under_other_conditions: small,
                overfitting_shows_in_the_validation_loss: small | drawn,
                augmentation_dropout_weight_decay_reduce_overfitting: small,
                early_stopping_keeps_the_best_epoch: small,
                seeds_are_error_bars: small,
                inside_a_step_each_layer_is_measured: known,
            },
            "When the loss does not fall": {
                the_first_loss_is_log_of_the_classes: known,
                one_batch_is_learnt_by_heart: known,
                look_at_a_batch_as_the_model_gets_it: known | drawn,
                gradient_norms_by_layer_find_the_cut: known,
                the_rate_is_tried_in_factors_of_ten: known,
                a_softmax_before_cross_entropy_keeps_the_loss_up: here,
                the_same_answer_for_every_input_is_found_by_std: known,
                good_in_train_and_bad_in_eval_is_batch_norm: known,
            },
            "Scaling up": {
                autocast_keeps_half_the_activations: here | {"half": half},
                autocast_trains_to_the_same_loss: {
                    "digits": (train[0][:500], train[1][:500]),
                    "half": half,
                    "steps": 20 if tiny else 100,
                },
                set_num_threads_is_measured_not_guessed: {},
                adamw_takes_16_bytes_a_parameter: here,
                flop_counter_mode_counts_the_operations_of_a_step: here,
                torch_compile_compiles_again_for_a_new_size: {},
                a_branch_on_data_breaks_the_graph: {},
                model_compile_keeps_results_and_names: here,
                a_checkpoint_resumes_bit_for_bit: {},
                # A second process takes seconds to start, and imports a file.
                processes_average_their_gradients: {
                    "processes": 1 if tiny or notebook else 2
                },
            },
            "Mistakes": {
                mistakes_give_an_optimizer_no_weights: here,
                mistakes_call_a_scheduler: {},
                mistakes_save_or_load_a_model: {},
                mistake_clip_grad_norm_after_the_step: here,
                mistake_accuracy_of_a_column: here,
                mistake_argmax_over_the_batch: here,
                mistake_an_optimizer_made_before_the_new_head: {},
            },
            "The whole run": {
                train_stops_early_and_keeps_the_best_epoch: {
                    "few": (train[0][:1000], train[1][:1000]),
                    "validation": others,
                    "half": half if args.amp else None,
                },
                an_image_folder_is_split_within_each_class: {},
                os_replace_keeps_the_last_good_checkpoint: {},
                a_checkpoint_predicts_the_class_of_new_images: here,
                train_validate_test: whole,
            },
        }
        run(chapters, args)


if __name__ == "__main__":
    main()
