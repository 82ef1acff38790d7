"""The labels of a table, from what a column holds to class numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import natural_key
from residuum.data.labels import Labels
from residuum.data.named_pictures import RowsSaid
from residuum.data.picture_files import is_text_table
from residuum.data.table_columns import Columns, is_text
from residuum.data.table_files import opened, rows_of, whole_column
from residuum.data.table_several import Shown, in_columns, in_lists, in_parts, joined, nothing_told
from residuum.errors import UserError, listed

_DIGITS = r"^(-1|0|[1-9][0-9]{0,17})(\.0+)?$"
HIDDEN = -1
"""The label that stands for "not published"."""


def read_labels(by_file: Mapping[SplitName, Sequence[Path]], columns: Columns) -> dict[SplitName, Any]:
    """Return each split's labels as a ChunkedArray of int64 or of strings, NaN and absent ones as null; of several a
    picture as Shown (UserError)."""
    found = {split: _labels_of(files, columns) for split, files in by_file.items()}
    if columns.several or not any(is_text_table(file) for files in by_file.values() for file in files):
        return found
    return dict(zip(found, _as_digits(list(found.values())), strict=True))


def _as_digits(each: list[Any]) -> list[Any]:
    """Turn texts into numbers where all that there are are numbers, as a typed table would hold them."""
    told = [texts for texts in each if texts.null_count < len(texts)]
    if not all(pc.all(pc.match_substring_regex(texts, _DIGITS)).as_py() for texts in told):
        return each
    return [pc.replace_substring_regex(texts.cast(pa.large_string()), r"\.0+$", "").cast(pa.int64()) for texts in each]


def _labels_of(files: Sequence[Path], columns: Columns) -> Any:
    if columns.several:
        return joined([_shown(path, columns) for path in files])
    chunks, column = [], columns.label
    for path in files:
        with opened(path) as file:
            if column not in file.schema_arrow.names:
                chunks.append(pa.nulls(rows_of(file), pa.int64()))
                continue
            labels = whole_column(path, file, column)
            chunks += _as_labels(path, column, labels).chunks
    kinds = [chunk.type for chunk in chunks if chunk.null_count < len(chunk)]
    return pa.chunked_array(
        [chunk.cast(kinds[0]) for chunk in chunks] if kinds else chunks, None if chunks else pa.int64()
    )


def _shown(path: Path, columns: Columns) -> Shown:
    with opened(path) as file:
        if not columns.tell_of(file.schema_arrow):
            return nothing_told(rows_of(file))
        if columns.each:
            return in_columns(path, columns.each)
        found = whole_column(path, file, columns.label)
        return in_lists(found) if columns.separator is None else in_parts(found, columns.separator)


def read_texts(files: Sequence[Path], column: str) -> list[str | None]:
    """Return a column of text, of all files (UserError if one cannot be read)."""
    texts = list[str | None]()
    for path in files:
        with opened(path) as file:
            texts += whole_column(path, file, column).to_pylist()
    return texts


def _as_labels(path: Path, column: str, labels: Any) -> Any:
    kind = labels.type
    if is_text(kind):
        labels.validate(full=True)  # ArrowInvalid where it is no UTF-8
        return pc.utf8_normalize(labels.cast(pa.large_string()), form="NFC")
    if pa.types.is_boolean(kind):
        return labels.cast(pa.large_string())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = labels.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), None, values)
        if not pc.all(pc.equal(values, pc.round(values))).as_py() and values.null_count < len(values):
            first = next(value for value in values.to_pylist() if value is not None and value % 1)
            raise UserError(
                f"the column {column!r} of {path} does not hold class numbers",
                f"it has fractions, such as {first:g}",
                "store whole numbers, or the classes' names; --label-column names another column",
            )
        return values.cast(pa.int64())
    return labels.cast(pa.int64())


def is_hidden(labels: Any) -> bool:
    """Say whether a split's labels are all withheld, as those of many test splits are."""
    if isinstance(labels, Shown):
        return len(labels) > 0 and not labels.is_told.any()
    if labels.null_count == len(labels):
        return len(labels) > 0
    return bool(pa.types.is_integer(labels.type) and pc.all(pc.equal(labels, HIDDEN)).as_py())


def is_bare(labels: Any) -> bool:
    """Say whether no picture of several labels shows any: there is nothing to judge an answer by."""
    return isinstance(labels, Shown) and bool(labels.is_told.any()) and not len(labels.values)


def check_present(root: Path, split: SplitName, column: str, labels: Any, said: RowsSaid) -> None:
    """Refuse a split without rows, or with rows without a label (UserError); `said` names one of its rows."""
    if len(labels) == 0:
        raise UserError(f"the {split} split of {root} has no rows")
    missing = labels.is_null()
    if pa.types.is_integer(labels.type):
        missing = pc.or_kleene(missing, pc.less(labels, 0))
    rows = np.flatnonzero(missing.to_numpy())
    if len(rows):
        raise UserError(
            f"{len(rows)} of {len(labels)} rows of the {split} split of {root} have no label",
            f"the column {column!r} holds nothing, NaN or {HIDDEN} there, first in {said(rows[0])}",
            "remove these rows" + _or_several(labels),
        )


