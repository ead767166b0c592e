"""The sections of start_buildnn.py against oracles that are not their own."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_table
from torch import nn

import start_buildnn as script

CPU = torch.device("cpu")
DEVICES = [
    CPU,
    pytest.param(
        torch.device("cuda"),
        marks=pytest.mark.skipif(
            not torch.cuda.is_available(), reason="no GPU"
        ),
    ),
]


# name -> (hand-written layer, that of torch, arguments of both, shape of x).
TWINS = {
    "Flatten": (script.HandFlatten, nn.Flatten, (), (3, 4, 5)),
    "Linear": (script.HandLinear, nn.Linear, (7, 3), (5, 2, 7)),
    "ReLU": (script.HandReLU, nn.ReLU, (), (9, 9)),
    "Softmax last": (script.HandSoftmax, nn.Softmax, (-1,), (4, 6)),
    "Softmax first": (script.HandSoftmax, nn.Softmax, (0,), (4, 6)),
    "Sequential": (
        *(script.HandSequential, nn.Sequential),
        *((nn.Linear(4, 6), nn.Tanh()), (5, 4)),
    ),
    "MaxPool2d": (
        partial(script.HandPool2d, torch.Tensor.amax),
        *(nn.MaxPool2d, (3, 2), (2, 3, 9, 8)),
    ),
    "AvgPool2d": (
        partial(script.HandPool2d, torch.Tensor.mean),
        *(nn.AvgPool2d, (2, 1), (2, 3, 5, 6)),
    ),
    "Dropout": (script.HandDropout, nn.Dropout, (0.4,), (20, 30)),
    "BatchNorm2d": (
        *(script.HandBatchNorm2d, nn.BatchNorm2d),
        *((3, 1e-3, 0.3), (4, 3, 2, 5)),
    ),
    "LayerNorm": (script.HandLayerNorm, nn.LayerNorm, (6, 1e-3), (4, 2, 6)),
    "RMSNorm": (script.HandRMSNorm, nn.RMSNorm, (6, 1e-3), (4, 2, 6)),
    "GRU": (
        *(script.HandGRU, partial(nn.GRU, batch_first=True)),
        *((3, 4), (2, 5, 3)),
    ),
    "LSTM": (
        *(script.HandLSTM, partial(nn.LSTM, batch_first=True)),
        *((3, 4), (2, 5, 3)),
    ),
}
for sizes in [(1, 0, 1), (2, 1, 1), (3, 2, 2), (1, 3, 2)]:
    arguments = 2, 3, 3, *sizes
    row = script.HandConv2d, nn.Conv2d, arguments, (2, 2, 7, 9)
    TWINS[f"Conv2d stride, padding, dilation {sizes}"] = row


def flat(value) -> list[torch.Tensor]:
    """Return the tensors in nested tuples as one list."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value for tensor in flat(part)]


def outcome(module, x, seed) -> list[torch.Tensor]:
    """Return outputs, gradients for random weights of them, and buffers."""
    torch.manual_seed(seed)
    x = x.clone().requires_grad_()
    outputs = flat(module(x))
    upstream = [
        torch.randn(output.shape, dtype=output.dtype) for output in outputs
    ]
    gradients = torch.autograd.grad(
        outputs, [x, *module.parameters()], upstream
    )
    return [*outputs, *gradients, *module.buffers()]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", TWINS)
def test_twin_equals_torch_on_random_numbers(name, mode):
    make_twin, make_layer, arguments, shape = TWINS[name]
    for seed in range(3):
        torch.manual_seed(seed)
        twin = make_twin(*arguments).double().train(mode == "train")
        layer = make_layer(*arguments).double().train(mode == "train")
        for tensor in (*layer.parameters(), *layer.buffers()):
            if tensor.is_floating_point():  # no norm with weight 1 and bias 0
                nn.init.uniform_(tensor, 0.5, 1.5)
        twin.load_state_dict(layer.state_dict())
        assert [n for n, _ in twin.named_parameters()] == [
            n for n, _ in layer.named_parameters()
        ]
        x = 3 * torch.randn(shape, dtype=torch.float64)
        expected = outcome(layer, x, seed)
        torch.testing.assert_close(outcome(twin, x, seed), expected)


