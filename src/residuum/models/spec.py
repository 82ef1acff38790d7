"""What a net is, as plain data: orthogonal choices. Which combinations are nets, and why the others are not.

He et al. 2015 (arXiv 1512.03385) and 2016 (arXiv 1603.05027).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import msgspec

from residuum.choices import Activation, Order, Shortcut, Stem, StrideIn
from residuum.errors import UserError
from residuum.models.shortcuts import SHORTCUTS

WHITENING_FILTERS = 2 * 3 * 3 * 3
"""Each principal component of a 3×3 patch of three colours, as it is and negated."""


@dataclass(frozen=True, kw_only=True)
class NetSpec:
    """One net of the family. What is left alone is as in He et al. 2015, but for `stride_in`."""

    stem: Stem
    """cifar: 3×3 convolution. imagenet: 7×7 of stride 2, then 3×3 max-pooling of stride 2. deep: three 3×3
    convolutions in place of the 7×7 (ResNet-C and -D; He, T. et al. 2018, arXiv 1812.01187). whitening: 3×3 and ReLU
    without BN, its filters the principal components of the training pictures' patches and never trained
    (whitening.py)."""
    block: Literal["basic", "bottleneck"]
    """basic: two 3×3 convolutions. bottleneck: 1×1, 3×3, 1×1."""
    blocks: tuple[int, ...]
    """Blocks in each stage; each stage after the first halves the map."""
    widths: tuple[int, ...]
    """Channels of the 3×3 convolutions in each stage."""
    shortcut: Shortcut
    """none: the plain net. A: identity, zero channels where they grow. B: projection where the shape changes.
    C: projection everywhere. On option A's shortcut, in every block (2016, fig. 2 and Table 1): constant (both
    paths scaled), exclusive-gating, shortcut-gating, dropout; 1x1 is a 1×1 convolution in its place."""
    order: Order = "original"
    """Where BN and ReLU stand (2016, fig. 4 a to e)."""
    activation: Activation = "relu"
    """relu, or gelu in every ReLU's place but squeeze-and-excitation's own (Hendrycks and Gimpel 2016, arXiv
    1606.08415)."""
    first_activation: Literal["stem", "block"] = "stem"
    """Pre-activation nets: the first BN and ReLU stand right after the first convolution, so that both paths see
    them (2016, appendix), or inside the first block as in all others (timm's resnetv2)."""
    stride_in: StrideIn = "3x3"
    """Which convolution of a bottleneck strides: 1x1 as in the paper, 3x3 as in v1.5."""
    stem_width: int | None = None
    """Channels after the stem; by default those of the first stage."""
    bottleneck_factor: int = 4
    """How many times wider than its 3×3 convolution a bottleneck's output is."""
    outputs: tuple[int, ...] | None = None
    """Channels that the bottlenecks of each stage give, where that is no `bottleneck_factor` (torchvision's
    width_per_group)."""
    groups: int = 1
    """Groups of a bottleneck's 3×3 convolution (ResNeXt; Xie et al. 2016, arXiv 1611.05431)."""
    squeeze: int = 0
    """Squeeze-and-excitation at the branch's end, its inner layer this many times narrower; 0 is without
    (Hu et al. 2017, arXiv 1709.01507)."""
    projection_pool: bool = False
    """Where the map is halved the shortcut averages 2×2 pixels instead of skipping three of four: projections
    (ResNet-D), and option A."""
    halving: Literal["stride", "max-pool"] = "stride"
    """How a basic block halves the map: by its first convolution's stride, or by 2×2 max-pooling after it."""
    first_stage_halves: bool = False
    """The first stage halves the map too."""
    pooling: Literal["average", "max", "both", "roots"] = "average"
    """Over all places of the last map; both: the last layer reads the averages, then the largest; roots: the signed
    square root of each of these (Perronnin, Sánchez and Mensink 2010, doi 10.1007/978-3-642-15561-1_11, sec. 3.2)."""
    zero_channels: Literal["end", "both"] = "end"
    """Option A: zero channels after the channels (fb.resnet.torch), or half before and half after."""
    shortcut_scale: float = 0.5
    """shortcut constant: what the shortcut is multiplied by."""
    branch_scale: float = 0.5
    """shortcut constant: what F is multiplied by."""
    gate_bias: float = -6.0
    """Gating: b_g at the start; the more negative, the closer is the shortcut to the identity."""
    shortcut_dropout: float = 0.5
    """shortcut dropout: share of the shortcut set to zero in training."""
    dropout: float = 0.0
    """Share of the activations set to zero before the branch's last convolution (wide nets; Zagoruyko and
    Komodakis 2016, arXiv 1605.07146)."""
    stochastic_depth: float = 0.0
    """Probability that the last block is skipped in a training step; it grows linearly from the first block's
    (Huang et al. 2016, arXiv 1603.09382)."""
    zero_init: bool = False
    """The last BN of each branch starts at scale zero (2017 and later; not in the papers)."""
    dirac_init: bool = False
    """The 3×3 convolutions of the blocks start by handing on each channel as it is; where there are more channels out
    than in, the others start as usual (Zagoruyko and Komodakis 2017, arXiv 1706.00388; Jordan 2024, sec. 3.2)."""
    small_head: bool = False
    """The last layer starts at standard deviation 1/C for C channels, without bias, instead of about 0.6/√C: behind
    max-pooling, whose answers are large, the first logits stay small (Page 2019)."""
    in_channels: int = 3
    num_classes: int = 1000
    """0 is a backbone: it gives features, and no layer reads them."""

    def __post_init__(self) -> None:
        """Refuse a net that cannot be built, or that is another net under a second name.

        Raises:
            UserError: the message says what does not go together, and why.
        """
        if len(self.blocks) != len(self.widths) or not self.blocks:
            raise UserError(
                f"{len(self.blocks)} block counts for {len(self.widths)} widths", "each stage has one of each"
            )
        counts = (*self.blocks, *self.widths, *self.out_channels, self.in_channels, self.stem_channels)
        if min(*counts, self.groups, self.bottleneck_factor) < 1 or self.num_classes < 0:
            raise UserError("a net needs at least one block and channel, and no negative number of classes", str(self))
        for what, why in (*_contradictions(self), *_contradictions_of_outputs(self), *_contradictions_of_maps(self)):
            raise UserError(what, why)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels that the blocks of each stage give."""
        factor = self.bottleneck_factor if self.block == "bottleneck" else 1
        return tuple(width * factor for width in self.widths) if self.outputs is None else self.outputs

    @property
    def stem_channels(self) -> int:
        """Channels after the stem."""
        return self.widths[0] if self.stem_width is None else self.stem_width

    @property
    def sees_small(self) -> bool:
        """Whether the stem keeps a picture's size, as CIFAR's 32 px want it."""
        return self.stem in {"cifar", "whitening"}

    @property
    def features(self) -> int:
        """Numbers that the last layer reads."""
        return self.out_channels[-1] * (2 if self.pooling in {"both", "roots"} else 1)

    @property
    def depth(self) -> int:
        """Weighted layers on the longest path: convolutions and the last fully connected layer."""
        per_block = 3 if self.block == "bottleneck" else 2
        return per_block * sum(self.blocks) + (3 if self.stem == "deep" else 1) + 1

    @property
    def preactivated(self) -> bool:
        """Whether ReLU comes before the convolutions, so that nothing stands after the addition."""
        return self.order in {"relu-only-preactivation", "preactivation"}

    def as_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        return {name: value for name, value in asdict(self).items() if name != "outputs" or value is not None}


def _contradictions(spec: NetSpec) -> Iterator[tuple[str, str]]:
    """Yield (what, why) of choices that do not go together."""
    projects = SHORTCUTS[spec.shortcut].h == "projection"
    if spec.block == "basic" and spec.stride_in == "1x1":
        yield "a basic block cannot stride in a 1×1 convolution", "it has none; a bottleneck has"
    if spec.block == "basic" and spec.groups != 1:
        yield "a basic block cannot have groups", "ResNeXt groups the 3×3 convolution of a bottleneck"
    if any(width % spec.groups for width in spec.widths):
        yield (f"{spec.groups} groups do not divide the widths {spec.widths}", "each group has equally many channels")
    if spec.projection_pool and not (projects or spec.shortcut == "A"):
        yield (
            f"shortcut {spec.shortcut} cannot average before its projection",
            "it has no projection; B and C have, and A averages where the map is halved",
        )
    if spec.shortcut == "none" and spec.order in {"bn-after-addition", "relu-before-addition"}:
        yield (
            f"a plain net has no order {spec.order}",
            "it has no addition to be before or after: it is the plain net of order original",
        )
    if spec.shortcut == "1x1" and spec.order in {"bn-after-addition", "relu-only-preactivation", "preactivation"}:
        yield (
            f"shortcut 1x1 in order {spec.order} is option C",
            "in that order option C's projection has no BN either; use shortcut C",
        )
    if spec.first_activation == "block" and not spec.preactivated:
        yield (f"order {spec.order} has its first activation in the stem", "only pre-activation nets have the choice")
    if spec.zero_init and (why := _why_no_zero_bn(spec)):
        yield f"order {spec.order} cannot start its branches at zero with BN", why
    if spec.zero_init and spec.shortcut == "none":
        yield ("a plain net cannot start its branches at zero", "without shortcuts nothing would pass through it")
    for name in ("shortcut_dropout", "dropout", "stochastic_depth"):
        if not 0 <= getattr(spec, name) < 1:
            yield f"{name} {getattr(spec, name)} is out of range", "it must be at least 0 and below 1"
    if spec.stochastic_depth and spec.shortcut == "none":
        yield "a plain net cannot skip blocks at random", "it has no shortcut to go by"


def _contradictions_of_outputs(spec: NetSpec) -> Iterator[tuple[str, str]]:
    """Yield those about how wide the blocks' outputs are."""
    if spec.outputs is None:
        return
    if spec.block == "basic" or len(spec.outputs) != len(spec.widths):
        yield (
            f"{len(spec.widths)} stages of {spec.block} blocks cannot give {spec.outputs}",
            "bottlenecks can, each stage",
        )
    if spec.outputs == tuple(width * spec.bottleneck_factor for width in spec.widths):
        yield f"outputs {spec.outputs} are bottleneck_factor {spec.bottleneck_factor}", "a net is said in one way"


def _contradictions_of_maps(spec: NetSpec) -> Iterator[tuple[str, str]]:
    """Yield those about the stem and how maps are halved."""
    if spec.halving == "max-pool" and spec.block == "bottleneck":
        yield ("a bottleneck cannot halve the map by max-pooling", "its halving convolution says how: stride_in")
    if spec.stem == "whitening" and spec.first_activation == "stem" and spec.preactivated:
        yield "a whitening stem has no BN for a pre-activation net to share", "choose first_activation block"
    if spec.stem == "whitening" and spec.dirac_init and spec.stem_channels > WHITENING_FILTERS:
        yield (
            f"a whitening stem has {WHITENING_FILTERS} filters, not {spec.stem_channels}",
            "the others would be zero, handed on by Dirac's convolutions, and the BN after them would burst",
        )


def _why_no_zero_bn(spec: NetSpec) -> str | None:
    """Return why no BN at the end of each branch could begin at scale zero, or None if it could."""
    if spec.order == "bn-after-addition":
        return "its branches end in a convolution, and the BN after the addition carries the shortcut too"
    if spec.order == "relu-before-addition" and spec.activation == "relu":
        return "a ReLU follows that BN, and passes no gradient at zero: the branch could never learn"
    if spec.order == "preactivation":
        return "its branches end in a convolution, not in BN"
    return None


def from_json(data: dict[str, Any], place: str = "a model file", written_by: str = "another residuum") -> NetSpec:
    """Rebuild a specification from a model file or run folder; a file from before a choice existed lacks it.

    Raises:
        UserError: a field is unknown or missing: the file is damaged or from a newer residuum. The message says
            where it stands and what wrote it.
    """
    try:
        if unknown := set(data) - {field.name for field in fields(NetSpec)}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        return msgspec.convert(data, NetSpec)
    except UserError as error:
        what, why = f"the net of {place} cannot be: {error.what}", f"{error.why}; it was written by {written_by}"
        raise UserError(what, why, "use the version that wrote it") from error
    except ValueError as error:
        raise UserError(
            f"the net of {place} cannot be read",
            f"{error}; it was written by {written_by}",
            "use the version that wrote it",
        ) from error
