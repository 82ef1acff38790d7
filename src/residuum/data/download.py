"""One file from the network: it goes on where it broke off, and gets its name only once it is whole and right."""

import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from residuum.data.cache import Progress
from residuum.errors import UserError
from residuum.files import UNFINISHED, remove_unfinished

TIMEOUT = 30.0
"""Seconds without a byte after which we give up."""
IDLE = 60.0
"""An unfinished file that nobody has written to for so many seconds is nobody's: whoever wants it goes on with it."""

_BLOCK = 1 << 20


class Unreached(UserError):  # noqa: N818 - as UserError is what people see
    """The network's fault: what has arrived is kept for the next try."""


@dataclass(frozen=True)
class Asked:
    """What is asked of whom, for the messages."""

    what: str
    """As in "the data set owner/name"."""
    place: str
    """Who is asked, as in "the hub"."""
    host: str
    command: str
    """What to type to ask again."""
    if_missing: str = "check the name"
    otherwise: str = "give a folder"
    """What can be done without the network."""
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Expected:
    """What is known of a file beforehand: hexadecimal digits that its checksum begins with, and perhaps its size."""

    checksum: str
    hasher: Callable[[], Any]
    kind: str = "SHA-256"
    size: int | None = None
    said_by: str = "listed"


def download(url: str, path: Path, expected: Expected, asked: Asked, progress: Progress) -> str:
    """Fetch a file, check it, move it to `path`, and return its checksum. `progress` counts its bytes.

    Raises:
        Unreached: the network failed; the next call goes on with what has arrived.
        UserError: what came is not what was expected, and is removed.
        OSError: it cannot be written.
    """
    with _unfinished(path, expected.checksum) as file:
        digest, done = expected.hasher(), 0
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
        for position, total, block in blocks(url, asked, done):
            if position != done:  # whoever is asked sends all of it again
                file.seek(0)
                file.truncate()
                digest, done = expected.hasher(), 0
            done += len(block)
            if expected.size is not None and done > expected.size:
                break
            digest.update(block)
            file.write(block)
            progress(done, expected.size or total)
        if expected.size not in {None, done}:
            what = "more" if done > (expected.size or 0) else f"{done} bytes instead"
            raise _spoiled(asked, path, f"{asked.place} lists {expected.size} bytes and sent {what}")
        if not digest.hexdigest().startswith(expected.checksum):
            why = f"its {expected.kind} is {digest.hexdigest()}, {expected.said_by} is {expected.checksum}"
            raise _spoiled(asked, path, why)
    return str(digest.hexdigest())


def _spoiled(asked: Asked, path: Path, why: str) -> UserError:
    mend = f"run `{asked.command}` again: what arrived whole is kept"
    return UserError(f"{path.name} of {asked.what} did not arrive as it should", why, mend)


# --- a file that is not there yet ---------------------------------------------------------------


@contextmanager
def _unfinished(path: Path, key: str) -> Iterator[BinaryIO]:
    """Open what an earlier try has left of the file, or a new one; move it to `path` in the end.

    Where the network fails, or the user stops it, it stays for the next try, less its last byte, so that there is
    always something left to ask for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{UNFINISHED}{key[:32]}-")
    os.close(handle)
    mine = Path(name)
    for left in path.parent.glob(f"{UNFINISHED}{key[:32]}-*"):
        with suppress(OSError):  # another was faster
            if left != mine and left.stat().st_mtime < time.time() - IDLE:
                left.replace(mine)
                break
    try:
        with mine.open("r+b") as file:
            file.truncate(max(0, mine.stat().st_size - 1))
            yield file
            file.flush()
            os.fsync(file.fileno())
        mine.chmod(0o644)
        mine.replace(path)
    except BaseException as error:
        if isinstance(error, Unreached | KeyboardInterrupt) and mine.stat().st_size > 1:
            then = time.time() - IDLE - 1
            os.utime(mine, (then, then))
        else:
            mine.unlink(missing_ok=True)
        raise


# --- the network -------------------------------------------------------------------------------


def blocks(url: str, asked: Asked, start: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Yield (position, size of the whole or 0, bytes) from `start` on, or from 0 where it cannot begin elsewhere.

    Raises:
        Unreached: nobody answers, or the answer breaks off.
    """
    with answer(url, asked, start) as response:
        position = start if response.status == http.client.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        total = position + int(length) if length else 0
        while block := response.read(_BLOCK):
            yield position, total, block
            position += len(block)
    if position < total:
        raise Unreached(
            f"{asked.what} arrived only in part",
            f"{asked.host} broke off after {position:,} of {total:,} bytes",
            f"run `{asked.command}` again: it goes on from there",
        )


@contextmanager
def answer(url: str, asked: Asked, start: int = 0) -> Iterator[Any]:
    """Yield the answer, from byte `start` on where that can be had; turn what the network raises into one message."""
    request = urllib.request.Request(url, headers={"User-Agent": "residuum"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    if asked.token:
        request.add_unredirected_header("Authorization", f"Bearer {asked.token}")  # for whom it is meant alone
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        unknown = error.code in {401, 403, 404}
        raise UserError(
            f"{asked.place} has no {asked.what}" if unknown else f"{asked.place} failed to send {asked.what}",
            f"{asked.host} answered {error.code} {error.reason}",
            asked.if_missing if unknown else "try later",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreached(
            f"cannot reach {asked.place} for {asked.what}",
            f"{asked.host}: {str(reason) or type(error).__name__}",
            f"run `{asked.command}` on a connected machine, or {asked.otherwise}",
        ) from error


def is_web_address(place: str) -> bool:
    """Say whether `place` begins with https:// or http:// and names a machine."""
    parts = urlsplit(place)
    return parts.scheme in {"http", "https"} and bool(parts.netloc)
