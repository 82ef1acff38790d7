"""sgd_one_cycle: the papers' optimiser, over as few passes as quick takes. For comparing nets.

Paper     He et al. 2015 (arXiv 1512.03385), sec. 4.2: SGD with momentum 0.9, weight decay 1e-4 on all parameters,
          rate 0.1; Smith & Topin 2017 (arXiv 1708.07120): the rate climbs to it and falls to zero in one cycle
Command   residuum train cifar10 --model resnet56 --recipe sgd_one_cycle --epochs 10
Time      as quick; see results/studies/
Score     see results/studies/

quick is better for use: its Muon moves some nets' convolutions and not others' (docs/decisions.md), so that with it two
nets would differ in more than themselves. Nothing here was tuned.
"""

from dataclasses import replace

from residuum.recipe import OneCycle, Recipe, Task
from residuum.recipes.quick import quick


def sgd_one_cycle(task: Task) -> Recipe:
    """Return the recipe: passes and augmentation are those of quick."""
    return replace(
        quick(task),
        name="sgd_one_cycle",
        schedule=OneCycle(peak=0.1, climb=0.25),
        optimizer="sgd",
        others_rate=1.0,
        weight_decay=1e-4,
        decay_norms_and_biases=True,
    )
