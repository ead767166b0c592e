"""Speed, side by side: the scripts' way and the usual one, in one run.

Run    python tests/benchmark.py --data-dir DIR    (DIR/MNIST: the real MNIST)
Needs  the four packages, an idle machine and a quarter of an hour; --only NAME
       runs one table. Without --data-dir, font digits stand in for MNIST.

Both ways of a row run in turn on the same images, `--repeats` times, and the
medians are compared. The tables are Markdown, on standard output; the single
measurements go to standard error as they are taken.
"""

import argparse
import contextlib
import functools
import io
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("Pytorch", "dataloader", "buildnn", "autograd", "optimizer")
sys.path.insert(0, str(ROOT))

from start_buildnn import (  # noqa: E402
    LanguageModel,
    encode,
    read_text,
    train_language_model,
)
from start_dataloader import OneByOne, WholeBatches, as_it_is  # noqa: E402
from start_optimizer import (  # noqa: E402
    CNN,
    MLP,
    amp_dtype,
    evaluate,
    load_digits,
    make_trainer,
    number,
    pick_device,
    random_affine,
    train,
)

MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels, as every tutorial has it
AUGMENT = functools.partial(
    random_affine, degrees=10, scale=0.1, shear=0.1, shift=0.1
)
COUNTS = {"train": 55_000, "validation": 3_000, "test": 5_000}
EPOCHS = 6  # after these the usual way has failed
STEPS = 200  # of the language model


def say(text: str) -> None:
    """Tell on standard error what goes on."""
    print(text, file=sys.stderr, flush=True)


def medians(
    ways: dict[str, Callable], args, *, times_more: int = 1
) -> dict[str, float]:
    """Run all ways in turn, there and back; return name -> seconds."""
    times = {name: [] for name in ways}
    order = list(ways)
    for _ in range(times_more * args.repeats):
        for name in order:
            start = time.perf_counter()
            ways[name]()
            if args.device.type != "cpu":
                torch.accelerator.synchronize(args.device)
            times[name].append(time.perf_counter() - start)
        order.reverse()  # so that no way always follows the same other one
    for name, measured in times.items():
        say(f"  {name:26}" + "".join(f"{value:9.3f}" for value in measured))
    return {name: statistics.median(all_) for name, all_ in times.items()}


