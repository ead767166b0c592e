"""Forty exercises, eight for each script. Fill in each `...`, then run

    python tests/exercises.py autograd
    python tests/exercises.py cube_gradient
    python tests/exercises.py --hint cube_gradient
    python tests/exercises.py --solution cube_gradient

A script is pytorch, dataloader, buildnn, autograd or optimizer; without one
all are run. Below a task stand the shapes, the minutes, and the section to read
first. Numbers are float32, indexes and labels int64, unless it says otherwise.
An answer returns its result, and leaves what it is given as it is.
"""

import math  # noqa: F401  the imports are for your answers
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: F401
from torch import Tensor, nn
from torch.utils.data import DataLoader

# start_Pytorch.py


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Multiply each number of a by each number of b, without `torch.outer`.

    a (m,), b (n,) -> (m, n)
    2 minutes, easy: broadcasting_is_a_loop_that_nobody_writes
    """
    ...


def negatives_to_zero(x: Tensor) -> Tensor:
    """Return a copy of x (`x.clone()`) with 0 where x is negative.

    x (rows, columns) -> (rows, columns)
    2 minutes, easy: a_mask_selects_and_writes
    """
    ...


def channels_last(image: Tensor) -> Tensor:
    """Reorder an image from channels first to channels last.

    image (channels, height, width) -> (height, width, channels)
    3 minutes, easy: permute_reorders_dims_without_copying
    """
    ...


def pick_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logit of the label of each sample, without a loop.

    logits (n, classes), labels (n,) -> (n,)
    5 minutes, medium: where_gather_and_topk_replace_loops
    """
    ...


def softmax(logits: Tensor) -> Tensor:
    """Divide e^logit, `logits.exp()`, by its sum over the row.

    Without `softmax`, and for logits of 1000, too: if the largest of its row
    is subtracted first, the result is the same, and e^logit does not overflow.
    logits (n, classes) -> (n, classes)
    10 minutes, medium: reductions_remove_the_dim_they_are_given
    """
    ...


def pairwise_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return the distance of each point of a to each of b, without `cdist`.

    The distance is the root of the sum of squared differences.
    a (m, dims), b (n, dims) -> (m, n)
    10 minutes, medium: broadcasting_is_a_loop_that_nobody_writes
    """
    ...


def convolve(image: Tensor, kernel: Tensor) -> Tensor:
    """Slide a kernel over an image with zeros around it, of the same size.

    `F.conv2d(..., padding=(rows, columns))` adds zeros on all sides.
    image (height, width), kernel (odd, odd) -> (height, width)
    10 minutes, medium: convolution_is_a_weighted_sum_at_each_place
    """
    ...


def fit(x: Tensor, y: Tensor, rate: float, steps: int) -> Tensor:
    """Fit y = x w by gradient descent from w = 0, and return w.

    The loss is the mean of (x w - y)^2; each step subtracts rate * gradient.
    x (n, features), y (n,) -> (features,)
    10 minutes, hard: linear_regression_by_formula_and_by_autograd
    """
    ...


# start_dataloader.py


def whole_batches(numbers: Tensor, size: int) -> DataLoader:
    """Return a DataLoader of batches in order, without a smaller last one.

    numbers (n,) -> a DataLoader of batches (size,)
    2 minutes, easy: drop_last_leaves_out_the_smaller_batch
    """
    ...


def held_out(person: Tensor, people: Tensor) -> Tensor:
    """Return for each sample whether its person is one of the people.

    person (n,) int64, that of each sample; people (k,) int64 -> (n,) bool
    2 minutes, easy: a_split_by_group_keeps_each_person_on_one_side
    """
    ...


def sampler_weights(labels: Tensor) -> Tensor:
    """Return 1 / (number of samples of its class) for each sample.

    labels (n,) -> (n,)
    5 minutes, easy: weighted_random_sampler_balances_classes
    """
    ...


def stereo_to_mono(samples: Tensor) -> Tensor:
    """Return the mean of left and right, which take turns in the samples.

    samples (2 * n,) left, right, left, right, ... -> (n,)
    5 minutes, easy: stereo_becomes_mono_by_the_mean_of_its_channels
    """
    ...


def normalize(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Normalize the columns of both by mean and std of the training rows.

    `correction=0`; a std below 1e-6, as in a column of ones, counts as 1.
    train (m, columns), test (n, columns) -> (m, columns), (n, columns)
    10 minutes, medium: normalize_test_data_by_the_training_statistics
    """
    ...


