"""The one way from a record to JSON and back: strict, and it says which version wrote what it cannot read.

A record is a frozen msgspec.Struct. Whatever is unknown, missing or of another type is refused, never guessed. A JSON
object carries the version that wrote it under "residuum_version"; those of 0.1.0, which wrote none, are read as
well. So that they stay readable, a field that is added later gets a default.
"""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from residuum import version
from residuum.errors import UserError
from residuum.files import Json, read_json, write_json

VERSION = "residuum_version"
FIRST = "0.1.0"
"""The version of objects that do not name theirs."""
UNSAID = "lines and lists do not say which version wrote them"


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one file holds, or a part of it."""


T = TypeVar("T")


def to_json(record: Any) -> Any:
    """Return a record, or a list of records, as plain JSON-able data."""
    return msgspec.to_builtins(record, str_keys=True)


def with_version(record: Record) -> Json:
    """Return a record as plain JSON-able data that name the version at work."""
    return {**to_json(record), VERSION: version.VERSION}


def from_json(content: Any, kind: type[T], place: str) -> T:
    """Return `content` as a record of this kind, or as records; `place` says where it was read.

    Raises:
        UserError: a field is unknown, missing or of another type; the message says which, and what wrote it.
    """
    if not isinstance(content, dict):
        return _converted(content, kind, place, UNSAID)
    fields = {name: value for name, value in content.items() if name != VERSION}
    return _converted(fields, kind, place, f"it was written by residuum {content.get(VERSION, FIRST)}")


def _converted(content: Any, kind: type[T], place: str, written_by: str) -> T:
    try:
        return msgspec.convert(content, kind, str_keys=True)
    except ValueError as error:  # msgspec's own are of this kind; so are names that hold half characters
        raise UserError(
            f"{place} is not what residuum {version.VERSION} writes there",
            f"{error}; {written_by}",
            "use the version that wrote it, or write it anew",
        ) from error


def write_record(path: Path, record: Record) -> None:
    """Write a record as a JSON object, whole or not at all (UserError where it cannot be)."""
    write_json(path, with_version(record))


def read_record(path: Path, kind: type[T]) -> T:
    """Read a record, or records.

    Raises:
        UserError: there is no such file, it is no JSON, or it is not such a record.
    """
    return from_json(read_json(path), kind, str(path))


def line(record: Any) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(to_json(record), ensure_ascii=False)


def parse_line(text: str | bytes, kind: Any, place: str) -> Any:
    """Read a record of this kind, or of one of several, from one line of JSON.

    Raises:
        UserError: it is no JSON, or not such a record.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place} is not JSON", str(error), "remove it, or bring the file back") from error
    return _converted(content, kind, place, UNSAID)
