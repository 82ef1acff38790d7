"""Responses: how strongly each layer answers, plain against residual, and how small F is beside the shortcut."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from residuum.data.batches import Batch
from residuum.models.block import ResidualBlock
from residuum.models.resnet import ResNet
from residuum.study.charts import Line, Lines, Points, mean_line
from residuum.study.examined import depths, examine, notes_on_pictures, runs_of
from residuum.study.frame import Findings, Means, Quantities, Quantity, Study, Words
from residuum.study.verdict import Part, Verdict, below, decide


@dataclass(frozen=True)
class Responses:
    """Standard deviations over all pictures, channels and places."""

    layers: tuple[float, ...]
    """Of what each convolution answers, behind its BN where it has one; the stem's first."""
    ratios: tuple[float, ...]
    """sd(F) / sd(h) of each block, both as they are added; none in a plain net."""


# --- measuring one net --------------------------------------------------------------------------


@torch.inference_mode()
def responses(net: ResNet, batches: Iterable[Batch]) -> Responses:
    """Walk the net, as it is set, over the batches."""
    layers: list[Tensor] = []
    pairs: list[Tensor] = []
    for batch in batches:
        answers, x = _through(net.stem, batch.images)
        of_pair: list[Tensor] = []
        for _, block in net.blocks():
            more, F = _through(block.branch, block.before(x))
            answers += more
            if block.shortcut is not None:
                of_pair += _as_added(block, F, x)
            x = block(x)
        layers.append(torch.stack([_sums(one) for one in answers]))
        if of_pair:
            pairs.append(torch.stack([_sums(one) for one in of_pair]))
    both = _deviations(pairs) if pairs else []
    ratios = (F / max(h, math.ulp(0.0)) for F, h in zip(both[::2], both[1::2], strict=True))
    return Responses(tuple(_deviations(layers)), tuple(ratios))


