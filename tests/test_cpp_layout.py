"""The C++ keeps its house numbers too: functions of at most 60 lines, lines of at most 120 characters."""

import re
from pathlib import Path

import pytest

KERNELS = Path(__file__).parent.parent / "src" / "residuum" / "kernels"
LONGEST_FUNCTION, LONGEST_LINE = 60, 120


def long_lines(text: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), start=1) if len(line) > LONGEST_LINE]


def long_functions(text: str) -> list[tuple[int, int]]:
    """Find (first line, lines) of what is longer between its outermost braces; a namespace is looked into."""
    found, depth, start = [], 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        code = re.sub(r"//.*", "", line)
        if code.startswith("namespace"):
            continue
        if depth == 0 and "{" in code:
            start = number
        before, depth = depth, max(0, depth + code.count("{") - code.count("}"))  # where a namespace ends, 0
        if before > 0 and depth == 0 and number - start >= LONGEST_FUNCTION:
            found.append((start, number - start + 1))
    return found


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.[ch]pp")), ids=lambda path: path.name)
def test_the_cpp_is_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert long_lines(text) == []
    assert long_functions(text) == []


def test_what_is_too_long_is_seen() -> None:
    body = "    int i = 0;\n"
    assert long_functions(f"namespace {{\nvoid f() {{\n{body * 58}}}\n}}  // namespace\n") == []
    assert long_functions(f"namespace {{\nvoid f() {{\n{body * 59}}}\n}}  // namespace\n") == [(2, 61)]
    assert long_lines("x" * 120) == []
    assert long_lines("x" * 121) == [1]
