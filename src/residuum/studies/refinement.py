"""Refinement: what a trained net would answer after each block, and whether blocks step down the loss.

Letters: N pictures, B of them in a batch, x_l the input of block l, F = x_{l+1} − x_l what a block adds, L the loss.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from msgspec.structs import replace
from torch import Tensor, split
from torch.nn.functional import cosine_similarity, cross_entropy

from residuum.data.batches import Batch
from residuum.depth.remove import keeps_shape
from residuum.errors import UserError
from residuum.evaluation.opening import NetWithData
from residuum.models.resnet import ResNet
from residuum.records.study import Lines, Points, Quantity, Words
from residuum.studies.charts import lines_of, numbered
from residuum.studies.examined import (
    DEPTHS,
    IMAGES,
    affordable,
    interval_of,
    notes_on_pictures,
    opened,
    pictures_of,
    runs_of,
    training_batches,
)
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.ridge import probe_accuracy
from residuum.studies.verdict import Rule, above

PIXELS = 125 * 64 * 64
"""Pixels of one batch whose gradients are held at a time."""


@dataclass(frozen=True)
class Seen:
    """One net's figures. Accuracies are shares of the validation pictures."""

    blocks: tuple[str, ...]
    """The blocks' names, in order."""
    probe: tuple[float, ...]
    """Accuracy of a linear probe of the stem's output and of each block's."""
    own: Mapping[str, float]
    """Accuracy of the net's own head behind each block of the last stage, by the block's name."""
    cosine: Mapping[str, float]
    """Mean cosine between F and −∂L/∂x_l of each block that keeps the shape, by the block's name."""
    images: int
    """Validation pictures."""


RULE = Rule(
    (above("cosine-last", 0.0), above("own-end", "own-start")),
    {
        "cosine-last": "the mean cosine of F and −∂L/∂x over the last stage's blocks that keep the shape",
        "own-end": "the share of pictures that the net's own head calls right behind the last block",
        "own-start": "that behind the stage's first block",
    },
)


NOTES = (
    "F is all that a block changes, what stands after the addition included.",
    "Probes are ridge regressions on at most 2,000 training pictures, which the net has seen; they are judged on "
    "pictures that were kept aside.",
    "Within a stage only: the head fits no other stage's maps, and F needs input and output of one shape.",
)


def measure(setup: Setup) -> Findings:
    """Look into trained residual nets and, for the probes, plain ones; or into the net given."""
    if setup.model is not None:
        return _of_model(setup, setup.model)
    depth = DEPTHS[setup.scale][-1]
    runs = runs_of(setup, [("resnet", depth), ("plain", depth)])
    kinds = {
        name: [look(opened(record.path, setup), setup) for record in runs[kind, depth]]
        for name, kind in (("residual", "resnet"), ("plain", "plain"))
    }
    q = _quantities(kinds["residual"])
    plain = [100 * one.probe[-1] for one in kinds["plain"]]
    q["plain-probe-end"] = quantity("probe behind the last block, plain", plain, "%")
    cosines_by_stage = ", ".join(str(one) for name, one in q.items() if name.startswith("cosine-stage"))
    return Findings(
        q,
        Words(
            f"F and the negative gradient of the loss have a cosine of {cosines_by_stage}, stage by stage. "
            f"The net's own head is right on {q['own-start']} of the pictures behind the last stage's first block and "
            f"on {q['own-end']} behind its last.",
            f"F 与负损失梯度的余弦，逐阶段为 {cosines_by_stage}。网络自身的最后一层接在最后阶段第一个残差块之后，"
            f"准确率为 {q['own-start']}，接在最后一个残差块之后为 {q['own-end']}。",
        ),
        _charts(kinds),
        notes=(*NOTES, *notes_on_pictures(setup)),
    )


