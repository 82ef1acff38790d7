"""bench: engines take turns, what answered before stays unless surely beaten, and what is printed can be given."""

import math
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from small_start import SPEC

import residuum
from residuum import loading, machine
from residuum.choices import EnginePrecision
from residuum.cli import app
from residuum.data.preprocess import Preprocessing
from residuum.engines import kept
from residuum.engines.choose import open_engine
from residuum.engines.kept import keep_choice
from residuum.errors import UserError
from residuum.exporting import bench as benching
from residuum.exporting import race as racing
from residuum.exporting.bench import bench
from residuum.exporting.deciding import NOISE, decided
from residuum.models.resnet import ResNet
from residuum.outward_printing import print_bench
from residuum.outward_settings import BenchSettings
from residuum.records.engines import EngineChoice, EngineTiming
from residuum.records.model import Provenance

Way = tuple[str, str]
EXACT = [("torch", "float32"), ("onnxruntime", "float32"), ("openvino", "float32")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net as `import` leaves it: no pictures of its own are known."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("my nets") / "model.safetensors"
    how = Preprocessing(21, 24, np.full(3, 120, np.float32), np.full(3, 60, np.float32), "bicubic")
    net = ResNet(replace(SPEC, num_classes=3)).eval()
    loading.save_classifier(path, net, net.spec, ("a", "b", "c"), how, Provenance())
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, luck = tmp_path_factory.mktemp("it's pictures"), np.random.default_rng(1)
    for number in range(7):
        coarse = Image.fromarray(luck.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((31, 40), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def opened() -> Callable[..., Any]:
    """What `bench` opens: of an engine compiled for one test, the next ask too."""
    return cache(open_engine)


@pytest.fixture
def speeds(
    opened: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[Way, Callable[[], float]]:
    """How long a batch takes, by who computes it, in place of the clock; nothing is quantised, and nobody waits."""
    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "cache"))
    installed = benching.versions()
    monkeypatch.setattr(benching, "versions", lambda: {k: v for k, v in installed.items() if k != "nncf"})
    monkeypatch.setattr(machine, "seconds_waited", lambda: 0.0)
    monkeypatch.setattr(benching, "open_engine", opened)
    told: dict[Way, Callable[[], float]] = {}

    def turn(engine: Any, _views: object) -> float:
        return told.get((engine.name, engine.precision), lambda: 9.0)()

    monkeypatch.setattr(racing, "turn", turn)
    monkeypatch.setattr(benching, "warmed_up", lambda *_: {1: 9.0, 16: 9.0})
    return told


def always(ms: float) -> Callable[[], float]:
    return lambda: ms


def in_rounds(*each: float) -> Callable[[], float]:
    """A round asks twice, for both batches."""
    turns: Iterator[float] = (ms for ms in each for _ in racing.BATCHES)
    return lambda: next(turns)


# --- what is remembered ----------------------------------------------------------------------------


def test_the_fastest_that_agrees_is_remembered(
    speeds: dict[Way, Any], model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_engine(model).engine.name == "torch"
    monkeypatch.setattr(benching, "refused", lambda found: "no" if found.precision == "bfloat16" else None)
    speeds.update({("onnxruntime", "float32"): always(7.0), ("openvino", "float32"): always(6.0)})
    found = bench(BenchSettings(model, data=pictures, threads=1))
    assert {one.way for one in found.timings} == {*EXACT, ("torch", "bfloat16"), ("openvino", "bfloat16")}
    assert [one.way for one in found.timings][:2] == [("openvino", "float32"), ("onnxruntime", "float32")]
    assert (found.engine, found.precision) == ("openvino", "float32")
    opened = open_engine(model)
    assert (opened.engine.name, opened.engine.precision) == ("openvino", "float32")
    assert open_engine(model, "torch").engine.name == "torch"
    assert open_engine(model, precision="bfloat16").engine.name == "torch"  # that was not found to be the fastest
    graph = next(tmp_path.glob("cache/engines/*/float32.onnx"))
    content = graph.read_bytes()
    graph.write_bytes(content[:-100] + bytes(100))  # weights of 0 would answer, and wrongly
    assert open_engine(model).engine.name == "openvino"
    assert graph.read_bytes() == content
    keep_choice(structs.replace(found, precision="int8"))  # of which nothing is kept
    assert open_engine(model).engine.name == "torch"
    next(tmp_path.glob("cache/engines/*/choice-*.json")).write_text("{")
    assert open_engine(model).engine.name == "torch"


def test_a_choice_of_before_there_were_rounds_is_still_read(speeds: dict[Way, Any], model: Path) -> None:
    found = bench(BenchSettings(model, threads=1))
    old = structs.replace(found, timings=tuple(structs.replace(one, rounds={}) for one in found.timings))
    content = {name: value for name, value in structs.asdict(old).items() if name not in {"waited", "before", "stays"}}
    keep_choice(EngineChoice(**content))
    assert kept.choice(found.digest) is not None
    assert bench(BenchSettings(model, threads=1)).before == ("torch", "float32")


def test_what_comes_from_noise_replaces_nothing_that_was_held_against_pictures(
    speeds: dict[Way, Any], model: Path, pictures: Path
) -> None:
    speeds["onnxruntime", "float32"] = always(7.0)
    bench(BenchSettings(model, data=pictures, threads=1))
    speeds["openvino", "float32"] = always(1.0)
    found = bench(BenchSettings(model, threads=1))
    assert (found.pictures, found.engine) == (NOISE, "onnxruntime")
    assert "no pictures were known" in (found.stays or "")
    assert kept.choice(found.digest).pictures == f"4 pictures in {pictures.name}"  # type: ignore[union-attr]
    assert bench(BenchSettings(model, data=pictures, threads=1)).engine == "openvino"


def test_what_a_busy_machine_says_replaces_nothing_that_a_quiet_one_said(
    speeds: dict[Way, Any], model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = BenchSettings(model, data=pictures, threads=1)
    speeds["onnxruntime", "float32"] = always(7.0)
    assert bench(settings).engine == "onnxruntime"
    speeds["openvino", "float32"] = always(1.0)
    monkeypatch.setattr(benching, "say_if_busy", lambda *_: 0.4)
    print_bench(settings, bench(settings), False)
    said = capsys.readouterr().out
    assert open_engine(model).engine.name == "onnxruntime"
    assert "stays    onnxruntime in float32, as before: it was chosen on a quiet machine" in said
    assert "busy     others were computing, threads waited 40% of the time" in said


def test_numbers_that_change_answers_are_chosen_only_where_they_are_allowed(
    speeds: dict[Way, Any], model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(benching, "_possible", lambda *_: [("torch", "float32"), ("torch", "bfloat16")])
    speeds["torch", "bfloat16"] = always(1.0)
    asked = shlex.join(["residuum", "bench", str(model), "--data", str(pictures), "--pictures", "5"])
    for allowed, chosen, last in (
        ((), "float32", f"to use   {asked} --allow bfloat16 --threads 1"),
        (("bfloat16",), "bfloat16", f"to undo  {shlex.join(['residuum', 'bench', str(model), '--forget'])}"),
        ((), "float32", f"to use   {asked} --allow bfloat16 --threads 1"),
    ):
        settings = BenchSettings(model, data=pictures, pictures=5, threads=1, allow=allowed)
        print_bench(settings, found := bench(settings), False)
        assert found.precision == chosen == open_engine(model).engine.precision
        said = capsys.readouterr().out.splitlines()
        assert said[-1] == last
        assert "bound    answers that must stay: 98.0% in bfloat16; 0.5% of accuracy may go" in said
    assert "before   torch in bfloat16, taken back without --allow bfloat16" in said


def test_what_was_chosen_is_forgotten(
    speeds: dict[Way, Any], model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speeds["onnxruntime", "float32"] = always(7.0)
    settings = BenchSettings(model, data=pictures, threads=1)
    print_bench(settings, bench(settings), False)
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("to undo  ")
    assert open_engine(model).engine.name == "onnxruntime"
    app.meta(shlex.split(command)[1:])
    assert capsys.readouterr().out.splitlines() == ["forgot   onnxruntime in float32"]
    assert open_engine(model).engine.name == "torch"
    assert bench(settings).before is None
    residuum.bench(model, forget=True)
    with pytest.raises(UserError, match="to forget"):
        residuum.bench(model, forget=True)
    with pytest.raises(UserError, match="data cannot be heeded"):
        residuum.bench(model, forget=True, data=pictures)


def test_without_pictures_only_float32_is_chosen_from(speeds: dict[Way, Any], model: Path) -> None:
    found = bench(BenchSettings(model, threads=1))
    assert found.pictures == NOISE
    assert {one.precision for one in found.timings if one.refused is None} == {"float32"}
    assert found.precision == "float32"
    assert all(one.agreement.same == 1.0 for one in found.timings if one.agreement)


def test_numbers_that_cannot_be_tried_are_refused(
    speeds: dict[Way, Any], model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, int8 was left out without a word."""
    with pytest.raises(UserError, match="nothing to try it on") as error:
        bench(BenchSettings(model, allow=("int8",), threads=1))
    again = shlex.join(["residuum", "bench", str(model), "--data", "PICTURES", "--allow", "int8", "--threads", "1"])
    assert error.value.mend == again
    with pytest.raises(UserError, match="nncf is not here") as error:
        bench(BenchSettings(model, data=pictures, allow=("int8",), threads=1))
    assert "openvino]" in error.value.mend
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "0.png").write_bytes((pictures / "0.png").read_bytes())
    with pytest.raises(UserError, match="nothing to try it on") as error:
        bench(BenchSettings(model, data=alone, allow=("int8",), threads=1))
    assert "single picture" in error.value.why


# --- the race --------------------------------------------------------------------------------------


def timing(engine: str, ms: list[float], precision: EnginePrecision = "float32") -> EngineTiming:
    rounds = {1: tuple(ms), 16: tuple(ms)}
    median = {batch: sorted(times)[len(times) // 2] for batch, times in rounds.items()}
    return EngineTiming(engine=engine, precision=precision, ms=median, agreement=None, refused=None, rounds=rounds)  # type: ignore[arg-type]


def test_rounds_are_won_by_the_geometric_mean_of_both_batches() -> None:
    one = structs.replace(timing("torch", [1.0]), rounds={1: (2.0, 2.0), 16: (8.0, 9.0)})
    other = structs.replace(timing("openvino", [1.0]), rounds={1: (1.0, 1.0), 16: (17.0, 17.0)})
    assert (one.won([other]), other.won([one])) == (1, 1)  # √16 < √17, √18 > √17
    fell_behind = structs.replace(other, rounds={1: (9.0,), 16: (9.0,)})
    assert (one.won([fell_behind]), fell_behind.won([one])) == (2, 0)
    assert one.won([other, fell_behind]) == 1


@pytest.mark.parametrize(
    ("rival", "wins"),
    [([1.0] * 5, True), ([1.0, 1.0, 1.0, 1.0, 3.1], False), ([2.9] * 5, True), ([3.0] * 5, False)],
)
def test_only_what_is_faster_in_every_round_replaces_what_answers(rival: list[float], wins: bool) -> None:
    """Of two that are alike one wins all five rounds by chance once in 32 times."""
    now, other = timing("torch", [3.0] * 5), timing("openvino", rival)
    ordered = sorted([now, other], key=lambda one: (one.ms[1], one is other))
    best, why = decided(ordered, {"float32"}, None, NOISE, 0.0)
    assert best is (other if wins else now)
    assert (why is None) == (wins or rival == [3.0] * 5)


def test_chance_alone_seldom_replaces_what_answers() -> None:
    luck, replaced = np.random.default_rng(0), 0
    for _ in range(2000):
        alike = [timing(name, list(luck.lognormal(0, 0.2, 5))) for name in ("torch", "openvino")]
        best, _ = decided(sorted(alike, key=lambda one: one.ms[1]), {"float32"}, None, NOISE, 0.0)
        replaced += best.engine == "openvino"
    expected, error = 2000 / 32, math.sqrt(2000 / 32)
    assert abs(replaced - expected) < 4 * error


def test_numbers_that_are_newly_allowed_are_not_judged_by_an_older_choice(
    speeds: dict[Way, Any], model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = bench(BenchSettings(model, data=pictures, threads=1))
    faster = timing("torch", [1.0] * 5, "bfloat16")
    timings = [faster, timing("onnxruntime", [2.0] * 5), timing("torch", [3.0] * 5)]
    best, why = decided(timings, {"float32", "bfloat16"}, quiet, quiet.pictures, 0.5)
    assert (best, why) == (faster, None)
    best, why = decided(timings, {"float32"}, quiet, quiet.pictures, 0.5)
    assert (best, "quiet machine" in str(why)) == (timings[2], True)
    best, why = decided(timings, {"float32"}, quiet, quiet.pictures, 0.0)
    assert (best, why) == (timings[1], None)


def test_who_falls_far_behind_leaves_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    ms = {
        "fast": in_rounds(1.0, 1.5, 1.0, 1.0, 1.0),
        "slower": always(1.9),
        "slow": always(3.1),
        "other": always(0.1),
        "unlucky": in_rounds(99.0, 99.0, 1.2, 1.2, 1.2),
    }
    monkeypatch.setattr(racing, "turn", lambda engine, _: ms[engine.name]())
    engines: Any = {(name, "float32"): SimpleNamespace(name=name) for name in ms}
    found = racing.race(
        engines, np.zeros((1, 2, 2, 3), np.uint8), {(name, "float32") for name in ms if name != "other"}
    )  # type: ignore[misc]
    assert {name: len(turns[16]) for (name, _), turns in found.items()} == {
        "fast": 5, "slower": 5, "slow": 3, "other": 5, "unlucky": 5,
    }  # fmt: skip


def test_one_slow_answer_does_not_give_a_way_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([90.0, 50.0, 40.0, 3.0, 70.0, 8.0])  # as it compiles, three of one view; as it compiles, one of 16
    monkeypatch.setattr(racing, "_once", lambda *_: next(times))
    found = racing.warmed_up(lambda views: None, np.zeros((1, 2, 2, 3), np.uint8))  # type: ignore[arg-type, return-value]
    assert found == {1: 3.0, 16: 8.0}
    other = SimpleNamespace(engine=SimpleNamespace(precision="float32"), ms={1: 1.0, 16: 1.0})
    for ms, given_up in (({1: 9.0, 16: 7.0}, False), ({1: 7.0, 16: 900.0}, False), ({1: 9.0, 16: 9.0}, True)):
        one = SimpleNamespace(engine=SimpleNamespace(precision="bfloat16"), ms=ms)
        assert bool(benching._no_use(one, [other], SimpleNamespace())) is given_up  # type: ignore[arg-type, list-item]


def test_the_table_says_who_was_timed_no_further(capsys: pytest.CaptureFixture[str]) -> None:
    slow = timing("torch", [1733.0, 1500.0, 1600.0])
    found = SimpleNamespace(timings=(timing("openvino", [1.0] * 5), slow), pictures=NOISE, engine="openvino", used=slow,
                            precision="float32", threads=1, stays=None, before=None, waited=0.0)  # fmt: skip
    print_bench(BenchSettings("m"), found, False)  # type: ignore[arg-type]
    fast, behind = capsys.readouterr().out.splitlines()[1:3]
    assert "far behind" not in fast
    assert behind.split() == [
        "torch", "float32", "1600.0", "(1500.0–1733.0)", "0.6", "1600.0", "(1500.0–1733.0)", "10",
        "the", "run's", "own;", "far", "behind,", "timed", "in", "3", "rounds",
    ]  # fmt: skip


def test_a_turn_lasts_its_time_and_gives_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0.0, 0.15, 0.0, 0.04, 0.0, 0.03]))
    monkeypatch.setattr(racing, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    asked: list[int] = []
    assert racing.turn(lambda views: asked.append(len(views)), np.zeros((3, 1, 1, 3))) == pytest.approx(30)  # type: ignore[arg-type]
    assert asked == [3, 3, 3]


def test_a_way_without_hope_is_not_asked(
    speeds: dict[Way, Any], model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 that a processor imitates takes a hundred times as long."""
    slow = lambda engine, _: dict.fromkeys((1, 16), 900.0 if engine.precision == "bfloat16" else 9.0)  # noqa: E731
    monkeypatch.setattr(benching, "warmed_up", slow)
    found = bench(BenchSettings(model, data=pictures, threads=1))
    given_up = [one for one in found.timings if one.refused]
    assert {one.precision for one in given_up} == {"bfloat16"}
    assert all("not asked" in str(one.refused) and one.agreement is None and not one.rounds for one in given_up)


# --- what is said ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "rival", "said"),
    [
        (None, in_rounds(*[8.0] * 5), "sure     the fastest of 3 in 5 of 5 rounds"),
        ("openvino", in_rounds(7.0, 5.0, 7.0, 7.0, 7.0), "sure     the fastest of 3 in 4 of 5 rounds; onnxruntime in"),
        ("openvino", in_rounds(5.0, 5.0, 5.0, 5.0, 7.0), "stays    openvino in float32, as before: onnxruntime in"),
    ],
)
def test_how_sure_a_choice_is_stands_below_it(
    before: str | None, rival: Callable[[], float], said: str, speeds: dict[Way, Any], model: Path, pictures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = BenchSettings(model, data=pictures, threads=1)
    speeds["openvino", "float32"] = always(6.0)
    if before:
        bench(settings)
    speeds["onnxruntime", "float32"] = rival
    print_bench(settings, found := bench(settings), False)
    assert found.engine == "openvino"
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(said) for line in lines), lines
    assert "(5.0–7.0)" in "".join(lines) or max(found.timings[1].rounds[1]) == 8.0


def test_how_far_it_is_is_said(
    speeds: dict[Way, Any], model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench(BenchSettings(model, data=pictures, threads=1))
    lines = capsys.readouterr().err.splitlines()
    for doing in ("asking 5 ways to compute about 4 pictures", "timing 5 ways to compute, in 5 rounds"):
        said = [line for line in lines if line.startswith(doing)]
        assert "0%" in said[0]
        assert "100%, took" in said[-1]
