"""float32 3×3 convolutions by winograd.cpp: against float64 and torch, at any shape; and where they are taken."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threads import threads_used
from torch import Tensor, nn

from residuum.compute import Compute
from residuum.kernels import build, winograd
from residuum.kernels.winograd import applies, convolution, tiles
from residuum.models.named import named
from residuum.models.plan import make_forward
from residuum.models.resnet import ResNet

compiled = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
CHANNELS_LAST = torch.channels_last
FLOAT32 = Compute(torch.device("cpu"), "float32", "channels-last", 1)
ROUNDING = 2e-5
"""Of the largest number of a tensor: what may be lost, of which a sum over thousands of tiles takes the most."""


def case(channels: tuple[int, int], shape: tuple[int, int, int]) -> tuple[nn.Conv2d, Tensor, Tensor]:
    """A convolution, its input and a gradient of its output."""
    (c_in, c_out), (batch, rows, columns) = channels, shape
    torch.manual_seed(rows * columns + c_in)
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False).to(memory_format=CHANNELS_LAST)
    x = torch.randn(batch, c_in, rows, columns).to(memory_format=CHANNELS_LAST).requires_grad_()
    return conv, x, torch.randn(batch, c_out, rows, columns).to(memory_format=CHANNELS_LAST)


def passes(by: Callable[[nn.Conv2d, Tensor], Tensor], conv: nn.Conv2d, x: Tensor, dy: Tensor) -> list[Tensor]:
    y = by(conv, x)
    return [y.detach(), *torch.autograd.grad(y, [x, conv.weight], dy)]


def exact(conv: nn.Conv2d, x: Tensor, dy: Tensor) -> list[Tensor]:
    """The same in float64, by torch."""
    weight, wide = conv.weight.detach().double(), x.detach().double()
    y = torch.nn.functional.conv2d(wide, weight, padding=1)
    dx = torch.nn.grad.conv2d_input(wide.shape, weight, dy.double(), padding=1)
    return [y, dx, torch.nn.grad.conv2d_weight(wide, weight.shape, dy.double(), padding=1)]


def assert_right(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, torch.float32)
        assert one.is_contiguous(memory_format=CHANNELS_LAST)
        torch.testing.assert_close(one.double(), other, rtol=0, atol=ROUNDING * float(other.abs().max()))


@compiled
@settings(max_examples=60, deadline=None)
@given(
    channels=st.tuples(st.sampled_from([16, 32, 48, 80]), st.sampled_from([16, 32, 64])),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 21), st.integers(1, 35)),
    threads=st.sampled_from([1, 2, 3]),
)
def test_the_three_passes_are_those_of_float64(
    channels: tuple[int, int], shape: tuple[int, int, int], threads: int
) -> None:
    given_ = case(channels, shape)
    with threads_used(threads):
        found = passes(convolution, *given_)
    assert_right(found, exact(*given_))  # by one thread: several on one core wait for each other


@compiled
@pytest.mark.parametrize("side", [(1, 1), (4, 4), (7, 7), (8, 8), (32, 32), (33, 30)])
@pytest.mark.parametrize("threads", [1, 2])
def test_they_repeat_bit_by_bit(side: tuple[int, int], threads: int) -> None:
    given_ = case((16, 32), (9, *side))
    with threads_used(threads):
        found, again = passes(convolution, *given_), passes(convolution, *given_)
    torch.testing.assert_close(found, again, rtol=0, atol=0)


@compiled
def test_the_input_alone_does_not_depend_on_the_threads() -> None:
    given_ = case((32, 32), (5, 16, 16))
    with threads_used(1):
        one = passes(convolution, *given_)
    with threads_used(3):
        other = passes(convolution, *given_)
    torch.testing.assert_close(one[:2], other[:2], rtol=0, atol=0)
    torch.testing.assert_close(one[2], other[2], rtol=1e-4, atol=1e-3)  # its sums are added up thread by thread


@compiled
def test_whole_numbers_that_a_tile_holds_come_out_almost_exactly() -> None:
    """One pixel of one channel set: the output is the filter, turned by half a circle."""
    conv, _, _ = case((16, 16), (1, 9, 9))
    x = torch.zeros(1, 16, 9, 9).to(memory_format=CHANNELS_LAST)
    x[0, 3, 4, 4] = 1
    with torch.no_grad():
        y = convolution(conv, x)
    torch.testing.assert_close(y[0, :, 3:6, 3:6], conv.weight.detach()[:, 3].flip(1, 2), rtol=0, atol=1e-6)
    assert y.count_nonzero() <= 16 * 36  # what lies in other tiles stays zero


@compiled
def test_a_nan_is_not_lost() -> None:
    conv, x, _ = case((16, 16), (2, 12, 12))
    with torch.no_grad():
        x[1, 5, 6, 6] = float("nan")
        y = convolution(conv, x)
    assert y[1, :, 5:8, 5:8].isnan().all()
    assert not y[0].isnan().any()


@compiled
def test_an_input_that_needs_no_gradient_gets_none() -> None:
    conv, x, dy = case((16, 16), (4, 16, 16))
    expected = passes(convolution, conv, x, dy)[2]
    convolution(conv, x.detach()).backward(dy)
    assert conv.weight.grad is not None
    assert torch.equal(conv.weight.grad, expected)


# --- where it is taken ----------------------------------------------------------------------------


@compiled
def test_it_is_taken_in_float32_alone() -> None:
    conv, x, _ = case((16, 32), (4, 16, 16))
    assert applies(conv, x)
    with torch.no_grad():
        assert applies(conv, x)  # validation, by a plan
    with torch.autocast("cpu", torch.bfloat16):
        assert not applies(conv, x)
    assert not applies(conv, x.detach().contiguous())
    assert not applies(conv, x.detach().double())
    assert not applies(conv, x[:1, :, :4, :4].to(memory_format=CHANNELS_LAST))  # a single tile
    for other in (
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.Conv2d(16, 32, 3, 2, padding=1, bias=False),
        nn.Conv2d(16, 32, 3, bias=False),
        nn.Conv2d(16, 32, 3, padding=1, groups=16, bias=False),
        nn.Conv2d(16, 32, 5, padding=2, bias=False),
    ):
        assert not applies(other.to(memory_format=CHANNELS_LAST), x)


@compiled
def test_many_threads_with_wide_layers_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x, _ = case((64, 64), (4, 16, 16))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 384)
    assert applies(conv, x)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2000)
    assert not applies(conv, x)


def test_tiles_cover_the_pictures() -> None:
    assert tiles(torch.empty(3, 16, 8, 9)) == 3 * 2 * 3


@compiled
def test_a_net_trains_with_it_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    smooth = replace(named("resnet20"), activation="gelu")  # at a ReLU's kink the least difference counts
    net = ResNet(smooth).train().to(memory_format=CHANNELS_LAST)
    x, target = torch.randn(8, 3, 32, 32).to(memory_format=CHANNELS_LAST), torch.arange(8)

    def gradients() -> list[Tensor]:
        loss = nn.functional.cross_entropy(make_forward(net, FLOAT32)(x), target)
        return [loss.detach(), *torch.autograd.grad(loss, list(net.parameters()))]

    used: list[int] = []
    real = winograd._Winograd.apply
    monkeypatch.setattr(winograd._Winograd, "apply", lambda *given_: used.append(1) or real(*given_))
    with_it = gradients()
    assert len(used) == 11  # 8 pictures: the deepest maps, 8×8, have too few tiles
    monkeypatch.setattr(winograd, "LEAST_TILES", 10**9)
    without = gradients()
    assert len(used) == 11
    for one, other in zip(with_it, without, strict=True):
        assert float((one - other).norm()) <= 1e-4 * float(other.norm()) + 1e-6
