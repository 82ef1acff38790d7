"""What those meet who take part: workflows, templates, the citation, and the first command of README."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from residuum import commit
from residuum.version import VERSION

yaml = pytest.importorskip("yaml", reason="pyyaml is not installed: pip install .[dev]")
ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def steps() -> list[dict[str, Any]]:
    return [step for path in WORKFLOWS for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_says_when_where_and_with_what_rights(path: Path) -> None:
    found = read(path)
    assert found[True], "YAML reads `on` as true"
    assert found["permissions"] == {"contents": "read"}
    for job in found["jobs"].values():
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        assert set(needs) <= set(found["jobs"])
        assert job["runs-on"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        for name in re.findall(r"matrix\.(\w+)", str(job)):
            assert name in job["strategy"]["matrix"]


def test_what_workflows_call_exists_and_what_they_use_has_a_version() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = {target for step in steps() for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))}
    assert called >= {"lint", "docs", "demo", "test-avx2", "test-plain", "test-slow"}
    assert called <= targets
    for step in steps():
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"])


def test_the_tests_run_on_three_systems_and_every_python() -> None:
    matrix = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]
    systems = {*matrix["os"], *(one["os"] for one in matrix["include"])}
    assert {name.split("-")[0] for name in systems} == {"ubuntu", "macos", "windows"}
    assert matrix["python"][0] == "3.11"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_asks_what_it_needs(path: Path) -> None:
    found = read(path)
    if path.name == "config.yml":
        return
    assert {"name", "description", "body"} <= found.keys()
    assert len({part["id"] for part in found["body"]}) == len(found["body"])
    assert any(part.get("validations", {}).get("required") for part in found["body"])


def test_the_citation_names_this_version_and_the_paper() -> None:
    found = read(ROOT / "CITATION.cff")
    assert VERSION.startswith(str(found["version"]))
    assert found["license"] == "Apache-2.0"
    assert "preferred-citation" not in found  # it would be cited in residuum's place
    assert found["references"][0]["url"].endswith("1512.03385")


@pytest.mark.parametrize(
    ("torch", "asked"),
    [
        ("", None),
        ("cpu", "--index-url https://download.pytorch.org/whl/cpu torch"),
        ("wheels/torch.whl", "--quiet wheels/torch.whl"),
    ],
)
def test_the_demo_takes_another_build_of_torch(torch: str, asked: str | None, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    command = ["make", "--dry-run", "--file", str(ROOT / "Makefile"), "demo", *([f"TORCH={torch}"] if torch else [])]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "train digits" in said
    before = said[: said.index("--editable")]
    assert (asked in before) if asked else ("torch" not in before)


@pytest.mark.parametrize("target", ["demo", "docs"])
def test_an_installed_residuum_is_not_replaced(target: str, tmp_path: Path) -> None:
    """By `pip install .` into .venv, as README says; of a folder without it, make builds .venv."""
    (tmp_path / "pyproject.toml").touch()

    def said() -> str:
        command = ["make", "--dry-run", "--file", str(ROOT / "Makefile"), target]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "--editable" in said()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "residuum").touch()
    assert "--editable" not in said()
    assert "fetched" not in said()


def test_the_commit_is_gits_own_and_says_where_files_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert commit._of_clone(tmp_path) == ""
    git("init", "--quiet")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "-m", "one")
    git("tag", "v1")
    head = git("rev-parse", "HEAD").strip()[:12]
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert commit._of_clone(tmp_path) == head
    (tmp_path / "file").write_text("2")
    assert commit._of_clone(tmp_path) == f"{head}-dirty"


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ('{"url": "https://a/b", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}', "0123456789ab"),
        ('{"url": "file:///a", "dir_info": {"editable": true}}', ""),
        (None, ""),
        ("{", ""),
    ],
)
def test_the_commit_is_what_pip_wrote_down(told: str | None, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "distribution", lambda _: SimpleNamespace(read_text=lambda _: told))
    assert commit._as_installed() == found
