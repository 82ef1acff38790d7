"""Nets of 1001 and 1202 layers, in the original order and with pre-activation: do they start to learn, at what cost?"""

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from residuum.errors import UserError
from residuum.plain_data import explicit
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.study.charts import Bar, Bars, Lines, Points, mean_line
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Table, Words
from residuum.study.trained import (
    net_settings,
    open_pictures_of,
    test_error,
    trained,
    training_error,
)
from residuum.study.verdict import Verdict, below, decide

DEPTHS = (1001, 1202)
ORDERS = {"original": "resnet", "preactivation": "preresnet"}
SHORT = "resnet20"
"""What the cost of a step is compared with."""
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 16, "precision": "float32"}
"""One pass over the digits in small steps, of which there are 80; in float32, because a thousand additions in bfloat16
would lose what each adds."""
TINY: dict[str, Any] = {**QUICK, "batch_size": 128, "blocks": (6, 6, 6)}
LATE = 0.75
"""Where in the run the loss begins to count: its last quarter."""


@dataclass(frozen=True)
class Net:
    """One of the deep nets; `key` begins the names of its quantities."""

    key: str
    label: str
    model: str


NETS = tuple(
    Net(f"{order}-{depth}", f"{order}, {depth}", f"{prefix}{depth}")
    for depth in DEPTHS
    for order, prefix in ORDERS.items()
)


def measure(means: Means) -> Findings:
    """Train each net, and a 20-layer one for comparison, with every seed."""
    models = [net.model for net in NETS] + [SHORT]
    wanted = {(model, seed): _settings(means, model, seed) for model in models for seed in means.seeds}
    found = dict(zip(wanted, _trained_or_none(means, list(wanted.values())), strict=True))
    runs = {model: [found[model, seed] for seed in means.seeds] for model in models}
    first = wanted[models[0], means.seeds[0]]
    assert first.data is not None
    chance = math.log(len(open_pictures_of(first.data).classes))
    q: dict[str, Quantity] = {"chance": Quantity("loss of guessing", (chance,), "nats", exact=True)}
    for net in NETS:
        q |= _quantities(net, runs[net.model], chance, means.scale == "full")
        q |= _cost(net, runs[net.model], runs[SHORT])
    loss = {net.key: q[f"{net.key}-loss"] for net in NETS}
    return Findings(
        q,
        Words(
            f"Training loss over the last quarter of training: {_listed(loss, 1001)}; {_listed(loss, 1202)}. "
            f"Guessing has {chance:.3g}.",
            "训练最后四分之一的训练损失："
            + "；".join(
                f"{depth} 层，原始顺序 {loss[f'original-{depth}']}，预激活 {loss[f'preactivation-{depth}']}"
                for depth in DEPTHS
            )
            + f"。随机猜测为 {chance:.3g}。",
        ),
        (
            *(_curves(depth, runs) for depth in DEPTHS),
            _bars("Training loss, last quarter", "loss, nats", "loss", q),
            _bars("Time of a step", "seconds", "step", q),
        ),
        (_table(q, runs),),
        (
            "A net whose loss is no longer finite did not train; it counts with the loss of guessing.",
            "Scale quick ends after one pass over the digits, 80 steps of 16 pictures of 8 px; the papers train for "
            "64,000 steps of 128 pictures of 32 px. Only the beginning is judged.",
            "The 1001-layer nets are of bottlenecks, the 1202-layer ones of basic blocks, as in the papers. Seconds "
            "are those of this machine, with the runs of other seeds beside each.",
        ),
        {name: value for name, value in explicit(first).items() if name not in {"data", "model", "seed"}},
    )


def _settings(means: Means, model: str, seed: int) -> TrainSettings:
    if means.scale == "full":
        return net_settings(means, model, seed, checkpointing=model != SHORT)
    on_digits = replace(means, data=means.data or "digits")
    choices = TINY if means.scale == "tiny" else QUICK
    if model == SHORT:
        choices = {name: value for name, value in choices.items() if name != "blocks"}
    return net_settings(on_digits, model, seed, **choices)


# --- nets that may not train --------------------------------------------------------------------


def _trained_or_none(means: Means, wanted: list[TrainSettings]) -> list[RunRecord | None]:
    """Return a run for each of the settings, None where its loss was no longer finite."""
    try:
        return list(trained(means, wanted))
    except UserError as error:
        if not _overflowed(error):
            raise
    return [_alone(means, settings) for settings in wanted]


def _alone(means: Means, settings: TrainSettings) -> RunRecord | None:
    try:
        return trained(means, [settings])[0]
    except UserError as error:
        if not _overflowed(error):
            raise
        return None


def _overflowed(error: UserError) -> bool:
    """Say whether training ended because loss or gradient overflowed; a run of its own says so in `why`."""
    return "training stopped at step" in str(error)


# --- what is told of them -----------------------------------------------------------------------


