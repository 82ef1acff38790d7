"""Processes that train one net together, as torchrun starts them: which of them this is, and what they tell each other.

Alone, which is the usual case, this is rank 0 of 1 and nobody is told anything. Rank 0 alone speaks and writes.
"""

import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum import console
from residuum.errors import Stopped, UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LONG = timedelta(days=7)
"""How long one rank may wait for another that is alive: reading a large data set for the first time takes hours."""
BEATS = 1.0
"""Seconds from one sign of life to the next."""
SILENT = 15
"""So many looks in vain, and a rank is taken to be lost. Looks are counted, not seconds: a machine that was asleep, or
processes that were all stopped, have missed none."""
FAILED = 3
"""So many questions in a row without an answer, and the host that keeps the account is taken to be lost."""
STUCK = 5
"""So many looks at torchrun's agent in which it did nothing, and it is taken to wait for the lost host."""


class Lost(UserError):  # noqa: N818 - as UserError is what people see
    """Another of the processes has ended, or its host cannot be reached."""

    exit_code = 1


@dataclass
class _Group:
    """This process among those that train together."""

    rank: int
    ranks: int
    host: str
    port: int
    round: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    looks: int = 0
    """How often the watcher has asked who is alive."""
    agent: Any = None
    """The store that outlives an attempt, where torchrun's agent keeps it."""
    store: Any = None
    """What is of this attempt in it."""


_joined: list[_Group] = []


def rank() -> int:
    """Return the number of this process, from 0."""
    return _joined[0].rank if _joined else 0


def ranks() -> int:
    """Return how many processes train together."""
    return _joined[0].ranks if _joined else 1


def launched() -> int:
    """Return how many processes torchrun, or what sets its variables, has started; 1 where nothing has."""
    there = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    return int(os.environ["WORLD_SIZE"]) if there else 1


def is_first_launched() -> bool:
    """Say whether this is rank 0, before anything is joined."""
    return launched() == 1 or os.environ["RANK"] == "0"


def on_this_machine() -> int:
    """Return how many of the processes share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() > 1 else 1


def place_on_machine() -> int:
    """Return the number of this process among those on its machine: the GPU that is its own."""
    return int(os.environ.get("LOCAL_RANK", "0")) if launched() > 1 else 0


# --- joining ------------------------------------------------------------------------------------


@contextmanager
def joined() -> Iterator[None]:
    """Train together with the processes that were launched with this one; alone, or joined already, do nothing.

    Of several that fail, one says why.

    Raises:
        Lost: another process ended, or its host cannot be reached.
    """
    if launched() == 1 or _joined:
        yield
        return
    group = _Group(int(os.environ["RANK"]), launched(), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    try:
        with console.silenced(group.rank > 0):
            _join(group)
            _joined.append(group)
            yield
    except (UserError, Stopped) as error:
        raise _told_once(group, error) from error.__cause__
    except RuntimeError as error:
        if not _is_of_the_connection(error):
            raise
        raise _told_once(group, lost(str(error).split(". ")[0])) from None
    finally:
        _leave(group)


def _join(group: _Group) -> None:
    import torch
    from torch import distributed
    from torch._C import _distributed_c10d as c10d

    keeps_store = group.rank == 0 and not _agent_has_store()
    group.agent = c10d.TCPStore(group.host, group.port, timeout=LONG, is_master=keeps_store)
    group.agent.set_timeout(timedelta(seconds=SILENT / FAILED))
    threading.Thread(target=_watch_the_watcher, args=(group,), daemon=True).start()
    group.round = _round(group, group.agent)
    group.store = c10d.PrefixStore(group.round, group.agent)
    threading.Thread(target=_watch, args=(group,), daemon=True).start()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        torch.cuda.set_device(place_on_machine() % gpus)
    each_has_one = on_this_machine() <= gpus and distributed.is_nccl_available()  # NCCL refuses to share a GPU
    backend = "cpu:gloo,cuda:nccl" if each_has_one else "gloo"
    patient = c10d.TCPStore(group.host, group.port, timeout=LONG, is_master=False)
    within = c10d.PrefixStore(f"{group.round} group", patient)
    distributed.init_process_group(backend, store=within, rank=group.rank, world_size=group.ranks, timeout=LONG)
    distributed.barrier()


def _agent_has_store() -> bool:
    """Say whether torchrun's agent keeps the store, as it does where it can; else rank 0 has to."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _round(group: _Group, agent: Any) -> str:
    """Agree on a name for this attempt: the agent's store still has the addresses of the one before.

    torchrun counts restarts on each host for itself, so that count is none. Rank 0 waits for a call of each of the
    others and answers those; a call of a process that is dead is answered to nobody.
    """
    own = uuid.uuid4().hex
    if group.rank > 0:
        while not agent.check([f"answer {own}"]):
            agent.set(f"call {group.rank}", own)
            _look_again(group)
        return str(agent.get(f"answer {own}").decode())
    for other in range(1, group.ranks):
        agent.delete_key(f"call {other}")
    for each in range(group.ranks):  # for the watcher, who asks for all at once
        agent.set(f"{own}/beat {each}", "0")
    waited_for = set(range(1, group.ranks))
    while waited_for:
        for other in [one for one in waited_for if agent.check([f"call {one}"])]:
            agent.set(f"answer {agent.get(f'call {other}').decode()}", own)
            waited_for.remove(other)
        _look_again(group)
    return own


