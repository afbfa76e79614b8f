"""The normal distribution function and its relatives, exact in both tails."""

from __future__ import annotations

import math

import numpy as np

from chainrule.ops.borrowed import borrowed
from chainrule.ops.declare import elementwise
from chainrule.ops.domain import Interval
from chainrule.ops.exponential import exp

NAMESPACE = "special"

_ROOT_2PI = math.sqrt(2 * math.pi)
_PROBABILITY = Interval(0.0, 1.0, extremes=(0.0, 1.0, 1e-30, 0.5, np.nan))
_TAILS = Interval(-5.0, 3.0, extremes=(0.0, -1e4, 1e4, -30.0, 30.0, np.inf, -np.inf, np.nan))

erfcx = elementwise(
    "erfcx", borrowed("erfcx"), formula="erfcx(x)", accepts="real float", flops=30,
    derivative=lambda x, y: 2 * x * y - 2 / math.sqrt(math.pi),
    doc="exp(x²) · erfc(x), which neither over- nor underflows for x > 0.",
)  # fmt: skip
erfcinv = elementwise(
    "erfcinv", borrowed("erfcinv"), formula="erfcinv(x)", accepts="real float", flops=40,
    domain=Interval(0.0, 2.0, extremes=(0.0, 1.0, 2.0, 1e-30, np.nan)),
    derivative=lambda x, y: -math.sqrt(math.pi) / 2 * exp(y * y),
    doc="The x′ with erfc(x′) = x, exact for small x.",
)  # fmt: skip
ndtr = elementwise(
    "ndtr", borrowed("ndtr"), formula="ndtr(x)", accepts="real float", flops=30,
    derivative=lambda x, y: exp(-x * x / 2) / _ROOT_2PI,
    doc="Φ(x), the standard normal distribution function.",
)  # fmt: skip
log_ndtr = elementwise(
    "log_ndtr", borrowed("log_ndtr"), formula="log_ndtr(x)", accepts="real float", domain=_TAILS,
    # φ(x) / Φ(x) = √(2/π) / erfcx(−x/√2): no quotient of two small numbers
    derivative=lambda x, y: math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5)), flops=40,
    doc="log Φ(x), exact far in the lower tail too, where Φ(x) underflows.",
)  # fmt: skip
ndtri = elementwise(
    "ndtri", borrowed("ndtri", "p"), formula="ndtri(p)", accepts="real float", flops=40,
    domain=_PROBABILITY, derivative=lambda p, y: _ROOT_2PI * exp(y * y / 2),
    doc="The x with Φ(x) = p: the standard normal quantile function.",
)  # fmt: skip
