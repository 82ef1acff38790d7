"""Propagation: the sums that identity shortcuts make of signals and gradients, and which gradients vanish with depth.

Letters: x_l is the input of block l, E a number made of the net's output, L the end of a stage.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from residuum.console import show_progress
from residuum.data.cache import decoded
from residuum.data.split import drawn
from residuum.dispatch.job import open_pictures_of
from residuum.models.block import ResidualBlock
from residuum.models.mlp import MLP, MLPSpec
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.records.study import Lines, Points, Quantity, Words
from residuum.studies.charts import lines_by, lines_of, numbered
from residuum.studies.examined import DEPTHS, examine_each, notes_on_pictures, runs_of, untrained
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Quantities, Rule, above, below

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


PLAIN = MLPSpec(inputs=3 * SIDE * SIDE, width=1, blocks=1, outputs=CLASSES, shortcut="none")
RESIDUAL = replace(PLAIN, shortcut="identity", order="preactivation")
FULLY_CONNECTED = {
    "plain, BN": PLAIN,
    "plain, without BN": replace(PLAIN, normalise=False),
    "residual, BN": RESIDUAL,
    "residual, without BN": replace(RESIDUAL, normalise=False),
}
"""Their width and number of blocks are still to be said."""
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
    rows, place = [], 0
    for passes, row in groupby(isinstance(block.shortcut, nn.Identity) and not block.shared for block in blocks):
        first, place = place, place + len(list(row))
        if passes:
            rows.append((first, place))
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


def fully_connected(kind: MLPSpec, depth: int, units: int, seed: int, scale: float = 1.0) -> MLP:
    """Return an untrained net in float64; all weights but the last layer's times `scale`."""
    spec = replace(kind, width=units, blocks=(depth - 2) // 2)
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


def _pictures(setup: Setup, count: int) -> Tensor:
    """Return `count` training pictures of 8 px, (N, 3, 8, 8) float64, each channel of mean 0 and sd 1."""
    some = drawn(open_pictures_of(setup.data or "digits").train, count)
    pixels = decoded(some.pictures, SIDE, SIDE)
    x = torch.from_numpy(pixels).double().permute(0, 3, 1, 2)
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)


# --- the study ----------------------------------------------------------------------------------

RULE = Rule(
    (
        below(("forward", "backward"), ROUNDING),
        above(("plain-fc", "plain-conv", "plain-trained", "residual-small"), VANISHED),
        below("plain-small", VANISHED),
    ),
    {
        "forward": "the relative error of eq. 4 in float64",
        "backward": "that of eq. 5",
        "plain-fc": f"the gradient's ratio in new fully connected plain nets of {MIDDLE} layers with BN",
        "plain-conv": "that in new convolutional ones",
        "plain-trained": "that in the deepest trained plain net",
        "residual-small": f"that in residual nets of {MIDDLE} layers without BN and with weights a tenth of He's",
        "plain-small": "that in plain nets made so",
    },
    besides="The gradient's ratio is log10 of its norm at the first block over that at the last: -1 is a tenth.",
)


def measure(setup: Setup) -> Findings:
    """Check the equations, then follow gradients through new nets of growing depth and through trained ones."""
    size = SIZES[setup.scale]
    images = _pictures(setup, size.pictures)
    depth, of_trained = _trained(setup)
    norms = _new(setup, size, images)
    q = _identities(setup, size, images) | _small_weights(setup, size, images)
    for (name, layers), nets in norms.items():
        q[f"{name}, {layers}"] = _quantity(f"new {name}, {layers} layers", nets)
    for kind, nets in of_trained.items():
        q[f"{kind}-trained"] = _quantity(f"trained {kind}{depth}", nets)
    q["plain-fc"] = q[f"plain, BN, fully connected, {MIDDLE}"]
    q["plain-conv"] = q[f"plain, convolutional, {MIDDLE}"]
    q["plain-deep"] = q[f"plain, without BN, fully connected, {size.depths[-1]}"]
    q["residual-deep"] = q[f"residual, BN, fully connected, {size.depths[-1]}"]
    profiles = lines_of({f"{kind}{depth}": nets for kind, nets in of_trained.items()}, _profile)
    by_block = Lines(f"Block by block, trained, {depth} layers", "block", "log10 of gradient norm", profiles)
    return Findings(
        q,
        _words(q, size.depths[-1], depth),
        (*_charts(norms, q, size), by_block),
        notes=(
            "New nets see pictures of 8 px, trained ones their own validation pictures, all in float64; E is a random "
            "weighting of the logits, so that no gradient is small because a loss is.",
            "“Not vanished” bounds the gradient from below only: in new plain nets with BN it grows towards the first "
            "layer, of which the paper does not speak.",
            "Eq. 4 and 5 need an identity behind the addition too: with a ReLU there, in nets of order original, "
            f"eq. 4 is off by {q['control']}.",
            *notes_on_pictures(setup),
        ),
    )


