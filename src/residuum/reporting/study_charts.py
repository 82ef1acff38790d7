"""The charts of a study: curves with each seed behind them, and bars with every value."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean, stdev

from markupsafe import Markup

from residuum.reporting.charts import Along, Quantity, Series, curves, even_scale
from residuum.reporting.drawing import (
    LETTER,
    Format,
    Scale,
    drawing,
    element,
    join,
    line,
    percent_format,
    percent_tick,
    text,
)
from residuum.reporting.points import Points, last
from residuum.reporting.study_figures import Bar, Bars, Chart, Field, Line, Lines
from residuum.reporting.study_map import draw_field
from residuum.reporting.study_wording import axis_figure, figure, spread
from residuum.reporting.wording import clipped, isolated, shown, text_width

AXIS_LETTERS = 58  # of an axis title
END_LETTERS = 13  # of a name at a line's end
MOST_ENDS = 10  # lines that are named at their ends
BESIDE = (
    22  # letters up to which a bar's name stands beside it; longer ones stand above, in two lines at most
)
ABOVE = 62
TOP = 22.0  # of the first bar's row


@dataclass(frozen=True)
class Picture:
    """A chart as the page shows it; one with nothing to draw has no drawing."""

    title: str
    drawing: Markup
    legend: list[Series] = field(default_factory=list)
    note: str = ""


def picture(chart: Chart, beside: Sequence[Chart] = ()) -> Picture:
    """Draw a chart of any kind; a field in the colours of those `beside` it."""
    if isinstance(chart, Lines):
        return _lines(chart)
    if isinstance(chart, Field):
        drawn = draw_field(chart, [one for one in beside if isinstance(one, Field)])
        return Picture(chart.title, drawn, note=chart.reading and f"Colour: {chart.reading}.")
    return Picture(chart.title, _bars(chart), note=_bars_note(chart))


# --- lines --------------------------------------------------------------------------------------


def _lines(chart: Lines) -> Picture:
    drawn = [
        replace(one, points=_placeable(one.points, chart), seeds=[_placeable(s, chart) for s in one.seeds])
        for one in chart.lines
    ]
    are_short = len(drawn) <= MOST_ENDS and all(text_width(one.label) <= END_LETTERS for one in drawn)
    seeds = [Series("", seed, i, faint=True) for i, one in enumerate(drawn) for seed in one.seeds]
    means = [_mean(one, i, are_short and len(drawn) > 1) for i, one in enumerate(drawn)]
    series = [one for one in (*seeds, *means) if last(one.points)]
    if not series:
        return Picture(chart.title, Markup(""))
    legend = [Series(one.label, [], i) for i, one in enumerate(chart.lines)]
    return Picture(
        chart.title,
        curves(series, _quantity(chart, series), along=_along(chart.x, series)),
        legend if len(legend) > 1 else [],
        _lines_note(chart, has_seeds=bool(seeds), has_lost=drawn != chart.lines),
    )


def _mean(one: Line, style: int, is_named: bool) -> Series:
    label = isolated(clipped(shown(one.label or "–"), 40))
    return Series(label, one.points, style, shown(one.label) if is_named else "")


def _placeable(points: Points, chart: Lines) -> Points:
    """Make a gap of what has no place on a logarithmic axis."""
    if not chart.log_y:
        return points
    return [(x, math.nan if math.isnan(y) or y <= 0 else y) for x, y in points]


def _lines_note(chart: Lines, *, has_seeds: bool, has_lost: bool) -> str:
    notes = ["Strong lines are means, faint ones single seeds."] if has_seeds else []
    notes += ["Values of 0 or below have no place on a logarithmic axis."] if chart.log_y and has_lost else []
    return " ".join(notes)


def _quantity(chart: Lines, series: Sequence[Series]) -> Quantity:
    ys = [y for one in series for _, y in one.points if not math.isnan(y)]
    tick, reading = (percent_tick, percent_format) if chart.percent else (axis_figure, figure)
    is_share = chart.percent and not chart.log_y and all(0 <= y <= 1 for y in ys)
    return Quantity(_axis_title(chart.y), tick, reading, is_share, logarithmic=chart.log_y, near=True)


def _along(name: str, series: Sequence[Series]) -> Along:
    """Begin at zero where the values nearly do; write the values themselves below the axis where they fit."""
    places = sorted({x for one in series for x, _ in one.points})
    low, high = places[0], places[-1]
    from_zero = 0 <= low <= (high - low) / 4
    title = _axis_title(name)
    ticks = _own_ticks(places)
    if not ticks and from_zero and any(x != int(x) for x in places):
        ticks = Scale(0.0, high, 0, 1).ticks(6)
    return Along(title, lambda x: f"{title} {figure(x)}", from_zero, axis_figure, ticks)


def _own_ticks(places: Sequence[float]) -> Sequence[float]:
    room = 260 * min((b - a for a, b in pairwise(places)), default=0.0)
    widest = LETTER * max(text_width(axis_figure(x)) for x in places) + 8
    fit = len(places) == 1 or room >= widest * (places[-1] - places[0])
    return places if fit and len(places) <= 9 else ()


def _axis_title(name: str) -> str:
    return clipped(shown(name) if name else "", AXIS_LETTERS)


# --- bars ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Where the bars of a chart lie: `step` from one to the next, the first at `top`."""

    x: Scale
    step: float
    top: float
    bottom: float
    name_lines: int
    """Of names above their bars; 0 where names stand beside them."""


