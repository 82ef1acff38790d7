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
            parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if group["is_matrix"]:
                for alike in _by_shape(parameters):
                    self._move_matrices(alike, group["lr"], group["momentum"])
            else:
                rate = self.others_rate * group["lr"]
                self._move_others(parameters, rate, group["momentum"], group["weight_decay"])

    def _move_matrices(self, parameters: list[Tensor], rate: float, momentum: float) -> None:
        """w = √r · w/|w| − rate · orthogonal(momentum)."""
        directions = self._nesterov(parameters, [_gradient(p) for p in parameters], momentum)
        moves = orthogonal(torch.stack([d.flatten(1) for d in directions]).to(self.dtype)).float()
        norms = torch.stack(torch._foreach_norm(parameters)).clamp_min_(1e-12)
        torch._foreach_mul_(parameters, list(len(parameters[0]) ** 0.5 / norms))
        torch._foreach_add_(parameters, list(moves.view(-1, *parameters[0].shape)), alpha=-rate)

    def _move_others(
        self, parameters: list[Tensor], rate: float, momentum: float, weight_decay: float
    ) -> None:
        gradients = [_gradient(p) for p in parameters]
        if weight_decay:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=weight_decay))
        torch._foreach_add_(parameters, self._nesterov(parameters, gradients, momentum), alpha=-rate)

    def _nesterov(self, parameters: list[Tensor], gradients: list[Tensor], momentum: float) -> list[Tensor]:
        """v = momentum · v + g; the direction is g + momentum · v."""
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        averages: list[Tensor] = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(averages, momentum)
        torch._foreach_add_(averages, gradients)
        return list(torch._foreach_add(gradients, averages, alpha=momentum))


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


def _by_shape(parameters: list[Tensor]) -> Iterable[list[Tensor]]:
    alike: dict[tuple[int, int], list[Tensor]] = {}
    for parameter in parameters:
        alike.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
    return alike.values()


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
