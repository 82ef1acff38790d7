"""Studies of what goes on inside nets: responses, propagation, shattering, lesions, paths."""

import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from study_words import left_in_english
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from residuum.compute import choose_compute
from residuum.data.batches import Batch
from residuum.depth.lesion import lesions as score_lesions
from residuum.errors import UserError
from residuum.models.mlp import MLP
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.codec import to_json
from residuum.records.numbers import wilson
from residuum.records.study import Lines, Points, Quantity, Verdict
from residuum.studies import examined, lesions, paths, propagation, responses, shattering
from residuum.studies.catalogue import open_study
from residuum.studies.frame import Findings, Setup, Study, quantity
from residuum.studies.run import record

CPU = choose_compute("cpu", "float32", threads=1)
SEEDS = (0, 1)


def net_of(blocks: tuple[int, ...] = (2, 2), seed: int = 0, **choices: object) -> ResNet:
    """A net in evaluation mode whose BN is no longer that of a new one."""
    known = {"stem": "cifar", "block": "basic", "widths": (4, 8)[: len(blocks)], "shortcut": "A"}
    spec = NetSpec(**{**known, "blocks": blocks, "num_classes": 10, **choices})  # type: ignore[arg-type]
    net = examined.untrained(spec, seed)
    chance = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=chance)
            module.running_var.uniform_(0.5, 1.5, generator=chance)
            with torch.no_grad():
                module.bias.normal_(0, 0.2, generator=chance)
    return net.eval()


def batches_of(*counts: int, seed: int = 0) -> list[Batch]:
    chance = torch.Generator().manual_seed(seed)
    return [
        Batch(
            torch.randn(count, 3, 8, 8, generator=chance),
            torch.randint(0, 10, (count,), generator=chance),
            np.arange(count),
            0,
        )
        for count in counts
    ]


def seen(net: ResNet, *counts: int) -> examined.Examined:
    return examined.Examined("it", net, batches_of(*counts), CPU, sum(counts), "pictures")


def near(*means: float, exact: bool = False) -> dict[str, Quantity]:
    """Figures with a small spread, in this order: a, b, c, …"""
    return {
        name: quantity(name, (mean,) if exact else (mean - 0.01, mean + 0.01), exact=exact)
        for name, mean in zip("abcdefgh", means, strict=False)
    }


def answers(
    judge: Callable[[Mapping[str, Quantity]], Verdict], names: list[str], *cases: tuple[float, ...]
) -> list[str]:
    """The verdict on figures of those names in each case."""
    return [
        judge(dict(zip(names, near(*means).values(), strict=True))).answer
        for means in cases
    ]  # fmt: skip


def tiny(study: Study, folder: Path, model: Path | None = None, seeds: tuple[int, ...] = SEEDS) -> Findings:
    setup = Setup("tiny", seeds, folder, model=None if model is None else str(model), threads=1)
    found = study.measure(setup)
    assert left_in_english(found) == set()
    assert study.texts.examines or model is None
    content = to_json(record(study, setup, found, 0.0))
    assert json.dumps(content, allow_nan=False)  # every figure is a number
    return found


def lines(found: Findings, title: str) -> dict[str, dict[float, float]]:
    """The mean curves of the chart whose title begins so."""
    chart = next(one for one in found.charts if one.title.startswith(title))
    assert isinstance(chart, Lines)
    return {line.label: dict(line.points) for line in chart.lines}


def seeds(found: Findings, title: str) -> dict[str, tuple[Points, ...]]:
    """Each seed's own curves of the chart whose title begins so."""
    chart = next(one for one in found.charts if one.title.startswith(title))
    assert isinstance(chart, Lines)
    return {line.label: line.seeds for line in chart.lines}


@pytest.fixture
def models(studies: Path) -> dict[str, Path]:
    """A residual run and a plain one, to be given."""
    setup = Setup("tiny", SEEDS, studies, threads=1)
    found = examined.runs_of(setup, [("resnet", 20), ("plain", 20)])
    return {kind: records[0].path for (kind, _), records in found.items()}


