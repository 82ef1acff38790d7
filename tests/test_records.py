"""What residuum leaves on disk: strict, and files of 0.1.0 are read, evaluated, reported and gone on with.

data/v0.1.0 was written by commit da20f2b: `interrupted` was stopped by SIGTERM; DIGEST is what that commit made of it.
"""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up_records as made
import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_records import as_file
from page_reading import Page, leaves
from safetensors.numpy import load_file

from residuum import machine, runs
from residuum.cli import main
from residuum.errors import UserError
from residuum.evaluation.evaluate import evaluate
from residuum.kernels.pairs import has_matrix_units
from residuum.loading import load
from residuum.records.codec import UNSAID, VERSION, from_json, read_record, with_version, write_record
from residuum.records.depth import Lesion, Trim
from residuum.records.environment import Environment
from residuum.records.evaluation import Evaluation, KeptEvaluation, Mistake
from residuum.records.run import Data, RunSettings, SplitRows
from residuum.reporting.page import write_report
from residuum.settings import EvaluateSettings, TrainSettings
from residuum.training.run import train

OLD = Path(__file__).parent / "data" / "v0.1.0"
DIGEST = "830c6c019830a8531edba9782c309e5d41e991f56067f6493b3d6856b7e2ffeb"

FILES: dict[str, Any] = {
    "finished/settings.json": RunSettings,
    "finished/environment.json": Environment,
    "finished/data.json": Data,
    "finished/split.json": SplitRows,
    "finished/evaluation.json": Evaluation,
    "finished/evaluations/validation-32a814fbadb2.json": KeptEvaluation,
    "finished/mistakes.json": list[Mistake],
    "lesion/lesion.json": Lesion,
    "trim/trim.json": Trim,
}


# --- files of 0.1.0 -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_whole_and_would_be_written_alike(name: str) -> None:
    record = read_record(OLD / name, FILES[name])
    assert as_file(record) == json.loads((OLD / name).read_text())


@pytest.mark.parametrize("run", ["finished", "interrupted"])
def test_metrics_lines_are_read_and_would_be_written_alike(run: str, tmp_path: Path) -> None:
    for line in runs.read_metrics(OLD / run):
        runs.append_metrics(tmp_path, line)
    assert (tmp_path / runs.METRICS).read_bytes() == (OLD / run / runs.METRICS).read_bytes()


def test_a_model_file_says_where_it_is_from() -> None:
    run, grown = load(OLD / "finished"), load(OLD / "grown.safetensors")
    record = runs.read_run(OLD / "finished")
    assert record.evaluation is not None
    assert run.about.metrics == record.evaluation.figures()
    assert run.about.data == record.data
    assert run.about.settings == record.settings.settings
    assert [step.verb for step in grown.about.lineage] == ["train", "grow"]
    assert (run.spec.blocks, grown.spec.blocks) == ((1, 1, 1), (2, 2, 2))


def test_an_old_run_is_evaluated(tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD / "finished", tmp_path / "run"))
    own = runs.read_run(run).evaluation
    again = evaluate(EvaluateSettings(str(run), threads=1, device="cpu"))
    assert own is not None
    assert again.same_data_as_training
    assert (again.split, again.images, again.protocol) == (own.split, own.images, own.protocol)
    assert again.top1.value == pytest.approx(own.top1.value, abs=0.01)
    kept = read_record(run / runs.EVALUATIONS / f"test-{again.fingerprint[:12]}.json", KeptEvaluation)
    assert (kept.top1, kept.model, again.not_kept) == (again.top1, runs.MODEL, None)


def test_figures_that_cannot_be_kept_are_given_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(OLD / "finished", tmp_path / "run"))
    shutil.rmtree(run / runs.EVALUATIONS)
    (run / runs.EVALUATIONS).touch()  # no folder can be made there, as on a mount that is only read
    monkeypatch.setattr(sys, "argv", ["residuum", "evaluate", str(run), "--threads", "1", "--device", "cpu"])
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # so that the order can be told
    main()
    said = capsys.readouterr().out
    assert "57.2" in said
    assert said.index("57.2") < said.index("the figures are not kept in the run")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["finished"], "Of 360 pictures it never saw, it names 57.2 % correctly"),
        (["interrupted"], "There are no final figures"),
        (["finished", "interrupted"], "Only A (finished) has final figures"),
        (["lesion"], "Without any one of 4 blocks that can be taken out"),
        (["trim"], "With 2 blocks of 6 taken out"),
    ],
)
def test_old_folders_are_reported(names: list[str], said: str, tmp_path: Path) -> None:
    page = Page(write_report([OLD / name for name in names], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert said in page.plain


def test_an_old_run_is_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD / "interrupted", tmp_path / "run"))
    before = (run / runs.METRICS).read_bytes()
    record = train(TrainSettings(resume=str(run)))
    assert (run / runs.METRICS).read_bytes().startswith(before)
    assert [line.step for line in record.steps] == list(range(1, 161))
    assert [step.verb for step in load(run).about.lineage] == ["train"]
    assert record.evaluation is not None
    assert record.evaluation.top1.value == pytest.approx(0.9056, abs=0.05)
    here, there = machine.environment(), record.environment
    assert there is not None
    is_whole = torch.backends.cpu.get_cpu_capability() == "AVX512" and has_matrix_units()  # not kept from its best
    if is_whole and (here.processor, here.torch) == (there.processor, there.torch):  # elsewhere rounding differs
        digest = hashlib.sha256()
        for name, tensor in sorted(load_file(run / runs.MODEL).items()):
            digest.update(name.encode() + tensor.tobytes())
        assert digest.hexdigest() == DIGEST


