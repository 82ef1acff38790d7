"""The part of a run that fits the last layer alone: features, regression, the judgement on every picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from msgspec import structs
from torch import nn

from residuum import machine, runs
from residuum.console import say
from residuum.data.cache import fingerprint, picture_digests
from residuum.errors import Stopped
from residuum.evaluation.evaluate import protocol
from residuum.evaluation.metrics import judge
from residuum.models.resnet import ResNet
from residuum.plain_data import as_json
from residuum.records.codec import write_record
from residuum.records.evaluation import Evaluation, KeptEvaluation
from residuum.records.run import Event
from residuum.training.features import features
from residuum.training.head import FOLDS, Head, fit_head
from residuum.training.record import record_judged
from residuum.training.resolve import Resolved
from residuum.training.start import Loaders, final_split, make_net

OUT_OF_FOLD = "out-of-fold"


def train_head(
    run: Path, resolved: Resolved, loaders: Loaders, asked_to_stop: Callable[[], int | None]
) -> tuple[ResNet, Evaluation]:
    """Return the net with its last layer fitted, and the run's final figures, which are written.

    They are of the data's own test or validation pictures; or else of all training pictures, each answered by a last
    layer that has not seen it. Where there are both, the latter lie in the run's evaluations.

    Raises:
        Stopped: a signal came; the message says how to go on.
        UserError: pictures cannot be read, or are all the same.
    """
    net = make_net(resolved)
    resolved.compute.place(net)
    final, train, classes = final_split(loaders), loaders["train"], resolved.data.classes
    try:
        x = features(net, train, resolved.compute, asked_to_stop)
        final_x = features(net, loaders[final], resolved.compute, asked_to_stop) if final else None
    except Stopped as stop:
        raise Stopped(f"{stop}\nto go on: residuum train --resume {run}", stop.exit_code) from None
    same = np.unique(picture_digests(train.split.pictures), axis=0, return_inverse=True)[1].reshape(-1)
    head = fit_head(x, train.split.labels, len(classes), resolved.settings.seed, same)
    net.set_submodule("fc", _as_layer(head).to(resolved.compute.device))
    how = protocol(train.preprocessing)
    if resolved.compute.precision != "float32":
        how += f", computed in {resolved.compute.precision}"
    unseen = f"{how}, each answered by a last layer fitted without it ({FOLDS} folds)"
    if final is None or final_x is None:
        judged = by_folds = record_judged(run, net, head.out_of_fold, train, classes, OUT_OF_FOLD, unseen)
    else:
        by_folds = judge(head.out_of_fold, train.split.labels, classes, split=OUT_OF_FOLD, protocol=unseen)
        _keep(run, resolved, by_folds)
        with torch.inference_mode():
            logits = net.fc.cpu()(torch.from_numpy(final_x))
        judged = record_judged(run, net, torch.softmax(logits, 1).numpy(), loaders[final], classes, final, how)
    _tell(run, head, by_folds)
    return net, judged


def _as_layer(head: Head) -> nn.Linear:
    layer = nn.Linear(*reversed(head.weight.shape))
    layer.load_state_dict({"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)})
    return layer


def _keep(run: Path, resolved: Resolved, found: Evaluation) -> None:
    """Write the figures beside the run's own, as `residuum evaluate` does."""
    digest = fingerprint(resolved.data)
    kept = KeptEvaluation(
        **structs.asdict(found),
        data=resolved.data.source,
        fingerprint=digest,
        same_data_as_training=True,
        model=runs.MODEL,
        settings=as_json(resolved.settings),
        environment=machine.environment(),
    )
    write_record(run / runs.EVALUATIONS / f"{found.split}-{digest[:12]}.json", kept)


def _tell(run: Path, head: Head, found: Evaluation) -> None:
    """Say what was chosen, and how the training pictures fared out of fold; the page shows it as an event."""
    right = f"{found.top1.value:.2%} of all {found.images} training pictures right"
    message = (
        f"C = {head.strength:.3g} by the likelihood of pictures not seen ({head.loss:.3f} nats): "
        f"{right} (95 % interval {found.top1.low:.2%} to {found.top1.high:.2%})"
    )
    say(message)
    runs.append_metrics(run, Event(step=0, message=message))
