"""Nets for one's own loop: built by name, taken from a state dict, and saved as model files. torch is imported by the
function that needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from residuum.choices import Activation, Interpolation, Order, Shortcut, Stem, StrideIn, ZeroChannels
from residuum.outward_settings import ImportSettings, SaveSettings
from residuum.settings import NetSettings
from residuum.verb import for_people

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from torch.nn import Module

    from residuum.models.resnet import ResNet
    from residuum.plain_data import Place


@for_people
def net(
    model: str,
    *,
    classes: int | None = None,
    shortcut: Shortcut | None = None,
    order: Order | None = None,
    activation: Activation | None = None,
    stride_in: StrideIn | None = None,
    stem: Stem | None = None,
    blocks: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
    groups: int | None = None,
    squeeze: int | None = None,
    projection_pool: bool | None = None,
    dropout: float | None = None,
    stochastic_depth: float | None = None,
    zero_init: bool | None = None,
) -> ResNet:
    """Build an untrained net by its name in `model_table`, with what is given changed of it: a torch module.

    It takes (N, 3, H, W) pictures, normalised floats, to (N, K) logits, K being `classes`: by default 10 for the CIFAR
    nets and 1000 for the ImageNet nets; with 0, a backbone, `features` gives what the last layer would read, (N, D).
    Its `spec` says what it is. It begins in training mode, on torch's default device, with weights drawn as He et al.
    do (2015, arXiv 1502.01852, eq. 14) from torch's generator: `torch.manual_seed` repeats them.

    Raises:
        UserError: there is no net of this name, a choice is none, or the choices do not go together.
    """
    from residuum.models.named import named
    from residuum.models.resnet import ResNet
    from residuum.plain_data import read_off
    from residuum.setting_parts import NetChoices

    told = NetSettings(
        model, classes=classes, shortcut=shortcut, order=order, activation=activation, stride_in=stride_in, stem=stem,
        blocks=None if blocks is None else tuple(blocks), widths=None if widths is None else tuple(widths),
        groups=groups, squeeze=squeeze, projection_pool=projection_pool, dropout=dropout,
        stochastic_depth=stochastic_depth, zero_init=zero_init,
    )  # fmt: skip
    return ResNet(named(told.model, told.classes, **read_off(NetChoices, told)))


@for_people
def net_of(
    tensors: Mapping[str, Tensor],
    *,
    model: str | None = None,
    shortcut: Shortcut | None = None,
    order: Order | None = None,
    activation: Activation | None = None,
    stride_in: StrideIn | None = None,
    projection_pool: bool | None = None,
    zero_channels: ZeroChannels | None = None,
) -> ResNet:
    """Return the net that a state dict in memory belongs to, with copies of its weights, in evaluation mode.

    Layouts are those of `import_weights`: residuum's own, torchvision, timm, transformers, the usual CIFAR nets. What
    the names cannot tell is as that layout's own nets have it, unless it is given: where bottlenecks stride, and where
    option A puts its zero channels; `model` names the net whose weights have residuum's own names. The net's
    `assumptions` are a sentence for each thing that was assumed. Pictures must be normalised as those that the
    net was trained on.

    Raises:
        UserError: the layout is not known, or the tensors are not exactly a net's; nothing is loaded then.
    """
    from residuum.exchange.import_weights import net_of_tensors

    return net_of_tensors(tensors, ImportSettings(
        model=model, shortcut=shortcut, order=order, activation=activation, stride_in=stride_in,
        projection_pool=projection_pool, zero_channels=zero_channels,
    ))  # fmt: skip


@for_people
def save(
    net: Module,
    path: Place,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    image_size: int,
    resize_to: int | None = None,
    interpolation: Interpolation = "bilinear",
    several: bool = False,
) -> Path:
    """Write a net that you trained yourself as a model file, for `load` and every verb that takes a model; return its
    path, which is as it was given: nothing adds `.safetensors`, here as for every `out`.

    The net is one of `net`, `net_of` or `load`, compiled or in a wrapper of torch's or not; its last layer may have
    been replaced by another `nn.Linear`. Where another module was replaced, added or hooked, both nets answer random
    pictures: it is saved if the file's answers as it does. `classes` are in the order of its outputs. Pictures have
    colours from 0 to 1; their shorter side is resized to `resize_to` px (by default `image_size`), the central square
    of `image_size` cut out, `mean` of red, green and blue subtracted, `std` divided by. `load(path).net` holds the same
    weights: it answers as the net in evaluation mode does, to the bit where both lie alike in memory (`load` puts
    channels last where that is faster), elsewhere to rounding. `several`: a picture may have several labels, or none;
    each is answered for itself, by the sigmoid of its output, as a net trained with `BCEWithLogitsLoss` does.

    Raises:
        UserError: there is a file already; the net is none of residuum's, or no longer what its `spec` says, so that
            the file's would answer otherwise (what differs is named); it holds numbers that are not finite; or classes,
            colours or sizes are none that it can have.
    """
    from residuum.exchange.saving import save_net

    return save_net(net, SaveSettings(
        path, classes=tuple(classes), mean=tuple(mean), std=tuple(std),  # type: ignore[arg-type] # checked as it is built
        image_size=image_size, resize_to=resize_to, interpolation=interpolation, several=several,
    ))  # fmt: skip
