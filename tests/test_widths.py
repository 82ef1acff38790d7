"""Every kind of page at the widths of a phone, a tablet and a computer, in a real Chromium: nothing is cut."""

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from browser import Tab
from made_up_studies import STUDIES, leave
from page_reading import Page, in_browser
from test_chinese import left_in_english
from test_depth_report import fake_lesion, fake_trim
from test_report import NAMES, change, picture, write_run
from test_several_pages import several_run

from residuum.reporting.page import write_report
from residuum.reporting.study_page import write_study_index, write_study_report

Json = dict[str, Any]

RESULTS = Path(__file__).parents[1] / "results" / "studies"
WIDTHS = (375, 768, 1024, 1200)
LONG = "Donaudampfschifffahrtsgesellschaftskapitän with a long name, 2nd class"
WORDS = ["internationalization", "n02087394-Rhodesian_ridgeback", "golden retriever puppy", "basal cell", "cat"]
CUT = """(() => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  const page = document.documentElement, found = [];
  const name = (node) => `${node.closest("[aria-label]")?.ariaLabel ?? ""}: ${node.tagName} ${node.className}`
    + ` "${node.textContent.trim().slice(0, 40)}"`;
  const whole = "td, th, figcaption, .tile, .big, .answer, .sentence, .note, .gallery li, .confusion th span";
  if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} wide`);
  for (const node of document.querySelectorAll(whole)) {
    const below = node.matches("th span") ? node.scrollHeight - node.clientHeight : 0;
    const over = Math.max(node.scrollWidth - node.clientWidth, below);
    if (over <= 1 || !node.checkVisibility() || node.closest(".unseen")) continue;
    if (getComputedStyle(node).display !== "inline")
      found.push(`cut: ${name(node)} (${node.scrollWidth} in ${node.clientWidth})`);
  }
  for (const box of document.querySelectorAll(".scroll")) {
    const narrow = innerWidth < 500 && box.querySelector(".thresholds");  // eleven columns on a phone
    const may = narrow || box.querySelector(".confusion, svg.map, .across");  // as many as there are classes, or runs
    if (!may && box.checkVisibility() && box.scrollWidth > box.clientWidth)
      found.push(`scrolls: ${box.ariaLabel} (${box.scrollWidth} in ${box.clientWidth})`);
  }
  for (const text of document.querySelectorAll("figure svg.chart text")) {
    const box = text.getBoundingClientRect(), whole = text.closest("figure").getBoundingClientRect();
    if (text.checkVisibility() && (box.left < whole.left || box.right > whole.right))
      found.push(`cut: ${name(text)} (${box.left} to ${box.right} in ${whole.left} to ${whole.right})`);
  }
  return found;
})()"""


def measured(value: float, low: float, high: float) -> Json:
    return {"value": value, "low": low, "high": high}


def reviewed(run: Path) -> Path:
    """Make a run one whose head was fitted, with a heat map beside each mistake and a review of its pictures."""
    heat = {"method": "Grad-CAM", "picture": picture(0.2, 96), "x": 0.2, "y": 0.7}
    mistakes = json.loads((run / "mistakes.json").read_text())[:6]
    (run / "mistakes.json").write_text(json.dumps([{**one, "heat": heat} for one in mistakes]))
    likeness = {"neighbours": 5, "threshold": 0.312, "known": 0.05}
    curve = [{"known": i / 20, "strangers": (i / 20) ** 0.4} for i in range(1, 20)]
    ece = measured(0.05, 0.02, 0.09)
    head = {
        "temperature": 1.31,
        "used": True,
        "ece_before": ece,
        "ece_after": ece,
        "loss_before": 0.31,
        "loss_after": 0.3,
    }
    doubt = {"likeness": likeness, "curve": curve, "strangers": 0.41, "sure": measured(0.94, 0.9, 0.97)}
    (run / "head.json").write_text(json.dumps({**head, "doubt": doubt}))

    def shown(i: int, split: str = "train") -> Json:
        name = f"photographs/{LONG}/IMG_{20_250_101_000 + i}.jpeg"
        return {"split": split, "name": name, "label": NAMES[i % 9], "thumbnail": picture(i / 20, 96)}

    def finding(kind: str, pictures: list[Json], **more: Any) -> Json:
        return {"kind": kind, "score": 0.1, "reason": f"because of {kind}: {LONG}", "pictures": pictures, **more}

    findings = [finding("label", [shown(i)], suggested=LONG) for i in range(30)]
    findings += [finding("copies", [shown(i), shown(i + 1, "test")]) for i in range(3)]
    findings += [finding("copies", [shown(i) for i in range(9)])]
    findings += [finding("unlike", [shown(i)]) for i in range(2)]
    findings += [finding("classes", [shown(1), shown(2)], classes=[NAMES[1], LONG])]
    told = {"data": "photographs", "fingerprint": "sha256:1", "pictures": 243, "answered": 243, "findings": findings}
    (run / "review.json").write_text(json.dumps({**told, "answers": "of a head that had not seen the picture"}))
    change(run / "evaluation.json", split="out-of-fold", images=243)
    return run


