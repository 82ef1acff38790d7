"""What a net is, as plain data: orthogonal choices, and the table of named nets.

A named net is a row of choices; its plain twin is the same row with shortcut "none".
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from residuum.errors import UserError, nearest
from residuum.settings import Shortcut, StrideIn


@dataclass(frozen=True, kw_only=True)
class NetSpec:
    """One net of the family (He et al. 2015, Table 1 and sec. 4.2)."""

    stem: Literal["cifar", "imagenet"]
    """cifar: 3×3 convolution. imagenet: 7×7 of stride 2, then 3×3 max-pooling of stride 2."""
    block: Literal["basic", "bottleneck"]
    """basic: two 3×3 convolutions. bottleneck: 1×1, 3×3, 1×1, the last four times as wide."""
    blocks: tuple[int, ...]
    """Blocks in each stage; each stage after the first halves the map."""
    widths: tuple[int, ...]
    """Channels of the 3×3 convolutions in each stage."""
    shortcut: Shortcut
    """A: identity, zero channels where they grow. B: projection where the shape changes. C: projection
    everywhere. none: the plain net."""
    stride_in: StrideIn = "3x3"
    """Which convolution of a bottleneck strides: 1x1 as in the paper, 3x3 as in v1.5."""
    in_channels: int = 3
    num_classes: int = 1000

    def __post_init__(self) -> None:
        """Refuse a net that cannot be built.

        Raises:
            UserError: stages of different number, or a count below one.
        """
        if len(self.blocks) != len(self.widths) or not self.blocks:
            raise UserError(
                f"{len(self.blocks)} block counts for {len(self.widths)} widths",
                "each stage has one of each",
            )
        if min(*self.blocks, *self.widths, self.in_channels, self.num_classes) < 1:
            raise UserError("a net needs at least one block, channel and class", str(self))

    @property
    def expansion(self) -> int:
        """How many times wider a block's output is than its 3×3 convolution."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def depth(self) -> int:
        """Weighted layers on the longest path: convolutions and the last fully connected layer."""
        per_block = 3 if self.block == "bottleneck" else 2
        return per_block * sum(self.blocks) + 2

    def as_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        return asdict(self)


def from_json(data: dict[str, Any]) -> NetSpec:
    """Rebuild a specification from a model file or run folder.

    Raises:
        UserError: a field is unknown or missing: the file is damaged or from a newer residuum.
    """
    try:
        lists = {name: tuple(data[name]) for name in ("blocks", "widths")}
        return NetSpec(**{**data, **lists})
    except (KeyError, TypeError) as error:
        raise UserError(
            "the net's specification cannot be read", str(error), "use the residuum version that wrote it"
        ) from error


def _cifar(n: int) -> NetSpec:
    """Depth 6n+2 (He et al. 2015, sec. 4.2): three stages of n basic blocks, option A."""
    return NetSpec(
        stem="cifar", block="basic", blocks=(n, n, n), widths=(16, 32, 64), shortcut="A", num_classes=10
    )


def _imagenet(block: Literal["basic", "bottleneck"], *blocks: int) -> NetSpec:
    """Table 1 of He et al. 2015: four stages; option B, as the paper's 50/101/152 and all public weights."""
    return NetSpec(stem="imagenet", block=block, blocks=blocks, widths=(64, 128, 256, 512), shortcut="B")


RESIDUAL_NETS: dict[str, NetSpec] = {
    "resnet20": _cifar(3),
    "resnet32": _cifar(5),
    "resnet44": _cifar(7),
    "resnet56": _cifar(9),
    "resnet110": _cifar(18),
    "resnet1202": _cifar(200),
    "resnet18": _imagenet("basic", 2, 2, 2, 2),
    "resnet34": _imagenet("basic", 3, 4, 6, 3),
    "resnet50": _imagenet("bottleneck", 3, 4, 6, 3),
    "resnet101": _imagenet("bottleneck", 3, 4, 23, 3),
    "resnet152": _imagenet("bottleneck", 3, 8, 36, 3),
}

PLAIN_TWINS: dict[str, NetSpec] = {
    name.replace("resnet", "plain"): replace(spec, shortcut="none") for name, spec in RESIDUAL_NETS.items()
}

NAMED_NETS: dict[str, NetSpec] = RESIDUAL_NETS | PLAIN_TWINS


def named(
    name: str,
    num_classes: int | None = None,
    shortcut: Shortcut | None = None,
    stride_in: StrideIn | None = None,
) -> NetSpec:
    """Return the named net, with those choices changed that are given.

    Raises:
        UserError: no net has this name; or a plain net was asked for with a shortcut.
    """
    if name not in NAMED_NETS:
        raise UserError(
            f"there is no model {name!r}", nearest(name, NAMED_NETS), "residuum models lists them all"
        )
    if name in PLAIN_TWINS and shortcut not in {None, "none"}:
        raise UserError(
            f"{name} is a plain net, so it cannot have shortcut {shortcut}",
            "a plain net is the residual net without its shortcuts",
            f"use --model {name.replace('plain', 'resnet')}",
        )
    spec = NAMED_NETS[name]
    return replace(
        spec,
        num_classes=num_classes or spec.num_classes,
        shortcut=shortcut or spec.shortcut,
        stride_in=stride_in or spec.stride_in,
    )
