"""From a decided run to its splits, ready to be served."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from residuum.data.batches import Feed, open_feed, pixels_if_small
from residuum.data.contract import Split
from residuum.data.preprocess import Preprocessing, measure
from residuum.errors import UserError
from residuum.loading import Classifier
from residuum.training.resolve import Resolved


@dataclass(frozen=True)
class Feeds:
    """The splits, ready to be served."""

    train: Feed
    validation: Feed | None
    test: Feed | None

    @property
    def final(self) -> tuple[str, Feed] | None:
        """Return the split the final figures come from, and its name: test, else validation."""
        if self.test is not None:
            return "test", self.test
        return ("validation", self.validation) if self.validation is not None else None


def open_feeds(resolved: Resolved) -> Feeds:
    """Decode the small, prepare to stream the large, and measure the training pictures' mean and spread."""
    data, size, resize = resolved.data, resolved.image_size, resolved.resize_to

    interpolation = resolved.start.preprocessing.interpolation if resolved.start else "bilinear"

    def pixels(split: Split | None) -> NDArray[np.uint8] | None:
        return None if split is None else pixels_if_small(split, size, resize, interpolation)

    whole = pixels(data.train)
    train, train_pixels = _part(data.train, whole, resolved.train_rows)
    how = _of_start(resolved.start, size, resize) or measure(train_pixels, size, resize, resolved.recipe)

    def feed(split: Split | None, images: NDArray[np.uint8] | None) -> Feed | None:
        workers = resolved.settings.workers or 0
        return None if split is None else open_feed(split, how, images, resolved.compute.device, workers)

    if resolved.validation_rows is not None:
        validation, validation_pixels = _part(data.train, whole, resolved.validation_rows)
    else:
        validation, validation_pixels = data.validation, pixels(data.validation)  # type: ignore[assignment]
    train_feed = feed(train, train_pixels)
    assert train_feed is not None
    return Feeds(train_feed, feed(validation, validation_pixels), feed(data.test, pixels(data.test)))


def _of_start(start: Classifier | None, image_size: int, resize_to: int) -> Preprocessing | None:
    """The preprocessing that a starting model was trained with, at the size asked for; None for a new net.

    Raises:
        UserError: it subtracts a mean picture of another size.
    """
    if start is None:
        return None
    how = start.preprocessing
    if how.mean.ndim == 3 and image_size != how.image_size:
        raise UserError(
            f"the starting model cannot be trained at {image_size} px",
            f"it subtracts a mean picture of {how.image_size} px",
            f"use --image-size {how.image_size}",
        )
    return replace(how, image_size=image_size, resize_to=resize_to)


def _part(
    split: Split, images: NDArray[np.uint8] | None, rows: NDArray[np.int64] | None
) -> tuple[Split, NDArray[np.uint8] | None]:
    if rows is None:
        return split, images
    return split.take(rows), None if images is None else images[rows]
