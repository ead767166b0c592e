"""start_optimizer.py: every value that a section returns, against an oracle."""

import contextlib
import functools
import io
import math
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT
from test_bad_input import TRAIN
from torch import nn

import start_optimizer as script

CPU = torch.device("cpu")
MNIST = ROOT.parent / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (MNIST / "MNIST" / "raw").is_dir(), reason="no real MNIST beside us"
)


@pytest.fixture(scope="module")
def digits():
    """Return a small data set, drawn once."""
    counts = {"train": 2000, "validation": 600, "test": 300}
    return script.load_digits("digits", Path(), CPU, counts)


# The sections.


def test_a_split_by_image_flatters(digits):
    wrong = script.a_split_by_image_flatters(digits, CPU, epochs=12)
    by_image, by_font = wrong.values()
    assert 0.05 < by_image < by_font < 0.9
    # Both are whole numbers of images.
    assert math.isclose(by_image * 333, round(by_image * 333), abs_tol=1e-3)
    count = by_font * 600
    assert math.isclose(count, round(count), abs_tol=1e-3)


def test_losses_are_lines_of_arithmetic():
    pairs = script.losses_are_lines_of_arithmetic(CPU)
    exps = [math.exp(z) for z in (2, 0, -1)], [math.exp(z) for z in (0, 1, 0)]
    logs = [[math.log(e / sum(row)) for e in row] for row in exps]
    surprise = -(logs[0][0] + logs[1][2]) / 2
    average = -sum(map(sum, logs)) / 6
    expected = {
        "cross-entropy": surprise,
        "log-softmax, then NLL": surprise,
        "label smoothing 0.1": 0.9 * surprise + 0.1 * average,
        "mean squared error": (0.25 + 4 + 1) / 3,
        "binary, with logits": (
            math.log1p(math.exp(-0.5))
            + math.log1p(math.exp(2.0))
            + math.log1p(math.exp(-1.0))
        )
        / 3,
    }
    assert math.isnan(pairs.pop("a score of 100")[0])
    assert pairs.keys() == expected.keys()
    for name, value in expected.items():
        assert pairs[name] == pytest.approx((value, value), abs=1e-6), name


def test_a_step_is_four_moves():
    lines = script.a_step_is_four_moves(CPU, steps=50, lr=0.1)
    # Each parameter of this fit shrinks its distance by a fixed factor.
    square = sum((-1 + 2 * i / 19) ** 2 for i in range(20)) / 20
    w, b = 3 * (1 - (1 - 0.2 * square) ** 50), 1 - (1 - 0.2) ** 50
    never = lines.pop("zero_grad never").tolist()
    for name, line in lines.items():
        assert line.tolist() == pytest.approx([w, b], abs=1e-4), name
    assert never != pytest.approx([w, b], abs=0.1)


@pytest.mark.parametrize(
    ("hand_class", "torch_class", "options"),
    [
        (script.HandSGD, torch.optim.SGD, {"lr": 0.1}),
        (script.HandSGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.5}),
        (
            script.HandSGD,
            torch.optim.SGD,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        ),
        (script.HandRMSprop, torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9}),
        (script.HandAdam, torch.optim.Adam, {"lr": 0.1, "betas": (0.5, 0.9)}),
        (script.HandAdam, torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.3}),
    ],
)
def test_hand_written_optimizers(hand_class, torch_class, options):
    torch.manual_seed(1)
    w = nn.Parameter(torch.randn(7, dtype=torch.float64))
    by_hand, by_torch = hand_class(**options), torch_class([w], **options)
    hand_w = w.detach().clone()
    for _ in range(300):
        w.grad = torch.randn(7, dtype=torch.float64)  # any gradients at all
        hand_w = by_hand.step(hand_w, w.grad)
        by_torch.step()
        torch.testing.assert_close(hand_w, w.detach())


