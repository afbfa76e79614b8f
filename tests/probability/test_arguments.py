"""Whatever is handed over, the answer is a number, a distribution, or an error of this library."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import probability as prob

ANYTHING = [
    0.0, 1.0, -1.0, 0.5, 2, True, None, "a", 1j, np.nan, np.inf, [], [0.5, 0.5], {}, object(),
    [[1.0, 0.0], [0.0, 1.0]], np.zeros(0), np.zeros((0, 2)), np.ones((2, 1)), np.ones(3),
    np.array([1, 2]), np.ones(2, np.float16), np.eye(3), np.full((2, 2), np.nan),
]  # fmt: skip
anything = st.sampled_from(ANYTHING)
CLASSES = [
    value
    for value in (getattr(prob, name) for name in sorted(prob._NAMES))
    if inspect.isclass(value)
    and issubclass(value, (prob.Distribution, prob.Transform))
    and value not in (prob.Distribution, prob.Transform)
]
PARTS = ("log_prob", "cdf", "log_cdf", "survival", "log_survival", "quantile", "sample", "expand")
INFORMATION = [
    prob.information.entropy, prob.information.cross_entropy, prob.information.kl_divergence,
    prob.information.jensen_shannon, prob.information.mutual_information,
    prob.information.conditional_entropy, prob.information.entropy_of_samples,
    prob.information.mutual_information_of_samples,
]  # fmt: skip


def answered(function, *args, **options):
    """The answer, or None for an error that is one of ours; any other goes through."""
    try:
        return function(*args, **options)
    except cr.ChainruleError:
        return None


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_distributions_and_transforms(kind, data):
    count = len(inspect.signature(kind).parameters)
    made = answered(kind, *[data.draw(anything) for _ in range(count)])
    value = data.draw(anything)
    if isinstance(made, prob.Transform):
        answered(made, value)
        answered(made.inv, value)
        answered(made.log_abs_det_jacobian, value, value)
    elif made is not None:
        for part in PARTS:
            answered(getattr(made, part), value)
        for part in ("entropy", "enumerate_support"):
            answered(getattr(made, part))
        for part in ("mean", "mode", "variance", "stddev"):
            answered(lambda part=part: getattr(made, part))
        answered(prob.kl_divergence, made, made)


@pytest.mark.parametrize("function", INFORMATION, ids=lambda f: f.__name__)
@settings(max_examples=25, deadline=None)
@given(first=anything, second=anything, base=anything)
def test_information(function, first, second, base):
    operands = inspect.signature(function).parameters.values()
    operands = [p for p in operands if p.kind is p.POSITIONAL_ONLY]
    args = (first, second)[: len(operands)]
    answered(function, *args)
    answered(function, *args, base=base)


@settings(max_examples=40, deadline=None)
@given(first=anything, second=anything)
def test_likelihoods_posteriors_and_networks(first, second):
    for kind in (prob.Normal, prob.Poisson, prob.Categorical, prob.Dirichlet):
        answered(prob.Likelihood(kind), first, second)
    answered(prob.posterior, prob.Beta(1.0, 1.0), prob.Bernoulli, first)
    answered(prob.posterior, prob.Gamma(1.0), prob.Gamma, first, concentration=second)
    answered(prob.BayesianNetwork, first)
    answered(prob.BayesianNetwork, {"a": ((), first), "b": (("a",), second)})
    answered(prob.biject_to, first)
