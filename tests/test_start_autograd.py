"""start_autograd.py: what each section returns, held against an oracle."""

import ast
import inspect
import math
import random
import re
import struct

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_table
from torch import nn

import start_autograd as script

CPU = torch.device("cpu")
close = torch.testing.assert_close


def slope(function, x, step=1e-6):
    """Return the derivative of `function` at x, a number, by differences."""
    return (function(x + step) - function(x - step)) / (2 * step)


def jacobian(function, x, step=1e-6):
    """Return the Jacobian of `function` at `x` by differences, in float64."""
    x = x.double()
    units = step * torch.eye(len(x), dtype=torch.float64)
    columns = [(function(x + u) - function(x - u)) / (2 * step) for u in units]
    return torch.stack(columns, dim=1).float()


def test_the_graph_is_the_expression():
    result = script.forward_records_a_graph(CPU)
    assert result["e"] == (2 + 1) * (1 + 1)
    by_a = slope(lambda a: (a + 1) * (1 + 1), 2.0)
    by_b = slope(lambda b: (2 + b) * (b + 1), 1.0)
    close(result["de/da"].item(), by_a)
    close(result["de/db"].item(), by_b)
    depth = [(len(x) - len(x.lstrip())) // 4 for x in result["lines"]]
    assert depth == [0, 1, 2, 2, 1, 2]
    kinds = [line.split()[0] for line in result["lines"]]
    add = ["AddBackward0", "AccumulateGrad"]
    assert kinds == ["MulBackward0", *add, "AccumulateGrad", *add]
    names = [line.split()[1] for line in result["lines"]]
    assert "".join(name.strip(",") for name in names) == "ecabdb"


def test_backward_by_hand_is_the_derivative_of_the_loss():
    gradients = script.backward_is_three_steps(CPU)
    x = torch.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0]]).double()
    y = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double()

    def loss(z):  # log(1 + e^z) - y z, the mean of four
        return ((z.exp() + 1).log() - y * z).mean()[None]

    zeros = torch.zeros(6)
    of_z = jacobian(lambda z: loss(z.view(2, 2)), zeros[:4])
    of_w = jacobian(lambda w: loss(x @ w.view(3, 2)), zeros)
    of_b = jacobian(lambda b: loss(b.expand(2, 2)), zeros[:2])
    close(gradients["z"].flatten(), of_z[0], atol=1e-6, rtol=1e-5)
    close(gradients["w"].flatten(), of_w[0], atol=1e-6, rtol=1e-5)
    close(gradients["b"].flatten(), of_b[0], atol=1e-6, rtol=1e-5)


def test_leaves_are_told_from_the_rest():
    table = script.leaves_keep_their_gradients(CPU)
    by_w = slope(lambda w: (w * 2) ** 2 / 2, 3.0)
    assert list(table.values())[:5] == [
        (True, False, None, None),
        (True, True, None, pytest.approx(by_w)),
        (False, True, "MulBackward0", None),
        (False, True, "PowBackward0", slope(lambda k: k / 2, 0.5, 0.25)),
        (True, False, None, None),
    ]
    is_leaf, requires_grad, node, grad = table["w.to(float16)"]
    assert (is_leaf, requires_grad, grad) == (False, True, None) and node


def test_gradients_add_up():
    result = script.gradients_add_up_until_cleared(CPU)
    once = slope(lambda w: w**2, 3.0)
    assert result["not cleared"][0] is None
    assert result["not cleared"][1:] == pytest.approx([once, 2 * once])
    assert result["cleared"] == pytest.approx([once])
    asked = slope(lambda w: w**2 + 5 * w, 3.0)
    assert result["grad"] == pytest.approx([asked, once])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_switches(size):
    table = script.switches_stop_the_recording(CPU, size=size)
    bytes_of_y = 4 * size
    assert table == {
        "recorded": (2 * bytes_of_y, 2 * bytes_of_y, True, True, True),
        "no_grad()": (0, 0, False, True, False),
        "inference_mode()": (0, 0, False, False, False),
        "detach()": (2 * bytes_of_y, 0, False, True, False),
        "requires_grad_(False)": (0, 0, False, True, False),
    }


