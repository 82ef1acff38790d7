"""What can be trusted: likely wrong labels, copies, lonely pictures, classes alike; "unsure", and the temperature."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import sklearn
import torch
from msgspec import UNSET
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.neighbors import NearestNeighbors
from small_start import coloured_noise, small_model
from test_head import made_up

import residuum
from residuum import runs, verbs
from residuum.compute import Compute
from residuum.data.labels import answered
from residuum.data.split import ValidationCut
from residuum.data.text_table import text_table
from residuum.depth.grow import grow
from residuum.depth.trim import trim
from residuum.errors import UserError
from residuum.evaluation.likeness import (
    KEPT,
    NEIGHBOURS,
    SHARES,
    directions,
    distances,
    kept_rows,
    measure_doubt,
    threshold,
)
from residuum.evaluation.opening import open_with_data
from residuum.evaluation.review import (
    alike_classes,
    copies,
    doubted_by_luck,
    doubted_labels,
    nearest_others,
    small_grey,
    unlike_all_others,
)
from residuum.evaluation.temperature import fit_temperature, tempered, tempered_across
from residuum.evaluation.unseen import read_unseen
from residuum.loading import load, save_classifier
from residuum.prediction.predict import predict
from residuum.records.review import Finding, Review, Shown
from residuum.reporting import template, trust_view, wording
from residuum.reporting.page import write_report
from residuum.settings import GrowSettings, PredictSettings, ReviewSettings, TrainSettings, TrimSettings
from residuum.training.head import fit_head, folds
from residuum.training.review import _answers, _table, _told, review
from residuum.training.run import train
from residuum.training.trust import calibrated

SIDE = 32


def spread_out(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Directions of features, all of one scale, from their middle."""
    varied = np.delete(x, 3, axis=1)
    return directions((varied - varied.mean(0)) / varied.std(0))


# --- labels ---------------------------------------------------------------------------------------


