"""What `plan` tells: of a run here against what the run then does; of other machines against arithmetic by hand."""

import ctypes
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from made_up_machine import measured_as
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

import residuum
from residuum import runs
from residuum.compute import choose_compute
from residuum.data.windows import Blocks
from residuum.data.workers import give_back_freed_memory, made_by_workers
from residuum.errors import UserError
from residuum.forecast import cost, measure, memory, power, source
from residuum.forecast.cost import Work, forecast_on
from residuum.forecast.measure import judged_in, phases_of
from residuum.forecast.run import _said, plan
from residuum.forecast.source import Source
from residuum.models.count import activation_bytes
from residuum.models.count import cost as counted
from residuum.printing import print_forecast
from residuum.recipe import Task
from residuum.recipes.fast import fast
from residuum.records.codec import read_record
from residuum.records.forecast import Forecast, Profile
from residuum.settings import PlanSettings, TrainSettings
from residuum.training.resolve import Resolved, resolve
from residuum.training.start import open_loaders

SMALL_NET: dict[str, Any] = {"model": "resnet20", "blocks": (1, 1, 1), "batch_size": 64, "threads": 1, "epochs": 1}
SOURCE = Source(
    streamed=True,
    reading=0.001,
    rereading=0.0001,
    bytes=100_000,
    hashing=0.0005,
    decoding=0.004,
    looking=0.002,
    viewing=0.0,
    serving=0.006,
    serving_core=0.011,
)
EIGHT = Profile(
    name="eight of them",
    devices=8,
    multiply_adds_per_s=1e13,
    memory_bytes=80 * 10**9,
    bytes_a_number=2,
    cores=64,
    network_bytes_per_s=1e9,
    hidden=0.0,
    watts=4000.0,
    assumptions=("made up",),
)


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Each part is timed as shortly as can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SECONDS", 0.02)
        patch.setattr(source, "SECONDS", 0.02)
        yield


@pytest.fixture(scope="module")
def told(quick: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecast, Path]:
    """What is told of a run on the digits, and the profile that was written beside."""
    profile = tmp_path_factory.mktemp("told") / "here.json"
    return plan(PlanSettings("digits", **SMALL_NET, write_profile=profile)), profile


@pytest.fixture(scope="module")
def resolved() -> Resolved:
    return resolve(TrainSettings("digits", **SMALL_NET), looking=False)


# --- here ---------------------------------------------------------------------------------------


def test_what_is_told_is_what_the_run_then_does(told: tuple[Forecast, Path], tmp_path: Path) -> None:
    """All but the time, which is for benchmarks/plan.py: here other tests run beside."""
    found, saved = told[0], list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "residuum.training.steps.save_checkpoint",
            lambda run, *given: (save(run, *given), saved.append((run / runs.CHECKPOINT).stat().st_size)),
        )
        run = residuum.train("digits", **SMALL_NET, out=tmp_path / "run")
    lines = run.epochs
    assert run.data is not None
    assert (found.steps, found.pictures) == (lines[-1].step, run.data.counts.train)
    assert found.image_size == run.data.image_size
    assert found.checkpoints == len(saved) == 1
    assert found.checkpoint_bytes == pytest.approx(saved[0], rel=0.02)
    left = sum(path.stat().st_size for path in run.path.iterdir())
    assert found.disk.run == pytest.approx(left, rel=0.25)
    assert found.disk.cache in {0, 3 * 8 * 8 * 1797}  # other tests may have decoded them
    assert found.bottleneck == "device"
    assert 0 < found.seconds.training < 60
    assert found.seconds.validating > 0
    assert found.memory > 10**8  # torch alone is more


