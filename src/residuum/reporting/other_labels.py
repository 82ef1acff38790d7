"""Runs of the same pictures with other labels, as after mending a table: which is better, as far as that can be told.

Each run's answers, judged by the labels of each: what `residuum evaluate RUN DATA` leaves in a run's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from residuum.plain_data import quoted
from residuum.records.evaluation import OUT_OF_FOLD, Evaluation, Measure, headline
from residuum.reporting.one_run import OneRun
from residuum.reporting.wording import isolated

MOST = 6
"""Runs up to which each is held against the labels of each."""
NAMED = 5
"""Of the classes that a net lacks, so many are named."""
Rows = Sequence[tuple[OneRun, Sequence[Measure | None]]]
"""Each run with its figure by each of some labels; None where it has not been judged by them."""
NOT_TOLD = "Figures by different labels do not tell which net is better: all have to be judged by the same labels."
COMMANDS = (
    "These commands judge by the labels that are missing here, on pictures that the net has not learnt; then write "
    "this page again:"
)
MENDED = "Labels that were mended where a run’s answers spoke against them favour that run."
COLUMNS = ("image_column", "label_column", "label_separator")


@dataclass(frozen=True)
class Crossed:
    """Each run's headline figure by the labels of each run."""

    heads: Sequence[str]
    """Letters of the runs whose labels they are."""
    rows: Rows
    words: str
    commands: Sequence[str]
    """What would fill the gaps."""


def are_same_pictures(runs: Sequence[OneRun]) -> bool:
    """Say whether all were judged on the same pictures, as far as the runs know."""
    return len({_judged(run) for run in runs}) == 1 and None not in {_judged(run) for run in runs}


def crossed(runs: Sequence[OneRun]) -> Crossed | None:
    """Return each run's figure by each run's labels; None where these are the same, or the pictures are others."""
    judged = [run for run in runs if run.evaluation]
    by_labels = {run.record.data.fingerprint: run for run in reversed(judged) if run.record.data}
    if not 1 < len(by_labels) <= MOST or len(judged) > MOST or not are_same_pictures(judged):
        return None
    labelled = [run for run in judged if run in by_labels.values()]
    rows = [(run, [_by(run, one) for one in labelled]) for run in judged]
    asked = [(run, one) for run, found in rows for one, its in zip(labelled, found, strict=True) if its is None]
    commands = [_command(run, one) for run, one in asked if not _lacking(run, one)]
    lacking = [(run, one) for run, one in asked if _lacking(run, one)]
    words = _words(labelled, rows, lacking, can=bool(commands))
    return Crossed([one.letter for one in labelled], rows, words, commands)


def _judged(run: OneRun) -> tuple[object, ...] | None:
    """Return by what the pictures that a run was judged on are known; None where it does not say."""
    found, data = run.evaluation, run.record.data
    if found is None or data is None or data.contents is None:
        return None
    split = "train" if found.split == OUT_OF_FOLD else found.split
    which = getattr(data.contents, split, None)
    return which and (which, found.images, found.split, found.is_several)


def _by(run: OneRun, labels: OneRun) -> Measure | None:
    """Return a run's headline figure by the labels of another, where it has been judged by them in the same way."""
    own = run.evaluation
    assert own is not None
    theirs = labels.record.data.fingerprint if labels.record.data else ""
    if run.record.data and run.record.data.fingerprint == theirs:
        return headline(own)
    return next((headline(one) for one in run.record.later if one.fingerprint == theirs and _is_alike(one, own)), None)


def _is_alike(one: Evaluation, own: Evaluation) -> bool:
    return (one.split, one.images, one.protocol) == (own.split, own.images, own.protocol)


def _classes(run: OneRun) -> Sequence[str]:
    return run.record.data.classes if run.record.data else ()


def _command(run: OneRun, labels: OneRun) -> str:
    """Return the command that judges a run by the labels of another."""
    own, theirs = run.record.settings.settings, labels.record.settings.settings
    told = [(name, theirs.get(name)) for name in COLUMNS if theirs.get(name) and theirs.get(name) != own.get(name)]
    flags = [word for name, value in told for word in (f"--{name.replace('_', '-')}", str(value))]
    source = labels.record.data.source if labels.record.data else ""
    return f"residuum evaluate {quoted(run.record.path, source, *flags)}"


def _lacking(run: OneRun, labels: OneRun) -> list[str]:
    """Return the classes of the other's labels that a run's net does not have; its further ones are no hindrance."""
    return [name for name in _classes(labels) if name not in set(_classes(run))]


def _words(labels: Sequence[OneRun], rows: Rows, lacking: Sequence[tuple[OneRun, OneRun]], *, can: bool) -> str:
    """Say who is ahead by those labels that all are judged by, and why others are missing."""
    full = [place for place in range(len(labels)) if all(found[place] for _, found in rows)]
    gaps = [_gap(run, one) for run, one in lacking]
    if full:
        verdict = _verdict_by(labels, rows, full)
        return " ".join([verdict, *gaps, *([COMMANDS] if can else [])])
    return " ".join([NOT_TOLD, *gaps, *([COMMANDS] if can else [])])


def _verdict_by(labels: Sequence[OneRun], rows: Rows, full: Sequence[int]) -> str:
    """Say which run is ahead by the labels at these places; those by which none is, are left out."""
    decided = [place for place in full if not _is_level(rows, place)]
    if not decided:
        return f"None is ahead by the labels of {', '.join(labels[place].letter for place in full)}."
    their = [labels[place] for place in decided]
    return _verdict(their, _of_places(rows, decided), alone=len(decided) < len(labels))


def _is_level(rows: Rows, place: int) -> bool:
    """Say whether the two greatest figures are the same, as they are shown."""
    *_, second, first = sorted(round(_value(found[place]), 3) for _, found in rows)
    return second == first


def _of_places(rows: Rows, places: Sequence[int]) -> Rows:
    return [(run, [found[place] for place in places]) for run, found in rows]


def _gap(run: OneRun, labels: OneRun) -> str:
    """Say why a run cannot be judged by the labels of another."""
    names = _lacking(run, labels)
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    those = ", ".join(map(isolated, names[:NAMED]))
    return f"{run.letter} cannot be judged by the labels of {labels.letter}: its net does not have {those}{more}."


def _verdict(labels: Sequence[OneRun], rows: Rows, *, alone: bool) -> str:
    """Say which run is ahead by whose labels, and whether luck may have made it so; `alone`: not all are told of."""
    best = [max(rows, key=lambda row: _value(row[1][place]))[0] for place in range(len(labels))]
    if len({run.letter for run in best}) > 1:
        each = ", ".join(f"{run.letter} by those of {one.letter}" for run, one in zip(best, labels, strict=True))
        return f"Which is ahead depends on the labels ({each}), so it is not told which net is better. {MENDED}"
    first = next(found for run, found in rows if run is best[0])
    others = [found for run, found in rows if run is not best[0]]
    apart = all(_apart(mine, its) for other in others for mine, its in zip(first, other, strict=True))
    luck = (
        "its intervals lie above the others" if apart else "the intervals overlap, so luck may have made the difference"
    )
    whose = ", ".join(one.letter for one in labels) if alone else "each"
    return f"{best[0].letter} is ahead by the labels of {whose}; {luck}. {MENDED}"


def _value(measure: Measure | None) -> float:
    return measure.value if measure else 0.0


def _apart(mine: Measure | None, its: Measure | None) -> bool:
    return bool(mine and its and mine.low > its.high)
