"""Nets trained by Slurm: a job a net, its batch file and state by submitit, which runs the same process as here.

submitit's own jobs bring their function along as a pickle; ours are a command, so that none is read. A job that is
nearly out of time, preempted or on a lost node is queued again and goes on (worker.py). Beside each run's folder its
job's number (.job) is kept: who asks again for the run finds the job, and submits no second one.
"""

import os
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residuum.dispatch.job import (
    RESTARTS,
    WAITING,
    Ended,
    beside,
    command,
    failed,
    is_finished,
    prepare,
    put_away,
    refuse_to_go_on,
)
from residuum.dispatch.worker import ALONE
from residuum.errors import UserError
from residuum.records.codec import read_record, write_record
from residuum.records.dispatch import Submitted
from residuum.setting_parts import WhereTrained
from residuum.settings import TrainSettings
from residuum.training.signals import AskedToStop
from residuum.version import installing

os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
"""Else submitit sets up logging anew when it is imported, which closes whatever the caller logs to."""
ASKING = 15.0
"""Seconds between two questions to Slurm."""
MINUTES = 240
"""A job's time, where none is asked for."""
OVER = ("CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "REVOKED")
LOST = ("BOOT_FAIL", "NODE_FAIL", "TIMEOUT")
"""States of a job whose run goes on in another one, where Slurm has not queued it again itself."""


def train_by_slurm(
    jobs: Mapping[Path, TrainSettings], where: WhereTrained, asked_to_stop: AskedToStop
) -> Generator[Ended]:
    """Train each net as a job of Slurm (Stopped: a signal came; the jobs are cancelled, and save first).

    Raises:
        UserError: the package or Slurm is absent, or it takes no such job.
    """
    waiting, running, lost, asked = list(jobs), dict[Path, Any](), Counter[Path](), time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < (where.at_once or len(jobs)):
                folder = waiting.pop(0)
                running[folder] = _known(folder) or _submitted(folder, jobs[folder], where)
            refuse_to_go_on(asked_to_stop())
            if time.monotonic() - asked > ASKING:
                asked = time.monotonic()
                next(iter(running.values())).watcher.update()  # of all of them
            for folder, job in list(running.items()):
                state = job.watcher.get_state(job.job_id, "cache")
                if is_finished(folder) or beside(folder, ".failed").exists() or state.startswith(OVER):
                    yield _ended(folder, running.pop(folder))
                elif state.startswith(LOST):
                    lost[folder] += 1
                    running.pop(folder)
                    if lost[folder] <= RESTARTS:
                        waiting.insert(0, folder)
                    else:
                        yield _ended(folder, job)
            time.sleep(WAITING)
    finally:
        for job in running.values():
            job.cancel(check=False)


def shown(folder: Path, settings: TrainSettings, where: WhereTrained) -> str:
    """Return the batch file of a run's job (UserError if the package is absent, or sbatch's options are wrong)."""
    with _slurm() as slurm:
        return str(slurm._make_sbatch_string(_line(folder), _logs(folder), **_options(folder, settings, where)))


# --- a job --------------------------------------------------------------------------------------


def _submitted(folder: Path, settings: TrainSettings, where: WhereTrained) -> Any:
    prepare(folder, settings)
    beside(folder, ".failed").unlink(missing_ok=True)
    with _slurm() as slurm:
        executor = slurm.SlurmExecutor(_logs(folder))
        executor.folder.mkdir(parents=True, exist_ok=True)
        executor.update_parameters(**_options(folder, settings, where))
        job = executor._submit_command(_line(folder))
    write_record(beside(folder, ".job"), Submitted(job=job.job_id))
    return job


def _known(folder: Path) -> Any:
    """Return the job of a run that was submitted before and is not over, if there is one."""
    if not beside(folder, ".job").exists() or beside(folder, ".failed").exists():
        return None
    with _slurm() as slurm:
        job = slurm.SlurmJob(_logs(folder), read_record(beside(folder, ".job"), Submitted).job)
    return None if job.watcher.get_state(job.job_id, "force").startswith((*OVER, *LOST, "UNKNOWN")) else job


def _ended(folder: Path, job: Any) -> Ended:
    if is_finished(folder):
        put_away(folder)
        return Ended(folder)
    beside(folder, ".job").unlink(missing_ok=True)
    return Ended(folder, failed(folder, Path(job.paths.stdout)))


def _line(folder: Path) -> str:
    return shlex.join([*command(folder), ALONE])


def _logs(folder: Path) -> Path:
    return folder.parent / "slurm"


def _options(folder: Path, settings: TrainSettings, where: WhereTrained) -> dict[str, Any]:
    """Return what submitit is told of a job: what it does not know by name goes to sbatch as it is."""
    from inspect import signature

    from submitit.slurm.slurm import _make_sbatch_string

    more: dict[str, Any] = {"requeue": True}
    named: dict[str, Any] = {"time": MINUTES, "cpus_per_task": settings.threads or 1, "stderr_to_stdout": True}
    named |= {"job_name": folder.name, **({"gpus_per_node": round(where.gpus)} if where.gpus else {})}
    for given in where.slurm:
        name, equals, value = given.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        (named if key in signature(_make_sbatch_string).parameters else more)[key] = value if equals else True
    return {**named, "additional_parameters": more}


@contextmanager
def _slurm() -> Iterator[Any]:
    try:
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm import slurm
    except ModuleNotFoundError as error:
        raise UserError("--on slurm needs the package submitit", "", installing("slurm")) from error
    try:
        yield slurm
    except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError, TypeError, ValueError) as error:
        raise UserError("Slurm takes no such job", str(error).strip().split("\n")[-1], "check --slurm") from error
    except RuntimeError as error:
        mend = "call this where sbatch can be called, or with --dry-run"
        raise UserError("there is no Slurm here", "srun is not found", mend) from error
