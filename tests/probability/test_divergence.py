"""Divergences against quadrature and samples; information against its own laws and SciPy."""

import numpy as np
import pytest
from scipy import special, stats

import chainrule as cr
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.probability import information
from tests.probability.families import f64
from tests.probability.test_distributions import agree

rng = np.random.default_rng(0)
A, B = f64(0.7, 2.0, 5.0), f64(1.3, 2.5, 3.0)
PAIRS = {
    "Normal": (prob.Normal(A, B), prob.Normal(B, A)),
    "LogNormal": (prob.LogNormal(A, B / 4), prob.LogNormal(B, A / 4)),
    "HalfNormal": (prob.HalfNormal(A), prob.HalfNormal(B)),
    "Laplace": (prob.Laplace(A, B), prob.Laplace(B, A)),
    "Laplace to Normal": (prob.Laplace(A, B), prob.Normal(B, A)),
    "Cauchy": (prob.Cauchy(A, B), prob.Cauchy(B, A)),
    "Gumbel": (prob.Gumbel(A, B), prob.Gumbel(B, A)),
    "Uniform": (prob.Uniform(A, A + B), prob.Uniform(A - 1, A + B + 1)),
    "Uniform to Normal": (prob.Uniform(A, A + B), prob.Normal(B, A)),
    "Exponential": (prob.Exponential(A), prob.Exponential(B)),
    "Gamma": (prob.Gamma(A, B), prob.Gamma(B, A)),
    "Exponential to Gamma": (prob.Exponential(A), prob.Gamma(B, A)),
    "Chi2": (prob.Chi2(A), prob.Chi2(B)),
    "InverseGamma": (prob.InverseGamma(A + 2, B), prob.InverseGamma(B + 2, A)),
    "Weibull": (prob.Weibull(A, B), prob.Weibull(B, B / 2)),
    "Pareto": (prob.Pareto(A + 3, A + 1), prob.Pareto(f64(3.0, 2.0, 1.0), B + 1)),
    "Beta": (prob.Beta(A, B), prob.Beta(B, A)),
    "VonMises": (prob.VonMises(A, B), prob.VonMises(B, A)),
    "ContinuousBernoulli": (
        prob.ContinuousBernoulli(logits=A), prob.ContinuousBernoulli(logits=-B)
    ),
}  # fmt: skip
COUNTS = {
    "Bernoulli": (prob.Bernoulli(A / 9), prob.Bernoulli(B / 9)),
    "Geometric": (prob.Geometric(A / 9), prob.Geometric(B / 9)),
    "Poisson": (prob.Poisson(A), prob.Poisson(B)),
    "Binomial": (prob.Binomial(f64(9.0), A / 9), prob.Binomial(f64(9.0), B / 9)),
    "Binomial to Poisson": (prob.Binomial(f64(9.0), A / 9), prob.Poisson(B)),
}


@pytest.mark.parametrize(("p", "q"), PAIRS.values(), ids=PAIRS)
def test_divergence_is_the_integral(p, q):
    """∫ (log p − log q) dP, over probabilities: x runs through p's quantiles."""
    # The trapezoidal rule in t, u = 1/(1 + exp(−t)), reaches both tails; kinks cost it h².
    t, h = np.linspace(-36, 36, 8001, retstep=True)
    u = special.expit(t)[:, None]
    if isinstance(p, prob.VonMises):
        x, h = np.linspace(-np.pi, np.pi, 800, endpoint=False, retstep=True)
        x = x[:, None]
        measure = h * p.prob(x).numpy()
    else:
        x, measure = p.quantile(u).numpy(), h * u * special.expit(-t)[:, None]
    with np.errstate(invalid="ignore"):
        terms = p.log_prob(x).numpy() - q.log_prob(x).numpy()
    terms = np.where(np.isfinite(terms), terms, 0)
    agree(prob.kl_divergence(p, q), np.sum(measure * terms, 0), 1e-5)
    assert (prob.kl_divergence(p, q).numpy() >= 0).all()
    agree(prob.kl_divergence(p, p), np.zeros(3), 1e-12)


@pytest.mark.parametrize(("p", "q"), COUNTS.values(), ids=COUNTS)
def test_divergence_is_the_sum(p, q):
    k = np.arange(400.0)[:, None]
    a, b = p.log_prob(k).numpy(), q.log_prob(k).numpy()
    with np.errstate(invalid="ignore"):
        terms = np.where(a == -np.inf, 0, np.exp(a) * (a - b))
    agree(prob.kl_divergence(p, q), terms.sum(0), 1e-9)


