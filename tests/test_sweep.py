"""A grid of settings: what is trained, what stands on the Pareto front, what is said of failed runs."""

import math
import shlex
import shutil
import sys
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy.stats import ttest_ind, ttest_rel

from residuum import runs
from residuum.cli import main
from residuum.dispatch.job import Ended, run_folder
from residuum.errors import PartlyDone, UserError
from residuum.printing import print_sweep
from residuum.records.codec import read_record, write_record
from residuum.records.study import Quantity
from residuum.records.sweep import Combination, SweepRecord
from residuum.reporting.page import write_report
from residuum.reporting.sweep_view import LEFT, Row, _apart, _frame, _places
from residuum.settings import SweepSettings, TrainSettings
from residuum.studies.frame import Setup, quantity
from residuum.studies.trained import net_settings, trained
from residuum.sweeps import run as sweep_run
from residuum.sweeps.differences import Seen, differences, holm
from residuum.sweeps.front import standings
from residuum.sweeps.grid import axes, combinations
from residuum.sweeps.run import accuracy, command, sweep

# --- what varies --------------------------------------------------------------------------------


def test_values_are_read_as_their_settings_have_them() -> None:
    read = axes(["lr=0.05,default", "--weight-decay=1e-4", "blocks=1 1 1,2  2 2", "flip=yes,no", "shortcut=none,A"])
    assert [list(values.values()) for values in read.values()] == [
        [0.05, None],
        [1e-4],
        [(1, 1, 1), (2, 2, 2)],
        [True, False],
        ["none", "A"],
    ]
    assert list(read["blocks"]) == ["1 1 1", "2 2 2"]


def test_every_combination_is_there_once() -> None:
    found = combinations(axes(["lr=0.1,0.2", "model=resnet20,plain20,resnet32"]))
    assert len({tuple(one.items()) for one in found}) == len(found) == 6
    assert found[1] == {"lr": "0.1", "model": "plain20"}
    assert combinations({}) == [{}]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (["learning=1"], "there is no such setting"),
        (["lr"], "has no values"),
        (["lr=fast"], "lr cannot be 'fast'"),
        (["lr=0.1,1000"], "--lr 1000.0 is out of range"),
        (["epochs=1.5"], "epochs cannot be '1.5'"),
        (["shortcut=D"], "shortcut cannot be 'D'"),
        (["lr=0.1,0.1"], "a value twice"),
        (["lr=0.1", "lr=0.2"], "it is there twice"),
        (["data=a,b"], "different pictures do not compare"),
        (["seed=1,2"], "--seeds says how many"),
    ],
)
def test_what_cannot_vary_is_refused_with_the_reason(over: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        axes(over)
    assert said in str(error.value)


def test_a_sweep_goes_on_by_itself() -> None:
    with pytest.raises(UserError, match="no run to --resume"):
        sweep(SweepSettings("digits", resume="x"))


def test_its_command_repeats_it_wherever_it_was_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = SweepSettings(
        "digits",
        over=("lr=0.1,0.2", "blocks=1 1 1"),
        widths=(4, 8),
        flip=False,
        checkpointing=True,
        on="ray",
        at_once=3,
    )
    words = command(asked)
    assert "sweep digits --widths 4 8 --no-flip --checkpointing --over lr=0.1,0.2 'blocks=1 1 1'" in words
    monkeypatch.setattr(sys, "argv", [*shlex.split(words), "--print-config"])
    main()
    assert '"over": [\n  "lr=0.1,0.2",\n  "blocks=1 1 1"\n ]' in capsys.readouterr().out


# --- the front ----------------------------------------------------------------------------------


def of(*values: float) -> Quantity:
    return quantity("accuracy", values, "%")


def test_the_front_is_what_nothing_beats() -> None:
    points = [(1.0, of(80, 82)), (2.0, of(90, 90.2)), (3.0, of(89, 91)), (3.0, of(70, 71)), (9.0, of(95, 95))]
    assert standings(points) == ["front", "front", "near", "behind", "front"]
    assert standings([(1.0, of(80)), (2.0, of(10))]) == ["front", "near"]  # one seed says nothing of luck
    assert standings([(1.0, of(80, 80)), (1.0, of(80, 80))]) == ["front", "front"]


points = st.lists(
    st.tuples(st.integers(1, 5).map(float), st.lists(st.integers(0, 9), min_size=2, max_size=3)), max_size=6
)


@given(points)
def test_the_front_keeps_paretos_definition(drawn: list[tuple[float, list[int]]]) -> None:
    """Sorted by cost, the front's accuracies rise, and whatever is not on it lies under its staircase."""
    made = [(cost, of(*values)) for cost, values in drawn]
    standing = standings(made)
    front = sorted({(cost, one.mean) for (cost, one), where in zip(made, standing, strict=True) if where == "front"})
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(front))
    for (cost, one), where in zip(made, standing, strict=True):
        reached = max((mean for at, mean in front if at <= cost), default=-math.inf)
        assert (one.mean <= reached) if where != "front" else (one.mean == reached)


# --- differences --------------------------------------------------------------------------------

