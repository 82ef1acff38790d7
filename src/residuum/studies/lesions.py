"""Lesions: blocks of trained nets deleted, one or several, and swapped; residual nets against plain ones."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from residuum.data.rng import order, uniform
from residuum.depth.lesion import lesions
from residuum.depth.measure import identity, shortcut_alone
from residuum.depth.remove import keeps_shape
from residuum.errors import UserError
from residuum.models.resnet import ResNet
from residuum.records.study import Bar, Bars, Lines, Points, Quantity, Table, Words
from residuum.studies.charts import lines_of
from residuum.studies.examined import DEPTHS, Examined, examine, examine_each, interval_of, notes_on_pictures, runs_of
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Rule, below

DELETED = (1, 2, 3, 5, 8, 12, 16, 20)
SWAPS = (1, 2, 4, 8, 16)
DRAWS = {"tiny": 2, "quick": 3, "full": 10}

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Lesions:
    """What one net loses: errors in per cent, of the nets so changed."""

    intact: float
    blocks: tuple[str, ...]
    single: dict[str, float]
    """Without each block that can be left out, by its name."""
    free: tuple[str, ...]
    """The blocks whose output has the shape of their input."""
    deleted: dict[int, float]
    """Without k of those, the mean over random draws; 0 is intact."""
    swapped: dict[int, float]
    """With k pairs of blocks of one stage in each other's place, likewise."""
    taus: dict[int, float]
    """Kendall's τ between the order of blocks so swapped and their own, likewise."""

    @property
    def by_block(self) -> Points:
        """Return the error without each block against its place in the net."""
        places = enumerate(self.blocks, start=1)
        return tuple((float(place), self.single[name]) for place, name in places if name in self.single)

    @property
    def median_rise(self) -> float:
        """Return the error's rise by one deletion, the median of the blocks that keep the shape."""
        return statistics.median(self.single[name] - self.intact for name in self.free)


# --- measuring one net --------------------------------------------------------------------------


def lesioned(seen: Examined, draws: int, seed: int) -> Lesions:
    """Delete and swap blocks of one net in every way the study asks for.

    Raises:
        UserError: no block can be left out.
    """
    intact, scores = lesions(seen.net, seen.batches, seen.compute)
    whole = 100 * (1 - intact.accuracy)
    single = {name: 100 * (1 - score.accuracy) for name, score in scores.items()}
    free = tuple(name for name in single if keeps_shape(seen.net.spec, name)) or tuple(single)
    if not free:
        raise UserError("no block of this net can be left out", "each changes the shape, and has no shortcut")
    error = partial(error_of_steps, seen)
    blocks, deleted, swapped, taus = dict(seen.net.blocks()), {0: whole}, {0: whole}, {0: 1.0}
    for k in (k for k in DELETED if k <= len(free)):
        sets = [without(free, k, seed, draw) for draw in range(draws)]
        deleted[k] = statistics.fmean(error(deletion(seen.net, gone)) for gone in sets)
    for k in SWAPS if _pairs(free) else ():
        orders = [swaps(seen.net, free, k, seed, draw) for draw in range(draws)]
        swapped[k] = statistics.fmean(error([blocks[name] for name in names]) for names in orders)
        taus[k] = statistics.fmean(kendall_tau(seen.net, names) for names in orders)
    return Lesions(whole, tuple(blocks), single, free, deleted, swapped, taus)


@torch.inference_mode()
def error_of_steps(seen: Examined, steps: Sequence[Step]) -> float:
    """Return the error in per cent of the net with `steps` in place of its blocks."""
    wrong = count = 0
    for batch in seen.batches:
        with seen.compute.autocast():
            x = seen.net.stem(batch.images)
            for step in steps:
                x = step(x)
            called = seen.net.head(x).argmax(1)
        wrong += int((called != batch.labels).sum())
        count += len(batch.labels)
    return 100 * wrong / count


def without(free: Sequence[str], k: int, seed: int, draw: int) -> frozenset[str]:
    """Draw k of the blocks; what a draw deletes for some k it deletes for each larger k too."""
    return frozenset(free[place] for place in order(seed, draw, len(free))[:k])


