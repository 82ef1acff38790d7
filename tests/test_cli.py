"""The command as a person or a script meets it: fast help, one clear error, figures on stdout alone."""

import io
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import in_this_process as command
from conftest import new_cache, told_what_is_fastest
from made_up_records import as_file
from PIL import Image

import residuum
from residuum import runs
from residuum.cli import main
from residuum.console import show_progress
from residuum.errors import nearest
from residuum.files import read_json
from residuum.plain_data import command_line
from residuum.settings import TrainSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run"
    residuum.train("digits", epochs=3, batch_size=256, blocks=(1, 1, 1), out=str(path))
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One digit of the test split, as a PNG like anyone's."""
    from residuum.data.digits import digits

    test = digits().test
    assert test is not None
    path = tmp_path_factory.mktemp("scan") / "数字.png"
    Image.fromarray(test.pictures.encoded(0)).save(path)
    return path


def processor_seconds() -> float:
    """What finished child processes have cost: unlike the clock, it does not mind a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_instant_and_does_not_import_torch() -> None:
    code = "import sys; sys.argv = ['residuum', '--help']\n"
    code += "from residuum.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit:\n    pass\n"
    heavy = {"torch", "numpy", "PIL", "msgspec", "markdown_it", "importlib.metadata"}
    code += f"sys.exit(not {heavy}.isdisjoint(sys.modules))"
    libraries = "import cyclopts, rich.console, rich.table"  # what a command line of this kind costs anyway
    seconds: dict[str, list[float]] = {code: [], libraries: []}
    for _ in range(3):
        for program, cost in seconds.items():
            before = processor_seconds()
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            cost.append(processor_seconds() - before)
            assert done.returncode == 0, "a heavy package was imported for --help"
            assert program != code or "train" in done.stdout
        if min(seconds[code]) < 2 * min(seconds[libraries]):  # half of what is allowed: no need to look again
            break
    assert min(seconds[code]) < 4 * min(seconds[libraries])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "/no/such/place"], "/no/such"),
        (["train", "cifra10"], "cifar10"),
        (["train", "digits", "--model", "resnet21"], "did you mean"),
        (["train", "digits", "--model", "plain20", "--shortcut", "B"], "resnet20"),
        (["train", "digits", "--epochs", "0"], "--epochs 0 is out of range"),
        (["train", "digits", "--epoch", "3"], "--epochs"),
        (["train", "digits", "--epochs", "many"], "--epochs"),
        (["train", "digits", "--recipe", "quik"], "quick"),
        (["train", "digits", "--lr", "nan"], "--lr"),
        (["train", "digits", "--device", "cuda"], "--device cuda"),
        (["train", "digits", "--out", "/proc/nowhere/run"], "--out"),
        (["train", "--config", "/no/file.json"], "/no/file.json"),
        (["trian", "digits"], "train"),
        (["evaluate", "/no/run"], "/no/run"),
        (["evaluate"], "residuum evaluate RUN"),
        (["predict", "/no/run", "x.png"], "/no/run"),
        (["predict"], "residuum predict RUN"),
        (["report", "/no/run"], "/no/run"),
        (["explain"], "residuum explain RUN PICTURE"),
        (["report"], "residuum report RUN"),
        (["data", "check", "/no/place"], "/no"),
        (["data", "check"], "residuum data check DATA"),
        (["data", "fetch"], "residuum data fetch cifar10"),
        (["models", "--classes", "1"], "--classes"),
        (["models", "resnet5O"], "resnet50"),
        (["train", "digits", "--model", "resnet20", "--stride-in", "1x1"], "a bottleneck has"),
        (["train", "digits", "--model", "plain20", "--order", "bn-after-addition"], "no addition"),
        (["train", "digits", "--start", "/no/model"], "/no/model"),
        (["import"], "residuum import FILE"),
        (["import", "/no/weights.pth"], "/no/weights.pth"),
        (["export-weights"], "residuum export-weights MODEL"),
        (["grow"], "residuum grow MODEL --to 56"),
        (["grow", "/no/model", "--to", "1"], "--to 1 is out of range"),
        (["lesion"], "residuum lesion MODEL DATA"),
        (["trim"], "residuum trim MODEL DATA"),
        (["trim", "/no/model", "--keep", "0.5", "--speedup", "2"], "give one of them"),
        (["--print-config"], "needs a verb"),
        (["train", "digits", "--epochs", "1.5"], "--epochs cannot be '1.5'"),
        (["train", "digits", "--squeeze", "0.5"], "--squeeze cannot be '0.5'"),
        (["train", "digits", "--blocks", "1", "2.5", "1"], "--blocks cannot be '2.5'"),
        (["train", "digits", "--seed", "1e3"], "--seed cannot be '1e3'"),
        (["train", "digits", "--model", ""], "--model is empty"),
        (["train", " "], "--data is empty"),
        (["train", "https://example.com/photos.zip"], "is an address"),
        (["evaluate", "https:/example.com/run"], "is an address"),
        (["train", "digits", "--start", "s3://models/net.safetensors"], "is an address"),
        (["train", "digits", "--out", "x" * 300], "File name too long"),
        (["grow", "x" * 300, "--to", "20"], "too long"),
        (["train", "digits", "--image-column", "photo"], "no columns"),
        (["train", "digits", "--lr", "fast"], "--lr cannot be 'fast'"),
        (["train", "digits", "--lr"], "--lr was given without a value"),
        (["train", "digits", "--validation", "20"], "mend: it is a share: 0.1 for 10 %"),
        (["trim", "/no/model", "--keep", "75"], "mend: it is a share: 0.75 for 75 % of the blocks"),
        (["import", "x.pth", "--mean", "123.7,116.3,103.5"], "why:  it must lie from 0 to 1\n  mend: three numbers"),
        (["import", "x.pth", "--std", "0.2,-0.2,0.2"], "why:  it must lie from 0.001 to 1\n  mend: three numbers"),
        (["import", "x.pth", "--mean", "0.4", "0.5"], "--mean takes 3 values, but was given 2"),
        (["import", "x.pth", "--mean", "0.4,0.5"], "--mean takes 3 values, but was given 2"),
        (["import", "x", "--std", "1", "1", "1", "--mean", "0.4", "0.5", "0.4", "0.1"], "--mean takes fewer numbers"),
        (["import", "x.pth", "--mean=0.4,0.5,0.4,0.1"], "0.1 is one word too many"),
        (["lesion", "run", "data", "more"], "more is one word too many"),
        (["bench", "--allow", "int8", "/"], "mend: write / before --allow"),
        (["bench", "--allow", "int4"], "Choose from"),
        (["predict", "run", "-"], "standard input is not read"),
        (["import", "x.pth", "--mean", "0.4", "0.5", "b"], "--mean cannot be 'b'"),
    ],
)
def test_a_fault_is_one_message_and_exit_code_2(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.chdir(tmp_path)
    code, out, err = command(words, capsys, monkeypatch)
    assert code == 2
    assert err.count("error: ") == 1
    assert said in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train My photos", "'My photos'"),
        ("data check My photos", "'My photos'"),
        ("evaluate run 3", "'run 3'"),
        ("evaluate run 3 My photos", "'run 3' 'My photos'"),
        ("report run 3", "'run 3'"),
        ("train --resume run 3", "'run 3'"),
        ("predict run 3 My photos/a red ant.png", "'run 3' 'My photos/a red ant.png'"),
        ("train 3 photos", ""),
        ("evaluate nothing at all", ""),
    ],
)
def test_a_name_with_spaces_without_quotes_is_told(
    words: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "My photos").mkdir()
    (tmp_path / "My photos" / "a red ant.png").touch()
    (tmp_path / "run 3").mkdir()
    (tmp_path / "3").touch()  # one of the words may be there
    monkeypatch.chdir(tmp_path)
    code, _, err = command(words.split(), capsys, monkeypatch)
    assert code == 2
    assert ("needs quotes" in err) == bool(said)
    assert err.endswith(f"\n  mend: a name with spaces needs quotes: {said}\n") == bool(said)


def test_the_nearest_of_names_that_end_in_a_number_have_the_nearest_numbers() -> None:
    assert nearest("resnet9", ["resnet50", "resnet18", "resnet20", "plain9"]).startswith("did you mean resnet18 or")
    assert nearest("resnet5O", ["resnet50", "vgg16"]) == "did you mean resnet50?"
    assert nearest("r", ["resnet50", "vgg16"]) == "choose from: resnet50, vgg16"
    assert nearest("r", [f"net {number}" for number in range(100)]) == "none of the 100 names is like it"


def test_progress_that_was_begun_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    monkeypatch.setattr("residuum.console.say", said.append)
    tell = show_progress("reading")
    for done in (1, 2, 3, 3):
        tell(done, 3)
    assert said == ["reading: 33%", "reading: 100%, took 0 s"]


def test_progress_is_said_now_and_then_and_its_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said, now = list[str](), iter([0.0, 1.0, 10.0, 11.0, 40.0, 99.0])  # a clock may begin at nought
    monkeypatch.setattr("residuum.console.say", said.append)
    monkeypatch.setattr("residuum.console.time", SimpleNamespace(monotonic=lambda: next(now)))
    tell = show_progress("reading")
    for done in (20, 30, 40, 50, 100, 100):
        tell(done, 100)
    assert said == ["reading: 20%", "reading: 40%, ETA 30 s", "reading: 100%, took 40 s"]


def test_debug_shows_where_it_happened(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(residuum.UserError):
        command(["train", "/no/such/place", "--debug"], capsys, monkeypatch)


def test_folders_that_are_no_data_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    only = tmp_path / "only" / "猫"
    only.mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(only / "1.png")
    for folder in ("empty", "only"):
        code, _, err = command(["train", tmp_path / folder], capsys, monkeypatch)
        assert code == 2
        assert folder in err


def test_evaluate_repeats_the_runs_own_figures(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = command(["evaluate", run, "--json"], capsys, monkeypatch)
    again, own = json.loads(out), as_file(runs.read_run(run).evaluation)
    assert code == 0
    assert again["same_data_as_training"]
    assert {name: again[name] for name in own} == own
    code, out, _ = command(["evaluate", run / runs.MODEL, "--split", "train", "--json"], capsys, monkeypatch)
    assert json.loads(out)["images"] == 1292  # of 1437, those trained on
    code, out, _ = command(["evaluate", run, "--split", "validation", "--json"], capsys, monkeypatch)
    validation = json.loads(out)
    # training looked in its own precision, by its plan: a picture on the edge may fall to either side
    last = runs.read_run(run).epochs[-1].validation_accuracy
    assert validation["top1"]["value"] == pytest.approx(last, abs=1.5 / validation["images"])
    # the same pictures by their name: cut as training did
    _, out, _ = command(["evaluate", run, "digits", "--split", "validation", "--json"], capsys, monkeypatch)
    assert json.loads(out) == validation
    code, out, _ = command(["evaluate", run], capsys, monkeypatch)
    assert "360 test pictures" in out
    assert f"{own['top1']['value']:.2%}" in out


def test_evaluate_numbers_classes_by_name(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from residuum.data.digits import digits

    test = digits().test
    assert test is not None
    for row, label in enumerate(test.labels):
        folder = tmp_path / "scans" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.pictures.encoded(row)).save(folder / f"{row}.png")
    code, out, _ = command(["evaluate", run, tmp_path / "scans", "--json"], capsys, monkeypatch)
    figures = json.loads(out)
    assert figures["top1"] == read_json(run / runs.EVALUATION)["top1"]
    assert not figures["same_data_as_training"]
    (tmp_path / "scans" / "9").rename(tmp_path / "scans" / "nine")
    code, _, err = command(["evaluate", run, tmp_path / "scans"], capsys, monkeypatch)
    assert code == 2
    assert "nine" in err


def test_predict_answers_in_text_and_json(
    run: Path, scan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = command(["predict", run, scan, scan.parent, "--top", "3", "--json"], capsys, monkeypatch)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["picture"] for line in lines] == [str(scan)] * 2  # the file, and the folder it lies in
    assert lines[0]["answers"] == lines[1]["answers"]
    probabilities = [answer["probability"] for answer in lines[0]["answers"]]
    assert len(probabilities) == 3
    assert probabilities == sorted(probabilities, reverse=True)
    _, out, _ = command(["predict", run, scan], capsys, monkeypatch)
    assert lines[0]["answers"][0]["class"] in out
    broken = scan.parent.parent / "broken.png"
    broken.write_bytes(b"<html>not found</html>")
    code, _, err = command(["predict", run, broken], capsys, monkeypatch)
    assert code == 2
    assert "broken.png" in err


def test_what_python_predicts_is_what_the_test_figures_judged(run: Path, scan: Path) -> None:
    """The same picture through predict and through the evaluation's own batch gives the same answer."""
    from residuum.data.digits import digits

    test = digits().test
    assert test is not None
    answer = residuum.predict(run, scan)[0]
    classifier = residuum.load(run)
    import torch

    from residuum.data.preprocess import normalise

    pixels = torch.from_numpy(np.repeat(test.pictures.encoded(0)[None, ..., None], 3, axis=3))
    expected = classifier(normalise(pixels, classifier.preprocessing))[0]
    best = int(expected.argmax())
    assert answer.classes[0] == classifier.classes[best]
    assert answer.probabilities[0] == pytest.approx(float(expected[best]), abs=1e-5)


