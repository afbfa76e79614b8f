"""Laplace posteriors beside those of laplace-torch: the same weights, the same rows, float64.

Daxberger et al. 2021, "Laplace Redux", https://github.com/aleximmer/Laplace. Its Kronecker factors
are by curvlinops, the others by BackPACK; those of convolutions differ between the two, BackPACK's
being larger by the number of places.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn as theirs

import chainrule as cr
from chainrule import nn as ours
from chainrule import probability as prob
from tests.against.laplace_torch import laplace_torch

# Of the other library: hooks on outputs, and what PyTorch no longer wants to be called.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STRUCTURES = ["full", "kron", "diag"]
WEIGHTS = ["all", "last-layer"]
PRECISION, NOISE = 0.7, 0.4


class Case:
    """A network in both libraries, rows and targets."""

    def __init__(self, kind: str, likelihood: str) -> None:
        torch.manual_seed(0)
        rng = np.random.default_rng(0)
        if kind == "dense":
            self.x, self.probes = rng.normal(size=(32, 3)), rng.normal(size=(6, 3))
            layers = [("Linear", (3, 5)), ("Tanh", ()), ("Linear", (5, 4)), ("ReLU", ())]
            last = (4, 3)
        else:
            self.x, self.probes = rng.normal(size=(20, 2, 5, 4)), rng.normal(size=(6, 2, 5, 4))
            layers = [("Conv2d", (2, 3, 3, 2, 1)), ("Tanh", ()), ("Flatten", ())]
            last = (18, 3)
        layers.append(("Linear", last))
        self.theirs = theirs.Sequential(*(getattr(theirs, n)(*a) for n, a in layers)).double()
        self.ours = ours.Sequential(*(getattr(ours, n)(*a) for n, a in layers)).to(cr.float64)
        self.ours.load_state_dict(self.theirs.state_dict())
        self.likelihood = likelihood
        if likelihood == "classification":
            self.y = rng.integers(0, 3, len(self.x))
        else:
            outputs = self.theirs(torch.asarray(self.x)).detach().numpy()
            self.y = outputs + 0.3 * rng.normal(size=outputs.shape)

    def posterior(self, structure: str, weights: str, **options: Any) -> Any:
        given = {"precision": PRECISION, "noise": NOISE} | options
        return prob.posterior(
            self.ours, (self.x, self.y), structure=structure, weights=weights, **given
        )

    def reference(self, structure: str, weights: str, batch: int = 100) -> Any:
        return laplace_torch(
            self.theirs,
            self.x,
            self.y,
            self.likelihood,
            structure,
            weights,
            prior_precision=PRECISION,
            sigma_noise=NOISE if self.likelihood == "regression" else 1.0,
            batch=batch,
        )


@pytest.fixture(params=["classification", "regression"])
def likelihood(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["dense", "images"])
def case(request: pytest.FixtureRequest, likelihood: str) -> Case:
    return Case(request.param, likelihood)


def dense(reference: Any) -> np.ndarray:
    found = reference.posterior_precision
    if hasattr(found, "to_matrix"):
        found = found.to_matrix()
    return np.asarray(found.detach() if found.ndim == 2 else torch.diag(found).detach())


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_posteriors_predictions_and_evidence(case: Case, structure: str, weights: str) -> None:
    mine, reference = case.posterior(structure, weights), case.reference(structure, weights)
    np.testing.assert_allclose(mine.gaussian.matrix(), dense(reference), rtol=1e-9, atol=1e-9)
    means, covariances = mine.linearised(case.probes)
    f_mu, f_var = reference._glm_predictive_distribution(torch.asarray(case.probes))
    np.testing.assert_allclose(means, f_mu.detach(), rtol=1e-9)
    np.testing.assert_allclose(covariances, f_var.detach(), rtol=1e-8, atol=1e-11)
    with torch.no_grad():
        assert mine.log_evidence == pytest.approx(float(reference.log_marginal_likelihood()))
        assert mine.log_likelihood == pytest.approx(float(reference.log_likelihood))
    if case.likelihood == "classification":
        probit = reference(torch.asarray(case.probes), link_approx="probit")
        np.testing.assert_allclose(mine.probit(case.probes), probit.detach(), rtol=1e-9)
    else:
        predicted = mine.predict(case.probes)
        spread = f_var.detach().diagonal(dim1=1, dim2=2)
        np.testing.assert_allclose(predicted.mean, f_mu.detach(), rtol=1e-9)
        np.testing.assert_allclose(predicted.std**2, spread + NOISE**2, rtol=1e-9)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_several_batches_add_up_to_the_same(structure: str) -> None:
    case = Case("dense", "classification")
    reference = case.reference(structure, "all", batch=8)
    mine = case.posterior(structure, "all")
    np.testing.assert_allclose(mine.gaussian.matrix(), dense(reference), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("structure", "weights", "per_layer"),
    [
        ("full", "last-layer", False),
        ("kron", "last-layer", False),
        ("kron", "all", True),
        ("diag", "all", True),
        ("diag", "all", False),
        ("full", "all", True),
    ],
)
def test_the_best_prior_precision(structure: str, weights: str, per_layer: bool) -> None:
    """Their evidence has no slope at ours, and being concave no higher place. Where Adam gets to
    from 1 in their default number of steps is no better, and near."""
    case = Case("dense", "classification")
    wanted = "per layer" if per_layer else "marginal likelihood"
    mine = case.posterior(structure, weights, precision=wanted)
    reference = case.reference(structure, weights)
    each = np.broadcast_to(mine.joint.precision, mine.joint.size)
    ends = np.cumsum([p.numel() for p in case.theirs.parameters()]) if per_layer else [1]
    logs = torch.log(torch.asarray(each[np.asarray(ends) - 1])).requires_grad_()
    evidence = reference.log_marginal_likelihood(prior_precision=logs.exp())
    evidence.backward()
    np.testing.assert_allclose(logs.grad, 0, atol=1e-5)
    assert mine.log_evidence == pytest.approx(evidence.item())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.optimize_prior_precision(
            pred_type="glm", prior_structure="layerwise" if per_layer else "scalar"
        )
    with torch.no_grad():
        theirs_best = float(reference.log_marginal_likelihood())
    assert theirs_best - 1e-9 <= mine.log_evidence <= theirs_best + 0.01


def test_the_best_noise() -> None:
    """Of the diagonal: through Kronecker factors their slope in the noise is cut off, as they raise
    its power with Python's `math.pow`."""
    case = Case("dense", "regression")
    wanted = "marginal likelihood"
    mine = case.posterior("diag", "all", precision=wanted, noise=wanted)
    reference = case.reference("diag", "all")
    both = [float(mine.joint.precision), mine.joint.noise]
    logs = torch.log(torch.tensor(both, dtype=torch.float64)).requires_grad_()
    evidence = reference.log_marginal_likelihood(logs[:1].exp(), logs[1].exp())
    evidence.backward()
    np.testing.assert_allclose(logs.grad, 0, atol=1e-5)
    assert mine.log_evidence == pytest.approx(evidence.item())


def test_draws_of_the_network_have_their_distribution() -> None:
    """E softmax over the linearised network: both by draws, within their errors."""
    case = Case("dense", "classification")
    mine = case.posterior("kron", "all").predict(case.probes, samples=1000)
    reference = case.reference("kron", "all")
    draws = reference.predictive_samples(torch.asarray(case.probes), n_samples=1000).detach()
    error = np.hypot(mine.draws.std(0), draws.std(0).numpy()) / np.sqrt(1000)
    assert (abs(mine.probabilities - draws.mean(0).numpy()) < 4 * error + 1e-12).all()
