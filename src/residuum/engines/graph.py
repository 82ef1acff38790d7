"""A trained net as an ONNX graph: from views to probabilities and features. OpenVINO reads it too.

Each layer of the family has its case here; BN is folded into the convolution before it. Made by hand, because torch's
own exporter takes seconds and two more packages, and has been wrong about ResNets (docs/decisions.md).

Letters: B views, S their side in pixels, C channels, D features, K classes.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor, nn

from residuum.data.preprocess import Preprocessing
from residuum.engines.names import CENTRED, FEATURES, NORMALISED, PROBABILITIES, SCALED, VIEWS
from residuum.models.block import Add, GatedAdd, ResidualBlock, ScaledAdd
from residuum.models.layers import BELOW_ROOTS, BothPools, RootPools, SqueezeExcite, ZeroPad
from residuum.models.resnet import ResNet

OPSET = 20
"""The first with GELU; Resize has antialiasing from 18 on."""


class Nodes:
    """A graph while it is being written; the names it makes up begin with `prefix`."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.known: dict[tuple[Any, ...], str] = {}

    def add(self, kind: str, *reads: str, gives: str = "", **attributes: Any) -> str:
        """Append a node, and return the name of the tensor that it gives."""
        gives = gives or f"{self.prefix}{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, reads, [gives], name=gives, **attributes))
        return gives

    def constant(self, value: NDArray[np.generic] | Sequence[int] | Tensor) -> str:
        """Store numbers (a list is of int64), and return the name of their tensor."""
        array = np.ascontiguousarray(value.detach().numpy() if isinstance(value, Tensor) else value)
        content = (array.dtype, array.shape, hashlib.sha256(array.data).digest())
        if content not in self.known:  # a net that is asked twice has its weights once
            self.known[content] = f"{self.prefix}constant{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self.known[content]))
        return self.known[content]

    def model(self, inputs: Sequence[ValueInfoProto], net: ResNet) -> ModelProto:
        """Return the graph as a model with the two results of a net."""
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", width])
            for name, width in ((PROBABILITIES, net.fc.out_features), (FEATURES, net.fc.in_features))
        ]
        graph = helper.make_graph(self.nodes, "residuum", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="residuum")


def net_graph(net: ResNet, how: Preprocessing, *, several: bool = False) -> ModelProto:
    """Return the graph that takes VIEWS to PROBABILITIES and FEATURES, of a net on the processor; `several`: each class
    is answered for itself, as models/answers.py has it."""
    nodes, side = Nodes(), how.image_size
    add_net(nodes, net, how, several=several)
    views = helper.make_tensor_value_info(VIEWS, TensorProto.UINT8, ["B", side, side, 3])
    return nodes.model([views], net)


@torch.inference_mode()
def add_net(nodes: Nodes, net: ResNet, how: Preprocessing, *, several: bool = False) -> None:
    """Append what takes VIEWS to PROBABILITIES and FEATURES."""
    x = _normalised(nodes, how)
    if how.views == "mirrored":
        ends = ([-1], [np.iinfo(np.int64).min], [3], [-1])
        x = nodes.add("Concat", x, nodes.add("Slice", x, *map(nodes.constant, ends)), axis=0)
    found = _pooled(nodes, net, x)
    # the last layer is linear: of mean features it makes the mean of the logits
    if how.views == "mirrored":
        pairs = nodes.add("Reshape", found, nodes.constant([2, -1, net.fc.in_features]))
        nodes.add("ReduceMean", pairs, nodes.constant([0]), gives=FEATURES, keepdims=0)
    elif how.views == "middle":
        _mean_of_middle(nodes, net, x, how.image_size)
    elif how.views == "halved":
        halved = _pooled(nodes, net, nodes.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]))
        both = nodes.add("Add", nodes.add("Flatten", found), nodes.add("Flatten", halved))
        nodes.add("Mul", both, nodes.constant(np.array(0.5, np.float32)), gives=FEATURES)
    else:
        nodes.add("Flatten", found, gives=FEATURES)
    logits = nodes.add("Gemm", FEATURES, nodes.constant(net.fc.weight), nodes.constant(net.fc.bias), transB=1)
    kind, how_so = ("Sigmoid", {}) if several else ("Softmax", {"axis": 1})
    nodes.add(kind, logits, gives=PROBABILITIES, **how_so)


