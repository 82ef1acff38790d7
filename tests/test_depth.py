"""Depth is a dial: grown nets answer as before, smaller nets as the whole one less its blocks, and figures add up."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import made_up_records as made
import numpy as np
import pytest
import torch
from made_up_machine import measured_as
from page_reading import Page
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from residuum import runs
from residuum.choices import Views
from residuum.compute import choose_compute
from residuum.data.batches import Batch, Loader, open_loader, pixels_if_small
from residuum.data.cache import fingerprint
from residuum.data.digits import digits
from residuum.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, normalise
from residuum.data.share import one_pass
from residuum.data.split import cut_validation
from residuum.depth import repair as repair_module
from residuum.depth.choose import asked, check_possible, choose
from residuum.depth.described import net_name
from residuum.depth.grow import blocks_to_reach, grow, grown, why_not_grown
from residuum.depth.latency import in_turn, latencies
from residuum.depth.lesion import block_costs, lesion, lesions, what_is_left
from residuum.depth.measure import batch_statistics, identity, recalibrated, score, scores_without
from residuum.depth.progress import passes_of_curve, passes_of_draw, passes_without
from residuum.depth.recalibrate import recalibrate
from residuum.depth.remove import most_removable, still_removable, without
from residuum.depth.search import accuracies, least_harmful_first, random_order
from residuum.depth.trim import trim
from residuum.depth_printing import print_trim
from residuum.errors import Stopped, UserError
from residuum.evaluation.evaluate import evaluate
from residuum.evaluation.opening import NetWithData, open_with_data, with_validation
from residuum.files import write_json, write_whole
from residuum.loading import load, save_classifier
from residuum.models.block import ResidualBlock
from residuum.models.count import cost
from residuum.models.named import named
from residuum.models.resnet import ResNet, last_bn
from residuum.models.spec import NetSpec
from residuum.records.codec import write_record
from residuum.records.depth import Point
from residuum.records.model import Imported, Provenance
from residuum.reporting.depth_page import write_depth_report
from residuum.settings import EvaluateSettings, GrowSettings, LesionSettings, TrainSettings, TrimSettings
from residuum.verb import refuse_taken_by_trim

SHOWN = Preprocessing(8, 8, np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32))
CPU = choose_compute("cpu", "float32", threads=1)
ORDERS = ["original", "bn-after-addition", "relu-before-addition", "relu-only-preactivation", "preactivation"]
VIEWS: dict[Views, Callable[[Tensor], list[Tensor]]] = {
    "mirrored": lambda x: [x, x.flip(3)],
    "halved": lambda x: [x, x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))],
}
GROWABLE: list[dict[str, object]] = [
    *[{"order": order} for order in ("original", "relu-only-preactivation", "preactivation")],
    *[{"order": order, "activation": "gelu"} for order in ("relu-before-addition", *ORDERS[3:])],
]


@pytest.fixture(autouse=True, scope="module")
def _each_net_is_timed_once_a_turn() -> Iterator[None]:
    """No test here judges a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("residuum.depth.latency.TURN", 0.0)
        yield


def quickly(patch: pytest.MonkeyPatch) -> None:
    """Let trim time each net in one round, and measure BN's statistics on two batches."""
    patch.setattr("residuum.depth.latency.LEAST_ROUNDS", 1)
    patch.setattr("residuum.depth.latency.MOST_ROUNDS", 1)
    patch.setattr("residuum.evaluation.opening.RECALIBRATION", 250)


def tiny(blocks: tuple[int, ...] = (2, 2), **choices: object) -> NetSpec:
    net = {
        "stem": "cifar",
        "block": "basic",
        "blocks": blocks,
        "widths": (4, 8)[: len(blocks)],
        "shortcut": "A",
    }
    return NetSpec(**{**net, "num_classes": 10, **choices})  # type: ignore[arg-type]


def lived_in(spec: NetSpec, seed: int = 0) -> ResNet:
    """A net whose scales, shifts and statistics are no longer those of a new one."""
    torch.manual_seed(seed)
    net = ResNet(spec).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return net


def pictures(count: int = 6, size: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def batches(counts: tuple[int, ...] = (5, 3), seed: int = 2) -> list[Batch]:
    chance = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(count, 3, 8, 8, generator=chance),
            torch.randint(10, (count,), generator=chance),
            np.arange(count),
            0,
        )
        for count in counts
    ]


