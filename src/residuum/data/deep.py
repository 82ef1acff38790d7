"""Greys of more than 8 bits: how a file's numbers become 0..255, and the span that a whole set of pictures uses.

Letters: H, W a picture's height and width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Grey = NDArray[np.uint8]
"""(H, W)"""

Span = tuple[int, int]
"""The numbers that become black and white."""

FAR_BELOW = 1 << 14
"""Of a span as narrow as this, 64 greys or fewer would be left by the upper eight of 16 bits."""


def is_deep_grey(image: Image.Image) -> bool:
    """Say whether a picture's greys are read here."""
    return image.mode.startswith("I;16") or image.mode in ("I", "F")


def to_grey(image: Image.Image, span: Span | None) -> Grey | str:
    """Return a loaded picture as (H, W): by the `span` of its set, or else as decode says; or why it cannot be."""
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        return "it holds NaN or infinity"
    if span is not None:
        return _by_span(image, span)
    if image.mode == "F":
        return _from_floats(np.asarray(image))
    return _from_integers(image) if image.mode == "I" else _from_16_bits(image)


def extremes(image: Image.Image) -> tuple[float, float] | None:
    """Return the least and the greatest number of a loaded picture, of 16 bits; None where it holds NaN or infinity."""
    values = _numbers(image)
    low, high = float(values.min()), float(values.max())
    return (low, high) if np.isfinite((low, high)).all() else None


def span_of(ends: tuple[float, float] | None) -> Span | None:
    """Return the span for a set whose least and greatest numbers are these, if far below 16 bits; None: none is needed.

    Black stays black: from zero on it is 8, 9, … or 14 whole bits. A set that stays away from zero has its own ends.
    """
    if ends is None:
        return None
    low, high = ends
    if low < 0 or high > 65535 or high - low >= FAR_BELOW or low == high:
        return None
    if high < FAR_BELOW:
        return None if high <= 1 else (0, 2 ** max(8, int(high).bit_length()) - 1)
    return int(np.floor(low)), int(np.ceil(high))


def _numbers(image: Image.Image) -> NDArray[Any]:
    """Return (H, W), where a file has 12 bits brought to 16."""
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "I":
        return _unsigned(image)
    return values.astype(np.uint16) << (16 - _bits(image)) if image.mode != "F" else values


def _by_span(image: Image.Image, span: Span) -> Grey:
    low, high = span
    grey = _rounded((_numbers(image).astype(np.float64) - low) * 255 / (high - low))
    if image.mode.startswith("I;16"):
        grey[np.asarray(image) == image.info.get("transparency", -1)] = 255
    return 255 - grey if _is_white_zero(image) else grey


def _bits(image: Image.Image) -> int:
    """12-bit TIFF is read into the same mode as 16."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])
    return 16


def _is_white_zero(image: Image.Image) -> bool:
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return image.mode.startswith("I;16") and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _from_16_bits(image: Image.Image) -> Grey:
    values = np.asarray(image)
    grey: Grey = (values >> (_bits(image) - 8)).astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255
    return 255 - grey if _is_white_zero(image) else grey


def _unsigned(image: Image.Image) -> NDArray[Any]:
    """Return the 32-bit integers, which Pillow keeps in a signed mode where a TIFF's are unsigned, too."""
    values: NDArray[Any] = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return values.view(np.uint32) if tags and tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)) == (1,) else values


def _from_integers(image: Image.Image) -> Grey:
    """32-bit integers, and PGM of more than 8 bits, which Pillow has brought to 0..65535."""
    values = _unsigned(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        return _stretched(values)
    return (values >> (8 if high > 255 or image.format == "PPM" else 0)).astype(np.uint8)


def _from_floats(values: NDArray[np.float32]) -> Grey:
    slack = 0.01  # rounding may carry a value past the end
    low, high = float(values.min()) + slack, float(values.max()) - slack
    for top in (1, 255, 65535):
        if low >= 0 and high <= top:
            return _rounded(values * (255 / top))
    return _stretched(values)


def _stretched(values: NDArray[Any]) -> Grey:
    """Spread least to greatest over 0..255; a flat picture becomes black."""
    exact = values.astype(np.float64)
    low, span = exact.min(), np.ptp(exact)
    return _rounded((exact - low) * 255 / (span or 1.0))


def _rounded(values: NDArray[np.floating[Any]]) -> Grey:
    whole: Grey = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return whole
