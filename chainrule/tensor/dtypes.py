"""Data types: NumPy's dtype objects, the default, and promotion by the Array API standard."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from chainrule.errors import DTypeError

bool_ = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (np.dtype(f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (np.dtype(f"float{n}") for n in (16, 32, 64))
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)

NAMES = {
    *(f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)),
    *("bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"),
}
"""The names of all dtypes that a tensor may have."""

default_float = float32
default_int = int64
default_complex = complex64


@cache
def bfloat16() -> np.dtype:
    """bfloat16, from `ml_dtypes`, which is imported only when it is asked for."""
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def is_float(dtype: np.dtype) -> bool:
    """Whether derivatives with respect to such numbers exist (real or complex floating point)."""
    return dtype.kind in "fc" or dtype.name == "bfloat16"


def real_of(dtype: np.dtype) -> np.dtype:
    """The dtype of a complex dtype's parts; any other is its own."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 3}


@cache
def promote(a: np.dtype, b: np.dtype) -> np.dtype:
    """The dtype of an operation on two arrays.

    Within a kind, the standard's table. Across kinds, which the standard leaves open, the
    floating-point side decides (int64 with float32 gives float32), as in PyTorch and JAX.
    """
    if a == b:
        return a
    rank_a, rank_b = _ORDER.get(a.kind), _ORDER.get(b.kind)
    if rank_a is None or rank_b is None:
        raise DTypeError(f"no dtype holds both {a} and {b}; convert one of them with astype")
    if rank_a != rank_b:
        low, high = (a, b) if rank_a < rank_b else (b, a)
        if high.kind == "c" and low.kind == "f":
            return np.result_type(low, high)
        return high
    result = np.promote_types(a, b)
    if result.kind == "f" and a.kind in "iu":
        raise DTypeError(f"no integer dtype holds both {a} and {b}; convert one with astype")
    return result


def scalar_dtype(value: bool | int | float | complex, other: np.dtype) -> np.dtype:
    """The dtype of a Python scalar beside an array: the array's, unless its kind is lower."""
    if isinstance(value, bool):
        return other
    if isinstance(value, int):
        return default_int if other == bool_ else other
    if isinstance(value, float):
        return other if is_float(other) else default_float
    if other.kind == "c":
        return other
    return complex128 if other == float64 else default_complex


def check_parts(source: np.dtype, wanted: np.dtype) -> None:
    """DTypeError where complex numbers would lose their imaginary parts."""
    if source.kind == "c" and wanted.kind not in "cb":
        raise DTypeError(
            f"{wanted} would drop the imaginary part of {source}; write x.real or abs(x)"
        )


def as_dtype(dtype: Any) -> np.dtype:
    """A dtype from a dtype, a NumPy type, a Python type or a name; DTypeError says what exists."""
    if dtype is float:
        return default_float
    if dtype is int:
        return default_int
    if dtype is complex:
        return default_complex
    if isinstance(dtype, str) and dtype == "bfloat16":
        return bfloat16()
    try:
        found = np.dtype(dtype)
    except Exception:  # NumPy parses text, dicts and classes, and raises whatever it meets
        found = None
    if found is None or found.name not in NAMES:
        raise DTypeError(
            f"{dtype!r} is not a dtype; write cr.float32, cr.float64, cr.int64, cr.bool …"
        )
    return found if found.isnative else found.newbyteorder("=")
