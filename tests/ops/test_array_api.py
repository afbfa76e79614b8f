"""The Array API's functions against NumPy, their derivatives, and what they refuse.

`make conformance` runs the standard's own suite; here stands what that does not look at.
"""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule.errors import ChainruleError

few = settings(max_examples=60, deadline=None)
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
numbers = st.floats(-4, 4, width=32).map(lambda x: round(x, 1) + 0.0)  # ties are likely; no −0


def arrays(dtype=np.float32, shape=shapes, elements=numbers):
    return hnp.arrays(dtype, shape, elements=elements)


@st.composite
def laid_out(draw, dtype=np.float32, elements=numbers):
    """Arrays in every layout: steps, backwards, transposed."""
    x = draw(arrays(dtype, elements=elements))
    x = x[(*(slice(None, None, draw(st.sampled_from([1, 2, -1, -2]))) for _ in x.shape),)]
    return x.T if draw(st.booleans()) else x


def axis_of(data, x):
    return data.draw(st.integers(-x.ndim, x.ndim - 1))


# Values


@few
@given(x=laid_out(), data=st.data(), descending=st.booleans())
def test_sort_and_argsort(x, data, descending):
    if not x.ndim:
        assert cr.sort(x).item() == x.item()
        assert cr.argsort(x).item() == 0
        return
    axis = axis_of(data, x)
    order = cr.argsort(x, axis=axis, descending=descending).numpy()
    y = cr.sort(x, axis=axis, descending=descending)
    assert y.dtype == x.dtype
    assert order.dtype == np.int64
    wanted = np.sort(x, axis)
    np.testing.assert_array_equal(y, np.flip(wanted, axis) if descending else wanted)
    np.testing.assert_array_equal(np.take_along_axis(x, order, axis), y)
    # Of equals the first comes first, descending too.
    values, places = np.moveaxis(y.numpy(), axis, -1), np.moveaxis(order, axis, -1)
    tied = values[..., 1:] == values[..., :-1]
    assert (np.diff(places)[tied] > 0).all()


def test_sorting_nan_and_signs():
    x = cr.asarray([np.nan, 1.0, -np.inf, np.inf])
    np.testing.assert_array_equal(cr.sort(x), [-np.inf, 1, np.inf, np.nan])
    np.testing.assert_array_equal(cr.sort(x, descending=True), [np.nan, np.inf, 1, -np.inf])
    assert cr.argsort(cr.zeros((3,), dtype=cr.bool)).tolist() == [0, 1, 2]
    assert cr.sort(cr.asarray([200, 3, 255], dtype=cr.uint8)).tolist() == [3, 200, 255]


def test_the_derivative_of_sort_goes_where_the_number_came_from():
    x = cr.asarray([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]])
    w = cr.asarray([[1.0, 2.0, 3.0]] * 2)
    assert cr.grad(lambda x: (cr.sort(x) * w).sum())(x).tolist() == [[3, 1, 2], [1, 2, 3]]
    descending = cr.grad(lambda x: (cr.sort(x, axis=0, descending=True) * w[:1]).sum())(x)
    assert descending.tolist() == [[1, 2, 3], [1, 2, 3]]


@few
@given(x=laid_out(), data=st.data(), n=st.integers(0, 3))
def test_diff(x, data, n):
    if not x.ndim:
        with pytest.raises(cr.ShapeError, match="neighbours"):
            cr.diff(x, n=n)
        return
    axis = axis_of(data, x)
    np.testing.assert_array_equal(cr.diff(x, axis=axis, n=n), np.diff(x, n, axis))
    joined = cr.diff(x, axis=axis, n=n + 1, prepend=x, append=x)
    np.testing.assert_array_equal(joined, np.diff(x, n + 1, axis, x, x))


