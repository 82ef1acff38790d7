"""The charts: curves, one figure with its interval, confusion map, reliability."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from markupsafe import Markup

from residuum.records.evaluation import Bin, Measure
from residuum.reporting import svg
from residuum.reporting.points import Points, last, thin, to_mark
from residuum.reporting.svg import Format, Frame, Scale
from residuum.reporting.wording import counted, isolated, percent, shown, text_width, with_interval

MOST_STRIPS = 240
MOST_POINTS = 600
LEVELS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # a share above LEVELS[i] has level i + 1


@dataclass(frozen=True)
class Series:
    """One line of a chart. `style` picks colour, dash and marker; `short` labels its end.

    One without a `label` is drawn without markers and never read out.
    """

    label: str
    points: Points
    style: int
    short: str = ""
    faint: bool = False
    whiskers: Sequence[tuple[float, float, float]] = ()
    """(x, low, high) each."""


@dataclass(frozen=True)
class Picture:
    """A chart as the page shows it, with what its lines are if they are several; without a drawing if it is empty."""

    title: str
    drawing: Markup
    legend: list[Series] = field(default_factory=list)
    note: str = ""


# --- curves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class YAxis:
    """What a chart's y axis shows."""

    name: str
    tick: Format = svg.plain_format
    reading: Format = svg.plain_format
    is_share: bool = False
    logarithmic: bool | None = None
    """Whether the axis is; None: where the figures are spiky."""
    near: bool = False
    """Whether the axis may begin near the figures, not at zero, where they lie far from it."""
    also: Sequence[float] = ()
    """What else has its place on it, for charts that are compared."""
    ends: tuple[float, float] | None = None
    """Its lowest and highest value, where they are not those of the figures made round."""


LOSS = YAxis("loss")
ACCURACY = YAxis("accuracy", svg.percent_tick, percent, is_share=True)
LIKELIEST = replace(ACCURACY, name="likeliest label right")
PRECISION = replace(ACCURACY, name="mean average precision")
RATE = YAxis("learning rate")
SPEED = YAxis("pictures a second")


@dataclass(frozen=True)
class XAxis:
    """What a chart's x axis shows, and how a place on it is read out."""

    name: str
    reading: Format
    from_zero: bool = True
    tick: Format = svg.plain_format
    ticks: Sequence[float] = ()
    """Where the axis has its values; by default at round ones."""
    logarithmic: bool = False


EPOCH = XAxis("epoch", lambda x: f"epoch {svg.plain_format(x)}")


def curves(series: Sequence[Series], y: YAxis, events: Sequence[tuple[float, str]] = (), x: XAxis = EPOCH) -> Markup:
    """Draw series against the epoch, or what else `x` says; `events` are (x, message) marks on the x axis."""
    ends = [(one, end) for one in series if (end := last(one.points))]
    series = [one for one, _ in ends]
    frame = _frame(series, y, x)
    ticks = x.ticks or frame.x.ticks(6)
    if x.from_zero and not x.ticks:  # whole epochs, where there are at least two
        whole = [tick for tick in ticks if tick == int(tick)]
        ticks = whole if len(whole) > 1 else ticks
    said = [f"{one.label} ends at {y.reading(b)} ({x.reading(a)})" for one, (a, b) in ends if one.label]
    return svg.drawing(
        240,
        f"{y.name} by {x.name}: {'; '.join(said)}",
        svg.title(11, y.name + (" (logarithmic)" if frame.y.logarithmic else "")),
        svg.title(236, x.name, frame.right),
        svg.axes(frame, ticks, frame.y.ticks(), x.tick, y.tick),
        *[_event(frame, at, f"{x.reading(at)}: {message}") for at, message in events],
        *[_curve(frame, one) for one in series],
        *_end_labels(frame, [(one, frame.y(value)) for one, (_, value) in ends if one.short]),
        *_strips(frame, [one for one in series if one.label], y, x),
    )


