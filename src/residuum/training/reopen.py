"""Go on with a stopped run: decided again from what it wrote down, if nothing has changed since."""

from dataclasses import replace
from pathlib import Path

from residuum import runs
from residuum.data.cache import fingerprint
from residuum.errors import UserError
from residuum.plain_data import explicit, flag
from residuum.settings import TrainSettings
from residuum.training.resolve import Resolved, resolve


def reopen(settings: TrainSettings) -> Resolved:
    """Resolve a stopped run again from what it wrote down, and check that the data are still the same.

    Raises:
        UserError: not a run; already finished; other settings were given; or the data have changed.
    """
    assert settings.resume is not None
    run = Path(settings.resume)
    record = runs.read_run(run)
    others = set(explicit(settings)) - {"resume"}
    if others:
        flags = ", ".join(map(flag, sorted(others)))
        raise UserError(
            f"a run is continued with its own settings, but {flags} was given",
            "",
            f"residuum train --resume {run}",
        )
    if (run / runs.MODEL).exists():
        raise UserError(f"the run in {run} has finished", "", f"see it with: residuum report {run}")
    if not (run / runs.CHECKPOINT).exists() and not (run / runs.PREVIOUS_CHECKPOINT).exists():
        raise UserError(f"{run} holds no checkpoint", "it was stopped before its first", "start it again")
    again = TrainSettings(**record.settings.settings)
    if again.start is not None:  # the run's own copy stands in for the original
        again = replace(again, start=str(run / runs.START))
    resolved = resolve(again)
    if record.data is None or fingerprint(resolved.data) != record.data.fingerprint:
        raise UserError(
            f"the data in {resolved.data.source} are no longer those the run in {run} began with",
            "pictures, labels or class names have changed",
            "bring the old data back, or start a new run",
        )
    return resolved
