"""The output as a distribution: against SciPy's, and wrong numbers are seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from chainrule.probability.assumed import noted

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1])
REAL = RNG.normal(size=(4, 1)).astype(np.float32)
YES = np.array([[0], [1], [1], [0]], np.float32)
COUNTS = np.array([[0], [3], [1], [2]], np.float32)


def linear(size):
    cr.seed(1)
    return nn.Linear(3, size)


def outputs(model):
    return model(cr.asarray(X)).numpy().astype(np.float64)


def test_classes_from_logits_to_the_loss():
    model = linear(3)
    z = outputs(model)
    found = cr.explain(model, X, LABELS, loss=nn.cross_entropy).probability(
        1, ["cat", "fox", "owl"]
    )
    assert found.verified
    p = special.softmax(z[1])
    logs = special.log_softmax(z, axis=1)[range(4), LABELS]
    entropy = stats.entropy(p)
    assert found["z"].value == pytest.approx(z[1])
    assert found["p"].value == pytest.approx(p)
    assert found["p(y)"].value == pytest.approx(p[2])
    assert "‘owl’" in found["p(y)"].title
    assert found["−log p"].value == pytest.approx(-math.log(p[2]))
    assert found["loss"].value == pytest.approx(-math.log(p[2]))
    assert found["H"].value == pytest.approx(entropy)
    assert found["H max"].value == pytest.approx(math.log(3))
    assert found["perplexity"].value == pytest.approx(math.exp(entropy))
    assert f"a fair choice among {math.exp(entropy):.4g}, of 3" in found["perplexity"].notes[0]
    assert found["log p(all)"].value == pytest.approx(logs.sum())
    assert found["p(all)"].value == pytest.approx(math.exp(logs.sum()))
    assert found["L(all)"].value == pytest.approx(-logs.mean(), rel=1e-6)


def test_a_sure_and_right_prediction_is_the_difference_of_two_large_numbers():
    # log Σ exp z − z[y] near 0 has the rounding of z, not of itself.
    logits = (12.345 + RNG.normal(size=(200, 10))).astype(np.float32)
    labels = RNG.integers(0, 10, 200)
    logits[range(200), labels] += 9
    for row in range(0, 200, 20):
        z, y = logits[row : row + 1], labels[row : row + 1]
        found = cr.explain(lambda x: x * 1, z, y, loss=nn.cross_entropy).probability()
        assert found.verified, found.verdict()
        assert "likelihood is made large" in found["L(all)"].title
        exec(found.to_python(), {})


def test_what_the_loss_would_be():
    found = cr.explain(linear(3), X, LABELS, loss=nn.cross_entropy).probability()
    assert found["what if"].value.round(4).tolist() == [0.0513, 2.9957]
    assert "−log(0.95) = 0.05129" in found["what if"].numbers
    assert "−log(0.05) = 2.996" in found["what if"].numbers


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(),
        lambda o, y: nn.cross_entropy(o, y, reduction="sum"),
        lambda o, y: nn.nll_loss(cr.log_softmax(o), y),
        prob.Likelihood(lambda o: prob.Categorical(logits=o)),
    ],
)
def test_the_distribution_is_found_however_the_loss_is_called(loss):
    model = linear(3)
    logs = special.log_softmax(outputs(model), axis=1)[range(4), LABELS]
    found = cr.explain(model, X, LABELS, loss=loss).probability(-1)
    assert found.verified
    assert found["−log p"].value == pytest.approx(-logs[-1], rel=1e-5)
    assert "likelihood is made large" in found["L(all)"].title


def test_a_loss_that_smooths_or_weights_is_more_than_the_likelihood():
    model = linear(3)
    logs = special.log_softmax(outputs(model), axis=1)[range(4), LABELS]
    for loss in (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        lambda o, y: nn.cross_entropy(o, y, cr.asarray([1.0, 2.0, 3.0])),
        lambda o, y: nn.cross_entropy(o, y) + 0.5 * (model.weight**2).sum(),
    ):
        found = cr.explain(model, X, LABELS, loss=loss).probability(1)
        assert found.verified
        assert f"the likelihood alone would give {-logs.mean():.4g}" in found["L(all)"].notes[0]
        altered = replace(found["L(all)"], notes=("the likelihood alone would give 1",))
        assert not altered.verified


def test_labels_that_are_ignored_count_for_nothing():
    model = linear(3)
    labels = np.array([0, -100, 1, 2])
    logs = special.log_softmax(outputs(model), axis=1)[[0, 2, 3], [0, 1, 2]]
    explained = cr.explain(model, X, labels, loss=nn.cross_entropy)
    ignored, other = explained.probability(1), explained.probability(0)
    assert ignored.verified
    assert "counts for nothing" in ignored.sections[0].summary
    assert "−log p" not in [step.name for step in ignored.steps]
    for found in (ignored, other):
        assert found.verified
        assert found["L(all)"].value == pytest.approx(-logs.mean(), rel=1e-6)


def test_targets_that_are_probabilities():
    model = linear(3)
    soft = (np.eye(3) * 0.9 + 0.1 / 3)[LABELS].astype(np.float32)
    found = cr.explain(model, X, soft, loss=nn.cross_entropy).probability(2)
    expected = -(soft[2] * special.log_softmax(outputs(model)[2])).sum()
    assert found.verified
    assert found["−log p"].value == pytest.approx(expected)
    binary = linear(1)
    found = cr.explain(
        binary, X, YES * 0.8 + 0.1, loss=nn.binary_cross_entropy_with_logits
    ).probability(1)
    z = outputs(binary)[1, 0]
    assert found.verified
    assert found["−log p"].value == pytest.approx(
        -0.9 * special.log_expit(z) - 0.1 * special.log_expit(-z)
    )


def test_of_several_predictions_the_worst_is_told():
    cr.seed(1)
    model = nn.Linear(3, 6)
    images = lambda x: model(x).reshape(4, 3, 2)  # noqa: E731
    labels = np.array([[0, 1], [2, 1], [1, 1], [2, 2]])
    z = np.moveaxis(outputs(model).reshape(4, 3, 2), 1, 2)
    logs = -np.take_along_axis(special.log_softmax(z, axis=-1), labels[..., None], -1)[..., 0]
    found = cr.explain(images, X, labels, loss=nn.cross_entropy).probability(1)
    worst = int(np.argmax(logs[1]))
    assert found.verified
    assert f"prediction [{worst}]" in found["z"].title
    assert found["−log p"].value == pytest.approx(logs[1, worst])
    assert found["L(all)"].value == pytest.approx(logs.mean(), rel=1e-6)


@pytest.mark.parametrize("probabilities", [False, True])
def test_yes_or_no(probabilities):
    model = linear(1)
    z = outputs(model)[:, 0]
    if probabilities:
        explained = cr.explain(lambda x: cr.sigmoid(model(x)), X, YES, loss=nn.binary_cross_entropy)
    else:
        explained = cr.explain(model, X, YES, loss=nn.BCEWithLogitsLoss())
    for row, label in ((0, 0), (1, 1)):
        found = explained.probability(row)
        p = special.expit(z[row])
        assert found.verified
        assert found["p"].value == pytest.approx(p, rel=1e-6)
        assert found["p(y)"].value == pytest.approx(stats.bernoulli(p).pmf(label), rel=1e-6)
        assert found["H"].value == pytest.approx(stats.bernoulli(p).entropy(), rel=1e-6)
        assert found["H max"].value == pytest.approx(math.log(2))


def density(name, model):
    """(loss, target, SciPy's log p of each target, the loss that textbooks make of it)."""
    o = outputs(model)
    y = COUNTS if name == "poisson" else REAL
    t = y[:, 0].astype(np.float64)
    half_log_2pi = 0.5 * math.log(2 * math.pi)
    if name == "mse":
        logs = stats.norm(o[:, 0], 1).logpdf(t)
        return nn.mse_loss, y, logs, 2 * (-logs.mean() - half_log_2pi)
    if name == "l1":
        logs = stats.laplace(o[:, 0], 1).logpdf(t)
        return nn.l1_loss, y, logs, -logs.mean() - math.log(2)
    if name == "poisson":
        logs = stats.poisson(np.exp(o[:, 0])).logpmf(t)
        return nn.poisson_nll_loss, y, logs, -logs.mean() - special.gammaln(t + 1).mean()
    if name == "gaussian":
        logs = stats.norm(o[:, 0], np.exp(o[:, 1] / 2)).logpdf(t)
        loss = lambda o, y: nn.gaussian_nll_loss(o[:, 0], y[:, 0], cr.exp(o[:, 1]))  # noqa: E731
        return loss, y, logs, -logs.mean() - half_log_2pi
    softplus = np.logaddexp(0, o)
    if name == "exponential":
        logs = stats.expon(scale=1 / softplus[:, 0]).logpdf(abs(t))
        loss = prob.Likelihood(prob.Exponential)
        return loss, abs(y), logs, -logs.mean()
    logs = stats.gamma(softplus[:, 0], scale=1 / softplus[:, 1]).logpdf(abs(t))
    return prob.Likelihood(prob.Gamma), abs(y[:, 0]), logs, -logs.mean()


@pytest.mark.parametrize(
    ("name", "size"),
    [("mse", 1), ("l1", 1), ("poisson", 1), ("gaussian", 2), ("exponential", 1), ("gamma", 2)],
)
def test_numbers_and_counts(name, size):
    model = linear(size)
    loss, y, logs, expected = density(name, model)
    explained = cr.explain(model, X, y, loss=loss)
    for row in range(4):
        found = explained.probability(row)
        assert found.verified, found.failed
        assert found["−log p"].value == pytest.approx(-logs[row], rel=1e-5, abs=1e-6)
        assert found["p(y)"].value == pytest.approx(math.exp(logs[row]), rel=1e-5)
        assert found["log p(all)"].value == pytest.approx(logs.sum(), rel=1e-5)
        assert found["L(all)"].value == pytest.approx(expected, rel=1e-4)
    if name == "mse":
        assert found["residual"].value == pytest.approx(REAL[3, 0] - outputs(model)[3, 0])
        assert "log(2 · π) / 2" in found["−log p"].formula.plain()


def test_every_declared_formula_is_the_density_of_scipy():
    cases = [
        (prob.Normal(0.3, 2.0), 1.7, stats.norm(0.3, 2.0).logpdf(1.7)),
        (prob.Laplace(0.3, 2.0), 1.7, stats.laplace(0.3, 2.0).logpdf(1.7)),
        (prob.Poisson(2.5), 4.0, stats.poisson(2.5).logpmf(4)),
        (prob.Exponential(0.7), 1.3, stats.expon(scale=1 / 0.7).logpdf(1.3)),
    ]
    from chainrule.ops.notation import parse

    for made, x, expected in cases:
        known = {name: p.numpy() for name, p in made.parameters.items()} | {"x": x}
        assert parse(made.surprisal).evaluate(known, ()) == pytest.approx(-expected, rel=1e-6)


def test_numbers_too_small_for_float64():
    model = linear(3)
    big = X * np.float32(1e5)
    explained = cr.explain(model, big, LABELS, loss=nn.cross_entropy)
    for row in range(4):
        found = explained.probability(row)
        assert found.verified, found.failed
    assert "too small for float64" in found["p(all)"].notes[0]
    binary = cr.explain(linear(1), big, YES, loss=nn.binary_cross_entropy_with_logits)
    assert all(binary.probability(row).verified for row in range(4))


@pytest.mark.parametrize("step", ["z", "p", "p(y)", "−log p", "what if", "H", "H max", "perplexity",
                                  "loss", "log p(all)", "p(all)", "L(all)"])  # fmt: skip
def test_a_wrong_number_is_seen(step):
    found = cr.explain(linear(3), X, LABELS, loss=nn.cross_entropy).probability(1)[step]
    wrong = np.array(found.value)
    wrong[(0,) * wrong.ndim] += 1e-3
    assert not replace(found, value=wrong).verified
    for i, note in enumerate(found.notes):
        notes = (*found.notes[:i], note.replace("0.", "0.9", 1), *found.notes[i + 1 :])
        assert not replace(found, notes=notes).verified


def test_without_a_loss():
    model = linear(3)
    found = cr.explain(model, X).probability(2)
    assert found.verified
    assert "taken for logits of classes" in found.sections[0].summary
    assert found["p"].value == pytest.approx(special.softmax(outputs(model)[2]))
    soft = cr.explain(lambda x: cr.softmax(model(x)), X).probability(2)
    assert soft.verified
    assert "taken for probabilities of classes" in soft.sections[0].summary
    assert soft["p"].value == pytest.approx(found["p"].value, rel=1e-6)


def test_what_cannot_be_told_is_said():
    model = linear(3)
    explained = cr.explain(model, X, LABELS, loss=nn.cross_entropy)
    with pytest.raises(cr.ChainruleError, match="row 4: there are 4 examples, counted from 0 to 3"):
        explained.probability(4)
    with pytest.raises(cr.ChainruleError, match="1 names of classes, and the output has 3"):
        explained.probability(0, ["a"])
    with pytest.raises(cr.ChainruleError, match="this loss declares no distribution"):
        cr.explain(linear(1), X, REAL, loss=nn.huber_loss).probability()
    with pytest.raises(cr.ChainruleError, match="does not read like logits"):
        cr.explain(linear(1), X).probability()
    with pytest.raises(cr.ChainruleError, match=r"target 0\.5 of .* is no value of a Poisson"):
        cr.explain(linear(1), X, YES + 0.5, loss=nn.poisson_nll_loss).probability()


def test_losses_are_noted_only_where_asked_for():
    x, y = cr.ones(3), cr.zeros(3)
    nn.mse_loss(x, y)
    with noted() as calls:
        nn.mse_loss(x, y)
        with noted() as inner:
            nn.l1_loss(x, y)
        nn.MSELoss()(x, y)
    nn.mse_loss(x, y)
    assert [call.name for call in calls] == ["mse_loss", "mse_loss"]
    assert [call.name for call in inner] == ["l1_loss"]
    with pytest.raises(cr.ChainruleError, match="mse_loss"):
        nn.mse_loss(x, cr.zeros(4))
