"""What a posterior refuses, before any method makes a number of it."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 2)).astype(np.float32)
CODES = np.arange(20) % 3
REAL = X[:, 0] + 0.1


def network(outputs: int = 3, *more: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, outputs), *more)


@pytest.mark.parametrize(
    ("outputs", "y", "likelihood", "told"),
    [
        (3, CODES.astype(float), None, r"\(8, 3\).*targets have the shape \(20,\)"),
        (1, CODES, None, "reads a logit for each class"),
        (1, CODES > 0, None, "bernoulli"),
        (2, CODES, None, "row 2 has the label 2.* 2 outputs"),
        (3, CODES - 1, None, "likelihood='normal'"),
        (3, np.array(list("abc"))[CODES], None, "np.unique"),
        (3, np.stack([REAL, REAL], 1), None, r"\(20, 2\)"),
        (2, REAL, None, "one output for each target"),
        (3, CODES > 0, "bernoulli", "one output for each target"),
        (1, CODES, "bernoulli", "0 or 1"),
        (1, REAL, "mean-variance", "a mean and a variance"),
        (3, REAL, "mean-variance", "a mean and a variance"),
        (2, np.stack([REAL, REAL], 1), "mean-variance", "one target"),
        (3, CODES, "poisson", "it is one of 'categorical'"),
    ],
)
@pytest.mark.parametrize("method", ["point", "laplace"])
def test_outputs_and_targets_that_do_not_belong_together(outputs, y, likelihood, told, method):
    with pytest.raises((cr.DataError, cr.ShapeError), match=told):
        prob.posterior(network(outputs), (X, y), method=method, likelihood=likelihood)


def test_probabilities_are_no_logits():
    with pytest.raises(cr.DataError, match="Leave the last Softmax out"):
        Joint(network(3, nn.Softmax()), X, CODES)
    with pytest.raises(cr.DataError, match="Leave the last Sigmoid out"):
        Joint(network(1, nn.Sigmoid()), X, CODES > 0, "bernoulli")


def test_one_hot_rows_are_class_codes():
    joint = Joint(network(), X, np.eye(3)[CODES])
    assert joint.likelihood == "categorical"
    assert np.array_equal(joint.y, CODES)


def test_whole_numbers_are_real_targets_where_that_is_asked_for():
    model = network(1)
    whole, real = (
        prob.posterior(model, (X, y), method="laplace", likelihood="normal").predict(X)
        for y in (CODES, CODES.astype(float))
    )
    assert np.array_equal(whole.std, real.std)


def test_a_tuple_is_no_output():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x), x

    with pytest.raises(cr.DataError, match="Two gives tuple"):
        Joint(Two(), X, CODES)


def test_tokens_stay_whole_numbers_for_a_point_estimate():
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.last = nn.Embedding(10, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(self.embedding(x).mean(1))

    tokens = RNG.integers(0, 10, (20, 5))
    found = prob.posterior(Words(), (tokens, CODES), method="point").predict(tokens[:3, :4])
    assert found.probabilities.shape == (3, 3)


@pytest.mark.parametrize("method", ["point", "laplace"])
def test_rows_to_predict(method):
    own = prob.posterior(network(), (X, CODES), method=method)
    assert own.predict(X[:0]).probabilities.shape == (0, 3)
    with pytest.raises(cr.ShapeError, match=r"x\[None\]"):
        own.predict(X[0])
    with pytest.raises(cr.DataError, match="nan"):
        own.predict(np.full((1, 2), np.nan))


def test_outputs_that_are_not_finite_predict_nothing():
    model = network()
    own = prob.posterior(model, (X, CODES), method="point")
    model[0].weight.assign(np.full((4, 2), np.nan, np.float32))
    with pytest.raises(cr.DataError, match=r"row 0 is \[nan nan nan\]"):
        own.predict(X)


@pytest.mark.parametrize("structure", ["full", "kron", "diag"])
@pytest.mark.parametrize("weights", ["all", "last-layer"])
def test_a_curvature_that_overflows_is_refused(structure, weights):
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(cr.DataError, match="not finite"):
        prob.posterior(model, (X * 1e25, REAL), structure=structure, weights=weights)


def test_numpy_numbers_are_numbers():
    assert Joint(network(1), X, REAL, noise=np.float32(0.5)).noise == 0.5


def test_targets_of_a_prediction_have_its_shape():
    found = RealPredictive(np.zeros((2, 4)), np.ones((2, 4)))
    y = np.arange(4.0)
    assert np.array_equal(found.log_prob(y[:, None]), found.log_prob(y))
    assert found.cdf(0.0).shape == (4,)
    for wrong in (y[:3], np.zeros((4, 4)), y[None]):
        with pytest.raises(cr.ShapeError, match="the targets have the shape"):
            found.log_prob(wrong)
    for coverage in (0, 1, 1.5, -0.1):
        with pytest.raises(cr.DataError, match="coverage is"):
            found.interval(coverage)


def test_labels_of_a_prediction_are_codes():
    found = ClassPredictive(np.full((1, 2, 2), 0.5))
    for wrong in ([0, 0.7], [0, 2], [-1, 0], [0, np.nan]):
        with pytest.raises(cr.DataError):
            found.log_prob(wrong)


def test_a_path_of_sgd_that_leads_away_or_nowhere():
    cr.seed(0)
    model = network(1)
    away = prob.posterior(model, (X, REAL), method="swag", noise=0.1, lr=0.03, epochs=8)
    assert any("led away" in text for text in away.warnings)
    near = prob.posterior(model, (X, REAL), method="swag", noise=0.5, lr=0.001, epochs=40)
    assert not any("led away" in text for text in near.warnings)
    with pytest.raises(cr.DataError, match="did not move a weight"):
        prob.posterior(model, (X, REAL), method="swag", lr=1e-12, epochs=4)
