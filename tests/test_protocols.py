"""The papers' protocols and ensembles, on public weights, against references written with torchvision."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_start import coloured_noise
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torchvision import transforms as oracle

from residuum import runs
from residuum.choices import EvaluationViews
from residuum.cli import app
from residuum.compute import choose_compute
from residuum.data.preprocess import Preprocessing
from residuum.data.split import cut_validation
from residuum.errors import UserError
from residuum.evaluation import evaluate as evaluate_file
from residuum.evaluation.evaluate import evaluate, protocol
from residuum.evaluation.many_views import mean_over_views, refuse_what_means_nothing
from residuum.evaluation.opening import open_with_data, with_other_net
from residuum.loading import Classifier, load, save_classifier
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.codec import read_record
from residuum.records.evaluation import KeptEvaluation
from residuum.records.model import Provenance
from residuum.settings import EvaluateSettings

SIZES = [(60, 40), (37, 37), (40, 66), (60, 40), (36, 36)]
SCALES = (32, 37, 55, 69, 91)
"""224, 256, 384, 480 and 640 px for a net of 224 px are these for one of 32 px."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residuum.evaluation.metrics.RESAMPLES", 20)


@pytest.fixture(scope="module")
def photographs(public_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of each size, of a class of its own, under the public net's class names."""
    root, luck = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for name, size in zip(load(public_model).classes[::2], SIZES, strict=True):
        (root / name).mkdir()
        coarse = Image.fromarray(luck.integers(0, 256, (7, 9, 3), np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(root / name / "x.png")
    return root


@pytest.fixture(scope="module")
def shown_at_36(public_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public net, which is to see photographs as nets for ImageNet do: the centre of a larger picture."""
    net = load(public_model)
    how = replace(net.preprocessing, resize_to=36)
    path = tmp_path_factory.mktemp("36") / "at-36.safetensors"
    save_classifier(path, net.net, net.spec, net.classes, how, Provenance())
    return path


@pytest.fixture(scope="module")
def other(public_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another net: other weights, mean, view, and its classes in another order."""
    torch.manual_seed(0)
    spec = named("resnet20", 10, blocks=(1, 1, 1), widths=(4, 8, 16))
    how = Preprocessing(32, 40, np.array([120, 110, 100], np.float32), np.array([60, 55, 50], np.float32))
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    save_classifier(path, ResNet(spec), spec, load(public_model).classes[::-1], how, Provenance())
    return path


# --- the references ------------------------------------------------------------------------------


def normalised(how: Preprocessing, picture: Image.Image) -> Tensor:
    mean, std = how.mean / 255, how.std / 255
    return oracle.Compose([oracle.ToTensor(), oracle.Normalize(mean.tolist(), std.tolist())])(picture)  # type: ignore[no-any-return]


def densely(net: ResNet, picture: Tensor) -> Tensor:
    """The last layer at each place of the last map, the class scores averaged over places, then the softmax."""
    last = net.end(net.stages(net.stem(picture[None])))
    scores = conv2d(last, net.fc.weight[:, :, None, None], net.fc.bias)
    return torch.softmax(scores.mean((2, 3)), 1)[0]


def by_reference(model: Classifier, picture: Image.Image, views: str) -> Tensor:
    how, net = model.preprocessing, model.net
    larger = oracle.Resize(how.resize_to)(picture)
    if views == "single":
        return torch.softmax(net(normalised(how, oracle.CenterCrop(32)(larger))[None]), 1)[0]
    if views == "ten-crop":
        crops = torch.stack([normalised(how, crop) for crop in oracle.TenCrop(32)(larger)])
        return torch.softmax(net(crops), 1).mean(0)
    return torch.stack([densely(net, normalised(how, oracle.Resize(side)(picture))) for side in SCALES]).mean(0)


@torch.inference_mode()
def reference(model: Path, folder: Path, views: str, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K) in the order of `classes`, and labels (N,)."""
    net = load(model)
    files = sorted(folder.rglob("*.png"), key=lambda file: (classes.index(file.parent.name), file.name))
    found = torch.stack([by_reference(net, Image.open(file).convert("RGB"), views) for file in files])
    order = [net.classes.index(name) for name in classes]
    return found[:, order], torch.tensor([classes.index(file.parent.name) for file in files])


def loss(answers: Tensor, labels: Tensor) -> float:
    return float(-answers.gather(1, labels[:, None]).log().mean())


# --- equal to them -------------------------------------------------------------------------------


def test_protocols_and_ensembles_are_the_papers(shown_at_36: Path, other: Path, photographs: Path) -> None:
    views = ("single", "ten-crop", "multi-scale")
    settings = EvaluateSettings(
        str(shown_at_36), str(photographs), views=views, with_=(str(other),), threads=1, workers=0
    )
    found = evaluate(settings)
    classes = load(shown_at_36).classes
    rows = [found, *found.beside]
    assert [row.models for row in rows] == 3 * [("at-36", "other"), ("at-36",), ("other",)]
    for place, name in enumerate(views):
        (one, labels), (two, _) = (reference(model, photographs, name, classes) for model in (shown_at_36, other))
        for row, answers in zip(rows[3 * place : 3 * place + 3], ((one + two) / 2, one, two), strict=True):
            assert row.loss == pytest.approx(loss(answers, labels), rel=1e-4)
            assert row.top1.value == pytest.approx(float((answers.argmax(1) == labels).float().mean()))
    assert len({round(row.loss, 4) for row in rows}) == 9
    assert rows[0].protocol == (
        "2 nets averaged, single view, shorter side 36, central 32×32; single view, shorter side 40, central 32×32"
    )
    assert rows[4].protocol == "ten crops of 32×32, shorter side 36"
    assert rows[7].protocol == "whole pictures, shorter sides 32, 37, 55, 69, 91"


def test_the_papers_scales_are_those_of_224_pixels() -> None:
    shown = Preprocessing(224, 256, np.zeros(3, np.float32), np.ones(3, np.float32))
    assert protocol(shown, "multi-scale") == "whole pictures, shorter sides 224, 256, 384, 480, 640"


def test_a_net_that_sees_whole_pictures_is_shown_crops_of_a_frame(public_model: Path, photographs: Path) -> None:
    """As training's are cut: 4 px of zeros about 32×32, after normalisation."""
    compute = choose_compute("cpu", "float32", threads=1)
    opened = open_with_data(load(public_model), compute, photographs)
    loader = opened.loader(opened.data.train)
    told = list[tuple[int, int]]()
    found = mean_over_views(opened.classifier.net, loader, compute, "ten-crop", lambda *far: told.append(far))
    assert (told[0], told[-1]) == ((0, len(loader.split)), (len(loader.split), len(loader.split)))
    images = torch.cat([batch.images for batch in loader])
    crops = oracle.TenCrop(32)(pad(images, (4, 4, 4, 4)))
    with torch.inference_mode():
        expected = torch.stack([torch.softmax(opened.classifier.net(crop), 1) for crop in crops]).mean(0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert "from a frame of 4 px" in protocol(loader.preprocessing, "ten-crop")


@pytest.mark.parametrize("views", ["single", "ten-crop", "multi-scale"])
def test_judging_says_how_far_it_is(
    views: EvaluationViews, shown_at_36: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every picture is told once, whatever the views of it."""
    told = dict[str, list[tuple[int, int]]]()

    def show(doing: str) -> Callable[[int, int], None]:
        return lambda *far: told.setdefault(doing, []).append(far)

    monkeypatch.setattr(evaluate_file, "show_progress", show)
    monkeypatch.setattr("residuum.evaluation.many_views.STEP", 2)
    settings = EvaluateSettings(str(shown_at_36), str(photographs), views=(views,), batch_size=2, threads=1, workers=0)
    found = evaluate(settings)
    ((doing, far),) = told.items()
    assert doing == f"judging {found.images:,} pictures by at-36, {found.protocol}"
    done = [one for one, _ in far]
    assert (done[0], done[-1]) == (0, found.images)
    assert len(done) > 2
    assert done == sorted(set(done))
    assert {total for _, total in far} == {found.images}


# --- refused, with the reason --------------------------------------------------------------------


def test_what_means_nothing_is_refused(public_model: Path, photographs: Path, tmp_path: Path) -> None:
    compute = choose_compute("cpu", "float32", threads=1)
    opened = open_with_data(load(public_model), compute, photographs)
    loader = opened.loader(opened.data.train)
    refuse_what_means_nothing("multi-scale", loader, mirrors=False)
    with pytest.raises(UserError, match="mirror images"):
        refuse_what_means_nothing("ten-crop", loader, mirrors=False)
    mean_picture = replace(loader.preprocessing, mean=np.zeros((32, 32, 3), np.float32))
    with pytest.raises(UserError, match="any size"):
        refuse_what_means_nothing("multi-scale", replace(loader, preprocessing=mean_picture), mirrors=True)
    small = coloured_noise(tmp_path / "x", dict.fromkeys(load(public_model).classes, (120, 120, 120)), 1, 32)
    with pytest.raises(UserError, match="for photographs") as refusal:
        evaluate(EvaluateSettings(str(public_model), str(small), views=("multi-scale",), threads=1))
    assert "show no more" in refusal.value.why


def test_digits_are_not_mirrored(tmp_path: Path) -> None:
    run = Path(shutil.copytree(Path(__file__).parent / "data" / "v0.1.0" / "finished", tmp_path / "run"))
    with pytest.raises(UserError, match="--views single"):
        evaluate(EvaluateSettings(str(run), views=("mirrored",), threads=1))


def test_nets_of_other_classes_are_not_averaged(public_model: Path, tmp_path: Path, photographs: Path) -> None:
    net = load(public_model)
    renamed = (*net.classes[:-1], "lorry")
    save_classifier(tmp_path / "renamed.safetensors", net.net, net.spec, renamed, net.preprocessing, Provenance())
    with pytest.raises(UserError, match="different classes") as refusal:
        evaluate(EvaluateSettings(str(public_model), str(photographs), with_=(str(tmp_path / "renamed.safetensors"),)))
    assert "lorry" in refusal.value.why


def test_pictures_that_one_net_has_learnt_are_not_judged_on(public_model: Path, photographs: Path) -> None:
    opened = open_with_data(load(public_model), choose_compute("cpu", "float32", threads=1), photographs)
    labels = np.arange(10).repeat(2)
    first, same, another = (opened._replace(same=True, cut=cut_validation(labels, 0.5, seed)) for seed in (0, 0, 1))
    evaluate_file._refuse_seen([first, same], "validation")
    evaluate_file._refuse_seen([first, another], "test")
    evaluate_file._refuse_seen([first, with_other_net(opened, load(public_model))], "validation")  # not trained here
    for learnt in (another, another._replace(cut=None)):
        with pytest.raises(UserError, match="kept aside"):
            evaluate_file._refuse_seen([first, same, learnt], "validation")


# --- kept and printed ----------------------------------------------------------------------------


def test_figures_are_kept_side_by_side_and_printed(
    shown_at_36: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(shown_at_36, run / runs.MODEL)
    shutil.copy(Path(__file__).parent / "data" / "v0.1.0" / "finished" / runs.SETTINGS, run)
    given = ["evaluate", str(run), str(photographs), "--threads", "1", "--workers", "0", "--with", str(shown_at_36)]
    for views in (["single"], ["ten-crop", "single"]):
        app([*given, "--views", *views], exit_on_error=False)
    said = capsys.readouterr().out
    app([*given[:-2], "--json"], exit_on_error=False)
    assert len(json.loads(capsys.readouterr().out)["models"]) == 1
    lines = said[said.rindex("top-1 ") :].splitlines()
    assert len(lines) == 1 + 2 * 3
    assert [line.endswith("run + at-36") for line in lines[1:]] == [True, False, False] * 2
    kept = [read_record(path, KeptEvaluation) for path in sorted((run / runs.EVALUATIONS).iterdir())]
    assert sorted(len(one.beside) for one in kept) == [0, 2, 5]
    assert len({one.loss for one in kept[0].beside[-2:]}) == 1  # the net and itself


def test_an_ensemble_of_one_net_and_itself_is_the_net(shown_at_36: Path, tmp_path: Path) -> None:
    root = coloured_noise(tmp_path / "x", dict.fromkeys(load(shown_at_36).classes, (120, 120, 120)), 1, 40)
    found = evaluate(EvaluateSettings(str(shown_at_36), str(root), with_=(str(shown_at_36),), threads=1))
    assert found.loss == pytest.approx(found.beside[0].loss, rel=1e-6)
    assert found.models == (str(shown_at_36), str(shown_at_36))
