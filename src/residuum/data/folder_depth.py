"""Whether the folder given is a level too high or too low, and which one is meant."""

import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from residuum.console import say
from residuum.data.kinds import KINDS
from residuum.data.picture_files import is_archive, is_picture, is_text_table, visible_folders, walk
from residuum.data.split import split_called, split_meant
from residuum.errors import UserError, listed

Found = Mapping[str, Sequence[str]]
"""The picture files of each class folder, as paths below the root."""


def refuse_too_high(root: Path, folder: str, found: Found) -> None:
    """Refuse root/folder where the class folders seem to lie within what would be taken for classes.

    Raises:
        UserError: it holds one folder alone, with folders of pictures in it; or, where it is no split's own folder,
            folders without pictures of their own but with folders of the same names.
    """
    inside = {name: _inside(folder, paths) for name, paths in found.items()}
    if len(found) == 1 and (below := _with_folders(next(iter(found.values())))):
        place, names = root / below[0], below[1]
        raise UserError(
            f"{root / folder} is a level too high",
            f"it holds one folder alone, {next(iter(found))!r}, and below it lie folders of pictures: {listed(names)}",
            f"move them from {place} to {root / folder}" if folder else f"give {place}",
        )
    if folder or len(found) < 2 or not all(inside.values()):
        return
    times = Counter(name for names in inside.values() for name in names)
    shared = sorted(name for name, count in times.items() if count > 1)
    if len(times) < 2 or 2 * len(shared) < len(times):
        return
    if all(map(split_meant, shared)):
        why, mend = f"{listed(found)} hold the splits {listed(shared)}", "put the splits first, as in train/CLASS"
    else:
        why = f"{listed(found)} hold no pictures of their own, but folders of the same names: {listed(shared)}"
        mend = (
            f"give {root / next(iter(found))} if {listed(shared, 3)} are the classes; call split folders train, "
            f"val and test; or put {listed(found, 3)} into a folder train if they are the classes"
        )
    raise UserError(f"{root} could be a level too high", why, mend)


def note_nested(folder: str, found: Found) -> None:
    """Say what the classes are where all their pictures lie in folders of their own."""
    inside = [_inside(folder, paths) for paths in found.values()]
    if all(inside) and any(len(names) > 1 for names in inside):
        say(f"note: the classes are {listed(found, 5)}; pictures in folders within them count as theirs")


def note_beside(root: Path) -> None:
    """Say that other splits lie beside a folder that is one."""
    if split_called(root.name) != "train":
        return
    beside = [name for name in visible_folders(root.parent) if split_meant(name) in {"validation", "test"}]
    if beside:
        say(f"note: {listed(beside)} beside {root} is not looked at; give {root.parent} to use it")


def refuse_likely_splits(root: Path, found: Found) -> None:
    """Refuse seg_train/CLASS/… and the like (UserError): the splits would be taken for classes."""
    likely = [name for name in found if any(map(split_meant, re.split(r"[\W_]+", name)))]
    nested = [name for name in likely if all(path.count("/") > 1 for path in found[name])]
    if nested:
        raise UserError(
            f"{listed(nested)} in {root} could be splits or classes",
            "they are called nearly like splits and hold pictures in folders of their own",
            "call split folders train, val and test; otherwise put all classes into a folder train",
        )


def no_classes(folder: Path, mend: str = "") -> UserError:
    """Return the error that says why there are no class folders in `folder`, and which folder is meant."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    if any(is_picture(folder / name) for name in names):
        above = [entry.name for entry in folder.parent.iterdir() if entry.is_file()]
        said = f"{_unread(names, 'beside them')}{_unread(above, f'in {folder.parent}')}"
        return UserError(
            f"the pictures lie directly in {folder}",
            f"without a folder for each class their classes are not known{said}",
            "; ".join(filter(None, [_mend_by_table(folder.parent, above), _mend_too_low(folder), mend])),
        )
    if archives := [name for name in names if is_archive(folder / name)]:
        return UserError(f"{folder} holds no data set", f"{listed(archives, 3)} must be unpacked first", "unpack it")
    return UserError(
        f"{folder} holds no data set", _why_nothing(folder), "give a folder with a folder of pictures for each class"
    )


def _mend_by_table(place: Path, names: Sequence[str]) -> str:
    """Name the tables there that could be given instead."""
    tables = sorted(str(place / name) for name in names if is_text_table(name))
    return f"give {listed(tables, 3)} if that tells what they show" if tables else ""


def _unread(names: Sequence[str], place: str) -> str:
    """Say which of these files are tables, and that they are not read; "" where none is one."""
    tables = [name for name in names if name.lower().endswith((".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx"))]
    return f"; {listed(tables, 3)} {place} {'is' if len(tables) == 1 else 'are'} not read" if tables else ""


def _why_nothing(folder: Path) -> str:
    """Say what is found in a folder without pictures."""
    if inside := visible_folders(folder):
        files = any(files for name in inside for _, files in walk(folder / name))
        held = f"hold{'s' * (len(inside) == 1)} " + (
            f"files, but no pictures: these are {KINDS}" if files else "nothing"
        )
        return f"{listed(inside, 5)} in it {held}"
    return "it has neither class folders nor parquet files" if any(folder.iterdir()) else "it is empty"


def _mend_too_low(folder: Path) -> str:
    """Name the folder above, where this one seems to be one class of several."""
    above = folder.parent
    beside = [above / name for name in visible_folders(above) if above / name != folder]
    filled = all(any(is_picture(entry) for entry in one.iterdir()) for one in beside[:100])
    if beside and filled and not split_meant(folder.name):
        return f"if it is one class of several, give {above.parent if split_meant(above.name) else above}"
    return "put the pictures of each class into a folder of its own, named after the class"


def _with_folders(paths: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the one folder that all these pictures lie below, in folders, and these; None: some lie in it directly."""
    place = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    parts = [path.removeprefix(f"{place}/").split("/") for path in paths]
    return None if any(len(rest) == 1 for rest in parts) else (place, sorted({rest[0] for rest in parts}))


def _inside(folder: str, paths: Sequence[str]) -> list[str]:
    """Return the folders within a class folder that its pictures lie in; none if any lie in it directly."""
    place = f"{folder}/".lstrip("/").count("/") + 1
    parts = [path.split("/")[place:] for path in paths]
    return [] if any(len(rest) == 1 for rest in parts) else sorted({rest[0] for rest in parts})
