"""What the command prints of models that come in or go out, by the verbs of outward_settings.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.console import say
from residuum.plain_data import command_line, quoted
from residuum.printing import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from residuum.data.preprocess import Preprocessing
    from residuum.exchange.export_weights import Exported
    from residuum.exchange.import_weights import Imported
    from residuum.exporting.export import ExportedModel
    from residuum.outward_settings import BenchSettings, ExportSettings, ImportSettings
    from residuum.publishing.publish import Published
    from residuum.records.engines import Agreement, EngineChoice, EngineTiming, Parity
    from residuum.records.weights import Fetched


def print_published(settings: object, found: Published, json: bool) -> None:
    """Print what was sent, or would be, and what was not."""
    if json:
        return print_json(found)
    for text in found.left_out:
        say(f"not sent: {text}")
    seen = "seen by everybody" if found.public else "private"
    print(f"{'would be' if found.dry_run else 'lies at':<9}{found.address}, {seen}")
    for file in found.files:
        there = ", was there already" if file.was_there else ""
        print(f"{'file':<9}{file.path}, {file.bytes:,} bytes, SHA-256 {file.sha256}{there}")
    if found.dry_run:
        return print(f"\n{found.card}")
    return print(f"next     residuum import {quoted(f'hf:{found.repository}')}")


def print_imported(settings: ImportSettings, imported: Imported, json: bool) -> None:
    """Say what had to be assumed, and print where the model is."""
    for sentence in imported.assumptions:
        say(f"assumed: {sentence}")
    if any(one.at_risk for one in imported.assumed):
        say("a wrong guess shows on pictures whose answers are known alone: judge it on some before you use it")
    if json:
        assumed = {
            "assumptions": imported.assumptions,
            "assumed": [name for one in imported.assumed for name in one.settings],
        }
        several = {"several": True} if imported.several else {}
        about = {"layout": imported.layout, **several, **assumed, "preprocessing": _shown(imported.preprocessing)}
        return print_json({"model": str(imported.path), **about, "net": imported.spec.as_json()})
    print(f"model    {imported.path}")
    widths = ", ".join(map(str, imported.spec.out_channels))
    size = f"{imported.spec.depth} layers, stages that give {widths} channels"
    size += f", {imported.parameters:,} parameters" * bool(imported.parameters)
    print(f"net      {size}, from the layout of {imported.layout}")
    if imported.several:
        print("labels   several a picture, or none: each is answered for itself")
    print(f"next     residuum train DATA --start {quoted(imported.path)}")
    if not imported.spec.num_classes:
        return None
    if imported.unnamed:
        from residuum.loading import how_to_name

        print("classes  have numbers for names: put their names into NAMES.txt, one a line, in this order")
        return print(f"next     {how_to_name(imported.path)}")
    print(f"next     residuum evaluate {quoted(imported.path)} DATA")  # it knows no pictures of its own
    print(f"         residuum bench {quoted(imported.path)} --data DATA")
    return print(f"         residuum export {quoted(imported.path)} --to onnx --data DATA")


def _shown(pictures: Preprocessing) -> dict[str, Any]:
    """Return how pictures are shown, in the terms of import's flags; no mean where it is a whole picture."""
    mean, std = ([round(float(one) / 255, 6) for one in colour.reshape(-1)] for colour in (pictures.mean, pictures.std))
    sizes = {"image_size": pictures.image_size, "resize_to": pictures.resize_to}
    return {**sizes, "interpolation": pictures.interpolation, "mean": mean if len(mean) == 3 else None, "std": std}


