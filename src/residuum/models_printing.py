"""What the command prints of nets by name: what they are, what they cost, what was published of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.plain_data import option
from residuum.printing import print_json

if TYPE_CHECKING:
    from residuum.settings import ModelsSettings

HEAD = ("model", "depth", "shortcut", "parameters", "multiply-adds", "px", "classes", "activations, batch")
PUBLISHED = "published top-1 error"
NOTE = """
depth: layers with weights on the longest path. The names of wide-resnet16, 28 and 40 count projections,
too, resnet…d one of the stem's three layers. Errors are of exactly these nets: the paper's ResNet-50 to
152 and the authors' SE nets stride in the 1×1 (--stride-in 1x1). Nets that are named are shown with all
that was published of them, and where."""


def print_models(settings: ModelsSettings, found: Sequence[dict[str, Any]] | dict[str, list[str]], json: bool) -> None:
    """Print a line for each net: for one picture, and what its activations take in a training step; or its plan."""
    if json:
        return print_json(found)
    if isinstance(found, dict):
        return print("\n".join("\n".join([name, *lines]) for name, lines in found.items()))
    _print_table([(*HEAD, PUBLISHED), *map(_cells, found)])
    print(NOTE)
    return _print_published(found) if settings.names else None


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns as wide as what they hold, numbers to the right, the first and the last to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells, last in rows:
        columns = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:-1], strict=True))
        print("  ".join([f"{name:<{widths[0]}}", *columns, last]).rstrip())


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    memory = row["activation_bytes"]
    first = (f"{one['top1_error']:g} %, {_data(one)}, {_protocol(one)}" for one in row["published"][:1])
    return (
        _named(row),
        str(row["depth"]),
        row["shortcut"],
        f"{row['parameters']:,}",
        f"{row['multiply_adds']:,}",
        str(row["image_size"]),
        str(row["classes"]),
        "" if memory is None else f"{memory / 2**30:,.2f} GiB, {row['batch']}",
        next(first, ""),
    )


def _named(row: dict[str, Any]) -> str:
    """Return the net's name with what was changed of it."""
    return " ".join([row["model"], *(word for name, value in row["choices"].items() for word in option(name, value))])


def _data(published: dict[str, Any]) -> str:
    """Return CIFAR-10 for "CIFAR-10, test"."""
    return str(published["data"]).partition(",")[0]


def _protocol(published: dict[str, Any]) -> str:
    """Return how an error was measured, without what else is known of it."""
    return str(published["protocol"]).partition(";")[0]


def _print_published(found: Sequence[dict[str, Any]]) -> None:
    """Print every published error of the nets, with what it is of and where it stands."""
    print("" if any(row["published"] for row in found) else "\nNothing was published of exactly these nets.")
    for row in found:
        for one in row["published"]:
            top5 = "" if one["top5_error"] is None else f", top-5 {one['top5_error']:g} %"
            words = f"top-1 {one['top1_error']:g} %{top5}, {one['data']}, {one['protocol']}"
            print(f"{_named(row)}  {words}; {one['source']}")