class Passes(nn.Module):
    """Stands in a block's place in tests: the identity."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def with_identities(net: ResNet, names: list[str]) -> nn.Module:
    """The net with those blocks overwritten, in the most direct way; spoils `net`."""
    for name in names:
        stage, block = name.split(".")
        setattr(getattr(net.stages, stage), block, Passes())
    return net


# --- growing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("choices", GROWABLE)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("squeeze", [0, 2])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_grown_net_answers_as_before(choices: dict[str, object], block: str, squeeze: int, shortcut: str) -> None:
    spec = tiny((1, 2), **choices, block=block, squeeze=squeeze, shortcut=shortcut)
    net, x = lived_in(spec), pictures()
    with torch.no_grad():
        for cast, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            net.to(cast)
            before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            deeper = grown(net, (2, 4))
            assert deeper.spec == replace(spec, blocks=(2, 4))
            now, kept = net.state_dict(), deeper.state_dict()
            assert all(torch.equal(now[name], tensor) for name, tensor in before.items())
            assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())
            for training in (False, True):  # the latter moves BN's statistics
                old, new = net.train(training)(x.to(cast)), deeper.train(training)(x.to(cast))
                torch.testing.assert_close(new, old, rtol=0, atol=tolerance)


@pytest.mark.parametrize("choices", GROWABLE)
@pytest.mark.parametrize("squeeze", [0, 2])
def test_new_blocks_learn(choices: dict[str, object], squeeze: int) -> None:
    net = grown(lived_in(tiny((1, 1), **choices, squeeze=squeeze)), (2, 3)).train()
    new = {name: block for name, block in net.blocks() if name not in {"stage1.block1", "stage2.block1"}}
    assert len(new) == 3
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    labels = torch.arange(16) % 10

    def gradients() -> dict[str, bool]:
        optimizer.zero_grad()
        cross_entropy(net(pictures(16)), labels).backward()  # type: ignore[no-untyped-call]
        return {
            f"{name}.{inner}": parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
            for name, block in new.items()
            for inner, parameter in block.named_parameters()
        }

    first = gradients()
    for name in new:
        assert any(has for inner, has in first.items() if inner.startswith(name)), name
    optimizer.step()
    if squeeze:  # the squeeze's inner layer waits for the step in which its outer one begins to move
        gradients()
        optimizer.step()
    assert [name for name, has in gradients().items() if not has] == []


def test_growth_depends_on_its_seed_alone_and_leaves_chance_alone() -> None:
    net = lived_in(tiny())
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one = grown(net, (2, 4), seed=1).state_dict()
    assert torch.rand(1) == expected
    same, other = grown(net, (2, 4), seed=1).state_dict(), grown(net, (2, 4), seed=2).state_dict()
    name = "stages.stage2.block4.branch.conv1.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    torch.manual_seed(1)
    assert torch.equal(one[name], ResNet(tiny((2, 4))).state_dict()[name])


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"shortcut": "none"}, "plain net has no shortcuts"),
        ({"shortcut": "C"}, "option C's shortcut is learnt"),
        ({"shortcut": "1x1"}, "1×1 shortcut is learnt"),
        ({"shortcut": "constant"}, "multiplied by a constant"),
        ({"shortcut": "exclusive-gating"}, "gate scales the shortcut"),
        ({"shortcut": "shortcut-gating"}, "gate scales the shortcut"),
        ({"shortcut": "dropout"}, "dropout on the shortcut"),
        ({"order": "bn-after-addition"}, "BN follows the addition"),
        ({"order": "relu-before-addition"}, "no gradient at zero"),
        ({"activation": "gelu"}, "GELU follows the addition"),
    ],
)
def test_nets_that_cannot_grow_are_refused_with_the_reason(choices: dict[str, str], reason: str) -> None:
    spec = tiny(**choices)
    assert reason in (why_not_grown(spec) or "")
    with pytest.raises(UserError, match=reason):
        grown(ResNet(spec), (3, 3))
    assert why_not_grown(tiny()) is None


def test_the_refusals_are_true() -> None:
    """What is refused would in fact change the answers, or never learn."""
    from residuum.depth.grow import _make_identity

    for choices in (
        {"shortcut": "none"},
        {"shortcut": "C"},
        {"shortcut": "1x1"},
        {"shortcut": "constant"},
        {"shortcut": "exclusive-gating"},
        {"shortcut": "shortcut-gating"},
        {"order": "bn-after-addition"},
        {"activation": "gelu"},
    ):
        block = dict(lived_in(tiny(**choices)).blocks())["stage1.block2"]
        _make_identity(block)
        x = torch.relu(torch.randn(4, 4, 8, 8))
        assert float((block(x) - x).detach().abs().max()) > 1e-4, choices
    block = dict(lived_in(tiny(order="relu-before-addition")).blocks())["stage1.block2"]
    nn.init.zeros_(last_bn(block).weight)
    nn.init.zeros_(last_bn(block).bias)
    block.train()(torch.randn(4, 4, 8, 8)).square().sum().backward()
    assert all(float(p.grad.abs().max()) == 0 for p in block.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("name", "depth", "blocks"),
    [
        ("resnet20", 56, (9, 9, 9)),
        ("resnet20", 26, (4, 4, 4)),
        ("resnet18", 34, (3, 4, 6, 3)),
        ("resnet50", 152, (3, 8, 36, 3)),
        ("preresnet50", 200, (3, 24, 36, 3)),
        ("seresnet50", 101, (3, 4, 23, 3)),
        ("resnet164", 1001, (111, 111, 111)),
        ("resnet18", 26, (3, 3, 3, 3)),
    ],
)
def test_a_depth_gives_the_blocks(name: str, depth: int, blocks: tuple[int, ...]) -> None:
    assert blocks_to_reach(named(name), depth) == blocks


@pytest.mark.parametrize(
    ("spec", "depth", "words"),
    [
        (named("resnet20"), 57, "a block has 2\n.*--to 56 or --to 58"),
        (named("resnet20"), 21, "--to 22$"),
        (named("resnet20"), 24, "--blocks"),
        (named("resnet50"), 80, "--blocks"),
        (named("resnet20"), 20, "residuum trim"),
        (named("resnet50"), 20, "residuum trim"),
        (named("resnet34", blocks=(3, 40, 6, 3)), 152, "--blocks"),
    ],
)
def test_a_depth_that_cannot_be_meant_is_refused(spec: NetSpec, depth: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        blocks_to_reach(spec, depth)


def test_growing_never_makes_a_net_shallower() -> None:
    with pytest.raises(UserError, match="residuum trim"):
        grown(lived_in(tiny((2, 2))), (1, 3))
    with pytest.raises(UserError, match="2 stages"):
        grown(lived_in(tiny((2, 2))), (2, 2, 2))


# --- taking out ---------------------------------------------------------------------------------

SHAPES = [
    {},
    {"shortcut": "B"},
    {"shortcut": "C"},
    {"shortcut": "none"},
    {"shortcut": "constant"},
    {"shortcut": "shortcut-gating"},
    {"block": "bottleneck", "squeeze": 2, "shortcut": "B"},
    {"block": "bottleneck", "stem_width": 16, "shortcut": "B"},
    *[{"order": order} for order in ORDERS[1:]],
    {"order": "preactivation", "first_activation": "block"},
    {"order": "preactivation", "shortcut": "C"},
]


@pytest.mark.parametrize("choices", SHAPES)
def test_a_net_without_blocks_is_the_net_with_identities(choices: dict[str, object]) -> None:
    spec = tiny((3, 3), **choices)
    for names in ([still_removable(spec)[0]], ["stage1.block2", "stage2.block2", "stage2.block3"]):
        net, x = lived_in(spec), pictures(3)
        kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        smaller = without(net, names)
        assert smaller.spec == ResNet(smaller.spec).spec
        assert sum(smaller.spec.blocks) == 6 - len(names)
        assert not smaller.training
        with torch.no_grad():
            answer = smaller(x)
            assert torch.equal(answer, with_identities(net, names)(x))
            smaller.fc.weight.zero_()  # a copy: the whole net does not notice
        assert torch.equal(net.fc.weight, kept["fc.weight"])


def test_what_may_be_taken_out() -> None:
    assert still_removable(tiny((2, 2))) == ["stage1.block1", "stage1.block2", "stage2.block2"]
    assert still_removable(tiny((1, 2))) == ["stage2.block2"]
    assert still_removable(tiny((2, 1), block="bottleneck", shortcut="B")) == ["stage1.block2"]
    assert still_removable(tiny((2, 1), stem_width=8)) == ["stage1.block2"]
    first_in_stem = tiny((2, 2), order="preactivation")
    assert still_removable(first_in_stem) == ["stage1.block2", "stage2.block2"]
    in_block = replace(first_in_stem, first_activation="block")
    assert still_removable(in_block) == ["stage1.block1", "stage1.block2", "stage2.block2"]
    assert still_removable(tiny((3, 2)), ["stage1.block1", "stage1.block3"]) == ["stage2.block2"]


@pytest.mark.parametrize("choices", SHAPES)
def test_the_most_removable_is_where_removing_ends(choices: dict[str, object]) -> None:
    spec = tiny((3, 2), **choices)
    order = random_order(spec, np.random.default_rng(0))
    assert len(order) == len(set(order)) == most_removable(spec)
    assert still_removable(spec, order) == []
    without(ResNet(spec), order)


@pytest.mark.parametrize(
    ("choices", "names", "reason"),
    [
        ({}, ["stage2.block1"], "another shape"),
        ({}, ["stage1.block7"], "no block stage1.block7"),
        ({}, ["stage1.block1", "stage1.block2"], "stage 1 would have no block left"),
        ({"order": "preactivation"}, ["stage1.block1"], "second BN and ReLU"),
    ],
)
def test_blocks_that_must_stay_are_refused(choices: dict[str, object], names: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        without(ResNet(tiny(**choices)), names)


def test_growing_and_taking_the_new_blocks_out_gives_the_net_back() -> None:
    net = lived_in(tiny((2, 2)))
    back = without(grown(net, (4, 3)), ["stage1.block3", "stage1.block4", "stage2.block3"])
    assert back.spec == net.spec
    for name, tensor in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)


# --- recalibrating ------------------------------------------------------------------------------


def test_recalibrated_statistics_are_plain_averages_over_the_batches() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, momentum=0.3)
    nn.init.constant_(norm.running_mean, 9)
    net = nn.Sequential(nn.Dropout(0.9), conv, norm).train()  # dropout is off while the statistics are taken
    norm.eval()
    weights = {name: p.clone() for name, p in net.named_parameters()}
    x = [pictures(4, 3, seed) for seed in range(5)]
    recalibrate(net, x)
    W, b = conv.weight.detach().numpy()[:, :, 0, 0].astype(np.float64), conv.bias.detach().numpy()  # type: ignore[union-attr]
    outputs = [np.einsum("kc,nchw->knhw", W, part.numpy()).reshape(2, -1) + b[:, None] for part in x]
    mean = np.mean([y.mean(1) for y in outputs], axis=0)
    variance = np.mean([y.var(1, ddof=1) for y in outputs], axis=0)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-5)
    assert norm.momentum == 0.3
    assert not norm.training
    assert net[0].training
    assert all(p.grad is None and torch.equal(p, weights[name]) for name, p in net.named_parameters())


def test_recalibrating_mends_wrong_statistics_of_a_whole_net() -> None:
    """One batch: evaluation is then training's normalisation, but for the unbiased variance that torch keeps."""
    net = lived_in(tiny())
    x = pictures(32)
    with torch.no_grad():
        wanted = net.train()(x)
        recalibrate(net, [x])
        got = net.eval()(x)
    torch.testing.assert_close(got, wanted, rtol=0.02, atol=0.02)


