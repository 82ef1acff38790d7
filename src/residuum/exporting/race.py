"""Engines timed in turns, round by round: what slows the machine for a while slows them all.

Letters: B views in a batch, S the side of a view in pixels.
"""

import time
from functools import partial

import numpy as np
from numpy.typing import NDArray

from residuum import machine
from residuum.choices import EngineName, EnginePrecision
from residuum.console import show_progress
from residuum.engines.contract import Engine
from residuum.records.engines import per_round

Way = tuple[EngineName, EnginePrecision]
Turns = dict[int, list[float]]
"""Milliseconds, one for each round, by how many views a batch has."""
BATCHES = (1, 16)
ROUNDS = 5
"""Of two that are equally fast, one is the faster in all of them by chance once in 2⁵ = 32 times."""
TURN = 0.2
"""Seconds that a batch is answered for again and again in a turn, and once at the least."""
BEHIND = 2
"""A way whose fastest round takes so many times as long as the slowest of the leader's is out of the race."""
LEAST_ROUNDS = 3
"""Rounds before any is: one may be slow by chance."""
ASKED_ALONE = 3
"""Times that a single view is answered for before a way is given up unraced."""


def turn(engine: Engine, views: NDArray[np.uint8]) -> float:
    """Return the least ms that the batch (B, S, S, 3) took: others can but slow it, as caches full of another's do."""
    return machine.least(partial(_once, engine, views), 1000 * TURN)


def warmed_up(engine: Engine, views: NDArray[np.uint8]) -> dict[int, float]:
    """Return the ms in which each batch is answered for, a single view in the fastest of three tries; first of all once
    untimed, when an engine may compile.
    """
    found = {}
    for batch in BATCHES:
        some = batch_of(views, batch)
        _once(engine, some)
        found[batch] = min(_once(engine, some) for _ in range(ASKED_ALONE if batch == 1 else 1))
    return found


def batch_of(views: NDArray[np.uint8], batch: int) -> NDArray[np.uint8]:
    """Return so many of the views (N, S, S, 3), from the first again where they are too few."""
    return np.resize(views, (batch, *views.shape[1:]))


def race(engines: dict[Way, Engine], views: NDArray[np.uint8], may_lead: set[Way]) -> dict[Way, Turns]:
    """Time every engine in three rounds, and in the rest those that are not far behind the fastest of `may_lead`."""
    progress = show_progress(f"timing {len(engines)} ways to compute, in {ROUNDS} rounds")
    batches = {batch: batch_of(views, batch) for batch in BATCHES}
    turns: dict[Way, Turns] = {way: {batch: [] for batch in BATCHES} for way in engines}
    running = list(engines)
    for number in range(ROUNDS):
        for place, way in enumerate(running):
            progress(number * len(engines) + place, ROUNDS * len(engines))
            for batch, some in batches.items():
                turns[way][batch].append(turn(engines[way], some))
        if number + 1 >= LEAST_ROUNDS:
            running = _not_behind(running, {way: per_round(turns[way]) for way in running}, may_lead)
    progress(ROUNDS * len(engines), ROUNDS * len(engines))
    return turns


def _not_behind(running: list[Way], rounds: dict[Way, list[float]], may_lead: set[Way]) -> list[Way]:
    leading = min(max(rounds[way]) for way in running if way in may_lead)
    return [way for way in running if min(rounds[way]) <= BEHIND * leading]


def _once(engine: Engine, views: NDArray[np.uint8]) -> float:
    began = time.perf_counter()
    engine(views)
    return 1000 * (time.perf_counter() - began)
