"""Help and reports in Chinese: nothing left in English, what people called something left as it is."""

import io
import json
import re
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from rich.console import Console
from test_report import write_run

from residuum import chinese, chinese_help
from residuum.cli import VERBS, app
from residuum.plain_data import flag
from residuum.reporting.page import write_report

WORDS: dict[str, str] = json.loads(files("residuum").joinpath("chinese.json").read_text(encoding="utf-8"))
CHINESE = re.compile("[\u4e00-\u9fff]")
OURS = re.compile(r"^[a-z0-9_.:/()†-]*$|^(ECE|F1|Top-\d|Macro-F1|top-1|scikit-learn|residuum|Copy)$")
"""Names of settings, packages and measures."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "zh")


def left_in_english(page: str) -> set[str]:
    """Return the texts of a page, without names and code, that hold no Chinese or, within it, four English words."""
    bare = re.sub(r"<(style|script|bdi|code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    texts = {" ".join(text.split()) for text in re.findall(r">([^<>]+)<", bare)}
    return {
        text
        for text in texts
        if (re.search("[A-Za-z]{2}", text) and not CHINESE.search(text) and not OURS.match(text))
        or re.search("([A-Za-z]+,? ){3}[a-z]+", text)
    }


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"RESIDUUM_LANG": "zh"}, True),
        ({"RESIDUUM_LANG": "en", "LANG": "zh_CN.UTF-8"}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_MESSAGES": "zh_TW.UTF-8"}, True),
        ({}, False),
    ],
)
def test_the_language_is_that_asked_for(
    variables: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RESIDUUM_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert chinese.is_wanted() is wanted


def left_out(settings: Any, shown: str) -> list[str]:
    """The settings whose flag stands nowhere in a help."""
    return [one.name for one in fields(settings) if not re.search(rf"{flag(one.name)}(?![\w-])", shown)]


def rendered(words: tuple[str, ...]) -> str:
    app.help_print(words, console=Console(file=(shown := io.StringIO()), width=100))
    return shown.getvalue()


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The help of each verb."""
    return {verb.name: rendered((*verb.name.split(),)) for verb in VERBS}


@pytest.fixture(scope="module")
def chinese_helps() -> tuple[dict[str, str], list[str]]:
    """The help of the command and of each verb in Chinese, and the texts that were looked up for them."""
    seen, said = list[str](), chinese_help.said

    def noted(text: str) -> str:
        seen.append(" ".join(text.split()))
        return said(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chinese_help, "said", noted)
        patch.setattr(app, "help_formatter", chinese_help.ChineseHelp())
        names = ["", "data", "weights", *(verb.name for verb in VERBS)]
        return {name: rendered((*name.split(),)) for name in names}, seen


def test_every_setting_stands_in_its_verbs_help(helps: dict[str, str]) -> None:
    for verb in VERBS:
        assert left_out(verb.settings, helps[verb.name]) == [], verb.name


@pytest.mark.parametrize("heading", ["Examples:", "示例："])
def test_each_example_of_a_help_has_its_line(
    heading: str, helps: dict[str, str], chinese_helps: tuple[dict[str, str], list[str]]
) -> None:
    counts = {}
    for verb in VERBS:
        shown = (helps if heading == "Examples:" else chinese_helps[0])[verb.name]
        _, found, rest = shown.partition(heading)
        examples = [line.rstrip() for line in rest.partition("╭")[0].splitlines() if line.strip()]
        assert all(re.fullmatch(rf"residuum {verb.name}( .*)?", one) for one in examples), examples
        counts[verb.name] = len(examples) if found else 0
    assert counts["models"] == 3
    assert sum(counts.values()) == sum(len(re.findall(" residuum ", verb.run.__doc__ or "")) for verb in VERBS)


