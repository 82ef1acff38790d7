"""Pages and files in step: figures, the two languages, and every command shown."""

import functools
import importlib
import json
import math
import re
import shlex
import tomllib
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from residuum.cli import VERBS, _settings_of, app
from residuum.exporting.export import SNIPPETS
from residuum.records.study import Answer

ROOT = Path(__file__).parent.parent
READMES = ("README.md", "README.zh.md")
ENGLISH_ONLY = {"docs/decisions.md", "docs/log.md", "docs/field-reports.md"}
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
TRANSLATED = [READMES] + [
    (page, page.replace("docs/", "docs/zh/"))
    for page in PAGES
    if not page.startswith("docs/zh/") and page not in ENGLISH_ONLY
]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.fixture
def results_table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("results_table")


@pytest.mark.parametrize("page", ["docs/tutorials/page.md", "docs/zh/tutorials/page.md"])
def test_an_export_holds_code_in_the_languages_that_the_tutorial_names(page: str) -> None:
    (told,) = re.findall(r"`exported`[^`]*`parity\.json`", text_of(page))
    languages = {".py": "Python", ".mjs": "JavaScript", ".cpp": "C++"}
    there = [languages[Path(name).suffix] for to in ("onnx", "openvino") for name in SNIPPETS[to]]  # type: ignore[index]
    assert re.findall(r"Python|JavaScript|C\+\+", told) == there


@pytest.mark.parametrize("page", [*READMES, "docs/results.md", "docs/zh/results.md"])
def test_the_figures_are_those_of_the_files(page: str, results_table: ModuleType) -> None:
    assert results_table.with_tables(page, text_of(page)) == text_of(page), "run: python benchmarks/results_table.py"
    assert "%" in results_table.tables(page)


def test_a_changed_figure_would_be_noticed(results_table: ModuleType) -> None:
    page = text_of("README.md")
    changed = re.sub(r"\d\d\.\d\d ± ", "99.99 ± ", page, count=1)
    assert changed != page
    assert results_table.with_tables("README.md", changed) == page


@pytest.mark.parametrize("page", ["docs/how-to/engines.md", "docs/zh/how-to/engines.md"])
def test_the_bounds_on_exports_are_those_that_were_measured(page: str) -> None:
    """Rounded up: what the page says is nowhere exceeded."""
    result = json.loads(text_of("results/engines-resizing-half-resnet50.json"))
    found = [result["bilinear"], result["bicubic"]]

    def most(name: str, of: str, figure: str = "max", digits: int = 4) -> str:
        return f"{math.ceil(max(one[name][of][figure] for one in found) * 10**digits) / 10**digits:.{digits}f}"

    exact, whole, rough = ["onnx float32", "openvino float32", "torch float32"], "whole pictures", "openvino bfloat16"
    bounds = [most(name, whole) for name in exact]
    bounds += [max(most(name, whole, "95 % within") for name in exact)]
    bounds += [max(most(name, "views", digits=6) for name in exact[:2])]
    bounds += [most(rough, whole, digits=3), most(rough, "views", digits=3)]
    assert re.findall(r"0\.\d+", text_of(page).partition("224 px")[2].partition("parity.json")[0]) == bounds
    assert all(one["same"] == 1 for each in found for one in each.values())


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    each = result.get("runs") or [result]
    environments = [run.get("environment") or result["environment"] for run in each]
    assert result["command"]
    for environment in environments:
        assert {"date", "torch", "processor", "cores"} <= environment.keys()
    for run in result.get("runs", []):
        assert "seed" in run
        assert {"test_accuracy", "validation_accuracy", "accuracy", "test_error", "mean_average_precision"} & run.keys()


@pytest.mark.parametrize("name", ["fast-trials.json", "fast-95-trials.json"])
def test_the_logs_trials_of_recipe_fast_are_those_of_the_files(name: str) -> None:
    trials = json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))["runs"]
    rows = [f"| {run['changed']} | {100 * run['accuracy']:.2f} % | {run['cross_entropy']:.4f} |" for run in trials]
    assert "| changed | accuracy | cross-entropy |\n|---|---|---|\n" + "\n".join(rows) in text_of("docs/log.md")


# --- the two languages --------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    """Commands and code without their comments: those are translated."""
    found = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [re.split(r"\s{3,}|\s+#", line)[0] for block in found for line in block.splitlines()]


