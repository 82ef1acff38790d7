"""The charts of what depth is worth: accuracy lost block by block, and accuracy against blocks gone and time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, takewhile
from statistics import mean

from markupsafe import Markup

from residuum.records.depth import Lesion, LesionRow, Trim
from residuum.reporting import svg
from residuum.reporting.charts import ACCURACY, Picture, Series, XAxis, YAxis, curves
from residuum.reporting.depth_view import milliseconds, points
from residuum.reporting.points import Points, last
from residuum.reporting.svg import Frame, Scale
from residuum.reporting.wording import counted, isolated, percent

CLOSE = 0.1  # how far below the whole net's accuracy the close-up reaches at least
STEP = 0.05  # of which its ends are multiples
LEFT, RIGHT = 48.0, 392.0
NAMED_BARS = 30
"""So many bars have room for their blocks' numbers."""

# --- lesion: one bar a block --------------------------------------------------------------------


@dataclass(frozen=True)
class BlockBar:
    """One block's bar: what it lost in points (None: it could not be left out), and where it stands."""

    row: LesionRow
    lost: float | None
    start: float
    end: float

    @property
    def style(self) -> int:
        """Return the colour: blocks that may go, that change the shape, that stay for another reason."""
        return 0 if self.row.removable else 1 if self.row.changes_shape else 3


def lesion_charts(found: Lesion) -> list[Picture]:
    """Draw all blocks, and again those that may go where others dwarf them."""
    may_go = tuple(row for row in found.blocks if row.removable)
    titles = {"Every block": found.blocks}
    if may_go and any(row.accuracy is not None for row in found.blocks if not row.removable):
        titles["The blocks that can be taken out"] = may_go
    return [Picture(title, drawn) for title, rows in titles.items() if (drawn := _bars(found, rows))]


def _bars(found: Lesion, rows: Sequence[LesionRow]) -> Markup | None:
    values = [value for row in rows if (value := found.lost(row)) is not None]
    if not values:
        return None
    bars = _placed(found, rows)
    even, low = svg.even_scale(values), min(0.0, *values)  # the axis starts just below the largest gain
    low = max(even.low, low - 0.04 * (even.high - low)) if low < 0 else 0.0
    frame = Frame(Scale(0.0, 1.0, LEFT, RIGHT), replace(even, low=low))
    groups = [(stage, list(group)) for stage, group in groupby(bars, key=lambda bar: bar.row.stage)]
    stages = [(f"stage{stage}", (group[0].start + group[-1].end) / 2) for stage, group in groups]
    has_room = len(bars) <= NAMED_BARS
    blocks = [(bar.row.name.rpartition("block")[2], (bar.start + bar.end) / 2) for bar in bars if has_room]
    named = [f"{bar.row.name} {points(bar.lost)}" for bar in bars if bar.lost is not None]
    return svg.drawing(
        240,
        f"points of accuracy lost without each of {counted(len(bars), 'block')}: {'; '.join(named)}",
        svg.title(11, "points of accuracy lost"),
        svg.axes(frame, [], frame.y.ticks(), svg.plain_format, svg.plain_format),
        svg.line(frame.left, frame.y(0), frame.right, frame.y(0), "axis"),
        *[_bar(frame, bar) for bar in bars],
        *[svg.text(middle, frame.bottom + 14, number, "middle", "tick") for number, middle in blocks],
        *[svg.text(middle, 236, stage, "middle", "tick") for stage, middle in stages],
        *[_bar_strip(frame, bar) for bar in bars],
    )


def _placed(found: Lesion, rows: Sequence[LesionRow]) -> list[BlockBar]:
    """Give each block its place, with a gap between stages."""
    stages = len({row.stage for row in rows})
    gap = max(0.6, 0.02 * len(rows))
    unit = (RIGHT - LEFT) / (len(rows) + gap * stages)
    bars, x = list[BlockBar](), LEFT - gap * unit / 2
    for row in rows:
        x += gap * unit if not bars or row.stage != bars[-1].row.stage else 0.0
        bars.append(BlockBar(row, found.lost(row), x, x + unit))
        x += unit
    return bars


def _bar(frame: Frame, bar: BlockBar) -> Markup:
    width = bar.end - bar.start
    middle, inset = (bar.start + bar.end) / 2, 0.12 * width
    if bar.lost is None:
        return svg.marker(middle, frame.y(0) - 6, 4, "quiet")
    top, bottom = sorted((frame.y(bar.lost), frame.y(0)))
    height = max(bottom - top, 0.8)
    body = svg.rect(bar.start + inset, top, width - 2 * inset, height, f"lost b{bar.style}")
    return body if bar.row.removable else body + svg.marker(middle, top - 6, bar.style)


def _bar_strip(frame: Frame, bar: BlockBar) -> Markup:
    words, is_high = [isolated(bar.row.name), "cannot be left out"], False
    if bar.lost is not None:
        written, is_high = points(bar.lost), frame.y(bar.lost) < (frame.top + frame.bottom) / 2
        points_lost = f"{written.removeprefix('−')} points {'gained' if written[0] == '−' else 'lost'}"
        words[1:] = [points_lost, f"accuracy {percent(bar.row.accuracy)}"]
    if not bar.row.removable:
        words.append("changes the shape" if bar.row.changes_shape else "has to stay")
    return svg.hover(frame, (bar.start, bar.end), (bar.start + bar.end) / 2, words, low=is_high)


