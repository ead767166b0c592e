# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "torchvision>=0.22", "matplotlib>=3.9"]
# ///
"""Building networks: from one Linear layer to a small language model.

Run      python start_buildnn.py      (no download, any device, 11 s)
Read     README.md, "Building networks"
Symbols  x input, y output, h hidden state, p probability, q k v query, key
         and value, i f g o and r z n the gates of LSTM and GRU
"""

import argparse
import contextlib
import copy
import functools
import io
import itertools
import linecache
import math
import os
import re
import sys
import tempfile
import textwrap
import time
import timeit
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data import topics

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.nn.utils.rnn import (
    pack_padded_sequence,
    pad_packed_sequence,
    pad_sequence,
)
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

# %% [markdown]
# ## Modules
# A module holds layers and parameters, and says in `forward` how an input
# goes through them. All of this chapter is needed on day one.


# %%
class Network(nn.Module):
    """Images to logits, a score for each of ten classes: 784 -> 20 -> 10."""

    def __init__(self):
        super().__init__()  # first: it makes the place where layers are kept
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(28 * 28, 20)
        self.output = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10) of images (batch, 28, 28)."""
        x = self.flatten(x)  # (batch, 784)
        x = self.hidden(x).relu()  # (batch, 20), with 0 for what is below 0
        return self.output(x)  # (batch, 10)


def a_module_registers_its_layers(device: torch.device) -> nn.Module:
    """A module is made of modules: each layer set as an attribute counts.

    So `to(device)`, `parameters()` and `print` reach all of them.
    """
    torch.manual_seed(0)
    model = Network().to(device)
    print(model)
    names = list(dict(model.named_modules()))
    print("names of all modules, '' is the model:", names)
    assert names == ["", "flatten", "hidden", "output"]
    assert count_parameters(model) == 784 * 20 + 20 + 20 * 10 + 10

    images = torch.rand(3, 28, 28, device=device)
    logits = model(images)
    print("images", tuple(images.shape), "-> logits", tuple(logits.shape))
    assert logits.shape == (3, 10)
    # The same without the class. Flatten joins all dimensions but the first,
    # the batch: without the 1 `flatten` would join that as well.
    x = images.flatten(1)
    assert torch.equal(model.flatten(images), x)
    hidden = (x @ model.hidden.weight.T + model.hidden.bias).clamp(min=0)
    expected = hidden @ model.output.weight.T + model.output.bias
    assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    return model


# %%
def calling_the_model_runs_its_hooks(device: torch.device) -> None:
    """Write `forward`, but call the model: `forward` alone runs no hooks.

    A hook is a function of yours that the call runs after `forward`. Tools
    that profile, prune or wrap a model rely on hooks.
    """
    layer = nn.Linear(4, 3).to(device)
    x = torch.rand(2, 4, device=device)
    shapes = []  # of what the layer gives
    layer.register_forward_hook(
        lambda module, inputs, output: shapes.append(tuple(output.shape))
    )
    y = layer.forward(x)
    print("after layer.forward(x): shapes =", shapes)
    assert shapes == []

    assert torch.equal(layer(x), y)
    print("after layer(x):         shapes =", shapes)
    assert shapes == [(2, 3)]


# %%
class HandLinear(nn.Module):
    """Each output is a weighted sum of all inputs, plus a bias."""

    def __init__(self, in_features, out_features):
        super().__init__()
        limit = in_features**-0.5  # torch draws from -limit to limit, too
        weight = torch.empty(out_features, in_features).uniform_(-limit, limit)
        bias = torch.empty(out_features).uniform_(-limit, limit)
        self.weight = nn.Parameter(weight)  # one row for each output
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out_features) for x (..., in_features)."""
        return x @ self.weight.T + self.bias


def linear_is_a_weighted_sum(device: torch.device) -> None:
    """A Linear layer is x W^T + b: one row of W for each output.

    Here y = (1*1 + 0*2 - 1*3 + 10, 2*1 + 1*2 + 0*3 + 20) = (8, 24).
    """
    layer = nn.Linear(3, 2).to(device)
    with torch.no_grad():  # to set weights is no step to derive
        layer.weight.copy_(torch.tensor([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]]))
        layer.bias.copy_(torch.tensor([10.0, 20.0]))
    x = torch.tensor([[1.0, 2.0, 3.0]], device=device)  # (batch 1, 3)
    print("x =", x.tolist(), " weight =", layer.weight.tolist())
    print("bias =", layer.bias.tolist(), " layer(x) =", layer(x).tolist())
    assert layer(x).tolist() == [[8, 24]]

    torch.manual_seed(0)
    layer = nn.Linear(3, 2).to(device)
    torch.manual_seed(0)
    hand = HandLinear(3, 2).to(device)  # the same names, the same numbers
    assert_close(hand.state_dict(), layer.state_dict())
    x = torch.randn(5, 4, 3, device=device)  # any dimensions before the last
    x[2, 1, 0] = math.nan  # nan in both outputs of that row, and in no other
    assert_close(hand(x), layer(x), equal_nan=True)
    assert hand(x[:0]).shape == layer(x[:0]).shape == (0, 4, 2)


# %%
def sequential_feeds_each_layer_to_the_next(device: torch.device) -> None:
    """Sequential is a loop over layers; one that stands twice runs twice.

    `double` has the weight 2: from 3 it makes 6, and from 6 it makes 12.
    """
    double = nn.Linear(1, 1, bias=False).to(device)
    nn.init.constant_(double.weight, 2.0)
    x = torch.tensor([[3.0]], device=device)
    twice = nn.Sequential(double, double)
    print("Sequential(double)(3)         =", nn.Sequential(double)(x).item())
    print("Sequential(double, double)(3) =", twice(x).item())
    assert nn.Sequential(double)(x) == 6
    assert twice(x) == 12
    y = x
    for layer in twice:  # the same by hand
        y = layer(y)
    assert y == 12

    # It runs twice, but it is one module with one parameter.
    print("len(twice) =", len(twice), " parameters:", count_parameters(twice))
    assert len(twice) == 2
    assert count_parameters(twice) == 1
    # Layers are numbered, and a slice is again a Sequential.
    assert twice[1] is double
    assert twice[:1](x) == 6


# %%
class Standardize(nn.Module):
    """(x - mean) * scale, with every kind of tensor that a module has."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("mean", torch.tensor([5.0, 6.0]))
        self.plain = torch.ones(2)  # an attribute, unknown to the module

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 2)."""
        return (x - self.mean) * self.scale


def parameters_learn_and_buffers_are_carried() -> None:
    """A buffer moves and is saved like a parameter, but never learns.

    loss = sum of (x - mean) * scale, so the gradient of scale is x - mean.
    The device `meta` stands for a GPU: it has shapes, and no numbers.
    """
    model = Standardize()
    parameters = list(dict(model.named_parameters()))
    saved = list(model.state_dict())
    print("parameters", parameters, " saved", saved)
    assert parameters == ["scale"]  # what an optimizer is given
    assert saved == ["scale", "mean"]

    model(torch.tensor([[7.0, 9.0]])).sum().backward()
    print("scale.grad =", model.scale.grad.tolist())
    print("mean.grad  =", model.mean.grad)
    assert model.scale.grad.tolist() == [7 - 5, 9 - 6]
    assert model.mean.grad is None

    model.to("meta")
    print(f"after to('meta'): scale on {model.scale.device}", end=", ")
    print(f"mean on {model.mean.device}, plain on {model.plain.device}")
    assert model.scale.is_meta
    assert model.mean.is_meta
    assert not model.plain.is_meta


# %%
class PlainList(nn.Module):
    """Two layers in a Python list, where the module does not see them."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(4, 3), nn.Linear(3, 2)]


def module_list_registers_what_it_holds(device: torch.device) -> None:
    """Layers in a plain list are neither trained, nor moved, nor saved.

    Two layers have 4 * 3 + 3 and 3 * 2 + 2 numbers: 23 in all. For layers with
    names there is `nn.ModuleDict`.
    """
    plain = PlainList().to("meta")  # it stands for a GPU
    print("list:       parameters", count_parameters(plain), end="")
    print(", tensors saved", len(plain.state_dict()), end=", ")
    print("after to('meta') on", plain.layers[0].weight.device)
    assert count_parameters(plain) == 0
    assert len(plain.state_dict()) == 0
    assert not plain.layers[0].weight.is_meta

    layers = nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 2)]).to(device)
    print("ModuleList: parameters", count_parameters(layers), end="")
    print(", tensors saved", len(layers.state_dict()))
    assert count_parameters(layers) == 4 * 3 + 3 + 3 * 2 + 2
    assert len(layers.state_dict()) == 4

    # It holds layers and leaves the calls to you; Sequential has a forward.
    x = torch.randn(5, 4, device=device)
    with caught(NotImplementedError, 'missing the required "forward"'):
        layers(x)
    y = nn.Sequential(*layers)(x)  # right: it calls them in turn
    assert_close(y, layers[1](layers[0](x)))


# %%
def same_in_both_modes(layer: nn.Module, x: Tensor) -> bool:
    """Return whether `layer` gives one output in training and eval mode."""
    trained = layer.train()(x)
    evaluated = layer.eval()(x)
    return torch.allclose(trained, evaluated, atol=1e-6)


def eval_mode_changes_dropout_and_some_norms() -> None:
    """`eval()` clears the flag `training` of all modules; few look at it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Sequential(nn.Dropout(0.5)))
    assert model[1][0].training  # a new model is in training mode
    model.eval()
    assert not model[1][0].training
    model.train()
    assert model[1][0].training

    x = torch.randn(4, 3, 6)  # (batch, channels, length)
    tracked = nn.InstanceNorm1d(3, track_running_stats=True)
    dropout = same_in_both_modes(nn.Dropout(0.5), x)
    batch_norm = same_in_both_modes(nn.BatchNorm1d(3), x)
    instance_norm = same_in_both_modes(tracked, x)
    rrelu = same_in_both_modes(nn.RReLU(), x)  # a random slope below 0
    linear = same_in_both_modes(nn.Linear(6, 2), x)
    layer_norm = same_in_both_modes(nn.LayerNorm(6), x)
    print("the same output in training and in eval mode:")
    print("Dropout", dropout, " BatchNorm1d", batch_norm, " RReLU", rrelu)
    print("InstanceNorm1d(track_running_stats=True)", instance_norm)
    print("Linear", linear, " LayerNorm", layer_norm)
    assert not dropout
    assert not batch_norm
    assert not instance_norm
    assert not rrelu
    assert linear
    assert layer_norm


# %%
def parameter_counts_follow_formulas() -> None:
    """How many numbers a layer learns is known before it is built."""
    # A weight for each pair of input and output, a bias for each output.
    linear = count_parameters(nn.Linear(784, 20))
    print(f"Linear(784, 20)           {784 * 20 + 20 = }")
    assert linear == 784 * 20 + 20
    # A kernel serves every place: the size of the image is not in it.
    convolution = count_parameters(nn.Conv2d(3, 16, kernel_size=5))
    print(f"Conv2d(3, 16, 5)          {16 * 3 * 5 * 5 + 16 = }")
    assert convolution == 16 * 3 * 5 * 5 + 16
    norm = count_parameters(nn.BatchNorm2d(16))  # a scale and a shift each
    print(f"BatchNorm2d(16)           {2 * 16 = }")
    assert norm == 2 * 16
    embedding = count_parameters(nn.Embedding(1000, 32))
    print(f"Embedding(1000, 32)       {1000 * 32 = }")
    assert embedding == 1000 * 32
    # Query, key, value, output: four Linear layers; heads share their width.
    attention = count_parameters(nn.MultiheadAttention(32, num_heads=4))
    print(f"MultiheadAttention(32, 4) {4 * (32 * 32 + 32) = }")
    assert attention == 4 * (32 * 32 + 32)
    # A Linear from the input and one from the state, for 4 vectors; GRU: 3.
    lstm = count_parameters(nn.LSTM(10, 20))
    print(f"LSTM(10, 20)              {4 * 20 * (10 + 20 + 1 + 1) = }")
    assert lstm == 4 * 20 * (10 + 20 + 1 + 1)


