"""tune_last, tune_all: the last stage, or the last half of them, tuned from a fitted last layer; for few pictures.

Paper     Kumar et al. 2022 (arXiv 2202.10054): the last layer is fitted first, so that the rest is not bent by a last
          layer that knows nothing; Howard and Ruder 2018 (arXiv 1801.06146), sec. 3.2: rates that fall towards the stem
Command   residuum train PHOTOS --start MODEL --tune last
Time      see results/ants-bees-tune.json
Score     see results/ants-bees-tune.json

Chosen on the training pictures of ants-bees, out of fold (docs/decisions.md).
"""

from residuum.recipe import Augmentation, OneCycle, ParameterGroup, Recipe, Task


def tune_last(task: Task) -> Recipe:
    """Return the recipe of the last stage and the last layer: what the stages before make of pictures is kept."""
    return _tuned("tune_last", task, passes=6, frozen_stages=task.stages - 1)


def tune_all(task: Task) -> Recipe:
    """Return the recipe of the last half of the stages, the larger one where they are odd.

    The others, and the stem, would move at a quarter of the last stage's rate and less: they stay.
    """
    return _tuned("tune_all", task, passes=4, frozen_stages=task.stages // 2)


def _tuned(name: str, task: Task, passes: int, frozen_stages: int) -> Recipe:
    """A net whose BN statistics are folded keeps them, and moves in steps a hundred times smaller: nothing divides what
    its convolutions give by its spread."""
    batch_size = task.batch(16)
    return Recipe(
        name=name,
        iterations=task.iterations(batch_size, default=passes * (task.num_pictures // batch_size)),
        batch_size=batch_size,
        schedule=OneCycle(peak=0.0003 if task.folded else 0.03, climb=0.1),
        augmentation=Augmentation(flip=task.mirrors, pad=max(1, round(task.image_size / 16)), area=(0.35, 1.0)),
        nesterov=True,
        frozen_statistics=task.folded,
        rate_decay=0.5,
        head=ParameterGroup(rate=0.2),
        frozen_stages=frozen_stages,
        weight_decay=0.0,
        decay_norms_and_biases=False,
        views="mirrored" if task.mirrors else "single",
    )
