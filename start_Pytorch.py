# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""PyTorch, the whole tour: from the first tensor to a model of one's own.

Run      python start_Pytorch.py      (no download, any device, 6 s)
Read     README.md, "The tour"
Symbols  x input, y output or target, w and v weights, b bias, f, g functions;
         a, b, c, d, e the nodes of a graph; i, j, k positions along dims;
         lr learning rate
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

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, Dataset

# %% [markdown]
# ## Tensors
# A tensor is a block of numbers of one type, with any number of axes, which
# torch calls dims. Models, data and gradients are all tensors.


# %%
def a_tensor_has_shape_dtype_and_device(device: torch.device) -> None:
    """A tensor is a block of numbers with a shape, a dtype and a device.

    Shape (2, 3): two rows of three. float32 has 4 bytes a number.
    """
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=device)

    print(x)
    print("x.shape   =", tuple(x.shape), "  x.ndim =", x.ndim)
    print("x.numel() =", x.numel(), "       x.nbytes =", x.nbytes)
    print("x.dtype   =", x.dtype)
    print("x.device  =", x.device)
    assert x.shape == (2, 3)
    assert x.ndim == 2
    assert x.numel() == 6
    assert x.nbytes == 24
    assert x.dtype == torch.float32
    assert x.device.type == device.type

    # Out of torch: `item` for one number, `tolist` for all of them.
    print("x[1, 2].item()  =", x[1, 2].item())
    print("x[0].tolist()   =", x[0].tolist())
    assert x[1, 2].item() == 6.0
    assert x[0].tolist() == [1.0, 2.0, 3.0]


# %%
def five_ways_to_create_a_tensor(device: torch.device) -> None:
    """Create a tensor from data, constants, a range, at random, or alike."""
    data = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)
    constant = torch.full((2, 3), 0.5, device=device)  # also zeros, ones
    steps = torch.arange(0, 6, 2, device=device)  # 6 is left out
    line = torch.linspace(0, 1, 5, device=device)  # both ends are in
    torch.manual_seed(0)
    noise = torch.randn(10_000, device=device)  # also rand, 0 to 1
    alike = torch.zeros_like(data)  # shape, dtype and device of data

    print("data = tensor([[1, 2, 3], [4, 5, 6]])", data.dtype)
    print("full((2, 3), 0.5)     ", constant.tolist())
    print("arange(0, 6, 2)       ", steps.tolist())
    print("linspace(0, 1, 5)     ", line.tolist())
    print(f"randn(10_000), mean    {noise.mean():.2f}")
    print(f"   standard deviation   {noise.std():.2f}")
    print("zeros_like(data)      ", alike.tolist(), alike.dtype)
    assert data.dtype == torch.int64  # whole numbers become int64
    assert constant.tolist() == [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    assert steps.tolist() == [0, 2, 4]
    assert line.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    assert alike.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert alike.dtype == torch.int64


# %%
def manual_seed_repeats_random_numbers() -> None:
    """`manual_seed` repeats the sequence of random numbers from its start.

    On the CPU: a GPU draws other numbers from the same seed.
    """
    torch.manual_seed(0)
    first = torch.rand(2)
    second = torch.rand(2)
    torch.manual_seed(0)
    again = torch.rand(2)
    print(f"manual_seed(0), rand(2): {first[0]:.4f} {first[1]:.4f}")
    print(f"                    then {second[0]:.4f} {second[1]:.4f}")
    print(f"manual_seed(0), rand(2): {again[0]:.4f} {again[1]:.4f}")
    assert not torch.equal(second, first)
    assert torch.equal(again, first)

    # A generator has a sequence of its own: other draws do not disturb it.
    generator = torch.Generator().manual_seed(0)
    torch.rand(100)
    drawn = torch.rand(2, generator=generator)
    print(f"Generator with seed 0:   {drawn[0]:.4f} {drawn[1]:.4f}")
    assert torch.equal(drawn, first)


# %%
def to_returns_a_tensor_on_another_device(device: torch.device) -> None:
    """`x.to(device)` returns a tensor there; x itself stays where it was.

    "meta" is a device for shapes without numbers, and every machine has it. On
    a GPU the second message is "Expected all tensors to be on the same device".
    """
    # The two lines for a GPU, if there is one:
    found = torch.accelerator.is_available()
    best = torch.accelerator.current_accelerator() if found else "cpu"
    print("the best device here:", best, "  this run uses:", device)
    assert torch.zeros(1, device=best).device.type == torch.device(best).type

    x = torch.tensor([1.0, 2.0, 3.0], device=device)
    there = x.to("meta")
    print('there = x.to("meta")  there.device =', there.device)
    print("                      x.device     =", x.device)
    assert there.device.type == "meta"
    assert there.shape == x.shape
    assert x.device.type == device.type
    assert x.to(device) is x  # it is there already: no copy is made

    with caught(TypeError, "can't convert meta device type tensor to numpy"):
        there.numpy()
    array = x.cpu().numpy()  # right: NumPy works on the CPU alone
    assert array.tolist() == [1, 2, 3]

    # A model is the exception: `to` moves its own weights.
    model = nn.Linear(3, 1)
    model.to("meta")
    print('model.to("meta")      model.weight.device =', model.weight.device)
    assert model.weight.device.type == "meta"
    batch = torch.ones(2, 3)  # on the CPU
    with caught(RuntimeError, "is not on the expected device"):
        model(batch)
    y = model(batch.to("meta"))  # right: model and batch on one device
    assert y.device.type == "meta"


# %%
def slices_share_memory_and_index_lists_copy(device: torch.device) -> None:
    """Indexing by numbers and slices shares memory, by lists it copies."""
    x = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]], device=device)
    row = x[1]
    column = x[:, -1]  # the last of each row
    block = x[:, 1:3]
    listed = x[:, [3, 0]]
    print("x =", x.tolist())
    print("x[1]         =", row.tolist())
    print("x[:, -1]     =", column.tolist())
    print("x[:, 1:3]    =", block.tolist())
    print("x[:, [3, 0]] =", listed.tolist())
    assert row.tolist() == [4, 5, 6, 7]
    assert column.tolist() == [3, 7]
    assert block.tolist() == [[1, 2], [5, 6]]
    assert listed.tolist() == [[3, 0], [7, 4]]

    x[:] = 50  # seen by those that share memory
    print("after x[:] = 50:")
    print("x[:, 1:3]    =", block.tolist(), "shares memory")
    print("x[:, [3, 0]] =", listed.tolist(), "was a copy")
    assert row.tolist() == [50, 50, 50, 50]
    assert column.tolist() == [50, 50]
    assert block.tolist() == [[50, 50], [50, 50]]
    assert listed.tolist() == [[3, 0], [7, 4]]

    x[[0, 1]][0] = 99  # the second index writes into a copy, and x stays
    print("after x[[0, 1]][0] = 99, x[0] =", x[0].tolist())
    assert x[0].tolist() == [50, 50, 50, 50]


# %%
def a_mask_selects_and_writes(device: torch.device) -> None:
    """A comparison gives a mask; `x[mask]` reads, `x[mask] = 0` writes."""
    x = torch.tensor([[3, -1, 4], [-1, 5, -9]], device=device)
    mask = x < 0
    negative = x[mask]  # one dim: row by row what was True
    print("x =", x.tolist())
    print("mask = x < 0:      ", mask.tolist())
    print("x[mask]:           ", negative.tolist())
    print("mask.sum():        ", mask.sum().item())  # True counts 1
    assert mask.tolist() == [[False, True, False], [True, False, True]]
    assert negative.tolist() == [-1, -1, -9]
    assert mask.sum() == 3

    both = (x % 2 == 1) & (x > 0)  # & and |, each side in brackets
    print("(x % 2 == 1) & (x > 0):", both.tolist())
    assert both.tolist() == [[True, False, False], [False, True, False]]

    x[mask] = 0
    print("x after x[mask] = 0:", x.tolist())
    assert x.tolist() == [[3, 0, 4], [0, 5, 0]]


# %%
def cat_makes_a_dim_longer_stack_makes_a_new_one(device: torch.device) -> None:
    """`cat` joins along a dim that is there, `stack` along a new one."""
    a = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)
    b = torch.tensor([[7, 8, 9], [0, 0, 0]], device=device)
    below = torch.cat([a, b], dim=0)  # (4, 3)
    beside = torch.cat([a, b], dim=1)  # (2, 6)
    stacked = torch.stack([a, b])  # (2, 2, 3), a new dim 0

    print("a =", a.tolist(), "  b =", b.tolist())
    print("cat, dim=0:", tuple(below.shape), below.tolist())
    print("cat, dim=1:", tuple(beside.shape), beside.tolist())
    print("stack:      ", tuple(stacked.shape), stacked.tolist())
    assert below.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert beside.tolist() == [[1, 2, 3, 7, 8, 9], [4, 5, 6, 0, 0, 0]]
    assert stacked.shape == (2, 2, 3)
    assert torch.equal(stacked[0], a)
    assert torch.equal(stacked[1], b)


# %%
def unsqueeze_adds_a_dim_of_size_1(device: torch.device) -> None:
    """`unsqueeze`, or `[None]`, adds a dim of size 1; `squeeze` drops it.

    A model wants a batch: one image (28, 20) becomes (1, 1, 28, 20).
    """
    image = torch.zeros(28, 20, device=device)  # (height, width)
    channel = image.unsqueeze(0)  # (1, 28, 20)
    batch = image[None, None]  # (1, 1, 28, 20), the same twice
    back = batch.squeeze(0)  # (1, 28, 20)

    print("image.shape                ", tuple(image.shape))
    print("image.unsqueeze(0)         ", tuple(channel.shape))
    print("batch = image[None, None]  ", tuple(batch.shape))
    print("batch.squeeze(0)           ", tuple(back.shape))
    assert channel.shape == (1, 28, 20)
    assert batch.shape == (1, 1, 28, 20)
    assert back.shape == (1, 28, 20)
    batch[0, 0, 2, 5] = 1
    assert image[2, 5] == 1  # no number was copied
    assert channel[0, 2, 5] == 1
    assert back[0, 2, 5] == 1


# %%
def view_cuts_the_same_numbers_anew(device: torch.device) -> None:
    """`view` gives the same row of numbers a new shape; -1 is worked out.

    A batch (10000, 3, 28, 28): 3 * 28 * 28 = 2352 bytes an image.
    """
    images = torch.zeros(10_000, 3, 28, 28, dtype=torch.uint8, device=device)
    flat = images.view(10_000, -1)  # (10000, 2352)
    print("images                 ", tuple(images.shape))
    print("images.view(10_000, -1)", tuple(flat.shape))
    assert flat.shape == (10_000, 3 * 28 * 28)

    with caught(RuntimeError, "only one dimension can be inferred"):
        images.view(-1, -1)
    rows = images.view(-1, 784)  # right: one size at most is left open
    assert rows.shape == (30_000, 784)

    # No number has moved: number n of one is number n of the other.
    flat[0, 2 * 784 + 3 * 28 + 4] = 7
    print("after flat[0, 2 * 784 + 3 * 28 + 4] = 7:")
    print("images[0, 2, 3, 4] =", images[0, 2, 3, 4].item())
    assert images[0, 2, 3, 4] == 7