def _look_again(group: _Group) -> None:
    group.looks += 1
    threading.Event().wait(0.05)


def _leave(group: _Group) -> None:
    from torch import distributed

    group.ended.set()
    if _joined:
        _joined.clear()
    if distributed.is_initialized():
        try:
            group.store.set(f"beat {group.rank}", "left")
        except RuntimeError:  # the host that keeps it has gone
            return
        distributed.destroy_process_group()


# --- who is lost --------------------------------------------------------------------------------


def lost(why: str) -> Lost:
    """Return what is raised where another process is gone."""
    return Lost(
        "a process that trains with this one has ended, so all stop; the last checkpoint is good",
        why,
        "residuum train --resume RUN, with any number of processes; torchrun --max-restarts 3 does so by itself",
    )


def _is_of_the_connection(error: RuntimeError) -> bool:
    from torch import distributed

    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()


def _told_once(group: _Group, error: Any, store: Any = None) -> Any:
    """Return the error; where another rank says why all stop, this one ends without a word."""
    store = store or group.store
    try:
        others = isinstance(error, Stopped) and group.rank > 0
        console.silence(others or (store is not None and store.add("told", 1) > 1))
    except RuntimeError:  # nobody can be asked
        console.silence(place_on_machine() > 0)
    return error


def _watch(group: _Group) -> None:
    """Give a sign of life each second, and end this process where another gives none: a host that is cut off closes no
    connection, and torch would wait for it."""
    from torch._C._distributed_c10d import PrefixStore

    names = [f"beat {other}" for other in range(group.ranks)]
    last, unchanged, beat, failed, store = [b""] * group.ranks, [0] * group.ranks, 0, 0, None
    while not group.ended.wait(BEATS):
        beat += 1
        group.looks += 1
        try:
            store = store or PrefixStore(group.round, _connection(group))
            store.set(names[group.rank], str(beat))
            now = store.multi_get(names)
        except RuntimeError as error:
            failed, store = failed + 1, None
            if failed == FAILED:
                _end(group, lost(f"the host {group.host} cannot be reached: {str(error).splitlines()[0]}"))
            continue
        looks = zip(unchanged, now, last, strict=True)
        unchanged, last, failed = [count + 1 if seen == before else 0 for count, seen, before in looks], now, 0
        gone = [one for one in range(group.ranks) if unchanged[one] >= SILENT and now[one] != b"left"]
        if gone:
            _end(group, lost(f"rank {gone[0]} gives no sign of life"), store)


def _watch_the_watcher(group: _Group) -> None:
    """End this process where the watcher waits for an answer of a host that is cut off: torch waits without end."""
    before, unchanged = -1, 0
    while not group.ended.wait(BEATS):
        before, unchanged = group.looks, unchanged + 1 if group.looks == before else 0
        if unchanged >= SILENT:
            _end(group, lost(f"the host {group.host} cannot be reached"))


def _connection(group: _Group) -> Any:
    """Return the store by a connection of one's own: the main thread's may be waiting for an answer."""
    from torch._C import _distributed_c10d as c10d

    return c10d.TCPStore(group.host, group.port, timeout=timedelta(seconds=SILENT / FAILED), is_master=False)


