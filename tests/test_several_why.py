"""Several labels a picture: why a net answers so, what is wrong with its labels, and what its blocks are worth."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from page_reading import Page
from PIL import Image
from small_start import small_model

import residuum
from residuum import runs
from residuum.compute import Compute
from residuum.data.labels import answered
from residuum.data.preprocess import normalise
from residuum.errors import UserError
from residuum.evaluation.heat_maps import masks, rise
from residuum.evaluation.likeness import directions
from residuum.evaluation.opening import open_with_data
from residuum.evaluation.review import doubted_by_luck, doubted_of_several, nearest_others
from residuum.explained_printing import print_explained
from residuum.explanation.blocks import answers_with_blocks_off
from residuum.explanation.live import switched
from residuum.forecast.measure import judged_in
from residuum.loading import load, save_classifier
from residuum.models.resnet import last_bn
from residuum.pictures_printing import print_review
from residuum.records.codec import read_record
from residuum.records.depth import Lesion, Trim
from residuum.records.explained import Explained
from residuum.reporting.explained_view import view_explained
from residuum.reporting.lesion_view import lines
from residuum.reporting.page import write_report
from residuum.settings import ReviewSettings, StudySettings
from residuum.studies.run import run_studies
from residuum.training.head import fit_head
from residuum.training.review import _answers

SIDE = 32
PLACES = {"ants": (0, 0), "bees": (0, 1), "flower": (1, 0), "hive": (1, 1)}
COLOURS = {"ants": (220, 40, 40), "bees": (40, 220, 40), "flower": (60, 60, 230), "hive": (230, 230, 40)}
LABELS = tuple(PLACES)


def mosaic(shown: NDArray[np.uint8], luck: np.random.Generator) -> Image.Image:
    """A grey field of noise with a quarter coloured for each class that is shown."""
    pixels = np.full((SIDE, SIDE, 3), 110.0)
    for name, is_shown in zip(LABELS, shown, strict=True):
        if is_shown:
            row, column = (SIDE // 2 * place for place in PLACES[name])
            pixels[row : row + SIDE // 2, column : column + SIDE // 2] = COLOURS[name]
    return Image.fromarray(np.clip(pixels + luck.normal(0, 15, pixels.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def truth() -> NDArray[np.uint8]:
    return (np.random.default_rng(0).random((120, 4)) < 0.4).astype(np.uint8)


MISSING, WRONG, COPY = (3, "ants"), (10, "hive"), 119
"""Where a label was left out, and one too many written; and the picture that is the one before, told otherwise."""


@pytest.fixture(scope="module")
def pictures(truth: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred and twenty mosaics and their table, in which two labels are not right."""
    root, luck = tmp_path_factory.mktemp("several") / "mosaics", np.random.default_rng(1)
    root.mkdir()
    truth[MISSING[0], 0], truth[WRONG[0], 3] = 1, 0
    truth[COPY - 1] = truth[COPY] = [1, 1, 0, 0]
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("file", "label"))
        for i, shown in enumerate(truth):
            mosaic(shown, luck).save(root / f"{i:03}.png")
            said = shown.copy()
            if i in (MISSING[0], WRONG[0]):
                said[LABELS.index(dict([MISSING, WRONG])[i])] ^= 1
            if i == COPY:
                (root / f"{i:03}.png").write_bytes((root / f"{i - 1:03}.png").read_bytes())
                said[0] = 0
            table.writerow((f"{i:03}.png", ";".join(np.array(LABELS)[said > 0])))
    return root


@pytest.fixture(scope="module")
def run(pictures: Path) -> runs.RunRecord:
    """A last layer on an untrained net's features."""
    out = pictures.parent / "run"
    start = small_model(pictures.parent / "start.safetensors", ("a", "b", "c"), SIDE)
    data, start_from = str(pictures), str(start)
    return residuum.train(data, start=start_from, label_separator=";", precision="float32", threads=1, out=str(out))


