"""Draws by rejection, and inverses of distribution functions: uniform numbers in, variates out.

Each is a function of its parameters and of one uniform number, element by element. What is random
about a sample is only that number, so that compiled code, replays and `vmap` need to know nothing
of it. Where rejection needs more numbers, they are Philox's, with the uniform number as counter.

A draw by rejection jumps when its parameters move, and has no derivative; the value that belongs to
the same probability has one, the implicit: from F(x; a) = p follows dx/da = −(∂F/∂a) / (∂F/∂x)
(Figurnov, Mohamed, Mnih 2018, arXiv:1805.08498).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.ops.borrowed import in_own_dtype
from chainrule.ops.choosing import where
from chainrule.ops.declare import elementwise
from chainrule.ops.domain import Interval, Whole
from chainrule.ops.exponential import exp
from chainrule.ops.gamma import digamma, gammaln
from chainrule.ops.incomplete import gammainc_by_shape
from chainrule.tensor.generator import philox
from chainrule.tensor.tensor import Tensor

INTERNAL = (
    "log_gammaincinv", "log_gamma_near", "log_gamma_from", "poisson_from", "poisson_quantile",
    "binomial_from", "binomial_quantile", "von_mises_from", "attempts",
)  # fmt: skip

TINY = -37.0
"""Below e^TINY, P(a, x) is xᵃ / Γ(a + 1) to every digit of float64."""

_PROBABILITY = Interval(0.05, 0.95, extremes=(0.0, 0.5, 1.0))
_SHAPE = Interval(0.2, 4.0, extremes=(1e-3, 1.0, 1e4))


def _log_gammaincinv(a: np.ndarray, p: np.ndarray) -> np.ndarray:
    from scipy import special

    def inverse(a: np.ndarray, p: np.ndarray) -> np.ndarray:
        small = (np.log(p) + special.gammaln(a + 1)) / a
        return np.where(small < TINY, small, np.log(special.gammaincinv(a, p)))

    return in_own_dtype(inverse, a, p)


def _log_slope(a: Tensor, y: Tensor) -> Tensor:
    """log ∂P(a, eʸ)/∂y = a y − eʸ − log Γ(a)."""
    return a * y - exp(y) - gammaln(a)


def _by_shape(a: Tensor, y: Tensor) -> Tensor:
    tiny = y < TINY
    z = where(tiny, 0.0, y)
    usual = -gammainc_by_shape(1, a, exp(z)) / exp(_log_slope(a, z))
    return where(tiny, (digamma(a + 1) - where(tiny, y, 0.0)) / a, usual)


log_gammaincinv = elementwise(
    "log_gammaincinv", _log_gammaincinv, formula="the y for which P(a, exp(y)) = p",
    domain=(_SHAPE, _PROBABILITY), flops=500, display_only=True, accepts="real float",
    derivative=(lambda a, p, y: _by_shape(a, y), lambda a, p, y: exp(-_log_slope(a, y))),
    doc="The logarithm of the quantile of a gamma variate of shape a and rate 1; where the "
    "quantile itself would round to 0 (small shapes) it keeps its digits.",
)  # fmt: skip


def _log_gamma_near(a: np.ndarray, p: np.ndarray, near: np.ndarray) -> np.ndarray:
    from scipy import special

    found = special.gammainc(a, np.exp(near)) == p
    result = np.broadcast_to(near, found.shape).copy()
    if not found.all():
        a, p = (np.broadcast_to(x, found.shape)[~found] for x in (a, p))
        result[~found] = _log_gammaincinv(a, p)
    return result.astype(np.result_type(a, p, near), copy=False)


log_gamma_near = elementwise(
    "log_gamma_near", _log_gamma_near, formula="the y for which P(a, exp(y)) = p",
    domain=(_SHAPE, _PROBABILITY, Interval(-1.0, 1.0)), flops=100, display_only=True,
    accepts="real float",
    derivative=(
        lambda a, p, near, y: _by_shape(a, y), lambda a, p, near, y: exp(-_log_slope(a, y)), 0.0,
    ),
    doc="As log_gammaincinv, where `near` is known to be the answer, or else does not matter: it "
    "gives draws their derivative.",
)  # fmt: skip


# Rejection


def attempts(u: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three new uniform numbers in (0, 1) for each u, and for each number of an attempt."""
    seed = (u.astype(np.float64) * 2.0**53).astype(np.uint64)
    counter = np.zeros((seed.size, 4), np.uint64)
    counter[:, 0], counter[:, 1] = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
    counter[:, 2] = np.uint64(number)
    words = philox((0x5EED, 0x1DEA), counter)
    fine = ((words[:, 0] << np.uint64(21)) ^ words[:, 1]) & np.uint64(2**53 - 1)
    return (
        (fine + 0.5) * 2.0**-53,
        (words[:, 2] + 0.5) * 2.0**-32,
        (words[:, 3] + 0.5) * 2.0**-32,
    )


