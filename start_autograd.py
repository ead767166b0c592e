# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""Autograd: how one call to `backward()` finds every gradient.

Run      python start_autograd.py      (no download, any device, 4 s)
Read     README.md, "Autograd"
Symbols  x input, y output or target, w weight, b bias, h hidden value,
         J Jacobian, v a row to its left, u a column to its right
"""

import argparse
import contextlib
import copy
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

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

# %% [markdown]
# ## Backward
# Forward computes a number and records a graph: a node for each operation, with
# edges to what it was computed from. The graph ends at the leaves, such as
# weights. `backward()` walks it once, from the result to the leaves, and fills
# `.grad` of those that require it.


# %%
def backward_finds_the_gradient(device: torch.device) -> None:
    """`backward()` fills `x.grad` with the derivative of y by each x.

    y = 2 x.x = 2 (x1^2 + x2^2 + x3^2), so by hand dy/dx = 4 x.
    """
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
    y = 2 * x.dot(x)
    y.backward()

    print("x      =", x.tolist())
    print("y      =", y.item())
    print("x.grad =", x.grad.tolist())
    assert y == 28
    assert torch.equal(x.grad, 4 * x)


# %%
def next_functions_lead_to_the_leaves(device: torch.device) -> None:
    """`grad_fn.next_functions` lead from a result back to the leaves.

    `grad_fn` is the node of a result, and `next_functions` has a pair for each
    number that it was made from: [0] of the pair is the node of that number.
    e = c d with c = a + b and d = b + 1. At a = 2, b = 1: c = 3, d = 2, e = 6.
    By hand de/da = d = 2; b acts on both factors, so de/db = d + c = 5.
    """
    a = torch.tensor(2.0, requires_grad=True, device=device)
    b = torch.tensor(1.0, requires_grad=True, device=device)
    c = a + b
    d = b + 1
    e = c * d

    node_c = e.grad_fn.next_functions[0][0]
    node_d = e.grad_fn.next_functions[1][0]
    node_a = node_c.next_functions[0][0]
    node_b = node_c.next_functions[1][0]
    print("e = c * d     ", e.grad_fn.name())
    print("  c = a + b   ", node_c.name())
    print("    a, a leaf ", node_a.name())
    print("    b, a leaf ", node_b.name())
    print("  d = b + 1   ", node_d.name())
    assert e.grad_fn.name() == "MulBackward0"
    assert node_c is c.grad_fn
    assert node_d is d.grad_fn
    assert node_a.variable is a
    assert node_b.variable is b
    assert node_d.next_functions[0][0] is node_b  # used twice, one node
    assert node_d.next_functions[1][0] is None  # the 1 needs no gradient

    e.backward()
    print(f"e = {e}  a.grad = {a.grad}  b.grad = {b.grad}")
    assert e == 6
    assert a.grad == 2
    assert b.grad == 5


# %%
def forward_computes_and_records(device: torch.device) -> None:
    """Forward does two things: it computes values and records nodes.

    One layer z = x w + b, its probabilities p = sigmoid(z), and the loss, the
    mean of -y log(p) - (1 - y) log(1 - p).
    """
    x = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0]], device=device)
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0]], device=device)
    w = torch.full((3, 2), 0.1, requires_grad=True, device=device)
    b = torch.zeros(2, requires_grad=True, device=device)
    z = x @ w + b  # (2, 2)
    loss = F.binary_cross_entropy_with_logits(z, y)

    p = z.detach().sigmoid()
    by_hand = (-y * p.log() - (1 - y) * (1 - p).log()).mean()
    print(f"computed: loss = {loss:.4f}, by hand {by_hand:.4f}")
    assert_close(loss.detach(), by_hand)

    before_loss = loss.grad_fn.next_functions[0][0]
    before_sum = before_loss.next_functions[0][0]
    print("recorded:", loss.grad_fn.name())
    print("         ", before_loss.name(), "for + b")
    print("         ", before_sum.name(), "for x @ w")
    assert "BinaryCrossEntropyWithLogits" in loss.grad_fn.name()
    assert before_loss.name() == "AddBackward0"
    assert before_sum.name() == "MmBackward0"
    assert before_sum.next_functions[0][0] is None  # x is data
    assert before_sum.next_functions[1][0].variable is w  # a leaf: the end
    assert before_loss.next_functions[1][0].variable is b  # and here


# %%
def backward_derives_chains_and_accumulates(device: torch.device) -> None:
    """Backward calls each grad_fn, applies the chain rule, adds to `.grad`.

    z = x w + b, the loss as above. By formula dloss/dz = (sigmoid(z) - y) / 4,
    for the mean is over four entries; dloss/dw = x^T dloss/dz.
    """
    x = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0]], device=device)
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0]], device=device)
    w = torch.zeros(3, 2, requires_grad=True, device=device)
    b = torch.zeros(2, requires_grad=True, device=device)
    product = x @ w
    z = product + b  # (2, 2)
    loss = F.binary_cross_entropy_with_logits(z, y)
    by_formula = (z.detach().sigmoid() - y) / 4  # entries +-1/8

    # 1. Derive: a node makes its inputs' gradients from that of its output.
    to_z = loss.grad_fn(torch.ones_like(loss))[0]  # dloss/dloss = 1
    print("1. derived: dloss/dz =", to_z.tolist())
    assert_close(to_z, by_formula)

    # 2. Chain: what one node returns is passed to the next.
    to_product, to_b = z.grad_fn(to_z)
    to_w = product.grad_fn(to_product)[1]  # [0] is None: x needs none
    print("2. chained: dloss/dw =", to_w.tolist())
    assert_close(to_w, x.T @ by_formula)

    # 3. Accumulate: the node of a leaf adds to `.grad`. One b serves both
    # rows, so its gradient is their sum.
    accumulate = z.grad_fn.next_functions[1][0]
    accumulate(to_b.sum(dim=0))
    print("3. added:   b.grad   =", b.grad.tolist())
    assert_close(b.grad, by_formula.sum(dim=0))

    loss.backward()  # all three steps, for every leaf
    assert_close(w.grad, to_w)
    assert_close(b.grad, 2 * by_formula.sum(dim=0))  # added once more


# %% [markdown]
# ## An engine in forty lines
# What torch does with tensors, done with single numbers. The three sections
# build on one class, which you can lift into a file of your own. It calls
# itself, so a chain of more than some 900 operations is too long for Python.


# %%
def as_scalar(x):
    """Return x if it is a Scalar; of a plain number make one, a leaf."""
    if isinstance(x, Scalar):
        return x
    return Scalar(x)


class Scalar:
    """A number that knows from which numbers it was made.

    `parents` holds pairs: a number that this one was made from, and the
    derivative of this one with respect to it. A plain number may stand to the
    left of + and *, not of - and /.
    """

    def __init__(self, value, parents=()):
        self.value = value
        self.parents = parents
        self.grad = 0.0

    def __add__(self, other):
        """d(x + y) = dx + dy."""
        other = as_scalar(other)
        return Scalar(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        """d(x y) = y dx + x dy."""
        other = as_scalar(other)
        parents = [(self, other.value), (other, self.value)]
        return Scalar(self.value * other.value, parents)

    def __pow__(self, n):
        """d(x^n) = n x^(n - 1) dx, for a plain number n."""
        if n == 0:
            return Scalar(1.0)
        return Scalar(self.value**n, [(self, n * self.value ** (n - 1))])

    def tanh(self):
        """d tanh(x) = (1 - tanh(x)^2) dx."""
        y = math.tanh(self.value)
        return Scalar(y, [(self, 1 - y * y)])

    def __neg__(self):
        """-x = x (-1)."""
        return self * -1.0

    def __sub__(self, other):
        """x - y = x + (-y)."""
        return self + -other

    def __truediv__(self, other):
        """x / y = x y^-1."""
        return self * other**-1

    __radd__ = __add__
    __rmul__ = __mul__

    def visit(self, found):
        """Put into `found` all that this number was made from, then itself."""
        if self not in found:
            for parent, _ in self.parents:
                parent.visit(found)
            found[self] = True  # a dict keeps its order

    def backward(self):
        """Add the derivative of this number to `grad` of all it came from."""
        found = {}
        self.visit(found)
        for node in found:
            if node.parents:  # not a leaf: begins at 0 in each backward
                node.grad = 0.0
        self.grad += 1.0
        for node in reversed(found):  # a node after all that was made of it
            for parent, slope in node.parents:
                parent.grad += slope * node.grad  # the chain rule


def an_autograd_engine_takes_forty_lines(device: torch.device) -> None:
    """A number, its parents and their slopes are enough for `backward()`.

    y = (a b - 2 a^2)^2 / (1 + tanh(b)), at a = 2, b = 3, beside torch. A second
    backward adds to the same leaves.
    """
    a = Scalar(2.0)
    b = Scalar(3.0)
    y = (a * b - 2 * a**2) ** 2 / (1 + b.tanh())
    y.backward()
    print(f"Scalar: y = {y.value:.4f}, a.grad = {a.grad:.4f}", end=", ")
    print(f"b.grad = {b.grad:.4f}")

    c = torch.tensor(2.0, requires_grad=True, device=device)
    d = torch.tensor(3.0, requires_grad=True, device=device)
    z = (c * d - 2 * c**2) ** 2 / (1 + d.tanh())  # the same in torch
    z.backward()
    print(f"torch:  y = {z:.4f}, a.grad = {c.grad:.4f}, b.grad = {d.grad:.4f}")
    assert math.isclose(y.value, z.item(), rel_tol=1e-6)
    assert math.isclose(a.grad, c.grad.item(), rel_tol=1e-6)
    assert math.isclose(b.grad, d.grad.item(), rel_tol=1e-6)

    y.backward()
    assert math.isclose(a.grad, 2 * c.grad.item(), rel_tol=1e-6)
    zero = Scalar(0.0)
    (-(zero**0) + zero).backward()  # x^0 = 1 is a constant, at 0 too
    assert zero.grad == 1


# %%
def naive_backward(node: Scalar, gradient: float) -> None:
    """Add `gradient`, and pass on at once the sum so far."""
    node.grad += gradient
    for parent, slope in node.parents:
        naive_backward(parent, slope * node.grad)


def backward_waits_until_a_gradient_is_complete() -> None:
    """A node passes its gradient on once, after all its users have added.

    b = a + a and c = b + b, so c = 4 a and dc/da = 4. The naive walk visits b
    twice and passes on 1, then 1 + 1: a gets 1 + 1 + 2 + 2 = 6.
    """
    a = Scalar(1.0)
    b = a + a
    c = b + b
    naive_backward(c, 1.0)
    print("b = a + a, c = b + b, so c = 4 a")
    print("passes on at once: a.grad =", a.grad)
    assert a.grad == 6

    a = Scalar(1.0)
    b = a + a
    c = b + b
    c.backward()
    print("waits for the sum: a.grad =", a.grad)
    assert a.grad == 4
    assert b.grad == 2


# %%
def xor_output(w, x1, x2):
    """Return the output of a network of 13 weights: 2 inputs, 3 units, 1."""
    h1 = (w[0] * x1 + w[1] * x2 + w[2]).tanh()
    h2 = (w[3] * x1 + w[4] * x2 + w[5]).tanh()
    h3 = (w[6] * x1 + w[7] * x2 + w[8]).tanh()
    return (w[9] * h1 + w[10] * h2 + w[11] * h3 + w[12]).tanh()


def xor_loss(w):
    """Return the mean squared error over the four points of XOR."""
    equal = (xor_output(w, -1, -1) + 1) ** 2 + (xor_output(w, 1, 1) + 1) ** 2
    other = (xor_output(w, -1, 1) - 1) ** 2 + (xor_output(w, 1, -1) - 1) ** 2
    return (equal + other) / 4


def the_engine_trains_a_network_as_torch_does() -> None:
    """The same formulas, with Scalars or with tensors, train the same.

    XOR tells whether two inputs differ: -1 for no, 1 for yes. On the CPU in
    float64, the type of Python's own numbers. The loss falls with this seed.
    """
    torch.manual_seed(0)
    w = torch.randn(13, dtype=torch.float64, requires_grad=True)
    ours = [Scalar(number) for number in w.tolist()]
    first = xor_loss(w).item()
    for _ in range(50):
        loss = xor_loss(w)
        w.grad = None
        loss.backward()
        with torch.no_grad():
            w -= 0.5 * w.grad

        our_loss = xor_loss(ours)
        for weight in ours:
            weight.grad = 0.0
        our_loss.backward()
        for weight in ours:
            weight.value -= 0.5 * weight.grad
        assert math.isclose(our_loss.value, loss.item(), rel_tol=1e-6)

    print(f"loss at first:  {first:.6f}")
    print(f"after 50 steps: {loss:.6f} by torch")
    print(f"                {our_loss.value:.6f} by Scalar")
    for x1 in (-1, 1):
        for x2 in (-1, 1):
            output = xor_output(ours, x1, x2).value
            target = -x1 * x2
            print(f"({x1:2}, {x2:2}) -> {output:6.3f}, target {target:2}")
            assert abs(output - target) < 0.3
    assert loss < first / 4


# %% [markdown]
# ## Leaves and sums
# Where gradients arrive, how they add up, and what a loop records.


# %%
def a_leaf_was_made_by_no_recorded_operation(device: torch.device) -> None:
    """A leaf has no `grad_fn`; whether it requires grad is another matter.

    Weights are leaves that require grad, data are leaves that do not. What is
    recorded, a copy in another type included, is no leaf; `detach()` makes one.
    """
    x = torch.tensor(2.0, device=device)
    w = torch.tensor(3.0, requires_grad=True, device=device)
    h = w * x
    half = w.to(torch.float16)
    cut = h.detach()

    print("                    is_leaf  requires_grad")
    print("x, data            ", x.is_leaf, "   ", x.requires_grad)
    print("w, a weight        ", w.is_leaf, "   ", w.requires_grad)
    print("h = w * x          ", h.is_leaf, "  ", h.requires_grad)
    print("w.to(torch.float16)", half.is_leaf, "  ", half.requires_grad)
    print("h.detach()         ", cut.is_leaf, "   ", cut.requires_grad)
    assert x.is_leaf and not x.requires_grad and x.grad_fn is None
    assert w.is_leaf and w.requires_grad and w.grad_fn is None
    assert not h.is_leaf and h.requires_grad and h.grad_fn is not None
    assert not half.is_leaf and half.requires_grad
    assert cut.is_leaf and not cut.requires_grad and cut == 6


# %%
def retain_grad_keeps_the_gradient_of_a_result(device: torch.device) -> None:
    """`.grad` is kept by leaves that require it, by others only if asked.

    w = 3, x = 2, h = w x = 6, loss = h^2 / 2. By hand dloss/dh = h = 6 and
    dloss/dw = h x = 12.
    """
    x = torch.tensor(2.0, device=device)
    w = torch.tensor(3.0, requires_grad=True, device=device)
    h = w * x
    h.retain_grad()  # before backward
    loss = h**2 / 2
    loss.backward()

    print("w = 3.0, x = 2.0, h = w * x, loss = h**2 / 2")
    print("w, a leaf that requires grad: w.grad =", w.grad.item())
    print("h, retain_grad() was called:  h.grad =", h.grad.item())
    print("x, data:                      x.grad =", x.grad)
    assert w.grad == 12
    assert h.grad == 6
    assert x.grad is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that it stays None
        print("loss, computed, not asked:    loss.grad =", loss.grad)
        assert loss.grad is None


# %%
def backward_adds_to_grad(device: torch.device) -> None:
    """`backward()` adds to `.grad`, which is None until the first call."""
    w = torch.tensor(3.0, requires_grad=True, device=device)
    assert w.grad is None

    (w**2).backward()  # dw^2/dw = 2 w = 6
    print("w = 3.0, three times (w**2).backward()")
    print("first call:  w.grad =", w.grad.item())
    assert w.grad == 6

    (w**2).backward()
    print("second call: w.grad =", w.grad.item())
    assert w.grad == 12

    torch.optim.SGD([w]).zero_grad()
    print("zero_grad(): w.grad =", w.grad)
    assert w.grad is None

    (w**2).backward()
    print("third call:  w.grad =", w.grad.item())
    assert w.grad == 6


# %%
def autograd_grad_returns_and_leaves_grad_alone(device: torch.device) -> None:
    """`torch.autograd.grad` returns the gradient; `.grad` stays as it is.

    It returns a tuple, for there may be several inputs: [0] is the first. w
    stands twice in w^2 + 5 w, and both uses add up: 2 w + 5 = 11 at w = 3.
    """
    w = torch.tensor(3.0, requires_grad=True, device=device)
    gradient = torch.autograd.grad(w**2 + 5 * w, w)[0]
    print("w = 3.0, torch.autograd.grad(w**2 + 5 * w, w):", gradient.item())
    print("w.grad =", w.grad)
    assert gradient == 11
    assert w.grad is None

    v = torch.tensor(1.0, requires_grad=True, device=device)
    with caught(RuntimeError, "allow_unused=True"):
        torch.autograd.grad(w**2, v)
    answer = torch.autograd.grad(w**2, v, allow_unused=True)  # right: (None,)
    assert answer == (None,)


# %%
def stretch(x: Tensor) -> Tensor:
    """Return 3 x, doubled until |y| >= 100, ten times if y < 0; x is not 0."""
    y = 3 * x
    while y.abs() < 100:
        y = 2 * y
    if y < 0:
        y = 10 * y
    return y


def loops_and_branches_record_what_ran(device: torch.device) -> None:
    """The graph is made anew in each run, so `if` and `while` just work.

    All that ran multiplied x by a number: y = s x, so dy/dx = s = y / x.
    From 4 four doublings: s = 3 * 2^4 = 48. From -50 none: s = 3 * 10 = 30.
    """
    x = torch.tensor(4.0, requires_grad=True, device=device)
    y = stretch(x)
    y.backward()
    print("x =", x.item(), " y =", y.item(), " x.grad =", x.grad.item())
    assert y == 192
    assert x.grad == 48
    assert x.grad == y / x

    x = torch.tensor(-50.0, requires_grad=True, device=device)
    y = stretch(x)
    y.backward()
    print("x =", x.item(), " y =", y.item(), " x.grad =", x.grad.item())
    assert y == -1500
    assert x.grad == 30


# %% [markdown]
# ## Switches
# Four ways to stop the recording, for measuring, targets and frozen layers,
# and what each of them does.


# %%
def no_grad_and_inference_mode_record_nothing(device: torch.device) -> None:
    """In both blocks a result gets no `grad_fn`: backward stops there.

    y = w x = 6 at w = 2, x = 3. A later loss v y needs y: d(v y)/dv = y = 6.
    """
    x = torch.tensor(3.0, device=device)
    w = torch.tensor(2.0, requires_grad=True, device=device)
    v = torch.tensor(1.0, requires_grad=True, device=device)

    y = w * x
    print("x = 3.0, w = 2.0, v = 1.0, y = w * x")
    print("recorded:         y =", y.item(), " grad_fn:", y.grad_fn.name())
    assert y == 6
    assert y.grad_fn.name() == "MulBackward0"

    with torch.no_grad():  # to measure a model, or to change a weight
        y = w * x
    print("no_grad():        y =", y.item(), " grad_fn:", y.grad_fn)
    assert y == 6
    assert y.grad_fn is None

    (v * y).backward()  # a later loss may use y, as a constant
    print("loss v * y:       v.grad =", v.grad.item(), " w.grad =", w.grad)
    assert v.grad == 6
    assert w.grad is None

    with torch.inference_mode():  # to predict, and nothing after that
        y = w * x
    print("inference_mode(): y =", y.item(), " grad_fn:", y.grad_fn)
    assert y == 6
    assert y.grad_fn is None
    with caught(RuntimeError, "Inference tensors cannot be saved for backward"):
        v * y
    (v * y.clone()).backward()  # right: a clone is a normal tensor
    assert v.grad == 12


# %%
def detach_stops_one_use_requires_grad_false_all(device: torch.device) -> None:
    """`detach()` stops one use of w, `w.requires_grad_(False)` every use.

    y = w x + w + b uses w twice, so dy/dw = x + 1 = 4 at x = 3; dy/db = 1.
    """
    x = torch.tensor(3.0, device=device)
    w = torch.tensor(2.0, requires_grad=True, device=device)
    b = torch.tensor(1.0, requires_grad=True, device=device)

    y = w * x + w + b
    y.backward()
    print("w * x + w + b:             w.grad =", w.grad.item())
    assert y == 9
    assert w.grad == 4

    w.grad = None
    y = (w * x).detach() + w + b
    y.backward()
    print("(w * x).detach() + w + b:  w.grad =", w.grad.item())
    assert y == 9
    assert w.grad == 1

    w.grad = None
    w.requires_grad_(False)
    y = w * x + w + b
    y.backward()
    print("w.requires_grad_(False):   w.grad =", w.grad)
    assert y == 9
    assert w.grad is None
    assert b.grad == 3  # 1 from each backward


# %%
def detach_makes_a_constant_of_a_result(device: torch.device) -> None:
    """Backward takes a detached tensor for a constant: stop-gradient.

    u = x^2 and z = u x. With u recorded z = x^3, so dz/dx = 3 x^2. With u a
    constant dz/dx = u = x^2.
    """
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
    u = x * x
    z = u * x
    z.sum().backward()
    print("x =", x.tolist())
    print("u recorded: x.grad =", x.grad.tolist())
    assert_close(x.grad, 3 * x.detach() ** 2)

    x.grad = None
    u = (x * x).detach()
    z = u * x
    z.sum().backward()
    print("u detached: x.grad =", x.grad.tolist(), "which is u")
    assert torch.equal(x.grad, u)
    assert u.tolist() == [1, 4, 9]


# %%
def a_frozen_layer_stays_and_passes_gradients_on(device: torch.device) -> None:
    """`requires_grad_(False)` freezes a layer; those before it still learn.

    Linear (4 -> 8), tanh, Linear (8 -> 1). The optimizer holds all of them and
    skips the parameters without `.grad`.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    model.to(device)
    model[2].requires_grad_(False)
    first = model[0].weight.detach().clone()
    last = model[2].weight.detach().clone()
    last_bias = model[2].bias.detach().clone()
    x = torch.ones(16, 4, device=device)
    y = torch.ones(16, 1, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert len(optimizer.param_groups[0]["params"]) == 4

    F.mse_loss(model(x), y).backward()
    optimizer.step()
    gradient = model[0].weight.grad
    print("the last layer is frozen: its weight.grad is", model[2].weight.grad)
    print(f"the first layer learns: gradient norm {gradient.norm():.3f}")
    assert model[2].weight.grad is None
    assert model[2].bias.grad is None
    assert torch.equal(model[2].weight.detach(), last)
    assert torch.equal(model[2].bias.detach(), last_bias)
    assert_close(model[0].weight.detach(), first - 0.1 * gradient)
    assert gradient.norm() > 0.1


# %%
def frozen_batch_norm_still_updates_its_statistics(
    device: torch.device,
) -> None:
    """A frozen BatchNorm moves its running mean, until it is in eval mode.

    The statistics are buffers, not parameters: the forward pass in train mode
    changes them. With momentum 0.1 a batch of mean 5 moves 0 to 0.5.
    """
    norm = nn.BatchNorm1d(2, momentum=0.1).to(device)
    norm.requires_grad_(False)
    x = torch.tensor([[4.0, 5.0], [6.0, 5.0]], device=device)  # means 5 and 5
    print("running_mean before:         ", norm.running_mean.tolist())
    y = norm(x)
    assert not y.requires_grad  # frozen: nothing to learn
    print("frozen, after one batch:     ", norm.running_mean.tolist())
    moved = torch.tensor([0.5, 0.5], device=device)
    assert_close(norm.running_mean, moved)

    norm.eval()
    y = norm(x)
    print("frozen and in eval mode:     ", norm.running_mean.tolist())
    assert_close(y, (x - moved) / (norm.running_var + norm.eps).sqrt())
    assert_close(norm.running_mean, moved)
    assert norm.num_batches_tracked == 1


# %% [markdown]
# ## Graphs
# When a graph is freed, shared, carried on, or spoilt by a change in place.


# %%
def a_second_backward_needs_retain_graph(device: torch.device) -> None:
    """Backward frees what the graph saved, unless `retain_graph=True`.

    Two losses share h = w^2. At w = 3 d(5 h)/dw = 10 w = 30 and, as h^2 = w^4,
    d(h^2)/dw = 4 w^3 = 108.
    """
    w = torch.tensor(3.0, requires_grad=True, device=device)
    h = w**2
    one = 5 * h
    two = h**2
    one.backward(retain_graph=True)
    print("w = 3.0, h = w**2, one = 5 * h, two = h**2")
    print("one.backward(retain_graph=True): w.grad =", w.grad.item())
    assert w.grad == 30
    two.backward()
    print("two.backward(), which adds:      w.grad =", w.grad.item())
    assert w.grad == 138
    with caught(RuntimeError, "backward through the graph a second time"):
        two.backward()
    h = w**2  # right: compute anew, as a training loop does

    w.grad = None
    (5 * h + h**2).backward()  # one pass for both losses
    print("(5 * h + h**2).backward():       w.grad =", w.grad.item())
    assert w.grad == 138


# %%
def a_hidden_state_is_detached_between_batches(device: torch.device) -> None:
    """A state carried over is detached, or backward meets freed graphs.

    h = w h + x with w = 0.5, x = 3, from h = 2: first 4, then 5. With the old
    state as a constant dh/dw is that state: first 2, then 4.
    """
    w = torch.tensor(0.5, requires_grad=True, device=device)
    x = torch.tensor(3.0, device=device)
    h = torch.tensor(2.0, device=device)
    h = w * h + x
    h.backward()
    print("batch 1: h =", h.item(), " w.grad =", w.grad.item())
    assert h == 4
    assert w.grad == 2

    with caught(RuntimeError, "backward through the graph a second time"):
        (w * h + x).backward()
    h = w * h.detach() + x  # right: keep the value, cut the history
    w.grad = None
    h.backward()
    print("batch 2: h =", h.item(), " w.grad =", w.grad.item())
    assert h == 5
    assert w.grad == 4


# %%
def backward_refuses_saved_values_changed_in_place(
    device: torch.device,
) -> None:
    """A tensor counts writes; backward refuses a saved one that was written.

    exp saves its result, since exp' = exp; sin saves its input. A step of the
    optimizer writes, too: no second backward after it without a new forward.
    """
    w = torch.tensor([1.0, 4.0], requires_grad=True, device=device)
    h = w.exp()
    assert h._version == 0
    h += 1
    print("h = w.exp(); h += 1: h._version =", h._version)
    assert h._version == 1
    with caught(RuntimeError, "modified by an inplace operation"):
        h.sum().backward()
    h = w.exp() + 1  # right: a new tensor, and exp keeps its result
    h.sum().backward()
    assert_close(w.grad, w.detach().exp())

    w.grad = None
    h = w.sin()
    h += 1  # sin needs w alone
    h.sum().backward(retain_graph=True)
    cos = w.detach().cos()
    assert h._version == 1
    assert_close(w.grad, cos)

    torch.optim.SGD([w], lr=0.1).step()  # writes into w
    print("h = w.sin(); h += 1: backward runs, until a step has changed w")
    with caught(RuntimeError, "modified by an inplace operation"):
        h.sum().backward()
    w.sin().sum().backward()  # right: after a step, compute anew
    assert_close(w.grad, cos + w.detach().cos())


# %% [markdown]
# ## Checking
# Where slopes do not exist, where nan comes from, and how a gradient is
# compared with differences.


# %%
def at_a_kink_torch_picks_a_slope(device: torch.device) -> None:
    """At the kink of one operation torch gives a slope between both sides.

    relu(x) and |x| have a kink at 0: the slopes to the left and to the right,
    over a step of 1/2, differ.
    """
    x = torch.tensor(0.0, requires_grad=True, device=device)
    x.relu().backward()
    left = 2 * (x.relu() - (x - 0.5).relu()).item()
    right = 2 * ((x + 0.5).relu() - x.relu()).item()
    print("relu(x) at 0: slopes", left, right, " x.grad", x.grad.item())
    assert left == 0
    assert right == 1
    assert x.grad == 0

    x.grad = None
    x.abs().backward()
    left = 2 * (x.abs() - (x - 0.5).abs()).item()
    right = 2 * ((x + 0.5).abs() - x.abs()).item()
    print("|x| at 0:     slopes", left, right, " x.grad", x.grad.item())
    assert left == -1
    assert right == 1
    assert x.grad == 0


# %%
def anomaly_mode_names_the_line_that_made_nan(device: torch.device) -> None:
    """`torch.autograd.set_detect_anomaly` leads from a nan to its line.

    y = 0 sqrt(x) is 0, but the slope of sqrt at 0 is infinite, and the chain
    rule multiplies: 0 * inf is nan. A small number under the root keeps its
    slope finite. The mode is slow: for finding a fault, not for training.
    """
    x = torch.tensor(0.0, requires_grad=True, device=device)
    y = 0 * x.sqrt()
    y.backward()
    print("y = 0 * x.sqrt() at x = 0: no error, x.grad =", x.grad.item())
    assert x.grad.isnan()

    with (
        warnings.catch_warnings(record=True) as reports,
        torch.autograd.set_detect_anomaly(True),
    ):
        warnings.simplefilter("always")
        y = 0 * x.sqrt()
        with caught(RuntimeError, "returned nan values"):
            y.backward()
        y = 0 * (x + 1e-6).sqrt()  # right: the slope of the root is finite
        x.grad = None
        y.backward()
        assert x.grad == 0
    # The traceback of the forward pass comes as a warning.
    report = str(reports[0].message)
    line = re.search(r"in anomaly_mode_\w+\n +(.*)", report)[1]
    print("anomaly mode:", report.split(".")[0])
    print("the line:    ", line)
    assert report.startswith("Error detected in SqrtBackward0")
    assert line == "y = 0 * x.sqrt()"


# %%
def central_differences_beat_forward_ones(figures: Path) -> None:
    """A step that is too large truncates; one that is too small rounds.

    (f(x + h) - f(x)) / h is wrong by h |f''| / 2, the central difference
    (f(x + h) - f(x - h)) / (2 h) by h^2 |f'''| / 6. Rounding adds about
    eps / h, eps = 2e-16. f = sin at x = 1, on the CPU, which has float64.
    """
    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x.sin().backward()
    at = x.detach()
    h = torch.logspace(-13, 0, 79, dtype=torch.float64)
    forward = ((at + h).sin() - at.sin()) / h
    forward_error = (forward - x.grad).abs()
    central = ((at + h).sin() - (at - h).sin()) / (2 * h)
    central_error = (central - x.grad).abs()

    best = h[forward_error.argmin()]
    print(f"forward: least error {forward_error.min():.0e} at h = {best:.0e}")
    assert 1e-9 < best < 1e-7
    best = h[central_error.argmin()]
    print(f"central: least error {central_error.min():.0e} at h = {best:.0e}")
    assert 1e-7 < best < 1e-4
    assert central_error.min() < forward_error.min() / 100
    # At h = 0.1 rounding is nothing, and the formulas hold.
    print(f"at h = {h[72]:.1f}: forward {forward_error[72]:.1e}", end=", ")
    print(f"central {central_error[72]:.1e}")
    assert_close(forward_error[72], h[72] * at.sin() / 2, rtol=0.1, atol=0)
    assert_close(central_error[72], h[72] ** 2 * at.cos() / 6, rtol=0.1, atol=0)

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.loglog(h.tolist(), forward_error.tolist(), ".-", label="forward")
    axes.loglog(h.tolist(), central_error.tolist(), ".-", label="central")
    axes.set(xlabel="step h", ylabel="error of the slope")
    axes.set_title("Too large a step truncates, too small a step rounds")
    axes.legend()
    save_figure(figure, "autograd_finite_differences", figures)


# %%
class Softplus(torch.autograd.Function):
    """log(1 + exp(x)) without overflow; its derivative is sigmoid(x)."""

    @staticmethod
    def forward(x):
        """Return log(1 + exp(x)), where exp sees no positive number."""
        return x.relu() + (-x.abs()).exp().log1p()

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save what backward needs; older code does it in forward(ctx, x)."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        """Return dloss/dx from dloss/doutput: one link of the chain."""
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid()


def a_custom_function_brings_its_own_backward() -> None:
    """`autograd.Function` replaces the recorded backward by a formula.

    softplus(x) = log(1 + exp(x)) = relu(x) + log(1 + exp(-|x|)). The second
    form does not overflow, but has two kinks at 0 that cancel; torch gives
    each the slope 0. By hand the slope is sigmoid(0) = 1/2. On the CPU:
    gradcheck compares with differences, and wants float64.
    """
    x = torch.tensor(0.0, requires_grad=True)
    y = x.relu() + (-x.abs()).exp().log1p()
    y.backward()
    print(f"recorded: y = {y:.4f}, x.grad =", x.grad.item(), "which is wrong")
    assert_close(y.detach(), torch.tensor(2.0).log())
    assert x.grad == 0

    x.grad = None
    y = Softplus.apply(x)
    y.backward()
    print(f"Softplus: y = {y:.4f}, x.grad =", x.grad.item())
    assert_close(y.detach(), torch.tensor(2.0).log())
    assert x.grad == 0.5

    x = torch.tensor(100.0, requires_grad=True)
    y = (1 + x.exp()).log()
    y.backward()
    print("at x = 100: log(1 + exp(x)) =", y.item(), " x.grad =", x.grad.item())
    assert y == math.inf
    assert x.grad.isnan()

    x.grad = None
    y = Softplus.apply(x)
    y.backward()
    print("            Softplus =", y.item(), " x.grad =", x.grad.item())
    assert y == 100
    assert x.grad == 1

    points = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Softplus.apply, points)


# %%
class WrongDouble(torch.autograd.Function):
    """2 x, with a backward that forgets the gradient that comes in."""

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save nothing: the slope of 2 x is 2 everywhere."""

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, 2)


