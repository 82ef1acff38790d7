"""What people read of nets of several labels a picture: terminal, pages, cards, trackers."""

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import Browse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_records import epoch, evaluation, measure
from msgspec import structs
from numpy.typing import NDArray
from page_reading import Page, in_browser, leaves, page_or_refusal
from sklearn.metrics import average_precision_score
from small_start import SPEC, small_model
from test_chinese import left_in_english
from test_depth_report import fake_lesion, fake_trim
from test_report import change, copied_once, write_run

from residuum import chinese, runs
from residuum.evaluation.evaluate import scores
from residuum.evaluation.metrics import judge
from residuum.evaluation.mistakes import most_confident_mistakes
from residuum.judged_printing import print_figures, print_run
from residuum.loading import load, save_classifier
from residuum.outward_settings import CardSettings
from residuum.publishing.card import write_card
from residuum.records.codec import from_json, read_record, to_json
from residuum.records.depth import Lesion, Trim
from residuum.records.evaluation import Evaluation, Measure, too_good, which_to_quote
from residuum.records.model import Provenance
from residuum.records.sweep import Combination, SweepRecord
from residuum.reporting.depth_page import write_depth_report
from residuum.reporting.lesion_view import lines
from residuum.reporting.page import write_report
from residuum.reporting.sentences import notes
from residuum.reporting.several_sentences import never_called
from residuum.reporting.sweep_view import view_sweep
from residuum.studies.frame import quantity
from residuum.sweeps.run import _judged, accuracy
from residuum.tracking.trackers import figures_of, final_figures
from residuum.training.head_run import are_right
from residuum.training.progress import shown

NAMES = ["ants", "bees", "flower", "hive", "right"]


