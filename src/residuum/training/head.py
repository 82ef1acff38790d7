"""The last layer alone: a multinomial logistic regression on the standardised features of a frozen net; of several
labels a picture, a logistic regression for each class.

How strongly its weights are held back is chosen by the likelihood of pictures that the regression has not seen, in
five folds; the same folds give each training picture an answer from a regression that was fitted without it.

Letters: N pictures, D features, K classes.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residuum.data.labels import Labels, answered, as_kinds, is_several
from residuum.data.rng import order
from residuum.errors import Stopped, UserError
from residuum.evaluation.metrics import mean_loss
from residuum.training.signals import AskedToStop

FOLDS = 5
STRENGTHS = tuple(10.0 ** (place / 2) for place in range(-8, 5))
"""What the summed loss may weigh beside ½‖W‖² (scikit-learn's C), from the most held back to the least."""
ABSENT = -1e4
"""The bias of a class without pictures: its probability is zero."""

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Head:
    """A fitted last layer, and how it was chosen."""

    weight: Numbers  # (K, D), for features as they are
    bias: Numbers  # (K,)
    strength: float
    loss: float
    """Mean negative log-likelihood, in nats, of pictures not seen in fitting."""
    out_of_fold: Numbers
    """(N, K) probabilities of each picture from the regression that has not seen it."""


def fit_head(
    x: Numbers,
    labels: Labels,
    num_classes: int,
    seed: int,
    same: NDArray[np.int64] | None = None,
    weights: Numbers | None = None,
    asked_to_stop: AskedToStop = lambda: None,
) -> Head:
    """Fit (N, D) features to N pictures' labels; `seed` decides the folds.

    Pictures with the same number in `same`, (N,), lie in one fold. The strengths are tried from the most held back on,
    until the likelihood falls. `weights`, (K,), say what a picture of each class counts, there and in fitting.

    Raises:
        UserError: all pictures are the same.
        Stopped: a signal came.
    """
    x, which = x.astype(np.float64), folds(labels, seed, same)
    if (which == which[0]).all():
        raise UserError("the training pictures are all the same picture", "nothing can be learnt from one")
    kept = [which != fold for fold in np.unique(which)]
    regressions = [_regression(x[rows], labels[rows], num_classes, weights) for rows in kept]
    best: tuple[float, float, Numbers] | None = None
    for strength in STRENGTHS:
        answers = np.empty((len(x), num_classes))
        for rows, regression in zip(kept, regressions, strict=True):
            if (code := asked_to_stop()) is not None:
                raise Stopped("stopped while the last layer was fitted", code)
            weight, bias = regression.fitted(strength)
            answers[~rows] = answered(x[~rows] @ weight.T + bias, several=is_several(labels))
        loss = mean_loss(answers, labels, weights)
        if best is not None and loss > best[0]:
            break
        best = loss, strength, answers
    assert best is not None
    weight, bias = _regression(x, labels, num_classes, weights).fitted(best[1])
    return Head(weight, bias, best[1], best[0], best[2])


def fit_with(
    x: Numbers, labels: Labels, num_classes: int, strength: float, weights: Numbers | None = None
) -> tuple[Numbers, Numbers]:
    """Return W (K, D) and b (K,) fitted to (N, D) features and N pictures' labels at one strength."""
    return _regression(x.astype(np.float64), labels, num_classes, weights).fitted(strength)


def folds(labels: Labels, seed: int, same: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return the fold of each of the N pictures: each class is dealt out in a random order, one fold after another.

    Of several labels a picture counts as of the rarest class it shows.

    Pictures with the same number in `same`, (N,), go with the first of them.
    """
    kinds, shuffled = as_kinds(labels), order(seed, 0, len(labels))
    which = np.empty(len(labels), np.int64)
    which[shuffled[np.argsort(kinds[shuffled], kind="stable")]] = np.arange(len(labels)) % FOLDS
    if same is None:
        return which
    _, first, number = np.unique(same, return_index=True, return_inverse=True)
    return which[first[number]]


def _regression(
    x: Numbers, labels: Labels, num_classes: int, weights: Numbers | None = None
) -> "_Regression | _Regressions":
    """Return what fits some pictures, one strength after another, each from where the last ended."""
    return _Regressions(x, labels) if is_several(labels) else _Regression(x, labels, num_classes, weights)


class _Standardised:
    """(N, D) features less their mean, divided by their spread, on the axes that they span."""

    def __init__(self, x: Numbers) -> None:
        self.mean, sd = x.mean(0), x.std(0)
        self.sd = np.where(sd > 0, sd, np.inf)  # what never varies counts for nothing
        z = (x - self.mean) / self.sd
        self.axes = _axes(z) if len(z) < z.shape[1] else np.eye(z.shape[1])
        self.z = z @ self.axes

    def for_features(self, found: Numbers, shift: Numbers) -> tuple[Numbers, Numbers]:
        """Return W (K, D) and b (K,) for features as they are, from those for z."""
        weight = found @ self.axes.T / self.sd
        return weight, shift - weight @ self.mean


class _Regressions(_Standardised):
    """A logistic regression for each of K classes that (N, K) pictures show or do not.

    Of each, ½‖w‖² and C times the summed loss are least together, as scikit-learn's LogisticRegression has it; all are
    fitted at once, since they share what they are fitted to.
    """

    def __init__(self, x: Numbers, labels: Labels) -> None:
        super().__init__(x)
        self.signs = 2.0 * labels - 1  # (N, K)
        shown = labels.sum(axis=0, dtype=np.float64)
        self.prior = np.log((shown + 0.5) / (len(labels) - shown + 0.5))
        self.varies = (shown > 0) & (shown < len(labels))
        self.at = np.concatenate([np.zeros((self.z.shape[1], len(shown))), self.prior[None]])

    def fitted(self, strength: float) -> tuple[Numbers, Numbers]:
        """Return W (K, D) and b (K,) for features as they are; one that none or all show has its frequency alone."""
        from scipy.optimize import minimize  # only here: it takes a moment

        how = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-6 * strength * len(self.z)}
        least = minimize(self._loss, self.at.ravel(), strength, method="L-BFGS-B", jac=True, options=how)
        self.at = least.x.reshape(self.at.shape)
        found, shift = np.where(self.varies, self.at[:-1], 0.0), np.where(self.varies, self.at[-1], self.prior)
        return self.for_features(found.T, shift)

    def _loss(self, flat: Numbers, strength: float) -> tuple[float, Numbers]:
        """Return what is made least, and its gradient."""
        at = flat.reshape(self.at.shape)
        margins = self.signs * (self.z @ at[:-1] + at[-1])
        pulls = -strength * self.varies * self.signs * answered(-margins, several=True)
        gradient = np.concatenate([self.z.T @ pulls + at[:-1], pulls.sum(axis=0)[None]])
        summed = (self.varies * np.logaddexp(0, -margins)).sum()
        return float(strength * summed + 0.5 * (at[:-1] ** 2).sum()), gradient.ravel()


class _Regression(_Standardised):
    """Multinomial logistic regression of pictures of one class each."""

    def __init__(self, x: Numbers, labels: NDArray[np.int64], num_classes: int, weights: Numbers | None = None) -> None:
        from sklearn.linear_model import LogisticRegression  # only here: it takes a second

        super().__init__(x)
        self.labels, self.num_classes = labels, num_classes
        self.present = np.unique(labels)
        counts = None if weights is None else {label: weights[label] for label in self.present.tolist()}
        self.model = LogisticRegression(max_iter=1000, tol=1e-6, warm_start=True, class_weight=counts)

    def fitted(self, strength: float) -> tuple[Numbers, Numbers]:
        """Return W (K, D) and b (K,) for features as they are, the standardisation folded in."""
        from sklearn.exceptions import ConvergenceWarning

        weight, bias = np.zeros((self.num_classes, len(self.mean))), np.full(self.num_classes, ABSENT)
        if len(self.present) < 2:
            bias[self.present] = 0.0
            return weight, bias
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.set_params(C=strength).fit(self.z, self.labels)
        found, shift = self.model.coef_, self.model.intercept_
        if len(self.present) == 2:  # one row, for the second class against the first
            found, shift = np.concatenate([-found, found]) / 2, np.concatenate([-shift, shift]) / 2
        weight[self.present], bias[self.present] = self.for_features(found, shift)
        return weight, bias


def _axes(z: Numbers) -> Numbers:
    """Return orthonormal axes, (D, at most n), of what n < D pictures span.

    The penalty does not change when features are rotated, and fewer are fitted sooner.
    """
    squares, basis = np.linalg.eigh(z @ z.T)
    spanned = squares > 1e-10 * squares.max(initial=1e-10)
    return z.T @ (basis[:, spanned] / np.sqrt(squares[spanned]))  # type: ignore[no-any-return]
