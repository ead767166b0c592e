# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""PyTorch, the whole tour: from the first tensor to a model of one's own.

Run      python start_Pytorch.py      (no download, any device, 15 s)
Read     README.md, "The tour"
Symbols  x input, y output or target, w weight, b bias, f and g functions;
         a, b, c, d, e the nodes of a graph; i, j, k positions along dims;
         lr learning rate
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
    print("x.shape  =", tuple(x.shape), "  x.ndim =", x.ndim, end="")
    print("   x.numel() =", x.numel(), "  x.nbytes =", x.nbytes)
    print("x.dtype  =", x.dtype)
    print("x.device =", x.device)
    assert x.shape == (2, 3)
    assert x.ndim == 2
    assert x.numel() == 6
    assert x.nbytes == 24
    assert x.dtype == torch.float32
    assert x.device.type == device.type

    # Out of torch: `item` for one number, `tolist` for all of them.
    print("x[1, 2].item() =", x[1, 2].item(), "  x[0].tolist() =", end=" ")
    print(x[0].tolist())
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

    print("tensor([[1, 2, 3], [4, 5, 6]])", data.dtype)
    print("full((2, 3), 0.5)             ", constant.tolist())
    print("arange(0, 6, 2)               ", steps.tolist())
    print("linspace(0, 1, 5)             ", line.tolist())
    print(f"randn(10_000)                  mean {noise.mean():.2f}", end="")
    print(f", standard deviation {noise.std():.2f}")
    print("zeros_like(data)              ", alike.tolist(), alike.dtype)
    assert data.dtype == torch.int64  # whole numbers become int64
    assert constant.tolist() == [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    assert steps.tolist() == [0, 2, 4]
    assert line.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05
    assert torch.equal(alike, data - data)


# %%
def manual_seed_repeats_random_numbers(device: torch.device) -> None:
    """`manual_seed` repeats the whole row of random numbers, from its start.

    Another kind of device draws other numbers from the same seed.
    """
    torch.manual_seed(0)
    first = torch.rand(2, device=device)
    second = torch.rand(2, device=device)
    torch.manual_seed(0)
    again = torch.rand(2, device=device)
    print(f"after manual_seed(0):   {first[0]:.4f} {first[1]:.4f}", end="")
    print(f", then {second[0]:.4f} {second[1]:.4f}")
    print(f"after manual_seed(0):   {again[0]:.4f} {again[1]:.4f}")
    assert torch.equal(again, first)
    assert not torch.equal(second, first)

    # A generator is a row of its own: what others draw does not move it.
    own = torch.Generator(device).manual_seed(0)
    torch.rand(100, device=device)
    drawn = torch.rand(2, generator=own, device=device)
    print(f"Generator, seed 0:      {drawn[0]:.4f} {drawn[1]:.4f}")
    assert torch.equal(drawn, first)


# %%
def to_returns_a_tensor_on_another_device(device: torch.device) -> None:
    """`x.to(device)` returns a tensor there; x itself stays where it was.

    "meta" is a device for shapes without numbers. Every machine has it. Two
    tensors of one operation must be on one device, or torch says "Expected all
    tensors to be on the same device".
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

    model = nn.Linear(3, 1)
    assert model.to(device) is model  # a module moves its own weights
    assert model.weight.device.type == device.type


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

    x[1, 1] = 50  # seen by those that share memory
    x[1, 3] = 70
    print("after x[1, 1] = 50 and x[1, 3] = 70:")
    print("x[1] is", row.tolist(), "  x[:, [3, 0]] was a copy:", end=" ")
    print(listed.tolist())
    assert row.tolist() == [4, 50, 6, 70]
    assert column.tolist() == [3, 70]
    assert block.tolist() == [[1, 2], [50, 6]]
    assert listed.tolist() == [[3, 0], [7, 4]]

    # A second index works on the copy, so this changes nothing in x.
    x[[0, 1]][0] = 99
    assert x[0].tolist() == [0, 1, 2, 3]


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

    odd = (x % 2 == 1) & (x > 0)  # & and |, each side in brackets
    print("(x % 2 == 1) & (x > 0):", odd.tolist())
    assert odd.tolist() == [[True, False, False], [False, True, False]]

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
    last = torch.stack([a, b], dim=2)  # (2, 3, 2)

    print("a =", a.tolist(), "  b =", b.tolist())
    print("cat dim 0:  ", tuple(below.shape), below.tolist())
    print("cat dim 1:  ", tuple(beside.shape), beside.tolist())
    print("stack:      ", tuple(stacked.shape), stacked.tolist())
    print("stack dim 2:", tuple(last.shape), last.tolist())
    assert below.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert beside.tolist() == [[1, 2, 3, 7, 8, 9], [4, 5, 6, 0, 0, 0]]
    assert stacked.shape == (2, 2, 3)
    assert torch.equal(stacked[0], a)
    assert torch.equal(stacked[1], b)
    assert last.shape == (2, 3, 2)
    assert last[0, 0].tolist() == [1, 7]
    assert torch.equal(last[..., 1], b)  # ... stands for all other dims


# %%
def unsqueeze_adds_a_dim_of_size_1(device: torch.device) -> None:
    """`unsqueeze`, or `[None]`, adds a dim of size 1; `squeeze` takes it.

    A model wants a batch: one image (28, 20) becomes (1, 1, 28, 20).
    """
    image = torch.zeros(28, 20, device=device)  # (height, width)
    channel = image.unsqueeze(0)  # (1, 28, 20)
    batch = image[None, None]  # (1, 1, 28, 20), the same twice
    last = image[..., None]  # (28, 20, 1)
    back = batch.squeeze(0)  # (1, 28, 20)

    print("image.shape                ", tuple(image.shape))
    print("image.unsqueeze(0)         ", tuple(channel.shape))
    print("batch = image[None, None]  ", tuple(batch.shape))
    print("image[..., None]           ", tuple(last.shape))
    print("batch.squeeze(0)           ", tuple(back.shape))
    assert channel.shape == (1, 28, 20)
    assert batch.shape == (1, 1, 28, 20)
    assert last.shape == (28, 20, 1)
    assert back.shape == (1, 28, 20)
    # Say which dim: without a number all dims of size 1 go, a batch of one too.
    assert batch.squeeze().shape == (28, 20)
    batch[0, 0, 2, 5] = 1
    assert image[2, 5] == 1  # all of them share memory


# %%
def view_cuts_the_same_numbers_anew(device: torch.device) -> None:
    """`view` gives the same row of numbers a new shape; -1 is worked out.

    A batch (10000, 3, 28, 28): 3 * 28 * 28 = 2352 bytes an image.
    """
    images = torch.zeros(10_000, 3, 28, 28, dtype=torch.uint8, device=device)
    flat = images.view(10_000, -1)  # (10000, 2352)
    planes = images.view(-1, 28, 28)  # (30000, 28, 28)
    print("images                 ", tuple(images.shape))
    print("images.view(10_000, -1)", tuple(flat.shape))
    print("images.view(-1, 28, 28)", tuple(planes.shape))
    assert flat.shape == (10_000, 3 * 28 * 28)
    assert planes.shape == (30_000, 28, 28)

    with caught(RuntimeError, "only one dimension can be inferred"):
        images.view(-1, -1)
    images.view(-1, 784)  # right: one size at most is left open

    # No number has moved: number n of one is number n of the other.
    flat[0, 2 * 784 + 3 * 28 + 4] = 7
    print("flat[0, 2 * 784 + 3 * 28 + 4] = 7, images[0, 2, 3, 4] =", end=" ")
    print(images[0, 2, 3, 4].item())
    assert images[0, 2, 3, 4] == 7
    assert planes[2, 3, 4] == 7


# %%
def permute_reorders_dims_without_copying(device: torch.device) -> None:
    """`permute` reorders dims in place of memory; `reshape` then copies.

    stride(d) says how many numbers to go on for the next index along dim d.
    """
    x = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)
    turned = x.permute(1, 0)  # dim 1 first; for two dims also x.T
    cut = x.view(3, 2)
    print("x                ", x.tolist(), "  strides", x.stride())
    print("x.permute(1, 0)  ", turned.tolist(), "strides", turned.stride())
    print("x.view(3, 2)     ", cut.tolist(), "strides", cut.stride())
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert cut.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert x.stride() == (3, 1)
    assert turned.stride() == (1, 3)  # the same memory, walked in columns
    assert turned.data_ptr() == x.data_ptr()

    with caught(RuntimeError, "view size is not compatible"):
        turned.view(6)
    row = turned.reshape(6)  # right: a view where possible, else a copy
    assert row.tolist() == [0, 3, 1, 4, 2, 5]
    assert row.data_ptr() != x.data_ptr()
    assert cut.reshape(6).data_ptr() == x.data_ptr()

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
    z = x + torch.ones(3, 4, 1, device=device)  # right: 4 and 4 agree
    assert torch.equal(z[:, 0], x[:, 0] + 1)


# %%
def reductions_remove_the_dim_they_are_given(device: torch.device) -> None:
    """`sum`, `mean`, `amax`, `argmax`: the dim that is named disappears."""
    x = torch.tensor([[1.0, 5.0, 3.0], [8.0, 2.0, 2.0]], device=device)
    total = x.sum()  # of all numbers, shape ()
    down = x.sum(dim=0)  # (3,), down each column
    across = x.mean(dim=1)  # (2,), along each row
    kept = x.amax(dim=1, keepdim=True)  # (2, 1), ready to broadcast
    place = x.argmax(dim=1)  # (2,), where the largest stands
    growing = x.cumsum(dim=1)  # (2, 3), sums so far

    print("x =", x.tolist())
    print("x.sum() =", total.item(), "  x.sum(dim=0) =", down.tolist())
    print("x.mean(dim=1) =", across.tolist())
    print("x.amax(dim=1, keepdim=True) =", kept.tolist())
    print("x.argmax(dim=1) =", place.tolist())
    print("x.cumsum(dim=1) =", growing.tolist())
    assert total == 21
    assert down.tolist() == [9, 7, 5]
    assert across.tolist() == [3, 4]
    assert kept.tolist() == [[5], [8]]
    assert place.tolist() == [1, 0]
    assert growing.tolist() == [[1, 6, 9], [8, 10, 12]]


# %%
def where_gather_and_topk_replace_loops(device: torch.device) -> None:
    """`where` chooses, `gather` picks one from each row, `topk` ranks.

    Logits of four classes (columns) for two samples (rows), and the classes
    that are right. A logit is the number a model gives a class; the largest
    wins.
    """
    logits = torch.tensor([[1.0, 5.0, 2.0, 0.0], [7.0, 1.0, 3.0, 4.0]])
    logits = logits.to(device)  # (2, 4)
    labels = torch.tensor([3, 0], device=device)

    positive = torch.where(logits < 2, 0.0, logits)
    of_label = logits.gather(1, labels[:, None])[:, 0]  # (2, 1) to (2,)
    values, classes = logits.topk(2, dim=1)  # the two largest of each row
    found = (classes == labels[:, None]).any(dim=1)

    print("logits =", logits.tolist(), "  labels =", labels.tolist())
    print("where(logits < 2, 0.0, logits) ", positive.tolist())
    print("gather, the logit of the label:", of_label.tolist())
    print("topk(2), values: ", values.tolist(), "  classes:", classes.tolist())
    print("label among the two best:      ", found.tolist())
    assert positive.tolist() == [[0, 5, 2, 0], [7, 0, 3, 4]]
    for i in range(2):
        assert of_label[i] == logits[i, labels[i]]
    assert values.tolist() == [[5, 2], [7, 4]]
    assert classes.tolist() == [[1, 2], [0, 3]]
    assert found.tolist() == [False, True]
    assert of_label.tolist() == [0, 7]


# %%
def numpy_axis_is_dim_in_torch() -> None:
    """Tensors compute what NumPy computes; its `axis` is called `dim`.

    Rows of length sqrt(1 + 4 + 4) = 3 and sqrt(16 + 16 + 4) = 6. On the CPU,
    where NumPy works. NumPy's floats have 8 bytes, torch's have 4.
    """
    array = np.array([[1.0, 2.0, 2.0], [4.0, 4.0, 2.0]])
    x = torch.tensor([[1.0, 2.0, 2.0], [4.0, 4.0, 2.0]])
    print("array.dtype", array.dtype, "  x.dtype", x.dtype)
    assert array.dtype == np.float64
    assert x.dtype == torch.float32

    by_numpy = np.linalg.norm(array, axis=1)
    by_torch = torch.linalg.norm(x, dim=1)
    print("norm, axis=1:", by_numpy.tolist(), "  dim=1:", by_torch.tolist())
    assert by_numpy.tolist() == [3, 6]
    assert by_torch.tolist() == [3, 6]

    by_numpy = array.mean(axis=0)
    by_torch = x.mean(dim=0)
    print("mean, axis=0:", by_numpy.tolist(), "  dim=0:", by_torch.tolist())
    assert by_numpy.tolist() == [2.5, 3, 2]
    assert by_torch.tolist() == [2.5, 3, 2]

    # @ is the matrix product in both: row i times row j.
    print("array @ array.T:", (array @ array.T).tolist())
    print("x @ x.T:        ", (x @ x.T).tolist())
    assert (array @ array.T).tolist() == [[9, 16], [16, 36]]
    assert (x @ x.T).tolist() == [[9, 16], [16, 36]]


# %%
def from_numpy_shares_memory_tensor_copies() -> None:
    """`from_numpy` and `numpy()` share memory, `torch.tensor` copies.

    The proof is a change on one side and a look at the other. On the CPU.
    """
    array = np.zeros(2)
    shared = torch.from_numpy(array)
    copied = torch.tensor(array)
    other_type = torch.as_tensor(array, dtype=torch.float32)  # needs a copy
    array[0] = 7
    print("array[0] = 7, then")
    print("from_numpy(array):               ", shared.tolist(), "shares")
    print("tensor(array):                   ", copied.tolist(), "copied")
    print("as_tensor(array, dtype=float32): ", other_type.tolist(), "copied")
    assert shared.tolist() == [7, 0]
    assert copied.tolist() == [0, 0]
    assert other_type.tolist() == [0, 0]

    x = torch.zeros(2)
    shared = x.numpy()
    copied = x.numpy().copy()
    x[0] = 7
    print("x[0] = 7, then")
    print("x.numpy():                       ", shared.tolist(), "shares")
    print("x.numpy().copy():                ", copied.tolist(), "copied")
    assert shared.tolist() == [7, 0]
    assert copied.tolist() == [0, 0]


# %%
def result_type_is_the_smallest_that_holds_both(device: torch.device) -> None:
    """Types: the result has the smallest type that holds both kinds.

    Kinds rise from bool to integer to float. Of two kinds the higher one wins,
    in its own size; of one kind, the smallest type that holds both.
    """
    byte = torch.tensor([200], dtype=torch.uint8, device=device)
    signed = torch.tensor([-3], dtype=torch.int8, device=device)
    whole = torch.tensor([3], device=device)  # int64
    single = torch.tensor([0.5], device=device)  # float32
    half = single.to(torch.float16)
    brain = single.to(torch.bfloat16)  # 16 bits as well, see Mixed precision

    print("uint8 200 + uint8 200   ", byte + byte)  # 400 - 256
    print("uint8 200 + int8 -3     ", byte + signed)  # no 8 bits hold both
    print("int64 3 + float16 0.5   ", whole + half)
    print("int64 3 + 0.5           ", whole + 0.5)  # a Python number
    print("float16 0.5 + 2.0       ", half + 2.0)
    print("float16 + bfloat16      ", half + brain)
    print("int64 3 / 2 and 3 // 2  ", whole / 2, whole // 2)
    assert_close(byte + byte, byte - 56)  # 144, still a uint8
    assert_close(byte + signed, torch.full_like(byte, 197, dtype=torch.int16))
    assert_close(whole + half, half + 3)
    assert (whole + half).dtype == torch.float16
    assert_close(whole + 0.5, single + 3)
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
    turned = torch.einsum("ij->ji", x)
    of_rows = torch.einsum("ij->i", x)
    outer = torch.einsum("i,j->ij", x[0], x[1])

    print("x =", x.tolist())
    print("y =", y.tolist())
    print("ij,jk->ik of x, y:   ", product.tolist(), "x @ y")
    print("ij->ji of x:         ", turned.tolist(), "x.T")
    print("ij->i of x:          ", of_rows.tolist(), "x.sum(dim=1)")
    print("i,j->ij of x[0], x[1]", outer[0].tolist(), "and so on, outer")
    looped = torch.zeros(2, 2, device=device)
    for i in range(2):
        for k in range(2):
            for j in range(3):
                looped[i, k] += x[i, j] * y[j, k]
    assert product.tolist() == [[7, 8], [16, 17]]
    assert_close(product, looped)
    assert torch.equal(turned, x.T)
    assert of_rows.tolist() == [6, 15]
    assert outer.tolist() == [[4, 5, 6], [8, 10, 12], [12, 15, 18]]


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
    print("f(x) = (x - 2)^2 at x = 1: gradient", x.grad.item(), "  by hand -2")
    assert x.grad == -2

    w = torch.tensor([math.pi, 1.0], requires_grad=True, device=device)
    g = 2 * w[0] * w[1] + w[1] * w[0].cos()
    g.backward()
    print("g(w) = 2 w1 w2 + w2 cos(w1)")
    print(f"  at (pi, 1):   gradient {w.grad[0]:.4f} {w.grad[1]:.4f}", end="")
    print(f"   by hand 2, 2 pi - 1 = {2 * math.pi - 1:.4f}")
    by_hand = torch.tensor([2.0, 2 * math.pi - 1], device=device)
    assert_close(w.grad, by_hand)

    # At pi/3 no term vanishes: the sine is 0.866, the cosine 0.5.
    w = torch.tensor([math.pi / 3, 2.0], requires_grad=True, device=device)
    g = 2 * w[0] * w[1] + w[1] * w[0].cos()
    g.backward()
    first = 4 - 2 * math.sin(math.pi / 3)
    second = 2 * math.pi / 3 + math.cos(math.pi / 3)
    print(f"  at (pi/3, 2): gradient {w.grad[0]:.4f} {w.grad[1]:.4f}", end="")
    print(f"   by hand {first:.4f}, {second:.4f}")
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
    noise = 0.1 * torch.randn(50, device=device)
    y = x @ torch.tensor([-1.0, 2.0], device=device) + noise  # (50,)

    w = torch.zeros(2, device=device)
    for _ in range(30):
        gradient = 2 / 50 * x.T @ (x @ w - y)
        w = w - 0.1 * gradient
    print(f"by formula:    w = ({w[0]:.4f}, {w[1]:.4f})", end="")
    print(f"   loss {F.mse_loss(x @ w, y):.6f}")

    v = torch.zeros(2, requires_grad=True, device=device)
    for _ in range(30):
        loss = ((x @ v - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            v -= 0.1 * v.grad
        v.grad = None
    print(f"by autograd:   w = ({v[0]:.4f}, {v[1]:.4f})", end="")
    print(f"   loss {F.mse_loss(x @ v, y):.6f}")
    assert_close(v.detach(), w)

    # Least squares solves it without steps; 30 steps come close to it.
    best = torch.linalg.pinv(x) @ y
    print(f"least squares: w = ({best[0]:.4f}, {best[1]:.4f})", end="")
    print(f"   loss {F.mse_loss(x @ best, y):.6f}, the lowest")
    assert_close(x.T @ (x @ best - y), torch.zeros_like(w), rtol=0, atol=1e-3)
    assert_close(v.detach(), best, rtol=0, atol=0.05)


# %%
def linear_regression_by_module_and_optimizer(device: torch.device) -> None:
    """`nn.Linear`, `mse_loss` and `SGD` do what was done by hand.

    The same 50 points. By hand as above, the gradient by its formula.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2, device=device)
    noise = 0.1 * torch.randn(50, 1, device=device)
    true_w = torch.tensor([[-1.0], [2.0]], device=device)
    y = x @ true_w + noise  # (50, 1), the shape that nn.Linear gives

    w = torch.zeros(2, 1, device=device)
    for _ in range(30):
        w = w - 0.1 * (2 / 50 * x.T @ (x @ w - y))
    print(f"by hand:    w = ({w[0, 0]:.4f}, {w[1, 0]:.4f})", end="")
    print(f"   loss {F.mse_loss(x @ w, y):.6f}")

    model = nn.Linear(2, 1, bias=False).to(device)
    nn.init.zeros_(model.weight)  # to begin where the other began
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(30):
        loss = F.mse_loss(model(x), y)  # 1. how wrong?
        optimizer.zero_grad()  # 2. forget the gradients of the last step
        loss.backward()  # 3. the gradient of each weight
        optimizer.step()  # 4. w -= lr * w.grad
    learnt = model.weight.detach()[0]
    print(f"by library: w = ({learnt[0]:.4f}, {learnt[1]:.4f})", end="")
    print(f"   loss {F.mse_loss(model(x), y):.6f}")
    assert_close(learnt, w[:, 0])
    assert_close(learnt, true_w[:, 0], rtol=0, atol=0.1)


