"""The compiled operation against torch's, and what happens where it cannot be compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from residuum.kernels import batch_norm as kernel
from residuum.kernels import build
from residuum.kernels.batch_norm import batch_norm, batch_norm_twice, fuses
from residuum.kernels.convolution import convolution, has_own_gradient
from residuum.kernels.update import direction, move

CHANNELS_LAST = torch.channels_last
compiled = pytest.mark.skipif(build.library() is None, reason="no C++ compiler here")


def normed(channels: int, seed: int = 0) -> nn.BatchNorm2d:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def pictures(shape: tuple[int, ...], dtype: torch.dtype, mean: float = 0.0) -> Tensor:
    x = (torch.randn(shape) + mean).to(dtype).to(memory_format=CHANNELS_LAST)
    return x.requires_grad_()


def usual(x: Tensor, norm: nn.BatchNorm2d, h: Tensor | None, relu: bool) -> Tensor:
    """The same in float64, by torch: what the fused operation is judged by."""
    y = norm.double()(x.double())
    y = y if h is None else y + h.double()
    return y.relu() if relu else y


def outcome(y: Tensor, dy: Tensor, of: list[Tensor], norm: nn.BatchNorm2d) -> list[Tensor]:
    gradients = torch.autograd.grad(y, of, dy.to(y.dtype))
    running = [norm.running_mean, norm.running_var]
    return [t.detach().double() for t in (y, *gradients, *running)]  # type: ignore[union-attr]


@compiled
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(
        st.integers(2, 5), st.sampled_from([16, 32, 48, 64, 80, 128]), st.integers(3, 7), st.integers(3, 6)
    ),
    adds=st.booleans(),
    relu=st.booleans(),
    mean=st.sampled_from([0.0, 30.0]),
    threads=st.sampled_from([1, 2]),
)
def test_float32_agrees_with_torch_in_float64(
    shape: tuple[int, ...], adds: bool, relu: bool, mean: float, threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(sum(shape))
        x = pictures(shape, torch.float32, mean)
        h = pictures(shape, torch.float32) if adds else None
        dy = torch.randn(shape)
        of = [x, *([h] if h is not None else [])]
        ours, theirs = normed(shape[1]), normed(shape[1])
        assert fuses(x, ours, h)
        found = outcome(batch_norm(x, ours, h, relu=relu), dy, [*of, ours.weight, ours.bias], ours)
        expected = outcome(usual(x, theirs, h, relu), dy, [*of, theirs.weight, theirs.bias], theirs)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected, strict=True):
        size = float(other.abs().max()) + 1e-3
        # a ReLU's gradient jumps where the sum is within rounding of zero
        far = ((one - other).abs() > 2e-3 * size).double().mean()
        assert far < 0.01


@compiled
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_bfloat16_agrees_to_its_rounding(adds: bool, relu: bool) -> None:
    torch.manual_seed(3)
    shape = (8, 32, 9, 7)
    x, h = pictures(shape, torch.bfloat16, 2.0), pictures(shape, torch.bfloat16) if adds else None
    dy = torch.randn(shape).bfloat16()
    of = [x, *([h] if h is not None else [])]
    ours, theirs = normed(32), normed(32)
    found = outcome(batch_norm(x, ours, h, relu=relu), dy, [*of, ours.weight, ours.bias], ours)
    expected = outcome(usual(x, theirs, h, relu), dy, [*of, theirs.weight, theirs.bias], theirs)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.004  # bfloat16 rounds by up to 2^-9 = 0.002


@compiled
def test_it_repeats_bit_by_bit_and_leaves_its_inputs_alone() -> None:
    x, h = pictures((16, 64, 8, 8), torch.bfloat16), pictures((16, 64, 8, 8), torch.bfloat16)
    dy, kept = torch.randn(16, 64, 8, 8).bfloat16(), (x.detach().clone(), h.detach().clone())
    runs = []
    for _ in range(3):
        norm = normed(64)
        runs.append(outcome(batch_norm(x, norm, h, relu=True), dy, [x, h, norm.weight], norm))
        assert norm.num_batches_tracked == 1
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=0)
    torch.testing.assert_close(runs[0], runs[2], rtol=0, atol=0)
    torch.testing.assert_close((x.detach(), h.detach()), kept, rtol=0, atol=0)


@compiled
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("uses", [(1, 0), (0, 1), (1, 1)])
def test_the_gradients_of_both_uses_are_added(adds: bool, relu: bool, uses: tuple[int, int]) -> None:
    torch.manual_seed(5)
    shape = (4, 32, 5, 6)
    x, h = pictures(shape, torch.float32), pictures(shape, torch.float32) if adds else None
    first, second = torch.randn(shape), torch.randn(shape)
    ours, theirs = normed(32), normed(32)
    of = [x, *([h] if h is not None else [])]
    one, other = batch_norm_twice(x, ours, h, relu=relu)
    assert one.data_ptr() == other.data_ptr()
    parts = [(first * one).sum()] * uses[0] + [(second * other).sum()] * uses[1]
    loss = torch.stack(parts).sum()
    found = torch.autograd.grad(loss, [*of, ours.weight, ours.bias])
    dy = uses[0] * first + uses[1] * second
    expected = outcome(usual(x, theirs, h, relu), dy, [*of, theirs.weight, theirs.bias], theirs)[1:-2]
    for one_, other_ in zip(found, expected, strict=True):
        assert float((one_.double() - other_).norm() / other_.norm()) < 1e-4


@compiled
def test_a_nan_is_not_hidden() -> None:
    x = torch.randn(4, 16, 4, 4).to(memory_format=CHANNELS_LAST)
    x[1, 3, 2, 2] = float("nan")
    y = batch_norm(x, normed(16), relu=True)
    assert y[:, 3].isnan().all()
    assert y[:, 4].isfinite().all()
    bfloat = batch_norm(x.bfloat16(), normed(16), relu=True)
    assert bfloat[:, 3].isnan().all()


def refused() -> dict[str, tuple[Tensor, nn.BatchNorm2d, Tensor | None]]:
    x = torch.randn(2, 16, 4, 4).to(memory_format=CHANNELS_LAST)
    return {
        "evaluation": (x, normed(16).eval(), None),
        "contiguous": (x.contiguous(), normed(16), None),
        "channels": (torch.randn(2, 12, 4, 4).to(memory_format=CHANNELS_LAST), normed(12), None),
        "float64": (x.double(), normed(16).double(), None),
        "mixed": (x, normed(16), x.bfloat16()),
        "broadcast": (x, normed(16), x[:1]),
        "no statistics": (x, nn.BatchNorm2d(16, track_running_stats=False), None),
        "average": (x, nn.BatchNorm2d(16, momentum=None), None),
    }


@pytest.mark.parametrize("case", refused())
def test_what_it_cannot_do_is_left_to_torch(case: str) -> None:
    x, norm, h = refused()[case]
    assert not fuses(x, norm, h)
    y = batch_norm(x, norm, h, relu=True)
    _, again, _ = refused()[case]
    expected = again(x) if h is None else again(x) + h
    torch.testing.assert_close(y, expected.relu(), rtol=0, atol=0)


def run_with(environment: dict[str, str]) -> str:
    code = (
        "import torch; from residuum.kernels.build import library; from residuum.kernels.batch_norm import batch_norm;"
        "x = torch.randn(2, 16, 4, 4).to(memory_format=torch.channels_last);"
        "print(library() is not None, float(batch_norm(x, torch.nn.BatchNorm2d(16), relu=True).min()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


def test_without_a_compiler_torch_does_the_work(tmp_path: Path) -> None:
    said = run_with({"PATH": str(tmp_path), "CXX": "", "RESIDUUM_CACHE": str(tmp_path)})
    assert "False 0.0" in said
    assert "no C++ compiler" in said


def test_a_compiler_that_fails_is_said_and_torch_does_the_work(tmp_path: Path) -> None:
    broken = tmp_path / "compiler"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo 1 && exit 0\necho "error: no such thing" >&2\nexit 1\n'
    )
    broken.chmod(0o755)
    said = run_with({"CXX": str(broken), "RESIDUUM_CACHE": str(tmp_path / "cache")})
    assert "False 0.0" in said
    assert "no such thing" in said


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    said = run_with({"RESIDUUM_KERNELS": "off", "RESIDUUM_CACHE": str(tmp_path)})
    assert said.startswith("False 0.0")
    assert not list(tmp_path.iterdir())


@compiled
def test_it_is_compiled_once(tmp_path: Path) -> None:
    assert "True" in run_with({"RESIDUUM_CACHE": str(tmp_path)})
    [built] = (tmp_path / "kernels").iterdir()
    stamp = built.stat().st_mtime_ns
    assert "True" in run_with({"RESIDUUM_CACHE": str(tmp_path)})
    assert [p.stat().st_mtime_ns for p in (tmp_path / "kernels").iterdir()] == [stamp]


@compiled
def test_one_pool_of_threads_is_shared_with_torch() -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the list of loaded libraries is read from /proc")
    assert kernel.library() is not None
    loaded = {line.split()[-1] for line in maps.read_text(encoding="utf-8").splitlines() if "libgomp" in line}
    assert len(loaded) <= 1 or all(
        "sklearn" in path or "scikit" in path for path in loaded if "torch" not in path
    )


# --- Muon's sweeps ------------------------------------------------------------------------------


@compiled
@pytest.mark.parametrize("shape", [(3, 5), (64, 577)])
def test_the_sweeps_over_the_weights_are_torchs(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    gradient, average, weights = (torch.randn(shape) for _ in range(3))
    out, by = torch.empty(shape, dtype=torch.bfloat16), torch.randn(shape).bfloat16()
    v = 0.6 * average + gradient
    expected = gradient + 0.6 * v
    moved = 0.9 * weights - 0.05 * by.float()
    direction(gradient, average, 0.6, out)
    move(weights, by, 0.9, 0.05)
    torch.testing.assert_close(average, v)
    torch.testing.assert_close(out, expected.bfloat16())
    torch.testing.assert_close(weights, moved)


def test_other_precisions_are_left_to_torch() -> None:
    torch.manual_seed(0)
    gradient, average, weights = (torch.randn(4, 6, dtype=torch.float64) for _ in range(3))
    out, kept = torch.empty(4, 6, dtype=torch.float64), weights.clone()
    v = 0.6 * average + gradient
    direction(gradient, average, 0.6, out)
    move(weights, out, 0.9, 0.05)
    torch.testing.assert_close(out, gradient + 0.6 * v)
    torch.testing.assert_close(weights, 0.9 * kept - 0.05 * out)


# --- the weights' gradient ----------------------------------------------------------------------


def convolved(c_in: int, c_out: int, batch: int, rows: int, columns: int) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(c_in + batch)
    conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False).to(memory_format=CHANNELS_LAST)
    return conv, pictures((batch, c_in, rows, columns), torch.bfloat16)


has_matrix_units = build.library() is not None and build.library().weight_gradient_room(8, 32, 32, 1) > 0  # type: ignore[union-attr]
on_matrix_units = pytest.mark.skipif(
    not has_matrix_units, reason="this processor has no bfloat16 matrix units"
)


@on_matrix_units
@settings(max_examples=30, deadline=None)
@given(
    channels=st.tuples(st.sampled_from([32, 64, 96]), st.sampled_from([32, 64])),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 8), st.integers(1, 8)),
    threads=st.sampled_from([1, 2, 3]),
)
def test_the_weights_gradient_is_that_of_float64(
    channels: tuple[int, int], shape: tuple[int, int, int], threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        conv, x = convolved(*channels, *shape)
        dy = torch.randn(shape[0], channels[1], *shape[1:]).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            assert has_own_gradient(conv, x)
            y = convolution(conv, x)
        found = torch.autograd.grad(y, [conv.weight, x], dy)
        rounded = conv.weight.detach().bfloat16().double().requires_grad_()
        wide = x.detach().double().requires_grad_()
        exact = torch.nn.functional.conv2d(wide, rounded, padding=1)
        expected = torch.autograd.grad(exact, [rounded, wide], dy.double())
    finally:
        torch.set_num_threads(before)
    assert found[0].dtype == torch.float32
    assert found[0].stride() == conv.weight.stride()
    torch.testing.assert_close(y.double(), exact.detach(), rtol=0.01, atol=0.01)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=0.02, atol=0.02)


@on_matrix_units
def test_the_weights_gradient_repeats_bit_by_bit() -> None:
    conv, x = convolved(64, 32, 50, 7, 8)
    dy, found = torch.randn(50, 32, 7, 8).bfloat16(), []
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16):
            found.append(torch.autograd.grad(convolution(conv, x), conv.weight, dy)[0])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"kernel_size": 1, "padding": 0},
        {"stride": 2},
        {"bias": True},
        {"groups": 2},
        {"dilation": 2, "padding": 2},
        {"in_channels": 48},
        {"precision": torch.float32},
        {"side": 9},
        {"contiguous": True},
    ],
)
def test_other_convolutions_keep_torchs_gradient(changes: dict[str, object]) -> None:
    precision, side = changes.pop("precision", torch.bfloat16), changes.pop("side", 8)
    layout = torch.contiguous_format if changes.pop("contiguous", False) else CHANNELS_LAST
    how = {"in_channels": 64, "out_channels": 32, "kernel_size": 3, "padding": 1, "bias": False, **changes}
    conv = nn.Conv2d(**how).to(memory_format=layout)  # type: ignore[arg-type]
    x = torch.randn(2, conv.in_channels, side, side).to(precision).to(memory_format=layout)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        assert not has_own_gradient(conv, x)
        torch.testing.assert_close(convolution(conv, x), conv(x), rtol=0, atol=0)
