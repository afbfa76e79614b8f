"""SWAG against its published formula, and the law of SGD's path."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.errors import DataError, NonFiniteError
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.swag import SWAG

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.5 * RNG.normal(size=64)


def test_draws_have_the_published_covariance():
    """½ (Σ_diag + D̂ D̂ᵀ / (K − 1)), Maddox et al. 2019, algorithm 1."""
    mean, variance = RNG.normal(size=4), np.array([1.0, 4.0, 0.25, 0.0])
    D = RNG.normal(size=(3, 4))
    found = SWAG(Joint(nn.Linear(3, 1), X, Y), (1, 2, 3), mean, variance, D)
    draws = found.draw(100_000)
    wanted = 0.5 * np.diag(variance) + 0.5 * D.T @ D / 2
    np.testing.assert_allclose(found.covariance, wanted)
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), wanted, atol=0.06)


def test_moments_are_those_of_the_path_of_sgd():
    """A network of one weight, all rows in a batch: the path is w ← w − η (a w − b), so the weights
    noted are known in closed form."""
    x, y = X[:, :1], X[:, 0] * 2
    model = nn.Linear(1, 1, bias=False).to(cr.float64)
    model.load_state_dict({"weight": [[0.5]]})
    found = prob.posterior(
        model, (x, y), method="swag", lr=0.1, momentum=0.0, batch_size=64, epochs=50, rank=5,
        noise=1.0, precision=1.0,
    )  # fmt: skip
    a, b = (x[:, 0] ** 2).mean() + 1 / 64, (x[:, 0] * y).mean()
    path = b / a + (0.5 - b / a) * (1 - 0.1 * a) ** np.arange(1, 51)
    assert found.mean[0] == pytest.approx(path.mean())
    assert found.variance[0] == pytest.approx(path.var())
    running = np.cumsum(path) / np.arange(1, 51)
    np.testing.assert_allclose(found.deviations[:, 0], (path - running)[-5:])
    assert any("still falls" in warning for warning in found.warnings)


def test_batch_normalisation_gets_the_statistics_of_each_draw():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    found = prob.posterior(model, (X, Y), method="swag", epochs=4, rank=2)
    w = found.draw(1)[0]
    W, b, g, c, V, d = (t.numpy() for t in found.joint.unflatten(w.astype(np.float32)).values())
    h = X @ W.T + b
    wanted = ((h - h.mean(0)) / np.sqrt(h.var(0, ddof=1) + 1e-5) * g + c) @ V.T + d
    np.testing.assert_allclose(
        found.predict(X, samples=1).means[0], wanted[:, 0], rtol=1e-3, atol=1e-4
    )
    assert (model[1].running_mean.numpy() == 0).all()


def test_the_model_and_the_generator_stay():
    cr.seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
    before, state = model.state_dict(), cr.Generator(0).state
    first = prob.posterior(model, (X, Y), method="swag", epochs=3, rank=2)
    again = prob.posterior(model, (X, Y), method="swag", epochs=3, rank=2)
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    assert not model.training
    assert (first.draw(3) == again.draw(3)).all()
    assert state == cr.Generator(0).state
    assert "few" in first.warnings[0]


def test_bad_options():
    model = nn.Linear(3, 1)
    with pytest.raises(DataError, match="rank"):
        prob.posterior(model, (X, Y), method="swag", rank=1)
    with (
        pytest.raises(NonFiniteError, match="smaller learning rate"),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        prob.posterior(model, (X, Y), method="swag", lr=1e6, noise=1e-3)
