"""The charts of what depth is worth: accuracy lost block by block, and accuracy against blocks gone and time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import mean

from markupsafe import Markup

from residuum.records.depth import Lesion, LesionRow, Trim
from residuum.reporting.charts import ACCURACY, Along, Series, curves, even_scale
from residuum.reporting.depth_view import milliseconds, points
from residuum.reporting.drawing import (
    Frame,
    Scale,
    axes,
    drawing,
    element,
    hover,
    join,
    line,
    marker,
    plain_format,
    text,
)
from residuum.reporting.one_run import Chart
from residuum.reporting.points import Points, last
from residuum.reporting.wording import counted, isolated, percent

CLOSE = 0.1  # how far below the whole net's accuracy the close-up reaches
LEFT, RIGHT = 48.0, 392.0

# --- lesion: one bar a block --------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """One block's bar: what it lost in points (None: it could not be left out), and where it stands."""

    row: LesionRow
    lost: float | None
    start: float
    end: float

    @property
    def style(self) -> int:
        """Return the colour: blocks that may go, that change the shape, that stay for another reason."""
        return 0 if self.row.removable else 1 if self.row.changes_shape else 3


def lesion_charts(found: Lesion) -> list[Chart]:
    """Draw all blocks, and again those that may go where others dwarf them."""
    may_go = tuple(row for row in found.blocks if row.removable)
    titles = {"Every block": found.blocks}
    if may_go and any(row.accuracy is not None for row in found.blocks if not row.removable):
        titles["The blocks that can be taken out"] = may_go
    return [Chart(title, drawn) for title, rows in titles.items() if (drawn := _bars(found, rows))]


def _bars(found: Lesion, rows: Sequence[LesionRow]) -> Markup | None:
    values = [value for row in rows if (value := found.lost(row)) is not None]
    if not values:
        return None
    bars = _placed(found, rows)
    frame = Frame(Scale(0.0, 1.0, LEFT, RIGHT), _lost_scale(values))
    named = [f"{bar.row.name} {points(bar.lost)}" for bar in bars if bar.lost is not None]
    return drawing(
        400,
        240,
        f"points of accuracy lost without each of {counted(len(bars), 'block')}: {'; '.join(named)}",
        text(6, 11, "points of accuracy lost", class_="title"),
        text(frame.right, 236, "stage", "end", "title"),
        axes(frame, ([], frame.y.ticks()), plain_format, plain_format),
        line(frame.left, frame.y(0), frame.right, frame.y(0), "axis"),
        join([_bar(frame, bar) for bar in bars]),
        join(_stage_labels(frame, bars)),
        join([_bar_strip(frame, found, bar) for bar in bars]),
    )


def _lost_scale(values: Sequence[float]) -> Scale:
    """Start at zero, or just below the largest gain."""
    scale = even_scale(values)
    low = min(0.0, *values)
    return replace(scale, low=max(scale.low, low - 0.04 * (scale.high - low)) if low < 0 else 0.0)


def _placed(found: Lesion, rows: Sequence[LesionRow]) -> list[Bar]:
    """Give each block its place, with a gap between stages."""
    stages = len({row.stage for row in rows})
    gap = max(0.6, 0.02 * len(rows))
    unit = (RIGHT - LEFT) / (len(rows) + gap * stages)
    bars, x, stage = list[Bar](), LEFT - gap * unit / 2, None
    for row in rows:
        x += gap * unit if row.stage != stage else 0.0
        stage = row.stage
        bars.append(Bar(row, found.lost(row), x, x + unit))
        x += unit
    return bars


def _bar(frame: Frame, bar: Bar) -> Markup:
    middle, inset = (bar.start + bar.end) / 2, 0.12 * (bar.end - bar.start)
    if bar.lost is None:
        return marker(middle, frame.y(0) - 6, 4, "quiet")
    top, bottom = sorted((frame.y(bar.lost), frame.y(0)))
    body = element(
        "rect",
        x=bar.start + inset,
        y=top,
        width=bar.end - bar.start - 2 * inset,
        height=max(bottom - top, 0.8),
        class_=f"lost b{bar.style}",
    )
    return body if bar.row.removable else body + marker(middle, top - 6, bar.style)


def _stage_labels(frame: Frame, bars: Sequence[Bar]) -> list[Markup]:
    groups = [list(group) for _, group in groupby(bars, key=lambda bar: bar.row.stage)]
    return [
        text(
            (group[0].start + group[-1].end) / 2, frame.bottom + 15, f"{group[0].row.stage}", "middle", "tick"
        )
        for group in groups
    ]


def _bar_strip(frame: Frame, found: Lesion, bar: Bar) -> Markup:
    words = [isolated(bar.row.name), *_bar_words(bar)]
    is_high = bar.lost is not None and frame.y(bar.lost) < (frame.top + frame.bottom) / 2
    return hover(frame, (bar.start, bar.end), (bar.start + bar.end) / 2, [], words, low=is_high)