# --- measuring ----------------------------------------------------------------------------------


def plain_score(net: nn.Module, served: list[Batch]) -> tuple[float, float]:
    """Loss and accuracy in the most direct way."""
    with torch.no_grad():
        logits = torch.cat([net(batch.images) for batch in served]).double()
    labels = torch.cat([batch.labels for batch in served])
    return float(cross_entropy(logits, labels)), float((logits.argmax(1) == labels).double().mean())


@pytest.mark.parametrize("choices", SHAPES)
def test_shared_walks_give_what_each_smaller_net_gives(choices: dict[str, object]) -> None:
    spec, served = tiny((3, 2), **choices), batches()
    net = lived_in(spec)
    gone = ["stage1.block3"]
    stand_ins = dict.fromkeys(still_removable(spec, gone), identity)
    assert stand_ins
    whole, scores = scores_without(net, gone, stand_ins, served, CPU)
    expected = {name: plain_score(without(net, [*gone, name]), served) for name in stand_ins}
    assert (whole.loss, whole.accuracy) == pytest.approx(plain_score(without(net, gone), served), abs=1e-6)
    for name, (loss, accuracy) in expected.items():
        assert (scores[name].loss, scores[name].accuracy) == pytest.approx((loss, accuracy), abs=1e-6)


@pytest.mark.parametrize("views", VIEWS)
def test_answers_are_the_mean_logits_of_a_models_views(views: Views) -> None:
    net, served = lived_in(tiny((3, 2))), batches()
    whole, scores = scores_without(net, (), {"stage1.block2": identity}, served, CPU, views)
    for found, smaller in ((whole, net), (scores["stage1.block2"], without(net, ["stage1.block2"]))):
        with torch.no_grad():
            seen = [VIEWS[views](batch.images) for batch in served]
            logits = torch.cat([torch.stack([smaller(view) for view in both]).mean(0) for both in seen])
        labels = torch.cat([batch.labels for batch in served])
        assert found.loss == pytest.approx(float(cross_entropy(logits, labels)), abs=1e-6)
        assert found.accuracy == float((logits.argmax(1) == labels).double().mean())


def test_statistics_are_measured_on_the_views_that_a_model_is_asked_by() -> None:
    net, served = lived_in(tiny((2, 2))), batches()
    ours, by_hand = recalibrated(net, ["stage1.block2"], served, CPU, "halved"), without(net, ["stage1.block2"])
    recalibrate(by_hand, [view for batch in served for view in VIEWS["halved"](batch.images)])
    for name, tensor in by_hand.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)


def test_a_loss_stays_finite() -> None:
    net = lived_in(tiny())
    nn.init.constant_(net.fc.bias, float("nan"))
    assert score(net, batches(), CPU).loss == pytest.approx(87.3365, abs=1e-3)


@pytest.mark.parametrize("choices", [{"order": order} for order in ORDERS] + [{"shortcut": "C"}])
def test_a_lesion_leaves_the_shortcut_and_what_follows_the_addition(choices: dict[str, object]) -> None:
    """Against the same lesion made by hand: a branch that gives zero."""
    net, served = lived_in(tiny((2, 2), **choices)), batches()
    whole, scores = lesions(net, served, CPU)
    assert (whole.loss, whole.accuracy) == pytest.approx(plain_score(net, served), abs=1e-6)
    assert list(scores) == [name for name, _ in net.blocks()]
    for name, block in net.blocks():
        branch, silent = block.branch, nn.Sequential(*block.branch)
        silent.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        block.branch = silent
        assert (scores[name].loss, scores[name].accuracy) == pytest.approx(plain_score(net, served), abs=1e-6)
        block.branch = branch


@pytest.mark.parametrize("shortcut", ["constant", "exclusive-gating", "shortcut-gating"])
def test_a_lesion_scales_the_shortcut_as_the_addition_does(shortcut: str) -> None:
    net, served = lived_in(tiny((1, 2), shortcut=shortcut)), batches()
    scores = lesions(net, served, CPU)[1]
    block = dict(net.blocks())["stage2.block2"]
    block.branch.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    assert scores["stage2.block2"].loss == pytest.approx(plain_score(net, served)[0], abs=1e-6)


def test_a_silent_branch_is_not_missed() -> None:
    net = lived_in(tiny((3, 2)))
    silent = dict(net.blocks())["stage1.block2"]
    nn.init.zeros_(last_bn(silent).weight)
    nn.init.zeros_(last_bn(silent).bias)
    whole, scores = lesions(net, batches(), CPU)
    assert scores["stage1.block2"] == whole
    assert scores["stage1.block3"].loss != whole.loss


def test_what_a_lesioned_block_leaves() -> None:
    assert what_is_left(tiny(), "stage1.block1") == "identity"
    assert what_is_left(tiny(), "stage2.block1") == "shortcut"
    assert what_is_left(tiny(shortcut="C"), "stage1.block2") == "shortcut"
    assert what_is_left(tiny(order="bn-after-addition"), "stage1.block2") == "shortcut"
    assert what_is_left(tiny(shortcut="none"), "stage1.block2") == "identity"
    assert what_is_left(tiny(shortcut="none"), "stage2.block1") is None


