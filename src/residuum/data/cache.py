"""What is worth working out once: decoded pictures and digests, in the cache folder and nowhere else.

Everything in it can be deleted at any time. Letters: N pictures, S their side in pixels.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from numpy.typing import NDArray

from residuum import machine
from residuum.choices import Interpolation
from residuum.data.contract import ImageData, Pictures, Readable, Subset
from residuum.data.decode import decode
from residuum.data.deep import Span
from residuum.data.digits import Scans
from residuum.data.labels import as_bytes
from residuum.data.remote import address_of, state_there
from residuum.data.resize import evaluation_view
from residuum.data.threads import in_threads
from residuum.errors import UserError, listed
from residuum.files import remove_unfinished, replacing

Progress = Callable[[int, int], None]
"""Called with (done, total) from time to time."""

View = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Decoded pixels (H, W, 3) to what a net is shown, (S, S, 3)."""

DECODE_VERSION = 1
"""Raise it whenever decode or evaluation_view gives other pixels; Pillow's version counts anyway."""

SETTLED_NS = 2_000_000_000
"""Files younger than this are not remembered: one more write might leave size and time as they are."""

_SUM = 4
"""Bytes of a checksum."""


# --- what is in a data set ---------------------------------------------------------------------


def content_key(pictures: Pictures) -> str:
    """Return a SHA-256 over the encoded pictures, in their order, wherever they lie."""
    return hashlib.sha256(picture_digests(pictures).tobytes()).hexdigest()


def fingerprint(data: ImageData) -> str:
    """Return a SHA-256 over class names, pictures and labels of all splits, wherever they lie."""
    whole = hashlib.sha256(json.dumps(list(data.classes)).encode())
    for split in (data.train, data.validation, data.test):
        labels = b"" if split is None else as_bytes(split.labels)
        key = "absent" if split is None else content_key(split.pictures)
        whole.update(f"{key} {hashlib.sha256(labels).hexdigest()}\n".encode())
    return whole.hexdigest()


def picture_digests(pictures: Pictures) -> NDArray[np.uint8]:
    """Return each picture's SHA-256, (N, 32); remembered for files that stay as they are.

    Raises:
        UserError: a file cannot be read.
    """
    if isinstance(pictures, Subset) and not (isinstance(pictures, Readable) and pictures.has_own_files):
        return picture_digests(pictures.whole)[pictures.indices]
    if isinstance(pictures, Scans):
        return _digest_of_scans(pictures).copy()
    state = _state_of_files(pictures)
    if state is None:
        return _digest(pictures)
    memo = _digests_file(state)
    digests = _load(memo, (len(pictures), 32))
    if digests is None:
        digests = _digest(pictures)
        with suppress(OSError):
            _write(memo, digests.shape, [digests])
    return np.array(digests)


def count_seen(asked: Pictures, trained: Pictures) -> int:
    """Return how many pictures are the same files as one of those trained on (UserError as above)."""
    each, known = (picture_digests(one).view("S32") for one in (asked, trained))
    return int(np.isin(each, known).sum())


def are_digests_kept(pictures: Pictures) -> bool:
    """Say whether picture_digests has to read no picture."""
    if isinstance(pictures, Subset) and not (isinstance(pictures, Readable) and pictures.has_own_files):
        return are_digests_kept(pictures.whole)
    state = _state_of_files(pictures)
    return isinstance(pictures, Scans) or (state is not None and _digests_file(state).exists())


def _digests_file(state: str) -> Path:
    return machine.cache_folder() / "digests" / f"{state}.npy"


