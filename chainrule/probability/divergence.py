"""The Kullback–Leibler divergence KL(p ‖ q) = E_p[log p(x) − log q(x)]: exact where a pair of
distributions has a formula, by a sum where the support is finite, else by samples, with their
standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, log
from chainrule.ops.gamma import betaln, digamma, gammaln, multigammaln
from chainrule.ops.reduction import mean, std, sum
from chainrule.ops.solving import solve_triangular
from chainrule.probability.bounded import Beta, ContinuousBernoulli, _log_sinhc
from chainrule.probability.categorical import Categorical, OneHotCategorical
from chainrule.probability.compound import Delta, Independent, TransformedDistribution
from chainrule.probability.continuous import (
    EULER,
    Cauchy,
    Gumbel,
    Laplace,
    Normal,
    Uniform,
    VonMises,
)
from chainrule.probability.discrete import Bernoulli, Binomial, Geometric, Poisson
from chainrule.probability.distribution import Distribution, _named, _whole_number
from chainrule.probability.multivariate import (
    Dirichlet,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Wishart,
    _diagonal,
    _mahalanobis,
)
from chainrule.probability.positive import (
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    LogNormal,
    Pareto,
    Weibull,
)
from chainrule.probability.transforms import sum_events
from chainrule.tensor.locate import explained
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor

Formula = Callable[[Any, Any], Tensor]
_formulas: dict[tuple[type, type], Formula] = {}


@explained
def register_kl(p: type, q: type) -> Callable[[Formula], Formula]:
    """Declare the formula of KL(p ‖ q) for two classes of distributions, and their subclasses.

    Raises:
        DTypeError: p or q is no class of distributions.
    """
    for kind in (p, q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise DTypeError(f"it takes two classes of distributions, and {kind!r} is none")

    @explained
    def register(formula: Formula) -> Formula:
        _formulas[p, q] = formula
        return formula

    return register


@explained
def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p ‖ q) in nats, exact; ∞ where p has mass that q has not.

    Args:
        p, q: distributions whose batches broadcast.

    Raises:
        DataError: no formula is known; `estimate_kl` estimates it from samples.

    >>> from chainrule.probability import Normal
    >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0)).item()
    0.5
    """
    with _named("kl_divergence"):
        _pair(p, q)
        formula = _find(type(p), type(q))
        if formula is not None:
            return formula(p, q)
        if _enumerable(p, q):
            return _enumerated(p, q)
        raise DataError(
            f"no formula is known for KL({type(p).__name__} ‖ {type(q).__name__}). Write "
            "prob.estimate_kl(p, q), which takes samples and tells its standard error, or declare "
            "one with prob.register_kl."
        )


class Estimate(NamedTuple):
    """An estimate and how far off it is likely to be.

    Attributes:
        value: the estimate.
        standard_error: of the estimate; 0 where it is exact.
        method: "exact", "sum over the support" or "Monte Carlo".
    """

    value: Tensor
    standard_error: Tensor
    method: str


@explained
def estimate_kl(
    p: Distribution, q: Distribution, *, samples: int = 10_000, generator: Any = None
) -> Estimate:
    """KL(p ‖ q): exact where it can be, else the mean of log p(x) − log q(x) over samples of p.

    Args:
        samples: how many; at least 2. The standard error falls with their square root.

    >>> from chainrule.probability import Laplace, StudentT
    >>> found = estimate_kl(Laplace(0.0, 1.0), StudentT(3.0), samples=100)
    >>> found.method
    'Monte Carlo'
    """
    with _named("estimate_kl"):
        _pair(p, q)
        samples = _whole_number(samples, "samples", 2)
        formula = _find(type(p), type(q))
        if formula is not None:
            try:
                value = formula(p, q)
                return Estimate(value, 0 * value, "exact")
            except DataError:  # a formula for a part of it that is not known
                pass
        elif _enumerable(p, q):
            value = _enumerated(p, q)
            return Estimate(value, 0 * value, "sum over the support")
        batch = broadcast_shapes(p.batch_shape, q.batch_shape)
        x = p.expand(batch).sample((samples,), generator=generator)
        terms = p.log_prob(x) - q.log_prob(x)
        error = std(terms, axis=0, correction=1) / math.sqrt(samples)
        return Estimate(mean(terms, axis=0), error, "Monte Carlo")


def _pair(p: Any, q: Any) -> None:
    for d in (p, q):
        if not isinstance(d, Distribution):
            raise DTypeError(f"it takes two distributions, and one is {type(d).__name__}")
    if p.event_shape != q.event_shape:
        raise ShapeError(
            f"values of p have the shape {p.event_shape}, and those of q {q.event_shape}"
        )
    broadcast_shapes(p.batch_shape, q.batch_shape)


