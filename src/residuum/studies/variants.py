"""Nets that differ in one choice and are trained alike: their errors, their curves, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from residuum.records.study import Bars, Chart, Lines, Quantity, Table, Words
from residuum.runs import RunRecord
from residuum.studies.charts import bars_of, lines_of
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.trained import loss_curve, net_settings, test_error, training_error, with_each_seed
from residuum.studies.verdict import Quantities


@dataclass(frozen=True)
class Variant:
    """One of the nets: `key` begins the names of its quantities, `label` stands in pictures and tables."""

    key: str
    label: str
    model: str
    choices: Mapping[str, Any] = field(default_factory=dict)
    """Flags of `residuum train`, besides those of the study's scale."""


Found = Mapping[str, Sequence[RunRecord]]
"""The runs of each variant by its key, one for each seed, in the order of the seeds."""


def train_each(setup: Setup, variants: Sequence[Variant]) -> Found:
    """Train every variant with every seed.

    Raises:
        UserError: a setting or the data are wrong, or training failed.
        Stopped: a signal came; every run was saved and goes on next time.
    """
    return with_each_seed(setup, {v.key: partial(net_settings, setup, v.model, **v.choices) for v in variants})


def errors(variants: Sequence[Variant], found: Found) -> dict[str, Quantity]:
    """Return KEY-train and KEY-test of each variant, in per cent."""
    quantities = {}
    for variant in variants:
        for split, words, error in (("train", "training", training_error), ("test", "test", test_error)):
            values = tuple(error(record) for record in found[variant.key])
            quantities[f"{variant.key}-{split}"] = quantity(f"{words} error, {variant.label}", values, "%")
    return quantities


def error_bars(variants: Sequence[Variant], q: Quantities, where: str = "") -> tuple[Bars, Bars]:
    """Return test and training error of the variants side by side; `where` is added to the titles."""
    test, train = ({v.label: f"{v.key}-{split}" for v in variants} for split in ("test", "train"))
    return (
        bars_of(f"Test error{where}", "error, %", q, test),
        bars_of(f"Training error{where}", "error, %", q, train),
    )


def loss_lines(variants: Sequence[Variant], found: Found, where: str = "") -> Lines:
    """Return the training loss of each variant over the passes."""
    nets = {variant.label: found[variant.key] for variant in variants}
    return Lines("Training loss" + where, "pass", "loss, nats", lines_of(nets, loss_curve))


def compared(
    variants: Sequence[Variant],
    found: Found,
    q: Quantities,
    measured: Words,
    notes: tuple[str, ...],
    charts: tuple[Chart, ...] = (),
) -> Findings:
    """Return the figures of variants with what is shown of all such: errors, losses, costs; then `charts`."""
    shown = (*error_bars(variants, q), loss_lines(variants, found), *charts)
    rows = []
    for variant in variants:
        net = found[variant.key][0].settings.summary
        rows.append((variant.label, f"{net.depth:,}", f"{net.parameters:,}", f"{net.multiply_adds:,}"))
    heads = ("net", "layers", "parameters", "multiply-adds a picture")
    return Findings(q, measured, shown, (Table("What each net costs", heads, tuple(rows)),), notes)