def test_frozen_layers():
    # The first step of Adam has the length lr, 0.1, for every weight.
    table = script.frozen_layers_stay_put(CPU, steps=1)
    moved = {name: row[:2] for name, row in table.items()}
    close(moved["nothing"], (0.1, 0.1), rtol=1e-3, atol=0)
    close(moved["first"], (0.0, 0.1), rtol=1e-3, atol=0)
    close(moved["last"], (0.1, 0.0), rtol=1e-3, atol=0)
    x, hidden = 16 * 4 * 4, 16 * 8 * 4  # bytes
    assert [row[2] for row in table.values()] == [
        x + hidden,
        hidden,
        x + hidden,
    ]


def test_each_run_records_its_own_branch():
    table = script.each_run_records_its_own_branch(CPU)
    for x, (_, root, gradient) in table.items():
        signed = math.copysign(math.sqrt(abs(x)), x)
        assert root == pytest.approx(signed, rel=1e-5)
        expected = slope(lambda x: math.copysign(abs(x) ** 0.5, x), x)
        assert gradient == pytest.approx(expected, rel=1e-4)
    assert table[1.0][0] < table[4.0][0] < table[1e4][0]


def test_kinks():
    slopes = script.at_a_kink_torch_chooses_one_slope(CPU)
    sides = {name: row[:2] for name, row in slopes.items()}
    assert sides["relu(x) at 0"] == (0, 1)
    assert sides["|x| at 0"] == (-1, 1)
    assert sides["clamp(x, 0, 1) at 1"] == (1, 0)
    assert sides["max(x, 2 - x) at 1"] == (-1, 1)
    assert sides["round(x) at 0.5"] == (0, 2**20)
    assert math.isnan(sides["sqrt(x) at 0"][0])
    assert sides["sqrt(x) at 0"][1] == 2**10  # sqrt(h) / h
    chosen = {name: row[2] for name, row in slopes.items()}
    assert chosen["relu(x) at 0"] == chosen["|x| at 0"] == 0
    assert chosen["max(x, 2 - x) at 1"] == 0  # ties share: (1 - 1) / 2
    assert chosen["sqrt(x) at 0"] == math.inf


def test_second_backward():
    result = script.a_second_backward_needs_the_graph(CPU)
    w = torch.tensor([1.0, 2.0])
    for power, name in ((2, "sum(h)"), (4, "sum(h^2)")):
        expected = jacobian(lambda w, p=power: (w**p).sum()[None], w)[0]
        close(result[name], expected)
    close(result["sum of both"], result["sum(h)"] + result["sum(h^2)"])

    def function(w):
        return torch.stack([w[0] * w[1], w[0] ** 2, 3 * w[1]])

    close(result["jacobian"], jacobian(function, w))


def test_jacobian_products():
    result = script.backward_multiplies_by_the_jacobian(CPU)

    def function(x):
        return torch.stack([x[0] * x[1], x[0] ** 2, 3 * x[1]])

    expected = jacobian(function, torch.tensor([2.0, 5.0]))
    assert expected.shape == (3, 2)
    close(result["J"], expected)
    close(result["v^T J"], torch.tensor([1.0, 10.0, 100.0]) @ expected)
    close(result["J u"], expected @ torch.tensor([1.0, -1.0]))


def test_tall_and_wide_jacobians():
    results = script.tall_jacobians_want_forward_mode(CPU)
    torch.manual_seed(0)
    for name, result in results.items():
        rows, columns = map(int, name.split(" x "))
        assert result["reverse"][0] == rows
        assert result["forward"][0] == columns
        a, x = torch.randn(rows, columns), torch.randn(columns)
        expected = jacobian(lambda x, a=a: (a.double() @ x).tanh(), x)
        close(result["J"], expected, rtol=1e-4, atol=1e-5)