def test_what_one_has_and_the_other_has_not_is_infinite():
    for p, q in (
        (prob.Uniform(0.0, 2.0), prob.Uniform(0.0, 1.0)),
        (prob.Bernoulli(0.5), prob.Bernoulli(1.0)),
        (prob.Poisson(1.0), prob.Poisson(0.0)),
        (prob.Pareto(1.0, 2.0), prob.Pareto(2.0, 2.0)),
        (prob.Categorical([0.5, 0.5]), prob.Categorical([1.0, 0.0])),
        (prob.Binomial(5, 0.5), prob.Binomial(4, 0.5)),
    ):
        assert prob.kl_divergence(p, q).item() == np.inf
    assert prob.kl_divergence(prob.Bernoulli(1.0), prob.Bernoulli(0.5)).item() == pytest.approx(
        np.log(2)
    )


def test_made_of_others():
    p, q = prob.Normal(A, B), prob.Normal(B, A)
    one = prob.kl_divergence(p.independent(1), q.independent(1))
    agree(one, prob.kl_divergence(p, q).numpy().sum())
    f = prob.ExpTransform()
    moved = [prob.TransformedDistribution(d, f) for d in (p, q)]
    agree(prob.kl_divergence(*moved), prob.kl_divergence(p, q).numpy())


def test_estimates_tell_how_they_were_made():
    p, q = prob.Gamma(A, B), prob.Gamma(B, A)
    assert prob.estimate_kl(p, q).method == "exact"
    assert (
        prob.estimate_kl(COUNTS["Binomial to Poisson"][0], prob.Poisson(B)).method
        == "sum over the support"
    )
    with pytest.raises(DataError, match="estimate_kl"):
        prob.kl_divergence(prob.Gamma(A, B), prob.LogNormal(A, B))
    cr.seed(0)
    found = prob.estimate_kl(prob.Gamma(A, B), prob.Weibull(B, A), samples=20000)
    assert found.method == "Monte Carlo"
    nodes, weights = np.polynomial.legendre.leggauss(200)
    t, w = 30 * nodes[:, None], 30 * weights[:, None]
    x = prob.Gamma(A, B).quantile(special.expit(t)).numpy()
    terms = prob.Gamma(A, B).log_prob(x).numpy() - prob.Weibull(B, A).log_prob(x).numpy()
    exact = np.sum(w * special.expit(t) * special.expit(-t) * terms, 0)
    assert (np.abs(found.value.numpy() - exact) < 4 * found.standard_error.numpy()).all()
    assert (found.standard_error.numpy() < 0.05).all()


def test_own_formulas_can_be_declared():
    class Mine(prob.Normal):
        pass

    assert prob.kl_divergence(Mine(0.0, 1.0), Mine(1.0, 1.0)).item() == 0.5  # the parent's

    @prob.register_kl(Mine, Mine)
    def formula(p, q):
        return 0 * p.loc + 7

    assert prob.kl_divergence(Mine(0.0, 1.0), Mine(1.0, 1.0)).item() == 7


# Information

P, Q = rng.dirichlet(np.ones(5), 3), rng.dirichlet(np.ones(5), 3)
JOINT = rng.dirichlet(np.ones(12)).reshape(3, 4)


@pytest.mark.parametrize("base", [np.e, 2, 10])
def test_information_of_probabilities(base):
    agree(information.entropy(P, base=base), stats.entropy(P, base=base, axis=-1))
    agree(information.kl_divergence(P, Q, base=base), stats.entropy(P, Q, base=base, axis=-1))
    crossed = stats.entropy(P, base=base, axis=-1) + stats.entropy(P, Q, base=base, axis=-1)
    agree(information.cross_entropy(P, Q, base=base), crossed)
    from scipy.spatial.distance import jensenshannon

    wanted = jensenshannon(P, Q, base=base, axis=-1) ** 2
    agree(information.jensen_shannon(P, Q, base=base), wanted)
    rows, columns = JOINT.sum(1), JOINT.sum(0)
    whole = stats.entropy(JOINT.ravel(), base=base)
    shared = stats.entropy(rows, base=base) + stats.entropy(columns, base=base) - whole
    agree(information.mutual_information(JOINT, base=base), shared)
    agree(information.conditional_entropy(JOINT, base=base), whole - stats.entropy(rows, base=base))
    assert information.entropy(P, base="bits").numpy() == pytest.approx(
        stats.entropy(P, base=2, axis=-1)
    )


