"""A linear probe in closed form: what a straight line can read off features (Alain and Bengio 2016, 1610.01644).

Letters: N pictures, D features, K classes.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

PENALTY = 0.01
"""Weight of ‖W‖² beside the mean squared error, for features of variance 1."""


def probe_accuracy(x: Tensor, labels: Tensor, held_x: Tensor, held_labels: Tensor) -> float:
    """Fit a probe to (N, D) features and (N,) labels; return the share of held-out pictures it calls right."""
    weight, bias = ridge(x, labels)
    called = (held_x.double() @ weight + bias).argmax(1)
    return float((called == held_labels).double().mean())


def ridge(x: Tensor, labels: Tensor, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
    """Return W (D, K) and b (K,), float64, of the ridge regression of one-hot labels 0 … K−1 on (N, D) features.

    It minimises mean ‖z·V + b' − one-hot‖² + penalty·‖V‖² over the features z brought to mean 0 and variance 1, and
    says it in terms of the features as they are; one that never varies counts for nothing.
    """
    x, wanted = x.double(), one_hot(labels).double()
    mean, sd = x.mean(0), x.std(0, correction=0)
    sd = torch.where(sd > 0, sd, torch.inf)
    z, centre = (x - mean) / sd, wanted.mean(0)
    gram = z.T @ z / len(x) + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, z.T @ (wanted - centre) / len(x)) / sd[:, None]
    return weight, centre - mean @ weight