def table(title: str, *rows: tuple) -> None:
    """Print a Markdown table; the first row is its head."""
    head, *rows = rows
    print(f"\n{title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


# The usual way, as the tutorials have it: a data set that opens one image at a
# time, a chain of transforms for each, a DataLoader that collates them.
def usual_loader(data: dict, batch_size: int, *transforms, **options):
    """Return a shuffling DataLoader of the training images."""
    images, labels = (part.cpu() for part in data["train"])
    pixels = (255 * images[:, 0]).round().byte()
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    scale = v2.Normalize([MEAN], [DEVIATION])
    dataset = OneByOne(
        pixels, labels, v2.Compose([*transforms, *to_tensor, scale])
    )
    return DataLoader(dataset, batch_size, shuffle=True, **options)


def usual_epoch(model, optimizer, loader, device, half=None) -> None:
    """Train for one epoch, as the tutorials do."""
    model.train()
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        with torch.autocast(device.type, half, enabled=half is not None):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class UsualCNN(nn.Sequential):
    """The network of the well-known MNIST example.

    Source: https://github.com/pytorch/examples/tree/main/mnist, with its batch
    of 64, Adadelta with lr 1, and StepLR with gamma 0.7.
    """

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(9216, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        )


# The scripts' way: the images stand on the device as one tensor.
def normalized(images: Tensor) -> Tensor:
    """Return what the usual transforms return, for a batch at once."""
    return (images - MEAN) / DEVIATION


def script_way(
    network,
    data: dict,
    batch_size: int,
    augment: Callable,
    *,
    epochs: int,
    half=None,
    optimizer=torch.optim.AdamW,
    seed: int = 0,
    **options,
) -> tuple[nn.Module, Callable]:
    """Return a model, and a function that trains it with the script's `train`.

    The function takes the number of epochs to train, in all at most `epochs`.
    Each is validated on a hundred images, so that it is training that counts.
    """
    settings = {"epochs": epochs, "batch_size": batch_size}
    model, parallel, optimizer, schedule = make_trainer(
        data,
        list("0123456789"),
        network,
        optimizer,
        options,
        {**settings, "processes": 1, "seed": seed},
    )
    images, labels = data["train"]

    def epochs_of(count: int) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # a line an epoch
            train(
                *(parallel, optimizer, schedule, images, labels),
                validation=(images[:100], labels[:100]),
                epochs=count,
                batch_size=batch_size,
                augment=augment,
                seed=seed,
                half=half,
            )

    return model, epochs_of


def loader_table(data: dict, args) -> None:
    """How many images a second reach a loop, in shuffled batches."""
    images, labels = (part.cpu() for part in data["train"])
    count = len(labels)

    def consume(loader) -> None:
        for _ in loader:
            pass

    def index(batch_size: int) -> None:
        for which in torch.randperm(count).split(batch_size):
            _ = images.index_select(0, which), labels[which]

    def copy(batch_size: int) -> None:
        memory = torch.empty_like(images[:batch_size])
        for part in images.split(batch_size):
            memory[: len(part)].copy_(part)

    rows = []
    for batch_size in (64, 256):
        say(f"loader, batch {batch_size}: seconds an epoch")
        in_one_piece = DataLoader(
            WholeBatches(images, labels),
            batch_size,
            shuffle=True,
            collate_fn=as_it_is,
        )
        usual = [usual_loader(data, batch_size, num_workers=n) for n in (0, 2)]
        ways = {
            "0 workers": functools.partial(consume, usual[0]),
            "2 workers": functools.partial(consume, usual[1]),
            "loader with `__getitems__`": functools.partial(
                consume, in_one_piece
            ),
            "indexed tensor": functools.partial(index, batch_size),
            "copy": functools.partial(copy, batch_size),
        }
        speed = {n: count / t for n, t in medians(ways, args).items()}
        zero, two, *ours, limit = speed.values()
        for way, fast in zip(list(ways)[2:4], ours, strict=True):
            rows.append(
                (
                    f"{way}, batch {batch_size}",
                    f"{fast:,.0f}",
                    f"{zero:,.0f} / {two:,.0f}",
                    f"{fast / max(zero, two):.0f}",
                    f"{limit:,.0f}",
                )
            )
    table(
        "Images a second that reach a loop. Usual: per-image `v2` transforms in"
        " a\n`DataLoader`, 0 / 2 workers; the ratio is to the quicker of them."
        " Limit: a\nplain copy of the same bytes.",
        ("loader", "images/s", "usual", "ratio", "limit"),
        *rows,
    )


def products(batch_size: int, count: int, device, dtype) -> Callable:
    """Return a function that does the MLP's matrix products of one epoch.

    Forward one for each layer, backward one for its weights and, but in the
    first layer, one for its input: nothing else, and no memory is filled.
    """
    sizes = [(784, 512), (512, 512), (512, 10)]
    make = functools.partial(torch.ones, device=device, dtype=dtype)
    layers = [
        (make(batch_size, i), make(o, i), make(batch_size, o)) for i, o in sizes
    ]

    def multiply() -> None:
        for _ in range(count // batch_size):
            for x, weight, gradient in layers:
                x @ weight.T
                gradient.T @ x
                if x is not layers[0][0]:
                    gradient @ weight

    return multiply


def epoch_table(data: dict, args) -> None:
    """How long one epoch of the 784-512-512-10 MLP takes, with plain SGD."""
    _, labels = data["train"]
    device, rows = args.device, []
    make_optimizer = functools.partial(torch.optim.SGD, lr=0.1)
    for half in (None, amp_dtype(device))[: 1 + args.amp]:
        for batch_size in (64, 256):
            name = f"{half or torch.float32}".removeprefix("torch.")
            say(f"MLP epoch, batch {batch_size}, {name}: seconds")
            _, epochs_of = script_way(
                *(MLP, data, batch_size, normalized),
                epochs=args.repeats,
                half=half,
                optimizer=torch.optim.SGD,
                lr=0.1,
                fused=True,
            )
            model = MLP().to(device)
            usual = functools.partial(
                usual_epoch, model, make_optimizer(model.parameters())
            )
            ways = {
                f"{workers} workers": functools.partial(
                    usual,
                    usual_loader(data, batch_size, num_workers=workers),
                    device,
                    half,
                )
                for workers in (0, 2)
            }
            ways["train"] = functools.partial(epochs_of, 1)
            ways["products"] = products(
                batch_size, len(labels), device, half or torch.float32
            )
            zero, two, ours, limit = medians(ways, args).values()
            rows.append(
                (
                    f"{name}, batch {batch_size}",
                    f"{ours:.2f} s",
                    f"{zero:.2f} / {two:.2f} s",
                    f"{zero / ours:.1f} / {two / ours:.1f}",
                    f"{limit:.2f} s",
                )
            )
    table(
        f"One epoch of the MLP, {len(labels):,} images, SGD. Usual: the same"
        " batches from\nthe loader above, 0 / 2 workers. Limit: the matrix"
        " products alone.",
        ("MLP epoch", "`train`", "usual", "ratio", "limit"),
        *rows,
    )


def accuracy_table(data: dict, args) -> None:
    """How long each way trains until it reads 99% of the test images.

    Data are at hand on both sides, and testing is not counted. The usual way
    stops after the first epoch that reaches 99%; the scripts' way plans one
    epoch beforehand, and is shown with what it reached for each seed.
    """
    device = args.device
    test_images, test_labels = data["test"]
    say("time to 99%")
    ours = []
    for seed in range(args.repeats):
        start = time.perf_counter()
        model, epochs_of = script_way(
            *(CNN, data, 128, AUGMENT), epochs=1, seed=seed, lr=0.01, fused=True
        )
        epochs_of(1)
        took = time.perf_counter() - start
        _, right, _ = evaluate(model, test_images, test_labels)
        ours.append((took, right))
        say(f"  seed {seed}: {right:.2%} after {took:.1f} s")

    torch.manual_seed(0)
    model = UsualCNN().to(device)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.7)
    loader = usual_loader(data, 64, num_workers=2)
    took, curve = 0.0, []
    while len(curve) < EPOCHS and (not curve or curve[-1] < 0.99):
        start = time.perf_counter()
        usual_epoch(model, optimizer, loader, device)
        schedule.step()
        took += time.perf_counter() - start
        model.eval()
        with torch.no_grad():
            parts = normalized(test_images).split(1000)
            guesses = torch.cat([model(part).argmax(dim=1) for part in parts])
        curve.append((guesses == test_labels).float().mean().item())
        say(f"  usual, epoch {len(curve)}: {curve[-1]:.2%} after {took:.1f} s")
    median = statistics.median(took for took, _ in ours)
    lowest, highest = min(r for _, r in ours), max(r for _, r in ours)
    more = "" if curve[-1] >= 0.99 else "more than "
    table(
        "Training time until 99% of the test images are read, data at hand,"
        " float32. Usual:\nthe network, batch and optimizer of the well-known"
        " MNIST example, 2 workers.",
        ("data", "`train`", "usual", "ratio"),
        (
            "MNIST" if args.data_dir else "font digits",
            f"{median:.1f} s, {lowest:.2%} to {highest:.2%}",
            f"{took:.0f} s, {curve[-1]:.2%}",
            f"{more}{took / median:.0f}",
        ),
    )


class NormBeforePool(nn.Sequential):
    """The scripts' CNN in the usual order: norm, ReLU, then pooling."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(576, 10),
        )


def climb(
    data: dict,
    seed: int,
    *,
    network=NormBeforePool,
    loader=None,
    channels_last=False,
    fused=False,
    one_cycle=False,
    half=None,
    compiled=False,
) -> tuple[float, float]:
    """Train for one epoch; return the seconds, and the test accuracy after."""
    images, labels = data["train"]
    torch.manual_seed(seed)
    model = network().to(images.device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if compiled:  # before the clock starts: forward, backward, eval mode
        model.compile()
        with torch.autocast(images.device.type, half, enabled=bool(half)):
            model(images[:128]).sum().backward()
        model.zero_grad()
        evaluate(model, images[:100], labels[:100], half)
    lr = 0.01 if one_cycle else 0.001
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=fused)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1)
    if one_cycle:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, lr, len(labels) // 128, cycle_momentum=False
        )
    test_images, test_labels = data["test"]
    start = time.perf_counter()
    if loader:
        usual_epoch(model, optimizer, loader, images.device)
        test_images = normalized(test_images)  # as the loader's are
    else:
        with contextlib.redirect_stdout(io.StringIO()):  # a line an epoch
            train(
                *(model, optimizer, scheduler, images, labels),
                validation=(images[:100], labels[:100]),
                epochs=1,
                augment=AUGMENT,
                seed=seed,
                half=half,
            )
    if images.device.type != "cpu":
        torch.accelerator.synchronize(images.device)
    seconds = time.perf_counter() - start
    return seconds, evaluate(model, test_images, test_labels, half)[1]


def ladder_table(data: dict, args) -> None:
    """From the usual way to the scripts': one change a row, and each stays."""
    move = v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), 6)
    loader = usual_loader(data, 128, move, num_workers=2)
    half = amp_dtype(args.device)
    changes = [
        ("the usual way, 2 workers", {"loader": loader}),
        ("one tensor, indexed and augmented by batch", {"loader": None}),
        ("`channels_last`", {"channels_last": True}),
        ("`fused=True`", {"fused": True}),
        ("pooling before the norm", {"network": CNN}),
        ("one-cycle, up to lr 0.01", {"one_cycle": True}),
    ]
    if args.amp:
        name = f"{half}, as with `--amp`".removeprefix("torch.")
        changes.append((name, {"half": half}))
    if args.compile:
        changes.append(("`--compile`", {"compiled": True}))
    say(f"CNN epoch of {len(data['train'][1]):,} images: seconds, accuracy")
    measured = {name: [] for name, _ in changes}
    for seed in range(args.repeats):
        options = {}
        for name, change in changes:
            options |= change
            seconds, right = climb(data, seed, **options)
            measured[name].append((seconds, right))
            say(f"  {name:46}{seconds:9.2f}  {right:.2%}")
    rows, first, above = [], None, None
    for name, runs in measured.items():
        seconds = statistics.median(seconds for seconds, _ in runs)
        right = statistics.median(right for _, right in runs)
        first, above = first or seconds, above or seconds
        ratios = f"{first / seconds:.1f}", f"{above / seconds:.2f}"
        rows.append((name, f"{seconds:.1f} s", *ratios, f"{right:.2%}"))
        above = seconds
    table(
        f"One epoch of the CNN, {len(data['train'][1]):,} images, batch 128,"
        " augmented,\nAdamW. Each row has the changes of all rows above it;"
        " the test set is read\nafter that epoch.",
        ("one change a row", "epoch", "ratio", "to the row above", "test"),
        *rows,
    )


