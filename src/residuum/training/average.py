"""The moving average of a net's weights and BN statistics, which is judged and kept where a recipe asks for it.

Polyak and Juditsky 1992 (doi 10.1137/0330046) average over all steps; as is usual, old ones are forgotten here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from residuum.recipe import Recipe


class Average:
    """a ← d·a + (1 − d)·w after each step, from the net as it is; d is `decay`, at first (1 + t) / (10 + t).

    So a short run does not end with an average of beginnings. Whole numbers (BN's counters) are the net's own.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self._net = {name: tensor for name, tensor in net.state_dict().items() if tensor.is_floating_point()}
        self.tensors = {name: tensor.clone() for name, tensor in self._net.items()}
        self._share = torch.ones((), device=next(iter(self.tensors.values())).device)

    def set_step(self, step: int) -> None:
        """Say which step, from 0, comes next."""
        self._share.fill_(1.0 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the net as it is now."""
        ours, theirs = list(self.tensors.values()), list(self._net.values())
        torch._foreach_add_(ours, torch._foreach_mul(torch._foreach_sub(theirs, ours), self._share))

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors` was."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def settle(self) -> None:
        """Make the net what its average is."""
        for name, tensor in self._net.items():
            tensor.copy_(self.tensors[name])


@contextmanager
def averaged(average: Average | None) -> Iterator[None]:
    """Let the net be its average for a while, if it has one."""
    if average is None:
        yield
        return
    own = {name: tensor.clone() for name, tensor in average._net.items()}
    average.settle()
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in average._net.items():
                tensor.copy_(own[name])


def average_of(net: nn.Module, recipe: Recipe) -> Average | None:
    """Return the average that the recipe asks for, beginning with the net as it is; None where it asks for none."""
    return Average(net, recipe.ema) if recipe.ema else None
