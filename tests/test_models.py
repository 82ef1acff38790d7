"""The family against published counts, torchvision's nets, and what the paper promises."""

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from residuum.choices import Order, Shortcut, Stem
from residuum.compute import Compute
from residuum.errors import UserError
from residuum.kernels import build
from residuum.models.count import cost, multiply_adds, parameters
from residuum.models.file import ModelFile, build_net, read_model, write_model
from residuum.models.layers import ZeroPad
from residuum.models.named import NAMED_NETS, PLAIN_TWINS, RESIDUAL_NETS, named
from residuum.models.plan import Forward, make_forward
from residuum.models.resnet import ResNet, _stem, last_bn
from residuum.models.spec import WHITENING_FILTERS, NetSpec, from_json
from residuum.models.table import table
from residuum.models.whitening import whiten
from residuum.records.model import About, View
from residuum.records.run import RunSettings, plain_name
from residuum.settings import ModelsSettings, TrainSettings
from residuum.training import way as chosen_way
from residuum.training.resolve import resolve

# Verified counts: parameters of options A (= plain), B and C, and multiply-adds of A and B at 32 px, 10 classes.
compiled = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
CIFAR = {
    20: (269_722, 272_474, 283_962, 40_551_040, 40_813_184),
    32: (464_154, 466_906, 489_594, 68_862_592, 69_124_736),
    44: (658_586, 661_338, 695_226, 97_174_144, 97_436_288),
    56: (853_018, 855_770, 900_858, 125_485_696, 125_747_840),
    110: (1_727_962, 1_730_714, 1_826_202, 252_887_680, 253_149_824),
    1202: (19_421_274, 19_424_026, 20_538_714, 2_829_238_912, 2_829_501_056),
}
# Parameters of A (= plain), B, C; multiply-adds of B with stride in the 1×1 and in the 3×3, at 224 px, 1000 classes.
IMAGENET = {
    18: (11_515_688, 11_689_512, 12_043_816, 1_814_073_344, 1_814_073_344),
    34: (21_623_848, 21_797_672, 22_716_840, 3_663_761_408, 3_663_761_408),
    50: (22_780_456, 25_557_032, 40_128_552, 3_857_973_248, 4_089_184_256),
    101: (41_772_584, 44_549_160, 76_981_288, 7_570_194_432, 7_801_405_440),
    152: (57_416_232, 60_192_808, 107_335_720, 11_282_415_616, 11_513_626_624),
}


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("depth", CIFAR)
def test_cifar_counts_equal_the_published_ones(depth: int) -> None:
    a, b, c, macs_a, macs_b = CIFAR[depth]
    rows = {option: cost(named(f"resnet{depth}", shortcut=option), 32) for option in ("A", "B", "C", "none")}
    assert [rows[option]["parameters"] for option in ("A", "none", "B", "C")] == [a, a, b, c]
    assert [rows[option]["multiply_adds"] for option in ("A", "none", "B")] == [macs_a, macs_a, macs_b]
    assert rows["A"]["depth"] == depth
    assert cost(named(f"resnet{depth}", 100), 32)["parameters"] == a + 5_850


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("depth", IMAGENET)
def test_imagenet_counts_equal_the_published_ones(depth: int) -> None:
    a, b, c, macs_v1, macs_v15 = IMAGENET[depth]
    rows = {option: cost(named(f"resnet{depth}", shortcut=option), 224) for option in ("A", "B", "C", "none")}
    assert [rows[option]["parameters"] for option in ("A", "none", "B", "C")] == [a, a, b, c]
    assert rows["B"]["multiply_adds"] == macs_v15
    strided = named(f"resnet{depth}", stride_in="1x1" if depth >= 50 else None)
    assert cost(strided, 224)["multiply_adds"] == macs_v1
    assert rows["B"]["depth"] == depth


@pytest.mark.usefixtures("unfilled")
@pytest.mark.parametrize("name", ["resnet56", "plain34", "resnet101"])
def test_the_count_by_blocks_equals_the_count_on_the_whole_net(name: str) -> None:
    spec = named(name, 13)
    with torch.device("meta"):
        net = ResNet(spec)
    counted = {"parameters": parameters(net), "multiply_adds": multiply_adds(net, 3, 65)}
    assert cost(spec, 65) == {"depth": spec.depth, **counted}


