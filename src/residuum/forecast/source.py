"""Where pictures come from: what reading, decoding and serving take, timed on some of them."""

import hashlib
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from residuum import machine
from residuum.data.batches import Loader, Served, training_plan
from residuum.data.cache import decode_rows
from residuum.data.contract import Pictures, Split, Subset
from residuum.data.decode import decode
from residuum.data.look import look_at
from residuum.data.preprocess import measure as mean_and_spread
from residuum.data.resize import evaluation_view
from residuum.data.share import TrainingPlan
from residuum.data.split import training_and_validation
from residuum.data.threads import in_order
from residuum.data.windows import blocks_of
from residuum.recipe import SMALL, Recipe
from residuum.training.resolve import Resolved

T = TypeVar("T")
SECONDS = 2.0
"""So long each part is timed, and for at least FEWEST steps."""
FEWEST = 3
LEAST = 8
"""A batch is timed with so many pictures at least."""
MOST = 1 << 16
"""Steps that are planned; time ends them sooner."""
PLACES = 16
LOOKED_AT = 64
"""Of so many pictures decoding on one core is timed."""
READ = 2048
"""Of so many pictures reading, and decoding by all cores, is timed at most, or of so many as take SECONDS / 2."""
HELD_BYTES = 256 << 20
"""Of so many encoded bytes at most."""
AT_ONCE = 8
"""Pictures that a thread decodes at a time, while it is timed."""


@dataclass(frozen=True)
class Source:
    """What pictures take before a net sees them, in seconds a picture."""

    streamed: bool
    """Whether pictures are read and decoded each time they are shown; else they lie decoded in memory."""
    reading: float
    """Fetching the bytes, each picture's share of the shards' pieces that are read as a whole included."""
    rereading: float
    """Fetching them another time, when such pieces may be held in memory."""
    bytes: float
    """Of an encoded picture."""
    hashing: float
    decoding: float
    """In full, on one core."""
    looking: float
    """Decoding each to see whether it can be, by all cores together."""
    viewing: float
    """Decoding small ones as they are kept, by all cores together; 0 where they are streamed."""
    serving: float
    """Training batches, all that decode together."""
    serving_core: float
    """The same, on one core."""


