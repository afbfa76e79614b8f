"""Distributions over counts."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError
from chainrule.ops.activation import log_sigmoid, sigmoid
from chainrule.ops.arithmetic import ceil, floor, maximum, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, expm1, log, log1p, xlogy
from chainrule.ops.gamma import betaln, gammaln
from chainrule.ops.incomplete import betainc, gammainc, gammaincc
from chainrule.ops.sampling import (
    binomial_from,
    binomial_quantile,
    poisson_from,
    poisson_quantile,
)
from chainrule.ops.transcendental import xlog1py
from chainrule.probability import constraints, noise
from chainrule.probability.constraints import Constraint, Integers, Interval
from chainrule.probability.distribution import Distribution, Shape
from chainrule.tensor.tensor import Tensor


class Trials(Distribution):
    """What distributions of trials share: a probability of success, as `probs` or as `logits`."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    probs: Tensor
    logits: Tensor

    def _set_chance(self, probs: Any, logits: Any, **others: Any) -> None:
        self._either(("probs", probs), ("logits", logits), type(self).__name__)
        self._set(**others, probs=probs, logits=logits)
        if probs is None:
            self.probs = sigmoid(self.logits)
        else:
            self.logits = log(self.probs) - log1p(-self.probs)

    def _times_log_p(self, k: Tensor) -> Tensor:
        """k log p, which is 0 for k = 0."""
        return xlogy(k, self.probs) if "probs" in self._given else k * log_sigmoid(self.logits)

    def _times_log_q(self, k: Tensor) -> Tensor:
        """k log(1 − p), which is 0 for k = 0."""
        if "probs" in self._given:
            return xlog1py(k, -self.probs)
        return k * log_sigmoid(-self.logits)

    @property
    def _q(self) -> Tensor:
        """1 − p, exact where p is near 1."""
        return 1 - self.probs if "probs" in self._given else sigmoid(-self.logits)


class Bernoulli(Trials):
    """Yes or no: 1 with probability p, else 0.

    Args:
        probs: p in [0, 1].
        logits: log(p/(1 − p)), instead of `probs`.

    >>> round(Bernoulli(probs=0.25).log_prob(1).exp().item(), 4)
    0.25
    """

    support = constraints.boolean

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        self._set_chance(probs, logits)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._times_log_p(x) + self._times_log_q(1 - x)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return (noise.unit(shape, generator) < self.probs).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return self._q + 0 * x  # the support's ends are looked after

    def _survival(self, x: Tensor) -> Tensor:
        return self.probs + 0 * x

    def _log_survival(self, x: Tensor) -> Tensor:
        return self._times_log_p(0 * x + 1)

    def _quantile(self, p: Tensor) -> Tensor:
        return where(p <= self._q, 0.0, 1.0).astype(p.dtype)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return where(self.probs > 0.5, 1.0, 0.0).astype(self.dtype)

    @property
    def variance(self) -> Tensor:
        return self.probs * self._q

    def entropy(self) -> Tensor:
        return -self._times_log_p(self.probs) - self._times_log_q(self._q)

    def enumerate_support(self) -> Tensor:
        return _every(self, np.arange(2))


def _every(d: Distribution, values: np.ndarray) -> Tensor:
    """Numbers for the whole batch, along a new first axis."""
    column = values.reshape(-1, *(1,) * len(d.batch_shape)).astype(d.dtype)
    return Tensor(column).broadcast_to((len(values), *d.batch_shape))


class Binomial(Trials):
    """How many of n trials succeed: C(n, k) pᵏ (1 − p)ⁿ⁻ᵏ.

    Args:
        total_count: n, a whole number from 0 on.
        probs: p in [0, 1].
        logits: log(p/(1 − p)), instead of `probs`.

    >>> round(Binomial(4, probs=0.5).log_prob(2).exp().item(), 4)
    0.375
    """

    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative_integer,
        **Trials.arg_constraints,
    }
    total_count: Tensor

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None) -> None:
        self._set_chance(probs, logits, total_count=total_count)

    @property
    def support(self) -> Constraint:
        return Integers(0, self.total_count)

    def _log_prob(self, x: Tensor) -> Tensor:
        n = self.total_count
        ways = -log(n + 1) - betaln(n - x + 1, x + 1)
        return ways + self._times_log_p(x) + self._times_log_q(n - x)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        u = noise.unit(shape, generator)
        return binomial_from(self.total_count, self.probs, u).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return betainc(maximum(self.total_count - x, 1.0), x + 1, self._q)

    def _survival(self, x: Tensor) -> Tensor:
        return betainc(x + 1, maximum(self.total_count - x, 1.0), self.probs)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        return binomial_quantile(self.total_count, self.probs, p)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        n = self.total_count
        return where(self.probs >= 1, n, floor((n + 1) * self.probs))

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * self._q

    def entropy(self) -> Tensor:
        """−Σ p log p over all counts."""
        values = self.enumerate_support()
        terms = self.log_prob(values)
        impossible = terms == -math.inf
        safe = where(impossible, 0.0, terms)
        return -where(impossible, 0.0, exp(safe) * safe).sum(0)

    def enumerate_support(self) -> Tensor:
        counts = self.total_count.numpy()
        if counts.size == 0 or (counts != counts.flat[0]).any():
            raise DataError("total_count is not the same everywhere: the supports differ in length")
        return _every(self, np.arange(int(counts.flat[0]) + 1))


