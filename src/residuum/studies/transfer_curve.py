"""How many pictures a class it takes: accuracy on classes that a net has not learnt, by how it is put to use on them.

Part of the study transfer, whose verdict does not depend on it. Each way is an ordinary run of `residuum train` on the
same pictures, judged on the same others.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from msgspec import structs

from residuum.choices import Scale
from residuum.data.contract import ImageData
from residuum.records.study import Lines, Quantity, Table, Words
from residuum.runs import MODEL
from residuum.settings import TrainSettings
from residuum.studies.charts import lines_by
from residuum.studies.frame import Setup, quantity
from residuum.studies.some_classes import folder_of_rows, rows_of
from residuum.studies.trained import test_error, trained
from residuum.studies.verdict import Quantities

WAYS: dict[str, dict[str, Any]] = {"nothing": {}, "head": {"tune": "head"}, "all": {"recipe": "fine_tune"}}
"""What `residuum train` is told about the trained net; nothing: it begins with a new one. Another way is a row here and
its words below; --tune last would take several times as long, as it also tunes a net for each fold."""
SAID = {"nothing": "from nothing", "head": "the last layer alone", "all": "everything tuned"}
STARTS: dict[Scale, tuple[str, ...]] = {
    "tiny": ("resnet20",),
    "quick": ("resnet20", "resnet56"),
    "full": ("resnet20", "resnet56"),
}
"""The trained nets that are put to use: a shallow one and a deep one."""
LEARNT: dict[Scale, dict[str, Any]] = {"tiny": {}, "quick": {"recipe": "quick", "epochs": 6}, "full": {}}
"""How these learn their classes, beside what the study's other nets are told: two passes make poor features."""
ALL = 1_000_000
AMOUNTS: dict[Scale, tuple[int, ...]] = {"tiny": (5,), "quick": (5, 10, 20, 50, ALL), "full": (5, 10, 20, 50, ALL)}
"""Pictures of each class; ALL: as many as there are."""
FEW = 20
"""Pictures of each class at which new nets and new last layers are compared in words; or the fewest."""
SEEN: dict[Scale, int] = {"tiny": 100, "quick": 10_000, "full": 100_000}
"""Pictures that a new net's steps see, each pass counted, and a tuned net's half as many; or those of two passes."""
SettingsOf = Callable[[str, str, int], TrainSettings]
"""How the study's nets learn, by folder, name and seed."""


