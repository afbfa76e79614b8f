"""Conformal sets and intervals equal MAPIE's on the same arrays.

The definitions differ in three places, which the options below avoid: MAPIE draws u for the scores
of calibration whatever is asked for prediction; its RAPS scales u, beyond k_reg + 1 classes, by
another number than its scores do (`_compute_v_parameter`), so that those sets are compared that
have no more; and its CV+ sets for LAC ask that α(n − 1) rows fit no better, where the paper's
theorem takes more than α(n + 1) − 1: n and α are such that the same whole number follows.
"""

import numpy as np
import pytest
import torch
from mapie.classification import CrossConformalClassifier, SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore, ResidualNormalisedScore
from mapie.regression import (
    ConformalizedQuantileRegressor,
    CrossConformalRegressor,
    SplitConformalRegressor,
)
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold

import chainrule as cr
from chainrule import probability as prob


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its probabilities."""

    def __init__(self, classes: int = 6) -> None:
        self.classes, self.classes_ = classes, np.arange(classes)
        self.n_features_in_ = classes

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return X.argmax(1)


class Column(RegressorMixin, BaseEstimator):
    """A regressor whose prediction is a column of its inputs."""

    def __init__(self, column: int = 0) -> None:
        self.column = column

    is_fitted = True

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, self.column]


class Drawn(np.random.RandomState):
    """The uniform numbers that it was given, in turn."""

    def give(self, *draws: np.ndarray) -> "Drawn":
        self.draws = list(draws)
        return self

    def uniform(self, low=0.0, high=1.0, size=None):
        return self.draws.pop(0).reshape(size)


def rows(n: int, seed: int, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.6), n)
    y = (p.cumsum(1) < rng.random((n, 1))).sum(1)
    y[:classes] = np.arange(classes)
    return p, np.minimum(y, classes - 1)


def u(n: int, seed: int) -> np.ndarray:
    return cr.random.uniform((n,), dtype=cr.float64, generator=cr.Generator(seed)).numpy()


P, Y = rows(203, 0)
NEW, _ = rows(300, 1)
LEVELS = [0.6, 0.8, 0.9, 0.95]


def test_lac() -> None:
    made = prob.ConformalClassifier("lac").fit(torch.tensor(P), torch.tensor(Y))
    for coverage in LEVELS:
        mapie = SplitConformalClassifier(Given(), coverage, conformity_score="lac", prefit=True)
        oracle = mapie.conformalize(P, Y).predict_set(NEW)[1][:, :, 0]
        np.testing.assert_array_equal(made.predict_set(NEW, coverage).members, oracle)


@pytest.mark.parametrize("coverage", LEVELS)
def test_aps_with_the_same_draws(coverage: float) -> None:
    draws = Drawn().give(1 - u(203, 2), 1 - u(300, 3))
    mapie = SplitConformalClassifier(
        Given(), coverage, conformity_score="aps", prefit=True, random_state=draws
    ).conformalize(P, Y)
    oracle = mapie.predict_set(NEW, {"include_last_label": "randomized"})[1][:, :, 0]
    made = prob.ConformalClassifier("aps").fit(P, Y, generator=cr.Generator(2))
    sets = made.predict_set(NEW, coverage, generator=cr.Generator(3))
    np.testing.assert_array_equal(sets.members, oracle)


@pytest.mark.parametrize("coverage", LEVELS)
def test_aps_without_chance(coverage: float) -> None:
    """MAPIE's u = 1 is ours of 0: a class's own probability does not count."""
    mapie = SplitConformalClassifier(
        Given(), coverage, conformity_score="aps", prefit=True,
        random_state=Drawn().give(np.ones(203), np.ones(300)),
    ).conformalize(P, Y)  # fmt: skip
    oracle = mapie.predict_set(NEW, {"include_last_label": "randomized"})[1][:, :, 0]
    sets = prob.conformal_sets(P, Y, NEW, coverage=coverage, score="aps", randomised=False)
    np.testing.assert_array_equal(sets.members, oracle)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_raps_without_chance(coverage: float) -> None:
    p, y = rows(500, 4)
    score = RAPSConformityScore()
    draws = Drawn(0).give(np.ones(450), np.ones(300))
    mapie = SplitConformalClassifier(
        Given(), coverage, conformity_score=score, prefit=True, random_state=draws
    ).conformalize(p, y)
    oracle = mapie.predict_set(NEW, {"include_last_label": "randomized"})[1][:, :, 0]
    inner = mapie._mapie_classifier.conformity_score_function_
    left = ~(p[:, None] == inner.X_raps[None]).all(2).any(1)
    made = prob.ConformalClassifier(
        "raps", randomised=False, lam=float(inner.lambda_star), k_reg=int(inner.k_star[0])
    ).fit(p[left], y[left])
    sets = made.predict_set(NEW, coverage)
    alike = np.maximum(sets.sizes, oracle.sum(1)) <= made.score.k_reg
    assert left.sum() == 450
    assert alike.sum() > 150
    np.testing.assert_array_equal(sets.members[alike], oracle[alike])


def test_cross_sets() -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((120, 4))
    y = (X[:, 0] + 0.7 * rng.standard_normal(120) > 0).astype(int) + (X[:, 1] > 0.8)
    new, folds = rng.standard_normal((80, 4)), KFold(4)
    fold, own, models = np.empty(120, int), np.empty((120, 3)), []
    for k, (train, held) in enumerate(folds.split(X)):
        model = LogisticRegression().fit(X[train], y[train])
        fold[held], own[held] = k, model.predict_proba(X[held])
        models.append(model.predict_proba(new))
    cross = prob.CrossConformalClassifier("lac").fit(own, y, fold)
    for coverage in (0.75, 0.85, 0.95):
        mapie = CrossConformalClassifier(
            LogisticRegression(), coverage, conformity_score="lac", cv=folds
        ).fit_conformalize(X, y)
        oracle = mapie.predict_set(new, agg_scores="crossval")[1][:, :, 0]
        np.testing.assert_array_equal(cross.predict_set(models, coverage).members, oracle)


RNG = np.random.default_rng(6)
X = RNG.standard_normal((151, 3))
T = X[:, 0] + RNG.standard_normal(151)
FRESH = RNG.standard_normal((90, 3))


@pytest.mark.parametrize("coverage", LEVELS)
def test_residual(coverage: float) -> None:
    mapie = SplitConformalRegressor(Column(), coverage, prefit=True).conformalize(X, T)
    oracle = mapie.predict_interval(FRESH)[1][:, :, 0]
    found = prob.conformal_intervals(X[:, 0], T, FRESH[:, 0], coverage=coverage)
    np.testing.assert_allclose(np.asarray(found), oracle, rtol=1e-12)


@pytest.mark.parametrize("coverage", LEVELS)
def test_normalised(coverage: float) -> None:
    scaled, fresh = X.copy(), FRESH.copy()
    scaled[:, 1], fresh[:, 1] = np.exp(X[:, 1]), np.exp(FRESH[:, 1])
    score = ResidualNormalisedScore(residual_estimator=Column(1), prefit=True, sym=True)
    mapie = SplitConformalRegressor(
        Column(), coverage, conformity_score=score, prefit=True
    ).conformalize(scaled, T)
    oracle = mapie.predict_interval(fresh)[1][:, :, 0]
    found = prob.conformal_intervals(
        scaled[:, :2], T, fresh[:, :2], coverage=coverage, score="normalised"
    )
    np.testing.assert_allclose(np.asarray(found), oracle, rtol=1e-9)


@pytest.mark.parametrize("coverage", LEVELS)
def test_cqr(coverage: float) -> None:
    """Columns: the lower and the upper quantile, and a median."""
    ordered, fresh = X.copy(), FRESH.copy()
    for table in (ordered, fresh):
        table[:, 1], table[:, 2] = table[:, 0] - 1 - table[:, 1] ** 2, table[:, 0] + 1
    mapie = ConformalizedQuantileRegressor(
        [Column(1), Column(2), Column(0)], coverage, prefit=True
    ).conformalize(ordered, T)
    oracle = mapie.predict_interval(fresh, symmetric_correction=True)[1][:, :, 0]
    found = prob.conformal_intervals(
        ordered[:, 1:], T, (fresh[:, 1], fresh[:, 2]), coverage=coverage, score="cqr"
    )
    np.testing.assert_allclose(np.asarray(found), oracle, rtol=1e-12)


@pytest.mark.parametrize("folds", [5, 151])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_cv_plus_and_jackknife_plus(folds: int, coverage: float) -> None:
    cv = KFold(folds)
    mapie = CrossConformalRegressor(
        LinearRegression(), coverage, method="plus", cv=cv
    ).fit_conformalize(X, T)
    oracle = mapie.predict_interval(FRESH)[1][:, :, 0]
    fold, own, models = np.empty(151, int), np.empty(151), []
    for k, (train, held) in enumerate(cv.split(X)):
        model = LinearRegression().fit(X[train], T[train])
        fold[held], own[held] = k, model.predict(X[held])
        models.append(model.predict(FRESH))
    found = prob.CrossConformalRegressor().fit(own, T, fold).predict_interval(models, coverage)
    np.testing.assert_allclose(np.asarray(found), oracle, rtol=1e-9)
