"""Folders of picture files: a folder a class, or a folder a split with a folder a class in each."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import differences, natural_key, refuse_one_class
from residuum.data.contract import ImageData, Split
from residuum.data.folder_depth import no_classes, note_beside, note_nested, refuse_likely_splits, refuse_too_high
from residuum.data.kinds import KINDS
from residuum.data.picture_files import (
    existing_folder,
    holds_pictures,
    is_picture,
    label_of,
    pictures_below,
    printable,
    read_picture,
    visible_folders,
    walk,
)
from residuum.data.split import split_called, split_meant
from residuum.errors import UserError, listed

PREDICT = "residuum predict RUN FOLDER answers pictures without classes"

Found = dict[str, list[str]]
"""The picture files of each class folder, as paths below the root."""


@dataclass(frozen=True)
class FolderPictures:
    """Picture files by their paths below `root`."""

    root: str
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, index: int) -> bytes:
        """See Pictures (UserError if the file cannot be read)."""
        return read_picture(Path(self.root, self.paths[index]))

    def name(self, index: int) -> str:
        """See Pictures."""
        return printable(self.paths[index])

    def files(self) -> list[str]:
        """See Pictures."""
        return [f"{self.root}/{path}" for path in self.paths]


def open_folder(path: str | Path, *, judging: bool = False) -> ImageData:
    """Find the pictures below `path`: CLASS/….png, or train/CLASS/….png with val and test beside it.

    The classes are the training split's, in natural order (1, 2, 10); evaluation splits are matched to them
    by name and may lack some. Hidden files, and files that are no pictures, are passed over, so are
    evaluation splits whose pictures lie in no class folders; that is said.

    `judging`: there need be no training split, nor more than one class; the classes are those of all splits.

    Raises:
        UserError: there is no such folder, or what is in it is not a data set.
    """
    root = existing_folder(path)
    folders = _split_folders(root, judging=judging)
    found: dict[SplitName, Found] = {}
    if "train" in folders:
        found["train"] = _find_classes(root, folders["train"], judging)
    _look_at_depth(root, folders, found)
    for split, name in folders.items():
        if split != "train" and (classes_there := _find_judged(root, name, split, found.get("train"))):
            found[split] = classes_there
    if not found:
        raise no_classes(root / next(iter(folders.values())), PREDICT)
    known = found.values() if judging else [found["train"]]
    classes = sorted({name for classes_there in known for name in classes_there}, key=natural_key)
    if not judging:
        refuse_one_class(root, classes)
        _refuse_unknown(root, found, classes)
    splits = {split: _as_split(root, found.get(split, {}), classes) for split in ("train", *found)}
    return ImageData.of(label_of(path), str(root), classes, splits)


def class_folders(root: Path) -> int:
    """Return how many folders hold pictures where class folders are looked for: in the root, or in its splits'."""
    splits = [name for name in visible_folders(root) if split_called(name) or split_meant(name)]
    places = [root / name for name in splits] or [root]
    return max(sum(holds_pictures(place / name) for name in visible_folders(place)) for place in places)


# --- which folder is what ----------------------------------------------------------------------


def _split_folders(root: Path, *, judging: bool) -> dict[SplitName, str]:
    """Return the folder of each split below `root`; "" where the class folders lie in the root itself."""
    names = visible_folders(root)
    named = _named_splits(root, names)
    if not named:
        return {"train": ""}
    others = [name for name in names if name not in named and pictures_below(root, name)]
    if others:
        raise UserError(
            f"{root} mixes splits and other folders",
            f"{listed(named)} are names of splits, {listed(others)} are not",
            "keep only split folders there; if it is a class, put all classes into a folder train",
        )
    for split, count in Counter(named.values()).items():
        if count > 1:
            said = listed(name for name in named if named[name] == split)
            raise UserError(f"{root} has more than one {split} split", f"{said} all mean {split}", "keep one of them")
    if "train" not in named.values() and not judging:
        only = f"there is only {listed(named)}"
        raise UserError(f"{root} has no training split", only, "call the training folder train")
    return {split: name for split in get_args(SplitName) for name in named if named[name] == split}


def _named_splits(root: Path, names: Iterable[str]) -> dict[str, SplitName]:
    """Return the folders that are splits; a mere variant of a name is one only beside a split with class folders."""
    variants = {name: split for name in names if (split := split_called(name) or split_meant(name))}
    exact = {name: split for name, split in variants.items() if split_called(name)}
    hold_classes = [name for name in variants if any(visible_folders(root / name)) and not _direct(root, name)]
    return variants if hold_classes else exact


