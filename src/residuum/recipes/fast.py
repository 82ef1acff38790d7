"""fast: the least time to 94 % on CIFAR-10, with a net of its own.

Paper     Page 2019, "How to train your ResNet" (whitening, max-pooling, label smoothing); Jordan 2024
          (arXiv 2404.00498: alternating flips, mirrored views in the end) and 2024 (Muon)
Command   residuum train ../shared/data/cifar10 --recipe fast --validation 0 --seed 1
Time      see results/fast.json
Score     the same

Chosen on held-out training pictures of CIFAR-10 (docs/log.md).
"""

from residuum.recipe import Augmentation, OneCycle, ParameterGroup, Recipe, Task

NET = "fast-resnet10"


def fast(task: Task) -> Recipe:
    """Return the recipe: ten passes by default."""
    return few_passes(task, "fast", (2, 3, 5))


def few_passes(task: Task, name: str, passes: tuple[int, int, int], cut: float = 0.0) -> Recipe:
    """Return a recipe of few passes over pictures of a half, three quarters and all of their side.

    A square of `cut` times the picture's side is cut out of each picture; in very few passes it may hinder.
    """
    half, three_quarters, _ = passes
    batch_size = task.batch(1000 if task.num_pictures >= 8192 else 64)
    per_epoch = task.num_pictures // batch_size
    return Recipe(
        name=name,
        iterations=task.iterations(batch_size, default=sum(passes) * per_epoch),
        batch_size=batch_size,
        schedule=OneCycle(peak=0.24, climb=0.0),
        augmentation=Augmentation(
            flip=task.mirrors,
            alternating=True,
            pad=max(1, round(task.image_size / 16)),
            border="reflected",
            cut=round(task.image_size * cut),
            area=(0.35, 1.0),
        ),
        optimizer="muon",
        momentum=0.85,
        matrix_momentum=0.6,
        norms=ParameterGroup(rate=265.0, weight_decay=4e-5),
        head=ParameterGroup(rate=0.05, weight_decay=0.2),
        trained_scales=False,
        statistics_momentum=0.25,
        weight_decay=0.0,
        decay_norms_and_biases=False,
        label_smoothing=0.2,
        small_first=(
            (half / sum(passes), round(task.image_size / 2)),
            ((half + three_quarters) / sum(passes), round(task.image_size * 3 / 4)),
        ),
        views="shifted" if task.mirrors else "single",
        judged_in="training precision",
    )
