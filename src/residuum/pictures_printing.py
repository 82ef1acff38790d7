"""What the command prints of pictures: what was found in them, and where they were packed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.console import one_line
from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.errors import PartlyDone, UserError, listed
from residuum.plain_data import quoted
from residuum.printing import print_json

if TYPE_CHECKING:
    from residuum.records.pack import Packed
    from residuum.records.review import Review
    from residuum.settings import ReviewSettings


def print_findings(settings: object, findings: dict[str, Any], json: bool) -> None:
    """Print what was found in a data set.

    Raises:
        UserError: no picture can be read, or (PartlyDone) some can not.
    """
    print_json(findings) if json else _print_found(findings)
    total = sum(split["pictures"] for split in findings["splits"].values())
    if shards := (findings["shards"] or {}).get("broken"):
        raise PartlyDone(
            f"{len(shards):,} of {findings['shards']['checked']:,} shards are broken",
            listed(one["name"] for one in shards),
        )
    if broken := sum(len(split["broken"]) for split in findings["splits"].values()):
        from residuum.data.look import MEND

        what = f"{broken:,} of {total:,} pictures cannot be read"
        raise (PartlyDone if broken < total else UserError)(what, "the reasons stand above", MEND)


def _print_found(findings: dict[str, Any]) -> None:
    for name, split in findings["splits"].items():
        uneven = f"the largest class {split['imbalance']:.3g} times the smallest"
        none = f", {split['shows_none']:,} of them show no class" if split["shows_none"] else ""
        print(f"{name:<11}{split['pictures']:,} pictures{none}, {uneven}")
        print(
            "".join(f"{'':<11}{count:>8,}  {one_line(label)}\n" for label, count in split["per_class"].items()), end=""
        )
    return print("\n".join(findings["problems"] or ["nothing wrong was found"]))


def print_packed(settings: object, packed: Packed, json: bool) -> None:
    """Print what was written."""
    if json:
        return print_json(packed)
    there = f", {packed.there:,} of them there before" if packed.there else ""
    print(f"packed   {packed.pictures:,} pictures, {packed.bytes / 1e6:,.1f} MB, in {packed.shards:,} shards{there}")
    return print(f"data     {packed.folder}")


REVIEWED = {
    "label": "perhaps under the wrong class",
    "copies": "the same picture, or nearly",
    "unlike": "like no other picture",
    "classes": "classes that cannot be told apart",
}
REVIEWED_OF_SEVERAL = {
    "label": "labels that are perhaps wrong, or missing",
    "copies": REVIEWED["copies"],
    "unlike": REVIEWED["unlike"],
}


def print_review(settings: ReviewSettings, found: Review, json: bool) -> None:
    """Print what to look at in a run's pictures, the surest of each kind, and where the rest is."""
    from residuum.data.misspelt import said_of_names
    from residuum.runs import REVIEW_TABLE

    if json:
        return print_json(found)
    print(f"pictures {found.pictures:,}, in all splits\nanswers  {found.answers}")
    for kind, words in (REVIEWED_OF_SEVERAL if found.several else REVIEWED).items():
        those = [one for one in found.findings if one.kind == kind]
        print(f"\n{words}: {len(those):,}{_to_look_at(found) if kind == 'label' and those else ''}")
        for one in those[:25]:
            print(f"  {', '.join(each.name for each in one.pictures)}  {one.reason}".replace("    ", "  "))
        if len(those) > 25:
            print(f"  {len(those) - 25:,} more in the table")
    if found.misspelt:
        print(f"\n{said_of_names(found.misspelt)}")
    print(f"\ntable    {Path(settings.run or '') / REVIEW_TABLE}")
    return print(f"next     residuum report {quoted(settings.run)}")


def _to_look_at(found: Review) -> str:
    """Say what the number of doubted labels is, and is not."""
    said = " to look at, the most doubtful first"
    if found.by_luck is None:
        return said
    return f"{said}; about {found.by_luck:,.0f} would be listed even if every label were right: the net is unsure there"
