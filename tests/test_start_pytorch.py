"""start_Pytorch.py: every value that a section returns, against an oracle."""

import math

import numpy as np
import pytest
import torch
from conftest import ROOT, cells
from PIL import Image

import start_Pytorch as script

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute in one thread: on work as small as this two only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# What the tour must be found by, in `--list`.
TOPICS = [
    ["Tensors", "NumPy"],
    ["view"],
    ["Broadcasting"],
    ["Computation graph"],
    ["Moving tensors between CPU and GPU"],
    ["Automatic differentiation"],
    ["Gradient descent"],
    ["Linear regression"],
    ["Stochastic descent"],
    ["Common modules"],
    ["Common functions"],
    ["Common losses"],
    ["sin(pi x) cos(6 pi x^2)"],
    ["Learning-rate schedulers"],
    ["Convolution"],
    ["Conv2d", "3 to 16 channels"],
    ["Dataset", "DataLoader"],
    ["Mixed precision training"],
    ["Random numbers"],
    ["Accelerators", "synchronize"],
    ["Mistakes"],
]


@pytest.mark.parametrize("words", TOPICS, ids=" ".join)
def test_list_shows_every_topic(words, command_line):
    status, output, _ = command_line("start_Pytorch", "--list")
    assert status == 0
    claims = [line for line in output.splitlines() if line.startswith("    ")]
    assert any(all(word in claim for word in words) for claim in claims)


def test_the_mistakes_stand_last():
    names = [cell.name for cell in cells(ROOT / "start_Pytorch.py")]
    kinds = [name.startswith("mistakes_") for name in names]
    assert kinds == sorted(kinds) and sum(kinds) == 4


# Tensors.


def test_numpy_gives_the_numbers():
    pairs = script.tensors_compute_what_numpy_computes()
    x = np.array([[1.0, 2.0, 2.0], [4.0, 4.0, 2.0]])
    expected = {
        "arange(0, 6, 2)": [0, 2, 4],
        "2 * x + 1": x + x + 1,
        "x @ x.T": [[9, 16], [16, 36]],
        "norm of all": math.sqrt(45),
        "norm of rows": [3, 6],
        "mean, dim 0": [2.5, 3, 2],
        "mean, dim 1": [5 / 3, 10 / 3],
    }
    assert pairs.keys() == expected.keys()
    for name, (by_numpy, by_torch) in pairs.items():
        assert np.allclose(by_numpy, expected[name]), name
        assert np.allclose(by_torch.numpy(), expected[name]), name


def test_sharing_is_what_the_addresses_say():
    seen = script.numpy_memory_is_shared_or_copied()
    array, tensor = np.zeros(3, dtype=np.float32), torch.zeros(3)
    names = {"array": array, "tensor": tensor, "torch": torch, "np": np}
    for call, shared in seen.items():
        call = call.replace("int32", "torch.int32")
        result = eval(call, names)
        if isinstance(result, torch.Tensor):
            result = result.numpy()
        either = np.shares_memory(result, array) or np.shares_memory(
            result, tensor.numpy()
        )
        assert shared == either, call


def test_promotion_is_what_torch_publishes():
    types = script.types_are_promoted_by_kind_first()
    names = {
        "uint8": torch.uint8,
        "int64": torch.int64,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "float32": torch.float32,
    }
    for expression, dtype in types.items():
        left, sign, right = expression.split()
        if sign == "+" and right in names:
            rule = torch.promote_types(names[left], names[right])
        elif right in names:
            rule = torch.float32 if sign == "/" else torch.int64
        else:
            operand = torch.ones(1, dtype=names[left])
            rule = torch.result_type(operand, float(right))
            rule = torch.bool if sign == ">" else rule
        assert dtype == rule, expression


