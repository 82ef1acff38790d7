"""`evaluate` of an export: its engine's answers score what the net's own do, and what needs the net is refused."""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import every_sixth_digit
from small_start import SPEC, coloured_noise, small_model

import residuum
from residuum import runs
from residuum.choices import ExportTarget
from residuum.data.open import open_data
from residuum.data.preprocess import Preprocessing, normalise, weighted
from residuum.errors import UserError
from residuum.evaluation.exported import views_of
from residuum.exporting.export import PARITY, export
from residuum.judged_printing import print_evaluation
from residuum.loading import save_classifier
from residuum.models.resnet import ResNet
from residuum.outward_printing import print_export
from residuum.outward_settings import ExportSettings
from residuum.records.codec import read_record
from residuum.records.engines import Parity
from residuum.records.evaluation import DataEvaluation, Evaluation
from residuum.records.model import Provenance, View
from residuum.settings import EvaluateSettings

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason=f"{package} is not installed")

DIGITS = tuple("0123456789")
ENGINES: Mapping[ExportTarget, str] = {"onnx": "onnxruntime", "openvino": "openvino"}


@pytest.fixture(scope="module", autouse=True)
def _few_digits() -> Iterator[None]:
    with every_sixth_digit():
        yield


@pytest.fixture(scope="module", params=["halved", "middle"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net for digits, its last layer fitted by least squares: it sees a part of each, and that at several sizes."""
    torch.manual_seed(0)
    how = Preprocessing(16, 18, np.full(3, 80, np.float32), np.full(3, 90, np.float32), "bicubic", request.param)
    net = ResNet(replace(SPEC, num_classes=10)).eval()
    fit(net, how)
    path = tmp_path_factory.mktemp("run") / "ten.safetensors"
    save_classifier(path, net, net.spec, DIGITS, how, Provenance())
    return path


@torch.inference_mode()
def fit(net: ResNet, how: Preprocessing) -> None:
    digits = open_data("digits").train
    view = View(image_size=how.image_size, resize_to=how.resize_to, interpolation=how.interpolation)
    images = normalise(torch.from_numpy(views_of(digits.pictures, view)), how)
    seen = torch.stack([weight * net.features(one) for weight, one in weighted(images, how.views)]).sum(0)
    wanted = 10 * torch.nn.functional.one_hot(torch.from_numpy(digits.labels), 10).float()
    found = torch.linalg.lstsq(torch.cat([seen, torch.ones(len(seen), 1)], 1).double(), wanted.double()).solution
    net.fc.weight.copy_(found[:-1].T)
    net.fc.bias.copy_(found[-1])


@pytest.fixture(scope="module")
def exports(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[ExportTarget, Path]:
    out = tmp_path_factory.mktemp("exports")
    every = {"model": model, "data": "digits", "threads": 1, "pictures": 50}
    return {to: export(ExportSettings(to=to, out=out / to, **every)).path for to in ENGINES}


def seven_and_two(root: Path) -> Path:
    return coloured_noise(root, {"7": (220, 40, 40), "2": (40, 40, 220)}, 9, 20)


def assert_alike(found: DataEvaluation, own: DataEvaluation) -> None:
    assert found.confusion == own.confusion
    assert (found.top1, found.top5, found.macro_f1) == (own.top1, own.top5, own.macro_f1)
    assert (found.loss, found.ece.value) == pytest.approx((own.loss, own.ece.value), rel=1e-3)
    same = [(one.split, one.protocol, one.images, one.fingerprint, one.models, one.data) for one in (found, own)]
    assert same[0] == same[1]


@pytest.mark.parametrize("to", ENGINES)
def test_an_export_scores_what_its_net_scores(
    to: ExportTarget, exports: dict[ExportTarget, Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = residuum.evaluate(model, "digits", threads=1)
    found = residuum.evaluate(exports[to], "digits", threads=1, batch_size=14)
    assert 0.5 < own.top1.value < 1  # so that there is something to tell
    assert own.images > 3 * 14
    assert_alike(found, own)
    assert (found.engine, found.precision, found.same_data_as_training) == (ENGINES[to], "float32", None)
    assert own.engine is own.precision is None
    print_evaluation(EvaluateSettings(exports[to], "digits"), found, False)
    said = capsys.readouterr()
    assert f"computed by {ENGINES[to]} in float32" in said.out + said.err
    assert re.search(rf"judging {own.images} pictures by {own.models[0]}, .*: 0%\n(.*\n)*.*: 100%, took", said.err)
    assert f"top-1    {own.top1.value:.2%}" in said.out


def test_classes_are_told_by_their_names(
    exports: dict[ExportTarget, Path], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = seven_and_two(tmp_path / "some")
    own = residuum.evaluate(model, folder, threads=1)
    capsys.readouterr()
    found = residuum.evaluate(exports["onnx"] / "model.onnx", folder, threads=1)
    assert_alike(found, own)
    assert [one.images for one in found.per_class] == [9 * (name in "27") for name in DIGITS]
    coloured_noise(tmp_path / "some", {"owl": (40, 220, 40)}, 2, 20)
    with pytest.raises(UserError, match="does not know all classes") as refusal:
        residuum.evaluate(exports["onnx"], folder)
    assert "owl" in refusal.value.why


def test_pictures_that_training_may_have_seen_are_told(
    exports: dict[ExportTarget, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residuum.evaluation import exported

    said: list[str] = []
    monkeypatch.setattr(exported, "say", said.append)
    assert residuum.evaluate(exports["onnx"], seven_and_two(tmp_path / "all"), threads=1).split == "all"
    assert said == ["an export does not say which pictures it was trained on: they may be among these"]
    shutil.copytree(tmp_path / "all", tmp_path / "cut" / "train")
    shutil.copytree(tmp_path / "all", tmp_path / "cut" / "test")
    assert residuum.evaluate(exports["onnx"], tmp_path / "cut", threads=1).split == "test"
    assert len(said) == 1
    with pytest.raises(UserError, match="has no validation split"):
        residuum.evaluate(exports["onnx"], tmp_path / "cut", split="validation")


def test_broken_pictures_are_left_out_where_that_is_asked(exports: dict[ExportTarget, Path], tmp_path: Path) -> None:
    folder = seven_and_two(tmp_path / "all")
    (folder / "2" / "3.png").write_bytes((folder / "2" / "3.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"3\.png") as alone:
        residuum.evaluate(exports["onnx"], folder, threads=1)
    assert "go on without it by skip_broken" in alone.value.mend
    (folder / "2" / "4.png").write_bytes(b"")
    with pytest.raises(UserError, match="2 pictures of") as both:
        residuum.evaluate(exports["onnx"], folder, threads=1)
    assert "4.png: the file is empty" in both.value.why
    (folder / "2" / "4.png").write_bytes((folder / "2" / "5.png").read_bytes())
    assert residuum.evaluate(exports["onnx"], folder, threads=1, skip_broken=True).images == 17


def test_a_file_that_does_not_say_its_classes_is_refused(exports: dict[ExportTarget, Path], tmp_path: Path) -> None:
    import onnx

    graph = onnx.load(exports["onnx"] / "model.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="was not exported by residuum") as refusal:
        residuum.evaluate(tmp_path, "digits")
    assert refusal.value.why == "it does not say what its classes are"


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"data": None}, "on which pictures should"),
        ({"with_": (Path("other"),)}, "with_ needs the net"),
        ({"views": ("single",)}, "views needs the net"),
        ({"workers": 2}, "workers needs the net"),
        ({"device": "cuda"}, "device cuda: onnxruntime computes on processors here"),
        ({"precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_what_an_export_cannot_do_is_refused(
    told: dict[str, Any], what: str, exports: dict[ExportTarget, Path]
) -> None:
    with pytest.raises(UserError, match=what) as refusal:
        residuum.evaluate(exports["onnx"], **{"data": "digits", **told})
    assert "--engine" not in (refusal.value.mend or "")  # evaluate has no such setting


def test_torchrun_is_refused(exports: dict[ExportTarget, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="one process judges"):
        residuum.evaluate(exports["onnx"], "digits")


def test_a_run_that_holds_an_export_too_is_judged_by_its_net(
    exports: dict[ExportTarget, Path], model: Path, tmp_path: Path
) -> None:
    shutil.copy(model, tmp_path / runs.MODEL)
    shutil.copy(exports["onnx"] / "model.onnx", tmp_path)
    assert residuum.evaluate(tmp_path, "digits", views=("single",), threads=1).engine is None
    with pytest.raises(UserError, match="is an export"):  # it cannot be averaged with a net
        residuum.evaluate(tmp_path, "digits", with_=(exports["onnx"],))


def test_the_precision_that_was_asked_for_is_told(exports: dict[ExportTarget, Path]) -> None:
    found = residuum.evaluate(exports["openvino"], "digits", threads=1, precision="bfloat16")
    assert (found.engine, found.precision) == ("openvino", "bfloat16")


def test_an_export_held_against_learnt_pictures_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours = {"red": (150, 90, 90), "green": (90, 150, 90), "blue": (90, 90, 150)}
    learnt, others = (coloured_noise(tmp_path / name, colours, 12, 20, seed) for seed, name in enumerate(["a", "b"]))
    start = small_model(tmp_path / "start.safetensors", ("a", "b", "c"), 20)
    how: dict[str, Any] = {"start": str(start), "tune": "head", "threads": 1, "precision": "float32"}
    run = residuum.train(str(learnt), out=str(tmp_path / "run"), **how).path
    told: dict[str, Any] = {"model": run, "to": "onnx", "threads": 1}

    def exported(name: str, **data: Any) -> tuple[Parity, str]:
        found = export(ExportSettings(**told, out=tmp_path / name, **data))
        capsys.readouterr()
        print_export(ExportSettings(**told), found, False)
        return read_record(found.path / PARITY, Parity), capsys.readouterr().out

    parity, said = exported("own")
    own = read_record(run / runs.EVALUATION, Evaluation)
    assert (parity.seen, parity.agreements[0].pictures) == (18, 18)  # the others are for measuring ranges
    assert (own.split, own.images) == ("out-of-fold", 36)
    assert parity.judged == own.figures()
    assert "it was trained on all of these pictures, which flatters both accuracies" in said
    right = f"judged   {own.top1.value:.2%} ({own.top1.low:.1%} to {own.top1.high:.1%}), the run's own figure, of 36"
    assert f"{right} training pictures, each by a net that had not seen it" in said
    parity, said = exported("others", data=others)
    assert (parity.seen, parity.judged, "flatters" in said) == (0, None, False)
    for split in ("train", "test"):
        shutil.copytree(others, tmp_path / "cut" / split)
    for number in range(5):  # under other names, and called otherwise
        shutil.copy(learnt / "red" / f"{number}.png", tmp_path / "cut" / "test" / "blue" / f"copy {number}.png")
    parity, said = exported("mixed", data=tmp_path / "cut")
    assert parity.seen == 5
    assert "it was trained on 5 of these 41 pictures, which flatters both accuracies" in said
    for number in range(2):
        shutil.copy(learnt / "red" / f"{number}.png", others)
    parity, said = exported("loose", data=others)  # no labels, so no accuracy
    assert (parity.seen, "flatters" in said) == (2, False)
