"""The labels of a table, from what a column holds to class numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import natural_key
from residuum.data.table_columns import is_text, opened, rows_of, whole_column
from residuum.errors import UserError, listed

HIDDEN = -1
"""The label that stands for "not published"."""


def read_labels(files: Sequence[Path], column: str) -> Any:
    """Return one split's labels as a ChunkedArray of int64 or of strings, NaN and absent ones as null (UserError)."""
    chunks = []
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
    if labels.null_count == len(labels):
        return len(labels) > 0
    return bool(pa.types.is_integer(labels.type) and pc.all(pc.equal(labels, HIDDEN)).as_py())


def check_present(root: Path, split: SplitName, column: str, labels: Any) -> None:
    """Refuse a split without rows, or with rows without a label (UserError)."""
    if len(labels) == 0:
        raise UserError(f"the {split} split of {root} has no rows")
    missing = labels.is_null()
    if pa.types.is_integer(labels.type):
        missing = pc.or_kleene(missing, pc.less(labels, 0))
    rows = np.flatnonzero(missing.to_numpy())
    if len(rows):
        raise UserError(
            f"{len(rows)} of {len(labels)} rows of the {split} split of {root} have no label",
            f"the column {column!r} holds nothing, NaN or {HIDDEN} there, first in row {rows[0]}",
            "remove these rows",
        )


def classes_in(root: Path, column: str, splits: Sequence[Any]) -> tuple[str, ...]:
    """Return the classes that occur: the names in natural order, or the numbers, which is said if some are left out.

    Raises:
        UserError: each row has a number of its own, other than 0, 1, 2, ….
    """
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


def numbers(root: Path, split: SplitName, labels: Any, classes: Sequence[str], *, named: bool) -> NDArray[np.int64]:
    """Turn a split's labels into (N,) class numbers; `named`: they are that already, where they are numbers.

    Raises:
        UserError: it has classes that training has not.
    """
    is_number = pa.types.is_integer(labels.type)
    found: NDArray[np.int64]
    if is_number and named:
        found = labels.to_numpy().astype(np.int64)
        if found.max() >= len(classes):
            raise UserError(
                f"the {split} split of {root} has the label {found.max()}",
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
