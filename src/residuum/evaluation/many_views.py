"""The papers' protocols of many views: ten crops, and whole pictures at several scales.

Ten crops: Krizhevsky et al. 2012, sec. 4.1, "averaging the predictions made by the network's softmax layer on the ten
patches"; He et al. 2015 (arXiv 1512.03385), sec. 3.4. Scales: He et al., sec. 3.4: fully convolutional, averaged over
shorter sides of 224, 256, 384, 480 and 640 px; a net that averages over all places of its last map is so already.
Letters: N pictures, K classes, S the side of the square that a net was trained on, h×w the pixels of a view.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from residuum.choices import EvaluationViews, Interpolation
from residuum.compute import Compute
from residuum.data.batches import Loader, natural_size
from residuum.data.cache import Progress
from residuum.data.cuts import CutView, cut_views
from residuum.data.decode import Pixels
from residuum.data.labels import is_several
from residuum.data.preprocess import Preprocessing, normalise
from residuum.data.resize import resized
from residuum.errors import UserError
from residuum.evaluation.views import five_crop, ten_crop
from residuum.models.answers import answered
from residuum.records.model import View

SIDES = (224, 256, 384, 480, 640)
"""Shorter sides of the scales, for a net trained on 224 px; for others in proportion."""
FRAME = 8
"""Where a net sees whole pictures, crops are cut from a frame of zeros, its width an eighth of their side."""
STEP = 16
"""Pictures decoded at once."""


def sides(shown: Preprocessing | View) -> tuple[int, ...]:
    """Return the shorter sides of the scales, in pixels: those of the paper, in proportion to S / 224."""
    return tuple(round(shown.image_size * side / SIDES[0]) for side in SIDES)


def is_framed(shown: Preprocessing | View) -> bool:
    """Say whether the net sees the whole picture, so that crops need a frame."""
    return shown.resize_to == shown.image_size


def frame(shown: Preprocessing | View) -> int:
    """Return the frame's width, in pixels: 4 of 32, as training's crops have (He et al. 2015, sec. 4.2)."""
    return max(1, shown.image_size // FRAME)


def refuse_what_means_nothing(views: EvaluationViews, loader: Loader, *, mirrors: bool) -> None:
    """Refuse mirror images that show another class, and scales that show nothing more (UserError)."""
    shown = loader.preprocessing
    if not mirrors and views in {"mirrored", "shifted", "ten-crop"}:
        raise UserError(
            f"--views {views} needs mirror images",
            "these pictures' may show another class: they are digits, or training said --no-flip",
            "--views single",
        )
    if views != "multi-scale":
        return
    if shown.mean.ndim == 3:
        raise UserError(
            "--views multi-scale needs a net that takes pictures of any size",
            f"this one subtracts the mean picture, which is of {shown.image_size}×{shown.image_size} px",
            "--views single, mirrored or ten-crop",
        )
    if (size := natural_size(loader.split)) <= shown.image_size:
        raise UserError(
            "--views multi-scale is for photographs",
            f"these pictures are of {size} px, which the net sees whole: at {sides(shown)[-1]} px they show no more",
            "--views single, mirrored or ten-crop",
        )


@torch.inference_mode()
def mean_over_views(
    net: nn.Module, loader: Loader, compute: Compute, views: EvaluationViews, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return (N, K): the mean of the probabilities of each picture's ten crops, or scales.

    `net` is in evaluation mode. A forward pass takes no more pixels than `loader.batch_size` pictures of S×S have.
    `progress` hears of pictures done, and of all.
    """
    tell, how, found = progress or (lambda _done, _total: None), loader.preprocessing, list[NDArray[np.float32]]()
    several = is_several(loader.split.labels)
    tell(0, len(loader.split))
    if views == "ten-crop" and is_framed(how):
        for batch in loader:
            found.append(_framed(net, batch.images, compute, how, several))
            tell(sum(map(len, found)), len(loader.split))
        return np.concatenate(found)
    cut = partial(_scaled, sides=sides(how), interpolation=how.interpolation)
    if views == "ten-crop":
        cut = partial(_five, shown=how)
    for step in cut_views(loader, cut, STEP):
        first = step[0].row
        total = torch.zeros(step[-1].row - first + 1, len(net.fc.bias))  # type: ignore[union-attr, arg-type]
        count = torch.zeros(len(total), 1)
        for some in _of_one_size(step, loader.batch_size * how.image_size**2):
            images = normalise(torch.stack([view.pixels for view in some]).to(loader.device), how)
            for each in (images, images.flip(3)) if views == "ten-crop" else (images,):
                rows = torch.tensor([view.row - first for view in some])
                total.index_add_(0, rows, _answered(net, each, compute, several))
                count.index_add_(0, rows, torch.ones(len(rows), 1))
        found.append((total / count).numpy())
        tell(step[-1].row + 1, len(loader.split))
    return np.concatenate(found)


def _answered(net: nn.Module, images: Tensor, compute: Compute, several: bool) -> Tensor:
    with compute.autocast():
        return answered(net(compute.lay_out(images)).float(), several=several).cpu()


def _framed(
    net: nn.Module, images: Tensor, compute: Compute, shown: Preprocessing, several: bool
) -> NDArray[np.float32]:
    """Zeros are added after the mean is subtracted, as in training."""
    crops = ten_crop(pad(images, (frame(shown),) * 4), shown.image_size)
    return torch.stack([_answered(net, crop, compute, several) for crop in crops]).mean(0).numpy()


def _scaled(pixels: Pixels, name: str, sides: Sequence[int], interpolation: Interpolation) -> list[Pixels]:
    return [resized(pixels, side, name, interpolation) for side in sides]


def _five(pixels: Pixels, name: str, shown: Preprocessing) -> list[Pixels]:
    whole = torch.from_numpy(resized(pixels, shown.resize_to, name, shown.interpolation)).permute(2, 0, 1)[None]
    return [view[0].permute(1, 2, 0).numpy() for view in five_crop(whole, shown.image_size)]


def _of_one_size(views: Sequence[CutView], pixels: int) -> Iterator[list[CutView]]:
    """Yield views of one size together, at most so many pixels of them but one at least."""
    by_size: dict[torch.Size, list[CutView]] = {}
    for view in views:
        by_size.setdefault(view.pixels.shape, []).append(view)
    for (height, width, _), some in by_size.items():
        most = max(1, pixels // (height * width))
        yield from (some[start : start + most] for start in range(0, len(some), most))
