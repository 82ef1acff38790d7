"""What can be drawn of a study's charts: nan stands for what cannot, and a field has no more cells than a page."""

import math
from collections.abc import Iterable

from msgspec.structs import replace

from residuum.records.study import Bars, Chart, Line, Lines, Map, Points

LARGEST = 1e100  # beyond it nothing can be drawn
MOST_CELLS = 128  # rows or columns of a field that are kept


def drawable(chart: Chart) -> Chart:
    """Return the chart without what cannot be drawn: a gap in a line or a field, a value less in a bar."""
    if isinstance(chart, Lines):
        return replace(
            chart,
            lines=tuple(Line(one.label, _points(one.points), tuple(map(_points, one.seeds))) for one in chart.lines),
        )
    if isinstance(chart, Bars):
        return replace(chart, bars=tuple(replace(one, values=_without_gaps(one.values)) for one in chart.bars))
    return _map(chart)


def _gap(value: float) -> float:
    """Return nan for what is no number or too large, and 0 for what is, beside it, too small for arithmetic."""
    if not abs(value) <= LARGEST:
        return math.nan
    return float(value) if abs(value) > 1 / LARGEST else 0.0


def _without_gaps(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(value for value in map(_gap, values) if not math.isnan(value))


def _points(points: Points) -> Points:
    """Return the points whose x can be drawn."""
    placed = ((_gap(x), _gap(y)) for x, y in points)
    return tuple((x, y) for x, y in placed if not math.isnan(x))


def _map(chart: Map) -> Map:
    """Return every so many rows and columns of it, where there are too many."""
    height, width = len(chart.rows), len(chart.rows[0]) if chart.rows else 0
    down, across = (math.ceil(size / MOST_CELLS) or 1 for size in (height, width))
    rows = tuple(tuple(map(_gap, row[::across])) for row in chart.rows[::down])
    return replace(chart, rows=rows, x_range=_ends(chart.x_range, width), y_range=_ends(chart.y_range, height))


def _ends(ends: tuple[float, float], size: int) -> tuple[float, float]:
    """Return the two ends; where they cannot be, the cells are counted from 0."""
    low, high = map(_gap, ends)
    if math.isnan(low) or math.isnan(high) or low == high:
        return 0.0, float(max(size - 1, 1))
    return low, high
