"""What is fastest is measured once, kept, and no cache stops a run."""

import itertools
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import new_cache
from made_up_machine import measured_as
from threads import threads_used

from residuum import compute, fastest, machine
from residuum.cli import main
from residuum.compute import choose_compute
from residuum.errors import UserError
from residuum.kernels import build
from residuum.models.operations import OPERATIONS
from residuum.plain_data import as_json
from residuum.records.codec import from_json, to_json
from residuum.records.machine import WAYS, Measured, Timing
from residuum.settings import TrainSettings
from residuum.training.resolve import resolve


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without measurements, of which this process knows nothing."""
    monkeypatch.setenv("RESIDUUM_CACHE", str(new_cache(tmp_path)))
    return tmp_path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Measured]:
    """What is measured, in turn, instead of measuring, on two cores; the last of them again and again."""
    monkeypatch.setattr(machine, "cores", lambda: 2)
    queue = [measured_as(bfloat16=0.5)]
    monkeypatch.setattr(fastest, "measure", lambda known=(): queue.pop(0) if len(queue) > 1 else queue[0])
    return queue


def chosen(**told: Any) -> tuple[str, str, int]:
    with threads_used(1):
        here = choose_compute("cpu", **told)
    return here.precision, here.layout, here.threads


def test_the_convolutions_timed_are_those_that_a_plan_tries_and_in_its_order() -> None:
    tried = [operation.compute for operation in OPERATIONS if operation.name == "3×3 convolution"]
    assert [kernel.convolution for kernel in fastest.CONVOLUTIONS] == tried


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        ({"bfloat16": 0.5}, ("bfloat16", "channels-last")),
        ({"bfloat16": 200.0}, ("float32", "channels-last")),
        ({"bfloat16": 1.9}, ("float32", "channels-last")),  # not clearly faster: chance must not decide
    ],
)
def test_what_is_clearly_faster_is_taken(ms: dict[str, float], expected: tuple[str, str]) -> None:
    best = measured_as(**ms).best()
    assert (best.precision, best.layout) == expected


def test_contiguous_is_taken_where_it_is_clearly_faster() -> None:
    timings = [
        Timing(precision=precision, layout=layout, threads=2, ms=2.0 if layout == "channels-last" else 1.0)
        for precision, layout in WAYS
    ]
    assert Measured(ways=tuple(timings), by_threads=tuple(timings), waited=0.0).best().layout == "contiguous"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, ("bfloat16", "channels-last", 2)),
        ({"precision": "float32"}, ("float32", "channels-last", 2)),
        ({"layout": "contiguous"}, ("bfloat16", "contiguous", 2)),
        ({"threads": 1}, ("bfloat16", "channels-last", 1)),
        ({"precision": "float32", "layout": "contiguous", "threads": 1}, ("float32", "contiguous", 1)),
    ],
)
def test_what_is_told_decides(
    told: dict[str, Any], expected: tuple[str, str, int], cache: Path, measured: list[Measured]
) -> None:
    fastest.fastest()
    assert chosen(**told) == expected


def test_what_a_run_recorded_decides_where_it_goes_on(
    cache: Path, measured: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its settings name precision, layout and threads, so that another measurement changes nothing."""
    began = resolve(TrainSettings("digits"))
    assert (began.settings.precision, began.settings.layout, began.settings.threads) == ("bfloat16", "channels-last", 2)
    monkeypatch.setattr(compute, "fastest", lambda **_: measured_as(threads=1, bfloat16=200.0))
    assert resolve(TrainSettings("digits")).compute != began.compute
    assert resolve(TrainSettings(**as_json(began.settings))).compute == began.compute


# --- measuring ----------------------------------------------------------------------------------


def test_fewer_threads_are_taken_where_many_are_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose part for each thread shrinks as they become more, and whose waiting for all grows: best at 48."""
    asked: list[int] = []
    monkeypatch.setattr(machine, "cores", lambda: 384)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)

    monkeypatch.setattr(fastest, "_layers", lambda *_: None)
    monkeypatch.setattr(fastest, "_milliseconds", lambda *_: 48 / asked[-1] + asked[-1] / 48)
    found = fastest.measure()
    assert [one.threads for one in found.ways] == [1] * 4
    assert [one.threads for one in found.by_threads] == [384, 192, 96, 48, 24]
    assert found.threads == 48


def test_a_way_without_hope_is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 that a processor imitates takes a hundred times as long."""
    passes: list[int] = []
    clock = itertools.count(step=0.05)

    def layers() -> None:
        passes.append(1)

    assert fastest._milliseconds(layers, lambda: next(clock), 1.0) == pytest.approx(50)
    assert len(passes) == 2  # the first may start threads, and takes what time it likes up to a point
    monkeypatch.setattr(fastest, "STARTING", 10.0)
    fastest._milliseconds(layers, lambda: next(clock), 1.0)
    assert len(passes) == 2 + 1
    fastest._milliseconds(layers, lambda: next(clock), math.inf)
    assert len(passes) == 2 + 1 + 1 + fastest.PASSES


def test_measuring_changes_neither_chance_nor_threads() -> None:
    with threads_used(1):
        before = torch.get_rng_state()
        found = fastest.measure(own=False)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.get_num_threads() == 1
    assert [(one.precision, one.layout) for one in found.ways] == list(WAYS)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="asks torch to compute as on AVX2")
