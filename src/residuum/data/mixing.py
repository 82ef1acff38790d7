"""Mixup and CutMix: pictures of a step and their labels, mixed in pairs. Letters: B pictures, S their side in pixels.

A step's pictures are paired as they stand in it, first with second, third with fourth; what is done to a pair depends
on seed, epoch and the first of the two alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from residuum.data.rng import uniform
from residuum.recipe import Recipe

_FIRST_DRAW = 64
"""Chance of one picture alone (augment.py) uses the draws before this one."""
_TRIES = 32
"""Each fails with a chance of 1/2 at most: all do once in four billion pairs, which are then left as they are."""


@dataclass(frozen=True)
class Mix:
    """With what the pictures of a step are mixed: the others' labels, (B,) int64 or (B, K) uint8 of several a picture,
    and what stays of their own, (B,)."""

    labels: Tensor
    share: Tensor


def mixed(
    images: Tensor, labels: Tensor, rows: NDArray[np.int64], epoch: int, recipe: Recipe, seed: int
) -> tuple[Tensor, Mix | None]:
    """Mix (B, 3, S, S) as the recipe says, in its layout in memory; a last picture without a partner stays as it is.

    Without mixup and CutMix nothing is mixed, and there is no Mix.
    """
    pairs, size = len(rows) // 2, images.shape[2]
    if not (recipe.mixup or recipe.cutmix) or pairs == 0:
        return images, None
    places, partner = np.arange(len(rows)), np.arange(len(rows))
    partner[: 2 * pairs] ^= 1
    inside, boxes = _drawn(rows[: 2 * pairs : 2], epoch, recipe, seed, size)
    kept = np.ones((len(rows), 1, size, size), np.float32)
    for place, value, (top, bottom, left, right) in zip(places[::2], inside, boxes.tolist(), strict=False):
        kept[place : place + 2, :, top:bottom, left:right] = value
    share = kept.mean((1, 2, 3), dtype=np.float64).astype(np.float32)
    other, own, shares = (torch.from_numpy(each).to(images.device) for each in (partner, kept, share))
    own = own.to(images.dtype)  # what a frozen part makes of pictures may be bfloat16
    is_last = images.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if is_last else torch.contiguous_format
    return torch.lerp(images[other], images, own).contiguous(memory_format=layout), Mix(labels[other], shares)


def _drawn(
    firsts: NDArray[np.int64], epoch: int, recipe: Recipe, seed: int, size: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what stays of the own picture in a box of each of P pairs, (P,), and the boxes (P, 4): top, bottom, left,
    right. Mixup's box is the whole picture, CutMix leaves nothing in its own."""
    draws = uniform(seed, epoch, firsts, _FIRST_DRAW + 3 + 2 * _TRIES)[:, _FIRST_DRAW:]
    which, centre, tries = draws[:, 0], (draws[:, 1:3] * size).astype(np.int64), draws[:, 3:]
    exchanged = np.where(recipe.mixup > 0, which < 0.5, True) & (recipe.cutmix > 0)
    share = _beta(np.where(exchanged, recipe.cutmix, recipe.mixup), tries)
    side = (size * np.sqrt(1.0 - share)).astype(np.int64)[:, None]
    ends = np.stack([centre - side // 2, centre + (side + 1) // 2], 2).clip(0, size).reshape(-1, 4)
    whole = np.array([0, size, 0, size])
    return np.where(exchanged, 0.0, share), np.where(exchanged[:, None], ends, whole)


def _beta(alpha: NDArray[np.float64], tries: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number from Beta(α, α) for each α of (P,), of at most 1, by `tries` (P, 2T) in [0, 1).

    Jöhnk 1964: x = u^(1/α) and y = v^(1/α) until x + y is 1 at most; then x / (x + y).
    """
    x, y = np.log1p(-tries.reshape(len(tries), 2, -1)).transpose(1, 0, 2) / alpha[:, None]
    both = np.logaddexp(x, y)
    first = (both <= 0).argmax(1)[:, None]
    found = np.exp(np.take_along_axis(x - both, first, 1))[:, 0]
    return np.where((both <= 0).any(1), found, 1.0)
