"""What the page about a study says, and what the table of all studies says."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from residuum.records.study import Answer, Part, Quantity, StudyRecord
from residuum.reporting.charts import Picture
from residuum.reporting.study_charts import picture
from residuum.reporting.study_drawable import drawable
from residuum.reporting.study_wording import HOLDS, MARKS, finite, quantity_words, values_words
from residuum.reporting.wording import counted, duration, isolated

NO_VERDICT, NO_MARK = "no verdict", "–"


@dataclass(frozen=True)
class QuantityRow:
    """One quantity; `value` is what the table is sorted by."""

    label: str
    words: str
    unit: str
    count: int
    values: str
    value: float | None


@dataclass(frozen=True)
class StudyView:
    """All that a study's page shows; `parts` are (part, mark, word) each."""

    study: StudyRecord
    mark: str
    beside: str
    parts: list[tuple[Part, str, str]]
    pictures: list[Picture]
    quantities: list[QuantityRow]
    settings: Any
    environment: Any


@dataclass(frozen=True)
class IndexRow:
    """One study among all; `link` is empty where there is no page, `fault` says why there are no figures."""

    name: str
    link: str
    study: StudyRecord | None
    answer: str = NO_VERDICT
    mark: str = NO_MARK
    seeds: str = "–"
    fault: str = ""


def view_study(study: StudyRecord) -> StudyView:
    """Work out everything the page says."""
    charts = [drawable(chart) for chart in study.charts]
    once = {repr(one): one for one in study.quantities.values()}  # a rule may give one a second name
    return StudyView(
        study=study,
        mark=MARKS[study.verdict.answer],
        beside=_beside(study),
        parts=[(part, *HOLDS[part.holds]) for part in study.verdict.parts],
        pictures=[picture(chart, charts) for chart in charts],
        quantities=[_row(one) for one in once.values()],
        settings=_said(study.settings),
        environment=_said(study.environment),
    )


def _row(one: Quantity) -> QuantityRow:
    return QuantityRow(one.label, quantity_words(one), one.unit, len(one.values), values_words(one), finite(one.mean))


def _said(settings: Any) -> Any:
    """Write numbers that are not finite as words, however deep they lie."""
    if isinstance(settings, dict):
        return {name: _said(value) for name, value in settings.items()}
    if isinstance(settings, list):
        return [_said(value) for value in settings]
    if isinstance(settings, float) and not math.isfinite(settings):
        return "not a finite number"
    return settings


def view_row(name: str, link: str, study: StudyRecord) -> IndexRow:
    """Work out a study's row among all."""
    answer, seeds = study.verdict.answer, "–" if study.examined else str(len(study.seeds))
    return IndexRow(name, link, study, answer, MARKS[answer], seeds)


def counts(rows: Sequence[IndexRow]) -> list[tuple[str, str, int]]:
    """Return (verdict, its sign, how many); those not reached are counted only where there are any."""
    found = Counter(row.answer for row in rows)
    reached = [(answer, MARKS[answer], found[answer]) for answer in get_args(Answer)]
    return reached + [(NO_VERDICT, NO_MARK, found[NO_VERDICT])] * (found[NO_VERDICT] > 0)


def _beside(study: StudyRecord) -> str:
    """Say "at scale quick, 3 seeds", what was examined and how long it took."""
    parts = [f"at scale {study.scale}"]
    parts += [f"examining {isolated(study.examined)}" if study.examined else counted(len(study.seeds), "seed")]
    if study.runs:
        trained = duration(sum(study.runs.values()))
        parts += [f"{counted(len(study.runs), 'net')} trained in {trained} in all"]
    return ", ".join([*parts, f"measured in {duration(study.seconds)}"])
