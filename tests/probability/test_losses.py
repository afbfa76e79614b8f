"""Losses as negative log-likelihoods of the distributions that they name."""

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.special import expit, log_softmax, softmax
from sklearn.datasets import load_iris

import chainrule as cr
from chainrule import nn
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


def test_huber_is_the_density_that_it_says():
    """exp(−huber) integrates to a finite number, normal within δ and Laplace beyond it."""
    delta = 1.5

    def huber(r):
        zero = cr.asarray(0.0, dtype=cr.float64)
        return nn.huber_loss(cr.asarray(r, dtype=cr.float64), zero, delta=delta).item()

    total, _ = integrate.quad(lambda r: np.exp(-huber(r)), -np.inf, np.inf)
    assert 1 < total < 10
    assert huber(1.0) == pytest.approx(0.5)
    assert huber(5.0) - huber(4.0) == pytest.approx(delta)


def test_poisson():
    counts = np.array([0.0, 1, 2, 5, 3, 0, 1, 9])
    wanted = -stats.poisson(np.exp(MU)).logpmf(counts)
    found = value(nn.poisson_nll_loss, MU, counts, reduction="none")
    difference = wanted - found
    factorials = np.array([np.sum(np.log(np.arange(1, c + 1))) for c in counts])
    assert difference == pytest.approx(factorials)


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


@pytest.mark.parametrize(
    ("loss", "args"),
    [
        (nn.cross_entropy, (Z, LABELS)),
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
        (against([0, 1], reduction="avg"), cr.ChainruleError, "mean"),
        (lambda: nn.mse_loss(cr.ones((4, 1)), cr.ones(4)), cr.ShapeError, r"\(4, 1\)"),
    ],
)
def test_misuse(call, error, says):
    with pytest.raises(error, match=says):
        call()
