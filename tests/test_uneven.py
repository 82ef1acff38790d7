"""Classes of few pictures, and classes that come later: weights in the head and in the steps, rows that stay."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from test_head import made_up
from test_tune import SPEC, pictures, start
from torch import nn

from residuum.compute import Compute
from residuum.data.labels import answered
from residuum.loading import load
from residuum.models.resnet import ResNet
from residuum.recipe import Task
from residuum.recipes.fine_tune import fine_tune
from residuum.settings import TrainSettings
from residuum.training.head import fit_head
from residuum.training.loop import Job, forward_and_backward
from residuum.training.resolve import resolve
from residuum.training.start import make_net

__all__ = ["start"]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve blue pictures, four red ones."""
    root = pictures(tmp_path_factory.mktemp("uneven") / "photographs", 12)
    for i in range(4, 12):
        (root / "red" / f"{i}.png").unlink()
    return root


# --- classes that count alike --------------------------------------------------------------------


def test_a_weighted_head_is_scikit_learns() -> None:
    x, labels = made_up([30, 6, 12], seed=0, apart=0.5)
    weights = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    head = fit_head(x, labels, 3, 0, None, weights)
    regression = LogisticRegression(C=head.strength, max_iter=10_000, tol=1e-8, class_weight="balanced")
    peer = make_pipeline(StandardScaler(), regression).fit(x.astype(np.float64), labels)
    ours = answered(x.astype(np.float64) @ head.weight.T + head.bias)
    assert np.abs(ours - peer.predict_proba(x.astype(np.float64))).max() < 1e-3
    of_each = [-np.log(head.out_of_fold[labels == k, k]).mean() for k in range(3)]
    assert head.loss == pytest.approx(np.mean(of_each))


def test_a_class_that_counts_twice_is_a_class_seen_twice() -> None:
    torch.manual_seed(0)
    net, recipe = ResNet(SPEC).eval(), fine_tune(Task(num_pictures=40, image_size=16, depth=8))
    compute = Compute(torch.device("cpu"), "float32", "contiguous", 1)
    optimizer = torch.optim.SGD(net.parameters())
    job = Job(net, net, optimizer, recipe, None, compute, 0, class_weights=torch.tensor([2.0, 1.0, 1.0]))  # type: ignore[arg-type]
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    gradients = []
    for one, rows in ((job, [0, 1, 2, 3]), (replace(job, class_weights=None), [0, 0, 1, 2, 3, 3])):
        net.zero_grad()
        loss, _, _ = forward_and_backward(one, images[rows], labels[rows])
        gradients.append([loss, *(parameter.grad for parameter in net.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "is_even"),
    [({}, True), ({"tune": "last"}, True), ({"balance": False}, False), ({"recipe": "quick"}, False),
     ({"recipe": "quick", "balance": True, "validation": 0.0}, True)],
)  # fmt: skip
def test_classes_count_alike_where_few_pictures_are_uneven_or_as_told(
    start: Path, uneven: Path, given: dict[str, Any], is_even: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = resolve(TrainSettings(str(uneven), start=str(start), **given))
    assert resolved.settings.balance is is_even
    said = capsys.readouterr().err
    assert ("the largest class has 12 pictures, the smallest 4" in said) == (is_even and "balance" not in given)
    if is_even:
        expected = compute_class_weight("balanced", classes=np.arange(2), y=resolved.data.train.labels)
        assert resolved.class_weights == pytest.approx(expected)
    else:
        assert resolved.class_weights is None


def test_classes_that_are_nearly_even_are_left_alone(start: Path, tmp_path: Path) -> None:
    root = pictures(tmp_path / "photographs", 5)
    for i in range(2, 5):
        (root / "red" / f"{i}.png").unlink()
    assert resolve(TrainSettings(str(root), start=str(start))).settings.balance is False


# --- classes that come later ---------------------------------------------------------------------


def test_the_rows_of_classes_that_stay_are_kept(start: Path, uneven: Path) -> None:
    """The starting model knows a, red and c; the pictures are blue and red."""
    resolved = resolve(TrainSettings(str(uneven), start=str(start), recipe="quick"))
    torch.manual_seed(0)
    fresh = ResNet(resolved.spec)
    net, before = make_net(resolved), load(start).net
    assert list(resolved.data.classes) == ["blue", "red"]
    for name in ("weight", "bias"):
        ours, theirs, new = (getattr(one.fc, name) for one in (net, before, fresh))
        assert torch.equal(ours[1], theirs[1])
        assert torch.equal(ours[0], new[0])


def test_the_same_classes_in_another_order_bring_their_rows(start: Path) -> None:
    known = load(start)
    resolved = SimpleNamespace(settings=SimpleNamespace(seed=0), spec=SPEC, start=known,
                               recipe=fine_tune(Task(num_pictures=4, image_size=16, depth=8)),
                               data=SimpleNamespace(classes=("c", "a", "red"), several=False))  # fmt: skip
    net = make_net(resolved)  # type: ignore[arg-type]
    assert isinstance(net.fc, nn.Linear)
    assert torch.equal(net.fc.weight, known.net.fc.weight[[2, 0, 1]])