def _frame(series: Sequence[Series], y: YAxis, x: XAxis) -> Frame:
    xs = [at for one in series for at, _ in one.points]
    ys = [value for one in series for _, value in one.points if not math.isnan(value)]
    ys += [end for one in series for _, *ends in one.whiskers for end in ends] + [*y.also]
    longest = max(text_width(one.short) for one in series)
    low, high = min(xs), max(xs)
    right = svg.WIDTH - (10 + 5.8 * longest)
    if x.logarithmic:
        room = (high / low) ** 0.06 if low < high else 2.0
        return Frame(Scale(low / room, high * room, 48, right, True), _y_scale(ys, y))
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0  # on both sides, where zero is not the start
    ends = (0.0, high or 1.0) if x.from_zero else (low - room, high + room)
    return Frame(Scale(*ends, 48, right), _y_scale(ys, y))


def _y_scale(ys: Sequence[float], y: YAxis) -> Scale:
    """Start at zero, except shares (a round value below all), figures far from it, and logarithms."""
    low, high = min(ys), max(ys)
    if y.ends:
        return Scale(*y.ends, svg.BOTTOM, svg.TOP)
    if y.is_share:
        round_ends = svg.round_scale(low, high, max(high - low, 0.02) / 4)
        top = min(1.0, round_ends.high) or 1.0
        four = 4 * svg.round_step(max(high - low, 0.02) / 4)
        return Scale(max(0.0, min(round_ends.low, top - four)), top, svg.BOTTOM, svg.TOP)
    spiky = high > 30 * median(ys) if y.logarithmic is None else y.logarithmic
    if low > 0 and spiky:
        start, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return Scale(10.0**start, 10.0 ** max(end, start + 1), svg.BOTTOM, svg.TOP, True)
    if y.near and 0 < high - low < low:  # wide enough to tell values apart
        return svg.round_scale(low, high, max(high - low, 0.002 * high) / 4)
    return svg.even_scale(ys)


def _curve(frame: Frame, one: Series) -> Markup:
    placed = [(frame.x(x), frame.y(y)) for x, y in thin(one.points, MOST_POINTS)]
    marks = [] if one.faint or not one.label else to_mark(placed)
    drawn = svg.path(placed, _curve_class(one.style, one.faint))
    whisker = f"whisker c{one.style % svg.STYLES}"
    spread = [svg.line(frame.x(x), frame.y(low), frame.x(x), frame.y(high), whisker) for x, low, high in one.whiskers]
    return svg.join([drawn, *spread, *(svg.marker(x, y, one.style) for x, y in marks)])


def _curve_class(style: int, faint: bool) -> str:
    """Pair colours and dashes anew after each round, so that 36 series can be told apart."""
    dash = style // svg.STYLES + style
    return f"curve c{style % svg.STYLES} d{dash % svg.STYLES}" + (" faint" if faint else "")


def swatch(style: int, faint: bool = False) -> Markup:
    """Return the piece of line that stands for a series in a legend."""
    line = svg.path([(1, 5), (29, 5)], _curve_class(style, faint))
    mark = "" if faint else svg.marker(15, 5, style)
    return Markup('<svg class="swatch" viewBox="0 0 30 10" aria-hidden="true">{}{}</svg>').format(line, mark)


def _end_labels(frame: Frame, ends: list[tuple[Series, float]]) -> list[Markup]:
    """Name each line at the height where it ends, moved apart where names would overlap."""
    ends.sort(key=lambda end: end[1])
    heights = [y for _, y in ends]
    for i, (above, below) in enumerate(pairwise(heights)):
        heights[i + 1] = max(below, max(above, heights[i]) + 14)
    excess = max(0.0, heights[-1] - frame.bottom) if heights else 0.0
    return [
        svg.text(frame.right + 7, y - excess + 3.5, one.short, class_=f"end t{one.style % svg.STYLES}")
        for y, (one, _) in zip(heights, ends, strict=True)
    ]


