"""Runs compared after a folder was cleaned or mended in place: on the pictures that all have, and on new ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_reading import Page
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score
from small_start import coloured_noise, small_model
from test_several_pages import still_english

from residuum import runs
from residuum.errors import UserError
from residuum.evaluation.evaluate import evaluate
from residuum.evaluation.known import count_conflicts
from residuum.evaluation.unseen import Unseen, read_unseen
from residuum.records.evaluation import headline
from residuum.reporting.page import write_report
from residuum.reporting.shared_pictures import Answers, SharedPictures, read_answers
from residuum.settings import EvaluateSettings, TrainSettings
from residuum.training.run import train

SIDE = 16
COLOURS = {"one": (120, 120, 150), "other": (130, 120, 120)}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of one folder: as it was, with labels mended in place, and cleaned of copies and of a picture, one new."""
    root = tmp_path_factory.mktemp("again")
    photos = coloured_noise(root / "photos", COLOURS, 30, SIDE)
    shutil.copy(photos / "one" / "0.png", photos / "other" / "copy of 0.png")
    start = str(small_model(root / "start.safetensors", ("a", "b", "c"), SIDE))

    def trained(name: str) -> Path:
        told: dict[str, Any] = {"start": start, "threads": 1, "precision": "float32", "out": str(root / name)}
        return train(TrainSettings(str(photos), **told)).path

    found = {"photos": photos, "before": trained("before")}
    for number in (3, 4, 5, 6):
        (photos / "one" / f"{number}.png").rename(photos / "other" / f"moved {number}.png")
    found["mended"] = trained("mended")
    (photos / "other" / "copy of 0.png").unlink()
    (photos / "other" / "7.png").unlink()
    coloured_noise(root / "more", {"one": COLOURS["one"]}, 1, SIDE, seed=9)
    shutil.copy(root / "more" / "one" / "0.png", photos / "one" / "new.png")
    found["cleaned"] = trained("cleaned")
    coloured_noise(photos, {"third": (90, 140, 120)}, 12, SIDE, seed=11)
    return {**found, "wider": trained("wider")}


def by_content(run: Path, photos: Path, unseen: Unseen) -> dict[bytes, list[tuple[str, str]]]:
    """Return, by pixels as they were read from the run's own names, (label, answer) of each picture and its copies."""
    found: dict[bytes, list[tuple[str, str]]] = {}
    known = runs_pictures(run)
    for row, label, answer in zip(known, unseen.labels, unseen.probabilities.argmax(axis=1), strict=True):
        found.setdefault(row, []).append((unseen.about.classes[label], unseen.about.classes[answer]))
    return found


def runs_pictures(run: Path) -> list[bytes]:
    from safetensors.numpy import load_file

    return [row.tobytes() for row in load_file(run / runs.PICTURES)["train"]]


def test_labels_mended_in_place_are_compared_without_a_command(three: dict[str, Path], tmp_path: Path) -> None:
    page = Page(write_report([three["before"], three["mended"]], tmp_path / "page.html").read_text()).plain
    section = page.split("By the same labels")[-1].split("Learning curves")[0]
    assert "residuum evaluate" not in page.split("Learning curves")[0]
    # What evaluate finds of the first run in the folder as it is at the time is what the page has worked out.
    names, answers = (read_unseen(three[run] / runs.OUT_OF_FOLD) for run in ("mended", "before"))
    first = {key: rows[0][1] for key, rows in by_content(three["before"], three["photos"], answers).items()}
    truth = [names.about.classes[label] for label in names.labels]
    share = accuracy_score(truth, [first[key] for key in runs_pictures(three["mended"])])
    assert f"{share:.1%}".replace("%", " %") in section.replace("\u00a0", " ")


def test_pictures_under_two_classes_are_told_before_a_figure_is_quoted(three: dict[str, Path], tmp_path: Path) -> None:
    for run, count in (("before", 1), ("mended", 1), ("cleaned", 0)):
        about = runs.read_run(three[run]).data
        assert about
        assert about.conflicts == count
        page = Page(write_report([three[run]], tmp_path / f"{run}.html").read_text()).plain
        notes = page.split("Before you quote a figure")[1].split("How the pictures were shown")[0]
        assert ("1 picture stands under more than one class" in notes) == bool(count)


