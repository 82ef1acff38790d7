"""What a study is and what it finds, as plain data.

A study's file reads like the description of an experiment: question, claim and source, what is trained, what is
measured, and the predicate that turns figures into a verdict. The predicate sees the figures alone, and was written
before they were measured.
"""

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from residuum.choices import Device, Scale
from residuum.files import Json
from residuum.runs import RunRecord
from residuum.study.charts import Chart
from residuum.study.verdict import Verdict

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Words:
    """One text in both languages of the documents."""

    en: str
    zh: str


@dataclass(frozen=True)
class Means:
    """What a study has to work with."""

    scale: Scale
    seeds: tuple[int, ...]
    folder: Path
    """Holds runs/, which all studies share."""
    data: str | None = None
    """Pictures asked for; None: the study's own."""
    model: str | None = None
    """A run or model file to examine in place of nets trained for the study."""
    device: Device = "auto"
    threads: int | None = None
    used: list[RunRecord] = field(default_factory=list)
    """The runs that were used, as they are used: what `trained` returned."""
    waited: list[float] = field(default_factory=list)
    """Seconds that this process waited for runs to be trained."""

    def at_scale(self, quick: Choice, full: Choice) -> Choice:
        """Return the one of the two that goes with the scale."""
        return quick if self.scale == "quick" else full


@dataclass(frozen=True)
class Quantity:
    """One figure with its repetitions, one for each seed, in `unit`.

    `exact`: nothing in it is left to chance (a count, a rounding error, one given net), so that one value is enough.
    """

    label: str
    values: tuple[float, ...]
    unit: str = ""
    exact: bool = False

    @property
    def mean(self) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Return the standard deviation over the seeds; None of a single one, nan where a value is no number."""
        if not all(map(math.isfinite, self.values)):
            return math.nan
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def standard_error(self) -> float:
        """Return that of the mean: 0 where nothing is left to chance, nan where one seed says nothing of it."""
        if self.exact:
            return 0.0
        return math.nan if self.sd is None else self.sd / math.sqrt(len(self.values))

    def __str__(self) -> str:
        spread = f" ± {self.sd:.3g}" if self.sd is not None and not self.exact else ""
        return f"{self.mean:.4g}{spread}" + (f" {self.unit}" if self.unit else "")

    def as_json(self) -> Json:
        """Return all there is to say of it."""
        return {**asdict(self), "mean": self.mean, "sd": self.sd, "n": len(self.values)}


Quantities = Mapping[str, Quantity]


@dataclass(frozen=True)
class Table:
    """Figures to look up: one row of texts under the heads for each."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


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


@dataclass(frozen=True)
class Study:
    """One claim, and how it is put to the test."""

    name: str
    title: Words
    question: Words
    claim: Words
    source: str
    """Paper, section, figure."""
    predicate: str
    """When the claim counts as supported, and when as contradicted, in words."""
    measure: Callable[[Means], Findings]
    judge: Callable[[Quantities], Verdict]
    examines: bool = False
    """Whether it can examine a given model."""