def says_of_what(found: Findings) -> None:
    """It says on how many pictures of which split."""
    assert re.fullmatch(r"\d+ validation pictures of digits", found.pictures)
    assert found.pictures in found.measured.en
    assert found.pictures.split()[0] in found.measured.zh


# --- responses ----------------------------------------------------------------------------------


def test_responses_are_judged_by_kind_and_by_depth() -> None:
    names = ["plain", "same", "deep", "shallow"]
    cases = [(2.0, 1.0, 0.8, 1.2), (1.0, 2.0, 0.8, 1.2), (2.0, 1.0, 1.2, 0.8), (2.0, 1.0, 1.0, 1.0)]
    assert answers(responses.RULE.judge, names, *cases) == [
        "supported",
        "contradicted",
        "contradicted",
        "undecided",
    ]


@pytest.mark.parametrize("choices", [{}, {"block": "bottleneck"}, {"order": "relu-before-addition"}, {"squeeze": 2}])
def test_responses_are_what_bn_puts_out(choices: dict[str, object]) -> None:
    net, batches = net_of(**choices), batches_of(5, 3)
    outputs: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: outputs.setdefault(name, []).append(out))
        for name, module in net.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        for batch in batches:
            net(batch.images)
    for handle in handles:
        handle.remove()
    expected = [float(torch.cat(parts).double().std(correction=0)) for parts in outputs.values()]
    assert responses.responses(net, batches).layers == pytest.approx(expected, rel=1e-5)


def test_a_preactivation_net_answers_with_its_last_convolution() -> None:
    net, (batch,) = net_of((1,), order="preactivation"), batches_of(4)
    (_, block), *_ = net.blocks()
    with torch.no_grad():
        F = block.branch(block.before(net.stem(batch.images)))
    found = responses.responses(net, [batch])
    assert len(found.layers) == 3
    assert found.layers[-1] == pytest.approx(float(F.std(correction=0)), rel=1e-5)


@pytest.mark.parametrize(("branch", "shortcut"), [(0.5, 0.5), (0.1, 0.4)])
def test_ratios_are_of_what_the_addition_takes(branch: float, shortcut: float) -> None:
    net = net_of(shortcut="constant", branch_scale=branch, shortcut_scale=shortcut)
    (batch,) = batches_of(6)
    expected = []
    with torch.no_grad():
        x = net.stem(batch.images)
        for _, block in net.blocks():
            assert block.shortcut is not None
            F, h = block.branch(block.before(x)), block.shortcut(x)
            expected.append(branch * float(F.std(correction=0)) / (shortcut * float(h.std(correction=0))))
            x = block(x)
    assert responses.responses(net, [batch]).ratios == pytest.approx(expected, rel=1e-4)


def test_layers_normalised_by_their_batch_answer_with_one() -> None:
    net = examined.untrained(net_of().spec, 0).train()
    assert responses.responses(net, batches_of(16)).layers == pytest.approx([1.0] * 9, abs=1e-3)


@pytest.mark.usefixtures("few_digits")
def test_responses_of_every_layer_of_every_net(studies: Path) -> None:
    found = tiny(open_study("responses"), studies)
    curves = lines(found, "Responses, layer by layer")
    assert {label: len(points) for label, points in curves.items()} == {
        "plain8": 7,
        "plain20": 19,
        "resnet8": 7,
        "resnet20": 19,
    }
    by_size = lines(found, "Responses, by size")
    assert all(list(points.values()) == sorted(points.values(), reverse=True) for points in by_size.values())
    q = found.quantities
    assert q["deep"].mean == pytest.approx(statistics.fmean(curves["resnet20"].values()))
    assert all(one.mean > 0 for one in q.values())
    assert lines(found, "The branch")["resnet20"].keys() == set(range(1, 10))


