"""Promotion: the Array API's table with NumPy as oracle, and scalars, which never widen."""

import itertools

import numpy as np
import pytest

import chainrule as cr

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]


def test_float32_is_the_default_and_float64_stays():
    assert cr.asarray(1.5).dtype == cr.float32
    assert cr.asarray([1.5, 2]).dtype == cr.float32
    assert cr.asarray(1j).dtype == cr.complex64
    assert cr.asarray(2).dtype == cr.int64
    assert cr.asarray(True).dtype == cr.bool
    assert cr.asarray(np.array([1.5])).dtype == cr.float64
    assert (cr.ones(2) + np.array([1.5, 2.5])).dtype == cr.float64
    assert (cr.arange(3) / 2).dtype == cr.float32


@pytest.mark.parametrize(
    ("a", "b"),
    [
        *itertools.product(INTEGERS, INTEGERS),
        *itertools.product(FLOATS, FLOATS),
        *itertools.product(COMPLEX, COMPLEX),
        *itertools.product(FLOATS, COMPLEX),
    ],
)
def test_promotion_is_numpys(a, b):
    x, y = cr.ones(1, dtype=a), cr.ones(1, dtype=b)
    wanted = np.result_type(np.dtype(a), np.dtype(b))
    if a in INTEGERS and wanted.kind == "f":  # NumPy's way out; the standard has no answer
        with pytest.raises(cr.DTypeError, match="no integer dtype holds both"):
            x + y
        return
    for result in (x + y, y + x, x * y, cr.where(cr.asarray([True]), x, y), cr.concat([x, y])):
        assert result.dtype == wanted


@pytest.mark.parametrize("floating", FLOATS)
@pytest.mark.parametrize("whole", [*INTEGERS, "bool"])
def test_across_kinds_the_floating_point_side_decides(whole, floating):
    result = cr.ones(1, dtype=whole) * cr.ones(1, dtype=floating)
    assert result.dtype.name == floating


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, *COMPLEX])
def test_python_numbers_never_widen(dtype):
    """As NumPy 2 has it (NEP 50), where the kind of the number is not higher than the array's."""
    x, array = cr.ones(2, dtype=dtype), np.ones(2, dtype)
    for number in (2, 1.5, 1j):
        if isinstance(number, complex) and dtype == "float16":
            continue  # there is no complex number that small; NumPy and we both take complex64
        wanted = (array * number).dtype
        if array.dtype.kind in "iu" and not isinstance(number, int):
            wanted = np.dtype("float32" if isinstance(number, float) else "complex64")
        assert (x * number).dtype == wanted
        assert (number * x).dtype == wanted
    assert (x + True).dtype.name == dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_float64_scalar_is_a_python_float(dtype):
    x = cr.ones(2, dtype=dtype)
    scalar = np.float64(1.5)
    for result in (
        x * scalar,
        scalar * x,
        x - scalar,
        scalar / x,
        x**scalar,
        cr.maximum(x, scalar),
    ):
        assert isinstance(result, cr.Tensor)
        assert result.dtype.name == dtype


def test_other_numpy_scalars_are_arrays():
    assert (cr.ones(1, dtype=cr.int8) + np.int64(1)).dtype == cr.int64
    assert (cr.ones(1, dtype=cr.float64) * np.float32(1.5)).dtype == cr.float64


def test_numbers_that_do_not_fit_are_refused():
    for dtype, number in (("int8", 300), ("uint8", -1), ("uint64", -1), ("int64", 2**63)):
        with pytest.raises(cr.DTypeError, match=r"out of bounds|does not fit|too large"):
            cr.ones(1, dtype=dtype) + number


def test_booleans_are_no_numbers():
    t = cr.asarray([True, False])
    for compute in (lambda: t + t, lambda: t - t, lambda: -t):
        with pytest.raises(cr.DTypeError, match="booleans"):
            compute()
    assert (~t).tolist() == [False, True]
    assert t.sum().dtype == cr.int64


def test_an_update_in_place_keeps_the_dtype():
    x = cr.ones(2)
    x += np.ones(2)
    assert x.dtype == cr.float32
    n = cr.arange(2)
    with pytest.raises(cr.DTypeError, match="keeps the dtype int64"):
        n += 0.5
    assert n.tolist() == [0, 1]
