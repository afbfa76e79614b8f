"""What a distribution is: parameters with their domains, a support, and what follows from both.

A subclass declares `arg_constraints`, `support` and the mathematics of points inside of the
support: `_log_prob`, `_sample`, and what else exists in closed form (`_cdf`, `_quantile`, moments).
Arguments, broadcasting, supports, dtypes and errors are looked after here, once.
"""

from __future__ import annotations

import operator
from typing import Any, ClassVar, Self

import numpy as np

from chainrule.errors import ChainruleError, DataError, DTypeError, ShapeError
from chainrule.ops.arithmetic import floor, sqrt
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, log, log1p
from chainrule.ops.structure import stop_gradient
from chainrule.probability import constraints
from chainrule.probability.constraints import Constraint
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.locate import Explained, fail
from chainrule.tensor.shapes import broadcast_shapes, normalise_shape
from chainrule.tensor.tensor import Tensor

Shape = tuple[int, ...]

FORMS = ("probs", "logits", "covariance_matrix", "precision_matrix", "scale_tril")
"""Parameters that say the same in another form: one is given, the others are None."""


class Distribution(Explained):
    """The base of all distributions.

    A distribution may be a batch of them: `batch_shape` is the shape that its parameters broadcast
    to, `event_shape` that of one value (empty for numbers). `sample(shape)` has the shape
    `shape + batch_shape + event_shape`; `log_prob(value)` takes values that broadcast with
    `batch_shape + event_shape` and gives one number an event.

    Attributes:
        arg_constraints: what each parameter may be.
        support: where the mass is.
        has_rsample: whether derivatives flow from samples to the parameters.
        batch_shape, event_shape, dtype.
        surprisal: −log p(x) as a formula in x and the parameters, for `explain`; "" where none is
            written down.
    """

    surprisal: ClassVar[str] = ""
    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    support: Any = constraints.real
    has_rsample = False
    batch_shape: Shape = ()
    event_shape: Shape = ()
    dtype: np.dtype = dtypes.float32
    _given: tuple[str, ...] = ()

    # Parameters

    def _set(self, **given: Any) -> None:
        """Take parameters: to one floating-point dtype, to one batch shape, checked."""
        with _named(type(self).__name__):
            for name, value in given.items():
                if value is None and name not in FORMS:
                    raise DTypeError(f"{name} is a number or an array of them, not None")
            self._given = tuple(name for name, value in given.items() if value is not None)
            tensors = {name: as_operand(given[name]) for name in self._given}
            self.dtype = _float_dtype(tensors)
            shapes = []
            for name, x in tensors.items():
                axes = self.arg_constraints[name].event_dim
                if x.ndim < axes:
                    raise ShapeError(
                        f"{name} has {axes} ax{'is' if axes == 1 else 'es'} or more, and this is "
                        f"of shape {x.shape}"
                    )
                shapes.append(x.shape[: x.ndim - axes])
            self.batch_shape = broadcast_shapes(*shapes)
            for name, x in tensors.items():
                if x.dtype != self.dtype:
                    x = x.astype(self.dtype)
                constraint = self.arg_constraints[name]
                _check(name, x, constraint)
                whole = self.batch_shape + x.shape[x.ndim - constraint.event_dim :]
                setattr(self, name, x if x.shape == whole else x.broadcast_to(whole))

    @staticmethod
    def _either(first: tuple[str, Any], second: tuple[str, Any], owner: str) -> None:
        """Exactly one of two ways of saying the same."""
        if (first[1] is None) == (second[1] is None):
            some = "both" if first[1] is not None else "neither"
            with _named(owner):
                raise DTypeError(f"it takes {first[0]} or {second[0]}, and {some} was given")

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The parameters that it was made with, by name."""
        return {name: getattr(self, name) for name in self._given}

    def expand(self, batch_shape: Any) -> Self:
        """The same distribution for a larger batch.

        Raises:
            ShapeError: the batch does not broadcast to that shape.
        """
        shape = normalise_shape(batch_shape)
        with _named(f"{type(self).__name__}.expand"):
            return self._expand(shape)

    def _expand(self, shape: Shape) -> Self:
        wide = {}
        for name, x in self.parameters.items():
            axes = self.arg_constraints[name].event_dim
            wide[name] = x.broadcast_to(shape + x.shape[x.ndim - axes :])
        return self._like(wide)

    def _like(self, parameters: dict[str, Tensor]) -> Self:
        """Another of its kind."""
        return type(self)(**parameters)

    def independent(self, count: int = 1) -> Distribution:
        """With the last `count` axes of the batch as axes of the event: `Independent`."""
        from chainrule.probability.compound import Independent

        return Independent(self, count)

    def __repr__(self) -> str:
        parts = [
            f"{name}={x.item():g}" if x.ndim == 0 and x._value is not None else f"{name}: {x.shape}"
            for name, x in self.parameters.items()
        ]
        return f"{type(self).__name__}({', '.join(parts)})"

    # Density

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the density, or of the probability, at values.

        −∞ outside of the support, as SciPy has it; NaN for NaN.

        Args:
            value: broadcasts with `batch_shape + event_shape`.

        Raises:
            ShapeError: it does not.
        """
        with _named(f"{type(self).__name__}.log_prob"):
            x = self._values(value)
            support = self.support
            inside = support.contains(x)
            if _surely(inside):
                return self._log_prob(x)
            outside = where(_is_nan(x, support.event_dim), np.nan, -np.inf).astype(self.dtype)
            return where(inside, self._log_prob(self._safe(inside, x, support)), outside)

    def prob(self, value: Any) -> Tensor:
        """The density, or the probability, at values."""
        return exp(self.log_prob(value))

    def _log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _values(self, value: Any) -> Tensor:
        """Values of this distribution as a tensor of at least its dtype."""
        x = as_operand(value)
        if x.dtype.kind == "c":
            raise DTypeError(f"values are real numbers, and these are {x.dtype}")
        wide = dtypes.promote(x.dtype, self.dtype) if dtypes.is_float(x.dtype) else self.dtype
        x = x if x.dtype == wide else x.astype(wide)
        event, own = self.event_shape, self.batch_shape + self.event_shape
        if event and x.shape[max(x.ndim - len(event), 0) :] != event:
            raise ShapeError(
                f"one value has the shape {event}, and these end in {x.shape[-len(event) :]}"
            )
        broadcast_shapes(x.shape, own)
        return x

    def _safe(self, inside: Tensor, x: Tensor, support: Constraint) -> Tensor:
        """The values, those outside replaced by one inside, so that no derivative is NaN there."""
        for _ in range(support.event_dim):
            inside = inside.reshape(*inside.shape, 1)
        inner = support.inner()
        return where(
            inside, x, inner if isinstance(inner, Tensor) else Tensor(np.asarray(inner, x.dtype))
        )

    # Distribution function, for distributions of numbers

    def cdf(self, value: Any) -> Tensor:
        """P(X ≤ value)."""
        return self._tail("cdf", self._cdf, value, 0.0, 1.0)

    def log_cdf(self, value: Any) -> Tensor:
        """log P(X ≤ value), exact where the probability would round to 0, if that is known how."""
        return self._tail("log_cdf", self._log_cdf, value, -np.inf, 0.0)

    def survival(self, value: Any) -> Tensor:
        """P(X > value), exact where 1 − cdf would round to 0, if that is known how."""
        return self._tail("survival", self._survival, value, 1.0, 0.0)

    def log_survival(self, value: Any) -> Tensor:
        """log P(X > value)."""
        return self._tail("log_survival", self._log_survival, value, 0.0, -np.inf)

    def _tail(self, name: str, function: Any, value: Any, before: float, behind: float) -> Tensor:
        with _named(f"{type(self).__name__}.{name}"):
            x = self._values(value)
            support = self.support
            if self.event_shape:
                raise ShapeError(f"values of shape {self.event_shape} have no order, so no {name}")
            if support.discrete:
                x = floor(x)
            low = x < support.lower
            high = x >= support.upper
            if isinstance(support, constraints.Real):
                low = x <= -np.inf
            known = x == x
            safe = self._safe(~(low | high) & known, x, support)
            found = function(safe)
            found = where(low, before, where(high, behind, found))
            return found if _surely(known) else where(known, found, np.nan)

    def _cdf(self, x: Tensor) -> Tensor:
        raise self._missing("cdf")

    def _log_cdf(self, x: Tensor) -> Tensor:
        return log(self._cdf(x))

    def _survival(self, x: Tensor) -> Tensor:
        return 1 - self._cdf(x)

    def _log_survival(self, x: Tensor) -> Tensor:
        return log1p(-self._cdf(x))

    def quantile(self, p: Any) -> Tensor:
        """The smallest x with P(X ≤ x) ≥ p.

        Raises:
            DataError: p is no probability; it names the element.
        """
        with _named(f"{type(self).__name__}.quantile"):
            p = as_operand(p)
            wide = dtypes.promote(p.dtype, self.dtype) if dtypes.is_float(p.dtype) else self.dtype
            p = p if p.dtype == wide else p.astype(wide)
            _check("a probability", p, constraints.unit_interval)
            broadcast_shapes(p.shape, self.batch_shape)
            return self._quantile(p)

    icdf = quantile

    def _quantile(self, p: Tensor) -> Tensor:
        raise self._missing("quantile")

    # Samples

    def sample(self, shape: Any = (), *, generator: Any = None) -> Tensor:
        """Values drawn from it, `shape + batch_shape + event_shape` of them.

        Derivatives flow to the parameters where `has_rsample`; elsewhere the values are constants.

        Args:
            shape: a whole number or a tuple of them.
            generator: a `cr.Generator`; the one that `cr.seed` starts if left out.
        """
        size = normalise_shape(shape)
        with _named(f"{type(self).__name__}.sample"):
            drawn = self._sample(size + self.batch_shape, generator)
        return drawn if self.has_rsample else stop_gradient(drawn)

    def rsample(self, shape: Any = (), *, generator: Any = None) -> Tensor:
        """`sample`, refused where no derivative flows to the parameters.

        Raises:
            DataError: the distribution is not reparameterised.
        """
        if not self.has_rsample:
            with _named(f"{type(self).__name__}.rsample"):
                raise DataError(
                    "its values are no smooth functions of its parameters. Take sample() and the "
                    "score function, log_prob(x) · stop_gradient(f(x)), or a relaxed distribution."
                )
        return self.sample(shape, generator=generator)

    def _sample(self, shape: Shape, generator: Any) -> Tensor:
        raise self._missing("sample")

    # Summaries

    @property
    def mean(self) -> Tensor:
        """The expected value; NaN where there is none."""
        raise self._missing("mean")

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean; NaN where there is none."""
        raise self._missing("variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return sqrt(self.variance)

    @property
    def mode(self) -> Tensor:
        """A value where density or probability is largest."""
        raise self._missing("mode")

    def entropy(self) -> Tensor:
        """−E[log p], in nats; for densities it may be negative."""
        raise self._missing("entropy")

    def perplexity(self) -> Tensor:
        """exp of the entropy."""
        return exp(self.entropy())

    def enumerate_support(self) -> Tensor:
        """All values, along a new first axis: (count, *batch_shape, *event_shape).

        Raises:
            DataError: there are infinitely many, or too many that differ within the batch.
        """
        raise self._missing("enumerate_support")

    def _missing(self, what: str) -> ChainruleError:
        return DataError(f"{type(self).__name__} has no `{what}` in closed form")

    def _filled(self, value: Any) -> Tensor:
        """A number for the whole batch."""
        x = as_operand(value)
        x = x if x.dtype == self.dtype else x.astype(self.dtype)
        return x.broadcast_to(self.batch_shape + self.event_shape)


def _whole_number(value: Any, name: str, low: int, high: float = np.inf) -> int:
    """A whole number from `low` to `high`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        end = "on" if high == np.inf else f"to {high}"
        raise DTypeError(f"{name} is a whole number from {low} {end}, not {value!r}")
    return number