def test_views_have_numpys_shapes_and_strides():
    table = script.view_cuts_anew_and_permute_turns()
    array = np.zeros((10_000, 3, 28, 28), dtype=np.uint8)  # one byte each
    for name, other in {
        "images": array,
        "view(10_000, -1)": array.reshape(10_000, -1),
        "view(-1, 784)": array.reshape(-1, 784),
        "permute(0, 2, 3, 1)": array.transpose(0, 2, 3, 1),
    }.items():
        assert table[name] == (other.shape, other.strides)


def test_indexing_shares_where_numpy_shares():
    shared = script.slices_share_and_lists_copy()
    grid = np.arange(12).reshape(3, 4)
    for index, seen in shared.items():
        part = eval(index.replace("clone", "copy"), {"grid": grid})
        assert np.shares_memory(part, grid) == seen, index


def test_broadcasting_equals_numpys():
    sums = script.broadcasting_is_a_loop_that_nobody_writes()
    x = np.arange(20).reshape(5, 1, 4, 1)
    y = np.array([100, 200, 300]).reshape(3, 1, 1)
    for tensor in sums.values():
        assert tensor.shape == (5, 3, 4, 1)
        assert np.array_equal(tensor.numpy(), x + y)


def test_einsum_equals_numpys():
    results = script.einsum_sums_the_letters_that_vanish()
    x, y = np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)
    inputs = {
        "ij,jk->ik": (x, y),
        "bij,jk->bik": (np.stack([x, x + 1]), y),
        "ij->ji": (x,),
        "ii->": (y[:, :3],),
        "i,j->ij": (x[0], y[0]),
    }
    assert results.keys() == inputs.keys()
    for formula, arrays in inputs.items():
        expected = np.einsum(formula, *arrays)
        assert np.array_equal(results[formula].numpy(), expected), formula


def test_selections_by_hand():
    answers = script.selections_replace_loops(CPU)
    by_hand = [
        [1, 3, 3],
        [5, 3, 2],
        [True, True, False],
        [0, 5, 2, 0],
        5 + 2,
    ]
    assert [answer.tolist() for answer in answers.values()] == by_hand


# From a derivative to a network.


def test_graph_by_finite_differences():
    values = script.a_computation_graph_is_walked_backward()
    assert (values["c"], values["d"], values["e"]) == (3, 2, 6)

    def e(a, b):
        return (a + b) * (b + 1)

    # For a polynomial of degree 2 the central difference is exact.
    assert values["de/da"] == (e(3, 1) - e(1, 1)) / 2
    assert values["de/db"] == (e(2, 2) - e(2, 0)) / 2


def test_gradients_by_finite_differences():
    gradients = script.autograd_finds_the_derivatives(CPU)

    def g(w1, w2):
        return 2 * w1 * w2 + w2 * math.cos(w1)

    step = 1e-6
    along = [
        (g(math.pi + step, 1) - g(math.pi - step, 1)) / (2 * step),
        (g(math.pi, 1 + step) - g(math.pi, 1 - step)) / (2 * step),
    ]
    assert np.allclose(gradients["g"], along, atol=1e-5)
    assert np.allclose(gradients["g"], [2, 2 * math.pi - 1])
    assert gradients["f"] == [-2]


@pytest.mark.parametrize("lr", [0.25, 0.1, 0.9])
def test_descent_is_a_geometric_series(lr):
    path = script.gradient_descent_halves_the_distance(CPU, steps=9, lr=lr)
    assert len(path) == 10 and path[0] == 5
    gaps = np.array(path) - 2
    assert np.allclose(gaps[1:] / gaps[:-1], 1 - 2 * lr, atol=1e-3)


def data(noise: float, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return x (n, 2) and y = x (-1, 2) + noise, as the sections draw them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, generator=generator).double().numpy()
    draws = torch.randn(n, generator=generator).double().numpy()
    return x, x @ [-1, 2] + noise * draws


