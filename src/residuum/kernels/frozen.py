"""A convolution that is not trained and the activation behind it, as one operation of torch's library for processors.

A whitening stem is one: nothing is kept for a backward pass, so the activation needs no sweep of its own.
"""

import torch
from torch import Tensor, nn

from residuum.choices import Activation
from residuum.kernels.matrix_units import computes_in_bfloat16, has_matrix_units


def joins(conv: nn.Conv2d, x: Tensor) -> bool:
    """Say whether `activated` can do this: no gradient through it, bfloat16 autocast on a processor with AMX."""
    return (
        not conv.weight.requires_grad
        and not x.requires_grad
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and computes_in_bfloat16(x)
        and has_matrix_units()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


@torch.no_grad()
def activated(conv: nn.Conv2d, x: Tensor, act: Activation) -> Tensor:
    """Return act(conv(x)), (N, C_in, H, W) to (N, C_out, H', W') bfloat16, to rounding."""
    dtype, layout = torch.bfloat16, torch.channels_last
    x, weight = x.to(dtype, memory_format=layout), conv.weight.to(dtype, memory_format=layout)
    shape = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
    y: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, None, *shape, act, [], "none")
    return y.contiguous(memory_format=layout)
