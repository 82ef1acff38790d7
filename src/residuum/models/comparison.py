"""The nets that the papers compare with, through torchvision: VGG-16 and 19, GoogLeNet.

Simonyan and Zisserman 2014 (arXiv 1409.1556); Szegedy et al. 2014 (arXiv 1409.4842). Built to be counted.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from residuum.errors import UserError

if TYPE_CHECKING:
    from torch import nn

SMALLEST = 32
"""Pixels below which their pooling leaves nothing of the picture."""


@dataclass(frozen=True)
class ComparisonNet:
    """One net: its weighted layers on the longest path, what its last layer sees, what torchvision needs to be told."""

    depth: int
    features: int
    choices: dict[str, Any]


COMPARISON_NETS: dict[str, ComparisonNet] = {
    "vgg16": ComparisonNet(16, 4096, {}),
    "vgg19": ComparisonNet(19, 4096, {}),
    "googlenet": ComparisonNet(22, 1024, {"aux_logits": False}),  # its two extra classifiers served training alone
}


def installed() -> bool:
    """Say whether torchvision is there to build them."""
    return find_spec("torchvision") is not None


def comparison_net(name: str, num_classes: int = 1000) -> "nn.Module":
    """Build the net on the meta device: (N, 3, H, W) to (N, K), for counting; it has no weights.

    Raises:
        UserError: torchvision is not installed.
    """
    if not installed():
        raise UserError(
            f"{name} needs torchvision, which is not installed",
            "residuum builds residual and plain nets itself, and takes the others from there",
            "pip install torchvision",
        )
    import torch

    build = getattr(import_module("torchvision.models"), name)
    with torch.device("meta"):
        net: nn.Module = build(
            weights=None, init_weights=False, num_classes=num_classes, **COMPARISON_NETS[name].choices
        )
    return net