# %%
def permute_reorders_dims_without_copying(device: torch.device) -> None:
    """`permute` reorders dims, not memory; `view` may then be impossible.

    stride(d) says how many numbers to go on for the next index along dim d.
    """
    x = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)
    turned = x.permute(1, 0)  # dim 1 first; for two dims also x.T
    print("x                ", x.tolist(), "  strides", x.stride())
    print("x.permute(1, 0)  ", turned.tolist(), "strides", turned.stride())
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert x.stride() == (3, 1)
    assert turned.stride() == (1, 3)  # the same memory, walked in columns
    assert turned.data_ptr() == x.data_ptr()  # where the first number is

    with caught(RuntimeError, "view size is not compatible"):
        turned.view(6)
    row = turned.reshape(6)  # right: a view where possible, else a copy
    assert row.tolist() == [0, 3, 1, 4, 2, 5]
    assert row.data_ptr() != x.data_ptr()
    assert x.reshape(6).data_ptr() == x.data_ptr()

    # `contiguous` makes that copy, with its numbers in the order of its dims.
    copied = turned.contiguous()
    print("turned.contiguous()", copied.tolist(), "strides", copied.stride())
    assert not turned.is_contiguous()
    assert torch.equal(copied, turned)
    assert copied.stride() == (2, 1)
    assert copied.view(6).tolist() == [0, 3, 1, 4, 2, 5]


# %%
def broadcasting_is_a_loop_that_nobody_writes(device: torch.device) -> None:
    """Broadcasting lines shapes up from the right and repeats sizes of 1.

    (5, 1, 4, 1) + (3, 1, 1) is (5, 3, 4, 1). From the right, two sizes must
    be equal, or one of them is 1 or absent.
    """
    x = torch.arange(20.0, device=device).view(5, 1, 4, 1)
    y = torch.tensor([100.0, 200.0, 300.0], device=device).view(3, 1, 1)
    total = x + y
    print("x       5  1  4  1")
    print("y          3  1  1")
    print("x + y ", *(f"{size:2}" for size in total.shape))

    looped = torch.empty(5, 3, 4, 1, device=device)
    for i in range(5):
        for j in range(3):
            for k in range(4):
                # Where a size is 1 the only index is 0.
                looped[i, j, k, 0] = x[i, 0, k, 0] + y[j, 0, 0]
    assert total.shape == (5, 3, 4, 1)
    assert torch.equal(total, looped)

    # The daily use: take the mean of each column (3,) from each row (2, 3).
    table = torch.tensor([[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]], device=device)
    centred = table - table.mean(dim=0)
    print("table - table.mean(dim=0) =", centred.tolist())
    assert centred.tolist() == [[-1, -2, -3], [1, 2, 3]]

    with caught(RuntimeError, "must match the size"):
        x + torch.ones(3, 2, 1, device=device)
    total = x + torch.ones(3, 4, 1, device=device)  # right: 4 and 4 agree
    assert torch.equal(total[:, 2], x[:, 0] + 1)


# %%
def reductions_remove_the_dim_they_are_given(device: torch.device) -> None:
    """`sum`, `mean`, `amax`, `argmax`: the dim that is named disappears.

    What is `dim` here is `axis` in NumPy.
    """
    x = torch.tensor([[1.0, 5.0, 3.0], [8.0, 2.0, 2.0]], device=device)
    total = x.sum()  # of all numbers, shape ()
    down = x.sum(dim=0)  # (3,), down each column
    across = x.mean(dim=1)  # (2,), along each row
    kept = x.amax(dim=1, keepdim=True)  # (2, 1), a size of 1 stays
    place = x.argmax(dim=1)  # (2,), where the largest stands

    print("x =", x.tolist())
    print("x.sum() =", total.item(), "  x.sum(dim=0) =", down.tolist())
    print("x.mean(dim=1) =", across.tolist())
    print("x.amax(dim=1, keepdim=True) =", kept.tolist())
    print("x.argmax(dim=1) =", place.tolist())
    assert total == 21
    assert down.tolist() == [9, 7, 5]
    assert across.tolist() == [3, 4]
    assert kept.tolist() == [[5], [8]]
    assert place.tolist() == [1, 0]


# %%
def where_gather_and_topk_replace_loops(device: torch.device) -> None:
    """`where` chooses, `gather` picks one from each row, `topk` ranks.

    Logits of four classes (columns) for two samples (rows), and the classes
    that are right. A logit is the number a model gives a class; the largest
    wins.
    """
    logits = torch.tensor([[1.0, 5, 2, 0], [7, 1, 3, 4]], device=device)
    labels = torch.tensor([3, 0], device=device)

    large = torch.where(logits < 2, 0.0, logits)  # 0.0 if so, or else logits
    of_label = logits.gather(1, labels[:, None])[:, 0]  # (2, 1) to (2,)
    values, classes = logits.topk(2, dim=1)  # the two largest of each row
    found = (classes == labels[:, None]).any(dim=1)

    print("logits =", logits.tolist(), "  labels =", labels.tolist())
    print("where(logits < 2, 0.0, logits) ", large.tolist())
    print("gather, the logit of the label:", of_label.tolist())
    print("topk(2), values: ", values.tolist(), "  classes:", classes.tolist())
    print("label among the two best:      ", found.tolist())
    assert large.tolist() == [[0, 5, 2, 0], [7, 0, 3, 4]]
    assert of_label[0] == logits[0, 3] == 0
    assert of_label[1] == logits[1, 0] == 7
    assert values.tolist() == [[5, 2], [7, 4]]
    assert classes.tolist() == [[1, 2], [0, 3]]
    assert found.tolist() == [False, True]


# %%
def from_numpy_shares_memory_tensor_copies() -> None:
    """`from_numpy` and `numpy()` share memory, `torch.tensor` copies.

    The proof is a change on one side and a look at the other. On the CPU.
    """
    array = np.zeros(2)
    shared = torch.from_numpy(array)
    copied = torch.tensor(array)
    array[0] = 7
    print("array = zeros(2), and after array[0] = 7")
    print("from_numpy(array):               ", shared.tolist(), "shares")
    print("tensor(array):                   ", copied.tolist(), "copied")
    assert shared.tolist() == [7, 0]
    assert copied.tolist() == [0, 0]

    x = torch.zeros(2)
    back = x.numpy()
    x[0] = 7
    print("x = torch.zeros(2), and after x[0] = 7")
    print("x.numpy():                       ", back.tolist(), "shares")
    assert back.tolist() == [7, 0]


# %%
def result_type_is_the_smallest_that_holds_both(device: torch.device) -> None:
    """The result dtype: the higher kind; of one kind, the smallest for both.

    Kinds rise from integer to float. Of two kinds the higher one wins, in its
    own size; of one kind, the smallest dtype that holds both. A Python number
    has a kind and no size: a float makes float32 of integers. A tensor without
    dims has no say within its kind. `assert_close` compares dtypes as well.
    """
    byte = torch.tensor([200], dtype=torch.uint8, device=device)
    signed = torch.tensor([-3], dtype=torch.int8, device=device)
    whole = torch.tensor([3], device=device)  # int64
    single = torch.tensor([0.5], device=device)  # float32
    half = single.to(torch.float16)
    brain = single.to(torch.bfloat16)  # 16 bits as well, see Mixed precision

    print("uint8 200 + int8 -3     ", byte + signed)  # no 8 bits hold both
    print("int64 3 + float16 0.5   ", whole + half)
    print("int64 3 + 0.5           ", whole + 0.5)  # a Python number
    print("uint8 200 + tensor(3)   ", byte + torch.tensor(3))  # without dims
    print("float16 0.5 + 2.0       ", half + 2.0)
    print("float16 + bfloat16      ", half + brain)
    print("int64 3 / 2 and 3 // 2  ", whole / 2, whole // 2)
    assert_close(byte + signed, torch.full_like(byte, 197, dtype=torch.int16))
    assert_close(whole + half, half + 3)
    assert (whole + half).dtype == torch.float16
    assert_close(whole + 0.5, single + 3)
    assert_close(byte + torch.tensor(3), torch.full_like(byte, 203))
    assert_close(half + 2.0, (single + 2).to(torch.float16))
    assert_close(half + brain, 2 * single)  # float32 holds both
    assert_close(whole / 2, single + 1)
    assert_close(whole // 2, whole - 2)


# %%
def einsum_sums_over_letters_that_vanish(device: torch.device) -> None:
    """`einsum` names the dims; a letter that is not kept is summed over.

    "ij,jk->ik" is the sum over j of x[i, j] y[j, k]: the matrix product.
    """
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=device)
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], device=device)
    product = torch.einsum("ij,jk->ik", x, y)
    of_rows = torch.einsum("ij->i", x)

    print("x =", x.tolist())
    print("y =", y.tolist())
    print("ij,jk->ik of x, y:    ", product.tolist(), "= x @ y")
    print("ij->i of x:           ", of_rows.tolist(), "= x.sum(dim=1)")
    looped = torch.zeros(2, 2, device=device)
    for i in range(2):
        for k in range(2):
            for j in range(3):
                looped[i, k] += x[i, j] * y[j, k]
    assert_close(product, looped)
    assert_close(product, x @ y)
    assert_close(of_rows, x.sum(dim=1))


# %% [markdown]
# ## Automatic differentiation
# torch finds the slope of a result along every input. With slopes a model
# learns: it goes downhill, step by step. More: start_autograd.py.


# %%
def a_computation_graph_is_walked_backward(device: torch.device) -> None:
    """A computation records its graph; `backward` walks it to the inputs.

    e = (a + b)(b + 1) at a = 2, b = 1. With c = a + b = 3 and d = b + 1 = 2,
    e = c d = 6. By hand de/da = d; b acts on both factors: de/db = d + c.
    """
    a = torch.tensor(2.0, requires_grad=True, device=device)
    b = torch.tensor(1.0, requires_grad=True, device=device)
    c = a + b
    d = b + 1
    e = c * d
    print("a = 2, b = 1")
    print("c = a + b =", c.item(), "  made by", c.grad_fn.name())
    print("d = b + 1 =", d.item(), "  made by", d.grad_fn.name())
    print("e = c * d =", e.item(), "  made by", e.grad_fn.name())
    assert c == 3
    assert d == 2
    assert e == 6
    assert e.grad_fn.next_functions[0][0] is c.grad_fn
    assert e.grad_fn.next_functions[1][0] is d.grad_fn

    e.backward()
    print("de/da = a.grad =", a.grad.item(), "  by hand d = 2")
    print("de/db = b.grad =", b.grad.item(), "  by hand d + c = 5")
    assert a.grad == 2
    assert b.grad == 5


