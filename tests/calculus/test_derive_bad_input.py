"""Odd input to `derive`: a clear error, or a derivative that is right; and nothing is changed."""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DTypeError, GradientError, ShapeError
from chainrule.tensor import generator

V = np.array([0.5, -1.5, 2.0])
M = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.4], [0.1, -0.4, 3.0]])


def run(found, *args):
    """What the Python of a derivative gives, run by itself."""
    space = {}
    exec(found.to_python(), space)
    return np.asarray(space[found.kind.lower()](*map(cr.asarray, args)))


def written_over(x):
    y = x * 1.0
    y[0] = y[1] * 2
    return (y**2).sum()


def test_python_of_one_element_runs():
    found = cr.derive(lambda x: x[0], V)
    assert found.verified
    np.testing.assert_array_equal(run(found, V), [1, 0, 0])
    found = cr.derive(lambda x: 2 * x[0, 1], M)
    np.testing.assert_array_equal(run(found, M), [[0, 2, 0], [0, 0, 0], [0, 0, 0]])


def test_python_of_a_sorted_element_and_of_a_write_runs():
    found = cr.derive(lambda x: cr.sort(x)[0], V)
    np.testing.assert_array_equal(run(found, V), [0, 1, 0])
    found = cr.derive(written_over, M)
    expected = 2 * M
    expected[0], expected[1] = 0, 10 * M[1]  # (2 y)² + y², of the second row
    np.testing.assert_allclose(run(found, M), expected, rtol=1e-12)


def test_python_of_eigenvalues_runs():
    """The trace is their sum, and its derivative I."""
    found = cr.derive(lambda x: cr.linalg.eigh(x)[0].sum(), M)
    assert found.verified
    np.testing.assert_allclose(run(found, M), np.eye(3), atol=1e-12)


def test_equal_infinities_are_equal():
    """The derivative of √x at 0, and of log x, is +∞."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f in (cr.sqrt, cr.log):
            found = cr.derive(lambda x, f=f: f(x).sum(), np.zeros(3))
            assert found.verified
            assert (np.asarray(found(np.zeros(3))) == np.inf).all()


@pytest.mark.parametrize("x", [np.zeros(3), np.array([np.nan, 1.0])])
def test_a_derivative_without_a_value_is_not_verified_and_says_so(x):
    found = cr.derive(lambda x: cr.sqrt((x**2).sum()), x)
    assert not found.verified
    assert "has no value" in str(found)


def test_points_outside_of_the_domain_do_not_count():
    """Some of the points near 1 are beyond where acos is defined."""
    found = cr.derive(lambda x: cr.acos(x).sum(), np.array([0.98, -0.2]))
    assert found.verified
    assert 0 < len(found.points) < 20


def test_the_generator_is_left_as_it_was():
    cr.seed(3)
    before = generator.default.state
    with pytest.raises(GradientError, match="draws random numbers"):
        cr.derive(lambda x: nn.dropout(x, 0.5, training=True).sum(), V)
    assert generator.default.state == before


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda: cr.derive(3, V), DTypeError, "takes a function"),
        (lambda: cr.derive(cr.sin, V, order=3), DTypeError, "order is 1 or 2"),
        (lambda: cr.derive(cr.sin, V, wrt=1), GradientError, "no argument 1"),
        (lambda: cr.derive(cr.sin, V, wrt=None), DTypeError, "position or name"),
        (lambda: cr.derive(cr.sin, np.arange(3)), DTypeError, "floating-point"),
        (lambda: cr.derive(cr.sin, 1j), DTypeError, "real"),
        (lambda: cr.derive(lambda x: (x, x), V), GradientError, "not tuple"),
        (lambda: cr.derive(lambda x: x.argmax(), V), GradientError, "`argmax` has no derivative"),
        (lambda: cr.derive(cr.sin, V, order=2), GradientError, "a Hessian is of a single number"),
        (lambda: cr.derive(lambda x: x @ np.ones(4), V), ShapeError, "matmul"),
    ],
)
def test_what_cannot_be_derived_is_refused(ask, kind, message):
    with pytest.raises(kind, match=message):
        ask()


def test_long_chains_are_derived():
    """100 sines: a product of 100 factors."""

    def f(x):
        for _ in range(100):
            x = cr.sin(x)
        return x.sum()

    assert cr.derive(f, np.ones(2)).verified
