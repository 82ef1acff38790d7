"""From the last layer's logits to what a net answers: one class of K, or of each of K whether the picture shows it."""

import torch
from torch import Tensor


def answered(logits: Tensor, *, several: bool = False) -> Tensor:
    """(…, K) logits to (…, K) probabilities: softmax, which adds up to 1; `several`: the sigmoid of each."""
    return torch.sigmoid(logits) if several else torch.softmax(logits, dim=-1)
