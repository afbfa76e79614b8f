"""Laplace's approximation against exact Bayesian linear regression, Hessians, and its own laws."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import multivariate_normal, norm

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.errors import DataError, GradientError, ShapeError
from chainrule.posteriors.laplace import curvature

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
PROBES = rng.normal(size=(7, 3))


def laplace(model: nn.Module, x: Any, y: Any, **options: Any) -> Any:
    return prob.posterior(model, (x, y), method="laplace", **options)


def set_weights(model: nn.Module, vector: np.ndarray) -> None:
    start = 0
    for parameter in model.parameters():
        parameter.assign(vector[start : start + parameter.size].reshape(parameter.shape))
        start += parameter.size


def ridge(x: np.ndarray, y: np.ndarray, noise: float, precision: Any) -> tuple[Any, Any, Any]:
    """(features with a constant, the precision matrix, the mean) of Bayesian linear regression
    (Bishop 2006, Pattern Recognition and Machine Learning, eqs. 3.53, 3.54)."""
    phi = np.column_stack([x, np.ones(len(x))])
    matrix = phi.T @ phi / noise**2 + np.diag(np.broadcast_to(precision, phi.shape[1]))
    return phi, matrix, np.linalg.solve(matrix, phi.T @ y / noise**2)


@pytest.mark.parametrize("precision", [0.7, np.array([0.2, 3.0, 1.0, 5.0])])
@pytest.mark.parametrize("weights", ["all", "last-layer"])
def test_of_a_linear_model_it_is_bayesian_linear_regression(weights: str, precision: Any) -> None:
    y = X @ [1.0, -2.0, 0.5] + 0.3 + 0.4 * rng.normal(size=40)
    noise = 0.45
    phi, matrix, mean = ridge(X, y, noise, precision)
    model = nn.Linear(3, 1).to(cr.float64)
    set_weights(model, mean)
    found = laplace(
        model, X, y, structure="full", weights=weights, noise=noise, precision=precision
    )

    np.testing.assert_allclose(found.gaussian.matrix(), matrix, rtol=1e-10)
    np.testing.assert_allclose(found.gaussian.variances, np.diag(np.linalg.inv(matrix)), rtol=1e-9)
    probes = np.column_stack([PROBES, np.ones(len(PROBES))])
    spread = np.einsum("ni,ij,nj->n", probes, np.linalg.inv(matrix), probes)
    predicted = found.predict(PROBES)
    np.testing.assert_allclose(predicted.mean, probes @ mean, rtol=1e-8)
    np.testing.assert_allclose(predicted.epistemic, spread, rtol=1e-8)
    np.testing.assert_allclose(predicted.aleatoric, noise**2, rtol=1e-12)
    targets = probes @ mean + 1.0
    exactly = norm.logpdf(targets, probes @ mean, np.sqrt(spread + noise**2))
    np.testing.assert_allclose(predicted.log_prob(targets), exactly, rtol=1e-8)

    prior = np.diag(1 / np.broadcast_to(precision, 4))
    evidence = multivariate_normal.logpdf(
        y, np.zeros(40), noise**2 * np.eye(40) + phi @ prior @ phi.T
    )
    assert abs(found.log_evidence - evidence) < 1e-8
    assert abs(found.log_likelihood - norm.logpdf(y, phi @ mean, noise).sum()) < 1e-8
    assert abs(found.log_prior - norm.logpdf(mean, 0, np.sqrt(np.diag(prior))).sum()) < 1e-8
    assert found.gradient_norm < 1e-8
    assert not found.warnings


def test_classes_have_the_hessian_of_a_linear_model() -> None:
    """The logits are linear in the weights, so the Gauss–Newton matrix is all of the Hessian."""
    model = nn.Linear(3, 4).to(cr.float64)
    found = laplace(model, X, rng.integers(0, 4, 40), structure="full", precision=0.3)
    hessian = cr.hessian(lambda w: -found.joint.log_joint(w))(cr.asarray(found.joint.weights))
    np.testing.assert_allclose(found.gaussian.matrix(), hessian.numpy(), atol=1e-9)

    model = nn.Linear(3, 1).to(cr.float64)
    y = rng.integers(0, 2, 40)
    found = laplace(model, X, y, likelihood="bernoulli", structure="full", precision=0.3)
    hessian = cr.hessian(lambda w: -found.joint.log_joint(w))(cr.asarray(found.joint.weights))
    np.testing.assert_allclose(found.gaussian.matrix(), hessian.numpy(), atol=1e-9)


def test_a_mean_and_a_variance_have_the_expected_hessian() -> None:
    """E_y of the Hessian of −log p(y | m, s) in a linear model, by Gauss–Hermite quadrature."""
    model = nn.Linear(3, 2).to(cr.float64)
    found = laplace(model, X, rng.normal(size=40), likelihood="mean-variance", structure="full")
    joint = found.joint
    outputs = model(cr.asarray(X)).numpy()
    scale = np.sqrt(np.logaddexp(0, outputs[:, 1]) + 1e-6)
    places, shares = np.polynomial.hermite_e.hermegauss(5)  # exact: the Hessian is quadratic in y
    total = np.diag(np.full(joint.size, float(joint.precision)))
    for place, share in zip(places, shares / shares.sum(), strict=True):
        y = cr.asarray(outputs[:, 0] + scale * place)

        def loss(w: Any, y: Any = y) -> Any:
            return -joint.log_likelihood(joint.outputs(joint.unflatten(w), cr.asarray(X)), y)

        total += share * cr.hessian(loss)(cr.asarray(joint.weights)).numpy()
    np.testing.assert_allclose(found.gaussian.matrix(), total, atol=1e-8)


def network(*, outputs: int = 3) -> nn.Module:
    cr.seed(3)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, outputs)).to(cr.float64)


def images() -> tuple[nn.Module, np.ndarray]:
    cr.seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2, stride=2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3)
    )
    return model.to(cr.float64), np.random.default_rng(1).normal(size=(9, 2, 3, 3))


def by_differences(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """(n, K, P): the Jacobian of the outputs in the weights, by central differences."""
    names = [name for name, _ in model.named_parameters()]
    start = np.concatenate([p.numpy().reshape(-1) for p in model.parameters()])
    columns = []
    for i in range(len(start)):
        ends = []
        for step in (1e-6, -1e-6):
            moved = start.copy()
            moved[i] += step
            set_weights(model, moved)
            ends.append(model(cr.asarray(x)).numpy().reshape(len(x), -1))
        columns.append((ends[0] - ends[1]) / 2e-6)
    set_weights(model, start)
    assert names
    return np.stack(columns, -1)


@pytest.mark.parametrize("kind", ["dense", "images"])
def test_curvature_is_that_of_jacobians_by_differences(kind: str) -> None:
    model, x = (network(), X) if kind == "dense" else images()
    y = rng.integers(0, 3, len(x))
    logits = model(cr.asarray(x)).numpy()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    information = np.einsum("nk,kl->nkl", p, np.eye(3)) - np.einsum("nk,nl->nkl", p, p)
    j = by_differences(model, x)
    matrix = np.einsum("nkp,nkl,nlq->pq", j, information, j) + 0.5 * np.eye(j.shape[-1])
    found = laplace(model, x, y, structure="full", precision=0.5)
    np.testing.assert_allclose(found.gaussian.matrix(), matrix, atol=1e-6)
    found = laplace(model, x, y, structure="diag", precision=0.5)
    np.testing.assert_allclose(found.gaussian.matrix(), np.diag(np.diag(matrix)), atol=1e-6)


@pytest.mark.parametrize("structure", ["full", "kron", "diag"])
@pytest.mark.parametrize("likelihood", ["categorical", "normal"])
def test_a_layer_alone_is_as_inside_of_a_network(structure: str, likelihood: str) -> None:
    """A dense layer alone has its curvature in closed form, and in a network by derivatives."""
    layer = nn.Linear(3, 4).to(cr.float64)
    y = rng.integers(0, 4, 40) if likelihood == "categorical" else rng.normal(size=(40, 4))
    options = {"structure": structure, "precision": 0.5, "noise": 0.7}
    alone, inside = laplace(layer, X, y, **options), laplace(nn.Sequential(layer), X, y, **options)
    np.testing.assert_allclose(alone.gaussian.matrix(), inside.gaussian.matrix(), atol=1e-11)
    assert alone.gradient_norm == pytest.approx(inside.gradient_norm)
    for mine, its in zip(alone.linearised(PROBES), inside.linearised(PROBES), strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-12)


def blocks_of(matrix: np.ndarray, model: nn.Module) -> np.ndarray:
    """A matrix with what stands between different parameters taken out."""
    owner = np.repeat(range(len(list(model.parameters()))), [p.size for p in model.parameters()])
    return matrix * (owner[:, None] == owner)


def test_kronecker_factors_of_one_row_are_exact() -> None:
    model = network()
    x, y = X[:1], np.array([1])
    full = laplace(model, x, y, structure="full", precision=0.5)
    kron = laplace(model, x, y, structure="kron", precision=0.5)
    exact = blocks_of(full.gaussian.matrix(), model)
    np.testing.assert_allclose(kron.gaussian.matrix(), exact, atol=1e-12)
    assert kron.log_likelihood == pytest.approx(full.log_likelihood)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.Conv1d(2, 3, 4, dilation=2), (2, 7)),
        (lambda: nn.Conv2d(2, 3, (2, 3), padding_mode="circular", padding=1, stride=4), (2, 2, 3)),
        (lambda: nn.Conv3d(1, 2, 2, bias=False), (1, 2, 2, 2)),
    ],
)
def test_kronecker_factors_of_a_convolution_with_one_place_are_exact(
    layer: Any, shape: tuple[int, ...]
) -> None:
    model = nn.Sequential(layer(), nn.Flatten()).to(cr.float64)
    x = rng.normal(size=(1, *shape))
    assert model[0](cr.asarray(x)).size == model[0].out_channels
    y = rng.normal(size=(1, model[0].out_channels))
    full = laplace(model, x, y, structure="full", precision=0.5, noise=1.0)
    kron = laplace(model, x, y, structure="kron", precision=0.5, noise=1.0)
    exact = blocks_of(full.gaussian.matrix(), model)
    np.testing.assert_allclose(kron.gaussian.matrix(), exact, atol=1e-12)


def formula(matrix: np.ndarray, weights: np.ndarray, precision: Any, likelihood: float) -> float:
    """log p(D) by its definition, from the likelihood's curvature."""
    each = np.broadcast_to(precision, weights.shape)
    whole = matrix + np.diag(each)
    prior = norm.logpdf(weights, 0, 1 / np.sqrt(each)).sum()
    volume = 0.5 * len(weights) * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(whole)[1]
    return float(likelihood + prior + volume)


