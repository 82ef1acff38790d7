"""What each block is worth: the net's figures with that block's branch left out, everything else as it is.

Veit, Wilber and Belongie 2016 (arXiv 1605.06431), sec. 4.1: y = h(x) in place of F(x) + h(x), without retraining. What
stands behind the addition stays: y = after(h(x)). A plain net has no shortcut; there the identity stands in the block's
place, if shapes allow.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch

from residuum import runs
from residuum.choices import Views
from residuum.compute import Compute
from residuum.data.batches import Batch
from residuum.data.contract import ColumnNames
from residuum.depth.described import measured_on, say_if_few
from residuum.depth.measure import StandIn, identity, scores_without, shortcut_alone
from residuum.depth.progress import Told, passes_without, telling, untold
from residuum.depth.remove import block_names, keeps_shape, still_removable
from residuum.evaluation.evaluate import to_judge
from residuum.evaluation.opening import open_with_data, with_validation
from residuum.loading import load_for
from residuum.models.count import multiply_adds, parameters, undrawn
from residuum.models.resnet import ResNet
from residuum.models.shortcuts import SHORTCUTS
from residuum.models.spec import NetSpec
from residuum.records.codec import write_record
from residuum.records.depth import Lesion, LesionRow, Score
from residuum.settings import LesionSettings


def lesion(settings: LesionSettings) -> Path:
    """Measure the net without each of its blocks in turn; return the folder that holds lesion.json.

    Raises:
        UserError: no such model or data, or the data's classes are not the model's.
    """
    classifier = load_for("lesion", settings.model)
    net = classifier.net
    compute = to_judge(settings)
    columns = ColumnNames.told(settings)
    opened = with_validation(open_with_data(classifier, compute, settings.data, columns, call="lesion {} DATA"))
    out = runs.folder_of_results(settings.out, settings.model or "", f"{classifier.name}-lesion", opened.data.source)
    loader = opened.validation_loader(settings.images)
    images = len(loader.split)
    say_if_few(images)
    doing = f"measuring {sum(net.spec.blocks)} blocks, each left out in turn, on {images} pictures"
    told = telling(doing, images * passes_without(block_names(net.spec), _lesioned(net)))
    intact, scores = lesions(net, loader.held(), compute, classifier.preprocessing.views, told)
    found = Lesion(
        **measured_on(opened, loader.split),
        intact=intact,
        blocks=_block_rows(net, scores, classifier.preprocessing.image_size),
    )
    write_record(out / runs.LESION, found)
    return out


def lesions(
    net: ResNet, batches: Iterable[Batch], compute: Compute, views: Views = "single", told: Told = untold
) -> tuple[Score, dict[str, Score]]:
    """Score the whole net, and the net with one block at a time lesioned; blocks that cannot be are left out."""
    stand_in: StandIn = identity if net.spec.shortcut == "none" else shortcut_alone
    net.eval()
    return scores_without(net, (), dict.fromkeys(_lesioned(net), stand_in), batches, compute, views, told)


def _lesioned(net: ResNet) -> list[str]:
    return [name for name, _ in net.blocks() if what_is_left(net.spec, name) is not None]


def what_is_left(spec: NetSpec, name: str) -> Literal["identity", "shortcut"] | None:
    """Say what a block without its branch does: "identity", or "shortcut" where that changes what it gets.

    None: the block of a plain net that changes the shape leaves nothing.
    """
    if spec.shortcut == "none":
        return "identity" if keeps_shape(spec, name) else None
    passes = SHORTCUTS[spec.shortcut].passes and spec.order != "bn-after-addition"
    return "identity" if passes and keeps_shape(spec, name) else "shortcut"


def _block_rows(net: ResNet, scores: Mapping[str, Score], image_size: int) -> tuple[LesionRow, ...]:
    """Return one row a block, in order: what it costs and what the net does without it."""
    may_go, costs = still_removable(net.spec), block_costs(net.spec, image_size)
    return tuple(
        LesionRow(
            name=name,
            stage=int(name.split(".")[0].removeprefix("stage")),
            removable=name in may_go,
            left=what_is_left(net.spec, name),
            loss=scores[name].loss if name in scores else None,
            accuracy=scores[name].accuracy if name in scores else None,
            mean_ap=scores[name].mean_ap if name in scores else None,
            **costs[name],
        )
        for name, _ in net.blocks()
    )


@torch.inference_mode()
def block_costs(spec: NetSpec, image_size: int) -> dict[str, dict[str, int]]:
    """Return each block's parameters, and its multiply-adds for one picture of `image_size` px."""
    costs, net = {}, undrawn(spec).eval()
    x = net.stem(torch.empty(0, spec.in_channels, image_size, image_size))  # of no picture: nothing is computed
    for name, block in net.blocks():
        products = multiply_adds(block, x.shape[1], x.shape[2])
        costs[name] = {"parameters": parameters(block), "multiply_adds": products}
        x = block(x)
    return costs
