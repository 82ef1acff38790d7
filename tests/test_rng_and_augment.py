"""Chance that can be looked up, and what it does to pictures."""

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from threads import threads_used

from residuum.data import augment
from residuum.data.augment import augmented_batch, augmented_picture, colour_shift
from residuum.data.preprocess import Preprocessing, measure, normalise
from residuum.data.rng import order, uniform, whole
from residuum.data.share import TrainingPlan, one_pass
from residuum.kernels.build import library
from residuum.recipe import Augmentation, OneCycle, Recipe

SEEDS = st.integers(0, 2**31 - 1)
needs_a_compiler = pytest.mark.skipif(library() is None, reason="there is no C++ compiler")


@given(SEEDS, st.integers(0, 10_000), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_luck_depends_on_the_sample_alone_not_on_its_company(seed: int, epoch: int, n: int) -> None:
    samples = np.arange(n)
    whole = uniform(seed, epoch, samples, 4)
    assert whole.shape == (n, 4)
    assert whole.min() >= 0
    assert whole.max() < 1
    some = np.random.default_rng(0).permutation(n)[: max(1, n // 3)]
    np.testing.assert_array_equal(uniform(seed, epoch, some, 4), whole[some])
    np.testing.assert_array_equal(uniform(seed, epoch, some, 2), whole[some, :2])


@given(SEEDS, st.integers(0, 10_000), st.integers(1, 500))
@settings(max_examples=50, deadline=None)
def test_order_is_a_permutation(seed: int, epoch: int, n: int) -> None:
    assert sorted(order(seed, epoch, n)) == sorted(whole(seed, epoch, n)) == list(range(n))


@pytest.mark.parametrize("seed", [0, 5])
def test_an_epochs_order_has_nothing_to_do_with_how_its_pictures_are_augmented(seed: int) -> None:
    n, draws = 20_000, 60
    augmented = uniform(seed, 3, np.arange(n), draws)
    places = np.argsort(TrainingPlan(seed, n, n, 3, 4)[0][1])  # when each picture comes
    alike = np.corrcoef(places, augmented, rowvar=False)[0, 1:]
    assert np.abs(alike).max() < 5 / n**0.5
    assert np.corrcoef(np.argsort(order(seed, 3, n)), augmented[:, 0])[0, 1] > 0.999  # as version 0.1 had it


def test_luck_is_uniform_and_fresh_for_each_seed_epoch_and_draw() -> None:
    base = uniform(1, 2, np.arange(20_000), 2)
    others = [uniform(2, 2, np.arange(20_000), 2), uniform(1, 3, np.arange(20_000), 2)]
    counts, _ = np.histogram(base, bins=20, range=(0, 1))
    assert abs(counts - 2000).max() < 5 * 2000**0.5  # five standard deviations
    for other in [*(o[:, 0] for o in others), base[:, 1]]:
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 5 / 20_000**0.5
    assert not np.array_equal(order(1, 2, 100), order(1, 3, 100))


def test_these_draws_never_change() -> None:
    """Figures of old runs can be repeated only while these numbers stand."""
    np.testing.assert_allclose(
        uniform(1, 2, np.array([3, 2**40]), 2),
        [[0.28948959999677626, 0.6052639293627823], [0.22934937709871872, 0.584250615673114]],
        rtol=0,
        atol=0,
    )
    assert order(7, 0, 8).tolist() == [6, 0, 2, 3, 5, 4, 1, 7]
    assert whole(7, 0, 8).tolist() == [0, 3, 4, 7, 5, 1, 2, 6]


@given(st.integers(1, 50), st.integers(1, 8), SEEDS, st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_a_plan_can_be_cut_anywhere(n: int, batch: int, seed: int, a: int, b: int) -> None:
    batch = min(batch, n)
    start, stop = min(a, b), max(a, b)
    whole = list(TrainingPlan(seed, n, batch, 0, stop))
    part = TrainingPlan(seed, n, batch, start, stop)
    assert [(e, r.tolist()) for e, r in part] == [(e, r.tolist()) for e, r in whole[start:]]
    assert [(e, r.tolist()) for e, r in (part[i] for i in range(len(part)))] == [(e, r.tolist()) for e, r in part]
    for epoch in {e for e, _ in whole}:
        rows = np.concatenate([r for e, r in whole if e == epoch])
        assert len(set(rows)) == len(rows)  # no picture twice in a pass


@given(st.integers(1, 100), st.integers(1, 30))
def test_one_pass_serves_every_row_once_in_order(n: int, batch: int) -> None:
    assert np.concatenate([rows for _, rows in one_pass(n, batch)]).tolist() == list(range(n))


def _slow_view(
    image: np.ndarray, pad: int, top: int, left: int, mirrored: bool, mean: np.ndarray, std: np.ndarray
) -> np.ndarray:
    """The same augmentation, the usual way: normalise, pad with zeros, mirror, crop."""
    size = image.shape[0]
    padded = np.pad((image - mean) / std, ((pad, pad), (pad, pad), (0, 0)))
    crop = padded[top : top + size, left : left + size]
    return crop[:, ::-1] if mirrored else crop


@pytest.mark.parametrize("per_pixel", [False, True])
def test_a_batch_is_augmented_as_each_picture_would_be(per_pixel: bool) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20, 9, 9, 3), dtype=np.uint8)
    shape = (9, 9, 3) if per_pixel else (3,)
    mean = random.uniform(100, 150, shape).astype(np.float32)
    std = np.array([50, 60, 70], np.float32)
    rows = np.array([3, 17, 0, 5, 19, 4])
    how = Preprocessing(9, 9, mean, std)
    view = augmented_batch(torch.from_numpy(images), rows, Augmentation(pad=2), how, seed=4, epoch=1)
    uniforms = uniform(4, 1, rows, 3)
    for got, row, (u, v, w) in zip(view, rows, uniforms, strict=True):
        # the crop of the mirrored, padded picture starts where the mirrored column order says
        top, left = int(u * 5), int(v * 5)
        shifted = _slow_view(images[row], 2, top, left, False, mean, std)
        expected = shifted[:, ::-1] if w < 0.5 else shifted
        np.testing.assert_allclose(got.permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", [2, 5, 8])
def test_a_reflected_border_is_numpys(size: int) -> None:
    images = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    how, pad = Preprocessing(size, size, np.zeros(3, np.float32), np.ones(3, np.float32)), size - 1
    wide = np.pad(images[0].numpy(), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
    augmentation = Augmentation(flip=False, pad=pad, border="reflected")
    for epoch in range(20):
        crop = augmented_batch(images, np.array([0]), augmentation, how, 0, epoch)[0].permute(1, 2, 0).numpy()
        places = [(y, x) for y in range(2 * pad + 1) for x in range(2 * pad + 1)]
        assert any(np.array_equal(crop, wide[y : y + size, x : x + size]) for y, x in places)


BORDERS = st.sampled_from(["zero", "reflected"])


@needs_a_compiler
@given(
    SEEDS,
    st.integers(1, 12),
    st.integers(0, 14),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 15),
    BORDERS,
)
@settings(max_examples=80, deadline=None)
def test_compiled_crops_are_torchs_to_the_last_bit(
    seed: int,
    size: int,
    pad: int,
    threads: int,
    flip: bool,
    cut: int,
    border: Literal["zero", "reflected"],
) -> None:
    augmentation = Augmentation(flip=flip, pad=pad, cut=cut, border=border)
    random = np.random.default_rng(seed)
    images = torch.from_numpy(random.integers(0, 256, (7, size, size, 3), dtype=np.uint8))
    mean, std = random.uniform(100, 150, 3).astype(np.float32), random.uniform(40, 70, 3).astype(np.float32)
    rows, how = random.integers(0, 7, 9), Preprocessing(size, size, mean, std)
    with threads_used(threads):
        compiled = augmented_batch(images, rows, augmentation, how, seed, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment.crops, "applies", lambda images: False)
        by_torch = augmented_batch(images, rows, augmentation, how, seed, 1)
    assert torch.equal(compiled, by_torch)
    assert compiled.is_contiguous(memory_format=torch.channels_last)


@needs_a_compiler
def test_a_row_that_no_picture_has_is_never_read() -> None:
    images, whole = torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.long)
    how = whole, whole[0], torch.zeros(256, 3), None, 0
    with pytest.raises(AssertionError, match="no picture"):
        augment.crops.cropped(images, torch.tensor([0, 2]), *how, reflects=False)


def test_a_batch_is_channels_last_and_untouched_by_no_augmentation() -> None:
    images = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)
    how = Preprocessing(8, 8, np.zeros(3, np.float32), np.ones(3, np.float32))
    view = augmented_batch(images, np.arange(5), Augmentation(flip=False, pad=0), how, seed=0, epoch=0)
    assert view.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(view, normalise(images, how))


def test_flips_and_shifts_are_as_frequent_as_they_should_be() -> None:
    ramp = np.zeros((1, 8, 8, 3), np.uint8)
    ramp[0, :, :4] = 255
    how = Preprocessing(8, 8, np.zeros(3, np.float32), np.full(3, 255, np.float32))
    images = torch.from_numpy(np.repeat(ramp, 4000, axis=0))
    view = augmented_batch(images, np.arange(4000), Augmentation(pad=0), how, seed=1, epoch=0)
    mirrored = float(view[:, 0, 0, 7].mean())
    assert mirrored == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


@given(st.integers(1, 70), st.integers(1, 70), SEEDS)
@settings(max_examples=60, deadline=None)
def test_any_large_picture_gives_a_view_of_the_right_size(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    uniforms = uniform(seed, 0, np.array([0]), 11)[0]
    for augmentation in (Augmentation(area=(0.1, 1.0)), Augmentation(shorter_side=(20, 40))):
        view = augmented_picture(pixels, "", 16, augmentation, uniforms[:5])
        assert (view.shape, view.dtype) == ((16, 16, 3), np.uint8)


def test_a_crop_of_the_whole_area_is_an_ordinary_resize() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    uniforms = np.array([0.0, 0.5, 0.3, 0.3, 0.9])  # aspect 1, no mirror
    view = augmented_picture(pixels, "", 16, Augmentation(area=(1.0, 1.0)), uniforms)
    expected = np.asarray(Image.fromarray(pixels).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(view.astype(int) - expected).max() <= 1


def test_colour_noise_has_the_papers_spread() -> None:
    uniforms = uniform(0, 0, np.arange(20_000), 6)
    shifts = np.stack([colour_shift(row) for row in uniforms])
    assert abs(shifts.mean(0)).max() < 0.2
    # the first component dominates: 0.1 · 0.2175 · 255 along (-0.57, -0.58, -0.58)
    np.testing.assert_allclose(shifts.std(0), 255 * 0.1 * 0.2175 * np.array([0.574, 0.581, 0.584]), rtol=0.03)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_mean_and_spread_equal_numpys(per_pixel: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1500, 5, 5, 3), dtype=np.uint8)
    recipe = Recipe(
        name="x",
        iterations=1,
        batch_size=2,
        schedule=OneCycle(peak=1, climb=0.5),
        augmentation=Augmentation(),
        mean="per-pixel" if per_pixel else "per-channel",
    )
    how = measure(images, 5, 5, recipe)
    np.testing.assert_allclose(how.mean, images.mean(0) if per_pixel else images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(how.std, images.std((0, 1, 2)), rtol=1e-6)
    view = normalise(torch.from_numpy(images), how)
    assert view.shape == (1500, 3, 5, 5)
    assert abs(float(view.mean())) < 1e-4


def test_alternating_flips_show_every_picture_both_ways_in_two_epochs() -> None:
    images = torch.randint(0, 256, (200, 8, 8, 3), dtype=torch.uint8)
    how = Preprocessing(8, 8, np.zeros(3, np.float32), np.ones(3, np.float32))
    rows, alternating = np.arange(200), Augmentation(pad=0, alternating=True)
    first, second, third = (augmented_batch(images, rows, alternating, how, 4, epoch) for epoch in range(3))
    torch.testing.assert_close(first.flip(3), second, rtol=0, atol=0)
    torch.testing.assert_close(first, third, rtol=0, atol=0)
    mirrored = (first != normalise(images, how)).flatten(1).any(1).float().mean()
    assert 0.3 < float(mirrored) < 0.7
    never = augmented_batch(images, rows, Augmentation(flip=False, pad=0, alternating=True), how, 4, 0)
    torch.testing.assert_close(never, normalise(images, how), rtol=0, atol=0)


def test_a_cut_is_one_square_of_zeros_that_moves_from_picture_to_picture() -> None:
    images = torch.full((300, 16, 16, 3), 200, dtype=torch.uint8)
    how = Preprocessing(16, 16, np.zeros(3, np.float32), np.ones(3, np.float32))
    view = augmented_batch(images, np.arange(300), Augmentation(pad=0, cut=5), how, seed=1, epoch=0)
    zero = view == 0
    assert (zero[:, :1] == zero).all()  # all colours together
    tall, wide = zero[:, 0].any(2).sum(1), zero[:, 0].any(1).sum(1)
    torch.testing.assert_close(tall * wide, zero[:, 0].flatten(1).sum(1))  # a rectangle
    assert int(tall.max()) == int(wide.max()) == 5
    assert int(tall.min()) >= 3  # the centre never lies outside
    corners = {tuple(map(int, one.nonzero()[0])) for one in zero[:, 0]}
    assert len(corners) > 60
