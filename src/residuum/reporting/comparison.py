"""What the page says of several runs together."""

import math
import string
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from residuum.records.evaluation import ClassFigures, Evaluation, headline
from residuum.reporting import charts, recall_chart
from residuum.reporting.charts import Picture, Series
from residuum.reporting.later_together import JudgedTogether, judged_together
from residuum.reporting.one_run import OneRun, flat
from residuum.reporting.other_labels import Crossed, alone_wrong, are_same_pictures, crossed
from residuum.reporting.points import last, points
from residuum.reporting.sentences import head_alone, pictures_of
from residuum.reporting.wording import NBSP, counted, isolated, percent, plain, with_interval

NOT_A_DIFFERENCE = {"seed", "out", "resume"}  # what may differ between runs that repeat each other
MOST_CLASSES = 40  # shown side by side
PANEL = 10  # classes in one drawing


@dataclass(frozen=True)
class Repeats:
    """Runs that differ only by seed, with the mean and sample standard deviation of their headline figure in words."""

    letters: list[str]
    model: str
    figure: str
    words: str


@dataclass(frozen=True)
class Part:
    """Settings, data or environment: what all runs have alike, and what each has of its own, by name."""

    title: str
    shared: dict[str, object]
    own: list[dict[str, object]]


class Compared(NamedTuple):
    """What compares runs that were not judged alike."""

    crossed: Crossed | None
    """Each run by the labels of each, where these alone differ, or on the pictures that all have."""
    together: list[JudgedTogether]
    """What `residuum evaluate` found of the same new pictures."""


@dataclass(frozen=True)
class Comparison:
    """All that the page shows of several runs together."""

    verdict: str
    otherwise: Compared
    judged_on: str
    cautions: list[tuple[str, dict[str, str]]]
    charts: list[Picture]
    differing: list[tuple[str, list[str]]]
    parts: list[Part]
    asked: set[str]
    """Settings that were asked for in every run."""
    repeats: list[Repeats]
    recall: list[Picture]
    recall_note: str
    several: bool
    """Whether one of them is of several labels a picture."""
    no_curves: str
    """Why there are none, where there are none."""


def letters(place: int) -> str:
    """Return A … Z, then A2 … Z2, and so on."""
    turn, letter = divmod(place, 26)
    return string.ascii_uppercase[letter] + (str(turn + 1) if turn else "")


def compare(runs: Sequence[OneRun]) -> Comparison:
    """Work out everything the page says of these runs together."""
    rows, note = _recall_rows(runs)
    panels = [rows[i : i + PANEL] for i in range(0, len(rows), PANEL)]
    labels = [run.letter for run in runs]
    lowest = min((one.recall.low for _, found in rows for one in found if one and one.recall and one.images), default=0)
    floor = min(math.floor(lowest * 10) / 10, 0.9)  # a round share, from which all can be drawn
    otherwise = Compared(crossed(runs), judged_together(runs))
    return Comparison(
        verdict=_verdict(runs, otherwise),
        otherwise=otherwise,
        judged_on=_judged_on(runs),
        cautions=_cautions(runs),
        charts=_charts(runs),
        differing=differing_settings(runs),
        parts=[
            part("Settings", [flat(run.decided) for run in runs]),
            part("Data", [dict(run.data_rows) if run.record.data else {} for run in runs]),
            part("Environment", [flat(run.record.environment) if run.record.environment else {} for run in runs]),
        ],
        asked=set.intersection(*(set(run.record.settings.asked) for run in runs)),
        repeats=repeats(runs),
        recall=[Picture("", recall_chart.recall_plot(panel, labels, floor)) for panel in panels],
        recall_note=note,
        several=any(run.several for run in runs),
        no_curves=_no_curves(runs),
    )


# --- sentences ----------------------------------------------------------------------------------