class Windows(torch.utils.data.Dataset):
    """Each window of a text, and the same one character later."""

    def __init__(self, tokens: Tensor, context: int):
        self.tokens, self.context = tokens, context

    def __len__(self) -> int:
        return len(self.tokens) - self.context

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        window = self.tokens[index : index + self.context + 1]
        return window[:-1], window[1:]


def writer_table(data: dict, args) -> None:
    """Characters a second on which the small language model is trained."""
    device = args.device
    text = read_text()
    vocabulary = sorted(set(text))
    tokens = encode(text, vocabulary)

    def fresh_model() -> nn.Module:
        torch.manual_seed(0)
        return LanguageModel(len(vocabulary)).to(device)

    def usual(workers: int) -> None:
        model = fresh_model().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
        windows = Windows(tokens, model.context)
        loader = DataLoader(windows, 16, shuffle=True, num_workers=workers)
        for _, (inputs, targets) in zip(range(STEPS), loader, strict=False):
            inputs, targets = inputs.to(device), targets.to(device)
            logits = model(inputs)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def ours(amp: bool) -> None:
        model = fresh_model()
        train_language_model(model, tokens.to(device), STEPS, 0.02, amp)

    say(f"language model, {STEPS} steps: seconds")
    ways = {f"{n} workers": functools.partial(usual, n) for n in (0, 2)}
    ways["float32"] = functools.partial(ours, False)
    if args.amp:
        ways["`--amp`"] = functools.partial(ours, True)
    times = medians(ways, args)
    zero, two, *_ = times.values()
    count = STEPS * 16 * 64  # characters
    rows = []
    for name, seconds in list(times.items())[2:]:
        speed = f"{count / seconds:,.0f}"
        usually = f"{count / zero:,.0f} / {count / two:,.0f}"
        rows.append((name, speed, usually, f"{min(zero, two) / seconds:.2f}"))
    table(
        "Characters a second on which the small language model is trained,"
        " batch 16,\ncontext 64. Usual: the same model, a `DataLoader` over"
        " all windows, 0 / 2\nworkers, float32; the ratio is to the quicker"
        " of them.",
        ("`train_language_model`", "characters/s", "usual", "ratio"),
        *rows,
    )


