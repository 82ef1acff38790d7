"""How far measuring has come, counted in pictures that went through a block, and how much of that there is to do."""

from collections.abc import Callable, Collection

from residuum.console import show_progress
from residuum.depth.remove import block_names, still_removable
from residuum.models.spec import NetSpec

Told = Callable[[float], None]
"""Hears how many pictures went through how many blocks, multiplied, since it was told last; a view counts its share."""


def untold(_passes: float) -> None:
    """Tell nobody."""


def telling(doing: str, total: int) -> Told:
    """Return what tells the person how far it is, and when the rest may be done, of a `total` known beforehand."""
    progress, done = show_progress(doing), 0.0
    progress(0, total)

    def told(passes: float) -> None:
        nonlocal done
        done += passes
        progress(min(round(done), total), total)

    return told


def passes_without(left: Collection[str], replaced: Collection[str]) -> int:
    """Return the blocks that a picture goes through on the walk of `measure.scores_without`: all that are `left`, and
    behind each block replaced the rest."""
    return len(left) + sum(len(left) - place for place, name in enumerate(left, start=1) if name in replaced)


def passes_of_curve(spec: NetSpec, gone: Collection[str], validation: int, training: int) -> int:
    """Return what is left of the curve once blocks are `gone`, at the most: searching and scoring on so many validation
    pictures, and recalibrating on so many training pictures.

    Which blocks will go is not known; with the last ones gone first, the walks are longest.
    """
    gone = list(gone)
    left = block_names(spec, gone)
    total = 0 if gone else (2 * validation + training) * len(left)
    while candidates := still_removable(spec, gone):
        total += validation * passes_without(left, candidates)
        gone.append(candidates[-1])
        left = block_names(spec, gone)
        total += (validation + training) * len(left)
    return total


def passes_of_draw(spec: NetSpec, most: int, validation: int, training: int) -> int:
    """Return what one random order costs: each smaller net scored as trained, recalibrated and scored again."""
    blocks = sum(len(block_names(spec)) - gone for gone in range(1, most + 1))
    return blocks * (2 * validation + training)
