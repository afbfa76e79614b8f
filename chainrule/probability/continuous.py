"""Distributions over all real numbers (and over stretches of them), by location and scale."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from chainrule.ops.activation import log_sigmoid, sigmoid, softplus
from chainrule.ops.arithmetic import abs, isinf, maximum, minimum, remainder, sign, sqrt, square
from chainrule.ops.bessel import i0e, i1e
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, expm1, log, log1p
from chainrule.ops.gamma import betaln, digamma
from chainrule.ops.incomplete import betainc, betaincc, betaincinv
from chainrule.ops.normal import log_ndtr, ndtr, ndtri
from chainrule.ops.sampling import von_mises_from
from chainrule.ops.trigonometry import atan, sin, tan
from chainrule.probability import constraints, noise
from chainrule.probability.constraints import Constraint, Interval
from chainrule.probability.distribution import Distribution, Shape, _check, _named
from chainrule.tensor.tensor import Tensor

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
EULER = 0.57721566490153286061


class LocationScale(Distribution):
    """What is shared by X = loc + scale · Z, Z of a fixed distribution symmetric or not."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0) -> None:
        self._set(loc=loc, scale=scale)

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self.loc) / self.scale

    def _quantile(self, p: Tensor) -> Tensor:
        return self.loc + self.scale * self._standard_quantile(p)

    def _standard_quantile(self, p: Tensor) -> Tensor:
        raise self._missing("quantile")

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc


