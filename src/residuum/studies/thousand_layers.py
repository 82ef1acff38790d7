"""Nets of 1001 and 1202 layers, in the original order and with pre-activation: do they start to learn, at what cost?"""

import math
from dataclasses import replace
from statistics import fmean
from typing import Any

from residuum.dispatch.job import open_pictures_of
from residuum.errors import UserError
from residuum.plain_data import explicit
from residuum.records.study import Bars, Lines, Points, Quantity, Table, Words
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.studies.charts import bars_of, lines_of
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.trained import net_settings, test_error, trained, training_error
from residuum.studies.variants import Variant
from residuum.studies.verdict import Quantities, Rule, below

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


NETS = tuple(
    Variant(f"{order}-{depth}", f"{order}, {depth}", f"{prefix}{depth}")
    for depth in DEPTHS
    for order, prefix in ORDERS.items()
)

RULE = Rule(
    (
        *(below(f"preactivation-{depth}-loss", f"original-{depth}-loss") for depth in DEPTHS),
        below(tuple(f"preactivation-{depth}-loss" for depth in DEPTHS), "chance"),
    ),
    {
        **{f"preactivation-{depth}-loss": f"the loss of {depth} layers with pre-activation" for depth in DEPTHS},
        **{f"original-{depth}-loss": "that in the original order" for depth in DEPTHS},
        "chance": "that of guessing",
    },
    besides="Losses are those of training, over the last quarter of the steps.",
)


def measure(setup: Setup) -> Findings:
    """Train each net, and a 20-layer one for comparison, with every seed."""
    models = [net.model for net in NETS] + [SHORT]
    wanted = {(model, seed): _settings(setup, model, seed) for model in models for seed in setup.seeds}
    found = dict(zip(wanted, _trained_or_none(setup, list(wanted.values())), strict=True))
    runs = {model: [found[model, seed] for seed in setup.seeds] for model in models}
    finished = {model: [run for run in of_seeds if run is not None] for model, of_seeds in runs.items()}
    first = wanted[models[0], setup.seeds[0]]
    assert first.data is not None
    chance = math.log(len(open_pictures_of(first.data).classes))
    q: dict[str, Quantity] = {"chance": quantity("loss of guessing", (chance,), "nats", exact=True)}
    for net in NETS:
        q |= _quantities(net, runs[net.model], chance, setup.scale == "full")
        q |= _cost(net, finished[net.model], finished[SHORT])
    losses = [(depth, q[f"original-{depth}-loss"], q[f"preactivation-{depth}-loss"]) for depth in DEPTHS]
    english = (f"{depth} layers, original {old}, preactivation {new}" for depth, old, new in losses)
    chinese = (f"{depth} 层，原始顺序 {old}，预激活 {new}" for depth, old, new in losses)
    return Findings(
        q,
        Words(
            f"Training loss over the last quarter of training: {'; '.join(english)}. Guessing has {chance:.3g}.",
            f"训练最后四分之一的训练损失：{'；'.join(chinese)}。随机猜测为 {chance:.3g}。",
        ),
        (
            *(_curves(depth, finished) for depth in DEPTHS),
            _bars("Training loss, last quarter", "loss, nats", "loss", q),
            _bars("Time of a step", "seconds", "step", q),
        ),
        (_table(q, finished, len(setup.seeds)),),
        (
            "A net whose loss is no longer finite did not train; it counts with the loss of guessing.",
            "Scale quick ends after one pass over the digits, 80 steps of 16 pictures of 8 px; the papers train for "
            "64,000 steps of 128 pictures of 32 px. Only the beginning is judged.",
            "The 1001-layer nets are of bottlenecks, the 1202-layer ones of basic blocks, as in the papers. Seconds "
            "are those of this machine, with the runs of other seeds beside each.",
        ),
        {name: value for name, value in explicit(first).items() if name not in {"data", "model", "seed"}},
    )


