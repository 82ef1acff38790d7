"""What stands beside fetched weights in the cache."""

from residuum.records.codec import Record
from residuum.records.numbers import Count


class Fetched(Record, frozen=True, kw_only=True):
    """Weights that were fetched, checked and imported."""

    name: str
    """The name they were asked for by, as the catalogue or the hub spells it."""
    source: str
    """The address or the file that they came from."""
    sha256: str
    """Of the file that was fetched, in hexadecimal."""
    checked: str
    """Against what, in words."""
    licence: str | None
    """As their publisher says; None where that is not known."""
    multiply_adds: Count
    """Of one picture at the size that the weights were trained for."""
    date: str
    """ISO 8601, UTC."""
