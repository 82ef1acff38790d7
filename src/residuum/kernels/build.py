"""Compile this folder's C++ with the machine's own compiler, once; without a compiler torch's operations do the work.

The sources include no header of torch's and are called through ctypes, so they compile in about two seconds, and again
only when source, compiler, torch or processor change.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from residuum import machine
from residuum.console import say

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.hpp"))
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fPIC")
SECONDS = 120.0
"""Longest time a compiler may take."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled functions, or None where they cannot be had; why not is said once.

    RESIDUUM_KERNELS=off asks for torch's operations.
    """
    if os.environ.get("RESIDUUM_KERNELS") == "off":
        return None
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)
    if compiler is None:
        say("no C++ compiler found: training takes longer than it must (g++ would do)")
        return None
    try:
        return _load(_compiled(compiler))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or error
        say(f"the compiled operations cannot be used, torch's are: {str(detail).strip()[-300:]}")
        return None


def call(name: str, one: Tensor, other: Tensor, out: Tensor, sizes: tuple[int, ...], *switches: int) -> None:
    """Call a compiled convolution on addresses and numbers, with as much room to work in as it says."""
    threads = torch.get_num_threads()
    function, room = _function(name, sizes, threads)
    work = torch.empty(room, dtype=torch.uint8)
    addresses = (one.data_ptr(), other.data_ptr(), out.data_ptr())
    function(*addresses, *sizes, *switches, threads, work.data_ptr())


@cache
def _function(name: str, sizes: tuple[int, ...], threads: int) -> tuple[Callable[..., None], int]:
    """Return a compiled convolution and how many bytes it works in."""
    functions = library()
    return getattr(functions, name), getattr(functions, f"{name}_room")(*sizes, threads)


def _compiled(compiler: str) -> Path:
    """Return the shared library in the cache, compiled if it is not there."""
    folder = machine.cache_folder() / "kernels"
    target = folder / f"kernels-{_key(compiler)}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        # Compiled with OpenMP but linked without: its calls find the threads that torch has brought along, so that
        # the two share one pool.
        parts = [str(Path(unfinished) / f"{source.stem}.o") for source in SOURCES]
        for source, part in zip(SOURCES, parts, strict=True):
            _run([compiler, *FLAGS, "-fopenmp", "-c", str(source), "-o", part])
        whole = Path(unfinished) / "whole.so"
        _run([compiler, "-shared", *parts, "-o", str(whole)])
        whole.replace(target)
    return target


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)


def _key(compiler: str) -> str:
    """Name all that the compiled code depends on; a cache may be shared by machines that differ."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=SECONDS).stdout
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    parts = [
        *(source.read_bytes() for source in (*SOURCES, *HEADERS)),
        version,
        *map(str.encode, (*FLAGS, platform.machine(), flags, torch.__version__)),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _load(path: Path) -> ctypes.CDLL:
    functions = ctypes.CDLL(str(path))
    pointer, number, count, switch = ctypes.c_void_p, ctypes.c_float, ctypes.c_int64, ctypes.c_int
    sizes = [count, count, switch, switch, pointer]  # M, C, activation, threads, work
    for name in ("f32", "bf16"):
        forward, backward = (
            getattr(functions, f"bn_forward_{name}"),
            getattr(functions, f"bn_backward_{name}"),
        )
        forward.argtypes = [*[pointer] * 8, number, number, pointer, *sizes]
        backward.argtypes = [*[pointer] * 11, *sizes]
        apply = getattr(functions, f"bn_apply_{name}")
        apply.argtypes, apply.restype = [*[pointer] * 7, number, *sizes], None
        forward.restype = backward.restype = None
        for direction in ("forward", "backward"):
            pool = getattr(functions, f"pool_{direction}_{name}")
            pool.argtypes, pool.restype = [*[pointer] * 3, *[count] * 9, switch], None
    functions.muon_direction.argtypes = [pointer, pointer, pointer, number, count, switch]
    functions.muon_move.argtypes = [pointer, pointer, number, number, count, switch]
    functions.muon_direction.restype = functions.muon_move.restype = None
    crop_sizes = [count, count, count, switch, switch]  # B, S, the hole's side, reflects, threads
    functions.crops.argtypes, functions.crops.restype = [*[pointer] * 7, *crop_sizes], None
    for name in ("shortcut", "shortcut_gradient"):
        function = getattr(functions, name)
        function.argtypes, function.restype = [pointer, pointer, *[count] * 9, switch], None
    # the sizes that each takes, and its switches
    convolutions = {
        "convolution": (5, 1),
        "weight_gradient": (5, 0),
        "gathered_gradient": (12, 0),
        "frozen": (10, 2),
    }
    for name, (sizes_taken, switches) in convolutions.items():
        room, function = getattr(functions, f"{name}_room"), getattr(functions, name)
        room.argtypes, room.restype = [*[count] * sizes_taken, switch], count
        before = [*[pointer] * 3, *[count] * sizes_taken, *[switch] * switches]
        function.argtypes, function.restype = [*before, switch, pointer], None
    return functions
