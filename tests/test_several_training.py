"""Several labels a picture, from pictures to a run: nothing but made-up colour patches, which a net can tell."""

import copy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from small_start import small_model
from torch.nn.functional import binary_cross_entropy_with_logits

from residuum import runs
from residuum.data.mixing import Mix
from residuum.errors import UserError
from residuum.evaluation.evaluate import evaluate
from residuum.evaluation.metrics import mean_loss as mean_loss_of
from residuum.evaluation.unseen import read_unseen
from residuum.files import read_json
from residuum.loading import load, save_classifier
from residuum.records.model import Provenance
from residuum.settings import EvaluateSettings, TrainSettings
from residuum.training.captured import captured
from residuum.training.loop import Callbacks, Job, fit, forward_and_backward
from residuum.training.loss import mean_loss
from residuum.training.optimizer import make_optimizer
from residuum.training.resolve import resolve
from residuum.training.run import train
from residuum.training.start import make_net, open_loaders
from residuum.training.state import State

COLOURS = {"blue": (20, 40, 220), "green": (20, 200, 40), "red": (220, 30, 30)}
SIDE = 16
QUICKLY: dict[str, Any] = {
    "model": "resnet20",
    "blocks": (1, 1, 1),
    "widths": (8, 8, 16),
    "epochs": 6,
    "batch_size": 32,
    "threads": 1,
    "workers": 0,
    "precision": "float32",
}


