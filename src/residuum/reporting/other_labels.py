"""Runs of the same pictures with other labels, as after mending a table: which is better, as far as that can be told.

Each run's answers, judged by the labels of each: those out of fold that the runs keep of the pictures that all have,
or what `residuum evaluate RUN DATA` leaves in a run's folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from residuum.plain_data import quoted
from residuum.records.evaluation import OUT_OF_FOLD, Evaluation, Measure, headline
from residuum.records.numbers import mcnemar
from residuum.reporting.one_run import OneRun
from residuum.reporting.shared_pictures import SharedPictures, shared_pictures
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
GONE = (
    "The labels of {} are gone: its pictures have other labels now where they lie. Judge by those as they are now, and "
    "keep the old folder or table where you want to know."
)
MENDED = "Labels that were mended where a run’s answers spoke against them favour that run."
COLUMNS = ("image_column", "label_column", "label_separator")


@dataclass(frozen=True)
class Crossed:
    """Each run's headline figure by the labels of each run."""

    heads: Sequence[tuple[str, int | None]]
    """Letters of the runs whose labels they are, and on how many pictures, where not all runs have the same."""
    rows: Rows
    words: str
    commands: Sequence[str]
    """What would fill the gaps."""
    on_shared: bool
    """Whether the figures are of pictures that all have, while some runs have others besides."""


def are_same_pictures(runs: Sequence[OneRun]) -> bool:
    """Say whether all were judged on the same pictures, as far as the runs know."""
    return len({_judged(run) for run in runs}) == 1 and None not in {_judged(run) for run in runs}


def crossed(runs: Sequence[OneRun]) -> Crossed | None:
    """Return each run's figure by each run's labels, on the pictures that all have; None where labels and pictures are
    the same, or none is known to be common to all."""
    judged = [run for run in runs if run.evaluation]
    by_labels = {run.record.data.fingerprint: run for run in reversed(judged) if run.record.data}
    if not 1 < len(by_labels) <= MOST or len(judged) > MOST:
        return None
    shared, same = shared_pictures(judged), are_same_pictures(judged)
    if not (shared or same):
        return None
    labelled = [run for run in judged if run in by_labels.values()]
    rows = [(run, [_by(run, one, judged, shared) for one in labelled]) for run in judged]
    asked = [(run, one) for run, found in rows for one, its in zip(labelled, found, strict=True) if its is None]
    gone = [one for one in labelled if _is_gone(one, labelled) and one in [labels for _, labels in asked]]
    lacking = [(run, one, _lacking(run, one, judged, shared)) for run, one in asked]
    commands = [_command(run, one) for run, one, names in lacking if not names and one not in gone]
    paired = _paired(judged, labelled, shared)
    notes = [*_newest(labelled), *paired] if shared else []
    gaps = [_gap(run, one, names) for run, one, names in lacking if names]
    gaps += [GONE.format(", ".join(one.letter for one in gone))] if gone else []
    words = _words(labelled, rows, [*notes, *gaps], can=bool(commands), by_intervals=not paired)
    whole = same and not (shared and shared.lacks_some())
    counts = [shared.count(judged.index(one)) if shared and not whole else None for one in labelled]
    heads = [(one.letter, count) for one, count in zip(labelled, counts, strict=True)]
    return Crossed(heads, rows, words, commands, on_shared=not whole)


def _paired(judged: Sequence[OneRun], labelled: Sequence[OneRun], shared: SharedPictures | None) -> list[str]:
    """Say of two runs' answers to the same pictures whether those that one alone got wrong are more than luck."""
    if shared is None or len(judged) != 2:
        return []
    if any(_lacking(run, one, judged, shared) for run in judged for one in labelled):
        return []
    said = []
    for labels in labelled:
        each = zip(*(shared.right(place, judged.index(labels)) for place in (0, 1)), strict=True)
        wrong = [(not first, not second) for first, second in each]
        counts = wrong.count((True, False)), wrong.count((False, True))
        pair = [(run.letter, count) for run, count in zip(judged, counts, strict=True)]
        said.append(alone_wrong(f"By the labels of {labels.letter}", pair[0], pair[1]))
    return said


