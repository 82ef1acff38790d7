"""The recipes after ResNet strikes back, part by part against timm, and what of them serves any training."""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

from residuum.compute import choose_compute
from residuum.data import augment, mixing, random_augment
from residuum.data.augment import augmented_batch
from residuum.data.batches import Loader
from residuum.data.contract import Split
from residuum.data.mixing import Mix, mixed
from residuum.data.preprocess import Preprocessing
from residuum.data.rng import uniform
from residuum.data.share import TrainingPlan
from residuum.errors import Stopped, UserError
from residuum.loading import load
from residuum.models.resnet import ResNet
from residuum.models.spec import NetSpec
from residuum.recipe import Augmentation, Cosine, OneCycle, RandomAugment, Recipe, Task
from residuum.recipes.rsb import rsb_a1, rsb_a2, rsb_a3
from residuum.settings import TrainSettings
from residuum.training.average import Average, average_of, averaged
from residuum.training.captured import captured
from residuum.training.lamb import Lamb
from residuum.training.loop import Callbacks, Job, fit
from residuum.training.loss import mean_loss
from residuum.training.optimizer import make_optimizer
from residuum.training.run import train
from residuum.training.state import State, restore_checkpoint, save_checkpoint

IMAGENET = Task(num_pictures=1_281_167, image_size=224, depth=50)
BARE = Recipe(
    name="bare", iterations=6, batch_size=8, schedule=OneCycle(peak=0.1, climb=0.0), augmentation=Augmentation()
)


# --- the recipes are the paper's table ------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "row"),
    [  # Wightman et al. 2021, Table 2: passes, rate, decay, smoothing, depth, repeats, RandAugment, mixup
        (rsb_a1, (600, 5e-3, 0.01, 0.1, 0.05, 3, 7, 0.2)),
        (rsb_a2, (300, 5e-3, 0.02, 0.0, 0.05, 3, 7, 0.1)),
        (rsb_a3, (100, 8e-3, 0.02, 0.0, 0.00, 1, 6, 0.1)),
    ],
)
def test_the_modern_recipes_are_their_papers_table(make: Callable[[Task], Recipe], row: tuple[float, ...]) -> None:
    recipe = make(IMAGENET)
    strength = recipe.augmentation.random
    assert (
        recipe.iterations // 625, recipe.lr, recipe.weight_decay, recipe.label_smoothing, recipe.stochastic_depth,
        recipe.repeats, strength.magnitude, recipe.mixup,
    ) == row  # fmt: skip
    assert (recipe.batch_size, recipe.optimizer, recipe.loss) == (2048, "lamb", "binary-cross-entropy")
    assert (recipe.cutmix, strength.spread, recipe.ema, recipe.test_crop) == (1.0, 0.5, 0.0, 0.95)
    assert recipe.schedule.warm_up == 5 * 625
    assert round(224 * recipe.training_side) == (160 if make is rsb_a3 else 224)


def test_few_pictures_are_taken_in_smaller_batches_more_slowly() -> None:
    recipe = rsb_a3(replace(IMAGENET, num_pictures=100_000, epochs=10))
    assert (recipe.batch_size, recipe.iterations) == (128, 7810)
    assert recipe.lr == pytest.approx(8e-3 / 4)
    assert rsb_a3(replace(IMAGENET, num_pictures=20)).batch_size == 20


def test_the_rate_is_timms_cosine_after_a_warm_up() -> None:
    schedulers = pytest.importorskip("timm.scheduler")
    course = Cosine(peak=8e-3, warm_up=5, first=1e-4 / 8e-3, last=1e-6 / 8e-3)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8e-3)
    theirs = schedulers.CosineLRScheduler(
        optimizer, t_initial=40, lr_min=1e-6, warmup_t=5, warmup_lr_init=1e-4, t_in_epochs=False
    )
    for step in range(40):
        theirs.step_update(step)
        assert course.rate(step, 40, False) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step


