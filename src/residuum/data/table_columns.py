"""Which columns of a table hold pictures, labels and splits."""

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from residuum.console import say
from residuum.data.class_names import differences
from residuum.data.contract import ColumnNames
from residuum.data.named_pictures import as_path, not_found
from residuum.data.parquet_footer import Chunk
from residuum.data.picture_files import SUFFIXES, is_text_table
from residuum.data.table_files import opened, rows_of, whole_column
from residuum.data.table_several import says_yes_or_no
from residuum.errors import UserError, listed, nearest

USUAL_PICTURES = ("image", "img")
USUAL_PATHS = (*USUAL_PICTURES, "path", "file_name", "filename", "file", "filepath", "file_path", "image_path")
_OF_LISTS = ("image_name", "image_id", "img_path", "img_name", "picture", "photo", "id", "文件名", "图片")
USUAL_IN_TEXTS = (*USUAL_PATHS, *_OF_LISTS)
USUAL_LABELS = ("label", "fine_label")  # where there are coarse labels too, the fine ones are meant
USUAL_LABELS_IN_TEXTS = (*USUAL_LABELS, "labels", "class", "class_name", "category", "tags", "标签", "类别")
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
    each: tuple[str, ...] = ()
    """Of several labels a picture: the columns that say yes or no of a class each, `label` the first of them."""
    separator: str | None = None
    """Of several labels a picture: what parts them in `label`."""
    lists: bool = False
    """Whether `label` holds lists."""

    @property
    def several(self) -> bool:
        """Say whether a row shows any number of classes."""
        return bool(self.each or self.lists or self.separator is not None)

    @property
    def labels(self) -> tuple[str, ...]:
        """Return all columns that labels are read from."""
        return self.each or (self.label,)

    def tell_of(self, schema: Any) -> bool:
        """Say whether a file with this schema holds any labels; test files often hold none."""
        return any(name in schema.names and not pa.types.is_null(schema.field(name).type) for name in self.labels)


def find_columns(path: Path, told: ColumnNames) -> Columns:
    """Find the columns of a file: those told, else the usual ones, else the only ones that can be meant.

    Raises:
        UserError: none or several can be, or what was told is not there or of another kind.
    """
    with opened(path) as file:
        schema = file.schema_arrow
        assert schema.names is not None  # read here, where names that are no text are one error
    picture = _picture_column(path, schema, told.image)
    names = _names_told(schema, told.label)
    split = _split_column(schema, (picture.name, told.image, *names))
    found = _of_pictures_and_labels(path, schema, picture, split, names, told.separator)
    if found.each and not names:
        say(f"note: the columns {listed(found.each, 5)} say yes or no: these {len(found.each)} are the labels")
    if not split and SPLIT in schema.names and SPLIT not in {picture.name, *found.labels}:
        say(f"note: the column {SPLIT!r} holds {schema.field(SPLIT).type}, no names of splits: ignored")
    return found


def _names_told(schema: Any, told: str | None) -> tuple[str, ...]:
    """Return the columns of labels that are told: one of that very name, else those parted by commas (UserError: it is
    told twice)."""
    if told is None or told in schema.names:
        return () if told is None else (told,)
    names = tuple(filter(None, map(str.strip, told.split(",")))) or (told,)
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"--label-column names {listed(repeated)} twice", "", "name each column once")
    return names


def picture_column(path: Path) -> str:
    """Return the column of a file that holds pictures, or their paths (UserError: it cannot be told which)."""
    with opened(path) as file:
        return str(_picture_column(path, file.schema_arrow, None).name)


def _of_pictures_and_labels(
    path: Path, schema: Any, picture: Any, split: str, labels: tuple[str, ...], separator: str | None
) -> Columns:
    left = [column for column in schema if column.name not in {picture.name, split}]
    label, each, names = _label_columns(path, left, _features(schema), labels, separator)
    numbered = bool(each) or not (is_text(label.type) or _holds_texts(label.type) or pa.types.is_boolean(label.type))
    in_bytes, in_path = _places(picture)
    lists = _holds_lists(label.type)
    separator = None if lists else separator
    return Columns(
        in_bytes, in_path, label.name, numbered, tuple(names) if names else None, split, each, separator, lists
    )