# %%
def autograd_agrees_with_calculus(device: torch.device) -> None:
    """Automatic differentiation finds the gradients that calculus finds.

    f(x) = (x - 2)^2, f'(x) = 2 (x - 2).
    g(w) = 2 w1 w2 + w2 cos(w1), its gradient
    (2 w2 - w2 sin(w1), 2 w1 + cos(w1)).
    """
    x = torch.tensor(1.0, requires_grad=True, device=device)
    f = (x - 2) ** 2
    f.backward()
    print("f(x) = (x - 2)^2 at x = 1")
    print("  gradient", x.grad.item(), "  by hand 2 (1 - 2) = -2")
    assert x.grad == -2

    # At pi/3 no term vanishes: the sine is 0.866, the cosine 0.5.
    w = torch.tensor([math.pi / 3, 2.0], requires_grad=True, device=device)
    g = 2 * w[0] * w[1] + w[1] * w[0].cos()
    g.backward()
    first = 2 * 2 - 2 * math.sin(math.pi / 3)
    second = 2 * math.pi / 3 + math.cos(math.pi / 3)
    print("g(w) = 2 w1 w2 + w2 cos(w1) at w = (pi/3, 2)")
    print(f"  gradient {w.grad[0]:.4f} {w.grad[1]:.4f}")
    print(f"  by hand  {first:.4f} {second:.4f}")
    assert_close(w.grad, torch.tensor([first, second], device=device))


# %%
def gradient_descent_halves_the_distance(device: torch.device) -> None:
    """Gradient descent on f(x) = (x - 2)^2: each step halves x - 2.

    x - lr * 2 (x - 2) - 2 = (1 - 2 lr)(x - 2). With lr = 0.25 from x = 5,
    after n steps x = 2 + 3 / 2^n.
    """
    x = torch.tensor(5.0, requires_grad=True, device=device)
    lr = 0.25  # the learning rate, or step size
    print("step      x   x - 2    f(x)   slope")
    for step in range(5):
        f = (x - 2) ** 2
        f.backward()
        print(f"{step:4} {x:6.3f} {x - 2:7.4f} {f:7.4f} {x.grad:7.4f}")
        assert x == 2 + 3 / 2**step
        assert f == 9 / 4**step
        assert x.grad == 2 * 3 / 2**step

        with torch.no_grad():  # the step itself is no part of f
            x -= lr * x.grad
        x.grad = None  # or the next backward adds to it
    print(f"{5:4} {x:6.3f} {x - 2:7.4f}")
    assert x == 2 + 3 / 32


# %%
def linear_regression_by_formula_and_by_autograd(device: torch.device) -> None:
    """Linear regression: autograd replaces the formula of the gradient.

    50 points, y = x w + noise with w = (-1, 2). The gradient of the mean of
    (x w - y)^2 is 2/50 x^T (x w - y), of shape (2,).
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2, device=device)
    true_w = torch.tensor([-1.0, 2.0], device=device)
    y = x @ true_w + 0.1 * torch.randn(50, device=device)  # (50,)

    w = torch.zeros(2, device=device)
    for _ in range(30):
        gradient = 2 / 50 * x.T @ (x @ w - y)
        w = w - 0.1 * gradient
    print("50 points of y = x w + noise, w = (-1, 2)")
    print(f"by formula:    w = ({w[0]:.4f}, {w[1]:.4f})")

    v = torch.zeros(2, requires_grad=True, device=device)
    for _ in range(30):
        loss = ((x @ v - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            v -= 0.1 * v.grad
        v.grad = None
    loss = F.mse_loss(x @ v, y)
    print(f"by autograd:   w = ({v[0]:.4f}, {v[1]:.4f})   loss {loss:.6f}")
    assert_close(v.detach(), w)

    # Least squares needs no steps: at its w the gradient is 0.
    best = torch.linalg.pinv(x) @ y  # by the pseudo-inverse of x
    lowest = F.mse_loss(x @ best, y)
    print(f"least squares: w = ({best[0]:.4f}, {best[1]:.4f})", end="")
    print(f"   loss {lowest:.6f}, the lowest")
    assert_close(x.T @ (x @ best - y), torch.zeros_like(w), rtol=0, atol=1e-3)
    assert 0 < lowest < loss
    assert_close(w, best, rtol=0, atol=0.05)
    assert_close(best, true_w, rtol=0, atol=0.1)


# %%
def linear_regression_by_module_and_optimizer(device: torch.device) -> None:
    """`nn.Linear`, `mse_loss` and `SGD` do what was done by hand.

    The same 50 points. By hand as above, the gradient by its formula.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2, device=device)
    true_w = torch.tensor([[-1.0], [2.0]], device=device)
    # (50, 1), the shape that nn.Linear gives
    y = x @ true_w + 0.1 * torch.randn(50, 1, device=device)

    w = torch.zeros(2, 1, device=device)
    for _ in range(30):
        w = w - 0.1 * (2 / 50 * x.T @ (x @ w - y))

    model = nn.Linear(2, 1, bias=False).to(device)
    nn.init.zeros_(model.weight)  # to begin where the other began
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(30):
        loss = F.mse_loss(model(x), y)  # 1. how wrong?
        optimizer.zero_grad()  # 2. forget the gradients of the last step
        loss.backward()  # 3. the gradient of each weight
        optimizer.step()  # 4. w -= lr * w.grad
    learnt = model.weight.detach().T  # (2, 1)

    print("50 points of y = x w + noise, w = (-1, 2)")
    print(f"by hand:    w = ({w[0, 0]:.4f}, {w[1, 0]:.4f})")
    print(f"by library: w = ({learnt[0, 0]:.4f}, {learnt[1, 0]:.4f})")
    assert_close(learnt, w)
    assert_close(learnt, true_w, rtol=0, atol=0.1)


# %%
def excess_of_each_pass(
    x: Tensor, y: Tensor, batch_size: int, lr: float
) -> list[float]:
    """Return how far the loss is above least squares after each pass."""
    best = torch.linalg.pinv(x) @ y
    w = torch.zeros(2, device=x.device)
    excess = []
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(batch_size):  # at random
            error = x[rows] @ w - y[rows]
            w = w - lr * 2 / batch_size * x[rows].T @ error
        excess.append((F.mse_loss(x @ w, y) - F.mse_loss(x @ best, y)).item())
    return excess


def stochastic_descent_leads_after_one_pass(device: torch.device) -> None:
    """Stochastic gradient descent leads at first, the full batch at last.

    The gradient of one point, 2 (x w - y) x, is on average that of all 50, at
    1/50 of the work. A pass is one step on all points, or 50 steps on one each,
    in random order. Each side is shown at its own best of five rates.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2, device=device)
    noise = 0.1 * torch.randn(50, device=device)
    y = x @ torch.tensor([-1.0, 2.0], device=device) + noise
    w = torch.zeros(2, requires_grad=True, device=device)
    F.mse_loss(x @ w, y).backward()
    single = 2 * (x @ w.detach() - y)[:, None] * x  # (50, 2), one a row
    mean = single.mean(dim=0)
    print(f"gradient of point 0:       {single[0, 0]:.3f} {single[0, 1]:.3f}")
    print(f"mean of the 50 gradients:  {mean[0]:.3f} {mean[1]:.3f}")
    print(f"gradient of the mean loss: {w.grad[0]:.3f} {w.grad[1]:.3f}")
    assert_close(mean, w.grad)

    by_all, by_one = [], []
    for lr in [0.02, 0.05, 0.1, 0.3, 0.5]:
        by_all.append(excess_of_each_pass(x, y, batch_size=50, lr=lr))
        by_one.append(excess_of_each_pass(x, y, batch_size=1, lr=lr))
    all_best = torch.tensor(by_all).amin(dim=0)  # (10,), of each pass
    one_best = torch.tensor(by_one).amin(dim=0)
    print("loss above that of least squares, each at its best rate")
    print("                 one pass   10 passes")
    print(f"all points      {all_best[0]:9.6f}   {all_best[9]:9.6f}")
    print(f"one at a time   {one_best[0]:9.6f}   {one_best[9]:9.6f}")
    assert 0 <= one_best[0] < all_best[0] / 10
    # Each point has a minimum of its own, so w never comes to a stop.
    assert -1e-6 < all_best[9] < one_best[9] / 2


# %% [markdown]
# ## Common modules and functions
# The parts that models are made of: layers, activations, losses, optimizers,
# schedulers, convolutions. More: start_buildnn.py and start_optimizer.py.


# %%
def two_linear_layers_without_activation_are_one(device: torch.device) -> None:
    """Without an activation between them, two Linear layers are one.

    `nn.Linear(3, 4)` holds a weight A (4, 3) and a bias a (4,) and returns
    x A^T + a. A second one makes (x A^T + a) B^T + b of it, which is
    x (B A)^T + (a B^T + b): again a weight and a bias.
    """
    torch.manual_seed(0)
    first = nn.Linear(3, 4).to(device)
    second = nn.Linear(4, 2).to(device)
    x = torch.randn(5, 3, device=device)
    print("first.weight", tuple(first.weight.shape), end="")
    print("  first.bias", tuple(first.bias.shape))
    assert first.weight.shape == (4, 3)
    assert first.bias.shape == (4,)
    assert_close(first(x), x @ first.weight.T + first.bias)

    two = nn.Sequential(first, second)(x)  # calls one after the other
    weight = second.weight @ first.weight  # (2, 3)
    bias = first.bias @ second.weight.T + second.bias  # (2,)
    one = x @ weight.T + bias
    print("row 0 of 5")
    print(f"two layers:             {two[0, 0]:.4f} {two[0, 1]:.4f}")
    print(f"one layer:              {one[0, 0]:.4f} {one[0, 1]:.4f}")
    assert_close(two, one)

    bent = nn.Sequential(first, nn.ReLU(), second)(x)
    by_hand = first(x).clamp(min=0) @ second.weight.T + second.bias
    print(f"with a ReLU in between: {bent[0, 0]:.4f} {bent[0, 1]:.4f}")
    assert_close(bent, by_hand)
    assert not torch.allclose(bent, one, atol=0.01)


# %%
class SmallNet(nn.Module):
    """Three numbers to two, with four hidden units."""

    def __init__(self):
        super().__init__()  # before any layer is set
        self.hidden = nn.Linear(3, 4)
        self.output = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (batch, 2) of the inputs (batch, 3)."""
        x = self.hidden(x).relu()  # (batch, 4)
        return self.output(x)  # (batch, 2)


def a_class_of_nn_module_has_init_and_forward(device: torch.device) -> None:
    """A model is a class: `__init__` makes layers, `forward` uses them.

    Layers set as attributes are found by `parameters()` and moved by `to`.
    Parameters: 3 * 4 + 4 and 4 * 2 + 2, together 26.
    """
    torch.manual_seed(0)
    model = SmallNet().to(device)
    print(model)
    count = 0
    for parameter in model.parameters():  # two weights, two biases
        count += parameter.numel()
    print("numbers to learn:", count)
    assert count == 3 * 4 + 4 + 4 * 2 + 2

    x = torch.randn(5, 3, device=device)
    y = model(x)  # call the model, which calls forward
    print("x", tuple(x.shape), "  model(x)", tuple(y.shape))
    assert y.shape == (5, 2)
    chain = nn.Sequential(model.hidden, nn.ReLU(), model.output)
    assert_close(y, chain(x))  # what a Sequential can do as well


