"""The one way back in: a run folder or model file becomes a net with its classes and preprocessing."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import UNSET, structs
from numpy.typing import NDArray
from torch import Tensor, nn

from residuum import runs
from residuum.data.preprocess import Preprocessing, weighted
from residuum.errors import UserError
from residuum.files import short_digest
from residuum.models.answers import answered
from residuum.models.assumption import is_of
from residuum.models.file import ModelFile, build_net, read_model, write_model
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.outward_settings import ImportSettings
from residuum.plain_data import command_line
from residuum.records.model import About, Provenance, View, need_classes


@dataclass(frozen=True)
class Classifier:
    """A net in evaluation mode with all that is needed to use it, and the file it was read from.

    `about` is all that the file says: metrics with their protocol, data fingerprint, versions. An imported model was
    not trained here: its about.data is None, and `about.import_` says where it is from.
    """

    net: ResNet = field(repr=False)
    spec: NetSpec
    classes: tuple[str, ...] = field(repr=False)
    preprocessing: Preprocessing
    about: About = field(repr=False)
    file: Path
    kept: NDArray[np.float32] | None = field(default=None, repr=False)
    """(M, D) directions of the features of pictures trained on, where about.likeness says what they are for."""

    @property
    def name(self) -> str:
        """Return what results are called after: the model file's name, or the folder's it lies in."""
        return runs.model_name(self.file)

    @property
    def several(self) -> bool:
        """Say whether each class is answered for itself: see models/answers.py."""
        return self.about.several is True

    @property
    def source(self) -> str:
        """Return where the pictures lie that it was trained with, "" where that is not known."""
        return self.about.data.source if self.about.data else ""

    @property
    def digest(self) -> str:
        """Return what a lineage calls the model file."""
        return short_digest(self.file)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed images to (B, K) probabilities."""
        return answered(self.net.fc(self.features(images)).float(), several=self.several)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) preprocessed images to what the last layer reads of them, (B, D): the mean over the views that
        the model is asked by, of which the last layer makes the mean of their logits.
        """
        shown = weighted(images, self.preprocessing.views)
        return torch.stack([weight * self.net.features(view) for weight, view in shown]).sum(0)


def load_for(verb: str, model: str | Path | None) -> Classifier:
    """Load the model that `residuum VERB` was given (UserError as `load`, or if none was)."""
    if model is None:
        raise UserError("which model?", "", f"residuum {verb} MODEL, a run folder or a model file")
    return load(model)


def load(path: str | Path, *, backbone: bool = False) -> Classifier:
    """Load a run folder or a model file; `backbone`: one without classes will do.

    Raises:
        UserError: there is none, it is damaged, it is a backbone, or the run has not finished.
    """
    file = runs.model_path(Path(path))
    model = read_model(file)
    if not backbone:
        need_classes(model.about, str(file))
    net, about = build_net(model, file).eval(), model.about
    return Classifier(net, model.spec, about.classes, shown_by(model), about, file, _kept(model, net, file))


def shown_by(model: ModelFile) -> Preprocessing:
    """Return how a model shows pictures to its net."""
    mean, std = (model.preprocessing[name].numpy() for name in ("mean", "std"))
    return Preprocessing(**structs.asdict(model.about.preprocessing), mean=mean, std=std)


def _kept(model: ModelFile, net: ResNet, file: Path) -> NDArray[np.float32] | None:
    """What pictures are compared with; None where it is not known (UserError if it does not fit the net)."""
    if model.about.likeness is UNSET:
        return None
    kept = model.likeness.get("kept")
    if kept is None or kept.ndim != 2 or kept.shape[1] != net.fc.in_features or not len(kept):
        raise UserError(f"{file} is damaged", "what it compares pictures with does not fit its net")
    return kept.float().numpy()


def save_classifier(
    path: Path,
    net: nn.Module,
    spec: NetSpec,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    provenance: Provenance,
    kept: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Write a net with all that `load` needs, where it comes from, and what pictures are `kept` to compare with.

    Where none are, nothing is said of what is like them: it holds of one net's features alone.
    """
    fields = {name: getattr(provenance, name) for name in Provenance.__struct_fields__}
    about = About(
        **(fields if kept is not None else {**fields, "likeness": UNSET}),
        classes=classes,
        preprocessing=View(**{name: getattr(preprocessing, name) for name in View.__struct_fields__}),
        net=spec.as_json(),
    )
    tensors = {name: torch.from_numpy(getattr(preprocessing, name)) for name in ("mean", "std")}
    likeness = {} if kept is None else {"kept": torch.from_numpy(kept.astype(np.float16))}
    write_model(path, ModelFile(dict(net.state_dict()), tensors, about, likeness))


# --- what the classes are called ------------------------------------------------------------------


def named_anew(model: ModelFile, classes: tuple[str, ...]) -> ModelFile:
    """Return the model with its classes called otherwise, by class number; what was assumed of them goes."""
    about = structs.replace(model.about, classes=classes)
    if about.import_ is not UNSET:
        left = tuple(one for one in about.import_.assumptions if not is_of(one, "classes"))
        about = structs.replace(about, import_=structs.replace(about.import_, assumptions=left))
    return replace(model, about=about)


def how_to_name(file: Path) -> str:
    """Return the command that calls a model's classes otherwise: it needs the model alone, and writes a new one."""
    name = f"{runs.model_name(file)}-named"
    ends = ("", *(f"-{i}" for i in range(2, 100)))
    out = next((path for end in ends if not (path := Path(f"{name}{end}.safetensors")).exists()), "NEW.safetensors")
    return command_line("import", ImportSettings(file, out=out, classes="NAMES.txt"))
