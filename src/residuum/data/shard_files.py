"""Shards as people name them: train-00003-of-00012.parquet, val/shard-000007.tar; here or at an address."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from residuum.choices import SplitName
from residuum.console import say
from residuum.data.class_names import natural_key
from residuum.data.picture_files import TEXT_TABLES, existing_folder, is_text_table, walk
from residuum.data.remote import address_of, files_below, is_address
from residuum.data.split import configuration, split_meant
from residuum.errors import UserError, listed

T = TypeVar("T")


def data_root(path: str | Path) -> Path:
    """Return the absolute folder, or the path that stands for an address (UserError if there is no such folder)."""
    return Path(path) if is_address(path) else existing_folder(path)


def place_of(path: Path) -> str:
    """Return where a file or folder is, as text that leads back to it."""
    return address_of(path) or str(path)


def files_called(root: Path, suffix: str | tuple[str, ...]) -> Iterator[Path]:
    """Find the files with this suffix, or one of these, at any depth below `root`, hidden files and folders aside."""
    if address_of(root):
        yield from (file for file in files_below(root) if file.name.lower().endswith(suffix))
        return
    for folder, files in walk(root):
        yield from (folder / name for name in files if name.lower().endswith(suffix))


def suffix_of_shards(root: Path) -> str | None:
    """Return ".parquet" where such a file lies below `root`, else ".tar" where one does, else None."""
    return shards_and_tables(root)[0]


def shards_and_tables(root: Path) -> tuple[str | None, list[Path]]:
    """Return what suffix_of_shards does and, where that is not ".parquet", the tables of texts: by one walk."""
    found, tables = None, list[Path]()
    for file in files_called(root, (".parquet", ".tar", *TEXT_TABLES)):
        if file.name.lower().endswith(".parquet"):
            return ".parquet", []
        if is_text_table(file):
            tables.append(file)
        else:
            found = ".tar"
    return found, tables


def data_set_files(root: Path, suffix: str) -> list[Path]:
    """Return the files of the data set below `root`, in their order (UserError: there is none, several or a part)."""
    files = sorted(files_called(root, suffix), key=lambda file: natural_key(file.relative_to(root).as_posix()))
    kind = suffix.removeprefix(".")
    if not files:
        raise UserError(f"{place_of(root)} holds no {kind} file")
    folders = {configuration(file.relative_to(root)) for file in files}
    if len(folders) > 1:
        raise UserError(
            f"{place_of(root)} holds more than one data set",
            f"{kind} files lie in {listed(sorted(folders))}",
            "give one of these folders",
        )
    _check_complete(files)
    return files


def by_split(root: Path, files: Sequence[Path]) -> dict[SplitName, list[Path]]:
    """Sort files into splits by their names, or else by the folders they are in (UserError: it cannot be told)."""
    splits = {file: _split_of(file.relative_to(root)) for file in files}
    if not any(splits.values()):
        splits = {file: _split_named_within(file) for file in files}
    if "train" not in splits.values() and not any(map(_split_of, (file.relative_to(root) for file in files))):
        splits = dict.fromkeys(files, "train")
    if unknown := [file.name for file, split in splits.items() if split is None]:
        raise UserError(
            f"cannot tell the split of {listed(unknown)} in {place_of(root)}",
            "a file's name begins with train, validation or test, or it lies in a folder called so",
            "rename these files or move them away",
        )
    return {s: [f for f in files if splits[f] == s] for s in dict.fromkeys(splits.values()) if s}


def is_of_training(root: Path, file: Path) -> bool:
    """Say whether a file's name, or its folder's, says so."""
    return _split_of(file.relative_to(root)) == "train"


def split_of(root: Path, file: Path) -> SplitName | None:
    """Return the split that a file's name, or its folder's, means, or one word of its name does."""
    return _split_of(file.relative_to(root)) or _split_named_within(file)


def read_each(files: Sequence[Path], read: Callable[[Path], T]) -> list[T]:
    """Return what is read of each file (UserError that names all that cannot be)."""
    found, broken = list[T](), list[UserError]()
    for file in files:
        try:
            found.append(read(file))
        except UserError as error:
            broken.append(error)
    if len(broken) > 1:
        why = "; ".join(f"{error.what}: {error.why}" if error.why else error.what for error in broken)
        raise UserError(f"{len(broken)} of {len(files)} shards cannot be read", why, broken[0].mend)
    if broken:
        raise broken[0]
    return found


def say_gaps(files: Sequence[Path]) -> None:
    """Say which numbers are missing between the first and the last of a row of shards."""
    rows: dict[tuple[Path, str], list[int]] = {}
    for file in files:
        if match := re.fullmatch(r"(.*?)(\d+)", file.stem):
            rows.setdefault((file.parent, match[1]), []).append(int(match[2]))
    for (folder, prefix), numbers in rows.items():
        if gaps := sorted(set(range(min(numbers), max(numbers))) - set(numbers)):
            missing = listed(map(str, gaps), 5)
            say(f"note: of the shards {prefix}* in {place_of(folder)} these numbers are missing: {missing}")


def _split_of(file: Path) -> SplitName | None:
    words = [re.split(r"[^a-z]", file.name.lower())[0], file.stem, *reversed(file.parent.parts)]
    return next(filter(None, map(split_meant, words)), None)


def _split_named_within(file: Path) -> SplitName | None:
    """Return the only split that a word of the file's name means: cifar_test.parquet."""
    meant = {split for word in re.split(r"[\W_\d]+", file.stem) if (split := split_meant(word))}
    return meant.pop() if len(meant) == 1 else None


def _check_complete(files: Sequence[Path]) -> None:
    """Refuse a set that says "00003 of 00005" in its file names and lacks some."""
    for file in files:
        match = re.fullmatch(r"(.*-)(\d+)(-of-(\d+).*)", file.name)
        beside = {other.name for other in files if other.parent == file.parent}
        if match and len([name for name in beside if name.startswith(match[1])]) < int(match[4]):
            what = f"some of the {int(match[4])} files {match[1]}*{match[3]} in {place_of(file.parent)} are missing"
            raise UserError(what, "", "fetch the data again")
