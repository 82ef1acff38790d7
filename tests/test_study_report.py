"""The pages about studies: what they hold, that texts stay texts, and that nothing is loaded."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from conftest import Browse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_studies import LONG, STUDIES, Json, eight_series, leave, long_labels, maps
from msgspec.structs import replace
from page_reading import Page, in_browser, leaves
from study_words import NAMES, left_in_english
from test_chinese import left_in_english as english_on

from residuum import verbs
from residuum.errors import UserError
from residuum.records.codec import read_record
from residuum.records.study import ONLY_TINY, Compared, Line, Lines, Part, StudyRecord, Verdict
from residuum.records.study import Quantity as StudyQuantity
from residuum.reporting.charts import Series, XAxis, YAxis, curves
from residuum.reporting.page import write_report
from residuum.reporting.study_charts import picture
from residuum.reporting.study_chinese import in_chinese
from residuum.reporting.study_drawable import MOST_CELLS
from residuum.reporting.study_limits import with_limits
from residuum.reporting.study_page import write_study_index, write_study_pages, write_study_report
from residuum.reporting.study_wording import quantity_words, values_words
from residuum.settings import StudySettings
from residuum.studies.frame import quantity

STORED = sorted((Path(__file__).parent.parent / "results" / "studies").glob("*.json"))
HOSTILE = "<script>alert('x')</script>\"&\u202e"


def page(folder: Path, content: Json) -> Page:
    return Page(write_study_report(leave(folder, content)).read_text(encoding="utf-8"))


def drawings(found: Page) -> list[ElementTree.Element]:
    """Return the charts, without the legends' swatches."""
    texts = re.findall(r'<svg class="chart".*?</svg>', found.html, re.DOTALL)
    return [ElementTree.fromstring(text) for text in texts]


def of_class(drawing: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [part for part in drawing.iter() if name in part.attrib.get("class", "").split()]


@pytest.fixture(scope="module", params=STUDIES)
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp(request.param), STUDIES[request.param]())


# --- one file that loads nothing, for everyone --------------------------------------------------


def test_it_is_written_into_the_folder(tmp_path: Path) -> None:
    leave(tmp_path, eight_series())
    assert write_study_report(tmp_path) == tmp_path / "report.html"
    first = (tmp_path / "report.html").read_bytes()
    other = write_report([tmp_path], tmp_path / "again.html")  # the verb `report` knows such folders too
    assert other.read_bytes() == first


@pytest.mark.parametrize("name", ["degradation", "shortcut-options", "loss-surface"])
def test_the_command_prints_the_answer_and_the_words_of_the_record(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = STUDIES[name]()
    folder = leave(tmp_path, content)
    verbs.study.show(StudySettings(), [{**content, "folder": str(folder)}], False)
    printed = " ".join(capsys.readouterr().out.split())
    examined = content["examined"]
    answer = f"what was found in {examined}," if examined else f"{content['verdict']['answer']} at scale quick"
    assert printed.startswith(f"{content['name']} {answer}")
    for words in (content["measured"]["en"], content["pictures"] or "", str(folder / "report.html")):
        assert " ".join(words.split()) in printed
    assert ("Holds: " in printed) == (examined is None)


def test_nothing_is_loaded_and_only_our_script_runs(each: Page) -> None:
    each.assert_closed()


def test_it_can_be_used_without_seeing_it(each: Page) -> None:
    each.assert_usable_without_sight()


def test_every_drawing_is_well_formed_and_within_its_box(each: Page) -> None:
    each.assert_drawn_well(drawings=3, numbers=0)
    found = drawings(each)
    assert len(found) >= 3
    for drawing in found:
        width, height = map(float, drawing.attrib["viewBox"].split()[2:])
        for part in drawing.iter():
            for key in ("x", "x1", "x2", "cx", "width"):
                assert -0.1 <= float(part.attrib.get(key, 0)) <= width + 0.1
            for key in ("y", "y1", "y2", "cy", "height"):
                assert -0.1 <= float(part.attrib.get(key, 0)) <= height + 0.1
        assert "nan" not in ElementTree.tostring(drawing, "unicode")


# --- what the page says -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "answer"),
    [("degradation", "✗ contradicted"), ("shortcut-options", "? undecided"), ("loss-surface", None)],
)
def test_the_verdict_is_a_word_a_sign_and_a_sentence(tmp_path: Path, name: str, answer: str | None) -> None:
    content = STUDIES[name]()
    found = page(tmp_path, content)
    assert answer is None or answer in found.plain
    for words in (content["measured"]["en"].strip(), content["question"]["en"], content["claim"]["en"]):
        assert words in found.plain
    assert ("at scale quick" in found.plain) == (answer is not None)
    for words in (content["source"], content["predicate"], content["command"]):
        assert words in found.plain
    assert "3 min 23 s" in found.plain
    assert ("3 seeds" in found.plain) == (content["examined"] is None)


