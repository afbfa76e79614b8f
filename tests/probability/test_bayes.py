"""Posteriors against Bayes' theorem on a grid; networks against the sum over everything."""

import itertools

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import probability as prob
from chainrule.errors import DataError, DTypeError, ShapeError
from tests.probability.families import f64
from tests.probability.test_distributions import agree

rng = np.random.default_rng(0)
T = np.array(2.0)
CASES = [
    (prob.Beta(T, 3.0), prob.Bernoulli, [1, 0, 1, 1], {}, lambda t: {"probs": t}),
    (prob.Beta(T, 3.0), prob.Binomial, [3, 5], {"total_count": 7}, lambda t: {"probs": t}),
    (prob.Beta(T, 3.0), prob.Geometric, [3, 0, 2], {}, lambda t: {"probs": t}),
    (prob.Gamma(T, 3.0), prob.Poisson, [3, 0, 2], {}, lambda t: {"rate": t}),
    (prob.Gamma(T, 3.0), prob.Exponential, [0.3, 1.2], {}, lambda t: {"rate": t}),
    (prob.Gamma(T, 3.0), prob.Gamma, [0.3, 1.2], {"concentration": 2.5}, lambda t: {"rate": t}),
    (prob.Normal(T, 3.0), prob.Normal, [0.3, -1.2], {"scale": 0.7}, lambda t: {"loc": t}),
    (prob.InverseGamma(T, 3.0), prob.Normal, [0.3, 1.2], {"loc": 0.5}, lambda t: {"scale": t**0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("prior", "likelihood", "data", "known", "as_"), CASES)
def test_posterior_is_proportional_to_likelihood_times_prior(prior, likelihood, data, known, as_):
    data = np.array(data, np.float64)
    known = {k: np.array(v, np.float64) for k, v in known.items()}
    after = prob.posterior(prior, likelihood, data, **known)
    assert type(after) is type(prior)
    grid = prior.quantile(np.linspace(0.05, 0.95, 7)).numpy()
    made = likelihood(**as_(grid), **known)
    joint = prior.log_prob(grid).numpy() + made.log_prob(data[:, None]).numpy().sum(0)
    apart = joint - after.log_prob(grid).numpy()
    np.testing.assert_allclose(apart, apart[0], rtol=1e-9)  # log p(x), the same everywhere


def test_posterior_of_classes():
    prior = prob.Dirichlet(f64(1.0, 2.0, 3.0))
    after = prob.posterior(prior, prob.Categorical, [0, 2, 2, 2])
    agree(after.concentration, [2, 2, 6])
    batch = prob.posterior(prob.Beta(f64(1, 1), 1.0), prob.Bernoulli, [[1, 0], [1, 0], [0, 0]])
    agree(batch.concentration1, [3, 1])


def random_network(seed):
    """Seven variables of two or three states, each with up to three parents before it."""
    rng = np.random.default_rng(seed)
    states = rng.integers(2, 4, 7)
    tables = {}
    for i in range(7):
        parents = sorted(rng.choice(i, min(i, rng.integers(0, 4)), replace=False).tolist())
        shape = [states[p] for p in parents]
        tables[f"v{i}"] = (
            [f"v{p}" for p in parents], rng.dirichlet(np.ones(states[i]), shape or None)
        )  # fmt: skip
    return tables, states


def everything(tables, states):
    """The joint table, state by state."""
    joint = np.zeros(states)
    for state in itertools.product(*map(range, states)):
        p = 1.0
        for name, (parents, table) in tables.items():
            key = (*(state[int(parent[1:])] for parent in parents), state[int(name[1:])])
            p *= np.asarray(table)[key]
        joint[state] = p
    return joint


@pytest.mark.parametrize("seed", range(6))
def test_elimination_is_the_sum_over_everything(seed):
    tables, states = random_network(seed)
    # The order in which tables are given does not matter.
    net, joint = prob.BayesianNetwork(dict(reversed(tables.items()))), everything(tables, states)
    for asked, seen in ((["v0"], {"v6": 1}), (["v5", "v2"], {"v3": 0, "v6": 0}), (["v4"], {})):
        cut = joint[tuple(seen.get(f"v{i}", slice(None)) for i in range(7))]
        left = [i for i in range(7) if f"v{i}" not in seen]
        numbers = [int(a[1:]) for a in asked]
        wanted = cut.sum(tuple(k for k, i in enumerate(left) if i not in numbers))
        kept = [i for i in left if i in numbers]
        wanted = wanted.transpose([kept.index(n) for n in numbers])
        agree(net.query(asked, seen), wanted / wanted.sum())
        agree(net.probability(seen), wanted.sum())


def test_bayes_theorem_and_its_derivative():
    prior, sensitive, false = 0.01, 0.9, 0.05

    def sick(p):
        net = prob.BayesianNetwork(
            {
                "sick": ((), cr.stack([1 - p, p])),
                "test": (("sick",), f64([1 - false, false], [1 - sensitive, sensitive])),
            }
        )
        return net.query("sick", {"test": 1})[1]

    p = cr.asarray(prior, dtype=cr.float64)
    whole = sensitive * prior + false * (1 - prior)
    agree(sick(p), sensitive * prior / whole)
    agree(cr.grad(sick)(p), sensitive * false / whole**2)


def test_samples_of_a_network():
    tables, states = random_network(3)
    net, joint = prob.BayesianNetwork(tables), everything(tables, states)
    cr.seed(0)
    drawn = net.sample(5000)
    for pair in ((0, 6), (2, 5)):
        wanted = joint.sum(tuple(i for i in range(7) if i not in pair)) * 5000
        counts = np.zeros_like(wanted)
        np.add.at(counts, tuple(drawn[f"v{i}"].numpy() for i in pair), 1)
        assert stats.chisquare(counts.ravel(), wanted.ravel()).pvalue > 1e-4


A, FLAT = ((), [0.5, 0.5]), prob.Beta(1.0, 1.0)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: prob.posterior(FLAT, prob.Poisson, [1]), DataError, "not conjugate"),
        (lambda: prob.posterior(FLAT, prob.Bernoulli, [0.5]), DataError, "data"),
        (lambda: prob.posterior(FLAT, prob.Bernoulli, 1), ShapeError, "first axis"),
        (lambda: prob.posterior(prob.Normal(0.0, 1.0), prob.Normal, [1.0]), DTypeError, "scale"),
        (lambda: prob.BayesianNetwork({"a": (("b",), [[0.5, 0.5]])}), DataError, "has no table"),
        (
            lambda: prob.BayesianNetwork(
                {"a": (("b",), np.full((2, 2), 0.5)), "b": (("a",), np.full((2, 2), 0.5))}
            ),
            DataError, "cycle among 'a', 'b'",
        ),
        (lambda: prob.BayesianNetwork({"a": ((), [0.5, 0.6])}), DataError, "the table of 'a'"),
        (lambda: prob.BayesianNetwork({"a": ((), [[0.5, 0.5]])}), ShapeError, "one for itself"),
        (
            lambda: prob.BayesianNetwork({"a": A, "b": (("a",), [[0.5, 0.5]] * 3)}),
            ShapeError, "has 2 states",
        ),
        (lambda: prob.BayesianNetwork({"a": A}).query("c"), DataError, "no variable 'c'"),
        (lambda: prob.BayesianNetwork({"a": A}).query("a", {"a": 0}), DataError, "both asked"),
        (lambda: prob.BayesianNetwork({"a": A}).probability({"a": 2}), DTypeError, "from 0 to 1"),
        (
            lambda: prob.BayesianNetwork(
                {"a": ((), [1.0, 0.0]), "b": (("a",), [[0.5, 0.5]] * 2)}
            ).query("b", {"a": 1}),
            DataError, "probability 0",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_answered(make, error, words):
    with pytest.raises(error, match=words):
        make()