def test_that_others_were_computing_when_the_machine_was_timed_is_told(
    resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residuum.fastest.fastest", lambda **_: structs.replace(measured_as(1), waited=0.3))
    assert "threads waited 30% of the time: alone it may take less" in " ".join(_said(resolved, 64))
    monkeypatch.setattr("residuum.fastest.fastest", lambda **_: measured_as(1))
    assert "others" not in " ".join(_said(resolved, 64))


def save(run: Path, *given: Any) -> None:
    from residuum.training.state import save_checkpoint

    save_checkpoint(run, *given)


def test_a_profile_of_this_machine_tells_the_same_of_this_machine(told: tuple[Forecast, Path]) -> None:
    found, file = told
    profile = read_record(file, Profile)
    assert "resnet20 at 8 px in batches of 64" in profile.assumptions[0]
    again = plan(PlanSettings("digits", **SMALL_NET, on=file))
    assert again.on == profile.name
    assert again.a_picture["device"] == pytest.approx(found.a_picture["device"])
    assert again.steps == found.steps
    assert profile.assumptions[0] in again.assumptions
    with pytest.raises(UserError, match="exists"):
        plan(PlanSettings("digits", **SMALL_NET, write_profile=file))


def test_what_is_printed_says_each_of_it(told: tuple[Forecast, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = structs.replace(told[0], joules=7.2e6, joules_of="made up", assumptions=("a \x1b[31m name",))
    print_forecast(None, found, False)
    said = capsys.readouterr().out
    words = [line.split(" ")[0] for line in said.splitlines()]
    assert words == ["on", "time", "energy", "memory", "disk", "saves", "slowest", "assumed"]
    assert "2 kWh, made up" in said
    assert "a \\u001b[31m name" in said
    print_forecast(None, found, True)
    content = json.loads(capsys.readouterr().out)
    assert content["total_s"] == pytest.approx(sum(content["seconds"].values()))


def test_pictures_of_several_sizes_are_timed_at_each() -> None:
    recipe = fast(Task(num_pictures=50_000, image_size=32, depth=10))
    phases = list(phases_of(recipe, 32))
    assert sum(steps for _, steps in phases) == recipe.iterations
    from residuum.training.loop import side_at

    for start, steps in phases:
        assert len({side_at(recipe, step, 32) for step in (start, start + steps - 1)}) == 1
    assert len(phases) == 1 + len(recipe.small_first)


def test_pictures_are_timed_as_the_run_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Greys of 16 bits are scaled by what all of them use, which is known once they have been looked at."""
    monkeypatch.setattr("residuum.data.cache.SETTLED_NS", 0)
    for number in range(8):
        place = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(900, 1100, (16, 16)).astype(np.uint16)).save(place)
    settings = TrainSettings(
        tmp_path / "data", model="resnet20", validation=0.0, from_nothing=True, precision="float32"
    )
    run = resolve(settings)
    resolved = resolve(settings, looking=False)
    assert resolved.data.greys == run.data.greys is not None
    seen = source.loader_of(resolved.data.train, resolved, 4)
    assert torch.equal(seen.images, open_loaders(run)["train"].images)
    assert seen.preprocessing.greys == run.data.greys


class Clock:
    """Time that passes only where a test lets it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@dataclass(frozen=True)
class Sharded:
    """20,000 pictures in blocks of 1,000: the first of each that is read takes ten seconds, any other a millisecond."""

    clock: Clock
    read: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return 20_000

    def encoded(self, index: int) -> bytes:
        self.clock.now += 0.001 if index // 1000 in self.read else 10.0
        self.read.add(index // 1000)
        return b"x"

    def name(self, index: int) -> str:
        return str(index)

    def files(self) -> list[str]:
        return ["one.parquet"]

    def blocks(self) -> Blocks:
        return Blocks(np.arange(20_000) // 1000, np.full(20, 10**6), by_default=False)


def test_what_is_read_as_a_whole_is_shared_by_all_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was counted as if each picture of the data set had cost as much as the few that were read: 20 to 100 times."""
    clock = Clock()
    monkeypatch.setattr(source, "time", clock)
    monkeypatch.setattr(source, "SECONDS", 1e9)
    rows, reading, rereading, held = source._reading(Sharded(clock))
    assert len(rows) == len(set(rows.tolist())) == len(held) == 2048
    assert reading == pytest.approx(0.001 + 10 / 1000, rel=0.01)
    assert rereading == pytest.approx(0.001)


def test_a_small_data_set_is_read_whole_and_no_picture_twice() -> None:
    for count in (1, 5, 16, 17, 100, 3000):
        rows = list(source._at_places(count))
        assert len(rows) == len(set(rows)) == min(count, len(rows))
        assert set(rows) <= set(range(count))
        assert len(rows) == count or count == 3000


def test_decoding_side_by_side_takes_every_picture_once_but_for_the_first() -> None:
    seen = list[int]()
    assert source._side_by_side(21, seen.extend) > 0
    assert sorted(seen) == [0, *range(21)]


@pytest.mark.parametrize("kept", [set(), {"digests"}, {"digests", "looked"}, {"digests", "looked", "decoded"}])
def test_preparing_reads_anew_what_is_not_remembered(
    kept: set[str], resolved: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass over the pictures reads them, and the others what is held in memory by then."""
    monkeypatch.setattr(cost, "are_digests_kept", lambda _: "digests" in kept)
    monkeypatch.setattr(cost, "is_looked_at", lambda _: "looked" in kept)
    monkeypatch.setattr(cost, "_is_decoded", lambda *_: "decoded" in kept)
    here = replace(SOURCE, streamed=False, viewing=0.003)
    passes = [0.0005, 0.002, 0.003][len(kept) :]
    count = sum(map(len, resolved.data.splits().values()))
    wanted = count * (0.001 + 0.0001 * (len(passes) - 1) + sum(passes)) if passes else 0.0
    assert cost._preparing(resolved.data, here, resolved) == pytest.approx(wanted)


def test_the_first_batch_of_a_pass_is_not_taken_for_all(resolved: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)

    def passed(net: Any, shown: Any, compute: Any, views: Any, forward: Any, progress: Any) -> NDArray[np.float32]:
        progress(0, 80)
        for done in range(10, 81, 10):
            clock.now += 9.0 if done == 10 else 1.0
            progress(done, 80)
        return np.zeros((80, 10), np.float32)

    monkeypatch.setattr(measure, "probabilities", passed)
    job = SimpleNamespace(compute=resolved.compute, forward=None, net=None)
    shown = SimpleNamespace(split=range(80))
    once, seconds, _ = measure._evaluating(job, shown, resolved, final=False)  # type: ignore[arg-type]
    assert (once, seconds) == pytest.approx((8.0, 0.1))


def test_figures_of_many_answers_are_timed_on_some(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    monkeypatch.setattr(measure, "judge", lambda answers, *_, **__: asked.append(len(answers)))
    assert judged_in(1_000_000, 10) > 0
    assert judged_in(50, 10) > 0
    assert asked == [measure.JUDGED, 50]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"resume": "somewhere"}, "whole run"),
        ({"on": "profile.json", "write_profile": "other.json"}, "contradict"),
    ],
)
def test_what_contradicts_is_refused(settings: dict[str, str], what: str, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(structs.asdict(EIGHT)), encoding="utf-8")
    if "on" in settings:
        settings = {**settings, "on": str(tmp_path / "profile.json")}
    with pytest.raises(UserError, match=what):
        plan(PlanSettings("digits", **settings))  # type: ignore[arg-type]


def test_folds_are_not_told_of() -> None:
    with pytest.raises(UserError, match="tune_last"):
        measure.refuse_folds("tune_last")


# --- elsewhere ----------------------------------------------------------------------------------


def test_eight_devices_are_what_arithmetic_says(resolved: Resolved) -> None:
    work = Work(resolved, SOURCE, starting=1.0)
    found = forecast_on(work, EIGHT)
    one = 3 * counted(resolved.spec, 8)["multiply_adds"] / 1e13 / 8
    weights = 4 * counted(resolved.spec, 8)["parameters"]
    network = weights * 2 * 7 / 8 / 1e9 / 64
    decoding = (0.011 - 0.001) / 64
    assert found.a_picture == pytest.approx({"device": one, "network": network, "decoding": decoding, "reading": 0.0})
    assert found.bottleneck == "decoding"
    assert found.images_per_s == pytest.approx(1 / decoding)
    assert found.seconds.training == pytest.approx(found.steps * 64 * decoding)
    assert found.joules == pytest.approx(4000 * found.seconds.total)
    assert "made up" in found.assumptions
    slow = forecast_on(work, structs.replace(EIGHT, read_bytes_per_s=1e6, decode_slowdown=0.5))
    assert slow.bottleneck == "reading"
    assert slow.a_picture["reading"] == pytest.approx(0.1)
    assert slow.a_picture["decoding"] == pytest.approx(decoding / 2)
    kept = forecast_on(
        replace(work, source=replace(SOURCE, streamed=False)), structs.replace(EIGHT, read_bytes_per_s=1.0)
    )
    assert kept.a_picture["reading"] == 0
    far = forecast_on(work, structs.replace(EIGHT, network_bytes_per_s=1e6, cores=10**6))
    assert far.bottleneck == "network"
    assert far.images_per_s == pytest.approx(1 / (one + 1000 * network))


@pytest.mark.slow  # counting without computing loads much of torch's compiler
def test_memory_elsewhere_is_weights_gradients_momentum_and_what_models_counts() -> None:
    resolved = resolve(TrainSettings("digits", model="resnet20", image_size=32, batch_size=128), looking=False)
    found = forecast_on(Work(resolved, SOURCE, starting=0.0), structs.replace(EIGHT, devices=1, bytes_a_number=4))
    weights = 4 * counted(resolved.spec, 32)["parameters"]
    assert found.memory == pytest.approx(3 * weights + activation_bytes(resolved.spec, 32, 128), rel=0.01)


def test_gradients_are_hidden_behind_the_backward_pass_but_for_the_last(resolved: Resolved) -> None:
    work = Work(resolved, SOURCE, starting=0.0)
    slow = structs.replace(EIGHT, multiply_adds_per_s=1e9, hidden=2 / 3)
    weights = 4 * counted(resolved.spec, 8)["parameters"]
    assert weights < cost.LAST_BUCKET  # so that all of them are the last
    network = forecast_on(work, slow).a_picture["network"] * 64
    assert network == pytest.approx(weights * 2 * 7 / 8 / 1e9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "LAST_BUCKET", weights // 10)
        assert forecast_on(work, slow).a_picture["network"] * 64 == pytest.approx(network / 10, rel=1e-4)


def test_a_batch_that_cannot_be_shared_is_refused(resolved: Resolved) -> None:
    with pytest.raises(UserError, match="64 is too small for 40 devices"):
        forecast_on(Work(resolved, SOURCE, starting=0.0), structs.replace(EIGHT, devices=40))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"network_bytes_per_s": None}, "network_bytes_per_s is needed"),
        ({"cores": 0}, "above zero"),
        ({"wats": 1}, "wats"),
    ],
)
def test_a_profile_that_says_too_little_is_refused(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps({**structs.asdict(EIGHT), **change}), encoding="utf-8")
    with pytest.raises(UserError, match=why):
        plan(PlanSettings("digits", on=file))


