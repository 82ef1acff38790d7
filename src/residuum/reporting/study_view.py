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
from residuum.reporting.study_wording import MARKS, NO_VERDICT, ONE_NET, TINY
from residuum.reporting.wording import counted, duration


@dataclass(frozen=True)
class StudyView:
    """All that a study's page shows."""

    study: StudyRecord
    beside: str
    pictures: list[Picture]
    quantities: list[Quantity]
    settings: Any
    environment: Any

    @property
    def made(self) -> list[tuple[str, object]]:
        """Return how much was trained and measured; a given model has no seeds of ours."""
        study, own = self.study, self.study.examined is None
        trained = [("seeds", study.seeds), ("nets trained", len(study.runs))] if own else [("model", study.examined)]
        took = [("training, all together", duration(sum(study.runs.values())))] if own else []
        seen = [("pictures", study.pictures)] if study.pictures else []
        return [("scale", study.scale), *seen, *trained, *took, ("measuring", duration(study.seconds))]


@dataclass(frozen=True)
class IndexRow:
    """One study among all; `link` is empty where there is no page, `fault` says why there are no figures."""

    name: str
    link: str
    study: StudyRecord | None
    fault: str = ""

    @property
    def answer(self) -> str:
        """Return its verdict, if it has one, or why it has none."""
        if self.study is None:
            return NO_VERDICT
        return self.study.answer or ONE_NET

    @property
    def counts_as(self) -> str:
        """Return what it is counted as: a verdict at scale tiny decides nothing."""
        return TINY if self.study and self.study.only_tiny else self.answer


def view_study(study: StudyRecord) -> StudyView:
    """Work out everything the page says."""
    charts = [drawable(chart) for chart in study.charts]
    once = {repr(one): one for one in study.quantities.values()}  # a rule may give one a second name
    return StudyView(
        study=study,
        beside=_beside(study),
        pictures=[
            picture(chart, [one for one in charts if one is not chart], "draw" if study.examined else "seed")
            for chart in charts
        ],
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
    """Return (verdict, how many); what is no verdict is counted only where there is any."""
    found = Counter(row.counts_as for row in rows)
    return [(answer, found[answer]) for answer in MARKS if answer in found or answer not in {ONE_NET, TINY, NO_VERDICT}]


def _beside(study: StudyRecord) -> str:
    """Say "at scale quick, 3 seeds", what was examined and how long it took."""
    parts = [] if study.examined else [f"at scale {study.scale}"]
    on = f" on {study.pictures}" if study.pictures else ""
    parts += [f"one net{on}" if study.examined else counted(len(study.seeds), "seed")]
    if study.runs:
        trained = duration(sum(study.runs.values()))
        parts += [f"{counted(len(study.runs), 'net')} trained, {trained} of training steps in all"]
    return ", ".join([*parts, f"measured in {duration(study.seconds)}"])
