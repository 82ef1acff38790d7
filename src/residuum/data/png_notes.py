"""PNG without its notes: they say nothing of the pixels, and Pillow refuses a picture for long ones."""

import struct

_BEGINNING = b"\x89PNG\r\n\x1a\n"
_NOTES = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
_TURNED = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")  # may say that the picture is stored turned
_LONGEST = 1 << 18


def without_notes(encoded: bytes) -> bytes:
    """Return the file less its notes, but those of moderate length that may say how it is turned; others as they are.

    What is cut off or damaged stays so, for the decoder to say.
    """
    if not encoded.startswith(_BEGINNING) or not any(kind in encoded for kind in _NOTES):
        return encoded
    kept, place = [_BEGINNING], len(_BEGINNING)
    while place + 8 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, place)
        end = place + 12 + length
        if kind not in _NOTES or (length <= _LONGEST and encoded.startswith(_TURNED, place + 8)):
            kept.append(encoded[place:end])
        place = end
    return b"".join([*kept, encoded[place:]])