def pad(texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad texts with 0 to the longest, and return a mask of what is real.

    A 0 may also stand in a text, and is real there.
    texts (length of each,) int64 -> (n, longest) int64, (n, longest) bool
    10 minutes, medium: pad_sequence_pads_texts_and_a_mask_tells_where
    """
    ...


def windows(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Cut tokens into windows x, one after the other, and y, one token on.

    The last y needs a token more; what is left over at the end is dropped.
    tokens (n,) int64 -> (count, length) int64, (count, length) int64
    15 minutes, hard: next_token_windows_have_y_one_further_than_x
    """
    ...


def channel_statistics(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and std (`correction=0`) of each channel over all batches.

    Without `torch.cat`, as if all of them did not fit into memory together.
    batches (size of each, channels, height, width) -> (channels,), (channels,)
    15 minutes, hard: mean_and_std_of_each_channel_come_from_a_loader
    """
    ...


# start_buildnn.py


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute what a Linear layer computes, without `Linear` or `linear`.

    x (batch, inputs), weight (outputs, inputs), bias (outputs,)
    -> (batch, outputs)
    2 minutes, easy: linear_is_a_weighted_sum
    """
    ...


def count_mlp(sizes: list[int]) -> int:
    """Count weights and biases of Linear layers from each size to the next.

    sizes [inputs, hidden, ..., outputs] -> int
    5 minutes, easy: parameter_counts_follow_formulas
    """
    ...


def dropout(x: Tensor, uniform: Tensor, p: float) -> Tensor:
    """Zero x where uniform < p, and scale the rest, so that the mean stays.

    x (rows, columns), uniform (rows, columns) in 0..1 -> (rows, columns)
    5 minutes, easy: dropout_zeroes_some_and_scales_the_rest
    """
    ...


def build_mlp(sizes: list[int]) -> nn.Sequential:
    """Build Linear layers from each size to the next, `nn.ReLU()` between.

    After the last Linear comes nothing. `nn.Sequential(*layers)` takes a list.
    sizes [inputs, hidden, ..., outputs] -> nn.Sequential
    10 minutes, medium: sequential_feeds_each_layer_to_the_next
    """
    ...


def normalize_images(x: Tensor, eps: float) -> Tensor:
    """Give each image mean 0 and variance 1, over its last three dims.

    Subtract the mean, divide by sqrt(variance + eps); no weight, no bias.
    x (batch, channels, height, width) -> the same shape
    10 minutes, medium: layer_norm_normalizes_each_sample
    """
    ...


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return for each query the mean of the values, weighted by its keys.

    Without `F.scaled_dot_product_attention`.
    q (batch, queries, size), k (batch, keys, size), v (batch, keys, width)
    -> (batch, queries, width)
    10 minutes, medium: attention_is_a_weighted_mean_of_values
    """
    ...


def window_mask(time: int, width: int) -> Tensor:
    """Return True where a query sees a key, False where it does not.

    It sees its own and those before it, `width` keys in all; at the beginning
    there are fewer. Later keys it does not see.
    -> (queries, keys) bool, both of size time
    15 minutes, hard: causal_mask_hides_later_positions
    """
    ...


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Cut the width into heads: head 0 gets the first numbers, and so on.

    x (batch, time, width) -> (batch, heads, time, width / heads)
    15 minutes, hard: multihead_attention_splits_the_width
    """
    ...


# start_autograd.py


def cube_gradient(x: Tensor) -> Tensor:
    """Return the gradient of the sum of x^3, by `backward()`.

    x (n,), which requires grad -> (n,)
    2 minutes, easy: backward_finds_the_gradient
    """
    ...


def two_gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of the sum of x^2 and of that of x^3, by backward.

    x (n,), which requires grad -> (n,), (n,)
    5 minutes, easy: backward_adds_to_grad
    """
    ...


def descend(w: Tensor, rate: float, steps: int) -> Tensor:
    """Take steps of gradient descent on the sum of w^4, and return w.

    Here w itself is to change; it requires grad, and it stays a leaf.
    w (n,) -> (n,)
    10 minutes, medium: mistakes_change_a_weight
    """
    ...


def round_straight_through(x: Tensor) -> Tensor:
    """Round x, but let backward take the slope for 1: y = x + a constant.

    x (n,), which requires grad -> (n,), which has a grad_fn
    10 minutes, medium: detach_makes_a_constant_of_a_result
    """
    ...


def numerical_gradient(f: Callable, x: Tensor, h: float) -> Tensor:
    """Return the central difference of f with step h for each number of x.

    f makes one number of (n,); x (n,) float64 -> (n,) float64
    10 minutes, medium: central_differences_beat_forward_ones
    """
    ...


def silu_backward(context: Any, gradient: Tensor) -> Tensor:
    """Write the backward of y = x * sigmoid(x) by hand, as a formula.

    Forward has saved x: `(x,) = context.saved_tensors`. With s = sigmoid(x)
    the slope of y is s + x * s * (1 - s).
    gradient (n,), that of the loss by y -> (n,), that of the loss by x
    10 minutes, medium: a_custom_function_brings_its_own_backward
    """
    ...


def hessian_times(loss: Callable, w: Tensor, u: Tensor) -> Tensor:
    """Return H u, where H has the second derivatives of loss(w).

    loss makes one number of (n,); w (n,), which requires grad, u (n,) -> (n,)
    15 minutes, hard: a_hessian_vector_product_needs_no_hessian
    """
    ...


def gradient_of_each_sample(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return for each sample the gradient of (x . w - y)^2 by w.

    `x @ w` is x . w for one sample; with `torch.func` no loop is needed.
    w (features,), x (n, features), y (n,) -> (n, features)
    20 minutes, hard: vmap_gives_each_sample_its_gradient
    """
    ...


# start_optimizer.py


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of samples whose largest logit is that of the label.

    logits (n, classes), labels (n,) -> float in 0..1
    2 minutes, easy: mistake_argmax_over_the_batch
    """
    ...


def mean_of_epoch(losses: list[float], sizes: list[int]) -> float:
    """Return the mean loss of all samples from the mean loss of each batch.

    losses, sizes: one of each for a batch -> float
    2 minutes, easy: batch_means_are_weighted_by_batch_size
    """
    ...


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor
) -> float:
    """Take one step on the mean squared error, and return that error.

    Gradients of an earlier step may still be there, and must not count.
    x (n, features), y (n, 1) -> float, the loss before the step
    5 minutes, easy: a_step_is_guess_error_derivatives_update
    """
    ...


def warmup_hold_fall(step: int, warmup: int, hold: int, total: int) -> float:
    """Return the factor of lr at step 0, 1, ...: up, level, down along lines.

    Up: 1 / warmup at step 0, 2 / warmup at step 1, so 1 at step warmup - 1.
    Level: 1 up to step hold. Down from there: it would be 0 at step total.
    -> float in 0..1
    10 minutes, medium: lambda_lr_warms_up_then_falls_along_a_cosine
    """
    ...


def clip(gradients: list[Tensor], max_norm: float) -> list[Tensor]:
    """Scale all gradients, as one vector, to a norm of at most max_norm.

    By hand, without `clip_grad_norm_`.
    gradients of any shapes -> new ones of the same shapes
    10 minutes, medium: clip_grad_norm_shortens_and_keeps_direction
    """
    ...


def predict(model: nn.Module, x: Tensor) -> Tensor:
    """Return model(x) in eval mode, without a graph; then go back to train.

    x (n, features) -> (n, outputs)
    10 minutes, medium: no_grad_records_nothing_and_keeps_the_mode
    """
    ...


def adam(w: Tensor, gradients: Tensor, lr: float) -> Tensor:
    """Take a step of Adam for each row of gradients, without `torch.optim`.

    betas (0.9, 0.999), eps 1e-8; both means are divided, since they began at 0.
    w (n,), gradients (steps, n) -> (n,)
    15 minutes, hard: adam_by_hand_equals_torch
    """
    ...


def accumulate(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    parts: list[tuple[Tensor, Tensor]],
) -> nn.Module:
    """Take one step on all parts together, with a backward for each part.

    The loss is the mean squared error of all samples. Old gradients may still
    be there, and must not count. Return the model.
    parts: (x (size, features), y (size, 1)), of unequal size -> nn.Module
    15 minutes, hard: gradient_accumulation_equals_a_large_batch
    """
    ...


if __name__ == "__main__":
    from exercise_checks import main

    main()
