"""Distributions of numbers against SciPy, quadrature, differences, and tests of goodness of fit."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

import chainrule as cr
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, ShapeError
from tests.probability.families import CONTINUOUS, DISCRETE, SCALE, f64

LEVELS = np.array([1e-12, 1e-6, 0.01, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6])[:, None]
ALL = CONTINUOUS | DISCRETE


def families(table):
    return pytest.mark.parametrize(("ours", "theirs"), table.values(), ids=table)


def points(theirs, discrete):
    """Quantiles from far out in one tail to the other, the ends of the support, and beyond."""
    x = theirs.ppf(LEVELS)
    low, high = (np.broadcast_to(end, (1, 3)) for end in theirs.support())
    if discrete:
        few = np.arange(4)[:, None] + np.zeros((1, 3))
        return np.concatenate([x, few, x[-1:] * 2 + 7, low - 1, low + 0.5])
    ends = [np.where(np.isfinite(end), end, x[:1]) for end in (low, high)]
    return np.concatenate([x, *ends, x[:1] - 5, x[-1:] * 2 + 7])


def agree(found, wanted, tolerance=1e-10):
    found = np.asarray(found)
    assert found.shape == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, tolerance, tolerance)


@families(CONTINUOUS)
def test_log_density_is_scipys(ours, theirs):
    x = points(theirs, discrete=False)
    agree(ours.log_prob(x), theirs.logpdf(x))


@families(DISCRETE)
def test_log_probability_is_scipys(ours, theirs):
    x = points(theirs, discrete=True)
    agree(ours.log_prob(x), theirs.logpmf(x))


@families(ALL)
def test_distribution_function_is_scipys(ours, theirs):
    x = points(theirs, discrete=ours.support.discrete)
    agree(ours.cdf(x), theirs.cdf(x))
    agree(ours.survival(x), theirs.sf(x))


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("Uniform", "TruncatedNormal")])
def test_logarithms_of_the_tails_are_scipys(name):
    ours, theirs = ALL[name]
    x = points(theirs, discrete=ours.support.discrete)
    # SciPy's rounds to −∞ here.
    above = np.log(2) + stats.norm.logsf(x / SCALE) if name == "HalfNormal" else None
    inside = x > 0 if name == "HalfNormal" else True
    with np.errstate(divide="ignore"):
        wanted = theirs.logsf(x)
        wanted = wanted if above is None else np.where(inside, above, wanted)
        agree(ours.log_survival(x), wanted)
        if name in CONTINUOUS:
            agree(ours.log_cdf(x), theirs.logcdf(x))


def test_far_tails_of_the_truncated_normal():
    """SciPy's own logarithms are off here; mpmath's are not."""
    ours = prob.TruncatedNormal(f64(0.0), f64(1.0), f64(20.0), f64(np.inf))
    mass = mpmath.erfc(20 / mpmath.sqrt(2)) / 2
    for x in (20.001, 21.0, 30.0):
        above = mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)) / 2 / mass
        agree(ours.log_survival(f64(x)), [float(mpmath.log(above))], 1e-11)
        density = mpmath.npdf(x) / mass
        agree(ours.log_prob(f64(x)), [float(mpmath.log(density))], 1e-12)


@pytest.mark.parametrize("name", [n for n in ALL if n != "NegativeBinomial"])
def test_quantile_is_scipys(name):
    ours, theirs = ALL[name]
    agree(ours.quantile(LEVELS), theirs.ppf(LEVELS))


@families(ALL)
def test_moments_are_scipys(ours, theirs):
    agree(ours.mean, theirs.mean())
    agree(ours.variance, theirs.var())
    agree(ours.stddev, theirs.std())


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in ALL
        if n not in ("Binomial", "Binomial at its ends", "NegativeBinomial", "Poisson")
    ],
)
def test_entropy_is_scipys(name):
    ours, theirs = ALL[name]
    wanted = [stats_entropy(theirs, name, i) for i in range(3)]
    agree(ours.entropy(), wanted)


def stats_entropy(theirs, name, i):
    """SciPy's; for the truncated normal with an infinite end, where it has none, quadrature."""
    if name != "TruncatedNormal":
        return theirs.entropy()[i]
    low, high = (np.broadcast_to(end, 3)[i] for end in theirs.support())
    one = CONTINUOUS[name][0]

    def term(x):
        found = one.log_prob(np.full(3, x)).numpy()[i]
        return -np.exp(found) * found

    return integrate.quad(term, low, min(high, 90.0), epsabs=1e-13, epsrel=1e-13, limit=200)[0]