# %%
def state_dict_saves_names_and_tensors(device: torch.device) -> None:
    """Save the `state_dict`, not the model; load it into a new model.

    A file of a whole model can be read only where its class has the same place
    and the same code, and to read it runs code of whoever made the file.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 3)).to(device)
    file = io.BytesIO()  # a file in memory; a path works the same
    torch.save(model.state_dict(), file)
    print("saved:", list(model.state_dict()))
    assert list(model.state_dict()) == ["1.weight", "1.bias"]

    # weights_only: numbers are read, no code is run. map_location: a file
    # from a GPU can be read where there is none.
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    assert state["1.weight"].device.type == "cpu"
    loaded = nn.Sequential(nn.ReLU(), nn.Linear(4, 3))  # new random weights
    x = torch.randn(2, 4)
    y = model(x.to(device)).cpu()
    assert not torch.allclose(loaded(x), y, atol=0.01)
    print("load_state_dict:", loaded.load_state_dict(state))
    print("model(x)[0]  ", rounded(y[0]))
    print("loaded(x)[0] ", rounded(loaded(x)[0]))
    assert_close(loaded(x), y, rtol=1e-4, atol=1e-4)


# %%
def strict_load_state_dict_reports_wrong_names() -> None:
    """Names or shapes that do not fit: `load_state_dict` refuses them.

    A file saved from a `DataParallel` model has "module." before each name.
    """
    model = nn.Sequential(nn.Linear(4, 3))
    state = {
        "module.0.weight": torch.ones(3, 4),
        "module.0.bias": torch.ones(3),
    }
    print("names in the file:", list(state))
    with caught(RuntimeError, "Missing key(s) in state_dict"):
        model.load_state_dict(state)
    consume_prefix_in_state_dict_if_present(state, "module.")  # right: cut off
    model.load_state_dict(state)
    assert list(state) == ["0.weight", "0.bias"]
    assert model[0].weight.sum() == 12

    # strict=False loads the names that fit, and returns the others.
    state["head.weight"] = torch.ones(2, 3)
    del state["0.bias"]
    report = model.load_state_dict(state, strict=False)
    print("missing:", report.missing_keys, end="  ")
    print("unexpected:", report.unexpected_keys)
    assert report.missing_keys == ["0.bias"]
    assert report.unexpected_keys == ["head.weight"]

    other = nn.Sequential(nn.Linear(4, 2))
    with caught(RuntimeError, "size mismatch for 0.weight"):
        other.load_state_dict(state, strict=False)
    del state["0.weight"]  # right: that layer keeps its own start
    other.load_state_dict(state, strict=False)


# %%
def export_saves_a_model_without_its_class() -> None:
    """`torch.export` saves the computation: to load it takes no class.

    A size is fixed to that of the example, unless a `Dim` says that it varies.
    On the CPU; `program` can be exported on any device.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU())
    two = torch.rand(2, 3, 2)
    five = torch.rand(5, 3, 2)
    batch = torch.export.Dim("batch")
    shapes = ({0: batch},)  # dimension 0 of the first input may vary
    program = torch.export.export(model, (two,), dynamic_shapes=shapes)
    file = io.BytesIO()  # or a path; its usual ending is .pt2
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    assert not isinstance(loaded, nn.Sequential)

    fixed = torch.export.export(model, (two,)).module()
    print("exported with a batch of 2, then called with a batch of 5")
    # AssertionError; RuntimeError, "to be equal to 2", in older versions.
    with caught(Exception, " 2"):
        fixed(five)
    y = loaded(five)  # right: exported with Dim("batch")
    print("model(five)[0] ", rounded(model(five)[0]))
    print("loaded(five)[0]", rounded(y[0]))
    assert_close(y, model(five))
    assert_close(fixed(two), model(two))


# %% [markdown]
# ## Signals
# What keeps numbers in range on their way through many layers, and the
# gradients on their way back.


# %%
def the_last_layer_gives_logits(device: torch.device) -> None:
    """Logits may be negative: softmax makes them probabilities, not a ReLU.

    softmax(x) = exp(x) / sum of exp(x). Cross-entropy is -log(p), p that of the
    label; its gradient by the logits is softmax(logits) - one_hot(label).
    """
    logits = torch.tensor([[2.0, -1.0, -3.0]], device=device)  # (1, classes)
    logits.requires_grad_()
    label = torch.tensor([2], device=device)
    probabilities = logits.softmax(dim=1)  # dim 1: the classes of one image
    print("logits            ", logits.tolist())
    print("softmax(dim=1)    ", rounded(probabilities))
    assert_close(probabilities, logits.exp() / logits.exp().sum())
    # argmax is the same before and after: to predict needs no softmax.
    print("argmax(dim=1)     ", logits.argmax(dim=1).tolist())
    assert logits.argmax(dim=1) == probabilities.argmax(dim=1) == 0

    F.cross_entropy(logits, label).backward()  # the softmax is in it
    print("gradient, label 2 ", rounded(logits.grad))
    one_hot = torch.tensor([[0.0, 0.0, 1.0]], device=device)
    assert_close(logits.grad, (probabilities - one_hot).detach())

    logits.grad = None
    F.cross_entropy(logits.relu(), label).backward()
    print("after a ReLU      ", rounded(logits.grad))
    # A logit below 0 gets no gradient: nothing here raises that of label 2.
    assert logits.grad[0, 0] > 0.7
    assert not logits.grad[0, 1:].any()


# %%
def activations_bend_a_straight_line(device: torch.device) -> None:
    """An activation maps each number by itself; here are four formulas.

    erf is the error function: (1 + erf(x / sqrt 2)) / 2 is the probability
    that a standard normal number is below x. In a model take torch's: by hand
    tanh(1e-9) is 0, and the gradient at -100 is nan, 0 * inf. Of inf torch's
    GELU may be nan; by hand it is inf.
    """
    numbers = [-100.0, -0.5, 0.0, 1.0, 100.0, math.nan]
    x = torch.tensor(numbers, device=device, requires_grad=True)
    relu = torch.where(x <= 0, 0.0, x)  # this way round nan stays nan
    # (e^x - e^-x) / (e^x + e^-x), but e^100 is inf, and inf / inf is nan.
    # Divided by e^x it is (1 - e^-2x) / (1 + e^-2x).
    tanh = 2 / (1 + (-2 * x).exp()) - 1
    silu = x / (1 + (-x).exp())  # x times sigmoid(x)
    gelu = x * (1 + (x / math.sqrt(2)).erf()) / 2
    print("x    ", rounded(x))
    print("ReLU ", rounded(relu))
    print("Tanh ", rounded(tanh))
    print("SiLU ", rounded(silu))
    print("GELU ", rounded(gelu))
    assert_close(relu, nn.ReLU()(x), equal_nan=True)
    assert_close(tanh, nn.Tanh()(x), equal_nan=True)
    assert_close(silu, nn.SiLU()(x), equal_nan=True)
    assert_close(gelu, nn.GELU()(x), equal_nan=True)
    assert relu[:5].tolist() == [0, 0, 0, 1, 100]
    assert 2 / (1 + torch.tensor(-2e-9).exp()) - 1 == 0
    tanh_slope = torch.autograd.grad(tanh.sum(), x)[0]
    silu_slope = torch.autograd.grad(silu.sum(), x)[0]
    assert tanh_slope[0].isnan()
    assert silu_slope[0].isnan()


# %%
def deviations(std: float, width: int) -> list[float]:
    """Return the standard deviation after each of 20 layers."""
    x = torch.randn(64, width)
    found = []
    for _ in range(20):
        y = x @ (std * torch.randn(width, width))  # (64, width)
        found.append(y.std().item())
        x = y.relu()
    return found


def he_initialization_keeps_the_signal() -> None:
    """Small weights fade the signal, large ones explode it, He's keep it.

    With weights of deviation s a layer multiplies the mean square by
    width * s^2, and the ReLU before it by 1/2: so s = sqrt(2 / width) keeps it
    (He et al. 2015). Xavier's sqrt(1 / width) is for layers without a ReLU
    (Glorot & Bengio 2010): here it loses a factor sqrt(2) in each layer.
    """
    torch.manual_seed(0)
    width = 256
    he = deviations((2 / width) ** 0.5, width)
    xavier = deviations((1 / width) ** 0.5, width)
    large = deviations((8 / width) ** 0.5, width)
    print("s^2               deviation after 1 layer, after 20, by formula")
    formula = 2**0.5  # before the first layer there is no ReLU
    print(f"2 / width, He      {he[0]:8.3g} {he[19]:8.3g} {formula:8.3g}")
    assert_close(he[0], formula, rtol=0.05, atol=0)
    assert 0.5 < he[19] / formula < 2
    formula = 0.5 ** (19 / 2)
    print(f"1 / width, Xavier  {xavier[0]:8.3g} {xavier[19]:8.3g}", end="")
    print(f" {formula:8.3g}")
    assert 0.5 < xavier[19] / formula < 2
    formula = 2**20.5  # sqrt(8), then 19 times 2
    print(f"8 / width          {large[0]:8.3g} {large[19]:8.3g} {formula:8.3g}")
    assert 0.5 < large[19] / formula < 2


# %%
def start_like_he(module: nn.Module) -> None:
    """Give a layer He's weights and no bias; leave other modules alone."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def apply_initializes_a_whole_model(device: torch.device) -> None:
    """`model.apply(f)` calls f for each module of the tree.

    An output of the Conv2d is a sum over 8 channels of 3 * 3 pixels, one of
    the Linear over 200 inputs: He's deviations are sqrt(2 / 72), sqrt(2 / 200).
    """
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(8, 50, 3), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(body, nn.LayerNorm(200), nn.Linear(200, 60))
    model.to(device)
    convolution = body[0]
    linear = model[2]
    print("deviation of the weights of Conv2d(8, 50, 3), Linear(200, 60)")
    print(f"torch:    {convolution.weight.std():.4f} {linear.weight.std():.4f}")
    model.apply(start_like_he)
    print(f"apply:    {convolution.weight.std():.4f} {linear.weight.std():.4f}")
    print(f"formulas: {(2 / 72) ** 0.5:.4f} {(2 / 200) ** 0.5:.4f}")
    std = convolution.weight.std().item()
    assert_close(std, (2 / 72) ** 0.5, rtol=0.05, atol=0)
    assert_close(linear.weight.std().item(), 0.1, rtol=0.05, atol=0)
    assert not linear.bias.any()
    assert not convolution.bias.any()
    assert (model[1].weight == 1).all()  # the LayerNorm was left alone


# %%
class HandDropout(nn.Module):
    """In training each number is zeroed with probability p, others grow."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x * mask / (1 - p), whose expected value is x."""
        if not self.training:
            return x
        if self.p == 1:  # not 0 / 0, which is nan
            return x * 0
        mask = torch.empty_like(x).bernoulli_(1 - self.p)  # new in every call
        return x * mask / (1 - self.p)


def dropout_zeroes_some_and_scales_the_rest() -> None:
    """Dropout keeps the mean: what stays is divided by 1 - p.

    It is used against overfitting: no output can rest on one input alone.
    On the CPU, where torch draws the same mask as the code by hand.
    """
    x = torch.ones(10_000)
    hand = HandDropout(0.2)
    layer = nn.Dropout(0.2)
    torch.manual_seed(0)
    y = hand(x)
    torch.manual_seed(0)
    assert torch.equal(layer(x), y)
    zeros = (y == 0).sum().item()
    print("x: 10,000 ones. Dropout(0.2) in training mode:")
    print(f"zeroed {zeros}, the others {y.max().item()}, mean {y.mean():.3f}")
    assert 1800 < zeros < 2200
    assert y.unique().tolist() == [0, 1.25]  # 1 / (1 - 0.2)
    assert 0.97 < y.mean() < 1.03

    hand.eval()
    layer.eval()
    print("in eval mode zeroed:", (layer(x) == 0).sum().item())
    assert torch.equal(layer(x), x)
    assert torch.equal(hand(x), x)
    x[0] = math.nan  # the largest rate: all others are zero
    assert_close(HandDropout(1.0)(x), nn.Dropout(1.0)(x), equal_nan=True)
    assert not HandDropout(1.0)(x)[1:].any()