def check_shown(root: Path, split: SplitName, columns: Columns, labels: Shown, said: RowsSaid) -> None:
    """Refuse a split without rows; rows of which nothing is told, but where an empty text says "none"; and numbers
    below 0 (UserError); `said` names one of its rows."""
    if len(labels) == 0:
        raise UserError(f"the {split} split of {root} has no rows")
    where, held = f"the {split} split of {root}", f"the column {columns.label!r}"
    if is_hidden(labels):
        empty = f"its columns {listed(columns.each, 5)} are empty" if columns.each else f"{held} is empty"
        raise UserError(f"{where} has no labels", empty)
    untold = np.flatnonzero(~labels.is_told)
    if len(untold) and columns.separator is None:
        empty = f"its columns {listed(columns.each, 5)} hold" if columns.each else f"{held} holds"
        none = "0 in each column says" if columns.each else "an empty list says"
        raise UserError(
            f"{len(untold)} of {len(labels)} rows of {where} have no label",
            f"{empty} nothing there, first in {said(untold[0])}",
            f"remove these rows; where a picture shows no class, {none} so",
        )
    if not pa.types.is_integer(labels.values.type):
        return
    if rows := np.unique(labels.rows[pc.less(labels.values, 0).to_numpy()]).tolist():
        count = f"{len(rows)} of {len(labels)} rows"
        raise UserError(
            f"{where} has the label {pc.min(labels.values).as_py()}",
            f"{held} holds numbers below 0 in {count}, first in {said(rows[0])}",
            "leave them out of the lists",
        )


def _or_several(labels: Any) -> str:
    """Name the flag where labels are texts: an empty one may mean that a picture shows none of several."""
    texts = not pa.types.is_integer(labels.type)
    return "; where a picture may show several labels or none, --label-separator says what parts them" * texts


MARKS = (";", "|", ",")
"""What usually parts the labels of a picture."""


def classes_in(root: Path, column: str, splits: Sequence[Any]) -> tuple[str, ...]:
    """Return the classes that occur: the names in natural order, or the numbers, which is said if some are left out.

    Raises:
        UserError: each row has a number of its own, other than 0, 1, 2, ….
    """
    splits = [labels.values if isinstance(labels, Shown) else labels for labels in splits]
    used = set[Any]().union(*(pc.unique(labels).to_pylist() for labels in splits))
    if not all(isinstance(one, int) for one in used):
        return tuple(sorted(map(str, used), key=natural_key))
    numbers, rows = sorted(used), sum(map(len, splits))
    if numbers == list(range(len(numbers))):
        return tuple(map(str, numbers))
    if len(numbers) == rows:
        raise UserError(
            f"the column {column!r} of {root} does not hold class numbers",
            f"each of its {rows} rows has another, up to {numbers[-1]}",
            "give pictures of the same class the same number, or store the classes' names",
        )
    say(f"note: the labels in {column!r} are {listed(numbers, 10)}: these {len(numbers)} are the classes")
    return tuple(map(str, numbers))


def note_parts(column: str, splits: Sequence[Any]) -> None:
    """Say how several labels a picture are read where most texts of several words between marks share their words."""
    times = Counter(text for one in splits if is_text(one.type) for text in one.to_pylist() if text)
    if found := _mark_within(times, MARKS):
        mark, first = found
        say(
            f"note: the labels in {column!r} look like several a picture, as {first!r}: "
            f'with --label-separator "{mark}" each part is a label of its own'
        )


def note_other_mark(column: str, told: str, splits: Sequence[Shown]) -> None:
    """Say that another mark than the one told seems to part the labels, where it stands within them."""
    times = Counter(text for one in splits if is_text(one.values.type) for text in one.values.to_pylist() if text)
    if found := _mark_within(times, [mark for mark in MARKS if mark != told]):
        mark, first = found
        say(
            f"note: {told!r} leaves labels in {column!r} that look like several, as {first!r}: "
            f'with --label-separator "{mark}" each part is a label of its own'
        )


def _mark_within(times: Counter[str], marks: Sequence[str]) -> tuple[str, str] | None:
    """Return the mark between the words that texts of several words share, and the first such text."""
    for mark in marks:
        several = {text: count for text, count in times.items() if mark in text}
        parts = Counter(part.strip() for text in times for part in text.split(mark))
        shared = sum(parts[part.strip()] > 1 for text in several for part in text.split(mark))
        of_all = sum(len(text.split(mark)) for text in several)
        if several and 10 * sum(several.values()) >= times.total() and 2 * shared > of_all:
            return mark, next(iter(several))
    return None


def numbers(root: Path, split: SplitName, labels: Any, classes: Sequence[str], *, named: bool) -> Labels:
    """Turn a split's labels into (N,) class numbers, or (N, K) of several; `named`: they are numbers of these classes
    already, where they are numbers.

    Raises:
        UserError: it has classes that training has not.
    """
    if not isinstance(labels, Shown):
        return _numbers(root, split, labels, classes, named=named)
    found = np.zeros((len(labels), len(classes)), np.uint8)
    if len(labels.values):
        found[labels.rows, _numbers(root, split, labels.values, classes, named=named)] = 1
    return found


def _numbers(root: Path, split: SplitName, labels: Any, classes: Sequence[str], *, named: bool) -> NDArray[np.int64]:
    is_number = pa.types.is_integer(labels.type)
    found: NDArray[np.int64]
    if is_number and named:
        found = labels.to_numpy().astype(np.int64)
        if strange := [one for one in (found.max(), found.min()) if not 0 <= one < len(classes)]:
            raise UserError(
                f"the {split} split of {root} has the label {strange[0]}",
                f"there are names for {len(classes)} classes, numbered from 0",
            )
        return found
    texts = labels.cast(pa.large_string())
    if unknown := sorted(set(pc.unique(texts).to_pylist()) - set(classes), key=natural_key):
        raise UserError(
            f"the {split} split of {root} has the label{'s' * (len(unknown) > 1)} {', '.join(unknown[:20])}"
            if is_number
            else f"the {split} split of {root} has classes that the training split has not",
            listed(unknown),
            "a class must occur in training",
        )
    found = pc.index_in(texts, pa.array(classes, pa.large_string())).to_numpy().astype(np.int64)
    return found