def _through(layers: nn.Module, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return what each convolution answers, behind its BN where it has one, and what comes out at the end."""
    answers: list[Tensor] = []
    for layer in layers.children():
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            answers.append(x)
        elif isinstance(layer, nn.BatchNorm2d):
            answers[-1] = x
    return answers, x


def _as_added(block: ResidualBlock, F: Tensor, x: Tensor) -> list[Tensor]:
    """Return F and h as the addition takes them, scaled or gated: the one with a zero in place of the other."""
    assert block.shortcut is not None
    h = block.shortcut(block.before(x) if block.shared else x)
    nothing = torch.zeros_like(h)
    return [block.add(F, nothing, x), block.add(nothing, h, x)]


def _sums(x: Tensor) -> Tensor:
    """Return the number of values, their sum and the sum of their squares, (3,) float64."""
    return torch.tensor([x.numel(), float(x.sum()), float(x.square().sum())], dtype=torch.float64)


def _deviations(batches: list[Tensor]) -> list[float]:
    """Return the standard deviations of the (number of things, 3) sums that were taken of each batch."""
    count, total, squares = torch.stack(batches).sum(0).unbind(1)
    variance = squares / count - (total / count) ** 2
    return [float(one) for one in variance.clamp(min=0).sqrt()]


# --- the study ----------------------------------------------------------------------------------


def measure(means: Means) -> Findings:
    """Examine plain and residual nets of every depth, or the net that was given."""
    if means.model is not None:
        return _of_model(means, means.model)
    common = depths(means)
    residual = (*common, 110) if means.scale == "full" else common
    nets = [("plain", depth) for depth in common] + [("resnet", depth) for depth in residual]
    found: dict[tuple[str, int], list[Responses]] = {}
    for net, records in runs_of(means, nets).items():
        found[net] = []
        for record in records:
            seen = examine(means, record.path)
            found[net].append(responses(seen.net, seen.batches))
    q = _quantities(found)
    same, deep, shallow = f"resnet{common[-1]}", f"resnet{residual[-1]}", f"resnet{common[0]}"
    plain = f"plain{common[-1]}"
    q |= {"plain": q[f"{plain}-response"], "same": q[f"{same}-response"]}
    q |= {"deep": q[f"{deep}-response"], "shallow": q[f"{shallow}-response"]}
    return Findings(
        q,
        Words(
            f"Mean standard deviation of a layer's response: {plain} {q['plain']}, {same} {q['same']}, {shallow} "
            f"{q['shallow']}. The median branch of {deep} is {q[f'{deep}-ratio']} times its shortcut, of {shallow} "
            f"{q[f'{shallow}-ratio']}.",
            f"各层响应标准差的均值：{plain} {q['plain']}，{same} {q['same']}，{shallow} {q['shallow']}。"
            f"残差支路与捷径之比的中位数：{deep} {q[f'{deep}-ratio']}，{shallow} {q[f'{shallow}-ratio']}。",
        ),
        _charts(found, common, residual),
        notes=(
            "The first convolution is counted as a layer.",
            "BN's scales begin at one.",
            *notes_on_pictures(means),
        ),
        settings={"nets": [f"{kind}{depth}" for kind, depth in nets]},
    )


def _quantities(found: dict[tuple[str, int], list[Responses]]) -> dict[str, Quantity]:
    q = {}
    for (kind, depth), nets in found.items():
        name = f"{kind}{depth}"
        values = tuple(statistics.fmean(one.layers) for one in nets)
        q[f"{name}-response"] = Quantity(f"mean standard deviation of a layer's response, {name}", values)
        if kind == "resnet":
            values = tuple(statistics.median(one.ratios) for one in nets)
            q[f"{name}-ratio"] = Quantity(f"median sd(F) / sd(h), {name}", values)
    return q


def _charts(
    found: dict[tuple[str, int], list[Responses]], common: tuple[int, ...], residual: tuple[int, ...]
) -> tuple[Lines, ...]:
    ends = [("plain", common[0]), ("plain", common[-1]), ("resnet", common[0]), ("resnet", residual[-1])]

    def layers(title: str, x: str, ordered: bool) -> Lines:
        return Lines(title, x, "standard deviation", tuple(
            mean_line(f"{kind}{depth}", [
                _numbered(one.layers if ordered else sorted(one.layers, reverse=True))
                for one in found[kind, depth]
            ])
            for kind, depth in ends
        ))  # fmt: skip

    against_depth = tuple(
        mean_line(kind, [
            tuple((depth, statistics.fmean(found[kind, depth][i].layers)) for depth in of)
            for i in range(len(found[kind, of[0]]))
        ])
        for kind, of in (("plain", common), ("resnet", residual))
    )  # fmt: skip
    ratios = tuple(
        mean_line(f"resnet{depth}", [_numbered(one.ratios) for one in found["resnet", depth]])
        for depth in residual
    )
    return (
        layers("Responses, layer by layer", "layer", ordered=True),
        layers("Responses, by size", "layer, strongest response first", ordered=False),
        Lines("Mean response against depth", "layers", "standard deviation", against_depth),
        Lines("The branch beside its shortcut", "block", "sd(F) / sd(h)", ratios),
    )


def _numbered(values: Iterable[float]) -> Points:
    return tuple((float(number), value) for number, value in enumerate(values, start=1))


def _of_model(means: Means, model: str) -> Findings:
    """Examine one net."""
    seen = examine(means, model)
    found = responses(seen.net, seen.batches)
    mean = Quantity(
        f"mean standard deviation of a layer's response, {seen.name}",
        (statistics.fmean(found.layers),),
        exact=True,
    )
    q = {"model-response": mean}
    charts = [
        Lines(
            "Responses, layer by layer",
            "layer",
            "standard deviation",
            (Line(seen.name, _numbered(found.layers)),),
        )
    ]
    english, chinese = (
        "It has no shortcut to compare its branches with.",
        "它没有捷径连接，支路无从比较。",
    )
    if found.ratios:
        ratio = Quantity(f"median sd(F) / sd(h), {seen.name}", (statistics.median(found.ratios),), exact=True)
        q["model-ratio"] = ratio
        line = Line(seen.name, _numbered(found.ratios))
        charts.append(Lines("The branch beside its shortcut", "block", "sd(F) / sd(h)", (line,)))
        english = f"The median branch is {ratio} times its shortcut."
        chinese = f"残差支路与捷径之比的中位数为 {ratio}。"
    return Findings(
        q,
        Words(
            f"Mean standard deviation of a layer's response: {mean}. {english}",
            f"各层响应标准差的均值：{mean}。{chinese}",
        ),
        tuple(charts),
    )


def judge(q: Quantities) -> Verdict:
    """Residual nets answer more weakly than plain ones, deeper residual nets more weakly than shallow ones."""
    if "model-response" in q:
        if "model-ratio" not in q:
            return decide(Part("a plain net has no shortcut to compare its branches with", None))
        return decide(below(q["model-ratio"], 1.0))
    return decide(below(q["same"], q["plain"]), below(q["deep"], q["shallow"]))


STUDY = Study(
    name="responses",
    title=Words("Layer responses", "各层响应"),
    question=Words(
        "Are the functions that residual blocks learn small, and smaller the more of them there are?",
        "残差块学到的函数是否较小，且块越多越小？",
    ),
    claim=Words(
        "The layers of residual nets respond more weakly than those of plain nets, and the deeper the residual net, "
        "the less each layer changes the signal.",
        "残差网络各层的响应普遍弱于普通网络；残差网络越深，每一层对信号的改变越小。",
    ),
    source="He et al. 2015 (arXiv 1512.03385), sec. 4.2, fig. 7",
    predicate="Supported: the mean standard deviation of a layer's response, behind its BN and before any "
    "nonlinearity or addition, is lower in the residual net than in the plain net of the same depth (the deepest of "
    "both), and lower in the deepest residual net than in the shallowest. Contradicted: either is the other way round. "
    "Each beyond two standard errors. Of a given net: the median block's sd(F) / sd(h) is below 1.",
    measure=measure,
    judge=judge,
    examines=True,
)
