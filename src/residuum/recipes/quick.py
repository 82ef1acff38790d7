"""quick: a classifier soon, at any length. The default.

Paper     Smith & Topin 2017 (arXiv 1708.07120): one cycle of the learning rate, climbing then falling to zero;
          Jordan et al. 2024: Muon, which moves each convolution by an orthogonal matrix (training/muon.py)
Command   residuum train ../shared/data/cifar10 --model resnet20 --recipe quick --epochs 10 --seed 1
Time      see results/accuracy-cifar10-resnet20-quick.json
Score     see results/accuracy-cifar10-resnet20-quick.json

Chosen on held-out training pictures of CIFAR-10 (docs/log.md).
"""

import math

from residuum.recipe import Augmentation, OneCycle, Recipe, Task

TINY = 16
"""Side in pixels up to which 20 passes do what 40 did: results/accuracy-digits-resnet20-quick.json, docs/log.md."""
ITERATIONS = 3000
"""About as many steps as a small net needs; more pictures get fewer passes, but never under ten."""


def quick(task: Task) -> Recipe:
    """Return the recipe; by default 10 to 40 passes, of tiny pictures up to 20."""
    batch_size = task.batch(128 if task.num_pictures >= 8192 else 32)
    per_epoch = task.num_pictures // batch_size
    passes = min(20 if task.image_size <= TINY else 40, max(10, math.ceil(ITERATIONS / per_epoch)))
    return Recipe(
        name="quick",
        iterations=task.iterations(batch_size, default=passes * per_epoch),
        batch_size=batch_size,
        schedule=OneCycle(peak=0.05, climb=0.25),
        augmentation=Augmentation(flip=task.mirrors, pad=max(1, round(task.image_size / 16)), area=(0.35, 1.0)),
        optimizer="muon",
        others_rate=2.0,
        weight_decay=0.0,
        decay_norms_and_biases=False,
    )
