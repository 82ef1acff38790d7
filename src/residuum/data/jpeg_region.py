"""A part of a JPEG, decoded without what lies beside and above it, by libjpeg-turbo's own C functions.

Its TurboJPEG interface (version 3) can leave out the pixels outside a box, though not their Huffman code; the decoder
that this package needs anyway cannot. The library is found where the wheel `turbojpeg` brings it (extra `jpeg`), or
where the system has it. Without it, all is decoded down to the box's last row.
"""

import ctypes
import importlib.metadata
import threading
from functools import cache

import numpy as np
from numpy.typing import NDArray

_DECOMPRESS, _WIDTH, _HEIGHT, _RGB = 1, 5, 6, 0  # TJINIT_DECOMPRESS, TJPARAM_JPEGWIDTH, ..HEIGHT, TJPF_RGB
_ON_THE_SYSTEM = ("libturbojpeg.so.0", "libturbojpeg.0.dylib")
_MCU = 16
"""A box must begin at a whole block of pixels; of all usual samplings of chroma, they are at most so wide."""
_BESIDE = 2
"""Smoothed chroma looks so many pixels further, each way."""


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "width", "height")]


def decoded_region(
    encoded: bytes | bytearray, box: tuple[int, int, int, int], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], str] | None:
    """Decode the box (left, top, right, bottom) of a baseline JPEG of width and height `size`: (h, w, 3), as stored.

    With it comes what the decoder warns of, "" if nothing. None if there is no library, or it does not do this.
    """
    functions = _library()
    if functions is None:
        return None
    left, top, right, bottom = box
    x, y = max(0, left - _BESIDE) // _MCU * _MCU, max(0, top - _BESIDE)
    width, height = min(size[0], right + _BESIDE) - x, min(size[1], bottom + _BESIDE) - y
    handle, pointer = _handle(functions), ctypes.c_void_p(np.frombuffer(encoded, np.uint8).ctypes.data)
    if functions.tj3DecompressHeader(handle, pointer, len(encoded)):
        return None
    if (functions.tj3Get(handle, _WIDTH), functions.tj3Get(handle, _HEIGHT)) != size:
        return None
    if functions.tj3SetCroppingRegion(handle, _Region(x, y, width, height)):
        return None
    pixels = np.empty((height, width, 3), np.uint8)
    failed = functions.tj3Decompress8(handle, pointer, len(encoded), pixels.ctypes.data, 3 * width, _RGB)
    said = functions.tj3GetErrorStr(handle).decode(errors="replace") if failed else ""
    return pixels[top - y : bottom - y, left - x : right - x], said


_own = threading.local()


def _handle(functions: ctypes.CDLL) -> ctypes.c_void_p:
    """Return this thread's decoder: two threads must not share one."""
    if not hasattr(_own, "handle"):
        _own.handle = ctypes.c_void_p(functions.tj3Init(_DECOMPRESS))
    handle: ctypes.c_void_p = _own.handle
    return handle


@cache
def _library() -> ctypes.CDLL | None:
    for place in _places():
        try:
            return _declared(ctypes.CDLL(place))
        except (OSError, AttributeError):  # not for this system, or older than version 3
            continue
    return None


def _places() -> list[str]:
    try:
        files = importlib.metadata.files("turbojpeg") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    own = [str(file.locate()) for file in files if file.name.startswith(("libturbojpeg", "turbojpeg-"))]
    return [*own, *_ON_THE_SYSTEM]


def _declared(functions: ctypes.CDLL) -> ctypes.CDLL:
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    functions.tj3Init.argtypes, functions.tj3Init.restype = [number], pointer
    functions.tj3Get.argtypes = [pointer, number]
    functions.tj3GetErrorStr.argtypes, functions.tj3GetErrorStr.restype = [pointer], ctypes.c_char_p
    functions.tj3DecompressHeader.argtypes = [pointer, pointer, size]
    functions.tj3SetCroppingRegion.argtypes = [pointer, _Region]
    functions.tj3Decompress8.argtypes = [pointer, pointer, size, pointer, number, number]
    return functions
