"""Copies of pictures in a folder for each class. The pictures stay where they are; nothing is written over."""

import filecmp
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from residuum.errors import UserError
from residuum.files import cannot_write
from residuum.prediction.answer import Answer

UNSURE = "unsure"
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
"""What some system has no file names with."""
LONGEST = 200
"""Bytes in a folder's name, which no system forbids."""


def class_folders(into: Path, classes: Sequence[str], places: Iterable[Path]) -> dict[str, Path]:
    """Return a folder below `into` for each class, and under "" that for unsure answers.

    Raises:
        UserError: copies would lie among the pictures in `places`, or these among the copies.
    """
    here = into.resolve()
    for place in (one.resolve() for one in places if one.is_dir()):
        if here.is_relative_to(place) or place.is_relative_to(here):
            raise UserError(
                f"--sort-into {into} and the pictures in {place} lie within each other",
                "copies are kept apart from the pictures that they are of",
                "choose a folder beside it",
            )
    found: dict[str, Path] = {}
    taken = set[str]()
    for name in (*classes, ""):
        wanted = folder = _folder_name(name or UNSURE)
        number = 2
        while folder.casefold() in taken:
            folder, number = f"{wanted} ({number})", number + 1
        taken.add(folder.casefold())
        found[name] = into / folder
    return found


def _folder_name(name: str) -> str:
    """A class may be called anything, "../x" too; a folder lies where it is meant to."""
    short = _NOT_IN_NAMES.sub("_", name).encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
    return short.strip(" .") or "_"


def sort_copy(answer: Answer, folders: dict[str, Path]) -> Path:
    """Copy the picture into its class's folder and return where it is: there already, if an equal file has its name.

    Where another has it, a number is put behind it.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    picture = Path(answer.picture)
    folder = folders["" if answer.unsure else answer.best]
    target, number = folder / picture.name, 2
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not _copied(picture, target):
            target, number = folder / f"{picture.stem}-{number}{picture.suffix}", number + 1
    except OSError as error:
        raise cannot_write(target, 0, error) from error
    return target


def _copied(picture: Path, target: Path) -> bool:
    """Copy to a new file; say whether the picture is there now."""
    try:
        with picture.open("rb") as source, target.open("xb") as copy:
            try:
                shutil.copyfileobj(source, copy)
            except BaseException:
                target.unlink()  # no half of one
                raise
    except FileExistsError:
        return target.is_file() and filecmp.cmp(picture, target, shallow=False)
    shutil.copystat(picture, target)
    return True
