"""Pictures that the weights had learnt before training began with them: counted, said, and never called new."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_reading import Page
from small_start import coloured_noise, small_model
from test_several_pages import still_english

from residuum import runs
from residuum.depth.grow import grow
from residuum.evaluation.evaluate import evaluate
from residuum.evaluation.known import BEFORE, read_known
from residuum.judged_printing import print_run
from residuum.reporting.page import write_report
from residuum.settings import EvaluateSettings, GrowSettings, ReviewSettings, TrainSettings
from residuum.training.review import review
from residuum.training.run import train

SIDE, EACH = 32, 10
COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}


def trained(data: Path, start: Path | str, out: Path, **how: Any) -> runs.RunRecord:
    settings = TrainSettings(str(data), start=str(start), out=str(out), device="cpu", precision="float32", threads=1)
    return train(replace(settings, **how))


def steps(data: Path, start: Path | str, out: Path, **how: Any) -> runs.RunRecord:
    """Train the whole net on, a tenth to a half of the pictures kept aside."""
    return trained(data, start, out, **{"recipe": "fine_tune", "epochs": 1, "batch_size": 4, "validation": 0.3, **how})


def notes(run: runs.RunRecord) -> str:
    return (run.path / runs.METRICS).read_text(encoding="utf-8")


def contents(run: runs.RunRecord, split: str, data: Path) -> set[bytes]:
    """The bytes of the pictures of a split, by the names that the run folder does not hold: through its digests."""
    files = {digest: file.read_bytes() for file in data.rglob("*.png") for digest in [_digest(file)]}
    return {files[one] for one in read_known(run.path)[split].tolist()}


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()[:16].rstrip(b"\0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured_noise(tmp_path_factory.mktemp("photos") / "p", COLOURS, EACH, SIDE)


@pytest.fixture(scope="module")
def head(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    """A last layer fitted to features of weights that know other classes."""
    root = tmp_path_factory.mktemp("head")
    return trained(photos, small_model(root / "start.safetensors", ("a", "b", "c"), SIDE), root / "run")


@pytest.fixture(scope="module")
def kept_aside(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    """The whole net, of the same two classes, six of the 20 pictures kept aside."""
    root = tmp_path_factory.mktemp("steps")
    return steps(photos, small_model(root / "start.safetensors", ("a", "b", "c"), SIDE), root / "run")


def test_a_last_layer_is_fitted_again_where_it_alone_was(
    head: runs.RunRecord, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = trained(photos, head.path, tmp_path / "again")
    assert "20 pictures for these weights: the last layer alone is fitted" in capfd.readouterr().err
    assert again.settings.settings["recipe"] == "head"
    assert (again.evaluation.split, again.evaluation.seen) == ("out-of-fold", 0)  # type: ignore[union-attr]
    assert again.evaluation == head.evaluation  # the frozen rest has seen none of them
    assert BEFORE not in read_known(again.path)
    assert "have learnt" not in notes(again)


def test_a_figure_of_pictures_that_the_weights_had_learnt_is_not_to_be_quoted(
    head: runs.RunRecord, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    run = steps(photos, head.path, tmp_path / "run")
    said = "have learnt 6 of the 6 validation pictures before"
    assert said in capfd.readouterr().err
    assert said in notes(run)
    assert run.evaluation is not None
    assert (run.evaluation.images, run.evaluation.seen) == (6, 6)
    print_run(TrainSettings(), run, json=False)
    assert "too high to quote" in "".join(capfd.readouterr())
    page = Page(write_report([run.path]).read_text()).plain
    assert "It was trained on all of the 6 pictures, so the accuracy is too high to quote" in page
    assert "Judge it on pictures that neither has seen" in page
    found = evaluate(EvaluateSettings(str(run.path), split="validation", device="cpu", threads=1))
    assert (found.images, found.seen) == (6, 6)
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    chinese = write_report([run.path], tmp_path / "zh.html").read_text()
    assert "训练开始时的权重已经学过 6 张" in chinese
    assert "请用两者都没有见过的图片来评判" in chinese
    assert still_english(chinese) == set()


def test_folds_say_nothing_where_the_features_were_learnt_from_the_same_pictures(
    kept_aside: runs.RunRecord, photos: Path, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(photos, kept_aside.path, tmp_path / "run", tune="head")
    assert "have learnt 14 of the 20 training pictures before" in capfd.readouterr().err
    assert run.evaluation is not None
    assert (run.evaluation.split, run.evaluation.seen) == ("out-of-fold", 14)
    page = Page(write_report([run.path]).read_text()).plain
    assert "it was trained on, of which the weights it began with had learnt 14, it names" in page
    assert "The weights that training started from had learnt 14 of the 20 pictures" in page
    assert "each answered by a model fitted without it, it names" not in page
    found = review(ReviewSettings(str(run.path), device="cpu", threads=1))
    assert "the weights that training began with had learnt some of them, labels and all" in found.answers
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert still_english(write_report([run.path], tmp_path / "zh.html").read_text()) == set()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_pictures_kept_aside_are_new_to_the_weights_and_others_are_counted(
    kept_aside: runs.RunRecord, photos: Path, tmp_path: Path, seed: int
) -> None:
    run = steps(photos, kept_aside.path, tmp_path / "run", seed=seed)
    overlap = contents(run, "validation", photos) & contents(kept_aside, "train", photos)
    assert bool(overlap) == bool(seed)
    assert run.evaluation is not None
    assert run.evaluation.seen == len(overlap)
    assert ("have learnt" in notes(run)) == bool(overlap)


def test_a_model_file_alone_is_known_by_the_data_it_was_trained_with(
    kept_aside: runs.RunRecord, photos: Path, tmp_path: Path
) -> None:
    deeper = grow(GrowSettings(str(kept_aside.path), blocks=(2, 1, 1), out=str(tmp_path / "deeper.safetensors")))
    same, other = (steps(photos, deeper, tmp_path / f"run{seed}", seed=seed) for seed in (0, 1))
    overlap = contents(other, "validation", photos) & contents(kept_aside, "train", photos)
    assert [one.evaluation.seen for one in (same, other)] == [0, len(overlap)]  # type: ignore[union-attr]


def test_what_was_learnt_before_is_remembered_over_several_runs(
    kept_aside: runs.RunRecord, photos: Path, tmp_path: Path
) -> None:
    others = coloured_noise(tmp_path / "others", COLOURS, EACH, SIDE, seed=1)
    between = steps(others, kept_aside.path, tmp_path / "between")
    assert between.evaluation.seen == 0  # type: ignore[union-attr]
    found = evaluate(EvaluateSettings(str(between.path), str(photos), device="cpu", threads=1))
    assert (found.split, found.images, found.seen) == ("all", 20, 14)
    last = steps(photos, between.path, tmp_path / "last", seed=1)
    overlap = contents(last, "validation", photos) & contents(kept_aside, "train", photos)
    assert last.evaluation.seen == len(overlap) > 0  # type: ignore[union-attr]


def test_digests_are_those_of_the_files(photos: Path, head: runs.RunRecord) -> None:
    """What the tests above go by."""
    assert np.isin([_digest(file) for file in photos.rglob("*.png")], read_known(head.path)["train"]).all()
