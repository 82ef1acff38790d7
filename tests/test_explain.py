"""Why a net answers so: heat maps against the papers' formulas, blocks left out, nearest pictures, verb and page."""

import base64
import copy
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from page_reading import Page
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor, nn

import residuum
from residuum import chinese, runs
from residuum.data.preprocess import Preprocessing, normalise
from residuum.errors import PartlyDone, UserError
from residuum.evaluation import heat_maps
from residuum.evaluation.heat_maps import METHODS, drawn_over, grad_cam, masks, rise
from residuum.evaluation.likeness import directions
from residuum.explained_printing import print_explained
from residuum.explanation.blocks import answers_with_blocks_off
from residuum.explanation.explain import explain
from residuum.explanation.nearest import cosines
from residuum.files import read_json, write_json
from residuum.loading import load, save_classifier
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.explained import Heat, why_unsure
from residuum.records.model import Provenance
from residuum.records.review import Likeness
from residuum.reporting.explained_view import disagreement
from residuum.reporting.page import write_report
from residuum.settings import ExplainSettings
from residuum.training import features as features_file
from residuum.training.head import STRENGTHS

ORDERS = ["original", "preactivation", "relu-before-addition"]
HOSTILE = "<script>alert('x')</script>\"&\u202e"


@pytest.fixture(autouse=True, scope="module")
def _heads_are_fitted_at_few_strengths() -> Iterator[None]:
    """What a head is worth is not asked here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("residuum.training.head.STRENGTHS", STRENGTHS[::4])
        yield


def small(**choices: Any) -> ResNet:
    """A net of six blocks whose BN statistics are by chance too."""
    torch.manual_seed(0)
    net = ResNet(named("resnet20", 4, **{"blocks": (2, 2, 2), "widths": (4, 8, 16), **choices})).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.bias.data.normal_(std=0.3)
    return net


IMAGES, CLASSES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3, 1])


# --- heat maps ----------------------------------------------------------------------------------


def by_hook(net: ResNet, module: nn.Module, image: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """A (C, h, w) that `module` gives of one picture, and ∂y/∂A, by a whole backward pass."""
    kept = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    y = net(image[None])[0, number]
    handle.remove()
    return kept[0][0].detach(), torch.autograd.grad(y, kept[0])[0][0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_grad_cam_is_the_papers(order: str, pooling: str) -> None:
    net = small(order=order, pooling=pooling)
    maps = grad_cam(net, IMAGES, CLASSES)
    assert maps.shape == (3, 4, 4)
    for image, number, found in zip(IMAGES, CLASSES.tolist(), maps, strict=True):
        A, gradient = by_hook(net, net.end, image, number)
        expected = torch.zeros(4, 4)
        for k in range(len(A)):  # eq. 1, then eq. 2
            expected += gradient[k].sum() / 16 * A[k]
        torch.testing.assert_close(found, expected.clamp(min=0), atol=1e-6, rtol=1e-4)


def test_rise_is_the_papers() -> None:
    """The sum of sec. 3, over what the masks show of each place; the least place is nothing."""
    net, every = small(), masks(16)
    found = rise(net, IMAGES, CLASSES)
    with torch.no_grad():
        answers = [net(IMAGES * mask).softmax(1)[range(3), CLASSES] for mask in every]
    shown = [nn.functional.adaptive_avg_pool2d(mask[None], 14)[0] for mask in every]
    expected = sum(p[:, None, None] * mask for p, mask in zip(answers, shown, strict=True)) / sum(shown)
    torch.testing.assert_close(found, expected - expected.amin((1, 2), keepdim=True), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("side", [8, 33, 64])
def test_masks_are_smooth_and_hide_half_by_chance(side: int) -> None:
    every = masks(side)
    assert every.shape == (100, side, side)
    assert 0 <= every.min() <= every.max() <= 1
    assert (every.mean(0) - 0.5).abs().max() < 0.25
    assert every.mean() == pytest.approx(0.5, abs=0.03)
    assert 0.03 < every.mean((1, 2)).std() < 0.15
    step = every.diff(dim=2).abs().max()
    assert step <= 1 / -(-side // 7) + 1e-6
    assert torch.equal(every, masks(side))


def test_where_the_net_averages_grad_cam_adds_up_to_the_logit() -> None:
    net = small()
    net.fc.weight.data.abs_()  # so that the ReLU takes nothing away
    with torch.no_grad():
        logits = net(IMAGES)[range(3), CLASSES] - net.fc.bias[CLASSES]
    torch.testing.assert_close(grad_cam(net, IMAGES, CLASSES).sum((1, 2)), logits)


def looking_for_red() -> ResNet:
    """A net that answers class 1 by how much red there is: the branches are zero, one filter hands red on."""
    net = small(shortcut="A")
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "branch" in name and name.endswith(("weight", "bias")):
                tensor.zero_()
        for tensor in (net.stem.conv.weight, net.stem.bn.bias, net.stem.bn.running_mean, net.fc.weight, net.fc.bias):
            tensor.zero_()
        net.stem.conv.weight[0, 0, 1, 1] = 1
        net.fc.weight[1, 0] = 1
    return net


RED = looking_for_red()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@settings(max_examples=5, deadline=None)
@given(place=st.tuples(st.integers(0, 24), st.integers(0, 24)))
def test_the_peak_lies_on_the_one_patch_that_counts(
    method: Callable[[ResNet, Tensor, Tensor], Tensor], place: tuple[int, int]
) -> None:
    top, left = place
    image = torch.zeros(1, 3, 32, 32)
    image[:, 1:] = 1.0  # green and blue everywhere
    image[0, 0, top : top + 8, left : left + 8] = 1.0
    pixels = (255 * image[0]).byte().permute(1, 2, 0).numpy()
    heat = drawn_over(pixels, method(RED, image, torch.tensor([1]))[0], "it", 96)
    assert heat is not None
    assert top - 4 <= 32 * heat.y <= top + 12
    assert left - 4 <= 32 * heat.x <= left + 12
    if method is grad_cam:  # nothing in the picture speaks for another class
        assert drawn_over(pixels, method(RED, image, torch.tensor([2]))[0], "it", 96) is None


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2], validate=True)))


@pytest.mark.parametrize(("side", "drawn"), [(32, 96), (40, 120), (300, 96)])
def test_a_map_is_drawn_orange_where_it_is_high_and_grey_elsewhere(side: int, drawn: int) -> None:
    pixels = np.full((side, side, 3), (200, 40, 40), np.uint8)
    share = torch.zeros(4, 4)
    share[1, 3] = 8.0
    heat = drawn_over(pixels, share, "Grad-CAM", 120 if side < 100 else 96, values=True)
    assert heat is not None
    assert (heat.x, heat.y, heat.values[1]) == (0.875, 0.375, (0, 0, 0, 1))
    picture = opened(heat.picture).convert("RGB")
    assert picture.size == (drawn, drawn)
    red, green, blue = picture.getpixel((int(0.875 * drawn), int(0.375 * drawn)))
    assert red > green > blue
    assert red - blue > 120
    red, green, blue = picture.getpixel((2, drawn - 2))
    assert max(red, green, blue) - min(red, green, blue) < 12


# --- after each block ---------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", ["A", "B", "constant"])
@pytest.mark.parametrize("order", ORDERS[:2])
def test_behind_a_block_the_later_branches_give_nothing(order: str, shortcut: str) -> None:
    net = small(order=order, shortcut=shortcut)
    names = [name for name, _ in net.blocks()]
    found = answers_with_blocks_off(net, IMAGES)
    assert [name for name, _ in found] == names
    for place, (_, answers) in enumerate(found):
        cut = copy.deepcopy(net)
        for _, block in list(cut.blocks())[place + 1 :]:
            for layer in block.branch.modules():
                if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
                    layer.weight.data.zero_()
                if isinstance(layer, nn.BatchNorm2d):
                    layer.bias.data.zero_()
        with torch.no_grad():
            torch.testing.assert_close(answers, cut(IMAGES).softmax(1))
    assert not torch.allclose(found[0][1], found[-1][1], atol=1e-3)


def test_a_plain_net_is_read_only_where_its_last_layer_fits() -> None:
    net = small(shortcut="none")
    found = dict(answers_with_blocks_off(net, IMAGES))
    assert list(found) == ["stage3.block1", "stage3.block2"]
    with torch.no_grad():
        early = net.head(net.stages[2].block1(net.stages[:2](net.stem(IMAGES)))).softmax(1)
        torch.testing.assert_close(found["stage3.block1"], early)
        torch.testing.assert_close(found["stage3.block2"], net(IMAGES).softmax(1))


# --- the nearest pictures -----------------------------------------------------------------------


def test_cosines_are_scikit_learns() -> None:
    luck = np.random.default_rng(0)
    x, others = (luck.standard_normal((n, 7)).astype(np.float32) for n in (3, 5))
    others[2] = 0
    np.testing.assert_allclose(cosines(x, others), cosine_similarity(x, others), atol=1e-6)


# --- the verb -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of two colours; two blue pictures are called red."""
    root, luck = tmp_path_factory.mktemp("data") / "photographs", np.random.default_rng(0)
    for name, colour in (("blue 蓝", (60, 80, 160)), ("red", (160, 80, 60))):
        (root / name).mkdir(parents=True)
        for i in range(9):
            pixels = np.clip(np.array(colour) + luck.normal(0, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    for i in (7, 8):
        (root / f"blue 蓝/{i}.png").rename(root / f"red/blue{i}.png")
    return root


@pytest.fixture(scope="module")
def run(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on an untrained net."""
    folder = tmp_path_factory.mktemp("explained")
    spec = small().spec
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    save_classifier(folder / "start.safetensors", small(), spec, ("a", "b", "c", "d"), how, Provenance())
    start, out = str(folder / "start.safetensors"), str(folder / "run")
    residuum.train(str(photographs), start=start, precision="float32", threads=1, out=out)
    return Path(out)


def test_a_training_picture_is_its_own_nearest(
    run: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_file, "_computed", None)  # the run's own features serve
    one, other = photographs / "red/3.png", photographs / "blue 蓝/5.png"
    found = residuum.explain(run, one, other, nearest=2, threads=1)
    assert found.path.parent == run / "explain"
    assert [each.name for each in found.pictures] == [str(one), str(other)]
    for each, name, truth in zip(found.pictures, ("red/3.png", "blue 蓝/5.png"), ("red", "blue 蓝"), strict=True):
        assert (each.nearest[0].name, each.nearest[0].truth) == (name, truth)
        assert each.nearest[0].similarity == pytest.approx(1, abs=1e-4)
        assert each.nearest[0].similarity > each.nearest[1].similarity
    said = residuum.predict(run, one, other, threads=1)
    assert [[(a.name, a.probability) for a in each.answers] for each in found.pictures] == [
        list(zip(each.classes, each.probabilities, strict=True)) for each in said
    ]
    assert all(each.trained_on for each in found.pictures)
    assert [each.blocks[-1].said for each in found.pictures] == [each.answers[0] for each in found.pictures]
    assert [heat.method for heat in found.pictures[0].heat] == list(METHODS)
    written = json.dumps(found.as_json(), ensure_ascii=False)
    assert "data:image" not in written
    assert "red/3.png" in written


def test_the_page_shows_it_all_and_loads_nothing(run: Path, photographs: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a & <b>.png"
    odd.write_bytes((photographs / "red/1.png").read_bytes())
    found = residuum.explain(
        run, odd, photographs / "red/2.png", of="blue 蓝", nearest=3, threads=1, out=tmp_path / "x"
    )
    page = Page((found.path / runs.REPORT).read_text(encoding="utf-8"))
    page.assert_closed(shows_pictures=True)
    page.assert_usable_without_sight()
    page.assert_drawn_well(drawings=2, numbers=20)
    assert "a & <b>.png" in page.plain
    assert "what speaks for blue 蓝" in page.plain
    assert "among all 18 training pictures of photographs" in page.plain
    assert len(page.all("img")) == sum(1 + len(one.heat) + 3 for one in found.pictures)
    assert [row[2] for row in page.rows(4) if row[0].isdigit()] == [
        b.said.name for one in found.pictures for b in one.blocks
    ]
    assert write_report([found.path], tmp_path / "again.html").read_text(encoding="utf-8") == page.html


def test_the_answers_views_are_named_and_of_which_the_maps_are(photographs: Path, tmp_path: Path) -> None:
    """The maps are those of the papers for the picture at its whole side, which the other view's would not be."""
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32), views="halved")
    model, net = tmp_path / "m.safetensors", small()
    save_classifier(model, net, net.spec, ("a", "b", "c", "d"), how, Provenance())
    one = photographs / "red/2.png"
    asked = ExplainSettings(model, (one,), nearest=0, threads=1, out=tmp_path / "x")
    found = explain(asked)
    content = read_json(found.path / runs.EXPLAINED)
    assert content["protocol"] == "picture, also at half its side, 16×16"
    assert content["maps"] == "the first of these views alone, 16×16"
    pixels = np.array(Image.open(one))
    images = normalise(torch.from_numpy(pixels[None]), how)
    with torch.no_grad():
        mean = (net(images) + net(nn.functional.avg_pool2d(images, 2))) / 2
    answers = mean.softmax(1)[0].topk(len(found.pictures[0].answers))
    assert [said.probability for said in found.pictures[0].answers] == pytest.approx(answers.values.tolist(), abs=1e-6)
    expected = drawn_over(pixels, grad_cam(net, images, answers.indices[:1])[0], "Grad-CAM", 224, values=True)
    assert found.pictures[0].heat[-1] == expected
    page = Page(write_report([found.path]).read_text(encoding="utf-8"))
    assert "its two answers are averaged. The maps are of the first view alone." in page.plain
    assert "the first of these views alone, 16×16" in page.plain


@pytest.mark.parametrize("way", [1, -1], ids=["like them", "unlike them"])
def test_an_answer_is_unsure_where_that_of_predict_is(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: int
) -> None:
    """The model knows one picture alone: the one that is explained, whose distance is 0, or its very opposite, 2."""
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32), views="halved")
    model, net, one = tmp_path / "m.safetensors", small(), photographs / "red/2.png"
    like = Provenance(likeness=Likeness(neighbours=1, threshold=0.1, known=0.05))
    save_classifier(model, net, net.spec, ("a", "b", "c", "d"), how, Provenance())
    own = directions(residuum.load(model, engine="torch").features([one]))
    save_classifier(model, net, net.spec, ("a", "b", "c", "d"), how, like, way * own)
    asked = ExplainSettings(model, (one,), nearest=0, threads=1, out=tmp_path / "x")
    found, said = explain(asked), residuum.predict(model, one, threads=1)[0]
    assert found.pictures[0].distance == pytest.approx(1 - way, abs=1e-3) == said.distance
    assert found.pictures[0].doubt == said.reason
    assert residuum.load(model).explain(one, methods=["Grad-CAM"]).doubt == said.reason
    print_explained(asked, found, json=False)
    page = Page(write_report([found.path]).read_text(encoding="utf-8")).plain
    assert (f"unsure ({said.reason})" in capsys.readouterr().out) == bool(said.unsure) == (way < 0)
    assert ("It is unsure, as the picture is unlike the training pictures: 2.000" in page) == (way < 0)