@pytest.mark.usefixtures("few_digits")
def test_responses_of_a_given_net(studies: Path, models: dict[str, Path]) -> None:
    found = tiny(open_study("responses"), studies, models["resnet"])
    ratio, response = found.quantities["model-ratio"], found.quantities["model-response"]
    assert (ratio.n, ratio.of, response.n, response.of) == (9, "block", 19, "layer")
    assert f"{statistics.median(ratio.values):.3g} times its shortcut" in found.measured.en
    says_of_what(found)
    assert len(lines(found, "The branch").popitem()[1]) == 9
    of_plain = tiny(open_study("responses"), studies, models["plain"])
    assert set(of_plain.quantities) == {"model-response"}
    assert len(of_plain.charts) == 1


# --- propagation --------------------------------------------------------------------------------


def test_propagation_is_judged_by_all_its_parts() -> None:
    names = ["forward", "backward", "plain-fc", "plain-conv", "plain-trained", "residual-small"]
    names += ["plain-small"]
    good = {name: quantity(name, (1e-15,), exact=True) for name in names[:2]}
    good |= {name: quantity(name, (0.0, 0.1)) for name in names[2:6]}
    good["plain-small"] = quantity("small", (-50.0, -51.0))
    assert propagation.RULE.judge(good).answer == "supported"
    for name in names:
        wrong = 1e-3 if name in names[:2] else 0.0 if name == "plain-small" else -9.0
        assert propagation.RULE.judge(good | {name: quantity("no", (wrong,), exact=True)}).answer == "contradicted"
    assert propagation.RULE.judge(good | {"plain-fc": quantity("?", (-9.0, 9.0))}).answer == "undecided"


@pytest.mark.parametrize(("order", "holds"), [("preactivation", True), ("original", False)])
def test_sums_are_exact_only_where_nothing_stands_behind_the_addition(order: str, holds: bool) -> None:
    net = net_of((3, 3), order=order).double()
    (batch,) = batches_of(4)
    for error in propagation.identity_errors(net, batch.images.double()):
        assert (error < 1e-13) == holds
        assert holds or error > 1e-2


def test_sums_run_within_stages() -> None:
    blocks = [block for _, block in net_of((3, 3), order="preactivation").blocks()]
    assert propagation._runs(blocks) == [(0, 3), (4, 6)]
    projected = [block for _, block in net_of((3, 3), shortcut="C").blocks()]
    assert propagation._runs(projected) == []


