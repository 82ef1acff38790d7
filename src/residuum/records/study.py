"""study.json: what a study asked, measured and answered, with the charts and tables that show it."""

import math
import re
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, field, structs

from residuum.choices import Scale
from residuum.records.codec import Record
from residuum.records.environment import Environment

Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Answer = Literal["supported", "contradicted", "undecided"]
Relation = Literal["above", "below", "not above"]
LACKS = {"contradicted": "Fails", "undecided": "The figures do not say"}
"""What is said of the parts of a claim for which it is not supported."""
ONE_SEED = "One seed has no spread, so nothing is decided of these"
"""The same where nets were trained with one seed alone."""
ONLY_TINY = (
    "Scale tiny shows only that the study runs: its nets hardly learn, and the verdict says nothing of the claim."
)
SPREAD = "± is the standard deviation over the seeds."
Points = tuple[tuple[float, float], ...]
"""(x, y) each; either may be no finite number, and nothing is drawn there."""


class Words(Record, frozen=True):
    """One text in both languages of the documents."""

    en: str
    zh: str


class Quantity(Record, frozen=True):
    """One figure with its repetitions, in `unit`; studies/frame.py makes it of its values.

    `exact`: nothing in it is left to chance (a count, a rounding error, one given net), so that one value is enough.
    """

    label: str
    values: tuple[float, ...]
    unit: str
    exact: bool
    mean: float
    sd: float | None
    """Over the values; None of a single one, nan where a value is no number."""
    n: int
    of: str = "seed"
    """What each value is that of: one seed, or of one given net a block, a layer, a draw."""
    limit: float | None = None
    """Where counting ended: a value so large was not reached within it. Absent in older files (`with_limits`)."""
    pictures: int | None = None
    """Of how many pictures, the same for each seed, the values are shares in per cent: where their own luck counts."""

    @property
    def standard_error(self) -> float:
        """Return that of the mean: 0 where nothing is left to chance, nan where one seed says nothing of it.

        Of `pictures` the binomial error is added, by one right and one wrong picture more, so that a difference of two
        shares near 0 is not taken for sure (Agresti and Caffo 2000, The American Statistician 54).
        """
        if self.exact:
            return 0.0
        of_seeds = math.nan if self.sd is None else self.sd / math.sqrt(self.n)
        if self.pictures is None or math.isnan(of_seeds):
            return of_seeds
        n = self.pictures + 2
        share = (self.mean / 100 * self.pictures + 1) / n
        return math.hypot(of_seeds, 100 * math.sqrt(share * (1 - share) / n))

    @property
    def bound(self) -> str:
        """Write what stands before the mean; see `bound`."""
        return bound(self.values, self.limit)

    @property
    def spread(self) -> float | None:
        """Return the standard deviation, where the values were left to chance and not all cut off alike."""
        return None if self.exact or self.bound == "> " else self.sd

    def __str__(self) -> str:
        return self.bound + with_spread(self.mean, self.spread) + (f" {self.unit}" if self.unit else "")


def figure(value: float) -> str:
    """Write a figure in four digits, a whole number below a million millions in all of its."""
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e12 else f"{value:.4g}"


def with_spread(mean: float, sd: float | None) -> str:
    """Write "73.41 ± 0.955", in records, in sentences and on pages alike, so that one quantity has one writing."""
    return figure(mean) + ("" if sd is None else f" ± {sd:.3g}" if abs(sd) < 1000 else f" ± {figure(sd)}")


def bound(values: tuple[float, ...], limit: float | None) -> str:
    """Write "> " where no value was reached within the limit, "≥ " where some were not: what the mean is of."""
    over = [limit is not None and value >= limit for value in values]
    return "> " if over and all(over) else "≥ " if any(over) else ""


class Compared(Record, frozen=True):
    """What is held against what, each by its name and its figure as it is written."""

    one: str
    figure: str
    relation: Relation
    other: str
    """A name, or a number."""
    other_figure: str = ""
    """"" of a number."""
    by: str = ""
    """By how much more; "" where any difference will do."""

    @property
    def sides(self) -> tuple[str, str]:
        """Return both sides in words."""
        return f"{self.one} ({self.figure})", self.other + (f" ({self.other_figure})" if self.other_figure else "")

    def __str__(self) -> str:
        one, other = self.sides
        return f"{one} {self.relation} {other}" + (f" by more than {self.by}" if self.by else "")


class Part(Record, frozen=True):
    """One part of the claim, in words, and whether it holds; None: the figures do not say."""

    words: str
    holds: bool | None
    compared: Compared | None = None
    """What the words say; None of somebody else's words. Older files lack it, and it is read from their words."""

    def __post_init__(self) -> None:
        if self.compared is None:
            structs.force_setattr(self, "compared", _read(self.words))

    @property
    def said(self) -> str:
        """Write it without a "not", which would stand within another where it fails, or where figures do not say."""
        told = self.compared
        if told is None or told.relation != "not above":
            return self.words
        one, other = told.sides
        return f"{one} at most {told.by} above {other}" if told.by else f"{one} at most {other}"


