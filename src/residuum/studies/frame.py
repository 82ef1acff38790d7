"""What a study is, what it is given, and what it finds.

A study's file reads like the description of an experiment: what is trained, what is measured, and the rule that turns
figures into a verdict. The rule sees the figures alone, and was written before they were measured. Question, claim and
source stand in studies.toml.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from residuum.choices import Device, Scale, Shuffle
from residuum.data.contract import ImageData
from residuum.errors import UserError
from residuum.records.codec import Record
from residuum.records.study import Chart, Quantity, Table, Words
from residuum.runs import RunRecord
from residuum.setting_parts import WhereTrained
from residuum.studies.verdict import Quantities, Rule

OWN_PICTURES = "cifar10"
"""What studies train on at scales quick and full, where nothing else is asked for."""


@dataclass(frozen=True)
class Setup:
    """What a study has to work with."""

    scale: Scale
    seeds: tuple[int, ...]
    folder: Path
    """Holds runs/, which all studies share."""
    data: str | None = None
    """Pictures asked for; None: the study's own."""
    model: str | None = None
    """A run or model file to examine in place of nets trained for the study: nothing is decided then."""
    shuffle: Shuffle | None = None
    """Order of training pictures, where it is not training's own."""
    device: Device = "auto"
    threads: int | None = None
    where: WhereTrained = field(default_factory=WhereTrained)
    """Where nets are trained."""
    watch: Callable[[Sequence[RunRecord], float], None] = lambda _used, _waited: None
    """Told which runs `trained` gives, and for how many seconds their training was waited for."""


def refuse_several(data: ImageData) -> None:
    """Refuse pictures of several labels: every study measures how often the one right class is named (UserError)."""
    if data.several:
        raise UserError(
            f"{data.source} has several labels a picture",
            "the studies repeat experiments on pictures of one class each",
            "give pictures of one class each",
        )


def quantity(
    label: str,
    values: Sequence[float],
    unit: str = "",
    *,
    exact: bool = False,
    of: str = "seed",
    limit: float | None = None,
) -> Quantity:
    """Return a figure of one value for each seed, or what else they are `of`, with mean and standard deviation."""
    are_finite, several = all(map(math.isfinite, values)), len(values) > 1
    sd = math.nan if not are_finite else statistics.stdev(values) if several else None
    return Quantity(label, tuple(values), unit, exact, statistics.fmean(values), sd, len(values), of, limit)


@dataclass(frozen=True)
class Findings:
    """What a study measured; `measured` says the main of it in one sentence, figures included."""

    quantities: Quantities
    measured: Words
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    """What was trained and how, for the report."""
    pictures: str = ""
    """How many of which split a given model was examined on."""


class Texts(Record, frozen=True):
    """What a study asks, in both languages."""

    title: Words
    question: Words
    claim: Words
    source: str
    """Paper, section, figure."""
    examines: bool = False
    """Whether it can examine a given model."""
    keeps_runs: bool = True
    """Whether nets that it trains are runs, which studies share."""
    minutes: float = 0.0
    """What it took at scale quick with three seeds, of one core: see results/studies/."""


@dataclass(frozen=True)
class Study:
    """One claim, and how it is put to the test."""

    name: str
    texts: Texts
    measure: Callable[[Setup], Findings]
    rule: Rule
