"""How a study's figures become curves and bars."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from residuum.records.study import Bar, Bars, Line, Lines, Points
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


def lines_by(
    title: str, x: str, y: str, q: Quantities, named: Mapping[str, Mapping[X, str]], *, log_y: bool = False
) -> Lines:
    """Return a curve for each label, through the quantities named at each x."""
    lines = []
    for label, at in named.items():
        seeds = zip(*(q[name].values for name in at.values()), strict=True)
        lines.append(mean_line(label, [tuple(zip(at, seed, strict=True)) for seed in seeds]))
    return Lines(title, x, y, tuple(lines), log_y=log_y)


def numbered(values: Iterable[float], first: int = 1) -> Points:
    """Return the values against their numbers."""
    return tuple((float(number), value) for number, value in enumerate(values, start=first))


def bars_of(title: str, y: str, q: Quantities, named: Mapping[str, str]) -> Bars:
    """Return a bar for each of the quantities named, by its label."""
    return Bars(title, y, tuple(Bar(label, q[name].values, q[name].limit) for label, name in named.items()))
