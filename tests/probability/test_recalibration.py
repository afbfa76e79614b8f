"""Recalibrators: known distortions are undone, results are stored, bad rows are refused."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

import chainrule as cr
from benchmarks import calibration as bench
from chainrule import probability as prob
from chainrule.probability.calibration.recalibrator import ClassRecalibrator, registered

CLASSES = {n: k for n, k in registered().items() if issubclass(k, ClassRecalibrator)}


def rows(distortion, n=4000, seed=0):
    return distortion(n, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("distortion", "method"),
    [
        (bench.temperature, "temperature"),
        (bench.vector, "vector"),
        (bench.matrix, "matrix"),
        (bench.platt, "platt"),
        (bench.beta, "beta"),
        (bench.monotone, "isotonic"),
        (bench.binary_label_noise, "isotonic"),
    ],
)
def test_a_distortion_of_its_family_is_undone(distortion, method):
    """In 9 of 10 seeds a 5 % test does not tell the error from chance; `python -m
    benchmarks.calibration` counts a hundred. By chance 2 or more of 10 would fail in 9 of 100."""
    found = bench.judge(distortion, (method,), seeds=10, rows=3000, held_out=600)[method]
    assert found.passed >= 8
    assert found.fell >= 9


def test_elsewhere_the_error_gets_smaller():
    for distortion in (bench.temperature, bench.label_noise):
        methods = tuple(set(CLASSES) - {"identity"})
        for name, found in bench.judge(distortion, methods, 3, 2000, 1000).items():
            assert found.fell == 3, (distortion, name)


def test_the_parameters_of_a_distortion_are_found():
    z, y = rows(bench.temperature, 20_000)
    assert CLASSES["temperature"]().fit(z, y).temperature == pytest.approx(2.5, rel=0.05)
    z, y = rows(bench.platt, 20_000)
    assert prob.PlattScaling().fit(z, y).coefficients[0] == pytest.approx([0.5, 0.75], abs=0.06)
    z, y = rows(bench.beta, 20_000)
    assert prob.BetaCalibration().fit(z, y).coefficients[0] == pytest.approx(
        [0.3, 0.9, 0.4], abs=0.08
    )
    z, y = rows(bench.vector, 20_000)
    found = prob.VectorScaling().fit(z, y)
    assert found.scale == pytest.approx([0.4, 0.7, 1.0, 0.5], abs=0.05)
    assert found.bias == pytest.approx(np.array([1, 0, -0.5, 0.5]) - 0.25, abs=0.08)


def test_temperature_is_the_minimum_by_another_search():
    z, y = rows(bench.label_noise, 500)
    n = len(y)
    targets = np.full((n, 4), 1 / (n + 2) / 3)
    targets[np.arange(n), y] = (n + 1) / (n + 2)
    theirs = minimize(
        lambda t: -(targets * log_softmax(z / t, 1)).sum(1).mean(), [1.0], method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-16},
    )  # fmt: skip
    assert prob.TemperatureScaling().fit(z, y).temperature == pytest.approx(theirs.x[0], rel=1e-6)


def test_isotonic_is_the_best_rising_map():
    """Of a few rows, against all rising sequences of twelfths."""
    from itertools import combinations_with_replacement

    odds, y = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), np.array([0, 1, 0, 0, 1, 1])
    found = prob.IsotonicCalibration().fit(odds, y).transform(odds)[:, 1]
    assert found == pytest.approx([1 / 8, 1 / 3, 1 / 3, 1 / 3, 7 / 8, 7 / 8])
    unclipped = np.array([0, 1 / 3, 1 / 3, 1 / 3, 1, 1])
    best = min(
        ((np.array(s) / 12 - y) ** 2).sum() for s in combinations_with_replacement(range(13), 6)
    )
    assert ((unclipped - y) ** 2).sum() == pytest.approx(best)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("distortion", [bench.vector, bench.beta])
def test_stored_bit_for_bit(name, distortion):
    z, y = rows(distortion, 500)
    made = CLASSES[name]().fit(z, y)
    kept = json.loads(json.dumps(made.to_dict()))
    again = prob.Recalibrator.from_dict(kept)
    assert type(again) is type(made)
    assert again.to_dict() == made.to_dict()
    p = again.transform(z)
    assert np.array_equal(p, made.transform(z))
    assert p.shape == (500, 4 if distortion is bench.vector else 2)
    assert p.sum(1) == pytest.approx(1)
    assert again.warnings == made.warnings
    assert again.rows == 500


def test_stored_real():
    rng = np.random.default_rng(0)
    y, given = rng.normal(0, 2, 300), (np.zeros(300), np.ones(300))
    for kind in (prob.VarianceScaling, prob.IsotonicQuantiles):
        made = kind().fit(given, y)
        again = prob.Recalibrator.from_dict(json.loads(json.dumps(made.to_dict())))
        assert np.array_equal(again.transform(given).interval(), made.transform(given).interval())


@pytest.mark.parametrize("name", CLASSES)
def test_log_odds_are_two_classes(name):
    z, y = rows(bench.platt, 1500)
    one = CLASSES[name]().fit(z, y).transform(z)
    two = (
        CLASSES[name]()
        .fit(np.stack([np.zeros_like(z), z], 1), y)
        .transform(np.stack([np.zeros_like(z), z], 1))
    )
    assert np.array_equal(one, two)


@pytest.mark.parametrize("name", CLASSES)
def test_certain_outputs_stay_finite(name):
    """All right, with outputs so large that their probabilities are exactly 0 and 1."""
    y = np.arange(90) % 3
    z = 2000.0 * np.eye(3)[y]
    p = CLASSES[name]().fit(z, y).transform(z)
    assert np.isfinite(p).all()
    if name != "identity":
        assert p.max() < 1  # 90 rows do not show a certainty


def test_a_temperature_does_not_change_the_likeliest_class():
    z, y = rows(bench.temperature, 300)
    made = prob.TemperatureScaling().fit(z, y)
    assert np.array_equal(made.transform(z).argmax(1), z.argmax(1))


def test_outputs_that_point_the_wrong_way():
    z, y = rows(bench.temperature, 1000)
    made = prob.TemperatureScaling().fit(-z, y)
    below = -z - (-z).max(1, keepdims=True)
    assert made.temperature == pytest.approx(100 * np.sqrt((below**2).mean()))
    assert "less often they are right" in made.warnings[0]
    assert prob.TemperatureScaling().fit(np.ones((50, 3)), np.arange(50) % 3).temperature == 1


# The choice


def test_calibrated_rows_are_left_alone():
    left = 0
    for seed in range(10):
        made = prob.recalibrate(*rows(bench.calibrated, 500, seed))
        left += made.method == "identity"
        if made.method == "identity":
            assert str(made).startswith("Calibrated already, as far as 500 rows show")
    assert left >= 8


@pytest.mark.parametrize(
    ("distortion", "method"),
    [(bench.temperature, "temperature"), (bench.platt, "platt"), (bench.monotone, "isotonic")],
)
def test_what_helps_is_chosen(distortion, method):
    z, y = rows(distortion, 6000 if method == "isotonic" else 3000)  # it takes many to tell
    made = prob.recalibrate(z, y)
    assert made.method == method
    assert made.gain[0] > 2 * made.gain[1] > 0
    assert made.scores[method] < made.scores["identity"]
    assert f"Recalibrated by {method}" in str(made)
    assert np.array_equal(made.transform(z), CLASSES[method]().fit(z, y).transform(z))
    assert json.loads(json.dumps(made.to_dict()))["recalibrator"]["method"] == method
    assert prob.recalibrate(z, y).to_dict() == made.to_dict()


def test_the_choice_is_never_much_worse_than_nothing():
    """On few rows, where fitting is mostly noise: the log score over 15 seeds, on other rows."""
    worse = []
    for seed in range(15):
        z, y = rows(bench.calibrated, 2100, seed)
        made = prob.recalibrate(z[:100], y[:100])
        p = made.transform(z[100:])
        worse.append(prob.log_score(p, y[100:]) - prob.log_score(softmax(z[100:], 1), y[100:]))
    assert np.mean(worse) < 0.002
    assert np.max(worse) < 0.05


def test_too_few_rows_for_any_method():
    made = prob.recalibrate([[1.0, 0.0], [0.0, 2.0]], [0, 1])
    assert made.method == "identity"
    assert "2 rows are too few for any method" in str(made)


def test_a_method_by_name():
    z, y = rows(bench.vector, 300)
    made = prob.recalibrate(z, y, "vector")
    assert made.method == "vector"
    assert str(made) == "Recalibrated by vector, fitted to 300 rows."
    forecast = np.zeros(300), np.ones(300)
    assert prob.recalibrate(forecast, np.ones(300), "variance").transform(forecast).std[0] == 1


# Bad input


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"identity", "temperature"}))
def test_a_class_without_rows_is_refused(name):
    z, y = rows(bench.calibrated, 300)
    with pytest.raises(cr.DataError, match=r"class 3 is in none of the .* temperature scaling"):
        CLASSES[name]().fit(z, np.minimum(y, 2))


def test_a_class_without_rows_is_said():
    z, y = rows(bench.calibrated, 300)
    made = prob.recalibrate(z * 3, np.minimum(y, 2))
    assert made.method == "temperature"  # what has parameters for each class is no candidate
    assert "class 3 is in none of the 300 rows" in str(made)


def test_few_rows():
    z, y = rows(bench.calibrated, 30)
    with pytest.raises(cr.DataError, match=r"4 classes has 20 parameters.*15 rows"):
        prob.MatrixScaling().fit(z[:15], np.arange(15) % 4)
    assert (
        "30 rows are few for vector, which wants 80" in prob.VectorScaling().fit(z, y).warnings[0]
    )


def test_probabilities_instead_of_logits():
    z, y = rows(bench.calibrated, 300)
    with pytest.raises(cr.DataError, match=r"np\.log\(np\.clip"):
        prob.TemperatureScaling().fit(softmax(z, 1), y)
    odds, y = rows(bench.platt, 300)
    assert "read as log-odds" in prob.PlattScaling().fit(expit(odds), y).warnings[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prob.TemperatureScaling().transform([[1.0, 0.0]]), "not fitted yet"),
        (lambda: prob.TemperatureScaling().to_dict(), "not fitted yet"),
        (
            lambda: prob.TemperatureScaling().fit([[1.0, 0.0]], [0]).transform([[1.0, 0.0, 2.0]]),
            "of 3 classes, and fit saw 2",
        ),
        (lambda: prob.TemperatureScaling().fit([[1.0, np.inf]], [0]), "inf at"),
        (lambda: prob.TemperatureScaling().fit([[1.0, 0.0]], [2]), "0 to 1"),
        (lambda: prob.TemperatureScaling().fit([[1.0, 0.0]], [0, 1]), "there are 1 rows"),
        (lambda: prob.MatrixScaling(-1.0), "0 or above"),
        (lambda: prob.recalibrate([[1.0, 0.0]], [0], "best"), "no method 'best'.*temperature"),
        (lambda: prob.recalibrate([[1.0, 0.0]], [0], folds=1), "2 or more"),
        (lambda: prob.Recalibrator.from_dict({"method": "x"}), "its method is 'x'"),
        (lambda: prob.Recalibrator.from_dict([]), "its method is None"),
        (lambda: prob.PlattScaling.from_dict({"method": "vector"}), "no PlattScaling"),
        (
            lambda: prob.Recalibrator.from_dict(
                {"method": "temperature", "rows": 3, "warnings": [], "classes": 2}
            ),
            "lacks 'temperature'",
        ),
        (
            lambda: prob.Recalibrator.from_dict(
                {"method": "platt", "rows": 3, "warnings": [], "classes": 2, "coefficients": ["x"]}
            ),
            "holds no numbers",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(cr.ChainruleError, match=message):
        call()