@few
@given(x=laid_out(), data=st.data())
def test_repeat(x, data):
    n = data.draw(st.integers(0, 3))
    np.testing.assert_array_equal(cr.repeat(x, n), np.repeat(x, n))
    if x.ndim:
        axis = axis_of(data, x)
        each = data.draw(hnp.arrays(np.int64, x.shape[axis], elements=st.integers(0, 3)))
        np.testing.assert_array_equal(cr.repeat(x, each, axis=axis), np.repeat(x, each, axis))
        np.testing.assert_array_equal(cr.repeat(x, n, axis=axis), np.repeat(x, n, axis))


def test_the_derivative_of_repeat_adds_up():
    x = cr.asarray([1.0, 2.0, 3.0])
    assert cr.grad(lambda x: cr.repeat(x, 2).sum())(x).tolist() == [2, 2, 2]
    each = cr.asarray([0, 3, 1])
    assert cr.grad(lambda x: cr.repeat(x, each).sum())(x).tolist() == [0, 3, 1]


@few
@given(x=laid_out())
def test_unique(x):
    found = cr.unique_all(x)
    values, indices, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True
    )
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.inverse_indices, inverse.reshape(x.shape))
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_array_equal(cr.unique_counts(x).counts, counts)
    np.testing.assert_array_equal(cr.unique_inverse(x).values, values)
    np.testing.assert_array_equal(cr.unique_values(x), values)


def test_unique_counts_each_nan_and_both_zeros_as_one():
    found = cr.unique_counts(cr.asarray([np.nan, 0.0, -0.0, np.nan]))
    assert found.counts.tolist() == [2, 1, 1]
    complexes = cr.unique_all(cr.asarray([1j, complex(np.nan, 1), 1j]))
    assert complexes.counts.tolist() == [2, 1]
    assert cr.grad(lambda x: cr.unique_values(x).sum())(cr.asarray([2.0, 2.0, 1.0])).tolist() == [
        1, 0, 1,
    ]  # fmt: skip


@few
@given(edges=arrays(shape=st.integers(0, 6)), x=laid_out(), side=st.sampled_from(["left", "right"]))
def test_searchsorted(edges, x, side):
    order = np.argsort(edges, kind="stable")
    wanted = np.searchsorted(edges, x, side, order)
    np.testing.assert_array_equal(cr.searchsorted(edges, x, side=side, sorter=order), wanted)
    np.testing.assert_array_equal(cr.searchsorted(edges[order], x, side=side), wanted)


