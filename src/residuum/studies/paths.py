"""Paths: how long the ways through a residual net are, and which of them the gradient takes.

Letters: n blocks; a path goes through the branch of k of them and the shortcut of the rest.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from residuum.data.batches import Batch
from residuum.data.rng import order
from residuum.errors import UserError
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet
from residuum.records.study import Line, Lines, Points, Quantity, Table, Words
from residuum.studies.charts import bars_of, mean_line, numbered
from residuum.studies.examined import DEPTHS, Examined, examine, examine_each, notes_on_pictures, of_depth
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.trained import test_error, with_each_seed
from residuum.studies.verdict import Quantities, Rule, below, not_above

MOST = 0.95
"""Share of the gradient that the paths called effective carry."""
DROPPED = 0.5
"""How often stochastic depth leaves the last block out."""
WORSE = 2.0
"""Points of test error that training the short paths alone may cost."""
PICTURES = {"tiny": 40, "quick": 125, "full": 1000}
DRAWS = 3
"""How often the paths of a given net are drawn."""


# --- counting paths -----------------------------------------------------------------------------


def shares_of_paths(n: int) -> list[float]:
    """Return the share of the 2ⁿ paths that has each length 0 to n: Binomial(n, ½)."""
    return [math.comb(n, k) / 2**n for k in range(n + 1)]


def shares_of_gradient(n: int, norms: Mapping[int, float]) -> list[float]:
    """Return the share of the gradient carried by all paths of each length: their number times the norm of one.

    nan where there is no gradient at all.
    """
    total = [share * norms[k] for k, share in enumerate(shares_of_paths(n))]
    whole = sum(total) or math.nan
    return [one / whole for one in total]


def effective(shares: list[float], most: float = MOST) -> list[int]:
    """Return the fewest lengths that together carry `most` of the gradient, sorted."""
    chosen: list[int] = []
    for length in sorted(range(len(shares)), key=lambda k: -shares[k]):
        chosen.append(length)
        if sum(shares[k] for k in chosen) >= most:
            break
    return sorted(chosen)


def slope(norms: Mapping[int, float]) -> float:
    """Return by how much ln of the norm changes a block, by least squares over the lengths; nan of fewer than two."""
    points = [(k, math.log(norm)) for k, norm in norms.items() if norm > 0]
    if len(points) < 2:
        return math.nan
    mean_k, mean_y = (statistics.fmean(values) for values in zip(*points, strict=True))
    along = sum((k - mean_k) * (y - mean_y) for k, y in points)
    return along / sum((k - mean_k) ** 2 for k, _ in points)


# --- the gradient of single paths ---------------------------------------------------------------


def one_way(block: ResidualBlock, x: Tensor, by_branch: Tensor) -> Tensor:
    """Give the block's own output, but a gradient through the branch alone, or through the shortcut alone.

    by_branch: (N,) of bool, which for each picture of x, (N, C, H, W).
    """
    assert block.shortcut is not None
    a, way = block.before(x), by_branch[:, None, None, None]
    h, F = block.shortcut(a if block.shared else x), block.branch(a)
    h, F = torch.where(way, h.detach(), h), torch.where(way, F, F.detach())
    return block.after(block.add(F, h, x.detach()))  # type: ignore[no-any-return]


def path_gradients(net: ResNet, batch: Batch, ways: Tensor) -> Tensor:
    """Return the gradient of each picture's cross-entropy at the first block's input, (N, C, H, W), along one path.

    ways: (N, n) of bool, the branches on each picture's path. The net is in evaluation mode.
    """
    with torch.no_grad():
        first = net.stem(batch.images)
    x = first.requires_grad_()
    for place, (_, block) in enumerate(net.blocks()):
        x = one_way(block, x, ways[:, place])
    loss = cross_entropy(net.head(x).float(), batch.labels, reduction="sum")
    return torch.autograd.grad(loss, first)[0]  # type: ignore[no-any-return]


def path_norms(net: ResNet, batches: Iterable[Batch], seed: int) -> dict[int, float]:
    """Return the norm of the gradient along one path of each length 0 to n: the mean over the pictures.

    Each picture's path is drawn at random among those of the length.
    """
    n, norms = sum(net.spec.blocks), dict[int, list[float]]()
    for batch in batches:
        for k in range(n + 1):
            ways = torch.zeros(len(batch.labels), n, dtype=torch.bool)
            for way, row in zip(ways, batch.rows.tolist(), strict=True):
                way[order(seed, row * (n + 1) + k, n)[:k]] = True
            gradients = path_gradients(net, batch, ways.to(batch.images.device))
            norms.setdefault(k, []).extend(gradients.flatten(1).norm(dim=1).tolist())
    return {k: statistics.fmean(values) for k, values in norms.items()}


# --- the study ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Of one net of n blocks."""

    norms: dict[int, float]
    """The norm of one path's gradient, by length."""

    @property
    def n(self) -> int:
        """Return the number of blocks."""
        return len(self.norms) - 1

    @property
    def gradient(self) -> list[float]:
        """Return the share of the gradient that the paths of each length carry."""
        return shares_of_gradient(self.n, self.norms)

    @property
    def mean_length(self) -> float:
        """Return the mean length of paths, each as heavy as its gradient."""
        return sum(k * share for k, share in enumerate(self.gradient))

    @property
    def share_of_paths(self) -> float:
        """Return the share of all paths, in per cent, that has the effective lengths."""
        paths = shares_of_paths(self.n)
        return 100 * sum(paths[k] for k in effective(self.gradient))


RULE = Rule(
    (below("slope", 0.0), below("length", "typical"), not_above("short", "ordinary", by=WORSE, unit="points")),
    {
        "slope": "the slope of ln of the gradient's norm along one path against the number of branches on it",
        "length": "the mean length of paths, each as heavy as its gradient,",
        "typical": "half the number of blocks",
        "short": "the test error of nets trained with stochastic depth",
        "ordinary": "that of ordinary ones",
    },
)


