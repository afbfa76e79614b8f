"""The incomplete gamma and beta functions, with derivatives of every order in all operands.

The regularised functions are distribution functions: P(a, x) is that of the gamma distribution and
I_x(a, b) that of the beta. So a derivative in a shape is an expectation over a tail,

    ∂P/∂a = P(a, x) · (E[log t | t ≤ x] − ψ(a)),

and of higher order that of a complete Bell polynomial in the derivatives of the log-density. The
tail below x, or above, where that is the smaller one, is integrated by Gauss and Legendre's rule in
log t (of beta in logit t), in which the log-density is concave, over the window where it comes
within 40 of its end: there it is smooth at any size of the shapes. Of shapes below 1 the
tail is wide; the recurrence P(a, x) = P(a + 1, x) + x^a exp(−x) / Γ(a + 1) leads them above.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import comb
from typing import Any

import numpy as np

from chainrule.ops.borrowed import borrowed
from chainrule.ops.declare import elementwise
from chainrule.ops.domain import Interval, Whole

NAMESPACE = "special"
INTERNAL = (
    "gammainc_by_shape", "gamma_density", "betainc_by_shapes", "beta_density",
)  # fmt: skip

_DROP = 40.0  # exp(−40) is below float64's rounding
_NEWTON = 24  # each halves the distance to the window's end; far ends are within 2^24 widths
_BLOCK = 4096
_SHAPE = Interval(0.3, 6.0)
_POINT = Interval(0.1, 8.0)
_FRACTION = Interval(0.0, 1.0)
_ORDER = Whole(1, 2)

Array = np.ndarray


@cache
def _rule() -> tuple[Array, Array]:
    """64 nodes and weights of Gauss and Legendre's rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return (nodes + 1) / 2, weights / 2


def _bell(m: int, n: int, slope: Callable[[int, int], Any]) -> Any:
    """∂^m/∂a^m ∂^n/∂b^n exp(f) / exp(f), where slope(i, j) is ∂^i/∂a^i ∂^j/∂b^j f."""
    if m < 0 or n < 0:
        return 0.0
    if n > 0:  # b's order down first: exp(f)_n+1 = (f′ exp(f))_n by Leibniz' rule
        return sum(
            comb(n - 1, j) * comb(m, i) * slope(i, j + 1) * _bell(m - i, n - 1 - j, slope)
            for j in range(n)
            for i in range(m + 1)
        )
    if m > 0:
        return sum(comb(m - 1, i) * slope(i + 1, 0) * _bell(m - 1 - i, 0, slope) for i in range(m))
    return 1.0


def _polygamma(order: int, x: Array) -> Array:
    from scipy import special

    return special.digamma(x) if order == 0 else special.polygamma(order, x)


def _window(height: Callable[[Array], Array], slope: Callable[[Array], Array], far: Array) -> Array:
    """Where the log-density has dropped by 40, by Newton's method from beyond (it is concave)."""
    v = far
    for _ in range(_NEWTON):
        step = (height(v) + _DROP) / slope(v)
        v = v - np.where(np.isfinite(step), step, 0.0)
    return v


def _mean(width: Array, height: Callable[[Array], Array], what: Callable[[Array], Any]) -> Array:
    """The mean of `what` under exp(height) on [0, width] (or [width, 0])."""
    nodes, weights = _rule()
    v = width[:, None] * nodes
    density = np.exp(height(v)) * weights
    return np.sum(density * what(v), 1) / np.sum(density, 1)