def cleanlab_ranks(answers: NDArray[np.float64], labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Northcutt et al. 2021, as cleanlab.rank has them: by self-confidence and by normalised margin."""
    own = answers[np.arange(len(labels)), labels]
    rest = answers.copy()
    rest[np.arange(len(labels)), labels] = -1
    return [np.argsort(own, kind="stable"), np.argsort((own - rest.max(1) + 1) / 2, kind="stable")]


def test_flipped_labels_come_first_no_later_than_by_cleanlab() -> None:
    found, by_cleanlab = 0, np.zeros(2, np.int64)
    for seed in range(3):
        luck = np.random.default_rng(seed)
        x, truth = made_up([40, 40, 40], seed, apart=0.8)
        flipped = luck.choice(120, 12, replace=False)
        labels = truth.copy()
        labels[flipped] = (truth[flipped] + 1) % 3
        answers = fit_head(x, labels, 3, seed).out_of_fold
        near = nearest_others(spread_out(x))
        doubted = doubted_labels(answers, labels, near, np.arange(120), labels)
        found += len({one.row for one in doubted[:15]} & set(flipped.tolist()))
        by_cleanlab += [len(set(rank[:15]) & set(flipped)) for rank in cleanlab_ranks(answers, labels)]
        right = [one.suggested == truth[one.row] for one in doubted if one.row in flipped]
        assert np.mean(right) > 0.6
    assert found >= by_cleanlab.max()
    assert found > 18  # of 36; by chance 4


def test_the_only_picture_of_its_class_is_not_doubted() -> None:
    """No net that has not seen it can know its class."""
    x = directions(np.random.default_rng(0).standard_normal((6, 4)))
    labels, answers = np.array([0, 0, 0, 0, 0, 1]), np.tile([0.9, 0.1], (6, 1))
    answers[0] = [0.1, 0.9]
    doubted = doubted_labels(answers, labels, nearest_others(x), np.arange(6), labels)
    assert 5 not in {one.row for one in doubted}


def test_a_label_that_the_answer_gives_is_not_doubted() -> None:
    """Whatever stands near: nothing is suggested in its place."""
    luck = np.random.default_rng(0)
    x, labels = directions(luck.standard_normal((12, 4))), np.repeat([0, 1], [2, 10])
    for own in (0.6, 0.5, 0.4):
        answers = np.tile([0.1, 0.9], (12, 1))
        answers[0] = [own, 1 - own]
        alone = nearest_others(x)._replace(rows=np.tile(np.arange(2, 12), (12, 1)))  # all of the other class
        doubted = {one.row for one in doubted_labels(answers, labels, alone, np.arange(12), labels)}
        assert (0 in doubted) is (own < 0.5)


def test_by_luck_is_what_each_picture_adds_under_each_class() -> None:
    """By its definition: one picture's label is changed at a time, and the rest left alone."""
    luck = np.random.default_rng(0)
    x, labels = directions(luck.standard_normal((30, 3))), luck.integers(0, 3, 30)
    asked, near = np.arange(0, 30, 2), nearest_others(x)
    answers = answered(1.5 * luck.standard_normal((15, 3)))
    expected = 0.0
    for i, row in enumerate(asked.tolist()):
        for k in range(3):
            changed = labels.copy()
            changed[row] = k
            found = doubted_labels(answers, changed[asked], near, asked, changed)
            expected += answers[i, k] * (row in {one.row for one in found})
    assert doubted_by_luck(answers, labels[asked], near, asked, labels) == pytest.approx(expected)
    assert 1 < expected < 14


def test_of_answers_as_right_as_they_are_sure_as_many_are_doubted_as_by_luck() -> None:
    luck, every = np.random.default_rng(0), np.arange(60)
    near = nearest_others(directions(luck.standard_normal((60, 3))))
    answers, over = answered(1.5 * luck.standard_normal((60, 3))), list[float]()
    for _ in range(300):
        labels = (luck.random((60, 1)) > answers.cumsum(1)).sum(1)
        found = len(doubted_labels(answers, labels, near, every, labels))
        over.append(found - doubted_by_luck(answers, labels, near, every, labels))
    assert abs(np.mean(over)) < 4 * np.std(over) / np.sqrt(300)
    assert np.std(over) < 6


def test_classes_that_look_alike_are_found_and_others_are_not() -> None:
    luck = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 60)
    logits = luck.standard_normal((180, 3))
    logits[:, 2] += np.where(labels == 2, 8, -8)
    (alike,) = alike_classes(answered(logits), labels)
    assert (alike.first, alike.second, alike.pictures) == (0, 1, 120)
    assert 0.4 < alike.right < 0.6
    logits[np.arange(180), labels] += 1
    assert alike_classes(answered(logits), labels) == []


# --- copies, and pictures like no other -----------------------------------------------------------


def pattern(seed: int, colour: tuple[int, int, int]) -> Image.Image:
    """A blurred field of chance around a colour."""
    field = np.random.default_rng(seed).normal(0, 45, (6, 6, 3)) + colour
    small = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


COLOURS = {"blue": (60, 80, 160), "red": (160, 80, 60)}


def test_copies_are_found_by_pixels_also_mirrored_and_smaller() -> None:
    whole = [pattern(i, COLOURS["red"]) for i in range(20)]
    changed = [ImageOps.mirror(whole[3]), whole[7].resize((11, 11)).resize((SIDE, SIDE)), ImageOps.grayscale(whole[9])]
    pictures = [np.asarray(image.convert("RGB")) for image in (*whole, *changed, whole[5])]
    near = nearest_others(directions(np.stack([picture.mean((0, 1)) for picture in pictures])))
    same = np.array([*range(23), 5])
    groups = copies(near, same, np.stack([small_grey(picture) for picture in pictures]))
    assert {one.rows for one in groups} >= {(5, 23), (3, 20), (7, 21)}
    assert {one.rows for one in groups} <= {(5, 23), (3, 20), (7, 21), (9, 22)}  # grey: not near by its colour
    assert groups[0] == ((5, 23), 0.0)
    plain = np.stack([small_grey(np.full((9, 9, 3), level, np.uint8)) for level in range(4)])
    assert copies(nearest_others(directions(np.ones((4, 2)))), np.arange(4), plain) == []


def test_the_loneliest_picture_is_named_and_of_a_cloud_few() -> None:
    x = np.random.default_rng(0).standard_normal((200, 3)) * 0.1 + [5, 0, 0]
    x[17] = [0, 5, 0]
    found = unlike_all_others(nearest_others(directions(x)))
    assert found[0][0] == 17
    assert len(found) < 30