# --- the optimiser and the loss -------------------------------------------------------------------


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))


@pytest.mark.parametrize("is_there", [False, True])  # as on another device, which computes on all tensors at once
@pytest.mark.parametrize("scale", [1e-3, 10.0])  # gradients that are short, and that are shortened
def test_lamb_is_timms_and_goes_on_from_what_it_remembers(
    scale: float, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = pytest.importorskip("timm.optim")
    if is_there:
        monkeypatch.setattr(Lamb, "_move_here", lambda self, p, by, *how: self._move([p], torch.tensor(by), *how))
    ours, other = small_net(), small_net()
    recipe = replace(BARE, optimizer="lamb", weight_decay=0.02, decay_norms_and_biases=False)
    optimizer = make_optimizer(ours, recipe)
    assert isinstance(optimizer, Lamb)
    reference = theirs.create_optimizer_v2(other, opt="lamb", lr=0.1, weight_decay=0.02)
    x = torch.randn(6, 3, 8, 8)
    for step in range(6):
        for net, how in ((ours, optimizer), (other, reference)):
            (scale * net(x).square().mean()).backward()
            how.step()
            how.zero_grad()
        if step == 2:
            saved = optimizer.state_dict()["state"]
            optimizer = make_optimizer(ours, recipe)
            optimizer.load_state_dict({"state": saved})
    for mine, its in zip(ours.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=2e-5, atol=2e-6)


def test_losses_of_mixed_pictures_are_timms() -> None:
    losses = pytest.importorskip("timm.loss")
    mixup_target = pytest.importorskip("timm.data.mixup").mixup_target
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    share = torch.tensor([0.9, 0.1, 0.5, 0.5, 0.1, 0.9])[:, None]
    mix = Mix(labels.flip(0), share[:, 0])
    binary = replace(BARE, loss="binary-cross-entropy")

    def expected(loss: nn.Module, smoothing: float) -> Tensor:
        return loss(logits, mixup_target(labels, 5, share, smoothing))  # type: ignore[no-any-return]

    smoothed = replace(binary, label_smoothing=0.1)
    thresholded = replace(binary, target_threshold=0.2)
    crossed = replace(BARE, label_smoothing=0.1)
    close = torch.testing.assert_close
    close(mean_loss(logits, labels, mix, smoothed), expected(losses.BinaryCrossEntropy(0.0), 0.1))
    close(mean_loss(logits, labels, mix, thresholded), expected(losses.BinaryCrossEntropy(0.0, 0.2), 0.0))
    close(mean_loss(logits, labels, mix, crossed), expected(losses.SoftTargetCrossEntropy(), 0.1))
    close(mean_loss(logits, labels, None, smoothed), losses.BinaryCrossEntropy(0.1)(logits, labels))
    both = replace(thresholded, label_smoothing=0.1)  # the paper's 1 − ε, which timm's threshold undoes
    targets = (mixup_target(labels, 5, share) > 0.2) * 0.9 + 0.02
    close(mean_loss(logits, labels, mix, both), nn.functional.binary_cross_entropy_with_logits(logits, targets))


def test_classes_that_count_alike_count_so_under_each_loss() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 1, 1])
    weights = torch.tensor([2.0, 2 / 3, 0.0])
    alone = Mix(labels, torch.full((4,), 0.3))  # with its own class
    for loss in ("cross-entropy", "binary-cross-entropy"):
        recipe = replace(BARE, loss=loss)
        each = torch.stack([mean_loss(logits[i : i + 1], labels[i : i + 1], None, recipe) for i in range(4)])
        expected = (each * weights[labels]).mean()
        torch.testing.assert_close(mean_loss(logits, labels, None, recipe, weights), expected)
        torch.testing.assert_close(mean_loss(logits, labels, alone, recipe, weights), expected)


# --- RandAugment ----------------------------------------------------------------------------------


