"""The report page: what it holds, what it leaves out, and that it works in a real browser offline."""

import base64
import colorsys
import io
import json
import math
import re
import shutil
from collections import Counter
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Browse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_records import environment_json, evaluation, settings_json
from msgspec import structs
from page_reading import Page, in_browser, leaves, may_stand_for, page_or_refusal
from PIL import Image, ImageDraw

from residuum import chinese, runs
from residuum.choices import Views
from residuum.data.preprocess import Preprocessing
from residuum.data.resize import evaluation_view
from residuum.errors import UserError
from residuum.evaluation.evaluate import protocol
from residuum.evaluation.metrics import judge
from residuum.evaluation.views import SAID
from residuum.judged_printing import print_figures
from residuum.reporting import charts, comparison, sentences, wording
from residuum.reporting.page import write_report
from residuum.reporting.sentences import lazy as lazy_words

Json = dict[str, Any]

HOSTILE = "<script>alert('x')</script>\"&\u202e"
NAMES = ["飞机 aeroplane", "汽车 car", "鸟", "猫", "鹿", "狗", "青蛙 frog", "马", "שועל", HOSTILE]


# --- a made-up run folder -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "turned"),
    [
        ([str(i) for i in range(10)], ""),
        (["cat", *"abcdefghi"], " upright upright-if-narrow"),
        (["cat", "dog", "sheep"], " upright-if-narrow"),
        (["ants", "bees"], ""),
    ],
)
def test_only_long_names_are_turned_over_the_confusion_matrix(tmp_path: Path, names: list[str], turned: str) -> None:
    page = write_report([write_run(tmp_path / "run", names=names)]).read_text(encoding="utf-8")
    assert f'<table class="confusion{turned}"' in page


def write_run(
    folder: Path,
    names: list[str],
    *,
    seed: int = 0,
    images: int = 10_000,
    epochs: int = 6,
    skill: float = 0.85,
) -> Path:
    """Write a run folder as `residuum train` leaves it; its figures are made up."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    confusion = _confusion(chance, len(names), images, skill)
    files = {
        "settings.json": _settings(seed, epochs),
        "environment.json": environment_json("2026-11-12T10:11:12+00:00", "A processor with a long name @ 2.50GHz", 8),
        "data.json": {
            "name": "animals",
            "source": "pictures/animals",
            "classes": names,
            "fingerprint": "sha256:6b3a55e0261b0304143f805a24924d0c1c44524821305f31d9277843b8a10f4e",
            "counts": {"train": 45_000, "validation": 5_000, "test": images},
            "validation_from": "cut from the training pictures (10 %, seed 0)",
            "image_size": 32,
        },
        "evaluation.json": _evaluation(names, confusion, skill),
        "mistakes.json": _mistakes(chance, names),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    lines = _metrics(chance, epochs, skill)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def _settings(seed: int, epochs: int) -> Json:
    return {
        "command": f"residuum train pictures/animals --model resnet20 --epochs {epochs} --seed {seed}",
        "asked": {"data": "pictures/animals", "model": "resnet20", "epochs": epochs, "seed": seed},
        "settings": {"data": "pictures/animals", "model": "resnet20", "epochs": epochs, "seed": seed},
        "resolved": {
            "data": "pictures/animals",
            "model": "resnet20",
            "recipe": "quick",
            "epochs": epochs,
            "batch_size": 128,
            "lr": 0.1,
            "seed": seed,
            "device": "cpu",
            "precision": "float32",
            "image_size": 32,
            "depth": 20,
            "parameters": 272_474,
            "multiply_adds": 41_000_000,
            "net": {
                "block": "basic",
                "counts": [3, 3, 3],
                "widths": [16, 32, 64],
                "stem": {"kernel": 3, "pool": False},
            },
            "recipe_details": {
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "schedule": {"peak": 0.1, "climb": 0.3},
            },
        },
    }


def _confusion(chance: np.random.Generator, size: int, images: int, skill: float) -> np.ndarray:
    """Mistakes go mostly to a few neighbours, as they do."""
    rows = []
    for i in range(size):
        wrong = chance.exponential(size=size) ** 4
        wrong[i] = 0
        own = min(0.995, max(0.2, skill + 0.08 * chance.standard_normal()))
        rows.append(chance.multinomial(images // size, (1 - own) * wrong / wrong.sum() + own * (np.arange(size) == i)))
    return np.array(rows)


def wilson(hits: float, of: float) -> Json:
    if not of:
        return {"value": 0.0, "low": 0.0, "high": 1.0}
    p, z2 = hits / of, 3.8415
    middle, half = (
        (p + z2 / 2 / of) / (1 + z2 / of),
        math.sqrt(z2 * p * (1 - p) / of + z2**2 / 4 / of**2) / (1 + z2 / of),
    )
    return {"value": p, "low": max(0.0, middle - half), "high": min(1.0, middle + half)}


def _evaluation(names: list[str], confusion: np.ndarray, skill: float) -> Json:
    total, hits = int(confusion.sum()), int(np.trace(confusion))
    per_class = []
    for i, name in enumerate(names):
        own, truth, said = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        per_class.append(
            {
                "name": name,
                "images": truth,
                "precision": wilson(own, said),
                "recall": wilson(own, truth),
                "f1": wilson(2 * own, truth + said),
            }
        )
    counts = (total * np.exp(np.linspace(-5, 0, 15)) / np.exp(np.linspace(-5, 0, 15)).sum()).astype(int)
    counts[0] = 0
    middles = (np.arange(15) + 0.5) / 15
    right = middles**1.25
    right *= hits / total / (counts @ right / counts.sum())
    return {
        "split": "test",
        "protocol": "single view, 32×32",
        "images": total,
        "top1": wilson(hits, total),
        "top5": wilson(hits + 0.9 * (total - hits), total) if len(names) > 5 else None,
        "macro_f1": {
            "value": hits / total - 0.002,
            "low": hits / total - 0.009,
            "high": hits / total + 0.005,
        },
        "ece": {"value": 0.0312, "low": 0.0261, "high": 0.0377},
        "loss": 0.4127,
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "calibration": [
            {
                "low": i / 15,
                "high": (i + 1) / 15,
                "count": int(n),
                "confidence": float(middles[i]) if n else None,
                "accuracy": float(min(1.0, right[i])) if n else None,
            }
            for i, n in enumerate(counts)
        ],
    }


@cache
def picture(hue: float, side: int = 32) -> str:
    """Draw something to look at, as a PNG data URI."""
    colour = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.5, 0.8))
    image = Image.new("RGB", (side, side), colour)
    pen = ImageDraw.Draw(image)
    pen.ellipse([side * 0.2, side * (0.2 + 0.3 * hue), side * 0.7, side * 0.9], fill=(240, 235, 220))
    pen.line([0, side * 0.8, side, side * (0.5 + 0.5 * hue)], fill=(40, 50, 70), width=max(1, side // 12))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _mistakes(chance: np.random.Generator, names: list[str]) -> list[Json]:
    pairs = [chance.choice(len(names), 2, replace=False) for _ in range(48)]
    return [
        {
            "name": f"test row {int(chance.integers(10_000))}",
            "truth": names[truth],
            "predicted": names[said],
            "confidence": 0.999 - 0.004 * i,
            "thumbnail": picture(i / 48),
        }
        for i, (truth, said) in enumerate(pairs)
    ]


def _metrics(chance: np.random.Generator, epochs: int, skill: float) -> list[Json]:
    lines: list[Json] = []
    for epoch in range(1, epochs + 1):
        done = epoch / epochs
        for part in (0.3, 0.65, 1.0):
            at = (epoch - 1 + part) / epochs
            lines.append(
                {
                    "kind": "step",
                    "step": round(352 * (epoch - 1 + part)),
                    "epoch": epoch - 1 + part,
                    "loss": 2.3 * math.exp(-3 * at) + 0.1 + 0.05 * chance.standard_normal(),
                    "lr": 0.1 * (at / 0.3 if at < 0.3 else (1 - at) / 0.7),
                    "images_per_s": 1200 + 20 * chance.standard_normal(),
                }
            )
        learnt = 1 - math.exp(-5 * done)
        lines.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": 352 * epoch,
                "train_loss": 2.2 * math.exp(-3.5 * done) + 0.03,
                "train_accuracy": min(0.99, 0.1 + (skill + 0.04) * learnt),
                "validation_loss": 2.0 * math.exp(-3 * done) + 0.35 + 0.03 * chance.standard_normal(),
                "validation_accuracy": min(0.99, 0.1 + (skill - 0.1) * learnt + 0.01 * chance.standard_normal()),
                "seconds": 37.5,
                "images_per_s": 1200 + 20 * chance.standard_normal(),
            }
        )
        if epoch == epochs // 2:
            lines.append({"kind": "event", "step": 352 * epoch, "message": "stopped and resumed"})
    return lines


# --- reading the page back ----------------------------------------------------------------------


def report(*runs: Path, out: Path | None = None) -> Page:
    return Page(write_report(runs, out).read_text(encoding="utf-8"))


def change(path: Path, **new: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **new}), encoding="utf-8")


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of ten classes; tests only read it."""
    return write_run(tmp_path_factory.mktemp("report") / "ten", NAMES, epochs=30)