def test_report_and_models_and_check(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = command(["report", run, "--json"], capsys, monkeypatch)
    assert Path(json.loads(out)["report"]).read_text(encoding="utf-8").startswith("<!")
    _, out, _ = command(["data", "check", "digits", "--json"], capsys, monkeypatch)
    assert json.loads(out)["splits"]["test"]["pictures"] == 360
    code, out, _ = command(["data", "check", "digits"], capsys, monkeypatch)
    assert code == 0
    assert "nothing wrong" in out


def test_a_config_file_repeats_a_run_and_flags_win(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = run / runs.SETTINGS
    _, out, _ = command(["train", "--config", settings, "--seed", "0", "--print-config"], capsys, monkeypatch)
    config = json.loads(out)
    assert config["seed"] == 0
    assert config["epochs"] == 3
    assert TrainSettings(**config) == TrainSettings(**read_json(settings)["settings"])
    (tmp_path / "c.toml").write_text("epochs = 7\nlr = 0.5\n")
    _, out, _ = command(
        ["train", "x", "--config", tmp_path / "c.toml", "--lr", "0.1", "--print-config"], capsys, monkeypatch
    )
    assert (json.loads(out)["epochs"], json.loads(out)["lr"], json.loads(out)["data"]) == (7, 0.1, "x")
    (tmp_path / "wrong.json").write_text('{"epoch": 3}')
    code, _, err = command(["train", "x", "--config", tmp_path / "wrong.json"], capsys, monkeypatch)
    assert code == 2
    assert "did you mean epochs?" in err


def test_the_recorded_command_asks_for_the_same(run: Path) -> None:
    recorded = read_json(run / runs.SETTINGS)["command"]
    assert recorded.replace("'", "") == "residuum train digits --blocks 1 1 1 --epochs 3 --batch-size 256"


@pytest.mark.parametrize(
    ("words", "room"),
    [
        (["train", "digits"], "training.run"),
        (["export", "MODEL", "--to", "onnx"], "exporting.export"),
        (["explain", "MODEL", "PICTURE"], "explanation.explain"),
        (["lesion", "MODEL"], "depth.lesion"),
        (["trim", "MODEL"], "depth.trim"),
        (["grow", "MODEL", "--to", "20"], "depth.grow"),
        (["predict", "MODEL", "PICTURE"], "prediction.predict"),
    ],
)
def test_a_taken_place_is_refused_before_anything_is_imported(
    words: list[str], room: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").touch()
    monkeypatch.setitem(sys.modules, f"residuum.{room}", None)  # to import it raises
    out = tmp_path / "notes.txt" if words[0] in {"grow", "predict"} else tmp_path
    code, _, err = command([*words, "--out", out], capsys, monkeypatch)
    assert code == 2
    assert f"error: {out} exists" in err


@pytest.mark.parametrize(
    "words",
    [
        ["lesion", "my run", "--images", "50"],
        ["evaluate", "RUN", "DATA", "--with", "A", "B", "--skip-broken"],
        ["data", "check", "PHOTOS"],
        ["train", "digits", "--lr", "0.1", "--no-flip", "--blocks", "2", "2", "2"],
    ],
)
def test_what_was_asked_is_said_as_the_command_that_asks_it_again(words: list[str]) -> None:
    from residuum.cli import _settings_of

    verb = " ".join(words[:2]) if words[0] == "data" else words[0]
    asked = _settings_of(tuple(words))
    said = shlex.split(command_line(verb, asked))
    assert sorted(said) == sorted(["residuum", *words])
    assert _settings_of(tuple(said[1:])) == asked


COLOURS = [
    ["--mean", "0.48,0.45,0.40"],
    ["--mean", "0.48,", "0.45,", "0.40"],
    ["--mean", "0.48, 0.45, 0.40"],
    ["--mean=0.48,0.45,0.40"],
    ["--mean", "0.48", "0.45", "0.40"],
]


@pytest.mark.parametrize("given", COLOURS)
def test_commas_between_numbers_say_what_spaces_say(given: list[str]) -> None:
    from residuum.cli import _settings_of

    asked = _settings_of(("import", *given, "resnet,20.th", "--std", "0.2,0.2,0.2"))
    assert (asked.source, asked.mean, asked.std) == ("resnet,20.th", (0.48, 0.45, 0.40), (0.2, 0.2, 0.2))


def test_commas_stay_where_no_numbers_are_asked_for() -> None:
    from residuum.cli import _settings_of

    assert _settings_of(("grow", "1,2", "--blocks", "3,5,9", "--out", "1,2")).blocks == (3, 5, 9)
    assert _settings_of(("grow", "1,2", "--blocks", "3,5,9", "--out", "1,2")).out == "1,2"
    over = ("sweep", "digits", "--blocks", "1", "1", "1", "--over", "lr=0.05,0.1", "seed=1,2")
    assert _settings_of(over).over == ("lr=0.05,0.1", "seed=1,2")


def test_nothing_is_given_empty_by_a_flag_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from residuum.cli import VERBS

    for verb in VERBS:
        shown = command([*verb.name.split(), "--help"], capsys, monkeypatch)[1]
        assert verb.name in shown
        assert "--empty" not in shown
        assert "default: ()" not in shown
    assert "--empty-mean" in command(["import", "x.pth", "--empty-mean"], capsys, monkeypatch)[2]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_knows_the_verbs_and_flags(shell: str) -> None:
    from residuum.cli import app

    script = app.generate_completion(shell=shell)  # type: ignore[arg-type]
    assert "evaluate" in script
    assert "batch-size" in script
    assert "--empty" not in script


@pytest.mark.usefixtures("few_digits")
def test_depth_is_a_dial(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = tmp_path / "run"  # of two blocks a stage: what trim searches grows with the square of their number
    residuum.train("digits", epochs=3, batch_size=64, blocks=(2, 2, 2), out=str(run))
    monkeypatch.setattr("residuum.depth.latency.MOST_ROUNDS", 5)  # of 100: no time is judged here
    monkeypatch.setattr("residuum.depth.latency.TURN", 0.0)
    grown, trimmed, examined = tmp_path / "grown.safetensors", tmp_path / "trimmed", tmp_path / "examined"
    code, out, _ = command(["grow", run, "--to", "20", "--out", grown], capsys, monkeypatch)
    assert code == 0
    assert f"--start {grown}" in out
    before, after = (json.loads(command(["evaluate", m, "--json"], capsys, monkeypatch)[1]) for m in (run, grown))
    assert before["top1"] == after["top1"]
    words = ["lesion", run, "--images", "20"]
    code, out, err = command(words, capsys, monkeypatch)
    assert code == 0
    assert err.splitlines()[0] == f"residuum lesion {run} --images 20"
    assert next(run.glob(f"run-lesion-*/{runs.REPORT}")).exists()
    assert out.splitlines()[-1] == f"next     residuum trim {run}"
    code, out, _ = command(["lesion", grown, "--out", examined], capsys, monkeypatch)
    assert code == 0
    figures = read_json(examined / "lesion.json")
    lines = [line.split() for line in out.splitlines() if line.startswith("stage")]
    assert [line[0] for line in lines] == [row["name"] for row in figures["blocks"]]
    lost = [100 * (figures["intact"]["accuracy"] - row["accuracy"]) for row in figures["blocks"]]
    assert [float(line[1].replace("−", "-")) for line in lines] == pytest.approx(lost, abs=0.006)
    marked = [line[0] for line in lines if "shape," in line]
    assert marked == ["stage2.block1", "stage3.block1"]
    assert (examined / runs.REPORT).exists()
    words = ["trim", grown, "--keep", "0.67", "--repair", "1", "--random", "1", "--out", trimmed]
    monkeypatch.setattr("residuum.machine.seconds_waited", iter([0.0, *[1e6] * 99]).__next__)
    code, out, err = command(words, capsys, monkeypatch)
    assert code == 0
    assert err.count("note: others were computing") == 1
    assert "call trim, with another --out, again when the machine is quiet" in err
    assert "blocks   3 of 9 taken out: --keep 0.67 of 9 blocks" in out
    assert (out + err).count("taken out") == 1
    assert out.splitlines()[-2:] == [
        f"next     residuum evaluate {trimmed / runs.MODEL}",
        f"         residuum predict {trimmed / runs.MODEL} PICTURE...",
    ]
    assert {"accuracy", "random", "speed", "report"} <= {line.split(" ")[0] for line in out.splitlines()}
    figures = read_json(trimmed / runs.TRIM)
    # identities cost nothing: all three are gone before the first block whose absence raises the loss that was searched
    new = {f"stage{stage}.block3" for stage in (1, 2, 3)}
    deleted = [point["deleted"] for point in figures["curve"][1:]]
    change = np.diff([point["loss_batch_statistics"] for point in figures["curve"]])
    harmless = deleted[: int(np.argmax(change > 0))]
    assert new <= set(harmless)
    assert all((change[deleted.index(name)] == 0) == (name in new) for name in harmless)
    model = residuum.load(trimmed)
    assert sum(model.spec.blocks) == 6
    assert [step.verb for step in model.about.lineage] == ["train", "grow", "trim", "train"]


def test_weights_come_in_and_go_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch
    import torchvision

    block = torchvision.models.resnet.BasicBlock
    theirs = torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=3).eval()
    source, model, back = (tmp_path / name for name in ("theirs.pth", "ours.safetensors", "back.safetensors"))
    torch.save(theirs.state_dict(), source)
    code, out, err = command(["import", source, "--out", model], capsys, monkeypatch)
    assert code == 0
    assert err.count("assumed: ") >= 2
    assert f"residuum import {model} --out ours-named.safetensors --classes NAMES.txt" in out
    code, out, _ = command(["export-weights", model, "--layout", "torchvision", "--out", back], capsys, monkeypatch)
    assert code == 0
    assert str(back) in out
    assert "load" in out


OFFLINE = """
import socket, sys
def refuse(*_, **__): raise AssertionError("the network was touched")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
for name in [name for name in sys.modules if name.partition(".")[0] == "residuum"]:
    del sys.modules[name]  # torch alone is there already
from residuum.cli import main
from residuum.console import show_progress
from residuum.errors import nearest
for words in {lines!r}:
    sys.argv = ["residuum", *words]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
"""


@pytest.mark.usefixtures("warm_python")
def test_all_verbs_work_with_sockets_blocked_and_the_data_read_only(tmp_path: Path, scan: Path) -> None:
    photos = tmp_path / "photos"
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (photos / name).mkdir(parents=True)
        for index in range(12):
            pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(photos / name / f"{index}.png")
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    for path in [*photos.rglob("*"), photos]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    run = str(tmp_path / "run")
    lines = [
        ["data", "check", str(photos)],
        ["train", str(photos), "--epochs", "1", "--batch-size", "4", "--out", run],
        ["evaluate", run],
        ["predict", run, str(scan)],
        ["report", run],
        ["models"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE.format(lines=lines)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RESIDUUM_CACHE": str(told_what_is_fastest(new_cache(tmp_path / "cache")))},
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before


CONFIGS = [  # its name, what stands in it, and what is said
    ("c.json", b'{"settings": 5}', "no table of settings, but int"),
    ("c.json", b"[1]", "no table of settings, but list"),
    ("c.json", b'{"epochs": {"a": 1}}', "'epochs' is no setting's value"),
    ("c.json", b'{"blocks": [1, null]}', "'blocks' is no setting's value"),
    ("c.json", b'{"epochs": true}', "cannot be 'True'"),
    ("c.json", b'{"epochs": 1.5}', "c.json: epochs cannot be '1.5'"),
    ("c.json", b'{"epochz": 5}', "c.json: epochz is no setting\n  why:  did you mean epochs?"),
    ("c.yaml", b"epochs: 5", "YAML is not read"),
    ("c.toml", b"epochs =", "settings are JSON, or TOML"),
    ("c.json", b"\xff\xfe{", "settings are JSON, or TOML"),
    ("c.json", b"[" * 100_000, "settings are JSON, or TOML"),
]


@pytest.mark.parametrize(("name", "content", "said"), CONFIGS)
def test_a_config_of_another_kind_is_one_message(
    name: str,
    content: bytes,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / name).write_bytes(content)
    code, out, err = command(["train", "--config", tmp_path / name, "--print-config"], capsys, monkeypatch)
    assert (code, out, err.count("error: ")) == (2, "", 1)
    assert said in err


def test_a_config_that_is_not_there_is_said_to_be_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = command(["train", "--config", "none.toml"], capsys, monkeypatch)
    assert (code, out) == (2, "")
    assert err == "error: --config none.toml cannot be read: No such file or directory\n  mend: check its path\n"


def test_a_config_may_begin_with_a_byte_order_mark(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "c.json").write_text('{"workers": 384}', encoding="utf-8-sig")
    _, out, _ = command(["train", "--config", tmp_path / "c.json", "--print-config"], capsys, monkeypatch)
    assert json.loads(out)["workers"] == 384


def test_more_workers_than_make_sense_are_accepted_and_bounded() -> None:
    import torch

    from residuum import machine
    from residuum.compute import Compute

    compute = Compute(torch.device("cpu"), "float32", "contiguous", 48)
    assert [compute.workers(told) for told in (None, 0, 3, 384)] == [32, 0, 3, max(32, machine.cores())]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_what_an_output_cannot_show_is_escaped_and_stays_json(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, written = "猫🐈é" + os.fsdecode(b"\xff"), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["residuum", "train", name, "--print-config"])
    main()
    assert json.loads(written.getvalue().decode(encoding))["data"] == name


def test_a_name_that_is_no_text_is_written_and_read_back(tmp_path: Path) -> None:
    from residuum.files import write_json

    named = {"out": os.fsdecode(b"caf\xe9")}
    write_json(tmp_path / "x.json", named)
    assert read_json(tmp_path / "x.json") == named


def test_an_output_that_takes_no_more_is_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        code, _, err = command(["train", "--print-config"], capsys, monkeypatch)
    assert (code, err) == (2, "error: No space left on device, so this could not be written\n")


def test_a_working_folder_that_is_gone_is_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, out, err = command(["data", "check", "digits"], capsys, monkeypatch)
    assert (code, out, err.count("error: ")) == (2, "", 1)


def test_control_characters_in_a_message_are_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, err = command(["train", "./\x1b[31mred\x07"], capsys, monkeypatch)
    assert "\\u001b[31mred" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("becomes", [KeyboardInterrupt, ImportError, OSError])
def test_ctrl_c_before_a_verb_looks_out_for_it_ends_quietly(
    becomes: type[BaseException], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise becomes from None  # as some packages do while they are imported

    monkeypatch.setattr("residuum.cli.app", SimpleNamespace(meta=interrupted))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
    try:
        assert command(["models"], capsys, monkeypatch) == (130, "", "stopped\n")
        monkeypatch.setitem(sys.modules, "residuum.training.run", None)  # as while it is imported
        code, _, said = command(["train"], capsys, monkeypatch)
        assert (code, "nothing was kept" in said) == (130, True)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_study_that_computes_says_that_it_stopped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def computing(_study: object, _setup: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("residuum.studies.run._run", computing)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code, _, err = command(["study", "waveform", "--out", str(tmp_path)], capsys, monkeypatch)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, err.splitlines()[-1]) == (130, "stopped")


def test_other_programs_keep_their_ctrl_c(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("import residuum")
    (theirs / "__main__.py").write_text("import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_DFL)")
    done = subprocess.run([sys.executable, "-m", "theirs"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_reader_that_has_seen_enough_ends_the_command_quietly() -> None:
    command = [sys.executable, "-m", "residuum", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_flag_that_there_is_not_is_refused_beside_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = command(("--language", "zh", "--help"), capsys, monkeypatch)
    assert (code, out) == (2, "")
    assert "there is no --language" in err
    assert "RESIDUUM_LANG=zh residuum --help" in err
