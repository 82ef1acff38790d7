"""The charts: curves, one figure with its interval, confusion map, reliability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from markupsafe import Markup

from residuum.records.evaluation import Bin, Measure
from residuum.reporting.drawing import (
    STYLES,
    Format,
    Frame,
    Scale,
    axes,
    drawing,
    element,
    hover,
    join,
    line,
    marker,
    name_label,
    path,
    percent_format,
    percent_tick,
    plain_format,
    round_step,
    text,
)
from residuum.reporting.points import Points, last, thin
from residuum.reporting.wording import counted, percent, with_interval

MOST_STRIPS = 240
MOST_POINTS = 600
LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # a share above LEVELS[i] has level i + 1


@dataclass(frozen=True)
class Series:
    """One line of a chart. `style` picks colour, dash and marker; `short` labels its end.

    One without a `label` is drawn and never read out.
    """

    label: str
    points: Points
    style: int
    short: str = ""
    faint: bool = False


# --- curves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """What a chart's y axis shows."""

    name: str
    tick: Format = plain_format
    reading: Format = plain_format
    is_share: bool = False
    logarithmic: bool | None = None
    """Whether the axis is; None: where the figures are spiky."""
    near: bool = False
    """Whether the axis may begin near the figures, not at zero, where they lie far from it."""


LOSS = Quantity("loss")
ACCURACY = Quantity("accuracy", percent_tick, percent_format, is_share=True)
RATE = Quantity("learning rate")
SPEED = Quantity("pictures a second")


@dataclass(frozen=True)
class Along:
    """What a chart's x axis shows, and how a place on it is read out."""

    name: str
    reading: Format
    from_zero: bool = True
    tick: Format = plain_format
    ticks: Sequence[float] = ()
    """Where the axis has its values; by default at round ones."""


EPOCH = Along("epoch", lambda x: f"epoch {plain_format(x)}")


def curves(
    series: Sequence[Series],
    quantity: Quantity,
    events: Sequence[tuple[float, str]] = (),
    along: Along = EPOCH,
) -> Markup:
    """Draw series against the epoch, or what else `along` says; `events` are (x, message) marks on the x axis."""
    series = [one for one in series if last(one.points)]
    frame = _frame(series, quantity, along)
    ticks = along.ticks or (_epoch_ticks(frame.x) if along.from_zero else frame.x.ticks(6))
    read = [one for one in series if one.label]
    label = f"{quantity.name} by {along.name}: " + "; ".join(_summary(one, quantity, along) for one in read)
    scale = " (logarithmic)" if frame.y.logarithmic else ""
    return drawing(
        400,
        240,
        label,
        text(6, 11, quantity.name + scale, class_="title"),
        text(frame.right, 236, along.name, "end", "title"),
        axes(frame, (ticks, frame.y.ticks()), along.tick, quantity.tick),
        join([_event(frame, x, f"{along.reading(x)}: {message}") for x, message in events]),
        join([_curve(frame, one) for one in series]),
        _end_labels(frame, series),
        _strips(frame, read, quantity, along),
    )


def _frame(series: Sequence[Series], quantity: Quantity, along: Along) -> Frame:
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points if not math.isnan(y)]
    longest = max(len(one.short) for one in series)
    low, high = (0.0, max(xs) or 1.0) if along.from_zero else _around(min(xs), max(xs))
    return Frame(Scale(low, high, 48, 400 - (10 + 5.8 * longest)), _y_scale(ys, quantity))


def _around(low: float, high: float) -> tuple[float, float]:
    """Leave some room on both sides."""
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - room, high + room


def _y_scale(ys: Sequence[float], quantity: Quantity) -> Scale:
    """Start at zero, except shares (a round value below all), figures far from it, and logarithms."""
    low, high = min(ys), max(ys)
    if quantity.is_share:
        step = round_step(max(high - low, 0.02) / 4)
        top = min(1.0, step * math.ceil(high / step - 1e-9)) or 1.0
        bottom = max(0.0, min(step * math.floor(low / step + 1e-9), top - 4 * step))
        return Scale(bottom, top, 208, 22)
    spiky = high > 30 * median(ys) if quantity.logarithmic is None else quantity.logarithmic
    if low > 0 and spiky:
        return _log_scale(low, high)
    is_far = 0 < high - low < low
    return _close_scale(low, high) if quantity.near and is_far else even_scale(ys)


def _log_scale(low: float, high: float) -> Scale:
    """Return a vertical scale of whole decades."""
    start, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return Scale(10.0**start, 10.0 ** max(end, start + 1), 208, 22, True)


def _close_scale(low: float, high: float) -> Scale:
    """Return a vertical scale with round ends around the figures, wide enough for its values to differ."""
    step = round_step(max(high - low, 0.002 * high) / 4)
    return Scale(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), 208, 22)


def even_scale(ys: Sequence[float]) -> Scale:
    """Return a vertical scale with zero and round ends."""
    low, high = min(0.0, *ys), max(0.0, *ys)
    if low == high:
        high = 1.0
    step = round_step((high - low) / 4)
    return Scale(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), 208, 22)


