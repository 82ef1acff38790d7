"""fine_tune: go on from trained weights, on the same pictures or on others.

Paper     none: quick at a third of its rate with a short climb, so that what was learnt is kept
Command   residuum train PHOTOS --start MODEL
Time      see results/trim-resnet56.json
Score     see results/trim-resnet56.json
"""

from dataclasses import replace

from residuum.recipe import OneCycle, Recipe, Task
from residuum.recipes.quick import quick

PASSES = 5


def fine_tune(task: Task) -> Recipe:
    """Return the recipe; by default 5 passes.

    A net whose BN statistics are folded keeps them, and SGD moves it: Muon holds the norm of each convolution fixed, of
    which BN takes no notice only where it divides by the batch's own spread.
    """
    recipe = quick(replace(task, epochs=task.epochs or PASSES))
    recipe = replace(recipe, name="fine_tune", schedule=OneCycle(peak=0.015, climb=0.1))
    if not task.folded:
        return recipe
    gentle = OneCycle(peak=0.001, climb=0.1)
    return replace(recipe, schedule=gentle, optimizer="sgd", nesterov=True, frozen_statistics=True)