def _direct(root: Path, folder: str) -> int:
    """Return the number of pictures that lie in root/folder itself."""
    return sum(is_picture(entry) for entry in (root / folder).iterdir())


def _find_classes(root: Path, split_folder: str, judging: bool) -> Found:
    """Return the pictures of each class folder in root/split_folder, by class name; empty folders are no classes."""
    folder = root / split_folder
    names = visible_folders(folder)
    found = _pictures_by_class(root, split_folder, names)
    empty = [name for name in names if not found[_class_name(name)]]
    if len(empty) == len(names):
        raise no_classes(folder, PREDICT if judging else "")
    if any(files for name in empty for _, files in walk(folder / name)):
        raise UserError(
            f"no picture in the class folder{'s' * (len(empty) > 1)} {listed(empty)} of {folder}",
            f"there are other files, but pictures are {KINDS}",
            "add pictures, or move the folder" + "s" * (len(empty) > 1) + " elsewhere",
        )
    if empty:
        say(f"note: {listed(empty)} in {folder} hold{'s' * (len(empty) == 1)} nothing: no class is made of that")
    return {name: paths for name, paths in found.items() if paths}


def _pictures_by_class(root: Path, folder: str, names: list[str]) -> Found:
    """Return the pictures below each folder of `names` in root/folder, by class name (UserError if two are one)."""
    repeated = [name for name, count in Counter(map(_class_name, names)).items() if count > 1]
    if repeated:
        raise UserError(
            f"{root / folder} holds two folders called {repeated[0]!r}",
            "their names look the same but are spelled with different Unicode characters",
            "move the pictures into one of them",
        )
    return {_class_name(name): pictures_below(root, f"{folder}/{name}".lstrip("/")) for name in names}


def _find_judged(root: Path, folder: str, split: str, training: Found | None) -> Found:
    """Return an evaluation split's pictures by class; none, which is said, where they do not lie in class folders."""
    found = _pictures_by_class(root, folder, visible_folders(root / folder))
    found = {name: paths for name, paths in found.items() if paths}
    loose, where = _direct(root, folder), "no class folders"
    if training is not None and len(found) == 1 and not _alike(found, training):
        refuse_too_high(root, folder, found)
        loose, where = loose + sum(map(len, found.values())), f"{next(iter(found))!r}, which is no class of training"
        found = {}
    if not found:
        held = f"{loose:,} picture{'s' * (loose != 1)} in {where}" if loose else "no pictures"
        say(f"note: {root / folder} holds {held}: it is passed over" + _instead(split, loose))
    elif loose:
        _say_loose(loose, root / folder)
    return found


def _alike(found: Found, training: Found) -> bool:
    """Say whether any name is that of a class of training, or would be in other letters of the same kind: Cat, cat."""
    return not {name.casefold() for name in found}.isdisjoint(name.casefold() for name in training)


def _say_loose(loose: int, place: Path) -> None:
    say(f"note: {loose:,} picture{'s' * (loose != 1)} directly in {place} of no class: passed over")


def _instead(split: str, loose: int) -> str:
    if split == "validation":
        return "; validation pictures are taken from the training ones"
    return f" ({PREDICT})" if loose else ""


def _look_at_depth(root: Path, folders: dict[SplitName, str], found: dict[SplitName, Found]) -> None:
    """Refuse a folder a level too high (UserError), and say what could be meant otherwise."""
    if "train" not in found:
        return
    folder, training = folders["train"], found["train"]
    if folder == "":
        refuse_likely_splits(root, training)
        note_beside(root)
    if loose := _direct(root, folder):
        _say_loose(loose, root / folder)
    refuse_too_high(root, folder, training)
    note_nested(folder, training)


def _refuse_unknown(root: Path, found: dict[SplitName, Found], classes: list[str]) -> None:
    for split, folders_of_split in found.items():
        if set(folders_of_split) - set(classes):
            raise UserError(
                f"the {split} split of {root} has class folders that the training split has not",
                differences(classes, folders_of_split),
                "a class is known by the name of its folder, and must have pictures in training",
            )


def _as_split(root: Path, found: Found, classes: list[str]) -> Split:
    paths = [path for name in classes for path in found.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(found.get(name, ())) for name in classes])
    return Split(FolderPictures(str(root), paths), labels.astype(np.int64))


def _class_name(folder: str) -> str:
    """One spelling of a name, however the file system composes its accents."""
    return unicodedata.normalize("NFC", printable(folder))
