"""he2015_imagenet: the paper's training of the 18- to 152-layer nets on ImageNet.

Paper     He et al. 2015 (arXiv 1512.03385), sec. 3.4 and Tables 2 to 4
Command   residuum train IMAGENET --model resnet50 --stride-in 1x1 --recipe he2015_imagenet --image-size 224
Time      not measured yet
Score     the paper, ten crops: 77.15 % top-1 (ResNet-50), 78.25 (101), 78.57 (152); ours not measured yet

As the paper: SGD with momentum 0.9 and weight decay 1e-4 on all parameters, batch 256, rate 0.1, 600,000 iterations,
shorter side drawn from [256, 480], random crop of 224, flip, colour noise along the principal components of RGB.
Where we leave the paper: it divides the rate by ten "when the error plateaus"; we do so at 1/4, 1/2 and 3/4 of the
iterations (150,000 is about 30 epochs), so that a run is decided by its settings. It subtracts the mean picture; we
subtract the mean colour, which needs no pass over a million pictures at full size. One device, so BN sees the batch.
"""

from residuum.recipe import Augmentation, Recipe, Steps, Task


def he2015_imagenet(task: Task) -> Recipe:
    """Return the recipe; other epochs move the milestones in proportion."""
    batch_size = task.batch(256)
    iterations = task.iterations(batch_size, default=600_000)
    return Recipe(
        name="he2015_imagenet",
        iterations=iterations,
        batch_size=batch_size,
        schedule=Steps(base=0.1, milestones=tuple(iterations * quarter // 4 for quarter in (1, 2, 3))),
        augmentation=Augmentation(flip=task.mirrors, shorter_side=(256, 480), colour=True),
        weight_decay=1e-4,
        mean="per-channel",
        divide_by_std=False,
    )