def test_of_one_given_net_the_page_says_what_was_found_and_seals_nothing(tmp_path: Path) -> None:
    verdict = {"answer": "supported", "parts": [{"words": "a part of the claim", "holds": True}]}
    older = {**maps(), "verdict": verdict, "seeds": [0, 1, 2], "pictures": ""}  # as it was written before
    for content in (maps(), older):
        found = page(tmp_path / "given", content)
        assert "What was found in resnet20-digits" in found.plain
        assert not re.search("✓|✗|a part of the claim|seeds 0|3 seeds", found.plain)
        assert "Not one net: " in found.plain
        assert ["model", "resnet20-digits"] in found.rows(2)
        assert not [row for row in found.rows(2) if row[0] in {"seeds", "nets trained"}]
        assert ["of each", "2.333 ± 1.53", "", "3 blocks", "1, 2, 4"] in found.rows(5)
        write_study_index(tmp_path)
        index = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
        assert [row[4:] for row in index.rows(8)[1:]] == [["– one net", content["pictures"] or "–", "quick", "–"]]
    given = page(tmp_path / "given", maps()).plain
    assert "one net on 145 validation pictures of digits" in given
    assert "at scale" not in given  # nothing was trained


def test_the_page_of_one_seed_says_that_it_has_no_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = eight_series() | {"seeds": [0]}
    content["verdict"] = {"answer": "undecided", "parts": [{"words": "deeper is worse", "holds": None}]}
    said = "One seed has no spread, so nothing is decided of these: deeper is worse"
    assert said in page(tmp_path / "one", content).plain
    write_study_index(tmp_path)
    assert said in Page((tmp_path / "index.html").read_text(encoding="utf-8")).plain
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert "只有一个种子，没有离散度，以下都无从判定：" in page(tmp_path / "one", content).plain


def test_every_part_says_whether_it_holds(tmp_path: Path) -> None:
    content = eight_series()
    content["verdict"]["parts"].append({"words": "a third part", "holds": None})
    rows = page(tmp_path, content).rows(2)
    said = {row[1]: row[0] for row in rows}
    words = {True: "✓ yes", False: "✗ no", None: "? figures do not say"}
    for part in content["verdict"]["parts"]:
        assert said[part["words"].replace(" not above ", " at most ")] == words[part["holds"]]


@pytest.mark.parametrize("name", STUDIES)
def test_the_table_holds_every_quantity_with_every_value(tmp_path: Path, name: str) -> None:
    content = STUDIES[name]()
    rows = [row for row in page(tmp_path, content).rows(5) if row[0] != "quantity"]
    quantities = {one["label"]: one for one in content["quantities"].values()}
    assert [row[0] for row in rows] == list(quantities)  # one under two names is there once
    for label, mean, unit, count, values in rows:
        one = quantities[label]
        assert unit == one["unit"]
        assert count == (f"{len(one['values'])}" if one["of"] == "seed" else f"{len(one['values'])} {one['of']}s")
        alone = len(one["values"]) == 1
        if alone:
            assert values == mean, "what is one figure is written in one way"
        assert [float(value.replace(",", "")) for value in values.split(", " if not alone else "; ")] == pytest.approx(
            one["values"], rel=1e-3 if alone else 1e-5
        )
        figures = [float(part.replace(",", "")) for part in mean.split(" ± ")]
        assert figures[0] == pytest.approx(fmean(one["values"]), rel=1e-3)
        assert figures[1:] == ([] if one["exact"] else pytest.approx([stdev(one["values"])], rel=1e-2))


def test_tables_notes_settings_and_environment_are_there(tmp_path: Path) -> None:
    content = eight_series()
    found = page(tmp_path, content)
    for row in (content["tables"][0]["heads"], *content["tables"][0]["rows"]):
        assert list(row) in found.rows(2)
    assert content["notes"][0] in found.plain
    assert ["net.width", "16"] in found.rows(2)
    assert ["torch", content["environment"]["torch"]] in found.rows(2)
    assert ["seeds", "0, 1, 2"] in found.rows(2)


# --- charts -------------------------------------------------------------------------------------


def test_every_series_and_every_seed_is_drawn(tmp_path: Path) -> None:
    found = page(tmp_path, eight_series())
    for drawing, lines, seeds in zip(drawings(found), (2, 8, 2, 1), (6, 24, 0, 0), strict=False):
        paths = of_class(drawing, "curve")
        faint = [one for one in paths if "faint" in one.attrib["class"]]
        assert (len(paths) - len(faint), len(faint)) == (lines, seeds)
        looks = [one.attrib["class"] for one in paths if one not in faint]
        assert len(set(looks)) == len(looks)
    assert found.html.count('class="swatch"') == 2 + 8 + 2


def test_the_axis_of_depths_has_the_depths(tmp_path: Path) -> None:
    first, _, gradient, share, _ = drawings(page(tmp_path, eight_series()))
    words = [part.text for part in of_class(first, "tick")]
    assert {"20", "32", "44", "56"} <= set(words)
    assert "0" not in words  # neither axis begins there: all lies far from it
    assert "norm of the gradient (logarithmic)" in [part.text for part in of_class(gradient, "title")]
    assert "90\u00a0%" in [part.text for part in of_class(share, "tick")]


