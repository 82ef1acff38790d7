"""The site: built without a warning, opened from files in a browser, searched, in both languages."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from page_reading import CHROMIUM

if TYPE_CHECKING:
    from browser import Tab

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def build(*words: str, language: str) -> None:
    environment = {**os.environ, "RESIDUUM_LANG": language, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", str(DOCS), *words]
    subprocess.run(command, env=environment, check=True, timeout=1200)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("furo", reason="the site's packages are not installed: pip install .[docs]")
    made, kept = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("doctrees")
    build("-d", str(kept / "en"), str(DOCS), str(made), language="en")
    build("-t", "zh", "-d", str(kept / "zh"), str(DOCS / "zh"), str(made / "zh"), language="zh")
    return made


@pytest.fixture
def tab(chromium: "Tab") -> "Tab":
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    chromium.requests.clear()
    chromium.messages.clear()
    return chromium


def pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.parts]


def opened(tab: "Tab", page: Path, fragment: str = "") -> None:
    tab.open(page.as_uri() + fragment)
    tab.wait("document.readyState == 'complete' && location.protocol == 'file:'")


def test_every_page_is_there_and_every_link_leads_somewhere(site: Path) -> None:
    sources = {p.relative_to(DOCS).with_suffix(".html").as_posix() for p in DOCS.rglob("*.md")}
    assert sources <= {page.relative_to(site).as_posix() for page in pages(site)}
    for page in pages(site):
        for target in re.findall(r'(?:href|src)="([^"#?:]+)[#?"]', page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(site)}: {target}"


def test_what_was_to_be_made_is_made(site: Path) -> None:
    text = {name: (site / f"{name}.html").read_text(encoding="utf-8") for name in ("claims", "zh/reference/commands")}
    assert text["claims"].count('<figure class="study">') >= 18
    assert "训练图片" in text["zh/reference/commands"]
    assert "residuum.train" in (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert "–to" not in (site / "reference" / "python.html").read_text(encoding="utf-8"), "a flag is copied"
    files = (site / "reference" / "files.html").read_text(encoding="utf-8")
    assert all(word in files for word in ("evaluation.json", "macro_f1", "Expected calibration error"))
    for page in pages(site):
        assert "<!-- made:" not in page.read_text(encoding="utf-8")


def test_chinese_pages_say_nothing_around_them_in_english_and_have_no_blanks_in_words(site: Path) -> None:
    for page in pages(site / "zh"):
        html = page.read_text(encoding="utf-8")
        assert not re.search(r">\s*(Next|Previous|Home|On this page|Copyright &#169;.*|Made with)\s*<", html), page
        if page.parent.name == "tutorials":
            text = re.sub(r"<(pre|script|style)\b.*?</\1>", "", html, flags=re.DOTALL)
            assert not re.search("[\u4e00-\u9fff，。]\n[\u4e00-\u9fff]", text), page


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize(
    "name",
    [
        "index",
        "tutorials/photographs",
        "claims",
        "reference/commands",
        "reference/python",
        "reference/files",
        "zh/index",
        "zh/claims",
        "zh/reference/commands",
    ],
)
def test_a_page_fits_and_asks_nobody(site: Path, tab: "Tab", name: str, width: int, dark: bool) -> None:
    tab.size(width)
    tab.dark(dark)
    opened(tab, site / f"{name}.html")
    assert tab.js("document.documentElement.scrollWidth") <= width
    assert not tab.messages
    assert all(request.startswith(("file:", "data:", "about:")) for request in tab.requests)


@pytest.mark.parametrize(
    ("page", "words", "found"),
    [
        ("search.html", "checkpointing", "how-to/train.html"),
        ("zh/search.html", "快捷连接", "tutorials/depth.html"),
        ("zh/search.html", "运行目录", "how-to/data.html"),
        ("zh/search.html", "退化", "tutorials/depth.html"),
    ],
)
def test_the_search_works_from_files(site: Path, tab: "Tab", page: str, words: str, found: str) -> None:
    tab.size(1200)
    opened(tab, site / page, f"?q={words}")
    tab.wait(f"[...document.querySelectorAll('#search-results a')].some(a => a.href.includes('{found}'))")


def test_the_other_language_is_one_key_press_away(site: Path, tab: "Tab") -> None:
    tab.size(1200)
    opened(tab, site / "how-to" / "data.html")
    tab.js("document.querySelector('a.language').focus()")
    tab.press("Enter")
    tab.wait("document.readyState == 'complete' && location.pathname.endsWith('/zh/how-to/data.html')")
    assert tab.js("document.documentElement.lang").lower().startswith("zh")