# %%
class HandBatchNorm2d(nn.Module):
    """Each channel gets mean 0 and variance 1, over batch and image.

    Channels are the images that a sample is made of, such as its red one. In
    training an empty batch is refused, too; torch lets it pass. After inf, or
    a variance that is inf, running statistics are nan; torch's may stay inf.
    """

    def __init__(self, channels, eps=1e-5, momentum=0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self.eps = eps
        self.momentum = momentum

    def forward(self, x: Tensor) -> Tensor:
        """Return x (batch, channels, height, width), normalized."""
        mean = self.running_mean
        variance = self.running_var
        if self.training:
            count = x[:, 0].numel()  # values in a channel
            if count < 2:
                raise ValueError("Expected more than 1 value per channel")
            mean = x.mean(dim=(0, 2, 3))  # (channels,)
            variance = x.var(dim=(0, 2, 3), correction=0)
            with torch.no_grad():  # a tenth of the way to the new ones
                self.running_mean.lerp_(mean, self.momentum)
                unbiased = variance * count / (count - 1)  # only here n - 1
                self.running_var.lerp_(unbiased, self.momentum)
                self.num_batches_tracked += 1
        centered = x - mean[:, None, None]
        scale = self.weight / (variance + self.eps).sqrt()
        return centered * scale[:, None, None] + self.bias[:, None, None]


def batch_norm_uses_running_statistics_in_eval_mode() -> None:
    """BatchNorm: batch statistics in training, running ones in eval mode.

    The running mean starts at 0 and moves a tenth of the way with a batch: of
    7 it has seen 1 - 0.9^5 = 41% after five. In float64, on the CPU.
    """
    torch.manual_seed(0)
    hand = HandBatchNorm2d(3).double()
    layer = nn.BatchNorm2d(3).double()
    x = 2 * torch.randn(8, 3, 4, 5, dtype=torch.float64) + 7
    x.requires_grad_()  # as behind a layer that learns
    for _ in range(5):
        y = layer(x)
        assert_close(hand(x), y)
    print(f"x:             mean {x.mean():.2f}, std {x.std():.2f}")
    print(f"training mode: mean {y.mean().abs():.2f}, std {y.std():.2f}")
    assert y.mean(dim=(0, 2, 3)).abs().max() < 1e-6
    assert (y.var(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-4
    print(f"running mean after 5 batches: {layer.running_mean.mean():.2f}")
    assert_close(layer.running_mean, x.mean(dim=(0, 2, 3)) * (1 - 0.9**5))
    assert_close(hand.state_dict(), layer.state_dict())
    assert not hand.running_mean.requires_grad  # or its graph would grow

    y = layer.eval()(x)
    print(f"eval mode:     mean {y.mean():.2f}, std {y.std():.2f}")
    assert 1.5 < y.mean() < 3  # the statistics lag behind
    # A value for each channel; a nan stays in its channel.
    one = torch.tensor([3.0, math.nan, 5.0]).double().view(1, 3, 1, 1)
    learned = torch.arange(1.0, 7.0).double()  # weights 1 2 3, biases 4 5 6
    nn.utils.vector_to_parameters(learned, layer.parameters())
    hand.load_state_dict(layer.state_dict())
    with caught(ValueError, "Expected more than 1 value per channel"):
        layer.train()(one)
    y = layer.eval()(one)  # right: or a larger last batch, drop_last=True
    assert_close(hand.eval()(one), y, equal_nan=True)
    with contextlib.suppress(ValueError):
        hand.train()(x[:0])
    assert hand.num_batches_tracked == 5  # the empty batch was refused


# %%
def layer_norm_by_hand(x: Tensor) -> Tensor:
    """Return x (..., width) with mean 0 and variance 1 for each sample.

    Equal to a new LayerNorm, as the next one to a new RMSNorm, in float32 and
    float64; where x has 16 bits torch computes in float32. If a square is inf,
    as near 1e20 in float32, this gives 0, and torch's LayerNorm may give nan.
    """
    centered = x - x.mean(-1, keepdim=True)
    variance = centered.square().mean(-1, keepdim=True)
    return centered / (variance + 1e-5).sqrt()  # with eps no 0 / 0


def rms_norm_by_hand(x: Tensor) -> Tensor:
    """Return x (..., width) over the root of the mean square of a sample."""
    eps = torch.finfo(x.dtype).eps  # torch's, where none is given
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def layer_norm_normalizes_each_sample(device: torch.device) -> None:
    """LayerNorm and RMSNorm look at one sample: no batch, no mode.

    (1, 2, 6): mean 3, variance (4 + 1 + 9) / 3; mean square 41 / 3. RMSNorm
    leaves out the mean. Both have weights that learn, at first 1.
    """
    x = torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]], device=device)
    layer_norm = nn.LayerNorm(3).to(device)
    rms_norm = nn.RMSNorm(3).to(device)
    print("x        ", x.tolist())
    print("LayerNorm", rounded(layer_norm(x)))
    print("RMSNorm  ", rounded(rms_norm(x)))
    expected = torch.tensor([-2.0, -1.0, 3.0], device=device) / (14 / 3) ** 0.5
    assert_close(layer_norm(x)[0], expected, rtol=1e-4, atol=1e-4)
    assert_close(rms_norm(x)[0], x[0] / (41 / 3) ** 0.5)
    assert not layer_norm(x)[1].any()  # all equal: nothing is left
    assert not layer_norm_by_hand(1e20 * x[0]).any()

    x = torch.randn(4, 3, device=device)
    x[0, 2] = math.nan  # it takes its own sample along, and no other
    x[1] = 1e-4  # so small that eps counts
    assert_close(layer_norm_by_hand(x), layer_norm(x), equal_nan=True)
    assert_close(rms_norm_by_hand(x), rms_norm(x), equal_nan=True)
    assert layer_norm_by_hand(x[:0]).shape == layer_norm(x[:0]).shape
    assert rms_norm_by_hand(x[:0]).shape == rms_norm(x[:0]).shape


# %%
class DeepNetwork(nn.Module):
    """Layers f in a row, x -> skip * x + scale * f(x), with He's weights."""

    def __init__(self, depth, skip, scale, width=16):
        super().__init__()
        self.first = nn.Linear(1, width)
        self.layers = nn.ModuleList()
        for _ in range(depth):
            layer = nn.Linear(width, width)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
            self.layers.append(layer)
        self.last = nn.Linear(width, 1)
        self.skip = skip
        self.scale = scale

    def body(self, x: Tensor) -> Tensor:
        """Return (batch, width) for x of the same shape."""
        for layer in self.layers:
            x = self.skip * x + self.scale * layer(x.relu())
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 1) for x (batch, 1)."""
        return self.last(self.body(self.first(x)))


def mean_square_growth(skip: float, scale: float) -> float:
    """Return the mean square after 20 layers of width 256, from 1 before."""
    model = DeepNetwork(20, skip, scale, width=256)
    return model.body(torch.randn(100, 256)).square().mean().item()


def fit_a_sine(model: nn.Module, steps: int, device: torch.device) -> float:
    """Train on y = sin(3 x), and return the mean squared error."""
    model.to(device)
    x = torch.linspace(-1, 1, 16, device=device)[:, None]  # (16, 1)
    y = torch.sin(3 * x)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return F.mse_loss(model(x), y).item()  # after the last step


def residual_blocks_need_a_scale_to_train_at_depth(
    device: torch.device, *, deep: int = 200, steps: int = 12
) -> None:
    """x + f(x) doubles the mean square each time; / sqrt(depth) keeps it.

    A residual block gives x + f(x). With He's weights f(x) has the mean square
    of x: after n blocks x + f(x) has 2^n times that, x + f(x) / sqrt(n) only
    (1 + 1/n)^n < e times. Without x nothing grows, but in a deep network all
    inputs come out alike: the error stays that of a constant. Tried with 10
    seeds: 9 or more hold.
    """
    torch.manual_seed(1)
    plain = mean_square_growth(0, 1)
    added = mean_square_growth(1, 1)
    scaled = mean_square_growth(1, 20**-0.5)
    print("mean square of x after 20 layers, and by formula; 1 before them")
    print(f"f(x)                    {plain:8.3g}        1")
    print(f"x + f(x)                {added:8.3g} {2**20:8.3g}")
    print(f"x + f(x) / sqrt(20)     {scaled:8.3g} {(1 + 1 / 20) ** 20:8.3g}")
    assert 0.2 < plain < 5
    assert 0.2 < added / 2**20 < 5
    assert_close(scaled, (1 + 1 / 20) ** 20, rtol=0.2, atol=0)

    plain = fit_a_sine(DeepNetwork(deep, 0, 1), steps, device)
    added = fit_a_sine(DeepNetwork(deep, 1, 1), 1, device)
    scaled = fit_a_sine(DeepNetwork(deep, 1, deep**-0.5), steps, device)
    constant = (3 * torch.linspace(-1, 1, 16)).sin().square().mean().item()
    print(f"mean squared error with {deep} layers, after {steps} steps")
    print(f"f(x)                    {plain:.3f}")
    print(f"x + f(x)                {added:.3g} after 1 step")
    print(f"x + f(x) / sqrt(depth)  {scaled:.3f}")
    print(f"the best constant, 0    {constant:.3f}")
    assert_close(plain, constant, rtol=0.1, atol=0)
    assert not added < 1e6  # huge, or nan
    assert scaled < 0.4


# %% [markdown]
# ## Convolution
# One small kernel at every place of an image: layers for pictures, the sizes
# that they give, and a network that is trained and looked into.


# %%
def convolve(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return what `layer` gives, by a loop over all places of the kernel.

    For a batch, and a layer with a bias, one stride and one padding, of zeros,
    for both sides, without dilation or groups.
    """
    height, width = layer.kernel_size
    stride = layer.stride[0]
    padding = layer.padding[0]
    x = F.pad(x, (padding, padding, padding, padding))  # zeros all around
    rows = []
    for top in range(0, x.shape[2] - height + 1, stride):
        row = []
        for left in range(0, x.shape[3] - width + 1, stride):
            patch = x[:, None, :, top : top + height, left : left + width]
            terms = patch * layer.weight  # (batch, out, in, height, width)
            row.append(terms.sum(dim=(2, 3, 4)) + layer.bias)  # (batch, out)
        rows.append(torch.stack(row, dim=2))
    return torch.stack(rows, dim=2)  # (batch, out, rows, columns)


def convolution_is_a_sliding_sum() -> None:
    """Conv2d multiplies a kernel with the patch at each place, and adds up.

    Here 1*1 - 1*5 = -4, 1*2 - 1*6 = -4 and so on. Stride is the step from place
    to place, padding zeros all around. The kernel is not flipped: textbooks
    call this cross-correlation. On the CPU: a GPU may round to TF32,
    which keeps 10 bits behind the point.
    """
    image = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    kernel = torch.tensor([[1.0, 0.0], [0.0, -1.0]]).view(1, 1, 2, 2)
    y = F.conv2d(image, kernel)
    print("image ", image[0, 0].tolist())
    print("kernel", kernel[0, 0].tolist())
    print("conv2d", y[0, 0].tolist())
    assert y.tolist() == [[[[-4, -4], [-4, -4]]]]

    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8)  # (batch, channels, height, width)
    x[0, 0, 0, 0] = math.nan  # it stays in the places that see it
    layer = nn.Conv2d(3, 4, kernel_size=(3, 2), stride=2, padding=1)
    y = layer(x)
    print("x (2, 3, 9, 8), kernel 3 x 2, stride 2, padding 1:", tuple(y.shape))
    assert y.shape == (2, 4, 5, 5)
    assert_close(convolve(x, layer), y, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert convolve(x[:0], layer).shape == layer(x[:0]).shape == (0, 4, 5, 5)


# %%
def output_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> int:
    """Return how many places a kernel can start at, along one side."""
    reach = dilation * (kernel - 1) + 1  # pixels from its first to its last
    return (size + 2 * padding - reach) // stride + 1  # // rounds down


def convolution_output_size_is_a_formula() -> None:
    """Size, kernel, stride, padding and dilation give the size that is left.

    out = floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1
    for each side of an image. Dilation is the step between weights of a kernel.
    """
    tried = 0
    for size, kernel, stride, padding, dilation in itertools.product(
        range(10, 13), range(1, 4), range(1, 4), range(2), range(1, 3)
    ):
        layer = nn.Conv1d(1, 1, kernel, stride, padding, dilation)
        found = layer(torch.zeros(1, 1, size)).shape[2]
        assert found == output_size(size, kernel, stride, padding, dilation)
        tried += 1
    print(tried, "small cases agree. An image of 32 x 20 becomes")
    assert tried == 3 * 3 * 3 * 2 * 2
    image = torch.zeros(1, 1, 32, 20)
    same = nn.Conv2d(1, 1, kernel_size=3, padding=1)(image)
    print("kernel 3, padding 1:          ", tuple(same.shape[2:]))
    assert same.shape[2:] == (32, 20)
    half = nn.Conv2d(1, 1, kernel_size=3, stride=2, padding=1)(image)
    print("kernel 3, stride 2, padding 1:", tuple(half.shape[2:]))
    assert half.shape[2:] == (32 / 2, 20 / 2)

    small = torch.zeros(1, 1, 3, 3)
    with caught(RuntimeError, "Kernel size can't be greater than actual input"):
        nn.Conv2d(1, 1, kernel_size=5)(small)
    y = nn.Conv2d(1, 1, kernel_size=5, padding=1)(small)  # right: 3 + 2 >= 5
    assert y.shape == (1, 1, 1, 1)


# %%
def pooling_keeps_one_number_of_each_window(device: torch.device) -> None:
    """MaxPool2d keeps the largest number of a window, AvgPool2d the mean.

    With kernel 2 windows stand side by side; what is left over is dropped.
    """
    image = torch.arange(10.0, device=device).view(1, 1, 2, 5)
    largest = nn.MaxPool2d(2)(image)
    mean = nn.AvgPool2d(2)(image)
    print("image (2, 5) ", image[0, 0].tolist())
    print("MaxPool2d(2):", largest[0, 0].tolist())
    print("AvgPool2d(2):", mean[0, 0].tolist())
    assert largest[0, 0].tolist() == [[6, 8]]
    # (0 + 1 + 5 + 6) / 4 = 3; column 4 is in no window.
    assert mean[0, 0].tolist() == [[3, 5]]

    # By hand: cut rows, then columns, into windows; nothing is copied.
    x = torch.randn(2, 3, 7, 6, device=device)
    x[0, 0, 0, 0] = math.nan  # a nan is the largest of its window
    windows = x.unfold(2, 3, 2).unfold(3, 3, 2)  # kernel 3, stride 2
    assert windows.shape == (2, 3, 3, 2, 3, 3)
    by_hand = windows.amax(dim=(4, 5))
    assert_close(by_hand, nn.MaxPool2d(3, 2)(x), equal_nan=True)
    by_hand = windows.mean(dim=(4, 5))
    assert_close(by_hand, nn.AvgPool2d(3, 2)(x), equal_nan=True)


# %%
def receptive_field(layers: nn.Sequential) -> int:
    """Return how many pixels along a side one output depends on."""
    field = 1
    jump = 1  # pixels between neighbours in the output so far
    for layer in layers:
        field += layer.dilation[0] * (layer.kernel_size[0] - 1) * jump
        jump *= layer.stride[0]
    return field


def paths_to_one_output(layers: nn.Sequential) -> Tensor:
    """Return (31, 31): how many ways lead from each pixel to one output.

    It is the gradient of that output where all weights are 1: so it is not
    zero exactly at the pixels that count.
    """
    for layer in layers:
        nn.init.ones_(layer.weight)
    image = torch.zeros(1, 1, 31, 31, requires_grad=True)
    y = layers(image)
    middle = y.shape[2] // 2
    y[0, 0, middle, middle].backward()
    return image.grad[0, 0]


def receptive_field_grows_with_kernel_and_stride(figures: Path) -> None:
    """Each layer adds dilation * (kernel - 1) * jump to what an output sees.

    The receptive field of an output is the pixels that it depends on. The jump
    is the product of all strides before that layer.
    """
    layers = nn.Sequential(
        nn.Conv2d(1, 1, kernel_size=5, stride=2),
        nn.Conv2d(1, 1, kernel_size=3, stride=2),
        nn.Conv2d(1, 1, kernel_size=3, dilation=2),
    )
    figure, panels = plt.subplots(1, 3, figsize=(7, 2.5), layout="constrained")
    print("kernels 5, 3, 3, strides 2, 2, 1, dilations 1, 1, 2")
    print("side of the receptive field by formula, by gradient")
    for count in range(1, 4):
        paths = paths_to_one_output(layers[:count])
        side = paths.any(dim=1).sum().item()  # rows with a path
        print(f"after layer {count}:", receptive_field(layers[:count]), side)
        assert receptive_field(layers[:count]) == side
        assert paths.sum() == 25 * 9 ** (count - 1)  # 5 * 5 ways, 3 * 3 each
        panels[count - 1].imshow(paths.tolist())
        panels[count - 1].set_title(f"after layer {count}: {side} x {side}")
        panels[count - 1].axis("off")
    assert side == 1 + 4 + 2 * 2 + 2 * 2 * 4
    save_figure(figure, "buildnn_receptive_field", figures)


# %%
def transposed_convolution_enlarges_an_image() -> None:
    """ConvTranspose2d lays a scaled kernel at the place of each number.

    out = (size - 1) * stride + kernel - 2 * padding: the size that a
    convolution with the same numbers would reduce to `size`.
    """
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    kernel = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    y = F.conv_transpose2d(image[None, None], kernel[None, None], stride=2)
    print("image    ", image.tolist())
    print("kernel   ", kernel.tolist(), " stride 2")
    print("y, row 0:", y[0, 0, 0].tolist())
    print("   row 1:", y[0, 0, 1].tolist())
    assert y[0, 0, 0].tolist() == [1, 1, 1 + 2, 2, 2]
    assert y[0, 0, 1].tolist() == [1, 0, 2, 0, 0]

    by_hand = torch.zeros(4, 5)
    for row in range(2):
        for column in range(2):
            top = 2 * row
            left = 2 * column
            stamp = image[row, column] * kernel  # where two overlap, they add
            by_hand[top : top + 2, left : left + 3] += stamp
    assert torch.equal(y[0, 0], by_hand)
    assert y.shape[2:] == ((2 - 1) * 2 + 2, (2 - 1) * 2 + 3)
    back = F.conv2d(y, kernel[None, None], stride=2)
    assert back.shape[2:] == (2, 2)


# %%
class ResidualBlock(nn.Module):
    """relu(f(x) + shortcut(x)): f is two 3 x 3 convolutions (He et al. 2016).

    Where f changes the shape, the shortcut is a projection, a 1 x 1
    convolution with the same stride; else it is x itself.
    """

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        # No bias: the BatchNorm behind it has one.
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, outputs, height, width) / stride, rounded up."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        return (y + self.shortcut(x)).relu()


