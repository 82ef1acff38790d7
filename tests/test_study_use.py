"""Studies of what residual nets are good for: their cost, test protocols and ensembles, and transfer."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from study_words import left_in_english
from torch import nn
from torch.nn.functional import pad
from torchvision.transforms import functional as oracle

from residuum import runs
from residuum.compute import choose_compute
from residuum.data.batches import open_loader
from residuum.data.contract import ImageData, Split
from residuum.data.decode import decode
from residuum.data.open import open_data
from residuum.data.preprocess import Preprocessing
from residuum.data.share import one_pass
from residuum.errors import UserError
from residuum.evaluation.views import five_crop, scales, ten_crop
from residuum.files import read_json
from residuum.models import comparison
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.study import Quantity
from residuum.studies import complexity, ensembles, transfer, transfer_curve
from residuum.studies.examined import untrained_on
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.ridge import probe_accuracy, ridge
from residuum.studies.some_classes import folder_of_classes
from residuum.studies.trained import trained
from residuum.training import head

SEEDS = (0, 1)


@pytest.fixture(scope="session")
def tiny(studies: Path) -> Setup:
    return Setup("tiny", SEEDS, studies, threads=1)


def values(*numbers: float) -> Quantity:
    return quantity("it", numbers, "%")


def small_net(**choices: object) -> ResNet:
    torch.manual_seed(0)
    return ResNet(named("resnet20", 10, blocks=(1, 1, 1), widths=(4, 8, 16), **choices)).eval()


# --- views ------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 13), st.integers(4, 13), st.integers(1, 4))
def test_crops_are_torchvisions_to_the_pixel(height: int, width: int, side: int) -> None:
    images = torch.arange(2 * 3 * height * width).float().view(2, 3, height, width)
    assert torch.equal(five_crop(images, side), torch.stack(oracle.five_crop(images, [side, side])))
    assert torch.equal(ten_crop(images, side), torch.stack(oracle.ten_crop(images, [side, side])))


def test_the_middle_crops_of_a_framed_picture_are_itself_and_its_mirror_image() -> None:
    images = torch.rand(2, 3, 15, 15)
    views = ten_crop(pad(images, (2,) * 4), 15)
    assert views.shape == (10, 2, 3, 15, 15)
    assert torch.equal(views[4], images)
    assert torch.equal(views[9], images.flip(3))


@pytest.mark.parametrize("side", [0, 6])
def test_views_larger_than_the_picture_are_refused(side: int) -> None:
    with pytest.raises(UserError, match=f"views of {side}×{side} px out of pictures of 8×5 px"):
        five_crop(torch.zeros(1, 3, 5, 8), side)


def test_scales_are_torchvisions_to_the_pixel() -> None:
    images = torch.rand(2, 3, 16, 20)
    smaller, same, larger = scales(images, (0.85, 1.0, 1.15))
    assert same is images
    assert torch.equal(smaller, oracle.resize(images, [14, 17], antialias=True))
    assert torch.equal(larger, oracle.resize(images, [18, 23], antialias=True))
    assert scales(images, (0.01,))[0].shape == (2, 3, 1, 1)


# --- complexity -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def costs(tiny: Setup) -> Findings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complexity, "net_with_weights", something_to_time)
        return complexity.measure(tiny)


def something_to_time(_name: str) -> nn.Module:
    """In a net's place, whose time alone is asked for: to fill VGG-16's weights takes longer than to use them."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))


def test_costs_are_the_papers(costs: Findings) -> None:
    q = costs.quantities
    billions = {
        "resnet18": 1.8,
        "resnet34": 3.6,
        "resnet50": 3.8,
        "resnet101": 7.6,
        "resnet152": 11.3,
        "vgg19": 19.6,
    }
    for name, published in billions.items():
        assert q[f"{name}-multiply-adds"].mean == pytest.approx(published, abs=0.07)
    assert q["resnet34-of-vgg19"].mean == pytest.approx(0.18, abs=0.01)
    assert [q[f"{name}-depth"].mean for name in complexity.NETS] == [18, 34, 50, 101, 152, 16, 19, 22]
    assert q["vgg16-parameters"].mean == pytest.approx(138.357544)
    assert [q[f"resnet{n}-error"].mean for n in (34, 50, 101, 152)] == [7.46, 6.71, 6.05, 5.71]
    assert (q["vgg16-error"].mean, q["googlenet-error"].mean) == (9.33, 9.15)
    assert "vgg19-error" not in q
    assert all(f"{name}-error-one-crop" in q for name in complexity.NETS)