def _of_model(setup: Setup, model: str) -> Findings:
    """Look into one net."""
    run = opened(model, setup)
    check_examinable(run.classifier.net)
    seen, name = look(run, setup), run.classifier.name
    pictures, own = pictures_of(run, seen.images), [100 * share for share in seen.own.values()]
    q = {key: replace(one, exact=True) for key, one in _quantities([seen]).items() if not key.startswith("cosine")}
    shares = [
        f"{q[key]} (95 % interval {interval_of(share, seen.images)})"
        for key, share in (("own-start", own[0]), ("own-end", own[-1]))
    ]
    for stage, blocks in _stages(seen):
        label = f"mean cosine of F and −∂L/∂x of a block, {stage}"
        q[f"cosine-{stage}"] = quantity(label, [seen.cosine[block] for block in blocks], of="block")
    cosines_by_stage = ", ".join(str(one) for key, one in q.items() if key.startswith("cosine"))
    return Findings(
        q,
        Words(
            f"On {pictures}, F and the negative gradient of the loss have a cosine of {cosines_by_stage}, stage by "
            f"stage (mean ± sd of the blocks). Its own head is right on {shares[0]} of them behind the last stage's "
            f"first block and on {shares[1]} behind its last.",
            f"在 {seen.images} 张图片上，F 与负损失梯度的余弦，逐阶段为 {cosines_by_stage}（各块的均值 ± 标准差）。"
            f"网络自身的最后一层接在最后阶段第一个残差块之后，准确率为 {shares[0]}，"
            f"接在最后一个残差块之后为 {shares[1]}。",
        ),
        _charts({name: [seen]}),
        notes=NOTES,
        pictures=pictures,
    )


def check_examinable(net: ResNet) -> None:
    """Refuse a net in which nothing is added to the identity (UserError)."""
    if net.spec.shortcut == "none":
        raise UserError(
            "a plain net cannot be examined for refinement",
            "without shortcuts its blocks add nothing to their input, they replace it",
            "examine a residual net",
        )
    if net.spec.blocks[-1] < 2:
        raise UserError(
            "this net's last stage has a single block",
            "refinement is measured on the blocks behind a stage's first, which keep the shape",
            "examine a deeper net",
        )


def look(run: NetWithData, setup: Setup) -> Seen:
    """Measure all three on one net, which is in evaluation mode throughout."""
    net, images = run.classifier.net, affordable(run.classifier, IMAGES[setup.scale])
    batches = list(run.validation_loader(images))
    probe = probes(pooled(net, training_batches(run, 2 * images)), pooled(net, batches))
    cosine = cosines(net, batches) if net.spec.shortcut != "none" else {}
    count = sum(len(batch.labels) for batch in batches)
    return Seen(tuple(name for name, _ in net.blocks()), probe, own_head(net, batches), cosine, count)


# --- what is measured ---------------------------------------------------------------------------


