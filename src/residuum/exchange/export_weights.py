"""The verb `export-weights`: a model's tensors under torchvision's or timm's names, for those libraries to load.

Which nets they can build, and the Python that builds them, is read from torchvision/models/resnet.py (0.29),
timm/models/resnet.py and timm/models/resnetv2.py (1.0.31).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from residuum.errors import UserError
from residuum.exchange.layouts import TIMM, TORCHVISION, Layout, timm_v2, to_theirs, torchvision_like
from residuum.files import write_whole
from residuum.loading import load
from residuum.models.spec import NetSpec
from residuum.outward_settings import ExportWeightsSettings
from residuum.runs import model_path, new_file

_STAGES = (64, 128, 256, 512)
_SEVERAL = (
    "the file does not say that a picture may have several labels: take the sigmoid of each output, not the softmax, "
    "and call the labels of 0.5 or more"
)


@dataclass(frozen=True)
class Exported:
    """The file, one line of Python that loads it, and what the library then does not know of the net."""

    path: Path
    how_to_load: str
    lost: str = ""


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
    path = new_file(settings.out, f"{name}-{settings.layout}.safetensors")
    tensors = theirs(dict(classifier.net.state_dict()), layout_for(spec, settings.layout))
    write_whole(path, save(tensors, metadata={"format": "pt"}))
    load_it = f"from safetensors.torch import load_file; {build}; net.load_state_dict(load_file({str(path)!r}))"
    return Exported(path, load_it, _SEVERAL if classifier.several else "")


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


# --- the Python that builds the net -------------------------------------------------------------


def how_torchvision_builds(spec: NetSpec) -> str:
    """Return Python that builds the net as `net` (UserError if torchvision has no such net)."""
    _refuse("torchvision", [*_unlike_both(spec), *_unlike_torchvision(spec)])
    given = {"num_classes": spec.num_classes}
    if spec.block == "bottleneck":
        given |= {"groups": spec.groups, "width_per_group": spec.widths[0] // spec.groups}
    return _resnet("torchvision", spec, _written(given))


def how_timm_builds(spec: NetSpec) -> str:
    """Return Python that builds the net as `net` (UserError if timm has no such net)."""
    preactivated = spec.order == "preactivation"
    unlike = _unlike_timm_v2(spec) if preactivated else _unlike_timm(spec)
    _refuse("timm", [*_unlike_both(spec), *unlike])
    return _timm_v2(spec) if preactivated else _timm(spec)


def _resnet(library: str, spec: NetSpec, given: str) -> str:
    block = "Bottleneck" if spec.block == "bottleneck" else "BasicBlock"
    net = f"ResNet({block}, {list(spec.blocks)}, {given})"
    return f"from {library}.models.resnet import ResNet, {block}; net = {net}"


def _timm(spec: NetSpec) -> str:
    given: dict[str, object] = {"num_classes": spec.num_classes, "in_chans": spec.in_channels, "channels": spec.widths}
    if spec.block == "bottleneck" and (planes := _planes(spec)):
        given |= {"channels": planes[0], "base_width": planes[1], "cardinality": spec.groups}
    if spec.stem == "deep":
        given |= {"stem_type": "deep", "stem_width": spec.stem_channels // 2}
    given["avg_down"] = spec.projection_pool
    if not spec.squeeze:
        return _resnet("timm", spec, _written(given))
    attention = f"block_args={{'attn_layer': partial(SEModule, rd_ratio=1 / {spec.squeeze}, rd_divisor=1)}}"
    squeeze = "from functools import partial; from timm.layers import SEModule; "
    return squeeze + _resnet("timm", spec, f"{_written(given)}, {attention}")


def _timm_v2(spec: NetSpec) -> str:
    given = {
        "channels": spec.out_channels,
        "num_classes": spec.num_classes,
        "in_chans": spec.in_channels,
        "stem_chs": spec.stem_channels,
        "stem_type": "deep" if spec.stem == "deep" else "",
        "avg_down": spec.projection_pool,
        "basic": spec.block == "basic",
        "bottle_ratio": spec.widths[0] / spec.out_channels[0],
    }
    return (
        "from timm.models.resnetv2 import ResNetV2; from timm.layers import BatchNormAct2d, create_conv2d; "
        f"net = ResNetV2({list(spec.blocks)}, {_written(given)}, conv_layer=create_conv2d, "
        "norm_layer=BatchNormAct2d)"
    )


def _written(given: dict[str, object] | dict[str, int]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


# --- what they lack -----------------------------------------------------------------------------


def _unlike_both(spec: NetSpec) -> Iterator[str]:
    if spec.stem == "cifar":
        yield "its first convolution is 7×7 of stride 2 with pooling, and this net's is 3×3"
    if spec.shortcut != "B":
        yield f"it projects where the shape changes (option B), and this net's shortcut is {spec.shortcut}"
    if spec.pooling != "average":
        yield "it averages the last map, and this net does not"
    if spec.activation != "relu":
        yield f"it has ReLU, and this net has {spec.activation}"
    if spec.block == "bottleneck" and spec.stride_in != "3x3":
        yield "its bottlenecks stride in the 3×3 convolution, and this net's in the 1×1"


def _unlike_torchvision(spec: NetSpec) -> Iterator[str]:
    if spec.order != "original":
        yield f"it has the original order alone, and this net has {spec.order}"
    if spec.stem == "deep":
        yield "it has no stem of three convolutions"
    if spec.squeeze:
        yield "its ResNet has no squeeze-and-excitation"
    if spec.projection_pool:
        yield "its projections do not average"
    if len(spec.blocks) != 4:
        yield f"it has four stages, and this net has {len(spec.blocks)}"
    expansion = 4 if spec.block == "bottleneck" else 1
    outputs = spec.out_channels
    regular = tuple(spec.widths[0] * 2**stage for stage in range(len(spec.widths)))
    if outputs != tuple(width * expansion for width in _STAGES) or spec.widths != regular or spec.stem_channels != 64:
        wanted = ", ".join(str(width * expansion) for width in _STAGES)
        own = ", ".join(map(str, outputs))
        inside = ", ".join(map(str, spec.widths))
        wide = f"torchvision's stages are {wanted} channels wide behind a stem of 64"
        yield f"{wide}, and this net's are {own} ({inside} inside a block) behind {spec.stem_channels}"


def _unlike_timm(spec: NetSpec) -> Iterator[str]:
    if spec.order != "original":
        yield f"it has the original order and pre-activation, and this net has {spec.order}"
    if len(spec.blocks) != 4:
        yield f"its ResNet has four stages, and this net has {len(spec.blocks)}"
    if spec.stem == "deep" and spec.stem_channels % 2:
        yield "its deep stem has an even number of channels"
    if spec.stem == "imagenet" and spec.stem_channels != 64:
        yield f"its stem has 64 channels, and this net's has {spec.stem_channels}"
    if spec.block == "bottleneck" and _planes(spec) is None:
        yield "its bottlenecks widen their input by four times a base width, the same share in every stage"
    if spec.squeeze and any(output % spec.squeeze for output in spec.out_channels):
        yield f"its squeeze rounds where {spec.squeeze} does not divide the channels"


def _planes(spec: NetSpec) -> tuple[tuple[int, ...], int] | None:
    """timm gives a bottleneck int(planes · base_width / 64) · groups channels inside and 4 · planes outside.

    Returns planes and base_width, if there are any.
    """
    outputs = spec.out_channels
    planes = tuple(output // 4 for output in outputs)
    base, rest = divmod(spec.widths[0] * 64, spec.groups * max(1, planes[0]))
    inside = tuple(int(plane * (base / 64)) * spec.groups for plane in planes)
    return (planes, base) if not rest and inside == spec.widths and not any(o % 4 for o in outputs) else None


def _unlike_timm_v2(spec: NetSpec) -> Iterator[str]:
    if spec.first_activation == "stem":
        yield "its pre-activation nets begin with an activation inside the first block, and this net's in the stem"
    if spec.groups != 1:
        yield "its pre-activation nets have no groups"
    if spec.squeeze:
        yield "its pre-activation nets have no squeeze-and-excitation"
    if any(width % 8 for width in (spec.stem_channels, *spec.widths)):
        yield "its pre-activation nets round channels to multiples of 8"
    if spec.outputs:
        yield "its pre-activation bottlenecks widen alike in every stage"
    if spec.block == "bottleneck" and spec.stem_channels == spec.out_channels[0]:
        yield "its first bottleneck projects though its shape does not change"


def _refuse(library: str, unlike: list[str]) -> None:
    if unlike:
        raise UserError(
            f"{library} has no such net, so its names would not help",
            "; ".join(unlike),
            "a residuum model is a safetensors file already: any program can read its tensors",
        )
