"""Weights in a quarter of their bytes: whole numbers of 8 bits, with one scale for each output channel.

Krishnamoorthi 2018 (arXiv 1806.08342), sec. 2.2 and 3.1: symmetric, per channel, weights alone. What is computed with
them is float32 as ever: only the file is smaller.

Letters: K output channels.
"""

import torch
from torch import Tensor

_SCALE = ".scale"
_LARGEST = 127


def packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with each float tensor of two axes or more as int8, its (K,) scales beside it.

    W[k] becomes scale[k]·q[k] with q from −127 to 127, and no number moves by more than half a scale.
    """
    found = {}
    for name, weight in weights.items():
        if weight.dim() < 2 or not weight.is_floating_point():
            found[name] = weight
            continue
        rows = weight.detach().float().flatten(1)
        scale = rows.abs().amax(1) / _LARGEST
        whole = (rows / torch.where(scale > 0, scale, 1.0)[:, None]).round()
        found |= {name: whole.to(torch.int8).view(weight.shape), name + _SCALE: scale}
    return found


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that `packed` left, in float32; what is not packed, or does not fit its scales, as it is."""
    found = dict(tensors)
    for name, weight in tensors.items():
        scale = tensors.get(name + _SCALE)
        if scale is not None and weight.dtype == torch.int8 and scale.shape == weight.shape[:1]:
            found[name] = weight.float() * found.pop(name + _SCALE).view(-1, *[1] * (weight.dim() - 1))
    return found
