"""Calibration of class probabilities: against laws, figures by hand, formulas written apart."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

import chainrule as cr
from chainrule import probability as prob


def table(n: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities, labels drawn from them)."""
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(0, 1.5, (n, classes)), 1)
    return p, (rng.random((n, 1)) > np.cumsum(p, 1)[:, :-1]).sum(1)


def slow_error(confidence, right, edges, norm=1):
    """Σ_b n_b/n |share − mean confidence|^norm, by loops over (low, high]."""
    total = 0.0
    for b, (low, high) in enumerate(pairwise(edges)):
        held = [i for i, c in enumerate(confidence) if low < c <= high or (b == 0 and c == low)]
        if held:
            share = sum(right[i] for i in held) / len(held)
            mean = sum(confidence[i] for i in held) / len(held)
            total += len(held) / len(confidence) * abs(share - mean) ** norm
    return total ** (1 / norm)


def test_four_points_with_certainties():
    """Confidences of exactly 0 and 1 fall in a bin; gaps of class 1 are 0, 1, 0.55 and 0.25."""
    p, y = [0.0, 1.0, 0.45, 0.75], [0, 0, 1, 1]
    found = prob.reliability(p, y, bins=4, kind=1)
    assert found.count.tolist() == [1, 1, 1, 1]
    assert found.rows == 4
    assert found.ece == pytest.approx((0 + 1 + 0.55 + 0.25) / 4)
    assert found.mce == 1.0
    assert prob.maximum_calibration_error(p, y, bins=4, kind=1) == 1.0


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("norm", [1, 2])
def test_errors_are_those_of_loops(binning, norm):
    p, y = table(301)
    confidence, right = p.max(1), p.argmax(1) == y
    edges = np.linspace(0, 1, 11)
    if binning == "mass":
        edges = np.concatenate([[0], np.quantile(confidence, edges[1:-1]), [1]])
    expected = slow_error(confidence, right, edges, norm)
    found = prob.expected_calibration_error(p, y, bins=10, binning=binning, norm=norm)
    assert found == pytest.approx(expected, rel=1e-12)


def test_classwise_error_is_the_mean_over_classes():
    p, y = table(200)
    edges = np.linspace(0, 1, 16)
    each = [slow_error(p[:, k], y == k, edges) for k in range(3)]
    assert prob.classwise_calibration_error(p, y) == pytest.approx(np.mean(each), rel=1e-12)


def test_bins_of_equal_mass():
    p, y = table(1000)
    counts = prob.reliability(p, y, bins=10, binning="mass").count
    assert counts.max() - counts.min() <= 1


def test_intervals_are_wilsons():
    p, y = table(100)
    found = prob.reliability(p, y, bins=5)
    for n, share, ends in zip(found.count, found.right, found.interval, strict=True):
        if n:
            law = stats.binomtest(round(n * share), int(n)).proportion_ci(method="wilson")
            assert ends == pytest.approx([law.low, law.high], abs=1e-12)
        else:
            assert np.isnan([share, *ends]).all()


def test_the_square_debiased_is_right_on_average():
    """The mean of the debiased squared error is that of the true shares (Kumar et al. 2019)."""
    confidence, true = np.array([0.6, 0.7, 0.8, 0.9]), np.array([0.5, 0.7, 0.9, 0.75])
    right = np.random.default_rng(0).random((20_000, 4, 6)) < true[:, None]
    share = right.mean(2)
    squares = ((share - confidence) ** 2 - share * (1 - share) / 5).mean(1)
    exact = np.mean((true - confidence) ** 2)
    assert squares.mean() == pytest.approx(exact, abs=0.001)
    assert np.mean((share - confidence) ** 2) > 2 * exact  # what debiasing takes away
    draw = int(squares.argmax())
    p = np.repeat(confidence, 6)
    y = np.where(right[draw].reshape(-1), 0, 1)
    found = prob.expected_calibration_error(
        np.stack([p, 1 - p], 1), y, bins=10, norm=2, debiased=True
    )
    assert found == pytest.approx(math.sqrt(squares[draw]), rel=1e-12)


def test_the_debiased_error_of_norm_1_is_that_of_resampling():
    p, y = table(400, seed=3)
    found = prob.reliability(p**2 / (p**2).sum(1, keepdims=True), y, bins=8, binning="mass")
    rng, n = np.random.default_rng(0), found.count
    scatter = np.sqrt(found.right * (1 - found.right) / n)
    drawn = found.right + scatter * rng.normal(size=(200_000, 8))
    resampled = (np.abs(drawn - found.confidence) @ (n / n.sum())).mean()
    assert found.error(1, True) == pytest.approx(2 * found.ece - resampled, abs=2e-4)
    assert found.error(1, True) < found.ece


def test_the_debiased_error_of_calibrated_rows_is_nearer_to_0():
    """Gaps are normal with deviation s then, so that 2 E|gap| − E|gap'| = (2 − √2) E|gap|."""
    plain, mended = [], []
    for seed in range(40):
        p, y = table(500, seed=seed)
        plain.append(prob.expected_calibration_error(p, y, binning="mass"))
        mended.append(prob.expected_calibration_error(p, y, binning="mass", debiased=True))
    assert np.mean(mended) / np.mean(plain) == pytest.approx(2 - math.sqrt(2), abs=0.06)


def test_a_bin_of_one_row_is_not_debiased():
    with pytest.raises(cr.DataError, match=r'bin from 0\.8667 .* single row.*binning="mass"'):
        prob.expected_calibration_error([0.9, 0.61, 0.62], [1, 1, 1], debiased=True)