def test_entropy_of_a_binomial_is_a_sum():
    found = prob.Binomial(f64(12.0), f64(0.0, 0.3, 1.0)).entropy()
    agree(found, stats.binom(12, f64(0.0, 0.3, 1.0)).entropy())


@families(ALL)
def test_mode_is_where_nothing_near_is_likelier(ours, theirs):
    try:
        mode = ours.mode.numpy()
    except DataError:
        return
    there = ours.log_prob(mode).numpy()
    steps = [-1, 1] if ours.support.discrete else [-1e-4, 1e-4]
    for step in steps:
        assert (ours.log_prob(mode + step).numpy() <= there + 1e-12).all()


@pytest.mark.parametrize("name", ["ContinuousBernoulli", "Kumaraswamy", "VonMises", "Relaxed"])
def test_what_scipy_lacks_against_quadrature(name):
    d, low, high = {
        "ContinuousBernoulli": (prob.ContinuousBernoulli(logits=f64(-30.0, 1e-3, 5.0)), 0, 1),
        "Kumaraswamy": (prob.Kumaraswamy(f64(2.0, 1.0, 3.0), f64(2.0, 1.0, 5.0)), 0, 1),
        "VonMises": (prob.VonMises(f64(0.0, 1.0, 3.0), f64(0.1, 4.0, 100.0)), -np.pi, np.pi),
        "Relaxed": (prob.RelaxedBernoulli(f64(1.2, 1.0, 2.0), logits=f64(-1.0, 0.0, 2.0)), 0, 1),
    }[name]
    nodes, weights = np.polynomial.legendre.leggauss(400)
    x = (low + (high - low) * (nodes + 1) / 2)[:, None]
    w = (weights * (high - low) / 2)[:, None]
    p = d.prob(x).numpy()
    agree(np.sum(w * p, 0), np.ones(3), 3e-6 if name == "Relaxed" else 1e-9)
    if name == "Relaxed":
        return
    agree(np.sum(w * -np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0), 0), d.entropy(), 1e-6)
    if name != "VonMises":
        agree(d.mean, np.sum(w * p * x, 0), 1e-9)
        agree(d.variance, np.sum(w * p * x**2, 0) - np.sum(w * p * x, 0) ** 2, 1e-9)
        level = f64(1e-6, 0.3, 0.99)
        agree(d.cdf(d.quantile(level)), level)
        agree(d.survival(d.quantile(level)), 1 - level)


def test_von_mises_is_scipys():
    k = f64(0.01, 2.0, 500.0)
    x = np.linspace(-3.1, 3.1, 9)[:, None]
    ours, theirs = prob.VonMises(f64(0.0), k), stats.vonmises(k)
    agree(ours.log_prob(x), theirs.logpdf(x))
    agree(ours.entropy(), theirs.entropy())
    agree(ours.log_prob(x + 2 * np.pi), ours.log_prob(x))


# Samples


SAMPLED = {
    **{name: pair for name, pair in CONTINUOUS.items()},
    "Gamma of a small shape": (
        prob.Gamma(f64(0.03, 0.1, 0.5), f64(1.0, 1.0, 1.0)), stats.gamma(f64(0.03, 0.1, 0.5))
    ),
    "VonMises": (
        prob.VonMises(f64(0.0, 0.0, 0.0), f64(1e-7, 2.0, 500.0)),
        stats.vonmises(f64(1e-7, 2.0, 500.0)),
    ),
}  # fmt: skip


