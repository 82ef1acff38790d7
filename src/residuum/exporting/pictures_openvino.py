"""From pictures of any size to views, in an OpenVINO model: the preprocessing that an exported model brings.

Letters: B pictures, H and W their sides and S a view's, in pixels.
"""

from typing import Any

import numpy as np

from residuum.engines.names import PICTURES, VIEWS
from residuum.engines.versions import imported
from residuum.records.model import View


def with_pictures(model: Any, view: View) -> Any:
    """Return the model that begins with PICTURES (B, H, W, 3) in place of VIEWS."""
    openvino = imported("openvino")
    pictures = openvino.opset13.parameter([-1, -1, -1, 3], np.uint8, name=PICTURES)
    pictures.output(0).set_names({PICTURES})
    views = _views(openvino.opset13, pictures, view)
    old = model.input(VIEWS)
    for reader in old.get_target_inputs():
        reader.replace_source_output(views.output(0))
    views.output(0).set_names({VIEWS})
    return openvino.Model(model.get_results(), [pictures], "residuum")


def _views(ops: Any, pictures: Any, view: View) -> Any:
    """Return what `data.resize.evaluation_view` gives: the shorter side to `resize_to`, then the central S×S.

    By two products, columns first, each rounded as Pillow rounds; OpenVINO's own Pillow modes take 0.4 s for each new
    size of picture.
    """
    sides = ops.gather(ops.shape_of(pictures), _whole(ops, 1, 2), _whole(ops, 0))
    shorter = ops.reduce_min(sides, _whole(ops, 0), keep_dims=True)
    scaled = ops.divide(ops.multiply(sides, _whole(ops, view.resize_to)), shorter)
    rows, columns = (_weights(ops, sides, scaled, axis, view) for axis in (0, 1))
    x = ops.convert(ops.transpose(pictures, _whole(ops, 0, 3, 1, 2)), np.float32)
    x = _levels(ops, ops.matmul(x, columns, False, True))
    x = _levels(ops, ops.matmul(rows, x, False, False))
    views = ops.convert(ops.transpose(x, _whole(ops, 0, 2, 3, 1)), np.uint8)
    return ops.reshape(views, _whole(ops, 0, view.image_size, view.image_size, 3), special_zero=True)


def _whole(ops: Any, *values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


def _levels(ops: Any, x: Any) -> Any:
    return ops.clamp(ops.round(x, "half_to_even"), 0.0, 255.0)


def _weights(ops: Any, sides: Any, scaled: Any, axis: int, view: View) -> Any:
    """Return the (S, n) weights by which the n pixels along an axis make those of the view.

    As Pillow's resampling: a triangle or the cubic of a = −1/2, stretched where the picture shrinks.
    """
    n, new = (ops.gather(each, _whole(ops, axis), _whole(ops, 0)) for each in (sides, scaled))
    excess = ops.subtract(new, _whole(ops, view.image_size))
    half = ops.divide(excess, _whole(ops, 2))  # Python's round takes a half to the even of its neighbours
    first = ops.add(half, ops.multiply(ops.mod(excess, _whole(ops, 2)), ops.mod(half, _whole(ops, 2))))
    places = ops.add(first, _whole(ops, *range(view.image_size)))
    zero, one = (ops.constant(np.array(value, np.int64)) for value in (0, 1))
    pixels = ops.range(zero, ops.squeeze(n, _whole(ops, 0)), one, "i64")
    mine, theirs = (ops.add(ops.multiply(each, _whole(ops, 2)), _whole(ops, 1)) for each in (places, pixels))
    middles = ops.unsqueeze(ops.multiply(mine, n), _whole(ops, 1))
    between = ops.absolute(ops.subtract(ops.multiply(theirs, new), middles))  # whole: bfloat16 would not be exact
    stretch = ops.multiply(ops.maximum(n, new), _whole(ops, 2))
    apart = ops.divide(ops.convert(between, np.float32), ops.convert(stretch, np.float32))
    weights = _triangle(ops, apart) if view.interpolation == "bilinear" else _cubic(ops, apart)
    return ops.divide(weights, ops.reduce_sum(weights, _whole(ops, 1), keep_dims=True))


def _triangle(ops: Any, apart: Any) -> Any:
    return ops.maximum(ops.subtract(np.float32(1), apart), np.float32(0))


def _cubic(ops: Any, apart: Any) -> Any:
    """Return Keys' cubic with a = −1/2: 1 − 5/2·x² + 3/2·x³ up to 1, 2 − 4x + 5/2·x² − 1/2·x³ up to 2, then 0."""
    near = _polynomial(ops, apart, (1.5, -2.5, 0.0, 1.0))
    far = _polynomial(ops, apart, (-0.5, 2.5, -4.0, 2.0))
    outer = ops.select(ops.less(apart, np.float32(2)), far, np.float32(0))
    return ops.select(ops.less(apart, np.float32(1)), near, outer)


def _polynomial(ops: Any, x: Any, factors: tuple[float, ...]) -> Any:
    """Return the polynomial with these factors, that of the highest power first."""
    y = ops.constant(np.float32(factors[0]))
    for factor in factors[1:]:
        y = ops.add(ops.multiply(y, x), np.float32(factor))
    return y
