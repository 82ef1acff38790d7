"""What the page says of a lesion: one block left out at a time, everything else as it is."""

from collections.abc import Iterator, Sequence
from statistics import median

from residuum.records.depth import Lesion, LesionRow
from residuum.reporting.depth_charts import lesion_charts
from residuum.reporting.depth_view import (
    DepthView,
    Table,
    TableRow,
    cell,
    few,
    no_better,
    noted,
    of_several,
    pictures,
    points,
    precision,
    shown,
    trained_on,
    uncertainty,
)
from residuum.reporting.wording import NONE, count, counted, isolated, percent, short

HEADS = ["#", "block", "points lost", "accuracy", "right of {}"], ["loss", "kind", "in its place", "parameters"]


def view_lesion(found: Lesion) -> DepthView:
    """Work out everything the page says."""
    return DepthView(
        measured=found,
        heading=f"{isolated(found.model.name)} without each of its blocks",
        headline=percent(found.intact.accuracy),
        beside="likeliest label right, the whole net" if found.data.several else "accuracy of the whole net",
        verdict=" ".join(filter(None, (no_better(found), _verdict(found)))),
        notes=list(_notes(found)),
        title="What each block is worth",
        lead=f"Measured on {pictures(found)}. Point at a bar to read it. A bar below the line is a gain."
        + _marks(found),
        charts=lesion_charts(found),
        kinds=_kinds(found),
        table=Table(
            "Block by block",
            "Press a heading to sort.",
            _heads(found),
            [_table_row(number, row, found) for number, row in enumerate(found.blocks, start=1)],
            is_sorting=True,
        ),
        how=[
            ("shown to the net", found.protocol),
            ("loss of the whole net", found.intact.loss),
            *[("its mean average precision", percent(value)) for value in [found.intact.mean_ap] if value is not None],
        ],
    )


def lines(found: Lesion) -> Iterator[str]:
    """Say for the terminal what is lost without each block, in the net's order and the sign of the page."""
    right = f"{found.intact.accuracy:.2%} right of {found.data.images:,} {found.data.split} pictures"
    yield f"intact   {right}{precision(found.intact.mean_ap)}"
    yield f"shown    {found.protocol}"
    yield from noted(found)
    if _ranks_nothing(found):
        yield f"loss     {found.intact.loss:.4g}; beside each block, as accuracy does not tell all of them apart"
    yield "blocks   in the net's order, each left out alone, BN as trained; a negative figure is a gain"
    yield from (f"{row.name:<20}{_without(found, row)}" for row in found.blocks)


def _without(found: Lesion, row: LesionRow) -> str:
    if row.accuracy is None:
        return f"{NONE:>8}  changes the shape, and nothing can stand in its place"
    right = _right(found, row)
    said = f"{points(found.lost(row)):>8} points lost, {right:,} of {found.data.images:,} pictures right"
    if _ranks_nothing(found) and row.loss is not None:
        said += f", loss {row.loss:.4g}"
    return said + precision(row.mean_ap) + ("; changes the shape, so it stays" if row.changes_shape else "")


def _ranks_nothing(found: Lesion) -> bool:
    """Say whether accuracy has fewer steps than there are blocks to rank by it: then the loss tells them apart."""
    measured = [row.accuracy for row in found.blocks if row.accuracy is not None]
    return len(set(measured)) < len(measured)


def _right(found: Lesion, row: LesionRow) -> int | None:
    return None if row.accuracy is None else round(row.accuracy * found.data.images)


def _heads(found: Lesion) -> list[str]:
    before, behind = HEADS
    precise = [] if found.intact.mean_ap is None else ["mean average precision"]
    return [head.format(f"{found.data.images:,}") for head in (*before, *precise, *behind, "multiply-adds")]


def _table_row(number: int, row: LesionRow, found: Lesion) -> TableRow:
    loss = "–" if row.loss is None else f"{row.loss:.4g}"
    cells = [
        cell(points, found.lost(row)),
        cell(percent, row.accuracy),
        cell(count, _right(found, row)),
        *([cell(percent, row.mean_ap)] if found.intact.mean_ap is not None else []),
        (loss, row.loss),
        ("can go" if row.removable else "changes the shape" if row.changes_shape else "has to stay", None),
        (f"the {row.left}" if row.left else "nothing", None),
        cell(short, row.parameters),
        cell(short, row.multiply_adds),
    ]
    return TableRow(number, row.name, cells)


def _verdict(found: Lesion) -> str:
    """Say in one sentence what one block that can go costs: in the middle, the most, the least."""
    measured = [(value, row) for row in found.blocks if row.removable and (value := found.lost(row)) is not None]
    if not measured:
        return "No block can be taken out: there is nothing to compare."
    values = [value for value, _ in measured]
    return (
        f"Without any one of {counted(len(values), 'block')} that can be taken out, {isolated(found.model.name)} loses "
        f"{points(median(values))} points of accuracy in the median on {pictures(found)}: most without "
        f"{_those(measured, max(values))}, least without {_those(measured, min(values))}."
    )


def _those(measured: Sequence[tuple[float, LesionRow]], value: float) -> str:
    """Name the block that costs so much, or say how many do."""
    rows = [row for lost, row in measured if points(lost) == points(value)]
    if len(rows) > 1:
        return f"any of {counted(len(rows), 'block')} ({points(value)} each)"
    return f"{isolated(rows[0].name)} ({points(value)})"


def _kinds(found: Lesion) -> list[tuple[int, str]]:
    """Say what the bars' colours mean, of those that occur."""
    staying = [row for row in found.blocks if not row.removable and row.accuracy is not None]
    kinds = [
        (0, "can be taken out", any(row.removable for row in found.blocks)),
        (1, "changes the shape, so it stays", any(row.changes_shape for row in staying)),
        (3, "stays for another reason", any(not row.changes_shape for row in staying)),
    ]
    return [(style, words) for style, words, occurs in kinds if occurs]


def _marks(found: Lesion) -> str:
    """Say what the marks on the chart mean, of those that occur."""
    above = any(not row.removable and row.accuracy is not None for row in found.blocks)
    on_the_line = any(row.accuracy is None for row in found.blocks)
    said = " A mark above a bar: its block cannot be taken out." if above and len(_kinds(found)) > 1 else ""
    none = " A mark on the line: what its block leaves has another shape, so there is no figure."
    return said + (none if on_the_line else "")


def _notes(found: Lesion) -> Iterator[str]:
    yield from trained_on(found)
    yield from of_several(found)
    yield shown(found)
    if found.data.images:
        yield uncertainty(found, found.intact.accuracy)
    yield from few(found)
    if found.model.shortcut == "none":
        yield "In a block's place stands the identity; nothing is trained or recalibrated."
    else:
        yield (
            "A block is left out by leaving out its branch: its shortcut stands in its place, and what follows the "
            "addition stays. Nothing is trained or recalibrated."
        )
    yield "A negative figure is a gain. Losses of two blocks do not add up to the loss of both."
    yield (
        "Trim may take another block out first than the one that costs least here: it goes by the loss, and lets "
        "BN work with the statistics of each batch; here BN works as trained."
    )
    if any(row.changes_shape and row.accuracy is not None for row in found.blocks):
        yield (
            "Where the shape changes, what remains is a shortcut that changes it too; such a block cannot be taken "
            "out for good."
        )
    if any(row.accuracy is None for row in found.blocks):
        yield "A plain net's block that changes the shape leaves nothing in its place: it has no figure."