@pytest.fixture(scope="module")
def trained(pictures: Path) -> Path:
    """A net of two blocks a stage, trained for a few steps, with pictures kept aside."""
    out = pictures.parent / "trained"
    choices = {"blocks": (2, 2, 2), "widths": (8, 16, 16), "epochs": 3, "batch_size": 16, "validation": 0.25}
    told = {"label_separator": ";", "from_nothing": True, "model": "resnet20", "precision": "float32", "threads": 1}
    residuum.train(str(pictures), recipe="sgd_one_cycle", out=str(out), **choices, **told)
    return out


# --- labels ---------------------------------------------------------------------------------------


def by_self_confidence(answers: NDArray[np.float64], labels: NDArray[np.uint8]) -> list[int]:
    """Northcutt et al. 2021, of each label for itself, as cleanlab has it of several."""
    return np.argsort(np.where(labels, answers, 1 - answers).ravel(), kind="stable").tolist()


def made_up(seed: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """243 pictures that show some of five classes, and features to which each class shown adds its own."""
    luck = np.random.default_rng(seed)
    truth = (luck.random((243, 5)) < np.linspace(0.5, 0.15, 5)).astype(np.uint8)
    return 1.5 * truth @ luck.normal(size=(5, 12)) + luck.normal(size=(243, 12)), truth


def test_flipped_labels_come_first_about_as_often_as_by_cleanlabs_rule() -> None:
    found = by_cleanlab = 0
    for seed in range(3):
        x, truth = made_up(seed)
        flipped = np.random.default_rng(seed).choice(truth.size, 20, replace=False)
        labels = truth.copy()
        labels.ravel()[flipped] ^= 1
        answers = fit_head(x, labels, 5, seed).out_of_fold
        doubted = doubted_of_several(answers, labels, np.arange(243), labels)
        assert all(one.is_said == labels[one.row, one.class_number] for one in doubted)
        assert all(one.given == pytest.approx(answers[one.row, one.class_number]) for one in doubted)
        first = {5 * one.row + one.class_number for one in doubted[:20]}
        found += len(first & set(flipped.tolist()))
        by_cleanlab += len(set(by_self_confidence(answers, labels)[:20]) & set(flipped.tolist()))
    assert found > 36  # of 60; by chance 1
    assert found >= 0.9 * by_cleanlab


def test_a_missing_rare_label_is_found_and_rare_ones_do_not_swamp_the_list() -> None:
    """Answers as calibrated nets give them: a rare class is seldom given one half, whether it is there or not."""
    luck, n = np.random.default_rng(2), 4000
    share = np.array([0.5, 0.04])
    truth = luck.random((n, 2)) < share
    odds = share / (1 - share) * np.exp(2.5 * luck.normal(size=(n, 2)) * 0.8 + np.where(truth, 2.0, -2.0))
    answers, labels = odds / (1 + odds), truth.astype(np.uint8)
    missing = np.flatnonzero(truth[:, 1])[:40]
    labels[missing, 1] = 0
    found = doubted_of_several(answers, labels, np.arange(n), labels)
    rare = [one for one in found if one.class_number == 1 and not one.is_said]
    hits = {one.row for one in rare} & set(missing.tolist())
    assert len(hits) > (answers[missing, 1] >= 0.5).sum() + 2  # more than any rule at one half can find
    first = [one for one in found[:200] if one.is_said]
    assert sum(one.class_number == 1 for one in first) < len(first) / 2


@pytest.mark.parametrize(("shown_by", "given"), [(2, 0.006), (4, 0.3), (40, 0.006)])
def test_a_class_that_a_net_hardly_knows_is_not_missed_wherever_it_is_given_a_per_cent(
    shown_by: int, given: float
) -> None:
    """As a misspelt tag on a few of the pictures that show what was meant."""
    luck, n = np.random.default_rng(7), 800
    often = luck.random(n) < 0.5
    labels = np.stack([often, np.zeros(n, bool)], axis=1).astype(np.uint8)
    labels[np.flatnonzero(often)[:shown_by], 1] = 1
    answers = np.stack([np.where(often, 0.9, 0.1), np.where(often, 1.2, 0.4) * given], axis=1)
    answers[labels[:, 1] == 1, 1] = given
    missed = answers[:, 1] >= answers[labels[:, 1] == 1, 1].mean()  # what the mean alone as a threshold would list
    assert (missed & (labels[:, 1] == 0)).sum() > 300
    found = doubted_of_several(answers, labels, np.arange(n), labels)
    assert [one for one in found if one.class_number == 1 and not one.is_said] == []


def test_of_answers_as_right_as_they_are_sure_as_many_are_doubted_as_by_luck() -> None:
    over, spread = [], []
    for seed in range(20):
        luck = np.random.default_rng(seed)
        answers = answered(luck.standard_normal((600, 5)) - np.arange(5), several=True)
        labels, every = (luck.random(answers.shape) < answers).astype(np.uint8), np.arange(600)
        near = nearest_others(directions(luck.normal(size=(600, 6))))
        expected = doubted_by_luck(answers, labels, near, every, labels)
        over.append(len(doubted_of_several(answers, labels, every, labels)) - expected)
        spread.append(expected)
    assert np.mean(spread) > 100
    assert abs(np.mean(over)) < 3 * np.sqrt(np.mean(spread) / 20)  # a sum of chances spreads less than Poisson's


@pytest.fixture(scope="module")
def reviewed(run: runs.RunRecord) -> runs.RunRecord:
    residuum.review(run.path)
    return runs.read_run(run.path)


def test_a_missing_label_and_one_too_many_are_named(reviewed: runs.RunRecord, truth: NDArray[np.uint8]) -> None:
    found = reviewed.review
    assert found is not None
    assert found.several
    assert (found.pictures, found.answered) == (120, 120)
    first = {one.pictures[0].name: one for one in found.of_kind("label")[:3]}
    assert f"{COPY}.png" in first  # whose twin has one label more
    for (row, name), said in ((MISSING, "is not said to show"), (WRONG, "is said to show")):
        one = first[f"{row:03}.png"]
        assert one.reason.startswith(f"{said} {name}, which was given ")
        assert one.reason.endswith(" of its 10 nearest show it")
        assert [one.reason[start:end] for start, end in one.named] == [name]
        assert one.suggested == (", ".join(np.array(LABELS)[truth[row] > 0]) or "–")
    assert len(found.of_kind("label")) < 10
    assert found.of_kind("classes") == []
    with (reviewed.path / runs.REVIEW_TABLE).open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "label"]
    told = {one["picture"]: one for one in rows}
    assert reviewed.data is not None
    with Path(reviewed.data.source).open(newline="", encoding="utf-8") as file:
        sheet = {row["file"]: row["label"] for row in csv.DictReader(file)}
    for row, _ in (MISSING, WRONG):
        one = told[f"{row:03}.png"]
        assert one["class"] == sheet[one["picture"]]  # as the sheet has it, so that it can be put there
        assert one["suggested"] == ";".join(np.array(LABELS)[truth[row] > 0])


