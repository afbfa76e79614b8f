"""Reading and writing parts of tensors, beside NumPy; handles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr

SIZE = 3
AXES = 3

keys = st.one_of(
    st.integers(-SIZE, SIZE),  # one of which lies outside
    st.slices(SIZE),
    st.just(None),
    st.just(Ellipsis),
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=3, min_side=0),
               elements=st.integers(-SIZE, SIZE - 1)),
    hnp.arrays(bool, st.sampled_from([(SIZE,), (SIZE, SIZE), (2,)])),
    st.lists(st.integers(-SIZE, SIZE - 1), max_size=3),
)  # fmt: skip


def as_ours(part):
    """Index arrays as tensors, so that a key of tensors is tried too."""
    return cr.asarray(part) if isinstance(part, np.ndarray) else part


@given(st.lists(keys, max_size=4), st.booleans())
@settings(max_examples=500)
def test_reading_is_numpys(parts, tensors):
    x = np.arange(float(SIZE**AXES)).reshape((SIZE,) * AXES)
    key = tuple(parts)
    ours = tuple(map(as_ours, parts)) if tensors else key
    # An empty list counts as integers in NumPy too, but only when it is made an array of them.
    theirs = tuple(np.array(p, np.int64) if p == [] else p for p in parts if isinstance(p, list))
    rest = iter(theirs)
    key = tuple(next(rest) if isinstance(p, list) else p for p in parts)
    try:
        wanted = x[key]
    except IndexError:
        with pytest.raises((IndexError, cr.ShapeError)):
            cr.asarray(x)[ours]
        return
    found = cr.asarray(x)[ours]
    assert found.shape == wanted.shape
    assert (found.numpy() == wanted).all()


@given(st.lists(keys, max_size=3), st.booleans())
@settings(max_examples=300)
def test_the_derivative_counts_how_often_an_element_was_read(parts, tensors):
    x = np.arange(float(SIZE**AXES)).reshape((SIZE,) * AXES)
    key = tuple(np.array(p, np.int64) if isinstance(p, list) else p for p in parts)
    try:
        read = x[key]
    except IndexError:
        return
    wanted = np.bincount(np.asarray(read, np.int64).ravel(), minlength=x.size).reshape(x.shape)
    t = cr.asarray(x, requires_grad=True)
    t[tuple(map(as_ours, parts)) if tensors else key].sum().backward()
    assert (t.grad.numpy() == wanted).all()


@given(st.lists(keys, max_size=4), st.booleans())
@settings(max_examples=300)
def test_writing_is_numpys(parts, array):
    x = np.arange(float(SIZE**AXES)).reshape((SIZE,) * AXES)
    key = tuple(np.array(p, np.int64) if isinstance(p, list) else p for p in parts)
    t = cr.asarray(x)
    try:
        part = x[key]
    except IndexError:
        with pytest.raises((IndexError, cr.ShapeError)):
            t[key] = -1.0
        assert (t.numpy() == x).all()
        return
    value = -1.0 - np.arange(part.size).reshape(part.shape) if array else -1.0
    t[key] = value
    x[key] = value
    assert (t.numpy() == x).all()


@given(hnp.arrays(bool, (3, 4)))
def test_masks(mask):
    x = np.arange(12.0).reshape(3, 4)
    t = cr.asarray(x)
    assert (t[mask].numpy() == x[mask]).all()
    t[mask] = -1.0
    x[mask] = -1.0
    assert (t.numpy() == x).all()


def test_writing_is_seen_through_another_name_and_not_by_a_slice():
    x = cr.arange(4.0)
    same, part, view = x, x[1:3], np.asarray(x)
    x[1] = 10.0
    assert same.tolist() == [0, 10, 2, 3]
    assert part.tolist() == [1, 2]
    assert view.tolist() == [0, 1, 2, 3]
    x += 1
    assert same is x
    assert same.tolist() == [1, 11, 3, 4]
    part[0] = -1.0
    assert x.tolist() == [1, 11, 3, 4]


OPERATIONS = {
    "+=": (lambda x: x.__iadd__(2.0), lambda a: a.__iadd__(2.0)),
    "-=": (lambda x: x.__isub__(2.0), lambda a: a.__isub__(2.0)),
    "*=": (lambda x: x.__imul__(2.0), lambda a: a.__imul__(2.0)),
    "/=": (lambda x: x.__itruediv__(2.0), lambda a: a.__itruediv__(2.0)),
    "//=": (lambda x: x.__ifloordiv__(2.0), lambda a: a.__ifloordiv__(2.0)),
    "%=": (lambda x: x.__imod__(2.0), lambda a: a.__imod__(2.0)),
    "**=": (lambda x: x.__ipow__(2.0), lambda a: a.__ipow__(2.0)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_updates_in_place_keep_the_handle(name):
    ours, theirs = OPERATIONS[name]
    x, a = cr.arange(1.0, 5.0), np.arange(1.0, 5.0)
    before = x
    x = ours(x)
    assert x is before
    assert (x.numpy() == theirs(a)).all()


def test_an_update_in_place_keeps_the_shape():
    x = cr.arange(4.0)
    with pytest.raises(cr.ShapeError, match="keeps the shape"):
        x += cr.ones((3, 4))
    assert x.tolist() == [0, 1, 2, 3]


def test_what_gives_an_operand_back_gives_another_handle():
    x = cr.arange(4.0)
    for result in (+x, x[...], x[()], cr.clip(x), x.reshape(4), x.astype(x.dtype), x.detach(),
                   cr.broadcast_to(x, (4,)), cr.roll(x, 0), cr.concat([x])):  # fmt: skip
        result[0] = 9.0
        assert x.tolist() == [0, 1, 2, 3]


def test_writing_has_a_derivative():
    def f(v):
        x = cr.zeros(3) + 1
        x[1] = v
        return (x**2).sum()

    assert cr.grad(f)(cr.asarray(3.0)).item() == 6.0

    def overwritten(x):
        y = x * 1
        y[0] = 0.0
        y *= 3
        return y.sum()

    assert cr.grad(overwritten)(cr.ones(3)).tolist() == [0, 3, 3]


def test_a_value_saved_before_writing_is_what_the_derivative_uses():
    x = cr.asarray(np.array([2.0, 3.0]), requires_grad=True)
    y = x * 1
    z = (y * y).sum()
    y[0] = 100.0
    z.backward()
    assert x.grad.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("key", "error", "says"),
    [
        (5, IndexError, r"index 5 lies outside of axis 0 of \(2, 3\); valid are -2 … 1"),
        ((0, -4), IndexError, "index -4 lies outside of axis 1"),
        (([0, 2],), IndexError, "index 2 lies outside of axis 0"),
        ((0, 0, 0), IndexError, "3 indices for 2 dimensions"),
        ((..., ...), IndexError, "at most one ellipsis"),
        (1.0, TypeError, "whole number"),
        ("a", TypeError, "whole number"),
        (True, TypeError, "no indices"),
        (np.array([0.5]), TypeError, "whole numbers or a boolean mask"),
        (np.array([True, False, True]), ValueError, "shape of what it covers"),
        ((..., np.array([True, False])), ValueError, "shape of what it covers"),
        (slice(None, None, 0), ValueError, "step"),
        (([0, 1], [0, 1, 2]), ValueError, "broadcast"),
    ],
)
def test_a_key_that_cannot_be_says_why(key, error, says):
    x = cr.ones((2, 3))
    with pytest.raises(error, match=says) as reading:
        x[key]
    assert isinstance(reading.value, cr.ChainruleError)
    assert "test_indexing.py" in str(reading.value)
    with pytest.raises(error, match=says):
        x[key] = 0.0


def test_a_value_that_does_not_fit_says_why():
    x = cr.zeros(3, dtype=cr.uint8)
    with pytest.raises(cr.ShapeError, match=r"\(2,\).*\(3,\)"):
        x[:] = cr.ones(2, dtype=cr.uint8)
    with pytest.raises(cr.DTypeError, match="-1 does not fit"):  # as NumPy, which overflows
        x[0] = -1
    with pytest.raises(cr.DTypeError, match="complex"):
        cr.ones(2)[0] = 1j
    assert x.tolist() == [0, 0, 0]


def test_a_leaf_is_not_written_to_while_recording():
    w = cr.asarray([1.0, 2.0], requires_grad=True)
    with pytest.raises(cr.GradientError, match="no_grad"):
        w[0] = 3.0
    with pytest.raises(cr.GradientError, match="no_grad"):
        w += 1
    assert w.tolist() == [1, 2]
