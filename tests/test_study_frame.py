"""The frame of studies: the verdict's rule, runs kept by their settings, and the command."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from corpus.warm import Started, Warm
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from processes import living
from scipy.stats import fisher_exact
from study_words import left_in_english

from residuum import runs
from residuum.data.open import open_data
from residuum.dispatch.here import train_side_by_side
from residuum.dispatch.job import Ended, open_pictures_of, trained_by_another
from residuum.errors import Stopped, UserError
from residuum.files import read_json
from residuum.records.codec import read_record, to_json, write_record
from residuum.records.study import Bar, Bars, Compared, Line, Part, Quantity, StudyRecord, Words
from residuum.settings import StudySettings, TrainSettings
from residuum.studies import catalogue, degradation
from residuum.studies.catalogue import open_study, texts
from residuum.studies.charts import mean_line
from residuum.studies.examined import runs_of
from residuum.studies.frame import Findings, Setup, Study, quantity
from residuum.studies.run import chosen, listed, record, rounded, run_studies
from residuum.studies.trained import common, in_small, loss_curve, net_settings, trained
from residuum.studies.verdict import Comparison, Rule, above, below, decide, not_above
from residuum.training.resolve import resolve

# --- figures and verdicts -----------------------------------------------------------------------


def figure(*values: float, exact: bool = False) -> Quantity:
    return quantity("it", values, "%", exact=exact)


def holds(one: Comparison, a: Quantity, b: Quantity | None = None) -> bool | None:
    """Whether the comparison of "a" with "b", or with a number, holds of these figures."""
    (part,) = one.parts({"a": a} | ({} if b is None else {"b": b}))
    return part.holds


def test_mean_and_spread_are_those_of_a_sample() -> None:
    it = figure(1.0, 2.0, 6.0)
    assert (it.mean, it.sd) == (3.0, pytest.approx(math.sqrt(7)))
    assert it.standard_error == pytest.approx(math.sqrt(7 / 3))
    assert str(it) == "3 ± 2.65 %"
    assert figure(1.0).sd is None
    assert math.isnan(figure(1.0).standard_error)
    assert figure(1.0, exact=True).standard_error == 0


@pytest.mark.parametrize(
    ("a", "b", "by", "expected"),
    [
        (figure(10, 11, 12), figure(1, 2, 3), 0.0, True),
        (figure(1, 2, 3), figure(10, 11, 12), 0.0, False),
        (figure(1, 2, 3), figure(1, 2, 4), 0.0, None),  # within two standard errors
        (figure(10, 11, 12), figure(1, 2, 3), 9.0, None),
        (figure(10, 11, 12), figure(1, 2, 3), 20.0, False),
        (figure(10), figure(1, 2, 3), 0.0, None),  # one seed says nothing of its spread
        (figure(10, exact=True), 9.0, 0.0, True),
        (figure(9, exact=True), 10.0, 0.0, False),
        (figure(math.nan, 1.0), 0.0, 0.0, None),
    ],
)
def test_two_standard_errors_decide(a: Quantity, b: Quantity | float, by: float, expected: bool | None) -> None:
    other, q = (b, {"a": a}) if isinstance(b, float) else ("b", {"a": a, "b": b})
    assert [part.holds for part in above("a", other, by).parts(q)] == [expected]
    assert [part.holds for part in not_above("a", other, by).parts(q)] == [None if expected is None else not expected]


def test_two_alike_are_neither_above_nor_below_each_other() -> None:
    nine = figure(9, 9)
    assert holds(above("a", 9.0), nine) is None
    assert holds(below("a", "b"), nine, figure(9, exact=True)) is None
    assert holds(not_above("a", 9.0), nine) is True


def test_below_is_above_turned_round() -> None:
    low, high = figure(1, 2, 3), figure(10, 11, 12)
    assert holds(below("a", "b"), low, high) is True
    assert holds(below("a", "b"), high, low) is False
    assert holds(below("a", "b", by=20.0), low, high) is False


values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=5).map(tuple)


@settings(max_examples=50, deadline=None)
@given(values, values)
def test_never_are_both_directions_held(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    first, second = quantity("a", a), quantity("b", b)
    one_way, other_way = holds(above("a", "b"), first, second), holds(above("a", "b"), second, first)
    assert not (one_way and other_way)
    assert one_way == holds(below("a", "b"), second, first)


def test_a_part_names_both_figures() -> None:
    q = {"a": figure(1, 2, 3), "b": figure(4, 5, 6)}
    (number,), (figures,) = above("a", 0.5, by=0.25).parts(q), not_above("a", "b").parts(q)
    assert number.words == "it (2 ± 1 %) above 0.5 by more than 0.25"
    assert figures.words == "it (2 ± 1 %) not above it (5 ± 1 %)"
    (by,) = not_above("a", "b", by=0.5).parts(q)
    assert number.compared == Compared("it", "2 ± 1 %", "above", "0.5", by="0.25")
    assert number.said == number.words
    assert figures.said == "it (2 ± 1 %) at most it (5 ± 1 %)"  # "the figures do not say: not above" says it twice
    assert by.said == "it (2 ± 1 %) at most 0.5 above it (5 ± 1 %)"


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ((True, True), "supported"),
        ((True, None), "undecided"),
        ((True, False), "contradicted"),
        ((None, False), "contradicted"),
    ],
)
def test_a_claim_is_as_good_as_its_parts(parts: tuple[bool | None, ...], answer: str) -> None:
    assert decide([Part("", one) for one in parts]).answer == answer


def test_a_mean_line_is_over_the_places_all_seeds_have() -> None:
    line = mean_line("loss", [((0, 1.0), (1, 3.0), (2, 9.0)), ((0, 3.0), (1, 5.0))])
    assert line.points == ((0, 2.0), (1, 4.0))
    assert len(line.seeds) == 2


# --- degradation's predicate --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "residual", "answer"),
    [
        ((30, 50), (30, 25), "supported"),
        ((50, 30), (30, 25), "contradicted"),
        ((30, 50), (30, 60), "contradicted"),
        ((30, 30), (30, 25), "undecided"),
    ],
)
def test_degradation_is_judged_by_training_error(
    plain: tuple[float, float], residual: tuple[float, float], answer: str
) -> None:
    def spread(mean: float) -> Quantity:
        return figure(mean - 1, mean, mean + 1)

    figures = {
        "plain-shallow": spread(plain[0]),
        "plain-deep": spread(plain[1]),
        "resnet-shallow": spread(residual[0]),
        "resnet-deep": spread(residual[1]),
    }
    assert degradation.RULE.judge(figures).answer == answer


def of_pictures(count: int, *values: float) -> Quantity:
    return replace(figure(*values), pictures=count)


def test_the_luck_of_few_pictures_decides_nothing() -> None:
    # digits, 20 passes, three seeds: 4 and 11 of 1,292 pictures wrong, seeds alike by chance
    shallow, deep = (0.46875, 0.078125, 0.3125), (0.859375, 0.859375, 0.9375)
    one = not_above("deep", "shallow")
    assert [part.holds for part in one.parts({"deep": figure(*deep), "shallow": figure(*shallow)})] == [False]
    figures = {"deep": of_pictures(1292, *deep), "shallow": of_pictures(1292, *shallow)}
    assert [part.holds for part in one.parts(figures)] == [None]
    many = {"deep": of_pictures(1_000_000, *deep), "shallow": of_pictures(1_000_000, *shallow)}
    assert [part.holds for part in one.parts(many)] == [False]


@given(st.integers(0, 40), st.integers(0, 40))
def test_two_standard_errors_of_pictures_are_an_exact_test_of_them(first: int, second: int) -> None:
    """Where seeds agree, what is said to differ does so by Fisher's exact test, too, at a level near two errors'."""
    n = 1000
    q = {"a": of_pictures(n, *[first / 10] * 3), "b": of_pictures(n, *[second / 10] * 3)}
    (part,) = above("a", "b").parts(q)
    if part.holds is not None:
        assert fisher_exact([[first, n - first], [second, n - second]]).pvalue < 0.1


@pytest.mark.usefixtures("few_digits")
def test_degradation_measures_what_its_runs_say(studies: Path) -> None:
    setup = Setup("tiny", (0, 1), studies, threads=1)
    found = degradation.measure(setup)
    assert left_in_english(found) == set()
    run = trained(setup, [net_settings(setup, "plain20", 1, blocks=(1, 1, 1))])[0]
    assert run.evaluation is not None
    error = 100 * (1 - run.evaluation.top1.value)
    assert found.quantities["plain8-test"].values[1] == pytest.approx(error)
    assert len(found.quantities["resnet20-train"].values) == 2
    by_pass = next(chart for chart in found.charts if chart.title == "Error by pass, plain")
    assert [line.label for line in by_pass.lines] == [
        f"plain{depth}, {words}" for depth in (8, 20) for words in ("training", "held out")
    ]
    held_out = [line.validation_accuracy for line in run.epochs]
    assert by_pass.lines[1].seeds[1] == ((1.0, pytest.approx(100 * (1 - held_out[0]))),)
    assert found.tables == ()  # the paper's figures are of its own recipe: scale full has them beside


@pytest.mark.usefixtures("few_digits")
def test_small_nets_are_called_as_deep_as_they_are(studies: Path) -> None:
    setup = Setup("tiny", (0, 1), studies, threads=1)
    found = degradation.measure(setup)
    nets = [(kind, depth) for kind in degradation.KINDS for depth in degradation.DEPTHS["tiny"]]
    used = [run for records in runs_of(setup, nets).values() for run in records]
    assert [run.settings.summary.depth for run in used[::2]] == [depth for _, depth in nets]
    assert all(f"{kind}{depth}-train" in found.quantities for kind, depth in nets)
    assert [x for x, _ in found.charts[0].lines[0].points] == [8, 20]
    assert "from 8 to 20 layers" in found.measured.en
    assert {name: common(used)[name] for name in ("blocks", "widths")} == {
        "blocks": ["1 1 1", "3 3 3"],
        "widths": "4 8 16",
    }


@pytest.mark.usefixtures("few_digits")
def test_a_net_smaller_than_its_name_is_said_to_be(studies: Path) -> None:
    setup = Setup("tiny", (0,), studies, threads=1)
    (small,) = trained(setup, [net_settings(setup, "resnet56", 0, blocks=(2, 2, 2))])
    (note,) = in_small([small, small])
    assert note == "Smaller than the net of its name, resnet56 has 14 layers, blocks 2 2 2, widths 4 8 16 here."
    assert left_in_english((note,)) == set()
    as_deep = [
        net_settings(setup, "resnet20", 0, blocks=(3, 3, 3), widths=widths) for widths in ((4, 8, 16), (16, 32, 64))
    ]
    narrow, whole = trained(setup, as_deep)
    assert in_small([narrow]) == (
        "Smaller than the net of its name, resnet20 has 20 layers, blocks 3 3 3, widths 4 8 16 here.",
    )
    assert in_small([whole]) == ()


@pytest.mark.parametrize("name", ["propagation", "shattering", "identity"])
def test_what_is_wanted_comes_before_what_takes_long(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_wanted: object) -> None:
        raise UserError("no such pictures")

    def untimely(*_given: object, **_more: object) -> None:
        raise AssertionError("computed before the pictures were looked for")

    monkeypatch.setattr("residuum.studies.trained.run_folder", nowhere)
    for step in ("propagation.gradient_norms", "propagation.identity_errors", "shattering.slopes"):
        monkeypatch.setattr(f"residuum.studies.{step}", untimely)
    monkeypatch.setattr("residuum.studies.identity.train_shallow", untimely)
    with pytest.raises(UserError, match="no such pictures"):
        open_study(name).measure(Setup("quick", (0,), tmp_path, threads=1))


def test_the_papers_error_is_reached_within_two_standard_deviations() -> None:
    assert degradation.reached(figure(8.8, 9.0, 9.2), 8.75) == "yes"
    assert degradation.reached(figure(9.8, 9.9, 10.0), 8.75) == "no"
    assert degradation.reached(figure(8.0), 8.75) == "one seed has no spread"


def test_at_full_scale_the_papers_recipe_is_trained(tmp_path: Path) -> None:
    setup = Setup("full", (0,), tmp_path, data="digits", threads=1)
    asked = net_settings(setup, "resnet20", 0)
    assert (asked.recipe, asked.epochs, asked.validation) == ("he2015_cifar", None, 0.0)
    resolved = resolve(asked)
    assert (resolved.recipe.iterations, resolved.recipe.batch_size) == (64_000, 128)
    run = trained(setup, [net_settings(setup, "resnet20", 0, epochs=1, blocks=(1, 1, 1))])[0]
    assert run.metrics[-1].step == 1437 // 128
    assert loss_curve(run, places=2)[0][1] > 1.0


# --- runs ---------------------------------------------------------------------------------------


def tiny(setup: Setup, seed: int = 0, **choices: object) -> TrainSettings:
    return net_settings(setup, "resnet20", seed, **choices)


@pytest.mark.usefixtures("few_digits")
def test_a_run_is_trained_once_and_shared(tmp_path: Path) -> None:
    setup = Setup("tiny", (0,), tmp_path, threads=1)
    first = trained(setup, [tiny(setup)])[0]
    written = (first.path / runs.MODEL).stat().st_mtime_ns
    again = trained(setup, [tiny(setup)])[0]
    assert (again.path, (again.path / runs.MODEL).stat().st_mtime_ns) == (first.path, written)
    other = trained(setup, [tiny(setup, lr=0.01)])[0]
    assert other.path != first.path


@pytest.mark.usefixtures("few_digits")
def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    setup = Setup("tiny", (0,), tmp_path, threads=1)
    whole = trained(setup, [tiny(setup)])[0]
    model = (whole.path / runs.MODEL).read_bytes()
    (whole.path / runs.MODEL).unlink()  # as if it had been killed at once: nothing to go on from
    again = trained(setup, [tiny(setup)])[0]
    assert [line.train_loss for line in again.epochs] == [line.train_loss for line in whole.epochs]
    assert len((again.path / runs.MODEL).read_bytes()) == len(model)


@pytest.mark.usefixtures("warm_python")
def test_runs_go_side_by_side_and_are_the_same_runs(tmp_path: Path) -> None:
    alone, together = (Setup("tiny", (0, 1), tmp_path / name, threads=n) for name, n in (("a", 1), ("b", 2)))
    # recipe quick's optimiser is our own: torch's loads torch's compiler, in each process
    few_steps = {"recipe": "quick", "batch_size": 512}
    one, other = (trained(m, [tiny(m, seed, **few_steps) for seed in (0, 1)]) for m in (alone, together))
    for a, b in zip(one, other, strict=True):
        assert a.path.name == b.path.name
        assert a.evaluation == b.evaluation
    assert [path.name for path in (tmp_path / "b" / "runs").iterdir() if path.suffix] == []


@pytest.mark.usefixtures("warm_python")
def test_what_a_failed_run_said_is_passed_on(tmp_path: Path) -> None:
    settings = tiny(Setup("tiny", (0,), tmp_path), 0, stride_in="1x1")
    (ended,) = train_side_by_side({tmp_path / "runs" / "resnet20-s0": settings}, 1, lambda: None)
    assert str(ended.fault).startswith("training resnet20-s0 failed")
    assert "a basic block cannot stride in a 1×1 convolution" in str(ended.fault)
    assert "its words are in" in str(ended.fault)


# --- the command --------------------------------------------------------------------------------


def test_every_study_is_told_whole() -> None:
    assert len(texts()) == 20
    for name, told in texts().items():
        study = open_study(name)
        for words in (told.title, told.question, told.claim):
            assert words.en
            assert any("\u4e00" <= letter <= "\u9fff" for letter in words.zh), name
        assert "Supported" in str(study.rule)
        assert "ontradicted" in str(study.rule)
        assert told.source


def test_the_list_needs_no_torch() -> None:
    listing = "import sys; from residuum.studies.run import listed; print(len(listed()), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["20", "False"]


def test_every_study_has_its_texts_and_its_file() -> None:
    files = {path.stem for path in Path(catalogue.__file__).parent.glob("*.py")}
    with_rules = {name for name in files if hasattr(import_module(f"residuum.studies.{name}"), "RULE")}
    assert with_rules == {name.replace("-", "_") for name in texts()}


@pytest.mark.parametrize("missing", ["title.zh", "question.en", "source"])
def test_a_text_that_is_missing_is_refused(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = catalogue.TEXTS.read_text(encoding="utf-8").splitlines()
    lines.remove(next(line for line in lines if line.startswith(missing)))
    (tmp_path / "studies.toml").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(catalogue, "TEXTS", tmp_path / "studies.toml")
    field = missing.rpartition(".")[2]
    with pytest.raises(UserError, match=rf"(?s)studies\.toml.*missing required field `{field}`"):
        catalogue.texts.__wrapped__()


# --- rules --------------------------------------------------------------------------------------

RESULTS = sorted((Path(__file__).parent.parent / "results" / "studies").glob("*.json"))


@pytest.mark.parametrize("name", texts())
def test_a_rule_names_each_of_its_quantities(name: str) -> None:
    rule = open_study(name).rule
    used = {it for one in rule.claim for it in (*one.ones, *one.others) if isinstance(it, str)}
    assert used == set(rule.words)
    assert all(text in str(rule) for text in rule.words.values())
    assert left_in_english(str(rule)) == set()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_stored_figures_are_judged_as_they_were(path: Path) -> None:
    stored = read_record(path, StudyRecord)
    assert open_study(stored.name).rule.judge(stored.quantities) == stored.verdict


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_of_one_seed_only_what_leaves_nothing_to_chance_is_decided(path: Path) -> None:
    """Every study's figures, cut to the first seed, give the verdict that they give without any value."""
    stored = read_record(path, StudyRecord)
    cut, unknown = (
        {key: one if one.exact else quantity(one.label, values, one.unit) for key, one in stored.quantities.items()}
        for values in ((1.0,), (math.nan,))
    )
    judge = open_study(stored.name).rule.judge
    assert [part.holds for part in judge(cut).parts] == [part.holds for part in judge(unknown).parts]