def test_a_name_that_is_nearly_another_is_said_by_training_the_review_and_the_page(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(pictures, tmp_path / "photos"))
    slips = iter(["flowr", "flowr"])
    with (data / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [line.replace("flower", next(slips, "flower")) if "flower" in line else line for line in file]
    (data / "labels.csv").write_text("".join(rows), encoding="utf-8")
    start = str(pictures.parent / "start.safetensors")
    told: dict[str, Any] = {"label_separator": ";", "precision": "float32", "threads": 1}
    run = residuum.train(str(data), start=start, out=str(tmp_path / "run"), **told)
    others = sum("flower" in row for row in rows)
    said = f"classes of few pictures whose names are nearly another's: 'flowr' (2) and 'flower' ({others}); misspelt?"
    assert f"note: {said}" in capsys.readouterr().err
    found = residuum.review(run.path)
    assert found.misspelt == (("flowr", 2, "flower", others),)
    assert not [one for one in found.findings if one.reason.startswith("is not said to show flowr")]
    print_review(ReviewSettings(str(run.path)), found, json=False)
    assert said in capsys.readouterr().out
    page = Page(write_report([run.path], tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"Class flowr (2) is called nearly as flower ({others}): is it misspelt?" in page.plain
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    page = Page(write_report([run.path], tmp_path / "zh.html").read_text(encoding="utf-8"))
    assert f"类别 flowr（2 张）与 flower（{others} 张）的名字几乎相同" in page.plain


def test_of_a_net_trained_whole_the_pictures_kept_aside_are_answered_class_by_class(trained: Path) -> None:
    found = residuum.review(trained)
    assert found.answers.startswith("to the pictures kept aside from training alone")
    assert (found.answered, found.pictures) == (30, 120)
    model = load(trained)
    opened = open_with_data(model, Compute(torch.device("cpu"), "float32", "contiguous", 1), None)
    rows, answers, _ = _answers(trained, opened, {"train": np.zeros((120, 16), np.float32)})
    assert answers.shape == (30, 4)
    assert answers[7] == pytest.approx(torch.sigmoid(model.net.fc.bias.detach()).numpy())
    assert opened.cut is not None
    assert rows.tolist() == opened.cut.validation.tolist()


def test_copies_told_otherwise_are_named_with_both(reviewed: runs.RunRecord) -> None:
    assert reviewed.review is not None
    (one,) = (one for one in reviewed.review.of_kind("copies") if one.score == 0)
    assert one.reason == "the same file; with different labels: ants, bees / bees"
    assert [one.reason[start:end] for start, end in one.named] == ["ants, bees", "bees"]


def test_the_reports_words_are_of_several_labels(
    reviewed: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(write_report([reviewed.path], tmp_path / "report.html").read_text(encoding="utf-8"))
    for words in (
        "Perhaps a wrong label, or one missing",
        "with different labels cannot all be right",
        "of pictures that share no label with any trained on",
        "changes no label that is called",
    ):
        assert words in page.plain
    for words in ("wrong class", "class is left out", "their class", "leaves the likeliest class"):
        assert words not in page.plain
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    page = Page(write_report([reviewed.path], tmp_path / "zh.html").read_text(encoding="utf-8"))
    for words in (
        "也许标错或漏标",
        "没有标为图中有",
        "标签不同：",
        "与训练图片没有任何共同标签",
        "而判为有的标签不变",
    ):
        assert words in page.plain


# --- why ------------------------------------------------------------------------------------------


def test_behind_a_block_each_class_is_answered_for_itself(run: runs.RunRecord) -> None:
    """As the net answers once every later branch has been set to zero."""
    net = load(run.path).net
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = answers_with_blocks_off(net, images, several=True)
    blocks = dict(net.blocks())
    with torch.no_grad():
        for name, answers in reversed(found):
            torch.testing.assert_close(answers, torch.sigmoid(net(images)))
            torch.nn.init.zeros_(last_bn(blocks[name]).weight)
            torch.nn.init.zeros_(last_bn(blocks[name]).bias)
    assert not torch.allclose(found[0][1], found[-1][1], atol=1e-3)


def test_rise_is_the_papers_for_each_class_for_itself(run: runs.RunRecord) -> None:
    net, every = load(run.path).net, masks(SIDE)
    images, classes = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3])
    with torch.no_grad():
        answers = [torch.sigmoid(net(images * mask))[range(2), classes] for mask in every]
    shown = [torch.nn.functional.adaptive_avg_pool2d(mask[None], 14)[0] for mask in every]
    expected = sum(p[:, None, None] * mask for p, mask in zip(answers, shown, strict=True)) / sum(shown)
    found = rise(net, images, classes, several=True)
    torch.testing.assert_close(found, expected - expected.amin((1, 2), keepdim=True), atol=1e-6, rtol=1e-4)


def test_with_blocks_off_each_class_is_answered_for_itself(trained: Path) -> None:
    model = load(trained)
    view = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    found = switched(model, view, ["stage2.block2"])
    block = dict(model.net.blocks())["stage2.block2"]
    torch.nn.init.zeros_(last_bn(block).weight)
    torch.nn.init.zeros_(last_bn(block).bias)
    with torch.no_grad():
        expected = torch.sigmoid(model.net(normalise(torch.from_numpy(view[None]), model.preprocessing)))[0]
    assert dict(found.answers) == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-6)


@pytest.fixture(scope="module")
def explanation(run: runs.RunRecord, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a picture that shows two classes, of one that shows none, and of noise, by its likeliest class."""
    folder, luck = tmp_path_factory.mktemp("explained"), np.random.default_rng(2)
    asked = []
    for shown in ([1, 0, 0, 1], [0, 0, 0, 0]):
        asked.append(folder / f"{sum(shown)}.png")
        mosaic(np.array(shown, np.uint8), luck).save(asked[-1])
    return residuum.explain(run.path, *asked, nearest=3, top=1, threads=1, out=folder / "out")


def test_what_is_called_is_said_and_all_of_it_is_among_the_answers(explanation: Any, run: runs.RunRecord) -> None:
    two, none = explanation.pictures
    assert set(two.labels) == {"ants", "hive"}
    assert none.labels == ()
    assert [one.name for one in two.answers] == list(two.labels)
    assert len(none.answers) == 1
    assert two.heat_of == two.labels[0]
    for one in explanation.pictures:
        assert one.blocks[-1].labels == one.labels
        place = [each.block for each in one.blocks].index(one.settled)
        assert all(set(each.labels) == set(one.labels) for each in one.blocks[place:])
        assert place == 0 or set(one.blocks[place - 1].labels) != set(one.labels)
        assert set(one.nearest[0].truth.split(", ")) == (set(one.labels) or {"–"})
    assert explanation.as_json()["pictures"][0]["labels"] == list(two.labels)


def test_the_map_of_a_class_lies_where_it_is(run: runs.RunRecord, explanation: Any, tmp_path: Path) -> None:
    image = Path(explanation.pictures[0].name)
    for name in ("ants", "hive"):
        found = residuum.explain(run.path, image, of=name, nearest=0, threads=1, out=tmp_path / name)
        (rise_map, _), (row, column) = found.pictures[0].heat, PLACES[name]
        assert found.pictures[0].heat_of == name
        assert (int(2 * rise_map.y), int(2 * rise_map.x)) == (row, column)


def test_the_page_of_explained_pictures_says_what_is_called(
    explanation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Page(write_report([explanation.path], tmp_path / "page.html").read_text(encoding="utf-8"))
    page.assert_closed(shows_pictures=True)
    page.assert_usable_without_sight()
    two, none = (view for view in view_explained(read_record(explanation.path / runs.EXPLAINED, Explained)).pictures)
    first, second = explanation.pictures[0].labels
    assert two.verdict.startswith(f"It calls: \u2068{first}\u2069 (")
    assert f"; \u2068{second}\u2069 (" in two.verdict
    assert two.verdict.endswith(f"The maps are of \u2068{first}\u2069; --of names another class.")
    assert none.verdict.startswith("It calls nothing: no class reaches 50 %. Less likely: ")
    assert "likeliest class" in page.plain
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    page = Page(write_report([explanation.path], tmp_path / "zh.html").read_text(encoding="utf-8"))
    assert "没有类别判为有" in page.plain
    assert "热力图取自" in page.plain
    print_explained(None, explanation, json=False)
    said = capsys.readouterr().out
    assert f"calls      {first}, {second}" in said
    assert "calls      nothing: no class reaches 50 %" in said


def test_studies_refuse_several_labels(run: runs.RunRecord, tmp_path: Path) -> None:
    """They ask how often the one right class is named."""
    for name in ("lesions", "refinement"):
        with pytest.raises(UserError, match="several labels") as refused:
            list(run_studies(StudySettings((name,), model=run.path, out=str(tmp_path))))
        assert "one class each" in refused.value.mend


# --- what its blocks are worth --------------------------------------------------------------------


def test_a_lesions_figures_are_those_of_evaluate(trained: Path, tmp_path: Path) -> None:
    found = residuum.lesion(trained, threads=1, out=tmp_path / "lesion")
    lesion = read_record(Path(found) / runs.LESION, Lesion)
    judged = residuum.evaluate(trained, split="validation", threads=1)
    assert judged.mean_ap is not None
    assert lesion.intact.loss == pytest.approx(judged.loss, rel=1e-5)
    assert lesion.intact.accuracy == pytest.approx(judged.top1.value)
    net, model = load(trained).net, load(trained)
    page = Page(write_report([Path(found)], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "accuracy is the share whose likeliest label is right" in page.plain
    assert lesion.data.commonest == pytest.approx(max(one.images for one in judged.per_class) / judged.images)
    (row,) = (one for one in lesion.blocks if one.name == "stage2.block2")
    block = dict(net.blocks())["stage2.block2"]
    torch.nn.init.zeros_(last_bn(block).weight)
    torch.nn.init.zeros_(last_bn(block).bias)
    save_classifier(tmp_path / "cut.safetensors", net, net.spec, model.classes, model.preprocessing, model.about)
    without = residuum.evaluate(tmp_path / "cut.safetensors", split="validation", threads=1)
    assert row.loss == pytest.approx(without.loss, rel=1e-5)
    assert row.accuracy == pytest.approx(without.top1.value)
    assert without.mean_ap is not None
    assert row.mean_ap == pytest.approx(without.mean_ap.value)
    assert lesion.intact.mean_ap == pytest.approx(judged.mean_ap.value)
    assert f"mean average precision {judged.mean_ap.value:.2%}" in next(lines(lesion))
    assert page.rows(11)[0][5] == "mean average precision"


def test_a_trimmed_and_repaired_net_still_answers_several_labels(trained: Path, tmp_path: Path) -> None:
    found = Path(residuum.trim(trained, keep=0.67, random=1, repair=1, threads=1, out=tmp_path / "trim"))
    trim = read_record(found / runs.TRIM, Trim)
    judged = residuum.evaluate(trained, split="validation", threads=1)
    assert trim.curve[0].loss == pytest.approx(judged.loss, rel=1e-5)
    assert trim.curve[0].accuracy == pytest.approx(judged.top1.value)
    assert trim.repaired is not None
    for file in (found / "model-unrepaired.safetensors", found / runs.MODEL):
        model = load(file)
        assert model.several
        assert sum(model.spec.blocks) == 4
        assert model.about.metrics is not None
        assert model.about.metrics.mean_ap is not None
    smaller = residuum.evaluate(found / "model-unrepaired.safetensors", split="validation", threads=1)
    assert smaller.top1.value == pytest.approx(trim.after)
    assert smaller.mean_ap is not None
    assert smaller.mean_ap.value == pytest.approx(trim.curve[2].mean_ap_with(recalibrated=trim.recalibrated))
    assert "Mean average precision" in (found / "report.html").read_text(encoding="utf-8")


def test_a_grown_net_answers_the_same(trained: Path, pictures: Path, tmp_path: Path) -> None:
    model = load(trained)
    grown = load(residuum.grow(trained, blocks=(3, 2, 3), out=tmp_path / "grown.safetensors"))
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    assert grown.several
    assert torch.equal(grown(images), model(images))
    assert torch.equal(grown(images), torch.sigmoid(model.net(images)))


@pytest.mark.parametrize("recipe", ["sgd_one_cycle", "head"])
def test_a_plan_tells_what_it_costs(pictures: Path, run: runs.RunRecord, recipe: str) -> None:
    how: dict[str, Any] = {"start": str(pictures.parent / "start.safetensors")}
    if recipe != "head":
        how = {"from_nothing": True, "blocks": (1, 1, 1), "widths": (4, 4, 4), "epochs": 1, "validation": 0.2}
    found = residuum.plan(str(pictures), recipe=recipe, label_separator=";", threads=1, **how)
    assert (found.seconds.judging > 0) is (recipe != "head")  # which is judged by folds


def test_judging_several_labels_is_timed() -> None:
    assert judged_in(5000, 40, several=True) > 0
    assert judged_in(50, 4, several=True) > 0
