# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""PyTorch, the whole tour: from the first tensor to mixed precision.

Run      python start_Pytorch.py      (no download, any device, 15 s)
Read     README.md, "The tour"
Symbols  x input, y output or target, w weight, b bias, n number of points,
         f and g functions; a, b, c, d, e the nodes of a graph;
         i, j, k positions along the axes of a tensor
"""

import argparse
import contextlib
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

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


# %%
def tensors_compute_what_numpy_computes() -> dict[str, tuple]:
    """Tensors beside NumPy: the same numbers, and `axis` is called `dim`.

    On a matrix of shape (2, 3) whose rows have the lengths 3 and 6.
    Returns name -> (NumPy's answer, torch's answer).
    """
    array = np.array([[1, 2, 2], [4, 4, 2]], dtype=np.float32)
    tensor = torch.tensor([[1.0, 2.0, 2.0], [4.0, 4.0, 2.0]])
    # Both ways across; the next section says who shares memory with whom.
    assert torch.equal(torch.from_numpy(array), tensor)
    assert np.array_equal(tensor.numpy(), array)

    pairs = {
        "arange(0, 6, 2)": (np.arange(0, 6, 2), torch.arange(0, 6, 2)),
        "2 * x + 1": (2 * array + 1, 2 * tensor + 1),
        "x @ x.T": (array @ array.T, tensor @ tensor.T),
        "norm of all": (np.linalg.norm(array), torch.linalg.norm(tensor)),
        "norm of rows": (
            np.linalg.norm(array, axis=1),
            torch.linalg.norm(tensor, dim=1),
        ),
        # The axis that is named is the one that disappears.
        "mean, dim 0": (array.mean(axis=0), tensor.mean(dim=0)),
        "mean, dim 1": (array.mean(axis=1), tensor.mean(dim=1)),
    }
    for name, (by_numpy, by_torch) in pairs.items():
        assert np.allclose(by_numpy, by_torch.numpy()), name
        shape = str(tuple(by_torch.shape))
        rounded = np.round(by_torch.double().numpy(), 2).tolist()
        print(f"{name:16} shape {shape:7} {rounded}")
    # sqrt(1 + 4 + 4) and sqrt(16 + 16 + 4)
    assert pairs["norm of rows"][1].tolist() == [3, 6]
    return pairs


# %%
def numpy_memory_is_shared_or_copied() -> dict[str, bool]:
    """`from_numpy` and `numpy()` share memory, `torch.tensor` copies.

    The proof is a change on one side, and a look at the other.
    Returns call -> whether the change was seen.
    """
    array = np.zeros(3, dtype=np.float32)
    from_array = {
        "torch.from_numpy(array)": torch.from_numpy(array),
        "torch.as_tensor(array)": torch.as_tensor(array),
        "torch.tensor(array)": torch.tensor(array),
        "torch.from_numpy(array).clone()": torch.from_numpy(array).clone(),
        # Another type needs other bytes, so sharing is impossible.
        "torch.as_tensor(array, dtype=int32)": torch.as_tensor(
            array, dtype=torch.int32
        ),
    }
    array[0] = 7
    seen = {call: copy[0].item() == 7 for call, copy in from_array.items()}

    tensor = torch.zeros(3)
    from_tensor = {
        "tensor.numpy()": tensor.numpy(),
        "tensor.numpy().copy()": tensor.numpy().copy(),
        "np.array(tensor.tolist())": np.array(tensor.tolist()),
    }
    tensor[0] = 7
    seen |= {call: bool(copy[0] == 7) for call, copy in from_tensor.items()}

    for call, shared in seen.items():
        print(f"{call:36} {'shares' if shared else 'copies'}")
    assert list(seen.values()) == [1, 1, 0, 0, 0, 1, 0, 0]
    return seen


# %%
def types_are_promoted_by_kind_first() -> dict[str, torch.dtype]:
    """Types: a float beats any integer; among equals the wider one wins.

    The kinds are bool, integer, float, complex. A Python number has a kind
    but no width. Returns expression -> type of its result.
    """
    byte = torch.tensor([200], dtype=torch.uint8)
    whole = torch.tensor([3])  # int64, what Python's int becomes
    single = torch.tensor([0.5])  # float32, what Python's float becomes
    half, brain = single.half(), single.bfloat16()
    results = {
        "int64 + float32": whole + single,  # NumPy would widen to float64
        "int64 + float16": whole + half,
        "float16 + 2.0": half + 2.0,  # a number does not widen a tensor
        "int64 + 2.0": whole + 2.0,  # but it may bring another kind
        "int64 / int64": whole / whole,
        "int64 // int64": whole // whole,
        "uint8 + uint8": byte + byte,  # stays a byte: 400 - 256 = 144
        "uint8 + int64": byte + whole,
        "float16 + bfloat16": half + brain,  # neither holds the other
        "float32 > 0": single > 0,
    }
    for expression, result in results.items():
        name = str(result.dtype).removeprefix("torch.")
        print(f"{expression:20} {name:9} {result.item()}")
    types = {name: result.dtype for name, result in results.items()}

    # torch tells the rule for any two tensors. One without dimensions does not
    # widen a tensor of its kind; if its kind is higher, its width counts.
    zero_dim = torch.tensor(1)  # int64, shape ()
    for left, right in ((whole, single), (half, brain), (byte, zero_dim)):
        assert (left + right).dtype == torch.result_type(left, right)
    assert (byte + zero_dim).dtype == torch.uint8
    double = torch.tensor(0.5, dtype=torch.float64)  # shape ()
    assert (single + double).dtype == torch.float32  # the same kind
    assert (whole + double).dtype == torch.float64  # a higher kind
    assert types["uint8 + int64"] == torch.int64  # the wider one
    assert types["int64 + float16"] == torch.float16
    assert types["float16 + bfloat16"] == torch.float32
    assert types["float16 + 2.0"] == torch.float16
    assert types["int64 + 2.0"] == types["int64 / int64"] == torch.float32
    assert results["uint8 + uint8"].item() == 144
    assert types["int64 + float32"] == torch.float32
    assert np.result_type(np.int64, np.float32) == np.float64
    return types


# %%
def view_cuts_anew_and_permute_turns() -> dict[str, tuple]:
    """`view` cuts the same row of numbers anew, `permute` turns the axes.

    All numbers of a tensor lie in one row; number (i, j, ...) stands at
    i * stride[0] + j * stride[1] + ... Returns name -> (shape, strides).
    """
    images = torch.zeros(10_000, 3, 28, 28, dtype=torch.uint8)
    tensors = {
        "images": images,
        "view(10_000, -1)": images.view(10_000, -1),  # 3 * 28 * 28 = 2352
        "view(-1, 784)": images.view(-1, 784),
        "permute(0, 2, 3, 1)": images.permute(0, 2, 3, 1),
    }
    table = {}
    for name, tensor in tensors.items():
        table[name] = tuple(tensor.shape), tensor.stride()
        print(f"{name:20} shape {str(table[name][0]):19}", end="")
        print(f" strides {table[name][1]}")
        assert tensor.data_ptr() == images.data_ptr()  # not one number moved
    with caught(RuntimeError, "only one dimension can be inferred"):
        images.view(-1, -1)  # two unknowns, one equation

    # Small enough to see: both are (3, 2), only permute is the transpose.
    grid = torch.tensor([[0, 1, 2], [3, 4, 5]])
    cut, turned = grid.view(3, 2), grid.permute(1, 0)
    print(f"{grid.tolist()} view {cut.tolist()}")
    print(f"{'':22} permute {turned.tolist()}")
    for i in range(3):
        for j in range(2):
            place = i * turned.stride(0) + j * turned.stride(1)
            assert turned[i, j] == grid.flatten()[place] == grid[j, i]

    # Turned, the numbers are out of order: view refuses, reshape copies.
    with caught(RuntimeError, "view size is not compatible"):
        turned.view(6)
    assert turned.reshape(6).tolist() == [0, 3, 1, 4, 2, 5]
    assert turned.reshape(6).data_ptr() != grid.data_ptr()
    assert cut.reshape(6).data_ptr() == grid.data_ptr()  # no need, no copy
    return table


# %%
def slices_share_and_lists_copy() -> dict[str, bool]:
    """Indexing with slices shares memory, with lists or masks it copies.

    Written to, every index reaches the tensor itself.
    Returns index -> whether a change of the tensor shows in the result.
    """
    grid = torch.arange(12).view(3, 4)
    parts = {
        "grid[1]": grid[1],
        "grid[:, 1:3]": grid[:, 1:3],
        "grid[..., ::2]": grid[..., ::2],
        "grid[None]": grid[None],  # (1, 3, 4)
        "grid[[1, 2]]": grid[[1, 2]],
        "grid[grid > 5]": grid[grid > 5],
        "grid[1:].clone()": grid[1:].clone(),
    }
    before = {index: part.clone() for index, part in parts.items()}
    grid += 100
    shared = {}
    for index, part in parts.items():
        shared[index] = not torch.equal(part, before[index])
        word = "shares" if shared[index] else "copies"
        print(f"{index:18} {str(tuple(part.shape)):10} {word}")
    assert list(shared.values()) == [True] * 4 + [False] * 3

    # On the left of = the same mask writes in place, without any copy.
    grid -= 100
    grid[grid > 5] = 0
    print(f"grid[grid > 5] = 0 leaves {grid.tolist()}")
    assert grid.sum() == 0 + 1 + 2 + 3 + 4 + 5
    return shared


# %%
def broadcasting_is_a_loop_that_nobody_writes() -> dict[str, Tensor]:
    """Broadcasting lines shapes up from the right; a 1 repeats for free.

    (5, 1, 4, 1) with (3, 1, 1) gives (5, 3, 4, 1): from the right, two sizes
    must be equal, or one of them 1 or absent.
    Returns the sum by broadcasting and by the loop.
    """
    x = torch.arange(20.0).view(5, 1, 4, 1)
    y = torch.tensor([100.0, 200.0, 300.0]).view(3, 1, 1)
    total = x + y

    looped = torch.empty(5, 3, 4, 1)
    for i in range(5):
        for j in range(3):
            for k in range(4):
                # Where the size is 1 the only index is 0; absent is 1.
                looped[i, j, k, 0] = x[i, 0, k, 0] + y[j, 0, 0]
    assert torch.equal(total, looped)
    for name, tensor in {"x": x, "y": y, "x + y": total}.items():
        sizes = "".join(f"{size:3}" for size in tensor.shape)
        print(f"{name:6}{sizes:>12}")

    # Nothing is repeated in memory: a repeated axis has stride 0.
    wide = y.expand(5, 3, 4, 1)
    print(f"y stretched to {tuple(wide.shape)}: strides {wide.stride()}")
    assert wide.stride() == (0, 1, 0, 1)
    assert torch.broadcast_shapes(x.shape, y.shape) == (5, 3, 4, 1)
    with caught(RuntimeError, "must match the size"):
        x + torch.ones(3, 2, 1)  # 4 against 2, and neither is 1
    return {"broadcast": total, "loop": looped}


# %%
def einsum_sums_the_letters_that_vanish() -> dict[str, Tensor]:
    """`einsum` names the axes; a letter that is not kept is summed over.

    "ij,jk->ik" is the sum over j of x[i, j] * y[j, k]: the matrix product.
    Returns formula -> result.
    """
    x = torch.arange(6.0).view(2, 3)
    y = torch.arange(12.0).view(3, 4)
    stack = torch.stack([x, x + 1])  # (2, 2, 3), two matrices
    square = y[:, :3]  # (3, 3)
    results = {
        "ij,jk->ik": torch.einsum("ij,jk->ik", x, y),
        "bij,jk->bik": torch.einsum("bij,jk->bik", stack, y),
        "ij->ji": torch.einsum("ij->ji", x),
        "ii->": torch.einsum("ii->", square),
        "i,j->ij": torch.einsum("i,j->ij", x[0], y[0]),
    }
    # The first of them as the three loops that it stands for.
    product = torch.zeros(2, 4)
    for i in range(2):
        for k in range(4):
            for j in range(3):
                product[i, k] += x[i, j] * y[j, k]
    by_name = {
        "matrix product": (product, x @ y),
        "one for each matrix of a stack": (stack[1] @ y, (stack @ y)[1]),
        "transpose": (x.T, x.permute(1, 0)),
        "trace": (square[0, 0] + square[1, 1] + square[2, 2], square.trace()),
        "outer product": (x[0][:, None] * y[0], torch.outer(x[0], y[0])),
    }
    for (formula, result), (name, (slow, fast)) in zip(
        results.items(), by_name.items(), strict=True
    ):
        last = result[1] if formula[:3] == "bij" else result
        assert torch.equal(last, slow) and torch.equal(last, fast)
        print(f"{formula:12} {name:31} {tuple(result.shape)}")
    return results


# %%
def selections_replace_loops(device: torch.device) -> dict[str, Tensor]:
    """Reductions, `where`, `gather`, `topk`, `cumsum`: one use for each.

    Scores of four classes (columns) for three samples (rows).
    Returns use -> answer; each equals the loop over the samples.
    """
    rows = [[1.0, 5.0, 2.0, 0.0], [0.0, 1.0, 3.0, 4.0], [2.0, 6.0, 1.0, 7.0]]
    scores = torch.tensor(rows, device=device)  # (3, 4)
    right = [1, 2, 0]
    labels = torch.tensor(right, device=device)
    best_two = scores.topk(2, dim=1).indices  # (3, 2)
    growing = scores[0].cumsum(dim=0)
    answers = {
        # sum, mean, amax, argmax: the named dim disappears.
        "argmax, the guess": scores.argmax(dim=1),
        "gather, score of the label": scores.gather(1, labels[:, None])[:, 0],
        "topk, label among best two": (best_two == labels[:, None]).any(dim=1),
        "where, scores below 2 made 0": torch.where(scores < 2, 0.0, scores)[0],
        # A sum from i to k is a difference of two running sums.
        "cumsum, sum of scores 1 to 2": growing[2] - growing[0],
    }
    # The same by sorting and picking, one row after the other.
    ranked = [sorted(range(4), key=row.__getitem__)[::-1] for row in rows]
    loops = {
        "argmax": [order[0] for order in ranked],
        "gather": [row[k] for row, k in zip(rows, right, strict=True)],
        "topk": [
            k in order[:2] for order, k in zip(ranked, right, strict=True)
        ],
        "where": [score if score >= 2 else 0 for score in rows[0]],
        "cumsum": rows[0][1] + rows[0][2],
    }
    for (use, answer), expected in zip(
        answers.items(), loops.values(), strict=True
    ):
        assert answer.tolist() == expected
        print(f"{use:30} {answer.tolist()}")
    return answers


# %%
def a_computation_graph_is_walked_backward() -> dict[str, float]:
    """Computation graph of e = (a + b)(b + 1): the values, then the slopes.

    c = a + b and d = b + 1, so e = c * d. By hand de/da = d, and b acts on
    both factors: de/db = d + c. Deeper: start_autograd.py.
    Returns name -> value, at a = 2 and b = 1.
    """
    a = torch.tensor(2.0, requires_grad=True)
    b = torch.tensor(1.0, requires_grad=True)
    c = a + b
    d = b + 1
    e = c * d
    e.backward()
    values = {"c": c, "d": d, "e": e, "de/da": a.grad, "de/db": b.grad}
    values = {name: tensor.item() for name, tensor in values.items()}

    # Forward, each result noted the operation that made it; backward walked
    # from e to c and d, and from there to a and b.
    made_by = {"c": c, "d": d, "e": e}
    for name, value in values.items():
        node = made_by[name].grad_fn.name() if name in made_by else ""
        print(f"{name:6} {value:3.0f}   {node}")
    walked = [node for node, _ in e.grad_fn.next_functions]
    assert walked == [c.grad_fn, d.grad_fn]
    assert values["de/da"] == values["d"] == 2
    assert values["de/db"] == values["d"] + values["c"] == 5
    return values


# %%
def autograd_finds_the_derivatives(device: torch.device) -> dict[str, list]:
    """Automatic differentiation finds the slope that the formula has.

    f(x) = (x - 2)**2 has f'(x) = 2 (x - 2), so f'(1) = -2.
    g(w) = 2 w1 w2 + w2 cos(w1) has the gradient
    (2 w2 - w2 sin(w1), 2 w1 + cos(w1)), at (pi, 1) that is (2, 2 pi - 1).
    Returns function -> gradient. Deeper: start_autograd.py.
    """
    x = torch.tensor(1.0, requires_grad=True, device=device)
    ((x - 2) ** 2).backward()  # the derivative arrives in x.grad
    w = torch.tensor([math.pi, 1.0], requires_grad=True, device=device)
    (2 * w[0] * w[1] + w[1] * w[0].cos()).backward()
    gradients = {"f": [x.grad.item()], "g": w.grad.tolist()}
    by_hand = {"f": [-2.0], "g": [2.0, 2 * math.pi - 1]}
    for name, gradient in gradients.items():
        found = ", ".join(f"{number:.4f}" for number in gradient)
        formula = ", ".join(f"{number:.4f}" for number in by_hand[name])
        print(f"gradient of {name}: autograd ({found}), formula ({formula})")
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-5, atol=0)
    return gradients


# %%
def gradient_descent_halves_the_distance(
    device: torch.device, *, steps: int = 12, lr: float = 0.25
) -> list[float]:
    """Gradient descent on f(x) = (x - 2)**2: each step halves x - 2.

    x - lr * 2 (x - 2) - 2 = (1 - 2 lr)(x - 2), so after n steps from x = 5 at
    lr = 0.25, x = 2 + 3 * 0.5**n. Returns x after each step.
    """
    x = torch.tensor(5.0, requires_grad=True, device=device)
    path = [x.item()]
    for _ in range(steps):
        f = (x - 2) ** 2
        f.backward()
        # Our own arithmetic on x is no part of f: it must not be recorded.
        with torch.no_grad():
            x -= lr * x.grad
        x.grad = None  # or the next backward adds to it
        path.append(x.item())

    for step in range(0, steps + 1, 3):
        gap = path[step] - 2
        print(f"step {step:2}   x = {path[step]:.6f}   f = {gap**2:.6f}")
    expected = [2 + 3 * (1 - 2 * lr) ** n for n in range(steps + 1)]
    torch.testing.assert_close(path, expected, rtol=1e-5, atol=1e-5)
    return path


# %%
def from_by_hand_to_by_library_the_loss_stays(
    device: torch.device, *, n: int = 50, steps: int = 30, lr: float = 0.1
) -> dict[str, tuple]:
    """Linear regression: one part replaced at a time, the loss unchanged.

    y = x w + noise with w = (-1, 2), x (n, 2). The gradient of the mean of
    (x w - y)**2 is 2 / n * x^T (x w - y).
    Returns stage -> (loss, w1, w2), all from w = 0 and after the same steps.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator)
    noise = 0.1 * torch.randn(n, generator=generator)
    y = x @ torch.tensor([-1.0, 2.0]) + noise
    x, y = x.to(device), y.to(device)

    def new_model() -> nn.Linear:
        """Return a layer whose two weights are 0."""
        model = nn.Linear(2, 1, bias=False, device=device)
        nn.init.zeros_(model.weight)
        return model

    w = torch.zeros(2, device=device)
    for _ in range(steps):  # 1. all by hand
        w = w - lr * 2 / n * x.T @ (x @ w - y)
    stages = {"by hand": w}

    w = torch.zeros(2, device=device, requires_grad=True)
    for _ in range(steps):  # 2. autograd finds the gradient
        ((x @ w - y) ** 2).mean().backward()
        with torch.no_grad():
            w -= lr * w.grad
        w.grad = None
    stages["autograd"] = w

    # From here on (n, 1) comes out, and [:, 0] makes it the (n,) of y.
    model = new_model()
    for _ in range(steps):  # 3. a layer holds w, a function is the loss
        F.mse_loss(model(x)[:, 0], y).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= lr * parameter.grad
        model.zero_grad()
    stages["nn.Linear"] = model.weight[0]

    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):  # 4. an optimizer updates
        optimizer.zero_grad()
        F.mse_loss(model(x)[:, 0], y).backward()
        optimizer.step()
    stages["torch.optim"] = model.weight[0]

    model = new_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loader = DataLoader(TensorDataset(x.cpu(), y.cpu()), batch_size=n)
    for _ in range(steps):  # 5. a loader hands out the points
        for batch_x, batch_y in loader:
            # Data stay on the CPU, a batch moves when it is used.
            batch_x, batch_y = batch_x.to(device), batch_y.to(device)
            optimizer.zero_grad()
            F.mse_loss(model(batch_x)[:, 0], batch_y).backward()
            optimizer.step()
    stages["DataLoader"] = model.weight[0]

    results = {}
    for stage, w in stages.items():
        torch.testing.assert_close(w.detach(), stages["by hand"])
        loss = F.mse_loss(x @ w, y).item()
        results[stage] = loss, *w.tolist()
        print(f"{stage:12} loss {loss:.6f}   w = ({w[0]:.4f}, {w[1]:.4f})")
    return results


