"""Many nets, wherever they are trained: the same run folders, to the digit, and nothing lost with a worker."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_up_slurm import made_up_slurm
from processes import living

from residuum import runs
from residuum.dispatch import with_ray, with_slurm, worker
from residuum.dispatch.job import Ended, Planned, beside, is_finished, prepare, run_folder, was_lost
from residuum.dispatch.train_all import _of_these_pictures, _placed_elsewhere, _placed_here, _to_go, train_all
from residuum.errors import Stopped, UserError
from residuum.files import read_json
from residuum.records.codec import read_record, write_record
from residuum.records.dispatch import Submitted
from residuum.records.run import Data, Epoch
from residuum.setting_parts import WhereTrained
from residuum.settings import StudySettings, TrainSettings
from residuum.studies.frame import Setup
from residuum.studies.run import run_studies
from residuum.studies.trained import net_settings, trained
from residuum.version import installing

SMALL = TrainSettings("digits", model="resnet20", blocks=(1, 1, 1), widths=(4, 8, 16), recipe="quick", epochs=1)
LONGER = replace(SMALL, epochs=6, save_seconds=0.0)


def absent(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


# --- a job --------------------------------------------------------------------------------------


def test_a_run_is_called_after_what_decides_it(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, SMALL)
    assert folder == run_folder(tmp_path, replace(SMALL, blocks=[1, 1, 1]))  # type: ignore[arg-type]
    assert folder.name.startswith("resnet20-s0-")
    others = {run_folder(tmp_path, replace(SMALL, **{name: 2})).name for name in ("seed", "epochs", "lr")}
    assert len({folder.name, *others}) == 4
    assert run_folder(tmp_path, replace(SMALL, model="../a.b")).parent == tmp_path / "runs"


def test_what_a_run_of_version_0_1_was_called_is_found(tmp_path: Path) -> None:
    """As `study degradation --scale tiny` called its first run."""
    asked = TrainSettings(
        "digits", model="plain20", blocks=(1, 1, 1), widths=(4, 8, 16), recipe="sgd_one_cycle", epochs=1
    )
    assert run_folder(tmp_path, asked).name == "plain20-s0-4a07aa05d50a"


def test_killed_and_saved_runs_go_on_and_others_have_failed() -> None:
    assert [was_lost(code) for code in (-9, -15, 143, 130, 129)] == [True] * 5
    assert [was_lost(code) for code in (0, 1, 2, 3)] == [False] * 4


def test_other_machines_are_told_whole_paths_and_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    asked = {Path("runs/a"): replace(SMALL, data="photos"), Path("runs/b"): SMALL}
    told = _placed_elsewhere(asked, WhereTrained(on="ray"))
    assert {folder: (one.data, one.device, one.threads) for folder, one in told.items()} == {
        tmp_path / "runs/a": (str(tmp_path / "photos"), "cpu", 1),
        tmp_path / "runs/b": ("digits", "cpu", 1),
    }
    (on_gpu, _) = _placed_elsewhere(asked, WhereTrained(on="slurm", gpus=1)).values()
    assert (on_gpu.device, on_gpu.threads) == ("auto", None)


def test_nets_of_several_threads_share_the_cores() -> None:
    jobs = {Path("a"): SMALL, Path("b"): replace(SMALL, threads=2)}
    placed, most = _placed_here(jobs, 5)
    assert ([one.threads for one in placed.values()], most) == ([1, 2], 2)
    assert _placed_here(jobs, 1)[1] == 1


def test_a_dry_run_trains_nothing_and_names_the_nets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Planned):
        next(train_all({tmp_path / "runs" / "a": SMALL}, WhereTrained(dry_run=True), 1))
    assert "to be trained: 1 nets, of 1 pass\n  a\n" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_other_pictures_is_put_aside(few_digits: None, studies: Path, tmp_path: Path) -> None:
    setup = Setup("tiny", (0,), studies, threads=1)
    asked = net_settings(setup, "plain20", 0, blocks=(1, 1, 1))
    folder = tmp_path / "runs" / "a"
    shutil.copytree(trained(setup, [asked])[0].path, folder)
    assert _of_these_pictures(Ended(folder), asked).fault is None
    data = read_record(folder / runs.DATA, Data)
    write_record(folder / runs.DATA, msgspec.structs.replace(data, fingerprint="another"))
    assert "other pictures than those here" in str(_of_these_pictures(Ended(folder), asked).fault)
    assert [path.name for path in folder.parent.iterdir()] == ["a-of-other-pictures"]


# --- on Ray -------------------------------------------------------------------------------------


def test_a_package_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "ray")
    absent(monkeypatch, "submitit")
    jobs = {tmp_path / "runs" / "a": SMALL}
    with pytest.raises(UserError, match=re.escape(installing("ray"))):
        next(train_all(jobs, WhereTrained(on="ray"), 1))
    with pytest.raises(UserError, match=re.escape(installing("slurm"))):
        next(train_all(jobs, WhereTrained(on="slurm"), 1))


def test_a_machine_says_why_it_cannot_train(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    assert "must lie where all machines reach it" in with_ray.train_there(str(folder), 1, with_ray.VERSION)
    assert "was asked by 0.0.1" in with_ray.train_there(str(folder), 1, "0.0.1")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    """A run of LONGER that nothing has disturbed, by one process here."""
    folder = tmp_path_factory.mktemp("alone") / "runs" / "a"
    (ended,) = train_all({folder: LONGER}, WhereTrained(), 1)
    assert ended.fault is None
    return runs.read_run(folder)


def figures(run: runs.RunRecord) -> object:
    return [line.train_loss for line in run.epochs], run.evaluation


def kill_in_the_middle(
    folder: Path, words: tuple[str, ...], number: int, killed: list[int], seen: list[Epoch] | None = None
) -> threading.Thread:
    """Kill, once the run has saved and taken two passes, every process whose command line holds one of the words; keep
    the first pass's line."""

    def wait_and_kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (folder / runs.CHECKPOINT).exists() and len(passes := runs.read_run(folder).epochs) >= 2:
                if seen is not None:
                    seen.append(passes[0])
                for one in [one for word in words for one in living(word)]:
                    killed.append(one)
                    os.kill(one, number)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_kill, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("with_its_net", [False, True], ids=["the worker", "the worker and its net"])
