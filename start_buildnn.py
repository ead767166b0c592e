# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""Building networks: every layer beside its twin, written out by hand.

Run      python start_buildnn.py      (no download, any device, 10 s)
Read     README.md, "Building networks"
Symbols  x input, y output, w weight, h hidden state, t time, p chance,
         q k v query, key, value, r z n the gates and the proposal of a GRU
"""

import argparse
import contextlib
import io
import itertools
import linecache
import math
import os
import re
import sys
import tempfile
import textwrap
import timeit
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


# %%
class Network(nn.Module):
    """Pixels to ten scores: 784-20-10, the scores left as they are."""

    def __init__(self):
        super().__init__()  # first: it makes the place where layers are kept
        # A module that is set as an attribute becomes part of the tree.
        self.flatten = nn.Flatten()
        self.body = nn.Sequential(
            nn.Linear(28 * 28, 20), nn.ReLU(), nn.Linear(20, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, 10) of images (batch, 28, 28)."""
        return self.body(self.flatten(x))


def a_model_is_a_tree_of_modules(device: torch.device) -> dict[str, object]:
    """A module is made of modules; hooks run in `model(x)`, not in `forward`.

    Returns the names in the tree, the scores (3, 10), and how often the hook
    had run after `model.forward(x)`, after `model(x)`, and once removed.
    """
    torch.manual_seed(0)
    model = Network().to(device)  # moves all weights of the tree
    print(model)  # the tree, one module a line

    def walk(module: nn.Module, name: str) -> Iterator[str]:
        """Yield the names of a module and of all below it, depth first."""
        yield name
        for child_name, child in module.named_children():
            yield from walk(child, f"{name}.{child_name}".lstrip("."))

    names = [name for name, _ in model.named_modules()]
    assert names == list(walk(model, ""))  # the root has the empty name
    assert model.get_submodule("body.2") is model.body[2]
    print("all names below the root:", ", ".join(names[1:]))

    # A hook is a function of yours that the call runs after `forward`: so
    # models are called, and `forward` is only written.
    images = torch.rand(3, 28, 28, device=device)
    runs, counts = [], []
    hook = model.register_forward_hook(lambda *_: runs.append("ran"))
    for call in (model.forward, model):
        scores = call(images)  # (3, 10)
        counts.append(len(runs))
    hook.remove()
    torch.testing.assert_close(model(images), scores)
    counts.append(len(runs))
    print(f"the hook ran {counts[0]} times in model.forward(images),", end=" ")
    print(f"{counts[1]} time in model(images)")
    assert counts == [0, 1, 1]
    return {"names": names, "scores": scores, "counts": counts}


# %%
class HandFlatten(nn.Module):
    """All dimensions but the first, the batch, become one."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, product of the other sizes)."""
        return x.reshape(len(x), -1)  # -1: whatever size is left


class HandLinear(nn.Module):
    """Each output is a weighted sum of all inputs, plus a bias."""

    def __init__(self, in_features, out_features):
        super().__init__()
        # The start of torch: uniform, out to 1 / sqrt(in_features).
        limit = in_features**-0.5
        weight = torch.empty(out_features, in_features).uniform_(-limit, limit)
        bias = torch.empty(out_features).uniform_(-limit, limit)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out_features) for x (..., in_features)."""
        # The weight is kept as (out_features, in_features), one row an output.
        return x @ self.weight.T + self.bias


class HandReLU(nn.Module):
    """What is negative becomes 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is positive, else 0."""
        return torch.where(x > 0, x, 0.0)  # its slope is 1 or 0, at 0 it is 0


class HandSoftmax(nn.Module):
    """Positive numbers that add up to 1 along `dim`."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return exp(x) / sum(exp(x)); the largest x is taken off first."""
        # It cancels in the fraction, and exp(100) would be inf.
        powers = (x - x.amax(self.dim, keepdim=True)).exp()
        return powers / powers.sum(self.dim, keepdim=True)


class HandSequential(nn.Module):
    """Layers named "0", "1", ...; the output of one is the next one's input."""

    def __init__(self, *layers):
        super().__init__()
        for number, layer in enumerate(layers):
            self.add_module(str(number), layer)  # a name need not be fixed

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the last layer."""
        for layer in self.children():
            x = layer(x)
        return x


def plain_layers_are_one_line_each(
    device: torch.device,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Flatten, Linear, ReLU, Softmax, Sequential: each equals its twin.

    A batch of 3 images, 28 x 28, goes through them one after the other.
    Twins are loaded with the weights of torch's layer, so the names and shapes
    of the weights are compared as well. Returns name -> (by hand, by torch).
    """
    torch.manual_seed(0)
    twins = [HandFlatten(), HandLinear(784, 20), HandReLU()]
    twins += [HandLinear(20, 10), HandSoftmax(dim=1)]
    layers = [nn.Flatten(), nn.Linear(784, 20), nn.ReLU()]
    layers += [nn.Linear(20, 10), nn.Softmax(dim=1)]
    pairs = list(zip(twins, layers, strict=True))
    pairs.append((HandSequential(*twins), nn.Sequential(*layers)))

    images = torch.rand(3, 28, 28, device=device)  # (batch, height, width)
    x, outputs = images, {}
    for number, (twin, layer) in enumerate(pairs):
        name = f"{number} {type(layer).__name__}"
        # Layer by layer, and at last through all of them in one call.
        x = images if "Sequential" in name else x
        twin.load_state_dict(layer.state_dict())
        results = []
        for module in (twin, layer):
            module.to(device).zero_grad()
            leaf = x.clone().requires_grad_()  # so that x gets a gradient too
            y = module(leaf)
            # Some number made of all outputs, so that there is a gradient.
            y.square().sum().backward()
            gradients = [weight.grad for weight in module.parameters()]
            results.append([y.detach(), leaf.grad, *gradients])
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
        outputs[name] = results[0][0], results[1][0]
        print(f"{name:13} {str(tuple(x.shape)):11} -> {tuple(y.shape)}")
        x = y.detach()  # what comes out is what goes into the next
    print("equal by hand and by torch: outputs, and gradients of x and weights")
    assert torch.equal(outputs["4 Softmax"][1], outputs["5 Sequential"][1])
    # Inside a `forward`, Flatten is often written as a method.
    assert torch.equal(outputs["0 Flatten"][1], images.flatten(1))
    return outputs


# %%
def the_last_layer_stays_bare(
    device: torch.device, *, steps: int = 200, lr: float = 1.0
) -> dict[str, Tensor | float]:
    """Scores are signed; softmax keeps their order, a ReLU destroys it.

    The loss is -log softmax(scores)[label]; its gradient with respect to the
    scores is softmax(scores) - one_hot(label). Scores before softmax are the
    logits. Returns both gradients, and both losses after `steps` steps.
    """
    logits = torch.tensor([[2.0, -1.0, -3.0]], device=device)  # (1, classes)
    label = torch.tensor([2], device=device)
    probabilities = logits.softmax(dim=1)  # dim 1: over the classes of a sample
    # Only differences of scores count: 5 more for all changes nothing.
    torch.testing.assert_close(probabilities, (logits + 5).softmax(dim=1))
    # The order stays: to guess, no softmax is needed.
    assert torch.equal(logits.argsort(), probabilities.argsort())

    def show(name: str, row: Tensor) -> None:
        numbers = "".join(f"{number:8.3f}" for number in row[0].tolist())
        print(f"{name:34}{numbers}")

    show("logits of classes 0, 1, 2", logits)
    show("softmax: they add up to 1", probabilities)
    show("softmax after a ReLU: 1, 2 tie", logits.relu().softmax(dim=1))

    # The loss pulls the score of the label up, and all others down.
    expected = probabilities - F.one_hot(label, 3)  # (1, classes)
    found = {}
    for name, last in {"bare": nn.Identity(), "ReLU": nn.ReLU()}.items():
        scores = logits.clone().requires_grad_()
        # cross_entropy takes logits: the softmax is in it.
        F.cross_entropy(last(scores), label).backward()
        found[f"gradient, {name}"] = scores.grad.clone()
        show(f"gradient for label 2, {name}", scores.grad)

        # Descend on the scores themselves, as a network could at best.
        for _ in range(steps):
            scores.grad = None
            loss = F.cross_entropy(last(scores), label)
            loss.backward()
            with torch.no_grad():
                scores -= lr * scores.grad
        found[f"loss, {name}"] = loss.item()
        print(f"loss after {steps} steps, {name:13}{loss.item():8.3f}")
    torch.testing.assert_close(found["gradient, bare"], expected)
    # A score below 0 gets no gradient, so class 2 can never win, only tie.
    assert math.isclose(found["loss, ReLU"], math.log(3), rel_tol=1e-5)
    assert found["loss, bare"] < 0.01
    print("1.099 is log(3): three alike, and class 2 can never win")
    return found


