"""Asking about dtypes, shapes and the library itself, in the words of the Array API standard."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DTypeError
from chainrule.tensor import dtypes, shapes
from chainrule.tensor.creation import check_device
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]

# Kinds also hold the dtypes that we have beyond the standard's, as it allows.
_BEYOND = ("float16", "bfloat16")


class FloatInfo(NamedTuple):
    """What `finfo` tells of a floating-point dtype."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype


class IntegerInfo(NamedTuple):
    """What `iinfo` tells of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: np.dtype


def _dtype_of(x: Any) -> np.dtype:
    return x.dtype if isinstance(x, (Tensor, np.ndarray)) else dtypes.as_dtype(x)


@located
def finfo(type: Any, /) -> FloatInfo:
    """The limits of a floating-point dtype, or of an array's; of a complex one, its parts'.

    Returns:
        bits; eps, the distance from 1 to the next larger number; max; min; smallest_normal; dtype.

    Raises:
        DTypeError: the dtype is not floating point.

    >>> import chainrule as cr
    >>> cr.finfo(cr.float32).eps
    1.1920928955078125e-07
    """
    dtype = dtypes.real_of(_dtype_of(type))
    if not dtypes.is_float(dtype):
        raise DTypeError(f"finfo is for floating-point dtypes, and this is {dtype}; write cr.iinfo")
    if dtype.kind == "f":
        found: Any = np.finfo(dtype)
    else:
        import ml_dtypes

        found = ml_dtypes.finfo(dtype)
    return FloatInfo(
        bits=8 * dtype.itemsize,
        eps=float(found.eps),
        max=float(found.max),
        min=float(found.min),
        smallest_normal=float(found.smallest_normal),
        dtype=dtype,
    )


@located
def iinfo(type: Any, /) -> IntegerInfo:
    """The limits of an integer dtype, or of an array's: bits, max, min, dtype.

    Raises:
        DTypeError: the dtype is not integer.

    >>> import chainrule as cr
    >>> cr.iinfo(cr.int8).min
    -128
    """
    dtype = _dtype_of(type)
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo is for integer dtypes, and this is {dtype}")
    found = np.iinfo(dtype)
    return IntegerInfo(found.bits, int(found.max), int(found.min), dtype)


@located
def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind.

    Args:
        kind: a dtype; "bool", "signed integer", "unsigned integer", "integral", "real floating"
            (float16 and bfloat16 among them), "complex floating" or "numeric"; or a tuple of these.

    Raises:
        DTypeError: there is no such kind.

    >>> import chainrule as cr
    >>> cr.isdtype(cr.float32, "real floating"), cr.isdtype(cr.int8, (cr.int16, "bool"))
    (True, False)
    """
    dtype = dtypes.as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if not isinstance(kind, str):
        return dtype == dtypes.as_dtype(kind)
    names = _of_kind(kind)
    return dtype.name in names or ("float32" in names and dtype.name in _BEYOND)


def _of_kind(kind: Any) -> tuple[str, ...]:
    try:
        return _KINDS[kind]
    except (KeyError, TypeError):
        raise DTypeError(f"{kind!r} is no kind of dtype; there are {', '.join(_KINDS)}") from None


@located
def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether a dtype, or an array's, becomes `to` when it is promoted beside it.

    The standard's table within a kind; across kinds ours, by which an integer beside a float gives
    that float.

    >>> import chainrule as cr
    >>> cr.can_cast(cr.int8, cr.int16), cr.can_cast(cr.float64, cr.float32)
    (True, False)
    """
    target = dtypes.as_dtype(to)
    try:
        return dtypes.promote(_dtype_of(from_), target) == target
    except DTypeError:
        return False


@located
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The dtype of an operation on arrays, dtypes and Python numbers; numbers do not widen.

    Raises:
        DTypeError: there are only Python numbers, or no dtype holds them all.

    >>> import chainrule as cr
    >>> cr.result_type(cr.int8, cr.asarray([1], dtype=cr.uint8), 3)
    dtype('int16')
    """
    numbers = [a for a in arrays_and_dtypes if isinstance(a, (bool, int, float, complex))]
    found = [
        _dtype_of(a) for a in arrays_and_dtypes if not isinstance(a, (bool, int, float, complex))
    ]
    if not found:
        raise DTypeError("result_type needs an array or a dtype; Python numbers follow those")
    dtype = found[0]
    for other in found[1:]:
        dtype = dtypes.promote(dtype, other)
    for number in numbers:
        dtype = dtypes.scalar_dtype(number, dtype)
    return dtype


@located
def broadcast_shapes(*of: Any) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to; of none, ().

    Raises:
        ShapeError: two sizes differ and neither is 1.

    >>> import chainrule as cr
    >>> cr.broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    given = [shapes.normalise_shape(shape) for shape in of]
    return shapes.broadcast_shapes(*given) if given else ()


class Info:
    """What `__array_namespace_info__` gives: dtypes, devices and what the library can do."""

    def capabilities(self) -> dict[str, Any]:
        """Masks and data-dependent shapes are supported; at most 64 dimensions, as in NumPy."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """ "cpu"."""
        return "cpu"

    def devices(self) -> tuple[str, ...]:
        """All devices."""
        return ("cpu",)

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The dtype that Python's numbers, and indices, get."""
        check_device(device)
        return {
            "real floating": dtypes.default_float,
            "complex floating": dtypes.default_complex,
            "integral": dtypes.default_int,
            "indexing": dtypes.default_int,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The standard's dtypes by name: all, or those of a kind or of several (see `isdtype`)."""
        check_device(device)
        kinds = (
            ("bool", "numeric") if kind is None else kind if isinstance(kind, tuple) else (kind,)
        )
        names = [name for k in kinds for name in _of_kind(k)]
        return {name: np.dtype(name) for name in names}


def namespace_info() -> Info:
    """Inspection by the Array API standard: capabilities, devices and dtypes.

    >>> import chainrule as cr
    >>> cr.__array_namespace_info__().default_dtypes()["real floating"]
    dtype('float32')
    """
    return Info()
