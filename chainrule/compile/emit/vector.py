"""Vector: a value in lanes with its dtype, on which formulas are written with operators.

Integers wrap around. Comparisons follow IEEE 754: with NaN only ≠ is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from chainrule.compile.emit.lanes import I32, I64, Lanes

BOOL, FLOAT32, FLOAT64 = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.float64)


@dataclass(frozen=True, eq=False)
class Vector:
    """A value of `lanes`, of a dtype that is neither float16 nor bfloat16."""

    lanes: Lanes
    value: ir.Value
    dtype: np.dtype

    @property
    def floating(self) -> bool:
        return self.dtype.kind == "f"

    def like(self, value: ir.Value) -> Vector:
        return Vector(self.lanes, value, self.dtype)

    def of(self, number: Vector | float) -> Vector:
        """A number as a vector of this dtype; a vector as it is."""
        if isinstance(number, Vector):
            return number
        return self.like(self.lanes.constant(number, self.dtype))

    def _binary(self, on_floats: str, on_integers: str, other: Vector | float) -> Vector:
        emit = getattr(self.lanes.builder, on_floats if self.floating else on_integers)
        return self.like(emit(self.value, self.of(other).value))

    def __add__(self, other: Vector | float) -> Vector:
        return self._binary("fadd", "add", other)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._binary("fsub", "sub", other)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._binary("fmul", "mul", other)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self.like(self.lanes.builder.fdiv(self.value, self.of(other).value))

    def __radd__(self, other: float) -> Vector:
        return self.of(other) + self

    def __rsub__(self, other: float) -> Vector:
        return self.of(other) - self

    def __rmul__(self, other: float) -> Vector:
        return self.of(other) * self

    def __rtruediv__(self, other: float) -> Vector:
        return self.of(other) / self

    def __neg__(self) -> Vector:
        emit = self.lanes.builder.fneg if self.floating else self.lanes.builder.neg
        return self.like(emit(self.value))

    def __and__(self, other: Vector | float) -> Vector:
        return self.like(self.lanes.builder.and_(self.value, self.of(other).value))

    def __or__(self, other: Vector | float) -> Vector:
        return self.like(self.lanes.builder.or_(self.value, self.of(other).value))

    def __xor__(self, other: Vector | float) -> Vector:
        return self.like(self.lanes.builder.xor(self.value, self.of(other).value))

    def __invert__(self) -> Vector:
        return self.like(self.lanes.builder.not_(self.value))

    def __lshift__(self, places: int) -> Vector:
        return self.like(self.lanes.builder.shl(self.value, self.of(places).value))

    def __rshift__(self, places: int) -> Vector:
        b = self.lanes.builder
        emit = b.ashr if self.dtype.kind == "i" else b.lshr
        return self.like(emit(self.value, self.of(places).value))

    def _compare(self, sign: str, other: Vector | float) -> Vector:
        b = self.lanes.builder
        if self.floating:
            emit = b.fcmp_unordered if sign == "!=" else b.fcmp_ordered
        else:
            emit = b.icmp_signed if self.dtype.kind == "i" else b.icmp_unsigned
        return Vector(self.lanes, emit(sign, self.value, self.of(other).value), BOOL)

    def __lt__(self, other: Vector | float) -> Vector:
        return self._compare("<", other)

    def __le__(self, other: Vector | float) -> Vector:
        return self._compare("<=", other)

    def __gt__(self, other: Vector | float) -> Vector:
        return self._compare(">", other)

    def __ge__(self, other: Vector | float) -> Vector:
        return self._compare(">=", other)

    def equals(self, other: Vector | float) -> Vector:
        return self._compare("==", other)

    def differs(self, other: Vector | float) -> Vector:
        return self._compare("!=", other)

    @property
    def is_nan(self) -> Vector:
        return self.differs(self)

    def __abs__(self) -> Vector:
        if self.dtype.kind in "bu":
            return self
        return self.intrinsic("fabs") if self.floating else where(self < 0, -self, self)

    def intrinsic(self, name: str, *others: Vector) -> Vector:
        """LLVM's function of this name."""
        return self.like(self.lanes.intrinsic(name, self.value, *(v.value for v in others)))

    def fma(self, factor: Vector | float, term: Vector | float) -> Vector:
        """self · factor + term, rounded once."""
        factor, term = self.of(factor), self.of(term)
        return self.like(self.lanes.fma(self.value, factor.value, term.value))

    def copysign(self, sign: Vector) -> Vector:
        return self.intrinsic("copysign", sign)

    def astype(self, dtype: Any) -> Vector:
        dtype = np.dtype(dtype)
        return Vector(self.lanes, self.lanes.cast(self.value, self.dtype, dtype), dtype)

    def bits(self) -> Vector:
        """A float's bits as signed integers of its size."""
        element, dtype = (I32, np.int32) if self.dtype == FLOAT32 else (I64, np.int64)
        word = self.lanes.builder.bitcast(self.value, self.lanes.wide(element))
        return Vector(self.lanes, word, np.dtype(dtype))

    def from_bits(self) -> Vector:
        """The float of these bits."""
        dtype = FLOAT32 if self.dtype.itemsize == 4 else FLOAT64
        number = self.lanes.builder.bitcast(self.value, self.lanes.type(dtype))
        return Vector(self.lanes, number, dtype)


def where(mask: Vector, a: Vector | float, b: Vector | float) -> Vector:
    """a where the mask is true, else b, one of which at least is a vector."""
    shape = a if isinstance(a, Vector) else b
    assert isinstance(shape, Vector)
    a, b = shape.of(a), shape.of(b)
    return shape.like(mask.lanes.select(mask.value, a.value, b.value))


def polynomial(x: Vector, coefficients: list[float] | tuple[float, ...]) -> Vector:
    """c₀ + c₁x + c₂x² + …, by Horner's rule."""
    result = x.of(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result.fma(x, c)
    return result
