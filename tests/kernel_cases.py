"""Random calls of every compiled kernel, and of torch's operations as our nets hand them over, against exact answers.

As a program, `kernel_cases.py KIND SEED COUNT`, it tries so many of one kind in a process of its own, so that corrupted
memory is seen: it ends the process. What is tried is printed before it is.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from residuum.kernels import batch_norm, build, crops, direct, frozen, gathered, pooling, shortcut, update, winograd
from residuum.kernels import convolution as convolutions
from residuum.kernels.pairs import has_matrix_units, has_pairs
from residuum.models import layers
from residuum.models.plan import Piece

FLOAT, HALF = torch.float32, torch.bfloat16
LAST = torch.channels_last


@dataclass(frozen=True)
class Case:
    """A call, the same in float64, and what both are given: tensors, some of which need a gradient."""

    name: str
    call: Callable[..., Tensor]
    exact: Callable[..., Tensor]
    inputs: Sequence[Tensor]
    half: bool = False
    """Under bfloat16 autocast: the exact answer is that of rounded inputs."""

    def check(self) -> None:
        """Compare outcome and gradients, by the root of the mean square of the difference."""
        with torch.autocast("cpu", HALF, enabled=self.half):
            found = _with_gradients(self.call, self.inputs)
        rounded = [t.detach().to(HALF) if self.half else t.detach() for t in self.inputs]
        wide = [
            r.double().contiguous().requires_grad_(t.requires_grad) for r, t in zip(rounded, self.inputs, strict=True)
        ]
        rounding = 2**-6 if self.half or any(t.dtype == HALF for t in self.inputs) else 1e-4
        for one, other in zip(found, _with_gradients(self.exact, wide), strict=True):
            size = max(1.0, float(other.square().mean().sqrt()))
            error = float((one.double() - other).square().mean().sqrt())
            assert error <= rounding * size, f"off by {error:.2g}, of {size:.2g}: {self.name}"


def _with_gradients(call: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    y = call(*inputs)
    wanted = [t for t in inputs if t.requires_grad]
    if not wanted:
        return [y]
    torch.manual_seed(1)
    return [y.detach(), *torch.autograd.grad(y, wanted, torch.randn(y.shape).to(HALF).to(y.dtype))]


def _pictures(draw: Random, channels: int, dtype: torch.dtype = FLOAT, *, least: int = 1, grad: bool = True) -> Tensor:
    shape = (draw.randint(1, 6), channels, draw.randint(least, 21), draw.randint(least, 21))
    return torch.randn(shape).to(dtype).to(memory_format=LAST).requires_grad_(grad)


def _blocks(draw: Random, most: int = 8) -> int:
    """So many channels, in whole blocks of 16."""
    return 16 * draw.randint(1, most)


def _convolution(*sizes: int, **how: int) -> nn.Conv2d:
    return nn.Conv2d(*sizes, bias=False, **how).to(memory_format=LAST)


# --- our kernels, each with the function that calls it ---------------------------------------------


def normalised(draw: Random) -> Case:
    dtype, trains = draw.choice((FLOAT, HALF)), draw.random() < 0.7
    act = draw.choice((None, "relu", "gelu") if dtype == HALF else (None, "relu"))
    x = _pictures(draw, _blocks(draw), dtype, least=2, grad=trains)
    norm = nn.BatchNorm2d(x.shape[1]).train(trains).requires_grad_(trains)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    running = [norm.running_mean.double(), norm.running_var.double()]
    others = [torch.randn_like(x).requires_grad_(trains)] if draw.random() < 0.5 else []
    twice = draw.random() < 0.5

    def call(x: Tensor, *rest: Tensor) -> Tensor:
        with torch.set_grad_enabled(trains):
            y, again = batch_norm.batch_norm(x, norm, rest[0] if others else None, act)
        return torch.cat([y, again]) if twice else y

    def exact(x: Tensor, *rest: Tensor) -> Tensor:
        z = functional.batch_norm(x, *(t.clone() for t in running), *rest[-2:], trains, 0.1, norm.eps)
        z = z + rest[0] if others else z
        y = z if act is None else getattr(functional, act)(z)
        return torch.cat([y, y]) if twice else y

    name = f"BN {tuple(x.shape)} {dtype} {act} adds={len(others)} trains={trains} twice={twice}"
    return Case(name, call, exact, [x, *others, norm.weight, norm.bias])


def pooled(draw: Random) -> Case:
    k = draw.randint(1, 4)
    how = (k, draw.randint(1, 4), draw.randint(0, k // 2))
    ceil = draw.random() < 0.5
    means = nn.AvgPool2d(*how, ceil_mode=ceil, count_include_pad=False)
    layer = draw.choice((nn.MaxPool2d(*how, ceil_mode=ceil), means))
    x = _pictures(draw, _blocks(draw), draw.choice((FLOAT, HALF)), least=4)
    return Case(f"{layer} {tuple(x.shape)} {x.dtype}", lambda x: pooling.pool(layer, x), layer, [x])


def kept_pixels(draw: Random) -> Case:
    x = _pictures(draw, _blocks(draw), draw.choice((FLOAT, HALF)))
    stride, zeros = draw.randint(1, 3), (16 * draw.randint(0, 2), 16 * draw.randint(0, 2))
    name = f"every pixel {tuple(x.shape)} {x.dtype} {stride} {zeros}"
    return Case(
        name,
        lambda x: shortcut.every(x, stride, zeros, compiled=True),
        lambda x: functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, *zeros)),
        [x],
    )


def by_winograd(draw: Random) -> Case:
    conv = _convolution(_blocks(draw), _blocks(draw), 3, padding=1)
    x = _pictures(draw, conv.in_channels)
    exact = lambda x, w: functional.conv2d(x, w, padding=1)  # noqa: E731
    return Case(
        f"Winograd {tuple(x.shape)} {conv}", lambda x, _: winograd.convolution(conv, x), exact, [x, conv.weight]
    )


def by_pairs(draw: Random) -> Case:
    """3×3, 1×1 or strided convolutions in bfloat16."""
    size, stride = draw.choice(((3, 1), (3, draw.randint(1, 3)), (1, draw.randint(1, 3))))
    conv = _convolution(_blocks(draw), _blocks(draw), size, stride=stride, padding=size // 2)
    own = {(3, 1): convolutions.convolution}.get((size, stride), gathered.strided if size == 3 else gathered.pointwise)
    x = _pictures(draw, conv.in_channels, HALF, least=1 if stride == 1 else size + stride)
    exact = lambda x, w: functional.conv2d(x, w, None, stride, size // 2)  # noqa: E731
    name = f"{own.__name__} {tuple(x.shape)} {conv}"
    return Case(name, lambda x, _: own(conv, x), exact, [x, conv.weight], half=True)


def directly(draw: Random) -> Case:
    """Any convolution by direct.cpp, and the gradient of its input; x's channels are whole blocks for that alone."""
    size = draw.randint(1, 5)
    stride, padding, is_turned = draw.randint(1, size + 1), draw.randint(0, size), draw.random() < 0.5
    c_in, c_out = _blocks(draw) if is_turned else draw.randint(1, 40), _blocks(draw)
    x = _pictures(draw, c_in, HALF, least=size, grad=False)
    weight = torch.randn(c_out, c_in, size, size).contiguous(memory_format=LAST)
    how = (None, stride, padding)
    y = functional.conv2d(x.double(), weight.to(HALF).double(), *how)
    name = f"direct {tuple(x.shape)} {size} {stride} {padding} turned={is_turned}"
    if not is_turned:
        convolve = lambda x, w: functional.conv2d(x, w, *how)  # noqa: E731
        return Case(name, lambda x, w: direct.convolution(x, w, stride, padding), convolve, [x, weight], half=True)
    dy = torch.randn(y.shape).to(HALF).contiguous(memory_format=LAST)
    gradient = lambda dy, w: torch.nn.grad.conv2d_input(x.shape, w, dy, stride, padding)  # noqa: E731
    own = lambda dy, w: direct.input_gradient(dy, w, x.shape[2:], stride, padding)  # noqa: E731
    return Case(name, own, gradient, [dy, weight], half=True)