def _words(q: Quantities, deep: int, depth: int) -> Words:
    def power(key: str) -> str:
        return f"10^{q[key].mean:.4g}"

    return Words(
        f"Eq. 4 and 5 hold to {q['forward']} and {q['backward']}. The first block's gradient is "
        f"{power('plain-fc')} times the last's in new plain nets of {MIDDLE} layers with BN and "
        f"{power('plain-trained')} times in trained plain{depth}; at {deep} layers {power('plain-deep')} times in new "
        f"plain nets without BN, {power('residual-deep')} times in new residual nets with BN.",
        f"式 4 与式 5 的相对误差为 {q['forward']} 与 {q['backward']}。首块与末块的梯度范数之比："
        f"未训练的 {MIDDLE} 层带 BN 普通网络为 {power('plain-fc')}，训练后的 plain{depth} 为 {power('plain-trained')}；"
        f"未训练的 {deep} 层网络中，无 BN 的普通网络为 {power('plain-deep')}，带 BN 的残差网络为 "
        f"{power('residual-deep')}。",
    )


def _quantity(of: str, nets: Sequence[Sequence[float]]) -> Quantity:
    """Return the figure that gradients are judged by, of one net a seed."""
    return quantity(f"log10 of the first block's gradient norm over the last's, {of}", list(map(_fall, nets)))


def _new(setup: Setup, size: Size, images: Tensor) -> dict[tuple[str, int], list[list[float]]]:
    """Return the gradient norms, block by block, of new nets of each kind and depth, one a seed."""
    nets: dict[tuple[str, int], Callable[[int], ResNet | MLP]] = {}
    for depth in size.depths:
        for name, kind in FULLY_CONNECTED.items():
            nets[f"{name}, fully connected", depth] = partial(fully_connected, kind, depth, size.units)
        for name, net in CONVOLUTIONAL.items():
            nets[f"{name}, convolutional", depth] = partial(_untrained, convolutional(net, depth, size.channels))
    progress = show_progress("following gradients through new nets")
    norms = {}
    for place, (key, new) in enumerate(nets.items()):
        progress(place, len(nets))
        norms[key] = [gradient_norms(new(seed), images, seed) for seed in setup.seeds]
    progress(len(nets), len(nets))
    return norms


def _untrained(spec: NetSpec, seed: int) -> ResNet:
    return untrained(spec, seed).double()


def _trained(setup: Setup) -> tuple[int, dict[str, list[list[float]]]]:
    """Return depth and gradient norms of the deepest nets of the degradation study, BN by the batch as in training."""
    depth = DEPTHS[setup.scale][-1]
    found: dict[str, list[list[float]]] = {}
    for (kind, _), records in runs_of(setup, [("plain", depth), ("resnet", depth)]).items():
        found[kind] = []
        for seen, seed in examine_each(setup, records, TRAINED_ON):
            images = next(iter(seen.batches)).images.cpu().double()
            found[kind].append(gradient_norms(seen.net.cpu().double(), images, seed))
    return depth, found


def _identities(setup: Setup, size: Size, images: Tensor) -> dict[str, Quantity]:
    """Check eq. 4 and 5 in pre-activation nets, and in nets of order original, where they cannot hold."""
    errors = {}
    for name in ("preresnet20", "resnet20"):
        specs = [convolutional(name, depth, size.channels) for depth in size.identities]
        errors[name] = [
            [identity_errors(untrained(spec, seed).double(), images) for spec in specs] for seed in setup.seeds
        ]

    def worst(label: str, name: str, which: int) -> Quantity:
        values = tuple(max(pair[which] for pair in of_seed) for of_seed in errors[name])
        return quantity(label, values, exact=True)

    return {
        "forward": worst("largest relative error of eq. 4", "preresnet20", 0),
        "backward": worst("largest relative error of eq. 5", "preresnet20", 1),
        "control": worst("the same of eq. 4 in nets of order original", "resnet20", 0),
    }


def _small_weights(setup: Setup, size: Size, images: Tensor) -> dict[str, Quantity]:
    """Follow gradients where all weights are a tenth of what He's initialisation makes them, without BN."""
    q = {}
    for key in ("plain", "residual"):
        kind = FULLY_CONNECTED[f"{key}, without BN"]
        nets = [
            gradient_norms(fully_connected(kind, MIDDLE, size.units, seed, SMALL), images, seed) for seed in setup.seeds
        ]
        q[f"{key}-small"] = _quantity(f"small weights, {key}, {MIDDLE} layers", nets)
    return q


def _fall(norms: Sequence[float]) -> float:
    """Return log10 of the first norm over the last."""
    return _log10(norms[0]) - _log10(norms[-1])


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


def _charts(norms: dict[tuple[str, int], list[list[float]]], q: Quantities, size: Size) -> list[Lines]:
    y, charts = "log10 of gradient norm", []
    for group in ("fully connected", "convolutional"):
        names = {name.removesuffix(f", {group}"): name for name, _ in norms if name.endswith(group)}
        against = {label: {depth: f"{name}, {depth}" for depth in size.depths} for label, name in names.items()}
        by_block = lines_of({label: norms[name, MIDDLE] for label, name in names.items()}, _profile)
        charts += [
            lines_by(f"First block over last, {group}", "layers", y, q, against),
            Lines(f"Block by block, {group}, {MIDDLE} layers", "block", y, by_block),
        ]
    return charts


def _profile(norms: Sequence[float]) -> Points:
    """Return log10 of each norm over the last, against the block's number."""
    return numbered(_fall([norm, norms[-1]]) for norm in norms)
