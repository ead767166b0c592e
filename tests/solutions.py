"""One answer to each exercise, and in a sentence why it is right.

`python tests/exercises.py --solution NAME` prints one of them alone.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

# start_Pytorch.py


def outer(a, b):
    """A column (m, 1) times a row (n,) is broadcast to (m, n)."""
    return a[:, None] * b


def negatives_to_zero(x):
    """The mask writes into the copy, so x stays as it is."""
    y = x.clone()
    y[x < 0] = 0
    return y


def channels_last(image):
    """`permute` names the old dims in their new order; `view` moves numbers."""
    return image.permute(1, 2, 0)


def pick_labels(logits, labels):
    """`gather` wants as many dims as logits have: a column of labels."""
    return logits.gather(1, labels[:, None])[:, 0]


def softmax(logits):
    """Less the largest, each e^logit is at most 1, and their ratio stays."""
    powers = (logits - logits.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def pairwise_distances(a, b):
    """(m, 1, dims) less (n, dims) is each pair; the sum takes dim 2 away."""
    return (a[:, None] - b).square().sum(dim=2).sqrt()


def convolve(image, kernel):
    """Half a kernel of zeros on each side makes up for what its size takes."""
    rows, columns = kernel.shape
    padding = (rows // 2, columns // 2)
    y = F.conv2d(image[None, None], kernel[None, None], padding=padding)
    return y[0, 0]


def fit(x, y, rate, steps):
    """The gradient of the mean of (x w - y)^2 is 2 / n x^T (x w - y)."""
    w = torch.zeros(x.shape[1])
    for _ in range(steps):
        w = w - rate * 2 / len(x) * x.T @ (x @ w - y)
    return w


# start_dataloader.py


def whole_batches(numbers, size):
    """A tensor is a Dataset: it has a length, and answers an index."""
    return DataLoader(numbers, batch_size=size, drop_last=True)


def held_out(person, people):
    """`isin` asks for each of the first whether it is in the second."""
    return torch.isin(person, people)


def sampler_weights(labels):
    """The labels pick from the weights of the classes, one for each sample."""
    return (1 / labels.bincount())[labels]


def stereo_to_mono(samples):
    """In memory a pair stands side by side, so a row of `view` is a pair."""
    return samples.view(-1, 2).mean(dim=1)


def normalize(train, test):
    """The model knows the scale of the training rows, and no other."""
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    std = torch.where(std < 1e-6, 1.0, std)
    return (train - mean) / std, (test - mean) / std


def pad(texts):
    """Place t of a text is real where t is less than its length."""
    padded = pad_sequence(texts, batch_first=True)
    lengths = torch.tensor([len(text) for text in texts])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def windows(tokens, length):
    """The last y ends one token after the last x, hence the n - 1."""
    count = (len(tokens) - 1) // length
    x = tokens[: count * length].view(count, length)
    y = tokens[1 : count * length + 1].view(count, length)
    return x, y


def channel_statistics(batches):
    """Sums add up over batches of any size; means and std do not."""
    count = sum(batch[:, 0].numel() for batch in batches)
    mean = sum(batch.sum(dim=(0, 2, 3)) for batch in batches) / count
    squares = sum((batch**2).sum(dim=(0, 2, 3)) for batch in batches)
    return mean, (squares / count - mean**2).sqrt()


# start_buildnn.py


def linear(x, weight, bias):
    """A row of weight belongs to an output, so its transpose is needed."""
    return x @ weight.T + bias


def count_mlp(sizes):
    """Each output has a weight for every input, and a bias."""
    total = 0
    for i in range(len(sizes) - 1):
        total += sizes[i] * sizes[i + 1] + sizes[i + 1]
    return total


def dropout(x, uniform, p):
    """A part 1 - p is kept, so division by 1 - p keeps the mean."""
    return x * (uniform >= p) / (1 - p)


def build_mlp(sizes):
    """A ReLU follows each Linear but the last, whose outputs are logits."""
    layers = []
    for i in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def normalize_images(x, eps):
    """`keepdim=True` leaves (batch, 1, 1, 1), which fits x again."""
    centered = x - x.mean(dim=(1, 2, 3), keepdim=True)
    variance = centered.square().mean(dim=(1, 2, 3), keepdim=True)
    return centered / (variance + eps).sqrt()


def attention(q, k, v):
    """The weights of one query add up to 1 over the keys, the last dim."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ v