def test_optimizers_differ_in_a_few_lines(tmp_path):
    paths = script.optimizers_differ_in_a_few_lines(CPU, tmp_path, steps=30)
    assert len(paths) == 6
    # Plain descent on x**2 / 2 and 10 * y**2 has a closed form.
    n = torch.arange(31.0)
    closed = torch.stack([-4 * (1 - 0.03) ** n, 1.5 * (1 - 0.6) ** n], dim=1)
    torch.testing.assert_close(paths["SGD"], closed, atol=1e-5, rtol=0)
    # Adam's first step is lr along each coordinate, whatever the gradient.
    torch.testing.assert_close(paths["Adam"][1], torch.tensor([-3.8, 1.3]))


def test_learning_rates_creep_arrive_or_explode():
    ends = script.learning_rates_creep_arrive_or_explode(
        CPU, curvature=4.0, steps=10
    )
    factors = {"too small": 0.98, "right": 0.2, "at the limit": -1.0}
    for name, factor in {**factors, "too large": -1.1}.items():
        assert ends[name] == pytest.approx(factor**10, abs=1e-5), name


def test_a_range_test_finds_the_learning_rate(digits, tmp_path):
    results = script.a_range_test_finds_the_learning_rate(digits, CPU, tmp_path)
    (low, low_loss), (picked, loss), (high, high_loss) = results.values()
    assert 0.005 < picked < 1 and loss < min(low_loss, high_loss)
    assert (low, high) == (picked / 100, 10.0)


