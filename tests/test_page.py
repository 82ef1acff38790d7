"""The page at /, in a real Chromium against the real server: drop, camera, blocks off, link, keyboard, Chinese."""

import base64
import contextlib
import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tinycss2
from page_reading import in_browser
from PIL import Image
from small_start import coloured_noise
from test_explain import small
from test_style import classes as styled
from test_style import faults
from test_widths import WIDTHS, cut

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

# ruff: noqa: E402
from browser import Tab
from served_here import served_at

from residuum import outward_verbs
from residuum.data.decode import decode
from residuum.data.preprocess import Preprocessing
from residuum.data.resize import evaluation_view
from residuum.engines.with_torch import TorchEngine
from residuum.errors import UserError
from residuum.explanation.live import switched
from residuum.files import read_json
from residuum.loading import Classifier, load, save_classifier
from residuum.outward_settings import ServeSettings, ShowSettings
from residuum.page.page import MODULES, page
from residuum.records.model import Provenance
from residuum.records.run import Data
from residuum.serving import show as showing
from residuum.serving.service import Service

PAGE = Path(showing.__file__).parents[1] / "page"
HOSTILE = "<img src=x onerror=alert(1)>"
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), HOSTILE: (40, 40, 220), "黄色": (220, 220, 40)}

# --- the file -----------------------------------------------------------------------------------


def test_it_asks_nobody_and_runs_one_script() -> None:
    html = page()
    assert not re.search(r"https?://|//\w+\.\w+|@import|url\(", html.replace("http://www.w3.org/2000/svg", ""))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = re.search('content="(default-src[^"]+)"', html)
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none'; ")
    assert "connect-src 'self'" in policy[1]
    assert not re.search(r"\b(eval|innerHTML|insertAdjacentHTML|document\.write)\b", script[1])
    assert {f"{name}.js" for name in MODULES} == {path.name for path in PAGE.glob("*.js")}


def test_every_word_stands_in_both_languages() -> None:
    words = read_json(PAGE / "words.json")
    assert list(words["en"]) == list(words["zh"])
    for name, english in words["en"].items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", words["zh"][name])), name
    asked = set(re.findall(r'data-t(?:-label)?="(\w+)"', page()))
    assert asked <= set(words["en"])