def _state_of_files(pictures: Pictures) -> str | None:
    """Return a key to path, size and times of all the files, and to what is read of a table.

    None: there are none, or one is only just written.
    """
    files = pictures.files()
    if files is None:
        return None
    column, beside = getattr(pictures, "column", ""), getattr(pictures, "beside", ())  # others hold other pictures
    rows = hashlib.sha256(os.fsencode("\0".join(beside))).hexdigest() if beside else ""
    states, newest = [f"1{column}{rows}\n"], 0
    try:
        for path in files:
            if address := address_of(path):
                states.append(f"{address}\0{state_there(address)}\n")
                continue
            status = os.stat(path)  # noqa: PTH116 - Path.stat takes three times as long
            states.append(f"{path}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n")
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
    except (OSError, UserError):
        return None
    if time.time_ns() - newest < SETTLED_NS:
        return None
    return hashlib.sha256(os.fsencode("".join(states))).hexdigest()


def _digest(pictures: Pictures) -> NDArray[np.uint8]:
    try:
        digests = b"".join([hashlib.sha256(_as_bytes(pictures.encoded(i))).digest() for i in range(len(pictures))])
    except UserError:
        refuse_missing(pictures)
        raise
    return np.frombuffer(bytearray(digests), np.uint8).reshape(-1, 32)


def refuse_missing(pictures: Pictures) -> None:
    """Name all pictures whose own files are not there, if they are several (UserError)."""
    files = pictures.files() or ()
    gone = [row for row, path in enumerate(files) if not Path(path).exists()] if len(files) == len(pictures) else []
    if len(gone) > 1:
        what = f"{len(gone):,} of {len(pictures):,} pictures are not there"
        raise UserError(what, listed(map(pictures.name, gone)), "mend the table or bring them back; or --skip-broken")


_digest_of_scans = lru_cache(2)(_digest)


def _as_bytes(encoded: bytes | NDArray[np.uint8]) -> bytes:
    return encoded if isinstance(encoded, bytes) else b"%r\n" % (encoded.shape,) + encoded.tobytes()


def _load(path: Path, shape: tuple[int, ...], *, checked: bool = False) -> NDArray[np.uint8] | None:
    """Map a stored uint8 array into memory, or return None if it is not there, not whole, not ours or damaged.

    `checked`: it has just been written.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="c")  # writable for torch's sake; nothing reaches the file
        with path.open("rb") as file:
            file.seek(-_SUM, os.SEEK_END)
            whole = file.tell() == array.offset + array.nbytes and array.shape == shape and array.dtype == np.uint8
            sound = whole and (checked or _checksum([array]) == file.read())
    except (OSError, ValueError, EOFError):
        return None
    return array if sound else None


def _write(path: Path, shape: tuple[int, ...], pieces: Iterable[NDArray[np.uint8]]) -> None:
    """Write a .npy file and behind it the CRC-32 of its numbers, which notices what a disk or a hand has changed."""
    with replacing(path) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.write(_checksum(_written(file, pieces)))


def _written(file: BinaryIO, pieces: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    for piece in pieces:
        file.write(piece.data)
        yield piece


def _checksum(pieces: Iterable[NDArray[np.uint8]]) -> bytes:
    found = 0
    for piece in pieces:
        found = zlib.crc32(piece.data, found)
    return found.to_bytes(_SUM, "big")


def keep_bytes(path: Path, content: bytes) -> None:
    """Keep something small in the cache folder, with its checksum, where there is room for it."""
    with suppress(OSError), replacing(path) as file:
        file.write(content + zlib.crc32(content).to_bytes(_SUM, "big"))


def kept_bytes(path: Path) -> bytes:
    """Return what was kept (OSError: nothing was; ValueError: it is damaged)."""
    whole = path.read_bytes()
    content = whole[:-_SUM]
    if len(whole) < _SUM or zlib.crc32(content).to_bytes(_SUM, "big") != whole[-_SUM:]:
        raise ValueError(f"{path} is damaged")
    return content


# --- decoded pictures --------------------------------------------------------------------------


def decoded(
    pictures: Pictures,
    image_size: int,
    resize_to: int,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    interpolation: Interpolation = "bilinear",
    greys: Span | None = None,
) -> NDArray[np.uint8]:
    """Return the pictures as evaluation sees them, (N, S, S, 3) uint8, each decoded only once.

    They lie in the cache folder, mapped into memory; or in memory, after a `warn`, if they cannot be kept.

    Raises:
        UserError: pictures cannot be read (all of them are named), or memory does not suffice.
    """
    shape = (len(pictures), image_size, image_size, 3)
    if len(pictures) == 0:
        return np.empty(shape, np.uint8)
    path = decoded_file(pictures, image_size, resize_to, interpolation, greys)
    view = partial(evaluation_view, image_size=image_size, resize_to=resize_to, interpolation=interpolation)
    pieces = partial(_decode_in_threads, pictures, image_size, view, progress, greys)
    kept = _load(path, shape)
    if kept is None:
        try:
            _store(path, shape, pieces)
            kept = _load(path, shape, checked=True)
        except OSError as error:
            if warn:
                warn(f"decoded pictures are not kept for next time: {path.parent}: {error.strerror or error}")
    return _in_memory(shape, pieces) if kept is None else kept


def decoded_file(
    pictures: Pictures,
    image_size: int,
    resize_to: int,
    interpolation: Interpolation = "bilinear",
    greys: Span | None = None,
) -> Path:
    """Return where `decoded` keeps what it gives, whether it is there or not."""
    key = f"{content_key(pictures)} {image_size} {resize_to} {DECODE_VERSION} {PIL.__version__}"
    if interpolation != "bilinear":  # so that what was kept before there was a choice is still found
        key += f" {interpolation}"
    if greys is not None:
        key += f" greys {greys}"
    return machine.cache_folder() / "decoded" / f"{hashlib.sha256(key.encode()).hexdigest()}.npy"


def _store(path: Path, shape: tuple[int, ...], pieces: Callable[[], Iterator[NDArray[np.uint8]]]) -> None:
    """Write the pictures to a .npy file through ordinary writes: a full disk is an error, not a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    if shutil.disk_usage(path.parent).free < math.prod(shape):
        raise OSError(errno.ENOSPC, f"no room for {math.prod(shape) / 1e6:.0f} MB")
    _write(path, shape, pieces())


