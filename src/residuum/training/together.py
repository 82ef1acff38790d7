"""One net on several processes (ranks.py): what they agree on before they begin, and how their gradients meet.

Rank 0 decides and writes; the others are told. Each takes its stretch of a step's pictures (data/share.py), and torch's
DistributedDataParallel joins the gradients, each part's weighed by its pictures: the step is that of one process.
"""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from residuum import ranks, runs
from residuum.data.cache import fingerprint
from residuum.data.mixing import Mix
from residuum.data.share import in_pairs, share
from residuum.errors import UserError
from residuum.models.plan import Forward, Plan, make_forward
from residuum.models.resnet import ResNet
from residuum.models.synchronised import synchronise
from residuum.plain_data import as_json
from residuum.recipes.named import BY_FOLDS
from residuum.records.codec import from_json, to_json
from residuum.records.run import RunSettings
from residuum.settings import TrainSettings
from residuum.training.resolve import Resolved

# --- before anything begins ---------------------------------------------------------------------


def shared(resolved: Resolved, asked: TrainSettings) -> Resolved:
    """Return a run as several processes share it: how many threads each has is its machine's matter, not the run's.

    Raises:
        UserError: it cannot be shared, or its steps cannot be cut into so many parts.
    """
    count, settings, batch_size = ranks.ranks(), resolved.settings, resolved.recipe.batch_size
    if count > 1 and resolved.recipe.name in BY_FOLDS:
        raise UserError(
            f"recipe {resolved.recipe.name} is for one process",
            "few pictures and trained weights take a minute or two on one",
            "call it without torchrun",
        )
    if count > 1 and resolved.compute.device.type not in {"cpu", "cuda"}:
        raise UserError(f"several processes cannot train on {resolved.compute.device.type}", "", "--device cpu")
    stretches = [in_pairs(batch_size, rank, count) for rank in range(count)]
    if min(stretch.stop - stretch.start for stretch in stretches) < settings.accumulate:
        cut = f" in {settings.accumulate} parts each" if settings.accumulate > 1 else ""
        raise UserError(
            f"a step of {batch_size} pictures cannot be shared by {count} processes{cut}",
            "each part needs a picture, and each process two",
            "fewer of them, or a larger --batch-size",
        )
    return resolved if count == 1 else replace(resolved, settings=replace(settings, threads=asked.threads))


def begun_before(settings: TrainSettings) -> Path | None:
    """Return the run that an earlier attempt of the same torchrun began with these settings (--max-restarts)."""
    _calls[_key(settings)] += 1
    begun = ranks.remembered(_nth(settings))
    return Path(begun) if begun and runs.is_run(Path(begun)) else None


def tell_what_is_done(resolved: Resolved, run: Path, asked: TrainSettings) -> None:
    """Tell the other ranks what rank 0 has decided, once its run has begun; and an attempt that may follow."""
    ranks.remember(_nth(asked), str(run.absolute()))
    decided = replace(resolved.settings, threads=None, workers=None, out=None, resume=None)  # each its machine's
    ranks.told(json.dumps(as_json(decided)).encode())
    refuse_other_data(resolved)


def hear_what_is_done() -> TrainSettings | None:
    """Return what rank 0 decided; None where all was done by an earlier attempt."""
    heard = json.loads(ranks.told(None))
    return TrainSettings(**heard) if heard else None


def tell_the_end(run: Path, *, at_once: bool = False) -> runs.RunRecord:
    """Return a run that is finished; the other ranks return it too, where they see its folder. `at_once`: before they
    were told of anything to do."""
    if at_once:
        ranks.told(b"{}")
    record = runs.read_run(run)
    ranks.told(json.dumps({"run": str(run.absolute()), "settings": to_json(record.settings)}).encode())
    return record


def hear_the_end() -> runs.RunRecord:
    """Return the finished run: its settings alone where its folder is on another machine."""
    heard = json.loads(ranks.told(None))
    run, settings = Path(heard["run"]), from_json(heard["settings"], RunSettings, "settings")
    return runs.read_run(run) if runs.is_run(run) else runs.RunRecord(run, settings, None, None, [], None, [])


_calls = Counter[str]()


def _key(settings: TrainSettings) -> str:
    return hashlib.sha256(json.dumps(as_json(settings)).encode()).hexdigest()


def _nth(settings: TrainSettings) -> str:
    """Return the name of this call: a script may ask for the same several times."""
    return f"run {_calls[_key(settings)]} {_key(settings)}"


