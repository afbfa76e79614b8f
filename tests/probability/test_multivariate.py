"""Distributions of vectors and matrices, of classes, and those made of others."""

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, LinAlgError, ShapeError
from tests.probability.families import f64
from tests.probability.test_distributions import agree

rng = np.random.default_rng(0)


def positive_definite(*shape):
    a = rng.normal(size=shape)
    return a @ np.swapaxes(a, -1, -2) + 0.3 * np.eye(shape[-1])


LOC, COV = rng.normal(size=3), positive_definite(3, 3)
X = rng.normal(size=(5, 3))


@pytest.mark.parametrize("form", ["covariance_matrix", "precision_matrix", "scale_tril"])
def test_multivariate_normal_is_scipys(form):
    given = {
        "covariance_matrix": COV,
        "precision_matrix": np.linalg.inv(COV),
        "scale_tril": np.linalg.cholesky(COV),
    }[form]
    ours, theirs = (
        prob.MultivariateNormal(LOC, **{form: given}),
        stats.multivariate_normal(LOC, COV),
    )
    agree(ours.log_prob(X), theirs.logpdf(X))
    agree(ours.entropy(), theirs.entropy())
    agree(ours.covariance_matrix, COV)
    agree(ours.precision_matrix, np.linalg.inv(COV))
    agree(ours.variance, np.diag(COV))
    many = ours.expand((2,))
    assert many.sample((4,)).shape == (4, 2, 3)
    agree(many.log_prob(X[:, None]), np.tile(theirs.logpdf(X)[:, None], 2))


def test_low_rank_normal_is_the_full_one():
    w, d = rng.normal(size=(4, 2)), rng.uniform(0.5, 2, 4)
    loc, x = rng.normal(size=4), rng.normal(size=(6, 4))
    ours, theirs = prob.LowRankMultivariateNormal(loc, w, d), w @ w.T + np.diag(d)
    agree(ours.log_prob(x), stats.multivariate_normal(loc, theirs).logpdf(x))
    agree(ours.entropy(), stats.multivariate_normal(loc, theirs).entropy())
    agree(ours.covariance_matrix, theirs)
    agree(ours.variance, np.diag(theirs))
    full, other = prob.MultivariateNormal(loc, theirs), prob.MultivariateNormal(x[0], 2 * theirs)
    agree(prob.kl_divergence(ours, other), prob.kl_divergence(full, other).numpy())
    agree(prob.kl_divergence(other, ours), prob.kl_divergence(other, full).numpy())


def test_dirichlet_is_scipys():
    a = f64(0.3, 1.0, 5.0)
    ours, theirs = prob.Dirichlet(a), stats.dirichlet(a)
    x = theirs.rvs(6, random_state=1)
    agree(ours.log_prob(x), theirs.logpdf(x.T))
    agree(ours.entropy(), theirs.entropy())
    agree(ours.mean, theirs.mean())
    agree(ours.variance, theirs.var())
    assert ours.log_prob([0.5, 0.6, 0.7]).item() == -np.inf
    agree(prob.Dirichlet(f64(2.0, 3.0, 4.0)).mode, f64(1, 2, 3) / 6)


def test_wishart_is_scipys():
    v = positive_definite(3, 3)
    ours, theirs = prob.Wishart(np.array(5.5), v), stats.wishart(5.5, v)
    x = theirs.rvs(4, random_state=1)
    agree(ours.log_prob(x), theirs.logpdf(np.moveaxis(x, 0, -1)))
    agree(ours.entropy(), theirs.entropy())
    agree(ours.mean, theirs.mean())
    agree(ours.variance, theirs.var())
    agree(ours.mode, theirs.mode())


def test_matrices_and_vectors_are_drawn_with_their_moments():
    cr.seed(2)
    n = 20000
    cases = [
        (prob.MultivariateNormal(LOC, COV), LOC, np.diag(COV)),
        (
            prob.LowRankMultivariateNormal(LOC, rng.normal(size=(3, 1)), f64(1, 2, 3)), None, None
        ),
        (prob.Dirichlet(f64(0.3, 1.0, 5.0)), None, None),
        (prob.Wishart(np.array(5.5), COV), None, None),
        (prob.Multinomial(7, probs=f64(0.2, 0.3, 0.5)), None, None),
        (prob.OneHotCategorical(probs=f64(0.2, 0.3, 0.5)), None, None),
    ]  # fmt: skip
    for d, mean, variance in cases:
        x = d.sample((n,)).numpy()
        mean = d.mean.numpy() if mean is None else mean
        variance = d.variance.numpy() if variance is None else variance
        error = np.sqrt(variance / n)
        assert (np.abs(x.mean(0) - mean) < 4.5 * error).all(), d
        np.testing.assert_allclose(x.var(0), variance, rtol=0.12)
        assert d.support.contains(x).numpy().all()