def test_the_nearest_are_near_by_the_views_that_the_answers_are_of(photographs: Path, tmp_path: Path) -> None:
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32), views="halved")
    model, net = tmp_path / "m.safetensors", small()
    save_classifier(model, net, net.spec, ("blue 蓝", "red", "c", "d"), how, Provenance())
    one = photographs / "red/2.png"
    how_many = {"data": photographs, "nearest": 18, "threads": 1, "out": tmp_path / "x"}
    (found,) = residuum.explain(model, one, **how_many).pictures
    assert not found.trained_on  # it is among these, and nobody says that the net learnt from them

    def features(name: str) -> Tensor:
        images = normalise(torch.from_numpy(np.array(Image.open(photographs / name))[None]), how)
        views = images, nn.functional.avg_pool2d(images, 2)
        with torch.no_grad():
            return sum(net.pool(net.end(net.stages(net.stem(view)))).flatten(1) / 2 for view in views)

    expected = [cosine_similarity(features("red/2.png"), features(near.name)).item() for near in found.nearest]
    assert len(expected) == 18
    assert [near.similarity for near in found.nearest] == pytest.approx(expected, abs=1e-4)


def test_a_picture_that_the_net_was_trained_on_is_said_to_be(run: Path, photographs: Path, tmp_path: Path) -> None:
    known, new = photographs / "red/3.png", tmp_path / "new.png"
    pixels = np.array(Image.open(known))
    pixels[0, 0] ^= 1  # as near as can be, and another
    Image.fromarray(pixels).save(new)
    found = residuum.explain(run, known, new, nearest=2, threads=1, out=tmp_path / "x")
    assert [one.trained_on for one in found.pictures] == [True, False]
    page = Page((found.path / runs.REPORT).read_text(encoding="utf-8"))
    assert page.plain.count("The net was trained on this very picture") == 1
    assert ("a net answers it that had not seen it" in page.plain) is (run / runs.OUT_OF_FOLD).is_file() is True