def test_blocks_cost_what_the_net_costs_more_with_them() -> None:
    spec = tiny((2, 3), shortcut="B", block="bottleneck")
    costs = block_costs(spec, 9)
    for name, fewer in (("stage1.block2", (1, 3)), ("stage2.block3", (2, 2))):
        more, less = cost(spec, 9), cost(replace(spec, blocks=fewer), 9)
        assert costs[name] == {key: more[key] - less[key] for key in ("parameters", "multiply_adds")}
    assert list(costs) == [name for name, _ in ResNet(spec).blocks()]


@pytest.mark.usefixtures("warm_python")
def test_what_blocks_cost_is_counted_without_torchs_compiler() -> None:
    code = "import sys\nfrom residuum.depth.lesion import block_costs\nfrom residuum.models.named import named\n"
    code += "block_costs(named('resnet20'), 32)\nassert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_latencies_are_there_for_every_net_and_batch() -> None:
    net = lived_in(tiny((2, 2)))
    figures, protocol = latencies(net, ["stage1.block2", "stage2.block2"], 8, CPU, seconds=0)
    assert len(figures) == 3
    assert all(set(row) == {1, 32} and min(row.values()) > 0 for row in figures)
    assert "median of 5" in protocol
    assert "cpu, float32, channels-last, 1 threads" in protocol


@pytest.mark.parametrize("waits", [2, 3, 5])
def test_a_thread_that_waits_now_and_then_makes_no_net_slow(monkeypatch: pytest.MonkeyPatch, waits: int) -> None:
    """Two nets alike, of 1 ms; every so many passes the thread waits 12 ms for a core."""
    clock, calls = 0.0, 0

    def walk(_images: Tensor) -> None:
        nonlocal clock, calls
        calls += 1
        clock += 0.001 + (0.012 if calls % waits == 1 else 0.0)

    monkeypatch.setattr("residuum.depth.latency.time", SimpleNamespace(perf_counter=lambda: clock))
    turns = in_turn([walk, walk], [torch.zeros(1)], torch.device("cpu"), 0.02)
    rounds = np.stack([next(turns) for _ in range(5)])
    assert rounds == pytest.approx(0.001)


# --- searching ----------------------------------------------------------------------------------


def silenced(spec: NetSpec, names: set[str], seed: int = 0) -> ResNet:
    net = lived_in(spec, seed)
    for name, block in net.blocks():
        if name in names:
            nn.init.zeros_(last_bn(block).weight)
            nn.init.zeros_(last_bn(block).bias)
    return net


def test_blocks_that_do_nothing_go_first() -> None:
    silent = {"stage1.block2", "stage2.block3", "stage1.block4"}
    served = batches((20, 12))
    labelled = silenced(tiny((4, 3)), silent)
    with torch.no_grad():  # the whole net tells pictures apart, and is right and sure, so that other cuts cost
        labelled.fc.weight.mul_(100)
        labelled.fc.bias.sub_(torch.cat([labelled(batch.images) for batch in served]).mean(0))
        served = [replace(batch, labels=labelled(batch.images).argmax(1)) for batch in served]
    steps = list(least_harmful_first(labelled, served, CPU))
    order = [step.deleted for step in steps]
    assert order[0] is None
    assert set(order[1:4]) == silent
    assert len(order) == 1 + most_removable(labelled.spec) == 6
    assert [step.score for step in steps[1:4]] == [steps[0].score] * 3
    assert [step.searched for step in steps[1:4]] == [steps[0].searched] * 3
    assert steps[4].score.loss > steps[0].score.loss


def test_the_curve_is_that_of_the_nets_left() -> None:
    net, served = lived_in(tiny((3, 2))), batches()
    gone: list[str] = []
    for cut in least_harmful_first(net, served, CPU):
        name, found = cut.deleted, cut.score
        others = [other for other in still_removable(net.spec, gone) if name]
        gone += [name] if name else []
        assert (found.loss, found.accuracy) == pytest.approx(plain_score(without(net, gone), served), abs=1e-6)
        losses = [plain_score(without(net, [*gone[:-1], other]), served)[0] for other in others]
        assert found.loss <= min(losses, default=np.inf) + 1e-6


def test_the_search_sees_bn_as_it_will_be_and_leaves_it_as_it_is() -> None:
    """With statistics that are far from the truth, the blocks that do nothing are still found first."""
    net = silenced(tiny((4, 3)), {"stage1.block3", "stage2.block2"}).eval()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_var.mul_(50)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad(), batch_statistics(net):
        served = [replace(batch, labels=net(batch.images).argmax(1)) for batch in batches((20, 12))]
    order = [cut.deleted for cut in least_harmful_first(net, served, CPU)]
    assert set(order[1:3]) == {"stage1.block3", "stage2.block2"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())


def test_random_orders_differ_and_repeat() -> None:
    spec = tiny((4, 4))
    first, again = (random_order(spec, np.random.default_rng(3)) for _ in range(2))
    assert first == again
    generator = np.random.default_rng(3)
    assert len({tuple(random_order(spec, generator)) for _ in range(6)}) > 1


def test_accuracies_of_an_order() -> None:
    net, served = lived_in(tiny((3, 2))), batches()
    order = ["stage1.block1", "stage2.block2"]
    as_trained, again = accuracies(net, order, served, served, CPU)
    assert as_trained == [plain_score(without(net, order[:k]), served)[1] for k in (1, 2)]
    for k in (1, 2):
        smaller = without(net, order[:k])
        recalibrate(smaller, [batch.images for batch in served])
        assert again[k - 1] == plain_score(smaller, served)[1]


# --- choosing -----------------------------------------------------------------------------------


def curve(accuracies: list[float], milliseconds: list[float] | None = None) -> list[Point]:
    times = milliseconds or [10.0] * len(accuracies)
    return [
        made.point(k, accuracy=0.0 if k else 0.9, accuracy_recalibrated=a, latency_ms={1: 99.0 * k + 1, 32: t})
        for k, (a, t) in enumerate(zip(accuracies, times, strict=True))
    ]


def test_choices() -> None:
    falling = curve([0.2, 0.9, 0.893, 0.897, 0.88])
    assert choose({"keep": 1.0}, falling)[0] == 0
    assert choose({"keep": 0.75}, falling)[0] == 2
    assert choose({"keep": 5 / 9}, falling)[0] == 4
    assert choose({"max_drop": 0.0}, falling)[0] == 1
    assert choose({"max_drop": 0.3}, falling)[0] == 3
    assert choose({"max_drop": 0.29}, falling)[0] == 1
    assert choose({"max_drop": 50.0}, falling)[0] == 4
    assert choose({"max_drop": 0.5}, curve([0.9, 0.8]))[0] == 0  # the net as it is costs nothing
    faster = curve([0.9] * 4, [10.0, 8.0, 5.0, 6.0])
    assert choose({"speedup": 1.0}, faster)[0] == 0
    assert choose({"speedup": 1.2}, faster)[0] == 1
    assert choose({"speedup": 1.6}, faster)[0] == 2
    assert "2.00 times as fast in batches of 32" in choose({"speedup": 1.6}, faster)[1]
    assert "times that tell little" in choose({"speedup": 1.6}, faster, times_say_something=False)[1]


