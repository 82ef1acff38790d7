"""Shattering: how soon the gradient forgets itself along a line of inputs, and from pixel to pixel of a picture."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from residuum.console import show_progress
from residuum.data.batches import Batch
from residuum.models.mlp import MLP, MLPSpec
from residuum.records.study import Lines, Quantity, Words
from residuum.studies.charts import lines_by, lines_of, numbered
from residuum.studies.examined import DEPTHS, Examined, examine_each, notes_on_pictures, runs_of, untrained_on
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Quantities, Rule, above, below

POINTS = 256
REACH = 2.0
"""Inputs lie on a grid over [−2, 2], as in the paper."""
LAG = 5
"""Steps on the grid at which depths are compared."""
LAGS = 30
BIAS = 0.1
"""Standard deviation of the biases of nets without BN, which would have no kinks but at 0 otherwise."""
PICTURES = {"tiny": 50, "quick": 250, "full": 1000}


Kind = tuple[MLPSpec, float]
"""A fully connected net, its size still to be said, and what F is multiplied by: the paper's β."""
PLAIN = MLPSpec(inputs=1, width=1, blocks=1, outputs=1, layers=1, shortcut="none", order="preactivation")
RESIDUAL = replace(PLAIN, shortcut="identity")
KINDS = {
    "plain": (PLAIN, 1.0),
    "residual": (RESIDUAL, 1.0),
    "residual, F × 0.1": (RESIDUAL, 0.1),
    "plain, not centred": (replace(PLAIN, normalise=False), 1.0),
}


@dataclass(frozen=True)
class Size:
    """How many nets there are a seed, and of what size."""

    layers: tuple[int, ...]
    units: int
    nets: int


SIZES = {
    "tiny": Size((2, 24), 100, 3),
    "quick": Size((2, 10, 24, 50), 200, 10),
    "full": Size((2, 10, 24, 50), 200, 50),
}


# --- along a line -------------------------------------------------------------------------------


def line_net(kind: Kind, layers: int, units: int, seed: int) -> MLP:
    """Return an untrained net of `layers` hidden layers in blocks of one, each BN and ReLU, then its weights."""
    spec, branch = kind
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        net = MLP(replace(spec, width=units, blocks=layers))
        for name, weight in net.stages.named_parameters():
            if name.endswith("fc1.weight"):
                weight.mul_(branch)
        for layer in net.modules():
            if isinstance(layer, nn.Linear) and layer is not net.fc and not spec.normalise:
                nn.init.normal_(layer.bias, std=BIAS)
    return net


def slopes(net: MLP) -> Tensor:
    """Return df/dx at each of the grid's points, (256,); what BN subtracts and divides by is held constant."""
    x = torch.linspace(-REACH, REACH, POINTS)[:, None]
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.momentum = 1.0  # so that one walk leaves the grid's own statistics
    with torch.no_grad():
        net.train()(x)
    net.eval()
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x).sum(), x)
    return slope[:, 0]


def autocorrelation(signal: Tensor, lags: int) -> list[float]:
    """Return the autocorrelation of an (N,) signal at lags 0 to `lags`; 1 everywhere of a constant one."""
    around = (signal - signal.mean()).double()
    power = float(around.square().sum())
    if power == 0:
        return [1.0] * (lags + 1)
    return [float(around[: len(around) - lag] @ around[lag:]) / power for lag in range(lags + 1)]


def _mean_autocorrelation(signals: Iterable[Tensor]) -> list[float]:
    """Return the mean over signals of equal length, at each lag."""
    found = [autocorrelation(one, LAGS) for one in signals]
    return [statistics.fmean(at_lag) for at_lag in zip(*found, strict=True)]


def _of_nets(kind: Kind, layers: int, size: Size, seed: int) -> list[float]:
    """Return the mean over a seed's nets."""
    seeds = range(seed * size.nets, (seed + 1) * size.nets)
    return _mean_autocorrelation(slopes(line_net(kind, layers, size.units, one)) for one in seeds)


def _brown_noise(size: Size, seed: int) -> list[float]:
    """Return what a random walk of as many steps has, for comparison."""
    chance = torch.Generator().manual_seed(seed)
    return _mean_autocorrelation(torch.randn(size.nets, POINTS, generator=chance).cumsum(1))


# --- over pictures ------------------------------------------------------------------------------


def neighbour_correlation(net: nn.Module, batches: Iterable[Batch]) -> float:
    """Return the correlation of ∂E/∂pixel between neighbours, down and across, the mean over pictures; about mean 0.

    E is the cross-entropy; the net is in evaluation mode. 0 is white noise, 1 a constant gradient.
    """
    found = []
    for batch in batches:
        images = batch.images.detach().requires_grad_()
        loss = cross_entropy(net(images).float(), batch.labels, reduction="sum")
        (g,) = torch.autograd.grad(loss, images)
        down = _correlation(g[:, :, 1:, :], g[:, :, :-1, :])
        across = _correlation(g[:, :, :, 1:], g[:, :, :, :-1])
        found.append((down + across) / 2)
    return float(torch.cat(found).mean())


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return that of each picture's (C, H, W) values, (N,)."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    tiny = torch.finfo(torch.float64).tiny
    found: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=tiny)
    return found


def _new_and_trained(seen: Examined, seed: int) -> tuple[float, float]:
    """Return the correlation in the net when it was new and when it was trained."""
    new = untrained_on(seen.net.spec, seed, (batch.images for batch in seen.batches), seen.compute)
    return neighbour_correlation(new, seen.batches), neighbour_correlation(seen.net, seen.batches)