class RightDouble(WrongDouble):
    """2 x, with the chain rule: the slope times that gradient."""

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def gradcheck_finds_a_backward_without_the_chain_rule() -> None:
    """A custom backward multiplies by the gradient it gets; gradcheck looks.

    At the end of a graph the incoming gradient is 1, so all seems right. By
    hand (2 x)^2 has the slope 8 x = 24 at x = 3. On the CPU, in float64.
    """
    x = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    WrongDouble.apply(x).backward()
    print("d(2 x)/dx:   wrong backward", x.grad.item(), " by hand 2.0")
    assert x.grad == 2

    x.grad = None
    (WrongDouble.apply(x) ** 2).backward()
    print("d(2 x)^2/dx: wrong backward", x.grad.item(), " by hand 24.0")
    assert x.grad == 2

    x.grad = None
    (RightDouble.apply(x) ** 2).backward()
    print("d(2 x)^2/dx: right backward", x.grad.item())
    assert x.grad == 24

    with caught(RuntimeError, "backward not multiplied by grad_output"):
        torch.autograd.gradcheck(WrongDouble.apply, x)
    assert torch.autograd.gradcheck(RightDouble.apply, x)  # right: 2 * gradient


# %%
def named_parameters_show_gradient_norms_by_layer(device: torch.device) -> None:
    """With sigmoids the gradient of early layers is small: print the norms.

    Five layers (8 -> 8), each with a sigmoid, whose slope is at most 1/4. A
    norm is the root of a sum of squares.
    """
    torch.manual_seed(0)
    model = nn.Sequential()
    for _ in range(5):
        model.append(nn.Linear(8, 8))
        model.append(nn.Sigmoid())
    model.to(device)
    x = torch.randn(32, 8).to(device)
    model(x).sum().backward()

    for name, parameter in model.named_parameters():
        norm = parameter.grad.norm()
        print(f"{name:8} gradient norm {norm:9.6f}")
        assert_close(norm, parameter.grad.square().sum().sqrt())
    assert model[0].weight.grad.norm() < model[8].weight.grad.norm() / 100


