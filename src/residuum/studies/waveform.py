"""A wave of several frequencies fitted by fully connected nets: what is learnt first, and what depth does to it.

The wave is y(x) = Σ_f sin(π f x + φ_f) for −1 ≤ x < 1: f whole periods of each, every amplitude 1, so that none is
late for being small. Nets have no BN, as in the paper on frequencies; one kind with BN stands beside them.
Letters: N points, evenly spaced.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from residuum.compute import choose_compute
from residuum.models.mlp import MLP, MLPSpec
from residuum.records.study import Line, Lines, Quantity, Words
from residuum.studies.charts import lines_by, mean_line
from residuum.studies.fit import fit
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Rule, below

FREQUENCIES = (1, 2, 4, 8, 16)
PHASES = (0.0, 1.0, 2.0, 3.0, 4.0)
POINTS = 256
WIDTH = 64
RATE = 1e-3
LEARNT = 0.3
"""A frequency counts as learnt from where its error is below this share of its amplitude."""
KINDS = ("plain", "residual")
WITH_BN = "residual with BN"


@dataclass(frozen=True)
class Plan:
    """Nets of so many blocks and, with one hidden layer, of so many units; steps, and how often they are looked at."""

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    steps: int
    every: int


PLANS = {
    "tiny": Plan((1, 4), (8, 64), 150, 5),
    "quick": Plan((1, 4, 15, 31), (8, 32, 128, 512), 600, 5),
    "full": Plan((1, 4, 15, 31), (8, 32, 128, 512, 2048, 8192), 10_000, 20),
}


@dataclass(frozen=True)
class Course:
    """How one net learnt: by step, each frequency's error and the curve (N,); and the error at the end."""

    errors: Mapping[int, tuple[float, ...]]
    curves: Mapping[int, tuple[float, ...]]
    final: float


RULE = Rule(
    (below("until-lowest", "until-highest"), below("final-residual", "final-plain")),
    {
        "until-lowest": "the step at which the deepest residual net has learnt the lowest frequency",
        "until-highest": "that at which it has learnt the highest",
        "final-residual": "that net's error at the end",
        "final-plain": "that of the plain net as deep",
    },
    besides=f"A frequency is learnt once the error of its amplitude is below {LEARNT}.",
)


def measure(setup: Setup) -> Findings:
    """Fit the wave with plain and residual nets of each depth and with shallow nets of each width, with every seed."""
    plan = PLANS[setup.scale]
    x, y = wave(choose_compute(setup.device, threads=setup.threads).device)
    deep = {
        (kind, blocks): [learn(deep_net(kind, blocks, seed), x, y, plan) for seed in setup.seeds]
        for kind in KINDS
        for blocks in plan.blocks
    }
    wide = {w: [learn(wide_net(w, seed), x, y, plan) for seed in setup.seeds] for w in plan.widths}
    normalised = [learn(deep_net(WITH_BN, plan.blocks[1], seed), x, y, plan) for seed in setup.seeds]
    q = _quantities(plan, deep, wide) | _steps(WITH_BN, normalised, plan.blocks[1])
    most = plan.blocks[-1]
    low, high = q["until-lowest"], q["until-highest"]
    by_depth = {kind: {_depth(n): f"final-{kind}{_depth(n)}" for n in plan.blocks} for kind in KINDS}
    by_width = {"one hidden layer": {units: f"final-width{units}" for units in plan.widths}}
    return Findings(
        q,
        Words(
            f"A residual net of {_depth(most)} layers has learnt frequency {FREQUENCIES[0]} after {low} steps "
            f"and frequency {FREQUENCIES[-1]} after {high}. Its error at the end is {q['final-residual']}, the plain "
            f"net's {q['final-plain']} (1 is that of predicting nothing).",
            f"{_depth(most)} 层残差网络学会频率 {FREQUENCIES[0]} 用了 {low} 步，"
            f"学会频率 {FREQUENCIES[-1]} 用了 {high} 步。"
            f"最终相对误差：残差网络 {q['final-residual']}，普通网络 {q['final-plain']}（1 表示什么都没学到）。",
        ),
        (
            *(_by_frequency(kind, deep[kind, most], most) for kind in KINDS),
            _by_frequency(WITH_BN, normalised, plan.blocks[1]),
            _fits(x, y, deep["residual", most][0], most),
            lines_by("Error at the end by depth", "layers", "relative error", q, by_depth, log_y=True),
            lines_by("Error at the end by width, one hidden layer", "units", "relative error", q, by_width),
        ),
        notes=(
            "Every step sees all points; where there is BN, its statistics are those of all of them.",
            "Without BN each branch's last layer begins at zero: otherwise every block would double the variance.",
            f"A frequency never learnt counts as learnt at the last of {plan.steps} steps.",
        ),
        settings={"frequencies": FREQUENCIES, "points": POINTS, "width": WIDTH, "steps": plan.steps, "rate": RATE},
    )


# --- the wave and its parts ---------------------------------------------------------------------


