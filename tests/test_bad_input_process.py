"""Whatever happens to a running script: one line, and nothing is lost."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

COMMAND = [sys.executable, str(ROOT / "start_optimizer.py")]
TRAIN = ("--tiny", "--device", "cpu", "--only", "train_validate_test")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
def test_two_hundred_kills_lose_nothing(tmp_path, *, kills=200):
    # The clock starts after the imports, so kills meet drawing, epochs, saves.
    command = [*COMMAND, *TRAIN, "--model", "mlp", "--epochs", "6"]
    command += ["--checkpoint", "run.pt"]
    folders = tmp_path / "whole", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
    whole, killed = (folder / "run.pt" for folder in folders)
    half = folders[1] / "run.pt.partial"
    done = subprocess.run(
        command, cwd=folders[0], capture_output=True, check=True
    )
    results = done.stdout.splitlines()[-2:]  # test loss, test accuracy

    draw = random.Random(0)
    count, finished, halves = 0, 0, set()
    while count < kills or killed.exists():
        # Where no kill is left, the run may come to its end.
        flags = ["--resume"] if killed.exists() else []
        with subprocess.Popen(
            [*command, *flags],
            cwd=folders[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            for line in process.stdout:  # up to the name of the section
                if line.startswith(b"--- "):
                    break
            try:
                wait = draw.uniform(0, 3) if count < kills else 60
                output, errors = process.communicate(timeout=wait)
            except subprocess.TimeoutExpired:
                process.kill()
                output, errors = process.communicate()
                count += 1
        assert errors == b""
        assert process.returncode in (0, -signal.SIGKILL)
        # Beside the checkpoint at most the one half that was being written.
        left = set(os.listdir(folders[1])) - {"run.pt", "figures"}
        assert left <= {half.name}
        if half.exists():
            halves.add(half.stat().st_mtime_ns)
        if process.returncode == 0:
            finished += 1
            assert left == set()
            assert output.splitlines()[-2:] == results
            assert killed.read_bytes() == whole.read_bytes()
            shutil.rmtree(folders[1] / "figures")
            killed.unlink()
    print(f"{count} kills, {len(halves)} in a save; {finished} runs whole")
    assert os.listdir(folders[1]) == [] and Path(whole).exists()
