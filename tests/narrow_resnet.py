"""A net of torchvision's with few channels, for what its tensors' names and shapes decide."""

from typing import Any

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


class NarrowResNet(ResNet):
    """Of basic blocks, with an eighth of the usual channels behind the stem."""

    def __init__(self, layers: list[int], num_classes: int) -> None:
        super().__init__(BasicBlock, layers)
        self.fc = nn.Linear(64, num_classes)

    def _make_layer(self, block: Any, planes: int, *rest: Any, **more: Any) -> nn.Sequential:
        return super()._make_layer(block, planes // 8, *rest, **more)
