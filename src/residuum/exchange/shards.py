"""Weights in several files, with an index that says which tensor lies in which."""

import re
from pathlib import Path

from residuum.errors import UserError, listed
from residuum.exchange.opening import Opened, open_file
from residuum.files import read_json

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")
_INDEX = ".index.json"


def parts_of(path: Path) -> tuple[Path, ...]:
    """Return all files of the weights that `path`, an index or one of the parts, belongs to; else `path` alone.

    Raises:
        UserError: the index is none, or names a file that is not beside it.
    """
    if path.name.endswith(_INDEX):
        return tuple(sorted(set(_index(path).values())))
    part = _PART.fullmatch(path.name)
    if part is None:
        return (path,)
    stem, _, count, suffix = part.groups()
    if (index := path.with_name(f"{stem}{suffix}{_INDEX}")).is_file():
        return parts_of(index)
    found = tuple(path.with_name(f"{stem}-{i:05d}-of-{count}{suffix}") for i in range(1, min(int(count), 9999) + 1))
    _check_there(path, found)
    return found


def open_parts(parts: tuple[Path, ...]) -> Opened:
    """Read weights that lie in one file or several.

    Raises:
        UserError: as `open_file`; or two of them hold a tensor of the same name.
    """
    if len(parts) == 1:
        return open_file(parts[0])
    opened = [open_file(part) for part in parts]
    tensors = {place: tensor for one in opened for place, tensor in one.tensors.items()}
    if twice := sum(len(one.tensors) for one in opened) - len(tensors):
        raise UserError(
            f"{twice} tensors stand in more than one of the parts of {parts[0]}", "the parts are of several files"
        )
    return Opened(tensors, tuple(dict.fromkeys(place for one in opened for place in one.places)))


def check_index(path: Path, opened: Opened) -> None:
    """Raise UserError where an index names tensors that no part holds; other paths are no index."""
    if path.name.endswith(_INDEX):
        there = {place[-1] for place in opened.tensors}
        if missing := [name for name in _index(path) if name not in there]:
            what = f"{path} names {len(missing)} tensors that its parts do not hold"
            raise UserError(what, listed(missing, 5), "fetch all parts again")


def _index(path: Path) -> dict[str, Path]:
    """Where each tensor lies; the files stand beside the index, and nowhere else."""
    content = read_json(path)
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table or not all(isinstance(file, str) for file in table.values()):
        raise UserError(f"{path} is no index of weights", "it has no weight_map, a table from tensor to file")
    if odd := sorted({file for file in table.values() if Path(file).name != file}):
        raise UserError(f"{path} names files outside its folder", listed(odd, 3), "the parts stand beside their index")
    files = {name: path.with_name(file) for name, file in table.items()}
    _check_there(path, tuple(sorted(set(files.values()))))
    return files


def _check_there(path: Path, parts: tuple[Path, ...]) -> None:
    if missing := [part.name for part in parts if not part.is_file()]:
        raise UserError(
            f"{path.name} is of weights in {len(parts)} parts, and {len(missing)} are not beside it",
            listed(missing, 5),
            "fetch the missing parts into the same folder",
        )
