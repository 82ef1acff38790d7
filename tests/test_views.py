"""Several views of a picture, and the mean answer for them."""

import numpy as np
import pytest
import torch
from torch import nn

from residuum.choices import Views
from residuum.compute import choose_compute
from residuum.data.batches import Batch
from residuum.data.preprocess import Preprocessing, weighted
from residuum.evaluation.evaluate import probabilities, protocol

VIEWS: tuple[Views, ...] = ("single", "mirrored", "shifted", "halved")


@pytest.mark.parametrize(("views", "count"), [("single", 1), ("mirrored", 2), ("shifted", 6), ("halved", 2)])
def test_the_weights_add_up_to_one(views: Views, count: int) -> None:
    found = weighted(torch.randn(2, 3, 8, 8), views)
    assert len(found) == count
    assert sum(weight for weight, _ in found) == pytest.approx(1)
    assert all(view.shape[:2] == (2, 3) and view.shape[2:] in {(8, 8), (4, 4)} for _, view in found)


def test_a_view_at_half_the_side_is_the_mean_of_four_pixels() -> None:
    images = torch.randn(2, 3, 8, 8)
    (_, same), (_, half) = weighted(images, "halved")
    assert torch.equal(same, images)
    torch.testing.assert_close(half, images.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)))


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
    images = torch.randn(7, 3, 8, 8)
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
