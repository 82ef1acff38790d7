"""A record of the study `identity` from before figures had limits: steps that never sufficed are said to be more."""

from msgspec.structs import replace

from residuum.records.study import Bars, Chart, Part, Quantity, StudyRecord, Words

COUNTED = "Back at the shallow net's training loss"
"""The chart of the steps."""


def with_limits(study: StudyRecord) -> StudyRecord:
    """Return the record as it would be written now; its figures stay."""
    steps = study.settings.get("steps")
    if study.name != "identity" or not isinstance(steps, int):
        return study
    limited = {name: replace(one, limit=steps) for name, one in study.quantities.items() if _lacks(name, one)}
    if not limited:
        return study
    changed = {str(study.quantities[name]): str(one) for name, one in limited.items() if one.bound}

    def said(text: str) -> str:
        for before, now in changed.items():
            text = text.replace(before, now)
        return text

    verdict = study.verdict
    parts = verdict and tuple(Part(said(part.words), part.holds) for part in verdict.parts)
    return replace(
        study,
        measured=Words(said(study.measured.en), said(study.measured.zh)),
        verdict=verdict and replace(verdict, parts=parts),
        quantities=study.quantities | limited,
        charts=tuple(_chart(chart, steps) for chart in study.charts),
    )


def _lacks(name: str, one: Quantity) -> bool:
    return name.startswith("steps-") and one.limit is None


def _chart(chart: Chart, steps: int) -> Chart:
    if not isinstance(chart, Bars) or chart.title != COUNTED:
        return chart
    return replace(chart, bars=tuple(replace(bar, limit=steps) for bar in chart.bars))
