"""What a step makes smaller: the mean loss of B pictures of K classes, whole or mixed."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from residuum.data.mixing import Mix
from residuum.models.answers import several_right
from residuum.recipe import Recipe


def mean_loss(
    logits: Tensor, labels: Tensor, mix: Mix | None, recipe: Recipe, class_weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of (B, K) logits; `class_weights` (K,) says what a picture of each class counts.

    Binary cross-entropy is the mean over the K questions too, as timm's; smoothing spreads its share over them. Of
    several labels a picture, (B, K), each question has its own answer.
    """
    if labels.ndim == 2:
        return binary_cross_entropy_with_logits(logits, _shares(labels, mix, logits))
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


def learnt_by(loss: Tensor, labels: Tensor) -> Tensor:
    """Return what gradients are taken of: the mean loss; of several labels a picture its sum over the K classes.

    The gradients of the mean over them would be as K times smaller, and recipes' rates are for one question a picture.
    """
    return loss * labels.shape[1] if labels.ndim == 2 else loss


def weights_of_mean(recipe: Recipe, mix: Mix | None, class_weights: Tensor | None) -> Tensor | None:
    """Return the class weights, (K,), whose sum `mean_loss` divides by; None: by the number of pictures."""
    return class_weights if recipe.loss == "cross-entropy" and mix is None else None


def _shares(labels: Tensor, mix: Mix | None, logits: Tensor) -> Tensor:
    """Return how much of each class there is in each picture, (B, K)."""
    own = _each(labels, logits)
    return own if mix is None else torch.lerp(_each(mix.labels, logits), own, mix.share[:, None])


def _each(labels: Tensor, logits: Tensor) -> Tensor:
    """Return whether each picture shows each class, (B, K)."""
    return (labels if labels.ndim == 2 else one_hot(labels, logits.shape[1])).to(logits)


def right(logits: Tensor, labels: Tensor, mix: Mix | None) -> Tensor:
    """Return how many pictures' likeliest class is the one they show most of; of several labels see several_right."""
    if labels.ndim == 2:
        shown = labels if mix is None else torch.where(mix.share[:, None] >= 0.5, labels, mix.labels)
        return several_right(logits, shown)
    return (logits.argmax(1) == (labels if mix is None else torch.where(mix.share >= 0.5, labels, mix.labels))).sum()
