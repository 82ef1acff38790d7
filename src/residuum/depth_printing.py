"""What the command prints of nets that were taken apart, by `lesion` and `trim`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.plain_data import quoted
from residuum.printing import print_json

if TYPE_CHECKING:
    from residuum.records.depth import Point, Trim
    from residuum.settings import LesionSettings, TrimSettings


def print_lesion(settings: LesionSettings, folder: Path, json: bool) -> None:
    """Print what is lost without each block, from a lesion's folder."""
    from residuum.records.codec import read_record
    from residuum.records.depth import Lesion
    from residuum.reporting.lesion_view import lines
    from residuum.runs import LESION, REPORT

    found = read_record(folder / LESION, Lesion)
    if json:
        return print_json(found)
    print("\n".join(lines(found)))
    print("trim     may begin with another block: it goes by the loss, BN working with each batch's statistics")
    print(f"report   {folder / REPORT}")
    return print(f"next     residuum trim {quoted(settings.model, settings.data)}")


def print_trim(settings: TrimSettings, folder: Path, json: bool) -> None:
    """Print what was taken out and what that cost, from a trim's folder."""
    from residuum.records.codec import read_record
    from residuum.records.depth import Trim
    from residuum.reporting.depth_view import noted
    from residuum.reporting.wording import counted
    from residuum.runs import MODEL, REPORT, TRIM

    found = read_record(folder / TRIM, Trim)
    if json:
        return print_json(found)
    assert found.chosen is not None
    whole, chosen = found.curve[0], found.curve[found.chosen.removed]
    print(f"blocks   {chosen.removed} of {sum(whole.blocks)} taken out: {found.chosen.why}")
    accuracy = f"{whole.accuracy:.2%} before, {found.after:.2%} after"
    if found.repaired and found.repaired.validation_accuracy is not None:
        accuracy += f", {found.repaired.validation_accuracy:.2%} repaired"
    now, then = chosen.mean_ap_with(recalibrated=found.recalibrated), whole.mean_ap
    print(f"accuracy {accuracy} ({found.data.images:,} {found.data.split} pictures)")
    if now is not None and then is not None:
        again = f", {found.repaired.mean_ap:.2%} repaired" if found.repaired and found.repaired.mean_ap else ""
        print(f"mean AP  {then:.2%} before, {now:.2%} after{again}: mean average precision over the labels")
    if found.repaired and not found.repaired.kept:
        print("kept     the unrepaired net: training on made it worse on these pictures")
    print(f"shown    {found.protocol}")
    for said in noted(found):
        print(said)
    print(f"after    {_after(found, chosen)}")
    if random := found.by_chance:
        print(f"random   {sum(random) / len(random):.2%} on average of {counted(len(random), 'random choice')}")
    for size in found.batches[-1:]:
        if not found.speeds_say_something:
            print(f"speed    not told: others were computing, threads waited {found.share_waited:.0%} of the time")
            continue
        print(f"speed    {found.speed(chosen, size):.2f} times as fast in batches of {size}")
    print(f"model    {folder / MODEL}\nreport   {folder / REPORT}")
    print(f"next     residuum evaluate {quoted(folder / MODEL, settings.data)}")
    return print(f"         residuum predict {quoted(folder / MODEL)} PICTURE...")


def _after(found: Trim, chosen: Point) -> str:
    """Say what became of BN in the chosen net."""
    if not chosen.removed:
        return "nothing is taken out: the model is the net as it was"
    if found.recalibrated:
        return "recalibrated: BN's statistics measured anew on training pictures, nothing trained"
    return f"BN as trained, which is better here than recalibrated ({chosen.accuracy_recalibrated:.2%})"
