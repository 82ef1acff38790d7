"""Several labels a picture in use: engines, exports, predict, the server, and nets that come in from elsewhere."""

import csv
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command
from msgspec import structs
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import f1_score
from small_several import HOW, LABELS, SIDE, called_in, expected_of, pictures, several_model, several_net, table_of
from small_start import small_model

import residuum
from residuum import UserError
from residuum.choices import ExportTarget
from residuum.data.labels import CALLED, separator_of
from residuum.data.preprocess import normalise
from residuum.engines.choose import open_engine
from residuum.evaluation.metrics import judge
from residuum.exchange.saved_settings import folder_facts
from residuum.exporting.export import ExportedModel, export
from residuum.exporting.parity import agreement, refused
from residuum.loading import load
from residuum.models.file import read_model
from residuum.outward_printing import print_export
from residuum.outward_settings import ExportSettings
from residuum.publishing.metadata import head
from residuum.publishing.subject import Subject

TARGETS: tuple[ExportTarget, ...] = ("onnx", "openvino", "torch")
COUNT = 12
Answers = NDArray[np.float32]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return several_model(tmp_path_factory.mktemp("several") / "walks.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, as large as the net sees them, in no folder of a class."""
    root = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(pictures(COUNT)):
        Image.fromarray(pixels).save(root / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def expected() -> Answers:
    return expected_of(pictures(COUNT))


def test_the_pictures_show_from_none_to_several(expected: Answers) -> None:
    """What is below would else say little."""
    assert {0, 1, 2} <= {len(called_in(row)) for row in expected}


# --- engines and exports ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch", "onnxruntime", "openvino"])
def test_every_engine_gives_the_sigmoid_of_each_logit(name: Any, model: Path, expected: Answers) -> None:
    if name != "torch":
        pytest.importorskip(name)
    opened = open_engine(model, name, threads=1)
    assert opened.model.several
    np.testing.assert_allclose(opened.engine(pictures(COUNT)).probabilities, expected, atol=1e-5)


@pytest.fixture(scope="module")
def exported(model: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportedModel]:
    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("exported")
    return {to: export(ExportSettings(model, to=to, out=out / to, data=folder, threads=1)) for to in TARGETS}


@pytest.mark.parametrize("to", TARGETS)
def test_an_export_answers_each_label_for_itself(
    to: ExportTarget, exported: dict[str, ExportedModel], folder: Path, expected: Answers,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The program beside it prints those that are called, and says where none is."""
    parity = exported[to].parity.agreements[0]
    assert (parity.same, parity.pictures, parity.several) == (1.0, COUNT, True)
    assert parity.largest < 1e-4
    some = (int(expected.max(axis=1).argmin()), int((expected >= CALLED).sum(axis=1).argmax()))
    for number in some:
        monkeypatch.setattr(sys, "argv", ["use", str(folder / f"{number:02}.png")])
        runpy.run_path(str(exported[to].path / f"use_{to}.py"))
        said = [line.split("%  ") for line in capfd.readouterr().out.splitlines()]
        labels = called_in(expected[number])
        assert [each[-1] for each in said] == (labels or ["no label is called: none is at least as likely as not"])
        if labels:
            shares = [float(each[0]) / 100 for each in said]
            assert shares == pytest.approx(sorted(expected[number])[::-1][: len(labels)], abs=1e-3)
    assert not called_in(expected[some[0]])
    assert len(called_in(expected[some[1]])) > 1


def test_what_javascript_and_cpp_read_says_so(exported: dict[str, ExportedModel], model: Path) -> None:
    """Both have no JSON of the file: a line of the script, an entry of OpenVINO's."""
    from residuum.engines.with_openvino import core

    assert "const SEVERAL = true;" in (exported["onnx"].path / "use_onnx.mjs").read_text(encoding="utf-8")
    opened = core().read_model(exported["openvino"].path / "model.xml")
    assert opened.has_rt_info("several")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_export_is_predicted_with_as_the_run_is(
    to: ExportTarget, exported: dict[str, ExportedModel], folder: Path, expected: Answers
) -> None:
    predictor = residuum.load(exported[to].path, threads=1)
    assert predictor.several
    assert [list(one.labels) for one in predictor.predict(folder)] == [called_in(row) for row in expected]


def test_parity_is_of_the_labels_called() -> None:
    """A rank that changes among labels that are called changes no answer; a label across the half does."""
    own = np.tile(np.array([[0.9, 0.8, 0.1, 0.2]], np.float32), (200, 1))
    found, crossed = own.copy(), own.copy()
    found[:, 0] = 0.7
    crossed[:100, 3] = 0.5
    truth = np.tile(np.array([[1, 0, 0, 0]], np.uint8), (200, 1))
    same = agreement("int8", own, found, None, several=True)
    assert same.same == 1
    assert same.largest == pytest.approx(0.2)
    assert refused(same) is None
    assert agreement("int8", own, found, None).same == 0
    less = agreement("int8", own, crossed, truth, several=True)
    assert less.same == pytest.approx(f1_score(own >= 0.5, crossed >= 0.5, average="micro"))
    assert "88.89% of the labels called of 200 pictures stay, 97.00% is the least" in str(refused(less))
    few = np.zeros((10, 300), np.float32)  # of very many labels most are not there either way
    assert agreement("int8", few, few, None, several=True).same == 1
    lost = agreement("int8", own, found, truth, several=True)
    assert lost.accuracy is not None
    assert lost.own_accuracy is not None
    assert (lost.accuracy.value, lost.own_accuracy.value) == (0, 1)
    assert "likeliest labels that are right are lost" in str(refused(lost))


def test_what_an_export_is_held_against_is_said(
    exported: dict[str, ExportedModel], capsys: pytest.CaptureFixture[str]
) -> None:
    print_export(ExportSettings(to="onnx"), exported["onnx"], json=False)
    said = capsys.readouterr().out
    assert "100.00% of the labels called of 12 pictures stay" in said
    assert "of the labels called must stay" in said


@pytest.fixture(scope="module")
def table(expected: Answers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table that says of each picture what the net calls, of the first that it shows hives as well."""
    shown = [called_in(row) for row in expected]
    shown[0] = sorted({*shown[0], "hive"})
    return table_of(tmp_path_factory.mktemp("table"), pictures(COUNT), shown)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_export_is_judged_as_a_net_of_several_labels_is(
    to: ExportTarget, exported: dict[str, ExportedModel], model: Path, table: Path
) -> None:
    found = residuum.evaluate(exported[to].path, table, label_separator=";", threads=1)
    by_net = residuum.evaluate(model, table, label_separator=";", threads=1)
    assert found.mean_ap is not None
    assert by_net.mean_ap is not None
    assert found.mean_ap.value == pytest.approx(by_net.mean_ap.value, abs=1e-6)
    assert [one.recall.value for one in found.per_class[:3]] == [1, 1, 1]
    assert found.per_class[3].recall.value < 1
    assert found.confusion == by_net.confusion
    assert found.loss == pytest.approx(by_net.loss, abs=1e-5)


def test_an_export_knows_what_parts_the_labels_of_a_table(folder: Path, tmp_path: Path) -> None:
    """As the run does: neither need be told again, and a table of its own kind is read as well."""
    pytest.importorskip("onnxruntime")
    run = several_model(tmp_path / "walks.safetensors", {"label_separator": "|"})
    found = export(ExportSettings(run, to="onnx", out=tmp_path / "out", data=folder, threads=1))
    shown = [called_in(row) for row in expected_of(pictures(COUNT))]
    table = table_of(tmp_path, pictures(COUNT), shown)
    (table / "test.csv").write_text((table / "test.csv").read_text().replace("; ", "|"))
    judged = residuum.evaluate(found.path, table, threads=1)
    assert judged.mean_ap is not None
    assert judged.mean_ap.value == 1
    answer = residuum.load(found.path, threads=1).predict(pictures(1)[0])
    assert answer.separator == "|"
    columns = [
        ["image", *LABELS],
        *([f"{i:02}.png", *(int(k in each) for k in LABELS)] for i, each in enumerate(shown)),
    ]
    with (table / "test.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(columns)
    again = residuum.evaluate(found.path, table, threads=1)
    assert again.mean_ap == judged.mean_ap


def test_an_export_knows_the_columns_of_the_table_it_was_trained_with(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    told = {"label_separator": "; ", "image_column": "photo", "label_column": "shown"}
    run = several_model(tmp_path / "walks.safetensors", told)
    found = export(ExportSettings(run, to="onnx", out=tmp_path / "out", data=folder, threads=1))
    shown = [called_in(row) for row in expected_of(pictures(COUNT))]
    table = table_of(tmp_path, pictures(COUNT), shown) / "test.csv"
    rows = [row.split(",") for row in table.read_text().splitlines()[1:]]
    lines = ["photo,image,shown,label", *(f"{name},{rows[0][0]},{labels},hive" for name, labels in rows)]
    table.write_text("\n".join(lines))
    judged = residuum.evaluate(found.path, table, threads=1)
    assert judged.images == COUNT
    assert judged.mean_ap is not None
    assert judged.mean_ap.value == 1


@pytest.mark.parametrize(
    ("classes", "told", "mark"),
    [(("a", "b"), None, ";"), (("a;b", "c"), None, "|"), (("a;b", "c|d"), ";", "~"), (("a,b", "c"), ", ", ", ")],
)
def test_what_stands_between_labels_is_in_no_name(classes: tuple[str, ...], told: str | None, mark: str) -> None:
    assert separator_of(classes, told) == mark
    assert mark.join(classes).split(mark) == list(classes)


def test_pictures_of_one_label_each_do_not_judge_an_export_of_several(
    exported: dict[str, ExportedModel], folder: Path, tmp_path: Path
) -> None:
    for name in LABELS[:2]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes((folder / "00.png").read_bytes())
    with pytest.raises(UserError, match="has one label a picture"):
        residuum.evaluate(exported["onnx"].path, tmp_path)


# --- predict ---------------------------------------------------------------------------------------


def test_predict_prints_the_labels_called_with_their_probabilities(
    command: Command, model: Path, folder: Path, expected: Answers
) -> None:
    code, out, _ = command("predict", model, folder, "--top", 1, "--threads", 1)
    assert code == 0
    for number, (row, line) in enumerate(zip(expected, out.splitlines(), strict=True)):
        pairs = [f"{name} {row[LABELS.index(name)]:.1%}" for name in called_in(row)]
        assert line == f"{folder / f'{number:02}.png'}  {', '.join(pairs) or '–'}"


def test_predict_writes_the_labels_called_beside_the_likeliest(
    command: Command, folder: Path, expected: Answers, tmp_path: Path
) -> None:
    """A table's own separator stands between them; in JSON all that are called have a probability, whatever --top."""
    model = several_model(tmp_path / "walks.safetensors", {"label_separator": " | "})
    command("predict", model, folder, "--top", 1, "--out", tmp_path / "answers.csv", "--threads", 1)
    command("predict", model, folder, "--top", 1, "--out", tmp_path / "answers.jsonl", "--threads", 1)
    with (tmp_path / "answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = ["picture", "class", "probability", "labels", "unsure", "reason", "engine", "precision", "error"]
    assert list(rows[0]) == first
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, cells, found in zip(expected, rows, lines, strict=True):
        labels = called_in(row)
        assert (cells["labels"], cells["class"]) == (" | ".join(labels), LABELS[row.argmax()])
        assert found["labels"] == labels
        assert len(found["answers"]) == max(1, len(labels))
        for one in found["answers"]:
            assert one["probability"] == pytest.approx(row[LABELS.index(one["class"])], abs=1e-5)


def test_a_picture_that_cannot_be_read_has_as_many_cells_as_one_that_is_answered(
    command: Command, model: Path, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"<html>gone</html>")
    _, out, _ = command("predict", model, folder / "00.png", tmp_path / "bad.png", "--format", "csv", "--threads", 1)
    assert len({len(row) for row in csv.reader(out.splitlines())}) == 1


def test_one_label_a_picture_has_no_labels(tmp_path: Path) -> None:
    answer = residuum.load(small_model(tmp_path / "one.safetensors", LABELS[:3], 24), threads=1).predict(pictures(1)[0])
    assert answer.labels is None
    assert "labels" not in answer.as_json()


def test_pictures_of_several_labels_are_not_sorted_into_folders(model: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a picture may have several labels") as refusal:
        list(residuum.predict(model, folder, sort_into=tmp_path / "sorted"))
    assert "ANSWERS.csv has the labels" in refusal.value.mend
    assert not (tmp_path / "sorted").exists()


def test_several_labels_may_be_unsure(folder: Path, tmp_path: Path) -> None:
    answer = residuum.load(several_model(tmp_path / "knows.safetensors", like=True), threads=1).predict(folder)[0]
    assert answer.unsure is True
    assert answer.as_json()["labels"] == list(answer.labels)


# --- nets that come in and go out ------------------------------------------------------------------


def test_a_net_of_ones_own_loop_with_several_labels_comes_in(expected: Answers, tmp_path: Path) -> None:
    told = {"mean": (120 / 255,) * 3, "std": (60 / 255,) * 3, "image_size": SIDE}
    path = residuum.save(several_net(), tmp_path / "own.safetensors", classes=LABELS, several=True, **told)
    opened = residuum.load(path, threads=1)
    assert opened.several
    found = opened.predict(list(pictures(COUNT)))
    assert [list(one.labels or ()) for one in found] == [called_in(row) for row in expected]
    one = residuum.save(several_net(), tmp_path / "one.safetensors", classes=LABELS, **told)
    assert not residuum.load(one, threads=1).several


@pytest.mark.parametrize("outputs", [1, 4])
def test_weights_of_several_labels_are_imported_as_that(outputs: int, tmp_path: Path) -> None:
    """Of one output, which would else be two classes, too."""
    net = residuum.net("resnet20", classes=outputs, blocks=(1, 1, 1), widths=(4, 8, 8)).eval()
    save_file(net.state_dict(), tmp_path / "theirs.safetensors")
    how: dict[str, Any] = {"mean": HOW.mean / 255, "std": HOW.std / 255, "image_size": SIDE}
    settings = {name: tuple(map(float, value)) if name != "image_size" else value for name, value in how.items()}
    out = tmp_path / "in.safetensors"
    imported = residuum.import_weights(tmp_path / "theirs.safetensors", out=out, several=True, **settings)
    assert imported.several
    x = normalise(torch.from_numpy(pictures(COUNT)), HOW)
    with torch.inference_mode():
        torch.testing.assert_close(load(out)(x), torch.sigmoid(net(x)), atol=1e-5, rtol=1e-4)


def test_config_json_says_whether_there_are_several_labels(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "resnet", "problem_type": "multi_label_classification"}), encoding="utf-8"
    )
    assert folder_facts(tmp_path).several is True
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}), encoding="utf-8")
    assert folder_facts(tmp_path).several is None


def test_import_prints_that_labels_are_several(command: Command, tmp_path: Path) -> None:
    save_file(several_net().state_dict(), tmp_path / "theirs.safetensors")
    words = (tmp_path / "theirs.safetensors", "--several", "--out", tmp_path / "in.safetensors")
    code, out, _ = command("import", *words)
    assert code == 0
    assert "labels   several a picture" in out
    code, _, err = command("import", tmp_path / "in.safetensors", "--several", "--out", tmp_path / "again.safetensors")
    assert code != 0
    assert "it says itself what --several would tell" in err


def test_export_weights_says_what_is_lost(command: Command, tmp_path: Path) -> None:
    net = residuum.net("resnet18", classes=4, widths=(64, 128, 256, 512), blocks=(1, 1, 1, 1))
    told: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "image_size": 32, "classes": LABELS}
    for several in (True, False):
        model = residuum.save(net, tmp_path / f"{several}.safetensors", several=several, **told)
        code, _, err = command("export-weights", model, "--out", tmp_path / f"theirs-{several}.safetensors")
        assert code == 0
        assert ("take the sigmoid of each output" in err) is several


