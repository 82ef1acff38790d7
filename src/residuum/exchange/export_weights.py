"""The verb `export-weights`: a model's tensors under torchvision's or timm's names, for those libraries to load."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from residuum.errors import UserError
from residuum.exchange.layouts import TIMM, TORCHVISION, Layout, timm_v2, to_theirs, torchvision_like
from residuum.exchange.libraries import how_timm_builds, how_torchvision_builds
from residuum.files import write_whole
from residuum.loading import load, model_path
from residuum.models.spec import NetSpec
from residuum.settings import ExportWeightsSettings


@dataclass(frozen=True)
class Exported:
    """The file, and one line of Python that loads it."""

    path: Path
    how_to_load: str


def export_weights(settings: ExportWeightsSettings) -> Exported:
    """Write a model's weights as safetensors under a library's names.

    Raises:
        UserError: there is no such model, or the library has no such net; the message says what differs.
    """
    if settings.model is None:
        raise UserError("which model?", "", "residuum export-weights MODEL --layout timm")
    model = model_path(Path(settings.model))
    classifier = load(model)
    spec = classifier.spec
    build = how_torchvision_builds(spec) if settings.layout == "torchvision" else how_timm_builds(spec)
    name = model.parent.resolve().name if Path(settings.model).is_dir() else model.stem
    path = Path(settings.out) if settings.out else Path(f"{name}-{settings.layout}.safetensors")
    if path.exists() and path.samefile(model):
        raise UserError(f"{path} is the model itself", "it is not written over", "choose another --out")
    tensors = theirs(dict(classifier.net.state_dict()), layout_for(spec, settings.layout))
    write_whole(path, save(tensors, metadata={"format": "pt"}))
    load_it = f"from safetensors.torch import load_file; {build}; net.load_state_dict(load_file({str(path)!r}))"
    return Exported(path, load_it)


def layout_for(spec: NetSpec, library: str) -> Layout:
    """Return the library's names for the tensors of this net."""
    deep = spec.stem == "deep"
    if library == "torchvision":
        return torchvision_like(TORCHVISION)
    if spec.order == "preactivation":
        return timm_v2(deep=deep, pooled=spec.projection_pool)
    return torchvision_like(TIMM, deep=deep, pooled=spec.projection_pool)


def theirs(weights: dict[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Give the tensors of a net their names in a layout that has one for each."""
    renamed = {}
    for ours, tensor in weights.items():
        name = to_theirs(layout, ours)
        assert name is not None, f"{layout.name} has no name for {ours}, so the net should have been refused"
        matrix = ours == "fc.weight" and layout.head_is_convolution
        renamed[name] = tensor[:, :, None, None] if matrix else tensor.contiguous()
    return renamed