@pytest.mark.parametrize("structure", ["full", "kron", "diag"])
@pytest.mark.parametrize("precision", ["marginal likelihood", "per layer"])
def test_the_marginal_likelihood_is_at_its_maximum(structure: str, precision: str) -> None:
    """Of classes; another optimiser, on the formula with dense matrices, finds the same prior."""
    model, y = network(), rng.integers(0, 3, 40)
    known = laplace(model, X, y, structure=structure, precision=1.0)
    curvature = known.gaussian.matrix() - np.eye(known.joint.size)
    weights, sizes = known.joint.weights, [p.size for p in model.parameters()]
    groups = sizes if precision == "per layer" else [sum(sizes)]

    def lost(logs: np.ndarray) -> float:
        each = np.repeat(np.exp(logs), groups)
        return -formula(curvature, weights, each, known.log_likelihood)

    assert known.log_evidence == pytest.approx(-lost(np.zeros(len(groups))), abs=1e-9)
    best = minimize(lost, np.zeros(len(groups)), method="BFGS", options={"gtol": 1e-6})
    found = laplace(model, X, y, structure=structure, precision=precision)
    expected = np.exp(best.x) if len(groups) == 1 else np.repeat(np.exp(best.x), groups)
    np.testing.assert_allclose(found.joint.precision, expected.squeeze(), rtol=1e-4)
    assert found.log_evidence >= -best.fun - 1e-8
    assert found.determined == pytest.approx(
        (found.joint.precision * weights**2).sum(), rel=1e-4
    )  # MacKay's fixed point, λ Σ w² = γ, summed over groups


