"""The rule of a study, as data: its words for the reader, and the verdict it draws from figures, follow from it alone.

A part of a claim holds, or fails, where a difference lies beyond two standard errors of it; between them, nothing is
said. Two figures without spread that are exactly alike, as counts can be, are "not above" one another; nothing else is
said of them. A claim is supported where all its parts hold and contradicted where one fails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import TypeVar

from residuum.records.study import Answer, Compared, Part, Quantity, Relation, Verdict

ERRORS = 2.0
"""Standard errors of a difference that it must exceed."""

BEYOND = (
    "Only a difference of more than two of its standard errors says that a part holds or fails; "
    "closer figures say nothing"
)
CLEARLY = ", so “not above” has to be clearly below"

Quantities = Mapping[str, Quantity]
"""What was measured, by the names that rules call it by."""
ANY = {1: "it", 2: "either"}
"""What a claim's parts are called where they are so few."""


@dataclass(frozen=True)
class Comparison:
    """Each of some quantities against each of others: names, or numbers, which need not be measured.

    `by`: more than so much above or below; "not above" by more than so much. `unit` is that of the numbers, for the
    words alone.
    """

    ones: tuple[str, ...]
    relation: Relation
    others: tuple[str | float, ...]
    by: float = 0.0
    unit: str = ""

    def parts(self, q: Quantities) -> list[Part]:
        """Return whether it holds, for every pair."""
        return [
            _part(q[one], self.relation, q[other] if isinstance(other, str) else other, self.by)
            for one, other in product(self.ones, self.others)
        ]


Ones = str | tuple[str, ...]
Others = str | float | tuple[str, ...]
T = TypeVar("T")


def above(ones: Ones, others: Others, by: float = 0.0, unit: str = "") -> Comparison:
    """Ask whether a > b + by."""
    return Comparison(_several(ones), "above", _several(others), by, unit)


def below(ones: Ones, others: Others, by: float = 0.0, unit: str = "") -> Comparison:
    """Ask whether a < b − by."""
    return Comparison(_several(ones), "below", _several(others), by, unit)


def not_above(ones: Ones, others: Others, by: float = 0.0, unit: str = "") -> Comparison:
    """Ask whether a ≤ b + by: no worse than by that much."""
    return Comparison(_several(ones), "not above", _several(others), by, unit)


def _several(asked: T | tuple[T, ...]) -> tuple[T, ...]:
    return asked if isinstance(asked, tuple) else (asked,)


@dataclass(frozen=True)
class Rule:
    """When a claim counts as supported, and when as contradicted; it stands before the figures do."""

    claim: tuple[Comparison, ...]
    words: Mapping[str, str]
    """What each quantity is called in the rule."""
    where: str = ""
    """What holds of all of it, as a sentence."""
    besides: str = ""
    """What else there is to say, as a sentence."""

    def judge(self, q: Quantities) -> Verdict:
        """Return the verdict on these figures, which are of nets trained to decide it."""
        return decide([part for one in self.claim for part in one.parts(q)])

    def __str__(self) -> str:
        pairs = sum(len(one.ones) * len(one.others) for one in self.claim)
        parts = [
            self.where,
            f"Supported: {self._said(self.claim)}.",
            f"Contradicted: {ANY.get(pairs, 'any of these')} is the other way round.",
            f"{BEYOND}{CLEARLY if any(one.relation == 'not above' and not one.by for one in self.claim) else ''}.",
            self.besides,
        ]
        return " ".join(part for part in parts if part)

    def _said(self, comparisons: Sequence[Comparison]) -> str:
        clauses = []
        for ones, group in groupby(comparisons, key=lambda one: one.ones):
            verb = "is" if len(ones) == 1 else "are each"
            subject = _listed([self.words[name] for name in ones])
            clauses.append(f"{subject} {verb} {_listed([self._relation(one) for one in group])}")
        return "; ".join([*clauses[:-1], f"and {clauses[-1]}" if len(clauses) > 1 else clauses[-1]])

    def _relation(self, one: Comparison) -> str:
        unit = one.unit and f" {one.unit}"
        others = [self.words[it] if isinstance(it, str) else _number(it) + unit for it in one.others]
        each = "each of " if len(others) > 2 else "both " if len(others) == 2 else ""
        by = f" by more than {_number(one.by)}{unit}" if one.by else ""
        return f"{one.relation} {each}{_listed(others)}{by}"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _number(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


# --- from figures to the answer -----------------------------------------------------------------


def _part(a: Quantity, relation: Relation, b: Quantity | float, by: float) -> Part:
    """Compare two figures, in the words of what was measured."""
    mean = b if isinstance(b, int | float) else b.mean
    gap = {"above": a.mean - mean - by, "below": mean - by - a.mean, "not above": mean + by - a.mean}[relation]
    error = a.standard_error if isinstance(b, int | float) else math.hypot(a.standard_error, b.standard_error)
    other = (f"{b:g}", "") if isinstance(b, int | float) else (b.label, str(b))
    told = Compared(a.label, str(a), relation, *other, by=f"{by:g}" if by else "")
    return Part(str(told), _beyond(gap, error, True if relation == "not above" else None), told)


def _beyond(gap: float, error: float, alike: bool | None) -> bool | None:
    """True for a gap above two standard errors, False for one below minus two, `alike` for none at all."""
    if math.isnan(gap) or math.isnan(error) or (error and abs(gap) <= ERRORS * error):
        return None
    return alike if gap == 0 else gap > 0


def decide(parts: Sequence[Part]) -> Verdict:
    """Return the verdict on a claim of these parts."""
    held = [part.holds for part in parts]
    answer: Answer = "undecided"
    if False in held:
        answer = "contradicted"
    elif all(held):
        answer = "supported"
    return Verdict(answer, tuple(parts))
