"""The audit of the famous example, and the misconceptions beside the right rules."""

import dataclasses

import numpy as np
import pytest

from chainrule.lens.explain.audit.mazur import PUBLISHED, mazur, trained
from chainrule.lens.explain.audit.misconceptions import batch, misconceptions

# By plain arithmetic, apart from this project.
RIGHT, STALE = 0.29102777369359933, 0.29102792390544197


@pytest.fixture(scope="module")
def audit():
    return mazur()


@pytest.fixture(scope="module")
def mistakes():
    return misconceptions()


def test_the_published_loss_is_that_of_the_stale_rule(audit):
    assert audit.verified, audit.verdict()
    assert audit["L"].value.item() == pytest.approx(PUBLISHED["loss"], abs=5e-10)
    assert audit["L after one step"].value.item() == pytest.approx(RIGHT, abs=1e-15)
    assert audit["L by the stale rule"].value.item() == pytest.approx(STALE, abs=1e-15)
    assert round(STALE, 9) == PUBLISHED["loss after one step"] != round(RIGHT, 9)


def test_the_published_weights_follow_the_right_rule(audit):
    published = np.array(PUBLISHED["weights"])
    assert audit["new 0.weight"].value == pytest.approx(published, abs=5e-9)
    assert np.abs(audit["stale 0.weight"].value - published).min() > 1e-5


def test_the_long_run():
    outputs, _ = trained(10_000, stale=True)
    assert outputs == pytest.approx(PUBLISHED["outputs after 10,000 steps"], abs=5e-10)
    outputs, _ = trained(10_000, stale=False)
    assert outputs == pytest.approx([0.01591362, 0.98406427], abs=5e-9)


def test_what_the_reader_sees(audit):
    text = str(audit)
    assert "0.291027773694" in text
    assert "0.291027923905" in text
    assert "the loss that the post states" in text


def test_every_mistake_is_told_apart_from_the_right_rule(mistakes):
    assert mistakes.verified, mistakes.verdict()
    assert len(mistakes.sections) == 10
    for section in mistakes.sections:
        right, wrong, *_ = section.walk()
        assert right.checks
        assert right.value.shape != wrong.value.shape or not np.allclose(right.value, wrong.value)


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("forgotten 1/n: ratio", 32),
        ("a bias gradient not summed: ratio", 1 / 32),
        ("the 2 of a square: ratio", 0.5),
    ],
)
def test_constant_factors(mistakes, name, ratio):
    assert mistakes[name].value == pytest.approx(ratio, rel=1e-12)


def test_by_numpy(mistakes):
    b = batch()
    z = b.x @ b.w.T @ b.v.T
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert mistakes["∂L/∂z"].value == pytest.approx((p - np.eye(3)[b.labels]) / 32)
    assert mistakes["−log p"].value == pytest.approx(142)
    assert mistakes["−log p in two steps"].value == np.inf
    assert mistakes["the floor"].value == pytest.approx(np.log(1 + 2 / np.e))
    assert "transpose" in mistakes["hᵀδ or δᵀh: difference"].notes[0]


def test_a_displayed_number_that_was_altered_is_seen(mistakes):
    for step in mistakes.steps:
        if step.value is None or not step.elements:
            continue
        (element,) = step.elements
        value = element.instance.value * (1 + 1e-9) + 1e-9
        instance = dataclasses.replace(element.instance, value=value)
        element = dataclasses.replace(element, instance=instance)
        altered = dataclasses.replace(step, elements=(element,))
        assert not altered.verified, step.name