@pytest.mark.parametrize("limit", [0.0498, 0.0503, 0.05, 0.049999999])
def test_a_distance_beyond_the_limit_is_not_written_as_the_limit(limit: float) -> None:
    distance, threshold = re.findall(r"\d\.\d+", why_unsure(limit + 1e-4, limit))
    assert float(distance) > float(threshold)
    assert len(distance) == len(threshold)
    assert "0.700 from the nearest, 0.200 is" in why_unsure(0.7, 0.2)


def peaked(row: int, column: int, rest: float = 0.0) -> Heat:
    values = [[rest] * 4 for _ in range(4)]
    values[row][column] = 1.0
    return Heat(method="made up", picture="", x=(column + 0.5) / 4, y=(row + 0.5) / 4, values=tuple(map(tuple, values)))


def test_maps_that_speak_against_each_other_are_said_to() -> None:
    assert disagreement([peaked(0, 0), peaked(3, 2)]).startswith("The two maps disagree")
    assert disagreement([peaked(1, 2), peaked(1, 2)]) == ""
    assert disagreement([peaked(0, 0), peaked(3, 2, rest=0.6)]) != ""  # the second denies the first's peak
    assert disagreement([peaked(0, 0, rest=0.6), peaked(1, 1, rest=0.6)]) == ""
    assert "on opposite sides" in disagreement([peaked(0, 3, rest=0.6), peaked(3, 0, rest=0.6)])  # broad, but far apart
    assert "on opposite sides" in disagreement([peaked(1, 0, rest=0.6), peaked(1, 3, rest=0.6)])
    assert disagreement([peaked(0, 0)]) == ""