def test_one_seed_says_that_it_has_no_spread(tmp_path: Path) -> None:
    def told(seeds: int, **figures: Quantity) -> StudyRecord:
        study = Study("lesions", texts()["lesions"], lambda _: found, Rule((above("a", 0.0),), {"a": "it"}))
        found = Findings(figures, Words("", ""))
        return record(study, Setup("quick", tuple(range(seeds)), tmp_path), found, 0.0)

    one, three = told(1, a=quantity("it", (9.0,))), told(3, a=quantity("it", (9.0, -9.0, 1.0)))
    assert one.answer == three.answer == "undecided"
    assert one.why == (
        "Holds: 0 of the claim's 1 parts. One seed has no spread, so nothing is decided of these: it (9) above 0."
    )
    assert "The figures do not say: it (0.3333" in three.why
    assert told(1, a=quantity("it", (9.0,), exact=True)).why == "Holds: 1 of the claim's 1 parts."
    assert told(1, a=quantity("it", (-9.0,), exact=True)).lacking == "Fails"


def test_the_words_of_a_rule_are_those_of_its_comparisons() -> None:
    rule = Rule(
        (above("a", ("b", "c")), not_above(("b", "c"), "a", by=2.0, unit="points"), below("a", 1e-5)),
        {"a": "one", "b": "another", "c": "a third"},
        where="In small nets.",
        besides="Counts are exact.",
    )
    assert str(rule) == (
        "In small nets. Supported: one is above both another and a third; another and a third are each not above one "
        "by more than 2 points; and one is below 1e-5. Contradicted: any of these is the other way round. Only a "
        "difference of more than two of its standard errors says that a part holds or fails; closer figures say "
        "nothing. Counts are exact."
    )
    turned = Rule((below("a", "b"),), rule.words)
    assert "it is the other way round. Only a difference" in str(turned)
    assert "clearly below" not in str(turned)
    assert str(Rule((not_above("a", "b"),), rule.words)).endswith("so “not above” has to be clearly below.")


