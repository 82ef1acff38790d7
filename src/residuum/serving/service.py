"""What one server holds: its models, the queue before them, what it counts and what it logs."""

import asyncio
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import json

from residuum import machine
from residuum.console import say
from residuum.errors import UserError, listed
from residuum.outward_settings import ServeSettings
from residuum.plain_data import quoted
from residuum.serving.desk import Desk
from residuum.serving.incoming import Held
from residuum.serving.metrics import Metrics
from residuum.serving.refusals import Refusal
from residuum.serving.served import Served, open_served


@dataclass(eq=False)
class Service:
    """A server's state; `models` by name, the first of them answers where none is named."""

    settings: ServeSettings
    models: dict[str, Served]
    token: str | None
    desk: Desk
    pool: ThreadPoolExecutor
    """Where pictures are decoded."""
    held: Held = field(default_factory=Held)
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False
    """It is to end: what has come is answered, and no more is asked for."""
    serving: asyncio.Task[None] | None = None
    """The desk at work."""
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def model(self, name: str | None) -> Served:
        """Return the model (Refusal 404 if there is none of this name)."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal(404, f"there is no model {name!r}", f"there is {listed(self.models)}", "GET /v1/models")
        return self.models[name]

    def why_not_ready(self) -> str:
        """Return why no requests should be sent here; "" if they may be."""
        if self.draining:
            return "the server is ending"
        return "" if self.serving is not None and not self.serving.done() else "nothing computes"

    async def reload(self) -> None:
        """Open every model's file anew and put it in the old one's place, which answers what it has begun.

        One that cannot be opened is logged, and the old one stays.
        """
        async with self.reloading:
            for name, old in list(self.models.items()):
                try:
                    new = await asyncio.to_thread(open_served, name, old.place, self.settings)
                except Exception as error:  # whatever it is, the old one goes on
                    log("not reloaded", model=name, what=str(error) or type(error).__name__)
                    continue
                self.models[name] = new
                log("reloaded", model=name, digest=new.digest, was=old.digest)


def open_service(settings: ServeSettings, token: str | None = None) -> Service:
    """Open the models.

    Raises:
        UserError: none is given, one cannot be opened, or two have one name.
    """
    if not settings.runs:
        raise UserError("which model?", "", "residuum serve RUN, a run folder or a model file")
    models: dict[str, Served] = {}
    for place in settings.runs:
        say(f"loading {place}")
        served = open_served(*_named(str(place)), settings)
        if served.name in models:
            raise UserError(
                f"two models are called {served.name!r}",
                f"{models[served.name].place} and {served.place}",
                f"name one of them otherwise: residuum serve {quoted(f'OTHER={served.place}')}",
            )
        models[served.name] = served
    desk = Desk(settings.queue, settings.longest_wait, settings.gather / 1000, machine.cores())
    service = Service(settings, models, token, desk, ThreadPoolExecutor(machine.cores(), "decoding"))
    desk.seen = service.metrics.batch
    return service


def _named(place: str) -> tuple[str, Path]:
    """Return the name asked for, "" if none is, and the path: NAME=PATH or PATH."""
    name, _, rest = place.partition("=")
    return (name, Path(rest)) if rest and not Path(place).exists() else ("", Path(place))


def log(event: str, **fields: Any) -> None:
    """Write one line of JSON to stdout. A reader that has gone away stops the log, not the server."""
    line: Mapping[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    try:
        sys.stdout.write(json.encode(line).decode() + "\n")
        sys.stdout.flush()
    except OSError:
        return
