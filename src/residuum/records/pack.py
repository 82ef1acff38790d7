"""pack.json: what `residuum data pack` has written."""

from residuum.records.codec import Record
from residuum.records.numbers import Count


class Shard(Record, frozen=True, kw_only=True):
    """One file of it."""

    file: str
    """Its path below the folder."""
    pictures: Count
    bytes: Count
    sha256: str


class Pack(Record, frozen=True, kw_only=True):
    """What was to be packed, and what is done of it."""

    source: str
    """Where the pictures lay."""
    plan: str
    """What the pictures, labels and class names were, and how they are spread over shards."""
    shards: tuple[Shard, ...]
    """Those that are done."""
    complete: bool


class Packed(Record, frozen=True, kw_only=True):
    """What a call did."""

    folder: str
    shards: Count
    pictures: Count
    bytes: Count
    there: Count
    """Shards that were there already, whole."""
