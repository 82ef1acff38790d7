"""What a machine is, what was timed on it (kept in the cache folder), and what is used of it."""

from collections.abc import Iterable
from functools import reduce

from residuum.choices import Device, Layout, Precision
from residuum.records.codec import Record
from residuum.records.environment import Environment
from residuum.records.numbers import Count, Milliseconds, Share

WAYS: tuple[tuple[Precision, Layout], ...] = (
    ("float32", "channels-last"),
    ("bfloat16", "channels-last"),
    ("float32", "contiguous"),
    ("bfloat16", "contiguous"),
)
"""In this order each must be clearly faster than those before it to be taken."""
CLEARLY = 1.2
"""So many times as fast another way must be to be taken: chance must not decide what a machine computes."""


class Timing(Record, frozen=True, kw_only=True):
    """One way to compute, and how long a pass over a few layers took so."""

    precision: Precision
    layout: Layout
    threads: Count
    ms: Milliseconds


class Measured(Record, frozen=True, kw_only=True):
    """What was timed on a processor."""

    ways: tuple[Timing, ...]
    """WAYS on one thread, in the processor's time: what others compute beside it does not decide."""
    by_threads: tuple[Timing, ...]
    """The best of them on all cores, then on fewer."""
    waited: Share
    """The part of the cores' time, then, for which threads waited for one: others were computing."""

    def __post_init__(self) -> None:
        """Refuse what leaves a way out (ValueError): any may be asked for."""
        if tuple((one.precision, one.layout) for one in self.ways) != WAYS or not self.by_threads:
            raise ValueError("not every way was timed")

    def best(self, precision: Precision = "auto", layout: Layout = "auto") -> Timing:
        """Return the best way of this precision and layout."""
        fitting = (one for one in self.ways if precision in {"auto", one.precision} and layout in {"auto", one.layout})
        return _best(fitting)

    @property
    def threads(self) -> int:
        """Return how many threads are best."""
        return _best(self.by_threads).threads


def _best(timings: Iterable[Timing]) -> Timing:
    """Return the first, or one that is clearly faster."""
    return reduce(lambda best, other: other if other.ms * CLEARLY < best.ms else best, timings)


class Machine(Record, frozen=True, kw_only=True):
    """What `residuum machine` tells."""

    environment: Environment
    devices: tuple[Device, ...]
    """Where torch can compute."""
    kernels: bool
    """Whether our operations are compiled."""
    measured: Measured
    """On the processor."""
    device: Device
    """What is used where nothing else is told, as the next."""
    precision: Precision
    layout: Layout
    threads: Count
