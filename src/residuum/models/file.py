"""The model file: one safetensors file that describes itself. Nothing else is needed to use it.

Tensors: the net's own under "model/…", perhaps packed (packing.py), preprocessing's under "preprocessing/…", and what
pictures are compared with under "likeness/…" where it is known what they are like. The safetensors metadata holds one
JSON text, "residuum": records/model.py says what is in it. Nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from residuum.errors import UserError
from residuum.files import Json, write_whole
from residuum.models.packing import unpacked
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.models.spec import from_json as spec_from_json
from residuum.plain_data import quoted
from residuum.records.codec import with_version
from residuum.records.model import FORMAT, About, read_about, written_by

_BACK = "bring the file back, or import its weights anew"
EPSILON = 1e-5
"""What BN adds to a variance."""
KEY = "residuum"
"""What a file of tensors says of itself stands under this key."""
_DIGEST = "sha256"


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds; `about` is everything that is not a tensor."""

    weights: dict[str, Tensor]
    preprocessing: dict[str, Tensor]
    about: About
    likeness: dict[str, Tensor] = field(default_factory=dict)

    @property
    def spec(self) -> NetSpec:
        """Return the net's specification (UserError if it is none)."""
        return spec_from_json(self.about.net)


def write_model(path: Path, model: ModelFile) -> None:
    """Write the model file, whole or not at all (UserError when the disk is full)."""
    tensors = {f"model/{name}": tensor for name, tensor in model.weights.items()}
    tensors |= {f"preprocessing/{name}": tensor for name, tensor in model.preprocessing.items()}
    tensors |= {f"likeness/{name}": tensor for name, tensor in model.likeness.items()}
    about = json.dumps(with_version(model.about), ensure_ascii=False)
    write_whole(path, sealed(tensors, {KEY: about}))


def _import_first(path: Path) -> str:
    """Say how other people's weights come in."""
    how = f"residuum import {quoted(path)}; see what it assumed, then give the file that it writes"
    return f"other people's weights come in first: {how}"


def read_model(path: Path) -> ModelFile:
    """Read a model file, its weights unpacked (UserError if it is missing, damaged or not one of ours)."""
    tensors, metadata = read_tensors(path)
    content = _content(metadata.get(KEY, "{}"))
    if (written := content.get("format")) != FORMAT:
        ours = (
            f"its format is {written!r}, expected {FORMAT!r}",
            "give a run folder or the model.safetensors inside one",
        )
        theirs = (
            "it does not say that it is one",
            _import_first(path),
        )
        raise UserError(f"{path} is not a residuum model file", *(ours if written else theirs))
    about = read_about(content, str(path))
    _check_net(spec_from_json(about.net, str(path), written_by(content)), below("model/", tensors), path)
    model = ModelFile(
        weights=unpacked(below("model/", tensors)),
        preprocessing=below("preprocessing/", tensors),
        about=about,
        likeness=below("likeness/", tensors),
    )
    _check_numbers(model, path)
    return model


# --- whether it is whole ------------------------------------------------------------------------


def _check_net(spec: NetSpec, tensors: dict[str, Tensor], path: Path) -> None:
    """Raise UserError for a net larger than the tensors that are there: it would be built before it is found out."""
    blocks = {tuple(name.split(".")[1:3]) for name in tensors if name.startswith("stages.")}
    largest = max([1, *(side for tensor in tensors.values() for side in tensor.shape)])
    sizes = (*spec.widths, *spec.out_channels, spec.stem_channels, spec.in_channels, spec.num_classes, spec.groups)
    if sum(spec.blocks) != len(blocks) or max(sizes) > largest:
        raise UserError(
            f"{path} does not hold the weights its specification asks for",
            f"that is of {sum(spec.blocks)} blocks and at most {max(sizes)} channels, and there are {len(blocks)} "
            f"blocks and {largest} channels",
            "bring the file back",
        )


