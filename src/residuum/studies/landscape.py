"""Loss landscapes of plain and residual nets, over two filter-normalised random directions.

θ are a trained net's weights, δ and η random directions whose every filter is as long as θ's; the surface is
L(θ + a δ + b η). BN's scales and shifts, and biases, stay (Li et al. 2018, sec. 4), and BN is in evaluation, with the
statistics of training.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from residuum.console import say
from residuum.data.batches import Batch
from residuum.evaluation.opening import NetWithData
from residuum.models.resnet import ResNet
from residuum.records.study import Lines, Map, Quantity, Words
from residuum.studies.charts import lines_of
from residuum.studies.examined import DEPTHS, affordable, opened, pictures_of, runs_of, training_batches
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Quantities, Rule, below

GRIDS = {"tiny": (5, 125), "quick": (11, 500), "full": (51, 2000)}
"""Points along a side, an odd number, and pictures."""
DRAWS = 3
"""Pairs of directions around a given net."""
RING = 0.5
"""Where the rise is measured: over the points that lie within 0.09 of this radius."""
ROUNDING = 1e-3
"""Nats by which a loss must lie above the mean of its neighbours to count against convexity."""
FLAT = 1.0
"""Nats above the centre up to which a point counts as flat."""

OVERFLOW = 1e30
"""Stands for a loss that float32 cannot hold."""

Direction = Mapping[str, Tensor]


@dataclass(frozen=True)
class Surface:
    """Losses in nats at (a, b), both of them through `at`: one row a value of b, one column a value of a."""

    at: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]

    @property
    def centre(self) -> float:
        """Return the trained net's own loss."""
        middle = len(self.at) // 2
        return self.rows[middle][middle]


RULE = Rule(
    (below("residual-rise", "plain-rise"), below("residual-violations", "plain-violations")),
    {
        "residual-rise": "the mean rise of the loss at radius 0.5 around residual nets",
        "plain-rise": "that around plain ones",
        "residual-violations": "the share of second differences along the grid's lines that are against convexity "
        "around residual nets",
        "plain-violations": "that around plain ones",
    },
)


def measure(setup: Setup) -> Findings:
    """Draw the surface around each trained net, with every seed; or around the net given."""
    points, images = GRIDS[setup.scale]
    if setup.model is not None:
        return _of_model(setup, setup.model)
    kinds = _trained_for_it(setup, points, images)
    q = _quantities(kinds)
    words = Words(
        f"At radius 0.5 the loss is higher by {q['plain-rise']} around plain nets and by {q['residual-rise']} "
        f"around residual ones; {q['plain-violations']} and {q['residual-violations']} of the second differences "
        "are against convexity.",
        f"半径 0.5 处，普通网络的损失升高 {q['plain-rise']}，残差网络升高 {q['residual-rise']}；"
        f"违反凸性的二阶差分分别占 {q['plain-violations']} 和 {q['residual-violations']}。",
    )
    return _findings(kinds, q, words, points, images)


def _of_model(setup: Setup, model: str) -> Findings:
    """Draw surfaces around one net, each along two directions of its own."""
    points, most = GRIDS[setup.scale]
    run = opened(model, setup)
    images = min(affordable(run.classifier, most), len(run.recalibration_loader(0).split))
    kinds = {run.classifier.name: [surface_of(run, points, images, draw) for draw in range(DRAWS)]}
    q = {name.rpartition("-")[2]: one for name, one in _quantities(kinds, "draw").items()}
    pictures = pictures_of(run, images, "training")
    words = Words(
        f"On {pictures}, along {DRAWS} pairs of random directions, the loss is higher by {q['rise']} at radius 0.5; "
        f"{q['violations']} of the second differences are against convexity.",
        f"在 {images} 张训练图片上，沿 {DRAWS} 对随机方向，半径 0.5 处损失升高 {q['rise']}；"
        f"{q['violations']} 的二阶差分违反凸性。",
    )
    return _findings(kinds, q, words, points, images, pictures)


