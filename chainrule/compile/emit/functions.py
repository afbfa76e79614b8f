"""The functions of floating-point numbers by name, made of those in `mathematics`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from llvmlite import ir

from chainrule.compile.emit import mathematics as m
from chainrule.compile.emit.vector import FLOAT32, FLOAT64, Vector, where


def power(a: Vector, b: Vector) -> Vector:
    """aᵇ; with the products and roots that it is where b is one of some constants."""
    exponent = _constant(b)
    if exponent == 2:
        return a * a
    if not a.floating:
        return _integer_power(a, b, exponent)
    if exponent == 1:
        return a
    if exponent == 0.5:
        return a.intrinsic("sqrt")
    if exponent == 3:
        return a * a * a
    if exponent == 4:
        square = a * a
        return square * square
    if exponent == -1:
        return 1 / a
    return m.library("pow", a, b)


def _integer_power(a: Vector, b: Vector, exponent: float | None) -> Vector:
    """By squaring, from the lowest bit of b on; negative b are refused before."""
    bits = 8 * b.dtype.itemsize if exponent is None else int(exponent).bit_length()
    result = a.of(1)
    for i in range(bits):
        odd = ((b >> i) & 1).differs(0)
        result = where(odd, result * a, result)
        a = a * a
    return result


def _constant(x: Vector) -> float | None:
    """The number that is in every lane, where that is known."""
    if not isinstance(x.value, ir.Constant):
        return None
    numbers = x.value.constant
    if isinstance(numbers, (int, float)):
        return numbers
    if not isinstance(numbers, (list, tuple)):
        return None
    found = {c.constant if isinstance(c, ir.Constant) else c for c in numbers}
    return found.pop() if len(found) == 1 else None


def logaddexp(a: Vector, b: Vector) -> Vector:
    """The larger and log(1 + exp(−|a − b|)), where ∞ − ∞ counts as 0."""
    larger = where(a > b, a, where(b.is_nan, b, where(a.is_nan, a, b)))
    return larger + m.log1p(m.exp(-abs(where(a.equals(b), 0, a - b))))


def sigmoid(x: Vector) -> Vector:
    return 1 / (1 + m.exp(-x))


def hypot(a: Vector, b: Vector) -> Vector:
    """In float64, where the squares of float32 do not overflow; infinite where one side is."""
    if a.dtype == FLOAT64:
        return m.library("hypot", a, b)
    wide, other = a.astype(FLOAT64), b.astype(FLOAT64)
    length = (wide * wide + other * other).intrinsic("sqrt").astype(FLOAT32)
    infinite = abs(a).equals(np.inf) | abs(b).equals(np.inf)
    return where(infinite, math.inf, length)


def _library(name: str) -> Callable[..., Vector]:
    return lambda *args: m.library(name, *args)


FUNCTIONS: dict[str, Callable[..., Vector]] = {
    "exp": m.exp,
    "exp2": m.exp2,
    "expm1": m.expm1,
    "log": m.log,
    "log2": m.log2,
    "log10": m.log10,
    "log1p": m.log1p,
    "logaddexp": logaddexp,
    "erf": m.erf,
    "erfc": _library("erfc"),
    "sin": m.sin,
    "cos": m.cos,
    "tan": _library("tan"),
    "asin": _library("asin"),
    "acos": _library("acos"),
    "atan": _library("atan"),
    "atan2": _library("atan2"),
    "sinh": _library("sinh"),
    "cosh": _library("cosh"),
    "tanh": m.tanh,
    "asinh": _library("asinh"),
    "acosh": _library("acosh"),
    "atanh": _library("atanh"),
    "hypot": hypot,
    "sigmoid": sigmoid,
    "softplus": lambda x: logaddexp(x, x.of(0)),
    "log_sigmoid": lambda x: -logaddexp(-x, x.of(0)),
    "softsign": lambda x: x / (1 + abs(x)),
    "silu": lambda x: x / (1 + m.exp(-x)),
}