def residual_block_projects_its_shortcut(device: torch.device) -> None:
    """f(x) + x needs equal shapes: a 1 x 1 convolution brings x to them."""
    torch.manual_seed(0)
    x = torch.rand(2, 8, 7, 6, device=device)
    same = ResidualBlock(8, 8).to(device)
    halved = ResidualBlock(8, 12, stride=2).to(device)
    print("x                              ", tuple(x.shape))
    print("ResidualBlock(8, 8)            ", tuple(same(x).shape))
    print("ResidualBlock(8, 12, stride=2) ", tuple(halved(x).shape))
    assert same(x).shape == (2, 8, 7, 6)
    assert halved(x).shape == (2, 12, 4, 3)
    assert ResidualBlock(8, 8, stride=2).to(device)(x).shape == (2, 8, 4, 3)

    count = (8 + 12) * 12 * 9 + 8 * 12  # two 3 x 3 kernels, one 1 x 1
    assert count_parameters(halved) == count + 3 * 2 * 12  # three BatchNorms
    f = nn.Sequential(halved.conv1, halved.bn1, nn.ReLU(), halved.conv2)
    y = halved.bn2(f(x)) + halved.shortcut(x)
    assert_close(halved(x), y.relu(), rtol=1e-4, atol=1e-4)

    # With a last scale of 0 f(x) is 0: what is left is the shortcut. So a deep
    # network can start as a shallow one.
    nn.init.zeros_(same.bn2.weight)
    nn.init.zeros_(halved.bn2.weight)
    assert torch.equal(same(x), x)  # its relu changes nothing: x >= 0
    assert_close(halved(x), halved.shortcut(x).relu())

    with caught(RuntimeError, "must match the size of tensor"):
        f(x) + x
    y = f(x) + halved.shortcut(x)  # right: x is projected to (2, 12, 4, 3)
    assert y.shape == (2, 12, 4, 3)


# %%
class DigitCNN(nn.Module):
    """Two convolutions and one Linear, for images 1 x 28 x 28."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=3, padding=1)
        self.output = nn.Linear(16 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10)."""
        x = F.max_pool2d(self.conv1(x).relu(), 2)  # (batch, 8, 14, 14)
        x = F.max_pool2d(self.conv2(x).relu(), 2)  # (batch, 16, 7, 7)
        return self.output(x.flatten(1))


def train_digit_cnn(
    model: nn.Module, images: Tensor, labels: Tensor, steps: int
) -> None:
    """Train on random batches of 32 images (count, 1, 28, 28)."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        batch = torch.randint(len(images), (32,), device=images.device)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        assert model.output.bias.grad is None  # that of the last step is gone
        loss.backward()
        optimizer.step()


def digit_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of right answers, in eval mode."""
    model.eval()
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)  # (count,)
    return (predicted == labels).sum().item() / len(labels)


def a_trained_cnn_shows_its_feature_maps(
    device: torch.device, figures: Path, *, count: int = 2000, steps: int = 400
) -> nn.Module:
    """A CNN learns digits; a forward hook catches what its first layer gives.

    Feature maps are the images that a convolution gives, one for each channel.
    Trained on DejaVu fonts, measured on new images of them, and on STIX fonts.
    """
    torch.manual_seed(0)
    images, labels = font_digits("train", count)
    known, known_labels = font_digits("train", 300, seed=1)
    new, new_labels = font_digits("validation", 300)
    model = DigitCNN().to(device)
    train_digit_cnn(model, images.to(device), labels.to(device), steps)
    on_known = digit_accuracy(model, known.to(device), known_labels.to(device))

    maps = []  # what conv1 gives
    handle = model.conv1.register_forward_hook(
        lambda module, inputs, output: maps.append(output)
    )
    on_new = digit_accuracy(model, new.to(device), new_labels.to(device))
    handle.remove()  # or it would run, and keep, in every later call
    assert not model.training
    print(f"accuracy after {steps} steps: {on_known:.1%}", end="")
    print(f", on new fonts {on_new:.1%}")
    assert on_known > on_new > 0.3  # guessing gives 10%
    assert_close(maps[0], model.conv1(new.to(device)).detach())
    assert len(maps) == 1  # the hook is gone
    print("feature maps of conv1:", tuple(maps[0].shape))

    bright = maps[0][0].relu().cpu()  # (8, 28, 28), of one image
    bright = bright / bright.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    strip = torch.cat([new[0, 0], *bright], dim=1)  # (28, 9 * 28)
    figure, axes = plt.subplots(figsize=(9, 1.2), layout="constrained")
    axes.imshow(strip.tolist(), cmap="gray")
    axes.axis("off")
    save_figure(figure, "buildnn_feature_maps", figures)
    return model


# %% [markdown]
# ## Sequences
# Layers for words, sounds and all that comes in an order: embeddings,
# recurrent layers, attention.


# %%
def embedding_picks_rows_of_its_weight(device: torch.device) -> None:
    """An Embedding is a table: the number of a token picks its row.

    A token is a word, or a part of one. A one-hot vector times the table is the
    same. The gradient of a row is the sum over all places of its token.
    """
    torch.manual_seed(0)
    layer = nn.Embedding(num_embeddings=5, embedding_dim=2).to(device)
    tokens = torch.tensor([[1, 3, 3], [0, 3, 2]], device=device)
    y = layer(tokens)  # (batch, time, 2)
    print("tokens", tokens.tolist(), "->", tuple(y.shape))
    assert torch.equal(y, layer.weight[tokens])
    one_hot = F.one_hot(tokens, num_classes=5).float()  # (batch, time, 5)
    assert_close(y, one_hot @ layer.weight)

    # Places are weighted 1 to 6: token 3 stands at 2, 3 and 5, token 4 nowhere.
    places = torch.arange(1.0, 7.0, device=device).view(2, 3, 1)
    (places * y).sum().backward()
    print("gradient of rows 0 to 4, places weighted 1 to 6:", end=" ")
    print(layer.weight.grad[:, 0].tolist())
    assert layer.weight.grad[:, 0].tolist() == [4, 1, 6, 2 + 3 + 5, 0]
    # The row of padding_idx starts at zero and is left there.
    padded = nn.Embedding(5, 2, padding_idx=3).to(device)
    (places * padded(tokens)).sum().backward()
    print("with padding_idx=3:", padded.weight.grad[:, 0].tolist())
    assert padded.weight.grad[:, 0].tolist() == [4, 1, 6, 0, 0]
    assert not padded.weight[3].any()

    # layer.weight[-1] is the last row, but an Embedding does not count from
    # the end. On the CPU: on a GPU this error stops the whole program.
    with caught(IndexError, "index out of range in self"):
        nn.Embedding(5, 2)(torch.tensor([-1]))
    y = nn.Embedding(5, 2)(torch.tensor([4]))  # right: 0 to 4 for 5 rows
    assert y.shape == (1, 2)


# %%
def gru_by_hand(x: Tensor, layer: nn.GRU) -> Tensor:
    """Return the states (batch, time, hidden) of one layer, one direction.

    x is (batch, time, inputs); torch also takes one sample without a batch,
    and a layer without biases.
    r = sigmoid(.), z = sigmoid(.)  reset and update gate
    n = tanh(x part + r * h part)   candidate
    h = (1 - z) * n + z * h         the old state where z is 1
    """
    h = x.new_zeros(len(x), layer.hidden_size)  # (batch, hidden)
    states = []
    for step in x.unbind(dim=1):  # (batch, inputs)
        from_x = F.linear(step, layer.weight_ih_l0, layer.bias_ih_l0)
        from_h = F.linear(h, layer.weight_hh_l0, layer.bias_hh_l0)
        r_x, z_x, n_x = from_x.chunk(3, dim=1)  # (batch, hidden) each
        r_h, z_h, n_h = from_h.chunk(3, dim=1)
        r = (r_x + r_h).sigmoid()
        z = (z_x + z_h).sigmoid()
        n = (n_x + r * n_h).tanh()
        h = (1 - z) * n + z * h
        states.append(h)
    return torch.stack(states, dim=1)