def walked(net: ResNet, images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield what the stem and each block give, (B, C, H, W), by its name."""
    x = net.stem(images)
    yield "stem", x
    for name, block in net.blocks():
        x = block(x)
        yield name, x


@torch.no_grad()
def pooled(net: ResNet, batches: Iterable[Batch]) -> tuple[list[Tensor], Tensor]:
    """Return, behind the stem and each block, the mean of every map (N, C), on the CPU; and the labels (N,)."""
    rows: list[list[Tensor]] = []
    labels: list[Tensor] = []
    for batch in batches:
        rows.append([x.mean((2, 3)).cpu() for _, x in walked(net, batch.images)])
        labels.append(batch.labels.cpu())
    return [torch.cat(parts) for parts in zip(*rows, strict=True)], torch.cat(labels)


def probes(learnt: tuple[list[Tensor], Tensor], judged: tuple[list[Tensor], Tensor]) -> tuple[float, ...]:
    """Fit a linear classifier to each place's features; return its accuracy on those to be judged."""
    return tuple(
        probe_accuracy(features, learnt[1], unseen, judged[1])
        for features, unseen in zip(learnt[0], judged[0], strict=True)
    )


@torch.no_grad()
def own_head(net: ResNet, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the net's accuracy if it stopped behind each block of its last stage, by that block's name."""
    last = f"stage{len(net.spec.blocks)}."
    hits: dict[str, int] = {}
    count = 0
    for batch in batches:
        count += len(batch.labels)
        for name, x in walked(net, batch.images):
            if name.startswith(last):
                hits[name] = hits.get(name, 0) + int((net.head(x).argmax(1) == batch.labels).sum())
    return {name: right / count for name, right in hits.items()}


def cosines(net: ResNet, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the mean over pictures of cos(F, −∂L/∂x_l) for each block that keeps the shape, by the block's name."""
    found: dict[str, list[Tensor]] = {}
    for batch in batches:
        count = max(1, PIXELS // batch.images.shape[-1] ** 2)
        for images, labels in zip(split(batch.images, count), split(batch.labels, count), strict=True):
            for name, values in _cosines(net, images, labels).items():
                found.setdefault(name, []).append(values)
    return {name: float(torch.cat(values).mean()) for name, values in found.items()}


def _cosines(net: ResNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Walk B pictures through the net and the loss back; return (B,) cosines a block.

    The loss is summed over pictures, which do not see each other in evaluation, so each has its own gradient.
    """
    names, xs = zip(*walked(net, images), strict=True)
    loss = cross_entropy(net.head(xs[-1]), labels, reduction="sum")
    gradients = torch.autograd.grad(loss, xs[:-1])
    found = {}
    for name, (x, after), gradient in zip(names[1:], pairwise(xs), gradients, strict=True):
        if keeps_shape(net.spec, name):
            F = (after - x).detach().flatten(1)
            found[name] = cosine_similarity(F, -gradient.flatten(1), eps=1e-20)
    return found


# --- figures ------------------------------------------------------------------------------------


def _stages(seen: Seen) -> list[tuple[str, list[str]]]:
    """Return the blocks that keep the shape, stage by stage."""
    return [(stage, list(group)) for stage, group in groupby(seen.cosine, key=lambda block: block.partition(".")[0])]


def _quantities(seen: Sequence[Seen]) -> dict[str, Quantity]:
    own = [list(one.own.values()) for one in seen]
    raising = [sum(b > a for a, b in pairwise(one)) / (len(one) - 1) for one in own]
    shares = {
        "own-start": ("own head behind the last stage's first block", [one[0] for one in own]),
        "own-end": ("own head behind the last block", [one[-1] for one in own]),
        "own-raising": ("the last stage's later blocks that raise it", raising),
        "probe-start": ("probe behind the stem", [one.probe[0] for one in seen]),
        "probe-end": ("probe behind the last block", [one.probe[-1] for one in seen]),
    }
    quantities = {
        name: quantity(label, [100 * value for value in values], "%") for name, (label, values) in shares.items()
    }
    for stage, names in _stages(seen[0]):
        values = [sum(one.cosine[name] for name in names) / len(names) for one in seen]
        quantities[f"cosine-{stage}"] = quantity(f"cosine of F and −∂L/∂x, {stage}", values)
        quantities["cosine-last"] = quantities[f"cosine-{stage}"]
    return quantities


def _charts(kinds: Mapping[str, Sequence[Seen]]) -> tuple[Lines, ...]:
    (residual, nets), *_ = kinds.items()
    number = {name: place for place, name in enumerate(nets[0].blocks, start=1)}

    def at_blocks(values: Mapping[str, float], times: float = 1.0) -> Points:
        return tuple((number[name], times * value) for name, value in values.items())

    probe = lines_of(kinds, lambda one: numbered((100 * share for share in one.probe), first=0))
    own = lines_of(kinds, lambda one: at_blocks(one.own, 100))
    cosine = lines_of({residual: nets}, lambda one: at_blocks(one.cosine))
    return (
        Lines("What a linear probe finds behind each block", "block", "accuracy, %", probe),
        Lines("The net's own head behind each block of the last stage", "block", "accuracy, %", own),
        Lines("Does F point down the loss?", "block", "cosine of F and −∂L/∂x", cosine),
    )