# %%
def single_gradients_have_the_full_gradient_as_mean(
    device: torch.device,
) -> None:
    """The gradient of one point is, on average, that of all points.

    Of one point: 2 (x w - y) x. So a step on one point, at random, goes down
    on average, at 1/50 of the work: stochastic gradient descent.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2, device=device)
    y = x @ torch.tensor([-1.0, 2.0], device=device)
    w = torch.zeros(2, requires_grad=True, device=device)

    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    single = 2 * (x @ w.detach() - y)[:, None] * x  # (50, 2), one a row
    mean = single.mean(dim=0)
    print(f"point 0:      gradient ({single[0, 0]:.3f}, {single[0, 1]:.3f})")
    print(f"point 1:      gradient ({single[1, 0]:.3f}, {single[1, 1]:.3f})")
    print(f"mean of 50:   gradient ({mean[0]:.3f}, {mean[1]:.3f})")
    print(f"w.grad, all:           ({w.grad[0]:.3f}, {w.grad[1]:.3f})")
    assert_close(mean, w.grad)

    # The first row by autograd as well.
    (row,) = torch.autograd.grad((x[0] @ w - y[0]) ** 2, w)
    assert_close(row, single[0])


# %%
def excess_after(
    passes: int, x: Tensor, y: Tensor, batch_size: int, lr: float
) -> float:
    """Return how far the loss is above least squares after some passes."""
    w = torch.zeros(2, device=x.device)
    for _ in range(passes):
        for start in range(0, len(x), batch_size):
            batch_x = x[start : start + batch_size]
            error = batch_x @ w - y[start : start + batch_size]
            w = w - lr * 2 / batch_size * batch_x.T @ error
    best = torch.linalg.pinv(x) @ y
    return (F.mse_loss(x @ w, y) - F.mse_loss(x @ best, y)).item()


def stochastic_descent_leads_after_one_pass(device: torch.device) -> None:
    """Stochastic gradient descent leads at first, the full batch at last.

    A pass is one step on all 50 points, or 50 steps on one. Each side is shown
    at its own best of eight rates, by the loss above that of least squares.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2, device=device)
    noise = 0.1 * torch.randn(50, device=device)
    y = x @ torch.tensor([-1.0, 2.0], device=device) + noise

    all_first, one_first, all_last, one_last = [], [], [], []
    for lr in [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]:
        all_first.append(excess_after(1, x, y, batch_size=50, lr=lr))
        one_first.append(excess_after(1, x, y, batch_size=1, lr=lr))
        all_last.append(excess_after(30, x, y, batch_size=50, lr=lr))
        one_last.append(excess_after(30, x, y, batch_size=1, lr=lr))

    print("loss above that of least squares, each at its best rate")
    print("                 one pass   30 passes")
    print(f"all points      {min(all_first):9.6f}   {min(all_last):9.6f}")
    print(f"one at a time   {min(one_first):9.6f}   {min(one_last):9.6f}")
    assert 0 <= min(one_first) < min(all_first) / 10
    # A single point pulls towards itself, so w never comes to a stop.
    assert -1e-6 < min(all_last) < 1e-6 < min(one_last)


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
    generator = torch.Generator().manual_seed(seed)
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
    half = amp_dtype(args.device)
    chapters = {
        "Tensors": {
            a_tensor_has_shape_dtype_and_device: here,
            five_ways_to_create_a_tensor: here,
            manual_seed_repeats_random_numbers: here,
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
            numpy_axis_is_dim_in_torch: {},
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
            single_gradients_have_the_full_gradient_as_mean: here,
            stochastic_descent_leads_after_one_pass: here,
        },
    }
    run(chapters, args)


if __name__ == "__main__":
    main()
