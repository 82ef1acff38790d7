"""The pages about lesion and trim: what they hold, that names stay text, and that nothing is loaded."""

import json
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Browse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_records import environment_json
from page_reading import Page, in_browser, leaves, may_stand_for, page_or_refusal
from test_chinese import left_in_english

from residuum.errors import UserError
from residuum.records.codec import from_json
from residuum.records.depth import Lesion, Trim
from residuum.reporting import wording
from residuum.reporting.depth_page import write_depth_report
from residuum.reporting.depth_view import noted
from residuum.reporting.lesion_view import lines
from residuum.reporting.page import write_report
from residuum.reporting.svg import BOTTOM

Json = dict[str, Any]

HOSTILE = "<script>alert('x')</script>\"&\u202e"

# --- made-up files, as `residuum lesion` and `residuum trim` leave them -------------------------


def measured(blocks: list[int]) -> Json:
    return {
        "model": {
            "name": "resnet56",
            "depth": 6 * blocks[0] + 2,
            "blocks": blocks,
            "shortcut": "A",
            "order": "original",
            "activation": "relu",
            "parameters": 853_018,
            "multiply_adds": 125_485_696,
        },
        "data": {
            "name": "cifar10",
            "split": "validation",
            "images": 5_000,
            "fingerprint": "sha256:6b3a55e0261b0304143f805a24924d0c1c44524821305f31d9277843b8a10f4e",
            "validation_from": "kept aside in training",
        },
        "protocol": "single view, 32×32",
        "environment": environment_json("2026-11-24T10:11:12+00:00", "A processor", 2),
    }


def block_names(blocks: list[int]) -> list[str]:
    return [f"stage{s}.block{b}" for s, count in enumerate(blocks, 1) for b in range(1, count + 1)]


def fake_lesion(blocks: list[int] | None = None, shortcut: str = "A") -> Json:
    blocks = blocks or [9, 9, 9]
    chance = np.random.default_rng(0)
    rows = []
    for name in block_names(blocks):
        stage, place = (int(part[5:]) for part in name.split("."))
        changes = place == 1 and stage > 1
        loss = 0.35 * math.exp(-0.3 * place) if not changes else 0.3 + 0.12 * stage
        gone = changes and shortcut == "none"
        rows.append(
            {
                "name": name,
                "stage": stage,
                "removable": not changes,
                "left": None if gone else "shortcut" if changes else "identity",
                "loss": None if gone else 0.31 + 2 * loss,
                "accuracy": None if gone else 0.925 - 0.15 * loss**1.2 + 0.002 * float(chance.standard_normal()),
                "parameters": 4_672 * 4 ** (stage - 1),
                "multiply_adds": 4_718_592,
            }
        )
    intact = {"loss": 0.31, "accuracy": 0.925}
    return {"kind": "lesion", **measured(blocks), "intact": intact, "blocks": rows}


def fake_trim(removed: int = 8, repaired: bool = True, draws: int = 5) -> Json:
    chance = np.random.default_rng(1)
    blocks, most = [9, 9, 9], 24
    free = [name for name in block_names(blocks) if not re.fullmatch(r"stage[123]\.block1", name)]
    order = [str(name) for name in chance.permutation(free)]
    left, curve = list(blocks), []
    for k in range(most + 1):
        if k:
            left[int(order[k - 1][5]) - 1] -= 1
        curve.append(point(k, order[k - 1] if k else None, list(left)))
    slopes = (0.6 + 0.5 * chance.random(draws)).tolist()
    random = [
        {
            "draw": i,
            "accuracy": [greedy(k / most, 2.0 * slope) for k in range(most + 1)],
            "accuracy_recalibrated": [greedy(k / most, slope) for k in range(most + 1)],
        }
        for i, slope in enumerate(slopes)
    ]
    return {
        "kind": "trim",
        **measured(blocks),
        "latency_protocol": "forward pass of a batch in memory, median of 30; cpu, bfloat16, 1 threads",
        "asked": {"keep": 0.7},
        "curve": curve,
        "random": random,
        "chosen": {"removed": removed, "why": "--keep 0.7 of 27 blocks"},
        "repaired": {
            "epochs": 2,
            "validation_accuracy": 0.9176,
            "test_accuracy": 0.9131,
            "test_images": 10_000,
            "original_test_accuracy": 0.9222,
        }
        if repaired
        else None,
    }


