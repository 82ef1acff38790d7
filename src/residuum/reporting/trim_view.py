"""What the page says of a trim: what was taken out, what that cost and saved, and how chance would have done."""

import math
from statistics import mean

from residuum.reporting.depth_charts import random_at, random_means, trim_charts
from residuum.reporting.depth_figures import Point, Trim
from residuum.reporting.depth_view import (
    DepthView,
    Table,
    TableRow,
    Tile,
    count_cell,
    milliseconds,
    share_cell,
    short_cell,
    time_cell,
)
from residuum.reporting.figures import whole
from residuum.reporting.wording import NBSP, NONE, count, counted, isolated, percent, percent_figure, short


def view_trim(found: Trim) -> DepthView:
    """Work out everything the page says."""
    chosen, total = found.chosen, sum(found.whole.blocks) if found.whole else 0
    return DepthView(
        kind="trim",
        measured=found.measured,
        heading=f"{found.measured.model_name} with fewer blocks",
        headline=f"{chosen.removed} of {total}" if chosen else NONE,
        beside="blocks taken out" if chosen else "nothing chosen yet",
        verdict=_verdict(found),
        notes=_notes(found),
        title="What it costs and what it saves",
        lead="The dashed line marks the net that was chosen. Point at a chart to read its values.",
        charts=trim_charts(found),
        table=_table(found),
        how=_how(found),
        tiles=_tiles(found),
    )


def _how(found: Trim) -> list[tuple[str, object]]:
    asked = [(f"--{name.replace('_', '-')}", value) for name, value in found.asked.items()]
    return [
        ("shown to the net", found.measured.protocol),
        ("timed", found.latency_protocol or NONE),
        *asked,
        ("chosen", found.why or NONE),
    ]


# --- the sentence -------------------------------------------------------------------------------


def _verdict(found: Trim) -> str:
    """Say what is gone, what that does to accuracy and time, and what chance would have done."""
    if found.whole is None or found.chosen is None:
        done = counted(len(found.curve), "net")
        return f"This trim has not chosen a net: it was stopped, or is still going. {done} measured so far."
    parts = [_accuracy_words(found), *_speed_words(found), *_random_words(found)]
    return "; ".join(part for part in parts if part) + "."


def _accuracy_words(found: Trim) -> str:
    assert found.whole is not None
    assert found.chosen is not None
    before, after = percent(found.whole.accuracy), percent(found.chosen.recalibrated)
    repaired = found.repaired
    mended = (
        f" and {percent(repaired.validation_accuracy)} after {counted(repaired.epochs, 'epoch')} of repair"
        if repaired and repaired.validation_accuracy is not None
        else ""
    )
    name, pictures = isolated(found.measured.model_name), found.measured.pictures
    done = f"{counted(found.chosen.removed, 'block')} of {sum(found.whole.blocks)} taken out"
    return f"With {done}, {name} names {after} of {pictures} correctly after recalibration{mended}, {before} before"


def speed(found: Trim, point: Point, size: int) -> float | None:
    """Return how many times as fast as the whole net it is with `size` pictures at once."""
    before = found.whole.latency.get(size) if found.whole else None
    after = point.latency.get(size)
    return before / after if before and after else None


def _speed_words(found: Trim) -> list[str]:
    assert found.chosen is not None
    ratios = [(size, speed(found, found.chosen, size)) for size in found.batches]
    each = [f"{ratio:.2f} times as fast {_at_once(size)}" for size, ratio in ratios if ratio is not None]
    return [f"it is {' and '.join(each)}"] if each else []


def _at_once(size: int) -> str:
    return "with one picture" if size == 1 else f"with {size} at once"


def _random_words(found: Trim) -> list[str]:
    assert found.chosen is not None
    values = random_at(found, found.chosen.removed)
    if not values or not found.chosen.removed:
        return []
    return [f"as many blocks drawn at random leave {_spread(values)}"]


def _spread(values: list[float]) -> str:
    """Write "85.2 % on average (78.0–89.9 % over 5 draws)"."""
    if len(values) == 1:
        return f"{percent(values[0])} (one draw)"
    low, high = percent_figure(min(values)), percent(max(values))
    return f"{percent(mean(values))} on average ({low}–{high} over {len(values)} draws)"


# --- tiles and table ----------------------------------------------------------------------------


def _tiles(found: Trim) -> list[Tile]:
    if found.whole is None or found.chosen is None:
        return []
    before, after, pictures = found.whole, found.chosen, found.measured.pictures
    return [
        ("Accuracy before", percent(before.accuracy), f"of {pictures}"),
        ("After recalibration", percent(after.recalibrated), f"{percent(after.accuracy)} with BN as trained"),
        *_repair_tiles(found),
        *_random_tiles(found),
        *[_speed_tile(found, after, size) for size in found.batches],
        ("Multiply-adds", short(after.multiply_adds), _sizes(before, after)),
    ]