@pytest.fixture(scope="module")
def page(ten: Path) -> Page:
    return report(ten)


# --- one file that loads nothing ----------------------------------------------------------------


def test_it_is_written_into_the_run_folder(ten: Path) -> None:
    assert write_report([ten]) == ten / "report.html"


def test_nothing_is_loaded_and_only_our_script_runs(page: Page) -> None:
    page.assert_closed(shows_pictures=True)
    assert len(page.values("src")) >= 48
    assert "url(" not in files("residuum.reporting").joinpath("style.css").read_text(encoding="utf-8")


def test_it_can_be_used_without_seeing_it(page: Page) -> None:
    page.assert_usable_without_sight()
    assert len(set(page.values("href"))) > 5


def test_every_drawing_is_well_formed(page: Page) -> None:
    page.assert_drawn_well(drawings=7, numbers=500)


def luminance(colour: tuple[float, ...]) -> float:
    even = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * even[0] + 0.7152 * even[1] + 0.0722 * even[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2, definition of contrast ratio."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_enough_contrast(scheme: int) -> None:
    style = files("residuum.reporting").joinpath("style.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = {
        name: tuple(int(value[i : i + 2], 16) for i in (1, 3, 5)) if value[0] == "#" else tuple(map(int, value.split()))
        for name, value in re.findall(r"--([\w-]+): ([^;]+);", block)
    }
    for back in ("paper", "panel", "soft"):
        for name in ("ink", "quiet", "link", "warn", "good", "c0", "c1", "c2", "c3", "c4", "c5"):
            assert contrast(colours[name], colours[back]) >= 4.5, (name, back)
    depths = dict(re.findall(r"\.l(\d) \{ --a: ([\d.]+); \}", style))
    assert len(depths) == 7
    for number, depth in depths.items():
        for tone in ("hit", "miss"):
            a = float(depth)
            mixed = tuple(a * c + (1 - a) * p for c, p in zip(colours[tone], colours["paper"], strict=True))
            words = colours["on-deep" if int(number) >= 6 else "on-light"]
            assert contrast(words, mixed) >= 4.5, (tone, number)


# --- names are text, whatever they hold ---------------------------------------------------------


def test_hostile_names_are_shown_as_text(page: Page) -> None:
    assert page.text.count(HOSTILE) >= 4
    assert all(name in page.text for name in NAMES)
    page.assert_no_script_slipped_in()


names = st.lists(
    st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from([HOSTILE, "</style>", "{{ 7*7 }}", "']"]),
    min_size=2,
    max_size=4,
    unique=True,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=names)
def test_any_names_leave_the_page_whole(tmp_path: Path, names: list[str]) -> None:
    write_run(tmp_path / "run", names, images=200, epochs=2)
    change(tmp_path / "run" / "settings.json", command=" ".join(names), asked={names[0]: names[1]})
    change(tmp_path / "run" / "data.json", name=names[0], validation_from=names[1])
    found = report(tmp_path / "run")
    bare = re.sub(r"[\s“”]", "", "".join(found.pieces))
    assert all(re.sub(r"\s", "", wording.shown(name).strip("“”")) in bare for name in names)
    found.assert_no_script_slipped_in()


def test_half_characters_are_replaced(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["a", "b"])
    path = tmp_path / "run" / "data.json"
    path.write_text(path.read_text().replace('"animals"', '"ani\\udcffmals"'))
    assert "ani\ufffdmals" in report(tmp_path / "run").text


def test_a_thumbnail_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["a", "b"])
    mistakes = [
        {"name": "x", "truth": "a", "predicted": "b", "confidence": 0.9, "thumbnail": thumbnail}
        for thumbnail in (
            "https://example.org/x.png",
            "data:text/html;base64,AAAA",
            'data:image/png;base64,"',
            picture(0.5),
        )
    ]
    (tmp_path / "run" / "mistakes.json").write_text(json.dumps(mistakes))
    found = report(tmp_path / "run")
    assert [image["src"] for image in found.all("img")] == [mistakes[3]["thumbnail"]]
    assert [span.get("class") for span in found.all("span")].count("no-picture") == 3


