"""Propagation: the sums that identity shortcuts make of signals and gradients, and which gradients vanish with depth.

Letters: x_l is the input of block l, E a number made of the net's output, L the end of a stage.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from residuum.data.cache import decoded
from residuum.data.split import drawn
from residuum.models.block import ResidualBlock
from residuum.models.mlp import MLP, MLPSpec
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.study.charts import Lines, Points, mean_line
from residuum.study.examined import depths, examine, notes_on_pictures, runs_of, untrained
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Words
from residuum.study.trained import open_pictures_of
from residuum.study.verdict import Verdict, above, below, decide

SIDE = 8
CLASSES = 10
MIDDLE = 56
"""Layers at which plain nets are asked whether their gradients vanish."""
VANISHED = -1.0
"""log10 of the first block's gradient norm over the last's below which it has vanished: a tenth."""
ROUNDING = 1e-10
TRAINED_ON = 125
"""Pictures in the batch on which trained nets are asked the same."""
SMALL = 0.1
"""Of He's initial weights: the small weights of the 2016 paper's remark on eq. 5."""


@dataclass(frozen=True)
class Kind:
    """A kind of fully connected net."""

    shortcut: Literal["identity", "none"]
    normalise: bool


FULLY_CONNECTED = {
    "plain, BN": Kind("none", True),
    "plain, without BN": Kind("none", False),
    "residual, BN": Kind("identity", True),
    "residual, without BN": Kind("identity", False),
}
CONVOLUTIONAL = {"plain": "plain20", "residual": "resnet20", "pre-activation": "preresnet20"}


@dataclass(frozen=True)
class Size:
    """How large the untrained nets are; layers are rounded to what blocks of two allow."""

    pictures: int
    units: int
    channels: tuple[int, ...]
    depths: tuple[int, ...]
    identities: tuple[int, ...]
    """Depths at which eq. 4 and 5 are checked."""


SIZES = {
    "tiny": Size(16, 32, (4, 8, 16), (20, MIDDLE), (20,)),
    "quick": Size(32, 128, (8, 16, 32), (20, MIDDLE, 110, 218, 1004), (20, MIDDLE, 110)),
    "full": Size(128, 256, (16, 32, 64), (20, MIDDLE, 110, 218, 1004), (20, MIDDLE, 110, 218)),
}


# --- equations 4 and 5 --------------------------------------------------------------------------


def identity_errors(net: ResNet, images: Tensor) -> tuple[float, float]:
    """Return the largest relative errors of x_L = x_l + ΣF and of ∂E/∂x_l = ∂E/∂x_L + (∂ΣF/∂x_l)ᵀ ∂E/∂x_L.

    Over every l, and L the end of l's stage: between stages the shortcut changes the shape, and is no identity.
    BN normalises by the batch; E is the sum of all logits, each times a random number.
    """
    net.train()
    blocks = [block for _, block in net.blocks()]
    xs, gradients = _signals(net, images, seed=0)
    forward = backward = 0.0
    for first, end in _runs(blocks):
        for l in range(first, end):  # noqa: E741 - the papers' letter
            x_l = xs[l].detach().requires_grad_()
            x, total = x_l, torch.zeros_like(x_l)
            for block in blocks[l:end]:
                total = total + block.branch(block.before(x))
                x = block(x)
            (through,) = torch.autograd.grad(total, x_l, gradients[end])
            forward = max(forward, _relative(x - x_l - total, x))
            backward = max(backward, _relative(gradients[l] - gradients[end] - through, gradients[l]))
    return forward, backward


def _runs(blocks: Sequence[ResidualBlock]) -> list[tuple[int, int]]:
    """Return first and last + 1 of each longest row of blocks whose shortcut is the identity."""
    rows, first = [], None
    for place, block in enumerate([*blocks, None]):
        passes = block is not None and isinstance(block.shortcut, nn.Identity) and not block.shared
        if passes and first is None:
            first = place
        elif not passes and first is not None:
            rows.append((first, place))
            first = None
    return rows


def _relative(error: Tensor, of: Tensor) -> float:
    return float(error.detach().norm() / of.detach().norm())


# --- gradients against depth --------------------------------------------------------------------


def gradient_norms(net: ResNet | MLP, images: Tensor, seed: int) -> list[float]:
    """Return ‖∂E/∂x_l‖ at each block's input, in order; E as above, BN by the batch."""
    net.train()
    return [float(gradient.norm()) for gradient in _signals(net, images, seed)[1][:-1]]