def test_conflicts_are_counted_over_all_splits() -> None:
    luck = np.random.default_rng(0)
    known, labels = luck.integers(0, 9, 40).astype("S16"), luck.integers(0, 2, (40, 3)).astype(np.uint8)
    told: dict[bytes, set[tuple[int, ...]]] = {}
    for picture, row in zip(known.tolist(), labels.tolist(), strict=True):
        told.setdefault(picture, set()).add(tuple(row))
    expected = sum(len(kinds) > 1 for kinds in told.values())
    assert 0 < expected == count_conflicts([known[:25], known[25:]], [labels[:25], labels[25:]])
    assert count_conflicts([known], [np.zeros(40, np.int64)]) == 0


def earlier(run: Path, place: Path) -> Path:
    """Copy a run that keeps no answers out of fold, as if trained in 2020."""
    copy = Path(shutil.copytree(run, place))
    (copy / runs.OUT_OF_FOLD).unlink()
    about = json.loads((copy / runs.ENVIRONMENT).read_text())
    (copy / runs.ENVIRONMENT).write_text(json.dumps({**about, "date": "2020-01-01T00:00:00+00:00"}))
    return copy


def test_labels_that_are_gone_are_not_asked_for(
    three: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = [earlier(three["before"], tmp_path / "before"), three["mended"]]
    section = Page(write_report(pair, tmp_path / "page.html").read_text()).plain.split("By the same labels")[-1]
    assert "The labels of A are gone" in section
    assert f"residuum evaluate {pair[0]} " in section  # by the labels as they are now
    assert f"residuum evaluate {pair[1]} " not in section
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert still_english(write_report(pair, tmp_path / "zh.html").read_text()) == set()


def test_cleaned_data_are_compared_on_the_pictures_that_all_have(three: dict[str, Path], tmp_path: Path) -> None:
    pair = [three["mended"], three["cleaned"]]
    kept = [read_answers(run) for run in pair]
    assert kept[0] is not None
    assert kept[1] is not None
    shared = SharedPictures([one for one in kept if one])
    assert len(shared.pictures) == 59  # of 60 pictures one was removed; the copy is no other, the new one is not shared
    assert [shared.count(labels) for labels in (0, 1)] == [60, 59]
    right = [np.array(shared.right(run, 1)) for run in (0, 1)]
    alone = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    p = binomtest(min(alone), sum(alone)).pvalue if sum(alone) else 1.0
    page = Page(write_report(pair, tmp_path / "page.html").read_text()).plain.replace("\u00a0", " ")
    assert "judged on different pictures" in page
    assert "on the pictures that all have" in page
    assert "60 pictures" in page
    assert "59 pictures" in page
    said = f"A alone is wrong on {alone[1]}, B alone on {alone[0]}"
    assert said in page.split("By the labels of B")[-1]
    chance = page.split("By the labels of B")[-1].split("p = ")[1].split(")")[0]
    assert float(chance) == pytest.approx(p, rel=0.06)


def test_a_run_of_another_class_more_is_compared_on_the_pictures_of_both(
    three: dict[str, Path], tmp_path: Path
) -> None:
    page = Page(write_report([three["cleaned"], three["wider"]], tmp_path / "page.html").read_text()).plain
    section = page.split("By the same labels")[-1].split("Learning curves")[0]
    assert "cannot be judged" not in section
    assert section.count("60 pictures") == 2  # none is of the new class
    answers = read_answers(three["wider"])
    assert answers
    assert "third" in answers.labels


def test_pictures_that_the_weights_had_learnt_before_compare_nothing() -> None:
    one = Answers([b"a", b"b", b"c", b"b"], ["x", "x", "y", "y"], ["x", "y", "y", "x"])
    other = Answers([b"c", b"b", b"d"], ["y", "y", "x"], ["x", "y", "x"], frozenset([b"c"]))
    assert SharedPictures([one, one]).lacks_some() is False
    assert sorted(SharedPictures([one, other._replace(before=frozenset())]).pictures) == [b"b", b"c"]
    shared = SharedPictures([one, other])
    assert (sorted(shared.pictures), shared.lacks_some()) == ([b"b"], True)
    assert shared.right(0, 0) == [False, False]  # two copies under two classes, each by its own answer
    assert shared.right(0, 1) == [True]  # of copies the first counts
    assert shared.right(1, 0) == [False, True]
    assert shared.accuracy(1, 0).value == 0.5


def test_runs_judged_on_the_same_new_pictures_stand_side_by_side(three: dict[str, Path], tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(three[run], tmp_path / run)) for run in ("before", "cleaned")]
    for run in copies:
        (run / runs.OUT_OF_FOLD).unlink()
    pages = {"neither": Page(write_report(copies, tmp_path / "0.html").read_text()).plain}
    new = coloured_noise(tmp_path / "new", COLOURS, 12, SIDE, seed=5)
    found = [evaluate(EvaluateSettings(run, str(new), device="cpu")) for run in copies[:1]]
    pages["one"] = Page(write_report(copies, tmp_path / "1.html").read_text()).plain
    found += [evaluate(EvaluateSettings(copies[1], str(new), device="cpu"))]
    pages["both"] = Page(write_report(copies, tmp_path / "2.html").read_text()).plain.replace("\u00a0", " ")
    for name in ("neither", "one"):
        assert "What compares them is residuum evaluate of each on the same new pictures" in pages[name]
        assert "which none of them has learnt" not in pages[name]
    section = pages["both"].split("which none of them has learnt")[-1].split("Learning curves")[0]
    assert "new · all · 24 pictures" in section
    for one in found:
        assert f"{headline(one).value:.1%}".replace("%", " %") in section
    figures = [round(headline(one).value, 3) for one in found]
    ahead = "None is ahead." if figures[0] == figures[1] else f"{'AB'[figures[0] < figures[1]]} is ahead; "
    assert ahead in section