def _is_nan(x: Tensor, axes: int) -> Tensor:
    from chainrule.ops.reduction import any

    found = x != x
    return any(found, axis=tuple(range(-axes, 0))) if axes else found


def _surely(inside: Tensor) -> bool:
    """Whether all are known to be true now, and will be."""
    return state.tracer is None and inside._value is not None and bool(inside._value.all())


def _float_dtype(tensors: dict[str, Tensor]) -> np.dtype:
    found: np.dtype | None = None
    for name, x in tensors.items():
        if x.dtype.kind == "c":
            raise DTypeError(f"{name} is real, and this is {x.dtype}")
        if dtypes.is_float(x.dtype):
            found = x.dtype if found is None else dtypes.promote(found, x.dtype)
    return found or dtypes.default_float


def _check(name: str, x: Tensor, constraint: Constraint) -> None:
    """Whether a parameter lies in its domain; nothing is asked of one without a value."""
    if x._value is None or state.tracer is not None:
        return
    if constraint.square and x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{name} is square, and this is of shape {x.shape}")
    inside = constraint.contains(Tensor(x._value))._value
    assert inside is not None
    if inside.all():
        return
    place = tuple(int(i) for i in np.argwhere(~inside)[0])
    shown = np.array2string(x._value[place], threshold=12, precision=6)
    at = f" at {list(place)}" if place else ""
    raise DataError(f"{name} is {constraint.text}, and{at} it is {shown}")


class _named:
    """Let the errors inside carry a name, and the user's line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        self.outer = state.within
        state.within = self.outer or self.name

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            if isinstance(error, ChainruleError):
                fail(self.name, error)
        finally:
            state.within = self.outer