def alone_wrong(where: str, one: tuple[str, int], other: tuple[str, int]) -> str:
    """Say on how many pictures each of two runs, by its letter, is wrong alone, and whether luck alone may do that."""
    p = mcnemar(one[1], other[1])
    sure = "that is more than luck" if p < 0.05 else "luck alone may do that"
    chance = f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
    alone = f"{one[0]} alone is wrong on {one[1]:,}, {other[0]} alone on {other[1]:,}"
    return f"{where}, {alone}: {sure} (McNemar's exact test, {chance})."


def _is_gone(labels: OneRun, others: Sequence[OneRun]) -> bool:
    """Say whether a later run read other labels from the same place, by the same columns: these are gone."""
    return any(_read(one) == _read(labels) and _date(one) > _date(labels) for one in others)


def _newest(labelled: Sequence[OneRun]) -> list[str]:
    """Say whose labels are the newest: where they were corrected, they count."""
    *_, before, last = sorted(labelled, key=_date)
    return [f"The newest labels are those of {last.letter}."] if _date(before) < _date(last) else []


def _read(run: OneRun) -> tuple[object, ...]:
    """Return from where a run's labels were read."""
    told = run.record.settings.settings
    return run.record.data and run.record.data.source, *(told.get(name) for name in COLUMNS)


def _date(run: OneRun) -> str:
    return run.record.environment.date if run.record.environment else ""


def _judged(run: OneRun) -> tuple[object, ...] | None:
    """Return by what the pictures that a run was judged on are known; None where it does not say."""
    found, data = run.evaluation, run.record.data
    if found is None or data is None or data.contents is None:
        return None
    split = "train" if found.split == OUT_OF_FOLD else found.split
    which = getattr(data.contents, split, None)
    return which and (which, found.images, found.split, found.is_several)


def _by(run: OneRun, labels: OneRun, judged: Sequence[OneRun], shared: SharedPictures | None) -> Measure | None:
    """Return a run's headline figure by the labels of another, where its answers are kept, or it has been judged by
    them in the same way; the net has to have their classes."""
    if shared:
        its = run if _fingerprint(run) == _fingerprint(labels) else labels
        return None if _lacking(run, labels, judged, shared) else shared.accuracy(judged.index(run), judged.index(its))
    own, theirs = run.evaluation, _fingerprint(labels)
    assert own is not None
    if _fingerprint(run) == theirs:
        return headline(own)
    return next((headline(one) for one in run.record.later if one.fingerprint == theirs and _is_alike(one, own)), None)


def _is_alike(one: Evaluation, own: Evaluation) -> bool:
    return (one.split, one.images, one.protocol) == (own.split, own.images, own.protocol)


def _fingerprint(run: OneRun) -> str:
    return run.record.data.fingerprint if run.record.data else ""


def _classes(run: OneRun) -> Sequence[str]:
    return run.record.data.classes if run.record.data else ()


def _command(run: OneRun, labels: OneRun) -> str:
    """Return the command that judges a run by the labels of another."""
    own, theirs = run.record.settings.settings, labels.record.settings.settings
    told = [(name, theirs.get(name)) for name in COLUMNS if theirs.get(name) and theirs.get(name) != own.get(name)]
    flags = [word for name, value in told for word in (f"--{name.replace('_', '-')}", str(value))]
    source = labels.record.data.source if labels.record.data else ""
    return f"residuum evaluate {quoted(run.record.path, source, *flags)}"


def _lacking(run: OneRun, labels: OneRun, judged: Sequence[OneRun], shared: SharedPictures | None) -> list[str]:
    """Return the classes of the other's labels that a run's net does not have; its further ones are no hindrance, nor
    are those of pictures that not all have."""
    asked = shared.classes(judged.index(labels)) if shared else _classes(labels)
    return [name for name in asked if name not in set(_classes(run))]