def test_gradient_norms_are_autograds() -> None:
    net, (batch,) = net_of().double(), batches_of(4)
    norms = propagation.gradient_norms(net, batch.images.double(), seed=3)
    inputs: list[Tensor] = []
    handles = [block.register_forward_pre_hook(lambda _m, args: inputs.append(args[0])) for _, block in net.blocks()]
    logits = net(batch.images.double())
    for handle in handles:
        handle.remove()
    direction = torch.randn(4, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gradients = torch.autograd.grad((logits * direction).sum(), inputs)
    assert norms == pytest.approx([float(g.norm()) for g in gradients])


def test_small_weights_shrink_plain_gradients_by_their_product_and_residual_ones_hardly() -> None:
    images, blocks = torch.randn(8, 3, 8, 8, dtype=torch.float64), 9

    def fall(kind: str, scale: float) -> float:
        net = propagation.fully_connected(propagation.FULLY_CONNECTED[kind], 20, 16, 0, scale)
        assert (net.spec.depth, net.spec.blocks) == (20, blocks)
        return propagation._fall(propagation.gradient_norms(net, images, 0))

    steps = 2 * (blocks - 1)  # ReLU of a scaled input is scaled, and without BN nothing undoes it
    plain = fall("plain, without BN", 1.0)
    assert fall("plain, without BN", 0.1) == pytest.approx(plain - steps)
    assert fall("residual, without BN", 1e-8) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.usefixtures("few_digits")
def test_propagation_at_every_depth(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(propagation.SIZES, "tiny", replace(propagation.SIZES["tiny"], pictures=6, channels=(2, 4, 8)))
    found = tiny(open_study("propagation"), studies, seeds=SEEDS[:1])
    q = found.quantities
    assert max(q["forward"].values + q["backward"].values) < 1e-13
    assert min(q["control"].values) > 1e-2
    assert q["residual-small"].mean == pytest.approx(0, abs=0.1)
    assert q["plain-small"].mean < -40
    # without BN He's weights keep a plain net's gradient, and each residual block doubles its square
    assert abs(q["plain, without BN, fully connected, 56"].mean) < 2
    assert q["residual, without BN, fully connected, 56"].mean == pytest.approx(26 * math.log10(2) / 2, abs=1)
    assert set(lines(found, "First block over last, fully")) == set(propagation.FULLY_CONNECTED)
    assert all(len(points) == 27 for points in lines(found, "Block by block, conv").values())
    assert set(lines(found, "Block by block, trained")) == {"plain20", "resnet20"}


# --- shattering ---------------------------------------------------------------------------------


def test_shattering_is_judged_by_depth_and_by_kind() -> None:
    names = ["plain-shallow", "plain-deep", "residual-deep"]
    cases = [(0.9, 0.1, 0.5), (0.1, 0.9, 0.95), (0.9, 0.5, 0.1), (0.9, 0.5, 0.5)]
    assert answers(shattering.RULE.judge, names, *cases) == [
        "supported",
        "contradicted",
        "contradicted",
        "undecided",
    ]


def test_autocorrelation_of_known_signals() -> None:
    n = 100
    alternating = torch.tensor([1.0, -1.0]).repeat(n // 2)
    found = shattering.autocorrelation(alternating, 3)
    assert found == pytest.approx([1.0, -(n - 1) / n, (n - 2) / n, -(n - 3) / n])
    assert shattering.autocorrelation(torch.full((n,), 3.0), 2) == [1.0, 1.0, 1.0]
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    assert shattering.autocorrelation(noise + 5, 4)[1:] == pytest.approx([0.0] * 4, abs=0.03)


@pytest.mark.parametrize("name", list(shattering.KINDS))
def test_slopes_are_those_of_the_curve(name: str) -> None:
    net = shattering.line_net(shattering.KINDS[name], 4, 20, seed=1)
    found = shattering.slopes(net).double()
    assert found.shape == (256,)
    net.double()
    x = torch.linspace(-2, 2, 256, dtype=torch.float64)[:, None]
    tiny_step = 1e-9
    with torch.no_grad():
        differences = (net(x + tiny_step) - net(x - tiny_step))[:, 0] / (2 * tiny_step)
    close = torch.isclose(differences, found, rtol=1e-3, atol=1e-4)
    assert int(close.sum()) >= 254  # a kink may fall upon a point


def test_bn_holds_the_statistics_of_the_line() -> None:
    net = shattering.line_net(shattering.KINDS["plain"], 3, 20, seed=1)
    shattering.slopes(net)
    with torch.no_grad():
        x = net.stem(torch.linspace(-2, 2, 256)[:, None])
        normal = net.stages[0].before.bn(x)  # type: ignore[operator, union-attr]
    assert normal.mean(0).abs().max() < 1e-5
    assert normal.std(0).sub(1).abs().max() < 1e-2


def test_nets_on_a_line_differ_only_as_they_should() -> None:
    def weights(name: str) -> dict[str, Tensor]:
        net: MLP = shattering.line_net(shattering.KINDS[name], 2, 10, seed=5)
        return {key: value for key, value in net.state_dict().items() if key.endswith("weight")}

    full, tenth = weights("residual"), weights("residual, F × 0.1")
    for key, value in full.items():
        factor = 0.1 if ".branch.fc1" in key else 1.0
        assert torch.allclose(tenth[key], factor * value)
    assert all(torch.equal(value, weights("plain")[key]) for key, value in full.items())


def test_gradients_on_pictures_correlate_as_the_weights_do() -> None:
    batches = batches_of(6, 4)
    constant = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    assert shattering.neighbour_correlation(constant, batches) == pytest.approx(1.0)
    torch.manual_seed(0)
    noise = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))
    assert abs(shattering.neighbour_correlation(noise, batches)) < 0.1


@pytest.mark.usefixtures("few_digits")
def test_plain_gradients_shatter(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shattering.SIZES, "tiny", shattering.Size((2, 24), 64, 2))
    found = tiny(open_study("shattering"), studies, seeds=SEEDS[:1])
    q = found.quantities
    assert q["plain-shallow"].mean > 0.6
    assert abs(q["plain-deep"].mean) < 0.15
    assert q["residual, F × 0.1, 24"].mean > q["residual-deep"].mean > q["plain-deep"].mean
    curves = lines(found, "Autocorrelation of the gradient, 24")
    assert all(points[0.0] == pytest.approx(1.0) for points in curves.values())
    assert curves["a random walk"][1.0] > 0.9
    pictures = lines(found, "Gradients on pictures")
    assert all(abs(value) <= 1 for points in pictures.values() for value in points.values())


# --- lesions ------------------------------------------------------------------------------------


def test_lesions_are_judged_against_the_plain_net() -> None:
    names = ["resnet-single", "plain-single", "resnet-3", "plain-1"]
    cases = [(1.0, 20.0, 5.0, 25.0), (20.0, 1.0, 5.0, 25.0), (1.0, 20.0, 25.0, 5.0), (1.0, 20.0, 5.0, 5.0)]
    assert answers(lesions.RULE.judge, names, *cases) == [
        "supported",
        "contradicted",
        "contradicted",
        "undecided",
    ]


@pytest.mark.parametrize(
    "choices", [{}, {"shortcut": "none"}, {"order": "preactivation"}, {"order": "bn-after-addition"}]
)
def test_one_deletion_is_the_lesion_of_that_block(choices: dict[str, object]) -> None:
    it = seen(net_of((3, 2), **choices), 60, 40)
    intact, scores = score_lesions(it.net, it.batches, it.compute)
    whole = lesions.error_of_steps(it, lesions.deletion(it.net, frozenset()))
    assert whole == pytest.approx(100 * (1 - intact.accuracy))
    assert scores
    for name, score in scores.items():
        found = lesions.error_of_steps(it, lesions.deletion(it.net, frozenset({name})))
        assert found == pytest.approx(100 * (1 - score.accuracy))


def test_blocks_that_do_nothing_are_not_missed() -> None:
    net = net_of((3, 2), zero_init=True)
    for _, block in net.blocks():
        nn.init.zeros_(block.branch.bn2.bias)  # type: ignore[arg-type, union-attr]
    found = lesions.lesioned(seen(net, 50), draws=2, seed=0)
    assert found.median_rise == 0
    keeping = [name for name in found.single if name != "stage2.block1"]
    assert list(found.free) == keeping
    assert set(found.deleted.values()) == {found.intact}
    assert set(found.swapped.values()) == {found.intact}
    assert list(found.deleted) == [0, 1, 2, 3]


def test_draws_delete_more_and_more() -> None:
    free = [f"block{i}" for i in range(8)]
    sets = [lesions.without(free, k, 1, 2) for k in (0, 1, 3, 8)]
    assert [len(one) for one in sets] == [0, 1, 3, 8]
    assert all(a < b for a, b in itertools.pairwise(sets))
    assert len({lesions.without(free, 2, 1, draw) for draw in range(10)}) > 3


def test_swaps_stay_within_stages() -> None:
    net = net_of((3, 3), shortcut="none")
    names = [name for name, _ in net.blocks()]
    free = [name for name in names if name != "stage2.block1"]
    for draw in range(10):
        order = lesions.swaps(net, free, 4, 0, draw)
        assert sorted(order) == sorted(names)
        assert [name.split(".")[0] for name in order] == [name.split(".")[0] for name in names]
        assert order[3] == "stage2.block1"
    once = lesions.swaps(net, free, 1, 0, 0)
    assert sum(a != b for a, b in zip(once, names, strict=True)) == 2


def test_kendalls_tau_counts_pairs() -> None:
    net = net_of((4,))
    names = [name for name, _ in net.blocks()]
    assert lesions.kendall_tau(net, names) == 1
    assert lesions.kendall_tau(net, names[::-1]) == -1
    assert lesions.kendall_tau(net, [names[1], names[0], *names[2:]]) == pytest.approx(1 - 2 / 6)


def test_a_net_with_no_block_to_spare_is_refused() -> None:
    net = net_of((1, 1), shortcut="none", stem_width=6)
    with pytest.raises(UserError, match="no block"):
        lesions.lesioned(seen(net, 8), draws=1, seed=0)


@pytest.mark.usefixtures("few_digits")
def test_lesions_of_both_kinds(studies: Path) -> None:
    found = tiny(open_study("lesions"), studies)
    q = found.quantities
    singles = lines(found, "Error without one")
    assert singles["resnet20"].keys() == set(range(1, 10))
    assert singles["plain20"].keys() == set(range(1, 10)) - {4, 7}  # where the shape changes
    for kind in ("resnet", "plain"):
        deleted = lines(found, "Error against the number of blocks")[f"{kind}20"]
        assert list(deleted) == [0, 1, 2, 3, 5]
        assert deleted[0] == pytest.approx(q[f"{kind}-intact"].mean)
        assert deleted[3] - deleted[0] == pytest.approx(q[f"{kind}-3"].mean)
        rises = [
            statistics.median(error - whole for place, error in points if place not in (4, 7))
            for points, whole in zip(
                seeds(found, "Error without one")[f"{kind}20"], q[f"{kind}-intact"].values, strict=True
            )
        ]
        assert q[f"{kind}-single"].values == pytest.approx(rises)
    assert [row[0] for row in found.tables[0].rows] == ["0", "1", "2", "4", "8", "16"]


@pytest.mark.usefixtures("few_digits")
def test_lesions_of_a_given_net(studies: Path, models: dict[str, Path]) -> None:
    of_residual, of_plain = (tiny(open_study("lesions"), studies, models[kind]) for kind in ("resnet", "plain"))
    for found in (of_residual, of_plain):
        free, whole = found.quantities["model-single"], found.quantities["model-intact"].mean
        rises = [error - whole for error in lines(found, "Error without one").popitem()[1].values()]
        changing = found.quantities.get("model-changing")
        assert sorted([*free.values, *(changing.values if changing else ())]) == pytest.approx(sorted(rises))
        assert (free.n, free.of) == (7, "block")
        said = f"{np.median(free.values):+.2f} points in the median, by {max(free.values):+.2f} ("
        assert said in found.measured.en.replace("−", "-")
        images = int(found.pictures.split()[0])
        low, high = wilson(round(whole * images / 100), images)
        assert f"(95 % interval {100 * low:.1f}–{100 * high:.1f} %)" in found.measured.en
        says_of_what(found)
    assert len(lines(of_residual, "Error without one").popitem()[1]) == 9
    assert len(lines(of_plain, "Error without one").popitem()[1]) == 7


# --- paths --------------------------------------------------------------------------------------


def test_paths_are_judged_by_decay_length_and_training() -> None:
    names = ["slope", "length", "typical", "short", "ordinary"]
    cases = [
        (-0.5, 4.0, 13.5, 9.0, 9.5),
        (0.5, 4.0, 13.5, 9.0, 9.5),
        (-0.5, 20.0, 13.5, 9.0, 9.5),
        (-0.5, 4.0, 13.5, 20.0, 9.5),
        (-0.5, 4.0, 13.5, 11.5, 9.5),
    ]
    assert answers(paths.RULE.judge, names, *cases) == [
        "supported",
        "contradicted",
        "contradicted",
        "contradicted",
        "undecided",
    ]


def test_paths_are_counted_as_in_the_paper() -> None:
    shares = paths.shares_of_paths(54)
    assert sum(shares) == pytest.approx(1)
    assert sum(shares[19:36]) == pytest.approx(0.9802, abs=1e-4)  # "most paths"
    assert 100 * sum(shares[5:18]) == pytest.approx(0.4537, abs=1e-4)  # the effective ones
    assert paths.shares_of_paths(3) == [1 / 8, 3 / 8, 3 / 8, 1 / 8]


def test_effective_lengths_are_the_fewest() -> None:
    assert paths.effective([0.1, 0.5, 0.38, 0.02], 0.95) == [0, 1, 2]
    assert paths.effective([0.01, 0.04, 0.95], 0.95) == [2]
    assert paths.shares_of_gradient(2, {0: 4.0, 1: 1.0, 2: 2.0}) == pytest.approx([0.5, 0.25, 0.25])


def test_the_slope_is_the_decay_by_one_branch() -> None:
    assert paths.slope({k: 3 * 0.25**k for k in range(6)}) == pytest.approx(math.log(0.25))
    assert math.isnan(paths.slope({0: 1.0, 1: 0.0}))
    assert all(math.isnan(share) for share in paths.shares_of_gradient(1, {0: 0.0, 1: 0.0}))


def test_decay_makes_paths_binomial_with_other_odds() -> None:
    found = paths.Found({k: 0.25**k for k in range(11)})  # each branch passes a quarter, a shortcut all
    assert found.mean_length == pytest.approx(10 * 0.2)
    assert paths.slope(found.norms) == pytest.approx(math.log(0.25))


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"shortcut": "B"},
        {"order": "preactivation"},
        {"order": "preactivation", "shortcut": "B"},
        {"shortcut": "constant", "order": "relu-before-addition"},
        {"block": "bottleneck", "squeeze": 2},
    ],
)
def test_all_paths_together_carry_the_whole_gradient(choices: dict[str, object]) -> None:
    net, (batch,) = net_of((2, 1), **choices).double(), batches_of(5)
    batch = replace(batch, images=batch.images.double())
    total: Tensor | float = 0.0
    for way in itertools.product([False, True], repeat=3):
        total = total + paths.path_gradients(net, batch, torch.tensor([way] * 5))
    with torch.no_grad():
        first = net.stem(batch.images)
    first.requires_grad_()
    logits = net.head(net.stages(first))
    (whole,) = torch.autograd.grad(cross_entropy(logits.float(), batch.labels, reduction="sum"), first)
    assert isinstance(total, Tensor)
    assert torch.allclose(total, whole, rtol=1e-6, atol=1e-9)


