"""Whether a net is still what its specification says: what a model file does not hold would be lost in silence.

Modules are compared one by one. What differs may make no difference, as a hook that watches or a BN that shares its
statistics does, so that answers decide: the net's own with the weights that are written, on the same device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from residuum.choices import Activation, Order, Shortcut
from residuum.errors import UserError
from residuum.models.resnet import ResNet

MEND = (
    f"a model file holds what residuum.net builds: one of the orders {', '.join(get_args(Order))}, of the activations "
    f"{', '.join(get_args(Activation))}, of the shortcuts {', '.join(get_args(Shortcut))}, and what else "
    "docs/how-to/nets.md names; only the last layer may be another nn.Linear with a bias. "
    "torch.save(net.state_dict(), FILE) keeps the weights of any other net, for your own code alone"
)
PICTURES = (0.1, 1.0, 10.0, 100.0)
"""Spreads of the random pictures: some changes show in large numbers alone, as a ceiling of 6 does."""
ROUNDING = 1e-5
"""Answers to a picture differ by so much of the largest, where the same is computed in another order."""
CHANGES_ANSWERS = ("_forward_hooks", "_forward_pre_hooks")
NO_MATTER = {"training", "spec", "assumptions"}


def refuse_changed(net: ResNet, copy: ResNet, image_size: int) -> None:
    """Raise UserError where a net answers otherwise than its copy: the net of its specification with its weights."""
    found = list(_differences(net, copy))
    if found and not _answers_alike(net, copy, image_size):
        more = f"; {len(found) - 3} more modules differ" if len(found) > 3 else ""
        why = f"{'; '.join(found[:3])}{more}; the model file's net would answer otherwise than the one given"
        raise UserError("the net is no longer what its spec says", why, MEND)


def _differences(net: ResNet, copy: ResNet) -> Iterator[str]:
    """Say of each module that differs what does, in the net's own order; what a module adds comes with it."""
    found, wanted = (dict(one.named_modules(remove_duplicate=False)) for one in (net, copy))
    for name, module in found.items():
        if name not in wanted:
            yield f"{name} ({type(module).__name__}) was added"
        elif said := _difference(module, wanted[name]):
            yield f"{name or 'the net'} {said}"
    yield from (f"{name} ({type(wanted[name]).__name__}) is gone" for name in wanted if name not in found)


def _difference(module: nn.Module, wanted: nn.Module) -> str:
    """Say how a module differs from what it should be; "" where it does not."""
    if type(module) is not type(wanted):
        return f"is {_article(module)}, not {_article(wanted)}"
    has, needs = vars(module), vars(wanted)
    if any(has.get(hooks) for hooks in CHANGES_ANSWERS):
        return "has a forward hook"
    names = [name for name in has | needs if not name.startswith("_") and name not in NO_MATTER]
    if odd := [name for name in names if not _same(has.get(name), needs.get(name))]:
        return f"has another {odd[0]}"
    shared = [name for name in module._modules if name in wanted._modules]
    same_order = shared == [name for name in wanted._modules if name in module._modules]
    return "" if same_order else "has its modules in another order"


def _article(module: nn.Module) -> str:
    name = type(module).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _same(one: Any, other: Any) -> bool:
    """Compare two settings of a module; tensors, of which none of ours has any there, are not looked into."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return bool(one == other)


def _answers_alike(net: ResNet, copy: ResNet, image_size: int) -> bool:
    """Say whether both answer random pictures alike, in evaluation mode, with the weights that are written."""
    luck = torch.Generator().manual_seed(0)
    x = torch.randn((len(PICTURES), copy.spec.in_channels, image_size, image_size), generator=luck)
    x *= torch.tensor(PICTURES)[:, None, None, None]
    weights = {f"net.{name}": tensor for name, tensor in copy.state_dict().items()}
    with torch.no_grad(), _evaluating(net), _evaluating(copy):
        try:
            found = functional_call(_Asked(net), weights, x, tie_weights=False)  # the net keeps its own
        except Exception:  # what somebody put in may raise anything, as on another device than the weights
            return False
        wanted = _Asked(copy)(x)
    allowed = ROUNDING * wanted.abs().amax(1)
    return bool(found.shape == wanted.shape and ((found - wanted).abs().amax(1) <= allowed).all())


class _Asked(nn.Module):
    """A net's answers and features side by side: a backbone has features alone, and some verbs ask for those."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, K + D)."""
        return torch.cat([self.net(x), self.net.features(x)], 1)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and back into its own after."""
    modes = {module: module.training for module in net.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