def test_the_hub_is_told_of_several_labels(expected: Answers, tmp_path: Path) -> None:
    truth = (expected >= CALLED).astype(np.uint8)
    judged = judge(expected, truth, LABELS, split="test", protocol="one view")
    model = read_model(several_model(tmp_path / "walks.safetensors"))
    model = replace(model, about=structs.replace(model.about, metrics=judged.figures()))
    told = head(Subject(tmp_path / "walks.safetensors", model, None), "mit")
    for line in (
        "pipeline_tag: image-classification",
        "- multi-label",
        "- mean_average_precision",
        'name: "Multi-label image classification"',
        'name: "mean average precision"',
    ):
        assert line in told
    assert "top-1" not in told


def test_from_where_on_labels_are_called_can_be_said(model: Path, folder: Path, expected: Answers) -> None:
    picture = folder / "00.png"
    with pytest.raises(UserError, match="at_least is for one label a picture"):
        residuum.load(model, at_least=0.5)
    for call_from in (0.0, float(np.sort(expected[0])[1]), 0.5, 1.0):
        (answer,) = residuum.predict(str(model), str(picture), call_from=call_from)
        enough = {name for name, p in zip(LABELS, expected[0], strict=True) if p >= call_from - 1e-6}
        assert set(answer.labels or ()) == enough
        assert residuum.load(model, call_from=call_from).predict(picture).labels == answer.labels
    for asked in (residuum.load, residuum.predict):
        with pytest.raises(
            UserError, match=r"^call_from 1\.5 is out of range\n  why:  it must lie from 0 to 1\n  mend: "
        ):
            asked(str(model), *[str(picture)] * (asked is residuum.predict), call_from=1.5)


def test_a_suffix_that_says_no_form_is_mended_by_another(model: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"call it \.csv, which spreadsheets open"):
        residuum.predict(str(model), str(folder), out=str(tmp_path / "answers.xlsx"))