def test_covariance_of_samples():
    cr.seed(1)
    x = prob.MultivariateNormal(LOC, COV).sample((40000,)).numpy()
    np.testing.assert_allclose(np.cov(x.T), COV, atol=0.15)


def test_correlations_have_the_marginal_that_theory_says():
    """Each of LKJ(η) in n dimensions is 2 Beta(b, b) − 1 with b = η − 1 + n/2 (Joe 2006)."""
    cr.seed(4)
    for n, eta in ((2, 1.0), (4, 0.7), (5, 3.0)):
        root = prob.LKJCholesky(n, np.array(eta)).sample((3000,))
        r = (root @ root.mT).numpy()
        assert np.allclose(np.diagonal(r, axis1=-2, axis2=-1), 1)
        b = eta - 1 + n / 2
        for i, j in ((0, 1), (0, n - 1), (n - 2, n - 1)):
            u = stats.beta(b, b).cdf((r[:, i, j] + 1) / 2)
            assert stats.kstest(u, "uniform").pvalue > 1e-4


def test_lkj_density_integrates_to_one():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for eta in (1.0, 2.5):
        # For two dimensions L = [[1, 0], [r, √(1 − r²)]] has the density of r times |dr|.
        root = np.zeros((60, 2, 2))
        root[:, 0, 0] = 1
        root[:, 1, 0], root[:, 1, 1] = nodes, np.sqrt(1 - nodes**2)
        p = prob.LKJCholesky(2, f64(eta)).prob(root).numpy()
        # The measure is that of the free element L_10.
        assert np.sum(weights * p) == pytest.approx(1, abs=2e-4)


# Classes


def test_categorical():
    p = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    d = prob.Categorical(probs=p)
    assert (d.batch_shape, d.num_events) == ((2,), 3)
    agree(d.log_prob([2, 0]), np.log([0.5, 1.0]))
    assert d.log_prob([2, 1]).numpy()[1] == -np.inf
    assert d.log_prob([7, 0]).numpy()[0] == -np.inf
    agree(d.entropy(), [stats.entropy(row) for row in p])
    agree(d.cdf([1, 0]), [0.5, 1.0])
    assert d.quantile([0.45, 0.5]).numpy().tolist() == [1, 0]
    assert d.mode.numpy().tolist() == [2, 0]
    assert d.enumerate_support().shape == (3, 2)
    agree(cr.exp(d.log_prob(d.enumerate_support())).sum(0), [1.0, 1.0])
    cr.seed(0)
    x = d.sample((8000,))
    assert x.dtype == cr.int64
    counts = np.bincount(x.numpy()[:, 0], minlength=3)
    assert stats.chisquare(counts, p[0] * 8000).pvalue > 1e-4
    assert (x.numpy()[:, 1] == 0).all()
    logits = prob.Categorical(logits=np.array([1.0, -np.inf, 2.0]))
    agree(logits.probs, np.array([1, 0, np.e]) / (1 + np.e))
    assert (logits.sample((500,)).numpy() != 1).all()


def test_multinomial_is_scipys():
    p = f64(0.2, 0.3, 0.5)
    x = np.array([[3, 1, 3], [0, 0, 7], [7, 0, 0]], float)
    for d in (prob.Multinomial(7, probs=p), prob.Multinomial(7, logits=np.log(p) + 3)):
        agree(d.log_prob(x), stats.multinomial(7, p).logpmf(x))
        assert d.log_prob([1.0, 1.0, 1.0]).item() == -np.inf
    cr.seed(0)
    drawn = prob.Multinomial(7, probs=p).sample((3000,)).numpy()
    assert (drawn.sum(-1) == 7).all()
    values, counts = np.unique(drawn, axis=0, return_counts=True)
    wanted = stats.multinomial(7, p).pmf(values) * 3000
    often = wanted >= 5
    observed = [*counts[often], 3000 - counts[often].sum()]
    expected = [*wanted[often], 3000 - wanted[often].sum()]
    assert stats.chisquare(observed, expected, sum_check=False).pvalue > 1e-4


def test_relaxed_one_hot_tends_to_its_classes():
    cr.seed(0)
    p = f64(0.2, 0.3, 0.5)
    x = prob.RelaxedOneHotCategorical(np.array(0.05), probs=p).sample((6000,)).numpy()
    share = np.bincount(x.argmax(-1), minlength=3)
    assert stats.chisquare(share, p * 6000).pvalue > 1e-4
    assert np.median(x.max(-1)) > 0.999


# Made of others