def test_of_one_given_net_nothing_is_decided_and_no_seed_is_said(tmp_path: Path) -> None:
    found = Findings({"a": quantity("a", (1.0, 3.0), of="block")}, Words("", ""), pictures="9 validation pictures of x")
    study = Study("lesions", texts()["lesions"], lambda _: found, Rule((above("a", 0.0),), {"a": "it"}))
    given = record(study, Setup("quick", (0, 1, 2), tmp_path, model="runs/mine"), found, 0.0)
    assert (given.verdict, given.answer, given.seeds) == (None, None, ())
    assert given.pictures == "9 validation pictures of x"
    assert given.command == "residuum study lesions --scale quick --model runs/mine"
    own = record(study, Setup("quick", (0, 1, 2), tmp_path), found, 0.0)
    assert own.answer == "undecided"
    older = replace(own, examined="mine")  # as it was written before: with the seeds asked for and a verdict
    assert (older.verdict, older.answer) == (own.verdict, None)
    with pytest.raises(UserError, match="has no seeds"):
        chosen(StudySettings(("lesions",), model="run", seeds=4))


def test_figures_that_are_no_numbers_survive_the_file(tmp_path: Path) -> None:
    kept = quantity("it", (math.nan, math.inf, 1.0))
    rule = Rule((above("a", 0.0),), {"a": "it"})
    study = Study("it", texts()["degradation"], lambda _: found, rule)
    found = Findings({"a": kept}, Words("", ""), (Bars("", "", (Bar("", (math.nan,)),)),))
    write_record(tmp_path / "study.json", record(study, Setup("tiny", (0,), tmp_path), found, 0.0))
    read = read_record(tmp_path / "study.json", StudyRecord)
    assert repr(read.quantities["a"]) == repr(kept)
    assert repr(read.charts) == repr(found.charts)
    assert read.verdict.answer == "undecided"