def test_every_stage_is_where_the_closed_form_is():
    n, lr, steps = 50, 0.1, 30
    stages = script.from_by_hand_to_by_library_the_loss_stays(
        CPU, n=n, steps=steps, lr=lr
    )
    x, y = data(0.1)
    # From w = 0, descent on a square leaves (1 - lr H)^steps of the way.
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    left = np.linalg.matrix_power(np.eye(2) - lr * 2 / n * x.T @ x, steps)
    w = best - left @ best
    expected = np.mean((x @ w - y) ** 2), *w
    assert len(stages) == 5
    for name, numbers in stages.items():
        assert np.allclose(numbers, expected, rtol=1e-4), name


def test_stochastic_descent_ends_near_least_squares():
    losses = script.one_point_a_step_descends_too()
    x, y = data(0.1)
    w, residual, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert math.isclose(
        losses["least squares"][0], residual[0] / 50, rel_tol=1e-4
    )
    # All points a step is plain descent.
    w = np.zeros(2)
    expected = []
    for _ in range(20):
        w -= 0.05 * 2 / 50 * x.T @ (x @ w - y)
        expected.append(np.mean((x @ w - y) ** 2))
    assert np.allclose(losses["all points a step"], expected, rtol=1e-3)
    assert max(losses["one a step"]) < expected[-1]


def test_module_equals_numpy():
    outputs = script.modules_are_functions_with_parameters(CPU)
    torch.manual_seed(0)
    first, second = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    hidden = first.weight.detach().numpy() @ [1, -2, 0.5]
    hidden = np.maximum(hidden + first.bias.detach().numpy(), 0)
    expected = second.weight.detach().numpy() @ hidden
    expected = expected + second.bias.detach().numpy()
    for output in outputs.values():
        assert np.allclose(output[0].numpy(), expected, atol=1e-6)


def test_activations_by_finite_differences(tmp_path):
    curves = script.activations_bend_the_line(CPU, tmp_path)
    x = np.arange(-80, 81) / 20
    erf = np.array([math.erf(value / math.sqrt(2)) for value in x])
    functions = {
        "ReLU": np.maximum(x, 0),
        "Tanh": np.tanh(x),
        "Sigmoid": 1 / (1 + np.exp(-x)),
        "SiLU": x / (1 + np.exp(-x)),
        "GELU": x * (1 + erf) / 2,
    }
    assert curves.keys() == functions.keys()
    for name, (values, slopes) in curves.items():
        assert np.allclose(values.numpy(), functions[name], atol=1e-5), name
        difference = np.gradient(functions[name], x)
        # ReLU has a corner at 0: the difference there is neither slope.
        inner = (np.abs(x) > 0.1) & (np.abs(x) < 3.9)
        apart = np.abs(slopes.numpy() - difference)[inner]
        assert apart.max() < 2e-3, name
    assert (tmp_path / "tour_activations.png").exists()


def test_losses_by_definition():
    pairs = script.losses_punish_the_surely_wrong(CPU)
    scores = {
        "right": (1, 0),
        "surely right": (10, 0),
        "wrong": (0, 1),
        "surely wrong": (0, 10),
    }
    for name, (z0, z1) in scores.items():
        share = math.exp(z0) / (math.exp(z0) + math.exp(z1))
        assert math.isclose(pairs[name][0], -math.log(share), abs_tol=2e-6)
    ranked = sorted(scores, key=lambda name: pairs[name][0])
    assert ranked == ["surely right", "right", "wrong", "surely wrong"]
    assert pairs["mean squared error"][0] == np.mean([1, 25])
    assert pairs["mean absolute error"][0] == np.mean([1, 5])
    assert pairs["Huber"][0] == np.mean([1 / 2, 5 - 1 / 2])


@pytest.mark.parametrize("n", [8, 9, 10])
def test_batches_cut_the_list(n):
    batches = script.a_loader_makes_batches_of_a_dataset(n=n)
    in_order = [list(part) for part in np.split(np.arange(n), range(4, n, 4))]
    assert batches["in order"] == batches["num_workers 0"] == in_order
    assert batches["whole batches"] == [b for b in in_order if len(b) == 4]
    shuffled = np.concatenate(batches["shuffled"]).tolist()
    assert sorted(shuffled) == list(range(n)) != shuffled


