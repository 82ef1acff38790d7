"""The points of a curve."""

import math
from collections.abc import Sequence

from residuum.records.run import Epoch, Step

Points = list[tuple[float, float]]  # (x, y); y is nan where there is a gap


def points(lines: Sequence[Epoch | Step], name: str) -> Points:
    """Return (epoch, value) for each line that has a figure of this name; one that is not finite becomes a gap."""
    found = [(line.epoch, getattr(line, name)) for line in lines]
    return [(x, y if math.isfinite(y) else math.nan) for x, y in found if y is not None]


def thin(line: Points, most: int) -> Points:
    """Keep at most `most` points, evenly spread, with the first and the last."""
    if len(line) <= most:
        return line
    return [line[round(i * (len(line) - 1) / (most - 1))] for i in range(most)]


def last(line: Points) -> tuple[float, float] | None:
    """Return the last point that is not a gap."""
    return next(((x, y) for x, y in reversed(line) if not math.isnan(y)), None)
