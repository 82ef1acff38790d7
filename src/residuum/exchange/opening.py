"""From a weights file to tensors, without ever running what is in it."""

import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from residuum.errors import UserError
from residuum.models.file import read_tensors

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model_state", "model", "net", "weights")
"""Under what names checkpoints keep a net's tensors, the averaged ones first: they are what is published."""

OTHER_KINDS = {
    ".onnx": "an ONNX graph",
    ".npz": "NumPy arrays, as the Big Transfer nets were published",
    ".h5": "a Keras file",
    ".keras": "a Keras file",
    ".pb": "a TensorFlow graph",
    ".msgpack": "a Flax file",
    ".tflite": "a TensorFlow Lite graph",
    ".gguf": "a GGUF file",
}


@dataclass(frozen=True)
class Opened:
    """Tensors by key; names of what lay beside them; and what was chosen where there was a choice."""

    tensors: dict[str, Tensor]
    left_out: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


def open_file(path: Path) -> Opened:
    """Read the tensors of a .safetensors file or of a checkpoint that torch.save wrote.

    Raises:
        UserError: it is missing, damaged, of another kind, asks to run code, or is a residuum model already.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", "", "check the path")
    if kind := OTHER_KINDS.get(path.suffix.lower()):
        raise UserError(
            f"{path} is not a PyTorch checkpoint",
            f"it is {kind}",
            "give a .safetensors file or one written by torch.save",
        )
    if _from_torch_save(path):
        return unwrapped(_load(path), path)
    tensors, metadata = read_tensors(path)
    if "residuum" in metadata:
        raise UserError(f"{path} is a residuum model already", "", f"use it as it is: residuum evaluate {path} DATA")
    return Opened(tensors)


def is_own(path: Path) -> bool:
    """Say whether a weights file is a model file of residuum's (UserError if it is damaged)."""
    return not _from_torch_save(path) and "residuum" in read_tensors(path)[1]


def _from_torch_save(path: Path) -> bool:
    """Whether a file begins as a zip archive or a pickle does, and not as safetensors, whose length may look so."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8:
        return False
    return start[:2] == b"PK" or start[:1] == b"\x80"


# --- pickles ------------------------------------------------------------------------------------


def _load(path: Path) -> Any:
    """torch.load, tensors and plain data only."""
    _refuse_programs(path)
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a dozen types; UnpicklingError is the one that asks for more than data
        if wanted := _asked_for(path, str(error)):
            raise UserError(
                f"{path} asks to run code when it is opened",
                "it is a pickle that wants " + ", ".join(wanted),
                "only tensors and plain data are read. Where you trust it, load it yourself and save the tensors "
                'alone: safetensors.torch.save_file(checkpoint["state_dict"], "weights.safetensors")',
            ) from error
        cause = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a checkpoint", f"it is damaged or of another kind ({cause})"
        ) from error


def _refuse_programs(path: Path) -> None:
    """TorchScript and torch.export archives hold a program; torch.load would say so less clearly."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        inner = {name.partition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in inner or any(name.startswith(("code/", "models/")) for name in inner):
        raise UserError(
            f"{path} is a TorchScript or torch.export archive",
            "it holds a program with its weights, not a checkpoint",
            "where you trust it, save its tensors: torch.save(torch.jit.load(path).state_dict(), ...)",
        )


def _asked_for(path: Path, message: str) -> list[str]:
    """Name what a refused pickle wants to import; nothing of it is run."""
    named = re.findall(r"GLOBAL ([\w.]+)", message)
    with suppress(Exception):  # not a zip file, or a damaged one: the message is all there is
        named += torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return sorted(set(named))


# --- wrappers -----------------------------------------------------------------------------------


def unwrapped(content: Any, path: Path) -> Opened:
    """Find the tensors inside {"state_dict": …, "epoch": …} and the like (UserError if there are none)."""
    left_out: list[str] = []
    chosen: list[str] = []
    for _ in range(3):
        if not isinstance(content, Mapping) or _is_state(content):
            break
        if not (present := [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]):
            break
        left_out += [str(name) for name in content if name != present[0]]
        if len(present) > 1:
            chosen.append(f"of the sets of weights in it ({', '.join(present)}), {present[0]} is taken")
        content = content[present[0]]
    if not isinstance(content, Mapping) or not _is_state(content):
        inside = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else "no mapping at all"
        raise UserError(f"{path} holds no weights by name", f"it holds: {inside}")
    tensors = {str(name): value for name, value in content.items() if _is_weight(name, value)}
    left_out += [str(name) for name in content if str(name) not in tensors]
    return Opened(tensors, tuple(left_out), tuple(chosen))


def _is_state(content: Mapping[Any, Any]) -> bool:
    return any(_is_weight(name, value) for name, value in content.items())


def _is_weight(name: object, value: object) -> bool:
    """Every tensor of a net has a module and a name; a lone tensor without a dot is a counter or the like."""
    return isinstance(value, Tensor) and "." in str(name)