def answers(n: int, skill: float, k: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return (n, k) answers and what the pictures show: the first class the most, the last the least."""
    luck = np.random.default_rng(seed)
    truth = (luck.random((n, k)) < np.linspace(0.6, 0.1, k)).astype(np.uint8)
    logits = luck.normal(size=(n, k)) + skill * (2.0 * truth - 1) - 0.3
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def several_run(
    folder: Path, names: list[str] = NAMES, *, n: int = 200, skill: float = 1.2, seed: int = 0, epochs: int = 6
) -> Path:
    """Write a run folder as `residuum train` leaves it of several labels a picture, with made-up answers."""
    write_run(folder, names, seed=seed, epochs=epochs)
    p, truth = answers(n, skill, len(names), seed)
    judged = judge(p, truth, names, split="test", protocol="single view, 32×32")
    pixels = np.random.default_rng(seed).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    mistakes = most_confident_mistakes(p, truth, names, lambda i: f"{i}.png", lambda i: pixels[i])
    (folder / runs.EVALUATION).write_text(json.dumps(to_json(judged)), encoding="utf-8")
    (folder / runs.MISTAKES).write_text(json.dumps(to_json(mistakes)), encoding="utf-8")
    change(folder / runs.DATA, several=True)
    lines = [json.loads(line) for line in (folder / runs.METRICS).read_text().splitlines()]
    lines = [{**one, "validation_map": 0.1 * one["epoch"]} if one["kind"] == "epoch" else one for one in lines]
    (folder / runs.METRICS).write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of five classes; tests only read it."""
    return several_run(tmp_path_factory.mktemp("several") / "five")


@pytest.fixture(scope="module")
def judged(five: Path) -> Evaluation:
    return read_record(five / runs.EVALUATION, Evaluation)


@pytest.fixture
def in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")


def still_english(page: str) -> set[str]:
    """Return the texts of a page that are left in English, but for names and units."""
    texts = {re.sub("\u2068.*?\u2069", "", text) for text in left_in_english(page)}
    return {text for text in texts if re.search("[A-Za-z]{3}", text)} - {"made up"}


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shows", [1, 2, 5, 7])
def test_what_an_order_by_chance_scores_is_the_mean_over_all_orders(judged: Evaluation, shows: int) -> None:
    """By scikit-learn, over every place that pictures showing a class can have among seven."""
    each = []
    for places in combinations(range(7), shows):
        truth = np.zeros(7)
        truth[list(places)] = 1
        each.append(average_precision_score(truth, -np.arange(7)))
    classes = tuple(structs.replace(one, images=n) for one, n in zip(judged.per_class, (shows, 0), strict=False))
    found = structs.replace(judged, images=7, per_class=classes, confusion=((0, 0), (0, 0)), by_threshold=())
    assert found.mean_ap_by_chance == pytest.approx(np.mean(each))


def test_each_epoch_has_the_mean_average_precision_of_the_validation_pictures() -> None:
    p, truth = answers(50, 0.5, 4)
    truth[:, 2] = 0
    shown_ones = [0, 1, 3]
    expected = average_precision_score(truth[:, shown_ones], p[:, shown_ones], average="macro")
    assert scores(p, truth)["validation_map"] == pytest.approx(expected)
    assert "validation_map" not in scores(p, truth * 0)
    assert "validation_map" not in scores(p / p.sum(axis=1, keepdims=True), truth.argmax(axis=1))


def test_which_figure_to_quote_goes_by_mean_average_precision(judged: Evaluation) -> None:
    assert judged.mean_ap is not None
    value, half = judged.mean_ap.value, (judged.mean_ap.high - judged.mean_ap.low) / 2
    alike = structs.replace(judged, split="out-of-fold", top1=measure(0.0))
    said = which_to_quote(judged, alike)
    assert said.startswith(f"Quote the {100 * value:.1f} % of the test pictures")
    assert "more than luck" not in said
    for apart, is_luck in ((1.3 * half, True), (1.5 * half, False)):  # two like intervals' difference: √2 of one
        lower = structs.replace(
            judged.mean_ap, **{k: getattr(judged.mean_ap, k) - apart for k in ("value", "low", "high")}
        )
        assert ("more than luck" in which_to_quote(judged, structs.replace(alike, mean_ap=lower))) is not is_luck
    assert too_good(structs.replace(judged, seen=3)).endswith("so the figures are too high to quote.")


def test_classes_that_are_never_called_are_named(judged: Evaluation, five: Path) -> None:
    assert never_called(judged) == tuple(
        one.name for k, one in enumerate(judged.per_class) if one.images and not sum(row[k] for row in judged.confusion)
    )
    first = structs.replace(judged.per_class[0], images=3, precision=Measure(value=0.0, low=0.0, high=1.0))
    silent = structs.replace(judged, per_class=(first, *judged.per_class[1:]))
    assert first.name in never_called(silent)
    said = " ".join(notes(replace(runs.read_run(five), evaluation=silent)))
    assert f"Never called, though there: \u2068{first.name}\u2069" in said
    assert "--call-from" in said


# --- the terminal --------------------------------------------------------------------------------


def test_the_terminal_names_mean_average_precision_first(
    judged: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    print_figures(judged)
    said = capsys.readouterr().out.splitlines()
    figures = [re.sub(r" +\d.*", "", line) for line in said[2:]]
    assert figures == ["mean average precision", "likeliest label right", "macro F1", "ECE", "loss"]
    assert judged.mean_ap is not None
    assert said[2].split()[3] == f"{judged.mean_ap.value:.2%}"
    labels = sum(one.images for one in judged.per_class) / judged.images
    assert said[1].startswith(f"labels   {labels:.3g} a picture in the mean")
    assert "top" not in " ".join(said)


def test_a_net_no_better_than_the_commonest_label_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(None, runs.read_run(several_run(tmp_path / "poor", skill=0.0)), False)
    assert re.search(
        r"note     The likeliest label would be right for .* were it always ants: .* no", capsys.readouterr().out
    )


def test_an_epoch_says_what_its_figures_are(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    monkeypatch.setattr("residuum.training.progress.say", said.append)
    with shown(0, 10, several=True) as show:
        show(epoch(10, validation_loss=0.25, validation_accuracy=0.75, validation_map=0.625))
        show(epoch(10))
    assert (
        "likeliest label right 50.0%; validation loss 0.250, mean average precision 62.5%, likeliest label right 75.0%"
        in said[0]
    )
    assert "likeliest label right 50.0%; 100 images/s" in said[1]


# --- the page of a run ---------------------------------------------------------------------------


def test_the_page_leads_with_mean_average_precision(five: Path, judged: Evaluation, tmp_path: Path) -> None:
    page = Page(write_report([five], tmp_path / "page.html").read_text(encoding="utf-8"))
    page.assert_closed(shows_pictures=True)
    page.assert_usable_without_sight()
    page.assert_drawn_well(drawings=7, numbers=200)
    assert judged.mean_ap is not None
    assert f'<p class="big"><b>{100 * judged.mean_ap.value:.1f}' in page.html
    for words in ("Top-5", "top-1", "Rows: the truth", "confused", "Truth →", "right class"):
        assert words not in page.html, words
    assert f"a picture shows {judged.labels_a_picture:.3g} labels in the mean" in page.plain


def test_each_class_has_its_average_precision(five: Path, tmp_path: Path) -> None:
    p, truth = answers(200, 1.2, len(NAMES))
    page = Page(write_report([five], tmp_path / "page.html").read_text(encoding="utf-8"))
    rows = {row[1]: row for row in page.rows(7) if row[1] in NAMES}
    for k, name in enumerate(NAMES):
        expected = average_precision_score(truth[:, k], p[:, k])
        assert rows[name][2:4] == [f"{truth[:, k].sum()}", f"{100 * expected:.1f} %"], name


def test_the_rows_are_of_the_pictures_that_show_a_class(five: Path, tmp_path: Path) -> None:
    p, truth = answers(200, 1.2, len(NAMES))
    page = Page(write_report([five], tmp_path / "page.html").read_text(encoding="utf-8"))
    titles = [
        one.get("title", "").replace("\u2068", "").replace("\u2069", "").replace("\xa0", " ") for one in page.all("td")
    ]
    called = p >= 0.5
    there = truth[:, 0] == 1
    hits, beside = int(called[there, 0].sum()), int((called[there, 3] & (truth[there, 3] == 0)).sum())
    assert (
        f"ants called for {hits} of {there.sum()} pictures that show ants ({100 * hits / there.sum():.1f} %)" in titles
    )
    assert any(one.startswith(f"hive called for {beside} of {there.sum()} pictures that show ants") for one in titles)


def test_without_mistakes_the_page_says_so(tmp_path: Path) -> None:
    page = Page(write_report([several_run(tmp_path / "perfect", skill=50.0)]).read_text(encoding="utf-8"))
    assert "There were none." in page.plain
    assert "No class was called for a picture that shows another." in page.plain


def test_a_run_that_has_not_ended_says_how_precise_it_was(five: Path, tmp_path: Path) -> None:
    run = several_run(tmp_path / "run")
    (run / runs.EVALUATION).unlink()
    page = Page(write_report([run]).read_text(encoding="utf-8"))
    assert "after epoch 6 the mean average precision of the validation pictures was 60.0 %" in page.plain


def test_pages_have_nothing_left_in_english(five: Path, tmp_path: Path, in_chinese: None) -> None:
    poor = several_run(tmp_path / "poor", skill=0.0, seed=1)
    repeated = several_run(tmp_path / "again", seed=2)
    for place, those in (("one", [five]), ("two", [five, repeated]), ("other", [poor])):
        page = write_report(those, tmp_path / f"{place}.html").read_text(encoding="utf-8")
        assert still_english(page) == set(), place


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_figures_are_refused_or_make_a_whole_page(five: Path, tmp_path: Path, data: st.DataObject) -> None:
    run, tree = copied_once(five, tmp_path / "run"), json.loads((five / runs.EVALUATION).read_text())
    *way, last = data.draw(st.sampled_from([way for way in leaves(tree) if way]))
    place = tree
    for key in way:
        place = place[key]
    place[last] = data.draw(st.sampled_from([None, -1, 0, 1, 10**9, 0.5, "x", [], {}, True]))
    (run / runs.EVALUATION).write_text(json.dumps(tree))
    page_or_refusal(lambda: write_report([run]), run / runs.EVALUATION)


def test_of_many_pictures_an_order_by_chance_scores_the_share_that_shows(judged: Evaluation) -> None:
    """And the sum that is exact, of 3,000, is met by the one that is used."""
    first, n = structs.replace(judged.per_class[0], images=2 * 10**8), 10**9
    many = structs.replace(judged, images=n, per_class=(first,), confusion=((0,),), by_threshold=())
    assert many.mean_ap_by_chance == pytest.approx(0.2)
    h = sum(1 / i for i in range(1, 3001)) / 3000
    some = structs.replace(many, images=3000, per_class=(structs.replace(first, images=30),))
    assert some.mean_ap_by_chance == pytest.approx(h + (1 - h) * 29 / 2999, rel=1e-7)


@in_browser
def test_the_map_of_many_classes_reads_as_called(tmp_path: Path, browse: Browse) -> None:
    names = [f"class {i}" for i in range(30)]
    run = several_run(tmp_path / "run", names, n=60, epochs=2)
    html = write_report([run]).read_text(encoding="utf-8")
    press = """<script>const box = document.querySelector(".heat");
    for (const key of ["ArrowRight", "ArrowDown", "ArrowDown"])
      box.dispatchEvent(new KeyboardEvent("keydown", { key }));
    document.body.dataset.said = document.querySelector(".readout").textContent;</script></body>"""
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", press)
    (tmp_path / "pressed.html").write_text(html, encoding="utf-8")
    dom, console = browse(tmp_path / "pressed.html")
    assert console == []
    said = Page(dom).all("body")[0]["data-said"].replace("\u2068", "").replace("\u2069", "")
    p, truth = answers(60, 1.2, 30)
    there = truth[:, 2] == 1
    count = int(((p[:, 1] >= 0.5) & (truth[:, 1] == 0))[there].sum())
    assert said.startswith(f"class 1 called for {count} of {there.sum()} pictures that show class 2")


# --- several runs --------------------------------------------------------------------------------


def test_the_most_precise_is_named_whichever_is_oftener_right(five: Path, judged: Evaluation, tmp_path: Path) -> None:
    other = several_run(tmp_path / "other")
    assert judged.mean_ap is not None
    change(other / runs.EVALUATION, mean_ap=to_json(measure(judged.mean_ap.value - 0.02)), top1=to_json(measure(0.999)))
    page = Page(write_report([other, five], tmp_path / "two.html").read_text(encoding="utf-8"))
    assert re.search(r"B \(five\) has the highest mean average precision: 87", page.plain)
    assert "McNemar" not in page.plain
    assert "leaves open which is better" in page.plain
    assert [one["data-head"] for one in page.all("td") if "data-head" in one].count("mean AP") == 2


def sweep_record(five: Path, values: tuple[float, ...]) -> SweepRecord:
    found = Combination(
        values={"lr": "0.1"}, runs=("a", "b"), failed=(), test=None, seconds=quantity("training", (10.0, 12.0), "s"),
        accuracy=quantity("mean average precision", values, "%"), training=1e6, inference=1000, parameters=100,
        standing="front",
    )  # fmt: skip
    environment = runs.read_run(five).environment
    assert environment is not None
    return SweepRecord(
        kind="sweep", data="d", command="residuum sweep", over={"lr": ("0.1",)}, seeds=(0, 1), cost="training",
        several=True, judged_on="validation", settings={}, combinations=(found, replace_values(found)), notes=(),
        environment=environment,
    )  # fmt: skip


def replace_values(one: Combination) -> Combination:
    return structs.replace(one, values={"lr": "0.2"}, accuracy=quantity("mean average precision", (50.0, 51.0), "%"))


def test_a_sweep_compares_by_mean_average_precision(
    five: Path, judged: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.read_run(five)
    assert run.evaluation is not None
    assert judged.mean_ap is not None
    assert accuracy(run) == (run.epochs[-1].validation_map, "validation")
    without = [structs.replace(one, validation_map=None, validation_accuracy=None) for one in run.epochs]
    assert accuracy(replace(run, metrics=without)) == (judged.mean_ap.value, "test")
    monkeypatch.setattr("residuum.sweeps.run.is_finished", lambda _folder: True)
    judging = _judged({}, {0: five}, {})
    assert (judging.several, judging.splits) == (True, {"validation"})
    view = view_sweep(sweep_record(five, (60.0, 62.0)))
    assert "with mean average precision 61 ± 1.41" in view.sentence
    assert view.heads[2] == "mean average precision"
    assert "accura" not in " ".join([view.sentence, *(words for _, words in view.kinds)])
    written = to_json(structs.replace(sweep_record(five, (60.0, 62.0)), several=False))
    assert "several" not in written  # as files of 0.1 are
    assert from_json(written, SweepRecord, "sweep.json").figure == "accuracy"


def test_a_sweeps_page_has_nothing_left_in_english(five: Path, tmp_path: Path, in_chinese: None) -> None:
    (tmp_path / runs.SWEEP).write_text(json.dumps(to_json(sweep_record(five, (60.0, 62.0)))), encoding="utf-8")
    assert still_english(write_report([tmp_path]).read_text(encoding="utf-8")) == set()


# --- trackers, cards, depth ----------------------------------------------------------------------


def test_trackers_are_handed_it(judged: Evaluation) -> None:
    assert judged.mean_ap is not None
    assert list(final_figures(judged)) == ["test/map", "test/top1", "test/macro_f1", "test/ece"]
    assert final_figures(judged)["test/map"] == judged.mean_ap.value
    assert list(final_figures(evaluation())) == ["test/top1", "test/macro_f1", "test/ece"]
    assert figures_of(epoch(10, validation_map=0.5))["epoch/validation_map"] == 0.5


def test_a_card_says_several_labels(five: Path, judged: Evaluation, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    made = load(small_model(tmp_path / "small.safetensors", ("a", "b", "c"), 16))
    run = several_run(tmp_path / "run", ["a", "b", "c"])
    found = read_record(run / runs.EVALUATION, Evaluation)
    about = Provenance(several=True, metrics=found.figures())
    save_classifier(run / runs.MODEL, made.net, SPEC, ("a", "b", "c"), made.preprocessing, about)
    card = write_card(CardSettings(run)).read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---\n")[1])
    assert "multi-label" in head["tags"]
    assert head["metrics"] == ["mean_average_precision", "f1"]
    (result,) = head["model-index"][0]["results"]
    assert found.mean_ap is not None
    assert result["metrics"][0]["value"] == pytest.approx(found.mean_ap.value)
    assert [one["type"] for one in result["metrics"]] == head["metrics"]
    assert "which of 3 classes a picture shows, any number of them" in card
    assert f"| mean average precision | {found.mean_ap.value:.2%} |" in card
    assert f"| likeliest label right | {found.top1.value:.2%} |" in card
    first = found.per_class[0]
    assert f"| a | {first.images} | {first.average_precision:.2%} | {first.precision.value:.2%} |" in card
    assert "Its mean average precision was measured on 200 pictures" in card
    assert "accuracy" not in card.replace("accuracy of", "")


@pytest.mark.parametrize("kind", ["lesion", "trim"])
def test_what_depth_is_worth_says_what_right_means(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = fake_lesion() if kind == "lesion" else fake_trim()
    content["data"]["several"] = True
    (tmp_path / f"{kind}.json").write_text(json.dumps(content), encoding="utf-8")
    page = Page(write_depth_report(tmp_path).read_text(encoding="utf-8"))
    assert "accuracy is the share whose likeliest label is right" in page.plain
    assert "names" not in page.plain.partition("Before you quote")[0]
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert still_english(write_depth_report(tmp_path).read_text(encoding="utf-8")) == set()
    if kind == "lesion":
        told = list(lines(from_json(content, Lesion, "")))
        assert sum("the share whose likeliest label is right" in one for one in told) == 1
    else:
        assert from_json(content, Trim, "").data.several


def test_what_a_run_of_few_photographs_says_has_its_chinese() -> None:
    said = {
        "answers averaged with the mirror image's: 81.20% with their likeliest label right (loss 0.231, 0.240 "
        "without): both are asked from here on",
        "the last stage tuned: 81.20% of 200 pictures not seen with their likeliest label right (loss 0.231), the "
        "head alone 80.10% (loss 0.240): the tuned net is kept",
    }
    assert {one for one in said if re.search("[A-Za-z]{3}", chinese.said(one))} == set()
    assert are_right(np.zeros((2, 3), np.uint8)) == "with their likeliest label right"
    assert are_right(np.zeros(2, np.int64)) == "right"


def test_a_class_that_no_picture_shows_and_one_label_beside_several_make_a_page(five: Path, tmp_path: Path) -> None:
    odd = several_run(tmp_path / "odd")
    per_class = json.loads((odd / runs.EVALUATION).read_text())["per_class"]
    change(odd / runs.EVALUATION, per_class=[{**per_class[0], "images": 0}, *per_class[1:]])
    one = write_run(tmp_path / "one", NAMES)
    page = Page(write_report([odd, five, one], tmp_path / "three.html").read_text(encoding="utf-8"))
    assert "These runs were judged on different pictures, so none of them can be called the best" in page.plain
    assert page.html.count('<td data-head="mean AP">–</td>') == 1


def test_a_mistake_names_the_label_it_is_about(five: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copied_once(five, tmp_path / "run")
    found = json.loads((run / runs.MISTAKES).read_text(encoding="utf-8"))
    first = found[0] | {"about": "ants", "missed": True, "confidence": 0.75}
    change_list = [first, first | {"missed": False}]
    (run / runs.MISTAKES).write_text(json.dumps(change_list), encoding="utf-8")
    page = Page(write_report([run], tmp_path / "page.html").read_text(encoding="utf-8")).plain
    assert "75.0 % sure that ants is not there" in page
    assert "75.0 % sure that ants is there" in page
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    page = Page(write_report([run], tmp_path / "zh.html").read_text(encoding="utf-8")).plain
    assert "的把握认为图中没有" in page