def _by_gamma_shape(n: int, a: Array, x: Array) -> Array:
    """∂^n P(a, x) / ∂a^n of vectors a ≥ 0 and x > 0."""
    from scipy import special

    low = x <= np.where(a < 1, a + 1, a)  # the mode of log t, and the smaller tail
    shift = low & (a < 1)
    s = np.where(shift, a + 1, a)

    def height(v: Array) -> Array:
        wide = v.ndim > 1
        s_, x_ = (s[:, None], x[:, None]) if wide else (s, x)
        return s_ * v - x_ * np.expm1(v)

    far = np.where(low, -(_DROP + x) / s, np.minimum(_DROP / (x - s), np.sqrt(2 * _DROP / x)))
    width = _window(height, lambda v: s - x * np.exp(v), far)

    def bell(log_t: Array, shape: Array) -> Any:
        column = shape[:, None] if log_t.ndim > 1 else shape
        return _bell(n, 0, lambda i, _: (log_t if i == 1 else 0.0) - _polygamma(i - 1, column))

    mean = _mean(width, height, lambda v: bell(np.log(x)[:, None] + v, s))
    y = np.where(low, special.gammainc(s, x), -special.gammaincc(s, x)) * mean
    step = np.exp(a * np.log(x) - x - special.gammaln(a + 1)) * bell(np.log(x), a + 1)
    return np.where(shift, y + step, y)


def _by_beta_shapes(m: int, n: int, a: Array, b: Array, x: Array) -> Array:
    """∂^m/∂a^m ∂^n/∂b^n I_x(a, b) of vectors a, b > 0 and 0 < x < 1."""
    start = np.where(a < 1, a + 1, a)
    low = x <= start / (start + b)
    y = np.empty(x.shape)
    y[low] = _lower_beta(m, n, a[low], b[low], x[low], 1 - x[low])
    y[~low] = -_lower_beta(n, m, b[~low], a[~low], 1 - x[~low], x[~low])
    return y


def _lower_beta(m: int, n: int, a: Array, b: Array, x: Array, rest: Array) -> Array:
    """The same where x is not above the mode; `rest` is 1 − x, exact where x is near 1."""
    from scipy import special

    shift = a < 1
    s = np.where(shift, a + 1, a)

    def height(v: Array) -> Array:
        s_, b_, x_ = (p[:, None] if v.ndim > 1 else p for p in (s, b, x))
        return s_ * v - (s_ + b_) * np.log1p(x_ * np.expm1(v))

    def slope(v: Array) -> Array:
        return s - (s + b) * x * np.exp(v) / (1 + x * np.expm1(v))

    # log(1 + x (e^v − 1)) ≥ log(1 − x), so that height(v) ≤ s v − (s + b) log(1 − x).
    width = _window(height, slope, ((s + b) * np.log(rest) - _DROP) / s)

    def bell(log_t: Array, log_rest: Array, first: Array) -> Any:
        a_, b_ = (p[:, None] if log_t.ndim > 1 else p for p in (first, b))
        total = a_ + b_ if first is s else a_ - 1 + b_

        def derivative(i: int, j: int) -> Array:
            found = _polygamma(i + j - 1, total)
            if j == 0:
                found = found - _polygamma(i - 1, a_) + (log_t if i == 1 else 0.0)
            if i == 0:
                found = found - _polygamma(j - 1, b_) + (log_rest if j == 1 else 0.0)
            return found

        return _bell(m, n, derivative)

    def what(v: Array) -> Any:
        grown = np.log1p(x[:, None] * np.expm1(v))
        return bell(np.log(x)[:, None] + v - grown, np.log(rest)[:, None] - grown, s)

    mean = _mean(width, height, what)
    y = np.where(rest < x, special.betaincc(b, s, rest), special.betainc(s, b, x)) * mean
    log_step = a * np.log(x) + b * np.log(rest) - np.log(a) - special.betaln(a, b)
    step = np.exp(log_step) * bell(np.log(x), np.log(rest), a + 1)
    return np.where(shift, y + step, y)


