"""What is right in exercises.py, and the checker that compares.

For each exercise there are inputs of a size, drawn at random, and a function
that answers in a second way, mostly by a slow loop. Small sizes come first, so
the first input that fails is the smallest one. The table stands at the end.
"""

import argparse
import copy
import difflib
import importlib
import inspect
import math
import multiprocessing
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

SIZES = (1, 2, 3, 5)
DRAWS = 3  # of random inputs for each size
SECONDS = 10  # that an exercise may take
# How its process is made. Linux copies this one, and saves an import of torch.
METHOD = "fork" if sys.platform == "linux" else "spawn"


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


def outer_inputs(n: int) -> dict:
    return {"a": numbers(n), "b": numbers(n + 1)}


def outer_right(a: Tensor, b: Tensor) -> Tensor:
    result = torch.empty(len(a), len(b))
    for i in range(len(a)):
        for j in range(len(b)):
            result[i, j] = a[i] * b[j]
    return result


def negatives_to_zero_inputs(n: int) -> dict:
    return {"x": numbers(n, n + 1)}


def negatives_to_zero_right(x: Tensor) -> Tensor:
    result = torch.empty(x.shape)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            result[i, j] = max(x[i, j].item(), 0)
    return result


def channels_last_inputs(n: int) -> dict:
    return {"image": numbers(n, n + 1, n + 2)}


def channels_last_right(image: Tensor) -> Tensor:
    channels, height, width = image.shape
    result = torch.empty(height, width, channels)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                result[i, j, c] = image[c, i, j]
    return result


def pick_labels_inputs(n: int) -> dict:
    return {
        "logits": numbers(n, n + 1),
        "labels": torch.randint(n + 1, (n,)),
    }


def pick_labels_right(logits: Tensor, labels: Tensor) -> Tensor:
    result = torch.empty(len(labels))
    for i in range(len(labels)):
        result[i] = logits[i, labels[i]]
    return result


def softmax_inputs(n: int) -> dict:
    far = 1000 if n > 1 else 0  # where e^1000 overflows
    return {"logits": numbers(n, n + 1) + far}


def softmax_right(logits: Tensor) -> Tensor:
    # In float64, and e^a / (e^a + e^b + ...) = 1 / (e^(a-a) + e^(b-a) + ...).
    logits = logits.double()
    result = torch.empty(logits.shape)
    for i in range(logits.shape[0]):
        for j in range(logits.shape[1]):
            total = 0.0
            for other in logits[i]:
                total += math.exp(other - logits[i, j])
            result[i, j] = 1 / total
    return result


def pairwise_distances_inputs(n: int) -> dict:
    return {"a": numbers(n, 2), "b": numbers(n + 1, 2)}


def pairwise_distances_right(a: Tensor, b: Tensor) -> Tensor:
    result = torch.empty(len(a), len(b))
    for i in range(len(a)):
        for j in range(len(b)):
            result[i, j] = math.dist(a[i], b[j])
    return result


def convolve_inputs(n: int) -> dict:
    kernel = numbers(3, 1) if n < 3 else numbers(3, 5)
    return {"image": numbers(n, n + 1), "kernel": kernel}


def convolve_right(image: Tensor, kernel: Tensor) -> Tensor:
    height, width = image.shape
    rows, columns = kernel.shape
    result = torch.zeros(height, width)
    for i in range(height):
        for j in range(width):
            for k in range(rows):
                for m in range(columns):
                    row = i + k - rows // 2
                    column = j + m - columns // 2
                    # Outside of the image there is zero.
                    if 0 <= row < height and 0 <= column < width:
                        result[i, j] += kernel[k, m] * image[row, column]
    return result


def fit_inputs(n: int) -> dict:
    return {
        "x": numbers(n + 1, n),
        "y": numbers(n + 1),
        "rate": 0.1,
        "steps": n,
    }


def fit_right(x: Tensor, y: Tensor, rate: float, steps: int) -> Tensor:
    w = torch.zeros(x.shape[1])
    for _ in range(steps):
        gradient = torch.zeros(x.shape[1])
        for i in range(len(x)):
            error = x[i] @ w - y[i]
            gradient += 2 * error * x[i] / len(x)
        w -= rate * gradient
    return w


