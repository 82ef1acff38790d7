"""The whole net: stem, stages of residual blocks, end, head. Plain twins come from the same lines.

He et al. 2015 (arXiv 1512.03385), Table 1 for ImageNet, sec. 4.2 for CIFAR-10; 2016 (arXiv 1603.05027), appendix, for
the first and last blocks of pre-activation nets.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator

from torch import Tensor, nn

from residuum.models.block import GatedAdd, ResidualBlock, make_block
from residuum.models.layers import POOLS, convolution, nonlinearity, preactivation
from residuum.models.spec import NetSpec


class ResNet(nn.Module):
    """(N, C_in, H, W) pictures to (N, K) logits; `spec` says all about it. plan.py has a faster way through it."""

    assumptions: tuple[str, ...] = ()
    """Of a net that was told by its tensors' names: a sentence for each thing that they did not say."""

    def __init__(self, spec: NetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = _stem(spec)
        self.stages = _stages(spec)
        self.end = preactivation(spec, spec.out_channels[-1])
        self.pool = POOLS[spec.pooling]()
        self.fc = _last_layer(spec)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, K)."""
        return self.head(self.stages(self.stem(x)))

    def begin(self, x: Tensor, stages: int) -> Tensor:
        """Take pictures (N, C_in, H, W) through the stem and the first `stages` stages."""
        return self.stages[:stages](self.stem(x))  # type: ignore[no-any-return]

    def go_on(self, x: Tensor, stages: int) -> Tensor:
        """Take what `begin` gave to logits (N, K)."""
        return self.head(self.stages[stages:](x))

    def head(self, x: Tensor) -> Tensor:
        """Take the last block's output (N, C, H, W) to logits (N, K)."""
        return self.classify(self.end(x))

    def classify(self, x: Tensor) -> Tensor:
        """Take the last activations (N, C, H, W) to logits (N, K)."""
        return self.fc(self.pool(x).flatten(1))  # type: ignore[no-any-return]

    def parts(self) -> list[tuple[nn.Module, ...]]:
        """Return the net's parts from the stem to the last layer: the stem, each stage, the last layer."""
        *stages, last = [(stage,) for stage in self.stages.children()]
        return [(self.stem,), *stages, (*last, self.end), (self.fc,)]

    def features(self, x: Tensor) -> Tensor:
        """Take pictures (N, C_in, H, W) to what the last layer reads of them (N, D)."""
        return self.pool(self.end(self.stages(self.stem(x)))).flatten(1)  # type: ignore[no-any-return]

    def blocks(self) -> Iterator[tuple[str, ResidualBlock]]:
        """Yield every block in order with its name: "stage1.block1"."""
        for name, module in self.stages.named_modules():
            if isinstance(module, ResidualBlock):
                yield name, module


def initialise(net: nn.Module) -> None:
    """He et al. 2015b (arXiv 1502.01852), eq. 14, as fb.resnet.torch has it.

    Convolutions: normal, variance 2 / fan-out, and bias 0. BN: scale 1, shift 0. Fully connected: uniform within
    ±1/√fan-in, bias 0. A gate's bias: as the specification says. With spec.zero_init, the last BN of each branch:
    scale 0. With spec.dirac_init, each branch's 3×3 convolutions: filter i gives channel i, as far as there are both.
    With spec.small_head, the last layer: normal, standard deviation 1 / fan-in, bias 0.
    """
    if next(net.parameters()).is_meta:
        return  # built only to be counted or to be given weights: there is nothing to fill in
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
    for module in net.modules():
        if isinstance(module, GatedAdd) and module.gate.bias is not None:
            nn.init.constant_(module.gate.bias, module.bias)
    if isinstance(net, ResNet):
        _begin_as_asked(net)


