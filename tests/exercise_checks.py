"""What is right in exercises.py, and the checker that compares.

For each exercise there are inputs of a size, drawn at random, and a function
that answers in a second way: a slow loop, or what torch itself has for it.
Small sizes come first, so the first input that fails is the smallest one. The
table stands below the functions that it names, the checker below the table.
"""

import _thread
import argparse
import copy
import difflib
import importlib
import inspect
import itertools
import math
import signal
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

SIZES = (1, 2, 3, 5)
DRAWS = 3  # of random inputs for each size
SECONDS = 10  # that an exercise may take


class Exercise(NamedTuple):
    """How an exercise is tried."""

    inputs: Callable[[int], dict]  # size -> name -> value
    right: Callable  # a second way to answer
    hint: str
    use: Callable | None = None  # use(answer, *inputs) makes what is compared
    without: tuple[str, ...] = ()  # names that the task excludes


def numbers(*shape: int) -> Tensor:
    """Return random numbers with one decimal, which are easy to read."""
    return torch.randint(-20, 21, shape) / 10


# start_Pytorch.py


def softmax_inputs(n: int) -> dict:
    logits = numbers(n, n + 1)
    if n > 1:
        logits[0, 1:] += 1000  # where e^1000 overflows
        logits[0, 0] -= 1000
        logits[1:] -= 1000
    return {"logits": logits}


def convolve_inputs(n: int) -> dict:
    kernel = numbers(3, 1) if n < 3 else numbers(3, 5)
    return {"image": numbers(n, n + 1), "kernel": kernel}


def convolve_right(image, kernel):
    rows, columns = kernel.shape
    top, left = rows // 2, columns // 2
    padded = F.pad(image, (left, left, top, top))
    result = torch.empty(image.shape)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            part = padded[i : i + rows, j : j + columns]
            result[i, j] = (kernel * part).sum()
    return result


def fit_inputs(n: int) -> dict:
    x, y = numbers(n + 1, n), numbers(n + 1)
    return {"x": x, "y": y, "rate": 0.1, "steps": n}


def fit_right(x, y, rate, steps):
    w = torch.zeros(x.shape[1])
    for _ in range(steps):
        gradient = torch.zeros(x.shape[1])
        for i in range(len(x)):
            gradient += 2 * (x[i] @ w - y[i]) * x[i] / len(x)
        w -= rate * gradient
    return w


# start_dataloader.py


def whole_batches_right(numbers, size):
    batches = []
    start = 0
    while start + size <= len(numbers):
        batches.append(numbers[start : start + size])
        start += size
    return DataLoader(batches, batch_size=None)  # each of them is a batch


def list_of_batches(answer, numbers, size):
    loader = answer(numbers, size)
    return {"the type": kind(loader), "the list of its batches": list(loader)}