def test_a_worker_fetches_the_same_batches():
    batches = script.a_loader_makes_batches_of_a_dataset(workers=1)
    assert batches["num_workers 1"] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_dataset_counts_and_squares():
    dataset = script.SquaresData(3)
    pairs = [dataset[index] for index in range(len(dataset))]
    assert [(x.item(), y.item()) for x, y in pairs] == [(0, 0), (1, 1), (2, 4)]
    assert all(x.shape == y.shape == (1,) for x, y in pairs)


def test_race_is_won_by_adam(tmp_path):
    results = script.momentum_and_adam_win_the_race(
        CPU, tmp_path, target=1.0, limit=350
    )
    assert list(results) == ["SGD", "momentum", "Adam"]
    assert results["SGD"][0] == 350 and results["SGD"][1] > 1
    for name in ("momentum", "Adam"):
        assert results[name][0] < 350 and 0.5 < results[name][1] <= 1
    assert results["Adam"][0] < results["momentum"][0]


def test_momentum_runs_as_far_as_by_hand(tmp_path):
    results = script.momentum_and_adam_win_the_race(
        CPU, tmp_path, target=2.9, limit=200
    )
    torch.manual_seed(0)
    linear = torch.nn.Linear
    layers = [linear(1, 32), linear(32, 32), linear(32, 1)]
    parameters = [p for layer in layers for p in layer.parameters()]
    velocity = [torch.zeros_like(p) for p in parameters]
    x = torch.linspace(0, 1, 200)[:, None]
    y = 4 * torch.sin(math.pi * x) * torch.cos(6 * math.pi * x**2)
    losses = [math.inf]
    while losses[-1] > 2.9:
        hidden = layers[1](layers[0](x).tanh()).tanh()
        loss = (layers[2](hidden) - y).square().mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, v, g in zip(parameters, velocity, gradients, strict=True):
                v.mul_(0.9).add_(g)
                p -= 0.04 * v
        losses.append(loss.item())
    steps, loss = results["momentum"]
    assert abs(steps - (len(losses) - 1)) <= 1
    assert math.isclose(loss, losses[-1], rel_tol=0.01)


def test_schedules_by_formula():
    results = script.schedulers_come_to_rest()
    last = [rate for rate, _ in results.values()]
    assert np.allclose(last, [0.2, 0.2 / 32, 0.2 * 0.8**20, 0], atol=1e-9)
    # The same descent in NumPy, at the constant rate.
    x, y = data(0.5)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    generator = torch.Generator().manual_seed(0)
    (
        torch.randn(50, 2, generator=generator),
        torch.randn(50, generator=generator),
    )
    for way, decay in {"constant": 1, "times 0.8": 0.8}.items():
        state, w, lr = generator.get_state(), np.zeros(2), 0.2
        for _ in range(20):
            for point in torch.randperm(50, generator=generator).tolist():
                w -= lr * 2 * (x[point] @ w - y[point]) * x[point]
            lr *= decay
        generator.set_state(state)
        off = np.linalg.norm(w - best)
        assert math.isclose(results[way][1], off, rel_tol=0.02), way


def test_convolution_equals_shifted_sums(tmp_path):
    pictures = script.convolution_slides_one_kernel(CPU, tmp_path)
    image = pictures["image"].double().numpy()
    assert image.shape == (28, 28) and image.max() == 1 and image.min() == 0
    # A Gaussian is separable: first along the rows, then along the columns.
    line = np.array([1, 4, 6, 4, 1]) / 16
    blur = np.apply_along_axis(np.convolve, 0, image, line, mode="same")
    blur = np.apply_along_axis(np.convolve, 1, blur, line, mode="same")
    assert np.allclose(pictures["blur"].numpy(), blur, atol=1e-5)
    assert np.allclose(pictures["edges"].numpy(), image - blur, atol=1e-5)
    assert np.allclose(pictures["sharper"].numpy(), 2 * image - blur, atol=1e-5)
    with Image.open(tmp_path / "tour_convolution.png") as figure:
        assert figure.width > 3 * figure.height


