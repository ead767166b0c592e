"""What people lift from start_optimizer.py trains in a file of its own."""

import ast
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

IMPORTS = """\
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
"""
MINE = """
torch.manual_seed(0)
labels = torch.arange(600) % 3
images = torch.rand(600, 1, 28, 28)
images[labels == 0, :, :9] += 1  # bright above, in the middle, below
images[labels == 1, :, 9:18] += 1
images[labels == 2, :, 18:] += 1
model = CNN(classes=3)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, 4 * 5)
validation = images[500:550], labels[500:550]
train(
    *(model, optimizer, schedule, images[:500], labels[:500], validation),
    epochs=4,
    batch_size=100,
)
loss, accuracy, logits = evaluate(model, images[550:], labels[550:])
print(f"test accuracy {accuracy:.2%}")
"""


def lifted(script: Path, names: tuple) -> str:
    """Return the source of these classes and functions."""
    text = script.read_text()
    parts = []
    for node in ast.parse(text).body:
        if getattr(node, "name", "") in names:
            first = min([node, *node.decorator_list], key=lambda n: n.lineno)
            lines = text.splitlines()[first.lineno - 1 : node.end_lineno]
            parts.append("\n".join(lines))
    assert len(parts) == len(names)
    return "\n\n\n".join(parts)


def lines_of_code(text: str) -> int:
    """Count the lines of statements: no comments, docstrings, signatures."""
    lines = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.stmt):
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        last = node.end_lineno
        if hasattr(node, "body"):
            last = node.lineno
        lines.update(range(node.lineno, last + 1))
    return len(lines)


def test_train_evaluate_and_the_cnn_are_lifted(tmp_path):
    names = ("CNN", "evaluate", "train")
    taken = lifted(ROOT / "start_optimizer.py", names)
    assert lines_of_code(taken) <= 70
    (tmp_path / "mine.py").write_text(f"{IMPORTS}\n\n{taken}\n\n{MINE}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *epochs, last = done.stdout.splitlines()
    assert [line[:8] for line in epochs] == [
        f"epoch  {n}" for n in (1, 2, 3, 4)
    ]
    assert float(last.removeprefix("test accuracy ").rstrip("%")) > 90
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