def test_schedules_move_once_an_epoch_or_once_a_batch(tmp_path):
    rates = script.schedules_move_once_an_epoch_or_once_a_batch(
        tmp_path, epochs=10, batches=20, lr=0.5
    )
    for batch in range(200):
        epoch = batch // 20
        # One-cycle, from its definition: two halves of a cosine.
        if batch <= 59:
            low, part = 0.5 / 25, 1 - batch / 59
        else:
            low, part = 0.5 / 25 / 1e4, (batch - 59) / 140
        expected = {
            "step": 0.5 * 0.1 ** (epoch // 4),
            "cosine": 0.25 * (1 + math.cos(math.pi * epoch / 10)),
            "plateau": 0.5 / 2 ** max(0, epoch // 2 - 2),
            "one-cycle": low + (0.5 - low) * (1 + math.cos(math.pi * part)) / 2,
        }
        for name, rate in expected.items():
            assert rates[name][batch] == pytest.approx(rate, abs=1e-9), name


def test_accumulated_gradients_equal_the_large_batch():
    off = script.accumulated_gradients_equal_the_large_batch(CPU)
    assert list(off) == ["by size", "a third each", "not at all"]
    assert off["by size"] < 1e-6
    # A third each is wrong for unequal parts, not weighted is worse.
    assert 0.01 < off["a third each"] < off["not at all"]


def test_clipping_shortens_a_gradient_and_keeps_its_direction():
    clip = script.clipping_shortens_a_gradient_and_keeps_its_direction
    assert clip(CPU).tolist() == pytest.approx([0.6, 0, 0.8], abs=1e-5)


def test_batch_means_are_weighted_by_batch_size():
    wrong, right = script.batch_means_are_weighted_by_batch_size(CPU)
    assert (wrong, right) == pytest.approx((1 / 3, 2 / 10))
    # In batches of 3 the last one holds a single image: 0, 0, 1/3, 1.
    wrong, right = script.batch_means_are_weighted_by_batch_size(
        CPU, batch_size=3
    )
    assert (wrong, right) == pytest.approx((1 / 3, 2 / 10))


def test_eval_and_no_grad_switch_different_things():
    table = script.eval_and_no_grad_switch_different_things(CPU, width=500)
    assert len(table) == 4
    for (mode, gradients), (dropped, counted, size) in table.items():
        assert counted == (mode == "train")
        assert dropped == pytest.approx(0.5 * (mode == "train"), abs=0.05)
        # With gradients at least the input of batch norm is kept.
        assert (size >= 4 * 8 * 500) if gradients == "grad" else size == 0


def test_networks_have_the_parameters_that_arithmetic_says():
    def count(model):
        return sum(w.numel() for w in model.parameters())

    mlp = 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10
    convolutions = 25 * 16 + 9 * 16 * 32 + 9 * 32 * 64
    norms = 2 * (16 + 32 + 64)
    assert count(script.MLP()) == mlp
    assert count(script.CNN()) == convolutions + norms + 576 * 10 + 10
    for network in (script.MLP, script.CNN):
        assert network()(torch.rand(3, 1, 28, 28)).shape == (3, 10)


def test_convolution_and_augmentation_reach_unseen_fonts(digits, tmp_path):
    moved = []

    def augment(images):
        moved.append(len(images))
        return images

    curves = script.convolution_and_augmentation_reach_unseen_fonts(
        digits, augment, CPU, tmp_path, epochs=2, luck=0.05
    )
    assert sum(moved) == 2 * (2000 // 128) * 128  # only the third network
    assert [len(curve) for curve in curves.values()] == [2, 2, 2]
    assert curves["MLP"][-1] < curves["CNN"][-1] <= 1


@pytest.mark.parametrize(
    ("half", "network"),
    [(torch.bfloat16, script.CNN), (torch.float16, script.MLP)],
)
def test_mixed_precision_trains_as_well(digits, half, network):
    results = script.mixed_precision_trains_as_well(
        digits, network, CPU, half, steps=25, lr=0.001
    )
    assert list(results) == [torch.float32, half]
    (loss, accuracy, _, size), (half_loss, half_accuracy, _, half_size) = (
        results.values()
    )
    assert abs(loss - half_loss) < 0.05 and accuracy > 0.2
    assert abs(accuracy - half_accuracy) < 0.03
    # Not below a half: the indices of pooling are int64 in both.
    assert 0.5 * size <= half_size < 0.7 * size


def test_a_skipped_step_holds_the_schedule():
    rows = script.a_skipped_step_holds_the_schedule()
    scales, rates, weights = zip(*rows, strict=True)
    assert scales == (2**16, 2**15, 2**14, 2**14)
    assert rates == pytest.approx((0.1, 0.1, 0.1, 0.05))
    assert weights == pytest.approx((1, 1, 1, 1 - 0.1 * 2))


def test_a_seed_repeats_a_run(digits):
    differences = script.a_seed_repeats_a_run(digits, CPU)
    assert differences["nothing"] == 0
    assert all(list(differences.values())[1:])


def test_compiling_changes_the_time_alone(monkeypatch):
    # The graph is traced and checked, but not handed to a C++ compiler.
    compile_module = nn.Module.compile
    traced = functools.partialmethod(compile_module, backend="eager")
    monkeypatch.setattr(nn.Module, "compile", traced)
    small = functools.partial(
        nn.Sequential, nn.Flatten(), nn.Linear(784, 10), nn.ReLU()
    )
    scores = script.compiling_changes_the_time_alone(
        small, CPU, compiled=True, steps=3
    )
    assert list(scores) == ["as it is", "compiled"]
    torch.testing.assert_close(*scores.values())


def test_a_checkpoint_resumes_bit_for_bit():
    off = script.a_checkpoint_resumes_bit_for_bit()
    assert off.pop("nothing") == 0
    assert set(off) == {"optimizer", "schedule", "random state"}
    assert all(difference > 1e-3 for difference in off.values())


def test_mistakes_misplace_a_call():
    silent = script.mistakes_misplace_a_call(CPU)
    wrong, right = zip(*silent.values(), strict=True)
    # 10 steps of 0.1; clipped from 100 to 1; two epochs of fifty batches.
    assert wrong == pytest.approx((0, -10 * 0.1 * 100, 0.1 * 0.1**10))
    assert right == pytest.approx((-1, -1, 0.1), abs=1e-4)


def test_mistakes_measure_wrongly():
    silent = script.mistakes_measure_wrongly(CPU)
    column, batch, softmax, seen, counted = silent.values()
    assert column == (8, 3) and batch == (2, 3) and counted == (1, 3)
    chance = math.exp(9) / (math.exp(9) + 2)
    rest = (1 - chance) / 2
    twice = math.log(math.exp(chance) + 2 * math.exp(rest)) - chance
    assert softmax == pytest.approx((twice, -math.log(chance)), abs=1e-5)
    assert seen[0] == 1 and abs(seen[1] - 0.5) < 0.1


def test_mistakes_lose_what_was_learnt():
    silent = script.mistakes_lose_what_was_learnt()
    head, best, strict = silent.values()
    assert head == pytest.approx((0, 0.1)) and best == (-9, 1)
    assert strict == (2, 0)


# The run.


@pytest.mark.parametrize(
    ("half", "network"),
    [
        (None, script.CNN),
        (torch.bfloat16, script.CNN),
        (torch.float16, script.MLP),  # with the scaler; slow in convolutions
    ],
)
def test_train_validate_test(digits, half, network, tmp_path):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        result = script.train_validate_test(
            *(digits, network, lambda images: images, CPU, tmp_path),
            half=half,
            make_optimizer=functools.partial(torch.optim.AdamW, lr=0.005),
            epochs=3,
            batch_size=100,
        )
    confusion, losses = result["confusion"], result["losses"]
    labels = digits["test"][1]
    assert torch.equal(confusion.sum(dim=1), labels.bincount(minlength=10))
    accuracy = confusion.trace().item() / len(labels)
    assert result["test_accuracy"] == pytest.approx(accuracy)
    assert accuracy > 0.3 and len(losses) == 3
    validation = [unseen for _, unseen in losses]
    assert result["best_epoch"] == 1 + validation.index(min(validation))
    *_, loss_line, accuracy_line = output.getvalue().splitlines()
    assert loss_line == f"test loss     {result['test_loss']:.4f}"
    assert accuracy_line == f"test accuracy {accuracy:.2%}"


def test_the_best_epoch_is_restored(digits, monkeypatch, tmp_path):
    def prefer_the_first(
        self, loss, validation_loss, note=script.Trainer.remember
    ):
        note(self, loss, validation_loss + 10 * len(self.losses))

    monkeypatch.setattr(script.Trainer, "remember", prefer_the_first)
    # The section measures again after it restored, and asserts the same loss.
    result = script.train_validate_test(
        *(digits, script.MLP, lambda images: images, CPU, tmp_path), epochs=3
    )
    assert result["best_epoch"] == 1


def test_the_best_epoch_is_copied():
    torch.manual_seed(0)
    optimizer = functools.partial(torch.optim.SGD, lr=0.1)
    model = script.MLP()
    trainer = script.Trainer(model, optimizer, 60, CPU, None, 0)
    for validation_loss, fill in ((0.9, 1.0), (0.5, 2.0), (0.7, 3.0)):
        nn.init.constant_(model[1].bias, fill)
        trainer.remember(1.0, validation_loss)
    assert trainer.best["epoch"] == 2 and trainer.best["loss"] == 0.5
    assert trainer.best["weights"]["1.bias"].unique().item() == 2.0


def test_evaluate_is_the_mean_over_images_of_any_batches(digits):
    optimizer = functools.partial(torch.optim.SGD, lr=0.1)
    model = script.CNN()
    trainer = script.Trainer(model, optimizer, 60, CPU, None, 0)
    images, labels = digits["train"]
    images, labels = images[:1030], labels[:1030]  # 1,000 and then 30
    loss, accuracy, logits = trainer.evaluate(images, labels)
    assert not model.training and not logits.requires_grad
    with torch.no_grad():
        one_by_one = [
            F.cross_entropy(model(image[None]), label[None]).item()
            for image, label in zip(images, labels, strict=True)
        ]
    assert loss == pytest.approx(sum(one_by_one) / 1030, rel=1e-4)
    right = sum(
        row.argmax() == y for row, y in zip(logits, labels, strict=True)
    )
    assert accuracy == pytest.approx(right.item() / 1030)


def test_an_epoch_uses_every_image_once():
    seen = []

    def augment(images):
        seen.extend(images[:, 0, 0, 0].tolist())
        return images

    images = torch.arange(50.0)[:, None, None, None].expand(50, 1, 28, 28)
    labels = torch.zeros(50, dtype=torch.int64)
    optimizer = functools.partial(torch.optim.SGD, lr=1e-9)
    trainer = script.Trainer(script.MLP(), optimizer, 10, CPU, None, 0)
    trainer.train_epoch(images, labels, 10, augment)
    assert sorted(seen) == list(range(50)) and seen != list(range(50))
    first, seen[:] = list(seen), []
    trainer.train_epoch(images, labels, 10, augment)
    assert sorted(seen) == sorted(first) and seen != first


def test_a_training_loss_is_the_mean_over_its_images(digits):
    images, labels = digits["train"]
    optimizer = functools.partial(torch.optim.SGD, lr=1e-12)  # stands still
    trainer = script.Trainer(script.MLP(), optimizer, 99, CPU, None, 0)
    loss, accuracy, _ = trainer.train_epoch(images, labels, 100, lambda x: x)
    measured_loss, measured_accuracy, _ = trainer.evaluate(images, labels)
    assert loss == pytest.approx(measured_loss, rel=1e-4)
    assert accuracy == pytest.approx(measured_accuracy)


def test_skipped_steps_do_not_move_the_schedule(digits):
    images, labels = digits["test"]
    optimizer = functools.partial(torch.optim.SGD, lr=1e-6)
    half = torch.float16
    trainer = script.Trainer(script.MLP(), optimizer, 99, CPU, half, 0)
    trainer.train_epoch(1000 * images, labels, 10, lambda x: x)
    skipped = math.log2(2**16 / trainer.scaler.get_scale())
    assert skipped >= 1 and trainer.schedule.last_epoch == 30 - skipped


def weights(path: Path) -> dict:
    """Return the weights in a checkpoint."""
    state = torch.load(path, weights_only=True)["states"]["trainer"]
    assert len(state["numbers"]["losses"]) == 3
    return state["parts"]["model"]


def test_a_killed_run_is_resumed_bit_for_bit(tmp_path):
    command = [sys.executable, str(ROOT / "start_optimizer.py"), *TRAIN]
    command += ["--epochs", "3", "--checkpoint"]
    start = functools.partial(
        subprocess.Popen, cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    undisturbed = start([*command, "whole.pt"])
    with subprocess.Popen(
        [*command, "killed.pt"], cwd=tmp_path, stdout=subprocess.PIPE
    ) as process:
        for line in process.stdout:
            if line.startswith(b"    2 "):  # the second epoch is over
                time.sleep(0.05)  # somewhere in the third
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    resumed = start([*command, "killed.pt", "--resume"])
    assert undisturbed.wait() == resumed.wait() == 0
    whole, killed = (
        weights(tmp_path / "whole.pt"),
        weights(tmp_path / "killed.pt"),
    )
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@needs_mnist
def test_real_digits_on_a_small_budget(command_line):
    flags = (*TRAIN, "--data", "mnist", "--data-dir", str(MNIST), "--amp")
    status, output, errors = command_line(
        "start_optimizer", *flags, "--epochs", "6"
    )
    assert (status, errors) == (0, "")
    accuracy = float(re.search(r"test accuracy (.+)%", output)[1])
    assert 75 < accuracy < 100  # a thousand images, six epochs
