"""From a decided run to its splits, ready to be served."""

from dataclasses import replace

from residuum.choices import SplitName
from residuum.data.batches import Loader, open_loader, pixels_if_small
from residuum.data.contract import Split
from residuum.data.preprocess import Preprocessing, measure
from residuum.data.split import training_and_validation
from residuum.errors import UserError
from residuum.loading import Classifier
from residuum.training.resolve import Resolved

EVALUATION_BATCH = 250
EVALUATION_BATCH_THERE = 1000
"""On a GPU, of small pictures that lie there: a batch of few would take no less time."""

Loaders = dict[SplitName, Loader]
"""The splits that there are, ready to be served."""


def open_loaders(resolved: Resolved) -> Loaders:
    """Decode the small, prepare to stream the large, and measure the training pictures' mean and spread."""
    size, resize = resolved.image_size, resolved.resize_to
    train, validation = training_and_validation(resolved.data, resolved.cut)
    interpolation = resolved.start.preprocessing.interpolation if resolved.start else "bilinear"
    images = pixels_if_small(train.pictures, size, resize, interpolation)
    how = _of_start(resolved.start, size, resize) or measure(images, size, resize, resolved.recipe)
    device, workers = resolved.compute.device, resolved.settings.workers or 0
    batch = EVALUATION_BATCH if images is None or device.type == "cpu" else EVALUATION_BATCH_THERE
    splits: dict[SplitName, Split | None] = {"train": train, "validation": validation, "test": resolved.data.test}
    return {
        name: open_loader(split, how, device, workers, batch, images if name == "train" else None)
        for name, split in splits.items()
        if split is not None
    }


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
