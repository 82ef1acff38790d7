"""Weights & Biases, offline: in the run folder, until `wandb sync RUN/wandb/offline-run-*` sends it.

Who sets WANDB_MODE=online has it sent at once. What it would add of itself (code, differences from the last commit,
what is printed, the machine's load) is left out.
"""

import os
from collections.abc import Mapping

from residuum.tracking.contract import About, Tracker

PROJECT = "residuum"


def open_tracker(about: About) -> Tracker:
    """Begin a run, or go on with the one that this run folder began."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        id=about.identity,
        name=about.name,
        dir=str(about.run),
        resume="allow",
        config=about.settings,
        settings=wandb.Settings(
            mode="online" if os.environ.get("WANDB_MODE") == "online" else "offline",
            reinit="create_new",  # the program that calls us may have one of its own
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_machine_info=True,
        ),
    )
    run.define_metric("*", step_metric="steps")  # a run that goes on from a checkpoint repeats some

    def log(figures: Mapping[str, float], step: int) -> None:
        run.log({**figures, "steps": step})

    return Tracker(log, lambda finished: run.finish(exit_code=0 if finished else 1))