def test_a_logarithmic_axis_is_even_in_powers() -> None:
    series = Series("a", [(x, 10.0**-x) for x in range(4)], 0)
    drawn = curves([series], YAxis("q", logarithmic=True), x=XAxis("x", str))
    path = re.search(r'd="([^"]+)" class="curve', drawn)
    assert path is not None
    heights = [float(point.split()[1]) for point in re.split("[ML]", path[1])[1:]]
    steps = [b - a for a, b in pairwise(heights)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.11)


def test_what_has_no_place_on_a_logarithmic_axis_is_a_gap_and_said(tmp_path: Path) -> None:
    content = eight_series()
    content["charts"] = [content["charts"][2]]
    content["charts"][0]["lines"][0]["points"][5][1] = 0.0
    found = page(tmp_path, content)
    assert "Values of 0 or below have no place on a logarithmic axis." in found.plain
    (drawing,) = drawings(found)
    assert [one.attrib["d"].count("M") for one in of_class(drawing, "curve")] == [2, 1]


def test_every_bar_is_drawn_with_its_values(tmp_path: Path) -> None:
    content = long_labels()
    found = page(tmp_path, content)
    long, signed, _ = drawings(found)
    bars = content["charts"][0]["bars"]
    drawn = of_class(long, "mean")
    assert len(drawn) == 16
    widths = [float(one.attrib["width"]) for one in drawn]
    means = [fmean(bar["values"]) for bar in bars]
    assert widths == pytest.approx([widths[0] * mean / means[0] for mean in means], abs=0.2)
    assert len(of_class(long, "dot")) == 16 * 3
    for bar in bars:
        assert str(quantity(bar["label"], bar["values"])) in found.plain
        assert f"\u2068{bar['label']}\u2069" in found.html  # whole on hover, where it is cut
    zero = float(of_class(signed, "axis")[0].attrib["x1"])
    for rect, bar in zip(of_class(signed, "mean"), content["charts"][1]["bars"], strict=True):
        left, width = float(rect.attrib["x"]), float(rect.attrib["width"])
        assert (left if bar["values"][0] > 0 else left + width) == pytest.approx(zero, abs=0.2)


def cells(drawing: ElementTree.Element) -> dict[tuple[float, float], str]:
    """Return the class of each box of the field, by its upper left corner."""
    found = {}
    for path in of_class(drawing, "field"):
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h", path.attrib.get("d", "")):
            found[float(x), float(y)] = path.attrib["class"]
    return found


def test_a_field_has_a_colour_for_every_value(tmp_path: Path) -> None:
    content = maps()
    surface, mask, blocks, gaps = drawings(page(tmp_path, content))
    for drawing in (surface, mask, blocks, gaps):
        boxes = [part for part in of_class(drawing, "field") if part.tag == "path"]
        assert all(re.fullmatch(r"field r\d+", part.attrib["class"]) for part in boxes)
    assert len({part.attrib["class"] for part in of_class(surface, "field")}) == 16
    assert len({part.attrib["class"] for part in of_class(mask, "field")}) == 4
    key = [part.text for part in of_class(mask, "tick")]
    assert {"0", "1", "2", "3"} <= set(key)
    area = sum(
        float(w) * float(h)
        for path in of_class(gaps, "field")
        for w, h in re.findall(r"h([\d.]+)v([\d.]+)h-", path.attrib.get("d", ""))
    )
    rows = content["charts"][3]["rows"]
    finite = sum(not math.isnan(value) for row in rows for value in row)
    assert area == pytest.approx(270 * 270 * finite / 144, rel=0.01)


def test_the_first_row_is_at_the_top(tmp_path: Path) -> None:
    content = maps()
    content["charts"] = [content["charts"][1] | {"rows": [[0.0, 1.0], [2.0, 3.0]]}]
    (drawing,) = drawings(page(tmp_path, content))
    placed = sorted(cells(drawing).items(), key=lambda one: (one[0][1], one[0][0]))
    assert [name for _, name in placed] == ["field r0", "field r5", "field r10", "field r15"]


def test_fields_read_alike_share_their_colours(tmp_path: Path) -> None:
    content = maps()
    mask = content["charts"][1]
    whole, part = mask | {"rows": [[0.0, 1.0], [2.0, 8.0]]}, mask | {"rows": [[2.0, 2.0], [8.0, 8.0]]}
    content["charts"] = [whole, part, part | {"reading": "something else"}]
    _, same, other = drawings(page(tmp_path, content))
    assert sorted(set(cells(same).values())) == ["field r10", "field r15"]
    assert sorted(set(cells(other).values())) == ["field r0", "field r15"]


