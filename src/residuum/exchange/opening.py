"""From a weights file to tensors, without ever running what is in it."""

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from residuum.errors import UserError
from residuum.exchange.inert import INERT, Opaque, inert_types
from residuum.exchange.kinds import check_kind, is_safetensors
from residuum.models.file import read_tensors

DEEPEST = 8
"""How deep tables may lie in one another; a file may hold itself."""

MOST_TYPES = 100
"""Types that a refused file is asked for, one after another."""

MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""What torch.save began files with before they were archives."""
_SAVED = 'safetensors.torch.save_file({}, "weights.safetensors")'
_AGAIN = "fetch it again, or give another file"

Place = tuple[str, ...]
"""The keys of the tables that lead to something, outermost first."""


@dataclass(frozen=True)
class Opened:
    """Tensors by the place where they lie, and the places of all that the file holds, in its order."""

    tensors: Mapping[Place, Tensor]
    places: tuple[Place, ...]


def flat(tensors: Mapping[str, Tensor]) -> Opened:
    """Return tensors that lie in one table."""
    placed: dict[Place, Tensor] = {(name,): tensor for name, tensor in tensors.items()}
    return Opened(placed, tuple(placed))


def open_file(path: Path) -> Opened:
    """Read the tensors of a .safetensors file or of a checkpoint that torch.save wrote.

    Raises:
        UserError: it is missing, damaged, of another kind, asks to run code, or is a residuum model already.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", "", "check the path")
    check_kind(path)
    if from_torch_save(path):
        return unwrapped(_load(path), path)
    if not is_safetensors(path):
        why = "it is neither safetensors nor written by torch.save, or it is cut short"
        raise UserError(f"{path} cannot be read as weights", why, _AGAIN)
    try:
        tensors, metadata = read_tensors(path)
    except UserError as error:
        raise UserError(error.what, error.why, "fetch it again") from error
    if "residuum" in metadata:
        raise UserError(f"{path} is a residuum model already", "", "use it as it is, wherever a run may be given")
    return flat(tensors)


def is_own(path: Path) -> bool:
    """Say whether a weights file is a model file of residuum's (UserError if it is damaged)."""
    check_kind(path)
    if not is_safetensors(path):
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "residuum" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        what = f"{path} cannot be read as a safetensors file"
        raise UserError(what, f"it is damaged or of another kind ({error})", "fetch it again") from error


def from_torch_save(path: Path) -> bool:
    """Say whether a file begins as a zip archive or a pickle does."""
    with path.open("rb") as file:
        start = file.read(2)
    return not is_safetensors(path) and (start == b"PK" or start[:1] == b"\x80")


# --- pickles ------------------------------------------------------------------------------------


def _load(path: Path) -> Any:
    """torch.load: tensors, plain data and inert types only."""
    _refuse_programs(path)
    try:
        return _read(path)
    except Exception as error:  # a dozen types; UnpicklingError is the one that asks for more than data
        wanted, content = _asked_for(path, str(error))
        if wanted:
            raise UserError(
                f"{path} asks to run code when it is opened",
                "it is a pickle that wants " + ", ".join(wanted),
                "only tensors and plain data are read. Where you trust it, load it yourself and save the tensors "
                f"alone: {_SAVED.format(_in_python(content))}",
            ) from error
        if (start := _start(path)).startswith(b"\x80") and MAGIC not in start:
            raise UserError(
                f"{path} is a pickle, and not one that torch.save wrote",
                "it could run code when it is opened, so it is not read",
                f"where you trust it, load it yourself and save the tensors alone: {_SAVED.format('TENSORS')}",
            ) from error
        raise UserError(
            f"{path} cannot be read as a checkpoint", f"it is damaged or of another kind ({_cause(error)})", _AGAIN
        ) from error


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _cause(error: Exception) -> str:
    """Return the first sentence of what torch found, without its advice to read the file unsafely."""
    found = str(error).rpartition("WeightsUnpickler error:")[2].strip().split("\n")[0].partition(". ")[0]
    return found[:200] or type(error).__name__


