"""The queue before the nets: bounded in number and in time, pictures taken several at once.

One thread computes, since an engine takes all cores by itself; pictures are decoded in turn with it (`turns.py`). What
waits is answered in the order of arrival, except that a picture joins the batch of an earlier one for the same net.
"""

import asyncio
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from residuum.serving.refusals import Refusal
from residuum.serving.turns import Turns

RECENT = 0.2
"""Weight of the newest measurement in what is expected."""
LATELY = 3
"""Batches of which the middle one tells how long things take: a single slow one is chance, and would refuse many."""
HEADROOM = 0.5
"""The share of the longest wait that is promised: beside a crowd that is refused, all takes longer than before."""
MOST_DRAG = 10.0


def _recent() -> deque[float]:
    return deque(maxlen=LATELY)


@dataclass(eq=False)
class Work:
    """One thing that a model does with pictures: `run` takes up to `most` at once and gives as many results."""

    run: Callable[[Sequence[Any]], Sequence[Any]]
    most: int
    seconds: float = 0.0
    """What a picture is expected to take, as lately measured."""
    cores: int = 0
    """How many it computes on."""
    _lately: deque[float] = field(default_factory=_recent)

    def measured(self, seconds: float, pictures: int) -> None:
        """Take account of a batch."""
        self._lately.append(seconds / pictures)
        each = statistics.median_low(self._lately)
        self.seconds += (RECENT if self.seconds else 1.0) * (each - self.seconds)


class Answered(NamedTuple):
    """A result, how long its batch took, and how many pictures were in it."""

    result: Any
    seconds: float
    pictures: int


@dataclass(eq=False)
class Place:
    """A request's right to an answer, from before its picture is decoded until it has left."""

    work: Work
    seconds: float
    expected: float
    """How many seconds to its answer, but for what drags."""
    since: float = field(default_factory=time.monotonic)
    waits: bool = False


@dataclass(eq=False)
class Job:
    """A picture that waits."""

    place: Place
    payload: Any
    answered: asyncio.Future[Answered]
    since: float = field(default_factory=time.monotonic)

    @property
    def work(self) -> Work:
        """Return what is to be done with it."""
        return self.place.work


class Desk:
    """Gives places until there are `places` of them or they are expected to take half of `longest_wait` seconds.

    `gather`: for how many seconds a picture waits at most for others that are being decoded, to go together; not
    counted while all of the `cores` decode, when the net could not compute either.
    """

    def __init__(self, places: int, longest_wait: float, gather: float, cores: int = 1) -> None:
        self.places, self.longest_wait, self.gather = places, longest_wait, gather
        self.turns = Turns(cores)
        self.taken: set[Place] = set()
        self.waiting: deque[Job] = deque()
        self.preparing = 0.0
        """Seconds of the processor that it takes, as lately measured, to make a picture ready for any work."""
        self.drag = 1.0
        """How many times as long as expected those who waited had to wait, lately."""
        self._dragged = _recent()
        self.seen: Callable[[float, int], None] = lambda seconds, pictures: None
        """Told of each batch: its seconds, and how many pictures were in it."""
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "net")

    @property
    def expected(self) -> float:
        """Return how many seconds all that hold a place are expected to take."""
        return self.drag * sum(place.seconds for place in self.taken)

    def prepared(self, seconds: float) -> None:
        """Take account of a picture made ready."""
        self.preparing += (RECENT if self.preparing else 1.0) * (seconds - self.preparing)

    def look(self, work: Work) -> None:
        """Refuse (429) where there is no place for one more."""
        ahead, more = self.expected, self.drag * (work.seconds + self.preparing)
        if not self.taken or (len(self.taken) < self.places and ahead + more <= HEADROOM * self.longest_wait):
            return
        raise Refusal(
            429,
            "too many requests are waiting",
            f"{len(self.taken)} are ahead, and an answer would take about {ahead + more:.1f} s; the limits are "
            f"{self.places} requests and {HEADROOM * self.longest_wait:g} s, half of --longest-wait",
            "try again after as many seconds as Retry-After says",
            retry_after=max(1, math.ceil(ahead)),
        )

    @contextmanager
    def place(self, work: Work) -> Iterator[Place]:
        """Hold a place (Refusal 429 if there is none)."""
        self.look(work)
        own = work.seconds + self.preparing
        later = work.seconds * (work.most - 1)  # of those that come to its batch
        place = Place(work, own, sum(one.seconds for one in self.taken) + own + later)
        self.taken.add(place)
        try:
            yield place
        finally:
            self.taken.discard(place)
            self._arrived.set()  # a batch may be waiting for a picture that will not come

    def _waited(self, place: Place) -> None:
        """Take account of how long the first of a batch waited; a short wait tells only that nothing drags."""
        seconds = time.monotonic() - place.since
        ratio = seconds / max(place.expected, 1e-6) if seconds > self.longest_wait / 4 else 1.0
        self._dragged.append(min(max(ratio, 1.0), MOST_DRAG))
        self.drag += (statistics.median_low(self._dragged) - self.drag) / 2

    async def answer(self, place: Place, payload: Any) -> Answered:
        """Wait for the answer to a picture that holds a place; raises what its computing raised."""
        place.waits = True
        job = Job(place, payload, asyncio.get_running_loop().create_future())
        self.waiting.append(job)
        self._arrived.set()
        try:
            return await job.answered
        finally:
            if job in self.waiting:  # its client is gone
                self.waiting.remove(job)

    async def serve(self) -> None:
        """Answer until cancelled."""
        while True:
            if not self.waiting:
                await self._news(None)
            elif batch := await self._batch():
                await self._compute(batch)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _news(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except TimeoutError:
            return

    async def _batch(self) -> list[Job]:
        """Take the longest waiting picture, and those for the same work; wait a little for more that are on the way."""
        first = self.waiting[0]
        while True:
            found = [job for job in self.waiting if job.work is first.work][: first.work.most]
            left = self._begins_at(first) - time.monotonic()
            coming = any(place.work is first.work and not place.waits for place in self.taken)
            if len(found) == first.work.most or left <= 0 or not coming or not found:
                break
            await self._news(left)
        for job in found:
            self.waiting.remove(job)
        return found

    def _begins_at(self, first: Job) -> float:
        """Return when the net begins at the latest: decoding has no longer turns than the net."""
        turn_ends = self.turns.began + first.work.seconds * first.work.most
        busy_until = turn_ends if self.turns.full else min(self.turns.full_until, turn_ends)
        return max(first.since, busy_until) + self.gather

    async def _compute(self, batch: list[Job]) -> None:
        work, began = batch[0].work, time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            with self.turns.to_compute(work.cores):
                results = await loop.run_in_executor(self._thread, work.run, [job.payload for job in batch])
        except Exception as error:
            for job in batch:
                if not job.answered.done():
                    job.answered.set_exception(error)
            return
        seconds = time.perf_counter() - began
        work.measured(seconds, len(batch))
        self._waited(batch[0].place)
        self.seen(seconds, len(batch))
        for job, result in zip(batch, results, strict=True):
            if not job.answered.done():
                job.answered.set_result(Answered(result, seconds, len(batch)))
