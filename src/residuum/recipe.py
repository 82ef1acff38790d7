"""What a recipe is: how a net is trained, with no word about which net or which pictures. Plain data."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from residuum.choices import Views

SMALL = 64
"""Pictures up to this side, in pixels, are decoded once and kept, and are no photographs; larger ones are streamed."""
FEW = 3000
"""Below so many training pictures trained weights are begun with, and used by a head, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """The learning rate climbs to `peak`, then falls to zero, linearly; any length (Smith 2017, 1708.07120)."""

    peak: float
    climb: float
    """Share of all steps spent climbing, 0 to 1."""

    def rate(self, step: int, iterations: int, warmed_up: bool) -> float:
        """Return the rate of step `step` (from 0) of `iterations`; there is no warm-up but the climb."""
        top = self.climb * iterations
        if step < top:
            return self.peak * (step + 1) / (top + 1)
        return self.peak * (iterations - step) / max(iterations - top, 1)

    def is_warm(self, training_error: float) -> bool:
        """Say whether the warm-up is over, of which there is none."""
        return True


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A constant rate, divided by ten at each milestone (He et al. 2015, sec. 3.4 and 4.2)."""

    base: float
    milestones: tuple[int, ...]
    """Iterations at which the rate is divided by ten."""
    warm_rate: float | None = None
    """The rate used until the training error falls below `warm_until_error` (the 110-layer net's 0.01)."""
    warm_until_error: float = 0.80

    @property
    def peak(self) -> float:
        """Return the highest rate."""
        return self.base

    def rate(self, step: int, iterations: int, warmed_up: bool) -> float:
        """Return the rate of step `step` (from 0); `warmed_up` says the training error has fallen far enough."""
        if self.warm_rate is not None and not warmed_up:
            return self.warm_rate
        return self.base * 0.1 ** sum(step >= milestone for milestone in self.milestones)

    def is_warm(self, training_error: float) -> bool:
        """Say whether the training error is low enough for the warm-up to end."""
        return training_error < self.warm_until_error


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """The rate climbs to `peak` along a line, then lies on half a cosine that begins with the run, as if there had been
    no climb (Loshchilov and Hutter 2016, arXiv 1608.03983, eq. 5)."""

    peak: float
    warm_up: int
    """Iterations of the climb."""
    first: float = 0.0
    """Where the climb begins, as a share of the peak."""
    last: float = 0.0
    """Where the cosine ends, as a share of the peak."""

    def rate(self, step: int, iterations: int, warmed_up: bool) -> float:
        """Return the rate of step `step` (from 0) of `iterations`; the climb does not ask how training goes."""
        if step < self.warm_up:
            return self.peak * (self.first + (1 - self.first) * step / self.warm_up)
        return self.peak * (self.last + (1 - self.last) * 0.5 * (1 + math.cos(math.pi * step / iterations)))

    def is_warm(self, training_error: float) -> bool:
        """Say whether a warm-up that waits for the training error is over, of which there is none."""
        return True


Schedule = OneCycle | Steps | Cosine


@dataclass(frozen=True, kw_only=True)
class RandomAugment:
    """RandAugment's strength (Cubuk et al. 2019, arXiv 1909.13719; data/random_augment.py)."""

    magnitude: float
    """0 to 10."""
    spread: float = 0.5
    """Standard deviation of each operation's magnitude, which stays within 0 to 10."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training picture; its random numbers depend on (seed, epoch, sample) alone."""

    flip: bool = True
    alternating: bool = False
    """A picture is mirrored in every second epoch, beginning with the first or the second by chance, instead of by
    chance in each (Jordan 2024, arXiv 2404.00498, sec. 3.6)."""
    pad: int = 0
    """Small pictures: pixels added on each side before the random crop."""
    border: Literal["zero", "reflected"] = "zero"
    """What is added: zeros, after the mean is subtracted, or the picture's mirror image, its edge not repeated."""
    cut: int = 0
    """Small pictures: the side of a square, placed anywhere, that is zero after normalisation (DeVries and Taylor 2017,
    arXiv 1708.04552)."""
    area: tuple[float, float] | None = None
    """Large pictures: share of the area a crop may take (Szegedy et al. 2014's scale augmentation)."""
    shorter_side: tuple[int, int] | None = None
    """Large pictures: the range the shorter side is resized to before a random crop (He et al. 2015)."""
    colour: bool = False
    """Large pictures: noise along the principal components of RGB (Krizhevsky et al. 2012)."""
    random: RandomAugment | None = None
    """What else is done to the view."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """How parameters that Muon does not move are moved, where they are not all moved alike."""

    rate: float
    """How many times the scheduled rate."""
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a training run besides the net and the pictures."""

    name: str
    iterations: int
    batch_size: int
    schedule: Schedule
    augmentation: Augmentation
    optimizer: Literal["sgd", "muon", "lamb"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    matrix_momentum: float = 0.6
    """Momentum of the convolutions under muon; `momentum` is that of all else."""
    others_rate: float = 1.0
    """Under muon, how many times the scheduled rate the parameters that are no convolutions move at."""
    norms: ParameterGroup | None = None
    """Under muon, how BN's scales and shifts move; by default as the others."""
    head: ParameterGroup | None = None
    """How the last layer moves; by default as the others. Under sgd its weight decay is the others'."""
    trained_scales: bool = True
    """Whether BN's scales are trained; otherwise they stay at one."""
    statistics_momentum: float = 0.1
    """Share of BN's running statistics that each step renews."""
    frozen_statistics: bool = False
    """Whether BN computes with its running statistics in training too, and leaves them as they are."""
    rate_decay: float = 1.0
    """Not under muon: how many times as fast each stage moves as the stage behind it: the last one at the rate itself,
    and so on to the stem (Howard and Ruder 2018, arXiv 1801.06146, sec. 3.2)."""
    frozen_stages: int = 0
    """So many of the first stages, and the stem before them, stay as they are."""
    weight_decay: float = 1e-4
    decay_norms_and_biases: bool = True
    label_smoothing: float = 0.0
    loss: Literal["cross-entropy", "binary-cross-entropy"] = "cross-entropy"
    """binary: each class is a question of its own (Wightman et al. 2021, arXiv 2110.00476, sec. 3)."""
    target_threshold: float | None = None
    """Under binary cross-entropy every class of a mixed picture whose share is larger than this counts as wholly there;
    None: by its share."""
    mixup: float = 0.0
    """α of mixup (Zhang et al. 2017, arXiv 1710.09412): pictures and labels of a step are mixed in pairs, by a share
    from Beta(α, α); 0 is without (data/mixing.py)."""
    cutmix: float = 0.0
    """α of CutMix (Yun et al. 2019, arXiv 1905.04899): a rectangle is exchanged, of 1 less a share from Beta(α, α);
    0 is without. With both, one of them by chance."""
    repeats: int = 1
    """How often each picture is in a step, each time augmented otherwise; an epoch then shows one in so many (Berman et
    al. 2019, arXiv 1902.05509; Hoffer et al. 2019, arXiv 1901.09335)."""
    ema: float = 0.0
    """Decay a step of the weights' moving average, which is what is judged and kept; 0 is without
    (training/average.py)."""
    stochastic_depth: float = 0.0
    """Probability that the last block is skipped (models/spec.py), where the net has shortcuts and none of its own."""
    training_side: float = 1.0
    """Large pictures: the side that training sees, as a share of the one that is judged (Touvron et al. 2019, arXiv
    1906.06423)."""
    test_crop: float = 0.875
    """Large pictures: side of the square that is judged, as a share of the picture's shorter side."""
    small_first: tuple[tuple[float, int], ...] = ()
    """(share, side): up to this share of the steps, small pictures are resized to this side, in pixels, and seen whole
    afterwards; shares and sides grow."""
    views: Views = "single"
    """What final figures are taken from: the picture; the mean answer for it and its mirror image; or for these moved
    by a pixel too (evaluation/views.py)."""
    judged_in: Literal["float32", "training precision"] = "float32"
    """What final figures are computed in; float32 gives what the net scores elsewhere, the other is sooner."""
    mean: Literal["per-channel", "per-pixel"] = "per-channel"
    """What is subtracted from a picture; the paper subtracts the mean picture."""
    divide_by_std: bool = True

    @property
    def lr(self) -> float:
        """Return the highest learning rate."""
        return self.schedule.peak

    def rate(self, step: int, warmed_up: bool) -> float:
        """Return the learning rate of step `step` (from 0); `warmed_up` ends a warm-up."""
        return self.schedule.rate(step, self.iterations, warmed_up)

    def changed(self, lr: float | None = None, **others: Any) -> "Recipe":
        """Return the recipe with another highest learning rate, None leaving it alone, and other fields."""
        schedule = self.schedule
        if lr is not None:
            schedule = replace(schedule, base=lr) if isinstance(schedule, Steps) else replace(schedule, peak=lr)
        return replace(self, schedule=schedule, **others)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a recipe may know of the work at hand."""

    num_pictures: int
    """Training pictures, after the validation cut."""
    image_size: int
    """Side of the square the net sees, in pixels."""
    depth: int
    """Weighted layers of the net."""
    mirrors: bool = True
    """Whether a picture and its mirror image show the same class."""
    epochs: int | None = None
    """Passes that were asked for, if any."""
    batch_size: int | None = None
    """Pictures in a step that were asked for, if any."""
    stages: int = 4
    """Stages of the net."""
    folded: bool = False
    """Whether the starting net's BN statistics are folded into its convolutions: each is mean 0 and variance 1."""
    views: Views = "single"
    """What the starting net is asked by."""

    def batch(self, default: int) -> int:
        """Return the batch size asked for or `default`, never more than there are pictures."""
        return min(self.batch_size or default, self.num_pictures)

    def iterations(self, batch_size: int, default: int) -> int:
        """Return the steps that the asked-for epochs take, or `default`."""
        return self.epochs * (self.num_pictures // batch_size) if self.epochs else default
