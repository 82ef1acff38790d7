"""What was measured on a machine that is not here."""

from residuum.records.machine import WAYS, Measured, Timing


def measured_as(threads: int = 2, **ms: float) -> Measured:
    """Return timings of so many ms for the precisions named and 2 ms for the others; contiguous takes twice as long."""
    timings = [
        Timing(
            precision=precision,
            layout=layout,
            threads=threads,
            ms=ms.get(precision, 2.0) * (2 if layout == "contiguous" else 1),
        )
        for precision, layout in WAYS
    ]
    return Measured(timings=tuple(timings), waited=0.0)
