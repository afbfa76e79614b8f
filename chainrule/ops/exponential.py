"""Exponentials, logarithms, and the error function."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.borrowed import borrowed
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import POSITIVE, UNIT, Interval
from chainrule.tensor.tensor import Tensor

ALSO_IN = {"special": ("erf", "erfc", "erfinv", "exp2", "expm1", "log1p", "xlogy")}

exp = elementwise(
    "exp", np.exp, formula="exp(x)", method="exp", derivative=lambda x, y: y, flops=10,
    doc="e to the power x.",
)  # fmt: skip
exp2 = elementwise(
    "exp2", np.exp2, formula="2^x", derivative=lambda x, y: y * math.log(2), flops=10,
    doc="2 to the power x.",
)  # fmt: skip


def _expm1(x: np.ndarray) -> np.ndarray:
    if x.dtype.kind != "c":
        return np.expm1(x)
    # exp(a + bj) − 1 = expm1(a) cos b − 2 sin²(b / 2) + exp(a) sin b j: exact near 0, and at
    # infinities, but for three cases, what the standard has.
    a, b = x.real, x.imag
    wild = np.isinf(a) & ~np.isfinite(b)
    grown = np.expm1(a)
    y = np.empty_like(x)
    y.real = grown * np.cos(b) - 2 * np.square(np.sin(b / 2))
    y.real = np.where(wild, grown, np.where(b == 0, grown + 0, y.real))  # −0 + 0 is 0
    y.imag = np.where(b == 0, b, np.where(wild & (a < 0), 0, np.exp(a) * np.sin(b)))
    return y


expm1 = elementwise(
    "expm1", _expm1, formula="expm1(x)", derivative=lambda x, y: y + 1, flops=12,
    doc="exp(x) − 1, exact near 0.",
)  # fmt: skip
log = elementwise(
    "log", np.log, formula="log(x)", method="log", domain=POSITIVE,
    derivative=lambda x, y: 1 / x, flops=10, doc="The natural logarithm.",
)  # fmt: skip
log2 = elementwise(
    "log2", np.log2, formula="log(x) / log(2)", domain=POSITIVE,
    derivative=lambda x, y: 1 / (x * math.log(2)), flops=10, doc="The logarithm to base 2.",
)  # fmt: skip
log10 = elementwise(
    "log10", np.log10, formula="log(x) / log(10)", domain=POSITIVE,
    derivative=lambda x, y: 1 / (x * math.log(10)), flops=10, doc="The logarithm to base 10.",
)  # fmt: skip
log1p = elementwise(
    "log1p", np.log1p, formula="log1p(x)", domain=Interval(-0.9, 4.0, extremes=(0.0, 1e-30, -1.0)),
    derivative=lambda x, y: 1 / (1 + x), flops=12, doc="log(1 + x), exact near 0.",
)  # fmt: skip


def _softmax_pair(a: Tensor, b: Tensor) -> Tensor:
    from chainrule.ops.activation import sigmoid

    return sigmoid(a - b)


logaddexp = elementwise(
    "logaddexp", np.logaddexp, formula="log(exp(a) + exp(b))", accepts="real float", flops=25,
    derivative=(lambda a, b, y: _softmax_pair(a, b), lambda a, b, y: _softmax_pair(b, a)),
    doc="log(exp(a) + exp(b)), without overflow.",
)  # fmt: skip
_LN_2 = math.log(2.0)
logaddexp2 = elementwise(
    "logaddexp2", np.logaddexp2, formula="log(2^a + 2^b) / 0.6931471805599453", flops=25,
    accepts="real float",
    derivative=(
        lambda a, b, y: _softmax_pair(a * _LN_2, b * _LN_2),
        lambda a, b, y: _softmax_pair(b * _LN_2, a * _LN_2),
    ),
    doc="log₂(2ᵃ + 2ᵇ), without overflow.",
)  # fmt: skip


_2_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
erf = elementwise(
    "erf", borrowed("erf"), formula="erf(x)", method="erf", flops=20,
    derivative=lambda x, y: _2_OVER_SQRT_PI * exp(-x * x),
    doc="The error function (2/√π) ∫₀ˣ exp(−t²) dt.",
)  # fmt: skip
erfc = elementwise(
    "erfc", borrowed("erfc"), formula="erfc(x)", flops=20,
    derivative=lambda x, y: -_2_OVER_SQRT_PI * exp(-x * x),
    doc="1 − erf(x), exact for large x.",
)  # fmt: skip
erfinv = elementwise(
    "erfinv", borrowed("erfinv"), formula="erfinv(x)", accepts="real float", domain=UNIT, flops=30,
    derivative=lambda x, y: exp(y * y) / _2_OVER_SQRT_PI,
    doc="The x′ with erf(x′) = x.",
)  # fmt: skip


def _check_real(*operands: Tensor) -> None:
    if any(x.dtype.kind == "c" for x in operands):
        raise DTypeError("it is of real numbers; of complex ones write a * cr.log(b)")


@composite(
    formula="0 if a = 0 else a · log(b)",
    check=_check_real,
    samples=lambda: [((np.array([0.5, 1.0, 2.0]), np.array([0.5, 2.0, 3.0])), {})],
)
def xlogy(a: Tensor, b: Tensor, /) -> Tensor:
    """a · log(b), which is 0 where a is 0, whatever b.

    >>> import chainrule as cr
    >>> cr.xlogy(cr.asarray([0.0, 2.0]), cr.asarray([0.0, 1.0]))
    tensor([0., 0.])
    """
    from chainrule.ops.choosing import where

    # Only where log b is infinite or NaN: elsewhere the derivative in a is log b at a = 0, too.
    flat = (a == 0) & ((b <= 0) | (b == math.inf))
    return where(flat, 0.0, a * log(where(flat, 1.0, b)))
