"""The last layer alone on a frozen net's features: the regression, its folds, the cache, and whole runs."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from page_reading import Page
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_start import coloured_noise, small_model
from test_report import change
from torch.nn.functional import interpolate

import residuum
from residuum import chinese, machine, runs
from residuum.choices import Views
from residuum.compute import Compute
from residuum.data.batches import Loader
from residuum.data.labels import answered
from residuum.errors import Stopped, UserError
from residuum.evaluation.evaluate import computed_in, evaluate
from residuum.evaluation.views import SAID
from residuum.judged_printing import print_evaluation, print_figures, print_run
from residuum.loading import load, save_classifier
from residuum.models.file import read_tensors
from residuum.models.named import named
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet, is_folded
from residuum.recipe import Task
from residuum.recipes.fine_tune import fine_tune
from residuum.records.codec import read_record
from residuum.records.evaluation import KeptEvaluation, which_to_quote
from residuum.records.model import Provenance
from residuum.reporting.page import write_report
from residuum.settings import EvaluateSettings, TrainSettings
from residuum.training import features as features_file
from residuum.training import head_run
from residuum.training.features import heeding
from residuum.training.head import FOLDS, STRENGTHS, _Regression, fit_head, folds
from residuum.training.loop import Job, to_training
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import resolve
from residuum.training.run import train
from residuum.training.start import open_loaders

SIDE = 16
SPLITS = ("train", "validation", "test")


def made_up(per_class: list[int], seed: int, apart: float = 4.0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features of 12 numbers around a centre for each class; one of them never varies, and scales differ."""
    luck = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(per_class)), per_class)
    x = apart * luck.standard_normal((len(per_class), 12))[labels] + luck.standard_normal((len(labels), 12))
    x *= 10.0 ** np.linspace(-2, 2, 12)
    x[:, 3] = 7.0
    return x.astype(np.float32), labels


# --- the regression ------------------------------------------------------------------------------


def test_classes_that_a_line_separates_are_told_apart_out_of_fold() -> None:
    x, labels = made_up([20, 20, 20], seed=0, apart=20.0)
    head = fit_head(x, labels, 3, seed=0)
    assert (head.out_of_fold.argmax(1) == labels).all()
    assert ((x @ head.weight.T + head.bias).argmax(1) == labels).all()