def amp_table(data: dict, args) -> None:
    """What `--amp` saves: time of an epoch, bytes kept for backward."""
    device, half, rows = args.device, amp_dtype(args.device), []
    images, labels = (part[:12_000] for part in data["train"])
    subset = {"train": (images, labels)}
    for network in (MLP, CNN):
        say(f"{network.__name__} epoch, batch 256: seconds")
        ways, kept = {}, {}
        for dtype in (None, half):
            model, epochs_of = script_way(
                *(network, subset, 256, normalized),
                epochs=3 * args.repeats,
                half=dtype,
                optimizer=torch.optim.SGD,
                lr=0.01,
            )
            ways[str(dtype)] = functools.partial(epochs_of, 1)
            held = []
            hooks = torch.autograd.graph.saved_tensors_hooks
            autocast = torch.autocast(
                device.type, dtype, enabled=dtype is not None
            )
            with autocast, hooks(held.append, lambda _: None):
                model(images[:256])
            held = [part for part in held if len(part) == 256]  # no weights
            sizes = {t.data_ptr(): t.nbytes for t in held}
            kept[str(dtype)] = sum(sizes.values()) / 1e6
        whole, mixed = medians(ways, args, times_more=3).values()
        whole_size, mixed_size = kept.values()
        rows.append(
            (
                network.__name__,
                f"{mixed:.2f} s",
                f"{whole:.2f} s",
                f"{whole / mixed:.2f}",
                f"{mixed_size:.1f} MB",
                f"{whole_size:.1f} MB",
                f"{whole_size / mixed_size:.2f}",
            )
        )
    table(
        f"`--amp` against float32: one epoch of {len(labels):,} images, batch"
        f" 256, SGD;\nmedians of {3 * args.repeats}. Kept: the activations,"
        " from\nforward to backward.",
        ("network", "`--amp`", "float32", "ratio", "kept", "float32", "ratio"),
        *rows,
    )


