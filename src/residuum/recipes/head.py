"""head: the last layer alone, fitted to what the frozen net makes of each picture (training/head.py). No steps.

Paper     none: a multinomial logistic regression on deep features, as in Donahue et al. 2013 (arXiv 1310.1531)
Command   residuum train PHOTOS --start MODEL --tune head
Time      see results/ants-bees-head.json
Score     see results/ants-bees-head.json
"""

from residuum.choices import SIZES
from residuum.recipe import Augmentation, OneCycle, Recipe, Task


def head(task: Task) -> Recipe:
    """Return the recipe, which takes no step: each picture is seen once, as evaluation sees it."""
    return Recipe(
        name="head",
        iterations=0,
        batch_size=task.batch(32),
        schedule=OneCycle(peak=0.0, climb=0.0),
        augmentation=Augmentation(flip=False),
        frozen_statistics=True,
        views=task.views if task.views in SIZES else "single",
    )
