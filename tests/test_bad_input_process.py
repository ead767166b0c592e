"""Whatever happens to a running script: one line, and nothing is lost."""

import importlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, SCRIPTS, cells, refused, survived

import start_optimizer as script

NAMES = [path.stem for path in SCRIPTS]
TRAIN = ("--tiny", "--device", "cpu", "--only", "train_validate_test")


@pytest.fixture
def instead(command_line, monkeypatch):
    """Return a caller of a script whose first section does something else."""

    def call(name, act):
        module = importlib.import_module(name)
        section = cells(ROOT / f"{name}.py")[0].name
        act.__name__, act.__doc__ = section, "A claim."
        monkeypatch.setattr(module, section, act)
        return section, command_line(name, "--tiny", "--only", section)

    return call


@pytest.mark.parametrize("name", NAMES)
def test_interrupt(name, instead):
    ends = []

    def act(**options):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            ends.append("files are closed")

    _, (status, _, errors) = instead(name, act)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert ends == ["files are closed"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", ["-O", "-OO"])
def test_without_assertions_nothing_is_proved(name, flag, tmp_path):
    command = [sys.executable, flag, str(ROOT / f"{name}.py"), "--tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    outcome = done.returncode, done.stdout, done.stderr
    refused(outcome, 1, "leave out -O: the assertions are the lesson")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_in_a_section_keeps_its_traceback(name, instead):
    def act(**options):
        Path("missing").read_text()

    with pytest.raises(FileNotFoundError, match="missing"):
        instead(name, act)


def start(name, *flags, folder, **options):
    """Start a script in `folder`, in a process group of its own."""
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, str(ROOT / f"{name}.py"), "--device", "cpu", *flags],
        cwd=folder,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def outcome_of(process):
    """Return the exit status, standard output and standard error."""
    output, errors = process.communicate(timeout=60)
    return process.returncode, output or "", errors


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes of Unix")
def test_real_processes(tmp_path):
    train = start(
        *("start_optimizer", *TRAIN, "--epochs", "99"),
        *("--checkpoint", "run.pt"),
        folder=tmp_path / "train",
    )
    # A reader who has read enough, as `| head -1`.
    piped = start("start_optimizer", "--list", folder=tmp_path / "piped")
    piped.stdout.close()
    for line in train.stdout:
        if line.startswith("    1 "):  # the first epoch is over
            os.killpg(train.pid, signal.SIGINT)  # as Ctrl-C at a terminal
            break
    status, _, errors = outcome_of(train)
    assert (status, errors) == (130, "\ninterrupted\n")
    assert os.listdir(tmp_path / "train") == ["run.pt"]
    piped.stdout = None
    assert outcome_of(piped) == (1, "", "")


def test_two_runs_draw_into_one_folder(tmp_path):
    only = ("--tiny", "--only", "schedules_move", "--figures", "../figures")
    runs = [
        start("start_optimizer", *only, folder=tmp_path / place)
        for place in ("one", "other")
    ]
    for process in runs:
        survived(outcome_of(process), "figure:   ../figures")
    (figure,) = os.listdir(tmp_path / "figures")
    assert figure == "optimizer_schedules.png"


def test_console_home_and_folder(tmp_path):
    name = "\u8cc7\u6599 \u593e"  # data folder, in Chinese, with a blank
    section = "schedules_move_once_an_epoch_or_once_a_batch"
    started = {}
    for encoding in ("ascii", "cp1252"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        for variable in ("HOME", "USERPROFILE"):
            environment.pop(variable, None)
        folder = tmp_path / f"{name} {encoding}"
        flags = ("--tiny", "--only", section, "--figures", name)
        started[folder] = start(
            "start_optimizer", *flags, folder=folder, env=environment
        )
    for folder, process in started.items():
        survived(outcome_of(process), "figure:   \\u8cc7\\u6599 \\u593e")
        (figure,) = (folder / name).iterdir()
        assert figure.read_bytes().startswith(b"\x89PNG")


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