# %%
def relu_tanh_sigmoid_silu_gelu_by_formula(
    device: torch.device, figures: Path
) -> None:
    """Activations: relu, tanh, sigmoid, silu and gelu by their formulas.

    An activation bends a straight line. P(x) is the share of a normal
    distribution that lies below x, (1 + erf(x / sqrt(2))) / 2.
    """
    x = torch.arange(-40, 41, device=device) / 10  # -4.0 to 4.0
    relu = F.relu(x)
    tanh = torch.tanh(x)
    sigmoid = torch.sigmoid(x)
    silu = F.silu(x)
    gelu = F.gelu(x)
    assert_close(relu, x.clamp(min=0))
    assert_close(tanh, (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()))
    assert_close(sigmoid, 1 / (1 + (-x).exp()))
    assert_close(silu, x / (1 + (-x).exp()))
    assert_close(gelu, x * (1 + (x / math.sqrt(2)).erf()) / 2)

    print("relu max(x, 0)   tanh (e^x - e^-x) / (e^x + e^-x)")
    print("sigmoid 1 / (1 + e^-x)   silu x sigmoid(x)   gelu x P(x)")
    print("   x    relu    tanh  sigmoid   silu    gelu")
    for i in range(20, 61, 10):
        print(f"{x[i]:4.0f} {relu[i]:7.3f} {tanh[i]:7.3f}", end="")
        print(f" {sigmoid[i]:7.3f} {silu[i]:7.3f} {gelu[i]:7.3f}")
    assert x[20:61:10].tolist() == [-2, -1, 0, 1, 2]

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot(x.tolist(), relu.tolist(), label="relu")
    axes.plot(x.tolist(), tanh.tolist(), label="tanh")
    axes.plot(x.tolist(), sigmoid.tolist(), label="sigmoid")
    axes.plot(x.tolist(), silu.tolist(), "--", label="silu")
    axes.plot(x.tolist(), gelu.tolist(), ":", label="gelu")
    axes.set(xlabel="x", ylim=(-1.2, 2.5), title="activations")
    axes.legend()
    save_figure(figure, "tour_activations", figures)


# %%
def cross_entropy_is_minus_the_log_probability(device: torch.device) -> None:
    """`cross_entropy` is -log of the probability of the right class.

    Of two logits z0 and z1, softmax gives class 0 the probability
    e^z0 / (e^z0 + e^z1). If that class is right, the loss is
    log(1 + e^(z1 - z0)): most for an answer that is confident and wrong.
    """
    label = torch.tensor([0], device=device)
    right = torch.tensor([[1.0, 0.0]], device=device)  # (batch 1, 2 classes)
    wrong = torch.tensor([[0.0, 1.0]], device=device)
    disaster = torch.tensor([[0.0, 5.0]], device=device)

    probability = right.softmax(dim=1)[0, 0]
    loss_right = F.cross_entropy(right, label)
    loss_wrong = F.cross_entropy(wrong, label)
    loss_disaster = F.cross_entropy(disaster, label)
    print("class 0 is right; of the logits 1, 0 softmax gives it the")
    print(f"probability {probability:.4f}, -log of it {-probability.log():.4f}")
    print(f"logits 1, 0: right                loss {loss_right:.4f}")
    print(f"logits 0, 1: wrong                loss {loss_wrong:.4f}")
    print(f"logits 0, 5: wrong and confident  loss {loss_disaster:.4f}")
    assert_close(loss_right, -probability.log())
    assert math.isclose(loss_right, math.log(1 + math.exp(-1)), rel_tol=1e-4)
    assert math.isclose(loss_wrong, math.log(1 + math.exp(1)), rel_tol=1e-4)
    assert math.isclose(loss_disaster, math.log(1 + math.exp(5)), rel_tol=1e-4)


# %%
def mse_l1_and_huber_by_formula(device: torch.device) -> None:
    """Of an error of 5 and one of 1, the 5 weighs most in `mse_loss`.

    An error e counts e^2 in `mse_loss` and |e| in `l1_loss`. In `huber_loss`
    it counts e^2 / 2 up to an error of 1 and |e| - 1/2 beyond it: outliers,
    which are points far off, pull less than with squares.
    """
    guess = torch.tensor([1.0, 5.0], device=device)
    target = torch.tensor([0.0, 0.0], device=device)
    mse = F.mse_loss(guess, target)
    l1 = F.l1_loss(guess, target)
    huber = F.huber_loss(guess, target)

    print("guesses 1 and 5, both targets 0")
    print("mse_loss:  ", mse.item(), "= (1 + 25) / 2, 25 times as much")
    print("huber_loss:", huber.item(), " = (0.5 + 4.5) / 2, 9 times as much")
    print("l1_loss:   ", l1.item(), " = (1 + 5) / 2, 5 times as much")
    assert mse == (1**2 + 5**2) / 2
    assert l1 == (1 + 5) / 2
    assert huber == (1**2 / 2 + (5 - 0.5)) / 2


# %%
def wave_net() -> nn.Module:
    """Return a small network, with the same weights at each call."""
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64))
    return nn.Sequential(hidden, nn.Tanh(), nn.Linear(64, 1))


def fit_wave(model: nn.Module, optimizer, x: Tensor, y: Tensor) -> Tensor:
    """Train `model` for 80 steps on all points; return what it has learnt."""
    for _ in range(80):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model(x).detach()


def adam_and_momentum_fit_a_wave_plain_sgd_does_not(
    device: torch.device, figures: Path
) -> None:
    """Adam and momentum fit a wave in the steps in which SGD does not.

    y = 4 sin(pi x) cos(4 pi x^2) at 80 points, 80 steps on all of them, each
    optimizer near its own best rate. SGD goes w - lr g along the gradient g,
    momentum w - lr v along v = 0.9 v + g, in which old gradients fade; Adam
    also divides by the usual size of each weight's gradient.
    """
    x = torch.linspace(0, 1, 80, device=device)[:, None]  # (80, 1)
    y = 4 * (math.pi * x).sin() * (4 * math.pi * x**2).cos()
    inputs = 4 * x - 2  # from 0..1 to -2..2, around 0
    sgd = wave_net().to(device)
    momentum = wave_net().to(device)
    adam = wave_net().to(device)
    optimizer = torch.optim.SGD(sgd.parameters(), lr=0.08)
    by_sgd = fit_wave(sgd, optimizer, inputs, y)
    optimizer = torch.optim.SGD(momentum.parameters(), lr=0.04, momentum=0.9)
    by_momentum = fit_wave(momentum, optimizer, inputs, y)
    optimizer = torch.optim.Adam(adam.parameters(), lr=0.015)
    by_adam = fit_wave(adam, optimizer, inputs, y)
    assert torch.equal(sgd(inputs), by_sgd)  # no other training moved it

    sgd_error = F.mse_loss(by_sgd, y)
    momentum_error = F.mse_loss(by_momentum, y)
    adam_error = F.mse_loss(by_adam, y)
    print("mean squared error after 80 steps")
    print(f"always 0: {(y**2).mean():.4f}   SGD:  {sgd_error:.4f}")
    print(f"momentum: {momentum_error:.4f}   Adam: {adam_error:.4f}")
    assert 0 < momentum_error < sgd_error / 3
    assert 0 < adam_error < sgd_error / 3
    assert sgd_error < (y**2).mean() / 2  # it learns, only more slowly

    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    axes.plot(x.tolist(), y.tolist(), "k.", label="y")
    axes.plot(x.tolist(), by_sgd.tolist(), label="SGD")
    axes.plot(x.tolist(), by_momentum.tolist(), label="momentum")
    axes.plot(x.tolist(), by_adam.tolist(), label="Adam")
    axes.set(xlabel="x", ylabel="y", title="a wave, fitted in 80 steps")
    axes.legend()
    save_figure(figure, "tour_wave", figures)


# %%
def farthest_in_last_epoch(
    x: Tensor, y: Tensor, falling: bool
) -> tuple[float, list[float]]:
    """Return the largest distance of w in the last of 10 epochs; rates."""
    w = torch.zeros(2, requires_grad=True, device=x.device)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    best = torch.linalg.pinv(x) @ y
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        farthest = 0.0  # begins anew in each epoch
        for i in range(len(x)):
            loss = (x[i] @ w - y[i]) ** 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            distance = torch.linalg.vector_norm(w.detach() - best).item()
            farthest = max(farthest, distance)
        if falling:
            scheduler.step()  # once an epoch: the rate of the next one
    return farthest, rates


def a_falling_rate_ends_nearer_the_minimum(device: torch.device) -> None:
    """A learning rate that falls to 0 ends nearer the minimum.

    Linear regression, one point a step, 12 noisy points. Each point pulls w to
    a minimum of its own; at a constant rate w keeps moving between them. An
    epoch is one pass over the data. A scheduler sets its rate, here that of
    epoch n, from 0, to 0.1 (1 + cos(pi n / 10)) / 2.
    """
    torch.manual_seed(0)
    x = torch.randn(12, 2, device=device)
    noise = 0.5 * torch.randn(12, device=device)
    y = x @ torch.tensor([-1.0, 2.0], device=device) + noise

    constant, _ = farthest_in_last_epoch(x, y, falling=False)
    falling, rates = farthest_in_last_epoch(x, y, falling=True)
    print(f"falling rate: {rates[0]:.4f} {rates[1]:.4f} ... {rates[9]:.4f}")
    print("largest distance of w from least squares in the last of 10 epochs")
    print(f"lr 0.1 throughout:               {constant:.4f}")
    print(f"lr 0.1 falling (cosine) to 0:    {falling:.4f}")
    assert rates[0] == 0.1
    for epoch in range(10):
        by_hand = 0.1 * (1 + math.cos(math.pi * epoch / 10)) / 2
        assert math.isclose(rates[epoch], by_hand)
    assert 0 < falling < constant / 2
    assert constant < 2  # w began at a distance of about sqrt(1 + 4)


# %%
def convolution_is_a_weighted_sum_at_each_place(device: torch.device) -> None:
    """`conv2d` slides a kernel over an image: a weighted sum at each place.

    Image (3, 4) and kernel (2, 2) give (2, 3): as many places as the kernel
    has. The kernel below is right minus left, so it finds upright edges.
    """
    image = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 0, 0]])
    image = image.to(device)
    kernel = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], device=device)
    # (batch, channels, height, width), (channels out, in, height, width)
    output = F.conv2d(image[None, None], kernel[None, None])[0, 0]

    print("image: ", *image.int().tolist())
    print("kernel:", *kernel.int().tolist())
    print("output:", *output.int().tolist())
    looped = torch.zeros(2, 3, device=device)
    for i in range(2):
        for j in range(3):
            looped[i, j] = (kernel * image[i : i + 2, j : j + 2]).sum()
    assert_close(output, looped)
    assert output.tolist() == [[0, 18, 0], [0, 9, 0]]