def test_conv2d_shapes_by_counting_places():
    shapes = script.a_convolution_maps_channels_to_channels(CPU)
    assert len(shapes) == 4
    for options, shape in shapes.items():
        numbers = [int(word.split()[-1]) for word in options.split(",")]
        kernel, stride, padding = numbers
        # Every place where the kernel lies inside the padded picture.
        starts = range(-padding, 28 + padding - kernel + 1, stride)
        assert shape == (1, 16, len(starts), len(starts)), options


# Machines, random numbers, precision.


def test_random_numbers_leave_nothing_to_chance():
    same = script.random_numbers_repeat_by_seed(CPU)
    assert list(same.values()) == [True, False, True, True, True, False]
    # The oracle of the last: float32 in NumPy.
    big, one = np.float32(1e8), np.float32(1)
    assert (big + one) - big == 0 and (-big + big) + one == 1


def test_moving_to_where_it_is_copies_nothing():
    facts = script.moving_a_tensor_returns_another(CPU)
    assert list(facts.values()) == [True] * 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_moving_to_a_gpu_copies():
    facts = script.moving_a_tensor_returns_another(torch.device("cuda"))
    assert list(facts.values()) == [True, True, False, True, True]


def test_clock_reports_what_was_done(capsys):
    milliseconds = script.a_clock_waits_for_the_device(CPU, size=128)
    assert list(milliseconds) == ["back", "done", "go", "come"]
    assert all(0 < value < 60_000 for value in milliseconds.values())
    # The printed speed follows from the time: 2 * 128**3 operations.
    speed = 2 * 128**3 / 1e6 / milliseconds["done"]
    assert f" {speed:,.0f} GFLOP/s" in capsys.readouterr().out


def test_limits_follow_from_the_bits():
    found = script.half_types_trade_digits_for_range()
    bits = {
        torch.float32: (8, 23),
        torch.float16: (5, 10),
        torch.bfloat16: (8, 7),
    }
    for dtype, (exponent, fraction) in bits.items():
        bias = 2 ** (exponent - 1) - 1
        assert found[dtype]["up"] == 2.0**bias
        assert found[dtype]["down"] == 2.0 ** (1 - bias - fraction)
        assert found[dtype]["step"] == 2.0**-fraction
        assert found[dtype]["to"] == 2 ** (fraction + 1)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_types(half):
    types = script.autocast_picks_a_type_for_each_operation(CPU, half)
    for name in ("Linear", "matrix product", "Conv2d", "relu of a Linear"):
        assert types[name] == half
    for name in ("mse_loss", "cross_entropy", "weights", "gradients"):
        assert types[name] == torch.float32
    promoted = torch.promote_types(half, torch.float32)
    assert types["Linear + its input"] == promoted


def test_scaler_by_float16_of_numpy():
    results = script.the_scaler_lifts_small_gradients()
    cases = [(1e-8, 1), (1e-8, 65536), (1.5, 65536), (1.5, 32768)]
    for (inside, moved, after), (slope, scale) in zip(
        results.values(), cases, strict=True
    ):
        with np.errstate(over="ignore"):
            expected = float(np.float16(slope * scale))
        assert inside == expected
        if math.isinf(expected):
            assert (moved, after) == (0, scale / 2)
        else:
            assert math.isclose(moved, -expected / scale, rel_tol=1e-6)
            assert after == scale


@pytest.fixture(scope="module")
def trained():
    """Return the table of mixed precision, without and with bfloat16."""
    section = script.mixed_precision_ends_at_the_same_loss
    return section(CPU, steps=60), section(CPU, torch.bfloat16, steps=60)


def test_amp_adds_the_row_of_16_bits(trained):
    assert [list(table) for table in trained] == [
        [torch.float32],
        [torch.float32, torch.bfloat16],
    ]
    assert trained[0][torch.float32][2] == trained[1][torch.float32][2]