def check_columns(path: Path, columns: Columns, *, labelled: bool) -> None:
    """Refuse a file whose columns or class names are not the first file's (UserError); its labels may be absent unless
    it is `labelled`."""
    with opened(path) as file:
        schema = file.schema_arrow
        assert schema.names is not None  # read here, where names that are no text are one error
    picture = (columns.bytes or columns.path).split(".")[0]
    labelled = labelled or columns.tell_of(schema)
    wanted = [picture, *([columns.split] if columns.split else []), *(columns.labels if labelled else [])]
    if missing := [name for name in wanted if name not in schema.names]:
        raise UserError(
            f"the columns of {path} are not the training split's", f"it lacks {listed(missing)}, of {_said(schema)}"
        )
    if not columns.tell_of(schema):
        return
    found = _of_pictures_and_labels(
        path, schema, _picture_column(path, schema, picture), columns.split, columns.labels, columns.separator
    )
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
        places += [str(base / as_path(name)) if name else "" for name in named]
    return places if any(places) else []


# --- one column ----------------------------------------------------------------------------------


def _picture_column(path: Path, schema: Any, told: str | None) -> Any:
    if told is not None:
        column = _told(path, schema, told, "--image-column")
        if not any(_places(column)):
            raise _wrong_kind(path, column, "pictures: a file's bytes, or its path")
        return column
    holding = [column for column in schema if _holds_bytes(column.type)]
    usual: Sequence[str] = USUAL_IN_TEXTS if is_text_table(path) else USUAL_PATHS
    if not holding:
        holding = [column for column in schema if any(_places(column)) and column.name.casefold() in usual]
    if is_text_table(path) and not any(_names_pictures(path, column.name) for column in holding):
        called = [column for column in schema if _names_pictures(path, column.name)]
        holding = called if not holding or len(called) == 1 else holding  # an id gives way to the only path
    if not holding and (of_other_kind := [column for column in schema if column.name in USUAL_PICTURES]):
        raise _wrong_kind(path, of_other_kind[0], "pictures: a file's bytes, or its path")
    usual = USUAL_PICTURES if any(_holds_bytes(column.type) for column in holding) else usual
    return _choose(path, "pictures", holding, usual, schema, "--image-column")


def _names_pictures(path: Path, column: str) -> bool:
    """Say whether the first text of a column is called as a picture."""
    with opened(path) as file:
        first = next((text for text in whole_column(path, file, column).to_pylist() if text), "")
    return Path(first).suffix.lower() in SUFFIXES


def _label_columns(
    path: Path, left: list[Any], features: dict[str, Any], told: tuple[str, ...], separator: str | None
) -> tuple[Any, tuple[str, ...], Any]:
    """Return the column of labels among those left; or the first of several that say yes or no, and all their names;
    and the classes' names, from the file's metadata or those columns."""
    for name in told:
        column = _told(path, pa.schema(left), name, "--label-column")
        if not (_holds_labels(column.type) or _could_hold_labels(column.type) or _holds_lists(column.type)):
            raise _wrong_kind(path, column, "labels: numbers or names, one or a list of them")
    schema = pa.schema(left)
    if len(told) == 1:
        column = schema.field(told[0])
    elif each := told or _each_class(path, left, separator):
        return schema.field(each[0]), each, [unicodedata.normalize("NFC", name) for name in each]
    else:
        column = _label_column(path, left, features)
    if separator is not None and not (is_text(column.type) or _holds_lists(column.type)):
        raise _wrong_kind(path, column, "text, which --label-separator parts")
    return column, (), _class_names(features.get(column.name))


