"""Files and folders as people keep them: what counts as a picture file, and how folders are found and walked."""

import difflib
import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from residuum.console import say
from residuum.data.kinds import KINDS, RAW, START, picture_kind
from residuum.errors import UserError, listed

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".heic", ".heif", ".hif", ".jxl", ".jp2"}
)
"""What is called so is meant as a picture, whatever is in it; all else is one if it begins like one."""

_RESOURCES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "#recycle", "$recycle.bin"}
    | {"lost+found", "system volume information"}
)
_NO_FILES = {stat.S_IFIFO: "pipes", stat.S_IFSOCK: "sockets", stat.S_IFCHR: "devices", stat.S_IFBLK: "devices"}

MOST_BYTES = 1 << 30
"""A larger file is no picture that could be decoded, and is not read into memory."""

LONGEST_LABEL = 120
"""Of a data set's short name so many bytes are kept: folders are called after it."""


TEXT_TABLES = (".csv", ".tsv")
"""Suffixes of tables of texts."""


class PassedOver(NamedTuple):
    """A file that is taken for no picture, as a path below the folder, and what it is taken for."""

    name: str
    why: str


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is the system's or a program's own, and so never a picture or a class."""
    return name.startswith(".") or name.casefold() in _RESOURCES


def is_text_table(path: str | Path) -> bool:
    """Say whether a file is called as a table of texts."""
    return str(path).lower().endswith(TEXT_TABLES)


def is_picture(path: str | Path) -> bool:
    """Say whether a file is meant as a picture: a regular file, not hidden, called like one or beginning like one."""
    return not is_hidden(Path(path).name) and _taken_for(str(path)) is None


def _taken_for(path: str) -> str | None:
    """Say what a file that is not hidden is taken for; None: a picture."""
    suffix = path[path.rfind(".") :].lower()  # Path.suffix takes ten times as long; a folder's is no harm
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - Path.stat takes three times as long
        if not stat.S_ISREG(mode):
            return _NO_FILES.get(stat.S_IFMT(mode), "no files")
        if suffix in SUFFIXES:
            return None
        if suffix in RAW:
            return "cameras' raw pictures, which are not read"
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            kind = picture_kind(file.read(START))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOENT):
            return "links to nothing"
        return None if suffix in SUFFIXES else "files that cannot be read"  # reading it says what is wrong
    return None if kind else "no pictures"


def pictures_below(root: Path, folder: str = "") -> list[str]:
    """Return the picture files in root/folder at any depth, as sorted paths below `root`.

    Raises:
        UserError: a folder cannot be read.
    """
    found = [name for name in _files_below(root, folder) if _taken_for(f"{root}/{name}") is None]
    return sorted(found, key=lambda path: (unicodedata.normalize("NFC", path), path))


def holds_pictures(folder: Path) -> bool:
    """Say whether a picture lies in the folder at any depth (UserError if it cannot be read)."""
    return any(_taken_for(f"{folder}/{name}") is None for name in _files_below(folder))


def passed_over(root: Path) -> list[PassedOver]:
    """Return the files below `root` that are taken for no pictures, hidden ones aside, sorted."""
    named = ((name, _taken_for(f"{root}/{name}")) for name in _files_below(root))
    return sorted(PassedOver(printable(name), why) for name, why in named if why)


def say_passed_over(files: Sequence[PassedOver]) -> None:
    """Tell the person which files are passed over, and why."""
    for why in sorted({one.why for one in files}):
        names = [one.name for one in files if one.why == why]
        say(f"passed over: {len(names):,} that are {why}: {listed(names, 5)}")


def _files_below(root: Path, folder: str = "") -> Iterator[str]:
    for current, files in walk(root / folder):
        below = current.relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        yield from (prefix + name for name in files)


def picture_files(path: Path) -> list[Path]:
    """Return the files meant: a picture stands for itself, a folder for those below it (UserError if it has none).

    What is passed over in a folder is said.
    """
    if path.is_dir():
        say_passed_over(passed_over(path))
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
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield Path(current), [name for name in files if not is_hidden(name)]


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
    return sorted(name for name in entries if not is_hidden(name))


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
    if any("\udc80" <= letter <= "\udcff" for letter in str(root)):  # a byte that is no text
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
        why = "tables are read as CSV or Parquet: a column of pictures, or of their paths, and a column of labels"
        return UserError(f"{root} is a file, not a folder", why, f"make it a CSV file in {root.parent}")
    return UserError(f"{root} is a file, not a folder", "", f"give the folder of the data set, perhaps {root.parent}")


def read_picture(path: Path) -> bytes:
    """Return the file's bytes (UserError if it cannot be read)."""
    try:
        if not path.is_file() and path.exists() and not path.is_dir():  # it might never end
            raise UserError(f"cannot read {path}", "it is a pipe, socket or device, not a file", "remove it")
        if (size := path.stat().st_size) > MOST_BYTES and path.is_file():
            why = f"it has {size / 1e9:,.1f} GB, more than any picture that is decoded"
            raise UserError(f"cannot read {path}", why, "remove it")
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
    """Return a file name that can be shown on one line: bytes that are not text, and control characters, as escapes."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else re.sub(r"[\x00-\x1f\x7f]", lambda one: f"\\x{ord(one[0]):02x}", text)
