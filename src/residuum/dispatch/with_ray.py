"""Nets trained on Ray: a task a net, which runs the same process as here, on whatever machine has room.

A task whose worker or node is lost is begun again by Ray, and goes on from the run's last checkpoint: the run folder,
on a path that all machines share, holds all there is to know.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from residuum import machine
from residuum.dispatch.job import (
    RESTARTS,
    WAITING,
    Ended,
    beside,
    failed,
    is_finished,
    prepare,
    put_away,
    refuse_to_go_on,
    start,
    was_lost,
)
from residuum.errors import UserError
from residuum.setting_parts import WhereTrained
from residuum.settings import TrainSettings
from residuum.training.signals import AskedToStop
from residuum.version import VERSION, installing

SAVING = 60.0
"""Seconds in which runs that are asked to stop have saved."""
OURS = ("RESIDUUM_DATA", "RESIDUUM_CACHE", "RESIDUUM_WEIGHTS", "RESIDUUM_KERNELS")
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Ray reports its use to its makers, brings its workers a new environment and warns, unless it is told not to."""


def train_on_ray(
    jobs: Mapping[Path, TrainSettings], where: WhereTrained, asked_to_stop: AskedToStop
) -> Generator[Ended]:
    """Train each net as a task of Ray (Stopped: a signal came; every run was saved).

    Raises:
        UserError: the package is absent, or there is no cluster at the address.
    """
    with connected(where) as ray:
        task = ray.remote(train_there)
        waiting, running = list(jobs), dict[Any, Path]()
        try:
            while waiting or running:
                while waiting and len(running) < (where.at_once or len(jobs)):
                    folder = waiting.pop(0)
                    prepare(folder, jobs[folder])
                    threads = jobs[folder].threads or 1
                    sized = task.options(num_cpus=threads, num_gpus=where.gpus or 0, max_retries=RESTARTS)
                    running[sized.remote(str(folder.absolute()), threads, VERSION)] = folder
                for reference in ray.wait(list(running), timeout=WAITING)[0]:
                    yield _ended(ray, reference, running.pop(reference))
                refuse_to_go_on(asked_to_stop())
        finally:
            _cancel(ray, list(running))


def train_there(folder: str, threads: int, version: str) -> str:
    """Train one run on the machine that Ray has chosen, or go on with it; return "", or why that cannot be."""
    run = Path(folder)
    if version != VERSION:
        return f"{socket.gethostname()} has residuum {VERSION}, and was asked by {version}"
    if not beside(run, ".json").is_file() and not is_finished(run):
        return f"{socket.gethostname()} does not see {run.parent}: --out must lie where all machines reach it"
    for _ in range(RESTARTS):
        process = start(run, threads)
        try:
            while process.poll() is None:  # not wait(): Ray's cancelling reaches Python between two steps alone
                time.sleep(WAITING)
        finally:
            with process:  # its stdin is closed: it saves, and ends
                pass
        if not was_lost(process.returncode):
            break
    return "" if process.returncode == 0 and is_finished(run) else str(failed(run))


@contextmanager
def connected(where: WhereTrained) -> Iterator[Any]:
    """Join the cluster at an address, or begin one here that ends with the work (UserError as above)."""
    address = where.address or os.environ.get("RAY_ADDRESS") or "local"
    for name, value in (QUIET | ({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if address == "local" else {})).items():
        os.environ.setdefault(name, value)  # the last lets it listen on this machine's own address alone, on Linux too
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError("--on ray needs the package ray", "", installing("ray")) from error
    passed = {name: os.environ[name] for name in OURS if name in os.environ}
    alone: dict[str, Any] = {"num_cpus": where.at_once or machine.cores(), "include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address,
            runtime_env={"env_vars": passed} if passed else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **(alone if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"there is no Ray cluster at {address}", str(error).split("\n")[0], "check --address"
        ) from error
    if on_sigterm is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # ray.init puts one of its own there, which ends this process
    try:
        with redirect_stdout(sys.stderr):  # where Ray prints that a worker was lost, figures go
            yield ray
    finally:
        ray.shutdown()


def _ended(ray: Any, reference: Any, folder: Path) -> Ended:
    try:
        said = ray.get(reference)
    except ray.exceptions.RayError as error:
        said = str(error).strip().split("\n")[-1]
    if said:
        return Ended(folder, UserError(f"training {folder.name} failed", said.replace("\n", "\n        ")))
    put_away(folder)
    return Ended(folder)


def _cancel(ray: Any, running: list[Any]) -> None:
    """Ask the tasks to end, and wait until their runs are saved."""
    for reference in running:
        ray.cancel(reference)
    if running:
        ray.wait(running, num_returns=len(running), timeout=SAVING)
