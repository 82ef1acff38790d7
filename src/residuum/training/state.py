"""Where a run stands, and the checkpoint that holds it: what is read back goes on bit by bit the same."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import torch
from torch import Tensor, nn

from residuum import runs
from residuum.errors import UserError, listed
from residuum.files import UNFINISHED, CannotWrite, Json, cannot_write, write_whole
from residuum.models.file import below, read_tensors, sealed
from residuum.records.codec import line, parse_line
from residuum.records.numbers import Amount, Count, Share
from residuum.training.average import Average
from residuum.training.binding import Edited, refuse_edited, with_shuffle
from residuum.training.optimizer import Optimizer
from residuum.training.slots import laid_out

FORMAT = "residuum-checkpoint/1"
Number = TypeVar("Number", float, Tensor)


class State(msgspec.Struct, forbid_unknown_fields=True):
    """The numbers that change during a run, besides the net and the optimiser."""

    step: Count = 0
    error_average: Share = 1.0
    """See `averaged_error`; starts at 1."""
    warmed_up: bool = False
    epoch_loss: float = 0.0
    epoch_correct: Count = 0
    epoch_seen: Count = 0
    epoch_seconds: Amount = 0.0

    def start_epoch(self) -> None:
        """Set the sums of the epoch to zero."""
        self.epoch_loss, self.epoch_correct, self.epoch_seen, self.epoch_seconds = 0.0, 0, 0, 0.0

    def count(self, loss: float, correct: int, seen: int) -> None:
        """Take in one step's loss and how many of its `seen` pictures were right."""
        self.step += 1
        self.epoch_loss += loss * seen
        self.epoch_correct += correct
        self.epoch_seen += seen
        self.error_average = averaged_error(self.error_average, correct, seen)


def averaged_error(average: Number, correct: Number, seen: int) -> Number:
    """Return the training error averaged over about the last fifty steps, after one more."""
    return average + 0.02 * ((1 - correct / seen) - average)


def has_checkpoint(run: Path) -> bool:
    """Say whether there is one to go on from, good or not."""
    return any((run / name).exists() for name in (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT))


def save_checkpoint(
    run: Path, net: nn.Module, optimizer: Optimizer, state: State, settings: Json, average: Average | None = None
) -> None:
    """Write all that training needs to go on, bound to its settings; the checkpoint before it is kept beside it.

    Raises:
        UserError: it cannot be written; the last good one is still there.
    """
    tensors = {f"model/{name}": tensor for name, tensor in net.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    if average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in average.tensors.items()}
    metadata = {"format": FORMAT, "state": line(state), "settings": json.dumps(settings, sort_keys=True)}
    current, whole = run / runs.CHECKPOINT, run / f"{UNFINISHED}checkpoint"
    try:
        write_whole(whole, sealed(tensors, metadata))
        with suppress(FileNotFoundError):
            current.replace(run / runs.PREVIOUS_CHECKPOINT)
        whole.replace(current)
    except (CannotWrite, OSError) as error:
        with suppress(OSError):
            whole.unlink(missing_ok=True)
        raise error if isinstance(error, CannotWrite) else cannot_write(current, 0, error) from error


def restore_checkpoint(
    run: Path,
    net: nn.Module,
    optimizer: Optimizer,
    settings: Json,
    steps: int,
    warn: Callable[[str], None],
    average: Average | None = None,
) -> State:
    """Bring net, optimiser, average to the last checkpoint that can be used: read, of this net and of these settings.

    One that cannot is kept aside, so that the next save does not put it in the place of the good one. `steps`: those of
    the whole run.

    Raises:
        Edited: they were saved by a run of other settings.
        UserError: neither the last nor the one before can be used.
    """
    reasons = list[UserError]()
    for name in (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT):
        try:
            tensors, state = _read(run, name, settings)
            slots = _slots(tensors, net, optimizer)
            if average is not None:
                _refuse_others(below("average/", tensors), average.tensors)
            if state.step > steps:
                raise UserError(f"{name} is of a longer run", f"{state.step} steps were done, of {steps}")
        except UserError as error:
            reasons.append(error)
            continue
        if reasons:
            warn(f"{reasons[0].what}; the checkpoint before it is used")
            with suppress(OSError):
                (run / runs.CHECKPOINT).replace(run / runs.UNUSABLE_CHECKPOINT)
        net.load_state_dict(below("model/", tensors))
        if average is not None:
            average.load(below("average/", tensors))
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        return state
    for reason in reasons:
        if isinstance(reason, Edited):
            raise reason
    raise UserError(
        f"{run} cannot be continued",
        "; ".join(f"{reason.what}{f' ({reason.why})' if reason.why else ''}" for reason in reasons),
        "move both checkpoints away, and it begins again",
    )


def _read(run: Path, name: str, settings: Json) -> tuple[dict[str, Tensor], State]:
    """Read a checkpoint (UserError if it is damaged or none of ours, Edited if it is of other settings)."""
    tensors, metadata = read_tensors(run / name)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{run / name} is not a checkpoint of residuum")
    if "settings" in metadata:  # versions before 0.3 wrote none
        before = parse_line(metadata["settings"], dict[str, Any], f"the settings in {run / name}")
        refuse_edited(run, with_shuffle(before), settings)
    return tensors, parse_line(metadata.get("state", ""), State, f"the state in {run / name}")


def _refuse_others(saved: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raise UserError where saved tensors differ from those wanted in name, shape or type."""
    theirs, ours = ({name: (value.shape, value.dtype) for name, value in each.items()} for each in (saved, wanted))
    if theirs != ours:
        differ = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
        raise UserError("the checkpoint is of another net", f"{len(differ)} tensors differ: {listed(differ, 3)}")


def _slots(tensors: dict[str, Tensor], net: nn.Module, optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """Return what the optimiser remembers of each parameter (UserError if that or the weights are not this net's)."""
    _refuse_others(below("model/", tensors), net.state_dict())
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in below("optimizer/", tensors).items():
        index, _, slot = name.partition("/")
        parameter = parameters[int(index)] if index.isdecimal() and int(index) < len(parameters) else None
        if parameter is None or value.shape not in {parameter.shape, torch.Size()}:
            raise UserError("the checkpoint is of another optimiser", f"{name!r} fits no parameter")
        slots.setdefault(int(index), {})[slot] = laid_out(value, parameter) if value.ndim else value
    return slots
