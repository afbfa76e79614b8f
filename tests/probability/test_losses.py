"""Losses as negative log-likelihoods of the distributions that they name."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from scipy.special import expit, log_softmax, softmax
from sklearn.datasets import load_iris

import chainrule as cr
from chainrule import nn
from chainrule.errors import BoundsError
from chainrule.probability.calibration import fit_temperature

rng = np.random.default_rng(0)
Z = rng.normal(size=(6, 4)) * 3
LABELS = np.array([0, 3, 1, 1, 2, 0])
MU, Y = rng.normal(size=8), rng.normal(size=8)


def value(loss, *args, **options):
    return np.asarray(loss(*map(cr.asarray, args), **options))


def test_cross_entropy_is_minus_log_of_a_category():
    wanted = [
        -stats.multinomial.logpmf(np.eye(4)[k], 1, softmax(z))
        for z, k in zip(Z, LABELS, strict=True)
    ]
    assert value(nn.cross_entropy, Z, LABELS, reduction="none") == pytest.approx(wanted)
    assert value(nn.cross_entropy, Z, LABELS) == pytest.approx(np.mean(wanted))
    assert value(nn.cross_entropy, Z, LABELS, reduction="sum") == pytest.approx(np.sum(wanted))


def test_binary_cross_entropy_is_minus_log_of_bernoulli():
    yes = np.array([1.0, 0, 1, 1, 0, 0, 1, 0])
    wanted = -stats.bernoulli.logpmf(yes, expit(MU))
    found = value(nn.binary_cross_entropy_with_logits, MU, yes, reduction="none")
    assert found == pytest.approx(wanted)


def test_gaussian_with_predicted_variance():
    var = np.abs(rng.normal(size=8)) + 0.1
    wanted = -stats.norm(MU, np.sqrt(var)).logpdf(Y)
    found = value(nn.gaussian_nll_loss, MU, Y, var, full=True, reduction="none")
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("loss", "distribution", "factor"),
    [
        (nn.mse_loss, lambda mu: stats.norm(mu, np.sqrt(0.5)), 1.0),
        (nn.l1_loss, lambda mu: stats.laplace(mu, 1.0), 1.0),
    ],
)
def test_up_to_a_constant(loss, distribution, factor):
    found = value(loss, MU, Y, reduction="none") * factor
    difference = -distribution(MU).logpdf(Y) - found
    assert difference == pytest.approx(np.full(8, difference[0]))


@pytest.mark.parametrize("delta", [0.3, 1.0, 2.5])
def test_huber_is_the_density_that_it_says(delta):
    """exp(−huber)/Z is a normal curve within δ and Laplace's beyond; Z by two ways."""

    def huber(r):
        return value(nn.huber_loss, np.float64(r), np.float64(0), delta=delta).item()

    total = 2 * sum(
        integrate.quad(lambda r: np.exp(-huber(r)), *ends)[0]
        for ends in ((0, delta), (delta, np.inf))
    )
    middle = np.sqrt(2 * np.pi) * (stats.norm.cdf(delta) - stats.norm.cdf(-delta))
    assert total == pytest.approx(middle + 2 / delta * np.exp(-(delta**2) / 2), rel=1e-8)
    laplace = stats.laplace(scale=1 / delta)
    inside, outside = delta * np.array([0.0, 0.4, 1.0]), delta * np.array([1.0, 1.7, 40.0])
    for points, distribution in ((inside, stats.norm), (outside, laplace)):
        constant = [-distribution.logpdf(r) - huber(r) for r in points]
        assert constant == pytest.approx([constant[0]] * 3, abs=1e-9)


def test_smooth_l1_is_huber_over_beta():
    for beta in (0.5, 2.0):
        found = value(nn.smooth_l1_loss, 3 * MU, Y, beta=beta, reduction="none")
        d = np.abs(3 * MU - Y)
        assert found == pytest.approx(np.where(d < beta, d * d / 2 / beta, d - beta / 2))
    assert value(nn.smooth_l1_loss, MU, Y, beta=0) == pytest.approx(np.abs(MU - Y).mean())