def _each(orders: int, inside: Callable[..., Array], function: Callable[..., Array]) -> Any:
    """A forward of (orders, operands) from a function of plain orders and float64 vectors.

    Not a number where an operand or an order is none that the function has, and 0 at the ends of
    the range, where P and I are 0 or 1 whatever the shapes.
    """

    def forward(*values: Any) -> Any:
        dtype = next(v.dtype for v in values if isinstance(v, np.ndarray))
        arrays = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values))
        shape = arrays[0].shape
        flat = [v.reshape(-1) for v in arrays]
        state = inside(*flat[orders:])  # 1 inside, 0 at an end, NaN outside
        y = np.where(state == 1, np.nan, state * 0.0)
        with np.errstate(all="ignore"):
            chosen = np.flatnonzero(state == 1)
            keys = np.stack([v[chosen] for v in flat[:orders]])
            for key in np.unique(keys, axis=1).T:
                same = chosen[np.all(keys == key[:, None], 0)]
                if not np.all(key == np.floor(key)):
                    continue
                for i in range(0, len(same), _BLOCK):
                    block = same[i : i + _BLOCK]
                    y[block] = function(*map(int, key), *(v[block] for v in flat[orders:]))
        return y.reshape(shape).astype(dtype)

    return forward


def _in_gamma_range(a: Array, x: Array) -> Array:
    state = np.where((x == 0) | (x == np.inf), 0.0, 1.0)
    return np.where((a >= 0) & (x >= 0) & (a < np.inf), state, np.nan)


def _in_beta_range(a: Array, b: Array, x: Array) -> Array:
    state = np.where((x == 0) | (x == 1), 0.0, 1.0)
    right = (a > 0) & (b > 0) & (x >= 0) & (x <= 1) & (a < np.inf) & (b < np.inf)
    return np.where(right, state, np.nan)


def _named(forward: Callable[..., Any], *names: str) -> Callable[..., Any]:
    import inspect

    only = inspect.Parameter.POSITIONAL_ONLY
    forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, only) for name in names]
    )
    return forward


def _log_gamma_density(a: Array, x: Array) -> Array:
    """a log x − x − log Γ(a) − log x; of a large a by Stirling's series, which loses no digits."""
    from scipy import special

    plain = special.xlogy(a - 1, x) - x - special.gammaln(a)
    big = np.maximum(a, 20.0)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / big**2) / big**2) / big**2) / big
    apart = (x - big) / big
    near = big * (np.log1p(apart) - apart) + np.log(big / (2 * np.pi)) / 2 - series - np.log(x)
    return np.where((a >= 20) & (x > 0) & (x < np.inf), near, plain)


def _gamma_density(n: int, a: Array, x: Array) -> Array:
    found = np.exp(_log_gamma_density(a, x))
    if n == 0:
        return found
    log_x = np.log(x)
    return found * _bell(n, 0, lambda i, _: (log_x if i == 1 else 0.0) - _polygamma(i - 1, a))


def _beta_density(m: int, n: int, a: Array, b: Array, x: Array) -> Array:
    from scipy import special

    log_density = special.xlogy(a - 1, x) + special.xlog1py(b - 1, -x) - special.betaln(a, b)

    def slope(i: int, j: int) -> Array:
        found = _polygamma(i + j - 1, a + b)
        if j == 0:
            found = found - _polygamma(i - 1, a) + (np.log(x) if i == 1 else 0.0)
        if i == 0:
            found = found - _polygamma(j - 1, b) + (np.log1p(-x) if j == 1 else 0.0)
        return found

    return np.exp(log_density) * _bell(m, n, slope)


def _always(*operands: Array) -> Array:
    return np.ones(operands[0].shape)


