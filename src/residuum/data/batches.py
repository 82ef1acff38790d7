"""Batches: small pictures from one decoded array, large ones streamed through worker processes.

Which pictures form step `s` depends only on (seed, s), so a run can stop and go on anywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from residuum import ranks
from residuum.choices import Interpolation, Shuffle
from residuum.console import say, show_progress
from residuum.data.augment import augmented_batch, augmented_views, fill_of, hashes_there
from residuum.data.cache import decoded
from residuum.data.contract import Pictures, Readable, Split, Subset
from residuum.data.decode import decode, header
from residuum.data.deep import Span
from residuum.data.mixing import Mix
from residuum.data.preprocess import Preprocessing, normalise
from residuum.data.resize import evaluation_view
from residuum.data.rng import order, whole
from residuum.data.share import EpochOrder, Plan, TrainingPlan, distinct, one_pass
from residuum.data.windows import Windows
from residuum.data.workers import made_by_workers
from residuum.errors import UserError
from residuum.recipe import SMALL, Augmentation, Recipe

HELD_BYTES = 2 * 1024**3
"""Pictures that need more than this as normalised float32 are served anew, and perhaps decoded anew, each time."""

AHEAD_BYTES = 64 * 1024**2
"""On a GPU the pictures of several steps are prepared at once, as many as fit in this as float32."""


@dataclass(frozen=True)
class Batch:
    """B pictures: images (B, 3, S, S) float32, labels (B,) int64 or (B, K) uint8 of several a picture, rows (B,) of the
    split (rng.repeated), epoch."""

    images: Tensor
    labels: Tensor
    rows: NDArray[np.int64]
    epoch: int
    mix: Mix | None = None


def training_plan(loader: "Served", seed: int, recipe: Recipe, start: int) -> TrainingPlan:
    """Return a run's steps from `start` on over a loader's pictures, as this rank reads them, in the order that suits
    how they lie."""
    pictures, size, repeats = loader.split.pictures, recipe.batch_size, recipe.repeats
    shuffle = epoch_order(loader.shuffle, pictures, distinct(size, repeats))
    here = ranks.rank(), ranks.ranks()
    return TrainingPlan(
        seed, len(loader.split), size, start, recipe.iterations, *here, shuffle=shuffle, repeats=repeats
    )


def epoch_order(shuffle: Shuffle, pictures: Pictures, batch_size: int) -> EpochOrder:
    """Return what orders the pictures of each epoch."""
    if shuffle == "windows":
        return Windows.of(pictures, batch_size)
    return order if shuffle == "as-0.1" else whole


class Served(Protocol):
    """N pictures, or what a net's first part makes of them, that can be walked again and again: see Loader."""

    @property
    def split(self) -> Split:
        """Return the pictures and their labels."""
        ...

    @property
    def shuffle(self) -> Shuffle:
        """Return how training shuffles them."""
        ...

    def __iter__(self) -> Iterator[Batch]: ...

    def batches(self, plan: Plan, augmentation: Augmentation | None = None, seed: int = 0) -> Iterator[Batch]:
        """Serve the plan's batches."""
        ...

    def take(self, rows: NDArray[np.int64]) -> "Served":
        """Return what serves these rows alone, in this order."""
        ...


@dataclass(frozen=True)
class Loader:
    """One split, ready to be served: decoded (`images` is (N, S, S, 3) uint8) or to be streamed (None).

    Walking it serves every picture once, in order, as evaluation sees them; it can be walked again and again.
    """

    split: Split
    preprocessing: Preprocessing
    images: Tensor | None
    device: torch.device
    workers: int = 0
    batch_size: int = 250
    shuffle: Shuffle = "whole"

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(one_pass(len(self.split), self.batch_size))

    def of_rank(self, rank: int, ranks: int) -> Iterator[Batch]:
        """Serve a rank's batches of those that walking it serves: the same ones, dealt whole."""
        return self.batches(one_pass(len(self.split), self.batch_size, rank, ranks))

    def take(self, rows: NDArray[np.int64]) -> "Loader":
        """Return what serves these rows alone, in this order."""
        images = None if self.images is None else self.images[torch.from_numpy(rows).to(self.images.device)]
        return replace(self, split=self.split.take(rows), images=images)

    def held(self) -> Iterable[Batch]:
        """Return all batches at once, to be walked sooner the next times; above 2 GiB they are read in every round."""
        count, side = len(self.split), self.preprocessing.image_size
        if count * side * side * 3 * 4 <= HELD_BYTES:
            return list(self)
        say(f"{count} pictures of {side} px do not fit in memory and are read in every round; --images takes fewer")
        return self

    def batches(self, plan: Plan, augmentation: Augmentation | None = None, seed: int = 0) -> Iterator[Batch]:
        """Serve the plan's batches, augmented for training or (None) as evaluation sees them.

        Raises:
            BrokenPicture: a streamed picture cannot be read; the message names it.
        """
        if self.images is not None and augmentation is not None and hashes_there(self.images.device):
            yield from _resident(self, plan, augmentation, seed)
            return
        serve = _streamed if self.images is None else _from_memory
        labels = torch.from_numpy(self.split.labels)
        for (epoch, rows), images in zip(plan, serve(self, plan, augmentation, seed), strict=True):
            picked = torch.from_numpy(rows % len(self.split))
            yield Batch(images, labels[picked].to(self.device), rows, epoch)

    def seen(self, row: int) -> NDArray[np.uint8]:
        """Return what a net is shown of picture `row` in evaluation, (S, S, 3)."""
        if self.images is not None:
            return self.images[row].cpu().numpy()
        return _evaluated(self.split.pictures, row, self.preprocessing)