def test_choices_that_cannot_be_met_say_what_can() -> None:
    with pytest.raises(UserError, match=r"5 of 9 blocks out, but at most 3(.|\n)*--keep 0.67"):
        choose({"keep": 0.4}, curve([0.9] * 4))
    with pytest.raises(UserError, match=r"2.00 times as fast(.|\n)*--speedup 2 or less"):
        choose({"speedup": 2.5}, curve([0.9] * 4, [10.0, 8.0, 5.0, 6.0]))
    with pytest.raises(UserError, match="no block can be taken out"):
        check_possible({"max_drop": 1.0}, tiny((1, 1)))
    with pytest.raises(UserError, match="at most 3"):
        check_possible({"keep": 0.1}, tiny((3, 2)))
    assert asked(TrimSettings("m")) == {"keep": 0.75}
    assert asked(TrimSettings("m", speedup=2.0)) == {"speedup": 2.0}


# --- the verbs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the digits, some of its blocks silent; only its last layer has learnt."""
    net = silenced(tiny((4, 3), widths=(8, 16)), {"stage1.block2", "stage2.block3", "stage1.block4"})
    learn_last_layer(net)
    path = tmp_path_factory.mktemp("made") / "small.safetensors"
    save(path, net, data=made.data("digits", "another"), settings=None)
    return path


def learn_last_layer(net: ResNet) -> None:
    train = digits().train
    images = torch.from_numpy(pixels_if_small(train.pictures, 8, 8))
    recalibrate(net, [normalise(images, SHOWN)])
    with torch.no_grad():
        features = net.pool(net.end(net.stages(net.stem(normalise(images, SHOWN))))).flatten(1)
    optimizer = torch.optim.LBFGS(net.fc.parameters(), max_iter=60)

    def loss() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(net.fc(features), torch.from_numpy(train.labels))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(loss)


def save(path: Path, net: ResNet, shown: Preprocessing = SHOWN, **about: Any) -> None:
    step = Imported(date="2026-01-01", from_="0" * 16, source="a.pth", layout="timm")
    said = Provenance(metrics=made.evaluation().figures(), lineage=(step,), **about)
    save_classifier(path, net, net.spec, tuple(str(digit) for digit in range(10)), shown, said)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def types(content: object) -> object:
    """The shape of JSON: the types in place of the values, lists by their first item."""
    if isinstance(content, dict):
        return {name: types(value) for name, value in content.items()}
    if isinstance(content, list):
        return [types(content[0])] if content else []
    return type(content).__name__


NET_SHAPE = {
    "name": "str",
    "shortcut": "str",
    "order": "str",
    "activation": "str",
    "blocks": ["int"],
    "depth": "int",
    "parameters": "int",
    "multiply_adds": "int",
}
DATA_SHAPE = {
    "name": "str",
    "split": "str",
    "images": "int",
    "fingerprint": "str",
    "validation_from": "str",
    "commonest": "float",
}


def test_grow_writes_a_deeper_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = grow(GrowSettings(str(model), blocks=(4, 5)))
    assert path == Path("small-grown-20.safetensors")
    old, new = load(model), load(path)
    x = pictures(3)
    torch.testing.assert_close(new(x), old(x), rtol=0, atol=1e-6)
    assert new.classes == old.classes
    assert new.about.data == old.about.data
    assert [step.verb for step in new.about.lineage] == ["import", "grow"]
    assert new.about.lineage[1].from_ == sha(model)
    assert new.about.lineage[1].blocks == (4, 5)
    with pytest.raises(UserError, match="exists"):
        grow(GrowSettings(str(model), blocks=(4, 5)))
    for settings in (GrowSettings(str(model)), GrowSettings(str(model), to=20, blocks=(4, 5))):
        with pytest.raises(UserError, match="--to or --blocks"):
            grow(settings)
    with pytest.raises(UserError, match="already"):
        grow(GrowSettings(str(model), blocks=(4, 3)))


def test_lesion_leaves_its_figures(model: Path, tmp_path: Path) -> None:
    out = lesion(LesionSettings(str(model), out=str(tmp_path / "out"), device="cpu", threads=1, images=50))
    assert out == tmp_path / "out"
    found = json.loads((out / "lesion.json").read_text())
    environment = found.pop("environment")
    assert "torch" in environment
    assert types(found) == {
        "residuum_version": "str",
        "kind": "str",
        "model": NET_SHAPE,
        "data": DATA_SHAPE,
        "protocol": "str",
        "intact": {"loss": "float", "accuracy": "float"},
        "blocks": [
            {
                "name": "str",
                "stage": "int",
                "removable": "bool",
                "left": "str",
                "loss": "float",
                "accuracy": "float",
                "parameters": "int",
                "multiply_adds": "int",
            }
        ],
    }
    assert (found["kind"], found["data"]["images"], found["data"]["split"]) == ("lesion", 50, "validation")
    by_name = {block["name"]: block for block in found["blocks"]}
    assert len(by_name) == 7
    assert by_name["stage1.block2"]["loss"] == found["intact"]["loss"]
    assert (by_name["stage2.block1"]["removable"], by_name["stage2.block1"]["left"]) == (False, "shortcut")
    with pytest.raises(UserError, match="not an empty folder"):
        lesion(LesionSettings(str(model), out=str(tmp_path / "out")))


