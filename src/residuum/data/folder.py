"""Folders of picture files: a folder a class, or a folder a split with a folder a class in each."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from residuum.choices import SplitName
from residuum.data.class_names import differences, natural_key, refuse_one_class
from residuum.data.contract import ImageData, Split
from residuum.data.kinds import KINDS
from residuum.data.picture_files import (
    existing_folder,
    is_picture,
    label_of,
    pictures_below,
    printable,
    read_picture,
    visible_folders,
)
from residuum.data.split import split_called
from residuum.errors import UserError, listed

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


def open_folder(path: str | Path) -> ImageData:
    """Find the pictures below `path`: CLASS/….png, or train/CLASS/….png with val and test beside it.

    The classes are the training split's, in natural order (1, 2, 10); evaluation splits are matched to them
    by name. Hidden files, and files that are no pictures, are passed over.

    Raises:
        UserError: there is no such folder, or what is in it is not a data set.
    """
    root = existing_folder(path)
    folders = _split_folders(root)
    found: dict[SplitName, Found] = {split: _find_classes(root, name) for split, name in folders.items()}
    classes = sorted(found["train"], key=natural_key)
    refuse_one_class(root, classes)
    if folders["train"] == "":
        _refuse_likely_splits(root, found["train"])
    for split, folders_of_split in found.items():
        if difference := differences(classes, folders_of_split):
            raise UserError(
                f"the class folders of the {split} split of {root} are not the training split's",
                difference,
                "give both splits the same class folders; a class is known by the name of its folder",
            )
    splits = {split: _as_split(root, found[split], classes) for split in found}
    return ImageData.of(label_of(path), str(root), classes, splits)


# --- which folder is what ----------------------------------------------------------------------


def _split_folders(root: Path) -> dict[SplitName, str]:
    """Return the folder of each split below `root`; "" where the class folders lie in the root itself."""
    names = visible_folders(root)
    named = {name: split for name in names if (split := split_called(name))}
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
    if "train" not in named.values():
        only = f"there is only {listed(named)}"
        raise UserError(f"{root} has no training split", only, "call the training folder train")
    return {split: name for split in get_args(SplitName) for name in named if named[name] == split}


def _find_classes(root: Path, split_folder: str) -> Found:
    """Return the pictures of each class folder in root/split_folder, by class name."""
    folder = root / split_folder
    names = visible_folders(folder)
    if not names:
        raise _no_classes(folder)
    repeated = [name for name, count in Counter(map(_class_name, names)).items() if count > 1]
    if repeated:
        raise UserError(
            f"{folder} holds two folders called {repeated[0]!r}",
            "their names look the same but are spelled with different Unicode characters",
            "move the pictures into one of them",
        )
    found = {_class_name(name): pictures_below(root, f"{split_folder}/{name}".lstrip("/")) for name in names}
    empty = [name for name in found if not found[name]]
    if empty:
        raise UserError(
            f"no picture in the class folder{'s' * (len(empty) > 1)} {listed(empty)} of {folder}",
            f"pictures are {KINDS}",
            "add pictures, or remove the folder" + "s" * (len(empty) > 1),
        )
    return found


def _no_classes(folder: Path) -> UserError:
    if any(is_picture(entry) for entry in folder.iterdir()):
        return UserError(
            f"the pictures lie directly in {folder}",
            "without a folder for each class their classes are not known",
            "put the pictures of each class into a folder of its own, named after the class",
        )
    return UserError(
        f"{folder} holds no data set",
        "it has neither class folders nor parquet files",
        "give a folder with a folder of pictures for each class",
    )


def _refuse_likely_splits(root: Path, found: Found) -> None:
    """Refuse train_images/CLASS/… and the like: the splits would be taken for classes."""
    likely = [name for name in found if any(map(split_called, re.split(r"[\W_]+", name)))]
    nested = [name for name in likely if all(path.count("/") > 1 for path in found[name])]
    if nested:
        raise UserError(
            f"{listed(nested)} in {root} could be splits or classes",
            "they are called nearly like splits and hold pictures in folders of their own",
            "call split folders train, val and test; otherwise put all classes into a folder train",
        )


def _as_split(root: Path, found: Found, classes: list[str]) -> Split:
    paths = [path for name in classes for path in found[name]]
    labels = np.repeat(np.arange(len(classes)), [len(found[name]) for name in classes])
    return Split(FolderPictures(str(root), paths), labels.astype(np.int64))


def _class_name(folder: str) -> str:
    """One spelling of a name, however the file system composes its accents."""
    return unicodedata.normalize("NFC", printable(folder))
