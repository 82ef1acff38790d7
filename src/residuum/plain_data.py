"""Settings as plain data: checked when they are built, told apart from their defaults, written as JSON or
as a command."""

import inspect
import re
import shlex
from dataclasses import Field, asdict, dataclass, fields
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, get_args

from residuum.errors import UserError, nearest


@dataclass(frozen=True)
class OnThisMachine:
    """Marks text that names something here, never at an address."""

    or_shards: bool = False
    """Or shards at one that fsspec knows, but no web page."""


if TYPE_CHECKING:
    Place = str | Path
    """Where something lies, or the name of a data set: either may be given, and text is kept."""
    DataPlace = str | Path
    """The same, or the address of shards."""
    PlaceOrAddress = str | Path
    """The same, or any address."""
else:
    Place = Annotated[str, OnThisMachine()]
    DataPlace = Annotated[str, OnThisMachine(or_shards=True)]
    PlaceOrAddress = str


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value that a setting may take, each of its numbers if it has several."""

    low: float
    high: float
    mend: str = ""
    """What to do about another value, where more is known than the range."""


@dataclass(frozen=True)
class Settings:
    """What a verb can be told. A field's type, and the Range it is annotated with, are checked when it is built.

    `group` heads the fields that a class adds in the help.
    """

    group: ClassVar[str] = ""

    def __init_subclass__(cls, group: str = "") -> None:
        cls.group = group

    def __post_init__(self) -> None:
        """Take paths as text and lists, which JSON has, as tuples.

        Raises:
            UserError: a value is of another type than its field, or out of range (NaN is in none).
        """
        for field in fields(self):
            given = getattr(self, field.name)
            if given is not field.default:
                _refuse_empty(field.name, given)
                value = _checked(flag(field.name), _plain(given, tuple), field.type)
                object.__setattr__(self, field.name, value)


def _refuse_empty(name: str, given: Any) -> None:
    """Refuse text that says nothing (UserError): a variable of the shell that was not set, most often."""
    filled = str if name == "label_separator" else str.strip  # blanks may part labels
    if any(isinstance(one, str) and not filled(one) for one in (given if isinstance(given, list | tuple) else [given])):
        raise UserError(f"{flag(name)} is empty", "it was given without a value", "name one, or leave it out")


def _checked(name: str, value: Any, kind: Any) -> Any:
    from msgspec import convert  # only where something was set, so that --help stays instant

    try:
        convert(value, kind)
    except ValueError as error:  # msgspec's own are of this kind; so are texts that hold half characters
        known = [str(option) for option in _options(kind)]
        why = nearest(str(value), known) if known else str(error).replace("null", "None")
        raise UserError(f"{name} cannot be {value!r}", why) from error
    if (place := _place_in(kind)) is not None:
        _refuse_addresses(name, value, place)
    for limits in getattr(kind, "__metadata__", ()):
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(limits, Range) and number is not None and not limits.low <= number <= limits.high:
                low, high = (str(limit).removesuffix(".0") for limit in (limits.low, limits.high))
                what = f"{name} {number} is out of range"
                raise UserError(what, f"it must lie from {low} to {high}", limits.mend)
    return value


def _place_in(kind: Any) -> OnThisMachine | None:
    marks = (one for one in getattr(kind, "__metadata__", ()) if isinstance(one, OnThisMachine))
    return next(marks, None) or next(filter(None, map(_place_in, get_args(kind))), None)


def _refuse_addresses(name: str, value: Any, place: OnThisMachine) -> None:
    for given in value if isinstance(value, tuple) else (value,):
        shards = place.or_shards and isinstance(given, str) and re.match(r"(?!https?:|ftp:)[a-z][a-z0-9+.-]+://", given)
        if isinstance(given, str) and re.match(r"[a-z][a-z0-9+.-]+:/", given, re.IGNORECASE) and not shards:
            raise UserError(
                f"{name} {given} is an address, not a place on this machine",
                "nothing is fetched from the network unasked",
                "fetch it first, and give the file or folder",
            )


def _options(kind: Any) -> list[Any]:
    """What a Literal, perhaps inside of a union, can be chosen from."""
    within = [one for one in get_args(kind) if one is not type(None)]
    return [one for part in within for one in ([part] if isinstance(part, str) else _options(part))]


def flag(name: str) -> str:
    """Return how the command line spells a setting; `from_` is --from, a word that Python keeps for itself."""
    return "--" + name.rstrip("_").replace("_", "-")


def by_place(settings: Any) -> list[Field[Any]]:
    """Return the fields, those with a place of their own on the command line before those that are always named."""
    return sorted(fields(settings), key=lambda field: field.kw_only is True)


def group_of(settings: Any, name: str) -> str:
    """Return the group of a field in the help: that of the class that has it, of those the settings are composed of."""
    group: str = next(part.group for part in settings.__mro__ if name in inspect.get_annotations(part))
    return group


def explicit(settings: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults: what was asked for."""
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }


def command_line(verb: str, settings: Any) -> str:
    """Return what was asked of a verb as the command that asks the same."""
    words, given = list[str](), explicit(settings)
    for field in by_place(settings):
        if field.name in given:
            words += option(field.name, given[field.name])[0 if field.kw_only else 1 :]
    return f"residuum {verb} {quoted(*words)}".rstrip()


def quoted(*words: object) -> str:
    """Return paths and names as words of a command that a shell takes as they are, without those that are None."""
    return shlex.join(str(one) for one in words if one is not None)


def option(name: str, value: Any) -> list[str]:
    """Return a setting in the words of a command."""
    if isinstance(value, bool):
        return [flag(name) if value else "--no-" + flag(name)[2:]]
    return [flag(name), *map(str, value if isinstance(value, tuple) else [value])]


def asked(part: type, settings: Any) -> dict[str, Any]:
    """Return those fields of `part`, a class that `settings` is composed of, that were given a value."""
    return {name: value for name, value in read_off(part, settings).items() if value is not None}


def read_off(part: type, decided: Any) -> dict[str, Any]:
    """Return the fields of `part` with the values that `decided` has under the same names."""
    return {field.name: getattr(decided, field.name) for field in fields(part)}


def check_known(part: type, decided: type) -> None:
    """Raise TypeError unless `decided` knows every field of `part`: a setting that nobody heeds is our own slip."""
    known = {*dir(decided), *(field.name for field in fields(decided))}
    if unknown := [field.name for field in fields(part) if field.name not in known]:
        raise TypeError(f"{part.__name__} has {', '.join(unknown)}, of which {decided.__name__} knows nothing")


def as_json(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON-able data."""
    return {name: _plain(value, list) for name, value in asdict(settings).items()}


def _plain(value: Any, sequence: type) -> Any:
    """The value with its sequences of one type, its paths as text, and its numbers as Python's own."""
    if isinstance(value, dict):
        return {name: _plain(inner, sequence) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return sequence(_plain(inner, sequence) for inner in value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)