@families(SAMPLED)
def test_samples_pass_the_kolmogorov_smirnov_test(ours, theirs):
    cr.seed(3)
    x = ours.sample((4000,)).numpy()
    assert x.shape == (4000, 3)
    assert x.dtype == np.float64
    for i in range(3):
        # The distribution function makes uniform numbers of them. At 1 in 10⁴ a test, for 60.
        u = theirs.cdf(x)[:, i]
        assert stats.kstest(u, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    "ours",
    [
        prob.ContinuousBernoulli(logits=f64(-9.0, 0.0, 2.0)),
        prob.Kumaraswamy(f64(0.5, 2.0, 9.0), f64(2.0, 1.0, 0.4)),
    ],
    ids=repr,
)
def test_samples_of_what_scipy_lacks(ours):
    cr.seed(4)
    x = ours.sample((4000,))
    for i in range(3):
        assert stats.kstest(ours.cdf(x).numpy()[:, i], "uniform").pvalue > 1e-4


@families(DISCRETE)
def test_samples_pass_the_chi_square_test(ours, theirs):
    cr.seed(5)
    x = ours.sample((4000,)).numpy()
    for i in range(3):
        values, counts = np.unique(x[:, i], return_counts=True)
        wanted = theirs.pmf(values[:, None])[:, i] * 4000
        assert (wanted > 0).all()
        often = wanted >= 5
        observed = [*counts[often], 4000 - counts[often].sum()]
        expected = [*wanted[often], 4000 - wanted[often].sum()]
        if expected[-1] < 5:  # too little is left for a cell of its own
            observed[-2:] = [sum(observed[-2:])]
            expected[-2:] = [sum(expected[-2:])]
        if len(expected) > 1:
            assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (prob.Poisson(f64(11.0)), stats.poisson(11.0)),
        (prob.Poisson(f64(60.0)), stats.poisson(60.0)),
        (prob.Binomial(f64(60.0), 0.25), stats.binom(60, 0.25)),
        (prob.Binomial(f64(300.0), 0.75), stats.binom(300, 0.75)),
        (prob.NegativeBinomial(f64(6.5), 0.75), stats.nbinom(6.5, 0.25)),
    ],
    ids=["Poisson", "Poisson, larger", "Binomial", "Binomial, larger", "NegativeBinomial"],
)
def test_many_draws_by_rejection(ours, theirs):
    cr.seed(8)
    n = 200_000
    values, counts = np.unique(ours.sample((n,)).numpy(), return_counts=True)
    wanted = theirs.pmf(values) * n
    often = wanted >= 5
    observed = [*counts[often], n - counts[often].sum()]
    expected = [*wanted[often], n - wanted[often].sum()]
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


@families(ALL)
def test_samples_have_their_shapes_and_come_again(ours, theirs):
    cr.seed(1)
    first = ours.sample((2, 5))
    cr.seed(1)
    again = ours.sample((2, 5))
    assert first.shape == (2, 5, 3)
    assert (first.numpy() == again.numpy()).all()
    assert ours.sample().shape == (3,)
    assert ours.sample(4).shape == (4, 3)
    assert ours.sample((0,)).shape == (0, 3)
    assert ours.support.contains(first).numpy().all()
    generator = cr.Generator(7)
    assert (
        ours.sample(generator=generator).numpy() == ours.sample(generator=cr.Generator(7)).numpy()
    ).all()


@pytest.mark.parametrize("name", ["Normal", "Gamma", "Poisson", "Beta", "StudentT"])
def test_float32_stays_float32(name):
    d = ALL[name][0]
    low = type(d)(**{k: v.astype(cr.float32) for k, v in d.parameters.items()})
    assert low.sample((2,)).dtype == cr.float32
    assert low.log_prob(low.sample()).dtype == cr.float32
    assert low.mean.dtype == cr.float32


