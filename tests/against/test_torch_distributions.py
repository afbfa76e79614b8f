"""Distributions, their derivatives and divergences against PyTorch's."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as td

import chainrule as cr
from chainrule import probability as prob


@pytest.fixture(autouse=True)
def in_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


rng = np.random.default_rng(0)
LOC, POS = rng.normal(size=(2, 3)), rng.uniform(0.5, 4, (2, 3))
POS2, UNIT = rng.uniform(0.5, 4, (2, 3)), rng.uniform(0.1, 0.9, (2, 3))
W = rng.normal(size=(3, 3))
COV = W @ W.T + np.eye(3)
TRIL = np.linalg.cholesky(COV)

# name -> parameters as arrays, other arguments of both
CASES = {
    "Normal": {"loc": LOC, "scale": POS},
    "Laplace": {"loc": LOC, "scale": POS},
    "Cauchy": {"loc": LOC, "scale": POS},
    "Gumbel": {"loc": LOC, "scale": POS},
    "StudentT": {"df": POS2, "loc": LOC, "scale": POS},
    "LogNormal": {"loc": LOC, "scale": POS / 4},
    "HalfNormal": {"scale": POS},
    "HalfCauchy": {"scale": POS},
    "Uniform": {"low": LOC, "high": LOC + POS},
    "Exponential": {"rate": POS},
    "Gamma": {"concentration": POS, "rate": POS2},
    "InverseGamma": {"concentration": POS + 2, "rate": POS2},
    "Chi2": {"df": POS},
    "Beta": {"concentration1": POS, "concentration0": POS2},
    "Kumaraswamy": {"concentration1": POS, "concentration0": POS2},
    "Weibull": {"scale": POS, "concentration": POS2},
    "Pareto": {"scale": POS, "alpha": POS2 + 2},
    "VonMises": {"loc": LOC, "concentration": POS},
    "FisherSnedecor": {"df1": POS, "df2": POS2 + 4},
    "ContinuousBernoulli": {"logits": LOC},
    "Bernoulli": {"probs": UNIT},
    "Geometric": {"probs": UNIT},
    "NegativeBinomial": {"total_count": POS, "probs": UNIT},
    "Poisson": {"rate": POS},
    "Categorical": {"logits": LOC},
    "OneHotCategorical": {"logits": LOC},
    "Dirichlet": {"concentration": POS},
    "MultivariateNormal": {"loc": LOC, "scale_tril": TRIL},
    "LowRankMultivariateNormal": {"loc": LOC, "cov_factor": W[:, :2], "cov_diag": POS},
    "RelaxedBernoulli": {"temperature": POS, "logits": LOC},
    "RelaxedOneHotCategorical": {"temperature": np.array(0.7), "logits": LOC},
    "Wishart": {"df": np.array(5.5), "scale_tril": TRIL},
}


ROUGH = {"VonMises": (1e-5, 1e-5)}


def both(name, parameters=None, tracked=False):
    parameters = CASES[name] if parameters is None else parameters
    ours = {k: cr.asarray(v, requires_grad=tracked) for k, v in parameters.items()}
    theirs = {k: torch.tensor(v, requires_grad=tracked) for k, v in parameters.items()}
    return (
        getattr(prob, name)(**ours), getattr(td, name)(**theirs, validate_args=False), ours, theirs
    )  # fmt: skip


def close(found, wanted, rtol=1e-9, atol=1e-10):
    np.testing.assert_allclose(np.asarray(found), wanted.detach().numpy(), rtol, atol)


def drawn(name):
    torch.manual_seed(1)
    if name == "Wishart":  # PyTorch's own samples warn
        return stats.wishart(5.5, COV).rvs(4, random_state=1)
    return both(name)[1].sample((4,)).numpy()


@pytest.mark.parametrize("name", CASES)
def test_density_moments_and_shapes(name):
    ours, theirs, _, _ = both(name)
    x = drawn(name)
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    # PyTorch's Bessel functions are of float32; ours are compared with SciPy's elsewhere.
    close(ours.log_prob(x), theirs.log_prob(torch.tensor(x)), *ROUGH.get(name, (1e-8, 1e-8)))
    if name not in ("RelaxedBernoulli", "RelaxedOneHotCategorical"):
        for part in ("mean", "variance"):
            # PyTorch's are ∞ of some, where there is none: theirs is not asked.
            if name not in ("HalfCauchy", "Cauchy", "Categorical"):
                close(getattr(ours, part), getattr(theirs, part), *ROUGH.get(name, (1e-7, 1e-8)))
    try:
        wanted = theirs.entropy()
    except NotImplementedError:
        return
    if name != "Kumaraswamy":  # theirs is wrong for what is not a whole number
        close(ours.entropy(), wanted, 1e-7, 1e-8)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_log_prob(name):
    x = drawn(name)
    ours, theirs, mine, yours = both(name, tracked=True)
    ours.log_prob(x).sum().backward()
    theirs.log_prob(torch.tensor(x)).sum().backward()
    for key in mine:
        if "tril" in key:  # a triangle's upper part is no parameter, in either
            found, wanted = np.tril(mine[key].grad.numpy()), torch.tril(yours[key].grad)
        else:
            found, wanted = mine[key].grad.numpy(), yours[key].grad
        close(found, wanted, *ROUGH.get(name, (1e-6, 1e-7)))


@pytest.mark.parametrize("name", CASES)
def test_derivatives_in_the_value(name):
    ours, theirs, _, _ = both(name)
    if ours.support.discrete or name in ("Uniform", "Wishart"):
        return
    x = drawn(name)
    a, b = cr.asarray(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours.log_prob(a).sum().backward()
    theirs.log_prob(b).sum().backward()
    close(a.grad, b.grad, 1e-6, 1e-7)


PAIRS = [
    ("Normal", "Normal"), ("Laplace", "Laplace"), ("Cauchy", "Cauchy"), ("Gumbel", "Gumbel"),
    ("LogNormal", "LogNormal"), ("HalfNormal", "HalfNormal"), ("Uniform", "Uniform"),
    ("Exponential", "Exponential"), ("Gamma", "Gamma"), ("Beta", "Beta"), ("Pareto", "Pareto"),
    ("Bernoulli", "Bernoulli"), ("Geometric", "Geometric"), ("Poisson", "Poisson"),
    ("Categorical", "Categorical"), ("OneHotCategorical", "OneHotCategorical"),
    ("Dirichlet", "Dirichlet"), ("MultivariateNormal", "MultivariateNormal"),
    ("LowRankMultivariateNormal", "LowRankMultivariateNormal"),
    ("MultivariateNormal", "LowRankMultivariateNormal"), ("Laplace", "Normal"),
    ("Uniform", "Normal"), ("Exponential", "Gamma"), ("Gamma", "Exponential"),
    ("ContinuousBernoulli", "ContinuousBernoulli"), ("Wishart", "Wishart"),
]  # fmt: skip


def other(name):
    """The same family with other parameters."""
    found = {}
    for key, value in CASES[name].items():
        if key in ("scale_tril",):
            found[key] = np.linalg.cholesky(COV + np.diag([0.5, 1.0, 2.0]))
        elif key == "probs":
            found[key] = 1 - value * 0.9
        elif key in ("loc", "logits", "cov_factor"):
            found[key] = value[..., ::-1].copy() * 0.7
        elif key == "low":
            found[key] = value - 0.3
        elif key == "high" or key == "df":
            found[key] = value + 0.4
        else:
            found[key] = value * 0.8
    return found


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_divergences(first, second):
    p, p_, mine, yours = both(first, tracked=True)
    q, q_, _, _ = both(second, other(second))
    found, wanted = prob.kl_divergence(p, q), td.kl_divergence(p_, q_)
    close(found, wanted, 1e-8, 1e-9)
    if not np.isfinite(found.numpy()).all():
        return
    found.sum().backward()
    wanted.sum().backward()
    for key in mine:
        a, b = mine[key].grad, yours[key].grad
        if b is None:  # no derivative flows in theirs
            continue
        a = np.zeros(b.shape) if a is None else a.numpy()
        if "tril" in key:
            a, b = np.tril(a), torch.tril(b)
        close(a, b, 1e-6, 1e-8)


def test_implicit_derivatives_of_gamma_samples():
    """∂x/∂a at a sample, as `torch._standard_gamma_grad` has it in double precision."""
    a = cr.asarray(POS, requires_grad=True)
    x = prob.Gamma(a, 1.0).sample()
    x.sum().backward()
    wanted = torch._standard_gamma_grad(torch.tensor(POS), torch.tensor(x.numpy()))
    close(a.grad, wanted, 1e-3, 1e-4)  # their approximation's own error


def test_transforms():
    x = rng.normal(size=(2, 6))
    for ours, theirs in (
        (prob.StickBreakingTransform(), td.transforms.StickBreakingTransform()),
        (prob.CorrCholeskyTransform(), td.transforms.CorrCholeskyTransform()),
        (prob.SigmoidTransform(), td.transforms.SigmoidTransform()),
        (prob.TanhTransform(), td.transforms.TanhTransform()),
        (prob.SoftplusTransform(), td.transforms.SoftplusTransform()),
        (prob.AffineTransform(0.5, -2.0), td.transforms.AffineTransform(0.5, -2.0)),
    ):
        y, z = ours(x), theirs(torch.tensor(x))
        close(y, z)
        slope = theirs.log_abs_det_jacobian(torch.tensor(x), z)
        close(ours.log_abs_det_jacobian(x, y), slope, 1e-7, 1e-8)


def test_correlations():
    torch.manual_seed(0)
    for n, eta in ((2, 1.0), (4, 2.5)):
        theirs = td.LKJCholesky(n, torch.tensor(eta))
        x = theirs.sample((5,))
        close(prob.LKJCholesky(n, np.array(eta)).log_prob(x.numpy()), theirs.log_prob(x))


def test_mixtures():
    w, loc = rng.normal(size=(2, 3)), LOC
    ours = prob.MixtureSameFamily(prob.Categorical(logits=w), prob.Normal(loc, POS))
    theirs = td.MixtureSameFamily(
        td.Categorical(logits=torch.tensor(w)), td.Normal(torch.tensor(loc), torch.tensor(POS))
    )
    x = rng.normal(size=(5, 2))
    close(ours.log_prob(x), theirs.log_prob(torch.tensor(x)))
    close(ours.cdf(x), theirs.cdf(torch.tensor(x)))
    close(ours.mean, theirs.mean)
    close(ours.variance, theirs.variance)
