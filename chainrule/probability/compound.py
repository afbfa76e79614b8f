"""Distributions made of others (independent, transformed, mixed) or of given values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.ops.arithmetic import sign, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, log
from chainrule.ops.indexing import one_hot, take
from chainrule.ops.random import integers
from chainrule.ops.reduction import all, mean, sum, var
from chainrule.ops.softmax import logsumexp
from chainrule.ops.structure import expand_dims
from chainrule.probability import constraints
from chainrule.probability.categorical import Categorical
from chainrule.probability.constraints import Constraint
from chainrule.probability.distribution import Distribution, Shape, _named, _surely, _whole_number
from chainrule.probability.transforms import ComposeTransform, Transform, _listed, sum_events
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


class Independent(Distribution):
    """A distribution whose last `count` batch axes count as axes of its values: log_prob adds up.

    >>> from chainrule.probability import Normal
    >>> pair = Independent(Normal([0.0, 0.0], 1.0), 1)
    >>> pair.batch_shape, pair.event_shape, pair.log_prob([0.0, 0.0]).shape
    ((), (2,), ())
    """

    def __init__(self, base: Distribution, count: int = 1) -> None:
        with _named("Independent"):
            if not isinstance(base, Distribution):
                raise DTypeError(f"it takes a distribution, not {type(base).__name__}")
            self.count = _whole_number(count, "the number of axes", 0, len(base.batch_shape))
        self.base = base
        cut = len(base.batch_shape) - self.count
        self.batch_shape = base.batch_shape[:cut]
        self.event_shape = base.batch_shape[cut:] + base.event_shape
        self.dtype, self.has_rsample = base.dtype, base.has_rsample

    @property
    def support(self) -> Constraint:
        return constraints.Independent(self.base.support, self.count)

    @property
    def parameters(self) -> dict[str, Tensor]:
        return self.base.parameters

    def _expand(self, shape: Shape) -> Independent:
        own = self.base.batch_shape[len(self.base.batch_shape) - self.count :]
        return Independent(self.base.expand(shape + own), self.count)

    def log_prob(self, value: Any) -> Tensor:
        """The sum of the base's."""
        with _named("Independent.log_prob"):
            return sum_events(self.base.log_prob(self._values(value)), self.count)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        own = self.base.batch_shape[len(self.base.batch_shape) - self.count :]
        return self.base._sample(shape + own, generator)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def mode(self) -> Tensor:
        return self.base.mode

    @property
    def variance(self) -> Tensor:
        return self.base.variance

    def entropy(self) -> Tensor:
        return sum_events(self.base.entropy(), self.count)

    def __repr__(self) -> str:
        return f"Independent({self.base!r}, {self.count})"


