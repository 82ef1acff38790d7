"""Nothing reads or writes outside its memory, whatever the shape: random ones, in processes that would end of it.

On lesser instruction sets too, with fewer threads than asked for, under sanitizers, and compiled by Clang.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from residuum.kernels import build

TESTS = Path(__file__).parent
WATCHED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "GLIBC_TUNABLES": "glibc.malloc.check=3"}
"""glibc looks at what lies around a piece of memory when it is given back."""
SETS = {
    "native": ("", {}),
    "AVX-512": ("-march=x86-64-v4", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "AVX2": ("-march=x86-64-v3", {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}),
    "SSE4": ("-march=x86-64-v2", {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}),
}
"""What kernels are compiled for, and what keeps torch to it."""
pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")


def compiler(folder: Path, name: str, *flags: str) -> dict[str, str]:
    """Let a compiler be used with further flags."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here")
    wrapper = folder / "compiler"
    wrapper.write_text(f'#!/bin/sh\nexec {path} "$@" {" ".join(flags)}\n')
    wrapper.chmod(0o755)
    return {"CXX": str(wrapper), "RESIDUUM_CACHE": str(folder)}  # other flags are not known to the cache


def sanitized(folder: Path) -> dict[str, str]:
    """Let kernels be compiled with AddressSanitizer and UBSan; Python must load the one before all else."""
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1")
    found = compiler(folder, "g++", *flags)
    libraries = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    if not all("/" in path for path in libraries):
        pytest.skip("g++ has no AddressSanitizer here")
    return {**found, "LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}


def tried(kind: str, seed: int, count: int, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TESTS / "kernel_cases.py"), kind, str(seed), str(count)]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=1200, check=False
    )


def assert_right(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-300:]} {done.stderr[-3000:]}"
    assert done.stdout.endswith("all right\n")


ALONE = f"""
import ctypes, sys, torch
from pathlib import Path
loaded = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
openmp = next(path for path in loaded if "omp" in path.rpartition("/")[2])
ctypes.CDLL(openmp).omp_set_max_active_levels(0)  # whoever asks for several threads is given one
sys.path.insert(0, {str(TESTS)!r})
import kernel_cases
kernel_cases.main("everywhere", "5", "30")
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="where OpenMP lies is not known here")
@pytest.mark.usefixtures("warm_python")
def test_a_single_thread_does_all_the_work_of_several() -> None:
    command = [sys.executable, "-c", ALONE]
    assert_right(subprocess.run(command, capture_output=True, text=True, timeout=300, check=False))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [{"OMP_THREAD_LIMIT": "1"}, {"OMP_DYNAMIC": "true"}])
def test_fewer_threads_than_asked_for_do_all_the_work(limit: dict[str, str]) -> None:
    assert_right(tried("everywhere", 5, 30, limit))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["kernels", "torch"])
@pytest.mark.parametrize("name", SETS)
def test_random_shapes_are_right_and_corrupt_nothing(name: str, kind: str, seed: int, tmp_path: Path) -> None:
    flags, kept = SETS[name]
    if name != "native" and platform.machine() != "x86_64":
        pytest.skip("another kind of processor")
    if name == "AVX-512" and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no AVX-512")
    chosen = compiler(tmp_path, "g++", flags) if flags else {}
    assert_right(tried(kind, seed, 400, {**WATCHED, **kept, **chosen}))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_kernels_pass_the_sanitizers(seed: int, tmp_path: Path) -> None:
    assert_right(tried("kernels", 10 + seed, 400, sanitized(tmp_path)))


@pytest.mark.slow
def test_memory_written_outside_is_seen(tmp_path: Path) -> None:
    assert tried("wrong", 0, 0, WATCHED).returncode < 0
    done = tried("wrong", 0, 0, sanitized(tmp_path))
    assert done.returncode > 0
    assert "heap-buffer-overflow" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_kernels_compiled_by_clang_are_right(name: str, tmp_path: Path) -> None:
    flags, kept = SETS[name]
    chosen = compiler(tmp_path, "clang++", "-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument", flags)
    assert_right(tried("kernels", 20, 300, {**kept, **chosen}))
    files = [str(TESTS / f"test_{name}.py") for name in ("kernels", "pooling", "frozen_stem")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, env={**os.environ, **kept, **chosen}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