def test_pictures_that_one_run_has_learnt_compare_nothing(three: dict[str, Path], tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(three[run], tmp_path / run)) for run in ("mended", "cleaned")]
    for name in COLOURS:
        shutil.copytree(three["photos"] / name, tmp_path / "old" / name)
    for run in copies:
        (run / runs.OUT_OF_FOLD).unlink()
        evaluate(EvaluateSettings(run, str(tmp_path / "old"), device="cpu"))
    page = Page(write_report(copies, tmp_path / "page.html").read_text()).plain
    assert "which none of them has learnt" not in page


def test_these_pages_are_chinese(three: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = [Path(shutil.copytree(three[run], tmp_path / run)) for run in ("before", "mended", "cleaned")]
    new = coloured_noise(tmp_path / "new", COLOURS, 12, SIDE, seed=5)
    for run in copies:
        evaluate(EvaluateSettings(run, str(new), device="cpu"))
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    for some in (copies[:1], copies[:2], copies[1:], copies):
        assert still_english(write_report(some, tmp_path / "zh.html").read_text()) == set()
    shutil.rmtree(copies[0] / runs.EVALUATIONS)
    (copies[0] / runs.OUT_OF_FOLD).unlink()
    assert still_english(write_report(copies[::2], tmp_path / "zh.html").read_text()) == set()


def test_answers_that_do_not_fit_their_pictures_are_refused(three: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(three["before"], tmp_path / "run"))
    shutil.copy(three["cleaned"] / runs.PICTURES, run / runs.PICTURES)
    with pytest.raises(UserError, match="do not fit each other"):
        read_answers(run)
    (run / runs.PICTURES).write_bytes(b"nothing")
    with pytest.raises(UserError, match="is damaged"):
        read_answers(run)
    (run / runs.PICTURES).unlink()
    assert read_answers(run) is None
