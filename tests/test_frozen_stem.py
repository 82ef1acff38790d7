"""A frozen convolution and its activation as one operation: the numbers of the two, where no gradient is asked for."""

import pytest
import torch
from torch import Tensor, nn

from residuum.choices import Activation
from residuum.kernels.frozen import activated, applies
from residuum.kernels.pairs import has_matrix_units
from residuum.models.plan import Piece

amx = pytest.mark.skipif(not has_matrix_units(), reason="no matrix units here")


def frozen(c_in: int, c_out: int, size: int, stride: int) -> nn.Conv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)
    conv.weight.requires_grad_(False)
    return conv.to(memory_format=torch.channels_last)


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@amx
@pytest.mark.parametrize("act", ["relu", "gelu"])
@pytest.mark.parametrize(
    ("c_in", "c_out", "size", "stride"), [(3, 32, 3, 1), (3, 16, 2, 2), (1, 48, 5, 3), (8, 32, 4, 1)]
)
@pytest.mark.parametrize("side", [(9, 11), (5, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_operation_gives_what_two_give(
    c_in: int, c_out: int, size: int, stride: int, act: Activation, side: tuple[int, int], dtype: torch.dtype
) -> None:
    conv, x = frozen(c_in, c_out, size, stride), torch.randn(5, c_in, *side).to(dtype)
    with bfloat16():
        assert applies(x, conv, act)
        y = activated(x, conv, act)
        layer = nn.ReLU() if act == "relu" else nn.GELU()
        expected = layer(conv(x))
        through_the_net = Piece(nn.Sequential(conv, layer))(x)[0]
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, expected, rtol=2**-7, atol=2**-7)
    assert torch.equal(through_the_net, y)


def asked_for(what: str) -> tuple[nn.Conv2d, Tensor]:
    conv, x = frozen(3, 16, 3, 1), torch.randn(2, 3, 8, 8)
    if what == "the weights' gradient":
        conv.weight.requires_grad_(True)
    if what == "the input's gradient":
        x.requires_grad_()
    if what == "reflected borders":
        conv.padding_mode = "reflect"
    if what == "many channels":
        conv, x = frozen(16, 16, 3, 1), torch.randn(2, 16, 8, 8)
    if what == "part of a block":
        conv = frozen(3, 24, 3, 1)
    if what == "a picture smaller than the filter":
        x = torch.randn(2, 3, 0, 8)
    return conv, x


@pytest.mark.parametrize(
    "what",
    [
        "the weights' gradient",
        "the input's gradient",
        "reflected borders",
        "many channels",
        "part of a block",
        "a picture smaller than the filter",
    ],
)
def test_two_operations_where_one_would_not_do(what: str) -> None:
    conv, x = asked_for(what)
    with bfloat16():
        assert not applies(x, conv, "relu")


def test_not_in_float32() -> None:
    assert not applies(torch.randn(2, 3, 8, 8), frozen(3, 16, 3, 1), "relu")
