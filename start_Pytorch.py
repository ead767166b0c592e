# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.7", "matplotlib>=3.9"]
# ///
"""PyTorch, the whole tour: from the first tensor to a model of one's own.

Run      python start_Pytorch.py      (no download, any device, 15 s)
Read     README.md, "The tour"
Symbols  x input, y output or target, w weight, b bias, n number of points,
         f and g functions; a, b, c, d, e the nodes of a graph;
         i, j, k positions along the axes of a tensor
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
from torch.utils.data import DataLoader, Dataset, TensorDataset

# %% [markdown]
# ## Tensors
# A tensor is a grid of numbers of one type, on one device: a number, a row, a
# table, a stack of tables. All data and all weights are tensors.


# %%
def a_tensor_has_shape_dtype_and_device(device: torch.device) -> None:
    """Shape, dtype and device say all about a tensor but its numbers.

    shape: how many along each axis, here 2 rows of 3. Torch calls an axis a
    dim, and counts dims from 0. dtype: the type of each number. device: where
    the numbers are, "cpu" or for example "cuda:0", the first GPU.
    """
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=device)
    print("x.tolist() =", x.tolist())
    print("x.shape    =", tuple(x.shape), " x.ndim =", x.ndim)
    print("x.numel()  =", x.numel(), " numbers in all")
    print("x.dtype    =", x.dtype)
    print("x.device   =", x.device)
    assert x.shape == (2, 3)
    assert x.ndim == 2
    assert x.numel() == 6
    assert x.dtype == torch.float32  # four bytes a number
    assert x.device.type == device.type

    number = x[1, 2]  # row 1, column 2: a tensor without dims
    print("x[1, 2]    =", number, " shape", tuple(number.shape))
    print("x[1, 2].item() =", number.item(), " a number of Python")
    assert number.shape == ()
    assert number.item() == 6.0


# %%
def five_ways_to_make_a_tensor(device: torch.device) -> None:
    """From a list, filled, counted, like another one, or at random.

    The type comes from the numbers: 1 makes integers (int64), 1.0 makes floats
    (float32). All but the first take the shape as their first arguments.
    """
    torch.manual_seed(0)
    from_list = torch.tensor([1, 2, 3], device=device)
    filled = torch.full((2, 3), 7.0, device=device)
    counted = torch.arange(0, 10, 3, device=device)  # the end is left out
    like = torch.zeros_like(filled)
    random = torch.rand(2, 3, device=device)  # even between 0 and 1

    print("torch.tensor([1, 2, 3])  ", from_list.tolist(), from_list.dtype)
    print("torch.full((2, 3), 7.0)  ", filled.tolist())
    print("torch.arange(0, 10, 3)   ", counted.tolist())
    print("torch.zeros_like(filled) ", like.tolist())
    print("torch.rand(2, 3)         ", tuple(random.shape), "0 <= each < 1")
    assert from_list.tolist() == [1, 2, 3]
    assert from_list.dtype == torch.int64
    assert filled.tolist() == [[7, 7, 7], [7, 7, 7]]
    assert counted.tolist() == [0, 3, 6, 9]
    assert like.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert random.shape == (2, 3)
    assert 0 <= random.min() < random.max() < 1


# %%
def indexing_and_masks_pick_elements(device: torch.device) -> None:
    """Numbers, slices, lists and masks as index; `:` keeps a whole dim."""
    x = torch.arange(12, device=device).view(3, 4)
    print("x =", x.tolist())

    row = x[1]
    column = x[:, -1]  # -1 is the last
    block = x[:2, 1:3]  # the end of a slice is left out
    picked = x[[2, 0]]
    print("x[1]       =", row.tolist())
    print("x[:, -1]   =", column.tolist())
    print("x[:2, 1:3] =", block.tolist())
    print("x[[2, 0]]  =", picked.tolist(), " rows 2 and 0")
    assert row.tolist() == [4, 5, 6, 7]
    assert column.tolist() == [3, 7, 11]
    assert block.tolist() == [[1, 2], [5, 6]]
    assert picked.tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]

    mask = x > 7  # True or False for each element
    print("x[x > 7]   =", x[mask].tolist(), " one dim is left")
    assert mask.sum() == 4  # True counts as 1
    assert x[mask].tolist() == [8, 9, 10, 11]

    x[mask] = 0  # on the left of = the mask writes into x
    print("x[x > 7] = 0 leaves", x.tolist())
    assert x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 0, 0, 0]]


# %%
def slices_share_memory_lists_and_masks_copy(device: torch.device) -> None:
    """A slice looks at the same memory; a list or mask as index copies."""
    x = torch.tensor([0, 1, 2, 3], device=device)
    sliced = x[1:3]
    listed = x[[1, 2]]
    masked = x[x > 2]
    cloned = x[1:3].clone()
    print("x =", x.tolist())
    x += 10
    print("after x += 10, the four that were picked before it:")
    print("  x[1:3]         =", sliced.tolist(), " a view: it changed too")
    print("  x[[1, 2]]      =", listed.tolist(), "   a copy")
    print("  x[x > 2]       =", masked.tolist(), "      a copy")
    print("  x[1:3].clone() =", cloned.tolist(), "   a copy")
    assert sliced.tolist() == [11, 12]
    assert listed.tolist() == [1, 2]
    assert masked.tolist() == [3]
    assert cloned.tolist() == [1, 2]

    x[[1, 2]][0] = 99  # writes into the copy that x[[1, 2]] made
    print("x[[1, 2]][0] = 99 leaves", x.tolist())
    assert x.tolist() == [10, 11, 12, 13]
    x[1:3][0] = 99  # a view of x
    print("x[1:3][0] = 99    leaves", x.tolist())
    assert x.tolist() == [10, 99, 12, 13]


# %%
def cat_makes_a_dim_longer_stack_a_new_one(device: torch.device) -> None:
    """`cat` joins along a dim that is there, `stack` along a new one."""
    x = torch.tensor([[1, 2, 3], [4, 5, 6]], device=device)  # (2, 3)
    y = 10 * x

    below = torch.cat([x, y])  # dim=0: (4, 3)
    beside = torch.cat([x, y], dim=1)  # (2, 6)
    stacked = torch.stack([x, y])  # (2, 2, 3): stacked[0] is x
    print("x =", x.tolist(), " y =", y.tolist())
    print("cat([x, y])        ", tuple(below.shape), below.tolist())
    print("cat([x, y], dim=1) ", tuple(beside.shape))
    print("  ", beside.tolist())
    print("stack([x, y])      ", tuple(stacked.shape))
    print("  ", stacked.tolist())
    assert below.tolist() == [[1, 2, 3], [4, 5, 6], [10, 20, 30], [40, 50, 60]]
    assert beside.tolist() == [[1, 2, 3, 10, 20, 30], [4, 5, 6, 40, 50, 60]]
    assert stacked.shape == (2, 2, 3)
    assert torch.equal(stacked[0], x)
    assert torch.equal(stacked[1], y)

    wide = torch.zeros(2, 4, device=device)
    with caught(RuntimeError, "must match except in dimension 0"):
        torch.cat([x, wide])
    torch.cat([x, wide], dim=1)  # right: (2, 7), joined where they differ


# %%
def unsqueeze_adds_a_dim_squeeze_drops_it(device: torch.device) -> None:
    """`unsqueeze` puts a dim of size 1 in; `[None]` is its short form.

    A model takes a batch: one image (1, 28, 28) has to become (1, 1, 28, 28).
    """
    image = torch.rand(1, 28, 28, device=device)  # (channels, height, width)
    batch = image.unsqueeze(0)  # (batch, channels, height, width)
    short = image[None]
    print("image              ", tuple(image.shape))
    print("image.unsqueeze(0) ", tuple(batch.shape))
    print("image[None]        ", tuple(short.shape))
    assert batch.shape == (1, 1, 28, 28)
    assert torch.equal(short, batch)

    back = batch.squeeze(0)  # name the dim, it is dropped if its size is 1
    every = batch.squeeze()  # every dim of size 1: often one too many
    column = torch.arange(3, device=device)[:, None]  # (3,) to (3, 1)
    print("batch.squeeze(0)   ", tuple(back.shape))
    print("batch.squeeze()    ", tuple(every.shape), " the channel is gone too")
    print("arange(3)[:, None] ", tuple(column.shape), column.tolist())
    assert torch.equal(back, image)
    assert every.shape == (28, 28)
    assert column.tolist() == [[0], [1], [2]]


# %%
def view_and_reshape_keep_the_order_of_numbers() -> None:
    """`view` cuts the same row of numbers anew; one size may be -1.

    All numbers lie in one row in memory, the last dim next to each other. -1
    stands for what is left: 10,000 * 3 * 28 * 28 / 10,000 = 2352.
    """
    x = torch.tensor([[0, 1, 2], [3, 4, 5]])
    cut = x.view(3, 2)
    print("x            =", x.tolist())
    print("x.view(3, 2) =", cut.tolist())
    assert cut.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert cut.data_ptr() == x.data_ptr()  # the same memory

    images = torch.zeros(10_000, 3, 28, 28, dtype=torch.uint8)
    flat = images.view(10_000, -1)
    rows = images.view(-1, 784)  # 28 * 28 = 784: each channel a row
    print("images                 ", tuple(images.shape))
    print("images.view(10_000, -1)", tuple(flat.shape))
    print("images.view(-1, 784)   ", tuple(rows.shape))
    assert flat.shape == (10_000, 2352)
    assert rows.shape == (30_000, 784)
    assert torch.equal(images.reshape(10_000, -1), flat)

    with caught(RuntimeError, "only one dimension can be inferred"):
        images.view(-1, -1)
    images.view(-1, 3 * 28 * 28)  # right: one unknown, one equation


# %%
def permute_turns_axes_contiguous_copies(device: torch.device) -> None:
    """`permute` reads the same memory in another order of the axes.

    Number (i, j) stands at i * stride(0) + j * stride(1) in memory. `view`
    may refuse what is out of order; `reshape` copies where it has to.
    """
    x = torch.tensor([[0, 1, 2], [3, 4, 5]], device=device)
    turned = x.permute(1, 0)  # for two dims also x.T
    cut = x.view(3, 2)
    print("x =", x.tolist(), " strides", x.stride())
    print("x.permute(1, 0) =", turned.tolist(), " strides", turned.stride())
    print("x.view(3, 2)    =", cut.tolist(), " no transpose")
    assert turned.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert cut.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert x.stride() == (3, 1)
    assert turned.stride() == (1, 3)
    assert turned.data_ptr() == x.data_ptr()
    assert not turned.is_contiguous()

    with caught(RuntimeError, "view size is not compatible"):
        turned.view(6)
    flat = turned.reshape(6)  # right: copies, as turned.contiguous().view(6)
    print("turned.reshape(6) =", flat.tolist())
    assert flat.tolist() == [0, 3, 1, 4, 2, 5]
    assert flat.data_ptr() != x.data_ptr()
    assert torch.equal(turned.contiguous().view(6), flat)


# %%
def broadcasting_repeats_dims_of_size_1(device: torch.device) -> None:
    """Shapes are lined up from the right; a size of 1 is repeated.

    (5, 1, 4, 1) with (3, 1, 1) gives (5, 3, 4, 1): at each place, from the
    right, the sizes are equal, or one of them is 1 or missing.
    """
    x = torch.arange(20, device=device).view(5, 1, 4, 1)
    y = torch.tensor([100, 200, 300], device=device).view(3, 1, 1)
    total = x + y
    print("x      (5, 1, 4, 1)")
    print("y         (3, 1, 1)")
    print("x + y ", tuple(total.shape))
    assert total.shape == (5, 3, 4, 1)

    looped = torch.empty_like(total)
    for i in range(5):
        for j in range(3):
            for k in range(4):
                # Where the size is 1, the only index is 0.
                looped[i, j, k, 0] = x[i, 0, k, 0] + y[j, 0, 0]
    print("x[2, 0, 3, 0] + y[1, 0, 0] = 11 + 200 =", total[2, 1, 3, 0].item())
    assert torch.equal(total, looped)
    assert total[2, 1, 3, 0] == 211

    wide = y.expand(5, 3, 4, 1)
    print("y.expand(5, 3, 4, 1) has strides", wide.stride(), " 0: no copy")
    assert wide.stride() == (0, 1, 0, 1)
    with caught(RuntimeError, "must match the size of tensor b (2)"):
        x + torch.ones(3, 2, 1, device=device)
    x + torch.ones(3, 4, 1, device=device)  # right: 4 meets 4


# %%
def a_reduction_removes_the_dim_it_names(device: torch.device) -> None:
    """`sum`, `mean`, `amax`, `argmax` along dim=0 or dim=1 or over all."""
    x = torch.tensor([[1.0, 2.0, 6.0], [4.0, 5.0, 3.0]], device=device)
    down = x.sum(dim=0)  # dim 0 is gone: (3,)
    across = x.mean(dim=1)  # dim 1 is gone: (2,)
    kept = x.mean(dim=1, keepdim=True)  # (2, 1): fits beside x again
    largest = x.amax(dim=1)
    place = x.argmax(dim=1)
    running = x.cumsum(dim=1)  # no dim is gone: sums up to each place

    print("x =", x.tolist())
    print("x.sum()          =", x.sum().item())
    print("x.sum(dim=0)     =", down.tolist(), " over the rows")
    print("x.mean(dim=1)    =", across.tolist(), " over the columns")
    print("  keepdim=True   =", kept.tolist())
    print("x.amax(dim=1)    =", largest.tolist())
    print("x.argmax(dim=1)  =", place.tolist(), " where they stand")
    print("x.cumsum(dim=1)  =", running.tolist())
    assert x.sum() == 21
    assert down.tolist() == [5, 7, 9]
    assert across.tolist() == [3, 4]
    assert kept.tolist() == [[3], [4]]
    assert largest.tolist() == [6, 5]
    assert place.tolist() == [2, 1]
    assert running.tolist() == [[1, 3, 9], [4, 9, 12]]


# %%
def where_gather_topk_select_without_a_loop(device: torch.device) -> None:
    """`where` chooses, `gather` picks one in each row, `topk` the best k.

    Logits are a model's raw scores: 3 samples (rows), 4 classes (columns).
    """
    logits = torch.tensor(
        [[1.0, 5.0, 2.0, 0.0], [0.0, 1.0, 3.0, 4.0], [2.0, 6.0, 1.0, 7.0]],
        device=device,
    )
    labels = torch.tensor([1, 2, 0], device=device)
    print("logits =", logits.tolist())
    print("labels =", labels.tolist())

    positive = torch.where(logits > 2, logits, 0.0)
    print("where(logits > 2, logits, 0.0)[0] =", positive[0].tolist())
    assert positive[0].tolist() == [0, 5, 0, 0]
    assert positive[2].tolist() == [0, 6, 0, 7]

    own = logits.gather(1, labels[:, None])[:, 0]  # (3, 1) to (3,)
    print("logits.gather(1, labels[:, None]) =", own.tolist())
    for i in range(3):
        assert own[i] == logits[i, labels[i]]

    best = logits.topk(2, dim=1)
    print("topk(2, dim=1).indices =", best.indices.tolist())
    assert best.indices.tolist() == [[1, 2], [3, 2], [3, 1]]
    assert best.values.tolist() == [[5, 2], [4, 3], [7, 6]]
    found = (best.indices == labels[:, None]).any(dim=1)
    print("label among the best two:", found.tolist())
    assert found.tolist() == [True, True, False]


# %%
def tensors_compute_as_numpy_axis_is_dim() -> None:
    """The same numbers as NumPy; what it calls `axis` is `dim` here.

    The rows (1, 2, 2) and (4, 4, 2) have the norms, or lengths, 3 and 6.
    """
    array = np.array([[1, 2, 2], [4, 4, 2]], dtype=np.float32)
    x = torch.tensor([[1.0, 2.0, 2.0], [4.0, 4.0, 2.0]])
    print("array = x =", x.tolist())

    total = 2 * x + 1
    product = x @ x.T  # rows times rows: (2, 3) @ (3, 2)
    mean = x.mean(dim=0)
    norm = torch.linalg.norm(x, dim=1)
    print("2 * x + 1        =", total.tolist())
    print("x @ x.T          =", product.tolist())
    print("x.mean(dim=0)    =", mean.tolist(), " array.mean(axis=0)")
    print("linalg.norm(dim=1) =", norm.tolist(), " np.linalg.norm(axis=1)")
    assert total.tolist() == [[3, 5, 5], [9, 9, 5]]
    assert product.tolist() == [[9, 16], [16, 36]]
    assert mean.tolist() == [2.5, 3, 2]
    assert norm.tolist() == [3, 6]
    assert (2 * array + 1).tolist() == total.tolist()
    assert (array @ array.T).tolist() == product.tolist()
    assert array.mean(axis=0).tolist() == mean.tolist()
    assert np.linalg.norm(array, axis=1).tolist() == norm.tolist()


# %%
def from_numpy_shares_memory_tensor_copies() -> None:
    """`from_numpy` and `numpy()` share memory; `torch.tensor` copies."""
    array = np.zeros(3, dtype=np.float32)
    shared = torch.from_numpy(array)
    copied = torch.tensor(array)
    array[0] = 7
    print("array = zeros(3), two tensors made of it, then array[0] = 7")
    print("torch.from_numpy(array) =", shared.tolist(), " shared")
    print("torch.tensor(array)     =", copied.tolist(), " copied")
    assert shared.tolist() == [7, 0, 0]
    assert copied.tolist() == [0, 0, 0]

    x = torch.zeros(3)
    window = x.numpy()
    own = x.numpy().copy()
    x[0] = 7
    print("x = zeros(3), two arrays made of it, then x[0] = 7")
    print("x.numpy()               =", window.tolist(), " shared")
    print("x.numpy().copy()        =", own.tolist(), " copied")
    assert window.tolist() == [7, 0, 0]
    assert own.tolist() == [0, 0, 0]


# %%
def type_promotion_finds_a_type_for_both() -> None:
    """Of two types of one kind the smallest that holds both is taken.

    The kinds, in order: bool, integer, float, complex. A float type wins over
    any integer type. A plain number has a kind, and no width. On the CPU: mps
    has no float64.
    """
    byte = torch.tensor([200], dtype=torch.uint8)  # 0..255
    small = torch.tensor([-3], dtype=torch.int8)  # -128..127
    whole = torch.tensor([3])  # int64
    single = torch.tensor([0.5])  # float32
    half = torch.tensor([0.5], dtype=torch.float16)
    brain = torch.tensor([0.5], dtype=torch.bfloat16)

    print("uint8 + int8       is", (byte + small).dtype, " holds both ranges")
    print("uint8 + uint8      is", (byte + byte).dtype, " 200 + 200 =", end=" ")
    print((byte + byte).item(), " 400 - 256: it wraps around")
    print("int64 + float16    is", (whole + half).dtype)
    print("float16 + bfloat16 is", (half + brain).dtype)
    print("float16 + 2.0      is", (half + 2.0).dtype, " 2.0 has no width")
    print("int64 + 2.0        is", (whole + 2.0).dtype, " a higher kind")
    print("int64 / int64      is", (whole / whole).dtype, " // keeps int64")
    print("float32 > 0        is", (single > 0).dtype)
    assert (byte + small).dtype == torch.int16
    assert (byte + byte).item() == 144
    assert (byte + byte).dtype == torch.uint8
    assert (whole + half).dtype == torch.float16
    assert (half + brain).dtype == torch.float32
    assert (half + 2.0).dtype == torch.float16
    assert (whole + 2.0).dtype == torch.float32
    assert (whole / whole).dtype == torch.float32
    assert (whole // whole).dtype == torch.int64
    assert (single > 0).dtype == torch.bool


# %%
def to_returns_a_tensor_on_another_device() -> None:
    """`x.to(device)` leaves x where it is; the result is on the device.

    Shown with "meta", a device that every machine has: its tensors have a
    shape and a type, and no numbers. A GPU answers in the same way.
    """
    # The two-line check for a GPU; `pick_device` below knows Macs and others.
    name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    assert torch.ones(2, device=device).sum() == 2

    x = torch.tensor([1.0, 2.0, 3.0])
    there = x.to("meta")
    print("there = x.to('meta') is on", there.device, " x is on", x.device)
    assert there.device.type == "meta"
    assert there.shape == (3,)
    assert x.device.type == "cpu"

    same = x.to("cpu")  # it is there already: no copy
    print("x.to('cpu') is x:", same is x)
    assert same is x

    layer = nn.Linear(3, 2)
    moved = layer.to("meta")  # a module moves its own weights
    print("layer.to('meta') is layer:", moved is layer)
    print("layer.weight is now on", layer.weight.device)
    assert moved is layer
    assert layer.weight.device.type == "meta"

    # x + there fails as well: both must be on one device.
    with caught(TypeError, "Use Tensor.cpu() to copy the tensor to host"):
        there.numpy()
    array = x.to("cpu").numpy()  # right: NumPy reads the CPU's memory alone
    assert array.tolist() == [1, 2, 3]


# %%
def manual_seed_repeats_random_numbers() -> None:
    """A seed restarts the stream of random numbers from its beginning.

    On the CPU. A GPU has a generator and numbers of its own.
    """
    torch.manual_seed(0)
    first = torch.randint(100, (5,))
    after = torch.randint(100, (5,))  # the stream went on
    torch.manual_seed(0)
    again = torch.randint(100, (5,))
    print("manual_seed(0), randint:", first.tolist())
    print("randint                :", after.tolist())
    print("manual_seed(0), randint:", again.tolist())
    assert torch.equal(again, first)
    assert not torch.equal(after, first)

    own = torch.Generator().manual_seed(0)  # a stream that nobody else uses
    torch.rand(1)
    drawn = torch.randint(100, (5,), generator=own)
    print("a Generator, seed 0    :", drawn.tolist())
    assert torch.equal(drawn, first)


# %%
def einsum_sums_over_letters_left_out(device: torch.device) -> None:
    """`einsum` names the dims; a letter missing on the right is summed.

    "ij,jk->ik": for each i and k the sum over j of x[i, j] * y[j, k], which
    is the matrix product.
    """
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=device)
    y = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]], device=device)
    looped = torch.zeros(2, 2, device=device)
    for i in range(2):
        for k in range(2):
            for j in range(3):
                looped[i, k] += x[i, j] * y[j, k]

    product = torch.einsum("ij,jk->ik", x, y)
    turned = torch.einsum("ij->ji", x)
    total = torch.einsum("ij->i", x)
    print("x =", x.tolist())
    print("y =", y.tolist())
    print("ij,jk->ik  x @ y        ", product.tolist())
    print("ij->ji     x.T          ", turned.tolist())
    print("ij->i      x.sum(dim=1) ", total.tolist())
    assert product.tolist() == [[5, 11], [14, 23]]
    assert torch.equal(product, looped)
    assert torch.equal(product, x @ y)
    assert turned.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert total.tolist() == [6, 15]

    stack = torch.stack([x, x + 1])  # (2, 2, 3): a batch of two matrices
    each = torch.einsum("bij,jk->bik", stack, y)
    print("bij,jk->bik for x, and for x + 1:")
    print("  ", each.tolist())
    assert each.tolist() == [[[5, 11], [14, 23]], [[8, 15], [17, 27]]]


# %% [markdown]
# ## Automatic differentiation
# Torch notes each operation on a tensor and then finds the derivative of the
# result by each input. Deeper: start_autograd.py.


# %%
def a_computation_graph_is_walked_backward(device: torch.device) -> None:
    """Forward finds the values, `backward()` the slopes, from e to a, b.

    e = (a + b)(b + 1). With c = a + b and d = b + 1, e = c d. By hand
    de/da = d; b acts on both factors: de/db = d + c. At a = 2, b = 1 these
    are 2 and 5.
    """
    a = torch.tensor(2.0, requires_grad=True, device=device)
    b = torch.tensor(1.0, requires_grad=True, device=device)
    c = a + b
    d = b + 1
    e = c * d
    print("a = 2, b = 1")
    print("c = a + b =", c.item(), " made by", c.grad_fn.name())
    print("d = b + 1 =", d.item(), " made by", d.grad_fn.name())
    print("e = c * d =", e.item(), " made by", e.grad_fn.name())
    assert c == 3
    assert d == 2
    assert e == 6
    assert e.grad_fn.name() == "MulBackward0"
    assert e.grad_fn.next_functions[0][0] is c.grad_fn  # the way back
    assert e.grad_fn.next_functions[1][0] is d.grad_fn

    e.backward()
    print("a.grad = de/da = d     =", a.grad.item())
    print("b.grad = de/db = d + c =", b.grad.item())
    assert a.grad == 2
    assert b.grad == 5


# %%
def autograd_agrees_with_calculus(device: torch.device) -> None:
    """`x.grad` is the derivative that the rules of calculus give.

    f(x) = (x - 2)^2 has f'(x) = 2 (x - 2), so f'(1) = -2.
    g(w) = 2 w1 w2 + w2 cos(w1) has the gradient
    (2 w2 - w2 sin(w1), 2 w1 + cos(w1)).
    """
    x = torch.tensor(1.0, requires_grad=True, device=device)
    f = (x - 2) ** 2
    f.backward()
    print("f(x) = (x - 2)^2 at x = 1:", f.item())
    print("  autograd", x.grad.item(), " by hand 2 (x - 2) = -2")
    assert f == 1
    assert x.grad == -2

    w = torch.tensor([math.pi, 1.0], requires_grad=True, device=device)
    g = 2 * w[0] * w[1] + w[1] * w[0].cos()
    g.backward()
    print("g(w) = 2 w1 w2 + w2 cos(w1) at w = (pi, 1):")
    print("  autograd", w.grad.tolist(), " by hand (2, 2 pi - 1)")
    assert_close(w.grad.cpu(), torch.tensor([2, 2 * math.pi - 1]))

    # At pi the sine is 0 and hides its term: at (pi/3, 2) nothing is 0.
    w = torch.tensor([math.pi / 3, 2.0], requires_grad=True, device=device)
    g = 2 * w[0] * w[1] + w[1] * w[0].cos()
    g.backward()
    first = 2 * 2 - 2 * math.sin(math.pi / 3)
    second = 2 * math.pi / 3 + 0.5  # cos(pi/3) = 0.5
    print("  at w = (pi/3, 2):")
    print("  autograd", w.grad.tolist())
    print("  by hand ", [first, second])
    assert abs(first - 2.2679) < 1e-4
    assert abs(second - 2.5944) < 1e-4
    assert_close(w.grad.cpu(), torch.tensor([first, second]))


# %%
def gradient_descent_halves_the_distance(device: torch.device) -> None:
    """Each step x - 0.25 f'(x) halves the distance x - 2 to the minimum.

    f(x) = (x - 2)^2. With learning rate 0.25 the step is x - 0.5 (x - 2), so
    after n steps from 5 there remains x - 2 = 3 / 2^n.
    """
    x = torch.tensor(5.0, requires_grad=True, device=device)
    print("step       x   x - 2      f")
    for step in range(1, 7):
        f = (x - 2) ** 2
        f.backward()
        with torch.no_grad():  # the step itself is no part of f
            x -= 0.25 * x.grad
        x.grad = None  # or the next backward() adds to it

        gap = x.item() - 2
        print(f"{step:4} {x.item():7.4f} {gap:7.4f} {gap**2:6.4f}")
        assert gap == 3 / 2**step


# %%
def mse_gradient_by_formula_equals_autograd(device: torch.device) -> None:
    """The gradient of the mean squared error is 2/n x^T (x w - y).

    Linear regression: x (n, 2) are n = 50 points with two features, y (n,) the
    targets, w (2,) the weights. The loss is the mean of (x w - y)^2.
    """
    torch.manual_seed(0)
    n = 50
    x = torch.randn(n, 2)
    y = x @ torch.tensor([-1.0, 2.0])  # made with w = (-1, 2)
    x = x.to(device)
    y = y.to(device)

    w = torch.tensor([0.5, 1.0], device=device, requires_grad=True)
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        formula = 2 / n * x.T @ (x @ w - y)
    print("w        =", w.tolist())
    print("autograd =", w.grad.tolist())
    print("formula  =", formula.tolist())
    assert_close(w.grad, formula)

    # A third way: how much the loss grows for a small change of w1.
    step = torch.tensor([0.01, 0.0], device=device)
    with torch.no_grad():
        ahead = ((x @ (w + step) - y) ** 2).mean()
        behind = ((x @ (w - step) - y) ** 2).mean()
    slope = (ahead - behind) / 0.02
    print("slope along w1, from two losses:", slope.item())
    assert_close(slope, w.grad[0], rtol=1e-3, atol=0)


# %%
def regression_points(count: int) -> tuple[Tensor, Tensor]:
    """Return x (count, 2) and y = x (-1, 2) + noise, (count,)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 2, generator=generator)
    noise = 0.1 * torch.randn(count, generator=generator)
    return x, x @ torch.tensor([-1.0, 2.0]) + noise