def _in_memory(shape: tuple[int, ...], pieces: Callable[[], Iterator[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    try:
        whole = np.empty(shape, np.uint8)
    except MemoryError as error:
        raise UserError(
            f"no room for {math.prod(shape) / 1e9:.1f} GB of decoded pictures",
            f"neither in memory nor in {machine.cache_folder()}",
            "make room there, or set RESIDUUM_CACHE to a folder on a larger disk",
        ) from error
    filled = 0
    for piece in pieces():
        whole[filled : filled + len(piece)] = piece
        filled += len(piece)
    return whole


def _decode_in_threads(
    pictures: Pictures, image_size: int, view: View, progress: Progress | None, greys: Span | None
) -> Iterator[NDArray[np.uint8]]:
    """Yield the decoded pictures in order, (n, S, S, 3) at a time."""
    total, done, broken = len(pictures), 0, list[str]()
    for piece, unreadable in in_threads(total, partial(decode_rows, pictures, image_size, view, greys)):
        broken += unreadable
        done += len(piece)
        if progress:
            progress(done, total)
        yield piece
    if broken:
        raise UserError(
            f"{len(broken)} of {total} pictures cannot be read",
            listed(broken),
            "residuum data check says why of each; mend or remove them; train and evaluate: or --skip-broken",
        )


def decode_rows(
    pictures: Pictures, image_size: int, view: View, greys: Span | None, rows: range
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return (n, S, S, 3) and the names of those of the n that cannot be read; these stay black."""
    views, unreadable = np.zeros((len(rows), image_size, image_size, 3), np.uint8), []
    for place, row in enumerate(rows):
        try:
            pixels = decode(pictures.encoded(row), pictures.name(row), span=greys)
        except UserError:
            unreadable.append(pictures.name(row))
        else:
            views[place] = view(pixels)
    return views, unreadable
