"""Distributions over the numbers from 0 to 1."""

from __future__ import annotations

from typing import Any, ClassVar

from chainrule.ops.activation import sigmoid
from chainrule.ops.arithmetic import abs, pow, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, expm1, log, log1p, xlogy
from chainrule.ops.gamma import betaln, digamma
from chainrule.ops.incomplete import betainc, betaincc, betaincinv
from chainrule.ops.transcendental import xlog1py
from chainrule.probability import constraints, noise
from chainrule.probability.continuous import EULER
from chainrule.probability.distribution import Distribution, Shape
from chainrule.tensor.tensor import Tensor


class Beta(Distribution):
    """The beta distribution, p(x) = xᵃ⁻¹ (1 − x)ᵇ⁻¹ / B(a, b).

    Args:
        concentration1: a > 0.
        concentration0: b > 0.

    Samples are X/(X + Y) of two gamma variates, computed from their logarithms, so that small
    concentrations do not round them to 0/0; derivatives flow to both.

    >>> Beta(2.0, 6.0).mean.item()
    0.25
    """

    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True
    concentration1: Tensor
    concentration0: Tensor

    def __init__(self, concentration1: Any, concentration0: Any) -> None:
        self._set(concentration1=concentration1, concentration0=concentration0)

    @property
    def _ab(self) -> tuple[Tensor, Tensor]:
        return self.concentration1, self.concentration0

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = self._ab
        return xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        a, b = self._ab
        odds = noise.log_gamma(a, shape, generator) - noise.log_gamma(b, shape, generator)
        return sigmoid(odds).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return betainc(*self._ab, x)

    def _survival(self, x: Tensor) -> Tensor:
        return betaincc(*self._ab, x)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        return betaincinv(*self._ab, p)

    @property
    def mean(self) -> Tensor:
        a, b = self._ab
        return a / (a + b)

    @property
    def mode(self) -> Tensor:
        a, b = self._ab
        inner = (a > 1) & (b > 1)
        middle = where(inner, a - 1, 1.0) / where(inner, a + b - 2, 2.0)
        edge = where(a > b, 1.0, where(a < b, 0.0, where(a == 1, 0.5, 0.0)))
        return where(inner, middle, edge.astype(self.dtype))

    @property
    def variance(self) -> Tensor:
        a, b = self._ab
        return a * b / (square(a + b) * (a + b + 1))

    def entropy(self) -> Tensor:
        a, b = self._ab
        return (
            betaln(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b)
            + (a + b - 2) * digamma(a + b)
        )  # fmt: skip