def test_derivatives_of_derivatives(tmp_path):
    x, *curves = script.a_derivative_can_be_differentiated(CPU, tmp_path)
    close(curves[0].tolist(), [math.tanh(number) for number in x.tolist()])
    # Between the points, a difference of one curve is the next one's mean.
    for curve, derivative in zip(curves[:-1], curves[1:], strict=True):
        difference = curve.diff() / x.diff()
        middle = (derivative[:-1] + derivative[1:]) / 2
        close(difference, middle, rtol=0, atol=1e-3)


def test_curvature():
    result = script.curvature_needs_no_hessian(CPU)

    def gradient(w):
        return torch.stack(
            [2 * w[1] - w[1] * w[0].sin(), 2 * w[0] + w[0].cos()]
        )

    w = torch.tensor([math.pi, 1.0])
    hessian = jacobian(gradient, w)
    close(result["gradient"], gradient(w))
    close(result["Hessian"], hessian, rtol=1e-5, atol=1e-6)
    product = hessian @ torch.tensor([3.0, -1.0])
    close(result["product"], product, rtol=1e-5, atol=1e-6)


def test_finite_differences(tmp_path):
    table = script.finite_differences_agree(tmp_path)
    theory = {  # best step, slope of rounding, slope of truncation
        "forward float64": (2.0**-26, -1, 1),
        "central float64": (2.0 ** (-52 / 3), -1, 2),
        "central float32": (2.0 ** (-23 / 3), -1, 2),
    }
    assert table.keys() == theory.keys()
    for name, (step, error, *slopes) in table.items():
        best, *expected = theory[name]
        assert best / 10 < step < best * 10
        assert slopes == pytest.approx(expected, abs=0.2)
        eps = 2.0**-23 if "float32" in name else 2.0**-52
        assert eps / step / 30 < error < eps / step * 30
    errors = [row[1] for row in table.values()]
    assert errors[1] < errors[0] < errors[2]


def test_custom_function():
    results = script.a_custom_function_brings_its_own_backward()
    assert results["recorded"][0] == math.inf
    assert math.isnan(results["recorded"][1])
    assert results["formula"] == (100, 1)
    assert results["checks"] == (True, True)
    square = slope(lambda x: math.log(1 + math.exp(x)) ** 2 / 2, 0.0)
    wrong, right = results["gradients"]
    assert right == pytest.approx(square) and wrong == 0.5

    x = torch.linspace(-50, 50, 101).double().requires_grad_()
    y = script.Softplus.apply(x)
    close(y, F.softplus(x, threshold=1e9))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    close(gradient, x.detach().sigmoid())


def test_hooks():
    result = script.hooks_read_and_change_gradients(CPU)
    assert result.pop("seen") == [2 * w for w in (1, 2, 3)]
    assert result.pop("stepped") == [w - 2 * 2 * w / 4 for w in (1, 2, 3)]
    hooks = {
        "reads": lambda g: g,
        "halves": lambda g: g / 2,
        "clips to 5": lambda g: min(g, 5),
        "turns around": lambda g: -g,
    }
    assert result == {
        name: [2 * hook(2 * w) for w in (1, 2, 3)]
        for name, hook in hooks.items()
    }


def test_in_place_changes():
    table = script.in_place_changes_are_counted(CPU)
    result, neither = ("its result", 1, False), ("neither", 1, True)
    assert table == {
        "exp(w)": result,
        "tanh(w)": result,
        "sqrt(w)": result,
        "sin(w)": ("its input", 1, True),
        "2 * w": neither,
    }


def test_anomaly_mode(capsys):
    section = script.anomaly_mode_names_the_culprit
    result = section(CPU)
    assert math.isnan(result["silent"])
    assert result["operation"] == "SqrtBackward0"
    assert result["function"] == section.__name__
    line = int(capsys.readouterr().out.partition("line ")[2].split()[0])
    lines, start = inspect.getsourcelines(section)
    assert "0 * x.sqrt()" in lines[line - start]
    assert not torch.is_anomaly_enabled()


