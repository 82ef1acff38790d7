"""How a study's figures become curves and bars."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from residuum.records.study import Bar, Bars, Line, Points
from residuum.studies.verdict import Quantities

T = TypeVar("T")
X = TypeVar("X", bound=float)


def mean_line(label: str, seeds: Sequence[Points]) -> Line:
    """Return the curve of the means over the x that all seeds have."""
    common = sorted(set.intersection(*({x for x, _ in points} for points in seeds)))
    values = [dict(points) for points in seeds]
    mean = tuple((x, sum(one[x] for one in values) / len(values)) for x in common)
    return Line(label, mean, tuple(tuple(points) for points in seeds) if len(seeds) > 1 else ())


def lines_of(nets: Mapping[str, Sequence[T]], points: Callable[[T], Points]) -> tuple[Line, ...]:
    """Return a curve for each name, through what `points` makes of its nets, one net a seed."""
    return tuple(mean_line(name, [points(one) for one in of_seeds]) for name, of_seeds in nets.items())


def line_through(label: str, values: Mapping[X, Sequence[float]]) -> Line:
    """Return the curve through the values at each x, one for each seed in the seeds' order."""
    return mean_line(label, [tuple(zip(values, seed, strict=True)) for seed in zip(*values.values(), strict=True)])


def numbered(values: Iterable[float], first: int = 1) -> Points:
    """Return the values against their numbers."""
    return tuple((float(number), value) for number, value in enumerate(values, start=first))


def bars_of(title: str, y: str, q: Quantities, named: Mapping[str, str]) -> Bars:
    """Return a bar for each of the quantities named, by its label."""
    return Bars(title, y, tuple(Bar(label, q[name].values) for label, name in named.items()))
