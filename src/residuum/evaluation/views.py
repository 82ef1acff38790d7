"""Several views of each picture, for protocols that average what a net says of them: crops, mirror images, scales.

Ten crops: Krizhevsky et al. 2012, sec. 4.1. Scales: He et al. 2015 (arXiv 1512.03385), sec. 3.4.
Letters: B pictures of C channels and H×W pixels, S the side of a square view.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from residuum.choices import Views
from residuum.errors import UserError

SAID: dict[Views, str] = {
    "single": "single view",
    "mirrored": "picture and mirror image",
    "shifted": "picture and mirror image, each also moved by a pixel",
    "halved": "picture, also at half its side",
    "middle": "four views",
}


def five_crop(images: Tensor, side: int) -> Tensor:
    """Cut S×S views out of (B, C, H, W): (5, B, C, S, S), top left, top right, bottom left, bottom right, centre.

    Raises:
        UserError: a picture is smaller than the views.
    """
    height, width = images.shape[2:]
    if not 0 < side <= min(height, width):
        raise UserError(
            f"cannot cut views of {side}×{side} px out of pictures of {width}×{height} px",
            "a view lies within its picture",
            "ask for smaller views, or pad or enlarge the pictures",
        )
    bottom, right = height - side, width - side
    middle = (round(bottom / 2), round(right / 2))
    places = ((0, 0), (0, right), (bottom, 0), (bottom, right), middle)
    return torch.stack([images[:, :, y : y + side, x : x + side] for y, x in places])


def ten_crop(images: Tensor, side: int) -> Tensor:
    """Cut the five views of each picture, then those of its mirror image: (B, C, H, W) to (10, B, C, S, S).

    For pictures whose mirror image shows the same class.

    Raises:
        UserError: a picture is smaller than the views.
    """
    return torch.cat([five_crop(images, side), five_crop(images.flip(3), side)])


def scales(images: Tensor, factors: Sequence[float]) -> list[Tensor]:
    """Resize (B, C, H, W) by each factor, bilinear with antialiasing: one (B, C, ~factor·H, ~factor·W) for each.

    Sides are rounded to whole pixels, at least one; at factor 1 the pictures are left alone. Nets that average over
    all places of the last map take any of these sizes.
    """
    sizes = [[max(1, round(factor * side)) for side in images.shape[2:]] for factor in factors]
    return [
        images if size == list(images.shape[2:]) else interpolate(images, size, mode="bilinear", antialias=True)
        for size in sizes
    ]
