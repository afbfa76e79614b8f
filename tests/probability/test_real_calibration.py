"""Calibration of real predictions: laws, integrals, and known distortions undone."""

import json

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

import chainrule as cr
from chainrule import probability as prob
from chainrule.posteriors.predictive import RealPredictive
from chainrule.probability.calibration.forecasts import Ensemble, NormalMixture, forecast_of

rng = np.random.default_rng(0)
MEANS, STDS = rng.normal(size=(3, 4)), rng.uniform(0.2, 2, (3, 4))
Y = np.array([-1.0, 0.3, 2.0, 9.0])


def integral(cdf, y: float) -> float:
    """∫ (F(x) − [x ≥ y])² dx."""
    below = quad(lambda x: cdf(x) ** 2, -40, y, limit=300)[0]
    return below + quad(lambda x: (1 - cdf(x)) ** 2, y, 40, limit=300)[0]


def test_crps_of_mixtures_is_the_integral():
    found = NormalMixture(MEANS, STDS).crps(Y)
    for i in range(4):
        law = [stats.norm(m, s) for m, s in zip(MEANS[:, i], STDS[:, i], strict=True)]
        exact = integral(lambda x, law=law: np.mean([p.cdf(x) for p in law]), Y[i])
        assert found[i] == pytest.approx(exact, abs=1e-7)


def test_crps_of_draws_is_the_integral():
    found = Ensemble(MEANS).crps(Y)
    for i in range(4):
        points = np.sort([*MEANS[:, i], Y[i]])
        middle = (points[1:] + points[:-1]) / 2
        height = [np.mean(MEANS[:, i] <= x) - (x >= Y[i]) for x in middle]
        assert found[i] == pytest.approx((np.square(height) * np.diff(points)).sum())


def test_crps_of_a_sure_forecast_is_the_absolute_error():
    assert prob.crps(np.array([[1.0, 2.0]]), [1.5, 5.0]) == pytest.approx((0.5 + 3) / 2)
    assert prob.crps(([1.0], [1e-12]), [3.0]) == pytest.approx(2)


def test_the_true_distribution_has_the_best_crps():
    y = np.random.default_rng(1).normal(0, 1, 20_000)
    best = prob.crps((np.zeros_like(y), np.ones_like(y)), y)
    assert best == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)  # E|X − X'|/2 = 1/√π
    for mean, std in ((0.3, 1), (0, 1.5), (0, 0.6)):
        assert prob.crps((np.full_like(y, mean), np.full_like(y, std)), y) > best


def test_forms_of_a_forecast_agree():
    predictive = RealPredictive(MEANS, STDS**2 - 0.01, np.full_like(MEANS, 0.01))
    mixture = forecast_of(predictive)
    assert prob.probability_integral_transform(predictive, Y) == pytest.approx(predictive.cdf(Y))
    assert mixture.quantile(0.2) == pytest.approx(predictive.quantile(0.2))
    assert mixture.std == pytest.approx(predictive.std)
    pair = MEANS[0], STDS[0]
    normal = prob.Normal(cr.asarray(MEANS[0]), cr.asarray(STDS[0]))
    expected = stats.norm(*pair).cdf(Y)
    for given in (pair, list(pair), normal, NormalMixture(MEANS[:1], STDS[:1])):
        assert prob.probability_integral_transform(given, Y) == pytest.approx(expected, abs=1e-6)
    assert prob.probability_integral_transform(pair, Y[:, None]) == pytest.approx(expected)


def test_ranks_among_draws_are_uniform():
    """All 10 ranks of a value among 9 draws of its own distribution are equally likely."""
    draws = np.random.default_rng(2).normal(size=(10, 20_000))
    u = prob.probability_integral_transform(draws[:9], draws[9])
    values, counts = np.unique(u, return_counts=True)
    assert values == pytest.approx((np.arange(10) + 0.5) / 10)
    assert stats.chisquare(counts).pvalue > 0.001


def test_coverage_of_quantiles():
    y = np.random.default_rng(3).normal(size=2000)
    right = prob.quantile_coverage((np.zeros_like(y), np.ones_like(y)), y)
    assert right.p_value > 0.01
    inside = (right.interval[:, 0] <= right.levels) & (right.levels <= right.interval[:, 1])
    assert inside.mean() > 0.8
    narrow = prob.quantile_coverage((np.zeros_like(y), np.full_like(y, 0.5)), y, [0.1, 0.9])
    exact = stats.norm.cdf(0.5 * stats.norm.ppf([0.1, 0.9]))
    assert narrow.share == pytest.approx(exact, abs=0.03)
    assert narrow.error == pytest.approx(exact[0] - 0.1, abs=0.03)
    assert narrow.p_value < 1e-6
    assert json.loads(json.dumps(narrow.to_dict()))["rows"] == 2000