def _mean_of_middle(nodes: Nodes, net: ResNet, x: str, side: int) -> None:
    """Append what takes (B, 3, S, S) to the mean features of four views, as `weighted` cuts them."""
    less = 2 * side // 3
    start = (side - less) // 2
    corners = ([start] * 2, [start + less] * 2, [2, 3])
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    twice = nodes.add("Resize", x, "", nodes.constant(np.array([1, 1, 2, 2], np.float32)), **how)
    whole = nodes.add("AveragePool", twice, kernel_shape=[3, 3], strides=[3, 3])
    both = nodes.add("Concat", whole, nodes.add("Slice", x, *map(nodes.constant, corners)), axis=0)
    halved = nodes.add("AveragePool", both, kernel_shape=[2, 2], strides=[2, 2])
    found = [nodes.add("Flatten", _pooled(nodes, net, each)) for each in (both, halved)]
    pairs = nodes.add("Reshape", nodes.add("Add", *found), nodes.constant([2, -1, net.fc.in_features]))
    mean = nodes.add("ReduceMean", pairs, nodes.constant([0]), keepdims=0)
    nodes.add("Mul", mean, nodes.constant(np.array(0.5, np.float32)), gives=FEATURES)


def _pooled(nodes: Nodes, net: ResNet, x: str) -> str:
    """Append what takes (B, 3, S, S) to pooled features."""
    for part in (net.stem, net.stages, net.end, net.pool):
        x = _layer(nodes, part, x)
    return x


def _normalised(nodes: Nodes, how: Preprocessing) -> str:
    """Append what takes VIEWS to (B, 3, S, S) float32, less the mean and over the spread.

    In long rows (B, S, 3·S), which cost OpenVINO nothing.
    """
    side = how.image_size
    mean, spread = (
        np.tile(values, side) if values.ndim == 1 else values.reshape(side, -1) for values in (how.mean, how.std)
    )
    rows = nodes.add("Reshape", VIEWS, nodes.constant([0, side, 3 * side]))
    x = nodes.add("Cast", rows, to=TensorProto.FLOAT)
    x = nodes.add("Sub", x, nodes.constant(mean.astype(np.float32)), gives=CENTRED)
    x = nodes.add("Mul", x, nodes.constant((1 / spread).astype(np.float32)), gives=SCALED)
    whole = nodes.add("Reshape", x, nodes.constant([0, side, side, 3]))
    return nodes.add("Transpose", whole, perm=[0, 3, 1, 2], gives=NORMALISED)


# --- layers --------------------------------------------------------------------------------------


def _layer(nodes: Nodes, layer: nn.Module, x: str) -> str:
    """Append what the layer does in evaluation."""
    match layer:
        case nn.Sequential():
            return _sequence(nodes, layer.children(), x)
        case ResidualBlock():
            return _block(nodes, layer, x)
        case nn.Conv2d():
            return _convolution(nodes, layer, None, x)
        case nn.BatchNorm2d():
            numbers = [layer.weight, layer.bias, cast(Tensor, layer.running_mean), cast(Tensor, layer.running_var)]
            return nodes.add("BatchNormalization", x, *map(nodes.constant, numbers), epsilon=layer.eps)
        case nn.Identity() | nn.Dropout():
            return x
        case nn.ReLU() | nn.Sigmoid():
            return nodes.add(type(layer).__name__.replace("ReLU", "Relu"), x)
        case nn.GELU():
            return nodes.add("Gelu", x, approximate=layer.approximate)
        case nn.MaxPool2d() | nn.AvgPool2d():
            return _pool(nodes, layer, x)
        case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d() | BothPools() | RootPools():
            return _global_pool(nodes, layer, x)
        case SqueezeExcite():
            return nodes.add("Mul", x, _sequence(nodes, layer.children(), x))
        case ZeroPad():
            return _zero_pad(nodes, layer, x)
    raise AssertionError(f"{type(layer).__name__} has no case here")


def _sequence(nodes: Nodes, layers: Iterable[nn.Module], x: str) -> str:
    """Append one layer after another; a BN behind a convolution becomes part of it."""
    waiting = deque(layers)
    while waiting:
        layer = waiting.popleft()
        if isinstance(layer, nn.Conv2d) and waiting and isinstance(waiting[0], nn.BatchNorm2d):
            x = _convolution(nodes, layer, waiting.popleft(), x)
        else:
            x = _layer(nodes, layer, x)
    return x