def test_where_bfloat16_is_imitated_float32_is_used(tmp_path: Path) -> None:
    told = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "RESIDUUM_KERNELS": "off"}
    environment = {**os.environ, **told, "RESIDUUM_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "residuum", "machine", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["precision"] == "float32"
    ms = {(one["precision"], one["layout"]): one["ms"] for one in found["measured"]["ways"]}
    assert ms["bfloat16", "channels-last"] > 2 * ms["float32", "channels-last"]


@pytest.mark.skipif(not torch.cpu.get_capabilities().get("amx_bf16"), reason="needs matrix units")
@pytest.mark.skipif(machine.is_kept_to_avx2(), reason="torch is kept from them")
@pytest.mark.usefixtures("cache")
def test_on_matrix_units_bfloat16_is_used() -> None:
    assert chosen()[:2] == ("bfloat16", "channels-last")


def test_predictions_wait_for_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESIDUUM_KERNELS", raising=False)
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path))
    monkeypatch.setattr(fastest, "library", lambda: pytest.fail("the kernels were asked for"))
    monkeypatch.setenv("CXX", "c++-that-would-take-seconds")
    monkeypatch.setattr(build, "_key", lambda compiler: "not-yet")
    assert chosen(precision="float32") == ("float32", "channels-last", machine.cores())


# --- kept ---------------------------------------------------------------------------------------


def test_it_is_measured_once_and_kept(
    cache: Path, measured: list[Measured], capsys: pytest.CaptureFixture[str]
) -> None:
    measured.append(measured_as(bfloat16=200.0))
    assert chosen()[0] == chosen()[0] == "bfloat16"
    assert len(measured) == 1
    assert capsys.readouterr().err.count("timing") == 1
    (file,) = (cache / "machine").iterdir()
    assert from_json(json.loads(file.read_text()), Measured, "here") == measured_as(bfloat16=0.5)


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"])
def test_another_instruction_set_is_another_machine(
    name: str, cache: Path, measured: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured.append(measured_as(bfloat16=200.0))
    first = chosen()
    monkeypatch.setenv(name, "other")
    assert first[0] == "bfloat16"
    assert chosen()[0] == "float32"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"ways": [], "by_threads": [], "waited": 0}', '{"ways": "none"}'])
def test_what_cannot_be_read_is_measured_again(cache: Path, measured: list[Measured], content: str) -> None:
    fastest.fastest()
    (file,) = (cache / "machine").iterdir()
    file.write_text(content)
    fastest._measured_now.cache_clear()
    assert chosen()[0] == "bfloat16"
    assert json.loads(file.read_text())["ways"]


def test_where_nothing_can_be_kept_it_is_measured_once_a_process(
    tmp_path: Path, measured: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the folder's place")
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "file"))
    measured += [measured_as(bfloat16=200.0)] * 2
    assert chosen()[0] == chosen()[0] == "bfloat16"
    assert len(measured) == 2


def test_while_others_compute_the_ways_alone_are_kept(
    cache: Path, measured: list[Measured], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many threads are best cannot be told then: those are not used, and timed again by the next process."""
    quiet = measured_as(bfloat16=1.0)
    alone = Timing(precision="bfloat16", layout="channels-last", threads=1, ms=0.1)
    measured[:] = [Measured(ways=quiet.ways, by_threads=(*quiet.by_threads, alone), waited=0.5)]
    assert chosen() == chosen() == ("bfloat16", "channels-last", 2)
    known = list[Any]()
    monkeypatch.setattr(fastest, "measure", lambda ways: known.append(ways) or measured_as(bfloat16=1.0))
    fastest._measured_now.cache_clear()
    assert chosen() == chosen() == ("bfloat16", "channels-last", 2)
    assert known == [quiet.ways]
    fastest._measured_now.cache_clear()
    assert chosen(precision="float32")[0] == "float32"
    assert len(known) == 1
    assert capsys.readouterr().err.count("timing") == 1


def test_known_ways_are_not_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = measured_as(bfloat16=0.5).ways, list[object]()
    monkeypatch.setattr(fastest, "_layers", lambda *way: asked.append(way) or (lambda: None))
    with threads_used(1):
        found = fastest.measure(known)
    assert found.ways == known
    assert set(asked) == {("bfloat16", "channels-last", True)}


def test_for_a_told_precision_nothing_is_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction, in float32, need not wait for it."""
    monkeypatch.delattr(fastest, "measure")
    assert chosen(precision="float32") == ("float32", "channels-last", machine.cores())


def test_a_record_without_every_way_is_refused() -> None:
    content = to_json(measured_as())
    content["ways"] = content["ways"][:3]
    with pytest.raises(UserError, match="not every way was timed"):
        from_json(content, Measured, "here")


# --- many cores ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cores", [384, 4096])
def test_a_default_run_starts_on_many_cores(
    cores: int, cache: Path, measured: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    measured[:] = [measured_as(threads=cores)]
    settings = resolve(TrainSettings("digits")).settings
    assert (settings.threads, settings.workers) == (cores, 32)
    assert TrainSettings(**as_json(settings)) == settings  # they repeat the run


# --- the verb -----------------------------------------------------------------------------------


def test_the_verb_shows_what_is_there_what_was_measured_and_what_is_used(
    cache: Path, measured: list[Measured], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured.append(measured_as(bfloat16=200.0))

    def shown(*flags: str) -> str:
        monkeypatch.setattr(sys, "argv", ["residuum", "machine", *flags])
        with threads_used(1):
            main()
        return capsys.readouterr().out

    assert "used     cpu, bfloat16, channels-last, 2 threads" in shown()
    found = json.loads(shown("--json"))
    assert (found["precision"], found["layout"], found["threads"]) == ("bfloat16", "channels-last", 2)
    assert found["environment"]["cores"] == machine.cores()
    assert from_json(found["measured"], Measured, "shown") == measured_as(bfloat16=0.5)
    assert "used     cpu, float32, channels-last, 2 threads" in shown("--anew")
    assert "used     cpu, float32" in shown()
