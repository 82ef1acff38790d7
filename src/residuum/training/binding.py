"""What binds a run to the settings that it began with: with others it would go on to other weights under the same name.

settings.json says them twice, what was set and what it resolved to, and each checkpoint carries them under its seal.
"""

import json
from pathlib import Path

from msgspec import structs

from residuum import runs
from residuum.data.contract import Pictures
from residuum.data.windows import Windows
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


def shards_digest(settings: TrainSettings, training: Pictures) -> str:
    """Return what the order of the training pictures depends on besides the settings; empty where on nothing."""
    return Windows.of(training, settings.batch_size or 1).digest if settings.shuffle == "windows" else ""


def refuse_other_shards(run: Path, before: str, now: str) -> None:
    """Raise UserError where a run's pictures, though the same, lie in other shards than when it began."""
    if before != now:
        raise UserError(
            f"the data of the run in {run} lie in other shards than it began with",
            "the pictures are the same, but they would come in another order",
            "bring the old shards back, or start a new run",
        )


def with_shuffle(settings: Json) -> Json:
    """Return a run's settings with the order that it has, where it was begun when there was but one."""
    return {**settings, "shuffle": "as-0.1"} if settings.get("shuffle", "all") == "all" else settings


def own_settings(run: Path, written: RunSettings) -> TrainSettings:
    """Return the settings that repeat the run.

    Raises:
        UserError: they were edited, or are none that this version knows.
    """
    written = structs.replace(written, settings=with_shuffle(written.settings))
    before = {name: value for name, value in with_shuffle(written.resolved).items() if name in written.settings}
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