def explained(folder: Path) -> Path:
    """Leave what `residuum explain` leaves, of two pictures."""
    said = [{"class": LONG, "probability": 0.91}, {"class": NAMES[3], "probability": 0.09}]
    heat = {"method": "Grad-CAM", "picture": picture(0.2, 96), "x": 0.2, "y": 0.7, "values": [[1.0]]}
    near = {"name": f"{LONG}.jpg", "truth": NAMES[0], "similarity": 0.93, "thumbnail": picture(0.4, 96)}
    blocks = [
        {"block": f"stage{i}.block{j}", "said": said[0], "probabilities": [0.91, 0.09]} for i in (1, 2) for j in (1, 2)
    ]
    one = {"seen": picture(0.3, 96), "answers": said, "heat_of": LONG, "heat": [heat, heat], "blocks": blocks}
    pictures = [{**one, "name": name, "nearest": [near] * 5} for name in (f"{LONG}.jpg", "b.png")]
    about = {
        "model": LONG,
        "shortcut": "B",
        "last_stage": 2,
        "protocol": "four views, 96×96",
        "maps": "the first of these views alone, 96×96",
        "searched": "243 pictures",
    }
    environment = fake_lesion()["environment"]
    folder.mkdir(parents=True)
    whole = {**about, "pictures": pictures, "environment": environment}
    (folder / "explained.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


def left(folder: Path, name: str, content: Json) -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return made(tmp_path_factory.mktemp("widths"))


@pytest.fixture(scope="module")
def chinese_pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESIDUUM_LANG", "zh")
        return made(tmp_path_factory.mktemp("chinese"))


def made(top: Path) -> list[Path]:
    """Leave one page of every kind, with names as long as people's are."""
    names = [*NAMES[:-1], LONG]
    runs = [write_run(top / f"photographs-half-resnet50-s{seed}", names, seed=seed, epochs=12) for seed in range(4)]
    (runs[3] / "evaluation.json").unlink()
    runs.append(reviewed(write_run(top / "tuned", names, epochs=3)))
    runs.append(write_run(top / "many", [f"{LONG} {i}" for i in range(30)], epochs=2))
    runs += [several_run(top / "several", names), several_run(top / "words", WORDS)]
    runs += [write_run(top / f"first-{count}", WORDS[:count]) for count in (2, 3, 4)]
    found = [write_report([run]) for run in runs[3:]]
    found.append(write_report(runs[6:8], top / "several-compared.html"))
    found.append(write_report(runs[:5], top / "compared.html"))
    found.append(write_report([left(top / "lesion", "lesion.json", fake_lesion())]))
    found.append(write_report([left(top / "trim", "trim.json", fake_trim())]))
    for kind, fake in (("lesion", fake_lesion()), ("trim", fake_trim())):
        fake["data"]["several"] = True
        found.append(write_report([left(top / f"several-{kind}", f"{kind}.json", fake)]))
    found.append(write_report([explained(top / "explained")]))
    for name, make in STUDIES.items():
        found.append(write_study_report(leave(top / "studies" / name, make())))
    for name in ("transfer", "lesions"):  # as they were measured
        (top / "measured" / name).mkdir(parents=True)
        shutil.copy(RESULTS / f"{name}.json", top / "measured" / name / "study.json")
        found.append(write_study_report(top / "measured" / name))
    found.append(write_study_index(top / "studies"))
    (top / "chinese").mkdir()
    shutil.copy(RESULTS / "degradation.json", top / "chinese" / "study.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESIDUUM_LANG", "zh")
        found.append(write_study_report(top / "chinese"))
    return found


def test_a_gallery_says_of_each_copy_its_split_and_class(pages: list[Path]) -> None:
    found = Page(next(page for page in pages if page.parent.name == "tuned").read_text(encoding="utf-8"))
    said = re.sub(r"\s+", " ", found.plain)
    for i in range(3):  # of two copies one lies in each split, under its own class
        for split, row in (("train", i), ("test", i + 1)):
            assert f"{split}: {NAMES[row % 9]} photographs/{LONG}/IMG_{20_250_101_000 + row}.jpeg" in said
    assert "and 3 more" in said  # of nine copies
    assert "18 more" in said  # behind a fold, all of them


def test_runs_judged_on_different_pictures_have_no_best(pages: list[Path]) -> None:
    said = Page(next(page for page in pages if page.name == "compared.html").read_text(encoding="utf-8")).plain
    assert "judged on different pictures, so none of them can be called the best" in said
    assert "names the most pictures correctly" not in said


def labels_of(page: str) -> list[tuple[str, set[str]]]:
    """Return what stands above each cell where the window is narrow, and the heads of its table."""
    found = []
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        heads = {
            html.unescape(re.sub("<[^>]*>", "", head)).strip() for head in re.findall("<th scope=.col.*?</th>", table)
        }
        found += [(html.unescape(one), heads) for one in re.findall('data-head="([^"]+)"', table)]
    return found


def test_narrow_windows_label_cells_as_wide_ones_head_columns(pages: list[Path], chinese_pages: list[Path]) -> None:
    for page in (*pages, *chinese_pages):
        for label, heads in labels_of(page.read_text(encoding="utf-8")):
            assert label in heads | {"fault", "原因"}, page


OTHERS = re.compile(
    "\u2068[^\u2069]*\u2069|share of the path|logarithm of the loss|share of the blocks|LONG"
    "|a head that had not seen the picture|review"
    "|number . ?|The residual net with projections in every shortcut|twice as long as the plain one|because of [a-z]+"
    "|made up|direction|column|row|quick|plain[0-9]*|resnet[0-9]*|stage[0-9.a-z]*|recipe_details|net|ECE"
    "|--keep|residuum train DATA --start WEIGHTS --tune head|residuum|csv|Grad-CAM|explain".replace("LONG", LONG)
)
"""Names, and what stands for somebody's own words in what was made up."""


def test_chinese_pages_leave_nothing_in_english(chinese_pages: list[Path]) -> None:
    for page in chinese_pages:
        left = {
            text
            for text in left_in_english(page.read_text(encoding="utf-8"))
            if re.search("[A-Za-z]{3}", OTHERS.sub("", text))
        }
        assert left == set(), page


BROKEN = """(() => {
  const found = [], range = document.createRange();
  for (const name of document.querySelectorAll(".named th[scope=row] bdi")) {
    const texts = [...name.childNodes].filter((one) => one.nodeType === Node.TEXT_NODE);
    for (const [text, word] of texts.flatMap((text) => [...text.data.matchAll(/\\S+/g)].map((word) => [text, word]))) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((line) => line.top)).size > 1) found.push(word[0]);
    }
  }
  return [found, document.querySelectorAll(".named th[scope=row] bdi").length];
})()"""
"""Words of the names in the table of classes that stand in two lines, and how many names there are."""


@in_browser
@pytest.mark.parametrize("width", WIDTHS)
def test_no_word_of_a_class_is_broken(pages: list[Path], chromium: Tab, width: int) -> None:
    for page in (one for one in pages if one.parent.name in {"words", "first-4"}):
        chromium.size(width)
        chromium.open(page.as_uri())
        chromium.wait("document.readyState === 'complete'")
        broken, names = chromium.js(BROKEN)
        assert broken == []
        assert names >= 4


def cut(tab: Tab, width: int) -> list[str]:
    tab.size(width)
    return [f"at {width}: {one}" for one in tab.js(CUT)]


@in_browser
def test_nothing_is_cut(pages: list[Path], chromium: Tab) -> None:
    found, widths = [], WIDTHS
    for page in pages:
        chromium.send("Page.navigate", url=page.as_uri())
        chromium.wait(f"location.href === {json.dumps(page.as_uri())} && document.readyState === 'complete'")
        found += [f"{page.parent.name}/{page.name} {one}" for width in widths for one in cut(chromium, width)]
        widths = widths[::-1]  # from a phone to a computer and back takes as long as to load a page
    assert not found, "\n".join(found)