class TransformedDistribution(Distribution):
    """The distribution of f(X): log p(y) = log p(x) − log |det ∂y/∂x| at x = f⁻¹(y).

    Args:
        base: the distribution of X.
        transforms: a `Transform` or a list of them, the first first.

    >>> from chainrule.probability import ExpTransform, Normal
    >>> log_normal = TransformedDistribution(Normal(0.0, 1.0), ExpTransform())
    >>> log_normal.support
    <constraint: positive>
    """

    def __init__(self, base: Distribution, transforms: Transform | Sequence[Transform]) -> None:
        with _named("TransformedDistribution"):
            if not isinstance(base, Distribution):
                raise DTypeError(f"it takes a distribution, not {type(base).__name__}")
            listed = _listed(transforms)
            self.transform = listed[0] if len(listed) == 1 else ComposeTransform(listed)
            missing = self.transform.domain_dim - len(base.event_shape)
            if missing > len(base.batch_shape):
                raise ShapeError(
                    f"{self.transform} takes values of {self.transform.domain_dim} axes, and "
                    f"{base} has {base.batch_shape + base.event_shape}"
                )
        base = base if missing <= 0 else Independent(base, missing)
        self.transforms = listed
        # What a scale or a location adds to the batch, the base is drawn anew for.
        inner = self.transform.inverse_shape(
            self.transform.forward_shape(base.batch_shape + base.event_shape)
        )
        batch = inner[: len(inner) - len(base.event_shape)]
        self.base = base if batch == base.batch_shape else base.expand(batch)
        # A shape of one value, and axes in front that the transform's parameters broadcast to.
        self._events = len(self.base.event_shape) + (
            self.transform.codomain_dim - self.transform.domain_dim
        )
        whole = self.transform.forward_shape(self.base.batch_shape + self.base.event_shape)
        cut = len(whole) - self._events
        self.batch_shape, self.event_shape = whole[:cut], whole[cut:]
        self.dtype, self.has_rsample = base.dtype, base.has_rsample

    @property
    def support(self) -> Constraint:
        found = self.transform.codomain
        if not self.transform.domain_dim and isinstance(found, constraints.Real):
            return found
        extra = self._events - found.event_dim
        return constraints.Independent(found, extra) if extra else found

    @property
    def parameters(self) -> dict[str, Tensor]:
        return self.base.parameters

    def _expand(self, shape: Shape) -> TransformedDistribution:
        return TransformedDistribution(self.base.expand(shape), self.transforms)

    def log_prob(self, value: Any) -> Tensor:
        """log p(x) − log |det ∂y/∂x|; −∞ outside of what the transform reaches."""
        with _named("TransformedDistribution.log_prob"):
            y = self._values(value)
            inside = self.support.contains(y)
            for _ in range(self._events):
                inside = expand_dims(inside, -1)
            # Outside, the inverse is taken at a point that is reached: f(0) does for every f here.
            start = self.transform._forward(self._origin(y))
            y = where(inside, y, start)
            x = self.transform._backward(y)
            if not _surely(x == x):  # a composed transform reaches less than its last part
                inside = inside & (x == x)
                y = where(inside, y, start)
                x = self.transform._backward(y)
            extra = len(self.base.event_shape) - self.transform.domain_dim
            slope = sum_events(self.transform._log_slope(x, y), extra)
            found = self.base.log_prob(x) - slope
            within = inside
            if self._events:
                within = all(inside, axis=tuple(range(-self._events, 0)))
            return where(within, found, -math.inf)

    def _origin(self, y: Tensor) -> Tensor:
        shape = self.base.event_shape
        inner: Any = 0.5 if self.transform.domain is not constraints.real else 0.0
        return Tensor(np.full(shape, inner, y.dtype))

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.transform._forward(self.base._sample(shape, generator))

    def _rising(self) -> Tensor:
        """+1 where f rises, −1 where it falls, by its values at two points."""
        if self._events:
            raise self._missing("cdf")
        points = self._origin(Tensor(np.zeros((), self.dtype)))
        return sign(self.transform._forward(points + 0.25) - self.transform._forward(points))

    def cdf(self, value: Any) -> Tensor:
        """That of the base at f⁻¹(value), from its other side where f falls."""
        with _named("TransformedDistribution.cdf"):
            y = self._values(value)
            up = self._rising()
            inside = self.support.contains(y)
            safe = where(inside, y, self.transform._forward(self._origin(y)))
            x = self.transform._backward(safe)
            found = where(up > 0, self.base.cdf(x), self.base.survival(x))
            low = y <= self.support.lower
            return where(inside, found, where(low, 0.0, 1.0))

    def quantile(self, p: Any) -> Tensor:
        """f of the base's quantile."""
        with _named("TransformedDistribution.quantile"):
            up = self._rising()
            p = as_operand(p)
            return self.transform._forward(self.base.quantile(where(up > 0, p, 1 - p)))

    icdf = quantile

    def __repr__(self) -> str:
        return f"TransformedDistribution({self.base!r}, {self.transforms})"


