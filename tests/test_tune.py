"""The last stage or everything, tuned from a fitted head: rates, the frozen part's maps, folds, and what is kept."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from small_start import SPEC, coloured_noise, small_model
from test_head import SIDE
from torch import nn

from residuum import runs
from residuum.compute import Compute, choose_compute
from residuum.engines.with_torch import TorchEngine
from residuum.errors import Stopped, UserError
from residuum.evaluation.evaluate import evaluate, probabilities
from residuum.evaluation.opening import open_with_data
from residuum.evaluation.unseen import read_unseen
from residuum.loading import load
from residuum.models.file import read_tensors
from residuum.models.named import named
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.prediction.predict import predict
from residuum.recipe import Task
from residuum.recipes.fine_tune import fine_tune
from residuum.recipes.tune import tune_all, tune_last
from residuum.records.codec import read_record
from residuum.records.evaluation import KeptEvaluation
from residuum.records.model import Trained
from residuum.reporting.sentences import notes
from residuum.settings import EvaluateSettings, PredictSettings, TrainSettings
from residuum.training import head_run, loop, tune_run
from residuum.training.features import features
from residuum.training.head import STRENGTHS
from residuum.training.optimizer import make_optimizer, set_rate
from residuum.training.resolve import resolve
from residuum.training.review import _answers
from residuum.training.run import train
from residuum.training.tune_run import HELD_BACK

TASK = Task(num_pictures=48, image_size=SIDE, depth=8, stages=3, folded=True)


def pictures(root: Path, per_class: int, seed: int = 0) -> Path:
    """Noise about one of two colours that are hard to tell apart."""
    return coloured_noise(root, {"blue": (112, 120, 128), "red": (128, 120, 112)}, per_class, SIDE, seed)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained net of three classes, one of which the pictures have too."""
    return small_model(tmp_path_factory.mktemp("start") / "start.safetensors", ("a", "red", "c"), SIDE)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("flat") / "photographs", 12)


@pytest.fixture(scope="module")
def asked(start: Path, flat: Path) -> TrainSettings:
    return TrainSettings(
        str(flat), start=str(start), precision="float32", tune="last", epochs=2, batch_size=8, lr=0.001
    )


def _for_tests(patch: pytest.MonkeyPatch) -> None:
    """Two folds and a few strengths are enough, and the tuned net is kept whatever it gives."""
    patch.setattr("residuum.training.head.STRENGTHS", STRENGTHS[::6])
    patch.setattr(tune_run, "ENOUGH", 8)
    patch.setattr(tune_run, "MARGIN", -9.0)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    _for_tests(monkeypatch)