def greedy(gone: float, steepness: float) -> float:
    return max(0.11, 0.925 - steepness * gone**1.5)


def point(k: int, deleted: str | None, blocks: list[int]) -> Json:
    return {
        "removed": k,
        "deleted": deleted,
        "blocks": blocks,
        "depth": 56 - 2 * k,
        "parameters": 853_018 - 20_000 * k,
        "multiply_adds": 125_485_696 - 4_718_592 * k,
        "loss": 0.3 + 0.1 * k,
        "loss_batch_statistics": 0.3 + 0.05 * k,
        "accuracy": greedy(k / 24, 1.4 * (k / 24)),
        "accuracy_recalibrated": greedy(k / 24, 0.7 * (k / 24)),
        "latency_ms": {"1": 9.4 - 0.29 * k + 0.05 * math.sin(9 * k), "32": 74.1 - 2.4 * k},
    }


def leave(folder: Path, content: Json) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{content['kind']}.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


# --- reading the page back ----------------------------------------------------------------------


def page(folder: Path, content: Json) -> Page:
    return Page(write_depth_report(leave(folder, content)).read_text(encoding="utf-8"))


KINDS: dict[str, Callable[[], Json]] = {"lesion": fake_lesion, "trim": fake_trim}


@pytest.fixture(scope="module", params=KINDS)
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp(request.param), KINDS[request.param]())


# --- one file that loads nothing, for everyone --------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_written_into_the_folder(tmp_path: Path, kind: str) -> None:
    leave(tmp_path, KINDS[kind]())
    assert write_depth_report(tmp_path) == tmp_path / "report.html"
    first = (tmp_path / "report.html").read_bytes()
    other = write_report([tmp_path], tmp_path / "again.html")  # the verb `report` knows such folders too
    assert other.read_bytes() == first


def test_nothing_is_loaded_and_only_our_script_runs(either: Page) -> None:
    either.assert_closed()


def test_it_can_be_used_without_seeing_it(either: Page) -> None:
    either.assert_usable_without_sight()


def test_every_drawing_is_well_formed(either: Page) -> None:
    either.assert_drawn_well(drawings=2, numbers=200)


# --- lesion -------------------------------------------------------------------------------------


def test_the_lesions_verdict(tmp_path: Path) -> None:
    content = fake_lesion([3, 3, 3])
    for i, row in enumerate(content["blocks"]):
        row["accuracy"] = 0.925 - 0.001 * i
    content["blocks"][3]["accuracy"] = 0.525
    found = page(tmp_path, content).plain
    expected = (
        "Without any one of 7 blocks that can be taken out, resnet56 loses 0.40 points of accuracy in the median on "
        "5,000 validation pictures: most without stage3.block3 (0.80), least without stage1.block1 (0.00)."
    )
    assert expected in found
    assert "92.5 % accuracy of the whole net" in found


def test_the_lesions_table_is_the_file(tmp_path: Path) -> None:
    content = fake_lesion()
    rows = page(tmp_path, content).rows(10)[1:]
    assert [row[1] for row in rows] == [row["name"] for row in content["blocks"]]
    for shown, row in zip(rows, content["blocks"], strict=True):
        assert shown.pop(4) == f"{round(5000 * row['accuracy']):,}"
        assert shown[2] == f"{100 * (0.925 - row['accuracy']):.2f}"
        assert shown[3] == f"{100 * row['accuracy']:.1f} %"
        assert shown[5] == ("can go" if row["removable"] else "changes the shape")
        assert shown[6] == f"the {row['left']}"
    assert rows[0][7] == "4.67 k"