# --- unsure ---------------------------------------------------------------------------------------


def test_distances_are_those_of_scikit_learn_and_the_barred_are_left_out() -> None:
    luck = np.random.default_rng(0)
    x, kept = luck.standard_normal((30, 8)), luck.standard_normal((40, 8))
    ours = distances(directions(x), directions(kept), NEIGHBOURS)
    peer = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(kept).kneighbors(x)[0].mean(1)
    assert np.allclose(ours, peer, atol=1e-6)
    barred = np.zeros((30, 40), bool)
    barred[:, 10:] = True
    barred[7] = True
    few = distances(directions(x), directions(kept), NEIGHBOURS, barred)
    alone = np.delete(distances(directions(x), directions(kept[:10]), NEIGHBOURS), 7)
    assert np.allclose(np.delete(few, 7), alone)
    assert few[7] == 2.0


def test_no_more_than_the_share_asked_for_is_unsure_in_the_mean() -> None:
    """As conformal prediction promises of pictures that are exchangeable: (N + 1)(1 − share) of N + 1 lie within."""
    luck = np.random.default_rng(0)
    beyond = [float((luck.random(200) > threshold(luck.random(37), 0.1)).mean()) for _ in range(400)]
    assert np.mean(beyond) == pytest.approx(1 - 35 / 38, abs=0.01)
    assert threshold(np.array([0.1, 0.3, 0.2]), 0.05) == 0.3


def test_as_many_pictures_of_each_class_are_kept() -> None:
    labels = np.repeat([0, 1, 2], [3000, 20, 600])
    kept = kept_rows(labels, 0)
    assert len(kept) == len(set(kept.tolist())) == KEPT
    assert np.bincount(labels[kept]).tolist() == [490, 20, 490]
    assert (kept_rows(labels[:50], 1) == np.arange(50)).all()


def test_strangers_are_unsure_more_often_than_those_known() -> None:
    x, labels = made_up([40, 40, 40], seed=0, apart=6.0)
    towards, which = spread_out(x), folds(labels, 0)
    answers = np.eye(3)[labels]
    doubt, apart = measure_doubt(towards, kept_rows(labels, 0), which, answers, labels)
    assert doubt.likeness.known == (apart > doubt.likeness.threshold).mean() <= 0.05
    assert doubt.strangers > 0.9
    assert doubt.sure is not None
    assert doubt.sure.value == 1
    assert 1 < len(doubt.curve) <= len(SHARES)
    assert [*doubt.curve] == sorted(doubt.curve, key=lambda point: (point.known, point.strangers))


# --- temperature ----------------------------------------------------------------------------------