@pytest.mark.parametrize("structure", ["full", "kron", "diag"])
@pytest.mark.parametrize("cut", [[0], [0, 12, 16, 28]])
def test_shares_of_the_prior_are_traces(structure: str, cut: list[int]) -> None:
    """tr(A⁻¹ Λ_g) and tr(A⁻¹ Λ_g A⁻¹ Λ_h) by dense matrices."""
    joint = laplace(network(), X, rng.integers(0, 3, 40)).joint
    groups = np.repeat(range(len(cut)), np.diff([*cut, joint.size]))
    precision = np.array([0.3, 2.0, 0.7, 5.0])[groups]
    found = laplace(
        network(), X, rng.integers(0, 3, 40), structure=structure, precision=precision
    ).gaussian
    inverse = np.linalg.inv(found.matrix())
    parts = [inverse * (precision * (groups == g)) for g in range(len(cut))]
    once, twice = found.shares(precision, cut)
    np.testing.assert_allclose(once, [np.trace(p) for p in parts], rtol=1e-9)
    expected = [[np.trace(p @ q) for q in parts] for p in parts]
    np.testing.assert_allclose(twice, expected, rtol=1e-9, atol=1e-12)


def test_classes_to_the_second_order_are_as_by_derivatives() -> None:
    """Of one softmax, for logits that are ordinary and for some that overflow an exponential."""
    joint = laplace(network(), X, rng.integers(0, 3, 40)).joint
    for scale in (1.0, 300.0):
        logits = scale * rng.normal(size=(40, 3))
        value, slope, d, p = curvature.second_order(joint, logits)
        by_derivatives = curvature.first_order(joint, logits)
        assert value == pytest.approx(by_derivatives[0], rel=1e-12)
        np.testing.assert_allclose(slope, by_derivatives[1], atol=1e-12)
        assert p is not None
        loss = partial(joint.log_likelihood, y=joint.y, noise=1.0)
        hessian = -cr.hessian(loss)(cr.asarray(logits)).numpy()
        information = np.zeros((40, 3, 40, 3))
        for i in range(40):
            information[i, :, i] = -np.outer(p[i], p[i])
            np.fill_diagonal(information[i, :, i], d[i])
        np.testing.assert_allclose(information, hessian, atol=1e-12)


