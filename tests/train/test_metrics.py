"""Measures and intervals against SciPy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as theirs

from chainrule.train import metrics

rng = np.random.default_rng(0)


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_interval(n, share, confidence):
    k = round(share * n)
    wanted = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert metrics.wilson_interval(k, n, confidence) == pytest.approx(tuple(wanted), abs=1e-12)


def test_measures_are_scikit_learns():
    y, p = rng.normal(size=50), rng.normal(size=50)
    assert metrics.r2(y, p) == pytest.approx(theirs.r2_score(y, p))
    assert metrics.mean_absolute_error(y, p) == pytest.approx(theirs.mean_absolute_error(y, p))
    wanted = theirs.root_mean_squared_error(y, p)
    assert metrics.root_mean_squared_error(y, p) == pytest.approx(wanted)
    codes = rng.integers(3, size=50)
    probabilities = rng.dirichlet(np.ones(3), 50)
    assert metrics.log_loss(codes, probabilities) == pytest.approx(
        theirs.log_loss(codes, probabilities)
    )
    said = probabilities.argmax(1)
    assert metrics.accuracy(codes, said) == theirs.accuracy_score(codes, said)


def test_one_sure_error_is_not_infinite():
    assert metrics.log_loss([0], [[0.0, 1.0]]) == pytest.approx(-np.log(2.0**-52))


def test_r2_of_a_constant_target():
    assert metrics.r2([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert metrics.r2([2.0, 2.0], [2.0, 3.0]) == 0.0


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    hits = 0
    for trial in range(200):
        x = np.random.default_rng(trial).normal(size=60)
        low, high = metrics.bootstrap_interval(lambda v: float(v.mean()), x, resamples=200)
        hits += low < 0 < high
    assert 0.88 <= hits / 200 <= 0.99


def test_baselines():
    train, test = np.array([0, 1, 1, 2]), np.array([1, 0, 1, 1])
    assert metrics.majority_baseline(train, test) == 0.75
    rmse, r2 = metrics.mean_baseline(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    assert rmse == pytest.approx(np.sqrt(2))
    assert r2 == pytest.approx(-1.0)
