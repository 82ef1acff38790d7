"""`residuum.save`: a net that was trained in one's own loop becomes a model file."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from msgspec import UNSET
from torch import Tensor, nn

from residuum import machine
from residuum.errors import UserError, listed
from residuum.exchange.known import Known, preprocessing
from residuum.exchange.unchanged import MEND, refuse_changed
from residuum.loading import save_classifier
from residuum.models.file import all_finite, misfits
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.outward_settings import SaveSettings
from residuum.records.model import Provenance
from residuum.runs import refuse_existing


def save_net(net: nn.Module, settings: SaveSettings) -> Path:
    """Write the net with its classes and preprocessing (UserError as `residuum.save` says)."""
    path = Path(settings.path)
    refuse_existing(path, mend="name another file, or remove it")
    own = _own(net)
    copy = _copied(own)
    refuse_changed(own, copy, settings.image_size)
    _check_classes(settings.classes, copy.spec)
    provenance = Provenance(versions=machine.environment(), several=True if settings.several else UNSET)
    told = {name: getattr(settings, name) for name in ("mean", "std", "image_size", "interpolation")}
    shown = preprocessing(Known(**told, resize_to=settings.resize_to or settings.image_size))
    save_classifier(path, copy, copy.spec, settings.classes, shown, provenance)
    return path


def _own(net: nn.Module) -> ResNet:
    """Take off what torch.compile, DistributedDataParallel and AveragedModel put around a net."""
    inner = net
    while not isinstance(inner, ResNet):
        wrapped = getattr(inner, "_orig_mod", getattr(inner, "module", None))
        if isinstance(wrapped, nn.Module) and not type(inner).__module__.startswith("torch."):
            raise UserError(
                f"the net is inside a {type(inner).__name__}, which residuum does not know",
                "what it does before or after the net is in no model file",
                "give the net inside, its `.module`, if that answers as the whole does",
            )
        if not isinstance(wrapped, nn.Module):
            raise UserError(
                f"the net is a {type(net).__name__}, none of residuum's",
                "a model file holds a net that residuum.net, residuum.net_of or residuum.load returned",
                "residuum.net_of(net.state_dict()) makes one of torchvision's or timm's residual nets",
            )
        inner = wrapped
    return inner


def _copied(net: ResNet) -> ResNet:
    """Return the net on the CPU in float32 (UserError if it is not what its specification says, or not finite)."""
    spec = replace(net.spec, num_classes=getattr(net.fc, "out_features", net.spec.num_classes))
    weights = {name: _plain(tensor) for name, tensor in net.state_dict().items()}
    with torch.device("meta"):
        copy = ResNet(spec)
    if wrong := misfits(copy, weights):
        raise UserError("the net is no longer what its spec says", wrong, MEND)
    if odd := [name for name, tensor in weights.items() if not all_finite(tensor)]:
        mend = "its training diverged: begin with a lower learning rate"
        raise UserError(f"the net holds numbers in {odd[0]} that are not finite", "it would answer NaN", mend)
    copy.load_state_dict(weights, assign=True)
    return copy


def _plain(tensor: Tensor) -> Tensor:
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to("cpu", kind).contiguous()


def _check_classes(classes: tuple[str, ...], spec: NetSpec) -> None:
    if len(classes) != spec.num_classes:
        what = f"{len(classes)} class names for a net of {spec.num_classes} outputs"
        raise UserError(what, "each output is a class", "name them in the order of the outputs; a backbone has none")
    if twice := [name for name, count in Counter(classes).items() if count > 1]:
        raise UserError("a class is named twice", listed(twice, 5))