def _quantities(net: Net, runs: list[RunRecord | None], chance: float, whole: bool) -> dict[str, Quantity]:
    """Loss of the last quarter and error of the last pass; after a `whole` training the test error too.

    Before that BN's running statistics are still mostly their initial ones, wrong a thousand times over.
    """
    losses = tuple(chance if run is None else late_loss(run) for run in runs)
    guessing = 100 * (1 - math.exp(-chance))
    wrong = tuple(guessing if run is None else training_error(run) for run in runs)
    found = {
        f"{net.key}-loss": Quantity(f"late training loss, {net.label}", losses, "nats"),
        f"{net.key}-train": Quantity(f"training error, {net.label}", wrong, "%"),
    }
    if whole:
        tests = tuple(guessing if run is None else test_error(run) for run in runs)
        found[f"{net.key}-test"] = Quantity(f"test error, {net.label}", tests, "%")
    return found


def late_loss(run: RunRecord) -> float:
    """Return the mean training loss of the last quarter of a run's steps, in nats."""
    points = _losses(run)
    return fmean(loss for step, loss in points if step > LATE * points[-1][0])


def _cost(net: Net, runs: list[RunRecord | None], short: list[RunRecord | None]) -> dict[str, Quantity]:
    """Seconds a step, and how many times the 20-layer net's; nothing where no run of either finished."""
    seconds = tuple(seconds_a_step(run) for run in runs if run is not None)
    shorter = [seconds_a_step(run) for run in short if run is not None]
    if not seconds or not shorter:
        return {}
    return {
        f"{net.key}-step": Quantity(f"time of a step, {net.label}", seconds, "s"),
        f"{net.key}-times": Quantity(
            f"time of a step, {net.label}, by {SHORT}'s", tuple(one / fmean(shorter) for one in seconds)
        ),
    }


def seconds_a_step(run: RunRecord) -> float:
    """Return the mean time of a training step of a run, in seconds."""
    return sum(line.seconds for line in run.epochs) / run.epochs[-1].step


def _listed(loss: dict[str, Quantity], depth: int) -> str:
    return f"{depth} layers, " + ", ".join(f"{order} {loss[f'{order}-{depth}']}" for order in ORDERS)


def _curves(depth: int, runs: dict[str, list[RunRecord | None]]) -> Lines:
    """Loss over the steps of the nets of one depth that trained."""
    lines = []
    for order, prefix in ORDERS.items():
        points = [_losses(run) for run in runs[f"{prefix}{depth}"] if run is not None]
        if points:
            lines.append(mean_line(order, points))
    return Lines(f"Training loss, {depth} layers", "step", "loss, nats", tuple(lines), log_y=True)


def _losses(run: RunRecord) -> Points:
    return tuple((float(line.step), line.loss) for line in run.steps)


def _bars(title: str, y: str, what: str, q: Quantities) -> Bars:
    bars = tuple(Bar(net.label, q[f"{net.key}-{what}"].values) for net in NETS if f"{net.key}-{what}" in q)
    return Bars(title, y, bars)


def _table(q: Quantities, runs: dict[str, list[RunRecord | None]]) -> Table:
    rows = []
    for net in NETS:
        present = [run for run in runs[net.model] if run is not None]
        layers = f"{present[0].settings.summary.depth:,}" if present else "–"
        parameters = f"{present[0].settings.summary.parameters:,}" if present else "–"
        step, times = (str(q.get(f"{net.key}-{what}", "–")) for what in ("step", "times"))
        trained_of = f"{len(present)} of {len(runs[net.model])}"
        rows.append((net.label, layers, parameters, step, times, trained_of))
    heads = ("net", "layers", "parameters", "time of a step", f"by {SHORT}'s", "seeds that trained")
    return Table("What it costs", heads, tuple(rows))


def judge(q: Quantities) -> Verdict:
    """With pre-activation training loss is below the original order's, and below guessing, at both depths."""
    return decide(
        *(below(q[f"preactivation-{depth}-loss"], q[f"original-{depth}-loss"]) for depth in DEPTHS),
        *(below(q[f"preactivation-{depth}-loss"], q["chance"]) for depth in DEPTHS),
    )


STUDY = Study(
    name="thousand-layers",
    title=Words("A thousand layers", "一千层"),
    question=Words(
        "Do nets of more than a thousand layers start to learn, in the original order and with pre-activation?",
        "超过一千层的网络，在原始顺序与预激活下，能否开始学习？",
    ),
    claim=Words(
        "With identity mappings on the whole path nets of over 1000 layers are easy to optimise; in the original order "
        "their training loss falls slowly at the beginning.",
        "当整条通路都是恒等映射时，超过 1000 层的网络也容易优化；采用原始顺序时，训练损失在开始阶段下降缓慢。",
    ),
    source="He et al. 2016 (arXiv 1603.05027), sec. 1, 4.2 and 5, fig. 6 left; He et al. 2015 (arXiv 1512.03385), "
    "sec. 4.2, ResNet-1202",
    predicate="Supported: over the last quarter of the steps the training loss with pre-activation is below that in "
    "the original order, and below that of guessing, at both depths. Contradicted: any of the four is the other way "
    "round. Each beyond two standard errors.",
    measure=measure,
    judge=judge,
)
