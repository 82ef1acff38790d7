"""One net on several processes: what each reads, what BN and the gradients are, and what happens when one is lost.

The short tests compare with torch's own on one process; the slow ones start torchrun, and hold runs against each other.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from residuum import cli, ranks, runs
from residuum.compute import Compute
from residuum.data.mixing import Mix
from residuum.data.open import open_data
from residuum.data.share import TrainingPlan, in_pairs, one_pass
from residuum.errors import Stopped, UserError
from residuum.models import synchronised
from residuum.recipe import Task
from residuum.recipes.named import RECIPES
from residuum.training.loop import Job, forward_and_backward
from residuum.training.together import shared

SCRIPT = Path(__file__).with_name("rank_script.py")

# --- who reads what -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 7, 96, 127])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_ranks_share_a_step_whole_and_once_and_neighbours_stay_together(count: int, number: int) -> None:
    stretches = [range(count)[in_pairs(count, rank, number)] for rank in range(number)]
    assert [row for stretch in stretches for row in stretch] == list(range(count))
    assert all(stretch.start % 2 == 0 for stretch in stretches if stretch)
    assert max(map(len, stretches)) - min(map(len, stretches)) <= 3


@pytest.mark.parametrize("number", [2, 3, 4])
def test_any_number_of_ranks_reads_the_same_steps(number: int) -> None:
    alone = TrainingPlan(5, 103, 16, 2, 20)
    together = [TrainingPlan(5, 103, 16, 2, 20, rank, number) for rank in range(number)]
    for step in range(len(alone)):
        assert np.concatenate([plan[step][1] for plan in together]).tolist() == alone[step][1].tolist()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_each_picture_is_judged_once_in_the_batch_it_would_be_in_alone(number: int) -> None:
    dealt = [rows.tolist() for rank in range(number) for _, rows in one_pass(1003, 250, rank, number)]
    assert dealt == [rows.tolist() for _, rows in one_pass(1003, 250)]


# --- BN over the pictures of all ----------------------------------------------------------------


class _Threads:
    """What synchronised.py asks of torch.distributed, between threads of one process."""

    def __init__(self, number: int) -> None:
        self.given, self.all, self.here = [torch.empty(0)] * number, threading.Barrier(number), threading.local()

    def get_world_size(self) -> int:
        return len(self.given)

    def all_gather(self, parts: list[torch.Tensor], own: torch.Tensor) -> None:
        self.given[self.here.rank] = own.clone()
        self.all.wait()
        for part, given in zip(parts, self.given, strict=True):
            part.copy_(given)
        self.all.wait()

    def all_reduce(self, own: torch.Tensor) -> None:
        parts = [torch.empty_like(own) for _ in self.given]
        self.all_gather(parts, own)
        own.copy_(torch.stack(parts).sum(0))


def test_synchronised_bn_is_bn_over_all_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (3, 5, 2)
    x, dy = torch.randn(2, sum(sizes), 4, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    whole = nn.BatchNorm2d(4, momentum=0.3)
    whole.weight.data.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    norms = [nn.BatchNorm2d(4, momentum=0.3) for _ in sizes]
    group = _Threads(len(sizes))
    monkeypatch.setattr(synchronised, "distributed", group)
    parts = [part.clone().requires_grad_() for part in x.split(sizes)]
    answers: list[torch.Tensor] = [torch.empty(0)] * len(sizes)

    def one(rank: int) -> None:
        group.here.rank = rank
        norms[rank].load_state_dict(whole.state_dict())
        synchronised.synchronise(norms[rank])
        answers[rank] = norms[rank](parts[rank])
        answers[rank].backward(dy.split(sizes)[rank])

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    x = x.clone().requires_grad_()
    expected = whole(x)
    expected.backward(dy)
    torch.testing.assert_close(torch.cat(answers), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.cat([part.grad for part in parts]), x.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sum(norm.weight.grad for norm in norms), whole.weight.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sum(norm.bias.grad for norm in norms), whole.bias.grad, rtol=1e-5, atol=1e-5)
    for norm in norms:
        for name, buffer in whole.named_buffers():
            torch.testing.assert_close(norm.get_buffer(name), buffer, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(norms[0].running_var, norm.running_var) for norm in norms)  # to the bit on every rank


# --- accumulated gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, torch.tensor([0.2, 3.0, 1.0])])
@pytest.mark.parametrize("mixed", [False, True])
def test_accumulated_gradients_are_those_of_the_whole_step(weights: torch.Tensor | None, mixed: bool) -> None:
    chance = torch.Generator().manual_seed(2)
    images, labels = torch.randn(11, 3, 4, 4, generator=chance), torch.randint(3, (11,), generator=chance)
    mix = Mix(labels.roll(1), torch.full((11,), 0.7)) if mixed else None
    if mixed and weights is not None:
        weights = None  # soft targets: torch divides by the number of pictures there
    recipe = RECIPES["quick"](Task(num_pictures=100, image_size=8, depth=20))
    found = []
    for accumulate in (1, 4):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3))
        compute = Compute(torch.device("cpu"), "float32", "contiguous", 1)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        job = Job(net, net, optimizer, recipe, None, compute, 0, class_weights=weights, accumulate=accumulate)  # type: ignore[arg-type]
        loss, right, _ = forward_and_backward(job, images, labels, mix)
        found.append((loss, right, [parameter.grad for parameter in net.parameters()]))
    (loss, right, gradients), (parts_loss, parts_right, parts_gradients) = found
    assert right == parts_right
    torch.testing.assert_close(parts_loss, loss)
    torch.testing.assert_close(parts_gradients, gradients, rtol=1e-5, atol=1e-7)


# --- what is refused ----------------------------------------------------------------------------


def _launched(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_verb_for_one_process_is_refused_once(monkeypatch, capsys, rank: int) -> None:
    _launched(monkeypatch, rank)
    monkeypatch.setattr(sys, "argv", ["residuum", "models"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    cli.silence(False)
    assert ended.value.code == 2
    assert ("models is for one process" in capsys.readouterr().err) == (rank == 0)


@pytest.mark.parametrize(
    ("recipe", "batch_size", "accumulate", "what"),
    [
        ("head", 32, 1, "recipe head is for one process"),
        ("quick", 2, 1, "a step of 2 pictures cannot be shared by 2 processes"),
        ("quick", 8, 5, "a step of 8 pictures cannot be shared by 2 processes in 5 parts each"),
    ],
)
def test_what_cannot_be_shared_is_refused(monkeypatch, recipe, batch_size, accumulate, what) -> None:
    monkeypatch.setattr(ranks, "ranks", lambda: 2)
    resolved = SimpleNamespace(
        settings=SimpleNamespace(accumulate=accumulate),
        recipe=SimpleNamespace(name=recipe, batch_size=batch_size),
        compute=SimpleNamespace(device=torch.device("cpu")),
    )
    with pytest.raises(UserError, match=re.escape(what) + "\n"):
        shared(resolved, SimpleNamespace(threads=None))  # type: ignore[arg-type]


def test_of_several_that_stop_the_first_alone_says_so() -> None:
    group = ranks._Group(1, 2, "", 0)
    ranks._told_once(group, Stopped("stopped after step 3; everything is saved", 143))
    try:
        assert ranks.console.LOGGER.disabled
        ranks._told_once(group, UserError("no such picture"))
        assert not ranks.console.LOGGER.disabled
    finally:
        ranks.console.silence(False)


WAITS, WORKS = ("sleep", "60"), ("sh", "-c", "while :; do sleep 0.01; done")


@pytest.mark.parametrize(
    ("name", "does", "is_ended"),
    [("torchrun", WAITS, True), ("torchrun", WORKS, False), ("notebook", WAITS, False), ("notebook", WORKS, False)],
)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only where there is /proc is torchrun looked at")
def test_torchrun_is_ended_where_it_waits_and_nothing_else_is(monkeypatch, name, does, is_ended) -> None:
    parent = subprocess.Popen([name, *does[1:]], executable=shutil.which(does[0]))
    monkeypatch.setattr(os, "getppid", lambda: parent.pid)
    monkeypatch.setattr(ranks, "BEATS", 0.02 if does is WAITS else 0.1)
    time.sleep(0.1)
    ranks._end_agent_that_waits()
    with suppress(subprocess.TimeoutExpired):
        parent.wait(10 if is_ended else 0.05)
    assert (parent.poll() == -signal.SIGKILL) == is_ended
    parent.kill()
    parent.wait()


# --- with torchrun ------------------------------------------------------------------------------

COMMON = ("--epochs", "1", "--threads", "1", "--precision", "float32", "--batch-size", "96")


GENTLY = ("--recipe", "he2015_cifar", "--lr", "0.0005")
"""So that rounding does not grow: at the usual rate it does a hundredfold in a step, with other kernels too; and Muon
moves alike along all singular directions, also those that are rounding alone."""


def start(number: int, *words: str, restarts: int = 0, **variables: str) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
    launcher += ["--max-restarts", str(restarts)]
    command = [sys.executable, *(launcher if number > 1 or restarts else ()), str(SCRIPT), *words]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(command, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def done(process: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = process.communicate(timeout=600)
    assert process.returncode == code, said
    return said


def train(number: int, out: Path, *words: str, restarts: int = 0, code: int = 0, **variables: str) -> str:
    return done(
        start(number, "train", *words[:1], *COMMON, "--out", str(out), *words[1:], restarts=restarts, **variables), code
    )


def furthest(one: Path, other: Path) -> float:
    """The largest difference of two models' weights, as a share of the weights' own size."""
    ours, theirs = load_file(one / runs.MODEL), load_file(other / runs.MODEL)
    pairs = [(ours[name], theirs[name]) for name in ours if ours[name].is_floating_point() and ours[name].numel() > 1]
    return max(float((a - b).norm() / b.norm().clamp(min=1e-6)) for a, b in pairs)


def apart(one: Path, other: Path) -> float:
    """The distance of two models' parameters, as a share of their length: biases near zero say nothing alone."""
    ours, theirs = load_file(one / runs.MODEL), load_file(other / runs.MODEL)
    names = [name for name in ours if ours[name].is_floating_point() and "running" not in name]
    x, y = (torch.cat([of[name].double().flatten() for name in names]) for of in (ours, theirs))
    return float((x - y).norm() / y.norm())