@pytest.mark.usefixtures("few_digits")
def test_a_study_leaves_its_figures_and_what_repeats_it(studies: Path) -> None:
    settings = StudySettings(("degradation",), scale="tiny", seeds=2, threads=1, out=str(studies))
    (folder,) = run_studies(settings)
    content = read_json(folder / runs.STUDY)
    assert content["command"] == "residuum study degradation --scale tiny --seeds 2"
    assert content["verdict"]["answer"] in {"supported", "contradicted", "undecided"}
    one = content["quantities"]["plain20-train"]
    assert one["n"] == 2
    assert one["mean"] == pytest.approx(sum(one["values"]) / 2)
    assert content["environment"]["cores"] >= 1
    assert len(content["runs"]) == 8  # two kinds, two depths, two seeds
    nets = content["nets"]
    assert list(nets) == list(content["runs"])
    assert sorted({one["net"] for one in nets.values()}) == ["plain20", "plain8", "resnet20", "resnet8"]
    assert {one["seed"] for one in nets.values()} == {0, 1}
    assert all((one["blocks"] == [1, 1, 1]) == one["net"].endswith("8") for one in nets.values())
    assert str(studies) not in json.dumps(nets)
    assert all(name.startswith(("plain", "resnet")) and seconds > 0 for name, seconds in content["runs"].items())
    assert str(studies) not in json.dumps(content["command"])