# --- strict -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_damage_is_one_clear_error(name: str, data: st.DataObject) -> None:
    """A field gone, a field too many, or a value of another kind."""
    content = json.loads((OLD / name).read_text())
    free = {"settings", "asked", "resolved"}  # what is in these, settings.py and the page decide
    *way, last = data.draw(st.sampled_from([w for w in leaves(content) if w and not free & set(w[:-1])]))
    place: Any = content
    for key in way:
        place = place[key]
    damage = data.draw(st.sampled_from(["gone", "more", "other"]))
    may_be_gone = {"simplejpeg", "kind"}  # early files lack the one, the file's name says the other
    if isinstance(place, list) or damage == "other" or last in may_be_gone:
        place[last] = [{}]
    elif damage == "gone":
        del place[last]
    else:
        place["unheard_of"] = 1
    with pytest.raises(UserError) as error:
        from_json(content, FILES[name], name)
    assert error.value.what.startswith(f"{name} is not what residuum")
    assert error.value.why.endswith(UNSAID if isinstance(content, list) else "it was written by residuum 0.1.0")
    assert error.value.mend


def test_the_version_that_wrote_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    write_record(path, made.data())
    assert read_record(path, Data) == made.data()
    content = json.loads(path.read_text())
    assert content.pop(VERSION) == with_version(made.data())[VERSION] == machine.environment().residuum
    assert content == as_file(made.data())
    path.write_text(json.dumps({**content, VERSION: "9.8.7", "new": 1}))
    with pytest.raises(UserError, match=r"unknown field `new`; it was written by residuum 9\.8\.7"):
        read_record(path, Data)


def test_a_file_of_another_folder_is_refused() -> None:
    with pytest.raises(UserError, match=r"trim\.json is not what"):
        read_record(OLD / "trim" / "trim.json", Lesion)
    with pytest.raises(UserError, match="there is no"):
        read_record(OLD / "trim" / "lesion.json", Lesion)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("confusion", [[1]], "`confusion` is not 10×10"),
        ("top1", {"value": 0.5, "low": 0.4, "high": 1.5}, "<= 1.0 - at `$.top1.high`"),
        ("loss", float("nan"), ">= 0.0 - at `$.loss`"),
        ("loss", float("inf"), "at `$.loss`"),
        ("images", True, "got `bool` - at `$.images`"),
        ("images", 10**30, "at `$.images`"),
        (
            "calibration",
            [{"low": 0, "high": 1, "count": 0, "confidence": 0.5, "accuracy": 0.5}],
            "a bin has means",
        ),
    ],
)
def test_figures_that_cannot_be_are_refused(field: str, value: object, why: str) -> None:
    content = json.loads((OLD / "finished" / "evaluation.json").read_text())
    with pytest.raises(UserError) as error:
        from_json({**content, field: value}, Evaluation, "it")
    assert why in error.value.why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chosen": {"removed": 9, "why": ""}}, "`chosen` is not on `curve`"),
        ({"chosen": None}, "`repaired` without `chosen`"),
        ({"random": [{"draw": 0, "accuracy": [0.5], "accuracy_recalibrated": [0.5]}]}, "not of one length"),
        ({"asked": {"depth": 3.0}}, "at `key` in `$.asked`"),
        ({"kind": "lesion"}, "at `$.kind`"),
    ],
)
def test_parts_of_a_trim_fit_each_other(changes: dict[str, object], why: str) -> None:
    content = json.loads((OLD / "trim" / "trim.json").read_text())
    with pytest.raises(UserError) as error:
        from_json({**content, **changes}, Trim, "it")
    assert why in error.value.why
    first, *others = content["curve"]
    for curve in ([*others], [{**first, "latency_ms": None}, *others]):
        with pytest.raises(UserError, match="curve"):
            from_json({**content, "curve": curve}, Trim, "it")


def test_names_of_half_characters_are_refused_and_texts_are_not() -> None:
    content = as_file(made.data())
    assert from_json({**content, "name": "\udcff"}, Data, "it").name == "\udcff"
    with pytest.raises(UserError):
        from_json({**content, "\udcff": 1}, Data, "it")


def test_what_was_resolved_says_what_others_read() -> None:
    found = msgspec.convert(made.settings_json(depth=56), RunSettings).summary
    assert (found.depth, found.model, found.seed) == (56, "resnet20", 0)
    content = made.settings_json()
    del content["resolved"]["depth"]
    with pytest.raises(UserError, match="missing required field `depth`"):
        from_json(content, RunSettings, "settings.json")


def test_a_record_is_not_changed_by_accident() -> None:
    record = made.data()
    with pytest.raises(AttributeError):
        record.name = "other"  # type: ignore[misc]
    assert replace(made.run_record(Path(), []), data=record).data == record