def test_a_mistake_without_a_heat_map_is_laid_out_as_those_with_one(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["a", "b"])
    one = {"name": "x", "truth": "a", "predicted": "b", "confidence": 0.9, "thumbnail": picture(0.5)}
    heat = {"method": "Grad-CAM", "picture": picture(0.5), "x": 0.5, "y": 0.5}
    for mistakes, alike in (([{**one, "heat": heat}, one], 2), ([one, one], 0)):
        (tmp_path / "run" / "mistakes.json").write_text(json.dumps(mistakes))
        assert [item.get("class") for item in report(tmp_path / "run").all("li")].count("with-heat") == alike


@pytest.mark.parametrize(("side", "enlarged"), [(32, True), (96, False)])
def test_small_thumbnails_keep_hard_edges(tmp_path: Path, side: int, enlarged: bool) -> None:
    write_run(tmp_path / "run", ["a", "b"])
    mistake = {
        "name": "x",
        "truth": "a",
        "predicted": "b",
        "confidence": 0.9,
        "thumbnail": picture(0.5, side),
    }
    (tmp_path / "run" / "mistakes.json").write_text(json.dumps([mistake]))
    assert (report(tmp_path / "run").all("img")[0].get("class") == "small") is enlarged


# --- every figure comes from the files ----------------------------------------------------------


def plain_text(page: Page) -> str:
    return page.text.replace("\u00a0", " ")


def test_the_verdict_is_one_plain_sentence(tmp_path: Path) -> None:
    write_run(tmp_path / "run", NAMES)
    top1 = {"value": 0.883, "low": 0.8764, "high": 0.8891}
    change(tmp_path / "run" / "evaluation.json", top1=top1, images=10_000)
    sentence = "Of 10,000 pictures it never saw, it names 88.3 % correctly (95 % interval 87.6–88.9 %)."
    assert sentence in plain_text(report(tmp_path / "run"))


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("top1", "54.3 % 51.2–57.1 %", "67.8 % 64.9–70.2 %"),
        ("top5", "54.3 % 51.2–57.1 %", "67.8 % 64.9–70.2 %"),
        ("macro_f1", "54.3 % 51.2–57.1 %", "67.8 % 64.9–70.2 %"),
        ("ece", "54.3 % 51.2–57.1 %", "67.8 % 64.9–70.2 %"),
    ],
)
def test_another_evaluation_makes_another_page(tmp_path: Path, field: str, old: str, new: str) -> None:
    write_run(tmp_path / "run", NAMES, epochs=2)
    path = tmp_path / "run" / "evaluation.json"
    change(path, **{field: {"value": 0.543, "low": 0.512, "high": 0.571}})
    before = plain_text(report(tmp_path / "run"))
    change(path, **{field: {"value": 0.678, "low": 0.649, "high": 0.702}})
    after = plain_text(report(tmp_path / "run"))
    assert old in before
    assert new in after
    assert old not in after


def test_the_class_table_is_the_file(ten: Path, page: Page) -> None:
    expected = json.loads((ten / "evaluation.json").read_text())["per_class"]
    rows = [row for row in page.cells if len(row) == 6 and row[3].endswith("\u00a0%") and "–" in row[3]]
    assert [row[1] for row in rows] == [one["name"] for one in expected]
    for row, one in zip(rows, expected, strict=True):
        assert row[2] == f"{one['images']:,}"
        for cell, key in zip(row[3:], ("recall", "precision", "f1"), strict=True):
            assert cell.split("\u00a0")[0] == wording.percent_figure(one[key]["value"])


def test_the_confusion_table_is_the_matrix(ten: Path, page: Page) -> None:
    matrix = json.loads((ten / "evaluation.json").read_text())["confusion"]
    rows = [row[1:] for row in page.cells if len(row) == 11 and row[0] in NAMES]
    assert [[int(cell) for cell in row] for row in rows] == matrix


def test_the_confusion_map_is_the_matrix(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [f"class {i}" for i in range(40)])
    matrix = json.loads((tmp_path / "run" / "evaluation.json").read_text())["confusion"]
    found = report(tmp_path / "run")
    box = next(div for div in found.all("div") if "data-cells" in div)
    rows = json.loads(box["data-cells"])
    read = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    assert [[row.get(j, 0) for j in range(40)] for row in read] == matrix
    drawn = [path for path in found.all("path") if re.match(r"(hit|miss) l\d", path.get("class", ""))]
    assert sum(path["d"].count("M") for path in drawn) == np.count_nonzero(matrix)


@pytest.mark.parametrize(("size", "how"), [(2, "table"), (20, "table"), (21, "map"), (100, "map"), (101, "pairs")])
def test_each_size_of_confusion_has_its_form(tmp_path: Path, size: int, how: str) -> None:
    write_run(tmp_path / "run", [f"class {i}" for i in range(size)], epochs=2)
    found = report(tmp_path / "run")
    classes = found.values("class")
    assert any(value.startswith("confusion") for value in classes) is (how == "table")
    assert ("scroll heat" in classes) is (how == "map")
    assert ("too many to read" in found.text) is (how == "pairs")
    assert ("scroll pairs" in classes) is (size > 3)


def test_the_most_confused_pairs_come_first(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [f"class {i}" for i in range(120)], images=24_000)
    matrix = np.array(json.loads((tmp_path / "run" / "evaluation.json").read_text())["confusion"])
    np.fill_diagonal(matrix, 0)
    rows = [row for row in report(tmp_path / "run").cells if len(row) == 4 and row[1].startswith("class ")]
    assert [int(row[2]) for row in rows] == sorted(matrix.ravel(), reverse=True)[:30]
    assert all(matrix[int(row[0][6:]), int(row[1][6:])] == int(row[2]) for row in rows)


