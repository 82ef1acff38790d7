"""All studies, in the order in which they tell the story."""

from residuum.study import (
    activation_order,
    complexity,
    degradation,
    ensembles,
    lesions,
    normalisation,
    paths,
    propagation,
    responses,
    shattering,
    shortcut_ablations,
    shortcut_options,
    stride,
    thousand_layers,
    transfer,
)
from residuum.study.frame import Study

STUDIES: tuple[Study, ...] = (
    degradation.STUDY,
    shortcut_options.STUDY,
    shortcut_ablations.STUDY,
    activation_order.STUDY,
    stride.STUDY,
    thousand_layers.STUDY,
    responses.STUDY,
    propagation.STUDY,
    shattering.STUDY,
    lesions.STUDY,
    paths.STUDY,
    complexity.STUDY,
    ensembles.STUDY,
    transfer.STUDY,
    normalisation.STUDY,
)
