"""Foreign tensors under residuum's names: what net they belong to, told by names and shapes alone; and whether all of
them fit it, or none is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from residuum.choices import Shortcut, Stem
from residuum.errors import UserError
from residuum.exchange.groups import Group
from residuum.exchange.layouts import RESIDUUM, Layout, to_ours, to_theirs
from residuum.models.file import EPSILON, all_finite
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec

Shape = tuple[int, ...]

COUNTER = "num_batches_tracked"
HEAD = ("fc.weight", "fc.bias")
SHOWN = 4
_BLOCK = "stages.stage{}.block{}"


@dataclass(frozen=True)
class Renamed:
    """A net's tensors under residuum's names, and the file's keys of those that have none."""

    origin: str
    layout: Layout
    tensors: Mapping[str, Tensor]
    strangers: tuple[str, ...]
    group: Group

    def key(self, name: str) -> str:
        """Return what the file calls residuum's tensor `name`, or would."""
        return self.group.spelled(str(to_theirs(self.layout, name)))

    def weight(self, module: str, dimensions: int = 4) -> Shape:
        """Return the shape of a module's weight (UserError if there is none of so many dimensions)."""
        name = f"{module}.weight"
        shape = tuple(self.tensors[name].shape) if name in self.tensors else ()
        if len(shape) != dimensions or 0 in shape:
            what = f"{self.key(name)}, which has {dimensions} dimensions"
            seen = f"it is {shown(shape)} there" if shape else "it is missing"
            raise UserError(f"{self.origin} does not hold a whole net", f"the net needs {what}; {seen}")
        return shape


def shown(shape: Shape) -> str:
    """Return a shape as people write it: 64×3×7×7."""
    return "×".join(map(str, shape)) or "a single number"


def renamed(group: Group, layout: Layout, origin: str) -> Renamed:
    """Give the tensors residuum's names, and a 1×1 convolution for a head the shape of a matrix."""
    pairs = {name: to_ours(layout, name) for name in group.tensors}
    ours = {our: group.tensors[name] for name, our in pairs.items() if our is not None}
    head = ours.get("fc.weight")
    if head is not None and head.ndim == 4 and head.shape[2:] == (1, 1):
        ours["fc.weight"] = head.flatten(1)
    return Renamed(origin, layout, ours, tuple(group.spelled(n) for n, our in pairs.items() if our is None), group)


# --- what net it is ----------------------------------------------------------------------------