def refuse_other_data(resolved: Resolved) -> None:
    """Raise UserError where this rank reads other pictures than rank 0."""
    if ranks.ranks() == 1:  # to know one's own pictures may take reading all of them
        return
    ours = fingerprint(resolved.data)
    if ranks.told(ours.encode() if ranks.rank() == 0 else None).decode() != ours:
        raise UserError(
            f"rank {ranks.rank()} reads other pictures in {resolved.data.source} than rank 0",
            "pictures, labels or class names differ",
            "give each host the same data, at the same place",
        )


def processes(settings: TrainSettings) -> str:
    """Say how many processes train, and over which pictures BN normalises; nothing of one."""
    if ranks.ranks() == 1:
        return ""
    over = "the pictures of all" if settings.sync_bn else "each one's own pictures"
    return f"{ranks.ranks()} processes, BN over {over}"


# --- the net ------------------------------------------------------------------------------------


def forward_of(net: ResNet, resolved: Resolved) -> Forward:
    """Return what computes net(x) in training and judging: alone as make_forward does, else so that gradients are those
    of all ranks' pictures. The net's BNs are changed for it, where they are to be synchronised."""
    if ranks.ranks() > 1 and resolved.settings.sync_bn:
        synchronise(net)
    forward = make_forward(net, resolved.compute, checkpointing=resolved.settings.checkpointing)
    return forward if ranks.ranks() == 1 else Shared(net, forward)


class Shared:
    """A net whose gradients are those of all ranks' pictures: called like it, (N, C_in, H, W) to (N, K)."""

    def __init__(self, net: ResNet, forward: Forward) -> None:
        self.forward = forward
        # Unused parameters are looked for: blocks may be skipped by chance; and torch leaves its buckets as they are:
        # so a run that goes on adds in the same order.
        self.parallel = DistributedDataParallel(_Planned(net, forward), find_unused_parameters=True)

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, K)."""
        return self.parallel(x) if torch.is_grad_enabled() else self.forward(x)


class _Planned(nn.Module):
    """A net's parameters and what computes it, as one module. BN's running statistics are not among them, which torch
    would send round in each step: they are rank 0's where they are read (ranks.copy_buffers)."""

    def __init__(self, net: ResNet, compute: Forward) -> None:
        super().__init__()
        self.moved = nn.ParameterList(net.parameters())
        self.compute = compute if isinstance(compute, Plan) else partial(compute)  # hidden: a module would be one's own

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, K)."""
        return self.compute(x)


# --- a step -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """Pictures of a step that go through the net together."""

    rows: slice
    """Which of the rank's."""
    labels: Tensor
    mix: Mix | None
    share: float
    """How much of the step's mean loss their mean loss is."""
    scale: float
    """What their loss is multiplied by before gradients are taken, of which DistributedDataParallel takes the mean."""
    together: AbstractContextManager[object]
    """What the backward pass runs in: gradients meet at the step's last part."""


def parts(
    forward: Forward, labels: Tensor, mix: Mix | None, count: int, class_weights: Tensor | None
) -> Iterator[Part]:
    """Cut a rank's pictures, whose (B,) labels are these, into `count` parts."""
    if count == 1 and ranks.ranks() == 1:
        yield Part(slice(0, len(labels)), labels, mix, 1.0, 1.0, nullcontext())
        return
    weights = torch.ones(len(labels)) if class_weights is None else class_weights[labels].cpu()
    (total,) = ranks.summed(float(weights.sum(dtype=torch.float64)))
    for number in range(count):
        rows = share(len(labels), number, count)
        of_step = float(weights[rows].sum(dtype=torch.float64)) / total
        is_last = number == count - 1
        together = forward.parallel.no_sync() if isinstance(forward, Shared) and not is_last else nullcontext()
        theirs = mix and Mix(mix.labels[rows], mix.share[rows])
        yield Part(rows, labels[rows], theirs, of_step, of_step * ranks.ranks(), together)


# --- going on -----------------------------------------------------------------------------------


def same_on_all(is_there: bool, save: Callable[[Path], None], restore: Callable[[Path], None]) -> None:
    """Bring all ranks to the checkpoint that rank 0 went on from, if there is one there; the others need not see its
    folder."""
    if ranks.ranks() == 1 or not ranks.highest(int(is_there)):
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / runs.CHECKPOINT
        if ranks.rank() == 0:
            save(Path(folder))
            ranks.told(file.read_bytes())
        else:
            file.write_bytes(ranks.told(None))
            restore(Path(folder))