def random_expression(choose, leaves):
    """Return a function of `leaves` that builds one random expression."""
    plan = [
        (choose.choice("+-*/^et"), choose.random(), choose.random())
        for _ in range(12)
    ]

    def build(values):
        values = list(values)
        for kind, first, second in plan:
            x = values[int(first * len(values))]
            y = values[int(second * len(values))]
            values.append(
                {
                    "+": lambda x, y: x + y + 1,
                    "-": lambda x, y: 2 * x - y - (1 - x),
                    "*": lambda x, y: x * y * 0.5,
                    "/": lambda x, y: x / (y * y + 2) + 1 / (3 + x**2),
                    "^": lambda x, y: x**3,
                    "e": lambda x, y: (x * y).tanh().exp(),
                    "t": lambda x, y: x.tanh(),
                }[kind](x, y).tanh()
            )
        return sum(values)

    return build


@pytest.mark.parametrize("seed", range(20))
def test_engine_agrees_with_torch_on_random_expressions(seed):
    choose = random.Random(seed)
    numbers = [choose.uniform(-2, 2) for _ in range(3)]
    build = random_expression(choose, numbers)
    ours = [script.Scalar(number) for number in numbers]
    theirs = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    result, expected = build(ours), build(theirs.unbind())
    assert result.value == pytest.approx(expected.item(), rel=1e-12)
    result.backward()
    expected.backward()
    close([x.grad for x in ours], theirs.grad.tolist(), rtol=1e-9, atol=1e-12)


def test_engine_has_forty_lines_of_code():
    (tree,) = ast.parse(inspect.getsource(script.Scalar)).body
    for node in ast.walk(tree):
        documented = isinstance(node, ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            del node.body[0]
    lines = {node.lineno for node in ast.walk(tree) if hasattr(node, "lineno")}
    assert len(lines) == 40


def test_engine_accumulates_at_leaves_alone():
    x = script.Scalar(3.0)
    h = x * x
    y = h * h  # x^4
    y.backward()
    assert (x.grad, h.grad, y.grad) == (4 * 3.0**3, 0, 0)
    y.backward()
    assert x.grad == 2 * 4 * 3.0**3


def test_engine_goes_as_deep_as_the_graph():
    x = script.Scalar(1.0)
    total = sum(x for _ in range(5000))  # a chain of 5000 nodes
    total.backward()
    assert x.grad == 5000


def test_engine_visits_every_node_once():
    class Parents(list):
        visits = 0

        def __iter__(self):
            Parents.visits += 1
            return super().__iter__()

    # The numbers of Fibonacci: as many paths to x, but 16 nodes.
    x = script.Scalar(1.0)
    nodes = [x, x + 0]
    for _ in range(14):
        nodes.append(nodes[-1] + nodes[-2])
    for node in nodes:
        node.parents = Parents(node.parents)
    nodes[-1].backward()
    assert x.grad == nodes[-1].value == 987
    assert Parents.visits == len(nodes) == 16


def test_scalar_network_has_the_gradient_of_finite_differences():
    choose = random.Random(0)
    layers = [
        [[choose.uniform(-1, 1) for _ in range(3)] for _ in range(4)],
        [[choose.uniform(-1, 1) for _ in range(5)]],
    ]
    network = script.ScalarNetwork(layers)
    assert len(network.weights) == 4 * 3 + 5
    network([0.3, -0.7])[0].backward()
    for w in network.weights:
        start = w.value
        values = []
        for w.value in (start + 1e-6, start - 1e-6):
            values.append(network([0.3, -0.7])[0].value)
        w.value = start
        expected = (values[0] - values[1]) / 2e-6
        assert w.grad == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_engine_trains_as_torch_does():
    result = script.forty_lines_are_an_autograd_engine(steps=60, lr=0.3)
    assert len(result["by us"]) == 13
    close(result["by us"], result["by torch"], rtol=1e-9, atol=1e-12)
    close(result["ours"], result["torch"], rtol=1e-9, atol=1e-12)
    assert len(result["ours"]) == 60 and result["ours"][-1] < 0.5

    # The same training once more, with gradients from torch.func alone.
    torch.manual_seed(0)
    layers = nn.Linear(2, 3).double(), nn.Linear(3, 1).double()
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh())
    weights = {k: p.detach().clone() for k, p in model.named_parameters()}
    x = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]).double()
    y = torch.tensor([[-1.0], [1], [1], [-1]]).double()

    def loss(weights):
        output = torch.func.functional_call(model, weights, (x,))
        return F.mse_loss(output, y)

    for _ in range(60):
        gradients = torch.func.grad(loss)(weights)
        weights = {k: w - 0.3 * gradients[k] for k, w in weights.items()}
    expected = [
        torch.cat([weights[f"{i}.weight"], weights[f"{i}.bias"][:, None]], 1)
        for i in (0, 2)
    ]
    expected = torch.cat([matrix.flatten() for matrix in expected])
    close(result["by us"], expected.tolist(), rtol=1e-9, atol=1e-12)


