"""Tables of pictures and what they show: Parquet files as Hugging Face lays them out, and CSV beside the pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import refuse_nothing_to_learn
from residuum.data.contract import USUAL_COLUMNS, ColumnNames, ImageData, Split, Subset
from residuum.data.labels import Labels, counts, is_several
from residuum.data.named_pictures import BesideTable, PicturesBelow, once, text_tables_in
from residuum.data.parquet import own_files, pictures_in
from residuum.data.picture_files import existing_folder, is_text_table, label_of, passed_over, printable
from residuum.data.shard_files import by_split, data_root, data_set_files, is_of_training, place_of, read_each
from residuum.data.split import split_meant
from residuum.data.table_columns import Columns, check_columns, find_columns, picture_column
from residuum.data.table_files import opened, rows_said, whole_column
from residuum.data.table_labels import (
    check_present,
    check_shown,
    classes_in,
    is_bare,
    is_hidden,
    note_other_mark,
    note_parts,
    numbers,
    read_labels,
    read_texts,
)
from residuum.errors import UserError, listed

ByFile = Mapping[SplitName, Sequence[Path]]


class _Rows(NamedTuple):
    """A split as it is read: its files, which of their rows (None: all), and the labels of these."""

    files: Sequence[Path]
    rows: NDArray[np.int64] | None
    labels: Any

    def said(self, *rows: int) -> str:
        """Name rows of the split, counted from 0, as a person finds them in their table."""
        return rows_said(self.files, *(rows if self.rows is None else self.rows[list(rows)]))


Made = Callable[[SplitName, _Rows, Columns, Labels], Split]
"""Makes a split of its rows and what they show."""


def open_parquet(path: str | Path, told: ColumnNames = USUAL_COLUMNS, *, judging: bool = False) -> ImageData:
    """Open a folder of Parquet files: train-*.parquet or train/*.parquet, validation and test likewise.

    A row holds the picture's file (binary, or a struct with `bytes`), or its path from the table or the folder; and its
    label: a class number, named in the file's `huggingface` metadata or not, or the class name itself; or several, as
    table_several.py has them. A column `split` of split names goes before the files' names. Of numbers without names
    those that occur are the classes; that is said where they are not 0, 1, 2, ….

    `judging`: there need be no training split, nor more than one class; the classes are those of all splits.

    Raises:
        UserError: there is no such folder, or its files are not such a data set.
    """
    root = data_root(path)
    files = data_set_files(root, ".parquet")
    read_each(files, _refuse_broken)
    classes, splits = _open(root, by_split(root, files), told, _from_parquet(root), judging=judging)
    return ImageData.of(label_of(path), place_of(root), classes, splits)


def open_texts(path: str | Path, told: ColumnNames = USUAL_COLUMNS, *, judging: bool = False) -> ImageData:
    """Open a folder of pictures by the CSV or TSV tables in it, or by the one table at `path`, in the same way.

    A row names a picture below the folder: see PicturesBelow.named. What is told of one picture in several rows must
    agree; of several labels it shows them all. Pictures that stand in no row are passed over. Rows of the one table are
    training pictures whatever it is called, so that a run finds them again as they were; unless its column `split` says
    otherwise.

    Raises:
        UserError: there is no such table, or it does not tell what pictures show.
    """
    given = Path(path)
    is_table = given.is_file()
    root = existing_folder(given.parent if is_table else given)
    files = [root / given.name] if is_table else text_tables_in(root)
    beside = BesideTable(PicturesBelow(root))
    by_file: ByFile = {"train": files} if is_table else by_split(root, files)
    classes, splits = _open(root, by_file, told, _from_texts(beside), judging=judging)
    source = files[0] if is_table else root
    data = ImageData.of(label_of(root), str(source), classes, splits)
    read = {printable(file.relative_to(root).as_posix()) for file in files}
    other = [one for one in passed_over(root) if one.name not in read]
    return replace(data, passed_over=(*other, *beside.untold()))


def pictures_named_in(table: Path) -> list[Path]:
    """Return the pictures that a table of texts names, each once (UserError: it names none that is here)."""
    column = picture_column(table)
    root = existing_folder(table.parent)
    with opened(table) as file:
        names = [name for name in whole_column(table, file, column).to_pylist() if name]
    return [root / path for path in dict.fromkeys(PicturesBelow(root).named(root / table.name, column, names, None))]


def _open(
    root: Path, by_file: ByFile, told: ColumnNames, made: Made, *, judging: bool
) -> tuple[list[str], dict[SplitName, Split]]:
    """Return classes and splits; training is one, be it empty."""
    files = [file for those in by_file.values() for file in those]
    training = (file for file in files if is_of_training(root, file))
    columns = find_columns(next(training, files[0]), told)
    splits = (_split_by_column(root, files, columns) if columns.split else None) or _split_by_files(
        by_file, columns := replace(columns, split="")
    )
    if "train" not in splits and not judging:
        kind = "….csv" if is_text_table(files[0]) else "-….parquet"
        mend = f"write train into its column {columns.split!r}" if columns.split else f"call its files train{kind}"
        raise UserError(f"{root} has no training split", "", mend)
    _pass_over_hidden(root, splits, judging=judging)
    known = [rows.labels for split, rows in splits.items() if judging or split == "train"]
    if not (columns.names or columns.several):
        note_parts(columns.label, known)
    elif columns.separator is not None:
        note_other_mark(columns.label, columns.separator, known)
    for split, rows in splits.items():
        if columns.several:
            check_shown(root, split, columns, rows.labels, rows.said)
        else:
            check_present(root, split, columns.label, rows.labels, rows.said)
    classes = columns.names or classes_in(root, columns.label, known)
    found: dict[SplitName, Split] = {
        split: made(split, rows, columns, numbers(root, split, rows.labels, classes, named=bool(columns.names)))
        for split, rows in splits.items()
    }
    if not judging:
        refuse_nothing_to_learn(root, classes, found["train"].labels)
        _say_unused(classes, found["train"])
        _say_exclusive(found["train"].labels)
    first = next(iter(found.values()))
    return list(classes), {"train": first.take(np.empty(0, np.int64)), **found}


def _pass_over_hidden(root: Path, splits: dict[SplitName, _Rows], *, judging: bool) -> None:
    """Pass over what cannot be judged by: splits without labels, or of several labels without a picture that shows any.

    Raises:
        UserError: nothing is left to judge by.
    """
    hidden = {split: "has no labels" for split, rows in splits.items() if is_hidden(rows.labels)}
    hidden |= {split: "has no picture that shows a class" for split, rows in splits.items() if is_bare(rows.labels)}
    if judging and len(hidden) == len(splits):
        why = "" if "has no labels" in hidden.values() else "no picture of it shows a class"
        raise UserError(f"{root} has no labels to judge by", why, "residuum predict answers pictures without labels")
    for split in [one for one in hidden if one != "train"]:
        say(f"note: the {split} split of {root} {hidden[split]}: it is passed over")
        del splits[split]


def _say_unused(classes: Sequence[str], training: Split) -> None:
    shown = counts(training.labels, len(classes))
    if unused := [name for name, count in zip(classes, shown, strict=True) if not count]:
        say(f"note: no training picture shows {listed(unused, 5)}: such will never be answered")


def _say_exclusive(labels: Labels) -> None:
    if is_several(labels) and (labels.sum(1) == 1).all():
        say(
            "note: each training picture shows exactly one class; where that is always so, one column of class names, "
            "without --label-separator, lets a net learn that classes exclude each other"
        )


# --- rows --------------------------------------------------------------------------------------


def _split_by_files(by_file: ByFile, columns: Columns) -> dict[SplitName, _Rows]:
    """Read each split of the files that are its own."""
    for split, those in by_file.items():
        for file in those:
            check_columns(file, columns, labelled=split == "train")
    labels = read_labels(by_file, columns)
    return {split: _Rows(those, None, labels[split]) for split, those in by_file.items()}


def _split_by_column(root: Path, files: list[Path], columns: Columns) -> dict[SplitName, _Rows] | None:
    """Take each row's split from the column that says it; None, which is said, where it names no split at all.

    Raises:
        UserError: it names splits, but not each row's.
    """
    for file in files:
        check_columns(file, columns, labelled=True)
    said = read_texts(files, columns.split)
    meant = [split_meant(one) if one else None for one in said]
    if not any(meant):
        held = listed(dict.fromkeys(map(str, said)), 3)
        say(f"note: the column {columns.split!r} holds {held}, no names of splits: ignored")
        return None
    labels = read_labels({"train": files}, columns)["train"]
    if strange := sorted({str(one) for one, split in zip(said, meant, strict=True) if split is None}):
        raise UserError(
            f"the column {columns.split!r} of {root} does not say the split of each row",
            f"it holds {listed(strange, 5)} too",
            "write train, validation or test there, or rename the column",
        )
    found: dict[SplitName, _Rows] = {}
    for split in get_args(SplitName):
        rows = np.array([row for row, one in enumerate(meant) if one == split], np.int64)
        if len(rows):
            found[split] = _Rows(files, rows, labels.take(pa.array(rows)))
    return found


# --- pictures ----------------------------------------------------------------------------------


def _from_parquet(root: Path) -> Made:
    whole = cache(partial(pictures_in, root))

    def made(split: SplitName, rows: _Rows, columns: Columns, labels: Labels) -> Split:
        if rows.rows is None:
            pictures = pictures_in(root, tuple(rows.files), columns, split)
            return _each_once(rows, Split(pictures, labels), own_files(pictures))
        pictures = whole(tuple(rows.files), columns, "table")
        own = own_files(pictures)
        of_rows = [own[row] for row in rows.rows] if own else []
        return _each_once(rows, Split(Subset(pictures, rows.rows), labels), of_rows)

    return made


def _each_once(rows: _Rows, split: Split, own: Sequence[str]) -> Split:
    """Join the rows of one picture of several labels, as in tables of texts; pictures that lie in the table are one a
    row, and so are those of one label, which may stand there more often so that they count more often."""
    if not is_several(split.labels):
        return split
    firsts, labels = once(rows.files[0], own, split.labels, rows.said) if own else (np.empty(0, np.int64), split.labels)
    return replace(split.take(firsts), labels=labels) if len(firsts) < len(own) else split


def _from_texts(beside: BesideTable) -> Made:
    def made(split: SplitName, rows: _Rows, columns: Columns, labels: Labels) -> Split:
        named = [read_texts([file], columns.path) for file in rows.files]
        return beside.split(split, rows.files, columns.path, named, rows.rows, labels, rows.said)

    return made


def _refuse_broken(file: Path) -> None:
    """Refuse a file that is not Parquet, or no longer (UserError)."""
    with opened(file):
        pass