def steps(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / runs.METRICS).read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def trained_for(run: Path, count: int) -> None:
    """Wait until so many steps are written."""
    while not (run / runs.METRICS).exists() or len(steps(run)) < count:
        time.sleep(0.02)


def served(folder: Path, number: int) -> list[object]:
    """The rows and digests of each step, those of all ranks joined."""
    of_ranks = [
        [json.loads(line) for line in (folder / f"{rank}.jsonl").read_text().splitlines()] for rank in range(number)
    ]
    joined = zip(*of_ranks, strict=True)
    return [[[one for part in step for one in part[field]] for field in (1, 2)] for step in joined]


def cifar(source: Path, folder: Path, count: int = 400) -> str:
    """Some of CIFAR-10's pictures as files, for a few steps are enough to see what each rank sees."""
    train = open_data(str(source)).train
    for row in range(count):
        named = folder / str(train.labels[row]) / f"{row}.png"
        named.parent.mkdir(parents=True, exist_ok=True)
        named.write_bytes(train.pictures.encoded(row))
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_one_two_and_four_ranks_see_the_same_pixels_and_learn_the_same(
    tmp_path: Path, data: str, request: pytest.FixtureRequest
) -> None:
    found = {}
    is_digits = data == "digits"
    words = ["digits"] if is_digits else [cifar(request.getfixturevalue("cifar10"), tmp_path / "cifar")]
    for number in (1, 2, 4):
        seen, out = tmp_path / f"seen{number}", tmp_path / f"run{number}"
        seen.mkdir()
        train(number, out, *words, *GENTLY, RESIDUUM_SERVED=str(seen))
        found[number] = served(seen, number), out
    assert found[1][0]
    assert found[1][0] == found[2][0] == found[4][0]
    for number in (2, 4):
        assert apart(found[number][1], found[1][1]) < 1e-6
        first = steps(found[number][1])[0]["loss"]
        assert first == pytest.approx(steps(found[1][1])[0]["loss"], rel=1e-6)


