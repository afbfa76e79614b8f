"""Logarithmic forms of probability, exponential integrals, Lambert's and Airy's functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops.borrowed import borrowed, in_own_dtype
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import NONZERO, POSITIVE, REALS, Interval
from chainrule.ops.exponential import _check_real, exp, log, log1p
from chainrule.tensor.tensor import Tensor

NAMESPACE = "special"
ALSO_IN = {"": ("logit",)}
INTERNAL = ("airy_ai_slope",)

entr = elementwise(
    "entr", borrowed("entr"), formula="0 if x = 0 else −x · log(x)", accepts="real float",
    domain=POSITIVE, derivative=lambda x, y: -log(x) - 1, flops=12,
    doc="−x log x, which is 0 at 0 and −∞ below: a probability's share of the entropy, in nats.",
)  # fmt: skip
logit = elementwise(
    "logit", borrowed("logit", "p"), formula="log(p / (1 − p))", accepts="real float",
    domain=Interval(0.0, 1.0, extremes=(0.0, 1.0, 0.5, 1e-30, -1.0, np.nan)), flops=12,
    derivative=lambda p, y: 1 / (p * (1 - p)),
    doc="log(p / (1 − p)), the inverse of sigmoid: log-odds.",
)  # fmt: skip


@composite(
    formula="0 if a = 0 else a · log1p(b)",
    check=_check_real,
    samples=lambda: [((np.array([0.5, 1.0, 2.0]), np.array([0.5, -0.5, 3.0])), {})],
)
def xlog1py(a: Tensor, b: Tensor, /) -> Tensor:
    """a · log(1 + b), which is 0 where a is 0, whatever b.

    >>> import chainrule as cr
    >>> cr.special.xlog1py(cr.asarray([0.0, 2.0]), cr.asarray([-1.0, 0.0]))
    tensor([0., 0.])
    """
    from chainrule.ops.choosing import where

    flat = (a == 0) & ((b <= -1) | (b == math.inf))
    return where(flat, 0.0, a * log1p(where(flat, 0.0, b)))


expi = elementwise(
    "expi", borrowed("expi"), formula="expi(x)", accepts="real float", domain=NONZERO, flops=40,
    derivative=lambda x, y: exp(x) / x,
    doc="Ei(x) = ∫_{−∞}^x exp(t) / t dt, the exponential integral.",
)  # fmt: skip
exp1 = elementwise(
    "exp1", borrowed("exp1"), formula="exp1(x)", accepts="real float", domain=POSITIVE, flops=40,
    derivative=lambda x, y: -exp(-x) / x,
    doc="E₁(x) = ∫ₓ^∞ exp(−t) / t dt, for x > 0.",
)  # fmt: skip


def _lambertw(x: np.ndarray) -> Any:
    from scipy import special

    def principal(x: np.ndarray) -> Any:
        w = special.lambertw(x)
        return np.where(w.imag == 0, w.real, np.nan)

    return in_own_dtype(principal, x)


lambertw = elementwise(
    "lambertw", _lambertw, formula="lambertw(x)", display_only=True, accepts="real float",
    domain=Interval(-0.3, 5.0, extremes=(0.0, 1e-30, 1e4, np.inf, np.nan)), flops=60,
    derivative=lambda x, y: exp(-y) / (1 + y), source="DLMF 4.13.4",
    doc="The w ≥ −1 with w · exp(w) = x, for x ≥ −1/e: Lambert's function, principal branch.",
)  # fmt: skip


def _airy(which: int) -> Any:
    def forward(x: np.ndarray) -> Any:
        from scipy import special

        return in_own_dtype(lambda x: special.airy(x)[which], x)

    return forward


airy_ai = elementwise(
    "airy_ai", _airy(0), formula="airy_ai(x)", display_only=True, accepts="real float",
    domain=REALS, derivative=lambda x, y: airy_ai_slope(x), flops=60, source="DLMF 9.2.1",
    doc="Ai(x), Airy's function: the solution of y″ = x y that vanishes as x grows.",
)  # fmt: skip
airy_ai_slope = elementwise(
    "airy_ai_slope", _airy(1), formula="Ai′(x)", display_only=True, accepts="real float",
    domain=REALS, derivative=lambda x, y: x * airy_ai(x), flops=60,
    doc="Ai′(x), the derivative of Airy's function.",
)  # fmt: skip
