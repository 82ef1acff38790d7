"""The verb `sweep`: every combination trained with every seed, judged, and written down for the report.

Runs lie below OUT/runs/, called after what decides them: sweeps share them, and the same command goes on.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

from residuum import machine, runs
from residuum.apart import refuse_below
from residuum.console import say
from residuum.data.contract import ColumnNames
from residuum.dispatch.job import is_finished, open_pictures_of, run_folder
from residuum.dispatch.train_all import train_all
from residuum.errors import UserError
from residuum.plain_data import as_json, explicit, flag, read_off
from residuum.records.codec import read_record, write_record
from residuum.records.evaluation import headline
from residuum.records.study import Quantity
from residuum.records.sweep import Combination, Failed, SweepRecord, figure
from residuum.setting_parts import WhereTrained
from residuum.settings import SweepSettings, TrainSettings
from residuum.studies.frame import quantity
from residuum.sweeps.differences import Seen, differences
from residuum.sweeps.front import standings
from residuum.sweeps.grid import axes, combinations

FOLDER = "sweeps"
FORWARD_AND_BACK = 3
"""A training step's multiply-adds, in those of a forward pass: the gradients of input and weights cost one each."""


def sweep(settings: SweepSettings) -> Path:
    """Train every combination with every seed that is not there yet; return the folder, which holds sweep.json.

    A run that fails is named in it, and hinders no other.

    Raises:
        UserError: a setting, the data or the engine are wrong.
        Stopped: a signal came; what was trained is kept, and the same command goes on. Planned: --dry-run.
    """
    base, varied = _base(settings), axes(settings.over)
    home = Path(settings.out or FOLDER)
    if Path(str(base.data)).is_dir():
        refuse_below(home, str(Path(str(base.data)).resolve()))
    seeds = range(settings.seed, settings.seed + settings.seeds)
    wanted = {
        (place, seed): replace(base, **{name: varied[name][value] for name, value in values.items()}, seed=seed)
        for place, values in enumerate(combinations(varied))
        for seed in seeds
    }
    folders = {key: run_folder(home, one) for key, one in wanted.items()}
    missing = {folders[key]: one for key, one in wanted.items() if not is_finished(folders[key])}
    say(f"{len(wanted)} runs: {len(combinations(varied))} combinations, {len(seeds)} seeds; {len(missing)} to train")
    faults = _trained(missing, WhereTrained(**read_off(WhereTrained, settings)))
    found = [
        _judged(values, {seed: folders[place, seed] for seed in seeds}, faults)
        for place, values in enumerate(combinations(varied))
    ]
    folder = _folder(home / _name(base, varied), seeds)
    write_record(folder / runs.SWEEP, _record(settings, base, varied, found))
    return folder


def _pictures(base: TrainSettings) -> str:
    """Return what the data set is called."""
    return open_pictures_of(str(base.data), ColumnNames.told(base)).name


def _base(settings: SweepSettings) -> TrainSettings:
    """Return what does not vary (UserError where a run would be gone on with)."""
    if settings.resume is not None:
        raise UserError("a sweep has no run to --resume", "the same command goes on with all of them", "leave it out")
    return replace(
        TrainSettings(**{**read_off(TrainSettings, settings), "data": settings.data or "digits", "out": None}), seed=0
    )


def _trained(missing: Mapping[Path, TrainSettings], where: WhereTrained) -> dict[str, UserError]:
    """Train what is missing; return what went wrong, by the run's name."""
    faults = dict[str, UserError]()
    if not missing:
        return faults
    with closing(train_all(missing, where, machine.cores())) as ending:
        for ended in ending:
            if ended.fault is not None:
                say(str(ended.fault))
                faults[ended.folder.name] = ended.fault
    return faults


# --- what came of it ----------------------------------------------------------------------------


class _Judged(NamedTuple):
    """A combination with the figures of its runs, the splits they are of, whether of several labels a picture; and its
    figures in per cent by seed."""

    combination: Combination
    splits: set[str]
    several: bool
    by_seed: dict[int, float]


def _judged(values: dict[str, str], folders: Mapping[int, Path], faults: Mapping[str, UserError]) -> _Judged:
    ended = {seed: runs.read_run(folder) for seed, folder in folders.items() if is_finished(folder)}
    done = list(ended.values())
    failed = tuple(
        Failed(folder.name, seed, _in_words(faults.get(folder.name)))
        for seed, folder in folders.items()
        if not is_finished(folder)
    )
    judged = {seed: one for seed, run in ended.items() if (one := accuracy(run)) is not None}
    by_seed = {seed: 100 * value for seed, (value, _) in judged.items()}
    tested = [headline(run.evaluation).value for run in done if run.evaluation and run.evaluation.split == "test"]
    what = figure(several=(several := any(run.several for run in done)))
    cost = done[0].settings.summary if done else None
    combination = Combination(
        values=values,
        runs=tuple(run.path.name for run in done),
        failed=failed,
        accuracy=_figure(what, list(by_seed.values()), "%"),
        test=_figure(f"test {what}", [100 * value for value in tested], "%"),
        seconds=_figure("training", [sum(line.seconds for line in run.epochs) for run in done if run.epochs], "s"),
        training=_multiply_adds(done[0]) if done else None,
        inference=cost.multiply_adds if cost else None,
        parameters=cost.parameters if cost else None,
    )
    return _Judged(combination, {split for _, split in judged.values()}, several, by_seed)