def deletion(net: ResNet, gone: frozenset[str]) -> list[Step]:
    """Return what stands in the blocks' places: for those gone their shortcut, or the identity in a plain net."""
    left = identity if net.spec.shortcut == "none" else shortcut_alone
    return [partial(left, block) if name in gone else block for name, block in net.blocks()]


def swaps(net: ResNet, free: Sequence[str], k: int, seed: int, draw: int) -> list[str]:
    """Draw k pairs of one stage's free blocks, one pair after another, and swap them: the order that results."""
    names = [name for name, _ in net.blocks()]
    pairs = _pairs(free)
    chosen = uniform(seed, draw, np.arange(k), 1)[:, 0]
    for one in chosen:
        a, b = (names.index(name) for name in pairs[int(one * len(pairs))])
        names[a], names[b] = names[b], names[a]
    return names


def _pairs(free: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of blocks within one stage."""
    return [(a, b) for a, b in combinations(free, 2) if a.split(".")[0] == b.split(".")[0]]


def kendall_tau(net: ResNet, names: Sequence[str]) -> float:
    """Return the share of pairs of blocks in their own order, less the share in the other."""
    place = {name: i for i, (name, _) in enumerate(net.blocks())}
    signs = [1 if place[b] > place[a] else -1 for a, b in combinations(names, 2)]
    return statistics.fmean(signs) if signs else 1.0


# --- the study ----------------------------------------------------------------------------------


RULE = Rule(
    (below("resnet-single", "plain-single"), below("resnet-3", "plain-1")),
    {
        "resnet-single": "what deleting the median block adds to the residual net's error",
        "plain-single": "what it adds to that of the plain net as deep",
        "resnet-3": "what deleting three blocks at random adds to the residual net's error",
        "plain-1": "what deleting one adds to the plain net's",
    },
    besides="The median is that of the blocks that keep the shape.",
)


def measure(setup: Setup) -> Findings:
    """Lesion the deepest nets of the degradation study, or the net that was given."""
    if setup.model is not None:
        return _of_model(setup, setup.model)
    depth = DEPTHS[setup.scale][-1]
    runs = runs_of(setup, [("resnet", depth), ("plain", depth)])
    found = {
        kind: [lesioned(seen, DRAWS[setup.scale], seed) for seen, seed in examine_each(setup, records)]
        for (kind, _), records in runs.items()
    }
    named = {f"{kind}{depth}": nets for kind, nets in found.items()}
    q: dict[str, Quantity] = {}
    for kind, nets in found.items():
        q |= _one_block(kind, f"{kind}{depth}", nets)
        for k in list(nets[0].deleted)[1:]:
            values = [one.deleted[k] - one.intact for one in nets]
            label = f"rise of error by deleting {k} of {kind}{depth}'s blocks"
            q[f"{kind}-{k}"] = quantity(label, values, "points")
    return Findings(
        q,
        Words(
            f"Deleting the median block raises the error of resnet{depth} by {q['resnet-single']}, of plain{depth} by "
            f"{q['plain-single']}; three blocks raise that of resnet{depth} by {q['resnet-3']}.",
            f"删去一个块（中位数）使 resnet{depth} 的误差上升 {_points_zh(q['resnet-single'])}，plain{depth} 上升 "
            f"{_points_zh(q['plain-single'])}；删去三个块使 resnet{depth} 上升 {_points_zh(q['resnet-3'])}。",
        ),
        (*_charts(named), _whole_and_less(named)),
        (_taus(found),),
        notes=(
            "Blocks that change the shape are deleted one at a time only, in residual nets, where their shortcut is "
            "left. A plain net's block has none, and the identity stands in its place.",
            "A rise is bounded by the error of guessing, which favours the net whose error is higher to begin with.",
            "The paper's nets are a ResNet-110 of pre-activation order and a VGG net of 15 layers.",
            *notes_on_pictures(setup),
        ),
        settings={"nets": list(named), "random draws": DRAWS[setup.scale]},
    )


def _one_block(key: str, name: str, nets: Sequence[Lesions]) -> dict[str, Quantity]:
    """Return the error of the whole net, and by how much deleting the median block raises it."""
    rise = f"rise of error by deleting the median block of {name}"
    return {
        f"{key}-intact": quantity(f"error of {name}, whole", [one.intact for one in nets], "%"),
        f"{key}-single": quantity(rise, [one.median_rise for one in nets], "points"),
    }


def _charts(found: dict[str, list[Lesions]]) -> tuple[Lines, ...]:
    """Return the errors of each net, by its name."""

    def lines(title: str, x: str, points: Callable[[Lesions], Points]) -> Lines:
        return Lines(title, x, "error, %", lines_of(found, points))

    return (
        lines("Error without one block", "block deleted", lambda one: one.by_block),
        lines("Error against the number of blocks deleted", "blocks deleted", lambda one: tuple(one.deleted.items())),
        lines("Error against the number of swaps", "pairs of blocks swapped", lambda one: tuple(one.swapped.items())),
    )


def _whole_and_less(found: dict[str, list[Lesions]]) -> Bars:
    bars = []
    for name, nets in found.items():
        less = tuple(one.intact + one.median_rise for one in nets)
        bars += [Bar(f"{name}, whole", tuple(one.intact for one in nets)), Bar(f"{name}, less the median block", less)]
    return Bars("Error of the whole net and less the median block", "error, %", tuple(bars))


def _points_zh(rise: Quantity) -> str:
    return str(rise).replace("points", "个百分点")


def _taus(found: dict[str, list[Lesions]]) -> Table:
    """Return how far swaps take the blocks from their order."""
    counts = list(next(iter(found.values()))[0].taus)
    rows = tuple(
        (str(k), *(f"{statistics.fmean(one.taus[k] for one in nets):.2f}" for nets in found.values())) for k in counts
    )
    return Table("Kendall's τ of the blocks' order: 1 is the net's own, 0 one by chance", ("swaps", *found), rows)


def _signed(points: float) -> str:
    return f"{points:+.2f}".replace("-", "−")


def _of_model(setup: Setup, model: str) -> Findings:
    """Lesion one net."""
    seen = examine(setup, model)
    one = lesioned(seen, DRAWS[setup.scale], 0)
    found, rises = {seen.name: [one]}, {name: error - one.intact for name, error in one.single.items()}
    changing = [rise for name, rise in rises.items() if name not in one.free]
    rise = f"rise of error by deleting one block of {seen.name}"
    q = {
        "model-intact": quantity(f"error of {seen.name}, whole", [one.intact], "%", exact=True),
        "model-single": quantity(
            f"{rise}, of those that keep the shape", [rises[name] for name in one.free], "points", of="block"
        ),
    }
    if changing:
        q["model-changing"] = quantity(f"{rise}, of those that change it", changing, "points", of="block")
    most, least = max(one.free, key=rises.__getitem__), min(one.free, key=rises.__getitem__)
    error, median = q["model-intact"], _signed(one.median_rise)
    ends = [f"{_signed(rises[name])} ({name})" for name in (most, least)]
    interval = interval_of(one.intact, seen.images)
    return Findings(
        q,
        Words(
            f"Whole, its error on {seen.pictures} is {error} (95 % interval {interval}). Deleting one of its "
            f"{len(one.free)} blocks that keep the shape changes that by {median} points in the median, by "
            f"{ends[0]} at most and by {ends[1]} at least.",
            f"在 {seen.images} 张图片上，完整网络的误差为 {error}（95 % 区间 {interval}）。"
            f"删去 {len(one.free)} 个保持形状的块中的一个，误差变化的中位数为 {median} 个百分点，"
            f"最大 {ends[0]}，最小 {ends[1]}。",
        ),
        _charts(found),
        (_taus(found),),
        notes=(
            f"Where several blocks are deleted or swapped, a figure is the mean of {DRAWS[setup.scale]} random draws.",
        ),
        pictures=seen.pictures,
    )
