"""Blocks added to trained convolutional nets: as the identity, by depth/grow.py, or as ordinary new layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch

from residuum.data.batches import Batch
from residuum.depth.grow import grown
from residuum.depth.measure import score
from residuum.depth.recalibrate import recalibrate
from residuum.loading import save_classifier
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance
from residuum.records.study import Quantity
from residuum.runs import RunRecord
from residuum.settings import TrainSettings
from residuum.studies.examined import opened, training_batches
from residuum.studies.frame import Setup, quantity
from residuum.studies.trained import net_settings, test_error, trained, training_error

MORE = 2
"""Blocks added to each stage, one alone at scale tiny: 20 layers become 32."""
RATE = 0.03
"""Highest rate of the pass that follows: a third of a new net's, so that what was learnt is kept."""


@dataclass(frozen=True)
class Deepened:
    """A net before and after: validation loss in nats, how far its logits moved, and how to train it on."""

    before: float
    after: float
    difference: float
    then: TrainSettings


def measure_insertion(setup: Setup) -> dict[str, Quantity]:
    """Grow residual nets and insert ordinary layers into plain ones, with every seed; then train each for a pass."""
    found: dict[str, list[Deepened]] = {}
    quantities: dict[str, Quantity] = {}
    for model, label, kind in (("resnet20", "residual", "grown"), ("plain20", "plain", "inserted")):
        wanted = [net_settings(setup, model, seed) for seed in setup.seeds]
        records = trained(setup, wanted)
        nets = [_deepened(setup, settings, record) for settings, record in zip(wanted, records, strict=True)]
        change = f"largest change of a logit, as a share of the largest, {label} net {kind}"
        quantities |= {
            f"shallow-{label}-loss": quantity(f"validation loss, {label} net", [one.before for one in nets], "nats"),
            f"{kind}-loss": quantity(f"validation loss, {label} net {kind}", [one.after for one in nets], "nats"),
            f"{kind}-difference": quantity(change, [one.difference for one in nets], exact=kind == "grown"),
        }
        found[kind] = nets
    return quantities | _trained_on(setup, found)


def _trained_on(setup: Setup, found: dict[str, list[Deepened]]) -> dict[str, Quantity]:
    """Train each deepened net for one more pass."""
    records = trained(setup, [one.then for deepened in found.values() for one in deepened])
    count = len(setup.seeds)
    quantities = {}
    for place, kind in enumerate(found):
        own = records[place * count : (place + 1) * count]
        for name, error in (("training", training_error), ("test", test_error)):
            values = tuple(error(record) for record in own)
            quantities[f"{kind}-{name}"] = quantity(f"{name} error, {kind}, one pass later", values, "%")
    return quantities


def _deepened(setup: Setup, settings: TrainSettings, record: RunRecord) -> Deepened:
    """Deepen one run's net, measure it, and write it down to be trained on."""
    run = opened(record.path, setup)
    classifier, net = run.classifier, run.classifier.net
    more = 1 if setup.scale == "tiny" else MORE
    blocks = tuple(count + more for count in net.spec.blocks)
    if net.spec.shortcut == "none":
        deeper = inserted(net, blocks, settings.seed)
        recalibrate(deeper, (batch.images for batch in training_batches(run, 2000)))
    else:
        deeper = grown(net, blocks, settings.seed)
    batches = list(run.validation_loader(200 if setup.scale == "tiny" else 1000))
    path = setup.folder / "deepened" / f"{record.path.name}-{deeper.spec.depth}.safetensors"
    known = Provenance(data=classifier.about.data, settings=classifier.about.settings)
    save_classifier(path, deeper, deeper.spec, classifier.classes, classifier.preprocessing, known)
    then = TrainSettings(
        settings.data,
        start=str(path),
        recipe="sgd_one_cycle",
        lr=RATE,
        epochs=1,
        seed=settings.seed,
        validation=settings.validation,
    )
    before, after = (score(one, batches, run.compute).loss for one in (net, deeper))
    return Deepened(before, after, logit_difference(net, deeper, batches), then)


def inserted(net: ResNet, blocks: Sequence[int], seed: int) -> ResNet:
    """Return the net with so many blocks in each stage, the new ones with ordinary initial weights, as training has.

    The new BN statistics are still those of no picture at all.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        deeper = ResNet(replace(net.spec, blocks=tuple(blocks)))
    deeper.load_state_dict({**deeper.state_dict(), **net.state_dict()})
    like = net.fc.weight
    return deeper.to(like.device, like.dtype).train(net.training)


@torch.no_grad()
def logit_difference(net: ResNet, other: ResNet, batches: Iterable[Batch]) -> float:
    """Return the largest difference between two nets' logits, as a share of the first net's largest."""
    moved, size = 0.0, 0.0
    for batch in batches:
        logits = net(batch.images)
        moved = max(moved, float((other(batch.images) - logits).abs().max()))
        size = max(size, float(logits.abs().max()))
    return moved / size