def test_poisson():
    counts = np.array([0.0, 1, 2, 5, 3, 0, 1, 9])
    wanted = -stats.poisson(np.exp(MU)).logpmf(counts)
    found = value(nn.poisson_nll_loss, MU, counts, reduction="none")
    difference = wanted - found
    factorials = np.array([np.sum(np.log(np.arange(1, c + 1))) for c in counts])
    assert difference == pytest.approx(factorials)


def test_poisson_of_the_rate_itself_and_with_its_constant():
    counts, rate = np.array([0.0, 1, 2, 5, 3, 0, 1, 9]), np.exp(MU)
    found = value(nn.poisson_nll_loss, rate, counts, log_input=False, reduction="none")
    assert found == pytest.approx(value(nn.poisson_nll_loss, MU, counts, reduction="none"), 1e-6)
    found = value(nn.poisson_nll_loss, MU, counts, full=True, reduction="none")
    gap = -stats.poisson(rate).logpmf(counts) - found
    # Stirling's series: what it leaves out lies between 0 and 1/(12 y); at 0 and 1, log y! is 0.
    assert (gap >= -1e-12).all()
    assert (gap <= np.where(counts > 1, 1 / (12 * np.maximum(counts, 1)), 1e-12)).all()


def test_a_variance_below_eps_counts_as_eps():
    zero = np.zeros(8)
    found = value(nn.gaussian_nll_loss, MU, Y, zero, eps=0.1, full=True, reduction="none")
    assert found == pytest.approx(-stats.norm(MU, np.sqrt(0.1)).logpdf(Y))


def test_what_a_positive_counts():
    yes, weight = (Y > 0) * 1.0, np.linspace(0.5, 2, 8)
    wanted = -(3 * yes * np.log(expit(MU)) + (1 - yes) * np.log(expit(-MU)))
    options = {"pos_weight": cr.asarray(3.0), "weight": cr.asarray(weight), "reduction": "none"}
    found = value(nn.binary_cross_entropy_with_logits, MU, yes, **options)
    assert found == pytest.approx(wanted * weight)


@pytest.mark.parametrize(
    "loss",
    [nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.smooth_l1_loss, nn.poisson_nll_loss,
     nn.binary_cross_entropy_with_logits, lambda x, y, **o: nn.gaussian_nll_loss(x, y, y, **o)],
)  # fmt: skip
def test_reductions(loss):
    target = expit(Y).reshape(2, 4)
    each = value(loss, MU.reshape(2, 4), target, reduction="none")
    assert each.shape == (2, 4)
    assert value(loss, MU.reshape(2, 4), target) == pytest.approx(each.mean())
    assert value(loss, MU.reshape(2, 4), target, reduction="sum") == pytest.approx(each.sum())


WEIGHT = np.array([1.0, 2.0, 0.5, 3.0])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("shape", [(), (6,), (6, 2, 3)])
def test_cross_entropy_one_label_at_a_time(smoothing, weight, shape):
    """−Σ w_c q_c log p_c with the smoothed q, as PyTorch defines it; the mean is over Σ w_label."""
    draw = np.random.default_rng(4)
    z, labels = draw.normal(size=(*shape[:1], 4, *shape[1:])), draw.integers(0, 4, shape)
    if shape:
        labels.reshape(-1)[::4] = -7
    factors = np.ones(4) if weight is None else weight
    losses, counted = np.zeros(shape), 0.0
    for at in np.ndindex(shape):
        if (label := labels[at]) != -7:
            logp = log_softmax(z[(*at[:1], slice(None), *at[1:])])
            q = (1 - smoothing) * np.eye(4)[label] + smoothing / 4
            losses[at] = -(factors * q * logp).sum()
            counted += factors[label]
    options = {"weight": weight, "ignore_index": -7}
    smoothed = {**options, "label_smoothing": smoothing}
    found = value(nn.cross_entropy, z, labels, reduction="none", **smoothed)
    assert found == pytest.approx(losses)
    assert value(nn.cross_entropy, z, labels, **smoothed) == pytest.approx(losses.sum() / counted)
    if not smoothing:
        logp = log_softmax(z, 1 if shape else 0)
        assert value(nn.nll_loss, logp, labels, reduction="none", **options) == pytest.approx(
            losses
        )
        assert value(nn.nll_loss, logp, labels, **options) == pytest.approx(losses.sum() / counted)