def _words(labels: Sequence[OneRun], rows: Rows, notes: Sequence[str], *, can: bool, by_intervals: bool = True) -> str:
    """Say who is ahead by those labels that all are judged by, what there is to say besides, and what would fill gaps;
    `by_intervals`: these tell of luck."""
    full = [place for place in range(len(labels)) if all(found[place] for _, found in rows)]
    verdict = _verdict_by(labels, rows, full, by_intervals=by_intervals) if full else NOT_TOLD
    return " ".join([verdict, *notes, *([COMMANDS] if can else [])])


def _verdict_by(labels: Sequence[OneRun], rows: Rows, full: Sequence[int], *, by_intervals: bool) -> str:
    """Say which run is ahead by the labels at these places; those by which none is, are left out."""
    decided = [place for place in full if not _is_level(rows, place)]
    if not decided:
        return _level(rows, full, ", ".join(labels[place].letter for place in full))
    their = [labels[place] for place in decided]
    alone = len(decided) < len(labels)
    return _verdict(their, _of_places(rows, decided), alone=alone, by_intervals=by_intervals)


def _level(rows: Rows, places: Sequence[int], whose: str) -> str:
    """Say that none is ahead, or which are level and ahead of the others, the same ones by all those labels."""
    each = [_leading(rows, place) for place in places]
    behind = [run.letter for run, _ in rows if run.letter not in each[0]]
    if not behind or any(one != each[0] for one in each):
        return f"None is ahead by the labels of {whose}."
    return f"{', '.join(each[0])} are level, and ahead of {', '.join(behind)}, by the labels of {whose}."


def _leading(rows: Rows, place: int) -> list[str]:
    """Return the runs whose figure is the greatest, as they are shown."""
    shown = {run.letter: round(_value(found[place]), 3) for run, found in rows}
    return [letter for letter, value in shown.items() if value == max(shown.values())]


def _is_level(rows: Rows, place: int) -> bool:
    """Say whether the two greatest figures are the same, as they are shown."""
    *_, second, first = sorted(round(_value(found[place]), 3) for _, found in rows)
    return second == first


def _of_places(rows: Rows, places: Sequence[int]) -> Rows:
    return [(run, [found[place] for place in places]) for run, found in rows]


def _gap(run: OneRun, labels: OneRun, names: Sequence[str]) -> str:
    """Say why a run cannot be judged by the labels of another: its net lacks these classes."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    those = ", ".join(map(isolated, names[:NAMED]))
    return f"{run.letter} cannot be judged by the labels of {labels.letter}: its net does not have {those}{more}."


def _verdict(labels: Sequence[OneRun], rows: Rows, *, alone: bool, by_intervals: bool) -> str:
    """Say which run is ahead by whose labels, and whether luck may have made it so; `alone`: not all are told of."""
    best = [max(rows, key=lambda row: _value(row[1][place]))[0] for place in range(len(labels))]
    if len({run.letter for run in best}) > 1:
        each = ", ".join(f"{run.letter} by those of {one.letter}" for run, one in zip(best, labels, strict=True))
        return f"Which is ahead depends on the labels ({each}), so it is not told which net is better. {MENDED}"
    first = next(found for run, found in rows if run is best[0])
    others = [found for run, found in rows if run is not best[0]]
    apart = all(_apart(mine, its) for other in others for mine, its in zip(first, other, strict=True))
    luck = (
        "; its intervals lie above the others"
        if apart
        else "; the intervals overlap, so luck may have made the difference"
    )
    whose = ", ".join(one.letter for one in labels) if alone else "each"
    return f"{best[0].letter} is ahead by the labels of {whose}{luck if by_intervals else ''}. {MENDED}"


def _value(measure: Measure | None) -> float:
    return measure.value if measure else 0.0


def _apart(mine: Measure | None, its: Measure | None) -> bool:
    return bool(mine and its and mine.low > its.high)
