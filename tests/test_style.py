"""The pages' style sheet. A formatter would write it one declaration a line: 1,298 lines for 285."""

import re
from pathlib import Path

import pytest
import tinycss2

REPORTING = Path(__file__).parent.parent / "src/residuum/reporting"
MADE_UP = re.compile(r"[bcdlrt]\d+|no-verdict|one-net")  # of a series, a level or a colour; of two words


def parsed(style: str) -> list[tinycss2.ast.Node]:
    """Return all rules and declarations of a style sheet, those inside of others too."""
    found, waiting = [], tinycss2.parse_stylesheet(style, skip_comments=True, skip_whitespace=True)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if (inside := getattr(node, "content", None)) is not None:
            waiting += tinycss2.parse_blocks_contents(inside, skip_comments=True, skip_whitespace=True)
    return found


def faults(style: str) -> list[str]:
    """A browser leaves out what it does not understand, and says nothing."""
    return [node.message for node in parsed(style) if node.type == "error"]


def classes(style: str) -> set[str]:
    rules = [node for node in parsed(style) if node.type == "qualified-rule"]
    return {name for rule in rules for name in re.findall(r"\.([a-z][\w-]*)", tinycss2.serialize(rule.prelude))}


def test_every_rule_is_understood() -> None:
    assert faults((REPORTING / "style.css").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("style", [".a { color red; }", ".a { color: red; } }", "@media print { .a { b } }"])
def test_a_slip_is_found(style: str) -> None:
    assert faults(style)


def test_every_class_is_used() -> None:
    users = [path for path in REPORTING.iterdir() if path.suffix in {".html", ".py", ".js"}]
    words = set(re.findall(r"[\w-]+", " ".join(path.read_text(encoding="utf-8") for path in users)))
    styled = classes((REPORTING / "style.css").read_text(encoding="utf-8"))
    assert len(styled) > 100
    assert {name for name in styled if not MADE_UP.fullmatch(name)} - words == set()