def test_large_fields_stay_small_files(tmp_path: Path) -> None:
    content = maps()
    rows = [[math.sin(7.3 * i * j) for i in range(64)] for j in range(64)]
    content["charts"] = [content["charts"][0] | {"rows": rows}]
    assert len(page(tmp_path, content).html) < 250_000
    content["charts"][0]["rows"] = [[float(i * j) for i in range(1000)] for j in range(1000)]
    found = page(tmp_path, content)
    assert len(found.html) < 600_000
    assert f"{1000 // math.ceil(1000 / MOST_CELLS)} rows" in found.html


# --- texts are texts, damage is refused ---------------------------------------------------------

OF_THE_FORMAT = {"study", "lines", "bars", "map", "quick", "supported", "contradicted", "undecided"}
OF_THE_FORMAT |= {"above", "below", "not above"}


def test_hostile_texts_are_shown_as_text(tmp_path: Path) -> None:
    def spoil(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: spoil(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [spoil(value) for value in tree]
        return HOSTILE if isinstance(tree, str) and tree not in OF_THE_FORMAT else tree

    for name, make in STUDIES.items():
        content = spoil(json.loads(json.dumps(make())))
        content["settings"] = {HOSTILE: HOSTILE}
        found = page(tmp_path / name, content)
        assert found.plain.count(HOSTILE.replace("\u202e", "")) >= 10
        found.assert_no_script_slipped_in()
    write_study_index(tmp_path)
    assert len(Page((tmp_path / "index.html").read_text(encoding="utf-8")).all("script")) == 1


def test_half_characters_are_replaced(tmp_path: Path) -> None:
    text = json.dumps(eight_series()).replace("At 16 px", "At \\udcff px")
    (tmp_path / "study.json").write_text(text)
    assert "At \ufffd px" in Page(write_study_report(tmp_path).read_text(encoding="utf-8")).plain


BAD = [None, math.nan, math.inf, -1, 0, 10**9, 1e300, -1e99, 1e-320, 10**400, "x", [], {}, True, [[math.nan]]]
WHOLE = {name: json.loads(json.dumps(make())) for name, make in STUDIES.items()}
WAYS = {name: [way for way in leaves(content) if way and way != ("kind",)] for name, content in WHOLE.items()}


@pytest.mark.parametrize("name", STUDIES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_one_clear_error_or_a_right_page(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = json.loads(json.dumps(WHOLE[name]))
    # Short ways are few among thousands of points: they are damaged as often.
    size = data.draw(st.integers(1, max(map(len, WAYS[name]))))
    near = [way for way in WAYS[name] if len(way) == size]
    for *way, last in data.draw(st.lists(st.sampled_from(near), min_size=1, max_size=3)):
        place: Any = content
        try:
            for key in way:
                place = place[key]
            place[last] = data.draw(st.sampled_from(BAD))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier damage took this place away
    folder = leave(tmp_path / "study", content)
    write_study_index(tmp_path)
    index = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    try:
        found = Page(write_study_report(folder).read_text(encoding="utf-8"))
    except UserError as error:
        assert_says_what_is_wrong(error, folder)
        assert "study.json cannot be read" in index.plain
        return
    assert "cannot be read" not in index.plain
    assert not re.search(r"\b(nan|inf)\b", found.plain, re.IGNORECASE)
    for key in ("d", "x", "y", "x1", "y1", "cx", "width", "height", "data-v", "transform"):
        assert not [value for value in found.values(key) if re.search("nan|inf", value)]


def assert_says_what_is_wrong(error: UserError, folder: Path) -> None:
    assert str(folder / "study.json") in error.what
    assert re.search(r"at `\$|missing required field|unknown field", error.why)
    assert "written by residuum 0.1.0" in error.why


FIELDS = [name for name in WHOLE["degradation"] if name not in {"kind", "pictures", "nets"}]  # two have defaults


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_missing_or_of_another_type_is_refused(tmp_path: Path, name: str) -> None:
    whole = WHOLE["degradation"]
    for damaged in (
        {key: whole[key] for key in whole if key != name},
        whole | {name: object_like(whole[name])},
    ):
        with pytest.raises(UserError) as error:
            write_study_report(leave(tmp_path, damaged))
        assert_says_what_is_wrong(error.value, tmp_path)
        assert name in error.value.why
        assert not (tmp_path / "report.html").exists()


def object_like(value: Any) -> Any:
    """Return something of another type."""
    return [1] if isinstance(value, dict | str | float) or value is None else {}


@pytest.mark.parametrize(
    ("way", "value", "why"),
    [
        (("verdict", "answer"), "perhaps", "Invalid enum value"),
        (("verdict", "parts", 0, "holds"), "yes", "Expected `bool | null`"),
        (("quantities", "plain20-train", "values", 1), "12", "Expected `float`"),
        (("quantities", "plain20-train", "mean"), None, "Expected `float`"),
        (("charts", 0, "kind"), "pie", "Invalid value"),
        (("charts", 0, "lines", 0, "points", 0), [1.0], "length 2"),
        (("charts", 4, "bars", 0, "values"), None, "Expected `array`"),
        (("tables", 0, "rows", 1), ["one cell"], "row 1 has 1 cells, not 2"),
        (("seconds",), -1.0, ">= 0"),
        (("scale",), "huge", "Invalid enum value"),
        (("colour",), "red", "unknown field `colour`"),
        (("measured", "fr"), "bon", "unknown field `fr`"),
    ],
)
def test_damage_in_any_part_is_named(tmp_path: Path, way: tuple[Any, ...], value: Any, why: str) -> None:
    content = json.loads(json.dumps(WHOLE["degradation"]))
    place = content
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = value
    with pytest.raises(UserError, match=re.escape(why)) as error:
        write_study_report(leave(tmp_path, content))
    assert_says_what_is_wrong(error.value, tmp_path)
    content["residuum_version"] = "9.9"
    with pytest.raises(UserError, match=r"written by residuum 9\.9"):
        write_study_report(leave(tmp_path, content))


def test_a_field_of_uneven_rows_is_refused(tmp_path: Path) -> None:
    content = json.loads(json.dumps(WHOLE["loss-surface"]))
    content["charts"][0]["rows"][3] = [1.0]
    with pytest.raises(UserError, match="row 3 has 1 cells, not 48"):
        write_study_report(leave(tmp_path, content))


def test_figures_that_are_not_numbers_are_gaps(tmp_path: Path) -> None:
    content = eight_series()
    first = content["quantities"]["plain20-train"]
    first |= {"values": [math.nan, 1.0, math.inf], "mean": math.nan, "sd": math.nan}
    content["charts"] = [content["charts"][1], content["charts"][4]]
    content["charts"][0]["lines"][0]["points"] = [(1, 2.0), (2, math.nan), (3, 4.0), (4, 4.0)]
    content["charts"][1]["bars"][0]["values"] = [math.nan]
    found = page(tmp_path, content)
    assert ["training error, plain20", "–", "%", "3", "–, 1, –"] in found.rows(5)
    curve, bars = drawings(found)
    means = [one for one in of_class(curve, "curve") if "faint" not in one.attrib["class"]]
    assert means[0].attrib["d"].count("M") == 2
    assert len(of_class(bars, "mean")) == 7
    assert "no figure" in found.plain


def test_a_study_without_figures_says_so(tmp_path: Path) -> None:
    nothing = {"quantities": {}, "charts": [], "tables": [], "notes": [], "runs": {}}
    found = page(tmp_path, WHOLE["degradation"] | nothing)
    for words in ("No charts", "No table"):
        assert words in found.plain
    axes = {"title": "", "x": "", "y": ""}
    charts = [
        axes | {"kind": "lines", "lines": []},
        {"kind": "bars", "title": "", "y": "", "bars": []},
        axes | {"kind": "map", "rows": [], "x_range": [0, 1], "y_range": [0, 1], "reading": ""},
    ]
    table = {"title": "", "heads": [], "rows": []}
    found = page(tmp_path, WHOLE["degradation"] | nothing | {"charts": charts, "tables": [table]})
    assert found.plain.count("No figures to draw.") == 3
    assert "The table is empty." in found.plain


@pytest.mark.parametrize("content", ["[1]", "{}", "null", '{"kind": "lesion"}'])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json is not what residuum .* writes there"):
        write_study_report(tmp_path)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no study\.json"):
        write_study_report(tmp_path)
    for damaged in ("{", "[" * 100_000, '{"seconds": ' + "9" * 5000 + "}", "\x00"):
        (tmp_path / "study.json").write_text(damaged)
        with pytest.raises(UserError, match="is not a JSON file"):
            write_study_report(tmp_path)


@pytest.mark.parametrize(
    ("mean", "sd", "exact", "said"),
    [
        (9.123456, 0.21213, False, "9.123 ± 0.212"),
        (66.0237, 12.341, False, "66.02 ± 12.3"),
        (73.41234, 0.0, False, "73.41 ± 0"),
        (73.41234, None, False, "73.41"),
        (853018.0, 0.0, True, "853,018"),
        (1e20, None, False, "1e+20"),
    ],
)
def test_how_a_quantity_is_written(mean: float, sd: float | None, exact: bool, said: str) -> None:
    one = StudyQuantity("q", (mean,), "", exact, mean, sd, 1)
    assert quantity_words(one) == said == str(one), "in the table as in sentences"


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_figure_is_written_in_the_table_as_in_the_parts_of_the_claim(tmp_path: Path, path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    verdict = with_limits(read_record(path, StudyRecord)).verdict
    assert verdict is not None
    told = [part.words for part in verdict.parts]
    for label, mean, unit, *_ in [row for row in page(tmp_path, content).rows(5) if row[0] != "quantity"]:
        figures = f"{label} ({mean}{' ' if unit else ''}{unit})"
        named = re.compile(rf"(?:^|above |below ){re.escape(label)} \(")
        assert not [words for words in told if named.search(words) and figures not in words]


# --- the table of all studies -------------------------------------------------------------------


@pytest.fixture
def four(with_pages: Path, tmp_path: Path) -> Path:
    """Three studies with pages, and one that is damaged, of each test's own."""
    return shutil.copytree(with_pages, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def with_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    for name, make in STUDIES.items():
        write_study_report(leave(folder / name, make()))
    leave(folder / "half a #name" / "deeper", eight_series())  # not directly below
    write_study_report(leave(folder / "odd #name: %", long_labels()))
    (folder / "torn").mkdir()
    (folder / "torn" / "study.json").write_text("{")
    return folder


def test_the_index_lists_every_study_and_links_to_its_page(four: Path) -> None:
    assert write_study_index(four) == four / "index.html"
    found = Page((four / "index.html").read_text(encoding="utf-8"))
    rows = found.rows(8)[1:]
    assert [row[0] for row in rows] == [
        "degradation",
        "loss-surface",
        "odd #name: %",
        "shortcut-options",
        "torn",
    ]
    links = [href for href in found.values("href") if not href.startswith("#")]
    assert len(links) == 4
    assert all((four / unquote(link)).is_file() and ":" not in link for link in links)
    content = eight_series()
    question, claim, measured = (content[key]["en"] for key in ("question", "claim", "measured"))
    failing = [part["words"] for part in content["verdict"]["parts"] if part["holds"] is False]
    measured += f" Fails: {'; '.join(failing)}".replace(" not above ", " at most ")
    assert rows[0] == ["degradation", question, claim, measured, "✗ contradicted", "–", "quick", "3"]
    assert rows[1][-1] == "–"  # one given model has no seeds
    assert "cannot be read" in rows[-1][1]
    tiles = re.findall(r"</span> ([^<]+)</span></dt>\s*<dd>\s*<b>(\d+)", found.html)
    counts = {"supported": 0, "contradicted": 1, "undecided": 2, "one net": 1, "no verdict": 1}
    assert {answer: int(count) for answer, count in tiles} == counts


def test_each_page_is_there_as_soon_as_its_study_is_done(four: Path) -> None:
    one, other = sorted(path.parent for path in four.glob("*/study.json"))[:2]
    for page in four.glob("*/report.html"):
        page.unlink()

    def studies() -> Iterator[Path]:
        yield one
        assert (one / "report.html").is_file()
        assert (four / "index.html").is_file()
        yield other

    assert write_study_pages(studies(), four) == [one, other]


def test_an_index_of_nothing(tmp_path: Path) -> None:
    write_study_index(tmp_path)
    assert "No study has been run here yet" in Page((tmp_path / "index.html").read_text(encoding="utf-8")).text


# --- in a real browser --------------------------------------------------------------------------


@in_browser
@pytest.mark.parametrize("name", [*STUDIES, "index"])
def test_a_browser_shows_it_without_complaint(four: Path, name: str, browse: Browse) -> None:
    write_study_index(four)
    dom, console = browse(four / "index.html" if name == "index" else four / name / "report.html")
    assert console == []
    assert name == "index" or '<button type="button" data-copy="command">Copy</button>' in dom


def test_long_names_are_whole(tmp_path: Path) -> None:
    long, signed, _ = drawings(page(tmp_path, long_labels()))
    texts = [part.text or "" for part in long.iter() if part.tag.endswith("text")]
    wrapped = " ".join(texts).replace("\u2068", "").replace("\u2069", "")
    assert all(LONG.format(i) in wrapped for i in range(16))
    whole = [part.text or "" for part in signed.iter() if part.tag.endswith("text")]
    assert "\u2068without block 8\u2069" in whole


# --- whiskers -----------------------------------------------------------------------------------


def test_whiskers_are_two_standard_errors_on_a_logarithmic_axis() -> None:
    means, spreads = ((5.0, 50.0), (50.0, 70.0), (500.0, 90.0)), (10.0, 5.0, 0.0)
    seeds = tuple(tuple((x, y + up * by) for (x, y), by in zip(means, spreads, strict=True)) for up in (-1, 0, 1))
    drawn = picture(Lines("it", "pictures", "accuracy", (Line("head", means, seeds),), log_x=True, intervals=True))
    tree = ElementTree.fromstring(drawn.drawing)
    curve = next(part.get("d", "") for part in tree.iter() if part.get("class") == "curve c0 d0")
    (x, y), (x2, y2), (x3, y3) = [tuple(map(float, place.split())) for place in re.split("[ML]", curve)[1:]]
    assert x2 - x == pytest.approx(x3 - x2, abs=0.2)
    for part, at, middle, by in zip(whiskers(tree), (x, x2, x3), (y, y2, y3), spreads, strict=True):
        ends = [float(part.get(name, "")) for name in ("y1", "y2")]
        assert float(part.get("x1", "")) == pytest.approx(at, abs=0.1)
        assert fmean(ends) == pytest.approx(middle, abs=0.1)
        assert abs(ends[0] - ends[1]) == pytest.approx(4 * by / math.sqrt(3) * (y - y2) / 20, abs=0.3)
    assert "two standard errors" in drawn.note
    assert not [part for part in tree.iter() if "faint" in part.get("class", "")]


def whiskers(tree: ElementTree.Element) -> list[ElementTree.Element]:
    return [part for part in tree.iter() if part.get("class") == "whisker c0"]


# --- charts side by side ------------------------------------------------------------------------


def y_ticks(drawing: ElementTree.Element) -> list[str]:
    return [part.text or "" for part in of_class(drawing, "tick") if part.get("text-anchor") == "end"]


def rising(title: str, low: float, high: float, y: str = "error, %") -> Lines:
    return Lines(title, "passes", y, (Line("net", ((1.0, low), (2.0, high))),))


def test_charts_of_one_quantity_share_an_axis_where_each_keeps_a_third_of_it() -> None:
    plain, residual, narrow = rising("plain", 50, 86), rising("residual", 43, 66), rising("narrow", 50, 51)

    def ticks(chart: Lines, *beside: Lines) -> list[str]:
        return y_ticks(ElementTree.fromstring(picture(chart, beside).drawing))

    assert ticks(plain) != ticks(residual)
    assert ticks(plain, residual) == ticks(residual, plain)
    assert ticks(plain, narrow) == ticks(plain)
    assert ticks(plain, rising("loss", 43, 66, "loss, nats")) == ticks(plain)


def test_lines_are_named_at_their_ends_on_both_of_two_charts_or_on_neither() -> None:
    def named(*labels: str) -> Lines:
        return Lines(labels[0], "passes", "error, %", tuple(Line(one, ((1.0, 5.0), (2.0, 4.0))) for one in labels))

    def ends(chart: Lines, *beside: Lines) -> int:
        return str(picture(chart, beside).drawing).count('class="end ')

    short, long = named("plain20, 训练", "plain56, 训练"), named("resnet20, training", "resnet56, training")
    assert ends(short, named("a", "b")) == 2
    assert ends(short, long) == ends(long, short) == 0


def test_single_points_are_no_lines() -> None:
    once = Lines("it", "passes", "error, %", (Line("net", ((1.0, 5.0),), (((1.0, 4.0),), ((1.0, 6.0),))),))
    assert picture(once).note == ""
    assert "faint ones" in picture(lines_with_two_passes()).note


def lines_with_two_passes() -> Lines:
    seeds = (((1.0, 4.0), (2.0, 3.0)), ((1.0, 6.0), (2.0, 5.0)))
    return Lines("it", "passes", "error, %", (Line("net", ((1.0, 5.0), (2.0, 4.0)), seeds),))


# --- in Chinese ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_record_of_any_age_is_said_in_chinese(path: Path) -> None:
    study = read_record(path, StudyRecord)
    told = in_chinese(study)
    assert left_in_english(told) == set()
    assert told.verdict is not None
    assert all(re.search("[高低]于|至多", part.words) for part in told.verdict.parts)
    assert [one.values for one in told.quantities.values()] == [one.values for one in study.quantities.values()]


def test_a_chinese_page_has_no_english_in_its_figures_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    lesions = next(path for path in STORED if path.stem == "lesions")
    found = page(tmp_path, json.loads(lesions.read_text(encoding="utf-8")))
    for drawing in drawings(found):
        texts = [drawing.attrib["aria-label"], *("".join(part.itertext()) for part in drawing.iter() if part.text)]
        assert not [text for text in texts if re.search("[a-z]{4}", NAMES.sub("", text))]
    assert not re.search("error|blocks|points|median", found.plain)
    for words in ("误差，%", "删去的块数", "Kendall τ", "删去 resnet56 的一个块（中位数）使误差上升"):
        assert words in found.html


def test_the_table_of_all_studies_has_nothing_left_in_english(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    for path in STORED:
        (tmp_path / path.stem).mkdir()
        (tmp_path / path.stem / "study.json").write_bytes(path.read_bytes())
    assert english_on(write_study_index(tmp_path).read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "training error, plain56 (7 %) above training error, plain20 (5 %)",
            "plain56 的训练误差（7 %）高于 plain20（5 %）",
        ),
        (
            "training error, resnet56 (7 %) not above training error, resnet20 (5 %)",
            "resnet56 的训练误差（7 %）至多与 resnet20（5 %）相同",
        ),
        (
            "test error, resnet20 (4 %) not above test error, resnet20, dropout 0.3 (5 %) by more than 0.5",
            "resnet20 的测试误差（4 %）至多比 resnet20，随机失活 0.3（5 %）高 0.5",
        ),
        (
            "test error, scaled 0.5, F 0.5 (7 %) above test error, identity (5 %)",
            "乘 0.5、F 乘 0.5 的测试误差（7 %）高于恒等映射（5 %）",
        ),
        (
            "late training loss, original, 1001 (2) above late training loss, preactivation, 1001 (1)",
            "1001 层，原始顺序的训练后期的训练损失（2）高于预激活（1）",
        ),
        ("change of error, six nets (-3 points) below 0", "六个网络，误差的变化（-3 个百分点）低于 0"),
    ],
)
def test_a_part_of_a_claim_says_once_what_both_sides_share(part: str, said: str) -> None:
    study = read_record(STORED[0], StudyRecord)
    told = in_chinese(replace(study, verdict=Verdict("contradicted", (Part(part, False),))))
    assert told.verdict is not None
    assert told.verdict.telling == (said,)


def test_a_part_is_said_in_both_languages_from_what_it_compares() -> None:
    compared = Compared("training error, plain56", "9 %", "not above", "training error, plain20", "5 %", by="0.5")
    part = Part("words that nobody reads", False, compared)
    study = replace(read_record(STORED[0], StudyRecord), verdict=Verdict("contradicted", (part,)))
    assert part.said == "training error, plain56 (9 %) at most 0.5 above training error, plain20 (5 %)"
    told = in_chinese(study).verdict
    assert told is not None
    assert told.telling == ("plain56 的训练误差（9 %）至多比 plain20（5 %）高 0.5",)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_parts_that_a_file_has_in_words_alone_are_read_whole(path: Path) -> None:
    verdict = read_record(path, StudyRecord).verdict
    assert verdict is not None
    assert [str(part.compared) for part in verdict.parts] == [part.words for part in verdict.parts]


def test_a_study_of_somebody_elses_words_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    content = eight_series()
    content["charts"][0]["title"] = "a title that nobody has written"
    assert "a title that nobody has written" in page(tmp_path, content).html


# --- figures that a limit cut off ---------------------------------------------------------------


def identity_record(plain: tuple[float, ...]) -> StudyRecord:
    """Return the study's result with other steps of added plain blocks, as older versions wrote it, without limits."""
    old = read_record(Path(__file__).parent.parent / "results" / "studies" / "identity.json", StudyRecord)
    steps = quantity("steps until the loss of 4 layers, plain, 8 layers", plain)
    text = replace(old.measured, en=f"{steps} steps if plain", zh=f"需 {steps} 步")
    return replace(old, quantities={"steps-plain": steps}, measured=text, settings={"steps": 400})


@pytest.mark.parametrize(
    ("plain", "said", "each"),
    [
        ((400.0, 400.0, 400.0), "> 400", "> 400, > 400, > 400"),
        ((380.0, 400.0, 400.0), "≥ 393.3 ± 11.5", "380, > 400, > 400"),
        ((380.0, 390.0, 400.0 - 1), "389.7 ± 9.5", "380, 390, 399"),
    ],
)
def test_steps_that_never_sufficed_are_not_given_as_a_result(plain: tuple[float, ...], said: str, each: str) -> None:
    found = with_limits(identity_record(plain))
    steps = found.quantities["steps-plain"]
    assert (quantity_words(steps), values_words(steps)) == (said, each)
    assert (found.measured.en, found.measured.zh) == (f"{said} steps if plain", f"需 {said} 步")
    assert with_limits(found) == found


def test_a_bar_that_a_limit_cut_off_says_so(tmp_path: Path) -> None:
    content = json.loads((STORED[0].parent / "identity.json").read_text(encoding="utf-8"))
    found = page(tmp_path, content)
    assert "400 ± 0" not in found.plain
    assert found.plain.count("> 400") >= 6


# --- scale tiny ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "is_said"), [("tiny", True), ("quick", False)])
def test_a_verdict_at_scale_tiny_is_said_to_be_none(
    tmp_path: Path, scale: str, is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = eight_series() | {"scale": scale}
    assert (ONLY_TINY in page(tmp_path / "a", content).plain) == is_said
    index = write_study_index(tmp_path).read_text(encoding="utf-8")
    assert ("at scale tiny, which decides nothing" in index) == is_said
    tiles = dict(re.findall(r"</span> ([^<]+)</span></dt>\s*<dd>\s*<b>(\d+)", index))
    assert tiles == {"supported": "0", "contradicted": "0" if is_said else "1", "undecided": "0"} | (
        {"scale tiny": "1"} if is_said else {}
    )
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert ("规模 tiny 只说明研究能够运行" in page(tmp_path / "a", content).plain) == is_said
    assert ("规模为 tiny，不作数" in write_study_index(tmp_path).read_text(encoding="utf-8")) == is_said


def test_what_rounding_left_of_nothing_is_written_as_nothing() -> None:
    left = 0.5 * (1.2 - 0.9) - (0.9 - 0.75)  # 5.6e-17
    assert left != 0
    assert values_words(quantity("it", (0.3, left, -0.2))) == "0.3, 0, -0.2"
    assert values_words(quantity("it", (3e-16, 2e-16))) == "3e-16, 2e-16"  # rounding is what was measured
