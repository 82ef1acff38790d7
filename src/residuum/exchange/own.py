"""A net under residuum's own names, as one's own loop saves it: what names and shapes leave open is as `residuum.net`
builds the named net that has them, or as is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from residuum.choices import Activation, Order, Shortcut
from residuum.errors import UserError
from residuum.exchange.layouts import RESIDUUM
from residuum.models.assumption import Assumption
from residuum.models.named import RESIDUAL_NETS, named
from residuum.models.spec import NetSpec

_OPEN = ("activation", "stride_in", "projection_pool", "halving", "first_stage_halves", "pooling", "zero_channels")
"""What leaves no trace in names and shapes, and changes answers."""
_ALIKE: tuple[set[Shortcut], ...] = ({"A", "none", "constant", "dropout"}, {"exclusive-gating", "shortcut-gating"})
"""Shortcuts whose nets have the same tensors."""


@dataclass(frozen=True, kw_only=True)
class NetTold:
    """What the user says of the net; None where nothing."""

    model: str | None = None
    shortcut: Shortcut | None = None
    order: Order | None = None
    activation: Activation | None = None
    projection_pool: bool | None = None


def completed(spec: NetSpec, layout: str, told: NetTold) -> tuple[NetSpec, list[Assumption]]:
    """Return the net that was read off names and shapes with what they leave open, and what is assumed of that.

    Raises:
        UserError: the net is not of the kind that the user names, or what is told does not go with it.
    """
    if told.model is not None and layout != RESIDUUM:
        what = f"--model {told.model} says nothing about weights under the names of {layout}"
        raise UserError(what, "their names and shapes tell the net", "leave it out")
    given: dict[str, Any] = {name: one for name, one in vars(told).items() if one is not None and name != "model"}
    if layout != RESIDUUM:
        return replace(spec, **given), []
    name = told.model or _nearest(spec)
    whole = replace(_like(spec, name) if name else spec, **given)
    if told.model is not None:
        return whole, []
    left = [one for one in ("shortcut", "order", "activation", "projection_pool") if one not in given]
    as_built = f"as residuum.net builds {name}" if name else "as is usual"
    facts = ", ".join(f"{one.replace('_', ' ')} {_written(getattr(whole, one))}" for one in left)
    return whole, [Assumption(f"what names and shapes leave open is {as_built}: {facts}", ("model", *left))]


def _written(value: object) -> object:
    return value if isinstance(value, str) else "yes" if value else "no"


def _like(spec: NetSpec, name: str) -> NetSpec:
    """Take what is open from a named net (UserError where this is of another kind)."""
    base = named(name)
    if (spec.stem, spec.block) != (base.stem, base.block):
        seen = f"the weights are of a net with stem {spec.stem} and {spec.block} blocks"
        raise UserError(f"these are no weights of {name}", f"{seen}; it has stem {base.stem} and {base.block} blocks")
    taken: dict[str, Any] = {one: getattr(base, one) for one in _OPEN}
    if any({spec.shortcut, base.shortcut} <= alike for alike in _ALIKE):
        taken["shortcut"] = base.shortcut
    return replace(spec, **taken)


def _nearest(spec: NetSpec) -> str | None:
    """Name the net with the same tensors; else the first of its kind, which leaves open the same; else none."""
    for told in (_shapes, _kind):
        for name, one in RESIDUAL_NETS.items():
            if tuple(told(one)) == tuple(told(spec)):
                return name
    return None


def _shapes(spec: NetSpec) -> Iterator[object]:
    yield from _kind(spec)
    yield from (spec.blocks, spec.widths, spec.out_channels, spec.stem_channels, spec.groups, spec.squeeze)


def _kind(spec: NetSpec) -> Iterator[object]:
    yield from (spec.stem, spec.block, len(spec.blocks), spec.order, spec.first_activation, spec.shortcut)
