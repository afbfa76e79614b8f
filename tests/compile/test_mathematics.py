"""Functions in lanes against higher precision, in units in the last place, over their range."""

from __future__ import annotations

import dataclasses
import warnings

import mpmath
import numpy as np
import pytest
import scipy.special
from llvmlite import ir

from chainrule.compile.emit import mathematics
from chainrule.compile.emit.lanes import Unsupported
from chainrule.compile.machine import machine
from tests.compile.running import elementwise, over_arrays


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def all_float32(step=2003):
    """Every step-th bit pattern: subnormal numbers, infinities and NaN of all payloads too."""
    patterns = np.arange(0, 2**32, step, dtype=np.uint64).astype(np.uint32)
    return np.concatenate([patterns.view(np.float32), hard(np.float32)])


def hard(dtype):
    """Where the methods change, and a few neighbours of each of these places."""
    places = [0, 2.0**-126, 2.0**-25, 0.35, 0.5, 2**0.5, 0.8, 0.92, 1, np.pi / 2, 3.93, 9.02, 17.3]
    places += [87.3, 88.72284, 103.97, 128, 149, 1e4, 2.0**15, np.inf]
    found = [np.array(places, dtype)]
    for _ in range(3):
        found += [np.nextafter(found[-1], dtype(np.inf)), np.nextafter(found[0], dtype(-np.inf))]
    both = np.concatenate(found)
    return np.concatenate([both, -both, [dtype(np.nan)]])


def some_float64():
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2**64, 200_000, dtype=np.uint64, endpoint=False)
    usual = rng.standard_normal(200_000) * 10 ** rng.uniform(-3, 2.9, 200_000)
    return np.concatenate([patterns.view(np.float64), usual, hard(np.float64)])


def check(found, exact, bound):
    """NaN and infinite in the same places, zeros of the same sign, and within the bound."""
    expected = exact.astype(found.dtype)
    plain = np.isfinite(expected)
    np.testing.assert_array_equal(found[~plain], expected[~plain])
    zero = plain & (expected == 0) & (found == 0)
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(expected[zero]))
    apart = np.abs(found[plain].astype(np.longdouble) - exact[plain].astype(np.longdouble))
    units = apart / np.spacing(np.abs(expected[plain])).astype(np.longdouble)
    assert units.max() <= bound, f"{units.max()} units in the last place"


# The functions that have code of their own, and those of the C library.
NATIVE = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2,
    "log10": np.log10, "log1p": np.log1p, "tanh": np.tanh, "erf": scipy.special.erf,
    "sin": np.sin, "cos": np.cos,
}  # fmt: skip
LIBRARY = {
    "erfc": scipy.special.erfc, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip


@pytest.mark.parametrize("name", NATIVE)
def test_float32(name):
    x = all_float32()
    check(elementwise(name, "float32", 1)(x), NATIVE[name](x.astype(np.float64)), 1.5)


@pytest.mark.parametrize("name", LIBRARY)
def test_float32_of_the_library(name):
    x = all_float32(50_021)
    check(elementwise(name, "float32", 1)(x), LIBRARY[name](x.astype(np.float64)), 3)


@pytest.mark.parametrize("name", [n for n in NATIVE if n != "erf"])
def test_float64(name):
    x = some_float64()
    if name in ("sin", "cos"):
        x = x[~(np.abs(x) > 1e4)]  # long double has not the bits to reduce larger ones
    check(elementwise(name, "float64", 1)(x), NATIVE[name](x.astype(np.longdouble)), 2)


def test_float64_erf():
    x = np.concatenate([np.linspace(-6, 6, 501), np.geomspace(1e-300, 1, 100)])
    exact = np.array([float(mpmath.erf(v)) for v in x])
    check(elementwise("erf", "float64", 1)(x), exact, 2)


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "exp2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_without_avx512(name, dtype, monkeypatch):
    x = all_float32(20_011) if dtype == "float32" else some_float64()
    usual = elementwise(name, dtype, 1)(x)
    other = dataclasses.replace(machine(), vector_bits=256)
    monkeypatch.setattr(mathematics, "machine", lambda: other)
    np.testing.assert_array_equal(elementwise(name, dtype, 1)(x), usual)


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf", "sin", "pow"])
def test_one_lane_is_as_many(name):
    x = all_float32(400_009)
    operands = [x, x[::-1]] if name == "pow" else [x]
    wide, single = (elementwise(name, "float32", len(operands), width=w) for w in (16, 1))
    np.testing.assert_array_equal(wide(*operands), single(*operands))


# What they are in NumPy's forward, in the dtype's own overflow, but otherwise exactly.
ACTIVATIONS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(x, 0),
    "log_sigmoid": lambda x: -np.logaddexp(-x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = all_float32()
    x = x[~(x < -88)]  # there exp(−x) overflows, in NumPy's forward too
    exact = ACTIVATIONS[name](x.astype(np.float64))
    if name in ("softsign", "silu"):
        exact = np.where(np.isinf(x), np.float32(0) * x if name == "softsign" else x, exact)
    check(elementwise(name, "float32", 1)(x), exact, 3)


PAIRS = {
    "logaddexp": (np.logaddexp, 4), "hypot": (np.hypot, 1),
    "atan2": (np.arctan2, 2), "pow": (np.power, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_of_two_numbers(name):
    reference, bound = PAIRS[name]
    rng = np.random.default_rng(1)
    some = np.concatenate([3 * rng.standard_normal(150), hard(np.float32)]).astype(np.float32)
    a, b = (x.ravel() for x in np.meshgrid(some, some))
    exact = reference(a.astype(np.float64), b.astype(np.float64))
    found = elementwise(name, "float32", 2)(a, b)
    if name == "logaddexp":  # where the sum cancels, an error of its larger part stays
        far = np.abs(exact) < 0.25
        np.testing.assert_allclose(found[far], exact[far], atol=2e-7, rtol=0)
        found, exact = found[~far], exact[~far]
    check(found, exact, bound)


def by_constant(exponent, dtype):
    kind = np.dtype(dtype)

    def body(lanes, v) -> ir.Value:
        return lanes.elementwise("pow", [v, lanes.constant(exponent, kind)], kind)

    return over_arrays(body, [dtype], dtype)


@pytest.mark.parametrize("exponent", [-1, 0, 1, 2, 3, 4, 0.5, 7])
def test_powers_with_a_constant_exponent(exponent):
    x = all_float32(50_021)
    check(by_constant(exponent, "float32")(x), np.power(x.astype(np.float64), exponent), 2)


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint64", "int64"])
def test_powers_of_integers(dtype):
    a, b = (x.ravel() for x in np.meshgrid(np.arange(20), np.arange(70)))
    a, b = a.astype(dtype), b.astype(dtype)
    np.testing.assert_array_equal(elementwise("pow", dtype, 2)(a, b), a**b)
    np.testing.assert_array_equal(by_constant(5, dtype)(a), a**5)


def test_what_there_is_not():
    for name, dtype in (("erfinv", "float32"), ("exp", "int32"), ("nothing", "float32")):
        with pytest.raises(Unsupported):
            elementwise(name, dtype, 1)
