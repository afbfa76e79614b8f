"""The gamma function and what comes of it: its logarithm, polygammas, beta, zeta."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.borrowed import borrowed, in_own_dtype
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import Interval, Whole
from chainrule.tensor.tensor import Tensor

NAMESPACE = "special"
ALSO_IN = {"": ("digamma", "lgamma", "polygamma")}

_GAMMA = Interval(-2.9, 6.0, kinks=(-2.0, -1.0, 0.0), extremes=(0.0, 1e-30, -1.0, 1e4, np.nan))
_ABOVE_0 = Interval(0.3, 8.0, extremes=(0.0, 1e-30, 1e4, np.inf, np.nan))

gammaln = elementwise(
    "gammaln", borrowed("gammaln"), formula="gammaln(x)", accepts="real float", domain=_GAMMA,
    derivative=lambda x, y: digamma(x), flops=40,
    doc="log |Γ(x)|, the logarithm of the gamma function's modulus.",
)  # fmt: skip
lgamma = gammaln  # PyTorch's name
gamma = elementwise(
    "gamma", borrowed("gamma"), formula="gamma(x)", accepts="real float", domain=_GAMMA,
    derivative=lambda x, y: y * digamma(x), flops=40,
    doc="Γ(x) = ∫₀^∞ t^(x−1) exp(−t) dt, which is (x − 1)! at whole numbers.",
)  # fmt: skip
digamma = elementwise(
    "digamma", borrowed("digamma"), formula="digamma(x)", accepts="real float", domain=_GAMMA,
    derivative=lambda x, y: polygamma(1, x), flops=40,
    doc="ψ(x) = Γ′(x) / Γ(x).",
)  # fmt: skip


def _polygamma(n: Any, x: Any) -> Any:
    """(−1)^(n+1) n! ζ(n+1, x), and at negative x by the recurrence; SciPy's is for x > 0 alone."""
    from scipy import special

    def wide(n: Any, x: Any) -> Any:
        n, x = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(x, np.float64))
        whole = (n >= 0) & (n == np.floor(n))
        order = np.where(whole, n, 0.0)
        sign = np.where(order % 2 == 0, -1.0, 1.0)
        steps = np.where(np.isfinite(x), np.maximum(np.ceil(1 - x), 0), 0)
        with np.errstate(all="ignore"):
            # ψₙ(x) = ψₙ(x + k) − (−1)ⁿ n! Σ_{j<k} (x + j)^(−n−1): 1 ≤ x + k, k steps up.
            found = sign * special.gamma(order + 1) * special.zeta(order + 1, x + steps)
            found = np.where(order == 0, special.digamma(x), found)
            near = np.minimum(steps, _MOST_STEPS)
            for j in range(int(np.max(near, initial=0))):
                term = sign * special.gamma(order + 1) * (x + j) ** (-order - 1)
                found += np.where((order > 0) & (j < near), term, 0.0)
        pole = (x <= 0) & (x == np.floor(x))
        found = np.where(pole & (order > 0), np.where(order % 2 == 1, np.inf, np.nan), found)
        return np.where(whole & ((steps <= _MOST_STEPS) | (order == 0)), found, np.nan)

    return in_own_dtype(wide, n, x)


_MOST_STEPS = 4096
polygamma = elementwise(
    "polygamma", _polygamma, formula="polygamma(n, x)", accepts="real float",
    domain=(Whole(0, 3), _ABOVE_0), derivative=(None, lambda n, x, y: polygamma(n + 1, x)),
    flops=80, source="DLMF 5.15.1 and 5.15.5",
    doc="""The n-th derivative of digamma(x), for whole n ≥ 0; not a number for other n.

Below −4096 it is not a number, too, where n > 0.

>>> import chainrule as cr
>>> cr.special.polygamma(1, cr.asarray(1.0))  # π²/6
tensor(1.644934)
""",
)  # fmt: skip
zeta = elementwise(
    "zeta", borrowed("zeta", "s", "q"), formula="zeta(s, q)", accepts="real float",
    domain=(Whole(2, 5), _ABOVE_0), derivative=(None, lambda s, q, y: -s * zeta(s + 1, q)),
    flops=80, source="DLMF 25.11.17",
    doc="Hurwitz' zeta function Σ_k (k + q)^(−s), Riemann's at q = 1; differentiable in q.",
)  # fmt: skip


def _beta_slope(a: Tensor, b: Tensor) -> Tensor:
    return digamma(a) - digamma(a + b)


betaln = elementwise(
    "betaln", borrowed("betaln", "a", "b"), formula="betaln(a, b)", accepts="real float",
    domain=_ABOVE_0, flops=100,
    derivative=(lambda a, b, y: _beta_slope(a, b), lambda a, b, y: _beta_slope(b, a)),
    doc="log |B(a, b)|, exact where one of a and b is much larger than the other.",
)  # fmt: skip
beta = elementwise(
    "beta", borrowed("beta", "a", "b"), formula="beta(a, b)", accepts="real float",
    domain=_ABOVE_0, flops=100,
    derivative=(lambda a, b, y: y * _beta_slope(a, b), lambda a, b, y: y * _beta_slope(b, a)),
    doc="B(a, b) = Γ(a) Γ(b) / Γ(a + b).",
)  # fmt: skip


@composite(
    formula="d · (d − 1) / 4 · log(π) + Σ_j gammaln(a − j / 2)",
    display_only=True,
    samples=lambda: [
        ((np.array([3.5, 2.2]),), {"d": 3}),
        ((np.array(1.5),), {"d": 1}),
        ((np.zeros((0, 2)) + 3,), {"d": 2}),
    ],
)
def multigammaln(a: Tensor, /, d: int) -> Tensor:
    """The logarithm of the gamma function of d dimensions, log Γ_d(a), for a > (d − 1)/2.

    log Γ_d(a) = d(d − 1)/4 · log π + Σ_{j<d} log Γ(a − j/2): the normaliser of the Wishart
    distribution.

    Raises:
        DTypeError: d is no whole number of at least 1.

    >>> import chainrule as cr
    >>> cr.special.multigammaln(cr.asarray(1.0), 1).item()
    0.0
    """
    from chainrule.ops.reduction import sum
    from chainrule.ops.structure import expand_dims
    from chainrule.tensor.creation import asarray

    if not hasattr(d, "__index__") or d < 1:
        raise DTypeError(f"the number of dimensions d is a whole number from 1 on, not {d!r}")
    half = asarray([-j / 2 for j in range(d)])
    if a.dtype.kind == "f":
        half = half.astype(a.dtype)
    return sum(gammaln(expand_dims(a, -1) + half), -1) + d * (d - 1) / 4 * math.log(math.pi)
