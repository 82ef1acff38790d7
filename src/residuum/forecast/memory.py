"""The most memory that is held while something runs: of this process and those that decode for it, or of the GPU."""

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from residuum.data.workers import give_back_freed_memory

PROCESS = Path("/proc/self")


@dataclass
class Peak:
    """Bytes, known when it is over."""

    before: int = 0
    most: int = 0

    def with_more(self, times: float, fixed: int = 0) -> int:
        """Return what would be held if all that came meanwhile, besides what is `fixed`, were so many times as much."""
        return round(self.most + (times - 1) * max(0, self.most - self.before - fixed))


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure what is held at the most while the block runs, and what was held before; freed memory is given back
    first, as before decoding processes begin."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        peak.before = torch.cuda.memory_reserved(device)
        yield peak
        peak.most = torch.cuda.max_memory_reserved(device)
        return
    give_back_freed_memory()
    with suppress(OSError):  # so that the mark begins anew
        (PROCESS / "clear_refs").write_text("5", encoding="ascii")
    peak.before = _held("VmRSS")
    yield peak
    peak.most = _held("VmHWM")


def workers_memory() -> int:
    """Return the bytes that processes which decode hold for themselves, now."""
    total = 0
    for child in multiprocessing.active_children():
        with suppress(OSError):
            lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024
    return total


def memory_there(device: torch.device) -> int:
    """Return the bytes that there are: the machine's or the container's, or the GPU's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [int(line) for line in map(_limit, ("memory.max", "memory/memory.limit_in_bytes")) if line.isdecimal()]
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal")]
    return min(limits, default=0)


def _limit(name: str) -> str:
    with suppress(OSError):
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="ascii").strip()
    return ""


def _held(name: str) -> int:
    """Return what Linux says of this process, in bytes; elsewhere the most it ever held."""
    with suppress(OSError):
        lines = (PROCESS / "status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
