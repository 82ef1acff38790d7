"""Which layout a group of tensors belongs to."""

from collections.abc import Collection
from dataclasses import replace

from residuum.errors import UserError
from residuum.exchange.groups import Group
from residuum.exchange.heads import Head, head_of
from residuum.exchange.layouts import (
    AKAMASTER,
    CIFAR,
    KUANGLIU,
    TIMM,
    TORCHVISION,
    Layout,
    own,
    timm_v2,
    torchvision_like,
    transformers,
)

KNOWN = "known are residuum's, torchvision's, timm's two, transformers' ResNet and the usual CIFAR nets"


_BLOCKS = {"layer1.0.conv1.weight", "layer1.0.conv2.weight", "layer2.0.conv1.weight"}
_STEMS = {"conv1.weight", "conv1.0.weight", "bn1.weight"}
"""What torchvision's nets have, and others that are named as they are; one may be missing, which is said later."""


def recognise(group: Group, origin: str) -> tuple[Layout, Head]:
    """Return the layout that the names belong to, and the last layer; a backbone has none.

    Raises:
        UserError: none that is known; or one whose nets have no counterpart here.
    """
    head = head_of(group.tensors)
    layout = _layout(group, head, origin)
    if not any(name.endswith(".running_mean") for name in group.tensors):
        raise UserError(
            f"{origin} is a net without batch normalisation",
            "no layer keeps a running mean: it normalises by groups or by pixels (GroupNorm, EvoNorm, FRN), as do "
            "timm's resnetv2 nets named bit, gn, evos and frn, whose convolutions may be weight-standardised too",
            "residuum's nets have BN; in timm, resnetv2_50 and resnetv2_101 do as well",
        )
    return layout, head


def _layout(group: Group, head: Head, origin: str) -> Layout:
    names = group.tensors.keys()
    for before in ("resnet.", ""):
        if f"{before}embedder.embedder.convolution.weight" in names:
            return transformers(before, head=head.module or "classifier.1")
    if any(name.startswith("stages.0.blocks.0.") for name in names) and any("stem." in name for name in names):
        deep = "stem.conv1.weight" in names
        return timm_v2(deep=deep, pooled=deep, head=head.module or "head.fc")  # as all of timm's own with that stem
    if "stages.stage1.block1.branch.conv1.weight" in names:
        return _own(names, head.module or "fc")
    if len(_BLOCKS & names) > 1 and _STEMS & names:
        return _torchvision_like(group, head, origin)
    some = ", ".join(sorted(map(group.spelled, names))[:3])
    raise UserError(
        f"{origin} has a layout that residuum does not know",
        f"its keys: {some}, …; {KNOWN}",
        "residuum models lists the nets there are. If it is one of them under names of its own, load its weights into "
        "residuum.net(NAME) in your own Python: residuum.save writes that as a model file",
    )


def _own(names: Collection[str], head: str) -> Layout:
    """residuum's own names, with the order that BN stands in; ReLU leaves no trace."""
    block, layout = "stages.stage1.block1", own(head=head)
    if "end.bn.weight" in names:
        first = "block" if f"{block}.before.bn.weight" in names else "stem"
        return replace(layout, order="preactivation", first_activation=first)  # type: ignore[arg-type]
    if f"{block}.after.bn.weight" in names:
        return replace(layout, order="bn-after-addition")
    projects, normalises = (
        any(name.endswith(f".shortcut.{module}.weight") for name in names) for module in ("conv", "bn")
    )
    return replace(layout, order="relu-only-preactivation") if projects and not normalises else layout


def _torchvision_like(group: Group, head: Head, origin: str) -> Layout:
    tensors = group.tensors
    names = tensors.keys()
    if not any(name.startswith("bn1.") for name in names):
        raise UserError(
            f"{origin} is a pre-activation net of a kind that residuum does not have",
            "no BN follows its first convolution; such nets end without BN and ReLU, or project what has not been "
            "through them, unlike He et al. 2016",
            "of pre-activation nets, timm's resnetv2 can be imported",
        )
    shortcut = "shortcut" if any(".shortcut." in name for name in names) else "downsample"
    deep = "conv1.0.weight" in names or "conv1.3.weight" in names
    pooled = any(name.endswith(f".{shortcut}.2.weight") for name in names)
    small = "conv1.weight" in names and tensors["conv1.weight"].shape[2:] == (3, 3)
    return torchvision_like(
        _name(names, head.module, timm=deep or pooled or any(".se." in name for name in names), small=small),
        head=head.module or "fc",
        shortcut=shortcut,
        deep=deep,
        pooled=pooled,
    )


def _name(names: Collection[str], head: str, *, timm: bool, small: bool) -> str:
    if not small:
        return TIMM if timm else TORCHVISION
    if head.partition(".")[0] != "linear":
        return CIFAR
    return KUANGLIU if any(".shortcut." in name for name in names) else AKAMASTER