# %%
def conv2d_maps_3_channels_to_16(device: torch.device) -> None:
    """`Conv2d(3, 16, 5)`: 16 kernels, each as deep as the 3 channels.

    Height becomes (height + 2 padding - kernel) // stride + 1, width alike.
    Weights 16 * 3 * 5 * 5 = 1200, biases 16.
    """
    images = torch.zeros(2, 3, 28, 32, device=device)  # red, green and blue
    layer = nn.Conv2d(3, 16, kernel_size=5).to(device)
    padded = nn.Conv2d(3, 16, kernel_size=5, padding=2).to(device)
    stepped = nn.Conv2d(3, 16, kernel_size=5, padding=2, stride=2).to(device)

    print("images                 ", tuple(images.shape))
    print("Conv2d(3, 16, 5)       ", tuple(layer(images).shape))
    print("  ... padding=2        ", tuple(padded(images).shape))
    print("  ... and stride=2     ", tuple(stepped(images).shape))
    print("layer.weight           ", tuple(layer.weight.shape))
    print("layer.bias             ", tuple(layer.bias.shape))
    assert layer(images).shape == (2, 16, 28 - 5 + 1, 32 - 5 + 1)
    assert padded(images).shape == (2, 16, 28, 32)
    assert stepped(images).shape == (2, 16, (28 + 4 - 5) // 2 + 1, 16)
    assert layer.weight.shape == (16, 3, 5, 5)
    assert layer.weight.numel() == 1200
    assert layer.bias.shape == (16,)


# %%
def kernels_blur_find_edges_and_sharpen(
    device: torch.device, figures: Path
) -> None:
    """Three kernels of one `Conv2d` blur a digit, find edges and sharpen.

    The blur is a Gaussian, (1, 4, 6, 4, 1) / 16 down times the same across.
    edges = image - blur, sharp = image + edges.
    """
    image = font_digits("test", 1)[0][0, 0].to(device)  # (28, 28), in 0..1
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=device) / 16
    blur = torch.outer(line, line)  # (5, 5)
    same = torch.zeros(5, 5, device=device)
    same[2, 2] = 1  # this kernel alone would return the image
    kernels = torch.stack([blur, same - blur, 2 * same - blur])  # (3, 5, 5)

    # With a bias a random number would be added to each pixel.
    layer = nn.Conv2d(1, 3, kernel_size=5, padding=2, bias=False).to(device)
    with torch.no_grad():
        layer.weight.copy_(kernels[:, None])  # (3, 1, 5, 5)
        blurred, edges, sharp = layer(image[None, None])[0]  # (28, 28) each

    # One pixel by hand; a GPU rounds a convolution to 10 bits.
    by_hand = (blur * image[10:15, 11:16]).sum()
    assert_close(blurred[12, 13], by_hand, rtol=0, atol=2e-3)
    assert_close(edges, image - blurred, rtol=0, atol=2e-3)
    assert_close(sharp, image + edges, rtol=0, atol=2e-3)

    # How rough: the mean difference between a pixel and its right neighbour.
    rough_image = image.diff().abs().mean()
    rough_blurred = blurred.diff().abs().mean()
    rough_sharp = sharp.diff().abs().mean()
    print(f"a pixel and its right neighbour differ by {rough_image:.3f},")
    print(f"blurred by {rough_blurred:.3f}, sharp by {rough_sharp:.3f}")
    assert rough_blurred < 0.7 * rough_image
    assert rough_sharp > 1.3 * rough_image

    figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
    strip = torch.cat([image, blurred, edges, sharp], dim=1).cpu().numpy()
    axes.imshow(strip, cmap="gray", vmin=-0.5, vmax=1.5)
    axes.set(title="image, blur, edges, sharp", xticks=[], yticks=[])
    save_figure(figure, "tour_convolution", figures)


# %% [markdown]
# ## Dataset and DataLoader
# A Dataset says how many samples there are and which is number i; a DataLoader
# makes batches of them. More: start_dataloader.py.


# %%
class ArrayData(Dataset):
    """Rows of an array as inputs, their sums as targets."""

    def __init__(self, array: np.ndarray):
        self.x = torch.from_numpy(array).float()  # NumPy's floats are float64
        self.y = self.x.sum(dim=1)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return the input (2,) and the target () of one sample."""
        return self.x[index], self.y[index]


def a_dataset_of_arrays_answers_len_and_index() -> None:
    """A Dataset is a class with `__len__` and `__getitem__`.

    Eight samples: (0, 1) with target 1, (2, 3) with target 5 and so on.
    """
    data = ArrayData(np.arange(16.0).reshape(8, 2))
    x, y = data[3]
    print("len(data) =", len(data))
    print("data[3]   =", x.tolist(), y.item(), x.dtype)
    assert len(data) == 8
    assert x.tolist() == [6, 7]
    assert y == 13
    assert x.dtype == torch.float32  # what the weights of a model are
    # For tensors that are there already torch has such a class:
    ready = torch.utils.data.TensorDataset(data.x, data.y)
    assert torch.equal(ready[3][0], x)
    assert torch.equal(ready[3][1], y)


# %%
def batch_size_cuts_a_dataset_into_batches(device: torch.device) -> None:
    """`DataLoader(batch_size=3)` stacks 3 samples; the last batch has 2.

    Data stay on the CPU; a batch moves to the device when it is used.
    """
    numbers = torch.arange(8.0)
    data = torch.utils.data.TensorDataset(numbers, 10 * numbers)
    print("8 samples, batch_size=3")
    batches = []
    for x, y in DataLoader(data, batch_size=3):
        x = x.to(device)
        y = y.to(device)
        print("x", x.tolist(), "  y", y.tolist())
        assert torch.equal(y, 10 * x)  # input and target stay together
        batches.append(x.tolist())
    assert batches == [[0, 1, 2], [3, 4, 5], [6, 7]]

    whole = DataLoader(data, batch_size=3, drop_last=True)
    print("batches:", len(batches), "  with drop_last=True:", len(whole))
    assert len(list(whole)) == len(whole) == 2


# %%
def shuffle_gives_another_order_in_each_epoch() -> None:
    """`shuffle=True` draws a new order each epoch and loses no sample.

    A generator with a seed repeats the orders. Train with it, test without.
    """
    data = torch.arange(8)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(data, 3, shuffle=True, generator=generator)
    first = torch.cat(list(loader))  # one epoch
    second = torch.cat(list(loader))
    generator.manual_seed(0)
    again = torch.cat(list(loader))
    print("epoch 1:           ", first.tolist())
    print("epoch 2:           ", second.tolist())
    print("from the seed again", again.tolist())
    assert not torch.equal(first, data)
    assert not torch.equal(second, first)
    assert torch.equal(again, first)
    assert torch.equal(first.sort().values, data)
    assert torch.equal(second.sort().values, data)


# %%
class Doubles(Dataset):
    """The numbers 0, 2, 4 ..., each with the process that made it."""

    def __len__(self) -> int:
        """Return how many there are."""
        return 8

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Return a number and the id of this process."""
        return 2 * index, os.getpid()


def num_workers_fetch_in_other_processes(workers: int) -> None:
    """With `num_workers` samples are fetched in processes of their own.

    A worker may be a new Python that imports your script. So all that runs
    stands under `if __name__ == "__main__":`, as at the end of this file, or
    each worker would begin the whole program once more. With --tiny there is
    no worker: to import torch in one takes seconds.
    """
    # "spawn" is what Windows and macOS do: a new Python for each worker.
    context = "spawn" if workers else None
    loader = DataLoader(
        Doubles(), 4, num_workers=workers, multiprocessing_context=context
    )
    numbers = []
    makers = set()
    for batch, processes in loader:
        numbers += batch.tolist()
        makers |= set(processes.tolist())
    print("num_workers:", workers)
    print("numbers:    ", numbers)
    print("some were made in this process:", os.getpid() in makers)
    assert numbers == [0, 2, 4, 6, 8, 10, 12, 14]  # in order all the same
    assert len(makers) == max(workers, 1)
    assert (os.getpid() in makers) == (workers == 0)


# %% [markdown]
# ## A whole model in one page
# Train, score, save, load, predict: with the imports, random_affine and
# font_digits, these cells run in a file of your own. More: start_optimizer.py.


# %%
class Net(nn.Module):
    """Grey images (batch, 1, 28, 28) to logits of ten classes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, kernel_size=5, stride=2, padding=2)
        self.second = nn.Conv2d(8, 16, kernel_size=5, stride=2, padding=2)
        self.dropout = nn.Dropout(0.25)  # in training a quarter becomes 0
        self.output = nn.Linear(16 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, 10); the largest one is the answer."""
        x = self.first(x).relu()  # (batch, 8, 14, 14)
        x = self.second(x).relu()  # (batch, 16, 7, 7)
        x = self.dropout(x.flatten(1))  # (batch, 784)
        return self.output(x)


def eval_and_no_grad_before_predicting(device: torch.device) -> None:
    """`eval()` makes the answer repeatable, `no_grad` keeps no graph.

    In training mode dropout zeroes other units each time. The two switches
    are separate: `eval()` records a graph as well.
    """
    torch.manual_seed(0)
    model = Net().to(device)
    image = font_digits("test", 1)[0].to(device)  # (1, 1, 28, 28)

    model.train()
    first = model(image)
    second = model(image)
    print("image", tuple(image.shape), "  logits", tuple(first.shape))
    print(f"train mode: logit 0 {first[0, 0]:.4f}, then {second[0, 0]:.4f}")
    assert first.shape == (1, 10)
    assert not torch.allclose(first, second, atol=1e-3)

    model.eval()
    first = model(image)
    second = model(image)
    print(f"eval mode:  logit 0 {first[0, 0]:.4f}, then {second[0, 0]:.4f}")
    print("eval mode:  requires_grad is", first.requires_grad)
    assert torch.equal(first, second)
    assert first.requires_grad

    with torch.no_grad():
        third = model(image)
    print("no_grad:    requires_grad is", third.requires_grad)
    assert not third.requires_grad
    assert torch.equal(third, first)


# %%
def train_net(
    model: nn.Module, images: Tensor, labels: Tensor, epochs: int
) -> list[float]:
    """Train `model` on its device; return the mean loss of each epoch."""
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=0.007)
    data = torch.utils.data.TensorDataset(images, labels)
    loader = DataLoader(data, batch_size=32, shuffle=True)
    model.train()  # dropout on
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(x) * loss.item()
        losses.append(total / len(images))
        print(f"epoch {epoch + 1}: mean loss {losses[-1]:.3f}")
    return losses


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose largest logit is the label's."""
    device = next(model.parameters()).device
    model.eval()  # dropout off
    with torch.no_grad():  # no graph is needed
        answers = model(images.to(device)).argmax(dim=1)
    return (answers.cpu() == labels).float().mean().item()