def _verdict(runs: Sequence[OneRun], compared: Compared) -> str:
    """Name the run with the highest headline figure, and what leaves room for doubt.

    That is told by the pictures that one run alone got wrong, where both runs have all their mistakes on record; else
    by the intervals, which say nothing where they overlap.
    """
    judged = [(headline(run.evaluation), run) for run in runs if run.evaluation]
    if not judged:
        return "None of these runs has final figures yet."
    if len({(_fingerprint(run), run.several, *_judged(run)) for _, run in judged}) > 1:
        return _not_alike([run for _, run in judged], compared)
    judged.sort(key=lambda one: -one[0].value)
    best, run = judged[0]
    named = f"{run.letter} ({isolated(run.name)})"
    if len(judged) == 1 and run.several:
        return f"Only {named} has final figures: its mean average precision is {with_interval(best)}."
    if len(judged) == 1:
        return f"Only {named} has final figures: it names {with_interval(best)} correctly."
    first = "has the highest mean average precision" if run.several else "names the most pictures correctly"
    start = f"{named} {first}: {with_interval(best)}."
    rivals = [one for found, one in judged[1:] if found.high >= best.low]
    if not rivals:
        return f"{start} Its interval lies above those of the other runs."
    paired = {one.letter: said for one in rivals if (said := _paired(run, one))}
    open_ = [one.letter for one in rivals if one.letter not in paired]
    left = (
        [f"Its interval overlaps with that of {', '.join(open_)}, which leaves open which is better."] if open_ else []
    )
    return " ".join([start, *paired.values(), *left])


def _not_alike(judged: Sequence[OneRun], compared: Compared) -> str:
    """Say what tells which of runs is better that were not judged alike."""
    if are_same_pictures(judged):
        told = "“By the same labels”, below, says which is better, as far as that can be told."
        return f"These runs were judged on the same pictures by different labels. {told}"
    said = "These runs were judged on different pictures, so none of them can be called the best by these figures."
    places = [
        "Below, “By the same labels” compares them on the pictures that all have." if compared.crossed else "",
        "Below, “On the same new pictures” compares them on others." if compared.together else "",
    ]
    way_on = "What compares them is residuum evaluate of each on the same new pictures: this page then shows it."
    return " ".join([said, *filter(None, places)] if any(places) else [said, way_on])


def _paired(best: OneRun, other: OneRun) -> str:
    """Say whether the pictures that one of them alone got wrong are more than luck; "" where not all are known."""
    ours, theirs = _wrong(best), _wrong(other)
    if ours is None or theirs is None or _cut(best) != _cut(other):
        return ""
    mine, its = (best.letter, len(ours - theirs)), (other.letter, len(theirs - ours))
    return alone_wrong("Of the same pictures", mine, its)


def _wrong(run: OneRun) -> set[str] | None:
    """Return the names of all pictures called wrong; None where some are not on record, or names say too little, or of
    several labels a picture, which are not right or wrong as a whole."""
    assert run.evaluation is not None
    if run.several:
        return None
    hits = sum(row[k] for k, row in enumerate(run.evaluation.confusion))
    names = [one.name for one in run.record.mistakes]
    return set(names) if len(set(names)) == len(names) == run.evaluation.images - hits else None


def _cut(run: OneRun) -> str | None:
    """Return which pictures were judged, beside the data they are of: those kept aside may be others by each seed."""
    kept = run.evaluation is not None and run.evaluation.split == "validation"
    return run.record.data.validation_from if run.record.data and kept else None


def _judged_on(runs: Sequence[OneRun]) -> str:
    """Say on how many pictures of which split, where it is the same for all."""
    on = {_judged(run) for run in runs if run.evaluation}
    return f"All were judged on {pictures_of(*on.pop())}. " if len(on) == 1 else ""


def _judged(run: OneRun) -> tuple[int, str]:
    """Return on how many pictures of which split."""
    assert run.evaluation is not None
    return run.evaluation.images, run.evaluation.split


def _cautions(runs: Sequence[OneRun]) -> list[tuple[str, dict[str, str]]]:
    """Say what makes these runs' figures incomparable, and of each run, by its letter, what differs."""
    judged = [(run, run.evaluation) for run in runs if run.evaluation]
    missing = [run.letter for run in runs if run.evaluation is None]
    made: list[tuple[str, dict[str, str]]] = []
    if missing:
        made.append((f"{', '.join(missing)}: no final figures yet.", {}))
    if len({_fingerprint(run) for run in runs}) > 1:
        what = "These runs did not use the same data (fingerprints differ): their figures do not compare."
        if are_same_pictures([run for run, _ in judged]):
            what = "The pictures are the same; their labels, or the names of the classes, differ."
        made.append((what, {}))
    aspects = [
        ("These runs were judged on different splits, or on different numbers of pictures:",
         {one.letter: pictures_of(found.images, found.split) for one, found in judged}),
        ("These runs were judged in different ways:", {one.letter: found.protocol for one, found in judged}),
    ]  # fmt: skip
    return made + [(what, values) for what, values in aspects if len(set(values.values())) > 1]


