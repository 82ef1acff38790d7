"""Write docs/claims.md and docs/zh/claims.md from the studies' results in results/studies/.

    python benchmarks/claims_page.py                  the pages, from the files alone
    python benchmarks/claims_page.py --from studies   first copy each study.json of that folder there

Nothing is typed by hand: a test fails when a page and the files differ.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from residuum.records.codec import read_record, to_json
from residuum.records.study import Answer, StudyRecord
from residuum.reporting.study_chinese import in_chinese
from residuum.reporting.study_limits import with_limits

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "studies"
SCALES = {"quick": "", "full": "-full"}  # what a result's file name ends with

WORDS: dict[str, dict[Any, str]] = {
    "claims.md": {
        "language": "en",
        "results": "../results/studies",
        "title": "# What the papers claim, put to the test",
        "introduction": "Each study of residuum takes one claim of the papers on residual networks, measures what it "
        "is about, and answers by a rule that was written before the measuring: *supported* where every part of the "
        "claim holds beyond two standard errors, *contradicted* where one fails by as much, *undecided* where the "
        "figures do not say. The answer is one about the scale named: `quick` trains for two passes over small "
        "pictures: what it contradicts may hold at the papers' scale, and the other way round. Of several seeds ± is "
        "the standard deviation. Studies without a result yet are not listed.",
        "written": "Every figure on this page is written by `python benchmarks/claims_page.py` from the files in "
        "`results/studies/`. [中文](zh/claims.md)",
        "none": "There are no results yet. `residuum study --list` shows the studies; `residuum study all` runs them.",
        "counts": "{supported} supported, {contradicted} contradicted, {undecided} undecided.",
        "head": "| study and question | claim, source | measured | verdict | scale | seeds "
        "| training, minutes of one core | measuring, minutes |",
        "supported": "supported",
        "contradicted": "contradicted",
        "undecided": "undecided",
        True: "holds",
        False: "fails",
        None: "the figures do not say",
        "all": "each of the claim's parts holds, {} in all",
        "colon": ": ",
        "part": " – ",
        "between": "; ",
        "where": "## Where they were measured",
        "environment": "- {dates}: {processor}, {cores} cores, {system}; residuum {residuum}, torch {torch}, numpy "
        "{numpy}, Python {python}",
        "again": "## The commands that repeat them",
        "older": "Nets of before 2026-11-27 saw the pictures of an epoch in [another order](limits.md) than they would "
        "now: the commands of these studies have `--shuffle as-0.1` added, which trains in that order. What else has "
        "changed since, as hardware and versions, may still move a figure a little.",
        "until": "{} to {}",
    },
    "zh/claims.md": {
        "language": "zh",
        "results": "../../results/studies",
        "title": "# 检验论文中的论断",
        "introduction": "residuum 的每项研究取残差网络论文中的一个论断，测量与之相关的量，并按测量之前写定的规则"
        "作出判断：论断的每一部分都在两个标准误之外成立，为“支持”；有一部分在两个标准误之外不成立，为“与论断相反”；数据说明不了，"
        "为“尚不能判断”。判断只对所注明的规模有效：`quick` 只在小图片上训练两遍，它判为与论断相反的，"
        "在论文的规模下可能成立，反之亦然。± 是各种子间的标准差。"
        "还没有结果的研究不在表中。",
        "written": "本页的所有数字都由 `python benchmarks/claims_page.py` 根据 "
        "`results/studies/` 中的文件写出。[English](../claims.md)",
        "none": "还没有结果。`residuum study --list` 列出各项研究；`residuum study all` 全部运行。",
        "counts": "{supported} 项支持，{contradicted} 项与论断相反，{undecided} 项尚不能判断。",
        "head": "| 研究与问题 | 论断与出处 | 测量结果 | 判断 | 规模 | 种子数 | 训练，单核分钟 | 测量，分钟 |",
        "supported": "支持",
        "contradicted": "与论断相反",
        "undecided": "尚不能判断",
        True: "成立",
        False: "不成立",
        None: "数据说明不了",
        "all": "论断的每一部分都成立，共 {} 部分",
        "colon": "：",
        "part": "——",
        "between": "；",
        "where": "## 测量环境",
        "environment": "- {dates}：{processor}，{cores} 核，{system}；residuum {residuum}，torch {torch}，numpy "
        "{numpy}，Python {python}",
        "again": "## 重复这些研究的命令",
        "older": "2026-11-27 之前的网络，一轮之内看到图片的[顺序](limits.md)与现在不同：这些研究的命令加上了 "
        "`--shuffle as-0.1`，按那时的顺序训练。此后其他的变化，如硬件和版本，仍可能使数字略有出入。",
        "until": "{} 至 {}",
    },
}
FIGURES = re.compile(r" \([^()]*\)|（[^（）]*）")
BETWEEN = re.compile("(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])")
"""A blank within Chinese."""
ANSWERS = get_args(Answer)
NEW_ORDER = "2026-11-27"
"""The day from which an epoch's order has draws of its own (docs/limits.md)."""
OWN_PICTURES = "cifar10"
"""What studies train on at these scales, where nothing else is said."""


