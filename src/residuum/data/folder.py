"""Folders of picture files: a folder a class, or a folder a split with a folder a class in each."""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from residuum.choices import SplitName
from residuum.data.contract import ImageData, Split
from residuum.data.split import split_called
from residuum.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

Found = dict[str, list[str]]
"""The picture files of each class folder, as paths below the root."""


@dataclass(frozen=True)
class FolderPictures:
    """Picture files by their paths below `root`."""

    root: str
    paths: Sequence[str]

    def __len__(self) -> int:
        """See Pictures."""
        return len(self.paths)

    def encoded(self, index: int) -> bytes:
        """See Pictures.

        Raises:
            UserError: the file cannot be read.
        """
        path = Path(self.root, self.paths[index])
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {path}", error.strerror or str(error)) from error

    def name(self, index: int) -> str:
        """See Pictures."""
        return _printable(self.paths[index])

    def files(self) -> list[str]:
        """Return every file that the pictures are read from, as absolute paths."""
        return [f"{self.root}/{path}" for path in self.paths]


def open_folder(path: str | Path) -> ImageData:
    """Find the pictures below `path`: CLASS/….png, or train/CLASS/….png with val and test beside it.

    The classes are the training split's, in natural order (1, 2, 10); evaluation splits are matched to them
    by name. Hidden files, and files that are not pictures by their suffix, are passed over.

    Raises:
        UserError: there is no such folder, or what is in it is not a data set.
    """
    root = existing_folder(path)
    folders = _split_folders(root)
    found: dict[SplitName, Found] = {split: _find_classes(root, name) for split, name in folders.items()}
    classes = sorted(found["train"], key=natural_key)
    _refuse_one_class(root, classes)
    if folders["train"] == "":
        _refuse_likely_splits(root, found["train"])
    for split, folders_of_split in found.items():
        _check_classes(root, folders_of_split, classes, split)
    splits = {split: _as_split(root, found[split], classes) for split in found}
    return ImageData(
        name=label_of(path),
        source=str(root),
        classes=classes,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
    )


def existing_folder(path: str | Path) -> Path:
    """Return the folder's absolute path.

    Raises:
        UserError: there is none, or it is a file.
    """
    try:
        root = Path(path).resolve()
        is_folder, is_there = root.is_dir(), root.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(path)!r}", str(error), "check the path") from error
    if is_folder:
        return root
    if is_there:
        mend = f"give the folder of the data set, perhaps {root.parent}"
        raise UserError(f"{root} is a file, not a folder", "", mend)
    parent = next(folder for folder in root.parents if folder.is_dir())
    close = difflib.get_close_matches(root.relative_to(parent).parts[0], _visible_folders(parent), n=1)
    mend = f"did you mean {parent / close[0]}?" if close else "check the path"
    raise UserError(f"there is no folder {root}", f"{parent} holds nothing of that name", mend)