def test_lesion_and_trim_judge_as_evaluate_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is asked by several views has one accuracy on the same pictures, whoever asks, in whatever numbers
    this machine is fastest."""
    monkeypatch.setattr("residuum.compute.fastest", lambda **_: measured_as(1, bfloat16=0.1))
    quickly(monkeypatch)
    model, own = tmp_path / "halved.safetensors", made.data("digits", fingerprint(digits()))
    net = lived_in(tiny((2, 2), widths=(8, 16)))
    learn_last_layer(net)
    save(model, net, replace(SHOWN, views="halved"), data=own, settings={"validation": 0.1, "seed": 0})
    asked = EvaluateSettings(str(model), split="validation", device="cpu", threads=1)
    expected, alone = evaluate(asked), evaluate(replace(asked, views=("single",)))
    assert expected.loss != alone.loss
    how: dict[str, Any] = {"device": "cpu", "threads": 1}
    out = lesion(LesionSettings(str(model), out=str(tmp_path / "lesion"), **how))
    lesioned = json.loads((out / "lesion.json").read_text())
    out = trim(TrimSettings(str(model), out=str(tmp_path / "trim"), random=1, keep=1.0, **how))
    trimmed = json.loads((out / "trim.json").read_text())
    for found, whole in ((lesioned, lesioned["intact"]), (trimmed, trimmed["curve"][0])):
        assert found["protocol"] == expected.protocol == "picture, also at half its side, 8×8"
        assert found["data"]["images"] == expected.images
        assert whole["accuracy"] == expected.top1.value
        assert whole["loss"] == pytest.approx(expected.loss, abs=1e-6)
    assert "cpu, bfloat16, " in trimmed["latency_protocol"]
    told = load(out).about.metrics
    assert told is not None
    assert (told.protocol, told.top1) == (expected.protocol, expected.top1)


def test_a_plain_nets_lesions(tmp_path: Path) -> None:
    save(tmp_path / "plain.safetensors", lived_in(tiny((2, 2), shortcut="none")), data=None, settings=None)
    asked = LesionSettings(
        str(tmp_path / "plain.safetensors"),
        "digits",
        out=str(tmp_path / "out"),
        device="cpu",
        threads=1,
        images=20,
    )
    found = json.loads((lesion(asked) / "lesion.json").read_text())
    rows = {row["name"]: row for row in found["blocks"]}
    assert rows["stage2.block1"]["loss"] is rows["stage2.block1"]["accuracy"] is rows["stage2.block1"]["left"] is None
    assert rows["stage2.block2"]["left"] == "identity"
    assert rows["stage2.block2"]["loss"] > 0
    with pytest.raises(UserError, match="on which pictures"):
        lesion(LesionSettings(str(tmp_path / "plain.safetensors")))


def trim_settings(model: Path, out: Path, **changes: object) -> TrimSettings:
    quick = {
        "images": 40,
        "device": "cpu",
        "threads": 1,
        "precision": "float32",
        "random": 1,
        "out": str(out),
    }
    return TrimSettings(str(model), **{**quick, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trimmed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        quickly(patch)
        grown_file = grow(
            GrowSettings(str(model), blocks=(4, 4), out=str(tmp_path_factory.mktemp("g") / "deeper.safetensors"))
        )
        return trim(trim_settings(grown_file, tmp_path_factory.mktemp("t") / "out", keep=0.5, random=2))


def test_trim_leaves_the_whole_curve(trimmed: Path) -> None:
    found = json.loads((trimmed / "trim.json").read_text())
    assert "torch" in found.pop("environment")
    point = {
        "removed": "int",
        "deleted": "NoneType",
        "blocks": ["int"],
        "depth": "int",
        "parameters": "int",
        "multiply_adds": "int",
        "loss": "float",
        "loss_batch_statistics": "float",
        "accuracy": "float",
        "accuracy_recalibrated": "float",
        "latency_ms": {"1": "float", "32": "float"},
    }
    assert types(found) == {
        "residuum_version": "str",
        "kind": "str",
        "model": NET_SHAPE,
        "data": DATA_SHAPE,
        "protocol": "str",
        "latency_protocol": "str",
        "share_waited": "float",
        "call": "str",
        "asked": {"keep": "float"},
        "curve": [point],
        "random": [{"draw": "int", "accuracy": ["float"], "accuracy_recalibrated": ["float"]}],
        "chosen": {"removed": "int", "why": "str", "recalibrated": "bool"},
        "repaired": "NoneType",
    }
    curve = found["curve"]
    assert [p["removed"] for p in curve] == list(range(7))
    assert {p["deleted"] for p in curve[1:5]} == {
        "stage1.block2",
        "stage1.block4",
        "stage2.block3",
        "stage2.block4",
    }
    assert all(p["loss"] == curve[0]["loss"] for p in curve[:5])
    assert curve[5]["loss"] > curve[0]["loss"]
    assert curve[0]["accuracy"] > 0.5
    assert curve[6]["blocks"] == [1, 1]
    assert curve[0]["depth"] - curve[6]["depth"] == 12
    assert found["chosen"]["removed"] == 4
    assert [draw["draw"] for draw in found["random"]] == [0, 1]
    for draw in found["random"]:
        assert len(draw["accuracy"]) == len(draw["accuracy_recalibrated"]) == 7
        assert draw["accuracy"][0] == curve[0]["accuracy"]


def test_trim_writes_a_smaller_model_that_says_where_it_is_from(trimmed: Path) -> None:
    assert {path.name for path in trimmed.iterdir()} == {"model.safetensors", "trim.json"}
    classifier, found = load(trimmed), json.loads((trimmed / "trim.json").read_text())
    assert list(classifier.spec.blocks) == found["curve"][4]["blocks"]
    lineage = classifier.about.lineage
    assert [step.verb for step in lineage] == ["import", "grow", "trim"]
    assert lineage[2].deleted == tuple(point["deleted"] for point in found["curve"][1:5])
    metrics = classifier.about.metrics
    assert (metrics.split, metrics.images) == ("validation", 40)
    as_chosen = "accuracy_recalibrated" if found["chosen"]["recalibrated"] else "accuracy"
    assert metrics.top1.value == pytest.approx(found["curve"][4][as_chosen])
    assert metrics.top1.value == max(found["curve"][4][way] for way in ("accuracy", "accuracy_recalibrated"))


def test_trim_refuses_before_it_begins(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at most 5"):
        trim(trim_settings(model, tmp_path / "out", keep=0.1))
    with pytest.raises(UserError, match="which model"):
        trim(TrimSettings())
    assert not (tmp_path / "out").exists()


def test_what_was_measured_outlives_an_interruption(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    quickly(monkeypatch)
    monkeypatch.setattr("residuum.depth.trim.latencies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trim(trim_settings(model, tmp_path / "out", random=1, images=10))
    found = json.loads((tmp_path / "out" / "trim.json").read_text())
    assert len(found["curve"]) == 6
    assert len(found["random"]) == 1
    assert found["chosen"] is None
    assert found["curve"][1]["latency_ms"] is None


def figures_of(out: Path) -> dict[str, Any]:
    """What trim found, but for when and how fast."""
    found = json.loads((out / "trim.json").read_text())
    for point in found["curve"]:
        point.pop("latency_ms")
    return {part: found[part] for part in ("curve", "random", "chosen", "asked", "data", "call")}


class Interrupted(Exception):  # noqa: N818 - stands for a signal
    pass


@pytest.mark.parametrize("pulled", range(9))
def test_a_trim_that_was_stopped_anywhere_goes_on_with_the_same_call(
    model: Path, tmp_path: Path, pulled: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is stopped at the writing of each part in turn: of nothing, six nets, a random order, the times, the model."""
    quickly(monkeypatch)
    how: dict[str, Any] = {"random": 1, "images": 10, "keep": 0.57}
    whole = trim(trim_settings(model, tmp_path / "whole", **how))
    written, measured = 0, 0

    def write(path: Path, record: Any) -> None:
        nonlocal written
        write_record(path, record)
        written += 1
        if written == pulled + 1:
            raise Interrupted

    def counting(*given: Any) -> Any:
        nonlocal measured
        measured += 1
        return score(*given)

    monkeypatch.setattr("residuum.depth.trim.write_record", write)
    with pytest.raises(Interrupted):
        trim(trim_settings(model, tmp_path / "out", **how))
    monkeypatch.setattr("residuum.depth.trim.score", counting)
    refuse_taken_by_trim(tmp_path / "out")  # as the command does before torch is there
    trim(trim_settings(model, tmp_path / "out", **how))
    assert "goes on" in (said := capsys.readouterr().err)
    assert "going on with the trim that was stopped" in said
    assert measured == max(0, 6 - pulled)  # what was written is not measured again
    assert figures_of(tmp_path / "out") == figures_of(whole)
    tensors, expected = (load(place).net.state_dict() for place in (tmp_path / "out", whole))
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {runs.MODEL, runs.TRIM}