def _findings(
    kinds: Mapping[str, Sequence[Surface]], q: Quantities, words: Words, points: int, images: int, pictures: str = ""
) -> Findings:
    middle = lines_of(kinds, lambda one: tuple(zip(one.at, one.rows[points // 2], strict=True)))
    cut = Lines("Loss along one direction", "a", "loss, nats", middle, log_y=True)
    return Findings(
        q,
        words,
        (*(map_of(kind, surfaces[0]) for kind, surfaces in kinds.items()), cut),
        notes=(
            f"A grid of {points}×{points} points and {images} training pictures as evaluation shows them; Li et al. "
            "took finer grids and all pictures.",
            "A net that has hardly learnt has little to lose: how far the loss can rise depends on the centre's, "
            "which is among the figures.",
        ),
        settings={"points": points, "images": images},
        pictures=pictures,
    )


def _trained_for_it(setup: Setup, points: int, images: int) -> dict[str, list[Surface]]:
    depth = DEPTHS[setup.scale][-1]
    found = runs_of(setup, [("plain", depth), ("resnet", depth)])
    kinds: dict[str, list[Surface]] = {}
    for kind, name in (("plain", "plain"), ("residual", "resnet")):
        kinds[kind] = []
        for seed, record in zip(setup.seeds, found[name, depth], strict=True):
            say(f"drawing the surface around {name}{depth}, seed {seed}")
            kinds[kind].append(surface_of(opened(record.path, setup), points, images, seed))
    return kinds


# --- the surface --------------------------------------------------------------------------------


def direction(net: nn.Module, chance: torch.Generator) -> dict[str, Tensor]:
    """Return a normal random direction for the weights of convolutions and of the last layer, by their names.

    Each filter (what makes one output channel) is as long as the net's own.
    """
    found = {}
    for name, weight in net.named_parameters():
        if weight.dim() < 2:
            continue
        drawn = torch.randn(weight.shape, generator=chance).to(weight.device)
        length = drawn.flatten(1).norm(dim=1)
        wanted = weight.detach().flatten(1).norm(dim=1)
        found[name] = drawn * (wanted / length).view(-1, *[1] * (weight.dim() - 1))
    return found


@contextmanager
def moved(net: nn.Module, steps: Iterable[tuple[float, Direction]]) -> Iterator[None]:
    """Add so much of each direction to the weights; afterwards they are, to the last bit, what they were."""
    weights = dict(net.named_parameters())
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        with torch.no_grad():
            for length, way in steps:
                for name, change in way.items():
                    weights[name].add_(change, alpha=length)
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])


@torch.no_grad()
def loss_of(net: ResNet, batches: Iterable[Batch]) -> float:
    """Return the mean cross entropy over all pictures, in nats."""
    total, count = 0.0, 0
    for batch in batches:
        total += float(cross_entropy(net(batch.images), batch.labels, reduction="sum"))
        count += len(batch.labels)
    return total / count if math.isfinite(total) else OVERFLOW


def surface_of(run: NetWithData, points: int, images: int, seed: int) -> Surface:
    """Return the losses over −1 ≤ a, b ≤ 1 around one net, the directions drawn with `seed`."""
    chance = torch.Generator().manual_seed(seed)
    net = run.classifier.net
    delta, eta = direction(net, chance), direction(net, chance)
    batches = training_batches(run, images)
    half = points // 2
    at = tuple((place - half) / half for place in range(points))

    def loss(a: float, b: float) -> float:
        with moved(net, ((a, delta), (b, eta))):
            return loss_of(net, batches)

    return Surface(at, tuple(tuple(loss(a, b) for a in at) for b in at))


# --- what is read from it -----------------------------------------------------------------------


def rise(surface: Surface) -> float:
    """Return how much higher the loss is, on average, about half a filter away from the centre."""
    on_ring = [
        loss
        for b, row in zip(surface.at, surface.rows, strict=True)
        for a, loss in zip(surface.at, row, strict=True)
        if abs(math.hypot(a, b) - RING) < 0.09
    ]
    return sum(on_ring) / len(on_ring) - surface.centre


def violations(surface: Surface) -> float:
    """Return the share of second differences along rows and columns that are negative: a convex surface has none."""
    found: list[bool] = []
    for line in (*surface.rows, *zip(*surface.rows, strict=True)):
        threes = zip(line, line[1:], line[2:], strict=False)
        found += [here - (before + after) / 2 > ROUNDING for before, here, after in threes]
    return sum(found) / len(found)


def flat_share(surface: Surface) -> float:
    """Return the share of the points where the loss is within 1 nat of the centre's."""
    losses = [loss for row in surface.rows for loss in row]
    return sum(loss <= surface.centre + FLAT for loss in losses) / len(losses)


# --- figures ------------------------------------------------------------------------------------


def _quantities(kinds: Mapping[str, Sequence[Surface]], of: str = "seed") -> dict[str, Quantity]:
    measured: dict[str, tuple[str, Callable[[Surface], float], str]] = {
        "centre": ("loss of the net itself", lambda one: one.centre, "nats"),
        "rise": ("rise of the loss at radius 0.5", rise, "nats"),
        "violations": ("second differences against convexity", lambda one: 100 * violations(one), "%"),
        "flat": ("points within 1 nat of the centre", lambda one: 100 * flat_share(one), "%"),
    }
    return {
        f"{kind}-{name}": quantity(f"{words}, {kind}", list(map(figure, surfaces)), unit, of=of)
        for kind, surfaces in kinds.items()
        for name, (words, figure, unit) in measured.items()
    }


def map_of(kind: str, surface: Surface) -> Map:
    """Return the picture of a surface: log10 of the loss, a to the right, b upwards."""
    upwards = reversed(surface.rows)  # a map's first row is its uppermost
    rows = tuple(tuple(math.log10(max(loss, 1e-6)) for loss in row) for row in upwards)
    return Map(f"Loss around one net, {kind}", "a", "b", rows, (-1, 1), (1, -1), "log10 of the loss in nats")