# --- trim: accuracy against blocks gone, and against time ---------------------------------------

GONE = XAxis("blocks taken out", lambda x: f"{counted(int(x), 'block')} taken out")


def trim_charts(found: Trim) -> list[Picture]:
    """Draw accuracy against blocks gone, close to the whole net's once more, and against each batch's latency."""
    series = _by_removed(found)
    events = [(float(found.chosen.removed), "the net that was chosen")] if found.chosen else []
    whole = _accuracy_chart("Accuracy against blocks taken out", series, events)
    timed = [_latency_chart(found, size) for size in found.told]
    return [chart for chart in (whole, _close_up(found, series, events), *timed) if chart]


def _accuracy_chart(
    title: str, series: Sequence[Series], events: Sequence[tuple[float, str]], x: XAxis = GONE, y: YAxis = ACCURACY
) -> Picture | None:
    if not any(not math.isnan(at) for one in series for _, at in one.points):
        return None
    legend = [one for one in reversed(series) if one.label and last(one.points)]
    legend += [replace(one, label="random order, each draw") for one in series if one.faint][:1]
    return Picture(title, curves(series, y, events, x), legend)


def _by_removed(found: Trim) -> list[Series]:
    """Return all lines, the most important last, so that it lies on top; random orders are drawn faintly."""
    treated = "BN as trained" if found.is_folded else "recalibrated"
    least = _line([point.accuracy_with(recalibrated=True) for point in found.curve])
    chosen_order = [Series(f"least harmful first, {treated}", least, 0)]
    if not found.is_folded:
        chosen_order.append(Series("the same, BN as trained", _line([p.accuracy for p in found.curve]), 1))
    draws = [Series("", _line(draw.accuracy_with(recalibrated=True)), 2, faint=True) for draw in found.random]
    means = [Series(f"random order, {treated}, mean", _line(random_means(found)), 2)] if draws else []
    return [*_repaired(found), *draws, *means, *reversed(chosen_order)]


def _line(values: Sequence[float]) -> Points:
    return [(float(k), value) for k, value in enumerate(values)]


def random_means(found: Trim) -> list[float]:
    """Return the mean accuracy of the random draws, if there are any, by the number of blocks gone.

    Recalibrated, unless BN is folded.
    """
    draws = [draw.accuracy_with(recalibrated=True) for draw in found.random]
    return [mean(values) for values in zip(*draws, strict=True)]


def _repaired(found: Trim, x: float | None = None) -> list[Series]:
    """Return the repaired net as one point, at `x`, or at its number of blocks gone."""
    after = found.repaired.validation_accuracy if found.repaired else None
    if found.chosen is None or after is None:
        return []
    return [Series("after repair", [(float(found.chosen.removed) if x is None else x, after)], 3)]


def _close_up(found: Trim, series: Sequence[Series], events: Sequence[tuple[float, str]]) -> Picture | None:
    """Draw only what lies near the whole net's accuracy; nothing if that is all there is."""
    whole = found.curve[0].accuracy if found.curve else 0.0
    floor = max(0.0, svg.round_scale(whole - CLOSE, whole, STEP).low)
    if all(y >= floor for one in series for _, y in one.points if not math.isnan(y)):
        return None
    near = [part for one in series for part in _above(one, floor)]
    reach = max((x for one in near if one.label for x, _ in one.points), default=0.0)
    marks = [(x, message) for x, message in events if x <= reach]
    top = max((y for one in near for _, y in one.points if not math.isnan(y)), default=1.0)
    axis = replace(ACCURACY, ends=(floor, min(1.0, svg.round_scale(floor, top, STEP).high)))
    return _accuracy_chart("The same, close to the whole net", near, marks, y=axis) if reach >= 2 else None


def _above(one: Series, floor: float) -> list[Series]:
    """Cut a line where it first falls below `floor`; what leads down to there is drawn and not read out."""
    kept = list(takewhile(lambda p: not p[1] < floor, one.points))
    if not kept or len(kept) == len(one.points):
        return [replace(one, points=kept)]
    (x, y), (then, below) = kept[-1], one.points[len(kept)]
    way_down = [(x, y), (x + (then - x) * (y - floor) / (y - below), floor)]
    return [replace(one, points=way_down, label="", short=""), replace(one, points=kept)]


def _latency_chart(found: Trim, size: int) -> Picture | None:
    """Draw accuracy against the milliseconds of a batch; the whole net is the slowest."""
    timed = [(point.latency_ms[size], point) for point in found.curve if point.latency_ms]
    gone = {ms: point.removed for ms, point in timed}
    chosen = timed[found.chosen.removed][0] if found.chosen else None
    series = _repaired(found, chosen) if chosen is not None else []
    series.append(Series("BN as trained", [(ms, point.accuracy) for ms, point in timed], 1))
    if not found.is_folded:
        series.append(Series("recalibrated", [(ms, point.accuracy_with(recalibrated=True)) for ms, point in timed], 0))

    def reading(ms: float) -> str:
        return milliseconds(ms) + (f", {counted(gone[ms], 'block')} taken out" if ms in gone else "")

    pictures = "one picture" if size == 1 else f"{size} pictures"
    x = XAxis(f"milliseconds for {pictures}", reading, from_zero=False)
    events = [(chosen, "the net that was chosen")] if chosen is not None else []
    return _accuracy_chart(f"Accuracy against time, {pictures} at once", series, events, x)