def test_a_fit_heeds_a_stop_between_two_regressions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pictures make each of dozens a matter of seconds."""
    x, labels = made_up([20, 20], seed=0, apart=1.0)
    asked, fitted = [None, None, None, 143], 0
    whole = _Regression.fitted

    def counted(self: _Regression, strength: float) -> object:
        nonlocal fitted
        fitted += 1
        return whole(self, strength)

    monkeypatch.setattr(_Regression, "fitted", counted)
    with pytest.raises(Stopped) as stopped:
        fit_head(x, labels, 2, 0, asked_to_stop=lambda: asked[fitted])
    assert (stopped.value.exit_code, fitted) == (143, 3)


def test_batches_are_handed_on_until_a_stop_is_asked_for() -> None:
    asked: list[int] = []
    served = heeding([1, 2, 3], lambda: asked[0] if asked else None)  # type: ignore[list-item]
    assert next(served) == 1
    asked.append(130)
    with pytest.raises(Stopped):
        next(served)


def test_where_there_is_nothing_to_learn_it_says_so() -> None:
    """Labels by chance: a regression that had seen the pictures would get them right."""
    x, labels = made_up([60, 60], seed=1, apart=0.0)
    head = fit_head(x, labels, 2, seed=0)
    assert 0.35 < (head.out_of_fold.argmax(1) == labels).mean() < 0.65
    assert head.loss > 0.95 * np.log(2)


@pytest.mark.parametrize("per_class", [[15, 12], [9, 14, 11]])
def test_probabilities_are_those_of_scikit_learn(per_class: list[int]) -> None:
    x, labels = made_up(per_class, seed=2, apart=1.0)
    head = fit_head(x, labels, len(per_class), seed=3)
    regression = LogisticRegression(C=head.strength, max_iter=10_000, tol=1e-8)
    peer = make_pipeline(StandardScaler(), regression).fit(x.astype(np.float64), labels)
    ours = answered(x.astype(np.float64) @ head.weight.T + head.bias)
    assert np.abs(ours - peer.predict_proba(x.astype(np.float64))).max() < 1e-3
    fold = folds(labels, seed=3) == 0
    peer.fit(x[~fold].astype(np.float64), labels[~fold])
    assert np.abs(head.out_of_fold[fold] - peer.predict_proba(x[fold].astype(np.float64))).max() < 1e-3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(0, 9))
def test_folds_deal_out_each_class_evenly(per_class: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(per_class)), per_class)
    which = folds(labels, seed)
    assert which.min() >= 0
    assert which.max() < FOLDS
    for label in range(len(per_class)):
        counts = np.bincount(which[labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    counts = np.bincount(which, minlength=FOLDS)
    assert counts.max() - counts.min() <= 1


def test_a_seed_deals_other_folds() -> None:
    labels = np.repeat([0, 1], 10)
    assert (folds(labels, 0) == folds(labels, 0)).all()
    assert (folds(labels, 0) != folds(labels, 1)).any()


@pytest.mark.parametrize("per_class", [[1, 12], [1, 1], [2] * 7, [3, 0, 3], [1, 2, 30]])
def test_few_pictures_of_a_class_and_none_are_no_obstacle(per_class: list[int]) -> None:
    x, labels = made_up(per_class, seed=4)
    head = fit_head(x, labels, len(per_class), seed=0)
    assert np.allclose(head.out_of_fold.sum(1), 1)
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()
    answers = answered(x @ head.weight.T + head.bias)
    assert (answers.argmax(1) == labels).all()
    for label, count in enumerate(per_class):
        if count == 0:
            assert (answers[:, label] == 0).all()
        if count == 1:  # the regression that has not seen it cannot know its class
            assert head.out_of_fold[labels == label, label] == 0


def test_the_same_picture_twice_is_never_both_learnt_and_asked() -> None:
    """Features by chance, each picture twice: with copies on both sides of a fold they would be known by heart."""
    x, labels = made_up([30, 30], seed=5, apart=0.0)
    twice, both = np.concatenate([x, x]), np.concatenate([labels, labels])
    same = np.concatenate([np.arange(60), np.arange(60)])
    which = folds(both, 0, same)
    assert (which[:60] == which[60:]).all()
    assert (fit_head(twice, both, 2, 0, same).out_of_fold.argmax(1) == both).mean() < 0.7
    with pytest.raises(UserError, match="all the same picture"):
        fit_head(x[:4], labels[:4], 2, 0, np.zeros(4, np.int64))


# --- whole runs ----------------------------------------------------------------------------------

FEW = STRENGTHS[::4]


@pytest.fixture
def few_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are not asked which strength is best."""
    monkeypatch.setattr("residuum.training.head.STRENGTHS", FEW)