# A process starts with the peak memory of the one that starts it, and this one
# holds torch and the data: so a small one stands between.
BETWEEN = """
import subprocess, sys, time
start = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
took, peak = time.perf_counter() - start, "nan"
if sys.platform != "win32":
    import resource
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(took, peak)
sys.exit(status)
"""


def command(*line: str, folder: str) -> tuple[float, float]:
    """Return seconds and peak memory, MB, of a Python process.

    Peak memory is that of its largest process, or nan where the system does
    not tell. Raises `subprocess.CalledProcessError` where the process fails.
    """
    python = sys.executable
    between = [python, "-c", BETWEEN, python, *line]
    words = subprocess.check_output(between, cwd=folder).split()
    # Linux counts kilobytes, macOS bytes.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return float(words[0]), float(words[1]) / unit


def start_table(data: dict, args) -> None:
    """How long a learner waits for each script, and its peak memory."""
    rows, totals = [], [0.0, 0.0, 0.0]
    with tempfile.TemporaryDirectory() as folder:
        command("-c", "import torch", folder=folder)  # reads it from the disk
        alone = [
            command("-c", "import torch", folder=folder)
            for _ in range(args.repeats)
        ]
        for name in SCRIPTS:
            script, row, peaks = f"start_{name}.py", [], []
            for column, flags in enumerate((["--list"], ["--tiny"], [])):
                flags = [str(ROOT / script), *flags]
                flags += ["--device", str(args.device)]
                runs = [
                    command(*flags, folder=folder) for _ in range(args.repeats)
                ]
                took = statistics.median(took for took, _ in runs)
                peaks += [peak for _, peak in runs]
                totals[column] += took
                row.append(f"{took:.1f} s")
                listed = "".join(f"{took:8.2f}" for took, _ in runs)
                say(f"  {script} {' '.join(flags[1:-2])}: {listed} s")
            rows.append((f"`{script}`", *row, f"{max(peaks):,.0f} MB"))
    rows.append(("together", *(f"{total:.1f} s" for total in totals), ""))
    took = statistics.median(took for took, _ in alone)
    peak = max(peak for _, peak in alone)
    rows.append(
        ("`import torch` alone", f"{took:.1f} s", "", "", f"{peak:,.0f} MB")
    )
    table(
        "From the command to the prompt.",
        ("script", "`--list`", "`--tiny`", "full", "peak memory"),
        *rows,
    )


