"""Where weights come from: a file, a folder that transformers or timm saved, or a name that a library can fetch.

All ways end in the same `Source`; nothing but the fetching itself needs the network.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from residuum import runs
from residuum.console import show_progress
from residuum.data.hub import fetch_model
from residuum.errors import UserError
from residuum.exchange.kinds import is_safetensors
from residuum.exchange.known import Known
from residuum.exchange.opening import Opened, flat, is_own
from residuum.exchange.saved_settings import folder_facts, timm_facts, transforms_facts
from residuum.exchange.shards import INDEXES, check_index, open_parts, parts_of
from residuum.files import short_digest
from residuum.models.file import digest
from residuum.plain_data import quoted

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""What a folder's weights are called; where they are in parts, their index is in INDEXES."""
_PART = re.compile(r"(-\d{5}-of-\d{5}|\.\w+\.index)$")
"""How the name of one of several files ends, or of their index, before its suffix."""
_SUFFIXES = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".th", ".tar"}
FAMILIES = ("resnet", "resnext", "wide_resnet")

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Source:
    """Foreign weights, and what they say about themselves."""

    name: str
    """What to call them to the person."""
    stem: str
    """What to call a file made from them, without its suffix."""
    opened: Opened
    digest: str
    """16 hexadecimal digits of a SHA-256: of the file, or of the tensors where there was none."""
    said: Known = field(default_factory=Known)
    net: nn.Module | None = None
    """The library's own net with these weights, to compare with."""
    own: Path | None = None
    """A model file of residuum's, where that is what was found: it says all of itself and is taken as it is."""


def open_source(given: str) -> Source:
    """Open a weights file, a folder, or a name such as torchvision:resnet50.

    Raises:
        UserError: there is none, it cannot be fetched, or what it holds cannot be used.
    """
    path = Path(given)
    if path.is_dir():
        return _folder(path, path.resolve().name)
    library, _, name = given.partition(":")
    if library in FETCHERS and name and not path.exists():
        return FETCHERS[library](name)
    if path.is_file() and is_safetensors(path) and is_own(path):
        return Source(path.name, path.stem, flat({}), short_digest(path), own=path)
    return _of_files(path, path.name, _PART.sub("", path.stem))


def _of_files(path: Path, name: str, stem: str, said: Known | None = None) -> Source:
    """Open a weights file, or the parts that an index or one of them stands for."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", "", "check the path")
    parts = parts_of(path)
    opened = open_parts(parts)
    check_index(path, opened)
    one = short_digest(parts[0])
    together = one if len(parts) == 1 else digest({".".join(at): one for at, one in opened.tensors.items()})[:16]
    return Source(name, stem, opened, together, said or Known())


def _folder(path: Path, name: str) -> Source:
    if runs.is_run(path):
        raise UserError(f"{path} is a run folder", "its model is residuum's own", f"residuum evaluate {quoted(path)}")
    weights = next((path / file for file in (*WEIGHT_FILES, *INDEXES) if (path / file).is_file()), None)
    if weights is not None and weights.name in WEIGHT_FILES and is_own(weights):
        return Source(name, name, flat({}), short_digest(weights), own=weights)
    if not (path / CONFIG).is_file():
        raise _no_folder_of_weights(path, weights)
    if weights is None:
        raise UserError(f"{path} holds no weights", "expected one of: " + ", ".join((*WEIGHT_FILES, *INDEXES)))
    return _of_files(weights, name, name, folder_facts(path))


def _no_folder_of_weights(path: Path, weights: Path | None) -> UserError:
    """Say what to give in place of a folder that does not say what its weights are."""
    inside = [one.name for one in islice(path.rglob("*"), 10_000)]
    if any(name.endswith(".distcp") for name in inside):
        mend = (
            "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pth makes one file of them"
        )
        return UserError(
            f"{path} is a checkpoint of torch.distributed, in parts", "they are no net by themselves", mend
        )
    if any(name.endswith("_model_states.pt") for name in inside):
        mend = "zero_to_fp32.py, which lies beside the parts, makes one file of them"
        return UserError(f"{path} is a checkpoint of DeepSpeed, in parts", "they are no net by themselves", mend)
    if "data.pkl" in inside:
        why = "torch.save packs what lies in it into one file, and some browsers and systems unpack that unasked"
        name = path.resolve().name
        packed = f"cd {quoted(path.resolve().parent)}; zip -0 -r {quoted(f'{name}.pt', name)}"
        mend = f"pack it again: {packed}; residuum import {quoted(f'{name}.pt')}"
        return UserError(f"{path} is a checkpoint of torch that was unpacked", why, mend)
    files = [one for one in sorted(path.iterdir()) if one.suffix in _SUFFIXES]
    given = weights or (files[0] if files else path / "FILE")
    return UserError(
        f"{path} holds no {CONFIG}",
        "a folder of weights has one beside them, as transformers and timm save it",
        f"give the weights file itself: residuum import {quoted(given)}",
    )


# --- by name ------------------------------------------------------------------------------------


def from_torchvision(name: str) -> Source:
    """Fetch NAME or NAME:WEIGHTS through torchvision; its weights say how they want to be used."""
    models = _library("torchvision.models")
    name, _, which = name.partition(":")
    if not name.startswith(FAMILIES):
        raise UserError(f"torchvision's {name} is not a residual net of this family", "", "resnet50, for one")
    called, how = f"torchvision:{name}", {"check_hash": True, "weights_only": True, "map_location": "cpu"}
    weights = _fetched(called, lambda: models.get_model_weights(name)[which or "DEFAULT"])
    tensors = _fetched(called, lambda: weights.get_state_dict(**how))
    net = models.get_model(name, weights=None, num_classes=len(weights.meta["categories"]))
    net.load_state_dict(tensors)
    said = transforms_facts(weights.transforms(), weights.meta["categories"])
    return Source(f"{called}:{weights.name}", name, flat(tensors), digest(tensors)[:16], said, net)


def from_timm(name: str) -> Source:
    """Fetch NAME through timm; the net's pretrained_cfg says how it wants to be used."""
    timm = _library("timm")
    net = _fetched(f"timm:{name}", lambda: timm.create_model(name, pretrained=True))
    tensors = net.state_dict()
    return Source(f"timm:{name}", name, flat(tensors), digest(tensors)[:16], timm_facts(net.pretrained_cfg), net)


def from_hugging_face(name: str) -> Source:
    """Fetch OWNER/NAME from Hugging Face's hub: the settings and one file of weights, the safe one if there is one."""
    folder = fetch_model(name, (CONFIG, PROCESSOR), WEIGHT_FILES, show_progress("fetching"))
    stem = re.sub(r"[^\w.-]", "-", name.rpartition("/")[2])
    return replace(_folder(folder, stem), name=f"hf:{name}")


FETCHERS: dict[str, Callable[[str], Source]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "hf": from_hugging_face,
}


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(f"fetching by this name needs {package}", str(error), f"pip install {package}") from error


def _fetched(name: str, fetch: Callable[[], _Result]) -> _Result:
    """Whatever a library raises on a wrong name or without a network is one kind of error to us."""
    try:
        return fetch()
    except Exception as error:
        cause = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise UserError(
            f"cannot fetch {name}",
            f"{type(error).__name__}: {cause}",
            "check the name and the network; or fetch the file elsewhere and import it by its path",
        ) from error
