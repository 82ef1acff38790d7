"""Studies that nobody ran, written down as `residuum study` writes them, for the tests of their pages."""

import json
import math
from pathlib import Path
from random import Random
from typing import Any

from residuum.records.codec import to_json
from residuum.records.study import Bar, Bars, Line, Lines, Map, Table, Words
from residuum.studies.charts import mean_line
from residuum.studies.frame import Findings, Setup, Study, Texts, quantity
from residuum.studies.run import record
from residuum.studies.verdict import Comparison, Quantities, Rule, above, not_above

Json = dict[str, Any]
SEEDS = (0, 1, 2)


def texts(title: str, question: str, claim: str) -> Texts:
    return Texts(
        title=Words(title, "研究"),
        question=Words(question, "更深的普通网络是否拟合得更差？"),
        claim=Words(claim, "误差随深度增加。"),
        source="He et al. 2015 (arXiv 1512.03385), sec. 4.2, fig. 6",
    )


def content(
    name: str,
    asked: Texts,
    found: Findings,
    *claim: Comparison,
    scale: Any = "quick",
    model: str | None = None,
) -> Json:
    rule = Rule(claim, {key: one.label for key, one in found.quantities.items()})
    of = Study(name, asked, lambda _setup: found, rule)
    whole: Json = json.loads(
        json.dumps(to_json(record(of, Setup(scale, SEEDS, Path("studies"), model=model), found, 203.4)))
    )
    return whole


def eight_series() -> Json:
    """Learning curves and errors of eight nets, three seeds each: contradicted."""
    chance = Random(0)
    depths = (20, 32, 44, 56)
    nets = [(kind, depth) for kind in ("plain", "resnet") for depth in depths]
    final = {
        (kind, depth): tuple(9 + (0.06 if kind == "plain" else -0.02) * depth + chance.gauss(0, 0.25) for _ in SEEDS)
        for kind, depth in nets
    }
    quantities = {
        f"{kind}{depth}-train": quantity(f"training error, {kind}{depth}", values, "%")
        for (kind, depth), values in final.items()
    }
    quantities["plain-deep"] = quantities["plain56-train"]
    curves = tuple(
        mean_line(
            f"{kind}{depth}",
            [
                tuple((p, final[kind, depth][s] + 60 * math.exp(-p / 6) + chance.gauss(0, 0.6)) for p in range(1, 31))
                for s in SEEDS
            ],
        )
        for kind, depth in nets
    )
    against_depth = tuple(
        mean_line(kind, [tuple((d, final[kind, d][s]) for d in depths) for s in SEEDS]) for kind in ("plain", "resnet")
    )
    gradient = tuple(
        Line(kind, tuple((block, factor**-block) for block in range(27)))
        for kind, factor in (("plain", 3.0), ("resnet", 1.1))
    )
    share = Line("blocks kept", tuple((k / 10, 0.9 - 0.3 * (k / 10) ** 2) for k in range(11)))
    q: Quantities = quantities
    return content(
        "degradation",
        texts("Degradation", "Do deeper plain nets fit worse?", "Deeper plain nets fit worse."),
        Findings(
            q,
            Words(
                f"Training error at 56 layers: plain {q['plain56-train']}, residual {q['resnet56-train']}.",
                f"56 层的训练误差：普通网络 {q['plain56-train']}，残差网络 {q['resnet56-train']}。",
            ),
            (
                Lines("Error against depth", "layers", "error, %", against_depth),
                Lines("Error by pass", "pass", "error, %", curves),
                Lines("Gradient by block", "block", "norm of the gradient", gradient, log_y=True),
                Lines("Accuracy by what is kept", "share of the blocks", "accuracy", (share,), percent=True),
                Bars("Error", "error, %", tuple(Bar(f"{k}{d}", final[k, d]) for k, d in nets)),
            ),
            tables=(Table("What was trained", ("net", "passes"), tuple((f"{k}{d}", "30") for k, d in nets)),),
            notes=("At 16 px for 30 passes, where the paper has 32 px for 164.",),
            settings={"recipe": "quick", "net": {"width": 16, "order": "original"}},
        ),
        not_above("plain56-train", "plain20-train"),
        above("plain56-train", "resnet56-train"),
    )


