"""The machine this runs on: what it is, how many cores may be used, where its user keeps what can be made again."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import UNSET

from residuum.commit import commit
from residuum.records.environment import Environment
from residuum.version import VERSION

BUSY = 0.1
"""A machine is busy where threads wait for a core for a larger share of its cores' time than this."""


def environment() -> Environment:
    """Describe when and on what this runs."""
    return Environment(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        residuum=VERSION,
        commit=commit() or UNSET,
        python=platform.python_version(),
        **{name: _version(name) for name in ("torch", "numpy", "pillow", "simplejpeg", "scikit_learn")},
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=cores(),
    )


def cache_folder() -> Path:
    """Return $RESIDUUM_CACHE, or else the system's cache folder for residuum; it need not exist."""
    import platformdirs  # only here, so that --help stays instant

    chosen = os.environ.get("RESIDUUM_CACHE")
    return Path(chosen).absolute() if chosen else platformdirs.user_cache_path("residuum", appauthor=False)


def is_kept_to_avx2() -> bool:
    """Say whether torch is told to compute as on a processor with AVX2 and nothing above it, to try such a one here."""
    return os.environ.get("ATEN_CPU_CAPABILITY") == "avx2"


def may_use_matrix_units() -> bool:
    """Say whether torch's library is not kept from matrix units (AMX): what is ours then keeps from them too."""
    return _may_use("AMX")


def may_use_bfloat16_pairs() -> bool:
    """The same for products of bfloat16 pairs, which AVX-512 BF16 and all above it have."""
    return _may_use("BF16", "FP16", "AVX10", "AMX") and not is_kept_to_avx2()


def _may_use(*features: str) -> bool:
    highest = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    return highest in {"ALL", "DEFAULT"} or any(feature in highest for feature in features)


def cores() -> int:
    """Count the cores this process may use, not those the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_waited() -> float:
    """Return for how long, in s, this process's threads have waited for a core; 0 where the system, unlike Linux, keeps
    no account."""
    waited = 0
    for account in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            waited += int(account.read_text(encoding="utf-8").split()[1])
    return waited / 1e9


def least(once: Callable[[], float], together: float) -> float:
    """Return the least of the times that `once` gives again and again until they come to so much together, and once at
    the least: others that compute can but make one longer."""
    times = [once()]
    while sum(times) < together:
        times.append(once())
    return min(times)


def share_waited(began: float, waited: float) -> float:
    """Return what share of its cores' time this process has waited for, since the clock (time.perf_counter) stood at
    `began` and `seconds_waited` at `waited`."""
    return (seconds_waited() - waited) / (time.perf_counter() - began) / cores()


def seconds_running() -> float:
    """Return for how long this process has been running, in s; 0 where the system, unlike Linux, does not say."""
    with suppress(OSError, ValueError, IndexError):
        began = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        up = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return max(0.0, up - began / os.sysconf("SC_CLK_TCK"))
    return 0.0


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """Name the processor; platform.processor() is empty on Linux."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