def print_weights(settings: object, found: list[dict[str, Any]], json: bool) -> None:
    """Print a line for each file of weights, those on this machine with a star."""
    if json:
        return print_json(found)
    print(f"{'name':<34}{'net':<18}{'MB':>6}{'top-1':>9}  {'licence':<14}{'SHA-256 begins':<16}from")
    for row in found:
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:,.0f}"
        top1 = "" if row["top1"] is None else f"{row['top1']:.2f} %"
        known = (row["checksum"] or "–")[:15]
        name = f"{'*' if row['here'] else ' '} {row['name']}"
        licence = row["licence"] or "not known"
        print(f"{name:<34}{row['net'] or '':<18}{size:>6}{top1:>9}  {licence:<14}{known:<16}{row['library']}")
    print(
        "\n* is on this machine. –: the hub tells it when the file is fetched. top-1: ImageNet's validation pictures,"
    )
    print("one crop of 224 px, as published; names of timm (with a dot) and OWNER/NAME of Hugging Face that are not")
    return print("listed can be fetched as well")


def print_fetched(settings: object, found: Fetched, json: bool) -> None:
    """Print what weights were fetched, what was checked, and what to do with them."""
    if json:
        return print_json(found)
    print(f"weights  {found.name}, licence: {found.licence or 'not known, see ' + found.source}")
    print(f"checked  {found.checked}; SHA-256 {found.sha256}")
    return print(f"next     residuum train PHOTOS --start {quoted(found.name)}")


def print_exported(settings: object, exported: Exported, json: bool) -> None:
    """Print where the weights are and how they are loaded."""
    if exported.lost:
        say(f"lost: {exported.lost}")
    if json:
        return print_json({"weights": str(exported.path), "how_to_load": exported.how_to_load})
    return print(f"weights  {exported.path}\nto load  {exported.how_to_load}")


def _agreement(found: Agreement) -> str:
    """Say in words how answers agree with the run's own."""
    what = f"the labels called of {found.pictures:,} pictures" if found.several else f"{found.pictures:,} answers"
    words = f"{found.same:.2%} of {what} stay, probabilities within {found.largest:.2g}"
    if found.accuracy is None or found.own_accuracy is None:
        return words
    right = f"{found.accuracy.value:.2%} ({found.accuracy.low:.1%} to {found.accuracy.high:.1%})"
    of = "likeliest label right" if found.several else "accuracy"
    return f"{words}, {of} {right}, own {found.own_accuracy.value:.2%}"


def _flattered(found: Parity) -> Iterator[str]:
    """Say that an accuracy is of pictures that were learnt, and name the better figure, where there is one."""
    if not found.seen or not any(each.accuracy for each in found.agreements):
        return
    from residuum.reporting.sentences import pictures_of

    pictures = max(each.pictures for each in found.agreements)
    which = "all of these pictures" if found.seen == pictures else f"{found.seen:,} of these {pictures:,} pictures"
    yield f"learnt   it was trained on {which}, which flatters both accuracies"
    if (run := found.judged) is not None:
        right = f"{run.top1.value:.2%} ({run.top1.low:.1%} to {run.top1.high:.1%})"
        yield f"judged   {right}, the run's own figure, of {pictures_of(run.images, run.split)}"


def print_export(settings: ExportSettings, found: ExportedModel, json: bool) -> None:
    """Print where an exported model lies and how its answers agree."""
    if json:
        from residuum.records.codec import to_json

        return print_json({"folder": str(found.path), **to_json(found.parity)})
    for each in found.parity.agreements:
        print(f"{each.precision:<9}{_agreement(each)}")
    for line in _flattered(found.parity):
        print(line)
    several = any(each.several for each in found.parity.agreements)
    what = "the labels called must stay" if several else "the likeliest classes must stay"
    print(f"bound    {found.parity.least_same:.1%} of {what}, on {found.parity.pictures}:")
    print("         each picture resized and cut by the file, held against the run's own answer to the square it cuts")
    print(f"folder   {found.path}")
    print(f"next     python {quoted(found.path / f'use_{settings.to}.py')} PICTURE")
    if settings.to != "torch":  # whose files residuum does not open
        print(
            f"         residuum serve {quoted(found.path)}\n         residuum predict {quoted(found.path)} PICTURE..."
        )
    return None


