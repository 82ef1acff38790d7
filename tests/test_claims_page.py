"""docs/claims.md and its translation: in step with results/studies/, and with each other."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from made_up_studies import eight_series, leave, long_labels, maps
from msgspec.structs import replace

from residuum.records.codec import from_json, read_record
from residuum.records.study import StudyRecord, Words

ROOT = Path(__file__).parent.parent
PAGES = ("claims.md", "zh/claims.md")
RESULTS = sorted((ROOT / "results" / "studies").glob("*.json"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("claims_page", ROOT / "benchmarks" / "claims_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(page: str) -> list[list[str]]:
    """Return the table's rows without the head."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


# --- the pages as they lie there ----------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_script_writes(script: ModuleType, name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert script.page(name, script.read_results()) == text, "run: python benchmarks/claims_page.py"
    assert len(rows(text)) == len(RESULTS)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "docs" / name).parent.joinpath(target).exists(), target


def test_the_translation_has_the_same_figures() -> None:
    def figures(name: str) -> list[list[str]]:
        """Numbers with a point in each row: whole ones may be words in one of the languages."""
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        return [sorted(re.findall(r"\d+\.\d+", " ".join([row[2], *row[4:]]))) for row in rows(text)]

    assert figures("claims.md") == figures("zh/claims.md")


def test_older_results_are_repeated_in_their_own_order(script: ModuleType) -> None:
    result = read_record(ROOT / "results" / "studies" / "degradation.json", StudyRecord)
    today = replace(result, environment=replace(result.environment, date="2026-11-28T00:00:00+00:00"))
    assert f"{result.command} --shuffle as-0.1\n" in script.page("claims.md", [result])
    assert "--shuffle" not in script.page("claims.md", [today])


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_every_result_says_where_it_comes_from(path: Path) -> None:
    result = read_record(path, StudyRecord)
    assert result.kind == "study"
    assert result.name + ("" if result.scale == "quick" else "-full") == path.stem
    assert result.command.startswith(f"residuum study {result.name} ")
    assert min(len(getattr(result.environment, one)) for one in ("date", "torch", "processor")) > 2
    assert result.environment.cores > 0


# --- what the script makes of results -----------------------------------------------------------


@pytest.fixture
def three() -> list[StudyRecord]:
    trained = {"runs": {"resnet20-s0": 60.0, "resnet20-s1": 30.0}}
    contents = [
        eight_series() | trained,
        maps(None),
        long_labels() | {"scale": "full", "seconds": 7260.0},
    ]
    return [from_json(content, StudyRecord, "made up") for content in contents]


@pytest.mark.parametrize(
    ("name", "verdicts", "counts"),
    [
        (
            "claims.md",
            ("contradicted", "supported", "undecided"),
            "1 supported, 1 contradicted, 1 undecided.",
        ),
        ("zh/claims.md", ("与论断相反", "支持", "尚不能判断"), "1 项支持，1 项与论断相反，1 项尚不能判断。"),
    ],
)
def test_each_result_has_its_row(
    script: ModuleType, three: list[StudyRecord], name: str, verdicts: tuple[str, ...], counts: str
) -> None:
    language = "zh" if "zh" in name else "en"
    page = script.page(name, three)
    assert counts in page
    found = rows(page)
    assert [row[3].partition("**" + ("：" if language == "zh" else ": "))[0] for row in found] == [
        f"**{verdict}" for verdict in verdicts
    ]
    for row, result in zip(found, three, strict=True):
        for cell, texts in zip(row, ("question", "claim", "measured"), strict=False):
            assert getattr(getattr(result, texts), language).strip() in cell
        assert result.source in row[1]
        assert result.command in page
    assert [row[4:] for row in found] == [
        ["quick", "3", "1.5", "3.4"],
        ["quick", "3", "0.0", "3.4"],
        ["full", "3", "0.0", "121"],
    ]
    assert three[0].environment.torch in page


@pytest.mark.parametrize("name", PAGES)
def test_a_verdict_names_the_parts_that_decided(script: ModuleType, three: list[StudyRecord], name: str) -> None:
    page = script.page(name, three)
    holds = {True: ("holds", "成立"), False: ("fails", "不成立"), None: ("the figures do not say", "数据说明不了")}
    for row, result in zip(rows(page), three, strict=True):
        assert result.verdict is not None
        parts = result.verdict.parts
        if all(part.holds for part in parts):
            assert str(len(parts)) in row[3]
        else:
            assert [one.rpartition("–" if "–" in one else "——")[2].strip() for one in re.split("; |；", row[3])] == [
                holds[part.holds]["zh" in name] for part in parts
            ]


@pytest.mark.parametrize("name", PAGES)
def test_a_changed_figure_would_be_noticed(script: ModuleType, three: list[StudyRecord], name: str) -> None:
    before = script.page(name, three)
    measured = three[0].measured
    three[0] = replace(three[0], measured=Words(f"{measured.en} 99.9", f"{measured.zh} 99.9"))
    assert script.page(name, three) != before


@pytest.mark.parametrize("name", PAGES)
def test_a_text_stays_in_its_cell(script: ModuleType, three: list[StudyRecord], name: str) -> None:
    three[0] = replace(three[0], measured=Words("a | b\nc <b>", "a | b\nc <b>"))
    row = rows(script.page(name, three))[0]
    assert len(row) == 8
    assert row[2] == "a \\| b c &lt;b>"


@pytest.mark.parametrize(("name", "said"), list(zip(PAGES, ("no results yet", "还没有结果"), strict=True)))
def test_without_results_the_page_says_so(script: ModuleType, tmp_path: Path, name: str, said: str) -> None:
    assert script.read_results(tmp_path / "none") == []
    page = script.page(name, [])
    assert said in page
    assert rows(page) == []


def test_only_whole_studies_of_their_own_nets_are_taken(script: ModuleType, tmp_path: Path) -> None:
    source, results = tmp_path / "studies", tmp_path / "results"
    leave(source / "degradation", eight_series())
    leave(source / "degradation-full", eight_series() | {"scale": "full"})
    leave(source / "degradation-tiny", eight_series() | {"scale": "tiny"})
    leave(source / "loss-surface-mine", maps())  # of a given model
    leave(source / "deep" / "down", long_labels())
    leave(source / "degradation-digits", eight_series() | {"command": "residuum study degradation --data digits"})
    leave(source / "degradation-1-seed", eight_series() | {"seeds": [0]})
    copies = script.take(source, results)
    assert [copy.name for copy in copies] == ["degradation.json", "degradation-full.json"]
    assert copies[0].read_bytes() == (source / "degradation" / "study.json").read_bytes()
    assert [one.scale for one in script.read_results(results)] == ["quick", "full"]
    script.take(source, results)
    assert len(list(results.iterdir())) == 2
