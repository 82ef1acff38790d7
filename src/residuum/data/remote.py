"""Shards elsewhere, by an address that fsspec knows: s3://bucket/data, gs://…, memory://….

An address travels as a Path, "s3:/bucket/data", so that what reads names need not tell the two apart; `address_of`
gives it back. A drive's letter is no scheme, and other paths are absolute.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from residuum.data.picture_files import is_hidden
from residuum.errors import UserError
from residuum.version import installing

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)


def is_address(source: str | Path) -> bool:
    """Say whether a data set's place is an address: "scheme://…"."""
    return isinstance(source, str) and "://" in source and _ADDRESS.fullmatch(source) is not None


def address_of(path: str | Path) -> str | None:
    """Return the address that a path stands for; None for a path of this machine."""
    match = _ADDRESS.fullmatch(str(path))
    return f"{match[1]}://{match[2]}" if match else None


def system_of(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, one a process, and the path there.

    Raises:
        UserError: fsspec, or what it needs for this scheme, is not here; or the address is none.
    """
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        scheme = address.partition(":")[0]
        needs = f"{installing('remote')}, and fsspec's package for {scheme}:// (s3fs, gcsfs, …)"
        raise UserError(f"cannot read {address}", str(error).splitlines()[0], needs) from error
    return system, path


def files_below(root: Path) -> Iterator[Path]:
    """Yield the visible files below an address, as paths (UserError if they cannot be listed)."""
    address = address_of(root)
    assert address is not None
    system, top = system_of(address)
    try:
        found = system.find(top)
    except Exception as error:  # each file system has its own
        raise _cannot_read(address, error) from error
    for one in sorted(found):
        below = system._strip_protocol(one).removeprefix(system._strip_protocol(top)).strip("/")
        if not any(map(is_hidden, below.split("/"))):
            yield root / below


def opened_there(address: str) -> Any:
    """Open a file for reading (UserError if it cannot be)."""
    system, path = system_of(address)
    try:
        return system.open(path, "rb")
    except Exception as error:
        raise _cannot_read(address, error) from error


def bytes_there(address: str, start: int, stop: int) -> bytes:
    """Return the bytes from `start` to `stop` of a file (UserError if they cannot be read, or are fewer)."""
    system, path = system_of(address)
    try:
        found = bytes(system.cat_file(path, start, stop))
    except Exception as error:
        raise _cannot_read(address, error) from error
    if len(found) != stop - start:
        raise UserError(f"cannot read {address}", f"it ends before byte {stop:,}", "fetch or write it again")
    return found


def state_there(address: str) -> str:
    """Return what changes when a file does, as far as its system tells (UserError)."""
    system, path = system_of(address)
    try:
        info = system.info(path)
        return " ".join(str(info[key]) for key in sorted(info) if key in _TELLING)
    except Exception as error:
        raise _cannot_read(address, error) from error


_TELLING = {"size", "etag", "ETag", "mtime", "created", "LastModified", "last_modified", "md5Hash", "generation", "sha"}


def _cannot_read(address: str, error: Exception) -> UserError:
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"cannot read {address}", why, "check the address, and who may read it")
