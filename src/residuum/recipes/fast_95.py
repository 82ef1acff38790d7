"""fast_95: as fast, but over a wider net of its own and in more passes, to 95 % on CIFAR-10.

Paper     those of fast; DeVries and Taylor 2017 (arXiv 1708.04552): a square cut out of each picture
Command   residuum train ../shared/data/cifar10 --recipe fast_95 --validation 0 --seed 1
Time      see results/fast-95.json
Score     the same

Chosen on held-out training pictures of CIFAR-10 (docs/log.md). --recipe fast --target 95 is the same.
"""

from residuum.recipe import Recipe, Task
from residuum.recipes.fast import few_passes

NET = "fast-wide-resnet10"


def fast_95(task: Task) -> Recipe:
    """Return the recipe: seventeen passes by default."""
    return few_passes(task, "fast_95", (4, 5, 8), cut=0.25)
