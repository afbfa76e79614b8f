"""Any distribution is a loss for `fit`; what maximises a likelihood is what the textbook says."""

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, ShapeError

rng = np.random.default_rng(0)
NORMAL, SAME = prob.Likelihood(prob.Normal), prob.Likelihood(lambda outputs: outputs)


@pytest.mark.parametrize(
    ("loss", "width", "targets"),
    [
        (prob.Likelihood(prob.Normal), 2, rng.normal(size=8)),
        (prob.Likelihood(prob.StudentT, df=4.0), 2, rng.normal(size=8)),
        (prob.Likelihood(prob.Gamma), 2, rng.gamma(2.0, size=8)),
        (prob.Likelihood(prob.Beta), 2, rng.beta(2, 3, 8)),
        (prob.Likelihood(prob.NegativeBinomial), 2, rng.poisson(3.0, 8)),
        (prob.Likelihood(prob.ZeroInflatedPoisson), 2, rng.poisson(1.0, 8)),
        (prob.Likelihood(prob.Weibull), 2, rng.weibull(2.0, 8)),
        (prob.Likelihood(prob.Poisson), None, rng.poisson(3.0, 8)),
        (prob.Likelihood(prob.Bernoulli), None, rng.integers(0, 2, 8)),
        (prob.Likelihood(prob.Binomial, total_count=9), None, rng.integers(0, 9, 8)),
        (prob.Likelihood(prob.Categorical), 4, rng.integers(0, 4, 8)),
        (prob.Likelihood(prob.Dirichlet), 3, rng.dirichlet(np.ones(3), 8)),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_is_minus_the_mean_log_probability_and_has_derivatives(loss, width, targets):
    outputs = rng.normal(size=8 if width is None else (8, width))
    made = loss.distribution(cr.asarray(outputs))
    assert made.batch_shape == (8,)
    found = loss(cr.asarray(outputs), cr.asarray(targets))
    assert found.item() == pytest.approx(-made.log_prob(targets).numpy().mean())
    cr.check_gradients(lambda o: loss(o, cr.asarray(targets)), cr.asarray(outputs))
    none = type(loss)(loss.make, reduction="none", **loss.fixed)(
        cr.asarray(outputs), cr.asarray(targets)
    )
    assert none.shape == (8,)


def test_is_the_loss_that_it_is_named_after():
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    assert prob.Likelihood(prob.Categorical)(logits, labels).item() == pytest.approx(
        nn.cross_entropy(cr.asarray(logits), cr.asarray(labels)).item()
    )
    z, y = rng.normal(size=6), rng.integers(0, 2, 6).astype(float)
    assert prob.Likelihood(prob.Bernoulli)(z, y).item() == pytest.approx(
        nn.binary_cross_entropy_with_logits(cr.asarray(z), cr.asarray(y)).item()
    )


def test_fit_learns_the_spread_too():
    """Gamma-distributed targets whose mean and spread both depend on the input."""
    cr.seed(0)
    x = np.linspace(0, 1, 600)[:, None]
    shape = 1 + 4 * x[:, 0]
    y = rng.gamma(shape, 1.0)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))
    loss = prob.Likelihood(prob.Gamma)
    before = loss(model(cr.asarray(x, dtype=cr.float32)), cr.asarray(y, dtype=cr.float32)).item()
    history = cr.fit(
        model, (x, y), loss=loss, epochs=40,
        optimizer=cr.optim.Adam(model.parameters(), lr=1e-2),
    )  # fmt: skip
    made = loss.distribution(model(cr.asarray(x, dtype=cr.float32)))
    best = -stats.gamma(shape).logpdf(y).mean()
    assert history.epochs[-1].train_loss < before
    assert history.epochs[-1].train_loss == pytest.approx(best, abs=0.06)
    np.testing.assert_allclose(made.mean.numpy()[[50, 300, 550]], shape[[50, 300, 550]], rtol=0.25)


def test_a_function_of_the_outputs_will_do():
    def mixture(o):
        return prob.MixtureSameFamily(
            prob.Categorical(logits=o[..., :2]),
            prob.Normal(o[..., 2:4], cr.softplus(o[..., 4:])),
        )

    loss = prob.Likelihood(mixture)
    o = cr.asarray(rng.normal(size=(5, 6)))
    cr.check_gradients(lambda o: loss(o, cr.asarray(rng.normal(size=5) * 0 + 0.3)), o)


def gamma_fit(x):
    shape, _, scale = stats.gamma.fit(x, floc=0)
    return shape, 1 / scale


@pytest.mark.parametrize(
    ("family", "data", "theirs"),
    [
        (prob.Normal, rng.normal(3.0, 2.0, 500), lambda x: (x.mean(), x.std())),
        (prob.Gamma, rng.gamma(3.0, 2.0, 500), gamma_fit),
        (prob.Exponential, rng.exponential(3.0, 500), lambda x: (1 / x.mean(),)),
        (prob.Poisson, rng.poisson(4.0, 500), lambda x: (x.mean(),)),
        (prob.Weibull, rng.weibull(2.0, 500), lambda x: (stats.weibull_min.fit(x, floc=0)[::-2])),
        (prob.Beta, rng.beta(2.0, 5.0, 500), lambda x: stats.beta.fit(x, floc=0, fscale=1)[:2]),
        (prob.Gumbel, rng.gumbel(2.0, 5.0, 500), stats.gumbel_r.fit),
    ],
)  # fmt: skip
def test_maximum_likelihood_is_scipys(family, data, theirs):
    found = [p.item() for p in prob.maximum_likelihood(family, data).parameters.values()]
    np.testing.assert_allclose(found, theirs(data), rtol=2e-3)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: NORMAL(np.zeros((3, 3)), np.zeros(3)), ShapeError, "last axis of 2"),
        (lambda: NORMAL(np.zeros((3, 2)), np.zeros((3, 1))), ShapeError, "must be equal"),
        (lambda: prob.Likelihood(prob.Binomial), DTypeError, "total_count=…"),
        (lambda: prob.Likelihood(prob.Normal, df=3.0), DTypeError, "no argument 'df'"),
        (lambda: prob.Likelihood(prob.MultivariateNormal), DTypeError, "function of the outputs"),
        (lambda: prob.Likelihood(3), DTypeError, "not 3"),
        (lambda: prob.Likelihood(prob.Normal, reduction="x"), DTypeError, "reduction"),
        (lambda: SAME(np.zeros(3), np.zeros(3)), DTypeError, "no distribution"),
        (lambda: prob.maximum_likelihood(prob.Gamma, [-1.0, 2.0]), DataError, "no probability"),
        (lambda: prob.maximum_likelihood(prob.Gamma, []), DataError, "one at least"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(make, error, words):
    with pytest.raises(error, match=words):
        make()
