"""What a tracker is: what it is told when it is opened, and the two things it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Track = Callable[[Mapping[str, float], int], None]
"""Takes figures by name, and the steps of training done by then."""


@dataclass(frozen=True)
class About:
    """What is known of a run when it begins, or goes on."""

    run: Path
    """Its folder, absolute."""
    identity: str
    """16 letters and digits, the same each time the run goes on."""
    settings: dict[str, Any]
    """Those that repeat the run, as JSON has them."""

    @property
    def name(self) -> str:
        """Return what the run is called."""
        return self.run.name


@dataclass(frozen=True)
class Tracker:
    """A tracker that is open; both may raise whatever they like."""

    log: Track
    close: Callable[[bool], None]
    """Ends it; told whether the run was finished."""


Open = Callable[[About], Tracker]
