"""rsb_a1, rsb_a2, rsb_a3: the modern training of a ResNet-50 on ImageNet, in 600, 300 or 100 passes.

Paper     Wightman, Touvron and Jégou 2021, "ResNet strikes back" (arXiv 2110.00476), Table 2: procedures A1, A2, A3
Command   residuum train IMAGENET --model resnet50 --zero-init --recipe rsb_a3 --image-size 224
Time      not measured yet; one pass over photographs: results/modern-recipe.json
Score     the paper, one crop of 224 px: 80.4 % top-1 (A1), 79.8 (A2), 78.1 (A3); ours not measured yet

As the paper, by its table's rows: LAMB, batch 2048, rate 5e-3 (A3: 8e-3), cosine, 5 passes of warm-up, weight decay
0.02 (A1: 0.01), label smoothing 0.1 in A1 alone, stochastic depth 0.05 and three views of each picture but in A3, flip,
random resized crop, RandAugment 7/0.5 (A3: 6/0.5), mixup 0.1 (A1: 0.2), CutMix 1.0, binary cross-entropy, no EMA,
crop 0.95 in the test; A3 is trained at 160 px for a test at 224.
As timm, where the paper does not say: gradients of a norm above 1 are shortened to it (LAMB), norms and biases do not
decay, a class counts as there from a share of 0.2 on, the warm-up begins at 1e-4, the cosine ends at 1e-6.
Where we choose: fewer than 0.8 million pictures are taken in smaller batches, of 64 at least, so that a pass has 400
steps, and the rate falls with the root of the batch (You et al. 2019, arXiv 1904.00962, sec. 4.3); the warm-up takes at
most a twentieth of the run; small pictures are shifted, not cropped. Pairs that are mixed have a share and a rectangle
each; a block is skipped in a whole step (Huang et al. 2016); smoothing comes after the threshold (in timm it is lost).
"""

from dataclasses import replace

from residuum.recipe import SMALL, Augmentation, Cosine, RandomAugment, Recipe, Task

STEPS_A_PASS = 400
"""Fewer would be few updates; 2,048 pictures at once make 625 of ImageNet."""


def rsb_a1(task: Task) -> Recipe:
    """Return A1: 600 passes."""
    recipe = _procedure(task, "rsb_a1", passes=600, peak=5e-3, magnitude=7)
    return replace(recipe, mixup=0.2, label_smoothing=0.1, weight_decay=0.01, repeats=3, stochastic_depth=0.05)


def rsb_a2(task: Task) -> Recipe:
    """Return A2: 300 passes."""
    recipe = _procedure(task, "rsb_a2", passes=300, peak=5e-3, magnitude=7)
    return replace(recipe, repeats=3, stochastic_depth=0.05)


def rsb_a3(task: Task) -> Recipe:
    """Return A3: 100 passes over smaller views."""
    recipe = _procedure(task, "rsb_a3", passes=100, peak=8e-3, magnitude=6)
    return replace(recipe, training_side=160 / 224 if task.image_size > SMALL else 1.0)


def _procedure(task: Task, name: str, *, passes: int, peak: float, magnitude: float) -> Recipe:
    """Return what the three have in common."""
    batch_size = task.batch(_batch_size(task.num_pictures))
    per_pass = task.num_pictures // batch_size
    iterations = task.iterations(batch_size, default=passes * per_pass)
    warm_up = min(5 * per_pass, iterations // 20)
    here = peak * (batch_size / 2048) ** 0.5
    return Recipe(
        name=name,
        iterations=iterations,
        batch_size=batch_size,
        schedule=Cosine(peak=here, warm_up=warm_up, first=1e-4 / peak, last=1e-6 / peak),
        augmentation=Augmentation(
            flip=task.mirrors,
            pad=max(1, round(task.image_size / 8)),
            area=(0.08, 1.0),
            random=RandomAugment(magnitude=magnitude, spread=0.5),
        ),
        optimizer="lamb",
        weight_decay=0.02,
        decay_norms_and_biases=False,
        loss="binary-cross-entropy",
        target_threshold=0.2,
        mixup=0.1,
        cutmix=1.0,
        test_crop=0.95,
    )


def _batch_size(num_pictures: int) -> int:
    """Return the largest power of two, from 64 to 2048, with which a pass has STEPS_A_PASS steps."""
    size = 2048
    while size > 64 and num_pictures // size < STEPS_A_PASS:
        size //= 2
    return size
