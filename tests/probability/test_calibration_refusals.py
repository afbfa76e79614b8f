"""Calibration and novelty of hostile arrays: refused, or right; never confident without grounds."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import probability as prob

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 300)


def test_logits_that_separate_the_classes_are_calibrated_already_or_nearly():
    """Fitted losses may tie to the last bit: no standard error is divided by."""
    found = prob.recalibrate(1000.0 * np.eye(3)[Y], Y)
    assert found.method == "identity"


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_best_temperature_follows_the_unit_of_the_outputs(size):
    z = RNG.normal(size=(2000, 3))
    y = (z + RNG.gumbel(size=z.shape)).argmax(1)
    found = prob.TemperatureScaling().fit(size * z, y)
    assert found.temperature / size == pytest.approx(1, abs=0.15)
    assert not found.warnings


def test_right_answers_are_not_said_to_point_the_wrong_way():
    found = prob.TemperatureScaling().fit(1000.0 * np.eye(3)[Y], Y)
    assert not found.warnings
    # The best T solves p(label) = (n + 1)/(n + 2): two logits 1000/T below the label's.
    assert found.temperature == pytest.approx(1000 / np.log(2 * 301), rel=1e-6)


@pytest.mark.parametrize("kind", [prob.VectorScaling, prob.PlattScaling, prob.BetaCalibration])
def test_a_class_of_which_there_is_hardly_a_row(kind):
    y = np.array([0] * 150 + [1] * 150 + [2])
    z = RNG.normal(size=(301, 3))
    assert any("Of class 2 are 1 rows" in text for text in kind().fit(z, y).warnings)
    assert not any("Of class" in text for text in kind().fit(z[:300], Y).warnings)


@pytest.mark.parametrize("method", ["auto", "temperature", "vector", "platt", "isotonic"])
def test_numbers_whose_squares_overflow(method):
    with pytest.raises(cr.DataError, match="the square of which"):
        prob.recalibrate(1e200 * RNG.normal(size=(300, 3)), Y, method)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -1])
def test_the_coverage_of_a_recalibrated_forecast(coverage):
    forecast = np.zeros(50), np.ones(50)
    found = prob.VarianceScaling().fit(forecast, RNG.normal(size=50)).transform(forecast)
    with pytest.raises(cr.DataError, match="coverage is"):
        found.interval(coverage)


def test_a_rate_is_named_as_such():
    seen = prob.SeenRange().fit(RNG.normal(size=(50, 2)), RNG.normal(size=(50, 2)))
    for call in (seen.check, seen.drift):
        with pytest.raises(cr.DataError, match="rate is 2"):
            call(np.zeros((3, 2)), rate=2)
    with pytest.raises(cr.DataError, match="confidence is 1"):
        prob.auroc([0.0, 1.0], [1.0, 2.0], confidence=1)


@pytest.mark.filterwarnings("error")
def test_rows_that_are_all_alike():
    seen = prob.SeenRange().fit(np.zeros((50, 2)), np.zeros((60, 2)))
    assert seen.check([[0.0, 5.0], [0.0, 0.0]]).flagged.tolist() == [True, False]
    one_each = prob.Mahalanobis().fit(np.eye(4), np.arange(4))
    assert np.isfinite(one_each.score(np.ones((2, 4)))).all()


def test_a_gradient_and_a_small_dtype_of_pytorch_are_read():
    class Held:
        """What PyTorch's tensors have that arrays do not."""

        dtype = "torch.bfloat16"

        def detach(self):
            return self

        cpu = detach

        def float(self):
            return np.array([[0.25, 0.75]], np.float32)

    assert prob.brier_score(Held(), [1]) == 0.125
