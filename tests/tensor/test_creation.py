"""Making tensors, beside NumPy."""

import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr


def same(ours, theirs):
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert (ours.numpy() == theirs).all()


def test_creation_as_numpy_does_it():
    for ours, theirs in [
        (cr.zeros((2, 3)), np.zeros((2, 3), np.float32)),
        (cr.zeros(()), np.zeros((), np.float32)),
        (cr.empty((0, 3)), np.empty((0, 3), np.float32)),
        (cr.ones(4, dtype=cr.int64), np.ones(4, np.int64)),
        (cr.full((2,), 7), np.full(2, 7)),
        (cr.full((2,), 1.5), np.full(2, 1.5, np.float32)),
        (cr.full((2,), True), np.full(2, True)),
        (cr.full((2,), 3, dtype=cr.float64), np.full(2, 3.0)),
        (cr.tril(cr.ones((3, 3))), np.tril(np.ones((3, 3), np.float32))),
        (cr.triu(cr.ones((2, 3)), k=1), np.triu(np.ones((2, 3), np.float32), k=1)),
        *zip(
            cr.meshgrid(cr.arange(2), cr.arange(3), cr.arange(4)),
            np.meshgrid(np.arange(2), np.arange(3), np.arange(4)),
            strict=True,
        ),
        *zip(
            cr.meshgrid(cr.arange(2), cr.arange(3), indexing="ij"),
            np.meshgrid(np.arange(2), np.arange(3), indexing="ij"),
            strict=True,
        ),
        (cr.asarray([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]])),
        (cr.asarray([]), np.array([], np.float32)),
        (cr.asarray([True, False]), np.array([True, False])),
        (cr.asarray(1 + 2j), np.complex64(1 + 2j)),
        (cr.asarray(b"ab"), np.array([97, 98], np.uint8)),
        (cr.asarray(array.array("d", [1.5, 2])), np.array([1.5, 2])),
        (cr.asarray(np.array([1.5, 2], ">f8")), np.array([1.5, 2])),
    ]:
        same(ours, theirs)


@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(-5, 5).filter(bool))
def test_arange(start, stop, step):
    same(cr.arange(stop), np.arange(stop))
    same(cr.arange(start, stop, step), np.arange(start, stop, step))
    quarter = np.arange(start / 4, stop / 4, step / 4, np.float32)
    same(cr.arange(start / 4, stop / 4, step / 4), quarter)


@given(
    st.integers(-8, 8), st.integers(-8, 8), st.integers(0, 9), st.booleans(),
    st.sampled_from(["float32", "float64"]),
)  # fmt: skip
def test_linspace(start, stop, num, endpoint, dtype):
    wanted = np.linspace(start, stop, num, endpoint=endpoint, dtype=dtype)
    same(cr.linspace(start, stop, num, endpoint=endpoint, dtype=dtype), wanted)


@given(st.integers(0, 4), st.none() | st.integers(0, 4), st.integers(-5, 5))
def test_eye(rows, columns, k):
    same(cr.eye(rows, columns, k=k), np.eye(rows, columns, k, np.float32))


@pytest.mark.parametrize("dtype", ["int8", "float64", "bool", "complex64"])
def test_like(dtype):
    x = np.ones((2, 3), dtype)
    t = cr.asarray(x)
    same(cr.zeros_like(t), np.zeros_like(x))
    same(cr.empty_like(t), np.zeros_like(x))
    same(cr.ones_like(t), np.ones_like(x))
    same(cr.full_like(t, 1), np.full_like(x, 1))
    same(cr.ones_like(t, dtype=cr.float16), np.ones_like(x, np.float16))
    same(cr.zeros_like([1.0, 2.0]), np.zeros(2, np.float32))


def test_asarray_copies_unless_told_not_to():
    a = np.arange(4.0)
    t = cr.asarray(a)
    a[0] = 9
    assert t.tolist() == [0, 1, 2, 3]
    assert np.shares_memory(cr.asarray(a, copy=False).numpy(), a)
    assert cr.asarray(t) is t
    copied = cr.asarray(t, copy=True)
    assert not np.shares_memory(copied.numpy(), t.numpy())
    for convert in (
        lambda: cr.asarray([1.0], copy=False),
        lambda: cr.asarray(a, dtype=cr.float32, copy=False),
        lambda: cr.asarray(t, dtype=cr.float32, copy=False),
    ):
        with pytest.raises(ValueError, match="without a copy"):
            convert()


def test_asarray_keeps_derivatives_or_says_that_it_cannot():
    w = cr.asarray(np.array([2.0, 3.0]), requires_grad=True)
    cr.asarray(w * w, copy=True).sum().backward()
    assert w.grad.tolist() == [4, 6]
    with pytest.raises(cr.GradientError, match=r"cr\.stack"):
        cr.asarray([w[0], w[1]])
    with cr.no_grad():
        assert cr.asarray([w[0], w[1]]).tolist() == [2, 3]
    plain = cr.ones(2)
    assert cr.asarray(plain, requires_grad=True).requires_grad
    assert not plain.requires_grad


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: cr.asarray([[1], [1, 2]]), cr.DataError, "same lengths"),
        (lambda: cr.asarray(["a"]), cr.DTypeError, "Encode text"),
        (lambda: cr.asarray(None), cr.DTypeError, "None is not a number"),
        (lambda: cr.asarray(300, dtype=cr.int8), cr.DTypeError, "does not fit"),
        (lambda: cr.full(2, float("nan"), dtype=cr.int64), cr.DTypeError, "does not fit"),
        (lambda: cr.full(2, [1, 2]), cr.ShapeError, "one number"),
        (lambda: cr.zeros(-1), cr.ShapeError, "negative size"),
        (lambda: cr.zeros(2.5), cr.DTypeError, "whole numbers"),
        (lambda: cr.zeros(2, dtype="floaty"), cr.DTypeError, "not a dtype"),
        (lambda: cr.zeros(2, dtype=object), cr.DTypeError, "not a dtype"),
        (lambda: cr.zeros(2, dtype=np.dtype("U1")), cr.DTypeError, "not a dtype"),
        (lambda: cr.arange(0, 3, 0), cr.ShapeError, "step"),
        (lambda: cr.linspace(0, 1, -1), cr.ShapeError, "negative size"),
        (lambda: cr.linspace(0, 1, 2.5), cr.DTypeError, "whole numbers"),
        (lambda: cr.eye(-1), cr.ShapeError, "negative size"),
        (lambda: cr.zeros(2, device="cuda"), ValueError, "no device 'cuda'"),
        (lambda: cr.from_dlpack([1.0]), cr.DTypeError, "__dlpack__"),
    ],
)
def test_what_cannot_be_made_says_why(make, error, says):
    with pytest.raises(error, match=says):
        make()
