"""Figures that may come out exactly alike, as counts and steps with a limit do."""

from dataclasses import replace

from residuum.study.verdict import Measured, Part, below


def fewer(a: Measured, b: Measured) -> Part:
    """Say whether a < b, as `verdict.below`; of two that are exactly alike, nothing is said."""
    part = below(a, b)
    return replace(part, holds=None) if a.mean == b.mean else part
