"""What a Parquet file's footer says of each column chunk, read by us.

pyarrow 26 ends the process where a damaged footer contradicts itself, be it a chunk of another type than the schema's
or statistics of another length: it throws in C++ where nobody catches. So no chunk is asked for through pyarrow.

The footer is a FileMetaData in Thrift's compact protocol (parquet.thrift of Apache Parquet's format): fields by number,
each with its type; integers as zigzag varints.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residuum.data.remote import address_of, opened_there
from residuum.errors import UserError

TAIL = 8
"""A file ends in its footer's length, 4 bytes, and PAR1."""
DEEPEST = 32
ROW_GROUPS, COLUMNS, META_DATA = 4, 1, 3
ENCODINGS, PATH, CODEC, BYTES, STORED_BYTES, DATA_PAGE, STATISTICS = 2, 3, 4, 6, 7, 9, 12
NULL_COUNT = 3
UNCOMPRESSED = 0
"""A codec."""
PLAIN, RLE = 0, 3
"""Encodings: of values, and of which are there."""


@dataclass(frozen=True)
class Chunk:
    """One column in one row group. A field is None where the footer does not say it."""

    column: str
    """Its path, by dots: img.bytes."""
    codec: int | None
    encodings: tuple[int, ...]
    uncompressed: int | None
    compressed: int | None
    """Its bytes in the file."""
    data_page: int | None
    """Where its first page of values begins."""
    nulls: int | None


def chunks_of(path: str | Path, column: str) -> list[Chunk]:
    """Return a column's chunk of each row group (UserError if the footer is damaged)."""
    try:
        address = address_of(path)
        with opened_there(address) if address else Path(path).open("rb") as file:
            footer = _struct(_Bytes(_footer(file)))
        groups = [[_chunk(one[META_DATA]) for one in group[COLUMNS]] for group in footer[ROW_GROUPS]]
        return [next(chunk for chunk in group if chunk.column == column) for group in groups]
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration, OSError) as error:
        why = f"its footer does not say where {column!r} lies"
        raise UserError(f"cannot read {path}", why, "fetch the data again") from error


def _footer(file: Any) -> bytes:
    size = file.seek(0, 2)
    file.seek(size - TAIL)
    length = int.from_bytes(file.read(4), "little")
    file.seek(size - TAIL - length)
    return bytes(file.read(length))


def _chunk(said: dict[int, Any]) -> Chunk:
    path = ".".join(part.decode() for part in said[PATH])
    codec, whole, stored, data_page = (_number(said.get(field)) for field in (CODEC, BYTES, STORED_BYTES, DATA_PAGE))
    encodings = tuple(map(int, said.get(ENCODINGS, ())))
    return Chunk(path, codec, encodings, whole, stored, data_page, _number(said.get(STATISTICS, {}).get(NULL_COUNT)))


def _number(value: Any) -> int | None:
    """Return a whole number; a field of another type is as none, as Thrift has it."""
    return value if type(value) is int else None


# --- Thrift's compact protocol -------------------------------------------------------------------


@dataclass
class _Bytes:
    """Bytes, and how far they are read."""

    content: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        taken = self.content[self.at : self.at + count]
        if len(taken) != count:
            raise ValueError("the footer ends too soon")
        self.at += count
        return taken

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def integer(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)


def _struct(of: _Bytes, depth: int = 0) -> dict[int, Any]:
    """Read a struct: its fields by number."""
    found, number = dict[int, Any](), 0
    while header := of.take(1)[0]:
        number = number + (header >> 4) if header >> 4 else of.integer()
        kind = header & 15
        found[number] = kind == 1 if kind in (1, 2) else _value(of, kind, depth + 1)
    return found


def _value(of: _Bytes, kind: int, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError("the footer is nested too deeply")
    if kind in (1, 2, 3):  # as elements of a list, true and false take a byte too
        return of.take(1)[0]
    if kind in (4, 5, 6):
        return of.integer()
    if kind == 7:
        return of.take(8)  # a double, which nobody asks for
    if kind == 8:
        return of.take(of.varint())
    if kind in (9, 10):
        return list(_elements(of, depth))
    if kind == 11:
        return dict(_pairs(of, depth))
    if kind == 12:
        return _struct(of, depth)
    raise ValueError(f"there is no type {kind}")


def _elements(of: _Bytes, depth: int) -> Iterator[Any]:
    header = of.take(1)[0]
    count = of.varint() if header >> 4 == 15 else header >> 4
    for _ in range(count):
        yield _value(of, header & 15, depth + 1)


def _pairs(of: _Bytes, depth: int) -> Iterator[tuple[Any, Any]]:
    if count := of.varint():
        kinds = of.take(1)[0]
        for _ in range(count):
            yield _value(of, kinds >> 4, depth + 1), _value(of, kinds & 15, depth + 1)
