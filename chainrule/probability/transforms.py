"""Smooth one-to-one functions with the logarithm of their Jacobian's determinant.

`TransformedDistribution` makes new distributions with them, and `biject_to` and `transform_to` lead
from all real numbers to where a parameter may be, for optimisers and networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.ops.activation import log_sigmoid, sigmoid, softplus
from chainrule.ops.arithmetic import abs, pow, sqrt, square
from chainrule.ops.choosing import where
from chainrule.ops.exponential import exp, expm1, log, log1p
from chainrule.ops.joining import concat
from chainrule.ops.reduction import sum
from chainrule.ops.running import cumulative_prod, cumulative_sum
from chainrule.ops.softmax import softmax
from chainrule.ops.trigonometry import atanh, tanh
from chainrule.probability import constraints
from chainrule.probability.constraints import Constraint, Interval
from chainrule.probability.distribution import _named, _whole_number
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import Explained, explained
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


class Transform(Explained):
    """A one-to-one function y = f(x).

    Attributes:
        domain, codomain: where x and y lie.
        domain_dim, codomain_dim: how many axes at the end make one x, and one y.

    >>> ExpTransform()(as_operand(0.0)).item(), ExpTransform().inv(as_operand(1.0)).item()
    (1.0, 0.0)
    """

    domain: Any = constraints.real
    codomain: Any = constraints.real

    @property
    def domain_dim(self) -> int:
        return int(self.domain.event_dim)

    @property
    def codomain_dim(self) -> int:
        return int(self.codomain.event_dim)

    def __call__(self, x: Any) -> Tensor:
        with _named(type(self).__name__):
            return self._forward(self._values(x, self.domain_dim))

    def _values(self, x: Any, axes: int) -> Tensor:
        x = as_operand(x)
        if x.dtype.kind == "c":
            raise DTypeError(f"values are real, and these are {x.dtype}")
        if x.ndim < axes:
            raise ShapeError(f"values have {axes} axes or more, and these are of shape {x.shape}")
        return x

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _backward(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def inv(self) -> Transform:
        """The inverse function."""
        return _Inverse(self)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        """log |det ∂y/∂x|, one number an event, at an x and its y = f(x)."""
        with _named(f"{type(self).__name__}.log_abs_det_jacobian"):
            return self._log_slope(
                self._values(x, self.domain_dim), self._values(y, self.codomain_dim)
            )

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of y for an x of a shape."""
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of x for a y of a shape."""
        return tuple(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    """The inverse of another."""

    def __init__(self, base: Transform) -> None:
        self.base = base
        self.domain, self.codomain = base.codomain, base.domain

    def _forward(self, x: Tensor) -> Tensor:
        return self.base._backward(x)

    def _backward(self, y: Tensor) -> Tensor:
        return self.base._forward(y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.base._log_slope(y, x)

    @property
    def inv(self) -> Transform:
        return self.base

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{self.base!r}.inv"


class IdentityTransform(Transform):
    """y = x."""

    def _forward(self, x: Tensor) -> Tensor:
        return x

    def _backward(self, y: Tensor) -> Tensor:
        return y

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return 0 * x


class AffineTransform(Transform):
    """y = loc + scale · x, element by element; the scale is not 0.

    >>> AffineTransform(1.0, 2.0)(as_operand(3.0)).item()
    7.0
    """

    def __init__(self, loc: Any, scale: Any) -> None:
        self.loc = loc if isinstance(loc, (int, float)) else as_operand(loc)
        self.scale = scale if isinstance(scale, (int, float)) else as_operand(scale)
        if _has_zero(self.scale):
            raise DataError("AffineTransform: a scale of 0 has no inverse")

    def _forward(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return broadcast_shapes(tuple(shape), _shape(self.loc), _shape(self.scale))

    inverse_shape = forward_shape

    def _backward(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return _log_size(self.scale) + 0 * x


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, Tensor) else ()


def _has_zero(x: Any) -> bool:
    """Whether some of it is known to be 0."""
    value = x._value if isinstance(x, Tensor) else x
    return value is not None and not np.all(value)


def _log_size(x: Any) -> Any:
    """log |x|, of a Python number a Python number, which widens nothing."""
    return log(abs(x)) if isinstance(x, Tensor) else math.log(math.fabs(x))


class ExpTransform(Transform):
    """y = exp(x)."""

    codomain = constraints.positive

    def _forward(self, x: Tensor) -> Tensor:
        return exp(x)

    def _backward(self, y: Tensor) -> Tensor:
        return log(y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class SoftplusTransform(Transform):
    """y = log(1 + exp(x)), which grows no faster than x."""

    codomain = constraints.positive

    def _forward(self, x: Tensor) -> Tensor:
        return softplus(x)

    def _backward(self, y: Tensor) -> Tensor:
        return y + log(-expm1(-y))

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return log_sigmoid(x)


class SigmoidTransform(Transform):
    """y = 1/(1 + exp(−x))."""

    codomain = Interval(0.0, 1.0, open_lower=True, open_upper=True)

    def _forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)

    def _backward(self, y: Tensor) -> Tensor:
        return log(y) - log1p(-y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return log_sigmoid(x) + log_sigmoid(-x)


class TanhTransform(Transform):
    """y = tanh(x)."""

    codomain = Interval(-1.0, 1.0, open_lower=True, open_upper=True)

    def _forward(self, x: Tensor) -> Tensor:
        return tanh(x)

    def _backward(self, y: Tensor) -> Tensor:
        return atanh(y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        # 1 − tanh² x = 4/(eˣ + e⁻ˣ)², which does not round to 0
        return 2 * (math.log(2) - x - softplus(-2 * x))


class PowerTransform(Transform):
    """y = xᵃ for positive x; the exponent is not 0."""

    domain = constraints.positive
    codomain = constraints.positive

    def __init__(self, exponent: Any) -> None:
        self.exponent = exponent if isinstance(exponent, (int, float)) else as_operand(exponent)
        if _has_zero(self.exponent):
            raise DataError("PowerTransform: an exponent of 0 has no inverse")

    def _forward(self, x: Tensor) -> Tensor:
        return pow(x, self.exponent)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return broadcast_shapes(tuple(shape), _shape(self.exponent))

    inverse_shape = forward_shape

    def _backward(self, y: Tensor) -> Tensor:
        return pow(y, 1 / self.exponent)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return _log_size(self.exponent) + (self.exponent - 1) * log(x)


class StickBreakingTransform(Transform):
    """From K − 1 real numbers to K probabilities: each takes a share of what the others left.

    As Stan has it: z_k = sigmoid(x_k − log(K − k)), y_k = z_k ∏_{j<k} (1 − z_j); x = 0 gives equal
    probabilities.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _offset(self, x: Tensor) -> Tensor:
        k = x.shape[-1]
        return Tensor(np.log(np.arange(k, 0, -1)).astype(x.dtype))

    def _forward(self, x: Tensor) -> Tensor:
        t = x - self._offset(x)
        left = exp(cumulative_sum(log_sigmoid(-t), axis=-1))
        one = Tensor(np.ones((*x.shape[:-1], 1), x.dtype))
        return concat([sigmoid(t), one], axis=-1) * concat([one, left], axis=-1)

    def _backward(self, y: Tensor) -> Tensor:
        left = 1 - cumulative_sum(y[..., :-1], axis=-1)
        x = log(y[..., :-1]) - log(left)
        return x + self._offset(x)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        t = x - self._offset(x)
        return sum(log(y[..., :-1]) + log_sigmoid(-t), -1)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] - 1)


