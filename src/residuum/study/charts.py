"""What a study's pictures show, as plain data; reporting/ draws them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Line:
    """One curve: the mean over seeds, with each seed's own behind it where there are several."""

    label: str
    points: Points
    seeds: tuple[Points, ...] = ()


@dataclass(frozen=True)
class Lines:
    """Curves over a common axis."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    percent: bool = False
    """Whether y is a share, 0 to 1, to be written in per cent."""
    log_y: bool = False
    kind: Literal["lines"] = "lines"


@dataclass(frozen=True)
class Bar:
    """One bar: the mean of its values, one for each seed."""

    label: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Bars:
    """Bars with their spread; `y` says what and in which unit."""

    title: str
    y: str
    bars: tuple[Bar, ...]
    kind: Literal["bars"] = "bars"


@dataclass(frozen=True)
class Map:
    """A field of values over x (columns) and y (rows, the first at the top), in colour."""

    title: str
    x: str
    y: str
    rows: tuple[tuple[float, ...], ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    reading: str
    """What a value is, for the legend."""
    kind: Literal["map"] = "map"


Chart = Lines | Bars | Map


def mean_line(label: str, seeds: Sequence[Points]) -> Line:
    """Return the curve of the means over the x that all seeds have."""
    common = sorted(set.intersection(*({x for x, _ in points} for points in seeds)))
    values = [dict(points) for points in seeds]
    mean = tuple((x, sum(one[x] for one in values) / len(values)) for x in common)
    return Line(label, mean, tuple(tuple(points) for points in seeds) if len(seeds) > 1 else ())
