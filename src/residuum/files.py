"""Files written whole or not at all, and JSON read back with one clear error."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from residuum.errors import UserError

Json = dict[str, Any]

UNFINISHED = ".unfinished-"
"""How the name of a file being written begins."""


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
    """Write a file beside `path` and move it there when it is whole and on disk; on an error remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Json | list[Any]) -> None:
    """Write JSON for people: indented, in any script, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file (UserError if it is missing, or not JSON)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no {path}", "", "check the path") from error
    except (ValueError, RecursionError, IsADirectoryError) as error:  # no JSON, no text, too deep, too long a number
        raise UserError(f"{path} is not a JSON file", str(error)) from error


def short_digest(path: Path) -> str:
    """Return the first 16 hex digits of the file's SHA-256: what a model's lineage calls the file it came from."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def cannot_write(path: Path, size: int, error: OSError) -> UserError:
    """Return the error that says why `size` bytes could not be written, and how much room there is."""
    folder = next((p for p in path.parents if os.path.exists(p)), Path())  # noqa: PTH110 - Path's raises, if too long
    free = shutil.disk_usage(folder).free / 1e6
    return UserError(
        f"cannot write {path}: {error.strerror or error}",
        f"it needs {size / 1e6:.1f} MB and {free:.1f} MB are free" if size else f"{free:.1f} MB are free",
        "make room or choose another place with --out",
    )


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets a folder be opened at all."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
