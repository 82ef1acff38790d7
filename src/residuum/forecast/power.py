"""Energy, where this machine lets it be read: the processor's by RAPL, NVIDIA's GPUs' by nvidia-smi."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

RAPL = Path("/sys/class/powercap")
ASK = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits")
SECONDS_BETWEEN = 0.2


@dataclass
class Energy:
    """What was used while it was looked at."""

    watts: float | None = None
    """The mean; None where nothing can be read."""
    of: str = "neither RAPL's counters nor nvidia-smi can be read here"
    """What it is the power of, or why it is not known."""
    _seen: list[float] = field(default_factory=list)


@contextmanager
def measured_energy(*, on_gpu: bool) -> Iterator[Energy]:
    """Measure the mean power while the block runs: see the yielded Energy afterwards."""
    found, before, began = Energy(), _packages(), time.monotonic()
    done = threading.Event()
    watching = threading.Thread(target=_watch, args=(found, done), daemon=True) if on_gpu and _smi() else None
    if watching:
        watching.start()
    try:
        yield found
    finally:
        done.set()
        seconds = time.monotonic() - began
        if watching:
            watching.join()
        after = _packages()
        if found._seen:
            found.watts, found.of = sum(found._seen) / len(found._seen), "the GPUs, by nvidia-smi"
        if before and before.keys() == after.keys() and seconds > 0:
            joules = sum(_used(before[name][0], after[name][0], before[name][1]) for name in before)
            found.watts = (found.watts or 0.0) + joules / seconds
            found.of = f"{found.of} and the processor, by RAPL" if found._seen else "the processor's packages, by RAPL"


def _used(before: int, after: int, wraps_at: int) -> float:
    """Return joules between two counts of microjoules, the counter having wrapped at most once."""
    return ((after - before) if after >= before else after - before + wraps_at) / 1e6


def _packages() -> dict[str, tuple[int, int]]:
    """Return each processor package's counter and where it wraps, in µJ; empty where they may not be read."""
    found = {}
    for folder in sorted(RAPL.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            if (folder / "name").read_text(encoding="utf-8").startswith("package"):
                counts = [int((folder / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")]
                found[folder.name] = (counts[0], counts[1])
    return found


def _smi() -> bool:
    return shutil.which(ASK[0]) is not None


def _watch(found: Energy, done: threading.Event) -> None:
    while not done.wait(SECONDS_BETWEEN):
        with suppress(OSError, ValueError, subprocess.SubprocessError):
            said = subprocess.run(ASK, capture_output=True, text=True, check=True, timeout=5).stdout
            found._seen.append(sum(float(line) for line in said.split()))
