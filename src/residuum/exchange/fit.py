"""Foreign tensors under residuum's names: all of them fit the net, or none is taken."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from residuum.errors import UserError
from residuum.exchange.infer import Renamed, shown
from residuum.exchange.layouts import Layout, to_ours, to_theirs
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec

COUNTER = "num_batches_tracked"
SHOWN = 4


def renamed(tensors: Mapping[str, Tensor], layout: Layout, origin: str) -> Renamed:
    """Give the tensors residuum's names, and a 1×1 convolution for a head the shape of a matrix."""
    pairs = {name: to_ours(layout, name) for name in tensors}
    ours = {our: tensors[name] for name, our in pairs.items() if our is not None}
    head = ours.get("fc.weight")
    if layout.head_is_convolution and head is not None and head.shape[2:] == (1, 1):
        ours["fc.weight"] = head.flatten(1)
    return Renamed(origin, layout, ours, tuple(name for name, our in pairs.items() if our is None))


def fitted(spec: NetSpec, source: Renamed) -> tuple[ResNet, list[str]]:
    """Build the net with the weights, in float32, and say what had to be assumed of them.

    Raises:
        UserError: tensors are missing, extra, of another shape, or not numbers that a net can use.
    """
    with torch.device("meta"):
        net = ResNet(spec)
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    absent = [name for name in expected if name.endswith(COUNTER) and name not in source.tensors]
    _check(expected, source, set(absent))
    _check_numbers(source)
    dtypes = {str(t.dtype).removeprefix("torch.") for t in source.tensors.values() if t.is_floating_point()}
    weights = {name: _plain(tensor) for name, tensor in source.tensors.items()}
    weights |= {name: torch.zeros((), dtype=torch.int64) for name in absent}
    net.load_state_dict(weights, assign=True)
    said = [f"{COUNTER}, which files from before torch 0.4.1 lack, is taken as 0"] if absent else []
    if dtypes != {"float32"}:
        said.append(f"the file's {' and '.join(sorted(dtypes))} becomes float32")
    return net.eval(), said


def _check(expected: Mapping[str, tuple[int, ...]], source: Renamed, absent: set[str]) -> None:
    tensors, layout = source.tensors, source.layout
    missing = [str(to_theirs(layout, name)) for name in expected if name not in tensors and name not in absent]
    extra = [str(to_theirs(layout, name)) for name in tensors if name not in expected]
    odd = [
        f"{to_theirs(layout, name)} is {shown(tuple(tensors[name].shape))}, needed {shown(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    lists = {"missing": missing, "extra": [*extra, *source.strangers], "of another shape": odd}
    faults = [f"{len(names)} {what} ({_some(names)})" for what, names in lists.items() if names]
    if faults:
        raise UserError(
            f"{source.origin} does not fit the net that its keys describe, so nothing was imported",
            f"in the layout of {layout.name}, of {len(expected)} tensors: " + "; ".join(faults),
            "it may be a net of another kind: residuum models lists what there is",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _check_numbers(source: Renamed) -> None:
    for name, tensor in source.tensors.items():
        theirs = to_theirs(source.layout, name)
        usable = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
        if not usable or not (tensor.is_floating_point() or name.endswith(COUNTER)):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{source.origin}: {theirs} is {kind}", "weights are dense floating-point numbers")
        if not torch.isfinite(tensor).all():
            raise UserError(f"{source.origin}: {theirs} holds numbers that are not finite", "its net gives NaN")


def _plain(tensor: Tensor) -> Tensor:
    """A copy of its own: checkpoints may share memory between tensors."""
    dtype = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(dtype, copy=True).contiguous()


@torch.inference_mode()
def check_same(ours: nn.Module, theirs: nn.Module, origin: str) -> None:
    """Raise UserError if two nets with the same weights answer differently: then the keys do not tell all."""
    x = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    wanted, given = theirs.eval().float()(x), ours.eval()(x)
    if not torch.allclose(given, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
        raise UserError(
            f"{origin} computes something else than the residual net its keys describe",
            "it may blur before it strides, dilate its convolutions or have another activation",
            "residuum has no such net",
        )
