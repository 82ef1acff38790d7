"""The charts of a study: curves with each seed behind them, and bars with every value."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean, stdev

from markupsafe import Markup

from residuum.records.study import Bar, Bars, Chart, Line, Lines, Map, Points, bound, figure, with_spread
from residuum.reporting import svg
from residuum.reporting.charts import Picture, Series, XAxis, YAxis, curves
from residuum.reporting.points import last
from residuum.reporting.study_map import draw_field
from residuum.reporting.study_wording import axis_figure
from residuum.reporting.svg import LETTER, Scale
from residuum.reporting.wording import clipped, isolated, percent, shown, text_width

AXIS_LETTERS = 58  # of an axis title
END_LETTERS = 13  # of a name at a line's end
MOST_ENDS = 10  # lines that are named at their ends
BESIDE = 22  # letters up to which a bar's name stands beside it; longer ones stand above, in two lines
ABOVE = 62
TOP = 22.0  # of the first bar's row


def picture(chart: Chart, beside: Sequence[Chart] = (), each: str = "seed") -> Picture:
    """Draw a chart of any kind; a field in the colours of those `beside` it, lines on their axis where it is the same.

    A faint line is that of `each`.
    """
    if isinstance(chart, Lines):
        return _lines(chart, each, [chart, *(one for one in beside if isinstance(one, Lines) and _alike(one, chart))])
    if isinstance(chart, Map):
        drawn = draw_field(chart, [one for one in beside if isinstance(one, Map)])
        return Picture(chart.title, drawn, note=chart.reading and f"Colour: {chart.reading}.")
    several = any(len(bar.values) > 1 for bar in chart.bars)
    note = "Bar: mean. Dots: every value. Whisker: ± one standard deviation." if several else ""
    return Picture(chart.title, _bars(chart), note=note)


# --- lines --------------------------------------------------------------------------------------


def _alike(one: Lines, other: Lines) -> bool:
    """Say whether two charts show the same quantity along the same axis."""
    axes = ((chart.x, chart.y, chart.log_x, chart.log_y, chart.percent) for chart in (one, other))
    return next(axes) == next(axes)


def _fit_ends(chart: Lines) -> bool:
    return len(chart.lines) <= MOST_ENDS and all(text_width(one.label) <= END_LETTERS for one in chart.lines)


def _lines(chart: Lines, each: str, alike: Sequence[Lines]) -> Picture:
    """Draw one of charts that are `alike`, of which each or none has names at its lines' ends."""
    drawn = tuple(
        Line(one.label, _placeable(one.points, chart), tuple(_placeable(s, chart) for s in one.seeds))
        for one in chart.lines
    )
    are_named = len(drawn) > 1 and all(map(_fit_ends, alike))
    seeds = [Series("", list(seed), i, faint=True) for i, one in enumerate(drawn) for seed in one.seeds]
    means = [_mean(one, i, are_named) for i, one in enumerate(drawn)]
    notes = [f"Strong lines are means, faint ones single {each}s."] if any(len(one.points) > 1 for one in seeds) else []
    if chart.intervals:
        means = [replace(one, whiskers=_whiskers(line)) for one, line in zip(means, drawn, strict=True)]
        notes = ["Whisker: two standard errors of the mean on either side."] if seeds else []
        seeds = []
    series = [one for one in (*seeds, *means) if last(one.points)]
    if not series:
        return Picture(chart.title, Markup(""))
    legend = [Series(one.label, [], i) for i, one in enumerate(chart.lines) if len(chart.lines) > 1]
    if (chart.log_y or chart.log_x) and drawn != chart.lines:
        notes.append("Values of 0 or below have no place on a logarithmic axis.")
    drawn_lines = curves(series, _y_axis(chart, series, _shared(alike)), x=_x_axis(chart, series))
    return Picture(chart.title, drawn_lines, legend, " ".join(notes))


def _mean(one: Line, style: int, is_named: bool) -> Series:
    label = isolated(clipped(shown(one.label or "–"), 40))
    return Series(label, list(one.points), style, shown(one.label) if is_named else "")


def _whiskers(one: Line) -> list[tuple[float, float, float]]:
    """Return two standard errors on either side of the mean at each place that several seeds have."""
    found = []
    for x, mean in one.points:
        values = [y for seed in one.seeds for at, y in seed if at == x and not math.isnan(y)]
        if len(values) > 1:
            error = 2 * stdev(values) / math.sqrt(len(values))
            found.append((x, mean - error, mean + error))
    return found


def _placeable(points: Points, chart: Lines) -> Points:
    """Make a gap of what has no place on a logarithmic axis."""
    if chart.log_x:
        points = tuple((x, y) for x, y in points if x > 0)
    if not chart.log_y:
        return points
    return tuple((x, math.nan if math.isnan(y) or y <= 0 else y) for x, y in points)


def _shared(alike: Sequence[Lines]) -> tuple[float, ...]:
    """Return the ends of all charts' y axes; none, where one would then keep less than a third of its height."""
    spans = [(min(ys), max(ys)) for one in alike if (ys := _all_y(one))]
    ends = tuple(end for span in spans for end in span)
    height = math.log10 if alike[0].log_y else float
    widths = [height(high) - height(low) for low, high in spans]
    fits = len(spans) > 1 and 3 * min(widths) >= height(max(ends)) - height(min(ends))
    return ends if fits else ()


def _all_y(chart: Lines) -> list[float]:
    """Return what the chart shows, that of single seeds too."""
    points = [_placeable(some, chart) for one in chart.lines for some in (one.points, *one.seeds)]
    return [y for some in points for _, y in some if not math.isnan(y)]


