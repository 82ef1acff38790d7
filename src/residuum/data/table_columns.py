"""Which columns of a Parquet file hold pictures, labels and splits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from residuum.console import say
from residuum.data.class_names import differences
from residuum.data.contract import ColumnNames
from residuum.data.parquet_footer import Chunk
from residuum.data.remote import address_of, opened_there
from residuum.errors import UserError, listed, nearest

USUAL_PICTURES = ("image", "img")
USUAL_PATHS = (*USUAL_PICTURES, "path", "file_name", "filename", "file", "filepath", "file_path", "image_path")
USUAL_LABELS = ("label", "fine_label")  # where there are coarse labels too, the fine ones are meant
SPLIT = "split"


@dataclass(frozen=True)
class Columns:
    """Which columns hold picture and label; whether labels are numbers, and the names of these if given."""

    bytes: str
    """Of the pictures' files: "img.bytes" where the column is a struct; "" where there are paths alone."""
    path: str
    """Of their paths, likewise; "" where there are none."""
    label: str
    numbered: bool
    names: tuple[str, ...] | None
    split: str = ""
    """Says each row's split; "" where there is none."""


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Open a Parquet file; what goes wrong with it is the user's to know (UserError)."""
    address = address_of(path)
    source = opened_there(address) if address else path
    try:
        with pq.ParquetFile(source, memory_map=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # text that is none is found as it is read
        raise UserError(f"cannot read {address or path}", str(error).splitlines()[0], "fetch the data again") from error


def rows_of(file: Any) -> int:
    """Return how many rows an opened file's row groups say they hold, which is how they are counted everywhere."""
    return sum(file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))


def whole_column(path: str | Path, file: Any, column: str) -> Any:
    """Read one column of an opened file, as a ChunkedArray (UserError if it has other than the file's rows)."""
    found = file.read(columns=[column], use_threads=False).flatten().column(0)
    check_rows(path, column, len(found), rows_of(file))
    return found


def check_rows(path: str | Path, column: str, found: int, rows: int) -> None:
    """Refuse a column that holds more or fewer rows than there are (UserError)."""
    if found != rows:
        why = f"its column {column!r} holds {found:,} of {rows:,} rows"
        raise UserError(f"{path} is damaged", why, "fetch the data again")


def find_columns(path: Path, told: ColumnNames) -> Columns:
    """Find the columns of a file: those told, else the usual ones, else the only ones that can be meant.

    Raises:
        UserError: none or several can be, or what was told is not there or of another kind.
    """
    with opened(path) as file:
        schema = file.schema_arrow
        assert schema.names is not None  # read here, where names that are no text are one error
    picture = _picture_column(path, schema, told.image)
    split = _split_column(schema, (picture.name, told.image, told.label))
    found = _of_pictures_and_labels(path, schema, picture, split, told.label)
    if not split and SPLIT in schema.names and SPLIT not in {picture.name, found.label}:
        say(f"note: the column {SPLIT!r} holds {schema.field(SPLIT).type}, no names of splits: ignored")
    return found


def _of_pictures_and_labels(path: Path, schema: Any, picture: Any, split: str, label_told: str | None) -> Columns:
    left = [column for column in schema if column.name not in {picture.name, split}]
    label, names = _label_column(path, left, _features(schema), label_told)
    numbered = not is_text(label.type) and not pa.types.is_boolean(label.type)
    in_bytes, in_path = _places(picture)
    return Columns(in_bytes, in_path, label.name, numbered, tuple(names) if names else None, split)


