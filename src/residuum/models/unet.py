"""A small U-Net, whose shortcuts reach across the whole net and add, concatenate, or are left out.

Ronneberger, Fischer and Brox 2015 (arXiv 1505.04597), fig. 1. The paper concatenates; adding makes the same net a
residual one. Two changes, which both became usual: convolutions are padded, so that maps need no cropping and the
answer is as large as the picture, and BN follows each, unless `normalise` is off.

Shapes: N pictures, C channels, K classes, L levels, c = width · 2^(l−1) channels on level l, whose map is
(H / 2^(l−1), W / 2^(l−1)). x is (N, C, H, W), y is (N, K, H, W): logits for each pixel.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from residuum.errors import UserError
from residuum.models.block import Add


@dataclass(frozen=True, kw_only=True)
class UNetSpec:
    """One U-Net, as plain data; the paper's has width 64, 5 levels and no BN."""

    in_channels: int = 3
    classes: int = 2
    width: int = 16
    """Channels on the first level; each level below has twice as many."""
    levels: int = 4
    """How many sizes of map there are; each is half the one above."""
    skips: Literal["add", "concatenate", "none"] = "concatenate"
    """How a level's map joins the one that comes up from below."""
    normalise: bool = True
    """BN behind each 3×3 convolution, which then has no bias."""

    def __post_init__(self) -> None:
        """Refuse a net that cannot be built (UserError)."""
        if min(self.in_channels, self.classes, self.width, self.levels) < 1:
            raise UserError("a U-Net needs at least one channel, class, unit of width and level", str(self))


class UNet(nn.Module):
    """(N, C, H, W) to (N, K, H, W). `decoder.levelL.merge` gives what enters level L's convolutions."""

    def __init__(self, spec: UNetSpec) -> None:
        super().__init__()
        self.spec = spec
        widths = [spec.width * 2**level for level in range(spec.levels)]
        entries = [spec.in_channels, *widths]
        down = [_down(spec, entries[i], width, halved=i > 0) for i, width in enumerate(widths)]
        self.encoder = nn.Sequential(OrderedDict((f"level{i}", level) for i, level in enumerate(down, start=1)))
        up = [(f"level{i}", _Up(spec, widths[i - 1])) for i in range(spec.levels - 1, 0, -1)]
        self.decoder = nn.Sequential(OrderedDict(up))
        self.last = nn.Conv2d(spec.width, spec.classes, 1)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H, W); UserError if H or W cannot be halved often enough."""
        self._check(x)
        maps = []
        for level in self.encoder:
            x = level(x)
            maps.append(x)
        maps.pop()  # the lowest level's goes up as it is
        for level in self.decoder:
            x = level(x, maps.pop())
        return self.last(x)  # type: ignore[no-any-return]

    def _check(self, x: Tensor) -> None:
        multiple = 2 ** (self.spec.levels - 1)
        height, width = x.shape[-2:]
        if height % multiple or width % multiple:
            raise UserError(
                f"a U-Net of {self.spec.levels} levels cannot see pictures of {height}×{width} px",
                f"it halves them {self.spec.levels - 1} times, so both sides must be multiples of {multiple}",
                "pad or resize the pictures, or use fewer levels",
            )


def _down(spec: UNetSpec, c_in: int, width: int, *, halved: bool) -> nn.Sequential:
    """(N, C_in, H, W) to (N, c, H/2, W/2), or to (N, c, H, W) where nothing is `halved`."""
    pool = nn.MaxPool2d(2) if halved else nn.Identity()
    return nn.Sequential(OrderedDict(pool=pool, convolutions=_two_convolutions(spec, c_in, width)))


class _Up(nn.Module):
    """(N, 2c, H/2, W/2) from below and (N, c, H, W) from the same level to (N, c, H, W)."""

    def __init__(self, spec: UNetSpec, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge = {"add": Add, "concatenate": Concatenate, "none": Forget}[spec.skips]()
        self.convolutions = _two_convolutions(spec, 2 * width if spec.skips == "concatenate" else width, width)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.convolutions(self.merge(self.up(x), h, x))  # type: ignore[no-any-return]


class Concatenate(nn.Module):
    """h and F, one behind the other: the U-Net paper's way; x, what F was made of, does not matter."""

    def forward(self, F: Tensor, h: Tensor, x: Tensor) -> Tensor:
        """F and h are (N, c, H, W); the result is (N, 2c, H, W)."""
        return torch.cat([h, F], dim=1)


class Forget(nn.Module):
    """F alone: the net without its shortcuts."""

    def forward(self, F: Tensor, h: Tensor, x: Tensor) -> Tensor:
        """F and h are (N, c, H, W)."""
        return F


def _two_convolutions(spec: UNetSpec, c_in: int, width: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, channels in enumerate((c_in, width), start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=1, bias=not spec.normalise)
        if spec.normalise:
            layers[f"bn{i}"] = nn.BatchNorm2d(width)
        layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


def _initialise(net: UNet) -> None:
    """Normal with variance 2 / (numbers that enter one unit), bias 0 (sec. 3, after He et al. 2015b, eq. 10)."""
    if net.last.weight.is_meta:
        return  # built only to be counted or to be given weights
    for layer in net.modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            continue
        # a 2×2 up-convolution of stride 2 makes each pixel out of one pixel
        pixels = 1 if isinstance(layer, nn.ConvTranspose2d) else math.prod(layer.kernel_size)
        nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.in_channels * pixels)))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
