"""A trained net opened to be examined, and the pictures it is examined on."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

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
from residuum.study.frame import Means


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

    def validation(self, images: int) -> Iterable[Batch]:
        """Return that many validation pictures, or all there are; they can be walked again and again."""
        return walkable(validation_feed(self.pictures, images, self.model, self.compute))

    def training(self, images: int) -> list[Batch]:
        """Return about that many training pictures (whole batches, at most 2,000), as evaluation shows them."""
        batches = walkable(recalibration_feed(self.pictures, 0, self.model, self.compute))
        return list(islice(batches, max(1, images // BATCH)))


def opened(path: Path | str, means: Means) -> Opened:
    """Open a run folder or model file.

    Raises:
        UserError: there is none, it cannot be read, or the pictures are not to be had or have other classes.
    """
    model = open_model(str(path), "study")
    compute = choose_compute(means.device, "float32", threads=means.threads)
    pictures = open_pictures(model, means.data)
    compute.place(model.net)
    return Opened(model, pictures, compute)