def stems(draw: Random) -> Case:
    """Convolutions of few channels: trained, or frozen with the activation behind them."""
    channels, size, trains = draw.randint(1, 4), draw.randint(1, 7), draw.random() < 0.5
    stride, padding = draw.randint(1, size), draw.randint(0, size // 2)
    conv = _convolution(channels, 64 if trains else _blocks(draw), size, stride=stride, padding=padding)
    x, weight = _pictures(draw, channels, draw.choice((FLOAT, HALF)), least=size + stride, grad=False), conv.weight
    weight.requires_grad_(trains)
    how = (None, stride, padding)
    name = f"stem {tuple(x.shape)} {x.dtype} {conv} trains={trains}"
    if trains:
        exact = lambda x, w: functional.conv2d(x, w, *how)  # noqa: E731
        return Case(name, lambda x, _: gathered.stem(conv, x), exact, [x, weight], half=True)
    rectified = lambda x, w: functional.conv2d(x, w, *how).relu()  # noqa: E731
    return Case(name, lambda x, _: frozen.activated(x, conv, "relu"), rectified, [x, weight], half=True)


def cropped(draw: Random) -> Case:
    size, batch, most, reflects = draw.randint(1, 12), draw.randint(1, 9), 15, draw.random() < 0.5
    images = torch.randint(0, 256, (draw.randint(1, 5), size, size, 3), dtype=torch.uint8)
    rows, mirrored = torch.randint(0, len(images), (batch,)), torch.rand(batch) < 0.5
    shift, table = torch.randint(-most, most + 1, (batch, 2)), torch.randn(256, 3)
    side = draw.randint(0, 5)
    holes = torch.randint(-4, size + 1, (batch, 2)) if draw.random() < 0.5 else None

    def call() -> Tensor:
        return crops.cropped(images, rows, shift, mirrored, table, holes, side, reflects=reflects)

    def exact() -> Tensor:
        found = []
        for b, (row, (down, right)) in enumerate(zip(rows.tolist(), (shift + most).tolist(), strict=True)):
            colours = table.gather(0, images[row].view(-1, 3).long()).view(size, size, 3).double().numpy()
            wide = np.pad(colours, ((most, most), (most, most), (0, 0)), "reflect" if reflects else "constant")
            crop = wide[down : down + size, right : right + size]
            crop = crop[:, ::-1].copy() if mirrored[b] else crop.copy()
            if holes is not None:
                top, left = holes[b].tolist()
                crop[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
            found.append(torch.from_numpy(crop))
        return torch.stack(found).permute(0, 3, 1, 2)

    return Case(f"crops {batch} of {tuple(images.shape)} reflects={reflects} holes={side}", call, exact, [])


def moved(draw: Random) -> Case:
    shape = (draw.randint(1, 300), draw.randint(1, 300))
    gradient, average, weights = torch.randn(3, *shape)
    by = torch.empty(shape, dtype=HALF)

    def call() -> Tensor:
        now, moving = average.clone(), weights.clone()
        update.direction(gradient, now, 0.9, by)
        update.move(moving, by, 0.99, 0.1)
        return torch.cat([now, moving])

    def exact() -> Tensor:
        now = 0.9 * average.double() + gradient
        rounded = (gradient + 0.9 * now.float()).to(HALF)
        return torch.cat([now, 0.99 * weights.double() - 0.1 * rounded.double()])

    return Case(f"Muon {shape}", call, exact, [])


def moved_by_lamb(draw: Random) -> Case:
    shape = draw.choice(((draw.randint(1, 40_000),), (draw.randint(1, 9), draw.randint(2, 9), 3, 3)))
    weights, gradient, average, square = torch.randn(4, *shape)
    tensors = [weights, gradient, average, square.square()]
    if len(shape) == 4 and draw.random() < 0.5:
        tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]
    step, how = draw.randint(1, 50), {"shortened": draw.choice((1.0, 3.0)), "epsilon": 1e-6, "decay": 0.02}

    def call() -> Tensor:
        w, g, a, s = (tensor.clone() for tensor in tensors)
        update.lamb_direction(w, g, (a, s), (0.9, 0.999), step, **how)
        return torch.stack([g, a, s])

    def exact() -> Tensor:
        w, g, a, s = (tensor.double() for tensor in tensors)
        g = g / how["shortened"]
        a, s = 0.9 * a + 0.1 * g, 0.999 * s + 0.001 * g**2
        spread = (s / (1 - 0.999**step)).sqrt() + how["epsilon"]
        return torch.stack([a / (1 - 0.9**step) / spread + how["decay"] * w, a, s])

    return Case(f"LAMB {shape}", call, exact, [])


# --- torch's operations, as our nets hand them over ------------------------------------------------


def torchs_convolution(draw: Random) -> Case:
    size, stride, half = draw.choice((1, 1, 3, 3, 5, 7)), draw.choice((1, 2, 2, 3)), draw.random() < 0.5
    groups = draw.choice((1, 1, 1, 2, 4)) if size == 3 else 1
    c_in, c_out = (groups * draw.choice((1, 2, 3, 4, 5, 8, 12, 16, 24, 31, 64)) for _ in range(2))
    conv = layers.convolution(c_in, c_out, size, stride, groups=groups, bias=draw.random() < 0.5)
    layout = draw.choice((LAST, LAST, torch.contiguous_format))
    conv.to(memory_format=layout)
    x = _pictures(draw, c_in).detach().to(memory_format=layout).requires_grad_(draw.random() < 0.8)
    call = draw.choice((conv, Piece(nn.Sequential(conv))))
    one = lambda x, *_: y if isinstance(y := call(x), Tensor) else y[0]  # noqa: E731
    exact = lambda x, w, b=None: functional.conv2d(x, w, b, stride, size // 2, groups=groups)  # noqa: E731
    return Case(f"{conv} {tuple(x.shape)} {layout} half={half}", one, exact, [x, *conv.parameters()], half=half)


def torchs_pooling(draw: Random) -> Case:
    whole, halving = nn.AdaptiveAvgPool2d(1), layers.average(2)
    layer = draw.choice((nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), halving, whole))
    layout = draw.choice((LAST, torch.contiguous_format))
    x = _pictures(draw, draw.randint(1, 40), draw.choice((FLOAT, HALF)), least=2).detach()
    x = x.to(memory_format=layout).requires_grad_()
    return Case(f"torch's {layer} {tuple(x.shape)} {x.dtype} {layout}", layer, layer, [x])


# --- the program -----------------------------------------------------------------------------------

EVERYWHERE = (normalised, pooled, kept_pixels, by_winograd, cropped, moved, moved_by_lamb)
UNITS = (*((by_pairs, directly) if has_pairs() else ()), *((stems,) if has_matrix_units() else ()))
KINDS = {
    "everywhere": EVERYWHERE,
    "kernels": (*EVERYWHERE, *UNITS, *UNITS),
    "torch": (torchs_convolution, torchs_convolution, torchs_pooling),
}


def cases(kind: str, seed: int, count: int) -> Sequence[Callable[[], Case]]:
    """Return what makes each case; the threads that it uses are set then."""

    def made(n: int) -> Case:
        draw = Random(f"{kind} {seed} {n}")
        torch.manual_seed(draw.getrandbits(32))
        torch.set_num_threads(draw.randint(1, 3))
        return draw.choice(KINDS[kind])(draw)

    return [lambda n=n: made(n) for n in range(count)]


def write_outside() -> None:
    """Call a kernel with the memory of one pixel too few: what watches over memory must see it."""
    x, y = torch.zeros(1, 4, 4, 16), torch.zeros(15, 16)
    build.call("shortcut", x, y, 1, 4, 4, 2, 4, 4, 2, 0, 1, 1)


def main(kind: str, seed: str, count: str) -> None:
    assert build.library() is not None, "nothing is compiled"
    if kind == "wrong":
        write_outside()
        return
    convolutions.has_own_pass = lambda *shape: True  # also where torch is the faster
    for make in cases(kind, int(seed), int(count)):
        case = make()
        print(case.name, flush=True)
        case.check()
    print("all right")


if __name__ == "__main__":
    main(*sys.argv[1:])
