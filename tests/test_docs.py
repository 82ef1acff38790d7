"""Pages and files in step: figures, the two languages, and every command shown."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from residuum.cli import app

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "README.zh.md")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def results_table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_table", ROOT / "benchmarks" / "results_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_the_figures_are_those_of_the_files(page: str) -> None:
    module = results_table()
    assert module.with_tables(page, text_of(page)) == text_of(page), "run: python benchmarks/results_table.py"
    assert "%" in module.tables(page)


def test_a_changed_figure_would_be_noticed() -> None:
    module = results_table()
    page = text_of("README.md")
    changed = re.sub(r"\d\d\.\d\d ± ", "99.99 ± ", page, count=1)
    assert changed != page
    assert module.with_tables("README.md", changed) != changed


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    each = result.get("runs") or [result]
    environments = [run["environment"] for run in each]
    assert result["command"]
    for environment in environments:
        assert {"date", "torch", "processor", "cores"} <= environment.keys()
    for run in result.get("runs", []):
        assert "seed" in run
        assert {"test_accuracy", "validation_accuracy", "accuracy"} & run.keys()


@pytest.mark.parametrize("name", ["fast-trials.json", "fast-95-trials.json"])
def test_the_logs_trials_of_recipe_fast_are_those_of_the_files(name: str) -> None:
    trials = json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))["runs"]
    rows = [f"| {run['changed']} | {100 * run['accuracy']:.2f} % | {run['cross_entropy']:.4f} |" for run in trials]
    assert "| changed | accuracy | cross-entropy |\n|---|---|---|\n" + "\n".join(rows) in text_of("docs/log.md")


def test_the_translation_has_the_same_parts_code_and_figures() -> None:
    english, chinese = (text_of(page) for page in PAGES)

    def headings(text: str) -> list[int]:
        return [len(line.split(" ")[0]) for line in text.splitlines() if line.startswith("#")]

    def code(text: str) -> list[str]:
        """Commands without their comments: those are translated."""
        blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
        return [re.split(r"\s{3,}|\s+#", line)[0] for block in blocks for line in block.splitlines()]

    def places(text: str) -> list[str]:
        return sorted(set(re.findall(r"`([a-z_]+/?[a-z_]*\.?(?:py)?)`", text)))

    def figures(text: str) -> list[str]:
        return re.findall(r"\d+\.\d\d", text)

    assert headings(english) == headings(chinese)
    assert code(english) == code(chinese)
    assert places(english) == places(chinese)
    assert figures(english) == figures(chinese)
    assert english.count("\n- ") == chinese.count("\n- ")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_flag_shown_exists(page: str) -> None:
    shown = re.findall(
        r"residuum ((?:data |weights )?[a-z-]+)", "\n".join(re.findall(r"```\n(.*?)```", text_of(page), re.DOTALL))
    )
    assert len(shown) >= 8
    for words in shown:
        command = app
        for word in words.split():
            command = command[word]
    known = set()
    for words in set(shown):
        command = app
        for word in words.split():
            command = command[word]
        known |= {name for argument in command.assemble_argument_collection() for name in argument.names}
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text_of(page)))
    assert flags <= known | {"--help", "--config", "--print-config", "--install-completion", "--version"}


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        "CONTRIBUTING.md",
        "docs/decisions.md",
        "docs/log.md",
        "docs/promises.md",
        "docs/promises.zh.md",
        "CHANGELOG.md",
    ],
)
def test_links_and_named_files_exist(page: str) -> None:
    text = text_of(page)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    for target in re.findall(r"`((?:src|tests|docs|benchmarks|results)/[\w./-]+\.\w+)`", text):
        assert (ROOT / target).exists(), target


PROMISES = ("docs/promises.md", "docs/promises.zh.md")


def promised(page: str) -> list[list[str]]:
    """The tests behind each promise of a page."""
    promises = re.split(r"^- ", text_of(page), flags=re.MULTILINE)[1:]
    return [re.findall(r"`((?:corpus/)?test_\w+\.py::test_\w+)`", promise) for promise in promises]


def test_each_promise_is_held_by_tests_that_exist() -> None:
    held = promised(PROMISES[0])
    assert all(held)
    for file, name in {tuple(test.split("::")) for tests in held for test in tests}:
        assert re.search(rf"^def {name}\(", text_of(f"tests/{file}"), re.MULTILINE), f"{file}::{name}"


def test_both_pages_promise_the_same() -> None:
    assert promised(PROMISES[0]) == promised(PROMISES[1])
    english, chinese = (re.findall("^#+ ", text_of(page), re.MULTILINE) for page in PROMISES)
    assert english == chinese