def gru_reads_from_left_to_right() -> None:
    """A GRU is a loop over time: two gates, a candidate and one state.

    A gate is a sigmoid, a factor from 0 to 1: how much of a number goes on.
    On the CPU, as all recurrent sections.
    """
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3)  # (batch, time, inputs)
    layer = nn.GRU(3, 4, batch_first=True)
    states, last = layer(x)
    print("x", tuple(x.shape), "-> states", tuple(states.shape), end="")
    print(", last", tuple(last.shape))
    assert states.shape == (2, 6, 4)
    assert torch.equal(last[0], states[:, -1])  # dim 0 of last: layers

    # A nan at step 3 cannot change a state before it.
    changed = x.clone()
    changed[0, 3] = math.nan
    states = layer(changed)[0]
    by_hand = gru_by_hand(changed, layer)
    assert_close(by_hand, states, rtol=1e-4, atol=1e-5, equal_nan=True)
    moved = states[0].isnan().any(dim=1)  # (time,)
    print("input 3 is nan; states that are:", moved.tolist())
    assert moved.tolist() == [False, False, False, True, True, True]
    assert gru_by_hand(x[:0], layer).shape == layer(x[:0])[0].shape

    # Without batch_first the first dimension is time: samples are mixed.
    mixed = nn.GRU(3, 4)
    wrong = mixed(changed)[0][1].isnan().any().item()
    right = states[1].isnan().any().item()
    print("a nan in sample 0; is one in sample 1?")
    print("GRU(3, 4):", wrong, "  right: GRU(3, 4, batch_first=True):", right)
    assert wrong
    assert not right


# %%
def lstm_keeps_a_cell_behind_gates() -> None:
    """An LSTM adds to a cell: with gates f = 1 and i = 0 the cell stays.

    i, f, o = sigmoid(.)    input, forget and output gate
    g = tanh(.)             candidate
    cell = f * cell + i * g
    h = o * tanh(cell)
    """
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3)  # (batch, time, inputs)
    x[1, 4, 0] = math.nan
    layer = nn.LSTM(3, 4, batch_first=True)
    states, (last, last_cell) = layer(x)
    print("last state", tuple(last.shape), " last cell", tuple(last_cell.shape))
    h = torch.zeros(2, 4)  # (batch, hidden)
    cell = torch.zeros(2, 4)
    for t in range(6):
        gates = F.linear(x[:, t], layer.weight_ih_l0, layer.bias_ih_l0)
        gates = gates + F.linear(h, layer.weight_hh_l0, layer.bias_hh_l0)
        i, f, g, o = gates.chunk(4, dim=1)  # (batch, hidden) each
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        h = o.sigmoid() * cell.tanh()
        assert_close(h, states[:, t], rtol=1e-4, atol=1e-5, equal_nan=True)
    assert_close(cell, last_cell[0], rtol=1e-4, atol=1e-5, equal_nan=True)
    assert_close(h, last[0], rtol=1e-4, atol=1e-5, equal_nan=True)

    # A bias of -50 shuts the input gate, one of 50 opens the forget gate.
    with torch.no_grad():
        layer.bias_ih_l0[0:4] = -50  # i
        layer.bias_ih_l0[4:8] = 50  # f
    first = torch.full((1, 1, 4), 3.0)  # (layers, batch, hidden)
    _, (_, kept) = layer(x[:1], (torch.zeros(1, 1, 4), first))
    print("cell 3.0; after 6 steps, f = 1, i = 0:", kept[0, 0].tolist())
    assert_close(kept, first)


# %%
def bidirectional_gru_reads_both_ways() -> None:
    """A second GRU reads backwards; the outputs of both are joined.

    Its last state is the one at time 0, where it has read everything.
    """
    torch.manual_seed(0)
    x = torch.randn(2, 6, 3)  # (batch, time, inputs)
    both = nn.GRU(3, 4, batch_first=True, bidirectional=True)
    states, last = both(x)
    print("states", tuple(states.shape), " last", tuple(last.shape))
    assert states.shape == (2, 6, 4 + 4)
    assert last.shape == (2, 2, 4)  # (directions, batch, hidden)

    # The second direction by hand: its weights, on x turned round in time.
    backward = nn.GRU(3, 4, batch_first=True)
    second = list(both.parameters())[4:]
    numbers = nn.utils.parameters_to_vector(second)
    nn.utils.vector_to_parameters(numbers, backward.parameters())
    assert_close(states[:, :, 4:], backward(x.flip(1))[0].flip(1))

    forward_end = torch.equal(last[0], states[:, -1, :4])
    backward_end = torch.equal(last[1], states[:, 0, 4:])
    print("last[0] is states[:, -1, :4]:", forward_end)
    print("last[1] is states[:, 0, 4:]: ", backward_end)
    assert forward_end
    assert backward_end


# %%
def pack_padded_sequence_skips_the_padding() -> None:
    """Padding moves the last state; a packed batch stops at each length."""
    torch.manual_seed(0)
    long = torch.randn(5, 3)  # (time, inputs)
    short = torch.randn(2, 3)
    lengths = torch.tensor([5, 2])  # on the CPU, wherever x is
    x = pad_sequence([long, short], batch_first=True)  # (2, 5, 3)
    layer = nn.GRU(3, 4, batch_first=True)
    _, alone = layer(short[None])  # (1, 1, 4): what is right
    _, wrong = layer(x)
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    packed_states, right = layer(packed)
    print("last state of the short sequence")
    print("alone:               ", rounded(alone[0, 0]))
    print("padded, layer(x):    ", rounded(wrong[0, 1]))
    print("right: layer(packed):", rounded(right[0, 1]))
    assert (wrong[0, 1] - alone[0, 0]).abs().max() > 0.1
    assert_close(right[0, 1], alone[0, 0], rtol=1e-4, atol=1e-5)

    states, found = pad_packed_sequence(packed_states, batch_first=True)
    print("unpacked:", tuple(states.shape), " lengths", found.tolist())
    assert found.tolist() == [5, 2]
    assert states.shape == (2, 5, 4)
    assert not states[1, 2:].any()  # zeros behind the end

    x = x.flip(0)  # the short one first
    ends = lengths.flip(0)
    with caught(RuntimeError, "sorted in decreasing order"):
        pack_padded_sequence(x, ends, True)
    x = pack_padded_sequence(x, ends, True, enforce_sorted=False)  # right: sort
    assert_close(layer(x)[1][0, 0], alone[0, 0], rtol=1e-4, atol=1e-5)


# %%
def attention_by_hand(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return means of v (..., queries, width) and weights (..., queries, keys).

    q is (..., queries, size), k (..., keys, size), v (..., keys, width).
    A score of nan or inf, as after nan or 1e20 in q and k, makes the mean nan;
    torch may give 0 or a number there.
    """
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (..., queries, keys)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def attention_is_a_weighted_mean_of_values(device: torch.device) -> None:
    """Attention: how well a query fits each key is the weight of its value.

    A query is what a position looks for, a key what a position offers to be
    found by, a value what it hands over. A score is the product of query and
    key over the root of their size, so that long vectors give no larger
    scores. softmax makes weights of them that add up to 1. Vaswani et al. 2017.
    """
    query = torch.tensor([[2.0, 0.0, 0.0, 0.0]], device=device)  # (1, size 4)
    keys = torch.zeros(3, 4, device=device)  # (keys, size)
    keys[0, 0] = 1
    keys[1, 1] = 1
    keys[2, 0] = -1
    values = torch.tensor([[10.0], [20.0], [30.0]], device=device)
    mean, weights = attention_by_hand(query, keys, values)
    first, second, third = weights[0].tolist()
    print("query", query[0].tolist())
    print("keys ", keys.tolist())
    print("values", values.tolist())
    print("scores: 2 * 1 / sqrt(4) = 1,  2 * 0 / 2 = 0,  2 * -1 / 2 = -1")
    total = math.e + 1 + 1 / math.e  # the sum of exp(score)
    print(f"weights: e / {total:.3f} = {first:.3f}", end=", ")
    print(f"1 / {total:.3f} = {second:.3f}, 1 / e / {total:.3f} = {third:.3f}")
    print(f"10 * {first:.3f} + 20 * {second:.3f} + 30 * {third:.3f}", end="")
    print(f" = {mean.item():.3f}")
    assert_close(first, math.e / total, rtol=1e-5, atol=0)
    assert_close(second, 1 / total, rtol=1e-5, atol=0)
    assert_close(third, 1 / math.e / total, rtol=1e-5, atol=0)
    by_hand = (10 * math.e + 20 + 30 / math.e) / total
    assert_close(mean.item(), by_hand, rtol=1e-5, atol=0)

    torch.manual_seed(0)
    q = torch.randn(2, 5, 4, device=device)  # (batch, queries, size)
    k = torch.randn(2, 3, 4, device=device)
    v = torch.randn(2, 3, 6, device=device)
    found = F.scaled_dot_product_attention(q, k, v)  # (batch, queries, 6)
    assert_close(attention_by_hand(q, k, v)[0], found, rtol=1e-4, atol=1e-5)
    assert attention_by_hand(1e20 * q, 1e20 * k, v)[0].isnan().all()


# %%
def multihead_attention_splits_the_width(device: torch.device) -> None:
    """Each head weights positions in its own way, on a slice of the width.

    In self-attention query, key and value are all made from x, by a Linear
    layer each; MultiheadAttention keeps the three in one matrix.
    """
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, device=device)  # (batch, time, width)
    layer = nn.MultiheadAttention(6, num_heads=2, batch_first=True).to(device)
    y, weights = layer(x, x, x, average_attn_weights=False)
    print("x", tuple(x.shape), "-> y", tuple(y.shape), end="")
    print(", weights", tuple(weights.shape), "for 2 heads")
    print("weights of query 0, head 0:", rounded(weights[0, 0, 0]))
    print("weights of query 0, head 1:", rounded(weights[0, 1, 0]))
    assert weights.shape == (2, 2, 5, 5)  # (batch, heads, queries, keys)
    assert (weights[:, 0] - weights[:, 1]).abs().max() > 0.05

    # By hand. 6 numbers for a position are 2 heads of 3.
    x[1, 2, 3] = math.nan  # all of that sample becomes nan, and no other
    qkv = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    qkv = qkv.unflatten(2, (3, 2, 3))  # (batch, time, q k v, heads, part)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, time, part) each
    z = F.scaled_dot_product_attention(q, k, v)  # a head is like a sample
    z = layer.out_proj(z.transpose(1, 2).flatten(2))  # (batch, time, width)
    assert_close(z[:1], y[:1], rtol=1e-4, atol=1e-5)
    assert_close(z, layer(x, x, x)[0], rtol=1e-4, atol=1e-5, equal_nan=True)


# %%
def causal_mask_hides_later_positions(device: torch.device) -> None:
    """Under a causal mask a query looks at its own and earlier positions.

    What is hidden has weight 0; a nan in it shows all the same: 0 * nan is nan.
    In `scaled_dot_product_attention` true in a mask shows a key; in
    MultiheadAttention it hides one.
    """
    torch.manual_seed(0)
    x = torch.randn(4, 6, device=device)  # (time, width)
    past = torch.ones(4, 4, dtype=torch.bool, device=device).tril()
    scores = x @ x.mT / math.sqrt(6)  # (queries, keys)
    weights = scores.masked_fill(~past, -math.inf).softmax(dim=1)  # e^-inf = 0
    print("weights; a row is a query, a column a key:")
    print("  t = 0", rounded(weights[0]))
    print("  t = 1", rounded(weights[1]))
    print("  t = 2", rounded(weights[2]))
    print("  t = 3", rounded(weights[3]))
    assert torch.equal(weights > 0, past)
    assert_close(weights.sum(dim=1), torch.ones(4, device=device))
    masked = F.scaled_dot_product_attention(x, x, x, attn_mask=past)
    causal = F.scaled_dot_product_attention(x, x, x, is_causal=True)
    assert_close(masked, weights @ x, rtol=1e-4, atol=1e-5)
    assert_close(causal, weights @ x, rtol=1e-4, atol=1e-5)
    values = x.clone()
    values[3] = math.nan  # hidden from the queries 0, 1 and 2
    assert (weights @ values).isnan().all()

    # The mask of the one given to the other: each query sees only what comes
    # later, and the last one nothing.
    layer = nn.MultiheadAttention(6, num_heads=2).to(device)
    wrong = layer(x, x, x, attn_mask=past)[0][3, 0].item()
    right, weights = layer(x, x, x, attn_mask=~past)
    print(f"MultiheadAttention, attn_mask=past: y[3, 0] = {wrong:.3f}")
    print(f"right: attn_mask=~past:             y[3, 0] = {right[3, 0]:.3f}")
    assert math.isnan(wrong)
    assert right.isfinite().all()
    assert torch.equal(weights > 0, past)


# %%
def position_embeddings_tell_the_order(device: torch.device) -> None:
    """Attention knows no order; a position embedding tells it.

    Each token gets its own row plus the row of its place.
    """
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, num_heads=2, batch_first=True).to(device)
    token = nn.Embedding(10, 6).to(device)
    position = nn.Embedding(4, 6).to(device)  # for texts of at most 4 tokens
    tokens = torch.tensor([[7, 1, 2], [2, 1, 7]], device=device)

    x = token(tokens)  # (batch, time, width)
    y = layer(x, x, x)[0][:, 1]  # what comes out at the middle token, 1
    print("output at token 1, two of its six numbers")
    print("no positions:    7 1 2", rounded(y[0, :2]), end="")
    print("   2 1 7", rounded(y[1, :2]))
    assert_close(y[0], y[1], rtol=1e-4, atol=1e-5)

    x = token(tokens) + position(torch.arange(3, device=device))
    y = layer(x, x, x)[0][:, 1]
    print("with positions:  7 1 2", rounded(y[0, :2]), end="")
    print("   2 1 7", rounded(y[1, :2]))
    assert (y[0] - y[1]).abs().max() > 0.05
    assert_close(x[0, 2], token.weight[2] + position.weight[2])
    assert_close(x[1, 2], token.weight[7] + position.weight[2])


# %% [markdown]
# ## A small language model
# Text becomes numbers, a Transformer learns to guess the next character, and
# then it writes. Block, text, model, loop and sampler: lift what you need.


# %%
class TransformerBlock(nn.Module):
    """Attention over the past, then two Linear layers at each position."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)  # query, key and value
        self.output = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, width) for x of the same shape."""
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, time, part) each
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).flatten(2)  # (batch, time, width)
        x = x + self.output(y)
        return x + self.mlp(self.norm2(x))


def transformer_block_sees_only_the_past(device: torch.device) -> None:
    """A Transformer block: x + attention(norm(x)), then x + mlp(norm(x)).

    torch's own is `nn.TransformerEncoderLayer`, here with a causal mask.
    The gradient of output t with respect to input s is not zero where s <= t,
    and zero where s > t. Parameters: 12 width^2 + 13 width.
    """
    torch.manual_seed(0)
    block = TransformerBlock(8, heads=2).to(device)
    nn.init.normal_(block.norm1.weight)  # or all norms would be alike
    nn.init.normal_(block.norm2.bias)
    x = torch.randn(2, 5, 8, device=device)
    x[1, 0] = math.nan  # in the past of all that follow in sample 1
    x.requires_grad_()
    y = block(x)  # (batch, time, width)
    count = count_parameters(block)
    print("x, y", tuple(y.shape), f" parameters: {count} = 12 * 8^2 + 13 * 8")
    assert count == 12 * 8**2 + 13 * 8

    layer = nn.TransformerEncoderLayer(
        8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True, device=device
    )
    # Both have their parameters in the same order.
    numbers = nn.utils.parameters_to_vector(block.parameters())
    nn.utils.vector_to_parameters(numbers, layer.parameters())
    future = torch.ones(5, 5, dtype=torch.bool, device=device).triu(1)
    expected = layer(x, src_mask=future)  # true hides a key
    assert_close(y, expected, rtol=1e-4, atol=1e-4, equal_nan=True)
    assert block(x[:0]).shape == layer(x[:0], src_mask=future).shape

    print("does output t (row) depend on input s (column)?")
    for t in range(5):
        (gradient,) = torch.autograd.grad(y[0, t].norm(), x, retain_graph=True)
        depends = gradient[0].any(dim=1)  # (time,)
        print(f"  t = {t}", depends.long().tolist())
        assert depends.tolist() == [True] * (t + 1) + [False] * (4 - t)


# %%
def read_text() -> str:
    """Return Python's own documentation, in letters, digits and few signs."""
    text = " ".join(topics.topics.values())
    text = re.sub(r"[^A-Za-z0-9 .,:()_]+", " ", text)
    return " ".join(text.split())  # one space between words


