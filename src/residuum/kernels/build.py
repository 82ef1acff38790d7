"""Compile this folder's C++ with the machine's own compiler, once; without a compiler torch's operations do the work.

The sources include no header of torch's and are called through ctypes, so they compile in about two seconds, and again
only when source, compiler, torch or processor change.
"""

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from residuum import machine
from residuum.console import warn
from residuum.errors import UserError
from residuum.files import is_intact, seal

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.hpp"))
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fPIC", "-Wno-psabi")
LINKING = ("-shared", *(("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()))
"""Without OpenMP's library: the threads are found that torch has brought along, so that the two share one pool."""
SECONDS = 120.0
"""Longest time a compiler may take."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the compiled functions, or None where they cannot be had; why not is said once.

    RESIDUUM_KERNELS=off asks for torch's operations.
    """
    if _is_off():
        return None
    if sys.platform == "win32":
        warn("nothing is compiled on Windows: torch's operations compute, and training takes longer than elsewhere")
        return None
    compiler = _compiler()
    if compiler is None:
        warn("no C++ compiler found: training takes longer than it must (g++ would do)")
        return None
    try:
        return _load(_compiled(compiler))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or error
        warn(f"the compiled operations cannot be used, torch's are: {str(detail).strip()[-300:]}")
        return None


def is_compiled() -> bool:
    """Say whether `library` would answer at once, with nothing to compile first."""
    if _is_off() or sys.platform == "win32":
        return True
    compiler = _compiler()
    try:
        return compiler is None or is_intact(_target(compiler))
    except (OSError, subprocess.SubprocessError):  # no compiler that works
        return True


def _is_off() -> bool:
    return os.environ.get("RESIDUUM_KERNELS") == "off"


def _compiler() -> str | None:
    return os.environ.get("CXX") or next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)


def call(name: str, *values: Tensor | float | None) -> None:
    """Call a compiled function on numbers and on the addresses of tensors."""
    function = getattr(library(), name)
    assert len(values) == len(function.argtypes), f"{name} takes {len(function.argtypes)} values"
    function(*[value.data_ptr() if isinstance(value, Tensor) else value for value in values])


def call_with_room(name: str, one: Tensor, other: Tensor, out: Tensor, sizes: tuple[int, ...], *switches: int) -> None:
    """Call a compiled convolution, with as much room to work in as it says."""
    threads = torch.get_num_threads()
    work = torch.empty(_room(name, sizes, threads), dtype=torch.uint8)
    call(name, one, other, out, *sizes, *switches, threads, work)


@cache
def _room(name: str, sizes: tuple[int, ...], threads: int) -> int:
    """Return how many bytes a compiled convolution works in."""
    return getattr(library(), f"{name}_room")(*sizes, threads)  # type: ignore[no-any-return]


def _compiled(compiler: str) -> Path:
    """Return the shared library in the cache, compiled if it is not there."""
    target = _target(compiler)
    if is_intact(target):  # it is run as it is: no byte may be another
        return target
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        parts = [str(Path(unfinished) / f"{source.stem}.o") for source in SOURCES]
        start = [compiler, *FLAGS, *_architecture(), "-c"]
        with ThreadPoolExecutor(machine.cores()) as cores:
            list(cores.map(lambda source, part: _run([*start, str(source), "-o", part]), SOURCES, parts))
        whole = Path(unfinished) / "whole.so"
        _run([compiler, *LINKING, *parts, "-o", str(whole)])
        with suppress(UserError):  # a full disk
            seal(target, whole)
        whole.replace(target)
    return target


def _target(compiler: str) -> Path:
    return machine.cache_folder() / "kernels" / f"kernels-{_key(compiler)}.so"


def _architecture() -> tuple[str, ...]:
    """Say what to compile for: this machine, or a lesser one where torch computes as on it."""
    if machine.is_kept_to_avx2():
        return ("-march=x86-64-v3",)
    if platform.machine() not in {"x86_64", "AMD64", "i686"}:
        return ("-mcpu=native",)
    return "-march=native", *(() if machine.may_use_matrix_units() else ("-mno-amx-bf16",))


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)


def _key(compiler: str) -> str:
    """Name all that the compiled code depends on; a cache may be shared by machines that differ."""
    parts = [
        *(source.read_bytes() for source in (*SOURCES, *HEADERS)),
        _version(compiler),
        *map(str.encode, (*FLAGS, *_architecture(), platform.machine(), _features(), torch.__version__)),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


@cache  # whoever chooses how to compute asks, and each time a process would be started
def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=SECONDS).stdout


@cache
def _features() -> str:
    """Say what the processor can do, where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


# --- the interface, as the C++ declares it ------------------------------------------------------

Signature = tuple[Any, list[Any]]
"""What a function returns and takes, in ctypes' terms."""
DECLARATION = re.compile(r'extern "C" (\w+) (\w+)\(([^)]*)\)')
NUMBERS = {"int": ctypes.c_int, "int64_t": ctypes.c_int64, "float": ctypes.c_float, "void": None}


def declared(source: str) -> dict[str, Signature]:
    """Read the functions that C++ lends: `extern "C"`, each once. A type that is not known is a KeyError."""
    found: dict[str, Signature] = {}
    for result, name, parameters in DECLARATION.findall(source):
        assert name not in found, f"{name} is declared twice"
        found[name] = (NUMBERS[result], [_type(parameter) for parameter in parameters.split(",")])
    return found


def _type(parameter: str) -> Any:
    return ctypes.c_void_p if "*" in parameter else NUMBERS[parameter.split(maxsplit=1)[0]]


def _share_threads() -> None:
    """Let what is loaded next find torch's OpenMP, if torch is using it: not everywhere can all see its functions."""
    for library in (Path(torch.__file__).parent / "lib").glob("lib*omp.*"):
        with suppress(OSError):
            ctypes.CDLL(str(library), os.RTLD_NOLOAD | os.RTLD_GLOBAL)


def _load(path: Path) -> ctypes.CDLL:
    """Load the library and type its functions; those for matrix units are not there where there are none."""
    _share_threads()
    functions = ctypes.CDLL(str(path))
    for source in SOURCES:
        for name, (result, parameters) in declared(source.read_text(encoding="utf-8")).items():
            if hasattr(functions, name):
                function = getattr(functions, name)
                function.restype, function.argtypes = result, parameters
    return functions
