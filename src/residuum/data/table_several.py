"""Several labels a picture in a table: a column of lists, texts of several parts, or a column for each class.

Letters: N rows, K classes, M labels of all rows together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from residuum.data.table_files import opened, rows_said, whole_column
from residuum.errors import UserError, listed

YES = frozenset({"1", "true", "yes"})
NO = frozenset({"0", "-1", "false", "no"})
"""What a column of a class says of a row, in any case; -1 as in CelebA, where no 0 stands beside it."""


@dataclass(frozen=True)
class Shown:
    """What N rows show: M times a row and one of its classes, as a number or by name."""

    rows: NDArray[np.int64]  # (M,)
    values: Any  # M int64 or strings
    is_told: NDArray[np.bool_]  # (N,): False where the table says nothing

    def __len__(self) -> int:
        return len(self.is_told)

    def take(self, rows: Any) -> "Shown":
        """Return these rows, each at most once, in this order."""
        place = np.full(len(self), -1)
        place[np.asarray(rows)] = np.arange(len(rows))
        kept = place[self.rows] >= 0
        return Shown(place[self.rows][kept], self.values.filter(pa.array(kept)), self.is_told[np.asarray(rows)])


def nothing_told(count: int) -> Shown:
    """Return rows of which the table says nothing."""
    return Shown(np.empty(0, np.int64), pa.chunked_array([], pa.int64()), np.zeros(count, bool))


def joined(each: Sequence[Shown]) -> Shown:
    """Return the rows of several files, one after another."""
    firsts = np.cumsum([0, *map(len, each)])[:-1]
    rows = [one.rows + first for one, first in zip(each, firsts, strict=True)]
    kinds = [one.values.type for one in each if len(one.values)]
    values = [one.values.cast(kinds[0] if kinds else pa.int64()) for one in each]
    chunks = [chunk for one in values for chunk in one.chunks]
    told = np.concatenate([one.is_told for one in each])
    return Shown(np.concatenate(rows), pa.chunked_array(chunks, kinds[0] if kinds else pa.int64()), told)


def in_lists(lists: Any) -> Shown:
    """Read a column of lists of numbers or texts."""
    return _flat(lists.combine_chunks())


def in_parts(texts: Any, separator: str) -> Shown:
    """Read a column of texts whose parts are labels; blanks around a part are none of it, empty parts are none."""
    parted = pc.split_pattern(texts.cast(pa.large_string()).combine_chunks(), separator)
    return _flat(parted)


def _flat(lists: Any) -> Shown:
    rows, values = pc.list_parent_indices(lists).to_numpy().astype(np.int64), pc.list_flatten(lists)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_integer(values.type):
        values = values.cast(pa.int64())
        kept = values.is_valid()
    else:
        values.validate(full=True)  # ArrowInvalid where it is no UTF-8
        values = pc.utf8_trim_whitespace(pc.utf8_normalize(values.cast(pa.large_string()), form="NFC"))
        kept = pc.fill_null(pc.not_equal(values, ""), False)
    told = lists.is_valid().to_numpy(zero_copy_only=False)
    return Shown(rows[kept.to_numpy(zero_copy_only=False)], pa.chunked_array([values.filter(kept)]), told)


def in_columns(path: Path, columns: Sequence[str]) -> Shown:
    """Read a column for each class, which says yes or no of each row; the classes' numbers are the columns'.

    Raises:
        UserError: a column holds something else, or nothing in a row of which others tell, or both 0 and -1 occur.
    """
    with opened(path) as file:
        words = {name: _as_words(whole_column(path, file, name)) for name in columns}
    _refuse_unclear(path, words)
    said = [_yes_or_no(path, name, one) for name, one in words.items()]
    shown, told = (np.stack(each, 1) for each in zip(*said, strict=True))
    is_told: NDArray[np.bool_] = np.logical_or.reduce(told, axis=1)
    if gaps := np.argwhere(~told & is_told[:, None]).tolist():
        row, number = gaps[0]
        why = f"its column {columns[number]!r} holds nothing in {rows_said([path], row)}"
        raise UserError(f"{path} does not say of each picture whether it shows a class", why, "write 0 or 1 there")
    rows, numbers = np.nonzero(shown)
    return Shown(rows.astype(np.int64), pa.chunked_array([pa.array(numbers, pa.int64())]), is_told)


def _refuse_unclear(path: Path, words: Mapping[str, Any]) -> None:
    """Refuse columns that hold both 0 and -1: one of them may mean that nobody knows (UserError)."""
    held = {name: _held(said) for name, said in words.items()}
    below = [name for name, each in held.items() if "-1" in each]
    if below and any("0" in each for each in held.values()):
        raise UserError(
            f"the columns of {path} hold both 0 and -1",
            f"-1 can mean no, as in CelebA, or uncertain, as in CheXpert; it occurs in {listed(below, 5)}",
            "write 0 or 1 in place of -1, or leave these rows out",
        )


def _yes_or_no(path: Path, name: str, said: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows a column of words says yes of, (N,), and of which it says something."""
    if strange := sorted(_held(said) - YES - NO):
        raise UserError(
            f"the column {name!r} of {path} does not say yes or no",
            f"it holds {listed(strange, 5)} too",
            "of several labels a picture, a column for each class holds 1 where a picture shows it, else 0",
        )
    return pc.is_in(said, pa.array(sorted(YES), pa.large_string())).to_numpy(), said.is_valid().to_numpy()


def says_yes_or_no(path: Path, columns: Sequence[str]) -> bool:
    """Say whether each of these columns says yes or no of each row, and one says yes of some."""
    with opened(path) as file:
        held = [_held(_as_words(whole_column(path, file, name))) for name in columns]
    return all(one <= YES | NO for one in held) and any(one & YES for one in held)


def _as_words(column: Any) -> Any:
    """Return what a column says, as texts in small letters: true, 1, -1; null where it holds NaN."""
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.replace_substring_regex(pc.utf8_lower(column.cast(pa.large_string())), r"^(-?[0-9]+)\.0*$", r"\1")


def _held(words: Any) -> set[str]:
    return set(pc.unique(words).drop_null().to_pylist())