# %%
def one_point_a_step_descends_too(
    *, n: int = 50, epochs: int = 20, lr: float = 0.05
) -> dict[str, list[float]]:
    """Stochastic descent: n steps from the gradients of one full step.

    A step on all points needs n gradients, a step on one point needs one, and
    on average that one is the mean of all. On the clock n steps are slower, as
    each waits for the one before. The line of least squares has the lowest loss
    there is. Returns way -> loss after each epoch of n gradients.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator)
    noise = 0.1 * torch.randn(n, generator=generator)
    y = x @ torch.tensor([-1.0, 2.0]) + noise
    lowest = F.mse_loss(x @ torch.linalg.lstsq(x, y[:, None]).solution[:, 0], y)

    losses = {}
    for way, batch_size in {"all points a step": n, "one a step": 1}.items():
        w = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=lr)
        # A new order each epoch, from a generator of its own.
        order = torch.Generator().manual_seed(0)
        loader = DataLoader(
            TensorDataset(x, y), batch_size, shuffle=True, generator=order
        )
        losses[way] = []
        for _ in range(epochs):
            for batch_x, batch_y in loader:
                optimizer.zero_grad()
                F.mse_loss(batch_x @ w, batch_y).backward()
                optimizer.step()
            losses[way].append(F.mse_loss(x @ w, y).item())
        after = [f"{losses[way][epoch - 1]:.4f}" for epoch in (1, 5, epochs)]
        print(f"{way:18} loss after epochs 1, 5, {epochs}:", *after)
    print(f"{'least squares':18} {lowest:.4f}, the lowest loss there is")

    slow, fast = losses.values()
    assert fast[0] < slow[0] / 10  # in the first epoch it is far ahead
    # In the end it still moves about, and stays a little above the lowest.
    assert lowest < fast[-1] < 2 * lowest
    return {**losses, "least squares": [lowest.item()]}


# %%
def modules_are_functions_with_parameters(
    device: torch.device,
) -> dict[str, Tensor]:
    """Common modules: `Linear` is x W^T + b, `Sequential` calls in turn.

    A network 3-4-2: W1 (4, 3), b1 (4), W2 (2, 4), b2 (2), 26 numbers.
    Returns its output by module and by hand. Deeper: start_buildnn.py.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model = model.to(device)  # a module moves its own parameters
    x = torch.tensor([[1.0, -2.0, 0.5]], device=device)  # (batch 1, 3)

    # In the order in which the layers were given; ReLU has none.
    weight1, bias1, weight2, bias2 = model.parameters()
    hidden = (x @ weight1.T + bias1).clamp(min=0)  # ReLU: nothing below 0
    by_hand = hidden @ weight2.T + bias2
    by_module = model(x)
    torch.testing.assert_close(by_module, by_hand)

    for name, parameter in model.named_parameters():
        print(f"{name:9} {str(tuple(parameter.shape)):7}", end="")
        print(f"{parameter.numel():3} numbers to learn")
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{'all':16}{count:3}")
    assert count == (3 * 4 + 4) + (4 * 2 + 2)
    print("by module", [round(v, 4) for v in by_module[0].tolist()])
    print("by hand  ", [round(v, 4) for v in by_hand[0].tolist()])
    return {"module": by_module.detach(), "hand": by_hand.detach()}