def test_times_are_one_value_a_round(costs: Findings) -> None:
    q = costs.quantities
    for name in ("resnet18", "vgg16"):
        one, batch = q[f"{name}-seconds"], q[f"{name}-seconds-batch"]
        assert len(one.values) == len(batch.values) == 2
        assert min(one.values) > 0
        assert not one.exact
    assert "resnet152-seconds" not in q
    assert len(costs.tables[0].rows) == 8


def test_deeper_yet_cheaper_is_supported_and_can_be_contradicted(costs: Findings) -> None:
    q = dict(costs.quantities)
    assert complexity.RULE.judge(q).answer == "supported"
    for name, wrong in (
        ("resnet152-multiply-adds", 15.6),
        ("resnet34-of-vgg19", 0.25),
        ("resnet34-error", 9.2),
    ):
        changed = {**q, name: quantity("it", (wrong,), exact=True)}
        assert complexity.RULE.judge(changed).answer == "contradicted"


def counts(*counted: int) -> dict[str, int]:
    return dict(zip(complexity.COSTS, counted, strict=True))


def test_without_torchvision_the_counts_are_those_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(comparison, "find_spec", lambda name: None)
    assert complexity.cost_of("vgg16") == counts(16, 138_357_544, 15_470_264_320, 2_347_496_708)
    assert complexity.cost_of("vgg19") == counts(19, 143_667_240, 19_632_062_464, 2_514_482_436)
    assert complexity.cost_of("googlenet") == counts(22, 6_624_904, 1_498_376_192, 1_541_654_660)
    found = complexity.measure(Setup("tiny", (0,), tmp_path, threads=1))
    assert left_in_english(found) == set()
    assert complexity.RULE.judge(found.quantities).answer == "supported"
    assert "vgg16-seconds" not in found.quantities
    assert "torchvision is not installed" in found.notes[-2]


def test_nets_to_be_timed_compute_ordinary_numbers() -> None:
    net = complexity.net_with_weights("googlenet").eval()
    with torch.inference_mode():
        answer = net(torch.rand(1, 3, 64, 64))
    assert answer.shape == (1, 1000)
    assert answer.isfinite().all()


# --- ensembles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("six", "against_two", "crops", "answer"),
    [
        ((-5.0, -4.0, -4.5), (-2.0, -1.5, -1.8), (-1.0, -0.8, -0.9), "supported"),
        ((-5.0, -4.0, -4.5), (-2.0, -1.5, -1.8), (1.0, 0.8, 0.9), "contradicted"),
        ((5.0, 4.0, 4.5), (-2.0, -1.5, -1.8), (-1.0, -0.8, -0.9), "contradicted"),
        ((-5.0, -4.0, -4.5), (2.0, 1.5, 1.8), (-1.0, -0.8, -0.9), "contradicted"),
        ((-5.0, -4.0, -4.5), (-2.0, -1.5, -1.8), (1.0, -0.8, 0.1), "undecided"),
        ((-5.0,), (-2.0,), (-1.0,), "undecided"),
    ],
)
def test_verdict_on_ensembles(
    six: tuple[float, ...], against_two: tuple[float, ...], crops: tuple[float, ...], answer: str
) -> None:
    q = {
        "ensemble-6-change": values(*six),
        "six-against-two": values(*against_two),
        "crops-change": values(*crops),
    }
    assert ensembles.RULE.judge(q).answer == answer


