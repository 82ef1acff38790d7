"""What a frozen net's last layer reads of each picture: computed once, then kept in the cache folder.

Letters: N pictures, D features.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from residuum import machine
from residuum.choices import Views
from residuum.compute import Compute
from residuum.console import say, show_progress
from residuum.data.batches import Batch, Loader
from residuum.data.cache import DECODE_VERSION, content_key
from residuum.data.preprocess import weighted
from residuum.errors import Stopped, UserError
from residuum.files import write_whole
from residuum.models.file import digest, read_tensors, sealed
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet
from residuum.training.signals import AskedToStop

BATCH = 32
"""Pictures in one step: few enough for a stop to be heeded soon."""

SHOWN: dict[Views, str] = {"single": "", "mirrored": ", mirrored", "halved": ", at half the side", "middle": ""}
BESIDE: frozenset[Views] = frozenset({"mirrored", "halved"})
"""Views of two parts, of which the picture itself is one: the other, the last, is kept by itself."""
_NAME = "features"


@torch.inference_mode()
def features(
    net: ResNet,
    loader: Loader,
    compute: Compute,
    asked_to_stop: AskedToStop,
    views: Views = "single",
    split: str = "train",
) -> NDArray[np.float32]:
    """Return (N, D) of all pictures served: the pooled activations, in evaluation mode, in `compute`'s precision.

    They are the mean over the `views`: the last layer makes of it the mean of their logits. They are found again by the
    pictures' content, the weights before the last layer, preprocessing and precision. `split` names them to the person.

    Raises:
        Stopped: a signal came; what was computed by then is lost.
    """
    assert views != "shifted"
    content = _key(net, loader, compute)
    kinds: list[Views] = ["single", views] if views in BESIDE else [views]
    places = {kind: _place((*content, *([kind] if kind != "single" else []))) for kind in kinds}
    shape = len(loader.split), net.fc.in_features
    found = {kind: kept for kind, place in places.items() if (kept := _kept(place, shape)) is not None}
    if missing := [kind for kind in kinds if kind not in found]:
        named = f"features of the {'training' if split == 'train' else split} pictures{SHOWN[missing[0]]}"
        computed = _computed(net, replace(loader, batch_size=BATCH), compute, asked_to_stop, named, missing)
        for kind, each in computed.items():
            _keep(places[kind], each)
            found[kind] = each.numpy()
    return (found["single"] + found[views]) * np.float32(0.5) if views in BESIDE else found[views]


def _place(content: tuple[Any, ...]) -> Path:
    key = hashlib.sha256(repr(content).encode()).hexdigest()
    return machine.cache_folder() / _NAME / f"{key}.safetensors"


def _kept(place: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return what is kept there; None where nothing is, or it is damaged."""
    with suppress(UserError, KeyError):
        kept: NDArray[np.float32] = read_tensors(place)[0][_NAME].numpy()
        if kept.shape == shape and kept.dtype == np.float32:
            return kept
    return None


def _keep(place: Path, found: Tensor) -> None:
    try:
        write_whole(place, sealed({_NAME: found}, {}))
    except UserError as error:
        say(f"features are not kept for next time: {error.what}")


def _key(net: ResNet, loader: Loader, compute: Compute) -> tuple[Any, ...]:
    """Return all that the numbers depend on."""
    weights = {name: tensor for name, tensor in net.state_dict().items() if not name.startswith("fc.")}
    how = loader.preprocessing
    shown = (how.image_size, how.resize_to, how.interpolation, how.mean.tobytes(), how.std.tobytes())
    greys = (how.greys,) if how.greys else ()  # so that what was kept before there were such is still found
    versions = (DECODE_VERSION, PIL.__version__, torch.__version__)
    computed = (compute.precision, compute.device.type, compute.uses_kernels)
    spec = {**net.spec.as_json(), "num_classes": None}
    return content_key(loader.split.pictures), digest(weights), spec, (*shown, *greys), computed, versions


def _computed(
    net: ResNet,
    loader: Loader,
    compute: Compute,
    asked_to_stop: AskedToStop,
    named: str,
    kinds: Sequence[Views],
) -> dict[Views, Tensor]:
    """Let the net compute, its last layer out of the way: (N, D) of each kind. Each picture is read once."""
    forward, done = make_forward(net.eval(), compute), 0
    parts: dict[Views, list[Tensor]] = {kind: [] for kind in kinds}
    progress = show_progress(named)
    with without_last_layer(net):
        for batch in loader:
            for kind in kinds:
                shown = [(1.0, weighted(batch.images, kind)[-1][1])] if kind in BESIDE else weighted(batch.images, kind)
                with compute.autocast():
                    found = [weight * forward(view).float() for weight, view in shown]
                parts[kind].append(torch.stack(found).sum(0).cpu())
            done += len(batch.rows)
            progress(done, len(loader.split))
            if (code := asked_to_stop()) is not None:
                raise Stopped("stopped before all pictures were seen", code)
    return {kind: torch.cat(each) for kind, each in parts.items()}


def heeding(batches: Iterable[Batch], asked_to_stop: AskedToStop) -> Iterator[Batch]:
    """Hand batches on until a signal came (Stopped)."""
    for batch in batches:
        if (code := asked_to_stop()) is not None:
            raise Stopped("stopped before all pictures were seen", code)
        yield batch


@contextmanager
def without_last_layer(net: ResNet) -> Iterator[None]:
    """Let the net, and plans of it, give (N, D) features in place of logits for a while."""
    head = net.fc
    net.set_submodule("fc", nn.Identity())
    try:
        yield
    finally:
        net.set_submodule("fc", head)