def test_a_killed_worker_of_ray_costs_nothing_but_time(
    alone: runs.RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, with_its_net: bool
) -> None:
    pytest.importorskip("ray")
    folder, killed, seen = tmp_path / "runs" / "a", list[int](), list[Epoch]()
    words = ("ray::train_there", *((str(folder),) if with_its_net else ()))
    thread = kill_in_the_middle(folder, words, signal.SIGKILL, killed, seen)
    (ended,) = train_all({folder: LONGER}, WhereTrained(on="ray", at_once=1))
    thread.join()
    assert len(killed) == 1 + with_its_net
    assert ended.fault is None
    run = runs.read_run(folder)
    assert run.epochs[:1] == seen  # with the seconds it took: it was not begun anew
    assert figures(run) == figures(alone)
    assert "ray" not in capsys.readouterr().out
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


@pytest.mark.slow
def test_ray_gives_a_studys_figures_to_the_digit(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    found = []
    for on in ("here", "ray"):
        names = ("degradation", "shortcut-options")
        settings = StudySettings(names, scale="tiny", seeds=1, threads=2, out=str(tmp_path / on), on=on)  # type: ignore[arg-type]
        found.append([read_json(folder / runs.STUDY) for folder in run_studies(settings)])
    for here, on_ray in zip(*found, strict=True):
        for part in ("quantities", "verdict", "measured", "charts", "tables", "command"):
            assert here[part] == on_ray[part]
        assert list(here["runs"]) == list(on_ray["runs"])


@pytest.mark.slow
def test_what_failed_on_ray_is_named_and_the_others_are_trained(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    jobs = {tmp_path / "runs" / "bad": replace(SMALL, stride_in="1x1"), tmp_path / "runs" / "good": SMALL}
    ended = {one.folder.name: one.fault for one in train_all(jobs, WhereTrained(on="ray", at_once=2))}
    assert ended["good"] is None
    assert "training bad failed" in str(ended["bad"])
    assert "a basic block cannot stride in a 1×1 convolution" in str(ended["bad"])


@pytest.mark.slow
def test_a_signal_lets_what_ray_trains_be_saved(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = tmp_path / "runs" / "a"
    thread = kill_in_the_middle(folder, (), 0, [])
    threading.Thread(target=lambda: (thread.join(), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
    with pytest.raises(Stopped, match="the same command goes on"):
        list(train_all({folder: LONGER}, WhereTrained(on="ray", at_once=1)))
    assert not is_finished(folder)
    assert not runs.is_held(folder)


# --- by Slurm -----------------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Slurm of this machine, and the folder of its jobs."""
    pytest.importorskip("submitit")
    for name, value in made_up_slurm(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(with_slurm, "ASKING", 0.1)
    monkeypatch.setattr(with_slurm, "WAITING", 0.02)
    from submitit.slurm import slurm

    monkeypatch.setattr(slurm.SlurmJob, "watcher", slurm.SlurmInfoWatcher())  # which remembers jobs by their numbers
    yield tmp_path / "slurm" / "jobs"
    for pid in (tmp_path / "slurm" / "jobs").glob("*.pid"):
        subprocess.run(["kill", "-KILL", "--", f"-{pid.read_text().strip()}"], capture_output=True, check=False)


def test_a_dry_run_shows_the_batch_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What Slurm's manual calls each option; there need be no Slurm."""
    pytest.importorskip("submitit")
    where = WhereTrained(on="slurm", dry_run=True, slurm=("partition=gpu", "time=90", "nice=5", "mem=8GB"), gpus=1)
    with pytest.raises(Planned):
        next(train_all({tmp_path / "runs" / "a": replace(SMALL, threads=3)}, where))
    lines = capsys.readouterr().err.splitlines()
    wanted = "partition=gpu time=90 nice=5 mem=8GB gpus-per-node=1 cpus-per-task=3 job-name=a signal=USR2@90"
    assert {f"#SBATCH --{one}" for one in wanted.split()} | {"#SBATCH --requeue"} <= set(lines)
    (line,) = [line for line in lines if line.startswith("srun")]
    assert line.endswith(f"{sys.executable} -m residuum.dispatch.worker {tmp_path}/runs/a --alone")
    assert list(tmp_path.iterdir()) == []


def test_submitit_leaves_the_callers_logging_alone() -> None:
    pytest.importorskip("submitit")
    script = "import logging; logging.basicConfig(filename='/dev/null'); import residuum.dispatch.with_slurm, submitit"
    done = subprocess.run([sys.executable, "-c", f"{script}; logging.root.handlers[0].stream.write('x')"], check=False)
    assert done.returncode == 0


def test_without_slurm_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="there is no Slurm here"):
        next(train_all({tmp_path / "runs" / "a": SMALL}, WhereTrained(on="slurm")))


def test_a_job_that_is_known_is_not_submitted_again(slurm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    prepare(folder, SMALL)
    for state, is_known in (("RUNNING", True), ("PENDING", True), ("FAILED", False), ("CANCELLED by 7", False)):
        number = f"{len(list(slurm.iterdir())) + 1}"
        write_record(beside(folder, ".job"), Submitted(job=number))
        (slurm / f"{number}.state").write_text(state, encoding="utf-8")
        job = with_slurm._known(folder)
        assert (job is not None and job.job_id == number) is is_known


JOBS = {
    "good": "mkdir -p {0}; touch {0}/model.safetensors",
    "bad": "echo some words; exit 1",
    "lost": "mkdir -p {0}; [ -e {0}/begun ] && touch {0}/model.safetensors || {{ touch {0}/begun; sleep 60; }}",
}


def test_jobs_are_followed_to_their_end_and_submitted_again_where_a_node_is_lost(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_slurm, "command", lambda run: ["bash", "-c", JOBS[run.name].format(run)])
    jobs = {tmp_path / "runs" / name: replace(SMALL, threads=1) for name in JOBS}
    found = dict[str, UserError | None]()
    for ended in with_slurm.train_by_slurm(jobs, WhereTrained(on="slurm"), lambda: None):
        found[ended.folder.name] = ended.fault
        if len(found) == 2:  # only the last job is at work
            _say(slurm / "3.state", "NODE_FAIL")
    assert (found["good"], found["lost"]) == (None, None)
    assert "some words" in str(found["bad"])
    assert len(list(slurm.glob("*.sh"))) == 4
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["bad.json", "good", "lost", "slurm"]


@pytest.mark.parametrize(("hears", "code", "is_queued"), [(True, 143, True), (False, 143, False), (False, 2, False)])
def test_a_job_that_is_out_of_time_is_queued_again(
    hears: bool, code: int, is_queued: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    called = list[list[str]]()

    def train(*_: object, **__: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)  # as training, which saves
        if hears:
            signal.raise_signal(signal.SIGUSR2)
        raise SystemExit(code)

    monkeypatch.setattr(worker.runpy, "run_module", train)
    monkeypatch.setattr(worker.subprocess, "run", lambda words, check: called.append(words))
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    try:
        with pytest.raises(SystemExit):
            worker.main(tmp_path / "a", alone=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert called == ([["scontrol", "requeue", "7"]] if is_queued else [])
    assert (tmp_path / "a.failed").exists() is (code == 2)


@pytest.mark.slow
def test_slurm_trains_the_same_runs_and_names_those_that_fail(
    slurm: Path, tmp_path: Path, alone: runs.RunRecord
) -> None:
    jobs = {tmp_path / "runs" / "bad": replace(SMALL, stride_in="1x1"), tmp_path / "runs" / "good": LONGER}
    ended = {one.folder.name: one.fault for one in train_all(jobs, WhereTrained(on="slurm"))}
    assert ended["good"] is None
    assert "a basic block cannot stride in a 1×1 convolution" in str(ended["bad"])
    assert figures(runs.read_run(tmp_path / "runs" / "good")) == figures(alone)
    assert len(list(slurm.glob("*.sh"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGKILL], ids=["out of time", "lost"])
def test_a_job_out_of_time_goes_on(slurm: Path, tmp_path: Path, alone: runs.RunRecord, number: int) -> None:
    folder, killed = tmp_path / "runs" / "a", list[int]()
    thread = kill_in_the_middle(folder, (f"residuum.dispatch.worker {folder}",), number, killed)
    if number == signal.SIGKILL:  # as sacct says of a node that is gone
        threading.Thread(target=lambda: (thread.join(), _say(slurm / "1.state", "NODE_FAIL")), daemon=True).start()
    (ended,) = train_all({folder: LONGER}, WhereTrained(on="slurm"))
    assert killed
    assert ended.fault is None
    assert figures(runs.read_run(folder)) == figures(alone)
    assert len(list(slurm.glob("*.sh"))) == (1 if number == signal.SIGUSR2 else 2)


def _say(path: Path, state: str) -> None:
    for _ in range(10):  # whatever the job's shell says meanwhile
        path.write_text(state, encoding="utf-8")
        time.sleep(0.02)


# --- what many workers would give ---------------------------------------------------------------


@pytest.fixture
def many_nets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return import_module("many_nets")


def test_without_losses_the_simulation_is_what_can_be_counted(many_nets: Any) -> None:
    ideal = many_nets.Cluster(
        net=10.0, varies=0.0, start=0.0, driver=0.0, between_losses=1e15, back=0.0, checkpoint=0.0
    )
    for nets, workers in ((12, 3), (13, 3), (5, 8)):
        assert many_nets.simulate(ideal, nets, workers, 0)["seconds"] == pytest.approx(10 * math.ceil(nets / workers))
    one_by_one = replace(ideal, driver=2.0)  # of which a thousand workers wait for each other
    assert many_nets.simulate(one_by_one, 100, 1000, 0)["seconds"] == pytest.approx(100 * 2 + 10)
    assert many_nets.simulate(replace(ideal, start=1.0), 6, 2, 0)["seconds"] == pytest.approx(3 * 11)


def test_simulated_nets_keep_grahams_bound(many_nets: Any) -> None:
    """Graham 1966: in any order, at most 2 - 1/m times the best; which is no less than the mean load or the longest."""
    varied = many_nets.Cluster(
        net=10.0, varies=1.0, start=0.0, driver=0.0, between_losses=1e15, back=0.0, checkpoint=0.0
    )
    alone = many_nets.simulate(varied, 40, 1, 3)["seconds"]
    longest = many_nets.simulate(varied, 40, 40, 3)["seconds"]
    assert alone == pytest.approx(400, rel=0.5)
    for workers in (2, 5, 11):
        least = max(alone / workers, longest)
        assert least * (1 - 1e-9) <= many_nets.simulate(varied, 40, workers, 3)["seconds"] <= (2 - 1 / workers) * least


def test_simulated_losses_cost_what_renewal_theory_says(many_nets: Any) -> None:
    """Losses are a Poisson process: each costs a start, half a checkpoint's time and the wait for another worker."""
    cluster = many_nets.Cluster(
        net=100.0, varies=0.0, start=1.0, driver=0.0, between_losses=1_000.0, back=20.0, checkpoint=10.0
    )
    whole = many_nets.simulate(cluster, 4_000, 1, 0)["seconds"] / 4_000
    busy = 101 / (1 - (1 + 5) / 1_000)  # whole = 101 + losses x (1 + 5), losses = busy time / 1,000
    assert whole == pytest.approx(busy * (1 + 20 / 1_000), rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, ""), (20.0, ", less than a minute to go"), (61.0, ", about 2 min to go"), (3600.0, ", about 60 min to go")],
)
def test_no_time_to_go_is_called_nothing(seconds: float, said: str) -> None:
    assert _to_go(seconds) == said
