"""Pictures that a run knows, under other labels, names and folders: recognised, said, and the runs compared."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from page_reading import Page
from sklearn.metrics import average_precision_score
from small_start import small_model
from test_several_pages import still_english
from test_several_training import COLOURS, QUICKLY, SIDE, patches

from residuum import runs
from residuum.errors import UserError
from residuum.evaluation.evaluate import evaluate
from residuum.evaluation.known import read_known
from residuum.evaluation.unseen import read_unseen
from residuum.files import read_json
from residuum.judged_printing import print_evaluation
from residuum.outward_settings import CardSettings
from residuum.publishing.card import write_card
from residuum.records.codec import read_record, to_json
from residuum.records.evaluation import DataEvaluation, KeptEvaluation, Measure
from residuum.reporting.other_labels import _words
from residuum.reporting.page import write_report
from residuum.settings import EvaluateSettings, TrainSettings
from residuum.training.run import train

TOLD: dict[str, Any] = {"label_separator": ";"}


def table(place: Path, rows: dict[str, list[str]]) -> Path:
    """Write a table that says what pictures beside it show."""
    with place.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "label"], *([name, ";".join(its)] for name, its in rows.items())])
    return place


def mended(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    """Say of every seventh picture that it shows blue, and of others that they do not: as if the first were wrong."""
    every = [name for place, name in enumerate(rows) if place % 7 == 0]
    swapped = {name: [*rows[name], "blue"] if "blue" not in rows[name] else ["red"] for name in every}
    return dict(sorted({**rows, **swapped}.items(), reverse=True))  # in another order, too


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 120 pictures, with a table and a mended one."""
    root = tmp_path_factory.mktemp("photos")
    files, shown = patches(120, seed=4)
    for number, file in enumerate(files):
        (root / f"{number:03}.png").write_bytes(file)
    rows = {f"{number:03}.png": its for number, its in enumerate(shown)}
    table(root / "tags.csv", rows)
    table(root / "tags2.csv", mended(rows))
    return root


