"""A net's pass for training, with BN, addition and activation as one operation wherever they stand together.

The same layers in the same order as the net's own forward; only what a hook on one of them or on a convolution
would see is lost.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv2d

from residuum.choices import Activation
from residuum.kernels.batch_norm import batch_norm, batch_norm_twice
from residuum.kernels.convolution import convolution
from residuum.kernels.frozen import activated, joins
from residuum.kernels.gathered import pointwise
from residuum.kernels.matrix_units import suits_pointwise
from residuum.kernels.pooling import pool
from residuum.kernels.shortcut import thinned
from residuum.models.block import Add, Pointwise, ResidualBlock, ZeroPad

Activations = Any
"""A tensor; or between blocks two that are one in memory, for the branch and for the shortcut (batch_norm_twice)."""


def fused(module: nn.Module, x: Activations) -> Activations:
    """Return module(x), (N, C_in, H, W) to what the module makes of it; the numbers agree to rounding."""
    if isinstance(module, ResidualBlock) and not module.skipped:
        return _block(module, *both(x))
    x, _ = both(x)
    if isinstance(module, nn.Sequential):
        return _sequence(module.children(), x)
    if isinstance(module, nn.BatchNorm2d):
        return batch_norm(x, module)
    if isinstance(module, Pointwise) and module.bias is None and module.groups == 1:
        kept = thinned(x, module.stride[0])
        return (
            pointwise(kept, module.weight)
            if suits_pointwise(kept, module.weight)
            else conv2d(kept, module.weight)
        )
    if isinstance(module, ZeroPad):
        return thinned(x, module.stride, (module.first, module.last))
    if isinstance(module, nn.Conv2d):
        return convolution(module, x)
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return pool(module, x)
    return module(x)


def _block(block: ResidualBlock, x: Tensor, past: Tensor) -> Activations:
    """y = after(F(before(x)) + h(x)), as in ResidualBlock.forward; `past` is x on its way to the shortcut."""
    a, again = both(fused(block.before, x))
    h = None
    if block.shortcut is not None:
        h, _ = both(fused(block.shortcut, again if block.shared else past))
    *layers, last = block.branch.children()
    if isinstance(last, nn.BatchNorm2d) and _joins(block):
        F, _ = both(_sequence(layers, a))
        return batch_norm_twice(F, last, h, act=_act(block.after))
    F, _ = both(_sequence(block.branch.children(), a))
    return fused(block.after, F if h is None else block.add(F, h, x))


def _joins(block: ResidualBlock) -> bool:
    """Say whether the addition is a plain sum, with an activation or nothing after it: both can go with a BN before."""
    return isinstance(block.add, Add) and (
        isinstance(block.after, nn.Identity) or _act(block.after) is not None
    )


def both(x: Activations) -> tuple[Tensor, Tensor]:
    """Return x for two uses: the two it is, or twice the one."""
    return x if isinstance(x, tuple) else (x, x)


def _sequence(layers: Iterable[nn.Module], x: Activations) -> Activations:
    """Run the layers in turn, each BN together with the activation behind it, if there is one; a last BN gives two."""
    is_done = False
    for layer, following in pairwise([*layers, nn.Identity()]):
        act = _act(following)
        if is_done:
            is_done = False
        elif isinstance(layer, nn.BatchNorm2d):
            is_done = act is not None
            x = batch_norm_twice(both(x)[0], layer, act=act)
        elif isinstance(layer, nn.Conv2d) and act is not None and joins(layer, both(x)[0]):
            is_done, x = True, activated(layer, both(x)[0], act)
        else:
            x = fused(layer, x)
    return x


def _act(layer: nn.Module) -> Activation | None:
    """Return which activation the layer is, if it is one."""
    if isinstance(layer, nn.GELU):
        return "gelu" if layer.approximate == "none" else None
    return "relu" if isinstance(layer, nn.ReLU) else None
