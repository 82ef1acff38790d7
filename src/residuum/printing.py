"""What the command prints: figures on stdout. The records are imported when there is one to print,
so that help is instant.
"""

from __future__ import annotations

import json as json_format
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum import chinese
from residuum.console import one_line, say
from residuum.console import put as print  # noqa: A004 - names may hold what steers a terminal
from residuum.errors import PartlyDone, UserError, listed
from residuum.plain_data import quoted

if TYPE_CHECKING:
    from residuum.prediction.answer import Answer, Unanswered
    from residuum.records.forecast import Forecast
    from residuum.records.machine import Machine
    from residuum.records.sweep import SweepRecord
    from residuum.settings import (
        PredictSettings,
        StudySettings,
        SweepSettings,
    )


SHOWN = 20
"""Differences of a sweep that are printed."""


def print_json(content: Any) -> None:
    """Print a record, or plain data, for scripts."""
    from residuum.records.codec import to_json

    print(json_format.dumps(to_json(content), ensure_ascii=False, indent=1))


def prints_path(what: str, text: str) -> Callable[[object, Path, bool], None]:
    """Return what prints where a result lies: {what: path} as JSON, or the text with it as {0}, {1} in a command."""

    def show(_settings: object, path: Path, json: bool) -> None:
        print_json({what: str(path)}) if json else print(text.format(path, quoted(path)))

    return show


def say_unread(unread: Sequence[str], done: int) -> None:
    """Say why pictures cannot be read; raise PartlyDone if others can, UserError if none can."""
    for text in unread:
        say(text)
    if unread:
        total = len(unread) + done
        raise (PartlyDone if done else UserError)(f"{len(unread):,} of {total:,} pictures could not be read")


# --- what came of each verb: for people, or as JSON ---------------------------------------------


def print_answers(settings: PredictSettings, answers: Iterator[Answer | Unanswered], json: bool) -> None:
    """Print a line for each picture, as soon as it is answered, unless it is in a file; say which were not.

    Raises:
        UserError: none was answered, or (PartlyDone) some were not.
    """
    from residuum.prediction.answer import Unanswered
    from residuum.prediction.writing import format_of, heading, line

    printed = settings.out is None
    if json and printed and settings.format not in {None, "jsonl"}:
        raise UserError(f"--json and --format {settings.format} contradict each other", "", "leave one out")
    form = "jsonl" if json and printed else format_of(settings.out, settings.format)
    top, several, named, bad = settings.top, False, Counter[str](), list[Unanswered]()
    for one in answers:
        if isinstance(one, Unanswered):
            bad.append(one)
            text = line(one, form, top, several=several) if form != "text" else ""
        else:
            if not named:
                top, several = min(top, len(one.classes)), one.several
                say(f"computed by {one.engine} in {one.precision}{_never_unsure(one)}")
            named["unsure" if one.unsure else one.best] += 1
            text = line(one, form, top, several=several)
        if printed:
            print((heading(form, top, several=several) if named.total() + len(bad) == 1 else "") + text, end="")
    if not printed:
        where = {"answers": str(settings.out), "answered": named.total()}
        print_json(where) if json else print(f"answers  {settings.out}, of {_counted(named, len(bad))}")
    if settings.sort_into and named:
        say(f"copied   into {settings.sort_into}: {_folders(named)}")
    if len(bad) == 1 and not named:
        raise bad[0].error
    say_unread([f"not answered: {one.picture}: {one.why}" for one in bad], named.total())


def _counted(named: Counter[str], bad: int) -> str:
    return f"{named.total():,} of {named.total() + bad:,} pictures" if bad else f"{named.total():,} pictures"


def _folders(named: Counter[str]) -> str:
    """Say how many pictures were given each answer, the commonest ten."""
    some = ", ".join(f"{count:,} {one_line(name)}" for name, count in named.most_common(10))
    return some + (f", and {len(named) - 10:,} answers more" if len(named) > 10 else "")


def _never_unsure(one: Answer) -> str:
    if one.distance is not None:
        return ""
    when = 'never says "unsure"' if one.at_least is None else 'says "unsure" by --at-least alone'
    return f"; it {when}: it does not know which pictures it was trained on"


def print_study(settings: StudySettings, found: list[dict[str, Any]], json: bool) -> None:
    """Print the list of studies, or what those that were run answered."""
    from residuum.records.codec import read_record
    from residuum.records.study import StudyRecord
    from residuum.runs import REPORT, STUDY

    if json:
        return print_json([{name: value for name, value in study.items() if name != "folder"} for study in found])
    if settings.list:
        for row in found:  # a star where a study can examine a given model
            minutes = f"{row['minutes']:.2g} min"
            print(f"{row['name']:<20}{'*' if row['examines'] else ' '}{minutes:>9}  {row['question']}")
        said = chinese.said if chinese.is_wanted() else str
        print(said("\nmin: of one core, at scale quick with three seeds, where it was measured"))
        return print(said("* takes --model, a run or model file of your own"))
    for folder in (Path(study["folder"]) for study in found):
        study = read_record(folder / STUDY, StudyRecord)
        answer = f"what was found in {study.examined}" if study.examined else f"{study.answer} at scale {study.scale}"
        on = f", {study.pictures}" if study.pictures else ""
        print(f"{study.name:<20}{answer}{on}")
        for line in filter(None, [study.only_tiny, study.measured.en, study.lacking and study.why, folder / REPORT]):
            print(f"{'':<20}{line}")
    if found:
        print(f"index    {Path(settings.out) / 'index.html'}")
    return None


