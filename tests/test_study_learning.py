"""The studies of what is learnt and how: identity, waveform, refinement, skips, landscape."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from study_words import left_in_english
from torch import nn
from torch.nn.functional import cross_entropy

from residuum.data.batches import Batch
from residuum.data.digits import digits
from residuum.depth.grow import grown, inserted
from residuum.errors import UserError
from residuum.models.count import parameters
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.models.unet import UNet
from residuum.studies import identity, insertion, landscape, refinement, scenes, skips, waveform
from residuum.studies.examined import opened, runs_of, training_batches
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Quantities


def quantities(**means: float) -> Quantities:
    """Three seeds each, 0.01 around the mean."""
    return {name.replace("_", "-"): quantity(name, (mean - 0.01, mean, mean + 0.01)) for name, mean in means.items()}


def tiny(studies: Path, model: str | None = None, seeds: tuple[int, ...] = (0, 1)) -> Setup:
    return Setup("tiny", seeds, studies, threads=1, model=model)


def small_net(depth: int = 20, **choices: object) -> ResNet:
    torch.manual_seed(0)
    spec = named(f"resnet{depth}", 10, widths=(4, 8, 16), **choices)
    return ResNet(spec).eval()


def batches(count: int = 2, size: int = 8) -> list[Batch]:
    torch.manual_seed(1)
    rows = torch.arange(size).numpy()
    return [Batch(torch.randn(size, 3, 8, 8), torch.randint(10, (size,)), rows, 0) for _ in range(count)]


# --- the predicates -----------------------------------------------------------------------------

IDENTITY = {"steps_residual": 3.0, "steps_plain": 20.0, "grown_difference": 0.0}
WAVE = {"until_lowest": 20.0, "until_highest": 300.0, "final_residual": 0.1, "final_plain": 0.8}
REFINEMENT = {"cosine_last": 0.3, "own_start": 20.0, "own_end": 60.0}
SKIPS = {"add_iou": 0.60, "concatenate_iou": 0.60, "none_iou": 0.40}
LANDSCAPE = {
    "residual_rise": 1.0,
    "plain_rise": 9.0,
    "residual_violations": 5.0,
    "plain_violations": 30.0,
}


@pytest.mark.parametrize(
    ("rule", "figures", "changes"),
    [
        (identity.RULE, IDENTITY, {"steps_residual": 30.0}),
        (waveform.RULE, WAVE, {"until_lowest": 400.0}),
        (waveform.RULE, WAVE, {"final_residual": 0.9}),
        (refinement.RULE, REFINEMENT, {"cosine_last": -0.3}),
        (refinement.RULE, REFINEMENT, {"own_start": 61.0}),
        (skips.RULE, SKIPS, {"add_iou": 0.3}),
        (skips.RULE, SKIPS, {"concatenate_iou": 0.3}),
        (skips.RULE, SKIPS, {"concatenate_iou": 0.7}),
        (landscape.RULE, LANDSCAPE, {"residual_rise": 10.0}),
        (landscape.RULE, LANDSCAPE, {"residual_violations": 40.0}),
    ],
)
def test_a_predicate_goes_both_ways(rule, figures, changes):
    exact = {"grown-difference": quantity("difference", (0.0,), exact=True)} if rule is identity.RULE else {}
    assert rule.judge({**quantities(**figures), **exact}).answer == "supported"
    assert rule.judge({**quantities(**{**figures, **changes}), **exact}).answer == "contradicted"


def test_a_grown_net_that_answers_otherwise_contradicts():
    moved = {"grown-difference": quantity("difference", (0.1,), exact=True)}
    assert identity.RULE.judge({**quantities(**IDENTITY), **moved}).answer == "contradicted"


@pytest.mark.parametrize(
    ("rule", "figures"),
    [
        (identity.RULE, {**IDENTITY, "steps_residual": 20.0}),
        (waveform.RULE, {**WAVE, "final_plain": 0.1}),
        (refinement.RULE, {**REFINEMENT, "cosine_last": 0.0}),
        (skips.RULE, {**SKIPS, "none_iou": 0.60}),
        (landscape.RULE, {**LANDSCAPE, "plain_rise": 1.0}),
    ],
)
def test_a_predicate_may_leave_it_open(rule, figures):
    exact = {"grown-difference": quantity("difference", (0.0,), exact=True)} if rule is identity.RULE else {}
    assert rule.judge({**quantities(**figures), **exact}).answer == "undecided"


# --- identity -----------------------------------------------------------------------------------


def test_steps_until_a_loss():
    assert identity.steps_until([3.0, 2.0, 1.0], 2.0) == 1
    assert identity.steps_until([3.0, 2.0, 1.0], 4.0) == 0
    assert identity.steps_until([3.0, 2.0, 1.0], 0.5) == 3


def test_distance_from_the_identity():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    double = nn.Linear(2, 2, bias=False)
    nn.init.eye_(double.weight)
    assert identity.distance(double, x) == 0
    double.weight.data *= 2
    assert identity.distance(double, x) == pytest.approx(1)
    triple = nn.Linear(2, 2, bias=False)
    nn.init.eye_(triple.weight)
    triple.weight.data *= 4
    assert identity.block_distance(nn.Sequential(double, triple), x) == pytest.approx((1 + 3) / 2)


def test_added_layers_see_what_the_shallow_net_gives():
    x, y = identity.flat(digits().train, torch.device("cpu"))
    assert x.shape == (1437, 64)
    assert (float(x.min()), float(x.max())) == (-1, 1)
    shallow = identity.train_shallow(x, y, 0, 5)
    assert float(cross_entropy(shallow.last(shallow.hidden), y)) == pytest.approx(shallow.loss)
    assert not any(p.requires_grad for p in shallow.last.parameters())
    before = shallow.last.weight.clone()
    added = identity.add(shallow, "residual", 1, 0, 5)
    assert torch.equal(shallow.last.weight, before)
    assert len(added.losses) == 5


def test_blocks_whose_branch_is_zero_cost_no_step():
    x, y = identity.flat(digits().train, torch.device("cpu"))
    shallow = identity.train_shallow(x, y, 0, 5)
    blocks = identity.new_blocks("residual", 2, 0)
    for module in blocks.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.zeros_(module.weight)
    assert identity.block_distance(blocks, shallow.hidden) == 0
    with torch.no_grad():
        loss = float(cross_entropy(shallow.last(blocks(shallow.hidden)), y))
    assert identity.steps_until([loss], shallow.loss + 1e-6) == 0


def test_grown_nets_answer_the_same_and_inserted_layers_do_not():
    pictures = batches()
    net = small_net(20, blocks=(1, 1, 1))
    assert insertion.logit_difference(net, grown(net, (3, 3, 3)), pictures) == 0
    plain = ResNet(named("plain20", 10, widths=(4, 8, 16), blocks=(1, 1, 1))).eval()
    deeper = inserted(plain, (3, 3, 3), 0)
    assert deeper.spec.blocks == (3, 3, 3)
    assert torch.equal(deeper.stem.conv.weight, plain.stem.conv.weight)
    assert torch.equal(deeper.fc.weight, plain.fc.weight)
    assert insertion.logit_difference(plain, deeper, pictures) > 0.1


@pytest.mark.usefixtures("few_digits")
def test_identity_in_small(studies):
    findings = identity.measure(tiny(studies, seeds=(0,)))
    assert left_in_english(findings) == set()
    q = findings.quantities
    assert q["grown-difference"].values == (0,)
    assert q["grown-loss"].values == q["shallow-residual-loss"].values
    assert q["inserted-difference"].mean > 0.01
    assert all(0 <= value <= 40 for name in ("steps-plain", "steps-residual") for value in q[name].values)
    assert q["taught-residual"].mean < q["taught-plain"].mean
    assert {name for name, one in q.items() if one.limit == 40} == {name for name in q if name.startswith("steps-")}
    assert [line.points[-1][0] for line in findings.charts[0].lines] == [39, 39, 39]
    assert shown(findings)


# --- waveform -----------------------------------------------------------------------------------


def test_each_frequency_has_its_own_amplitude():
    x, y = waveform.wave()
    assert x.shape == y.shape == (waveform.POINTS, 1)
    assert waveform.amplitudes(x, y) == pytest.approx([1.0] * len(waveform.FREQUENCIES), abs=1e-5)
    alone = 0.5 * torch.sin(math.pi * 4 * x + 0.7)
    assert waveform.amplitudes(x, alone) == pytest.approx([0, 0, 0.5, 0, 0], abs=1e-5)


def test_when_a_frequency_is_learnt():
    course = waveform.Course({10: (0.9, 0.9), 20: (0.2, 0.9), 30: (0.4, 0.9)}, {}, 0.5)
    assert waveform.learnt_at(course, 0) == 20
    assert waveform.learnt_at(course, 1) == 30


def test_a_deep_residual_net_begins_as_a_shallow_one_with_kinks_everywhere():
    net = waveform.deep_net("residual", 4, 0)
    x, _ = waveform.wave()
    with torch.no_grad():
        first = net.stem(x)
        assert torch.equal(net.stages(first), first)
    kinks = (-net.stem.fc.bias / net.stem.fc.weight.flatten()).detach()
    assert float(kinks.min()) < -0.9
    assert float(kinks.max()) > 0.9
    assert any(isinstance(one, nn.BatchNorm1d) for one in waveform.deep_net(waveform.WITH_BN, 1, 0).modules())
    assert not any(isinstance(one, nn.BatchNorm1d) for one in waveform.deep_net("plain", 1, 0).modules())


@pytest.mark.usefixtures("few_digits")
def test_waveform_in_small(studies, monkeypatch):
    monkeypatch.setitem(waveform.PLANS, "tiny", waveform.Plan((1, 3), (8,), 40, 2))
    findings = waveform.measure(tiny(studies, seeds=(0,)))
    assert left_in_english(findings) == set()
    q = findings.quantities
    assert q["until-lowest"].mean < q["until-highest"].mean
    assert all(0 < value < 1.1 for name, one in q.items() if name.startswith("final") for value in one.values)
    assert all(
        value % 2 == 0 and value <= 40 for name, one in q.items() if name.startswith("until") for value in one.values
    )
    assert shown(findings)


# --- refinement ---------------------------------------------------------------------------------


def test_cosines_are_those_of_each_picture_alone():
    net = small_net(20)
    found = refinement.cosines(net, batches(2, 3))
    assert set(found) == {name for name, _ in net.blocks()} - {"stage2.block1", "stage3.block1"}
    alone = []
    for batch in batches(2, 3):
        for image, label in zip(batch.images, batch.labels, strict=True):
            blocks = [block for _, block in net.blocks()]
            x = nn.Sequential(net.stem, *blocks[:-1])(image[None]).detach().requires_grad_()
            y = blocks[-1](x)
            cross_entropy(net.head(y), label[None]).backward()
            F, down = (y - x).detach().flatten(), -x.grad.flatten()
            alone.append(float(F @ down / F.norm() / down.norm()))
    assert found["stage3.block3"] == pytest.approx(sum(alone) / len(alone), abs=1e-5)


def test_a_block_that_steps_down_the_gradient_has_cosine_one():
    """With one block left and a linear head, ∂L/∂x does not depend on what the block adds, to first order."""
    net = small_net(20, blocks=(1, 1, 2), order="preactivation")
    last = list(net.blocks())[-1][1]

    class Downhill(nn.Module):
        def forward(self, x):
            with torch.enable_grad():
                at = x.detach().requires_grad_()
                loss = cross_entropy(net.head(at), torch.zeros(len(at), dtype=torch.int64), reduction="sum")
                return -1e-3 * torch.autograd.grad(loss, at)[0]

    last.before, last.branch = nn.Identity(), Downhill()
    pictures = [Batch(one.images, torch.zeros_like(one.labels), one.rows, 0) for one in batches(1, 4)]
    assert refinement.cosines(net, pictures)["stage3.block2"] == pytest.approx(1, abs=1e-2)


def test_the_own_head_behind_the_last_block_is_the_net():
    net, pictures = small_net(20), batches()
    right = sum(int((net(one.images).argmax(1) == one.labels).sum()) for one in pictures)
    found = refinement.own_head(net, pictures)
    assert list(found) == ["stage3.block1", "stage3.block2", "stage3.block3"]
    assert found["stage3.block3"] == right / 16


def test_features_are_the_maps_means():
    net, pictures = small_net(20), batches()
    places, labels = refinement.pooled(net, pictures)
    assert len(places) == 10
    assert torch.equal(labels, torch.cat([one.labels for one in pictures]))
    images = torch.cat([one.images for one in pictures])
    with torch.no_grad():
        assert torch.allclose(net.fc(places[-1]), net(images), atol=1e-5)


def test_probes_read_what_is_there():
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(20)
    telling = nn.functional.one_hot(labels).float() + 0.01 * torch.randn(200, 10)
    silent = torch.randn(200, 10)
    found = refinement.probes(([telling, silent], labels), ([telling, silent.roll(1, 0)], labels))
    assert found[0] == 1
    assert found[1] < 0.5


@pytest.mark.usefixtures("few_digits")
def test_refinement_in_small(studies):
    findings = refinement.measure(tiny(studies))
    assert left_in_english(findings) == set()
    q = findings.quantities
    assert all(-1 <= value <= 1 for value in q["cosine-last"].values)
    assert q["cosine-last"].values == q["cosine-stage3"].values
    assert q["probe-end"].mean > 10
    assert not q["cosine-last"].exact
    assert shown(findings)


@pytest.mark.usefixtures("few_digits")
def test_refinement_of_a_given_net(studies):
    found = runs_of(tiny(studies), [("resnet", 20), ("plain", 20)])
    residual, plain = (found[kind, 20][0].path for kind in ("resnet", "plain"))
    findings = refinement.measure(tiny(studies, str(residual)))
    assert left_in_english(findings) == set()
    ofs = {name: (one.of, one.n) for name, one in findings.quantities.items()}
    assert {name: of for name, of in ofs.items() if name.startswith("cosine")} == {
        "cosine-stage1": ("block", 3),
        "cosine-stage2": ("block", 2),
        "cosine-stage3": ("block", 2),
    }
    assert all(one.exact for name, one in findings.quantities.items() if not name.startswith("cosine"))
    assert "plain-probe-end" not in findings.quantities
    assert findings.pictures.endswith(" validation pictures of digits")
    assert findings.pictures in findings.measured.en
    with pytest.raises(UserError, match="plain net"):
        refinement.measure(tiny(studies, str(plain)))


def test_a_stage_of_one_block_cannot_be_examined():
    with pytest.raises(UserError, match="single block"):
        refinement.check_examinable(small_net(20, blocks=(1, 1, 1)))


# --- skips --------------------------------------------------------------------------------------


def test_scenes_hold_two_or_three_digits():
    drawn = scenes.scenes(digits().train, 20, 0)
    assert drawn.pictures.shape == (20, 1, 32, 32)
    assert drawn.masks.shape == (20, 32, 32)
    kinds = [len(set(mask.flatten().tolist()) - {0}) for mask in drawn.masks]
    assert all(1 <= count <= 3 for count in kinds)
    assert max(kinds) == 3
    ink = drawn.pictures[:, 0]
    assert ink[drawn.masks > 0].mean() > 0.5
    assert abs(float(ink[drawn.masks == 0].mean())) < 0.05
    again = scenes.scenes(digits().train, 20, 0)
    assert torch.equal(again.pictures, drawn.pictures)
    assert not torch.equal(scenes.scenes(digits().train, 20, 1).masks, drawn.masks)


def test_a_pixel_of_a_scene_has_its_scans_class():
    one = digits().train.take(torch.tensor([5]).numpy())
    drawn = scenes.scenes(one, 8, 0)
    assert set(drawn.masks.unique().tolist()) == {0, int(one.labels[0]) + 1}


def test_overlap_by_hand():
    masks = torch.tensor([[[0, 0], [1, 1]]])
    assert scenes.overlap(masks, masks) == (1, 1)
    answers = torch.tensor([[[0, 1], [1, 1]]])
    iou, right = scenes.overlap(answers, masks)
    assert iou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert right == 0.75


def test_the_narrower_net_is_the_widest_that_is_small_enough():
    nets = skips.unets(8)
    sizes = {name: parameters(UNet(spec)) for name, spec in nets.items()}
    assert sizes["add"] == sizes["none"] < sizes["concatenate"]
    assert sizes["matched"] <= sizes["add"]
    wider = replace(nets["matched"], width=nets["matched"].width + 1)
    assert parameters(UNet(wider)) > sizes["add"]


@pytest.mark.usefixtures("few_digits")
def test_skips_in_small(studies, monkeypatch):
    monkeypatch.setitem(skips.PLANS, "tiny", skips.Plan(4, 32, 16, 2))
    monkeypatch.setattr(skips, "BATCH", 8)
    findings = skips.measure(tiny(studies, seeds=(0,)))
    assert left_in_english(findings) == set()
    q = findings.quantities
    assert all(0 < value < 1 for name, one in q.items() if name.endswith("iou") for value in one.values)
    assert q["add-parameters"].mean == q["none-parameters"].mean
    assert shown(findings)


# --- landscape ----------------------------------------------------------------------------------


def bowl(steepness: float) -> landscape.Surface:
    at = tuple(place / 5 for place in range(-5, 6))
    return landscape.Surface(at, tuple(tuple(1 + steepness * (a * a + b * b) for a in at) for b in at))


def test_a_bowl_is_convex():
    surface = bowl(4.0)
    assert surface.centre == 1
    assert landscape.violations(surface) == 0
    inside = [4 * (a * a + b * b) for a, b in [(0.4, 0.2)] * 8 + [(0.4, 0.4)] * 4]
    assert landscape.rise(surface) == pytest.approx(sum(inside) / 12)
    assert landscape.flat_share(surface) == pytest.approx(
        sum(i * i + j * j <= 6 for i in range(-5, 6) for j in range(-5, 6)) / 121
    )


def test_a_hill_is_nowhere_convex():
    assert landscape.violations(bowl(-0.4)) == 1


def test_directions_are_as_long_as_each_filter():
    net = small_net(20)
    found = landscape.direction(net, torch.Generator().manual_seed(0))
    weights = dict(net.named_parameters())
    assert set(found) == {name for name, weight in weights.items() if weight.dim() > 1}
    assert "fc.weight" in found
    assert "fc.bias" not in found
    for name, change in found.items():
        assert change.shape == weights[name].shape
        lengths = change.flatten(1).norm(dim=1)
        assert torch.allclose(lengths, weights[name].flatten(1).norm(dim=1), rtol=1e-5)


def test_moved_weights_come_back():
    net, pictures = small_net(20), batches()
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    there = landscape.loss_of(net, pictures)
    way = landscape.direction(net, torch.Generator().manual_seed(0))
    with landscape.moved(net, ((0.5, way), (-0.25, way))):
        halfway = net.fc.weight.clone()
        assert landscape.loss_of(net, pictures) != there
    assert torch.allclose(halfway, before["fc.weight"] + 0.25 * way["fc.weight"])
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert landscape.loss_of(net, pictures) == there


def test_the_loss_is_the_cross_entropy_of_all_pictures():
    net, pictures = small_net(20), batches()
    images, labels = (torch.cat([getattr(one, name) for one in pictures]) for name in ("images", "labels"))
    with torch.no_grad():
        whole = float(cross_entropy(net(images), labels))
    assert landscape.loss_of(net, pictures) == pytest.approx(whole, rel=1e-5)


def test_a_map_of_the_landscape_has_b_upwards():
    slope = landscape.Surface((-1, 0, 1), tuple(tuple(2.0 + b for _ in range(3)) for b in (-1, 0, 1)))
    chart = landscape.map_of("one", slope)
    assert chart.y_range == (1, -1)
    assert chart.rows[0][0] > chart.rows[2][0]


@pytest.mark.usefixtures("few_digits")
def test_landscape_in_small(studies, monkeypatch):
    monkeypatch.setitem(landscape.GRIDS, "tiny", (5, 25))
    findings = landscape.measure(tiny(studies, seeds=(0,)))
    assert left_in_english(findings) == set()
    q = findings.quantities
    for kind in ("plain", "residual"):
        assert all(value > 0 for value in q[f"{kind}-centre"].values)
        assert all(0 <= value <= 100 for value in q[f"{kind}-violations"].values)
        assert all(value >= 4 for value in q[f"{kind}-flat"].values)  # the centre itself is one of 25 points
    assert shown(findings)


@pytest.mark.usefixtures("few_digits")
def test_landscape_of_a_given_net(studies):
    path = runs_of(tiny(studies), [("resnet", 20)])["resnet", 20][0].path
    findings = landscape.measure(tiny(studies, str(path)))
    assert left_in_english(findings) == set()
    assert findings.quantities["centre"].sd == 0  # the centre is the net itself, whatever the direction
    assert (findings.quantities["rise"].of, findings.quantities["rise"].n) == ("draw", landscape.DRAWS)
    assert findings.pictures == "125 training pictures of digits"
    run = opened(path, tiny(studies))
    middle = landscape.loss_of(run.classifier.net, training_batches(run, 125))
    assert findings.quantities["centre"].mean == pytest.approx(middle)


@pytest.mark.usefixtures("few_digits")
def test_training_pictures_are_spread_over_all(studies):
    path = runs_of(tiny(studies), [("resnet", 20)])["resnet", 20][0].path
    run = opened(path, tiny(studies))
    every = training_batches(run, 5000)
    present = sum(len(one.labels) for one in every)
    assert present == 214  # of 240, those trained on
    for images, batches in ((130, [125, 5]), (20, [20])):
        some = training_batches(run, images)
        assert [len(one.labels) for one in some] == batches
        rows = [int(row) for one in some for row in one.rows]
        assert len(set(rows)) == images
        assert max(rows) > 0.94 * present


def shown(findings: Findings) -> bool:
    """Whether there is something to see, and every figure in the sentences is one that was measured."""
    return 1 <= len(findings.charts) <= 6 and "nan" not in findings.measured.en + findings.measured.zh