# %%
def parameter_counts_follow_formulas() -> dict[str, tuple[int, int]]:
    """How many numbers a layer learns is known before it is built.

    Returns layer -> (counted, by the formula that is printed with it).
    """
    layers = {
        # A weight for each pair of input and output, a bias for each output.
        "Linear(784, 20)": (
            nn.Linear(784, 20),
            ("in * out + out", 784 * 20 + 20),
        ),
        # The size of the image is not in it: one kernel serves every place.
        "Conv2d(3, 16, 5)": (
            nn.Conv2d(3, 16, 5),
            ("in * out * kernel**2 + out", 3 * 16 * 5**2 + 16),
        ),
        # Each group of outputs sees its own group of inputs alone.
        "Conv2d(16, 32, 3, groups=4)": (
            nn.Conv2d(16, 32, 3, groups=4),
            ("in * out / groups * kernel**2 + out", 16 * 32 // 4 * 3**2 + 32),
        ),
        "BatchNorm2d(16)": (nn.BatchNorm2d(16), ("2 * channels", 2 * 16)),
        "LayerNorm(32)": (nn.LayerNorm(32), ("2 * width", 2 * 32)),
        "Embedding(1000, 32)": (
            nn.Embedding(1000, 32),
            ("words * width", 1000 * 32),
        ),
        # Four Linear layers: query, key, value, output; heads share them out.
        "MultiheadAttention(32, 4)": (
            nn.MultiheadAttention(32, 4),
            ("4 * (width**2 + width)", 4 * (32**2 + 32)),
        ),
        # 3 gates, each a Linear from the input and one from the state.
        "GRU(10, 20)": (
            nn.GRU(10, 20),
            ("3 * hidden * (in + hidden + 2)", 3 * 20 * (10 + 20 + 2)),
        ),
        "LSTM(10, 20)": (
            nn.LSTM(10, 20),
            ("4 * hidden * (in + hidden + 2)", 4 * 20 * (10 + 20 + 2)),
        ),
        "MaxPool2d(2)": (nn.MaxPool2d(2), ("nothing to learn", 0)),
    }
    counts = {}
    for name, (layer, (formula, expected)) in layers.items():
        # numel() is the number of elements: the product of the shape.
        counted = sum(weight.numel() for weight in layer.parameters())
        assert counted == expected, name
        counts[name] = counted, expected
        print(f"{name:27} {counted:6,} = {formula}")
    return counts


# %%
class WordModel(nn.Module):
    """Words to scores of words; the first and the last layer share a table."""

    def __init__(self, words=50, width=8):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.norm = nn.BatchNorm1d(width)
        self.output = nn.Linear(width, words, bias=False)
        self.output.weight = self.embedding.weight  # one tensor, two names
        # A plain attribute would be left behind by `to` and by saving.
        self.register_buffer("scale", torch.tensor(width**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (batch, words) of word numbers (batch,)."""
        return self.output(self.norm(self.embedding(x)) * self.scale)


def parameters_learn_and_buffers_are_carried(
    device: torch.device,
) -> dict[str, object]:
    """A buffer moves and is saved like a parameter, but has no gradient.

    Returns the shapes of parameters and buffers by name, the number of
    parameters with the shared table counted once, and of those saved.
    """
    model = WordModel().to(device)
    # Parameters are what an optimizer is given; buffers are all the rest.
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())
    for kind, group in {"parameter": parameters, "buffer": buffers}.items():
        for name, tensor in group.items():
            shape, count = tuple(tensor.shape), tensor.numel()
            print(f"{kind:10} {name:25} {str(shape):8} {count:4}")
            assert tensor.device.type == device.type

    total = sum(weight.numel() for weight in parameters.values())
    assert total == 50 * 8 + 2 * 8  # and not 2 * 50 * 8 + 2 * 8
    print(
        f"{total} parameters: output.weight is embedding.weight, counted once"
    )

    # A backward pass reaches every parameter and no buffer.
    model(torch.tensor([3, 7], device=device)).square().sum().backward()
    assert all(weight.grad is not None for weight in parameters.values())
    assert not any(buffer.requires_grad for buffer in buffers.values())
    assert model.norm.num_batches_tracked == 1  # a buffer changes all the same

    # The state lists every name, the shared tensor under both of its own.
    state = model.state_dict()
    assert set(state) == {*parameters, *buffers, "output.weight"}
    print(f"{len(state)} names in state_dict(): one more, output.weight")
    return {
        "parameters": {n: tuple(p.shape) for n, p in parameters.items()},
        "buffers": {n: tuple(b.shape) for n, b in buffers.items()},
        "total": total,
        "saved": sorted(state),
    }


# %%
def initialization_decides_how_far_signals_reach(
    device: torch.device, figures: Path, *, depth: int = 20, width: int = 512
) -> dict[str, list[float]]:
    """Too small weights fade the signal, too large explode it, He's keep it.

    With weights of spread s, y = relu(x) @ weight has the mean square
    width * s**2 / 2 times that of x: half of it is lost in the ReLU. Spread is
    short for the standard deviation. Returns scheme -> spread after each layer.
    Source: Glorot & Bengio 2010 (Xavier), He et al. 2015.
    """
    torch.manual_seed(0)
    spreads = {  # of a single weight
        "normal, 0.1": 0.1,
        "Xavier": (1 / width) ** 0.5,
        "He": (2 / width) ** 0.5,
        "torch default": (1 / width / 3) ** 0.5,
    }
    start = {  # each overwrites the weight in its place, as the _ says
        "normal, 0.1": lambda weight: nn.init.normal_(weight, std=0.1),
        "Xavier": nn.init.xavier_normal_,
        "He": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "torch default": lambda weight: None,  # as nn.Linear leaves it
    }
    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    curves, layer_numbers = {}, list(range(1, depth + 1))
    print(f"standard deviation      layer 1     layer {depth}   by formula")
    for name, initialize in start.items():
        # Drawn on the CPU, so that every device gets the same numbers.
        x = torch.randn(64, width).to(device)
        curve = []
        for _ in layer_numbers:
            # A bias is the same for every sample: it would hide the fading.
            layer = nn.Linear(width, width, bias=False)
            initialize(layer.weight)
            y = layer.to(device)(x).detach()  # (64, width)
            curve.append(y.std().item())
            x = y.relu()  # which loses half of the mean square
        # The first layer has no ReLU before it, each later one has.
        gain = width**0.5 * spreads[name]
        formula = [gain * (gain / 2**0.5) ** n for n in range(depth)]
        # Chance adds a little in every layer, so the agreement is rough.
        assert 0.5 < curve[-1] / formula[-1] < 2, name
        (line,) = panel.semilogy(layer_numbers, curve, "o", label=name)
        panel.semilogy(layer_numbers, formula, color=line.get_color())
        curves[name] = curve
        print(f"{name:18} {curve[0]:12.3g} {curve[-1]:12.3g}", end="")
        print(f" {formula[-1]:12.3g}")
    assert curves["Xavier"][-1] < 0.01 < 1 < curves["He"][-1] < 2
    assert curves["normal, 0.1"][-1] > 1e3
    panel.set(xlabel="layer", ylabel="spread of the outputs")
    panel.set(title="points measured, lines by formula", xticks=[1, 5, 10, 20])
    panel.legend()
    save_figure(figure, "buildnn_initialization", figures)
    return curves


# %%
class HandConv2d(nn.Module):
    """Lay the kernel on every place of the image, multiply, add up."""

    def __init__(
        self,
        channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
    ):
        super().__init__()
        shape = out_channels, channels, kernel_size, kernel_size
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.randn(out_channels))
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, out_channels, out_height, out_width)."""
        x = F.pad(x, [self.padding] * 4)  # zeros on all four sides
        reach = self.dilation * (self.weight.shape[3] - 1) + 1  # in pixels
        # Where the kernel may start without hanging over the edge.
        tops = range(0, x.shape[2] - reach + 1, self.stride)
        lefts = range(0, x.shape[3] - reach + 1, self.stride)
        sums = []
        for top, left in itertools.product(tops, lefts):
            rows = slice(top, top + reach, self.dilation)
            columns = slice(left, left + reach, self.dilation)
            patch = x[:, None, :, rows, columns]  # (batch, 1, channels, k, k)
            terms = patch * self.weight  # (batch, out_channels, channels, k, k)
            # One number for each sample and kernel: (batch, out_channels).
            sums.append(terms.sum(dim=(2, 3, 4)) + self.bias)
        y = torch.stack(sums, dim=2)  # (batch, out_channels, places)
        return y.unflatten(2, (len(tops), len(lefts)))


class HandPool2d(nn.Module):
    """Cut the image into windows; keep one number of each."""

    def __init__(self, reduce, kernel_size, stride):
        super().__init__()
        self.reduce = reduce  # Tensor.amax or Tensor.mean
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, out_height, out_width)."""
        # First the rows are cut, then the columns; nothing is copied.
        windows = x.unfold(2, self.kernel_size, self.stride)
        windows = windows.unfold(3, self.kernel_size, self.stride)
        return self.reduce(windows, (4, 5))  # (..., kernel, kernel) is gone


def convolution_is_a_sliding_sum() -> dict[str, tuple[Tensor, Tensor]]:
    """One small kernel at every place: slow loops equal torch's layers.

    y[o, i, j] = bias[o] + sum over c, a, b of weight[o, c, a, b]
    * x[c, i * stride + a * dilation, j * stride + b * dilation], x padded.
    In float64 on the CPU, because a GPU may round convolutions to TF32.
    Returns name -> (by hand, by torch).
    """
    torch.manual_seed(0)
    # 1 2 3    A kernel that takes the lower right neighbour from a pixel:
    # 4 5 6    1 - 5, 2 - 6, 4 - 8, 5 - 9. It is not flipped, so what is
    # 7 8 9    called convolution here is the cross-correlation of textbooks.
    image = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    kernel = torch.tensor([[1.0, 0.0], [0.0, -1.0]]).view(1, 1, 2, 2)
    assert (F.conv2d(image, kernel) == -4).all()

    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    pairs = {}
    for options in ({}, {"stride": 2, "padding": 1}, {"dilation": 2}):
        name = " ".join(["Conv2d", *(f"{k} {v}" for k, v in options.items())])
        twin = HandConv2d(3, 4, kernel_size=3, **options)
        pairs[name] = twin, nn.Conv2d(3, 4, kernel_size=3, **options)
    # Without a stride of its own, pooling takes windows side by side.
    pairs["MaxPool2d"] = HandPool2d(Tensor.amax, 2, 2), nn.MaxPool2d(2)
    overlapping = HandPool2d(Tensor.mean, 3, 1), nn.AvgPool2d(3, stride=1)
    pairs["AvgPool2d stride 1"] = overlapping

    outputs = {}
    for name, (twin, layer) in pairs.items():
        twin.load_state_dict(layer.state_dict())
        results = []
        for module in (twin, layer):
            leaf = x.clone().requires_grad_()
            y = module.double()(leaf)
            y.square().sum().backward()
            gradients = [weight.grad for weight in module.parameters()]
            results.append([y.detach(), leaf.grad, *gradients])
        torch.testing.assert_close(*results)
        outputs[name] = results[0][0], results[1][0]
        print(f"{name:25} {tuple(x.shape)} -> {tuple(y.shape)}")

    # The fast way: all patches as columns of one matrix, one product.
    layer = pairs["Conv2d dilation 2"][1]
    columns = F.unfold(x, 3, dilation=2)  # (batch, 3 * 3 * 3, places)
    product = layer.weight.flatten(1) @ columns + layer.bias[:, None]
    torch.testing.assert_close(product.view(2, 4, 5, 4), layer(x))
    # A 1 x 1 kernel is a Linear layer at every pixel.
    point = nn.Conv2d(3, 4, 1).double()
    mixed = F.linear(x.movedim(1, 3), point.weight[:, :, 0, 0], point.bias)
    torch.testing.assert_close(mixed.movedim(3, 1), point(x))
    print("equal by hand and by torch: outputs, and gradients of x and weights")
    return outputs


# %%
def the_output_size_is_a_formula() -> dict[str, int]:
    """Size, kernel, stride, padding and dilation give the size that comes out.

    out = floor((size + 2 * padding - reach) / stride) + 1, where
    reach = dilation * (kernel - 1) + 1 pixels is what the kernel spans: the
    places it can start at. Every combination of a grid is tried.
    Returns how many were tried, and how many have no output at all.
    """

    def out_size(size, kernel, stride, padding, dilation) -> int:
        reach = dilation * (kernel - 1) + 1
        return (size + 2 * padding - reach) // stride + 1  # // rounds down

    grid = itertools.product(
        range(1, 11),  # size
        (1, 2, 3, 5),  # kernel
        (1, 2, 3),  # stride
        (0, 1, 2),  # padding
        (1, 2),  # dilation
    )  # one side of an image: the other follows the same formula
    counts = {"Conv1d": 0, "MaxPool1d": 0, "no output": 0}
    for size, *options in grid:
        kernel, _, padding, _ = options
        layers = [nn.Conv1d(1, 1, *options)]
        if padding <= kernel // 2:  # all that pooling allows
            layers.append(nn.MaxPool1d(*options))
        for layer in layers:
            counts[type(layer).__name__] += 1
            try:
                found = layer(torch.zeros(1, 1, size)).shape[2]
            except RuntimeError:  # the kernel spans more than there is
                found = 0
                counts["no output"] += 1
            # A formula that gives 0 or less says: no place to start at.
            assert found == max(0, out_size(size, *options)), (size, options)
    for name, count in counts.items():
        print(f"{name:10} {count:5,} combinations")

    print("for kernel 3, the size of 32 becomes")
    for name, options in {
        "padding 1": (3, 1, 1, 1),
        "no padding": (3, 1, 0, 1),
        "stride 2, padding 1": (3, 2, 1, 1),
        "dilation 2": (3, 1, 0, 2),
    }.items():
        # In an image, height and width follow it, each on its own.
        shape = nn.Conv2d(1, 1, *options)(torch.zeros(1, 1, 32, 40)).shape
        assert shape[2:] == (out_size(32, *options), out_size(40, *options))
        print(f"{shape[2]:4} with {name}")
    return counts


# %%
class LeNet(nn.Sequential):
    """The CNN of many first tutorials, made for images 3 x 32 x 32."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 6, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 10),
        )


def sixteen_times_five_times_five_is_traced(
    device: torch.device,
) -> dict[str, list[int]]:
    """16 channels of 5 x 5 are what 32 x 32 pixels leave; 28 x 28 leave less.

    The 5 x 5 is a size of images, and equals the kernel size by chance.
    Returns layer -> its output size (height) for images of 32, and of 28.
    """
    torch.manual_seed(0)
    model = LeNet().to(device)
    x = torch.rand(4, 3, 32, 32, device=device)
    smaller = torch.rand(4, 3, 28, 28, device=device)
    sizes = {"images": [32, 28]}  # by the formula of the section above
    print(f"{'images':18} {str(tuple(x.shape)):18}{tuple(smaller.shape)}")
    for name, layer in model.named_children():
        x = layer(x)
        if name != "7":  # the Linear layer, which fits one size alone
            smaller = layer(smaller)
        if isinstance(layer, nn.ReLU):  # keeps every shape
            continue
        name = f"{name} {type(layer).__name__}"
        sizes[name] = [x.shape[-1], smaller.shape[-1]]
        print(f"{name:18} {str(tuple(x.shape)):18}", end="")
        print(tuple(smaller.shape) if "7" not in name else "does not fit:")
    assert sizes["6 Flatten"] == [16 * 5 * 5, 16 * 4 * 4] == [400, 256]
    with caught(RuntimeError, "mat1 and mat2 shapes cannot be multiplied"):
        model[7](smaller)

    # One way out: pool whatever comes to 5 x 5 before it is flattened.
    model.insert(6, nn.AdaptiveAvgPool2d(5))
    for size in (16, 28, 32, 100):
        scores = model(torch.rand(4, 3, size, size, device=device))
        assert scores.shape == (4, 10)  # (batch, classes)
    print("with AdaptiveAvgPool2d(5) before Flatten, any size from 16 fits")
    return sizes


# %%
def receptive_fields_grow_by_kernel_and_stride(
    figures: Path,
) -> dict[str, tuple[int, int]]:
    """What one output sees of the image, by formula and by its gradient.

    Layer by layer: field += dilation * (kernel - 1) * jump, jump *= stride.
    The gradient of one output is not zero exactly at the pixels it depends on,
    if no weight is negative or zero. Returns stack -> (formula, measured), in
    pixels along one side.
    """
    stacks = {  # name -> (kernel, stride, dilation) of each layer
        "LeNet": [(5, 1, 1), (2, 2, 1), (5, 1, 1), (2, 2, 1)],
        "seven 3 x 3": [(3, 1, 1)] * 7,
        # As far as seven layers of kernel 3, with three: by leaving gaps.
        "dilation 1, 2, 4": [(3, 1, 1), (3, 1, 2), (3, 1, 4)],
    }
    figure, panels = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
    fields = {}
    for panel, (name, layers) in zip(panels, stacks.items(), strict=True):
        field = jump = 1
        image = torch.zeros(1, 1, 33, 33, requires_grad=True)
        y = image
        for kernel, stride, dilation in layers:
            field += dilation * (kernel - 1) * jump
            jump *= stride  # pixels between neighbours of this layer's output
            # Weights that are all 1: pooling becomes a sum, nothing cancels.
            weight = torch.ones(1, 1, kernel, kernel)
            y = F.conv2d(y, weight, stride=stride, dilation=dilation)
        # One output, far enough from the edges to see its whole field.
        middle = y.shape[2] // 2
        y[0, 0, middle, middle].backward()

        paths = image.grad[0, 0]  # how many ways lead from there to the output
        rows = paths.sum(dim=1).nonzero()  # the rows that any way starts in
        measured = int(rows.max() - rows.min() + 1)
        assert measured == field
        fields[name] = field, measured
        print(f"{name:17} formula {field} x {field}  measured", end=" ")
        print(f"{measured} x {measured}  neighbours {jump} apart")
        # The middle counts most: the root lifts the faint edges into sight.
        panel.imshow(paths.sqrt().numpy(), cmap="viridis")
        panel.set(title=f"{name}: {field} x {field}", xticks=[], yticks=[])
    save_figure(figure, "buildnn_receptive_field", figures)
    return fields


# %%
class HandDropout(nn.Module):
    """In training each number is zeroed with chance p, the others grow."""

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x * mask / (1 - p), so that the expected value stays x."""
        if not self.training:
            return x
        # Ones with chance 1 - p, else zeros; new ones in every call.
        mask = torch.empty_like(x).bernoulli_(1 - self.p)
        return x * mask / (1 - self.p)


class HandBatchNorm2d(nn.Module):
    """Each channel gets mean 0 and variance 1, over batch and image."""

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        # Followed along in training, used in their place at rest.
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Tensor) -> Tensor:
        """Return x (batch, channels, height, width), normalized."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            over = 0, 2, 3  # all but the channels, dim 1
            mean, variance = x.mean(over), x.var(over, correction=0)
            with torch.no_grad():
                # What is kept for later is divided by n - 1, not by n.
                unbiased = x.var(over, correction=1)
                # lerp: a tenth of the way from the old to the new.
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(unbiased, self.momentum)
                self.num_batches_tracked += 1
        # (x - mean) / spread * weight + bias, as one line per channel.
        scale = self.weight / (variance + self.eps).sqrt()  # (channels,)
        shift = self.bias - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]