@pytest.fixture(scope="module")
def by_folds(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of the last layer alone, by the table and by the mended one."""
    root = tmp_path_factory.mktemp("runs")
    start = str(small_model(root / "start.safetensors", ("a", "b", "c"), SIDE))
    told: dict[str, Any] = {**TOLD, "start": start, "threads": 1, "precision": "float32"}
    first = train(TrainSettings(str(photos / "tags.csv"), **told, out=str(root / "run1")))
    second = train(TrainSettings(str(photos / "tags2.csv"), **told, out=str(root / "run2")))
    return first.path, second.path


@pytest.fixture
def fresh(by_folds: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies of the two that a test may judge."""
    one, other = (Path(shutil.copytree(run, tmp_path / run.name)) for run in by_folds)
    return one, other


def judged(run: Path, data: Path | None = None, **how: Any) -> DataEvaluation:
    return evaluate(EvaluateSettings(run, str(data) if data else None, device="cpu", **how))


def test_a_run_knows_its_pictures_whatever_the_table_says(by_folds: tuple[Path, Path]) -> None:
    one, other = map(read_known, by_folds)
    assert set(one) == {"train"}
    assert sorted(one["train"]) == sorted(other["train"])
    assert len(set(one["train"])) == 120
    contents = [read_json(run / runs.DATA)["contents"] for run in by_folds]
    assert contents[0] == contents[1]
    prints = [read_json(run / runs.DATA)["fingerprint"] for run in by_folds]
    assert prints[0] != prints[1]


def test_pictures_that_were_learnt_are_known_under_other_labels(
    fresh: tuple[Path, Path], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = judged(fresh[0], photos / "tags2.csv")
    said = capsys.readouterr().err
    assert "it was trained on all of these pictures, whatever names and labels they have here" in said
    assert "which flatters it; below stand its answers out of fold, by the same labels" in said
    assert (found.split, found.seen, found.same_data_as_training) == ("train", 120, False)
    (folds,) = found.beside
    unseen = read_unseen(fresh[0] / runs.OUT_OF_FOLD)
    with (photos / "tags2.csv").open() as file:
        rows = {row["image"]: row["label"].split(";") for row in csv.DictReader(file)}
    truth = np.array(
        [[name in rows[Path(picture).name] for name in unseen.about.classes] for picture in unseen.about.names]
    )
    assert folds.split == "out-of-fold"
    assert folds.mean_ap is not None
    assert folds.mean_ap.value == pytest.approx(average_precision_score(truth, unseen.probabilities), abs=1e-6)
    kept = [read_record(one, KeptEvaluation) for one in (fresh[0] / runs.EVALUATIONS).glob("*.json")]
    assert {(one.split, one.seen) for one in kept} == {("train", 120), ("out-of-fold", 0)}


def test_a_folder_of_copies_beside_new_pictures_is_counted(
    fresh: tuple[Path, Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    files, shown = patches(10, seed=99)
    rows = {}
    for number, file in enumerate(files):
        (copies / f"new{number}.png").write_bytes(file)
        rows[f"new{number}.png"] = shown[number]
    for number in range(5):
        shutil.copy(photos / f"{number:03}.png", copies / f"old{number}.png")
        rows[f"old{number}.png"] = ["red"]
    found = judged(fresh[0], table(copies / "tags.csv", rows))
    assert (found.split, found.seen) == ("all", 5)
    (folds,) = found.beside
    unseen = read_unseen(fresh[0] / runs.OUT_OF_FOLD)
    asked = [[Path(name).name for name in unseen.about.names].index(f"{number:03}.png") for number in range(5)]
    truth = np.tile([name == "red" for name in unseen.about.classes], (5, 1))
    assert (folds.split, folds.images) == ("out-of-fold", 5)
    right = unseen.probabilities[asked].argmax(axis=1) == truth[0].argmax()
    assert folds.top1.value == pytest.approx(right.mean())
    print_evaluation(EvaluateSettings(fresh[0], str(copies)), found, json=False)
    said = capsys.readouterr()
    assert "include 5 that it was trained on" in said.err
    assert "Below stand its answers out of fold, to the 5 that it knows." in said.err
    assert said.out.splitlines()[-1].endswith("5 pictures")
    run = runs.read_run(fresh[0])
    assert [one.split for one in run.later] == ["all", "out-of-fold"]
    card = write_card(CardSettings(fresh[0])).read_text()
    assert "| tags.csv | all: 5 of them it was trained on, which flatters it | 15 |" in card
    assert "trained_on: 5" in card


def test_new_pictures_are_not_called_train(
    fresh: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new20"
    new.mkdir()
    files, shown = patches(20, seed=7)
    for number, file in enumerate(files):
        (new / f"{number}.png").write_bytes(file)
    place = table(new / "labels.csv", {f"{number}.png": its for number, its in enumerate(shown)})
    found = judged(fresh[0], place)
    assert (found.split, found.seen) == ("all", 0)
    assert to_json(found)["split"] == "all"
    assert "which flatters" not in capsys.readouterr().err
    print_evaluation(EvaluateSettings(fresh[0], str(place)), found, json=False)
    lines = capsys.readouterr().out.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("class "))
    assert lines[head].split() == ["class", "pictures", "AP", "recall", "precision", "F1"]
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == sorted(COLOURS)
    assert [int(line.split()[1]) for line in lines[head + 1 : head + 4]] == [one.images for one in found.per_class]
    page = Page(write_report([fresh[0]], tmp_path / "page.html").read_text())
    heads = page.plain.split("Judged later")[-1].split("which")[0]
    assert heads.split()[-1] == "data"
    assert "labels.csv" in page.plain


def test_labels_called_from_elsewhere_are_judged_and_kept_apart(fresh: tuple[Path, Path], photos: Path) -> None:
    usual, lower = judged(fresh[0]), judged(fresh[0], call_from=0.2)
    assert (usual.mean_ap, usual.loss) == (lower.mean_ap, lower.loss)
    at = next(one for one in usual.by_threshold if one.call_from == 0.2)
    assert [row[k] for k, row in enumerate(lower.confusion)] == list(at.hits)
    assert len(list((fresh[0] / runs.EVALUATIONS).glob("train-*"))) == 2
    with pytest.raises(UserError, match="which run"):
        evaluate(EvaluateSettings(None))


def test_of_one_label_a_picture_nothing_is_called(tmp_path: Path) -> None:
    run = small_model(tmp_path / "one.safetensors", ("a", "b", "c"), 8)
    with pytest.raises(UserError, match="--call-from is for several labels a picture"):
        evaluate(EvaluateSettings(run, "digits", call_from=0.3, device="cpu"))


def test_pictures_kept_aside_stay_so_under_other_labels(photos: Path, tmp_path: Path) -> None:
    run = train(
        TrainSettings(
            str(photos / "tags.csv"), **QUICKLY, **TOLD, validation=0.25, from_nothing=True, out=tmp_path / "run"
        )
    )
    assert run.evaluation is not None
    kept = read_known(run.path)
    found = judged(run.path, photos / "tags2.csv")
    assert (found.split, found.seen, found.images) == ("validation", 0, len(kept["validation"]))
    assert run.evaluation.images == found.images
    assert found.mean_ap != run.evaluation.mean_ap  # by other labels
    learnt = judged(run.path, photos / "tags2.csv", split="train")
    assert (learnt.split, learnt.seen) == ("train", len(kept["train"]))


def test_a_damaged_list_of_pictures_is_refused(fresh: tuple[Path, Path], photos: Path) -> None:
    path = fresh[0] / runs.PICTURES
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pictures.safetensors is damaged"):
        judged(fresh[0], photos / "tags2.csv")


# --- compared --------------------------------------------------------------------------------------


def test_runs_of_the_same_pictures_are_compared_by_the_same_labels(
    fresh: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    before = Page(write_report(list(fresh), tmp_path / "before.html").read_text())
    assert "judged on the same pictures by different labels" in before.plain
    assert "different pictures" not in before.plain
    assert f"residuum evaluate {fresh[0]} {photos / 'tags2.csv'}" in before.plain
    assert f"residuum evaluate {fresh[1]} {photos / 'tags.csv'}" in before.plain
    crossed = [judged(fresh[0], photos / "tags2.csv").beside[0], judged(fresh[1], photos / "tags.csv").beside[0]]
    after = Page(write_report(list(fresh), tmp_path / "after.html").read_text())
    assert f"residuum evaluate {fresh[0]}" not in after.plain
    section = after.plain.split("By the same labels")[-1]
    for one in crossed:
        assert one.mean_ap is not None
        assert f"{one.mean_ap.value:.1%}".replace("%", " %") in section.replace("\u00a0", " ")
    assert re_ahead(after.plain)


def test_a_net_with_a_class_too_many_is_judged_by_the_labels_of_the_other(
    fresh: tuple[Path, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (photos / "tags.csv").open(newline="") as file:
        rows = {name: its.split(";") if its else [] for name, its in list(csv.reader(file))[1:]}
    slips = [name for name, its in rows.items() if "blue" in its][:8]
    misspelt = {**rows, **{name: ["bleu" if one == "blue" else one for one in rows[name]] for name in slips}}
    start = str(tmp_path / "start.safetensors")
    small_model(Path(start), ("a", "b", "c"), SIDE)
    (tmp_path / "told").mkdir()
    data = table(tmp_path / "told" / "misspelt.csv", {str(photos / name): its for name, its in misspelt.items()})
    told: dict[str, Any] = {**TOLD, "start": start, "threads": 1, "precision": "float32"}
    first = train(TrainSettings(str(data), **told, out=str(tmp_path / "slips"))).path
    before = Page(write_report([first, fresh[0]], tmp_path / "before.html").read_text()).plain
    lacks = "B cannot be judged by the labels of A: its net does not have bleu."
    assert lacks in before
    assert f"residuum evaluate {first} {photos / 'tags.csv'}" in before
    assert "is ahead" not in before
    by_others = judged(first, photos / "tags.csv").beside[0].mean_ap
    own = runs.read_run(fresh[0]).evaluation
    by_own = own and own.mean_ap
    assert by_others
    assert by_own
    is_level = round(by_others.value, 3) == round(by_own.value, 3)
    ahead = "A" if by_others.value > by_own.value else "B"
    said = "None is ahead by the labels of B." if is_level else f"{ahead} is ahead by the labels of B; "
    after = Page(write_report([first, fresh[0]], tmp_path / "after.html").read_text()).plain
    assert said in after
    assert lacks in after
    assert "residuum evaluate" not in after.split("By the same labels")[-1].split("Learning curves")[0]
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    page = write_report([first, fresh[0]], tmp_path / "zh.html").read_text()
    assert still_english(page) == set()
    assert ("按 B 的标签，不分先后" if is_level else f"按 B 的标签，{ahead} 领先") in page


def test_the_words_of_a_verdict_are_those_of_the_figures() -> None:
    runs_ = [SimpleNamespace(letter=letter) for letter in "AB"]

    def said(*rows: tuple[float | None, ...]) -> str:
        found = [
            [None if at is None else Measure(value=at, low=at - 0.05, high=min(at + 0.05, 1)) for at in row]
            for row in rows
        ]
        return _words(runs_, list(zip(runs_, found, strict=True)), [], can=False)  # type: ignore[arg-type]

    assert said((0.7, 0.61), (None, 0.607)).startswith("A is ahead by the labels of B; the intervals overlap")
    assert said((0.7, 0.61), (None, 0.8)).startswith("B is ahead by the labels of B; its intervals lie above")
    assert said((0.7, 1.0), (None, 1.0)) == "None is ahead by the labels of B."
    assert said((0.7, 0.6), (0.6, 0.5)).startswith("A is ahead by the labels of each; ")
    assert said((0.7, 0.6), (0.7, 0.5)).startswith("A is ahead by the labels of B; ")
    assert said((0.7, 0.6), (0.6, 0.9)).startswith("Which is ahead depends on the labels")
    assert said((0.7, None), (None, 0.9)).startswith("Figures by different labels do not tell")
    runs_.append(SimpleNamespace(letter="C"))
    level = said((0.7, 0.7, 0.7), (0.8, 0.9, 0.9), (0.8, 0.9, 0.9))
    assert level == "B, C are level, and ahead of A, by the labels of A, B, C."
    assert said((0.7, 0.9, 0.9), (0.8, 0.9, 0.9), (0.8, 0.7, 0.7)) == "None is ahead by the labels of A, B, C."


def re_ahead(page: str) -> bool:
    return "is ahead by the labels of" in page or "Which is ahead depends on the labels" in page


def test_these_pages_are_chinese(
    fresh: tuple[Path, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged(fresh[0], photos / "tags2.csv")
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    for number, asked in enumerate(([fresh[0]], list(fresh))):
        page = write_report(asked, tmp_path / f"{number}.html").read_text()
        assert sorted(still_english(page)) == []
    alone = Page((tmp_path / "0.html").read_text()).plain.split("后来的评估")[-1]
    assert "“全部”：没有划分的数据" in alone
    assert "数据" in alone.split("哪一部分")[0].split("下面")[-1]  # what was judged, not how many
    judged(fresh[1], photos / "tags.csv")
    assert still_english(write_report(list(fresh), tmp_path / "both.html").read_text()) == set()


def test_a_run_from_before_is_judged_as_ever(
    fresh: tuple[Path, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh[0] / runs.PICTURES).unlink()
    about = json.loads((fresh[0] / runs.DATA).read_text())
    (fresh[0] / runs.DATA).write_text(json.dumps({key: value for key, value in about.items() if key != "contents"}))
    found = judged(fresh[0], photos / "tags2.csv")
    assert (found.split, found.seen) == ("all", 0)
    page = Page(write_report(list(fresh), tmp_path / "page.html").read_text())
    assert "judged on different pictures" in page.plain
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert still_english(write_report(list(fresh), tmp_path / "zh.html").read_text()) == set()
    assert "是" in Page((tmp_path / "zh.html").read_text()).plain  # settings that are yes or no
