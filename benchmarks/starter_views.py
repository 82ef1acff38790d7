"""Views of thumbnails for the starter's training: parts of them, sharp as photographs are, and smooth ones.

A part that is brought to another size is smooth, or loses detail, as no photograph shown at its own size is. So half of
the views are cut at whole pixels, as they are; others are sharpened or blurred. Letters: B pictures, S their side and
V the view's, in pixels.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, pad

SHARP = 0.5
"""Share of the views that are cut at whole pixels."""
ZOOM = (0.55, 1.45)
"""Pixels of the thumbnail to one of the view, in the others."""
ASPECT = 1.2
SHARPENED, SHARPNESS = 0.5, (-1.0, 0.6)
"""Share of the views to which so many times their difference from the mean of 3×3 pixels is added."""
COLOUR = 0.3
"""By so much, in shares and standard deviations, colours differ."""
GREY, CUT = 0.1, 0.25
"""Share of the views in grey, and of those with a square cut out."""


def views(x: Tensor, side: int, g: Generator) -> Tensor:
    """(B, 3, S, S) normalised thumbnails to (B, 3, V, V), channels last; chance is drawn from `g`."""
    y = _parts(x, side, g)
    some = torch.where(torch.rand(len(x), generator=g) < SHARPENED, _drawn(len(x), *SHARPNESS, g), torch.zeros(len(x)))
    y = y + some.view(-1, 1, 1, 1) * (y - avg_pool2d(pad(y, (1, 1, 1, 1), "replicate"), 3, 1))
    return _with_holes(_coloured(y, g), g).contiguous(memory_format=torch.channels_last)


def _drawn(count: int, low: float, high: float, g: Generator) -> Tensor:
    return low + torch.rand(count, generator=g) * (high - low)


def _parts(x: Tensor, side: int, g: Generator) -> Tensor:
    """Cut (B, 3, V, V) parts, mirrored by chance; beyond the thumbnail's edges is its mirror image."""
    count, whole = len(x), x.shape[2]
    is_sharp = torch.rand(count, generator=g) < SHARP
    zoom = torch.exp(_drawn(count, math.log(ZOOM[0]), math.log(min(ZOOM[1], whole / side * 1.1)), g))
    aspect = torch.exp(_drawn(count, -math.log(ASPECT), math.log(ASPECT), g))
    zoom[is_sharp] = aspect[is_sharp] = 1.0
    width, height = zoom * aspect.sqrt(), zoom / aspect.sqrt()
    mirrored = torch.where(torch.rand(count, generator=g) < 0.5, -1.0, 1.0)
    x_room, y_room = ((whole - pixels * side).abs().clamp_min(4.0) for pixels in (width, height))
    left, top = _drawn(count, -0.5, 0.5, g) * x_room, _drawn(count, -0.5, 0.5, g) * y_room
    half = (whole - side) % 2 / 2
    for shift in (left, top):
        shift[is_sharp] = (shift[is_sharp] - half).round() + half
    where = torch.zeros(count, 2, 3)
    where[:, 0, 0], where[:, 0, 2] = width * side / whole * mirrored, 2 * left / whole
    where[:, 1, 1], where[:, 1, 2] = height * side / whole, 2 * top / whole
    grid = affine_grid(where, [count, 3, side, side], align_corners=False)
    return grid_sample(x, grid, "bilinear", "reflection", align_corners=False)


def _coloured(y: Tensor, g: Generator) -> Tensor:
    """Change saturation, contrast, brightness and the balance of colours of each view."""
    count, grey = len(y), y.mean(1, keepdim=True)
    saturation = 1 + COLOUR * _drawn(count, -1, 1, g)
    saturation[torch.rand(count, generator=g) < GREY] = 0.0
    contrast, brightness = 1 + COLOUR * _drawn(count, -1, 1, g), COLOUR * _drawn(count, -1, 1, g)
    balance = 0.5 * COLOUR * (2 * torch.rand(count, 3, 1, 1, generator=g) - 1)
    by = [each.view(-1, 1, 1, 1) for each in (saturation, contrast, brightness)]
    return (grey + (y - grey) * by[0]) * by[1] + (by[2] + balance)


def _with_holes(y: Tensor, g: Generator) -> Tensor:
    """Set a square of a third of the side to zero in some of the views (DeVries and Taylor 2017)."""
    count, side = len(y), y.shape[2]
    hole, along = side // 3, torch.arange(side)
    corner = (torch.rand(count, 2, generator=g) * side).long() - hole // 2
    corner[torch.rand(count, generator=g) > CUT] = 1000
    rows, columns = ((along >= at) & (along < at + hole) for at in (corner[:, :1], corner[:, 1:]))
    return y * ~(rows[:, :, None] & columns[:, None, :])[:, None]
