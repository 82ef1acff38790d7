"""What a step makes smaller: the mean loss of B pictures of K classes, whole or mixed."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from residuum.data.mixing import Mix
from residuum.recipe import Recipe


def mean_loss(
    logits: Tensor, labels: Tensor, mix: Mix | None, recipe: Recipe, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of (B, K) logits; `class_weights` (K,) says what a picture of each class counts.

    Binary cross-entropy is the mean over the K questions too, as timm's; smoothing spreads its share over them.
    """
    smoothing = recipe.label_smoothing
    if recipe.loss == "cross-entropy":
        targets = labels if mix is None else _shares(labels, mix, logits)
        return cross_entropy(logits, targets, class_weights, label_smoothing=smoothing)
    targets = _shares(labels, mix, logits)
    counts = None if class_weights is None else (targets @ class_weights)[:, None]
    if recipe.target_threshold is not None:
        targets = (targets > recipe.target_threshold).to(logits)
    targets = targets * (1 - smoothing) + smoothing / logits.shape[1]
    return binary_cross_entropy_with_logits(logits, targets, counts)


def weights_of_mean(recipe: Recipe, mix: Mix | None, class_weights: Tensor | None) -> Tensor | None:
    """Return the class weights, (K,), whose sum `mean_loss` divides by; None: by the number of pictures."""
    return class_weights if recipe.loss == "cross-entropy" and mix is None else None


def _shares(labels: Tensor, mix: Mix | None, logits: Tensor) -> Tensor:
    """Return how much of each class there is in each picture, (B, K)."""
    own = one_hot(labels, logits.shape[1]).to(logits)
    if mix is None:
        return own
    return torch.lerp(one_hot(mix.labels, logits.shape[1]).to(logits), own, mix.share[:, None])


def leading(labels: Tensor, mix: Mix | None) -> Tensor:
    """Return the class, (B,), that each picture shows most of."""
    return labels if mix is None else torch.where(mix.share >= 0.5, labels, mix.labels)