def test_curves_show_every_epoch(ten: Path, page: Page) -> None:
    lines = [json.loads(line) for line in (ten / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    for line in epochs:
        assert f"validation {line['validation_loss']:.4g}" in page.text
        assert f"training {wording.percent(line['train_accuracy'])}" in "".join(page.pieces)
    assert "epoch 15: stopped and resumed" in page.text


def test_a_figure_that_is_not_a_number_leaves_a_gap(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["a", "b"], epochs=6)
    path = tmp_path / "run" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    broken = [
        line | {"train_loss": math.nan} if line.get("epoch") == 3 else line for line in lines if line["kind"] == "epoch"
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in broken))
    found = report(tmp_path / "run")
    curve = next(path for path in found.all("path") if path.get("class") == "curve c0 d0" and "29.0" not in path["d"])
    assert curve["d"].count("M") == 2
    assert curve["d"].count("L") == 3
    assert "The loss in 1 report of the training is not a finite number" in found.text


def test_a_peak_keeps_its_place_and_markers_are_regular(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["a", "b"], epochs=2)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if '"epoch"' in line]
    one = next(line for line in lines if line["kind"] == "epoch")
    for epochs, peaks in ((30, (11,)), (30, (5, 17)), (2000, (1001,))):
        losses = [9.0 if i in peaks else 2.0 - i / epochs for i in range(epochs)]
        written = [one | {"epoch": i + 1, "step": i + 1, "train_loss": loss} for i, loss in enumerate(losses)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in written))
        drawing = re.findall(r"<svg.*?</svg>", report(run).html, re.DOTALL)
        loss = next(part for part in drawing if "loss by epoch" in part)
        path = re.search(r'd="([^"]+)" class="curve c0', loss)
        assert path is not None
        places = [tuple(map(float, place.split())) for place in re.split("[ML]", path[1])[1:]]
        top = min(y for _, y in places)
        highest = [(x, y) for x, y in places if y == top]
        marks = re.findall(r'<path d="M-2.8[^"]+" transform="translate\(([\d.]+) ([\d.]+)\)" class="mark c0"', loss)
        marked = [places.index((float(x), float(y))) for x, y in marks]
        assert len(highest) == len(peaks)
        assert len({b - a for a, b in pairwise(marked)}) == 1
        assert len(marked) == 30
        assert "training 9" in loss  # pointed at, it is read out


def test_a_bar_is_the_value_and_a_whisker_its_interval(six: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(six, tmp_path / "run"))
    per_class = json.loads((run / "evaluation.json").read_text())["per_class"]
    per_class[0]["recall"] = {"value": 0.0, "low": 0.0, "high": 0.793}
    change(run / "evaluation.json", per_class=per_class)
    found = report(run)
    assert "--v:0.0%;--l:0.0%;--h:79.3%" in found.values("style")
    assert "Bar: the value; whisker: its 95 % interval." in plain_text(found)


def test_the_terminal_says_what_was_asked_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluation()
    print_figures(found)
    said = capsys.readouterr().out
    assert "meaning " not in said
    assert "classes" not in said
    halved = structs.replace(found, protocol="picture, also at half its side, 96×96")
    print_figures(
        structs.replace(halved, per_class=(found.per_class[0], structs.replace(found.per_class[1], images=0)))
    )
    said = capsys.readouterr().out
    assert "meaning  the net is asked about the square in the middle of a picture and again about the same" in said
    assert "classes  1 of 2 classes were asked: no picture of 'b', of which nothing is known" in said
    assert re.search(r"macro F1 70.00%  .*; over 1 of 2 classes\)", said)


def test_a_class_of_which_no_picture_was_judged_is_said_to_be(six: Path, tmp_path: Path) -> None:
    """As files of 0.1.0 have it, too: an F1 of 0 where another's picture was called so."""
    run = Path(shutil.copytree(six, tmp_path / "run"))
    per_class = json.loads((run / "evaluation.json").read_text())["per_class"]
    zero = {"value": 0.0, "low": 0.0, "high": 0.3}
    per_class[2] |= {"images": 0, "recall": {**zero, "high": 1.0}, "precision": {**zero, "high": 1.0}, "f1": zero}
    change(run / "evaluation.json", per_class=per_class)
    found, name = report(run), per_class[2]["name"]
    row = next(line for line in found.rows(6) if line[1] == name)
    assert row[2:] == ["0", "–", "–", "–"]
    assert f"Not asked, as none of them shows it: {name}." in found.plain
    assert f"the mean over 5 of {len(per_class)} classes" in found.plain
    compared = Page(write_report([run, six], tmp_path / "both.html").read_text(encoding="utf-8"))
    assert compared.html.count('class="whisker c0"') == compared.html.count('class="whisker c1"') - 1


def test_of_classes_as_frequent_none_is_called_the_most_frequent(six: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(six, tmp_path / "run"))
    per_class = json.loads((run / "evaluation.json").read_text())["per_class"]
    for one, images in zip(per_class, [20, 41, 41, *[0] * len(per_class)], strict=False):
        one["images"] = images
    change(run / "evaluation.json", per_class=per_class, top1=wilson(100, 102), images=102)
    found = report(run).plain
    assert f"Always answering {per_class[1]['name']}, as frequent as any class, would be right 40.2 %" in found
    assert "the most frequent class" not in found