class HandLayerNorm(nn.Module):
    """Each sample gets mean 0 and variance 1, over its last dimension."""

    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., width), normalized."""
        centered = x - x.mean(-1, keepdim=True)
        variance = centered.square().mean(-1, keepdim=True)
        root = (variance + self.eps).sqrt()  # eps: never a division by 0
        return centered / root * self.weight + self.bias


class HandRMSNorm(nn.Module):
    """LayerNorm without the mean: divide by the root mean square."""

    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., width), normalized."""
        square = x.square().mean(-1, keepdim=True)
        return x / (square + self.eps).sqrt() * self.weight


def dropout_and_norms_equal_their_twins() -> dict[str, tuple[Tensor, Tensor]]:
    """Dropout, BatchNorm, LayerNorm, RMSNorm by hand, trained and at rest.

    Five batches in training, then one in eval mode; dropout draws the same
    mask from the same seed. In float64, on the CPU.
    Returns "name mode" -> (by hand, by torch).
    """
    torch.manual_seed(0)
    pairs = {
        "Dropout": (HandDropout(0.3), nn.Dropout(0.3)),
        "BatchNorm2d": (HandBatchNorm2d(3), nn.BatchNorm2d(3)),
        "LayerNorm": (HandLayerNorm(5), nn.LayerNorm(5)),
        "RMSNorm": (HandRMSNorm(5), nn.RMSNorm(5, eps=1e-5)),
    }
    # (number, batch, channels, height, width); norms of a sample run along 5.
    batches = torch.randn(6, 8, 3, 4, 5, dtype=torch.float64) * 2 + 7
    outputs = {}
    print("x: mean 7, std 2        mean of y      std of y")
    for name, (twin, layer) in pairs.items():
        twin.load_state_dict(layer.state_dict())
        for number, x in enumerate(batches):
            mode = "train" if number < 5 else "eval"
            results = []
            for module in (twin, layer):
                torch.manual_seed(number)  # the same mask for both
                module.double().train(mode == "train").zero_grad()
                leaf = x.clone().requires_grad_()
                y = module(leaf)
                # The sum of y alone would do no good: a norm fixes it.
                (y**3).sum().backward()
                gradients = [weight.grad for weight in module.parameters()]
                buffers = list(module.buffers())  # running mean and variance
                results.append([y.detach(), leaf.grad, *gradients, *buffers])
            torch.testing.assert_close(*results)
            outputs[f"{name} {mode}"] = results[0][0], results[1][0]
            if number >= 4:  # the last training batch, and the one at rest
                # 1e-9, so that a rounding error does not print as -0.00.
                mean, std = y.mean().item() + 1e-9, y.std().item()
                print(f"{name:12} {mode:8} {mean:12.2f} {std:13.2f}")
    # The running mean began at 0 and moves a tenth of the way a batch: after
    # five, 0.9**5 of the way to 7 is still to go.
    arrived = pairs["BatchNorm2d"][0].running_mean / 7
    assert ((arrived - (1 - 0.9**5)).abs() < 0.02).all()
    percent = f"{arrived.mean():.0%}"
    print(
        f"BatchNorm at rest lags: 5 batches took its mean {percent} of the way"
    )
    print("equal: outputs, gradients of x and weights, running statistics")
    return outputs