def _settings(setup: Setup, model: str, seed: int) -> TrainSettings:
    if setup.scale == "full":
        return net_settings(setup, model, seed, checkpointing=model != SHORT)
    on_digits = replace(setup, data=setup.data or "digits")
    choices = TINY if setup.scale == "tiny" else QUICK
    if model == SHORT:
        choices = {name: value for name, value in choices.items() if name != "blocks"}
    return net_settings(on_digits, model, seed, **choices)


def _trained_or_none(setup: Setup, wanted: list[TrainSettings]) -> list[RunRecord | None]:
    """Return a run for each of the settings, None where its loss or gradient overflowed."""
    try:
        return list(trained(setup, wanted))
    except UserError as error:
        if "training stopped at step" not in str(error):  # a run in a process of its own says it in `why`
            raise
    if len(wanted) == 1:
        return [None]
    return [_trained_or_none(setup, [settings])[0] for settings in wanted]


# --- what is told of them -----------------------------------------------------------------------


def _quantities(net: Variant, runs: list[RunRecord | None], chance: float, whole: bool) -> dict[str, Quantity]:
    """Loss of the last quarter and error of the last pass; after a `whole` training the test error too.

    Before that BN's running statistics are still mostly their initial ones, wrong a thousand times over.
    """
    losses = tuple(chance if run is None else late_loss(run) for run in runs)
    guessing = 100 * (1 - math.exp(-chance))
    wrong = tuple(guessing if run is None else training_error(run) for run in runs)
    found = {
        f"{net.key}-loss": quantity(f"late training loss, {net.label}", losses, "nats"),
        f"{net.key}-train": quantity(f"training error, {net.label}", wrong, "%"),
    }
    if whole:
        tests = tuple(guessing if run is None else test_error(run) for run in runs)
        found[f"{net.key}-test"] = quantity(f"test error, {net.label}", tests, "%")
    return found


def late_loss(run: RunRecord) -> float:
    """Return the mean training loss of the last quarter of a run's steps, in nats."""
    points = _losses(run)
    return fmean(loss for step, loss in points if step > LATE * points[-1][0])


def _cost(net: Variant, runs: list[RunRecord], short: list[RunRecord]) -> dict[str, Quantity]:
    """Seconds a step, and how many times the 20-layer net's; nothing where no run of either finished."""
    if not runs or not short:
        return {}
    seconds, shorter = list(map(seconds_a_step, runs)), fmean(map(seconds_a_step, short))
    times = [one / shorter for one in seconds]
    return {
        f"{net.key}-step": quantity(f"time of a step, {net.label}", seconds, "s"),
        f"{net.key}-times": quantity(f"time of a step, {net.label}, by {SHORT}'s", times),
    }


def seconds_a_step(run: RunRecord) -> float:
    """Return the mean time of a training step of a run, in seconds."""
    return sum(line.seconds for line in run.epochs) / run.epochs[-1].step


def _curves(depth: int, runs: dict[str, list[RunRecord]]) -> Lines:
    """Loss over the steps of the nets of one depth that trained."""
    nets = {order: present for order, prefix in ORDERS.items() if (present := runs[f"{prefix}{depth}"])}
    return Lines(f"Training loss, {depth} layers", "step", "loss, nats", lines_of(nets, _losses), log_y=True)


def _losses(run: RunRecord) -> Points:
    return tuple((float(line.step), line.loss) for line in run.steps)


def _bars(title: str, y: str, what: str, q: Quantities) -> Bars:
    return bars_of(title, y, q, {net.label: name for net in NETS if (name := f"{net.key}-{what}") in q})


def _table(q: Quantities, runs: dict[str, list[RunRecord]], seeds: int) -> Table:
    rows = []
    for net in NETS:
        present = runs[net.model]
        layers = f"{present[0].settings.summary.depth:,}" if present else "–"
        parameters = f"{present[0].settings.summary.parameters:,}" if present else "–"
        step, times = (str(q.get(f"{net.key}-{what}", "–")) for what in ("step", "times"))
        rows.append((net.label, layers, parameters, step, times, f"{len(present)} of {seeds}"))
    heads = ("net", "layers", "parameters", "time of a step", f"by {SHORT}'s", "seeds that trained")
    return Table("What it costs", heads, tuple(rows))