def from_by_hand_to_by_library(device: torch.device) -> nn.Module:
    """Three loops, ever more of torch in them, end at the same weights.

    y = x w + noise with w = (-1, 2), 50 points, 30 steps from w = 0, learning
    rate 0.1. Only the last loop is how one writes it.
    """
    x, y = regression_points(50)
    x = x.to(device)
    y = y.to(device)

    # 1. All by hand: the gradient by formula.
    w = torch.zeros(2, device=device)
    for _ in range(30):
        w = w - 0.1 * 2 / 50 * x.T @ (x @ w - y)
    print("1. by hand            w =", w.tolist())
    by_hand = w

    # 2. Autograd finds the gradient.
    w = torch.zeros(2, device=device, requires_grad=True)
    for _ in range(30):
        ((x @ w - y) ** 2).mean().backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
        w.grad = None
    print("2. autograd           w =", w.tolist())
    assert_close(w.detach(), by_hand)

    # 3. A layer holds w, a function is the loss, an optimizer takes the step.
    model = nn.Linear(2, 1, bias=False, device=device)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x)[:, 0], y)  # (50, 1) to (50,)
        loss.backward()
        optimizer.step()
    print("3. Linear, SGD        w =", model.weight[0].tolist())
    print("   the points are made with w = [-1, 2]")
    assert_close(model.weight[0].detach(), by_hand)
    truth = torch.tensor([-1.0, 2.0], device=device)
    assert (by_hand - truth).abs().max() < 0.05
    return model