def test_one_way_through_a_block_gives_what_the_block_gives() -> None:
    net, (batch,) = net_of((2, 2), shortcut="shortcut-gating", order="preactivation"), batches_of(4)
    with torch.no_grad():
        x = net.stem(batch.images)
        for _, block in net.blocks():
            y = block(x)
            assert torch.equal(paths.one_way(block, x, torch.tensor([True, False, True, False])), y)
            x = y


def test_branches_that_do_nothing_leave_the_gradient_to_the_shortest_path() -> None:
    net = net_of((2, 2), zero_init=True)
    norms = paths.path_norms(net, batches_of(6), seed=0)
    assert norms[0] > 0
    assert [norms[k] for k in range(1, 5)] == [0.0] * 4
    assert paths.shares_of_gradient(4, norms)[0] == 1


@pytest.mark.usefixtures("few_digits")
def test_paths_of_trained_nets(studies: Path) -> None:
    found = tiny(open_study("paths"), studies)
    q = found.quantities
    assert q["typical"].values == (4.5,)
    shares = lines(found, "Where the gradient goes")
    assert sum(shares["of the gradient"].values()) == pytest.approx(100)
    assert sum(shares["of all paths"].values()) == pytest.approx(100)
    assert q["length"].mean == pytest.approx(sum(k * v / 100 for k, v in shares["of the gradient"].items()))
    assert all(0 < value <= 100 for value in q["share"].values)
    assert q["short"].values != q["ordinary"].values
    assert len(found.tables[0].rows) == len(SEEDS)


@pytest.mark.usefixtures("few_digits")
def test_paths_of_a_given_net(studies: Path, models: dict[str, Path]) -> None:
    found = tiny(open_study("paths"), studies, models["resnet"])
    assert set(found.quantities) == {"slope", "length", "share", "typical"}
    assert {found.quantities[name].of for name in ("slope", "length", "share")} == {"draw"}
    assert found.quantities["slope"].sd
    says_of_what(found)
    with pytest.raises(UserError, match="plain net"):
        tiny(open_study("paths"), studies, models["plain"])
