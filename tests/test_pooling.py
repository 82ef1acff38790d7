"""Our pooling against torch's: the same pixels, the same gradients, whatever the window."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threads import threads_used
from torch import Tensor, nn

from residuum.kernels import build
from residuum.kernels.pooling import applies, pool, windows
from residuum.models.plan import Piece

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])
SIDES = st.integers(1, 9)


def pictures(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(shape).to(dtype).to(memory_format=torch.channels_last).requires_grad_()


@st.composite
def layers(draw: st.DrawFn) -> nn.MaxPool2d | nn.AvgPool2d:
    k, ceil_mode = draw(st.integers(1, 4)), draw(st.booleans())
    stride, padding = draw(st.integers(1, 4)), draw(st.integers(0, k // 2))
    if draw(st.booleans()):
        return nn.MaxPool2d(k, stride, padding, ceil_mode=ceil_mode)
    return nn.AvgPool2d(k, stride, padding, ceil_mode=ceil_mode, count_include_pad=False)


def gradient(y: Tensor, x: Tensor, dy: Tensor) -> Tensor:
    return torch.autograd.grad(y, x, dy)[0]


@settings(max_examples=150, deadline=None)
@given(
    layer=layers(),
    batch=st.integers(1, 3),
    channels=st.sampled_from([16, 48, 64]),
    height=SIDES,
    width=SIDES,
    dtype=DTYPES,
)
def test_pooling_is_torchs(
    layer: nn.MaxPool2d | nn.AvgPool2d, batch: int, channels: int, height: int, width: int, dtype: torch.dtype
) -> None:
    x = pictures((batch, channels, height, width), dtype)
    try:
        expected = layer(x)
    except RuntimeError:
        return  # torch: no window fits
    assert applies(layer, x)
    y = pool(layer, x)
    dy = torch.randn_like(y)
    ours, theirs = gradient(y, x, dy), gradient(layer(x.double()), x, dy.double())
    assert y.is_contiguous(memory_format=torch.channels_last)
    if isinstance(layer, nn.MaxPool2d):
        assert torch.equal(y, expected)
    else:
        torch.testing.assert_close(y, expected)
    overlap = max(1, layer.kernel_size // layer.stride + 1) ** 2  # type: ignore[operator]
    rounding = 2**-8 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=rounding, atol=overlap * rounding)


def test_large_results_that_are_written_past_the_cache_are_the_same() -> None:
    layer = nn.MaxPool2d(2, 2)
    x = pictures((64, 64, 64, 64), torch.bfloat16)  # 34 MB
    y = pool(layer, x)
    dy = torch.randn_like(y)
    assert torch.equal(y, layer(x))
    assert torch.equal(gradient(y, x, dy), gradient(layer(x), x, dy))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("negative", [False, True])
def test_a_nan_stays_one(dtype: torch.dtype, negative: bool) -> None:
    x = pictures((1, 16, 4, 4), dtype).detach()
    nan = torch.tensor(float("nan"), dtype=dtype)
    x[0, 3, 1, 0] = -nan if negative else nan
    y = pool(nn.MaxPool2d(2, 2), x)
    assert y.isnan().nonzero().tolist() == [[0, 3, 0, 0]]


def test_the_same_with_one_thread_and_two() -> None:
    layer = nn.MaxPool2d(3, 2, 1)
    x = pictures((5, 32, 15, 13), torch.bfloat16)
    found = []
    for count in (1, 2):
        with threads_used(count):
            y = pool(layer, x)
            found.append((y, gradient(y, x, torch.ones_like(y))))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.MaxPool2d((2, 3)), (1, 16, 6, 6)),
        (nn.MaxPool2d(2, dilation=2), (1, 16, 6, 6)),
        (nn.MaxPool2d(2), (1, 10, 6, 6)),
        (nn.MaxPool2d(9), (1, 16, 9, 9)),
        (nn.AvgPool2d(3, padding=1), (1, 16, 6, 6)),
        (nn.AvgPool2d(2, divisor_override=3), (1, 16, 6, 6)),
    ],
)
def test_other_windows_are_left_to_torch(layer: nn.MaxPool2d | nn.AvgPool2d, shape: tuple[int, ...]) -> None:
    x = pictures(shape, torch.float32)
    assert not applies(layer, x)
    assert torch.equal(Piece(layer)(x)[0], layer(x))


@given(
    side=st.integers(1, 40),
    k=st.integers(1, 8),
    stride=st.integers(1, 8),
    data=st.data(),
    ceil_mode=st.booleans(),
)
def test_as_many_windows_as_torch_has(side: int, k: int, stride: int, data: st.DataObject, ceil_mode: bool) -> None:
    padding = data.draw(st.integers(0, k // 2))
    layer = nn.MaxPool2d(k, stride, padding, ceil_mode=ceil_mode)
    try:
        expected = layer(torch.zeros(1, 1, side, side)).shape[2]
    except RuntimeError:
        return
    assert windows(side, k, stride, padding, ceil_mode) == expected
