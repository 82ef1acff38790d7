"""Muon's and LAMB's sweeps over the weights (update.cpp), or the same by torch where nothing is compiled."""

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


def lamb_direction(
    weights: Tensor,
    gradient: Tensor,
    averages: tuple[Tensor, Tensor],
    betas: tuple[float, float],
    step: int,
    *,
    shortened: float,
    epsilon: float,
    decay: float,
) -> None:
    """Make of a gradient, divided by `shortened`, where LAMB moves in step `step`, from 1: m̂/(√v̂ + ε) + decay·w.

    The averages (m, v), of the gradient and of its square, are brought up to date. All tensors lie alike in memory.
    """
    average, square = averages
    begun, begun_squares = (1 - beta**step for beta in betas)
    if _applies(*map(as_it_lies, (weights, gradient, average, square))):
        numbers = (1 / shortened, *(1 - beta for beta in betas), 1 / begun, begun_squares**-0.5, epsilon, decay)
        call("lamb_direction", weights, gradient, average, square, *numbers, weights.numel(), torch.get_num_threads())
        return
    gradient.div_(shortened)
    average.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    torch.sqrt(square, out=gradient).div_(begun_squares**0.5).add_(epsilon)
    torch.div(average, gradient, out=gradient).div_(begun).add_(weights, alpha=decay)


def as_it_lies(tensor: Tensor) -> Tensor:
    """Return the tensor with its axes in the order that they have in memory, channels last or as they are."""
    is_last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if is_last else tensor


def _applies(*tensors: Tensor) -> bool:
    are_floats = all(t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
    return are_floats and all(t.device.type == "cpu" for t in tensors) and library() is not None