# %% [markdown]
# ## Beyond gradients
# Jacobians, second derivatives, a gradient for each sample, hooks, and memory.


# %%
def backward_with_a_vector_is_v_times_the_jacobian(
    device: torch.device,
) -> None:
    """`y.backward(v)` gives v^T J: one number for each input.

    y = (x1 x2, x1^2, 3 x2), so J = [[x2, x1], [2 x1, 0], [0, 3]]. At x = (2, 5)
    and with v = (1, 10, 100): v^T J = (5 + 40, 2 + 300).
    """
    x = torch.tensor([2.0, 5.0], requires_grad=True, device=device)
    v = torch.tensor([1.0, 10.0, 100.0], device=device)  # shaped like y
    y = torch.stack([x[0] * x[1], x[0] ** 2, 3 * x[1]])
    print("x =", x.tolist(), " y =", y.tolist())
    with caught(RuntimeError, "grad can be implicitly created only"):
        y.backward()
    y.backward(v, retain_graph=True)  # right: how much each output counts
    print("v =", v.tolist(), " v^T J = x.grad =", x.grad.tolist())
    assert x.grad.tolist() == [45, 302]

    with caught(RuntimeError, "Mismatch in shape"):
        y.backward(torch.ones(2, device=device))
    (v @ y).backward()  # right: v is shaped like y; a weighted sum is the same
    assert x.grad.tolist() == [90, 604]  # added once more