def test_basic_nets_without_projections_cost_what_the_paper_says() -> None:
    assert cost(named("plain18"), 224)["multiply_adds"] == 1_794_805_760
    assert cost(named("resnet34", shortcut="A"), 224)["multiply_adds"] == 3_644_493_824


@pytest.mark.parametrize("depth", IMAGENET)
def test_logits_and_input_gradients_equal_torchvisions(depth: int) -> None:
    # the two deepest with branches of a quarter of the width: blocks, strides and names are the same, weights fewer
    narrow: dict[str, Any] = {}
    narrower: dict[str, Any] = {}
    if depth > 50:
        narrow = {"width_per_group": 16}
        narrower = {"widths": (16, 32, 64, 128), "bottleneck_factor": 16, "stem_width": 64}
    with torch.device("meta"):  # nothing need be initialised twice
        theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=7, **narrow).double().eval()
        ours = ResNet(replace(named(f"resnet{depth}", 7), **narrower)).double().eval()
    theirs.to_empty(device="cpu")
    drawn = torch.empty(512 * 512 * 9 + 2**18, dtype=torch.float64).uniform_(-1, 1)
    for place, module in enumerate(theirs.modules()):
        if isinstance(module, nn.BatchNorm2d):  # as after training, not the neutral ones of a new net
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.2, 0.6)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            # He's initialisation by uniform numbers, of which each layer has others
            bound = (6 / module.weight[:, 0].numel()) ** 0.5
            own = drawn[place * 331 :][: module.weight.numel()]
            torch.mul(own.view_as(module.weight), bound, out=module.weight.detach())
        elif isinstance(module, nn.Linear):
            module.reset_parameters()
    state = dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True))
    ours.load_state_dict(state, assign=True)
    for net in (ours, theirs):
        net.requires_grad_(False)  # the input's gradient alone is compared
    x = torch.randn(1, 3, 33, 33, dtype=torch.float64)  # maps of odd sides, 17 to 3, too
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    logits_ours, logits_theirs = ours(x_ours), theirs(x_theirs)
    assert logits_theirs.std() > 1e-3
    torch.testing.assert_close(logits_ours, logits_theirs, rtol=1e-10, atol=1e-10)
    logits_ours.square().sum().backward()
    logits_theirs.square().sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["resnet20", "plain32", "resnet110", "resnet18", "plain18", "resnet50", "plain50"])
@pytest.mark.parametrize("option", [None, "B", "C"])
def test_every_net_runs_and_every_parameter_gets_a_gradient(name: str, option: str | None) -> None:
    if name in PLAIN_TWINS and option:
        pytest.skip("a plain net has no shortcut to choose")
    widths = tuple(width // 4 for width in named(name).widths)  # the same net, but sooner made
    net = ResNet(named(name, 5, shortcut=option, widths=widths))
    logits = net(torch.randn(2, 3, 33, 33))  # an odd size: shortcut and branch must agree on rounding
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # at 33 px the ImageNet nets end on 2×2 maps of two pictures: still every weight has a say
    assert silent == []


def test_a_plain_twin_is_the_residual_net_without_its_shortcuts() -> None:
    residual, plain = ResNet(named("resnet20")), ResNet(named("plain20"))
    plain.load_state_dict(residual.state_dict())  # the same names and shapes
    x = torch.randn(2, 16, 8, 8)
    block = residual.stages.stage1.block1
    expected = torch.relu(block.branch(x) + x)
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(plain.stages.stage1.block1(x), torch.relu(plain.stages.stage1.block1.branch(x)))


def test_option_a_subsamples_and_appends_zero_channels_without_parameters() -> None:
    shortcut = ZeroPad(3, 8, 2)
    x = torch.randn(2, 3, 7, 7)
    y = shortcut(x)
    torch.testing.assert_close(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()
    assert list(shortcut.parameters()) == []


def test_a_block_with_a_silent_branch_is_its_shortcut() -> None:
    block = ResNet(named("resnet20")).stages.stage2.block2
    nn.init.zeros_(block.branch.bn2.weight)
    x = torch.randn(2, 32, 8, 8).relu()
    torch.testing.assert_close(block(x), x)


def test_nothing_is_done_in_place_and_each_relu_is_used_once() -> None:
    net = ResNet(named("resnet20"))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    calls: dict[str, int] = {}
    for name, module in net.named_modules():
        if not list(module.children()):

            def watch(_m: nn.Module, _i: object, output: torch.Tensor, name: str = name) -> None:
                seen.append((output, output.detach().clone()))
                calls[name] = calls.get(name, 0) + 1

            module.register_forward_hook(watch)
    net(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(now, then) for now, then in seen)
    assert set(calls.values()) == {1}
    assert sum(name.endswith("add") for name in calls) == 9


def test_initialisation_follows_its_rule() -> None:
    torch.manual_seed(0)
    net = ResNet(named("resnet110"))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.15)
            assert module.bias is None
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.eps, module.momentum) == (1e-5, 0.1)
    assert (net.fc.bias == 0).all()
    assert net.fc.weight.abs().max() <= 64**-0.5