# %%
def eval_changes_dropout_and_batch_norm_alone() -> dict[str, tuple[bool, bool]]:
    """`train()` and `eval()` set a flag that few layers look at.

    Returns layer -> (same output in both modes, same state after a forward
    pass in training mode).
    """
    torch.manual_seed(0)
    image = torch.randn(4, 8, 6, 6)  # (batch, channels, height, width)
    tokens = torch.randn(4, 6, 8)  # (batch, time, width)
    layers = {
        "Linear": (nn.Linear(6, 6), image),
        "Conv2d": (nn.Conv2d(8, 8, 3), image),
        "LayerNorm": (nn.LayerNorm(6), image),
        "GroupNorm": (nn.GroupNorm(2, 8), image),
        "Dropout": (nn.Dropout(0.5), image),
        "BatchNorm2d": (nn.BatchNorm2d(8), image),
        "GRU": (nn.GRU(8, 8), tokens),
        "GRU, dropout=0.5": (nn.GRU(8, 8, num_layers=2, dropout=0.5), tokens),
        # Made of other layers, and dropout of 0.1 is among them.
        "TransformerEncoderLayer": (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            tokens,
        ),
    }
    table = {}
    print(f"{'':25}same output   same state")
    for name, (layer, x) in layers.items():
        # eval() sets the flag of the whole tree, train() sets it back.
        assert not any(module.training for module in layer.eval().modules())
        before = [tensor.clone() for tensor in layer.state_dict().values()]
        at_rest, trained = layer.eval()(x), layer.train()(x)
        if isinstance(layer, nn.GRU):  # gives its last state as well
            at_rest, trained = at_rest[0], trained[0]
        after = layer.state_dict().values()
        same_state = all(map(torch.equal, before, after))
        same_output = torch.allclose(at_rest, trained, atol=1e-6)
        table[name] = same_output, same_state
        words = ["yes" if same else "NO" for same in table[name]]
        print(f"{name:25}{words[0]:14}{words[1]}")
    moved = [name for name, (_, same) in table.items() if not same]
    assert moved == ["BatchNorm2d"]  # by a forward pass, without an optimizer
    assert table["Linear"] == table["LayerNorm"] == (True, True)
    return table


# %%
class Holder(nn.Module):
    """A module that keeps its layers in whatever it is given."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers


def containers_register_what_they_hold() -> dict[str, tuple[int, int, bool]]:
    """A plain list or dict hides its layers from the model that owns it.

    Returns container -> (parameters found, tensors saved, moved by `to`).
    Moving is shown with a type; it is the same with a device.
    """
    containers = {
        "list": list,
        "dict": lambda two: dict(zip("ab", two, strict=True)),
        "ModuleList": nn.ModuleList,
        "ModuleDict": lambda two: nn.ModuleDict(zip("ab", two, strict=True)),
        "Sequential": lambda two: nn.Sequential(*two),
        "list of Parameters": list,
        "ParameterList": nn.ParameterList,
    }
    table = {}
    print(f"{'':20}parameters   saved   moved")
    for name, container in containers.items():
        if "Parameter" in name:
            two = [nn.Parameter(torch.ones(20)) for _ in range(2)]
        else:
            two = [nn.Linear(4, 4) for _ in range(2)]
        # As an attribute of a module, a container is registered, or is not.
        model = Holder(container(two)).to(torch.bfloat16)
        count = sum(weight.numel() for weight in model.parameters())
        weight = two[0] if "Parameter" in name else two[0].weight
        moved = weight.dtype == torch.bfloat16
        table[name] = count, len(model.state_dict()), moved
        print(f"{name:20}{count:10}{table[name][1]:8}   {moved}")
        # What is hidden gets no optimizer, no file, and no device.
        hidden = name in ("list", "dict", "list of Parameters")
        assert count == (0 if hidden else 2 * (4 * 4 + 4))

    # Sequential calls its layers in turn; the other two leave that to you,
    # so a ModuleDict can hold layers to choose from.
    choices = nn.ModuleDict({"relu": nn.ReLU(), "tanh": nn.Tanh()})
    assert choices["relu"](torch.tensor(-1.0)) == 0
    with caught(NotImplementedError, 'missing the required "forward"'):
        nn.ModuleList([nn.Linear(4, 4)])(torch.ones(4))
    return table


# %%
class Block(nn.Module):
    """One layer, and with `residual` its input added to its output."""

    def __init__(self, width, residual):
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, width)."""
        # The sum stays outside of the ReLU: the way through is free.
        y = self.layer(x.relu())
        return x + y if self.residual else y


def residual_blocks_let_depth_train(
    device: torch.device, *, depth=20, width=16, steps=40, lr=3e-3
) -> dict[str, tuple[float, float]]:
    """With x + f(x) the gradient reaches the first layer, however deep.

    The derivative of x + f(x) is 1 + f'(x): a product of many does not vanish.
    Returns name -> (ratio of the gradient's norm, first block to last; loss
    after `steps` steps of fitting y = sin(3 x), whose variance is about 0.5).
    """
    x = torch.linspace(-1, 1, 16, device=device)[:, None]  # (16, 1)
    y = torch.sin(3 * x)
    found = {}
    for residual in (False, True):
        torch.manual_seed(0)
        blocks = [Block(width, residual) for _ in range(depth)]
        first, last = nn.Linear(1, width), nn.Linear(width, 1)
        model = nn.Sequential(first, *blocks, last).to(device)
        # Before any training: what reaches the weights of each block?
        F.mse_loss(model(x), y).backward()
        gradients = [block.layer.weight.grad for block in blocks]
        norms = [torch.linalg.vector_norm(part).item() for part in gradients]

        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        name = "x + f(x)" if residual else "f(x)"
        found[name] = norms[0] / norms[-1], loss.item()
        print(f"{name:9} gradient's norm in block 1: {norms[0]:.1e},", end=" ")
        print(f"in block {depth}: {norms[-1]:.1e}")
        print(f"{'':9} loss after {steps} steps: {loss.item():.4f}")
    # To answer always with the mean is what a dead network can do.
    print(f"{'mean of y':9} loss: {y.var(correction=0).item():.4f}")
    assert found["x + f(x)"][0] > 0.1 > 1e-3 > found["f(x)"][0]
    assert found["x + f(x)"][1] < found["f(x)"][1] / 5
    return found


