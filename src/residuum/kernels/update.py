"""Muon's two sweeps over the weights (update.cpp), or the same by torch where nothing is compiled."""

import torch
from torch import Tensor

from residuum.kernels.build import library


def direction(gradient: Tensor, average: Tensor, momentum: float, out: Tensor) -> None:
    """average = momentum · average + gradient; out = gradient + momentum · average, in out's precision.

    All are (r, c) and contiguous; `average` and `out` are written.
    """
    functions = library()
    if functions is not None and out.dtype == torch.bfloat16 and _are_floats(gradient, average):
        addresses = (gradient.data_ptr(), average.data_ptr(), out.data_ptr())
        functions.muon_direction(*addresses, momentum, out.numel(), torch.get_num_threads())
        return
    average.mul_(momentum).add_(gradient)
    out.copy_(torch.add(gradient, average, alpha=momentum))


def move(weights: Tensor, by: Tensor, scale: float, rate: float) -> None:
    """weights = scale · weights − rate · by; both are (r, c) and contiguous, `weights` is written."""
    functions = library()
    if functions is not None and by.dtype == torch.bfloat16 and by.is_contiguous() and _are_floats(weights):
        addresses = (weights.data_ptr(), by.data_ptr())
        functions.muon_move(*addresses, scale, rate, by.numel(), torch.get_num_threads())
        return
    weights.mul_(scale).sub_(by, alpha=rate)


def _are_floats(*tensors: Tensor) -> bool:
    return all(t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
