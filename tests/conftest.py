"""What several test files share: the scripts, and their tables of sections."""

import argparse
import ast
import collections
import contextlib
import functools
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

# Tiny data gains nothing from a second thread, and a busy machine makes each
# small product wait for it. Set before torch reads it, and for subprocesses.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["COLUMNS"] = "80"  # argparse breaks its lines there

import matplotlib
import matplotlib.pyplot as plt
import numpy
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("start_*.py"))
sys.path.insert(0, str(ROOT))  # so that pytest may be started anywhere
matplotlib.use("agg")

# A cell that is pasted into a bare namespace cannot be found by a worker that
# imports it, as under spawn; under fork it is there already.
if "fork" in multiprocessing.get_all_start_methods():
    multiprocessing.set_start_method("fork", force=True)

# Started in the background, Python ignores Ctrl-C, and so would its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

NO_NETWORK = """
import socket

connect = socket.socket.connect

def refuse(*args):
    raise AssertionError("a script must not use the network")

def connect_inside(self, address):
    # Processes of one machine talk through such sockets: workers do.
    if self.family != getattr(socket, "AF_UNIX", None):
        refuse()
    return connect(self, address)

socket.socket.connect = connect_inside
socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


class Cell(NamedTuple):
    """One cell that holds a section: its classes and functions, then it."""

    name: str
    chapter: str
    claim: str
    source: str
    line: int  # of the script, where the source begins
    function: ast.FunctionDef
    definitions: list


def chapters_in_main(tree: ast.Module) -> dict[str, list[str]]:
    """Return chapter -> names of its sections, as `main` has them."""
    main = next(n for n in tree.body if getattr(n, "name", "") == "main")
    for node in ast.walk(main):
        if (
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "chapters"
        ):
            titles = [title.value for title in node.value.keys]
            tables = [[s.id for s in table.keys] for table in node.value.values]
            return dict(zip(titles, tables, strict=True))
    raise AssertionError("main has no table named chapters")


@functools.cache
def cells(script: Path) -> list[Cell]:
    """Return the cells of `script` that hold a section, in order."""
    text = script.read_text(encoding="ascii")
    chapter_of = {}
    for chapter, names in chapters_in_main(ast.parse(text)).items():
        chapter_of |= dict.fromkeys(names, chapter)
    found, line = [], 1
    for source in re.split(r"^# %%.*\n", text, flags=re.MULTILINE):
        body = ast.parse(source).body
        name = getattr(body[-1], "name", "") if body else ""
        if name in chapter_of:
            claim = ast.get_docstring(body[-1]).splitlines()[0]
            at = chapter_of[name], claim, source, line
            found.append(Cell(name, *at, body[-1], body))
        line += source.count("\n") + 1  # and the line that begins a cell
    return found


def tiny_table(name: str, folder: Path, *flags: str) -> dict:
    """Return section -> options, as `main` hands them to `run`, `--tiny`."""
    module = importlib.import_module(name)
    table = {}

    def keep(chapters: dict, args: argparse.Namespace) -> None:
        for sections in chapters.values():
            table.update(sections)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run", keep)
        command = [name, "--tiny", "--device", "cpu", "--figures", str(folder)]
        patch.setattr(sys, "argv", [*command, *flags])
        module.main()
    return table


@pytest.fixture(scope="session")
def options_of(tmp_path_factory):
    """Return a reader of section name -> options of a script, `--tiny`.

    The options are made once for each script; figures go to a folder that
    pytest removes.
    """
    tables = {}

    def read(script: Path) -> dict[str, dict]:
        if script not in tables:
            folder = tmp_path_factory.mktemp(script.stem)
            table = tiny_table(script.stem, folder)
            tables[script] = {f.__name__: o for f, o in table.items()}
        return tables[script]

    return read


def start(path, folder, *flags):
    """Start a copy of the script in `folder`, warnings as errors, offline."""
    folder.mkdir(exist_ok=True)
    copy = shutil.copy(path, folder)
    blocked = folder / "blocked"
    blocked.mkdir(exist_ok=True)
    (blocked / "sitecustomize.py").write_text(NO_NETWORK)
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    environment.pop("MPLBACKEND", None)
    return subprocess.Popen(
        [sys.executable, "-W", "error", copy, *flags],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Return the exit status, standard output and standard error."""
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def run_one_by_one(commands):
    """Run scripts to their end, and keep each outcome in its folder."""
    for path, folder, flags in commands:
        outcome = finish(start(path, folder, *flags))
        half_written = folder / "outcome.half"
        half_written.write_text(json.dumps(outcome))
        half_written.rename(folder / "outcome.json")


def pytest_configure(config):
    """Know the tests that take minutes, and leave them out unless asked."""
    config.addinivalue_line("markers", "slow: takes minutes; -m slow runs it")
    if not config.option.markexpr:
        config.option.markexpr = "not slow"


OUTCOMES = collections.Counter()  # of all bad inputs that were tried