def too_sure(num: int, times: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities of logits `times` as large as those that the labels are drawn by."""
    luck = np.random.default_rng(0)
    logits = 1.5 * luck.standard_normal((num, 4))
    labels = (luck.random((num, 1)) > answered(logits).cumsum(1)).sum(1)
    return answered(times * logits), labels


def test_the_temperature_is_that_of_scikit_learn() -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(calibration, "_TemperatureScaling"):
        pytest.skip(f"scikit-learn {sklearn.__version__} has no temperature")
    answers, labels = too_sure(2000, 2.5)
    peer = calibration._TemperatureScaling().fit(np.log(answers), labels)
    ours = fit_temperature(answers, labels)
    assert ours == pytest.approx(1 / float(peer.beta_), rel=0.005)
    assert ours == pytest.approx(2.5, rel=0.1)
    cooled = tempered_across(answers, labels, np.arange(2000) % 5)
    assert (cooled.argmax(1) == answers.argmax(1)).all()
    assert np.allclose(cooled, tempered(answers, ours), atol=0.03)


def test_few_pictures_that_are_all_right_do_not_make_it_vanish() -> None:
    answers = np.tile([0.8, 0.2, 0.0], (12, 1))
    temperature = fit_temperature(answers, np.zeros(12, np.int64))
    assert 0.3 < temperature < 1
    assert (tempered(answers, temperature)[:, 2] == 0).all()


def test_a_temperature_is_used_where_it_makes_unseen_pictures_likelier_and_changes_no_answer() -> None:
    x, labels = made_up([60, 60], seed=1, apart=1.0)
    fitted, which = fit_head(x, labels, 2, seed=0), folds(labels, 0)
    sure = replace(
        fitted, weight=3 * fitted.weight, bias=3 * fitted.bias, out_of_fold=tempered(fitted.out_of_fold, 1 / 3)
    )
    found = calibrated(sure, labels, which, "ab")
    assert found.used
    assert found.after.loss < found.before.loss
    assert found.after.top1 == found.before.top1
    assert found.temperature == pytest.approx(3, rel=0.4)
    assert np.allclose(found.head.weight, sure.weight / found.temperature)
    assert ((x @ found.head.weight.T + found.head.bias).argmax(1) == (x @ sure.weight.T + sure.bias).argmax(1)).all()
    rest = calibrated(found.head, labels, which, "ab")
    assert not rest.used
    assert rest.head is found.head


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("start") / "start.safetensors", ("a", "b", "c"), SIDE)


@pytest.fixture(scope="module")
def run(start: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    """Twelve pictures a class: one under the wrong class, one twice, and mirrored among the six for validation."""
    root = tmp_path_factory.mktemp("review")
    for split, first, count in (("train", 0, 12), ("val", 50, 3)):
        for name, colour in COLOURS.items():
            (root / "data" / split / name).mkdir(parents=True)
            for i in range(count):
                pattern(first + i + 100 * len(name), colour).save(root / "data" / split / name / f"{i}.png")
    train_folder = root / "data" / "train"
    pattern(7777, COLOURS["red"]).save(train_folder / "blue" / "wrong.png")
    shutil.copy(train_folder / "red" / "3.png", train_folder / "red" / "again.png")
    with Image.open(train_folder / "red" / "5.png") as image:
        ImageOps.mirror(image).save(root / "data" / "val" / "red" / "mirrored.png")
    out = root / "run"
    train(TrainSettings(str(root / "data"), start=str(start), precision="float32", out=str(out)))
    review(ReviewSettings(str(out)))
    return runs.read_run(out)


def test_a_run_is_reviewed_over_all_pictures_and_its_pictures_are_left_alone(run: runs.RunRecord) -> None:
    found = run.review
    assert found is not None
    assert (found.pictures, found.answered) == (26 + 7, 33)
    (wrong, *_), together = found.of_kind("label"), {one.pictures[0].name for one in found.of_kind("label")}
    assert wrong.pictures[0].name == "train/blue/wrong.png"
    assert wrong.suggested == "red"
    assert [wrong.reason[start:end] for start, end in wrong.named] == ["blue", "red", "blue"]
    assert len(together) < 8
    same, mirrored = found.of_kind("copies")
    assert {one.name for one in same.pictures} == {"train/red/3.png", "train/red/again.png"}
    assert same.reason == "the same file"
    assert {(one.split, one.name) for one in mirrored.pictures} == {
        ("train", "train/red/5.png"), ("validation", "val/red/mirrored.png")
    }  # fmt: skip
    assert "in train and validation" in mirrored.reason
    assert wrong.pictures[0].thumbnail.startswith("data:image/png;base64,")
    assert len(list((Path(found.data)).rglob("*.png"))) == 33


def test_the_table_holds_every_finding_and_json_the_record(
    run: runs.RunRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.review is not None
    with (run.path / runs.REVIEW_TABLE).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(max(1, len(one.pictures)) for one in run.review.findings)
    assert (rows[0]["kind"], rows[0]["place"], rows[0]["picture"]) == ("label", "1", "train/blue/wrong.png")
    written = (run.path / runs.REVIEW_TABLE).read_bytes()
    assert written.startswith(b"\xef\xbb\xbfkind,")  # by which a spreadsheet tells UTF-8
    assert pyarrow.csv.read_csv(pa.BufferReader(written)).column_names[0] == "kind"
    assert text_table(run.path / runs.REVIEW_TABLE).schema_arrow.names[0] == "kind"
    verbs.review.show(ReviewSettings(str(run.path)), run.review, True)
    assert len(json.loads(capsys.readouterr().out)["findings"]) == len(run.review.findings)
    verbs.review.show(ReviewSettings(str(run.path)), run.review, False)
    printed = capsys.readouterr().out
    assert "the same picture, or nearly: 2" in printed
    assert re.search(
        r"perhaps under the wrong class: \d+ to look at, .*about \d+ would be listed even if every label were right",
        printed,
    )
    assert "classes that cannot be told apart" in printed


def test_the_page_shows_the_review_and_what_unsure_costs(run: runs.RunRecord, tmp_path: Path) -> None:
    page = write_report([run.path], tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("Is it the pictures?", "Perhaps under the wrong class", "would stand here were every",
                  "the same file", "What does it not know?", "a class is left out", "calibration error"):  # fmt: skip
        assert words in page
    before = replace(run, review=None)
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / runs.REVIEW).unlink()
    assert before.head is not None
    page = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "Not looked at yet: residuum data review" in page
    assert "which takes no steps" in page
    assert "not complete" not in page


def test_the_page_of_a_review_is_chinese_within_its_sentences_too(
    run: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    page = write_report([run.path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<th scope="row"><bdi>precision</bdi></th>' in page  # a flag's name, not the metric
    assert "精确率</th><td><bdi>float32" not in page
    assert run.review is not None
    assert {one.kind for one in run.review.findings} >= {"label", "copies", "unlike"}
    bare = re.sub(r"<(style|script|bdi|code|pre)\b.*?</\1>|<[^>]*>|\u2068[^\u2069]*\u2069", "\n", page, flags=re.DOTALL)
    assert re.findall(r"[a-z]{2,},? [a-z]{2,} [a-z]{2,}|\b(?:train|validation|test)[:,]", bare) == []


def test_all_findings_of_a_kind_are_on_the_page_or_counted() -> None:
    def page_of(count: int) -> str:
        shown_there = Shown(split="train", name="x", label="under red")
        one = Finding(kind="unlike", score=0.0, reason="under under red", named=((6, 15),), pictures=(shown_there,))
        found = trust_view.groups(Review(data="", fingerprint="", pictures=1, answers="", answered=1, findings=(one,)))
        assert found[0][2][0].reason == "under \u2068under red\u2069"
        parts = template._environment().get_template("trust.html")
        told = {"record": SimpleNamespace(review=True, head=None), "key": "r", "review_words": "", "no_doubt": ""}
        return parts.render(run={**told, "findings": [("Title", "", count * found[0][2])]}, level=2)

    assert page_of(28).count('<span class="truth">') == 28
    assert "in review.csv" not in page_of(28)
    assert "And 3 more, in review.csv." in page_of(203)


def test_classes_are_named_where_a_reason_says_so_whatever_they_are_called() -> None:
    """Each of these stood in a sentence of ours where a pattern would have taken it for a word of the sentence."""
    for names in (("and", "of"), ("under", "a, b; c"), ("\u202ered", "1 of its 10")):
        told = _told("stands under ", names[0], ", and ", names[1], " 3.0%; 1 of 10 under ", names[0])
        one = Finding(kind="label", score=0.0, pictures=(), **told)
        assert one.reason == f"stands under {names[0]}, and {names[1]} 3.0%; 1 of 10 under {names[0]}"
        first, other = (wording.isolated(name) for name in names)
        assert trust_view._in_words(one).reason == f"stands under {first}, and {other} 3.0%; 1 of 10 under {first}"


def test_a_review_of_0_1_0_holds_whole_sentences_and_is_shown(run: runs.RunRecord, tmp_path: Path) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    content = json.loads((run.path / runs.REVIEW).read_text(encoding="utf-8"))
    for one in content["findings"]:
        del one["named"]
    del content["by_luck"]
    (tmp_path / "run" / runs.REVIEW).write_text(json.dumps(content), encoding="utf-8")
    page = write_report([tmp_path / "run"]).read_text(encoding="utf-8")
    assert "stands under blue, which was given" in page
    assert "would stand here were every" not in page
    assert "stands under \u2068blue\u2069, which was given" in write_report(
        [run.path], tmp_path / "new.html"
    ).read_text(encoding="utf-8")


def test_answers_out_of_fold_lie_in_the_run_and_damage_is_seen(run: runs.RunRecord, tmp_path: Path) -> None:
    unseen = read_unseen(run.path / runs.OUT_OF_FOLD)
    assert run.head is not None
    assert np.allclose(unseen.probabilities.sum(1), 1)
    assert unseen.about.names[0] == "train/blue/0.png"
    assert unseen.about.likeness == run.head.doubt.likeness
    assert (unseen.distances > unseen.about.likeness.threshold).mean() == pytest.approx(unseen.about.likeness.known)
    content = bytearray((run.path / runs.OUT_OF_FOLD).read_bytes())
    content[-1] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_unseen(tmp_path / "damaged")
    with pytest.raises(UserError, match="not what residuum"):
        read_unseen(run.path / runs.START)


def test_a_picture_unlike_those_trained_on_is_unsure_with_its_reason(
    run: runs.RunRecord, start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((4, 4)))[..., None] * np.array([0, 255, 0])
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "stranger.png")
    pattern(7778, COLOURS["red"]).save(tmp_path / "known.png")
    asked = tmp_path / "known.png", tmp_path / "stranger.png"
    known, stranger = predict(PredictSettings(str(run.path), tuple(map(str, asked))))
    assert (known.unsure, stranger.unsure) == (False, True)
    assert known.classes[0] == "red"
    assert stranger.as_json()["unsure"] is True
    assert "unlike the training pictures" in stranger.as_json()["reason"]
    verbs.predict.show(PredictSettings(), iter([known, stranger]), False)
    shown = capsys.readouterr()
    assert ["unsure (" in line for line in shown.out.splitlines()] == [False, True]
    assert "never says" not in shown.err
    alone = shutil.copy(run.path / runs.MODEL, tmp_path / "sent.safetensors")
    assert [one.unsure for one in predict(PredictSettings(alone, tuple(map(str, asked))))] == [False, True]
    (before,) = predict(PredictSettings(str(start), (str(asked[1]),)))  # a model that does not know what it has seen
    assert before.unsure is None
    assert set(before.as_json()) == {"picture", "answers", "engine", "precision"}


def test_a_trimmed_net_is_unsure_by_its_own_features_of_the_training_pictures(
    run: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("residuum.depth.latency.LEAST_ROUNDS", 1)
    monkeypatch.setattr("residuum.depth.latency.MOST_ROUNDS", 1)
    deeper = load(grow(GrowSettings(str(run.path), blocks=(3, 1, 1), out=str(tmp_path / "deeper.safetensors"))))
    with torch.no_grad():  # blocks that do something, so that without one all pictures look otherwise
        for _, block in list(deeper.net.blocks())[1:3]:
            block.branch[-1].weight += 2
    changed = tmp_path / "changed.safetensors"
    kept = deeper.kept
    save_classifier(changed, deeper.net, deeper.spec, deeper.classes, deeper.preprocessing, deeper.about, kept)
    how = {"keep": 0.8, "random": 0, "device": "cpu", "precision": "float32", "threads": 1}
    smaller = load(trim(TrimSettings(str(changed), out=str(tmp_path / "trimmed"), **how)))
    assert smaller.spec.blocks == (2, 1, 1)
    assert smaller.about.likeness is not UNSET
    assert smaller.kept is not None
    assert not np.allclose(smaller.kept, kept, atol=0.01)
    trained_on = sorted((Path(smaller.source) / "train").rglob("*.png"))
    x = directions(residuum.load(smaller.file).features(trained_on))
    by_sklearn = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(x).kneighbors(x)[0]
    apart = by_sklearn[:, 1:].mean(1)
    assert np.abs(apart - smaller.about.likeness.threshold).min() < 1e-3
    assert (apart > smaller.about.likeness.threshold + 1e-3).mean() <= smaller.about.likeness.known <= 0.1
    assert np.allclose(np.sort(smaller.kept @ smaller.kept.T, axis=None), np.sort(x @ x.T, axis=None), atol=2e-3)
    others = coloured_noise(tmp_path / "others", COLOURS, 8, SIDE)
    capsys.readouterr()
    elsewhere = load(trim(TrimSettings(str(changed), str(others), out=str(tmp_path / "elsewhere"), **how)))
    assert (elsewhere.about.likeness, elsewhere.kept) == (UNSET, None)
    assert 'the smaller net never says "unsure"' in capsys.readouterr().err


def test_a_model_file_answers_with_its_temperature_and_repeats(run: runs.RunRecord, tmp_path: Path) -> None:
    model = load(run.path)
    assert run.head is not None
    assert model.about.temperature == run.head.applied
    assert model.about.likeness == run.head.doubt.likeness
    again = train(TrainSettings(**{**run.settings.settings, "out": str(tmp_path / "again")}))
    assert again.head == run.head
    one, other = (read_unseen(record.path / runs.OUT_OF_FOLD) for record in (run, again))
    assert one.about == other.about
    assert np.array_equal(one.probabilities, other.probabilities)
    assert np.array_equal(one.kept, other.kept)
    assert np.array_equal(model.kept, load(again.path).kept)  # type: ignore[arg-type]


def test_a_grown_net_knows_the_same_pictures_and_another_net_none(run: runs.RunRecord, tmp_path: Path) -> None:
    model = load(run.path)
    grown = load(grow(GrowSettings(str(run.path), blocks=(1, 1, 2), out=str(tmp_path / "grown.safetensors"))))
    assert grown.about.likeness == model.about.likeness
    assert np.array_equal(grown.kept, model.kept)  # type: ignore[arg-type]
    other = tmp_path / "other.safetensors"
    save_classifier(other, model.net, model.spec, model.classes, model.preprocessing, model.about)
    assert load(other).kept is None
    assert load(other).about.temperature == model.about.temperature


def test_of_a_net_trained_whole_only_pictures_kept_from_it_are_asked(run: runs.RunRecord, tmp_path: Path) -> None:
    """As runs of 0.1.0, or with --tune all: there are no answers out of fold."""
    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run" / runs.OUT_OF_FOLD).unlink()
    found = review(ReviewSettings(str(tmp_path / "run")))
    assert found.answers.startswith("to the 'validation' pictures alone")
    assert (found.answered, found.pictures) == (7, 33)
    assert found.of_kind("copies") == run.review.of_kind("copies")  # type: ignore[union-attr]
    opened = open_with_data(load(tmp_path / "run"), Compute(torch.device("cpu"), "float32", "contiguous", 1), None)
    x = {"train": np.zeros((26, 32), np.float32)}
    rows, answers, words = _answers(tmp_path / "run", opened, x)
    assert (len(rows), answers.shape) == (0, (0, 2))
    assert words.startswith("none: no picture was kept from training")
    cut = ValidationCut(np.arange(20), np.arange(20, 26), 0.2, 0, "cut")
    rows, answers, words = _answers(tmp_path / "run", opened._replace(cut=cut), x)
    assert rows.tolist() == [*range(20, 26)]
    assert "kept aside from training alone" in words


def test_pictures_that_have_moved_are_reviewed_as_the_refusal_says(run: runs.RunRecord, tmp_path: Path) -> None:
    assert run.data is not None
    own, data, moved = tmp_path / "run", Path(run.data.source), tmp_path / "moved"
    shutil.copytree(run.path, own)
    data.rename(moved)
    try:
        with pytest.raises(UserError, match="no longer in") as refused:
            review(ReviewSettings(str(own)))
        words = refused.value.mend.split("residuum data review ")[1].split()
        assert words == [str(own), "DATA"]
        assert review(ReviewSettings(words[0], data=str(moved))).pictures
    finally:
        moved.rename(data)


def test_what_cannot_be_reviewed_is_refused(run: runs.RunRecord, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which run"):
        review(ReviewSettings())
    with pytest.raises(UserError, match="not a run folder"):
        review(ReviewSettings(str(tmp_path)))
    assert run.review is not None
    extra = Path(run.review.data) / "train" / "red" / "new.png"
    pattern(1, COLOURS["red"]).save(extra)
    try:
        with pytest.raises(UserError, match="no longer those"):
            review(ReviewSettings(str(run.path)))
    finally:
        extra.unlink()


def test_no_cell_of_the_table_is_a_formula() -> None:
    shown = Shown(split="train", name="=cmd|' /C calc'!A0.png", label="+ants")
    finding = Finding(kind="label", score=-0.5, reason="@bees", pictures=(shown,), suggested="-flower")
    found = Review(data="", fingerprint="", pictures=1, answers="", answered=1, findings=(finding,))
    (_, row) = csv.reader(io.StringIO(_table(found, ";")))
    assert row[2] == "-0.5"  # a number
    assert row[4:] == ["'=cmd|' /C calc'!A0.png", "'+ants", "'-flower", "'@bees"]