# %%
def one_points_gradient_is_right_on_average() -> None:
    """The mean of the gradients of single points is that of all points.

    One point's loss is (x w - y)^2, its gradient 2 (x w - y) x.
    """
    torch.manual_seed(0)
    x = torch.randn(50, 2)
    y = x @ torch.tensor([-1.0, 2.0])
    w = torch.zeros(2, requires_grad=True)
    F.mse_loss(x @ w, y).backward()

    errors = x @ w.detach() - y  # (50,)
    single = 2 * errors[:, None] * x  # (50, 2): a row for each point
    print("of points 0, 1, 2:", single[0].tolist())
    print("                  ", single[1].tolist())
    print("                  ", single[2].tolist())
    print("mean of all 50:   ", single.mean(dim=0).tolist())
    print("w.grad:           ", w.grad.tolist())
    assert_close(single.mean(dim=0), w.grad)
    spread = single.std(dim=0)
    print("they scatter by:  ", spread.tolist())
    assert (spread > w.grad.abs() / 2).all()  # one alone is a rough guess


# %%
def sgd_losses(x: Tensor, y: Tensor, batch_size: int, lr: float) -> Tensor:
    """Return the loss on all points after each of 20 epochs of SGD."""
    w = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=lr)
    order = torch.Generator().manual_seed(1)
    losses = torch.empty(20)
    for epoch in range(20):
        # A new order in each epoch, cut into batches.
        for batch in torch.randperm(50, generator=order).split(batch_size):
            optimizer.zero_grad()
            F.mse_loss(x[batch] @ w, y[batch]).backward()
            optimizer.step()
        losses[epoch] = F.mse_loss(x @ w, y).detach()
    return losses


def stochastic_descent_leads_after_one_epoch() -> None:
    """SGD, one point a step, is ahead after one epoch, not in the end.

    An epoch costs 50 gradients of single points either way: it is 50 steps of
    one point, or one step of all. Each way has the learning rate at which it
    is best after one epoch: of its neighbours each is worse.
    """
    torch.manual_seed(1)
    x = torch.randn(50, 2)
    y = x @ torch.tensor([-1.0, 2.0]) + 0.5 * torch.randn(50)
    best = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    lowest = F.mse_loss(x @ best, y)  # least squares: no w has less

    whole = sgd_losses(x, y, batch_size=50, lr=0.6) - lowest
    single = sgd_losses(x, y, batch_size=1, lr=0.05) - lowest
    print("loss above the lowest one after epoch     1       2      20")
    print(f"all points a step,  lr 0.6:  {whole[0]:12.5f}", end="")
    print(f" {whole[1]:7.5f} {whole[19]:7.5f}")
    print(f"one point a step,   lr 0.05: {single[0]:12.5f}", end="")
    print(f" {single[1]:7.5f} {single[19]:7.5f}")
    assert whole[0] < (sgd_losses(x, y, 50, lr=0.4) - lowest)[0]
    assert whole[0] < (sgd_losses(x, y, 50, lr=0.8) - lowest)[0]
    assert single[0] < (sgd_losses(x, y, 1, lr=0.02) - lowest)[0]
    assert single[0] < (sgd_losses(x, y, 1, lr=0.1) - lowest)[0]

    assert 0 < single[0] < whole[0] / 10
    assert single[19] > 1e-3  # single points go on to pull it about
    assert whole[19].abs() < 1e-5


# %% [markdown]
# ## Common modules and functions
# A module is a function with parameters that are learnt. Layers, activations,
# losses, optimizers and schedulers. Deeper: start_buildnn.py.


# %%
def linear_and_sequential_hold_parameters(device: torch.device) -> None:
    """`Linear` is x W^T + b; `Sequential` calls its modules in turn.

    3 inputs, 4 hidden numbers, 2 outputs: W1 (4, 3), b1 (4,), W2 (2, 4),
    b2 (2,), which are 12 + 4 + 8 + 2 = 26 numbers to learn.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model = model.to(device)
    for name, parameter in model.named_parameters():
        print(f"{name:8} {tuple(parameter.shape)}")
    # Linear layers are numbers 0 and 2 of the Sequential; ReLU learns nothing.
    assert model[0].weight.shape == (4, 3)
    assert model[2].weight.shape == (2, 4)
    count = 0
    for parameter in model.parameters():
        count += parameter.numel()
    print("numbers to learn:", count)
    assert count == 26

    x = torch.tensor([[1.0, -2.0, 0.5]], device=device)  # (batch 1, 3)
    hidden = x @ model[0].weight.T + model[0].bias  # (1, 4)
    hidden = hidden.clamp(min=0)  # ReLU: nothing below 0
    by_hand = hidden @ model[2].weight.T + model[2].bias  # (1, 2)
    print("x =", x.tolist())
    print("model(x) =", model(x).tolist())
    print("by hand  =", by_hand.tolist())
    assert_close(model(x), by_hand)


# %%
class TwoLayers(nn.Module):
    """3 inputs, 4 hidden numbers, 2 outputs: layers here, their use below."""

    def __init__(self):
        super().__init__()  # first, or the layers are not registered
        self.hidden = nn.Linear(3, 4)
        self.output = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return two numbers for each row of x."""
        x = self.hidden(x).relu()  # (batch, 4)
        return self.output(x)  # (batch, 2)


