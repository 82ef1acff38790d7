"""From the last layer's logits to what a net answers: one class of K, or of each of K whether the picture shows it."""

import torch
from torch import Tensor


def answered(logits: Tensor, *, several: bool = False) -> Tensor:
    """(…, K) logits to (…, K) probabilities: softmax, which adds up to 1; `several`: the sigmoid of each."""
    return torch.sigmoid(logits) if several else torch.softmax(logits, dim=-1)


def several_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many pictures are right as `is_right` in data/labels.py has it: (B, K) logits and labels, 0 or 1."""
    highest, likeliest = logits.max(1)
    if labels.shape[1] == 1:  # one class alone
        return ((highest >= 0) == (labels[:, 0] > 0)).sum()
    shows_it = labels.gather(1, likeliest[:, None])[:, 0] > 0
    return torch.where((labels > 0).any(1), shows_it, highest < 0).sum()