# %%
class HandEmbedding(nn.Module):
    """A table with one row for each word; the number of a word picks it."""

    def __init__(self, words, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(words, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) for word numbers x (...)."""
        return self.weight[x]  # indexing; its gradient adds up by row


def an_embedding_picks_rows() -> dict[str, Tensor]:
    """Embedding is indexing; the same as one-hot vectors times the table.

    The gradient of a row is the sum over all places where its word stands.
    Returns the rows (2, 3, 4) by hand and by torch, and the gradient (5, 4).
    """
    torch.manual_seed(0)
    words = torch.tensor([[1, 3, 3], [0, 3, 2]])  # (batch, time)
    twin, layer = HandEmbedding(5, 4), nn.Embedding(5, 4)
    twin.load_state_dict(layer.state_dict())
    one_hot = F.one_hot(words, num_classes=5).float()  # (batch, time, words)
    weights = torch.arange(1.0, 7.0).view(2, 3, 1)  # one for each place
    results = []
    for module in (twin, layer):
        y = module(words)  # (batch, time, width)
        (weights * y).sum().backward()
        results.append([y.detach(), module.weight.grad])
    torch.testing.assert_close(*results)
    # The same as a product, in which all rows but one are taken 0 times.
    torch.testing.assert_close(one_hot @ layer.weight, layer(words))

    gradient = layer.weight.grad
    print("words      ", words.tolist(), " weight of each place: 1 to 6")
    print("gradient of rows 0 to 4:", gradient[:, 0].tolist())
    # Word 3 stands at places 2, 3 and 5; word 4 stands nowhere.
    assert gradient[:, 0].tolist() == [4, 1, 6, 2 + 3 + 5, 0]

    # The row of padding_idx starts at zero and gets no gradient.
    padded = nn.Embedding(5, 4, padding_idx=3)
    (weights * padded(words)).sum().backward()
    print("with padding_idx=3:     ", padded.weight.grad[:, 0].tolist())
    assert not padded.weight[3].any() and not padded.weight.grad[3].any()
    return {
        "by hand": results[0][0],
        "by torch": results[1][0],
        "grad": gradient,
    }


# %%
class HandAttention(nn.Module):
    """Every query takes the mean of all values, weighted by its keys."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask=None) -> tuple:
        """Return means (..., queries, width), weights (..., queries, keys).

        `mask` (queries, keys) is true where a query may look.
        """
        # The root keeps the spread of a sum of `width` products at 1.
        scores = q @ k.mT / math.sqrt(q.shape[-1])  # (..., queries, keys)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)  # exp(-inf) is 0
        weights = scores.softmax(dim=-1)
        return weights @ v, weights


class HandMultiheadAttention(nn.Module):
    """Attention several times over, each on its own slice of the width."""

    def __init__(self, width, heads):
        super().__init__()
        # Query, key and value: three Linear layers, kept as one.
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.attention, self.heads = HandAttention(), heads

    def forward(self, x: Tensor, mask=None) -> tuple[Tensor, Tensor]:
        """Return (batch, time, width), and weights (batch, time, time)."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        # (batch, time, width) -> (batch, heads, time, width / heads)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in projected.chunk(3, dim=2)
        )
        means, weights = self.attention(q, k, v, mask)
        joined = means.transpose(1, 2).flatten(2)  # (batch, time, width)
        return self.out_proj(joined), weights.mean(dim=1)


def attention_is_a_weighted_mean() -> dict[str, tuple[Tensor, Tensor]]:
    """softmax(q k^T / sqrt(width)) v, and with heads the same in parallel.

    Both are compared with and without a causal mask, in outputs and in all
    gradients, in float64 on the CPU. Returns name -> (by hand, by torch).
    Source: Vaswani et al. 2017.
    """
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, dtype=torch.float64)  # (batch, time, width)
    causal = torch.ones(4, 4, dtype=torch.bool).tril()  # row looks at column
    attention = HandAttention()
    twin = HandMultiheadAttention(6, heads=2).double()
    layer = nn.MultiheadAttention(6, num_heads=2, batch_first=True).double()
    twin.load_state_dict(layer.state_dict())
    outputs = {}

    def compare(name: str, mask: Tensor | None) -> None:
        """Hold outputs and gradients against those of torch."""
        # A trap: true means "may look" here, and "must not" for the layer.
        hidden = None if mask is None else ~mask
        calls = {
            "scaled_dot_product_attention": (
                lambda x: attention(x, x, 2 * x, mask)[0],
                lambda x: F.scaled_dot_product_attention(x, x, 2 * x, mask),
            ),
            "MultiheadAttention": (
                lambda x: twin(x, mask)[0],
                lambda x: layer(x, x, x, attn_mask=hidden)[0],
            ),
        }
        for kind, pair in calls.items():
            results = []
            for call, module in zip(pair, (twin, layer), strict=True):
                module.zero_grad()
                leaf = x.clone().requires_grad_()
                y = call(leaf)
                y.square().sum().backward()
                used = [w for w in module.parameters() if w.grad is not None]
                gradients = [weight.grad for weight in used]
                results.append([y.detach(), leaf.grad, *gradients])
            torch.testing.assert_close(*results)
            outputs[f"{kind}, {name}"] = results[0][0], results[1][0]
            print(f"{kind:29} mask {name:7} equal in output and gradients")

    compare("none", None)
    compare("causal", causal)
    print("true in a mask shows a key; in that of MultiheadAttention it hides")
    weights = attention(x, x, x, causal)[1]
    assert torch.allclose(weights.sum(dim=-1), x.new_ones(2, 4))
    print("causal weights of one sample; each row, a query, adds up to 1:")
    for row in weights[0].tolist():
        print("    " + "".join(f"{weight:7.3f}" for weight in row))

    # Without a mask no order is known: to shuffle is to shuffle the answers.
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(twin(x[:, order])[0], twin(x)[0][:, order])
    return outputs


# %%
class TransformerBlock(nn.Module):
    """Positions exchange what they know, then each thinks for itself.

    Both steps are residual, and each begins with a norm. As first layers of a
    language model, word and position embeddings would stand before it.
    """

    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_k_v = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, width) for x of the same shape."""
        # First step: attention, over positions.
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.q_k_v(self.norm1(x)).chunk(3, dim=2)
        )  # (batch, heads, time, width / heads)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.output(y.transpose(1, 2).flatten(2))
        # Second step: two Linear layers, at each position on its own.
        return x + self.mlp(self.norm2(x))