def a_class_net_is_an_nn_module(device: torch.device) -> nn.Module:
    """`__init__` makes the layers, `forward` uses them: a model as a class.

    It is called as a function, `model(x)`; that runs `forward`.
    """
    torch.manual_seed(0)
    model = TwoLayers().to(device)
    print(model)
    x = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]], device=device)
    y = model(x)
    print("x", tuple(x.shape), "-> model(x)", tuple(y.shape))
    assert y.shape == (2, 2)
    hidden = F.relu(F.linear(x, model.hidden.weight, model.hidden.bias))
    by_hand = F.linear(hidden, model.output.weight, model.output.bias)
    assert_close(y, by_hand)

    names = list(model.state_dict())  # each name is attribute.parameter
    print("parameters:", ", ".join(names))
    assert names == [
        "hidden.weight",
        "hidden.bias",
        "output.weight",
        "output.bias",
    ]
    return model


# %%
def linear_without_activation_stays_linear(device: torch.device) -> None:
    """Two Linear in a row are one Linear; an activation makes them more.

    (x W1^T + b1) W2^T + b2 = x (W2 W1)^T + (W2 b1 + b2).
    """
    torch.manual_seed(0)
    first = nn.Linear(3, 4, device=device)
    second = nn.Linear(4, 2, device=device)
    x = torch.randn(5, 3, device=device)

    weight = second.weight @ first.weight  # (2, 3)
    bias = second.weight @ first.bias + second.bias  # (2,)
    one = x @ weight.T + bias
    two = second(first(x))
    bent = second(first(x).relu())
    print("row 0: second(first(x))        =", two[0].tolist())
    print("       one layer, W2 W1        =", one[0].tolist())
    print("       second(relu(first(x)))  =", bent[0].tolist())
    assert_close(two, one)
    assert (bent - one).abs().max() > 0.1

    # A straight line has the same slope both ways; with ReLU it has a bend.
    there = second(first(x)) - second.bias - second.weight @ first.bias
    back = second(first(-x)) - second.bias - second.weight @ first.bias
    assert_close(there, -back)


# %%
def activations_bend_the_line(device: torch.device, figures: Path) -> None:
    """ReLU, Tanh, Sigmoid, SiLU and GELU by their formulas.

    With s = 1 / (1 + e^-x), the sigmoid, and P the integral of the normal
    density: tanh = (e^x - e^-x) / (e^x + e^-x), SiLU = x s, GELU = x P.
    """
    x = torch.arange(-80, 81, device=device) / 20  # -4..4
    s = 1 / (1 + (-x).exp())
    tanh = (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())
    integral = (1 + torch.erf(x / math.sqrt(2))) / 2
    assert_close(F.relu(x), x.clamp(min=0))
    assert_close(F.tanh(x), tanh, rtol=1e-4, atol=1e-5)
    assert_close(F.sigmoid(x), s, rtol=1e-4, atol=1e-5)
    assert_close(F.silu(x), x * s, rtol=1e-4, atol=1e-5)
    assert_close(F.gelu(x), x * integral, rtol=1e-4, atol=1e-5)

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    print("x           -2      0      2")
    for function in (F.relu, F.tanh, F.sigmoid, F.silu, F.gelu):
        y = function(x)
        name = function.__name__
        print(f"{name:8} {y[40]:6.3f} {y[80]:6.3f} {y[120]:6.3f}")
        axes.plot(x.tolist(), y.tolist(), label=name)
    axes.set(title="activations", xlabel="x", ylim=(-1.2, 3))
    axes.legend()
    save_figure(figure, "tour_activations", figures)


# %%
def cross_entropy_punishes_the_surely_wrong(device: torch.device) -> None:
    """Cross-entropy is -log of the probability given to the true class.

    Logits (z0, z1), true class 0: softmax makes the probability
    p = e^z0 / (e^z0 + e^z1), and -log p = log(1 + e^(z1 - z0)).
    """
    label = torch.tensor([0], device=device)
    right = torch.tensor([[1.0, 0.0]], device=device)  # (batch 1, classes 2)
    surely_right = torch.tensor([[10.0, 0.0]], device=device)
    wrong = torch.tensor([[0.0, 1.0]], device=device)
    surely_wrong = torch.tensor([[0.0, 10.0]], device=device)

    losses = torch.stack(
        [
            F.cross_entropy(surely_right, label),
            F.cross_entropy(right, label),
            F.cross_entropy(wrong, label),
            F.cross_entropy(surely_wrong, label),
        ]
    )
    print("the true class is 0         loss")
    print(f"surely right, logits 10, 0  {losses[0]:.5f}")
    print(f"right,        logits 1, 0   {losses[1]:.5f}")
    print(f"wrong,        logits 0, 1   {losses[2]:.5f}")
    print(f"surely wrong, logits 0, 10  {losses[3]:.5f}")
    difference = torch.tensor(
        [-10.0, -1.0, 1.0, 10.0], device=device
    )  # z1 - z0
    assert_close(losses, difference.exp().log1p(), rtol=1e-3, atol=1e-6)
    p = right.softmax(dim=1)[0, 0]
    print("softmax of logits 1, 0:", right.softmax(dim=1).tolist())
    assert_close(losses[1], -p.log())


# %%
def mse_l1_and_huber_measure_distance(device: torch.device) -> None:
    """Squares punish a far guess most; Huber is a square only up to 1.

    Targets 0, guesses 1 and 5: the mean of 1 and 25, of 1 and 5, and for Huber
    of 1^2 / 2 and 5 - 1/2.
    """
    guess = torch.tensor([1.0, 5.0], device=device)
    target = torch.zeros(2, device=device)
    squared = F.mse_loss(guess, target)
    absolute = F.l1_loss(guess, target)
    huber = F.huber_loss(guess, target)
    print("guesses 1 and 5, targets 0")
    print("mse_loss   =", squared.item(), " (1 + 25) / 2")
    print("l1_loss    =", absolute.item(), " (1 + 5) / 2")
    print("huber_loss =", huber.item(), " (0.5 + 4.5) / 2")
    assert squared == 13
    assert absolute == 3
    assert huber == 2.5
    each = F.mse_loss(guess, target, reduction="none")
    print("mse_loss(reduction='none') =", each.tolist())
    assert each.tolist() == [1, 25]


# %%
class WaveNet(nn.Module):
    """Two hidden layers of tanh: from x (n, 1) to y (n, 1)."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(1, 64)
        self.second = nn.Linear(64, 64)
        self.last = nn.Linear(64, 1)  # no tanh behind it: y leaves -1..1
        # Steep first units, for a wave of short length; by default they are
        # so flat that the right half of the wave is not learnt.
        nn.init.uniform_(self.first.weight, -10, 10)
        nn.init.uniform_(self.first.bias, -10, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return the guess for each x."""
        x = self.first(x).tanh()
        x = self.second(x).tanh()
        return self.last(x)


def draw_wave(
    x: Tensor,
    y: Tensor,
    sgd: Tensor,
    momentum: Tensor,
    adam: Tensor,
    figures: Path,
) -> None:
    """Draw the points and what the three networks say of them."""
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    axes.plot(x.tolist(), y.tolist(), "k.", markersize=3, label="points")
    axes.plot(x.tolist(), sgd.tolist(), label="SGD")
    axes.plot(x.tolist(), momentum.tolist(), label="momentum")
    axes.plot(x.tolist(), adam.tolist(), label="Adam")
    axes.set(title="4 sin(pi x) cos(6 pi x^2)", xlabel="x", ylabel="y")
    axes.legend()
    save_figure(figure, "tour_wave", figures)


def fit_wave(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    steps: int,
) -> Tensor:
    """Take `steps` steps, each on all points; return what is then guessed."""
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return model(x).detach()


def momentum_and_adam_fit_a_wave(
    device: torch.device,
    figures: Path,
    *,
    steps: int = 600,
    at_most: float = 0.05,
) -> None:
    """Adam learns 4 sin(pi x) cos(6 pi x^2) on all of 0..1, SGD does not.

    200 points, all in each step, two hidden layers of tanh with the same first
    weights for all three. Adam's mean squared error is below `at_most` on the
    whole range, and on its last part, where the wave is shortest.
    """
    x = torch.linspace(0, 1, 200, device=device)[:, None]  # (200, 1)
    y = 4 * (math.pi * x).sin() * (6 * math.pi * x**2).cos()
    torch.manual_seed(0)
    sgd_net = WaveNet().to(device)
    momentum_net = copy.deepcopy(sgd_net)
    adam_net = copy.deepcopy(sgd_net)

    optimizer = torch.optim.SGD(sgd_net.parameters(), lr=0.01)
    sgd = fit_wave(sgd_net, optimizer, x, y, steps)
    optimizer = torch.optim.SGD(momentum_net.parameters(), 0.01, momentum=0.9)
    momentum = fit_wave(momentum_net, optimizer, x, y, steps)
    optimizer = torch.optim.Adam(adam_net.parameters(), lr=0.01)
    adam = fit_wave(adam_net, optimizer, x, y, steps)

    print(f"mean squared error after {steps} steps, on 0..1 and on 0.85..1")
    print(f"always 0   {y.square().mean():.4f}  {y[170:].square().mean():.4f}")
    print(f"SGD        {F.mse_loss(sgd, y):.4f}", end="")
    print(f"  {F.mse_loss(sgd[170:], y[170:]):.4f}")
    print(f"momentum   {F.mse_loss(momentum, y):.4f}", end="")
    print(f"  {F.mse_loss(momentum[170:], y[170:]):.4f}")
    print(f"Adam       {F.mse_loss(adam, y):.4f}", end="")
    print(f"  {F.mse_loss(adam[170:], y[170:]):.4f}")
    assert 3.88 < y.square().mean() < 3.9
    assert F.mse_loss(momentum, y) < F.mse_loss(sgd, y) / 2
    assert F.mse_loss(adam, y) < at_most
    assert F.mse_loss(adam[170:], y[170:]) < at_most
    draw_wave(x, y, sgd, momentum, adam, figures)