def test_stride_in_the_1x1_or_in_the_3x3() -> None:
    with torch.device("meta"):
        paper, later = (ResNet(named("resnet50", stride_in=s)).stages.stage2.block1.branch for s in ("1x1", "3x3"))
    assert (paper.conv1.stride, paper.conv2.stride) == ((2, 2), (1, 1))
    assert (later.conv1.stride, later.conv2.stride) == ((1, 1), (2, 2))


def test_a_specification_survives_json_and_wrong_ones_are_refused() -> None:
    for spec in NAMED_NETS.values():
        assert from_json(spec.as_json()) == spec
    with pytest.raises(UserError, match="cannot be read"):
        from_json({"stem": "cifar"})
    with pytest.raises(UserError, match="one of each"):
        NetSpec(stem="cifar", block="basic", blocks=(1, 1), widths=(16,), shortcut="A")
    with pytest.raises(UserError, match=r"did you mean .*resnet20"):
        named("resnet21")
    with pytest.raises(UserError, match="plain net"):
        named("plain20", shortcut="B")


def test_the_table_lists_every_net_once() -> None:
    names = ["resnet20", "plain20", "resnet18"]
    rows = table(ModelsSettings(classes=3), names)
    assert [row["model"] for row in rows] == names
    assert {row["classes"] for row in rows} == {3}
    assert rows[0]["parameters"] == rows[1]["parameters"] == 269_722 - 7 * 65


# --- every combination --------------------------------------------------------------------------

ORDERS, SHORTCUTS = get_args(Order), get_args(Shortcut)


def small(**choices: object) -> NetSpec:
    """A net of three stages that is built in an instant."""
    base = {"stem": "cifar", "block": "basic", "blocks": (2, 2, 2), "widths": (4, 6, 8), "shortcut": "A"}
    return NetSpec(**{**base, "num_classes": 3, **choices})  # type: ignore[arg-type]


@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_combination_is_a_net_or_is_refused_with_a_reason(
    order: str, shortcut: str, block: str, stride_in: str, tmp_path: Path
) -> None:
    choices = {"order": order, "shortcut": shortcut, "block": block, "stride_in": stride_in}
    if why := refusal(order, shortcut, block, stride_in):
        with pytest.raises(UserError, match=why):
            small(**choices)
        return
    net = ResNet(small(**choices, blocks=(1, 2), widths=(4, 6)))
    x = torch.randn(4, 3, 17, 15)  # odd sizes: shortcut and branch must agree on rounding
    logits = net(x)
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    path = tmp_path / "model.safetensors"
    about = About(classes=("a", "b", "c"), preprocessing=View(image_size=17, resize_to=17), net=net.spec.as_json())
    write_model(path, ModelFile(dict(net.state_dict()), {"mean": torch.ones(3), "std": torch.ones(3)}, about))
    again = build_net(read_model(path), path)
    assert again.spec == net.spec
    torch.testing.assert_close(again.eval()(x), net.eval()(x), rtol=0, atol=0)