def measure_curve(
    setup: Setup, data: ImageData, learned: str, classes: Sequence[str], held: int, settings_of: SettingsOf
) -> dict[str, Quantity]:
    """Return accuracies in per cent, "NET-WAY-AMOUNT", and what the head has over a new net, "NET-gain-AMOUNT".

    The starting nets learn what the folder `learned` holds. `held` pictures of each of the other `classes` are kept to
    judge by.

    Raises:
        UserError, Stopped: as `trained`.
    """
    scale, each_net = setup.scale, list(product(STARTS[setup.scale], setup.seeds))
    starting = [replace(settings_of(learned, net, seed), **LEARNT[scale]) for net, seed in each_net]
    starts = dict(zip(each_net, trained(setup, starting), strict=True))
    wanted: dict[tuple[str, str, int], list[TrainSettings]] = {}
    for amount, (net, seed) in product(AMOUNTS[scale], each_net):
        rows = rows_of(data, classes, (amount, amount, held), seed)
        folder = str(folder_of_rows(data, {"train": rows.few, "test": rows.held}, setup.folder / "data"))
        passes = max(2, SEEN[scale] // len(rows.few))
        new = replace(settings_of(folder, net, seed), recipe="quick", epochs=passes, validation=0.0)
        for way in WAYS:
            asked = new if way == "nothing" else _tuned(new, way, str(starts[net, seed].path / MODEL))
            wanted.setdefault((net, way, len(rows.few) // len(classes)), []).append(asked)
    done = iter(trained(setup, [one for asked in wanted.values() for one in asked]))
    shares = {key: [100 - test_error(next(done)) for _ in asked] for key, asked in wanted.items()}
    found = {
        f"{net}-{way}-{each}": quantity(f"{net}, {SAID[way]}, {each} pictures a class", values, "%")
        for (net, way, each), values in shares.items()
    }
    for net, way, each in shares:
        if way == "head":
            gains = np.subtract(shares[net, "head", each], shares[net, "nothing", each]).tolist()
            label = f"{net}, the last layer alone less from nothing, {each} pictures a class"
            found[f"{net}-gain-{each}"] = quantity(label, gains, "points")
    return found


def _tuned(new: TrainSettings, way: str, start: str) -> TrainSettings:
    """Return how the net at `start` is put to use on what `new` would learn."""
    course: dict[str, Any] = {} if way == "head" else {"epochs": max(2, (new.epochs or 0) // 2), "flip": new.flip}
    return TrainSettings(new.data, start=start, seed=new.seed, validation=0.0, **course, **WAYS[way])


# --- what is shown ------------------------------------------------------------------------------


def _amounts(found: Quantities) -> list[int]:
    return sorted({int(name.rpartition("-")[2]) for name in found})


def curve_charts(found: Quantities, nets: Sequence[str]) -> tuple[Lines, ...]:
    """Return a chart for each starting net."""
    charts = []
    for net in nets:
        named = {SAID[way]: {each: f"{net}-{way}-{each}" for each in _amounts(found)} for way in WAYS}
        title = f"Other classes, from {net}: accuracy by pictures a class"
        lines = lines_by(title, "pictures of each class", "accuracy, %", found, named)
        charts.append(structs.replace(lines, log_x=True, intervals=True))
    return tuple(charts)


def curve_table(found: Quantities, nets: Sequence[str]) -> Table:
    """Return a row for each net and way, a column for each number of pictures."""
    rows = [
        (net, SAID[way], *(str(found[f"{net}-{way}-{each}"]) for each in _amounts(found)))
        for net in nets
        for way in WAYS
    ]
    heads = ("net", "what is trained", *(f"{each} a class" for each in _amounts(found)))
    return Table("Accuracy on the other classes by pictures of each", heads, tuple(rows))


def curve_words(found: Quantities, net: str) -> Words:
    """Return what few pictures a class give with a net's features and without, in one sentence."""
    few = FEW if FEW in _amounts(found) else _amounts(found)[0]
    head, nothing, gain, tuned = (found[f"{net}-{way}-{few}"] for way in ("head", "nothing", "gain", "all"))
    return Words(
        f"With {few} pictures of each such class, a new last layer on {net} reaches {head}, a new net {nothing} "
        f"({gain} between them), {net} tuned as a whole {tuned}.",
        f"每个新类别只有 {few} 张图片时，在 {net} 上只训练新的最后一层可达 {head}，从零训练的网络为 {nothing}"
        f"（相差 {gain}），整体微调 {net} 为 {tuned}。",
    )


def curve_notes(setup: Setup) -> tuple[str, ...]:
    """Return what a reader of the curve should know."""
    return (
        "Pictures a class: each point of the curve is an ordinary run on so many, drawn anew with each seed; the fewer "
        "are among the more. All runs of a seed are judged on the same held-out pictures. " + _learnt(setup),
        f"From nothing (recipe quick) a net sees {SEEN[setup.scale]:,} pictures in its steps, each pass counted, tuned "
        "(fine_tune) half as many; or those of two passes, if they are more. The last layer alone is a logistic "
        "regression on features of the frozen net.",
    )


def _learnt(setup: Setup) -> str:
    told = LEARNT[setup.scale]
    if not told:
        return "The starting nets are the study's own."
    return f"The starting nets have learnt for {told['epochs']} passes with recipe {told['recipe']}."