# Derivatives


@families(ALL)
def test_derivatives_of_log_prob_agree_with_differences(ours, theirs):
    x = theirs.ppf(f64(0.2, 0.4, 0.7))
    fixed = {k: v for k, v in ours.parameters.items() if k == "total_count" and "Bin" in repr(ours)}
    names = [n for n in ours.parameters if n not in fixed]
    values = [ours.parameters[n].numpy() for n in names]
    if any(((v == 0) | (v == 1)).any() for n, v in zip(names, values, strict=True) if n == "probs"):
        return  # at the ends of [0, 1] there are differences on one side only
    keep = [np.isfinite(v).all() for v in values]
    names = [n for n, k in zip(names, keep, strict=True) if k]
    rest = {n: v for n, v in ours.parameters.items() if n not in names}

    def f(*arrays):
        return type(ours)(**dict(zip(names, arrays, strict=True)), **rest).log_prob(x)

    start = [ours.parameters[n].numpy() for n in names]
    found = cr.grad(lambda *a: f(*a).sum(), argnums=tuple(range(len(names))))(
        *map(cr.asarray, start)
    )
    for i, g in enumerate(found):
        h = 1e-5 * np.maximum(np.abs(start[i]), 1e-3)
        if names[i] == "probs":
            h = 1e-4 * start[i] * (1 - start[i])

        def moved(t, i=i, h=h):
            return f(*[a + (t * h if j == i else 0) for j, a in enumerate(start)]).numpy()

        slope = (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * h)
        scale = np.maximum(1, np.abs(slope))
        np.testing.assert_allclose(g.numpy() / scale, slope / scale, atol=2e-6)


def slopes_by_differences(f, start, i):
    """∂f/∂θ_i by a five-point stencil, for f of arrays that gives an array."""
    h = 1e-4 * np.maximum(np.abs(start[i]), 1e-3)

    def moved(t):
        return f(*[a + (t * h if j == i else 0) for j, a in enumerate(start)])

    return (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * h)


PAIRS = ("StudentT", "FisherSnedecor", "Beta")  # made of two variates each
IMPLICIT = {n: p for n, p in SAMPLED.items() if p[0].has_rsample and n not in PAIRS}


@families(IMPLICIT)
def test_derivatives_of_samples_are_those_at_a_fixed_probability(ours, theirs):
    """x(θ) is the quantile of what its probability was, drawn by rejection or not."""
    names = [n for n, v in ours.parameters.items() if np.isfinite(v.numpy()).all()]
    rest = {n: v for n, v in ours.parameters.items() if n not in names}
    start = [ours.parameters[n].numpy() for n in names]
    every = tuple(range(len(names)))

    def made(*arrays):
        return type(ours)(**dict(zip(names, arrays, strict=True)), **rest)

    def draw(*arrays):
        return made(*arrays).sample((5,), generator=cr.Generator(2))

    x = draw(*start)
    level, above = ours.cdf(x).numpy(), ours.survival(x).numpy()
    middle = (np.minimum(level, above) > 1e-3) & (np.abs(np.log(np.abs(x.numpy()))) < 30)
    found = cr.grad(lambda *a: (draw(*a) * middle).sum(), argnums=every)(*map(cr.asarray, start))
    for i, g in enumerate(found):

        def quantile(*arrays):
            return (made(*arrays).quantile(level).numpy() * middle).sum(0)

        slope = slopes_by_differences(quantile, start, i)
        np.testing.assert_allclose(g.numpy(), slope, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "of", "wanted"),
    [
        # E[log X] = ψ(a) − ψ(a + b)
        (lambda a: prob.Beta(a, 3.0), cr.log, lambda a: mpmath.psi(1, a) - mpmath.psi(1, a + 3)),
        (lambda a: prob.Beta(2.0, a), cr.log, lambda a: -mpmath.psi(1, 2 + a)),
        # E[log F] = ψ(a/2) − log(a/2) + …
        (
            lambda a: prob.FisherSnedecor(a, 5.0), cr.log,
            lambda a: mpmath.psi(1, a / 2) / 2 - 1 / a,
        ),
        # E|T| = 2 √ν Γ((ν + 1)/2) / (√π (ν − 1) Γ(ν/2)), of which E log|T| is easier:
        # E log|T| = E log|Z| + ½ log(ν/2) − ½ ψ(ν/2)
        (
            lambda a: prob.StudentT(a), lambda x: cr.log(abs(x)),
            lambda a: 1 / (2 * a) - mpmath.psi(1, a / 2) / 4,
        ),
    ],
)  # fmt: skip
def test_derivatives_of_expectations_through_samples(make, of, wanted):
    cr.seed(0)
    a = cr.asarray(f64(0.6, 2.0, 30.0))
    n = 20000

    def sampled(a):
        terms = of(make(a).sample((n,)))
        return terms.mean(0).sum()

    slope = cr.grad(sampled)(a).numpy()
    exact = np.array([float(wanted(mpmath.mpf(x))) for x in (0.6, 2.0, 30.0)])
    np.testing.assert_allclose(slope, exact, rtol=0.06)