def _epoch_ticks(x: Scale) -> list[float]:
    """Return whole epochs where there are at least two."""
    ticks = x.ticks(6)
    whole = [tick for tick in ticks if tick == int(tick)]
    return whole if len(whole) > 1 else ticks


def _curve(frame: Frame, one: Series) -> Markup:
    kept = thin(one.points, MOST_POINTS)
    placed = [(frame.x(x), frame.y(y)) for x, y in kept]
    drawn = path(placed, _curve_class(one.style, one.faint))
    marks = [] if one.faint else [(x, y) for x, y in thin(placed, 7) if not math.isnan(y)]
    return join([drawn, *(marker(x, y, one.style) for x, y in marks)])


def _curve_class(style: int, faint: bool) -> str:
    """Pair colours and dashes anew after each round, so that 36 series can be told apart."""
    dash = style // STYLES + style
    return f"curve c{style % STYLES} d{dash % STYLES}" + (" faint" if faint else "")


def sample(style: int, faint: bool = False) -> Markup:
    """Return a piece of a series' line, 30 by 10, for a legend."""
    drawn = path([(1, 5), (29, 5)], _curve_class(style, faint))
    return drawn if faint else drawn + marker(15, 5, style)


def _end_labels(frame: Frame, series: Sequence[Series]) -> Markup:
    """Name each line at its end, moved apart where they would overlap."""
    ends = [(frame.y(found[1]), one) for one in series if one.short and (found := last(one.points))]
    ends.sort(key=lambda end: end[0])
    heights = [y for y, _ in ends]
    for i, (above, below) in enumerate(pairwise(heights)):
        heights[i + 1] = max(below, max(above, heights[i]) + 11.5)
    excess = max(0.0, heights[-1] - frame.bottom) if heights else 0.0
    labels = [
        text(frame.right + 7, y - excess + 3.5, one.short, class_=f"end t{one.style % STYLES}")
        for y, (_, one) in zip(heights, ends, strict=True)
    ]
    return join(labels)


def _event(frame: Frame, x: float, message: str) -> Markup:
    at = frame.x(min(max(x, frame.x.low), frame.x.high))
    title = element("title", message)
    mark = element("path", title, d=f"M{at:.1f} {frame.bottom:.1f}l-4 -7h8z", class_="event")
    return line(at, frame.top, at, frame.bottom, "event") + mark


def _strips(frame: Frame, series: Sequence[Series], quantity: Quantity, along: Along) -> Markup:
    """Lay a hover strip over each x, at most MOST_STRIPS of them."""
    xs = sorted({x for one in series for x, _ in one.points})
    kept = [x for x, _ in thin([(x, 0.0) for x in xs], MOST_STRIPS)]
    at = [frame.x(x) for x in kept]
    edges = [frame.left, *((a + b) / 2 for a, b in pairwise(at)), frame.right]
    values = [(one, dict(one.points)) for one in series]
    return join([_strip(frame, x, edges[i : i + 2], values, quantity, along) for i, x in enumerate(kept)])


def _strip(
    frame: Frame,
    x: float,
    edges: Sequence[float],
    values: Sequence[tuple[Series, dict[float, float]]],
    quantity: Quantity,
    along: Along,
) -> Markup:
    here = [(one, ys[x]) for one, ys in values if not math.isnan(ys.get(x, math.nan))]
    lines = [along.reading(x), *(f"{one.label} {quantity.reading(y)}" for one, y in here)]
    heights = [frame.y(y) for _, y in here]
    dots = [marker(frame.x(x), y, one.style, size=3.6) for (one, _), y in zip(here, heights, strict=True)]
    lines_are_high = sum(heights) < len(heights) * (frame.top + frame.bottom) / 2
    return hover(frame, edges, frame.x(x), dots, lines[:13], low=lines_are_high)


def _summary(one: Series, quantity: Quantity, along: Along) -> str:
    end = last(one.points)
    assert end is not None
    return f"{one.label} ends at {quantity.reading(end[1])} ({along.reading(end[0])})"


# --- one figure with its interval ---------------------------------------------------------------