@pytest.mark.slow
def test_a_net_is_judged_to_the_last_digit_by_any_number_of_ranks(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(1, run, "digits")
    found = []
    for number in (1, 2, 3, 4):
        words = ["evaluate", str(run), "--threads", "1", "--batch-size", "50", "--json"]  # 360 pictures: 8 batches
        done(start(number, *words))
        kept = json.loads(next((run / runs.EVALUATIONS).iterdir()).read_text())
        found.append({name: value for name, value in kept.items() if name not in {"environment", "settings"}})
    assert found[0] == found[1] == found[2] == found[3]
    assert found[0]["images"] == 360


KILLS = int(os.environ.get("RESIDUUM_RANK_KILLS", "20"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Runs of 2 and of 3 processes that nothing has disturbed."""
    of = {number: tmp_path_factory.mktemp("whole") / "run" for number in (2, 3)}
    for number, out in of.items():
        train(number, out, "digits")
    return of


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(KILLS))
def test_a_rank_that_is_killed_stops_all_and_nothing_is_lost(
    tmp_path: Path, whole: dict[int, Path], trial: int
) -> None:
    chance, out, restarts = random.Random(trial), tmp_path / "killed", trial % 2
    number = chance.choice((2, 3))
    victim, step = chance.randrange(number), chance.randrange(13)
    words = ("digits", "--save-seconds", chance.choice(("0", "60")))
    kill = {"RESIDUUM_KILL": f"{victim} {step} 0"}
    began = time.monotonic()
    said = train(number, out, *words, restarts=restarts, code=0 if restarts else 1, **kill)
    assert said.count("a process that trains with this one has ended") == 1, said
    assert "residuum/training" not in said, said  # no traceback but torchrun's own
    if not restarts:
        assert time.monotonic() - began < 60
        done(start(number, "train", "--resume", str(out)))
    assert furthest(out, whole[number]) == 0.0, (number, victim, step)


@pytest.mark.slow
def test_one_process_that_torchrun_starts_again_goes_on(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    train(1, whole, "digits")
    train(1, out, "digits", "--save-seconds", "0", restarts=1, RESIDUUM_KILL="0 6 0")
    assert furthest(out, whole) == 0.0


@pytest.mark.slow
def test_a_run_goes_from_two_processes_to_one_and_back(tmp_path: Path) -> None:
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    train(1, whole, "digits", *GENTLY)
    train(2, moved, "digits", *GENTLY, "--save-seconds", "0", code=1, RESIDUUM_KILL="1 4 0")
    done(start(1, "train", "--resume", str(moved), RESIDUUM_KILL="0 4 0"), -9)
    done(start(2, "train", "--resume", str(moved)))
    assert apart(moved, whole) < 1e-6
    assert [line["step"] for line in steps(moved)] == [line["step"] for line in steps(whole)]


@pytest.mark.slow
def test_ctrl_c_stops_all_ranks_after_the_same_step(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(2, "train", "digits", *COMMON[2:], "--epochs", "200", "--out", str(out))
    trained_for(out, 3)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert said.count("everything is saved") == 1, said
    assert f"residuum train --resume {out}" in said
    assert (out / runs.CHECKPOINT).exists()


# --- two hosts ----------------------------------------------------------------------------------


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces, each with one end of a cable: hosts, as far as anything on them can tell."""
    if os.name != "posix" or not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    names = (f"residuum-{os.getpid()}-a", f"residuum-{os.getpid()}-b")
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    if subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, check=False).returncode:
        pytest.skip("this kernel makes no network namespaces")
    try:
        _ip("netns", "add", names[1])
        _ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names, start=1):
            _ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def on_host(hosts: tuple[str, str], number: int, out: Path, *words: str) -> subprocess.Popen[str]:
    launcher = ["ip", "netns", "exec", hosts[number], sys.executable, "-m", "torch.distributed.run"]
    launcher += ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "two"]
    launcher += ["--rdzv-endpoint", "10.77.0.1:29500", "--local-addr", f"10.77.0.{number + 1}"]
    launcher += ["--rdzv-conf", f"is_host={number == 0}"]
    command = [*launcher, str(SCRIPT), "train", "digits", *(words or COMMON[:2]), *COMMON[2:], "--out", str(out)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "cable"}
    return subprocess.Popen(command, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_two_hosts_train_one_net(tmp_path: Path, hosts: tuple[str, str]) -> None:
    alone, out = tmp_path / "alone", tmp_path / "run"
    train(2, alone, "digits")
    both = [on_host(hosts, number, out) for number in (0, 1)]
    for process in both:
        done(process)
    assert furthest(out, alone) == 0.0


MISSED = 30.0
"""Within so many seconds the processes of the host that is left, torchrun among them, have to end."""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("survivor", [0, 1])
def test_a_host_that_is_cut_off_is_missed_in_seconds(tmp_path: Path, hosts: tuple[str, str], survivor: int) -> None:
    out = tmp_path / "run"
    both = [on_host(hosts, number, out, "--epochs", "1000", "--save-seconds", "0") for number in (0, 1)]
    trained_for(out, 3)
    _ip("-n", hosts[1 - survivor], "link", "set", "cable", "down")  # no connection is closed
    said, _ = both[survivor].communicate(timeout=MISSED)
    assert said.count("a process that trains with this one has ended") == 1, said
    assert both[survivor].returncode
    both[1 - survivor].communicate(timeout=120)  # this one may have lost its store at its own address, too
    begun = len(steps(out))
    alone = start(1, "train", "--resume", str(out))
    trained_for(out, begun + 3)
    alone.terminate()
    assert "everything is saved" in alone.communicate(timeout=60)[0]
