"""Exponentials, logarithms, and the error function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import POSITIVE, UNIT, Interval
from chainrule.tensor.tensor import Tensor

exp = elementwise(
    "exp", np.exp, formula="exp(x)", method="exp", derivative=lambda x, y: y, flops=10,
    doc="e to the power x.",
)  # fmt: skip
exp2 = elementwise(
    "exp2", np.exp2, formula="2^x", derivative=lambda x, y: y * math.log(2), flops=10,
    doc="2 to the power x.",
)  # fmt: skip
expm1 = elementwise(
    "expm1", np.expm1, formula="expm1(x)", derivative=lambda x, y: y + 1, flops=12,
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
    "logaddexp", np.logaddexp, formula="log(exp(a) + exp(b))", flops=25,
    derivative=(lambda a, b, y: _softmax_pair(a, b), lambda a, b, y: _softmax_pair(b, a)),
    doc="log(exp(a) + exp(b)), without overflow.",
)  # fmt: skip


def _special(name: str) -> Any:
    def forward(x: np.ndarray) -> np.ndarray:
        import scipy.special  # loaded only when a special function is used

        return getattr(scipy.special, name)(x)

    return forward


_2_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
erf = elementwise(
    "erf", _special("erf"), formula="erf(x)", method="erf", flops=20,
    derivative=lambda x, y: _2_OVER_SQRT_PI * exp(-x * x),
    doc="The error function (2/√π) ∫₀ˣ exp(−t²) dt.",
)  # fmt: skip
erfc = elementwise(
    "erfc", _special("erfc"), formula="erfc(x)", flops=20,
    derivative=lambda x, y: -_2_OVER_SQRT_PI * exp(-x * x),
    doc="1 − erf(x), exact for large x.",
)  # fmt: skip
erfinv = elementwise(
    "erfinv", _special("erfinv"), formula="erfinv(x)", domain=UNIT, flops=30,
    derivative=lambda x, y: exp(y * y) / _2_OVER_SQRT_PI,
    doc="The x′ with erf(x′) = x.",
)  # fmt: skip


@composite(
    formula="0 if a = 0 else a · log(b)",
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