def test_the_noise_of_real_targets_is_found_with_the_prior() -> None:
    model, y = network(outputs=1), np.sin(X[:, 0]) + 0.1 * rng.normal(size=40)
    known = laplace(model, X, y, structure="full", precision=1.0, noise=1.0)
    curvature, weights = known.gaussian.matrix() - np.eye(known.joint.size), known.joint.weights
    means = model(cr.asarray(X)).numpy()[:, 0]

    def lost(logs: np.ndarray) -> float:
        precision, noise = np.exp(logs)
        likelihood = norm.logpdf(y, means, noise).sum()
        return -formula(curvature / noise**2, weights, precision, likelihood)

    best = minimize(lost, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-9})
    found = laplace(model, X, y, structure="full")
    assert found.joint.noise == pytest.approx(np.exp(best.x[1]), rel=1e-4)
    assert float(found.joint.precision) == pytest.approx(np.exp(best.x[0]), rel=1e-3)
    assert found.log_evidence == pytest.approx(-best.fun, abs=1e-6)


@pytest.mark.parametrize("structure", ["full", "kron", "diag"])
def test_draws_have_the_covariance(structure: str) -> None:
    found = laplace(network(), X, rng.integers(0, 3, 40), structure=structure)
    spread = found.gaussian.deviations(np.eye(found.joint.size))  # the columns of a root of it
    covariance = np.linalg.inv(found.gaussian.matrix())
    np.testing.assert_allclose(spread.T @ spread, covariance, atol=1e-9)
    np.testing.assert_allclose(found.gaussian.variances, np.diag(covariance), rtol=1e-8)
    draws = found.sample(4000)
    assert (draws == found.sample(4000)).all()
    error = np.sqrt(found.gaussian.variances / 4000)
    assert (abs(draws.mean(0) - found.joint.weights) < 5 * error).all()
    assert draws.var(0) == pytest.approx(found.gaussian.variances, rel=0.2)
    other = found.sample(4, generator=cr.Generator(7))
    assert (other != draws[:4]).any()