def encode(text: str, vocabulary: list[str]) -> Tensor:
    """Return the number of each character of `text` in `vocabulary`."""
    numbers = {character: n for n, character in enumerate(vocabulary)}
    return torch.tensor([numbers[character] for character in text])


def decode(tokens: Tensor, vocabulary: list[str]) -> str:
    """Return the text of token numbers: the way back."""
    return "".join(vocabulary[token] for token in tokens.tolist())


def random_windows(
    tokens: Tensor, batch_size: int, context: int
) -> tuple[Tensor, Tensor]:
    """Return inputs and targets (batch, context): targets are one later."""
    starts = torch.randint(len(tokens) - context, (batch_size, 1))
    places = starts + torch.arange(context + 1)  # (batch, context + 1)
    windows = tokens[places.to(tokens.device)]
    return windows[:, :-1], windows[:, 1:]


def characters_become_numbers_and_windows(device: torch.device) -> None:
    """Each character gets a number; targets are the inputs, one later."""
    text = read_text()
    vocabulary = sorted(set(text))
    tokens = encode(text[:9999], vocabulary).to(device)
    print(f"{len(text):,} characters, {len(vocabulary)} different ones")
    print("text[:9]   =", repr(text[:9]))
    print("tokens[:9] =", tokens[:9].tolist(), "its places in the vocabulary")
    assert decode(tokens, vocabulary) == text[:9999]
    assert set("AZaz09 .,:()_") <= set(vocabulary)
    assert "  " not in text

    torch.manual_seed(0)
    inputs, targets = random_windows(tokens, batch_size=3, context=8)
    print("inputs ", tuple(inputs.shape), repr(decode(inputs[0], vocabulary)))
    print("targets", tuple(targets.shape), repr(decode(targets[0], vocabulary)))
    assert inputs.shape == targets.shape == (3, 8)
    # Eight questions in a row: after inputs[:, : t + 1] comes targets[:, t].
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    # All places are drawn: the last character is a target, and never an input.
    inputs, targets = random_windows(torch.arange(10), 200, context=8)
    assert inputs.unique().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert targets.unique().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


# %%
class LanguageModel(nn.Module):
    """Token numbers to logits of the next token, at each position."""

    def __init__(self, tokens, context=64, width=64, heads=4, blocks=1):
        super().__init__()
        self.context = context  # how far it can look back
        self.token = nn.Embedding(tokens, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential()
        for _ in range(blocks):
            self.blocks.append(TransformerBlock(width, heads))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens)
        # Logits start near 0: no token is preferred.
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, time, tokens) for numbers (batch, time)."""
        places = torch.arange(x.shape[1], device=x.device)
        x = self.token(x) + self.position(places)  # (batch, time, width)
        return self.head(self.norm(self.blocks(x)))


def language_model_starts_at_the_log_of_its_vocabulary() -> None:
    """A new model gives all V tokens about 1 / V: a cross-entropy of log(V).

    On the CPU, where a place that the position table does not have is an
    IndexError; on a GPU it is a device-side assert.
    """
    torch.manual_seed(0)
    model = LanguageModel(tokens=90, context=16)
    tokens = torch.randint(90, (20, 17))
    logits = model(tokens[:, :-1])  # (batch, time, tokens)
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    print("tokens (20, 16) -> logits", tuple(logits.shape))
    print(f"loss = {loss:.2f}, log(90) = {math.log(90):.2f}")
    assert logits.shape == (20, 16, 90)
    assert_close(loss.item(), math.log(90), rtol=0.02, atol=0)
    assert not model.head.bias.any()

    other = tokens.clone()
    other[:, 0] = (other[:, 0] + 1) % 90  # the last logits see the first token
    assert not torch.equal(model(other[:, :-1])[:, -1], logits[:, -1])
    with torch.no_grad():
        model.token.weight.mul_(100)
    louder = model(tokens[:, :-1])  # the last norm keeps the logits small
    assert louder.std() < 2 * logits.std()

    with caught(IndexError, "index out of range in self"):
        model(tokens)
    model(tokens[:, -model.context :])  # right: the last 16 of the 17 tokens


# %%
def write(
    model: nn.Module, start: Tensor, count: int, temperature: float, seed: int
) -> Tensor:
    """Return `start` (batch, time), continued by `count` sampled tokens."""
    # On the CPU, so that a seed draws the same on every device.
    generator = torch.Generator().manual_seed(seed)
    tokens = start
    model.eval()
    for _ in range(count):
        with torch.no_grad():
            logits = model(tokens[:, -model.context :])[:, -1]
        # (batch, tokens): what may come after the last position
        probabilities = (logits / temperature).softmax(dim=1).cpu()
        token = torch.multinomial(probabilities, 1, generator=generator)
        tokens = torch.cat([tokens, token.to(start.device)], dim=1)
    return tokens


def temperature_makes_sampling_bold_or_careful(device: torch.device) -> None:
    """The next token is drawn with probability softmax(logits / temperature).

    Below 1 the likely becomes likelier, above 1 the unlikely.
    """
    # A model that knows nothing but the biases of its last layer.
    model = LanguageModel(tokens=3, context=4, width=8).to(device)
    logits = torch.tensor([2.0, 1.0, 0.0])
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(logits)
    start = torch.ones(5000, 1, dtype=torch.long, device=device)
    assert_close(model(start)[0, 0].cpu(), logits)
    print("logits 2, 1, 0   probabilities         shares of 5,000 drawn tokens")
    expected = (logits / 0.5).softmax(dim=0)
    drawn = write(model, start, 1, temperature=0.5, seed=0)[:, 1]
    share = drawn.bincount(minlength=3).cpu() / 5000
    print("temperature 0.5 ", rounded(expected), rounded(share))
    assert_close(share, expected, rtol=0, atol=0.03)
    expected = (logits / 4.0).softmax(dim=0)
    drawn = write(model, start, 1, temperature=4.0, seed=0)[:, 1]
    share = drawn.bincount(minlength=3).cpu() / 5000
    print("temperature 4.0 ", rounded(expected), rounded(share))
    assert_close(share, expected, rtol=0, atol=0.03)

    # The same seed gives the same text, longer than the context, too.
    first = write(model, start[:1], 20, temperature=1.0, seed=0)
    again = write(model, start[:1], 20, temperature=1.0, seed=0)
    other = write(model, start[:1], 20, temperature=1.0, seed=1)
    assert first.shape == (1, 1 + 20)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Near 0 it is the likeliest token after the last position.
    torch.manual_seed(0)
    model = LanguageModel(tokens=50, context=4, width=8).to(device)
    sure = write(model, start[:1], 5, temperature=1e-5, seed=0)
    assert torch.equal(sure[0, 1:5], model(sure[:, :4])[0].argmax(dim=1))
    assert sure[0, 5] == model(sure[:, 1:5])[0, 3].argmax()  # the last 4
    assert not model.training


# %%
def train_language_model(
    model: nn.Module, tokens: Tensor, steps: int, lr: float, amp: bool
) -> None:
    """Train on random windows of `tokens`; `amp` computes in 16 bits."""
    device = tokens.device
    half = amp_dtype(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    # The rate rises in the first tenth of the steps, and falls to 0.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=lr, total_steps=steps, pct_start=0.1
    )
    # float16 needs a scaler; where it is not enabled it changes nothing.
    scaled = amp and half == torch.float16
    scaler = torch.amp.GradScaler(device.type, init_scale=1024, enabled=scaled)
    model.train()
    for _ in range(steps):
        inputs, targets = random_windows(tokens, 16, model.context)
        with torch.autocast(device.type, half, enabled=amp):
            logits = model(inputs)  # (batch, time, vocabulary)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        assert next(model.parameters()).grad is None
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()


def text_loss(model: nn.Module, tokens: Tensor) -> float:
    """Return the mean loss on the first 100 windows of `tokens`, or on all."""
    size = model.context + 1
    windows = tokens.unfold(0, size, size)[:100]  # (windows, size)
    targets = windows[:, 1:].flatten()
    model.eval()
    with torch.no_grad():
        logits = model(windows[:, :-1]).flatten(0, 1)
    return F.cross_entropy(logits, targets).item()


def language_model_learns_to_write(
    device: torch.device,
    *,
    steps: int = 1000,
    loss_below: float = 1.75,
    count: int = 300,
    amp: bool = False,
) -> nn.Module:
    """From log(V) the loss falls below that of frequencies; then it writes.

    Frequencies: to give each character its share of the text, whatever stood
    before, costs the entropy, the sum of -p log(p). Held out is the last tenth.
    """
    text = read_text()
    vocabulary = sorted(set(text))
    tokens = encode(text, vocabulary).to(device)
    p = tokens.bincount() / len(tokens)
    entropy = -(p * p.log()).sum().item()
    training, held_out = tokens.split(len(tokens) * 9 // 10)[:2]
    torch.manual_seed(0)
    model = LanguageModel(len(vocabulary)).to(device)
    before = text_loss(model, held_out)
    uniform = math.log(len(vocabulary))
    print(f"log({len(vocabulary)}) = {uniform:.2f}; frequencies {entropy:.2f}")
    print(f"held-out loss before training {before:.2f}")
    assert_close(before, uniform, rtol=0.03, atol=0)
    assert 3 < entropy < 3.3

    start = time.perf_counter()
    train_language_model(model, training, steps, lr=0.02, amp=amp)
    seconds = time.perf_counter() - start
    assert model.training
    after = text_loss(model, held_out)
    assert not model.training
    print(f"held-out loss after {steps} steps {after:.2f}; {seconds:.0f} s")
    assert after < loss_below < entropy
    prompt = encode("The ", vocabulary)[None].to(device)
    written = write(model, prompt, count, temperature=0.6, seed=0)[0]
    print(textwrap.fill(decode(written, vocabulary), 78))
    assert decode(written[:4], vocabulary) == "The "
    return model


# %% [markdown]
# ## Changing a model
# A model that somebody trained is made to fit a new task: parts are frozen,
# exchanged, added, counted, or built without memory.


# %%
def fine_tuning_moves_only_the_head(device: torch.device) -> None:
    """Freeze the body, put its BatchNorm in eval mode, make a new head.

    `requires_grad_(False)` stops gradients. A running mean has none, and moves
    in training mode all the same.
    """
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
    model = nn.Sequential(body, nn.Linear(16, 10)).to(device)
    x = torch.randn(64, 8, device=device) + 1
    labels = (x[:, 0] > 1).long()  # a new task, of two classes

    model.requires_grad_(False)
    model[1] = nn.Linear(16, 2).to(device)  # a new layer learns
    before = copy.deepcopy(model)
    # The optimizer comes last, or it would hold the old head.
    optimizer = torch.optim.Adam(model[1].parameters(), lr=0.1)
    model.train()
    body.eval()  # after model.train(), which would undo it
    for _ in range(50):
        optimizer.zero_grad()
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    loss = F.cross_entropy(model(x), labels).item()
    print(f"loss after 50 steps {loss:.3f}; at 1/2 each {math.log(2):.3f}")
    assert loss < math.log(2) / 2
    head_kept = torch.allclose(model[1].weight, before[1].weight, atol=0.1)
    body_kept = torch.equal(body[1].running_mean, before[0][1].running_mean)
    print("as before: head", head_kept, " running mean of the body", body_kept)
    assert not head_kept
    assert body_kept
    assert_close(body.state_dict(), before[0].state_dict(), rtol=0, atol=0)
    assert body[0].weight.grad is None

    body.train()  # the mistake: now a forward pass alone moves it
    model(x)
    moved = (body[1].running_mean - before[0][1].running_mean).abs().max()
    print(f"after one pass with the body in train mode: {moved:.3f}")
    assert moved > 0.02


# %%
def torchvision_model_gets_a_new_fc(device: torch.device) -> None:
    """A model of torchvision: load weights, exchange `fc`, train that.

    With weights: `resnet18(weights=ResNet18_Weights.DEFAULT)`, 45 MB from the
    network. Here without, as this script downloads nothing.
    """
    from torchvision.models import ResNet18_Weights, resnet18  # takes 2 s

    model = resnet18(weights=None)
    print("model.fc:", model.fc)
    assert model.fc.in_features == 512
    assert model.fc.out_features == 1000
    model.requires_grad_(False)
    model.fc = nn.Linear(model.fc.in_features, 3)
    model.to(device).eval()
    print(f"numbers that learn: {count_parameters(model):,}")
    assert count_parameters(model) == 512 * 3 + 3

    # Weights go with what they were trained on: size, mean and deviation.
    preprocess = ResNet18_Weights.DEFAULT.transforms()
    image = torch.full((3, 300, 400), 0.5)  # a photograph, 0..1
    x = preprocess(image)[None].to(device)  # (1, 3, 224, 224)
    logits = model(x)
    print("image (3, 300, 400) ->", tuple(x.shape), end="")
    print(" -> logits", tuple(logits.shape))
    assert not model.training
    assert x.shape == (1, 3, 224, 224)
    assert_close(x[0, 0, 0, 0].item(), (0.5 - 0.485) / 0.229, rtol=1e-4, atol=0)
    assert logits.shape == (1, 3)


# %%
def parameter_groups_have_their_own_rate(device: torch.device) -> None:
    """An optimizer takes groups: a small rate for the body, more for the head.

    SGD: a weight moves by -lr * gradient, so by -0.001 and -0.1 of it.
    """
    torch.manual_seed(0)
    body = nn.Linear(4, 3).to(device)
    head = nn.Linear(3, 2).to(device)
    body_group = {"params": body.parameters(), "lr": 0.001}
    head_group = {"params": head.parameters()}
    optimizer = torch.optim.SGD([body_group, head_group], lr=0.1)  # for others
    print("rates:", body_group["lr"], optimizer.param_groups[1]["lr"])
    body_before = body.weight.detach().clone()
    head_before = head.weight.detach().clone()
    head(body(torch.randn(5, 4, device=device))).square().sum().backward()
    optimizer.step()
    body_step = (body.weight - body_before) / body.weight.grad
    head_step = (head.weight - head_before) / head.weight.grad
    print(f"step / gradient: {body_step.mean():.4f}, {head_step.mean():.4f}")
    assert (body_step + 0.001).abs().max() < 0.0002
    assert (head_step + 0.1).abs().max() < 0.002

    optimizer.param_groups[1]["lr"] = 0.05  # a rate is changed in its group
    late = nn.Linear(2, 2).to(device)
    with caught(ValueError, "some parameters appear in more than one"):
        optimizer.add_param_group({"params": head.parameters()})
    optimizer.add_param_group({"params": late.parameters()})  # right: new ones
    assert optimizer.param_groups[1]["lr"] == 0.05
    assert optimizer.param_groups[2]["lr"] == 0.1


# %%
class LoRALinear(nn.Module):
    """A frozen Linear plus a correction of low rank that learns.

    y = layer(x) + x down^T up^T with down (rank, in) and up (out, rank).
    """

    def __init__(self, layer, rank):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        # New tensors get the type and the device of the weight.
        down = layer.weight.new_empty(rank, layer.in_features)
        up = layer.weight.new_zeros(layer.out_features, rank)  # no change yet
        nn.init.normal_(down, std=layer.in_features**-0.5)
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., out) for x (..., in)."""
        return self.layer(x) + x @ self.down.T @ self.up.T

    def merged(self) -> nn.Linear:
        """Return one Linear that gives the same."""
        layer = copy.deepcopy(self.layer)
        layer.weight += self.up.detach() @ self.down.detach()  # (out, in)
        return layer


