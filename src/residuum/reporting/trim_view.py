"""What the page says of a trim: what was taken out, what that cost and saved, and how chance would have done."""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import TypeVar

from residuum.machine import BUSY
from residuum.records.depth import Point, Repaired, Trim
from residuum.reporting.depth_charts import random_means, trim_charts
from residuum.reporting.depth_view import (
    DepthView,
    Table,
    TableRow,
    Tile,
    cell,
    few,
    milliseconds,
    no_better,
    of_several,
    pictures,
    shown,
    trained_on,
    uncertainty,
)
from residuum.reporting.wording import NONE, count, counted, isolated, percent, percent_figure, short
from residuum.runs import TRIM

T = TypeVar("T")


def view_trim(found: Trim) -> DepthView:
    """Work out everything the page says."""
    chosen, total = found.chosen, sum(found.curve[0].blocks) if found.curve else 0
    return DepthView(
        measured=found,
        heading=f"{isolated(found.model.name)} with fewer blocks",
        headline=f"{chosen.removed} of {total}" if chosen else NONE,
        beside="blocks taken out" if chosen else "nothing chosen yet",
        verdict=" ".join(filter(None, (no_better(found), _verdict(found)))),
        notes=list(_notes(found)),
        title="What it costs and what it saves",
        lead=f"Accuracies are on {pictures(found)}. The dashed line marks the net that was chosen. Point at a chart to "
        "read its values.",
        charts=trim_charts(found),
        table=_table(found),
        how=[
            ("shown to the net", found.protocol),
            ("timed", found.latency_protocol or NONE),
            *[(f"--{name.replace('_', '-')}", value) for name, value in found.asked.items()],
            ("chosen", chosen.why if chosen else NONE),
        ],
        tiles=list(_tiles(found)),
    )


# --- the sentence -------------------------------------------------------------------------------


def _verdict(found: Trim) -> str:
    """Say what is gone, what that does to accuracy and time, and what chance would have done."""
    if found.chosen is None:
        done = counted(len(found.curve), "net")
        return f"This trim has not chosen a net: it was stopped, or is still going. {done} measured so far."
    chosen = found.curve[found.chosen.removed]
    parts = [_accuracy_words(found, chosen)]
    if found.batches and not found.speeds_say_something:
        waited = f"threads waited {found.share_waited:.0%} of the time"
        parts.append(f"how fast it is cannot be said, for others were computing while the nets were timed ({waited})")
    elif found.batches:
        each = [f"{found.speed(chosen, size):.2f} times as fast {_at_once(size)}" for size in found.batches]
        parts.append(f"it is {' and '.join(each)}")
    if values := found.by_chance:
        spread = f" on average ({_extremes(values)} over {len(values)} draws)" if len(values) > 1 else " (one draw)"
        parts.append(f"as many blocks drawn at random leave {percent(mean(values))}{spread}")
    return "; ".join(parts) + "."


def _accuracy_words(found: Trim, chosen: Point) -> str:
    before, after = percent(found.curve[0].accuracy), percent(found.after)
    repaired = found.repaired
    mended = (
        f" and {percent(repaired.validation_accuracy)} after {counted(repaired.epochs, 'epoch')} of repair"
        if repaired and repaired.validation_accuracy is not None
        else ""
    )
    done = f"With {counted(chosen.removed, 'block')} of {sum(found.curve[0].blocks)} taken out, "
    treated = "after recalibration" if found.recalibrated else "with BN as trained"
    name, when = isolated(found.model.name), f" {treated}{mended}, {before} before"
    if not (chosen.removed or mended):
        done, when = "Nothing is taken out: ", ", as before"
    if found.data.several:
        return f"{done}the likeliest label of {name} is right for {after} of {pictures(found)}{when}"
    return f"{done}{name} names {after} of {pictures(found)} correctly{when}"


def _at_once(size: int) -> str:
    return "with one picture" if size == 1 else f"with {size} at once"


def _extremes(values: list[float]) -> str:
    return f"{percent_figure(min(values))}–{percent(max(values))}"


# --- tiles and table ----------------------------------------------------------------------------


def _tiles(found: Trim) -> Iterator[Tile]:
    if found.chosen is None:
        return
    before, after = found.curve[0], found.curve[found.chosen.removed]
    parameters = f"{short(after.parameters)} parameters, {short(before.parameters)} before"
    yield "Accuracy before", percent(before.accuracy), f"of {pictures(found)}"
    yield _after_tile(found, after)
    yield from _repair_tiles(found.repaired) if found.repaired else ()
    if values := found.by_chance:
        treated = "recalibrated" if found.recalibrated else "BN as trained"
        spread = f"mean, {treated}; {_extremes(values)} over {counted(len(values), 'draw')}"
        yield "Random blocks instead", percent(mean(values)), spread
    now_ap, then_ap = after.mean_ap_with(recalibrated=found.recalibrated), before.mean_ap
    if now_ap is not None and then_ap is not None:
        yield "Mean average precision", percent(now_ap), f"{percent(then_ap)} before"
    for size in found.told:
        now, then = (milliseconds((point.latency_ms or {})[size]) for point in (after, before))
        name = "One picture" if size == 1 else f"{size} pictures at once"
        yield name, f"{found.speed(after, size):.2f}×", f"as fast: {now} instead of {then}"
    yield "Multiply-adds", short(after.multiply_adds), f"{short(before.multiply_adds)} before; {parameters}"