def _y_axis(chart: Lines, series: Sequence[Series], also: Sequence[float]) -> YAxis:
    ys = [*also, *(y for one in series for _, y in one.points if not math.isnan(y))]
    tick, reading = (svg.percent_tick, percent) if chart.percent else (axis_figure, figure)
    is_share = chart.percent and not chart.log_y and all(0 <= y <= 1 for y in ys)
    return YAxis(_axis_title(chart.y), tick, reading, is_share, logarithmic=chart.log_y, near=True, also=also)


def _x_axis(chart: Lines, series: Sequence[Series]) -> XAxis:
    """Begin at zero where the values nearly do; write the values themselves below the axis where they fit."""
    places = sorted({x for one in series for x, _ in one.points})
    low, high = places[0], places[-1]
    title = _axis_title(chart.x)
    if chart.log_x:
        few = places if len(places) <= 9 else ()
        return XAxis(title, lambda x: f"{title} {figure(x)}", False, axis_figure, few, logarithmic=True)
    from_zero = 0 <= low <= (high - low) / 4
    ticks = _own_ticks(places)
    if not ticks and from_zero and any(x != int(x) for x in places):
        ticks = Scale(0.0, high, 0, 1).ticks(6)
    return XAxis(title, lambda x: f"{title} {figure(x)}", from_zero, axis_figure, ticks)


def _own_ticks(places: Sequence[float]) -> Sequence[float]:
    room = 260 * min((b - a for a, b in pairwise(places)), default=0.0)
    widest = LETTER * max(text_width(axis_figure(x)) for x in places) + 8
    fit = len(places) == 1 or room >= widest * (places[-1] - places[0])
    return places if fit and len(places) <= 9 else ()


def _axis_title(name: str) -> str:
    return clipped(shown(name) if name else "", AXIS_LETTERS)


# --- bars ---------------------------------------------------------------------------------------


def _bars(chart: Bars) -> Markup:
    """Draw a row for each bar: its name, the mean as a bar, every value as a dot, ± sd as a whisker.

    The names stand beside the bars, or where one is long above them.
    """
    if not any(bar.values for bar in chart.bars):
        return Markup("")
    widest = max(text_width(shown(bar.label)) for bar in chart.bars)
    name_lines = max(len(_wrapped(bar.label)) for bar in chart.bars) if widest > BESIDE else 0
    step = 23.0 + 13 * name_lines
    bottom = TOP + step * len(chart.bars) + 4
    right = 392 - max(text_width(_reading(bar)) for bar in chart.bars) * LETTER - 6
    ends = [end for bar in chart.bars if bar.values for end in (*bar.values, *_whisker(bar))]
    x = replace(svg.even_scale(ends), start=10.0 if name_lines else 14 + widest * LETTER, end=right)
    parts = [svg.line(x(tick), TOP, x(tick), bottom, "grid") for tick in x.ticks(5)]
    parts += [svg.text(x(at), bottom + 14, axis_figure(at), "middle", "tick") for at in x.ticks(5)]
    parts.append(svg.line(x(0), TOP, x(0), bottom, "axis"))
    for i, bar in enumerate(chart.bars):
        middle = TOP + (i + 1) * step - 10.5
        beside = svg.text(x.start - 6, middle + 3.5, isolated(bar.label), "end")
        parts += _name_above(bar.label, middle) if name_lines else [beside]
        parts += _mark(x, middle, bar) if bar.values else []
        parts.append(svg.text(392, middle + 3.5, _reading(bar), "end"))
    said = "; ".join(f"{isolated(bar.label)} {_reading(bar)}" for bar in chart.bars)
    title = _axis_title(chart.y)
    return svg.drawing(bottom + 22, f"{title}: {said}", svg.title(11, title), *parts)


def _name_above(label: str, middle: float) -> list[Markup]:
    """Return the lines of a name that ends right above its bar."""
    lines, whole = _wrapped(label), isolated(label)
    first = middle + 1.5 - 13 * len(lines)
    return [svg.text(10.0, first + 13 * i, isolated(words), whole=whole) for i, words in enumerate(lines)]


def _wrapped(label: str) -> list[str]:
    """Return a name in one line or two; what goes beyond is cut."""
    first, *rest = textwrap.wrap(shown(label), ABOVE) or ["–"]
    return [clipped(words, ABOVE) for words in [first, *([" ".join(rest)] if rest else [])]]


def _mark(x: Scale, middle: float, bar: Bar) -> list[Markup]:
    start, end = sorted((x(0), x(fmean(bar.values))))
    parts = [svg.rect(start, middle - 6, end - start, 12, "mean")]
    if len(bar.values) > 1:
        low, high = (x(one) for one in _whisker(bar))
        parts.append(svg.line(low, middle, high, middle, "spread"))
        parts += [svg.line(at, middle - 4, at, middle + 4, "spread") for at in (low, high)]
        parts += [svg.element("circle", cx=x(value), cy=middle, r=2.3, class_="dot") for value in bar.values]
    return parts


def _sd(bar: Bar) -> float | None:
    return stdev(bar.values) if len(bar.values) > 1 else None


def _whisker(bar: Bar) -> tuple[float, float]:
    mean, sd = fmean(bar.values), _sd(bar) or 0.0
    return mean - sd, mean + sd


def _reading(bar: Bar) -> str:
    if not bar.values:
        return "no figure"
    before = bound(bar.values, bar.limit)
    return before + with_spread(fmean(bar.values), None if before == "> " else _sd(bar))