@pytest.mark.parametrize("hits", [6, 10, 12])
def test_a_net_that_learnt_nothing_is_said_to_have(six: Path, tmp_path: Path, hits: int) -> None:
    run = Path(shutil.copytree(six, tmp_path / "run"))
    per_class = json.loads((run / "evaluation.json").read_text())["per_class"]
    for one in per_class:
        one["images"] = 0
    per_class[0]["images"], per_class[1]["images"] = 10, 4
    change(run / "evaluation.json", per_class=per_class, top1=wilson(hits, 14), images=14)
    counts = {"train": 132, "validation": 0, "test": 14}
    change(run / "data.json", counts=counts, image_size=128, source=str(tmp_path / "photos"))
    found = report(run).plain
    lazy = "Always answering 猫, the most frequent class, would be right 71.4 % of the time"
    assert lazy in found
    use = "132 training pictures are few for a net that begins with nothing"
    if hits == 12:  # 85.7 %, its interval from 60 %: not surely better
        assert f"{lazy}: this net is not better, as far as these pictures tell." in found
    else:
        assert f"{lazy}: this net is no better." in found
    assert use in found
    record = runs.read_run(run)
    assert use in lazy_words(record)
    assert "residuum weights fetch" in lazy_words(record)
    for other in ({"image_size": 8}, {"source": "digits"}):  # of these `train` starts from no weights
        kept = {name: json.loads((run / "data.json").read_text())[name] for name in other}
        change(run / "data.json", **other)
        assert "few for a net" not in report(run).plain
        assert "Begun with trained weights" not in lazy_words(runs.read_run(run))
        change(run / "data.json", **kept)
    resolved = json.loads((run / "settings.json").read_text())["resolved"]
    change(run / "settings.json", resolved=resolved | {"shortcut": "none"})  # a plain net has a cause of its own
    assert lazy in report(run).plain
    assert use not in report(run).plain
    change(run / "settings.json", resolved=resolved | {"start": "half-resnet50"})  # it did not begin with nothing
    assert use not in report(run).plain
    change(run / "data.json", counts=counts | {"train": 5000})
    assert use not in report(run).plain
    change(run / "evaluation.json", top1=wilson(1390, 1400), images=1400)
    assert f"{lazy}." in report(run).plain
    assert lazy_words(runs.read_run(run)) == ""


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [
        (0.7, "over-confident"),
        (0.86, "as right as it is sure, as far as these pictures tell"),  # 1.96·√(0.9·0.1/120) = 0.054
        (0.895, "as right as it is sure"),
        (0.97, "under-confident"),
    ],
)
def test_confidence_is_weighed_against_accuracy(six: Path, tmp_path: Path, accuracy: float, said: str) -> None:
    run = Path(shutil.copytree(six, tmp_path / "run"))
    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 1.0, "count": 120, "confidence": 0.9, "accuracy": accuracy},
    ]
    change(run / "evaluation.json", calibration=bins)
    assert f"overall it is {said}." in report(run).text


def test_a_file_name_is_broken_at_its_parts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["cat", "dog"])
    mistakes = json.loads((run / "mistakes.json").read_text())
    (run / "mistakes.json").write_text(json.dumps([{**mistakes[0], "name": "val/<b>/25_dcb.jpg"}]))
    assert "<bdi>val/<wbr>&lt;b&gt;/<wbr>25_<wbr>dcb.jpg</bdi>" in report(run).html


def test_names_at_the_ends_of_lines_leave_room_for_chinese() -> None:
    """A Chinese character is as high as the letters are large, 11.5 on a phone (style.css)."""
    lines = [
        charts.Series(name, [(0.0, 0.2), (1.0, 0.5)], i, name) for i, name in enumerate(("training", "validation"))
    ]
    drawn = charts.curves(lines, charts.LOSS)
    heights = [float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*class="end', drawn)]
    assert len(heights) == 2
    assert abs(heights[0] - heights[1]) >= 1.2 * 11.5


def test_a_long_name_of_a_setting_is_broken_at_its_parts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["cat", "dog"])
    assert "<bdi>multiply_<wbr>adds</bdi>" in write_report([run]).read_text(encoding="utf-8")


def test_terms_of_how_pictures_were_shown_are_explained(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["cat", "dog"])
    change(run / "evaluation.json", protocol="picture, also at half its side, shorter side 110, central 96×96")
    text = report(run).text
    assert "Also at half its side: the net is asked" in text
    assert "the square is cut out of that" in text
    assert "Folds:" not in text


@pytest.mark.parametrize("views", SAID)
def test_what_lies_outside_the_square_in_the_middle_is_not_said_to_be_seen(tmp_path: Path, views: Views) -> None:
    wide = np.zeros((16, 48, 3), np.uint8)
    other = wide.copy()
    other[:, :16] = other[:, 32:] = 255
    assert np.array_equal(*(evaluation_view(one, 16, 16) for one in (wide, other)))
    run = write_run(tmp_path / "run", ["cat", "dog"])
    how = Preprocessing(16, 16, np.zeros(3, np.float32), np.ones(3, np.float32), views=views)
    change(run / "evaluation.json", protocol=protocol(how, views))
    assert "about the square in the middle of a picture" in report(run).text


def test_a_net_that_is_never_unsure_is_said_to_be(page: Page, tmp_path: Path) -> None:
    said = "This net never says “unsure”"
    assert said in page.text
    assert "What does it not know?" in page.text
    run = write_run(tmp_path / "run", ["cat", "dog"])
    (run / "evaluation.json").unlink()
    assert said not in Page(write_report([run]).read_text(encoding="utf-8")).text  # it may come yet


def test_settings_and_data_are_listed(page: Page) -> None:
    rows = {row[0]: row[1] for row in page.cells if len(row) == 2}
    assert rows["recipe"] == "quick"
    assert rows["epochs"] == "30 asked for"
    assert rows["widths"] == "16, 32, 64"
    assert rows["stem.pool"] == "no"
    assert rows["schedule.peak"] == "0.1"
    assert rows["counts.train"] == "45000"
    assert rows["torch"] == "2.15.0"
    assert rows["fingerprint"].startswith("sha256:6b3a")
    assert "residuum train pictures/animals --model resnet20 --epochs 30 --seed 0" in page.text


def test_validation_figures_are_named_as_such(tmp_path: Path) -> None:
    write_run(tmp_path / "run", ["a", "b"])
    change(tmp_path / "run" / "evaluation.json", split="validation")
    change(tmp_path / "run" / "data.json", counts={"train": 900, "validation": 100, "test": None})
    found = report(tmp_path / "run").text
    assert "pictures kept aside from training, it names" in found
    assert "it never saw" not in found
    assert "The data has no test pictures." in found


# --- what is missing is said --------------------------------------------------------------------

