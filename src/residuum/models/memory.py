"""Training in less memory: overwriting what nobody else reads, and activation checkpointing. No number changes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from residuum.models.block import Add, ResidualBlock


def overwriting(net: nn.Module) -> None:
    """From now on let each ReLU overwrite the BN or sum it reads, and each addition its branch: for training alone.

    It saves time and memory. Afterwards what a forward hook kept of a BN, branch or sum may have been overwritten.
    """
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            for layer, following in pairwise(module):
                if isinstance(layer, nn.BatchNorm2d) and isinstance(following, nn.ReLU):
                    following.inplace = True
        if isinstance(module, ResidualBlock):
            last = list(module.branch.children())[-1]
            if isinstance(module.add, Add):
                module.add.in_place = not isinstance(
                    last, nn.ReLU
                )  # a ReLU needs its own output for its gradient
            if isinstance(module.after, nn.ReLU):
                module.after.inplace = True


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """Return block(x), keeping x instead of the block's activations, which are computed again for the gradient.

    Chen et al. 2016 (arXiv 1604.06174). The second computation gives the same numbers, and BN counts it once.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _running_statistics_kept(block)

    result: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """The second computation must not move BN's running statistics a second time."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
