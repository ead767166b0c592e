# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""Autograd: how one call to `backward()` finds every gradient.

Run      python start_autograd.py      (no download, any device, 10 s)
Read     README.md, "Autograd"
Symbols  x input, y output or target, w weight, b bias, h hidden value,
         J Jacobian, v a row to its left, u a column to its right
"""

import argparse
import contextlib
import copy
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
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


# %%
def forward_records_a_graph(device: torch.device) -> dict[str, object]:
    """Each operation leaves a node that knows the nodes it came from.

    e = c * d with c = a + b and d = b + 1, at a = 2 and b = 1. By hand:
    de/da = d = 2, and b acts on both factors: de/db = d + c = 5.
    Returns e, both gradients, and the lines of the printed tree.
    """
    a = torch.tensor(2.0, requires_grad=True, device=device)
    b = torch.tensor(1.0, requires_grad=True, device=device)
    c = a + b
    d = b + 1
    e = c * d

    # The graph knows no names: they belong to our tensors, so look them up.
    tensors = {
        "e = c * d": e,
        "c = a + b": c,
        "d = b + 1": d,
        "a, a leaf": a,
        "b, a leaf": b,
    }
    names = {
        torch.autograd.graph.get_gradient_edge(tensor).node: name
        for name, tensor in tensors.items()
    }
    lines = []

    def walk(node, depth: int) -> None:
        kind = "    " * depth + type(node).__name__
        lines.append(f"{kind:26} {names[node]:10} = {tensors[names[node]]:.0f}")
        for source, _ in node.next_functions:
            if source is not None:  # the constant 1 needs no gradient
                walk(source, depth + 1)

    # Backward will walk this way, too: from the result to the leaves.
    walk(e.grad_fn, 0)
    print(*lines, sep="\n")
    # The leaf b is printed twice, but both edges end in the same node.
    assert len(lines) == 6 and len(names) == 5

    e.backward()
    print(f"de/da = {a.grad:.0f} and de/db = {b.grad:.0f}, as by hand")
    assert (e, a.grad, b.grad) == (6, 2, 5)
    return {"e": e, "de/da": a.grad, "de/db": b.grad, "lines": lines}


# %%
def backward_is_three_steps(device: torch.device) -> dict[str, Tensor]:
    """`backward()` asks each node, chains the answers, adds at the leaves.

    One layer z = x w + b, x (2, 3), w (3, 2), b (2,), and the mean over all
    four outputs of binary cross-entropy. With p = sigmoid(z) the formulas are
    dloss/dz = (p - y) / 4, dloss/dw = x^T dloss/dz, dloss/db = its column sum.
    Returns the gradients of z, w and b.
    """
    x = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0]], device=device)
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0]], device=device)
    w = torch.zeros(3, 2, requires_grad=True, device=device)
    b = torch.zeros(2, requires_grad=True, device=device)
    product = x @ w
    z = product + b  # (2, 2)
    loss = F.binary_cross_entropy_with_logits(z, y)

    # By formula. Where w and b are 0, p is 1/2 and the entries are +-1/8.
    dz = (z.detach().sigmoid() - y) / 4
    dw, db = x.T @ dz, dz.sum(dim=0)

    with torch.no_grad():
        # 1. A node is a function: from the gradient of what it made to the
        # gradients of what it was made from. It starts with dloss/dloss = 1.
        at_z, *_ = loss.grad_fn(torch.ones_like(loss))

        # 2. The chain rule: the answer of one node is the next one's question.
        at_product, at_b = z.grad_fn(at_z)
        _, at_w = product.grad_fn(at_product)  # None for x, which is data
        # b was added to both rows, so its gradient is a sum over rows.
        at_b = at_b.sum_to_size(b.shape)  # (2, 2) -> (2,)

        # 3. At a leaf the chain ends in a node that adds to `.grad`.
        _, (add_to_b, _) = z.grad_fn.next_functions
        assert add_to_b.variable is b and b.grad is None
        add_to_b(at_b.clone())
        torch.testing.assert_close(b.grad, db)
        add_to_b(at_b.clone())
        torch.testing.assert_close(b.grad, 2 * db)
    torch.testing.assert_close(at_z, dz)
    torch.testing.assert_close(at_w, dw)

    # `backward()` is all of it.
    b.grad = None
    loss.backward()
    torch.testing.assert_close(w.grad, dw)
    torch.testing.assert_close(b.grad, db)
    print(f"1. the node of the loss:  dloss/dz = {at_z.tolist()}")
    print(f"2. chained on to w:  dloss/dw = {at_w.tolist()}")
    print(f"3. added to b.grad:  dloss/db = {b.grad.tolist()}")
    return {"z": at_z, "w": w.grad, "b": b.grad}


# %%
def leaves_keep_their_gradients(device: torch.device) -> dict[str, tuple]:
    """Backward fills `.grad` of leaves, and of others only if asked before.

    A leaf is a tensor that no recorded operation made: `grad_fn` is None.
    x = 2, w = 3, h = w x = 6, k = h^2 = 36, loss = k / 2. By hand:
    dloss/dk = 1/2, dloss/dh = h = 6, dloss/dw = h x = 12.
    Returns name -> (is_leaf, requires_grad, grad_fn, grad).
    """
    x = torch.tensor(2.0, device=device)
    w = torch.tensor(3.0, requires_grad=True, device=device)
    h = w * x
    k = h**2
    k.retain_grad()
    w.retain_grad()  # allowed, and changes nothing: a leaf keeps it anyway
    loss = k / 2
    loss.backward()
    # The gradient of h was needed on the way to w, and then let go.

    tensors = {
        "x, data": x,
        "w, requires_grad=True": w,
        "h = w * x": h,
        "k = h**2, retain_grad()": k,
        "h.detach()": h.detach(),
        "w.to(float16)": w.to(torch.float16),
    }
    table = {}
    print(f"{'':24} is_leaf  requires_grad  grad_fn          .grad")
    for name, tensor in tensors.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # .grad of h warns: it stays None
            grad = None if tensor.grad is None else tensor.grad.item()
        node = tensor.grad_fn and type(tensor.grad_fn).__name__
        assert tensor.is_leaf == (node is None)  # two names for one thing
        table[name] = tensor.is_leaf, tensor.requires_grad, node, grad
        is_leaf, requires, node, grad = map(str, table[name])
        print(f"{name:24} {is_leaf:8} {requires:14} {node:16} {grad}")
    grads = [row[3] for row in table.values()]
    assert grads == [None, 12, None, 0.5, None, None]
    return table


# %%
def gradients_add_up_until_cleared(device: torch.device) -> dict[str, list]:
    """`backward()` adds to `.grad`, which is None before the first call.

    For loss = w^2 at w = 3 the gradient is 2 w = 6, each time.
    Returns `.grad` after none, one and two calls; after clearing and one more
    call; and what `torch.autograd.grad` answers, with the `.grad` it leaves.
    """
    w = torch.tensor(3.0, requires_grad=True, device=device)
    grads = [w.grad]
    for _ in range(2):
        (w**2).backward()
        grads.append(w.grad.item())
    print(f"not cleared: .grad is {grads[0]}, then {grads[1]}, then {grads[2]}")
    assert grads == [None, 6, 12]

    # An optimizer clears its parameters: `.grad` is None again, and not 0.
    torch.optim.SGD([w]).zero_grad()
    assert w.grad is None
    (w**2).backward()
    cleared = [w.grad.item()]
    print(f"cleared, then one call: .grad is {cleared[0]}")
    assert cleared == [6]

    # Adding is the chain rule at work: w used twice gets both its parts.
    # d(w^2 + 5 w)/dw = 2 w + 5 = 11. `grad` hands it over, `.grad` stays.
    (asked,) = torch.autograd.grad(w**2 + 5 * w, w)
    both = [asked.item(), w.grad.item()]
    print(f"torch.autograd.grad answers {both[0]}, .grad is still {both[1]}")
    assert both == [11, 6]
    return {"not cleared": grads, "cleared": cleared, "grad": both}


# %%
class Box:
    """What a graph holds for one saved tensor; it dies with the graph."""

    def __init__(self, tensor: Tensor) -> None:
        # Detached: else the result of exp would own the graph that owns it.
        self.tensor = tensor.detach()


def switches_stop_the_recording(
    device: torch.device, *, size: int = 1000
) -> dict[str, tuple[int, int, bool, bool, bool]]:
    """Four switches stop backward, each in its own way, and save memory.

    y = exp(w x), all (size,), 4 bytes a number. To go back, the product needs
    x and exp needs its own result: 8 * size bytes that live as long as y.
    Switch off what needs no gradient: measuring, targets, frozen layers.
    Returns switch -> bytes saved while y is computed, bytes kept as long as y
    lives, `requires_grad` of y, whether a later loss with another weight may
    use y, and whether backward of that loss reaches w.
    """
    x = torch.linspace(0, 1, size, device=device)
    boxes, saved = weakref.WeakSet(), []

    # Whatever is saved for backward is packed here, and unpacked when used.
    def pack(tensor: Tensor) -> Box:
        box = Box(tensor)
        boxes.add(box)  # the set is weak: a box leaves it with its graph
        saved.append(tensor.nbytes)
        return box

    hooks = torch.autograd.graph.saved_tensors_hooks
    contexts = {
        "recorded": contextlib.nullcontext(),
        "no_grad()": torch.no_grad(),
        "inference_mode()": torch.inference_mode(),
        "detach()": contextlib.nullcontext(),
        "requires_grad_(False)": contextlib.nullcontext(),
    }
    table = {}
    print(f"{'':23}saved   kept  requires_grad  usable  reaches w")
    for name, context in contexts.items():
        w = torch.ones(size, device=device)
        w.requires_grad_(name != "requires_grad_(False)")
        saved.clear()
        with context, hooks(pack, lambda box: box.tensor):
            y = (w * x).exp()
            # What was recorded for the old y goes away with it.
            y = y.detach() if name == "detach()" else y
        kept = sum(box.tensor.nbytes for box in boxes)

        later = torch.ones(size, requires_grad=True, device=device)
        # The product has to save y, which inference_mode made unfit for it.
        with contextlib.suppress(RuntimeError):
            (later * y).sum().backward()
        usable = later.grad is not None and torch.equal(later.grad, y)
        facts = y.requires_grad, usable, w.grad is not None
        table[name] = sum(saved), kept, *facts
        print(f"{name:22} {sum(saved):5,} {kept:6,}  ", end="")
        print("{!s:14} {!s:7} {!s}".format(*facts))
    print("saved, kept: bytes for backward, while y is made and while y lives")
    print("usable: by a later loss, whose gradient then reaches w or does not")
    both = 8 * size
    assert table == {
        "recorded": (both, both, True, True, True),
        "no_grad()": (0, 0, False, True, False),
        "inference_mode()": (0, 0, False, False, False),
        "detach()": (both, 0, False, True, False),
        "requires_grad_(False)": (0, 0, False, True, False),
    }
    return table


# %%
def frozen_layers_stay_put(
    device: torch.device, *, steps: int = 3
) -> dict[str, tuple]:
    """A frozen layer stays, gradients still flow through it to others.

    Layers (4 -> 8) and (8 -> 1), tanh between, 16 samples, one optimizer that
    holds everything. Saved: x, 256 bytes, and the result of tanh, 512 bytes.
    Returns what is frozen -> how far the first and the last layer moved (the
    largest change of a weight), and the bytes saved for backward.
    """
    table = {}
    print("frozen   first layer moved   last layer moved   bytes saved")
    for frozen in ("nothing", "first", "last"):
        torch.manual_seed(0)
        first, last = nn.Linear(4, 8), nn.Linear(8, 1)
        layers = {"first": first, "last": last}
        model = nn.Sequential(first, nn.Tanh(), last).to(device)
        if frozen in layers:
            layers[frozen].requires_grad_(False)  # before any backward
        before = [layer.weight.clone() for layer in (first, last)]
        weights = {p.data_ptr() for p in model.parameters()}
        saved = {}

        def pack(tensor: Tensor, weights=weights, saved=saved) -> Tensor:
            if tensor.data_ptr() not in weights:  # those are there anyway
                saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        x, y = torch.ones(16, 4, device=device), torch.ones(16, 1).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(steps):
            saved.clear()
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                output = model(x)
            optimizer.zero_grad()
            F.mse_loss(output, y).backward()
            optimizer.step()
        moved = [
            (layer.weight - start).abs().max().item()
            for layer, start in zip((first, last), before, strict=True)
        ]
        table[frozen] = *moved, sum(saved.values())
        print("{:8} {:10.3f} {:19.3f} {:18,}".format(frozen, *table[frozen]))
    # A frozen layer is no wall: behind the last one the first one learns.
    assert table["first"][0] == 0 < table["first"][1]
    assert table["last"][1] == 0 < table["last"][0]
    # Memory is spared where no gradient passes: freeze from the input on.
    # Only the gradient of the first weight needs x.
    assert [row[2] for row in table.values()] == [768, 512, 768]
    return table


# %%
def each_run_records_its_own_branch(
    device: torch.device,
) -> dict[float, tuple[int, float, float]]:
    """The graph is made anew by each run, so `if` and `while` just work.

    Heron's rule for the square root, y <- (y + x / y) / 2, repeats until y^2
    is x; for x < 0 it returns -root(-x). The derivative is 1 / (2 sqrt|x|).
    Returns x -> (nodes in its graph, root, slope).
    """

    def root(x: Tensor) -> Tensor:
        if x < 0:  # Python decides on the number; the graph sees one branch
            return -root(-x)
        y = (1 + x) / 2
        while (y * y - x).abs() > 1e-5 * x:
            y = (y + x / y) / 2
        return y

    table = {}
    for number in (1.0, 4.0, 1e4, -9.0):
        x = torch.tensor(number, requires_grad=True, device=device)
        y = root(x)
        y.backward()
        # A longer loop is a longer graph: all nodes within reach of y, once.
        nodes, waiting = set(), [y.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in nodes:
                nodes.add(node)
                waiting += [source for source, _ in node.next_functions]
        table[number] = len(nodes), y.item(), x.grad.item()
        print(f"x = {number:6,.0f}: {len(nodes):3} nodes in the graph", end="")
        print(f", root {y:8.4f}, slope {x.grad:.5f}")
        slope = 1 / (2 * abs(number) ** 0.5)
        assert math.isclose(x.grad.item(), slope, rel_tol=1e-3)
    return table


# %%
def at_a_kink_torch_chooses_one_slope(device: torch.device) -> dict:
    """Where a function has no derivative, torch still answers: know what.

    Left and right slopes are differences over a small step of the function
    itself; where they disagree, or one is infinite, there is no derivative.
    Returns name -> (left slope, right slope, the gradient of torch).
    """
    cases = {
        "relu(x) at 0": (torch.relu, 0.0),
        "|x| at 0": (torch.abs, 0.0),
        "clamp(x, 0, 1) at 1": (lambda x: x.clamp(0, 1), 1.0),
        "max(x, 2 - x) at 1": (lambda x: torch.maximum(x, 2 - x), 1.0),
        "round(x) at 0.5": (torch.round, 0.5),
        "sqrt(x) at 0": (torch.sqrt, 0.0),
    }
    step, slopes = 2.0**-20, {}  # a power of two: no rounding in x + step
    print(f"{'':20} {'left':>10} {'right':>10} {'torch':>8}")
    for name, (function, place) in cases.items():
        x = torch.tensor(place, requires_grad=True, device=device)
        y = function(x)
        y.backward()
        with torch.no_grad():  # sqrt has no left side: nan
            left = (y - function(x - step)).item() / step
            right = (function(x + step) - y).item() / step
        slopes[name] = left, right, x.grad.item()
        print("{:20} {:10.4g} {:10.4g} {:8.4g}".format(name, *slopes[name]))
    # Any number between both slopes is fair, and it may change: for clamp at
    # its bound torch 2.7 answers 1, torch 2.15 answers 0.
    for name in ("relu(x) at 0", "|x| at 0", "clamp(x, 0, 1) at 1"):
        left, right, chosen = slopes[name]
        assert min(left, right) <= chosen <= max(left, right)
    # The jump of round counts for nothing; the cliff of sqrt is infinite, and
    # infinity times zero in the chain rule is the commonest source of nan.
    assert slopes["round(x) at 0.5"][2] == 0
    assert slopes["sqrt(x) at 0"][2] == math.inf
    return slopes


# %%
def a_second_backward_needs_the_graph(device: torch.device) -> dict:
    """Backward frees what the graph saved, unless told to retain it.

    Two reasons to retain it. One: several losses share a part of the graph,
    and the gradient of each is wanted alone. Two: a Jacobian, row by row.
    Returns the gradients of both losses and of their sum, and the Jacobian.
    """
    w = torch.tensor([1.0, 2.0], requires_grad=True, device=device)
    loss = (w**2).sum()
    loss.backward()
    with caught(RuntimeError, "backward through the graph a second time"):
        loss.backward()

    # A sum saves nothing, so there is nothing to free, and no error.
    plain = (w + 3).sum()
    plain.backward()
    plain.backward()

    # One: h = w^2 is shared. d sum(h)/dw = 2 w, d sum(h^2)/dw = 4 w^3.
    h = w**2
    losses = {"sum(h)": h.sum(), "sum(h^2)": (h**2).sum()}
    grads = {}
    for name, loss in losses.items():
        (grads[name],) = torch.autograd.grad(loss, w, retain_graph=True)
        print(f"gradient of {name:10} {grads[name].tolist()}")
    # Only their sum is wanted? Add first: one backward, nothing retained.
    total = sum(losses.values())
    (grads["sum of both"],) = torch.autograd.grad(total, w)
    print(f"gradient of the sum    {grads['sum of both'].tolist()}")
    torch.testing.assert_close(grads["sum(h)"], 2 * w.detach())
    torch.testing.assert_close(grads["sum(h^2)"], 4 * w.detach() ** 3)
    torch.testing.assert_close(
        grads["sum of both"], grads["sum(h)"] + grads["sum(h^2)"]
    )

    # Two: each entry of y has its own gradient, a row of the Jacobian.
    y = torch.stack([w[0] * w[1], w[0] ** 2, 3 * w[1]])
    rows = [torch.autograd.grad(entry, w, retain_graph=True)[0] for entry in y]
    jacobian = torch.stack(rows)  # (3, 2)
    print(f"Jacobian, row by row   {jacobian.tolist()}")
    assert jacobian.tolist() == [[2, 1], [2, 0], [0, 3]]
    return {**grads, "jacobian": jacobian}


# %%
def backward_multiplies_by_the_jacobian(device: torch.device) -> dict:
    """`y.backward(v)` is v^T J, a row; forward mode `jvp` is J u, a column.

    y = (x1 x2, x1^2, 3 x2) maps (2,) to (3,), so J, with J[i, j] = dy_i/dx_j,
    is 3 x 2: [[x2, x1], [2 x1, 0], [0, 3]]. At x = (2, 5):
    (1, 10, 100) J = (5 + 40, 2 + 300), and J (1, -1) = (5 - 2, 4, -3).
    Returns J, v^T J and J u.
    """

    def f(x: Tensor) -> Tensor:
        return torch.stack([x[0] * x[1], x[0] ** 2, 3 * x[1]])

    x = torch.tensor([2.0, 5.0], requires_grad=True, device=device)
    v = torch.tensor([1.0, 10.0, 100.0], device=device)  # shaped like y
    u = torch.tensor([1.0, -1.0], device=device)  # shaped like x
    y = f(x)
    with caught(RuntimeError, "grad can be implicitly created only"):
        y.backward()  # of which of the three numbers?
    with caught(RuntimeError, "Mismatch in shape"):
        y.backward(torch.ones_like(x))  # v has the shape of y
    y.backward(v)

    # v weighs the outputs: it is the gradient of the scalar v . y.
    (weighed,) = torch.autograd.grad(v @ f(x), x)
    torch.testing.assert_close(x.grad, weighed)

    # torch.func says the same with functions instead of `.grad`.
    point = x.detach()
    jacobian = torch.func.jacrev(f)(point)  # (3, 2)
    _, pull = torch.func.vjp(f, point)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, in 2.15
        _, pushed = torch.func.jvp(f, (point,), (u,))
        forward = torch.func.jacfwd(f)(point)
    by_hand = torch.tensor([[5.0, 2.0], [4.0, 0.0], [0.0, 3.0]], device=device)
    torch.testing.assert_close(jacobian, by_hand)
    torch.testing.assert_close(forward, by_hand)
    torch.testing.assert_close(x.grad, v @ by_hand)
    torch.testing.assert_close(pull(v)[0], v @ by_hand)
    torch.testing.assert_close(pushed, by_hand @ u)
    print(f"J     = {jacobian.tolist()}, 3 outputs x 2 inputs")
    print(f"v^T J = {x.grad.tolist()}, one number an input, as by hand")
    print(f"J u   = {pushed.tolist()}, one number an output, as by hand")
    return {"J": jacobian, "v^T J": x.grad, "J u": pushed}


# %%
def tall_jacobians_want_forward_mode(device: torch.device) -> dict[str, dict]:
    """A pass back gives a row of J, a pass forward gives a column.

    So reverse mode pays for each output and forward mode for each input. A
    loss has one output and a million inputs: networks are trained backward.
    Here y = tanh(A x), and by hand J = (1 - y^2) A, where 1 - y^2 scales rows.
    Returns shape -> J, and (passes, milliseconds) of both modes.
    """
    torch.manual_seed(0)
    results = {}
    for rows, columns in ((1000, 1), (100, 2), (2, 100), (1, 1000)):
        a = torch.randn(rows, columns).to(device)
        x = torch.randn(columns).to(device)

        def f(x: Tensor, a=a) -> Tensor:
            return (a @ x).tanh()

        # `pull` is backward as a function, from v to v^T J. With 1 at one
        # place of v and 0 elsewhere that is a row; with such a u, a column.
        y, pull = torch.func.vjp(f, x)
        jacobian = (1 - y[:, None] ** 2) * a  # (rows, columns)
        passes = {
            "reverse": lambda v, pull=pull: pull(v)[0],
            "forward": lambda u, f=f, x=x: torch.func.jvp(f, (x,), (u,))[1],
        }
        name = f"{rows} x {columns}"
        results[name] = {}
        print(f"J {name:8}", end="")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, 2.15
            for mode, count in (("reverse", rows), ("forward", columns)):
                units = torch.eye(count, device=device)
                start = time.perf_counter()
                answers = [passes[mode](unit) for unit in units]
                # A GPU only takes note of work: a copy waits until it is done.
                found = torch.stack(answers).cpu()
                milliseconds = 1000 * (time.perf_counter() - start)
                found = found if mode == "reverse" else found.T
                torch.testing.assert_close(found, jacobian.cpu())
                results[name] |= {
                    mode: (len(answers), milliseconds),
                    "J": found,
                }
                print(f"   {mode} {len(answers):4} passes", end="")
                print(f" {milliseconds:6.1f} ms", end="")
            # Ready-made, and all passes at once, as one batch.
            for ready_made in (torch.func.jacrev, torch.func.jacfwd):
                torch.testing.assert_close(ready_made(f)(x), jacobian)
        print()
    return results


# %%
def a_derivative_can_be_differentiated(
    device: torch.device, figures: Path
) -> Tensor:
    """With `create_graph` the gradient has a graph of its own.

    y = tanh(x). By hand y' = 1 - y^2, y'' = -2 y y', y''' = (6 y^2 - 2) y'.
    Returns x, y and the three derivatives, (5, points).
    """
    x = (torch.arange(-150, 151, device=device) / 50).requires_grad_()
    y = x.tanh()
    curves = [y]
    for _ in range(3):
        # Each point acts on its own output alone, so the gradient of the sum
        # holds all the derivatives, point by point.
        (slope,) = torch.autograd.grad(curves[-1].sum(), x, create_graph=True)
        curves.append(slope)
    first = 1 - y**2
    by_hand = [first, -2 * y * first, (6 * y**2 - 2) * first]
    for slope, formula in zip(curves[1:], by_hand, strict=True):
        torch.testing.assert_close(slope, formula)

    # Without it the answer has no graph, and the second call fails.
    (slope,) = torch.autograd.grad(x.tanh().sum(), x)
    with caught(RuntimeError, "does not require grad"):
        torch.autograd.grad(slope.sum(), x)

    figure, panel = plt.subplots(figsize=(7, 4), layout="constrained")
    names = ("tanh(x)", "first derivative", "second", "third")
    curves = torch.stack([x, *curves]).detach()
    for name, curve in zip(names, curves[1:].tolist(), strict=True):
        panel.plot(curves[0].tolist(), curve, label=name)
        print(f"{name:16}  at 1: {curve[200]:7.4f}   at 2: {curve[250]:7.4f}")
    panel.set(title="A function and three derivatives of it", xlabel="x")
    panel.grid(alpha=0.3)
    panel.legend()
    save_figure(figure, "autograd_derivatives", figures)
    return curves


# %%
def curvature_needs_no_hessian(device: torch.device) -> dict[str, Tensor]:
    """A Hessian times a vector takes two backward passes, and no Hessian.

    g(w) = 2 w1 w2 + w2 cos(w1) at (pi, 1). By hand the gradient is
    (2 w2 - w2 sin(w1), 2 w1 + cos(w1)) = (2, 2 pi - 1), and the Hessian is
    [[-w2 cos(w1), 2 - sin(w1)], [2 - sin(w1), 0]] = [[1, 2], [2, 0]].
    Returns the gradient, the Hessian, and the Hessian times (3, -1).
    """

    def g(w: Tensor) -> Tensor:
        return 2 * w[0] * w[1] + w[1] * w[0].cos()

    w = torch.tensor([math.pi, 1.0], requires_grad=True, device=device)
    (gradient,) = torch.autograd.grad(g(w), w, create_graph=True)
    by_hand = torch.tensor([2, 2 * math.pi - 1], device=device)
    torch.testing.assert_close(gradient, by_hand)

    # The Hessian is the Jacobian of the gradient: one more backward a row.
    rows = [
        torch.autograd.grad(entry, w, retain_graph=True)[0]
        for entry in gradient
    ]
    hessian = torch.stack(rows)  # (2, 2)

    # H u is the gradient of the number gradient . u: H itself is never made.
    # With n weights H has n^2 entries; this needs n.
    u = torch.tensor([3.0, -1.0], device=device)
    (product,) = torch.autograd.grad(gradient @ u, w)
    torch.testing.assert_close(product, hessian @ u)

    # torch.func agrees: the whole Hessian, and the way the gradient changes
    # along u, which is forward mode over reverse mode.
    point = w.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, in 2.15
        whole = torch.func.hessian(g)(point)
        _, along = torch.func.jvp(torch.func.grad(g), (point,), (u,))
    torch.testing.assert_close(hessian, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(product, along, rtol=1e-5, atol=1e-6)
    gradient = gradient.detach()
    print("gradient     ({:.4f}, {:.4f})".format(*gradient.tolist()))
    for row, name in zip(hessian.tolist(), ("Hessian", ""), strict=True):
        print("{:12} ({:6.4f}, {:6.4f})".format(name, *row))
    print("H (3, -1)    ({:.4f}, {:.4f})".format(*product.tolist()))
    return {"gradient": gradient, "Hessian": hessian, "product": product}


# %%
def finite_differences_agree(figures: Path) -> dict[str, tuple]:
    """Differences confirm a gradient, if the step is neither large nor small.

    A forward difference (f(x + h) - f(x)) / h is wrong by about h |f''| / 2,
    a central one (f(x + h) - f(x - h)) / (2 h) by h^2 |f'''| / 6. On
    logarithmic axes these are lines of slope 1 and 2: truncation. But f is
    rounded, by about eps = 2e-16 of its size, and the division by h makes
    that eps / h, a line of slope -1. The best step is where both errors meet,
    near sqrt(eps) = 1.5e-8 and cbrt(eps) = 6e-6.
    Returns way -> the best step, its error, the slopes by rounding and by
    truncation, for f = sin on (0, 3). On the CPU, which always has float64.
    """
    x = torch.linspace(0, 3, 301, dtype=torch.float64, requires_grad=True)
    (truth,) = torch.autograd.grad(x.sin().sum(), x)
    # `gradcheck` is such a comparison, ready-made: central, with h = 1e-6.
    assert torch.autograd.gradcheck(torch.sin, x)

    figure, panel = plt.subplots(figsize=(7, 4.5), layout="constrained")
    steps = torch.logspace(-13, 0, 79, dtype=torch.float64)
    table = {}
    print("difference       best step   error   slopes: rounding  truncation")
    for name, order in (
        ("forward float64", 1),
        ("central float64", 2),
        ("central float32", 2),
    ):
        dtype = getattr(torch, name.split()[1])
        at, h = x.detach().to(dtype), steps[:, None].to(dtype)
        left = at - h if order == 2 else at
        slopes = ((at + h).sin() - left.sin()) / (order * h)  # (79, 301)
        error = (slopes - truth).square().mean(dim=1).sqrt()  # (79,)
        panel.loglog(steps.tolist(), error.tolist(), ".-", label=name)
        best = error.argmin()
        # Least squares through the logarithms, on both sides of the best step.
        # Farther left x + h is x in float32; farther right more terms matter.
        fits, near = [], steps / steps[best]
        for part in (
            (near > 1e-4) & (near < 0.1),
            (near > 10) & (steps < 0.3),
        ):
            run, rise = steps[part].log(), error[part].log()
            run = run - run.mean()
            fits.append(((run @ rise) / (run @ run)).item())
        assert abs(fits[0] + 1) < 0.2 and abs(fits[1] - order) < 0.05
        table[name] = steps[best].item(), error[best].item(), *fits
        line = "{:16} {:9.0e} {:7.0e} {:17.2f} {:11.2f}"
        print(line.format(name, *table[name]))
    # Text in the figure: what bends each line, and how steep it is.
    panel.text(1e-12, 3e-7, "rounding\nslope -1", ha="center")
    panel.text(2e-5, 2e-8, "truncation\nslope 1", ha="center")
    panel.text(3e-2, 3e-8, "truncation\nslope 2", ha="center")
    panel.set(xlabel="step h", ylabel="error (root mean square)")
    panel.set_title("Too large a step truncates, too small a step rounds")
    panel.legend(loc="lower left")
    save_figure(figure, "autograd_finite_differences", figures)
    return table


# %%
class Softplus(torch.autograd.Function):
    """log(1 + exp(x)) without overflow; its derivative is sigmoid(x)."""

    @staticmethod
    def forward(x):
        """Return log(1 + exp(x)), where exp sees no positive number."""
        return x.clamp(min=0) + (-x.abs()).exp().log1p()

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save what backward will need."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        """Return dloss/dx from dloss/doutput: the chain rule, one link."""
        (x,) = ctx.saved_tensors
        return gradient * x.sigmoid()


class WrongSoftplus(Softplus):
    """The same, with the mistake that everybody makes once."""

    @staticmethod
    def backward(ctx, gradient):
        """Forget the gradient that comes in."""
        (x,) = ctx.saved_tensors
        return x.sigmoid()


def a_custom_function_brings_its_own_backward() -> dict[str, tuple]:
    """`autograd.Function` replaces the recorded backward by a formula.

    softplus(x) = log(1 + exp(x)) overflows at x = 100 in float32, and its
    recorded backward is inf / inf. The formula dy/dx = sigmoid(x) is exact.
    Returns name -> (value, gradient) at x = 100; both checks of the formula;
    and the gradient of y^2 / 2 at x = 0, wrong and right.
    On the CPU, because the checks want float64.
    """
    results = {}
    for name, softplus in {
        "recorded": lambda x: (1 + x.exp()).log(),
        "formula": Softplus.apply,
    }.items():
        x = torch.tensor(100.0, requires_grad=True)
        y = softplus(x)
        y.backward()
        results[name] = y.item(), x.grad.item()
        print(
            "{:9} value {:5.1f}, gradient {:.1f}".format(name, *results[name])
        )
    assert results["formula"] == (100, 1)

    # gradcheck compares with central differences; gradgradcheck does so for
    # the backward of backward, which is recorded since it is made of tensors.
    x = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
    results["checks"] = (
        torch.autograd.gradcheck(Softplus.apply, x),
        torch.autograd.gradgradcheck(Softplus.apply, x),
    )
    print("gradcheck {}, gradgradcheck {}".format(*results["checks"]))

    # y = softplus(0) = log 2: the gradient of y^2 / 2 is y sigmoid(0).
    gradients = []
    for function in (WrongSoftplus, Softplus):
        x = torch.zeros((), requires_grad=True)
        (function.apply(x) ** 2 / 2).backward()
        gradients.append(x.grad.item())
    wrong, right = gradients
    print(f"a later gradient: {wrong:.4f} without the chain, right {right:.4f}")
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with caught(RuntimeError, "backward not multiplied by grad_output"):
        torch.autograd.gradcheck(WrongSoftplus.apply, x)
    results["gradients"] = wrong, right
    assert math.isclose(right, math.log(2) / 2, rel_tol=1e-6)
    return results


# %%
def hooks_read_and_change_gradients(device: torch.device) -> dict[str, list]:
    """A hook sees a gradient as it flows by, and may replace it.

    w = (1, 2, 3), h = 2 w, loss = |h|^2 / 2, so dloss/dh = h = (2, 4, 6) and
    dloss/dw = 2 dloss/dh. What a hook on h returns flows on to w.
    Returns what was read at h, and the gradient of w for each hook.
    """
    seen, grads = [], {}
    hooks = {
        "reads": lambda gradient: seen.append(gradient.tolist()),
        "halves": lambda gradient: gradient / 2,
        "clips to 5": lambda gradient: gradient.clamp(-5, 5),
        "turns around": torch.neg,
    }
    for name, hook in hooks.items():
        w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
        h = 2 * w
        handle = h.register_hook(hook)
        (h**2).sum().div(2).backward()  # here the hook is called
        handle.remove()  # a hook on a parameter would stay for good
        grads[name] = w.grad.tolist()
        print(f"hook on h {name:12} gradient of w {grads[name]}")
    print(f"what the first one read: {seen[0]}")
    assert seen == [[2, 4, 6]]
    assert grads == {
        "reads": [4, 8, 12],
        "halves": [2, 4, 6],
        "clips to 5": [4, 8, 10],
        "turns around": [-4, -8, -12],
    }

    # A hook that waits until `.grad` is filled can step at once and free it:
    # no two gradients of a network have to be in memory at the same time.
    def step(w: Tensor) -> None:
        w -= w.grad / 4  # hooks run without recording
        w.grad = None

    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
    w.register_post_accumulate_grad_hook(step)
    (2 * w).square().sum().div(2).backward()
    print(f"a step inside backward: w = {w.tolist()}, w.grad = {w.grad}")
    assert w.tolist() == [0, 0, 0] and w.grad is None
    return {"seen": seen[0], **grads, "stepped": w.tolist()}


# %%
def in_place_changes_are_counted(device: torch.device) -> dict[str, tuple]:
    """A tensor counts its changes; backward refuses a changed saved value.

    h = f(w), then h += 1. That harms only where backward needs h itself:
    exp, tanh and sqrt save their result, because their derivative is made of
    it (exp' = exp); sin saves its input; 2 w has the derivative 2.
    Returns name -> (what was saved, the version of h, whether backward ran).
    """
    functions = {
        "exp(w)": torch.exp,
        "tanh(w)": torch.tanh,
        "sqrt(w)": torch.sqrt,
        "sin(w)": torch.sin,
        "2 * w": lambda w: 2 * w,
    }
    table, places = {}, []

    def pack(tensor: Tensor) -> Tensor:
        places.append(tensor.data_ptr())
        return tensor.detach()

    print("h =      saved        version of h   backward after h += 1")
    for name, function in functions.items():
        w = torch.tensor([1.0, 4.0], requires_grad=True, device=device)
        # What is saved? Look first: a hook would hide the change from torch.
        places.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            h = function(w)
        known = {w.data_ptr(): "its input", h.data_ptr(): "its result"}
        saved = "".join(known[place] for place in places if place in known)

        h = function(w)
        assert h._version == 0
        h += 1  # the same memory, one version on
        try:
            h.sum().backward()
            ran = True
        except RuntimeError:
            ran = False
        assert ran == (saved != "its result")
        table[name] = saved or "neither", h._version, ran
        answer = "runs" if ran else "refuses"
        print("{:8} {:12} {:12}   ".format(name, *table[name]) + answer)

    h = w.exp()
    h += 1
    with caught(RuntimeError, "modified by an inplace operation"):
        h.sum().backward()
    h = w.exp()
    h = h + 1  # the way out: a new tensor, while the node of exp keeps its own
    w.grad = None
    h.sum().backward()
    torch.testing.assert_close(w.grad, w.detach().exp())
    return table


# %%
def anomaly_mode_names_the_culprit(device: torch.device) -> dict[str, object]:
    """A nan in a gradient is traced to the line of the forward pass.

    y = 0 sqrt(x) at x = 0: backward multiplies 0 by the slope of the square
    root, which is infinite there, and 0 * inf is nan.
    Returns the gradient without anomaly mode, and the function and operation
    that anomaly mode names. It is slow: for finding a fault, not for training.
    """
    x = torch.zeros((), requires_grad=True, device=device)
    root = x.sqrt()
    (0 * root).backward()
    silent = x.grad.item()
    print(f"as usual: no error, and the gradient is {silent}")

    with (
        warnings.catch_warnings(record=True) as reports,
        torch.autograd.set_detect_anomaly(True),
    ):
        warnings.simplefilter("always")
        y = 0 * x.sqrt()
        with caught(RuntimeError, "returned nan values"):
            y.backward()
    # The traceback of the forward pass comes as a warning; the last entry of
    # it is the line to look at.
    (text,) = [str(report.message) for report in reports]
    *_, (line, function) = re.findall(r"line (\d+), in (\w+)", text)
    operation = re.search(r"Error detected in (\w+)", text)[1]
    print(f"the culprit: {operation}, line {line} in {function}")
    assert math.isnan(silent)
    return {"silent": silent, "function": function, "operation": operation}


# %%
class Scalar:
    """A number that remembers how it was made: autograd in forty lines.

    `parents` are pairs: a number that this one was made from, and the
    derivative of this one with respect to it. `birth` counts from the first
    scalar ever made.
    """

    births = itertools.count()

    def __init__(self, value, parents=()):
        self.value, self.parents = value, parents
        self.grad, self.birth = 0.0, next(Scalar.births)

    @staticmethod
    def wrap(x):
        """Return x as a Scalar; a plain number becomes a leaf."""
        return x if isinstance(x, Scalar) else Scalar(x)

    def __add__(self, other):
        """d(x + y) = dx + dy."""
        x, y = self, Scalar.wrap(other)
        return Scalar(x.value + y.value, [(x, 1.0), (y, 1.0)])

    def __mul__(self, other):
        """d(x y) = y dx + x dy."""
        x, y = self, Scalar.wrap(other)
        return Scalar(x.value * y.value, [(x, y.value), (y, x.value)])

    def __pow__(self, n):
        """d(x^n) = n x^(n - 1) dx, for a plain number n."""
        return Scalar(self.value**n, [(self, n * self.value ** (n - 1))])

    # Any other function is like these two: its value, and its slope there.
    def exp(self):
        """d exp(x) = exp(x) dx."""
        y = math.exp(self.value)
        return Scalar(y, [(self, y)])

    def tanh(self):
        """d tanh(x) = (1 - tanh(x)^2) dx."""
        y = math.tanh(self.value)
        return Scalar(y, [(self, 1 - y * y)])

    # The rest is made of what is there, and so are its derivatives.
    def __sub__(self, other):
        """x - y = x + (-1) y."""
        return self + -1 * Scalar.wrap(other)

    def __rsub__(self, other):
        """y - x, for a plain number y."""
        return -1 * self + other

    def __truediv__(self, other):
        """x / y = x y^-1."""
        return self * Scalar.wrap(other) ** -1

    def __rtruediv__(self, other):
        """y / x, for a plain number y."""
        return self**-1 * other

    __radd__, __rmul__ = __add__, __mul__

    def backward(self):
        """Add the derivative of self to the `grad` of every leaf below it."""
        flow = {self: 1.0}  # node -> the derivative of self, as far as known
        while flow:
            # A node is younger than its parents. So whatever was made from
            # the youngest has passed its gradient on: its sum is complete.
            node = max(flow, key=lambda node: node.birth)
            gradient = flow.pop(node)
            if not node.parents:
                node.grad += gradient  # a leaf: accumulate
            for parent, slope in node.parents:  # the chain rule
                flow[parent] = flow.get(parent, 0.0) + slope * gradient


class ScalarNetwork:
    """Layers of tanh(w . x + b); a unit is its weights and then its bias."""

    def __init__(self, layers: list):
        self.layers = [
            [[Scalar(number) for number in unit] for unit in layer]
            for layer in layers
        ]
        units = itertools.chain(*self.layers)
        self.weights = list(itertools.chain(*units))

    def __call__(self, values: list) -> list:
        """Return the outputs of the last layer."""
        for layer in self.layers:
            inputs = [*values, 1.0]  # the bias is a weight whose input is 1
            values = [
                sum(w * x for w, x in zip(unit, inputs, strict=True)).tanh()
                for unit in layer
            ]
        return values


def forty_lines_are_an_autograd_engine(
    *, steps: int = 200, lr: float = 0.5
) -> dict[str, object]:
    """An engine for single numbers trains a network just as torch does.

    The network learns XOR, whether two inputs differ: 2 inputs, 3 units of
    tanh, 1 of tanh; the loss is the mean squared error over all four points.
    Returns the losses of every step and the last weights, by both engines.
    On the CPU in float64, which is the type of Python's own numbers.
    """
    a, b = Scalar(2.0), Scalar(1.0)
    e = (a + b) * (b + 1)  # the graph of the first section
    e.backward()
    print(f"e = (a + b) (b + 1): de/da = {a.grad}, de/db = {b.grad}")
    assert (e.value, a.grad, b.grad) == (6, 2, 5)

    # The same network twice, of modules and of single numbers.
    torch.manual_seed(0)
    points = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    targets = [-1.0, 1.0, 1.0, -1.0]
    x = torch.tensor(points, dtype=torch.float64)  # (4, 2)
    y = torch.tensor(targets, dtype=torch.float64)[:, None]  # (4, 1)
    linear = nn.Linear(2, 3).double(), nn.Linear(3, 1).double()
    network = nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh())

    def units() -> list:
        """Return the weights of torch as a `ScalarNetwork` wants them."""
        return [
            torch.cat([layer.weight, layer.bias[:, None]], dim=1).tolist()
            for layer in linear
        ]

    # Both start from the same weights.
    ours = ScalarNetwork(units())
    losses = {"torch": [], "ours": []}
    for _ in range(steps):
        loss = ((network(x) - y) ** 2).mean()
        losses["torch"].append(loss.item())
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= lr * parameter.grad

        # The same three moves with our own numbers: loss, gradients, step.
        outputs = [ours(point)[0] for point in points]
        pairs = zip(outputs, targets, strict=True)
        loss = sum((output - target) ** 2 for output, target in pairs) / 4
        losses["ours"].append(loss.value)
        loss.backward()
        for w in ours.weights:
            w.value, w.grad = w.value - lr * w.grad, 0.0

    by_torch = [
        number for layer in units() for unit in layer for number in unit
    ]
    by_us = [w.value for w in ours.weights]
    torch.testing.assert_close(by_us, by_torch)
    for name, (start, *_, end) in losses.items():
        print(f"{name:5}  loss {start:.6f} -> {end:.6f} in {steps} steps")
    gap = max(abs(u - t) for u, t in zip(by_us, by_torch, strict=True))
    print(f"largest difference among the {len(by_us)} weights: {gap:.0e}")
    for point, target in zip(points, targets, strict=True):
        print(f"{point} -> {ours(point)[0].value:6.3f}, target {target:4.1f}")
    return {**losses, "by us": by_us, "by torch": by_torch}


# %%
def vmap_gives_each_sample_its_gradient(device: torch.device) -> dict:
    """`vmap(grad(loss))` has one gradient a sample, without a loop.

    y = 2 x on six points, the last label wrong by 10, one weight w = 1 and no
    bias. By hand the gradient of (w x - y)^2 is 2 (w x - y) x.
    Returns the gradients, (6,), by vmap and by a loop, and `.grad`.
    """
    x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0], [3.0], [1.0]]).to(device)
    y = 2 * x
    y[5] += 10
    model = nn.Linear(1, 1, bias=False, device=device)
    nn.init.ones_(model.weight)
    parameters = {k: p.detach() for k, p in model.named_parameters()}

    # torch.func differentiates functions of their arguments, so the weights
    # come in as one: `functional_call` runs the module with those given.
    def loss(parameters: dict, x: Tensor, y: Tensor) -> Tensor:
        output = torch.func.functional_call(model, parameters, (x,))
        return ((output - y) ** 2).sum()

    # The same parameters for all (None), the samples along dimension 0.
    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    by_vmap = per_sample(parameters, x, y)["weight"].flatten()  # (6,)

    by_loop = []
    for one_x, one_y in zip(x, y, strict=True):
        model.zero_grad()
        ((model(one_x) - one_y) ** 2).sum().backward()
        by_loop.append(model.weight.grad.item())
    torch.testing.assert_close(by_vmap.tolist(), by_loop)
    torch.testing.assert_close(by_vmap, (2 * (x - y) * x).flatten())

    # A training step sees the mean alone, and who pulled is lost in it.
    model.zero_grad()
    ((model(x) - y) ** 2).mean().backward()
    torch.testing.assert_close(by_vmap.mean(), model.weight.grad[0, 0])
    print("x        {}".format("".join(f"{v:7.0f}" for v in x.flatten())))
    print("y        {}".format("".join(f"{v:7.0f}" for v in y.flatten())))
    print("gradient {}".format("".join(f"{v:7.0f}" for v in by_vmap)))
    print(f"mean     {model.weight.grad.item():7.0f}, all that `.grad` shows")
    suspect = by_vmap.abs().argmax().item()
    print(f"the largest is that of x[{suspect}], whose label is wrong")
    assert suspect == 5
    return {"vmap": by_vmap, "loop": by_loop, "grad": model.weight.grad}


# %%
def checkpoints_trade_time_for_memory(
    device: torch.device, *, blocks: int = 8, layers: int = 3, size: int = 64
) -> dict[str, dict]:
    """A checkpointed block saves only its input, and runs a second time.

    A block is `layers` times a Linear, which saves its input, and a tanh,
    which saves its output: the input of the next. Over all blocks these are
    layers * blocks + 1 tensors of (size, size), or `blocks` with checkpoints.
    Returns "plain" and "checkpointed" -> bytes, runs of a block, gradients.
    """
    torch.manual_seed(0)

    def block() -> nn.Sequential:
        pairs = [(nn.Linear(size, size), nn.Tanh()) for _ in range(layers)]
        return nn.Sequential(*itertools.chain(*pairs))

    model = nn.ModuleList(block() for _ in range(blocks)).to(device)
    x = torch.randn(size, size).to(device)
    weights = {parameter.data_ptr() for parameter in model.parameters()}
    saved, runs, results = {}, [], {}

    # Counted by address: weights are in memory anyway, and what two nodes
    # save is there only once.
    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    # A plain block runs in forward; a checkpointed one in backward again.
    def run_block(block: nn.Module, h: Tensor) -> Tensor:
        runs.append(block)
        return block(h)

    for name in ("plain", "checkpointed"):
        saved.clear()
        runs.clear()
        h = x
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            for block in model:
                if name == "plain":
                    h = run_block(block, h)
                else:
                    h = checkpoint(run_block, block, h, use_reentrant=False)
        model.zero_grad()
        h.sum().backward()
        results[name] = {
            "bytes": sum(saved.values()),
            "runs": len(runs),
            "gradients": [p.grad.clone() for p in model.parameters()],
        }
        print(f"{name:12} {sum(saved.values()):9,} bytes saved, ", end="")
        print(f"{len(runs):3} runs of a block")
    plain, checked = results.values()
    assert plain["bytes"] == (layers * blocks + 1) * 4 * size**2
    assert checked["bytes"] == blocks * 4 * size**2
    assert (plain["runs"], checked["runs"]) == (blocks, 2 * blocks)
    torch.testing.assert_close(plain["gradients"], checked["gradients"])
    print(f"the gradients of all {len(weights)} parameters are equal")
    return results


# %%
def small_gradients_vanish_in_float16(device: torch.device) -> dict:
    """In float16 a gradient of 1e-8 is 0; a scaled loss brings it back.

    The smallest float16 is 2^-24 = 6e-8, the largest 65504; bfloat16 reaches
    as far as float32, with fewer digits. A loss times s has gradients times
    s, which are divided by s where they have arrived, in float32.
    Returns (type, s) -> the gradient that arrives.
    """
    small, gradients = 1e-8, {}
    for dtype, scale in (
        (torch.float32, 1.0),
        (torch.bfloat16, 1.0),
        (torch.float16, 1.0),
        (torch.float16, 2.0**16),
        (torch.float16, 2.0**44),
    ):
        w = torch.ones((), requires_grad=True, device=device)
        # Backward runs in the types of forward: on its way from the loss to
        # w the gradient is, for one moment, a `dtype`.
        loss = small * w.to(dtype).float()
        (loss * scale).backward()
        gradients[dtype, scale] = (w.grad / scale).item()
        name = str(dtype).removeprefix("torch.")
        power = f"2^{math.log2(scale):.0f}"
        print(f"{name:8}  loss times {power:4}  gradient / {power:4}  ", end="")
        print(f"{gradients[dtype, scale]:.3e}")
    assert gradients[torch.float16, 1.0] == 0
    assert gradients[torch.float16, 2.0**44] == math.inf  # too much of it
    # The others are right to the digits they have: 8 bits, and 11 bits.
    for key, bits in (
        ((torch.float32, 1.0), 24),
        ((torch.bfloat16, 1.0), 8),
        ((torch.float16, 2.0**16), 11),
    ):
        assert math.isclose(gradients[key], small, rel_tol=2.0**-bits)
    return gradients


# %%
def a_scaler_finds_its_scale() -> dict[str, object]:
    """`GradScaler` halves its scale and skips the step until all is finite.

    The same small gradient, 1e-8, and a scale that overflows at first: 2^44.
    The good step, lr * gradient = 1e7 * 1e-8, moves w from 1 to 0.9.
    Returns the scales tried and the last w, by hand and by torch.
    On the CPU, where every machine can run it.
    """
    # By hand: a loss, a division, and a step or a smaller scale.
    lr, small, start = 1e7, 1e-8, 2.0**44
    scale, tried = start, {"by hand": [], "by torch": []}
    w = torch.ones((), requires_grad=True)
    while w == 1:
        w.grad = None
        (small * w.half().float() * scale).backward()
        tried["by hand"].append(scale)
        gradient = w.grad / scale
        if gradient.isfinite():
            with torch.no_grad():
                w -= lr * gradient
        else:
            scale /= 2
    ends = [w.item()]

    # In torch `step` divides, and skips; `update` halves. After 2000 good
    # steps it doubles: the scale follows the gradients of a training.
    w = torch.ones((), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr)
    scaler = torch.amp.GradScaler("cpu", init_scale=start)
    while w == 1:
        optimizer.zero_grad()
        scaler.scale(small * w.half().float()).backward()
        tried["by torch"].append(scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()
    ends.append(w.item())

    for (name, scales), end in zip(tried.items(), ends, strict=True):
        powers = ", ".join(f"2^{math.log2(scale):.0f}" for scale in scales)
        print(f"{name:8}  scales tried {powers}   then w = {end:.4f}")
    assert tried["by hand"] == tried["by torch"]
    torch.testing.assert_close(ends[0], ends[1])
    return {**tried, "w": ends}


# %%
def autocast_keeps_gradients_in_float32(
    device: torch.device, half: torch.dtype, *, amp: bool, steps: int = 100
) -> dict[str, object]:
    """Autocast computes in 16 bits; weights and gradients keep their 32.

    Under `autocast` a Linear computes with casts of its weight and its input;
    what wants precision, as the loss, is left in float32. `half` is the
    16-bit type of the device, `amp` is whether the training at the end uses it.
    Returns name -> type under autocast; the error of the 16-bit gradient,
    relative to its length; the losses of the training.
    """
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64).to(device)[:, None]  # (64, 1)
    y = x**2
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    model.to(device)
    # The same gradient twice, without autocast and with it.
    weights, gradients = list(model.parameters()), []
    for enabled in (False, True):
        with torch.autocast(device.type, half, enabled=enabled):
            output = model(x)
            loss = F.mse_loss(output, y)
        model.zero_grad()
        loss.backward()  # outside: backward takes the types of forward
        gradients.append(torch.cat([w.grad.flatten() for w in weights]))
    exact, rough = gradients
    norm = torch.linalg.vector_norm
    error = (norm(rough - exact) / norm(exact)).item()
    types = {
        "weight": weights[0].dtype,
        "output of a layer": output.dtype,
        "loss": loss.dtype,
        "gradient of a weight": weights[0].grad.dtype,
    }
    for name, dtype in types.items():
        print(f"{name:21} {str(dtype).removeprefix('torch.')}")
    print(f"the gradient differs from that of float32 by {error:.2%}")
    assert types["output of a layer"] == half
    assert types["weight"] == types["gradient of a weight"] == torch.float32
    assert 0 < error < 0.05

    # Training: autocast around forward and loss; a scaler for float16 alone.
    scaled = amp and half == torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)
    optimizer = torch.optim.Adam(weights, lr=0.02)
    losses = []
    for _ in range(steps):
        with torch.autocast(device.type, half, enabled=amp):
            loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    used = str(half if amp else torch.float32).removeprefix("torch.")
    print(f"trained in {used}: loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    assert losses[-1] < losses[0] / 10
    return {**types, "error": error, "losses": losses}


# %%
def mistakes_that_cut_the_graph(device: torch.device) -> dict[str, tuple]:
    """Cut anywhere, backward stops there: with an error, or without.

    Returns silent mistake -> (wrong number, right number).
    """
    x = torch.tensor([1.0, 2.0], device=device)
    w = torch.tensor([0.3, 1.7], requires_grad=True, device=device)
    with caught(RuntimeError, "does not require grad"):
        (w.detach() * x).sum().backward()  # likewise after .item(), no_grad()
    (w * x).sum().backward()
    assert torch.equal(w.grad, x)

    # The loss does not depend on x: say that None is a welcome answer.
    with caught(RuntimeError, "to not have been used in the graph"):
        torch.autograd.grad(w.sum(), (w, x.requires_grad_()))
    answers = torch.autograd.grad(w.sum(), (w, x), allow_unused=True)
    assert answers[0].tolist() == [1, 1] and answers[1] is None
    x.requires_grad_(False)

    # The error is silenced, but the graph is cut still: no weight learns.
    learning = []
    for cut in (True, False):
        layer = nn.Linear(2, 1, device=device)
        output = layer(x).detach() if cut else layer(x)
        loss = output.square().sum()
        if cut:
            loss.requires_grad_()
        loss.backward()
        learning.append(sum(p.grad is not None for p in layer.parameters()))

    # torch.tensor copies numbers and knows no history; torch.stack keeps it.
    slopes = []
    for stack in (False, True):
        a, b = (torch.ones((), requires_grad=True) for _ in range(2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of torch warn
            pair = torch.stack([a, b]) if stack else torch.tensor([a, b])
        (a + (pair**2).sum()).backward()  # by hand: 1 + 2 a = 3
        slopes.append(a.grad.item())

    # round is flat, so its slope is 0. Straight through: round going forward,
    # do nothing going backward, which makes it 2 (round(0.3) - 5) = -10.
    rounded = []
    for straight in (False, True):
        w.grad = None
        whole = w + (w.round() - w).detach() if straight else w.round()
        ((whole - 5) ** 2).sum().backward()
        rounded.append(w.grad[0].item())

    silent = {
        "loss.requires_grad_(): weights learning": tuple(learning),
        "torch.tensor([a, b]): gradient of a": tuple(slopes),
        "round(w): gradient of w": tuple(rounded),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:41} {wrong:5.1f}   right {right:5.1f}")
        assert wrong != right
    return silent


# %%
def mistakes_in_changing_weights(device: torch.device) -> dict[str, tuple]:
    """A weight is changed under `no_grad`, in place, and stays a leaf.

    Returns silent mistake -> (wrong number, right number).
    """
    w = torch.ones(3, requires_grad=True, device=device)
    (w**2).sum().backward()
    with caught(RuntimeError, "a leaf Variable that requires grad"):
        w -= 0.1 * w.grad
    with caught(RuntimeError, "a view of a leaf Variable"):
        w[0] = 0.5
    with caught(TypeError, "'float' and 'NoneType'"):
        moved = w.detach().requires_grad_()
        for _ in range(2):  # the first round makes it the result of a minus
            (moved**2).sum().backward()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # .grad of it: None, warned of
                moved = moved - 0.1 * moved.grad
    with torch.no_grad():  # right, for all three
        w -= 0.1 * w.grad
        w[0] = 0.5
    assert w.is_leaf
    torch.testing.assert_close(w.tolist(), [0.5, 0.8, 0.8])

    with caught(RuntimeError, "change requires_grad flags of leaf"):
        (2 * w).requires_grad = False
    assert not (2 * w).detach().requires_grad

    # `.data` hides a change even from the version counter, so backward runs
    # on a wrong value. A clone is free to change.
    hidden = []
    for hide in (True, False):
        w = torch.tensor(2.0, requires_grad=True, device=device)
        h = w.exp()
        (h.data if hide else h.detach().clone()).zero_()
        assert h._version == 0
        h.backward()
        hidden.append(w.grad.item())

    # Frozen too late: an optimizer steps wherever `.grad` is filled.
    moved = []
    for cleared in (False, True):
        w = torch.ones((), requires_grad=True, device=device)
        optimizer = torch.optim.SGD([w], lr=0.1)
        (w**2).backward()
        w.requires_grad_(False)
        if cleared:
            w.grad = None
        optimizer.step()
        moved.append(w.item())

    silent = {
        "h.data.zero_(): gradient of exp at 2": tuple(hidden),
        "frozen, but .grad kept: w after a step": tuple(moved),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:41} {wrong:5.1f}   right {right:5.1f}")
        assert wrong != right
    return silent


# %%
def mistakes_in_keeping_tensors(device: torch.device) -> dict[str, tuple]:
    """To keep the value of a tensor, detach it and clone it.

    Returns silent mistake -> (wrong number, right number).
    """
    w = torch.zeros(3, requires_grad=True, device=device)
    with caught(RuntimeError, "Only Tensors created explicitly by the user"):
        copy.deepcopy(2 * w)
    assert torch.equal(copy.deepcopy((2 * w).detach()), torch.zeros_like(w))

    # detach() and a slice are windows on the weight: they see it change, and
    # what is written into them is written into the weight.
    before, wiped = [], []
    for cloned in (False, True):
        w = torch.zeros(3, requires_grad=True, device=device)
        kept = w.detach().clone() if cloned else w.detach()
        with torch.no_grad():
            w += 1  # a training step
        before.append(kept[0].item())
        first = w.detach()[:1].clone() if cloned else w.detach()[:1]
        first.zero_()  # only for a plot, it was thought
        wiped.append(w.sum().item())

    # A sum of losses holds the graph of each; a sum of numbers holds nothing.
    held = []
    for detached in (False, True):
        total = torch.zeros((), device=device)
        for _ in range(5):
            loss = (w**2).mean()
            total = total + (loss.detach() if detached else loss)
        nodes, waiting = set(), [total.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is not None:
                nodes.add(node)
                waiting += [source for source, _ in node.next_functions]
        held.append(len(nodes))  # 5 times square, mean and sum, and one leaf

    silent = {
        "before = w.detach(): its value later": tuple(before),
        "w.detach()[:1].zero_(): sum of w": tuple(wiped),
        "total += loss, 5 times: nodes held": tuple(held),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:41} {wrong:5.1f}   right {right:5.1f}")
        assert wrong != right
    return silent


# %%
def mistakes_in_collecting_gradients(device: torch.device) -> dict[str, tuple]:
    """`.grad` is None, too much, or nan: three ways to misread it.

    Returns silent mistake -> (wrong number, right number).
    """
    with caught(RuntimeError, "Only Tensors of floating point"):
        torch.tensor([1, 2, 3], requires_grad=True, device=device)
    w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
    with caught(RuntimeError, "only for scalar outputs"):
        (w**2).backward()
    with caught(AttributeError, "'NoneType' object has no attribute 'zero_'"):
        w.grad.zero_()  # before the first backward
    with caught(UserWarning, "not a leaf Tensor is being accessed"):
        scaled = torch.ones(3, requires_grad=True).to(torch.float64) / 10
        scaled.sum().backward()
        print(scaled.grad)  # None: the leaf is the tensor of ones
    w.grad = None  # right at any time
    (w**2).sum().backward()
    assert torch.equal(w.grad, 2 * w)
    scaled = (torch.ones(3) / 10).requires_grad_()  # the leaf comes last
    scaled.sum().backward()
    assert scaled.grad.tolist() == [1, 1, 1]

    added = []
    for cleared in (False, True):
        w = torch.ones((), requires_grad=True, device=device)
        for _ in range(3):
            if cleared:
                w.grad = None
            (w**2).backward()
        added.append(w.grad.item())

    # `where` drops a value, but backward goes through both branches, and at 0
    # the slope of the root is infinite: 0 * inf. So feed it a harmless 1.
    picked = []
    for harmless in (False, True):
        x = torch.tensor([0.0, 4.0], requires_grad=True, device=device)
        inside = torch.where(x > 0, x, 1.0) if harmless else x
        torch.where(x > 0, inside.sqrt(), 0.0).sum().backward()
        picked.append(x.grad[0].item())

    silent = {
        "not cleared: gradient of w^2 in round 3": tuple(added),
        "where(x > 0, sqrt(x), 0): slope at 0": tuple(picked),
    }
    for name, (wrong, right) in silent.items():
        print(f"{name:41} {wrong:5.1f}   right {right:5.1f}")
        assert wrong != right
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
    chapters = {
        "Backward": {
            forward_records_a_graph: {"device": device},
            backward_is_three_steps: {"device": device},
            leaves_keep_their_gradients: {"device": device},
            gradients_add_up_until_cleared: {"device": device},
        },
        "Switches and graphs": {
            switches_stop_the_recording: {"device": device},
            frozen_layers_stay_put: {"device": device},
            each_run_records_its_own_branch: {"device": device},
            at_a_kink_torch_chooses_one_slope: {"device": device},
            a_second_backward_needs_the_graph: {"device": device},
        },
        "Beyond gradients": {
            backward_multiplies_by_the_jacobian: {"device": device},
            tall_jacobians_want_forward_mode: {"device": device},
            a_derivative_can_be_differentiated: {
                "device": device,
                "figures": figures,
            },
            curvature_needs_no_hessian: {"device": device},
        },
        "Checking": {
            finite_differences_agree: {"figures": figures},
            a_custom_function_brings_its_own_backward: {},
            hooks_read_and_change_gradients: {"device": device},
            in_place_changes_are_counted: {"device": device},
            anomaly_mode_names_the_culprit: {"device": device},
            forty_lines_are_an_autograd_engine: {"steps": 40 if tiny else 200},
        },
        "Samples and memory": {
            vmap_gives_each_sample_its_gradient: {"device": device},
            checkpoints_trade_time_for_memory: {
                "device": device,
                "blocks": 4 if tiny else 8,
            },
        },
        "16 bits": {
            small_gradients_vanish_in_float16: {"device": device},
            a_scaler_finds_its_scale: {},
            autocast_keeps_gradients_in_float32: {
                "device": device,
                "half": amp_dtype(device),
                "amp": args.amp,
            },
        },
        "Mistakes": {
            mistakes_that_cut_the_graph: {"device": device},
            mistakes_in_changing_weights: {"device": device},
            mistakes_in_keeping_tensors: {"device": device},
            mistakes_in_collecting_gradients: {"device": device},
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