def _event(frame: Frame, x: float, message: str) -> Markup:
    at = frame.x(min(max(x, frame.x.low), frame.x.high))
    arrow = f"M{at:.1f} {frame.bottom:.1f}l-4 -7h8z"
    mark = svg.element("path", svg.element("title", message), d=arrow, class_="event")
    return svg.line(at, frame.top, at, frame.bottom, "event") + mark


def _strips(frame: Frame, series: Sequence[Series], y: YAxis, x: XAxis) -> list[Markup]:
    """Lay a hover strip over each x, at most MOST_STRIPS of them, over each line's highest and lowest for sure."""
    most = max(4, MOST_STRIPS // max(1, len(series)))
    kept = sorted({at for one in series for at, _ in thin(one.points, most)})
    places = [frame.x(at) for at in kept]
    edges = [frame.left, *((a + b) / 2 for a, b in pairwise(places)), frame.right]
    values = [(one, dict(one.points)) for one in series]
    strips = []
    for between, at in zip(pairwise(edges), kept, strict=True):
        here = [(one, ys[at]) for one, ys in values if not math.isnan(ys.get(at, math.nan))]
        words = [x.reading(at), *(f"{one.label} {y.reading(value)}" for one, value in here)]
        dots = [svg.marker(frame.x(at), frame.y(value), one.style, size=3.6) for one, value in here]
        are_high = sum(frame.y(value) for _, value in here) < len(here) * (frame.top + frame.bottom) / 2
        strips.append(svg.hover(frame, between, frame.x(at), words[:13], dots, low=are_high))
    return strips


# --- one figure with its interval ---------------------------------------------------------------


def interval_line(measure: Measure, baseline: float | None, name: str = "top-1") -> Markup:
    """Draw a share and its interval on a line from 0 to 100 %; `baseline` gets a hollow mark above."""
    x = Scale(0.0, 1.0, 14, 386)
    parts = [svg.line(14, 24, 386, 24, "track")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(svg.line(x(share), 24, x(share), 29, "axis"))
        parts.append(svg.text(x(share), 44, svg.percent_tick(share), "middle", "tick"))
    if baseline is not None:
        parts.append(svg.element("path", d=f"M{x(baseline):.1f} 18l-5 -9h10z", class_="baseline"))
    parts.append(svg.line(x(measure.low), 24, x(measure.high), 24, "span"))
    parts.append(svg.line(x(measure.value), 13, x(measure.value), 31, "value"))
    return svg.drawing(48, f"{name} {with_interval(measure)} on a line from 0 to 100 %", *parts)


# --- confusion ----------------------------------------------------------------------------------


def levels(matrix: Sequence[Sequence[int]], pictures: Sequence[int]) -> list[list[int]]:
    """Return each cell's colour by its share of its row's pictures: 0 (none) to 7 (more than half)."""
    rows = zip(matrix, pictures, strict=True)
    return [[sum(cell / (total or 1) > least for least in LEVELS) for cell in row] for row, total in rows]


def are_short(names: Sequence[str]) -> bool:
    """Say whether every name fits above its column as it is, such as a digit."""
    return all(text_width(shown(name)) <= 2 for name in names)


def confusion_map(names: Sequence[str], matrix_levels: Sequence[Sequence[int]], meaning: str) -> Markup:
    """Draw a K×K map in colour, one path for each level; page.js reads the counts around it."""
    cell, edge = 14.0 if len(names) <= 50 else 9.5, 118.0
    side = cell * len(names)
    boxes: dict[str, list[tuple[float, float, float]]] = {}
    for i, row in enumerate(matrix_levels):
        for j, found in enumerate(row):
            if found:
                kind = f"{'hit' if i == j else 'miss'} l{found}"
                boxes.setdefault(kind, []).append((edge + j * cell, edge + i * cell, cell - 1))
    middles = [edge + (i + 0.5) * cell for i in range(len(names))]
    named = list(zip(names, middles, strict=True))
    size = edge + side + 4
    return svg.drawing(
        size,
        f"confusion map of {len(names)} classes: {meaning}",
        svg.rect(edge, edge, side, side, "border"),
        *[svg.cells(boxes[kind], cell - 1, kind) for kind in sorted(boxes)],
        *[svg.name_label(edge - 5, y + 3, name, letters=18) for name, y in named],
        *(_over(x, edge, name, short=are_short(names)) for name, x in named),
        svg.rect(edge, edge, cell, cell, "cursor"),
        width=size,
        class_="map" + (" dense" if cell < 12 else ""),
        width_=size,
        height_=size,
        data_cell=cell,
        data_edge=edge,
    )


def _over(x: float, edge: float, name: str, short: bool) -> Markup:
    """Write a name over the middle of its column, turned where one is long."""
    if short:
        return svg.text(x, edge - 5, isolated(name), "middle")
    return svg.name_label(x + 3, edge - 5, name, letters=18, upright=True)


# --- calibration --------------------------------------------------------------------------------

FEW = 20  # pictures in a bin below which its mean says little


@dataclass(frozen=True)
class BinWords:
    """What the axes of a reliability diagram are called, and what is counted in its bins."""

    right: str = "accuracy"
    counted: str = "picture"
    sure: str = "confidence"
    is_right: str = "right"


OF_PICTURES = BinWords()
OF_LABELS = BinWords("shown", "answer", "probability", "shown")
"""Of several labels a picture."""


def reliability(bins: Sequence[Bin], words: BinWords = OF_PICTURES) -> Markup:
    """Draw accuracy against confidence, with the number of pictures in each bin below."""
    x = Scale(0.0, 1.0, 48, 388)
    most = max((one.count for one in bins), default=0) or 1
    upper = Frame(x, Scale(0.0, 1.0, 222, 22))
    lower = Frame(x, svg.round_scale(0.0, most, most / 2, 312, 258))
    used = [one for one in bins if one.count and one.accuracy is not None and one.confidence is not None]
    points, gaps, marks, bars = [], list[Markup](), list[Markup](), list[Markup]()
    for one in used:
        confidence, accuracy = one.confidence or 0.0, one.accuracy or 0.0
        at, y = upper.x(confidence), upper.y(accuracy)
        points.append((at, y))
        gaps.append(svg.line(at, upper.y(confidence), at, y, "gap"))  # how far its confidence is off
        marks.append(svg.marker(at, y, 0, "hollow" if one.count < FEW else "", size=3.4))
    for one in bins:
        left, right, top = lower.x(one.low) + 1, lower.x(one.high) - 1, lower.y(float(one.count))
        bars.append(svg.rect(left, top, right - left, lower.bottom - top, "bar"))
    whole = Frame(x, Scale(0.0, 1.0, lower.bottom, upper.top))
    return svg.drawing(
        344,
        f"{words.right} by {words.sure}: " + "; ".join(", ".join(_bin_words(one, words)[1:]) for one in used),
        svg.title(11, words.right),
        svg.title(250, f"{words.counted}s"),
        svg.title(341, words.sure, x.end),
        svg.axes(upper, [], upper.y.ticks(), svg.percent_tick, svg.percent_tick),
        svg.axes(lower, x.ticks(), lower.y.ticks(2), svg.percent_tick, svg.plain_format),
        svg.line(x(0), upper.y(0), x(1), upper.y(1), "ideal"),
        *gaps,
        svg.path(points, "curve c0 d0"),
        *marks,
        *bars,
        *[svg.hover(whole, (x(b.low), x(b.high)), x((b.low + b.high) / 2), _bin_words(b, words)) for b in bins],
    )


def _bin_words(one: Bin, words: BinWords) -> list[str]:
    within = f"{words.sure} {percent(one.low, 0)} to {percent(one.high, 0)}"
    if not one.count:
        return [within, f"no {words.counted}s"]
    means = f"mean {percent(one.confidence)}, {words.is_right} {percent(one.accuracy)}"
    return [within, means, counted(one.count, words.counted)]
