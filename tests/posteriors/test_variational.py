"""Variational inference against its closed form on linear-Gaussian models."""

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.errors import DataError
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.variational import Variational, local_layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1]])
Y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.5 * RNG.normal(size=40)
F = np.c_[X, np.ones(40)]
PRECISION = F.T @ F / 0.25 + 2 * np.eye(4)
COVARIANCE = np.linalg.inv(PRECISION)
MEAN = COVARIANCE @ F.T @ Y / 0.25
PRIOR = 0.25 * np.eye(40) + F @ F.T / 2  # the covariance of y before any was seen
EVIDENCE = -0.5 * (
    Y @ np.linalg.solve(PRIOR, Y) + np.linalg.slogdet(PRIOR)[1] + 40 * np.log(2 * np.pi)
)


def fitted(**options):
    cr.seed(0)
    own = {"noise": 0.5, "precision": 2.0, "epochs": 1500} | options
    return prob.posterior(nn.Linear(3, 1), (X, Y), method="variational", **own)


def test_mean_field_has_the_exact_mean_and_variances_1_over_the_precision():
    found = fitted()
    std = np.sqrt(np.diag(COVARIANCE))
    assert found.warnings == []
    assert found.local == ("",)
    assert (np.abs(found.mean - MEAN) < 0.1 * std).all()
    np.testing.assert_allclose(found.factor**2 * np.diag(PRECISION), 1, rtol=0.1)
    # Its bound lies below the evidence by KL(q ‖ posterior) of two normal distributions.
    gap = 0.5 * (np.log(np.diag(PRECISION)).sum() - np.linalg.slogdet(PRECISION)[1])
    assert abs(found.log_evidence - (EVIDENCE - gap)) < 4 * found.bound_error + 0.02
    assert gap > 0.5


def test_a_full_covariance_is_the_exact_posterior():
    found = fitted(covariance="full")
    scale = np.sqrt(np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)))
    assert found.local == ()
    assert (np.abs(found.mean - MEAN) < 0.1 * np.sqrt(np.diag(COVARIANCE))).all()
    assert (np.abs(found.covariance - COVARIANCE) < 0.12 * scale).all()
    assert abs(found.log_evidence - EVIDENCE) < 0.03
    assert found.bound_error < 0.02


def test_minibatches_count_for_all_rows():
    found = fitted(batch_size=10, epochs=800)
    np.testing.assert_allclose(found.factor**2 * np.diag(PRECISION), 1, rtol=0.2)
    assert (np.abs(found.mean - MEAN) < 0.3 * np.sqrt(np.diag(COVARIANCE))).all()


def test_log_prob_is_that_of_normal_distributions():
    joint = Joint(nn.Linear(3, 1), X, Y)
    m, L, w = RNG.normal(size=4), np.tril(RNG.normal(size=(4, 4))), RNG.normal(size=(5, 4))
    d = np.abs(np.diag(L))
    for factor, covariance in ((L, L @ L.T), (d, np.diag(d**2))):
        found = Variational(joint, (0, 0, 0), m, factor, np.zeros(1), ())
        np.testing.assert_allclose(
            found.log_prob(w), stats.multivariate_normal(m, covariance).logpdf(w)
        )


def test_the_bound_of_the_exact_posterior_is_the_evidence_without_noise():
    joint = Joint(nn.Linear(3, 1).to(cr.float64), X, Y, noise=0.5, precision=2.0)
    factor = np.linalg.cholesky(COVARIANCE)
    found = Variational(joint, (0, 0, 0), MEAN, factor, np.zeros(1), ())
    assert found.bound == pytest.approx(EVIDENCE)
    assert found.bound_error < 1e-6


class Twice(nn.Module):
    def __init__(self):
        self.once, self.twice = nn.Linear(3, 3), nn.Linear(3, 3)
        self.tied = nn.Linear(3, 3)
        self.other = nn.Linear(3, 3)
        self.other.weight = self.tied.weight
        self.rows = nn.Linear(1, 1)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, x):
        h = self.frozen(self.other(self.tied(self.twice(self.twice(self.once(x))))))
        return self.rows(h[:, :, None]).sum(axis=1)


def test_outputs_are_drawn_only_where_that_is_the_same_distribution():
    joint = Joint(Twice(), X, Y)
    assert [name for name, _ in local_layers(joint)] == ["once"]


def test_the_model_and_the_generator_stay():
    cr.seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 1)).train()
    before = model.state_dict()
    first = prob.posterior(model, (X, Y), method="variational", epochs=5).predict(X)
    again = prob.posterior(model, (X, Y), method="variational", epochs=5).predict(X)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    assert model.training
    assert all("forward" not in vars(m) for m in model.modules())
    assert (first.means == again.means).all()


def test_bad_options():
    with pytest.raises(DataError, match="'diagonal' or 'full'"):
        fitted(covariance="low-rank")
    with pytest.raises(DataError, match="epochs"):
        fitted(epochs=0)
    assert fitted(epochs=3).warnings
