"""Where pictures come from: what reading, decoding and serving take, timed on some of them."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from residuum import machine
from residuum.data.batches import Loader, Served, training_plan
from residuum.data.contract import Split
from residuum.data.decode import decode
from residuum.data.preprocess import measure as mean_and_spread
from residuum.data.resize import evaluation_view
from residuum.data.share import TrainingPlan
from residuum.data.split import training_and_validation
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
"""Of so many pictures reading and decoding is timed."""


@dataclass(frozen=True)
class Source:
    """What pictures take before a net sees them, in seconds a picture."""

    streamed: bool
    """Whether pictures are read and decoded each time they are shown; else they lie decoded in memory."""
    reading: float
    """Fetching the bytes."""
    bytes: float
    """Of an encoded picture."""
    hashing: float
    decoding: float
    """In full, on one core."""
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
    pictures = training_and_validation(resolved.data, resolved.cut)[0].pictures
    rows = np.linspace(0, len(pictures) - 1, min(LOOKED_AT, len(pictures))).astype(int).tolist()
    read, encoded = timed(lambda: [pictures.encoded(row) for row in rows])
    held = [one if isinstance(one, bytes) else one.tobytes() for one in encoded]
    hashed, _ = timed(lambda: [hashlib.sha256(one) for one in held])
    names = map(pictures.name, rows)
    looked, _ = timed(lambda: [decode(one, name) for one, name in zip(encoded, names, strict=True)])
    serving = _serving(resolved, in_training(loader, resolved))
    return Source(
        streamed=loader.images is None,
        reading=read / len(rows),
        bytes=sum(map(len, held)) / len(rows),
        hashing=hashed / len(rows),
        decoding=looked / len(rows),
        serving=serving,
        serving_core=serving * (max(1, min(loader.workers, machine.cores())) if loader.images is None else 1),
    )


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
