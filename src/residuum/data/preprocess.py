"""From pixels to what a net takes: the same arithmetic in training, evaluation and prediction.

Letters: B pictures in a batch, S their side in pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from residuum.choices import Interpolation, Views
from residuum.recipe import Recipe

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded picture becomes input: shorter side to `resize_to`, central S×S, minus mean, over std.

    `mean` is (3,) or, where the mean picture is subtracted, (S, S, 3); `std` is (3,); both in units of 0..255. The mean
    logits of the `views` of what comes of it are the answer (`weighted`).
    """

    image_size: int
    resize_to: int
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    interpolation: Interpolation = "bilinear"
    views: Views = "single"
    greys: tuple[int, int] | None = None
    """What becomes black and white of greys of more than 8 bits, where a whole set uses few (data/deep.py)."""


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(B, S, S, 3) uint8 or float 0..255 to (B, 3, S, S) float32, channels last in memory."""
    mean, std = (
        _whole_rows(values, pixels.shape[2]).to(pixels.device) for values in (preprocessing.mean, preprocessing.std)
    )
    rows = pixels.to(torch.float32, copy=True).flatten(2)  # (B, S, 3·S): long rows are fast, triples are not
    return rows.sub_(mean).div_(std).view(pixels.shape).permute(0, 3, 1, 2)


def _whole_rows(values: NDArray[np.float32], side: int) -> Tensor:
    """(3,) or (S, S, 3) to (3·S,) or (S, 3·S): one number for each of the numbers in a row of pixels."""
    return torch.from_numpy(np.tile(values, side) if values.ndim == 1 else values.reshape(side, -1))


def weighted(images: Tensor, views: Views) -> list[tuple[float, Tensor]]:
    """Return views of (B, C, S, S), each with its weight in the mean answer; the weights add up to one.

    "shifted": the picture counts half, and a quarter each that moved up and left and that moved down and right by a
    pixel, their borders reflected; then all three mirrored (Jordan 2024, arXiv 2404.00498, sec. 3.4). "halved": the
    picture, and its means of 2×2 pixels. "middle": the picture at two thirds of its side, and the square of that side
    in its middle; then both halved. The first view shows the whole picture.
    """
    if views == "halved":
        return [(0.5, images), (0.5, avg_pool2d(images, 2))]
    if views == "middle":
        both = whole(images, views), middle(images)
        return [(0.25, view) for view in (*both, *(avg_pool2d(each, 2) for each in both))]
    plain = [(1.0, images)]
    if views == "shifted":
        wide = pad(images, (1, 1, 1, 1), mode="reflect")
        plain = [(0.5, images), (0.25, wide[:, :, 2:, 2:]), (0.25, wide[:, :, :-2, :-2])]
    if views == "single":
        return plain
    return [(weight / 2, view) for weight, each in plain for view in (each, each.flip(3))]


def whole(images: Tensor, views: Views) -> Tensor:
    """Return the first view of (B, C, S, S), which shows all of each picture: what heat maps are of."""
    return two_thirds(images) if views == "middle" else images


def whole_side(shown: Preprocessing) -> int:
    """Return at which side, in pixels, the first of a picture's views shows it."""
    return 2 * shown.image_size // 3 if shown.views == "middle" else shown.image_size


def two_thirds(images: Tensor) -> Tensor:
    """(B, C, S, S) to (B, C, 2S/3, 2S/3), each the mean of what it covers: 1½×1½ pixels."""
    return avg_pool2d(interpolate(images, scale_factor=2, mode="nearest"), 3)


def middle(images: Tensor) -> Tensor:
    """Cut the middle, (B, C, 2S/3, 2S/3), out of (B, C, S, S)."""
    whole = images.shape[2]
    side = 2 * whole // 3
    start = (whole - side) // 2
    return images[:, :, start : start + side, start : start + side]


def measure(images: NDArray[np.uint8] | None, image_size: int, resize_to: int, recipe: Recipe) -> Preprocessing:
    """Take mean and standard deviation from the training pictures (N, S, S, 3).

    Large pictures are never all in memory (images is None): ImageNet's mean colour and spread stand in.
    """
    if images is None:
        mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    else:
        mean, std = _mean_and_std(images, per_pixel=recipe.mean == "per-pixel")
    if not recipe.divide_by_std:
        std = np.full(3, 255.0, np.float32)  # the paper's 0..1 scale, spread untouched
    return Preprocessing(image_size, resize_to, mean, std)


def _mean_and_std(images: NDArray[np.uint8], *, per_pixel: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sum in whole numbers, so that the result does not depend on the order of addition."""
    total = np.zeros(images.shape[1:], np.int64)
    squares = np.zeros(3, np.int64)
    for start in range(0, len(images), 1024):
        chunk = images[start : start + 1024]
        total += chunk.sum(axis=0, dtype=np.int64)
        squares += np.einsum("nhwc,nhwc->c", chunk, chunk, dtype=np.int64, casting="safe")
    count = images[..., 0].size
    channel_mean = total.sum(axis=(0, 1)) / count
    variance = squares / count - channel_mean**2
    mean = total / len(images) if per_pixel else channel_mean
    return mean.astype(np.float32), np.sqrt(np.maximum(variance, 1.0)).astype(np.float32)
