"""Work on many pictures in threads side by side, which decoding lets run."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from residuum import machine

PICTURES_A_TASK = 64

Result = TypeVar("Result")


def in_threads(count: int, work: Callable[[range], Result]) -> Iterator[Result]:
    """Yield `work` of 64 rows at a time below `count`, in order, with no more under way than keeps the cores busy."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(machine.cores())
    try:
        for start in range(0, count, PICTURES_A_TASK):
            waiting.append(pool.submit(work, range(start, min(start + PICTURES_A_TASK, count))))
            if len(waiting) > 2 * machine.cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