gamma_density = elementwise(
    "gamma_density", _named(_each(1, _always, _gamma_density), "n", "a", "x"),
    formula="n-th derivative in a of x^(a − 1) · exp(−x) / gamma(a)", display_only=True,
    accepts="real float", domain=(Whole(0, 2), _SHAPE, _POINT), flops=100,
    derivative=(
        None,
        lambda n, a, x, y: gamma_density(n + 1, a, x),
        lambda n, a, x, y: ((a - 1) / x - 1) * y + n * gamma_density(n - 1, a, x) / x,
    ),
    doc="The gamma distribution's density, differentiated n times in its shape a.",
)  # fmt: skip
gammainc_by_shape = elementwise(
    "gammainc_by_shape", _named(_each(1, _in_gamma_range, _by_gamma_shape), "n", "a", "x"),
    formula="n-th derivative in a of gammainc(a, x)", display_only=True,
    accepts="real float", domain=(_ORDER, _SHAPE, _POINT), flops=2000,
    derivative=(
        None,
        lambda n, a, x, y: gammainc_by_shape(n + 1, a, x),
        lambda n, a, x, y: gamma_density(n, a, x),
    ),
    doc="P(a, x) differentiated n ≥ 1 times in a.",
)  # fmt: skip
gammainc = elementwise(
    "gammainc", borrowed("gammainc", "a", "x"), formula="gammainc(a, x)", accepts="real float",
    domain=(_SHAPE, _POINT), flops=100,
    derivative=(
        lambda a, x, y: gammainc_by_shape(1, a, x), lambda a, x, y: gamma_density(0, a, x)
    ),
    doc="""P(a, x) = ∫₀ˣ t^(a−1) exp(−t) dt / Γ(a): the gamma distribution's distribution function.

Differentiable in both, to any order.

>>> import chainrule as cr
>>> a, x = cr.asarray(2.0), cr.asarray(3.0)
>>> cr.grad(cr.special.gammainc, argnums=(0, 1))(a, x)
(tensor(-0.19742543), tensor(0.14936121))
""",
)  # fmt: skip
gammaincc = elementwise(
    "gammaincc", borrowed("gammaincc", "a", "x"), formula="gammaincc(a, x)",
    accepts="real float", domain=(_SHAPE, _POINT), flops=100,
    derivative=(
        lambda a, x, y: -gammainc_by_shape(1, a, x), lambda a, x, y: -gamma_density(0, a, x)
    ),
    doc="Q(a, x) = 1 − P(a, x), exact where it is small.",
)  # fmt: skip
gammaincinv = elementwise(
    "gammaincinv", borrowed("gammaincinv", "a", "p"), formula="gammaincinv(a, p)",
    accepts="real float", domain=(_SHAPE, _FRACTION), flops=300,
    derivative=(
        lambda a, p, y: -gammainc_by_shape(1, a, y) / gamma_density(0, a, y),
        lambda a, p, y: 1 / gamma_density(0, a, y),
    ),
    doc="The x with P(a, x) = p: the gamma distribution's quantile function.",
)  # fmt: skip
gammainccinv = elementwise(
    "gammainccinv", borrowed("gammainccinv", "a", "q"), formula="gammainccinv(a, q)",
    accepts="real float", domain=(_SHAPE, _FRACTION), flops=300,
    derivative=(
        lambda a, q, y: -gammainc_by_shape(1, a, y) / gamma_density(0, a, y),
        lambda a, q, y: -1 / gamma_density(0, a, y),
    ),
    doc="The x with Q(a, x) = q.",
)  # fmt: skip

