"""Distributions over positive numbers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from chainrule.ops.arithmetic import abs, maximum, pow, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, expm1, log, log1p, xlogy
from chainrule.ops.gamma import betaln, digamma, gammaln
from chainrule.ops.incomplete import (
    betainc,
    betaincc,
    betaincinv,
    gammainc,
    gammaincc,
    gammainccinv,
)
from chainrule.ops.normal import log_ndtr, ndtr, ndtri
from chainrule.ops.sampling import log_gammaincinv
from chainrule.ops.trigonometry import atan, tan
from chainrule.probability import constraints, noise
from chainrule.probability.constraints import Constraint
from chainrule.probability.continuous import (
    EULER,
    HALF_LOG_2PI,
    _half_turn,
    _log1p_square,
    log1mexp,
)
from chainrule.probability.distribution import Distribution, Shape
from chainrule.tensor.tensor import Tensor


class LogNormal(Distribution):
    """exp of a normal variate: p(x) = exp(−((log x − μ)/σ)²/2) / (x σ √2π).

    Args:
        loc, scale: μ and σ > 0 of log X.

    >>> LogNormal(0.0, 1.0).cdf(1.0).item()
    0.5
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0) -> None:
        self._set(loc=loc, scale=scale)

    def _standard(self, x: Tensor) -> Tensor:
        return (log(x) - self.loc) / self.scale

    def _log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * square(self._standard(x)) - log(x) - log(self.scale) - HALF_LOG_2PI

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return exp(self.loc + self.scale * noise.normal(shape, self.dtype, generator))

    def _cdf(self, x: Tensor) -> Tensor:
        return ndtr(self._standard(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_ndtr(self._standard(x))

    def _survival(self, x: Tensor) -> Tensor:
        return ndtr(-self._standard(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return log_ndtr(-self._standard(x))

    def _quantile(self, p: Tensor) -> Tensor:
        return exp(self.loc + self.scale * ndtri(p))

    @property
    def mean(self) -> Tensor:
        return exp(self.loc + 0.5 * square(self.scale))

    @property
    def mode(self) -> Tensor:
        return exp(self.loc - square(self.scale))

    @property
    def variance(self) -> Tensor:
        spread = square(self.scale)
        return expm1(spread) * exp(2 * self.loc + spread)

    def entropy(self) -> Tensor:
        return log(self.scale) + self.loc + (0.5 + HALF_LOG_2PI)


class HalfNormal(Distribution):
    """|Z| of a normal variate Z with mean 0: p(x) = √(2/π) exp(−(x/σ)²/2) / σ.

    Args:
        scale: σ > 0, of the normal variate.

    >>> round(HalfNormal(1.0).mean.item(), 4)
    0.7979
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    scale: Tensor

    def __init__(self, scale: Any = 1.0) -> None:
        self._set(scale=scale)

    def _log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * square(x / self.scale) - log(self.scale) + (math.log(2) - HALF_LOG_2PI)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.scale * abs(noise.normal(shape, self.dtype, generator))

    def _cdf(self, x: Tensor) -> Tensor:
        from chainrule.ops.exponential import erf

        return erf(x / (self.scale * math.sqrt(2)))

    def _survival(self, x: Tensor) -> Tensor:
        return 2 * ndtr(-x / self.scale)

    def _log_survival(self, x: Tensor) -> Tensor:
        return math.log(2) + log_ndtr(-x / self.scale)

    def _quantile(self, p: Tensor) -> Tensor:
        from chainrule.ops.exponential import erfinv

        return self.scale * math.sqrt(2) * erfinv(p)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Tensor:
        return self._filled(0.0)

    @property
    def variance(self) -> Tensor:
        return square(self.scale) * (1 - 2 / math.pi)

    def entropy(self) -> Tensor:
        return log(self.scale) + (0.5 + HALF_LOG_2PI - math.log(2))


class HalfCauchy(Distribution):
    """|X| of a Cauchy variate around 0: p(x) = 2 / (πγ (1 + (x/γ)²)); it has no mean.

    Args:
        scale: γ > 0, the median.

    >>> round(HalfCauchy(2.0).cdf(2.0).item(), 4)
    0.5
    """

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    scale: Tensor

    def __init__(self, scale: Any = 1.0) -> None:
        self._set(scale=scale)

    def _log_prob(self, x: Tensor) -> Tensor:
        return math.log(2 / math.pi) - log(self.scale) - _log1p_square(x / self.scale)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self._quantile(noise.unit(shape, generator)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return atan(x / self.scale) * (2 / math.pi)

    def _survival(self, x: Tensor) -> Tensor:
        return 2 * _half_turn(x / self.scale)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        low = p < 0.5
        half = 0.5 * math.pi * where(low, p, 1 - p)
        return self.scale * where(low, tan(half), 1 / tan(half))

    @property
    def mean(self) -> Tensor:
        return self._filled(math.inf)

    @property
    def mode(self) -> Tensor:
        return self._filled(0.0)

    @property
    def variance(self) -> Tensor:
        return self._filled(math.inf)

    def entropy(self) -> Tensor:
        return log(2 * math.pi * self.scale)


class Exponential(Distribution):
    """The exponential distribution, p(x) = λ exp(−λx).

    Args:
        rate: λ > 0; the mean is 1/λ.

    >>> Exponential(2.0).mean.item()
    0.5
    """

    surprisal = "rate · x − log(rate)"
    arg_constraints: ClassVar = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    rate: Tensor

    def __init__(self, rate: Any = 1.0) -> None:
        self._set(rate=rate)

    def _log_prob(self, x: Tensor) -> Tensor:
        return log(self.rate) - self.rate * x

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return noise.exponential(shape, self.dtype, generator) / self.rate

    def _cdf(self, x: Tensor) -> Tensor:
        return -expm1(-self.rate * x)

    def _survival(self, x: Tensor) -> Tensor:
        return exp(-self.rate * x)

    def _log_survival(self, x: Tensor) -> Tensor:
        return -self.rate * x

    def _quantile(self, p: Tensor) -> Tensor:
        return -log1p(-p) / self.rate

    @property
    def mean(self) -> Tensor:
        return 1 / self.rate

    @property
    def mode(self) -> Tensor:
        return self._filled(0.0)

    @property
    def variance(self) -> Tensor:
        return 1 / square(self.rate)

    def entropy(self) -> Tensor:
        return 1 - log(self.rate)


class Gamma(Distribution):
    """The gamma distribution, p(x) = βᵃ xᵃ⁻¹ exp(−βx) / Γ(a).

    Args:
        concentration: a > 0, the shape.
        rate: β > 0.

    Samples are drawn by rejection (Marsaglia, Tsang 2000); derivatives flow to both parameters, to
    `a` implicitly (Figurnov, Mohamed, Mnih 2018).

    >>> Gamma(3.0, 2.0).mean.item()
    1.5
    """

    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.nonnegative
    has_rsample = True
    concentration: Tensor
    rate: Tensor

    def __init__(self, concentration: Any, rate: Any = 1.0) -> None:
        self._set(concentration=concentration, rate=rate)

    def _log_prob(self, x: Tensor) -> Tensor:
        a = self.concentration
        return xlogy(a, self.rate) + xlogy(a - 1, x) - self.rate * x - gammaln(a)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        log_x = noise.log_gamma(self.concentration, shape, generator)
        return exp(log_x - log(self.rate)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return gammainc(self.concentration, self.rate * x)

    def _survival(self, x: Tensor) -> Tensor:
        return gammaincc(self.concentration, self.rate * x)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        return exp(log_gammaincinv(self.concentration, p) - log(self.rate))

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return maximum(self.concentration - 1, 0.0) / self.rate

    @property
    def variance(self) -> Tensor:
        return self.concentration / square(self.rate)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - log(self.rate) + gammaln(a) + (1 - a) * digamma(a)


class Chi2(Gamma):
    """The chi-square distribution: the sum of `df` squares of standard normal variates.

    Args:
        df: degrees of freedom, > 0; a gamma distribution of shape df/2 and rate ½.

    >>> Chi2(3.0).variance.item()
    6.0
    """

    arg_constraints: ClassVar = {"df": constraints.positive}
    df: Tensor

    def __init__(self, df: Any) -> None:
        self._set(df=df)
        self.concentration = 0.5 * self.df
        self.rate = self.df * 0 + 0.5


class InverseGamma(Distribution):
    """1/X of a gamma variate X: p(x) = βᵃ x⁻ᵃ⁻¹ exp(−β/x) / Γ(a).

    Args:
        concentration: a > 0.
        rate: β > 0, the rate of X.

    >>> InverseGamma(3.0, 2.0).mean.item()
    1.0
    """

    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.positive
    has_rsample = True
    concentration: Tensor
    rate: Tensor

    def __init__(self, concentration: Any, rate: Any = 1.0) -> None:
        self._set(concentration=concentration, rate=rate)

    def _log_prob(self, x: Tensor) -> Tensor:
        a = self.concentration
        return a * log(self.rate) - (a + 1) * log(x) - self.rate / x - gammaln(a)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        log_x = noise.log_gamma(self.concentration, shape, generator)
        return exp(log(self.rate) - log_x).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return gammaincc(self.concentration, self.rate / x)

    def _survival(self, x: Tensor) -> Tensor:
        return gammainc(self.concentration, self.rate / x)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        return self.rate / gammainccinv(self.concentration, p)

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return where(a > 1, self.rate / where(a > 1, a - 1, 1.0), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        safe = where(a > 2, a, 3.0)
        return where(a > 2, square(self.rate / (safe - 1)) / (safe - 2), math.inf)

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + log(self.rate) + gammaln(a) - (1 + a) * digamma(a)


class Weibull(Distribution):
    """The Weibull distribution, P(X > x) = exp(−(x/λ)ᵏ).

    Args:
        scale: λ > 0.
        concentration: k > 0; 1 is the exponential distribution.

    >>> round(Weibull(1.0, 2.0).survival(1.0).item(), 4)
    0.3679
    """

    arg_constraints: ClassVar = {
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }
    support = constraints.nonnegative
    has_rsample = True
    scale: Tensor
    concentration: Tensor

    def __init__(self, scale: Any, concentration: Any) -> None:
        self._set(scale=scale, concentration=concentration)

    def _power(self, x: Tensor) -> Tensor:
        return pow(x / self.scale, self.concentration)

    def _log_prob(self, x: Tensor) -> Tensor:
        k = self.concentration
        return log(k / self.scale) + xlogy(k - 1, x / self.scale) - self._power(x)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        draws = noise.exponential(shape, self.dtype, generator)
        return self.scale * pow(draws, 1 / self.concentration)

    def _cdf(self, x: Tensor) -> Tensor:
        return -expm1(-self._power(x))

    def _survival(self, x: Tensor) -> Tensor:
        return exp(-self._power(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return -self._power(x)

    def _quantile(self, p: Tensor) -> Tensor:
        return self.scale * pow(-log1p(-p), 1 / self.concentration)

    @property
    def mean(self) -> Tensor:
        return self.scale * exp(gammaln(1 + 1 / self.concentration))

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        safe = where(k > 1, k, 2.0)
        return where(k > 1, self.scale * pow((safe - 1) / safe, 1 / safe), 0.0)

    @property
    def variance(self) -> Tensor:
        # Γ(1 + 2/k) − Γ(1 + 1/k)² as a product, which keeps digits where both are nearly equal
        first = gammaln(1 + 1 / self.concentration)
        second = gammaln(1 + 2 / self.concentration)
        return square(self.scale) * exp(2 * first) * expm1(second - 2 * first)

    def entropy(self) -> Tensor:
        k = self.concentration
        return EULER * (1 - 1 / k) + log(self.scale / k) + 1


class Pareto(Distribution):
    """The Pareto distribution, P(X > x) = (m/x)ᵅ for x ≥ m.

    Args:
        scale: m > 0, the smallest value.
        alpha: α > 0.

    >>> Pareto(1.0, 3.0).mean.item()
    1.5
    """

    arg_constraints: ClassVar = {"scale": constraints.positive, "alpha": constraints.positive}
    has_rsample = True
    scale: Tensor
    alpha: Tensor

    def __init__(self, scale: Any, alpha: Any) -> None:
        self._set(scale=scale, alpha=alpha)

    @property
    def support(self) -> Constraint:
        return constraints.Interval(self.scale, math.inf, open_upper=True)

    def _log_prob(self, x: Tensor) -> Tensor:
        return log(self.alpha) - log(self.scale) - (self.alpha + 1) * log(x / self.scale)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.scale * exp(noise.exponential(shape, self.dtype, generator) / self.alpha)

    def _cdf(self, x: Tensor) -> Tensor:
        return -expm1(self._log_survival(x))

    def _survival(self, x: Tensor) -> Tensor:
        return exp(self._log_survival(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return -self.alpha * log(x / self.scale)

    def _log_cdf(self, x: Tensor) -> Tensor:
        d = self._log_survival(x)
        return where(d < 0, log1mexp(where(d < 0, d, -1.0)), -math.inf)

    def _quantile(self, p: Tensor) -> Tensor:
        return self.scale * exp(-log1p(-p) / self.alpha)

    @property
    def mean(self) -> Tensor:
        a = where(self.alpha > 1, self.alpha, 2.0)
        return where(self.alpha > 1, self.scale * a / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = where(self.alpha > 2, self.alpha, 3.0)
        found = square(self.scale / (a - 1)) * a / (a - 2)
        return where(self.alpha > 2, found, math.inf)

    def entropy(self) -> Tensor:
        return log(self.scale / self.alpha) + 1 + 1 / self.alpha


class FisherSnedecor(Distribution):
    """Fisher's F: the ratio of two chi-square variates, each divided by its degrees of freedom.

    Args:
        df1, df2: degrees of freedom, > 0, of the numerator and the denominator.

    >>> FisherSnedecor(3.0, 4.0).mean.item()
    2.0
    """

    arg_constraints: ClassVar = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    df1: Tensor
    df2: Tensor

    def __init__(self, df1: Any, df2: Any) -> None:
        self._set(df1=df1, df2=df2)

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = 0.5 * self.df1, 0.5 * self.df2
        ratio = self.df1 / self.df2
        return xlogy(a, ratio) + xlogy(a - 1, x) - (a + b) * log1p(ratio * x) - betaln(a, b)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        a, b = 0.5 * self.df1, 0.5 * self.df2
        above = noise.log_gamma(a, shape, generator) - log(a)
        return exp(above - noise.log_gamma(b, shape, generator) + log(b)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        part = self.df1 * x
        return betainc(0.5 * self.df1, 0.5 * self.df2, part / (part + self.df2))

    def _survival(self, x: Tensor) -> Tensor:
        part = self.df1 * x
        return betaincc(0.5 * self.df1, 0.5 * self.df2, part / (part + self.df2))

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        y = betaincinv(0.5 * self.df1, 0.5 * self.df2, p)
        return self.df2 * y / (self.df1 * (1 - y))

    @property
    def mean(self) -> Tensor:
        v = where(self.df2 > 2, self.df2, 3.0)
        return where(self.df2 > 2, v / (v - 2), math.inf)

    @property
    def mode(self) -> Tensor:
        a, b = self.df1, self.df2
        return maximum(a - 2, 0.0) / a * b / (b + 2)

    @property
    def variance(self) -> Tensor:
        a, b = self.df1, where(self.df2 > 4, self.df2, 5.0)
        found = 2 * square(b / (b - 2)) * (a + b - 2) / (a * (b - 4))
        return where(self.df2 > 4, found, where(self.df2 > 2, math.inf, math.nan))

    def entropy(self) -> Tensor:
        a, b = 0.5 * self.df1, 0.5 * self.df2
        return (
            log(b / a) + betaln(a, b) + (1 - a) * digamma(a) - (1 + b) * digamma(b)
            + (a + b) * digamma(a + b)
        )  # fmt: skip
