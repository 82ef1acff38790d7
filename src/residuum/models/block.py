"""The residual block: y = after(F(a) + h(x)), where a = before(x).

    order                    before    F, the branch                  after
    original                 –         conv BN ReLU conv BN           ReLU      2015, eq. 1 and 2
    bn-after-addition        –         conv BN ReLU conv              BN ReLU   2016, fig. 4b
    relu-before-addition     –         conv BN ReLU conv BN ReLU      –         2016, fig. 4c
    relu-only-preactivation  ReLU      conv BN ReLU conv BN           –         2016, fig. 4d
    preactivation            BN ReLU   conv BN ReLU conv              –         2016, fig. 4e

h is the shortcut: the identity wherever it can be. He et al. 2015 (arXiv 1512.03385), 2016 (arXiv 1603.05027).

Shapes: x is (N, C_in, H, W); F, h and y are (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).
Nothing is done in place and each module is used once, so that anything may be watched from outside: `branch` gives F,
`shortcut` gives h, `add` gives what enters `after`, and the block gives y; a plain net's has neither h nor a call of
`add`. `layers.py` has the layers.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from residuum.models.layers import SqueezeExcite, ZeroPad, activation, average, convolution, nonlinearity, preactivation
from residuum.models.shortcuts import SHORTCUTS
from residuum.models.spec import NetSpec


class ResidualBlock(nn.Module):
    """y = after(F(before(x)) + h(x)); without a shortcut, the plain net's y = after(F(before(x)))."""

    def __init__(
        self,
        before: nn.Module,
        branch: nn.Module,
        shortcut: nn.Module | None,
        add: nn.Module,
        after: nn.Module,
        *,
        shared: bool = False,
        skipped: float = 0.0,
    ) -> None:
        """`shared`: the shortcut reads before(x), not x. `skipped`: how often training leaves the branch out."""
        super().__init__()
        self.before, self.branch, self.shortcut, self.add, self.after = before, branch, shortcut, add, after
        self.shared, self.skipped = shared, skipped

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        a = self.before(x)
        if self.shortcut is None:
            return self.after(self.branch(a))  # type: ignore[no-any-return]
        h = self.shortcut(a if self.shared else x)
        survival = 1 - self.skipped if self.training else 1.0
        if survival < 1 and torch.rand(()) >= survival:
            return self.after(h)  # type: ignore[no-any-return]
        F = self.branch(a) if survival == 1 else self.branch(a) / survival
        return self.after(self.add(F, h, x))  # type: ignore[no-any-return]


def make_block(
    spec: NetSpec, c_in: int, stage: int, stride: int, *, activated: bool = False, skipped: float = 0.0
) -> ResidualBlock:
    """Build the block that `spec` asks for in a stage, counted from 0; C_out = spec.out_channels[stage].

    `activated`: x comes from a BN and ReLU already, so a pre-activation block needs none of its own.
    """
    c_out = spec.out_channels[stage]
    changes_shape = stride != 1 or c_in != c_out
    projects = SHORTCUTS[spec.shortcut].projects_at(changes_shape)
    return ResidualBlock(
        nn.Identity() if activated else preactivation(spec, c_in),
        _branch(spec, c_in, spec.widths[stage], c_out, stride),
        _shortcut(spec, c_in, c_out, stride, changes_shape),
        _addition(spec, c_in, c_out, stride),
        _after(spec, c_out),
        shared=spec.preactivated and (projects or changes_shape),
        skipped=skipped,
    )


