"""What a frozen net's last layer reads of each picture: computed once, then kept in the cache folder.

Letters: N pictures, D features.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
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
from residuum.data.batches import Loader
from residuum.data.cache import DECODE_VERSION, content_key
from residuum.data.preprocess import weighted
from residuum.errors import Stopped, UserError
from residuum.files import write_whole
from residuum.models.file import digest, read_tensors, sealed
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet

BATCH = 32
"""Pictures in one step: few enough for a stop to be heeded soon."""

SHOWN: dict[Views, str] = {"single": "", "mirrored": ", mirrored", "halved": ", at half the side"}
_NAME = "features"


@torch.inference_mode()
def features(
    net: ResNet,
    loader: Loader,
    compute: Compute,
    asked_to_stop: Callable[[], int | None],
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
    named = f"features of the {'training' if split == 'train' else split} pictures"
    found = _of_last_view(net, loader, compute, asked_to_stop, named, "single")
    if views != "single":
        found = (found + _of_last_view(net, loader, compute, asked_to_stop, named, views)) * np.float32(0.5)
    return found


def _of_last_view(
    net: ResNet, loader: Loader, compute: Compute, asked_to_stop: Callable[[], int | None], named: str, views: Views
) -> NDArray[np.float32]:
    """Return (N, D) of the last of these views: the pictures, their mirror images, or the pictures halved."""
    content = (*_key(net, loader, compute), *([views] if views != "single" else []))
    key = hashlib.sha256(repr(content).encode()).hexdigest()
    path = machine.cache_folder() / _NAME / f"{key}.safetensors"
    with suppress(UserError, KeyError):  # not there, or damaged
        kept = read_tensors(path)[0][_NAME].numpy()
        if kept.shape == (len(loader.split), net.fc.in_features) and kept.dtype == np.float32:
            return kept
    found = _computed(net, replace(loader, batch_size=BATCH), compute, asked_to_stop, named, views)
    try:
        write_whole(path, sealed({_NAME: found}, {}))
    except UserError as error:
        say(f"features are not kept for next time: {error.what}")
    return found.numpy()


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
    net: ResNet, loader: Loader, compute: Compute, asked_to_stop: Callable[[], int | None], named: str, views: Views
) -> Tensor:
    """Let the net compute, its last layer out of the way."""
    forward, parts, done = make_forward(net.eval(), compute), [], 0
    progress = show_progress(named + SHOWN[views])
    with without_last_layer(net):
        for batch in loader:
            with compute.autocast():
                parts.append(forward(weighted(batch.images, views)[-1][1]).float().cpu())
            done += len(batch.rows)
            progress(done, len(loader.split))
            if (code := asked_to_stop()) is not None:
                raise Stopped("stopped before all pictures were seen", code)
    return torch.cat(parts)


@contextmanager
def without_last_layer(net: ResNet) -> Iterator[None]:
    """Let the net, and plans of it, give (N, D) features in place of logits for a while."""
    head = net.fc
    net.set_submodule("fc", nn.Identity())
    try:
        yield
    finally:
        net.set_submodule("fc", head)
