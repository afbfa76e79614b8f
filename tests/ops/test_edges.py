"""Edges that PyTorch's sample inputs reach, and these operations once got wrong, beside NumPy."""

import numpy as np
import pytest

import chainrule as cr

rng = np.random.default_rng(0)


@pytest.mark.parametrize("f", [cr.softmax, cr.log_softmax], ids=["softmax", "log_softmax"])
def test_a_distribution_over_nothing_is_empty(f):
    x = cr.zeros((2, 0))
    assert f(x).shape == cr.compile(f)(x).shape == (2, 0)
    assert cr.grad(lambda x: f(x).sum())(x).shape == (2, 0)
    assert cr.hessian(lambda x: f(x).sum())(x).shape == (2, 0, 2, 0)


def test_the_logarithm_of_a_sum_of_complex_numbers_is_the_principal_one():
    x = rng.normal(size=(4, 3)) * 3 + 1j * rng.normal(size=(4, 3)) * 9
    found = np.asarray(cr.logsumexp(cr.asarray(x), axis=1))
    np.testing.assert_allclose(found, np.log(np.exp(x).sum(1)), rtol=1e-12)
    assert cr.check_gradients(lambda x: abs(cr.logsumexp(x)) ** 2, cr.asarray(x[0]), order=2)


def test_vectors_along_an_axis_are_broadcast_before_their_lengths_are_taken():
    a, b = rng.normal(size=(1, 2, 3)), rng.normal(size=(2, 1, 3))
    wide_a, wide_b = np.broadcast_arrays(a, b)
    wanted = (wide_a * wide_b).sum(-2) / np.linalg.norm(wide_a, axis=-2)
    wanted = wanted / np.linalg.norm(wide_b, axis=-2)
    found = cr.cosine_similarity(cr.asarray(a), cr.asarray(b), axis=-2)
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-12)


def test_take_along_axis_broadcasts_the_array():
    x, indices = np.array([[1.0, 2.0, 3.0]]), np.array([[1], [0], [2]])
    found = cr.take_along_axis(cr.asarray(x), cr.asarray(indices), axis=1)
    np.testing.assert_array_equal(
        np.asarray(found), np.take_along_axis(np.broadcast_to(x, (3, 3)), indices, 1)
    )
    with pytest.raises(cr.ShapeError, match="do not broadcast"):
        cr.take_along_axis(cr.zeros((3, 4)), cr.asarray([[0], [1]]), axis=1)


@pytest.mark.parametrize("missing", [False, True])
def test_a_quantile_has_a_derivative_in_its_share(missing):
    x = np.array([3.0, 1.0, np.nan if missing else 5.0, 2.0, 7.0])
    f = cr.nanquantile if missing else cr.quantile
    q = cr.asarray(np.array([0.3, 0.61]))
    assert cr.check_gradients(lambda q: f(cr.asarray(x), q).sum(), q)


@pytest.mark.parametrize(("shape", "ord"), [((5, 0), -np.inf), ((0, 5), -1)])
def test_the_smallest_sum_of_nothing_is_0(shape, ord):
    x = np.zeros(shape)
    assert cr.linalg.matrix_norm(cr.asarray(x), ord=ord).item() == np.linalg.norm(x, ord) == 0
    with pytest.raises(cr.ShapeError, match="no matrix norm"):
        cr.linalg.matrix_norm(cr.asarray(x.T), ord=ord)


def test_no_differences_are_x_itself():
    x = np.arange(3.0)
    found = cr.diff(cr.asarray(x), n=0, prepend=cr.asarray([9.0]))
    np.testing.assert_array_equal(np.asarray(found), np.diff(x, n=0, prepend=[9.0]))
