"""Where pictures lie in Parquet files that compress nothing: found once, so that they can be read one by one.

Parquet's plain encoding writes a value's length, 4 bytes, and its bytes, with nothing between the values of a page
(Apache Parquet format, "Plain: PLAIN = 0"). pyarrow gives a row group as a whole, which costs memory and, where many
processes read, time. So each value is looked for behind the one before it, and compared. Letters: N rows.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from residuum import machine
from residuum.data.cache import SETTLED_NS, keep_bytes, kept_bytes
from residuum.data.packed import PackedPictures, state_of
from residuum.data.parquet_footer import PLAIN, RLE, UNCOMPRESSED, Chunk
from residuum.data.remote import address_of
from residuum.data.table_files import opened

OWN_PACK = b"residuum_pack"
"""In the metadata of files that `residuum data pack` wrote."""


class _Places(msgspec.Struct, frozen=True):
    """Where each value of a file's column begins, and its bytes; none where that cannot be told."""

    offsets: list[int]
    sizes: list[int]


def is_own_pack(path: str) -> bool:
    """Say whether `residuum data pack` wrote a file (UserError if it cannot be read)."""
    with opened(path) as file:
        return OWN_PACK in (file.schema_arrow.metadata or {})


def where_they_lie(
    chunks: Mapping[str, Sequence[Chunk]], column: str, split: str, *, in_windows: bool
) -> PackedPictures | None:
    """Return the pictures in a column of files, read one by one; None where they can only be read in groups.

    `chunks` are the column's in each file, by its path.

    Raises:
        UserError: a file cannot be read.
    """
    if not chunks or any(map(address_of, chunks)) or not all(map(_is_plain, chunks.values())):
        return None
    paths = list(chunks)
    states = [state_of(path) for path in paths]
    each = [_places(path, column, state, chunks[path]) for path, state in zip(paths, states, strict=True)]
    if any(places is None for places in each):
        return None
    found = [places for places in each if places is not None]
    return PackedPictures(
        paths,
        states,
        np.repeat(np.arange(len(paths)), [len(places.sizes) for places in found]),
        _joined([places.offsets for places in found]),
        _joined([places.sizes for places in found]),
        split,
        in_windows,
        column,
    )


def _joined(each: list[list[int]]) -> NDArray[np.int64]:
    return np.concatenate([np.array(one, np.int64) for one in each])


def _is_plain(chunks: Sequence[Chunk]) -> bool:
    """Say whether a file's column is written as it is, in one piece for each row group."""
    return all(chunk.codec == UNCOMPRESSED and {*chunk.encodings} <= {PLAIN, RLE} for chunk in chunks)


def _places(path: str, column: str, state: str, chunks: Sequence[Chunk]) -> _Places | None:
    """Return where a file's values lie, remembered while it stays as it is."""
    key = hashlib.sha256(f"1 {path}\0{column}\0{state}".encode(errors="surrogateescape")).hexdigest()
    memo = machine.cache_folder() / "shards" / f"{key}.msgpack"
    try:
        return msgspec.msgpack.decode(kept_bytes(memo), type=_Places)
    except (OSError, ValueError):  # not there, or damaged
        found = _look(path, column, chunks)
        if found is not None and time.time_ns() - Path(path).stat().st_mtime_ns > SETTLED_NS:
            keep_bytes(memo, msgspec.msgpack.encode(found))
        return found


def _look(path: str, column: str, chunks: Sequence[Chunk]) -> _Places | None:
    found = _Places([], [])
    with opened(path) as file, Path(path).open("rb") as raw:
        for group, chunk in enumerate(chunks):
            if (start := chunk.data_page) is None or start < 0 or chunk.compressed is None:
                return None
            raw.seek(start)
            written = raw.read(max(0, chunk.compressed))
            values = file.read_row_group(group, columns=[column], use_threads=False).flatten().column(0)
            at = 0
            for value in values:
                content = value.as_py()
                if content is None:
                    return None
                at = written.find(len(content).to_bytes(4, "little") + content, at) + 4
                if at < 4:
                    return None
                found.offsets.append(start + at)
                found.sizes.append(len(content))
                at += len(content)
    return found
