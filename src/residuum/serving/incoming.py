"""A request's picture, read within bounds of size and time; it is kept in memory alone, and no longer than needed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from residuum.data.decode import BrokenPicture, MorePixelsThanAllowed, TooManyPixels
from residuum.data.kinds import KINDS
from residuum.serving.refusals import Refusal

FIELD = "picture"
MEGABYTE = 1_000_000
HELD = 256 * MEGABYTE
"""As many bytes of all requests together are held while they are read and decoded."""
LOST = frozenset(b"\0\r\n")
"""Bytes that `curl -d` leaves out; every picture has some."""
_HOW = (
    "send one picture a request: itself as image/jpeg or image/png (curl -H 'Content-Type: image/jpeg' --data-binary "
    f"@FILE), or in a form as the file {FIELD!r} (curl -F {FIELD}=@FILE)"
)


def broken(error: BrokenPicture, encoded: bytes) -> Refusal:
    """Return what is said of bytes that are no picture, or only some of one."""
    mend = f"send a whole picture: {KINDS}"
    if isinstance(error, TooManyPixels):
        mend = "send a smaller one"
        if isinstance(error, MorePixelsThanAllowed):
            mend += "; whoever runs the server may allow more by --megapixels"
    elif not encoded.isascii() and not LOST.intersection(encoded):
        mend = "curl's -d leaves out line breaks, and more: --data-binary @FILE sends the file as it is"
    return Refusal(422, error.what, error.why, mend)


class Held:
    """The bytes that all requests together hold."""

    def __init__(self, most: int = HELD) -> None:
        self.most, self.now = most, 0

    @contextmanager
    def one(self) -> Iterator[Callable[[int], None]]:
        """Give a function that counts one request's bytes (Refusal 429 when all together are too many)."""
        mine = 0

        def add(size: int) -> None:
            nonlocal mine
            if self.now + size > self.most:
                raise Refusal(
                    429,
                    "too much is being sent at once",
                    f"all requests together may hold {self.most // MEGABYTE} MB",
                    "try again a little later",
                    retry_after=1,
                    closes=True,
                )
            mine, self.now = mine + size, self.now + size

        try:
            yield add
        finally:
            self.now -= mine


class _InMemory(MultiPartParser):
    spool_max_size: ClassVar[int] = 0  # type: ignore[misc] # never to the disk: no picture is kept


async def read_picture_of(request: Request, most: int, seconds: float, add: Callable[[int], None]) -> bytes:
    """Return the encoded picture of a request: its raw body, or the file `picture` of a form.

    Raises:
        Refusal: 413 more than `most` bytes, 408 not there within `seconds`, 415 another kind of content, 422 a form
            without a picture, or nothing at all.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if not (kind == "multipart/form-data" or kind.startswith("image/") or kind == "application/octet-stream"):
        raise Refusal(415, f"the content type {kind or 'is missing'}", "only pictures are read", _HOW, closes=True)
    _check_announced(request, most)
    chunks = _bounded(request, most, add)
    try:
        async with asyncio.timeout(seconds):
            encoded = await (_of_form(request, chunks) if kind.startswith("multipart") else _joined(chunks))
    except TimeoutError:
        raise Refusal(
            408,
            f"the request was not there within {seconds:g} s",
            "a slow connection may not keep a place from others",
            "send a smaller picture, or over a faster connection",
            closes=True,
        ) from None
    if not encoded:
        raise Refusal(422, "the request holds no picture", "its body is empty", _HOW)
    return encoded


def _check_announced(request: Request, most: int) -> None:
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced) > most:
        raise _too_large(most)


def _too_large(most: int) -> Refusal:
    limit = f"the limit is {most / MEGABYTE:g} MB"
    return Refusal(413, "the request is too large", limit, "send a smaller picture", closes=True)


async def _bounded(request: Request, most: int, add: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        add(len(chunk))
        yield chunk


async def _joined(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def _of_form(request: Request, chunks: AsyncGenerator[bytes, None]) -> bytes:
    try:
        form = await _InMemory(request.headers, chunks, max_files=1, max_fields=8).parse()
    except MultiPartException as error:
        raise Refusal(422, "the form cannot be read", error.message, _HOW, closes=True) from error
    try:
        found = form.get(FIELD)
        if not isinstance(found, UploadFile):
            raise Refusal(422, "the form holds no picture", f"it has no file named {FIELD!r}", _HOW)
        return found.file.read()
    finally:
        await form.close()