def on_grid(side: int, row: int, column: int) -> Heat:
    values = np.zeros((side, side))
    values[row, column] = 1.0
    x, y = (column + 0.5) / side, (row + 0.5) / side
    return Heat(method="made up", picture="", x=x, y=y, values=tuple(map(tuple, values.tolist())))


def test_maps_are_no_finer_than_their_places() -> None:
    assert disagreement([on_grid(14, 1, 5), on_grid(7, 1, 2)]) == ""  # RISE and Grad-CAM at one place of the coarser
    assert disagreement([on_grid(7, 0, 2), on_grid(7, 1, 2)]) == ""
    assert disagreement([on_grid(7, 0, 2), on_grid(7, 2, 2)]).startswith(
        "The two maps disagree about this picture: where one is strongest"
    )


def test_maps_that_disagree_within_a_third_of_the_picture_say_so() -> None:
    said = disagreement([on_grid(14, 0, 6), on_grid(14, 4, 8)])
    assert said.startswith("The two maps disagree about this picture: both are strongest at the top, but apart: where")
    assert chinese.said(said).startswith("对这张图片，两张热力图不一致：最强的地方都在上方")


def test_a_page_of_a_hostile_file_holds_no_script(run: Path, photographs: Path, tmp_path: Path) -> None:
    pictures = [photographs / name for name in ("red/2.png", "red/3.png")]
    found = residuum.explain(run, *pictures, nearest=1, threads=1, out=tmp_path / "x")
    content = read_json(found.path / runs.EXPLAINED)
    picture = content["pictures"][0]
    content["model"] = content["searched"] = picture["name"] = picture["heat_of"] = HOSTILE
    picture["nearest"][0] |= {"name": HOSTILE, "truth": HOSTILE, "thumbnail": "https://example.org/x.png"}
    picture["seen"] = 'data:image/png;base64,"'
    for block in picture["blocks"]:
        block |= {"block": HOSTILE, "said": {"class": HOSTILE, "probability": 0.5}}
    picture["answers"][0]["class"] = HOSTILE
    write_json(found.path / runs.EXPLAINED, content)
    page = Page(write_report([found.path]).read_text(encoding="utf-8"))
    page.assert_closed(shows_pictures=True)
    page.assert_usable_without_sight()
    assert "<script>alert('x')</script>" in page.plain


