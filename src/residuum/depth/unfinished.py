"""A trim that was stopped: what it leaves, and that the same call goes on from there. Nothing here computes."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from residuum import runs
from residuum.errors import UserError
from residuum.files import is_unfinished
from residuum.plain_data import as_json
from residuum.records.codec import read_record
from residuum.records.depth import Trim
from residuum.settings import TrimSettings

REPAIR = "repair"
"""The folder of the training run, in the folder of the cut."""
UNREPAIRED = "model-unrepaired.safetensors"

_LEFT = {runs.TRIM, runs.LOCK, runs.MODEL, runs.REPORT, UNREPAIRED, REPAIR}


def is_stopped_trim(folder: Path) -> bool:
    """Say whether a folder holds nothing but what a trim leaves that was stopped, or is still going."""
    with suppress(OSError, UserError):
        names = {file.name for file in folder.iterdir() if not is_unfinished(file)}
        if runs.TRIM in names <= _LEFT:
            return not (runs.MODEL in names and read_record(folder / runs.TRIM, Trim).chosen)
        return names == {runs.LOCK}
    return False


def key_of(settings: TrimSettings, *measured: str) -> str:
    """Return a digest of what was asked, but for the folder, and of what it is measured on."""
    asked = {**as_json(settings), "out": None}
    return hashlib.sha256(json.dumps([asked, *measured], sort_keys=True).encode()).hexdigest()[:16]


def gone_on_with(new: Trim, out: Path) -> Trim:
    """Return what an earlier call measured in `out`, or `new` where there is nothing yet.

    Raises:
        UserError: another call began it, or its file is damaged.
    """
    if not (out / runs.TRIM).exists():
        return new
    before = read_record(out / runs.TRIM, Trim)
    if before.call != new.call:
        raise UserError(
            f"{out} holds a trim that was stopped",
            "it was begun with another model, other pictures or other settings",
            "give the same command to go on with it, or choose another --out",
        )
    return before
