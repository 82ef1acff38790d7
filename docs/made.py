"""What the site's pages leave to be made: the studies' figures, from results/. What the code says is on the pages.

Also what differs between a repository and a site: links to files outside the pages become the files themselves,
those to folders plain text, and the list on the front page becomes the navigation.
"""

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import claims_page
import sphinx.search as sphinx_search
from docutils import nodes

import residuum
from residuum import chinese
from residuum.reporting import charts, study_view
from residuum.reporting.study_chinese import in_chinese

DOCS = Path(__file__).parent
PACKAGE = Path(residuum.__file__).parent
MADE = re.compile(r"<!-- made: figures (\S+) -->")
LINK = re.compile(r"\[([^\[\]]+)\]\(([^)\s]+)\)")
CHARTS = re.compile(r"/\* --- charts --- \*/.*?(?=/\* --- )", re.DOTALL)


def figures(name: str, is_chinese: bool) -> str:
    """Return the first chart of a study, or of every one, under its question."""
    studies = [one for one in claims_page.read_results() if name in ("all", one.name) and one.charts]
    drawn = [_figure(in_chinese(one) if is_chinese else one) for one in studies]
    return "\n\n".join(map(chinese.page, drawn) if is_chinese else drawn)


def _figure(study: Any) -> str:
    picture = study_view.view_study(study).pictures[0]
    legend = "".join(f"<li>{charts.swatch(one.style, one.faint)} {one.label}</li>" for one in picture.legend)
    text = f"<strong>{study.name}</strong> {picture.title}"
    key = f'<ul class="legend">{legend}</ul>' if legend else ""
    note = f'<p class="note">{picture.note}</p>' if picture.note else ""
    html = f'<figure class="study"><figcaption>{text}</figcaption>{key}{picture.drawing}{note}</figure>'
    return re.sub(r"\n\s*\n", "\n", html)


def _read(sphinx: Any, page: str, source: list[str]) -> None:
    """Put into a page what is made, lead its links where they lead on a site, and its list into the navigation."""
    at = Path(sphinx.srcdir, page).parent
    text = LINK.sub(lambda found: _link(found, at, Path(sphinx.srcdir)), source[0])
    text = MADE.sub(lambda found: figures(found[1], is_chinese=Path(sphinx.srcdir) != DOCS), text)
    source[0] = text + "\n\n".join(["", *_navigation(source[0])]) if page == "index" else text


def _link(found: re.Match[str], at: Path, pages: Path) -> str:
    """Lead from one language to the other by pages, and name folders without leading to them."""
    text, target = found[1], found[2].split("#")[0]
    place = Path(os.path.normpath(at / target))
    if "://" in target or not target or not place.exists():
        return found[0]
    if place.is_dir() or (place.suffix == ".md" and not place.is_relative_to(DOCS)):
        return text
    other = place.suffix == ".md" and place.is_relative_to(DOCS)
    if not other or (place.is_relative_to(pages) and (pages != DOCS or not place.is_relative_to(DOCS / "zh"))):
        return found[0]
    return f'<a href="{Path(target).with_suffix(".html").as_posix()}">{text}</a>'


def _navigation(index: str) -> Iterator[str]:
    """Yield a hidden list of pages for each part of the front page."""
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        caption, pages = part.splitlines()[0], [to.removesuffix(".md") for _, to in LINK.findall(part)]
        inside = [page for page in pages if not page.startswith("..")]
        if inside:
            yield "\n".join([f"```{{toctree}}\n:caption: {caption}\n:hidden:\n", *inside, "```"])


CHINESE = re.compile("[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
THEME = {
    "Next": "下一页",
    "Previous": "上一页",
    "Home": "首页",
    "On this page": "本页内容",
    "Back to top": "回到顶部",
    "Skip to content": "跳到正文",
    "Copyright &#169; %(copyright)s": "版权所有 &#169; %(copyright)s",
    "Made with ": "制作工具：",
}
"""What the theme says around a page, which has no Chinese of its own."""


def _theme(sphinx: Any) -> None:
    """Let the theme speak Chinese on Chinese pages."""
    if Path(sphinx.srcdir) != DOCS:
        sphinx.translator._catalog |= THEME


def _joined(sphinx: Any, doctree: Any) -> None:
    """Take away the ends of a source's lines within Chinese, which a browser would show as blanks."""
    if Path(sphinx.srcdir) != DOCS:
        for end in [text for text in doctree.findall(nodes.Text) if text == "\n"]:
            place = next(i for i, one in enumerate(end.parent) if one is end)  # others are equal
            before, after = (one.astext() for one in (end.parent[place - 1], end.parent[(place + 1) % len(end.parent)]))
            if CHINESE.match(before[-1:]) and CHINESE.match(after[:1]):
                del end.parent[place]


def _style(sphinx: Any, error: Exception | None) -> None:
    """Give the figures the style that they have on the pages of studies, within their own part of the site."""
    if error is None:
        rules = (PACKAGE / "reporting" / "style.css").read_text(encoding="utf-8")
        found = CHARTS.search(rules)
        assert found
        means = "\n".join(line for line in rules.splitlines() if line.startswith((".dot", "rect.mean", ".cell")))
        with Path(sphinx.outdir, "_static", "site.css").open("a", encoding="utf-8") as file:
            file.write("figure.study {\n" + found[0] + means + "\n}\n")


class ChineseSearch(sphinx_search.SearchLanguage):
    """Chinese is searched by its pairs of neighbouring letters, everything else by words."""

    lang = "zh"
    language_name = "Chinese"
    js_stemmer_code = "var Stemmer = function () { this.stemWord = (word) => word; };"
    js_splitter_code = """
function splitQuery(query) {
  return (query.match(/[\\u4e00-\\u9fff]+|[\\w-]+/g) || []).flatMap((run) =>
    /[\\u4e00-\\u9fff]{3,}/.test(run) ? [...run].slice(1).map((letter, i) => [...run][i] + letter) : [run]);
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002 - as Sphinx calls it
        """Return pairs of Chinese letters, and words of others."""
        runs = re.findall(r"[\u4e00-\u9fff]+|[\w-]+", input)
        pairs = (run if run < "\u4e00" or len(run) < 3 else [a + b for a, b in pairwise(run)] for run in runs)
        return [word for one in pairs for word in ([one] if isinstance(one, str) else one)]

    def stem(self, word: str) -> str:
        """Return the word as it is."""
        return word.lower()

    def word_filter(self, word: str) -> bool:
        """Keep every word."""
        return len(word) > 1


def setup(sphinx: Any) -> dict[str, bool]:
    """Tell Sphinx."""
    sphinx_search.languages["zh"] = ChineseSearch  # its own one finds Chinese words only where another package is
    sphinx.connect("builder-inited", _theme)
    sphinx.connect("source-read", _read)
    sphinx.connect("doctree-read", _joined)
    sphinx.connect("build-finished", _style)
    return {"parallel_read_safe": True}