def wave(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return the points (N, 1) and the wave there (N, 1)."""
    x = (torch.arange(POINTS, dtype=torch.float64) / POINTS * 2 - 1).unsqueeze(1)
    parts = [torch.sin(math.pi * f * x + phase) for f, phase in zip(FREQUENCIES, PHASES, strict=True)]
    y = torch.stack(parts).sum(0)
    return x.float().to(device), y.float().to(device)


def amplitudes(x: Tensor, values: Tensor) -> tuple[float, ...]:
    """Return how much of each frequency, in any phase, there is in values (N, 1) at x (N, 1)."""
    at, of = x.cpu().double().flatten(), values.cpu().double().flatten()
    found = []
    for f in FREQUENCIES:
        angle = math.pi * f * at
        sine, cosine = ((of * part(angle)).mean() * 2 for part in (torch.sin, torch.cos))
        found.append(float(torch.hypot(sine, cosine)))
    return tuple(found)


# --- nets and their learning --------------------------------------------------------------------


def deep_net(kind: str, blocks: int, seed: int) -> MLP:
    """Return a net of two layers a block, with its initial weights.

    The first layer's biases put its units' kinks all over the interval; at zero they would all lie at x = 0.
    """
    torch.manual_seed(seed)
    shortcut: Literal["identity", "none"] = "none" if kind == "plain" else "identity"
    net = MLP(MLPSpec(inputs=1, width=WIDTH, blocks=blocks, outputs=1, shortcut=shortcut, normalise=kind == WITH_BN))
    if kind == WITH_BN:
        return net
    first = net.stem.get_submodule("fc")
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.bias.copy_((2 * torch.rand(WIDTH) - 1) * first.weight.flatten())
        for _, block in net.blocks():
            if block.shortcut is not None:
                last = block.branch.get_submodule("fc2")
                assert isinstance(last, nn.Linear)
                nn.init.zeros_(last.weight)
    return net


def wide_net(units: int, seed: int) -> nn.Sequential:
    """Return a net of one hidden layer, the kind that can approximate anything if it is wide enough."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, units), nn.ReLU(), nn.Linear(units, 1))


def learn(net: nn.Module, x: Tensor, y: Tensor, plan: Plan) -> Course:
    """Fit the net to the wave; look at it every so many steps."""
    net.to(x.device)
    errors: dict[int, tuple[float, ...]] = {}
    curves: dict[int, tuple[float, ...]] = {}
    shown = {plan.steps // 30, plan.steps // 5, plan.steps}

    def watch(step: int, _loss: float) -> None:
        if step % plan.every and step not in shown:
            return
        with torch.no_grad():
            answer = net(x)
        errors[step] = amplitudes(x, y - answer)
        if step in shown:
            curves[step] = tuple(answer.flatten().tolist())

    fit(net, x, y, mse_loss, steps=plan.steps, rate=RATE, watch=watch)
    last = torch.tensor(curves[plan.steps], device=y.device).unsqueeze(1)
    return Course(errors, curves, float((y - last).norm() / y.norm()))


def learnt_at(course: Course, place: int) -> int:
    """Return the first step at which the frequency at `place` was found learnt; the last one, if it never was."""
    return next((step for step, errors in course.errors.items() if errors[place] < LEARNT), max(course.errors))


# --- figures ------------------------------------------------------------------------------------

Deep = Mapping[tuple[str, int], Sequence[Course]]
Wide = Mapping[int, Sequence[Course]]


def _quantities(plan: Plan, deep: Deep, wide: Wide) -> dict[str, Quantity]:
    quantities: dict[str, Quantity] = {}
    most = plan.blocks[-1]
    for kind in KINDS:
        quantities |= _steps(kind, deep[kind, most], most)
        for blocks in plan.blocks:
            name = f"{kind}{_depth(blocks)}"
            quantities[f"final-{name}"] = _final(f"{kind}, {_depth(blocks)} layers", deep[kind, blocks])
        quantities[f"final-{kind}"] = quantities[f"final-{kind}{_depth(most)}"]
    for units, courses in wide.items():
        quantities[f"final-width{units}"] = _final(f"one hidden layer of {units}", courses)
    quantities["until-lowest"] = quantities[f"until-residual-{FREQUENCIES[0]}"]
    quantities["until-highest"] = quantities[f"until-residual-{FREQUENCIES[-1]}"]
    return quantities


def _final(of: str, courses: Sequence[Course]) -> Quantity:
    return quantity(f"relative error at the end, {of}", [course.final for course in courses])


def _steps(kind: str, courses: Sequence[Course], blocks: int) -> dict[str, Quantity]:
    quantities = {}
    for place, f in enumerate(FREQUENCIES):
        values = tuple(float(learnt_at(course, place)) for course in courses)
        label = f"steps until frequency {f} is learnt, {kind}, {_depth(blocks)} layers"
        quantities[f"until-{kind.replace(' ', '-')}-{f}"] = quantity(label, values)
    return quantities


def _depth(blocks: int) -> int:
    return 2 * blocks + 2


def _by_frequency(kind: str, courses: Sequence[Course], blocks: int) -> Lines:
    lines = []
    for place, f in enumerate(FREQUENCIES):
        of_seeds = [tuple((step, errors[place]) for step, errors in one.errors.items()) for one in courses]
        lines.append(mean_line(f"frequency {f}", of_seeds))
    title = f"Still to learn: {kind}, {_depth(blocks)} layers"
    return Lines(title, "step", "error of the amplitude", tuple(lines))


def _fits(x: Tensor, y: Tensor, course: Course, blocks: int) -> Lines:
    at = x.flatten().tolist()
    lines = [Line("the wave", tuple(zip(at, y.flatten().tolist(), strict=True)))]
    lines += [Line(f"step {step}", tuple(zip(at, curve, strict=True))) for step, curve in course.curves.items()]
    return Lines(f"One residual net of {_depth(blocks)} layers as it learns", "x", "y", tuple(lines))