@pytest.mark.usefixtures("few_digits")
def test_no_study_writes_over_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Findings({"a": figure(1.0)}, Words("", ""))
    study = Study("it", texts()["degradation"], lambda _: found, Rule((above("a", 0.0),), {"a": "it"}))
    monkeypatch.setattr("residuum.studies.run.open_study", lambda _: study)

    def folder(**asked: Any) -> str:
        (one,) = run_studies(StudySettings(("degradation",), out=str(tmp_path), **asked))
        return one.name

    for name in ("photos", "other/photos"):
        (tmp_path / "of" / name).mkdir(parents=True)
    monkeypatch.setattr("residuum.studies.run.open_pictures_of", lambda _: open_data("digits"))
    asked: list[dict[str, Any]] = [{}, {"scale": "tiny"}, {"seeds": 1}, {"data": "digits"}]
    asked += [{"data": str(tmp_path / "of" / name)} for name in ("photos", "other/photos")]
    asked += [{"shuffle": "as-0.1"}]
    names = ["it", "it-tiny", "it-1-seed", "it-digits", "it-photos", "it-photos-2", "it-as-0.1"]
    assert [folder(**one) for one in asked] == names
    kept = {name: (tmp_path / name / runs.STUDY).read_bytes() for name in names}
    assert [folder(**one) for one in asked] == names  # the same command again
    assert len(list(tmp_path.glob("*/study.json"))) == len(names)
    (tmp_path / "it" / runs.STUDY).write_bytes(kept["it-digits"])  # as versions before 0.2 named it
    assert folder() == "it-2"
    assert (tmp_path / "it" / runs.STUDY).read_bytes() == kept["it-digits"]


