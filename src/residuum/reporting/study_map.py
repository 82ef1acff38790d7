"""A field of values in colour: one path for each level of colour, so that even 64×64 cells are a small file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from residuum.records.study import Map, figure
from residuum.reporting import svg
from residuum.reporting.study_wording import axis_figure
from residuum.reporting.svg import Scale
from residuum.reporting.wording import clipped, shown

COLOURS = 16  # r0 to r15 in style.css
LEFT, TOP, KEY = 48.0, 22.0, 336.0
WIDEST, TALLEST, LEAST = 270.0, 270.0, 18.0  # of the field; of a row, where there are few


@dataclass(frozen=True)
class _Levels:
    """Which values have which colour: the range is parted evenly, or a few whole values are `named` one by one."""

    low: float
    high: float
    named: list[float]

    def __call__(self, value: float) -> int:
        """Return a value's level."""
        if self.named:
            return self.named.index(value)
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return min(int(share * COLOURS), COLOURS - 1)

    def colour(self, level: int) -> str:
        """Return the class of a level's colour; a few named values are spread over all colours."""
        return f"r{round(level * (COLOURS - 1) / max(len(self.named or range(COLOURS)) - 1, 1))}"

    def words(self, level: int) -> str:
        """Say which values a level holds."""
        if self.named:
            return figure(self.named[level])
        step = (self.high - self.low) / COLOURS
        return f"{figure(self.low + level * step)} to {figure(self.low + (level + 1) * step)}"


def draw_field(field: Map, beside: Sequence[Map] = ()) -> Markup:
    """Draw the cells over their axes, with the colours' key on the right; nothing where there is no value.

    A colour means the same as in the fields `beside` whose values are read in the same way.
    """
    if not _values([field]):
        return Markup("")
    distinct = sorted(set(_values([field, *(one for one in beside if one.reading == field.reading)])))
    are_named = len(distinct) == 1 or (len(distinct) <= COLOURS and all(v == int(v) for v in distinct))
    levels = _Levels(distinct[0], distinct[-1], distinct if are_named else [])
    width, height = _cell(field)
    right, bottom = LEFT + width * len(field.rows[0]), TOP + height * len(field.rows)
    size = f"{len(field.rows)} rows and {len(field.rows[0])} columns"
    range_ = f"from {figure(levels.low)} to {figure(levels.high)}"
    about = max(2, min(5, int((bottom - TOP) / 16)))
    xs = _places(field.x_range, LEFT + width / 2, right - width / 2, about=4)
    ys = _places(field.y_range, TOP + height / 2, bottom - height / 2, about)
    return svg.drawing(
        max(bottom, TOP + 16.0 * len(levels.named)) + 34,
        f"field of {size}, {field.y} by {field.x}, {range_}",
        svg.title(11, clipped(shown(field.y) if field.y else "", 50)),
        svg.rect(LEFT, TOP, right - LEFT, bottom - TOP, "empty"),
        *_cells(field, levels, width, height),
        *[svg.tick(at, bottom, axis_figure(value)) for at, value in xs],
        *[svg.line(LEFT - 4, at, LEFT, at, "axis") for at, _ in ys],
        *[svg.text(LEFT - 7, at + 3.5, axis_figure(value), "end", "tick") for at, value in ys],
        svg.title(bottom + 30, clipped(shown(field.x) if field.x else "", 44), right),
        *_key(levels, bottom),
    )


def _values(fields: Sequence[Map]) -> list[float]:
    return [value for field in fields for row in field.rows for value in row if not math.isnan(value)]


def _cell(field: Map) -> tuple[float, float]:
    """Return a cell's width and height: square unless that would leave it too flat or too thin to see."""
    rows, columns = len(field.rows), len(field.rows[0])
    if 0.5 <= rows / columns <= 2:
        side = min(WIDEST / columns, TALLEST / rows)
        return side, side
    width = WIDEST / columns
    return width, min(max(width, LEAST), TALLEST / rows)


def _cells(field: Map, levels: _Levels, width: float, height: float) -> list[Markup]:
    """Return all cells of each level as one path, neighbours in a row as one box."""
    boxes: dict[int, list[tuple[float, float, float]]] = {}
    for i, row in enumerate(field.rows):
        start = 0
        for level, run in groupby(row, key=lambda value: None if math.isnan(value) else levels(value)):
            length = len(list(run))
            if level is not None:
                boxes.setdefault(level, []).append((LEFT + start * width, TOP + i * height, length * width))
            start += length
    return [svg.cells(boxes[n], height, f"field {levels.colour(n)}", levels.words(n)) for n in sorted(boxes)]


def _places(ends: tuple[float, float], start: float, end: float, about: int) -> list[tuple[float, float]]:
    """Return where round values lie between the middles of the first and the last cell."""
    if start == end:
        return [(start, ends[0])]
    if ends[0] > ends[1]:
        ends, start, end = (ends[1], ends[0]), end, start
    scale = Scale(*ends, start, end)
    return [(scale(value), value) for value in scale.ticks(about)]


def _key(levels: _Levels, bottom: float) -> list[Markup]:
    """Return a box for each named value, or all colours in a column with values beside it."""
    if levels.named:
        places = [(TOP + 16.0 * i, value) for i, value in enumerate(levels.named)]
        boxes = [svg.rect(KEY, y, 12, 12, f"field {levels.colour(i)}") for i, (y, _) in enumerate(places)]
        return [*boxes, *[svg.text(KEY + 18, y + 9.5, axis_figure(v), class_="tick") for y, v in places]]
    scale = Scale(levels.low, levels.high, bottom, TOP)
    step = (bottom - TOP) / COLOURS
    boxes = [svg.rect(KEY, bottom - step * (i + 1), 12, step, f"field r{i}") for i in range(COLOURS)]
    ticks = scale.ticks(max(2, min(6, int((bottom - TOP) / 30))))
    return [*boxes, *[svg.text(KEY + 18, scale(v) + 3.5, axis_figure(v), class_="tick") for v in ticks]]
