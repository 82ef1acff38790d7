"""From a decoded picture to the size that it is judged at, the same wherever a net is asked.

Letters: H, W the picture's height and width, S the side of a square view; pixels are RGB, 0..255.
"""

import numpy as np
from PIL import Image

from residuum.choices import Interpolation
from residuum.data.decode import MAX_PIXELS, Pixels, broken

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def evaluation_view(
    pixels: Pixels, image_size: int, resize_to: int, interpolation: Interpolation = "bilinear"
) -> Pixels:
    """Return the central S×S, S = image_size, after bringing the shorter side to `resize_to` (>= S).

    (H, W, 3) to (S, S, 3), bilinear or bicubic, with antialiasing. The result may share memory with `pixels`.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    new_height, new_width = (resize_to * side // short for side in (height, width))
    top, left = (round((side - image_size) / 2) for side in (new_height, new_width))
    bottom, right = top + image_size, left + image_size
    if short == resize_to:
        return np.ascontiguousarray(pixels[top:bottom, left:right])
    image, filter_ = Image.fromarray(pixels), _FILTERS[interpolation]
    if new_height * new_width > MAX_PIXELS:  # a sliver: resize only what is kept, exact to two levels
        columns, rows = width / new_width, height / new_height
        box = (left * columns, top * rows, right * columns, bottom * rows)
        return np.array(image.resize((image_size, image_size), filter_, box))
    resized = image.resize((new_width, new_height), filter_)
    return np.array(resized.crop((left, top, right, bottom)))


def resized(pixels: Pixels, shorter: int, name: str, interpolation: Interpolation = "bilinear") -> Pixels:
    """Return the whole picture (H, W, 3) with its shorter side brought to `shorter`, with antialiasing.

    Raises:
        BrokenPicture: it is so long a strip that it would have more than MAX_PIXELS.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    new_height, new_width = (shorter * side // short for side in (height, width))
    if new_height * new_width > MAX_PIXELS:
        raise broken(name, f"with a shorter side of {shorter} px it would be of over {MAX_PIXELS // 10**6} million")
    if short == shorter:
        return pixels
    return np.array(Image.fromarray(pixels).resize((new_width, new_height), _FILTERS[interpolation]))
