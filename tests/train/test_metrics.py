"""Measures and intervals against SciPy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as theirs
from sklearn.dummy import DummyClassifier, DummyRegressor

from chainrule.errors import DataError, ShapeError
from chainrule.probability import intervals
from chainrule.train import metrics

rng = np.random.default_rng(0)


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_interval(n, share, confidence):
    k = round(share * n)
    wanted = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert intervals.wilson_interval(k, n, confidence) == pytest.approx(tuple(wanted), abs=1e-12)


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
        low, high = intervals.bootstrap_interval(lambda v: float(v.mean()), x, resamples=200)
        hits += low < 0 < high
    assert 0.88 <= hits / 200 <= 0.99


def test_baselines():
    train, test = np.array([0, 1, 1, 2]), np.array([1, 0, 1, 1])
    assert metrics.majority_baseline(train, test) == 0.75
    rmse, r2 = metrics.mean_baseline(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    assert rmse == pytest.approx(np.sqrt(2))
    assert r2 == pytest.approx(-1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2), st.integers(0, 9))
def test_measures_of_any_rows_are_scikit_learns(rows, seed):
    y, p = np.array(rows, dtype=np.float64).T
    assert metrics.r2(y, p) == pytest.approx(theirs.r2_score(y, p))
    assert metrics.accuracy(y, p) == theirs.accuracy_score(y, p)
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(4), len(y))
    codes = y.astype(int)
    wanted = theirs.log_loss(codes, probabilities, labels=range(4))
    assert metrics.log_loss(codes, probabilities) == pytest.approx(wanted)


@given(st.lists(st.integers(0, 4), min_size=1), st.lists(st.integers(0, 4), min_size=1))
def test_baselines_are_scikit_learns(train, test):
    blank, other = np.zeros((len(train), 1)), np.zeros((len(test), 1))
    commonest = DummyClassifier(strategy="most_frequent").fit(blank, train)
    assert metrics.majority_baseline(train, test) == commonest.score(other, test)
    said = DummyRegressor().fit(blank, train).predict(other)
    rmse, explained = metrics.mean_baseline(train, test)
    assert rmse == pytest.approx(theirs.root_mean_squared_error(test, said))
    if len(test) > 1:  # theirs is not defined on one row
        assert explained == pytest.approx(theirs.r2_score(test, said))


@pytest.mark.parametrize("n", [1, 3, 10, 360])
def test_wilson_interval_ends_exactly_at_none_and_all(n):
    assert intervals.wilson_interval(0, n)[0] == 0.0
    assert intervals.wilson_interval(n, n)[1] == 1.0


def test_bootstrap_is_scipys():
    x = rng.exponential(size=80)
    y = x + rng.normal(size=80)

    def slope(x, y):
        return float(np.polyfit(x, y, 1)[0])

    ours = intervals.bootstrap_interval(slope, x, y, confidence=0.9, resamples=3000)
    theirs = stats.bootstrap(
        (x, y), slope, paired=True, vectorized=False, confidence_level=0.9,
        n_resamples=3000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert ours == pytest.approx(tuple(theirs), abs=0.1 * (theirs.high - theirs.low))


def test_bootstrap_draws_the_same_rows_of_all_and_the_same_each_time():
    x = np.arange(50.0)
    low, high = intervals.bootstrap_interval(metrics.r2, x, x)
    assert (low, high) == (1.0, 1.0)
    table = rng.normal(size=(40, 3))
    once = intervals.bootstrap_interval(np.mean, table, seed=3)
    assert once == intervals.bootstrap_interval(np.mean, table, seed=3)
    assert once != intervals.bootstrap_interval(np.mean, table, seed=4)


def test_a_score_is_a_line_and_plain_data():
    score = metrics.Score("test accuracy", 0.98611, 0.968, 0.994, 360, 0.10278, 'always saying "3"')
    assert str(score) == (
        "test accuracy 0.9861 (95 % interval 0.968 to 0.994, 360 rows); "
        'always saying "3" scores 0.1028'
    )
    assert metrics.Score(**score.to_dict()) == score


@pytest.mark.parametrize(
    "measure",
    [
        metrics.accuracy,
        metrics.r2,
        metrics.mean_absolute_error,
        metrics.root_mean_squared_error,
    ],
)
def test_shapes_that_would_broadcast_are_refused(measure):
    with pytest.raises(ShapeError, match=r"\(3,\) true values, but \(3, 1\) predictions"):
        measure([1, 2, 3], [[1], [2], [3]])
    with pytest.raises(ShapeError):
        measure([1, 2], [1])
    with pytest.raises(DataError, match="no rows"):
        measure([], [])


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: metrics.log_loss([0, 1], [0.5, 0.5])),
        (ShapeError, lambda: metrics.log_loss([0, 1], [[0.5, 0.5]])),
        (ShapeError, lambda: metrics.log_loss([0], np.ones((1, 0)))),
        (DataError, lambda: metrics.log_loss([-1], [[0.5, 0.5]])),
        (DataError, lambda: metrics.log_loss([2], [[0.5, 0.5]])),
        (DataError, lambda: metrics.log_loss([0.5], [[0.5, 0.5]])),
        (DataError, lambda: intervals.wilson_interval(0, 0)),
        (DataError, lambda: intervals.wilson_interval(5, 3)),
        (DataError, lambda: intervals.wilson_interval(-1, 3)),
        (DataError, lambda: intervals.wilson_interval(1, 3, 95)),
        (ShapeError, lambda: intervals.bootstrap_interval(np.mean)),
        (ShapeError, lambda: intervals.bootstrap_interval(np.mean, 3.0)),
        (ShapeError, lambda: intervals.bootstrap_interval(metrics.r2, [1.0, 2.0], [1.0])),
        (DataError, lambda: intervals.bootstrap_interval(np.mean, [])),
        (DataError, lambda: intervals.bootstrap_interval(np.mean, [1.0], resamples=0)),
        (DataError, lambda: intervals.bootstrap_interval(np.mean, [1.0], confidence=1)),
        (DataError, lambda: metrics.majority_baseline([], [1])),
        (DataError, lambda: metrics.majority_baseline([1], [])),
        (DataError, lambda: metrics.mean_baseline([], [1.0])),
    ],
)
def test_what_has_no_answer_is_refused(error, call):
    with pytest.raises(error):
        call()