def processor() -> str:
    """Return the name of this machine's processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        return text.partition("model name\t: ")[2].partition("\n")[0]
    except OSError:
        return platform.processor() or platform.machine()


def main(command: list[str] | None = None) -> None:
    """Measure, table by table, as the command line, or `command`, says."""
    tables = {
        "loader": loader_table,
        "epoch": epoch_table,
        "accuracy": accuracy_table,
        "ladder": ladder_table,
        "writer": writer_table,
        "amp": amp_table,
        "start": start_table,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flag = parser.add_argument
    flag("--device", type=pick_device, default="auto")
    flag("--amp", action=argparse.BooleanOptionalAction, default=True)
    flag("--compile", action="store_true", help="a row for --compile as well")
    flag("--data-dir", type=Path, help="folder with MNIST/raw")
    flag("--repeats", type=number(int, 1, 99), default=3)
    flag("--only", nargs="+", choices=tables, default=list(tables))
    args = parser.parse_args(command)

    if args.data_dir:
        counts = dict.fromkeys(COUNTS)  # all there are
        data = load_digits("mnist", args.data_dir, args.device, counts)
    else:
        data = load_digits("digits", args.data_dir, args.device, COUNTS)
    gpu = ""
    if args.device.type == "cuda":
        gpu = f", {torch.cuda.get_device_name(args.device)}"
    print(
        f"{torch.get_num_threads()} threads of {processor()}{gpu}; torch "
        f"{torch.__version__}, Python {platform.python_version()}; medians of "
        f"{args.repeats}."
    )
    for name in args.only:
        tables[name](data, args)


if __name__ == "__main__":
    main()
