"""The residual block: y = after(F(a) + h(x)), where a = before(x).

    order                    before    F, the branch                  after
    original                 –         conv BN ReLU conv BN           ReLU      2015, eq. 1 and 2
    bn-after-addition        –         conv BN ReLU conv              BN ReLU   2016, fig. 4b
    relu-before-addition     –         conv BN ReLU conv BN ReLU      –         2016, fig. 4c
    relu-only-preactivation  ReLU      conv BN ReLU conv BN           –         2016, fig. 4d
    preactivation            BN ReLU   conv BN ReLU conv              –         2016, fig. 4e

h is the shortcut: the identity wherever it can be. He et al. 2015 (arXiv 1512.03385), 2016 (arXiv 1603.05027).

Shapes: x is (N, C_in, H, W); F, h and y are (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).
Nothing is done in place and each module is used once, so that anything may be
watched from outside: `branch` gives F, `shortcut` gives h, `add` gives what enters `after`, and the block gives y.
"""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

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
    spec: NetSpec, c_in: int, width: int, stride: int, *, activated: bool = False, skipped: float = 0.0
) -> ResidualBlock:
    """Build the block that `spec` asks for; C_out = width · spec.expansion.

    `activated`: x comes from a BN and ReLU already, so a pre-activation block needs none of its own.
    """
    c_out = width * spec.expansion
    changes_shape = stride != 1 or c_in != c_out
    projects = spec.shortcut in {"C", "1x1"} or (spec.shortcut == "B" and changes_shape)
    return ResidualBlock(
        _before(spec, c_in, activated),
        _branch(spec, c_in, width, stride),
        _shortcut(spec, c_in, c_out, stride),
        _addition(spec, c_in, c_out, stride),
        _after(spec, c_out),
        shared=spec.preactivated and (projects or changes_shape),
        skipped=skipped,
    )


# --- F, the branch, and what stands before it and after the addition ----------------------------


def _branch(spec: NetSpec, c_in: int, width: int, stride: int) -> nn.Sequential:
    """Two 3×3 convolutions, or 1×1, 3×3 and 1×1 (2015, fig. 5), with BN and ReLU between them; bn1 follows conv1.

    A bottleneck of the paper strides in its first 1×1; v1.5 (fb.resnet.torch, torchvision) in the 3×3.
    """
    if spec.block == "bottleneck":
        early, late = (stride, 1) if spec.stride_in == "1x1" else (1, stride)
        c_out = width * spec.expansion
        convolutions = [
            convolution(c_in, width, 1, early),
            convolution(width, width, 3, late, spec.groups),
            convolution(width, c_out, 1, 1),
        ]
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


def _before(spec: NetSpec, c_in: int, activated: bool) -> nn.Module:
    if activated or not spec.preactivated:
        return nn.Identity()
    return activation(spec, c_in) if spec.order == "preactivation" else nonlinearity(spec)


def _after(spec: NetSpec, c_out: int) -> nn.Module:
    if spec.order == "bn-after-addition":
        return activation(spec, c_out)
    return nonlinearity(spec) if spec.order == "original" else nn.Identity()


def activation(spec: NetSpec, channels: int) -> nn.Sequential:
    """BN, then ReLU, or what the net has in its place."""
    return nn.Sequential(
        OrderedDict([("bn", nn.BatchNorm2d(channels)), (spec.activation, nonlinearity(spec))])
    )


def nonlinearity(spec: NetSpec) -> nn.Module:
    """ReLU, or what the net has in its place."""
    return nn.ReLU() if spec.activation == "relu" else nn.GELU()


