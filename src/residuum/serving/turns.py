"""Decoding and the net take turns: each wants all cores, and a net's threads wait for each other.

A picture decoded beside a net takes a core from one of its threads, and the others wait for that one: the net loses the
core's time as many times as it has threads.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Turns:
    """Lets pictures be decoded, one a core, and while a net computes only on the cores that it leaves."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.began = self.full_until = 0.0
        """When the turn of decoding began, and when every core was last at it."""
        self._free, self._decoding = cores, 0
        self._asked: deque[asyncio.Future[None]] = deque()

    @property
    def full(self) -> bool:
        """Say whether every core is decoding."""
        return self._decoding >= self.cores

    @asynccontextmanager
    async def to_decode(self) -> AsyncIterator[None]:
        """Wait for a core to decode on, in the order of asking, and hold it."""
        turn = asyncio.get_running_loop().create_future()
        self._asked.append(turn)
        self._let()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self.full_until = time.monotonic() if self.full else self.full_until
                self._decoding -= 1
                self._let()

    @contextmanager
    def to_compute(self, cores: int) -> Iterator[None]:
        """Keep these cores from those who would decode; a picture that is being decoded is gone on with."""
        self._free = self.cores - cores
        try:
            yield
        finally:
            self._free, self.began = self.cores, time.monotonic()
            self._let()

    def _let(self) -> None:
        while self._asked and self._decoding < self._free:
            turn = self._asked.popleft()
            if not turn.done():
                self.began = self.began if self._decoding else time.monotonic()
                self._decoding += 1
                turn.set_result(None)