def no_position_sees_the_future(
    device: torch.device, *, time: int = 6, width: int = 16
) -> dict[str, Tensor]:
    """Under a causal mask the output at t depends on inputs up to t alone.

    Proved twice: by the gradient of every output with respect to every input,
    and by changing one input. Returns name -> (time, time), true where output
    (row) depends on input (column).
    """
    depends = {}
    for name, causal in {"causal": True, "no mask": False}.items():
        torch.manual_seed(0)
        blocks = [TransformerBlock(width, 2, causal) for _ in range(2)]
        model = nn.Sequential(*blocks).to(device)
        x = torch.randn(1, time, width, device=device, requires_grad=True)
        rows = []
        for output in model(x)[0].sum(dim=1):  # (time,), one number each
            # Keep the graph: the next output needs it too.
            (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
            rows.append(gradient[0].abs().sum(dim=1) > 0)
        depends[name] = torch.stack(rows).cpu()

        # The second proof: the input at 3 changes, outputs 0 to 2 do not.
        changed = x.detach().clone()
        changed[0, 3] *= -1  # a shift of all numbers LayerNorm would undo
        moved = (model(changed) - model(x)).abs().amax(dim=(0, 2)) > 1e-5
        assert torch.equal(moved.cpu(), depends[name][:, 3])
    past = torch.ones(time, time, dtype=torch.bool).tril()
    assert torch.equal(depends["causal"], past) and depends["no mask"].all()

    print("rows: output at t; columns: inputs 0 to 5; x: it depends on it")
    for t in range(time):
        causal, free = (
            "".join(" x" if seen else " ." for seen in matrix[t])
            for matrix in depends.values()
        )
        print(f"t = {t}  causal{causal}     no mask{free}")
    # 4 + 8 squares: attention and mlp; 4 + 5 biases; 4 vectors in two norms.
    count = sum(weight.numel() for weight in blocks[0].parameters())
    assert count == 12 * width**2 + 13 * width
    print(f"parameters of a block: {count:,} = 12 * width**2 + 13 * width")
    return depends


# %%
class HandGRU(nn.Module):
    """At every step two gates decide what of the memory is kept."""

    def __init__(self, inputs, hidden):
        super().__init__()
        # Three matrices in one, for the gates r and z and the proposal n.
        self.weight_ih_l0 = nn.Parameter(torch.randn(3 * hidden, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.randn(3 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(3 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(3 * hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return all states (batch, time, hidden), the last (1, batch, hidden).

        r = sigmoid(..), z = sigmoid(..), n = tanh(x part + r * h part),
        h = (1 - z) * n + z * h, from left to right.
        """
        h = x.new_zeros(len(x), self.weight_hh_l0.shape[1])
        states = []
        # The one loop that cannot be a product: each step waits for the last.
        for step in x.unbind(dim=1):  # (batch, inputs)
            from_x = F.linear(step, self.weight_ih_l0, self.bias_ih_l0)
            from_h = F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            r_x, z_x, n_x = from_x.chunk(3, dim=1)
            r_h, z_h, n_h = from_h.chunk(3, dim=1)
            r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
            n = (n_x + r * n_h).tanh()
            h = (1 - z) * n + z * h  # (batch, hidden)
            states.append(h)
        return torch.stack(states, dim=1), h[None]


class HandLSTM(nn.Module):
    """Three gates around a cell that is only ever scaled and added to."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.randn(4 * hidden, inputs))
        self.weight_hh_l0 = nn.Parameter(torch.randn(4 * hidden, hidden))
        self.bias_ih_l0 = nn.Parameter(torch.zeros(4 * hidden))
        self.bias_hh_l0 = nn.Parameter(torch.zeros(4 * hidden))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return all states (batch, time, hidden), the last state and cell.

        cell = forget * cell + write * tanh(..), h = read * tanh(cell).
        """
        h = cell = x.new_zeros(len(x), self.weight_hh_l0.shape[1])
        states = []
        for step in x.unbind(dim=1):  # (batch, inputs)
            gates = F.linear(step, self.weight_ih_l0, self.bias_ih_l0)
            gates = gates + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            write, forget, proposal, read = gates.chunk(4, dim=1)
            # The cell is scaled and added to, never multiplied by a matrix.
            cell = forget.sigmoid() * cell + write.sigmoid() * proposal.tanh()
            h = read.sigmoid() * cell.tanh()
            states.append(h)
        return torch.stack(states, dim=1), (h[None], cell[None])


def recurrent_cells_read_from_left_to_right() -> dict[str, tuple]:
    """GRU and LSTM are a loop over time; `batch_first` says which dim it is.

    In float64 on the CPU. Returns name -> (by hand, by torch), and under
    "mixed" the samples that change with sample 0, without batch_first.
    """
    torch.manual_seed(0)
    x = torch.randn(3, 7, 5, dtype=torch.float64)  # (batch, time, inputs)
    pairs = {
        "GRU": (HandGRU(5, 4), nn.GRU(5, 4, batch_first=True)),
        "LSTM": (HandLSTM(5, 4), nn.LSTM(5, 4, batch_first=True)),
    }
    outputs = {}
    for name, (twin, layer) in pairs.items():
        twin.load_state_dict(layer.state_dict())
        results = []
        for module in (twin, layer):
            leaf = x.clone().requires_grad_()
            states, last = module.double()(leaf)
            states.square().sum().backward()
            gradients = [weight.grad for weight in module.parameters()]
            results.append([states.detach(), last, leaf.grad, *gradients])
        torch.testing.assert_close(*results)
        # The last state is the last of all states, with a dim for layers.
        h = last if name == "GRU" else last[0]  # (1, batch, hidden)
        torch.testing.assert_close(h[0], states[:, -1])
        outputs[name] = results[0][0], results[1][0]
        shapes = f"states {tuple(states.shape)}, last {tuple(h.shape)}"
        print(f"{name:5} {tuple(x.shape)} -> {shapes}: equal, gradients too")

    # Without batch_first the first dim is time: samples become moments.
    changed = x.clone()
    changed[0] += 1
    mixed = {}
    for batch_first in (True, False):
        layer = nn.GRU(5, 4, batch_first=batch_first).double()
        moved = (layer(changed)[0] != layer(x)[0]).any(dim=(1, 2))
        mixed[batch_first] = moved.nonzero().flatten().tolist()
        print(f"batch_first={batch_first}: a new sample 0 changes", end=" ")
        print(f"the answers of samples {mixed[batch_first]}")
    assert mixed == {True: [0], False: [0, 1, 2]}
    outputs["mixed"] = mixed[True], mixed[False]
    return outputs


# %%
def only_the_new_head_moves(
    device: torch.device, *, steps: int = 20
) -> dict[str, float]:
    """To fine-tune: freeze the body, replace the head, train what is left.

    Returns part -> the largest change of its numbers after training, with the
    statistics of a frozen BatchNorm in training and in eval mode.
    """

    def fine_tune(body_mode: bool) -> dict[str, float]:
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
        # Imagine it trained for ten classes, on much data, by others.
        model = nn.Sequential(body, nn.Linear(16, 10)).to(device)
        model.requires_grad_(False)  # freeze everything,
        model[1] = nn.Linear(16, 2).to(device)  # then a head for two classes
        before = {n: t.clone() for n, t in model.state_dict().items()}

        x = torch.randn(32, 8, device=device)
        y = (x[:, 0] > 0).long()
        # Only now the optimizer, or it would hold the old head.
        trainable = [w for w in model.parameters() if w.requires_grad]
        assert sum(w.numel() for w in trainable) == 16 * 2 + 2
        optimizer = torch.optim.Adam(trainable, lr=0.01)
        model.train()
        body.train(body_mode)  # what the section is about to compare
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        # A frozen weight has no gradient: none was computed for it.
        assert all(w.grad is None for w in body.parameters())
        change = {n: t - before[n] for n, t in model.state_dict().items()}
        return {n: c.abs().max().item() for n, c in change.items()}

    trained, at_rest = fine_tune(True), fine_tune(False)
    moved = {
        "weight of the head": at_rest["1.weight"],
        "weight of the frozen body": at_rest["0.0.weight"],
        "frozen BatchNorm, eval()": at_rest["0.1.running_mean"],
        "frozen BatchNorm, train()": trained["0.1.running_mean"],
    }
    print(f"largest change after {steps} steps")
    for name, change in moved.items():
        print(f"    {name:27} {change:.4f}")
    # Its running mean is a buffer: eval() holds it, requires_grad does not.
    assert moved["weight of the head"] > 0.01
    assert moved["weight of the frozen body"] == 0
    assert moved["frozen BatchNorm, eval()"] == 0
    assert moved["frozen BatchNorm, train()"] > 0.1
    return moved


# %%
class LowRank(nn.Module):
    """A frozen Linear plus a small correction that learns: two thin matrices.

    y = layer(x) + x down^T up^T, down (rank, in), up (out, rank).
    """

    def __init__(self, layer, rank):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        small = layer.in_features**-0.5
        down = small * torch.randn(rank, layer.in_features)
        up = torch.zeros(layer.out_features, rank)  # the start changes nothing
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out) for x (..., in)."""
        return self.layer(x) + x @ self.down.T @ self.up.T

    def merged(self) -> nn.Linear:
        """Return one Linear layer that gives the same."""
        layer = nn.Linear(self.layer.in_features, self.layer.out_features)
        layer.load_state_dict(self.layer.state_dict())
        # (out, rank) times (rank, in) has the shape of the weight.
        with torch.no_grad():
            layer.weight += self.up @ self.down
        return layer


def any_layer_can_be_exchanged(
    *, rank: int = 2, steps: int = 20
) -> dict[str, object]:
    """A finished model is changed in place: walk its tree, set attributes.

    Every Linear gets a low-rank correction (LoRA), which alone is trained, and
    is then merged into one Linear again. On the CPU. Returns the number of
    parameters that learn before and after, the losses, and the scores of the
    corrected and of the merged model.
    Source: Hu et al. 2021, "LoRA".
    """

    def exchange(module: nn.Module, kind: type, change: Callable) -> None:
        """Put change(layer) in the place of each layer of that kind."""
        for name, child in list(module.named_children()):
            # Not below what is exchanged, or it would never end.
            if isinstance(child, kind):
                setattr(module, name, change(child))
            else:
                exchange(child, kind, change)

    def learning(model: nn.Module) -> int:
        return sum(w.numel() for w in model.parameters() if w.requires_grad)

    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    model = nn.Sequential(body, nn.ReLU(), nn.Linear(64, 2))
    x = torch.randn(50, 64)
    y = (x[:, 0] + x[:, 1] > 0).long()
    before, counts = model(x), [learning(model)]
    exchange(model, nn.Linear, lambda layer: LowRank(layer, rank))
    # `up` is zero, so nothing has changed yet.
    torch.testing.assert_close(model(x), before)
    counts.append(learning(model))
    assert counts[1] == rank * (64 + 128 + 128 + 64 + 64 + 2)
    print(f"numbers that learn: {counts[0]:,}, with rank {rank}: {counts[1]:,}")

    trainable = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.01)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"loss before and after {steps} steps: {losses[0]:.3f}, {loss:.3f}")
    assert losses[-1] < losses[0] / 2

    # In use there is no price: the correction goes into the weight.
    corrected = model(x)
    exchange(model, LowRank, LowRank.merged)
    torch.testing.assert_close(model(x), corrected, rtol=1e-4, atol=1e-4)
    kinds = [type(module).__name__ for module in model[0]]
    print(f"merged again: {', '.join(kinds)}, with the same scores")
    return {
        "counts": counts,
        "losses": (losses[0], losses[-1]),
        "scores": (corrected.detach(), model(x).detach()),
        "kinds": [type(module).__name__ for module in model.modules()],
    }


# %%
def a_state_dict_is_names_and_tensors(
    device: torch.device,
) -> dict[str, object]:
    """Save names and tensors, not the model; load them into a new one.

    Returns the names saved, the scores of the saved and of the loaded model,
    and what a load that is not strict reports as missing and as unexpected.
    """
    torch.manual_seed(0)

    def build(classes: int = 3) -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, classes)
        )

    model = build().to(device).eval()
    file = io.BytesIO()  # a file in memory; a path works the same
    torch.save(model.state_dict(), file)
    count, size = len(model.state_dict()), len(file.getvalue())
    print(f"saved from {device.type}: {count} tensors, {size:,} bytes")

    # weights_only: tensors and numbers are read, no code is run.
    # map_location: from a GPU to a machine that has none.
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    assert all(tensor.device.type == "cpu" for tensor in state.values())
    loaded = build().eval()  # the code makes the model, the file fills it
    print("strict load:", loaded.load_state_dict(state))
    x = torch.randn(5, 4)
    scores = model(x.to(device)).cpu(), loaded(x)
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)

    # Names that do not fit: strict refuses, otherwise read the report.
    renamed = {n.replace("3.", "head."): t for n, t in state.items()}
    with caught(RuntimeError, "Missing key(s) in state_dict"):
        build().load_state_dict(renamed)
    report = build().load_state_dict(renamed, strict=False)
    print("missing:   ", report.missing_keys)
    print("unexpected:", report.unexpected_keys)
    # A shape that does not fit is an error in either case.
    with caught(RuntimeError, "size mismatch for 3.weight"):
        build(classes=2).load_state_dict(state, strict=False)
    return {
        "names": list(state),
        "scores": scores,
        "missing": report.missing_keys,
        "unexpected": report.unexpected_keys,
    }


# %%
def a_model_on_meta_is_shapes_alone(device: torch.device) -> dict[str, object]:
    """Build on `meta` first: all the shapes, none of the memory.

    Then the tensors of a file take their places (assign=True), or memory is
    given out and filled (to_empty). Returns the bytes a large layer would
    take, the shape it would give, and the scores of a model before and after.
    """
    # A tensor on meta has a shape and a type, and no numbers.
    with torch.device("meta"):
        giant = nn.Linear(100_000, 100_000)
        shape = giant(torch.empty(32, 100_000)).shape
    size = sum(w.numel() * w.element_size() for w in giant.parameters())
    print(f"{size / 1e9:.1f} GB of weights on meta: output {tuple(shape)}")
    assert size == 4 * (100_000**2 + 100_000)

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    torch.manual_seed(0)
    trained = build().to(device)
    state, x = trained.state_dict(), torch.randn(5, 4, device=device)

    with torch.device("meta"):
        model = build()  # no time spent on initial weights that are replaced
    print(f"weights on {model[0].weight.device}", end=", ")
    model.load_state_dict(state, assign=True)
    assert model[0].weight.data_ptr() == trained[0].weight.data_ptr()
    print(f"after assign=True on {model[0].weight.device}: no copy was made")
    scores = trained(x), model(x)
    torch.testing.assert_close(*scores)

    # Without a file: first memory, then numbers. `to` has none to move.
    with torch.device("meta"):
        fresh = build()
    with caught(NotImplementedError, "Cannot copy out of meta tensor"):
        fresh.to(device)
    fresh.to_empty(device=device)  # memory with whatever was in it before
    torch.manual_seed(0)
    for module in fresh.modules():
        if hasattr(module, "reset_parameters"):  # layers with weights have it
            module.reset_parameters()
    assert fresh(x).isfinite().all()
    print("after to_empty and reset_parameters: a model with a fresh start")
    return {"bytes": size, "shape": tuple(shape), "scores": scores}


# %%
class GlyphCNN(nn.Sequential):
    """Two convolutions and one Linear, for images 1 x 28 x 28."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 8, 5, padding=2),
            nn.ReLU(),  # (batch, 8, 28, 28)
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),  # (batch, 16, 14, 14)
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 7 * 7, 10),
        )


def hooks_look_inside(
    device: torch.device, figures: Path, *, steps: int = 40, lr: float = 0.01
) -> dict[str, object]:
    """A forward hook catches what a layer gives: here, its feature maps.

    A CNN learns the ten digits in six fonts, and then looks at one of
    them. Returns its loss on those 60 images before and after, and the maps
    by layer name.
    """
    torch.manual_seed(0)
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    glyphs = []
    for face in (
        *("DejaVuSans", "DejaVuSerif", "DejaVuSansMono"),
        *("STIXGeneral", "cmr10", "cmss10"),
    ):
        font = ImageFont.truetype(str(folder / f"{face}.ttf"), size=26)
        for digit in "0123456789":
            image = Image.new("L", (28, 28))
            draw = ImageDraw.Draw(image)
            draw.text((14, 14), digit, fill=255, font=font, anchor="mm")
            glyphs.append(list(image.tobytes()))
    images = torch.tensor(glyphs).view(60, 1, 28, 28).to(device) / 255
    labels = torch.arange(10, device=device).repeat(6)

    # It learns these 60 by heart; to read others it would need far more.
    model = GlyphCNN().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"loss on 60 images, before and after: {losses[0]:.4f}, {loss:.4f}")

    maps, hooks = {}, []
    for name, layer in model.named_children():
        if isinstance(layer, nn.ReLU):
            # name=name: the value of this round, not of the last one.
            def keep(module, inputs, output, name=name) -> None:
                maps[name] = output.detach()

            hooks.append(layer.register_forward_hook(keep))
    seven = images[7:8]
    model(seven)
    for hook in hooks:
        hook.remove()  # or it would run, and keep, for ever
    # The same maps without hooks: the model cut off behind the layer.
    torch.testing.assert_close(maps["1"], nn.Sequential(*model)[:2](seven))
    torch.testing.assert_close(maps["4"], nn.Sequential(*model)[:5](seven))

    # The digit on the left, then eight maps in each row.
    figure = plt.figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(3, 9)
    first, second = maps["1"][0], maps["4"][0]  # (channels, height, width)
    rows = [seven[0, 0], *first], [None, *second[:8]], [None, *second[8:]]
    titles = "after the first convolution", "after the second", ""
    for line, row, title in zip(panels, rows, titles, strict=True):
        line[1].set_title(title, loc="left", fontsize=9)
        for panel, picture in zip(line, row, strict=True):
            panel.axis("off")
            if picture is not None:
                panel.imshow(picture.cpu().numpy(), cmap="gray")
    for name, features in maps.items():
        live = (features.amax(dim=(2, 3)) > 0).sum().item()
        shape = tuple(features.shape)
        print(f"layer {name}, ReLU: maps {shape}, {live} of them not all zero")
    save_figure(figure, "buildnn_feature_maps", figures)
    return {"losses": (losses[0], losses[-1]), "maps": maps}


# %%
class Summary(list):
    """One row for each layer that runs: name, kind, shape, counts.

    Multiply-adds are counted for Linear and convolution layers: each weight is
    used once at every place of the output. Layers that multiply in other ways,
    as attention and recurrent ones do, are not counted.
    """

    def __init__(self, model: nn.Module, *inputs: Tensor):
        """Run `model` on the inputs once, and note what every layer does."""
        super().__init__()
        hooks = [
            layer.register_forward_hook(
                lambda layer, _, y, name=name: self.note(name, layer, y)
            )
            for name, layer in model.named_modules()
            if not list(layer.children())  # the leaves of the tree
        ]
        with torch.no_grad():
            model(*inputs)
        for hook in hooks:
            hook.remove()

    def note(self, name: str, layer: nn.Module, y: Tensor) -> None:
        """Append the row of one layer with its output y."""
        parameters = sum(weight.numel() for weight in layer.parameters())
        multiply_adds = 0
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            # The output is channels times places; a weight has a row for each
            # channel. Biases are added, not multiplied: they are left out.
            places = y.numel() // len(layer.weight)
            multiply_adds = places * layer.weight.numel()
        kind = type(layer).__name__
        self.append((name, kind, tuple(y.shape), parameters, multiply_adds))


def a_summary_is_a_few_hooks(device: torch.device) -> dict[str, int]:
    """Shapes, parameters and multiply-adds of a model, in a few lines.

    The sum equals that of torch.utils.flop_counter, which counts two
    operations for a multiply-add. Returns the totals: parameters, multiply-
    adds, and operations as counted by torch.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 10),
    ).to(device)
    images = torch.rand(1, 3, 32, 32, device=device)
    summary = Summary(model, images)  # for a batch of one
    print("layer         output shape     parameters   multiply-adds")
    for name, kind, shape, parameters, multiply_adds in summary:
        print(f"{name} {kind:11} {str(shape):17}{parameters:10,}", end="")
        print(f"{multiply_adds:16,}")

    total = {
        "parameters": sum(row[3] for row in summary),
        "multiply-adds": sum(row[4] for row in summary),
    }
    # The second method watches the operations of torch, not the layers.
    with FlopCounterMode(display=False) as counter:
        model(images)
    total["operations"] = counter.get_total_flops()
    assert total["operations"] == 2 * total["multiply-adds"]
    assert total["parameters"] == sum(w.numel() for w in model.parameters())
    print(f"sum {'':28}{total['parameters']:10,}{total['multiply-adds']:16,}")
    print(f"torch.utils.flop_counter / 2 {total['operations'] // 2:29,}")
    return total


