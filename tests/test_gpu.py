"""What computes on a GPU: the same pictures, the same numbers, nothing allocated. Most of it is tried on a processor.

Tests with `on_a_gpu` need one, and are skipped elsewhere.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_run import quickly

from residuum import compute, runs
from residuum.compute import choose_compute
from residuum.data import augment, batches
from residuum.data.augment import augmented_batch
from residuum.data.batches import Batch, Loader
from residuum.data.contract import Split
from residuum.data.digits import digits
from residuum.data.preprocess import Preprocessing
from residuum.data.rng import uniform, uniform_there
from residuum.data.share import TrainingPlan
from residuum.errors import Stopped, UserError
from residuum.files import read_json
from residuum.models.named import named
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.recipe import Augmentation, Recipe, Task
from residuum.recipe import Steps as Schedule
from residuum.recipes.named import RECIPES
from residuum.settings import TrainSettings
from residuum.training import captured as recording
from residuum.training import loop, muon, optimizer
from residuum.training import steps as steps_of_a_run
from residuum.training.captured import captured
from residuum.training.loop import Job, Steps, one_by_one
from residuum.training.optimizer import make_optimizer, set_rate
from residuum.training.resolve import resolve
from residuum.training.run import train
from residuum.training.start import make_net, open_loaders
from residuum.training.state import State

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no NVIDIA GPU here")
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=on_a_gpu)]

# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("epoch", [0, 163, 2**40])
def test_chance_computed_there_is_the_same_to_the_bit(device: str, seed: int, epoch: int) -> None:
    samples = np.array([0, 1, 2, 49_999, 2**40, 2**62])
    found = uniform_there(seed, epoch, torch.from_numpy(samples).to(device), 11)
    assert found.dtype == torch.float64
    np.testing.assert_array_equal(found.cpu().numpy(), uniform(seed, epoch, samples, 11))


def recipes_augmentations() -> list[Augmentation]:
    """Those of every recipe for small pictures, mirrors allowed and not, and a few more."""
    tasks = [Task(num_pictures=50_000, image_size=16, depth=20, mirrors=mirrors) for mirrors in (True, False)]
    found = [make(task).augmentation for make in RECIPES.values() for task in tasks]
    own = [Augmentation(pad=3, cut=5), Augmentation(pad=15, border="reflected", cut=40), Augmentation(alternating=True)]
    return [one for one in dict.fromkeys([*found, *own]) if one.shorter_side is None]


def preprocessing(side: int, *, mean_picture: bool) -> Preprocessing:
    random = np.random.default_rng(1)
    mean = random.uniform(100, 150, (side, side, 3) if mean_picture else 3).astype(np.float32)
    return Preprocessing(side, side, mean, random.uniform(40, 70, 3).astype(np.float32))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mean_picture", [False, True])
@pytest.mark.parametrize("augmentation", recipes_augmentations(), ids=str)
def test_pictures_made_there_are_the_processors_to_the_bit(
    device: str, mean_picture: bool, augmentation: Augmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randint(0, 256, (40, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows, how = np.random.default_rng(2).integers(0, 40, 30), preprocessing(16, mean_picture=mean_picture)
    expected = [augmented_batch(images, rows, augmentation, how, 3, epoch) for epoch in (0, 1)]
    monkeypatch.setattr(augment, "hashes_there", lambda device: True)
    monkeypatch.setattr(augment.crops, "applies", lambda images: False)
    for epoch, pictures in enumerate(expected):
        found = augmented_batch(images.to(device), rows, augmentation, how, 3, epoch)
        assert torch.equal(found.cpu(), pictures)
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("ahead", [1, 3, 1000])
def test_batches_made_several_at_once_are_those_made_one_by_one(
    device: str, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, batch = 50, 8
    random = np.random.default_rng(0)
    pixels = torch.from_numpy(random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    split = Split(digits().train.pictures, random.integers(0, 10, count))
    plan = TrainingPlan(5, count, batch, 2, 21)  # from within the first epoch into the fourth
    how, augmentation = preprocessing(8, mean_picture=False), Augmentation(pad=2, alternating=True)

    def served(device: str) -> list[Batch]:
        loader = Loader(split, how, pixels.to(device), torch.device(device))
        return list(loader.batches(plan, augmentation, 5))

    expected = served("cpu")
    monkeypatch.setattr(batches, "hashes_there", lambda device: True)
    monkeypatch.setattr(batches, "AHEAD_BYTES", ahead * batch * 8 * 8 * 3 * 4)
    for found, wanted in zip(served(device), expected, strict=True):
        assert torch.equal(found.images.cpu(), wanted.images)
        assert torch.equal(found.labels.cpu(), wanted.labels)
        assert found.rows.tolist() == wanted.rows.tolist()
        assert found.epoch == wanted.epoch
        assert found.images.is_contiguous(memory_format=torch.channels_last)


# --- steps ---------------------------------------------------------------------------------------


def trained(monkeypatch: pytest.MonkeyPatch, settings: TrainSettings, steps: Steps | None) -> runs.RunRecord:
    """Train, steps being taken so."""
    monkeypatch.setattr(steps_of_a_run, "steps_for", lambda job: steps)
    return train(settings)


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_file(one / runs.MODEL), load_file(other / runs.MODEL)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def figures(record: runs.RunRecord) -> list[tuple[float, ...]]:
    return [(line.step, line.train_loss, line.train_accuracy, line.validation_loss) for line in record.epochs]


WAYS: dict[str, dict[str, Any]] = {
    "sgd": {"recipe": "he2015_cifar", "epochs": 3},
    "muon": {},
    "small pictures first": {"model": None, "recipe": "fast", "widths": (32, 64, 64)},
    "dropout": {"order": "preactivation", "dropout": 0.2},
}


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("way", WAYS)
def test_steps_that_are_not_read_give_the_loops_numbers_to_the_bit(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_of = {
        name: trained(monkeypatch, quickly(tmp_path / name, device="cpu", **WAYS[way]), steps)
        for name, steps in (("loop", None), ("captured", captured))
    }
    loop, recorded = runs_of["loop"], runs_of["captured"]
    assert same_tensors(loop.path, recorded.path)
    assert figures(recorded) == figures(loop)
    losses = {line.step: (line.loss, line.lr) for line in loop.steps}
    assert recorded.steps
    assert all((line.loss, line.lr) == losses[line.step] for line in recorded.steps)


def job_of(out: Path, device: str = "cpu", given: Recipe | None = None, **changes: object) -> Job:
    """A job on the digits, in float32, its net new."""
    resolved = resolve(quickly(out, device=device, precision="float32", **changes))
    recipe = given or resolved.recipe
    net = make_net(resolved)
    resolved.compute.place(net).train()
    optimizer = make_optimizer(net, recipe)
    return Job(net, net, optimizer, recipe, open_loaders(resolved)["train"], resolved.compute, resolved.settings.seed)


def walk(job: Job, steps: Steps, stop: int, state: State | None = None) -> list[tuple[float, float]]:
    """Take steps up to `stop` and return the rate and loss of each."""
    state = state or State()
    plan = TrainingPlan(job.seed, len(job.loader.split), job.recipe.batch_size, state.step, stop)
    return [(rate, read()) for rate, read in steps(job, state, plan)]


def test_the_papers_warm_up_ends_at_the_same_step(tmp_path: Path) -> None:
    recipe = RECIPES["he2015_cifar"](Task(num_pictures=1200, image_size=8, depth=110, epochs=6, batch_size=64))
    assert isinstance(recipe.schedule, Schedule)
    recipe = replace(recipe, schedule=replace(recipe.schedule, warm_until_error=0.97))

    def rates(steps: Steps, *, reading: bool) -> list[float]:
        job = job_of(tmp_path, given=recipe, widths=(4, 8, 8))
        plan = TrainingPlan(3, len(job.loader.split), recipe.batch_size, 0, 32)
        return [rate for rate, read in steps(job, State(), plan) if not reading or read() > 0]

    expected = rates(one_by_one, reading=False)
    assert rates(captured, reading=True) == expected
    assert rates(captured, reading=False) == expected
    assert expected[0] == 0.01
    assert 0.1 in expected


def test_a_loss_that_is_not_finite_is_told_with_its_step_and_nothing_is_saved_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = loop.mean_loss, 0

    def poisoned(*given: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return real(*given) * (float("nan") if steps == 8 else 1.0)

    monkeypatch.setattr(loop, "mean_loss", poisoned)
    monkeypatch.setattr(loop, "REPORT_SECONDS", 1e9)
    job, state, saved = job_of(tmp_path, epochs=40), State(), []
    stop = loop.Callbacks(lambda _: None, lambda now: saved.append(now.step), dict, lambda: 1 if steps > 9 else None)
    with pytest.raises(UserError, match=r"step 8: .*nan"):
        loop.fit(job, state, stop, 1e9, captured)
    assert saved == []


def test_a_step_is_recorded_after_the_first_ones_and_then_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU: what would be asked of one, in turn. Two kinds of step: pictures of half their side come first."""
    asked: list[str] = []

    class Graph:
        def replay(self) -> None:
            asked.append("replay")

    class Stream:
        def wait_stream(self, other: object) -> None:
            asked.append("wait")

    @contextlib.contextmanager
    def graph(recorded: Graph, stream: Stream) -> Iterator[None]:
        asked.append("record")
        yield

    for name, stand_in in {
        "CUDAGraph": Graph, "graph": graph, "Stream": Stream,
        "current_stream": Stream, "stream": lambda stream: contextlib.nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    job = job_of(tmp_path, model=None, recipe="fast", epochs=1, widths=(8, 8, 8))
    job = replace(job, recipe=replace(job.recipe, small_first=((0.5, 4),), iterations=12))
    monkeypatch.setattr(recording._Kind, "_step", lambda kind: asked.append(f"step of {kind.side}"))
    real = recording._Kind.__init__

    def on_a_gpu(kind: Any, *rest: Any) -> None:
        real(kind, *rest)
        kind.own = Stream()

    monkeypatch.setattr(recording._Kind, "__init__", on_a_gpu)
    walk(job, captured, 12)
    expected = [
        event
        for side in (4, 8)
        for event in [*["wait", f"step of {side}", "wait"] * 3, "record", f"step of {side}", *["replay"] * 3]
    ]
    assert asked == expected


def test_a_step_that_cannot_be_recorded_is_taken_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextlib.contextmanager
    def graph(recorded: object, stream: object) -> Iterator[None]:
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    expected = walk(job_of(tmp_path), one_by_one, 12)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    take = recording._Kind.take

    def taking(kind: Any, batch: Batch) -> None:
        if kind.taken == recording.FIRST:
            kind._record(None)
        take(kind, batch)

    monkeypatch.setattr(recording._Kind, "take", taking)
    assert walk(job_of(tmp_path), captured, 12) == expected
    assert capsys.readouterr().err.count("cannot be recorded") == 1


@pytest.mark.parametrize(
    ("changes", "is_recorded"),
    [({}, True), ({"stochastic_depth": 0.3}, False), ({"checkpointing": True}, False), ({"image_size": 72}, False)],
)
def test_what_cannot_be_recorded_is_taken_one_by_one(
    changes: dict[str, Any], is_recorded: bool, tmp_path: Path
) -> None:
    resolved = resolve(quickly(tmp_path, device="cpu", workers=0, **changes))
    net = make_net(resolved)
    forward = make_forward(net, resolved.compute, checkpointing=True) if changes.get("checkpointing") else net
    loader = open_loaders(resolved)["train"]
    job = Job(net, forward, make_optimizer(net, resolved.recipe), resolved.recipe, loader, resolved.compute, 0)
    assert recording.steps_for(job) is None  # on a processor
    job = replace(job, compute=replace(resolved.compute, device=torch.device("cuda")))
    assert recording.steps_for(job) is (captured if is_recorded else None)


# --- the update ----------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["he2015_cifar", "quick", "fast"])
def test_a_rate_that_is_a_tensor_moves_weights_alike(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves weights on a GPU, on the processor: fused SGD, and Muon that reads nothing back."""
    plan = RECIPES[recipe](Task(num_pictures=1000, image_size=32, depth=20))  # type: ignore[index]
    nets = [
        ResNet(replace(named("resnet20", 10), blocks=(1, 1, 1))).to(memory_format=torch.channels_last) for _ in "ab"
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [make_optimizer(nets[0], plan)]
    monkeypatch.setattr(optimizer, "first_rate", lambda parameters: torch.tensor(0.1))
    monkeypatch.setattr(muon, "first_rate", lambda parameters: torch.tensor(0.1))
    optimizers.append(make_optimizer(nets[1], plan))
    if isinstance(optimizers[1], torch.optim.SGD):
        assert all(group["fused"] for group in optimizers[1].param_groups)
    for step in range(4):
        for net, one in zip(nets, optimizers, strict=True):
            generator = torch.Generator().manual_seed(step)
            for parameter in net.parameters():
                parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=generator))
            set_rate(one, 0.05 / (step + 1))
            one.step()
            one.zero_grad()
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


# --- on a GPU ------------------------------------------------------------------------------------


@on_a_gpu
@pytest.mark.parametrize("way", ["sgd", "muon", "small pictures first"])
def test_a_gpu_trains_as_the_processor_does(way: str, tmp_path: Path) -> None:
    """In float32: sums are added in another order, so that losses drift apart in the last digits."""
    changes = {**WAYS[way], "epochs": 6}
    here, recorded, single = (
        walk(job_of(tmp_path, device, **changes), steps, 60)
        for device, steps in (("cpu", one_by_one), ("cuda", captured), ("cuda", one_by_one))
    )
    torch.testing.assert_close(torch.tensor(recorded[:20]), torch.tensor(single[:20]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.tensor(recorded[:10]), torch.tensor(here[:10]), rtol=1e-2, atol=1e-3)
    assert recorded[-1][1] < 0.8 * recorded[0][1]


@on_a_gpu
@pytest.mark.parametrize("changes", [{}, {"order": "preactivation", "dropout": 0.2}, {"recipe": "he2015_cifar"}])
def test_on_a_gpu_a_run_repeats_and_goes_on_to_the_bit(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = quickly(tmp_path / "whole", device="cuda", epochs=3, **changes)
    whole = train(settings)
    assert same_tensors(whole.path, train(replace(settings, out=str(tmp_path / "again"))).path)
    real, asked = loop.warm_up, iter(range(10**6))

    def interrupted(recipe: Recipe, state: State) -> None:
        real(recipe, state)
        if next(asked) == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(recording, "warm_up", interrupted)
    with pytest.raises(Stopped):
        train(replace(settings, out=str(tmp_path / "stopped")))
    monkeypatch.undo()
    record = train(TrainSettings(resume=str(tmp_path / "stopped")))
    assert same_tensors(whole.path, record.path)
    assert figures(record) == figures(whole)


@on_a_gpu
def test_no_step_on_a_gpu_allocates(tmp_path: Path) -> None:
    job = job_of(tmp_path, "cuda", given=RECIPES["he2015_cifar"](Task(num_pictures=1200, image_size=8, depth=20)))
    plan = TrainingPlan(0, len(job.loader.split), job.recipe.batch_size, 0, 200)
    counts = []
    for _ in captured(job, State(), plan):
        counted = torch.cuda.memory_stats()
        counts.append((counted["allocation.all.allocated"], counted["segment.all.allocated"]))
    allocations, segments = zip(*counts[100:], strict=True)
    assert len(set(segments)) == 1  # nothing more was asked of the device
    growing = [before != after for before, after in pairwise(allocations)]
    assert sum(growing) <= len(growing) // plan.steps_per_epoch + 1  # pictures are prepared once an epoch, and no more


# --- gradients of BN, where they were once wrong -------------------------------------------------


def test_wrong_gradients_of_bn_are_noticed_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for order in (torch.contiguous_format, torch.channels_last):
        compute.check_batch_norm("cpu", order)
    right = compute._gradients_of_batch_norm

    def wrong_there(device: str, order: torch.memory_format) -> list[torch.Tensor]:
        of_input, *others = right("cpu", order)
        return [of_input.flip(1) if device == "mps" else of_input, *others]

    monkeypatch.setattr(compute, "_gradients_of_batch_norm", wrong_there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(UserError, match="--device mps computes the gradients of batch normalisation wrong"):
        choose_compute("mps")
    monkeypatch.setattr(compute, "_gradients_of_batch_norm", lambda device, order: right("cpu", order))
    assert choose_compute("mps").layout == "contiguous"


# --- the benchmark -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu_py() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_data_in_parts_are_put_together_or_refused(
    gpu_py: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, parts = tmp_path / "cifar10", tmp_path / "parts"
    (data / "plain_text").mkdir(parents=True)
    content = np.random.default_rng(0).bytes(100_000)
    (data / "plain_text" / "train.parquet").write_bytes(content)
    monkeypatch.setattr(gpu_py, "PART_BYTES", 9_000)
    gpu_py.split(data, parts)
    sizes = [part.stat().st_size for part in parts.iterdir()]
    assert len(sizes) > 10  # so that 10 comes after 9
    assert max(sizes) <= 9_000
    (tmp_path / "place").mkdir()
    found = Path(gpu_py.joined(str(parts), tmp_path / "place"))
    assert (found / "plain_text" / "train.parquet").read_bytes() == content
    assert found.name == "cifar10"
    assert gpu_py.joined(str(data), tmp_path) == str(data)  # whole already
    assert gpu_py.joined("digits", tmp_path) == "digits"
    next(parts.iterdir()).unlink()
    with pytest.raises(SystemExit, match=r"holds \d+ parts, not the \d+ of one archive"):
        gpu_py.joined(str(parts), tmp_path)


def test_only_what_is_missing_is_installed_and_only_from_the_folder(
    gpu_py: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(gpu_py.subprocess, "run", lambda words, check: asked.append(words))
    gpu_py.install(Path("wheels"))
    assert asked == []
    monkeypatch.setattr(gpu_py.importlib.util, "find_spec", lambda name: None if name == "msgspec" else name)
    gpu_py.install(Path("wheels"))
    assert asked[0][-4:] == ["--no-index", "--find-links", "wheels", "msgspec"]


@pytest.mark.slow
def test_the_benchmark_runs_in_its_small_form(tmp_path: Path) -> None:
    words = [sys.executable, str(BENCHMARK), "digits", "--small", "--results", str(tmp_path)]
    subprocess.run(words, check=True)
    written = {path.name: read_json(path) for path in tmp_path.iterdir()}
    assert set(written) == {
        f"gpu-{name}.json" for name in ("speed-resnet20", "speed-resnet50", "seeds", "fast", "paper")
    }
    assert all(content["small"] for content in written.values())
    assert [run["model"] for run in written["gpu-paper.json"]["runs"]] == ["resnet20", "plain20"]
    assert set(written["gpu-speed-resnet50.json"]["ratio_of_ours"]) >= {"ours, not recorded", "usual", "library"}
    subprocess.run([*words, "--only", "paper"], check=True)
    assert read_json(tmp_path / "gpu-paper.json")["runs"] == written["gpu-paper.json"]["runs"]  # none is trained again