def test_p_values_of_coverage_are_uniform():
    values = []
    for seed in range(200):
        y = np.random.default_rng(seed).normal(size=100)
        values.append(prob.quantile_coverage((np.zeros(100), np.ones(100)), y).p_value)
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_variance_scaling_is_the_likeliest_factor():
    g = np.random.default_rng(4)
    mean, std = g.normal(size=400), g.uniform(0.3, 2, 400)
    y = mean + 1.6 * std * g.normal(size=400)
    made = prob.VarianceScaling().fit((mean, std), y)
    assert made.factor == pytest.approx(1.6**2, rel=0.2)
    best = stats.norm(mean, std * np.sqrt(made.factor)).logpdf(y).sum()
    for other in (0.99, 1.01):
        assert stats.norm(mean, std * np.sqrt(other * made.factor)).logpdf(y).sum() < best


@pytest.mark.parametrize("form", ["mixture", "draws"])
def test_a_stretched_forecast_has_the_variance_asked_for(form):
    given = NormalMixture(MEANS, STDS) if form == "mixture" else MEANS
    made = prob.VarianceScaling().fit(given, Y)
    after = made.transform(given)
    before = forecast_of(given)
    assert after.mean == pytest.approx(before.mean)
    assert after.variance == pytest.approx(made.factor * before.variance)


@pytest.mark.parametrize("method", ["variance", "isotonic quantiles"])
def test_a_forecast_that_is_too_sure_is_mended(method):
    """On rows that it was not fitted to, in at least 17 of 20 seeds (19 are expected)."""
    passed = 0
    for seed in range(20):
        y = np.random.default_rng(seed).normal(0, 2, 4500)
        forecast = np.zeros(4500), np.ones(4500)
        made = prob.recalibrate([f[:4000] for f in forecast], y[:4000], method)
        after = made.transform([f[4000:] for f in forecast])
        assert prob.quantile_coverage([f[4000:] for f in forecast], y[4000:]).p_value < 1e-4
        passed += prob.quantile_coverage(after, y[4000:]).p_value >= 0.05
        assert np.mean(after.interval(0.9) * [-1, 1]) == pytest.approx(2 * 1.645, rel=0.1)
    assert passed >= 17


def test_isotonic_quantiles_mend_a_wrong_shape():
    """Exponential values, of which a normal distribution was predicted."""
    y = np.random.default_rng(5).exponential(1, 5000)
    forecast = np.ones(5000), np.ones(5000)
    made = prob.IsotonicQuantiles().fit(forecast, y).transform(forecast)
    for q in (0.1, 0.5, 0.9):
        assert made.quantile(q)[0] == pytest.approx(stats.expon.ppf(q), abs=0.1)
    assert made.mean[0] == pytest.approx(1, abs=0.05)
    assert made.std[0] == pytest.approx(1, abs=0.1)
    assert made.crps(y).mean() < prob.crps(forecast, y)
    assert made.crps(y).mean() == pytest.approx(0.5, abs=0.02)  # E|X − X'|/2 of Exponential(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prob.crps(([0.0], [0.0]), [1.0]), "standard deviations are above 0"),
        (lambda: prob.crps(([0.0], [-1.0]), [1.0]), "std has -1"),
        (lambda: prob.crps(([0.0, 1.0], [1.0]), [1.0]), "forecast is of"),
        (lambda: prob.crps(([0.0, 1.0], [1.0, 1.0, 1.0]), [1.0]), "mean has the shape"),
        (lambda: prob.crps([0.0, 1.0, 2.0], [1.0]), "pair .mean, std., or draws"),
        (lambda: prob.crps(([0.0], [1.0]), [np.nan]), "nan at"),
        (lambda: prob.quantile_coverage(([0.0], [1.0]), [0.0], [1.5]), "between 0 and 1"),
        (lambda: prob.VarianceScaling().fit(([0.0], [1.0]), [0.0]), "predicted exactly"),
        (lambda: prob.VarianceScaling().transform(([0.0], [1.0])), "not fitted yet"),
        (lambda: forecast_of(([0.0], [1.0])).quantile(1.0), "between 0 and 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(cr.ChainruleError, match=message):
        call()


def test_few_rows_are_said():
    given = np.zeros(5), np.ones(5)
    assert "5 rows are few" in prob.VarianceScaling().fit(given, np.ones(5)).warnings[0]
    assert "5 rows are few" in prob.IsotonicQuantiles().fit(given, np.ones(5)).warnings[0]