beta_density = elementwise(
    "beta_density", _named(_each(2, _always, _beta_density), "m", "n", "a", "b", "x"),
    formula="derivative of orders m, n in a, b of x^(a − 1) · (1 − x)^(b − 1) / beta(a, b)",
    display_only=True, accepts="real float", flops=200,
    domain=(Whole(0, 1), Whole(0, 1), _SHAPE, _SHAPE, _FRACTION),
    derivative=(
        None, None,
        lambda m, n, a, b, x, y: beta_density(m + 1, n, a, b, x),
        lambda m, n, a, b, x, y: beta_density(m, n + 1, a, b, x),
        lambda m, n, a, b, x, y: (
            ((a - 1) / x - (b - 1) / (1 - x)) * y
            + m * beta_density(m - 1, n, a, b, x) / x
            - n * beta_density(m, n - 1, a, b, x) / (1 - x)
        ),
    ),
    doc="The beta distribution's density, differentiated m times in a and n times in b.",
)  # fmt: skip
betainc_by_shapes = elementwise(
    "betainc_by_shapes",
    _named(_each(2, _in_beta_range, _by_beta_shapes), "m", "n", "a", "b", "x"),
    formula="derivative of orders m, n in a, b of betainc(a, b, x)", display_only=True,
    accepts="real float", flops=3000,
    domain=(_ORDER, Whole(0, 1), _SHAPE, _SHAPE, _FRACTION),
    derivative=(
        None, None,
        lambda m, n, a, b, x, y: betainc_by_shapes(m + 1, n, a, b, x),
        lambda m, n, a, b, x, y: betainc_by_shapes(m, n + 1, a, b, x),
        lambda m, n, a, b, x, y: beta_density(m, n, a, b, x),
    ),
    doc="I_x(a, b) differentiated m times in a and n times in b, m + n ≥ 1.",
)  # fmt: skip
betainc = elementwise(
    "betainc", borrowed("betainc", "a", "b", "x"), formula="betainc(a, b, x)",
    accepts="real float", domain=(_SHAPE, _SHAPE, _FRACTION), flops=200,
    derivative=(
        lambda a, b, x, y: betainc_by_shapes(1, 0, a, b, x),
        lambda a, b, x, y: betainc_by_shapes(0, 1, a, b, x),
        lambda a, b, x, y: beta_density(0, 0, a, b, x),
    ),
    doc="""I_x(a, b) = ∫₀ˣ t^(a−1) (1−t)^(b−1) dt / B(a, b): the beta's distribution function.

Differentiable in all three, to any order.

>>> import chainrule as cr
>>> cr.special.betainc(2.0, 2.0, 0.5).item()
0.5
""",
)  # fmt: skip
betaincc = elementwise(
    "betaincc", borrowed("betaincc", "a", "b", "x"), formula="betaincc(a, b, x)",
    accepts="real float", domain=(_SHAPE, _SHAPE, _FRACTION), flops=200,
    derivative=(
        lambda a, b, x, y: -betainc_by_shapes(1, 0, a, b, x),
        lambda a, b, x, y: -betainc_by_shapes(0, 1, a, b, x),
        lambda a, b, x, y: -beta_density(0, 0, a, b, x),
    ),
    doc="1 − I_x(a, b), exact where it is small.",
)  # fmt: skip
betaincc = elementwise(
    "betaincc", borrowed("betaincc", "a", "b", "x"), formula="betaincc(a, b, x)",
    accepts="real float", domain=(_SHAPE, _SHAPE, _FRACTION), flops=200,
    derivative=(
        lambda a, b, x, y: -betainc_by_shapes(1, 0, a, b, x),
        lambda a, b, x, y: -betainc_by_shapes(0, 1, a, b, x),
        lambda a, b, x, y: -beta_density(0, 0, a, b, x),
    ),
    doc="1 − I_x(a, b), exact where it is small.",
)  # fmt: skip
betaincinv = elementwise(
    "betaincinv", borrowed("betaincinv", "a", "b", "p"), formula="betaincinv(a, b, p)",
    accepts="real float", domain=(_SHAPE, _SHAPE, _FRACTION), flops=500,
    derivative=(
        lambda a, b, p, y: -betainc_by_shapes(1, 0, a, b, y) / beta_density(0, 0, a, b, y),
        lambda a, b, p, y: -betainc_by_shapes(0, 1, a, b, y) / beta_density(0, 0, a, b, y),
        lambda a, b, p, y: 1 / beta_density(0, 0, a, b, y),
    ),
    doc="The x with I_x(a, b) = p: the beta distribution's quantile function.",
)  # fmt: skip