class SoftmaxTransform(Transform):
    """softmax: onto probabilities, from as many numbers. It is not one-to-one: many x have the same
    y, and there is no Jacobian determinant. The inverse is one of them, log y."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _forward(self, x: Tensor) -> Tensor:
        return softmax(x)

    def _backward(self, y: Tensor) -> Tensor:
        return log(y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        raise DataError("softmax is not one-to-one, so has no Jacobian determinant. Take "
                        "StickBreakingTransform, or biject_to(simplex).")  # fmt: skip


def _square_size(n: int, name: str, extra: int) -> int:
    """The size of the matrix whose triangle has n numbers."""
    size = round((math.sqrt(8 * n + 1) - extra) / 2)
    if size * (size + extra) // 2 != n:
        raise ShapeError(f"{name}: {n} numbers do not fill a triangle")
    return size


def _triangle(x: Tensor, size: int, below: int) -> Tensor:
    """A vector as the lower triangle of matrices, row by row."""
    rows, columns = np.tril_indices(size, below)
    place = np.full((size, size), len(rows))
    place[rows, columns] = np.arange(len(rows))
    padded = concat([x, Tensor(np.zeros((*x.shape[:-1], 1), x.dtype))], axis=-1)
    return padded[..., Tensor(place.reshape(-1))].reshape(*x.shape[:-1], size, size)


def _row_of(x: Tensor, below: int) -> Tensor:
    """The lower triangle of matrices as a vector, row by row."""
    size = x.shape[-1]
    rows, columns = np.tril_indices(size, below)
    flat = x.reshape(*x.shape[:-2], size * size)
    return flat[..., Tensor(rows * size + columns)]


class LowerCholeskyTransform(Transform):
    """From n(n + 1)/2 real numbers to a lower triangle with a positive diagonal, exp of theirs."""

    domain = constraints.real_vector
    codomain = constraints.lower_cholesky

    def _forward(self, x: Tensor) -> Tensor:
        full = _triangle(x, _square_size(x.shape[-1], "LowerCholeskyTransform", 1), 0)
        diagonal = Tensor(np.eye(full.shape[-1], dtype=bool))
        return where(diagonal, exp(where(diagonal, full, 0.0)), full)

    def _backward(self, y: Tensor) -> Tensor:
        diagonal = Tensor(np.eye(y.shape[-1], dtype=bool))
        return _row_of(where(diagonal, log(where(diagonal, y, 1.0)), y), 0)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        diagonal = Tensor(np.eye(y.shape[-1], dtype=bool))
        return sum(log(where(diagonal, y, 1.0)), axis=(-2, -1))

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        n = _square_size(shape[-1], "LowerCholeskyTransform", 1)
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (*shape[:-2], shape[-1] * (shape[-1] + 1) // 2)


class CorrCholeskyTransform(Transform):
    """From n(n − 1)/2 real numbers to the Cholesky factor of a correlation matrix (as Stan has it).

    tanh of each is a partial correlation z; in each row y_ij = z_ij √(1 − Σ_{k<j} y_ik²).
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky

    def _forward(self, x: Tensor) -> Tensor:
        n = _square_size(x.shape[-1], "CorrCholeskyTransform", -1)
        z = _triangle(tanh(x), n, -1)
        left = sqrt(cumulative_prod(1 - square(z), axis=-1))
        one = Tensor(np.ones((*left.shape[:-1], 1), x.dtype))
        below = concat([one, left[..., :-1]], axis=-1)
        diagonal = Tensor(np.eye(n, dtype=bool))
        return where(diagonal, below, z * below)

    def _backward(self, y: Tensor) -> Tensor:
        n = y.shape[-1]
        strict = where(Tensor(np.tril(np.ones((n, n), bool), -1)), y, 0.0)
        left = 1 - cumulative_sum(square(strict), axis=-1)
        one = Tensor(np.ones((*left.shape[:-1], 1), y.dtype))
        before = concat([one, left[..., :-1]], axis=-1)
        upper = Tensor(np.triu(np.ones((n, n), bool)))
        return _row_of(atanh(strict / sqrt(where(upper, 1.0, before))), -1)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        # ∂y_ij/∂z_ij = √(1 − Σ_{k<j} y_ik²), and ∂z/∂x = 1 − z²
        n = y.shape[-1]
        strict = where(Tensor(np.tril(np.ones((n, n), bool), -1)), y, 0.0)
        left = 1 - cumulative_sum(square(strict), axis=-1)
        one = Tensor(np.ones((*left.shape[:-1], 1), y.dtype))
        before = concat([one, left[..., :-1]], axis=-1)
        inside = Tensor(np.tril(np.ones((n, n), bool), -1))
        rows = 0.5 * sum(log(where(inside, before, 1.0)), axis=(-2, -1))
        return rows + sum(2 * (math.log(2) - x - softplus(-2 * x)), -1)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        n = _square_size(shape[-1], "CorrCholeskyTransform", -1)
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