# %%
def schedulers_lower_the_learning_rate() -> None:
    """StepLR, ExponentialLR, CosineAnnealingLR: the rate in each epoch.

    In epoch n, counted from 0: 0.2 * 0.5^floor(n / 2), 0.2 * 0.8^n, and
    0.1 (1 + cos(pi n / 6)), which is 0 after 6 epochs.
    """
    w = torch.zeros(2, requires_grad=True)
    stepped = torch.optim.SGD([w], lr=0.2)
    exponential = torch.optim.SGD([w], lr=0.2)
    cosine = torch.optim.SGD([w], lr=0.2)
    schedulers = torch.optim.lr_scheduler
    halve = schedulers.StepLR(stepped, step_size=2, gamma=0.5)
    shrink = schedulers.ExponentialLR(exponential, gamma=0.8)
    half_wave = schedulers.CosineAnnealingLR(cosine, T_max=6)

    print("epoch   StepLR  ExponentialLR  CosineAnnealingLR")
    for n in range(6):
        # The rate that this epoch uses stands in the optimizer.
        rate1 = stepped.param_groups[0]["lr"]
        rate2 = exponential.param_groups[0]["lr"]
        rate3 = cosine.param_groups[0]["lr"]
        print(f"{n:5} {rate1:8.4f} {rate2:14.4f} {rate3:18.4f}")
        assert math.isclose(rate1, 0.2 * 0.5 ** (n // 2))
        assert math.isclose(rate2, 0.2 * 0.8**n)
        assert math.isclose(rate3, 0.1 * (1 + math.cos(math.pi * n / 6)))
        # All batches of the epoch come here; then, once an epoch:
        stepped.step()
        exponential.step()
        cosine.step()
        halve.step()
        shrink.step()
        half_wave.step()


# %%
def distance_after_sgd(seed: int, gamma: float) -> float:
    """Return how far single-point SGD ends from the least squares.

    20 points, 10 epochs; each epoch multiplies the learning rate by gamma.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 2, generator=generator)
    noise = 0.5 * torch.randn(20, generator=generator)
    y = x @ torch.tensor([-1.0, 2.0]) + noise
    best = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]

    w = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    for _ in range(10):
        for point in torch.randperm(20, generator=generator):
            assert w.grad is None  # zero_grad was not forgotten
            ((x[point] @ w - y[point]) ** 2).backward()
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()  # once an epoch, after the optimizer's steps
    return torch.linalg.norm(w.detach() - best).item()


def a_scheduler_lets_sgd_settle() -> None:
    """With a falling rate SGD ends nearer to the minimum, on average.

    At a constant rate each single point pulls w away from the least squares
    of all. One run may be lucky, so ten runs are made, each with other points.
    """
    constant = torch.empty(10)
    falling = torch.empty(10)
    for seed in range(10):
        constant[seed] = distance_after_sgd(seed, gamma=1.0)
        falling[seed] = distance_after_sgd(seed, gamma=0.7)
    print("distance of w from least squares after 10 epochs, ten runs")
    print(f"lr 0.1 in all epochs:   mean {constant.mean():.4f}", end="")
    print(f", largest {constant.max():.4f}")
    print(f"lr times 0.7 an epoch:  mean {falling.mean():.4f}", end="")
    print(f", largest {falling.max():.4f}")
    nearer = (falling < constant).sum().item()
    print("runs that end nearer with the falling rate:", nearer, "of 10")
    assert falling.mean() < constant.mean() / 5
    assert nearer >= 9


# %%
def convolution_slides_a_blur_over_an_image(device: torch.device) -> None:
    """Each output pixel is the sum of 5 x 5 pixels times 25 weights.

    The weights, the kernel, are a Gaussian blur: (1, 4, 6, 4, 1) / 16 along
    both axes; they sum to 1, so the image keeps its brightness.
    """
    image = draw_seven().to(device)
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=device) / 16
    kernel = torch.outer(line, line)  # (5, 5)

    # Without bias=False a random number would be added to every pixel.
    layer = nn.Conv2d(1, 1, kernel_size=5, padding=2, bias=False)
    layer = layer.to(device).requires_grad_(False)
    layer.weight[0, 0] = kernel
    blurred = layer(image[None, None])[0, 0]  # (1, 1, 28, 28) and back

    padded = F.pad(image, (2, 2, 2, 2))  # (32, 32), a black frame
    looped = torch.empty(28, 28, device=device)
    for i in range(28):
        for j in range(28):
            looped[i, j] = (kernel * padded[i : i + 5, j : j + 5]).sum()
    # A GPU may round factors to ten bits (TensorFloat-32).
    assert_close(blurred, looped, rtol=0, atol=2e-3)

    print("kernel: middle", kernel[2, 2].item(), " sum", kernel.sum().item())
    print(f"image:   mean {image.mean():.4f}, largest {image.max():.4f}")
    print(f"blurred: mean {blurred.mean():.4f}, largest {blurred.max():.4f}")
    assert kernel.sum() == 1
    assert kernel[2, 2] == 36 / 256
    assert (blurred.mean() - image.mean()).abs() < 1e-3
    assert blurred.max() < 0.95 < image.max()


# %%
def draw_kernels(
    image: Tensor,
    blurred: Tensor,
    edges: Tensor,
    sharper: Tensor,
    figures: Path,
) -> None:
    """Draw four images (1, 1, 28, 28); dark grey is 0 in all of them."""
    figure, panels = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
    pictures = torch.cat([image, blurred, edges, sharper])[:, 0].cpu().numpy()
    panels[0].set_title("image")
    panels[1].set_title("blurred")
    panels[2].set_title("edges")
    panels[3].set_title("sharper")
    for i in range(4):
        panels[i].imshow(pictures[i], cmap="gray", vmin=-0.5, vmax=1.5)
        panels[i].axis("off")
    save_figure(figure, "tour_convolution", figures)


def a_kernel_finds_edges_and_sharpens(
    device: torch.device, figures: Path
) -> None:
    """edges = image - blur; image + edges is sharper.

    A kernel with 1 in its middle returns the image; so the kernel of the edges
    is same - blur, of the sharper image 2 same - blur.
    """
    image = draw_seven().to(device)[None, None]  # (1, 1, 28, 28)
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=device) / 16
    blur = torch.outer(line, line)[None, None]  # (1, 1, 5, 5)
    same = torch.zeros_like(blur)
    same[0, 0, 2, 2] = 1

    blurred = F.conv2d(image, blur, padding=2)
    edges = F.conv2d(image, same - blur, padding=2)
    sharper = F.conv2d(image, 2 * same - blur, padding=2)
    assert_close(F.conv2d(image, same, padding=2), image, rtol=0, atol=2e-3)
    assert_close(edges, image - blurred, rtol=0, atol=2e-3)
    assert_close(sharper, image + edges, rtol=0, atol=2e-3)
    print(f"blurred: {blurred.min():.3f} to {blurred.max():.3f}")
    print(f"edges:   {edges.min():.3f} to {edges.max():.3f}", end="")
    print(f", in the flat corner {edges[0, 0, 0, 0]:.3f}")
    print(f"sharper: {sharper.min():.3f} to {sharper.max():.3f}")
    assert edges[0, 0, 0, 0] == 0
    assert edges.min() < -0.2
    assert sharper.max() > 1.2  # more contrast than the image has
    draw_kernels(image, blurred, edges, sharper, figures)


# %%
def conv2d_maps_3_channels_to_16(device: torch.device) -> None:
    """16 kernels, each 3 channels deep, make 16 channels.

    Height becomes floor((height + 2 padding - kernel) / stride) + 1, width
    alike. A layer has 16 * 3 * kernel^2 weights and 16 biases.
    """
    torch.manual_seed(0)
    image = torch.rand(1, 3, 28, 20, device=device)  # not square
    same = nn.Conv2d(3, 16, kernel_size=3, padding=1).to(device)
    halved = nn.Conv2d(3, 16, kernel_size=3, stride=2, padding=1).to(device)
    bare = nn.Conv2d(3, 16, kernel_size=5).to(device)

    print("image            ", tuple(image.shape))
    print("kernel 3, padding 1           ", tuple(same(image).shape))
    print("kernel 3, padding 1, stride 2 ", tuple(halved(image).shape))
    print("kernel 5                      ", tuple(bare(image).shape))
    assert same(image).shape == (1, 16, 28, 20)
    assert halved(image).shape == (1, 16, 14, 10)  # (28 - 1) // 2 + 1 = 14
    assert bare(image).shape == (1, 16, 24, 16)
    count = bare.weight.numel() + bare.bias.numel()
    print("numbers to learn, kernel 5:", count)
    assert count == 16 * 3 * 5**2 + 16

    # One output number by hand: all three channels go into it.
    by_hand = (bare.weight[7] * image[0, :, 2:7, 4:9]).sum() + bare.bias[7]
    print("bare(image)[0, 7, 2, 4] =", bare(image)[0, 7, 2, 4].item())
    assert_close(bare(image)[0, 7, 2, 4], by_hand, rtol=0, atol=2e-3)


# %% [markdown]
# ## Dataset and DataLoader
# A Dataset says how many samples there are and which one is number i; a
# DataLoader makes batches of them. Deeper: start_dataloader.py.


# %%
class SquaresData(Dataset):
    """The arrays x = 0, 1, 2, ... and x^2, one pair at a time."""

    def __init__(self, count: int):
        self.x = np.arange(count, dtype=np.float32)
        self.y = self.x**2

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return pair number `index`, two tensors of shape ()."""
        return torch.tensor(self.x[index]), torch.tensor(self.y[index])


def a_dataset_has_len_and_getitem() -> Dataset:
    """`len(data)` says how many, `data[i]` gives sample i: that is all."""
    data = SquaresData(10)
    x, y = data[3]
    print("len(data) =", len(data))
    print("data[3]   =", data[3])
    assert len(data) == 10
    assert x == 3
    assert y == 9
    assert x.dtype == torch.float32  # NumPy's own default is float64

    ready = TensorDataset(torch.arange(10.0), torch.arange(10.0) ** 2)
    print("TensorDataset(x, y)[3] =", ready[3])
    assert ready[3] == (3, 9)
    return data


# %%
def dataloader_makes_batches() -> None:
    """Samples are stacked into batches; the last one may be smaller."""
    x = torch.arange(10)
    data = TensorDataset(x, x**2)
    sizes = []
    for batch_x, batch_y in DataLoader(data, batch_size=4):
        print("x =", batch_x.tolist(), " y =", batch_y.tolist())
        assert torch.equal(batch_y, batch_x**2)
        sizes.append(len(batch_x))
    assert sizes == [4, 4, 2]

    whole = DataLoader(data, batch_size=4, drop_last=True)
    print("batches:", len(sizes), " with drop_last=True:", len(whole))
    assert len(whole) == 2
    for batch_x, _ in whole:
        assert len(batch_x) == 4


# %%
def shuffle_draws_a_new_order_each_epoch() -> None:
    """`shuffle=True` for training: every sample once, in another order."""
    data = TensorDataset(torch.arange(6))
    generator = torch.Generator().manual_seed(0)  # so that a run repeats
    loader = DataLoader(data, 6, shuffle=True, generator=generator)
    (first,) = next(iter(loader))
    (second,) = next(iter(loader))
    print("epoch 1:", first.tolist())
    print("epoch 2:", second.tolist())
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == [0, 1, 2, 3, 4, 5]
    assert sorted(second.tolist()) == [0, 1, 2, 3, 4, 5]

    generator.manual_seed(0)
    (again,) = next(iter(loader))
    print("seed 0 again:", again.tolist())
    assert torch.equal(again, first)


# %%
class WhoFetches(Dataset):
    """Four samples, each the number of the process that fetches it."""

    def __len__(self) -> int:
        """Return the number of samples."""
        return 4

    def __getitem__(self, index: int) -> tuple[int, int]:
        """Return the index and the process number."""
        return index, os.getpid()


def num_workers_fetch_in_other_processes(*, workers: int = 1) -> None:
    """`num_workers=1` loads in a second process while the model computes.

    A worker imports the file that is run. In a file of your own the call must
    therefore stand in a function that runs only below

        if __name__ == "__main__":
            main()

    or Windows and macOS stop with "An attempt has been made to start a new
    process before the current process has finished its bootstrapping phase".
    In a notebook keep num_workers=0, or put the Dataset in a file.
    """
    context = None
    if workers:
        context = "spawn"  # a new Python, the same on every system
    loader = DataLoader(
        WhoFetches(), 2, num_workers=workers, multiprocessing_context=context
    )
    for index, process in loader:
        here = (process == os.getpid()).tolist()
        print("samples", index.tolist(), " fetched in this process:", here)
        if workers:
            assert here == [False, False]
        else:
            assert here == [True, True]


# %% [markdown]
# ## A whole model in one page
# Images, a network, training, a score on images that it has not seen, saving,
# loading, one image of one's own. Lift the cells into a file of your own, with
# the imports, and put your images where `font_digits` stands.


# %%
def digits_are_split_by_font(device: torch.device) -> None:
    """Train on some fonts, test on fonts of another family.

    `font_digits`, below the lessons, draws digits and turns, scales and shifts
    them. Images are (count, 1, 28, 28), 0 black to 1 white; labels (count,).
    """
    images, labels = font_digits("train", 500)  # DejaVu
    test_images, test_labels = font_digits("test", 300)  # Computer Modern
    images = images.to(device)
    print("train:", tuple(images.shape), images.dtype, labels.dtype)
    print("test: ", tuple(test_images.shape))
    print(f"pixels from {images.min().item()} to {images.max().item():.2f}")
    print("first labels:", labels[:10].tolist())
    print("how many of each digit:", labels.bincount().tolist())
    assert images.shape == (500, 1, 28, 28)
    assert test_images.shape == (300, 1, 28, 28)
    assert labels.dtype == torch.int64  # what cross_entropy wants
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert 0.9 < images.max() <= 1
    assert sorted(set(labels.tolist())) == list(range(10))
    assert sorted(set(test_labels.tolist())) == list(range(10))


# %%
class Net(nn.Module):
    """From images (batch, 1, 28, 28) to logits (batch, 10)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=5, padding=2)
        self.dropout = nn.Dropout(0.25)
        self.output = nn.Linear(16 * 7 * 7, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return a logit for each image and digit."""
        x = F.max_pool2d(self.conv1(images).relu(), 2)  # (batch, 8, 14, 14)
        x = F.max_pool2d(self.conv2(x).relu(), 2)  # (batch, 16, 7, 7)
        x = x.flatten(1)  # (batch, 784)
        return self.output(self.dropout(x))  # (batch, 10)


def the_net_gives_ten_logits_an_image(device: torch.device) -> None:
    """Ten logits an image; before training each costs about log 10.

    A network that knows nothing gives each digit 1/10: -log(1/10) = 2.303.
    """
    torch.manual_seed(0)
    images, labels = font_digits("train", 200)
    model = Net().to(device)
    model.eval()
    with torch.no_grad():
        logits = model(images.to(device))
    loss = F.cross_entropy(logits, labels.to(device))
    count = 0
    for parameter in model.parameters():
        count += parameter.numel()

    print("images", tuple(images.shape), "-> logits", tuple(logits.shape))
    print("numbers to learn:", count)
    print(f"loss before training: {loss:.3f}, log 10 = {math.log(10):.3f}")
    assert not model.training  # dropout was off
    assert logits.shape == (200, 10)
    assert count == (8 * 25 + 8) + (16 * 8 * 25 + 16) + (784 * 10 + 10)
    assert abs(loss.item() - math.log(10)) < 0.1


# %%
def fit_digits(
    model: nn.Module,
    data: Dataset,
    epochs: int,
    half: torch.dtype | None = None,
) -> list[float]:
    """Train `model` on `data`; return the mean loss of each epoch.

    `half` is for mixed precision, the next chapter: None switches it off.
    """
    device = next(model.parameters()).device
    loader = DataLoader(data, batch_size=50, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
    history = []
    for epoch in range(1, epochs + 1):
        model.train()  # dropout on
        total = 0.0
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            with torch.autocast(device.type, half, enabled=half is not None):
                logits = model(images)
                loss = F.cross_entropy(logits, labels)
            assert logits.dtype == (half or torch.float32)
            scaler.scale(loss).backward()  # without `half`: loss.backward()
            scaler.step(optimizer)  # without `half`: optimizer.step()
            scaler.update()
            total += loss.item() * len(labels)
        history.append(total / len(data))
        print(f"epoch {epoch}: loss {history[-1]:.3f}")
    return history


def digit_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the fraction of images whose largest logit is at their label."""
    device = next(model.parameters()).device
    model.eval()  # dropout off
    with torch.no_grad():  # no graph is needed
        logits = model(images.to(device))
    return (logits.argmax(dim=1) == labels.to(device)).float().mean().item()


def a_net_is_scored_on_held_out_fonts(
    device: torch.device,
    half: torch.dtype | None = None,
    *,
    count: int = 3000,
    epochs: int = 4,
    at_least: float = 0.65,
) -> nn.Module:
    """Accuracy counts on held-out data: on new fonts it is lower.

    The network has seen the training images in each epoch. Images of the same
    fonts, drawn anew, still flatter it: fonts of another family do not.
    """
    torch.manual_seed(0)
    images, labels = font_digits("train", count)
    model = Net().to(device)
    history = fit_digits(model, TensorDataset(images, labels), epochs, half)
    assert history[-1] < history[0] < math.log(10)  # what guessing costs
    assert history[-1] > 0.05

    seen = digit_accuracy(model, images, labels)
    new_images, new_labels = font_digits("train", 1000, seed=1)
    same_fonts = digit_accuracy(model, new_images, new_labels)
    test_images, test_labels = font_digits("test", 1000)
    held_out = digit_accuracy(model, test_images, test_labels)
    print(f"training images:              {seen:.3f} right")
    print(f"new images of the same fonts: {same_fonts:.3f}")
    print(f"held-out fonts:               {held_out:.3f}")
    print("guessing:                     0.100")
    assert at_least < held_out < same_fonts - 0.05
    assert same_fonts - 0.02 < seen <= 1
    assert not model.training  # digit_accuracy has left it in eval mode
    return model


# %%
def eval_and_no_grad_are_two_switches(device: torch.device) -> None:
    """`eval()` switches dropout off, `no_grad` the recording: use both.

    In training mode Dropout(0.25) zeroes each of its inputs with probability
    1/4, so the same image gets other logits each time.
    """
    torch.manual_seed(0)
    model = Net().to(device)
    image = font_digits("test", 1)[0].to(device)

    model.train()
    first = model(image)
    second = model(image)
    print("train mode: equal logits:", torch.equal(first, second))
    assert not torch.equal(first, second)

    model.eval()
    first = model(image)
    second = model(image)
    print("eval mode:  equal logits:", torch.equal(first, second))
    print("            recorded:", first.grad_fn is not None)
    assert_close(first, second)
    assert first.grad_fn is not None  # eval alone still records

    with torch.no_grad():
        third = model(image)
    print("no_grad():  recorded:", third.grad_fn is not None)
    assert third.grad_fn is None
    assert_close(third, first)


# %%
def save_digits(model: nn.Module, path: Path) -> None:
    """Write the names and numbers of the parameters to a file."""
    torch.save(model.state_dict(), path)


def load_digits(path: Path, device: torch.device) -> nn.Module:
    """Return a new Net with the parameters in the file, in eval mode."""
    model = Net().to(device)
    model.load_state_dict(torch.load(path, map_location=device))
    return model.eval()


def state_dict_saves_and_loads_a_model(device: torch.device) -> None:
    """A saved `state_dict` in a new Net gives the same logits.

    Names and numbers are saved, no code: whoever loads needs the class.
    `map_location` lets a machine without a GPU read what a GPU has saved.
    """
    torch.manual_seed(0)
    model = Net().to(device).eval()
    images = font_digits("test", 20)[0].to(device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.pt")
        save_digits(model, path)
        size = path.stat().st_size
        loaded = load_digits(path, device)

    names = list(model.state_dict())
    print("names:", ", ".join(names[:4]))
    print("      ", ", ".join(names[4:]))
    assert names[-1] == "output.bias"
    print(
        f"the file has {size:,} bytes, 4 for each of 11,274 numbers and names"
    )
    assert 4 * 11_274 < size < 2 * 4 * 11_274
    with torch.no_grad():
        logits = model(images)
        difference = (loaded(images) - logits).abs().max().item()
        unloaded = Net().to(device).eval()(images)
    print("largest difference of logits:", difference)
    print("a new Net, not loaded, agrees:", torch.allclose(unloaded, logits))
    assert difference < 1e-5
    assert not torch.allclose(unloaded, logits)
    assert not loaded.training


# %%
def read_digit(path: Path) -> Tensor:
    """Return the image in the file as the network was trained: (1, 28, 28).

    Grey, 28 x 28, white ink on black, 0..1. A picture with dark ink on white,
    as on paper, is turned round.
    """
    picture = Image.open(path).convert("L").resize((28, 28))
    image = torch.tensor(list(picture.tobytes())).view(1, 28, 28) / 255
    if image.mean() > 0.5:
        image = 1 - image
    return image


def predict_digit(model: nn.Module, path: Path) -> tuple[int, float]:
    """Return the digit in the image file, and its probability."""
    device = next(model.parameters()).device
    batch = read_digit(path)[None].to(device)  # (1, 1, 28, 28)
    model.eval()
    with torch.no_grad():
        probabilities = model(batch).softmax(dim=1)[0]  # (10,)
    digit = probabilities.argmax().item()
    return digit, probabilities[digit].item()


def predict_one_image_from_a_png(
    device: torch.device, *, count: int = 2000, epochs: int = 3
) -> None:
    """Train, save, load, read a PNG, add the batch dim, argmax of softmax.

    The file is drawn here, black ink on white, 56 x 56, in a held-out font.
    """
    torch.manual_seed(0)
    model = Net().to(device)
    fit_digits(model, TensorDataset(*font_digits("train", count)), epochs)
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = ImageFont.truetype(str(fonts / "cmss10.ttf"), size=52)
    paper = Image.new("L", (56, 56), color=255)
    draw = ImageDraw.Draw(paper)
    draw.text((28, 28), "3", fill=0, font=font, anchor="mm")

    with tempfile.TemporaryDirectory() as folder:
        save_digits(model, Path(folder, "digits.pt"))
        loaded = load_digits(Path(folder, "digits.pt"), device)
        paper.save(Path(folder, "three.png"))
        image = read_digit(Path(folder, "three.png"))
        digit, probability = predict_digit(loaded, Path(folder, "three.png"))
    print("read_digit:", tuple(image.shape), image.dtype, end="")
    print(f"  corner {image[0, 0, 0]:.1f}, brightest {image.max():.2f}")
    print(f"three.png is a {digit}, probability {probability:.3f}")
    assert image.shape == (1, 28, 28)
    assert image[0, 0, 0] == 0
    assert image.max() > 0.9
    assert digit == 3
    assert 0.3 < probability <= 1


# %% [markdown]
# ## Mixed precision
# Products in 16 bits, the rest in 32: half the memory, and faster on hardware
# made for it. `--amp` trains the model of the last chapter so.


# %%
def float16_has_digits_bfloat16_has_range() -> None:
    """float16 is finer, and ends at 65,504; bfloat16 goes to 3e38.

    Bits for sign, exponent, fraction: float32 1 + 8 + 23, float16 1 + 5 + 10,
    bfloat16 1 + 8 + 7. The step after 1 is 2^-23, 2^-10, 2^-7. On the CPU.
    """
    single = torch.finfo(torch.float32)
    half = torch.finfo(torch.float16)
    brain = torch.finfo(torch.bfloat16)
    print("          largest    step after 1")
    print(f"float32   {single.max:.3g}   {single.eps:.3g}")
    print(f"float16   {half.max:,.0f}     {half.eps:.3g}")
    print(f"bfloat16  {brain.max:.3g}   {brain.eps:.3g}")
    assert single.eps == 2**-23
    assert half.eps == 2**-10
    assert brain.eps == 2**-7
    assert half.max == 65_504
    assert brain.max > 3e38

    x = torch.tensor([70_000.0, 257.0, 1e-8])
    print("x            ", x.tolist())
    print("x.half()     ", x.half().tolist(), " too large, right, too small")
    print("x.bfloat16() ", x.bfloat16().tolist(), " two or three digits")
    assert x.half().tolist() == [math.inf, 257, 0]
    assert x.bfloat16()[1] == 256
    assert_close(x.bfloat16().float(), x, rtol=2**-8, atol=0)


# %%
def autocast_picks_a_type_for_each_operation(
    device: torch.device, half: torch.dtype
) -> None:
    """Under autocast products give 16 bits, losses 32; weights stay 32.

    A product loses little by few digits; a loss is a sum over many numbers.
    The whole list differs a little between devices.
    """
    torch.manual_seed(0)
    layer = nn.Linear(8, 3).to(device)
    x = torch.rand(4, 8, device=device)
    labels = torch.tensor([0, 1, 2, 0], device=device)
    with torch.autocast(device.type, half):
        logits = layer(x)
        product = x @ x.T
        loss = F.cross_entropy(logits, labels)
    loss.backward()  # outside: each step goes back in the type it came in

    print("x             ", x.dtype)
    print("layer(x)      ", logits.dtype)
    print("x @ x.T       ", product.dtype)
    print("cross_entropy ", loss.dtype)
    print("layer.weight  ", layer.weight.dtype)
    print("its gradient  ", layer.weight.grad.dtype)
    assert logits.dtype == half
    assert product.dtype == half
    assert loss.dtype == torch.float32
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad.dtype == torch.float32
    # The numbers agree to the digits that 16 bits have.
    assert_close(product.float(), x @ x.T, rtol=2e-2, atol=0)


# %%
def grad_scaler_skips_a_step_with_inf() -> None:
    """GradScaler scales the loss, unscales the gradient, skips an inf.

    w is float32, and its copy in float16 is what the loss uses; loss = slope
    w. float16 ends at 65,504: at scale 65,536 a slope of 1.5 overflows, so the
    step is skipped and the scale halved. The next step is taken. On the CPU.
    """
    w = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=65_536)

    scaler.scale(w.half().float() * 1e-8).backward()
    scaler.step(optimizer)
    scaler.update()
    print("slope 1e-8: w =", w.item(), " scale", scaler.get_scale())
    assert_close(w.item(), -1e-8, rtol=1e-3, atol=0)
    assert scaler.get_scale() == 65_536

    optimizer.zero_grad()
    scaler.scale(w.half().float() * 1.5).backward()
    print("slope 1.5:  w.grad =", w.grad.item())
    assert w.grad == math.inf
    scaler.step(optimizer)
    scaler.update()
    print("  skipped:  w =", w.item(), " scale", scaler.get_scale())
    assert w.abs() < 2e-8
    assert scaler.get_scale() == 32_768

    optimizer.zero_grad()
    scaler.scale(w.half().float() * 1.5).backward()
    scaler.step(optimizer)
    scaler.update()
    print("slope 1.5:  w =", w.item(), " scale", scaler.get_scale())
    assert_close(w.item(), -1.5)
    assert scaler.get_scale() == 32_768


# %%
def final_loss(
    device: torch.device, half: torch.dtype | None, steps: int
) -> float:
    """Train a 16-32-1 network to learn a sine; return its loss at the end."""
    torch.manual_seed(0)
    x = torch.randn(200, 16).to(device)
    y = (x @ torch.full((16, 1), 0.25, device=device)).sin()
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))
    model = model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    # bfloat16 has the exponents of float32 and needs no scaler.
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device.type, half, enabled=half is not None):
            guess = model(x)
            assert guess.dtype == (half or torch.float32)
            loss = F.mse_loss(guess, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert model[0].weight.dtype == torch.float32
    return loss.item()


def mixed_precision_trains_to_the_same_loss(
    device: torch.device, half: torch.dtype
) -> None:
    """Training with autocast ends at the loss of float32, within a tenth.

    y = sin(x w), 200 points, 60 steps of Adam from the same weights. The first
    loss is about a half.
    """
    start = final_loss(device, None, steps=1)
    single = final_loss(device, None, steps=60)
    mixed = final_loss(device, half, steps=60)
    print(f"loss of the first step:   {start:.4f}")
    print(f"float32, 60 steps:        {single:.4f}")
    print(f"{half}, 60 steps: {mixed:.4f}")
    assert single < start / 10
    assert abs(mixed - single) < 0.1 * single
    assert mixed != single  # the digits differ: 16 bits were in use


# %% [markdown]
# ## Mistakes
# The wrong line, what torch says, the right line. Where torch says nothing,
# both results are printed.


# %%
def mistakes_with_shapes_stop_with_a_message() -> None:
    """Sizes that do not fit: torch names both of them."""
    images = torch.zeros(30, 28, 28)
    with caught(RuntimeError, "is invalid for input of size 23520"):
        images.view(10, 784)
    flat = images.flatten(1)  # right: the batch of 30 stays
    assert flat.shape == (30, 784)

    layer = nn.Linear(784, 10)
    with caught(RuntimeError, "shapes cannot be multiplied"):
        layer(images)
    logits = layer(flat)  # right: 784 numbers in each row
    assert logits.shape == (30, 10)

    row = torch.arange(3)
    with caught(IndexError, "Dimension out of range"):
        row.sum(dim=1)
    total = row.sum(dim=0)  # right: one dim has number 0, or -1
    assert total == 3


# %%
def mistakes_with_inputs_stop_with_a_message() -> None:
    """Rows of unequal length, `if` and `item()` on several numbers."""
    with caught(ValueError, "expected sequence of length 2"):
        torch.tensor([[1, 2], [3, 4, 5]])
    padded = torch.tensor([[1, 2, 0], [3, 4, 5]])  # right: padded
    assert padded.shape == (2, 3)

    x = torch.tensor([1.0, 2.0])
    with caught(RuntimeError, "Boolean value of Tensor with more than one"):
        bool(x > 1)
    some = bool((x > 1).any())  # right: or all()
    assert some is True
    assert bool((x > 1).all()) is False

    with caught(RuntimeError, "cannot be converted to Scalar"):
        x.item()
    numbers = x.tolist()  # right: item() is for one number
    assert numbers == [1, 2]


# %%
def mistakes_with_images_stop_with_a_message() -> None:
    """A Conv2d takes float images, (batch, channels, height, width)."""
    layer = nn.Conv2d(3, 16, 3)
    image = torch.zeros(1, 32, 24, 3)  # channels last, as in a file
    with caught(RuntimeError, "to have 3 channels, but got 32 channels"):
        layer(image)
    maps = layer(image.permute(0, 3, 1, 2))  # right: (1, 3, 32, 24)
    assert maps.shape == (1, 16, 30, 22)

    one = torch.zeros(28, 28)  # grey: no batch, no channel
    gray = nn.Conv2d(1, 4, 3)
    with caught(RuntimeError, "Expected 3D (unbatched) or 4D (batched)"):
        gray(one)
    maps = gray(one[None, None])  # right: (1, 1, 28, 28)
    assert maps.shape == (1, 4, 26, 26)

    pixels = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with caught(RuntimeError, "should be the same"):
        layer(pixels)
    maps = layer(pixels / 255)  # right: float32, 0..1
    assert maps.dtype == torch.float32


# %%
def mistakes_with_shapes_nobody_reports() -> None:
    """Broadcasting hides a dim too many; `view` is no `permute`; `*` no `@`."""
    guess = torch.tensor([[1.0], [2.0], [3.0]])  # (3, 1), as from Linear(_, 1)
    target = torch.tensor([1.0, 2.0, 3.0])  # (3,)
    wrong = ((guess - target) ** 2).mean()  # (3, 3): each against every one
    right = ((guess[:, 0] - target) ** 2).mean()
    print("guess (3, 1), target (3,), all guesses right: mean square")
    print("  guess - target       ", wrong.item())
    print("  guess[:, 0] - target ", right.item())
    assert_close(wrong, torch.tensor(4 / 3))
    assert right == 0

    picture = torch.arange(12).view(2, 2, 3)  # (height, width, colours)
    wrong = picture.view(3, 2, 2)[0]
    right = picture.permute(2, 0, 1)[0]  # every third number
    print("picture = arange(12).view(2, 2, 3): its first colour")
    print("  view(3, 2, 2)[0]     ", wrong.tolist())
    print("  permute(2, 0, 1)[0]  ", right.tolist())
    assert wrong.tolist() == [[0, 1], [2, 3]]
    assert right.tolist() == [[0, 3], [6, 9]]

    matrix = torch.tensor([[1, 2], [3, 4]])
    print("matrix = [[1, 2], [3, 4]]")
    print("  matrix * matrix      ", (matrix * matrix).tolist())
    print("  matrix @ matrix      ", (matrix @ matrix).tolist())
    assert (matrix * matrix).tolist() == [[1, 4], [9, 16]]
    assert (matrix @ matrix).tolist() == [[7, 10], [15, 22]]


# %%
def mistakes_with_types_stop_with_a_message() -> None:
    """float64 from NumPy, a mean of integers, a tensor that is tracked."""
    torch.manual_seed(0)
    layer = nn.Linear(2, 1)
    array = np.ones((3, 2))  # NumPy's default is float64
    with caught(RuntimeError, "must have the same dtype"):
        layer(torch.from_numpy(array))
    y = layer(torch.from_numpy(array).float())  # right: float32
    assert y.shape == (3, 1)

    whole = torch.tensor([1, 2])
    with caught(RuntimeError, "Long"):
        whole.mean()
    mean = whole.float().mean()  # right: a mean is no integer
    assert mean == 1.5

    w = torch.ones(2, requires_grad=True)
    with caught(RuntimeError, "numpy() on Tensor that requires grad"):
        w.numpy()
    values = w.detach().numpy()  # right: off the graph first
    assert values.tolist() == [1, 1]


# %%
def mistakes_with_types_nobody_reports() -> None:
    """Bytes wrap at 256, integers cut a fraction off, `to` is not in place."""
    pixels = torch.tensor([200, 100], dtype=torch.uint8)
    print("pixels = [200, 100] as uint8")
    print("  pixels + 100          ", (pixels + 100).tolist())
    print("  pixels.float() + 100  ", (pixels.float() + 100).tolist())
    assert (pixels + 100).tolist() == [44, 200]
    assert (pixels.float() + 100).tolist() == [300, 200]

    wrong = torch.tensor([1, 2])  # without a dot: integers
    right = torch.tensor([1.0, 2.0])
    wrong[0] = 0.5
    right[0] = 0.5
    print("x[0] = 0.5 after")
    print("  x = tensor([1, 2])    ", wrong.tolist())
    print("  x = tensor([1.0, 2.0])", right.tolist())
    assert wrong.tolist() == [0, 2]
    assert right.tolist() == [0.5, 2]

    wrong = torch.Tensor(3)  # three numbers, whatever stood in memory
    right = torch.tensor(3)
    print("torch.Tensor(3).shape   ", tuple(wrong.shape))
    print("torch.tensor(3).shape   ", tuple(right.shape))
    assert wrong.shape == (3,)
    assert right.shape == ()

    x = torch.ones(1)
    x.to(torch.float64)  # the result is thrown away
    print("x.to(torch.float64)      leaves x", x.dtype)
    assert x.dtype == torch.float32
    x = x.to(torch.float64)
    print("x = x.to(torch.float64)  makes x ", x.dtype)
    assert x.dtype == torch.float64


# %%
def mistakes_with_labels_stop_with_a_message() -> None:
    """Class labels are int64, (batch,), from 0 to classes - 1.

    On the CPU: on CUDA a label out of range stops every later call, too.
    """
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])  # (batch 2, classes 2)
    labels = torch.tensor([0, 1])
    loss = F.cross_entropy(logits, labels)
    assert_close(loss, torch.tensor(-2.0).exp().log1p())

    floats = labels.float()
    with caught(RuntimeError, "Long"):
        F.cross_entropy(logits, floats)
    same = F.cross_entropy(logits, floats.long())  # right: int64
    assert same == loss

    column = labels[:, None]
    with caught(RuntimeError, "multi-target not supported"):
        F.cross_entropy(logits, column)
    same = F.cross_entropy(logits, column[:, 0])  # right: (2, 1) to (2,)
    assert same == loss

    from_one = labels + 1
    with caught(IndexError, "Target 2 is out of bounds"):
        F.cross_entropy(logits, from_one)
    same = F.cross_entropy(logits, from_one - 1)  # right: counted from 0
    assert same == loss


# %%
def mistakes_with_loss_calls_stop_or_warn() -> None:
    """A loss class is made first, then called; both sides have one shape."""
    guess = torch.tensor([[1.0], [2.0], [4.0]])  # (3, 1)
    target = torch.tensor([1.0, 2.0, 3.0])  # (3,)
    with caught(RuntimeError, "is ambiguous"):
        nn.MSELoss(guess, target)
    loss = nn.MSELoss()(guess[:, 0], target)  # right: made, then called
    assert_close(loss, torch.tensor(1 / 3))

    with caught(UserWarning, "Using a target size"):
        F.mse_loss(guess, target)
    loss = F.mse_loss(guess[:, 0], target)  # right: (3,) and (3,)
    assert_close(loss, torch.tensor(1 / 3))

    probability = torch.tensor([0.5])
    truth = torch.tensor([1])
    with caught(RuntimeError, "Found dtype Long but expected Float"):
        F.binary_cross_entropy(probability, truth)
    loss = F.binary_cross_entropy(probability, truth.float())  # right: float
    assert_close(loss, torch.tensor(2.0).log())


# %%
def mistakes_with_losses_nobody_reports() -> None:
    """cross_entropy takes logits: softmax before it spoils the loss.

    Logits of 20 against -20, all for the true class: the loss should be 0.
    """
    logits = torch.tensor([[20.0, -20.0], [-20.0, 20.0]])
    labels = torch.tensor([0, 1])
    wrong = F.cross_entropy(logits.softmax(dim=1), labels)
    right = F.cross_entropy(logits, labels)
    print("cross_entropy(logits.softmax(dim=1), labels)  ", wrong.item())
    print("cross_entropy(logits, labels)                 ", abs(right.item()))
    assert_close(wrong, torch.tensor(-1.0).exp().log1p())
    assert_close(right, torch.tensor(0.0))

    wrong = F.nll_loss(logits.softmax(dim=1), labels)  # -p, and not -log p
    right = F.nll_loss(logits.log_softmax(dim=1), labels)
    print("nll_loss(logits.softmax(dim=1), labels)       ", wrong.item())
    print("nll_loss(logits.log_softmax(dim=1), labels)   ", abs(right.item()))
    assert_close(wrong, torch.tensor(-1.0))
    assert_close(right, torch.tensor(0.0))

    logit = torch.tensor([20.0, -20.0])
    truth = torch.tensor([1.0, 0.0])
    wrong = F.binary_cross_entropy_with_logits(logit.sigmoid(), truth)
    right = F.binary_cross_entropy_with_logits(logit, truth)
    print("..._with_logits(logit.sigmoid(), truth)       ", wrong.item())
    print("binary_cross_entropy_with_logits(logit, truth)", right.item())
    half = torch.tensor(-1.0).exp().log1p() + torch.tensor(2.0).log()
    assert_close(wrong, half / 2)
    assert_close(right, torch.tensor(0.0))


# %%
def softmax_over_the_wrong_dim_is_not_reported() -> None:
    """`softmax(dim=1)` makes each row sum to 1; dim=0 mixes the samples."""
    logits = torch.zeros(4, 2)  # (batch 4, classes 2)
    wrong = logits.softmax(dim=0)
    right = logits.softmax(dim=1)
    print("logits = zeros(4, 2): row 0 of")
    print("  softmax(dim=0)", wrong[0].tolist(), " sum", wrong[0].sum().item())
    print("  softmax(dim=1)", right[0].tolist(), " sum", right[0].sum().item())
    assert wrong[0].tolist() == [0.25, 0.25]
    assert right[0].tolist() == [0.5, 0.5]


# %%
def zero_grad_forgotten_is_not_reported() -> None:
    """Without `zero_grad` each step takes all the old gradients again.

    f(x) = (x - 2)^2 from x = 5, lr 0.25: 3.5, 2.75, 2.375. Without it the
    second gradient is 6 + 3 = 9 and x = 1.25, the third 9 - 1.5 = 7.5.
    """
    right = torch.tensor(5.0, requires_grad=True)
    wrong = torch.tensor(5.0, requires_grad=True)
    optimizer = torch.optim.SGD([right], lr=0.25)
    forgetful = torch.optim.SGD([wrong], lr=0.25)
    for _ in range(3):
        optimizer.zero_grad()
        ((right - 2) ** 2).backward()
        optimizer.step()

        ((wrong - 2) ** 2).backward()
        forgetful.step()
    print("minimum at 2, x after three steps from 5")
    print("zero_grad() forgotten: ", wrong.item())
    print("zero_grad() each step: ", right.item())
    assert wrong == -0.625
    assert right == 2.375


# %%
class NoSuper(nn.Module):
    """A module whose `__init__` forgets `super().__init__()`."""

    def __init__(self):
        self.layer = nn.Linear(3, 2)


class WithSuper(nn.Module):
    """The same as it should be."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return two numbers for each row of x."""
        return self.layer(x)


def mistakes_with_modules_stop_with_a_message() -> None:
    """super() forgotten, parameters used up, a report that is called."""
    with caught(AttributeError, "before Module.__init__() call"):
        NoSuper()
    model = WithSuper()  # right: super().__init__() is its first line
    assert model(torch.ones(1, 3)).shape == (1, 2)

    parameters = model.parameters()
    assert len(list(parameters)) == 2  # this look has used it up
    with caught(ValueError, "empty parameter list"):
        torch.optim.SGD(parameters, lr=0.1)
    torch.optim.SGD(model.parameters(), lr=0.1)  # right: asked for anew

    report = model.load_state_dict(model.state_dict())
    with caught(TypeError, "object is not callable"):
        report(torch.ones(1, 3))
    model(torch.ones(1, 3))  # right: load_state_dict changes model itself


# %%
def mistakes_with_half_types_stop_with_a_message() -> None:
    """Leave model and input in float32: autocast chooses the types."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    x = torch.ones(3, 2)
    with caught(RuntimeError, "must have the same dtype"):
        model(x.half())
    with torch.autocast("cpu"):  # right: model and x stay float32
        assert model(x).dtype == torch.bfloat16

    halved = nn.Linear(2, 1).half()
    optimizer = torch.optim.SGD(halved.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(halved(x.half()).sum()).backward()
    with caught(ValueError, "Attempting to unscale FP16 gradients"):
        scaler.step(optimizer)
    optimizer = torch.optim.SGD(model.parameters())  # right: a float32 model
    scaler.scale(model(x).sum()).backward()
    scaler.unscale_(optimizer)
    assert model.weight.grad.tolist() == [[3, 3]]

    with caught(FutureWarning, "torch.amp.GradScaler"):
        torch.cuda.amp.GradScaler(enabled=False)
    torch.amp.GradScaler("cuda", enabled=False)  # right: the name since 2.3


# %%
def mistakes_with_half_types_nobody_reports() -> None:
    """Clip after `unscale_`; float16 ends at 65,504.

    The gradient of the sum of four numbers is (1, 1, 1, 1), its norm 2, at
    scale 1024 2048. Clipped to 1 and then divided by 1024, 1/1024 is left.
    """
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    wrong = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([wrong], lr=1.0)
    scaler.scale(wrong.sum()).backward()
    nn.utils.clip_grad_norm_([wrong], max_norm=1.0)  # still scaled
    scaler.step(optimizer)
    scaler.update()

    right = torch.ones(4, requires_grad=True)
    optimizer = torch.optim.SGD([right], lr=1.0)
    scaler.scale(right.sum()).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_([right], max_norm=1.0)
    scaler.step(optimizer)

    print("gradient of norm 2, clipped to 1: length of the step")
    print("without unscale_(optimizer):", (1 - wrong).norm().item())
    print("after unscale_(optimizer):  ", (1 - right).norm().item())
    assert_close((1 - wrong).norm().item(), 1 / 1024, rtol=1e-3, atol=0)
    assert_close((1 - right).norm().item(), 1.0, rtol=1e-3, atol=0)

    x = torch.tensor(300.0)
    print("300 * 300 in float16:", (x.half() * x.half()).item())
    print("300 * 300 in float32:", (x * x).item())
    assert x.half() * x.half() == math.inf
    assert x * x == 90_000


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
# Data makers: digits in the fonts that come with matplotlib.
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


def draw_seven() -> Tensor:
    """Return a 7, drawn in a font of matplotlib's, (28, 28) in 0..1."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    font = ImageFont.truetype(str(folder / "DejaVuSerif.ttf"), size=26)
    picture = Image.new("L", (28, 28))  # "L" is grey, one byte a pixel
    draw = ImageDraw.Draw(picture)
    draw.text((14, 14), "7", fill=255, font=font, anchor="mm")
    return torch.tensor(list(picture.tobytes())).view(28, 28) / 255


# %%
def main() -> None:
    """Run the tour from top to bottom."""
    args = parse(make_parser(__doc__))
    tiny = args.tiny
    half = amp_dtype(args.device)
    # A worker imports this script; the cells of a notebook are no file.
    workers = 1 if "__file__" in globals() and not tiny else 0

    # The table of contents, each section with the options that it gets.
    here = {"device": args.device}
    drawn = {"device": args.device, "figures": args.figures}
    chapters = {
        "Tensors": {
            a_tensor_has_shape_dtype_and_device: here,
            five_ways_to_make_a_tensor: here,
            indexing_and_masks_pick_elements: here,
            slices_share_memory_lists_and_masks_copy: here,
            cat_makes_a_dim_longer_stack_a_new_one: here,
            unsqueeze_adds_a_dim_squeeze_drops_it: here,
            view_and_reshape_keep_the_order_of_numbers: {},
            permute_turns_axes_contiguous_copies: here,
            broadcasting_repeats_dims_of_size_1: here,
            a_reduction_removes_the_dim_it_names: here,
            where_gather_topk_select_without_a_loop: here,
            tensors_compute_as_numpy_axis_is_dim: {},
            from_numpy_shares_memory_tensor_copies: {},
            type_promotion_finds_a_type_for_both: {},
            to_returns_a_tensor_on_another_device: {},
            manual_seed_repeats_random_numbers: {},
            einsum_sums_over_letters_left_out: here,
        },
        "Automatic differentiation": {
            a_computation_graph_is_walked_backward: here,
            autograd_agrees_with_calculus: here,
            gradient_descent_halves_the_distance: here,
            mse_gradient_by_formula_equals_autograd: here,
            from_by_hand_to_by_library: here,
            one_points_gradient_is_right_on_average: {},
            stochastic_descent_leads_after_one_epoch: {},
        },
        "Common modules and functions": {
            linear_and_sequential_hold_parameters: here,
            a_class_net_is_an_nn_module: here,
            linear_without_activation_stays_linear: here,
            activations_bend_the_line: drawn,
            cross_entropy_punishes_the_surely_wrong: here,
            mse_l1_and_huber_measure_distance: here,
            momentum_and_adam_fit_a_wave: {
                **drawn,
                "steps": 300 if tiny else 600,
                "at_most": 0.25 if tiny else 0.05,
            },
            schedulers_lower_the_learning_rate: {},
            a_scheduler_lets_sgd_settle: {},
            convolution_slides_a_blur_over_an_image: here,
            a_kernel_finds_edges_and_sharpens: drawn,
            conv2d_maps_3_channels_to_16: here,
        },
        "Dataset and DataLoader": {
            a_dataset_has_len_and_getitem: {},
            dataloader_makes_batches: {},
            shuffle_draws_a_new_order_each_epoch: {},
            num_workers_fetch_in_other_processes: {"workers": workers},
        },
        "A whole model in one page": {
            digits_are_split_by_font: here,
            the_net_gives_ten_logits_an_image: here,
            a_net_is_scored_on_held_out_fonts: {
                **here,
                "half": half if args.amp else None,
                "count": 1000 if tiny else 3000,
                "epochs": 3 if tiny else 4,
                "at_least": 0.4 if tiny else 0.65,
            },
            eval_and_no_grad_are_two_switches: here,
            state_dict_saves_and_loads_a_model: here,
            predict_one_image_from_a_png: {
                **here,
                "count": 1000 if tiny else 2000,
                "epochs": 3,
            },
        },
        "Mixed precision": {
            float16_has_digits_bfloat16_has_range: {},
            autocast_picks_a_type_for_each_operation: {**here, "half": half},
            grad_scaler_skips_a_step_with_inf: {},
            mixed_precision_trains_to_the_same_loss: {**here, "half": half},
        },
        "Mistakes": {
            mistakes_with_shapes_stop_with_a_message: {},
            mistakes_with_inputs_stop_with_a_message: {},
            mistakes_with_images_stop_with_a_message: {},
            mistakes_with_shapes_nobody_reports: {},
            mistakes_with_types_stop_with_a_message: {},
            mistakes_with_types_nobody_reports: {},
            mistakes_with_labels_stop_with_a_message: {},
            mistakes_with_loss_calls_stop_or_warn: {},
            mistakes_with_losses_nobody_reports: {},
            softmax_over_the_wrong_dim_is_not_reported: {},
            zero_grad_forgotten_is_not_reported: {},
            mistakes_with_modules_stop_with_a_message: {},
            mistakes_with_half_types_stop_with_a_message: {},
            mistakes_with_half_types_nobody_reports: {},
        },
    }
    run(chapters, args)
    if not args.list:
        print("Next: a chapter in depth, for example start_autograd.py.")


if __name__ == "__main__":
    main()
