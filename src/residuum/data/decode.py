"""From a picture file to pixels: the one way in for training, prediction and checking.

Letters: H, W the picture's height and width; pixels are RGB, 0..255.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    ExifTags,
    Image,
    ImageFile,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from residuum.data.boxes import whole_pixels
from residuum.data.deep import Span, extremes, is_deep_grey, to_grey
from residuum.data.jpeg import Frame, PartOf, frame_of, needed, stored_part, stored_whole
from residuum.data.kinds import START, picture_kind, why_not_read
from residuum.data.png_notes import may_be_turned, without_notes
from residuum.errors import UserError

Pixels = NDArray[np.uint8]

MAX_PIXELS = 100_000_000
"""A picture whose header announces more is refused before any of it is decoded."""

# Named one by one, so that Pillow tries these alone (never EPS, which runs a program). It imports five of their
# plugins itself, and the other three are imported here: else it would go through all that it has.
_WEBP, _TIFF = WebPImagePlugin.WebPImageFile.format, TiffImagePlugin.TiffImageFile.format
FORMATS = ["PNG", "JPEG", _WEBP, "BMP", "GIF", _TIFF, "PPM", AvifImagePlugin.AvifImageFile.format]

_ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # where Pillow looks for it
_SPECIAL = {"transparency", *_ORIENTED}
_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class BrokenPicture(UserError):  # noqa: N818 - it names the picture's state
    """A file that is no picture, is damaged, or is too large; `why` holds the cause."""


class TooManyPixels(BrokenPicture):
    """A picture whose header announces more pixels than are decoded."""


class MorePixelsThanAllowed(TooManyPixels):
    """One with more than whoever asked allows, but no more than MAX_PIXELS."""


@dataclass(frozen=True)
class Header:
    """What a file's header tells: `width` and `height` are those of the upright picture, as decoded.

    `mode` and `format` are Pillow's names, both "array" where a source has no files; `turned`: EXIF says that
    the picture is stored turned or mirrored; `several`: more frames or pages follow the first; `deep`: more
    than 8 bits a channel.
    """

    width: int
    height: int
    mode: str
    format: str
    turned: bool = False
    several: bool = False
    deep: bool = False


def decode(encoded: bytes | Pixels, name: str, most: int = MAX_PIXELS, span: Span | None = None) -> Pixels:
    """Return the picture as (H, W, 3): upright, alpha flattened on white, the first frame of several.

    An array, (H, W) or (H, W, 3), is pixels already; the result may then share its memory.

    Values of more than 8 bits are scaled, never clipped. 16-bit integers keep their upper eight bits, as
    Pillow itself does for 16-bit RGB. A picture of floats within 0..1, else 0..255, else 0..65535 is taken to
    have that range; one of 32-bit integers likewise, without 0..1. Any other is stretched from its least
    value to its greatest. Where the `span` of the picture's set is given, greys of more than 8 bits are scaled by it.

    Raises:
        BrokenPicture: the bytes are no picture, are damaged, or announce more than `most` pixels, at most MAX_PIXELS.
    """
    if isinstance(encoded, np.ndarray):
        return _grey(encoded) if encoded.ndim == 2 else encoded
    with _only_broken_pictures(name):
        image = _open(encoded, name, most)
        whole = _whole_jpeg(image, encoded)
        if whole is not None:
            return _upright(whole, _orientation(image))
        image.load()
        if image.mode == "RGB" and _SPECIAL.isdisjoint(image.info):
            return np.array(image)
        return _upright(_to_rgb(image, encoded, name, span), _orientation(image))


def decode_opened(image: Image.Image, name: str, span: Span | None = None) -> Pixels:
    """Return an image that Pillow has opened as `decode` returns a file (BrokenPicture as there); it stays as it is."""
    with _only_broken_pictures(name):
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(name)
        image.load()
        twin = object.__new__(type(image))  # the same pixels, notes of its own: converting takes some out
        vars(twin).update(vars(image), info=dict(image.info))
        return _upright(_to_rgb(twin, b"", name, span), _orientation(twin))


def decode_part(encoded: bytes | Pixels, name: str, part_of: PartOf, least: int, span: Span | None = None) -> Pixels:
    """Decode the part of the picture, (h, w, 3), that a view of `least` × `least` pixels is made from.

    `part_of` chooses it from the width and height of the upright picture; its edges are rounded to whole
    decoded pixels. A JPEG is decoded at the scale that the view needs (`decoding_scale`), all else in full.

    Raises:
        BrokenPicture: as from `decode`.
    """
    if isinstance(encoded, bytes) and encoded.startswith(b"\xff\xd8\xff"):
        frame = frame_of(encoded)
        if frame and frame.plain and frame.width * frame.height <= MAX_PIXELS:
            stored = stored_part(encoded, frame, 1, part_of, least)
            if stored is not None:
                return stored
        with _only_broken_pictures(name):
            return _part_of_jpeg(_open(encoded, name), encoded, frame, part_of, least)
    pixels = decode(encoded, name, span=span)
    height, width = pixels.shape[:2]
    left, top, right, bottom = whole_pixels(part_of(width, height), 1, (width, height))
    return pixels[top:bottom, left:right].copy()


def header(encoded: bytes | Pixels, name: str) -> Header:
    """Read the header alone (BrokenPicture if the header is unreadable or announces more than MAX_PIXELS)."""
    if isinstance(encoded, np.ndarray):
        return Header(encoded.shape[1], encoded.shape[0], "array", "array")
    with _only_broken_pictures(name):
        image = _open(encoded, name)
        kind = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a JPEG with previews behind it
        mode, deep = image.mode, _is_deep(image)
        several = _has_several(image)
        turned = image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
        if _orientation_is_late(image, encoded):
            image.load()
        orientation = _orientation(image)
        width, height = image.size if orientation < 5 else reversed(image.size)
        return Header(width, height, mode, kind, turned or orientation > 1, several, deep)


def grey_extremes(encoded: bytes | Pixels, name: str) -> tuple[float, float] | None:
    """Return the least and greatest of greys of more than 8 bits, of 16 (deep.extremes); None for other pictures.

    Raises:
        BrokenPicture: as from `decode`.
    """
    if isinstance(encoded, np.ndarray) or encoded[:2] == b"\xff\xd8" or (encoded[:2] == b"\x89P" and encoded[24] != 16):
        return None
    with _only_broken_pictures(name):
        image = _open(encoded, name)
        if not is_deep_grey(image):
            return None
        image.load()
        return extremes(image)


# --- opening -----------------------------------------------------------------------------------


@contextmanager
def _only_broken_pictures(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on damaged bytes into BrokenPicture, and keep its warnings to ourselves.

    `warnings.catch_warnings` is not for threads: two that overlap can leave each other's filters behind.
    Adding one entry and taking one away can not.
    """
    filters = cast(list[Any], warnings.filters)
    filters.insert(0, _PILLOW_WARNINGS)
    try:
        yield
    except BrokenPicture:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except Exception as error:  # Pillow raises a dozen types here, MemoryError and AssertionError among them
        raise broken(name, str(error)[:200] or type(error).__name__) from error
    finally:
        if _PILLOW_WARNINGS in filters:
            filters.remove(_PILLOW_WARNINGS)


