"""Which weights are on this machine: those fetched into the cache, and the starter. Nothing here uses the network."""

from contextlib import suppress
from pathlib import Path

from residuum import machine
from residuum.errors import UserError
from residuum.plain_data import quoted
from residuum.records.codec import read_record
from residuum.records.weights import Fetched
from residuum.weights.catalogue import catalogue, find

STARTER = "starter"
"""The name of the weights that residuum brings."""
STARTER_FILE = Path(__file__).parents[1] / "starter" / "starter.safetensors"


def folder() -> Path:
    """Return where fetched weights lie, already as model files; it need not exist."""
    return machine.cache_folder() / "weights"


def model_file(name: str) -> Path:
    """Return where the model file of weights with this name lies, once they are fetched."""
    return folder() / f"{name.replace('/', '--')}.safetensors"


def record_file(name: str) -> Path:
    """Return where it is written what they are; it is there only when all is well."""
    return model_file(name).with_suffix(".json")


def fetched() -> dict[str, Fetched]:
    """Return the weights that have been fetched, by name; what cannot be read counts as not there."""
    found = {}
    for path in sorted(folder().glob("*.json")):
        with suppress(UserError, OSError):
            record = read_record(path, Fetched)
            if model_file(record.name).is_file():
                found[record.name] = record
    return found


def starter() -> Path | None:
    """Return the model file that residuum brings, or None where this copy has none."""
    return STARTER_FILE if STARTER_FILE.is_file() else None


def start_file(given: str) -> str | Path:
    """Return the model file that `given` means: a path is returned as it is; else a name of fetched weights.

    Raises:
        UserError: the weights of this name are not on this machine.
    """
    if Path(given).exists():
        return given
    if given == STARTER:
        if (own := starter()) is None:
            raise UserError("this copy of residuum brings no starter", f"there is no {STARTER_FILE}")
        return own
    try:
        name = find(given).name
    except UserError:
        return given  # a path to nothing: whoever opens it says so
    if name in fetched():
        return model_file(name)
    if name in catalogue():
        raise UserError(
            f"the weights of {name} are not on this machine",
            "nothing is fetched unasked",
            f"residuum weights fetch {quoted(name)}",
        )
    return given
