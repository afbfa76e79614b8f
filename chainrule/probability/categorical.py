"""Distributions over classes, and how often each comes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.activation import sigmoid, softplus
from chainrule.ops.arithmetic import maximum, minimum
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, log, log1p, xlogy
from chainrule.ops.gamma import gammaln
from chainrule.ops.indexing import one_hot, take_along_axis
from chainrule.ops.joining import stack
from chainrule.ops.reduction import all, any, argmax, sum
from chainrule.ops.running import cumulative_sum
from chainrule.ops.sampling import binomial_from
from chainrule.ops.softmax import log_softmax, logsumexp, softmax
from chainrule.ops.structure import expand_dims, squeeze
from chainrule.probability import constraints, noise
from chainrule.probability.constraints import Constraint, Integers
from chainrule.probability.distribution import Distribution, Shape, _named, _whole_number
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


class _Logits(constraints.Constraint):
    """Logits: numbers, of which −∞ stands for what cannot be."""

    event_dim = 1
    text = "logits, below infinity and one of them finite"
    unconstrained = True

    def _contains(self, x: Tensor) -> Tensor:
        return all(x < math.inf, axis=-1) & any(x > -math.inf, axis=-1)


class Classes(Distribution):
    """What distributions over classes share: `probs` or `logits`, (*batch, classes)."""

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": _Logits()}
    probs: Tensor
    logits: Tensor

    def _set_classes(self, probs: Any, logits: Any) -> None:
        self._either(("probs", probs), ("logits", logits), type(self).__name__)
        self._set(probs=probs, logits=logits)
        if probs is None:
            self.logits = log_softmax(self.logits)
            self.probs = exp(self.logits)
        else:
            self.logits = log(self.probs)
        with _named(type(self).__name__):
            if self.probs.shape[-1] == 0:
                raise ShapeError("there is no class: the last axis is of size 0")

    @property
    def num_events(self) -> int:
        """How many classes there are."""
        return int(self.probs.shape[-1])

    def _gumbel(self, shape: Shape, generator: Any) -> Tensor:
        """Logits with Gumbel noise, whose largest is a draw (Gumbel 1954; Maddison et al. 2014)."""
        return self.logits + noise.gumbel((*shape, self.num_events), self.dtype, generator)

    def entropy(self) -> Tensor:
        return -sum(xlogy(self.probs, self.probs), -1)


class Categorical(Classes):
    """One of K classes, 0 … K − 1.

    Args:
        probs: (*batch, K), from 0 on, adding up to 1 along the last axis.
        logits: (*batch, K), instead of `probs`; softmax makes probabilities of them.

    Samples are int64 class numbers.

    >>> round(Categorical(probs=[0.5, 0.25, 0.25]).entropy().item() / math.log(2), 4)  # in bits
    1.5
    """

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        self._set_classes(probs, logits)

    @property
    def support(self) -> Constraint:
        return Integers(0, self.num_events - 1)

    def _log_prob(self, x: Tensor) -> Tensor:
        shape = broadcast_shapes(x.shape, self.batch_shape)
        wide = self.logits.broadcast_to((*shape, self.num_events))
        index = expand_dims(x.astype(dtypes.int64).broadcast_to(shape), -1)
        return squeeze(take_along_axis(wide, index, axis=-1), -1)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return argmax(self._gumbel(shape, generator), axis=-1)

    def _cdf(self, x: Tensor) -> Tensor:
        classes = Tensor(np.arange(self.num_events, dtype=self.dtype))
        return sum(where(classes <= expand_dims(x, -1), self.probs, 0.0), -1)

    def _quantile(self, p: Tensor) -> Tensor:
        reached = cumulative_sum(self.probs, axis=-1)
        below = sum((reached < expand_dims(p, -1)).astype(dtypes.int64), -1)
        return minimum(below, self.num_events - 1)

    @property
    def mode(self) -> Tensor:
        return argmax(self.probs, axis=-1)

    @property
    def mean(self) -> Tensor:
        return self._filled(math.nan)  # classes are names, not numbers

    @property
    def variance(self) -> Tensor:
        return self._filled(math.nan)

    def enumerate_support(self) -> Tensor:
        k = self.num_events
        column = np.arange(k).reshape(-1, *(1,) * len(self.batch_shape))
        return Tensor(column).broadcast_to((k, *self.batch_shape))


class OneHotCategorical(Classes):
    """One of K classes, as a vector of zeros and a single one.

    Arguments as in `Categorical`.

    >>> OneHotCategorical(probs=[0.25, 0.75]).mode
    tensor([0., 1.])
    """

    support = constraints.one_hot

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        self._set_classes(probs, logits)
        self.event_shape = (self.num_events,)

    def _log_prob(self, x: Tensor) -> Tensor:
        return sum(where(x == 1, self.logits, 0.0), -1)

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        return x

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        index = argmax(self._gumbel(shape, generator), axis=-1)
        return one_hot(index, self.num_events, dtype=self.dtype)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return one_hot(argmax(self.probs, axis=-1), self.num_events, dtype=self.dtype)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def enumerate_support(self) -> Tensor:
        k = self.num_events
        eye = np.eye(k, dtype=self.dtype).reshape(k, *(1,) * len(self.batch_shape), k)
        return Tensor(eye).broadcast_to((k, *self.batch_shape, k))


class Multinomial(Classes):
    """How often each of K classes comes in n draws: n!/∏ k_i! · ∏ p_i^k_i.

    Args:
        total_count: n, a whole number, the same for the whole batch.
        probs, logits: as in `Categorical`.

    >>> round(Multinomial(2, probs=[0.5, 0.5]).log_prob([1.0, 1.0]).exp().item(), 4)
    0.5
    """

    def __init__(self, total_count: int = 1, probs: Any = None, logits: Any = None) -> None:
        with _named("Multinomial"):
            self.total_count = _whole_number(total_count, "total_count", 0)
        self._set_classes(probs, logits)
        self.event_shape = (self.num_events,)

    def _like(self, parameters: dict[str, Tensor]) -> Multinomial:
        return Multinomial(self.total_count, **parameters)

    @property
    def support(self) -> Constraint:
        return constraints.Counts(self.total_count)

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        return where(expand_dims(inside, -1), x, 0.0)

    def _log_prob(self, x: Tensor) -> Tensor:
        if "probs" in self._given:
            chances = xlogy(x, self.probs)
        else:
            chances = where(x == 0, 0.0, x * where(x == 0, 0.0, self.logits))
        return math.lgamma(self.total_count + 1) + sum(chances - gammaln(x + 1), -1)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        """Class after class: of the draws that are left, a binomial number falls to each."""
        probs = self.probs.astype(dtypes.float64)
        left = Tensor(np.full(shape, float(self.total_count)))
        rest: Any = 1.0
        counts = []
        for k in range(self.num_events - 1):
            p = probs[..., k]
            chance = maximum(0.0 * p, p / maximum(rest, 1e-300))
            chance = where(chance > 1, 1.0, chance)
            count = binomial_from(left, chance, noise.unit(shape, generator))
            counts.append(count)
            left, rest = left - count, maximum(rest - p, 0.0)
        return stack([*counts, left], axis=-1).astype(self.dtype)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def entropy(self) -> Tensor:
        raise self._missing("entropy")


class RelaxedBernoulli(Distribution):
    """A smooth stand-in for a Bernoulli variate, in (0, 1): sigmoid((logit + L)/T), L logistic.

    Args:
        temperature: T > 0; towards 0 the values go to 0 and 1.
        probs, logits: as in `Bernoulli`.

    Maddison, Mnih, Teh 2017, The concrete distribution; Jang, Gu, Poole 2017.

    >>> RelaxedBernoulli(0.5, probs=0.5).rsample((3,)).shape
    (3,)
    """

    arg_constraints: ClassVar = {
        "temperature": constraints.positive,
        "probs": constraints.Interval(0.0, 1.0, open_lower=True, open_upper=True),
        "logits": constraints.real,
    }
    support = constraints.unit_interval
    has_rsample = True
    temperature: Tensor
    probs: Tensor
    logits: Tensor

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None) -> None:
        self._either(("probs", probs), ("logits", logits), "RelaxedBernoulli")
        self._set(temperature=temperature, probs=probs, logits=logits)
        if probs is None:
            self.probs = sigmoid(self.logits)
        else:
            self.logits = log(self.probs) - log(1 - self.probs)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        drawn = noise.logistic(shape, self.dtype, generator)
        return sigmoid((self.logits + drawn) / self.temperature)

    def _log_prob(self, x: Tensor) -> Tensor:
        # log p = log T + d − 2 softplus(d) − log x − log(1 − x), d = logit − T logit(x)
        edge = (x <= 0) | (x >= 1)
        y = where(edge, 0.5, x)
        a, b = log(y), log1p(-y)
        d = self.logits - self.temperature * (a - b)
        return where(edge, -math.inf, log(self.temperature) + d - 2 * softplus(d) - a - b)


class RelaxedOneHotCategorical(Classes):
    """A smooth stand-in for a one-hot class: softmax((logits + G)/T), G Gumbel noise.

    Args:
        temperature: T > 0, a number for each of the batch.
        probs, logits: as in `Categorical`.

    The concrete distribution of Maddison, Mnih, Teh 2017, whose density, eq. 10, it has.

    >>> round(RelaxedOneHotCategorical(0.5, logits=[0.0, 1.0]).sample().sum().item(), 4)
    1.0
    """

    arg_constraints: ClassVar = {"temperature": constraints.positive, **Classes.arg_constraints}
    support = constraints.simplex
    has_rsample = True
    temperature: Tensor

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None) -> None:
        self._either(("probs", probs), ("logits", logits), "RelaxedOneHotCategorical")
        self._set(temperature=temperature, probs=probs, logits=logits)
        self.logits = log_softmax(self.logits) if probs is None else log(self.probs)
        self.probs = exp(self.logits)
        self.event_shape = (self.num_events,)

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        return where(expand_dims(inside, -1), x, 1 / self.num_events)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return softmax(self._gumbel(shape, generator) / expand_dims(self.temperature, -1))

    def _log_prob(self, x: Tensor) -> Tensor:
        k = self.num_events
        scores = self.logits - expand_dims(self.temperature, -1) * log(x)
        total = sum(scores - log(x), -1) - k * logsumexp(scores, axis=-1)
        return math.lgamma(k) + (k - 1) * log(self.temperature) + total

    def entropy(self) -> Tensor:
        raise self._missing("entropy")