def parts(text: str) -> dict[str, object]:
    """What a page and its translation have in common."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return {
        "headings": [len(line.split(" ")[0]) for line in prose.splitlines() if line.startswith("#")],
        "code": blocks(text),
        "places": sorted(set(re.findall(r"`([a-z_]+/?[a-z_]*\.?(?:py)?)`", prose))),
        "figures": sorted(re.findall(r"\d+\.\d\d", prose)),
        "lists": prose.count("\n- "),
        "rows": prose.count("\n| "),
        "made": re.findall(r"<!-- made: .*? -->", text),
    }


def test_every_page_is_there_in_both_languages() -> None:
    assert {chinese for _, chinese in TRANSLATED[1:]} == {page for page in PAGES if page.startswith("docs/zh/")}


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED)
def test_the_translation_has_the_same_parts_code_and_figures(english: str, chinese: str) -> None:
    ours, theirs = parts(text_of(english)), parts(text_of(chinese))
    if "claims" in english:  # whole numbers may be words in one of the languages: tests/test_claims_page.py
        ours["figures"] = theirs["figures"]
    for name, found in ours.items():
        assert theirs[name] == found, name


OTHER_WORDS = re.compile(
    "训练文件夹|捷径|支路|平面网络|残差单元|分类层|分类头|激活检查点|梯度检查点|剪枝|病变|互不相干|唯一的回路"
)
"""Chinese for a term that docs/zh/terms.md says otherwise."""


def test_the_chinese_pages_keep_to_the_list_of_terms() -> None:
    tables = [text_of(page).split("|\n", 2)[2].splitlines() for page in ("docs/terms.md", "docs/zh/terms.md")]
    english, explained = ([line.split("|")[1:4] for line in table if line.startswith("|")] for table in tables)
    assert [row[:2] for row in english] == [row[:2] for row in explained]
    assert all(re.search("[\u4e00-\u9fff]", row[2]) or "h(x) = x" in row[2] for row in explained)
    said = {row[0].strip(): row[1].strip() for row in english}
    words = json.loads((ROOT / "src/residuum/chinese.json").read_text(encoding="utf-8"))
    assert {one: said[one] for one in get_args(Answer)} == {one: words[one] for one in get_args(Answer)}
    package = ROOT / "src/residuum"
    shown = [*package.rglob("*.json"), *package.rglob("*.toml"), *(package / "studies").glob("*.py")]
    for page in ["README.zh.md", *(chinese for _, chinese in TRANSLATED[1:]), *map(str, shown)]:
        assert not OTHER_WORDS.findall(text_of(page)), page


# --- what is shown exists -----------------------------------------------------------------------


def shown(page: str) -> list[list[str]]:
    """The words of every residuum command in a page's blocks."""
    lines = [line.strip() for line in blocks(text_of(page))]
    return [shlex.split(line)[1:] for line in lines if line.startswith("residuum ")]


COMMANDS = sorted({tuple(words) for page in [*READMES, *PAGES, "CONTRIBUTING.md"] for words in shown(page)})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shown_can_be_given(words: tuple[str, ...]) -> None:
    """Those for any verb, --config with its file among them, are tried by tests/test_cli.py."""
    for_any = {words.index("--config"), words.index("--config") + 1} if "--config" in words else set[int]()
    apart = {"--print-config", "--install-completion", "--help"}
    given = tuple(word for i, word in enumerate(words) if i not in for_any and word not in apart)
    assert not given or given == ("VERB",) or _settings_of(given)


def test_enough_commands_are_shown() -> None:
    names = {"data " + words[1] if words[0] == "data" else words[0] for words in COMMANDS}
    assert len(names) >= 20


# English only are decisions, log and odd inputs, which speak of flags that are gone, and of other programs'
@pytest.mark.parametrize("page", [page for page in (*READMES, *PAGES) if page not in ENGLISH_ONLY])
def test_every_flag_named_exists(page: str) -> None:
    prose = re.sub(
        r"^(?:pip|python3?|docker|make|curl|torchrun|sbatch|srun|ray|git) .*$", "", text_of(page), flags=re.MULTILINE
    )
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", prose))
    others = {"--max-restarts"}  # torchrun's
    apart = {"--help", "--config", "--print-config", "--install-completion", "--version", "--debug"}
    assert flags <= known_flags() | apart | others


@functools.cache
def known_flags() -> set[str]:
    commands = [functools.reduce(lambda command, word: command[word], verb.name.split(), app) for verb in VERBS]
    return {name for one in commands for argument in one.assemble_argument_collection() for name in argument.names}


@pytest.mark.parametrize("page", [*READMES, *PAGES])
def test_a_page_whose_commands_want_a_picture_says_what_stands_there(page: str) -> None:
    fenced = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    if "PICTURE" in "".join(fenced.findall(text_of(page))):
        assert "PICTURE" in fenced.sub("", text_of(page))


@pytest.mark.parametrize("page", [*READMES, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", *PAGES])
def test_links_and_named_files_exist(page: str) -> None:
    text = text_of(page)
    for target in re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"src(?:set)?=\"([^\":]+)\"", text):
        assert ((ROOT / page).parent / target).exists(), target
    for target in re.findall(r"`((?:src|tests|docs|benchmarks|results)/[\w./-]+\.\w+)`", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", ["docs/how-to/install.md", "docs/zh/how-to/install.md"])
def test_every_extra_is_in_the_table(page: str) -> None:
    rows = re.findall(r"^\| (`[a-z`、, ]+`) \|", text_of(page), re.MULTILINE)
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert {name for row in rows for name in re.findall("`([a-z]+)`", row)} == set(extras)


PROMISES = ("docs/promises.md", "docs/zh/promises.md")


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
