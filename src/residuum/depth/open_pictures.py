"""The pictures that blocks are judged on, and those that BN is recalibrated with: never the same, never test pictures.

Letters: N pictures, S their side in pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum import machine, runs
from residuum.compute import Compute
from residuum.console import say, show_progress
from residuum.data.batches import Batch, Feed, Plan, one_pass, open_feed, pixels_if_small
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData, Split
from residuum.data.open import open_data
from residuum.data.rng import order
from residuum.data.split import cut_validation
from residuum.depth.open_model import OpenModel, described
from residuum.errors import UserError
from residuum.evaluation.evaluate import protocol, renumbered
from residuum.records.codec import read_record
from residuum.records.depth import MeasuredData
from residuum.records.run import SplitRows

BATCH = 125
"""Pictures in one step; on a CPU as fast as any."""
RECALIBRATION = 2000
"""Training pictures that BN statistics are measured on."""
SHARE = 0.1
"""Share of the training pictures that is judged on, where nothing says what was kept aside."""
HELD_BYTES = 2 * 1024**3
"""Pictures that need more than this as normalised float32 are served anew, and perhaps decoded anew, each time."""


@dataclass(frozen=True)
class Cut:
    """Rows of the training pictures: those left for training, and those judged on.

    `share` and `seed` cut them so; `origin` says it in words.
    """

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    share: float
    seed: int
    origin: str


@dataclass(frozen=True)
class OpenPictures:
    """A data set, its classes numbered as the model does, and how validation pictures are told from training ones."""

    data: ImageData
    fingerprint: str
    cut: Cut | None
    """None where the data have a validation split of their own."""


def open_pictures(model: OpenModel, source: str | None) -> OpenPictures:
    """Open the data set at `source`, by default the one the model was trained with.

    Raises:
        UserError: there is none, it has other classes, or it has too few pictures to keep some aside.
    """
    trained_with = model.classifier.about.data
    source = source or (trained_with.source if trained_with else None)
    if source is None:
        raise UserError(
            "measure on which pictures?",
            "the model file does not say what it was trained with",
            "name a data set after the model",
        )
    data = open_data(source, progress=show_progress("fetching"))
    digest = fingerprint(data)
    is_own = trained_with is not None and trained_with.fingerprint == digest
    cut = None if data.validation is not None else _cut(data, model, is_own)
    return OpenPictures(_numbered(data, model.classifier.classes), digest, cut)


def _numbered(data: ImageData, classes: tuple[str, ...]) -> ImageData:
    def split(split: Split | None) -> Split | None:
        return None if split is None else renumbered(split, data, classes)

    train = split(data.train)
    assert train is not None
    return ImageData(
        data.name, data.source, classes, train, split(data.validation), split(data.test), data.mirrors
    )


def _cut(data: ImageData, model: OpenModel, is_own: bool) -> Cut:
    """Cut as training did, where it was on these pictures; else a tenth, or a model may be judged on what it saw."""
    asked: dict[str, Any] = (model.classifier.about.settings or {}) if is_own else {}
    kept_aside = asked.get("validation", 0.0)
    share, seed = (kept_aside, asked.get("seed", 0)) if kept_aside else (SHARE, 0)
    origin = "kept aside in training" if kept_aside else "cut from the training pictures"
    if is_own and not kept_aside:
        say("no pictures were kept aside in training: a tenth of those it was trained on is judged on")
    training, validation = cut_validation(data.train.labels, share, seed)
    rows = model.file.parent / runs.SPLIT
    if is_own and kept_aside and rows.exists():
        validation = np.array(read_record(rows, SplitRows).validation)
        training = np.setdiff1d(np.arange(len(data.train)), validation)
    if not len(validation):
        raise UserError(
            f"{data.source} has too few pictures to keep any aside",
            "every class has one only",
            "add pictures",
        )
    return Cut(training, validation, share, seed, origin)


# --- feeds --------------------------------------------------------------------------------------


def validation_feed(pictures: OpenPictures, images: int | None, model: OpenModel, compute: Compute) -> Feed:
    """Return the validation pictures, or `images` of them, the same ones each time."""
    data, cut = pictures.data, pictures.cut
    split = data.validation if data.validation is not None else data.train
    rows = np.arange(len(split)) if cut is None else cut.validation
    return rows_feed(split, rows[sample(images or len(rows), len(rows), 0)], model, compute)


def recalibration_feed(pictures: OpenPictures, seed: int, model: OpenModel, compute: Compute) -> Feed:
    """Return 2,000 training pictures drawn with `seed`, or all where there are fewer, as evaluation sees them."""
    train, cut = pictures.data.train, pictures.cut
    rows = np.arange(len(train)) if cut is None else cut.training
    return rows_feed(train, rows[sample(RECALIBRATION, len(rows), seed)], model, compute)


def final_feed(pictures: OpenPictures, model: OpenModel, compute: Compute) -> Feed | None:
    """Return the test pictures, if there are any."""
    test = pictures.data.test
    return None if test is None else rows_feed(test, np.arange(len(test)), model, compute)


def sample(wanted: int, present: int, seed: int) -> NDArray[np.int64]:
    """Draw `wanted` of the numbers below `present`, or all of them; sorted."""
    drawn: NDArray[np.int64] = np.sort(order(seed, 0, present)[:wanted])
    return drawn


def rows_feed(split: Split, rows: NDArray[np.int64], model: OpenModel, compute: Compute) -> Feed:
    """Return these rows of a split, shown as the model was trained to see them."""
    how = model.classifier.preprocessing
    whole = pixels_if_small(split, how.image_size, how.resize_to, how.interpolation)
    pixels = None if whole is None else whole[rows]
    return open_feed(split.take(rows), how, pixels, compute.device, compute.threads)


# --- walking them again and again ---------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """Batches that are prepared anew each time they are walked."""

    feed: Feed
    plan: Plan

    def __iter__(self) -> Iterator[Batch]:
        """Serve them in order."""
        return self.feed.batches(self.plan)


def walkable(feed: Feed, *, even: bool = False) -> Iterable[Batch]:
    """Return the feed's batches, to be walked as often as wanted; they are kept in memory up to 2 GiB.

    `even`: all batches are of one length, the rest of the pictures left out.
    """
    count = len(feed.split)
    plan = one_pass(count - count % BATCH if even and count > BATCH else count, BATCH)
    served = Served(feed, plan)
    side = feed.preprocessing.image_size
    if count * side * side * 3 * 4 <= HELD_BYTES:
        return list(served)
    say(
        f"{count} pictures of {side} px do not fit in memory and are read in every round; --images takes fewer"
    )
    return served


def measured_on(model: OpenModel, pictures: OpenPictures, images: int) -> dict[str, Any]:
    """Return the fields of `records.depth.Measured`: the net, the pictures and how they were shown."""
    how, data = model.classifier.preprocessing, pictures.data
    cut_from = pictures.cut.origin if pictures.cut else "the data's own validation split"
    return {
        "model": described(model.net.spec, how.image_size),
        "data": MeasuredData(
            name=data.name,
            split="validation",
            images=images,
            fingerprint=pictures.fingerprint,
            validation_from=cut_from,
        ),
        "protocol": protocol(how.image_size, how.resize_to, how.interpolation),
        "environment": machine.environment(),
    }