@pytest.mark.parametrize("weights", ["all", "last-layer"])
def test_probabilities_are_averages_over_normal_logits(weights: str) -> None:
    """E σ(f) for f ~ Normal(m, v), by quadrature; MacKay's probit is near to it."""
    y = (X[:, 0] > 0).astype(np.int64)
    found = laplace(
        network(outputs=1), X, y, likelihood="bernoulli", structure="full", weights=weights
    )
    means, covariances = found.linearised(PROBES)
    variance = covariances[:, 0, 0]
    places, shares = np.polynomial.hermite_e.hermegauss(60)
    logits = means + np.sqrt(variance)[:, None] * places
    exact = (expit(logits) * shares).sum(-1) / shares.sum()
    predicted = found.predict(PROBES, samples=4000)
    draws = predicted.draws[..., 1]
    error = draws.std(0) / np.sqrt(4000)
    assert (abs(predicted.probabilities[:, 1] - exact) < 4 * error).all()
    assert predicted.epistemic.min() > 0
    np.testing.assert_allclose(found.probit(PROBES)[:, 1], exact, atol=0.01)
    np.testing.assert_allclose(found.probit(PROBES).sum(-1), 1)


def test_classes_by_probit_follow_the_formula() -> None:
    found = laplace(network(), X, rng.integers(0, 3, 40), structure="kron")
    means, covariances = found.linearised(PROBES)
    scaled = means / np.sqrt(1 + np.pi / 8 * np.stack([np.diag(c) for c in covariances]))
    exact = np.exp(scaled) / np.exp(scaled).sum(-1, keepdims=True)
    np.testing.assert_allclose(found.probit(PROBES), exact, rtol=1e-12)
    predicted = found.predict(PROBES)
    assert predicted.draws.shape == (100, 7, 3)
    np.testing.assert_allclose(
        predicted.entropy, predicted.aleatoric + predicted.epistemic, atol=1e-12
    )


def test_more_rows_take_the_epistemic_part_away_and_leave_the_aleatoric() -> None:
    cr.seed(0)
    parts = []
    for n in (50, 500, 5000):
        x = rng.normal(size=(n, 3))
        y = x @ [1.0, -2.0, 0.5] + 0.4 * rng.normal(size=n)
        _, _, mean = ridge(x, y, 0.4, 1.0)
        model = nn.Linear(3, 1).to(cr.float64)
        set_weights(model, mean)
        predicted = laplace(model, x, y, structure="full").predict(PROBES)
        parts.append((predicted.epistemic.mean(), predicted.aleatoric.mean()))
    epistemic, aleatoric = np.transpose(parts)
    assert (epistemic[:-1] / epistemic[1:] > 5).all()
    error = 0.16 * np.sqrt(2 / np.array([50, 500, 5000]))  # of a variance by n numbers
    assert (abs(aleatoric - 0.16) < 4 * error).all()


def test_rows_in_parts_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = images()
    y = rng.integers(0, 3, 9)
    options = [{"structure": s} for s in ("full", "kron", "diag")] + [{"weights": "last-layer"}]
    whole = [laplace(model, x, y, **o) for o in options]
    monkeypatch.setattr(curvature, "AT_ONCE", 300)
    for before, o in zip(whole, options, strict=True):
        now = laplace(model, x, y, **o)
        np.testing.assert_allclose(now.gaussian.matrix(), before.gaussian.matrix(), rtol=1e-9)
        assert now.gradient_norm == pytest.approx(before.gradient_norm)
        np.testing.assert_allclose(now.predict(x).draws, before.predict(x).draws, rtol=1e-9)