def test_zeros_are_no_obstacle():
    agree(information.entropy(f64(1.0, 0.0)), 0.0)
    agree(information.kl_divergence(f64(1.0, 0.0), f64(0.5, 0.5), base=2), 1.0)
    assert information.kl_divergence([0.5, 0.5], [1.0, 0.0]).item() == np.inf
    assert information.cross_entropy([0.5, 0.5], [1.0, 0.0]).item() == np.inf
    agree(information.mutual_information(np.eye(4) / 4, base=2), 2.0)
    slope = cr.grad(lambda p: information.kl_divergence(p, f64(0.5, 0.25, 0.25)))(
        cr.asarray(f64(0.5, 0.5, 0.0))
    )
    assert np.isfinite(slope.numpy()).all()


def test_samples_of_a_finite_set():
    p = f64(0.5, 0.2, 0.2, 0.1)
    values = []
    for seed in range(60):
        x = np.random.default_rng(seed).choice(4, 60, p=p)
        values.append(information.entropy_of_samples(x))
    exact = stats.entropy(p)
    means = np.array([v.value for v in values])
    # The correction takes the bias of −(K − 1)/2n = −0.025 away; the error is what is told.
    assert abs(means.mean() - exact) < 0.012
    assert means.std() == pytest.approx(np.mean([v.standard_error for v in values]), rel=0.35)
    x = np.random.default_rng(0).integers(0, 4, 4000)
    noisy = np.where(np.random.default_rng(1).random(4000) < 0.3, 3 - x, x)
    found = information.mutual_information_of_samples(x, noisy, base=2)
    exact = 2 - stats.entropy([0.7, 0.3], base=2)
    assert abs(found.value - exact) < 4 * found.standard_error + 0.002
    independent = information.mutual_information_of_samples(
        x, np.random.default_rng(2).integers(0, 4, 4000)
    )
    assert abs(independent.value) < 0.005


@pytest.mark.parametrize("d", [1, 2, 3])
def test_entropy_of_continuous_samples(d):
    x = np.random.default_rng(d).normal(size=(3000, d)) * np.arange(1, d + 1)
    found = information.entropy_of_samples(x)
    exact = d * (0.5 + 0.5 * np.log(2 * np.pi)) + np.log(np.arange(1, d + 1)).sum()
    assert abs(found.value - exact) < 4 * found.standard_error + 0.02


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_mutual_information_of_continuous_samples(rho):
    x = np.random.default_rng(5).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 3000)
    found = information.mutual_information_of_samples(x[:, 0], x[:, 1])
    exact = -0.5 * np.log(1 - rho**2)
    assert abs(found.value - exact) < 4 * found.standard_error + 0.02
    bits = information.mutual_information_of_samples(x[:, 0], x[:, 1], base=2)
    assert bits.value == pytest.approx(found.value / np.log(2))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: information.entropy([0.5, 0.6]), DataError, "entropy.*add up to 1"),
        (lambda: information.entropy(0.5), ShapeError, "p has 1 axes or more"),
        (lambda: information.entropy([1.0], base=1), DTypeError, "base is above 1"),
        (lambda: information.kl_divergence([1.0], [0.5, 0.5]), ShapeError, "1 classes and q 2"),
        (lambda: information.entropy_of_samples([1.0, np.nan]), DataError, r"nan at"),
        (lambda: information.entropy_of_samples(np.ones(9)), DataError, "discrete=True"),
        (lambda: information.entropy_of_samples([1.0, 2.0], k=5), DTypeError, "k is a whole"),
        (
            lambda: information.mutual_information_of_samples(np.ones(3), np.ones(4)),
            ShapeError, "3 rows and y 4",
        ),
        (lambda: prob.kl_divergence(prob.Normal(0.0, 1.0), 3), DTypeError, "two distributions"),
        (
            lambda: prob.kl_divergence(prob.Dirichlet([1.0, 1.0]), prob.Dirichlet([1.0, 1, 1])),
            ShapeError, "values of p",
        ),
        (
            lambda: prob.estimate_kl(prob.Gamma(1.0), prob.LogNormal(), samples=1),
            DTypeError, "samples is a whole",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_answered(make, error, words):
    with pytest.raises(error, match=words):
        make()