def test_soft_labels_with_weights():
    q = softmax(rng.normal(size=(6, 4)), 1)
    wanted = -(WEIGHT * q * log_softmax(Z, 1)).sum(1)
    found = value(nn.cross_entropy, Z, q, weight=WEIGHT, reduction="none")
    assert found == pytest.approx(wanted)
    assert value(nn.cross_entropy, Z, q, weight=WEIGHT) == pytest.approx(wanted.mean())


def test_the_mean_of_nothing_is_not_a_number():
    assert np.isnan(value(nn.cross_entropy, Z, np.full(6, -100)))
    assert value(nn.cross_entropy, Z, np.full(6, -100), reduction="sum") == 0


def test_smoothing_weights_and_ignored_labels():
    p = 0.9 * np.eye(4)[LABELS] + 0.1 / 4
    wanted = -(p * log_softmax(Z, 1)).sum(1)
    found = value(nn.cross_entropy, Z, LABELS, label_smoothing=0.1, reduction="none")
    assert found == pytest.approx(wanted)
    assert value(nn.cross_entropy, Z, p) == pytest.approx(wanted.mean())
    weight = np.array([1.0, 2.0, 0.5, 3.0])
    each = -log_softmax(Z, 1)[np.arange(6), LABELS]
    average = (each * weight[LABELS]).sum() / weight[LABELS].sum()
    found = nn.cross_entropy(cr.asarray(Z), cr.asarray(LABELS), weight=cr.asarray(weight))
    assert found.item() == pytest.approx(average)
    some = LABELS.copy()
    some[[1, 4]] = -100
    found = value(nn.cross_entropy, Z, some)
    assert found == pytest.approx(each[[0, 2, 3, 5]].mean())


def test_extreme_logits_are_exact():
    z = np.array([[1e4, 0.0], [-1e4, 0.0]])
    assert value(nn.cross_entropy, z, np.array([1, 0]), reduction="none").tolist() == [1e4, 1e4]
    found = value(
        nn.binary_cross_entropy_with_logits, np.array([500.0, -500.0]), np.array([0.0, 1.0]),
        reduction="none",
    )  # fmt: skip
    assert found.tolist() == [500.0, 500.0]


LOGITS = st.floats(-1e5, 1e5) | st.floats(-30, 30) | st.sampled_from([0.0, 709.8, -745.2, 1e300])


@given(st.lists(LOGITS, min_size=2, max_size=5), st.data())
def test_cross_entropy_to_the_last_digits(logits, data):
    """The loss and its derivative softmax − onehot, against 60 digits."""
    label = data.draw(st.integers(0, len(logits) - 1))
    with mpmath.workdps(60):
        peak = max(logits)
        parts = [mpmath.exp(mpmath.mpf(z) - peak) for z in logits]
        loss = mpmath.log(mpmath.fsum(parts)) + (mpmath.mpf(peak) - mpmath.mpf(logits[label]))
        slopes = [float(p / mpmath.fsum(parts) - (i == label)) for i, p in enumerate(parts)]
        loss = float(loss)
    found, slope = cr.value_and_grad(lambda z: nn.cross_entropy(z, cr.asarray(label)))(
        cr.asarray(np.array(logits))
    )
    # log Σ exp is near log 1 where one class is sure: absolute there, relative elsewhere.
    assert found.item() == pytest.approx(loss, rel=1e-13, abs=1e-15)
    np.testing.assert_allclose(slope.numpy(), slopes, rtol=1e-12, atol=1e-15)


