"""The one way back in: a run folder or model file becomes a net with its classes and preprocessing."""

from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec import structs
from torch import Tensor, nn

from residuum import runs
from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.files import short_digest
from residuum.models.file import ModelFile, build_net, read_model, write_model
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.model import About, Provenance, View

STARTER = Path(__file__).parent / "starter" / "starter.safetensors"
"""A small net that has seen photographs of many classes, to begin with where no other weights are at hand. The README
beside it says on which pictures it was trained, how, and what it is worth."""


@dataclass(frozen=True)
class Classifier:
    """A net in evaluation mode with all that is needed to use it, and the file it was read from.

    `about` is all that the file says: metrics with their protocol, data fingerprint, versions. An imported model was
    not trained here: its about.data is None, and about.import_ says where it is from.
    """

    net: ResNet
    spec: NetSpec
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    about: About
    file: Path

    @property
    def name(self) -> str:
        """Return what results are called after: the model file's name, or the folder's it lies in."""
        file = self.file.resolve()
        return file.parent.name if file.name == runs.MODEL else file.stem

    @property
    def digest(self) -> str:
        """Return what a lineage calls the model file."""
        return short_digest(self.file)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed images to (B, K) probabilities."""
        return torch.softmax(self.net(images).float(), dim=1)


def load_for(verb: str, model: str | Path | None) -> Classifier:
    """Load the model that `residuum VERB` was given (UserError as `load`, or if none was)."""
    if model is None:
        raise UserError("which model?", "", f"residuum {verb} MODEL, a run folder or a model file")
    return load(model)


def load(path: str | Path) -> Classifier:
    """Load a run folder or a model file (UserError if there is none, it is damaged, or the run has not finished)."""
    file = model_path(Path(path))
    model = read_model(file)
    about, tensors = model.about, model.preprocessing
    mean, std = (tensors[name].numpy() for name in ("mean", "std"))
    preprocessing = Preprocessing(**structs.asdict(about.preprocessing), mean=mean, std=std)
    net = build_net(model, file).eval()
    return Classifier(net, model.spec, about.classes, preprocessing, about, file)


def open_starter() -> Classifier:
    """Load the starter that lies in the package."""
    return load(STARTER)


def model_path(path: Path) -> Path:
    """Return the model file that `path`, a file or a run folder, stands for (UserError if none)."""
    if path.is_file():
        return path
    if (path / runs.MODEL).is_file():
        return path / runs.MODEL
    if not path.exists():
        raise UserError(f"there is no run or model at {path}", "", "check the path")
    if runs.is_run(path):
        raise UserError(
            f"the run in {path} has not finished, so it has no model yet",
            "",
            f"residuum train --resume {path}",
        )
    raise UserError(
        f"{path} is neither a run folder nor a model file",
        f"it holds no {runs.MODEL}",
        "give the folder that `residuum train` printed",
    )


def save_classifier(
    path: Path,
    net: nn.Module,
    spec: NetSpec,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    provenance: Provenance,
) -> None:
    """Write a net with all that `load` needs, and where it comes from."""
    about = About(
        **{name: getattr(provenance, name) for name in Provenance.__struct_fields__},
        classes=classes,
        preprocessing=View(**{name: getattr(preprocessing, name) for name in View.__struct_fields__}),
        net=spec.as_json(),
    )
    tensors = {name: torch.from_numpy(getattr(preprocessing, name)) for name in ("mean", "std")}
    write_model(path, ModelFile(dict(net.state_dict()), tensors, about))
