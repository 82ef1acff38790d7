"""The reference pages: in step with the code, whole, and the same settings that the command itself takes."""

import functools
import importlib
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import get_args

import platformdirs
import pytest

import residuum
from residuum.choices import Stem
from residuum.cli import VERBS, app

ROOT = Path(__file__).parent.parent
PAGES = [f"docs/{room}reference/{name}.md" for room in ("", "zh/") for name in ("commands", "python", "files")]
FOR_ANY = {"--json", "--help", "--version"}


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("reference")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_the_code_says(page: str, reference: ModuleType) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert reference.written(ROOT / page) == text, "run: python docs/reference.py"
    assert text.count("<!-- reference: ") == text.count("<!-- /reference -->") > 0


def test_what_is_out_of_step_is_noticed(reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "DOCS", tmp_path)
    page = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    (tmp_path / "commands.md").write_text(page.replace("`--epochs`", "`--rounds`"), encoding="utf-8")
    assert reference.written(tmp_path / "commands.md") == page


def flags_of(verb: str) -> set[str]:
    """What the command itself takes, as cyclopts has read it."""
    command = functools.reduce(lambda inner, word: inner[word], verb.split(), app)
    names = {
        name
        for one in command.assemble_argument_collection(default_parameter=app.default_parameter)
        for name in one.names
    }
    return names - {"*"} - FOR_ANY


@pytest.mark.parametrize("page", [PAGES[0], PAGES[3]])
def test_every_setting_of_every_verb_stands_on_the_page(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").partition("<!-- reference: commands -->")[2]
    parts = dict(re.findall(r"^## residuum ([\w -]+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert list(parts) == [verb.name for verb in VERBS]
    for verb in VERBS:
        rows = " ".join(re.findall(r"^\| (`[^|]+`) \|", parts[verb.name], re.MULTILINE))
        shown = {word if word.startswith("--") else f"--{word.lower()}" for word in re.findall("`([^`]+)`", rows)}
        taken = flags_of(verb.name)
        assert shown <= taken, verb.name
        assert {name for name in taken if not name.startswith("--no-")} <= shown | {"--no-" + one[2:] for one in shown}
        assert len(re.findall(r"^\| `", parts[verb.name], re.MULTILINE)) == len(fields(verb.settings)), verb.name


def test_the_settings_that_help_once_left_out_are_there() -> None:
    """Whole numbers outside of groups: cyclopts' help had none of them."""
    text = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    serve = text.partition("## residuum serve\n")[2].partition("\n## ")[0]
    assert {"`--port`", "`--queue`", "`--batch`", "`--examples`"} <= set(re.findall("`--[a-z-]+`", serve))
    assert "| `--port` | a whole number, 0 – 65535 | `8000` |" in serve


@pytest.mark.parametrize("page", [PAGES[0], PAGES[3]])
def test_each_stem_that_can_be_chosen_is_explained(page: str) -> None:
    meanings = re.findall(r"^\| `--stem` \|.*\| ([^|]+) \|$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(meanings) == 4
    assert all(stem in meaning for stem in get_args(Stem) for meaning in meanings)


@pytest.mark.parametrize("page", [PAGES[1], PAGES[4]])
def test_every_public_name_stands_on_the_page(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"^### residuum\.(\w+)$", text, re.MULTILINE)) == set(residuum.__all__) - {"__version__"}
    assert "Annotated" not in text
    assert "OnThisMachine" not in text


@pytest.mark.parametrize("room", ["", "zh/"])
def test_every_folder_of_the_cache_stands_on_the_page(room: str) -> None:
    page = (ROOT / "docs" / room / "reference" / "files.md").read_text(encoding="utf-8")
    code = [file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py")]
    kept = {name for text in code for name in re.findall(r'cache_folder\(\) / "([\w-]+)"', text)}
    assert kept >= {"weights", "hub", "kernels"}
    assert sorted(name for name in kept if f"`{name}`" not in page) == []
    by_default = platformdirs.unix.Unix("residuum", appauthor=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XDG_CACHE_HOME", raising=False)
        assert f"`{by_default.user_cache_dir.replace(str(Path.home()), '~')}`" in page
