"""Muon: each convolution moves by the orthogonal matrix nearest to its momentum.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the fixed norm of the weights is from
Jordan's CIFAR-10 speed record. All matrices of one shape are worked on together: a ResNet has many alike.

Letters: a convolution's weight (C_out, C_in, k, k) is taken as a matrix of r = C_out rows and c = C_in·k·k columns.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients: three rounds bring every singular value to about one."""
ROUNDS = 3


class Muon(torch.optim.Optimizer):
    """Muon for `matrices` (convolutions that a BN follows), SGD with Nesterov momentum for `others`, whose
    learning rate is `others_rate` times the matrices'.

    `others` are param groups, each with its weight_decay. Matrices need none: their norm is held at √r, so that
    each filter is of norm one on average; the BN behind them takes no notice of it. `dtype` is that of the matrix
    products.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: list[dict[str, Any]],
        momentum: float,
        matrix_momentum: float,
        others_rate: float,
        dtype: torch.dtype,
    ) -> None:
        groups = [{"params": list(matrices), "is_matrix": True, "momentum": matrix_momentum}]
        groups += [{**group, "is_matrix": False, "momentum": momentum} for group in others]
        super().__init__([g for g in groups if g["params"]], {"lr": 0.1, "weight_decay": 0.0})
        self.dtype = dtype
        self.others_rate = others_rate

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["is_matrix"]:
                for alike in _by_shape(parameters):
                    self._move_matrices(alike, group["lr"], group["momentum"])
            else:
                rate = self.others_rate * group["lr"]
                self._move_others(parameters, rate, group["momentum"], group["weight_decay"])

    def _move_matrices(self, parameters: list[nn.Parameter], rate: float, momentum: float) -> None:
        """w = √r · w/|w| − rate · orthogonal(momentum)."""
        directions = [self._nesterov(p, _gradient(p), momentum).flatten(1) for p in parameters]
        moves = orthogonal(torch.stack(directions).to(self.dtype)).float()
        for parameter, move in zip(parameters, moves, strict=True):
            parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(1e-12))
            parameter.sub_(move.view(parameter.shape), alpha=rate)

    def _move_others(
        self, parameters: list[nn.Parameter], rate: float, momentum: float, weight_decay: float
    ) -> None:
        for parameter in parameters:
            gradient = _gradient(parameter) + weight_decay * parameter
            parameter.sub_(self._nesterov(parameter, gradient, momentum), alpha=rate)

    def _nesterov(self, parameter: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """v = momentum · v + g; the direction is g + momentum · v."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum_buffer"]
        average.mul_(momentum).add_(gradient)
        return gradient + momentum * average


def orthogonal(matrices: Tensor) -> Tensor:
    """(M, r, c) to the (M, r, c) matrices of the same singular vectors, all singular values about one.

    Newton and Schulz's iteration, which needs products alone.
    """
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    a, b, c = NEWTON_SCHULZ
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: Tensor = x.mT if is_tall else x
    return result


def _by_shape(parameters: list[nn.Parameter]) -> Iterable[list[nn.Parameter]]:
    alike: dict[tuple[int, int], list[nn.Parameter]] = {}
    for parameter in parameters:
        alike.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
    return alike.values()


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