def test_per_sample_gradients():
    result = script.vmap_gives_each_sample_its_gradient(CPU)
    points = [(-2, -4), (-1, -2), (1, 2), (2, 4), (3, 6), (1, 12)]
    expected = [
        slope(lambda w, x=x, y=y: (w * x - y) ** 2, 1.0) for x, y in points
    ]
    close(result["vmap"].tolist(), expected, rtol=1e-5, atol=1e-5)
    close(result["loop"], expected, rtol=1e-5, atol=1e-5)
    mean = sum(expected) / 6
    close(result["grad"].item(), mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("blocks", "layers"), [(1, 1), (3, 2), (2, 5)])
def test_checkpoints(blocks, layers):
    results = script.checkpoints_trade_time_for_memory(
        CPU, blocks=blocks, layers=layers, size=16
    )
    plain, checked = results["plain"], results["checkpointed"]
    assert plain["bytes"] == (blocks * layers + 1) * 16 * 16 * 4
    assert checked["bytes"] == blocks * 16 * 16 * 4
    assert (plain["runs"], checked["runs"]) == (blocks, 2 * blocks)

    torch.manual_seed(0)
    pairs = [(nn.Linear(16, 16), nn.Tanh()) for _ in range(blocks * layers)]
    model = nn.Sequential(*[module for pair in pairs for module in pair])
    x = torch.randn(16, 16)

    def loss(weights):
        return torch.func.functional_call(model, weights, (x,)).sum()

    weights = {k: p.detach() for k, p in model.named_parameters()}
    expected = list(torch.func.grad(loss)(weights).values())
    close(plain["gradients"], expected)
    close(checked["gradients"], expected)


def half(number):
    """Return `number` rounded to float16 by the standard library."""
    try:
        return struct.unpack("<e", struct.pack("<e", number))[0]
    except OverflowError:
        return math.inf


def test_small_gradients():
    gradients = script.small_gradients_vanish_in_float16(CPU)
    bits = struct.pack("<f", 1e-8)
    # Rounded to 16 of its 32 bits; 1e-8 rounds up.
    rounded = int.from_bytes(bits, "little") + 0x8000 & 0xFFFF0000
    bfloat16 = struct.unpack("<f", rounded.to_bytes(4, "little"))[0]
    for (dtype, scale), gradient in gradients.items():
        expected = {
            torch.float32: struct.unpack("<f", bits)[0],
            torch.bfloat16: bfloat16,
            torch.float16: half(1e-8 * scale) / scale,
        }[dtype]
        assert gradient == pytest.approx(expected, rel=1e-6)
    assert half(1e-8) == 0 and len(gradients) == 5


