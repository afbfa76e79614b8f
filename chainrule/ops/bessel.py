"""Bessel functions: of orders 0 and 1 by themselves, and of any order; sinc.

Derivatives are by the recurrences DLMF 10.6 and 10.29. There is none in the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.ops.arithmetic import sign
from chainrule.ops.borrowed import borrowed, in_own_dtype
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import REALS, Interval, Whole, sampled
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.trigonometry import cos
from chainrule.tensor.tensor import Tensor

NAMESPACE = "special"
ALSO_IN = {"": ("i0", "sinc")}

_POSITIVE = Interval(0.1, 6.0, extremes=(0.0, 1e-30, 1e4, np.inf, np.nan))
_SAFE = Interval(-4.0, 4.0, kinks=(0.0,), extremes=(0.0, 1e-30, 30.0, -30.0, np.nan))


def _over(y: Tensor, x: Tensor) -> Tensor:
    """y / x for a y that is x/2 near 0."""
    return where(x == 0, 0.5, y / where(x == 0, 1.0, x))


def _bessel(name: str, doc: str, domain: Interval, derivative: Any, scipy: str = "") -> Elementwise:
    return elementwise(
        name, borrowed(scipy or name), formula=f"{scipy or name}(x)", accepts="real float",
        domain=domain, derivative=derivative, flops=40, doc=doc,
    )  # fmt: skip


bessel_j0 = _bessel(
    "bessel_j0", "J₀(x), the Bessel function of the first kind of order 0.", REALS,
    lambda x, y: -bessel_j1(x), "j0",
)  # fmt: skip
bessel_j1 = _bessel(
    "bessel_j1", "J₁(x), the Bessel function of the first kind of order 1.", _SAFE,
    lambda x, y: bessel_j0(x) - _over(y, x), "j1",
)  # fmt: skip
bessel_y0 = _bessel(
    "bessel_y0", "Y₀(x), the Bessel function of the second kind of order 0.", _POSITIVE,
    lambda x, y: -bessel_y1(x), "y0",
)  # fmt: skip
bessel_y1 = _bessel(
    "bessel_y1", "Y₁(x), the Bessel function of the second kind of order 1.", _POSITIVE,
    lambda x, y: bessel_y0(x) - y / x, "y1",
)  # fmt: skip
i0 = _bessel(
    "i0", "I₀(x), the modified Bessel function of the first kind of order 0.", REALS,
    lambda x, y: i1(x),
)  # fmt: skip
i0e = _bessel(
    "i0e", "exp(−|x|) · I₀(x), which does not overflow.", _SAFE,
    lambda x, y: i1e(x) - sign(x) * y,
)  # fmt: skip
i1 = _bessel(
    "i1", "I₁(x), the modified Bessel function of the first kind of order 1.", _SAFE,
    lambda x, y: i0(x) - _over(y, x),
)  # fmt: skip
i1e = _bessel(
    "i1e", "exp(−|x|) · I₁(x), which does not overflow.", _SAFE,
    lambda x, y: i0e(x) - sign(x) * y - _over(y, x),
)  # fmt: skip
k0 = _bessel(
    "k0", "K₀(x), the modified Bessel function of the second kind of order 0.", _POSITIVE,
    lambda x, y: -k1(x),
)  # fmt: skip
k0e = _bessel(
    "k0e", "exp(x) · K₀(x), which does not underflow.", _POSITIVE, lambda x, y: y - k1e(x),
)  # fmt: skip
k1 = _bessel(
    "k1", "K₁(x), the modified Bessel function of the second kind of order 1.", _POSITIVE,
    lambda x, y: -k0(x) - y / x,
)  # fmt: skip
k1e = _bessel(
    "k1e", "exp(x) · K₁(x), which does not underflow.", _POSITIVE,
    lambda x, y: y - k0e(x) - y / x,
)  # fmt: skip


def _of_order(name: str, doc: str, derivative: Callable[..., Any]) -> Elementwise:
    return elementwise(
        name, borrowed(name, "v", "x"), formula=f"{name}(v, x)", accepts="real float",
        domain=(Whole(0, 3), _POSITIVE), derivative=(None, derivative), flops=100,
        doc=f"{doc}; differentiable in x.",
    )  # fmt: skip


jv = _of_order(
    "jv", "J_v(x), the Bessel function of the first kind of order v",
    lambda v, x, y: (jv(v - 1, x) - jv(v + 1, x)) / 2,
)  # fmt: skip
yv = _of_order(
    "yv", "Y_v(x), the Bessel function of the second kind of order v",
    lambda v, x, y: (yv(v - 1, x) - yv(v + 1, x)) / 2,
)  # fmt: skip
iv = _of_order(
    "iv", "I_v(x), the modified Bessel function of the first kind of order v",
    lambda v, x, y: (iv(v - 1, x) + iv(v + 1, x)) / 2,
)  # fmt: skip
ive = _of_order(
    "ive", "exp(−|x|) · I_v(x), which does not overflow",
    lambda v, x, y: (ive(v - 1, x) + ive(v + 1, x)) / 2 - sign(x) * y,
)  # fmt: skip
kv = _of_order(
    "kv", "K_v(x), the modified Bessel function of the second kind of order v",
    lambda v, x, y: (kv(v - 1, x) + kv(v + 1, x)) / -2,
)  # fmt: skip
kve = _of_order(
    "kve", "exp(x) · K_v(x), which does not underflow",
    lambda v, x, y: (kve(v - 1, x) + kve(v + 1, x)) / -2 + y,
)  # fmt: skip


def _sinc_slope(x: Tensor, y: Tensor) -> Tensor:
    # (cos πx − sinc x) / x loses its digits near 0; there Σ_k (−1)^k 2k π^2k x^(2k−1) / (2k+1)!.
    small = (x < 0.1) & (x > -0.1)
    far = where(small, 1.0, x)
    square = x * x
    series = _series(square) * x
    return where(small, series, (cos(far * math.pi) - y) / far)


def _series(square: Tensor) -> Tensor:
    """d sinc / dx divided by x, as a polynomial in x²; its error is below 1e-17 for |x| < 0.1."""
    total: Any = 0.0
    for k in range(6, 0, -1):
        total = total * square + (-1) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1)
    return total


sinc = elementwise(
    "sinc", lambda x: in_own_dtype(np.sinc, x), formula="1 if x = 0 else sin(π · x) / (π · x)",
    accepts="real float", derivative=_sinc_slope, flops=20,
    doc="sin(πx) / (πx), which is 1 at 0.",
)  # fmt: skip


@composite(
    formula="1 if x = 0 else sin(x) / x",
    samples=lambda: [((sampled(2, 3),), {}), ((np.zeros(()),), {}), ((sampled(0, 2),), {})],
)
def spherical_bessel_j0(x: Tensor, /) -> Tensor:
    """sin(x) / x, the spherical Bessel function of the first kind of order 0."""
    return sinc(x / math.pi)