# --- energy and memory --------------------------------------------------------------------------


def test_energy_is_raples_difference_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, what in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(what + "\n", encoding="utf-8")
        (tmp_path / name / "energy_uj").write_text("9000000\n", encoding="utf-8")
        (tmp_path / name / "max_energy_range_uj").write_text("10000000\n", encoding="utf-8")
    monkeypatch.setattr(power, "RAPL", tmp_path)
    seconds = iter((100.0, 102.0))
    monkeypatch.setattr(power.time, "monotonic", lambda: next(seconds))
    with power.measured_energy(on_gpu=False) as found:
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text("9500000\n", encoding="utf-8")
        (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500000\n", encoding="utf-8")  # it has wrapped
    assert found.watts == pytest.approx((0.5 + 1.5) / 2)
    assert "RAPL" in found.of


def test_without_counters_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "RAPL", tmp_path / "none")
    with power.measured_energy(on_gpu=False) as found:
        pass
    assert found.watts is None
    assert "can be read" in found.of


def test_a_gpus_power_is_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = tmp_path / "nvidia-smi"
    said.write_text("#!/bin/sh\necho 250.5\necho 249.5\n", encoding="utf-8")
    said.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(power, "RAPL", tmp_path / "none")
    monkeypatch.setattr(power, "SECONDS_BETWEEN", 0.001)
    with power.measured_energy(on_gpu=True) as found:
        while not found._seen:
            pass
    assert found.watts == pytest.approx(500)
    assert "nvidia-smi" in found.of


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux says what was held at the most")
def test_memory_is_the_most_that_was_held_meanwhile() -> None:
    with memory.peak_memory(torch.device("cpu")) as peak:
        np.ones(300_000_000, np.uint8)
    assert 200e6 < peak.most - peak.before < 400e6  # others may give memory back meanwhile


def test_more_pictures_take_as_much_more_memory_but_for_what_is_fixed() -> None:
    peak = memory.Peak(before=100, most=400)
    assert [peak.with_more(2), peak.with_more(0), peak.with_more(2, fixed=200)] == [700, 100, 500]


class OwnMemory(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        """Return the bytes that this process holds, those shared with the one it was forked from counted."""
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps what was freed")
def test_a_process_that_decodes_does_not_hold_what_was_freed() -> None:
    choose_compute("cpu", "float32")  # from here on glibc keeps large tensors that are freed
    give_back_freed_memory()
    before = OwnMemory()[0]
    tensors = [torch.ones(5_000_000) for _ in range(10)]
    del tensors
    assert OwnMemory()[0] > before + 100e6
    [held] = made_by_workers(OwnMemory(), [0], 1, [])
    assert held < before + 50e6