def train_on_some_fonts_and_score_on_others(
    device: torch.device, *, count: int = 2000, epochs: int = 4
) -> nn.Module:
    """Accuracy is lower on fonts never trained on, and that is what counts.

    Training: DejaVu, validation: STIX, test: Computer Modern. Choices, such as
    the number of epochs, are made by validation; the test is for the end.
    """
    torch.manual_seed(0)
    images, labels = font_digits("train", count)
    new_images, new_labels = font_digits("validation", 500)
    last_images, last_labels = font_digits("test", 500)
    model = Net().to(device)
    before = accuracy(model, new_images, new_labels)
    losses = train_net(model, images, labels, epochs)
    assert model.training
    assert 2.5 > losses[0] > losses[-1] > 0.1

    seen = accuracy(model, images, labels)
    validation = accuracy(model, new_images, new_labels)
    test = accuracy(model, last_images, last_labels)
    assert not model.training
    print("accuracy, the share of right answers")
    print(f"before training:         {before:.3f}, by guessing 0.1")
    print(f"fonts of the training:   {seen:.3f}")
    print(f"validation, other fonts: {validation:.3f}")
    print(f"test, other fonts:       {test:.3f}")
    assert 0 <= before < 0.3
    assert 0.7 < seen <= 1
    assert 0.3 < validation < seen
    assert 0.3 < test < seen
    assert not torch.equal(last_images, new_images)
    right = model(last_images.to(device)).argmax(dim=1).cpu() == last_labels
    assert math.isclose(test, right.sum() / 500, rel_tol=1e-4)
    return model


# %%
def save_and_load_a_state_dict(device: torch.device) -> None:
    """Save `model.state_dict()`; a new model of the class loads it.

    It holds names and tensors, no code: the class must be in the file that
    loads. `map_location="cpu"` reads on any machine what a GPU has saved.
    """
    torch.manual_seed(0)
    model = Net().to(device).eval()
    images = font_digits("test", 5)[0].to(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.pt")
        torch.save(model.state_dict(), path)
        state = torch.load(path, map_location="cpu")  # tensors only

    print("names:", *list(state)[:4], "...")
    loaded = Net().to(device).eval()
    assert not torch.allclose(loaded(images), model(images))
    loaded.load_state_dict(state)  # changes `loaded`; do not assign the result
    before = model(images)  # logits (5, 10)
    after = loaded(images)
    print("two of the logits of image 0")
    print(f"the model that was saved: {before[0, 0]:.4f} {before[0, 1]:.4f}")
    print(f"the one that loaded it:   {after[0, 0]:.4f} {after[0, 1]:.4f}")
    assert_close(after, before)
    assert list(state) == list(model.state_dict())


# %%
def predict_image(model: nn.Module, path: Path) -> tuple[int, float]:
    """Return the class and its probability of one image file."""
    device = next(model.parameters()).device
    grey = Image.open(path).convert("L").resize((28, 28))  # one byte a pixel
    image = torch.from_numpy(np.array(grey)) / 255  # (28, 28), in 0..1
    if image.mean() > 0.5:  # dark ink on white paper
        image = 1 - image  # in training the ink was white
    batch = image[None, None].to(device)  # (1, 1, 28, 28)
    model.eval()
    with torch.no_grad():
        probabilities = model(batch).softmax(dim=1)[0]  # (10,)
    label = probabilities.argmax().item()
    return label, probabilities[label].item()


def predict_one_image_of_your_own(
    device: torch.device, *, count: int = 2000, epochs: int = 3
) -> None:
    """Read a PNG as the training images were, add the batch dim, predict.

    White ink on black, or dark ink on white paper, not transparent; the digit
    about as large as those of the training. This font was in no training.
    """
    torch.manual_seed(0)
    model = Net().to(device)
    images, labels = font_digits("train", count)
    train_net(model, images, labels, epochs)

    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = ImageFont.truetype(str(fonts / "cmr10.ttf"), size=26)
    picture = Image.new("L", (28, 28), 0)  # black
    ImageDraw.Draw(picture).text((14, 14), "4", 255, font, anchor="mm")
    pixels = np.array(picture)  # (28, 28), 0 to 255
    paper = Image.fromarray(255 - pixels)  # black on white
    paper = paper.convert("RGB").resize((56, 56))  # in colour, twice as large
    with tempfile.TemporaryDirectory() as folder:
        picture.save(Path(folder, "four.png"))
        label, probability = predict_image(model, Path(folder, "four.png"))
        paper.save(Path(folder, "paper.png"))
        again, same = predict_image(model, Path(folder, "paper.png"))
    print('a "4" in Computer Modern')
    print(f"white on black, predicted: {label}, probability {probability:.3f}")
    print(f"as RGB, 56 x 56, black on white: {again}, probability {same:.3f}")
    assert label == 4
    assert 0.2 < probability <= 1
    assert again == 4
    assert abs(same - probability) < 0.1  # a pixel is a mean of others now

    # The same by hand, from the pixels that were never a file.
    x = torch.tensor(pixels / 255, dtype=torch.float32, device=device)
    logits = model(x.view(1, 1, 28, 28))[0]
    by_hand = logits[4].exp() / logits.exp().sum()
    assert math.isclose(probability, by_hand.item(), rel_tol=0.01)


# %% [markdown]
# ## Mixed precision
# Products in 16 bits, where they are fast, the rest in 32. GPUs and the latest
# CPUs have units for it; most CPUs do not, and are slower with 16 bits.


# %%
def float16_has_digits_bfloat16_has_range(device: torch.device) -> None:
    """float16 has more digits, bfloat16 the range of float32.

    Bits for sign, exponent and fraction: float32 1 + 8 + 23, float16
    1 + 5 + 10, bfloat16 1 + 8 + 7. So float16 ends at 65504 and at 6e-8, and
    bfloat16 counts to 256: after it comes 258.
    """
    x = torch.tensor([70_000.0, 1e-8, 257.0, 1.001], device=device)
    half = x.to(torch.float16)
    brain = x.to(torch.bfloat16)
    print("float32  [70000.0, 1e-08, 257.0, 1.001]")
    print("float16 ", half.tolist())
    print("bfloat16", brain.tolist())
    assert half[0].isinf()
    assert half[1] == 0
    assert half[2] == 257
    assert half[3] == 1 + 2**-10
    assert abs(brain[0] / 70_000 - 1) < 0.005
    assert 0 < brain[1] < 1.1e-8
    assert brain[2] == 256
    assert brain[3] == 1
    print("largest float16: ", torch.finfo(torch.float16).max)
    print("largest bfloat16:", torch.finfo(torch.bfloat16).max)
    assert torch.finfo(torch.float16).max == 65504
    assert torch.finfo(torch.bfloat16).max > 3e38


# %%
def autocast_picks_a_dtype_for_each_operation(
    device: torch.device, half: torch.dtype
) -> None:
    """Under `autocast` products are in 16 bits, losses in 32.

    Weights and their gradients stay float32. Only the forward pass and the loss
    stand under it; `half` is bfloat16, or float16 on a GPU that lacks it.
    """
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).to(device)
    x = torch.randn(5, 4, device=device)
    labels = torch.zeros(5, dtype=torch.int64, device=device)
    with torch.autocast(device.type, half):
        logits = layer(x)
        loss = F.cross_entropy(logits, labels)
    loss.backward()  # outside; it knows the type of each operation

    print("logits  ", logits.dtype)
    print("loss    ", loss.dtype)
    print("weight  ", layer.weight.dtype)
    print("gradient", layer.weight.grad.dtype)
    assert logits.dtype == half
    assert loss.dtype == torch.float32
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad.dtype == torch.float32

    exact = layer(x)
    difference = (logits.float() - exact).abs().max().item()
    print(f"largest difference of a logit from float32: {difference:.4f}")
    assert 0 < difference < 0.05


# %%
def grad_scaler_scales_skips_and_goes_on() -> None:
    """`GradScaler` keeps small gradients of float16, and skips infinite ones.

    The loss times scale gives gradients times scale, divided before the step.
    Too large a scale gives inf: no step, and half the scale. On the CPU.
    """
    # Backward passes `half`, so the gradient is a float16 on its way to w.
    w = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    (w.half().float() * 1e-8).backward()
    print("no scaler, slope 1e-08: gradient", w.grad.item())
    assert w.grad == 0  # the least float16 above 0 is 6e-8

    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    optimizer.zero_grad()
    scaler.scale(w.half().float() * 1e-8).backward()
    scaler.step(optimizer)
    scaler.update()
    scale = scaler.get_scale()
    print(f"step 1, slope 1e-08: w = {w:.2e}   scale {scale}")
    assert math.isclose(w.item(), -1e-8, rel_tol=0.01)
    assert scale == 65536

    optimizer.zero_grad()
    scaler.scale(w.half().float() * 1.5).backward()
    scaler.step(optimizer)  # 1.5 * 65536 is beyond 65504
    scaler.update()
    scale = scaler.get_scale()
    print(f"step 2, slope 1.5:   w = {w:.2e}   scale {scale}, skipped")
    assert math.isclose(w.item(), -1e-8, rel_tol=0.01)
    assert scale == 32768

    optimizer.zero_grad()
    scaler.scale(w.half().float() * 1.5).backward()
    scaler.step(optimizer)
    scaler.update()
    scale = scaler.get_scale()
    print(f"step 3, slope 1.5:   w = {w:.4f}    scale {scale}")
    assert math.isclose(w.item(), -1.5, rel_tol=1e-6)
    assert scale == 32768


# %%
def train_mixed(
    model: nn.Module, x: Tensor, labels: Tensor, dtype: torch.dtype
) -> None:
    """Train `model` for 4 epochs with products in `dtype`."""
    kind = x.device.type
    optimizer = torch.optim.Adam(model.parameters(), lr=0.007)
    scaler = torch.amp.GradScaler(kind, enabled=dtype == torch.float16)
    mixed = torch.autocast(kind, dtype, enabled=dtype != torch.float32)
    model.train()
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(32):
            with mixed:
                logits = model(x[rows])
                loss = F.cross_entropy(logits, labels[rows])
            assert logits.dtype == dtype
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    model.eval()


