"""The frame of studies: the verdict's rule, runs kept by their settings, and the command."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum import runs
from residuum.errors import UserError
from residuum.files import read_json
from residuum.settings import StudySettings, TrainSettings
from residuum.study import degradation
from residuum.study.catalogue import STUDIES
from residuum.study.charts import Line, mean_line
from residuum.study.frame import Means, Quantity, Study
from residuum.study.run import chosen, rounded, run_studies
from residuum.study.trained import loss_curve, net_settings, trained
from residuum.study.verdict import Part, above, below, decide, not_above
from residuum.training.resolve import resolve

# --- figures and verdicts -----------------------------------------------------------------------


def quantity(*values: float, exact: bool = False) -> Quantity:
    return Quantity("it", values, "%", exact)


def test_mean_and_spread_are_those_of_a_sample() -> None:
    it = quantity(1.0, 2.0, 6.0)
    assert (it.mean, it.sd) == (3.0, pytest.approx(math.sqrt(7)))
    assert it.standard_error == pytest.approx(math.sqrt(7 / 3))
    assert str(it) == "3 ± 2.65 %"
    assert quantity(1.0).sd is None
    assert math.isnan(quantity(1.0).standard_error)
    assert quantity(1.0, exact=True).standard_error == 0


@pytest.mark.parametrize(
    ("a", "b", "by", "holds"),
    [
        (quantity(10, 11, 12), quantity(1, 2, 3), 0.0, True),
        (quantity(1, 2, 3), quantity(10, 11, 12), 0.0, False),
        (quantity(1, 2, 3), quantity(1, 2, 4), 0.0, None),  # within two standard errors
        (quantity(10, 11, 12), quantity(1, 2, 3), 9.0, None),
        (quantity(10, 11, 12), quantity(1, 2, 3), 20.0, False),
        (quantity(10), quantity(1, 2, 3), 0.0, None),  # one seed says nothing of its spread
        (quantity(10, exact=True), 9.0, 0.0, True),
        (quantity(9, exact=True), 10.0, 0.0, False),
        (quantity(math.nan, 1.0), 0.0, 0.0, None),
    ],
)
def test_two_standard_errors_decide(a: Quantity, b: Quantity | float, by: float, holds: bool | None) -> None:
    assert above(a, b, by).holds is holds
    assert not_above(a, b, by).holds is (None if holds is None else not holds)


def test_two_alike_are_neither_above_nor_below_each_other() -> None:
    nine = quantity(9, 9)
    assert above(nine, 9.0).holds is None
    assert below(nine, quantity(9, exact=True)).holds is None
    assert not_above(nine, 9.0).holds is True


def test_below_is_above_turned_round() -> None:
    low, high = quantity(1, 2, 3), quantity(10, 11, 12)
    assert below(low, high).holds is True
    assert below(high, low).holds is False
    assert below(low, high, by=20.0).holds is False


values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=5).map(tuple)


@given(values, values)
def test_never_are_both_directions_held(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    first, second = Quantity("a", a), Quantity("b", b)
    assert not (above(first, second).holds and above(second, first).holds)
    assert above(first, second).holds == below(second, first).holds


def test_a_part_names_both_figures() -> None:
    assert above(quantity(1, 2, 3), 0.5, by=0.25).words == "it (2 ± 1 %) above 0.5 by more than 0.25"
    assert not_above(quantity(1, 2, 3), quantity(4, 5, 6)).words == "it (2 ± 1 %) not above it (5 ± 1 %)"


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
    assert decide(*(Part("", holds) for holds in parts)).answer == answer


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
        return quantity(mean - 1, mean, mean + 1)

    figures = {
        "plain-shallow": spread(plain[0]),
        "plain-deep": spread(plain[1]),
        "resnet-shallow": spread(residual[0]),
        "resnet-deep": spread(residual[1]),
    }
    assert degradation.judge(figures).answer == answer


def test_degradation_measures_what_its_runs_say(studies: Path) -> None:
    means = Means("tiny", (0, 1), studies, threads=1)
    found = degradation.measure(means)
    run = trained(means, [net_settings(means, "plain20", 1, blocks=(1, 1, 1))])[0]
    assert run.evaluation is not None
    error = 100 * (1 - run.evaluation.top1.value)
    assert found.quantities["plain20-test"].values[1] == pytest.approx(error)
    assert len(found.quantities["resnet32-train"].values) == 2
    by_pass = next(chart for chart in found.charts if chart.title == "Error by pass, plain")
    assert [line.label for line in by_pass.lines] == [
        f"plain{depth}, {words}" for depth in (20, 32) for words in ("training", "held out")
    ]
    held_out = [line.validation_accuracy for line in run.epochs]
    assert by_pass.lines[1].seeds[1] == ((1.0, pytest.approx(100 * (1 - held_out[0]))),)
    assert [row[2] for row in found.tables[0].rows] == ["not run"] * 5
    assert found.tables[0].rows[0][1] == "8.75 %"


def test_the_papers_error_is_reached_within_two_standard_deviations() -> None:
    assert degradation.reached(quantity(8.8, 9.0, 9.2), 8.75) == "yes"
    assert degradation.reached(quantity(9.8, 9.9, 10.0), 8.75) == "no"
    assert degradation.reached(quantity(8.0), 8.75) == "one seed has no spread"


def test_at_full_scale_the_papers_recipe_is_trained(tmp_path: Path) -> None:
    means = Means("full", (0,), tmp_path, data="digits", threads=1)
    asked = net_settings(means, "resnet20", 0)
    assert (asked.recipe, asked.epochs, asked.validation) == ("he2015_cifar", None, 0.0)
    resolved = resolve(asked)
    assert (resolved.recipe.iterations, resolved.recipe.batch_size) == (64_000, 128)
    run = trained(means, [net_settings(means, "resnet20", 0, epochs=1)])[0]
    assert run.metrics[-1].step == 1437 // 128
    assert loss_curve(run, places=2)[0][1] > 1.0


# --- runs ---------------------------------------------------------------------------------------


def tiny(means: Means, seed: int = 0, **choices: object) -> TrainSettings:
    return net_settings(means, "resnet20", seed, **choices)


def test_a_run_is_trained_once_and_shared(tmp_path: Path) -> None:
    means = Means("tiny", (0,), tmp_path, threads=1)
    first = trained(means, [tiny(means)])[0]
    written = (first.path / runs.MODEL).stat().st_mtime_ns
    again = trained(means, [tiny(means)])[0]
    assert (again.path, (again.path / runs.MODEL).stat().st_mtime_ns) == (first.path, written)
    other = trained(means, [tiny(means, lr=0.01)])[0]
    assert other.path != first.path


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    means = Means("tiny", (0,), tmp_path, threads=1)
    whole = trained(means, [tiny(means)])[0]
    model = (whole.path / runs.MODEL).read_bytes()
    (whole.path / runs.MODEL).unlink()  # as if it had been killed at once: nothing to go on from
    again = trained(means, [tiny(means)])[0]
    assert [line.train_loss for line in again.epochs] == [line.train_loss for line in whole.epochs]
    assert len((again.path / runs.MODEL).read_bytes()) == len(model)


def test_runs_go_side_by_side_and_are_the_same_runs(tmp_path: Path) -> None:
    wanted = [(0, {}), (1, {})]
    alone, together = (Means("tiny", (0, 1), tmp_path / name, threads=n) for name, n in (("a", 1), ("b", 2)))
    one, other = (trained(m, [tiny(m, seed) for seed, _ in wanted]) for m in (alone, together))
    for a, b in zip(one, other, strict=True):
        assert a.path.name == b.path.name
        assert a.evaluation == b.evaluation
    assert [path.name for path in (tmp_path / "b" / "runs").iterdir() if path.suffix] == []


def test_what_a_failed_run_said_is_passed_on(tmp_path: Path) -> None:
    means = Means("tiny", (0, 1), tmp_path, threads=2)
    with pytest.raises(UserError, match=r"resnet20-s\d-\w+ failed") as error:
        trained(means, [tiny(means, seed, stride_in="1x1") for seed in (0, 1)])
    assert "a basic block cannot stride in a 1×1 convolution" in str(error.value)
    assert "its words are in" in str(error.value)


# --- the command --------------------------------------------------------------------------------


def study_command(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "residuum", "study", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )


def test_every_study_is_told_whole() -> None:
    assert len({study.name for study in STUDIES}) == len(STUDIES)
    for study in STUDIES:
        for words in (study.title, study.question, study.claim):
            assert words.en
            assert any("\u4e00" <= letter <= "\u9fff" for letter in words.zh), study.name
        assert "Supported" in study.predicate
        assert "ontradicted" in study.predicate
        assert study.source


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
    assert all(
        name.startswith(("plain", "resnet")) and seconds > 0 for name, seconds in content["runs"].items()
    )
    assert str(studies) not in json.dumps(content["command"])


def test_a_picture_keeps_five_digits() -> None:
    line = Line("a", ((1 / 3, 123456.7), (2, math.nan)))
    kept = rounded([asdict(line)])[0]
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
    assert chosen(StudySettings(("all",))) == list(STUDIES)
    examining: list[Study] = chosen(StudySettings(("all",), model="run"))
    assert all(study.examines for study in examining)


def test_the_command_lists_and_runs(tmp_path: Path) -> None:
    listed = study_command("--list", cwd=tmp_path)
    assert listed.returncode == 0
    assert all(study.name in listed.stdout for study in STUDIES)
    assert list(tmp_path.iterdir()) == []
    ran = study_command("degradation", "--scale", "tiny", "--seeds", "1", "--threads", "1", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "studies" / "degradation-tiny" / "report.html").is_file()
    assert (tmp_path / "studies" / "index.html").is_file()
    assert "undecided" in ran.stdout  # one seed says nothing of the spread


def test_sigterm_stops_the_runs_too_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "residuum", "study", "degradation", "--scale", "tiny", "--seeds", "2"]
    words += ["--threads", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*.log")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "the same command goes on" in said
    assert not _still_training(tmp_path)


def _still_training(folder: Path) -> list[str]:
    """The command lines of living processes that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and str(os.getpid()) not in entry.parts:
            found.append(line)
    return found
