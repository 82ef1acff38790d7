"""What a machine is, what was timed on it (kept in the cache folder), and what is used of it."""

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
    """The ways to compute on a processor: each on all cores, in their order; then the best of them on fewer."""

    timings: tuple[Timing, ...]
    waited: Share
    """Part of the time in which the measuring waited for a core: others were computing."""

    def __post_init__(self) -> None:
        """Refuse what leaves a way out (ValueError): any may be asked for."""
        if tuple((one.precision, one.layout) for one in self.timings[: len(WAYS)]) != WAYS:
            raise ValueError("not every way was timed")

    def best(self, precision: Precision = "auto", layout: Layout = "auto") -> Timing:
        """Return the first way of this precision and layout, or one that is clearly faster."""
        fitting = [
            one for one in self.timings if precision in {"auto", one.precision} and layout in {"auto", one.layout}
        ]
        return reduce(lambda best, other: other if other.ms * CLEARLY < best.ms else best, fitting)


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