def _find(p: type, q: type) -> Formula | None:
    """The formula of the nearest classes above both."""
    for a in p.__mro__:
        for b in q.__mro__:
            if (a, b) in _formulas:
                return _formulas[a, b]
    return None


def _enumerable(p: Distribution, q: Distribution) -> bool:
    finite = (Bernoulli, Binomial, Categorical, OneHotCategorical)
    return isinstance(p, finite) and p.support.discrete and q.support.discrete


def _enumerated(p: Distribution, q: Distribution) -> Tensor:
    batch = broadcast_shapes(p.batch_shape, q.batch_shape)
    values = p.expand(batch).enumerate_support()
    return _sum_of(p.log_prob(values), q.log_prob(values), 0)


def _sum_of(log_p: Tensor, log_q: Tensor, axis: int) -> Tensor:
    """Σ p (log p − log q), where 0 log 0 is 0."""
    none = log_p == -math.inf
    safe = where(none, 0.0, log_p)
    return sum(where(none, 0.0, exp(safe) * (safe - log_q)), axis)


def _times(weight: Tensor, x: Tensor) -> Tensor:
    """weight · x, which is 0 where the weight is, whatever x."""
    none = weight == 0
    return where(none, 0.0, weight * where(none, 0.0, x))


@register_kl(Normal, Normal)
@register_kl(LogNormal, LogNormal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = p.scale / q.scale
    return 0.5 * (square(ratio) + square((p.loc - q.loc) / q.scale) - 1) - log(ratio)


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    ratio = p.scale / q.scale
    return 0.5 * (square(ratio) - 1) - log(ratio)


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    # E|x − μ_q| = |μ_p − μ_q| + b_p exp(−|μ_p − μ_q|/b_p)
    apart = abs(p.loc - q.loc)
    spread = apart + p.scale * exp(-apart / p.scale)
    return log(q.scale / p.scale) + spread / q.scale - 1


@register_kl(Laplace, Normal)
def _laplace_normal(p: Laplace, q: Normal) -> Tensor:
    second = 2 * square(p.scale) + square(p.loc - q.loc)
    return 0.5 * math.log(2 * math.pi) + log(q.scale) + second / (2 * square(q.scale)) - p.entropy()


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    # Chyzak, Nielsen 2019, arXiv:1905.10965
    return log((square(p.scale + q.scale) + square(p.loc - q.loc)) / (4 * p.scale * q.scale))


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio = p.scale / q.scale
    apart = (p.loc - q.loc) / q.scale
    return -log(ratio) + EULER * (ratio - 1) + apart + exp(-apart + gammaln(1 + ratio)) - 1


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    within = (q.low <= p.low) & (p.high <= q.high)
    return where(within, log((q.high - q.low) / (p.high - p.low)), math.inf)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    second = p.variance + square(p.mean - q.loc)
    normal = 0.5 * math.log(2 * math.pi) + log(q.scale) + second / (2 * square(q.scale))
    return normal - p.entropy()


@register_kl(VonMises, VonMises)
def _von_mises(p: VonMises, q: VonMises) -> Tensor:
    from chainrule.ops.bessel import i0e, i1e
    from chainrule.ops.trigonometry import cos

    k, m = p.concentration, q.concentration
    length = i1e(k) / i0e(k)
    sizes = log(i0e(m)) + m - log(i0e(k)) - k
    return sizes + (k - m * cos(p.loc - q.loc)) * length


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - log(ratio)


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Exponential, q: Gamma) -> Tensor:
    return _gamma(Gamma(0 * p.rate + 1, p.rate), q)


@register_kl(Gamma, Exponential)
def _gamma_exponential(p: Gamma, q: Exponential) -> Tensor:
    return _gamma(p, Gamma(0 * q.rate + 1, q.rate))


