"""The model that a verb works on, where it came from, and where its results go."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from residuum import runs
from residuum.errors import UserError
from residuum.files import short_digest
from residuum.loading import Classifier, load, model_path
from residuum.models.count import cost
from residuum.models.named import NAMED_NETS
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.depth import MeasuredNet


@dataclass(frozen=True)
class OpenModel:
    """A model file, read. `net` is the classifier's own, in evaluation mode."""

    file: Path
    classifier: Classifier
    net: ResNet

    @property
    def name(self) -> str:
        """Return what results are called after: the model file's name, or the folder's it lies in."""
        file = self.file.resolve()
        return file.parent.name if file.name == runs.MODEL else file.stem

    @property
    def digest(self) -> str:
        """Return what the lineage of a model made from this one calls it."""
        return short_digest(self.file)


def open_model(model: str | None, verb: str) -> OpenModel:
    """Read the model that `residuum VERB` was given.

    Raises:
        UserError: none was given, there is none, or it cannot be read.
    """
    if model is None:
        raise UserError("which model?", "", f"residuum {verb} MODEL, a run folder or a model file")
    classifier = load(model)
    assert isinstance(classifier.net, ResNet)
    return OpenModel(model_path(Path(model)), classifier, classifier.net)


def described(spec: NetSpec, image_size: int) -> MeasuredNet:
    """Return what a report says of a net; its cost is for one picture of `image_size` px."""
    return MeasuredNet(
        name=net_name(spec),
        shortcut=spec.shortcut,
        order=spec.order,
        activation=spec.activation,
        blocks=spec.blocks,
        **cost(spec, image_size),
    )


def net_name(spec: NetSpec) -> str:
    """Return the name of the net of this shape, or one made of its depth where it has none."""
    prefix = "plain" if spec.shortcut == "none" else "resnet"
    alike = (name for name, known in NAMED_NETS.items() if _shape(known) == _shape(spec))
    return next(alike, f"{prefix}{spec.depth}")


def _shape(spec: NetSpec) -> tuple[object, ...]:
    """What a name stands for; shortcut options, say, are choices within it."""
    size = (spec.stem, spec.block, spec.blocks, spec.widths, spec.stem_channels, spec.expansion)
    return (*size, spec.order, spec.groups, spec.squeeze, spec.shortcut == "none")


# --- where results go ---------------------------------------------------------------------------


def new_folder(wanted: str | None, name: str) -> Path:
    """Make an empty folder: the one wanted, or NAME-DATE here.

    Raises:
        UserError: it exists and is not empty, or cannot be made.
    """
    path = Path(wanted or f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path} exists and is not an empty folder",
            "results never write over others",
            "choose another --out",
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make {path}: {error.strerror or error}", "", "choose another --out"
        ) from error
    return path


def new_file(wanted: str | None, name: str) -> Path:
    """Return where a new model file is to be written: where wanted, or NAME here (UserError if it exists)."""
    path = Path(wanted or name)
    if path.exists():
        raise UserError(f"{path} exists", "a model is never written over another", "choose another --out")
    return path