class Geometric(Trials):
    """How many trials fail before the first success: p (1 − p)ᵏ, k = 0, 1, …

    Args:
        probs: p in (0, 1].
        logits: log(p/(1 − p)), instead of `probs`.

    >>> Geometric(probs=0.25).mean.item()
    3.0
    """

    arg_constraints: ClassVar = {
        "probs": Interval(0.0, 1.0, open_lower=True),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        self._set_chance(probs, logits)

    @property
    def _log_q(self) -> Tensor:
        given = "probs" in self._given
        return log1p(-self.probs) if given else log_sigmoid(-self.logits)

    def _log_prob(self, x: Tensor) -> Tensor:
        return self._times_log_q(x) + self._times_log_p(0 * x + 1)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return floor(log(noise.unit(shape, generator)) / self._log_q).astype(self.dtype)

    def _log_survival(self, x: Tensor) -> Tensor:
        return (x + 1) * self._log_q

    def _survival(self, x: Tensor) -> Tensor:
        return exp(self._log_survival(x))

    def _cdf(self, x: Tensor) -> Tensor:
        return -expm1(self._log_survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        k = maximum(ceil(log1p(-p) / self._log_q) - 1, 0.0)
        lower = maximum(k - 1, 0.0)
        return where((k > 0) & (self._cdf(lower) >= p), lower, k)

    @property
    def mean(self) -> Tensor:
        return self._q / self.probs

    @property
    def mode(self) -> Tensor:
        return self._filled(0.0)

    @property
    def variance(self) -> Tensor:
        return self._q / square(self.probs)

    def entropy(self) -> Tensor:
        return -(self._times_log_p(self.probs) + self._times_log_q(self._q)) / self.probs


class NegativeBinomial(Trials):
    """How many trials succeed before r fail: Γ(k + r)/(k! Γ(r)) (1 − p)ʳ pᵏ, as PyTorch counts.

    Args:
        total_count: r > 0, not only whole.
        probs: p in [0, 1), the chance of what is counted.
        logits: log(p/(1 − p)), instead of `probs`.

    It is a Poisson distribution whose rate is a gamma variate: counts that vary more than its.

    >>> NegativeBinomial(3.0, probs=0.5).mean.item()
    3.0
    """

    arg_constraints: ClassVar = {
        "total_count": constraints.positive,
        "probs": Interval(0.0, 1.0, open_upper=True),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer
    total_count: Tensor

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None) -> None:
        self._set_chance(probs, logits, total_count=total_count)

    def _log_prob(self, x: Tensor) -> Tensor:
        r = self.total_count
        # Γ(k + r)/(k! Γ(r)) = 1/((k + r) B(k + 1, r))
        ways = -log(r + x) - betaln(x + 1, r)
        return ways + self._times_log_p(x) + self._times_log_q(r)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        log_rate = noise.log_gamma(self.total_count, shape, generator) + self.logits
        return poisson_from(exp(log_rate), noise.unit(shape, generator)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return betainc(self.total_count, x + 1, self._q)

    def _survival(self, x: Tensor) -> Tensor:
        return betainc(x + 1, self.total_count, self.probs)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs / self._q

    @property
    def mode(self) -> Tensor:
        return floor(maximum(self.total_count - 1, 0.0) * self.probs / self._q)

    @property
    def variance(self) -> Tensor:
        return self.mean / self._q


class Poisson(Distribution):
    """The Poisson distribution, λᵏ exp(−λ) / k!.

    Args:
        rate: λ ≥ 0, the mean.

    >>> round(Poisson(2.0).log_prob(0).item(), 4)
    -2.0
    """

    surprisal = "rate − x · log(rate) + logΓ(x + 1)"
    arg_constraints: ClassVar = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    rate: Tensor

    def __init__(self, rate: Any) -> None:
        self._set(rate=rate)

    def _log_prob(self, x: Tensor) -> Tensor:
        return xlogy(x, self.rate) - self.rate - gammaln(x + 1)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return poisson_from(self.rate, noise.unit(shape, generator)).astype(self.dtype)

    def _cdf(self, x: Tensor) -> Tensor:
        return gammaincc(x + 1, self.rate)

    def _survival(self, x: Tensor) -> Tensor:
        return gammainc(x + 1, self.rate)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log(self._survival(x))

    def _quantile(self, p: Tensor) -> Tensor:
        return poisson_quantile(self.rate, p)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return floor(self.rate)

    @property
    def variance(self) -> Tensor:
        return self.rate


class ZeroInflatedPoisson(Distribution):
    """A Poisson count that is 0 for another reason, too: with probability π, whatever the rate.

    Args:
        rate: λ ≥ 0.
        gate: π in [0, 1].

    >>> ZeroInflatedPoisson(2.0, 0.5).mean.item()
    1.0
    """

    arg_constraints: ClassVar = {"rate": constraints.nonnegative, "gate": constraints.unit_interval}
    support = constraints.nonnegative_integer
    rate: Tensor
    gate: Tensor

    def __init__(self, rate: Any, gate: Any) -> None:
        self._set(rate=rate, gate=gate)

    @property
    def _count(self) -> Poisson:
        return Poisson(self.rate)

    def _log_prob(self, x: Tensor) -> Tensor:
        zero = x == 0
        at_zero = log(self.gate + (1 - self.gate) * exp(-self.rate))
        return where(zero, at_zero, log1p(-self.gate) + self._count._log_prob(where(zero, 1.0, x)))

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        count = self._count._sample(shape, generator)
        return where(noise.unit(shape, generator) < self.gate, 0.0, count)

    def _cdf(self, x: Tensor) -> Tensor:
        return self.gate + (1 - self.gate) * self._count._cdf(x)

    @property
    def mean(self) -> Tensor:
        return (1 - self.gate) * self.rate

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 + self.gate * self.rate)
