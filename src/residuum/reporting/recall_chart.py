"""The chart of several runs: each class's recall side by side."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from residuum.records.evaluation import ClassFigures, Measure
from residuum.reporting.drawing import (
    STYLES,
    Scale,
    drawing,
    element,
    join,
    line,
    marker,
    name_label,
    percent_tick,
    text,
)
from residuum.reporting.wording import with_interval

Row = tuple[str, list[ClassFigures | None]]  # a class and its figures in each run


def recall_floor(rows: Sequence[Row]) -> float:
    """Return the round share from which all recalls and their intervals can be drawn."""
    lowest = min((one.recall.low for _, found in rows for one in found if one), default=0.0)
    return min(math.floor(lowest * 10) / 10, 0.9)


def recall_plot(rows: Sequence[Row], labels: Sequence[str], low: float) -> Markup:
    """Draw each class's recall in each run, with its interval, from `low` to 1: one row a class, one line a run."""
    height = 8.0 * len(labels) + 8
    bottom = 8 + height * len(rows)
    x = Scale(low, 1.0, 118, 388)
    shares = x.ticks()
    grid = [line(x(share), 6, x(share), bottom, "grid") for share in shares]
    ticks = [text(x(share), bottom + 14, percent_tick(share), "middle", "tick") for share in shares]
    label = f"recall of {len(rows)} classes in {len(labels)} runs"
    body = [
        line(118, 8 + height * i, 388, 8 + height * i, "row")
        + name_label(110, 8 + height * (i + 0.5) + 3.5, name, letters=17)
        + _recall_marks(x, 16 + height * i, found, labels)
        for i, (name, found) in enumerate(rows)
    ]
    return drawing(400, bottom + 20, label, *grid, *ticks, *body)


def _recall_marks(
    x: Scale, top: float, found: Sequence[ClassFigures | None], labels: Sequence[str]
) -> Markup:
    """Return one marker a run, each on its own line; a run that lacks the class gets none."""
    return join(
        [_recall_mark(x, top + 8 * i, i, one.recall, labels[i]) for i, one in enumerate(found) if one]
    )


def _recall_mark(x: Scale, y: float, style: int, recall: Measure, label: str) -> Markup:
    return element(
        "g",
        element("title", f"{label}: {with_interval(recall)}"),
        line(x(recall.low), y, x(recall.high), y, f"whisker c{style % STYLES}"),
        marker(x(recall.value), y, style),
    )
