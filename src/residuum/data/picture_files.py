"""Files and folders as people keep them: what counts as a picture file, and how folders are found and walked."""

import difflib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from residuum.errors import UserError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
KINDS = " ".join(sorted(SUFFIXES))
"""The suffixes, for a message."""

LONGEST_LABEL = 120
"""Of a data set's short name so many bytes are kept: folders are called after it."""


def is_picture(name: str) -> bool:
    """Say whether a file of this name is taken for a picture: by its suffix, and not if it is hidden."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in SUFFIXES


def pictures_below(root: Path, folder: str = "") -> list[str]:
    """Return the picture files in root/folder at any depth, as sorted paths below `root`.

    Raises:
        UserError: a folder cannot be read.
    """
    found = []
    for current, files in walk(root / folder):
        below = current.relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [prefix + name for name in files if is_picture(name)]
    return sorted(found, key=lambda path: (unicodedata.normalize("NFC", path), path))


def picture_files(path: Path) -> list[Path]:
    """Return the files meant: a picture stands for itself, a folder for those below it (UserError if it has none)."""
    if path.is_dir():
        found = sorted(path / name for name in pictures_below(path))
        if not found:
            raise UserError(f"{path} holds no pictures", f"known kinds: {KINDS}")
        return found
    return [path]


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


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _cannot_list(error: OSError) -> None:
    raise UserError(f"cannot read the folder {error.filename}", error.strerror or str(error)) from error


def visible_folders(folder: Path) -> list[str]:
    """Return the names of the folders in `folder`, sorted (UserError if it cannot be read)."""
    try:
        entries = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        raise UserError(f"cannot read {folder}", error.strerror or str(error)) from error
    return sorted(name for name in entries if not name.startswith("."))


def existing_folder(path: str | Path) -> Path:
    """Return the folder's absolute path (UserError if there is none, or it is a file)."""
    try:
        root = Path(path).resolve()
        is_folder, is_there = root.is_dir(), root.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(path)!r}", str(error), "check the path") from error
    if is_folder:
        return _textual(root)
    if is_there:
        raise _no_folder(root)
    parent = next(folder for folder in root.parents if folder.is_dir())
    close = difflib.get_close_matches(root.relative_to(parent).parts[0], visible_folders(parent), n=1)
    mend = f"did you mean {parent / close[0]}?" if close else "check the path"
    raise UserError(f"there is no folder {root}", f"{parent} holds nothing of that name", mend)


def _textual(root: Path) -> Path:
    """Return the folder, whose place is written down (UserError if that is no text)."""
    if printable(str(root)) != str(root):
        raise UserError(
            f"the name of the folder {printable(str(root))} is no text in UTF-8",
            "where pictures lie is written down with what is learnt from them",
            "rename it",
        )
    return root


ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".7z", ".rar", ".jar")
_ARCHIVE_STARTS = (b"PK\3\4", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")


def is_archive(path: Path) -> bool:
    """Say whether a file is an archive, by its name or its first bytes."""
    if path.name.lower().endswith(ARCHIVES):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(262)
    except OSError:
        return False
    return start.startswith(_ARCHIVE_STARTS) or start[257:] == b"ustar"


def _no_folder(root: Path) -> UserError:
    """Return the error for a file, or something stranger, where a folder was to be given."""
    if not root.is_file():
        return UserError(f"{root} is a pipe, socket or device, not a folder", "", "give a folder of pictures")
    if is_archive(root):
        what = f"{root} is an archive, not a folder"
        return UserError(what, "pictures are read from folders", "unpack it, and give the folder that it makes")
    if root.suffix.lower() in {".csv", ".tsv", ".json", ".jsonl", ".xlsx"}:
        why = "tables are read as Parquet: a column of pictures, or of their paths, and a column of labels"
        return UserError(f"{root} is a file, not a folder", why, f"make it a Parquet file and give {root.parent}")
    return UserError(f"{root} is a file, not a folder", "", f"give the folder of the data set, perhaps {root.parent}")


def read_picture(path: Path) -> bytes:
    """Return the file's bytes (UserError if it cannot be read)."""
    try:
        if not path.is_file() and path.exists() and not path.is_dir():  # it might never end
            raise UserError(f"cannot read {path}", "it is a pipe, socket or device, not a file", "remove it")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a zero byte
        raise UserError(
            f"cannot read {path}", getattr(error, "strerror", "") or str(error), "check the path"
        ) from error


def label_of(path: str | Path) -> str:
    """Return a short name for the data set in this folder."""
    given = Path(path).absolute().name
    whole = printable(Path(path).resolve().name if given in {"", ".."} else given) or "data"
    return whole.encode()[:LONGEST_LABEL].decode(errors="ignore")


def printable(name: str) -> str:
    """Return a file name that can be shown: bytes that are not text become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