def test_the_gradient_is_that_of_the_joint() -> None:
    model, x = images()
    for structure in ("full", "kron", "diag"):
        found = laplace(model, x, rng.integers(0, 3, 9), structure=structure, precision=2.0)
        slope = cr.grad(found.joint.log_joint)(cr.asarray(found.joint.weights))
        assert found.gradient_norm == pytest.approx(np.linalg.norm(slope.numpy()), rel=1e-9)


def test_layers_of_all_kinds_have_a_diagonal() -> None:
    cr.seed(0)
    model = nn.Sequential(
        nn.Embedding(5, 4), nn.LayerNorm(4), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 2)
    )
    x, y = rng.integers(0, 5, (30, 2)), rng.integers(0, 2, 30)
    full = laplace(model, x, y, structure="full", precision=1.0)
    diag = laplace(model, x, y, structure="diag", precision=1.0)
    expected = np.diag(full.gaussian.matrix())
    np.testing.assert_allclose(np.diag(diag.gaussian.matrix()), expected, rtol=1e-5)
    hidden = laplace(model, x, y, weights="last-layer")
    assert hidden.joint.size == 18
    assert hidden.predict(x[:4]).probabilities.shape == (4, 2)


def test_the_model_and_the_generator_are_as_before() -> None:
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 3))
    nn.freeze(model, "1")
    y = rng.integers(0, 3, 40)
    model.train()
    before = {n: v.copy() for n, v in model.state_dict().items()}
    for options in ({"structure": "kron"}, {"structure": "diag"}, {"weights": "last-layer"}):
        expected = cr.random.normal((4,)).numpy()
        cr.seed(0)
        found = laplace(model, X.astype(np.float32), y, **options)
        found.predict(PROBES)
        found.probit(PROBES)
        cr.random.normal((4,))
        cr.seed(0)
        assert model.training
        assert all((before[n] == v).all() for n, v in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())
        assert expected.shape == (4,)
    state = cr.random.normal((4,)).numpy()
    cr.seed(0)
    laplace(model, X.astype(np.float32), y, weights="last-layer").predict(PROBES)
    assert (cr.random.normal((4,)).numpy() == state).all()


def test_a_flat_output_and_several_outputs() -> None:
    y = rng.normal(size=(40, 2))
    found = laplace(network(outputs=2), X, y, structure="kron")
    assert found.predict(PROBES).mean.shape == (7, 2)
    flat = nn.Sequential(network(outputs=1), nn.Flatten(0))
    for weights in ("all", "last-layer"):
        found = laplace(flat, X, y[:, 0], structure="diag", weights=weights)
        assert found.predict(PROBES).mean.shape == (7,)


# What is wrong, and what is to be doubted


def test_untrained_weights_are_warned_about() -> None:
    y = X @ [10.0, -20.0, 5.0]
    found = laplace(nn.Linear(3, 1), X, y, structure="full", noise=0.1, precision=1.0)
    assert "not at a mode" in found.warnings[0]
    assert f"{found.gradient_norm:.3g}" in found.warnings[0]


def test_dead_units_are_warned_about() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    model[0].weight.assign(np.zeros((4, 3)))
    model[0].bias.assign(-np.ones(4))
    found = laplace(model, X, rng.integers(0, 2, 40), precision=1.0)
    assert sum("determine nothing" in w for w in found.warnings) == 3


def test_a_prior_without_a_best_precision_is_warned_about() -> None:
    model = nn.Linear(3, 2)
    set_weights(model, np.zeros(8))
    found = laplace(model, X, rng.integers(0, 2, 40))
    assert any("no best precision" in w for w in found.warnings)


