"""Whatever is wrong, the answer is one clear line, and nothing is lost."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SCRIPTS

NAMES = [path.stem for path in SCRIPTS]
TRAIN = ("--tiny", "--device", "cpu", "--only", "train_validate_test")


def refused(outcome, status, *words):
    """Check for the status, no output, and one line with all the words."""
    code, _, errors = outcome
    lines = errors.splitlines()
    assert code == status and len(lines) == 1, outcome
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--device", "gpu"], ["--device", "'gpu'", "cuda:1"]),
        (["--device", "meta"], ["--device", "'meta'", "cpu"]),
        (["--device", ""], ["--device", "''"]),
        (["--device", "cuda:x"], ["--device", "'cuda:x'", "auto"]),
        (["--device", "cuda:-1"], ["--device", "'cuda:-1'", "auto"]),
        (["--device", "cuda:999"], ["--device", "'cuda:999'", "auto"]),
        (["--device"], ["--device"]),
        (["--only"], ["--only"]),
        (["--only", "train me"], ["--only", "'train me'", "nearest"]),
        (["--show"], ["--show", "no display", "figures"]),
        (["--amps"], ["--amps"]),
        (["--tin"], ["--tin"]),
        (["cpu"], ["cpu"]),
    ],
    ids=" ".join,
)
def test_flags_of_every_script(name, flags, words, command_line):
    refused(command_line(name, *flags), 2, *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_where_there_is_none(name, command_line):
    refused(command_line(name, "--device", "cuda"), 2, "'cuda'", "auto can")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "0"], ["--epochs", "'0'", "from 1"]),
        (["--epochs", "-3"], ["--epochs", "'-3'"]),
        (["--epochs", "2.5"], ["--epochs", "whole number"]),
        (["--epochs", "many"], ["--epochs", "'many'"]),
        (["--epochs", "9" * 30], ["--epochs", "to 1e+06"]),
        (["--batch-size", "0"], ["--batch-size", "'0'"]),
        (["--batch-size", "1e3"], ["--batch-size", "whole number"]),
        (["--lr", "0"], ["--lr", "'0'"]),
        (["--lr", "-0.1"], ["--lr", "'-0.1'"]),
        (["--lr", "nan"], ["--lr", "'nan'"]),
        (["--lr", "inf"], ["--lr", "'inf'"]),
        (["--lr", "1e9"], ["--lr", "to 1000"]),
        (["--lr", "fast"], ["--lr", "a number"]),
        (["--seed", "-1"], ["--seed", "'-1'"]),
        (["--seed", "9" * 30], ["--seed"]),
        (["--model", "rnn"], ["--model", "'rnn'", "mlp", "cnn"]),
        (["--optimizer", "lion"], ["--optimizer", "'lion'", "adamw"]),
        (["--data", "cifar"], ["--data", "'cifar'", "mnist"]),
        (["--resume"], ["--resume", "--checkpoint FILE"]),
    ],
    ids=" ".join,
)
def test_flags_of_the_optimizer_script(flags, words, command_line):
    refused(command_line("start_optimizer", *flags), 2, *words)


def test_figures_folder_that_is_a_file(command_line):
    Path("plain").write_text("mine")
    name = "digits_need_no_download"
    flags = ("--tiny", "--only", name, "--figures", "plain")
    refused(command_line("start_optimizer", *flags), 1, "--figures", "plain")
    assert Path("plain").read_text() == "mine"


def test_a_real_process_prints_no_traceback(tmp_path):
    script = shutil.copy(ROOT / "start_optimizer.py", tmp_path)
    command = [sys.executable, script, "--epochs", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "--epochs" in done.stderr


class Bomb:
    """A pickle that would make a file if somebody ran its code."""

    def __reduce__(self):
        return (Path("exploded").write_text, ("boom",))


CHECKPOINT = []  # the bytes of one, once it has been made


@pytest.fixture
def trained(command_line):
    """Return the path of a checkpoint after one tiny run."""
    path = Path("run.pt")
    if not CHECKPOINT:
        flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt")
        assert command_line("start_optimizer", *flags)[0] == 0
        CHECKPOINT.append(path.read_bytes())
    path.write_bytes(CHECKPOINT[0])
    return path


def test_checkpoint_is_not_overwritten(trained, command_line):
    before = trained.read_bytes()
    flags = (*TRAIN, "--checkpoint", "run.pt")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 2, "--checkpoint", "run.pt", "--resume")
    assert trained.read_bytes() == before


def test_checkpoint_of_another_run(trained, command_line):
    before = trained.read_bytes()
    flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt", "--resume")
    for other in (("--model", "mlp"), ("--lr", "0.1"), ("--amp",)):
        outcome = command_line("start_optimizer", *flags, *other)
        refused(outcome, 1, "run.pt", other[0])
        assert trained.read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: b"not a checkpoint at all\n" * 99,
        lambda whole: whole[:1000] + bytes(1000) + whole[2000:],
    ],
    ids=["empty", "half", "one byte short", "text", "zeros inside"],
)
def test_damaged_checkpoint(damage, trained, command_line):
    trained.write_bytes(damage(trained.read_bytes()))
    before = trained.read_bytes()
    flags = (*TRAIN, "--epochs", "1", "--checkpoint", "run.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint run.pt", "damaged")
    assert trained.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: Bomb(), id="code"),
        pytest.param(lambda: torch.ones(3), id="a tensor"),
        pytest.param(lambda: {"weight": torch.ones(3)}, id="a state_dict"),
        pytest.param(
            lambda: {"settings": 1, "states": 2, "random": 3, "values": 4},
            id="wrong types",
        ),
    ],
)
def test_file_that_is_no_checkpoint(content, command_line):
    torch.save(content(), "other.pt")
    flags = (*TRAIN, "--checkpoint", "other.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint other.pt", "not a checkpoint")
    assert not Path("exploded").exists()


def test_checkpoint_that_is_missing(command_line):
    flags = (*TRAIN, "--checkpoint", "missing.pt", "--resume")
    outcome = command_line("start_optimizer", *flags)
    refused(outcome, 1, "--checkpoint missing.pt", "No such file")


@pytest.mark.parametrize("path", ["missing/run.pt", "plain/run.pt"])
def test_checkpoint_where_no_file_can_be(path, command_line):
    Path("plain").write_text("mine")
    outcome = command_line("start_optimizer", *TRAIN, "--checkpoint", path)
    refused(outcome, 1, f"--checkpoint {path}")
    assert os.listdir() == ["plain"]


def test_loss_that_is_no_number(command_line):
    # Weight decay multiplies by 1 - 0.01 * lr: -9 a step, until it overflows.
    flags = (*TRAIN, "--model", "mlp", "--lr", "1000", "--epochs", "4")
    outcome = command_line("start_optimizer", *flags, "--checkpoint", "run.pt")
    refused(outcome, 1, "epoch 2", "loss nan", "--lr")
    # The checkpoint is the last good one: weights without a nan.
    state = torch.load("run.pt", weights_only=True)["states"]["trainer"]
    assert all(w.isfinite().all() for w in state["parts"]["model"].values())


def idx(array: torch.Tensor, magic: int) -> bytes:
    """Return `array`, bytes, in the IDX format of MNIST."""
    head = [magic, *array.shape]
    return b"".join(n.to_bytes(4, "big") for n in head) + bytes(
        array.flatten().tolist()
    )


@pytest.fixture
def stand_in(command_line):
    """Return a folder that looks like MNIST, with a hundred images."""
    raw = Path("data/MNIST/raw")
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        images = torch.randint(256, (100, 28, 28), dtype=torch.uint8)
        labels = torch.arange(100, dtype=torch.uint8) % 10
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(images, 2051))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels, 2049))
    return raw


def test_the_stand_in_is_read(stand_in, command_line):
    flags = (*TRAIN, "--data", "mnist")
    status, output, errors = command_line("start_optimizer", *flags)
    assert (status, errors) == (0, "") and "84 images" in output


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:3],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: bytes(4) + whole[4:],
        lambda whole: b"<html>no such file</html>",
        lambda whole: gzip.compress(whole),
        lambda whole: whole + b"more",
    ],
    ids=["empty", "3 bytes", "half", "magic", "html", "gzip", "too long"],
)
@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
def test_damaged_data_file(damage, kind, stand_in, command_line):
    file = stand_in / f"train-{kind}-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "data", "--data digits")


def test_images_and_labels_that_do_not_match(stand_in, command_line):
    labels = torch.zeros(99, dtype=torch.uint8)
    file = stand_in / "train-labels-idx1-ubyte"
    file.write_bytes(idx(labels, 2049))
    outcome = command_line("start_optimizer", *TRAIN, "--data", "mnist")
    refused(outcome, 1, "--data mnist", "do not belong together")


def test_data_folder_that_is_a_file(command_line):
    Path("plain").write_text("mine")
    flags = (*TRAIN, "--data", "mnist", "--data-dir", "plain")
    refused(command_line("start_optimizer", *flags), 1, "--data mnist", "plain")
    assert Path("plain").read_text() == "mine"