def test_scaler():
    result = script.a_scaler_finds_its_scale()
    powers = [44]
    while half(1e-8 * 2.0 ** powers[-1]) == math.inf:
        powers.append(powers[-1] - 1)
    assert result["by hand"] == [2.0**power for power in powers]
    assert result["by torch"] == result["by hand"]
    assert result["w"] == pytest.approx([0.9, 0.9], rel=1e-3)


def test_autocast():
    section = script.autocast_keeps_gradients_in_float32
    plain = section(CPU, torch.bfloat16, amp=False)
    mixed = section(CPU, torch.bfloat16, amp=True)
    scaled = section(CPU, torch.float16, amp=True)
    for result in (plain, mixed, scaled):
        for name in ("weight", "gradient of a weight"):
            assert result[name] == torch.float32
        assert result["losses"][-1] < 0.01
    assert mixed["output of a layer"] == torch.bfloat16
    assert scaled["output of a layer"] == torch.float16
    # bfloat16 has 8 bits and float16 has 11.
    assert 2.0**-11 < plain["error"] < 2.0**-5
    assert 2.0**-14 < scaled["error"] < 2.0**-8
    # The flag is used: the trainings differ, but not by much.
    assert plain["losses"] != mixed["losses"] != scaled["losses"]
    close(plain["losses"][0], mixed["losses"][0], rtol=0.02, atol=0)


def test_amp_reaches_the_section(tmp_path):
    for flag, expected in (("--amp", True), ("--no-amp", False)):
        table = tiny_table("start_autograd", tmp_path, flag)
        options = {f.__name__: options for f, options in table.items()}
        options = options["autocast_keeps_gradients_in_float32"]
        assert options["amp"] is expected
        assert options["half"] == torch.bfloat16


def test_mistakes_are_wrong_and_right():
    silent = {
        **script.mistakes_that_cut_the_graph(CPU),
        **script.mistakes_in_changing_weights(CPU),
        **script.mistakes_in_keeping_tensors(CPU),
        **script.mistakes_in_collecting_gradients(CPU),
    }
    expected = {
        "loss.requires_grad_(): weights learning": (0, 2),
        "torch.tensor([a, b]): gradient of a": (
            slope(lambda a: a + 2, 1.0),
            slope(lambda a: a + a**2 + 1, 1.0),
        ),
        "round(w): gradient of w": (
            slope(lambda w: (round(w) - 5) ** 2, 0.3),
            slope(lambda w: (w - 5) ** 2, round(0.3)),
        ),
        "h.data.zero_(): gradient of exp at 2": (0, slope(math.exp, 2.0)),
        "frozen, but .grad kept: w after a step": (1 - 0.1 * 2, 1),
        "before = w.detach(): its value later": (1, 0),
        "w.detach()[:1].zero_(): sum of w": (2, 3),
        "total += loss, 5 times: nodes held": (5 * 3 + 1, 0),
        "not cleared: gradient of w^2 in round 3": (
            3 * slope(lambda w: w**2, 1.0),
            slope(lambda w: w**2, 1.0),
        ),
        "where(x > 0, sqrt(x), 0): slope at 0": (math.nan, 0),
    }
    assert silent.keys() == expected.keys()
    for name, numbers in expected.items():
        assert silent[name] == pytest.approx(numbers, nan_ok=True), name


ERRORS = {
    "mistakes_that_cut_the_graph": 2,
    "mistakes_in_changing_weights": 4,
    "mistakes_in_keeping_tensors": 1,
    "mistakes_in_collecting_gradients": 4,
}


@pytest.mark.parametrize("name", ERRORS)
def test_mistakes_print_what_torch_says(name, capsys):
    getattr(script, name)(CPU)
    lines = capsys.readouterr().out.splitlines()
    says = [x for x in lines if re.match(r"\w+(Error|Warning): ", x)]
    assert len(says) == ERRORS[name]
    assert sum("   right " in line for line in lines) >= 2
