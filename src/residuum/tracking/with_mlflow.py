"""MLflow: a run of its experiment "residuum", in the store that MLFLOW_TRACKING_URI names, else in the run folder
(`MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri RUN/mlflow` shows it). Its own reports of use are off.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from residuum.runs import MLFLOW
from residuum.tracking.contract import About, Tracker

EXPERIMENT = "residuum"
IDENTITY = "residuum.run"
PARAMETERS = 100
"""MLflow takes so many at a time."""


def open_tracker(about: About) -> Tracker:
    """Begin a run, or go on with the one that this run folder began."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name, value in (("MAX_RETRIES", "1"), ("TIMEOUT", "10")):  # a server that is gone holds the run up but once
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{name}", value)
    store = os.environ.get("MLFLOW_TRACKING_URI")
    if not store:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store or (about.run / MLFLOW).as_uri())
    run = _run(client, about)

    def log(figures: Mapping[str, float], step: int) -> None:
        now = time.time_ns() // 1_000_000
        client.log_batch(run, metrics=[Metric(name, value, now, step) for name, value in figures.items()])

    return Tracker(log, lambda finished: client.set_terminated(run, "FINISHED" if finished else "KILLED"))


def _run(client: Any, about: About) -> str:
    """Return the number that MLflow knows the run by."""
    from mlflow.entities import Param

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    there = client.get_experiment_by_name(name)
    experiment = there.experiment_id if there else client.create_experiment(name)
    if begun := client.search_runs([experiment], f"tags.`{IDENTITY}` = '{about.identity}'", max_results=1):
        client.update_run(begun[0].info.run_id, status="RUNNING")
        return str(begun[0].info.run_id)
    run = client.create_run(experiment, tags={IDENTITY: about.identity}, run_name=about.name).info.run_id
    settings = [Param(name, str(value)) for name, value in about.settings.items()]
    for start in range(0, len(settings), PARAMETERS):
        client.log_batch(run, params=settings[start : start + PARAMETERS])
    return str(run)