def _after_tile(found: Trim, after: Point) -> Tile:
    """Say how good the chosen net is, and how good with BN's statistics the other way."""
    if found.recalibrated:
        return "After recalibration", percent(found.after), f"{percent(after.accuracy)} with BN as trained"
    other = NONE if after.accuracy_recalibrated is None else f"{percent(after.accuracy_recalibrated)} recalibrated"
    unlike = "BN is folded: nothing to recalibrate" if found.is_folded else other
    return "After, BN as trained", percent(found.after), unlike if after.removed else "nothing is taken out"


def _repair_tiles(repaired: Repaired) -> Iterator[Tile]:
    epochs = f"{counted(repaired.epochs, 'epoch')} of training"
    yield "After repair", percent(repaired.validation_accuracy), epochs
    if repaired.mean_ap is not None:
        yield "Mean average precision, after repair", percent(repaired.mean_ap), epochs
    if repaired.test_accuracy is not None:
        of = f"of {count(repaired.test_images)} test pictures"
        before = f"; {percent(repaired.original_test_accuracy)} before" if repaired.original_test_accuracy else ""
        yield "Test, after repair", percent(repaired.test_accuracy), of + before


def _table(found: Trim) -> Table:
    times = [f"ms for {size}" for size in found.told]
    chance = ["random"] if found.random else []
    again = [] if found.is_folded else ["recalibrated"]
    heads = ["gone", "taken out", *again, "as trained", *chance, *times, *(["speed"] if times else [])]
    heads += _precise(found, ["mean average precision"])
    heads += ["depth", "parameters", "multiply-adds", "blocks left"]
    rows = [_table_row(found, point, random_means(found)) for point in found.curve]
    lead = "Each line is the net with one block less; blocks have the names of the whole net."
    treated = "BN as trained" if found.is_folded else "recalibrated"
    lead += f" Random: the mean of the draws, {treated}." if found.random else ""
    lead += f" Speed: how many times as fast, {_at_once(found.told[-1])}." if found.told else ""
    return Table("Which block went when", lead, heads, rows)


def _precise(found: Trim, columns: list[T]) -> list[T]:
    """Return the columns that only nets of several labels have; older files have none."""
    return columns if found.curve and found.curve[0].mean_ap is not None else []


def _table_row(found: Trim, point: Point, chance: Sequence[float]) -> TableRow:
    speeds = [found.speed(point, size) for size in found.told[-1:]]
    cells = [
        *([] if found.is_folded else [cell(percent, point.accuracy_recalibrated)]),
        cell(percent, point.accuracy),
        *[cell(percent, value) for value in chance[point.removed : point.removed + 1]],
        *[cell(milliseconds, (point.latency_ms or {})[size]) for size in found.told],
        *[(f"{ratio:.2f}×", ratio) for ratio in speeds],
        *_precise(found, [cell(percent, point.mean_ap_with(recalibrated=point.recalibrated))]),
        cell(count, point.depth),
        cell(short, point.parameters),
        cell(short, point.multiply_adds),
        (", ".join(map(str, point.blocks)), float(sum(point.blocks))),
    ]
    chosen = found.chosen is not None and point.removed == found.chosen.removed
    return TableRow(point.removed, point.deleted or "nothing yet", cells, chosen)


# --- notes --------------------------------------------------------------------------------------


def _notes(found: Trim) -> Iterator[str]:
    yield from trained_on(found)
    yield from of_several(found)
    yield shown(found)
    if found.repaired and not found.repaired.kept:
        yield "Training on made the smaller net worse on these pictures: the model is the unrepaired one."
    if found.repaired and (how := found.repaired.protocol) and _views(how) != _views(found.protocol):
        yield f"After repair, which trains with one view, shown to the net otherwise: {how}."
    yield (
        "The same pictures decided which blocks went and how many, so these figures flatter the smaller "
        "net a little: expect somewhat less on new pictures."
    )
    if found.curve and found.data.images:
        yield uncertainty(found, found.curve[0].accuracy)
    yield from few(found)
    yield _how_bn_worked(found)
    if found.chosen and found.chosen.removed and not (found.recalibrated or found.is_folded):
        yield "The chosen net keeps BN as trained, which is better here than recalibrated."
    if found.random:
        again = "left with BN as it is" if found.is_folded else "recalibrated"
        yield (
            f"Random orders take out the same kinds of block, {counted(len(found.random), 'draw')}, and are "
            f"{again} too; where few blocks are left to choose from, all orders meet."
        )
    if not found.batches:
        yield "The nets were not timed."
    if found.batches and not found.told:
        yield f"The times are in {TRIM} alone. Call trim, with another --out, again when the machine is quiet."
    elif (found.share_waited or 0) > BUSY:
        yield (
            "While the nets were timed, others were computing and threads waited "
            f"{found.share_waited:.0%} of the time: times, and how many times as fast, may mislead. "
            "Call trim, with another --out, again when the machine is quiet."
        )


def _how_bn_worked(found: Trim) -> str:
    if found.is_folded:
        return (
            "Each time, the block whose absence gives the lowest loss went. BN's statistics are folded into the "
            "convolutions of this net, so BN stays as it is and nothing is recalibrated."
        )
    return (
        "Each time, the block whose absence gives the lowest loss went, BN working with the statistics of each "
        "batch. Recalibrated: BN statistics measured anew on training pictures, nothing trained. A lesion leaves BN as "
        "trained and shows accuracy first: the block that costs least there may be another."
    )


def _views(protocol: str) -> str:
    """Return how pictures are shown, whatever it is computed in."""
    return protocol.partition(", computed in ")[0]
