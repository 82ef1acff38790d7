"""How the site is made (`make docs`): Sphinx reads the same pages that people read in the repository.

English is docs/, Chinese docs/zh/, built with the tag zh. What the code says of itself is on the pages, written by
docs/reference.py; where a page has `<!-- made: figures all -->`, docs/made.py puts the studies' figures. The pages load
nothing from elsewhere, and the search works from files: its index is a script.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "benchmarks")]

from residuum.version import VERSION  # noqa: E402

CHINESE = tags.has("zh")  # type: ignore[name-defined]  # noqa: F821 - Sphinx puts it there

project = "residuum"
author = "the authors of residuum"
project_copyright = "the authors of residuum; Apache 2.0"
version = release = VERSION
language = "zh_CN" if CHINESE else "en"
extensions = ["myst_parser", "made"]
exclude_patterns = ["zh"]
html_theme = "furo"
html_title = f"residuum {VERSION}"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
templates_path = [str(HERE / "templates")]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_context = {"chinese": CHINESE, "english_only": ["decisions", "log", "field-reports"]}
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which browsers refuse from files
html_show_sphinx = False
html_last_updated_fmt = None
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
smartquotes = False  # `--to` would become a dash wherever it is no code
pygments_style = "friendly"
pygments_dark_style = "github-dark"