def test_what_is_missing_is_said_and_the_rest_shown(
    run: Path,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = photographs / "red/2.png"
    start = run.parent / "start.safetensors"
    found = residuum.explain(start, one, threads=1, out=tmp_path / "x")
    assert found.pictures[0].nearest == ()
    assert "no training pictures are shown" in capsys.readouterr().err
    page = Page((found.path / runs.REPORT).read_text(encoding="utf-8"))
    assert "No training pictures are shown" in page.plain
    with pytest.raises(UserError, match="lies in the folder of the pictures"):
        residuum.explain(run, one, threads=1, out=photographs / "z")

    def broken(*_: object) -> None:
        raise UserError("1 of 18 pictures cannot be read")

    with monkeypatch.context() as since:
        since.setattr("residuum.explanation.explain.nearest", broken)
        assert residuum.explain(run, one, threads=1, out=tmp_path / "z").pictures[0].nearest == ()
    assert "no training pictures are shown: 1 of 18" in capsys.readouterr().err
    assert "trained on this very picture" not in page.plain  # nobody looked
    few = residuum.explain(run, one, nearest=50, among=5, threads=1, out=tmp_path / "y")
    assert len(few.pictures[0].nearest) == 5
    assert "5 of the 18 training pictures" in (few.path / runs.REPORT).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("images", "how", "said"),
    [
        ((), {}, "which pictures"),
        (("red/1.png",), {"of": "redd"}, "did you mean red"),
        (("red/1.png",), {"data": "/no/place"}, "/no"),
        (("red",) * 12, {}, "132 pictures are too many"),
        (("no.png",), {}, "cannot read"),
    ],
)
def test_what_is_asked_wrong_is_one_error(
    run: Path, photographs: Path, images: tuple[str, ...], how: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        residuum.explain(run, *(photographs / name for name in images), **how)


def test_pictures_that_cannot_be_read_are_named_and_the_others_explained(
    run: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    one = photographs / "red/3.png"
    how = ExplainSettings(run, (tmp_path / "broken.png", one), nearest=0, threads=1, out=tmp_path / "x")
    found = explain(how)
    assert [each.name for each in found.pictures] == [str(one)]
    with pytest.raises(PartlyDone, match="1 of 2 pictures could not be read"):
        print_explained(how, found, json=True)
    said, told = capsys.readouterr()
    assert "broken.png" in json.loads(said)["unread"][0]
    assert f"not explained: cannot read the picture {tmp_path / 'broken.png'}" in told


# --- beside mistakes ----------------------------------------------------------------------------


def test_a_mistake_has_a_map_of_what_was_said_beside_it(run: Path, photographs: Path, tmp_path: Path) -> None:
    record, model = runs.read_run(run), load(run)
    first = record.mistakes[0]
    pixels = np.array(Image.open(photographs / first.name))
    images = normalise(torch.from_numpy(pixels[None]), model.preprocessing)
    maps = grad_cam(model.net, images, torch.tensor([model.classes.index(first.predicted)]))
    assert first.heat == drawn_over(pixels, maps[0], "Grad-CAM", 96)
    page = Page(write_report([run], tmp_path / "page.html").read_text(encoding="utf-8"))
    page.assert_closed(shows_pictures=True)
    page.assert_usable_without_sight()
    assert len(page.all("img")) == sum(1 + (one.heat is not None) for one in record.mistakes) > len(record.mistakes)
    assert "for what was said (Grad-CAM)" in page.plain


def test_no_more_mistakes_have_maps_than_the_page_shows_unfolded(
    run: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number was rounded up to the next batch."""
    monkeypatch.setattr(heat_maps, "WITH_HEAT", 3)
    model, mistake = load(run), runs.read_run(run).mistakes[0]
    pixels, of = np.array(Image.open(photographs / mistake.name)), model.classes.index(mistake.predicted)
    loader: Any = SimpleNamespace(seen=lambda _: pixels, device="cpu", preprocessing=model.preprocessing)
    found = heat_maps.heat_beside(model.net, loader, "single", range(5), np.full(5, of))
    assert [one is None for one in found] == [False] * 3 + [True] * 2


def test_maps_leave_the_net_as_it_is(run: Path, tmp_path: Path) -> None:
    """Features from the cache: nothing has put the net into evaluation mode before the maps are made."""
    asked = {**runs.read_run(run).settings.settings, "out": str(tmp_path / "again")}
    assert residuum.train(**asked).mistakes[0].heat
    before, after = (load(path).net.state_dict() for path in (run, tmp_path / "again"))
    assert all(torch.equal(before[name], after[name]) for name in before)
    start = load(run.parent / "start.safetensors").net.state_dict()
    assert all(torch.equal(start[name], after[name]) for name in start if not name.startswith("fc."))


def test_runs_whose_last_layer_alone_was_fitted_have_no_curves_and_are_said_why(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "again", ignore=shutil.ignore_patterns("explain"))
    page = Page(write_report([run, tmp_path / "again"], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "No curves: in each of these runs the last layer alone was fitted, which takes no steps." in page.plain


def test_a_run_of_an_older_version_shows_its_mistakes_without_maps(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("explain"))
    mistakes = read_json(run / runs.MISTAKES)
    write_json(tmp_path / "run" / runs.MISTAKES, [{k: v for k, v in one.items() if k != "heat"} for one in mistakes])
    page = Page(write_report([tmp_path / "run"]).read_text(encoding="utf-8"))
    assert len(page.all("img")) == len(mistakes)
    assert "Orange" not in page.plain