def _open(encoded: bytes, name: str, most: int = MAX_PIXELS) -> ImageFile.ImageFile:
    formats = _formats(encoded)
    try:
        image = Image.open(io.BytesIO(without_notes(encoded)), formats=formats)
    except UnidentifiedImageError as error:
        raise broken(name, why_not_read(encoded[:START], reads_heic=formats is not FORMATS)) from error
    if image.width * image.height > min(most, MAX_PIXELS):
        raise _too_large(name, most if image.width * image.height <= MAX_PIXELS else MAX_PIXELS)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_raw(image):
        raise broken(name, "it is a camera's raw picture, of which a small preview alone is there; convert it to JPEG")
    return image


def heif_version() -> str:
    """Return the version of the package that reads HEIC, empty where it is not here."""
    try:
        return version("pillow_heif")
    except PackageNotFoundError:
        return ""


def _formats(encoded: bytes) -> list[str]:
    """Return what Pillow is to try: HEIC is read by a package of its own, where that is here."""
    if encoded[4:8] != b"ftyp" or picture_kind(encoded[:START]) != "HEIC":
        return FORMATS
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return FORMATS
    register_heif_opener(thumbnails=False)
    return ["HEIF"]


def _is_raw(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Say whether the first picture stands for a larger one (NewSubfileType), or the file is a DNG (DNGVersion)."""
    part = image.tag_v2.get(254, 0)
    return (isinstance(part, int) and part & 1 == 1) or 50706 in image.tag_v2


def _whole_jpeg(image: ImageFile.ImageFile, encoded: bytes) -> Pixels | None:
    """Decode a sound JPEG of the usual kind in two thirds of Pillow's time, to the same bits; None for all others."""
    frame = frame_of(encoded) if encoded.startswith(b"\xff\xd8\xff") else None
    if frame is None or (frame.width, frame.height) != image.size:
        return None
    return stored_whole(encoded, frame)


def _part_of_jpeg(
    image: ImageFile.ImageFile, encoded: bytes, frame: Frame | None, part_of: PartOf, least: int
) -> Pixels:
    orientation, (width, height) = _orientation(image), image.size
    if frame and (frame.width, frame.height) == image.size:
        stored = stored_part(encoded, frame, orientation, part_of, least)
        if stored is not None:
            return _upright(stored, orientation)
    if not getattr(image, "quantization", None):  # a lossless JPEG has no blocks to shrink
        least = max(image.size) + 1
    scale, corners = needed(part_of, orientation, image.size, least)
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    part = image.crop(corners)
    return _upright(np.array(part if part.mode == "RGB" else part.convert("RGB")), orientation)


def broken(name: str, cause: str) -> BrokenPicture:
    """Return what is raised of a picture that cannot be read, by its cause."""
    return BrokenPicture(f"cannot read {_picture(name)}", cause, "replace or remove it")


def _too_large(name: str, most: int = MAX_PIXELS) -> BrokenPicture:
    why = f"its header announces more than {min(most, MAX_PIXELS) / 1e6:g} million pixels, the most that is decoded"
    kind = MorePixelsThanAllowed if most < MAX_PIXELS else TooManyPixels
    return kind(f"cannot read {_picture(name)}", why, "make it smaller")


def _picture(name: str) -> str:
    """Return what a picture is called in a sentence; one without a file is "picture 1" already."""
    return name if name.startswith("picture ") else f"the picture {name}"


# --- orientation -------------------------------------------------------------------------------


def _orientation(image: Image.Image) -> int:
    """Return EXIF's 1..8; 1 where there is none. TIFF is 1 always: Pillow turns it while loading."""
    if image.format == "TIFF" or _ORIENTED.isdisjoint(image.info):
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged notes beside a sound picture
        return 1
    return int(value) if value in range(1, 9) else 1


def _orientation_is_late(image: ImageFile.ImageFile, encoded: bytes) -> bool:
    """Say whether only loading tells: PNG may note it behind the pixels, TIFF in XMP alone."""
    if image.format == "PNG":
        return may_be_turned(encoded)
    return image.format == "TIFF" and "xmp" in image.info


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo what EXIF says: 2 to 4 mirror or turn by 180°, 5 to 8 also swap rows and columns."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


# --- modes -------------------------------------------------------------------------------------


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Say whether the file holds more than 8 bits a channel; Pillow's raw mode tells before loading."""
    packing = str(image.tile[0].args) if image.tile else ""
    return image.mode in ("I", "F") or re.search(r";(12|16|32)", packing) is not None


def _has_several(image: ImageFile.ImageFile) -> bool:
    """Say whether frames or pages follow the first; damaged ones count, for the first may be sound."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:
        return True


def _to_rgb(image: Image.Image, encoded: bytes, name: str, span: Span | None) -> Pixels:
    """Convert a loaded picture of any mode to (H, W, 3)."""
    if is_deep_grey(image):
        grey = to_grey(image, span)
        if isinstance(grey, str):
            raise broken(name, grey)
        return _grey(grey)
    if image.mode in ("LA", "La", "PA", "RGBA") or (image.mode == "P" and image.has_transparency_data):
        return _on_white(image)
    key = image.info.pop("transparency", None)
    pixels = np.array(image.convert("RGB"))
    if key is not None:  # one colour stands for "nothing here"
        pixels[(pixels == _key_colour(key, image, encoded)).all(axis=2)] = 255
    return pixels


def _grey(values: Pixels) -> Pixels:
    """(H, W) to (H, W, 3)."""
    return np.repeat(values[:, :, None], 3, axis=2)


def _on_white(image: Image.Image) -> Pixels:
    if image.mode == "La":  # Pillow converts premultiplied grey to nothing else
        image = image.convert("LA")
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image)
    return np.array(canvas)


def _key_colour(key: Any, image: Image.Image, encoded: bytes) -> NDArray[np.int64]:
    """Bring a PNG's transparent colour, given at the file's depth, to the 8 bits that Pillow gives pixels."""
    depth = encoded[24] if encoded and image.format == "PNG" and image.mode != "1" else 8
    return np.asarray(key, np.int64) * 255 // (2**depth - 1) if depth < 8 else np.asarray(key) >> (depth - 8)


def as_file(encoded: bytes | Pixels) -> bytes:
    """Return a picture's file; of pixels a PNG, which keeps them."""
    if isinstance(encoded, bytes):
        return encoded
    file = io.BytesIO()
    Image.fromarray(encoded).save(file, "PNG")
    return file.getvalue()