def test_draws_have_derivatives_of_second_order_and_forward():
    def draw(a):
        return prob.Gamma(a, 1.0).sample((4,), generator=cr.Generator(5)).sum()

    a = cr.asarray(2.5, dtype=cr.float64)
    x = prob.Gamma(a, 1.0).sample((4,), generator=cr.Generator(5))
    level = prob.Gamma(a, 1.0).cdf(x).numpy()

    def slope(a):
        b = cr.asarray(a, dtype=cr.float64)
        return cr.grad(lambda b: prob.Gamma(b, 1.0).quantile(level).sum())(b).numpy()

    second = (8 * (slope(2.501) - slope(2.499)) - (slope(2.502) - slope(2.498))) / 0.012
    np.testing.assert_allclose(cr.grad(cr.grad(draw))(a).numpy(), second, rtol=1e-7)
    _, tangent = cr.jvp(draw, (a,), (cr.asarray(1.0, dtype=cr.float64),))
    np.testing.assert_allclose(tangent.numpy(), slope(2.5), rtol=1e-10)
    mapped = cr.vmap(cr.grad(lambda a: prob.Gamma(a, 1.0).sample()))(cr.asarray(f64(0.5, 2.0, 9.0)))
    assert (mapped.numpy() > 0).all()


def test_a_mean_through_samples_has_the_derivative_of_the_mean():
    """d/da E[log X] = ψ′(a) for a gamma variate, which only the implicit derivative gives."""
    cr.seed(0)
    a = cr.asarray(f64(0.3, 2.0, 30.0))
    slope = cr.grad(lambda a: cr.log(prob.Gamma(a, 1.0).sample((20000,))).mean(0).sum())(a)
    wanted = [float(mpmath.psi(1, x)) for x in (0.3, 2.0, 30.0)]
    np.testing.assert_allclose(slope.numpy(), wanted, rtol=0.05)


def test_no_derivative_is_nan_outside_of_the_support():
    def f(a):
        return prob.Gamma(a, 1.0).log_prob(cr.asarray(f64(-1.0, 0.5))).sum()

    assert np.isfinite(cr.grad(f)(cr.asarray(2.0, dtype=cr.float64)).numpy())


# Arguments