def test_linear_starts_like_that_of_torch():
    torch.manual_seed(3)
    twin = script.HandLinear(30, 20)
    torch.manual_seed(3)
    layer = nn.Linear(30, 20)
    torch.testing.assert_close(twin.state_dict(), layer.state_dict())


def test_softmax_of_a_hundred_is_finite():
    x = torch.tensor([[100.0, 0.0, -100.0]])
    torch.testing.assert_close(script.HandSoftmax(1)(x), x.softmax(1))


def test_embedding_equals_torch_on_random_numbers():
    torch.manual_seed(1)
    twin, layer = script.HandEmbedding(7, 3), nn.Embedding(7, 3)
    twin.load_state_dict(layer.state_dict())
    words = torch.randint(7, (4, 9))
    upstream = torch.randn(4, 9, 3)
    results = []
    for module in (twin, layer):
        y = module(words)
        results.append([y, *torch.autograd.grad(y, module.weight, upstream)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_torch_on_random_numbers(masked):
    torch.manual_seed(2)
    q, k, v = (
        torch.randn(2, 3, time, 4, dtype=torch.float64, requires_grad=True)
        for time in (5, 6, 6)
    )
    mask = torch.rand(5, 6) < 0.5
    mask[:, 0] = True  # every query may look somewhere
    mask = mask if masked else None
    upstream = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    results = []
    for call in (
        lambda *x: script.HandAttention()(*x)[0],
        F.scaled_dot_product_attention,
    ):
        y = call(q, k, v, mask)
        results.append([y, *torch.autograd.grad(y, (q, k, v), upstream)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("masked", [False, True])
def test_multihead_attention_equals_torch_on_random_numbers(masked):
    torch.manual_seed(3)
    twin = script.HandMultiheadAttention(12, heads=3).double()
    layer = nn.MultiheadAttention(12, 3, batch_first=True).double()
    nn.init.normal_(layer.in_proj_bias)
    nn.init.normal_(layer.out_proj.bias)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    expected = layer(x, x, x, attn_mask=None if mask is None else ~mask)
    found = twin(x, mask)
    torch.testing.assert_close(found, expected)  # weights as well
    upstream = torch.randn(2, 5, 12, dtype=torch.float64)
    results = []
    for module, (y, _) in ((twin, found), (layer, expected)):
        inputs = {"x": x, **dict(module.named_parameters())}
        gradients = torch.autograd.grad(y, list(inputs.values()), upstream)
        results.append(dict(zip(inputs, gradients, strict=True)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("causal", [False, True])
def test_transformer_block_equals_the_layer_of_torch(causal):
    torch.manual_seed(4)
    block = script.TransformerBlock(8, 2, causal)
    layer = nn.TransformerEncoderLayer(
        *(8, 2, 32, 0.0), activation="gelu", batch_first=True, norm_first=True
    )
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "output": "self_attn.out_proj",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    }
    state = layer.state_dict()
    loaded = {
        f"{name}.{kind}": state[f"{other}.{kind}"]
        for name, other in names.items()
        for kind in ("weight", "bias")
    }
    loaded["q_k_v.weight"] = state["self_attn.in_proj_weight"]
    loaded["q_k_v.bias"] = state["self_attn.in_proj_bias"]
    block.load_state_dict(loaded)
    x = torch.randn(2, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    torch.testing.assert_close(block(x), layer(x, src_mask=mask))


def test_model_is_a_tree(capsys):
    found = script.a_model_is_a_tree_of_modules(CPU)
    assert found["names"] == [
        *("", "flatten", "body", "body.0", "body.1", "body.2")
    ]
    assert found["scores"].shape == (3, 10)
    assert found["counts"] == [0, 1, 1]
    # The scores, from the weights alone.
    torch.manual_seed(0)
    model = script.Network()
    w1, b1, w2, b2 = model.parameters()
    images = torch.rand(3, 28, 28)
    hidden = (images.view(3, 784) @ w1.T + b1).clamp(min=0)
    torch.testing.assert_close(found["scores"], hidden @ w2.T + b2)
    assert repr(model) in capsys.readouterr().out


@pytest.mark.parametrize("device", DEVICES)
def test_plain_layers(device):
    outputs = script.plain_layers_are_one_line_each(device)
    shapes = [tuple(y.shape) for y, _ in outputs.values()]
    assert shapes == [(3, 784), (3, 20), (3, 20), (3, 10), (3, 10), (3, 10)]
    hand = {name: y.detach() for name, (y, _) in outputs.items()}
    torch.testing.assert_close(hand["2 ReLU"], hand["1 Linear"].relu())
    torch.testing.assert_close(hand["4 Softmax"], hand["3 Linear"].softmax(1))
    torch.testing.assert_close(hand["5 Sequential"], hand["4 Softmax"])


@pytest.mark.parametrize("device", DEVICES)
def test_last_layer(device):
    found = script.the_last_layer_stays_bare(device)
    e = [math.exp(x) for x in (2, -1, -3)]
    expected = [e[0] / sum(e), e[1] / sum(e), e[2] / sum(e) - 1]
    assert found["gradient, bare"][0].tolist() == pytest.approx(expected)
    first = math.exp(2) / (math.exp(2) + 2)
    assert found["gradient, ReLU"][0].tolist() == pytest.approx([first, 0, 0])
    assert found["loss, ReLU"] == pytest.approx(math.log(3), rel=1e-4)
    assert found["loss, bare"] < 0.005


def test_parameter_counts():
    counts = script.parameter_counts_follow_formulas()
    numbers = [counted for counted, _ in counts.values()]
    assert numbers == [
        *(15_700, 1_216, 1_184, 32, 64, 32_000, 4_224, 1_920, 2_560, 0)
    ]
    for name, (counted, expected) in counts.items():
        assert counted == expected, name


def test_parameters_and_buffers():
    found = script.parameters_learn_and_buffers_are_carried(CPU)
    assert found["parameters"] == {
        "embedding.weight": (50, 8),
        "norm.weight": (8,),
        "norm.bias": (8,),
    }
    assert found["buffers"]["scale"] == ()
    assert found["buffers"]["norm.running_var"] == (8,)
    assert found["total"] == 416
    assert "output.weight" in found["saved"] and len(found["saved"]) == 8


def test_initialization(tmp_path):
    curves = script.initialization_decides_how_far_signals_reach(CPU, tmp_path)
    gains = {  # of the spread, per layer: sqrt(width / 2) * spread of a weight
        "normal, 0.1": 16 * 0.1,
        "Xavier": 0.5**0.5,
        "He": 1.0,
        "torch default": (1 / 6) ** 0.5,
    }
    assert set(curves) == set(gains)
    for name, curve in curves.items():
        assert len(curve) == 20
        for early, late in zip(curve[:10], curve[10:], strict=True):
            ratio = (late / early) ** 0.1
            assert ratio == pytest.approx(gains[name], rel=0.05), name


def test_convolution():
    outputs = script.convolution_is_a_sliding_sum()
    assert len(outputs) == 5
    for name, (hand, layer) in outputs.items():
        torch.testing.assert_close(hand, layer)
        assert hand.dtype == torch.float64, name


def test_output_size():
    counts = script.the_output_size_is_a_formula()
    allowed = 10 * 3 * 2 * sum(min(k // 2, 2) + 1 for k in (1, 2, 3, 5))
    assert counts["Conv1d"] == 10 * 4 * 3 * 3 * 2
    assert counts["MaxPool1d"] == allowed
    empty = [  # counted by laying the kernel on the padded line
        not [
            start
            for start in range(size + 2 * padding)
            if start + dilation * (kernel - 1) < size + 2 * padding
        ]
        for size in range(1, 11)
        for kernel in (1, 2, 3, 5)
        for padding in (0, 1, 2)
        for dilation in (1, 2)
        for _ in range(3 * (1 + (padding <= kernel // 2)))
    ]
    assert counts["no output"] == sum(empty)


def test_where_16_5_5_comes_from():
    sizes = script.sixteen_times_five_times_five_is_traced(CPU)
    assert sizes["images"] == [32, 28]
    assert sizes["0 Conv2d"] == [28, 24]
    assert sizes["3 Conv2d"] == [10, 8]
    assert sizes["5 MaxPool2d"] == [5, 4]
    assert sizes["6 Flatten"] == [400, 256]


def test_receptive_field(tmp_path):
    fields = script.receptive_fields_grow_by_kernel_and_stride(tmp_path)
    assert fields == {
        "LeNet": (16, 16),
        "seven 3 x 3": (15, 15),
        "dilation 1, 2, 4": (15, 15),
    }


def test_dropout_and_norms():
    outputs = script.dropout_and_norms_equal_their_twins()
    for hand, layer in outputs.values():
        torch.testing.assert_close(hand, layer)
    y = outputs["BatchNorm2d train"][0]
    zeros, ones = torch.zeros(3).double(), torch.ones(3).double()
    torch.testing.assert_close(y.mean((0, 2, 3)), zeros)
    spread = y.var((0, 2, 3), correction=0)
    torch.testing.assert_close(spread, ones, rtol=0, atol=1e-4)
    y = outputs["LayerNorm eval"][0]
    torch.testing.assert_close(y.mean(-1), torch.zeros(8, 3, 4).double())
    y = outputs["RMSNorm train"][0]
    squares = y.square().mean(-1)
    torch.testing.assert_close(
        squares, torch.ones(8, 3, 4).double(), rtol=0, atol=1e-3
    )
    dropped = (outputs["Dropout train"][0] == 0).double().mean()
    assert dropped == pytest.approx(0.3, abs=0.06)
    assert not (outputs["Dropout eval"][0] == 0).any()


def test_eval_mode():
    table = script.eval_changes_dropout_and_batch_norm_alone()
    by_mode = {name for name, (same, _) in table.items() if not same}
    assert by_mode == {
        *("Dropout", "BatchNorm2d"),
        *("GRU, dropout=0.5", "TransformerEncoderLayer"),
    }
    moved = {name for name, (_, same) in table.items() if not same}
    assert moved == {"BatchNorm2d"}


def test_containers():
    table = script.containers_register_what_they_hold()
    for name in ("list", "dict", "list of Parameters"):
        assert table.pop(name) == (0, 0, False)
    assert table.pop("ParameterList") == (40, 2, True)
    assert set(table.values()) == {(40, 4, True)} and len(table) == 3


@pytest.mark.parametrize("device", DEVICES)
def test_residual(device):
    found = script.residual_blocks_let_depth_train(device)
    # Without the sum, the best a dead network can do is the mean of y.
    x = torch.linspace(-1, 1, 16)
    variance = torch.sin(3 * x).var(correction=0).item()
    assert found["f(x)"][1] == pytest.approx(variance, rel=0.02)
    assert found["x + f(x)"][1] < 0.1 * variance
    assert found["f(x)"][0] < 1e-6 < 0.1 < found["x + f(x)"][0]


def test_embedding():
    found = script.an_embedding_picks_rows()
    torch.testing.assert_close(found["by hand"], found["by torch"])
    torch.testing.assert_close(found["by hand"][0, 1], found["by hand"][1, 1])
    expected = torch.tensor([4.0, 1.0, 6.0, 10.0, 0.0])[:, None].expand(5, 4)
    torch.testing.assert_close(found["grad"], expected)


def test_attention():
    outputs = script.attention_is_a_weighted_mean()
    assert len(outputs) == 4
    for hand, layer in outputs.values():
        torch.testing.assert_close(hand, layer)
    # A mask changes all but the last position, which sees everything anyway.
    none, causal = (
        outputs[f"scaled_dot_product_attention, {mask}"][0]
        for mask in ("none", "causal")
    )
    torch.testing.assert_close(none[:, -1], causal[:, -1])
    assert not torch.isclose(none[:, :-1], causal[:, :-1]).any()


@pytest.mark.parametrize("device", DEVICES)
def test_future(device):
    depends = script.no_position_sees_the_future(device, time=7)
    t = torch.arange(7)
    assert torch.equal(depends["causal"], t[:, None] >= t)
    assert depends["no mask"].all()


def test_recurrent():
    outputs = script.recurrent_cells_read_from_left_to_right()
    assert outputs.pop("mixed") == ([0], [0, 1, 2])
    for hand, layer in outputs.values():
        assert hand.shape == (3, 7, 4)
        torch.testing.assert_close(hand, layer)


@pytest.mark.parametrize("device", DEVICES)
def test_only_the_head_moves(device):
    moved = script.only_the_new_head_moves(device)
    frozen = ("weight of the frozen body", "frozen BatchNorm, eval()")
    assert [moved[name] for name in frozen] == [0, 0]
    # Adam moves a weight by about lr in every step, at most.
    assert 0.01 < moved["weight of the head"] < 20 * 0.011
    assert moved["frozen BatchNorm, train()"] > 0.1


def test_layers_are_exchanged():
    found = script.any_layer_can_be_exchanged(rank=3)
    full = 64 * 128 + 128 + 128 * 64 + 64 + 64 * 2 + 2
    assert found["counts"] == [full, 3 * (192 + 192 + 66)]
    assert found["losses"][0] == pytest.approx(math.log(2), abs=0.1)
    torch.testing.assert_close(*found["scores"], rtol=1e-4, atol=1e-4)
    assert found["kinds"].count("Linear") == 3
    assert "LowRank" not in found["kinds"]


def test_low_rank_merges_to_the_sum():
    torch.manual_seed(5)
    layer = nn.Linear(6, 4)
    model = script.LowRank(layer, rank=2)
    nn.init.normal_(model.up)
    expected = layer.weight + model.up @ model.down
    merged = model.merged()
    torch.testing.assert_close(merged.weight, expected)
    x = torch.randn(3, 6)
    torch.testing.assert_close(model(x), F.linear(x, expected, layer.bias))


@pytest.mark.parametrize("device", DEVICES)
def test_state_dict(device):
    found = script.a_state_dict_is_names_and_tensors(device)
    norm = ("running_mean", "running_var", "num_batches_tracked")
    assert found["names"] == [
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *(f"1.{name}" for name in norm),
        *("3.weight", "3.bias"),
    ]
    torch.testing.assert_close(*found["scores"], rtol=1e-4, atol=1e-5)
    assert found["missing"] == ["3.weight", "3.bias"]
    assert found["unexpected"] == ["head.weight", "head.bias"]


@pytest.mark.parametrize("device", DEVICES)
def test_meta(device):
    found = script.a_model_on_meta_is_shapes_alone(device)
    assert found["bytes"] == 4 * (10**10 + 10**5)
    assert found["shape"] == (32, 100_000)
    torch.testing.assert_close(*found["scores"])


def test_hooks(tmp_path):
    found = script.hooks_look_inside(CPU, tmp_path, steps=30)
    assert found["losses"][0] == pytest.approx(math.log(10), abs=0.1)
    assert found["losses"][1] < 0.5
    shapes = {name: tuple(y.shape) for name, y in found["maps"].items()}
    assert shapes == {"1": (1, 8, 28, 28), "4": (1, 16, 14, 14)}
    for features in found["maps"].values():
        assert features.min() == 0 and features.max() > 0


def test_summary():
    total = script.a_summary_is_a_few_hooks(CPU)
    # 28 * 28 places, 6 * 3 * 5 * 5 weights; 10 * 10 places, 16 * 3 * 5 * 5.
    expected = 28**2 * 6 * 3 * 25 + 10**2 * 16 * 3 * 25 + 400 * 10
    assert total["multiply-adds"] == expected
    assert total["operations"] == 2 * expected
    assert total["parameters"] == 6 * 76 + 16 * 76 + 4_010


@pytest.mark.parametrize("seed", range(3))
def test_summary_of_random_models(seed):
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(seed)
    widths = torch.randint(1, 9, (4,)).tolist()
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, widths[0], 3, stride=2), nn.ReLU()),
        nn.Conv2d(widths[0], widths[0], 3, padding=1, groups=widths[0]),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(2),  # (batch, channels, 4)
        nn.Linear(4, widths[1], bias=False),
        nn.Conv1d(widths[0], widths[2], 1),
    )
    x = torch.randn(3, 2, 11, 12)
    summary = script.Summary(model, x)
    with FlopCounterMode(display=False) as counter:
        y = model(x)
    assert 2 * sum(row[4] for row in summary) == counter.get_total_flops()
    assert sum(row[3] for row in summary) == sum(
        weight.numel() for weight in model.parameters()
    )
    assert summary[-1][2] == tuple(y.shape)
    assert [row[0] for row in summary][:2] == ["0.0", "0.1"]
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(device, amp, half):
    table = script.autocast_gives_each_layer_its_type(device, half, amp=amp)
    for name in ("Linear", "Conv2d"):
        assert table[name][:2] == (half, half)
        # Rounding to `half` is off by at most eps / 2 of each number.
        assert 1e-5 < table[name][2] < 2 * torch.finfo(half).eps
    assert table["ReLU"][:2] == (torch.float32, half)
    assert table["MSELoss"][:2] == (torch.float32, torch.float32)
    assert table["network"][0] == (half if amp else torch.float32)
    assert (table["network"][2] > 1e-5) == amp


def test_amp_reaches_the_section(tmp_path):
    for flags, amp in ((["--amp"], True), ([], False)):
        table = tiny_table("start_buildnn", tmp_path, *flags)
        options = table[script.autocast_gives_each_layer_its_type]
        assert options == {"device": CPU, "half": torch.bfloat16, "amp": amp}


def test_mistakes_in_the_class(capsys):
    silent = script.mistakes_in_the_class()
    pairs = [pair for name, pair in silent.items() if "x twice" not in name]
    assert pairs == [(0, 1), (0, 1), (0, 2)]
    wrong, right = silent["layer made in forward: x twice, off"]
    assert right == 0 < wrong
    assert capsys.readouterr().out.count("Error: ") == 4


def test_mistakes_with_what_goes_in(capsys):
    silent = script.mistakes_with_what_goes_in()
    for wrong, right in silent.values():
        assert right == pytest.approx(1)
        assert abs(wrong - 1) > 0.1
    # Red fills every third number; 784 numbers hold 262 of them.
    red = silent["view for permute: red in a red image"][0]
    assert red == pytest.approx(262 / 784)
    assert capsys.readouterr().out.count("Error: ") == 4


def test_mistakes_with_modes_and_copies():
    silent = list(script.mistakes_with_modes_and_copies().values())
    for wrong, right in silent[:2]:  # binomial: 500, give or take 16
        assert right == 0 and abs(wrong - 500) < 80
    assert silent[2] == pytest.approx((2.0, 0.0), abs=1e-3)
    assert silent[3:] == [(5, 65), (20, 60)]


def test_mistakes_of_networks_that_cannot_learn():
    silent = list(
        script.mistakes_of_networks_that_cannot_learn(steps=100).values()
    )
    assert silent[0] == (1, 4)
    assert silent[1][0] == pytest.approx(0.25, abs=0.01)
    assert silent[1][1] < 0.05
    # softmax - one_hot is (-1/2, 1/2) and x is 1: eight weights of 1/2.
    assert silent[2] == pytest.approx((0.0, 4.0))