def convolution(c_in: int, c_out: int, size: int, stride: int, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias (a BN after it has one), padded to keep the map but for its stride."""
    kind = Pointwise if size == 1 and stride > 1 else nn.Conv2d
    return kind(c_in, c_out, size, stride, padding=size // 2, bias=False, groups=groups)


class Pointwise(nn.Conv2d):
    """A 1×1 convolution with a stride: the pixels it skips are dropped first.

    On a CPU that is faster; and on AVX2 the backward pass of torch 2.15's own writes outside its memory where there are
    few channels, channels last.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return conv2d(every(input, self.stride[0]), weight, bias)


def every(x: Tensor, stride: int) -> Tensor:
    """Return every `stride`-th pixel of every `stride`-th row: (N, C, H, W) to (N, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
    return x if stride == 1 else _Every.apply(x, stride)


class _Every(torch.autograd.Function):
    """Torch's own slicing gives a gradient that is no longer channels-last, and slow to add to another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.shape = stride, x.shape
        ctx.format = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
        return x[:, :, ::stride, ::stride].contiguous(memory_format=ctx.format)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        dx = torch.empty(ctx.shape, dtype=dy.dtype, device=dy.device, memory_format=ctx.format).zero_()
        dx[:, :, :: ctx.stride, :: ctx.stride] = dy
        return dx, None


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


class SqueezeExcite(nn.Module):
    """x · σ(W2 ReLU(W1 mean(x))), one factor a channel (Hu et al. 2017, eq. 2 to 4)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.relu = nn.Conv2d(channels, inner, 1), nn.ReLU()
        self.fc2, self.sigmoid = nn.Conv2d(inner, channels, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(self.pool(x)))))  # type: ignore[no-any-return]


# --- h, the shortcut ----------------------------------------------------------------------------


def _shortcut(spec: NetSpec, c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Options A, B, C of 2015, sec. 3.3; those of 2016, fig. 2; or None for the plain net."""
    changes_shape = stride != 1 or c_in != c_out
    if spec.shortcut == "none":
        return None
    if spec.shortcut == "1x1":
        return convolution(c_in, c_out, 1, stride)
    if spec.shortcut == "C" or (spec.shortcut == "B" and changes_shape):
        return _projection(spec, c_in, c_out, stride)
    identity = _zero_padded(spec, c_in, c_out, stride) if changes_shape else nn.Identity()
    if spec.shortcut == "dropout":
        return nn.Sequential(OrderedDict(identity=identity, dropout=nn.Dropout(spec.shortcut_dropout)))
    return identity


def _zero_padded(spec: NetSpec, c_in: int, c_out: int, stride: int) -> nn.Module:
    """Option A where the shape changes."""
    if not (spec.projection_pool and stride != 1):
        return ZeroPad(c_in, c_out, stride, spec.zero_channels)
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=_average(stride))
    layers["zeros"] = ZeroPad(c_in, c_out, 1, spec.zero_channels)
    return nn.Sequential(layers)


def _average(stride: int) -> nn.AvgPool2d:
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)


class ZeroPad(nn.Module):
    """Option A where the shape changes: every `stride`-th pixel, then zero channels; no parameter (2015, sec. 3.3).

    The zeros stand at the `end`, as in fb.resnet.torch, or half of them on `both` sides. A map that loses channels,
    behind a wide stem, is cut there instead.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, zero_channels: str = "end") -> None:
        super().__init__()
        zeros = c_out - c_in
        self.first = zeros // 2 if zero_channels == "both" else 0
        self.last, self.stride = zeros - self.first, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return pad(every(x, self.stride), (0, 0, 0, 0, self.first, self.last))


def _projection(spec: NetSpec, c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """W_s of eq. 2: a 1×1 convolution and its BN, no ReLU; no BN where a BN follows the addition or the next block
    begins with its own (2016, fig. 4b, d and e)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.projection_pool and stride != 1:
        layers["pool"] = _average(stride)
        stride = 1
    layers["conv"] = convolution(c_in, c_out, 1, stride)
    if spec.order in {"original", "relu-before-addition"}:
        layers["bn"] = nn.BatchNorm2d(c_out)
    return nn.Sequential(layers)


# --- the addition -------------------------------------------------------------------------------


def _addition(spec: NetSpec, c_in: int, c_out: int, stride: int) -> nn.Module:
    if spec.shortcut == "constant":
        return ScaledAdd(spec.branch_scale, spec.shortcut_scale)
    if spec.shortcut in {"exclusive-gating", "shortcut-gating"}:
        gate = (Pointwise if stride > 1 else nn.Conv2d)(c_in, c_out, 1, stride)
        return GatedAdd(gate, spec.gate_bias, exclusive=spec.shortcut == "exclusive-gating")
    return Add()


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