def page(name: str, results: Sequence[StudyRecord]) -> str:
    """Return one page, made from the results alone."""
    words = WORDS[name]
    parts = [words["title"], words["introduction"], words["written"]]
    if not results:
        return "\n\n".join([*parts, words["none"]]) + "\n"
    answers = [result.answer for result in results]
    head = words["head"]
    table = [head, "|" + "---|" * (head.count("|") - 1), *(_row(one, words) for one in results)]
    commands = ["```", *map(_repeating, results), "```"]
    parts += [
        words["counts"].format(**{answer: answers.count(answer) for answer in ANSWERS}),
        "\n".join(table),
        "<!-- made: figures all -->",  # by docs/made.py, on the site
        words["where"],
        "\n".join(_environments(results, words)),
        words["again"],
        *([words["older"]] if any(map(_shuffled_otherwise, results)) else []),
        "\n".join(commands),
    ]
    return "\n\n".join(parts) + "\n"


def _shuffled_otherwise(result: StudyRecord) -> bool:
    """Say whether its nets were trained with the order of pictures that version 0.1 had."""
    return bool(result.runs) and result.environment.date < NEW_ORDER


def _repeating(result: StudyRecord) -> str:
    return result.command + (" --shuffle as-0.1" if _shuffled_otherwise(result) else "")


def _row(result: StudyRecord, words: dict[Any, str]) -> str:
    told = in_chinese(result) if words["language"] == "zh" else result
    question, claim, measured = (_cell(text.en) for text in (told.question, told.claim, told.measured))
    cells = [
        f"[{result.name}]({words['results']}/{_file_name(result)}) {question}",
        f"{claim}{'' if words['language'] == 'zh' else ' '}{_cell(result.source)}",
        measured,
        _verdict(told, words),
        result.scale,
        str(len(result.seeds)),
        _minutes(sum(result.runs.values())),
        _minutes(result.seconds),
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(result: StudyRecord, words: dict[Any, str]) -> str:
    """Write the answer, and of each part of the claim whether it holds; its figures stand under what was measured."""
    assert result.verdict is not None
    if all(part.holds for part in result.verdict.parts):
        return f"**{words[result.answer]}**{words['colon']}{words['all'].format(len(result.verdict.parts))}"
    bare = [BETWEEN.sub("", _cell(FIGURES.sub(" ", part.said))) for part in result.verdict.parts]
    parts = [f"{one}{words['part']}{words[part.holds]}" for one, part in zip(bare, result.verdict.parts, strict=True)]
    return f"**{words[result.answer]}**{words['colon']}{words['between'].join(parts)}"


def _file_name(result: StudyRecord) -> str:
    return f"{result.name}{SCALES[result.scale]}.json"


def _cell(text: str) -> str:
    """Keep a text in its cell, and as text."""
    for letter, instead in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("*", "\\*"), ("_", "\\_")):
        text = text.replace(letter, instead)
    return " ".join(text.split())


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds < 600 else f"{seconds / 60:.0f}"


def _environments(results: Sequence[StudyRecord], words: dict[Any, str]) -> list[str]:
    """Name each environment once, with the first and the last day it was used."""
    days: dict[str, list[str]] = {}
    for result in results:
        environment = to_json(result.environment)
        day = environment.pop("date")[:10]
        days.setdefault(json.dumps(environment, sort_keys=True), []).append(day)
    return [
        words["environment"].format(
            **json.loads(environment),
            dates=min(found) if len(set(found)) == 1 else words["until"].format(min(found), max(found)),
        )
        for environment, found in days.items()
    ]


def read_results(folder: Path = RESULTS) -> list[StudyRecord]:
    """Return the results by name, those at scale full after those at quick."""
    found = [with_limits(read_record(path, StudyRecord)) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda one: (one.name, list(SCALES).index(one.scale)))


def take(source: Path, folder: Path = RESULTS) -> list[Path]:
    """Copy the studies below `source` that ran at quick or full on nets and pictures of their own; return the copies.

    Of one that ran with several numbers of seeds, that with the most is taken.
    """
    wanted = dict[Path, tuple[int, Path]]()
    for path in sorted(source.glob("*/study.json")):
        result = read_record(path, StudyRecord)
        kept = (len(result.seeds), path)
        if result.scale in SCALES and not result.examined and _data(result) == OWN_PICTURES:
            copy = folder / _file_name(result)
            wanted[copy] = max(wanted.get(copy, kept), kept)
    for copy, (_, path) in wanted.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return list(wanted)


def _data(result: StudyRecord) -> str:
    _, _, given = result.command.partition(" --data ")
    return given.split()[0] if given else OWN_PICTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--from", dest="source", type=Path, help="a folder of studies to copy first")
    source = parser.parse_args().source
    for copy in take(source) if source else []:
        print(f"copied: {copy.relative_to(ROOT)}")
    results = read_results()
    for name in WORDS:
        (ROOT / "docs" / name).write_text(page(name, results), encoding="utf-8")
        print(f"written: docs/{name}")


if __name__ == "__main__":
    main()