def _read(path: Path, *more: str) -> Any:
    with inert_types(*more), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old pickles and of tensors that are refused later
        return torch.load(path, weights_only=True, map_location="cpu")


def _refuse_programs(path: Path) -> None:
    """TorchScript and torch.export archives hold a program; torch.load would say so less clearly."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:  # its list of what it holds
        what = f"{path} cannot be read as a checkpoint"
        raise UserError(what, f"it is damaged ({error})", "fetch it again") from error
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith(("code/", "models/")) for name in inner):
        raise UserError(
            f"{path} is a TorchScript or torch.export archive",
            "it holds a program with its weights, not a checkpoint",
            "where you trust it, save its tensors: torch.save(torch.jit.load(path).state_dict(), ...)",
        )
    if "data.pkl" not in inner:
        what = f"{path} is an archive, not a checkpoint"
        raise UserError(what, f"it holds {', '.join(names[:3]) or 'nothing'}", "unpack it, and give the weights in it")


def _asked_for(path: Path, message: str) -> tuple[list[str], Any]:
    """Name what a refused pickle wants to import, and return what it holds, all of that taken as opaque; nothing of it
    is run."""
    wanted = _named_in(message)
    with suppress(Exception):  # not a zip file, or a damaged one: the messages are all there is
        wanted |= {*torch.serialization.get_unsafe_globals_in_checkpoint(path)} - INERT.keys()
    for _ in range(MOST_TYPES):
        try:
            return sorted(wanted), _read(path, *wanted)
        except Exception as error:  # as above
            more = _named_in(str(error)) - wanted
            if not more:
                break
            wanted |= more
    return sorted(wanted), None


def _named_in(message: str) -> set[str]:
    named = re.findall(r"GLOBAL ([\w.]+)", message)
    return {name if "." in name else f"builtins.{name}" for name in named}


def _in_python(content: Any) -> str:
    """Say how one who has unpickled a checkpoint gets at its tensors."""
    if isinstance(content, Opaque):
        return "checkpoint.state_dict()"
    places = [place[:-1] for place, value in _leaves(content, ()) if isinstance(value, Tensor) and "." in place[-1]]
    home = max(set(places), key=places.count, default=("WEIGHTS",))
    return "checkpoint" + "".join(f'["{key}"]' for key in home)


# --- tables in tables -----------------------------------------------------------------------------


def unwrapped(content: Any, path: Path) -> Opened:
    """Find the tensors inside {"state_dict": …, "epoch": …} and the like (UserError if there are none)."""
    leaves = list(_leaves(content, ()))
    tensors = {place: value for place, value in leaves if isinstance(value, Tensor)}
    if not any("." in ".".join(place[-1:]) for place in tensors):  # every tensor of a net has a module and a name
        raise UserError(f"{path} holds no weights by name", f"it holds: {_described(content)}")
    return Opened(tensors, tuple(place for place, _ in leaves))


def _leaves(content: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield what no table or list holds further parts of, each with its place."""
    is_table = isinstance(content, Mapping) and content
    is_list = isinstance(content, list | tuple) and any(isinstance(one, Mapping) for one in content)
    if len(place) > DEEPEST or not (is_table or is_list):
        yield place, content
        return
    pairs = content.items() if is_table else enumerate(content)
    for name, inner in pairs:
        yield from _leaves(inner, (*place, str(name)))


def _described(content: Any) -> str:
    """Say what was found in place of weights."""
    if isinstance(content, Opaque):
        return "one object, not a table of tensors"
    if not isinstance(content, Mapping):
        return "no mapping at all" if not isinstance(content, Tensor) else "one tensor without a name"
    named = [f"{key}{' (not a tensor)' if '.' in str(key) else ''}" for key in list(content)[:5]]
    return ", ".join(named) or "nothing"