# The test of the null hypothesis


def test_p_values_of_calibrated_rows_are_uniform():
    values = [prob.calibration_test(*table(300, seed=s), resamples=200).p_value for s in range(200)]
    assert stats.kstest(values, "uniform").pvalue > 0.001
    assert 1 <= sum(v < 0.05 for v in values) <= 22  # 10 of 200 are expected


def test_the_test_sees_what_is_too_sure():
    p, y = table(1000)
    sure = p**2 / (p**2).sum(1, keepdims=True)
    found = prob.calibration_test(sure, y)
    assert found.p_value < 0.01
    assert found.expected[1] < found.interval[0] <= found.ece
    again = prob.calibration_test(sure, y)
    assert found == again
    assert prob.calibration_test(p, y, kind=2).p_value > 0.05


def test_the_interval_holds_the_true_error():
    """Of two confidences, each off by 0.1, in 100 seeds."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        p = np.repeat([0.7, 0.9], 200)
        y = rng.random(400) < p - 0.1
        low, high = prob.calibration_test(p, y, kind=1, bins=2, resamples=200, seed=seed).interval
        held += low <= 0.1 <= high
    assert held >= 88


# Scores


def test_scores_by_hand():
    p, y = [[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [0, 1]
    assert prob.brier_score(p, y) == pytest.approx((0.14 + 0.01 + 0.81 + 0.64) / 2)
    assert prob.log_score(p, y) == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    assert prob.log_score([0.0], [1]) == math.inf
    assert prob.sharpness(p) == pytest.approx(stats.entropy(np.transpose(p)).mean())


def test_true_probabilities_have_the_best_scores():
    p, y = table(20_000)
    for score in (prob.brier_score, prob.log_score):
        best = score(p, y)
        assert score(p**1.5 / (p**1.5).sum(1, keepdims=True), y) > best
        assert score(p**0.6 / (p**0.6).sum(1, keepdims=True), y) > best
    assert prob.log_score(p, y) == pytest.approx(prob.sharpness(p), abs=0.01)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_parts_add_up(binning, classes):
    p, y = table(337, classes)
    parts = prob.brier_decomposition(p, y, bins=7, binning=binning)
    total = parts.reliability - parts.resolution + parts.uncertainty
    total += parts.within_variance - parts.within_covariance
    assert total == pytest.approx(parts.score, abs=1e-14)
    assert parts.score == prob.brier_score(p, y)
    base = np.bincount(y) / len(y)
    assert parts.uncertainty == pytest.approx((base * (1 - base)).sum())
    assert json.loads(json.dumps(parts.to_dict()))["score"] == parts.score


def test_murphys_three_parts_are_all_there_is_for_few_probabilities():
    rng = np.random.default_rng(0)
    p = rng.choice([0.1, 0.4, 0.8], 500)
    parts = prob.brier_decomposition(p, rng.random(500) < p)
    assert parts.within_variance == pytest.approx(0, abs=1e-25)
    assert parts.within_covariance == pytest.approx(0, abs=1e-15)


# What users hand over


def test_the_same_from_any_array():
    torch_like = table(50)
    p, y = torch_like
    expected = prob.expected_calibration_error(p, y)
    assert prob.expected_calibration_error(cr.asarray(p), cr.asarray(y)) == pytest.approx(expected)
    assert prob.expected_calibration_error(p.tolist(), y.tolist()) == pytest.approx(expected)
    assert prob.expected_calibration_error(p, np.eye(3)[y]) == pytest.approx(expected)


def test_json():
    p, y = table(60)
    kept = json.loads(json.dumps(prob.reliability(p, y, bins=6).to_dict()))
    assert kept["bins"][0]["confidence"] is None  # no confidence of 3 classes is below 1/3
    assert kept["ece"] == prob.expected_calibration_error(p, y, bins=6)
    assert json.loads(json.dumps(prob.calibration_test(p, y, resamples=50).to_dict()))["rows"] == 60


@pytest.mark.parametrize(
    ("p", "y", "options", "message"),
    [
        ([[2.0, -1.0]], [0], {}, "between 0 and 1.*softmax"),
        ([[0.5, 0.6]], [0], {}, r"row 0 .*adds up to 1\.1"),
        ([[0.5, 0.5]], [2], {}, "labels are their codes, 0 to 1"),
        ([[0.5, 0.5]], [0, 1], {}, "there are 1 rows"),
        (np.zeros((0, 2)), [], {}, "no row"),
        ([[0.5, np.nan]], [0], {}, "nan at"),
        ([[0.5, 0.5]], [0], {"bins": 0}, "between 1 and"),
        ([[0.5, 0.5]], [0], {"bins": 2.5}, "whole number"),
        ([[0.5, 0.5]], [0], {"binning": "equal"}, '"width" or equal "mass"'),
        ([[0.5, 0.5]], [0], {"kind": 2}, "no class 2"),
        ([[0.5, 0.5]], [0], {"kind": "top"}, "code of a class"),
    ],
)
def test_bad_input(p, y, options, message):
    with pytest.raises(cr.ChainruleError, match=message):
        prob.reliability(p, y, **options)


def test_bad_options():
    for options, message in (
        ({"resamples": 0}, "between 1"),
        ({"resamples": 1.5}, "whole number"),
        ({"seed": -1}, "not below 0"),
    ):
        with pytest.raises(cr.ChainruleError, match=message):
            prob.calibration_test([0.5], [1], **options)
    with pytest.raises(cr.DataError, match="norm 1 or 2"):
        prob.expected_calibration_error([0.5], [1], norm=3)
