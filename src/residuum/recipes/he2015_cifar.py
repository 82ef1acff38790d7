"""he2015_cifar: the paper's training of the 6n+2-layer nets on CIFAR-10.

Paper     He et al. 2015 (arXiv 1512.03385), sec. 4.2 and Table 6
Command   residuum train ../shared/data/cifar10 --model resnet20 --recipe he2015_cifar --validation 0
Time      see results/gpu-paper.json
Score     the paper: 91.25 % (ResNet-20), 92.49 (32), 92.83 (44), 93.03 (56), 93.39 ± 0.16 (110); ours: the same file

As the paper: SGD with momentum 0.9 and weight decay 1e-4 on all parameters, batch 128, rate 0.1 divided by ten at
32,000 and 48,000 of 64,000 iterations, the mean picture subtracted, padding 4, flip. Nets of 110 layers and more
begin at 0.01 until the training error is below 80 %, then go to 0.1.
Where we choose: padding is zero after the mean is subtracted (as fb.resnet.torch; the paper does not say).
Where we leave the paper: one device, so BN sees all 128 pictures (the paper: two GPUs). --validation 0 trains on
all 50,000; the default keeps 10 % aside.
"""

from residuum.recipe import Augmentation, Recipe, Steps, Task


def he2015_cifar(task: Task) -> Recipe:
    """Return the recipe; other epochs move the milestones in proportion."""
    batch_size = task.batch(128)
    iterations = task.iterations(batch_size, default=64_000)
    return Recipe(
        name="he2015_cifar",
        iterations=iterations,
        batch_size=batch_size,
        schedule=Steps(
            base=0.1,
            milestones=(iterations // 2, iterations * 3 // 4),
            warm_rate=0.01 if task.depth >= 110 else None,
        ),
        augmentation=Augmentation(flip=task.mirrors, pad=4),
        weight_decay=1e-4,
        mean="per-pixel",
        divide_by_std=False,
    )
