"""The named nets: a name is a row of choices, and its plain twin the same row with shortcut "none"."""

from dataclasses import replace
from typing import Any, Literal

from residuum.errors import UserError, nearest
from residuum.models.comparison import COMPARISON_NETS
from residuum.models.spec import NetSpec
from residuum.records.run import plain_name


def _cifar(n: int, block: Literal["basic", "bottleneck"] = "basic", **choices: Any) -> NetSpec:
    """Depth 6n+2 (2015, sec. 4.2): three stages of n basic blocks, option A.

    Of bottlenecks 9n+2 (2016, appendix): option B, stride in the 1×1.
    """
    own: dict[str, Any] = {"shortcut": "A"} if block == "basic" else {"shortcut": "B", "stride_in": "1x1"}
    net = {"stem": "cifar", "block": block, "blocks": (n, n, n), "widths": (16, 32, 64), "num_classes": 10}
    return NetSpec(**{**net, **own, **choices})


def _wide_cifar(depth: int, k: int) -> NetSpec:
    """WRN-depth-k (Zagoruyko and Komodakis 2016, Table 1): 6n+4 layers, its three projections counted."""
    widths = (16 * k, 32 * k, 64 * k)
    return _cifar((depth - 4) // 6, shortcut="B", order="preactivation", widths=widths, stem_width=16)


def _imagenet(block: Literal["basic", "bottleneck"], *blocks: int, **choices: Any) -> NetSpec:
    """Table 1 of 2015: four stages; option B, as the paper's 50/101/152 and all public weights."""
    net = {"stem": "imagenet", "block": block, "blocks": blocks, "widths": (64, 128, 256, 512), "shortcut": "B"}
    return NetSpec(**{**net, **choices})


def _cardinal(groups: int, width: int, *blocks: int) -> NetSpec:
    """ResNeXt: `groups` groups of `width` channels in the first stage, output as wide as ResNet's."""
    widths = tuple(groups * width * 2**stage for stage in range(4))
    factor = 256 // widths[0]
    return _imagenet("bottleneck", *blocks, widths=widths, stem_width=64, groups=groups, bottleneck_factor=factor)


def _wide_imagenet(*blocks: int) -> NetSpec:
    """WRN-50-2 and 101-2: the 3×3 convolutions twice as wide, the outputs as they are."""
    return _imagenet("bottleneck", *blocks, widths=(128, 256, 512, 1024), stem_width=64, bottleneck_factor=2)


def _renamed(prefix: str, nets: dict[str, NetSpec], **choices: Any) -> dict[str, NetSpec]:
    return {prefix + name: replace(spec, **choices) for name, spec in nets.items()}


_CIFAR = {
    **{f"resnet{6 * n + 2}": _cifar(n) for n in (3, 5, 7, 9, 18, 200)},  # resnet20, 32, 44, 56, 110, 1202
    **{f"resnet{9 * n + 2}": _cifar(n, "bottleneck") for n in (18, 111)},  # resnet164, 1001
}
_IMAGENET = {
    "resnet18": _imagenet("basic", 2, 2, 2, 2),
    "resnet34": _imagenet("basic", 3, 4, 6, 3),
    "resnet50": _imagenet("bottleneck", 3, 4, 6, 3),
    "resnet101": _imagenet("bottleneck", 3, 4, 23, 3),
    "resnet152": _imagenet("bottleneck", 3, 8, 36, 3),
}
_RESNET_200 = {"resnet200": _imagenet("bottleneck", 3, 24, 36, 3)}
_DEEP = {f"{name}d": replace(_IMAGENET[name], stem="deep", projection_pool=True) for name in ("resnet50", "resnet101")}

_FAST = NetSpec(
    stem="whitening",
    stem_width=32,
    block="basic",
    blocks=(1, 1, 2),
    widths=(64, 256, 256),
    shortcut="A",
    projection_pool=True,
    halving="max-pool",
    first_stage_halves=True,
    pooling="max",
    dirac_init=True,
    activation="gelu",
    small_head=True,
    num_classes=10,
)
"""For recipe `fast`: few, wide layers, which a processor's matrix units like, most of them on small maps; after Page
2019 and Jordan 2024."""

RESIDUAL_NETS: dict[str, NetSpec] = {
    "fast-resnet10": _FAST,
    "fast-wide-resnet10": replace(_FAST, widths=(128, 384, 384)),
    **_CIFAR,
    **_IMAGENET,
    **_RESNET_200,
    **_renamed("pre", {**_CIFAR, **_IMAGENET, **_RESNET_200}, order="preactivation"),
    **_renamed("cifar-", _IMAGENET, stem="cifar", num_classes=10),  # the 11.17 M parameter net of tutorials
    **_renamed("se", _IMAGENET, squeeze=16),
    **_DEEP,
    "resnext50-32x4d": _cardinal(32, 4, 3, 4, 6, 3),
    "resnext101-32x8d": _cardinal(32, 8, 3, 4, 23, 3),
    "wide-resnet16-4": _wide_cifar(16, 4),
    "wide-resnet16-8": _wide_cifar(16, 8),
    "wide-resnet28-10": _wide_cifar(28, 10),
    "wide-resnet40-4": _wide_cifar(40, 4),
    "wide-resnet50-2": _wide_imagenet(3, 4, 6, 3),
    "wide-resnet101-2": _wide_imagenet(3, 4, 23, 3),
}


PLAIN_TWINS: dict[str, NetSpec] = {
    plain_name(name): replace(spec, shortcut="none", projection_pool=False) for name, spec in RESIDUAL_NETS.items()
}

NAMED_NETS: dict[str, NetSpec] = RESIDUAL_NETS | PLAIN_TWINS


def named(name: str, num_classes: int | None = None, **choices: Any) -> NetSpec:
    """Return the named net, with those choices changed that are given (None leaves one alone).

    Raises:
        UserError: no net has this name, or one that is counted for comparison only; a plain net was asked for with a
            shortcut; or the choices contradict.
    """
    if name not in NAMED_NETS:
        raise _unknown(name)
    if name in PLAIN_TWINS and choices.get("shortcut") not in {None, "none"}:
        residual = next(other for other in RESIDUAL_NETS if plain_name(other) == name)
        raise UserError(
            f"{name} is a plain net, so it cannot have shortcut {choices['shortcut']}",
            "a plain net is the residual net without its shortcuts",
            f"use --model {residual}",
        )
    given = {choice: value for choice, value in {**choices, "num_classes": num_classes}.items() if value is not None}
    try:
        return replace(NAMED_NETS[name], **given)
    except UserError as error:
        raise UserError(f"{name}: {error.what}", error.why, error.mend) from error


def _unknown(name: str) -> UserError:
    if name in COMPARISON_NETS:
        why = "it stands in the table for comparison alone, counted as torchvision has it"
        mend = "name a residual or plain net: residuum models lists them all"
        return UserError(f"residuum does not build {name}", why, mend)
    return UserError(
        f"there is no model {name!r}", nearest(name, [*NAMED_NETS, *COMPARISON_NETS]), "residuum models lists them all"
    )
