"""Responses: how strongly each layer answers, plain against residual, and how small F is beside the shortcut."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from residuum.data.batches import Batch
from residuum.models.resnet import ResNet
from residuum.records.study import Lines, Quantity, Words
from residuum.studies.charts import lines_by, lines_of, numbered
from residuum.studies.examined import DEPTHS, examine, examine_each, notes_on_pictures, runs_of
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.verdict import Quantities, Rule, below


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
            if block.shortcut is not None:  # F and h as the addition takes them, scaled or gated: each beside a zero
                h = block.shortcut(block.before(x) if block.shared else x)
                nothing = torch.zeros_like(h)
                of_pair += [block.add(F, nothing, x), block.add(nothing, h, x)]
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


def _sums(x: Tensor) -> Tensor:
    """Return the number of values, their sum and the sum of their squares, (3,) float64."""
    return torch.tensor([x.numel(), float(x.sum()), float(x.square().sum())], dtype=torch.float64)


def _deviations(batches: list[Tensor]) -> list[float]:
    """Return the standard deviations of the (number of things, 3) sums that were taken of each batch."""
    count, total, squares = torch.stack(batches).sum(0).unbind(1)
    variance = squares / count - (total / count) ** 2
    return [float(one) for one in variance.clamp(min=0).sqrt()]


# --- the study ----------------------------------------------------------------------------------


RULE = Rule(
    (below("same", "plain"), below("deep", "shallow")),
    {
        "same": "the mean response of the residual net as deep as the deepest plain net",
        "plain": "that of this plain net",
        "deep": "the mean response of the deepest residual net",
        "shallow": "that of the shallowest",
    },
    besides="A response is the standard deviation of what a layer gives, behind its BN and before any nonlinearity or "
    "addition.",
)


def measure(setup: Setup) -> Findings:
    """Examine plain and residual nets of every depth, or the net that was given."""
    if setup.model is not None:
        return _of_model(setup, setup.model)
    common = DEPTHS[setup.scale]
    of = {"plain": common, "resnet": (*common, 110) if setup.scale == "full" else common}
    nets = [(kind, depth) for kind in of for depth in of[kind]]
    found: dict[str, list[Responses]] = {}
    for (kind, depth), records in runs_of(setup, nets).items():
        each = examine_each(setup, records)
        found[f"{kind}{depth}"] = [responses(seen.net, seen.batches) for seen, _ in each]
    q = _quantities(found)
    plain, same = (f"{kind}{common[-1]}" for kind in of)
    deep, shallow = f"resnet{of['resnet'][-1]}", f"resnet{common[0]}"
    ruled = {"plain": plain, "same": same, "deep": deep, "shallow": shallow}
    q |= {name: q[f"{net}-response"] for name, net in ruled.items()}
    return Findings(
        q,
        Words(
            f"Mean standard deviation of a layer's response: {plain} {q['plain']}, {same} {q['same']}, {shallow} "
            f"{q['shallow']}. The median branch of {deep} is {q[f'{deep}-ratio']} times its shortcut, of {shallow} "
            f"{q[f'{shallow}-ratio']}.",
            f"各层响应标准差的均值：{plain} {q['plain']}，{same} {q['same']}，{shallow} {q['shallow']}。"
            f"残差分支与快捷连接之比的中位数：{deep} {q[f'{deep}-ratio']}，{shallow} {q[f'{shallow}-ratio']}。",
        ),
        _charts(found, q, of),
        notes=(
            "The first convolution is counted as a layer.",
            "BN's scales begin at one.",
            *notes_on_pictures(setup),
        ),
        settings={"nets": list(found)},
    )


def _quantities(found: Mapping[str, Sequence[Responses]]) -> dict[str, Quantity]:
    """Return NAME-response and, where it has shortcuts, NAME-ratio of each net."""
    q = {}
    for name, nets in found.items():
        means = [statistics.fmean(one.layers) for one in nets]
        label = f"mean standard deviation of a layer's response, {name}"
        q[f"{name}-response"] = quantity(label, means)
        if nets[0].ratios:
            medians = [statistics.median(one.ratios) for one in nets]
            q[f"{name}-ratio"] = quantity(f"median sd(F) / sd(h), {name}", medians)
    return q


def _layers(found: Mapping[str, Sequence[Responses]]) -> Lines:
    lines = lines_of(found, lambda one: numbered(one.layers))
    return Lines("Responses, layer by layer", "layer", "standard deviation", lines)


def _ratios(found: Mapping[str, Sequence[Responses]]) -> Lines:
    lines = lines_of(found, lambda one: numbered(one.ratios))
    return Lines("The branch beside its shortcut", "block", "sd(F) / sd(h)", lines)


def _charts(
    found: Mapping[str, Sequence[Responses]], q: Quantities, of: Mapping[str, Sequence[int]]
) -> tuple[Lines, ...]:
    """Draw the shallowest and the deepest net of each kind, which was examined at the depths `of` it."""
    ends = {f"{kind}{depth}": found[f"{kind}{depth}"] for kind in of for depth in (of[kind][0], of[kind][-1])}
    by_size = lines_of(ends, lambda one: numbered(sorted(one.layers, reverse=True)))
    against_depth = {kind: {depth: f"{kind}{depth}-response" for depth in depths} for kind, depths in of.items()}
    return (
        _layers(ends),
        Lines("Responses, by size", "layer, strongest response first", "standard deviation", by_size),
        lines_by("Mean response against depth", "layers", "standard deviation", q, against_depth),
        _ratios({net: nets for net, nets in found.items() if nets[0].ratios}),
    )


def _of_model(setup: Setup, model: str) -> Findings:
    """Examine one net."""
    seen = examine(setup, model)
    one = responses(seen.net, seen.batches)
    found = {seen.name: [one]}
    response = f"standard deviation of a layer's response, {seen.name}"
    q = {"model-response": quantity(response, one.layers, of="layer")}
    charts = [_layers(found)]
    english, chinese = "It has no shortcut to compare its branches with.", "它没有快捷连接，分支无从比较。"
    if one.ratios:
        q["model-ratio"] = quantity(f"sd(F) / sd(h), {seen.name}", one.ratios, of="block")
        charts.append(_ratios(found))
        middle, low, high = (f"{at(one.ratios):.3g}" for at in (statistics.median, min, max))
        english = f"Of its {len(one.ratios)} blocks the median branch is {middle} times its shortcut ({low} to {high})."
        chinese = f"{len(one.ratios)} 个块中，分支与快捷连接之比的中位数为 {middle}（{low} 至 {high}）。"
    return Findings(
        q,
        Words(
            f"On {seen.pictures} the standard deviation of its {len(one.layers)} layers' responses is "
            f"{q['model-response'].mean:.4g} in the mean ({min(one.layers):.3g} to {max(one.layers):.3g}). {english}",
            f"在 {seen.images} 张图片上，{len(one.layers)} 个层的响应标准差平均为 {q['model-response'].mean:.4g}"
            f"（{min(one.layers):.3g} 至 {max(one.layers):.3g}）。{chinese}",
        ),
        tuple(charts),
        pictures=seen.pictures,
    )