OPTIONAL = ["environment.json", "data.json", "metrics.jsonl", "evaluation.json", "mistakes.json"]


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["environment.json"], ["says nothing of its environment"]),
        (["data.json"], ["says nothing of its data"]),
        (["metrics.jsonl"], ["holds no metrics yet"]),
        (["evaluation.json"], ["There are no final figures", "6 of 6 epochs done", "No confusion matrix"]),
        (["mistakes.json"], ["No mistakes to show"]),
        (OPTIONAL, ["There are no final figures", "has not finished an epoch yet", "holds no metrics yet"]),
    ],
)
def test_missing_files_are_said_in_place(tmp_path: Path, gone: list[str], said: list[str]) -> None:
    write_run(tmp_path / "run", NAMES)
    for name in gone:
        (tmp_path / "run" / name).unlink()
    found = report(tmp_path / "run")
    assert all(words in found.text for words in said)
    assert len(found.all("section")) >= 6


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(settings_json()))
    found = report(tmp_path)
    assert "There are no final figures" in found.text
    assert "says nothing of its data" in found.text
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(UserError, match=r"settings\.json is not what residuum(.|\n)*missing required field"):
        report(tmp_path)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small run of six classes, to be copied and damaged."""
    names = ["猫", "dog", "c", "d", "e", "f"]
    run = write_run(tmp_path_factory.mktemp("report") / "six", names, images=120, epochs=3)
    mistakes = json.loads((run / "mistakes.json").read_text())
    (run / "mistakes.json").write_text(json.dumps(mistakes[:2]))
    return run


@pytest.mark.parametrize("name", ["settings.json", *OPTIONAL])
def test_a_file_that_holds_something_else_is_refused(six: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(six, tmp_path / "run"))
    (run / name).write_text("[1]")
    with pytest.raises(UserError) as error:
        report(run)
    assert f"{run / name} is not what residuum" in error.value.what
    assert error.value.why.endswith("do not say which version wrote them")
    assert error.value.mend
    assert not (run / "report.html").exists()


def copied_once(run: Path, to: Path) -> Path:
    """Copy a run for many examples, each of which damages one file and then brings it back, or writes it anew."""
    return to if to.exists() else Path(shutil.copytree(run, to))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_figures_are_refused_or_make_a_whole_page(six: Path, tmp_path: Path, data: st.DataObject) -> None:
    run = copied_once(six, tmp_path / "run")
    name = data.draw(st.sampled_from(["evaluation.json", "mistakes.json", "data.json", "environment.json"]))
    tree = json.loads((six / name).read_text())
    *way, last = data.draw(st.sampled_from([way for way in leaves(tree) if way]))
    place = tree
    for key in way:
        place = place[key]
    old, bad = (
        place[last],
        data.draw(st.sampled_from([None, math.nan, math.inf, -1, 10**9, "x", [], {}, True])),
    )
    place[last] = bad
    (run / name).write_text(json.dumps(tree))
    try:
        found = page_or_refusal(lambda: write_report([run]), run / name)
    finally:
        shutil.copy(six / name, run / name)
    if found is None:
        return
    assert may_stand_for(bad, old)
    assert not re.search(r"\b(nan|inf)\b", found.text, re.IGNORECASE)
    assert not [value for key in ("d", "x", "y", "width", "height") for value in found.values(key) if "nan" in value]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_metrics_are_refused_or_leave_gaps(six: Path, tmp_path: Path, data: st.DataObject) -> None:
    run = copied_once(six, tmp_path / "run")
    lines = [json.loads(line) for line in (six / "metrics.jsonl").read_text().splitlines()]
    key = data.draw(st.sampled_from(["epoch", "step", "loss", "lr", "train_loss", "validation_accuracy", "seconds"]))
    bad: Any = data.draw(st.sampled_from([None, math.nan, math.inf, -1.0, 0, 1e300, "x", []]))
    which = data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=1))
    damaged = [line | {key: bad} if i in which else line for i, line in enumerate(lines)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in damaged))
    wrong = [i for i in which if key not in lines[i] or not _may_be(key, bad)]
    if wrong:
        with pytest.raises(UserError) as error:
            report(run)
        assert f"line {min(wrong) + 1} of {run / 'metrics.jsonl'} is not what" in error.value.what
        assert error.value.mend
        return
    found = report(run)
    assert "Learning curves" in found.text
    assert not [value for name in ("d", "x", "y", "x1", "y1") for value in found.values(name) if "nan" in value]


def _may_be(key: str, value: Any) -> bool:
    """Say whether a line may hold it: a loss need not be finite, validation may be missing, a step is whole."""
    if key in {"loss", "train_loss"}:
        return isinstance(value, float | int)
    if key == "validation_accuracy":
        return value in (None, 0)
    return value == 0 or (value == 1e300 and key != "step")


# --- several runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two runs that differ by seed alone and one of another depth; tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        write_run(folder / f"run {seed}", NAMES, seed=seed, skill=skill)
        for seed, skill in enumerate([0.85, 0.85, 0.93])
    ]
    resolved = json.loads((runs[2] / "settings.json").read_text())["resolved"]
    change(
        runs[2] / "settings.json",
        resolved={**resolved, "depth": 56, "net": {**resolved["net"], "counts": [9] * 3}},
    )
    return runs


@pytest.fixture(scope="module")
def compared(three: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(*three, out=tmp_path_factory.mktemp("compared") / "all.html")


def top1(run: Path) -> Json:
    found: Json = json.loads((run / "evaluation.json").read_text())["top1"]
    return found


def test_runs_are_set_side_by_side(three: list[Path], compared: Page) -> None:
    rows = [row for row in compared.cells if len(row) == 9][1:]
    assert [row[1] for row in rows] == ["run 0", "run 1", "run 2"]
    for row, run in zip(rows, three, strict=True):
        assert row[5].split("\u00a0")[0] == wording.percent_figure(top1(run)["value"])
    assert max(Counter(compared.values("id")).values()) == 1
    assert "C (\u2068run 2\u2069) names the most pictures correctly" in compared.text
    assert "lies above those of the other runs" in compared.text


def mistakes_of(run: Path) -> list[Json]:
    found: list[Json] = json.loads((run / "mistakes.json").read_text())
    return found


def wrong_only_on(run: Path, pictures: range, images: int = 360) -> Path:
    """Let the run have these mistakes and no others, all of them on record."""
    wrong = [{**one, "name": f"test row {row}"} for row, one in zip(pictures, mistakes_of(run), strict=False)]
    (run / "mistakes.json").write_text(json.dumps(wrong))
    k, hits = len(NAMES), images - len(wrong)
    confusion = [[0] * k for _ in range(k)]
    confusion[0][0], confusion[0][1] = hits, len(wrong)
    change(run / "evaluation.json", confusion=confusion, images=images, top1=wilson(hits, images))
    return run


@pytest.mark.parametrize(
    ("better", "worse", "said"),
    [
        (
            range(13),
            range(8, 32),
            "A alone is wrong on 8, B alone on 19: luck alone may do that (McNemar's exact test, p = 0.052).",
        ),
        (
            range(13),
            range(8, 33),
            "A alone is wrong on 8, B alone on 20: that is more than luck (McNemar's exact test, p = 0.036).",
        ),
    ],
)
def test_runs_that_judged_the_same_pictures_are_compared_picture_by_picture(
    three: list[Path], tmp_path: Path, better: range, worse: range, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The p are scipy's: binomtest(8, 27) and binomtest(8, 28)."""
    runs = [Path(shutil.copytree(three[k], tmp_path / name)) for k, name in enumerate(("better", "worse"))]
    for run, pictures in zip(runs, (better, worse), strict=True):
        wrong_only_on(run, pictures)
    found = report(*runs, out=tmp_path / "both.html").plain
    assert f"Of the same pictures, {said}" in found
    assert "overlaps" not in found
    monkeypatch.setenv("RESIDUUM_LANG", "zh")
    assert "同样的图片中，只有 A 认错的有 8 张，只有 B 认错的有" in report(*runs, out=tmp_path / "zh.html").plain


