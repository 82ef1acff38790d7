"""Picture files that a table of texts names, as people name them: by path, by name alone, or without the suffix.

Letters: N rows.
"""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import natural_key
from residuum.data.contract import Split
from residuum.data.folder import FolderPictures
from residuum.data.labels import Labels, is_several
from residuum.data.picture_files import TEXT_TABLES, PassedOver, is_hidden, is_text_table, pictures_below, printable
from residuum.data.shard_files import files_called, split_of
from residuum.data.split import split_meant
from residuum.errors import UserError, listed

RowsSaid = Callable[..., str]
"""Names rows of a split, counted from 0, as a person finds them in their table."""
_USUAL_TABLES = ("labels", "metadata", "annotations")


def as_path(name: str) -> str:
    """A path as a table may spell it: file:///x.png, a\\b.png."""
    name = name.removeprefix("file://")
    return name.replace("\\", "/") if "/" not in name else name


@dataclass(frozen=True)
class PicturesBelow:
    """The picture files below a folder, to be found by what a table calls them."""

    root: Path

    @cached_property
    def paths(self) -> list[str]:
        """All of them, below the root."""
        return pictures_below(self.root)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Those of each name, with its suffix and without."""
        found = defaultdict[str, list[str]](list)
        for path in self.paths:
            name = PurePosixPath(_plain(path))
            for one in {name.name, name.stem}:
                found[one].append(path)
        return found

    def named(self, table: Path, column: str, names: Sequence[str], split: SplitName | None) -> list[str]:
        """Return the file of each name, as a path from the root; of one that is not found, where it would lie.

        A path is taken from the table's folder, else from the root. What lies in neither is looked for at any depth:
        a picture whose path ends so, with its suffix or without; of several the one in a folder of this split.

        Raises:
            UserError: several are meant by a name, or no name leads to a picture.
        """
        folder = os.path.relpath(table.parent, self.root)
        direct = [self._direct(folder, as_path(name)) for name in names]
        unclear, found = dict[str, list[str]](), list[str | None]()
        for name, path in zip(names, direct, strict=True):
            meant = [path] if path else self._ending_in(as_path(name), split)
            if len(meant) > 1:
                unclear[name] = meant
            found.append(meant[0] if meant else None)
        if unclear:
            raise _unclear(table, column, unclear)
        missing = [name for name, path in zip(names, found, strict=True) if not path]
        near = next(((name, alike) for name in missing if (alike := self._alike(as_path(name)))), None)
        if names and not any(found):
            raise not_found(table, column, names[0], (str(table.parent), str(self.root)), near)
        if near:
            say(f"note: {len(missing)} of {len(names)} pictures that {table} names are not there; {_near_said(*near)}")
        return [path or os.path.normpath(f"{folder}/{as_path(name)}") for name, path in zip(names, found, strict=True)]

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """Those of each name without its suffix, in small letters."""
        found = defaultdict[str, list[str]](list)
        for path in self.paths:
            found[PurePosixPath(_plain(path)).stem.casefold()].append(path)
        return found

    def _alike(self, name: str) -> list[str]:
        """Return the pictures that a name misses by its suffix or its capitals alone."""
        end = _plain(os.path.normpath(name)).casefold()
        ends = {end, str(PurePosixPath(end).with_suffix(""))} if PurePosixPath(end).name else set[str]()
        found = {one: None for each in ends for one in self._by_stem.get(each.rpartition("/")[2], ())}
        return [one for one in found if any(_ends_in(_plain(one).casefold(), each) for each in ends)]

    def _direct(self, folder: str, name: str) -> str | None:
        for base in dict.fromkeys((folder, ".")):
            path = f"{base}/{name}" if not name.startswith("/") else os.path.relpath(name, self.root)
            if os.path.isfile(f"{self.root}/{path}"):  # noqa: PTH113 - Path.is_file takes five times as long
                return os.path.normpath(path)
        return None

    def _ending_in(self, name: str, split: SplitName | None) -> list[str]:
        end = _plain(os.path.normpath(name))
        found = [path for path in self._by_name.get(end.rpartition("/")[2], ()) if _ends_in(_plain(path), end)]
        if len(found) > 1:
            for meant in (
                split,
                "train" if split == "validation" else None,
            ):  # which is often cut from those to train on
                ours = [path for path in found if meant and meant in map(split_meant, PurePosixPath(path).parts[:-1])]
                found = ours or found
        return found


@dataclass(frozen=True)
class BesideTable:
    """Splits of pictures that tables of texts name, and which pictures they name."""

    below: PicturesBelow
    told: set[str] = field(default_factory=set)

    def split(
        self,
        split: SplitName,
        files: Sequence[Path],
        column: str,
        named: Sequence[Sequence[str | None]],
        rows: NDArray[np.int64] | None,
        labels: Labels,
        said: RowsSaid,
    ) -> Split:
        """Make a split of the pictures that the rows of `files` name, (N,), or `rows` of these, and their labels;
        `said` names one of its rows.

        Raises:
            UserError: a row names no picture, or rows of the same picture tell different labels.
        """
        paths, first = list[str](), 0
        for file, names in zip(files, named, strict=True):
            ours, last = names, first + len(names)
            if rows is not None:
                ours = [names[row - first] for row in rows[(rows >= first) & (rows < last)].tolist()]
            if unnamed := [row for row, name in enumerate(ours) if not name]:
                what = f"{len(unnamed)} of {len(ours)} rows of {file} name no picture"
                why = f"the column {column!r} is empty there, first in {said(len(paths) + unnamed[0])}"
                raise UserError(what, why, "remove these rows")
            first = last
            paths += self.below.named(file, column, list(map(str, ours)), split)
        self.told.update(paths)
        firsts, labels = once(files[0], paths, labels, said)
        return Split(FolderPictures(str(self.below.root), [paths[row] for row in firsts]), labels)

    def untold(self) -> list[PassedOver]:
        """Return the pictures that no row names."""
        left = (path for path in self.below.paths if path not in self.told)
        return [PassedOver(printable(path), "pictures of which no table tells") for path in left]


def once(table: Path, paths: Sequence[str], labels: Labels, said: RowsSaid) -> tuple[NDArray[np.int64], Labels]:
    """Return the first row of each picture, and what all its rows tell (UserError: of one class a picture, they
    disagree); `said` names a row."""
    places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    if len(places) == len(paths):
        return np.arange(len(paths)), labels
    of_rows = np.array([places[path] for path in paths])
    _, firsts = np.unique(of_rows, return_index=True)
    found: Labels = labels[firsts]
    if is_several(labels):
        np.maximum.at(found, of_rows, labels)
    elif len(wrong := np.flatnonzero(labels != found[of_rows])):
        path = paths[wrong[0]]
        raise UserError(
            f"{table} tells different labels of one picture, {path!r}",
            f"in {said(paths.index(path), wrong[0])}",
            "keep one of them; or, where it shows both, give --label-separator",
        )
    return firsts.astype(np.int64), found


def text_tables_in(root: Path) -> list[Path]:
    """Return the tables of texts that tell what the pictures below a folder show: those that lie in it, else deeper.

    Of several those of splits are meant, where there are such, else the one called labels or metadata.

    Raises:
        UserError: it cannot be told which is meant.
    """
    here = [entry for entry in root.iterdir() if is_text_table(entry) and entry.is_file() and not is_hidden(entry.name)]
    found = sorted(here or files_called(root, TEXT_TABLES), key=lambda file: natural_key(str(file)))
    of_splits = [file for file in found if split_of(root, file)]
    usual = [file for file in found if file.stem.casefold() in _USUAL_TABLES]
    if any(split_of(root, file) == "train" for file in of_splits):
        return of_splits
    if len(found) > 1 and len(usual) == 1:
        return usual
    if len(found) > 1 and not of_splits:
        names = listed([str(file.relative_to(root)) for file in found], 5)
        raise UserError(f"cannot tell which table tells what the pictures in {root} show", names, "give that file")
    return of_splits or found


def _plain(path: str) -> str:
    """One spelling of a path, however the file system composes its accents."""
    return unicodedata.normalize("NFC", path)


def _ends_in(path: str, end: str) -> bool:
    return any(f"/{one}".endswith(f"/{end}") for one in (path, str(PurePosixPath(path).with_suffix(""))))


def _unclear(table: Path, column: str, unclear: dict[str, list[str]]) -> UserError:
    name, meant = next(iter(unclear.items()))
    count = f"{len(unclear):,} names in it are" if len(unclear) > 1 else "it is"
    return UserError(
        f"the column {column!r} of {table} names {name!r}, which could be {listed(meant, 3)}",
        f"{count} of several pictures",
        "write the paths into the table, from its folder",
    )


def _near_said(name: str, alike: Sequence[str]) -> str:
    meant = " or ".join(repr(printable(one)) for one in alike[:3])
    return f"{name!r} differs from {meant} by suffix or capitals alone: write names as the files have them"


def not_found(
    table: Path, column: str, first: str, places: Sequence[str], near: tuple[str, Sequence[str]] | None = None
) -> UserError:
    """Return the error for a table none of whose pictures is where it says; `near`: one of its names, and pictures that
    are called nearly so."""
    shown = repr(first if len(first) < 100 else f"{first[:100]}…")
    if "://" in first and not first.startswith("file://"):
        why = f"its column {column!r} holds {shown}"
        return UserError(f"the pictures of {table} are not on this machine", why, "fetch them")
    return UserError(
        f"the pictures of {table} are not found",
        f"its column {column!r} says {shown} first, which is no file, seen from " + " or ".join(dict.fromkeys(places)),
        _near_said(*near)
        if near
        else "put the pictures where it says, or "
        + ("write their paths from there into it" if is_text_table(table) else "store their bytes in the table"),
    )