@given(LOGITS, st.sampled_from([0.0, 0.3, 1.0]))
def test_binary_cross_entropy_to_the_last_digits(logit, target):
    with mpmath.workdps(60):
        x = mpmath.mpf(logit)
        soft = mpmath.log1p(mpmath.exp(-abs(x)))
        loss = float((1 - target) * x + soft + max(-x, 0))
        slope = float(mpmath.exp(min(x, 0)) / (1 + mpmath.exp(-abs(x))) - target)
    found, derivative = cr.value_and_grad(
        lambda z: nn.binary_cross_entropy_with_logits(z, cr.asarray(target, dtype=cr.float64))
    )(cr.asarray(logit, dtype=cr.float64))
    assert found.item() == pytest.approx(loss, rel=1e-13, abs=1e-300)
    assert derivative.item() == pytest.approx(slope, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("loss", "args"),
    [
        (nn.cross_entropy, (Z, LABELS)),
        (nn.cross_entropy, (Z, softmax(Z[::-1], 1))),
        (lambda z, y: nn.cross_entropy(z, y, weight=WEIGHT, label_smoothing=0.2), (Z, LABELS)),
        (lambda z, y: nn.cross_entropy(z, y, weight=WEIGHT, ignore_index=1), (Z, LABELS)),
        (lambda z, y: nn.nll_loss(z, y, weight=WEIGHT, ignore_index=1), (Z, LABELS)),
        (lambda x, y: nn.binary_cross_entropy_with_logits(x, y, pos_weight=3.0), (MU, expit(Y))),
        (lambda x, y: nn.poisson_nll_loss(x, y, log_input=False), (np.exp(MU), np.abs(Y))),
        (lambda v, x: nn.gaussian_nll_loss(x, 2 * x, v), (np.abs(Y) + 0.5, MU)),
        (nn.binary_cross_entropy_with_logits, (MU, (Y > 0) * 1.0)),
        (nn.mse_loss, (MU, Y)),
        (nn.l1_loss, (MU, Y)),
        (nn.huber_loss, (MU * 3, Y)),
        (nn.smooth_l1_loss, (MU * 3, Y)),
        (nn.poisson_nll_loss, (MU, np.abs(Y))),
        (nn.gaussian_nll_loss, (MU, Y, np.abs(Y) + 0.5)),
    ],
)
def test_derivatives(loss, args):
    first, *rest = args
    cr.check_gradients(lambda x: loss(x, *map(cr.asarray, rest)), first, order=2)


# Minimising cross-entropy is maximising likelihood


def test_the_best_logits_of_counts_are_their_shares():
    counts = np.array([7, 2, 1])
    labels = cr.asarray(np.repeat(np.arange(3), counts))

    def loss(logits):
        spread = cr.broadcast_to(cr.asarray(logits), (10, 3))
        value, gradient = cr.value_and_grad(lambda z: nn.cross_entropy(z, labels))(spread)
        return value.item(), gradient.numpy().sum(0)

    best = optimize.minimize(loss, np.zeros(3), jac=True).x
    assert softmax(best) == pytest.approx(counts / 10, abs=1e-4)


def test_cross_entropy_and_likelihood_have_the_same_best_weights():
    """One is minimised here, with our gradients; the other is maximised by SciPy alone."""
    X, y = load_iris(return_X_y=True)
    X = np.c_[(X - X.mean(0)) / X.std(0), np.ones(len(X))]
    ridge = (
        1e-2  # the likelihood's prior, N(0, 1/(2 · ridge · n)); without it the best is at infinity
    )

    def cross_entropy(w):
        def loss(v):
            logits = cr.asarray(X) @ cr.reshape(v, (5, 3))
            return nn.cross_entropy(logits, cr.asarray(y)) + ridge * (v * v).sum()

        value, gradient = cr.value_and_grad(loss)(cr.asarray(w))
        return value.item(), gradient.numpy()

    def minus_likelihood(w):
        probabilities = softmax(X @ w.reshape(5, 3), 1)[np.arange(len(y)), y]
        prior = np.exp(-ridge * len(y) * (w * w).sum())
        return -np.log(np.prod(probabilities.astype(np.longdouble)) * np.longdouble(prior))

    ours = optimize.minimize(cross_entropy, np.zeros(15), jac=True, tol=1e-10).x
    theirs = optimize.minimize(minus_likelihood, np.zeros(15), tol=1e-8).x
    assert ours == pytest.approx(theirs, abs=2e-3)
    assert cross_entropy(ours)[0] * len(y) == pytest.approx(float(minus_likelihood(ours)), rel=1e-9)