def _check_numbers(model: ModelFile, path: Path) -> None:
    """Raise UserError for numbers that no net of ours has: of another type, or not finite; NaN answers everything."""
    for name, tensor in model.weights.items():
        kind = torch.int64 if name.endswith("num_batches_tracked") else torch.float32
        if tensor.dtype != kind:
            kinds = [str(one).removeprefix("torch.") for one in (tensor.dtype, kind)]
            raise UserError(f"{path} holds {name} as {kinds[0]}", f"residuum writes it as {kinds[1]}", _BACK)
        if not all_finite(tensor):
            raise UserError(f"{path} holds numbers in {name} that are not finite", "its net would answer NaN", _BACK)
        if name.endswith("running_var") and (tensor <= -EPSILON).any():
            raise UserError(f"{path} holds a variance below zero in {name}", "its net would answer NaN", _BACK)
    side = model.about.preprocessing.image_size
    wanted: dict[str, list[tuple[int, ...]]] = {"mean": [(3,), (side, side, 3)], "std": [(3,)]}
    for name, shapes in wanted.items():
        colour = model.preprocessing.get(name)
        if colour is None or tuple(colour.shape) not in shapes or colour.dtype != torch.float32:
            raise UserError(f"{path} does not hold the {name} of its pictures", f"it needs {shapes[0]} float32", _BACK)
        if not torch.isfinite(colour).all() or (name == "std" and not (colour > 0).all()):
            raise UserError(f"{path}: the {name} of its pictures is no colour", str(colour.tolist())[:60], _BACK)


def all_finite(tensor: Tensor) -> bool:
    """Say whether no number is NaN or infinite. A sum that is finite says so in a tenth of the time."""
    return bool(tensor.sum().isfinite()) or bool(torch.isfinite(tensor).all())


# --- tensors and their seal ---------------------------------------------------------------------


def sealed(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Return the bytes of a safetensors file whose metadata hold a digest of all the rest; the same have the same."""
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    return _in_order(save(plain, metadata={**metadata, _DIGEST: digest(plain, repr(sorted(metadata.items())))}))


def _in_order(content: bytes) -> bytes:
    """Sort a safetensors file's metadata: `save` writes them in another order each time."""
    stop = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:stop])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(content)[stop:]))


def digest(tensors: dict[str, Tensor], besides: str = "") -> str:
    """Return the SHA-256 of names and contents, and what is `besides`: a single flipped bit is noticed."""
    seal = hashlib.sha256(besides.encode())
    for name in sorted(tensors):
        seal.update(name.encode())
        seal.update(_plain(tensors[name]).reshape(-1).view(torch.uint8).numpy().data)
    return seal.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors and its metadata.

    Raises:
        UserError: it is missing or damaged; a file of ours is damaged too when its digest does not fit.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", "", "check the path")
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: what lies in the file itself ends the process that uses it when the file is written over.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} cannot be read as a safetensors file",
            f"it is damaged or of another kind ({error})",
            _import_first(path),
        ) from error
    told = metadata.pop(_DIGEST, None)
    if told is not None and told != digest(tensors, repr(sorted(metadata.items()))):
        raise UserError(f"{path} is damaged", "its content does not fit the digest it carries")
    return tensors, metadata


def _content(text: str) -> Json:
    """A foreign file may carry anything under our key."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def build_net(model: ModelFile, path: Path) -> ResNet:
    """Build the net and give it the file's weights, all of them and no others.

    Raises:
        UserError: names or shapes differ from what the specification asks for.
    """
    with torch.device("meta"):
        net = ResNet(model.spec)
    if wrong := misfits(net, model.weights):
        raise UserError(f"{path} does not hold the weights its specification asks for", wrong)
    net.load_state_dict(model.weights, assign=True)
    return net


def misfits(net: ResNet, weights: Mapping[str, Tensor]) -> str:
    """Say which weights are not exactly the net's; "" where all are."""
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    said = f"{len(wrong)} tensors are missing, extra or of another shape: {', '.join(sorted(wrong)[:5])}"
    return said if wrong else ""


def _plain(tensor: Tensor) -> Tensor:
    """The bytes of a file do not depend on the memory layout or device a net happened to have."""
    return tensor.detach().to("cpu", copy=False).contiguous()


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