def _begin_as_asked(net: ResNet) -> None:
    """Set what the specification wants to begin otherwise."""
    if net.spec.dirac_init:
        for module in (layer for _, block in net.blocks() for layer in block.branch.modules()):
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1:
                nn.init.dirac_(module.weight[: module.in_channels])
    if net.spec.small_head:
        nn.init.normal_(net.fc.weight, std=1 / net.fc.in_features)
        nn.init.zeros_(net.fc.bias)
    if net.spec.zero_init:
        for _, block in net.blocks():
            nn.init.zeros_(last_bn(block).weight)


def last_bn(block: ResidualBlock) -> nn.BatchNorm2d:
    """Return the last BN of the branch."""
    return [module for module in block.branch.modules() if isinstance(module, nn.BatchNorm2d)][-1]


def is_folded(net: nn.Module) -> bool:
    """Say whether the statistics of all BN layers are folded into the convolutions."""
    return any(isinstance(module, nn.BatchNorm2d) for module in net.modules()) and not unfolded(net)


def unfolded(net: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the BN layers that have statistics of their own; of a folded one the running mean is 0, the variance 1.

    Some files hold 1 − ε, so that BN divides by exactly 1. A layer that has seen no picture yet looks folded.
    """
    return [
        bn
        for bn in net.modules()
        if isinstance(bn, nn.BatchNorm2d)
        and (bn.running_mean.any() or bool(((bn.running_var - 1).abs() > 2 * bn.eps).any()))  # type: ignore[union-attr, operator]
    ]


def _stem(spec: NetSpec) -> nn.Sequential:
    """First convolution, BN, ReLU and, for large pictures, max-pooling.

    Where a pre-activation net's first activation stands in its first block, the stem has none.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    c_in, width = spec.in_channels, spec.stem_channels
    if spec.stem == "deep":
        half = max(1, width // 2)
        for i, (channels, stride) in enumerate([(half, 2), (half, 1)], start=1):
            layers[f"conv{i}"] = convolution(c_in, channels, 3, stride)
            layers[f"bn{i}"] = nn.BatchNorm2d(channels)
            layers[f"{spec.activation}{i}"] = nonlinearity(spec)
            c_in = channels
    size, stride = (7, 2) if spec.stem == "imagenet" else (3, 1)
    layers["conv"] = convolution(c_in, width, size, stride)
    if spec.stem == "whitening":
        layers["conv"].weight.requires_grad_(False)  # see whitening.py
        layers[spec.activation] = nonlinearity(spec)
        return nn.Sequential(layers)
    if spec.first_activation == "stem":
        layers["bn"] = nn.BatchNorm2d(width)
        layers[spec.activation] = nonlinearity(spec)
    if spec.stem != "cifar":
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def _stages(spec: NetSpec) -> nn.Sequential:
    """Stage i has blocks[i] blocks of widths[i]; the first block of every later stage halves the map."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    c_in, place, last = spec.stem_channels, 0, sum(spec.blocks)
    for number, count in enumerate(spec.blocks, start=1):
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(1, count + 1):
            stride = 2 if index == 1 and (number > 1 or spec.first_stage_halves) else 1
            activated = place == 0 and spec.first_activation == "stem"
            place += 1
            skipped = spec.stochastic_depth * place / last  # linear decay of survival (Huang et al., eq. 4)
            blocks[f"block{index}"] = make_block(spec, c_in, number - 1, stride, activated=activated, skipped=skipped)
            c_in = spec.out_channels[number - 1]
        stages[f"stage{number}"] = nn.Sequential(blocks)
    return nn.Sequential(stages)


def _last_layer(spec: NetSpec) -> nn.Linear:
    """(N, D) features to (N, K) logits; of a backbone, K is 0."""
    layer = nn.Linear(spec.features, max(1, spec.num_classes))
    if not spec.num_classes:  # nn.Linear itself warns of a layer without weights
        layer.weight, layer.bias = nn.Parameter(layer.weight[:0]), nn.Parameter(layer.bias[:0])
        layer.out_features = 0
    return layer