# %%
def products(x: Tensor) -> Tensor:
    """Return y = (x1 x2, x1^2, 3 x2), of x (2,)."""
    return torch.stack([x[0] * x[1], x[0] ** 2, 3 * x[1]])


def jvp_is_the_jacobian_times_a_direction(device: torch.device) -> None:
    """`torch.func.jvp` gives J u: how y changes when x moves along u.

    J = [[x2, x1], [2 x1, 0], [0, 3]]. At x = (2, 5) and along u = (1, -1):
    J u = (5 - 2, 4, -3). A small step along u shows nearly the same.
    """
    x = torch.tensor([2.0, 5.0], device=device)
    u = torch.tensor([1.0, -1.0], device=device)  # shaped like x
    with warnings.catch_warnings():  # torch 2.15 warns of its own code
        warnings.simplefilter("ignore", FutureWarning)
        y, change = torch.func.jvp(products, (x,), (u,))
    print("x =", x.tolist(), " y =", y.tolist(), " u =", u.tolist())
    print("J u =", change.tolist())
    assert y.tolist() == [10, 4, 15]
    assert change.tolist() == [3, 4, -3]

    step = (products(x + 0.01 * u) - products(x)) / 0.01
    print(f"by a step of 0.01 u: {step[0]:.2f}, {step[1]:.2f}, {step[2]:.2f}")
    assert_close(step, change, rtol=0, atol=0.02)


