"""When and on what something was computed."""

from msgspec import UNSET, UnsetType, field

from residuum.records.codec import Record
from residuum.records.numbers import Count


class Environment(Record, frozen=True, kw_only=True):
    """environment.json, and a part of other files: the date, versions and processor, never a name or a path."""

    date: str
    """ISO 8601, UTC, to the second."""
    residuum: str
    """Its version; "not installed" for a package that is not there, here and below."""
    commit: str | UnsetType = UNSET
    """The commit of its repository, of 12 digits, where it is used from a clone or was installed from one; "-dirty"
    behind it where files of a clone were changed."""
    python: str
    torch: str
    numpy: str
    pillow: str
    simplejpeg: str = "not installed"
    scikit_learn: str = field(name="scikit-learn")
    system: str
    """Operating system and instruction set."""
    processor: str
    cores: Count
    """How many of its cores could be used."""
