"""The numbers of a step say of which element of which operand they are, however a formula looks at
the operands; an element that was only moved says from where."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.ops.notation.tree import Datum

X = np.random.default_rng(0).normal(size=(3, 4))


def numbers(derivation, name="a"):
    """(what it is called, the element's index there, the number) of every number of a step."""
    (element,) = derivation[name].elements
    for datum in element.instance.data:
        if isinstance(datum, Datum) and datum.name:
            called, array = element.sources[datum.name]
            assert array.reshape(-1)[datum.position] == datum.value
            yield called, np.unravel_index(datum.position, array.shape), datum.value


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_a_sum_along_an_axis(axis):
    derivation = cr.explain(lambda x: cr.sum(x, axis=axis), X)
    (element,) = derivation["a"].elements
    found = list(numbers(derivation))
    column = element.index[0]
    expected = [(i, column) for i in range(3)] if axis == 0 else [(column, j) for j in range(4)]
    assert {called for called, _, _ in found} == {"x"}
    assert sorted(tuple(map(int, index)) for _, index, _ in found) == expected
    assert sum(value for *_, value in found) == pytest.approx(derivation["a"].value[column])


def test_what_is_spread_over_a_batch_is_one_element_of_the_parameter():
    layer = nn.LayerNorm(4)
    layer.to(np.dtype(np.float64))
    derivation = cr.explain(layer, X)
    (element,) = derivation["a"].elements
    found = {called: tuple(map(int, index)) for called, index, _ in numbers(derivation)}
    assert found["weight"] == found["bias"] == element.index[-1:]
    assert found["x"] == element.index


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.reshape(2, 6),
        lambda x: x.T,
        lambda x: x[1:, ::2],
        lambda x: cr.concat([x, -x], axis=1)[:, 2:6],
        lambda x: cr.flip(x, axis=0),
    ],
)
def test_an_element_that_was_moved_says_from_where(move):
    derivation = cr.explain(move, X)
    step = derivation.steps[-1]
    (element,) = step.elements
    ((called, array),) = element.sources.values()
    value = array.reshape(-1)[element.instance.written.position]
    assert value == step.value[element.index]
    assert f"{called}[" in step.numbers
    assert derivation.verified


def test_a_pattern_that_is_computed_is_no_move():
    """tril gives elements of its operand, and zeros that stand nowhere in it."""
    step = cr.explain(cr.tril, np.ones((2, 2))).steps[0]
    assert step.verified
    step = cr.explain(lambda x: cr.where(x > 0, x, x * x), X).steps[-1]
    assert step.verified