FILL = (124, 116, 104)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_operation_is_timms_to_the_bit(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("timm.data.auto_augment")
    monkeypatch.setattr(theirs, "_randomly_negate", lambda value: sign * value)
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((24, 24), Image.Resampling.BICUBIC)
    how = {"img_mean": FILL, "interpolation": Image.Resampling.BILINEAR}
    names = theirs._RAND_INCREASING_TRANSFORMS
    assert len(names) == len(random_augment.OPERATIONS)
    for name, operation in zip(names, random_augment.OPERATIONS, strict=True):
        for magnitude in (0.0, 3.3, 6.0, 7.4, 9.9):
            expected = theirs.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=how)(picture)
            found = operation(picture, magnitude / 10, sign, FILL)
            assert found.tobytes() == expected.tobytes(), (name, magnitude)


def test_operations_are_as_frequent_and_as_strong_as_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[tuple[int, float, int]]()

    def noted(number: int) -> object:
        return lambda image, strength, sign, fill: done.append((number, strength, sign)) or image

    monkeypatch.setattr(random_augment, "OPERATIONS", tuple(noted(number) for number in range(15)))
    view, draws = np.zeros((2, 2, 3), np.uint8), uniform(0, 0, np.arange(4000), random_augment.DRAWS)
    for its in draws:
        random_augment.random_augment(view, RandomAugment(magnitude=7, spread=0.5), its, FILL)
    numbers, strengths, signs = (np.array(each) for each in zip(*done, strict=True))
    assert abs(len(done) - 4000) < 4 * math.sqrt(2000)  # two layers, each by half a chance
    assert stats.chisquare(np.bincount(numbers, minlength=15)).pvalue > 1e-3
    assert stats.kstest((strengths - 0.7) / 0.05, "norm").pvalue > 1e-3
    assert abs(signs.mean()) < 4 / math.sqrt(len(done))


def test_small_pictures_are_cropped_first_then_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (9, 8, 8, 3), dtype=torch.uint8)
    how = Preprocessing(8, 8, np.float32([120, 130, 140]), np.float32([50, 60, 70]))
    usual = Augmentation(pad=2, border="reflected", cut=3)
    random_too = replace(usual, random=RandomAugment(magnitude=7))
    rows = np.array([4, 2, 8, 4])
    changed = augmented_batch(images, rows, random_too, how, 1, 2)
    assert not torch.equal(changed, augmented_batch(images, rows, usual, how, 1, 2))
    monkeypatch.setattr(augment, "random_augmented", lambda views, *_: views)
    unchanged = augmented_batch(images, rows, random_too, how, 1, 2)
    torch.testing.assert_close(unchanged, augmented_batch(images, rows, usual, how, 1, 2))
    alone = augmented_batch(images, rows[1:2], random_too, how, 1, 2)
    assert torch.equal(alone[0], unchanged[1])


# --- mixing ---------------------------------------------------------------------------------------


def test_pairs_are_mixed_as_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = pytest.importorskip("timm.data.mixup")
    size, seed, epoch, recipe = 12, 3, 5, replace(BARE, mixup=0.4, cutmix=1.0)
    rows = np.array([7, 3, 11, 2, 30, 9, 4, 1])
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])
    images = torch.randn(8, 3, size, size).contiguous(memory_format=torch.channels_last)
    found, mix = mixed(images, labels, rows, epoch, recipe, seed)
    assert found.is_contiguous(memory_format=torch.channels_last)
    draws = uniform(seed, epoch, rows[::2], mixing._FIRST_DRAW + 3 + 2 * mixing._TRIES)[:, mixing._FIRST_DRAW :]
    exchanged = draws[:, 0] < 0.5
    assert 0 < exchanged.sum() < 4
    shares = mixing._beta(np.where(exchanged, 1.0, 0.4), draws[:, 3:])
    centres = iter((draws[exchanged, 1:3] * size).astype(int).reshape(-1).tolist())
    monkeypatch.setattr(np.random, "randint", lambda low, high, size=None: next(centres))
    mixup = theirs.Mixup(mode="pair", label_smoothing=0.0, num_classes=5)
    mixup._params_per_elem = lambda _: (shares.astype(np.float32), exchanged)
    as_theirs = [0, 2, 4, 6, 7, 5, 3, 1]  # timm's pairs are first and last, second and last but one
    expected, targets = mixup(images[as_theirs].clone(), labels[as_theirs])
    torch.testing.assert_close(found[as_theirs], expected)
    assert mix is not None
    ours = mix.share[:, None] * nn.functional.one_hot(labels, 5) + (1 - mix.share[:, None]) * nn.functional.one_hot(
        mix.labels, 5
    )
    torch.testing.assert_close(ours[as_theirs], targets)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0])