# %%
def growth(x: Tensor) -> Tensor:
    """Return exp(x1 + x2 t) at t = 0, 1, 2, 3, 4: two inputs, five outputs."""
    t = torch.arange(5.0, device=x.device)
    return (x[0] + x[1] * t).exp()


def jacrev_goes_by_outputs_jacfwd_by_inputs(device: torch.device) -> None:
    """A pass backward gives a row of J, a pass forward gives a column.

    So a loss, one output of many weights, is derived backward: one pass. Here
    J is 5 x 2; by hand its columns are y and t y. `torch.func.jacrev` and
    `jacfwd` make all their passes at once.
    """
    x = torch.tensor([0.5, -0.2], device=device)
    t = torch.arange(5.0, device=device)
    jacobian = torch.stack([growth(x), t * growth(x)], dim=1)  # (5, 2)

    rows = []
    pull = torch.func.vjp(growth, x)[1]  # a backward pass, as a function
    for v in torch.eye(5, device=device):
        rows.append(pull(v)[0])  # v^T J with one 1 in v
    print(len(rows), "passes backward, each a row of J, of", len(rows[0]))
    assert_close(torch.stack(rows), jacobian)

    columns = []
    with warnings.catch_warnings():  # torch 2.15 warns of its own code
        warnings.simplefilter("ignore", FutureWarning)
        for u in torch.eye(2, device=device):
            columns.append(torch.func.jvp(growth, (x,), (u,))[1])
        by_jacfwd = torch.func.jacfwd(growth)(x)
    print(len(columns), "passes forward, each a column, of", len(columns[0]))
    assert_close(torch.stack(columns, dim=1), jacobian)

    by_jacrev = torch.func.jacrev(growth)(x)
    print("jacrev and jacfwd:", tuple(by_jacrev.shape), tuple(by_jacfwd.shape))
    assert_close(by_jacrev, jacobian)
    assert_close(by_jacfwd, jacobian)


# %%
def create_graph_gives_higher_derivatives(device: torch.device) -> None:
    """With `create_graph=True` a gradient has a graph of its own.

    y = tanh(x). By hand y' = 1 - y^2, y'' = -2 y y', y''' = (6 y^2 - 2) y'.
    """
    x = torch.tensor(1.0, device=device, requires_grad=True)
    y = x.tanh()
    first = torch.autograd.grad(y, x, create_graph=True)[0]
    second = torch.autograd.grad(first, x, create_graph=True)[0]
    third = torch.autograd.grad(second, x, retain_graph=True)[0]
    print(f"at x = 1: y = tanh(x) = {y:.4f}, y' = {first:.4f}", end=", ")
    print(f"y'' = {second:.4f}, y''' = {third:.4f}")
    assert_close(first, 1 - y**2)
    assert_close(second, -2 * y * first)
    assert_close(third, ((6 * y**2 - 2) * first).detach())
    with caught(RuntimeError, "does not require grad"):
        torch.autograd.grad(third, x)
    torch.autograd.grad(second, x)  # right: made with create_graph=True


# %%
def saddle(w: Tensor) -> Tensor:
    """Return 2 w1 w2 + w2 cos(w1)."""
    return 2 * w[0] * w[1] + w[1] * w[0].cos()


def the_hessian_is_the_jacobian_of_the_gradient(device: torch.device) -> None:
    """One more backward for each entry of the gradient gives the Hessian.

    The gradient of `saddle` is (2 w2 - w2 sin(w1), 2 w1 + cos(w1)), its Hessian
    [[-w2 cos(w1), 2 - sin(w1)], [2 - sin(w1), 0]]. At (pi/6, 2): sin = 1/2.
    """
    w = torch.tensor([math.pi / 6, 2.0], requires_grad=True, device=device)
    gradient = torch.autograd.grad(saddle(w), w, create_graph=True)[0]
    row_0 = torch.autograd.grad(gradient[0], w, retain_graph=True)[0]
    row_1 = torch.autograd.grad(gradient[1], w)[0]
    print(f"gradient   {gradient[0]:7.4f} {gradient[1]:7.4f}")
    print(f"Hessian    {row_0[0]:7.4f} {row_0[1]:7.4f}")
    print(f"           {row_1[0]:7.4f} {row_1[1]:7.4f}")
    cos = math.sqrt(3) / 2
    by_hand = torch.tensor([3.0, math.pi / 3 + cos], device=device)
    assert_close(gradient.detach(), by_hand)
    hessian = torch.tensor([[-2 * cos, 1.5], [1.5, 0.0]], device=device)
    assert_close(torch.stack([row_0, row_1]), hessian)

    with warnings.catch_warnings():  # torch 2.15 warns of its own code
        warnings.simplefilter("ignore", FutureWarning)
        whole = torch.func.hessian(saddle)(w.detach())
    print("torch.func.hessian(saddle)(w) gives the same")
    assert_close(whole, hessian)


