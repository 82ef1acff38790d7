"""Skips: shortcuts across a whole U-Net that add, concatenate, or are left out, on scenes of digits (scenes.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from residuum.compute import Compute, choose_compute
from residuum.data.digits import digits
from residuum.models.count import parameters
from residuum.models.unet import UNet, UNetSpec
from residuum.records.study import Bars, Map, Quantity, Table, Words
from residuum.studies.charts import bars_of
from residuum.studies.fit import fit
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.scenes import CLASSES, SIDE, Scenes, overlap, scenes
from residuum.studies.verdict import Quantities, Rule, above, not_above

TEST_SEED = 9_000_000
"""Decides the test scenes, which are the same for every net and seed."""
RATE = 1e-2
BATCH = 32


@dataclass(frozen=True)
class Plan:
    """How wide the nets are, how many scenes they learn from and are judged on, and for how many steps."""

    width: int
    learnt: int
    judged: int
    steps: int


PLANS = {
    "tiny": Plan(4, 64, 32, 10),
    "quick": Plan(8, 2000, 500, 800),
    "full": Plan(16, 20_000, 2000, 10_000),
}


@dataclass(frozen=True)
class Judged:
    """What one net gives: mean IoU, share of pixels right, and its answer (S, S) to the first test scene."""

    iou: float
    pixels: float
    answer: Tensor


RULE = Rule(
    (above(("add-iou", "concatenate-iou"), "none-iou"), not_above("concatenate-iou", "add-iou", by=0.02)),
    {
        "add-iou": "the mean IoU of adding",
        "concatenate-iou": "that of concatenating",
        "none-iou": "that without skips",
    },
)


def measure(setup: Setup) -> Findings:
    """Train the four U-Nets with every seed; judge them on scenes of test digits."""
    plan = PLANS[setup.scale]
    compute = choose_compute(setup.device, "float32", threads=setup.threads)
    data, specs = digits(), unets(plan.width)
    assert data.test is not None
    test = scenes(data.test, plan.judged, TEST_SEED).to(compute)
    found: dict[str, list[Judged]] = {name: [] for name in specs}
    for seed in setup.seeds:
        train = scenes(data.train, plan.learnt, seed).to(compute)
        for name, spec in specs.items():
            found[name].append(judged(learnt(spec, train, seed, plan.steps, compute), test))
    sizes = {name: parameters(UNet(spec)) for name, spec in specs.items()}
    q = _quantities(found, sizes)
    rows = []
    for name, spec in specs.items():
        size, iou, pixels = (q[f"{name}-{what}"] for what in ("parameters", "iou", "pixels"))
        rows.append((NAMES[name], str(spec.width), f"{size.mean:,.0f}", str(iou), str(pixels)))
    return Findings(
        q,
        Words(
            f"Mean IoU on scenes of test digits: adding {q['add-iou']}, concatenating {q['concatenate-iou']}, without "
            f"skips {q['none-iou']}; concatenating with no more parameters than adding {q['matched-iou']}.",
            f"测试场景上的平均交并比：相加 {q['add-iou']}，拼接 {q['concatenate-iou']}，无跳跃连接 {q['none-iou']}；"
            f"参数量与相加相当的拼接 {q['matched-iou']}。",
        ),
        _charts(found, q, test),
        (Table("The nets", ("skips", "width", "parameters", "mean IoU", "pixels right"), tuple(rows)),),
        notes=(
            "Scenes are made of real digits; those tested on hold test digits alone.",
            "A small U-Net of three levels with BN and padding, not the paper's five of width 64.",
        ),
        settings={"steps": plan.steps, "batch": BATCH, "rate": RATE, "scenes": plan.learnt, "width": plan.width},
    )


# --- the nets -----------------------------------------------------------------------------------


def unets(width: int) -> dict[str, UNetSpec]:
    """Return the nets compared; "matched" concatenates and is as much narrower as its parameters must be fewer."""
    add = UNetSpec(in_channels=1, classes=CLASSES, width=width, levels=3, skips="add")
    concatenate = replace(add, skips="concatenate")
    return {
        "add": add,
        "concatenate": concatenate,
        "none": replace(add, skips="none"),
        "matched": matched(concatenate, parameters(UNet(add))),
    }


def matched(spec: UNetSpec, most: int) -> UNetSpec:
    """Return the widest net like `spec`, but not wider, that has at most so many parameters."""
    narrower = (replace(spec, width=width) for width in range(spec.width, 0, -1))
    return next(one for one in narrower if parameters(UNet(one)) <= most)


def learnt(spec: UNetSpec, train: Scenes, seed: int, steps: int, compute: Compute) -> UNet:
    """Train one net on scenes; its weights and batches are drawn with `seed`."""
    torch.manual_seed(seed)
    net = UNet(spec)
    compute.place(net)
    fit(net, train.pictures, train.masks, cross_entropy, steps=steps, rate=RATE, batch=BATCH, seed=seed)
    return net.eval()


@torch.inference_mode()
def judged(net: UNet, test: Scenes) -> Judged:
    """Let the net answer for every pixel of the test scenes."""
    answers = torch.cat([net(part).argmax(1) for part in torch.split(test.pictures, 100)])
    iou, pixels = overlap(answers, test.masks)
    return Judged(iou, pixels, answers[0].cpu())


# --- figures ------------------------------------------------------------------------------------

NAMES = {"add": "adding", "concatenate": "concatenating", "none": "no skips", "matched": "concatenating, narrower"}


def _quantities(found: Mapping[str, Sequence[Judged]], sizes: Mapping[str, int]) -> dict[str, Quantity]:
    q: dict[str, Quantity] = {}
    for name, nets in found.items():
        words = NAMES[name]
        q[f"{name}-iou"] = quantity(f"mean IoU, {words}", [net.iou for net in nets])
        q[f"{name}-pixels"] = quantity(f"pixels right, {words}", [100 * net.pixels for net in nets], "%")
        q[f"{name}-parameters"] = quantity(f"parameters, {words}", (float(sizes[name]),), exact=True)
    return q


def _charts(found: Mapping[str, Sequence[Judged]], q: Quantities, test: Scenes) -> tuple[Bars | Map, ...]:
    scores = {NAMES[name]: f"{name}-iou" for name in found}
    return (
        bars_of("Mean intersection over union on test scenes", "mean IoU", q, scores),
        _map("A test scene", test.pictures[0, 0].cpu(), "ink"),
        _map("What it shows", test.masks[0].cpu(), _CLASS),
        *(_map(f"Answer, {NAMES[name]}", found[name][0].answer, _CLASS) for name in ("add", "concatenate", "none")),
    )


_CLASS = "0 the ground, d + 1 the digit d"


def _map(title: str, values: Tensor, reading: str) -> Map:
    rows = tuple(map(tuple, values.double().tolist()))
    return Map(title, "column, px", "row, px", rows, (0, SIDE), (0, SIDE), reading)