def interval_line(measure: Measure, baseline: float | None) -> Markup:
    """Draw a share and its interval on a line from 0 to 100 %; `baseline` gets a hollow mark above."""
    x = Scale(0.0, 1.0, 14, 386)
    ticks = [
        line(x(share), 24, x(share), 29, "axis") + text(x(share), 42, percent_tick(share), "middle", "tick")
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts = [line(14, 24, 386, 24, "track"), *ticks]
    if baseline is not None:
        parts.append(element("path", d=f"M{x(baseline):.1f} 18l-5 -9h10z", class_="baseline"))
    parts.append(line(x(measure.low), 24, x(measure.high), 24, "span"))
    parts.append(line(x(measure.value), 15, x(measure.value), 33, "value"))
    return drawing(400, 46, f"top-1 {with_interval(measure)} on a line from 0 to 100 %", *parts)


# --- confusion ----------------------------------------------------------------------------------


def level(share: float) -> int:
    """Return the colour level of a share of a row, 0 (none) to 7 (more than half)."""
    return sum(share > threshold for threshold in LEVELS)


def levels(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return each cell's level within its row."""
    return [[level(cell / sum(row)) if cell else 0 for cell in row] for row in matrix]


def confusion_map(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Draw a K×K map in colour, one path for each level; page.js reads the counts around it."""
    cell = 14.0 if len(names) <= 50 else 9.5
    edge = 118.0
    end = edge + cell * len(names)
    found = levels(matrix)
    kinds = [(one, diagonal) for one in range(1, len(LEVELS) + 1) for diagonal in (True, False)]
    layers = [_cells(found, one, diagonal, cell, edge) for one, diagonal in kinds]
    middles = list(zip(names, [edge + (i + 0.5) * cell for i in range(len(names))], strict=True))
    rows = [name_label(edge - 5, y + 3, name, letters=18) for name, y in middles]
    columns = [name_label(x + 3, edge - 5, name, letters=18, upright=True) for name, x in middles]
    cursor = element("rect", x=edge, y=edge, width=cell, height=cell, class_="cursor")
    frame = element("rect", x=edge, y=edge, width=end - edge, height=end - edge, class_="border")
    label = f"confusion map of {len(names)} classes: rows are the truth, columns what the model said"
    return element(
        "svg",
        frame,
        *layers,
        *rows,
        *columns,
        cursor,
        class_="map" + (" dense" if cell < 12 else ""),
        width=end + 4,
        height=end + 4,
        viewBox=f"0 0 {end + 4:g} {end + 4:g}",
        role="img",
        aria_label=label,
        data_cell=cell,
        data_edge=edge,
    )


def _cells(found: Sequence[Sequence[int]], wanted: int, diagonal: bool, cell: float, edge: float) -> Markup:
    """Return all cells of one level, on or off the diagonal, as one path; nothing if there are none."""
    size = cell - 1
    boxes = [
        f"M{edge + j * cell:g} {edge + i * cell:g}h{size:g}v{size:g}h-{size:g}z"
        for i, row in enumerate(found)
        for j, one in enumerate(row)
        if one == wanted and (i == j) is diagonal
    ]
    kind = "hit" if diagonal else "miss"
    return element("path", d="".join(boxes), class_=f"{kind} l{wanted}") if boxes else Markup("")


# --- calibration --------------------------------------------------------------------------------

FEW = 20  # pictures in a bin below which its mean says little


def reliability(bins: Sequence[Bin]) -> Markup:
    """Draw accuracy against confidence, with the number of pictures in each bin below."""
    x = Scale(0.0, 1.0, 48, 388)
    upper, lower = Frame(x, Scale(0.0, 1.0, 222, 22)), _count_frame(x, bins)
    used = [one for one in bins if one.count]
    label = "accuracy by confidence: " + "; ".join(", ".join(_bin_words(one)[1:]) for one in used)
    whole = Frame(x, Scale(0.0, 1.0, lower.bottom, upper.top))
    return drawing(
        400,
        344,
        label,
        text(6, 11, "accuracy", class_="title"),
        text(6, 250, "pictures", class_="title"),
        text(388, 341, "confidence", "end", "title"),
        axes(upper, ([], upper.y.ticks()), percent_tick, percent_tick),
        axes(lower, (x.ticks(), lower.y.ticks(2)), percent_tick, plain_format),
        line(x(0), upper.y(0), x(1), upper.y(1), "ideal"),
        join([_gap(upper, one) for one in used]),
        path([(upper.x(one.confidence or 0), upper.y(one.accuracy or 0)) for one in used], "curve c0 d0"),
        join([_bin_mark(upper, one) for one in used]),
        join([_bin_bar(lower, one) for one in bins]),
        join([hover(whole, (x(b.low), x(b.high)), x((b.low + b.high) / 2), [], _bin_words(b)) for b in bins]),
    )


def _count_frame(x: Scale, bins: Sequence[Bin]) -> Frame:
    most = max((one.count for one in bins), default=0) or 1
    step = round_step(most / 2)
    return Frame(x, Scale(0.0, step * math.ceil(most / step), 312, 258))


def _gap(frame: Frame, one: Bin) -> Markup:
    """Join the bin's point to the diagonal: the length is how far its confidence is off."""
    at, accuracy = one.confidence or 0.0, one.accuracy or 0.0
    return line(frame.x(at), frame.y(at), frame.x(at), frame.y(accuracy), "gap")


def _bin_mark(frame: Frame, one: Bin) -> Markup:
    class_ = "hollow" if one.count < FEW else ""
    return marker(frame.x(one.confidence or 0.0), frame.y(one.accuracy or 0.0), 0, class_, size=3.4)


def _bin_bar(frame: Frame, one: Bin) -> Markup:
    left, right, top = frame.x(one.low) + 1, frame.x(one.high) - 1, frame.y(float(one.count))
    return element("rect", x=left, y=top, width=right - left, height=frame.bottom - top, class_="bar")


def _bin_words(one: Bin) -> list[str]:
    within = f"confidence {percent(one.low, 0)} to {percent(one.high, 0)}"
    if not one.count:
        return [within, "no pictures"]
    means = f"mean {percent(one.confidence)}, right {percent(one.accuracy)}"
    return [within, means, counted(one.count, "picture")]
