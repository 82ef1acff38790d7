"""Work on many pictures in threads side by side, which decoding lets run."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from residuum import machine

PICTURES_A_TASK = 64

Given = TypeVar("Given")
Result = TypeVar("Result")


def in_threads(count: int, work: Callable[[range], Result]) -> Iterator[Result]:
    """Yield `work` of 64 rows at a time below `count`, in order, with no more under way than keeps the cores busy."""
    starts = range(0, count, PICTURES_A_TASK)
    rows = (range(start, min(start + PICTURES_A_TASK, count)) for start in starts)
    return in_order(rows, work, 2 * machine.cores() + 1)


def in_order(each: Iterable[Given], work: Callable[[Given], Result], ahead: int) -> Iterator[Result]:
    """Yield `work` of each in order; no more than `ahead` of them are begun, or wait to be taken, at a time."""
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(machine.cores())
    try:
        for one in each:
            waiting.append(pool.submit(work, one))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
