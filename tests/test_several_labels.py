"""Several labels a picture: figures against scikit-learn's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)
from sklearn.preprocessing import StandardScaler

from residuum.data.labels import answered, counts, is_right, shown_by, told
from residuum.errors import UserError
from residuum.evaluation.metrics import judge, mean_loss
from residuum.evaluation.temperature import fit_temperature, tempered
from residuum.models.answers import several_right
from residuum.recipe import Task
from residuum.recipes.named import RECIPES
from residuum.training.head import fit_head, fit_with, folds
from residuum.training.loss import learnt_by
from residuum.training.loss import mean_loss as mean_loss_of_step

CLASSES = ("ants", "bees", "flower", "hive")


def answers(n: int, seed: int, levels: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return (n, 4) answers, better than chance, in `levels` distinct values if any, and what the pictures show."""
    draws = np.random.default_rng(seed)
    truth = (draws.random((n, 4)) < [0.5, 0.3, 0.1, 0.6]).astype(np.uint8)
    p = 1 / (1 + np.exp(-(draws.normal(size=(n, 4)) + 2 * truth - 1)))
    return (np.round(p * levels) / levels if levels else p).astype(np.float32), truth


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(0, 10**6), st.sampled_from([0, 3, 10]))
def test_the_figures_are_scikit_learns(n: int, seed: int, levels: int) -> None:
    p, truth = answers(n, seed, levels)
    truth[0, 0] = 1
    found = judge(p, truth, CLASSES, split="test", protocol="")
    called, shown = p >= 0.5, truth.any(axis=0)
    expected = average_precision_score(truth[:, shown], p[:, shown], average=None)
    own = np.array([one.average_precision for one in found.per_class], float)
    assert own[shown] == pytest.approx(np.atleast_1d(expected), abs=1e-6)
    assert np.isnan(own[~shown]).all()
    assert found.mean_ap is not None
    assert found.mean_ap.value == pytest.approx(np.mean(expected), abs=1e-6)
    assert found.mean_ap.low <= found.mean_ap.value <= found.mean_ap.high
    precision, recall, f1, _ = precision_recall_fscore_support(truth, called, zero_division=0)
    for k, one in enumerate(found.per_class):
        assert one.images == truth[:, k].sum()
        own = [measure.value if measure else 0.0 for measure in (one.precision, one.recall, one.f1)]
        assert own == pytest.approx([precision[k], recall[k], f1[k] if one.images else 0.0])
    for one in found.by_threshold:
        precision, recall, _, _ = precision_recall_fscore_support(truth, p >= one.call_from, zero_division=0)
        assert np.array(one.hits) / np.maximum(one.called, 1) == pytest.approx(precision)
        assert np.array(one.hits) / np.maximum(truth.sum(axis=0), 1) == pytest.approx(recall)
    assert found.macro_f1.value == pytest.approx(f1[shown].mean())
    each = [
        log_loss(truth[:, k], np.clip(p[:, k].astype(np.float64), 2.0**-25, 1 - 2.0**-25), labels=[0, 1])
        for k in range(4)
    ]
    assert found.loss == pytest.approx(np.mean(each), rel=1e-4)
    right = [truth[i, p[i].argmax()] if truth[i].any() else p[i].max() < 0.5 for i in range(n)]
    assert found.top1.value == pytest.approx(np.mean(right))
    hits = several_right(torch.from_numpy(p).logit(), torch.from_numpy(truth))
    assert int(hits) == sum(right)


def test_labels_may_be_called_from_another_probability_on() -> None:
    p, truth = answers(40, 3)
    found = judge(p, truth, CLASSES, split="test", protocol="", call_from=0.2)
    assert found.call_from == 0.2
    assert [one.recall and one.recall.value for one in found.per_class] == pytest.approx(
        recall_score(truth, p >= 0.2, average=None)
    )
    same = next(one for one in found.by_threshold if one.call_from == 0.2)
    assert list(same.hits) == [row[k] for k, row in enumerate(found.confusion)]
    usual = judge(p, truth, CLASSES, split="test", protocol="")
    assert (usual.mean_ap, usual.loss, usual.by_threshold) == (found.mean_ap, found.loss, found.by_threshold)