def _convolution(nodes: Nodes, layer: nn.Conv2d, norm: nn.Module | None, x: str) -> str:
    """Append a convolution, and the BN behind it."""
    weight, bias = layer.weight.double(), None if layer.bias is None else layer.bias.double()
    if isinstance(norm, nn.BatchNorm2d):
        mean, variance = (each.double() for each in (norm.running_mean, norm.running_var))  # type: ignore[union-attr]
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        weight = weight * scale[:, None, None, None]
        bias = norm.bias.double() + scale * ((0 if bias is None else bias) - mean)
    numbers = [nodes.constant(each.float()) for each in (weight, bias) if each is not None]
    pads = [int(side) for side in layer.padding] * 2
    how: dict[str, Any] = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": pads}
    return nodes.add("Conv", x, *numbers, group=layer.groups, **how)


def _pool(nodes: Nodes, layer: nn.MaxPool2d | nn.AvgPool2d, x: str) -> str:
    sides = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": layer.padding}
    how: dict[str, Any] = {name: np.broadcast_to(side, 2).tolist() for name, side in sides.items()}
    how |= {"pads": how["pads"] * 2, "ceil_mode": int(layer.ceil_mode)}
    if isinstance(layer, nn.AvgPool2d):
        return nodes.add("AveragePool", x, count_include_pad=int(layer.count_include_pad), **how)
    return nodes.add("MaxPool", x, **how)


def _global_pool(nodes: Nodes, layer: nn.Module, x: str) -> str:
    """Append what stands before the last layer (models/layers.POOLS)."""
    if isinstance(layer, nn.AdaptiveAvgPool2d):  # of the family's nets: to 1×1
        return nodes.add("GlobalAveragePool", x)
    if isinstance(layer, nn.AdaptiveMaxPool2d):
        return nodes.add("GlobalMaxPool", x)
    y = nodes.add("Concat", nodes.add("GlobalAveragePool", x), nodes.add("GlobalMaxPool", x), axis=1)
    if isinstance(layer, BothPools):
        return y
    below = nodes.add("Add", nodes.add("Abs", y), nodes.constant(np.array([BELOW_ROOTS], np.float32)))
    return nodes.add("Div", y, nodes.add("Sqrt", below))


def _zero_pad(nodes: Nodes, layer: ZeroPad, x: str) -> str:
    """Append option A's shortcut."""
    if layer.stride != 1:
        ends = [np.iinfo(np.int64).max] * 2
        x = nodes.add("Slice", x, *map(nodes.constant, ([0, 0], ends, [2, 3], [layer.stride] * 2)))
    before, behind = layer.zeros
    return nodes.add("Pad", x, nodes.constant([0, before, 0, 0, 0, behind, 0, 0])) if any(layer.zeros) else x


# --- blocks --------------------------------------------------------------------------------------


def _block(nodes: Nodes, block: ResidualBlock, x: str) -> str:
    """Append after(F(before(x)) + h(x)), as `ResidualBlock.forward` has it."""
    a = _layer(nodes, block.before, x)
    if block.shortcut is None:
        return _layer(nodes, block.after, _layer(nodes, block.branch, a))
    h = _layer(nodes, block.shortcut, a if block.shared else x)
    return _layer(nodes, block.after, _addition(nodes, block.add, _layer(nodes, block.branch, a), h, x))


def _addition(nodes: Nodes, layer: nn.Module, F: str, h: str, x: str) -> str:
    """Append how branch and shortcut are joined."""

    def scaled(y: str, by: float) -> str:
        return nodes.add("Mul", y, nodes.constant(np.array(by, np.float32)))

    match layer:
        case Add():
            return nodes.add("Add", F, h)
        case ScaledAdd():
            return nodes.add("Add", scaled(F, layer.branch_scale), scaled(h, layer.shortcut_scale))
        case GatedAdd():
            gate = nodes.add("Sigmoid", _layer(nodes, layer.gate, x))
            rest = nodes.add("Sub", nodes.constant(np.array(1, np.float32)), gate)
            return nodes.add("Add", nodes.add("Mul", gate, F) if layer.exclusive else F, nodes.add("Mul", rest, h))
    raise AssertionError(f"{type(layer).__name__} has no case here")
