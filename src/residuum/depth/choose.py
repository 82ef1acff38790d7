"""How many blocks to take out: from what was asked and the measured curve. Plain arithmetic.

`curve[k]` are the figures with k blocks out.
"""

from collections.abc import Sequence
from typing import get_args

from residuum.depth.remove import most_removable
from residuum.errors import UserError
from residuum.models.spec import NetSpec
from residuum.records.depth import Aim, Point, Target
from residuum.settings import TrimSettings

KEEP = 0.75
LATENCY_BATCH = 32


def asked(settings: TrimSettings) -> Target:
    """Return the one target: keep, max_drop or speedup; keep 0.75 where none was given."""
    targets = {name: getattr(settings, name) for name in get_args(Aim)}
    return {name: value for name, value in targets.items() if value is not None} or {"keep": KEEP}


def choose(target: Target, curve: Sequence[Point], *, times_say_something: bool = True) -> tuple[int, str]:
    """Return how many blocks to take out, and why so many; no speed is given where times say nothing.

    Raises:
        UserError: no net on the curve is as small or as fast as asked.
    """
    ((name, value),) = target.items()
    if name == "keep":
        blocks = sum(curve[0].blocks)
        return removed_to_keep(value, blocks, len(curve) - 1), f"--keep {value:g} of {blocks} blocks"
    return _by_drop(value, curve) if name == "max_drop" else _by_speedup(value, curve, times_say_something)


def removed_to_keep(keep: float, blocks: int, most: int) -> int:
    """Return round((1 − keep) · blocks) (UserError if more than `most`)."""
    removed = round((1 - keep) * blocks)
    if removed > most:
        raise UserError(
            f"--keep {keep:g} takes {removed} of {blocks} blocks out, but at most {most} can go",
            "a block that changes the shape stays, and each stage keeps one",
            f"--keep {(blocks - most) / blocks:.2g} or more",
        )
    return removed


def check_possible(target: Target, spec: NetSpec) -> None:
    """Refuse before anything is measured what the net's shape cannot give (UserError)."""
    most = most_removable(spec)
    if most == 0:
        raise UserError(
            "no block can be taken out of this net",
            "a block that changes the shape stays, and each stage keeps one",
        )
    if "keep" in target:
        removed_to_keep(target["keep"], sum(spec.blocks), most)


def _by_drop(points: float, curve: Sequence[Point]) -> tuple[int, str]:
    """Return the most blocks; the drop is from the net as it was given to the model of the smaller one."""
    drops = [100 * (curve[0].accuracy - point.best) for point in curve]
    removed = max(k for k, drop in enumerate(drops) if drop <= points + 1e-9)
    if not removed:
        least = min(drops[1:], default=0.0)
        return 0, f"none with --max-drop {points:g}: to take any out costs {least:.2f} points of validation accuracy"
    lost = f"{drops[removed]:.2f} points" if drops[removed] >= 0 else "nothing"
    return removed, f"the most with --max-drop {points:g}: {lost} of validation accuracy lost"


def _by_speedup(times: float, curve: Sequence[Point], times_say_something: bool) -> tuple[int, str]:
    """Return the fewest blocks; the speed is that of batches of 32."""
    times_ms = [point.latency_ms[LATENCY_BATCH] for point in curve if point.latency_ms]
    ratios = [times_ms[0] / ms for ms in times_ms]
    reached = [k for k, ratio in enumerate(ratios) if ratio >= times]
    if not reached:
        raise UserError(
            f"no net on the curve is {times:g} times as fast",
            f"the fastest is {max(ratios):.2f} times as fast in batches of {LATENCY_BATCH}",
            f"--speedup {int(max(ratios) * 100) / 100:g} or less",
        )
    if not times_say_something:
        return reached[0], f"the fewest with --speedup {times:g}, by times that tell little"
    fast = f"{ratios[reached[0]]:.2f} times as fast in batches of {LATENCY_BATCH}"
    return reached[0], f"the fewest with --speedup {times:g}: {fast}"