@register_kl(Gamma, Gamma)
@register_kl(InverseGamma, InverseGamma)
def _gamma(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    ratio = q.rate / p.rate
    return (a - b) * digamma(a) - gammaln(a) + gammaln(b) - b * log(ratio) + a * (ratio - 1)


@register_kl(Weibull, Weibull)
def _weibull(p: Weibull, q: Weibull) -> Tensor:
    # Bauckhage 2013, arXiv:1310.3713
    k, m = p.concentration, q.concentration
    ratio = log(p.scale / q.scale)
    moment = exp(m * ratio + gammaln(m / k + 1))
    return log(k / m) + m * (EULER / k - ratio) - EULER + moment - 1


@register_kl(Pareto, Pareto)
def _pareto(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * log(p.scale / q.scale) - log(ratio) + ratio - 1
    return where(p.scale >= q.scale, found, math.inf)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    a, b = p.concentration1, p.concentration0
    c, d = q.concentration1, q.concentration0
    return (
        betaln(c, d) - betaln(a, b) + (a - c) * digamma(a) + (b - d) * digamma(b)
        + (c - a + d - b) * digamma(a + b)
    )  # fmt: skip


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    sizes = _log_sinhc(0.5 * q.logits) - _log_sinhc(0.5 * p.logits)
    return (p.logits - q.logits) * (p.mean - 0.5) + sizes


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    one = 0 * p.probs + 0 * q.probs + 1
    yes = _times(p.probs, p._log_prob(one) - q._log_prob(one))
    return yes + _times(p._q, p._log_prob(0 * one) - q._log_prob(0 * one))


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    # For equal counts n times that of one trial; a longer p has mass where q has none.
    n, m = p.total_count, q.total_count
    one = _bernoulli(Bernoulli(**_chance(p)), Bernoulli(**_chance(q)))
    if n._value is not None and m._value is not None and (n._value < m._value).any():
        return _enumerated(p, q)
    return where(n == m, _times(n, one), math.inf)


def _chance(d: Any) -> dict[str, Tensor]:
    return {name: x for name, x in d.parameters.items() if name in ("probs", "logits")}


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    zero = 0 * p.probs + 0 * q.probs
    # E[k] = (1 − p)/p, and log prob is linear in k
    stop = p._log_prob(zero) - q._log_prob(zero)
    go = p._log_prob(zero + 1) - q._log_prob(zero + 1) - stop
    return stop + _times(p.mean, go)


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    none = p.rate == 0
    safe = where(none, 1.0, p.rate)
    return q.rate - p.rate + where(none, 0.0, safe * (log(safe) - log(q.rate)))


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(p: Any, q: Any) -> Tensor:
    if p.num_events != q.num_events:
        raise ShapeError(f"p has {p.num_events} classes and q {q.num_events}")
    return _sum_of(p.logits, q.logits, -1)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    spread = digamma(a) - digamma(sum(a, -1, keepdims=True))
    return q._log_norm() - p._log_norm() + sum((a - b) * spread, -1)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    n = p.loc.shape[-1]
    root = solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    trace = sum(square(root), axis=(-2, -1))
    logs = sum(log(_diagonal(q.scale_tril)), -1) - sum(log(_diagonal(p.scale_tril)), -1)
    return logs + 0.5 * (trace + _mahalanobis(q.scale_tril, p.loc - q.loc) - n)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p: Any, q: Any) -> Tensor:
    return _multivariate_normal(_full(p), _full(q))


def _full(d: Any) -> MultivariateNormal:
    if isinstance(d, MultivariateNormal):
        return d
    return MultivariateNormal(d.loc, covariance_matrix=d.covariance_matrix)


@register_kl(Wishart, Wishart)
def _wishart(p: Wishart, q: Wishart) -> Tensor:
    n = p.event_shape[-1]
    v, w = p.df, q.df
    steps = Tensor(np.arange(n, dtype=p.dtype))
    spread = sum(digamma(0.5 * (v.reshape(*v.shape, 1) - steps)), -1)
    root = solve_triangular(q.scale_tril, p.scale_tril, upper=False)
    trace = sum(square(root), axis=(-2, -1))
    logs = 2 * (q._half_log_det() - p._half_log_det())
    return (
        0.5 * w * logs + 0.5 * v * (trace - n) + multigammaln(0.5 * w, n)
        - multigammaln(0.5 * v, n) + 0.5 * (v - w) * spread
    )  # fmt: skip


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.count != q.count:
        raise DataError(f"p takes {p.count} axes together and q {q.count}")
    return sum_events(kl_divergence(p.base, q.base), p.count)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    """A one-to-one function changes no divergence, where it is the same."""
    same = len(p.transforms) == len(q.transforms) and all(
        type(a) is type(b) and vars(a) == vars(b)
        for a, b in zip(p.transforms, q.transforms, strict=True)
    )
    if not same:
        raise DataError("the transforms of p and q differ; prob.estimate_kl(p, q) takes samples")
    return kl_divergence(p.base, q.base)


@register_kl(Delta, Distribution)
def _delta(p: Delta, q: Distribution) -> Tensor:
    """−log q at the point: that of a probability, for a discrete q."""
    return -q.log_prob(p.v)
