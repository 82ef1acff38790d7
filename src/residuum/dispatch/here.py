"""Nets trained on this machine, as many at a time as told: each an ordinary run in a process of its own."""

import signal
import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum import runs
from residuum.dispatch.job import (
    RESTARTS,
    WAITING,
    Ended,
    failed,
    is_finished,
    prepare,
    put_away,
    refuse_to_go_on,
    start,
    trained_by_another,
    was_lost,
)
from residuum.errors import UserError
from residuum.settings import TrainSettings
from residuum.training.run import train
from residuum.training.signals import AskedToStop


def train_one_by_one(jobs: Mapping[Path, TrainSettings], asked_to_stop: AskedToStop) -> Generator[Ended]:
    """Train in this process (Stopped: a signal came; the run was saved)."""
    for folder, settings in jobs.items():
        refuse_to_go_on(asked_to_stop())
        fault = None
        if not trained_by_another(folder, asked_to_stop):
            goes_on = TrainSettings(resume=str(folder)) if runs.is_run(folder) else replace(settings, out=str(folder))
            try:
                train(goes_on)
            except UserError as error:
                fault = error
        yield Ended(folder, fault)


def train_side_by_side(jobs: Mapping[Path, TrainSettings], most: int, asked_to_stop: AskedToStop) -> Generator[Ended]:
    """Train in processes of their own, `most` at a time; one that is killed goes on (Stopped: as above)."""
    waiting, running, lost = list(jobs), dict[Any, Path](), Counter[Path]()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                folder = waiting.pop(0)
                if trained_by_another(folder, asked_to_stop):
                    yield Ended(folder)
                else:
                    prepare(folder, jobs[folder])
                    running[start(folder, jobs[folder].threads)] = folder
            refuse_to_go_on(asked_to_stop())
            for process in [one for one in running if one.poll() is not None]:
                with process:
                    folder = running.pop(process)
                lost[folder] += was_lost(process.returncode)
                if was_lost(process.returncode) and lost[folder] <= RESTARTS:
                    waiting.insert(0, folder)
                    continue
                yield _ended(folder, process.returncode)
            time.sleep(WAITING)
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            with process:
                process.wait()


def _ended(folder: Path, code: int) -> Ended:
    if code or not is_finished(folder):
        return Ended(folder, failed(folder))
    put_away(folder)
    return Ended(folder)
