"""start_optimizer.py in two processes: equal to one, and when one dies."""

import faulthandler
import importlib
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from test_bad_input import TRAIN, refused

import start_optimizer as script

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not torch.distributed.is_available(),
    reason="no torch.distributed here, or no signals",
)
RUN = ("--tiny", "--device", "cpu", "--epochs", "3", "--batch-size", "32")


def place(rank: int, machines: int = 1) -> dict[str, str]:
    """Return what torchrun says to process `rank` of two."""
    place = {"RANK": rank, "LOCAL_RANK": rank % (3 - machines), "WORLD_SIZE": 2}
    place |= {"TORCHELASTIC_RUN_ID": "a test", "MASTER_ADDR": "127.0.0.1"}
    return {name: str(value) for name, value in place.items()}


# What a process does besides; by name, so that it can be sent there.


def nothing():
    """Leave everything as it is."""


def dies():
    """Die in the third epoch, in its tenth step of 15."""
    steps, forward = [], script.CNN.forward

    def mortal(self, x):
        steps.extend([0] * self.training)
        if len(steps) == 2 * 15 + 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, x)

    script.CNN.forward = mortal


def fetches():
    """Read data that only the first process can make, slowly."""

    def read(name, split, folder):
        if os.environ["RANK"] == "0" and not Path("fetched").exists():
            time.sleep(1)
            Path("fetched").touch()
        if not Path("fetched").exists():
            Path("early").touch()
        labels = torch.arange(120) % 10
        return torch.zeros(120, 1, 28, 28), labels

    script.torchvision_digits = read


def keeps():
    """Keep a copy of the weights after each epoch; draw in one alone."""
    evaluate, rank = script.evaluate, os.environ["RANK"]

    def keep(model, *data):
        bare = getattr(model, "module", model)
        torch.save(bare.state_dict(), f"{rank}.pt")
        return evaluate(model, *data)

    script.evaluate = keep
    if rank != "0":
        script.save_figure = None


def process(folder, place, deed, flags):
    """Run the script as one process of a team."""
    os.chdir(folder)
    os.environ.update(place)
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{place['RANK']}.{name}", new)
        os.dup2(file, number)
    # Whoever hangs says where, and ends before it is killed.
    faulthandler.dump_traceback_later(100, exit=True, file=2)
    sys.argv = ["start_optimizer.py", *flags]
    sys.modules["__main__"].__file__ = script.__file__  # else: a notebook
    deed()
    script.main()


@pytest.fixture(scope="module")
def context():
    """Return a starter of processes that has imported torch once for all."""
    context = multiprocessing.get_context("forkserver")
    names = ["test_distributed", "start_optimizer", "torch._dynamo"]
    context.set_forkserver_preload(names)
    return context


@pytest.fixture
def team(context, tmp_path):
    """Return a starter of two processes; it returns what became of them."""

    def start(*flags, deeds=(nothing, nothing), machines=1, folder=tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])  # a free one
        processes = []
        for rank, deed in enumerate(deeds):
            there = place(rank, machines) | {"MASTER_PORT": port}
            arguments = folder, there, deed, flags
            processes.append(context.Process(target=process, args=arguments))
            processes[-1].start()
        for one in processes:
            one.join(120)
            one.kill()  # nothing, where it has ended
        texts = [
            [(folder / f"{rank}.{name}").read_text() for name in ("out", "err")]
            for rank in (0, 1)
        ]
        codes = [one.exitcode for one in processes]
        return list(zip(codes, *zip(*texts, strict=True), strict=True))

    return start


def flat(value, name="") -> dict:
    """Return every number and tensor in a checkpoint under a name."""
    if not isinstance(value, dict | list | tuple):
        return {name: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    parts = [flat(inner, f"{name}.{key}") for key, inner in pairs]
    return {key: inner for part in parts for key, inner in part.items()}


def load(path: Path) -> dict:
    """Return the whole checkpoint, flat."""
    return flat(torch.load(path, weights_only=True))


def differing(ours: dict, theirs: dict) -> list[str]:
    """Return the names under which two checkpoints differ in a single bit."""
    assert ours.keys() == theirs.keys()
    equal = {True: torch.equal, False: lambda a, b: a == b}
    return [
        name
        for name, value in ours.items()
        if not equal[torch.is_tensor(value)](value, theirs[name])
    ]


# The section.


def test_the_section_in_two_processes(capfd):
    script.processes_average_their_gradients(processes=2)
    assert "processes: 2" in capfd.readouterr().out


# The run.


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory):
    """Return folder and outcome of a run that torchrun really started."""
    folder = tmp_path_factory.mktemp("torchrun")
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += ["--nproc-per-node", "2", str(ROOT / "start_optimizer.py"), *RUN]
    done = subprocess.run(
        [*command, "--checkpoint", "run.pt"],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return folder, done.returncode, done.stdout, done.stderr


def test_one_process_prints_draws_and_saves(torchrun):
    folder, status, output, errors = torchrun
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0].startswith("processes: 2, each with 32 images")
    announced = [line for line in lines if line.startswith("--- ")]
    assert announced == ["--- train_validate_test"]
    assert sum(line.startswith("test accuracy") for line in lines) == 1
    assert all(line.isascii() and len(line) <= 80 for line in lines)
    assert {path.name for path in folder.iterdir()} == {"run.pt", "figures"}
    names = [path.name for path in (folder / "figures").iterdir()]
    assert names == ["optimizer_report.png"]


def test_as_accurate_as_one_process(torchrun, command_line):
    flags = (*TRAIN, "--epochs", "3", "--batch-size", "64")
    accuracies = [
        float(re.search(r"test accuracy (.*)%", output)[1])
        for output in (torchrun[2], command_line("start_optimizer", *flags)[1])
    ]
    # Batch norm sees halves, so the runs are alike, not the same: of 300
    # images 9 may be read in another way.
    assert abs(accuracies[0] - accuracies[1]) <= 3 and min(accuracies) > 80