def open_loader(
    split: Split,
    preprocessing: Preprocessing,
    device: torch.device,
    workers: int,
    batch_size: int,
    images: NDArray[np.uint8] | None = None,
) -> Loader:
    """Decode a split of small pictures, unless their `images` are there, and make it ready to be served.

    A decoded array is shared on a CPU, copied to a GPU.
    """
    if images is None:
        how = preprocessing
        images = pixels_if_small(split.pictures, how.image_size, how.resize_to, how.interpolation, how.greys)
    held = None if images is None else torch.from_numpy(images).to(device)
    return Loader(split, preprocessing, held, device, workers, batch_size)


def pixels_if_small(
    pictures: Pictures,
    image_size: int,
    resize_to: int,
    interpolation: Interpolation = "bilinear",
    greys: Span | None = None,
) -> NDArray[np.uint8] | None:
    """Return the decoded pictures (N, S, S, 3), or None where they are to be streamed.

    Of a subset the whole is decoded: so it is done once, however it is cut.
    """
    if image_size > SMALL:
        return None
    if isinstance(pictures, Subset) and not isinstance(pictures, Readable):
        whole = pixels_if_small(pictures.whole, image_size, resize_to, interpolation, greys)
        return None if whole is None else whole[pictures.indices]
    show = show_progress("decoding the pictures, once")
    return decoded(pictures, image_size, resize_to, show, say, interpolation, greys)


def natural_size(split: Split, places: int = 16, neighbours: int = 16) -> int:
    """Return the median shorter side, in pixels, of some neighbours at places spread over the split; headers only.

    Neighbours, because packed pictures are read many at a time.
    """
    starts = np.linspace(0, len(split) - 1, places).astype(int)
    rows = np.unique(np.minimum(starts[:, None] + np.arange(neighbours), len(split) - 1))
    headers = (header(split.pictures.encoded(row), split.pictures.name(row)) for row in rows.tolist())
    return int(np.median([min(seen.width, seen.height) for seen in headers]))


# --- small pictures -----------------------------------------------------------------------------


def _from_memory(loader: Loader, plan: Plan, augmentation: Augmentation | None, seed: int) -> Iterator[Tensor]:
    images = loader.images
    assert images is not None
    for epoch, rows in plan:
        if augmentation is None:
            yield normalise(images[torch.from_numpy(rows).to(images.device)], loader.preprocessing)
        else:
            yield augmented_batch(images, rows, augmentation, loader.preprocessing, seed, epoch)


def _resident(loader: Loader, plan: Plan, augmentation: Augmentation, seed: int) -> Iterator[Batch]:
    """Serve batches that were made where the pictures lie, several steps of an epoch together.

    Making them takes dozens of kernels, however many pictures there are; a step of a small net waits for no more.
    """
    images = loader.images
    assert images is not None
    labels = torch.from_numpy(loader.split.labels).to(images.device)
    for epoch, steps in groupby(plan, key=lambda step: step[0]):
        for first in steps:
            ahead = AHEAD_BYTES // (len(first[1]) * images[0].numel() * 4)
            rows = [first[1], *(rows for _, rows in islice(steps, max(0, ahead - 1)))]
            together, sizes = np.concatenate(rows), [len(one) for one in rows]
            views = augmented_batch(images, together, augmentation, loader.preprocessing, seed, epoch).split_with_sizes(
                sizes
            )
            picked = torch.from_numpy(together % len(images)).to(images.device, non_blocking=True)
            theirs = labels[picked].split_with_sizes(sizes)
            yield from (Batch(*one, epoch) for one in zip(views, theirs, rows, strict=True))


# --- large pictures -----------------------------------------------------------------------------


class _Steps(Dataset[tuple[Tensor, Tensor] | UserError]):
    """What a worker does for one step, (epoch, rows): decode, cut the views, draw the colour shifts.

    Gives the views (B, S, S, 3) uint8 and the shifts (B, 3) float32; or the error, which torch would raise as a text of
    two tracebacks.
    """

    def __init__(self, loader: Loader, augmentation: Augmentation | None, seed: int) -> None:
        self.pictures, self.preprocessing = loader.split.pictures, loader.preprocessing
        self.augmentation, self.seed = augmentation, seed

    def __getitem__(self, step: tuple[int, NDArray[np.int64]]) -> tuple[Tensor, Tensor] | UserError:
        try:
            return self._views(*step)
        except UserError as error:
            return error

    def _views(self, epoch: int, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        how = self.preprocessing
        if self.augmentation is None:
            views = np.stack([_evaluated(self.pictures, int(row), how) for row in rows])
            return torch.from_numpy(views), torch.zeros(len(rows), 3)
        where = how.image_size, self.augmentation, self.seed, epoch, how.greys, fill_of(how)
        views, shifts = augmented_views(self.pictures, rows, *where)
        return torch.from_numpy(views), torch.from_numpy(shifts)


def _evaluated(pictures: Pictures, row: int, how: Preprocessing) -> NDArray[np.uint8]:
    """Show a picture as evaluation does, from every pixel: published weights must score what they published."""
    pixels = decode(pictures.encoded(row), pictures.name(row), span=how.greys)
    return evaluation_view(pixels, how.image_size, how.resize_to, how.interpolation)


def _streamed(loader: Loader, plan: Plan, augmentation: Augmentation | None, seed: int) -> Iterator[Tensor]:
    steps = _Steps(loader, augmentation, seed)
    for views, shifts in made_by_workers(steps, plan, loader.workers, loader.split.pictures):
        pixels = views.to(loader.device)
        if augmentation is not None and augmentation.colour:
            pixels = pixels + shifts.to(loader.device)[:, None, None, :]
        yield normalise(pixels, loader.preprocessing)