def check_columns(path: Path, columns: Columns, *, labelled: bool) -> None:
    """Refuse a file whose columns or class names are not the first file's (UserError); its labels may be absent unless
    it is `labelled`."""
    with opened(path) as file:
        schema = file.schema_arrow
        assert schema.names is not None  # read here, where names that are no text are one error
    picture = (columns.bytes or columns.path).split(".")[0]
    wanted = [picture, *([columns.split] if columns.split else []), *([columns.label] if labelled else [])]
    if missing := [name for name in wanted if name not in schema.names]:
        raise UserError(
            f"the columns of {path} are not the training split's", f"it lacks {listed(missing)}, of {_said(schema)}"
        )
    if columns.label not in schema.names or pa.types.is_null(schema.field(columns.label).type):
        return
    found = _of_pictures_and_labels(path, schema, _picture_column(path, schema, picture), columns.split, columns.label)
    if (found.names and columns.names) and found.names != columns.names:
        raise UserError(
            f"the class names in {path} are not the training split's",
            differences(columns.names, found.names) or "the names are the same but numbered differently",
            "the splits must come from the same data set",
        )
    if replace(found, names=columns.names) != columns:
        raise UserError(
            f"the columns of {path} are not the training split's",
            f"{_described(found)} instead of {_described(columns)}",
        )


def paths_beside(
    root: Path, files: Sequence[Path], columns: Columns, chunks: Mapping[Path, Sequence[Chunk]]
) -> list[str]:
    """Return the file of each row's picture, "" where the picture lies in the table; nothing where all do.

    `chunks` are those of the pictures' bytes in each file: that none lacks a value is seen there, without reading all.

    A path is taken from the table's folder, or else from `root`, as its first one is found.

    Raises:
        UserError: the first one lies in neither.
    """
    places = list[str]()
    for file in files if columns.path else ():
        with opened(file) as table:
            if columns.bytes and all(chunk.nulls == 0 for chunk in chunks[file]):
                places += [""] * rows_of(table)
                continue
            named = whole_column(file, table, columns.path).to_pylist()
            if columns.bytes:
                inside = whole_column(file, table, columns.bytes).is_valid()
                named = ["" if here else path for path, here in zip(named, inside.to_pylist(), strict=True)]
        base = _base(root, file, columns.path, next(filter(None, named), ""))
        places += [str(base / _as_path(name)) if name else "" for name in named]
    return places if any(places) else []


# --- one column ----------------------------------------------------------------------------------


def _picture_column(path: Path, schema: Any, told: str | None) -> Any:
    if told is not None:
        column = _told(path, schema, told, "--image-column")
        if not any(_places(column)):
            raise _wrong_kind(path, column, "pictures: a file's bytes, or its path")
        return column
    holding = [column for column in schema if _holds_bytes(column.type)]
    if not holding:
        holding = [column for column in schema if any(_places(column)) and column.name in USUAL_PATHS]
    if not holding and (usual := [column for column in schema if column.name in USUAL_PICTURES]):
        raise _wrong_kind(path, usual[0], "pictures: a file's bytes, or its path")
    usual_names = USUAL_PICTURES if any(_holds_bytes(column.type) for column in holding) else USUAL_PATHS
    return _choose(path, "pictures", holding, usual_names, schema, "--image-column")


def _label_column(path: Path, left: list[Any], features: dict[str, Any], told: str | None) -> tuple[Any, Any]:
    """Return the column of labels among those left, and the classes' names in the file's metadata."""
    if told is not None:
        column = _told(path, pa.schema(left), told, "--label-column")
        if not (_holds_labels(column.type) or _could_hold_labels(column.type)):
            raise _wrong_kind(path, column, "one label a row: a number or a name")
        return column, features.get(told, {}).get("names")
    labels = [column for column in left if _holds_labels(column.type)]
    named = [column for column in labels if features.get(column.name, {}).get("names")]
    usual = [column for column in labels if column.name in USUAL_LABELS]
    fitting = usual or named or labels
    if len(fitting) != 1 and not usual:
        others = [column for column in left if column.name in USUAL_LABELS]
        if others and not _could_hold_labels(others[0].type):
            raise _wrong_kind(path, others[0], "one label a row: a number or a name")
        fitting = others or fitting or [column for column in left if _could_hold_labels(column.type)]
    column = _choose(path, "labels", fitting, USUAL_LABELS, pa.schema(left), "--label-column")
    return column, features.get(column.name, {}).get("names")