def test_a_folder_that_another_call_began_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    monkeypatch.setattr("residuum.depth.trim.choose", lambda *_, **__: {}["stopped"])
    out = tmp_path / "out"
    with pytest.raises(KeyError):
        trim(trim_settings(model, out, random=0, images=10))
    before = (out / runs.TRIM).read_bytes()
    for other in ({"images": 11}, {"keep": 0.6}, {"seed": 1}, {"random": 1}):
        with pytest.raises(UserError, match="another model, other pictures or other settings"):
            trim(trim_settings(model, out, **{"random": 0, "images": 10, **other}))
    assert (out / runs.TRIM).read_bytes() == before
    monkeypatch.undo()
    quickly(monkeypatch)
    trim(trim_settings(model, out, random=0, images=10))
    with pytest.raises(UserError, match="not an empty folder"):  # it has its model
        trim(trim_settings(model, out, random=0, images=10))
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / runs.LOCK).write_text("")  # before anything was written
    trim(trim_settings(model, tmp_path / "killed", random=0, images=10))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / runs.TRIM).write_bytes(before)
    (tmp_path / "other" / "mine.txt").write_text("")
    with pytest.raises(UserError, match="not an empty folder"):
        trim(trim_settings(model, tmp_path / "other", random=0, images=10))


def test_a_repair_that_was_stopped_goes_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TrainSettings] = []

    def train(settings: TrainSettings) -> runs.RunRecord:
        told.append(settings)
        run = Path(settings.out or settings.resume or "")
        if settings.resume is None:
            write_json(run / runs.SETTINGS, {})
            raise Stopped("stopped after step 3", 143)
        write_whole(run / runs.MODEL, (tmp_path / "out" / "model-unrepaired.safetensors").read_bytes())
        return made.run_record(run, [made.epoch(1, validation_accuracy=0.5)])

    monkeypatch.setattr(repair_module, "train", train)
    quickly(monkeypatch)
    asked = trim_settings(model, tmp_path / "out", random=0, repair=1, images=10)
    with pytest.raises(Stopped):
        trim(asked)
    monkeypatch.setattr("residuum.depth.trim.score", None)  # nothing is measured again
    found = json.loads((trim(asked) / "trim.json").read_text())
    assert [settings.resume for settings in told] == [None, str(tmp_path / "out" / "repair")]
    assert found["repaired"]["validation_accuracy"] == 0.5
    assert load(tmp_path / "out").about.lineage[-1].verb == "trim"


# --- how far it is --------------------------------------------------------------------------------