def print_bench(settings: BenchSettings, found: EngineChoice, json: bool) -> None:
    """Print how fast each engine is, how well it agrees and must, which is used, how sure that is, and how to choose
    otherwise."""
    if settings.forget:
        way = {"engine": found.engine, "precision": found.precision}
        return print_json({"forgotten": way}) if json else print(f"forgot   {' in '.join(way.values())}")
    if json:
        return print_json(found)
    from residuum.exporting.parity import LEAST_SAME, MOST_LOST

    sizes = sorted(found.timings[0].ms)
    heads = "".join(f"{f'batch {size}, ms (range)':>26}{'images/s':>10}" for size in sizes)
    print(f"{'engine':<13}{'precision':<10}{heads}  answers to {found.pictures}")
    for one in found.timings:
        speeds = "".join(f"{_with_range(one, size):>26}{_a_second(size, one.ms[size]):>10}" for size in sizes)
        words = one.refused or (_agreement(one.agreement) if one.agreement else "the run's own")
        print(f"{one.engine:<13}{one.precision:<10}{speeds}  {words}{_left(one, found)}")
    met = {one.precision for one in found.timings if one.agreement}
    bounds = ", ".join(f"{least:.1%} in {precision}" for precision, least in LEAST_SAME.items() if precision in met)
    if bounds:
        print(f"bound    answers that must stay: {bounds}; {MOST_LOST:.1%} of accuracy may go")
    print(f"used     {found.engine} in {found.precision}, {found.threads} threads")
    for line in _how_sure(settings, found):
        print(line)
    return None


def _with_range(one: EngineTiming, size: int) -> str:
    """Return the median ms of a batch, and the range over the rounds where there were several."""
    rounds = one.rounds.get(size, ())
    return f"{one.ms[size]:.1f}" + (f" ({min(rounds):.1f}–{max(rounds):.1f})" if len(rounds) > 1 else "")


def _a_second(size: int, ms: float) -> str:
    """Write the images answered in a second, with a decimal where they are few."""
    many = 1000 * size / ms
    return f"{many:.{0 if many >= 10 else 1}f}"


def _left(one: EngineTiming, found: EngineChoice) -> str:
    """Say of a way that fell far behind after how many rounds it was timed no further."""
    from residuum.records.engines import most_rounds

    rounds = max(map(len, one.rounds.values()), default=0)
    return f"; far behind, timed in {rounds} rounds" if 0 < rounds < most_rounds(found.timings) else ""


def _how_sure(settings: BenchSettings, found: EngineChoice) -> Iterator[str]:
    """Say how sure the choice is, what it replaces, and how to choose otherwise."""
    from residuum.exporting.deciding import AT_FIRST
    from residuum.machine import BUSY
    from residuum.records.engines import most_rounds

    used, allowed = found.used, {"float32", *settings.allow}
    able = [one for one in found.timings if one.refused is None]
    rounds = most_rounds(able)
    if rivals := [one for one in able if one.precision in allowed and one is not used]:
        won = used.won(rivals)
        sure = "" if won == rounds else f"; {rivals[0].called} comes near, another time it may be the fastest"
        yield f"sure     the fastest of {len(rivals) + 1} in {won} of {rounds} rounds{sure}"
    if found.stays:
        yield f"stays    {used.called}, as before: {found.stays}"
    if found.before and found.before != used.way:
        taken_back = f", taken back without --allow {found.before[1]}" * (found.before[1] not in allowed)
        yield f"before   {' in '.join(found.before)}{taken_back}"
    if (found.waited or 0) > BUSY:
        yield f"busy     others were computing, threads waited {found.waited:.0%} of the time: try anew when quiet"
    faster = next((one for one in able if one.precision not in allowed and 2 * one.won([used]) > rounds), None)
    if faster and faster.precision != "float32":
        often = f"in {faster.won([used])} of {rounds} rounds"
        yield f"faster   {faster.called}, {often}, which changes answers by more than rounding"
        yield f"to use   {command_line('bench', replace(settings, allow=(*settings.allow, faster.precision)))}"
    elif (found.engine, found.precision) != AT_FIRST:
        yield f"to undo  {command_line('bench', type(settings)(settings.model, forget=True))}"