def test_shares_are_from_beta(alpha: float) -> None:
    tries = uniform(0, 0, np.arange(3000), 2 * mixing._TRIES)
    shares = mixing._beta(np.full(3000, alpha), tries)
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_what_is_mixed_depends_on_the_pair_alone_and_the_last_may_stay_alone() -> None:
    images, labels, rows = torch.randn(5, 3, 6, 6), torch.arange(5), np.array([5, 9, 2, 8, 4])
    recipe = replace(BARE, mixup=1.0)
    whole, mix = mixed(images, labels, rows, 1, recipe, 0)
    pair, its = mixed(images[2:4], labels[2:4], rows[2:4], 1, recipe, 0)
    assert mix is not None
    assert its is not None
    assert torch.equal(whole[2:4], pair)
    assert torch.equal(mix.share[2:4], its.share)
    assert torch.equal(whole[4], images[4])
    assert (mix.share[4], mix.labels[4]) == (1.0, 4)
    assert mixed(images, labels, rows, 1, BARE, 0) == (images, None)
    half, _ = mixed(images.bfloat16(), labels, rows, 1, recipe, 0)  # as what a frozen part makes of pictures is
    torch.testing.assert_close(half, whole.bfloat16(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_several_ranks_mix_the_pairs_that_one_does(ranks: int) -> None:
    recipe = replace(BARE, mixup=0.2, cutmix=1.0, batch_size=23)
    whole = TrainingPlan(4, 60, 23, 0, 2)[1][1]
    images = torch.randn(60, 3, 6, 6)
    expected, _ = mixed(images[whole], torch.from_numpy(whole), whole, 0, recipe, 4)
    parts = [TrainingPlan(4, 60, 23, 0, 2, rank, ranks)[1][1] for rank in range(ranks)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    found = [mixed(images[rows], torch.from_numpy(rows), rows, 0, recipe, 4)[0] for rows in parts]
    assert torch.equal(torch.cat(found), expected)


# --- repeated augmentation ------------------------------------------------------------------------


def test_a_repeated_picture_is_there_several_times_each_time_otherwise() -> None:
    samplers = pytest.importorskip("timm.data.distributed_sampler")
    theirs = samplers.RepeatAugSampler(range(1024), num_replicas=1, rank=0)
    plan = TrainingPlan(0, 1024, 48, 0, 21, repeats=3)
    batches = [rows for _, rows in plan]
    for rows in batches:
        assert len(np.unique(rows)) == 48
        assert set(Counter((rows % 1024).tolist()).values()) == {3}
        assert not np.array_equal(rows[::2] % 1024, rows[1::2] % 1024)
        assert (rows[::2] % 1024 != rows[1::2] % 1024).all()  # no picture is mixed with itself
    every = Counter(np.concatenate(batches).tolist())
    assert max(every.values()) == 1
    seen, expected = len({row % 1024 for row in every}), len(set(theirs))
    assert abs(seen - expected) <= 16
    odd = TrainingPlan(0, 1024, 50, 0, 20, repeats=3)[19][1]
    assert len(odd) == 50
    loader = Loader(split(40), PLAIN, torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8), torch.device("cpu"))
    batch = next(iter(loader.batches(TrainingPlan(0, 40, 6, 0, 1, repeats=3), Augmentation(pad=2), 0)))
    assert batch.labels.tolist() == (batch.rows % 40 % 5).tolist()
    assert not torch.equal(batch.images[0], batch.images[2])


# --- the moving average ---------------------------------------------------------------------------


def test_the_average_is_timms() -> None:
    utils = pytest.importorskip("timm.utils")
    net = small_net()
    ours, theirs = Average(net, 0.9), utils.ModelEmaV3(net, decay=0.9)
    for step in range(100, 104):
        net(torch.randn(6, 3, 8, 8))  # BN's statistics move
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.set_step(step)
        ours.update()
        theirs.update(net)
    for name, tensor in ours.tensors.items():
        torch.testing.assert_close(tensor, theirs.module.state_dict()[name])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with averaged(ours):
        assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in ours.tensors.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_short_run_is_not_averaged_with_its_beginning() -> None:
    net = small_net()
    average, first = Average(net, 0.9999), net[0].weight.detach().clone()
    for step in range(50):
        with torch.no_grad():
            net[0].weight.copy_(first + 1)
        average.set_step(step)
        average.update()
    torch.testing.assert_close(average.tensors["0.weight"], first + 1, rtol=0, atol=1e-3)


PLAIN = Preprocessing(8, 8, np.float32([128, 128, 128]), np.float32([64, 64, 64]))


def split(count: int) -> Split:
    return Split(pictures=_Nothing(count), labels=np.arange(count) % 5)  # type: ignore[arg-type]


class _Nothing:
    """Pictures of which the pixels are known already."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


MODERN = replace(
    BARE, optimizer="lamb", weight_decay=0.02, loss="binary-cross-entropy", target_threshold=0.2, mixup=0.2, cutmix=1.0,
    repeats=2, ema=0.9, iterations=8, augmentation=Augmentation(pad=1, random=RandomAugment(magnitude=7)),
    schedule=Cosine(peak=0.02, warm_up=2),
)  # fmt: skip


def modern_job() -> Job:
    torch.manual_seed(0)
    spec = NetSpec(stem="cifar", block="basic", blocks=(1,), widths=(4,), shortcut="A", num_classes=5)
    net = ResNet(spec)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
    loader, compute = Loader(split(40), PLAIN, pixels, torch.device("cpu")), choose_compute("cpu", "float32", "auto", 1)
    return Job(net, net, make_optimizer(net, MODERN), MODERN, loader, compute, 0, average=average_of(net, MODERN))


def test_a_run_with_every_part_is_judged_by_its_average_and_goes_on_bit_by_bit(tmp_path: Path) -> None:
    judged = list[Tensor]()

    def callbacks(job: Job, save: int | None = None) -> Callbacks:
        def keep(state: State) -> None:
            if save is not None and state.step == save:
                save_checkpoint(tmp_path, job.net, job.optimizer, state, {}, job.average)

        return Callbacks(
            report=lambda _: None,
            save=keep,
            validate=lambda: judged.append(job.net.fc.weight.detach().clone()) or {},  # type: ignore[func-returns-value]
            asked_to_stop=lambda: None,
        )

    whole = modern_job()
    fit(whole, State(), callbacks(whole, save=5), save_seconds=0.0)
    assert whole.average is not None
    assert torch.equal(judged[-1], whole.average.tensors["fc.weight"])  # what is judged is what is kept
    assert torch.equal(judged[-1], whole.net.fc.weight)
    again = modern_job()
    state = restore_checkpoint(tmp_path, again.net, again.optimizer, {}, 8, warn=pytest.fail, average=again.average)
    assert state.step == 5
    assert not torch.equal(again.net.fc.weight, again.average.tensors["fc.weight"])
    fit(again, state, callbacks(again), save_seconds=1e9)
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name]), name
    other = modern_job()
    without = replace(other, average=None)
    assert restore_checkpoint(tmp_path, without.net, without.optimizer, {}, 8, warn=pytest.fail).step == 5


def test_recorded_steps_mix_and_average_as_the_others_do() -> None:
    jobs = [modern_job(), modern_job()]
    for job, steps in zip(jobs, (None, captured), strict=True):
        fit(job, State(), Callbacks(lambda _: None, lambda _: None, dict, lambda: None), 1e9, steps)
    ours, theirs = (job.net.state_dict() for job in jobs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# --- whole runs -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_digits")
def test_a_run_that_mixes_and_averages_keeps_the_average(tmp_path: Path) -> None:
    how = {"model": "resnet20", "blocks": (1, 1, 1), "epochs": 1, "batch_size": 32, "threads": 1}
    settings = TrainSettings("digits", mixup=0.2, cutmix=1.0, ema=0.5, **how, out=str(tmp_path / "run"))  # type: ignore[arg-type]
    kept = list[dict[str, Tensor]]()
    with pytest.MonkeyPatch.context() as patch:
        settle = Average.settle
        patch.setattr(Average, "settle", lambda self: (settle(self), kept.append(dict(self.tensors))))
        record = train(settings)
    weights = load(record.path).net.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in kept[-1].items())
    assert len(kept) == 2  # judged after the only epoch, and kept
    details = record.settings.resolved["recipe_details"]
    assert (details["mixup"], details["cutmix"], details["ema"]) == (0.2, 1.0, 0.5)
    assert TrainSettings(**{**record.settings.settings, "out": None}).ema == 0.5  # it repeats the run


def test_a_recipe_that_sees_each_picture_alone_cannot_mix() -> None:
    with pytest.raises(UserError, match="tune_last cannot mix pictures"):
        train(TrainSettings("digits", start="somewhere", tune="last", mixup=0.2))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["rsb_a1", "rsb_a3"])
def test_a_modern_recipe_trains_on_photographs_at_another_size_than_it_is_judged(recipe: str, tmp_path: Path) -> None:
    photos, noise = tmp_path / "photos", np.random.default_rng(0)
    for name in ("dark", "light"):
        (photos / name).mkdir(parents=True)
        for number in range(24):
            pixels = noise.integers(0, 160, (110, 120, 3), dtype=np.uint8) + 90 * (name == "light")
            Image.fromarray(pixels.astype(np.uint8)).save(photos / name / f"{number}.jpg")
    how = {"model": "resnet18", "blocks": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "image_size": 112, "workers": 0}
    settings = {**how, "recipe": recipe, "epochs": 2, "batch_size": 8, "threads": 1, "ema": 0.9}
    record = train(TrainSettings(str(photos), **settings, out=str(tmp_path / "run")))  # type: ignore[arg-type]
    assert record.evaluation is not None
    assert record.evaluation.protocol == "single view, shorter side 118, central 112×112"
    assert load(record.path).preprocessing.image_size == 112
    depth = record.settings.resolved["net"]["stochastic_depth"]
    assert depth == (0.05 if recipe == "rsb_a1" else 0.0)
    run = str(tmp_path / "stopped")
    with pytest.MonkeyPatch.context() as patch:
        taken = iter([None] * 7 + [1])
        patch.setattr("residuum.training.run.stop_requests", lambda: nullcontext(lambda: next(taken)))
        with pytest.raises(Stopped):
            train(TrainSettings(str(photos), **settings, out=run, save_seconds=0.0))  # type: ignore[arg-type]
    again = train(TrainSettings(resume=run))
    ours, its = (load(path).net.state_dict() for path in (record.path, again.path))
    assert all(torch.equal(ours[name], its[name]) for name in ours)
