"""The activations that a net may have: its layer, and what activation.hpp calls it."""

from dataclasses import dataclass

import torch
from torch import nn

from residuum.choices import Activation


@dataclass(frozen=True)
class Nonlinearity:
    """One activation; a new one is named in choices.py, stands here, and is computed in activation.hpp."""

    layer: type[nn.Module]
    numbers: dict[torch.dtype, int]
    """In activation.hpp, for what memory holds; 0 is none."""


ACTIVATIONS: dict[Activation, Nonlinearity] = {
    "relu": Nonlinearity(nn.ReLU, {torch.float32: 1, torch.bfloat16: 1}),
    "gelu": Nonlinearity(nn.GELU, {torch.float32: 3, torch.bfloat16: 2}),
}


def number(act: Activation | None, dtype: torch.dtype) -> int:
    """Return what activation.hpp calls it, to the precision of the numbers that memory holds."""
    return 0 if act is None else ACTIVATIONS[act].numbers[dtype]


def activation_of(layer: nn.Module | None) -> Activation | None:
    """Return which activation the layer is, if it is one; a GELU's approximation by tanh is none."""
    if getattr(layer, "approximate", "none") != "none":
        return None
    return next((name for name, one in ACTIVATIONS.items() if isinstance(layer, one.layer)), None)