def test_temperature_is_the_likeliest_one():
    logits = rng.normal(size=(400, 3)) * 2
    labels = np.array([rng.choice(3, p=softmax(z / 2.5)) for z in logits])
    found = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(-2, 3, 400))
    losses = [-log_softmax(logits / t, 1)[np.arange(400), labels].mean() for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.05)
    sure = np.eye(3)[[0, 1, 2] * 20] * 3.0
    assert 0.1 < fit_temperature(sure, [0, 1, 2] * 20) < 1  # all right is no certainty


def against(labels, **options):
    return lambda: nn.cross_entropy(cr.ones((2, 3)), cr.asarray(labels), **options)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (against([0, 3]), cr.ShapeError, "row 1.*label 3"),
        (against([0, -1]), cr.ShapeError, "row 1"),
        (against([0.0, 1.0]), cr.DTypeError, "int64"),
        (against([0, 1, 2]), cr.ShapeError, r"\(2,\)"),
        (against([True, False]), cr.DTypeError, "int64"),
        (against([0, 1], weight=[1.0, 2.0]), cr.ShapeError, "3 classes"),
        (against([0, 1], label_smoothing=1.5), cr.DTypeError, "label_smoothing"),
        (against([0, 1], label_smoothing="much"), cr.DTypeError, "label_smoothing"),
        (against(np.ones((2, 2))), cr.DTypeError, "probabilities"),
        (lambda: nn.cross_entropy(cr.asarray([[1, 2]]), cr.asarray([0])), cr.DTypeError, "logits"),
        (lambda: nn.cross_entropy(cr.asarray(1.0), cr.asarray(0)), cr.ShapeError, "class axis"),
        (lambda: nn.nll_loss(cr.ones((2, 3)), cr.asarray([0, 3])), BoundsError, "row 1.*3"),
        (lambda: nn.nll_loss(cr.ones((2, 3)), cr.asarray([0, -1])), BoundsError, "row 1.*-1"),
        (
            lambda: nn.nll_loss(cr.ones((2, 3)), cr.asarray([0, 1]), weight=cr.ones(2)),
            cr.ShapeError,
            "3 classes",
        ),
        (lambda: nn.mse_loss(cr.asarray([1]), cr.asarray([1])), cr.DTypeError, "floating"),
        (lambda: nn.huber_loss(cr.ones(2), cr.ones(2), delta=0), cr.DTypeError, "delta"),
        (lambda: nn.huber_loss(cr.ones(2), cr.ones(2), delta=np.inf), cr.DTypeError, "delta"),
        (lambda: nn.smooth_l1_loss(cr.ones(2), cr.ones(2), beta=-1), cr.DTypeError, "beta"),
        (
            lambda: nn.gaussian_nll_loss(cr.ones(2), cr.ones(2), cr.asarray([1.0, -1.0])),
            cr.DTypeError,
            "variance",
        ),
        (
            lambda: nn.gaussian_nll_loss(cr.ones(2), cr.ones(2), cr.ones(3)),
            cr.ShapeError,
            r"\(3,\)",
        ),
        (
            lambda: nn.binary_cross_entropy_with_logits(
                cr.ones(4), cr.ones(4), weight=cr.ones((3, 1))
            ),
            cr.ShapeError,
            r"\(3, 4\)",
        ),
        (against([0, 1], reduction="avg"), cr.ChainruleError, "mean"),
        (lambda: nn.mse_loss(cr.ones((4, 1)), cr.ones(4)), cr.ShapeError, r"\(4, 1\)"),
    ],
)
def test_misuse(call, error, says):
    with pytest.raises(error, match=says):
        call()
