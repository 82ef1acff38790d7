"""The whole net: stem, stages of residual blocks, head. Plain twins come from the same lines.

He et al. 2015 (arXiv 1512.03385), Table 1 for ImageNet, sec. 4.2 for CIFAR-10.
"""

import math
from collections import OrderedDict

from torch import Tensor, nn

from residuum.models.block import convolution, make_block
from residuum.models.spec import NetSpec


class ResNet(nn.Module):
    """(N, C_in, H, W) pictures to (N, K) logits; `spec` says all about it."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = _stem(spec)
        self.stages = _stages(spec)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(spec.widths[-1] * spec.expansion, spec.num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, K)."""
        return self.fc(self.pool(self.stages(self.stem(x))).flatten(1))  # type: ignore[no-any-return]


def initialise(net: nn.Module) -> None:
    """He et al. 2015b (arXiv 1502.01852), eq. 14, as fb.resnet.torch has it.

    Convolutions: normal, variance 2 / fan-out. BN: scale 1, shift 0 (also the last of a branch, as in 2015).
    Fully connected: uniform within ±1/√fan-in, bias 0.
    """
    if next(net.parameters()).is_meta:
        return  # built only to be counted or to be given weights: there is nothing to fill in
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)


def _stem(spec: NetSpec) -> nn.Sequential:
    size, stride = (3, 1) if spec.stem == "cifar" else (7, 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=convolution(spec.in_channels, spec.widths[0], size, stride),
        bn=nn.BatchNorm2d(spec.widths[0]),
        relu=nn.ReLU(),
    )
    if spec.stem == "imagenet":
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def _stages(spec: NetSpec) -> nn.Sequential:
    """Stage i has blocks[i] blocks of widths[i]; the first block of every later stage strides by 2."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    c_in = spec.widths[0]
    for number, (count, width) in enumerate(zip(spec.blocks, spec.widths, strict=True), start=1):
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(1, count + 1):
            stride = 2 if number > 1 and index == 1 else 1
            blocks[f"block{index}"] = make_block(spec, c_in, width, stride)
            c_in = width * spec.expansion
        stages[f"stage{number}"] = nn.Sequential(blocks)
    return nn.Sequential(stages)
