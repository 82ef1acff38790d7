"""Crops of small pictures for training, in one compiled sweep (crops.cpp); data/augment.py has the same by torch."""

import torch
from torch import Tensor

from residuum.kernels.build import call, library


def applies(images: Tensor) -> bool:
    """Say whether the compiled function can read these: on a processor, uint8, (N, S, S, 3) as they lie in memory."""
    return (
        images.device.type == "cpu"
        and images.dtype == torch.uint8
        and images.shape[1] == images.shape[2]
        and images.shape[3] == 3
        and images.is_contiguous()
        and library() is not None
    )


def cropped(
    images: Tensor,
    rows: Tensor,
    shift: Tensor,
    mirrored: Tensor,
    table: Tensor,
    holes: Tensor | None,
    side: int,
    *,
    reflects: bool,
) -> Tensor:
    """Return crops of pictures `rows`, (B, 3, S, S) float32, channels last; outside is zero, or the mirror image.

    images: (N, S, S, 3) uint8; rows: (B,); shift: (B, 2), down and right; mirrored: (B,); table: (256, 3), what a byte
    of each channel becomes. holes: (B, 2), top and left of a square of each crop, of `side` pixels, that is zero too.
    """
    assert 0 <= int(rows.min()) <= int(rows.max()) < len(images), "a row that no picture has"
    size, batch = images.shape[1], len(rows)
    out = torch.empty(batch, size, size, 3)
    typed = (rows.long(), shift.long(), mirrored.bool(), table.float())  # as crops.cpp reads them
    kept = [part.contiguous() for part in typed]
    cut = None if holes is None else holes.long().contiguous()
    call("crops", images, *kept, cut, out, batch, size, side, reflects, torch.get_num_threads())
    return out.permute(0, 3, 1, 2)