def test_overlapping_intervals_leave_open_which_is_better(three: list[Path], tmp_path: Path) -> None:
    runs = [Path(shutil.copytree(three[k], tmp_path / name)) for k, name in enumerate(("better", "worse"))]
    for run, pictures in zip(runs, (range(13), range(8, 33)), strict=True):
        wrong_only_on(run, pictures)
    (runs[1] / "mistakes.json").write_text(json.dumps(mistakes_of(runs[1])[1:]))  # not all are on record
    found = report(*runs, out=tmp_path / "both.html").plain
    assert "Its interval overlaps with that of B, which leaves open which is better." in found
    assert "McNemar" not in found


def test_only_settings_that_differ_are_listed(compared: Page) -> None:
    rows = {
        row[0]: row[1:] for row in compared.cells if len(row) == 4 and row[0] in {"seed", "depth", "net.counts", "lr"}
    }
    assert rows == {
        "seed": ["0", "1", "2"],
        "depth": ["20", "20", "56"],
        "net.counts": ["3, 3, 3", "3, 3, 3", "9, 9, 9"],
    }


def test_what_all_runs_share_stands_once(three: list[Path], compared: Page, tmp_path: Path) -> None:
    rows = [tuple(row) for row in compared.cells if len(row) == 2]
    alone = [tuple(row) for row in report(three[0], out=tmp_path / "one.html").cells if len(row) == 2]
    assert rows.count(("lr", "0.1")) == alone.count(("lr", "0.1")) == 1
    assert sum(row[0] == "fingerprint" for row in rows) == 1
    assert {row for row in rows if row[0] == "depth"} == {("depth", "20"), ("depth", "56")}
    assert len(rows) < 2 * len(alone)


def test_what_one_run_alone_knows_is_not_shared() -> None:
    found = comparison.part("made up", [{"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": 1, "ema": 0.9}, {"lr": 0.1}])
    assert found.shared == {"lr": 0.1}
    assert found.own == [{"seed": 0}, {"seed": 1, "ema": 0.9}, {}]


def test_a_net_begun_with_says_its_own_shortcut(three: list[Path], tmp_path: Path) -> None:
    """A run with --start sets nothing of the net: "none" would call it a plain one."""
    new, begun = (Path(shutil.copytree(three[0], tmp_path / name)) for name in ("new", "begun"))
    for run, shortcut, inner in ((new, "B", "B"), (begun, None, "B")):
        resolved = json.loads((run / "settings.json").read_text())["resolved"]
        net = resolved["net"] | {"shortcut": inner}
        change(run / "settings.json", resolved=resolved | {"shortcut": shortcut, "net": net, "lr": None})
    found = report(new, begun, out=tmp_path / "all.html")
    assert "None: all settings are the same." in found.text
    assert ["shortcut", "B"] in found.rows(2)
    assert ["lr", "–"] in found.rows(2)
    change(begun / "settings.json", resolved=resolved | {"shortcut": None, "net": net | {"shortcut": "none"}})
    rows = report(new, begun, out=tmp_path / "all.html").rows(3)
    assert ["shortcut", "B", "none"] in rows


def test_it_is_said_on_what_runs_were_judged(three: list[Path], compared: Page) -> None:
    images = json.loads((three[0] / "evaluation.json").read_text())["images"]
    assert f"All were judged on {images:,} test pictures." in compared.text


def test_runs_that_differ_by_seed_are_averaged(three: list[Path], compared: Page) -> None:
    found = plain_text(compared)
    values = [100 * top1(run)["value"] for run in three[:2]]
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    spread = f"mean {mean:.2f} %, standard deviation {deviation:.2f} points over 2 runs"
    assert f"A, B (\u2068resnet20\u2069) differ only by seed: top-1 {spread}" in found


def test_the_same_seed_twice_is_no_repeat(three: list[Path], tmp_path: Path) -> None:
    found = report(three[0], three[0], out=tmp_path / "all.html").text
    assert "differ only by seed" not in found
    assert "None: all settings are the same." in found


def test_intervals_that_overlap_settle_nothing(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, ["a", "b"], epochs=2) for name in "xy"]
    for run, value in zip(runs, (0.80, 0.81), strict=True):
        change(run / "evaluation.json", top1={"value": value, "low": value - 0.02, "high": value + 0.02})
    assert "overlaps with that of A" in report(*runs, out=tmp_path / "all.html").text


def test_runs_that_do_not_compare_are_said_not_to(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, ["a", "b"], epochs=2) for name in "xyz"]
    change(runs[0] / "data.json", fingerprint="another")
    change(runs[1] / "evaluation.json", split="validation")
    (runs[2] / "evaluation.json").unlink()
    found = report(*runs, out=tmp_path / "all.html").text
    assert "did not use the same data" in found
    assert "judged on different splits" in found
    of_each = [re.sub(r"\s+", " ", one) for one in re.findall(r"[AB]\s+10,000 \w+ pictures", found)]
    assert of_each == ["A 10,000 test pictures", "B 10,000 validation pictures"]
    assert "C: no final figures yet" in found


def test_recall_of_many_classes_shows_where_runs_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [f"class {i}" for i in range(60)], epochs=2) for name in "xy"]
    per_class = json.loads((runs[0] / "evaluation.json").read_text())["per_class"]
    per_class[37]["recall"] = {"value": 0.011, "low": 0.0, "high": 0.05}
    change(runs[0] / "evaluation.json", per_class=per_class)
    found = report(*runs, out=tmp_path / "all.html")
    assert "the 40 of 60 classes whose recall differs most" in found.text
    assert "A: 1.1 %" in plain_text(found)