def test_two_processes_follow_one_with_the_double_batch(
    team, command_line, tmp_path
):
    flags = ("--tiny", "--device", "cpu", "--model", "mlp", "--epochs", "1")
    flags += ("--optimizer", "sgd", "--lr", "0.02", "--checkpoint", "run.pt")
    (status, _, errors), _ = team(*flags, "--batch-size", "32")
    assert (status, errors) == (0, "")
    together = load(tmp_path / "run.pt")
    flags += ("--only", "train_validate_test", "--batch-size", "64")
    assert command_line("start_optimizer", *flags)[0] == 0
    alone = load(Path("run.pt"))
    # The same augmentation too; only the sums are rounded elsewhere.
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        if isinstance(value, float | torch.Tensor):
            pair = torch.as_tensor(together[name]), torch.as_tensor(value)
            torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-5, msg=name)
        else:
            assert together[name] == value, name


@pytest.mark.parametrize("deeds", [(nothing, dies), (dies, dies)])
def test_killed_and_resumed_bit_for_bit(deeds, team, torchrun, tmp_path):
    first, second = team(*RUN, "--checkpoint", "run.pt", deeds=deeds)
    assert second[0] == -signal.SIGKILL
    if nothing in deeds:
        status, _, errors = first
        assert status == 1 and errors == (
            "process 0 lost another one and ends; "
            "--checkpoint run.pt --resume goes on\n"
        )
    # Now as if each had a machine of its own.
    flags = (*RUN, "--checkpoint", "run.pt", "--resume")
    outcomes = team(*flags, deeds=(keeps, keeps), machines=2)
    (status, output, errors), silent = outcomes
    assert (status, errors, silent) == (0, "", (0, "", ""))
    assert "resumed after epoch 2" in output
    undisturbed = load(torchrun[0] / "run.pt")
    assert differing(undisturbed, load(tmp_path / "run.pt")) == []
    # Batch norm too, which sees another share in each.
    weights = load(tmp_path / "0.pt"), load(tmp_path / "1.pt")
    assert differing(*weights) == []


def test_one_process_fetches_for_all(team, tmp_path):
    outcomes = team(
        *("--tiny", "--device", "cpu", "--data", "mnist", "--model", "mlp"),
        deeds=(fetches, fetches),
    )
    assert [status for status, _, _ in outcomes] == [0, 0], outcomes
    assert not (tmp_path / "early").exists()


# Bad input.


@pytest.fixture
def launched(monkeypatch, command_line):
    """Return a caller of the script as a process that torchrun started."""
    for name, value in place(1).items():
        monkeypatch.setenv(name, value)
    return command_line


def test_lessons_are_refused(launched):
    outcome = launched("start_optimizer", "--only", "zero_grad_clears")
    refused(outcome, 2, "--only", "torchrun", "train_validate_test")


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1", "mps"])
def test_a_device_for_two_is_refused(device, launched, monkeypatch):
    module = importlib.import_module("start_optimizer")
    monkeypatch.setattr(module, "pick_device", torch.device)
    outcome = launched("start_optimizer", "--device", device)
    refused(outcome, 2, "--device", "process 1", device, "--device cpu")


# One process, killed again and again.


def train_in(folder, flags):
    """Run the script in a forked process, for which torch is imported."""
    os.chdir(folder)
    sys.argv = ["start_optimizer.py", *flags]
    with open("../output", "w") as sys.stdout, open("../errors", "w") as errors:
        sys.stderr = sys.__stderr__ = errors
        script.main()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_two_hundred_kills_lose_nothing(command_line, tmp_path, *, kills=200):
    flags = (*TRAIN, "--model", "mlp", "--epochs", "6", "--checkpoint")
    flags = (*flags, "run.pt")
    status, output, _ = command_line("start_optimizer", *flags)
    results = output.splitlines()[-2:]  # test loss, test accuracy
    whole, folder = Path("run.pt").read_bytes(), tmp_path / "killed"
    assert status == 0
    Path("run.pt").unlink()
    start = time.monotonic()  # again, now that torch has all it imports late
    command_line("start_optimizer", *flags)
    seconds = time.monotonic() - start
    folder.mkdir()
    killed, half = folder / "run.pt", folder / "run.pt.partial"

    draw, fork = random.Random(0), multiprocessing.get_context("fork")
    count, finished, resumed, halves = 0, 0, 0, set()
    while count < kills or killed.exists():
        resume = ["--resume"] if killed.exists() else []
        resumed += len(resume)
        process = fork.Process(
            target=train_in, args=(folder, [*flags, *resume])
        )
        process.start()
        # Where no kill is left, the run may come to its end.
        process.join(draw.uniform(0, seconds) if count < kills else 60)
        count += process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        assert (tmp_path / "errors").read_text() == ""
        # Beside the checkpoint at most the one half that was being written.
        left = set(os.listdir(folder)) - {"run.pt", "figures"}
        assert left <= {half.name}
        if half.exists():
            halves.add(half.stat().st_mtime_ns)
        if process.exitcode == 0:
            finished += 1
            assert left == set() and killed.read_bytes() == whole
            lines = (tmp_path / "output").read_text().splitlines()
            assert lines[-2:] == results
            shutil.rmtree(folder / "figures")
            killed.unlink()
    print(f"{count} kills, {len(halves)} in the middle of a save; ", end="")
    print(f"{resumed} times resumed, {finished} runs with the same end", end="")
    print(f", {seconds:.1f} s each")
    assert finished > 10 and os.listdir(folder) == []