def _no_curves(runs: Sequence[OneRun]) -> str:
    """Say why there are none, where there are none."""
    alone = [run.letter for run in runs if head_alone(run.record)]
    if len(alone) == len(runs):
        return "No curves: in each of these runs the last layer alone was fitted, which takes no steps."
    if alone:
        steps = f"of {', '.join(alone)} the last layer alone was fitted, which takes no steps"
        return f"No curves: {steps}; the others hold no metrics yet."
    return "No curves: none of the run folders holds metrics yet."


# --- curves -------------------------------------------------------------------------------------


def _charts(runs: Sequence[OneRun]) -> list[Picture]:
    several = any(run.several for run in runs)
    right = charts.LIKELIEST if several else charts.ACCURACY
    wanted = (
        ("Validation: mean average precision", "validation_map", charts.PRECISION),
        ("Validation: likeliest label right" if several else "Validation accuracy", "validation_accuracy", right),
        ("Validation loss", "validation_loss", charts.LOSS),
        ("Training: likeliest label right" if several else "Training accuracy", "train_accuracy", right),
        ("Training loss", "train_loss", charts.LOSS),
    )
    made = []
    for title, key, quantity in wanted:
        series = [Series(run.letter, points(run.record.epochs, key), run.place, run.letter) for run in runs]
        series = [one for one in series if last(one.points)]
        if series:
            made.append(Picture(title, charts.curves(series, quantity), series))
    return made


# --- settings -----------------------------------------------------------------------------------


def differing_settings(runs: Sequence[OneRun]) -> list[tuple[str, list[str]]]:
    """Return (setting, its value in each run) for the settings that are not the same in all."""
    each = [{key: plain(value) for key, value in flat(run.decided).items()} for run in runs]
    keys = dict.fromkeys(key for settings in each for key in settings)
    rows = [(key, [settings.get(key, "–") for settings in each]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def part(title: str, each: Sequence[dict[str, object]]) -> Part:
    """Take apart what all runs have alike and what each has of its own, so that nothing has to be read twice."""
    written = [{key: plain(value) for key, value in one.items()} for one in each]
    first, *others = written
    alike = {key for key, value in first.items() if all(other.get(key) == value for other in others)}
    own = [{key: value for key, value in one.items() if key not in alike} for one in each]
    return Part(title, {key: value for key, value in each[0].items() if key in alike}, own)


def repeats(runs: Sequence[OneRun]) -> list[Repeats]:
    """Group the judged runs that differ only by seed and share data and split; groups of one are left out."""
    groups: dict[object, list[tuple[OneRun, float]]] = defaultdict(list)
    for run in runs:
        if run.evaluation:
            groups[_identity(run, run.evaluation)].append((run, headline(run.evaluation).value))
    found = []
    for group in groups.values():
        if len({run.summary.seed for run, _ in group}) == len(group) > 1:
            values = [value for _, value in group]
            spread = f"standard deviation {100 * stdev(values):.2f}{NBSP}points"
            words = f"mean {percent(mean(values), 2)}, {spread} over {counted(len(group), 'run')}"
            figure = "mean average precision" if group[0][0].several else "top-1"
            found.append(Repeats([run.letter for run, _ in group], group[0][0].record.settings.net, figure, words))
    return found


def _identity(run: OneRun, evaluation: Evaluation) -> object:
    """Return what two runs share if they differ only by seed."""
    settings = flat({key: value for key, value in run.decided.items() if key not in NOT_A_DIFFERENCE})
    same = tuple(sorted((key, plain(value)) for key, value in settings.items()))
    return same, _fingerprint(run), evaluation.split, evaluation.images, evaluation.protocol


def _fingerprint(run: OneRun) -> str | None:
    return run.record.data.fingerprint if run.record.data else None


# --- recall -------------------------------------------------------------------------------------


def _recall_rows(runs: Sequence[OneRun]) -> tuple[list[recall_chart.Row], str]:
    """Return each class's figures in each run, and a note on which classes are shown."""
    each = [{one.name: one for one in run.evaluation.per_class} if run.evaluation else {} for run in runs]
    names = dict.fromkeys(name for classes in each for name in classes)
    rows = [(name, [classes.get(name) for classes in each]) for name in names]
    if len(rows) <= MOST_CLASSES:
        return rows, ""
    rows.sort(key=lambda row: -_spread(row[1]))
    shown_words = f"the {MOST_CLASSES} of {counted(len(rows), 'class', 'classes')}"
    return rows[:MOST_CLASSES], f"Shown are {shown_words} whose recall differs most between the runs."


def _spread(found: Sequence[ClassFigures | None]) -> float:
    values = [one.recall.value for one in found if one and one.recall and one.images]
    return max(values) - min(values) if values else 0.0
