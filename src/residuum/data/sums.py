"""Checksums beside shards: `SHA256SUMS`, as `data pack` and coreutils' sha256sum write it."""

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Any

from residuum import machine
from residuum.console import show_progress
from residuum.data.threads import in_order

SUMS = "SHA256SUMS"
_LARGEST = 1 << 26


def check_sums(source: str) -> dict[str, Any] | None:
    """Hold the files below a data set's folder against its checksums; None where it has none.

    Returns `checked`, a count, and `broken`, [{name, reason}].
    """
    root = Path(source)
    if not root.is_absolute():  # a name, or an address
        return None
    try:
        if (root / SUMS).stat().st_size > _LARGEST:
            return None
        lines = (root / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    said = [match.groups() for line in lines if (match := re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line))]
    progress, broken = show_progress("checking the shards' checksums"), list[dict[str, str]]()
    for done, why in enumerate(in_order(said, partial(_why_broken, root), machine.cores() + 1), 1):
        if why:
            broken.append({"name": said[done - 1][1], "reason": why})
        progress(done, len(said))
    return {"checked": len(said), "broken": broken}


def _why_broken(root: Path, said: tuple[str, str]) -> str:
    try:
        with (root / said[1]).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return "" if found == said[0].lower() else f"it is not what {SUMS} says: it was changed, or is damaged"
