"""Verbs and settings declared once: what is forgotten is found, and Python is checked to the keyword."""

import ast
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import KERNELS
from PIL import Image
from test_layout import nodes_of, parsed

import residuum
from residuum import setting_parts, version
from residuum.cli import VERBS, _settings_of, main
from residuum.errors import Stopped, UserError
from residuum.models.spec import NetSpec
from residuum.outward_settings import ImportSettings, ServeSettings
from residuum.plain_data import Range, as_json, asked, by_place, check_known, explicit, flag, read_off
from residuum.recipe import Recipe, Task
from residuum.recipes.quick import quick
from residuum.setting_parts import NetChoices, RecipeChoices
from residuum.settings import (
    EvaluateSettings,
    ExplainSettings,
    ModelsSettings,
    NetSettings,
    PredictSettings,
    ReportSettings,
    StudySettings,
    TrainSettings,
)
from residuum.verb import Verb, for_people, refuse_swapped, stopped_by_signals

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "residuum"
each_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)

# --- a verb -------------------------------------------------------------------------------------

CALLED_OTHERWISE = {"models": "model_table"}


def not_in_python(exported: set[str]) -> set[str]:
    names = {verb.run.__name__ for verb in VERBS}
    return {name for name in names if CALLED_OTHERWISE.get(name, name) not in exported}


def test_every_verb_of_the_command_is_there_in_python() -> None:
    assert {"train", "evaluate", "study", "data check"} <= {verb.name for verb in VERBS}
    assert not_in_python(set(residuum.__all__)) == set()
    assert all(hasattr(residuum, name) for name in residuum.__all__)


def test_a_verb_left_out_of_python_is_found() -> None:
    assert not_in_python(set(residuum.__all__) - {"trim"}) == {"trim"}


def test_importing_residuum_imports_nothing_heavy() -> None:
    code = "import residuum, sys; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'cyclopts', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@each_verb
def test_every_verb_takes_a_config_file_and_completion_knows_it(
    verb: Verb[..., Any, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = by_place(verb.settings())[0]
    values: dict[type, object] = {tuple: ["x"], bool: not first.default}
    value = values.get(type(first.default), "x")
    (tmp_path / "c.json").write_text(json.dumps({first.name: value}))
    words = ["residuum", *verb.name.split(), "--config", str(tmp_path / "c.json"), "--print-config"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    assert json.loads(capsys.readouterr().out) == as_json(verb.settings(**{first.name: value}))


PRINTED = {"plan"}
"""What changes only what the command prints: a plan is lines for people, no table."""


@pytest.mark.parametrize(
    "call",
    [
        lambda: residuum.net("resnet20", stride_in="5x5"),  # type: ignore[arg-type]
        lambda: residuum.load("damaged.safetensors"),
        lambda: residuum.bench("damaged.safetensors"),
        lambda: residuum.load(engine="torch"),  # type: ignore[call-arg]
    ],
)
def test_what_is_wrong_is_shown_once_without_the_errors_it_was_made_of(
    call: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError) as refusal:
        call()
    shown = "".join(traceback.format_exception(refusal.value))
    assert shown.count("Traceback (most recent call last)") == 1
    assert shown.count(refusal.value.what) == 1


@pytest.mark.parametrize(
    ("function", "settings", "variadic"),
    [
        (residuum.predict, PredictSettings, "images"),
        (residuum.explain, ExplainSettings, "images"),
        (residuum.report, ReportSettings, "runs"),
        (residuum.serve, ServeSettings, "runs"),
        (residuum.study, StudySettings, "names"),
        (residuum.model_table, ModelsSettings, ""),
        (residuum.net, NetSettings, ""),
    ],
)
def test_functions_written_out_have_the_settings_of_their_verb(
    function: Callable[..., Any], settings: type, variadic: str
) -> None:
    parameters = inspect.signature(function).parameters
    assert set(parameters) == {field.name for field in fields(settings)} - PRINTED
    if variadic:
        assert parameters[variadic].kind == inspect.Parameter.VAR_POSITIONAL
    for field in fields(settings):
        if field.name not in {variadic, "run", *PRINTED} and field.default is not MISSING:
            assert parameters[field.name].default == field.default


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: residuum.train(epohcs=5), "did you mean epochs"),
        (lambda: residuum.train("digits", epochs="five"), "epochs cannot be 'five'"),
        (lambda: residuum.train("digits", epochs=True), "epochs cannot be True"),
        (lambda: residuum.train("digits", recipe="quik"), "did you mean quick"),
        (lambda: residuum.train("digits", "resnet20"), "too many positional"),
        (lambda: residuum.train("digits", lr=float("nan")), "lr nan is out of range"),
        (lambda: residuum.predict("run", "x.png", topp=3), "did you mean top"),
        (residuum.predict, "'run'"),
        (residuum.load, "'path'"),
        (residuum.report, "which run"),
        (residuum.grow, "which model"),
        (lambda: residuum.check(data=3), "data cannot be 3"),
        (lambda: residuum.import_weights("x", mean=(1, 2)), "mean"),
        (lambda: residuum.import_weights("x", mean=(0, 0, 2)), "mean 2 is out of range"),
    ],
)
def test_what_python_is_told_wrong_is_one_error_that_says_what(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        call()
    assert said in str(error.value)


def test_python_is_told_of_settings_by_their_own_names() -> None:
    @for_people
    def judged(stride_in: str = "3x3", balance: bool = True) -> None:
        raise UserError(
            "--stride-in or --no-balance", "not --strides", "--stride-in 1x1, or residuum train --stride-in 1x1"
        )

    with pytest.raises(UserError) as error:
        judged()
    said = "stride_in or balance=False", "not --strides", "stride_in 1x1, or residuum train --stride-in 1x1"
    assert (error.value.what, error.value.why, error.value.mend) == said
    assert str(error.value).startswith(error.value.args[0])


@pytest.mark.parametrize("becomes", [KeyboardInterrupt, ImportError, None])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_has_no_end_of_its_own(number: int, becomes: type[BaseException] | None) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=r"^stopped$") as stop, stopped_by_signals():  # noqa: PT012 - all of it may raise
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if becomes is not None:  # else swallowed, as some packages do while they are imported
                raise becomes from None
    assert stop.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_what_ends_by_itself_says_so_itself() -> None:
    with pytest.raises(Stopped, match="all answered"), stopped_by_signals():
        raise Stopped("all answered", 143)
    with pytest.raises(ZeroDivisionError), stopped_by_signals():
        print(1 / 0)