# %%
def autocast_gives_each_layer_its_type(
    device: torch.device, half: torch.dtype, *, amp: bool = False
) -> dict[str, tuple]:
    """Mixed precision: some layers go to 16 bits, some to 32, some follow.

    `half` is the 16-bit type, `amp` whether the last pass, of a whole network,
    is made in it. Which layer does what is up to the device. Returns layer ->
    (type for float32 input, type for `half` input, relative error), where the
    error is the largest one, divided by the largest number.
    """
    torch.manual_seed(0)
    image = torch.randn(4, 8, 16, 16, device=device)
    layers = {
        "Linear": nn.Linear(16, 16),
        "Conv2d": nn.Conv2d(8, 8, 3),
        "ReLU": nn.ReLU(),
        "MaxPool2d": nn.MaxPool2d(2),
        "BatchNorm2d": nn.BatchNorm2d(8),
        "LayerNorm": nn.LayerNorm(16),
        "Softmax": nn.Softmax(dim=1),
        "MSELoss": lambda x: F.mse_loss(x, torch.zeros_like(x)),
    }

    def largest_error(found: Tensor, exact: Tensor) -> float:
        return ((found - exact).abs().max() / exact.abs().max()).item()

    table = {}
    print(f"{'':13}from float32   from {str(half)[6:]:9} relative error")
    for name, layer in layers.items():
        if isinstance(layer, nn.Module):
            layer.to(device)
        exact = layer(image)  # outside of autocast: all in float32
        with torch.autocast(device.type, half):
            y, from_half = layer(image), layer(image.to(half))
        error = largest_error(y, exact)
        table[name] = y.dtype, from_half.dtype, error
        types = [str(kind).removeprefix("torch.") for kind in table[name][:2]]
        print(f"{name:13}{types[0]:15}{types[1]:15}{error:.1e}")

    # What autocast does for Linear: round input and weights, then multiply.
    linear = layers["Linear"]
    rounded = linear.weight.to(half), linear.bias.to(half)
    with torch.autocast(device.type, half):
        y = linear(image)
    torch.testing.assert_close(y, F.linear(image.to(half), *rounded))
    # `eps` is the gap between 1 and the next number: 2**-7 in bfloat16.
    assert 0 < table["Linear"][2] < 2 * torch.finfo(half).eps
    assert linear.weight.dtype == torch.float32  # the weights stay as they are

    network = nn.Sequential(
        *(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(8 * 14 * 14, 10)),
    ).to(device)
    exact = network(image)  # (batch, classes)
    # With enabled=False the same code computes in float32: one switch.
    with torch.autocast(device.type, half, enabled=amp):
        scores = network(image)
    error = largest_error(scores, exact)
    table["network"] = scores.dtype, None, error
    print(f"a whole network, {'--amp' if amp else 'no --amp'}: scores", end=" ")
    print(f"{str(scores.dtype)[6:]}, relative error {error:.1e}")
    assert error < 8 * torch.finfo(half).eps
    assert scores.dtype == (half if amp else torch.float32)
    return table


# %%
class WrongModel(nn.Module):
    """Three mistakes that raise no error."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3)) * 0.1  # the product is no leaf
        self.mean = torch.tensor([0.5])  # neither moved nor saved

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 3), from a layer that is new in every call."""
        return nn.Linear(4, 3)(x - self.mean) * self.scale


class RightModel(nn.Module):
    """The same, with everything where the module can see it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3) * 0.1)
        self.register_buffer("mean", torch.tensor([0.5]))
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 3)."""
        return self.layer(x - self.mean) * self.scale


class WithoutSuper(nn.Module):
    """`super().__init__()` is missing, so there is no place for layers yet."""

    def __init__(self):
        self.layer = nn.Linear(4, 3)


class ForwardTooDeep(nn.Module):
    """`forward` is indented into `__init__`, where it is a local name."""

    def __init__(self):
        super().__init__()

        def forward(self, x):
            return x


