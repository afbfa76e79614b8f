"""Trigonometric and hyperbolic functions and their inverses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops.arithmetic import sqrt
from chainrule.ops.declare import elementwise
from chainrule.ops.domain import ABOVE_ONE, NONZERO, REALS, UNIT, Interval

sin = elementwise(
    "sin", np.sin, formula="sin(x)", method="sin", derivative=lambda x, y: cos(x), flops=15,
    doc="The sine.",
)  # fmt: skip
cos = elementwise(
    "cos", np.cos, formula="cos(x)", method="cos", derivative=lambda x, y: -sin(x), flops=15,
    doc="The cosine.",
)  # fmt: skip
tan = elementwise(
    "tan", np.tan, formula="tan(x)", derivative=lambda x, y: 1 + y * y, flops=20,
    domain=Interval(-1.4, 1.4), doc="The tangent.",
)  # fmt: skip
deg2rad = elementwise(
    "deg2rad", np.deg2rad, formula="x · 0.017453292519943295", derivative=math.pi / 180,
    accepts="real float", doc="Degrees in radians: x · π / 180.",
)  # fmt: skip
rad2deg = elementwise(
    "rad2deg", np.rad2deg, formula="x · 57.29577951308232", derivative=180 / math.pi,
    accepts="real float", doc="Radians in degrees: x · 180 / π.",
)  # fmt: skip
asin = elementwise(
    "asin", np.arcsin, formula="asin(x)", derivative=lambda x, y: 1 / sqrt(1 - x * x), flops=20,
    domain=UNIT, doc="The angle in [−π/2, π/2] whose sine is x.",
)  # fmt: skip
acos = elementwise(
    "acos", np.arccos, formula="acos(x)", derivative=lambda x, y: -1 / sqrt(1 - x * x), flops=20,
    domain=UNIT, doc="The angle in [0, π] whose cosine is x.",
)  # fmt: skip
atan = elementwise(
    "atan", np.arctan, formula="atan(x)", derivative=lambda x, y: 1 / (1 + x * x), flops=20,
    doc="The angle in (−π/2, π/2) whose tangent is x.",
)  # fmt: skip


def _over_square(a: Any, b: Any) -> Any:
    # 0 at the origin, where there is no angle; PyTorch's convention.
    from chainrule.ops.choosing import where

    square = a * a + b * b
    return where(square == 0, 0.0, 1 / where(square == 0, 1.0, square))


atan2 = elementwise(
    "atan2", np.arctan2, formula="atan2(a, b)", accepts="real float", flops=25,
    domain=(NONZERO, NONZERO),
    derivative=(lambda a, b, y: b * _over_square(a, b), lambda a, b, y: -a * _over_square(a, b)),
    doc="The angle of the point (b, a), in [−π, π].",
)  # fmt: skip
sinh = elementwise(
    "sinh", np.sinh, formula="sinh(x)", derivative=lambda x, y: cosh(x), flops=20,
    doc="The hyperbolic sine.",
)  # fmt: skip
cosh = elementwise(
    "cosh", np.cosh, formula="cosh(x)", derivative=lambda x, y: sinh(x), flops=20,
    doc="The hyperbolic cosine.",
)  # fmt: skip


def _tanh(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "c":
        return np.tanh(x)
    # At infinity C has the sign of sin(2 Im x) for the imaginary 0, the standard that of Im x.
    y = np.asarray(np.tanh(x))
    y.imag = np.where(np.isinf(x.real), np.copysign(0, x.imag), y.imag)
    return y


tanh = elementwise(
    "tanh", _tanh, formula="tanh(x)", method="tanh",
    derivative=lambda x, y: 1 - y * y,  # tanh′ = 1 − tanh²: only the output is kept
    domain=REALS, flops=15, doc="The hyperbolic tangent.",
)  # fmt: skip
asinh = elementwise(
    "asinh", np.arcsinh, formula="asinh(x)", derivative=lambda x, y: 1 / sqrt(x * x + 1), flops=20,
    doc="The inverse hyperbolic sine.",
)  # fmt: skip
acosh = elementwise(
    "acosh", np.arccosh, formula="acosh(x)", domain=ABOVE_ONE, flops=20,
    derivative=lambda x, y: 1 / (sqrt(x - 1) * sqrt(x + 1)), doc="The inverse hyperbolic cosine.",
)  # fmt: skip
atanh = elementwise(
    "atanh", np.arctanh, formula="atanh(x)", domain=UNIT, flops=20,
    derivative=lambda x, y: 1 / (1 - x * x), doc="The inverse hyperbolic tangent.",
)  # fmt: skip
hypot = elementwise(
    "hypot", np.hypot, formula="√(a² + b²)", accepts="real float", flops=5,
    domain=(NONZERO, NONZERO),
    derivative=(lambda a, b, y: a / y, lambda a, b, y: b / y),
    doc="The length of the vector (a, b).",
)  # fmt: skip