def refusal(order: str, shortcut: str, block: str, stride_in: str) -> str | None:
    """Why there is no such net, told independently of the specification."""
    if block == "basic" and stride_in == "1x1":
        return "has none; a bottleneck has"
    if shortcut == "none" and order in {"bn-after-addition", "relu-before-addition"}:
        return "no addition"
    if shortcut == "1x1" and order not in {"original", "relu-before-addition"}:
        return "option C"
    return None


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ({"groups": 2}, "bottleneck"),
        ({"block": "bottleneck", "groups": 4}, "do not divide"),
        ({"projection_pool": True, "shortcut": "constant"}, "no projection"),
        ({"halving": "max-pool", "block": "bottleneck"}, "stride_in"),
        ({"first_activation": "block"}, "pre-activation nets"),
        ({"zero_init": True, "order": "preactivation"}, "end in a convolution"),
        ({"zero_init": True, "order": "relu-before-addition"}, "never learn"),
        ({"zero_init": True, "order": "bn-after-addition"}, "end in a convolution"),
        ({"zero_init": True, "shortcut": "none"}, "nothing would pass"),
        ({"stochastic_depth": 0.2, "shortcut": "none"}, "no shortcut to go by"),
        ({"stochastic_depth": 1.0}, "below 1"),
        ({"blocks": (1, 1)}, "one of each"),
        ({"widths": (0, 1, 1)}, "at least one"),
        ({"stem": "whitening", "dirac_init": True, "stem_width": 55}, "54 filters"),
    ],
)
def test_contradictions_are_refused(choices: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        small(**choices)


@pytest.mark.parametrize(
    "choices",
    [
        {"stem": "deep", "shortcut": "B", "projection_pool": True},
        {"block": "bottleneck", "groups": 2, "squeeze": 2, "stem_width": 5},
        {"dropout": 0.2, "shortcut": "B", "order": "preactivation"},
        {"zero_init": True},
        {"zero_init": True, "order": "relu-before-addition", "activation": "gelu"},
        {
            "activation": "gelu",
            "stem": "deep",
            "block": "bottleneck",
            "shortcut": "B",
            "order": "bn-after-addition",
        },
        {"first_activation": "block", "order": "preactivation", "stem": "imagenet", "shortcut": "B"},
        {"stem_width": 9, "blocks": (1, 3, 2), "in_channels": 1},
    ],
)
def test_the_further_rows_of_the_same_net_run(choices: dict[str, object]) -> None:
    net = ResNet(small(**choices))
    net(torch.randn(4, net.spec.in_channels, 40, 36)).square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


# --- what the papers promise --------------------------------------------------------------------


@pytest.mark.parametrize("order", ["relu-only-preactivation", "preactivation", "relu-before-addition"])
def test_a_chain_of_identity_shortcuts_adds_up(order: str) -> None:
    """2016, eq. 4: x_L − x_l is the sum of the branches, when nothing stands after the addition."""
    net = ResNet(small(order=order, blocks=(6, 1, 1))).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    seen: dict[str, torch.Tensor] = {}
    for name, block in net.blocks():
        block.branch.register_forward_hook(lambda _m, _i, F, name=name: seen.update({f"F {name}": F}))
        block.register_forward_hook(lambda _m, x, y, name=name: seen.update({f"x {name}": x[0], f"y {name}": y}))
    net(torch.randn(3, 3, 8, 8, dtype=torch.float64))
    stage = [f"stage1.block{i}" for i in range(1, 7)]
    total = sum(seen[f"F {name}"] for name in stage)
    moved = seen[f"y {stage[-1]}"] - seen[f"x {stage[0]}"]
    assert moved.std() > 0.1
    torch.testing.assert_close(moved, total, rtol=1e-12, atol=1e-12)


def test_in_the_original_order_it_does_not_add_up() -> None:
    block = ResNet(small()).stages.stage1.block1
    x = torch.randn(3, 4, 8, 8).relu()
    assert not torch.allclose(block(x) - x, block.branch(x))


def test_the_first_and_last_blocks_of_preactivation_nets() -> None:
    net = ResNet(named("preresnet110"))
    assert [type(m).__name__ for m in net.stem] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert isinstance(net.stages.stage1.block1.before, nn.Identity)
    assert isinstance(net.stages.stage1.block2.before.bn, nn.BatchNorm2d)
    assert [type(m).__name__ for m in net.end] == ["BatchNorm2d", "ReLU"]
    assert net.stages.stage2.block1.shared  # both paths see the activation where the shape changes
    assert not net.stages.stage2.block2.shared


def test_the_2016_shortcuts_do_what_their_equations_say() -> None:
    x = torch.randn(2, 4, 6, 6).relu()
    for shortcut in ("constant", "exclusive-gating", "shortcut-gating"):
        block = ResNet(small(shortcut=shortcut, gate_bias=0.3)).stages.stage1.block2
        F = block.branch(x)
        if shortcut == "constant":
            expected = 0.5 * F + 0.5 * x
        else:
            g = torch.sigmoid(nn.functional.conv2d(x, block.add.gate.weight) + 0.3)
            expected = (g * F if shortcut == "exclusive-gating" else F) + (1 - g) * x
        torch.testing.assert_close(block(x), expected.relu())


def test_dropout_on_the_shortcut_drops_the_shortcut_alone() -> None:
    block = ResNet(small(shortcut="dropout")).stages.stage1.block2
    nn.init.zeros_(block.branch.bn2.weight)
    x = torch.rand(4, 4, 16, 16) + 1
    kept = block(x) / x
    assert {round(v, 4) for v in kept.unique().tolist()} == {0.0, 2.0}
    assert kept.mean().item() == pytest.approx(1.0, abs=0.1)
    torch.testing.assert_close(block.eval()(x), x)


def test_stochastic_depth_skips_later_blocks_more_often_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    net = ResNet(small(stochastic_depth=0.5, blocks=(1, 2, 1)))
    assert [round(block.skipped, 3) for _, block in net.blocks()] == [0.125, 0.25, 0.375, 0.5]
    block = net.stages.stage2.block2
    block.branch.eval()  # BN's running statistics: the branch is the same in both modes
    x = torch.rand(2, 6, 4, 4)
    with torch.no_grad():
        F = block.branch(x)
        seen = torch.stack([block(x) for _ in range(400)])
        skipped = (seen - x).abs().amax(dim=(1, 2, 3, 4)) == 0
        alive = seen[~skipped]
        assert skipped.float().mean().item() == pytest.approx(0.375, abs=0.08)
        torch.testing.assert_close(alive[0], (x + F / 0.625).relu())
        torch.testing.assert_close(block.eval()(x), (x + F).relu())


def test_zero_init_makes_every_block_its_shortcut() -> None:
    net = ResNet(small(zero_init=True))
    x = torch.randn(2, 4, 5, 5).relu()
    torch.testing.assert_close(net.stages.stage1(x), x)
    assert not any((last_bn(block).weight == 0).any() for _, block in ResNet(small()).blocks())


CONTIGUOUS = Compute(torch.device("cpu"), "float32", "contiguous", 1)
PLANNED = Compute(torch.device("cpu"), "float32", "channels-last", 1)


def forward_of(net: ResNet, planned: bool, *, checkpointing: bool = False) -> Forward:
    """What computes a net in channels last: its plan, or the net itself."""
    compute = PLANNED if planned else CONTIGUOUS
    net.to(memory_format=torch.channels_last)
    return make_forward(net, compute, checkpointing=checkpointing)


@pytest.mark.parametrize("choices", [{}, {"order": "preactivation"}, {"dropout": 0.3, "stochastic_depth": 0.3}])
def test_checkpointing_changes_no_number(choices: dict[str, object]) -> None:
    x = torch.randn(4, 3, 16, 16)
    outcomes = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        net = ResNet(small(**choices))
        forward = make_forward(net, CONTIGUOUS, checkpointing=checkpointing)
        torch.manual_seed(2)
        logits = forward(x)
        logits.square().sum().backward()
        outcomes.append((logits, [p.grad for p in net.parameters()], dict(net.state_dict())))
    torch.testing.assert_close(outcomes[0], outcomes[1], rtol=0, atol=0)


@compiled
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_plan_agrees_with_the_nets_own_forward(order: str, shortcut: str) -> None:
    if refusal(order, shortcut, "basic", "3x3"):
        pytest.skip("there is no such net")
    torch.manual_seed(0)
    # three pictures: too few tiles for winograd.cpp (test_winograd.py), whose rounding meets more of ReLU's kinks
    x = torch.randn(3, 3, 16, 16).to(memory_format=torch.channels_last)
    outcomes = []
    for planned in (False, True):
        torch.manual_seed(1)
        net = ResNet(small(order=order, shortcut=shortcut, blocks=(1, 2, 1), widths=(16, 32, 48), stem_width=16))
        forward = forward_of(net, planned)
        torch.manual_seed(2)
        logits = forward(x)
        logits.square().sum().backward()
        outcomes.append((logits, dict(net.state_dict()), [one.grad for one in net.parameters()]))
    torch.testing.assert_close(outcomes[0][:2], outcomes[1][:2], rtol=2e-4, atol=2e-4)
    for ours, theirs in zip(outcomes[1][2], outcomes[0][2], strict=True):
        # a rounding at ReLU's kink lets a number pass or not: 1.3 % of a gradient at the most in 240 trials
        assert (ours - theirs).norm() <= 0.05 * theirs.norm() + 1e-4
    used = [str(node) for node in graph(logits.grad_fn)]
    assert any("_BatchNorm" in name for name in used)
    assert not any("NativeBatchNorm" in name for name in used)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("stem", ["cifar", "deep"])
def test_gelu_stands_in_every_relus_place(order: str, stem: str) -> None:
    nets = [ResNet(small(order=order, stem=stem, activation=activation)) for activation in ("relu", "gelu")]
    layers = [[type(layer) for layer in net.modules()] for net in nets]
    assert layers[1] == [nn.GELU if layer is nn.ReLU else layer for layer in layers[0]]
    assert nets[0].state_dict().keys() == nets[1].state_dict().keys()


@compiled
@pytest.mark.parametrize("order", ORDERS)
def test_the_plan_of_a_gelu_net_agrees_to_bfloat16s_rounding(order: str) -> None:
    x, outcomes = torch.randn(8, 3, 16, 16).to(memory_format=torch.channels_last), []
    for planned in (False, True):
        torch.manual_seed(1)
        net = ResNet(small(order=order, activation="gelu", widths=(16, 32, 48), stem_width=16))
        forward = forward_of(net, planned)
        with torch.autocast("cpu", torch.bfloat16):
            logits = forward(x)
        logits.float().square().sum().backward()
        outcomes.append([logits.detach().float(), *[p.grad for p in net.parameters() if p.grad is not None]])
    for one, other in zip(*outcomes, strict=True):
        assert float((one - other).norm() / one.norm()) < 0.1
    assert any("_BatchNorm" in str(node) for node in graph(logits.grad_fn))


@pytest.mark.parametrize("choices", [{"squeeze": 2}, {"stochastic_depth": 0.5}, {"block": "bottleneck"}])
def test_the_plan_agrees_for_other_blocks_too(choices: dict[str, object]) -> None:
    x = torch.randn(4, 3, 16, 16).to(memory_format=torch.channels_last)
    outcomes = []
    for planned, checkpointing in [(False, False), (True, False), (True, True)]:
        torch.manual_seed(1)
        net = ResNet(small(widths=(16, 32, 48), stem_width=16, **choices))
        forward = forward_of(net, planned, checkpointing=checkpointing)
        torch.manual_seed(2)
        logits = forward(x)
        logits.square().sum().backward()
        outcomes.append((logits, [p.grad for p in net.parameters()], dict(net.state_dict())))
    torch.testing.assert_close(outcomes[0], outcomes[1], rtol=2e-4, atol=2e-4)
    torch.testing.assert_close(outcomes[1], outcomes[2], rtol=0, atol=0)


def test_in_bfloat16_the_plan_is_as_near_to_float32_as_the_nets_own() -> None:
    x = torch.randn(16, 3, 16, 16).to(memory_format=torch.channels_last)
    gradients = {}
    for way, planned, precise in [("exact", False, True), ("own", False, False), ("planned", True, False)]:
        torch.manual_seed(1)
        net = ResNet(small(widths=(32, 64, 64))).to(memory_format=torch.channels_last)
        forward = forward_of(net, planned)
        with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
            logits = forward(x)
        logits.float().square().sum().backward()
        gradients[way] = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
    own, planned_error = (float((gradients[way] - gradients["exact"]).norm()) for way in ("own", "planned"))
    assert planned_error < 1.3 * own


def graph(node: object) -> list[object]:
    """Every node of the gradient's graph behind `node`."""
    found, waiting = {}, [node]
    while waiting:
        now = waiting.pop()
        if now is not None and id(now) not in found:
            found[id(now)] = now
            waiting += [behind for behind, _ in now.next_functions]  # type: ignore[attr-defined]
    return list(found.values())


def test_checkpointing_keeps_far_fewer_activations() -> None:
    def kept(checkpointing: bool) -> int:
        net, sizes = ResNet(small(blocks=(8, 8, 8))), []
        forward = make_forward(net, CONTIGUOUS, checkpointing=checkpointing)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            forward(torch.randn(4, 3, 16, 16))
        return sum(sizes)

    assert kept(True) < kept(False) / 4


@pytest.mark.parametrize("blocks", [(5, 3, 2), (7,)])
def test_checkpointing_computes_all_again_but_the_last_of_several_stages(blocks: tuple[int, ...]) -> None:
    net, runs = ResNet(small(blocks=blocks, widths=(4, 6, 8)[: len(blocks)])), Counter[str]()
    forward = make_forward(net, CONTIGUOUS, checkpointing=True)
    for name, block in net.blocks():
        block.register_forward_pre_hook(lambda *_, name=name: runs.update([name]))
    forward(torch.randn(2, 3, 16, 16)).sum().backward()
    last = f"stage{len(blocks)}" if len(blocks) > 1 else "none"
    assert runs == {name: 1 if name.startswith(last) else 2 for name, _ in net.blocks()}


@pytest.mark.parametrize("name", ["preresnet1001", "resnet1202"])
def test_a_thousand_layers_take_a_step(name: str) -> None:
    net = ResNet(named(name))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the statistics of this batch, as after many steps
    forward = make_forward(net, CONTIGUOUS, checkpointing=True)
    before = net.fc.weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x = torch.randn(4, 3, 8, 8)
    loss = nn.functional.cross_entropy(forward(x), torch.tensor([1, 2, 3, 4]))
    loss.backward()
    with torch.inference_mode():
        assert net.eval()(x).isfinite().all()
    optimizer.step()
    assert loss.isfinite()
    assert net.stages.stage1.block1.branch.conv1.weight.grad.any()
    assert not torch.equal(net.fc.weight, before)


def test_every_residual_net_has_a_plain_twin_of_equal_count() -> None:
    for name, spec in RESIDUAL_NETS.items():
        twin = PLAIN_TWINS[plain_name(name)]
        assert (twin.blocks, twin.widths, twin.order) == (spec.blocks, spec.widths, spec.order)
    assert cost(named("preplain110"), 32)["parameters"] == cost(named("preresnet110"), 32)["parameters"]


# --- the parts of the fast net -------------------------------------------------------------------


def test_the_fast_net_is_its_parts() -> None:
    net = ResNet(named("fast-resnet10"))
    assert [name for name, _ in net.named_parameters() if "stem" in name] == ["stem.conv.weight"]
    assert not net.stem.get_parameter("conv.weight").requires_grad
    x = net.stem(torch.randn(2, 3, 32, 32))
    sides = []
    for _, block in net.blocks():
        x = block(x)
        sides.append(tuple(x.shape[1:]))
    assert sides == [(64, 16, 16), (256, 8, 8), (256, 4, 4), (256, 4, 4)]
    peak = torch.zeros(1, 256, 4, 4)
    peak[0, 3, 1, 2] = 1.0
    assert float(net.pool(peak).sum()) == 1.0  # the largest of each map, not the mean


def test_both_poolings_are_read_side_by_side() -> None:
    torch.manual_seed(0)
    net, x = ResNet(small(pooling="both")).eval(), torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        maps = net.end(net.stages(net.stem(x)))
        read = torch.cat([nn.AvgPool2d(maps.shape[2])(maps), nn.MaxPool2d(maps.shape[2])(maps)], 1).flatten(1)
        torch.testing.assert_close(net(x), net.fc(read))


def test_root_pooling_gives_the_signed_roots_of_both_and_a_finite_slope() -> None:
    both, roots = (ResNet(small(pooling=kind)).pool for kind in ("both", "roots"))
    maps = 4 * torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(roots(maps), both(maps).sign() * both(maps).abs().sqrt(), atol=0.01, rtol=0)
    empty = torch.zeros(1, 5, 3, 4, requires_grad=True)
    roots(empty).sum().backward()
    assert torch.isfinite(empty.grad).all()


def test_dirac_convolutions_hand_on_each_channel() -> None:
    torch.manual_seed(0)
    net = ResNet(small(dirac_init=True))
    branch = dict(net.blocks())["stage2.block1"].branch
    x = torch.randn(2, 4, 9, 9)
    conv1, conv2 = (branch.get_submodule(name) for name in ("conv1", "conv2"))
    handed_on = conv1(x)
    stride = x.shape[2] // handed_on.shape[2] + 1
    torch.testing.assert_close(handed_on[:, :4], x[:, :, ::stride, ::stride])
    assert handed_on[:, 4:].abs().sum() > 0
    torch.testing.assert_close(conv2(handed_on), handed_on)


def test_the_whitening_filters_are_as_many_as_the_specification_says() -> None:
    stem = nn.Conv2d(3, WHITENING_FILTERS + 2, 3, bias=False)
    whiten(stem, torch.randn(20, 3, 8, 8))
    used = stem.weight.detach().flatten(1).abs().sum(1) > 0
    assert used.tolist() == [True] * WHITENING_FILTERS + [False] * 2


def test_a_small_head_begins_with_small_logits() -> None:
    torch.manual_seed(0)
    head = ResNet(small(widths=(4, 6, 400), num_classes=50, small_head=True)).fc
    assert float(head.weight.detach().std()) == pytest.approx(1 / 400, rel=0.03)
    assert not head.bias.any()


def test_halving_by_max_pooling_pools_what_the_first_convolution_gives() -> None:
    net = ResNet(small(halving="max-pool", projection_pool=True, blocks=(1, 1, 1)))
    block = dict(net.blocks())["stage2.block1"].eval()
    x = torch.randn(2, 4, 9, 9)
    conv1, bn1, conv2, bn2 = (block.branch.get_submodule(name) for name in ("conv1", "bn1", "conv2", "bn2"))
    pooled = torch.nn.functional.max_pool2d(conv1(x), 2, ceil_mode=True)
    F = bn2(conv2(bn1(pooled).relu()))
    mean = torch.nn.functional.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    h = torch.cat([mean, torch.zeros(2, 2, 5, 5)], 1)
    torch.testing.assert_close(block(x), (F + h).relu())


def test_the_whitening_stem_makes_neighbouring_pixels_independent() -> None:
    torch.manual_seed(0)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(300, 3, 20, 20), 5, 1)
    images = smooth * torch.tensor([1.0, 2.0, 0.5])[:, None, None]  # like pictures, neighbours agree
    conv = nn.Conv2d(3, 60, 3, bias=False)
    whiten(conv, images)
    kept = 27
    answers = conv(images)[:, :kept].transpose(0, 1).flatten(1).detach()
    second_moments = (answers @ answers.T / answers.shape[1]).numpy()
    variances = np.diag(second_moments)
    assert np.abs(second_moments - np.diag(variances)).max() < 0.02
    strong = variances > 0.9  # where ε hardly matters
    assert strong.sum() >= 5
    assert (variances < 1.01).all()
    torch.testing.assert_close(conv.weight[kept : 2 * kept], -conv.weight[:kept])
    assert not conv.weight[2 * kept :].any()


