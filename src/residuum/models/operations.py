"""The operations that a plan may put in the place of a net's layers: each declared once, and here alone.

An operation says which layers in a row it stands for, when it applies to what they are given, and what computes it.
Functions are called with the layers (None for one that may be missing and is), then with the tensors that these read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from residuum.kernels import batch_norm, convolution, frozen, gathered, pooling, shortcut, winograd
from residuum.kernels.activation import ACTIVATIONS, activation_of
from residuum.models.block import Add
from residuum.models.layers import StridedPointwise, ZeroPad

ACTIVATION = tuple(one.layer for one in ACTIVATIONS.values())

Layers = tuple[nn.Module | None, ...]
Kind = type[nn.Module] | tuple[type[nn.Module], ...]


@dataclass(frozen=True)
class Operation:
    """What stands for some layers in a row, each reading the one before it alone."""

    name: str
    source: str
    """What computes it: files of `kernels/`, torch, or the one forward and the other a gradient."""
    layers: tuple[Kind, ...]
    applies: Callable[..., bool]
    compute: Callable[..., Tensor | tuple[Tensor, Tensor]]
    optional: int = 0
    """So many of the layers, the last ones, may be missing."""

    def match(self, row: Sequence[nn.Module]) -> Layers | None:
        """Return the layers at the row's beginning that this stands for, or None."""
        found: list[nn.Module | None] = []
        rest = list(row)
        for place, kind in enumerate(self.layers):
            is_there = bool(rest) and isinstance(rest[0], kind)
            if not is_there and place < len(self.layers) - self.optional:
                return None
            found.append(rest.pop(0) if is_there else None)
        return tuple(found)


# --- how the kernels are asked -------------------------------------------------------------------


def _norm_applies(norm: Any, add: object, act: Any, x: Tensor, h: Tensor | None = None, *_: Tensor) -> bool:
    is_known = act is None or activation_of(act) is not None
    return is_known and batch_norm.applies(x, norm, h)


def _norm(norm: Any, add: object, act: Any, x: Tensor, h: Tensor | None = None, *_: Tensor) -> tuple[Tensor, Tensor]:
    return batch_norm.batch_norm(x, norm, h, activation_of(act))


def _skipping(conv: Any, x: Tensor) -> Tensor:
    kept = shortcut.every(x, conv.stride[0], compiled=True)
    return nn.functional.conv2d(kept, conv.weight, conv.bias, groups=conv.groups)


_CONVOLUTION = (nn.Conv2d,)
_GATHERED = "torch, gathered_gradient.cpp"
_STRIDED = "torch, direct.cpp, gathered_gradient.cpp"
_OWN = "torch, convolution.cpp, direct.cpp, weight_gradient.cpp"
OPERATIONS = (
    Operation(
        "frozen convolution, activation",
        "frozen.cpp",
        (nn.Conv2d, ACTIVATION),
        lambda conv, act, x: frozen.applies(x, conv, activation_of(act)),
        lambda conv, act, x: frozen.activated(x, conv, activation_of(act)),
    ),
    Operation(
        "BN, addition, activation",
        "batch_norm.cpp",
        (nn.BatchNorm2d, Add, ACTIVATION),
        _norm_applies,
        _norm,
        optional=2,
    ),
    Operation("3×3 convolution", _OWN, _CONVOLUTION, convolution.applies, convolution.convolution),
    Operation("3×3 convolution", "winograd.cpp", _CONVOLUTION, winograd.applies, winograd.convolution),
    Operation("1×1 convolution", _GATHERED, _CONVOLUTION, gathered.pointwise_applies, gathered.pointwise),
    Operation("strided 3×3 convolution", _STRIDED, _CONVOLUTION, gathered.strided_applies, gathered.strided),
    Operation("stem", _GATHERED, _CONVOLUTION, gathered.stem_applies, gathered.stem),
    Operation(
        "1×1 of every stride-th pixel",
        "shortcut.cpp, torch",
        (StridedPointwise,),
        lambda conv, x: shortcut.applies(x),
        _skipping,
    ),
    Operation(
        "option A",
        "shortcut.cpp",
        (ZeroPad,),
        lambda pad, x: shortcut.applies(x, pad.zeros),
        lambda pad, x: shortcut.every(x, pad.stride, pad.zeros, compiled=True),
    ),
    Operation("pooling", "pooling.cpp", ((nn.MaxPool2d, nn.AvgPool2d),), pooling.applies, pooling.pool),
)
"""In the order in which they are tried: the first that applies is taken."""

TORCH = Operation("", "torch", (nn.Module,), lambda *_: True, lambda layer, *inputs: layer(*inputs))
"""The layer itself, where nothing else applies."""