def test_a_study_trains_in_the_order_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = list[TrainSettings]()

    def train_all(wanted: dict[Path, TrainSettings], *_: object) -> Iterator[Ended]:
        jobs.extend(wanted.values())
        yield Ended(tmp_path, UserError("not trained"))

    monkeypatch.setattr("residuum.studies.trained.train_all", train_all)
    for shuffle in (None, "as-0.1"):
        asked = StudySettings(("degradation",), scale="tiny", seeds=1, shuffle=shuffle, out=str(tmp_path))
        with pytest.raises(UserError, match="not trained"):
            list(run_studies(asked))
    assert [one.shuffle for one in jobs] == [None] * 4 + ["as-0.1"] * 4
    with pytest.raises(UserError, match="nothing is shuffled"):
        chosen(StudySettings(("lesions",), model="run", shuffle="as-0.1"))


def test_a_picture_keeps_five_digits() -> None:
    line = Line("a", ((1 / 3, 123456.7), (2, math.nan)))
    kept = rounded([to_json(line)])[0]
    assert kept["label"] == "a"
    assert kept["points"][0] == [0.33333, 123460.0]
    assert kept["points"][1][0] == 2
    assert math.isnan(kept["points"][1][1])


def test_names_are_checked_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match="did you mean degradation"):
        chosen(StudySettings(("degradatoin",)))
    with pytest.raises(UserError, match="which study"):
        chosen(StudySettings())
    with pytest.raises(UserError, match="cannot examine a model"):
        chosen(StudySettings(("degradation",), model="run"))
    assert chosen(StudySettings(("all",))) == list(texts())
    examining = chosen(StudySettings(("all",), model="run"))
    assert examining
    assert all(texts()[name].examines for name in examining)


