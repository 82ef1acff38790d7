"""Files written whole or not at all, and JSON read back with one clear error."""

import errno
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from residuum.errors import UserError

Json = dict[str, Any]

UNFINISHED = ".unfinished-"
"""How the name of a file being written begins."""
_HELD = f"{UNFINISHED}held-"
"""The same where its writer holds it (`hold`) until it is whole: what nobody holds was left by one that is gone."""
ELSEWHERE = "make room or choose another place with --out"
_NOT_FOR_ROOM = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
IN_THE_CACHE = "make room there, or set RESIDUUM_CACHE to another folder"
LARGEST_JSON = 2**28
"""Bytes of a JSON file that is read."""
_DAY = 86_400


def is_unfinished(path: Path) -> bool:
    """Say whether the name is of what is being written, or was when its writer was killed."""
    return path.name.startswith(UNFINISHED)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds the old file or the new one, never a part of either.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(content)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, len(content), error) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside `path` and move it there when it is whole and on disk; on an error remove it.

    What processes that were killed had begun there goes first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent)
    handle, temporary = _begun(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            if os.name == "posix":  # while it is held: what nobody holds may be removed
                Path(temporary).replace(path)
        if os.name != "posix":  # an open file has to stay where it is, and cannot be removed
            Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _begun(folder: Path) -> tuple[int, str]:
    """Return a new file, held; another writer that tidies up may take it, before it is held, for one left behind."""
    while True:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=_HELD)
        if hold(handle) is not False and os.fstat(handle).st_nlink:
            return handle, temporary
        os.close(handle)


def hold(handle: int) -> bool | None:
    """Hold an open file until it is closed or this process ends, however it ends.

    Returns:
        False if another holds it; None where the file system keeps no such account.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 2**30, os.SEEK_SET)  # behind the content, which others may read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def remove_unfinished(folder: Path, *, own: bool = False) -> None:
    """Remove what processes that are gone had begun to write in `folder`; where it cannot be told, after a day.

    `own`: nobody but the caller writes there, so that whatever is not held goes at once.
    """
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            is_old = path.stat().st_mtime < time.time() - _DAY
            if is_old or own or path.name.startswith(_HELD):
                _remove_nobodys(path, is_old)


def _remove_nobodys(path: Path, if_untold: bool) -> None:
    """Remove a file that no process holds (OSError if it is none)."""
    handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        held = hold(handle)
        is_nobodys = stat.S_ISREG(os.fstat(handle).st_mode) and (if_untold if held is None else held)
        if is_nobodys and os.name == "posix":  # while we hold it: its writer may be about to
            path.unlink()
    finally:
        os.close(handle)
    if is_nobodys and os.name != "posix":
        path.unlink()


def write_json(path: Path, content: Json | list[Any]) -> None:
    """Write JSON for people: indented, in any script, whole or not at all; bytes that are no text as \\udcXX."""
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file (UserError as `read_whole`, or if it is not JSON)."""
    content = read_whole(path, LARGEST_JSON)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no text, too deep, too long a number
        raise UserError(f"{path} is not a JSON file", str(error)) from error


def read_whole(path: Path, most: int) -> bytes:
    """Read a file of at most `most` bytes (UserError if it is missing, larger, no file, or cannot be read)."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # to read a pipe would wait for ever
            raise UserError(f"{path} is not a file", "something else has that name", "bring the file back")
        if state.st_size > most:
            raise UserError(f"{path} is too large to be what it is called", f"{state.st_size / 1e6:.0f} MB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}", "", "check the path") from error
    except (OSError, ValueError) as error:  # a name with a zero byte is no path
        raise UserError(f"cannot read {path}", getattr(error, "strerror", None) or str(error)) from error


def short_digest(path: Path) -> str:
    """Return the first 16 hex digits of the file's SHA-256: what a model's lineage calls the file it came from."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def seal(path: Path, *parts: Path) -> None:
    """Write down beside `path` what it, or each of its parts, holds, so that damage is noticed (as write_whole)."""
    write_whole(_seal(path), _digests(parts or (path,)))


def is_intact(path: Path, *parts: Path) -> bool:
    """Say whether a file, or each of its parts, is there as it was sealed; what nobody sealed is taken to be."""
    try:
        return path.is_file() and (not _seal(path).exists() or _seal(path).read_bytes() == _digests(parts or (path,)))
    except OSError:
        return False


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digests(files: Iterable[Path]) -> bytes:
    return " ".join(map(short_digest, files)).encode()


class CannotWrite(UserError):  # noqa: N818 - as UserError is what people see
    """A file could not be written."""


def cannot_write(path: Path, size: int, error: OSError, mend: str = ELSEWHERE) -> CannotWrite:
    """Return the error that says why `size` bytes could not be written, and how much room there is."""
    why = ""
    if error.errno in _NOT_FOR_ROOM:
        return CannotWrite(f"cannot write {path}: {error.strerror}", "", mend.removeprefix("make room or "))
    with suppress(OSError):  # where not even that can be told
        folder = next((p for p in path.parents if os.path.exists(p)), Path())  # noqa: PTH110 - Path's raises, if too long
        free = shutil.disk_usage(folder).free / 1e6
        why = f"it needs {size / 1e6:.1f} MB and {free:.1f} MB are free" if size else f"{free:.1f} MB are free"
    return CannotWrite(f"cannot write {path}: {error.strerror or error}", why, mend)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be opened at all."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