def bars(found: Page) -> list[list[dict[str, str]]]:
    """Return the bars of each chart."""
    charts = re.findall(r'<svg class="chart".*?</svg>', found.html, re.DOTALL)
    return [[bar for bar in Page(chart).all("rect") if "lost" in bar["class"]] for chart in charts]


def test_each_block_has_its_bar_and_those_that_stay_are_set_apart(tmp_path: Path) -> None:
    every, may_go = bars(page(tmp_path, fake_lesion()))
    assert len(every) == 27
    assert len(may_go) == 25
    assert [i for i, bar in enumerate(every) if bar["class"] == "lost b1"] == [9, 18]
    assert {bar["class"] for bar in may_go} == {"lost b0"}
    heights = [float(bar["height"]) for bar in every]
    assert heights[18] == max(heights)
    starts = [float(bar["x"]) for bar in every]
    steps = [after - before for before, after in pairwise(starts)]
    assert min(steps) > 0
    assert steps[8] > steps[7]  # a gap between stages
    label = page(tmp_path, fake_lesion()).all("svg")[0]["aria-label"]
    assert label.startswith("points of accuracy lost without each of 27 blocks: stage1.block1 ")


@pytest.mark.parametrize("content", [fake_lesion(), fake_trim()], ids=["lesion", "trim"])
def test_pictures_that_were_trained_on_are_said_to_be(tmp_path: Path, content: Json) -> None:
    said = "The net was trained on these pictures, for none were kept aside"
    assert said not in page(tmp_path, content).plain
    found = page(tmp_path, {**content, "data": content["data"] | {"split": "train"}}).plain
    assert said in found
    assert "5,000 training pictures" in found


@pytest.mark.parametrize("content", [fake_lesion(), fake_trim()], ids=["lesion", "trim"])
def test_pictures_that_may_have_been_learnt_are_said_to_be(
    tmp_path: Path, content: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "may have learnt" not in page(tmp_path, content).plain
    content = {**content, "data": content["data"] | {"may_be_learnt": True}}
    assert "it may have learnt them" in page(tmp_path, content).plain
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    found = page(tmp_path, content).plain
    assert "网络可能学过它们" in found
    assert "其中是网络没有学过的图片" in found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("commonest", "is_said"), [(0.93, True), (0.92, True), (0.91, False), (None, False)])
