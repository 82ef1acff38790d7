"""What net the tensors belong to, told by their names and shapes alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from residuum.choices import Shortcut, Stem
from residuum.errors import UserError
from residuum.exchange.layouts import Layout, to_theirs
from residuum.models.spec import NetSpec

Shape = tuple[int, ...]

_BLOCK = "stages.stage{}.block{}"


@dataclass(frozen=True)
class Renamed:
    """A checkpoint's tensors under residuum's names, and the keys that have none."""

    origin: str
    layout: Layout
    tensors: Mapping[str, Tensor]
    strangers: tuple[str, ...]

    def weight(self, module: str, dimensions: int = 4) -> Shape:
        """Return the shape of a module's weight (UserError if there is none of so many dimensions)."""
        name = f"{module}.weight"
        shape = tuple(self.tensors[name].shape) if name in self.tensors else ()
        if len(shape) != dimensions:
            what = f"{to_theirs(self.layout, name)}, which has {dimensions} dimensions"
            seen = f"it is {shown(shape)} there" if shape else "it is missing"
            raise UserError(f"{self.origin} does not hold a whole net", f"the net needs {what}; {seen}")
        return shape


def shown(shape: Shape) -> str:
    """Return a shape as people write it: 64×3×7×7."""
    return "×".join(map(str, shape)) or "a single number"


def infer(found: Renamed) -> NetSpec:
    """Return the net that has these tensors. Whether all of them fit it is for the caller to see.

    Its `stride_in` and `zero_channels` leave no trace in the shapes and stay as they are by default.

    Raises:
        UserError: no net of the family has them.
    """
    stem, counts = _stem(found), _blocks(found)
    bottleneck = f"{_first(1)}.branch.conv3.weight" in found.tensors
    convolutions = [found.weight(f"{_first(stage + 1)}.branch.conv2") for stage in range(len(counts))]
    widths = tuple(shape[0] for shape in convolutions)
    expansion = max(1, found.weight(f"{_first(1)}.branch.conv3")[0] // widths[0]) if bottleneck else 1
    stem_width = found.weight("stem.conv")[0]
    return NetSpec(
        stem=stem,
        block="bottleneck" if bottleneck else "basic",
        blocks=counts,
        widths=widths,
        shortcut=_shortcut(found, counts, [stem_width, *(width * expansion for width in widths)]),
        order=found.layout.order,
        first_activation=found.layout.first_activation,
        stem_width=None if stem_width == widths[0] else stem_width,
        bottleneck_factor=expansion if bottleneck else 4,
        groups=max(1, widths[0] // max(1, convolutions[0][1])) if bottleneck else 1,
        squeeze=_squeeze(found),
        projection_pool=found.layout.projection_pool,
        in_channels=found.weight("stem.conv1" if stem == "deep" else "stem.conv")[1],
        num_classes=found.weight("fc", dimensions=2)[0],
    )


def _first(stage: int) -> str:
    return _BLOCK.format(stage, 1)


def _stem(found: Renamed) -> Stem:
    if "stem.conv1.weight" in found.tensors:
        return "deep"
    return "imagenet" if found.weight("stem.conv")[-1] > 3 else "cifar"


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
    """Option B projects where the shape changes, C everywhere, A nowhere; `channels` stand between the stages."""
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