def _in_words(fault: UserError | None) -> str:
    said = f"{fault.what}: {fault.why or fault.mend}" if fault else "it was not trained"
    return " ".join(said.split())


def accuracy(run: runs.RunRecord) -> tuple[float, str] | None:
    """Return the share called right, or of several labels a picture the mean average precision, and of which split: of
    validation pictures where there are any, so that those of the test do not choose."""
    last = run.epochs[-1] if run.epochs else None
    kept = (last.validation_map if run.several else last.validation_accuracy) if last else None
    if kept is not None:
        return kept, "validation"
    return None if run.evaluation is None else (headline(run.evaluation).value, run.evaluation.split)


def _figure(label: str, values: Sequence[float], unit: str) -> Quantity | None:
    return quantity(label, values, unit) if values else None


def _multiply_adds(run: runs.RunRecord) -> float | None:
    """Return those of the whole training; None of one without passes, as a head's is."""
    if not run.epochs or run.data is None:
        return None
    return float(FORWARD_AND_BACK * run.settings.summary.multiply_adds * run.data.counts.train * run.epochs[-1].epoch)


def _record(
    settings: SweepSettings,
    base: TrainSettings,
    varied: Mapping[str, Mapping[str, Any]],
    judged: Sequence[_Judged],
) -> SweepRecord:
    found, splits = [one.combination for one in judged], set[str]().union(*(one.splits for one in judged))
    several = any(one.several for one in judged)
    placed = [one for one in found if one.accuracy is not None and one.cost(settings.cost) is not None]
    points = [(one.cost(settings.cost) or 0.0, one.accuracy) for one in placed if one.accuracy is not None]
    over = {name: tuple(values) for name, values in varied.items()}
    seen = [Seen(one.combination.values, one.by_seed) for one in judged]
    standing = {id(one): where for one, where in zip(placed, standings(points), strict=True)}
    return SweepRecord(
        kind="sweep",
        data=_pictures(base),
        command=command(settings),
        over=over,
        seeds=tuple(range(settings.seed, settings.seed + settings.seeds)),
        cost=settings.cost,
        several=several,
        judged_on=min(splits) if len(splits) == 1 else None,  # type: ignore[arg-type]
        settings=explicit(base),
        combinations=tuple(structs.replace(one, standing=standing.get(id(one))) for one in found),
        notes=tuple(_notes(settings, found, placed, splits, several=several)),
        environment=machine.environment(),
        differences=() if len(splits) > 1 else differences(over, seen),
    )


def _notes(
    settings: SweepSettings,
    found: Sequence[Combination],
    placed: Sequence[Combination],
    splits: set[str],
    *,
    several: bool,
) -> list[str]:
    notes = list[str]()
    what, best = ("Figures", "the best figure") if several else ("Accuracies", "the best accuracy")
    if len(splits) > 1:
        notes.append(f"{what} are of different splits ({', '.join(sorted(splits))}) and do not compare.")
    if splits == {"test"}:
        notes.append(f"No pictures were kept aside: the test pictures chose, so that {best} is flattered.")
    elif len(found) > 1:
        notes.append(
            f"The best of {len(found)} was chosen by the same pictures that judge it, which flatters it a little; "
            f"test {what.lower()} chose nothing."
        )
    if settings.seeds == 1:
        notes.append("One seed says nothing of the spread: differences may be luck.")
    if unplaced := sum(one.accuracy is not None for one in found) - len(placed):
        notes.append(f"Of {unplaced} the cost ({settings.cost}) is not known: they are not held against the others.")
    return notes


def _name(base: TrainSettings, varied: Mapping[str, Mapping[str, Any]]) -> str:
    """Name a sweep by what decides it, but for its seeds: more of them go on with it."""
    deciding = json.dumps([explicit(base), {name: list(values) for name, values in varied.items()}], default=str)
    digest = hashlib.sha256(deciding.encode()).hexdigest()[:8]
    words = [_pictures(base), *(name.replace("_", "-") for name in varied)]
    return "-".join([*words, digest])


def _folder(usual: Path, seeds: range) -> Path:
    """Return the usual folder, or one of its own where the sweep that lies there has seeds that are not asked for."""
    if (usual / runs.SWEEP).exists() and not set(read_record(usual / runs.SWEEP, SweepRecord).seeds) <= set(seeds):
        return usual.with_name(f"{usual.name}-seeds-{seeds[0]}-to-{seeds[-1]}")
    return usual


def command(settings: SweepSettings) -> str:
    """Return the line that repeats the sweep, wherever it was trained."""
    elsewhere = {field.name for field in fields(WhereTrained)}
    words, given = ["residuum", "sweep"], explicit(settings)
    for name in [name for name in given if name not in elsewhere]:
        value = as_json(settings)[name]
        words += [] if name == "data" else [flag(f"no_{name}" if value is False else name)]
        words += [] if isinstance(value, bool) else map(str, value if isinstance(value, list) else [value])
    return shlex.join(words)