def test_batches_broadcast_and_expand():
    d = prob.Normal(np.zeros((3, 1)), np.ones(4))
    assert (d.batch_shape, d.event_shape) == ((3, 4), ())
    assert d.expand((2, 3, 4)).log_prob(0.0).shape == (2, 3, 4)
    assert d.log_prob(np.zeros((5, 3, 4))).shape == (5, 3, 4)
    assert d.independent(1).log_prob(np.zeros((3, 4))).shape == (3,)
    with pytest.raises(ShapeError, match=r"Normal\.expand"):
        d.expand((2, 5))
    with pytest.raises(ShapeError, match=r"Normal\.log_prob.*test_distributions"):
        d.log_prob(np.zeros(7))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: prob.Normal(0.0, [1.0, -2.0]), DataError, r"scale is positive, .* \[1\] it is -2"),
        (lambda: prob.Normal(np.nan, 1.0), DataError, "loc is a finite number, and it is nan"),
        (lambda: prob.Bernoulli(1.5), DataError, r"probs is in \[0, 1\]"),
        (lambda: prob.Bernoulli(), DTypeError, "probs or logits, and neither"),
        (lambda: prob.Bernoulli(0.5, 0.0), DTypeError, "probs or logits, and both"),
        (lambda: prob.Binomial(2.5, 0.5), DataError, "total_count is a whole number"),
        (lambda: prob.Categorical([0.5, 0.6]), DataError, "add up to 1"),
        (lambda: prob.Categorical(0.5), ShapeError, "probs has 1 axis or more"),
        (lambda: prob.Uniform(1.0, 0.0), DataError, "high − low is positive"),
        (lambda: prob.Normal(1j, 1.0), DTypeError, "loc is real"),
        (lambda: prob.Normal("a", 1.0), DTypeError, "Normal"),
        (lambda: prob.Normal(0.0, 1.0).sample(-1), ShapeError, "negative"),
        (lambda: prob.Normal(0.0, 1.0).sample(1.5), DTypeError, "whole numbers"),
        (lambda: prob.Normal(0.0, 1.0).sample(2, generator=3), DTypeError, "Generator"),
        (lambda: prob.Normal(0.0, 1.0).quantile(1.5), DataError, "a probability is in"),
        (lambda: prob.Poisson(3.0).rsample(), DataError, "score function"),
        (lambda: prob.Poisson(3.0).entropy(), DataError, "Poisson has no `entropy`"),
        (lambda: prob.Normal(np.zeros(3), np.ones(2)), ShapeError, "Normal"),
        (lambda: prob.Multinomial(-1, [1.0]), DTypeError, "total_count"),
        (lambda: prob.LKJCholesky(1), DTypeError, "dim"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_values_outside_have_no_mass_and_nan_stays_nan():
    d = prob.Gamma(2.0, 1.0)
    found = d.log_prob([-1.0, np.inf, np.nan]).numpy()
    assert found[:2].tolist() == [-np.inf, -np.inf]
    assert np.isnan(found[2])
    assert np.isnan(d.cdf(np.nan).numpy())
    assert prob.Poisson(1.0).log_prob(1.5).item() == -np.inf
    assert prob.Normal(0.0, 1.0).log_prob(np.inf).item() == -np.inf


def test_distributions_can_be_traced_compiled_and_mapped():
    x = cr.asarray(f64(0.3, 1.2))

    def f(a):
        return prob.Gamma(a, 2.0).log_prob(x).sum()

    a = cr.asarray(2.5, dtype=cr.float64)
    agree(cr.compile(f)(a), f(a).numpy(), 1e-14)

    def draw(a):
        return prob.Gamma(a, 2.0).sample((2,))

    cr.seed(9)
    eager = draw(a).numpy()
    cr.seed(9)
    agree(cr.compile(draw)(a), eager, 1e-14)
    many = cr.vmap(lambda a: prob.Normal(a, 1.0).log_prob(x))(cr.asarray(f64(0.0, 1.0, 2.0)))
    agree(many, prob.Normal(f64(0.0, 1.0, 2.0)[:, None], 1.0).log_prob(x))