def _each_class(path: Path, left: list[Any], separator: str | None) -> tuple[str, ...]:
    """Return the columns where all that could be labels, two or more, say yes or no; none if one is called a label."""
    could = [column for column in left if _holds_labels(column.type) or _could_hold_labels(column.type)]
    names = tuple(column.name for column in could)
    if len(could) < 2 or separator is not None or any(column.name.casefold() in _usual_labels(path) for column in left):
        return ()
    return names if says_yes_or_no(path, names) else ()


def _label_column(path: Path, left: list[Any], features: dict[str, Any]) -> Any:
    labels = [column for column in left if _holds_labels(column.type)]
    lists = [column for column in left if _holds_lists(column.type)]
    named = [column for column in labels + lists if _class_names(features.get(column.name))]
    usual = [column for column in labels + lists if column.name.casefold() in _usual_labels(path)]
    fitting = usual or named or labels or lists
    if len(fitting) != 1 and not usual:
        others = [column for column in left if column.name in USUAL_LABELS]
        if others and not _could_hold_labels(others[0].type):
            raise _wrong_kind(path, others[0], "labels: numbers or names, one or a list of them")
        fitting = others or fitting or [column for column in left if _could_hold_labels(column.type)]
    return _choose(path, "labels", fitting, _usual_labels(path), pa.schema(left), "--label-column")


def _usual_labels(path: Path) -> Sequence[str]:
    return USUAL_LABELS_IN_TEXTS if is_text_table(path) else USUAL_LABELS


def _split_column(schema: Any, others: Sequence[str | None]) -> str:
    there = SPLIT in schema.names and SPLIT not in others
    return SPLIT if there and is_text(schema.field(SPLIT).type) else ""


def _choose(path: Path, what: str, fitting: list[Any], preferred: Sequence[str], schema: Any, flag: str) -> Any:
    """Take the first preferred column that fits, or the only one that does."""
    by_name = {column.name: column for column in fitting}
    alike = {name.casefold(): name for name in reversed(by_name)} | {name: name for name in by_name}
    chosen = next((alike[name] for name in preferred if name in alike), None)
    if chosen is None and len(by_name) != 1:
        each = ", or columns of 0 and 1 with commas between" if what == "labels" else ""
        raise UserError(
            f"cannot tell which column of {path} holds the {what}",
            f"{listed(by_name)} could" if by_name else f"none of its columns ({_said(schema)}) can",
            f"name the right one with {flag}{each}" if by_name else f"call the right one {preferred[0]!r}",
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


def _holds_lists(kind: Any) -> bool:
    """Say whether a column of this type holds lists of labels."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list) and _holds_labels(kind.value_type)


def _holds_texts(kind: Any) -> bool:
    return _holds_lists(kind) and is_text(kind.value_type)


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
    return dict(columns)


def _class_names(feature: Any) -> Any:
    """Return the classes' names that a column's feature gives: of a label, or of each in a list of labels."""
    if isinstance(feature, list) and len(feature) == 1:  # as older ones write lists
        return _class_names(feature[0])
    if not isinstance(feature, dict):
        return None
    return feature.get("names") or _class_names(feature.get("feature"))


def _described(columns: Columns) -> str:
    kind = ("lists of " if columns.lists else "") + ("class numbers" if columns.numbered else "class names")
    return f"pictures in {columns.bytes or columns.path!r} and {kind} in {columns.label!r}"


def _said(schema: Any) -> str:
    if all(kind == pa.large_string() for kind in schema.types):  # texts, as CSV has alone
        return listed(schema.names, 20)
    return ", ".join(f"{name!r} ({kind})" for name, kind in zip(schema.names[:20], schema.types, strict=False))


# --- paths ---------------------------------------------------------------------------------------


def _base(root: Path, file: Path, column: str, first: str) -> Path:
    """Return the folder that a file's paths begin in (UserError if its first picture lies in none)."""
    if "://" in first and not first.startswith("file://"):
        raise not_found(file, column, first, ())
    for base in (file.parent, root):
        try:
            if not first or (base / as_path(first)).is_file():
                return base
        except (OSError, ValueError):  # a name too long, or with a zero byte: no path
            break
    raise not_found(file, column, first, (str(file.parent), str(root)))
