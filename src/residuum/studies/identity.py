"""The identity: layers are added to a trained net, which they may only leave as it is; can training find that?

Fully connected: a trained 4-layer plain net is frozen and new blocks, with shortcuts or without, stand before its last
layer. Convolutional: blocks are added to trained nets (insertion.py). Letters: N pictures, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from residuum.compute import choose_compute
from residuum.console import show_progress
from residuum.data.contract import Split
from residuum.data.digits import digits
from residuum.models.mlp import MLP, MLPSpec
from residuum.records.study import Bars, Lines, Points, Quantity, Words
from residuum.studies.charts import bars_of, lines_of, mean_line
from residuum.studies.fit import fit
from residuum.studies.frame import Findings, Setup, quantity
from residuum.studies.insertion import measure_insertion
from residuum.studies.verdict import Quantities, Rule, below

SHALLOW = MLPSpec(inputs=64, width=32, blocks=1, outputs=10, shortcut="none")
KINDS: dict[str, Literal["identity", "none"]] = {"plain": "none", "residual": "identity"}
RATE = 1e-2
SHOWN = 20
"""Steps between two points of a curve."""


@dataclass(frozen=True)
class Shallow:
    """A trained shallow net as added layers see it: its last hidden layer's answers (N, D), and its last layer."""

    hidden: Tensor
    labels: Tensor
    last: nn.Linear
    loss: float
    error: float


@dataclass(frozen=True)
class Added:
    """What became of layers added to it: loss before each step, and how far from the identity they ended."""

    losses: tuple[float, ...]
    steps: int
    distance: float
    error: float
    taught: float


RULE = Rule(
    (below("steps-residual", "steps-plain"), below("grown-difference", 1e-5)),
    {
        "steps-residual": "the number of steps in which added residual blocks bring an 8-layer net back to the "
        "training loss of its trained 4-layer part",
        "steps-plain": "that of added plain blocks",
        "grown-difference": "the largest change of a logit by growing a convolutional net by zero branches, as a share "
        "of the largest logit,",
    },
)


def measure(setup: Setup) -> Findings:
    """Add blocks of both kinds to a shallow net, with every seed; then blocks to convolutional nets."""
    added, steps = ((2,), 40) if setup.scale == "tiny" else ((2, 4, 8), 400)
    convolutional = measure_insertion(setup)  # first, for it may lack its pictures
    device = choose_compute(setup.device, threads=setup.threads).device
    x, y = flat(digits().train, device)
    progress = show_progress("adding blocks to fully connected nets")
    found: dict[tuple[str, int], list[Added]] = {(kind, many): [] for kind in KINDS for many in added}
    shallow = []
    for place, seed in enumerate(setup.seeds):
        progress(place, len(setup.seeds))
        shallow.append(train_shallow(x, y, seed, steps))
        for (kind, many), of_seeds in found.items():
            of_seeds.append(add(shallow[-1], kind, many, seed, steps))
    progress(len(setup.seeds), len(setup.seeds))
    q = _quantities(shallow, found, steps) | convolutional
    depth = _depth(added[0])
    return Findings(
        q,
        Words(
            f"Until {depth} layers train as well as the 4 they contain: {q['steps-plain']} steps if the new ones are "
            f"plain, {q['steps-residual']} if they are residual. A convolutional net grown by zero branches moves no "
            f"logit by more than {q['grown-difference']} of the largest; its loss is {q['grown-loss']}, and that of "
            f"the plain net with ordinary new layers {q['inserted-loss']}.",
            f"{depth} 层网络恢复到其所含 4 层网络的训练损失：新增层为普通层需 {q['steps-plain']} 步，为残差层需 "
            f"{q['steps-residual']} 步。用零残差分支加深的卷积网络，输出的最大相对变化为 {q['grown-difference']}，"
            f"损失为 {q['grown-loss']}；在普通网络中插入随机初始化的层后损失为 {q['inserted-loss']}。",
        ),
        (*_curves(found, shallow), *_bars(q, added)),
        notes=(
            "Fully connected nets see all training digits in every step, so that BN in training and the measured "
            "loss agree.",
            "BN statistics of nets with ordinary new layers were measured anew before their loss was.",
        ),
        settings={"width": SHALLOW.width, "steps": steps, "rate": RATE, "blocks added": added},
    )


# --- fully connected ----------------------------------------------------------------------------