@few
@given(x=laid_out(np.int64, st.integers(-3, 3)), y=laid_out(np.int64, st.integers(-3, 3)))
def test_isin_and_counts(x, y):
    np.testing.assert_array_equal(cr.isin(x, y), np.isin(x, y))
    np.testing.assert_array_equal(cr.isin(x, y, invert=True), ~np.isin(x, y))
    np.testing.assert_array_equal(cr.isin(x, 2), x == 2)
    assert cr.count_nonzero(x).item() == np.count_nonzero(x)
    if x.ndim:
        for found, wanted in zip(cr.nonzero(x), np.nonzero(x), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_isin_of_a_number_that_the_dtype_has_not():
    x = cr.asarray([1, 2], dtype=cr.uint8)
    for number in (300, -1, 2**80):
        assert cr.isin(x, number).tolist() == [False, False]
        assert cr.isin(x, number, invert=True).tolist() == [True, True]
    assert not cr.isin(300, x).item()


def test_running_totals_with_their_first():
    x = cr.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert cr.cumulative_sum(x, axis=1, include_initial=True).tolist() == [[0, 1, 3], [0, 3, 7]]
    assert cr.cumulative_prod(x, axis=0, include_initial=True).shape == (3, 2)


def test_shifts():
    x = cr.asarray([1, -8], dtype=cr.int8)
    assert (x << 2).tolist() == [4, -32]
    assert (x >> cr.asarray([0, 2], dtype=cr.int8)).tolist() == [1, -2]
    assert (x << 9).tolist() == [0, 0]
    assert (1 << cr.asarray([3])).tolist() == [8]
    for bad in (-1, cr.asarray([1, -1])):
        with pytest.raises(cr.DTypeError, match="0 or more"):
            x << bad
    with pytest.raises(cr.DTypeError, match="integers"):
        cr.ones(2) << 1


def test_masks_without_dimensions():
    x = cr.arange(3.0)
    assert x[cr.asarray(True)].tolist() == [[0, 1, 2]]
    assert x[cr.asarray(False)].shape == (0, 3)
    x[cr.asarray(False)] = 9
    assert x.tolist() == [0, 1, 2]
    x[cr.asarray(True)] = 9
    assert x.tolist() == [9, 9, 9]
    with pytest.raises(IndexError):
        x[cr.asarray([True, False])]
    with pytest.raises(cr.DTypeError, match="alone"):
        x[cr.asarray(True), 0]


def test_python_numbers_are_set_in_the_precision_of_the_array():
    x = cr.zeros((3,), dtype=cr.float64)
    x[0] = 0.1
    x[1:] = [0.2, 0.3]
    assert x.tolist() == [0.1, 0.2, 0.3]


def test_integers_beside_floats_have_no_tangent():
    x, t = (cr.asarray([1.0, 2.0]),), (cr.ones(2),)
    whole = cr.asarray([5, 6])

    def written(x):
        y = x * 1
        y[0] = 3
        return y

    assert cr.jvp(written, x, t)[1].tolist() == [0, 1]
    assert cr.jvp(lambda x: cr.where(x > 1.5, whole, x), x, t)[1].tolist() == [1, 0]
    assert cr.jvp(lambda x: cr.concat([whole, x]), x, t)[1].tolist() == [0, 0, 1, 1]


def test_floor_division_of_infinities():
    a = cr.asarray([np.inf, -np.inf, 1.0, -1.0, 7.0])
    b = cr.asarray([2.0, 2.0, -np.inf, np.inf, 2.0])
    found = a // b
    assert found.tolist() == [np.inf, -np.inf, 0, 0, 3]
    assert cr.signbit(found).tolist() == [False, True, True, True, False]
    np.testing.assert_array_equal(cr.compile(lambda a, b: a // b)(a, b), found)


# Asking


def test_inspection():
    info = cr.__array_namespace_info__()
    assert cr.__array_api_version__ == "2025.12"
    assert info.default_dtypes()["real floating"] == cr.float32
    assert info.dtypes(kind="bool") == {"bool": cr.bool}
    assert set(info.dtypes()) == {
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float32", "float64", "complex64", "complex128",
    }  # fmt: skip
    assert cr.ones(1).__array_namespace__(api_version="2024.12") is cr
    with pytest.raises(ChainruleError, match="2019"):
        cr.ones(1).__array_namespace__(api_version="2019.12")
    with pytest.raises(ValueError, match="cpu"):
        info.dtypes(device="gpu")


def test_limits():
    for dtype in ("float16", "float32", "float64"):
        found, wanted = cr.finfo(dtype), np.finfo(dtype)
        assert found.eps == wanted.eps
        assert found.max == wanted.max
        assert found.smallest_normal == wanted.smallest_normal
    assert cr.finfo("bfloat16").eps == 2**-7
    assert cr.finfo(cr.complex64).dtype == cr.float32
    assert cr.iinfo(cr.uint8)[:3] == (8, 255, 0)
    with pytest.raises(cr.DTypeError, match="iinfo"):
        cr.finfo(cr.int8)
    with pytest.raises(cr.DTypeError, match="integer"):
        cr.iinfo(cr.float32)


def test_kinds_and_promotion():
    assert cr.isdtype("bfloat16", "real floating")
    assert not cr.isdtype(cr.float32, ("integral", cr.float64))
    with pytest.raises(cr.DTypeError, match="no kind"):
        cr.isdtype(cr.float32, "floating")
    assert cr.can_cast(cr.int8, cr.float32)
    assert not cr.can_cast(cr.uint64, cr.int64)
    assert not cr.can_cast(cr.complex64, cr.float64)
    assert cr.result_type(cr.float32, 1.0, 2) == cr.float32
    assert cr.result_type(cr.int8, 1.0) == cr.float32
    with pytest.raises(cr.DTypeError, match="array or a dtype"):
        cr.result_type(1, 2.0)
    assert cr.broadcast_shapes() == ()
    assert cr.broadcast_shapes((2, 1), (3,), ()) == (2, 3)
    with pytest.raises(cr.ShapeError, match="broadcast"):
        cr.broadcast_shapes((2,), (3,))


# Refusals: an error of ours with the facts, whatever is handed in

AXES = st.one_of(
    st.integers(-5, 5), st.just(10**30), st.none(), st.just("x"), st.just(1.5), st.just(True),
    st.tuples(st.integers(-4, 4), st.integers(-4, 4)),
)  # fmt: skip
STRANGE = st.one_of(
    arrays(np.int8, elements=st.integers(-3, 3)), arrays(np.bool_, elements=st.booleans()),
    arrays(np.complex64, elements=st.complex_numbers(max_magnitude=4, width=64)), arrays(),
    st.sampled_from([2**70, -1, 0.5, True, 1j, "text", None, [], [[1.0], [2.0, 3.0]], {}]),
)  # fmt: skip
CALLS = {
    "sort": lambda x, y, a: cr.sort(x, axis=a),
    "argsort": lambda x, y, a: cr.argsort(x, axis=a, descending=True),
    "diff": lambda x, y, a: cr.diff(x, axis=a, prepend=y),
    "diff n": lambda x, y, a: cr.diff(x, n=y),
    "repeat": lambda x, y, a: cr.repeat(x, y, axis=a),
    "searchsorted": lambda x, y, a: cr.searchsorted(x, y),
    "sorter": lambda x, y, a: cr.searchsorted(x, x, sorter=y),
    "isin": lambda x, y, a: cr.isin(x, y),
    "count_nonzero": lambda x, y, a: cr.count_nonzero(x, axis=a),
    "nonzero": lambda x, y, a: cr.nonzero(x),
    "unique": lambda x, y, a: cr.unique_all(x),
    "cumulative_sum": lambda x, y, a: cr.cumulative_sum(x, axis=a, include_initial=True),
    "copysign": lambda x, y, a: cr.copysign(x, y),
    "shift": lambda x, y, a: cr.bitwise_left_shift(x, y),
    "floor_divide": lambda x, y, a: cr.floor_divide(x, y),
    "broadcast_arrays": lambda x, y, a: cr.broadcast_arrays(x, y),
    "meshgrid": lambda x, y, a: cr.meshgrid(x, y),
    "take_along_axis": lambda x, y, a: cr.take_along_axis(x, y, axis=a),
    "getitem": lambda x, y, a: cr.asarray(x)[y],
    "where": lambda x, y, a: cr.where(cr.asarray(x) == 0, x, y),
    "reshape": lambda x, y, a: cr.reshape(x, y),
    "astype": lambda x, y, a: cr.astype(x, y),
    "moveaxis": lambda x, y, a: cr.moveaxis(x, a, 0),
    "roll": lambda x, y, a: cr.roll(x, y, axis=a),
    "sum": lambda x, y, a: cr.sum(x, axis=a, dtype=y),
    "linspace": lambda x, y, a: cr.linspace(x, y, 3),
    "broadcast_shapes": lambda x, y, a: cr.broadcast_shapes(a, (2,)),
    "finfo": lambda x, y, a: cr.finfo(x),
    "isdtype": lambda x, y, a: cr.isdtype(x, y),
    "result_type": lambda x, y, a: cr.result_type(x, y),
}


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=80, deadline=None)
@given(x=STRANGE, y=STRANGE, axis=AXES)
def test_anything_handed_in_is_answered_or_refused(name, x, y, axis):
    with contextlib.suppress(ChainruleError):
        CALLS[name](x, y, axis)