def lora_trains_a_small_correction(device: torch.device) -> None:
    """LoRA: two thin matrices beside a frozen Linear learn, and are merged.

    Beside 64 * 128 weights rank 2 trains 2 * (64 + 128). Hu et al. 2021.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2))
    model.requires_grad_(False).to(device)
    x = torch.randn(50, 64, device=device)
    labels = (x[:, 0] + x[:, 1] > 0).long()
    before = model(x)
    model[0] = LoRALinear(model[0], rank=2)
    assert torch.equal(model(x), before)  # up is 0: nothing has changed
    print(count_parameters(model), "numbers learn, of", 65 * 128 + 129 * 2)
    assert count_parameters(model) == 2 * (64 + 128) == 384

    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        assert model[0].up.grad is None
        F.cross_entropy(model(x), labels).backward()
        optimizer.step()
    last = F.cross_entropy(model(x), labels).item()
    print(f"loss after 20 steps {last:.3f}; at 1/2 each {math.log(2):.3f}")
    assert last < math.log(2) / 2
    assert model[0].layer.weight.grad is None

    # In use it costs nothing: the correction is added to the weight.
    corrected = model(x)
    merged = model[0].merged()
    assert torch.equal(model(x), corrected)  # it is a copy
    model[0] = merged
    print("merged:", model[0])
    assert_close(model(x), corrected, rtol=1e-3, atol=1e-3)
    bare = LoRALinear(nn.Linear(3, 1, bias=False).bfloat16(), rank=2)
    assert bare(torch.ones(4, 3, dtype=torch.bfloat16)).shape == (4, 1)
    assert count_parameters(bare) == 2 * (3 + 1)


# %%
class ImageAndTable(nn.Module):
    """Logits from an image and, beside it, a row of numbers."""

    def __init__(self, numbers, classes):
        super().__init__()
        self.image = nn.Conv2d(1, 4, kernel_size=3)
        self.output = nn.Linear(4 * 6 * 6 + numbers, classes)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        """Return (batch, classes) for (batch, 1, 8, 8) and (batch, numbers)."""
        maps = self.image(image).relu().flatten(1)  # (batch, 4 * 6 * 6)
        return self.output(torch.cat([maps, table], dim=1))


def a_model_takes_several_inputs(device: torch.device) -> None:
    """`forward` takes as many inputs as you like; Sequential takes one."""
    model = ImageAndTable(numbers=3, classes=2).to(device)
    image = torch.rand(5, 1, 8, 8, device=device, requires_grad=True)
    table = torch.rand(5, 3, device=device, requires_grad=True)
    logits = model(image, table)
    print("image", tuple(image.shape), " table", tuple(table.shape), end="")
    print(" -> logits", tuple(logits.shape))
    assert logits.shape == (5, 2)
    logits.sum().backward()  # both count, in each sample
    assert image.grad.flatten(1).any(dim=1).all()
    assert table.grad.any(dim=1).all()

    sequential = nn.Sequential(model)
    with caught(TypeError, "forward() takes 2 positional arguments but 3"):
        sequential(image, table)
    again = model(table=table, image=image)  # right: a class, called by name
    assert torch.equal(again, logits)


# %%
def multi_label_heads_use_a_sigmoid_each(device: torch.device) -> None:
    """Labels that may be true together: sigmoid and BCEWithLogitsLoss.

    binary cross-entropy: -t log(p) - (1 - t) log(1 - p), p = sigmoid(logit),
    the mean over all labels of all samples. Targets are floats, 0 or 1. Take
    torch's: by hand a logit of 100 gives p = 1, and log(1 - p) is -inf.
    """
    logits = torch.tensor([[2.0, 3.0, -1.0]], device=device)  # (batch, labels)
    targets = torch.tensor([[1.0, 1.0, 0.0]], device=device)
    p = logits.sigmoid()
    softmax = logits.softmax(dim=1)
    loss = nn.BCEWithLogitsLoss()
    by_hand = -targets * p.log() - (1 - targets) * (1 - p).log()
    print("logits     ", logits.tolist(), " targets", targets.tolist())
    print("sigmoid    ", rounded(p), " each between 0 and 1")
    print("softmax    ", rounded(softmax), " together 1")
    print("loss       ", rounded(loss(logits, targets)))
    assert_close(p, 1 / (1 + (-logits).exp()))
    assert_close(loss(logits, targets), by_hand.mean())
    predicted = logits > 0  # the same as p > 0.5
    print("logits > 0 ", predicted.tolist())
    assert predicted.tolist() == [[True, True, False]]
    # softmax would give the first label, which is true, less than 1/2.
    assert p[0, 0] > 0.88
    assert softmax[0, 0] < 0.27

    numbers = targets.long()
    with caught(RuntimeError, "result type Float can't be cast to"):
        loss(logits, numbers)
    again = loss(logits, numbers.float())  # right: targets are floats
    assert_close(again, by_hand.mean())


# %%
def note_shape(
    shapes: dict, module: nn.Module, inputs: tuple, output: object
) -> None:
    """Keep the shape of a module's output, or of the first of several."""
    while isinstance(output, tuple | list):
        output = output[0]
    shapes[module] = tuple(output.shape)


def summarize(model: nn.Module, *inputs: Tensor) -> tuple[list, int]:
    """Return a row for each module, and the operations of one forward pass.

    A row is name, kind, output shape (None where it did not run), and its own
    parameters: a shared one counts where it stands first. A multiply-add is
    two operations. Nothing about the model changes.
    """
    shapes = {}
    modes = []
    handles = []
    note = functools.partial(note_shape, shapes)
    for module in model.modules():
        modes.append((module, module.training))
        handles.append(module.register_forward_hook(note))
    try:
        model.eval()  # or BatchNorm would move its running statistics
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(*inputs)
    finally:  # also after an error
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    rows = []
    seen = set()
    for name, module in model.named_modules():
        own = 0
        for parameter in module.parameters(recurse=False):
            if parameter not in seen:
                own += parameter.numel()
                seen.add(parameter)
        rows.append((name, type(module).__name__, shapes.get(module), own))
    return rows, counter.get_total_flops()


class Tagger(nn.Module):
    """Tokens to logits of tokens; the first and last layer share a table."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(8)
        self.output = nn.Linear(8, 50, bias=False)
        self.output.weight = self.embedding.weight  # one tensor, two names
        self.scale = nn.Parameter(torch.ones(8))  # of the model itself

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 50) of token numbers (batch, time)."""
        x = self.embedding(x)
        y, _ = self.attention(x, x, x)  # (batch, time, 8)
        return self.output(self.norm(y[:, -1]) * self.scale)


def summary_counts_parameters_and_flops(device: torch.device) -> None:
    """Hooks and `FlopCounterMode` tell shapes, parameters and operations.

    2 operations for each weight of Conv2d at each of its 2 * 4 * 5 places.
    """
    model = Tagger().to(device)
    model.attention.eval()  # a part in eval mode, the rest in training mode
    tokens = torch.randint(50, (3, 6), device=device)
    with caught(RuntimeError, "Expected tensor for argument #1 'indices'"):
        summarize(model, tokens.float())
    rows = summarize(model, tokens)[0]  # right: an Embedding takes integers
    for name, kind, shape, own in rows:  # own: parameters of its own
        print(f"{name:18} {kind:31} {str(shape):9} own {own}")
    assert rows[0] == ("", "Tagger", (3, 50), 8)
    assert rows[2][2:] == ((3, 6, 8), 3 * (8 * 8 + 8))  # attention
    assert rows[3][2:] == (None, 8 * 8 + 8)  # used by attention, not called
    assert rows[5] == ("output", "Linear", (3, 50), 0)  # shared
    total = sum(row[3] for row in rows)
    assert total == count_parameters(model)

    # Left as it was, also after an error: modes, statistics, no hooks.
    assert model.training
    assert not model.attention.training
    assert model.norm.num_batches_tracked == 0
    assert not model.attention._forward_hooks
    convolution = nn.Conv2d(3, 7, kernel_size=(3, 2)).to(device)
    image = torch.rand(2, 3, 6, 6, device=device)
    operations = summarize(convolution, image)[1]
    print("Conv2d(3, 7, (3, 2)) on (2, 3, 6, 6):", operations, "operations")
    assert operations == 2 * (7 * 3 * 3 * 2) * (2 * 4 * 5)