def pictures(root: Path, per_class: int, seed: int = 0) -> Path:
    """Noise of two colours."""
    return coloured_noise(root, {"blue": (60, 80, 160), "red": (160, 80, 60)}, per_class, SIDE, seed)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained net of three classes, its BN statistics folded."""
    return small_model(tmp_path_factory.mktemp("start") / "start.safetensors", ("a", "b", "c"), SIDE)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("flat") / "photographs", 12)


@pytest.fixture(scope="module")
def finished(start: Path, flat: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    out = tmp_path_factory.mktemp("head") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("residuum.training.head.STRENGTHS", FEW)
        return train(TrainSettings(str(flat), start=str(start), precision="float32", out=str(out)))


def test_few_pictures_of_other_classes_get_a_head_and_are_all_judged(finished: runs.RunRecord, start: Path) -> None:
    assert finished.settings.settings["recipe"] == finished.settings.settings["tune"] == "head"
    assert finished.data is not None
    assert (finished.data.counts.train, finished.data.counts.validation) == (24, None)
    assert not (finished.path / runs.SPLIT).exists()
    found = finished.evaluation
    assert found is not None
    assert (found.split, found.images) == ("out-of-fold", 24)
    assert "fitted without it (5 folds)" in found.protocol
    assert len(finished.mistakes) == sum(map(sum, found.confusion)) - sum(r[i] for i, r in enumerate(found.confusion))
    assert "C = " in finished.events[0].message
    model, before = load(finished.path), load(start)
    assert model.about.metrics == found.figures()
    assert model.about.lineage[-1].verb == "train"
    after = model.net.state_dict()
    frozen = {name: t for name, t in before.net.state_dict().items() if not name.startswith("fc.")}
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())


@pytest.mark.usefixtures("few_strengths")
def test_a_head_on_a_backbone_is_the_one_on_the_whole_net(
    finished: runs.RunRecord, start: Path, flat: Path, tmp_path: Path
) -> None:
    whole = load(start)
    spec = replace(whole.spec, num_classes=0)
    net = ResNet(spec)
    weights = dict(whole.net.state_dict())
    net.load_state_dict({**weights, "fc.weight": weights["fc.weight"][:0], "fc.bias": weights["fc.bias"][:0]})
    backbone = tmp_path / "backbone.safetensors"
    save_classifier(backbone, net, spec, (), whole.preprocessing, Provenance())
    run = train(TrainSettings(str(flat), start=str(backbone), precision="float32", out=str(tmp_path / "run")))
    of_whole, of_backbone = (load(one.path).net.state_dict() for one in (finished, run))
    assert all(torch.equal(of_backbone[name], tensor) for name, tensor in of_whole.items())


def test_a_saved_head_answers_as_scikit_learn_does(finished: runs.RunRecord) -> None:
    model, loader, net = load(finished.path), loader_of(finished), load(finished.path).net
    net.set_submodule("fc", torch.nn.Identity())
    images = torch.cat([batch.images for batch in loader])
    with torch.inference_mode():
        x = net(images).double().numpy()
    strength = float(finished.events[0].message.split("C = ")[1].split(",")[0])
    strength = min(STRENGTHS, key=lambda one: abs(one - strength))
    regression = LogisticRegression(C=strength, max_iter=10_000, tol=1e-8)
    peer = make_pipeline(StandardScaler(), regression).fit(x, loader.split.labels)
    assert np.abs(model(images).numpy() - peer.predict_proba(x)).max() < 1e-3


def test_the_page_says_how_every_picture_was_judged(finished: runs.RunRecord, tmp_path: Path) -> None:
    page = write_report([finished.path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "24" in page
    assert "each answered by a last layer fitted without it" in page
    assert "final figures are for all training pictures" in page
    assert "each of the 24 training pictures was answered by a last layer that had not seen it" in page
    assert "step 0" not in page


def test_a_report_of_a_head_is_chinese_throughout(
    finished: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    run = tmp_path / "run"
    shutil.copytree(finished.path, run)
    said = computed_in("single view, shorter side 36, central 32×32", "bfloat16")
    change(run / runs.EVALUATION, split="validation", protocol=said)
    change(run / runs.DATA, validation_from="the data's own validation split", counts=dict.fromkeys(SPLITS, 24))
    own = re.compile("<(style|script|bdi|code|pre)\\b.*?</\\1>|\u2068.*?\u2069", re.DOTALL)
    page = own.sub("", write_report([run]).read_text(encoding="utf-8"))
    texts = re.findall(r">([^<>]+)<", page) + re.findall(r' (?:title|aria-label|alt|data-note)="([^"]*)"', page)
    assert {
        text for text in texts if re.search("[A-Za-z]{2,},? [A-Za-z]{2,}", text.replace("data review", ""))
    } == set()
    assert "以 bfloat16 计算" in page
    shown = [chinese.said(f"{words}, shorter side 36 (bicubic), central 32×32") for words in SAID.values()]
    assert [one for one in shown if re.search("[A-Za-z]{2}", one.replace("bicubic", ""))] == []


@pytest.mark.usefixtures("few_strengths")
def test_a_head_repeats_from_its_own_settings_and_says_that_it_has_finished(
    finished: runs.RunRecord, tmp_path: Path
) -> None:
    again = train(TrainSettings(**{**finished.settings.settings, "out": str(tmp_path / "again")}))
    one, other = (read_tensors(record.path / runs.MODEL)[0] for record in (finished, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(UserError, match="has finished"):
        train(TrainSettings(resume=str(finished.path)))
    with pytest.raises(UserError) as refused:
        runs.refuse_taken_by_run(finished.path)
    assert refused.value.mend == "choose another --out"


def test_copies_are_told_of_and_stay_in_one_fold(start: Path, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 8)
    one, other = sorted(folder for folder in data.iterdir() if folder.is_dir())
    first = min(one.iterdir())
    shutil.copy(first, one / "again.png")
    shutil.copy(first, other / "again.png")
    record = train(TrainSettings(str(data), start=str(start), precision="float32", out=str(tmp_path / "run")))
    (said,) = [event.message for event in record.events if "repeat" in event.message]
    assert said.startswith("2 of the training pictures repeat another, 1 of them under another class")
    assert re.search("[\u4e00-\u9fff]", chinese.said(said))
    assert not re.search("[a-z]{3,} [a-z]{3,}", chinese.said(said).replace("data check", ""))


@pytest.mark.usefixtures("few_strengths")
def test_pictures_of_their_own_split_are_judged_once_and_the_folds_lie_beside(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    doing = list[str]()
    monkeypatch.setattr(features_file, "show_progress", lambda what: doing.append(what) or (lambda done, total: None))
    pictures(tmp_path / "data" / "train", 8)
    pictures(tmp_path / "data" / "val", 5, seed=1)
    out = tmp_path / "run"
    record = train(TrainSettings(str(tmp_path / "data"), start=str(start), precision="float32", out=str(out)))
    assert record.evaluation is not None
    assert doing[:2] == ["features of the training pictures", "features of the validation pictures"]
    assert record.settings.resolved["validation"] == 0, "nothing is cut from the training pictures"
    assert (record.evaluation.split, record.evaluation.images) == ("validation", 10)
    (kept,) = [read_record(path, KeptEvaluation) for path in (out / runs.EVALUATIONS).iterdir()]
    assert (kept.split, kept.images, kept.same_data_as_training) == ("out-of-fold", 16, True)
    assert kept.top1.value == pytest.approx(
        float(record.events[0].message.split(": ")[1].split("%")[0]) / 100, abs=1e-4
    )
    assert record.out_of_fold == kept
    quoted = which_to_quote(record.evaluation, kept)
    print_figures(kept)
    assert "judged   16 training pictures, single view" in capsys.readouterr().out
    assert quoted in Page(write_report([out]).read_text(encoding="utf-8")).plain.replace("\u00a0", " ")
    assert quoted in residuum.card(out).read_text(encoding="utf-8")
    print_run(None, record, json=False)
    assert f"note     {quoted}" in capsys.readouterr().out
    found = evaluate(EvaluateSettings(str(out)))
    assert found.top1 == record.evaluation.top1
    assert found.loss == pytest.approx(record.evaluation.loss, rel=1e-4)


@pytest.mark.usefixtures("few_strengths")
def test_copies_of_training_pictures_among_those_judged_are_told_and_nothing_is_quoted(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    pictures(data / "train", 8)
    pictures(data / "val", 5, seed=1)
    for place in sorted((data / "train").glob("*/*"))[::5][:3]:
        shutil.copy(place, data / "val" / place.parent.name / f"new-{place.name}")
    record = train(TrainSettings(str(data), start=str(start), precision="float32", out=str(out)))
    assert record.evaluation is not None
    assert (record.evaluation.images, record.evaluation.seen) == (13, 3)
    said = "The 13 validation pictures include 3 that it was trained on, so the accuracy is too high to quote."
    capsys.readouterr()
    print_run(None, record, json=False)
    page = Page(write_report([out]).read_text(encoding="utf-8")).plain.replace("\u00a0", " ")
    for shown in (capsys.readouterr().out, page, residuum.card(out).read_text(encoding="utf-8")):
        assert said in shown
        assert "Quote the" not in shown
    print_evaluation(EvaluateSettings(str(out)), evaluate(EvaluateSettings(str(out))), json=False)
    assert f"note: {said}" in capsys.readouterr().err
    assert "Of 13 pictures of the validation split, 3 of which it was trained on, it names" in page
    chinese_page = chinese.page(write_report([out]).read_text(encoding="utf-8"))
    assert "13 张验证图片中有 3 张训练时用过" in chinese_page
    assert "在验证划分的 13 张图片中（其中 3 张训练时用过），认对了" in Page(chinese_page).plain


def loader_of(record: runs.RunRecord) -> Loader:
    return open_loaders(resolve(TrainSettings(**record.settings.settings)))["train"]


# --- features and their cache --------------------------------------------------------------------


def test_features_are_computed_once_for_the_same_pictures_weights_and_view(
    finished: runs.RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, loader = load(finished.path).net, loader_of(finished)
    compute, computed = Compute(torch.device("cpu"), "float32", "contiguous", 1), list[int]()
    original = features_file._computed

    def counted(*given: Any) -> dict[Views, torch.Tensor]:
        computed.append(1)
        return original(*given)

    def found(net: ResNet = net, loader: Loader = loader) -> NDArray[np.float32]:
        return features_file.features(net, loader, compute, lambda: None)

    monkeypatch.setattr(features_file, "_computed", counted)
    x = found()
    assert np.array_equal(found(), x)
    assert len(computed) == 1
    with torch.no_grad():
        net.fc.weight += 1  # the last layer is no part of it
    found()
    assert len(computed) == 1
    found(loader=replace(loader, preprocessing=replace(loader.preprocessing, std=np.full(3, 61, np.float32))))
    found(loader=replace(loader, split=loader.split.take(np.arange(5)), images=loader.images[:5]))  # type: ignore[index]
    assert len(computed) == 3
    with torch.no_grad():
        next(net.parameters())[0] += 1
    assert not np.array_equal(found(), x)
    assert len(computed) == 4
    for path in (machine.cache_folder() / "features").iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # one bit
        path.write_bytes(content)
    found()
    assert len(computed) == 5
    halved = features_file.features(net, loader, compute, lambda: None, "halved")
    assert len(computed) == 6  # half the side alone; of nothing kept, both are of one walk:
    for path in (machine.cache_folder() / "features").iterdir():
        path.unlink()
    assert np.array_equal(features_file.features(net, loader, compute, lambda: None, "halved"), halved)
    assert len(computed) == 7


def test_features_of_a_picture_and_its_middle_are_the_mean_of_four_and_kept(
    finished: runs.RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, loader = load(finished.path).net, loader_of(finished)
    compute = Compute(torch.device("cpu"), "float32", "contiguous", 1)
    found = features_file.features(net, loader, compute, lambda: None, "middle")
    with torch.inference_mode():
        shown = [torch.cat(each) for each in zip(*(_four(batch.images) for batch in loader), strict=True)]
        expected = torch.stack([net.features(each) for each in shown]).mean(0)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(features_file, "_computed", lambda *given: pytest.fail("they were kept"))
    assert np.array_equal(features_file.features(net, loader, compute, lambda: None, "middle"), found)


def _four(images: torch.Tensor) -> list[torch.Tensor]:
    """The views by torch's own resizing: area where pixels are taken four times, and a half."""
    side = images.shape[2] * 2 // 3
    start = (images.shape[2] - side) // 2
    fine = images.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, : 3 * side, : 3 * side]
    both = interpolate(fine, (side, side), mode="area"), images[:, :, start : start + side, start : start + side]
    return [
        *both,
        *(interpolate(each[:, :, : side // 2 * 2, : side // 2 * 2], scale_factor=0.5, mode="area") for each in both),
    ]


def test_a_head_takes_the_views_of_its_start_and_steps_see_the_whole_picture_as_large_as_that_does(
    finished: runs.RunRecord, tmp_path: Path
) -> None:
    start, middle = load(finished.path), tmp_path / "middle.safetensors"
    how = replace(start.preprocessing, image_size=36, resize_to=45, views="middle")
    save_classifier(middle, start.net, start.spec, start.classes, how, Provenance())
    data = pictures(tmp_path / "data", 6)
    head, steps = (resolve(TrainSettings(str(data), start=str(middle), tune=tune)) for tune in ("head", "last"))
    assert (head.recipe.views, head.image_size, head.resize_to) == ("middle", 36, 45)
    assert steps.recipe.views != "middle"
    assert (steps.image_size, steps.resize_to) == (24, 30)


@pytest.mark.usefixtures("few_strengths")
def test_a_stop_leaves_nothing_half_done_and_the_run_goes_on(
    finished: runs.RunRecord, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = pictures(tmp_path / "others", 6, seed=3), tmp_path / "run"

    def stopped(*given: Any) -> Any:
        raise Stopped("stopped", 143)

    monkeypatch.setattr(head_run, "features", stopped)
    with pytest.raises(Stopped, match="to go on"):
        train(TrainSettings(str(data), start=str(start), out=str(out)))
    monkeypatch.undo()
    assert not (out / runs.MODEL).exists()
    record = train(TrainSettings(resume=str(out)))
    assert record.evaluation is not None
    assert record.evaluation.images == 12


def test_features_heed_a_request_to_stop(finished: runs.RunRecord) -> None:
    compute = Compute(torch.device("cpu"), "float32", "contiguous", 1)
    net, loader = ResNet(load(finished.path).spec), loader_of(finished)
    with pytest.raises(Stopped):
        features_file.features(net, loader, compute, lambda: 143)
    assert isinstance(net.fc, torch.nn.Linear)


# --- what is chosen, and what contradicts --------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "recipe"),
    [({}, "head"), ({"tune": "all"}, "tune_all"), ({"epochs": 1}, "fine_tune"), ({"recipe": "quick"}, "quick"),
     ({"tune": "head"}, "head"), ({"lr": 0.1}, "fine_tune"), ({"recipe": "head"}, "head")],
)  # fmt: skip
def test_the_way_is_chosen_unless_another_was_asked_for(
    start: Path, flat: Path, given: dict[str, Any], recipe: str
) -> None:
    resolved = resolve(TrainSettings(str(flat), start=str(start), **given))
    assert resolved.recipe.name == recipe
    assert (resolved.cut is None) == (recipe in ("head", "tune_all"))


def test_a_net_of_the_same_classes_is_trained_on(finished: runs.RunRecord, flat: Path, tmp_path: Path) -> None:
    """But where its last layer alone was fitted, this is done again, unless something is said of the course."""
    assert resolve(TrainSettings(str(flat), start=str(finished.path))).recipe.name == "head"
    asked = TrainSettings(str(flat), start=str(finished.path), epochs=1, batch_size=8, out=str(tmp_path / "run"))
    assert resolve(asked).recipe.name == "fine_tune"
    assert resolve(TrainSettings(str(flat), start=str(train(asked).path))).recipe.name == "fine_tune"


@pytest.mark.parametrize(
    ("given", "said"),
    [({"epochs": 2}, "no use for --epochs"), ({"validation": 0.2}, "no use for --validation"),
     ({"recipe": "quick"}, "contradict"), ({"start": None}, "what is to be tuned")],
)  # fmt: skip
def test_what_a_head_has_no_use_for_is_refused(start: Path, flat: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        resolve(TrainSettings(str(flat), **{"start": str(start), "tune": "head", **given}))


# --- batch statistics that stay ------------------------------------------------------------------


@pytest.mark.usefixtures("few_strengths")
def test_folded_statistics_are_known_and_stay_in_training(start: Path, flat: Path, tmp_path: Path) -> None:
    before = load(start)
    assert is_folded(before.net)
    settings = TrainSettings(str(flat), start=str(start), epochs=1, batch_size=8, out=str(tmp_path / "run"))
    record = train(settings)
    assert record.settings.resolved["recipe_details"]["frozen_statistics"] is True
    after = load(record.path).net
    assert is_folded(after)
    moved = {
        name for name, tensor in after.named_parameters() if not torch.equal(tensor, before.net.state_dict()[name])
    }
    assert any("conv" in name for name in moved)
    assert any("bn" in name for name in moved)


def test_the_plan_computes_with_statistics_that_stay() -> None:
    """As the net itself does, also where it had computed batches of the same shape by their own statistics before."""
    torch.manual_seed(0)
    net = ResNet(replace(named("resnet20", 3), blocks=(1, 1, 1), widths=(16, 16, 32)))
    compute = Compute(torch.device("cpu"), "float32", "channels-last", 1)
    compute.place(net)
    plan, x = make_forward(net, compute), compute.lay_out(torch.randn(4, 3, SIDE, SIDE))
    for _ in range(3):
        plan(x).sum().backward()
    recipe = fine_tune(Task(num_pictures=40, image_size=SIDE, depth=8, folded=True))
    job = Job(net, plan, make_optimizer(net, recipe), recipe, None, compute, 0)  # type: ignore[arg-type]
    to_training(job)
    assert net.training
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    gradients = []
    for forward in (plan, net):
        net.zero_grad()
        logits = forward(x)
        torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        gradients.append([logits, *(parameter.grad for parameter in net.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.linalg.vector_norm(ours - theirs) <= 1e-4 * torch.linalg.vector_norm(theirs)
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_statistics_that_are_not_folded_go_with_the_batches_as_before() -> None:
    many = Task(num_pictures=40, image_size=SIDE, depth=8)
    assert not fine_tune(many).frozen_statistics
    assert fine_tune(many).optimizer == "muon"
    torch.manual_seed(0)
    net = ResNet(replace(named("resnet20", 3), blocks=(1, 1, 1)))
    assert is_folded(net)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.sub_(module.eps)  # as files hold it where BN is to divide by exactly 1
    assert is_folded(net)
    next(buffer for name, buffer in net.named_buffers() if name.endswith("_mean"))[0] = 0.1
    assert not is_folded(net)