OLDER = re.compile(r"(.+) \(([^()]+)\) (not above|above|below) (.+?)(?: \(([^()]+)\))?(?: by more than (\S+))?")
"""A part as older files have it: in words alone, which are those of `Compared`."""


def _read(words: str) -> Compared | None:
    found = OLDER.fullmatch(words)
    if not found:
        return None
    one, figure, relation, other, other_figure, by = found.groups("")
    return Compared(one, figure, cast(Relation, relation), other, other_figure, by)


class Verdict(Record, frozen=True):
    """The answer, and the parts that led to it."""

    answer: Answer
    parts: tuple[Part, ...]

    @property
    def telling(self) -> tuple[str, ...]:
        """Return the parts for which it is not supported: those that fail, or where none does that say nothing."""
        return tuple(
            part.said for part in self.parts if part.holds is (False if self.answer == "contradicted" else None)
        )

    @property
    def holding(self) -> str:
        """Write "Holds: 1 of the claim's 2 parts."."""
        return f"Holds: {sum(part.holds is True for part in self.parts)} of the claim's {len(self.parts)} parts."


# --- what is shown ------------------------------------------------------------------------------


class Line(Record, frozen=True):
    """One curve: the mean over seeds, with each seed's own behind it where there are several."""

    label: str
    points: Points
    seeds: tuple[Points, ...] = ()


class Lines(Record, frozen=True, tag_field="kind", tag="lines"):
    """Curves over a common axis."""

    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    percent: bool = False
    """Whether y is a share, 0 to 1, to be written in per cent."""
    log_y: bool = False
    log_x: bool = False
    intervals: bool = False
    """Whether whiskers of two standard errors stand where each seed's own curve would."""


class Bar(Record, frozen=True):
    """One bar: the mean of its values, one for each seed."""

    label: str
    values: tuple[float, ...]
    limit: float | None = None
    """As that of a quantity."""


class Bars(Record, frozen=True, tag_field="kind", tag="bars"):
    """Bars with their spread; `y` says what and in which unit."""

    title: str
    y: str
    bars: tuple[Bar, ...]


class Map(Record, frozen=True, tag_field="kind", tag="map"):
    """A field of values over x (columns) and y (rows, the first at the top), in colour; a range begins at the first."""

    title: str
    x: str
    y: str
    rows: tuple[tuple[float, ...], ...]
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    reading: str
    """What a value is, for the legend."""

    def __post_init__(self) -> None:
        _check_width(self.rows, len(self.rows[0]) if self.rows else 0)


Chart = Lines | Bars | Map


class Table(Record, frozen=True):
    """Figures to look up: one row of texts under the heads for each."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        _check_width(self.rows, len(self.heads))


def _check_width(rows: tuple[tuple[Any, ...], ...], width: int) -> None:
    """Refuse rows of different width (ValueError)."""
    for place, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"row {place} has {len(row)} cells, not {width}")


# --- the whole file -----------------------------------------------------------------------------


class StudyRecord(Record, frozen=True, kw_only=True):
    """study.json."""

    kind: Literal["study"]
    name: str
    title: Words
    question: Words
    claim: Words
    source: str
    """Paper, section, figure."""
    predicate: str
    """The rule in words: when the claim counts as supported, and when as contradicted."""
    scale: Scale
    seeds: tuple[int, ...]
    """Those that nets were trained with; none where a model was given (before 0.2 as many as were asked for)."""
    examined: str | None
    """The name of the given model, where one was examined."""
    command: str
    """The line that repeats the study."""
    verdict: Verdict | None
    """None of a given model, for one net decides no claim about nets; files from before 0.2 have one even so."""
    measured: Words
    """The main of what was measured in one sentence, figures included."""
    quantities: dict[str, Quantity]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    settings: dict[str, Any]
    """What was trained and how."""
    seconds: Seconds
    """What measuring took, besides the training of `runs`."""
    runs: dict[str, Seconds]
    """What the training of each run took, in seconds; on a processor that is of one core."""
    environment: Environment
    nets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each run what its net is, its seed, and what was asked for of it and not of all. Absent before 0.2."""
    pictures: str = ""
    """How many pictures of which split, and where nets were trained of which size, the figures are from."""

    @property
    def answer(self) -> Answer | None:
        """Return the verdict's, where the study's own nets were put to the test."""
        return self.verdict.answer if self.verdict and self.examined is None else None

    @property
    def only_tiny(self) -> str:
        """Say that a verdict at scale tiny is none on the claim; "" of others."""
        return ONLY_TINY if self.answer and self.scale == "tiny" else ""

    @property
    def lacking(self) -> str:
        """Return what is said of the parts for which the claim is not supported; "" where all hold."""
        if self.answer == "undecided" and len(self.seeds) == 1:
            return ONE_SEED
        return LACKS.get(self.answer or "", "")

    @property
    def why(self) -> str:
        """Write how many parts hold, and those for which it is not supported; "" of a given model."""
        if self.verdict is None or self.answer is None:
            return ""
        telling = self.verdict.telling
        said = self.verdict.holding + (f" {self.lacking}: {'; '.join(telling)}." if telling else "")
        return f"{said} {SPREAD}" if "±" in said else said