def held_out_inputs(n: int) -> dict:
    people = torch.randperm(n + 1)[: (n + 1) // 2]
    return {"person": torch.randint(n + 1, (2 * n,)), "people": people}


def held_out_right(person, people):
    people = people.tolist()
    return torch.tensor([number in people for number in person.tolist()])


def sampler_weights_right(labels):
    labels = labels.tolist()
    return torch.tensor([1 / labels.count(label) for label in labels])


def normalize_inputs(n: int) -> dict:
    train = numbers(n + 1, 3)
    train[:, 2] = 1  # a column of ones
    return {"train": train, "test": numbers(n, 3)}


def normalize_right(train, test):
    new_train, new_test = torch.empty(train.shape), torch.empty(test.shape)
    for j in range(train.shape[1]):
        mean = sum(train[:, j]) / len(train)
        std = math.sqrt(sum((train[:, j] - mean) ** 2) / len(train))
        if std < 1e-6:
            std = 1
        new_train[:, j] = (train[:, j] - mean) / std
        new_test[:, j] = (test[:, j] - mean) / std
    return new_train, new_test


def pad_inputs(n: int) -> dict:
    lengths = torch.randint(1, n + 3, (n + 1,)).tolist()
    return {"texts": [torch.randint(10, (length,)) for length in lengths]}


def pad_right(texts):
    longest = max(len(text) for text in texts)
    padded, mask = [], []
    for text in texts:
        missing = longest - len(text)
        padded.append(text.tolist() + [0] * missing)
        mask.append([True] * len(text) + [False] * missing)
    return torch.tensor(padded), torch.tensor(mask)


def windows_inputs(n: int) -> dict:
    length = n + 1
    more = torch.randint(length, ()).item()  # left over at the end
    tokens = torch.randint(10, (n * length + 1 + more,))
    return {"tokens": tokens, "length": length}


def windows_right(tokens, length):
    x, y = [], []
    start = 0
    while start + length + 1 <= len(tokens):
        x.append(tokens[start : start + length])
        y.append(tokens[start + 1 : start + length + 1])
        start += length
    return torch.stack(x), torch.stack(y)


def channel_statistics_inputs(n: int) -> dict:
    batches = [numbers(n + 1, 2, n, n + 1) for _ in range(n)]
    batches.append(1 + numbers(1, 2, n, n + 1))  # a last one that is smaller
    return {"batches": batches}


def channel_statistics_right(batches):
    images = torch.cat(batches)
    std = images.std(dim=(0, 2, 3), correction=0)
    return images.mean(dim=(0, 2, 3)), std


# start_buildnn.py


def linear_inputs(n: int) -> dict:
    weight = numbers(n + 2, n + 1)
    return {"x": numbers(n, n + 1), "weight": weight, "bias": numbers(n + 2)}


def sizes_inputs(n: int) -> dict:
    return {"sizes": torch.randint(1, 10, (n + 1,)).tolist()}


def count_mlp_right(sizes):
    # Build the layers, and count what they have.
    count = 0
    for i in range(len(sizes) - 1):
        layer = nn.Linear(sizes[i], sizes[i + 1])
        count += layer.weight.numel() + layer.bias.numel()
    return count


def dropout_inputs(n: int) -> dict:
    uniform = torch.randint(10, (n, n + 1)) / 10
    p = 0.2 if n % 2 else 0.5
    return {"x": numbers(n, n + 1), "uniform": uniform, "p": p}


def dropout_right(x, uniform, p):
    result = torch.zeros(x.shape)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if uniform[i, j] >= p:
                result[i, j] = x[i, j] / (1 - p)
    return result


def build_mlp_right(sizes):
    layers = [nn.Linear(sizes[0], sizes[1])]
    for i in range(2, len(sizes)):
        layers.append(nn.ReLU())
        layers.append(nn.Linear(sizes[i - 1], sizes[i]))
    return nn.Sequential(*layers)


def layers_in_words(answer, sizes):
    model = answer(sizes)
    layers = model if isinstance(model, nn.Sequential) else []
    words = [str(layer) for layer in layers]
    return {"the type": kind(model), "its layers": words}


def attention_inputs(n: int) -> dict:
    v = numbers(2, n + 1, 2)
    return {"q": numbers(2, n, 3), "k": numbers(2, n + 1, 3), "v": v}


def window_mask_inputs(n: int) -> dict:
    return {"time": n + 1, "width": torch.randint(1, n + 2, ()).item()}


def window_mask_right(time, width):
    result = torch.zeros(time, time, dtype=torch.bool)
    for query in range(time):
        for key in range(time):
            result[query, key] = query - width < key <= query
    return result


# start_autograd.py


def numbers_with_grad(n: int) -> dict:
    return {"x": numbers(n).requires_grad_()}


def descend_right(w, rate, steps):
    with torch.no_grad():
        for _ in range(steps):
            w -= rate * 4 * w**3
    return w


def weight_afterwards(answer, w, rate, steps):
    w = w.clone().requires_grad_()
    returned = answer(w, rate, steps)
    return {
        "w, as it was given, afterwards": w,
        "what is returned": returned,
        "whether that is a leaf": getattr(returned, "is_leaf", False),
        "whether it requires grad": getattr(returned, "requires_grad", False),
    }


def round_straight_through_right(x):
    return x + torch.tensor([round(v) - v for v in x.tolist()])


def value_and_slope(answer, x):
    y = answer(x)
    recorded = getattr(y, "requires_grad", False)
    if recorded:
        y.sum().backward()
    return {
        "y": y,
        "whether y has a grad_fn": recorded,
        "x.grad after y.sum().backward()": x.grad,
    }


def cubes(x: Tensor) -> Tensor:
    """Return the sum of x^3 and of all products of neighbours."""
    return (x**3).sum() + (x[1:] * x[:-1]).sum()


def numerical_gradient_inputs(n: int) -> dict:
    # The step is so large that a forward difference is another number.
    return {"f": cubes, "x": numbers(n).double(), "h": 0.1}


def numerical_gradient_right(f, x, h):
    result = []
    for i in range(len(x)):
        above, below = x.clone(), x.clone()
        above[i] += h
        below[i] -= h
        result.append((f(above) - f(below)) / (2 * h))
    return torch.stack(result)


def silu_backward_right(context, gradient):
    (x,) = context.saved_tensors
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = F.silu(x)
    return torch.autograd.grad(y, x, gradient)[0]


def slope_of_silu(answer, x, gradient):
    """Let torch call the answer, as backward of a Function."""

    class Silu(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x * x.sigmoid()

        backward = staticmethod(answer)

    Silu.apply(x).backward(gradient)
    return {"the gradient of the loss by x": x.grad}


def hessian_times_right(loss, w, u):
    return torch.autograd.functional.hessian(loss, w) @ u


def gradient_of_each_sample_right(w, x, y):
    return torch.stack([2 * (x[i] @ w - y[i]) * x[i] for i in range(len(x))])


# start_optimizer.py


def accuracy_inputs(n: int) -> dict:
    rows = [torch.randperm(n + 1) / 10 for _ in range(n)]  # no two are equal
    return {"logits": torch.stack(rows), "labels": torch.randint(n + 1, (n,))}


def accuracy_right(logits, labels):
    right = 0
    for i in range(len(labels)):
        if logits[i, labels[i]] == max(logits[i]):
            right += 1
    return right / len(labels)


def mean_of_epoch_inputs(n: int) -> dict:
    losses = [round(loss, 1) for loss in numbers(n + 1).abs().tolist()]
    return {"losses": losses, "sizes": torch.randint(1, 5, (n + 1,)).tolist()}


def mean_of_epoch_right(losses, sizes):
    samples = []  # each sample with the mean of its batch
    for i in range(len(losses)):
        samples += [losses[i]] * sizes[i]
    return sum(samples) / len(samples)


def linear_and_sgd(weight: Tensor, old_gradient: Tensor) -> tuple:
    """Return a Linear of that weight and no bias, and SGD of lr 0.1."""
    model = nn.Linear(weight.shape[1], 1, bias=False)
    model.weight = nn.Parameter(weight.clone())
    model.weight.grad = old_gradient.clone()
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def training_step_inputs(n: int) -> dict:
    return {
        "weight of the model": numbers(1, n),
        "its old gradient": numbers(1, n),
        "x": numbers(n + 1, n),
        "y": numbers(n + 1, 1),
    }


def training_step_right(model, optimizer, x, y):
    # By hand, for a Linear without bias and SGD of lr 0.1.
    with torch.no_grad():
        error = x @ model.weight.T - y
        model.weight -= 0.1 * 2 * (error * x).mean(dim=0)
    return (error**2).mean().item()


def loss_and_weight(answer, weight, old_gradient, x, y):
    model, optimizer = linear_and_sgd(weight, old_gradient)
    loss = answer(model, optimizer, x, y)
    return {"the loss": loss, "model.weight afterwards": model.weight}


def warmup_hold_fall_inputs(n: int) -> dict:
    hold = n + torch.randint(1, 4, ()).item()
    return {"warmup": n, "hold": hold, "total": hold + n + 1}


def warmup_hold_fall_right(step, warmup, hold, total):
    # Walk there, a step at a time.
    factor = 1 / warmup
    for now in range(1, step + 1):
        if now < warmup:
            factor += 1 / warmup
        if now > hold:
            factor -= 1 / (total - hold)
    return factor


def factor_of_each_step(answer, warmup, hold, total):
    factors = {}
    for step in range(total):
        factors[f"step {step}"] = answer(step, warmup, hold, total)
    return factors


def clip_inputs(n: int) -> dict:
    gradients = [numbers(n), numbers(n, 2)]
    return {"gradients": gradients, "max_norm": 6.0 if n == 2 else 0.5 * n}


def clip_right(gradients, max_norm):
    squares = 0.0
    for gradient in gradients:
        for number in gradient.flatten().tolist():
            squares += number**2
    norm = max(math.sqrt(squares), max_norm)
    return [gradient * max_norm / norm for gradient in gradients]


def predict_inputs(n: int) -> dict:
    return {"weight of the model": numbers(n + 1, n), "x": numbers(n + 2, n)}


def predict_right(model, x):
    return x @ model[0].weight.detach().T


def dropout_model(answer, weight, x):
    """Ask a model with dropout, which is in train mode."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone())
    model = nn.Sequential(linear, nn.Dropout(0.5))
    y = answer(model, x)
    return {
        "model(x), with dropout in the model": y,
        "whether it has a graph": getattr(y, "requires_grad", False),
        "whether the model is in train mode afterwards": model.training,
        "whether it can still be trained": model(x).requires_grad,
    }


def adam_inputs(n: int) -> dict:
    gradients = numbers(n + 1, n)
    if n == 3:
        gradients *= 1e-7  # so small that eps counts
    return {"w": numbers(n), "gradients": gradients, "lr": 0.1}


def adam_right(w, gradients, lr):
    w = w.clone().requires_grad_()
    optimizer = torch.optim.Adam([w], lr=lr)
    for gradient in gradients:
        w.grad = gradient.clone()
        optimizer.step()
    return w


def accumulate_inputs(n: int) -> dict:
    parts = [(numbers(n + 1, n), numbers(n + 1, 1)) for _ in range(n)]
    parts.append((numbers(1, n), numbers(1, 1)))  # a smaller one
    return {
        "weight of the model": numbers(1, n),
        "its old gradient": numbers(1, n),
        "parts": parts,
    }


def accumulate_right(model, optimizer, parts):
    # The sum of all squares, divided by all samples.
    count = len(torch.cat([y for _, y in parts]))
    optimizer.zero_grad()
    for x, y in parts:
        (((model(x) - y) ** 2).sum() / count).backward()
    optimizer.step()
    return model


def weight_after_parts(answer, weight, old_gradient, parts):
    model, optimizer = linear_and_sgd(weight, old_gradient)
    calls = []
    model.weight.register_post_accumulate_grad_hook(calls.append)
    weight = answer(model, optimizer, parts).weight
    return {"model.weight afterwards": weight, "calls of backward": len(calls)}


# The table: how each exercise is tried, and its hint.

EXERCISES = {
    "pytorch": {
        "outer": Exercise(
            lambda n: {"a": numbers(n), "b": numbers(n + 1)},
            torch.outer,
            "`a[:, None]` is a column, (m, 1); what is (m, 1) times (n,)?",
            without=("outer", "ger"),
        ),
        "negatives_to_zero": Exercise(
            lambda n: {"x": numbers(n, n + 1)},
            lambda x: x.clamp(min=0),
            "`y = x.clone()`, then write 0 into y where `x < 0`.",
        ),
        "channels_last": Exercise(
            lambda n: {"image": numbers(n, n + 1, n + 2)},
            lambda image: torch.stack(list(image), dim=2),
            "`permute` takes the old dims in their new order: 1 is the height.",
        ),
        "pick_labels": Exercise(
            lambda n: {
                "logits": numbers(n, n + 1),
                "labels": torch.randint(n + 1, (n,)),
            },
            lambda logits, labels: logits[torch.arange(len(labels)), labels],
            "`logits.gather(1, column)` with labels as a column, (n, 1).",
        ),
        "softmax": Exercise(
            softmax_inputs,
            lambda logits: logits.softmax(dim=1),
            "`amax` and `sum` with `dim=1, keepdim=True` give (n, 1).",
            without=("softmax", "log_softmax", "Softmax"),
        ),
        "pairwise_distances": Exercise(
            lambda n: {"a": numbers(n, 2), "b": numbers(n + 1, 2)},
            torch.cdist,
            "`a[:, None]` is (m, 1, dims); less b it is (m, n, dims).",
            without=("cdist",),
        ),
        "convolve": Exercise(
            convolve_inputs,
            convolve_right,
            "A kernel of 3 rows needs 1 row of zeros above and below, one of 5"
            " needs 2; `[None, None]` adds batch and channel.",
        ),
        "fit": Exercise(
            fit_inputs,
            fit_right,
            "By formula the gradient is 2 / n * x.T @ (x @ w - y).",
        ),
    },
    "dataloader": {
        "whole_batches": Exercise(
            lambda n: {"numbers": numbers(3 * n + 2), "size": n + 1},
            whole_batches_right,
            "`DataLoader(numbers, ...)` with `batch_size` and `drop_last`.",
            use=list_of_batches,
        ),
        "held_out": Exercise(
            held_out_inputs,
            held_out_right,
            "`torch.isin` takes first what is asked about.",
        ),
        "sampler_weights": Exercise(
            lambda n: {"labels": torch.randint(n + 1, (2 * n + 1,))},
            sampler_weights_right,
            "`bincount` counts each class; labels are indexes into counts.",
        ),
        "stereo_to_mono": Exercise(
            lambda n: {"samples": numbers(2 * n)},
            lambda samples: (samples[::2] + samples[1::2]) / 2,
            "`view(-1, 2)` makes a row of each pair; then its mean.",
        ),
        "normalize": Exercise(
            normalize_inputs,
            normalize_right,
            "`mean(dim=0)` and `std(dim=0, correction=0)` of train serve both;"
            " `torch.where(std < 1e-6, 1.0, std)`.",
        ),
        "pad": Exercise(
            pad_inputs,
            pad_right,
            "`torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)`; and"
            " compare `torch.arange(longest)` with a column of lengths.",
        ),
        "windows": Exercise(
            windows_inputs,
            windows_right,
            "There are (n - 1) // length windows; y is x cut one token later.",
        ),
        "channel_statistics": Exercise(
            channel_statistics_inputs,
            channel_statistics_right,
            "Add up the count, the sum and the sum of squares of each batch;"
            " std^2 = mean of squares - mean^2.",
            without=("cat", "concat", "vstack"),
        ),
    },
    "buildnn": {
        "linear": Exercise(
            linear_inputs,
            F.linear,
            "`@` needs (batch, inputs) and (inputs, outputs): `weight.T`.",
            without=("linear", "Linear"),
        ),
        "count_mlp": Exercise(
            sizes_inputs,
            count_mlp_right,
            "A Linear from 3 to 2 has 3 * 2 weights and 2 biases.",
        ),
        "dropout": Exercise(
            dropout_inputs,
            dropout_right,
            "`uniform >= p` is a mask of what stays; what stays is divided by"
            " the fraction that stays.",
        ),
        "build_mlp": Exercise(
            sizes_inputs,
            build_mlp_right,
            "Append a Linear and a ReLU for each pair of sizes to a list, and"
            " drop the last ReLU.",
            use=layers_in_words,
        ),
        "normalize_images": Exercise(
            lambda n: {"x": numbers(n, 2, n, n + 1), "eps": 0.01},
            lambda x, eps: F.layer_norm(x, x.shape[1:], eps=eps),
            "`mean(dim=(1, 2, 3), keepdim=True)`; the variance is the mean of"
            " the squares of what is centered.",
        ),
        "attention": Exercise(
            attention_inputs,
            F.scaled_dot_product_attention,
            "Scores are q @ k.mT / sqrt(size); their softmax is over the keys.",
            without=("scaled_dot_product_attention",),
        ),
        "window_mask": Exercise(
            window_mask_inputs,
            window_mask_right,
            "`tril()` keeps a diagonal and what is below it; `triu(-1)` keeps"
            " one diagonal below the main one, and what is above.",
        ),
        "split_heads": Exercise(
            lambda n: {"x": numbers(n, n + 2, 2 * (n + 1)), "heads": n + 1},
            lambda x, heads: torch.stack(x.chunk(heads, dim=2), dim=1),
            "`unflatten(2, (heads, -1))` cuts the width; then swap two dims.",
        ),
    },
    "autograd": {
        "cube_gradient": Exercise(
            numbers_with_grad,
            lambda x: 3 * x**2,
            "`(x**3).sum()` is one number: call its `backward()`, and return"
            " `x.grad`.",
        ),
        "two_gradients": Exercise(
            numbers_with_grad,
            lambda x: (2 * x, 3 * x**2),
            "Keep the first `x.grad`, set `x.grad = None`, then the second.",
        ),
        "descend": Exercise(
            lambda n: {"w": numbers(n), "rate": 0.01, "steps": n},
            descend_right,
            "`with torch.no_grad(): w -= ...`, and `w.grad = None` before each"
            " backward.",
            use=weight_afterwards,
        ),
        "round_straight_through": Exercise(
            numbers_with_grad,
            round_straight_through_right,
            "The constant is `x.round() - x`, detached.",
            use=value_and_slope,
        ),
        "numerical_gradient": Exercise(
            numerical_gradient_inputs,
            numerical_gradient_right,
            "In a loop over i: a step of zeros with h at i, and"
            " (f(x + step) - f(x - step)) / (2 * h).",
        ),
        "silu_backward": Exercise(
            lambda n: {**numbers_with_grad(n), "gradient": numbers(n)},
            silu_backward_right,
            "The slope times `gradient`: that is the chain rule.",
            use=slope_of_silu,
        ),
        "hessian_times": Exercise(
            lambda n: {
                "loss": cubes,
                "w": numbers(n).requires_grad_(),
                "u": numbers(n),
            },
            hessian_times_right,
            "`torch.autograd.grad(loss(w), w, create_graph=True)[0]`, and then"
            " the gradient of that @ u.",
        ),
        "gradient_of_each_sample": Exercise(
            lambda n: {
                "w": numbers(n + 1),
                "x": numbers(n, n + 1),
                "y": numbers(n),
            },
            gradient_of_each_sample_right,
            "`torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))`,"
            " where loss(w, x, y) is that of one sample.",
        ),
    },
    "optimizer": {
        "accuracy": Exercise(
            accuracy_inputs,
            accuracy_right,
            "`logits.argmax(dim=1) == labels` is True where a guess is right;"
            " `.float().mean().item()` makes a float of it.",
        ),
        "mean_of_epoch": Exercise(
            mean_of_epoch_inputs,
            mean_of_epoch_right,
            "A mean times its size is a sum; divide all sums by all samples.",
        ),
        "training_step": Exercise(
            training_step_inputs,
            training_step_right,
            "`zero_grad`, `F.mse_loss`, `backward`, `step`, and `loss.item()`.",
            use=loss_and_weight,
        ),
        "warmup_hold_fall": Exercise(
            warmup_hold_fall_inputs,
            warmup_hold_fall_right,
            "Three cases; in the last one total - step of total - hold steps"
            " are left.",
            use=factor_of_each_step,
        ),
        "clip": Exercise(
            clip_inputs,
            clip_right,
            "The norm is the root of the sum of all squares; the factor is"
            " max_norm / norm, but at most 1.",
            without=("clip_grad_norm_",),
        ),
        "predict": Exercise(
            predict_inputs,
            predict_right,
            "`model.eval()`, `with torch.no_grad():`, `model.train()`.",
            use=dropout_model,
        ),
        "adam": Exercise(
            adam_inputs,
            adam_right,
            "Copy the lines below `gradient = ...` in the section; they want a"
            " loop over steps that counts from 1.",
            without=("optim", "Adam"),
        ),
        "accumulate": Exercise(
            accumulate_inputs,
            accumulate_right,
            "Count all samples first; the loss of a part is its mean times its"
            " size / all. `zero_grad` and `step` stand outside of the loop.",
            use=weight_after_parts,
        ),
    },
}
ALL = {
    name: exercise
    for table in EXERCISES.values()
    for name, exercise in table.items()
}


# What came, compared with what should have come.


class Fault(NamedTuple):
    """What is wrong, and the two values to show."""

    what: str
    came: Any
    expected: Any


def kind(value: Any) -> str:
    """Return the name of the type of a value."""
    return type(value).__name__


def difference(came: Any, expected: Any) -> Fault | None:
    """Return how `came` differs from `expected`, or None."""
    if isinstance(expected, dict):
        pairs = [(f"{name}: ", came[name], expected[name]) for name in expected]
        return first_difference(pairs)

    # An int will do for a float, and a list for a tuple.
    alike = {float: (float, int), tuple: (tuple, list), list: (list, tuple)}
    allowed = alike.get(type(expected), type(expected))
    if isinstance(expected, Tensor):
        allowed = Tensor
    what = ""
    # True would count as an int.
    if not isinstance(came, allowed) or kind(came) == "bool" != kind(expected):
        what = f"the type is {kind(came)}, not {kind(expected)}"
        if isinstance(came, Tensor) and isinstance(expected, float | int):
            what += ": `.item()` makes one"
    elif isinstance(expected, Tensor):
        came, expected = came.detach(), expected.detach()
        if came.shape != expected.shape:
            shape, right = tuple(came.shape), tuple(expected.shape)
            what = f"the shape is {shape}, not {right}"
        elif came.dtype != expected.dtype:
            what = f"the dtype is {came.dtype}, not {expected.dtype}"
        elif not torch.allclose(came, expected, rtol=1e-4, atol=1e-5):
            what = "the values differ"
    elif isinstance(expected, list | tuple):
        if len(came) == len(expected):
            names = [f"number {i + 1}: " for i in range(len(came))]
            return first_difference(zip(names, came, expected, strict=True))
        what = f"there are {len(came)} of them, not {len(expected)}"
    elif isinstance(expected, float):
        if not math.isclose(came, expected, rel_tol=1e-4, abs_tol=1e-5):
            what = "the value differs"
            came, expected = float(f"{came:.6g}"), float(f"{expected:.6g}")
    elif came != expected:
        what = "the value differs"
    return Fault(what, came, expected) if what else None


def first_difference(pairs) -> Fault | None:
    """Return the first fault in (name, came, expected), with its name."""
    for name, came, expected in pairs:
        fault = difference(came, expected)
        if fault:
            return fault._replace(what=name + fault.what)
    return None


def shown(name: str, value: Any) -> list[str]:
    """Return the lines of `name = value`; tensors in a list get one each."""
    if isinstance(value, list | tuple) and "tensor(" in repr(value):
        lines = []
        for i in range(len(value)):
            lines += shown(f"{name}[{i}]", value[i])
    else:
        text = value.__name__ if inspect.isfunction(value) else repr(value)
        head = f"{name} = "
        below = "\n" + " " * len(head)
        lines = (head + text.replace("\n", below)).splitlines()
        lines = [line for line in lines if line.strip()]
    return lines if len(lines) <= 12 else [*lines[:12], "..."]


# One exercise.


class NothingReturnedError(Exception):
    """The answer returned None."""


def untouched() -> None:
    """Compile to what an exercise is before it is filled in."""
    ...


def place_of(error: BaseException, answer: Callable) -> list[str]:
    """Return the line of the answer at which an error was raised, if any."""
    code = answer.__code__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (frame.filename, frame.name) == (code.co_filename, code.co_name):
            return [f"line {frame.lineno}: {frame.line}"]
    return []


def try_inputs(
    answer: Callable, exercise: Exercise, inputs: dict
) -> Fault | None:
    """Return what is wrong with the answer to one set of inputs, or None."""

    def call(*args: Any) -> Any:
        result = answer(*args)
        if result is None:
            raise NothingReturnedError
        return result

    def use(function: Callable, values: dict) -> Any:
        with torch.enable_grad():  # whatever was switched off before
            if exercise.use:
                return exercise.use(function, *values.values())
            return function(*values.values())

    given = copy.deepcopy(inputs)
    came = use(call, given)
    fault = difference(came, use(exercise.right, copy.deepcopy(inputs)))
    if fault:
        return fault
    for name in inputs:
        if difference(given[name], inputs[name]):
            what = f"the answer is right, but it changes its input {name}"
            return Fault(what, given[name], inputs[name])
    return None


def check(name: str, answer: Any) -> tuple[str, list[str]]:
    """Return "holds", "open" or "wrong", and in lines why."""
    exercise = ALL[name]
    if not inspect.isfunction(answer):
        return "wrong", [f"there is no function {name} in exercises.py"]
    for used in exercise.without:
        if used in answer.__code__.co_names:
            return "wrong", [f"the task wants it without `{used}`"]
    for size, draw in itertools.product(SIZES, range(DRAWS)):
        torch.manual_seed(10 * size + draw)
        inputs = exercise.inputs(size)
        input_lines = []
        for label, value in inputs.items():
            input_lines += shown(label, value)
        try:
            fault = try_inputs(answer, exercise, inputs)
        except NothingReturnedError:
            if answer.__code__.co_code == untouched.__code__.co_code:
                return "open", []
            return "wrong", ["it returns None: is there a `return`?"]
        except (Exception, SystemExit) as error:
            message = f"{kind(error)}: {error}".partition("\n")[0]
            return "wrong", [message, *place_of(error, answer), *input_lines]
        if fault:
            came = shown("came", fault.came)
            expected = shown("expected", fault.expected)
            return "wrong", [fault.what, *input_lines, *came, *expected]
    return "holds", []


def check_in_time(
    name: str, answer: Any, seconds: float
) -> tuple[str, list[str]]:
    """Return `check(name, answer)`; what takes too long is interrupted."""
    timer = threading.Timer(seconds, _thread.interrupt_main)  # as Ctrl-C does
    start = time.monotonic()
    timer.start()
    try:
        return check(name, answer)
    except KeyboardInterrupt as error:
        if time.monotonic() - start < seconds:  # a person did it
            raise
        why = f"no answer in {seconds} seconds: an endless loop?"
        return "wrong", [why, *place_of(error, answer)]
    finally:
        timer.cancel()


# The command line.


def names_of(word: str) -> list[str]:
    """Return the exercises of a script, or the one that is named."""
    if word in EXERCISES:
        return list(EXERCISES[word])
    if word in ALL:
        return [word]
    near = difflib.get_close_matches(word, [*EXERCISES, *ALL], 1)
    hint = f"did you mean {near[0]}?" if near else ", ".join(EXERCISES)
    raise argparse.ArgumentTypeError(
        f"neither a script nor an exercise: {word!r} ({hint})"
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Check the answers in exercises.py."
    )
    whole = f"{', '.join(EXERCISES)}, or names of exercises; without it all"
    parser.add_argument("what", nargs="*", type=names_of, help=whole)
    for flag in ("hint", "solution"):
        parser.add_argument(
            f"--{flag}",
            metavar="NAME",
            type=names_of,
            default=[],
            help=f"print the {flag}, and end",
        )
    return parser


def script_of(name: str) -> str:
    """Return the script that teaches what an exercise needs."""
    (key,) = [key for key, table in EXERCISES.items() if name in table]
    return f"start_{key.replace('pytorch', 'Pytorch')}.py"


def print_verdict(name: str, status: str, why: list[str], task: str) -> None:
    """Print a line, and below it why, or what to read first."""
    head = f"{status:6} {name}"
    if status == "open":
        effort, _, section = task.rpartition("\n")[2].partition(": ")
        head += f" ({effort})"
        why = [f"{script_of(name)}: {section}"]
    elif status == "wrong":
        head += f": {why[0]}"
        why = why[1:]
    print(textwrap.fill(head, 80, subsequent_indent=" " * 7))
    for line in why:
        print(" " * 7 + line)


def main(arguments: list[str] | None = None, seconds: float = SECONDS) -> None:
    """Print a hint, a solution, or a verdict on each exercise."""
    args = make_parser().parse_args(arguments)
    for name in args.hint:
        print(textwrap.fill(f"{name}: {ALL[name].hint}", 80))
    for name in args.solution:
        solutions = importlib.import_module("solutions")
        print(inspect.getsource(getattr(solutions, name)).rstrip())
    if args.hint or args.solution:
        return

    # Where a shell starts it in the background, Ctrl-C would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers = importlib.import_module("exercises")
    names = [name for part in args.what for name in part] or list(ALL)
    holding = 0
    try:
        for name in names:
            answer = getattr(answers, name, None)
            status, why = check_in_time(name, answer, seconds)
            print_verdict(name, status, why, inspect.getdoc(answer) or "")
            holding += status == "holds"
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(130)
    print(f"{holding} of {len(names)} hold.")
    sys.exit(0 if holding == len(names) else 1)