# %%
def activations_bend_the_line(
    device: torch.device, figures: Path
) -> dict[str, tuple[Tensor, Tensor]]:
    """Common functions: five activations, each slope as autograd finds it.

    With s = sigmoid(x), p the normal density and P its integral:
    tanh' = 1 - tanh^2, sigmoid' = s (1 - s), SiLU = x s, SiLU' = s + x s
    (1 - s), GELU = x P, GELU' = P + x p. Returns name -> (values, slopes).
    """
    x = (torch.arange(-80, 81, device=device) / 20).requires_grad_()
    s = 1 / (1 + (-x).exp())
    density = (-(x**2) / 2).exp() / math.sqrt(2 * math.pi)
    integral = (1 + torch.erf(x / math.sqrt(2))) / 2
    tanh = (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())
    activations = {
        "ReLU": (nn.ReLU(), x.clamp(min=0), (x > 0).float()),
        "Tanh": (nn.Tanh(), tanh, 1 - tanh**2),
        "Sigmoid": (nn.Sigmoid(), s, s * (1 - s)),
        "SiLU": (nn.SiLU(), x * s, s + x * s * (1 - s)),
        "GELU": (nn.GELU(), x * integral, integral + x * density),
    }
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.5), layout="constrained"
    )
    curves = {}
    print("           at -2     0      2    steepest")
    for name, (module, values, slopes) in activations.items():
        y = module(x)
        # Each y depends on its own x alone: the sum has all slopes at once.
        (slope,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(y, values, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(slope, slopes, rtol=1e-4, atol=1e-5)
        curves[name] = y.detach(), slope
        left.plot(x.tolist(), y.tolist(), label=name)
        right.plot(x.tolist(), slope.tolist(), label=name)
        shown = "".join(f"{y[place]:7.3f}" for place in (40, 80, 120))
        print(f"{name:8} {shown} {slope.max():9.3f}")
    left.set(title="activation", xlabel="x", ylim=(-1.2, 3))
    right.set(title="its derivative", xlabel="x")
    right.legend()
    save_figure(figure, "tour_activations", figures)
    return curves


# %%
def losses_punish_the_surely_wrong(
    device: torch.device,
) -> dict[str, tuple[float, float]]:
    """Common losses equal their formulas; sure and wrong costs most.

    Scores (z0, z1) of two classes, the truth is class 0: the cross-entropy
    -log(exp(z0) / (exp(z0) + exp(z1))) is log(1 + exp(z1 - z0)).
    Returns name -> (by torch, by formula). Deeper: start_optimizer.py.
    """
    answers = {
        "right": [1.0, 0.0],
        "surely right": [10.0, 0.0],
        "wrong": [0.0, 1.0],
        "surely wrong": [0.0, 10.0],
    }
    truth = torch.tensor([0], device=device)
    pairs = {}
    for name, scores in answers.items():
        logits = torch.tensor([scores], device=device)  # (batch 1, classes 2)
        loss = F.cross_entropy(logits, truth).item()
        formula = math.log1p(math.exp(scores[1] - scores[0]))
        pairs[name] = loss, formula
        print(f"cross-entropy, {name:13} scores {scores!s:12} {loss:8.5f}")

    # Guesses 1 and 5 where 0 was true: squares punish the far one more.
    guess = torch.tensor([1.0, 5.0], device=device)
    zero = torch.zeros(2, device=device)
    pairs["mean squared error"] = F.mse_loss(guess, zero).item(), (1 + 25) / 2
    pairs["mean absolute error"] = F.l1_loss(guess, zero).item(), (1 + 5) / 2
    # A square up to 1, a straight line beyond it.
    pairs["Huber"] = F.huber_loss(guess, zero).item(), (0.5 + 4.5) / 2
    for name in ("mean squared error", "mean absolute error", "Huber"):
        print(f"{name:20} guesses 1 and 5, truth 0    {pairs[name][0]:8.5f}")
    for loss, formula in pairs.values():
        # float32 near 1 has steps of 1e-7.
        assert math.isclose(loss, formula, rel_tol=1e-5, abs_tol=2e-7)
    assert max(answers, key=lambda name: pairs[name][0]) == "surely wrong"
    return pairs


# %%
class SquaresData(Dataset):
    """The arrays x and x**2, one pair at a time."""

    def __init__(self, n):
        self.x = np.arange(n, dtype=np.float32)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return one pair, each of shape (1,)."""
        x = torch.from_numpy(self.x[index : index + 1])
        return x, x**2


def a_loader_makes_batches_of_a_dataset(
    *, n: int = 10, workers: int = 0
) -> dict[str, list]:
    """Dataset says how many and which one; DataLoader makes batches.

    `workers` is the number of processes that fetch; 0 fetches right here.
    Returns loader -> its batches. Deeper: start_dataloader.py.
    """
    data = SquaresData(n)
    generator = torch.Generator().manual_seed(0)  # the order, and no more
    loaders = {
        "in order": DataLoader(data, batch_size=4),
        "whole batches": DataLoader(data, batch_size=4, drop_last=True),
        "shuffled": DataLoader(
            data, batch_size=4, shuffle=True, generator=generator
        ),
        # "spawn" starts a worker as a new Python, the same on every system;
        # a copy of this process, "fork", would miss the threads of torch.
        f"num_workers {workers}": DataLoader(
            data,
            batch_size=4,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        ),
    }
    batches = {}
    for name, loader in loaders.items():
        batches[name] = []
        for x, y in loader:
            batches[name].append(x[:, 0].int().tolist())
            assert torch.equal(y, x**2)  # input and target stay together
        print(f"{name:14}", *batches[name])
    # The same as slicing a list, and a shuffle loses nothing.
    sliced = [list(range(n))[start : start + 4] for start in range(0, n, 4)]
    assert batches["in order"] == batches[f"num_workers {workers}"] == sliced
    assert sorted(sum(batches["shuffled"], [])) == list(range(n))
    assert batches["shuffled"] != sliced
    return batches


# %%
def momentum_and_adam_win_the_race(
    device: torch.device,
    figures: Path,
    *,
    target: float = 0.1,
    limit: int = 2000,
) -> dict[str, tuple[int, float]]:
    """Two hidden layers of tanh learn 4 sin(pi x) cos(6 pi x^2): a race.

    200 points, a 1-32-32-1 network, the whole data in every step. Who gets
    the mean squared error below `target` first? SGD and momentum share a
    learning rate. Returns optimizer -> (steps taken, loss at the end).
    Deeper: start_optimizer.py.
    """
    x = torch.linspace(0, 1, 200, device=device)[:, None]  # (200, 1)
    y = 4 * (math.pi * x).sin() * (6 * math.pi * x**2).cos()
    optim = torch.optim
    # The same rate for both, so that momentum is all that differs.
    racers = {
        "SGD": (optim.SGD, {"lr": 0.04}),
        "momentum": (optim.SGD, {"lr": 0.04, "momentum": 0.9}),
        "Adam": (optim.Adam, {"lr": 0.01}),
    }
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 3.8), layout="constrained"
    )
    left.plot(x[:, 0].tolist(), y[:, 0].tolist(), "k.", markersize=3)
    # To learn nothing, and answer 0 everywhere, costs the mean of y**2.
    print(f"wanted: loss {target:.3f}; always 0 has {(y**2).mean():.3f}")
    results = {}
    for name, (optimizer_class, options) in racers.items():
        # All three start from the same weights.
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(1, 32),
            nn.Tanh(),
            nn.Linear(32, 32),
            nn.Tanh(),
            nn.Linear(32, 1),  # no tanh behind it: y leaves -1..1
        ).to(device)
        optimizer = optimizer_class(model.parameters(), **options)
        losses = [math.inf]
        while losses[-1] > target and len(losses) <= limit:
            guess = model(x)
            loss = F.mse_loss(guess, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        results[name] = len(losses) - 1, losses[-1]
        print(f"{name:9} {results[name][0]:5} steps, loss {losses[-1]:.3f}")
        line = left.plot(x[:, 0].tolist(), guess[:, 0].tolist(), label=name)[0]
        right.semilogy(losses[1:], color=line.get_color(), label=name)

    left.set(title="the fit at the end of each race", xlabel="x", ylabel="y")
    right.axhline(target, color="gray", linestyle=":")
    right.set(title="loss", xlabel="step")
    right.legend()
    save_figure(figure, "tour_race", figures)
    assert results["Adam"][0] < results["momentum"][0] < results["SGD"][0]
    assert results["momentum"][1] <= target
    return results


# %%
def schedulers_come_to_rest(
    *, n: int = 50, epochs: int = 20, lr: float = 0.2
) -> dict[str, tuple[float, float]]:
    """Learning-rate schedulers let the noise of single points die down.

    One point a step at a constant rate keeps jumping about the least squares;
    with a rate that falls, w ends less than a quarter as far away. Returns
    schedule -> (rate after the last epoch, distance of w from least squares).
    Deeper: start_optimizer.py.
    """
    schedules = torch.optim.lr_scheduler
    constructors = {
        "constant": (schedules.ConstantLR, {"factor": 1.0}),
        "halved each 4": (schedules.StepLR, {"step_size": 4, "gamma": 0.5}),
        "times 0.8": (schedules.ExponentialLR, {"gamma": 0.8}),
        "half a cosine": (schedules.CosineAnnealingLR, {"T_max": epochs}),
    }
    # What the formulas say after all epochs.
    formulas = [lr, lr * 0.5 ** (epochs // 4), lr * 0.8**epochs, 0.0]
    results = {}
    print(f"after {epochs} epochs, w and the w of least squares:")
    for (name, (schedule_class, options)), formula in zip(
        constructors.items(), formulas, strict=True
    ):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(n, 2, generator=generator)
        y = x @ torch.tensor([-1.0, 2.0])
        y += 0.5 * torch.randn(n, generator=generator)  # noise
        best = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]

        w = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=lr)
        schedule = schedule_class(optimizer, **options)
        for _ in range(epochs):
            for point in torch.randperm(n, generator=generator):
                optimizer.zero_grad()
                ((x[point] @ w - y[point]) ** 2).backward()
                optimizer.step()
            schedule.step()  # once an epoch, after the optimizer
        last = schedule.get_last_lr()[0]
        assert math.isclose(last, formula, rel_tol=1e-6, abs_tol=1e-9)
        distance = torch.linalg.vector_norm(w.detach() - best).item()
        results[name] = last, distance
        print(f"{name:13} last lr {last:.5f}, {distance:.5f} apart")
    constant = results["constant"][1]
    assert all(off < constant / 4 for _, off in list(results.values())[1:])
    return results


# %%
def convolution_slides_one_kernel(
    device: torch.device, figures: Path
) -> dict[str, Tensor]:
    """Convolution: one kernel blurs a digit, others find edges and sharpen.

    The blur is a Gaussian: (1, 4, 6, 4, 1) / 16 along each of the two axes.
    What it takes away are the edges: edges = image - blur, and what adds them
    once more is sharper = image + edges.
    Returns name -> image (28, 28). Deeper: start_buildnn.py.
    """
    # A 7 in a font that matplotlib brings; "L" is grey, one byte a pixel.
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = ImageFont.truetype(str(folder / "DejaVuSerif.ttf"), size=26)
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).text((14, 14), "7", 255, font, anchor="mm")
    image = torch.from_numpy(np.array(picture)).to(device)  # (28, 28), bytes
    image = image.view(1, 1, 28, 28) / 255  # (batch, channels, height, width)

    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=device) / 16
    blur = torch.outer(line, line)  # (5, 5)
    same = torch.zeros(5, 5, device=device)
    same[2, 2] = 1  # this kernel returns the image itself
    kernels = {"blur": blur, "edges": same - blur, "sharper": 2 * same - blur}

    # Without bias=False a random number would be added to every pixel.
    layer = nn.Conv2d(1, 3, kernel_size=5, padding=2, bias=False)
    layer = layer.to(device).requires_grad_(False)
    layer.weight.copy_(torch.stack(list(kernels.values()))[:, None])
    filtered = layer(image)[0]  # (3, 28, 28)

    # The definition: at each place 25 pixels times 25 weights, summed.
    padded = F.pad(image[0, 0], (2, 2, 2, 2))  # (32, 32), a black frame
    looped = torch.empty_like(filtered)
    for i in range(28):
        for j in range(28):
            patch = padded[i : i + 5, j : j + 5]
            looped[:, i, j] = (layer.weight[:, 0] * patch).sum(dim=(1, 2))
    # A GPU may cut the factors to ten bits (TensorFloat-32), a CPU does not.
    rounding = 1e-5 if device.type == "cpu" else 2e-3
    assert (filtered - looped).abs().max() < rounding
    pictures = {"image": image[0, 0]}
    pictures |= dict(zip(kernels, filtered, strict=True))
    both = pictures["blur"] + pictures["edges"]
    assert (both - image[0, 0]).abs().max() < rounding

    figure, panels = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
    for panel, (name, pixels) in zip(panels, pictures.items(), strict=True):
        # One scale for all four: dark grey is 0, and edges go below it.
        panel.imshow(pixels.cpu().numpy(), cmap="gray", vmin=-0.5, vmax=1.5)
        panel.set_title(name)
        panel.axis("off")
        total = kernels[name].sum().item() if name in kernels else 1.0
        print(f"{name:8} kernel sums to {total:.0f}, pixels from", end="")
        print(f" {pixels.min():5.2f} to {pixels.max():4.2f}", end="")
        print(f", mean {pixels.mean():5.3f}")
    save_figure(figure, "tour_convolution", figures)
    return pictures


# %%
def a_convolution_maps_channels_to_channels(
    device: torch.device,
) -> dict[str, tuple]:
    """`Conv2d` from 3 to 16 channels: 16 kernels, each 3 channels deep.

    Height becomes (height + 2 padding - kernel) // stride + 1, width alike.
    A layer has 16 * 3 * kernel**2 weights and 16 biases.
    Returns options -> shape of the output. Deeper: start_buildnn.py.
    """
    image = torch.zeros(1, 3, 28, 28, device=device)
    shapes = {}
    print(f"from {tuple(image.shape)} to (1, 16, height, width):")
    for kernel, stride, padding in ((5, 1, 0), (3, 1, 1), (3, 2, 1), (4, 4, 0)):
        layer = nn.Conv2d(3, 16, kernel, stride, padding).to(device)
        output = layer(image)
        size = (28 + 2 * padding - kernel) // stride + 1
        assert output.shape == (1, 16, size, size)
        count = sum(parameter.numel() for parameter in layer.parameters())
        assert count == 16 * 3 * kernel**2 + 16
        options = f"kernel {kernel}, stride {stride}, padding {padding}"
        shapes[options] = tuple(output.shape)
        print(f"{options}: {size:2} x {size:2}, {count:,} parameters")
    return shapes


# %%
def random_numbers_repeat_by_seed(device: torch.device) -> dict[str, bool]:
    """Random numbers: a seed repeats the stream, not a number in it.

    A generator holds the place in its stream; `manual_seed` sets that of the
    default ones. Returns what was tried -> whether the same numbers came.
    """
    torch.manual_seed(0)
    first = torch.rand(3)
    same = {}

    torch.manual_seed(0)
    same["seeded again"] = torch.equal(torch.rand(3), first)
    torch.manual_seed(0)
    torch.rand(1)  # one number drawn before: everything after it has moved
    same["seeded, one number drawn before"] = torch.equal(torch.rand(3), first)

    # A stream of its own: what others draw does not move it.
    own = torch.Generator().manual_seed(0)
    torch.rand(1)
    drawn = torch.rand(3, generator=own)
    same["own generator, others draw as well"] = torch.equal(drawn, first)

    # The place in the CPU's stream, for a checkpoint to keep; on a GPU keep
    # torch.cuda.get_rng_state_all() as well.
    state = torch.get_rng_state()
    before = torch.rand(3)
    torch.set_rng_state(state)
    same["state put back"] = torch.equal(torch.rand(3), before)

    # Another device has another generator, and so other numbers.
    torch.manual_seed(0)
    there = torch.rand(3, device=device).cpu()
    same[f"same seed, on {device.type}"] = torch.equal(there, first)

    # No randomness, yet not reproducible: float sums depend on the order, and
    # threads or a GPU may choose it. Round numbers show it without them.
    x = torch.tensor([1e8, 1.0, -1e8])
    forward, backward = (x[0] + x[1]) + x[2], (x[2] + x[0]) + x[1]
    same["one sum, two orders"] = torch.equal(forward, backward)

    for name, equal in same.items():
        print(f"{name:36} {'the same' if equal else 'others'}")
    print(f"1e8 + 1 - 1e8 is {forward:.0f}, -1e8 + 1e8 + 1 is {backward:.0f}")
    print("more: torch.use_deterministic_algorithms(True); the workers of a")
    print("loader have seeds of their own: start_dataloader.py")
    expected = [True, False, True, True, device.type == "cpu", False]
    assert list(same.values()) == expected
    return same


# %%
def moving_a_tensor_returns_another(device: torch.device) -> dict[str, bool]:
    """Moving tensors between CPU and GPU makes a copy; `to` returns it.

    A tensor that is there already is returned itself. A module moves in place.
    Returns what was tried -> whether it held; on the CPU the two lines that
    begin with "on a GPU" are told, not shown.
    """
    x = torch.tensor([1.0, 2.0, 3.0])
    there = x.to(device)
    model = nn.Linear(3, 1)
    # `is` asks for the very same object, `equal` for the same numbers.
    facts = {
        "x.to(device) holds the same numbers": torch.equal(there.cpu(), x),
        "x itself stays on the CPU": x.device.type == "cpu",
        "x.to(device) is x": there is x,
        "model.to(device) is model": model.to(device) is model,
        "a result stays where its inputs are": (
            (there * 2).device == there.device
        ),
    }
    print(f"device {device}")
    for name, fact in facts.items():
        print(f"{name:38} {'yes' if fact else 'no'}")
    assert model.weight.device == there.device
    # Only where nothing has to move does nothing get copied.
    assert (
        list(facts.values()) == [True, True, device.type == "cpu"] + [True] * 2
    )

    if device.type == "cpu":
        print("on a GPU, x.to(device) is x: no. And x + there would say:")
        print("    Expected all tensors to be on the same device, ...")
    else:
        with caught(RuntimeError, "on the same device"):
            x + there
        assert (x.to(there.device) + there).device == there.device
    if not torch.cuda.is_available():
        # What it says depends on what is missing: torch, driver or GPU.
        built = torch.backends.cuda.is_built()
        kind = RuntimeError if built else AssertionError
        with caught(kind, ""):
            x.cuda()  # right: x.to(device), with a device that is there
    return facts


# %%
def a_clock_waits_for_the_device(
    device: torch.device, *, size: int = 1024
) -> dict[str, float]:
    """Accelerators work on their own: synchronize before reading the clock.

    A product of two size x size matrices costs 2 * size**3 operations; a
    matrix is 4 * size**2 bytes. Returns name -> milliseconds.
    """
    torch.manual_seed(0)
    here = torch.rand(size, size)

    def wait() -> None:
        """Return when all that was asked of the device is done."""
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    def clock(work: Callable[[], Tensor]) -> tuple[float, float]:
        """Return milliseconds until the call is back, and until it is done."""
        work()  # the first time also sets things up
        times = []
        for _ in range(5):
            wait()  # nothing old may be left to do
            start = time.perf_counter()
            work()
            back = time.perf_counter()
            wait()
            times.append((back - start, time.perf_counter() - start))
        back, done = min(times, key=lambda pair: pair[1])  # least disturbed
        return 1000 * back, 1000 * done

    # The product stays where its inputs are: no copy is in its time.
    there = here.to(device)
    back, done = clock(lambda: there @ there)
    _, go = clock(lambda: here.to(device, copy=True))
    _, come = clock(lambda: there.to("cpu", copy=True))
    milliseconds = {"back": back, "done": done, "go": go, "come": come}

    speed, size_in_gb = 2 * size**3 / 1e9, 4 * size**2 / 1e9
    print(f"{device}, matrices of {size} x {size}, {4 * size**2 / 1e6:.1f} MB")
    print(f"product: call back after {back:8.3f} ms", end="")
    print(f", done after {done:8.3f} ms, {speed / done * 1000:,.0f} GFLOP/s")
    print(f"copy there: {go:.3f} ms, {size_in_gb / go * 1000:.1f} GB/s")
    print(f"copy back:  {come:.3f} ms, {size_in_gb / come * 1000:.1f} GB/s")
    if device.type == "cpu":
        print("a CPU is done when the call is back, and both copies stay in")
        print("its memory; a GPU is back at once, and the way there is slower")
        print("than its own memory: move once, then compute much")
    # However fast: there and back are the same numbers, and so is the product.
    assert torch.equal(there.cpu(), here)
    torch.testing.assert_close(
        (there @ there).cpu(), here @ here, rtol=1e-3, atol=0
    )
    return milliseconds


# %%
def half_types_trade_digits_for_range() -> dict[torch.dtype, dict[str, float]]:
    """Mixed precision: float16 has more digits, bfloat16 more range.

    Bits for sign, exponent, fraction: float32 1 + 8 + 23, float16 1 + 5 + 10,
    bfloat16 1 + 8 + 7. All powers of 2 are exact, so doubling and halving
    finds the limits. Returns type -> name -> value found by experiment.
    """
    found = {}
    print("type      doubled up to   halved down to   1 + step     counts to")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        one = torch.ones((), dtype=dtype)
        largest = smallest = step = count = one
        while (largest * 2).isfinite():
            largest = largest * 2
        while smallest / 2 > 0:
            smallest = smallest / 2
        while one + step / 2 > 1:  # the next number after 1
            step = step / 2
        while count + 1 > count:  # beyond it adding 1 changes nothing
            count = count * 2
        limits = {"up": largest, "down": smallest, "step": step, "to": count}
        found[dtype] = {name: float(value) for name, value in limits.items()}
        up, down, step, to = found[dtype].values()
        name = str(dtype).removeprefix("torch.")
        print(f"{name:9} {up:13.5g} {down:16.2e} {step:10.2e} {to:13,.0f}")

        # finfo knows them: its largest number is one step below the double.
        info = torch.finfo(dtype)
        assert step == info.eps and up * (2 - info.eps) == info.max
        assert down == info.smallest_normal * info.eps and to == 2 / info.eps

    # So 70,000 is inf in the one, and 257 is 256 in the other.
    for number in (70_000.0, 257.0, 1e-8):
        single = torch.tensor(number)
        print(f"{number:8g} in float16 {single.half():.6g}", end="")
        print(f", in bfloat16 {single.bfloat16():.6g}")
    assert torch.tensor(70_000.0).half().isinf()
    assert torch.tensor(257.0).bfloat16() == 256
    assert torch.tensor(1e-8).half() == 0 < torch.tensor(1e-8).bfloat16()
    return found


# %%
def autocast_picks_a_type_for_each_operation(
    device: torch.device, half: torch.dtype
) -> dict[str, torch.dtype]:
    """Mixed precision: products in 16 bits, losses in 32, weights untouched.

    Products are fast in 16 bits and add up in 32 inside the device; a loss
    sums over many numbers and wants the digits. The lists differ a little
    between devices. Returns operation -> type of its result.
    """
    torch.manual_seed(0)
    layer = nn.Linear(8, 8).to(device)
    convolution = nn.Conv2d(1, 1, 3).to(device)
    x = torch.rand(4, 8, device=device)
    labels = torch.zeros(4, dtype=torch.long, device=device)
    with torch.autocast(device.type, half):
        y = layer(x)
        results = {
            "Linear": y,
            "matrix product": x @ x.T,
            "Conv2d": convolution(x[None, None]),
            "relu of a Linear": y.relu(),
            "Linear + its input": y + x,  # the usual promotion
            "exp of a Linear": y.exp(),
            "softmax of a Linear": y.softmax(dim=1),
            "mse_loss": F.mse_loss(y, x),
            "cross_entropy": F.cross_entropy(y, labels),
        }
    results["cross_entropy"].backward()  # outside; each node knows its type
    types = {name: result.dtype for name, result in results.items()}
    types["weights"] = layer.weight.dtype
    types["gradients"] = layer.weight.grad.dtype
    for name, dtype in types.items():
        print(f"{name:20} {str(dtype).removeprefix('torch.')}")

    # What holds on every device; the rest may be another type on a GPU.
    for name in ("Linear", "matrix product", "Conv2d", "relu of a Linear"):
        assert types[name] == half
    for name in ("mse_loss", "cross_entropy", "weights", "gradients"):
        assert types[name] == torch.float32
    return types


# %%
def the_scaler_lifts_small_gradients() -> dict[str, tuple]:
    """Mixed precision: the scaler lifts gradients that float16 would lose.

    The loss times scale gives gradients times scale, divided again before the
    step. Too large a scale gives inf: the step is skipped, the scale halved.
    On the CPU, so that anyone can watch. Returns case -> (gradient inside,
    change of w, scale afterwards). Deeper: start_autograd.py.
    """
    cases = {
        "underflow, no scaler": (1e-8, 1.0, False),
        "underflow, scaled": (1e-8, 65536.0, True),
        "overflow, scaled": (1.5, 65536.0, True),
        "overflow, next step": (1.5, 32768.0, True),
    }
    results = {}
    print("case                    slope  in float16    w moves  scale then")
    for case, (slope, scale, enabled) in cases.items():
        w = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=enabled)
        w16 = w.half()
        w16.retain_grad()  # it is no leaf; keep its gradient all the same
        loss = w16.float() * slope  # its gradient is slope, in float16
        scaler.scale(loss).backward()
        scaler.step(optimizer)  # unscales, looks for inf, then steps
        scaler.update()
        after = scaler.get_scale()  # 1 where there is no scaler
        results[case] = w16.grad.item(), w.item(), after
        print(f"{case:20} {slope:8g} {w16.grad:11.6g}", end="")
        print(f" {w:10.4g} {after:11.0f}")

    lost, kept, skipped, taken = results.values()
    assert lost[:2] == (0, 0)  # nothing is learnt, and nothing is said
    assert math.isclose(kept[1], -1e-8, rel_tol=1e-3)
    assert math.isinf(skipped[0]) and skipped[1:] == (0, 32768)
    assert taken == (1.5 * 32768, -1.5, 32768)
    return results


# %%
def mixed_precision_ends_at_the_same_loss(
    device: torch.device,
    half: torch.dtype | None = None,
    *,
    steps: int = 100,
    batch_size: int = 512,
) -> dict[torch.dtype, tuple[float, float, float]]:
    """Mixed precision training: loss within 2%, activations half (add --amp).

    A 64-256-256-1 network learns a sine. The noise in its targets alone has a
    mean square of 0.25, and no model gets below that. `half` is the type under
    autocast, None for float32 alone. Returns type -> (milliseconds a step, MB
    of activations kept for backward, loss on new points).
    """
    results = {}
    print("type       ms a step   activations, MB   loss on new points")
    for dtype in [torch.float32] if half is None else [torch.float32, half]:
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(0)
        slopes = torch.randn(64, 1, generator=generator) / 8
        model = nn.Sequential(
            nn.Linear(64, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, 1),
        ).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
        mixed = dtype != torch.float32
        autocast = torch.autocast(device.type, half, enabled=mixed)
        # bfloat16 has the exponents of float32; float16 has not: it is scaled.
        float16 = dtype == torch.float16
        scaler = torch.amp.GradScaler(device.type, enabled=float16)

        def draw(generator=generator, slopes=slopes) -> tuple[Tensor, Tensor]:
            """Return new points (batch, 64) and their targets (batch, 1)."""
            x = torch.randn(batch_size, 64, generator=generator)
            noise = torch.randn(batch_size, 1, generator=generator)
            y = (x @ slopes).sin() + 0.5 * noise
            return x.to(device), y.to(device)

        seconds = []
        for _ in range(steps):
            x, y = draw()
            start = time.perf_counter()
            optimizer.zero_grad()
            with autocast:  # the forward pass and the loss, nothing else
                loss = F.mse_loss(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss.item()  # waits for a GPU
            seconds.append(time.perf_counter() - start)
        milliseconds = 1000 * sorted(seconds)[steps // 2]  # the median

        kept = []  # what the forward pass leaves for backward
        hooks = torch.autograd.graph.saved_tensors_hooks
        with autocast, hooks(kept.append, lambda _: None):
            model(x)
        # What has a row for each sample is an activation, the rest are weights.
        # ReLU and the layer after it keep the same tensor: count it once.
        activations = [part for part in kept if len(part) == batch_size]
        sizes = {part.data_ptr(): part.nbytes for part in activations}
        megabytes = sum(sizes.values()) / 1e6
        new = [draw() for _ in range(10)]
        with torch.no_grad(), autocast:
            losses = torch.stack([F.mse_loss(model(x), y) for x, y in new])
        results[dtype] = milliseconds, megabytes, losses.mean().item()
        name = str(dtype).removeprefix("torch.")
        print(f"{name:9} {milliseconds:10.2f} {megabytes:17.2f}", end="")
        print(f" {results[dtype][2]:20.4f}")

    untrained = torch.cat([y for _, y in new]).square().mean().item()
    print(f"{'always 0':9} {'':28} {untrained:20.4f}")
    assert results[torch.float32][2] < 0.75 * untrained
    if half is None:
        print("the 16-bit row: add --amp")
    else:
        (_, whole_size, whole), (_, size, loss) = results.values()
        assert abs(loss - whole) < 0.02 * whole and size == whole_size / 2
    return results


# %%
def mistakes_with_shapes() -> dict[str, tuple]:
    """Mistakes with shapes: four are silent, four stop with a message.

    Returns mistake -> (wrong answer, right answer), the silent ones.
    """
    guesses, targets = torch.tensor([[1.0], [2.0], [3.0]]), torch.arange(1.0, 4)
    picture = torch.arange(12).view(2, 2, 3)  # (height, width, colours)
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    one = torch.zeros(1, 1, 28, 28)  # a batch of one grey image
    silent = {
        # (3, 1) - (3,) is (3, 3): each guess against every target.
        "guesses (N, 1) - targets (N,): mean square": (
            round(((guesses - targets) ** 2).mean().item(), 4),
            ((guesses[:, 0] - targets) ** 2).mean().item(),
        ),
        # The first colour is every third number, not the first four.
        "view for permute: first channel": (
            picture.view(3, 2, 2)[0].flatten().tolist(),
            picture.permute(2, 0, 1)[0].flatten().tolist(),
        ),
        "* for @: matrix times itself, corner": (
            (matrix * matrix)[0, 0].item(),
            (matrix @ matrix)[0, 0].item(),
        ),
        "squeeze() of a batch of one: shape": (
            tuple(one.squeeze().shape),
            tuple(one.squeeze(1).shape),
        ),
    }
    for mistake, (wrong, right) in silent.items():
        print(f"{mistake} {wrong}, not {right}")
        assert wrong != right

    images = torch.zeros(30, 28, 28)
    with caught(RuntimeError, "is invalid for input of size"):
        images.view(10, 784)
    assert images.flatten(1).shape == (30, 784)  # right: the batch stays 30
    pair = torch.zeros(2, 3), torch.zeros(2, 4)
    with caught(RuntimeError, "must match except in dimension"):
        torch.cat(pair)
    assert torch.cat(pair, dim=1).shape == (2, 7)  # right: where they differ
    with caught(IndexError, "Dimension out of range"):
        targets.sum(dim=1)  # it has one dim, number 0
    with caught(ValueError, "expected sequence of length"):
        torch.tensor([[1, 2], [3, 4, 5]])  # right: pad the short row
    return silent


# %%
def mistakes_with_types_and_memory() -> dict[str, tuple]:
    """Mistakes with types and memory: five silent, four with a message.

    Returns mistake -> (wrong answer, right answer), the silent ones.
    """
    # One array, seen by two tensors, of which one has a copy.
    array = np.zeros(2, dtype=np.float32)
    shared, copied = torch.from_numpy(array), torch.tensor(array)
    array += 5
    pixels = torch.tensor([200, 100], dtype=torch.uint8)
    # A missing dot makes integers, and whatever is written there is cut off.
    whole, floating = torch.tensor([1, 2]), torch.tensor([1.0, 2.0])
    whole[0] = floating[0] = 0.5
    x = torch.ones(1)
    x.to(torch.float16)  # the answer is dropped
    y = x.to(torch.float16)
    silent = {
        "array += 5 after from_numpy: the tensor": (
            shared.tolist(),
            copied.tolist(),
        ),
        "pixels + 100 as uint8": (
            (pixels + 100).tolist(),
            (pixels.float() + 100).tolist(),
        ),
        "0.5 written into integers": (whole.tolist(), floating.tolist()),
        "torch.Tensor(3) is of shape": (
            tuple(torch.Tensor(3).shape),
            tuple(torch.tensor(3).shape),
        ),
        "x.to(float16), not assigned, is": (str(x.dtype), str(y.dtype)),
    }
    for mistake, (wrong, right) in silent.items():
        print(f"{mistake} {wrong}, not {right}")
        assert wrong != right

    tracked = torch.ones(2, requires_grad=True)
    with caught(RuntimeError, "numpy() on Tensor that requires grad"):
        tracked.numpy()  # right: tracked.detach().numpy()
    with caught(RuntimeError, "Long"):
        whole.mean()  # right: whole.float().mean()
    with caught(RuntimeError, "same dtype"):
        torch.ones(2, 2) @ torch.from_numpy(np.ones((2, 2)))  # float64
    with caught(RuntimeError, "more than one value is ambiguous"):
        bool(floating > 1)  # right: (floating > 1).any(), or .all()
    return silent


# %%
def mistakes_with_losses() -> dict[str, tuple]:
    """Mistakes with losses and steps: five silent, five with a message.

    On the CPU: on CUDA, after a label out of range, every later call to the GPU
    fails until Python is started again.
    Returns mistake -> (wrong number, right number), the silent ones.
    """
    logits = torch.tensor([[20.0, -20.0], [-20.0, 20.0]])  # surely right
    labels = torch.tensor([0, 1])
    scores, truth = logits[:, 0], torch.tensor([1.0, 0.0])

    def descend(lr: float) -> float:
        """Return x after 200 steps down (x - 2)**2 from 5."""
        x = torch.tensor(5.0, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=lr)
        for _ in range(200):
            optimizer.zero_grad()
            ((x - 2) ** 2).backward()
            optimizer.step()
        return x.item()

    # Scores of 20 against -20 are as right as can be: each loss should be 0.
    sharp = logits.log_softmax(dim=1)
    silent = {
        "softmax before cross_entropy: loss": (
            F.cross_entropy(logits.softmax(dim=1), labels),
            F.cross_entropy(logits, labels),
        ),
        "nll_loss without a logarithm: loss": (
            F.nll_loss(logits.softmax(dim=1), labels),
            F.nll_loss(sharp, labels),
        ),
        "sigmoid before ..._with_logits: loss": (
            F.binary_cross_entropy_with_logits(scores.sigmoid(), truth),
            F.binary_cross_entropy_with_logits(scores, truth),
        ),
        "softmax over the batch: a row sums to": (
            torch.zeros(4, 2).softmax(dim=0)[0].sum(),
            torch.zeros(4, 2).softmax(dim=1)[0].sum(),
        ),
        "lr 1.9 on a parabola: x": (descend(1.9), descend(0.25)),
    }
    for mistake, pair in silent.items():
        wrong, right = silent[mistake] = tuple(map(float, pair))
        # abs, because -log(1) is -0.0.
        print(f"{mistake} {wrong:.4f}, not {abs(right):.4f}")
        assert not math.isclose(wrong, right, abs_tol=0.1)

    with caught(RuntimeError, "Long"):
        F.cross_entropy(logits, labels.float())  # right: labels, int64
    with caught(RuntimeError, "multi-target not supported"):
        F.cross_entropy(logits, labels[:, None])  # right: (N,), not (N, 1)
    with caught(IndexError, "out of bounds"):
        F.cross_entropy(logits, labels + 1)  # right: from 0 to classes - 1
    with caught(RuntimeError, "is ambiguous"):
        nn.MSELoss(scores, truth)  # right: nn.MSELoss()(scores, truth)
    with caught(UserWarning, "Using a target size"):
        F.mse_loss(scores[:, None], truth)  # right: (N,) and (N,)
    return silent


# %%
def mistakes_with_layers_and_half_precision() -> dict[str, tuple]:
    """Mistakes with layers and half precision: three silent, five not.

    Returns mistake -> (wrong number, right number), the silent ones.
    """
    torch.manual_seed(0)
    black = torch.zeros(1, 1, 5, 5)
    blurred = []
    for bias in (True, False):
        layer = nn.Conv2d(1, 1, 3, bias=bias).requires_grad_(False)
        layer.weight.fill_(1 / 9)  # the mean of nine pixels
        blurred.append(layer(black).mean().item())

    # The scaler divides after the clipping, so 1 / 1024 of a step is left.
    lengths = []
    for unscale in (False, True):
        w = torch.ones(4, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(w.sum()).backward()
        if unscale:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_([w], max_norm=1.0)
        scaler.step(optimizer)
        lengths.append(torch.linalg.vector_norm(1 - w).item())

    large = torch.tensor(300.0)
    silent = {
        "kernel set, bias left random: black blurs to": tuple(blurred),
        "clipped before unscale_: a step of length": tuple(lengths),
        "300 * 300 in float16": ((large.half() ** 2).item(), 300.0**2),
    }
    for mistake, (wrong, right) in silent.items():
        print(f"{mistake} {wrong:.4g}, not {right:g}")
        assert not math.isclose(wrong, right, abs_tol=0.01)

    # Now those that torch speaks of.
    image = torch.zeros(1, 32, 32, 3)  # channels last, as files have them
    with caught(RuntimeError, "to have 3 channels, but got 32 channels"):
        nn.Conv2d(3, 16, 3)(image)  # right: image.permute(0, 3, 1, 2)
    parameters = nn.Linear(2, 1).parameters()
    assert len(list(parameters)) == 2  # this look uses the generator up
    with caught(ValueError, "empty parameter list"):
        torch.optim.SGD(parameters, lr=0.1)  # right: model.parameters()
    with caught(RuntimeError, "must have the same dtype"):
        nn.Linear(2, 1)(torch.ones(1, 2).half())  # right: under autocast
    model = nn.Linear(2, 1).half()  # right: leave it float32, use autocast
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler.scale(model(torch.ones(1, 2).half()).sum()).backward()
    with caught(ValueError, "Attempting to unscale FP16 gradients"):
        scaler.step(optimizer)
    with caught(FutureWarning, "torch.amp.GradScaler"):
        torch.cuda.amp.GradScaler(enabled=False)  # the name in old tutorials
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
    """Run the tour from top to bottom."""
    args = parse(make_parser(__doc__))
    device, tiny = args.device, args.tiny
    half = amp_dtype(device)

    # The table of contents, each section with the options that it gets.
    here = {"device": device}
    drawn = {"device": device, "figures": args.figures}
    chapters = {
        "Tensors": {
            tensors_compute_what_numpy_computes: {},
            numpy_memory_is_shared_or_copied: {},
            types_are_promoted_by_kind_first: {},
            view_cuts_anew_and_permute_turns: {},
            slices_share_and_lists_copy: {},
            broadcasting_is_a_loop_that_nobody_writes: {},
            einsum_sums_the_letters_that_vanish: {},
            selections_replace_loops: here,
        },
        "Automatic differentiation": {
            a_computation_graph_is_walked_backward: {},
            autograd_finds_the_derivatives: here,
            gradient_descent_halves_the_distance: here,
            from_by_hand_to_by_library_the_loss_stays: here,
            one_point_a_step_descends_too: {},
        },
        "Common modules and functions": {
            modules_are_functions_with_parameters: here,
            activations_bend_the_line: drawn,
            losses_punish_the_surely_wrong: here,
            # A worker imports this script; the cells of a notebook are no file.
            a_loader_makes_batches_of_a_dataset: {
                "workers": 0 if tiny or "__file__" not in globals() else 1
            },
            momentum_and_adam_win_the_race: {
                **drawn,
                "target": 0.5 if tiny else 0.1,
                "limit": 450 if tiny else 2000,
            },
            schedulers_come_to_rest: {"n": 20, "epochs": 16} if tiny else {},
            convolution_slides_one_kernel: drawn,
            a_convolution_maps_channels_to_channels: here,
        },
        "Devices and time": {
            random_numbers_repeat_by_seed: here,
            moving_a_tensor_returns_another: here,
            a_clock_waits_for_the_device: {
                **here,
                "size": 256 if tiny else 1024,
            },
        },
        "Mixed precision": {
            half_types_trade_digits_for_range: {},
            autocast_picks_a_type_for_each_operation: {**here, "half": half},
            the_scaler_lifts_small_gradients: {},
            mixed_precision_ends_at_the_same_loss: {
                **here,
                "half": half if args.amp else None,
                "steps": 60 if tiny else 150,
            },
        },
        "Mistakes": {
            mistakes_with_shapes: {},
            mistakes_with_types_and_memory: {},
            mistakes_with_losses: {},
            mistakes_with_layers_and_half_precision: {},
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
