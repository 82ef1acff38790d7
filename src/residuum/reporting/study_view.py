"""What the page about a study says, and what the table of all studies says."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from residuum.records.study import Quantity, StudyRecord
from residuum.reporting.charts import Picture
from residuum.reporting.study_charts import picture
from residuum.reporting.study_drawable import drawable
from residuum.reporting.study_wording import MARKS, NO_VERDICT
from residuum.reporting.wording import counted, duration, isolated


@dataclass(frozen=True)
class StudyView:
    """All that a study's page shows."""

    study: StudyRecord
    beside: str
    pictures: list[Picture]
    quantities: list[Quantity]
    settings: Any
    environment: Any


@dataclass(frozen=True)
class IndexRow:
    """One study among all; `link` is empty where there is no page, `fault` says why there are no figures."""

    name: str
    link: str
    study: StudyRecord | None
    fault: str = ""

    @property
    def answer(self) -> str:
        """Return its verdict, if it has one."""
        return self.study.verdict.answer if self.study else NO_VERDICT


def view_study(study: StudyRecord) -> StudyView:
    """Work out everything the page says."""
    charts = [drawable(chart) for chart in study.charts]
    once = {repr(one): one for one in study.quantities.values()}  # a rule may give one a second name
    return StudyView(
        study=study,
        beside=_beside(study),
        pictures=[picture(chart, charts) for chart in charts],
        quantities=list(once.values()),
        settings=_said(study.settings),
        environment=_said(study.environment),
    )


def _said(settings: Any) -> Any:
    """Write numbers that are not finite as words, however deep they lie."""
    if isinstance(settings, dict):
        return {name: _said(value) for name, value in settings.items()}
    if isinstance(settings, list):
        return [_said(value) for value in settings]
    if isinstance(settings, float) and not math.isfinite(settings):
        return "not a finite number"
    return settings


def counts(rows: Sequence[IndexRow]) -> list[tuple[str, int]]:
    """Return (verdict, how many); those not reached are counted only where there are any."""
    found = Counter(row.answer for row in rows)
    return [(answer, found[answer]) for answer in MARKS if answer in found or answer != NO_VERDICT]


def _beside(study: StudyRecord) -> str:
    """Say "at scale quick, 3 seeds", what was examined and how long it took."""
    parts = [f"at scale {study.scale}"]
    parts += [f"examining {isolated(study.examined)}" if study.examined else counted(len(study.seeds), "seed")]
    if study.runs:
        trained = duration(sum(study.runs.values()))
        parts += [f"{counted(len(study.runs), 'net')} trained in {trained} in all"]
    return ", ".join([*parts, f"measured in {duration(study.seconds)}"])
