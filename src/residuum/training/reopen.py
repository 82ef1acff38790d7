"""Going on with a run that stopped: resolved again from what it wrote down, and its data are the same."""

from dataclasses import replace
from pathlib import Path

from msgspec import structs

from residuum import runs
from residuum.console import say
from residuum.data.cache import fingerprint
from residuum.data.contract import ImageData
from residuum.data.split import ValidationCut
from residuum.errors import UserError, listed
from residuum.plain_data import explicit, flag, quoted
from residuum.records.codec import read_record, write_record
from residuum.records.run import Data, SplitRows
from residuum.settings import TrainSettings
from residuum.training.binding import own_settings, refuse_other_shards, shards_digest
from residuum.training.resolve import Resolved, resolve


def reopen(settings: TrainSettings) -> Resolved:
    """Resolve a stopped run again from what it wrote down, and check that its data, wherever they lie, are the same;
    nothing is written.

    Raises:
        UserError: not a run; already finished; its settings were edited, or others were given, besides the data's
            place; the data are gone, have changed, or nothing is known of them; or other pictures, or shards in another
            order, than it began with.
    """
    assert settings.resume is not None
    run = Path(settings.resume)
    record = runs.read_begun(run)
    again = own_settings(run, record.settings)
    own = {**vars(again), "out": settings.out if Path(settings.out or "") == run else None}
    asked_for = {name: one for name, one in explicit(settings).items() if name not in {"resume", "data", "skip_broken"}}
    if others := sorted(flag(name) for name, one in asked_for.items() if one != own[name]):
        why = f"otherwise than the run has it: {', '.join(others)}, as a flag or in --config"
        raise UserError("a run is continued with its own settings", why, f"residuum train --resume {quoted(run)}")
    refuse_finished(run)
    if record.data is None:
        raise UserError(
            f"there is no {run / runs.DATA}", "whether the data are still the same cannot be told", "bring it back"
        )
    again = replace(again, skip_broken=again.skip_broken or settings.skip_broken)
    if again.start is not None:  # the run's own copy stands in for the original
        again = replace(again, start=str(run / runs.START))
    again = replace(again, data=settings.data or _there(run, record.data.source))
    resolved = replace(resolve(again), called=str(record.settings.resolved.get("model") or ""))
    if fingerprint(resolved.data) != record.data.fingerprint:
        raise _other_data(run, record.data, resolved.data)
    _refuse_other_rows(run / runs.SPLIT, resolved.cut)
    refuse_other_shards(run, record.data.shards, shards_digest(resolved.settings, resolved.data.train.pictures))
    return resolved


def note_where_data_lie(run: Path, resolved: Resolved) -> None:
    """Write down the place of a run's data, where they have moved."""
    before = read_record(run / runs.DATA, Data)
    if resolved.data.source != before.source:
        say(f"the data of this run have moved, and are the same: from {before.source} to {resolved.data.source}")
        write_record(run / runs.DATA, structs.replace(before, source=resolved.data.source))


def _other_data(run: Path, before: Data, now: ImageData) -> UserError:
    what = f"the data in {now.source} are no longer those the run in {run} began with"
    there = {name for split in now.splits().values() for name in map(split.pictures.name, range(len(split)))}
    if mended := [one.name for one in before.skipped if one.name in there]:
        why = f"it went on without {listed(mended, 5)}, which can be read now"
        return UserError(what, why, "move them elsewhere until it has finished, or start a new run with them")
    return UserError(
        what,
        "pictures, labels or class names have changed",
        f"bring the old data back, give their place (residuum train DATA --resume {quoted(run)}), or start a new run",
    )


def refuse_finished(run: Path) -> None:
    """Raise UserError where a run has its model."""
    if (run / runs.MODEL).exists():
        raise UserError(f"the run in {run} has finished", "", f"see it with: residuum report {quoted(run)}")


def _refuse_other_rows(file: Path, cut: ValidationCut | None) -> None:
    """Refuse a file that says that other pictures were kept aside than were (UserError)."""
    if file.exists() and cut is not None and read_record(file, SplitRows).validation != tuple(cut.validation.tolist()):
        raise UserError(
            f"{file} does not hold the rows that were kept aside in training",
            "it was edited, or is another run's",
            "bring the old one back, or remove it: the rows follow from --seed and --validation",
        )


def _there(run: Path, source: str) -> str:
    """Return where a run's data lie (UserError if that is a folder that is gone)."""
    if Path(source).is_absolute() and not Path(source).exists():
        raise UserError(
            f"the data of the run in {run} are no longer in {source}",
            "the folder has been moved, or is not mounted",
            f"if it has moved: residuum train NEW_PLACE --resume {quoted(run)}",
        )
    return source