@pytest.mark.parametrize("words", [["study", "--list"], ["models"], ["machine"]])
def test_what_is_printed_in_english_has_no_chinese(
    words: list[str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIDUUM_LANG", "en")
    code, *outputs = command(*words)
    said = "".join(outputs)
    assert code == 0
    assert len(said) > 200
    assert not CHINESE.search(said)


def test_no_english_help_has_chinese(helps: dict[str, str]) -> None:
    assert not [name for name, shown in helps.items() if CHINESE.search(shown)]


def test_the_list_of_studies_ends_in_the_language_asked_for(asked: None, command: Command) -> None:
    assert command("study", "--list")[1].splitlines()[-1].startswith("* 可用 --model")


def test_every_help_text_has_its_words(chinese_helps: tuple[dict[str, str], list[str]]) -> None:
    shown, seen = chinese_helps
    for name, text in shown.items():
        assert text.startswith("用法：residuum"), name
    for verb in VERBS:
        assert left_out(verb.settings, shown[verb.name]) == [], verb.name
    assert len(seen) > 200
    assert {text for text in seen if re.search("[A-Za-z]{2}", text) and not CHINESE.search(chinese.said(text))} == set()


def test_a_report_has_nothing_left_in_english(asked: None, tmp_path: Path) -> None:
    names = ["cat", "dog", "right", "Loss", "no", "epoch"]
    page = write_report([write_run(tmp_path / "one", names=names)]).read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    assert left_in_english(page) <= {"made up"}
    for name in names:
        assert f"<bdi>{name}</bdi>" in page, "what a person called a class stays"


def test_figures_stay_where_they_were(asked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(page: str) -> list[str]:
        return sorted(re.findall(r"\d+\.\d+", page))

    run = write_run(tmp_path / "one", ["cat", "dog"])
    in_chinese = write_report([run]).read_text(encoding="utf-8")
    monkeypatch.setenv("RESIDUUM_LANG", "en")
    assert figures(in_chinese) == figures(write_report([run]).read_text(encoding="utf-8"))


def test_both_texts_have_the_same_holes() -> None:
    for english, there in WORDS.items():
        assert len(re.findall("{#?}", english)) == len(re.findall(r"{\d?}", there)), english
        assert not ("{}" in there and re.search(r"{\d}", there)), english


def test_a_name_within_a_sentence_is_not_translated(asked: None) -> None:
    said = chinese.said(
        "Always answering \u2068training loss\u2069, the most frequent class, would be right 50 % of the time."
    )
    assert "\u2068training loss\u2069" in said
    assert CHINESE.search(said)
    assert chinese.said("A sentence that nobody has written.") == "A sentence that nobody has written."


@pytest.mark.parametrize(
    ("english", "told"),
    [
        ("Measured on 145 pictures.", "在 145 张图片上测量。"),
        ("Measured on validation.", "在验证上测量。"),
        ("Measured on \u2068scans\u2069.", "在 \u2068scans\u2069 上测量。"),
        (
            "Every figure on this page was read from the study.json of each study.",
            "本页的每个数字都读自每项研究的 study.json。",
        ),
    ],
)
def test_blanks_stand_between_chinese_and_other_letters_alone(english: str, told: str) -> None:
    assert chinese.said(english) == told


@pytest.mark.parametrize(
    ("name", "told"),
    [("cat", "支持 <bdi>cat</bdi> 的证据"), ("猫", "支持<bdi>猫</bdi>的证据"), ("猫 2", "支持<bdi>猫 2</bdi> 的证据")],
)
def test_a_name_in_a_sentence_stands_as_its_letters_want_it(name: str, told: str) -> None:
    written = f"RISE: what speaks for <bdi>{name}</bdi>, the more orange the more; strongest in the middle"
    assert told in chinese.page(written)


def test_a_mark_of_chinese_brings_its_own_blank() -> None:
    written = "<td><bdi>一句。</bdi> The figures do not say: <bdi>误差。 猫</bdi></td>"
    assert chinese.page(written) == "<td><bdi>一句。</bdi>数字说明不了：<bdi>误差。 猫</bdi></td>"