def refused(outcome, status, *words):
    """Check the status, and for one line on standard error with the words.

    With status 2 it is argparse that answers: its usage comes first.
    """
    code, _, errors = outcome
    *usage, line = errors.splitlines()
    assert code == status, outcome
    assert bool(usage) == (status == 2), outcome
    assert not usage or usage[0].startswith("usage: ")
    for word in words:
        assert word in line, line
    OUTCOMES[f"ended with status {status}"] += 1


def survived(outcome, *words):
    """Check for a good end, with all the words on standard output."""
    status, output, errors = outcome
    assert (status, errors) == (0, ""), outcome
    for word in words:
        assert word in output, output
    OUTCOMES["survived"] += 1


def pytest_terminal_summary(terminalreporter):
    """Say how many bad inputs there were, and how they ended."""
    if OUTCOMES:
        ends = (f"{count} {end}" for end, count in sorted(OUTCOMES.items()))
        terminalreporter.write_line(
            f"{OUTCOMES.total()} bad inputs: {', '.join(ends)}"
        )


def pytest_generate_tests(metafunc):
    """Give every test that asks for `script` each script in turn."""
    if "script" in metafunc.fixturenames:
        metafunc.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@contextlib.contextmanager
def state_kept():
    """Leave random numbers, threads, defaults, and no figure to the next."""
    python, numbers = random.getstate(), torch.get_rng_state()
    array, threads = numpy.random.get_state(), torch.get_num_threads()
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    yield
    random.setstate(python)
    torch.set_rng_state(numbers)
    numpy.random.set_state(array)
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_grad_enabled(gradients)
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    plt.close("all")


@pytest.fixture(autouse=True)
def fresh_state():
    """Keep the state of libraries in every test."""
    with state_kept():
        yield


def attempt(check, row) -> str:
    """Return "", or the traceback with which `check(**row)` fails."""
    with state_kept():
        try:
            check(**row)
        except (Exception, SystemExit):
            return traceback.format_exc()
    return ""


def send_attempts(check, rows, pipe) -> None:
    """Try all rows, in a process of its own."""
    for row in rows:
        pipe.send(attempt(check, row))


@contextlib.contextmanager
def every_second_beside(request, test: str, check):
    """Yield a function that tries a row of `test` and returns what is wrong.

    Every second row is tried in a process beside this one, in the same order:
    there are hundreds, and each needs one core.
    """
    rows = [
        item.callspec.params
        for item in request.session.items
        if item.originalname == test
    ]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = None
    if multiprocessing.get_start_method() == "fork":
        arguments = check, rows[1::2], sender
        process = multiprocessing.Process(target=send_attempts, args=arguments)
        process.start()
    sender.close()  # here, so that the end of the process is noticed

    def wrong(**row) -> str:
        if process and rows.index(row) % 2:
            return receiver.recv()
        return attempt(check, row)

    yield wrong
    if process:
        process.terminate()
        process.join()


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory):
    """Return a reader of whole runs, tiny, with and without --amp.

    It takes a script and a device, and returns flag -> folder, exit status,
    standard output and standard error. All of them run in one other process
    from the first test on: half of the tests need one core alone.
    """
    commands, places = [], {}
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices:
        for path in SCRIPTS:
            for flag in ("", "--amp"):
                folder = tmp_path_factory.mktemp("empty")
                flags = ["--tiny", "--device", device, *flag.split()]
                commands.append((path, folder, flags))
                places.setdefault((path, device), {})[flag] = folder
    runner = multiprocessing.Process(target=run_one_by_one, args=(commands,))
    runner.start()

    def outcomes(path: Path, device: str) -> dict[str, tuple]:
        found = {}
        for flag, folder in places[path, device].items():
            file = folder / "outcome.json"
            while not file.exists():
                assert file.exists() or runner.is_alive(), folder
                time.sleep(0.1)
            found[flag] = folder, *json.loads(file.read_text())
        return found

    yield outcomes
    runner.terminate()
    runner.join()


@pytest.fixture(scope="session", autouse=True)
def start_early(request):
    """Start the whole runs before the first test, if any test asks for them."""
    if any("tiny_runs" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("tiny_runs")


@pytest.fixture
def command_line(monkeypatch, capsys, tmp_path):
    """Return a caller of a script's `main` with a command line.

    It runs in an empty folder, in this process, and returns what a shell
    would see: exit status, standard output, standard error.
    """
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)

    def call(name: str, *flags: str, prog: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [prog or f"{name}.py", *flags])
        monkeypatch.setattr(sys, "__stderr__", sys.stderr)  # what capsys reads
        status, message = 0, ""
        try:
            importlib.import_module(name).main()
        except SystemExit as error:
            status = error.code or 0
            if isinstance(status, str):  # Python prints it, status 1
                status, message = 1, f"{status}\n"
        output, errors = capsys.readouterr()
        return status, output, errors + message

    return call