def test_studies_are_listed_in_the_language_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for language in ("en", "zh"):
        monkeypatch.setenv("RESIDUUM_LANG", language)
        assert [row["question"] for row in listed()] == [getattr(told.question, language) for told in texts().values()]


@pytest.mark.usefixtures("few_digits")
def test_the_command_lists_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    study_command = partial(command, "study")
    code, listed, _ = study_command("--list")
    assert code == 0
    assert all(name in listed for name in texts())
    assert list(tmp_path.iterdir()) == []
    code, out, err = study_command("degradation", "--scale", "tiny", "--seeds", "1", "--threads", "1")
    assert code == 0, err
    assert (tmp_path / "studies" / "degradation-tiny-1-seed" / "report.html").is_file()
    assert (tmp_path / "studies" / "index.html").is_file()
    assert "undecided at scale tiny" in out  # one seed says nothing of the spread
    one_seed = "One seed has no spread, so nothing is decided of these: training error, plain20"
    assert f"Holds: 0 of the claim's 2 parts. {one_seed}" in out
    assert err.endswith("degradation: undecided at this scale\n")
    assert re.search(r"\d+ training pictures of digits, \d+ px", out)
    code, out, err = study_command("degradation", "--scale", "tiny", "--seeds", "2", "--dry-run", "--out", "planned")
    assert code == 0, err
    assert "index" not in out  # none was written
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out, err = study_command("degradation", "--scale", "tiny", "--seeds", "1", "--dry-run")
    assert (code, out) == (0, "")
    assert "there already: 4 nets" in err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before  # nor the pages of what was there