def walked(net: nn.Module, measure: Callable[[], object]) -> int:
    """How many pictures went through how many blocks, seen from within the blocks of any net."""
    count = 0

    def see(block: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> None:
        nonlocal count
        count += len(given[0]) if isinstance(block, ResidualBlock) else 0

    handle = nn.modules.module.register_module_forward_hook(see)
    try:
        measure()
    finally:
        handle.remove()
    return count


def test_progress_counts_what_goes_through_the_blocks() -> None:
    net, served, told = lived_in(tiny((3, 2))), batches(), list[int]()
    spec = net.spec
    order = random_order(spec, np.random.default_rng(0))
    seen = walked(net, lambda: accuracies(net, order, served, served, CPU, "single", told.append))
    assert seen == sum(told) == passes_of_draw(spec, most_removable(spec), 8, 8)
    told.clear()
    seen = walked(net, lambda: list(least_harmful_first(net, served, CPU, told=told.append)))
    assert seen == sum(told) <= passes_of_curve(spec, (), 8, 0)
    assert sum(told) >= 0.8 * passes_of_curve(spec, (), 8, 0)
    told.clear()
    names = [name for name, _ in net.blocks()]  # a lesion is shortcuts alone: the branch of no block is seen
    lesions(net, served, CPU, told=told.append)
    assert sum(told) == 8 * passes_without(names, names)


def test_trim_and_lesion_say_how_far_they_are_and_what_few_pictures_mean(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quickly(monkeypatch)
    monkeypatch.setattr("residuum.console.SECONDS_BETWEEN", 0.0)
    trim(trim_settings(model, tmp_path / "trim", random=1, images=10))
    said = capsys.readouterr().err
    shares = [int(share) for share in re.findall(r"measuring: (\d+)%", said)]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 100
    assert len(set(shares)) > 20
    assert re.search(r"measuring: \d+%, ETA \d+ s", said)
    assert re.search(r"timing 6 nets side by side, .*: 100%", said)
    assert "few pictures to judge by: each of the 10 is 10.00 points of accuracy" in said
    lesion(LesionSettings(str(model), out=str(tmp_path / "lesion"), device="cpu", threads=1, images=10))
    said = capsys.readouterr().err
    assert "measuring 7 blocks, each left out in turn, on 10 pictures: 100%" in said
    assert "few pictures" in said


@pytest.mark.parametrize(("target", "decides"), [({"keep": 0.75}, False), ({"speedup": 1.0}, True)])
def test_times_are_said_to_decide_only_where_they_do(
    model: Path,
    tmp_path: Path,
    target: dict[str, float],
    decides: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quickly(monkeypatch)
    monkeypatch.setattr("residuum.machine.share_waited", lambda *_: 0.3)
    trim(trim_settings(model, tmp_path / "out", random=0, images=10, **target))
    said = capsys.readouterr().err
    assert "these times may mislead" in said
    assert ("the choice" in said) == decides


@pytest.mark.parametrize("worse", [False, True])
def test_repair_trains_the_cut_net_on_the_other_pictures(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worse: bool
) -> None:
    """Training itself is another room's; here it is seen what it is told, and what becomes of its figures."""
    told: list[TrainSettings] = []
    grown_file = grow(GrowSettings(str(model), blocks=(4, 4), out=str(tmp_path / "other.safetensors")))

    def train(settings: TrainSettings) -> runs.RunRecord:
        told.append(settings)
        assert settings.start is not None
        run = Path(settings.out or "")
        write_whole(run / runs.MODEL, grown_file.read_bytes())  # any other
        lines = [made.epoch(at, validation_accuracy=accuracy) for at, accuracy in ((1, 0.5), (2, 0.0 if worse else 1))]
        return made.run_record(run, lines, made.evaluation(0.7, "test", 360))

    monkeypatch.setattr(repair_module, "train", train)
    quickly(monkeypatch)
    asked = trim_settings(model, tmp_path / "out", random=0, repair=2, seed=5, max_drop=100.0)
    out = trim(asked)
    found = json.loads((out / "trim.json").read_text())["repaired"]
    assert found.pop("original_test_accuracy") == pytest.approx(
        float((answers(model, digits().test).argmax(1) == digits().test.labels).mean())  # type: ignore[union-attr]
    )
    assert found.pop("protocol") == "single view, 8×8"
    figures = {"epochs": 2, "validation_accuracy": 0.0 if worse else 1.0, "test_accuracy": 0.7, "test_images": 360}
    assert found == figures | ({"kept": False} if worse else {})
    kept = out / "model-unrepaired.safetensors" if worse else grown_file
    assert (out / "model.safetensors").read_bytes() == kept.read_bytes()
    capsys.readouterr()
    print_trim(asked, out, json=False)
    assert ("the unrepaired net: training on made it worse" in capsys.readouterr().out) == worse
    assert ("the model is the unrepaired one" in Page(write_depth_report(out).read_text()).plain) == worse
    (settings,) = told
    assert (settings.data, settings.epochs, settings.recipe) == ("digits", 2, "fine_tune")
    assert settings.start == str(out / "model-unrepaired.safetensors")
    assert (settings.validation, settings.seed) == (0.1, 0)  # those of the cut, not of --seed
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "model-unrepaired.safetensors",
        "repair",
        "report.html",
        "trim.json",
    }
    assert load(out).about.lineage[-1].verb == ("trim" if worse else "grow")


def opened_at(model: Path, source: str | None) -> NetWithData:
    return with_validation(open_with_data(load(model), CPU, source))


def answers(model: Path, split: object) -> np.ndarray:  # type: ignore[type-arg]
    from residuum.evaluation.evaluate import probabilities

    classifier = load(model)
    loader = open_loader(split, classifier.preprocessing, torch.device("cpu"), 0, 100)  # type: ignore[arg-type]
    return probabilities(classifier.net, loader, CPU)


# --- pictures -----------------------------------------------------------------------------------


def test_pictures_are_those_kept_aside_in_training_and_never_the_same(tmp_path: Path) -> None:

    own = made.data("digits", fingerprint(digits()))
    train = digits().train
    net = lived_in(tiny((1, 1)))
    cases = {
        "own": (own, {"validation": 0.2, "seed": 7}, 0.2, 7),
        "other": (made.data("digits", "another"), {"validation": 0.2, "seed": 7}, 0.1, 0),
        "none": (own, {"validation": 0.0, "seed": 7}, 0.1, 0),
        "imported": (None, None, 0.1, 0),
    }
    for name, (of, settings, share, seed) in cases.items():
        save(tmp_path / f"{name}.safetensors", net, data=of, settings=settings)
        told = open_with_data(load(tmp_path / f"{name}.safetensors"), CPU, "digits")
        assert told.same == (of and of.fingerprint == own.fingerprint)
        assert (told.cut is None) == (name != "own")  # nothing is cut that training did not cut
        assert told.cut is None or told.cut.origin == "kept aside in training"
        opened = with_validation(told)
        assert opened.validation_split == ("train" if name == "none" else "validation")
        training, validation = cut_validation(train.labels, share, seed)[:2]  # type: ignore[index]
        judged = opened.validation_loader().split
        assert np.array_equal(judged.labels, train.labels[validation])
        assert [judged.pictures.name(i) for i in (0, 5)] == [train.pictures.name(int(validation[i])) for i in (0, 5)]
        seen = opened.recalibration_loader(3).split
        seen_names = {seen.pictures.name(i) for i in range(len(seen))}
        judged_names = {judged.pictures.name(i) for i in range(len(judged))}
        assert len(seen_names) == len(training)  # fewer than 2,000 here
        assert not seen_names & judged_names
    few = opened.validation_loader(30)
    assert len(few.split) == 30
    assert few.images is not None
    assert len(few.images) == 30


def test_the_rows_that_a_run_kept_aside_go_before_all(tmp_path: Path) -> None:

    own = made.data("digits", fingerprint(digits()))
    save(tmp_path / runs.MODEL, lived_in(tiny((1, 1))), data=own, settings={"validation": 0.1, "seed": 0})
    write_json(tmp_path / runs.SPLIT, {"validation": [3, 1, 4, 15]})
    opened = opened_at(tmp_path, None)
    assert opened.cut is not None
    assert sorted(opened.cut.validation.tolist()) == [1, 3, 4, 15]
    assert not {1, 3, 4, 15} & set(opened.cut.training.tolist())
    assert len(opened.cut.training) == len(digits().train) - 4


def test_classes_are_numbered_as_the_model_does(tmp_path: Path) -> None:
    net = lived_in(tiny((1, 1)))
    backwards = tuple(str(digit) for digit in range(9, -1, -1))
    save_classifier(tmp_path / "m.safetensors", net, net.spec, backwards, SHOWN, Provenance())
    data = opened_at(tmp_path / "m.safetensors", "digits").data
    assert np.array_equal(data.train.labels, 9 - digits().train.labels)
    assert data.test is not None
    assert data.test.labels.max() == 9
    other = tuple("abcdefghij")
    save_classifier(tmp_path / "o.safetensors", net, net.spec, other, SHOWN, Provenance())
    with pytest.raises(UserError, match="classes"):
        opened_at(tmp_path / "o.safetensors", "digits")


def test_batches_can_be_walked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "m.safetensors", lived_in(tiny((1, 1))), data=None, settings=None)
    opened = opened_at(tmp_path / "m.safetensors", "digits")
    loader = opened.recalibration_loader(0)
    held = loader.held()
    monkeypatch.setattr("residuum.data.batches.HELD_BYTES", 0)
    served = loader.held()
    assert isinstance(held, list)
    assert isinstance(served, Loader)
    for _ in range(2):
        for one, other in zip(held, served, strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels, other.labels)
    assert sum(len(batch.labels) for batch in served) == len(loader.split)
    assert {len(batch.labels) for batch in opened.recalibration_loader(0, even=True)} == {125}
    assert len(list(one_pass(len(loader.split), 125))) == len(list(held))


def test_names_of_nets() -> None:
    assert net_name(named("resnet56", 7, shortcut="B")) == "resnet56"
    assert net_name(named("plain20")) == "plain20"
    assert net_name(named("preresnet50")) == "preresnet50"
    assert net_name(named("resnet20", blocks=(3, 2, 3))) == "resnet18"
    assert net_name(tiny(shortcut="none")) == "plain10"


# --- on public weights and real pictures ----------------------------------------------------------


def test_public_weights_grown_to_56_layers_answer_the_same_and_learn(public_model: Path, tmp_path: Path) -> None:
    deeper = load(grow(GrowSettings(str(public_model), to=56, out=str(tmp_path / "56.safetensors"))))
    whole = load(public_model)
    assert isinstance(deeper.net, ResNet)
    assert deeper.spec.depth == 56
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(deeper.net(x), whole.net(x), rtol=0, atol=1e-5)
    torch.nn.functional.cross_entropy(deeper.net.train()(x), torch.arange(8)).backward()
    new = [block for name, block in deeper.net.blocks() if int(name.split("block")[1]) > 3]
    assert len(new) == 18
    assert all(last_bn(block).weight.grad.any() for block in new)


@pytest.mark.slow
def test_public_weights_grown_to_56_layers_score_what_was_published(
    public_model: Path, cifar10: Path, tmp_path: Path
) -> None:
    deeper = grow(GrowSettings(str(public_model), to=56, out=str(tmp_path / "56.safetensors")))
    figures = evaluate(EvaluateSettings(str(deeper), str(cifar10)))
    assert (figures.split, figures.images) == ("test", 10_000)
    assert figures.top1.value == 0.9173