def mixed_precision_ends_at_the_same_loss(
    device: torch.device,
    half: torch.dtype,
    net: type,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Mixed precision ends here within 5% of the loss of float32.

    Beside the loop of chapter 5: model and loss stand under autocast, the
    scaler scales the loss, makes the step, and updates its scale. Two small
    models begin with the same weights. Then `net`, the class of chapter 5, is
    trained in `dtype`: 16 bits with the flag `--amp`, float32 without it.
    """
    torch.manual_seed(0)
    x = torch.randn(480, 8, device=device)
    labels = (x[:, 0] + torch.randn(480, device=device) / 2 > 0).long()
    single = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))
    single = single.to(device)
    mixed = copy.deepcopy(single)
    torch.manual_seed(1)  # the same order of batches for both
    train_mixed(single, x, labels, torch.float32)
    torch.manual_seed(1)
    train_mixed(mixed, x, labels, half)
    single_loss = F.cross_entropy(single(x), labels)
    mixed_loss = F.cross_entropy(mixed(x), labels)
    print(f"float32:             loss {single_loss:.5f}")
    print(f"products in 16 bits: loss {mixed_loss:.5f}")
    print(f"by guessing, log(2): loss {math.log(2):.5f}")
    assert 0 < single_loss < 0.5
    assert_close(mixed_loss, single_loss, rtol=0.05, atol=0)
    assert mixed_loss != single_loss  # rounding has left a trace

    images, labels = font_digits("train", 320)
    model = net().to(device)
    train_mixed(model, images.to(device), labels.to(device), dtype)
    right = model(images.to(device)).argmax(dim=1).cpu() == labels
    print("the net of chapter 5 on font digits, 16 bits with --amp:")
    print(f"{dtype}, accuracy {right.float().mean():.3f}")
    assert not model.training
    assert 0.4 < right.float().mean() <= 1  # a guess is right in 0.1


# %% [markdown]
# ## Mistakes
# Some stop with a message: code, message and cure are printed. The others are
# silent: the wrong result and the right one stand side by side.


# %%
def mistakes_with_shapes_that_stop(device: torch.device) -> None:
    """Shapes that do not fit stop with a message: `view` and `cat`."""
    images = torch.zeros(30, 28, 28, device=device)
    with caught(RuntimeError, "is invalid for input of size"):
        images.view(10, 784)
    flat = images.flatten(1)  # right: the batch stays 30
    assert flat.shape == (30, 784)

    a = torch.zeros(2, 3, device=device)
    b = torch.zeros(2, 4, device=device)
    with caught(RuntimeError, "must match except in dimension"):
        torch.cat([a, b])
    both = torch.cat([a, b], dim=1)  # right: along the dim that differs
    assert both.shape == (2, 7)


# %%
def mistakes_with_dims_that_stop() -> None:
    """Rows of unequal length are no tensor, and a row has no dim 1."""
    with caught(ValueError, "expected sequence of length 2"):
        torch.tensor([[1, 2], [3, 4, 5]])
    x = torch.tensor([[1, 2, 0], [3, 4, 5]])  # right: pad it
    assert x.shape == (2, 3)

    with caught(IndexError, "Dimension out of range"):
        x[0].sum(dim=1)
    total = x[0].sum(dim=0)  # right: one dim, number 0
    assert total == 3


# %%
def mistake_n_by_1_minus_n_is_n_by_n(device: torch.device) -> None:
    """(N, 1) minus (N,) is (N, N): each guess against every target."""
    guess = torch.tensor([[1.0], [2.0], [4.0]], device=device)  # (3, 1)
    target = torch.tensor([1.0, 2.0, 4.0], device=device)  # (3,)
    wrong = ((guess - target) ** 2).mean()  # (3, 3) before the mean
    right = ((guess[:, 0] - target) ** 2).mean()
    print("guess (3, 1) and target (3,), each guess right")
    print(f"((guess - target) ** 2).mean()            {wrong:.4f}")
    print(f"right: ((guess[:, 0] - target) ** 2).mean() {right:.4f}")
    assert_close(wrong, torch.tensor(28 / 9, device=device))
    assert right == 0
    with caught(UserWarning, "Using a target size"):
        F.mse_loss(guess, target)
    loss = F.mse_loss(guess[:, 0], target)  # right: (N,) and (N,)
    assert loss == 0


# %%
def mistake_view_where_permute_was_meant(device: torch.device) -> None:
    """`view` does not turn an image: its red channel gets other colours.

    Files have (height, width, channels), models want channels first.
    """
    picture = torch.tensor([[[1, 7, 9], [2, 7, 9]]], device=device)  # (1, 2, 3)
    wrong = picture.view(3, 1, 2)
    right = picture.permute(2, 0, 1)  # (3, 1, 2)
    print("picture (1, 2, 3): red 1, 2, green 7, 7, blue 9, 9")
    print("picture.view(3, 1, 2)[0]:         ", wrong[0].tolist())
    print("right: picture.permute(2, 0, 1)[0]:", right[0].tolist())
    assert wrong[0].tolist() == [[1, 7]]
    assert right[0].tolist() == [[1, 2]]


# %%
def mistake_squeeze_of_a_batch_of_one(device: torch.device) -> None:
    """`squeeze()` drops a batch of one too; name the dim.

    It works in training, with batches of 32, and not for a last batch of one,
    or when one image is predicted.
    """
    one = torch.zeros(1, 1, 28, 20, device=device)  # (batch, channels, ...)
    wrong = one.squeeze()
    right = one.squeeze(1)
    print("a batch of one grey image      ", tuple(one.shape))
    print("one.squeeze()                  ", tuple(wrong.shape))
    print("right: one.squeeze(1)          ", tuple(right.shape))
    assert wrong.shape == (28, 20)
    assert right.shape == (1, 28, 20)


# %%
def mistake_star_is_not_the_matrix_product(device: torch.device) -> None:
    """`*` multiplies entry by entry; the matrix product is `@`."""
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
    b = torch.tensor([[0.0, 1.0], [1.0, 0.0]], device=device)  # swaps columns
    wrong = a * b
    right = a @ b
    print("a =", a.tolist(), "  b =", b.tolist())
    print("a * b:       ", wrong.tolist())
    print("right: a @ b:", right.tolist())
    assert wrong.tolist() == [[0, 2], [3, 0]]
    assert right.tolist() == [[2, 1], [4, 3]]


# %%
def mistakes_with_numpy_that_stop() -> None:
    """NumPy brings float64, and takes no tensor that requires grad.

    On the CPU, where NumPy is.
    """
    x = torch.from_numpy(np.ones((2, 2)))  # float64
    with caught(RuntimeError, "same dtype"):
        torch.ones(2, 2) @ x
    product = torch.ones(2, 2) @ x.float()  # right: float32 on both sides
    assert product.tolist() == [[2, 2], [2, 2]]

    w = torch.ones(2, requires_grad=True)
    with caught(RuntimeError, "numpy() on Tensor that requires grad"):
        w.numpy()
    array = w.detach().numpy()  # right: off the graph first
    assert array.tolist() == [1, 1]


# %%
def mistakes_with_whole_numbers_and_if_that_stop(device: torch.device) -> None:
    """Whole numbers have no `mean`, and `if` wants one value."""
    whole = torch.tensor([1, 2], device=device)
    with caught(RuntimeError, "floating point or complex dtype"):
        whole.mean()
    mean = whole.float().mean()  # right: a mean is no whole number
    assert mean == 1.5

    with caught(RuntimeError, "more than one value is ambiguous"):
        bool(whole > 1)  # what `if whole > 1:` does
    found = (whole > 1).any()  # right: or .all()
    assert found


# %%
def mistakes_with_integers_that_are_silent(device: torch.device) -> None:
    """Integers: bytes wrap at 256, and an assigned fraction is cut off."""
    pixels = torch.tensor([200, 100], dtype=torch.uint8, device=device)
    wrong = pixels + 100
    right = pixels.float() + 100
    print("pixels, uint8:             ", pixels.tolist())
    print("pixels + 100:              ", wrong.tolist())
    print("right: pixels.float() + 100", right.tolist())
    assert wrong.tolist() == [300 - 256, 200]
    assert right.tolist() == [300, 200]

    whole = torch.tensor([1, 2], device=device)
    whole[0] = 0.5
    floats = torch.tensor([1.0, 2.0], device=device)
    floats[0] = 0.5
    print("x = tensor([1, 2]), x[0] = 0.5:        ", whole.tolist())
    print("right: x = tensor([1.0, 2.0]) before it", floats.tolist())
    assert whole.tolist() == [0, 2]
    assert floats.tolist() == [0.5, 2]


# %%
def mistakes_with_to_and_torch_capital_tensor(device: torch.device) -> None:
    """`x.to(...)` without `x =` is lost; `torch.Tensor(3)` is not 3."""
    x = torch.ones(2, device=device)
    x.to(torch.float16)
    print("x.to(torch.float16), then x is            ", x.dtype)
    assert x.dtype == torch.float32
    x = x.to(torch.float16)
    print("right: x = x.to(torch.float16), then x is ", x.dtype)
    assert x.dtype == torch.float16

    wrong = torch.Tensor(3)  # three numbers that happened to be in memory
    right = torch.tensor(3)
    print("torch.Tensor(3).shape        ", tuple(wrong.shape))
    print("right: torch.tensor(3).shape ", tuple(right.shape), right.item())
    assert wrong.shape == (3,)
    assert right.shape == ()
    assert right == 3


# %%
def mistakes_with_labels_that_stop() -> None:
    """Labels for `cross_entropy`: int64, (N,), from 0 to classes - 1.

    On the CPU: on CUDA, after a label out of range, every later call fails.
    """
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])  # (2, 2 classes)
    labels = torch.tensor([0, 1])
    with caught(RuntimeError, "Long"):
        F.cross_entropy(logits, labels.float())
    loss = F.cross_entropy(logits, labels)  # right: whole numbers, int64
    assert math.isclose(loss, math.log(1 + math.exp(-2)), rel_tol=1e-4)

    with caught(RuntimeError, "multi-target not supported"):
        F.cross_entropy(logits, labels[:, None])
    again = F.cross_entropy(logits, labels)  # right: (N,), not (N, 1)
    assert again == loss

    with caught(IndexError, "Target 2 is out of bounds"):
        F.cross_entropy(logits, labels + 1)
    again = F.cross_entropy(logits, labels)  # right: classes begin at 0
    assert again == loss


# %%
def mistake_softmax_before_cross_entropy(device: torch.device) -> None:
    """`cross_entropy` takes logits; it has a softmax of its own.

    Logits 20 and -20 are as right as can be: the loss should be 0. After one
    softmax, 1 and 0 are left, and of those the loss is log(1 + 1/e) = 0.313.
    """
    logits = torch.tensor([[20.0, -20.0], [-20.0, 20.0]], device=device)
    labels = torch.tensor([0, 1], device=device)
    wrong = F.cross_entropy(logits.softmax(dim=1), labels)
    right = F.cross_entropy(logits, labels)
    print("logits", logits.tolist(), "  labels", labels.tolist())
    print(f"cross_entropy(logits.softmax(dim=1), labels)  {wrong:.4f}")
    print(f"right: cross_entropy(logits, labels)          {right:.4f}")
    assert math.isclose(wrong, math.log(1 + math.exp(-1)), rel_tol=1e-4)
    assert 0 <= right < 1e-6


# %%
def mistake_softmax_over_the_batch(device: torch.device) -> None:
    """The softmax of each image is along the classes, dim 1, not dim 0."""
    logits = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], device=device)
    wrong = logits.softmax(dim=0)[0]
    right = logits.softmax(dim=1)[0]
    print("three images, each with the logits 1 and 2; of image 0")
    print(f"softmax(dim=0):        {wrong[0]:.3f} {wrong[1]:.3f}", end="")
    print(f", sum {wrong.sum():.3f}")
    print(f"right: softmax(dim=1): {right[0]:.3f} {right[1]:.3f}", end="")
    print(f", sum {right.sum():.3f}")
    assert_close(wrong.cpu(), torch.tensor([1 / 3, 1 / 3]))
    assert math.isclose(right[1], 1 / (1 + math.exp(-1)), rel_tol=1e-4)
    assert math.isclose(right.sum(), 1, rel_tol=1e-4)


# %%
def mistake_a_rate_too_large_ends_in_nan(device: torch.device) -> None:
    """A learning rate too large: each step overshoots, until inf and nan.

    f(x) = (x - 2)^2 from x = 5: a step makes x - 2 into (1 - 2 lr)(x - 2). At
    lr = 1.9 that is -2.8 times as much, each time.
    """
    x = torch.tensor(5.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([x], lr=1.9)
    for step in range(200):
        optimizer.zero_grad()
        ((x - 2) ** 2).backward()
        optimizer.step()
        if step == 0:
            print(f"lr 1.9, step 1:     x = {x:.2f}")
            assert math.isclose(x.item(), 2 - 2.8 * 3, rel_tol=1e-4)
    print(f"lr 1.9, step 200:   x = {x:.2f}")
    assert x.isnan()

    x = torch.tensor(5.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([x], lr=0.25)
    for _ in range(30):
        optimizer.zero_grad()
        ((x - 2) ** 2).backward()
        optimizer.step()
    print(f"right: lr 0.25, step 30: x = {x:.2f}")
    assert x == 2


# %%
def mistake_zero_grad_forgotten(device: torch.device) -> None:
    """Without `zero_grad` gradients add up, and steps grow too long.

    f(x) = (x - 2)^2 from x = 5, lr = 0.25. Slopes 6, then 6 + 3, then 9 - 1.5.
    """
    x = torch.tensor(5.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([x], lr=0.25)
    wrong = []
    for _ in range(3):
        ((x - 2) ** 2).backward()
        optimizer.step()
        wrong.append(x.item())

    x = torch.tensor(5.0, requires_grad=True, device=device)
    optimizer = torch.optim.SGD([x], lr=0.25)
    right = []
    for _ in range(3):
        optimizer.zero_grad()
        ((x - 2) ** 2).backward()
        optimizer.step()
        right.append(x.item())
    print("from x = 5, the minimum is at 2")
    print("backward(), step():                    x =", wrong)
    print("right: zero_grad(), backward(), step() x =", right)
    assert wrong == [3.5, 1.25, -0.625]
    assert right == [3.5, 2.75, 2.375]


# %%
def mistakes_with_layers_that_stop(device: torch.device) -> None:
    """Channels first; make a loss, then call it; get `parameters()` again."""
    images = torch.zeros(2, 32, 30, 3, device=device)  # channels last
    layer = nn.Conv2d(3, 16, 3).to(device)
    with caught(RuntimeError, "to have 3 channels, but got 32 channels"):
        layer(images)
    output = layer(images.permute(0, 3, 1, 2))  # right: (batch, 3, 32, 30)
    assert output.shape == (2, 16, 30, 28)

    guess = torch.tensor([1.0, 2.0], device=device)
    with caught(RuntimeError, "is ambiguous"):
        nn.MSELoss(guess, guess)
    loss = nn.MSELoss()(guess, guess)  # right: first make it, then call it
    assert loss == 0

    parameters = layer.parameters()
    count = sum(parameter.numel() for parameter in parameters)  # used up now
    assert count == 16 * 27 + 16
    with caught(ValueError, "empty parameter list"):
        torch.optim.SGD(parameters, lr=0.1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)  # right: anew
    assert len(optimizer.param_groups[0]["params"]) == 2


# %%
def mistake_a_kernel_by_hand_keeps_a_random_bias(device: torch.device) -> None:
    """A kernel set by hand in `Conv2d` keeps a random bias: `bias=False`."""
    torch.manual_seed(0)
    black = torch.zeros(1, 1, 5, 5, device=device)
    layer = nn.Conv2d(1, 1, 3).to(device)
    nn.init.constant_(layer.weight, 1 / 9)  # the mean of nine pixels
    wrong = layer(black).mean().item()
    layer = nn.Conv2d(1, 1, 3, bias=False).to(device)
    nn.init.constant_(layer.weight, 1 / 9)
    right = layer(black).mean().item()
    print("the mean of nine black pixels")
    print(f"Conv2d(1, 1, 3)                     {wrong:.4f}")
    print(f"right: Conv2d(1, 1, 3, bias=False)  {right:.4f}")
    assert 0.01 < abs(wrong) < 1 / 3  # drawn from -1/3 to 1/3
    assert right == 0


# %%
def mistakes_with_half_precision_that_stop() -> None:
    """16 bits: leave weights and inputs in float32, let autocast choose.

    On the CPU.
    """
    layer = nn.Linear(2, 1)
    x = torch.ones(1, 2)
    with caught(RuntimeError, "same dtype"):
        layer(x.half())
    y = layer(x)  # right: float32; under autocast in 16 bits by itself
    assert y.dtype == torch.float32

    model = nn.Linear(2, 1).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(model(x.half()).sum()).backward()
    with caught(ValueError, "Attempting to unscale FP16 gradients"):
        scaler.step(optimizer)
    model = nn.Linear(2, 1)  # right: no half(), autocast does it
    assert model.weight.dtype == torch.float32

    with caught(FutureWarning, "is deprecated"):
        torch.cuda.amp.GradScaler(enabled=False)
    scaler = torch.amp.GradScaler("cuda", enabled=False)  # right: today's name
    assert not scaler.is_enabled()


# %%
def mistake_clipping_before_unscale() -> None:
    """Clip gradients after `scaler.unscale_`, or they are clipped to nothing.

    Four gradients of 1 have the norm 2; clipped to 1 a step has length 1. But
    before unscale_ they are 1024 times as large, so 1/1024 is left. On the CPU.
    """
    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(w.sum()).backward()
    nn.utils.clip_grad_norm_([w], max_norm=1.0)
    scaler.step(optimizer)
    wrong = torch.linalg.vector_norm(1 - w.detach()).item()

    w = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(w.sum()).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_([w], max_norm=1.0)
    scaler.step(optimizer)
    right = torch.linalg.vector_norm(1 - w.detach()).item()
    print(f"clip_grad_norm_, step:                    length {wrong:.6f}")
    print(f"right: unscale_, clip_grad_norm_, step:   length {right:.6f}")
    assert math.isclose(wrong, 1 / 1024, rel_tol=1e-3)
    assert math.isclose(right, 1, rel_tol=1e-3)


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
    """Run the tour from top to bottom."""
    args = parse(make_parser(__doc__))
    here = {"device": args.device}
    drawn = {"device": args.device, "figures": args.figures}
    digits = {"device": args.device, "count": 480 if args.tiny else 2000}
    half = amp_dtype(args.device)
    chapters = {
        "Tensors": {
            a_tensor_has_shape_dtype_and_device: here,
            five_ways_to_create_a_tensor: here,
            manual_seed_repeats_random_numbers: {},
            to_returns_a_tensor_on_another_device: here,
            slices_share_memory_and_index_lists_copy: here,
            a_mask_selects_and_writes: here,
            cat_makes_a_dim_longer_stack_makes_a_new_one: here,
            unsqueeze_adds_a_dim_of_size_1: here,
            view_cuts_the_same_numbers_anew: here,
            permute_reorders_dims_without_copying: here,
            broadcasting_is_a_loop_that_nobody_writes: here,
            reductions_remove_the_dim_they_are_given: here,
            where_gather_and_topk_replace_loops: here,
            from_numpy_shares_memory_tensor_copies: {},
            result_type_is_the_smallest_that_holds_both: here,
            einsum_sums_over_letters_that_vanish: here,
        },
        "Automatic differentiation": {
            a_computation_graph_is_walked_backward: here,
            autograd_agrees_with_calculus: here,
            gradient_descent_halves_the_distance: here,
            linear_regression_by_formula_and_by_autograd: here,
            linear_regression_by_module_and_optimizer: here,
            stochastic_descent_leads_after_one_pass: here,
        },
        "Common modules and functions": {
            two_linear_layers_without_activation_are_one: here,
            a_class_of_nn_module_has_init_and_forward: here,
            relu_tanh_sigmoid_silu_gelu_by_formula: drawn,
            cross_entropy_is_minus_the_log_probability: here,
            mse_l1_and_huber_by_formula: here,
            adam_and_momentum_fit_a_wave_plain_sgd_does_not: drawn,
            a_falling_rate_ends_nearer_the_minimum: here,
            convolution_is_a_weighted_sum_at_each_place: here,
            conv2d_maps_3_channels_to_16: here,
            kernels_blur_find_edges_and_sharpen: drawn,
        },
        "Dataset and DataLoader": {
            a_dataset_of_arrays_answers_len_and_index: {},
            batch_size_cuts_a_dataset_into_batches: here,
            shuffle_gives_another_order_in_each_epoch: {},
            # A worker imports this file; a notebook is none.
            num_workers_fetch_in_other_processes: {
                "workers": 0 if args.tiny or "__file__" not in globals() else 1
            },
        },
        "A whole model in one page": {
            eval_and_no_grad_before_predicting: here,
            train_on_some_fonts_and_score_on_others: digits,
            save_and_load_a_state_dict: here,
            predict_one_image_of_your_own: digits,
        },
        "Mixed precision": {
            float16_has_digits_bfloat16_has_range: here,
            autocast_picks_a_dtype_for_each_operation: {**here, "half": half},
            grad_scaler_scales_skips_and_goes_on: {},
            mixed_precision_ends_at_the_same_loss: {
                **here,
                "half": half,
                "net": Net,
                "dtype": half if args.amp else torch.float32,
            },
        },
        "Mistakes": {
            mistakes_with_shapes_that_stop: here,
            mistakes_with_dims_that_stop: {},
            mistake_n_by_1_minus_n_is_n_by_n: here,
            mistake_view_where_permute_was_meant: here,
            mistake_squeeze_of_a_batch_of_one: here,
            mistake_star_is_not_the_matrix_product: here,
            mistakes_with_numpy_that_stop: {},
            mistakes_with_whole_numbers_and_if_that_stop: here,
            mistakes_with_integers_that_are_silent: here,
            mistakes_with_to_and_torch_capital_tensor: here,
            mistakes_with_labels_that_stop: {},
            mistake_softmax_before_cross_entropy: here,
            mistake_softmax_over_the_batch: here,
            mistake_a_rate_too_large_ends_in_nan: here,
            mistake_zero_grad_forgotten: here,
            mistakes_with_layers_that_stop: here,
            mistake_a_kernel_by_hand_keeps_a_random_bias: here,
            mistakes_with_half_precision_that_stop: {},
            mistake_clipping_before_unscale: {},
        },
    }
    run(chapters, args)
    if not args.list:
        print("Next: one subject in depth, for example start_autograd.py.")


if __name__ == "__main__":
    main()
