"""Pictures whose bytes lie one after another in shards: each is read where it lies, so that memory holds only a list.

On this machine a stretch of a shard is announced to the system when its second picture is asked for; the system then
reads it in one go, once for all processes. What lies elsewhere is fetched a stretch at a time and kept for a while.
Letters: N pictures.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.data.remote import address_of, bytes_there
from residuum.data.windows import Blocks, stretches
from residuum.errors import UserError

KEPT_THERE = 512 << 20
"""Bytes of shards elsewhere that a process keeps."""
_RECENT = 256
"""Blocks that a process remembers to have read from: more than are under way at a time."""
_OPEN = 64
"""Shards that a process holds open."""


@dataclass(frozen=True)
class PackedPictures:
    """N pictures in shards."""

    shards: Sequence[str]
    """Absolute paths, or addresses."""
    states: Sequence[str]
    """What each shard was when the list was made (`state_of`)."""
    shard: NDArray[np.int64]  # (N,): rows lie in their shards' order
    offsets: NDArray[np.int64]  # (N,)
    sizes: NDArray[np.int64]  # (N,), bytes
    names: Sequence[str] | str
    """What each is called below its shard; or of rows, what the split is called."""
    in_windows: bool
    """Whether training shuffles by windows where nothing was said."""
    column: str = ""
    """Of a table: which holds these pictures."""
    _there: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)
    _recent: dict[int, int] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.sizes)

    def blocks(self) -> Blocks:
        """Return how the pictures lie: see windows.blocks_of."""
        return self._blocks

    @cached_property
    def _blocks(self) -> Blocks:
        return Blocks(*stretches(self.sizes, self.shard), self.in_windows)

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """The first row of each block, and N."""
        return np.searchsorted(self._blocks.of_rows, np.arange(len(self._blocks.sizes) + 1))

    def encoded(self, index: int) -> bytes:
        """See Pictures (UserError if the shard cannot be read, or is no longer what it was)."""
        place, block = int(self.shard[index]), int(self._blocks.of_rows[index])
        path, start, size = self.shards[place], int(self.offsets[index]), int(self.sizes[index])
        first, last = self._ends(block)
        if address_of(path):
            return self._stretch_there(block, path, first, last)[start - first : start - first + size]
        try:
            file = _opened(path, self.states[place])
            if self._is_walked(block):
                _announce(file.number, first, last - first)
            found = _read(file, path, start, size)
        except OSError as error:
            raise UserError(f"cannot read {path}", error.strerror or str(error), "fetch or write it again") from error
        if len(found) < size:
            raise UserError(f"cannot read {path}", f"it ends before byte {start + size:,}", "fetch or write it again")
        return found

    def name(self, index: int) -> str:
        """See Pictures."""
        if isinstance(self.names, str):
            return f"{self.names} row {index}"
        return f"{Path(self.shards[self.shard[index]]).name}/{self.names[index]}"

    def files(self) -> Sequence[str]:
        """See Pictures."""
        return self.shards

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without what was read."""
        parts = ("shards", "states", "shard", "offsets", "sizes", "names", "in_windows", "column")
        return PackedPictures, tuple(getattr(self, part) for part in parts)

    def _ends(self, block: int) -> tuple[int, int]:
        """Return where a block's bytes begin and end in its shard."""
        rows = self._firsts[block : block + 2]
        return int(self.offsets[rows[0]]), int(self.offsets[rows[1] - 1] + self.sizes[rows[1] - 1])

    def _is_walked(self, block: int) -> bool:
        """Say whether a block is asked for the second time in a while: so it is walked, not one of all by chance."""
        times = self._recent[block] = self._recent.get(block, 0) + 1
        if len(self._recent) > _RECENT:
            for oldest in list(self._recent)[: _RECENT // 2]:
                self._recent.pop(oldest, None)
        return times == 2

    def _stretch_there(self, block: int, address: str, first: int, last: int) -> bytes:
        if (found := self._there.get(block)) is None:
            found = bytes_there(address, first, last)
            self._there[block] = found
            kept = list(self._there.items())  # threads may add others meanwhile
            over = sum(len(content) for _, content in kept) - KEPT_THERE
            for oldest, content in kept[:-1]:
                if over <= 0:
                    break
                self._there.pop(oldest, None)
                over -= len(content)
        return found


class _Open:
    """A file held open until nobody reads it any more."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


@lru_cache(_OPEN)
def _opened(path: str, state: str) -> _Open:
    file = _Open(path)
    if _said(os.fstat(file.number)) != state:
        raise UserError(f"{path} has changed since it was opened", "", "begin again")
    return file


def state_of(path: str) -> str:
    """Return what changes when a file of this machine does (UserError if it is not there)."""
    try:
        return _said(Path(path).stat())
    except OSError as error:
        raise UserError(f"cannot read {path}", error.strerror or str(error), "check the path") from error


def _said(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _read(file: _Open, path: str, start: int, size: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file.number, size, start)
    with Path(path).open("rb") as own:  # threads share the place in a file that is held open
        own.seek(start)
        return own.read(size)


def _announce(number: int, start: int, length: int) -> None:
    """Let the system read ahead, where it takes such advice."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(number, start, length, os.POSIX_FADV_WILLNEED)
