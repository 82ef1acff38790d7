"""Where a run stands, and the checkpoint that holds it: what is read back goes on bit by bit the same."""

from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn

from residuum import runs
from residuum.errors import UserError
from residuum.files import write_whole
from residuum.models.file import below, read_tensors, sealed
from residuum.records.codec import line, parse_line
from residuum.training.muon import laid_out
from residuum.training.optimizer import Optimizer

FORMAT = "residuum-checkpoint/1"


class State(msgspec.Struct, forbid_unknown_fields=True):
    """The numbers that change during a run, besides the net and the optimiser."""

    step: int = 0
    error_average: float = 1.0
    """Training error averaged over about the last fifty steps; starts at 1."""
    warmed_up: bool = False
    epoch_loss: float = 0.0
    epoch_correct: int = 0
    epoch_seen: int = 0
    epoch_seconds: float = 0.0

    def start_epoch(self) -> None:
        """Set the sums of the epoch to zero."""
        self.epoch_loss, self.epoch_correct, self.epoch_seen, self.epoch_seconds = 0.0, 0, 0, 0.0

    def count(self, loss: float, correct: int, seen: int) -> None:
        """Take in one step's loss and how many of its `seen` pictures were right."""
        self.step += 1
        self.epoch_loss += loss * seen
        self.epoch_correct += correct
        self.epoch_seen += seen
        self.error_average += 0.02 * ((1 - correct / seen) - self.error_average)


def save_checkpoint(run: Path, net: nn.Module, optimizer: Optimizer, state: State) -> None:
    """Write all that training needs to go on; the checkpoint before it is kept beside it.

    Raises:
        UserError: it cannot be written; the last good one is still there.
    """
    tensors = {f"model/{name}": tensor for name, tensor in net.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    metadata = {"format": FORMAT, "state": line(state)}
    content = sealed(tensors, metadata)
    current, previous = run / runs.CHECKPOINT, run / runs.PREVIOUS_CHECKPOINT
    if current.exists():
        write_whole(previous, current.read_bytes())
    write_whole(current, content)


def restore_checkpoint(run: Path, net: nn.Module, optimizer: Optimizer, warn: Any) -> State:
    """Bring net and optimiser to the last checkpoint that can be read.

    Raises:
        UserError: neither the last nor the one before can be read.
    """
    reasons = []
    for name in (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT):
        try:
            tensors, metadata = read_tensors(run / name)
            if metadata.get("format") != FORMAT:
                raise UserError(f"{name} is not a checkpoint of residuum")
            state: State = parse_line(metadata["state"], State, f"the state in {name}")
        except UserError as error:
            reasons.append(error.what)
            warn(f"{error.what}; trying the checkpoint before it")
            continue
        _put_back(tensors, net, optimizer)
        return state
    raise UserError(f"{run} cannot be continued", "; ".join(reasons), "start again with another --out")


def _put_back(tensors: dict[str, Tensor], net: nn.Module, optimizer: Optimizer) -> None:
    net.load_state_dict(below("model/", tensors))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in below("optimizer/", tensors).items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = laid_out(value, parameters[int(index)])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
