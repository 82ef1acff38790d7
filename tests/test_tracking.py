"""Trackers get what the run wrote down, cannot stop it, and open no socket; the library itself prints nothing."""

import json
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_up_records import environment_json, settings_json

import residuum
from residuum import console, runs
from residuum.errors import UserError
from residuum.records.run import Epoch
from residuum.tracking import trackers
from residuum.tracking.contract import About, Tracker
from residuum.tracking.trackers import PACKAGES, figures_of, refuse_absent, tracking
from residuum.version import installing

EPOCH = Epoch(epoch=1, step=10, train_loss=0.5, train_accuracy=0.75, seconds=2.0, images_per_s=640.0)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run folder with what a tracker reads of it."""
    settings = {**settings_json(), "settings": {"data": "digits", "lr": None}}
    (tmp_path / runs.SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / runs.ENVIRONMENT).write_text(json.dumps(environment_json("2026-01-01", "", 2)), encoding="utf-8")
    return tmp_path


def made_up(monkeypatch: pytest.MonkeyPatch, tracker: Tracker | Exception) -> list[About]:
    """Let MLflow be this; return what it is told when it is opened."""
    told = list[About]()

    def opened(about: About) -> Tracker:
        told.append(about)
        if isinstance(tracker, Exception):
            raise tracker
        return tracker

    monkeypatch.setitem(trackers.PACKAGES, "mlflow", ("mlflow", opened))
    return told


def test_a_tracker_is_handed_every_number_of_a_line(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged, ends = list[tuple[Mapping[str, float], int]](), list[bool]()
    told = made_up(monkeypatch, Tracker(lambda figures, step: logged.append((figures, step)), ends.append))
    for _ in range(2):
        with tracking(begun, ["mlflow"]) as track:
            track(figures_of(EPOCH), EPOCH.step)
    numbers = {"train_loss": 0.5, "train_accuracy": 0.75, "seconds": 2.0, "images_per_s": 640.0}
    assert logged == 2 * [({f"epoch/{name}": value for name, value in numbers.items()}, 10)]
    assert ends == [True, True]
    assert told[0] == told[1]  # what goes on is known again
    assert told[0].settings == {"data": "digits"}
    with pytest.raises(RuntimeError), tracking(begun, ["mlflow"]):
        raise RuntimeError
    assert ends[-1] is False


@pytest.mark.parametrize("fails", ["open", "log", "close"])
def test_a_tracker_that_fails_is_said_once_and_stops_nothing(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str
) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("nobody there")

    def well(*_: object) -> None:
        pass

    one = Tracker(fail if fails == "log" else well, fail if fails == "close" else well)
    made_up(monkeypatch, ConnectionError("nobody there") if fails == "open" else one)
    with tracking(begun, ["mlflow"]) as track:
        for step in range(3):
            track({"step/loss": 1.0}, step)
    said = capsys.readouterr().err
    assert said == "mlflow takes no more figures (ConnectionError: nobody there); the run goes on without it\n"


def test_a_tracker_that_is_not_installed_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trackers.PACKAGES, "wandb", ("wandb_that_is_absent", PACKAGES["wandb"][1]))
    (tmp_path / "wandb_that_is_absent").mkdir()  # as wandb's own folder of runs would be, where it was called
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="wandb needs a package") as error:
        refuse_absent(["wandb"])
    assert error.value.mend == installing("wandb")
    out = tmp_path / "run"
    with pytest.raises(UserError, match="wandb needs a package"):  # before anything is written
        residuum.train("digits", track=("wandb",), epochs=1, out=out)
    assert not (out / runs.SETTINGS).exists()


# --- what is said -------------------------------------------------------------------------------


def test_the_library_prints_nothing_and_logs_to_whoever_listens(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = list[tuple[int, str]]()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((record.levelno, record.getMessage()))

    log = logging.getLogger("residuum")
    own = [one for one in log.handlers if isinstance(one, logging.NullHandler)]
    assert own
    monkeypatch.setattr(log, "handlers", [*own])
    monkeypatch.setattr(log, "level", logging.NOTSET)
    log.manager._clear_cache()  # type: ignore[attr-defined]  # what is logged at each level is remembered
    console.say("words")
    console.warn("worse")
    assert capfd.readouterr() == ("", "")
    log.addHandler(Listening())
    log.setLevel(logging.INFO)
    console.say("50 % \x1b[31m")
    console.warn("worse")
    assert heard == [(logging.INFO, "50 % \\u001b[31m"), (logging.WARNING, "worse")]
    assert capfd.readouterr() == ("", "")
    assert not console.is_told_on_stderr()
    log.manager._clear_cache()  # type: ignore[attr-defined]


# --- the trackers themselves --------------------------------------------------------------------

TRAINED = """
import sys, residuum
quickly = {"epochs": 2, "batch_size": 64, "blocks": (1, 1, 1), "threads": 1}
residuum.train("digits", **quickly, track=("mlflow", "wandb"), out=sys.argv[1])
"""
"""As who uses the library would."""


def alone(words: list[str], folder: Path) -> str:
    """Run Python, in a network of its own, and return where it and its children wanted to connect or send."""
    trace = folder / "trace"
    traced = ["strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace), sys.executable, *words]
    named = {name: os.environ[name] for name in os.environ if not name.startswith(("MLFLOW_", "WANDB_"))}
    subprocess.run(["unshare", "--net", *traced], check=True, env=named, cwd=folder)
    return trace.read_text(encoding="utf-8", errors="replace")


@pytest.mark.slow
def test_mlflow_and_wandb_hold_the_metrics_lines_and_opened_no_socket(tmp_path: Path) -> None:
    mlflow, _ = pytest.importorskip("mlflow"), pytest.importorskip("wandb")
    if subprocess.run(["unshare", "--net", "strace", "-V"], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own can be made here, or there is no strace")
    run = tmp_path / "run"
    trace = alone(["-c", TRAINED, str(run)], tmp_path)
    assert "execve" not in trace  # only what was asked for is in it
    assert "AF_INET" not in trace
    record = runs.read_run(run)
    assert record.evaluation is not None
    expected = [(line.step, line.validation_accuracy) for line in record.epochs]
    assert len(expected) == 2

    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(tracking_uri=(run / runs.MLFLOW).as_uri())
    [found] = client.search_runs([client.get_experiment_by_name("residuum").experiment_id])
    history = client.get_metric_history(found.info.run_id, "epoch/validation_accuracy")
    assert [(one.step, one.value) for one in history] == expected
    assert found.data.metrics["test/top1"] == record.evaluation.top1.value
    assert found.data.params["batch_size"] == "64"
    assert found.info.status == "FINISHED"

    [file] = (run / "wandb").glob("offline-run-*/*.wandb")
    rows = [row for row in history_of(file) if "epoch/train_loss" in row]
    assert [(row["steps"], row["epoch/validation_accuracy"]) for row in rows] == expected


def history_of(file: Path) -> list[dict[str, Any]]:
    """Read the figures that wandb would send: by its own types, out of a log of LevelDB's form."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, records, place = file.read_bytes(), [b""], 7  # behind the file's own head
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        size, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        records[-1] += content[place + 7 : place + 7 + size]
        records += [b""] * (kind in {1, 4})  # whole, or the last part
        place += 7 + size
    rows = list[dict[str, Any]]()
    for one in records:
        record = Record.FromString(one)
        if record.HasField("history"):
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return rows