# %%
def a_hessian_vector_product_needs_no_hessian(device: torch.device) -> None:
    """H u is the gradient of the number gradient . u: two passes, no H.

    loss = sum of w^4 / 12, so H is diagonal with w^2 on it, and H u = w^2 u.
    For n weights H has n^2 numbers, here 10^10; the product has n.
    """
    w = torch.linspace(0, 1, 100_000, requires_grad=True, device=device)
    u = torch.full_like(w, 3.0)
    loss = (w**4).sum() / 12
    gradient = torch.autograd.grad(loss, w, create_graph=True)[0]
    product = torch.autograd.grad(gradient @ u, w)[0]
    print("weights:", len(w), " H would have", f"{len(w) ** 2:,}", "numbers")
    print(f"H u at w = 1: {product[-1]:.4f}, by hand w^2 u = 3")
    assert_close(gradient.detach(), w.detach() ** 3 / 3)
    assert_close(product, w.detach() ** 2 * u)


# %%
def squared_error(
    weights: dict[str, Tensor], model: nn.Module, x: Tensor, y: Tensor
) -> Tensor:
    """Return (output - y)^2 of one sample, for a model with these weights."""
    output = torch.func.functional_call(model, weights, x)
    return F.mse_loss(output, y)


def vmap_gives_each_sample_its_gradient(device: torch.device) -> None:
    """`vmap(grad(loss))` gives a gradient for each sample, without a loop.

    `functional_call` makes the weights an input of the model, to derive by.
    y = x1 + 2 x2, but for the second label, which is 10 too large. At weight
    (1, 2) the gradient 2 (output - y) x is 0, and for the second -20 x.
    """
    x = torch.tensor([[1.0, 0.0], [1.0, 3.0], [2.0, 1.0]], device=device)
    y = torch.tensor([[1.0], [17.0], [4.0]], device=device)
    model = nn.Linear(2, 1, bias=False).to(device)
    model.load_state_dict({"weight": torch.tensor([[1.0, 2.0]])})
    weights = dict(model.named_parameters())

    # in_dims: None is one for all, 0 goes through dim 0, sample by sample.
    derive = torch.func.grad(squared_error)
    derive_each = torch.func.vmap(derive, in_dims=(None, None, 0, 0))
    gradients = derive_each(weights, model, x, y)["weight"]  # (3, 1, 2)
    print("weight   ", model.weight.tolist())
    print("x        ", x.tolist())
    print("y        ", y.tolist())
    print("gradients", gradients.tolist())
    assert gradients.tolist() == [[[0, 0]], [[-20, -60]], [[0, 0]]]

    for i in range(3):  # the loop that vmap saves
        model.zero_grad()
        F.mse_loss(model(x[i]), y[i]).backward()
        assert torch.equal(model.weight.grad, gradients[i])


# %%
def clip_to_5(gradient: Tensor) -> Tensor:
    """Return the gradient, each entry within -5 and 5."""
    return gradient.clamp(-5, 5)


def hooks_read_or_replace_a_gradient(device: torch.device) -> None:
    """A hook on a tensor sees its gradient; what it returns flows on.

    w = (1, 2, 3), h = 2 w, loss = h.h / 2: dloss/dh = h = (2, 4, 6), and
    dloss/dw is twice that.
    """
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
    seen = []
    h = 2 * w
    h.register_hook(seen.append)  # append returns None: the gradient stays
    (h @ h / 2).backward()
    print("read:    at h", seen[0].tolist(), " w.grad", w.grad.tolist())
    assert seen[0].tolist() == [2, 4, 6]
    assert w.grad.tolist() == [4, 8, 12]

    w.grad = None
    h = 2 * w
    h.register_hook(clip_to_5)
    (h @ h / 2).backward()
    print("clipped to 5:                   w.grad", w.grad.tolist())
    assert w.grad.tolist() == [4, 8, 10]


# %%
def wave(x: Tensor, runs: list[str]) -> Tensor:
    """Return sin(cos(sin(x))), and note that it ran.

    Backward needs x, for sin' = cos, and both results in between.
    """
    runs.append("run")
    return x.sin().cos().sin()