def test_figures_of_ensembles_by_hand() -> None:
    right, wrong, unsure = (torch.tensor([[p, 1 - p]]) for p in (0.9, 0.2, 0.6))
    members, labels = [right, wrong, unsure], torch.tensor([0])
    assert ensembles.of_ensembles(ensembles.error, members, labels, 1) == pytest.approx(100 / 3)
    # 0.55, 0.75 and 0.4 of the pairs; 1.7 / 3 of all
    assert ensembles.of_ensembles(ensembles.error, members, labels, 2) == pytest.approx(100 / 3)
    assert ensembles.of_ensembles(ensembles.error, members, labels, 3) == 0
    pairs = -sum(math.log(p) for p in (0.55, 0.75, 0.4)) / 3
    assert ensembles.of_ensembles(ensembles.loss, members, labels, 2) == pytest.approx(pairs)


@pytest.mark.parametrize("mirrors", [True, False])
def test_protocols_average_probabilities_of_views(mirrors: bool) -> None:
    net, images = small_net(), torch.rand(3, 3, 16, 16)
    compute = choose_compute("cpu", "float32", "contiguous", threads=1)
    found = ensembles.answers_by_protocol(net, images, compute, mirrors=mirrors)

    @torch.inference_mode()
    def said(view: torch.Tensor) -> torch.Tensor:
        return torch.softmax(net(view), dim=1)

    torch.testing.assert_close(found["single"], said(images))
    framed = pad(images, (2,) * 4)
    cut = oracle.ten_crop(framed, [16, 16]) if mirrors else oracle.five_crop(framed, [16, 16])
    torch.testing.assert_close(found["crops"], torch.stack([said(view) for view in cut]).mean(0))
    sides = [oracle.resize(images, [side, side], antialias=True) for side in (14, 18)]
    torch.testing.assert_close(found["scales"], torch.stack([said(v) for v in (images, *sides)]).mean(0))
    if mirrors:
        torch.testing.assert_close(found["mirror"], (said(images) + said(images.flip(3))) / 2)
    else:
        assert "mirror" not in found


@pytest.mark.usefixtures("few_digits")
def test_ensembles_keep_what_theory_promises(tiny: Setup) -> None:
    one_seed = replace(tiny, seeds=SEEDS[:1])
    found = ensembles.measure(one_seed)
    assert left_in_english(found) == set()
    q = found.quantities
    wanted = {seed: [ensembles._settings(tiny, depth, seed) for depth in ensembles.DEPTHS] for seed in SEEDS[:1]}
    for place, seed in enumerate(SEEDS[:1]):
        members = trained(tiny, wanted[seed])
        kept_aside = {str(read_json(run.path / runs.SPLIT)["validation"]) for run in members}
        assert len(kept_aside) == 1
        errors = [100 * (1 - run.epochs[-1].validation_accuracy) for run in members]
        assert q["ensemble-1"].values[place] == pytest.approx(np.mean(errors), abs=1e-4)
        # Jensen: the loss of an average is at most the average of the losses
        losses = [q[f"loss-{size}"].values[place] for size in ensembles.SIZES]
        assert all(more <= fewer + 1e-9 for fewer, more in pairwise(losses))
    assert "mirror" not in q  # a digit's mirror image is another sign
    assert q["crops-change"].values[0] == pytest.approx(q["crops"].values[0] - q["ensemble-1"].values[0])
    assert found.settings["pictures"] == 26
    assert [row[0] for row in found.tables[0].rows][-1] == "six nets, crops"


def test_members_at_quick_and_full_scale(tmp_path: Path) -> None:
    quick, full = (Setup(scale, (0,), tmp_path, data="digits") for scale in ("quick", "full"))
    asked = [ensembles._settings(quick, depth, 0) for depth in ensembles.DEPTHS]
    depths = [named(one.model, 10, blocks=one.blocks).depth for one in asked if one.model]
    assert depths == [20, 26, 32, 38, 44, 56]
    assert all(ensembles._settings(full, depth, 0).validation == 0.1 for depth in ensembles.DEPTHS)