def print_sweep(settings: SweepSettings, folder: Path, json: bool) -> None:
    """Print a line for each combination: its accuracy with its spread, what it costs, where it stands.

    Raises:
        UserError: all runs failed, or (PartlyDone) some did.
    """
    from residuum.records.codec import read_record
    from residuum.records.sweep import SweepRecord
    from residuum.reporting.sweep_view import COSTS, named, written
    from residuum.runs import REPORT, SWEEP

    found = read_record(folder / SWEEP, SweepRecord)
    if json:
        print_json(found)
    else:
        wide = max(18, len(found.figure))
        print(f"{found.figure:>{wide}}{'n':>4}{COSTS[found.cost]:>31}  {'front':<7} settings")
        for one in found.combinations:
            accuracy = str(one.accuracy) if one.accuracy else "–"
            done, cost = len(one.runs), written(one.cost(found.cost), found.cost)
            print(f"{accuracy:>{wide}}{done:>4}{cost:>31}  {one.standing or '–':<7} {one_line(named(one))}")
        _print_differences(found)
        print(f"report   {folder / REPORT}")
    lost = [one for combination in found.combinations for one in combination.failed]
    if lost:
        every = len(lost) + sum(len(one.runs) for one in found.combinations)
        what = f"{len(lost):,} of {every:,} runs failed: {listed((one.run for one in lost), 5)}"
        raise (PartlyDone if len(lost) < every else UserError)(what, lost[0].why, "the same command tries them again")


def _print_differences(sweep: SweepRecord) -> None:
    """Print how many differences between settings are more than luck, and the clearest."""
    from residuum.reporting.sweep_view import between, points

    if sweep.told:
        print(f"\n{sweep.told} 95 % intervals; Holm's correction for all of them.")
    clearest = sorted(sweep.differences, key=lambda one: (one.holm is None, one.holm or 0.0, one.p or 0.0))
    for one in clearest[:SHOWN]:
        (mean, interval), words = points(one), ", ".join(filter(None, between(one)))
        print(f"{mean:>8} points ({interval}), {one.verdict}  {one_line(words)}")
    if len(clearest) > SHOWN:
        print(f"{len(clearest) - SHOWN:,} more are on the page")


def print_machine(settings: object, found: Machine, json: bool) -> None:
    """Print what a machine is, how long each way of computing took on it, and which is used."""
    if json:
        return print_json(found)
    from residuum.machine import BUSY

    here = found.environment
    print(f"machine  {here.processor}, {here.cores} cores, {here.system}; torch {here.torch}")
    print(f"devices  {', '.join(found.devices)}")
    print(f"kernels  {'compiled' if found.kernels else 'none: torch computes all'}")
    print("timed    each way on one thread, in processor time; then the best by threads, on the clock: two scales")
    for clock, timings in (("processor", found.measured.ways), ("clock", found.measured.by_threads)):
        for one in timings:
            print(f"{one.ms:>18,.1f} ms  {clock:<9}  cpu, {one.precision}, {one.layout}, threads: {one.threads}")
    if found.measured.waited > BUSY:
        print(f"busy     others were computing ({found.measured.waited:.0%} waited): threads will be timed again")
    return print(f"used     {found.device}, {found.precision}, {found.layout}, {found.threads} threads")


def print_forecast(settings: object, found: Forecast, json: bool) -> None:
    """Print what a run will cost, and what the figures rest on."""
    from residuum.records.codec import to_json

    if json:
        return print_json({**to_json(found), "total_s": found.seconds.total})
    where = found.on if found.devices == 1 else f"{found.on}, {found.devices} devices"
    print(f"on       {one_line(where)}: {found.images_per_s:,.4g} images/s in training")
    parts = to_json(found.seconds)
    print(
        f"time     {_lasts(found.seconds.total)}: {', '.join(f'{part} {_lasts(s)}' for part, s in parts.items() if s)}"
    )
    none = f"not measured: {found.joules_of}"
    energy = none if found.joules is None else f"{found.joules / 3.6e6:,.3g} kWh, {found.joules_of}"
    print(f"energy   {energy}")
    print(f"memory   {_bytes(found.memory)} at the most{_of(found.memory_there, 'there are')}")
    disk = found.disk
    kept = f"{_bytes(disk.run)} in the end, {_bytes(disk.checkpoints)} for checkpoints on the way"
    print(f"disk     {kept}, {_bytes(disk.cache)} in the cache{_of(disk.free, 'free')}")
    print(f"saves    {found.checkpoints:,} times, a checkpoint of {_bytes(found.checkpoint_bytes)}")
    each = sum(found.a_picture.values())
    shares = ", ".join(f"{part} {1000 * s:,.3g} ms ({s / each:.0%})" for part, s in found.a_picture.items() if s)
    print(f"slowest  {found.bottleneck}; a picture takes, each alone: {shares}")
    for assumption in found.assumptions:
        print(f"assumed  {one_line(assumption)}")
    if found.memory_there and found.memory > found.memory_there:
        say("note: that is more memory than there is: a smaller --batch-size or --image-size, or --checkpointing")
    return None


def _lasts(seconds: float) -> str:
    """Say a time with its largest unit that is above one."""
    for unit, name in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:,.3g} {name}"
    return f"{seconds:,.2g} s"


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.3g} GB" if count >= 1e9 else f"{count / 1e6:,.3g} MB"


def _of(count: int | None, words: str) -> str:
    return f" ({_bytes(count)} {words})" if count else ""