class IndependentTransform(Transform):
    """A transform of which the last `count` axes of values make one value."""

    def __init__(self, base: Transform, count: int) -> None:
        with _named("IndependentTransform"):
            _listed([base])
            self.count = count = _whole_number(count, "the number of axes", 0)
        self.base = base
        self.domain = constraints.Independent(base.domain, count)
        self.codomain = constraints.Independent(base.codomain, count)

    def _forward(self, x: Tensor) -> Tensor:
        return self.base._forward(x)

    def _backward(self, y: Tensor) -> Tensor:
        return self.base._backward(y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        return sum_events(self.base._log_slope(x, y), self.count)

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.forward_shape(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.base.inverse_shape(shape)


def sum_events(x: Tensor, count: int) -> Tensor:
    """The sum over the last `count` axes."""
    return sum(x, axis=tuple(range(-count, 0))) if count else x


def _listed(parts: Any) -> list[Transform]:
    """One transform or several as a list."""
    found = [parts] if isinstance(parts, Transform) else parts
    if not isinstance(found, (list, tuple)) or not all(isinstance(p, Transform) for p in found):
        raise DTypeError(f"it takes a transform or a list of them, not {parts!r}")
    return list(found)


class ComposeTransform(Transform):
    """One transform after another, the first of the list first.

    >>> scaled = ComposeTransform([AffineTransform(0.0, 2.0), ExpTransform()])
    >>> round(scaled(as_operand(0.5)).item(), 4)
    2.7183
    """

    def __init__(self, parts: Sequence[Transform]) -> None:
        with _named("ComposeTransform"):
            self.parts = _listed(parts)
        self.domain = self.parts[0].domain if self.parts else constraints.real
        self.codomain = self.parts[-1].codomain if self.parts else constraints.real
        # As many axes make one value as the widest part says.
        need = move = 0
        for part in reversed(self.parts):
            move += part.domain_dim - part.codomain_dim
            need = max(part.domain_dim, need + part.domain_dim - part.codomain_dim)
        self._need = need

    @property
    def domain_dim(self) -> int:
        return self._need

    @property
    def codomain_dim(self) -> int:
        change = 0
        for part in self.parts:
            change += part.codomain_dim - part.domain_dim
        return self._need + change

    def _forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part._forward(x)
        return x

    def _backward(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part._backward(y)
        return y

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        total: Tensor | None = None
        axes = self.domain_dim
        for i, part in enumerate(self.parts):
            following = y if i == len(self.parts) - 1 else part._forward(x)
            term = sum_events(part._log_slope(x, following), axes - part.domain_dim)
            total = term if total is None else total + term
            axes += part.codomain_dim - part.domain_dim
            x = following
        return 0 * sum_events(x, axes) if total is None else total

    def forward_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return tuple(shape)

    def inverse_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return tuple(shape)

    def __repr__(self) -> str:
        return f"ComposeTransform({self.parts})"


@explained
def biject_to(constraint: Constraint) -> Transform:
    """A one-to-one transform from unconstrained numbers onto where a constraint holds.

    Raises:
        DTypeError: there is none for that constraint.

    >>> from chainrule.probability import constraints
    >>> biject_to(constraints.positive)
    ExpTransform()
    """
    return _toward(constraint, ExpTransform(), StickBreakingTransform())


@explained
def transform_to(constraint: Constraint) -> Transform:
    """A transform from unconstrained numbers onto where a constraint holds, kind to optimisers.

    For positive numbers it is softplus, which no step makes explode, and for probabilities softmax;
    else as `biject_to`.
    """
    return _toward(constraint, SoftplusTransform(), SoftmaxTransform())


def _toward(constraint: Constraint, positive: Transform, simplex: Transform) -> Transform:
    if not isinstance(constraint, Constraint):
        raise DTypeError(f"it takes a constraint, such as constraints.positive, not {constraint!r}")
    if constraint.unconstrained:
        return IdentityTransform()
    if isinstance(constraint, constraints.Independent):
        return IndependentTransform(_toward(constraint.base, positive, simplex), constraint.count)
    if isinstance(constraint, Interval):
        return _onto(constraint, positive)
    if isinstance(constraint, constraints.Simplex):
        return simplex
    if isinstance(constraint, constraints.CorrelationCholesky):
        return CorrCholeskyTransform()
    if isinstance(constraint, constraints.LowerCholesky):
        return LowerCholeskyTransform()
    if isinstance(constraint, constraints.PositiveDefinite):
        return ComposeTransform([LowerCholeskyTransform(), _Gram()])
    raise DTypeError(f"there is no smooth way from all numbers onto {constraint.text}")


def _onto(interval: Interval, positive: Transform) -> Transform:
    low, high = interval.lower, interval.upper
    bounded = [not (isinstance(end, float) and math.isinf(end)) for end in (low, high)]
    if all(bounded):
        if isinstance(low, float) and isinstance(high, float) and (low, high) == (0, 1):
            return SigmoidTransform()
        return ComposeTransform([SigmoidTransform(), AffineTransform(low, high - low)])
    if bounded[0]:
        at_zero = isinstance(low, float) and low == 0
        return positive if at_zero else ComposeTransform([positive, AffineTransform(low, 1.0)])
    if bounded[1]:
        return ComposeTransform([positive, AffineTransform(high, -1.0)])
    return IdentityTransform()


class _Gram(Transform):
    """From a Cholesky factor L to L Lᵀ."""

    domain = constraints.lower_cholesky
    codomain = constraints.positive_definite

    def _forward(self, x: Tensor) -> Tensor:
        return x @ x.mT

    def _backward(self, y: Tensor) -> Tensor:
        from chainrule.ops.solving import cholesky

        return cholesky(y)

    def _log_slope(self, x: Tensor, y: Tensor) -> Tensor:
        # |∂(L Lᵀ)/∂L| = 2ⁿ ∏ L_ii^(n − i), i from 0 (Muirhead 1982, Theorem 2.1.9)
        n = x.shape[-1]
        diagonal = Tensor(np.eye(n, dtype=bool))
        powers = Tensor(np.arange(n, 0, -1).astype(x.dtype))
        logs = sum(log(where(diagonal, x, 1.0)), -1)
        return n * math.log(2) + sum(powers * logs, -1)