def _end(group: _Group, error: Lost, store: Any = None) -> None:
    """End the process from here: the main thread waits for the lost one, and cannot be woken. Without a store that
    answers, the first on each machine says why."""
    threading.Event().wait(BEATS)  # where the connection was closed, the main thread knows, and says so
    if group.ended.is_set():
        return
    console.silence(place_on_machine() > 0)
    if store is not None:
        _told_once(group, error, store)
    console.say(f"error: {error}")
    sys.stdout.flush()
    _end_agent_that_waits()
    os._exit(error.exit_code)


def _end_agent_that_waits() -> None:
    """End torchrun where it waits for an answer of the lost host, too: TCPStore has no end for that, and until then
    torchrun sees no child that has ended and no milder signal. Otherwise it looks at its children ten times a second.
    Whatever else has started this process is left alone; so is all where there is no /proc."""
    agent = Path(f"/proc/{os.getppid()}")
    try:
        words = (agent / "cmdline").read_bytes()
        if not any(name in words for name in (b"torchrun", b"torch.distributed.run", b"torch/distributed/run")):
            return
        first = _turns(agent)
        for _ in range(STUCK):
            threading.Event().wait(BEATS)
            if _turns(agent) != first:
                return
        os.kill(int(agent.name), signal.SIGKILL)
    except (OSError, IndexError):  # it has ended
        return


def _turns(process: Path) -> int:
    """Return how often a process's main thread has given way to wait: it stays the same while it waits."""
    status = (process / "task" / process.name / "status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


# --- what they tell each other ------------------------------------------------------------------


def remember(name: str, value: str) -> None:
    """Keep a value for the attempts that torchrun may start after this one."""
    if (store := _of_all_attempts()) is not None:
        store.set(name, value)


def remembered(name: str) -> str | None:
    """Return what an earlier attempt kept, if anything."""
    store = _of_all_attempts()
    return str(store.get(name).decode()) if store is not None and store.check([name]) else None


def _of_all_attempts() -> Any:
    """Return the store that outlives an attempt, which torchrun has for a single process, too; None where none is."""
    if _joined:
        return _joined[0].agent
    try:
        here = _Group(0, 1, os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        return _connection(here) if _agent_has_store() else None
    except (KeyError, RuntimeError):  # what is left of a torchrun that has ended
        return None


def told(content: bytes | None) -> bytes:
    """Return what rank 0 gives as `content`, on every rank."""
    if not _joined:
        assert content is not None
        return content
    import numpy as np
    import torch
    from torch import distributed

    length = torch.tensor([len(content or b"")])
    distributed.broadcast(length, 0)
    sent = torch.empty(int(length), dtype=torch.uint8)
    if rank() == 0:
        sent = torch.from_numpy(np.frombuffer(content or b"", np.uint8).copy())
    distributed.broadcast(sent, 0)
    return sent.numpy().tobytes()


def summed(*numbers: float) -> tuple[float, ...]:
    """Return the sums over all ranks, in float64 and to the same bits on each."""
    if not _joined:
        return numbers
    return tuple(map(sum, zip(*_all(numbers), strict=True)))


def highest(number: int) -> int:
    """Return the highest that any rank gives."""
    return int(max(given for (given,) in _all((number,)))) if _joined else number


def _all(numbers: tuple[float, ...]) -> list[list[float]]:
    """Return what each rank gives, in turn."""
    import torch
    from torch import distributed

    own = torch.tensor(numbers, dtype=torch.float64)
    parts = [torch.empty_like(own) for _ in range(ranks())]
    distributed.all_gather(parts, own)
    return [part.tolist() for part in parts]


def gathered(own: "Tensor", num_rows: int) -> "Tensor":
    """Return the rows that all ranks have, one rank's behind another's, (num_rows, K) float32; a rank may have none."""
    if not _joined:
        return own
    import torch
    from torch import distributed

    counts = [int(count) for (count,) in _all((float(own.numel()),))]
    filled = torch.zeros(max(counts))
    filled[: own.numel()] = own.reshape(-1)
    parts = [torch.empty_like(filled) for _ in counts]
    distributed.all_gather(parts, filled)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).view(num_rows, -1)


def copy_buffers(net: "torch.nn.Module") -> None:
    """Give a net rank 0's buffers: BN's running statistics, where each process has its own."""
    if _joined:
        from torch import distributed

        for buffer in net.buffers():
            distributed.broadcast(buffer, 0)