def flat(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scans as rows of numbers, (N, 64) from −1 to 1, and labels (N,)."""
    scans = [torch.tensor(split.pictures.encoded(row)).flatten() for row in range(len(split))]
    x = torch.stack(scans).float() / 127.5 - 1
    return x.to(device), torch.from_numpy(split.labels).to(device)


def train_shallow(x: Tensor, y: Tensor, seed: int, steps: int) -> Shallow:
    """Train the plain net of 4 layers on all N pictures at a time."""
    torch.manual_seed(seed)
    net = MLP(SHALLOW).to(x.device)
    fit(net, x, y, cross_entropy, steps=steps, rate=RATE)
    with torch.no_grad():
        hidden = net.stages(net.stem(x))
        logits = net.fc(hidden)
    net.fc.requires_grad_(False)
    return Shallow(hidden, y, net.fc, float(cross_entropy(logits, y)), _error(logits, y))


def new_blocks(kind: str, many: int, seed: int) -> nn.Sequential:
    """Return so many new blocks (N, D) to (N, D) with their initial weights."""
    torch.manual_seed(1000 + seed)  # not those the shallow net began with
    return MLP(replace(SHALLOW, blocks=many, shortcut=KINDS[kind])).stages


def add(shallow: Shallow, kind: str, many: int, seed: int, steps: int) -> Added:
    """Train new blocks between frozen layers: to classify, and, apart from that, to give back what they get."""
    h, y = shallow.hidden, shallow.labels
    blocks = new_blocks(kind, many, seed).to(h.device)
    losses: list[float] = []
    whole = nn.Sequential(blocks, shallow.last)
    fit(whole, h, y, cross_entropy, steps=steps, rate=RATE, watch=lambda _, loss: losses.append(loss))
    with torch.no_grad():
        error = _error(whole(h), y)
    taught = new_blocks(kind, many, seed).to(h.device)
    fit(taught, h, h, mse_loss, steps=steps, rate=RATE)
    return Added(
        losses=tuple(losses),
        steps=steps_until(losses, shallow.loss),
        distance=block_distance(blocks, h),
        error=error,
        taught=distance(taught, h),
    )


def steps_until(losses: Sequence[float], wanted: float) -> int:
    """Return after how many steps the loss was as low as wanted; all of them, if it never was.

    `losses` are those before each step.
    """
    return next((step for step, loss in enumerate(losses) if loss <= wanted), len(losses))


@torch.no_grad()
def distance(module: nn.Module, x: Tensor) -> float:
    """Return ‖module(x) − x‖ / ‖x‖ over all numbers of x (N, D)."""
    return float((module(x) - x).norm() / x.norm())


@torch.no_grad()
def block_distance(blocks: nn.Sequential, x: Tensor) -> float:
    """Return the mean over blocks of how far each one's output is from its input, relative to that."""
    distances = []
    for block in blocks:
        distances.append(distance(block, x))
        x = block(x)
    return sum(distances) / len(distances)


def _error(logits: Tensor, labels: Tensor) -> float:
    return 100 * float((logits.argmax(1) != labels).float().mean())


def _depth(blocks: int) -> int:
    return replace(SHALLOW, blocks=SHALLOW.blocks + blocks).depth


# --- figures ------------------------------------------------------------------------------------


def _quantities(
    shallow: Sequence[Shallow], found: dict[tuple[str, int], list[Added]], steps: int
) -> dict[str, Quantity]:
    quantities = {
        "shallow-loss": quantity("training loss of 4 layers", tuple(one.loss for one in shallow), "nats"),
        "shallow-error": quantity("training error of 4 layers", tuple(one.error for one in shallow), "%"),
    }
    measured = {
        "steps": ("steps until the loss of 4 layers", ""),
        "error": ("training error", "%"),
        "distance": ("distance of a block's output from its input", ""),
        "taught": ("distance from the identity, taught nothing else", ""),
    }
    for (kind, many), seeds in found.items():
        for name, (words, unit) in measured.items():
            values = tuple(float(getattr(one, name)) for one in seeds)
            label = f"{words}, {kind}, {_depth(many)} layers"
            limit = steps if name == "steps" else None
            quantities[f"{name}-{kind}{_depth(many)}"] = quantity(label, values, unit, limit=limit)
            if many == min(known for _, known in found):
                quantities[f"{name}-{kind}"] = quantities[f"{name}-{kind}{_depth(many)}"]
    return quantities


def _curves(found: dict[tuple[str, int], list[Added]], shallow: Sequence[Shallow]) -> tuple[Lines, ...]:
    shortest = min(many for _, many in found)
    last = len(found["plain", shortest][0].losses) - 1

    def points(losses: Sequence[float]) -> Points:
        return tuple(
            (step, loss) for step, loss in enumerate(losses) if step < SHOWN or step % SHOWN == 0 or step == last
        )

    lines = lines_of({kind: found[kind, shortest] for kind in KINDS}, lambda one: points(one.losses))
    old = [((0.0, one.loss), (float(last), one.loss)) for one in shallow]
    title = f"{_depth(shortest)} layers that contain 4 trained ones"
    return (Lines(title, "step", "training loss, nats", (*lines, mean_line("4 layers", old)), log_y=True),)


def _bars(q: Quantities, added: Sequence[int]) -> tuple[Bars, ...]:
    def by_depth(title: str, y: str, name: str) -> Bars:
        nets = [(kind, _depth(many)) for many in added for kind in KINDS]
        return bars_of(title, y, q, {f"{kind}, {depth} layers": f"{name}-{kind}{depth}" for kind, depth in nets})

    losses = {
        "residual": "shallow-residual-loss",
        "residual, grown": "grown-loss",
        "plain": "shallow-plain-loss",
        "plain, layers inserted": "inserted-loss",
    }
    return (
        by_depth("Back at the shallow net's training loss", "steps", "steps"),
        by_depth("Taught the identity and nothing else", "distance from it, relative", "taught"),
        bars_of("Convolutional nets before and after growing", "validation loss, nats", q, losses),
    )
