"""What a net costs, counted on the net itself without computing anything (meta tensors)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from residuum.errors import UserError
from residuum.models.comparison import COMPARISON_NETS, SMALLEST, comparison_net, installed
from residuum.models.named import NAMED_NETS, named
from residuum.models.published import PUBLISHED
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.settings import ModelsSettings

# --- counting on a net --------------------------------------------------------------------------


def parameters(net: nn.Module) -> int:
    """Count all trainable numbers: convolutions, BN scale and shift, the last layer with its bias."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, in_channels: int, image_size: int) -> int:
    """Count multiply-adds of convolutions and fully connected layers for one picture.

    The papers' "FLOPs" are these; BN, ReLU, pooling and biases are left out. `net` must be on the meta device.
    """
    with _noting_multiply_adds(net) as noted, torch.no_grad():
        net.eval()(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    return sum(noted)


@contextmanager
def _noting_multiply_adds(net: nn.Module) -> Iterator[list[int]]:
    """Give a list that gets each layer's multiply-adds for one picture when the net is run."""
    noted: list[int] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        # the whole weight is used once at each position: of the output, or of what a transposed one spreads out
        seen = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        noted.append(seen.shape[2:].numel() * weight.numel())

    handles = [
        module.register_forward_hook(note)
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    ]
    try:
        yield noted
    finally:
        for handle in handles:
            handle.remove()


def saved_bytes(net: nn.Module, images: Tensor) -> int:
    """Count the bytes that autograd keeps from the forward pass of a training step for the backward pass.

    `images` is (N, C, H, W), and the loss cross-entropy. Each storage counts once, however many layers keep it;
    parameters and buffers, which are there anyway, do not count. What a GPU library keeps for itself is not seen.
    """
    own = {id(t.untyped_storage()): t.untyped_storage() for t in (*net.parameters(), *net.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no two ever have the same id

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[id(storage)] = storage
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = net.train()(images)
        cross_entropy(logits, torch.zeros(len(images), dtype=torch.int64, device=images.device))
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


# --- counting a specification -------------------------------------------------------------------


def cost(spec: NetSpec, image_size: int) -> dict[str, int]:
    """Return depth, parameters and multiply-adds (for one picture of `image_size` px) of a specification."""
    totals = _by_blocks(spec, lambda shallow: _run_once(shallow, image_size))
    return {"depth": spec.depth, "parameters": totals[0], "multiply_adds": totals[1]}


@cache
def _run_once(spec: NetSpec, image_size: int) -> tuple[int, int]:
    """Count parameters and multiply-adds by showing a shallow net one real picture.

    Every run of training begins with this. Meta tensors would load much of torch's compiler for BN alone: seconds.
    """
    with torch.random.fork_rng(devices=[]):
        net = ResNet(spec)
    with _noting_multiply_adds(net) as noted, torch.inference_mode():
        net.eval()(torch.zeros(1, spec.in_channels, image_size, image_size))
    return parameters(net), sum(noted)


def activation_bytes(spec: NetSpec, image_size: int, batch: int) -> int:
    """Count the bytes of activations in one training step of `batch` pictures of `image_size` px, in float32.

    They are what autograd keeps for the backward pass (see `saved_bytes`), with every block taking part. They grow
    by the same amount with each picture, from a small constant: what BN keeps of the batch as a whole.
    """
    return _figures(spec, image_size, batch)["activation_bytes"]


def _figures(spec: NetSpec, image_size: int, batch: int) -> dict[str, int]:
    whole = replace(spec, stochastic_depth=0.0)
    totals = _by_blocks(whole, lambda shallow: _counted(shallow, image_size, batch))
    return {
        "depth": spec.depth,
        "parameters": totals[0],
        "multiply_adds": totals[1],
        "batch": batch,
        "activation_bytes": totals[2],
    }


def _by_blocks(spec: NetSpec, count: Callable[[NetSpec], tuple[int, ...]]) -> list[int]:
    """Count a net of any depth on nets of one and two blocks a stage.

    All blocks of a stage after its first are alike, and so is what each of them adds.
    """
    ones = (1,) * len(spec.blocks)
    shallowest = count(replace(spec, blocks=ones))
    totals = list(shallowest)
    for stage, blocks in enumerate(spec.blocks):
        if blocks == 1:
            continue
        deeper = count(replace(spec, blocks=(*ones[:stage], 2, *ones[stage + 1 :])))
        for kind, (more, base) in enumerate(zip(deeper, shallowest, strict=True)):
            totals[kind] += (blocks - 1) * (more - base)
    return totals


@cache
def _counted(spec: NetSpec, image_size: int, batch: int) -> tuple[int, int, int]:
    """Count parameters, multiply-adds and the activations' bytes on the whole net."""
    with torch.device("meta"):
        net = ResNet(spec)
    return _of_one_step(net, torch.empty(batch, spec.in_channels, image_size, image_size, device="meta"))


def _of_one_step(net: nn.Module, images: Tensor) -> tuple[int, int, int]:
    with _noting_multiply_adds(net) as noted:
        saved = saved_bytes(net, images)
    return parameters(net), sum(noted), saved


# --- the table of nets --------------------------------------------------------------------------


def table(settings: ModelsSettings, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return one row a net, by default of all: what it is, what it costs, what was published of it.

    Depth, parameters, multiply-adds of one picture of `image_size` px, `activation_bytes` of a training step of
    `batch` pictures (128, or 32 large ones), and `published`, a list (see `Published`).

    Raises:
        UserError: a name is unknown, or a net of comparison cannot be built.
    """
    return [_row(name, settings) for name in names or _all_names(settings)]


def _all_names(settings: ModelsSettings) -> list[str]:
    """Return the family's nets, and those of comparison where they can be built."""
    large_enough = (settings.image_size or 224) >= SMALLEST
    return [*NAMED_NETS, *(COMPARISON_NETS if installed() and large_enough else ())]


def _row(name: str, settings: ModelsSettings) -> dict[str, Any]:
    row = _comparison_row(name, settings) if name in COMPARISON_NETS else _family_row(name, settings)
    return {**row, "published": [asdict(one) for one in PUBLISHED.get(name, ())]}


def _family_row(name: str, settings: ModelsSettings) -> dict[str, Any]:
    spec = named(name, settings.classes)
    small = spec.stem == "cifar"
    image_size, batch = settings.image_size or (32 if small else 224), 128 if small else 32
    return {
        "model": name,
        "shortcut": spec.shortcut,
        "block": spec.block,
        "blocks": list(spec.blocks),
        "classes": spec.num_classes,
        "image_size": image_size,
        **_figures(spec, image_size, batch),
    }


def _comparison_row(name: str, settings: ModelsSettings) -> dict[str, Any]:
    image_size, classes = settings.image_size or 224, settings.classes or 1000
    if image_size < SMALLEST:
        raise UserError(
            f"{name} cannot see pictures of {image_size} px",
            "its pooling leaves nothing of them",
            f"ask for --image-size {SMALLEST} or more",
        )
    of_net, of_picture, saved = _counted_comparison(name, classes, image_size)
    return {
        "model": name,
        "shortcut": "none",
        "block": None,
        "blocks": [],
        "classes": classes,
        "image_size": image_size,
        "depth": COMPARISON_NETS[name].depth,
        "parameters": of_net,
        "multiply_adds": of_picture,
        "batch": 32,
        "activation_bytes": saved,
    }


@cache
def _counted_comparison(name: str, classes: int, image_size: int) -> tuple[int, int, int]:
    """Count parameters, multiply-adds and the activations' bytes of a batch of 32."""
    images = torch.empty(32, 3, image_size, image_size, device="meta")
    return _of_one_step(comparison_net(name, classes), images)
