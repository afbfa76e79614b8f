"""Calibration against netcal, scikit-learn and scoringrules, on the same arrays."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.calibration import _sigmoid_calibration, calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from chainrule import probability as prob
from chainrule.probability.calibration.forecasts import forecast_of
from chainrule.probability.calibration.recalibrator import smoothed_targets
from chainrule.probability.calibration.temperature import TemperatureScaling

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

ROWS = 998
"""So that no row is a quantile that ends a bin: netcal counts such a row above, others below."""


def table(classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(logits that are twice too large, labels)."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, (ROWS, classes))
    p = softmax(true, 1)
    return 2 * true, (rng.random((ROWS, 1)) > np.cumsum(p, 1)[:, :-1]).sum(1)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("bins", [5, 10, 15, 30])
def test_errors_equal_netcals(bins, binning):
    from netcal.metrics import ECE, MCE

    z, y = table()
    p, same = softmax(z, 1), binning == "width"
    found = prob.reliability(p, y, bins=bins, binning=binning)
    theirs = [m(bins, equal_intervals=same).measure(p, y) for m in (ECE, MCE)]
    assert [found.ece, found.mce] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_binary_errors_equal_netcals(binning):
    from netcal.metrics import ECE, MCE

    z, y = table(2)
    p, same = softmax(z, 1)[:, 1], binning == "width"
    found = prob.reliability(p, y, bins=15, binning=binning, kind=1)
    theirs = [m(15, equal_intervals=same).measure(p, y) for m in (ECE, MCE)]
    assert [found.ece, found.mce] == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_diagrams_equal_scikit_learns(binning, strategy):
    z, y = table(2)
    p = softmax(z, 1)[:, 1]
    found = prob.reliability(p, y, bins=12, binning=binning, kind=1)
    share, mean = calibration_curve(y, p, n_bins=12, strategy=strategy)
    held = found.count > 0
    assert found.right[held] == pytest.approx(share, abs=1e-12)
    assert found.confidence[held] == pytest.approx(mean, abs=1e-12)


def test_edges_are_scikit_learns():
    """A confidence that is the edge of a bin, 0 and 1 among them."""
    p, y = np.array([0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 1.0]), np.array([0, 1, 0, 1, 1, 0, 1])
    found = prob.reliability(p, y, bins=4, kind=1)
    share, mean = calibration_curve(y, p, n_bins=4)
    assert found.right == pytest.approx(share)
    assert found.confidence == pytest.approx(mean)


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_equal_scikit_learns(classes):
    z, y = table(classes)
    p = softmax(z, 1)
    theirs = brier_score_loss(y, p, scale_by_half=False, labels=range(classes))
    assert prob.brier_score(p, y) == pytest.approx(theirs, abs=1e-12)
    assert prob.log_score(p, y) == pytest.approx(log_loss(y, p), abs=1e-12)


def test_temperature_equals_scikit_learns_on_the_same_targets():
    """Theirs is the maximum of the likelihood; weights of each label make its targets ours."""
    from sklearn.calibration import _TemperatureScaling

    z, y = table()
    found = TemperatureScaling().fit(z, y)
    logs = log_softmax(z, 1)
    targets = smoothed_targets(y, 4)
    theirs = _TemperatureScaling().fit(
        np.repeat(logs, 4, 0), np.tile(np.arange(4), ROWS), sample_weight=targets.reshape(-1)
    )
    assert found.temperature == pytest.approx(1 / theirs.beta_, rel=1e-5)  # of their search
    assert found.transform(logs) == pytest.approx(softmax(logs / found.temperature, 1), abs=1e-12)


def test_temperature_is_near_netcals():
    """Theirs has no smoothed targets, and float32."""
    from netcal.scaling import TemperatureScaling as Theirs

    z, y = table()
    p = softmax(z, 1)
    theirs = Theirs()
    theirs.fit(p, y, random_state=0, tensorboard=False)
    assert TemperatureScaling().fit(z, y).transform(z) == pytest.approx(
        theirs.transform(p), abs=5e-3
    )


def test_platt_equals_scikit_learns():
    z, y = table(2)
    odds = z[:, 1] - z[:, 0]
    a, b = _sigmoid_calibration(odds, y)
    found = prob.PlattScaling().fit(odds, y)
    assert found.coefficients[0] == pytest.approx([-a, -b], abs=1e-6)


def test_platt_one_against_the_rest_equals_scikit_learns():
    z, y = table(3)
    p = softmax(z, 1)
    each = []
    for k in range(3):
        odds = np.log(p[:, k]) - np.log1p(-p[:, k])
        a, b = _sigmoid_calibration(odds, y == k)
        each.append(expit(-(a * odds + b)))
    theirs = np.stack(each, 1) / np.sum(each, 0)[:, None]
    assert prob.PlattScaling().fit(z, y).transform(z) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("sign", [1, -1])
def test_beta_equals_a_logistic_regression(sign):
    """On ln p and −ln(1 − p) with smoothed targets, as the paper fits it; of outputs that point the
    wrong way (sign −1) both coefficients fall below 0 and are left out."""
    z, y = table(2)
    odds = sign * (z[:, 1] - z[:, 0])
    inside = y.sum()
    smooth = np.where(y == 1, (inside + 1) / (inside + 2), 1 / (ROWS - inside + 2))
    x = np.stack([np.log(expit(odds)), -np.log(expit(-odds))], 1)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky").fit(
        np.concatenate([x, x]), np.repeat([1, 0], ROWS),
        sample_weight=np.concatenate([smooth, 1 - smooth]),
    )  # fmt: skip
    a, b, c = prob.BetaCalibration().fit(odds, y).coefficients[0]
    if sign == 1:
        assert [a, b, c] == pytest.approx([*theirs.coef_[0], *theirs.intercept_], abs=1e-6)
    else:
        assert (theirs.coef_ < 0).any()
        assert [a, b] == [0, 0]
        assert expit(c) == pytest.approx(smooth.mean())


def test_beta_is_near_netcals():
    from netcal.scaling import BetaCalibration as Theirs

    z, y = table(2)
    odds, p = z[:, 1] - z[:, 0], softmax(z, 1)[:, 1]
    theirs = Theirs()
    theirs.fit(p, y, random_state=0, tensorboard=False)
    found = prob.BetaCalibration().fit(odds, y).transform(odds)[:, 1]
    assert found == pytest.approx(theirs.transform(p), abs=5e-3)


def test_isotonic_equals_scikit_learns():
    z, y = table(2)
    odds = (z[:, 1] - z[:, 0]).round(1)  # many rows alike
    least = 1 / (ROWS + 2)
    theirs = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    theirs.fit(expit(odds), y)
    new = np.linspace(-12, 12, 997)
    found = prob.IsotonicCalibration().fit(odds, y).transform(new)[:, 1]
    assert found == pytest.approx(theirs.predict(expit(new)), abs=1e-12)


def test_isotonic_of_classes_equals_netcals():
    from netcal.binning import IsotonicRegression as Theirs

    z, y = table(3)
    p = softmax(z, 1)
    theirs = Theirs()
    theirs.fit(p, y)
    found = prob.IsotonicCalibration().fit(z, y).transform(z)
    # Theirs goes to 0 and 1, where ours stop at 1 in n + 2.
    assert found == pytest.approx(theirs.transform(p), abs=3 / ROWS)


def test_vector_scaling_is_the_best_there_is():
    """A logistic regression on the class's own output alone: scikit-learn has none, so the gradient
    of the likelihood is asked of PyTorch."""
    import torch

    z, y = table()
    found = prob.VectorScaling().fit(z, y)
    scale, bias = (torch.tensor(v, requires_grad=True) for v in (found.scale, found.bias))
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(z) * scale + bias, torch.tensor(smoothed_targets(y, 4))
    )
    loss.backward()
    assert float(scale.grad.abs().max()) < 1e-6
    assert float(bias.grad.abs().max()) < 1e-6


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_matrix_scaling_is_the_best_there_is(penalty):
    import torch

    z, y = table()
    found = prob.MatrixScaling(penalty, penalty).fit(z, y)
    weights, bias = (torch.tensor(v, requires_grad=True) for v in (found.weights, found.bias))
    loss = torch.nn.functional.cross_entropy(
        torch.tensor(z) @ weights.T + bias, torch.tensor(smoothed_targets(y, 4))
    )
    off = weights - torch.diag(torch.diag(weights))
    (loss + penalty * (off.square().sum() / 12 + bias.square().sum() / 4)).backward()
    assert float(weights.grad.abs().max()) < 1e-6
    assert float(bias.grad.abs().max()) < 1e-6


def test_matrix_scaling_equals_scikit_learns():
    z, y = table(3)
    targets = smoothed_targets(y, 3)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(
        np.repeat(z, 3, 0), np.tile(np.arange(3), ROWS), sample_weight=targets.reshape(-1)
    )
    found = prob.MatrixScaling(0, 0).fit(z, y).transform(z)
    assert found == pytest.approx(theirs.predict_proba(z), abs=1e-6)


# Real targets


def test_crps_equals_scoringrules():
    import scoringrules

    rng = np.random.default_rng(0)
    y, mean, std = rng.normal(size=50), rng.normal(size=50), rng.uniform(0.2, 2, 50)
    theirs = scoringrules.crps_normal(y, mean, std)
    assert forecast_of((mean, std)).crps(y) == pytest.approx(theirs, abs=1e-12)
    draws = rng.normal(size=(20, 50))
    theirs = scoringrules.crps_ensemble(y, draws.T, estimator="nrg")
    assert forecast_of(draws).crps(y) == pytest.approx(theirs, abs=1e-12)
    assert prob.crps(draws, y) == pytest.approx(theirs.mean(), abs=1e-12)


def test_variance_scaling_equals_netcals():
    from netcal.regression import VarianceScaling as Theirs

    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=300), rng.uniform(0.2, 2, 300)
    y = mean + 1.7 * std * rng.normal(size=300)
    theirs = Theirs().fit((mean, std), y, tensorboard=None)
    found = prob.VarianceScaling().fit((mean, std), y)
    assert found.transform((mean, std)).std == pytest.approx(
        theirs.transform((mean, std)).reshape(-1), abs=1e-6
    )


def test_isotonic_quantiles_are_netcals_within_a_row():
    from netcal.regression import IsotonicRegression as Theirs

    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=300), rng.uniform(0.2, 2, 300)
    y = mean + 1.7 * std * rng.normal(size=300)
    theirs = Theirs().fit((mean, std), y, tensorboard=None)
    _, _, cdf = theirs.transform((mean, std), t=np.sort(y))
    ours = prob.IsotonicQuantiles().fit((mean, std), y).transform((mean, std))
    found = np.stack([ours.pit(np.full(300, t)) for t in np.sort(y)])
    assert found == pytest.approx(cdf[..., 0], abs=1.5 / 300)
