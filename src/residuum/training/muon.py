"""Muon: each convolution moves by the orthogonal matrix nearest to its momentum.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the fixed norm of the weights is from
Jordan's CIFAR-10 speed record. All matrices of one shape are worked on together: a ResNet has many alike.

Letters: a convolution's weight (C_out, C_in, k, k) is taken as a matrix of r = C_out rows and c = C_in·k·k columns.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from residuum.kernels.update import direction, move
from residuum.training.sgd import move_by_momentum
from residuum.training.slots import Slots, first_rate, gradient, laid_out

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients: three rounds bring every singular value to about one."""
ROUNDS = 3
SMALL = 32
"""Products of matrices up to this size are computed in float32: calling for another precision takes longer."""


class Muon(Slots):
    """Muon for `matrices` (convolutions that a BN follows), SGD with Nesterov momentum for `others`.

    `others` are param groups, each with its weight_decay, and with `times`: how many times the matrices' learning rate
    it moves at. Matrices need none: their norm is held at √r, so that
    each filter is of norm one on average; the BN behind them takes no notice of it. `dtype` is that of the matrix
    products.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: list[dict[str, Any]],
        momentum: float,
        matrix_momentum: float,
        dtype: torch.dtype,
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": list(matrices), "is_matrix": True, "momentum": matrix_momentum}]
        groups += [{**group, "is_matrix": False, "momentum": momentum} for group in others]
        groups = [group for group in groups if group["params"]]
        rate = first_rate(parameter for group in groups for parameter in group["params"])
        super().__init__({"lr": rate, "weight_decay": 0.0, **group} for group in groups)
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            if group["is_matrix"]:
                matrices = [p for p in group["params"] if p.grad is not None]
                if matrices:
                    self._move_matrices(matrices, group["lr"], group["momentum"])
            else:
                rate = group["times"] * group["lr"]
                move_by_momentum(self, group["params"], rate, group["momentum"], group["weight_decay"], nesterov=True)

    def _move_matrices(self, parameters: list[Tensor], rate: float | Tensor, momentum: float) -> None:
        """w = √r · w/|w| − rate · orthogonal(momentum)."""
        groups: dict[tuple[int, int], list[Tensor]] = {}
        for parameter in parameters:
            groups.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
        directions = orthogonal([self._directions(alike, momentum) for alike in groups.values()])
        weights = [matrix(p) for alike in groups.values() for p in alike]
        norms = torch.stack(torch._foreach_norm(weights)).clamp_min_(1e-12)
        if isinstance(rate, Tensor):
            _move_there(weights, directions, norms, rate)
            return
        moves = [by for alike in directions for by in alike]
        for weight, by, norm in zip(weights, moves, norms.tolist(), strict=True):
            move(weight, by, len(weight) ** 0.5 / norm, rate)

    def _directions(self, alike: list[Tensor], momentum: float) -> Tensor:
        """Return where M convolutions of one shape would move by their momenta, (M, r, c)."""
        shape = matrix(alike[0]).shape
        directions = torch.empty((len(alike), *shape), dtype=self.dtype, device=alike[0].device)
        for parameter, out in zip(alike, directions, strict=True):
            now = laid_out(gradient(parameter), parameter)
            direction(matrix(now), matrix(self._average(parameter)), momentum, out)
        return directions

    def _average(self, parameter: Tensor) -> Tensor:
        """Return v, which begins at zero."""
        return self.slots_of(parameter, "momentum_buffer")[0]


def _move_there(weights: list[Tensor], directions: list[Tensor], norms: Tensor, rate: Tensor) -> None:
    """Do what kernels/update.py's `move` does for each matrix, and read nothing back."""
    scales = list((1 / norms).unbind())
    torch._foreach_mul_(scales, [len(weight) ** 0.5 for weight in weights])
    torch._foreach_mul_(weights, scales)
    torch._foreach_sub_(weights, [by for alike in directions for by in alike.float() * rate])


def orthogonal(stacks: list[Tensor]) -> list[Tensor]:
    """Return, of stacks (M, r, c), the matrices of the same singular vectors, all singular values about one.

    Newton and Schulz's iteration, x ← (aI + bA + cA²)x with A = xxᵀ, from x of norm one, needs products alone. Every x
    is the first one times polynomials of the first A, so the rounds work on the small square matrices, those of one
    size together, and x is multiplied once. Tall matrices are multiplied from the other side.
    """
    squares = [_product(x.mT, x) if _is_tall(x) else _product(x, x.mT) for x in stacks]
    factors: list[Tensor] = [torch.empty(0)] * len(stacks)
    for size in {square.shape[1] for square in squares}:
        places = [place for place, square in enumerate(squares) if square.shape[1] == size]
        found = _inverse_root(torch.cat([squares[place] for place in places]))
        parts = torch.split(found, [len(squares[place]) for place in places])
        for place, factor in zip(places, parts, strict=True):
            factors[place] = factor
    return [
        _product(x, factor) if _is_tall(x) else _product(factor, x) for x, factor in zip(stacks, factors, strict=True)
    ]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of two stacks' matrices; as a stack, a single one would take up to twice as long."""
    return (a[0] @ b[0])[None] if len(a) == 1 else a @ b


def _inverse_root(square: Tensor) -> Tensor:
    """(M, s, s) A = xxᵀ, which is overwritten, to what makes x orthogonal, about A^(−1/2)."""
    dtype = square.dtype
    if dtype == torch.bfloat16 and square.shape[1] <= SMALL:
        square = square.float()
    norm = square.diagonal(dim1=1, dim2=2).float().sum(1).sqrt().clamp_min(1e-7)  # ‖x‖² = tr A
    _scale(square, norm**-2)
    a, b, c = NEWTON_SCHULZ
    factor = None
    for turn in range(ROUNDS):
        step = torch.baddbmm(square, square, square, beta=b, alpha=c)
        step.diagonal(dim1=1, dim2=2).add_(a)
        factor = _scale(step.clone(), 1 / norm) if factor is None else _product(step, factor)
        if turn < ROUNDS - 1:
            square = _product(_product(step, square), step)
    assert factor is not None
    return factor.to(dtype)


def _scale(matrices: Tensor, by: Tensor) -> Tensor:
    """Multiply each of (M, s, s) in place by its number of (M,): in float32, rounded once."""
    if matrices.is_cuda:  # there a number would be rounded to the matrices' precision first
        return matrices.mul_(by[:, None, None])
    torch._foreach_mul_(list(matrices.unbind()), list(by.unbind()))
    return matrices


def _is_tall(matrices: Tensor) -> bool:
    return matrices.shape[1] > matrices.shape[2]


def matrix(weight: Tensor) -> Tensor:
    """(C_out, C_in, k, k) as the (C_out, C_in·k·k) matrix that lies in memory, which no copy is needed for.

    Channels-last weights have their columns in another order; to the nearest orthogonal matrix it makes no difference.
    """
    rows = weight if weight.is_contiguous() else weight.permute(0, 2, 3, 1)
    return (rows if rows.is_contiguous() else weight).flatten(1)
