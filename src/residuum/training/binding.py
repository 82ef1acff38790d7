"""What binds a run to the settings that it began with: with others it would go on to other weights under the same name.

settings.json says them twice, what was set and what it resolved to, and each checkpoint carries them under its seal.
"""

import json
from pathlib import Path

from residuum import runs
from residuum.errors import UserError
from residuum.files import Json
from residuum.plain_data import as_json
from residuum.records.run import RunSettings
from residuum.settings import TrainSettings

FREE = {
    *("data", "start", "resume", "out", "skip_broken"),  # what the pictures are, their fingerprint says
    *("device", "threads", "workers", "checkpointing", "save_seconds", "tensorboard", "track"),
}
"""Settings that decide where and how it is computed, not what is learned: they may be changed on the way."""


class Edited(UserError):  # noqa: N818 - as UserError is what people see
    """A run's settings are no longer those that it began with."""


def bound(settings: TrainSettings) -> Json:
    """Return the settings that decide what is learned, as JSON has them."""
    written: Json = json.loads(json.dumps(as_json(settings)))
    return {name: value for name, value in written.items() if name not in FREE}


def refuse_edited(run: Path, before: Json, now: Json) -> None:
    """Raise Edited where settings that both know differ."""
    changed = [name for name in before if name in now and name not in FREE and before[name] != now[name]]
    if changed:
        raise Edited(
            f"the settings in {run / runs.SETTINGS} are not those that the run began with: {', '.join(changed)}",
            "; ".join(f"{name} was {before[name]!r} and is {now[name]!r}" for name in changed),
            "put the old values back, or start a new run with the new ones",
        )


def own_settings(run: Path, written: RunSettings) -> TrainSettings:
    """Return the settings that repeat the run.

    Raises:
        UserError: they were edited, or are none that this version knows.
    """
    before = {name: value for name, value in written.resolved.items() if name in written.settings}
    if written.settings.get("model") is None:  # resolved, it is called after the weights it began with
        before.pop("model", None)
    refuse_edited(run, before, written.settings)
    try:
        return TrainSettings(**{**written.settings, "out": None, "resume": None})
    except (UserError, TypeError) as error:  # TypeError: a name that is no setting
        raise UserError(
            f"the settings in {run / runs.SETTINGS} cannot be used",
            str(getattr(error, "what", error)).removeprefix("TrainSettings.__init__() "),
            "use the version that wrote them, or start a new run",
        ) from error
