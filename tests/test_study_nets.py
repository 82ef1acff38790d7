"""Studies that compare whole nets: each predicate sees both answers, and a run of seconds finds what must hold."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import made_up_records as made
import pytest
import torch
from study_words import left_in_english
from torch import nn

from residuum import runs
from residuum.errors import UserError
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.codec import write_record
from residuum.records.study import Lines, Quantity, Verdict
from residuum.studies import (
    activation_order,
    normalisation,
    shortcut_ablations,
    shortcut_options,
    stride,
    thousand_layers,
)
from residuum.studies.catalogue import open_study
from residuum.studies.frame import Findings, Setup, Study, quantity
from residuum.studies.run import record

pytestmark = pytest.mark.usefixtures("few_digits")


def figures(**means: float) -> dict[str, Quantity]:
    """Quantities of three seeds that spread by ±0.1 about these means; "_" in a name stands for "-"."""
    return {
        name.replace("_", "-"): quantity(name, tuple(mean + by for by in (-0.1, 0.0, 0.1)))
        for name, mean in means.items()
    }


def answers(judge: Callable[[Mapping[str, Quantity]], Verdict], *cases: Mapping[str, Quantity]) -> list[str]:
    return [judge(case).answer for case in cases]


def tiny(study: Study, folder: Path, seeds: tuple[int, ...] = (0, 1)) -> Findings:
    """Measure at scale tiny; the findings can be judged and written down."""
    setup = Setup("tiny", seeds, folder, threads=1)
    found = study.measure(setup)
    assert left_in_english(found) == set()
    written = record(study, setup, found, 1.0)
    assert written.verdict.answer in {"supported", "contradicted", "undecided"}
    write_record(folder / study.name / runs.STUDY, written)
    return found


def with_each_above(names: list[str], base: str, gap: float) -> dict[str, Quantity]:
    return figures(**{base: 10.0}) | {f"{name}-test": one for name in names for one in figures(it=10.0 + gap).values()}


# --- shortcut-options ---------------------------------------------------------------------------


def test_projections_are_judged_by_what_they_add_to_option_a() -> None:
    def case(none: float, a: float, projected: float) -> dict[str, Quantity]:
        q = figures(none_test=none, A_test=a, B_test=projected, C_test=projected)
        return q | shortcut_options._room_left(q)

    paper = case(28.54, 25.03, 24.3)
    needed = case(28.54, 25.03, 20.0)
    harmful = case(20.0, 25.0, 25.0)
    alike = case(25.0, 25.0, 25.0) | {name: quantity(name, (-1.0, 0.0, 1.0)) for name in ("B-room", "C-room")}
    judge = shortcut_options.RULE.judge
    assert answers(judge, paper, needed, harmful, alike) == [
        "supported",
        "contradicted",
        "contradicted",
        "undecided",
    ]
    assert paper["B-room"].mean == pytest.approx((28.54 - 25.03) / 2 - (25.03 - 24.3))


def test_options_a_and_none_have_equally_many_parameters(studies: Path) -> None:
    found = tiny(open_study("shortcut-options"), studies)
    count = {option: found.quantities[f"{option}-parameters"].mean for option in "ABC"}
    assert count["A"] == found.quantities["none-parameters"].mean
    assert count["B"] - count["A"] == (4 * 8 + 2 * 8) + (8 * 16 + 2 * 16)  # two 1×1 convolutions and their BN
    assert count["C"] - count["B"] == 4 * 4 + 2 * 4
    test_errors = [found.quantities[f"{option}-test"].values for option in shortcut_options.OPTIONS]
    assert all(len(values) == 2 and 0 <= min(values) <= max(values) <= 100 for values in test_errors)


# --- shortcut-ablations -------------------------------------------------------------------------


def test_one_manipulation_that_helps_contradicts() -> None:
    names = list(shortcut_ablations.MANIPULATIONS)
    worse = with_each_above(names, "identity_test", 3.0)
    one_better = worse | {"dropout-test": figures(it=7.0)["it"]}
    one_alike = worse | {"dropout-test": figures(it=10.0)["it"]}
    assert answers(shortcut_ablations.RULE.judge, worse, one_better, one_alike) == [
        "supported",
        "contradicted",
        "undecided",
    ]


def test_every_manipulation_is_another_net(studies: Path) -> None:
    found = tiny(open_study("shortcut-ablations"), studies)
    errors = {name: q.values for name, q in found.quantities.items() if name.endswith("-train")}
    assert len(errors) == 6
    assert len(set(errors.values())) == 6
    parameters = {row[0]: int(row[2].replace(",", "")) for row in found.tables[0].rows}
    identity, labels = parameters["identity"], shortcut_ablations.MANIPULATIONS
    assert parameters[labels["constant"]] == parameters[labels["dropout"]] == identity
    convolutions = 4 * 4 + 4 * 8 + 8 * 16
    assert parameters[labels["1x1"]] == identity + convolutions
    gates = convolutions + 4 + 8 + 16
    assert parameters[labels["exclusive-gating"]] == parameters[labels["shortcut-gating"]] == identity + gates


# --- activation-order ---------------------------------------------------------------------------


def test_the_order_is_judged_at_the_greater_depth() -> None:
    def case(pre: float, bn: float, relu: float) -> dict[str, Quantity]:
        names = {
            "original": 10.0,
            "preactivation": pre,
            "bn_after_addition": bn,
            "relu_before_addition": relu,
        }
        return figures(**{f"{name}_deep_test": mean for name, mean in names.items()})

    assert answers(
        activation_order.RULE.judge, case(9, 12, 11), case(11, 12, 11), case(9, 8, 11), case(10, 12, 11)
    ) == ["supported", "contradicted", "contradicted", "undecided"]


def test_all_five_orders_are_trained_at_two_depths(studies: Path) -> None:
    found = tiny(open_study("activation-order"), studies, (0,))
    assert len(activation_order.ORDERS) == 5
    errors = {name: q.values for name, q in found.quantities.items() if name.endswith("-train")}
    losses = next(chart for chart in found.charts if chart.title == "Training loss, 14 layers")
    assert isinstance(losses, Lines)
    assert len({line.points for line in losses.lines}) == 5
    # with one block a stage every later block changes the shape, and its shortcut reads the activated map: what stands
    # after one addition in the one order stands before the next block in the other
    for one, other in (("original", "relu-only-preactivation"), ("bn-after-addition", "preactivation")):
        assert errors[f"{one}-shallow-train"] == pytest.approx(errors[f"{other}-shallow-train"], abs=0.5)
    layers = [int(row[1]) for row in found.tables[0].rows]
    assert layers == [8] * 5 + [14] * 5


# --- stride -------------------------------------------------------------------------------------


def test_the_stride_is_judged_by_error_and_by_count() -> None:
    exact = stride.resnet50_cost()
    better = figures(**{"1x1_test": 10.0, "3x3_test": 9.0}) | exact
    worse = figures(**{"1x1_test": 9.0, "3x3_test": 10.0}) | exact
    alike = figures(**{"1x1_test": 9.0, "3x3_test": 9.0}) | exact
    dearer = better | {"more": quantity("more", (9.0,), exact=True)}
    assert answers(stride.RULE.judge, better, worse, alike, dearer) == [
        "supported",
        "contradicted",
        "undecided",
        "contradicted",
    ]


def test_resnet50_has_the_published_multiply_adds() -> None:
    q = stride.resnet50_cost()
    assert q["1x1-resnet50"].values == (3_857_973_248,)
    assert q["3x3-resnet50"].values == (4_089_184_256,)
    assert q["more"].mean == pytest.approx(5.993, abs=0.001)


def test_the_stride_costs_multiply_adds_and_no_parameters(studies: Path) -> None:
    found = tiny(open_study("stride"), studies)
    (early, late) = found.tables[0].rows
    assert early[1:3] == late[1:3]
    more = int(late[3].replace(",", "")) - int(early[3].replace(",", ""))
    # the first 1×1 of stages 2 and 3 sees the whole map: 8×8 and 4×4 places, not 4×4 and 2×2
    assert more == (64 - 16) * 16 * 8 + (16 - 4) * 32 * 16


# --- thousand-layers ----------------------------------------------------------------------------


def test_deep_nets_are_judged_against_each_other_and_against_guessing() -> None:
    def case(original: float, pre: float) -> dict[str, Quantity]:
        q = {"chance": quantity("chance", (math.log(10),), exact=True)}
        for depth in thousand_layers.DEPTHS:
            q |= figures(**{f"original-{depth}-loss": original, f"preactivation-{depth}-loss": pre})
        return q

    assert answers(thousand_layers.RULE.judge, case(4.0, 1.5), case(1.0, 1.5), case(4.0, 2.8), case(1.5, 1.5)) == [
        "supported",
        "contradicted",
        "contradicted",
        "undecided",
    ]


def test_deep_nets_cost_more_than_the_short_one(studies: Path) -> None:
    found = tiny(open_study("thousand-layers"), studies, (0,))
    q = found.quantities
    assert q["chance"].mean == pytest.approx(math.log(10))
    for net in thousand_layers.NETS:
        assert q[f"{net.key}-times"].mean > 1  # 18 blocks against 3
        assert 0 < q[f"{net.key}-loss"].mean < 100
    basic, bottleneck = 6 * 6 + 2, 9 * 6 + 2
    assert [int(row[1]) for row in found.tables[0].rows] == [bottleneck] * 2 + [basic] * 2
    assert [row[5] for row in found.tables[0].rows] == ["1 of 1"] * 4
    assert [len(chart.lines) for chart in found.charts[:2]] == [2, 2]  # type: ignore[union-attr]


def test_a_net_that_overflows_counts_as_guessing(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(setup: Setup, wanted: list[Any]) -> list[runs.RunRecord]:
        if any(one.model == "resnet1202" for one in wanted):
            said = "training stopped at step 3: the loss is nan"
            raise UserError("training resnet1202-s0 failed", said)
        return known(setup, wanted)

    known = thousand_layers.trained
    monkeypatch.setattr(thousand_layers, "trained", failing)
    found = tiny(open_study("thousand-layers"), studies, (0,))
    assert found.quantities["original-1202-loss"].values == (math.log(10),)
    assert found.quantities["original-1202-train"].mean == pytest.approx(90)
    assert "original-1202-step" not in found.quantities
    assert found.tables[0].rows[2][5] == "0 of 1"
    assert [len(chart.lines) for chart in found.charts[:2]] == [2, 1]  # type: ignore[union-attr]


def test_other_failures_of_deep_nets_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(setup: Setup, wanted: list[Any]) -> list[runs.RunRecord]:
        raise UserError("cannot write", "0 MB are free")

    monkeypatch.setattr(thousand_layers, "trained", failing)
    with pytest.raises(UserError, match="cannot write"):
        thousand_layers.measure(Setup("tiny", (0,), tmp_path, threads=1))


# --- normalisation ------------------------------------------------------------------------------


def test_dropout_is_needless_within_half_a_point_and_biases_must_be_idle() -> None:
    def case(without: float, dropout: float, idle: float = 1e-14) -> dict[str, Quantity]:
        exact = {name: quantity(name, (idle,), exact=True) for name in ("logits", "gradient")}
        return figures(without_test=without, dropout_test=dropout) | exact

    assert answers(
        normalisation.RULE.judge, case(10, 12), case(10, 10), case(12, 10), case(10.5, 10), case(10, 12, 1e-3)
    ) == ["supported", "supported", "contradicted", "undecided", "contradicted"]


def test_biases_before_bn_are_idle_and_dropout_is_not(studies: Path) -> None:
    found = tiny(open_study("normalisation"), studies)
    assert found.quantities["logits"].mean < 1e-9
    assert found.quantities["gradient"].mean < 1e-9
    assert found.quantities["without-train"].values != found.quantities["dropout-train"].values


def small_net(**choices: Any) -> tuple[ResNet, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    net = ResNet(named("resnet20", 10, blocks=(1, 1, 1), widths=(4, 8, 16), **choices)).double()
    return net, torch.randn(16, 3, 8, 8, dtype=torch.float64), torch.arange(16) % 10


def test_bias_change_sees_every_convolution_before_a_bn() -> None:
    net, images, labels = small_net(shortcut="B")
    found = normalisation.bias_change(net, images, labels)
    assert len(found.layers) == 1 + 2 * 3 + 2  # stem, two a block, two projections
    assert found.logits < 1e-9
    assert found.gradient < 1e-9
    assert min(weight for weight, _ in found.layers) > 1e-6
    assert all(conv.bias is None for conv in net.modules() if isinstance(conv, nn.Conv2d))


def test_biases_are_not_idle_where_the_mean_is_not_subtracted(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images, labels = small_net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            monkeypatch.setattr(module, "forward", lambda x: x)
    found = normalisation.bias_change(net, images, labels)
    assert found.logits > 1e-3
    assert found.gradient > 1e-3


def test_a_preactivation_branch_ends_in_a_convolution_without_bn() -> None:
    net, _, _ = small_net(order="preactivation")
    assert len(list(normalisation.before_bn(net))) == 1 + 3


def test_the_late_loss_is_that_of_the_last_quarter(tmp_path: Path) -> None:
    lines = [made.step(at, loss=float(at)) for at in range(1, 9)]
    record = made.run_record(tmp_path, [*lines, *(made.epoch(at, seconds=2.0) for at in (4, 8))])
    assert thousand_layers.late_loss(record) == (7 + 8) / 2
    assert thousand_layers.seconds_a_step(record) == 4 / 8
