"""A trained net opened to be examined, and the pictures it is examined on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from residuum.compute import Compute, choose_compute
from residuum.data.batches import Batch
from residuum.depth.open_model import OpenModel, open_model
from residuum.depth.open_pictures import (
    BATCH,
    OpenPictures,
    open_pictures,
    recalibration_feed,
    validation_feed,
    walkable,
)
from residuum.models.resnet import ResNet
from residuum.study.frame import Setup

LARGE, FEWER = 64, 8
"""Of pictures wider than so many pixels, which cost so much more, only one in so many is taken."""


@dataclass(frozen=True)
class Opened:
    """A net in evaluation mode, placed where it computes, in float32."""

    model: OpenModel
    pictures: OpenPictures
    compute: Compute

    @property
    def net(self) -> ResNet:
        """Return the net."""
        return self.model.net

    def affordable(self, images: int) -> int:
        """Return `images`, or an eighth of it where the net sees large pictures."""
        large = self.model.classifier.preprocessing.image_size > LARGE
        return images // FEWER if large else images

    def validation(self, images: int) -> Iterable[Batch]:
        """Return that many validation pictures, or all there are; they can be walked again and again."""
        return walkable(validation_feed(self.pictures, images, self.model, self.compute))

    def training(self, images: int) -> list[Batch]:
        """Return that many training pictures, or all there are, but at most 2,000, as evaluation shows them."""
        feed = recalibration_feed(self.pictures, 0, self.model, self.compute)
        present = len(feed.split)
        # spread over all rows, since the first ones of a folder are of one class
        rows = np.arange(min(images, present)) * present // min(images, present)
        return list(feed.batches([(0, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]))


def opened(path: Path | str, means: Setup) -> Opened:
    """Open a run folder or model file.

    Raises:
        UserError: there is none, it cannot be read, or the pictures are not to be had or have other classes.
    """
    model = open_model(str(path), "study")
    compute = choose_compute(means.device, "float32", threads=means.threads)
    pictures = open_pictures(model, means.data)
    compute.place(model.net)
    return Opened(model, pictures, compute)
