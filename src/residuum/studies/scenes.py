"""Scenes of handwritten digits for segmentation: two or three scans, twice their size, on a noisy ground.

Letters: N scenes, S = 32 px their side. A pixel's class is 0 on the ground and d + 1 on digit d.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from residuum.compute import Compute
from residuum.data.contract import Split

SIDE = 32
ENLARGED = 2
INK = 0.3
"""A pixel belongs to a digit from this share of full ink on."""
NOISE = 0.15
"""Standard deviation of what is added to every pixel, where full ink is 1."""
CLASSES = 11


@dataclass(frozen=True)
class Scenes:
    """Pictures (N, 1, S, S) float32, and the class of each of their pixels (N, S, S) int64."""

    pictures: Tensor
    masks: Tensor

    def to(self, compute: Compute) -> "Scenes":
        """Return the same where, and in the order of axes in which, nets compute."""
        return Scenes(compute.lay_out(self.pictures), self.masks.to(compute.device))


def scenes(split: Split, count: int, seed: int) -> Scenes:
    """Draw `count` scenes of the split's digits; where two digits overlap, the later one is in front."""
    chance = torch.Generator().manual_seed(seed)
    scans = torch.stack([torch.tensor(split.pictures.encoded(row)) for row in range(len(split))]) / 255
    scans = scans.repeat_interleave(ENLARGED, 1).repeat_interleave(ENLARGED, 2)
    size = scans.shape[-1]
    pictures = torch.zeros(count, 1, SIDE, SIDE)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)

    def draw(below: int, many: int) -> list[int]:
        return torch.randint(below, (many,), generator=chance).tolist()

    for scene in range(count):
        digits = 2 + draw(2, 1)[0]
        rows, tops, lefts = (draw(below, digits) for below in (len(scans), SIDE - size + 1, SIDE - size + 1))
        for row, top, left in zip(rows, tops, lefts, strict=True):
            window = (slice(top, top + size), slice(left, left + size))
            ink = scans[row] > INK
            pictures[scene, 0][window] = torch.where(ink, scans[row], pictures[scene, 0][window])
            masks[scene][window] = torch.where(ink, int(split.labels[row]) + 1, masks[scene][window])
    pictures += NOISE * torch.randn(pictures.shape, generator=chance)
    return Scenes(pictures, masks)


def overlap(answers: Tensor, masks: Tensor) -> tuple[float, float]:
    """Return the mean intersection over union of the classes, and the share of pixels that are right.

    Both are (N, S, S) class numbers. A class that is in neither counts nowhere.
    """
    pairs = torch.bincount((masks * CLASSES + answers).flatten(), minlength=CLASSES**2).view(CLASSES, CLASSES).cpu()
    both = pairs.diagonal().double()
    either = pairs.sum(0) + pairs.sum(1) - both
    there = either > 0
    return float((both[there] / either[there]).mean()), float(both.sum() / pairs.sum())
