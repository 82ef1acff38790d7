"""Muon's two sweeps over the weights (update.cpp), or the same by torch where nothing is compiled."""

import torch
from torch import Tensor

from residuum.kernels.build import call, library


def direction(gradient: Tensor, average: Tensor, momentum: float, out: Tensor) -> None:
    """average = momentum · average + gradient; out = gradient + momentum · average, in out's precision.

    All are (r, c) and contiguous; `average` and `out` are written.
    """
    if out.dtype == torch.bfloat16 and _applies(gradient, average):
        call("muon_direction", gradient, average, out, momentum, out.numel(), torch.get_num_threads())
        return
    average.mul_(momentum).add_(gradient)
    out.copy_(torch.add(gradient, average, alpha=momentum))


def move(weights: Tensor, by: Tensor, scale: float, rate: float) -> None:
    """weights = scale · weights − rate · by; both are (r, c) and contiguous, `weights` is written."""
    if by.dtype == torch.bfloat16 and by.is_contiguous() and _applies(weights):
        call("muon_move", weights, by, scale, rate, by.numel(), torch.get_num_threads())
        return
    weights.mul_(scale).sub_(by, alpha=rate)


def _applies(*tensors: Tensor) -> bool:
    are_floats = all(t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
    return are_floats and all(t.device.type == "cpu" for t in tensors) and library() is not None
