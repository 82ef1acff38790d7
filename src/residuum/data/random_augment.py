"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719) with the operations and ranges of timm's `rand-…-inc1`, on Pillow.

Twice, one of fifteen operations is drawn and done by half a chance; the more magnitude, the further from the picture.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from residuum.data.decode import Pixels
from residuum.recipe import RandomAugment

LAYERS = 2
_EACH = 5
DRAWS = LAYERS * _EACH
"""Random numbers that a view needs."""

Colour = tuple[int, int, int]
_BILINEAR, _AFFINE = Image.Resampling.BILINEAR, Image.Transform.AFFINE


def random_augmented(views: Pixels, how: RandomAugment, uniforms: NDArray[np.float64], fill: Colour) -> Pixels:
    """Change each of the views (B, S, S, 3) by its own `uniforms`, (B, DRAWS); see random_augment."""
    return np.stack([random_augment(view, how, its, fill) for view, its in zip(views, uniforms, strict=True)])


def random_augment(view: Pixels, how: RandomAugment, uniforms: NDArray[np.float64], fill: Colour) -> Pixels:
    """Change a view (S, S, 3) by chance; `uniforms` are (DRAWS,) in [0, 1). What comes in from outside is of `fill`."""
    image = None
    for which, whether, radius, angle, side in uniforms.reshape(LAYERS, _EACH).tolist():
        if whether < 0.5:
            image = Image.fromarray(view) if image is None else image
            normal = math.sqrt(-2.0 * math.log1p(-radius)) * math.cos(2.0 * math.pi * angle)  # Box and Muller 1958
            strength = min(max(how.magnitude + how.spread * normal, 0.0), 10.0) / 10.0
            image = OPERATIONS[int(which * len(OPERATIONS))](image, strength, 1 if side < 0.5 else -1, fill)
    return view if image is None else np.asarray(image)


def _posterized(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(image, max(1, 4 - int(strength * 4)))


def _with_more_light(image: Image.Image, strength: float) -> Image.Image:
    """Add up to 110 to what is darker than 128."""
    more = min(128, int(strength * 110))
    return image.point([min(255, value + more) if value < 128 else value for value in range(256)] * 3)


def _moved(image: Image.Image, matrix: tuple[float, ...], fill: Colour) -> Image.Image:
    return image.transform(image.size, _AFFINE, matrix, _BILINEAR, fillcolor=fill)


def _factor(strength: float, sign: int) -> float:
    """Return how much of a property stays: 1 is all."""
    return max(0.1, 1.0 + sign * 0.9 * strength)


OPERATIONS: tuple[Callable[[Image.Image, float, int, Colour], Image.Image], ...] = (
    lambda image, t, sign, fill: ImageOps.autocontrast(image),
    lambda image, t, sign, fill: ImageOps.equalize(image),
    lambda image, t, sign, fill: ImageOps.invert(image),
    lambda image, t, sign, fill: image.rotate(sign * t * 30.0, _BILINEAR, fillcolor=fill),
    lambda image, t, sign, fill: _posterized(image, t),
    lambda image, t, sign, fill: ImageOps.solarize(image, 256 - min(256, int(t * 256))),
    lambda image, t, sign, fill: _with_more_light(image, t),
    lambda image, t, sign, fill: ImageEnhance.Color(image).enhance(_factor(t, sign)),
    lambda image, t, sign, fill: ImageEnhance.Contrast(image).enhance(_factor(t, sign)),
    lambda image, t, sign, fill: ImageEnhance.Brightness(image).enhance(_factor(t, sign)),
    lambda image, t, sign, fill: ImageEnhance.Sharpness(image).enhance(_factor(t, sign)),
    lambda image, t, sign, fill: _moved(image, (1, sign * t * 0.3, 0, 0, 1, 0), fill),
    lambda image, t, sign, fill: _moved(image, (1, 0, 0, sign * t * 0.3, 1, 0), fill),
    lambda image, t, sign, fill: _moved(image, (1, 0, sign * t * 0.45 * image.width, 0, 1, 0), fill),
    lambda image, t, sign, fill: _moved(image, (1, 0, 0, 0, 1, sign * t * 0.45 * image.height), fill),
)
"""Picture, strength from 0 to 1, direction (1 or -1) and fill to picture, in timm's order: autocontrast, equalize,
invert, rotate, posterize, solarize, add light, colour, contrast, brightness, sharpness, shear and translate x and y."""
