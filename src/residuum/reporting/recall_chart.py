"""The chart of several runs: each class's recall side by side."""

from collections.abc import Sequence

from markupsafe import Markup

from residuum.records.evaluation import ClassFigures, Measure
from residuum.reporting import svg
from residuum.reporting.svg import Scale
from residuum.reporting.wording import with_interval

Row = tuple[str, list[ClassFigures | None]]  # a class and its figures in each run


def recall_plot(rows: Sequence[Row], labels: Sequence[str], low: float) -> Markup:
    """Draw each class's recall in each run, with its interval, from `low` to 1: one row a class, one line a run."""
    height = 8.0 * len(labels) + 8
    bottom = 8 + height * len(rows)
    x = Scale(low, 1.0, 118, 388)
    parts = [svg.line(x(share), 6, x(share), bottom, "grid") for share in x.ticks()]
    parts += [svg.text(x(at), bottom + 14, svg.percent_tick(at), "middle", "tick") for at in x.ticks()]
    for i, (name, found) in enumerate(rows):
        top = 8 + height * i
        parts.append(svg.line(118, top, 388, top, "row"))
        parts.append(svg.name_label(110, top + height / 2 + 3.5, name, letters=16))
        known = [(j, one.recall) for j, one in enumerate(found) if one and one.recall and one.images]
        parts += [_recall_mark(x, top + 8 + 8 * j, j, recall, labels[j]) for j, recall in known]
    return svg.drawing(bottom + 20, f"recall of {len(rows)} classes in {len(labels)} runs", *parts)


def _recall_mark(x: Scale, y: float, style: int, recall: Measure, label: str) -> Markup:
    return svg.element(
        "g",
        svg.element("title", f"{label}: {with_interval(recall)}"),
        svg.line(x(recall.low), y, x(recall.high), y, f"whisker c{style % svg.STYLES}"),
        svg.marker(x(recall.value), y, style),
    )