# --- the study ----------------------------------------------------------------------------------

RULE = Rule(
    (below("plain-deep", "plain-shallow"), above("residual-deep", "plain-deep")),
    {
        "plain-deep": "the autocorrelation in the deepest plain nets",
        "plain-shallow": "that in the shallowest",
        "residual-deep": "the autocorrelation in residual nets as deep",
    },
    besides=f"Autocorrelation: that of df/dx at lag {LAG} of {POINTS} points on [−2, 2], in untrained nets with BN.",
)


def measure(setup: Setup) -> Findings:
    """Measure fully connected nets of one input along a line, and the nets of the degradation study on pictures."""
    size = SIZES[setup.scale]
    pictures, chart = _on_pictures(setup)  # first, for it may lack its pictures
    found = _along_a_line(size, setup.seeds)
    q = {
        f"{name}, {layers}": quantity(
            f"autocorrelation of the gradient at lag {LAG}, {name}, {layers} layers",
            tuple(one[LAG] for one in of_seeds),
        )
        for (name, layers), of_seeds in found.items()
    }
    shallow, deep = size.layers[0], size.layers[-1]
    q |= {"plain-shallow": q[f"plain, {shallow}"], "plain-deep": q[f"plain, {deep}"]}
    q |= {"residual-deep": q[f"residual, {deep}"]}
    bare = q[f"plain, not centred, {deep}"]
    return Findings(
        q | pictures,
        Words(
            f"Autocorrelation of the gradient at lag {LAG} of {POINTS} points: plain nets of {shallow} and {deep} "
            f"layers {q['plain-shallow']} and {q['plain-deep']}, residual nets of {deep} layers {q['residual-deep']}.",
            f"梯度在 {POINTS} 个点上滞后 {LAG} 步的自相关：{shallow} 层与 {deep} 层普通网络分别为 "
            f"{q['plain-shallow']} 与 {q['plain-deep']}，{deep} 层残差网络为 {q['residual-deep']}。",
        ),
        (*_charts(found, q, size, setup.seeds), chart),
        notes=(
            "All nets have BN but those “not centred”, which have biases of standard deviation 0.1: there "
            f"plain nets of {deep} layers keep {bare}, so without centring gradients shatter far less.",
            "Residual nets here add F at full strength; the paper multiplies it by β, 0.1 in its figure 1, shown as F "
            "× 0.1.",
            "Pictures: the gradient of the loss by pixels, before and after training; not part of the verdict.",
            *notes_on_pictures(setup),
        ),
        settings={"units": size.units, "nets of each kind a seed": size.nets, "points": POINTS},
    )


def _along_a_line(size: Size, seeds: Sequence[int]) -> dict[tuple[str, int], list[list[float]]]:
    """Return the mean autocorrelation of each seed's nets, at each lag, by kind and layers."""
    progress = show_progress("following gradients along a line of inputs")
    wanted = [(name, layers, seed) for name in KINDS for layers in size.layers for seed in seeds]
    found: dict[tuple[str, int], list[list[float]]] = {}
    for place, (name, layers, seed) in enumerate(wanted):
        progress(place, len(wanted))
        found.setdefault((name, layers), []).append(_of_nets(KINDS[name], layers, size, seed))
    progress(len(wanted), len(wanted))
    return found


def _on_pictures(setup: Setup) -> tuple[dict[str, Quantity], Lines]:
    """Return the correlation between neighbouring pixels of each net's gradient, new and trained, against depth."""
    nets = [(kind, depth) for kind in ("plain", "resnet") for depth in DEPTHS[setup.scale]]
    found = {
        net: [_new_and_trained(seen, seed) for seen, seed in examine_each(setup, records, PICTURES[setup.scale])]
        for net, records in runs_of(setup, nets).items()
    }
    q, named = dict[str, Quantity](), dict[str, dict[int, str]]()
    for which, state in enumerate(("new", "trained")):
        for (kind, depth), pairs in found.items():
            label = f"correlation of the gradient at neighbouring pixels, {kind}{depth}, {state}"
            q[f"{kind}{depth}-{state}"] = quantity(label, [pair[which] for pair in pairs])
            named.setdefault(f"{kind}, {state}", {})[depth] = f"{kind}{depth}-{state}"
    return q, lines_by("Gradients on pictures, neighbouring pixels", "layers", "correlation", q, named)


def _charts(
    found: dict[tuple[str, int], list[list[float]]], q: Quantities, size: Size, seeds: tuple[int, ...]
) -> tuple[Lines, ...]:
    by_depth = {name: {layers: f"{name}, {layers}" for layers in size.layers} for name in KINDS}
    brown = [_brown_noise(size, seed) for seed in seeds]

    def by_lag(layers: int) -> Lines:
        nets = {**{name: found[name, layers] for name in KINDS}, "a random walk": brown}
        lines = lines_of(nets, lambda one: numbered(one, first=0))
        title = f"Autocorrelation of the gradient, {layers} layers"
        return Lines(title, "lag, in 256ths of the line", "autocorrelation", lines)

    return (
        lines_by(f"Autocorrelation at lag {LAG} against depth", "hidden layers", "autocorrelation", q, by_depth),
        by_lag(size.layers[-1]),
        by_lag(size.layers[0]),
    )
