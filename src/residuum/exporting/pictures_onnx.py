"""From pictures of any size to views, in an ONNX graph: the preprocessing that an exported model brings.

onnxruntime resizes whole numbers as Pillow does, to a level here and there. Files are decoded, and turned upright,
outside.

Letters: B pictures, H and W their sides and S a view's, in pixels.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from residuum.engines.graph import Nodes
from residuum.engines.names import PICTURES, RESIZE_TO, VIEWS
from residuum.records.model import View


def with_pictures(model: ModelProto, view: View) -> ModelProto:
    """Let a graph that begins with VIEWS begin with PICTURES (B, H, W, 3), and RESIZE_TO, which has a default."""
    nodes = Nodes("picture_")
    _cut_views(nodes, view)
    nodes.constants.append(helper.make_tensor(RESIZE_TO, TensorProto.INT64, [], [view.resize_to]))
    graph = model.graph
    theirs = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes.nodes, *theirs])
    graph.initializer.extend(nodes.constants)
    graph.input.extend([
        helper.make_tensor_value_info(PICTURES, TensorProto.UINT8, ["B", "H", "W", 3]),
        helper.make_tensor_value_info(RESIZE_TO, TensorProto.INT64, []),
    ])  # fmt: skip
    return model


def _cut_views(nodes: Nodes, view: View) -> None:
    """Append what `data.resize.evaluation_view` does: the shorter side to RESIZE_TO, then the central S×S."""
    shape = nodes.add("Shape", PICTURES)
    batch, sides = (nodes.add("Slice", shape, *map(nodes.constant, ends)) for ends in (([0], [1]), ([1], [3])))
    scaled = nodes.add("Div", nodes.add("Mul", sides, RESIZE_TO), nodes.add("ReduceMin", sides))
    sizes = nodes.add("Concat", batch, scaled, nodes.constant([3]), axis=0)
    mode = {"mode": "linear"} if view.interpolation == "bilinear" else {"mode": "cubic", "cubic_coeff_a": -0.5}
    how: dict[str, Any] = {"antialias": 1, "exclude_outside": 1, "coordinate_transformation_mode": "half_pixel", **mode}
    resized = nodes.add("Resize", PICTURES, "", "", sizes, **how)
    side, two = nodes.constant([view.image_size] * 2), nodes.constant([2])
    excess = nodes.add("Sub", scaled, side)
    half = nodes.add("Div", excess, two)  # Python's round takes a half to the even of its neighbours
    odd_halves = nodes.add("Mul", nodes.add("Mod", excess, two), nodes.add("Mod", half, two))
    first = nodes.add("Add", half, odd_halves)
    cut = nodes.add("Slice", resized, first, nodes.add("Add", first, side), nodes.constant([1, 2]))
    shape_of_views = nodes.constant(np.array([0, view.image_size, view.image_size, 3], np.int64))
    nodes.add("Reshape", cut, shape_of_views, gives=VIEWS)
