"""Runs that `residuum evaluate` judged on the same pictures after training, which none of them has learnt."""

from collections.abc import Sequence
from dataclasses import dataclass

from residuum.records.evaluation import OUT_OF_FOLD, KeptEvaluation, Measure, headline
from residuum.reporting.one_run import OneRun

Row = tuple[OneRun, KeptEvaluation]


@dataclass(frozen=True)
class JudgedTogether:
    """How several runs name the same new pictures."""

    data: str
    split: str
    images: int
    rows: Sequence[tuple[OneRun, Measure, str]]
    """Each run with its headline figure, and how its net saw the pictures."""
    words: str


def judged_together(runs: Sequence[OneRun]) -> list[JudgedTogether]:
    """Return what two runs or more were judged on alike, the latest first; of a run judged twice the later figures."""
    found: dict[object, dict[str, Row]] = {}
    for run in runs:
        for one in sorted(run.record.later, key=_date):
            if _is_new(one):
                found.setdefault(_asked(one), {})[run.key] = (run, one)
    groups = [list(rows.values()) for rows in found.values() if len(rows) > 1]
    groups.sort(key=lambda rows: max(_date(one) for _, one in rows), reverse=True)
    return [_together(rows) for rows in groups]


def _is_new(one: KeptEvaluation) -> bool:
    """Say whether one net alone was judged, on pictures that it has not learnt."""
    return not one.seen and one.split not in {"train", OUT_OF_FOLD} and len(one.models) < 2


def _asked(one: KeptEvaluation) -> object:
    """Return what two nets have to share, for their figures to compare: pictures, labels, and what was asked for."""
    views = one.settings.get("views") or ()
    return one.fingerprint, one.split, one.images, one.is_several, one.call_from, tuple(views)


def _date(one: KeptEvaluation) -> str:
    return one.environment.date


def _together(rows: Sequence[Row]) -> JudgedTogether:
    first = rows[0][1]
    told = [(run, headline(one), one.protocol) for run, one in rows]
    return JudgedTogether(first.data, first.split, first.images, told, _words(told))


def _words(rows: Sequence[tuple[OneRun, Measure, str]]) -> str:
    """Say which run is ahead, and whether luck may have made it so."""
    (run, best, _), second, *_ = sorted(rows, key=lambda row: -row[1].value)
    if round(best.value, 3) == round(second[1].value, 3):
        return "None is ahead."
    apart = all(best.low > measure.high for other, measure, _ in rows if other is not run)
    luck = (
        "its interval lies above the others" if apart else "the intervals overlap, so luck may have made the difference"
    )
    return f"{run.letter} is ahead; {luck}."