def _branch(spec: NetSpec, c_in: int, width: int, c_out: int, stride: int) -> nn.Sequential:
    """Two 3×3 convolutions, or 1×1, 3×3 and 1×1 (2015, fig. 5), with BN and ReLU between them; bn1 follows conv1.

    A bottleneck of the paper strides in its first 1×1; v1.5 (fb.resnet.torch, torchvision) in the 3×3.
    """
    if spec.block == "bottleneck":
        early, late = (stride, 1) if spec.stride_in == "1x1" else (1, stride)
        middle = convolution(width, width, 3, late, groups=spec.groups)
        last = convolution(width, c_out, 1, 1)
        convolutions = [convolution(c_in, width, 1, early), middle, last]
    else:
        first = 1 if spec.halving == "max-pool" else stride
        convolutions = [convolution(c_in, width, 3, first), convolution(width, width, 3, 1)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, conv in enumerate(convolutions, start=1):
        is_last = i == len(convolutions)
        if is_last and spec.dropout:
            layers["dropout"] = nn.Dropout(spec.dropout)
        layers[f"conv{i}"] = conv
        if i == 1 and spec.halving == "max-pool" and stride != 1:
            layers["pool"] = nn.MaxPool2d(stride, ceil_mode=True)
        if not is_last or spec.order not in {"bn-after-addition", "preactivation"}:
            layers[f"bn{i}"] = nn.BatchNorm2d(conv.out_channels)
        if not is_last or spec.order == "relu-before-addition":
            layers[f"{spec.activation}{i}"] = nonlinearity(spec)
    if spec.squeeze:
        layers["squeeze"] = SqueezeExcite(convolutions[-1].out_channels, spec.squeeze)
    return nn.Sequential(layers)


def _after(spec: NetSpec, c_out: int) -> nn.Module:
    if spec.order == "bn-after-addition":
        return activation(spec, c_out)
    return nonlinearity(spec) if spec.order == "original" else nn.Identity()


def _shortcut(spec: NetSpec, c_in: int, c_out: int, stride: int, changes_shape: bool) -> nn.Module | None:
    """Options A, B, C of 2015, sec. 3.3; those of 2016, fig. 2; or None for the plain net."""
    kind = SHORTCUTS[spec.shortcut]
    if kind.h == "nothing":
        return None
    if kind.h == "convolution":
        return convolution(c_in, c_out, 1, stride)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.projection_pool and stride != 1:
        layers["pool"], stride = average(stride), 1
    if kind.projects_at(changes_shape):
        # W_s of eq. 2; a BN behind it where none follows the addition or begins the next block (2016, fig. 4b, d, e)
        layers["conv"] = convolution(c_in, c_out, 1, stride)
        if spec.order in {"original", "relu-before-addition"}:
            layers["bn"] = nn.BatchNorm2d(c_out)
    elif changes_shape:
        layers["zeros"] = ZeroPad(c_in, c_out, stride, spec.zero_channels)
    if kind.h == "dropout":
        layers["dropout"] = nn.Dropout(spec.shortcut_dropout)
    return nn.Sequential(layers) if layers else nn.Identity()


def _addition(spec: NetSpec, c_in: int, c_out: int, stride: int) -> nn.Module:
    match SHORTCUTS[spec.shortcut].joined:
        case "sum":
            return Add()
        case "scaled sum":
            return ScaledAdd(spec.branch_scale, spec.shortcut_scale)
        case "gated sum" | "exclusively gated sum" as how:
            gate = convolution(c_in, c_out, 1, stride, bias=True)
            return GatedAdd(gate, spec.gate_bias, exclusive=how == "exclusively gated sum")


class Add(nn.Module):
    """F + h, as a module, so that its output has a name; x, the block's input, matters to gates alone."""

    def forward(self, F: Tensor, h: Tensor, x: Tensor) -> Tensor:
        """F and h are (N, C_out, H, W)."""
        return F + h


class ScaledAdd(nn.Module):
    """Constant scaling: branch_scale · F + shortcut_scale · h (2016, sec. 3.1)."""

    def __init__(self, branch_scale: float, shortcut_scale: float) -> None:
        super().__init__()
        self.branch_scale, self.shortcut_scale = branch_scale, shortcut_scale

    def forward(self, F: Tensor, h: Tensor, x: Tensor) -> Tensor:
        """F and h are (N, C_out, H, W)."""
        return self.branch_scale * F + self.shortcut_scale * h


class GatedAdd(nn.Module):
    """g(x) · F + (1 − g(x)) · h, or F + (1 − g(x)) · h, with g(x) = σ(W_g x + b_g) (2016, sec. 3.1)."""

    def __init__(self, gate: nn.Conv2d, bias: float, *, exclusive: bool) -> None:
        super().__init__()
        self.gate, self.sigmoid = gate, nn.Sigmoid()
        self.bias, self.exclusive = bias, exclusive

    def forward(self, F: Tensor, h: Tensor, x: Tensor) -> Tensor:
        """F and h are (N, C_out, H, W), x is (N, C_in, stride · H, stride · W)."""
        g: Tensor = self.sigmoid(self.gate(x))
        return (g * F if self.exclusive else F) + (1 - g) * h
