"""The whitening stem: filters that make the colours and edges of neighbouring pixels independent of each other.

Page 2019 ("How to train your ResNet", part 8); Jordan 2024 (arXiv 2404.00498, sec. 3.1). They are computed from
training pictures once, before the first step, and stay as they are: the first layer has nothing left to learn.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

PICTURES = 2000
"""So many say enough of the patches; all would take longer and change nothing."""
SMALLEST = 5e-4
"""Added to each variance, so that directions which hardly occur are not blown up (Jordan 2024)."""


@torch.no_grad()
def whiten(convolution: nn.Conv2d, images: Tensor) -> None:
    """Set the convolution's (C, 3, k, k) filters to ±vᵢ/√(λᵢ + ε), by falling λ: each as it is, then negated.

    `images` (N, 3, H, W) are training pictures as the net sees them; vᵢ and λᵢ are the principal components of their
    k×k patches. With C above twice their number, 3·k·k, the last filters are zero (spec.WHITENING_FILTERS).
    """
    channels, *patch = convolution.weight.shape
    columns = unfold(images[:PICTURES].float(), (patch[1], patch[2]))  # (N, 3·k·k, places)
    patches = columns.transpose(1, 2).flatten(0, 1)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / (variances + SMALLEST).sqrt()).T.flip(0)  # rows, the largest variance first
    kept = filters[: channels // 2].view(-1, *patch)
    convolution.weight.zero_()
    convolution.weight[: 2 * len(kept)] = torch.cat([kept, -kept])
