"""Baseline JPEGs, decoded faster than Pillow does it and to the same bits, down to the last row that is needed.

Most of the work is undoing the Huffman code, from the first row on; what can be left out is all below a crop.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from residuum.data.boxes import Box, as_stored, decoding_scale, whole_pixels
from residuum.data.jpeg_region import decoded_region

PartOf = Callable[[int, int], Box]
"""Chooses a part of a picture from the width and height of the upright one."""

_FRAME, _SCAN, _END = 0xFFC0, 0xFFDA, b"\xff\xd9"
_TABLES = {0xFFDB, 0xFFC4, 0xFFDD, 0xFFFE}  # quantisation, Huffman, restart interval; and comments
_APPLICATIONS = range(0xFFE0, 0xFFF0)
_PLAIN = {  # those that say nothing of turns: how they begin, and the least length that Pillow reads them with
    0xFFE0: (b"JFIF\0", 14),
    0xFFE2: (b"ICC_PROFILE\0", 14),
    0xFFED: (b"Photoshop 3.0\0", 14),
    0xFFEE: (b"Adobe", 12),
}
_LEFT_OVER = re.compile(r"extraneous bytes before marker 0xd[0-79]$")  # up to a restart, or the end
_BELOW = 2  # smoothed chroma looks this many rows further down


@dataclass(frozen=True)
class Frame:
    """A baseline JPEG as stored: where its frame header starts, and the size that this gives.

    `plain`: it carries no notes, such as EXIF, that could say that it is stored turned or is one of several.
    """

    place: int
    width: int
    height: int
    plain: bool


def frame_of(encoded: bytes) -> Frame | None:
    """Walk the headers: one baseline frame of 8 bits, grey or three colours, in one scan that is not cut off.

    None for all other files: Pillow shall read them, and say what is wrong if anything is.
    """
    place, found, plain = 2, None, True
    try:
        while True:
            marker, length = struct.unpack_from(">HH", encoded, place)
            if marker == _SCAN:
                break
            if marker == _FRAME:
                found = place
            elif marker in _APPLICATIONS:
                name, least = _PLAIN.get(marker, (b"", 1 << 16))
                plain = plain and length - 2 >= least and encoded.startswith(name, place + 4)
            elif marker not in _TABLES:
                return None
            place += 2 + length
        if found is None or encoded.rfind(_END, place) < 0:
            return None
        bits, height, width, planes = struct.unpack_from(">BHHB", encoded, found + 4)
        whole = bits == 8 and planes in (1, 3) and encoded[place + 4] == planes
    except (struct.error, IndexError):
        return None
    return Frame(found, width, height, plain) if whole and width * height > 0 else None


def needed(
    part_of: PartOf, orientation: int, size: tuple[int, int], least: int
) -> tuple[int, tuple[int, int, int, int]]:
    """Say at which scale, 1 to 8, to decode a picture stored with this size, and which of the pixels to keep.

    The view that is made of `part_of` has `least` × `least` pixels.
    """
    upright = size if orientation < 5 else (size[1], size[0])
    box = as_stored(part_of(*upright), orientation, upright)
    small = min(box[2] - box[0], box[3] - box[1]) < 2 * least - 2
    scale = 1 if small else decoding_scale(box, size, least)
    return scale, whole_pixels(box, scale, size)


def stored_part(
    encoded: bytes, frame: Frame, orientation: int, part_of: PartOf, least: int
) -> NDArray[np.uint8] | None:
    """Decode what `needed` says, (h, w, 3), as it is stored; None where Pillow has to do it."""
    scale, (left, top, right, bottom) = needed(part_of, orientation, (frame.width, frame.height), least)
    whole = (frame.width, frame.height)
    region = decoded_region(encoded, (left, top, right, bottom), whole) if scale == 1 else None
    if region is not None:
        pixels, said = region
        return pixels.copy() if not said or _LEFT_OVER.search(said) else None
    kept = min(frame.height, (bottom + _BELOW) * scale)
    shape = -(-kept // scale), -(-frame.width // scale)
    shortened = encoded if kept == frame.height else _with_height(encoded, frame, kept)
    try:
        rows = _decoded(shortened, shape, {} if scale == 1 else {"min_height": shape[0], "min_width": shape[1]})
    except Exception:  # whatever the decoder does not like
        return None
    return None if rows is None else rows[top:bottom, left:right].copy()


def stored_whole(encoded: bytes, frame: Frame) -> NDArray[np.uint8] | None:
    """Decode all of it, (h, w, 3), as it is stored; None where Pillow has to do it."""
    try:
        return _decoded(encoded, (frame.height, frame.width), {})
    except Exception:  # whatever the decoder does not like
        return None


def _decoded(encoded: bytes | bytearray, shape: tuple[int, int], least: dict[str, int]) -> NDArray[np.uint8] | None:
    """Decode a whole file to (*shape, 3), or nothing if it would not have this shape or is damaged at all.

    That rows are left over below the last one is a warning, which becomes an error after all has been decoded.
    An earlier warning or a later error would have taken the place of its message.
    """
    if simplejpeg.decode_jpeg_header(encoded, **least)[:2] != shape:
        return None
    pixels = np.empty((*shape, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(encoded, "RGB", buffer=pixels, **least)
    except ValueError as error:
        if not _LEFT_OVER.search(str(error)):
            return None
    return pixels


def _with_height(encoded: bytes, frame: Frame, height: int) -> bytearray:
    """Return the file with another height in its frame header: the decoder stops after that many rows."""
    changed = bytearray(encoded)
    struct.pack_into(">H", changed, frame.place + 5, height)
    return changed