# --- transfer ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deep", "answer"),
    [
        ((70.0, 71.0, 70.5), "supported"),
        ((40.0, 41.0, 40.5), "contradicted"),  # no better than untrained
        ((55.0, 56.0, 55.5), "contradicted"),  # plain is better
        ((61.5, 62.5, 62.0), "contradicted"),  # more than a point below the shallow net
        ((70.0, 40.0, 90.0), "undecided"),
        ((70.0,), "undecided"),
    ],
)
def test_verdict_on_transfer(deep: tuple[float, ...], answer: str) -> None:
    q = {
        "resnet56-many": values(*deep),
        "resnet56-untrained-many": values(45.0, 46.0, 45.5),
        "plain56-many": values(60.0, 61.0, 60.5),
        "resnet20-many": values(69.0, 70.0, 69.5),
    }
    assert transfer.RULE.judge(q).answer == answer


def test_the_probe_is_scikit_learns_ridge() -> None:
    from sklearn.linear_model import RidgeClassifier

    chance = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=chance) * torch.tensor([1.0, 10.0, 0.1, 1.0, 3.0, 0.0]) + 5.0
    labels = (x[:, 0] + torch.randn(200, generator=chance) * 0.5 > 5).long() + (x[:, 4] > 6).long()
    z = ((x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-9)).double().numpy()
    theirs = RidgeClassifier(alpha=0.01 * len(x)).fit(z, labels.numpy())
    weight, bias = ridge(x, labels)
    # they regress −1 and 1, we 0 and 1
    expected = (theirs.decision_function(z) + 1) / 2
    np.testing.assert_allclose((x.double() @ weight + bias).numpy(), expected, atol=1e-5)
    assert torch.equal(weight[5], torch.zeros(3, dtype=torch.float64))
    accuracy = probe_accuracy(x, labels, x, labels)
    assert accuracy == pytest.approx(theirs.score(z, labels.numpy()))


def test_rows_for_probes_are_disjoint_and_nested() -> None:
    labels = np.repeat(np.arange(4), [90, 50, 90, 12])
    data = ImageData("it", "it", "abcd", Split([b""] * len(labels), labels))
    rows = transfer.rows_of(data, ("b", "d"), (5, 20, 10), seed=3)
    counts = {name: np.bincount(labels[getattr(rows, name)], minlength=4).tolist() for name in ("few", "many", "held")}
    assert counts == {"few": [0, 5, 0, 5], "many": [0, 20, 0, 8], "held": [0, 10, 0, 4]}
    assert set(rows.few) <= set(rows.many)
    assert not set(rows.many) & set(rows.held)
    assert set(rows.few) != set(transfer.rows_of(data, ("b", "d"), (5, 20, 10), seed=4).few)


def test_halves_need_four_classes() -> None:
    data = open_data("digits")
    assert transfer.halves(data) == (tuple("02468"), tuple("13579"))
    with pytest.raises(UserError, match="3 classes, too few to transfer"):
        transfer.halves(ImageData("it", "it", "abc", data.train))


def test_half_of_cifar10_is_shortened_at_quick_as_the_whole_is(tmp_path: Path) -> None:
    digits = open_data("digits")
    quick, full = (Setup(scale, (0,), tmp_path, data="digits") for scale in ("quick", "full"))
    photographs = ImageData("cifar10", "cifar10", digits.classes, digits.train)
    asked = transfer._settings(quick, photographs, "digits", "plain56", 0)
    assert (asked.model, asked.epochs, asked.image_size, asked.flip) == ("plain56", 2, 16, None)
    asked = transfer._settings(quick, digits, "digits", "plain56", 0)
    assert (asked.epochs, asked.image_size, asked.flip) == (None, None, False)
    assert transfer._settings(full, photographs, "digits", "resnet20", 0).validation == 0.1


def test_a_folder_of_some_classes_holds_their_pictures_unchanged(tmp_path: Path) -> None:
    data = open_data("digits")
    folder = folder_of_classes(data, ("3", "7"), tmp_path)
    read = open_data(str(folder))
    rows = np.flatnonzero(np.isin(data.train.labels, (3, 7)))
    assert (list(read.classes), len(read.train), read.test) == (["3", "7"], len(rows), None)
    assert read.train.labels.tolist() == [int(data.train.labels[row] == 7) for row in rows]
    for place in (0, 17, len(rows) - 1):
        original = decode(data.train.pictures.encoded(int(rows[place])), "original")
        assert np.array_equal(decode(read.train.pictures.encoded(place), "written"), original)
    written = (folder / "train.parquet").stat().st_mtime_ns
    assert folder_of_classes(data, ("3", "7"), tmp_path) == folder
    assert (folder / "train.parquet").stat().st_mtime_ns == written
    assert folder_of_classes(data, ("3", "8"), tmp_path) != folder
    assert [path.name for path in folder.iterdir()] == ["train.parquet"]