# %%
def reset_and_list_nan(model: nn.Module) -> list[str]:
    """Fill `model` with nan, reset each layer, and list what is still nan."""
    for parameter in model.parameters():
        nn.init.constant_(parameter, math.nan)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    missed = []
    for name, parameter in model.named_parameters():
        if parameter.isnan().any():
            missed.append(name)
    return missed


def a_model_on_meta_has_shapes_and_no_memory(device: torch.device) -> None:
    """Build on `meta`; then assign a file's tensors, or empty and reset.

    `to_empty` gives memory with whatever was in it. Filled with nan it shows
    what a reset forgets: `reset_parameters` is a custom of torch's layers, not
    a rule.
    """
    with torch.device("meta"):
        giant = nn.Linear(100_000, 100_000)
        y = giant(torch.empty(32, 100_000))
        model = nn.Linear(4, 3)  # no time spent on weights to be replaced
        attention = nn.MultiheadAttention(4, num_heads=2)
    gigabytes = sum(p.nbytes for p in giant.parameters()) / 1e9
    print(f"{gigabytes:.1f} GB of weights on meta, output {tuple(y.shape)}")
    assert_close(gigabytes, 4 * (100_000**2 + 100_000) / 1e9)
    assert y.shape == (32, 100_000)

    trained = nn.Linear(4, 3).to(device)
    with caught(NotImplementedError, "Cannot copy out of meta tensor"):
        model.to(device)
    model.load_state_dict(trained.state_dict(), assign=True)  # right: in place
    # No copy was made: both models share their memory.
    nn.init.zeros_(trained.weight)
    print("the other model set to 0; this one:", model.weight.unique().tolist())
    assert not model.weight.any()

    print("after a reset still nan: Linear", reset_and_list_nan(model))
    assert reset_and_list_nan(model) == []
    attention.to_empty(device=device)
    missed = reset_and_list_nan(attention)
    print("MultiheadAttention", missed)
    assert missed == ["in_proj_weight", "in_proj_bias"]
    attention._reset_parameters()  # its own method is called so
    assert attention.in_proj_weight.isfinite().all()
    assert not attention.in_proj_bias.any()


# %% [markdown]
# ## Mistakes
# Those that stop with a message, then those that nobody reports, each with
# its right line below it.


# %%
class WithoutSuper(nn.Module):
    """`super().__init__()` is missing: there is no place for layers yet."""

    def __init__(self):
        self.layer = nn.Linear(4, 3)


class ForwardTooDeep(nn.Module):
    """`forward` is indented into `__init__`, where it is a local name."""

    def __init__(self):
        super().__init__()

        def forward(self, x):
            return x


class WithSuper(nn.Module):
    """The same without these mistakes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 3)."""
        return self.layer(x)


def mistakes_in_a_module_class_that_stop() -> None:
    """Slips in a class, and a layer that is made where it should be called."""
    x = torch.ones(2, 4)
    with caught(AttributeError, "before Module.__init__() call"):
        WithoutSuper()
    model = WithSuper()  # right: super().__init__() is its first line
    with caught(NotImplementedError, 'missing the required "forward"'):
        ForwardTooDeep()(x)
    y = model(x)  # right: forward at the indent of __init__
    assert y.shape == (2, 3)
    with caught(AttributeError, "'ReLU' object has no attribute 'sum'"):
        nn.ReLU(x).sum()
    total = nn.ReLU()(x).sum()  # right: first make the layer, then call it
    assert total == 8


# %%
def mistakes_with_input_that_stop() -> None:
    """A wrong shape, type or device of the input.

    On the CPU; the device `meta` stands for a GPU that the layer was moved to.
    """
    torch.manual_seed(0)
    images = torch.rand(3, 28, 28)
    pixels = images.flatten(1)  # (3, 784)
    layer = nn.Linear(28 * 28, 20)
    with caught(RuntimeError, "shapes cannot be multiplied (84x28 and 784x20)"):
        layer(images)
    y = layer(images.flatten(1))  # right: 84 = 3 * 28 rows are 3 images again
    assert y.shape == (3, 20)
    with caught(RuntimeError, "must have the same dtype, but got Double"):
        layer(pixels.double())
    again = layer(pixels.double().float())  # right: NumPy gives float64
    assert torch.equal(again, y)
    moved = nn.Linear(28 * 28, 20, device="meta")
    with caught(RuntimeError, "is not on the expected device"):
        moved(pixels)
    y = moved(pixels.to(moved.weight.device))  # right: both on one device
    assert y.shape == (3, 20)


# %%
class WrongModel(nn.Module):
    """Two lines that raise no error, and never learn."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3)) * 0.1  # the product is none

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 3), from a layer that is new in every call."""
        return nn.Linear(4, 3)(x) * self.scale


class RightModel(nn.Module):
    """The same, with everything where the module can see it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3) * 0.1)
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 3)."""
        return self.layer(x) * self.scale


def mistakes_in_a_module_class_that_are_silent() -> None:
    """A Parameter that is multiplied, a layer that is made in `forward`."""
    torch.manual_seed(0)
    x = torch.ones(2, 4)
    wrong = WrongModel()
    right = RightModel()
    wrong_names = list(dict(wrong.named_parameters()))
    right_names = list(dict(right.named_parameters()))
    print("nn.Parameter(...) * 0.1: parameters", len(wrong_names), wrong_names)
    print("right: nn.Parameter(... * 0.1):    ", len(right_names), right_names)
    assert wrong_names == []
    assert right_names == ["scale", "layer.weight", "layer.bias"]

    wrong_equal = torch.equal(wrong(x), wrong(x))
    right_equal = torch.equal(right(x), right(x))
    print("layer made in forward:   the same x twice, equal:", wrong_equal)
    print("right: in __init__:      the same x twice, equal:", right_equal)
    assert not wrong_equal
    assert right_equal


# %%
def mistakes_with_calls_that_are_silent(device: torch.device) -> None:
    """F.dropout that does not know the mode; [layer] * 3, which is one."""
    torch.manual_seed(0)
    ones = torch.ones(1000, device=device)
    model = nn.Identity().eval()
    wrong = (F.dropout(ones, 0.5) == 0).sum().item()
    right = (F.dropout(ones, 0.5, training=model.training) == 0).sum().item()
    print("in eval mode, zeroed of 1,000: F.dropout(x, 0.5)", wrong)
    print("right: F.dropout(x, 0.5, training=self.training)", right)
    assert 400 < wrong < 600
    assert right == 0

    wrong = nn.Sequential(*[nn.Linear(4, 4)] * 3)  # one layer, three names
    right = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)])
    print("[nn.Linear(4, 4)] * 3: parameters", count_parameters(wrong))
    print("right: [... for _ in range(3)]:  ", count_parameters(right))
    assert count_parameters(wrong) == 20
    assert count_parameters(right) == 60


# %%
def fit_exclusive_or(model: nn.Module) -> float:
    """Train on 1 where two bits differ; return the mean squared error."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return F.mse_loss(model(x), y).item()


def mistakes_in_networks_that_cannot_learn() -> None:
    """Equal weights stay equal; without activations all layers are one.

    Exclusive or is on no straight line: the best answer of a linear model is
    1/2 for each input, an error of 1/4.
    """
    torch.manual_seed(0)
    right = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    right_loss = fit_exclusive_or(right)
    wrong = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    for parameter in wrong.parameters():
        nn.init.constant_(parameter, 0.5)
    fit_exclusive_or(wrong)
    print("2 of 4 units, started at 0.5: ", rounded(wrong[0].weight[:2], 2))
    print("right: started at random:     ", rounded(right[0].weight[:2], 2))
    assert (wrong[0].weight[0] - 0.5).abs().max() > 0.01  # they did move
    assert_close(wrong[0].weight, wrong[0].weight[:1].expand(4, 2))
    assert (right[0].weight[0] - right[0].weight[1]).abs().max() > 0.1

    wrong = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1))
    wrong_loss = fit_exclusive_or(wrong)
    print(f"Linear, Linear:              error {wrong_loss:.4f}")
    print(f"right: Linear, Tanh, Linear: error {right_loss:.4f}")
    assert_close(wrong_loss, 1 / 4, rtol=0.02, atol=0)
    assert right_loss < 0.01
    # W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2): one Linear.
    one = wrong[1].weight @ wrong[0].weight
    shift = wrong[1].weight @ wrong[0].bias + wrong[1].bias
    x = torch.randn(5, 2)
    assert_close(wrong(x), x @ one.T + shift, rtol=1e-4, atol=1e-5)


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
def count_parameters(model: nn.Module) -> int:
    """Return how many numbers `model` learns; a shared one counts once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def rounded(x: Tensor, digits: int = 3) -> list:
    """Return the numbers of `x` to print, as a list, to so many digits."""
    return x.detach().cpu().double().round(decimals=digits).tolist()


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


# %%
def main() -> None:
    """Run the lesson from top to bottom."""
    args = parse(make_parser(__doc__))
    tiny = args.tiny
    here = {"device": args.device}
    draw = {"figures": args.figures}
    chapters = {
        "Modules": {
            a_module_registers_its_layers: here,
            calling_the_model_runs_its_hooks: here,
            linear_is_a_weighted_sum: here,
            sequential_feeds_each_layer_to_the_next: here,
            parameters_learn_and_buffers_are_carried: {},
            module_list_registers_what_it_holds: here,
            eval_mode_changes_dropout_and_some_norms: {},
            parameter_counts_follow_formulas: {},
            state_dict_saves_names_and_tensors: here,
            strict_load_state_dict_reports_wrong_names: {},
            export_saves_a_model_without_its_class: {},
        },
        "Signals": {
            the_last_layer_gives_logits: here,
            activations_bend_a_straight_line: here,
            he_initialization_keeps_the_signal: {},
            apply_initializes_a_whole_model: here,
            dropout_zeroes_some_and_scales_the_rest: {},
            batch_norm_uses_running_statistics_in_eval_mode: {},
            layer_norm_normalizes_each_sample: here,
            residual_blocks_need_a_scale_to_train_at_depth: {
                **here,
                "deep": 80 if tiny else 200,
                "steps": 6 if tiny else 12,
            },
        },
        "Convolution": {
            convolution_is_a_sliding_sum: {},
            convolution_output_size_is_a_formula: {},
            pooling_keeps_one_number_of_each_window: here,
            receptive_field_grows_with_kernel_and_stride: draw,
            transposed_convolution_enlarges_an_image: {},
            residual_block_projects_its_shortcut: here,
            a_trained_cnn_shows_its_feature_maps: {
                **here,
                **draw,
                "count": 500 if tiny else 2000,
                "steps": 40 if tiny else 400,
            },
        },
        "Sequences": {
            embedding_picks_rows_of_its_weight: here,
            gru_reads_from_left_to_right: {},
            lstm_keeps_a_cell_behind_gates: {},
            bidirectional_gru_reads_both_ways: {},
            pack_padded_sequence_skips_the_padding: {},
            attention_is_a_weighted_mean_of_values: here,
            multihead_attention_splits_the_width: here,
            causal_mask_hides_later_positions: here,
            position_embeddings_tell_the_order: here,
        },
        "A small language model": {
            transformer_block_sees_only_the_past: here,
            characters_become_numbers_and_windows: here,
            language_model_starts_at_the_log_of_its_vocabulary: {},
            temperature_makes_sampling_bold_or_careful: here,
            language_model_learns_to_write: {
                **here,
                "steps": 16 if tiny else 1000,
                "loss_below": 3.0 if tiny else 1.75,
                "count": 20 if tiny else 300,
                "amp": args.amp,
            },
        },
        "Changing a model": {
            fine_tuning_moves_only_the_head: here,
            torchvision_model_gets_a_new_fc: here,
            parameter_groups_have_their_own_rate: here,
            lora_trains_a_small_correction: here,
            a_model_takes_several_inputs: here,
            multi_label_heads_use_a_sigmoid_each: here,
            summary_counts_parameters_and_flops: here,
            a_model_on_meta_has_shapes_and_no_memory: here,
        },
        "Mistakes": {
            mistakes_in_a_module_class_that_stop: {},
            mistakes_with_input_that_stop: {},
            mistakes_in_a_module_class_that_are_silent: {},
            mistakes_with_calls_that_are_silent: here,
            mistakes_in_networks_that_cannot_learn: {},
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