@pytest.mark.usefixtures("few_digits")
def test_no_study_measures_in_a_dry_run(tmp_path: Path) -> None:
    wanted = StudySettings(("all",), scale="tiny", seeds=1, dry_run=True, out=str(tmp_path))
    assert list(run_studies(wanted)) == []
    model = StudySettings(("lesions",), model="run", dry_run=True, out=str(tmp_path))
    assert list(run_studies(model)) == []
    assert not list(tmp_path.rglob(runs.STUDY))


@pytest.mark.usefixtures("few_digits")
def test_a_plan_leaves_network_and_clock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a plan fetches and times nothing")

    monkeypatch.setenv("RESIDUUM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("residuum.data.open.fetch", refused)
    monkeypatch.setattr("residuum.data.open.fetched_folder", lambda _: None)
    monkeypatch.setattr("residuum.compute.fastest", refused)
    open_pictures_of.cache_clear()
    for scale in ("quick", "tiny"):
        assert list(run_studies(StudySettings(("all",), scale=scale, dry_run=True, out=str(tmp_path / "o")))) == []
    said = capsys.readouterr().err
    assert "to be trained: 24 nets, less those that are there: cifar10 is not on this machine" in said
    assert "to be trained: 12 nets, of 1 pass\n" in said
    with pytest.raises(UserError, match="not on this machine"):
        list(run_studies(StudySettings(("degradation",), data="cifar100", dry_run=True)))


RESULTS = sorted((Path(__file__).parent.parent / "results" / "studies").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_what_a_study_takes_is_what_was_measured(path: Path) -> None:
    found = read_record(path, StudyRecord)
    assert (found.scale, found.seeds) == ("quick", (0, 1, 2))
    assert texts()[found.name].minutes == float(f"{(sum(found.runs.values()) + found.seconds) / 60:.2g}")


def test_the_list_is_in_the_language_asked_for(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    assert "* takes --model" in command("study", "--list")[1]
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert "可用 --model" in command("study", "--list")[1]


def started(warm: Warm, folder: Path) -> Started:
    """Start a study of tiny nets, two at a time; return its process once nets are being trained."""
    words = ["study", "degradation", "--scale", "tiny", "--seeds", "2", "--threads", "2", "--out", folder]
    process = warm.start(words)
    deadline = time.monotonic() + 60
    while not list(folder.glob("runs/*.log")) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def test_sigterm_stops_the_runs_too_and_the_same_command_goes_on(warm: Warm, tmp_path: Path) -> None:
    process = started(warm, tmp_path)
    os.kill(process.pid, signal.SIGTERM)
    ended = process.wait()
    assert ended.code == 143, ended.said
    assert "the same command goes on" in ended.said
    assert not living(tmp_path)


def test_runs_end_with_a_study_that_is_killed(warm: Warm, tmp_path: Path) -> None:
    process = started(warm, tmp_path)
    while not (children := living(tmp_path / "runs")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while living(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not living(tmp_path), children


def test_a_run_that_another_process_writes_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as another:
        another.enter_context(runs.only_writer(tmp_path))
        with pytest.raises(Stopped):
            trained_by_another(tmp_path, lambda: 143)
        threading.Timer(0.05, another.close).start()
        assert not trained_by_another(tmp_path, lambda: None)
    (tmp_path / runs.MODEL).touch()
    assert trained_by_another(tmp_path, lambda: None)
    assert capsys.readouterr().err.count("waiting for it") == 2
