"""Sets of values: where a distribution has its mass, and what its parameters may be.

A constraint says which values lie in it (`contains`, in operations), how many axes at the end make
one value (`event_dim`), and gives a value inside, which stands in for one outside where only the
derivative of the rest is wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.ops.arithmetic import abs, floor, isfinite
from chainrule.ops.reduction import all, sum
from chainrule.ops.structure import matrix_transpose
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import Explained, explained
from chainrule.tensor.tensor import Tensor


class Constraint(Explained):
    """A set of values.

    Attributes:
        event_dim: how many axes at the end make one value: 0 for numbers, 1 for vectors.
        discrete: whether it is a set of separate points.
        lower, upper: its ends, numbers or tensors, for sets of numbers.
    """

    event_dim = 0
    discrete = False
    lower: Any = -np.inf
    upper: Any = np.inf
    text = "any value"
    unconstrained = False
    """Whether all real numbers will do for a parameter."""
    square = False
    """Whether one value is a square matrix."""

    def contains(self, value: Any, /) -> Tensor:
        """Whether each value lies in the set, in the shape without the event's axes.

        >>> positive.contains(np.array([-1.0, 0.0, 2.0])).numpy()
        array([False, False,  True])
        """
        return self._contains(as_operand(value))

    def _contains(self, x: Tensor) -> Tensor:
        return x == x

    def inner(self) -> Any:
        """A value inside, which broadcasts."""
        return 0.0

    def __repr__(self) -> str:
        return f"<constraint: {self.text}>"


class Interval(Constraint):
    """Numbers between two ends, each with the end itself or without.

    >>> Interval(0.0, 1.0).contains(np.array([0.0, 0.5, 1.5])).numpy()
    array([ True,  True, False])
    """

    def __init__(
        self, lower: Any, upper: Any, *, open_lower: bool = False, open_upper: bool = False
    ) -> None:
        self.lower, self.upper = lower, upper
        self.open_lower, self.open_upper = open_lower, open_upper

    @property
    def text(self) -> str:  # type: ignore[override]
        """In words, for messages."""
        low, high = _number(self.lower), _number(self.upper)
        if _is(self.upper, np.inf):
            if low == "0":
                return "positive" if self.open_lower else "at least 0"
            return f"greater than {low}" if self.open_lower else f"at least {low}"
        if _is(self.lower, -np.inf):
            return f"less than {high}" if self.open_upper else f"at most {high}"
        return f"in {'(' if self.open_lower else '['}{low}, {high}{')' if self.open_upper else ']'}"

    def _contains(self, x: Tensor) -> Tensor:
        above = x > self.lower if self.open_lower else x >= self.lower
        return above & (x < self.upper if self.open_upper else x <= self.upper)

    def inner(self) -> Any:
        if _is(self.upper, np.inf):
            return self.lower + 1.0
        if _is(self.lower, -np.inf):
            return self.upper - 1.0
        return 0.5 * (self.lower + self.upper)


class Real(Constraint):
    """Finite real numbers."""

    text = "a finite number"
    unconstrained = True

    def _contains(self, x: Tensor) -> Tensor:
        return isfinite(x)

    def inner(self) -> Any:
        return 0.0


class Integers(Constraint):
    """Whole numbers from `lower` to `upper`, both included."""

    discrete = True

    def __init__(self, lower: Any, upper: Any = np.inf) -> None:
        self.lower, self.upper = lower, upper

    @property
    def text(self) -> str:  # type: ignore[override]
        """In words, for messages."""
        if _is(self.upper, np.inf):
            return f"a whole number, at least {_number(self.lower)}"
        return f"a whole number in [{_number(self.lower)}, {_number(self.upper)}]"

    def _contains(self, x: Tensor) -> Tensor:
        whole = (floor(x) == x) & isfinite(x) if x.dtype.kind not in "biu" else x == x
        return whole & (x >= self.lower) & (x <= self.upper)

    def inner(self) -> Any:
        return self.lower


class Independent(Constraint):
    """A constraint of which the last `count` axes of values make one value."""

    def __init__(self, base: Constraint, count: int) -> None:
        self.base, self.count = base, count
        self.event_dim = base.event_dim + count
        self.discrete, self.text = base.discrete, base.text
        self.unconstrained = base.unconstrained

    def _contains(self, x: Tensor) -> Tensor:
        inside = self.base.contains(x)
        return all(inside, axis=tuple(range(-self.count, 0))) if self.count else inside

    def inner(self) -> Any:
        return self.base.inner()


class Simplex(Constraint):
    """Vectors of numbers from 0 on that add up to 1."""

    event_dim = 1
    text = "numbers from 0 on that add up to 1"

    def _contains(self, x: Tensor) -> Tensor:
        return all(x >= 0, axis=-1) & (abs(sum(x, -1) - 1) < _tolerance(x))


class OneHot(Constraint):
    """Vectors of zeros and a single one."""

    event_dim = 1
    discrete = True
    text = "zeros and a single one"

    def _contains(self, x: Tensor) -> Tensor:
        return all((x == 0) | (x == 1), axis=-1) & (sum(x, -1) == 1)


class Counts(Constraint):
    """Vectors of whole numbers from 0 on that add up to `total`."""

    event_dim = 1
    discrete = True

    def __init__(self, total: int) -> None:
        self.total = total
        self.text = f"whole numbers from 0 on that add up to {total}"

    def _contains(self, x: Tensor) -> Tensor:
        return all((x >= 0) & (floor(x) == x), axis=-1) & (sum(x, -1) == self.total)


class LowerCholesky(Constraint):
    """Lower triangles with a positive diagonal."""

    event_dim = 2
    square = True
    text = "a lower triangle with a positive diagonal"

    def _contains(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        above = Tensor(np.triu(np.ones((n, n), bool), 1))
        diagonal = Tensor(np.eye(n, dtype=bool))
        fits = ((x == 0) | ~above) & ((x > 0) | ~diagonal) & isfinite(x)
        return all(fits, axis=(-2, -1))


class CorrelationCholesky(LowerCholesky):
    """Lower triangles with a positive diagonal whose rows have length 1."""

    text = "a lower triangle with a positive diagonal and rows of length 1"

    def _contains(self, x: Tensor) -> Tensor:
        return super()._contains(x) & all(abs(sum(x * x, -1) - 1) < _tolerance(x), axis=-1)


class PositiveDefinite(Constraint):
    """Symmetric matrices with positive eigenvalues. What its decomposition finds is not looked for
    twice: here only symmetry and the diagonal are looked at."""

    event_dim = 2
    square = True
    text = "a symmetric positive definite matrix"

    def _contains(self, x: Tensor) -> Tensor:
        scale = sum(abs(x), axis=(-2, -1), keepdims=True)
        even = abs(x - matrix_transpose(x)) <= _tolerance(x) * scale
        n = x.shape[-1]
        return all(even & ((x > 0) | Tensor(~np.eye(n, dtype=bool))), axis=(-2, -1))


def _tolerance(x: Tensor) -> float:
    """What sums of rounded numbers may be off by."""
    return 1e-10 if x.dtype == np.float64 else 1e-5 if x.dtype == np.float32 else 2e-2


def _is(end: Any, infinity: float) -> bool:
    return isinstance(end, float) and end == infinity


def _number(x: Any) -> str:
    if isinstance(x, Tensor):
        return f"{x.item():g}" if x._value is not None and x.size == 1 else "its own end"
    return f"{x:g}"


real = Real()
positive = Interval(0.0, np.inf, open_lower=True, open_upper=True)
nonnegative = Interval(0.0, np.inf, open_upper=True)
unit_interval = Interval(0.0, 1.0)
boolean = Integers(0, 1)
nonnegative_integer = Integers(0)
real_vector = Independent(real, 1)
simplex = Simplex()
one_hot = OneHot()
lower_cholesky = LowerCholesky()
corr_cholesky = CorrelationCholesky()
positive_definite = PositiveDefinite()


@explained
def greater_than(lower: Any) -> Interval:
    """Numbers above an end."""
    return Interval(lower, np.inf, open_lower=True, open_upper=True)


@explained
def interval(lower: Any, upper: Any) -> Interval:
    """Numbers from one end to another, both included."""
    return Interval(lower, upper)
