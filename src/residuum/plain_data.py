"""Settings as plain data: checked, told apart from their defaults, written as JSON."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from residuum.errors import UserError


def check_range(flag: str, value: float | None, low: float, high: float) -> None:
    """Raise UserError unless value is None or low <= value <= high (NaN is neither)."""
    if value is not None and not low <= value <= high:
        raise UserError(f"{flag} {value} is out of range", f"it must lie from {low} to {high}")


def explicit(settings: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults: what was asked for."""
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if getattr(settings, field.name) != field.default
    }


def as_json(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain JSON-able data."""
    return {name: _plain(value) for name, value in asdict(settings).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
