"""Fully connected nets, residual or plain, from the same block as the convolutional ones.

The paper writes its block for fully connected layers: y = F(x) + x with F(x) = W2 σ(W1 x), and σ after the addition
(He et al. 2015, arXiv 1512.03385, sec. 3.2, eq. 1). Pre-activation: σ before each layer instead (2016, arXiv
1603.05027, fig. 4e).

    order          first       before    F, the branch                after     end
    original       fc BN ReLU  –         fc BN ReLU fc BN             ReLU      –
    preactivation  fc          BN ReLU   fc BN ReLU fc                –         BN ReLU

Shapes: N pictures or points, C inputs, D width, K outputs. x is (N, C), each block (N, D) to (N, D), y is (N, K).
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from residuum.errors import UserError
from residuum.models.block import Add, ResidualBlock


@dataclass(frozen=True, kw_only=True)
class MLPSpec:
    """One fully connected net, as plain data."""

    inputs: int
    """Numbers in one input: for a picture, channels times height times width."""
    width: int
    """Units in each hidden layer."""
    blocks: int
    """Residual blocks between the first layer and the last."""
    outputs: int
    """Classes, or whatever else the last layer gives."""
    layers: int = 2
    """Fully connected layers in a block. With one, y = x + W1 x is a linear layer, and the paper saw no gain."""
    shortcut: Literal["identity", "none"] = "identity"
    """none: the plain net of the same layers."""
    order: Literal["original", "preactivation"] = "original"
    """Where BN and ReLU stand."""
    normalise: bool = True
    """BN behind each layer, which then has no bias; without it the layers have biases."""

    def __post_init__(self) -> None:
        """Refuse a net that cannot be built (UserError)."""
        counts = (self.inputs, self.width, self.blocks, self.outputs, self.layers)
        if min(counts) < 1:
            raise UserError("a net needs at least one input, unit, block, layer and output", str(self))

    @property
    def depth(self) -> int:
        """Weighted layers on the longest path."""
        return self.layers * self.blocks + 2


class MLP(nn.Module):
    """(N, C) to (N, K); pictures (N, …) are laid out as one row of numbers each."""

    def __init__(self, spec: MLPSpec) -> None:
        super().__init__()
        self.spec = spec
        preactivated = spec.order == "preactivation"
        first = {"fc": _layer(spec, spec.inputs), **({} if preactivated else _activation(spec))}
        self.stem = nn.Sequential(OrderedDict(first))
        blocks = {f"block{index}": _make_block(spec) for index in range(1, spec.blocks + 1)}
        self.stages = nn.Sequential(OrderedDict(blocks))
        self.end = nn.Sequential(OrderedDict(_activation(spec))) if preactivated else nn.Identity()
        self.fc = nn.Linear(spec.width, spec.outputs)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) or (N, …) to (N, K)."""
        return self.fc(self.end(self.stages(self.stem(x.flatten(1)))))  # type: ignore[no-any-return]

    def blocks(self) -> Iterator[tuple[str, ResidualBlock]]:
        """Yield every block in order with its name: "block1"."""
        for name, block in self.stages.named_children():
            assert isinstance(block, ResidualBlock)
            yield name, block


def _make_block(spec: MLPSpec) -> ResidualBlock:
    """Build one block; its shapes never change, so its shortcut is the identity."""
    preactivated = spec.order == "preactivation"
    return ResidualBlock(
        before=nn.Sequential(OrderedDict(_activation(spec))) if preactivated else nn.Identity(),
        branch=_branch(spec),
        shortcut=nn.Identity() if spec.shortcut == "identity" else None,
        add=Add(),
        after=nn.Identity() if preactivated else nn.ReLU(),
    )


def _branch(spec: MLPSpec) -> nn.Sequential:
    """F: the layers with BN and ReLU between them; bn1 follows fc1."""
    layers: dict[str, nn.Module] = {}
    for i in range(1, spec.layers + 1):
        is_last = i == spec.layers
        layers[f"fc{i}"] = _layer(spec, spec.width)
        if spec.normalise and not (is_last and spec.order == "preactivation"):
            layers[f"bn{i}"] = nn.BatchNorm1d(spec.width)
        if not is_last:
            layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(OrderedDict(layers))


def _layer(spec: MLPSpec, inputs: int) -> nn.Linear:
    return nn.Linear(inputs, spec.width, bias=not spec.normalise)


def _activation(spec: MLPSpec) -> dict[str, nn.Module]:
    """BN, unless the net has none, and ReLU."""
    norm = {"bn": nn.BatchNorm1d(spec.width)} if spec.normalise else {}
    return {**norm, "relu": nn.ReLU()}


def _initialise(net: MLP) -> None:
    """He et al. 2015b (arXiv 1502.01852), eq. 10: hidden layers normal, variance 2 / fan-in, bias 0.

    The last layer: uniform within ±1/√fan-in, bias 0, as in the convolutional nets. BN: scale 1, shift 0.
    """
    if net.fc.weight.is_meta:
        return  # built only to be counted or to be given weights
    for layer in net.modules():
        if not isinstance(layer, nn.Linear):
            continue
        if layer is net.fc:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
        else:
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
