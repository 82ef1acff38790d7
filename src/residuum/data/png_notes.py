"""PNG without its notes: they say nothing of the pixels, and Pillow refuses a picture for long ones."""

import struct
from collections.abc import Iterator

_BEGINNING = b"\x89PNG\r\n\x1a\n"
_NOTES = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
_TURNED = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")  # may say that the picture is stored turned
_LONGEST = 1 << 18


def without_notes(encoded: bytes) -> bytes:
    """Return the file less its notes, but those of moderate length that may say how it is turned; others as they are.

    What is cut off or damaged stays so, for the decoder to say.
    """
    if not encoded.startswith(_BEGINNING) or not any(kind in _NOTES for kind, _, _ in _chunks(encoded)):
        return encoded
    kept, end = [_BEGINNING], len(_BEGINNING)
    for kind, place, end in _chunks(encoded):
        if kind not in _NOTES or (end - place <= _LONGEST + 12 and encoded.startswith(_TURNED, place + 8)):
            kept.append(encoded[place:end])
    return b"".join([*kept, encoded[end:]])


def may_be_turned(encoded: bytes) -> bool:
    """Say whether a note of a PNG, before the pixels or behind, may tell that the picture is stored turned."""
    return any(
        kind == b"eXIf" or (kind in _NOTES and encoded.startswith(_TURNED, place + 8))
        for kind, place, _ in _chunks(encoded)
    )


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind, where it begins, and where the next one would."""
    place = len(_BEGINNING)
    while place + 8 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, place)
        yield kind, place, place + 12 + length
        place += 12 + length
