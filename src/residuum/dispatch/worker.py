"""python -m residuum.dispatch.worker FOLDER: train the run whose settings lie beside FOLDER, or go on with it.

It is asked to stop, as by SIGTERM, when whoever began it is gone: nobody writes to its stdin, which ends when the
process that holds the other end does, however that ends. A job of Slurm stands alone; of the end of its time it hears
by SIGUSR2, as submitit's batch files ask for: then the run is saved, and the job queued again.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

from residuum.dispatch.job import beside, is_finished, trained_by_another, was_lost
from residuum.runs import is_run

ALONE = "--alone"
"""Said to a job of Slurm, which outlives whoever submitted it."""


def end_with_stdin() -> None:
    """Wait for the end of stdin, then ask this process to stop."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(folder: Path, *, alone: bool) -> None:
    """Train the run (SystemExit with the command's code, if that is not 0)."""
    heard = list[int]()

    def out_of_time(number: int, _frame: object) -> None:
        heard.append(number)
        signal.raise_signal(signal.SIGTERM)

    if not alone:
        threading.Thread(target=end_with_stdin, daemon=True).start()
    else:
        signal.signal(signal.SIGUSR2, out_of_time)
    if trained_by_another(folder, lambda: None):
        return
    begin = ["--config", f"{beside(folder, '.json')}", "--out", str(folder)]
    sys.argv = ["residuum", "train", *(["--resume", str(folder)] if is_run(folder) else begin)]
    try:
        runpy.run_module("residuum", run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 2
        if alone and heard and was_lost(code):
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
        elif alone and not was_lost(code) and not is_finished(folder):
            beside(folder, ".failed").touch()
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]), alone=ALONE in sys.argv[2:])