# start_dataloader.py


def whole_batches_inputs(n: int) -> dict:
    return {"numbers": numbers(3 * n + 2), "size": n + 1}


def whole_batches_right(numbers: Tensor, size: int) -> list[Tensor]:
    batches = []
    start = 0
    while start + size <= len(numbers):
        batches.append(numbers[start : start + size])
        start += size
    return batches


def list_of_batches(answer: Callable, numbers: Tensor, size: int) -> dict:
    return {"the list of its batches": list(answer(numbers, size))}


def held_out_inputs(n: int) -> dict:
    people = torch.randperm(n + 1)[: (n + 1) // 2]
    return {"person": torch.randint(n + 1, (2 * n,)), "people": people}


def held_out_right(person: Tensor, people: Tensor) -> Tensor:
    result = [number in people.tolist() for number in person.tolist()]
    return torch.tensor(result)


def sampler_weights_inputs(n: int) -> dict:
    return {"labels": torch.randint(n + 1, (2 * n + 1,))}


def sampler_weights_right(labels: Tensor) -> Tensor:
    labels = labels.tolist()
    return torch.tensor([1 / labels.count(label) for label in labels])


def stereo_to_mono_inputs(n: int) -> dict:
    return {"samples": numbers(2 * n)}


def stereo_to_mono_right(samples: Tensor) -> Tensor:
    result = torch.empty(len(samples) // 2)
    for i in range(len(result)):
        result[i] = (samples[2 * i] + samples[2 * i + 1]) / 2
    return result


def normalize_inputs(n: int) -> dict:
    train = numbers(n + 1, 3)
    train[:, 2] = 1  # a column of ones
    return {"train": train, "test": numbers(n, 3)}


def normalize_right(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    new_train = torch.empty(train.shape)
    new_test = torch.empty(test.shape)
    for j in range(train.shape[1]):
        mean = sum(train[:, j]) / len(train)
        variance = sum((train[:, j] - mean) ** 2) / len(train)
        std = max(math.sqrt(variance), 1e-6)
        for i in range(len(train)):
            new_train[i, j] = (train[i, j] - mean) / std
        for i in range(len(test)):
            new_test[i, j] = (test[i, j] - mean) / std
    return new_train, new_test


def pad_inputs(n: int) -> dict:
    texts = []
    for _ in range(n + 1):
        length = torch.randint(1, n + 3, ()).item()
        texts.append(torch.randint(1, 10, (length,)))
    return {"texts": texts}


def pad_right(texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    longest = max(len(text) for text in texts)
    padded, mask = [], []
    for text in texts:
        missing = longest - len(text)
        padded.append(text.tolist() + [0] * missing)
        mask.append([True] * len(text) + [False] * missing)
    return torch.tensor(padded), torch.tensor(mask)


def windows_inputs(n: int) -> dict:
    more = torch.randint(n + 1, ()).item()  # left over at the end
    length = n + 1
    return {
        "tokens": torch.randint(10, (n * length + 1 + more,)),
        "length": length,
    }


def windows_right(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    tokens = tokens.tolist()
    x, y = [], []
    start = 0
    while start + length + 1 <= len(tokens):
        x.append(tokens[start : start + length])
        y.append(tokens[start + 1 : start + length + 1])
        start += length
    return torch.tensor(x), torch.tensor(y)


def channel_statistics_inputs(n: int) -> dict:
    batches = [numbers(n + 1, 2, n, n + 1) for _ in range(n)]
    batches.append(1 + numbers(1, 2, n, n + 1))  # a last one that is smaller
    return {"batches": batches}


def channel_statistics_right(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    images = torch.cat(batches)
    means, stds = [], []
    for channel in range(images.shape[1]):
        pixels = images[:, channel].flatten()
        means.append(pixels.mean())
        stds.append(pixels.std(correction=0))
    return torch.stack(means), torch.stack(stds)


# start_buildnn.py


def linear_inputs(n: int) -> dict:
    return {
        "x": numbers(n, n + 1),
        "weight": numbers(n + 2, n + 1),
        "bias": numbers(n + 2),
    }


def linear_right(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    result = torch.empty(len(x), len(weight))
    for i in range(len(x)):
        for j in range(len(weight)):
            total = bias[j].item()
            for k in range(x.shape[1]):
                total += x[i, k] * weight[j, k]
            result[i, j] = total
    return result


def sizes_inputs(n: int) -> dict:
    return {"sizes": torch.randint(1, 10, (n + 1,)).tolist()}


def count_mlp_right(sizes: list[int]) -> int:
    # Build the layers, and count what they have.
    count = 0
    for i in range(len(sizes) - 1):
        layer = nn.Linear(sizes[i], sizes[i + 1])
        count += layer.weight.numel() + layer.bias.numel()
    return count


def dropout_inputs(n: int) -> dict:
    return {
        "x": numbers(n, n + 1),
        "uniform": torch.randint(10, (n, n + 1)) / 10,
        "p": 0.2 if n % 2 else 0.5,
    }


def dropout_right(x: Tensor, uniform: Tensor, p: float) -> Tensor:
    result = torch.zeros(x.shape)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if uniform[i, j] >= p:
                result[i, j] = x[i, j] / (1 - p)
    return result


def build_mlp_right(sizes: list[int]) -> list[nn.Module]:
    layers = [nn.Linear(sizes[0], sizes[1])]
    for i in range(2, len(sizes)):
        layers.append(nn.ReLU())
        layers.append(nn.Linear(sizes[i - 1], sizes[i]))
    return nn.Sequential(*layers)


def layers_in_words(answer: Callable, sizes: list[int]) -> dict:
    model = answer(sizes)
    if not isinstance(model, nn.Sequential):
        return {"the type": kind(model)}
    layers = [str(layer) for layer in model]
    return {"the type": kind(model), "its layers": layers}


def normalize_images_inputs(n: int) -> dict:
    return {"x": numbers(n, 2, n, n + 1), "eps": 0.01}


def normalize_images_right(x: Tensor, eps: float) -> Tensor:
    result = torch.empty(x.shape)
    for i in range(len(x)):
        pixels = x[i].flatten().tolist()
        mean = sum(pixels) / len(pixels)
        variance = sum((pixel - mean) ** 2 for pixel in pixels) / len(pixels)
        result[i] = (x[i] - mean) / math.sqrt(variance + eps)
    return result


def attention_inputs(n: int) -> dict:
    return {
        "q": numbers(2, n, 3),
        "k": numbers(2, n + 1, 3),
        "v": numbers(2, n + 1, 2),
    }


def attention_right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, queries, size = q.shape
    result = torch.empty(batch, queries, v.shape[2])
    for b in range(batch):
        for i in range(queries):
            powers = []
            for key in k[b]:
                powers.append(torch.exp(q[b, i] @ key / math.sqrt(size)))
            mean = torch.zeros(v.shape[2])
            for j in range(len(powers)):
                mean += powers[j] / sum(powers) * v[b, j]
            result[b, i] = mean
    return result


def window_mask_inputs(n: int) -> dict:
    return {"time": n + 1, "width": torch.randint(1, n + 2, ()).item()}


def window_mask_right(time: int, width: int) -> Tensor:
    result = torch.zeros(time, time, dtype=torch.bool)
    for query in range(time):
        for key in range(time):
            result[query, key] = query - width < key <= query
    return result


def split_heads_inputs(n: int) -> dict:
    return {"x": numbers(n, n + 2, 2 * (n + 1)), "heads": n + 1}


def split_heads_right(x: Tensor, heads: int) -> Tensor:
    size = x.shape[2] // heads
    parts = []
    for head in range(heads):
        parts.append(x[:, :, head * size : (head + 1) * size])
    return torch.stack(parts, dim=1)


# start_autograd.py


def numbers_with_grad(n: int) -> dict:
    return {"x": numbers(n).requires_grad_()}


def cube_gradient_right(x: Tensor) -> Tensor:
    return torch.tensor([3 * number**2 for number in x.tolist()])


def two_gradients_right(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach()
    return 2 * x, 3 * x**2


def descend_inputs(n: int) -> dict:
    return {"w": numbers(n), "rate": 0.01, "steps": n}


def descend_right(w: Tensor, rate: float, steps: int) -> Tensor:
    with torch.no_grad():
        for _ in range(steps):
            w -= rate * 4 * w**3
    return w


def weight_afterwards(
    answer: Callable, w: Tensor, rate: float, steps: int
) -> dict:
    w = w.clone().requires_grad_()
    returned = answer(w, rate, steps)
    return {
        "w, as it was given, afterwards": w,
        "what is returned": returned,
        "whether that is a leaf": getattr(returned, "is_leaf", False),
    }


def round_straight_through_right(x: Tensor) -> Tensor:
    return x + torch.tensor([round(v) - v for v in x.tolist()])


def value_and_slope(answer: Callable, x: Tensor) -> dict:
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


def numerical_gradient_right(f: Callable, x: Tensor, h: float) -> Tensor:
    result = []
    for i in range(len(x)):
        above, below = x.clone(), x.clone()
        above[i] += h
        below[i] -= h
        result.append((f(above) - f(below)) / (2 * h))
    return torch.stack(result)


def silu_backward_inputs(n: int) -> dict:
    return {"x": numbers(n).requires_grad_(), "gradient": numbers(n)}


def slope_of_silu(answer: Callable, x: Tensor, gradient: Tensor) -> dict:
    """Let torch call the answer, as backward of a Function."""

    class Silu(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x * x.sigmoid()

        backward = staticmethod(answer)

    Silu.apply(x).backward(gradient)
    return {"the gradient of the loss by x": x.grad}


def silu_backward_right(context, gradient: Tensor) -> Tensor:
    (x,) = context.saved_tensors
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = nn.functional.silu(x)
    return torch.autograd.grad(y, x, gradient)[0]


def hessian_times_inputs(n: int) -> dict:
    return {"loss": cubes, "w": numbers(n).requires_grad_(), "u": numbers(n)}


def hessian_times_right(loss: Callable, w: Tensor, u: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(loss, w) @ u


def gradient_of_each_sample_inputs(n: int) -> dict:
    return {"w": numbers(n + 1), "x": numbers(n, n + 1), "y": numbers(n)}


def gradient_of_each_sample_right(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    result = torch.empty(x.shape)
    for i in range(len(x)):
        result[i] = 2 * (x[i] @ w - y[i]) * x[i]
    return result


# start_optimizer.py


def accuracy_inputs(n: int) -> dict:
    rows = [torch.randperm(n + 1) / 10 for _ in range(n)]  # no two are equal
    labels = torch.randint(n + 1, (n,))
    return {"logits": torch.stack(rows), "labels": labels}


def accuracy_right(logits: Tensor, labels: Tensor) -> float:
    right = 0
    for i in range(len(labels)):
        if logits[i, labels[i]] == max(logits[i]):
            right += 1
    return right / len(labels)


def mean_of_epoch_inputs(n: int) -> dict:
    return {
        "losses": numbers(n + 1).abs().tolist(),
        "sizes": torch.randint(1, 5, (n + 1,)).tolist(),
    }


def mean_of_epoch_right(losses: list[float], sizes: list[int]) -> float:
    samples = []  # each sample with the mean of its batch
    for i in range(len(losses)):
        samples += [losses[i]] * sizes[i]
    return sum(samples) / len(samples)


def training_step_inputs(n: int) -> dict:
    return {
        "weight of the model": numbers(1, n),
        "its old gradient": numbers(1, n),
        "x": numbers(n + 1, n),
        "y": numbers(n + 1, 1),
    }


def linear_and_sgd(weight: Tensor) -> tuple[nn.Linear, torch.optim.SGD]:
    """Return a Linear of that weight and no bias, and SGD of lr 0.1."""
    model = nn.Linear(weight.shape[1], 1, bias=False)
    model.weight = nn.Parameter(weight.clone())
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def loss_and_weight(
    answer: Callable, weight: Tensor, old_gradient: Tensor, x: Tensor, y: Tensor
) -> dict:
    model, optimizer = linear_and_sgd(weight)
    model.weight.grad = old_gradient.clone()
    loss = answer(model, optimizer, x, y)
    return {"the loss": loss, "model.weight afterwards": model.weight}


def training_step_right(
    model: nn.Linear, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> float:
    # By hand, for a Linear without bias and SGD of lr 0.1.
    with torch.no_grad():
        error = x @ model.weight.T - y
        model.weight -= 0.1 * 2 * (error * x).mean(dim=0)
    return (error**2).mean().item()


def warmup_hold_fall_inputs(n: int) -> dict:
    hold = n + torch.randint(1, 4, ()).item()
    total = hold + n + 1
    step = torch.randint(total, ()).item()
    return {"step": step, "warmup": n, "hold": hold, "total": total}


def warmup_hold_fall_right(
    step: int, warmup: int, hold: int, total: int
) -> float:
    # Walk there, a step at a time.
    factor = 1 / warmup
    for now in range(1, step + 1):
        if now < warmup:
            factor += 1 / warmup
        if now > hold:
            factor -= 1 / (total - hold)
    return factor


def clip_inputs(n: int) -> dict:
    gradients = [numbers(n), numbers(n, 2)]
    return {"gradients": gradients, "max_norm": 1.0 if n % 2 else 3.0 * n}


def clip_right(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    squares = 0.0
    for gradient in gradients:
        for number in gradient.flatten().tolist():
            squares += number**2
    norm = math.sqrt(squares)
    if norm <= max_norm:
        return [gradient.clone() for gradient in gradients]
    return [gradient * max_norm / norm for gradient in gradients]


def predict_inputs(n: int) -> dict:
    return {"weight of the model": numbers(n + 1, n), "x": numbers(n + 2, n)}


def dropout_model(answer: Callable, weight: Tensor, x: Tensor) -> dict:
    """Ask a model with dropout, which is in train mode."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone())
    model = nn.Sequential(linear, nn.Dropout(0.5))
    y = answer(model, x)
    return {
        "model(x), with dropout in the model": y,
        "whether it has a graph": getattr(y, "requires_grad", False),
        "whether the model is in train mode afterwards": model.training,
    }


def predict_right(model: nn.Sequential, x: Tensor) -> Tensor:
    return x @ model[0].weight.detach().T


def adam_inputs(n: int) -> dict:
    return {"w": numbers(n), "gradients": numbers(n + 1, n), "lr": 0.1}


def adam_right(w: Tensor, gradients: Tensor, lr: float) -> Tensor:
    w = w.clone().requires_grad_()
    optimizer = torch.optim.Adam([w], lr=lr)
    for gradient in gradients:
        w.grad = gradient.clone()
        optimizer.step()
    return w


def accumulate_inputs(n: int) -> dict:
    parts = [(numbers(n + 1, n), numbers(n + 1, 1)) for _ in range(n)]
    parts.append((numbers(1, n), numbers(1, 1)))  # a smaller one
    return {"weight of the model": numbers(1, n), "parts": parts}


def weight_after_parts(answer: Callable, weight: Tensor, parts: list) -> dict:
    model, optimizer = linear_and_sgd(weight)
    answer(model, optimizer, parts)
    return {"model.weight afterwards": model.weight}


def accumulate_right(
    model: nn.Linear, optimizer: torch.optim.Optimizer, parts: list
) -> nn.Module:
    # All samples in one batch, one step.
    x = torch.cat([x for x, _ in parts])
    y = torch.cat([y for _, y in parts])
    optimizer.zero_grad()
    ((model(x) - y) ** 2).mean().backward()
    optimizer.step()
    return model


# The table: how each exercise is tried, and its hint.

EXERCISES = {
    "pytorch": {
        "outer": Exercise(
            outer_inputs,
            outer_right,
            "`a[:, None]` is a column, (m, 1); what is (m, 1) times (n,)?",
            without=("outer", "ger"),
        ),
        "negatives_to_zero": Exercise(
            negatives_to_zero_inputs,
            negatives_to_zero_right,
            "`y = x.clone()`, then write 0 into y where `x < 0`.",
        ),
        "channels_last": Exercise(
            channels_last_inputs,
            channels_last_right,
            "`permute` takes the old dims in their new order: 1 is the height.",
        ),
        "pick_labels": Exercise(
            pick_labels_inputs,
            pick_labels_right,
            "`logits.gather(1, column)` with labels as a column, (n, 1).",
        ),
        "softmax": Exercise(
            softmax_inputs,
            softmax_right,
            "`amax` and `sum` with `dim=1, keepdim=True` give (n, 1).",
            without=("softmax", "log_softmax"),
        ),
        "pairwise_distances": Exercise(
            pairwise_distances_inputs,
            pairwise_distances_right,
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
            whole_batches_inputs,
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
            sampler_weights_inputs,
            sampler_weights_right,
            "`bincount` counts each class; labels are indexes into counts.",
        ),
        "stereo_to_mono": Exercise(
            stereo_to_mono_inputs,
            stereo_to_mono_right,
            "Make it (n, 2), a row for each pair; then the mean of each row.",
        ),
        "normalize": Exercise(
            normalize_inputs,
            normalize_right,
            "`mean(dim=0)`, `std(dim=0, correction=0).clamp(min=1e-6)` of train"
            " serve both.",
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
            without=("cat", "concat", "stack", "vstack"),
        ),
    },
    "buildnn": {
        "linear": Exercise(
            linear_inputs,
            linear_right,
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
            normalize_images_inputs,
            normalize_images_right,
            "`mean(dim=(1, 2, 3), keepdim=True)`; the variance is the mean of"
            " the squares of what is centered.",
        ),
        "attention": Exercise(
            attention_inputs,
            attention_right,
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
            split_heads_inputs,
            split_heads_right,
            "`unflatten(2, (heads, -1))` cuts the width; then swap two dims.",
        ),
    },
    "autograd": {
        "cube_gradient": Exercise(
            numbers_with_grad,
            cube_gradient_right,
            "`(x**3).sum()` is one number: call its `backward()`, and return"
            " `x.grad`.",
        ),
        "two_gradients": Exercise(
            numbers_with_grad,
            two_gradients_right,
            "Keep the first `x.grad`, set `x.grad = None`, then the second.",
        ),
        "descend": Exercise(
            descend_inputs,
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
            silu_backward_inputs,
            silu_backward_right,
            "The slope times `gradient`: that is the chain rule.",
            use=slope_of_silu,
        ),
        "hessian_times": Exercise(
            hessian_times_inputs,
            hessian_times_right,
            "`torch.autograd.grad(loss(w), w, create_graph=True)[0]`, and then"
            " the gradient of that @ u.",
        ),
        "gradient_of_each_sample": Exercise(
            gradient_of_each_sample_inputs,
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


def shape(value: Tensor) -> str:
    """Return the shape of a tensor as (2, 3)."""
    return str(tuple(value.shape))


def difference(came: Any, expected: Any) -> Fault | None:
    """Return how `came` differs from `expected`, or None."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            fault = difference(came.get(name), value)
            if fault:
                return fault._replace(what=f"{name}: {fault.what}")
        return None
    if isinstance(expected, list | tuple):
        if not isinstance(came, list | tuple):
            what = f"the type is {kind(came)}, not {kind(expected)}"
            return Fault(what, came, expected)
        if len(came) != len(expected):
            what = f"there are {len(came)} of them, not {len(expected)}"
            return Fault(what, came, expected)
        for i in range(len(expected)):
            fault = difference(came[i], expected[i])
            if fault:
                return fault._replace(what=f"number {i + 1}: {fault.what}")
        return None
    if isinstance(expected, Tensor):
        return difference_of_tensors(came, expected)
    # An int will do for a float; True would count as an int.
    fits = float | int if isinstance(expected, float) else type(expected)
    if not isinstance(came, fits) or kind(came) == "bool" != kind(expected):
        what = f"the type is {kind(came)}, not {kind(expected)}"
        if isinstance(came, Tensor):
            what += ": `.item()` makes one"
        return Fault(what, came, expected)
    if isinstance(expected, float):
        equal = math.isclose(came, expected, rel_tol=1e-4, abs_tol=1e-5)
    else:
        equal = came == expected
    return None if equal else Fault("the value is another", came, expected)


def difference_of_tensors(came: Any, expected: Tensor) -> Fault | None:
    """Return how a tensor differs: its type, shape, dtype or numbers."""
    if not isinstance(came, Tensor):
        what = f"the type is {kind(came)}, not Tensor"
        return Fault(what, came, expected)
    came, expected = came.detach(), expected.detach()
    what = ""
    if came.shape != expected.shape:
        what = f"the shape is {shape(came)}, not {shape(expected)}"
    elif came.dtype != expected.dtype:
        what = f"the dtype is {came.dtype}, not {expected.dtype}"
    elif not torch.allclose(came, expected, rtol=1e-4, atol=1e-5):
        what = "the values are others"
    return Fault(what, came, expected) if what else None


def rounded(value: Any) -> Any:
    """Return a value with fewer digits, also in lists."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return value


def lines_of(value: Any) -> list[str]:
    """Return a value as Python would write it, a tensor in a list a line."""
    if callable(value) and hasattr(value, "__name__"):
        return [value.__name__]
    text = repr(rounded(value))
    if not isinstance(value, list | tuple) or "tensor(" not in text:
        return [line for line in text.splitlines() if line]
    lines = []
    for part in value:
        *first, last = lines_of(part)
        lines += [*first, last + ","]
    opening, closing = "[]" if isinstance(value, list) else "()"
    lines[-1] = lines[-1][:-1] + closing
    return [opening + lines[0], *[" " + line for line in lines[1:]]]


def shown(label: str, value: Any) -> str:
    """Return `label value`, with at most 12 lines below each other."""
    lines = lines_of(value)
    if len(lines) > 12:
        lines = [*lines[:12], "..."]
    return label + ("\n" + " " * len(label)).join(lines)


# One exercise.


class NothingReturnedError(Exception):
    """The answer returned None."""


def untouched() -> None:
    """Compile to what an exercise is before it is filled in."""
    ...


def place_of(error: BaseException, answer: Callable) -> str:
    """Return the line of the answer at which an error was raised."""
    code = answer.__code__
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if (frame.filename, frame.name) == (code.co_filename, code.co_name):
            return f"line {frame.lineno}: {frame.line}"
    return ""


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
        if exercise.use:
            return exercise.use(function, *values.values())
        return function(*values.values())

    given = copy.deepcopy(inputs)
    came = use(call, given)
    expected = use(exercise.right, copy.deepcopy(inputs))
    fault = difference(came, expected)
    if fault:
        return fault
    for name, value in inputs.items():
        fault = difference(given[name], value)
        if fault:
            what = f"the answer is right, but it changes its input {name}"
            return Fault(what, given[name], value)
    return None


def check(name: str, answer: Any) -> tuple[str, str]:
    """Return "holds", "open" or "wrong", and in lines why."""
    exercise = ALL[name]
    if not inspect.isfunction(answer):
        return "wrong", f"there is no function {name} in exercises.py"
    for used in exercise.without:
        if used in answer.__code__.co_names:
            return "wrong", f"the task wants it without `{used}`"
    for size in SIZES:
        for draw in range(DRAWS):
            torch.manual_seed(10 * size + draw)
            inputs = exercise.inputs(size)
            why = ""
            try:
                fault = try_inputs(answer, exercise, inputs)
            except NothingReturnedError:
                if answer.__code__.co_code == untouched.__code__.co_code:
                    return "open", ""
                return "wrong", "it returns None: is there a `return`?"
            except (Exception, SystemExit) as error:
                message = str(error).partition("\n")[0]
                why = f"{kind(error)}: {message}\n{place_of(error, answer)}"
                fault = None
            if fault:
                why = fault.what
            if why:
                lines = [why.rstrip()]
                for label, value in inputs.items():
                    lines.append(shown(f"{label} = ", value))
                if fault:
                    lines.append(shown("came:     ", fault.came))
                    lines.append(shown("expected: ", fault.expected))
                return "wrong", "\n".join(lines)
    return "holds", ""


# All exercises, in a process that can be stopped.


def check_all(pipe: Connection, names: list[str]) -> None:
    """Send that all is imported, then a verdict on each exercise."""
    try:
        answers = importlib.import_module("exercises")
        pipe.send("ready")
        for name in names:
            verdict = check(name, getattr(answers, name, None))
            sys.stdout.flush()  # what an answer has printed comes before it
            pipe.send(verdict)
    except KeyboardInterrupt:
        pass  # the process that waits says so


def verdicts(
    names: list[str], seconds: float = SECONDS
) -> Iterator[tuple[str, str, str]]:
    """Yield name, status and why; an endless loop ends with its process."""
    context = multiprocessing.get_context(METHOD)
    waiting = list(names)
    while waiting:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=check_all, args=(there, waiting))
        process.start()
        there.close()  # else its end would not be noticed here
        ready = False
        try:
            ready = here.recv() == "ready"  # time counts from here
            while waiting and here.poll(seconds):
                status, why = here.recv()
                yield waiting.pop(0), status, why
            if waiting:
                why = f"no answer in {seconds} seconds: an endless loop?"
                yield waiting.pop(0), "wrong", why
        except EOFError:
            process.join()
            if not ready:
                sys.exit("exercises.py cannot be imported, see above")
            why = f"it ended the process, with status {process.exitcode}"
            yield waiting.pop(0), "wrong", why
        finally:
            process.kill()
            process.join()


# The command line.


def named(name: str) -> str:
    """Return the name of an exercise, for argparse."""
    if name not in ALL:
        near = difflib.get_close_matches(name, ALL, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise argparse.ArgumentTypeError(f"no exercise {name!r}{hint}")
    return name


def script_or_named(name: str) -> list[str]:
    """Return the exercises of a script, or the one that is named."""
    if name in EXERCISES:
        return list(EXERCISES[name])
    if name in ALL:
        return [name]
    near = difflib.get_close_matches(name, [*EXERCISES, *ALL], 1)
    hint = f"did you mean {near[0]}?" if near else ", ".join(EXERCISES)
    raise argparse.ArgumentTypeError(
        f"neither a script nor an exercise: {name!r} ({hint})"
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description="Check the answers in exercises.py."
    )
    parser.add_argument(
        "what",
        nargs="*",
        type=script_or_named,
        help=f"{', '.join(EXERCISES)}, or names of exercises; without it all",
    )
    parser.add_argument(
        "--hint", metavar="NAME", type=named, help="print a hint, and end"
    )
    parser.add_argument(
        "--solution",
        metavar="NAME",
        type=named,
        help="print a solution, and end",
    )
    return parser


def about(name: str) -> tuple[str, str, str]:
    """Return minutes, difficulty and section, from what the task says."""
    task = getattr(importlib.import_module("exercises"), name, None)
    found = re.search(
        r"(\d+) minutes, (\w+): (\w+)\s*$", inspect.getdoc(task) or ""
    )
    return found.groups() if found else ("?", "?", "?")


def script_of(name: str) -> str:
    """Return the script that teaches what an exercise needs."""
    (key,) = [key for key, table in EXERCISES.items() if name in table]
    return f"start_{key.replace('pytorch', 'Pytorch')}.py"


def print_verdict(name: str, status: str, why: str) -> None:
    """Print a line, and below it why, or what to read first."""
    minutes, difficulty, section = about(name)
    if status == "open":
        print(f"open   {name} ({minutes} minutes, {difficulty})")
        print(f"       {script_of(name)}: {section}")
    elif status == "holds":
        print(f"holds  {name}")
    else:
        first, *rest = why.splitlines()
        first = f"wrong  {name}: {first}"
        print(textwrap.fill(first, 80, subsequent_indent=" " * 7))
        for line in rest:
            print(f"       {line}")
    sys.stdout.flush()


def main(arguments: list[str] | None = None, seconds: float = SECONDS) -> None:
    """Print a hint, a solution, or a verdict on each exercise."""
    args = make_parser().parse_args(arguments)
    if args.hint:
        print(textwrap.fill(ALL[args.hint].hint, 80))
    if args.solution:
        solutions = importlib.import_module("solutions")
        print(inspect.getsource(getattr(solutions, args.solution)).rstrip())
    if args.hint or args.solution:
        return
    names = list(ALL)
    if args.what:
        names = [name for part in args.what for name in part]
    holding = 0
    try:
        for name, status, why in verdicts(names, seconds):
            print_verdict(name, status, why)
            holding += status == "holds"
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(130)
    print(f"{holding} of {len(names)} hold.")
    sys.exit(0 if holding == len(names) else 1)