class Normal(LocationScale):
    """The normal distribution, p(x) = exp(−((x − μ)/σ)²/2) / (σ √2π).

    Args:
        loc: μ, the mean.
        scale: σ > 0, the standard deviation.

    >>> round(Normal(0.0, 1.0).log_prob(1.0).item(), 4)
    -1.4189
    """

    surprisal = "(x − loc)² / (2 · scale²) + log(scale) + log(2 · π) / 2"

    def _log_prob(self, x: Tensor) -> Tensor:
        return -0.5 * square(self._standard(x)) - log(self.scale) - HALF_LOG_2PI

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.loc + self.scale * noise.normal(shape, self.dtype, generator)

    def _cdf(self, x: Tensor) -> Tensor:
        return ndtr(self._standard(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_ndtr(self._standard(x))

    def _survival(self, x: Tensor) -> Tensor:
        return ndtr(-self._standard(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return log_ndtr(-self._standard(x))

    def _standard_quantile(self, p: Tensor) -> Tensor:
        return ndtri(p)

    @property
    def variance(self) -> Tensor:
        return square(self.scale)

    @property
    def stddev(self) -> Tensor:
        return self.scale

    def entropy(self) -> Tensor:
        return log(self.scale) + (0.5 + HALF_LOG_2PI)


class Laplace(LocationScale):
    """The Laplace distribution, p(x) = exp(−|x − μ|/b) / 2b.

    Args:
        loc: μ.
        scale: b > 0.

    >>> round(Laplace(0.0, 1.0).log_prob(0.0).item(), 4)  # −log 2
    -0.6931
    """

    surprisal = "abs(x − loc) / scale + log(2 · scale)"

    def _log_prob(self, x: Tensor) -> Tensor:
        return -abs(self._standard(x)) - log(2 * self.scale)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        u = noise.unit(shape, generator) * 2 - 1
        return self.loc - self.scale * (sign(u) * log1p(-abs(u))).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        z = self._standard(x)
        tail = 0.5 * exp(-abs(z))
        return where(z <= 0, tail, 1 - tail)

    def _log_cdf(self, x: Tensor) -> Tensor:
        z = self._standard(x)
        return where(z <= 0, -abs(z) - math.log(2), log1p(-0.5 * exp(-abs(z))))

    def _survival(self, x: Tensor) -> Tensor:
        return self._cdf(2 * self.loc - x)

    def _log_survival(self, x: Tensor) -> Tensor:
        return self._log_cdf(2 * self.loc - x)

    def _standard_quantile(self, p: Tensor) -> Tensor:
        low = p < 0.5
        tail = where(low, p, 1 - p)
        return where(low, 1.0, -1.0) * log(2 * tail)

    @property
    def variance(self) -> Tensor:
        return 2 * square(self.scale)

    def entropy(self) -> Tensor:
        return 1 + log(2 * self.scale)


class Cauchy(LocationScale):
    """The Cauchy distribution, p(x) = 1 / (πγ (1 + ((x − x₀)/γ)²)); it has no mean.

    Args:
        loc: x₀, the median.
        scale: γ > 0, half of the width at half of the height.

    >>> round(Cauchy(0.0, 1.0).cdf(1.0).item(), 4)
    0.75
    """

    def _log_prob(self, x: Tensor) -> Tensor:
        # log(1 + z²) = 2 log|z| + log(1 + 1/z²): no square of a large z overflows.
        return -_log1p_square(self._standard(x)) - log(self.scale) - math.log(math.pi)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.loc + self.scale * _tangent(noise.unit(shape, generator)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return _half_turn(-self._standard(x))

    def _survival(self, x: Tensor) -> Tensor:
        return _half_turn(self._standard(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _standard_quantile(self, p: Tensor) -> Tensor:
        return _tangent(p)

    @property
    def mean(self) -> Tensor:
        return self._filled(math.nan)

    @property
    def variance(self) -> Tensor:
        return self._filled(math.nan)

    def entropy(self) -> Tensor:
        return log(4 * math.pi * self.scale)


def _log1p_square(z: Tensor) -> Tensor:
    """log(1 + z²), without overflow."""
    large = abs(z) > 1e4
    safe = where(large, 1.0, z)
    return where(large, 2 * log(where(large, abs(z), 1.0)), log1p(safe * safe))


def _half_turn(z: Tensor) -> Tensor:
    """½ − atan(z)/π, exact for large z, where it is atan(1/z)/π."""
    far = z > 1
    near = where(far, 0.0, z)
    return where(far, atan(1 / where(far, z, 1.0)) / math.pi, 0.5 - atan(near) / math.pi)


def _tangent(p: Tensor) -> Tensor:
    """tan(π(p − ½)), from the nearer end, where it is −1/tan(πp): a small p keeps its digits."""
    low = p < 0.25
    high = p > 0.75
    end = where(low, p, where(high, 1 - p, 0.25))
    tail = 1 / tan(math.pi * end)
    middle = tan(math.pi * (where(low | high, 0.5, p) - 0.5))
    return where(low, -tail, where(high, tail, middle))


class Logistic(LocationScale):
    """The logistic distribution, whose distribution function is sigmoid((x − μ)/s).

    Args:
        loc: μ.
        scale: s > 0.

    >>> Logistic(0.0, 1.0).cdf(0.0).item()
    0.5
    """

    def _log_prob(self, x: Tensor) -> Tensor:
        z = abs(self._standard(x))
        return -z - 2 * softplus(-z) - log(self.scale)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.loc + self.scale * noise.logistic(shape, self.dtype, generator)

    def _cdf(self, x: Tensor) -> Tensor:
        return sigmoid(self._standard(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log_sigmoid(self._standard(x))

    def _survival(self, x: Tensor) -> Tensor:
        return sigmoid(-self._standard(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return log_sigmoid(-self._standard(x))

    def _standard_quantile(self, p: Tensor) -> Tensor:
        return log(p) - log1p(-p)

    @property
    def variance(self) -> Tensor:
        return square(self.scale) * (math.pi**2 / 3)

    def entropy(self) -> Tensor:
        return log(self.scale) + 2


class Gumbel(LocationScale):
    """The Gumbel distribution (of largest values), P(X ≤ x) = exp(−exp(−(x − μ)/β)).

    Args:
        loc: μ, the mode.
        scale: β > 0.

    >>> round(Gumbel(0.0, 1.0).mean.item(), 4)  # Euler's constant
    0.5772
    """

    def _log_prob(self, x: Tensor) -> Tensor:
        z = self._standard(x)
        return -z - exp(-z) - log(self.scale)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.loc + self.scale * noise.gumbel(shape, self.dtype, generator)

    def _cdf(self, x: Tensor) -> Tensor:
        return exp(self._log_cdf(x))

    def _log_cdf(self, x: Tensor) -> Tensor:
        return -exp(-self._standard(x))

    def _survival(self, x: Tensor) -> Tensor:
        return -expm1(self._log_cdf(x))

    def _log_survival(self, x: Tensor) -> Tensor:
        return log1mexp(self._log_cdf(x))

    def _standard_quantile(self, p: Tensor) -> Tensor:
        return -log(-log(p))

    @property
    def mean(self) -> Tensor:
        return self.loc + EULER * self.scale

    @property
    def variance(self) -> Tensor:
        return square(self.scale) * (math.pi**2 / 6)

    def entropy(self) -> Tensor:
        return log(self.scale) + (1 + EULER)


def log1mexp(d: Tensor) -> Tensor:
    """log(1 − exp(d)) for d < 0, from the form that loses no digits (Mächler 2012, log1mexp)."""
    small = d > -math.log(2)
    return where(small, log(-expm1(where(small, d, -1.0))), log1p(-exp(where(small, -1.0, d))))


class StudentT(LocationScale):
    """Student's t distribution, p(x) ∝ (1 + z²/ν)^(−(ν + 1)/2), z = (x − μ)/σ.

    Args:
        df: ν > 0, degrees of freedom; 1 is the Cauchy distribution, ∞ would be the normal one.
        loc, scale: μ and σ > 0.

    Samples are Z √(ν/χ²): derivatives flow to `df` too.

    >>> round(StudentT(3.0).log_prob(0.0).item(), 4)
    -1.0009
    """

    arg_constraints: ClassVar = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    df: Tensor

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0) -> None:
        self._set(df=df, loc=loc, scale=scale)

    def _log_prob(self, x: Tensor) -> Tensor:
        v, z = self.df, self._standard(x)
        tail = 0.5 * (v + 1) * _log1p_square(z / sqrt(v))
        return -tail - 0.5 * log(v) - betaln(0.5 * v, 0.5 * v * 0 + 0.5) - log(self.scale)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        z = noise.normal(shape, self.dtype, generator)
        half = 0.5 * self.df
        return self.loc + self.scale * z * exp(
            0.5 * (log(half) - noise.log_gamma(half, shape, generator))
        ).astype(self.dtype)

    def _tail_of(self, z: Tensor) -> Tensor:
        """P(Z > |z|) = ½ I_w(ν/2, ½) with w = ν/(ν + z²), by the nearer end of w or 1 − w."""
        v, near = self.df + 0 * z, z * z < self.df
        size = where(near, 1.0, abs(z))  # z² of a far z would overflow
        far = 0.5 * betainc(0.5 * v, 0.5, v / size / (v / size + size))
        part = square(where(near, z, 0.0))
        return where(near, 0.5 * betaincc(0.5, 0.5 * v, part / (v + part)), far)

    def _cdf(self, x: Tensor) -> Tensor:
        z = self._standard(x)
        tail = self._tail_of(z)
        return where(z <= 0, tail, 1 - tail)

    def _survival(self, x: Tensor) -> Tensor:
        z = self._standard(x)
        tail = self._tail_of(z)
        return where(z <= 0, 1 - tail, tail)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _standard_quantile(self, p: Tensor) -> Tensor:
        v = self.df + 0 * p
        low = p < 0.5
        tail = where(low, p, 1 - p)
        w = betaincinv(0.5 * v, 0 * v + 0.5, 2 * tail)
        size = sqrt(v * (1 - w) / w)
        return where(low, -size, size)

    @property
    def mean(self) -> Tensor:
        return where(self.df > 1, self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        v = where(self.df > 2, self.df, 3.0)
        found = square(self.scale) * v / (v - 2)
        return where(self.df > 2, found, where(self.df > 1, math.inf, math.nan))

    def entropy(self) -> Tensor:
        v = self.df
        half = 0.5 * (v + 1)
        spread = half * (digamma(half) - digamma(0.5 * v))
        return log(self.scale) + spread + 0.5 * log(v) + betaln(0.5 * v, 0 * v + 0.5)


class Uniform(Distribution):
    """Equally likely everywhere from `low` to `high`, both included as in SciPy.

    >>> Uniform(0.0, 4.0).variance.item()  # (high − low)² / 12
    1.3333...
    """

    arg_constraints: ClassVar = {"low": constraints.real, "high": constraints.real}
    has_rsample = True
    low: Tensor
    high: Tensor

    def __init__(self, low: Any = 0.0, high: Any = 1.0) -> None:
        self._set(low=low, high=high)
        with _named("Uniform"):
            _check("high − low", self.high - self.low, constraints.positive)

    @property
    def support(self) -> Constraint:
        return Interval(self.low, self.high)

    def _log_prob(self, x: Tensor) -> Tensor:
        return -log(self.high - self.low) + 0 * x

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self._quantile(noise.unit(shape, generator).astype(self.dtype))

    def _cdf(self, x: Tensor) -> Tensor:
        return (x - self.low) / (self.high - self.low)

    def _survival(self, x: Tensor) -> Tensor:
        return (self.high - x) / (self.high - self.low)

    def _quantile(self, p: Tensor) -> Tensor:
        return self.low * (1 - p) + self.high * p

    @property
    def mean(self) -> Tensor:
        return 0.5 * (self.low + self.high)

    @property
    def mode(self) -> Tensor:
        return self.mean

    @property
    def variance(self) -> Tensor:
        return square(self.high - self.low) / 12

    def entropy(self) -> Tensor:
        return log(self.high - self.low)


class TruncatedNormal(Distribution):
    """A normal distribution, cut off at `low` and `high` (either may be infinite).

    Args:
        loc, scale: of the normal distribution before it is cut off.
        low, high: the ends, low < high.

    >>> round(TruncatedNormal(0.0, 1.0, 0.0, math.inf).mean.item(), 4)  # √(2/π)
    0.7979
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": Interval(-math.inf, math.inf),
        "high": Interval(-math.inf, math.inf),
    }
    has_rsample = True
    loc: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, loc: Any, scale: Any, low: Any, high: Any) -> None:
        self._set(loc=loc, scale=scale, low=low, high=high)
        with _named("TruncatedNormal"):
            _check("high − low", self.high - self.low, Interval(0.0, math.inf, open_lower=True))

    @property
    def support(self) -> Constraint:
        return _Between(self.low, self.high)

    def _standard(self, x: Tensor) -> Tensor:
        """(x − loc)/scale; an infinite end is a constant far away, which no derivative passes."""
        none = isinf(x)
        far = where(x > 0, _FAR, -_FAR)
        return where(none, far, (where(none, 0.0, x) - self.loc) / self.scale)

    def _log_mass(self, a: Tensor, b: Tensor) -> Tensor:
        """log(Φ(b) − Φ(a)), from the side of 0 where a tail keeps its digits."""
        right = a > 0
        a, b = where(right, -b, a), where(right, -a, b)
        top = log_ndtr(b)
        return top + log1mexp(minimum(log_ndtr(a) - top, -1e-300))

    def _whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """Both ends in standard units, and the logarithm of the mass between them."""
        a, b = self._standard(self.low), self._standard(self.high)
        return a, b, self._log_mass(a, b)

    def _log_prob(self, x: Tensor) -> Tensor:
        z = (x - self.loc) / self.scale
        return -0.5 * square(z) - HALF_LOG_2PI - log(self.scale) - self._whole()[2]

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self._quantile(noise.unit(shape, generator)).astype(self.dtype)

    def _log_cdf(self, x: Tensor) -> Tensor:
        a, _, mass = self._whole()
        return self._log_mass(a, (x - self.loc) / self.scale) - mass

    def _log_survival(self, x: Tensor) -> Tensor:
        _, b, mass = self._whole()
        return self._log_mass((x - self.loc) / self.scale, b) - mass

    def _cdf(self, x: Tensor) -> Tensor:
        return exp(self._log_cdf(x))

    def _survival(self, x: Tensor) -> Tensor:
        return exp(self._log_survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        a, b, _ = self._whole()
        right = a > 0
        a, b, p = where(right, -b, a), where(right, -a, b), where(right, 1 - p, p)
        z = ndtri(ndtr(a) * (1 - p) + ndtr(b) * p)
        x = self.loc + self.scale * where(right, -z, z)
        return maximum(minimum(x, self.high), self.low)

    def _edge(self) -> tuple[Tensor, Tensor]:
        """φ(a) − φ(b) and a φ(a) − b φ(b), over the mass."""
        a, b, mass = self._whole()
        at_a = exp(-0.5 * square(a) - HALF_LOG_2PI - mass)
        at_b = exp(-0.5 * square(b) - HALF_LOG_2PI - mass)
        return at_a - at_b, a * at_a - b * at_b

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * self._edge()[0]

    @property
    def mode(self) -> Tensor:
        return maximum(minimum(self.loc, self.high), self.low)

    @property
    def variance(self) -> Tensor:
        drift, moment = self._edge()
        return square(self.scale) * (1 + moment - square(drift))

    def entropy(self) -> Tensor:
        spread = 0.5 * (1 + self._edge()[1])
        return HALF_LOG_2PI + log(self.scale) + self._whole()[2] + spread


_FAR = 1e9


class _Between(Interval):
    """An interval whose ends may be infinite, element by element."""

    def inner(self) -> Any:
        low, high = self.lower, self.upper
        none_low, none_high = isinf(low), isinf(high)
        a, b = where(none_low, 0.0, low), where(none_high, 0.0, high)
        one_sided = where(none_low, b - 1, a + 1)
        return where(
            none_low & none_high, 0.0, where(none_low | none_high, one_sided, 0.5 * (a + b))
        )


class VonMises(Distribution):
    """The von Mises distribution of angles, p(x) = exp(κ cos(x − μ)) / (2π I₀(κ)).

    Args:
        loc: μ, an angle in radians.
        concentration: κ > 0.

    Its density has period 2π; samples lie in [−π, π). They are drawn by rejection (Best, Fisher
    1979), and no derivative flows through them. The mean is that of directions, the variance the
    circular one, 1 − I₁(κ)/I₀(κ).

    >>> round(VonMises(0.0, 1.0).log_prob(0.0).item(), 4)
    -1.0738
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "concentration": constraints.positive}
    loc: Tensor
    concentration: Tensor

    def __init__(self, loc: Any, concentration: Any) -> None:
        self._set(loc=loc, concentration=concentration)

    def _log_prob(self, x: Tensor) -> Tensor:
        # cos d − 1 = −2 sin²(d/2); i0e is I₀ without its exp(κ)
        k = self.concentration
        return -2 * k * square(sin(0.5 * (x - self.loc))) - log(2 * math.pi * i0e(k))

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        angle = von_mises_from(self.concentration, noise.unit(shape, generator))
        whole = remainder(angle + self.loc + math.pi, 2 * math.pi) - math.pi
        return whole.astype(self.dtype)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return 1 - i1e(self.concentration) / i0e(self.concentration)

    def entropy(self) -> Tensor:
        k = self.concentration
        return k * (1 - i1e(k) / i0e(k)) + log(2 * math.pi * i0e(k))
