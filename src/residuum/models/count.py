"""What a net costs, counted on the net itself without computing anything (meta tensors)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy

from residuum.models.comparison import COMPARISON_NETS, comparison_net
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec

# --- counting on a net --------------------------------------------------------------------------


def parameters(net: nn.Module) -> int:
    """Count all trainable numbers: convolutions, BN scale and shift, the last layer with its bias."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, in_channels: int, image_size: int) -> int:
    """Count multiply-adds of convolutions and fully connected layers for one picture.

    The papers' "FLOPs" are these; BN, ReLU, pooling and biases are left out. The net is shown no pictures: even so its
    maps have sizes, and nothing is computed.
    """
    device = next(net.parameters()).device
    with _noting_multiply_adds(net) as noted, torch.inference_mode():
        net.eval()(torch.empty(0, in_channels, image_size, image_size, device=device))
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

    with ExitStack() as watched:
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                watched.enter_context(module.register_forward_hook(note))
        yield noted


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
    """Count parameters and multiply-adds of a shallow net. Every run of training begins with this."""
    net = undrawn(spec)
    return parameters(net), multiply_adds(net, spec.in_channels, image_size)


def undrawn(spec: NetSpec) -> ResNet:
    """Return a net whose weights are not drawn. Meta tensors would load much of torch's compiler: seconds."""
    with torch.device("meta"):
        net = ResNet(spec)
    net.load_state_dict({name: torch.empty(it.shape) for name, it in net.state_dict().items()}, assign=True)
    return net


def activation_bytes(spec: NetSpec, image_size: int, batch: int) -> int:
    """Count the bytes of activations in one training step of `batch` pictures of `image_size` px, in float32.

    They are what autograd keeps for the backward pass (see `saved_bytes`), with every block taking part. They grow
    by the same amount with each picture, from a small constant: what BN keeps of the batch as a whole.
    """
    return _figures(spec, image_size, batch)[2]


def costs(name: str, classes: int, image_size: int, batch: int, **choices: Any) -> dict[str, int]:
    """Count parameters, multiply-adds of one picture and activation bytes of a training step of a net by its name.

    `choices` change a net of residuum's.

    Raises:
        UserError: no net has this name, its choices contradict, or it is torchvision's, which is not installed.
    """
    if name in COMPARISON_NETS:
        images = torch.empty(batch, 3, image_size, image_size, device="meta")
        totals: tuple[int, ...] = _of_one_step(comparison_net(name, classes), images)
    else:
        totals = _figures(named(name, classes, **choices), image_size, batch)
    return dict(zip(("parameters", "multiply_adds", "activation_bytes"), totals, strict=True))


def _figures(spec: NetSpec, image_size: int, batch: int) -> tuple[int, ...]:
    whole = replace(spec, stochastic_depth=0.0)
    return _by_blocks(whole, lambda shallow: _counted(shallow, image_size, batch))


def _by_blocks(spec: NetSpec, count: Callable[[NetSpec], tuple[int, ...]]) -> tuple[int, ...]:
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
    return tuple(totals)


@cache
def _counted(spec: NetSpec, image_size: int, batch: int) -> tuple[int, int, int]:
    """Count parameters, multiply-adds and the activations' bytes on the whole net."""
    with torch.device("meta"):
        net = ResNet(spec)
    return _of_one_step(net, torch.empty(batch, spec.in_channels, image_size, image_size, device="meta"))


def _of_one_step(net: nn.Module, images: Tensor) -> tuple[int, int, int]:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = partial(_BatchNorm.apply, module.weight)  # type: ignore[method-assign]
        elif isinstance(module, nn.ReLU) and not module.inplace:
            module.forward = _ReLU.apply  # type: ignore[method-assign]
    with _noting_multiply_adds(net) as noted:
        saved = saved_bytes(net, images)
    return parameters(net), sum(noted), saved


class _BatchNorm(torch.autograd.Function):
    """BN of meta tensors in training. torch's works out every step of it: that took two thirds of a count."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor) -> Tensor:
        """(C,) scales and (N, C, H, W) to (N, C, H, W); kept are both, and each channel's mean and deviation."""
        ctx.save_for_backward(x, weight, *(torch.empty(weight.shape, device="meta") for _ in ("mean", "deviation")))
        return torch.empty_strided(x.shape, x.stride(), device="meta")


class _ReLU(torch.autograd.Function):
    """ReLU of meta tensors. torch's is worked out step by step too, which took a third of what was left."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same; kept is the answer."""
        y = torch.empty_strided(x.shape, x.stride(), device="meta")
        ctx.save_for_backward(y)
        return y
