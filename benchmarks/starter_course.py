"""How the starter's net is trained: a loop of its own, as residuum's shows small pictures whole, and this one parts."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from starter_views import views
from torch import Generator, Tensor
from torch.nn.functional import cross_entropy

from residuum.compute import choose_compute
from residuum.models.named import named
from residuum.models.plan import Forward, make_forward
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.recipe import Augmentation, OneCycle, ParameterGroup, Recipe
from residuum.training.optimizer import Optimizer, make_optimizer, set_rate

NET = {"stem": "cifar", "stem_width": 32, "blocks": (1, 2, 2), "widths": (64, 224, 224), "pooling": "roots"}
"""Choices beside those of recipe fast's net: a trained stem, a block more, the pooling that features are used with."""
MEAN, STD = (122.57, 114.29, 101.57), (64.27, 62.41, 66.0)
"""Of the thumbnails' values, 0 to 255."""
BATCH, STEPS = 250, 3300
SIDES = (24, 24, 24, 32)
"""Each step draws at which of these sides, in pixels, its views are shown."""
RATES = (
    (0, 0.00016),
    (97, 0.01568),
    (1139, 0.0124954),
    (1788, 0.0090606),
    (2575, 0.0012419),
    (2595, 0.005),
    (STEPS, 0.0),
)
"""(step, learning rate), linear between them: it falls, and once more; last layer and BN move at TIMES as much."""
TIMES = 2.0
SAVE_EVERY = 100
"""Steps between checkpoints."""


@dataclass(frozen=True)
class Thumbnails:
    """Training pictures in memory."""

    pixels: Tensor  # (N, 3, S, S) uint8
    labels: Tensor  # (N,)

    def normalised(self, rows: Tensor) -> Tensor:
        """Return pictures `rows` as the net sees them."""
        mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, STD))
        return (self.pixels[rows].float() - mean) / std


def spec(classes: int) -> NetSpec:
    """Return the net's specification."""
    return replace(named("fast-resnet10", classes), **NET)


def train(shown: Thumbnails, classes: int, checkpoint: Path, seed: int, threads: int = 1) -> tuple[ResNet, list[float]]:
    """Return the trained net and its loss, the mean over each 100 steps; goes on from a checkpoint."""
    torch.manual_seed(seed)
    net, g = ResNet(spec(classes)), Generator().manual_seed(seed)
    compute = choose_compute("cpu", "bfloat16", "channels-last", threads)
    compute.place(net)
    moves = ParameterGroup(rate=TIMES)
    recipe = Recipe(
        name="starter",
        iterations=STEPS,
        batch_size=BATCH,
        schedule=OneCycle(peak=max(rate for _, rate in RATES), climb=0),
        augmentation=Augmentation(),
        optimizer="muon",
        matrix_momentum=0.9,
        norms=moves,
        head=replace(moves, weight_decay=1e-4),
        weight_decay=0.0,
    )
    optimizer, losses = make_optimizer(net, recipe, compute.dtype), list[float]()
    if checkpoint.exists():
        losses = _restored(checkpoint, net, optimizer, g)
    forward, loss = make_forward(net, compute), 0.0
    net.train()
    for step in range(SAVE_EVERY * len(losses), STEPS):
        set_rate(optimizer, max(1e-4, float(np.interp(step, *zip(*RATES, strict=True)))))
        rows = _rows(step, len(shown.labels), seed)
        side = SIDES[int(torch.randint(len(SIDES), (1,), generator=g))]
        with compute.autocast():
            loss += _step(forward, optimizer, views(shown.normalised(rows), side, g), shown.labels[rows]) / SAVE_EVERY
        if (step + 1) % SAVE_EVERY == 0:
            losses, loss = [*losses, loss], 0.0
            _save(checkpoint, net, optimizer, g, losses)
            print(f"step {step + 1} of {STEPS}: loss {losses[-1]:.3f}", flush=True)
    return net.eval(), losses


def _rows(step: int, count: int, seed: int) -> Tensor:
    """Return the pictures of a step: each pass sees all in an order of its own, but for less than a batch."""
    done, place = divmod(step, count // BATCH)
    shuffled = torch.randperm(count, generator=Generator().manual_seed(1000 * done + seed))
    return shuffled[place * BATCH : (place + 1) * BATCH]


def _step(forward: Forward, optimizer: Optimizer, images: Tensor, labels: Tensor) -> float:
    """Take a step and return its loss."""
    loss = cross_entropy(forward(images).float(), labels)
    if not math.isfinite(loss.item()):
        raise SystemExit("the loss is no longer a number")
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def _save(file: Path, net: ResNet, optimizer: Optimizer, g: Generator, losses: list[float]) -> None:
    whole = file.with_suffix(".new")
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()["state"], "chance": g.get_state()}
    torch.save({**state, "losses": losses}, whole)
    whole.replace(file)


def _restored(file: Path, net: ResNet, optimizer: Optimizer, g: Generator) -> list[float]:
    """Take back what `_save` wrote, and return the losses so far."""
    state = torch.load(file, weights_only=True)
    net.load_state_dict(state["net"])
    optimizer.load_state_dict({"state": state["optimizer"]})
    g.set_state(state["chance"])
    return list(state["losses"])
