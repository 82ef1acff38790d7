"""What belongs to the program that calls a verb from Python, left as it was: its threads, its luck, its warnings.

torch and NumPy are not imported for this: where the program has not, it is left what they begin with.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def threads_as_found() -> Iterator[None]:
    """Leave torch as many threads as it had."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    try:
        yield
    finally:
        here = sys.modules.get("residuum.compute")  # nothing else sets them for longer than it measures
        if here and here.torch.get_num_threads() != (before or here.THREADS_AT_FIRST):
            here.torch.set_num_threads(before or here.THREADS_AT_FIRST)


@contextmanager
def all_as_found() -> Iterator[None]:
    """Leave the global generators of Python, NumPy and torch (its GPUs' too), the filters of warnings and the threads.

    For what seeds them, or imports what draws from them. What another thread draws meanwhile is drawn again.
    """
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    own, numpys = random.getstate(), numpy.random.get_state() if numpy else None
    torchs = torch.get_rng_state() if torch else None
    cards = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None
    try:
        with warnings.catch_warnings(), threads_as_found():
            yield
    finally:
        random.setstate(own)
        if numpy:
            numpy.random.set_state(numpys)
        if torch := sys.modules.get("torch"):
            torch.set_rng_state(torch.Generator().get_state() if torchs is None else torchs)
            if cards is not None:
                torch.cuda.set_rng_state_all(cards)
            elif torch.cuda.is_available():  # as they would have begun
                torch.cuda.manual_seed_all(torch.initial_seed())
