"""Training: it learns, repeats, stops and goes on; nothing is lost and nothing silently wrong."""

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import every_sixth_digit
from corpus.warm import Warm
from PIL import Image
from safetensors.torch import load_file
from small_run import quickly

import residuum
from residuum import runs
from residuum.cli import main
from residuum.data.batches import open_loader
from residuum.data.decode import BrokenPicture
from residuum.data.folder import open_folder
from residuum.data.look import MEND
from residuum.data.preprocess import Preprocessing
from residuum.errors import Stopped, UserError
from residuum.files import UNFINISHED
from residuum.loading import load
from residuum.models.file import read_tensors, sealed
from residuum.models.resnet import ResNet
from residuum.recipes.named import OWN_NETS
from residuum.records.run import Counts
from residuum.settings import TrainSettings
from residuum.training import loop
from residuum.training.binding import bound, own_settings
from residuum.training.optimizer import Optimizer, make_optimizer
from residuum.training.reopen import reopen
from residuum.training.resolve import Resolved, resolve
from residuum.training.run import train
from residuum.training.signals import stop_requests
from residuum.training.start import make_net
from residuum.training.state import restore_checkpoint


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    return train(quickly(tmp_path_factory.mktemp("finished") / "run", epochs=3, batch_size=128))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    """Three passes over a sixth of the digits, of three steps each."""
    with every_sixth_digit():
        return train(quickly(tmp_path_factory.mktemp("few") / "run", epochs=3))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    """One pass over a sixth of the digits, with TensorBoard's events."""
    with every_sixth_digit():
        return train(quickly(tmp_path_factory.mktemp("short") / "run", epochs=1, tensorboard=True))


@pytest.fixture(scope="module")
def stopped_after_4_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run like `few`, saved at every step and stopped inside the second epoch."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch, every_sixth_digit():
        stop_after_step(patch, 4)
        with pytest.raises(Stopped):
            train(quickly(run, epochs=3, save_seconds=0.0))
    assert (run / runs.CHECKPOINT).exists()
    assert (run / runs.PREVIOUS_CHECKPOINT).exists()
    return run


def test_it_learns_and_leaves_a_whole_run_folder(finished: runs.RunRecord) -> None:
    written = {path.name for path in finished.path.iterdir()}
    assert written == {
        runs.SETTINGS, runs.ENVIRONMENT, runs.DATA, runs.SPLIT, runs.PICTURES, runs.METRICS,
        runs.MODEL, runs.EVALUATION, runs.MISTAKES,
    }  # fmt: skip
    epochs = finished.epochs
    assert [line.epoch for line in epochs] == [1, 2, 3]
    assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss
    assert finished.evaluation is not None
    assert finished.evaluation.split == "test"
    assert finished.evaluation.images == 360
    assert finished.evaluation.top1.value > 0.6  # guessing gets 0.1
    assert finished.data is not None
    counts = finished.data.counts
    assert counts.train + (counts.validation or 0) + (counts.test or 0) == 1797


def test_the_final_figure_is_that_of_the_saved_model(finished: runs.RunRecord) -> None:
    from residuum.data.digits import digits
    from residuum.data.preprocess import normalise

    classifier = load(finished.path)
    test = digits().test
    assert test is not None
    pixels = np.stack([np.repeat(test.pictures.encoded(i)[..., None], 3, axis=2) for i in range(len(test))])
    answers = classifier(normalise(torch.from_numpy(pixels), classifier.preprocessing))
    accuracy = (answers.argmax(1).numpy() == test.labels).mean()
    assert finished.evaluation is not None
    # the run judged in bfloat16 where the machine has it, this test in float32
    assert accuracy == pytest.approx(finished.evaluation.top1.value, abs=0.012)


@pytest.mark.usefixtures("few_digits")
def test_a_run_repeats_bit_by_bit_from_its_own_settings(few: runs.RunRecord, tmp_path: Path) -> None:
    settings = TrainSettings(**{**few.settings.settings, "out": str(tmp_path / "again")})
    again = train(settings)
    assert same_tensors(few.path / runs.MODEL, again.path / runs.MODEL)
    assert again.evaluation == few.evaluation
    assert losses(again) == losses(few)


