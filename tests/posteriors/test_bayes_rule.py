"""Bayes' rule is one: on a linear-Gaussian model every method is held to the exact posterior."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob

NOISE, PRECISION = 0.5, 2.0
RNG = np.random.default_rng(0)
W = np.array([1.0, -2.0, 0.5])


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, X @ W + 0.3 + NOISE * rng.normal(size=n)


def exact(X, Y):
    """Bayesian linear regression: (mean, covariance, log evidence)."""
    F = np.c_[X, np.ones(len(X))]
    covariance = np.linalg.inv(F.T @ F / NOISE**2 + PRECISION * np.eye(4))
    prior = NOISE**2 * np.eye(len(X)) + F @ F.T / PRECISION
    fit = Y @ np.linalg.solve(prior, Y) + np.linalg.slogdet(prior)[1]
    mean = covariance @ F.T @ Y / NOISE**2
    return mean, covariance, -0.5 * (fit + len(X) * np.log(2 * np.pi))


X, Y = rows(30)
MEAN, COVARIANCE, EVIDENCE = exact(X, Y)
NEW = RNG.normal(size=(50, 3)) * 2
FEATURES = np.c_[NEW, np.ones(50)]

OPTIONS = {
    "laplace": {"structure": "full"},
    "variational": {"covariance": "full", "epochs": 1500},
    "hmc": {"draws": 500, "warmup": 200},
}


def line(mean=MEAN):
    model = nn.Linear(3, 1).to(cr.float64)
    model.load_state_dict({"weight": mean[None, :3], "bias": mean[3:]})
    return model


def posterior(method, X=X, Y=Y, mean=MEAN, **options):
    cr.seed(0)
    own = {"noise": NOISE, "precision": PRECISION}
    return prob.posterior(line(mean), (X, Y), method=method, **own, **options)


@pytest.mark.parametrize("method", OPTIONS)
def test_predictions_are_those_of_bayesian_linear_regression(method):
    found = posterior(method, **OPTIONS[method])
    predicted = found.predict(NEW, samples=2000)
    variance = np.einsum("ni,ij,nj->n", FEATURES, COVARIANCE, FEATURES)
    assert found.warnings == []
    assert (np.abs(predicted.mean - FEATURES @ MEAN) < 0.15 * np.sqrt(variance)).all()
    np.testing.assert_allclose(predicted.epistemic, variance, rtol=0.15)
    np.testing.assert_allclose(predicted.aleatoric, NOISE**2)


@pytest.mark.parametrize("method", ["laplace", "variational"])
def test_the_evidence_is_exact_or_bounded(method):
    found = posterior(method, **OPTIONS[method])
    assert found.log_evidence == pytest.approx(EVIDENCE, abs=0.5)


@pytest.mark.parametrize("method", ["point", *OPTIONS])
def test_prior_likelihood_and_evidence_are_the_same_numbers(method):
    """log p(D) = log p(D | w) + log p(w) − log p(w | D) at any w, with the exact posterior's."""
    joint = posterior(method, **OPTIONS.get(method, {})).joint
    for w in (MEAN, MEAN + 0.3, np.zeros(4)):
        off = w - MEAN
        log_posterior = -0.5 * (
            off @ np.linalg.solve(COVARIANCE, off)
            + np.linalg.slogdet(COVARIANCE)[1]
            + 4 * np.log(2 * np.pi)
        )
        found = joint.log_joint(cr.asarray(w, dtype=cr.float64)).item() - log_posterior
        assert found == pytest.approx(EVIDENCE, abs=1e-8)


def test_hmc_draws_the_noise_too():
    """σ under a flat prior of its logarithm, the weights integrated out: by quadrature."""
    found = posterior("hmc", draws=500, warmup=400, log_noise=(-0.5, 1.0))
    F = np.c_[X, np.ones(30)]
    grid = np.linspace(-1.6, 0.4, 400)
    log = np.array([
        -0.5 * (Y @ np.linalg.solve(S, Y) + np.linalg.slogdet(S)[1]) - 0.5 * (g + 0.5) ** 2
        for g in grid
        for S in [np.exp(2 * g) * np.eye(30) + F @ F.T / PRECISION]
    ])  # fmt: skip
    p = np.exp(log - log.max())
    mean = (p * grid).sum() / p.sum()
    std = np.sqrt((p * (grid - mean) ** 2).sum() / p.sum())
    drawn = np.log(found.noises)
    assert abs(drawn.mean() - mean) < 0.2 * std
    assert drawn.std() == pytest.approx(std, rel=0.2)
    predicted = found.predict(NEW, samples=2000)
    np.testing.assert_allclose(predicted.aleatoric, (found.noises**2).mean())


@pytest.mark.parametrize("method", OPTIONS)
def test_more_data_take_the_epistemic_part_away_and_leave_the_aleatoric(method):
    parts = []
    for n in (20, 80, 320):
        X, Y = rows(n, seed=1)
        mean = exact(X, Y)[0]
        options = OPTIONS[method] | ({"epochs": 600} if method == "variational" else {})
        options |= {"draws": 200, "warmup": 200} if method == "hmc" else {}
        predicted = posterior(method, X, Y, mean, **options).predict(NEW, samples=400)
        parts.append((predicted.epistemic.mean(), predicted.aleatoric.mean()))
    (few, a), (some, b), (many, c) = parts
    assert few > 2 * some > 4 * many
    assert a == pytest.approx(b) == pytest.approx(c) == pytest.approx(NOISE**2)


CLASSES = {
    "point": {},
    "dropout": {},
    "ensemble": {"members": 3, "epochs": 5},
    "laplace": {},
    "swag": {"epochs": 3, "rank": 2},
    "variational": {"epochs": 30},
    "hmc": {"draws": 20, "warmup": 20, "chains": 2},
}


@pytest.mark.parametrize("method", CLASSES)
def test_the_entropy_of_classes_is_the_sum_of_its_parts(method):
    """H[E p] = E H[p] + MI, and MI = 0 for a deterministic network."""
    cr.seed(0)
    X = RNG.normal(size=(40, 3))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 3))
    found = prob.posterior(model, (X, y), method=method, **CLASSES[method]).predict(X, samples=20)
    p = found.draws
    mean = p.mean(0)
    information = (p * np.log(p / mean)).sum(-1).mean(0)  # E KL(p ‖ E p)
    np.testing.assert_allclose(found.epistemic, information, atol=1e-9)
    np.testing.assert_allclose(found.entropy, found.aleatoric + information, atol=1e-9)
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert (found.epistemic == 0).all() == (method == "point")
