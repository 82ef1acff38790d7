"""Which commit of residuum this is, where it is used from a clone of its repository or was installed from one."""

import json
import os
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from residuum.version import NAME

DIGITS = 12


@cache
def commit() -> str:
    """Return the commit's short digest, with "-dirty" where files of it were changed; "" where nothing is known."""
    return _of_clone(Path(__file__).parents[2]) or _as_installed()


def _of_clone(root: Path) -> str:
    """Ask git of the clone whose `src` holds the package, whatever repository the user works in."""
    if not (root / ".git").exists():
        return ""
    ask = ("git", "--no-optional-locks", "describe", "--always", "--dirty", "--exclude=*", f"--abbrev={DIGITS}")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ask, cwd=root, env=ours, capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()
    return ""


def _as_installed() -> str:
    """Return what pip wrote down when it installed from a repository."""
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        told = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
        return str(told.get("vcs_info", {}).get("commit_id", ""))[:DIGITS]
    return ""
