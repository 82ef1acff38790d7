"""What was measured on a machine that is not here."""

from residuum.records.machine import WAYS, Measured, Timing


def measured_as(threads: int = 2, **ms: float) -> Measured:
    """Return timings of so many ms for the precisions named and 2 ms for the others, of twice as many for contiguous.
    So many threads are best."""
    timings = [
        Timing(
            precision=precision,
            layout=layout,
            threads=1,
            ms=ms.get(precision, 2.0) * (2 if layout == "contiguous" else 1),
        )
        for precision, layout in WAYS
    ]
    on_all = Timing(precision="float32", layout="channels-last", threads=threads, ms=1.0)
    return Measured(ways=tuple(timings), by_threads=(on_all,), waited=0.0)