def _sizes(before: Point, after: Point) -> str:
    parameters = f"{short(after.parameters)} parameters, {short(before.parameters)} before"
    return f"{short(before.multiply_adds)} before; {parameters}"


def _repair_tiles(found: Trim) -> list[Tile]:
    repaired = found.repaired
    if repaired is None:
        return []
    after = percent(repaired.validation_accuracy)
    tiles = [("After repair", after, f"{counted(repaired.epochs, 'epoch')} of training")]
    if repaired.test_accuracy is not None:
        pictures = f"{count(repaired.test_images)} test pictures"
        before = (
            f"; {percent(repaired.original_test_accuracy)} before" if repaired.original_test_accuracy else ""
        )
        tiles.append(("Test, after repair", percent(repaired.test_accuracy), f"of {pictures}{before}"))
    return tiles


def _random_tiles(found: Trim) -> list[Tile]:
    assert found.chosen is not None
    values = random_at(found, found.chosen.removed)
    if not values or not found.chosen.removed:
        return []
    spread = f"{percent_figure(min(values))}–{percent(max(values))} over {counted(len(values), 'draw')}"
    return [("Random blocks instead", percent(mean(values)), f"mean, recalibrated; {spread}")]


def _speed_tile(found: Trim, after: Point, size: int) -> Tile:
    ratio = speed(found, after, size)
    before = found.whole.latency.get(size) if found.whole else None
    times = f"{milliseconds(after.latency.get(size))} instead of {milliseconds(before)}"
    name = "One picture" if size == 1 else f"{size} pictures at once"
    return name, f"{ratio:.2f}×" if ratio else NONE, f"as fast: {times}"


def _table(found: Trim) -> Table:
    times = [f"ms for {size}" for size in found.batches]
    chance = ["random"] if found.random else []
    heads = ["gone", "taken out", "recalibrated", "as trained", *chance, *times, "speed"]
    heads += ["depth", "parameters", "multiply-adds", "blocks left"]
    rows = [_table_row(found, *one) for one in zip(found.curve, random_means(found), strict=True)]
    lead = (
        f"Each line is the net with one block less; blocks have the names of the whole net.{_columns(found)}"
    )
    return Table("Which block went when", lead, heads, rows)


def _columns(found: Trim) -> str:
    chance = " Random: the mean of the draws, recalibrated." if found.random else ""
    fast = f" Speed: how many times as fast, {_at_once(found.batches[-1])}." if found.batches else ""
    return chance + fast


def _table_row(found: Trim, point: Point, chance: float | None) -> TableRow:
    ratio = speed(found, point, max(found.batches, default=0))
    cells = [
        share_cell(point.recalibrated),
        share_cell(point.accuracy),
        *([share_cell(chance)] if found.random else []),
        *[time_cell(point.latency.get(size)) for size in found.batches],
        (NONE if ratio is None else f"{ratio:.2f}×", ratio),
        count_cell(point.depth),
        short_cell(point.parameters),
        short_cell(point.multiply_adds),
        (", ".join(map(str, point.blocks)), float(sum(point.blocks))),
    ]
    name = point.deleted or ("–" if point.removed else "nothing yet")
    return TableRow(point.removed, name, cells, chosen=point is found.chosen)


# --- notes --------------------------------------------------------------------------------------


def _notes(found: Trim) -> list[str]:
    notes = [
        "The same validation pictures decided which blocks went and how many, so these figures flatter the smaller "
        "net a little: expect somewhat less on new pictures."
    ]
    images = whole(found.measured.data.get("images"))
    accuracy = found.whole.accuracy if found.whole else None
    if images and accuracy is not None:
        points = 196 * math.sqrt(accuracy * (1 - accuracy) / images)
        notes.append(
            f"{found.measured.pictures.capitalize()} leave an accuracy uncertain by about ±{points:.1f} points "
            f"(95{NBSP}%); between nets judged on the same pictures, differences are surer than that."
        )
    notes.append(
        "Each time, the block whose absence gives the lowest loss went, BN working with the statistics of each "
        "batch. Recalibrated: BN statistics measured anew on "
        "training pictures, nothing trained."
    )
    if found.random:
        notes.append(
            f"Random orders take out the same kinds of block, {counted(len(found.random), 'draw')}, and are "
            "recalibrated too; where few blocks are left to choose from, all orders meet."
        )
    if not found.batches:
        notes.append("The nets were not timed.")
    return notes