LUCK = {"none": (58.6, 54.6, 63.4), "A": (97.9, 96.2, 98.6), "C": (91.0, 90.3, 93.1)}


def seen(values: dict[str, str], figures: tuple[float, ...], first: int = 0) -> Seen:
    return Seen(values, {first + place: figure for place, figure in enumerate(figures)})


def test_differences_are_those_of_scipys_tests() -> None:
    over = {"shortcut": ("none", "A", "C")}
    paired = differences(over, [seen({"shortcut": one}, figures) for one, figures in LUCK.items()])
    assert [(one.other, one.one, one.paired) for one in paired] == [
        ("none", "A", True),
        ("none", "C", True),
        ("A", "C", True),
    ]
    for one in paired:
        theirs = ttest_rel(LUCK[one.one], LUCK[one.other])
        assert one.p == pytest.approx(theirs.pvalue)
        assert one.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)))
        assert one.points == pytest.approx(fmean(LUCK[one.one]) - fmean(LUCK[one.other]))
    (other,) = differences(
        {"shortcut": ("A", "C")}, [seen({"shortcut": "A"}, LUCK["A"]), seen({"shortcut": "C"}, LUCK["C"][:2], 1)]
    )
    welch = ttest_ind(LUCK["C"][:2], LUCK["A"], equal_var=False)
    assert not other.paired
    assert other.p == pytest.approx(welch.pvalue)
    assert other.interval == pytest.approx(tuple(welch.confidence_interval(0.95)))


def test_many_comparisons_are_corrected_as_holm_did() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # as R's p.adjust has them
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]


def test_each_two_values_are_compared_where_all_else_is_alike() -> None:
    over = {"shortcut": ("none", "A", "C"), "order": ("original", "preactivation")}
    grid = [dict(zip(over, values, strict=True)) for values in product(*over.values())]
    found = differences(over, [seen(values, (1.0 * place, 2.0, 4.0)) for place, values in enumerate(grid)])
    assert len(found) == 2 * 3 + 3 * 1
    assert all(set(one.alike) == set(over) - {one.setting} for one in found)
    lacking = differences(over, [seen(values, (1.0, 2.0) if place else ()) for place, values in enumerate(grid)])
    assert len(lacking) == 6  # one combination has no figure


def test_seeds_without_spread_decide_nothing() -> None:
    over = {"lr": ("1", "2")}
    for first, second in (((80.0,), (90.0,)), ((80.0, 80.0), (80.0, 80.0)), ((80.1, 80.2), (80.4, 80.5))):
        (one,) = differences(over, [seen({"lr": "1"}, first), seen({"lr": "2"}, second)])
        assert (one.interval, one.p, one.holm, one.verdict) == (None, None, None, "no spread, no answer")


# --- a sweep ------------------------------------------------------------------------------------

ASKED = SweepSettings("digits", over=("lr=0.1,0.2", "stride_in=default,1x1"), seeds=2, epochs=1)


@pytest.fixture
def finished(few_digits: None, studies: Path) -> runs.RunRecord:
    """A run that has finished, with validation pictures kept aside and test pictures apart."""
    setup = Setup("tiny", (0,), studies, threads=1)
    return trained(setup, [net_settings(setup, "plain20", 0, blocks=(1, 1, 1))])[0]


def as_if_trained(finished: runs.RunRecord, monkeypatch: pytest.MonkeyPatch, begun: list[TrainSettings]) -> None:
    """Let a run be a copy of one that has finished, and 1x1 strides fail as they do in nets of basic blocks."""

    def train_all(jobs: dict[Path, TrainSettings], *_: object) -> object:
        for folder, settings in jobs.items():
            begun.append(settings)
            if settings.stride_in == "1x1":
                yield Ended(folder, UserError(f"training {folder.name} failed", "a basic block cannot"))
            else:
                shutil.copytree(finished.path, folder)
                yield Ended(folder)

    monkeypatch.setattr(sweep_run, "train_all", train_all)


