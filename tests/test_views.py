"""Several views of a picture, and the mean answer for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from residuum.choices import Views
from residuum.compute import choose_compute
from residuum.data.batches import Batch
from residuum.data.preprocess import Preprocessing, weighted, whole_side
from residuum.evaluation.evaluate import probabilities, protocol

VIEWS: tuple[Views, ...] = ("single", "mirrored", "shifted", "halved", "middle")


@pytest.mark.parametrize(
    ("views", "count"), [("single", 1), ("mirrored", 2), ("shifted", 6), ("halved", 2), ("middle", 4)]
)
def test_the_weights_add_up_to_one(views: Views, count: int) -> None:
    found = weighted(torch.randn(2, 3, 12, 12), views)
    assert len(found) == count
    assert sum(weight for weight, _ in found) == pytest.approx(1)
    assert all(view.shape[:2] == (2, 3) and view.shape[2:] in {(12, 12), (8, 8), (6, 6), (4, 4)} for _, view in found)


def test_a_view_at_half_the_side_is_the_mean_of_four_pixels() -> None:
    images = torch.randn(2, 3, 8, 8)
    (_, same), (_, half) = weighted(images, "halved")
    assert torch.equal(same, images)
    torch.testing.assert_close(half, images.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)))


def test_the_picture_at_two_thirds_and_its_middle_are_seen_and_both_at_half_of_that() -> None:
    """Three pixels become two: each is the mean of one and a half, as `interpolate` has it of twice as many."""
    images = torch.randn(2, 3, 9, 9).contiguous(memory_format=torch.channels_last)
    (_, whole), (_, middle), *halved = weighted(images, "middle")
    fine = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(whole, interpolate(fine, (6, 6), mode="area"))
    torch.testing.assert_close(whole.mean((2, 3)), images.mean((2, 3)))
    assert torch.equal(middle, images[:, :, 1:7, 1:7])
    for (_, half), each in zip(halved, (whole, middle), strict=True):
        torch.testing.assert_close(half, interpolate(each, scale_factor=0.5, mode="area"))


@pytest.mark.parametrize("side", range(3, 13))
def test_views_of_any_side_are_as_large_as_is_said(side: int) -> None:
    """Of a side that cannot be divided by three the last pixels are not seen at two thirds."""
    how = Preprocessing(side, side, np.zeros(3, np.float32), np.ones(3, np.float32), views="middle")
    shown = [view for _, view in weighted(torch.randn(1, 3, side, side), "middle")]
    assert [view.shape[2] for view in shown] == [whole_side(how)] * 2 + [whole_side(how) // 2] * 2
    assert all(view.shape[2] == view.shape[3] for view in shown)
    assert whole_side(replace(how, views="halved")) == side


def test_shifted_views_move_by_a_pixel_each_way_and_are_mirrored() -> None:
    images = torch.randn(2, 3, 8, 8)
    (_, same), (_, mirrored), (_, up_left), (_, its_mirror), (_, down_right), _ = weighted(images, "shifted")
    assert torch.equal(same, images)
    assert torch.equal(mirrored, images.flip(3))
    assert torch.equal(up_left[:, :, :-1, :-1], images[:, :, 1:, 1:])
    assert torch.equal(its_mirror, up_left.flip(3))
    assert torch.equal(down_right[:, :, 1:, 1:], images[:, :, :-1, :-1])
    assert torch.equal(up_left[:, :, -1, 0], images[:, :, -2, 1])  # reflected, the border pixel not repeated


@pytest.mark.parametrize("views", VIEWS)
def test_answers_are_the_softmax_of_the_weighted_mean(views: Views) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    net.eval()
    images = torch.randn(7, 3, 12, 12)
    batch = Batch(images, torch.zeros(7, dtype=torch.long), np.arange(7), 0)
    compute = choose_compute("cpu", "float32")
    mean = sum(weight * net(view) for weight, view in weighted(images, views))
    assert isinstance(mean, torch.Tensor)
    expected = torch.softmax(mean, 1).detach().numpy()
    np.testing.assert_allclose(probabilities(net, [batch], compute, views), expected, rtol=1e-5, atol=1e-7)


def test_the_protocol_says_the_views() -> None:
    shown = Preprocessing(32, 32, np.zeros(3, np.float32), np.ones(3, np.float32))
    assert protocol(shown) == "single view, 32×32"
    assert "moved by a pixel" in protocol(shown, views="shifted")