def label_of(path: str | Path) -> str:
    """Return a short name for the data set in this folder."""
    given = Path(path).absolute().name
    return _printable(Path(path).resolve().name if given in {"", ".."} else given) or "data"


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key to sort names by in which numbers count as numbers: 1, 2, 10."""
    parts = re.split(r"([0-9]+)", unicodedata.normalize("NFC", name))
    # A number is compared by its length, then its digits: no number is too long for that.
    numbers = (part.lstrip("0") for part in parts)
    key = [
        (len(n), n) if i % 2 else (0, part) for i, (part, n) in enumerate(zip(parts, numbers, strict=True))
    ]
    return key, name


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Return the names for a message, the first `limit` of them spelled out."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more


def differences(ours: Iterable[str], theirs: Iterable[str]) -> str:
    """Say which names are missing from `theirs` and which it has too many; empty where they agree."""
    missing = sorted(set(ours) - set(theirs), key=natural_key)
    extra = sorted(set(theirs) - set(ours), key=natural_key)
    said = [f"it lacks {listed(missing)}"] if missing else []
    said += [f"training lacks {listed(extra)}"] if extra else []
    return "; ".join(said)


# --- which folder is what ----------------------------------------------------------------------


def _split_folders(root: Path) -> dict[SplitName, str]:
    """Return the folder of each split below `root`; "" where the class folders lie in the root itself."""
    names = _visible_folders(root)
    named = {name: split for name in names if (split := split_called(name))}
    if not named:
        return {"train": ""}
    others = [name for name in names if name not in named and _find_pictures(root, name)]
    if others:
        raise UserError(
            f"{root} mixes splits and other folders",
            f"{listed(named)} are names of splits, {listed(others)} are not",
            "keep only split folders there; if it is a class, put all classes into a folder train",
        )
    for split in set(named.values()):
        _refuse_twice(root, split, [name for name in named if named[name] == split])
    if "train" not in named.values():
        raise UserError(
            f"{root} has no training split",
            f"there is only {listed(named)}",
            "call the training folder train",
        )
    folders = {split: name for name, split in named.items()}
    return {split: folders[split] for split in get_args(SplitName) if split in folders}


def _refuse_twice(root: Path, split: SplitName, names: list[str]) -> None:
    if len(names) > 1:
        raise UserError(
            f"{root} has more than one {split} split", f"{listed(names)} all mean {split}", "keep one of them"
        )


def _visible_folders(folder: Path) -> list[str]:
    try:
        entries = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read {folder}", error.strerror or str(error)) from error
    return sorted(name for name in entries if not name.startswith("."))


def _find_classes(root: Path, split_folder: str) -> Found:
    """Return the pictures of each class folder in root/split_folder, by class name."""
    folder = root / split_folder
    names = _visible_folders(folder)
    if not names:
        raise _no_classes(folder)
    repeated = [name for name, count in Counter(map(_class_name, names)).items() if count > 1]
    if repeated:
        raise UserError(
            f"{folder} holds two folders called {repeated[0]!r}",
            "their names look the same but are spelled with different Unicode characters",
            "move the pictures into one of them",
        )
    found = {_class_name(name): _find_pictures(root, f"{split_folder}/{name}".lstrip("/")) for name in names}
    empty = [name for name in found if not found[name]]
    if empty:
        raise UserError(
            f"no picture in the class folder{'s' * (len(empty) > 1)} {listed(empty)} of {folder}",
            f"pictures are files that end in {' '.join(sorted(SUFFIXES))}",
            "add pictures, or remove the folder" + "s" * (len(empty) > 1),
        )
    return found


def _no_classes(folder: Path) -> UserError:
    if any(_is_picture(entry.name) for entry in folder.iterdir()):
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


def _refuse_one_class(root: Path, classes: list[str]) -> None:
    if len(classes) == 1:
        raise UserError(
            f"{root} holds only one class, {classes[0]!r}",
            "with one class every answer is right, so there is nothing to learn",
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


def _check_classes(root: Path, found: Found, classes: list[str], split: SplitName) -> None:
    """Refuse a split whose class folders are not the training split's."""
    if difference := differences(classes, found):
        raise UserError(
            f"the class folders of the {split} split of {root} are not the training split's",
            difference,
            "give both splits the same class folders; a class is known by the name of its folder",
        )


# --- finding pictures --------------------------------------------------------------------------


def walk(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each visible folder at and below `top` with its visible files.

    Links are followed, but not back to a folder above `top`, nor to one a second time.

    Raises:
        UserError: a folder cannot be read.
    """
    seen = {_identity(parent) for parent in top.resolve().parents}
    for current, folders, files in os.walk(top, onerror=_cannot_list, followlinks=True):
        identity = _identity(Path(current))
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(current), [name for name in files if not name.startswith(".")]


def _find_pictures(root: Path, folder: str) -> list[str]:
    """Return the pictures in root/folder at any depth, as sorted paths below `root`."""
    found = []
    for current, files in walk(root / folder):
        prefix = current.relative_to(root).as_posix()
        found += [f"{prefix}/{name}" for name in files if _is_picture(name)]
    return sorted(found, key=lambda path: (unicodedata.normalize("NFC", path), path))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _cannot_list(error: OSError) -> None:
    raise UserError(f"cannot read the folder {error.filename}", error.strerror or str(error)) from error


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and name[name.rfind(".") :].lower() in SUFFIXES


def _as_split(root: Path, found: Found, classes: list[str]) -> Split:
    paths = [path for name in classes for path in found[name]]
    labels = np.repeat(np.arange(len(classes)), [len(found[name]) for name in classes])
    return Split(FolderPictures(str(root), paths), labels.astype(np.int64))


def _class_name(folder: str) -> str:
    """One spelling of a name, however the file system composes its accents."""
    return unicodedata.normalize("NFC", _printable(folder))


def _printable(name: str) -> str:
    """A file name may hold bytes that are not text; they are shown as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
