"""What the command prints: figures on stdout, settings on stderr."""

import json as json_format
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from residuum.console import say
from residuum.records.depth import Lesion, Trim
from residuum.records.evaluation import Figures
from residuum.runs import REPORT


def say_settings(verb: str, settings: Any) -> None:
    """Print what the verb will work with, so that it can be repeated."""
    named = [(field.name, getattr(settings, field.name)) for field in fields(settings)]
    say(f"{verb}: " + ", ".join(f"{name} {value}" for name, value in named if value not in {None, ()}))


def print_json(content: Any) -> None:
    """Print for scripts."""
    print(json_format.dumps(content, ensure_ascii=False, indent=1))


def print_figures(figures: Figures | None) -> None:
    """Print how a net was judged, and the figures with their intervals."""
    if figures is None:
        return
    print(f"judged   {figures.images:,} {figures.split} pictures, {figures.protocol}")
    for label, one in (
        ("top-1", figures.top1),
        ("top-5", figures.top5),
        ("macro F1", figures.macro_f1),
        ("ECE", figures.ece),
    ):
        if one is not None:
            print(f"{label:<9}{one.value:.2%}  (95 % interval {one.low:.2%} to {one.high:.2%})")


def print_findings(findings: dict[str, Any]) -> None:
    """Print what was found in a data set."""
    for name, split in findings["splits"].items():
        print(f"{name:<11}{split['pictures']:,} pictures")
    for problem in findings["problems"] or ["nothing wrong was found"]:
        print(problem)


def print_lesion(found: Lesion, report: Path) -> None:
    """Print the blocks that matter most and least."""
    print(f"intact   {found.intact.accuracy:.2%} of {found.data.images:,} {found.data.split} pictures")
    for row in sorted(found.blocks, key=lambda row: row.loss or 0.0, reverse=True):
        if (lost := found.lost(row)) is not None:
            print(f"{row.name:<20}{0 - lost:+8.2f} points without it")
    print(f"report   {report}")


def print_trim(found: Trim, model: Path, report: Path) -> None:
    """Print what was taken out and what that cost."""
    assert found.chosen is not None
    whole, chosen = found.curve[0], found.curve[found.chosen.removed]
    print(f"blocks   {chosen.removed} of {sum(whole.blocks)} taken out: {found.chosen.why}")
    accuracy = f"{whole.accuracy:.2%} before, {chosen.accuracy_recalibrated:.2%} after"
    if found.repaired and found.repaired.validation_accuracy is not None:
        accuracy += f", {found.repaired.validation_accuracy:.2%} repaired"
    print(f"accuracy {accuracy} ({found.data.images:,} {found.data.split} pictures)")
    random = [draw.accuracy_recalibrated[chosen.removed] for draw in found.random]
    if random:
        print(f"random   {sum(random) / len(random):.2%} on average of {len(random)} random choices")
    for size in found.batches[-1:]:
        print(f"speed    {found.speed(chosen, size):.2f} times as fast in batches of {size}")
    print(f"model    {model}\nreport   {report}")


def print_models(rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each net: for one picture, and what its activations take in a training step."""
    print(
        f"{'model':<22}{'depth':>6}{'shortcut':>9}{'parameters':>13}{'multiply-adds':>16}{'px':>5}{'classes':>8}"
        f"{'activations, batch':>21}   published top-1 error"
    )
    for row in rows:
        memory = row["activation_bytes"]
        held = "" if memory is None else f"{memory / 2**30:,.2f} GiB, {row['batch']}"
        print(
            f"{row['model']:<22}{row['depth']:>6}{row['shortcut']:>9}{row['parameters']:>13,}"
            f"{row['multiply_adds']:>16,}{row['image_size']:>5}{row['classes']:>8}{held:>21}   {_published(row)}"
        )


def print_studies(rows: Sequence[dict[str, Any]]) -> None:
    """Print each study and its question; a star where it can examine a given model."""
    for row in rows:
        print(f"{row['name']:<20}{'*' if row['examines'] else ' '} {row['question']}")
    print("\n* takes --model, a run or model file of your own")


def print_verdicts(found: Sequence[dict[str, Any]], folders: Sequence[Path], index: Path) -> None:
    """Print what each study answered."""
    for study, folder in zip(found, folders, strict=True):
        print(f"{study['name']:<20}{study['verdict']['answer']} at scale {study['scale']}")
        print(f"{'':<20}{study['measured']['en']}")
        print(f"{'':<20}{folder / REPORT}")
    print(f"index    {index}")


def _published(row: dict[str, Any]) -> str:
    """The first figure and where it is from; --json has them all."""
    if not row["published"]:
        return ""
    first = row["published"][0]
    return f"{first['top1_error']:g} %, {first['data']}, {first['protocol']}; {first['source']}"