def measure(setup: Setup) -> Findings:
    """Follow the gradient through ordinary nets, and train others by their short paths; or examine the given net."""
    if setup.model is not None:
        return _of_model(setup, setup.model)
    depth = 110 if setup.scale == "full" else DEPTHS[setup.scale][-1]
    usual = partial(of_depth, setup, "resnet", depth)
    runs = with_each_seed(setup, {"ordinary": usual, "short": partial(usual, stochastic_depth=DROPPED)})
    ordinary, short = runs["ordinary"], runs["short"]
    found = [found_in(seen, seed) for seen, seed in examine_each(setup, ordinary, PICTURES[setup.scale])]
    q = _quantities(found, f"resnet{depth}")
    q["ordinary"] = quantity(f"test error, resnet{depth}", list(map(test_error, ordinary)), "%")
    label = f"test error, resnet{depth} trained with stochastic depth"
    q["short"] = quantity(label, list(map(test_error, short)), "%")
    tested = bars_of("Test error", "error, %", q, {"all paths": "ordinary", "stochastic depth": "short"})
    measured = _measured(q, found[0].n)
    return Findings(
        q,
        Words(
            f"{measured.en} Trained with stochastic depth, the test error is {q['short']}, otherwise {q['ordinary']}.",
            f"{measured.zh}用随机深度训练时测试误差为 {q['short']}，普通训练为 {q['ordinary']}。",
        ),
        (*_charts(found), tested),
        (_lengths(found),),
        notes=(
            "The paper trains short paths by drawing 23 of 54 blocks for each batch, all alike. Stochastic depth "
            f"leaves blocks out by a chance that grows linearly to {DROPPED:g} at the last: its mean path is longer.",
            "Gradients are measured at the first block's input, with BN as in evaluation.",
            *notes_on_pictures(setup),
        ),
        settings={"net": f"resnet{depth}", "stochastic depth": DROPPED},
    )


def found_in(seen: Examined, seed: int) -> Found:
    """Follow the gradient through one net.

    Raises:
        UserError: it is a plain net.
    """
    if seen.net.spec.shortcut == "none":
        raise UserError(f"{seen.name} is a plain net", "only one path leads through it", "give a residual net")
    return Found(path_norms(seen.net, seen.batches, seed))


def _quantities(found: list[Found], name: str, of: str = "seed") -> dict[str, Quantity]:
    measured = {
        "slope": ("change of ln gradient norm by one more branch on the path", "", [slope(one.norms) for one in found]),
        "length": ("mean length of the paths that the gradient takes", "", [one.mean_length for one in found]),
        "share": ("share of paths that carry 95 % of the gradient", "%", [one.share_of_paths for one in found]),
    }
    q = {key: quantity(f"{label}, {name}", values, unit, of=of) for key, (label, unit, values) in measured.items()}
    return q | {"typical": quantity(f"mean length of all paths, {name}", [found[0].n / 2], exact=True)}


def _measured(q: Quantities, n: int) -> Words:
    return Words(
        f"Each further branch on a path of {n} blocks multiplies its gradient by {math.exp(q['slope'].mean):.2g}; the "
        f"mean path the gradient takes has length {q['length']} (all paths: {q['typical']}), and {q['share']} of the "
        "paths carry 95 % of it.",
        f"{n} 个块的路径上，每多经过一条分支，梯度乘以 {math.exp(q['slope'].mean):.2g}；按梯度加权的平均路径长度为 "
        f"{q['length']}（全部路径：{q['typical']}），{q['share']} 的路径承载 95 % 的梯度。",
    )


def _charts(found: list[Found]) -> tuple[Lines, ...]:
    def norms(one: Found) -> Points:
        return tuple((float(k), norm) for k, norm in one.norms.items() if norm > 0)

    def in_per_cent(shares: list[float]) -> Points:
        return numbered((100 * share for share in shares), first=0)

    one_path = mean_line("one path", [norms(one) for one in found])
    all_paths = Line("of all paths", in_per_cent(shares_of_paths(found[0].n)))
    gradient = mean_line("of the gradient", [in_per_cent(one.gradient) for one in found])
    x, title = "branches on the path", "Gradient of one path by its length"
    return (
        Lines(title, x, "norm of the gradient", (one_path,), log_y=True),
        Lines("Where the gradient goes", x, "share, %", (all_paths, gradient)),
    )


def _lengths(found: list[Found], what: str = "net") -> Table:
    """Return the effective lengths of each net, or of each draw of its paths."""
    rows = []
    for number, one in enumerate(found, start=1):
        lengths = effective(one.gradient)
        rows.append((str(number), f"{lengths[0]} to {lengths[-1]}", str(one.n), f"{one.share_of_paths:.3g} %"))
    heads = (what, "lengths that carry 95 %", "blocks", "share of all paths")
    return Table("Effective paths", heads, tuple(rows))


def _of_model(setup: Setup, model: str) -> Findings:
    """Follow the gradient through one net."""
    seen = examine(setup, model, PICTURES[setup.scale])
    found = [found_in(seen, draw) for draw in range(DRAWS)]
    q = _quantities(found, seen.name, "draw")
    words = _measured(q, found[0].n)
    return Findings(
        q,
        Words(f"On {seen.pictures}: {words.en[0].lower()}{words.en[1:]}", f"在 {seen.images} 张图片上：{words.zh}"),
        _charts(found),
        (_lengths(found, "draw"),),
        notes=(f"The paths of each length are drawn at random, {DRAWS} times.",),
        pictures=seen.pictures,
    )