def test_the_order_of_the_images_changes_nothing() -> None:
    p, truth = answers(200, 1, levels=20)
    found = judge(p, truth, CLASSES, split="test", protocol="")
    mixed = np.random.default_rng(2).permutation(200)
    assert judge(p[mixed], truth[mixed], CLASSES, split="test", protocol="") == found


def test_what_is_called_beside_the_truth() -> None:
    truth = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], np.uint8)
    p = np.array([[0.9, 0.6, 0.5, 0.1], [0.4, 0.9, 0.2, 0.8], [0.7, 0.1, 0.1, 0.1]], np.float32)
    found = judge(p, truth, CLASSES, split="test", protocol="")
    assert found.confusion == ((1, 1, 0, 1), (0, 1, 0, 1), (0, 1, 1, 0), (0, 0, 0, 0))
    assert found.top1.value == pytest.approx(2 / 3)
    assert found.commonest == ("ants", pytest.approx(2 / 3))
    assert found.per_class[3].average_precision is None
    assert sum(one.count for one in found.calibration) == truth.size


def test_calibration_errors_are_those_of_all_answers() -> None:
    p, truth = answers(300, 3)
    found = judge(p, truth, CLASSES, split="test", protocol="")
    by_bins = sum(abs(one.count * (one.accuracy - one.confidence)) for one in found.calibration if one.count)
    assert found.ece.value == pytest.approx(by_bins / truth.size, abs=1e-6)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Of 100 samples of 150 pictures the interval of the mean average precision holds that of 40,000 in most."""
    p, truth = answers(40_000, 4)
    whole = float(np.mean(average_precision_score(truth, p, average=None)))
    held = 0
    for start in range(0, 15_000, 150):
        found = judge(p[start : start + 150], truth[start : start + 150], CLASSES, split="", protocol="").mean_ap
        assert found is not None
        held += found.low <= whole <= found.high
    assert held >= 88


def test_nothing_to_judge_by_is_said() -> None:
    p, truth = answers(5, 5)
    with pytest.raises(UserError, match="no labels to judge by"):
        judge(p, truth * 0, CLASSES, split="test", protocol="")
    p[0, 0] = np.nan
    truth[0, 0] = 1
    with pytest.raises(UserError, match="not a finite number for 1 of 5"):
        judge(p, truth, CLASSES, split="test", protocol="")


def test_one_or_several() -> None:
    one, several = np.array([2, 0, 2]), np.array([[0, 0, 1], [1, 0, 1], [0, 0, 0]], np.uint8)
    assert counts(one, 4).tolist() == [1, 0, 2, 0]
    assert counts(several, 3).tolist() == [1, 0, 2]
    assert shown_by(one, 1) == [0]
    assert shown_by(several, 1) == [0, 2]
    assert [told(several, row, "abc") for row in range(3)] == ["c", "a, c", "–"]
    p = np.array([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    assert is_right(p, one).tolist() == [True, False, True]
    assert is_right(p, several).tolist() == [True, False, True]
    assert is_right(p + 0.2, several).tolist() == [True, False, False]


# --- the last layer ------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [1e-3, 0.1, 10.0])
def test_the_last_layer_is_scikit_learns_of_each_class(strength: float) -> None:
    x, truth = features(60, 20, seed=6)
    weight, bias = fit_with(x, truth, 4, strength)
    z = StandardScaler().fit_transform(x)
    for k in range(4):
        own = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(z, truth[:, k])
        assert answered(x @ weight[k] + bias[k], several=True) == pytest.approx(own.predict_proba(z)[:, 1], abs=2e-4)


def test_a_class_that_none_or_all_show_has_its_frequency() -> None:
    x, truth = features(40, 5, seed=7)
    truth[:, 0], truth[:, 1] = 0, 1
    weight, bias = fit_with(x, truth, 4, 1.0)
    assert not weight[:2].any()
    assert answered(bias[:2], several=True) == pytest.approx([0.5 / 41, 40.5 / 41])


def test_the_strength_is_chosen_by_unseen_pictures() -> None:
    x, truth = features(120, 6, seed=8)
    head = fit_head(x, truth, 4, seed=0)
    assert head.out_of_fold.shape == (120, 4)
    assert head.loss == pytest.approx(mean_loss(head.out_of_fold, truth))
    shares = truth.mean(axis=0)
    assert head.loss < mean_loss(np.tile(shares, (120, 1)), truth)  # than what knows the frequencies alone
    assert roc_auc_score(truth, head.out_of_fold) > 0.75


def test_folds_hold_the_rarest_class_evenly() -> None:
    _, truth = features(100, 2, seed=9)
    which = folds(truth, seed=1)
    rare = int(truth.sum(axis=0).argmin())
    its = np.bincount(which[truth[:, rare] > 0], minlength=5)
    assert its.max() - its.min() <= 1
    assert np.bincount(which).tolist() == [20] * 5


def test_the_temperature_undoes_what_made_the_answers_too_sure() -> None:
    rng = np.random.default_rng(10)
    logits = rng.normal(size=(4000, 3))
    truth = (rng.random((4000, 3)) < answered(logits, several=True)).astype(np.uint8)
    sure = answered(3 * logits, several=True)
    T = fit_temperature(sure, truth)
    assert pytest.approx(3, rel=0.1) == T
    assert tempered(sure, T, several=True) == pytest.approx(answered(logits * 3 / T, several=True), abs=1e-6)
    assert mean_loss(tempered(sure, T, several=True), truth) < mean_loss(sure, truth)


def features(n: int, d: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return (n, d) features and what n pictures show of four classes, which the features tell."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 4, d) + 3
    towards = rng.normal(size=(d, 4)) / rng.uniform(0.5, 4, (d, 1))
    logits = (x - 3) @ towards - [0, 1, 1.5, -0.5]
    return x, (rng.random((n, 4)) < answered(logits, several=True)).astype(np.uint8)


def test_of_one_class_alone_no_is_an_answer_too() -> None:
    truth = np.array([[1], [0], [1], [0]], np.uint8)
    p = np.array([[0.9], [0.2], [0.1], [0.7]], np.float32)
    assert is_right(p, truth).tolist() == [True, True, False, False]
    assert int(several_right(torch.from_numpy(p).logit(), torch.from_numpy(truth))) == 2
    always_no = judge(np.full((4, 1), 0.01, np.float32), truth, ("ants",), split="test", protocol="")
    assert always_no.top1.value == 0.5
    assert always_no.macro_f1.value == 0


def test_a_temperature_leaves_the_order_of_unlikely_answers() -> None:
    p = np.array([[1e-12, 1e-9, 1e-10]])
    assert tempered(p, 2.0, several=True)[0].argsort().tolist() == [0, 2, 1]


@pytest.mark.parametrize("K", [1, 5, 40])
def test_gradients_do_not_shrink_with_the_number_of_classes(K: int) -> None:
    """Of one class of K, whatever K is, the loss that is learnt by has the gradient of its own binary cross-entropy."""
    logits = torch.zeros(6, K, requires_grad=True)
    labels = torch.zeros(6, K, dtype=torch.uint8)
    labels[:2, 0] = 1
    loss = mean_loss_of_step(logits, labels, None, RECIPES["quick"](Task(num_pictures=6, image_size=8, depth=8)))
    learnt_by(loss, labels).backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(np.log(2))  # what is told is the mean
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, 0], (0.5 - labels[:, 0].float()) / 6)
