"""Which engine answers from now on: what did before, unless another was faster in every round."""

from collections.abc import Sequence

from residuum import machine
from residuum.choices import EngineName, EnginePrecision
from residuum.records.engines import EngineChoice, EngineTiming, most_rounds

NOISE = "noise"
"""What answers are compared on where no pictures are known."""
AT_FIRST: tuple[EngineName, EnginePrecision] = ("torch", "float32")
"""What answers where nothing was chosen."""


def usable(timings: Sequence[EngineTiming], allowed: set[EnginePrecision]) -> list[EngineTiming]:
    """Return those that may be chosen."""
    return [one for one in timings if one.refused is None and one.precision in allowed]


def decided(
    timings: Sequence[EngineTiming],
    allowed: set[EnginePrecision],
    before: EngineChoice | None,
    pictures: str,
    waited: float,
) -> tuple[EngineTiming, str | None]:
    """Return what answers from now on, and why something faster does not.

    timings: those refused, too, the fastest first.
    before: what was chosen before; where that may not be used now, torch in float32 is what others have to beat.
    """
    able = usable(timings, allowed)
    now = next((one for one in able if before and one.way == (before.engine, before.precision)), None)
    ground = better_founded(before, pictures, waited) if now else None
    now = now or next(one for one in able if one.way == AT_FIRST)
    rivals = able[: able.index(now)]
    if ground:  # it says nothing of numbers that were not allowed then
        rivals = [one for one in rivals if one.precision not in {"float32", now.precision}]
    rounds = most_rounds(able)
    sure = [one for one in rivals if one.won([now]) == rounds]
    if sure:
        return sure[0], None
    if ground and able[0] is not now:
        return now, ground
    return now, _unsure(rivals[0], now, rounds) if rivals else None


def _unsure(rival: EngineTiming, now: EngineTiming, rounds: int) -> str:
    return f"{rival.called} was faster in {rival.won([now])} of {rounds} rounds: not in all"


def better_founded(before: EngineChoice | None, pictures: str, waited: float) -> str | None:
    """Return in what an earlier choice is better founded than what was measured now, in words; None if in nothing."""
    if before is None:
        return None
    if pictures == NOISE != before.pictures:
        return f"it was chosen on {before.pictures}, where this time no pictures were known"
    if before.waited is not None and before.waited <= machine.BUSY < waited:
        return "it was chosen on a quiet machine, where this time others were computing"
    return None
