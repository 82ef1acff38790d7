"""Which layout the keys of a checkpoint belong to."""

from collections.abc import Collection, Mapping

from torch import Tensor

from residuum.errors import UserError
from residuum.exchange.layouts import (
    AKAMASTER,
    CIFAR,
    KUANGLIU,
    TIMM,
    TORCHVISION,
    Layout,
    timm_v2,
    torchvision_like,
    transformers,
)

PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "timm_model.")
"""What wrappers put before every key: DataParallel, Lightning, torch.compile, transformers' home for timm's nets."""

HEADS = ("fc", "linear", "classifier")
KNOWN = "known are torchvision, timm's resnet and resnetv2, transformers' ResNet and the usual CIFAR nets"


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off the prefixes that every key has."""
    while prefix := next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def recognise(tensors: Mapping[str, Tensor], origin: str) -> Layout:
    """Return the layout that the keys belong to.

    Raises:
        UserError: none that is known; or one whose nets have no counterpart here.
    """
    layout = _layout(tensors, origin)
    if not any(name.endswith(".running_mean") for name in tensors):
        raise UserError(
            f"{origin} is a net without batch normalisation",
            "no layer keeps a running mean: it normalises by groups or by pixels (GroupNorm, EvoNorm, FRN), as do "
            "timm's resnetv2 nets named bit, gn, evos and frn, whose convolutions may be weight-standardised too",
            "residuum's nets have BN; in timm, resnetv2_50 and resnetv2_101 do as well",
        )
    return layout


def _layout(tensors: Mapping[str, Tensor], origin: str) -> Layout:
    names = tensors.keys()
    if any(name.startswith(("resnet.embedder.", "embedder.embedder.")) for name in names):
        _need(names, "classifier.1.weight", origin)
        return transformers()
    if any(name.startswith("stages.0.blocks.0.") for name in names) and any("stem." in name for name in names):
        _need(names, "head.fc.weight", origin)
        deep = "stem.conv1.weight" in names
        return timm_v2(deep=deep, pooled=deep)  # as all of timm's own with that stem
    if "layer1.0.conv1.weight" in names and ("conv1.weight" in names or "conv1.0.weight" in names):
        return _torchvision_like(tensors, origin)
    some = ", ".join(sorted(names)[:3])
    raise UserError(f"{origin} has a layout that residuum does not know", f"its keys: {some}, …; {KNOWN}")


def _torchvision_like(tensors: Mapping[str, Tensor], origin: str) -> Layout:
    names = tensors.keys()
    head = next((head for head in HEADS if f"{head}.weight" in names), HEADS[0])
    _need(names, f"{head}.weight", origin)
    if "bn1.weight" not in names:
        raise UserError(
            f"{origin} is a pre-activation net of a kind that residuum does not have",
            "no BN follows its first convolution; such nets end without BN and ReLU, or project what has not been "
            "through them, unlike He et al. 2016",
            "of pre-activation nets, timm's resnetv2 can be imported",
        )
    shortcut = "shortcut" if any(".shortcut." in name for name in names) else "downsample"
    deep = "conv1.0.weight" in names
    pooled = any(name.endswith(f".{shortcut}.2.weight") for name in names)
    small = not deep and tensors["conv1.weight"].shape[2:] == (3, 3)
    return torchvision_like(
        _name(names, head, timm=deep or pooled or any(".se." in name for name in names), small=small),
        head=head,
        shortcut=shortcut,
        deep=deep,
        pooled=pooled,
    )


def _name(names: Collection[str], head: str, *, timm: bool, small: bool) -> str:
    if not small:
        return TIMM if timm else TORCHVISION
    if head != "linear":
        return CIFAR
    return KUANGLIU if any(".shortcut." in name for name in names) else AKAMASTER


def _need(names: Collection[str], head: str, origin: str) -> None:
    if head not in names:
        raise UserError(
            f"{origin} has no classifier",
            f"it lacks {head}: its net gives features, not classes",
            "give weights of a whole classifier",
        )