@pytest.mark.parametrize(
    ("model", "side", "stem", "little"),
    [
        ("resnet18", 8, None, True), ("resnet50d", 30, None, True), ("preresnet18", 32, None, True),
        ("resnet18", 64, None, False), ("resnet20", 8, None, False), ("resnet18", 8, "cifar", False),
    ],
)  # fmt: skip
def test_a_stem_that_leaves_little_of_small_pictures_is_said(
    model: str, side: int, stem: Stem | None, little: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    monkeypatch.setattr(chosen_way, "say", told.append)
    spec = resolve(TrainSettings("digits", model=model, image_size=side, stem=stem), looking=False).spec
    left = _stem(spec)(torch.zeros(1, spec.in_channels, side, side)).shape[-1]
    assert [f"of pictures of {side} px it leaves {left}×{left} places" in one for one in told] == [True] * little


@pytest.mark.parametrize(
    ("name", "changed", "called"),
    [
        ("resnet32", {}, "resnet32"),
        ("resnet32", {"shortcut": "none"}, "plain32"),
        ("resnet32", {"shortcut": "C"}, "resnet32"),
        ("plain20", {"blocks": (1, 1, 1)}, "plain8"),
        ("resnet20", {"blocks": (9, 9, 9), "shortcut": "none"}, "plain56"),
        ("cifar-resnet18", {"blocks": (3, 4, 6, 3)}, "cifar-resnet34"),
        ("resnext50-32x4d", {"blocks": (3, 4, 23, 3)}, "resnext101-32x4d"),
        ("wide-resnet16-4", {"blocks": (4, 4, 4)}, "wide-resnet16-4"),
    ],
)
def test_a_run_calls_its_net_what_it_is(name: str, changed: dict[str, Any], called: str) -> None:
    net = named(name, **changed)
    resolved = {"data": "d", "model": name, "recipe": "quick", "epochs": 1, "seed": 0, "net": asdict(net)}
    resolved |= {"depth": net.depth, "parameters": 1, "multiply_adds": 1}
    run = RunSettings(command="", asked=dict(changed), settings={}, resolved=resolved)
    assert run.net == called
    if called in NAMED_NETS and "wide" not in called:
        assert NAMED_NETS[called].blocks == net.blocks
