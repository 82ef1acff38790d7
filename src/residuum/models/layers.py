"""The layers that stem and blocks are made of, built as the specification says."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from residuum.kernels.activation import ACTIVATIONS
from residuum.kernels.shortcut import every
from residuum.models.spec import NetSpec


def convolution(c_in: int, c_out: int, size: int, stride: int, *, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution, padded to keep the map but for its stride; without bias where a BN after it has one."""
    kind = nn.Conv2d if stride == 1 else StridedPointwise if size == 1 else Strided
    return kind(c_in, c_out, size, stride, padding=size // 2, bias=bias, groups=groups)


class StridedPointwise(nn.Conv2d):
    """A 1×1 convolution with a stride: the pixels it skips are dropped first.

    That is faster on a processor; and torch's own (2.15, channels last, few channels) corrupts memory with AVX2.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        return conv2d(every(input, self.stride[0]), weight, bias, groups=self.groups)


class Strided(nn.Conv2d):
    """A convolution with a stride: where one column comes out, two are computed.

    torch's own (2.15, bfloat16, a processor with AVX-512) reads memory that nothing was written to for a single one.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        is_one = input.shape[3] + 2 * int(self.padding[1]) - self.kernel_size[1] < self.stride[1]
        x = pad(input, (0, self.stride[1])) if is_one else input
        y = conv2d(x, weight, bias, self.stride, self.padding, groups=self.groups)
        if not is_one:
            return y
        is_last = y.is_contiguous(memory_format=torch.channels_last)
        return y[..., :1].contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def nonlinearity(spec: NetSpec) -> nn.Module:
    """ReLU, or what the net has in its place."""
    return ACTIVATIONS[spec.activation].layer()


def activation(spec: NetSpec, channels: int) -> nn.Sequential:
    """BN, then ReLU, or what the net has in its place."""
    return nn.Sequential(OrderedDict([("bn", nn.BatchNorm2d(channels)), (spec.activation, nonlinearity(spec))]))


def preactivation(spec: NetSpec, channels: int) -> nn.Module:
    """What a pre-activation net has before each branch, and after its last addition (2016, fig. 4d, e, and appendix);
    nothing in the others."""
    if not spec.preactivated:
        return nn.Identity()
    return activation(spec, channels) if spec.order == "preactivation" else nonlinearity(spec)


def average(stride: int) -> nn.AvgPool2d:
    """The mean of stride×stride pixels; at an odd map's edges, of those that are there."""
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)


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


class ZeroPad(nn.Module):
    """Option A where the shape changes: every `stride`-th pixel, then zero channels; no parameter (2015, sec. 3.3).

    The zeros stand at the `end`, as in fb.resnet.torch, or half of them on `both` sides. A map that loses channels,
    behind a wide stem, is cut there instead.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, zero_channels: str = "end") -> None:
        super().__init__()
        zeros = c_out - c_in
        before = zeros // 2 if zero_channels == "both" else 0
        self.zeros, self.stride = (before, zeros - before), stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return every(x, self.stride, self.zeros)


class BothPools(nn.Module):
    """The mean of each map, then the largest of each."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2C, 1, 1)."""
        return mean_and_largest(x)


class RootPools(nn.Module):
    """The signed square root of each mean, then of the largest of each map: few large values no longer outweigh all."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2C, 1, 1)."""
        y = mean_and_largest(x)
        return y * (y.abs() + BELOW_ROOTS).rsqrt()


def mean_and_largest(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 2C, 1, 1)."""
    return torch.cat([x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)], 1)


BELOW_ROOTS = 1e-4
"""Added below a root, so that near zero its slope stays finite."""

POOLS: dict[str, Callable[[], nn.Module]] = {
    "average": partial(nn.AdaptiveAvgPool2d, 1),
    "max": partial(nn.AdaptiveMaxPool2d, 1),
    "both": BothPools,
    "roots": RootPools,
}
"""From (N, C, H, W) to what the last layer reads of it, by NetSpec.pooling."""
