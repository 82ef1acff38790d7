"""Model cards and the way to the hub, held against huggingface_hub, PyYAML and a Markdown reader."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_hub import MadeUpHub, running_hub
from made_up_records import evaluation, settings_json
from markdown_it import MarkdownIt
from msgspec import structs
from small_start import SPEC

import residuum
from residuum import cli, machine, runs
from residuum.data.preprocess import Preprocessing
from residuum.errors import UserError
from residuum.files import write_json
from residuum.loading import load, save_classifier
from residuum.models.resnet import ResNet
from residuum.publishing.metadata import as_yaml
from residuum.records.codec import to_json, write_record
from residuum.records.evaluation import KeptEvaluation, Mistake
from residuum.records.model import Imported, Provenance, Trained
from residuum.records.review import Likeness
from residuum.records.run import Counts, Data, Skipped
from residuum.runs import read_run

hub_library = pytest.importorskip("huggingface_hub", reason="publishing needs the extra hub")
yaml = pytest.importorskip("yaml", reason="PyYAML comes with huggingface_hub")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, in a third of the time

CLASSES = ("<script>alert(1)</script>", "a|b *c*", "第三类")
NAME = "anna/ants-bees"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own slip


def a_run(folder: Path, source: str) -> Path:
    """Lay out a finished run on three classes, of pictures in the folder or on the hub that `source` names."""
    folder.mkdir()
    torch.manual_seed(0)
    told = {"data": source, "start": str(folder / "weights" / "half.safetensors"), "seed": 0}
    about = Data(
        name="photos",
        source=source,
        classes=CLASSES,
        fingerprint="f" * 64,
        counts=Counts(train=90, validation=None, test=30),
        validation_from="none",
        image_size=16,
        skipped=(Skipped(split="train", name="bees/anna-s-first.png", why="it ends in the middle"),),
    )
    judged = structs.replace(evaluation(), per_class=(), confusion=())
    steps = (
        Imported(date="2026-11-26", from_="0" * 16, source="hf:microsoft/resnet-50", layout="transformers"),
        Trained(date="2026-11-26", data="photos", recipe="head", steps=0, from_="1" * 16),
    )
    provenance = Provenance(
        metrics=judged.figures(),
        data=about,
        settings=told,
        versions=machine.environment(),
        lineage=steps,
        likeness=Likeness(neighbours=1, threshold=0.3, known=0.05),
    )
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    kept = np.ones((5, 32), np.float32)
    save_classifier(folder / runs.MODEL, ResNet(SPEC).eval(), SPEC, CLASSES, how, provenance, kept)
    write_json(folder / runs.SETTINGS, settings_json(data=source))
    write_record(folder / runs.DATA, about)
    write_record(folder / runs.EVALUATION, judged)
    wrong = Mistake(name="1.png", truth="x", predicted="y", confidence=0.9, thumbnail="data:image/png;base64,AA==")
    write_json(folder / runs.MISTAKES, to_json([wrong]))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return a_run(tmp_path_factory.mktemp("anna-s-home") / "run", str(tmp_path_factory.mktemp("anna-s") / "photos"))


@pytest.fixture
def run(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(hub_library.constants, "HF_HUB_DISABLE_XET", True)  # its storage cannot be imitated
    hub_library.utils.disable_progress_bars()
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("RESIDUUM_CACHE", str(tmp_path / "cache"))
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


# --- the card ---------------------------------------------------------------------------------------


def test_the_hubs_own_reader_finds_licence_figures_intervals_and_protocol(tmp_path):
    run = a_run(tmp_path / "of-cifar", "uoft-cs/cifar10")
    later = {"data": "/home/anna/other", "fingerprint": "0", "same_data_as_training": False, "model": runs.MODEL}
    said = structs.asdict(evaluation(0.5, "validation", 80))
    kept = KeptEvaluation(**said, **later, settings={}, environment=machine.environment())
    write_record(run / runs.EVALUATIONS / "validation-0.json", kept)
    card = hub_library.ModelCard.load(residuum.card(run, licence="mit"))
    about = card.data
    assert (about.license, about.library_name, about.pipeline_tag) == ("mit", "residuum", "image-classification")
    assert (about.datasets, about.base_model) == (["uoft-cs/cifar10"], ["microsoft/resnet-50"])
    found = {(one.dataset_name, one.metric_name): one for one in about.eval_results}
    own, judged = found["uoft-cs/cifar10", "top-1 accuracy"], read_run(run).evaluation
    assert (own.metric_type, own.metric_value) == ("accuracy", judged.top1.value)
    assert own.metric_args == {"interval": "95 %", "low": judged.top1.low, "high": judged.top1.high}
    assert (own.dataset_split, own.dataset_args) == ("test", {"images": 360, "protocol": judged.protocol})
    assert found["other", "top-1 accuracy"].metric_value == 0.5
    assert "/home/anna" not in str(card)


def test_a_markdown_reader_shows_names_as_they_are(run):
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(residuum.card(run).read_text("utf-8"))
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, a|b *c*, 第三类" in shown
    assert "<h2>Limits</h2>" in shown
    assert shown.count("<table>") == 2
    assert "<code>residuum-nets</code>" in shown  # what is called `residuum` where pip looks is another project


def test_what_a_person_wrote_is_kept_and_the_licence_is_remembered(run):
    place = residuum.card(run, licence="apache-2.0")
    assert place == run / "README.md"
    first = place.read_text("utf-8")
    assert residuum.card(run).read_text("utf-8") == first
    place.write_text(first.replace("## Limits", "## Limits\n\n- Only bees of one meadow."), encoding="utf-8")
    with pytest.raises(UserError, match="words that are not residuum's"):
        residuum.card(run)
    assert "meadow" in place.read_text("utf-8")
    residuum.card(run, anew=True)
    assert "meadow" not in place.read_text("utf-8")


def test_a_model_file_without_a_run_has_its_card_beside_it(run, tmp_path):
    alone = Path(shutil.copy(run / runs.MODEL, tmp_path / "mine.safetensors"))
    assert residuum.card(alone) == tmp_path / "mine.md"
    assert "# mine\n" in (tmp_path / "mine.md").read_text("utf-8")


def test_a_licence_is_spelled_as_the_hub_spells_it(run):
    with pytest.raises(UserError, match="how the hub spells"):
        residuum.card(run, licence="Apache 2.0!")


leaves = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
names = st.sampled_from(["name", "model-index", "value", "args"])
content = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner), max_leaves=8)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(names, content, min_size=1))
def test_yaml_reads_back_what_was_written(written):
    assert yaml.load("\n".join(as_yaml(written)), LOADER) == written


# --- to the hub and back ------------------------------------------------------------------------------


def contents(hub: MadeUpHub) -> dict[str, bytes]:
    return hub.repositories[NAME].files


def test_what_is_published_comes_back_with_the_same_answers(hub, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sent = residuum.publish(run, NAME, licence="mit")
    assert {file.path for file in sent.files} == {"README.md", "model.safetensors", "evaluation.json"}
    assert (sent.public, hub.repositories[NAME].private) == (False, True)
    back = residuum.import_weights(f"hf:{NAME}")
    assert back.path == Path("ants-bees-residuum.safetensors")
    assert back.path.read_bytes() == contents(hub)["model.safetensors"]
    mine, theirs = load(run), load(back.path)
    views = torch.rand(2, 3, 16, 16)
    assert torch.equal(mine(views), theirs(views))
    assert theirs.about.lineage == mine.about.lineage
    assert f'residuum.import_weights("hf:{NAME}")' in contents(hub)["README.md"].decode()
    with pytest.raises(UserError, match="says itself what image_size would tell"):
        residuum.import_weights(f"hf:{NAME}", image_size=32)


@pytest.mark.parametrize("pictures", [False, True])
def test_neither_a_path_nor_unasked_a_picture_is_sent(hub, run, pictures, made):
    sent = residuum.publish(run, NAME, pictures=pictures)
    everything = hub.told + b"".join(hub.large.values()) + b"".join(contents(hub).values())
    assert b"anna-s" not in everything
    assert str(run.parent).encode() not in everything
    assert (b"data:image/png" in everything, b"likeness/kept" in everything) == (pictures, pictures)
    assert bool(sent.left_out) != pictures
    assert ("unless it says unsure" in sent.card) == pictures


def test_without_leave_nothing_goes_to_the_network(run, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    found = residuum.publish(run, NAME, dry_run=True)
    assert {file.path for file in found.files} == {"README.md", "model.safetensors", "evaluation.json"}
    assert not (run / "README.md").exists()


def test_nothing_is_sent_twice_and_other_files_stay(hub, run):
    residuum.publish(run, NAME)
    repository = hub.repositories[NAME]
    repository.files["notes.txt"] = b"years of work"
    commits = list(repository.commits)
    again = residuum.publish(run, NAME)
    assert all(file.was_there for file in again.files)
    assert repository.commits == commits
    card = residuum.card(run)
    card.write_text(card.read_text("utf-8") + "\nOnly bees of one meadow.\n", encoding="utf-8")
    changed = residuum.publish(run, NAME)
    assert [file.path for file in changed.files if not file.was_there] == ["README.md"]
    assert b"meadow" in repository.files["README.md"]
    assert (hub.puts, repository.files["notes.txt"]) == (1, b"years of work")


def test_a_broken_publication_goes_on_with_what_is_missing(hub, run):
    hub.refuses = {"/commit/"}
    with pytest.raises(UserError, match=r"(?s)did not take.*may write"):
        residuum.publish(run, NAME)
    hub.refuses = set()
    residuum.publish(run, NAME)
    assert hub.puts == 1
    assert set(contents(hub)) == {".gitattributes", "README.md", "model.safetensors", "evaluation.json"}


def test_what_another_put_there_is_not_written_over(hub, run):
    residuum.publish(run, NAME)
    files = contents(hub)
    files["README.md"] += b"\nWritten on the web.\n"
    before = dict(files)
    with pytest.raises(UserError, match=r"has 'README.md' already"):
        residuum.publish(run, NAME)
    assert files == before
    residuum.publish(run, NAME, replace=True)
    assert b"on the web" not in files["README.md"]


def test_a_public_repository_is_not_filled_unasked(hub, run):
    residuum.publish(run, NAME, public=True)
    assert not hub.repositories[NAME].private
    with pytest.raises(UserError, match="public already"):
        residuum.publish(run, NAME)
    assert residuum.publish(run, NAME, public=True).public


def test_what_lies_there_is_checked(hub, run):
    hub.lies = True
    with pytest.raises(UserError, match=r"does not hold 'model.safetensors' as it was sent"):
        residuum.publish(run, NAME)


def test_a_card_of_another_model_is_not_sent(hub, run):
    (run / "README.md").write_text("# Bees\n\nAll about another model.\n", encoding="utf-8")
    with pytest.raises(UserError, match="not the card of this model"):
        residuum.publish(run, NAME)
    assert hub.asked == []


@pytest.mark.parametrize("name", [None, "bees", "a/b/c", "../x"])
def test_other_names_are_no_repositories(run, name):
    with pytest.raises(UserError, match=r"where to|not the name of a repository"):
        residuum.publish(run, name)


def test_the_hub_must_know_who_publishes(run, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub_library.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"there is no token|must know who"):
        residuum.publish(run, NAME)


def test_without_the_extra_it_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError) as caught:
        residuum.publish(run, NAME)
    assert "[hub]" in caught.value.mend


def test_the_command_prints_what_would_be_sent(run, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["residuum", "publish", str(run), NAME, "--dry-run", "--json"])
    cli.main()
    printed = json.loads(capsys.readouterr().out)
    assert (printed["repository"], printed["dry_run"]) == (NAME, True)
    assert printed["files"][1]["path"] == "model.safetensors"
    sys.argv.pop()
    cli.main()
    said = capsys.readouterr()
    assert "private" in said.out
    assert "--pictures sends them" in said.err