def test_a_sweep_is_one_table_with_spread_and_names_what_failed(
    finished: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = list[TrainSettings]()
    as_if_trained(finished, monkeypatch, begun)
    folder = sweep(replace(ASKED, out=str(tmp_path)))
    found = read_record(folder / runs.SWEEP, SweepRecord)
    assert [(one.lr, one.stride_in, one.seed) for one in begun[:3]] == [
        (0.1, None, 0),
        (0.1, None, 1),
        (0.1, "1x1", 0),
    ]
    assert len(begun) == 8
    first, failed = found.combinations[:2]
    share = finished.epochs[-1].validation_accuracy
    assert share is not None
    assert first.accuracy is not None
    assert first.accuracy.values == (100 * share, 100 * share)
    assert finished.evaluation is not None
    assert first.test is not None
    assert first.test.mean == pytest.approx(100 * finished.evaluation.top1.value)
    cost, batch = finished.settings.summary.multiply_adds, finished.settings.settings["batch_size"]
    seen = finished.epochs[-1].step * batch  # less a last, short batch
    assert first.inference == cost
    assert first.training is not None
    assert 3 * cost * seen <= first.training < 3 * cost * (seen + batch)
    assert (failed.accuracy, failed.standing, len(failed.failed)) == (None, None, 2)
    assert found.judged_on == "validation"
    (only,) = found.differences  # those that failed have none
    assert (only.setting, only.points, only.verdict) == ("lr", 0.0, "no spread, no answer")
    with pytest.raises(PartlyDone, match="4 of 8 runs failed") as error:
        print_sweep(ASKED, folder, json=False)
    assert "a basic block cannot" in str(error.value)
    assert "lr 0.2, stride in default" in capsys.readouterr().out

    begun.clear()  # the same command again, and one more seed
    assert sweep(replace(ASKED, out=str(tmp_path), seeds=3)) == folder
    assert sorted({(one.stride_in, one.seed) for one in begun}, key=str) == [
        ("1x1", 0),
        ("1x1", 1),
        ("1x1", 2),
        (None, 2),
    ]
    three = (folder / runs.SWEEP).read_bytes()  # fewer seeds write over nothing, again and again
    for _ in range(2):
        fewer = sweep(replace(ASKED, out=str(tmp_path), seeds=1))
        assert fewer.name == f"{folder.name}-seeds-0-to-0"
    assert (folder / runs.SWEEP).read_bytes() == three


def test_where_nothing_was_kept_aside_the_other_pictures_judge(finished: runs.RunRecord) -> None:
    assert accuracy(finished) == (finished.epochs[-1].validation_accuracy, "validation")
    last = structs.replace(finished.epochs[-1], validation_accuracy=None)
    without = replace(finished, metrics=[last])
    assert finished.evaluation is not None
    assert accuracy(without) == (finished.evaluation.top1.value, "test")


def test_other_settings_are_other_runs_shared_by_sweeps(tmp_path: Path) -> None:
    one = run_folder(tmp_path, TrainSettings("digits", lr=0.1, epochs=1))
    assert one == run_folder(tmp_path, TrainSettings("digits", epochs=1, lr=0.10))


# --- its page -----------------------------------------------------------------------------------


def combination(number: int, standing: str | None, **changed: object) -> Combination:
    made: dict[str, object] = {
        "values": {"lr": f"0.{number}", "model": "<b>net</b>"},
        "runs": ("a", "b"),
        "failed": (),
        "accuracy": of(80 + number, 81 + number),
        "test": None,
        "seconds": quantity("training", (10.0, 12.0), "s"),
        "training": 10.0**number,
        "inference": 1000,
        "parameters": 100,
        "standing": standing,
    }
    return Combination(**{**made, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_the_page_shows_every_combination(number: int, finished: runs.RunRecord, tmp_path: Path) -> None:
    found = [combination(i, "front" if i % 2 else "near") for i in range(1, number)]
    found += [combination(9, None, accuracy=None, runs=(), training=None, seconds=None)] if number else []
    assert finished.environment is not None
    record = SweepRecord(
        kind="sweep", data="digits", command="residuum sweep", over={"lr": (), "model": ()}, seeds=(0, 1),
        cost="training", judged_on="validation", settings={}, combinations=tuple(found), notes=("A caution.",),
        environment=finished.environment,
        differences=differences({"lr": ("0.1", "0.2")}, [seen({"lr": f"0.{i}"}, (80.0, 81.0 + i)) for i in (1, 2)]),
    )  # fmt: skip
    write_record(tmp_path / runs.SWEEP, record)
    page = write_report([tmp_path]).read_text(encoding="utf-8")
    assert page.count('<th scope="row" data-v=') == number
    assert "Differences that are more than luck: 0 of 1." in page
    assert "lr: 0.2 − 0.1" in page
    assert "<b>net</b>" not in page
    front = number // 2
    assert page.count('class="mark c0') == front + (front > 0)  # and one in the legend
    if number > 2:
        assert "Best in the mean: \u2068lr 0.3, model &lt;b&gt;net&lt;/b&gt;\u2069" in page
        assert "2 combinations on the Pareto front" in page
    else:
        assert "No run has finished yet" in page


def test_marks_of_the_same_cost_stand_apart_and_none_beyond_a_hundred() -> None:
    figures = [of(98.6, 100.0), of(98.4, 99.9), of(97.0, 98.0), of(60.0, 70.0)]
    rows = [Row(i, combination(i, "near", accuracy=one), 1e9 + i) for i, one in enumerate(figures, start=1)]
    rows += [Row(9, combination(9, "near"), 2e9)]
    frame = _frame(rows)
    assert max(frame.y.ticks(5)) == 100
    places = sorted(_places(frame, rows).values())
    assert all(b[0] - a[0] > 8 for a, b in pairwise(places))
    assert min(x for x, _ in places) > LEFT
    assert places[-1][0] == pytest.approx(frame.x(2e9))  # alone, where it belongs


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8).map(sorted), st.floats(1, 12))
def test_marks_move_only_where_they_would_overlap(xs: list[float], step: float) -> None:
    places = _apart(xs, step)
    assert all(b - a >= step - 1e-6 for a, b in pairwise(places))
    assert sum(places) == pytest.approx(sum(xs), abs=1e-6)
    if all(b - a >= step for a, b in pairwise(xs)):
        assert places == pytest.approx(xs)