@pytest.mark.usefixtures("few_digits")
def test_another_seed_is_another_run(short: runs.RunRecord, tmp_path: Path) -> None:
    other = train(quickly(tmp_path / "other", epochs=1, seed=4))
    assert not same_tensors(short.path / runs.MODEL, other.path / runs.MODEL)


@pytest.mark.usefixtures("few_digits")
def test_stopped_anywhere_it_goes_on_bit_by_bit_the_same(
    few: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "stopped"
    settings = quickly(run, epochs=3)
    stop_after_step(monkeypatch, 4)  # of nine: inside the second epoch
    with pytest.raises(Stopped, match=f"residuum train --resume {run}"):
        train(settings)
    assert not (run / runs.MODEL).exists()
    stop_after_step(monkeypatch, 4)  # and again
    with pytest.raises(Stopped):
        train(TrainSettings(resume=str(run)))
    monkeypatch.undo()
    record = train(TrainSettings(resume=str(run)))
    assert same_tensors(few.path / runs.MODEL, record.path / runs.MODEL)
    assert record.evaluation == few.evaluation
    assert losses(record) == losses(few)


def stop_after_step(monkeypatch: pytest.MonkeyPatch, steps: int, number: int = signal.SIGTERM) -> None:
    """Ask this process to stop, as a person or a scheduler would, after some steps."""
    done = 0
    step = loop.train_step.__wrapped__ if hasattr(loop.train_step, "__wrapped__") else loop.train_step

    def counted(*arguments: object) -> object:
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), number)
        return step(*arguments)  # type: ignore[arg-type]

    counted.__wrapped__ = step  # type: ignore[attr-defined]
    monkeypatch.setattr(loop, "train_step", counted)


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: str, few: runs.RunRecord, stopped_after_4_steps: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(stopped_after_4_steps, tmp_path / "damaged")
    content = (run / runs.CHECKPOINT).read_bytes()
    spoiled = content[: len(content) // 2] if damage == "truncated" else b"\xff" * 8 + content[8:]
    (run / runs.CHECKPOINT).write_bytes(spoiled)
    record = train(TrainSettings(resume=str(run)))
    assert same_tensors(few.path / runs.MODEL, record.path / runs.MODEL)
    assert losses(record) == losses(few)


@pytest.mark.usefixtures("few_digits")
def test_a_checkpoint_with_a_flipped_bit_in_its_weights_is_not_trusted(
    stopped_after_4_steps: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(stopped_after_4_steps, tmp_path / "bit")
    content = bytearray((run / runs.CHECKPOINT).read_bytes())
    content[-100] ^= 0x40
    (run / runs.CHECKPOINT).write_bytes(content)
    (run / runs.PREVIOUS_CHECKPOINT).unlink(missing_ok=True)
    with pytest.raises(UserError, match="cannot be continued"):
        restored(run)


@pytest.mark.usefixtures("few_digits")
def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, before = tmp_path / "nan", {}
    real = loop.mean_loss
    steps = 0

    def poisoned(*given: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return real(*given) * (float("nan") if steps == 5 else 1.0)

    step = loop.train_step

    def watched(job: loop.Job, *rest: object) -> tuple[float, int]:
        before.update({n: p.detach().clone() for n, p in job.net.named_parameters()})
        before["net"] = job.net
        return step(job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "mean_loss", poisoned)
    monkeypatch.setattr(loop, "train_step", watched)
    with pytest.raises(UserError, match=r"step 5: .*nan") as error:
        train(quickly(run))
    assert "--lr" in error.value.mend
    net = before.pop("net")
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())


def test_resume_refuses_what_it_cannot_honour(finished: runs.RunRecord, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has finished"):
        train(TrainSettings(resume=str(finished.path)))
    own = own_settings(finished.path, runs.read_begun(finished.path).settings)
    for again in (own, replace(own, out=str(finished.path))):  # as a file given to --config has them
        with pytest.raises(UserError, match="has finished"):
            train(replace(again, resume=str(finished.path)))
    for other in ({"epochs": 9}, {"out": str(tmp_path)}):
        with pytest.raises(
            UserError, match=f"its own settings\n.*otherwise than the run has it: --{next(iter(other))}, as"
        ):
            train(replace(own, resume=str(finished.path), **other))
    with pytest.raises(UserError, match="not a run folder"):
        train(TrainSettings(resume=str(tmp_path)))


def test_resume_refuses_data_that_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = pictures(tmp_path / "photos", per_class=20)
    run = tmp_path / "run"
    stop_after_step(monkeypatch, 3)
    with pytest.raises(Stopped):
        train(TrainSettings(str(photos), epochs=3, batch_size=8, blocks=(1, 1, 1), out=str(run)))
    monkeypatch.undo()
    moved = photos.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"no longer in {photos}"):
        train(TrainSettings(resume=str(run)))
    picture = next(moved.rglob("*.png"))
    kept = picture.rename(tmp_path / picture.name)
    with pytest.raises(UserError, match="no longer those"):
        train(TrainSettings(str(moved), resume=str(run)))
    kept.rename(picture)
    record = train(TrainSettings(str(moved), resume=str(run)))  # the same pictures, elsewhere
    assert record.data.source == str(moved)
    assert load(run).about.data.source == str(moved)


def test_a_run_never_writes_over_another(finished: runs.RunRecord) -> None:
    with pytest.raises(UserError, match="not an empty folder"):
        train(quickly(finished.path))


def test_a_second_ctrl_c_stops_at_once() -> None:
    with stop_requests() as asked:
        assert asked() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert asked() == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 90
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def test_the_command_saves_and_says_how_to_go_on(warm: Warm, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", "digits", *["--blocks", "1"] * 3, "--epochs", "500", "--out", str(run)]
    process = warm.start(words)
    wait_for(run / runs.METRICS)
    os.kill(process.pid, signal.SIGINT)
    ended = process.wait(60)
    assert ended.code == 130
    assert f"residuum train --resume {run}" in ended.said
    assert "Traceback" not in ended.said
    assert (run / runs.CHECKPOINT).exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_either_signal_ends_the_command_with_its_code(
    number: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As above in this process, whose exit code is what main() leaves with."""
    run = tmp_path / "run"
    words = ["train", "digits", *["--blocks", "1"] * 3, "--epochs", "500", "--out", str(run)]
    monkeypatch.setattr(sys, "argv", ["residuum", *words])
    stop_after_step(monkeypatch, 2, number)
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert stop.value.code == code
    assert f"residuum train --resume {run}" in said
    assert "Traceback" not in said
    assert (run / runs.CHECKPOINT).exists()


def test_killed_it_goes_on_from_its_last_checkpoint(finished: runs.RunRecord, warm: Warm, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", "digits", "--model", "resnet20", *["--blocks", "1"] * 3, "--epochs", "3"]
    words += ["--batch-size", "128", "--seed", "3", "--save-seconds", "0", "--threads", "1", "--out", str(run)]
    process = warm.start(words)
    wait_for(run / runs.PREVIOUS_CHECKPOINT)
    process.kill()
    assert process.wait(60).code == -signal.SIGKILL
    record = train(TrainSettings(resume=str(run)))
    assert same_tensors(record.path / runs.MODEL, finished.path / runs.MODEL)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_large_pictures_are_streamed_and_their_workers_change_nothing(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", per_class=12, side=90)
    records = [
        train(TrainSettings(
            str(photos), model="resnet20", blocks=(1, 1, 1), widths=(8, 8, 8), epochs=1, batch_size=8,
            workers=workers, out=str(tmp_path / f"w{workers}"),
        ))
        for workers in (0, 2)
    ]  # fmt: skip
    assert records[0].settings.resolved["image_size"] == 128
    assert same_tensors(*(record.path / runs.MODEL for record in records))
    assert losses(records[0]) == losses(records[1])
    assert records[0].data.counts.test is None
    assert records[0].evaluation is not None
    assert records[0].evaluation.split == "validation"


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", per_class=12)
    broken = next(photos.rglob("*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(UserError, match=broken.name):
        train(TrainSettings(str(photos), epochs=1, out=str(tmp_path / "run")))
    broken.unlink()
    train(TrainSettings(str(photos), epochs=1, batch_size=4, out=str(tmp_path / "run")))  # mended, the same line works


def test_a_run_goes_on_without_broken_pictures_and_when_they_have_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, run = pictures(tmp_path / "photos", per_class=12), tmp_path / "run"
    broken = photos / "红色" / "4.png"
    broken.write_bytes(broken.read_bytes()[:60])
    stop_after_step(monkeypatch, 3)
    with pytest.raises(Stopped):
        train(TrainSettings(str(photos), epochs=2, batch_size=8, blocks=(1, 1, 1), out=str(run), skip_broken=True))
    monkeypatch.undo()
    sound = (photos / "红色" / "5.png").read_bytes()
    broken.write_bytes(sound)
    with pytest.raises(UserError, match="no longer those") as caught:
        train(TrainSettings(resume=str(run)))
    assert "'红色/4.png', which can be read now" in caught.value.why
    broken.unlink()  # as the mend says
    record = train(TrainSettings(resume=str(run)))
    assert record.data is not None
    assert [(one.split, one.name) for one in record.data.skipped] == [("train", "红色/4.png")]
    assert record.data.counts.train + (record.data.counts.validation or 0) == 23
    assert any("红色/4.png" in event.message for event in record.events)
    assert load(run).about.data == record.data


def test_a_picture_that_breaks_on_the_way_is_named_with_all_others(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", per_class=12)
    loader = open_loader(
        open_folder(photos).train, Preprocessing(90, 90, np.zeros(3, "f4"), np.ones(3, "f4")), torch.device("cpu"), 1, 8
    )
    for name in ("3.png", "7.png"):
        (photos / "蓝色" / name).write_bytes(b"")
    with pytest.raises(BrokenPicture, match="2 pictures of 24 cannot be read") as caught:
        list(loader)
    assert "蓝色/3.png: the file is empty" in caught.value.why
    assert caught.value.mend == MEND
    assert "Traceback" not in str(caught.value)
    shutil.copy(photos / "蓝色" / "1.png", photos / "蓝色" / "7.png")
    with pytest.raises(BrokenPicture, match=r"蓝色/3\.png") as alone:
        list(loader)
    assert alone.value.mend == "replace or remove it; or let train, or evaluate, go on without it by --skip-broken"


def test_the_users_pictures_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = pictures(tmp_path / "照片", per_class=12)
    monkeypatch.chdir(photos)  # so that runs/ would lie among them
    before = {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in photos.rglob("*")}
    for inside in ("run", "红色/run"):
        with pytest.raises(UserError, match="lies in the folder of the pictures"):
            train(TrainSettings(".", epochs=1, batch_size=8, out=inside))
    record = train(TrainSettings(".", epochs=1, batch_size=8))
    assert record.path.parent == tmp_path / "runs"
    after = {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in photos.rglob("*")}
    assert before == after
    assert record.data.classes == ("红色", "蓝色")
    assert load(record.path).classes == ("红色", "蓝色")


def pictures(root: Path, per_class: int, side: int = 16) -> Path:
    """A folder of two classes, reddish and bluish noise, with Chinese names."""
    random = np.random.default_rng(0)
    for name, channel in (("红色", 0), ("蓝色", 2)):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = random.integers(0, 120, (side, side, 3), dtype=np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def losses(record: runs.RunRecord) -> list[tuple[int, float, float]]:
    return [(line.step, line.train_loss, line.validation_loss) for line in record.epochs]


@pytest.mark.usefixtures("few_digits")
def test_the_papers_cifar_recipe_subtracts_the_mean_picture(tmp_path: Path) -> None:
    record = train(quickly(tmp_path / "run", recipe="he2015_cifar", epochs=1))
    classifier = load(record.path)
    assert classifier.preprocessing.mean.shape == (8, 8, 3)
    details = record.settings.resolved["recipe_details"]
    assert (details["schedule"]["base"], details["weight_decay"], details["nesterov"]) == (0.1, 1e-4, False)
    scan = tmp_path / "scan.png"
    Image.new("L", (8, 8)).save(scan)
    answer = residuum.predict(record.path, scan)[0]
    assert sum(answer.probabilities) <= 1.0 + 1e-6
    assert len(set(answer.classes)) == 5


def test_the_papers_imagenet_recipe_runs_on_photographs(tmp_path: Path) -> None:
    photos = pictures(tmp_path / "photos", per_class=8, side=90)
    settings = TrainSettings(
        str(photos), model="resnet18", blocks=(1, 1, 1, 1), widths=(16, 32, 64, 128), recipe="he2015_imagenet",
        epochs=1, batch_size=4, image_size=96, workers=0, out=str(tmp_path / "run"),
    )  # fmt: skip
    record = train(settings)
    assert record.settings.resolved["recipe_details"]["augmentation"]["colour"]
    assert record.evaluation is not None
    assert record.evaluation.protocol == "single view, shorter side 110, central 96×96"


def test_a_data_set_with_its_own_splits_is_not_cut(tmp_path: Path) -> None:
    for split, count in (("train", 12), ("val", 4), ("test", 6)):
        pictures(tmp_path / "photos" / split, per_class=count)
    record = train(TrainSettings(str(tmp_path / "photos"), epochs=1, batch_size=8, out=str(tmp_path / "run")))
    assert record.data.counts == Counts(train=24, validation=8, test=12)
    assert record.data.validation_from == "the data's own validation split"
    assert not (record.path / runs.SPLIT).exists()
    assert record.evaluation is not None
    assert (record.evaluation.split, record.evaluation.images) == ("test", 12)


def test_tensorboard_events_hold_the_metrics_lines(short: runs.RunRecord) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(short.path / runs.EVENTS))
    events.Reload()
    scalars = events.Scalars("epoch/validation_accuracy")
    lines = short.epochs
    assert [s.value for s in scalars] == pytest.approx([line.validation_accuracy for line in lines])
    assert [s.step for s in scalars] == [line.step for line in lines]


@pytest.mark.usefixtures("few_digits")
def test_without_pictures_it_trains_on_the_built_in_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = train(TrainSettings(epochs=1, batch_size=64, blocks=(1, 1, 1), out=str(tmp_path / "run")))
    assert record.settings.settings["data"] == "digits"
    assert "built-in digits" in capsys.readouterr().err


# --- any net of the family, and trained weights to begin with ------------------------------------


@pytest.mark.usefixtures("few_digits")
def test_a_net_with_chance_in_it_goes_on_bit_by_bit_the_same(tmp_path: Path) -> None:
    choices = {"order": "preactivation", "blocks": (1, 2, 1), "dropout": 0.2, "stochastic_depth": 0.3}
    whole = train(quickly(tmp_path / "whole", **choices))
    resolved = whole.settings.resolved
    assert (resolved["net"]["order"], resolved["net"]["blocks"]) == ("preactivation", [1, 2, 1])
    assert resolved["depth"] == 10
    with pytest.MonkeyPatch.context() as stopping:
        stop_after_step(stopping, 5)
        with pytest.raises(Stopped):
            train(quickly(tmp_path / "stopped", **choices))
    record = train(TrainSettings(resume=str(tmp_path / "stopped")))
    assert same_tensors(whole.path / runs.MODEL, record.path / runs.MODEL)
    again = train(TrainSettings(**{**whole.settings.settings, "out": str(tmp_path / "again")}))
    assert same_tensors(whole.path / runs.MODEL, again.path / runs.MODEL)


@pytest.mark.usefixtures("few_digits")
def test_checkpointing_trains_the_same_net(tmp_path: Path) -> None:
    records = [
        train(quickly(tmp_path / str(on), epochs=1, checkpointing=on, order="preactivation")) for on in (False, True)
    ]
    assert same_tensors(records[0].path / runs.MODEL, records[1].path / runs.MODEL)


@pytest.mark.usefixtures("few_digits")
def test_training_goes_on_from_a_trained_net(finished: runs.RunRecord, tmp_path: Path) -> None:
    record = train(TrainSettings("digits", start=str(finished.path), epochs=1, out=str(tmp_path / "run")))
    first = record.steps[0]
    assert first.loss < 0.8 * losses(finished)[0][1]  # it did not begin anew
    assert record.settings.settings["recipe"] == "fine_tune"
    before, after = load(finished.path), load(record.path)
    assert after.spec == before.spec
    assert after.preprocessing.mean.tolist() == before.preprocessing.mean.tolist()
    verbs = [(step.verb, step.from_ is not None) for step in after.about.lineage]
    assert verbs == [("train", False), ("train", True)]


@pytest.mark.usefixtures("few_digits")
def test_it_goes_on_although_the_starting_model_is_gone(finished: runs.RunRecord, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes((finished.path / runs.MODEL).read_bytes())
    settings = {"start": str(model), "epochs": 1, "batch_size": 64, "seed": 5}
    whole = train(TrainSettings("digits", **settings, out=str(tmp_path / "whole")))
    with pytest.MonkeyPatch.context() as stopping:
        stop_after_step(stopping, 2)
        with pytest.raises(Stopped):
            train(TrainSettings("digits", **settings, out=str(tmp_path / "stopped")))
    model.unlink()
    begun = runs.read_begun(tmp_path / "stopped").settings.resolved["model"]
    assert reopen(TrainSettings(resume=str(tmp_path / "stopped"))).model == begun != "start"
    record = train(TrainSettings(resume=str(tmp_path / "stopped")))
    assert same_tensors(whole.path / runs.MODEL, record.path / runs.MODEL)


def test_classes_in_another_order_are_found_by_name_and_other_classes_get_a_new_last_layer(
    finished: runs.RunRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def begun(classes: tuple[str, ...]) -> torch.Tensor:
        resolved = resolve(TrainSettings("digits", start=str(finished.path)))
        data = replace(resolved.data, classes=classes)
        spec = replace(resolved.spec, num_classes=len(classes))
        return make_net(replace(resolved, data=data, spec=spec)).fc.weight.detach()

    own = load(finished.path).net.fc.weight.detach()
    assert torch.equal(begun(tuple("9876543210")), own.flip(0))
    assert "new last layer" not in capsys.readouterr().err
    assert begun(("cat", "dog")).shape == (2, 64)
    assert "new last layer for 2 classes" in capsys.readouterr().err


def test_a_starting_model_brings_its_own_net(finished: runs.RunRecord) -> None:
    with pytest.raises(UserError, match=r"--model, --order was given"):
        resolve(TrainSettings("digits", start=str(finished.path), model="resnet20", order="preactivation"))


def fast(out: Path) -> TrainSettings:
    narrower = (32, 32, 32)  # than its 64, 256, 256
    return quickly(out, model=None, recipe="fast", epochs=2, widths=narrower)


def test_recipe_fast_learns_digits_with_its_own_net(tmp_path: Path) -> None:
    whole = train(fast(tmp_path / "whole"))
    assert whole.settings.resolved["model"] == "fast-resnet10"
    assert whole.evaluation is not None
    assert whole.evaluation.top1.value > 0.9
    assert "single view" in whole.evaluation.protocol  # mirrored digits are other digits


@pytest.mark.usefixtures("few_digits")
def test_recipe_fast_goes_on_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(fast(tmp_path / "whole"))
    stop_after_step(monkeypatch, 4)  # of six
    with pytest.raises(Stopped):
        train(fast(tmp_path / "stopped"))
    monkeypatch.undo()
    record = train(TrainSettings(resume=str(tmp_path / "stopped")))
    assert same_tensors(whole.path / runs.MODEL, record.path / runs.MODEL)


def test_a_target_of_recipe_fast_chooses_net_and_passes(tmp_path: Path) -> None:
    resolved = resolve(quickly(tmp_path, model=None, recipe="fast", target=95, epochs=None))
    assert resolved.model == OWN_NETS["fast_95"]
    assert resolved.recipe.iterations % (4 + 5 + 8) == 0
    assert (resolved.settings.recipe, resolved.settings.target) == ("fast_95", 95)
    assert resolve(resolved.settings).settings == resolved.settings
    with pytest.raises(UserError, match="recipe fast's"):
        resolve(quickly(tmp_path, target=95))
    with pytest.raises(UserError, match="out of range"):
        quickly(tmp_path, recipe="fast", target=96)


def test_small_pictures_come_first_and_whole_ones_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve(quickly(tmp_path, model=None, recipe="fast", epochs=6))
    recipe, images = resolved.recipe, torch.randn(4, 3, 32, 32)
    shown = [loop.at_size(recipe, step, images).shape[2] for step in range(recipe.iterations)]
    assert shown == sorted(shown)
    assert set(shown) == {side for _, side in recipe.small_first} | {32}
    assert [side for _, side in recipe.small_first] == [4, 6]  # of the digits' 8
    for share, side in recipe.small_first:
        seen = sum(size <= side for size in shown)
        assert seen == pytest.approx(share * recipe.iterations, abs=1)


# --- what is read back ---------------------------------------------------------------------------


GoingOn = tuple[Resolved, ResNet, Optimizer]


def opened_again(run: Path) -> GoingOn:
    resolved = reopen(TrainSettings(resume=str(run)))
    net = make_net(resolved)
    return resolved, net, make_optimizer(net, resolved.recipe)


@pytest.fixture(scope="module")
def again(stopped_after_4_steps: Path) -> GoingOn:
    with every_sixth_digit():
        return opened_again(stopped_after_4_steps)


def restored(run: Path, said: list[str] | None = None, again: GoingOn | None = None) -> int:
    """Go on with a run, but for its pictures: return the step it stands at."""
    resolved, net, optimizer = again or opened_again(run)
    warn = (said if said is not None else list[str]()).append
    return restore_checkpoint(run, net, optimizer, bound(resolved.settings), resolved.recipe.iterations, warn).step


def resealed(file: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: str | None) -> None:
    """Write a checkpoint again, sealed, with other tensors or metadata; None leaves some out."""
    before, told = read_tensors(file)
    kept = {name: value for name, value in {**told, **metadata}.items() if value is not None}
    file.write_bytes(sealed(tensors or before, kept))


def changed(file: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    resealed(file, {name: change(tensor) for name, tensor in read_tensors(file)[0].items()})


def renamed(file: Path) -> None:
    tensors = read_tensors(file)[0]
    resealed(file, {name.replace("optimizer/0/", "optimizer/999/"): tensor for name, tensor in tensors.items()})


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "gone": Path.unlink,
    "a folder": made_a_folder,
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a header that is too long": lambda file: file.write_bytes(b"\xff" * 7 + b"\x7f" + file.read_bytes()[8:]),
    "of another net": lambda file: changed(file, lambda tensor: tensor.repeat(2, *[1] * max(0, tensor.ndim - 1))),
    "in double precision": lambda file: changed(file, torch.Tensor.double),
    "of another optimiser": renamed,
    "a model": lambda file: resealed(file, format="residuum-model/1"),
    "without a state": lambda file: resealed(file, state=None),
    "a state that is none": lambda file: resealed(file, state='{"step": null}'),
    "a step below 0": lambda file: resealed(file, state='{"step": -1}'),
    "a step beyond the last": lambda file: resealed(file, state='{"step": 100000}'),
    "settings that are none": lambda file: resealed(file, settings="[1]"),
    "of a run with another seed": lambda file: resealed(file, settings='{"seed": 77}'),
}


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("how", UNUSABLE)
def test_the_checkpoint_before_one_that_cannot_be_used_is_gone_on_from(
    how: str, stopped_after_4_steps: Path, again: GoingOn, tmp_path: Path
) -> None:
    run, said = shutil.copytree(stopped_after_4_steps, tmp_path / "run"), list[str]()
    UNUSABLE[how](run / runs.CHECKPOINT)
    assert restored(run, said, again) == 3
    assert "the checkpoint before it is used" in said[0]
    assert not (run / runs.CHECKPOINT).exists()  # or the next save would put it in the place of the good one
    UNUSABLE[how](run / runs.PREVIOUS_CHECKPOINT)
    with pytest.raises(UserError) as error:
        restored(run, again=again)
    assert "begins again" in error.value.mend or "seed was 77" in error.value.why


def test_a_checkpoint_cut_anywhere_in_its_head_is_refused(stopped_after_4_steps: Path, tmp_path: Path) -> None:
    file, content = tmp_path / "cut.safetensors", (stopped_after_4_steps / runs.CHECKPOINT).read_bytes()
    for length in range(8 + int.from_bytes(content[:8], "little") + 1):
        if length < 64 or length % 101 == 0:
            file.write_bytes(content[:length])
            with pytest.raises(UserError, match=r"cut\.safetensors"):
                read_tensors(file)


def with_settings(stopped: Path, run: Path, parts: tuple[str, ...], **values: object) -> None:
    """Copy what a resumed run reads of its folder, with other settings."""
    run.mkdir(exist_ok=True)
    for name in (runs.DATA, runs.CHECKPOINT):
        shutil.copy(stopped / name, run)
    content = json.loads((stopped / runs.SETTINGS).read_text())
    for part in parts:
        content[part] |= values
    (run / runs.SETTINGS).write_text(json.dumps(content))


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 4), ("lr", 0.9), ("image_size", 9), ("order", "preactivation"), ("epochs", 5), ("flip", True)],
)
def test_edited_settings_are_not_gone_on_with(
    name: str, value: object, stopped_after_4_steps: Path, tmp_path: Path
) -> None:
    for parts in (("settings",), ("settings", "resolved")):  # both: the checkpoint's own are there still
        with_settings(stopped_after_4_steps, tmp_path, parts, **{name: value})
        with pytest.raises(UserError, match=f"not those that the run began with: .*{name}") as error:
            restored(tmp_path)
        assert f"is {value!r}" in error.value.why


@pytest.mark.usefixtures("few_digits")
def test_what_decides_no_weights_may_be_changed_on_the_way(stopped_after_4_steps: Path, tmp_path: Path) -> None:
    with_settings(stopped_after_4_steps, tmp_path, ("settings",), workers=1, save_seconds=5.0, threads=2)
    assert restored(tmp_path) == 4
    resealed(tmp_path / runs.CHECKPOINT, settings=None)  # as older versions wrote it
    assert restored(tmp_path) == 4


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("wrong", [{"seed": "x"}, {"foo": 1}, {"lr": [1]}, {"": 0}, {"resume": 5, "seed": -1}])
def test_settings_that_are_none_are_one_clear_error(
    wrong: dict[str, object], stopped_after_4_steps: Path, tmp_path: Path
) -> None:
    with_settings(stopped_after_4_steps, tmp_path, ("settings", "resolved"), **wrong)
    with pytest.raises(UserError, match=r"settings\.json"):
        reopen(TrainSettings(resume=str(tmp_path)))


# --- however it ends, there is a way on ----------------------------------------------------------


@pytest.mark.usefixtures("few_digits")
def test_a_run_killed_before_its_first_checkpoint_begins_again(short: runs.RunRecord, tmp_path: Path) -> None:
    for name in (runs.SETTINGS, runs.DATA, runs.SPLIT, runs.METRICS):
        shutil.copy(short.path / name, tmp_path)
    (tmp_path / f"{UNFINISHED}x").touch()
    (tmp_path / runs.LOCK).write_text('{"pid": 1, "host": "a container that is no more"}')
    again = train(TrainSettings(resume=str(tmp_path)))
    assert same_tensors(again.path / runs.MODEL, short.path / runs.MODEL)
    assert losses(again) == losses(short)
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))


@pytest.mark.usefixtures("few_digits")
def test_a_run_folder_that_is_removed_is_made_again_elsewhere(
    short: runs.RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, step, steps = tmp_path / "run", loop.train_step, itertools.count()

    def removing(*given: Any) -> object:
        if next(steps) == 1:
            shutil.rmtree(run)
            run.touch()  # so that it cannot be there
        return step(*given)

    monkeypatch.setattr(loop, "train_step", removing)
    record = train(quickly(run, epochs=1))
    assert f"goes on in {record.path}" in capsys.readouterr().err
    assert same_tensors(record.path / runs.MODEL, short.path / runs.MODEL)
    assert losses(record) == losses(short)
    assert record.data == short.data
    assert run.read_bytes() == b""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal hangs up here")
def test_a_terminal_that_is_closed_is_a_stop_unless_nohup_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() is None
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with stop_requests() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() == 129
            assert capsys.readouterr().err.count("stopping as soon as what is under way is done") == 1
            os.kill(os.getpid(), signal.SIGTERM)
            assert capsys.readouterr().err == ""  # said once
    finally:
        signal.signal(signal.SIGHUP, before)


def test_stopped_before_the_run_has_begun_it_says_that_nothing_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        assert list(Path("runs").iterdir()), "its folder is there, and empty"
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("residuum.training.run.open_loaders", interrupted)
    with pytest.raises(Stopped, match="nothing was kept, and the same command begins it again") as stopped:
        train(TrainSettings("digits", threads=1))
    assert stopped.value.exit_code == 130
    assert list(Path("runs").iterdir()) == []
