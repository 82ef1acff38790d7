"""Training in less memory: activation checkpointing. No number changes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(run: Callable[[nn.Module, Tensor], Tensor], block: nn.Module, x: Tensor) -> Tensor:
    """Return run(block, x), keeping x instead of the block's activations, which are computed again for the gradient.

    Chen et al. 2016 (arXiv 1604.06174). The second computation gives the same numbers, and BN counts it once.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _running_statistics_kept(block)

    result: Tensor = checkpoint(run, block, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _running_statistics_kept(block: nn.Module) -> Iterator[None]:
    """The second computation must not move BN's running statistics a second time."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    counted = [norm.num_batches_tracked for norm in norms]
    before = [None if count is None else count.clone() for count in counted]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count, old in zip(norms, momenta, counted, before, strict=True):
            norm.momentum = momentum
            if count is not None and old is not None:
                count.copy_(old)
