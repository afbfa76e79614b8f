"""The elementwise operations by name: arithmetic, comparisons, logic; the rest is mathematics.

Each means what the NumPy forward of its declaration means, signs of zero and NaN included.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.functions import FUNCTIONS, power
from chainrule.compile.emit.lanes import Lanes, Unsupported, is_half
from chainrule.compile.emit.vector import BOOL, FLOAT32, Vector, where


def apply(
    lanes: Lanes, operation: str | Callable[..., Any], args: Sequence[ir.Value], dtype: np.dtype
) -> ir.Value:
    """See `Lanes.elementwise`."""
    computing = FLOAT32 if is_half(dtype) else dtype
    if isinstance(operation, str):
        named = _find(operation)
        if dtype.kind == "c" or named is None:
            raise Unsupported(f"{operation} of {dtype}")
        function: Callable[..., Any] = named
    else:
        function = lambda *vectors: operation(lanes, *vectors)  # noqa: E731
    if operation == "where":
        vectors = [Vector(lanes, args[0], BOOL), *(Vector(lanes, a, computing) for a in args[1:])]
    else:
        vectors = [Vector(lanes, a, computing) for a in args]
    result = function(*vectors)
    if is_half(dtype) and result.dtype == FLOAT32:
        return lanes.round_to(result.value, dtype)
    return result.value


def _find(name: str) -> Callable[..., Vector] | None:
    if name in OPERATIONS:
        return OPERATIONS[name]
    function = FUNCTIONS.get(name)
    return function and _of_floats(name, function)


def _of_floats(name: str, function: Callable[..., Vector]) -> Callable[..., Vector]:
    def checked(*args: Vector) -> Vector:
        if not args[0].floating:
            raise Unsupported(f"{name} of {args[0].dtype}")
        return function(*args)

    return checked


def _of_bits(function: Callable[..., Vector]) -> Callable[..., Vector]:
    def checked(*args: Vector) -> Vector:
        if args[0].dtype.kind not in "biu":
            raise Unsupported(f"bits of {args[0].dtype}")
        return function(*args)

    return checked


def _rounding(name: str) -> Callable[[Vector], Vector]:
    return lambda x: x.intrinsic(name) if x.floating else x


def divide(a: Vector, b: Vector) -> Vector:
    if not a.floating:
        raise Unsupported("divide of integers, which are cast to floats before")
    return a / b


def sign(x: Vector) -> Vector:
    if x.dtype.kind == "u":
        return where(x > 0, 1, x)
    # Of 0 it is +0, of NaN NaN.
    otherwise = where(x.is_nan, x, 0) if x.floating else x.of(0)
    return where(x > 0, 1, where(x < 0, -1, otherwise))


def maximum(a: Vector, b: Vector) -> Vector:
    """Of equal numbers the second (as of 0 and −0); NaN where one is."""
    larger = where(a > b, a, b)
    return where(a.is_nan, a, larger) if a.floating else larger


def minimum(a: Vector, b: Vector) -> Vector:
    smaller = where(a < b, a, b)
    return where(a.is_nan, a, smaller) if a.floating else smaller


def relu(x: Vector) -> Vector:
    return where(x <= 0, 0, x)


def floor_divide(a: Vector, b: Vector) -> Vector:
    if a.floating:
        return where(isinf(a) | isinf(b), divide(a, b), _float_divmod(a, b)[0])
    quotient, rest = _integer_divmod(a, b)
    below = _signs_differ(rest, b)
    return quotient if below is None else where(below, quotient - 1, quotient)


def remainder(a: Vector, b: Vector) -> Vector:
    if a.floating:
        return _float_divmod(a, b)[1]
    rest = _integer_divmod(a, b)[1]
    below = _signs_differ(rest, b)
    return rest if below is None else where(below, rest + b, rest)


def _signs_differ(rest: Vector, b: Vector) -> Vector | None:
    if b.dtype.kind == "u":
        return None
    return rest.differs(0) & ((rest ^ b) < 0)


def _integer_divmod(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """Towards 0. What a processor traps: by 0 it is (0, 0); the lowest number by −1 is itself."""
    emit = a.lanes.builder
    zero = b.equals(0)
    safe = where(zero, 1, b)
    if a.dtype.kind == "u":
        quotient = a.like(emit.udiv(a.value, safe.value))
        rest = a - quotient * safe
    else:
        minus = b.equals(-1)
        safe = where(minus, 1, safe)
        quotient = a.like(emit.sdiv(a.value, safe.value))
        rest = a - quotient * safe
        quotient = where(minus, -a, quotient)
    return where(zero, 0, quotient), where(zero, 0, rest)


def _float_divmod(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """NumPy's npy_divmod: from the exact fmod, moved to b's side, the quotient follows."""
    rest = _fmod(a, b)
    move = rest.differs(0) & ((b < 0) ^ (rest < 0))
    quotient = (a - rest) / b
    quotient = where(move, quotient - 1, quotient)
    moved = where(move, rest + b, rest)
    moved = where(rest.equals(0), a.of(0).copysign(b), moved)
    whole = quotient.intrinsic("floor")
    whole = where((quotient - whole) > 0.5, whole + 1, whole)
    whole = where(quotient.equals(0), a.of(0).copysign(a / b), whole)
    by_zero = b.equals(0)
    return where(by_zero, a / b, whole), where(by_zero, rest, moved)


def _fmod(a: Vector, b: Vector) -> Vector:
    name = "fmodf" if a.dtype == FLOAT32 else "fmod"
    value = a.lanes.outlined(
        f"chainrule.{name}", [a.value, b.value], lambda lanes, *args: lanes.lane_by_lane(name, args)
    )
    return a.like(value)


def reciprocal(x: Vector) -> Vector:
    return divide(x.of(1), x)


def sqrt(x: Vector) -> Vector:
    if not x.floating:
        raise Unsupported(f"sqrt of {x.dtype}")
    return x.intrinsic("sqrt")


def isinf(x: Vector) -> Vector:
    return abs(x).equals(np.inf) if x.floating else _everywhere(x, False)


def isfinite(x: Vector) -> Vector:
    return abs(x) < np.inf if x.floating else _everywhere(x, True)


def isnan(x: Vector) -> Vector:
    return x.is_nan if x.floating else _everywhere(x, False)


def _everywhere(x: Vector, truth: bool) -> Vector:
    return Vector(x.lanes, x.lanes.constant(truth, BOOL), BOOL)


OPERATIONS: dict[str, Callable[..., Vector]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": divide,
    "negative": operator.neg,
    "positive": lambda x: x,
    "abs": abs,
    "sign": sign,
    "floor": _rounding("floor"),
    "ceil": _rounding("ceil"),
    "round": _rounding("roundeven"),
    "trunc": _rounding("trunc"),
    "floor_divide": floor_divide,
    "remainder": remainder,
    "reciprocal": reciprocal,
    "square": lambda x: x * x,
    "sqrt": sqrt,
    "rsqrt": lambda x: divide(x.of(1), sqrt(x)),
    "pow": power,
    "maximum": maximum,
    "minimum": minimum,
    "relu": relu,
    "where": where,
    "equal": Vector.equals,
    "not_equal": Vector.differs,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "isnan": isnan,
    "isinf": isinf,
    "isfinite": isfinite,
    "logical_and": _of_bits(operator.and_),
    "logical_or": _of_bits(operator.or_),
    "logical_xor": _of_bits(operator.xor),
    "logical_not": _of_bits(operator.invert),
    "bitwise_and": _of_bits(operator.and_),
    "bitwise_or": _of_bits(operator.or_),
    "bitwise_xor": _of_bits(operator.xor),
    "bitwise_invert": _of_bits(operator.invert),
}