class Saved:
    """Counts the bytes that a graph saves for backward."""

    def __init__(self):
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Take what is to be saved."""
        self.bytes += tensor.nbytes
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        """Give back what was saved."""
        return tensor


def checkpoint_trades_time_for_memory(device: torch.device) -> None:
    """A checkpointed block saves only its input, and runs a second time.

    Ten blocks in a row, 1,000 numbers of 4 bytes: a block saves three tensors,
    a checkpoint one. Under `no_grad` nothing is saved.
    """
    x = torch.linspace(-1, 1, 1000, requires_grad=True, device=device)
    saved = Saved()
    hooks = torch.autograd.graph.saved_tensors_hooks(saved.pack, saved.unpack)
    with hooks, torch.no_grad():
        wave(x, [])
    print("no_grad:    ", saved.bytes, "bytes saved")
    assert saved.bytes == 0

    runs = []
    h = x
    with hooks:
        for _ in range(10):
            h = wave(h, runs)
    h.sum().backward()
    plain = x.grad.clone()
    print(f"plain:       {saved.bytes:,} bytes saved, {len(runs)} runs")
    assert saved.bytes == 10 * 3 * 4000
    assert len(runs) == 10

    x.grad = None
    saved.bytes = 0
    runs = []
    h = x
    with hooks:
        for _ in range(10):
            # The newer of two ways; torch asks for the choice.
            h = checkpoint(wave, h, runs, use_reentrant=False)
    h.sum().backward()
    print(f"checkpoints: {saved.bytes:,} bytes saved, {len(runs)} runs")
    assert saved.bytes == 10 * 4000
    assert len(runs) == 20
    assert torch.equal(x.grad, plain)


# %% [markdown]
# ## 16 bits
# Small gradients vanish in float16. A scaled loss brings them back, a scaler
# finds the scale, and autocast chooses the types.


# %%
def small_gradients_vanish_in_float16(device: torch.device) -> None:
    """In float16 a gradient of 1e-8 becomes 0; a scaled loss brings it back.

    Backward runs in the types of forward, so on its way to w the gradient is
    a 16-bit number for a moment. The smallest float16 is 2^-24 = 6e-8; times
    2^16 the gradient is 7e-4. bfloat16 reaches as far as float32, with 8 bits
    of precision.
    """
    w = torch.tensor(1.0, requires_grad=True, device=device)
    (1e-8 * w).backward()
    print(f"float32:  w.grad = {w.grad:.3e}")
    by_hand = torch.tensor(1e-8, device=device)
    assert_close(w.grad, by_hand, rtol=1e-6, atol=0)

    w.grad = None
    (1e-8 * w.to(torch.bfloat16).float()).backward()
    print(f"bfloat16: w.grad = {w.grad:.3e}")
    assert w.grad == by_hand.bfloat16()

    w.grad = None
    loss = 1e-8 * w.to(torch.float16).float()
    loss.backward(retain_graph=True)
    print(f"float16:  w.grad = {w.grad:.3e}")
    assert w.grad == 0

    w.grad = None
    (loss * 2**16).backward()
    gradient = w.grad / 2**16  # w.grad is float32: nothing is lost
    print(f"          times 2^16: {w.grad:.3e}, divided again: {gradient:.3e}")
    assert w.grad == (by_hand * 2**16).half()
    assert_close(gradient, by_hand, rtol=2**-11, atol=0)


# %%
def grad_scaler_halves_its_scale_until_all_is_finite() -> None:
    """`GradScaler` skips a step that overflows, and halves its scale.

    The largest float16 is 65504, so the gradient 1e-8 fits times 2^42, but not
    times 2^43. The step is 1e7 * 1e-8 = 0.1. On the CPU, where every machine
    can run it.
    """
    w = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1e7)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**44)
    scales = []
    weights = []
    for _ in range(4):
        scales.append(math.log2(scaler.get_scale()))
        optimizer.zero_grad()
        loss = 1e-8 * w.to(torch.float16).float()
        scaler.scale(loss).backward()  # scale * loss
        scaler.step(optimizer)  # divides w.grad; no step if it is infinite
        scaler.update()  # half the scale after a skipped step
        weights.append(w.item())
        print(f"scale 2^{scales[-1]:.0f}: w.grad = {w.grad:.0e}, w = {w:.1f}")
    assert scales == [44, 43, 42, 42]
    assert w.grad.isfinite()
    by_hand = torch.tensor([1.0, 1.0, 0.9, 0.8])
    assert_close(torch.tensor(weights), by_hand, rtol=1e-3, atol=0)


# %%
def autocast_computes_in_16_bits_and_keeps_float32_weights(
    device: torch.device, half: torch.dtype
) -> None:
    """Linear layers compute in 16 bits; weights and `.grad` stay float32.

    `half` is the 16-bit type of the device. The loss wants precision: of two
    16-bit tensors it makes a float32. Backward runs outside the block.
    """
    torch.manual_seed(0)
    x = torch.randn(16, 4).to(device)
    y = torch.randn(16, 2).to(device)
    model = nn.Linear(4, 2).to(device)
    F.mse_loss(model(x), y).backward()
    exact = model.weight.grad.clone()

    model.zero_grad()
    with torch.autocast(device.type, half):
        output = model(x)
        loss = F.mse_loss(output, y.to(half))
    loss.backward()
    rough = model.weight.grad
    print("weight:   ", model.weight.dtype)
    print("output:   ", output.dtype)
    print("loss:     ", loss.dtype)
    print("gradient: ", rough.dtype)
    assert model.weight.dtype == torch.float32
    assert output.dtype == half
    assert loss.dtype == torch.float32
    assert rough.dtype == torch.float32

    error = ((rough - exact).norm() / exact.norm()).item()
    print(f"the gradient differs from that of float32 by {error:.2%}")
    assert 0 < error < 0.05


# %%
def a_network_trains_with_autocast_or_without(
    device: torch.device, half: torch.dtype, *, amp: bool
) -> None:
    """Autocast around forward and loss, a scaler around backward and step.

    The network learns y = x^2. Without `--amp` both are switched off, and the
    same lines train in float32; bfloat16 needs no scaler.
    """
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64).to(device)[:, None]  # (64, 1)
    y = x**2
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    scaled = amp and half == torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    losses = []
    for _ in range(100):
        with torch.autocast(device.type, half, enabled=amp):
            output = model(x)
            loss = F.mse_loss(output, y)
        losses.append(loss.item())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    print(f"output in {output.dtype}, first loss {losses[0]:.4f}", end=", ")
    print(f"after 100 steps {losses[-1]:.4f}")
    assert (output.dtype == half) == amp
    assert losses[-1] < losses[0] / 10


# %% [markdown]
# ## Mistakes
# Errors with the line that makes them, what torch says, and the line that is
# right; then mistakes that give a wrong number without a word.


# %%
def mistakes_cut_the_graph(device: torch.device) -> None:
    """A result that no weight reaches has no gradient, and torch says so."""
    x = torch.tensor([1.0, 2.0], device=device)
    w = torch.tensor([0.3, 1.7], requires_grad=True, device=device)
    with caught(RuntimeError, "does not require grad"):
        (w.detach() * x).sum().backward()
    (w * x).sum().backward()  # right: no detach, item or no_grad on the way
    assert torch.equal(w.grad, x)

    with caught(RuntimeError, "does not require grad"):
        x[w.argmax()].backward()
    (w.softmax(dim=0) @ x).backward()  # right: argmax and > have no slope
    p = w.detach().softmax(dim=0)
    assert_close(w.grad, x + p * (x - p @ x))


# %%
def mistakes_change_a_weight(device: torch.device) -> None:
    """A weight is changed under `no_grad`, in place, and stays a leaf."""
    w = torch.ones(3, requires_grad=True, device=device)
    (w**2).sum().backward()  # the gradient is 2
    with caught(RuntimeError, "a leaf Variable that requires grad"):
        w -= 0.1 * w.grad
    with torch.no_grad():  # right: then w -= 0.1 * w.grad
        w -= 0.1 * w.grad
    assert_close(w.detach(), torch.full_like(w.detach(), 0.8))

    with caught(RuntimeError, "leaf Variable that requires grad"):
        w[0] = 0.5
    with torch.no_grad():  # right: then w[0] = 0.5
        w[0] = 0.5
    assert w.is_leaf and w.requires_grad
    assert w[0] == 0.5


# %%
def mistakes_make_a_new_tensor_of_a_weight(device: torch.device) -> None:
    """`w - step` makes a result, no leaf: its `.grad` stays None.

    loss = sum of w^2 at w = (1, 1): the gradient is 2, a step of 0.1 leads to
    0.8.
    """
    w = torch.ones(2, requires_grad=True, device=device)
    (w**2).sum().backward()
    new = w - 0.1 * w.grad
    print("new = w - 0.1 * w.grad: new.is_leaf is", new.is_leaf)
    assert not new.is_leaf
    assert_close(new.detach(), torch.full_like(new.detach(), 0.8))
    with caught(UserWarning, "not a leaf Tensor is being accessed"):
        new.grad.zero_()
    w.grad = None  # right: for the leaf; then change w in place, below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same warning
        with caught(TypeError, "'float' and 'NoneType'"):
            new = new - 0.1 * new.grad
    (w**2).sum().backward()  # right: derive the leaf, change it in place
    with torch.no_grad():
        w -= 0.1 * w.grad
    print("w -= 0.1 * w.grad: w.is_leaf is", w.is_leaf)
    assert w.is_leaf and w.requires_grad
    assert_close(w.detach(), torch.full_like(w.detach(), 0.8))


# %%
def mistakes_take_a_result_for_a_plain_tensor() -> None:
    """A tensor with a graph is detached before it is used elsewhere.

    On the CPU: from a GPU a tensor needs `.cpu()` before `numpy()`, too.
    """
    w = torch.ones(3, requires_grad=True)
    with caught(RuntimeError, "Can't call numpy() on Tensor that requires"):
        w.numpy()
    array = w.detach().numpy()  # right: off the graph first
    assert array.tolist() == [1, 1, 1]

    h = 2 * w
    with caught(RuntimeError, "Only Tensors created explicitly by the user"):
        copy.deepcopy(h)
    kept = copy.deepcopy(h.detach())  # right: a leaf can be copied
    assert kept.tolist() == [2, 2, 2]


# %%
def mistakes_freeze_a_result(device: torch.device) -> None:
    """A weight is frozen by `requires_grad`; a result is cut off."""
    w = torch.tensor([1.0, 2.0], requires_grad=True, device=device)
    h = 2 * w
    with caught(RuntimeError, "change requires_grad flags of leaf"):
        h.requires_grad = False
    h = h.detach()  # right: for a result
    assert h.tolist() == [2, 4]
    assert not h.requires_grad
    w.requires_grad = False  # for a leaf
    assert not (2 * w).requires_grad


# %%
def mistakes_ask_for_a_gradient(device: torch.device) -> None:
    """A gradient needs floats, one result, and a backward before it."""
    with caught(RuntimeError, "Only Tensors of floating point"):
        torch.tensor([1, 2], requires_grad=True, device=device)
    w = torch.ones(2, requires_grad=True, device=device)  # right: floats

    with caught(AttributeError, "'NoneType' object has no attribute 'zero_'"):
        w.grad.zero_()
    w.grad = None  # right: at any time, also before the first backward

    with caught(RuntimeError, "only for scalar outputs"):
        (w**2).backward()
    (w**2).sum().backward()  # right: one number to derive
    assert w.grad.tolist() == [2, 2]


# %%
def mistake_requires_grad_on_a_loss(device: torch.device) -> None:
    """`loss.requires_grad_()` silences the error; no weight learns."""
    torch.manual_seed(0)
    layer = nn.Linear(2, 1).to(device)
    x = torch.tensor([1.0, 2.0], device=device)
    loss = layer(x).detach().square().sum()
    loss.requires_grad_()
    loss.backward()
    print("loss.requires_grad_(): layer.weight.grad =", layer.weight.grad)
    assert layer.weight.grad is None

    output = layer(x)
    output.square().sum().backward()
    print("right, no detach():    layer.weight.grad =", end=" ")
    print(f"[{layer.weight.grad[0, 0]:.4f}, {layer.weight.grad[0, 1]:.4f}]")
    assert_close(layer.weight.grad[0], 2 * output.detach() * x)


# %%
def mistake_torch_tensor_of_tensors() -> None:
    """`torch.tensor([a, b])` copies numbers and cuts the graph.

    loss = a + a^2 + b^2, its slope along a is 1 + 2 a = 3 at a = 1. On the CPU.
    """
    a = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(1.0, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions warn
        pair = torch.tensor([a, b])
    (a + (pair**2).sum()).backward()
    print("torch.tensor([a, b]):       a.grad =", a.grad.item())
    assert a.grad == 1

    a.grad = None
    pair = torch.stack([a, b])
    (a + (pair**2).sum()).backward()
    print("right: torch.stack([a, b]): a.grad =", a.grad.item())
    assert a.grad == 3
    assert b.grad == 2


# %%
def mistake_round_has_slope_zero(device: torch.device) -> None:
    """`round` is flat almost everywhere: the weight before it never learns.

    loss = (round(w) - 5)^2 at w = 0.3. Straight-through replaces the slope of
    round by 1, which is no derivative, but learns: 2 (0 - 5) = -10.
    """
    w = torch.tensor(0.3, requires_grad=True, device=device)
    loss = (w.round() - 5) ** 2
    loss.backward()
    print("w = 0.3, loss = (rounded - 5)**2 =", loss.item())
    print("rounded = w.round():                  w.grad =", w.grad.item())
    assert loss == 25
    assert w.grad == 0

    w.grad = None
    rounded = w + (w.round() - w).detach()  # forward round(w), backward w
    loss = (rounded - 5) ** 2
    loss.backward()
    print("right: w + (w.round() - w).detach():  w.grad =", w.grad.item())
    assert loss == 25
    assert w.grad == -10


# %%
def mistake_data_hides_a_change(device: torch.device) -> None:
    """A change through `.data` is not counted: backward is silently wrong.

    h = exp(w) at w = 2; exp' = exp, so backward needs h = e^2 = 7.389.
    """
    w = torch.tensor(2.0, requires_grad=True, device=device)
    h = w.exp()
    h.data.zero_()
    h.backward()
    print("h.data.zero_():                   w.grad =", w.grad.item())
    assert h._version == 0
    assert w.grad == 0

    w.grad = None
    h = w.exp()
    copied = h.detach().clone()
    copied.zero_()
    assert copied == 0
    h.backward()
    print(f"right: h.detach().clone().zero_() w.grad = {w.grad:.3f}")
    assert_close(w.grad, w.detach().exp())


# %%
def mistake_frozen_after_backward(device: torch.device) -> None:
    """Frozen with `.grad` still filled, a weight takes one more step.

    loss = w^2 at w = 1, its gradient 2: a step of 0.1 leads to 0.8.
    """
    w = torch.tensor(1.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([w], lr=0.1)
    (w**2).backward()
    w.requires_grad_(False)
    optimizer.step()
    print(f"frozen after backward, then step(): w = {w:.1f}")
    assert not w.requires_grad
    assert_close(w, torch.full_like(w, 0.8))

    optimizer.zero_grad()
    optimizer.step()
    print(f"right: zero_grad(), then step():    w = {w:.1f} stays")
    assert_close(w, torch.full_like(w, 0.8))


# %%
def mistake_detach_shares_memory(device: torch.device) -> None:
    """`detach()` makes no copy: it sees every step, and writes through."""
    w = torch.tensor([3.0, 4.0], requires_grad=True, device=device)
    window = w.detach()
    copied = w.detach().clone()
    with torch.no_grad():
        w += 1  # a training step
    print("w was [3, 4] before the step")
    print("window = w.detach():       ", window.tolist())
    print("right: w.detach().clone(): ", copied.tolist())
    assert window.tolist() == [4, 5]
    assert copied.tolist() == [3, 4]

    copied.zero_()
    assert w.tolist() == [4, 5]
    window.zero_()
    print("w after window.zero_():    ", w.tolist())
    assert w.tolist() == [0, 0]


# %%
def mistake_a_sum_of_losses_keeps_every_graph(device: torch.device) -> None:
    """`total += loss` keeps the graph of every batch; add `loss.item()`.

    loss = w^2 at w = 3, five batches. Backward from the total still reaches
    all five: 5 * 6 = 30.
    """
    w = torch.tensor(3.0, requires_grad=True, device=device)
    total = 0.0
    for _ in range(5):
        loss = w**2
        total += loss
    total.backward()
    print("total += loss: ", total.item(), " w.grad =", w.grad.item())
    assert total == 45
    assert w.grad == 30  # five graphs were still in memory

    total = 0.0
    for _ in range(5):
        loss = w**2
        total += loss.item()
    print("right: total += loss.item():", total, " a", type(total).__name__)
    assert total == 45
    assert isinstance(total, float)


# %%
def mistake_where_lets_nan_through(device: torch.device) -> None:
    """`torch.where` drops a value, but backward goes through both branches.

    sqrt at 0 has an infinite slope, and the branch not taken passes it 0:
    0 * inf is nan. A harmless 1 under the root keeps it finite.
    """
    x = torch.tensor([0.0, 4.0], requires_grad=True, device=device)
    y = torch.where(x > 0, x.sqrt(), 0.0)
    y.sum().backward()
    print("x =", x.tolist(), " y =", y.tolist())
    print("where(x > 0, x.sqrt(), 0.0):     x.grad =", x.grad.tolist())
    assert y.tolist() == [0, 2]
    assert x.grad[0].isnan()
    assert x.grad[1] == 0.25

    x.grad = None
    inside = torch.where(x > 0, x, 1.0)
    y = torch.where(x > 0, inside.sqrt(), 0.0)
    y.sum().backward()
    print("inside = where(x > 0, x, 1.0)")
    print("right: where(x > 0, inside.sqrt(), 0.0):", x.grad.tolist())
    assert y.tolist() == [0, 2]
    assert x.grad.tolist() == [0, 0.25]


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
    here = {"device": args.device}
    half = {**here, "half": amp_dtype(args.device)}
    chapters = {
        "Backward": {
            backward_finds_the_gradient: here,
            next_functions_lead_to_the_leaves: here,
            forward_computes_and_records: here,
            backward_derives_chains_and_accumulates: here,
        },
        "An engine in forty lines": {
            an_autograd_engine_takes_forty_lines: here,
            backward_waits_until_a_gradient_is_complete: {},
            the_engine_trains_a_network_as_torch_does: {},
        },
        "Leaves and sums": {
            a_leaf_was_made_by_no_recorded_operation: here,
            retain_grad_keeps_the_gradient_of_a_result: here,
            backward_adds_to_grad: here,
            autograd_grad_returns_and_leaves_grad_alone: here,
            loops_and_branches_record_what_ran: here,
        },
        "Switches": {
            no_grad_and_inference_mode_record_nothing: here,
            detach_stops_one_use_requires_grad_false_all: here,
            detach_makes_a_constant_of_a_result: here,
            a_frozen_layer_stays_and_passes_gradients_on: here,
            frozen_batch_norm_still_updates_its_statistics: here,
        },
        "Graphs": {
            a_second_backward_needs_retain_graph: here,
            a_hidden_state_is_detached_between_batches: here,
            backward_refuses_saved_values_changed_in_place: here,
        },
        "Checking": {
            at_a_kink_torch_picks_a_slope: here,
            anomaly_mode_names_the_line_that_made_nan: here,
            central_differences_beat_forward_ones: {"figures": args.figures},
            a_custom_function_brings_its_own_backward: {},
            gradcheck_finds_a_backward_without_the_chain_rule: {},
            named_parameters_show_gradient_norms_by_layer: here,
        },
        "Beyond gradients": {
            backward_with_a_vector_is_v_times_the_jacobian: here,
            jvp_is_the_jacobian_times_a_direction: here,
            jacrev_goes_by_outputs_jacfwd_by_inputs: here,
            create_graph_gives_higher_derivatives: here,
            the_hessian_is_the_jacobian_of_the_gradient: here,
            a_hessian_vector_product_needs_no_hessian: here,
            vmap_gives_each_sample_its_gradient: here,
            hooks_read_or_replace_a_gradient: here,
            checkpoint_trades_time_for_memory: here,
        },
        "16 bits": {
            small_gradients_vanish_in_float16: here,
            grad_scaler_halves_its_scale_until_all_is_finite: {},
            autocast_computes_in_16_bits_and_keeps_float32_weights: half,
            a_network_trains_with_autocast_or_without: half | {"amp": args.amp},
        },
        "Mistakes": {
            mistakes_cut_the_graph: here,
            mistakes_change_a_weight: here,
            mistakes_make_a_new_tensor_of_a_weight: here,
            mistakes_take_a_result_for_a_plain_tensor: {},
            mistakes_freeze_a_result: here,
            mistakes_ask_for_a_gradient: here,
            mistake_requires_grad_on_a_loss: here,
            mistake_torch_tensor_of_tensors: {},
            mistake_round_has_slope_zero: here,
            mistake_data_hides_a_change: here,
            mistake_frozen_after_backward: here,
            mistake_detach_shares_memory: here,
            mistake_a_sum_of_losses_keeps_every_graph: here,
            mistake_where_lets_nan_through: here,
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