def sample(split: Split, count: int) -> Split:
    """Return about `count` of the pictures: neighbours at places spread over the split."""
    places = np.linspace(0, len(split) - 1, PLACES).astype(int)
    rows = np.unique(np.minimum(places[:, None] + np.arange(-(-count // PLACES)), len(split) - 1))
    if len(rows) < min(count, len(split)):
        rows = np.arange(min(count, len(split)))
    return split.take(rows)


def loader_of(split: Split, resolved: Resolved, batch_size: int) -> Loader:
    """Return what serves these pictures as the run would, decoding small ones now."""
    size, resize = resolved.image_size, resolved.resize_to
    images: NDArray[np.uint8] | None = None
    if size <= SMALL:
        pictures, greys = split.pictures, resolved.data.greys
        decoded = (decode(pictures.encoded(row), pictures.name(row), span=greys) for row in range(len(split)))
        images = np.stack([evaluation_view(pixels, size, resize, resolved.interpolation) for pixels in decoded])
    how = replace(mean_and_spread(images, size, resize, resolved.recipe), greys=resolved.data.greys)
    device = resolved.compute.device
    held = None if images is None else torch.from_numpy(images).to(device)
    return Loader(split, how, held, device, resolved.settings.workers or 0, batch_size)


def in_training(loader: Loader, resolved: Resolved) -> Loader:
    """Return what serves the pictures at training's size."""
    return replace(loader, preprocessing=replace(loader.preprocessing, image_size=resolved.training_size))


def source_of(resolved: Resolved, loader: Loader) -> Source:
    """Time reading, looking at and serving training pictures."""
    pictures = _unread(training_and_validation(resolved.data, resolved.cut)[0].pictures)
    rows, reading, rereading, held = _reading(pictures)
    hashed, _ = timed(lambda: [hashlib.sha256(one) for one in held])
    some = Subset(pictures, rows)  # read by now, so that what follows is decoding alone
    looking = _side_by_side(len(rows), partial(look_at, some))
    viewing = 0.0
    if loader.images is not None:
        size, resize = resolved.image_size, resolved.resize_to
        view = partial(evaluation_view, image_size=size, resize_to=resize, interpolation=resolved.interpolation)
        viewing = _side_by_side(len(rows), partial(decode_rows, some, size, view, resolved.data.greys))
    decoded = range(0, len(rows), -(-len(rows) // LOOKED_AT))
    looked, _ = timed(lambda: [decode(some.encoded(row), some.name(row)) for row in decoded])
    serving = _serving(resolved, in_training(loader, resolved))
    return Source(
        streamed=loader.images is None,
        reading=reading,
        rereading=rereading,
        bytes=sum(map(len, held)) / len(rows),
        hashing=hashed / len(rows),
        decoding=looked / len(decoded),
        looking=looking,
        viewing=viewing,
        serving=serving,
        serving_core=serving * (max(1, min(loader.workers, machine.cores())) if loader.images is None else 1),
    )


def _unread(pictures: Pictures) -> Pictures:
    """Return the same pictures, nothing of their shards held in memory yet."""
    if isinstance(pictures, Subset):
        return replace(pictures, whole=_unread(pictures.whole))
    return copy(pictures) if blocks_of(pictures) is not None else pictures


def _reading(pictures: Pictures) -> tuple[NDArray[np.int64], float, float, list[bytes]]:
    """Read neighbours at several places for a while: their rows, the seconds a picture at the first time and at
    another, and their bytes.

    The first picture of a block may cost the reading of the whole, which all its pictures share.
    """
    blocks = blocks_of(pictures)
    of_rows = np.zeros(len(pictures), np.int64) if blocks is None else blocks.of_rows
    seen, rows, held, first, others = set[int](), list[int](), list[bytes](), list[float](), list[float]()
    began, size = time.perf_counter(), 0
    for row in _at_places(len(pictures)):
        seconds, one = timed(lambda: pictures.encoded(row))  # noqa: B023 - it is called at once
        (others if blocks is None or of_rows[row] in seen else first).append(seconds)
        seen.add(int(of_rows[row]))
        rows.append(row)
        held.append(one if isinstance(one, bytes) else one.tobytes())
        size += len(held[-1])
        if time.perf_counter() - began > SECONDS / 2 or size > HELD_BYTES:
            break
    alone = float(np.mean(others or first))
    openings = sum(first) / max(1, len(first)) - alone if others else 0.0
    shared = max(0.0, openings) * len(np.unique(of_rows)) / len(pictures) if first else 0.0
    is_held = blocks is not None and not blocks.by_default
    return np.array(rows), alone + shared, alone if is_held else alone + shared, held


def _at_places(count: int) -> Iterator[int]:
    """Yield rows of neighbours at PLACES of `count`, place by place, and no row twice."""
    each = -(-min(READ, count) // PLACES)
    starts = np.unique(np.linspace(0, max(0, count - each), PLACES).astype(int))
    rows = np.concatenate([start + np.arange(each) for start in np.random.default_rng(0).permutation(starts)])
    yield from dict.fromkeys(rows[rows < count].tolist())


def _side_by_side(count: int, work: Callable[[range], object]) -> float:
    """Return the seconds a picture that this takes of `count`, or as many as are done in a while, by all cores."""
    work(range(1))  # what only the first one takes is no part of it
    began, seconds, done = time.perf_counter(), 0.0, 0
    pieces = (range(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE))
    for _ in in_order(pieces, work, 2 * machine.cores() + 1):
        seconds, done = time.perf_counter() - began, min(done + AT_ONCE, count)
        if seconds > SECONDS / 2:
            break
    return seconds / done


def _serving(resolved: Resolved, loader: Loader) -> float:
    """Return the seconds a training picture takes to be made, with no net to wait for."""
    batch = min(loader.batch_size, max(LEAST, len(loader.split) // 4))
    recipe = replace(resolved.recipe, batch_size=batch)
    plan = many_steps(loader, resolved.settings.seed, recipe, 0)
    ahead = 2 * loader.workers + 1 if loader.images is None else 1  # batches that workers make before one is taken
    turns = enumerate(loader.batches(plan, resolved.recipe.augmentation, resolved.settings.seed), 1)
    began = 0.0
    for index, _ in turns:
        if index == ahead:
            _wait(resolved.compute.device)
            began = time.perf_counter()
        if index > ahead and (time.perf_counter() - began > SECONDS / 2 and index - ahead >= FEWEST):
            break
    _wait(resolved.compute.device)
    return (time.perf_counter() - began) / ((index - ahead) * batch)


def many_steps(loader: Served, seed: int, recipe: Recipe, start: int) -> TrainingPlan:
    """Return a run's steps from `start` on, without an end."""
    return replace(training_plan(loader, seed, recipe, start), stop=start + MOST)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds that something takes, and what it gives."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