def test_a_net_no_better_than_one_answer_to_all_has_no_blocks_to_judge(
    tmp_path: Path, kind: str, commonest: float | None, is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole net is right on 92.5 % of 5,000 pictures: from 91.7 %, by Wilson's interval."""
    content = KINDS[kind]()
    content["data"]["commonest"] = commonest
    said = f"would be right {100 * (commonest or 0):.1f} % of the time: this net is no better"
    found = page(tmp_path, content).plain.replace("\u00a0", " ")
    assert (said in found) == is_said
    read = from_json(content, Lesion if kind == "lesion" else Trim, "made up")
    assert [said in line for line in noted(read)] == [True] * is_said
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert ("这个网络并不更好" in page(tmp_path, content).plain) == is_said


def test_a_plain_nets_blocks_are_not_called_residual_in_chinese(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    for content in (fake_lesion(shortcut="none"), fake_trim()):
        content["model"] |= {"name": "plain56", "shortcut": "none"}
        assert "残差" not in page(tmp_path, content).plain


def test_bars_are_as_long_as_what_was_lost(tmp_path: Path) -> None:
    content = fake_lesion([2, 2, 2])
    for row, loss in zip(content["blocks"], (0.01, 0.02, 0.04, 0.0, -0.01, 0.03), strict=True):
        row["accuracy"] = 0.925 - loss
    drawn = bars(page(tmp_path, content))[0]
    heights = [float(bar["height"]) for bar in drawn]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.3)
    assert heights[2] == pytest.approx(4 * heights[0], abs=0.3)
    assert heights[4] == pytest.approx(heights[0], abs=0.3)
    zero = float(drawn[0]["y"]) + heights[0]
    assert float(drawn[4]["y"]) == pytest.approx(zero, abs=0.3)  # a gain hangs below the line


def test_a_plain_nets_blocks_without_figures_are_said(tmp_path: Path) -> None:
    found = page(tmp_path, fake_lesion(shortcut="none"))
    assert [len(chart) for chart in bars(found)] == [25]
    assert [row[2:5] for row in found.rows(10)[1:]][9] == ["–", "–", "–"]
    assert found.rows(10)[10][7] == "nothing"
    assert "it has no figure" in found.plain
    assert "Without any one of 25 blocks" in found.plain


def test_many_blocks_still_fit(tmp_path: Path) -> None:
    every = bars(page(tmp_path, fake_lesion([200, 200, 200])))[0]
    assert len(every) == 600
    assert all(float(bar["width"]) > 0.2 for bar in every)
    assert float(every[-1]["x"]) + float(every[-1]["width"]) <= 392


# --- trim ---------------------------------------------------------------------------------------


def test_the_trims_verdict(tmp_path: Path) -> None:
    content = fake_trim()
    content["curve"][8] |= {"accuracy_recalibrated": 0.901, "latency_ms": {"1": 4.7, "32": 57.0}}
    for draw, value in zip(content["random"], (0.8, 0.7, 0.75, 0.75, 0.75), strict=True):
        draw["accuracy_recalibrated"][8] = value
    expected = (
        "With 8 blocks of 27 taken out, resnet56 names 90.1 % of 5,000 validation pictures correctly after "
        "recalibration and 91.8 % after 2 epochs of repair, 92.5 % before; it is 2.00 times as fast with one picture "
        "and 1.30 times as fast with 32 at once; as many blocks drawn at random leave 75.0 % on average (70.0–80.0 % "
        "over 5 draws)."
    )
    found = page(tmp_path, content).plain
    assert expected in found
    assert "8 of 27 blocks taken out" in found
    assert "91.3 %of 10,000 test pictures; 92.2 % before" in found
    assert "92.5 % has the 95 % interval 91.7–93.2 %, and one picture is 0.02 points" in found  # Wilson 1927


def test_the_trims_table_is_the_curve(tmp_path: Path) -> None:
    content = fake_trim()
    rows = page(tmp_path, content).rows(12)
    assert rows[0][:5] == ["gone", "taken out", "recalibrated", "as trained", "random"]
    for shown, one in zip(rows[1:], content["curve"], strict=True):
        k = one["removed"]
        assert shown[0] == str(k)
        assert shown[1].removesuffix(" chosen") == (one["deleted"] or "nothing yet")
        assert shown[1].endswith("chosen") is (k == 8)
        assert shown[2:4] == [f"{100 * one[key]:.1f} %" for key in ("accuracy_recalibrated", "accuracy")]
        average = np.mean([draw["accuracy_recalibrated"][k] for draw in content["random"]])
        assert shown[4] == f"{100 * average:.1f} %"
        assert shown[5:7] == [f"{one['latency_ms']['1']:.2f} ms", f"{one['latency_ms']['32']:.1f} ms"]
        assert float(shown[7].removesuffix("×")) == pytest.approx(74.1 / one["latency_ms"]["32"], abs=0.005)
        assert shown[8] == str(one["depth"])
        assert shown[11] == ", ".join(map(str, one["blocks"]))


def test_the_charts_of_a_trim(tmp_path: Path) -> None:
    found = page(tmp_path, fake_trim())
    charts = [Page(svg) for svg in re.findall(r'<svg class="chart".*?</svg>', found.html, re.DOTALL)]
    titles = re.findall(r"<figcaption><strong>(.*?)</strong>", found.html)
    assert titles == [
        "Accuracy against blocks taken out",
        "The same, close to the whole net",
        "Accuracy against time, one picture at once",
        "Accuracy against time, 32 pictures at once",
    ]
    lines = [[path["class"] for path in chart.all("path") if "curve" in path.get("class", "")] for chart in charts]
    assert lines[0].count("curve c2 d2 faint") == 5
    assert {"curve c0 d0", "curve c1 d1", "curve c2 d2"} <= set(lines[0])
    random = [[path["d"] for path in chart.all("path") if path.get("class") == "curve c2 d2"] for chart in charts]
    whole, close = (max(float(line.split()[-1]) for line in found if line) for found in random[:2])
    assert whole < close == BOTTOM  # the close-up's lines leave at its edge, where the others end within
    assert "8 blocks taken out: the net that was chosen" in charts[0].plain
    expected = wording.percent(greedy(8 / 24, 0.7 * 8 / 24)).replace("\u00a0", " ")
    assert f"least harmful first, recalibrated {expected}" in charts[0].plain
    assert charts[0].all("svg")[0]["aria-label"].count("ends at") == 4
    assert f"{9.4 - 8 * 0.29 + 0.05 * math.sin(72):.2f} ms, 8 blocks taken out" in charts[2].plain


def test_lines_go_through_the_curves_points(tmp_path: Path) -> None:
    content = fake_trim(draws=0)
    found = page(tmp_path, content)
    chart = Page(re.findall(r'<svg class="chart".*?</svg>', found.html, re.DOTALL)[0])
    line = next(path["d"] for path in chart.all("path") if path.get("class") == "curve c0 d0")
    places = np.array([[float(v) for v in pair.split()] for pair in re.findall(r"[ML]([-\d. ]+)", line)])
    accuracy = np.array([one["accuracy_recalibrated"] for one in content["curve"]])
    assert len(places) == 25
    np.testing.assert_allclose(np.corrcoef(places[:, 1], accuracy)[0, 1], -1, atol=1e-4)
    np.testing.assert_allclose(np.diff(places[:, 0]), (places[-1, 0] - places[0, 0]) / 24, atol=0.11)


def test_how_it_was_measured_is_said(either: Page) -> None:
    rows = {row[0]: row[1] for row in either.rows(2)}
    assert rows["shown to the net"] == "single view, 32×32"
    assert rows["date"].startswith("2026-11-24")
    assert rows["images"] == "5000"
    assert rows["fingerprint"].startswith("sha256:6b3a")
    assert rows["blocks"] == "9, 9, 9"


def test_the_latency_protocol_and_the_request_are_said(tmp_path: Path) -> None:
    rows = {row[0]: row[1] for row in page(tmp_path, fake_trim()).rows(2)}
    assert rows["timed"].endswith("1 threads")
    assert rows["--keep"] == "0.7"
    assert rows["chosen"] == "--keep 0.7 of 27 blocks"
    found = page(tmp_path, fake_trim() | {"asked": {"max_drop": 0.5}})
    assert {row[0]: row[1] for row in found.rows(2)}["--max-drop"] == "0.5"


def test_without_repair_and_without_draws(tmp_path: Path) -> None:
    found = page(tmp_path, fake_trim(repaired=False, draws=0)).plain
    assert "of repair" not in found
    assert "random" not in found.lower()


def test_nothing_taken_out(tmp_path: Path) -> None:
    found = page(tmp_path, fake_trim(removed=0, repaired=False)).plain
    assert "Nothing is taken out: resnet56 names 92.5 % of 5,000 validation pictures correctly, as before" in found
    assert "drawn at random" not in found


def treated(content: Json, way: str) -> Json:
    """The same trim of a net whose folded BN was left so, as once was done, or whose model keeps BN as trained."""
    content["chosen"] |= {"recalibrated": False}
    for part in ("curve", "random") if way == "folded" else ():
        content[part] = [{**one, "accuracy_recalibrated": None} for one in content[part]]
    return content


@pytest.mark.parametrize("way", ["folded", "better"])
@pytest.mark.parametrize("repaired", [True, False])
def test_a_net_with_bn_as_trained_is_shown_so(
    tmp_path: Path, way: str, repaired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = treated(fake_trim(repaired=repaired), way)
    found = page(tmp_path, content).plain.replace("\u00a0", " ")
    accuracy = f"{100 * content['curve'][8]['accuracy']:.1f} %"
    assert f"resnet56 names {accuracy} of 5,000 validation pictures correctly with BN as trained" in found
    assert "correctly after recalibration" not in found
    assert ("the mean of the draws, BN as trained" in found) == (way == "folded")
    assert ("BN is folded: nothing to recalibrate" in found) == (way == "folded")
    assert ("which is better here than recalibrated" in found) == (way == "better")
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    written = write_depth_report(leave(tmp_path, content)).read_text(encoding="utf-8")
    left = {text for text in left_in_english(written) if re.search("[A-Za-z]{3}", text)}
    assert left <= {"A processor", "Linux x86_64", "resnet56"}


@pytest.mark.parametrize("kind", KINDS)
def test_how_pictures_were_shown_stands_above(tmp_path: Path, kind: str) -> None:
    content = KINDS[kind]() | {"protocol": "picture, also at half its side, 96×96"}
    plain = page(tmp_path, content).plain
    assert "Shown to the net: picture, also at half its side, 96×96." in plain


@pytest.mark.parametrize(
    ("protocol", "is_said"),
    [(None, False), ("single view, 32×32, computed in bfloat16", False), ("picture and mirror image, 32×32", True)],
)
def test_a_repaired_net_that_is_asked_otherwise_says_so(tmp_path: Path, protocol: str | None, is_said: bool) -> None:
    content = fake_trim()
    content["repaired"]["protocol"] = protocol
    assert ("shown to the net otherwise" in page(tmp_path, content).plain) is is_said


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_its_words_in_chinese(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    content = KINDS[kind]() | {"protocol": "picture, also at half its side, 32×32"}
    if kind == "trim":
        content["repaired"]["protocol"] = "single view, 32×32"
    written = write_depth_report(leave(tmp_path, content)).read_text(encoding="utf-8")
    names = re.compile("\u2068[^\u2069]*\u2069")
    left = {text for text in left_in_english(written) if re.search("[A-Za-z]{3}", names.sub("", text))}
    assert left <= {"A processor", "Linux x86_64"}
    assert "<td>训练时留出的</td>" in written


def test_a_lesion_says_how_trim_goes_on_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = fake_lesion()
    assert "work with the statistics of each batch" in page(tmp_path, content).plain
    content["model"] |= {"folded": True}  # as files of a few days say
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    found = page(tmp_path, content).plain
    assert "它看损失" in found
    assert "每个批次的统计量" in found


def of_several_labels(content: Json) -> Json:
    """The same of 17 pictures of several labels each."""
    content["data"] |= {"images": 17, "several": True}
    for place, one in enumerate(content.get("curve", content.get("blocks"))):
        one["mean_ap"] = 0.8 - 0.01 * place
        if content["kind"] == "trim":
            one["mean_ap_recalibrated"] = 0.85 - 0.01 * place
    if content["kind"] == "lesion":
        content["intact"]["mean_ap"] = 0.81
    else:
        content["repaired"] = {"epochs": 2, "validation_accuracy": 0.75, "mean_ap": 0.8215, "test_accuracy": None}
        content["repaired"] |= {"test_images": None, "original_test_accuracy": None}
    return content


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_labels_there_is_mean_average_precision_and_few_pictures_are_said_to_be_few(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = of_several_labels(KINDS[kind]())
    found = page(tmp_path, content)
    plain = found.plain.replace("\u00a0", " ")
    assert "So few pictures hardly tell blocks apart" in plain
    assert f"residuum {kind} MODEL DATA" in plain
    rows = found.rows(11 if kind == "lesion" else 13)
    place = rows[0].index("mean average precision")
    first = content["blocks"][0] if kind == "lesion" else content["curve"][1]
    expected = first["mean_ap"] if kind == "lesion" else first["mean_ap_recalibrated"]
    assert rows[1 if kind == "lesion" else 2][place] == f"{100 * expected:.1f} %"
    assert ("81.0 %" if kind == "lesion" else "77.0 %80.0 % before") in plain  # of the whole net; of the chosen one
    assert ("82.2 %" in plain) == (kind == "trim")  # repaired
    read = from_json(content, Lesion if kind == "lesion" else Trim, "made up")
    assert any("one picture is 5.88 points" in line for line in noted(read))
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    written = write_depth_report(leave(tmp_path, content)).read_text(encoding="utf-8")
    names = re.compile("\u2068[^\u2069]*\u2069")
    left = {text for text in left_in_english(written) if re.search("[A-Za-z]{3}", names.sub("", text))}
    assert left <= {"A processor", "Linux x86_64"}


@pytest.mark.parametrize("reached", [0, 1, 2, 25])
def test_a_trim_that_was_interrupted(tmp_path: Path, reached: int) -> None:
    content = fake_trim() | {"chosen": None, "repaired": None, "random": [], "latency_protocol": ""}
    content["curve"] = [{**one, "latency_ms": None} for one in content["curve"][:reached]]
    found = page(tmp_path, content)
    assert "has not chosen a net" in found.plain
    assert f"{reached} net" in found.plain
    assert "The nets were not timed." in found.plain

    assert len([row for row in found.rows(8) if row[0].isdigit()]) == reached


@pytest.mark.parametrize(("share", "is_said"), [(0.66, True), (0.05, False), (None, False)])
def test_a_trim_timed_while_others_computed_says_so(tmp_path: Path, share: float | None, is_said: bool) -> None:
    found = page(tmp_path, fake_trim() | {"share_waited": share})
    assert ("The times are in trim.json alone." in found.plain) == is_said
    for shown in ("Accuracy against time", "ms for 32", "Speed: how many times as fast"):
        assert (shown in found.plain) != is_said
    assert bool(re.search(r"\d\.\d\d×", found.plain)) != is_said
    assert ("times as fast with one picture" in found.plain) != is_said  # no speed stands large where it is noise
    assert ("as fast: " in found.plain) != is_said
    told = "how fast it is cannot be said, for others were computing while the nets were timed"
    assert (told in found.plain) == is_said


def test_a_trim_timed_with_some_company_says_that_times_may_mislead(tmp_path: Path) -> None:
    found = page(tmp_path, fake_trim() | {"share_waited": 0.2})
    assert "threads waited 20% of the time: times, and how many times as fast, may mislead" in found.plain
    assert "Accuracy against time" in found.plain


def test_the_terminal_shows_the_loss_where_accuracy_ranks_nothing() -> None:
    content = fake_lesion()
    said = "\n".join(lines(from_json(content, Lesion, "made up")))
    assert "loss" not in said  # no two blocks leave the same accuracy
    content["blocks"][3]["accuracy"] = content["blocks"][4]["accuracy"]
    said = "\n".join(lines(from_json(content, Lesion, "made up")))
    assert all(f"loss {row['loss']:.4g}" in said for row in content["blocks"])
    assert f"loss     {content['intact']['loss']:.4g}" in said


@pytest.mark.parametrize(("shortcut", "on_the_line"), [("A", False), ("none", True)])
def test_the_marks_that_a_lesion_draws_are_explained(tmp_path: Path, shortcut: str, on_the_line: bool) -> None:
    found = page(tmp_path, fake_lesion(shortcut=shortcut))
    assert ("A mark on the line: what its block leaves has another shape" in found.plain) == on_the_line
    assert ("A mark above a bar: its block cannot be taken out." in found.plain) != on_the_line
    assert ("changes the shape, so it stays" in found.plain) != on_the_line  # no bar has that colour there


# --- names are text, damage is survived ---------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_are_shown_as_text(tmp_path: Path, kind: str) -> None:
    content = KINDS[kind]()
    content["model"]["name"] = content["data"]["name"] = content["protocol"] = HOSTILE
    content["data"]["split"] = content["environment"]["torch"] = HOSTILE
    rows = content["blocks"] if kind == "lesion" else content["curve"]
    rows[4]["name" if kind == "lesion" else "deleted"] = HOSTILE
    if kind == "trim":
        content["latency_protocol"] = content["chosen"]["why"] = HOSTILE
    found = page(tmp_path, content)
    bare = HOSTILE.replace("\u202e", "")
    assert found.plain.count(bare) >= 6
    found.assert_no_script_slipped_in()
    choice = {"asked": {HOSTILE: 0.5}} if kind == "trim" else {"blocks": [{**rows[4], "left": HOSTILE}]}
    with pytest.raises(UserError, match=r"Invalid enum value(.|\n)*it was written by residuum 0\.1\.0"):
        page(tmp_path, content | choice)


def test_half_characters_are_replaced(tmp_path: Path) -> None:
    content = fake_lesion([2, 2, 2])
    content["model"]["name"] = "NAME"
    leave(tmp_path, content)
    path = tmp_path / "lesion.json"
    path.write_text(path.read_text().replace("NAME", "res\\udcffnet"))
    assert "res\ufffdnet" in Page(write_depth_report(tmp_path).read_text(encoding="utf-8")).plain


BAD = [None, math.nan, math.inf, -1, 0, 10**9, 1e300, "x", [], {}, True]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_figures_are_refused_or_make_a_whole_page(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = fake_lesion([2, 2, 2]) if kind == "lesion" else fake_trim(draws=2)
    ways = [way for way in leaves(content) if way and way != ("kind",)]
    damages = data.draw(st.lists(st.sampled_from(ways), min_size=1, max_size=3))
    for *way, last in damages:
        place: Any = content
        try:
            for key in way:
                place = place[key]
            old, bad = place[last], data.draw(st.sampled_from(BAD))
            place[last] = bad
        except (KeyError, IndexError, TypeError):
            continue  # an earlier damage took this place away
    found = page_or_refusal(lambda: write_depth_report(leave(tmp_path, content)), tmp_path / f"{kind}.json")
    if found is None:
        return
    assert len(damages) > 1 or may_stand_for(bad, old)
    assert not re.search(r"\b(nan|inf)\b", found.plain, re.IGNORECASE)
    for key in ("d", "x", "y", "x1", "y1", "width", "height", "data-v"):
        assert not [value for value in found.values(key) if re.search("nan|inf", value)]


@pytest.mark.parametrize("content", ["[1]", "{}", "null"])
@pytest.mark.parametrize("name", ["lesion.json", "trim.json"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        write_depth_report(tmp_path)
    assert f"{tmp_path / name} is not what residuum" in error.value.what
    assert error.value.mend
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_figures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither lesion\.json nor trim\.json"):
        write_depth_report(tmp_path)
    (tmp_path / "trim.json").write_text("{")
    with pytest.raises(UserError, match="is not a JSON file"):
        write_depth_report(tmp_path)


# --- in a real browser --------------------------------------------------------------------------

MEASURE = """
<script>
const column = document.querySelectorAll("#table th button")[2];
column.click();
const first = document.querySelector("#table tbody tr").cells[1].textContent;
document.body.dataset.said = JSON.stringify([first, document.documentElement.scrollWidth <= innerWidth]);
</script></body>
"""


@in_browser
@pytest.mark.parametrize("kind", KINDS)
def test_a_browser_shows_it_without_complaint(tmp_path: Path, kind: str, browse: Browse) -> None:
    content = KINDS[kind]()
    html = write_depth_report(leave(tmp_path, content)).read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", MEASURE)
    (tmp_path / "pressed.html").write_text(html, encoding="utf-8")
    _, complaints = browse(tmp_path / "report.html")
    assert complaints == []
    dom, console = browse(tmp_path / "pressed.html")
    assert console == []
    first, fits = json.loads(Page(dom).all("body")[0]["data-said"])
    if kind == "lesion":
        assert first == max(content["blocks"], key=lambda row: row["accuracy"])["name"]
    else:
        assert first == content["curve"][-1]["deleted"]
    assert fits is True
