"""Pictures of every kind become the right pixels, and damaged ones one clear error."""

import io
import pickle
import random
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sample_photographs import by_pillow, photographs_here
from torchvision import transforms

from residuum.data import decode as room
from residuum.data import resize
from residuum.data.decode import BrokenPicture, Pixels, decode, decode_part, header
from residuum.data.resize import evaluation_view
from residuum.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
ORIENTATION = 274


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(values: NDArray[Any], depth: int, colour: int, before: list[bytes] = (), after: list[bytes] = ()) -> bytes:
    """A PNG written by hand: `values` are the packed rows, (H, bytes); `before` and `after` surround the pixels."""
    width = values.shape[1] * 8 // (depth * {0: 1, 2: 3, 3: 1}[colour])
    head = struct.pack(">IIBBBBB", width, len(values), depth, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    parts = [b"IHDR" + head, *before, b"IDAT" + zlib.compress(rows), *after, b"IEND"]
    chunks = (struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(pixels: bytes, width: int, height: int, order: str = "<", **tags: list[int]) -> bytes:
    """A TIFF written by hand: one strip, every tag a SHORT or a list of them."""
    numbers = {"bits": 258, "photometric": 262, "samples": 277, "extra": 338, "sample_format": 339}
    entries = {256: [width], 257: [height], 259: [1], 273: [8], 278: [height], 279: [len(pixels)]}
    entries |= {numbers[name]: values for name, values in tags.items()}
    pixels += b"\0" * (len(pixels) % 2)
    lists, directory = b"", b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            lists, packed = lists + packed, struct.pack(f"{order}I", 8 + len(pixels) + len(lists))
        directory += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    start = 8 + len(pixels) + len(lists)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    count = struct.pack(f"{order}H", len(entries))
    return magic + struct.pack(f"{order}I", start) + pixels + lists + count + directory + b"\0" * 4


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The single channel of a picture that must be grey."""
    assert pixels.ndim == 3
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def on_white(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.float64]:
    share = alpha[..., None] / 255
    return np.rint(colour * share + 255 * (1 - share))


# --- plain pictures ----------------------------------------------------------------------------

LOSSLESS = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "webp": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}


@pytest.mark.parametrize("case", LOSSLESS)
def test_lossless_pictures_come_back(case: str) -> None:
    kind, options = LOSSLESS[case]
    encoded = encode(Image.fromarray(NOISE), kind, **options)
    pixels = decode(encoded, "x")
    np.testing.assert_array_equal(pixels, NOISE)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous
    assert header(encoded, "x") == room.Header(17, 13, "RGB", kind)


def test_an_array_is_pixels_already() -> None:
    assert decode(NOISE, "x") is NOISE
    np.testing.assert_array_equal(grey_of(decode(NOISE[:, :, 1], "x")), NOISE[:, :, 1])
    assert header(NOISE[:, :, 1], "x") == room.Header(17, 13, "array", "array")


def test_photographs_decode_as_pillow_decodes_them() -> None:
    photographs, compared = photographs_here(), 0
    for number, encoded in enumerate(photographs):
        image = Image.open(io.BytesIO(encoded))  # its header alone
        if image.getexif().get(ORIENTATION, 1) == 1 and image.mode in ("RGB", "L"):
            assert np.array_equal(decode(encoded, "x"), np.asarray(by_pillow(encoded))), number
            seen = header(encoded, "x")
            assert (seen.width, seen.height, seen.mode) == (*image.size, image.mode)
            compared += 1
    assert compared >= len(photographs) // 2


# --- more than eight bits ----------------------------------------------------------------------

SIXTEEN = {
    "png": lambda: encode(Image.fromarray(RAMP), "PNG"),
    "tiff": lambda: encode(Image.fromarray(RAMP), "TIFF"),
    "tiff-lzw": lambda: encode(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
    "tiff-big-endian": lambda: tiff(RAMP.astype(">u2").tobytes()[:60000], 250, 120, ">", bits=[16], photometric=[1]),
    "pgm": lambda: b"P5 256 256 65535\n" + RAMP.astype(">u2").tobytes(),
    "png-rgb": lambda: png(np.repeat(RAMP.astype(">u2"), 3, axis=1).view(np.uint8), 16, 2),
    "integers": lambda: encode(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
}


@pytest.mark.parametrize("case", SIXTEEN)
def test_sixteen_bits_keep_their_upper_eight(case: str) -> None:
    encoded = SIXTEEN[case]()
    grey = grey_of(decode(encoded, "x")).ravel()
    np.testing.assert_array_equal(grey, (RAMP.ravel() >> 8)[: grey.size])
    if grey.size == RAMP.size:
        assert len(np.unique(grey)) == 256
    assert header(encoded, "x").deep


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_colour_tiff(order: str) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (5, 7, 3)).astype(f"{order}u2")
    encoded = tiff(values.tobytes(), 7, 5, order, bits=[16] * 3, photometric=[2], samples=[3])
    np.testing.assert_array_equal(decode(encoded, "x"), values.astype(np.uint16) >> 8)
    assert header(encoded, "x").deep


def test_eight_bits_are_not_deep() -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        assert not header(encode(Image.fromarray(NOISE), kind), "x").deep


def test_twelve_bit_tiff() -> None:
    values = np.arange(0, 4096, 4)
    pairs = values.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    encoded = tiff(packed.astype(np.uint8).tobytes(), 32, 32, bits=[12], photometric=[1])
    np.testing.assert_array_equal(grey_of(decode(encoded, "x")).ravel(), values >> 4)


def test_white_is_zero() -> None:
    small = RAMP[:, ::2]
    encoded = tiff(small.tobytes()[:60000], 128, 234, bits=[16], photometric=[0])
    np.testing.assert_array_equal(grey_of(decode(encoded, "x")), 255 - (small[:234] >> 8))


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0, 7, 255], "<i4", [0, 7, 255]),
        ([0, 256, 65535], "<i4", [0, 1, 255]),
        ([0, 1000, 100000], "<i4", [0, 3, 255]),
        ([-100, 0, 100], "<i4", [0, 128, 255]),
        ([0, 2**31, 2**32 - 1], "<u4", [0, 128, 255]),
        ([-32768, 0, 32767], "<i2", [0, 128, 255]),
        ([70000, 70000, 70000], "<i4", [0, 0, 0]),
    ],
)
def test_integers(values: list[int], kind: str, expected: list[int]) -> None:
    array = np.array(values, kind)
    form = 2 if array.dtype.kind == "i" else 1
    encoded = tiff(array.tobytes(), 3, 1, bits=[array.itemsize * 8], photometric=[1], samples=[1], sample_format=[form])
    assert grey_of(decode(encoded, "x")).ravel().tolist() == expected
    assert header(encoded, "x").deep


def test_a_dark_sixteen_bit_pgm_stays_dark() -> None:
    values = np.array([[0, 200, 255]], ">u2")
    assert not decode(b"P5 3 1 65535\n" + values.tobytes(), "x").any()


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floats_fill_their_range(top: float) -> None:
    values = np.linspace(0, top, 256, dtype=np.float32).reshape(16, 16)
    encoded = encode(Image.fromarray(values), "TIFF")
    np.testing.assert_array_equal(grey_of(decode(encoded, "x")).ravel(), np.arange(256))
    assert header(encoded, "x").deep


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0000001], [0, 128, 255]),  # rounding past 1 does not make a black picture
        ([-0.0001, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 1.5, 2.0], [0, 2, 2]),
        ([-10.0, 0.0, 10.0], [0, 128, 255]),
        ([0.0, 5e5, 1e6], [0, 128, 255]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
    ],
)
def test_other_floats(values: list[float], expected: list[int]) -> None:
    encoded = encode(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert grey_of(decode(encoded, "x")).ravel().tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floats_must_be_finite(bad: float) -> None:
    with pytest.raises(BrokenPicture, match="NaN or infinity"):
        decode(encode(Image.fromarray(np.array([[0, bad]], np.float32)), "TIFF"), "x")


# --- transparency ------------------------------------------------------------------------------


def test_alpha_is_flattened_on_white() -> None:
    alpha = np.random.default_rng(2).integers(0, 256, (13, 17), np.uint8)
    rgba = Image.fromarray(np.dstack([NOISE, alpha]))
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        np.testing.assert_array_equal(decode(encode(rgba, kind, **options), "x"), on_white(NOISE, alpha))
    grey = NOISE[:, :, 0]
    la = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(grey_of(decode(encode(la, kind), "x")), on_white(grey[..., None], alpha)[..., 0])


def test_premultiplied_grey() -> None:
    encoded = tiff(bytes([0, 0, 64, 128, 200, 255]), 3, 1, bits=[8, 8], photometric=[1], samples=[2], extra=[1])
    assert header(encoded, "x").mode == "La"
    found = grey_of(decode(encoded, "x")).ravel().astype(int)
    assert np.abs(found - [255, 191, 200]).max() <= 1


def test_palette_with_and_without_transparency() -> None:
    palette = Image.fromarray(NOISE).quantize(32)
    opaque = np.asarray(palette.convert("RGB"))
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        np.testing.assert_array_equal(decode(encode(palette, kind), "x"), opaque)
    index = np.asarray(palette)
    one_clear = np.where((index == 5)[..., None], 255, opaque)
    np.testing.assert_array_equal(decode(encode(palette, "PNG", transparency=5), "x"), one_clear)
    np.testing.assert_array_equal(decode(encode(palette, "GIF", transparency=5), "x"), one_clear)
    alphas = np.arange(32, dtype=np.uint8) * 8
    shaded = decode(encode(palette, "PNG", transparency=alphas.tobytes()), "x")
    np.testing.assert_array_equal(shaded, on_white(opaque, alphas[index]))
    with_alpha = palette.convert("PA")
    np.testing.assert_array_equal(decode(encode(with_alpha, "TIFF"), "x"), opaque)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_one_transparent_grey(depth: int) -> None:
    top = 2**depth - 1
    packed = np.arange(256, dtype=np.uint8)[None]
    bits = np.unpackbits(packed).reshape(-1, depth)
    values = bits @ (1 << np.arange(depth)[::-1])
    expected = np.where(values == 1, 255, values * 255 // top)
    encoded = png(packed, depth, 0, before=[b"tRNS" + struct.pack(">H", 1)])
    np.testing.assert_array_equal(grey_of(decode(encoded, "x")).ravel(), expected)


def test_one_transparent_colour_of_sixteen_bits() -> None:
    grey = np.array([[0x1234, 0x12FF, 0x8000]], ">u2").view(np.uint8)
    key = struct.pack(">H", 0x1234)
    found = grey_of(decode(png(grey, 16, 0, before=[b"tRNS" + key]), "x"))
    assert found.ravel().tolist() == [255, 0x12, 0x80]
    colour = np.array([[0x1234, 0x5678, 0x9ABC, 0x1234, 0x5678, 0]], ">u2").view(np.uint8)
    key = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)
    found = decode(png(colour, 16, 2, before=[b"tRNS" + key]), "x")
    assert found.tolist() == [[[255, 255, 255], [0x12, 0x56, 0]]]


def test_one_transparent_colour_of_eight_bits() -> None:
    encoded = encode(Image.fromarray(NOISE), "PNG", transparency=tuple(NOISE[3, 4].tolist()))
    expected = NOISE.copy()
    expected[(NOISE[3, 4] == NOISE).all(axis=2)] = 255
    np.testing.assert_array_equal(decode(encoded, "x"), expected)


# --- colour spaces -----------------------------------------------------------------------------

PATCHES = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 40]])


def patches(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Patches of 16×16, so that JPEG keeps each colour."""
    return np.repeat(np.repeat(values[None].astype(np.uint8), 16, axis=0), 16, axis=1)


def centres(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    return pixels[8, 8::16].astype(np.int64)


def test_cmyk() -> None:
    ink = np.hstack([255 - PATCHES, np.zeros((6, 1), int)])
    ink[5] = [10, 90, 170, 50]  # with some black
    expected = np.rint((255 - ink[:, :3]) * (255 - ink[:, 3:]) / 255)
    cmyk = Image.frombytes("CMYK", (96, 16), patches(ink).tobytes())
    for kind, options in (("TIFF", {}), ("JPEG", {"quality": 100})):
        found = centres(decode(encode(cmyk, kind, **options), "x"))
        assert np.abs(found - expected).max() <= 2


def test_ycck_jpeg() -> None:
    """Adobe stores the inverse of CMYK as YCbCr and K: a file of four plain channels, then marked so."""
    wanted = PATCHES * 0.8
    inverse = 255 - PATCHES
    y = inverse @ [0.299, 0.587, 0.114]
    cb, cr = 128 + (inverse[:, 2] - y) / 1.772, 128 + (inverse[:, 0] - y) / 1.402
    stored = np.clip(np.rint(np.stack([y, cb, cr, np.full(6, 204.0)], axis=1)), 0, 255)
    planes = Image.frombytes("CMYK", (96, 16), patches(255 - stored).tobytes())
    encoded = encode(planes, "JPEG", quality=100)
    place = encoded.index(b"Adobe") + 11
    assert encoded[place] == 0
    ycck = encoded[:place] + b"\2" + encoded[place + 1 :]
    assert np.abs(centres(decode(ycck, "x")) - wanted).max() <= 4


def test_lab_tiff() -> None:
    """Against the definition of CIE L*a*b* (D50) and sRGB."""
    lab = np.array([[50, 0, 0], [100, 0, 0], [60, 40, 30], [40, -30, 20], [70, 5, -25]], float)
    f = np.stack([(lab[:, 0] + 16) / 116 + lab[:, 1] / 500, (lab[:, 0] + 16) / 116], 1)
    f = np.hstack([f, f[:, 1:] - lab[:, 2:] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1.0, 0.8249]
    to_srgb = np.array(
        [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]  # from D50
    )
    linear = np.clip(xyz @ to_srgb.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    stored = np.stack([lab[:, 0] * 2.55, lab[:, 1] % 256, lab[:, 2] % 256], 1).astype(np.uint8)
    encoded = tiff(stored.tobytes(), 5, 1, bits=[8] * 3, photometric=[8], samples=[3])
    assert header(encoded, "x").mode == "LAB"
    assert np.abs(decode(encoded, "x")[0] - srgb).max() <= 3


def test_one_bit_and_grey() -> None:
    grey = NOISE[:, :, 0]
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        black_or_white = Image.fromarray(grey).point(lambda v: 255 * (v > 99), "1")
        found = grey_of(decode(encode(black_or_white, kind), "x"))
        np.testing.assert_array_equal(found, np.where(grey > 99, 255, 0))
        np.testing.assert_array_equal(grey_of(decode(encode(Image.fromarray(grey), kind), "x")), grey)


# --- several frames ----------------------------------------------------------------------------


def test_first_of_a_thousand_frames() -> None:
    rng = np.random.default_rng(3)
    frames = [Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)) for _ in range(1000)]
    encoded = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    began = time.process_time()
    pixels = decode(encoded, "x")
    assert header(encoded, "x").several
    assert time.process_time() - began < 1
    np.testing.assert_array_equal(grey_of(pixels), np.asarray(frames[0]))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_first_frame(kind: str) -> None:
    frames = [Image.fromarray(np.full((4, 6, 3), v, np.uint8)) for v in (10, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode(encoded, "x") == 10).all()
    assert header(encoded, "x").several
    assert not header(encode(frames[0], kind), "x").several


def test_a_jpeg_with_a_preview_is_a_jpeg() -> None:
    image = Image.fromarray(NOISE)
    encoded = encode(image, "MPO", save_all=True, append_images=[image.resize((4, 4))])
    np.testing.assert_array_equal(decode(encoded, "x"), decode(encode(image, "JPEG"), "x"))
    assert header(encoded, "x") == room.Header(17, 13, "RGB", "JPEG")


# --- orientation -------------------------------------------------------------------------------


def exif(orientation: int) -> Image.Exif:
    notes = Image.Exif()
    notes[ORIENTATION] = orientation
    return notes


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_is_made_upright(orientation: int, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(Image.fromarray(NOISE), kind, exif=exif(orientation), **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    pixels = decode(encoded, "x")
    np.testing.assert_array_equal(pixels, np.asarray(upright))
    assert pixels.flags.c_contiguous
    seen = header(encoded, "x")
    assert (seen.height, seen.width) == pixels.shape[:2]
    assert seen.turned == (orientation > 1)


def test_the_eight_orientations_of_one_scene_are_one_picture() -> None:
    """Stored as the standard says: e.g. 6, the stored first row is the right side of the scene."""
    stored = {
        1: NOISE,
        2: NOISE[:, ::-1],
        3: NOISE[::-1, ::-1],
        4: NOISE[::-1],
        5: NOISE.transpose(1, 0, 2),
        6: NOISE.transpose(1, 0, 2)[::-1],
        7: NOISE.transpose(1, 0, 2)[::-1, ::-1],
        8: NOISE.transpose(1, 0, 2)[:, ::-1],
    }
    for orientation, pixels in stored.items():
        encoded = encode(Image.fromarray(np.ascontiguousarray(pixels)), "PNG", exif=exif(orientation))
        np.testing.assert_array_equal(decode(encoded, "x"), NOISE)


def test_orientation_behind_the_pixels() -> None:
    rows = NOISE.reshape(13, -1)
    notes = exif(6).tobytes().removeprefix(b"Exif\0\0")
    xmp = b'<x tiff:Orientation="8"/>'
    packed = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)
    for chunk, turns in ((b"eXIf" + notes, -1), (packed, 1)):
        for encoded in (png(rows, 8, 2, before=[chunk]), png(rows, 8, 2, after=[chunk])):
            np.testing.assert_array_equal(decode(encoded, "x"), np.rot90(NOISE, turns))
            assert header(encoded, "x") == room.Header(13, 17, "RGB", "PNG", turned=True)


def test_orientation_of_a_tiff_in_xmp_alone() -> None:
    encoded = encode(Image.fromarray(NOISE), "TIFF", tiffinfo={700: b'<x tiff:Orientation="6"/>'})
    np.testing.assert_array_equal(decode(encoded, "x"), np.rot90(NOISE, -1))
    assert header(encoded, "x") == room.Header(13, 17, "RGB", "TIFF", turned=True)


@pytest.mark.parametrize("notes", [b"", b"II", b"no notes at all", exif(6).tobytes()[6:20]])
def test_damaged_notes_leave_the_picture_as_stored(notes: bytes) -> None:
    encoded = encode(Image.fromarray(NOISE), "PNG", exif=b"Exif\0\0" + notes)
    np.testing.assert_array_equal(decode(encoded, "x"), NOISE)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none(value: int) -> None:
    encoded = encode(Image.fromarray(NOISE), "PNG", exif=exif(value))
    np.testing.assert_array_equal(decode(encoded, "x"), NOISE)
    assert not header(encoded, "x").turned


# --- what cannot be decoded --------------------------------------------------------------------


def empty_png(width: int, height: int) -> bytes:
    blank = png(np.zeros((1, 3), np.uint8), 8, 2)
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return blank[:12] + head + struct.pack(">I", zlib.crc32(head)) + blank[33:]


BOMBS = {
    "png": empty_png(50_000, 50_000),
    "png-below-pillow's-limit": empty_png(10_001, 10_000),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 50_000, 50_000, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\0;",
    "ppm": b"P6 50000 50000 255\n",
    "webp": encode(Image.new("RGB", (20, 1)), "WEBP"),
}


@pytest.mark.parametrize("read", [decode, header])
@pytest.mark.parametrize("case", [name for name in BOMBS if name != "webp"])
def test_a_bomb_is_refused_from_its_header(case: str, read: Callable[..., Any]) -> None:
    room.header(BOMBS["webp"], "x")  # whatever Pillow does once is done
    began = time.process_time()
    with pytest.raises(BrokenPicture, match="100 million pixels"):
        read(BOMBS[case], "x")
    assert time.process_time() - began < 0.05


def test_just_below_the_limit_there_is_no_warning() -> None:
    assert header(empty_png(10_000, 10_000), "x").width == 10_000


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        (b"", "the file is empty"),
        (b"\n <!DOCTYPE html><title>404</title>", "HTML"),
        (b"<html></html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS"),
        (b"\x89PNG\r\n\x1a\n\0\0", "begins like PNG"),
        (b"\xff\xd8\xff", "begins like JPEG"),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "it is PostScript",
        ),
        (b"\0" * 100, "it holds zeros"),
        (encode(Image.fromarray(NOISE), "ICO"), "it is an icon"),
        (b"notes of mine", "none of PNG, JPEG, WEBP, BMP, GIF, TIFF, PPM, AVIF"),
        (encode(Image.fromarray(NOISE), "JPEG")[:-60], "truncated"),
    ],
)
def test_the_cause_is_named(encoded: bytes, why: str) -> None:
    with pytest.raises(BrokenPicture) as caught:
        decode(encoded, "cats/tom.jpg")
    assert "cats/tom.jpg" in caught.value.what
    assert why in caught.value.why
    assert "object at 0x" not in str(caught.value)


def test_a_broken_picture_survives_the_trip_between_processes() -> None:
    error = BrokenPicture("what", "why", "mend")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(copy) is BrokenPicture
    assert isinstance(copy, UserError)
    assert (copy.what, copy.why, copy.mend) == ("what", "why", "mend")


def animated(kind: str) -> bytes:
    frame = Image.fromarray(NOISE)
    return encode(frame, kind, save_all=True, append_images=[frame.transpose(Image.Transpose.ROTATE_180)])


SOUND = {
    "png": encode(Image.fromarray(NOISE), "PNG", exif=exif(6)),
    "png-palette": encode(Image.fromarray(NOISE).quantize(64), "PNG", transparency=bytes(range(64))),
    "png-16": encode(Image.fromarray(RAMP[:9, :9]), "PNG"),
    "apng": animated("PNG"),
    "jpeg": encode(Image.fromarray(NOISE), "JPEG", exif=exif(6)),
    "jpeg-progressive": encode(Image.fromarray(NOISE), "JPEG", progressive=True),
    "jpeg-cmyk": encode(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "mpo": animated("MPO"),
    "webp": encode(Image.fromarray(NOISE), "WEBP", exif=exif(6)),
    "webp-lossless": encode(Image.fromarray(NOISE).convert("RGBA"), "WEBP", lossless=True),
    "webp-animated": animated("WEBP"),
    "gif": animated("GIF"),
    "bmp": encode(Image.fromarray(NOISE), "BMP"),
    "bmp-palette": encode(Image.fromarray(NOISE).quantize(64), "BMP"),
    "tiff": animated("TIFF"),
    "tiff-lzw": encode(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw", exif=exif(6)),
    "tiff-jpeg": encode(Image.fromarray(NOISE), "TIFF", compression="jpeg"),
    "tiff-float": encode(Image.fromarray(NOISE[:, :, 0].astype(np.float32)), "TIFF"),
    "ppm": encode(Image.fromarray(NOISE), "PPM"),
    "pgm-16": encode(Image.fromarray(RAMP[:9, :9]), "PPM"),
}


def attempt(read: Callable[..., Any], encoded: bytes) -> Any:
    """What `read` makes of damaged bytes, or None where it says that they are broken; no other error passes."""
    try:
        return read(encoded, "x")
    except BrokenPicture:
        return None


def right_half(encoded: bytes, name: str) -> Pixels:
    """What training decodes: here for a view of 2×2, so that a JPEG of 17×13 is decoded at 1/4."""
    return decode_part(encoded, name, lambda width, height: (width / 2, 0.0, float(width), float(height)), 2)


def picture_or_broken(encoded: bytes) -> bool:
    """Whether damaged bytes still decode, which must then give pixels that the header announced."""
    pixels, seen = attempt(decode, encoded), attempt(header, encoded)
    part = attempt(right_half, encoded)
    assert part is None or (part.dtype == np.uint8 and part.ndim == 3 and part.size > 0)
    if pixels is None:
        return False
    assert pixels.dtype == np.uint8
    assert seen is not None
    assert pixels.shape == (seen.height, seen.width, 3)
    return True


@pytest.fixture(autouse=True)
def _filters_stay() -> Iterator[None]:
    before = list(warnings.filters)
    yield
    assert list(warnings.filters) == before


@pytest.mark.parametrize("case", SOUND)
def test_cut_off_anywhere(case: str) -> None:
    encoded = SOUND[case]
    assert picture_or_broken(encoded)
    cuts = np.unique(np.linspace(0, len(encoded) - 1, 50).astype(int))
    whole = [picture_or_broken(encoded[:cut]) for cut in cuts]
    assert not whole[0]
    assert not all(whole[:40])


# Hypothesis draws a seed for many files: to draw each of them takes longer than to try it.


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_flipped_bytes(seed: int) -> None:
    chance, sound = random.Random(seed), list(SOUND.values())
    with mock.patch.object(room, "MAX_PIXELS", 100_000):  # a header flipped to huge costs only time
        for _ in range(50):
            damaged = bytearray(chance.choice(sound))
            for _ in range(chance.randint(1, 6)):
                place = chance.randrange(min(len(damaged), chance.choice([64, 2**16])))
                damaged[place] ^= chance.randint(1, 255)
            picture_or_broken(bytes(damaged))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_sound_beginnings_with_other_ends(seed: int) -> None:
    chance, sound = random.Random(seed), list(SOUND.values())
    with mock.patch.object(room, "MAX_PIXELS", 100_000):
        for _ in range(30):
            kept, rest = chance.randint(0, 40), chance.randbytes(chance.randint(0, 60))
            picture_or_broken(chance.choice(sound)[:kept] + rest)


def test_many_threads_leave_the_warning_filters_alone() -> None:
    before = list(warnings.filters)
    damaged = SOUND["tiff-lzw"][:-30] + b"\xff" * 30
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(picture_or_broken, [SOUND["png"], damaged, b"", SOUND["gif"]] * 100))
    assert list(warnings.filters) == before
    assert kept[0]
    assert not kept[2]


# --- the evaluation view -----------------------------------------------------------------------


def torchvision_view(
    pixels: NDArray[np.uint8], image_size: int, resize_to: int, interpolation: str = "bilinear"
) -> NDArray[np.uint8]:
    resize = transforms.Resize(resize_to, transforms.InterpolationMode(interpolation))
    view = transforms.Compose([resize, transforms.CenterCrop(image_size)])
    return np.asarray(view(Image.fromarray(pixels)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_evaluation_view_is_torchvisions(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(15):
        height, width = (chance.choice([chance.randint(1, 120), chance.randint(1, 12)]) for _ in range(2))
        image_size, margin = chance.randint(1, 70), chance.choice([0, chance.randint(0, 20)])
        pixels = np.frombuffer(chance.randbytes(height * width * 3), np.uint8).reshape(height, width, 3)
        view = evaluation_view(pixels, image_size, image_size + margin)
        expected = torchvision_view(pixels, image_size, image_size + margin)
        assert np.array_equal(view, expected), (height, width, image_size, margin)
        assert view.flags.c_contiguous


@pytest.mark.parametrize("shape", [(2, 300), (300, 2), (1, 111), (375, 500), (224, 224), (256, 301)])
def test_evaluation_view_of_elongated_and_usual_pictures(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (*shape, 3), np.uint8)
    large = 224 if min(shape) > 2 else 56  # the other side is more than a hundred times as long
    for sides in ((large, large * 8 // 7), (large, large), (32, 32), (31, 40)):
        np.testing.assert_array_equal(evaluation_view(pixels, *sides), torchvision_view(pixels, *sides))


@pytest.mark.parametrize("shape", [(2, 300), (375, 500), (224, 224), (40, 37)])
def test_bicubic_view_is_torchvisions_and_not_the_bilinear(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (*shape, 3), np.uint8)
    for sides in ((224, 235) if min(shape) > 2 else (56, 59), (31, 41)):
        view = evaluation_view(pixels, *sides, "bicubic")
        np.testing.assert_array_equal(view, torchvision_view(pixels, *sides, "bicubic"))
        assert (view != evaluation_view(pixels, *sides)).any()


def test_a_view_of_the_right_size_is_the_picture() -> None:
    np.testing.assert_array_equal(evaluation_view(NOISE[:, :13], 13, 13), NOISE[:, :13])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_slivers_are_resized_where_they_are_kept(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        height, width, side, margin = (chance.randint(low, high) for low, high in ((1, 60), (1, 60), (1, 30), (0, 9)))
        pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        with mock.patch.object(resize, "MAX_PIXELS", 0):
            view = evaluation_view(pixels, side, side + margin).astype(int)
        assert np.abs(view - torchvision_view(pixels, side, side + margin)).max() <= 2, (height, width, side, margin)


def test_an_extreme_sliver_takes_no_memory() -> None:
    pixels = np.full((30_000, 1, 3), 7, np.uint8)  # resized whole it would be 256 × 7,680,000
    pixels[:10_000] = 200
    assert (evaluation_view(pixels, 224, 256) == 7).all()