# --- a training setting -------------------------------------------------------------------------

CIFAR = Task(num_pictures=50_000, image_size=32, depth=20)


@dataclass(frozen=True, kw_only=True)
class OneMore(RecipeChoices):
    """What adding a setting takes: one field, by the name that the recipe has for it."""

    momentum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Misnamed(NetChoices):
    gate: float | None = None


def test_a_setting_of_the_recipe_is_one_entry() -> None:
    check_known(OneMore, Recipe)
    recipe = quick(CIFAR).changed(**asked(OneMore, OneMore(momentum=0.5, lr=0.25)))
    assert (recipe.momentum, recipe.lr) == (0.5, 0.25)
    assert read_off(OneMore, recipe)["momentum"] == 0.5


def test_a_setting_that_neither_net_nor_recipe_knows_fails_at_import() -> None:
    with pytest.raises(TypeError, match="Misnamed has gate, of which NetSpec knows nothing"):
        check_known(Misnamed, NetSpec)


@cache
def read_somewhere() -> set[str]:
    """What the package reads of anything: `settings.epochs` reads epochs, and so does "epochs" for getattr."""
    files = [path for path in SOURCE.rglob("*.py") if path.name not in {"settings.py", "setting_parts.py"}]
    found: set[str] = set()
    for path in files:
        for node in nodes_of(parsed(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute | ast.Constant):
                found.add(node.attr if isinstance(node, ast.Attribute) else str(node.value))
    return found


def unheeded(names: set[str]) -> set[str]:
    """Settings that nothing reads: those of net and recipe are heeded by their names alone."""
    by_name = {field.name for part in (NetChoices, RecipeChoices) for field in fields(part)}
    return names - by_name - read_somewhere()


@each_verb
def test_every_setting_is_read(verb: Verb[..., Any, Any]) -> None:
    assert unheeded({field.name for field in fields(verb.settings())}) == set()


def test_a_setting_that_nothing_reads_is_found() -> None:
    assert unheeded({"epochs", "mixup_strength"}) == {"mixup_strength"}


def test_training_is_composed_of_parts_that_share_no_field() -> None:
    parts = [part for part in TrainSettings.__mro__ if part.__module__ == setting_parts.__name__]
    declared = [name for part in parts for name in inspect.get_annotations(part) if name not in {"_", "group"}]
    assert sorted(declared) == sorted(field.name for field in fields(TrainSettings))
    assert {vars(part)["group"] for part in parts} == {"Data", "Net", "Recipe", "Compute", "Run"}


@each_verb
def test_no_setting_can_be_out_of_its_range(verb: Verb[..., Any, Any]) -> None:
    for field in fields(verb.settings()):
        for limits in (one for one in getattr(field.type, "__metadata__", ()) if isinstance(one, Range)):
            times = 3 if "tuple" in str(field.type) else 1
            for value in (limits.low - 1, limits.high + 1):
                given = (value,) * times if times > 1 else value
                with pytest.raises(UserError, match=re.escape(f"{flag(field.name)} {value} is out of range")):
                    verb.settings(**{field.name: given})


def test_paths_lists_and_numpys_numbers_are_taken_as_pythons_own() -> None:
    given = TrainSettings(Path("photos"), blocks=[1, 2], lr=np.float64(0.5), seed=np.int64(3))  # type: ignore[arg-type]
    assert given == TrainSettings("photos", blocks=(1, 2), lr=0.5, seed=3)
    assert json.loads(json.dumps(as_json(given)))["seed"] == 3
    assert TrainSettings(**as_json(given)) == given
    assert explicit(given) == {"data": "photos", "blocks": (1, 2), "lr": 0.5, "seed": 3}
    assert ImportSettings("x", mean=(0, 1, 0)) == ImportSettings("x", mean=(0.0, 1.0, 0.0))


def test_settings_written_by_version_0_1_0_are_read() -> None:
    """As its `train digits --recipe fast --target 95` wrote them, in its order."""
    old = {
        "data": "digits", "model": "fast-wide-resnet10", "start": None, "shortcut": "A", "order": "original",
        "activation": "gelu", "stride_in": "3x3", "stem": "whitening", "blocks": [1, 1, 2], "widths": [128, 384, 384],
        "groups": 1, "squeeze": 0, "projection_pool": True, "dropout": 0.0, "stochastic_depth": 0.0,
        "zero_init": False, "recipe": "fast", "target": 95, "epochs": 17, "batch_size": 64, "lr": 0.24,
        "weight_decay": 0.0, "label_smoothing": 0.2, "flip": False, "image_size": 8, "validation": 0.1, "seed": 0,
        "out": None, "resume": None, "device": "cpu", "precision": "float32", "layout": "channels-last", "threads": 1,
        "workers": 1, "save_seconds": 60.0, "checkpointing": False, "tensorboard": False,
    }  # fmt: skip
    from residuum.training.resolve import resolve

    since = {"tune": None, "from_nothing": False, "balance": None, "rate_decay": None}
    since |= {"mixup": None, "cutmix": None, "ema": None, "track": [], "shuffle": None}
    since |= {"accumulate": 1, "sync_bn": True}
    since |= {"image_column": None, "label_column": None, "label_separator": None, "skip_broken": False}
    now = {**old, **since}  # settings that version had not
    assert as_json(TrainSettings(**old)) == now
    resolved = resolve(TrainSettings(**old))
    given = {"rate_decay": 1.0, "mixup": 0.0, "cutmix": 0.0, "ema": 0.0, "shuffle": "whole"}
    assert as_json(resolved.settings) == {**now, "recipe": "fast_95", "balance": False, **given}
    assert resolved.recipe.iterations == 17 * (resolved.num_training // 64)


# --- the name -----------------------------------------------------------------------------------


def test_the_distributions_name_and_version_stand_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == version.NAME
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/residuum/version.py"
    found = re.findall(project["tool"]["hatch"]["version"]["pattern"], (SOURCE / "version.py").read_text())
    assert found == [version.VERSION] == [residuum.__version__]
    assert f'name = "{version.NAME}"' in (ROOT / "uv.lock").read_text(encoding="utf-8")


def test_what_a_package_index_shows_stands_alone() -> None:
    """Links and pictures of README lead into the repository: an index has none of them."""
    text = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["readme"]["text"]
    assert not re.search(r"\]\((?!https:)|src=", text)
    install, *commands = text.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert install.startswith(f"pip install '{version.NAME}[")
    assert all(_settings_of(tuple(line.split()[1:])) for line in commands)


def test_no_hint_installs_the_other_project_of_that_name() -> None:
    for path in [*SOURCE.rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "Makefile"]:
        assert not re.search(r"(pip install|uv add)[^\n]*\bresiduum(?!-nets)\b", path.read_text(encoding="utf-8")), path


# --- README's Python, run and type-checked ------------------------------------------------------


def snippet(page: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


@pytest.mark.usefixtures("few_digits")
def test_the_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_comments = [re.sub(" *#.*", "", snippet(page)) for page in ("README.md", "README.zh.md")]
    assert without_comments[0] == without_comments[1]
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8), 128).save("scan.png")
    names: dict[str, Any] = {}
    exec(snippet("README.md").replace("epochs=5", "epochs=1"), names)
    assert names["classifier"].classes == tuple("0123456789")


RIGHT = """
from pathlib import Path
from typing import Any, assert_type

assert_type(run, residuum.RunRecord)
assert_type(classifier, residuum.Predictor)
assert_type(residuum.grow(run.path, to=56), Path)
assert_type(residuum.trim(run.path, "digits", keep=0.5), Path)
assert_type(residuum.predict(run.path, "a.png", Path("b.png"), top=3), list[residuum.Answer])
assert_type(residuum.import_weights("resnet20.th"), residuum.Imported)
assert_type(residuum.export_weights(Path("model.safetensors"), layout="timm"), residuum.Exported)
assert_type(residuum.report(run.path, out="page.html"), Path)
residuum.net("resnet50", classes=10, stride_in="1x1", blocks=[1, 1, 1, 1]).features
residuum.net_of(classifier.net.state_dict(), stride_in="1x1").spec
residuum.train(Path("photos"), blocks=(1, 1, 1), start=run.path, recipe="fast_95", device="cpu")
"""
WRONG = """\
residuum.train(epohcs=5)
residuum.train("digits", epochs="five")
residuum.train("digits", recipe="quik")
residuum.train("digits", "resnet20")
residuum.evaluate("run", split="tset")
residuum.predict("run", "a.png", topp=3)
residuum.trim("run", keep="half")
residuum.load()
residuum.report("run", to="page.html")
residuum.study("lesions", scale="large")
residuum.net("resnet50", shortcut="D")
"""
FAST = """
[mypy]
strict = true
follow_imports = silent
[mypy-torch.*,numpy.*,pyarrow.*,sklearn.*,PIL.*,simplejpeg.*,timm.*,torchvision.*,transformers.*]
follow_imports = skip
[mypy-sklearn.*]
ignore_missing_imports = true
"""


def test_the_type_checker_knows_every_keyword_and_what_comes_back(tmp_path: Path) -> None:
    """Of what mypy has read of the package and has not changed since, it is reminded by its cache."""
    pytest.importorskip("mypy")
    (tmp_path / "right.py").write_text(snippet("README.md") + RIGHT, encoding="utf-8")
    (tmp_path / "wrong.py").write_text("import residuum\n" + WRONG, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(FAST)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        "mypy.ini",
        "--cache-dir",
        str(KERNELS.parent / "mypy"),
        "--no-error-summary",
    ]
    done = subprocess.run(
        [*command, "right.py", "wrong.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line for line in said if not line.startswith("wrong.py")] == [], done.stdout
    lines = {int(line.split(":")[1]) for line in said}
    assert lines == set(range(2, 2 + len(WRONG.splitlines()))), done.stdout


# --- a model and what it is used on, the wrong way round ------------------------------------------


@pytest.fixture
def swapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder, a model file and an export by their names alone; a picture, and a folder of pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("RUN/settings.json", "EXPORT/model.onnx", "net.safetensors", "my photos/a/cat.png", "dog.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("predict dog.png RUN", "predict RUN dog.png"),
        ("predict dog.png 'my photos' EXPORT --top 2", "predict EXPORT 'my photos' dog.png --top 2"),
        ("explain 'my photos/a/cat.png' net.safetensors", "explain net.safetensors 'my photos/a/cat.png'"),
        ("evaluate digits RUN --split test", "evaluate RUN digits --split test"),
        ("evaluate 'my photos' EXPORT", "evaluate EXPORT 'my photos'"),
        ("lesion 'my photos' RUN", "lesion RUN 'my photos'"),
        ("trim cifar10 net.safetensors --keep 0.75", "trim net.safetensors cifar10 --keep 0.75"),
        ("data review 'my photos' RUN", "data review RUN 'my photos'"),
        ("publish OWNER/NAME RUN --dry-run", "publish RUN OWNER/NAME --dry-run"),
    ],
)
def test_a_model_behind_its_pictures_leads_to_the_command_that_was_meant(
    given: str, meant: str, swapped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["residuum", *shlex.split(given)])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert "is a model, and stands where" in said
    assert said.rstrip().endswith(f"mend: the other way round: residuum {meant}")


def test_the_command_that_was_meant_is_not_refused(swapped: Path) -> None:
    refuse_swapped("predict", PredictSettings("RUN", ("dog.png", "my photos")))
    refuse_swapped("predict", PredictSettings("nowhere", ("dog.png", "x\0y", "a" * 5000)))
    refuse_swapped("evaluate", EvaluateSettings("RUN", "EXPORT"))  # data that are none: another error
    refuse_swapped("evaluate", EvaluateSettings("digits"))
    refuse_swapped("train", TrainSettings("RUN"))
    with pytest.raises(UserError, match="the other way round: residuum predict net"):
        residuum.predict("dog.png", "net.safetensors")