def test_its_style_is_understood_and_used() -> None:
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    assert faults(style) == []
    used = set(re.findall(r"[\w-]+", " ".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.[hj]*"))))
    assert {name for name in styled(style) if not re.fullmatch(r"[spw]\d", name)} - used == set()
    assert tinycss2.parse_stylesheet(style)


# --- in the browser -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file whose data are at hand: six blocks, four of which can be off."""
    folder = tmp_path_factory.mktemp("page")
    data = coloured_noise(folder / "pictures", COLOURS, 2, 24)
    names = tuple(sorted(COLOURS))
    about = Data(
        name="pictures",
        source=str(data),
        classes=names,
        fingerprint="",
        counts={"train": 8, "validation": 0, "test": 0},
        validation_from="",
        image_size=16,
    )
    how = Preprocessing(16, 16, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    net = small()
    save_classifier(folder / "colours.safetensors", net, net.spec, names, how, Provenance(data=about))
    return folder / "colours.safetensors"


@pytest.fixture(scope="module")
def classifier(model: Path) -> Classifier:
    return load(model)


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[tuple[Service, str]]:
    with served_at(model) as found:
        yield found


ANSWERED = """document.querySelectorAll('#bars li').length > 1 && document.getElementById('looks').hidden === false
    && document.querySelector('main').ariaBusy === 'false'"""
BARS = """[...document.querySelectorAll('#bars li')]
    .map(li => [...li.querySelectorAll('bdi, b')].map(n => n.textContent))"""
OFF = """[...document.querySelectorAll('.block')]
    .filter(b => b.ariaChecked === 'false').map(b => b.ariaLabel.split(',')[0])"""
UNNAMED = """[...document.querySelectorAll('button, select, input:not([hidden]), a')].filter(n => n.checkVisibility())
    .filter(n => !(n.ariaLabel || n.textContent.trim() || n.labels?.length || n.title)).length"""
ROWS = "[...document.querySelectorAll('.block')].map(b => b.getBoundingClientRect()).map(r => [r.top, r.height])"


def says(text: str) -> str:
    """It is true once the sentence about the net has this in it."""
    return f"document.getElementById('sentence')?.textContent.includes({json.dumps(text)})"


@pytest.fixture
def tab(chromium: Tab, served: tuple[Service, str]) -> Tab:
    """The page, opened anew at 1200 px, with the first picture of the run's data answered."""
    chromium.requests.clear()
    chromium.messages.clear()
    chromium.size(1200)
    chromium.open(served[1])
    chromium.wait(ANSWERED)
    return chromium


def shown(percent: str) -> float:
    return float(re.sub(r"[^\d.]", "", percent)) / 100


def is_answered(tab: Tab, classifier: Classifier, picture: Path, off: list[str]) -> None:
    """The bars are what the net gives with those blocks off."""
    how = classifier.preprocessing
    view = evaluation_view(decode(picture.read_bytes(), ""), how.image_size, how.resize_to)
    expected = switched(classifier, view, off).answers
    found = tab.js(BARS)
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (_, percent), (_, probability) in zip(found, expected, strict=True):
        assert abs(shown(percent) - probability) < 0.0006 or "<" in percent


def off_are(tab: Tab, names: list[str]) -> None:
    tab.wait(f"JSON.stringify({OFF}) === {json.dumps(json.dumps(names, separators=(',', ':')))}")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "own.png")
    return tmp_path / "own.png"


def dropped(tab: Tab, picture: Path) -> None:
    tab.drop(picture)
    tab.wait(f"document.getElementById('seen').alt.includes('own.png') && {ANSWERED}")


@in_browser
def test_a_dropped_picture_is_answered_and_nobody_else_is_asked(
    tab: Tab, served: tuple[Service, str], classifier: Classifier, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tab.js("document.querySelectorAll('#examples img').length") == 8
    dropped(tab, picture)
    is_answered(tab, classifier, picture, [])
    tab.wait("document.querySelectorAll('#split i').length === 4")
    assert "decoding" in tab.js("document.getElementById('split').ariaLabel")
    assert tab.js("document.getElementById('heat').naturalWidth") > 0
    assert "never says that it is unsure" in tab.js("document.querySelector('#unsure.note:not([hidden])').textContent")
    assert HOSTILE in tab.js("document.getElementById('evidence').textContent")
    assert tab.js("document.getElementById('engine').textContent") == "torch, float32"
    monkeypatch.setattr(TorchEngine, "precision", "bfloat16")
    pasted = """(() => { const data = new DataTransfer(), png = [PNG];
        data.items.add(new File([Uint8Array.from(png)], "pasted.png", {type: "image/png"}));
        dispatchEvent(new ClipboardEvent("paste", {clipboardData: data})); })()"""
    tab.js(pasted.replace("PNG", ",".join(map(str, picture.read_bytes()))))
    tab.wait(f"document.getElementById('seen').alt.includes('pasted.png') && {ANSWERED}")
    assert "then, block by block, torch, float32" in tab.js("document.getElementById('engine').textContent")
    is_answered(tab, classifier, picture, [])
    began = time.monotonic()
    tab.js("""(() => { const shown = document.getElementById("shown");
        shown.value = 2; shown.dispatchEvent(new Event("input")); })()""")
    tab.wait(f"document.querySelectorAll('#bars li').length === 2 && {ANSWERED}")
    assert time.monotonic() - began > 0.4  # half a second, then it is asked again
    assert tab.js("document.querySelectorAll('img[src=x]').length") == 0
    assert all(one.startswith((served[1], "data:", "blob:", "about:")) for one in tab.requests)
    assert tab.messages == []


@in_browser
def test_a_file_that_is_no_picture_leaves_no_answer_of_the_one_before(tab: Tab, picture: Path, tmp_path: Path) -> None:
    dropped(tab, picture)
    (tmp_path / "notes.png").write_bytes(b"no picture")
    tab.drop(tmp_path / "notes.png")
    tab.wait("!document.getElementById('fault').hidden && document.querySelector('main').ariaBusy === 'false'")
    assert re.match("[A-Z].*[.]$", tab.js("document.getElementById('fault').textContent"))
    assert tab.js(BARS) == []
    assert tab.js("document.getElementById('sentence').textContent") == ""
    assert tab.js("""['looks', 'times', 'unsure', 'choices'].filter(id => !document.getElementById(id).hidden)""") == []
    assert tab.js("[...document.querySelectorAll('.block')].every(b => b.ariaLabel.includes('no answer yet'))")
    dropped(tab, picture)
    assert tab.js("document.getElementById('fault').hidden")


@in_browser
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("notes.txt", b"no picture\n", "It is none of PNG, JPEG"),
        ("bill.pdf", b"%PDF-1.7\n", "It is a PDF"),
        ("of one line.txt", "蚂蚁".encode(), "It is none of PNG, JPEG"),  # as curl -d may have left a picture
        ("empty.txt", b"", "Its body is empty"),
    ],
)
def test_of_a_file_that_is_no_picture_a_person_is_told_what_to_do(
    tab: Tab, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    tab.drop(tmp_path / name)
    tab.wait("!document.getElementById('fault').hidden && document.querySelector('main').ariaBusy === 'false'")
    said = tab.js("document.getElementById('fault').textContent")
    assert why in said
    assert not re.search("curl|-data|application/|image/", said)
    assert "Send a whole picture: PNG, JPEG" in said or "Choose a file that is a picture, such as a JPEG" in said


@in_browser
def test_a_map_that_takes_too_long_is_left_out_and_asked_for_again(
    tab: Tab, served: tuple[Service, str], picture: Path
) -> None:
    model = served[0].models["colours"]
    heat, predict = model.heat["Grad-CAM"], model.predict
    measured = heat.seconds, predict.seconds
    heat.seconds, model.answers["Grad-CAM"] = 1e6, (times := model.answers["Grad-CAM"]) * 1e9
    dropped(tab, picture)
    heat.seconds, predict.seconds = measured
    model.answers["Grad-CAM"] = times
    assert "takes too long now" in tab.js("document.getElementById('heat-note').textContent")
    assert tab.js("document.getElementById('heat').hidden && document.getElementById('fault').hidden")
    tab.js("document.getElementById('evidence').dispatchEvent(new Event('change'))")
    tab.wait("!document.getElementById('heat').hidden")


@in_browser
def test_a_block_switched_off_changes_the_answer_and_a_link_brings_it_back(
    tab: Tab, classifier: Classifier, picture: Path
) -> None:
    dropped(tab, picture)
    tab.click(".block:nth-of-type(6)")
    tab.wait(says("5 of 6"))
    is_answered(tab, classifier, picture, ["stage3.block2"])
    tab.click(".block:nth-of-type(2)")
    tab.wait(says("4 of 6"))
    is_answered(tab, classifier, picture, ["stage1.block2", "stage3.block2"])
    tab.click(".block:nth-of-type(3)")  # it changes the size: it stays
    both = tab.js(OFF)
    assert both == ["stage1.block2", "stage3.block2"]
    assert "off=stage3.block2,stage1.block2" in tab.js("document.getElementById('curl').textContent")
    runs_as_shown(tab.js("document.getElementById('python').textContent"), picture, tab.js(BARS))
    link = tab.wait("/off=\\S+,\\S+&seen=/.test(location.hash) && location.href")
    tab.open(link)
    tab.wait(f"{ANSWERED} && {says('4 of 6')}")
    assert tab.js(OFF) == both
    is_answered(tab, classifier, picture, both)


def runs_as_shown(code: str, picture: Path, bars: list[list[str]]) -> None:
    """The program to copy answers as the page does."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace("PICTURE.jpg", str(picture)), {})
    assert re.findall("'class': ('.+?'), 'prob", said.getvalue()) == [repr(name) for name, _ in bars]


@in_browser
def test_the_drawing_is_saved_as_it_stands(tab: Tab, tmp_path: Path) -> None:
    tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.click(".block:nth-of-type(2)")
    tab.wait(says("5 of 6"))
    tab.click("#save")
    until = time.monotonic() + 20
    while not (saved := tmp_path / "colours.png").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    image = Image.open(saved).convert("RGB")
    wide, high = tab.js("(v => [v.width, v.height])(document.querySelector('#drawing svg').viewBox.baseVal)")
    assert image.size == (2 * (wide + 56), 2 * (high + 62 + 22 + 20 + 17))
    colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert {(255, 255, 255), (0x0A, 0x58, 0xA6), (0xB0, 0x4A, 0x00)} <= colours  # paper, a block, a line without one


@in_browser
def test_by_keyboard_alone(tab: Tab) -> None:
    tab.press("Tab", "Enter")  # the link that skips to the net
    assert tab.js("document.activeElement.ariaLabel").startswith("stage1.block1, on")
    tab.press("ArrowRight", " ")
    off_are(tab, ["stage1.block2"])
    assert tab.js("document.activeElement.ariaLabel").startswith("stage1.block2, off. After it: ")
    tab.press("End", "Home", " ")
    off_are(tab, ["stage1.block1", "stage1.block2"])
    tab.js("document.getElementById('depth').focus()")
    tab.press("End")
    tab.wait(says("It answers"))
    assert tab.js("document.getElementById('depth').ariaValueText") == "14 layers · 6 of 6 blocks"
    tab.press("ArrowLeft")
    tab.wait(says("5 of 6 blocks on, 12 layers"))
    assert tab.js(OFF) == ["stage3.block2"]
    assert tab.js(UNNAMED) == 0


@in_browser
def test_the_camera_is_answered_while_it_runs(tab: Tab) -> None:
    tab.click("#camera")
    tab.wait("!document.getElementById('video').hidden && document.getElementById('video').videoWidth > 0")
    tab.click(".block:nth-of-type(2)")
    tab.wait(says("5 of 6"))
    asked, until = sum("/v1/predict" in one for one in tab.requests), time.monotonic() + 1.2
    while sum("/v1/predict" in one for one in tab.requests) == asked and time.monotonic() < until:
        tab.wait("new Promise(done => setTimeout(done, 50, true))")
    assert sum("/v1/predict" in one for one in tab.requests) > asked
    tab.click("#camera")
    tab.wait("document.getElementById('video').hidden && !document.getElementById('seen').hidden")


@in_browser
def test_on_a_phone_in_chinese(tab: Tab, served: tuple[Service, str]) -> None:
    tab.speak("zh-CN")
    tab.size(375)
    tab.open(served[1])
    tab.wait(ANSWERED)
    assert tab.js("document.documentElement.lang") == "zh-Hans"
    assert tab.js("document.getElementById('net-head').textContent") == "逐块看网络"
    assert tab.js("document.documentElement.scrollWidth") <= 375
    stand, seen = (tab.js(f"document.querySelector('{one}').offsetHeight") for one in (".stand", ".stand img"))
    assert 0 < seen <= stand  # the whole picture
    assert tab.js("((box) => box.scrollWidth - box.clientWidth)(document.querySelector('.stage-scroll'))") == 0
    tops = tab.js(ROWS)
    assert [top for top, _ in tops] == sorted({top for top, _ in tops})  # one below the other
    assert min(height for _, height in tops) >= 44
    tab.click("#language")
    assert tab.js("document.getElementById('net-head').textContent") == "The net, block by block"
    assert tab.js("document.getElementById('split-legend').textContent").startswith("decoding ")
    tab.speak("en-US")


@in_browser
def test_nothing_is_cut_at_any_width(tab: Tab) -> None:
    assert [one for width in WIDTHS for one in cut(tab, width)] == []


CHOSEN = """() => {
    const chosen = new DataTransfer(), input = document.getElementById("file");
    chosen.items.add(new File(["no matter"], "a.png", { type: "image/png" }));
    input.files = chosen.files;
    input.dispatchEvent(new Event("change"));
}"""
"""A picture is chosen."""


NOTICES = """[...document.querySelectorAll('[role=alert]')].filter(n => n.checkVisibility()).map(n => n.textContent)"""


@in_browser
def test_a_server_that_wants_a_token_is_given_it(tab: Tab, served: tuple[Service, str]) -> None:
    service, address = served
    service.token = "open sesame"
    try:
        tab.js("sessionStorage.clear()")
        tab.open(address)
        tab.wait("document.getElementById('asked')?.hidden === false")
        tab.js(f"({CHOSEN})()")
        tab.wait("document.activeElement.id === 'token' && document.querySelector('main').ariaBusy === 'false'")
        assert tab.js(NOTICES) == ["This server wants its token. Whoever runs it has it."]
        tab.js("document.getElementById('token').value = 'open barley'")
        tab.press("Enter")
        tab.wait(f'({NOTICES}).join() === "That is not this server\'s token."')
        tab.js("document.getElementById('language').click()")
        assert tab.js(NOTICES) == ["这不是这台服务器的令牌。"]
        tab.js("document.getElementById('token').value = 'open sesame'")
        tab.press("Enter")
        tab.wait(ANSWERED)
        assert tab.js("document.querySelectorAll('#examples img[src^=blob]').length") == 8
    finally:
        service.token = None


# --- the verb -----------------------------------------------------------------------------------


def test_show_serves_one_model_here_and_opens_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    served, opened = [], threading.Event()

    def serve(settings: ServeSettings, ready: Any) -> None:
        served.append(settings)
        print("a line of the log")
        ready("http://127.0.0.1:9")

    monkeypatch.setattr(showing, "serve", serve)
    monkeypatch.setattr(showing.webbrowser, "open", lambda address: opened.set() or address == "http://127.0.0.1:9")
    outward_verbs.show.run(ShowSettings("RUN", port=0, threads=1))
    assert opened.wait(10)
    assert served == [ServeSettings(("RUN",), port=0, examples=12, threads=1, longest_wait=60.0)]
    assert served[0].host == "127.0.0.1"
    with pytest.raises(UserError, match="which model"):
        outward_verbs.show.run(ShowSettings())
