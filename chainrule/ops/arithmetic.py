"""Arithmetic, comparison, logic and bits, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import NONZERO, POSITIVE, REALS, Interval
from chainrule.ops.elementwise import Elementwise, Wirtinger
from chainrule.ops.operation import conjugate
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor

add = elementwise(
    "add", np.add, formula="a + b", accepts="number", operator="add", derivative=(1, 1),
    doc="The sum of a and b.",
)  # fmt: skip
subtract = elementwise(
    "subtract", np.subtract, formula="a − b", accepts="number", operator="sub",
    derivative=(1, -1), doc="The difference of a and b.",
)  # fmt: skip
multiply = elementwise(
    "multiply", np.multiply, formula="a · b", accepts="number", operator="mul",
    derivative=(lambda a, b, y: b, lambda a, b, y: a), doc="The product of a and b.",
)  # fmt: skip


def _like(b: Any, y: Any) -> Any:
    """Whole numbers in the dtype of the result: 1 / b of int64 would be float32."""
    whole = isinstance(b, Tensor) and not dtypes.is_float(b.dtype)
    return b.astype(y.dtype) if whole else b


divide = elementwise(
    "divide", np.divide, formula="a / b", operator="truediv", domain=(REALS, NONZERO),
    derivative=(lambda a, b, y: 1 / _like(b, y), lambda a, b, y: -y / b),
    doc="The quotient of a and b; integers give floats.",
)  # fmt: skip
negative = elementwise(
    "negative", np.negative, formula="−x", accepts="number", operator="neg", derivative=-1,
    doc="The negative of x.",
)  # fmt: skip
positive = elementwise(
    "positive", np.positive, formula="x", accepts="number", operator="pos", derivative=1,
    doc="x itself.",
)  # fmt: skip
abs = elementwise(
    "abs", np.abs, formula="abs(x)", accepts="number", operator="abs", method="abs",
    domain=NONZERO, result="real", derivative=lambda x, y: conjugate(sign(x)),
    doc="The absolute value; its derivative at 0 is taken as 0, as in PyTorch.",
)  # fmt: skip
# sign, floor, ceil, round and trunc are flat between their jumps: the derivative is 0 there.


def _sign_slope(x: Tensor, y: Tensor) -> Any:
    """Of a complex z / |z|, which turns with z: dy = dz / 2|z| − y² dz̄ / 2|z|; 0 at 0."""
    if x.dtype.kind != "c":
        return 0
    from chainrule.ops.choosing import where

    size = abs(x)
    half = where(size == 0, 0.0, 0.5 / where(size == 0, 1.0, size))
    return Wirtinger(half, -half * y * y)


sign = elementwise(
    "sign", np.sign, formula="sign(x)", accepts="number", domain=NONZERO, derivative=_sign_slope,
    flops=1, method="sign",
    doc="""−1, 0 or 1 by the sign of x, and x / |x| of a complex number.