def _signals(net: ResNet | MLP, images: Tensor, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the input of each block and the last's output, and the gradients of E for them."""
    xs = [net.stem(images if isinstance(net, ResNet) else images.flatten(1))]
    for _, block in net.blocks():
        xs.append(block(xs[-1]))
    logits = net.head(xs[-1]) if isinstance(net, ResNet) else net.fc(net.end(xs[-1]))
    chance = torch.Generator().manual_seed(seed)
    direction = torch.randn(logits.shape, generator=chance, dtype=logits.dtype)
    return xs, list(torch.autograd.grad(logits, xs, direction))


def fully_connected(kind: Kind, depth: int, units: int, seed: int, scale: float = 1.0) -> MLP:
    """Return an untrained net in float64; all weights but the last layer's times `scale`."""
    spec = MLPSpec(
        inputs=3 * SIDE * SIDE,
        width=units,
        blocks=(depth - 2) // 2,
        outputs=CLASSES,
        shortcut=kind.shortcut,
        order="original" if kind.shortcut == "none" else "preactivation",
        normalise=kind.normalise,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = MLP(spec).double()
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if not name.startswith("fc."):
                weight.mul_(scale)
    return net


def convolutional(name: str, depth: int, channels: tuple[int, ...]) -> NetSpec:
    """Return the named net with other depth and channels."""
    n = (depth - 2) // 6
    return replace(named(name), blocks=(n, n, n), widths=channels)


def _pictures(means: Means, count: int) -> Tensor:
    """Return `count` training pictures of 8 px, (N, 3, 8, 8) float64, each channel of mean 0 and sd 1."""
    some = drawn(open_pictures_of(means.data or "digits").train, count)
    pixels = decoded(some.pictures, SIDE, SIDE)
    x = torch.from_numpy(pixels).double().permute(0, 3, 1, 2)
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)


# --- the study ----------------------------------------------------------------------------------


def measure(means: Means) -> Findings:
    """Check the equations, then follow gradients through new nets of growing depth and through trained ones."""
    size = SIZES[means.scale]
    images = _pictures(means, size.pictures)
    norms = _new(means, size, images)
    depth, of_trained = _trained(means)
    q = _identities(means, size, images) | _small_weights(means, size, images)
    for (name, layers), nets in norms.items():
        q[f"{name}, {layers}"] = _quantity(f"new {name}, {layers} layers", nets)
    for kind, nets in of_trained.items():
        q[f"{kind}-trained"] = _quantity(f"trained {kind}{depth}", nets)
    q["plain-fc"] = q[f"plain, BN, fully connected, {MIDDLE}"]
    q["plain-conv"] = q[f"plain, convolutional, {MIDDLE}"]
    q["plain-deep"] = q[f"plain, without BN, fully connected, {size.depths[-1]}"]
    q["residual-deep"] = q[f"residual, BN, fully connected, {size.depths[-1]}"]
    return Findings(
        q,
        _words(q, size.depths[-1], depth),
        (*_charts(norms, size), _chart_of_trained(depth, of_trained)),
        notes=(
            "New nets see pictures of 8 px, trained ones their own validation pictures, all in float64; E is a random "
            "weighting of the logits, so that no gradient is small because a loss is.",
            "“Not vanished” bounds the gradient from below only: in new plain nets with BN it grows towards the first "
            "layer, of which the paper does not speak.",
            "Eq. 4 and 5 need an identity behind the addition too: with a ReLU there, in nets of order original, "
            f"eq. 4 is off by {q['control'].mean:.2g}.",
            *notes_on_pictures(means),
        ),
    )


def _words(q: Quantities, deep: int, depth: int) -> Words:
    def power(key: str) -> str:
        return f"10^{q[key].mean:.1f}"

    return Words(
        f"Eq. 4 and 5 hold to {q['forward'].mean:.1g} and {q['backward'].mean:.1g}. The first block's gradient is "
        f"{power('plain-fc')} times the last's in new plain nets of {MIDDLE} layers with BN and "
        f"{power('plain-trained')} times in trained plain{depth}; at {deep} layers {power('plain-deep')} times in new "
        f"plain nets without BN, {power('residual-deep')} times in new residual nets with BN.",
        f"式 4 与式 5 的相对误差为 {q['forward'].mean:.1g} 与 {q['backward'].mean:.1g}。首块与末块的梯度范数之比："
        f"未训练的 {MIDDLE} 层带 BN 普通网络为 {power('plain-fc')}，训练后的 plain{depth} 为 {power('plain-trained')}；"
        f"未训练的 {deep} 层网络中，无 BN 的普通网络为 {power('plain-deep')}，带 BN 的残差网络为 "
        f"{power('residual-deep')}。",
    )


def _quantity(of: str, nets: Sequence[Sequence[float]]) -> Quantity:
    """Return the figure that gradients are judged by, of one net a seed."""
    values = tuple(_fall(one) for one in nets)
    return Quantity(f"log10 of the first block's gradient norm over the last's, {of}", values)


def _new(means: Means, size: Size, images: Tensor) -> dict[tuple[str, int], list[list[float]]]:
    """Return the gradient norms, block by block, of new nets of each kind and depth, one a seed."""
    norms = {}
    for depth in size.depths:
        for name, kind in FULLY_CONNECTED.items():
            norms[f"{name}, fully connected", depth] = [
                gradient_norms(fully_connected(kind, depth, size.units, seed), images, seed)
                for seed in means.seeds
            ]
        for name, net in CONVOLUTIONAL.items():
            spec = convolutional(net, depth, size.channels)
            norms[f"{name}, convolutional", depth] = [
                gradient_norms(untrained(spec, seed).double(), images, seed) for seed in means.seeds
            ]
    return norms


def _trained(means: Means) -> tuple[int, dict[str, list[list[float]]]]:
    """Return depth and gradient norms of the deepest nets of the degradation study, BN by the batch as in training."""
    depth = depths(means)[-1]
    found: dict[str, list[list[float]]] = {}
    for (kind, _), records in runs_of(means, [("plain", depth), ("resnet", depth)]).items():
        found[kind] = []
        for record, seed in zip(records, means.seeds, strict=True):
            seen = examine(means, record.path, TRAINED_ON)
            images = next(iter(seen.batches)).images.cpu().double()
            found[kind].append(gradient_norms(seen.net.cpu().double(), images, seed))
    return depth, found


def _identities(means: Means, size: Size, images: Tensor) -> dict[str, Quantity]:
    """Check eq. 4 and 5 in pre-activation nets, and in nets of order original, where they cannot hold."""
    errors = {}
    for name in ("preresnet20", "resnet20"):
        specs = [convolutional(name, depth, size.channels) for depth in size.identities]
        errors[name] = [
            [identity_errors(untrained(spec, seed).double(), images) for spec in specs]
            for seed in means.seeds
        ]

    def worst(label: str, name: str, which: int) -> Quantity:
        values = tuple(max(pair[which] for pair in of_seed) for of_seed in errors[name])
        return Quantity(label, values, exact=True)

    return {
        "forward": worst("largest relative error of eq. 4", "preresnet20", 0),
        "backward": worst("largest relative error of eq. 5", "preresnet20", 1),
        "control": worst("the same of eq. 4 in nets of order original", "resnet20", 0),
    }


def _small_weights(means: Means, size: Size, images: Tensor) -> dict[str, Quantity]:
    """Follow gradients where all weights are a tenth of what He's initialisation makes them, without BN."""
    q = {}
    for key in ("plain", "residual"):
        kind = FULLY_CONNECTED[f"{key}, without BN"]
        nets = [
            gradient_norms(fully_connected(kind, MIDDLE, size.units, seed, SMALL), images, seed)
            for seed in means.seeds
        ]
        q[f"{key}-small"] = _quantity(f"small weights, {key}, {MIDDLE} layers", nets)
    return q


def _fall(norms: Sequence[float]) -> float:
    """Return log10 of the first norm over the last."""
    return _log10(norms[0]) - _log10(norms[-1])


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


def _charts(norms: dict[tuple[str, int], list[list[float]]], size: Size) -> tuple[Lines, ...]:
    kinds = list(dict.fromkeys(name for name, _ in norms))
    charts = []
    for group in ("fully connected", "convolutional"):
        names = [name for name in kinds if name.endswith(group)]
        against = tuple(
            mean_line(name.removesuffix(f", {group}"), [
                tuple((depth, _fall(norms[name, depth][i])) for depth in size.depths)
                for i in range(len(norms[name, MIDDLE]))
            ])
            for name in names
        )  # fmt: skip
        by_block = tuple(
            mean_line(name.removesuffix(f", {group}"), [_profile(one) for one in norms[name, MIDDLE]])
            for name in names
        )
        charts += [
            Lines(f"First block over last, {group}", "layers", "log10 of gradient norm", against),
            Lines(f"Block by block, {group}, {MIDDLE} layers", "block", "log10 of gradient norm", by_block),
        ]
    return tuple(charts)


def _chart_of_trained(depth: int, found: dict[str, list[list[float]]]) -> Lines:
    lines = tuple(
        mean_line(f"{kind}{depth}", [_profile(one) for one in nets]) for kind, nets in found.items()
    )
    return Lines(f"Block by block, trained, {depth} layers", "block", "log10 of gradient norm", lines)


def _profile(norms: Sequence[float]) -> Points:
    """Return log10 of each norm over the last, against the block's number."""
    return tuple((float(l), _fall([norm, norms[-1]])) for l, norm in enumerate(norms, start=1))  # noqa: E741


def judge(q: Quantities) -> Verdict:
    """The sums are exact; with BN plain gradients do not vanish; with small weights residual ones do not, plain do."""
    return decide(
        below(q["forward"], ROUNDING),
        below(q["backward"], ROUNDING),
        above(q["plain-fc"], VANISHED),
        above(q["plain-conv"], VANISHED),
        above(q["plain-trained"], VANISHED),
        above(q["residual-small"], VANISHED),
        below(q["plain-small"], VANISHED),
    )


STUDY = Study(
    name="propagation",
    title=Words("Propagation of signals and gradients", "信号与梯度的传播"),
    question=Words(
        "Do identity shortcuts carry signals and gradients from any block to any other, and is it vanishing "
        "gradients that makes deep plain nets train badly?",
        "恒等捷径能否在任意两个残差块之间直接传递信号和梯度？深层普通网络难以训练，是否因为梯度消失？",
    ),
    claim=Words(
        "In pre-activation nets a deeper signal is a shallower one plus the sum of the branches between, so that a "
        "gradient does not vanish however small the weights; with BN the gradients of plain nets do not vanish either.",
        "在预激活残差网络中，深层信号等于浅层信号加上其间各支路之和，因此无论权重多小，梯度都不会消失；"
        "有 BN 时，普通网络的梯度也不会消失。",
    ),
    source="He et al. 2016 (arXiv 1603.05027), sec. 2, eq. 4 and 5; He et al. 2015 (arXiv 1512.03385), sec. 4.1",
    predicate="Supported: eq. 4 and 5 hold to a relative error below 1e-10 in float64; in plain nets with BN the "
    "gradient's norm at the first block is above a tenth of that at the last, in new ones of 56 layers, fully "
    "connected and convolutional, and in the deepest trained one; and with weights at a tenth of He's, without BN, it "
    "is above a tenth in residual nets of 56 layers and below a tenth in plain ones. Contradicted: any of these is the "
    "other way round. Norms beyond two standard errors of their logarithm.",
    measure=measure,
    judge=judge,
)
