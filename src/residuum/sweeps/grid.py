"""From what varies, as it was typed, to every combination of it."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import msgspec

from residuum.errors import UserError, nearest
from residuum.settings import TrainSettings

FIXED = {
    "data": "accuracies on different pictures do not compare",
    "seed": "--seeds says how many there are",
    "out": "each run has a folder of its own",
    "resume": "the same command goes on with every run",
}
SPOKEN = {"yes": True, "no": False}
FIELDS = {field.name: field for field in fields(TrainSettings)}

Axes = dict[str, dict[str, Any]]
"""For each setting that varies its values, by how they were typed."""


def axes(over: Sequence[str]) -> Axes:
    """Read NAME=VALUE,VALUE…, the name as its flag or field is called; numbers of one value are parted by blanks.

    Raises:
        UserError: it is not of that form, there is no such setting, or it takes no such value.
    """
    found: Axes = {}
    for one in over:
        typed, equals, values = one.removeprefix("--").partition("=")
        name = typed.strip().replace("-", "_")
        if not equals or name not in FIELDS:
            why = nearest(name, FIELDS) if equals else "what varies is given as lr=0.05,0.1"
            raise UserError(f"--over {one}: there is no such setting" if equals else f"--over {one} has no values", why)
        if name in FIXED or name in found:
            why = FIXED.get(name, "it is there twice")
            raise UserError(f"--over {one}: {name} cannot vary", why, "leave it out")
        words = [" ".join(value.split()) for value in values.split(",")]
        if len(set(words)) < len(words):
            raise UserError(f"--over {one} has a value twice", "", "leave one out")
        found[name] = {value: _read(one, name, value) for value in words}
    return found


def combinations(varied: Axes) -> list[dict[str, str]]:
    """Return every combination, as it was typed: the last setting varies fastest."""
    return [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]


def _read(one: str, name: str, value: str) -> Any:
    """Return a value as its setting has it (UserError: it takes no such value)."""
    field = FIELDS[name]
    if value == "default":
        return field.default
    read: Any = value.split() if "tuple" in str(field.type) else SPOKEN.get(value, value)
    try:
        converted = msgspec.convert(read, field.type, strict=False)
    except msgspec.ValidationError as error:
        raise UserError(f"--over {one}: {name} cannot be {value!r}", str(error)) from error
    TrainSettings(**{name: converted})  # its range
    return converted