def window_mask(time, width):
    """`tril` hides what is later, `triu` what is too long ago."""
    every = torch.ones(time, time, dtype=torch.bool)
    return every.tril().triu(1 - width)


def split_heads(x, heads):
    """Only the width is cut; then heads change places with time."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


# start_autograd.py


def cube_gradient(x):
    """`backward` begins at one number, and fills `x.grad`."""
    (x**3).sum().backward()
    return x.grad


def two_gradients(x):
    """A `.grad` of None is filled anew; else backward adds to what is there."""
    (x**2).sum().backward()
    first = x.grad
    x.grad = None
    (x**3).sum().backward()
    return first, x.grad


def descend(w, rate, steps):
    """In place and unrecorded, w changes its numbers and stays a leaf."""
    for _ in range(steps):
        w.grad = None
        (w**4).sum().backward()
        with torch.no_grad():
            w -= rate * w.grad
    return w


def round_straight_through(x):
    """What is detached has the slope 0, and so only the plain x counts."""
    return x + (x.round() - x).detach()


def numerical_gradient(f, x, h):
    """Only one number moves in each step, so the difference is its own."""
    gradient = torch.zeros_like(x)
    for i in range(len(x)):
        step = torch.zeros_like(x)
        step[i] = h
        gradient[i] = (f(x + step) - f(x - step)) / (2 * h)
    return gradient


def silu_backward(context, gradient):
    """The chain rule: the slope of y times the gradient that arrives at y."""
    (x,) = context.saved_tensors
    s = x.sigmoid()
    return gradient * (s + x * s * (1 - s))


def hessian_times(loss, w, u):
    """The gradient of the number gradient . u is H u, as u is a constant."""
    gradient = torch.autograd.grad(loss(w), w, create_graph=True)[0]
    return torch.autograd.grad(gradient @ u, w)[0]


def gradient_of_each_sample(w, x, y):
    """`grad` derives the loss of one sample, `vmap` does it for each row."""

    def loss(w, x, y):
        return (x @ w - y) ** 2

    derive = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    return derive(w, x, y)


# start_optimizer.py


def accuracy(logits, labels):
    """A row is a sample, so the largest is sought along dim 1."""
    return (logits.argmax(dim=1) == labels).float().mean().item()


def mean_of_epoch(losses, sizes):
    """A mean times its size is a sum, and sums may be added."""
    total = 0.0
    for i in range(len(losses)):
        total += losses[i] * sizes[i]
    return total / sum(sizes)


def training_step(model, optimizer, x, y):
    """Backward adds to what is there, so old gradients are cleared first."""
    optimizer.zero_grad()
    loss = F.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def warmup_hold_fall(step, warmup, hold, total):
    """Of the last part (total - step) steps are left of (total - hold)."""
    if step < warmup:
        return (step + 1) / warmup
    if step <= hold:
        return 1.0
    return (total - step) / (total - hold)


def clip(gradients, max_norm):
    """One factor for all keeps the direction, and min(1, ...) short ones."""
    norm = sum(gradient.square().sum() for gradient in gradients).sqrt()
    factor = (max_norm / norm).clamp(max=1)
    return [gradient * factor for gradient in gradients]


def predict(model, x):
    """Eval mode changes what layers do, `no_grad` what is recorded."""
    model.eval()
    with torch.no_grad():
        y = model(x)
    model.train()
    return y


def adam(w, gradients, lr):
    """After n steps a mean that began at 0 holds 1 - beta^n of the whole."""
    mean = square = torch.zeros_like(w)
    for n, gradient in enumerate(gradients, 1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        root = (square / (1 - 0.999**n)).sqrt() + 1e-8
        w = w - lr * mean / (1 - 0.9**n) / root
    return w


def accumulate(model, optimizer, parts):
    """A mean of a part counts by its size, so that each sample counts once."""
    count = sum(len(x) for x, _ in parts)
    optimizer.zero_grad()
    for x, y in parts:
        loss = F.mse_loss(model(x), y) * len(x) / count
        loss.backward()
    optimizer.step()
    return model