def test_mixtures():
    w, loc, scale = f64(0.2, 0.8), f64(-1.0, 3.0), f64(0.5, 2.0)
    d = prob.MixtureSameFamily(prob.Categorical(probs=w), prob.Normal(loc, scale))
    x = np.linspace(-5, 8, 7)
    density = (w * stats.norm(loc, scale).pdf(x[:, None])).sum(-1)
    agree(d.log_prob(x), np.log(density))
    agree(d.cdf(x), (w * stats.norm(loc, scale).cdf(x[:, None])).sum(-1))
    agree(d.mean, (w * loc).sum())
    agree(d.variance, (w * (scale**2 + loc**2)).sum() - (w * loc).sum() ** 2)
    agree(d.posterior(x), w * stats.norm(loc, scale).pdf(x[:, None]) / density[:, None])
    cr.seed(0)
    u = d.cdf(d.sample((4000,))).numpy()
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    vectors = prob.MixtureSameFamily(
        prob.Categorical(probs=np.full((4, 2), 0.5)),
        prob.MultivariateNormal(np.zeros((4, 2, 3)), COV),
    )
    assert vectors.sample((5,)).shape == (5, 4, 3)
    agree(vectors.log_prob(X[:4]), stats.multivariate_normal(np.zeros(3), COV).logpdf(X[:4]))


def test_transformed_distributions_are_the_named_ones():
    x = f64(0.1, 1.0, 7.0)
    log_normal = prob.TransformedDistribution(prob.Normal(f64(0.5), 2.0), prob.ExpTransform())
    agree(log_normal.log_prob(x), prob.LogNormal(f64(0.5), 2.0).log_prob(x))
    agree(log_normal.cdf(x), prob.LogNormal(f64(0.5), 2.0).cdf(x))
    agree(log_normal.quantile(f64(0.2)), prob.LogNormal(f64(0.5), 2.0).quantile(f64(0.2)))
    assert log_normal.log_prob(-1.0).item() == -np.inf
    falling = prob.TransformedDistribution(
        prob.Exponential(f64(2.0)), prob.AffineTransform(1.0, -1.0)
    )
    agree(falling.cdf(f64(0.3, 0.9)), np.exp(-2 * f64(0.7, 0.1)))
    agree(falling.quantile(falling.cdf(f64(0.3))), f64(0.3))
    shifted = prob.TransformedDistribution(
        prob.Normal(f64(0.0), 1.0), [prob.ExpTransform(), prob.AffineTransform(f64(3.0, 5.0), 1.0)]
    )
    assert shifted.batch_shape == (2,)
    agree(shifted.log_prob(f64(4.0, 4.0)), [stats.lognorm(1, loc=3).logpdf(4.0), -np.inf])
    drawn = shifted.sample((1000,)).numpy()
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.2  # each element is drawn for itself
    simplex = prob.TransformedDistribution(
        prob.Normal(np.zeros(2), np.ones(2)), prob.StickBreakingTransform()
    )
    assert (simplex.batch_shape, simplex.event_shape) == ((), (3,))
    assert simplex.log_prob(simplex.sample((4,))).shape == (4,)


def test_points_and_samples():
    d = prob.Delta(f64(1.0, 2.0), event_dim=1)
    assert d.log_prob([1.0, 2.0]).item() == 0
    assert d.log_prob([1.0, 2.5]).item() == -np.inf
    e = prob.Empirical(f64(1.0, 2.0, 2.0, 5.0))
    agree(e.log_prob([2.0, 3.0]), [np.log(0.5), -np.inf])
    agree(e.cdf([0.0, 2.0, 9.0]), [0.0, 0.75, 1.0])
    agree(e.mean, 2.5)
    agree(e.variance, 2.25)
    assert set(e.sample((50,)).numpy()) <= {1.0, 2.0, 5.0}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: prob.MultivariateNormal(np.zeros(2)), DTypeError, "one of covariance_matrix"),
        (lambda: prob.MultivariateNormal(np.zeros(3), np.eye(2)), ShapeError, "loc has 3 elements"),
        (
            lambda: prob.MultivariateNormal(np.zeros(2), [[1.0, 2.0], [2.0, 1.0]]),
            (DataError, LinAlgError), "positive definite",
        ),
        (lambda: prob.MultivariateNormal(np.zeros(2), [[1.0, 0.5], [0.0, 1.0]]), DataError, "symm"),
        (lambda: prob.Wishart(f64(0.5), np.eye(3)), DataError, "df is greater than 2"),
        (lambda: prob.Independent(prob.Normal(0.0, 1.0), 1), DTypeError, "number of axes"),
        (
            lambda: prob.MixtureSameFamily(prob.Categorical([1.0]), prob.Normal([0.0, 1.0], 1.0)),
            ShapeError, "weights for 1 components",
        ),
        (lambda: prob.Normal(0.0, 1.0).log_prob(["x"]), DTypeError, "log_prob"),
        (lambda: prob.Dirichlet([1.0, 1.0]).log_prob([1.0, 0.0, 0.0]), ShapeError, "one value has"),
        (lambda: prob.AffineTransform(0.0, 0.0), DataError, "no inverse"),
        (lambda: prob.Empirical(np.zeros(0)), DataError, "one value or more"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(make, error, words):
    with pytest.raises(error, match=words):
        make()
