"""Classes that may be others, misspelt: what `residuum data check`, training and a review say of their names."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

MISSPELT = 5
"""A class may be another, misspelt, if that has so many times its pictures at least,"""
LIKE = 0.8
"""if their names are so alike (difflib's ratio),"""
SHORTEST = 5
"""and of so many letters at least."""
LISTED = 100
"""So many are named."""


class NearName(NamedTuple):
    """A rare class, and the much more frequent one whose name is nearly its own, with their pictures."""

    name: str
    pictures: int
    other: str
    others: int


def nearly_named(count: Mapping[str, int]) -> list[NearName]:
    """Return rare classes whose names are nearly another's, as 'anmial' and 'animal', by the pictures of each class."""
    return list(_near(count))


def said_of_names(near: Sequence[tuple[str, int, str, int]]) -> str:
    """Say so in one line."""
    pairs = [f"{name!r} ({its:,}) and {other!r} ({others:,})" for name, its, other, others in near[:LISTED]]
    return f"classes of few pictures whose names are nearly another's: {', '.join(pairs)}; misspelt?"


def _near(count: Mapping[str, int]) -> Iterator[NearName]:
    plain = {name: " ".join(name.casefold().split()) for name in count if count[name]}
    for name in sorted(filter(_may_err, plain)):
        often = [other for other in plain if count[other] >= MISSPELT * count[name] and plain[other] != plain[name]]
        near = get_close_matches(plain[name], [plain[other] for other in often], 1, LIKE)
        for other in [each for each in often if [plain[each]] == near][:1]:
            yield NearName(name, count[name], other, count[other])


def _may_err(name: str) -> bool:
    """Say whether a name is long enough to be misspelt, and no number of one: plate 7 is not plate 8."""
    return len(name) >= SHORTEST and not any(letter.isdigit() for letter in name)