class SingleUnderscores(nn.Module):
    """`_init_` is a method like any other: nobody calls it."""

    def _init_(self):
        """Make the layer, if this were ever called."""
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 3)."""
        return self.layer(x)


def mistakes_in_the_class() -> dict[str, tuple[float, float]]:
    """Four mistakes in a class that stop, and four that go unnoticed.

    Returns mistake -> (wrong number, right number), of the silent four.
    """
    torch.manual_seed(0)
    x = torch.ones(1, 4)
    with caught(AttributeError, "before Module.__init__() call"):
        WithoutSuper()
    with caught(NotImplementedError, 'missing the required "forward"'):
        ForwardTooDeep()(x)
    with caught(AttributeError, "has no attribute 'layer'"):
        SingleUnderscores()(x)
    with caught(AttributeError, "'ReLU' object has no attribute 'size'"):
        nn.ReLU(x).size()  # x became the argument of the constructor
    assert nn.ReLU()(x).size() == F.relu(x).size() == (1, 4)

    # What is silent has to be looked for: count, list, call twice.
    numbers = []
    for model_class in (WrongModel, RightModel):
        model, ran = model_class(), []
        model.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        call = model.forward if model_class is WrongModel else model
        # Twice the same x should be twice the same answer.
        apart = (call(x) - call(x)).abs().max().item()
        learns = "scale" in dict(model.named_parameters())
        saved = "mean" in model.state_dict()
        numbers.append((learns, saved, apart, len(ran)))
    names = (
        "Parameter * 0.1: Parameters left",
        "self.mean = tensor: names saved",
        "layer made in forward: x twice, off",
        "model.forward(x): hooks in 2 calls",
    )
    silent = dict(zip(names, zip(*numbers, strict=True), strict=True))
    for name, (wrong, right) in silent.items():
        print(f"{name:36} {wrong:6.3f}   right {right:6.3f}")
        assert wrong != right
    return silent


# %%
def mistakes_with_what_goes_in() -> dict[str, tuple[float, float]]:
    """A wrong shape, type, device or dim of the input, loud and silent.

    Returns mistake -> (wrong number, right number), of the silent two.
    """
    torch.manual_seed(0)
    images = torch.rand(3, 28, 28)
    layer, norm = nn.Linear(28 * 28, 20), nn.BatchNorm1d(20)
    with caught(RuntimeError, "mat1 and mat2 shapes cannot be multiplied"):
        layer(images)  # 84 = 3 * 28 rows of 28; a Flatten is missing
    assert layer(nn.Flatten()(images)).shape == (3, 20)
    pixels = images.flatten(1)  # (3, 784)
    with caught(RuntimeError, "must have the same dtype"):
        layer(pixels.double())  # what comes from NumPy is float64
    assert layer(pixels.double().float()).dtype == torch.float32
    # The `meta` device stands in for a GPU that the layer was moved to.
    with caught(RuntimeError, "is not on the expected device"):
        nn.Linear(28 * 28, 20, device="meta")(pixels)
    with caught(ValueError, "Expected more than 1 value per channel"):
        norm(layer(pixels[:1]))  # the spread of one sample: drop_last=True
    assert norm.eval()(layer(pixels[:1])).shape == (1, 20)
    with caught(UserWarning, "Implicit dimension choice for softmax"):
        nn.Softmax()(pixels)

    # 3 samples, 10 scores: over dim 0 the samples share what adds up to 1.
    scores = torch.randn(3, 10)
    probabilities = [scores.softmax(dim)[0].sum().item() for dim in (0, 1)]
    # (28, 28, 3) to (3, 28, 28): view only counts off, permute turns.
    image = torch.zeros(28, 28, 3)
    image[..., 0] = 1.0  # all red
    red = [image.view(3, 28, 28)[0].mean(), image.permute(2, 0, 1)[0].mean()]
    silent = {
        "softmax(dim=0): probabilities of a sample": tuple(probabilities),
        "view for permute: red in a red image": tuple(map(float, red)),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:37} {wrong:6.3f}   right {right:6.3f}")
        assert abs(wrong - right) > 0.1 and math.isclose(right, 1, rel_tol=1e-5)
    return silent


# %%
class FunctionalDropout(nn.Module):
    """Dropout as a function, which knows of `eval()` only if it is told."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def forward(self, x: Tensor) -> Tensor:
        """Return x with about half of it zeroed."""
        if self.told:
            return F.dropout(x, 0.5, training=self.training)
        return F.dropout(x, 0.5)


class ListModel(nn.Module):
    """Three layers in a container of the given class, and one beside it."""

    def __init__(self, container):
        super().__init__()
        self.hidden = container([nn.Linear(4, 4) for _ in range(3)])
        self.output = nn.Linear(4, 1)


def mistakes_with_modes_and_copies() -> dict[str, tuple[float, float]]:
    """Layers left in the wrong mode, hidden from the model, or not copied.

    Returns mistake -> (wrong number, right number).
    """
    torch.manual_seed(0)
    ones, dropout = torch.ones(1000), nn.Dropout(0.5)

    def zeroed(layer: nn.Module) -> int:
        return (layer(ones) == 0).sum().item()

    # A new model is in training mode: half of every answer is gone.
    forgotten = zeroed(dropout), zeroed(dropout.eval())
    # F.dropout has training=True as its default, whatever the model is in.
    told = [FunctionalDropout(told).eval() for told in (False, True)]
    ignored = zeroed(told[0]), zeroed(told[1])

    # x = 1 beside 2 in the batch, then beside 0: the same x, two answers.
    apart = []
    with torch.no_grad():  # which does not set a mode either
        for norm in (nn.BatchNorm1d(1), nn.BatchNorm1d(1).eval()):
            high = norm(torch.tensor([[1.0], [0.0]]))[0]
            low = norm(torch.tensor([[1.0], [2.0]]))[0]
            apart.append((high - low).item())

    def count(model: nn.Module) -> int:
        return sum(weight.numel() for weight in model.parameters())

    # Four layers of 4 * 4 + 4, 20, 20 and 4 + 1 parameters; three of 20.
    listed = count(ListModel(list)), count(ListModel(nn.ModuleList))
    shared = nn.Sequential(*[nn.Linear(4, 4)] * 3)  # one layer, three names
    separate = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)])

    silent = {
        "Dropout without eval(): of 1,000 zeroed": forgotten,
        "F.dropout in eval(): of 1,000 zeroed": ignored,
        "BatchNorm without eval(): x = 1 moves by": tuple(apart),
        "layers in a plain list: parameters": listed,
        "[layer] * 3: parameters": (count(shared), count(separate)),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:41} {wrong:7.3f}   right {right:7.3f}")
        assert abs(wrong - right) > 0.1
    return silent


# %%
def mistakes_of_networks_that_cannot_learn(
    *, steps: int = 200, lr: float = 0.05
) -> dict[str, tuple[float, float]]:
    """Everything runs, and training for longer would not help.

    Returns mistake -> (wrong number, right number).
    """
    torch.manual_seed(0)

    def fit(*layers: nn.Module) -> float:
        """Train on exclusive or: 1 where two bits differ; return the loss."""
        x = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
        y = torch.tensor([[0.0], [1], [1], [0]])
        model = nn.Sequential(*layers)
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    # Equal weights get equal gradients: the four units stay one.
    units = []
    for constant in (True, False):
        first, last = nn.Linear(2, 4), nn.Linear(4, 1)
        if constant:
            for weight in (*first.parameters(), *last.parameters()):
                nn.init.constant_(weight, 0.5)
        fit(first, nn.Tanh(), last)
        weights = first.weight.detach().round(decimals=3)  # (4, 2)
        units.append(len(weights.unique(dim=0)))

    # Two Linear layers in a row are one: W2 (W1 x) = (W2 W1) x. No line parts
    # 0 from 1 here, so its best answer is 1/2, and the loss 1/4.
    straight = fit(nn.Linear(2, 16), nn.Linear(16, 1))
    bent = fit(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    assert math.isclose(straight, 1 / 4, rel_tol=1e-3)

    # A ReLU at the end, and scores that begin below 0: no gradient at all.
    gradients = []
    for last in (nn.ReLU(), nn.Identity()):
        head = nn.Linear(4, 2)
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, -1.0)
        scores = last(head(torch.ones(8, 4)))  # (batch, classes)
        F.cross_entropy(scores, torch.zeros(8).long()).backward()
        gradients.append(head.weight.grad.abs().sum().item())

    silent = {
        "equal weights: hidden units that differ": tuple(units),
        "no activation between: loss of xor": (straight, bent),
        "ReLU at the end: size of the gradient": tuple(gradients),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:41} {wrong:7.3f}   right {right:7.3f}")
        assert abs(wrong - right) > 0.1
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
def main() -> None:
    """Run the lesson from top to bottom."""
    args = parse(make_parser(__doc__))
    device, tiny, figures = args.device, args.tiny, args.figures
    half = amp_dtype(device)
    chapters = {
        "Modules": {
            a_model_is_a_tree_of_modules: {"device": device},
            plain_layers_are_one_line_each: {"device": device},
            the_last_layer_stays_bare: {"device": device},
            parameter_counts_follow_formulas: {},
            parameters_learn_and_buffers_are_carried: {"device": device},
        },
        "Signals and convolution": {
            initialization_decides_how_far_signals_reach: {
                "device": device,
                "figures": figures,
            },
            convolution_is_a_sliding_sum: {},
            the_output_size_is_a_formula: {},
            sixteen_times_five_times_five_is_traced: {"device": device},
            receptive_fields_grow_by_kernel_and_stride: {"figures": figures},
            dropout_and_norms_equal_their_twins: {},
            eval_changes_dropout_and_batch_norm_alone: {},
        },
        "Containers and sequences": {
            containers_register_what_they_hold: {},
            residual_blocks_let_depth_train: {"device": device},
            an_embedding_picks_rows: {},
            attention_is_a_weighted_mean: {},
            no_position_sees_the_future: {"device": device},
            recurrent_cells_read_from_left_to_right: {},
        },
        "Changing a model": {
            only_the_new_head_moves: {"device": device},
            any_layer_can_be_exchanged: {},
            a_state_dict_is_names_and_tensors: {"device": device},
            a_model_on_meta_is_shapes_alone: {"device": device},
            hooks_look_inside: {
                "device": device,
                "figures": figures,
                "steps": 20 if tiny else 40,
            },
            a_summary_is_a_few_hooks: {"device": device},
            autocast_gives_each_layer_its_type: {
                "device": device,
                "half": half,
                "amp": args.amp,
            },
        },
        "Mistakes": {
            mistakes_in_the_class: {},
            mistakes_with_what_goes_in: {},
            mistakes_with_modes_and_copies: {},
            mistakes_of_networks_that_cannot_learn: {},
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