_MOST = 300  # each proposal is taken with a probability of at least 0.6: no more are ever needed


def _by_rejection(
    propose: Callable[..., tuple[np.ndarray, np.ndarray]], u: np.ndarray, *parameters: np.ndarray
) -> np.ndarray:
    """The first of each element's proposals that is taken; NaN for parameters that have none.

    `propose` gives (values, which of them are taken) for parameters and three uniform numbers.
    """
    result = np.full(u.shape, np.nan)
    pending = np.flatnonzero(np.all(np.isfinite(parameters), axis=0))
    number = 0
    while pending.size and number < _MOST:
        drawn = attempts(u[pending], number)
        value, taken = propose(*(p[pending] for p in parameters), *drawn)
        result[pending[taken]] = value[taken]
        pending = pending[~taken]
        number += 1
    return result


def _flat(*arrays: np.ndarray) -> tuple[tuple[int, ...], np.dtype, list[np.ndarray]]:
    """(common shape, common dtype, all as float64 vectors)."""
    dtype = np.result_type(*arrays)
    wide = np.broadcast_arrays(*arrays)
    return wide[0].shape, dtype, [x.reshape(-1).astype(np.float64) for x in wide]


_BOOST = 2**31  # a number that no attempt has


def _propose_gamma(
    a: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Marsaglia, Tsang 2000, A simple method for generating gamma variables: (1 + c x)³ d."""
    d = a - 1 / 3
    x = np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
    cube = (1 + x / np.sqrt(9 * d)) ** 3
    log_cube = np.log(np.maximum(cube, 1e-300))
    taken = (cube > 0) & (np.log(w) < 0.5 * x * x + d - d * cube + d * log_cube)
    return np.log(d) + log_cube, taken


def _log_gamma(a: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Shapes below 1 are led back to a + 1, where X_a = X_(a + 1) U^(1/a)."""
    shape, dtype, (a, u) = _flat(a, u)
    a = np.where(a > 0, a, np.nan)
    small = a < 1
    result = _by_rejection(_propose_gamma, u, np.where(small, a + 1, a))
    if small.any():
        result[small] += np.log(attempts(u[small], _BOOST)[0]) / a[small]
    return result.reshape(shape).astype(dtype)


log_gamma_from = elementwise(
    "log_gamma_from", _log_gamma, formula="log of x with density x^(a − 1) · exp(−x) / gamma(a)",
    domain=(_SHAPE, _PROBABILITY), flops=200, derivative=None, display_only=True,
    accepts="real float",
    doc="The logarithm of a gamma variate of shape a, for a uniform number.",
    source="Marsaglia, Tsang 2000, ACM Transactions on Mathematical Software 26",
)  # fmt: skip


def _by_counting(
    u: np.ndarray, first: np.ndarray, step: Callable[[int, np.ndarray], np.ndarray]
) -> np.ndarray:
    """The k at which the sum of probabilities passes u: p_k = p_(k − 1) · step(k, which)."""
    count, p, total = np.zeros(u.shape), first.copy(), first.copy()
    pending = np.flatnonzero(u > total)
    k = 0
    while pending.size and k < 200:  # of counts with a mean below 10, more has no probability
        k += 1
        p[pending] *= step(k, pending)
        total[pending] += p[pending]
        count[pending] = k
        pending = pending[u[pending] > total[pending]]
    return count


def _propose_poisson(
    rate: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """PTRS: Hörmann 1993, The transformed rejection method for generating Poisson variables."""
    from scipy.special import gammaln as log_gamma

    b = 0.931 + 2.53 * np.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    u = u - 0.5
    us = 0.5 - np.abs(u)
    k = np.floor((2 * a / us + b) * u + rate + 0.43)
    quick = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
    never = (k < 0) | ((us < 0.013) & (v > us))
    bound = k * np.log(rate) - rate - log_gamma(np.maximum(k, 0) + 1)
    return k, quick | (~never & (np.log(v * inverse / (a / us**2 + b)) <= bound))


def _poisson(rate: np.ndarray, u: np.ndarray) -> np.ndarray:
    shape, dtype, (rate, u) = _flat(rate, u)
    many = rate >= 10
    result = np.full(u.shape, np.nan)
    result[many] = _by_rejection(_propose_poisson, u[many], rate[many])
    few = (rate >= 0) & ~many
    mean = rate[few]
    result[few] = _by_counting(u[few], np.exp(-mean), lambda k, which: mean[which] / k)
    return result.reshape(shape).astype(dtype)


poisson_from = elementwise(
    "poisson_from", _poisson, formula="a count k with probability rate^k · exp(−rate) / k!",
    domain=(Interval(0.1, 40.0), _PROBABILITY), flops=200, derivative=None, display_only=True,
    accepts="real float",
    doc="A Poisson count of a rate, for a uniform number.",
    source="Hörmann 1993, Insurance: Mathematics and Economics 12",
)  # fmt: skip


def _propose_binomial(
    n: np.ndarray, p: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """BTRS: Hörmann 1993, The generation of binomial random variates; p ≤ ½ and n p ≥ 10."""
    from scipy.special import gammaln as log_gamma

    spread = np.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    u = u - 0.5
    us = 0.5 - np.abs(u)
    k = np.floor((2 * a / us + b) * u + n * p + 0.5)
    quick = (us >= 0.07) & (v <= 0.92 - 4.2 / b)
    inside = (k >= 0) & (k <= n)
    j, m = np.clip(k, 0, n), np.floor((n + 1) * p)
    bound = log_gamma(m + 1) + log_gamma(n - m + 1) - log_gamma(j + 1) - log_gamma(n - j + 1)
    bound += (j - m) * np.log(p / (1 - p))
    size = np.log(v * (2.83 + 5.1 / b) * spread / (a / us**2 + b))
    return k, inside & (quick | (size <= bound))


def _binomial(n: np.ndarray, q: np.ndarray, u: np.ndarray) -> np.ndarray:
    shape, dtype, (n, q, u) = _flat(n, q, u)
    mirrored = q > 0.5
    p = np.where(mirrored, 1 - q, q)
    many = n * p >= 10
    result = np.full(u.shape, np.nan)
    result[many] = _by_rejection(_propose_binomial, u[many], n[many], p[many])
    few = (n * p >= 0) & ~many
    trials, odds = n[few], p[few] / (1 - p[few])
    found = _by_counting(
        u[few],
        np.exp(trials * np.log1p(-p[few])),
        lambda k, which: (trials[which] - k + 1) / k * odds[which],
    )
    result[few] = np.minimum(found, trials)
    return np.where(mirrored, n - result, result).reshape(shape).astype(dtype)


binomial_from = elementwise(
    "binomial_from", _binomial,
    formula="a count k with probability C(n, k) · q^k · (1 − q)^(n − k)",
    domain=(Whole(1, 90), _PROBABILITY, _PROBABILITY), flops=200, derivative=None,
    display_only=True, accepts="real float",
    doc="How many of n trials of probability q succeed, for a uniform number.",
    source="Hörmann 1993, Journal of Statistical Computation and Simulation 46",
)  # fmt: skip


def _propose_angle(
    kappa: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best, Fisher 1979: from a wrapped Cauchy variate; at worst 1.52 are needed on average."""
    tau = 1 + np.sqrt(1 + 4 * kappa**2)
    rho = (tau - np.sqrt(2 * tau)) / (2 * kappa)
    s = np.where(kappa < 1e-5, 1 / kappa, (1 + rho**2) / (2 * rho))  # else it loses its digits
    z = np.cos(np.pi * u)
    f = (1 + s * z) / (s + z)
    c = kappa * (s - f)
    taken = (c * (2 - c) > v) | (np.log(c / v) + 1 >= c)
    return np.where(w < 0.5, -1, 1) * np.arccos(np.clip(f, -1, 1)), taken


def _von_mises(k: np.ndarray, u: np.ndarray) -> np.ndarray:
    shape, dtype, (k, u) = _flat(k, u)
    k = np.where(k < 0, np.nan, np.maximum(k, 1e-30))  # 0, the uniform distribution, in the limit
    return _by_rejection(_propose_angle, u, k).reshape(shape).astype(dtype)


von_mises_from = elementwise(
    "von_mises_from", _von_mises, formula="an angle with density exp(k · cos(x)) / (2 · π · I(k))",
    domain=(_SHAPE, _PROBABILITY), flops=200, derivative=None, display_only=True,
    accepts="real float",
    doc="An angle from the von Mises distribution of concentration k, for a uniform number.",
    source="Best, Fisher 1979, Applied Statistics 28",
)  # fmt: skip


# Quantiles of counts


def _smallest(k: np.ndarray, reaches: np.ndarray) -> np.ndarray:
    """k, or k − 1 where the distribution function reaches p there already."""
    return np.where(reaches, np.maximum(k - 1, 0), k)


def _poisson_quantile(rate: np.ndarray, p: np.ndarray) -> np.ndarray:
    from scipy import special

    k = np.ceil(special.pdtrik(p, rate))
    k = _smallest(np.where(rate == 0, 0, k), (k > 0) & (special.pdtr(k - 1, rate) >= p))
    return np.where(p >= 1, np.where(rate == 0, 0, np.inf), k).astype(np.result_type(rate, p))


poisson_quantile = elementwise(
    "poisson_quantile", _poisson_quantile, formula="the smallest k with P(K ≤ k) ≥ p",
    domain=(_SHAPE, _PROBABILITY), flops=500, derivative=None, display_only=True,
    accepts="real float",
    doc="The quantile of the Poisson distribution with a rate. A count has no derivative.",
)  # fmt: skip


def _binomial_quantile(n: np.ndarray, q: np.ndarray, p: np.ndarray) -> np.ndarray:
    from scipy import special

    dtype = np.result_type(n, q, p)
    n, q, p = np.broadcast_arrays(n, q, p)
    inner = (q > 0) & (q < 1) & (n > 0)
    trials, safe = np.where(inner, n, 1), np.where(inner, q, 0.5)
    k = np.clip(np.ceil(special.bdtrik(p, trials, safe)), 0, trials)
    before = np.clip(k - 1, 0, None)
    reached = special.betainc(trials - before, before + 1, 1 - safe)
    k = _smallest(k, (k > 0) & (reached >= p))
    edge = np.where(q >= 1, n, 0)
    return np.where(inner, np.where(p >= 1, n, k), edge).astype(dtype)


binomial_quantile = elementwise(
    "binomial_quantile", _binomial_quantile, formula="the smallest k with P(K ≤ k) ≥ p",
    domain=(Whole(1, 9), _PROBABILITY, _PROBABILITY), flops=500, derivative=None,
    display_only=True, accepts="real float",
    doc="The quantile of the number of successes in n trials of probability q. A count has no "
    "derivative.",
)  # fmt: skip