def test_mixed_precision_ends_within_2_percent(trained):
    (_, _, whole), (_, _, mixed) = trained[1].values()
    assert abs(mixed - whole) < 0.02 * whole
    # Rounding must have left a trace: these are two trainings, not one.
    assert mixed != whole
    # The noise, 0.5**2, is the loss of the true function; 0 of the constant
    # is that plus the mean square of a sine. Training ends between the two.
    generator = torch.Generator().manual_seed(0)
    slopes = torch.randn(64, generator=generator).double() / 8
    variance = slopes.square().sum().item()  # of x @ slopes, x normal
    constant = 0.25 + (1 - math.exp(-2 * variance)) / 2
    assert 0.25 < mixed < 0.6 * constant


def test_mixed_precision_halves_what_is_kept(trained):
    (_, whole, _), (_, mixed, _) = trained[1].values()
    # Backward needs the input of each layer, 512 samples of it: 4 bytes a
    # number in float32, 2 in bfloat16.
    numbers = 512 * (64 + 256 + 256)
    assert math.isclose(whole, 4 * numbers / 1e6)
    assert math.isclose(mixed, 2 * numbers / 1e6)


def test_amp_flag_reaches_the_training(command_line):
    name = "mixed_precision_ends_at_the_same_loss"
    flags = ("--tiny", "--device", "cpu", "--only", name)
    _, plain, _ = command_line("start_Pytorch", *flags)
    _, mixed, _ = command_line("start_Pytorch", *flags, "--amp")
    assert "bfloat16" not in plain and "add --amp" in plain
    assert "\nbfloat16 " in mixed and "16-bit row" not in mixed


# Mistakes.


def test_wrong_shapes_by_hand():
    silent = script.mistakes_with_shapes()
    guesses = targets = np.array([1, 2, 3])
    square, picture, corner, squeezed = silent.values()
    every_pair = [(g - t) ** 2 for g in guesses for t in targets]
    assert square == (round(np.mean(every_pair), 4), 0)
    pixels = np.arange(12).reshape(2, 2, 3)
    assert picture == ([0, 1, 2, 3], pixels[:, :, 0].flatten().tolist())
    assert corner == (1 * 1, 1 * 1 + 2 * 3)
    assert squeezed == ((28, 28), (1, 28, 28))


def test_wrong_types_by_hand():
    shared, byte, cut, shape, moved = (
        script.mistakes_with_types_and_memory().values()
    )
    assert shared == ([5, 5], [0, 0])
    assert byte == ([(200 + 100) % 256, 200], [300, 200])
    assert cut == ([0, 2], [0.5, 2])
    assert shape == ((3,), ())
    assert moved == ("torch.float32", "torch.float16")


def test_wrong_losses_by_formula():
    silent = script.mistakes_with_losses()
    twice, positive, sigmoid, row, parabola = silent.values()
    # Softmax has made (1, 0) of it; of that the loss is log(1 + exp(-1)).
    assert math.isclose(twice[0], math.log(1 + math.exp(-1)), rel_tol=1e-5)
    assert math.isclose(positive[0], -1, rel_tol=1e-5)
    mean = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert math.isclose(sigmoid[0], mean, rel_tol=1e-5)
    assert row == (2 / 4, 1)
    assert math.isnan(parabola[0]) and math.isclose(parabola[1], 2)
    for _, right in (twice, positive, sigmoid):
        assert abs(right) < 1e-6


def test_wrong_layers_by_hand():
    silent = script.mistakes_with_layers_and_half_precision()
    black, clipped, square = silent.values()
    torch.manual_seed(0)
    bias = torch.nn.Conv2d(1, 1, 3).bias.item()
    assert math.isclose(black[0], bias, rel_tol=1e-5) and black[1] == 0
    assert math.isclose(clipped[0], 1 / 1024, rel_tol=1e-3)
    assert math.isclose(clipped[1], 1, rel_tol=1e-3)
    assert square == (math.inf, 300 * 300)
