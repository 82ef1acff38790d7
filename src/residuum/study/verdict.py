"""From figures to a verdict: supported, contradicted, or undecided at this scale.

A part of a claim holds, or fails, where a difference lies beyond two standard errors of it; between them, nothing is
said, nor where two figures without spread are exactly alike, as counts can be. A claim is supported where all its
parts hold and contradicted where one fails.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

Answer = Literal["supported", "contradicted", "undecided"]
ERRORS = 2.0
"""Standard errors of a difference that it must exceed."""


class Measured(Protocol):
    """What the rule needs of a figure."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def mean(self) -> float: ...  # noqa: D102
    @property
    def standard_error(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Part:
    """One part of a claim, in words, and whether it holds; None: the figures do not say."""

    words: str
    holds: bool | None


@dataclass(frozen=True)
class Verdict:
    """The answer, and the parts that led to it."""

    answer: Answer
    parts: tuple[Part, ...]


def above(a: Measured, b: Measured | float, by: float = 0.0) -> Part:
    """Say whether a > b + by, beyond two standard errors of a − b."""
    return Part(_words(a, "above", b, by), _beyond(_mean(a) - _mean(b) - by, a, b))


def below(a: Measured, b: Measured | float, by: float = 0.0) -> Part:
    """Say whether a < b − by, likewise."""
    return Part(_words(a, "below", b, by), _beyond(_mean(b) - by - _mean(a), a, b))


def not_above(a: Measured, b: Measured | float, by: float = 0.0) -> Part:
    """Say whether a ≤ b + by, likewise: no worse than by that much."""
    return Part(_words(a, "not above", b, by), _beyond(_mean(b) + by - _mean(a), a, b, alike=True))


def _words(a: Measured, relation: str, b: Measured | float, by: float) -> str:
    return f"{_named(a)} {relation} {_named(b)}" + (f" by more than {by:g}" if by else "")


def _beyond(
    gap: float, a: Measured | float, b: Measured | float, *, alike: bool | None = None
) -> bool | None:
    """True where the gap is above two standard errors, False where it is below minus two; `alike` of no gap at all."""
    error = math.hypot(*(0.0 if isinstance(one, int | float) else one.standard_error for one in (a, b)))
    if math.isnan(gap) or math.isnan(error) or (error and abs(gap) <= ERRORS * error):
        return None
    if gap == 0:
        return alike
    return gap > 0


def _mean(one: Measured | float) -> float:
    return float(one) if isinstance(one, int | float) else one.mean


def _named(one: Measured | float) -> str:
    return f"{one:g}" if isinstance(one, int | float) else f"{one.label} ({one})"


def decide(*parts: Part) -> Verdict:
    """Return the verdict on a claim of these parts."""
    held = [part.holds for part in parts]
    answer: Answer = "undecided"
    if False in held:
        answer = "contradicted"
    elif all(held):
        answer = "supported"
    return Verdict(answer, parts)