@pytest.fixture(scope="module")
def finished(asked: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    with pytest.MonkeyPatch.context() as patch:
        _for_tests(patch)
        return train(replace(asked, out=str(tmp_path_factory.mktemp("tune") / "run")))


# --- rates ---------------------------------------------------------------------------------------


def test_rates_fall_towards_the_stem_and_every_parameter_moves_once() -> None:
    net, recipe = ResNet(SPEC), replace(tune_all(TASK), rate_decay=0.5, frozen_stages=0)
    optimizer = make_optimizer(net, recipe)
    set_rate(optimizer, 0.8)
    rates = {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates) == len(list(net.parameters()))
    expected = {"stem": 0.1, "stages.stage1": 0.2, "stages.stage2": 0.4, "stages.stage3": 0.8, "fc": 0.16}
    for name, parameter in net.named_parameters():
        assert rates[parameter] == pytest.approx(next(rate for part, rate in expected.items() if name.startswith(part)))


def test_rates_that_do_not_fall_leave_the_groups_as_they_were() -> None:
    net = ResNet(SPEC)
    recipe = replace(fine_tune(TASK), rate_decay=1.0)
    assert len(make_optimizer(net, recipe).param_groups) == 2
    assert len(make_optimizer(net, replace(recipe, rate_decay=0.5)).param_groups) == 2 * 4


# --- the frozen part -----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["channels-last", "contiguous"])
@pytest.mark.parametrize("name", ["resnet20", "preresnet20"])
def test_two_parts_of_a_net_make_the_whole(name: str, layout: Any) -> None:
    torch.manual_seed(0)
    net = ResNet(replace(named(name, 3), blocks=(1, 1, 1), widths=(16, 16, 32)))
    compute = Compute(torch.device("cpu"), "float32", layout, 1)
    compute.place(net)
    way, x = make_forward(net, compute), compute.lay_out(torch.randn(4, 3, SIDE, SIDE))
    for mode in (True, False):
        net.train(mode)
        whole = net(x)
        for stages in (0, 1, 2, 3):
            for parts in (way, net):
                assert torch.allclose(parts.go_on(parts.begin(x, stages), stages), whole, rtol=1e-4, atol=1e-5)


def test_steps_on_maps_are_steps_of_the_whole_net_with_its_first_part_frozen(
    asked: TrainSettings, finished: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where maps do not fit in memory, each step takes its pictures through the whole net."""
    monkeypatch.setattr(tune_run, "maps", lambda *_, **__: None)
    again = train(replace(asked, out=str(tmp_path / "run")))
    one, other = (read_tensors(record.path / runs.MODEL)[0] for record in (finished, again))
    for name in one:  # the last layer is divided by a temperature, which depends on the views that the folds saw
        assert "fc." in name or torch.allclose(one[name], other[name], rtol=1e-4, atol=1e-5), name
    assert [line.loss for line in finished.steps] == pytest.approx([line.loss for line in again.steps], rel=1e-4)


# --- whole runs ----------------------------------------------------------------------------------


def test_the_last_stage_is_tuned_from_the_head_on_and_the_rest_stays(finished: runs.RunRecord, start: Path) -> None:
    assert finished.settings.settings["recipe"] == "tune_last"
    head, mirrored, tuned, _ = (event.message for event in finished.events)
    assert "each of the 24 training pictures was answered by a last layer that had not seen it" in head
    assert tuned.startswith("the last stage tuned: ")
    assert tuned.endswith("the tuned net is kept")
    found = finished.evaluation
    assert found is not None
    assert (found.split, found.images) == ("out-of-fold", 10)  # two folds were enough
    assert "tuned without it" in found.protocol
    assert f"(loss {found.loss:.3f})" in tuned
    assert mirrored.endswith("both are asked from here on")
    assert found.protocol.startswith("picture and mirror image, ")
    before, model = load(start).net.state_dict(), load(finished.path)
    moved = {name for name, tensor in model.net.state_dict().items() if not name.startswith("fc.")
             and not torch.equal(tensor, before[name])}  # fmt: skip
    assert moved == {name for name, _ in model.net.named_parameters() if name.startswith("stages.stage3.")}
    last = model.about.lineage[-1]
    assert isinstance(last, Trained)
    assert (last.recipe, last.steps) == ("tune_last", 6)
    assert not (finished.path / runs.FOLDS).exists()


def test_the_last_layer_is_scikit_learns_regression_on_what_the_tuned_net_makes_of_pictures(
    finished: runs.RunRecord,
) -> None:
    """Not what the steps left; divided by a temperature. So it is in the folds: see the run whose maps do not fit."""
    opened = open_with_data(load(finished.path), choose_compute("cpu", "float32", threads=1), None)
    net, loader = opened.classifier.net, opened.loader(opened.data.train)
    x = features(net, loader, opened.compute, lambda: None, "mirrored").astype(np.float64)
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), np.inf)
    ours = ((net.fc.weight[1] - net.fc.weight[0]).detach().numpy() * x.std(0)).astype(np.float64)
    alike = []
    for strength in [HELD_BACK * one for one in STRENGTHS]:
        theirs = LogisticRegression(C=strength, tol=1e-6, max_iter=1000).fit(z, loader.split.labels).coef_[0]
        alike.append(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))
    assert max(alike) > 0.9999


def test_a_stopped_run_goes_on_from_the_last_fold_to_the_same_net(
    asked: TrainSettings, finished: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, done, out = tune_run._without, list[str](), tmp_path / "run"

    def stops_at_the_second(work: Any, left_out: Any, doing: str, asked_to_stop: Any) -> Any:
        done.append(doing)
        if len(done) == 2:
            raise Stopped("stopped", 143)
        return original(work, left_out, doing, asked_to_stop)

    monkeypatch.setattr(tune_run, "_without", stops_at_the_second)
    with pytest.raises(Stopped, match="to go on"):
        train(replace(asked, out=str(out)))
    again = train(TrainSettings(resume=str(out)))
    assert done == [f"tuning without fold {fold}" for fold in (1, 2, 2)]
    one, other = (read_tensors(record.path / runs.MODEL)[0] for record in (finished, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.evaluation == finished.evaluation
    assert [event.message for event in again.events] == [event.message for event in finished.events]


def test_steps_in_parts_tune_as_whole_ones_do(
    asked: TrainSettings, finished: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    cut = loop.parts
    monkeypatch.setattr(loop, "parts", lambda forward, labels, mix, count, weights: (
        seen.append((len(labels), count)) or cut(forward, labels, mix, count, weights)))  # fmt: skip
    record = train(replace(asked, accumulate=3, out=str(tmp_path / "run")))
    assert set(seen) == {(8, 3)}
    one, other = (read_tensors(each.path / runs.MODEL)[0] for each in (finished, record))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-3, atol=1e-4)


def test_tuning_that_does_worse_leaves_the_head_alone(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pictures of their own split are judged once."""
    monkeypatch.setattr(tune_run, "MARGIN", 9.0)
    pictures(tmp_path / "data" / "train", 8)
    pictures(tmp_path / "data" / "val", 5, seed=1)
    settings = TrainSettings(str(tmp_path / "data"), start=str(start), tune="all", precision="float32", batch_size=8)
    record = train(replace(settings, epochs=1, out=str(tmp_path / "run")))
    assert record.settings.settings["recipe"] == "tune_all"
    assert record.events[2].message.startswith("the last 2 stages tuned: ")
    assert record.events[2].message.endswith("the head alone is kept")
    assert not any("not complete" in note for note in notes(record))
    assert not record.steps
    model, before = load(record.path), load(start).net.state_dict()
    assert all(torch.equal(t, before[n]) for n, t in model.net.state_dict().items() if not n.startswith("fc."))
    assert model.about.lineage[-1].recipe == "head"  # type: ignore[union-attr]
    assert record.evaluation is not None
    assert (record.evaluation.split, record.evaluation.images) == ("validation", 10)
    (kept,) = [read_record(path, KeptEvaluation) for path in (record.path / runs.EVALUATIONS).iterdir()]
    assert (kept.split, kept.images) == ("out-of-fold", 16)
    found = evaluate(EvaluateSettings(str(record.path)))
    assert found.loss == pytest.approx(record.evaluation.loss, rel=1e-4)
    assert found.protocol == record.evaluation.protocol
    assert found.protocol.startswith("picture and mirror image, ")
    alone = evaluate(EvaluateSettings(str(record.path), views=("single",)))
    assert alone.loss != pytest.approx(found.loss, rel=1e-3)


def test_a_loss_that_is_not_finite_leaves_the_head_alone(
    asked: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_run, "MARGIN", 0.0)
    record = train(replace(asked, tune="all", lr=100.0, rate_decay=1.0, epochs=6, out=str(tmp_path / "run")))
    assert "(loss 0.693), the head" in record.events[2].message
    assert record.evaluation is not None
    assert record.evaluation.images == 24


# --- answers averaged with the mirror image ------------------------------------------------------


def test_a_model_says_what_its_answers_are_the_mean_of_and_all_heed_it(finished: runs.RunRecord, flat: Path) -> None:
    """evaluation/evaluate.py's own average of views is what the others must give."""
    model = load(finished.path)
    assert model.preprocessing.views == model.about.preprocessing.views == "mirrored"
    opened = open_with_data(model, choose_compute("cpu", "float32", threads=1), None)
    loader = opened.loader(opened.data.train)
    expected = probabilities(model.net, loader, opened.compute, "mirrored")
    files = tuple(str(flat / loader.split.pictures.name(row)) for row in range(4))
    for said, wanted in zip(predict(PredictSettings(str(finished.path), files)), expected, strict=False):
        assert dict(zip(said.classes, said.probabilities, strict=True)) == pytest.approx(
            dict(zip(model.classes, wanted.tolist(), strict=True)), rel=1e-3
        )
    output = TorchEngine(model, opened.compute)(np.stack([loader.seen(row) for row in range(24)]))
    np.testing.assert_allclose(output.probabilities, expected, rtol=1e-4, atol=1e-6)
    x = features(model.net, loader, opened.compute, lambda: None, "mirrored")
    np.testing.assert_allclose(output.features, x, rtol=1e-4, atol=1e-4)


def test_one_view_is_asked_where_the_mirror_image_is_no_help(
    finished: runs.RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune_last(replace(TASK, mirrors=False)).views == "single"
    resolved = resolve(TrainSettings(**finished.settings.settings))
    labels = np.arange(24) % 2
    loaders: Any = {"train": SimpleNamespace(split=SimpleNamespace(labels=labels))}
    rows = np.eye(2)[labels]
    found = [SimpleNamespace(head=SimpleNamespace(out_of_fold=p * rows + (1 - p) / 2)) for p in (0.8, 0.2)]
    nothing: Any = None
    sure, unsure = (head_run.Fitted(nothing, nothing, one, nothing, None, "single") for one in found)  # type: ignore[arg-type]
    assert head_run._likelier(tmp_path, resolved, loaders, sure, unsure) is sure
    chosen = head_run._likelier(tmp_path, resolved, loaders, unsure, sure)
    assert (chosen.found, chosen.start) == (sure.found, unsure)
    assert "the picture alone is asked" in capsys.readouterr().err


def test_a_review_holds_each_answer_against_its_own_picture(finished: runs.RunRecord) -> None:
    """Ten of 24 pictures have an answer of a net that has not seen them."""
    unseen = read_unseen(finished.path / runs.OUT_OF_FOLD)
    opened = open_with_data(load(finished.path), choose_compute("cpu", "float32", threads=1), None)
    rows, answers, _ = _answers(finished.path, opened, {"train": np.zeros((24, 32), np.float32)})
    assert [opened.data.train.pictures.name(row) for row in rows] == list(unseen.about.names)
    assert opened.data.train.labels[rows].tolist() == unseen.labels.tolist()
    assert len(rows) == len(answers) == 10


# --- what is chosen, and what contradicts --------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "recipe"),
    [({"tune": "last"}, "tune_last"), ({"tune": "all"}, "tune_all"), ({"recipe": "tune_last"}, "tune_last"),
     ({"tune": "all", "recipe": "fine_tune"}, "fine_tune"), ({"epochs": 1}, "fine_tune")],
)  # fmt: skip
def test_what_is_tuned_says_the_recipe(start: Path, flat: Path, given: dict[str, Any], recipe: str) -> None:
    resolved = resolve(TrainSettings(str(flat), start=str(start), **given))
    assert resolved.recipe.name == recipe
    assert (resolved.cut is None) == recipe.startswith("tune_")
    again = resolve(TrainSettings(**resolved.settings.__dict__))
    assert (again.recipe, again.settings) == (resolved.recipe, resolved.settings)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"tune": "all", "validation": 0.2}, "no use for --validation"), ({"tune": "last", "start": None}, "to be tuned"),
     ({"tune": "last", "recipe": "tune_all"}, "contradict"),
     ({"recipe": "fine_tune", "rate_decay": 0.5, "start": None, "data": "digits"}, "no use for --rate-decay")],
)  # fmt: skip
def test_what_tuning_has_no_use_for_is_refused(start: Path, flat: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        resolve(TrainSettings(**{"data": str(flat), "start": str(start), **given}))


def test_only_the_last_stage_is_trained_by_its_recipe() -> None:
    assert tune_last(TASK).frozen_stages == 2
    assert tune_all(TASK).frozen_stages == 1
    assert tune_all(replace(TASK, stages=4)).frozen_stages == 2
    assert isinstance(ResNet(SPEC).parts()[-1][0], nn.Linear)