def patches(count: int, seed: int) -> tuple[list[bytes], list[list[str]]]:
    """Return PNG files of noise with a patch of each colour that the picture shows, and which those are."""
    rng = np.random.default_rng(seed)
    files, shown = [], []
    for _ in range(count):
        pixels = rng.integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        its = [name for name, share in zip(COLOURS, (0.5, 0.4, 0.2), strict=True) if rng.random() < share]
        for place, name in zip(rng.permutation(4).tolist(), its, strict=False):
            y, x = 8 * (place // 2), 8 * (place % 2)
            pixels[y : y + 8, x : x + 8] = COLOURS[name]
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
        shown.append(its)
    return files, shown


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Parquet files with a column of lists."""
    root = tmp_path_factory.mktemp("patches")
    for name, count in (("train", 160), ("test", 60)):
        files, shown = patches(count, seed=len(name))
        image = pa.array([{"bytes": each} for each in files], pa.struct({"bytes": pa.binary()}))
        pq.write_table(
            pa.table({"image": image, "label": pa.array(shown, pa.list_(pa.string()))}), root / f"{name}.parquet"
        )
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> runs.RunRecord:
    return train(TrainSettings(str(data), **QUICKLY, out=str(tmp_path_factory.mktemp("several") / "run")))


def test_a_run_learns_them(run: runs.RunRecord, data: Path) -> None:
    found = run.evaluation
    assert found is not None
    assert found.mean_ap is not None
    truth = truth_of(data / "test.parquet")
    assert found.mean_ap.low > truth.mean(axis=0).mean()  # chance's average precision is a class's share
    assert [one.name for one in found.per_class] == list(COLOURS)
    assert [one.images for one in found.per_class] == truth.sum(axis=0).tolist()
    classifier = load(run.path)
    assert classifier.several
    assert read_json(run.path / runs.SETTINGS)["resolved"]["recipe_details"]["loss"] == "binary-cross-entropy"
    assert read_json(run.path / runs.SETTINGS)["resolved"]["recipe_details"]["label_smoothing"] == 0


def truth_of(file: Path) -> np.ndarray[Any, Any]:
    lists = pq.read_table(file)["label"].to_pylist()
    return np.array([[name in its for name in COLOURS] for its in lists], np.uint8)


def test_evaluate_finds_what_the_run_found(run: runs.RunRecord, data: Path) -> None:
    again, own = evaluate(EvaluateSettings(run.path, device="cpu")), run.evaluation
    assert own is not None
    assert again.mean_ap is not None
    assert again.loss == pytest.approx(own.loss, rel=1e-4)
    assert again.confusion == own.confusion
    classifier = load(run.path)
    pixels = torch.stack(shown_to(classifier, data))
    p = classifier(pixels).numpy()
    truth = truth_of(data / "test.parquet")
    assert again.mean_ap.value == pytest.approx(average_precision_score(truth, p, average="macro"), abs=1e-4)
    assert (p.sum(axis=1) > 1.01).any() or (p.sum(axis=1) < 0.99).any()  # each class answers for itself


def shown_to(classifier: Any, data: Path) -> list[torch.Tensor]:
    how = classifier.preprocessing
    files = [row["bytes"] for row in pq.read_table(data / "test.parquet")["image"].to_pylist()]
    pixels = [np.asarray(Image.open(BytesIO(file)).convert("RGB"), np.float32) for file in files]
    return [torch.from_numpy((one - how.mean) / how.std).permute(2, 0, 1).float() for one in pixels]


def test_several_nets_are_averaged_whatever_the_order_of_their_classes(
    run: runs.RunRecord, data: Path, tmp_path: Path
) -> None:
    own = load(run.path)
    order = [2, 0, 1]
    net = copy.deepcopy(own.net)
    with torch.no_grad():
        net.fc.weight.copy_(own.net.fc.weight[order] * 0.5)
        net.fc.bias.copy_(own.net.fc.bias[order])
    other = tmp_path / "other.safetensors"
    save_classifier(
        other, net, own.spec, tuple(own.classes[k] for k in order), own.preprocessing, Provenance(several=True)
    )
    found = evaluate(EvaluateSettings(run.path, with_=(other,), device="cpu"))
    pixels = torch.stack(shown_to(own, data))
    p = (own(pixels) + load(other)(pixels)[:, [1, 2, 0]]).numpy() / 2
    expected = average_precision_score(truth_of(data / "test.parquet"), p, average="macro")
    assert found.mean_ap is not None
    assert found.mean_ap.value == pytest.approx(expected, abs=1e-4)
    assert found.loss == pytest.approx(mean_loss_of(p, truth_of(data / "test.parquet")), rel=1e-3)


def test_ten_crops_are_averaged_by_probability(run: runs.RunRecord) -> None:
    found = evaluate(EvaluateSettings(run.path, views=("ten-crop",), device="cpu"))
    assert found.mean_ap is not None
    assert found.protocol.startswith("ten crops")
    assert found.mean_ap.value > 0.5


def test_a_start_of_the_other_kind_gives_no_last_layer(data: Path, tmp_path: Path, capsys: Any) -> None:
    start = small_model(tmp_path / "start.safetensors", tuple(COLOURS), SIDE)  # type: ignore[arg-type]
    resolved = resolve(TrainSettings(str(data), start=str(start), threads=1, seed=1))
    assert resolved.recipe.name == "head"  # few pictures, and another question
    net = make_net(resolved)
    assert "answers one label a picture: a new last layer for 3 classes" in capsys.readouterr().err
    assert not torch.equal(net.fc.weight, load(start).net.fc.weight)


def test_the_loss_is_the_mean_over_pictures_and_classes() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = (torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.4).to(torch.uint8)
    recipe = resolve(TrainSettings("digits", epochs=1)).recipe
    expected = -(labels * logits.sigmoid().log() + (1 - labels.float()) * (-logits).sigmoid().log()).mean()
    torch.testing.assert_close(mean_loss(logits, labels, None, recipe), expected)
    mix = Mix(labels.flip(0), torch.tensor([1.0, 0.7, 0.5, 0.5, 0.7, 1.0]))
    targets = mix.share[:, None] * labels + (1 - mix.share[:, None]) * labels.flip(0)
    torch.testing.assert_close(
        mean_loss(logits, labels, mix, recipe), binary_cross_entropy_with_logits(logits, targets)
    )


def job_of(data: Path, **changes: Any) -> Job:
    resolved = resolve(TrainSettings(str(data), **{**QUICKLY, "epochs": 2, **changes}, device="cpu"))
    torch.manual_seed(0)
    net = make_net(resolved)
    resolved.compute.place(net)
    return Job(
        net,
        net,
        make_optimizer(net, resolved.recipe),
        resolved.recipe,
        open_loaders(resolved)["train"],
        resolved.compute,
        0,
    )


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.2, "cutmix": 1.0}])
def test_recorded_steps_are_the_loops_to_the_bit(data: Path, mixed: dict[str, float]) -> None:
    jobs = [job_of(data, **mixed), job_of(data, **mixed)]
    lines: list[list[Any]] = [[], []]
    for job, steps, seen in zip(jobs, (None, captured), lines, strict=True):
        fit(job, State(), Callbacks(seen.append, lambda _: None, dict, lambda: None), 1e9, steps)
    ours, theirs = (job.net.state_dict() for job in jobs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    counted = [[one.train_accuracy for one in seen if hasattr(one, "train_accuracy")] for seen in lines]
    assert counted[0] == counted[1]


def test_a_step_in_parts_is_the_whole_step(data: Path) -> None:
    whole = job_of(data)
    whole.net.eval()  # BN would see each part by itself
    batch, found = next(iter(whole.loader)), []
    for job in (whole, replace(whole, accumulate=4)):
        job.net.zero_grad()
        loss, hits, _ = forward_and_backward(job, batch.images[:32], batch.labels[:32])
        gradient = job.net.get_parameter("fc.weight").grad
        assert gradient is not None
        found.append((float(loss), int(hits), gradient.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] == found[1][1]
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tune", ["head", "last", "all"])
def test_weights_that_are_there_are_tuned(data: Path, tune: str, tmp_path: Path) -> None:
    start = small_model(tmp_path / "start.safetensors", ("a", "b", "c"), SIDE)
    how = {"epochs": 1, "batch_size": 32} if tune != "head" else {}
    record = train(
        TrainSettings(
            str(data), start=str(start), tune=tune, threads=1, precision="float32", **how, out=str(tmp_path / "run")
        )  # type: ignore[arg-type]
    )
    assert record.evaluation is not None
    assert record.evaluation.mean_ap is not None
    unseen = read_unseen(record.path / runs.OUT_OF_FOLD)
    rows = [int(name.split("row ")[1]) for name in unseen.about.names]
    assert (unseen.labels == truth_of(data / "train.parquet")[rows]).all()
    assert unseen.probabilities.shape == unseen.labels.shape
    assert load(record.path).several
    (kept,) = (record.path / runs.EVALUATIONS).glob("out-of-fold-*.json")
    assert read_json(kept)["mean_ap"]["value"] > 0


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"balance": True}, "--balance is for one label a picture"),
        ({"label_smoothing": 0.1}, "--label-smoothing is for one label a picture"),
    ],
)
def test_what_means_nothing_for_several_labels_is_refused(data: Path, how: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        resolve(TrainSettings(str(data), **{**QUICKLY, **how}))


def test_nets_of_the_other_kind_are_refused(run: runs.RunRecord, data: Path, tmp_path: Path) -> None:
    start = small_model(tmp_path / "start.safetensors", tuple(COLOURS), SIDE)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="several labels a picture"):
        evaluate(EvaluateSettings(start, str(data), device="cpu"))
    with pytest.raises(UserError, match="do not answer the same question"):
        evaluate(EvaluateSettings(run.path, with_=(start,), device="cpu"))
    one = tmp_path / "one"
    one.mkdir()
    files, shown = patches(30, seed=9)
    image = pa.array([{"bytes": each} for each in files], pa.struct({"bytes": pa.binary()}))
    names = [(its or ["red"])[0] for its in shown]
    pq.write_table(pa.table({"image": image, "label": names}), one / "train.parquet")
    with pytest.raises(UserError, match="one label a picture"):
        evaluate(EvaluateSettings(run.path, str(one), device="cpu"))