LONG = "The residual net with projections in every shortcut, number {}, trained twice as long as the plain one"


def long_labels() -> Json:
    """Sixteen bars with long names, and signed ones: undecided."""
    chance = Random(1)
    bars = tuple(Bar(LONG.format(i), tuple(5 + i / 4 + chance.gauss(0, 0.5) for _ in SEEDS)) for i in range(16))
    signed = tuple(Bar(f"without block {i}", (chance.gauss(0, 2),)) for i in range(9))
    lines = tuple(Line(LONG.format(i), ((1, 3 + i), (2, 2 + i), (3, 1.5 + i))) for i in range(3))
    quantities = {f"net{i}": quantity(bar.label, bar.values, "% of all pictures") for i, bar in enumerate(bars)}
    quantities["count"] = quantity("parameters, in all its blocks together", (853_018.0,), exact=True)
    return content(
        "shortcut-options",
        texts(
            "Which shortcut a residual net needs where the shape of what it carries changes",
            "Are projections in every shortcut better than the identity with zeros where the number of channels grows?",
            "Projections are slightly better, but not needed: the identity is enough for deep nets, and cheaper.",
        ),
        Findings(
            quantities,
            Words("The nets differ by no more than their seeds do. " * 3, "各网络的差别不大于种子之间的差别。"),
            (
                Bars("Error of each", "error, %", bars),
                Bars("Accuracy lost", "points", signed),
                Lines("Few passes", "pass", "error, %", lines),
            ),
            notes=("One long note. " * 20,),
        ),
        above("net0", "net1"),
    )


def maps(model: str | None = "resnet20-digits") -> Json:
    """Loss surfaces, masks, a flat field, a field with gaps: of one model, or else supported."""
    side = 48
    axis = [-1 + 2 * i / (side - 1) for i in range(side)]
    surface = tuple(tuple(math.log(1 + 8 * x * x + 20 * y * y + math.sin(9 * x) ** 2) for x in axis) for y in axis)
    mask = tuple(tuple(float((abs(x) < 0.5) + 2 * (y > 0.3)) for x in axis) for y in axis)
    blocks = tuple(tuple(math.exp(-abs(i - 9 * j)) for i in range(27)) for j in range(3))
    gaps = tuple(tuple(math.nan if x + y > 1 else x * y for x in axis[::4]) for y in axis[::4])
    unit = (-1.0, 1.0)
    quantities = {
        "flat": quantity("sharpness", (0.31,), exact=True),
        "each": quantity("of each", (1, 2, 4), of="block"),
    }
    return content(
        "loss-surface",
        texts("The surface of the loss", "Is it smoother?", "With shortcuts it is smooth."),
        Findings(
            quantities,
            Words("The surface has one minimum.", "曲面只有一个极小值。"),
            (
                Map("Surface", "direction 1", "direction 2", surface, unit, unit, "logarithm of the loss"),
                Map(
                    "Mask",
                    "column",
                    "row",
                    mask,
                    (0, 47),
                    (0, 47),
                    "class: 0 background, 1 disc, 2 square, 3 both",
                ),
                Map("Blocks", "block", "stage", blocks, (1, 27), (1, 3), "share of the path"),
                Map("With gaps", "x", "y", gaps, unit, unit, "product"),
            ),
            pictures="145 validation pictures of digits" if model else "",
        ),
        above("flat", 0.1),
        model=model,
    )


STUDIES = {"degradation": eight_series, "shortcut-options": long_labels, "loss-surface": maps}


def leave(folder: Path, found: Json) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return folder
