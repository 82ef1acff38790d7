"""What reads foreign bytes, fuzzed with an eye on the lines reached.

For RESIDUUM_FUZZ_SECONDS each, ten minutes by default.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parent.parent
SECONDS = int(os.environ.get("RESIDUUM_FUZZ_SECONDS", "600"))
WATCHED = {"LD_PRELOAD": "libc_malloc_debug.so.0", "GLIBC_TUNABLES": "glibc.malloc.check=3"}
"""glibc looks at what lies around a piece of memory when it is given back."""


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("target", ["model_file", "jpeg_region", "parquet", "layouts"])
def test_nothing_but_a_clear_error_comes_of_any_bytes(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="fuzzing needs atheris, which is for Linux on x86-64")
    words = [sys.executable, "-m", "corpus.fuzz", target, str(SECONDS), str(tmp_path)]
    watched = WATCHED if target == "jpeg_region" else {}
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, **watched, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    left = [(path.name, path.read_bytes()[:2000]) for path in tmp_path.iterdir() if path.is_file()]
    assert done.returncode == 0, f"{left}\n{done.stderr[-6000:]}"
    assert "stat::number_of_executed_units" in done.stderr