def _bar_words(bar: Bar) -> list[str]:
    why = [] if bar.row.removable else ["changes the shape" if bar.row.changes_shape else "has to stay"]
    if bar.lost is None:
        return ["cannot be left out", *why]
    return [points_lost(bar.lost), f"accuracy {percent(bar.row.accuracy)}", *why]


def points_lost(value: float) -> str:
    """Write "0.42 points lost", or gained."""
    written = points(value)
    return f"{written.removeprefix('−')} points {'gained' if written[0] == '−' else 'lost'}"


# --- trim: accuracy against blocks gone, and against time ---------------------------------------

GONE = Along("blocks taken out", lambda x: f"{counted(int(x), 'block')} taken out")


def trim_charts(found: Trim) -> list[Chart]:
    """Draw accuracy against blocks gone, close to the whole net's once more, and against each batch's latency."""
    series = _by_removed(found)
    events = [(float(found.chosen.removed), "the net that was chosen")] if found.chosen else []
    charts = [_accuracy_chart("Accuracy against blocks taken out", series, events)]
    charts.append(_close_up(found, series, events))
    charts += [_latency_chart(found, size) for size in found.batches]
    return [chart for chart in charts if chart]


def _accuracy_chart(
    title: str, series: Sequence[Series], events: Sequence[tuple[float, str]], along: Along = GONE
) -> Chart | None:
    if not any(not math.isnan(y) for one in series for _, y in one.points):
        return None
    legend = [one for one in reversed(series) if one.label and last(one.points)]
    return Chart(title, curves(series, ACCURACY, events, along), legend)


def _by_removed(found: Trim) -> list[Series]:
    """Return all lines, the most important last, so that it lies on top; random orders are drawn faintly."""
    chosen_order = [
        Series("least harmful first, recalibrated", _line([p.accuracy_recalibrated for p in found.curve]), 0),
        Series("the same, BN as trained", _line([p.accuracy for p in found.curve]), 1),
    ]
    draws = [Series("", _line(draw.accuracy_recalibrated), 2, faint=True) for draw in found.random]
    means = [Series("random order, recalibrated, mean", _line(random_means(found)), 2)] if draws else []
    return [*_repaired(found), *draws, *means, *reversed(chosen_order)]


def _line(values: Sequence[float]) -> Points:
    return [(float(k), value) for k, value in enumerate(values)]


def random_means(found: Trim) -> list[float]:
    """Return the mean accuracy of the random draws, if there are any, recalibrated, by the number of blocks gone."""
    return [mean(random_at(found, k)) for k in range(len(found.curve))] if found.random else []


def random_at(found: Trim, removed: int) -> list[float]:
    """Return each draw's accuracy with so many blocks gone, recalibrated."""
    return [draw.accuracy_recalibrated[removed] for draw in found.random]


def _repaired(found: Trim, x: float | None = None) -> list[Series]:
    """Return the repaired net as one point, at `x`, or at its number of blocks gone."""
    after = found.repaired.validation_accuracy if found.repaired else None
    if found.chosen is None or after is None:
        return []
    return [Series("after repair", [(float(found.chosen.removed) if x is None else x, after)], 3)]


def _close_up(found: Trim, series: Sequence[Series], events: Sequence[tuple[float, str]]) -> Chart | None:
    """Draw only what lies near the whole net's accuracy; nothing if that is all there is."""
    whole = found.curve[0].accuracy if found.curve else 0.0
    if all(y >= whole - CLOSE for one in series for _, y in one.points if not math.isnan(y)):
        return None
    near = [_near(one, whole - CLOSE) for one in series]
    reach = max((x for one in near if one.label for x, _ in one.points), default=0.0)
    marks = [(x, message) for x, message in events if x <= reach]
    return _accuracy_chart("The same, close to the whole net", near, marks) if reach >= 2 else None


def _near(one: Series, floor: float) -> Series:
    """Cut a line where it first falls below the floor."""
    beyond = next((i for i, (_, y) in enumerate(one.points) if y < floor), len(one.points))
    return Series(one.label, one.points[:beyond], one.style, one.short, one.faint)


def _latency_chart(found: Trim, size: int) -> Chart | None:
    """Draw accuracy against the milliseconds of a batch; the whole net is the slowest."""
    timed = [(point.latency_ms[size], point) for point in found.curve if point.latency_ms]
    gone = {ms: point.removed for ms, point in timed}
    recalibrated = [(ms, point.accuracy_recalibrated) for ms, point in timed]
    as_trained = [(ms, point.accuracy) for ms, point in timed]
    chosen = timed[found.chosen.removed][0] if found.chosen else None
    series = [
        *(_repaired(found, chosen) if chosen is not None else []),
        Series("BN as trained", as_trained, 1),
        Series("recalibrated", recalibrated, 0),
    ]

    def reading(ms: float) -> str:
        return milliseconds(ms) + (f", {counted(gone[ms], 'block')} taken out" if ms in gone else "")

    pictures = "one picture" if size == 1 else f"{size} pictures"
    along = Along(f"milliseconds for {pictures}", reading, from_zero=False)
    events = [(chosen, "the net that was chosen")] if chosen is not None else []
    return _accuracy_chart(f"Accuracy against time, {pictures} at once", series, events, along)