def _split_column(schema: Any, others: Sequence[str | None]) -> str:
    there = SPLIT in schema.names and SPLIT not in others
    return SPLIT if there and is_text(schema.field(SPLIT).type) else ""


def _choose(path: Path, what: str, fitting: list[Any], preferred: Sequence[str], schema: Any, flag: str) -> Any:
    """Take the first preferred column that fits, or the only one that does."""
    by_name = {column.name: column for column in fitting}
    chosen = next((name for name in preferred if name in by_name), None)
    if chosen is None and len(by_name) != 1:
        raise UserError(
            f"cannot tell which column of {path} holds the {what}",
            f"{listed(by_name)} could" if by_name else f"none of its columns ({_said(schema)}) can",
            f"name the right one with {flag}" if by_name else f"call the right one {preferred[0]!r}",
        )
    return by_name[chosen or next(iter(by_name))]


def _told(path: Path, schema: Any, name: str, flag: str) -> Any:
    if name not in schema.names:
        raise UserError(f"{flag}: {path} has no column {name!r}", _said(schema), nearest(name, schema.names))
    return schema.field(name)


def _wrong_kind(path: Path, column: Any, wanted: str) -> UserError:
    mend = "store that, or name another column with --image-column or --label-column"
    return UserError(f"the column {column.name!r} of {path} holds {column.type}", f"wanted is {wanted}", mend)


# --- kinds ---------------------------------------------------------------------------------------


def _places(column: Any) -> tuple[str, str]:
    """Return the columns of pictures' bytes and of their paths, "" where there are none."""
    kind = column.type
    if not pa.types.is_struct(kind):
        return (column.name if _holds_bytes(kind) else "", column.name if is_text(kind) else "")
    fields = {field.name: field.type for field in kind}
    in_bytes = f"{column.name}.bytes" if "bytes" in fields and _holds_bytes(fields["bytes"]) else ""
    return in_bytes, f"{column.name}.path" if "path" in fields and is_text(fields["path"]) else ""


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: Any) -> bool:
    """Say whether a column of this type holds text."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def _holds_labels(kind: Any) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_integer(value)) or is_text(kind)


def _could_hold_labels(kind: Any) -> bool:
    """Say whether labels can be made of this: numbers that pandas has turned into fractions, yes and no."""
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind))


def _features(schema: Any) -> dict[str, Any]:
    """Return what the `huggingface` metadata says of each column."""
    written = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(written)["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    columns = features.items() if isinstance(features, dict) else ()
    return {name: feature for name, feature in columns if isinstance(feature, dict)}


def _described(columns: Columns) -> str:
    kind = "numbers" if columns.numbered else "names"
    return f"pictures in {columns.bytes or columns.path!r} and class {kind} in {columns.label!r}"


def _said(schema: Any) -> str:
    return ", ".join(f"{name!r} ({kind})" for name, kind in zip(schema.names[:20], schema.types, strict=False))


# --- paths ---------------------------------------------------------------------------------------


def _as_path(name: str) -> str:
    """A path as a table may spell it: file:///x.png, a\\b.png."""
    name = name.removeprefix("file://")
    return name.replace("\\", "/") if "/" not in name else name


def _base(root: Path, file: Path, column: str, first: str) -> Path:
    """Return the folder that a file's paths begin in (UserError if its first picture lies in none)."""
    shown = repr(first if len(first) < 100 else f"{first[:100]}…")
    if "://" in first and not first.startswith("file://"):
        raise UserError(
            f"the pictures of {file} are not on this machine", f"its column {column!r} holds {shown}", "fetch them"
        )
    for base in (file.parent, root):
        try:
            if not first or (base / _as_path(first)).is_file():
                return base
        except (OSError, ValueError):  # a name too long, or with a zero byte: no path
            break
    raise UserError(
        f"the pictures of {file} are not found",
        f"its column {column!r} says {shown} first, which is no file, seen from "
        + " or ".join(dict.fromkeys((str(file.parent), str(root)))),
        "put the pictures where it says, or store their bytes in the table",
    )