class MixtureSameFamily(Distribution):
    """A mixture: p(x) = Σ_k w_k p_k(x).

    Args:
        mixture_distribution: a `Categorical` of the weights, (*batch, K).
        component_distribution: a batch of distributions whose last batch axis is of size K.

    No derivative flows through samples: which component one is of is no smooth choice.

    >>> from chainrule.probability import Normal
    >>> two = MixtureSameFamily(Categorical(probs=[0.5, 0.5]), Normal([-2.0, 2.0], 1.0))
    >>> two.mean.item(), two.variance.item()
    (0.0, 5.0)
    """

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution
    ) -> None:
        weights, parts = mixture_distribution, component_distribution
        with _named("MixtureSameFamily"):
            if not isinstance(weights, Categorical) or not isinstance(parts, Distribution):
                raise DTypeError("it takes a Categorical and a distribution")
            if not parts.batch_shape or parts.batch_shape[-1] != weights.num_events:
                raise ShapeError(
                    f"there are weights for {weights.num_events} components, and the components' "
                    f"batch shape {parts.batch_shape} ends in another number"
                )
            self.batch_shape = broadcast_shapes(weights.batch_shape, parts.batch_shape[:-1])
        self.mixture_distribution = weights.expand(self.batch_shape)
        self.component_distribution = parts.expand((*self.batch_shape, weights.num_events))
        self.event_shape, self.dtype = parts.event_shape, parts.dtype

    @property
    def support(self) -> Constraint:
        return self.component_distribution.support

    @property
    def parameters(self) -> dict[str, Tensor]:
        return self.mixture_distribution.parameters | self.component_distribution.parameters

    def _expand(self, shape: Shape) -> MixtureSameFamily:
        weights = self.mixture_distribution
        return MixtureSameFamily(
            weights.expand(shape),
            self.component_distribution.expand((*shape, weights.num_events)),
        )

    def _each(self, value: Tensor) -> Tensor:
        """Values with an axis for the components."""
        return expand_dims(value, -1 - len(self.event_shape))

    def log_prob(self, value: Any) -> Tensor:
        """log Σ_k exp(log w_k + log p_k(value))."""
        with _named("MixtureSameFamily.log_prob"):
            x = self._each(self._values(value))
            terms = self.component_distribution.log_prob(x) + self.mixture_distribution.logits
            return logsumexp(terms, axis=-1)

    def cdf(self, value: Any) -> Tensor:
        """Σ_k w_k P_k(X ≤ value)."""
        with _named("MixtureSameFamily.cdf"):
            x = self._each(self._values(value))
            return sum(self.mixture_distribution.probs * self.component_distribution.cdf(x), -1)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        weights, parts = self.mixture_distribution, self.component_distribution
        chosen = one_hot(weights._sample(shape, generator), weights.num_events, dtype=parts.dtype)
        drawn = parts._sample((*shape, weights.num_events), generator)
        for _ in self.event_shape:
            chosen = expand_dims(chosen, -1)
        return sum(where(chosen == 1, drawn, 0.0), -1 - len(self.event_shape))

    def _weighted(self, values: Tensor) -> Tensor:
        weights = self.mixture_distribution.probs
        for _ in self.event_shape:
            weights = expand_dims(weights, -1)
        return sum(weights * values, -1 - len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self._weighted(self.component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        """E[variance within] + variance of the means."""
        parts = self.component_distribution
        return self._weighted(parts.variance + square(parts.mean - self._each(self.mean)))

    def posterior(self, value: Any) -> Tensor:
        """P(component | value) by Bayes' theorem: (…, K), adding up to 1."""
        with _named("MixtureSameFamily.posterior"):
            x = self._each(self._values(value))
            terms = self.component_distribution.log_prob(x) + self.mixture_distribution.logits
            return exp(terms - logsumexp(terms, axis=-1, keepdims=True))

    def __repr__(self) -> str:
        return f"MixtureSameFamily({self.mixture_distribution!r}, {self.component_distribution!r})"


class Delta(Distribution):
    """All mass at one point.

    Args:
        v: the point; the last `event_dim` axes make one.

    >>> Delta(2.0).log_prob([1.0, 2.0])
    tensor([-inf,   0.])
    """

    arg_constraints: ClassVar = {"v": constraints.Constraint()}
    has_rsample = True
    v: Tensor

    def __init__(self, v: Any, event_dim: int = 0) -> None:
        with _named("Delta"):
            point = as_operand(v)
            self._axes = _whole_number(event_dim, "event_dim", 0, point.ndim)
            if point.dtype.kind == "c":
                raise DTypeError(f"v is real, and this is {point.dtype}")
            if point.dtype.kind not in "fV":
                point = point.astype(self.dtype)
        self.v, self._given, self.dtype = point, ("v",), point.dtype
        cut = point.ndim - self._axes
        self.batch_shape, self.event_shape = point.shape[:cut], point.shape[cut:]

    def _expand(self, shape: Shape) -> Delta:
        return Delta(self.v.broadcast_to(shape + self.event_shape), self._axes)

    def log_prob(self, value: Any) -> Tensor:
        """0 at the point, −∞ elsewhere."""
        with _named("Delta.log_prob"):
            x = self._values(value)
            terms = where(x == self.v, 0.0, -math.inf).astype(self.dtype)
            return sum_events(terms, self._axes)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        return self.v.broadcast_to(shape + self.event_shape)

    def cdf(self, value: Any) -> Tensor:
        """1 from the point on."""
        with _named("Delta.cdf"):
            if self._axes:
                raise self._missing("cdf")
            return where(self._values(value) >= self.v, 1.0, 0.0).astype(self.dtype)

    @property
    def mean(self) -> Tensor:
        return self.v

    @property
    def mode(self) -> Tensor:
        return self.v

    @property
    def variance(self) -> Tensor:
        return 0 * self.v

    def entropy(self) -> Tensor:
        """0: nothing is uncertain."""
        return sum_events(0 * self.v, self._axes)


class Empirical(Distribution):
    """Equally likely each of n given values: what a sample says by itself.

    Args:
        samples: (n, *event), the values along the first axis.

    >>> Empirical([1.0, 2.0, 2.0, 3.0]).cdf(2.0).item()
    0.75
    """

    arg_constraints: ClassVar = {"samples": constraints.Constraint()}
    samples: Tensor

    def __init__(self, samples: Any) -> None:
        with _named("Empirical"):
            values = as_operand(samples)
            if values.dtype.kind == "c":
                raise DTypeError(f"samples are real, and these are {values.dtype}")
            if values.ndim == 0 or values.shape[0] == 0:
                raise DataError(f"its first axis has one value or more, and this is {values.shape}")
            if values.dtype.kind not in "fV":
                values = values.astype(self.dtype)
        self.samples, self._given, self.dtype = values, ("samples",), values.dtype
        self.event_shape = values.shape[1:]

    def _expand(self, shape: Shape) -> Empirical:
        if shape:
            raise ShapeError("Empirical has no batch: it is one distribution")
        return self

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the share of the values that equal `value`."""
        with _named("Empirical.log_prob"):
            x = expand_dims(self._values(value), -1 - len(self.event_shape))
            equal = x == self.samples
            if self.event_shape:
                equal = all(equal, axis=tuple(range(-len(self.event_shape), 0)))
            return log(mean(equal.astype(self.dtype), axis=-1))

    def cdf(self, value: Any) -> Tensor:
        """The share of the values up to `value`."""
        with _named("Empirical.cdf"):
            if self.event_shape:
                raise ShapeError(f"values of shape {self.event_shape} have no order, so no cdf")
            below = expand_dims(self._values(value), -1) >= self.samples
            return mean(below.astype(self.dtype), axis=-1)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        n = self.samples.shape[0]
        return take(self.samples, integers(0, n, shape, generator=generator), axis=0)

    @property
    def mean(self) -> Tensor:
        return mean(self.samples, axis=0)

    @property
    def variance(self) -> Tensor:
        return var(self.samples, axis=0)