class Kumaraswamy(Distribution):
    """The Kumaraswamy distribution, P(X ≤ x) = 1 − (1 − xᵃ)ᵇ: nearly a beta one, in closed form.

    Args:
        concentration1: a > 0.
        concentration0: b > 0.

    >>> Kumaraswamy(1.0, 2.0).cdf(0.5).item()
    0.75
    """

    arg_constraints = Beta.arg_constraints
    support = constraints.unit_interval
    has_rsample = True
    concentration1: Tensor
    concentration0: Tensor

    def __init__(self, concentration1: Any, concentration0: Any) -> None:
        self._set(concentration1=concentration1, concentration0=concentration0)

    @property
    def _ab(self) -> tuple[Tensor, Tensor]:
        return self.concentration1, self.concentration0

    def _log_prob(self, x: Tensor) -> Tensor:
        a, b = self._ab
        return log(a) + log(b) + xlogy(a - 1, x) + xlog1py(b - 1, -pow(x, a))

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self._quantile(noise.unit(shape, generator)).astype(self.dtype)

    def _log_survival(self, x: Tensor) -> Tensor:
        a, b = self._ab
        return xlog1py(b, -pow(x, a))

    def _survival(self, x: Tensor) -> Tensor:
        return exp(self._log_survival(x))

    def _cdf(self, x: Tensor) -> Tensor:
        return -expm1(self._log_survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        a, b = self._ab
        return pow(-expm1(log1p(-p) / b), 1 / a)

    def _moment(self, n: int) -> Tensor:
        """E[Xⁿ] = b B(1 + n/a, b)."""
        a, b = self._ab
        return b * exp(betaln(1 + n / a, b))

    @property
    def mean(self) -> Tensor:
        return self._moment(1)

    @property
    def variance(self) -> Tensor:
        return self._moment(2) - square(self._moment(1))

    @property
    def mode(self) -> Tensor:
        a, b = self._ab
        inner = (a > 1) & (b > 1)
        middle = pow(where(inner, a - 1, 1.0) / where(inner, a * b - 1, 2.0), 1 / a)
        edge = where((b < 1) & (a >= 1), 1.0, where((a < 1) | (b > 1), 0.0, 1.0))
        return where(inner, middle, edge.astype(self.dtype))

    def entropy(self) -> Tensor:
        a, b = self._ab
        harmonic = digamma(b + 1) + EULER
        return 1 - 1 / b + (1 - 1 / a) * harmonic - log(a) - log(b)


class ContinuousBernoulli(Distribution):
    """Numbers from 0 to 1 with density p(x) ∝ exp(l x): pixels not quite black or white.

    Args:
        probs: λ in (0, 1), where l = log(λ/(1 − λ)); it is not the mean.
        logits: l, instead of `probs`.

    Loaiza-Ganem, Cunningham 2019, The continuous Bernoulli.

    >>> ContinuousBernoulli(probs=0.5).prob(0.3).item()  # uniform
    1.0
    """

    arg_constraints: ClassVar = {
        "probs": constraints.Interval(0.0, 1.0, open_lower=True, open_upper=True),
        "logits": constraints.real,
    }
    support = constraints.unit_interval
    has_rsample = True
    probs: Tensor
    logits: Tensor

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        self._either(("probs", probs), ("logits", logits), "ContinuousBernoulli")
        self._set(probs=probs, logits=logits)
        if probs is None:
            self.probs = sigmoid(self.logits)
        else:
            self.logits = log(self.probs) - log1p(-self.probs)

    def _log_prob(self, x: Tensor) -> Tensor:
        # ∫ exp(l x) dx = exp(l/2) · sinh(l/2) / (l/2)
        return self.logits * (x - 0.5) - _log_sinhc(0.5 * self.logits)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self._quantile(noise.unit(shape, generator)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        # expm1(l x)/expm1(l); for l > 0 from above, where nothing overflows
        slope, up = self._split()
        y, flat = where(up, 1 - x, x), slope == 0
        part = where(flat, y, expm1(slope * y) / where(flat, 1.0, expm1(slope)))
        return where(up, 1 - part, part)

    def _quantile(self, p: Tensor) -> Tensor:
        slope, up = self._split()
        q, flat = where(up, 1 - p, p), slope == 0
        part = where(flat, q, log1p(q * expm1(slope)) / where(flat, 1.0, slope))
        return where(up, 1 - part, part)

    def _split(self) -> tuple[Tensor, Tensor]:
        """(−|l|, whether l > 0): the distribution, mirrored where it rises."""
        up = self.logits > 0
        return -abs(self.logits), up

    @property
    def mean(self) -> Tensor:
        near = abs(self.logits) < 0.1
        m = where(near, self.logits, 0.0)
        safe = where(near, 1.0, self.logits)
        series = 0.5 + m / 12 - m**3 / 720 + m**5 / 30240 - m**7 / 1209600
        return where(near, series, -1 / expm1(-safe) - 1 / safe)

    @property
    def variance(self) -> Tensor:
        near = abs(self.logits) < 0.3
        m = square(where(near, self.logits, 0.0))
        safe = where(near, 1.0, self.logits)
        series = 1 / 12 - m / 240 + m**2 / 6048 - m**3 / 172800 + m**4 / 5322240
        half = abs(0.5 * safe)
        # 1/l² − 1/(2 sinh(l/2))², the square from exp(−|l|/2), which cannot overflow
        return where(near, series, 1 / square(safe) - square(exp(-half) / -expm1(-2 * half)))

    @property
    def mode(self) -> Tensor:
        return where(self.logits > 0, 1.0, where(self.logits < 0, 0.0, 0.5)).astype(self.dtype)

    def entropy(self) -> Tensor:
        return _log_sinhc(0.5 * self.logits) - self.logits * (self.mean - 0.5)


def _log_sinhc(h: Tensor) -> Tensor:
    """log(sinh(h)/h), by its series near 0."""
    near = abs(h) < 0.2
    s = square(where(near, h, 0.0))
    safe = where(near, 1.0, abs(h))
    series = s / 6 - s**2 / 180 + s**3 / 2835 - s**4 / 37800 + s**5 / 467775
    return where(near, series, safe + log1p(-exp(-2 * safe)) - log(2 * safe))