def test_thirty_runs_make_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ["a", "b"], epochs=2)
    found = report(*[run] * 30, out=tmp_path / "all.html")
    assert "30 runs compared" in found.text
    assert {"Z", "A2", "D2"} <= {row[0].split()[0] for row in found.cells if len(row) == 9 and row[0].strip()}


def test_no_run_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run was given"):
        write_report([])
    with pytest.raises(UserError, match="is not a run folder"):
        write_report([tmp_path])


def test_a_thousand_classes_stay_small(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [f"类别 class {i}" for i in range(1000)], images=50_000, epochs=90)
    assert write_report([tmp_path / "run"]).stat().st_size < 1_500_000


# --- wording ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.883, "88.3 %"),
        (1.0, "100.0 %"),
        (0.99996, "99.996 %"),
        (0.9999, "99.99 %"),
        (0.0, "0.0 %"),
        (0.0001, "0.01 %"),
        (None, "–"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(value: float | None, expected: str) -> None:
    assert wording.percent(value).replace("\u00a0", " ") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (272_474, "272 k"),
        (25_557_032, "25.6 M"),
        (4_089_284_608, "4.09 G"),
        (999_600, "1.00 M"),
        (64, "64"),
        (None, "–"),
    ],
)
def test_large_numbers_keep_three_figures(value: float | None, expected: str) -> None:
    assert wording.short(value).replace("\u00a0", " ") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.42, "0.4 s"),
        (42.2, "42 s"),
        (59.7, "1 min 0 s"),
        (723, "12 min 3 s"),
        (3599.9, "1 h 0 min"),
        (6120, "1 h 42 min"),
    ],
)
def test_times_are_written_for_people(seconds: float, expected: str) -> None:
    assert wording.duration(seconds).replace("\u00a0", " ") == expected


# --- in a real browser --------------------------------------------------------------------------


@in_browser
def test_a_browser_shows_it_without_complaint(three: list[Path], tmp_path: Path, browse: Browse) -> None:
    dom, console = browse(write_report(three, tmp_path / "all.html"))
    assert console == []
    assert all(name in dom for name in NAMES[:-1])
    assert "&lt;script&gt;alert('x')&lt;/script&gt;" in dom
    assert '<button type="button" data-copy="r0-command">Copy</button>' in dom  # the script showed it


@in_browser
def test_a_browser_refuses_any_other_script(ten: Path, tmp_path: Path, browse: Browse) -> None:
    changed = tmp_path / "changed.html"
    html = write_report([ten]).read_text(encoding="utf-8")
    changed.write_text(html.replace("</body>", "<script>document.title = 'mine'</script></body>"), encoding="utf-8")
    dom, console = browse(changed)
    assert "<title>mine</title>" not in dom
    assert any("Content Security Policy" in line for line in console)


PRESS = """
<script>
const buttons = [...document.querySelectorAll("#r0-table button")];
const press = (words) => buttons.find((button) => button.textContent === words).click();
const order = () => [...document.querySelectorAll("#r0-table tbody tr")].map((row) => row.cells[0].textContent).join();
const said = [];
press("recall"); said.push(order());
press("recall"); said.push(order());
const box = document.querySelector(".heat");
for (const key of ["ArrowRight", "ArrowDown", "ArrowDown"]) box.dispatchEvent(new KeyboardEvent("keydown", { key }));
said.push(document.querySelector(".readout").textContent);
const input = document.querySelector("input");
input.value = "CLASS 7"; input.dispatchEvent(new Event("input"));
said.push(document.querySelectorAll("#r0-table tbody tr:not([hidden])").length);
document.body.style.maxWidth = "400px";
said.push(document.body.scrollWidth <= 400);
document.body.dataset.said = JSON.stringify(said);
</script></body>
"""


@in_browser
def test_sorting_filtering_and_reading_the_map(tmp_path: Path, browse: Browse) -> None:
    run = write_run(tmp_path / "run", [f"class {i}" for i in range(30)], epochs=2)
    html = write_report([run]).read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace("</body>", PRESS)
    (tmp_path / "pressed.html").write_text(html, encoding="utf-8")
    dom, console = browse(tmp_path / "pressed.html")
    assert console == []
    rising, falling, readout, shown, fits = json.loads(Page(dom).all("body")[0]["data-said"])

    judged = json.loads((run / "evaluation.json").read_text())
    recall = [one["recall"]["value"] for one in judged["per_class"]]
    assert [recall[int(i)] for i in rising.split(",")] == sorted(recall)
    assert [recall[int(i)] for i in falling.split(",")] == sorted(recall, reverse=True)
    row = judged["confusion"][2]
    assert (
        readout.replace("\u2068", "")
        .replace("\u2069", "")
        .startswith(f"class 2 called class 1: {row[1]} of {sum(row)} pictures")
    )
    assert shown == 1
    assert fits is True


def test_what_at_least_would_do_is_counted_from_the_answers() -> None:
    luck = np.random.default_rng(0)
    answers = luck.dirichlet([1.0, 1.0, 1.0], 300).astype(np.float32)
    labels = np.where(luck.random(300) < 0.7, answers.argmax(axis=1), luck.integers(0, 3, 300))
    found = judge(answers, labels, ("a", "b", "c"), split="test", protocol="once")
    right, sure = answers.argmax(axis=1) == labels, answers.max(axis=1)
    said = sentences.by_probability(found)
    assert len(said) == 2
    for limit, words in zip((0.6, 0.8), said, strict=True):
        few = sure < limit
        assert words.replace("\u00a0", " ") == (
            f"With --at-least {limit:g}, predict would call {few.sum()} of these 300 answers unsure: "
            f"{right[few].mean():.1%} of those are right; of the others {right[~few].mean():.1%}."
        ).replace("%", " %")
    certain = judge(np.eye(3, dtype=np.float32), np.arange(3), ("a", "b", "c"), split="test", protocol="once")
    assert sentences.by_probability(certain) == []
    none = judge(np.full((9, 3), 1 / 3, np.float32), np.arange(9) % 3, ("a", "b", "c"), split="test", protocol="once")
    assert sentences.by_probability(none)[0].endswith("none is left.")
    assert [one for one in map(chinese.said, [*said, *sentences.by_probability(none)]) if "would" in one] == []
