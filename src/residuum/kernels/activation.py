"""The activations that a net may have: its layer, what activation.hpp calls it, and where that is exact enough."""

from dataclasses import dataclass

import torch
from torch import nn

from residuum.choices import Activation


@dataclass(frozen=True)
class Nonlinearity:
    """One activation; a new one is named in choices.py, stands here, and is computed in activation.hpp."""

    layer: type[nn.Module]
    number: int
    """In activation.hpp; 0 is none."""
    precisions: tuple[torch.dtype, ...]
    """In which the compiled function may stand for torch's."""


ACTIVATIONS: dict[Activation, Nonlinearity] = {
    "relu": Nonlinearity(nn.ReLU, 1, (torch.float32, torch.bfloat16)),
    "gelu": Nonlinearity(nn.GELU, 2, (torch.bfloat16,)),
}


def number(act: Activation | None) -> int:
    """Return what activation.hpp calls it."""
    return 0 if act is None else ACTIVATIONS[act].number


def activation_of(layer: nn.Module | None) -> Activation | None:
    """Return which activation the layer is, if it is one; a GELU's approximation by tanh is none."""
    if getattr(layer, "approximate", "none") != "none":
        return None
    return next((name for name, one in ACTIVATIONS.items() if isinstance(layer, one.layer)), None)