def infer(found: Renamed) -> NetSpec:
    """Return the net that has these tensors. Whether all of them fit it is for the caller to see.

    Its `stride_in` and `zero_channels` leave no trace in the shapes and stay as they are by default.

    Raises:
        UserError: no net of the family has them.
    """
    stem, counts = _stem(found), _blocks(found)
    if not counts:
        raise UserError(f"{found.origin} does not hold a whole net", f"the net needs {found.key(_first(1))}")
    bottleneck = f"{_first(1)}.branch.conv3.weight" in found.tensors
    convolutions = [found.weight(f"{_first(stage + 1)}.branch.conv2") for stage in range(len(counts))]
    widths = tuple(shape[0] for shape in convolutions)
    outputs = widths
    if bottleneck:
        outputs = tuple(found.weight(f"{_first(stage + 1)}.branch.conv3")[0] for stage in range(len(counts)))
    factor = max(1, outputs[0] // max(1, widths[0]))
    regular = outputs == tuple(width * factor for width in widths)
    stem_width = found.weight("stem.conv")[0]
    return NetSpec(
        stem=stem,
        block="bottleneck" if bottleneck else "basic",
        blocks=counts,
        widths=widths,
        shortcut=_shortcut(found, counts, [stem_width, *outputs]),
        order=found.layout.order,
        first_activation=found.layout.first_activation,
        stem_width=None if stem_width == widths[0] else stem_width,
        bottleneck_factor=factor if bottleneck and regular else 4,
        outputs=None if regular else outputs,
        groups=max(1, widths[0] // max(1, convolutions[0][1])) if bottleneck else 1,
        squeeze=_squeeze(found),
        projection_pool=found.layout.projection_pool,
        in_channels=found.weight("stem.conv1" if stem == "deep" else "stem.conv")[1],
        num_classes=found.weight("fc", dimensions=2)[0] if "fc.weight" in found.tensors else 0,
    )


def _first(stage: int) -> str:
    return _BLOCK.format(stage, 1)


def _stem(found: Renamed) -> Stem:
    if {"stem.conv1.weight", "stem.conv2.weight"} & found.tensors.keys():
        return "deep"
    if found.weight("stem.conv")[-1] > 3:
        return "imagenet"
    bare = found.layout.name == RESIDUUM and found.layout.first_activation == "stem"
    return "whitening" if bare and "stem.bn.weight" not in found.tensors else "cifar"


def _blocks(found: Renamed) -> tuple[int, ...]:
    """Blocks in each stage. They are counted: a wild number in a key builds no wild net."""
    blocks = {tuple(name.split(".")[1:3]) for name in found.tensors if name.startswith("stages.")}
    stages = sorted({stage for stage, _ in blocks}, key=lambda stage: int(stage.removeprefix("stage")))
    return tuple(sum(of == stage for of, _ in blocks) for stage in stages)


def _squeeze(found: Renamed) -> int:
    module = f"{_first(1)}.branch.squeeze.fc1"
    if f"{module}.weight" not in found.tensors:
        return 0
    inner, channels = found.weight(module)[:2]
    return max(1, channels // max(1, inner))


def _shortcut(found: Renamed, counts: tuple[int, ...], channels: list[int]) -> Shortcut:
    """Option B projects where the shape changes, C everywhere, A nowhere; `channels` stand between the stages. Under
    residuum's own names there may be a gate, or a bare convolution.
    """
    if f"{_first(1)}.add.gate.weight" in found.tensors:
        return "exclusive-gating"
    if f"{_first(1)}.shortcut.weight" in found.tensors:
        return "1x1"
    places = [(stage, block) for stage, count in enumerate(counts, start=1) for block in range(1, count + 1)]
    changing = {p for p in places if p[1] == 1 and (p[0] > 1 or channels[0] != channels[1])}
    projecting = {p for p in places if f"{_BLOCK.format(*p)}.shortcut.conv.weight" in found.tensors}
    if not projecting:
        return "A"
    if projecting == changing:
        return "B"
    if projecting == set(places):
        return "C"
    odd = ", ".join(f"stage {stage} block {block}" for stage, block in sorted(projecting ^ changing)[:3])
    raise UserError(
        f"{found.origin} projects in some blocks and not in others",
        f"neither where the shape changes alone (option B) nor everywhere (C): unlike B in {odd}",
    )


# --- whether all fits ---------------------------------------------------------------------------


def fitted(spec: NetSpec, source: Renamed) -> tuple[ResNet, list[str]]:
    """Build the net with the weights, in float32, and say what had to be assumed of them.

    Raises:
        UserError: tensors are missing, extra, of another shape, or not numbers that a net can use.
    """
    with torch.device("meta"):
        net = ResNet(spec)
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    absent = [name for name in expected if name.endswith(COUNTER) and name not in source.tensors]
    _check(expected, source, {*absent, *(() if spec.num_classes else HEAD)})
    _check_numbers(source)
    dtypes = {str(t.dtype).removeprefix("torch.") for t in source.tensors.values() if t.is_floating_point()}
    weights = {name: _plain(name, tensor) for name, tensor in source.tensors.items()}
    weights |= {name: torch.zeros((), dtype=torch.int64) for name in absent if name.endswith(COUNTER)}
    if not spec.num_classes:
        weights |= {name: torch.zeros(expected[name]) for name in HEAD}
    net.load_state_dict(weights, assign=True)
    said = [f"{COUNTER}, which files from before torch 0.4.1 lack, is taken as 0"] if absent else []
    if dtypes != {"float32"}:
        said.append(f"the file's {' and '.join(sorted(dtypes))} becomes float32")
    return net.eval(), said


def _check(expected: Mapping[str, tuple[int, ...]], source: Renamed, absent: set[str]) -> None:
    tensors, layout = source.tensors, source.layout
    missing = [source.key(name) for name in expected if name not in tensors and name not in absent]
    extra = [source.key(name) for name in tensors if name not in expected]
    odd = [
        f"{source.key(name)} is {shown(tuple(tensors[name].shape))}, needed {shown(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    lists = {"missing": missing, "extra": [*extra, *source.strangers], "of another shape": odd}
    faults = [f"{len(names)} {what} ({_some(names)})" for what, names in lists.items() if names]
    if faults:
        raise UserError(
            f"{source.origin} does not fit the net that its keys describe, so nothing was imported",
            f"in the layout of {layout.name}, of {len(expected)} tensors: " + "; ".join(faults),
            "it may be a net of another kind: residuum models lists what there is",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _check_numbers(source: Renamed) -> None:
    for name, tensor in source.tensors.items():
        theirs = source.key(name)
        if kind := _unusable(tensor, counts=name.endswith(COUNTER)):
            raise UserError(f"{source.origin}: {theirs} is {kind}", "weights are dense floating-point numbers")
        if not all_finite(tensor.float()):
            what = f"{source.origin}: {theirs} holds numbers that are not finite"
            raise UserError(what, "its net gives NaN", "give a checkpoint from before its training went wrong")
        if name.endswith("running_var") and (tensor <= -EPSILON).any():
            raise UserError(f"{source.origin}: {theirs} holds a variance below zero", "its net gives NaN")


def _unusable(tensor: Tensor, *, counts: bool) -> str:
    """What kind of tensor it is that no net can be given; "" for the usual ones."""
    if tensor.is_quantized:
        return f"quantised ({str(tensor.dtype).removeprefix('torch.')})"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_meta:
        return "a shape without numbers (it was saved on the device meta)"
    fits = tensor.is_floating_point() or (counts and not tensor.is_complex())
    return "" if fits else str(tensor.dtype).removeprefix("torch.")


def _plain(name: str, tensor: Tensor) -> Tensor:
    """A copy of its own: checkpoints may share memory between tensors. Some have made their counters floats too."""
    dtype = torch.int64 if name.endswith(COUNTER) else torch.float32
    return tensor.detach().to(dtype, copy=True).contiguous()


@torch.inference_mode()
def check_same(ours: ResNet, theirs: nn.Module, origin: str) -> None:
    """Raise UserError if two nets with the same weights answer differently: then the keys do not tell all."""
    x = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    wanted = theirs.eval().float()(x)
    given = ours.eval()(x) if ours.spec.num_classes else ours.features(x)
    if wanted.shape[1:] == (1,):
        given = given[:, 1:] - given[:, :1]
    if given.shape != wanted.shape or not torch.allclose(
        given, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())
    ):
        raise UserError(
            f"{origin} computes something else than the residual net its keys describe",
            "it may blur before it strides, dilate its convolutions or have another activation",
            "residuum has no such net",
        )