class Tied(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        return self.first(x).tanh() @ self.first.weight.mT


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (lambda: nn.Linear(3, 3), {"structure": "band"}, "'full', 'kron', 'diag'"),
        (lambda: nn.Linear(3, 3), {"weights": "some"}, "'all', 'last-layer'"),
        (lambda: nn.Linear(3, 3), {"precision": "best"}, "numbers above 0"),
        (lambda: nn.Linear(3, 3), {"precision": -1.0}, "numbers above 0"),
        (lambda: nn.Linear(3, 3), {"noise": "some"}, "standard deviation"),
        (lambda: nn.Linear(3, 3), {"precision": np.arange(1.0, 13.0)}, "Kronecker"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), {}, "'1.weight' .* LayerNorm"),
        (Tied, {}, "another way"),
        (
            lambda: nn.Sequential(nn.Linear(3, 3), nn.LogSoftmax(-1)),
            {"weights": "last-layer"},
            "'0': something",
        ),
        (
            lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)),
            {"weights": "last-layer"},
            "'1', a LayerNorm",
        ),
    ],
)
def test_what_cannot_be_is_said(model: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        laplace(model(), X, rng.integers(0, 3, 40), **options)


def test_tied_weights_have_a_full_matrix() -> None:
    model, y = Tied(), rng.integers(0, 3, 40)
    set_weights(model, rng.normal(size=12))
    found = laplace(model.to(cr.float64), X, y, structure="full", precision=1.0)
    j = by_differences(model, X)
    logits = model(cr.asarray(X)).numpy()
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    information = np.einsum("nk,kl->nkl", p, np.eye(3)) - np.einsum("nk,nl->nkl", p, p)
    matrix = np.einsum("nkp,nkl,nlq->pq", j, information, j) + np.eye(12)
    np.testing.assert_allclose(found.gaussian.matrix(), matrix, atol=1e-6)


def test_groups_of_channels_have_no_kronecker_factors() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten())
    with pytest.raises(DataError, match="groups, and '0' has 2"):
        laplace(model, rng.normal(size=(5, 2, 3, 3)), rng.integers(0, 4, 5))


def test_a_network_through_all_targets_has_no_noise_to_find() -> None:
    model = nn.Linear(3, 1).to(cr.float64)
    y = model(cr.asarray(X)).numpy()[:, 0]
    with pytest.raises(DataError, match="all of its 40 targets"):
        laplace(model, X, y)
    assert laplace(model, X, y, noise=0.1).joint.noise == 0.1


def test_other_weights_than_its_own_are_refused() -> None:
    model = network()
    found = laplace(model, X, rng.integers(0, 3, 40))
    set_weights(model, rng.normal(size=31))
    with pytest.raises(DataError, match="not those that this posterior is around"):
        found.predict(PROBES)


def test_outputs_that_are_not_finite_or_no_rows_are_refused() -> None:
    model = nn.Linear(3, 3)
    model.bias.assign([np.nan, 0, 0])
    with pytest.raises(DataError, match="row 0 is not finite"):
        laplace(model, X, rng.integers(0, 3, 40))
    pixels = nn.Conv2d(1, 2, 1)
    with pytest.raises(ShapeError, match="for each row"):
        laplace(pixels, rng.normal(size=(4, 1, 3, 3)), rng.normal(size=(4, 2, 3, 3)))


def test_a_matrix_that_is_too_large_is_refused() -> None:
    model = nn.Linear(200, 200)
    with pytest.raises(DataError, match=r"40200 × 40200"):
        laplace(model, rng.normal(size=(4, 200)), rng.integers(0, 9, 4), structure="full")


def test_frozen_parameters_are_known() -> None:
    model = network()
    nn.freeze(model, "0", "2.bias")
    found = laplace(model, X, rng.integers(0, 3, 40))
    assert found.joint.names == ("2.weight",)
    nn.freeze(model)
    with pytest.raises(GradientError, match="no parameters"):
        laplace(model, X, rng.integers(0, 3, 40))


def test_real_targets_have_no_probit() -> None:
    with pytest.raises(DataError, match="probabilities of classes"):
        laplace(network(outputs=1), X, X[:, 0]).probit(X)


@pytest.mark.parametrize("n", [0, 2.5, True])
def test_draws_are_counted(n: Any) -> None:
    found = laplace(network(), X, rng.integers(0, 3, 40))
    with pytest.raises(DataError, match="1 time or more"):
        found.sample(n)
    with pytest.raises(DataError, match="1 time or more"):
        found.predict(X, samples=n)