def test_files_of_pictures_are_copied_as_they_are(cifar10: Path, tmp_path: Path) -> None:
    (file,) = (cifar10 / "plain_text").glob("train*.parquet")
    few = parquet.ParquetFile(file).read_row_group(0).slice(0, 40)  # of all 50,000 a fingerprint would be taken
    (tmp_path / "some").mkdir()
    parquet.write_table(few, tmp_path / "some" / "train-0.parquet")
    data = open_data(str(tmp_path / "some"))
    assert len(data.train) == 40
    read = open_data(str(folder_of_classes(data, ("frog", "truck"), tmp_path)))
    rows = np.flatnonzero(np.isin(data.train.labels, [data.classes.index(name) for name in ("frog", "truck")]))
    assert [read.train.pictures.encoded(i) for i in range(len(read.train))] == [
        data.train.pictures.encoded(int(row)) for row in rows
    ]


def test_features_are_what_the_last_layer_sees() -> None:
    net = small_net(order="preactivation")
    compute = choose_compute("cpu", "float32", "contiguous", threads=1)
    images = torch.rand(5, 3, 8, 8)
    seen = transfer.features(net, [images[:3], images[3:]], compute)
    assert seen.shape == (5, 16)
    with torch.inference_mode():
        torch.testing.assert_close(net.fc(seen), net(images))


def test_an_untrained_net_is_chances_own_with_statistics_measured() -> None:
    compute = choose_compute("cpu", "float32", "contiguous", threads=1)
    how = Preprocessing(8, 8, np.full(3, 100, np.float32), np.full(3, 50, np.float32))
    digits = open_data("digits").train.take(np.arange(64))
    pixels = np.stack([decode(digits.pictures.encoded(row), "") for row in range(64)])
    feeds = {"statistics": open_loader(digits, how, compute.device, 0, 250, pixels)}
    spec = small_net().spec
    net, again = (untrained_on(spec, 7, (b.images for b in feeds["statistics"]), compute) for _ in range(2))
    torch.manual_seed(7)
    assert torch.equal(net.stem.conv.weight, ResNet(spec).stem.conv.weight)
    assert torch.equal(net.fc.weight, again.fc.weight)
    batch = next(feeds["statistics"].batches(one_pass(64, 64)))
    seen = net.stem.conv(batch.images)
    torch.testing.assert_close(net.stem.bn.running_mean, seen.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert not net.training


@pytest.mark.usefixtures("few_digits")
def test_transfer_trains_on_one_half_and_probes_the_other(tiny: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "STRENGTHS", head.STRENGTHS[::4])
    found = transfer.measure(tiny)
    assert left_in_english(found) == set()
    q = found.quantities
    curve = {f"resnet20-{way}-5" for way in (*transfer_curve.WAYS, "gain")}
    assert set(q) == {f"{net}-{kind}" for net in transfer.NETS for kind in transfer.KINDS} | curve
    shares = [one for name, one in q.items() if "gain" not in name]
    assert all(len(one.values) == 2 and 0 <= min(one.values) <= max(one.values) <= 100 for one in shares)
    data = open_data("digits")
    folder = folder_of_classes(data, transfer.halves(data)[0], tiny.folder / "data")
    asked = transfer._settings(tiny, data, str(folder), "resnet56", 1)
    run = trained(tiny, [asked])[0]
    assert run.data.classes == tuple("02468")
    assert run.settings.settings["flip"] is False
    assert q["resnet56-own"].values[1] == pytest.approx(100 * run.evaluation.top1.value)
    # five classes: a probe of many pictures reads more than chance even off random features
    assert min(q["resnet20-untrained-many"].values) > 20
    assert found.settings["probed"] == list("13579")
