"""Bayes' rule on confusion matrices: published examples, SciPy's quantiles, and simulation."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

import chainrule as cr
from chainrule.lens.explain import bayes, confusion_matrix

MAMMOGRAM = [[904, 96], [200, 800]]
THREE = [[8, 1, 1], [2, 7, 0], [0, 3, 9]]


def test_the_mammogram_of_eddy():
    """Eddy 1982, Probabilistic reasoning in clinical medicine: 7.8 %, where doctors said 75 %."""
    found = bayes(MAMMOGRAM, base_rate=0.01, classes=["healthy", "ill"])
    assert found.verified
    exact = Fraction(8, 10) * Fraction(1, 100)
    evidence = exact + Fraction(96, 1000) * Fraction(99, 100)
    assert found["P(+)"].value == pytest.approx(float(evidence), rel=1e-14)
    assert found["P(A | +)"].value == pytest.approx(float(exact / evidence), rel=1e-14)
    assert round(found["P(A | +)"].value.item(), 3) == 0.078
    assert "0.8 · 0.01 / 0.10304 = 0.0776398" in found["P(A | +)"].numbers
    assert found["LR+"].value == pytest.approx(0.8 / 0.096)
    assert found["odds(A)"].value == pytest.approx(1 / 99)
    assert found["odds(A | +)"].value == pytest.approx(0.8 / 0.096 / 99)
    assert "the answer ‘ill’ is right with probability 0.07764" in found.summary[0]


def test_a_disease_of_one_in_a_thousand():
    """Casscells, Schoenberger, Graboys 1978: 1 in 1000, 5 % false positives: about 2 %."""
    found = bayes([[950, 50], [0, 1000]], base_rate=0.001)
    assert found.verified
    assert round(found["P(A | +)"].value.item(), 2) == 0.02


def test_the_posterior_is_how_often_it_happens():
    """People drawn at the base rate and tested: so many of the positive answers are right."""
    rng = np.random.default_rng(0)
    ill = rng.random(400_000) < 0.1
    said = rng.random(ill.size) < np.where(ill, 0.8, 0.096)
    found = bayes(MAMMOGRAM, base_rate=0.1)
    assert found["P(A | +)"].value == pytest.approx(ill[said].mean(), abs=0.01)
    assert found["P(A | −)"].value == pytest.approx(ill[~said].mean(), abs=0.005)


def test_at_the_base_rate_of_the_test_it_is_the_precision():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, 500)
    said = np.where(rng.random(500) < 0.7, true, 1 - true)
    matrix = confusion_matrix(true, said)
    assert (matrix == metrics.confusion_matrix(true, said)).all()
    found = bayes(matrix)
    assert found.verified
    assert found["P(A | +)"].value == pytest.approx(metrics.precision_score(true, said))
    assert found["P(+ | A)"].value == pytest.approx(metrics.recall_score(true, said))
    assert found["P(A)"].value == pytest.approx(true.mean())


@pytest.mark.parametrize(
    ("matrix", "counted"),
    [(MAMMOGRAM, (800, 1000)), ([[5, 0], [0, 5]], (5, 5)), ([[5, 1], [7, 0]], (0, 7))],
)
def test_intervals_are_those_of_jeffreys(matrix, counted):
    x, n = counted
    low, high = stats.beta(x + 0.5, n - x + 0.5).ppf([0.025, 0.975])
    found = bayes(matrix)
    assert found.verified, found.failed
    expected = [0 if x == 0 else low, 1 if x == n else high]
    assert found["P(+ | A) between"].value == pytest.approx(expected, abs=1e-9)


def test_other_base_rates():
    found = bayes(MAMMOGRAM, base_rate=0.02)["P(A | +) by base rate"]
    rates = np.array([0.001, 0.01, 0.02, 0.1, 0.5])
    assert found.value == pytest.approx(0.8 * rates / (0.8 * rates + 0.096 * (1 - rates)))
    between = bayes(MAMMOGRAM, base_rate=0.02)["P(A | +) between"].value
    assert between[0] < found.value[2] < between[1]


def test_several_classes_one_against_the_rest_and_each():
    found = bayes(THREE, positive=2, classes=["a", "b", "c"])
    m = np.array(THREE, float)
    assert found.verified
    assert found["N"].value.tolist() == [[9, 3], [1, 18]]
    assert found["P(A | +)"].value == pytest.approx(m[2, 2] / m[:, 2].sum())
    assert found["P(true | said)"].value == pytest.approx(m / m.sum(axis=0))
    other = bayes(THREE, positive=2, base_rate=0.5)
    assert other.verified
    prior = np.array([0.5 * 10 / 19, 0.5 * 9 / 19, 0.5])
    joint = m / m.sum(axis=1, keepdims=True) * prior[:, None]
    assert other["P(true)"].value == pytest.approx(prior)
    assert other["P(true | said)"].value == pytest.approx(joint / joint.sum(axis=0))
    assert other["P(A | +)"].value == pytest.approx(joint[2, 2] / joint[:, 2].sum())


def test_what_was_never_said_means_nothing():
    found = bayes([[5, 0, 0], [0, 5, 0], [2, 3, 0]], positive=2, base_rate=0.2)
    assert found.verified
    assert "never the answer" in found.summary[0]
    assert "P(A | +)" not in [step.name for step in found.steps]
    assert "never said, so that it means nothing: class 2" in found["P(true | said)"].notes[0]
    perfect = bayes([[5, 0], [0, 5]])
    assert perfect.verified
    assert perfect["P(A | +)"].value == 1


NAMES = [step.name for step in bayes(THREE, positive=2, base_rate=0.3).steps]


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_number_is_seen(name):
    step = bayes(THREE, positive=2, base_rate=0.3)[name]
    wrong = np.array(step.value)
    wrong[(0,) * wrong.ndim] += 1 if wrong.dtype.kind == "i" else 1e-3
    assert not replace(step, value=wrong).verified
    for i, note in enumerate(step.notes):
        notes = (*step.notes[:i], note + "0", *step.notes[i + 1 :])
        assert not replace(step, notes=notes).verified
    for element in step.elements:
        instance = replace(element.instance, value=element.instance.value + 1e-3)
        altered = replace(step, elements=(replace(element, instance=instance),))
        assert not altered.verified


@pytest.mark.parametrize(
    ("confusion", "options", "message"),
    [
        ([[1, 2, 3], [1, 2, 3]], {}, "is square.*this is (2, 3)"),
        ([[1]], {}, "2 classes or more"),
        ([1, 2], {}, "is square"),
        ([[1, -2], [3, 4]], {}, "in row 0, column 1 there is -2"),
        ([[1, 0.5], [3, 4]], {}, "in row 0, column 1 there is 0.5"),
        ([[1, float("nan")], [3, 4]], {}, "there is nan"),
        ([["a", "b"], ["c", "d"]], {}, "has counts"),
        ([[1, 2], [0, 0]], {}, "no example of class 1 in the test"),
        ([[1, 2], [3, 4]], {"base_rate": 0}, "base_rate 0 does not lie between"),
        ([[1, 2], [3, 4]], {"base_rate": 1.0}, "does not lie between 0 and 1"),
        ([[1, 2], [3, 4]], {"base_rate": "x"}, "base_rate is a number"),
        ([[1, 2], [3, 4]], {"base_rate": float("nan")}, "does not lie between"),
        ([[1, 2], [3, 4]], {"positive": 2}, "positive 2: there are 2 classes, 0 to 1"),
        ([[1, 2], [3, 4]], {"positive": 0.5}, "positive is the number of a class"),
        ([[1, 2], [3, 4]], {"classes": ["a"]}, "1 names of classes"),
    ],
)
def test_bad_input(confusion, options, message):
    with pytest.raises(cr.ChainruleError) as error:
        bayes(confusion, **options)
    head, _, tail = message.partition(".*")
    assert head in str(error.value)
    assert tail in str(error.value)


def test_labels_that_cannot_be_counted():
    with pytest.raises(cr.ChainruleError, match="are \\(n,\\) both"):
        confusion_matrix([0, 1], [0])
    with pytest.raises(cr.ChainruleError, match="no labels to count"):
        confusion_matrix(np.zeros(0, int), np.zeros(0, int))
    with pytest.raises(cr.ChainruleError, match="return_inverse"):
        confusion_matrix(["a"], ["b"])
    with pytest.raises(cr.ChainruleError, match="go from 0 to 1"):
        confusion_matrix([0, 2], [0, 0], count=2)
    assert confusion_matrix([True, False], [True, True]).tolist() == [[0, 1], [0, 1]]
