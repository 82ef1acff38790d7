"""What computes a net's answers: torch, or an engine made for it. All take the same views and give the same."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from residuum.choices import EngineName, EnginePrecision


@dataclass(frozen=True)
class Output:
    """What an engine gives of B views: probabilities (B, K), and features (B, D), what the last layer reads of them."""

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]


class Engine(Protocol):
    """One net, ready to answer. May be called from several threads at once."""

    @property
    def name(self) -> EngineName:
        """Say what computes."""

    @property
    def precision(self) -> EnginePrecision:
        """Say in what numbers."""

    def __call__(self, views: NDArray[np.uint8]) -> Output:
        """Answer for B square views (B, S, S, 3), as `evaluation_view` cuts them from decoded pictures."""
