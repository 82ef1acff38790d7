"""The judgement against scikit-learn, scipy and a slow reading of the formulas; intervals by simulation."""

import json
import math
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_up_records import as_file, evaluation
from msgspec import structs
from numpy.typing import NDArray

from residuum.errors import UserError
from residuum.evaluation.metrics import _ece, confusion_matrix, judge
from residuum.evaluation.shares import bin_of, reflected
from residuum.records.evaluation import Measure, which_to_quote
from residuum.records.numbers import mcnemar, wilson

Floats = NDArray[np.float64]
few_resamples = mock.patch("residuum.evaluation.metrics.RESAMPLES", 100)  # where their number is of no account
rough = mock.patch("residuum.evaluation.metrics.RESAMPLES", 300)  # their intervals hold the truth a little less often
SIZES = [(1, 2), (7, 3), (60, 5), (200, 6), (400, 10), (300, 40)]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """scikit-learn's metrics, imported where they are asked for: with SciPy that takes a second."""
    from sklearn import metrics

    return metrics


def answers(N: int, K: int, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Return random probabilities without ties, right more often than chance, and labels."""
    random = np.random.Generator(np.random.Philox(seed))
    labels = random.integers(K, size=N)
    logits = random.standard_normal((N, K)) * 2
    logits[np.arange(N), labels] += 2
    return softmax(logits), labels


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def judged(probabilities, labels, **options):
    names = [f"class {k}" for k in range(probabilities.shape[1])]
    return as_file(judge(probabilities, labels, names, split="test", protocol="one crop", **options))


def figures(judgement):
    """Return every figure that carries an interval."""
    whole = [judgement[name] for name in ("top1", "top5", "macro_f1", "ece") if judgement[name] is not None]
    return whole + [row[name] for row in judgement["per_class"] for name in ("precision", "recall", "f1") if row[name]]


# --- against what others wrote -----------------------------------------------------------------


@pytest.mark.parametrize(("N", "K"), SIZES)
def test_confusion_and_classes_agree_with_scikit_learn(N, K, reference):
    probabilities, labels = answers(N, K)
    predicted, every = probabilities.argmax(axis=1), list(range(K))
    ours = judged(probabilities, labels)
    assert ours["confusion"] == reference.confusion_matrix(labels, predicted, labels=every).tolist()
    theirs = reference.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    for name, column in zip(("precision", "recall", "f1"), theirs[:3], strict=True):  # of nothing both say 0
        found = [row[name]["value"] if row[name] else 0.0 for row in ours["per_class"]]
        assert found == pytest.approx(column, abs=1e-9)
    assert [row["images"] for row in ours["per_class"]] == theirs[3].tolist()


@pytest.mark.parametrize(("N", "K"), SIZES)
def test_the_whole_agrees_with_scikit_learn(N, K, reference):
    probabilities, labels = answers(N, K)
    predicted, every = probabilities.argmax(axis=1), list(range(K))
    ours = judged(probabilities, labels)
    macro = reference.f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert ours["top1"]["value"] == pytest.approx(reference.accuracy_score(labels, predicted), abs=1e-9)
    assert ours["macro_f1"]["value"] == pytest.approx(macro, abs=1e-9)
    assert ours["loss"] == pytest.approx(reference.log_loss(labels, probabilities, labels=every), abs=1e-9)
    if K > 5:
        top5 = reference.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
        assert ours["top5"]["value"] == pytest.approx(top5, abs=1e-9)
    else:
        assert ours["top5"] is None


def test_classes_that_never_occur_do_not_lower_the_macro_mean(reference):
    probabilities, labels = answers(12, 40)
    predicted = probabilities.argmax(axis=1)
    assert len(set(labels) | set(predicted)) < 40
    assert set(predicted) - set(labels), "else nothing is told apart"
    theirs = reference.f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert judged(probabilities, labels)["macro_f1"]["value"] == pytest.approx(theirs, abs=1e-9)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_wilson_agrees_with_scipy(one, other):
    from scipy.stats import binomtest

    successes, trials = min(one, other), max(one, other, 1)
    theirs = binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_scipy(one, other):
    from scipy.stats import binomtest

    theirs = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(theirs, rel=1e-9)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def slow_ece(confidence, correct) -> float:
    """Read eq. 3 of Guo et al. 2017 aloud, one image at a time."""
    total = 0.0
    for b in range(15):
        inside = [i for i, c in enumerate(confidence) if (b / 15 < c or b == 0) and c <= (b + 1) / 15]
        if inside:
            accuracy = sum(bool(correct[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


CONFIDENCES = st.floats(0, 1) | st.sampled_from([b / 15 for b in range(16)])


@given(st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60))
def test_ece_agrees_with_a_slow_reading(pairs):
    confidence, correct = np.array([c for c, _ in pairs]), np.array([right for _, right in pairs])
    gaps = correct - confidence.astype(np.float64)
    assert _ece(bin_of(confidence)[None], gaps[None]) == pytest.approx(slow_ece(confidence, correct), abs=1e-9)


def test_a_bin_holds_its_upper_edge_in_single_precision_too():
    # float32(0.2) lies above 3/15 as a float64, yet K = 5 equal answers belong to the third bin.
    for kind in (np.float32, np.float64):
        bins = judged(np.full((4, 5), 0.2, kind), np.array([0, 1, 2, 3]))["calibration"]
        assert [b["count"] for b in bins] == [0, 0, 4] + [0] * 12


def test_calibration_bins_add_up_to_ece():
    probabilities, labels = answers(500, 10)
    ours = judged(probabilities, labels)
    full = [b for b in ours["calibration"] if b["count"]]
    gap = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in full) / 500
    assert gap == pytest.approx(ours["ece"]["value"], abs=1e-9)
    assert sum(b["count"] for b in full) == 500
    assert all(b["low"] < b["confidence"] <= b["high"] for b in full)
    empty = [b for b in ours["calibration"] if not b["count"]]
    assert empty
    assert all(b["confidence"] is None and b["accuracy"] is None for b in empty)


# --- what theory promises ----------------------------------------------------------------------


@st.composite
def tied_answers(draw):
    """Small probabilities with many ties and zeros, and labels."""
    K, N = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    weights = draw(st.lists(st.lists(st.integers(0, 3), min_size=K, max_size=K), min_size=N, max_size=N))
    table = np.array(weights, np.float64)
    table[table.sum(axis=1) == 0] = 1
    labels = draw(st.lists(st.integers(0, K - 1), min_size=N, max_size=N))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return (table / table.sum(axis=1, keepdims=True)).astype(kind), np.array(labels)


@few_resamples
@settings(max_examples=40, deadline=None)
@given(tied_answers())
def test_every_value_lies_in_its_interval_and_in_0_to_1(case):
    ours = judged(*case)
    for figure in figures(ours):
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert math.isfinite(ours["loss"])
    assert ours["loss"] >= 0
    assert json.loads(json.dumps(ours, allow_nan=False)) == ours


def test_a_figure_lies_in_its_interval_even_when_all_resamples_are_on_one_side():
    # As for the ECE of a well-calibrated model, which resampling only raises.
    assert as_file(reflected(0.01, np.linspace(0.02, 0.05, 100))) == {"value": 0.01, "low": 0, "high": 0.01}
    assert as_file(reflected(0.99, np.linspace(0.95, 0.98, 100))) == {"value": 0.99, "low": 0.99, "high": 1}


def test_rounding_above_1_is_no_confidence_above_1():
    ours = judged(np.array([[1.0000002, 0]], np.float32), np.array([0]))
    assert ours["calibration"][-1]["confidence"] == 1
    assert ours["ece"]["value"] == 0
    assert ours["loss"] == 0


@few_resamples
@settings(max_examples=25, deadline=None)
@given(tied_answers(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_changes_nothing(case, random):
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    assert judged(probabilities, labels) == judged(probabilities[order], labels[order])


@few_resamples
@settings(max_examples=25, deadline=None)
@given(tied_answers())
def test_top1_is_the_share_on_the_diagonal(case):
    ours = judged(*case)
    assert ours["top1"]["value"] == pytest.approx(np.trace(np.array(ours["confusion"])) / ours["images"])


def test_the_seed_alone_decides_the_bootstrap():
    probabilities, labels = confident(300, 0.15, np.random.Generator(np.random.Philox(0)))
    first = judged(probabilities, labels, seed=1)
    assert judged(probabilities, labels, seed=1) == first
    other = judged(probabilities, labels, seed=2)
    assert other["ece"]["high"] != first["ece"]["high"]


def test_the_perfect_predictor():
    labels = np.arange(70) % 7
    ours = judged(np.eye(7, dtype=np.float32)[labels], labels)
    assert [f["value"] for f in figures(ours)] == [1.0] * 3 + [0.0] + [1.0] * 21  # ECE is the 0
    assert [f["high"] for f in figures(ours)] == [1.0] * 3 + [0.0] + [1.0] * 21
    assert ours["loss"] == 0
    assert ours["per_class"][0]["recall"]["low"] < ours["top1"]["low"] < 1
    assert ours["per_class"][0]["f1"]["low"] < 1


def test_the_constant_predictor_is_not_flattered():
    labels = np.arange(100)
    ours = judged(np.full((100, 100), 0.01), labels)
    assert ours["top1"]["value"] == 0.01
    assert ours["top5"]["value"] == 0.05
    assert ours["loss"] == pytest.approx(math.log(100))
    assert ours["ece"]["value"] == pytest.approx(0, abs=1e-12)
    assert np.array(ours["confusion"])[:, 0].tolist() == [1] * 100
    assert ours["per_class"][1]["precision"] is None  # it was never called


def test_ties_go_to_the_lower_number():
    tied = np.array([[0.0, 0.25, 0.25, 0.25, 0.25, 0.0, 0.0]])
    assert judged(tied, np.array([1]))["top1"]["value"] == 1
    assert judged(tied, np.array([2]))["top1"]["value"] == 0
    # Four likelier classes, then class 0 ahead of 5 and 6 among the zeros.
    assert [judged(tied, np.array([k]))["top5"]["value"] for k in (0, 4, 5, 6)] == [1, 1, 0, 0]


def test_a_class_of_which_nothing_is_known():
    ours = judged(np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]]), np.array([0, 0]))["per_class"][2]
    assert ours == {"name": "class 2", "images": 0, "precision": None, "recall": None, "f1": None}


def test_a_class_without_images_that_was_called_is_not_known_to_fail():
    wrong = judge(np.array([[0.1, 0.2, 0.7], [0.3, 0.7, 0.0]]), np.array([0, 1]), list("abc"), split="t", protocol="")
    assert (wrong.unasked, wrong.asked) == (("c",), "2 of 3 classes")
    a, b, c = wrong.per_class
    assert (c.known("recall"), c.known("f1")) == (None, None)
    assert c.known("precision") == c.precision  # the one picture called so is none: that is known
    assert a.known("precision") is None
    assert a.known("f1") == a.f1
    assert a.f1.value == 0
    assert b.known("f1").value == 1
    assert wrong.macro_f1.value == 0.5


@rough
def test_the_macro_f1_interval_over_the_classes_asked_holds_the_truth():
    """Two classes are asked, and a third is answered now and then: F1 is 2 · 0.8 / (1 + 0.8 + 0.1) for both."""
    random = np.random.Generator(np.random.Philox(11))
    found = []
    for i in range(60):
        labels = random.integers(2, size=150)
        luck = random.random(150)
        predicted = np.where(luck < 0.8, labels, np.where(luck < 0.9, 1 - labels, 2))
        found.append(judged(np.eye(3)[predicted], labels, seed=i)["macro_f1"])
    assert coverage(1.6 / 1.9, [(each["low"], each["high"]) for each in found]) > 0.88
    assert np.mean([each["high"] - each["low"] for each in found]) < 0.16


def test_impossible_by_the_model_yet_true_costs_much_but_not_infinity():
    for kind in (np.float32, np.float64):
        ours = judged(np.array([[1, 0], [1, 0]], kind), np.array([0, 1]))
        assert ours["loss"] == pytest.approx(87.3365 / 2, abs=1e-3)


def test_single_and_double_precision_agree():
    probabilities, labels = answers(300, 10)
    single, double = judged(probabilities.astype(np.float32), labels), judged(probabilities, labels)
    assert single["confusion"] == double["confusion"]
    assert single["loss"] == pytest.approx(double["loss"], abs=1e-6)
    assert single["ece"]["value"] == pytest.approx(double["ece"]["value"], abs=1e-6)


def test_head_of_the_judgement():
    probabilities, labels = answers(9, 3)
    ours = judge(probabilities, labels, ["a", "b", "c"], split="validation", protocol="ten crops")
    assert (ours.split, ours.protocol, ours.images) == ("validation", "ten crops", 9)
    assert [row.name for row in ours.per_class] == ["a", "b", "c"]
    assert list(as_file(ours)) == [
        *("split", "protocol", "images", "top1", "top5", "macro_f1", "ece"),
        *("loss", "per_class", "confusion", "calibration"),
    ]


# --- are the intervals right? ------------------------------------------------------------------


def coverage(true: float, intervals: list[tuple[float, float]]) -> float:
    return sum(low <= true <= high for low, high in intervals) / len(intervals)


def confident(N: int, overconfidence: float, random: np.random.Generator):
    """Return two-class answers that are right with the probability they state, less `overconfidence`."""
    confidence = 0.5 + random.beta(3, 1, N) / 2
    right = random.random(N) < confidence - overconfidence
    return np.stack([confidence, 1 - confidence], axis=1), np.where(right, 0, 1)


@rough
@pytest.mark.parametrize("overconfidence", [0.04, 0.15])
def test_ece_intervals_hold_the_truth(overconfidence):
    # The gap is the same in every bin, so the true ECE is the overconfidence itself.
    random = np.random.Generator(np.random.Philox(5))
    found = [judged(*confident(300, overconfidence, random), seed=i)["ece"] for i in range(60)]
    assert coverage(overconfidence, [(f["low"], f["high"]) for f in found]) > 0.78
    assert np.mean([f["high"] - f["low"] for f in found]) < 0.15


@rough
def test_plain_percentiles_would_miss_a_small_ece():
    """Why the ECE interval is reflected: unreflected, nearly none hold the truth."""
    random = np.random.Generator(np.random.Philox(6))
    found = [judged(*confident(300, 0.01, random), seed=i)["ece"] for i in range(60)]
    assert np.mean([2 * each["value"] - each["high"] > 0.01 for each in found]) > 0.8, "their lower end lies above it"
    assert coverage(0.01, [(each["low"], each["high"]) for each in found]) > 0.9


@rough
def test_what_luck_adds_to_the_ece_is_what_a_calibrated_net_shows():
    random = np.random.Generator(np.random.Philox(8))
    drawn = [confident(150, 0.0, random) for _ in range(60)]
    found = [judge(*each, ["one", "two"], split="test", protocol="") for each in drawn]
    by_luck = [each.ece_by_chance for each in found]
    assert np.mean([each.ece.value for each in found]) == pytest.approx(np.mean(by_luck), rel=0.1)
    assert coverage(0.0, [(each.ece.low, each.ece.high) for each in found]) > 0.95


@rough
def test_the_macro_f1_interval_of_few_mistakes_holds_the_truth():
    """Ten classes, one picture in 90 wrong: percentiles, reflected or not, hold it two times in three."""
    random = np.random.Generator(np.random.Philox(9))
    found = []
    for i in range(60):
        labels = random.integers(10, size=360)
        predicted = np.where(random.random(360) < 1 / 90, (labels + random.integers(1, 10, size=360)) % 10, labels)
        found.append(judged(np.eye(10)[predicted], labels, seed=i)["macro_f1"])
    assert coverage(1 - 1 / 90, [(each["low"], each["high"]) for each in found]) > 0.9
    assert judged(np.eye(10), np.arange(10))["macro_f1"]["low"] == pytest.approx(wilson(10, 10)[0])


@rough
@pytest.mark.parametrize(("N", "K", "least"), [(150, 3, 0.88), (600, 40, 0.85)])
def test_f1_intervals_hold_the_truth(N, K, least):
    random = np.random.Generator(np.random.Philox(7))
    joint = random.random((K, K))
    joint[np.diag_indices(K)] = (K - 1) * (0.5 + 2 * random.random(K))
    joint /= joint.sum()
    true = 2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))
    macro, single = [], []
    for i in range(80):
        labels, predicted = np.divmod(random.choice(K * K, size=N, p=joint.ravel()), K)
        ours = judged(np.eye(K)[predicted], labels, seed=i)
        macro.append((ours["macro_f1"]["low"], ours["macro_f1"]["high"]))
        single.append((ours["per_class"][0]["f1"]["low"], ours["per_class"][0]["f1"]["high"]))
    assert coverage(float(true.mean()), macro) >= least
    assert coverage(float(true[0]), single) >= 0.88
    assert np.mean([high - low for low, high in macro]) < 0.2


# --- what is refused ---------------------------------------------------------------------------


def test_no_images():
    with pytest.raises(UserError, match="no images"):
        judged(np.empty((0, 3)), np.empty(0, np.int64))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(bad):
    probabilities, labels = answers(5, 3)
    probabilities[[1, 4], 2] = bad
    with pytest.raises(UserError, match="2 of 5 images"):
        judged(probabilities, labels)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range(label):
    probabilities, labels = answers(5, 3)
    labels[2] = label
    with pytest.raises(UserError, match="there are 3 classes"):
        judged(probabilities, labels)


def test_our_own_slips():
    probabilities, labels = answers(5, 3)
    with pytest.raises(AssertionError, match="not"):
        judge(probabilities, labels, ["a", "b"], split="test", protocol="one crop")
    with pytest.raises(AssertionError, match="not"):
        judged(probabilities, labels[:4])
    with pytest.raises(AssertionError, match="not probabilities"):
        judged(np.log(probabilities), labels)
    with pytest.raises(AssertionError, match="add up to 1"):
        judged(2 * probabilities, labels)


def test_confusion_matrix_keeps_unseen_classes():
    table = confusion_matrix(np.array([0, 1, 1]), np.array([1, 1, 0]), 3)
    assert table.tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_one_image_of_the_one_class():
    ours = judged(np.ones((1, 1), np.float32), np.array([0]))
    assert (ours["top1"]["value"], ours["top5"], ours["loss"]) == (1, None, 0)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_two_accuracies_differ_where_the_test_of_homogeneity_says_so(n: int, m: int, one: float, other: float) -> None:
    """Pearson's χ² of the 2×2 table, by SciPy."""
    from scipy.stats import chi2_contingency  # only here: it takes a second

    right, also = round(n * one), round(m * other)
    found, folds = (
        structs.replace(
            evaluation(split="validation", images=images), top1=Measure(value=k / images, low=0.0, high=1.0)
        )
        for k, images in ((right, n), (also, m))
    )
    table = [[right, n - right], [also, m - also]]
    are_all_alike = 0 in (right + also, n + m - right - also)
    p = 1.0 if are_all_alike else chi2_contingency(table, correction=False).pvalue
    assume(abs(p - 0.05) > 1e-6)
    assert ("more than luck" in which_to_quote(found, folds)) == (p < 0.05)