def _bars(chart: Bars) -> Markup:
    """Draw a row for each bar: its name, the mean as a bar, every value as a dot, ± sd as a whisker."""
    if not any(bar.values for bar in chart.bars):
        return Markup("")
    layout = _layout(chart)
    said = "; ".join(f"{isolated(bar.label)} {_reading(bar)}" for bar in chart.bars)
    ticks = layout.x.ticks(5)
    return drawing(
        400,
        layout.bottom + 22,
        f"{_axis_title(chart.y)}: {said}",
        text(6, 11, _axis_title(chart.y), class_="title"),
        join([_grid(layout, tick, axis_figure) for tick in ticks]),
        line(layout.x(0), layout.top, layout.x(0), layout.bottom, "axis"),
        join([_row(layout, i, bar) for i, bar in enumerate(chart.bars)]),
    )


def _layout(chart: Bars) -> _Layout:
    widest = max(text_width(shown(bar.label)) for bar in chart.bars)
    name_lines = max(len(_wrapped(bar.label)) for bar in chart.bars) if widest > BESIDE else 0
    left = 10.0 if name_lines else 14 + widest * LETTER
    right = 392 - max(text_width(_reading(bar)) for bar in chart.bars) * LETTER - 6
    step = 23.0 + 13 * name_lines
    ends = [end for bar in chart.bars if bar.values for end in (*bar.values, *_whisker(bar))]
    even = even_scale(ends)
    bottom = TOP + step * len(chart.bars) + 4
    return _Layout(Scale(even.low, even.high, left, right), step, TOP, bottom, name_lines)


def _grid(layout: _Layout, tick: float, form: Format) -> Markup:
    at = layout.x(tick)
    return line(at, layout.top, at, layout.bottom, "grid") + text(
        at, layout.bottom + 14, form(tick), "middle", "tick"
    )


def _row(layout: _Layout, place: int, bar: Bar) -> Markup:
    top = layout.top + place * layout.step
    middle = top + 13 * layout.name_lines + 12.5
    reading = text(392, middle + 3.5, _reading(bar), "end")
    drawn = _mark(layout.x, middle, bar) if bar.values else Markup("")
    return join([_name(layout, top, middle, bar.label), drawn, reading])


def _name(layout: _Layout, top: float, middle: float, label: str) -> Markup:
    if not layout.name_lines:
        return text(layout.x.start - 6, middle + 3.5, isolated(label), "end")
    whole = element("title", isolated(label))
    lines = _wrapped(label)
    first = top + 13 * (layout.name_lines - len(lines)) + 14  # one line stands as near its bar as two
    return join(
        [
            element("text", isolated(words), whole, x=10.0, y=first + 13 * i, text_anchor="start")
            for i, words in enumerate(lines)
        ]
    )


def _wrapped(label: str) -> list[str]:
    """Return a name in one line or two; what goes beyond is cut."""
    first, *rest = textwrap.wrap(shown(label), ABOVE) or ["–"]
    return [clipped(words, ABOVE) for words in [first, *([" ".join(rest)] if rest else [])]]


def _mark(x: Scale, middle: float, bar: Bar) -> Markup:
    start, end = sorted((x(0), x(fmean(bar.values))))
    low, high = _whisker(bar)
    body = element("rect", x=start, y=middle - 6, width=end - start, height=12, class_="mean")
    parts = [body]
    if len(bar.values) > 1:
        parts.append(line(x(low), middle, x(high), middle, "spread"))
        parts += [line(x(at), middle - 4, x(at), middle + 4, "spread") for at in (low, high)]
        parts += [element("circle", cx=x(value), cy=middle, r=2.3, class_="dot") for value in bar.values]
    return join(parts)


def _whisker(bar: Bar) -> tuple[float, float]:
    mean, sd = fmean(bar.values), stdev(bar.values) if len(bar.values) > 1 else 0.0
    return mean - sd, mean + sd


def _reading(bar: Bar) -> str:
    if not bar.values:
        return "no figure"
    return spread(fmean(bar.values), stdev(bar.values) if len(bar.values) > 1 else None)


def _bars_note(chart: Bars) -> str:
    several = any(len(bar.values) > 1 for bar in chart.bars)
    return "Bar: mean. Dots: every value. Whisker: ± one standard deviation." if several else ""