Real, it is flat, so its derivative is 0.
""",
)  # fmt: skip
_STEPS = Interval(-2.9, 2.9, kinks=(-2.5, -2, -1.5, -1, -0.5, 0.0, 0.5, 1, 1.5, 2, 2.5))
floor = elementwise(
    "floor", np.floor, formula="floor(x)", accepts="real", domain=_STEPS, derivative=0,
    doc="The largest whole number not above x; flat, so its derivative is 0.",
)  # fmt: skip
ceil = elementwise(
    "ceil", np.ceil, formula="ceil(x)", accepts="real", domain=_STEPS, derivative=0,
    doc="The smallest whole number not below x; flat, so its derivative is 0.",
)  # fmt: skip
round = elementwise(
    "round", lambda x: np.round(x), formula="round(x)", accepts="number", domain=_STEPS,
    derivative=0, method="round",
    doc="The nearest whole number, halves to even; flat, so its derivative is 0.",
)  # fmt: skip
trunc = elementwise(
    "trunc", np.trunc, formula="trunc(x)", accepts="real", domain=_STEPS, derivative=0,
    doc="The whole part of x, towards 0; flat, so its derivative is 0.",
)  # fmt: skip


def _floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    y = np.floor_divide(a, b)
    if np.asarray(y).dtype.kind in "iu":
        return y
    # The standard's: of infinities it is what division gives, ∞ // 2 = ∞ and 1 // −∞ = −0.
    return np.where(np.isinf(a) | np.isinf(b), np.divide(a, b), y)


floor_divide = elementwise(
    "floor_divide", _floor_divide, formula="floor(a / b)", accepts="real",
    operator="floordiv", domain=(_STEPS, Interval(0.9, 1.1)), derivative=(0, 0),
    doc="The quotient rounded down; flat, so its derivative is 0.",
)  # fmt: skip
remainder = elementwise(
    "remainder", np.remainder, formula="a − b · floor(a / b)", accepts="real", operator="mod",
    domain=(Interval(0.1, 0.8), Interval(0.9, 3.0)),
    derivative=(1, lambda a, b, y: -floor(a / b)),
    doc="What is left of a when divided by b, with b's sign.",
)  # fmt: skip
fmod = elementwise(
    "fmod", np.fmod, formula="a − b · trunc(a / b)", accepts="real",
    domain=(Interval(0.1, 0.8), Interval(0.9, 3.0)),
    derivative=(1, lambda a, b, y: -trunc(a / b)),
    doc="What is left of a when divided by b, with a's sign, as C's fmod; `remainder` has b's.",
)  # fmt: skip
copysign = elementwise(
    "copysign", np.copysign, formula="abs(a) · (1 − 2 · signbit(b))", accepts="real float",
    domain=(NONZERO, NONZERO), derivative=(lambda a, b, y: sign(a) * sign(y), 0),
    display_only=True, doc="The size of a with the sign of b, that of −0 and of NaN included.",
)  # fmt: skip
nextafter = elementwise(
    "nextafter", np.nextafter, formula="the number next to a on the way to b",
    accepts="real float", derivative=(1, 0), display_only=True,
    doc="The next number of the dtype after a in the direction of b; to its rounding it is a.",
)  # fmt: skip
reciprocal = elementwise(
    "reciprocal", np.reciprocal, formula="1 / x", domain=NONZERO,
    derivative=lambda x, y: -y * y, doc="1 / x.",
)  # fmt: skip
square = elementwise(
    "square", np.square, formula="x²", accepts="number", method="square",
    derivative=lambda x, y: 2 * x, doc="x · x.",
)  # fmt: skip
sqrt = elementwise(
    "sqrt", np.sqrt, formula="√(x)", domain=POSITIVE, method="sqrt",
    derivative=lambda x, y: 0.5 / y, doc="The square root; not a number below 0.",
)  # fmt: skip
rsqrt = elementwise(
    "rsqrt", lambda x: 1 / np.sqrt(x), formula="1 / √(x)", domain=POSITIVE,
    derivative=lambda x, y: -0.5 * y / x, flops=2, doc="1 / √x.",
)  # fmt: skip


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if isinstance(b, (int, float)) and b == 2:
        return np.square(a)
    return np.power(a, b)


def _power_by_base(a: Tensor, b: Tensor | float, y: Tensor) -> Tensor | float:
    # a⁰ is flat everywhere, at 0 too, where 0·0⁻¹ would be NaN; PyTorch's convention.
    if not isinstance(b, Tensor):
        return b * pow(a, b - 1) if b != 0 else 0.0
    from chainrule.ops.choosing import where

    return where(b == 0, 0.0, b * pow(a, where(b == 0, 1.0, b - 1)))


def _power_by_exponent(a: Tensor, b: Tensor, y: Tensor) -> Tensor:
    # 0^b is flat in b for b ≥ 0, where y·log a would be 0·(−∞) or −∞; PyTorch's convention.
    from chainrule.ops.choosing import where
    from chainrule.ops.exponential import log

    flat = logical_or(y == 0, logical_and(equal(a, 0), b == 0))
    base = where(flat, 1.0, a)
    return y * log(base if base.dtype == y.dtype else base.astype(y.dtype))  # −1 to the i


pow = elementwise(
    "pow", _power, formula="a^b", accepts="number", operator="pow",
    domain=(POSITIVE, REALS), derivative=(_power_by_base, _power_by_exponent), flops=10,
    doc="a to the power b; a whole negative power of integers is refused.",
)  # fmt: skip


def _larger(a: Tensor, b: Tensor) -> Tensor:
    # Half to each where they are equal, as in PyTorch.
    from chainrule.ops.choosing import where

    return where(a == b, 0.5, where(a > b, 1.0, 0.0))


maximum = elementwise(
    "maximum", np.maximum, formula="max(a, b)", accepts="ordered",
    domain=(REALS, Interval(3.2, 4.0)),
    derivative=(lambda a, b, y: _larger(a, b), lambda a, b, y: _larger(b, a)),
    doc="The larger of a and b; where they are equal, half of the derivative goes to each.",
)  # fmt: skip
minimum = elementwise(
    "minimum", np.minimum, formula="min(a, b)", accepts="ordered",
    domain=(REALS, Interval(3.2, 4.0)),
    derivative=(lambda a, b, y: _larger(b, a), lambda a, b, y: _larger(a, b)),
    doc="The smaller of a and b; where they are equal, half of the derivative goes to each.",
)  # fmt: skip


def _at_zero(a: Tensor) -> Tensor:
    from chainrule.ops.choosing import where

    return where(a == 0, 1.0, 0.0)


heaviside = elementwise(
    "heaviside", np.heaviside, accepts="real float", domain=(NONZERO, REALS),
    formula="(1 + sign(a)) / 2 + (b − 0.5) · (1 − abs(sign(a)))",
    derivative=(0, lambda a, b, y: _at_zero(a)),
    doc="The step of Heaviside: 0 below 0, 1 above, and b where a is 0.",
)  # fmt: skip


@composite(
    formula="min(max(x, l), u)",
    method="clip",
    samples=lambda: [((np.linspace(-2, 2, 8) + 0.1,), {"min": -1.0, "max": 1.0})],
    formula_view=lambda x, y, min, max: (
        {"x": x, "l": -np.inf if min is None else min, "u": np.inf if max is None else max},
        y,
    ),
)
def clip(x: Tensor, /, min: float | None = None, max: float | None = None) -> Tensor:
    """x where it lies in [min, max], else the nearer end; the derivative is 1 inside, 0 outside.

    At an end the derivative is 1, as in PyTorch. An end that is NaN makes NaN, as in NumPy.

    >>> import chainrule as cr
    >>> cr.clip(cr.asarray([-2.0, 0.5, 2.0]), -1.0, 1.0)
    tensor([-1. ,  0.5,  1. ])
    """
    if min is not None:
        x = _nearer(x, min, less)
    if max is not None:
        x = _nearer(x, max, greater)
    return +x if min is None and max is None else x


def _nearer(x: Tensor, end: Any, beyond: Elementwise) -> Tensor:
    """The end where x lies beyond it, or where it is NaN."""
    from chainrule.ops.choosing import where

    outside = beyond(x, end)
    if isinstance(end, (Tensor, np.ndarray)):
        outside = outside | not_equal(end, end)
    elif end != end:
        outside = outside | True
    return where(outside, end, x)


def _compare(name: str, forward: np.ufunc, sign: str, operator: str, accepts: str) -> Elementwise:
    return elementwise(
        name, forward, formula=f"a {sign} b", accepts=accepts, result="bool", derivative=None,
        operator=operator, doc=f"Whether a {sign} b.",
    )  # fmt: skip


equal = _compare("equal", np.equal, "=", "eq", "any")
not_equal = _compare("not_equal", np.not_equal, "≠", "ne", "any")
less = _compare("less", np.less, "<", "lt", "ordered")
less_equal = _compare("less_equal", np.less_equal, "≤", "le", "ordered")
greater = _compare("greater", np.greater, ">", "gt", "ordered")
greater_equal = _compare("greater_equal", np.greater_equal, "≥", "ge", "ordered")


def _test(name: str, forward: np.ufunc, formula: str, meaning: str) -> Elementwise:
    return elementwise(
        name, forward, formula=formula, accepts="any", result="bool", derivative=None,
        doc=f"Whether x is {meaning}.",
    )  # fmt: skip


isnan = _test("isnan", np.isnan, "x ≠ x", "not a number")
isinf = _test("isinf", np.isinf, "abs(x) = ∞", "infinite")
signbit = elementwise(
    "signbit", np.signbit, formula="whether x < 0, or x is −0 or a negative NaN", accepts="real",
    result="bool", derivative=None, display_only=True,
    doc="Whether the sign of x is negative, that of −0 and of NaN included.",
)  # fmt: skip
isfinite = _test("isfinite", np.isfinite, "abs(x) < ∞", "neither infinite nor not a number")


def _logical(name: str, forward: np.ufunc, formula: str) -> Elementwise:
    return elementwise(
        name, forward, formula=formula, accepts="bool", result="bool", derivative=None,
        doc=f"{formula}, of booleans.",
    )  # fmt: skip


logical_and = _logical("logical_and", np.logical_and, "a and b")
logical_or = _logical("logical_or", np.logical_or, "a or b")
logical_xor = _logical("logical_xor", np.logical_xor, "a ≠ b")
logical_not = _logical("logical_not", np.logical_not, "not x")


def _bitwise(name: str, forward: np.ufunc, formula: str, operator: str) -> Elementwise:
    return elementwise(
        name, forward, formula=formula, accepts="bits", derivative=None, operator=operator,
        doc=f"{formula}, bit by bit; of booleans, the logical operation.",
    )  # fmt: skip


bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "bitand(a, b)", "and")
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "bitor(a, b)", "or")
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "bitxor(a, b)", "xor")
bitwise_invert = _bitwise("bitwise_invert", np.bitwise_not, "bitnot(x)", "invert")


def _shift(name: str, shift: np.ufunc, formula: str, operator: str) -> Elementwise:
    def forward(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if np.any(np.less(b, 0)):
            raise DTypeError(f"bits are shifted by 0 or more; here is {np.min(b)}")
        return shift(a, b)

    return elementwise(
        name, forward, formula=formula, accepts="integer", derivative=None, operator=operator,
        doc=f"{formula}: the bits of a moved by b places; DTypeError where b is negative.",
    )  # fmt: skip


bitwise_left_shift = _shift("bitwise_left_shift", np.left_shift, "a · 2^b", "lshift")
bitwise_right_shift = _shift("bitwise_right_shift", np.right_shift, "floor(a / 2^b)", "rshift")
