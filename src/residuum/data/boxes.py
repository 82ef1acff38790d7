"""Boxes in pictures: which pixels a crop needs, and at which scale they are worth decoding.

A JPEG's inverse DCT can give every 2nd, 4th or 8th pixel's worth (8×8 blocks to 4×4, 2×2 or 1×1) for less work.
"""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the picture at full scale; an edge may fall within a pixel."""


def decoding_scale(box: Box, size: tuple[int, int], least: int) -> int:
    """Return the coarsest of 8, 4, 2 and 1 at which the box still spans `least` decoded pixels both ways.

    `size` is the picture's width and height. So all that is left to do is to shrink; where the box spans fewer
    than `least` pixels from the start, the scale is 1.
    """
    for scale in (8, 4, 2):
        left, top, right, bottom = whole_pixels(box, scale, size)
        if min(right - left, bottom - top) >= least:
            return scale
    return 1


def whole_pixels(box: Box, scale: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Round a box to the pixels of the picture decoded at 1/scale: at least one, all within the picture."""
    left, top, right, bottom = (round(edge / scale) for edge in box)
    width, height = (max(1, side // scale) for side in size)
    left, top = min(left, width - 1), min(top, height - 1)
    return left, top, min(max(right, left + 1), width), min(max(bottom, top + 1), height)


def as_stored(box: Box, orientation: int, size: tuple[int, int]) -> Box:
    """Find a box of the upright picture, of this width and height, in the one that is stored.

    EXIF's orientations: 2 to 4 are mirrored or turned by 180°, 5 to 8 also have rows and columns swapped.
    """
    left, top, right, bottom = box
    if orientation in (2, 3, 6, 7):
        left, right = size[0] - right, size[0] - left
    if orientation in (3, 4, 7, 8):
        top, bottom = size[1] - bottom, size[1] - top
    return (left, top, right, bottom) if orientation < 5 else (top, left, bottom, right)
