"""How far apart vectors are, and how numbers vary together."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, clip, maximum, sqrt
from chainrule.ops.choosing import where
from chainrule.ops.complex import conj, real
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import getitem
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.operation import operands
from chainrule.ops.reduction import max, mean, min, sum
from chainrule.ops.structure import expand_dims, matrix_transpose
from chainrule.tensor import dtypes
from chainrule.tensor.creation import full
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


def _length(d: Tensor, p: Any, axis: int = -1, keepdims: bool = False) -> Tensor:
    """(Σ |d|ᵖ)^(1/p); where it is 0, so is its derivative (PyTorch's convention)."""
    if isinstance(p, bool) or not isinstance(p, (int, float)) or p != p:
        raise DTypeError(f"p is a number, not {p!r}")
    size = abs(d)
    if p == 0:
        return sum((size != 0).astype(size.dtype), axis, keepdims=keepdims)
    if p == 1:
        return sum(size, axis, keepdims=keepdims)
    if p in (math.inf, -math.inf):
        return (max if p > 0 else min)(size, axis, keepdims=keepdims)
    if p < 0:
        return sum(size**p, axis, keepdims=keepdims) ** (1 / p)
    if p == 2:
        total = sum(size * size, axis, keepdims=keepdims)
    else:
        # The slope of |d|ᵖ at 0 is infinite for p < 1, and counts as 0.
        nothing = size == 0
        total = where(nothing, 0, where(nothing, 1, size) ** p)
        total = sum(total, axis, keepdims=keepdims)
    nothing = total == 0
    some = where(nothing, 1, total)
    return where(nothing, 0, sqrt(some) if p == 2 else some ** (1 / p))


@composite(
    formula="y[…] = (Σ_k |d|[…, k]^p)^(1 / p)",
    display_only=True,
    operations=lambda y, a, *rest, **attrs: 3 * math.prod(a.shape),
    samples=lambda: [
        ((sampled(2, 3), sampled(3) + 1), {}),
        ((sampled(2, 3), sampled(2, 3) + 0.5), {"p": 1, "keepdims": True}),
        ((sampled(3), sampled(3) * 3), {"p": 3.0}),
    ],
)
def pairwise_distance(
    x1: Tensor, x2: Tensor, /, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False
) -> Tensor:
    """The p-norm of d = x1 − x2 + eps along the last axis: how far each vector is from its pair.

    `eps` keeps equal vectors off the point at which the norm has no derivative.

    >>> import chainrule as cr
    >>> cr.pairwise_distance(cr.asarray([0.0, 3.0]), cr.asarray([4.0, 0.0]), eps=0.0).item()
    5.0
    """
    if not x1.ndim or not x2.ndim:
        raise ShapeError(f"these are distances of vectors, not of {x1.shape} and {x2.shape}")
    return _length(x1 - x2 + eps, p, keepdims=keepdims)


@composite(
    formula="y[…, i, j] = (Σ_k |x1[…, i, k] − x2[…, j, k]|^p)^(1 / p)",
    display_only=True,
    operations=lambda y, a, *rest, **attrs: 3 * math.prod(y.shape) * a.shape[-1],
    samples=lambda: [
        ((sampled(2, 3), sampled(4, 3) + 0.3), {}),
        ((sampled(2, 2, 3), sampled(4, 3) + 0.3), {"p": 1}),
        ((sampled(2, 3), 1.3 * sampled(2, 3) + 0.3), {"p": math.inf}),
        ((sampled(2, 3), sampled(3, 3) + 0.3), {"p": 3.0}),
        ((sampled(0, 3), sampled(2, 3)), {}),
    ],
)
def cdist(x1: Tensor, x2: Tensor, /, p: float = 2.0) -> Tensor:
    """The distance of every vector of x1, (…, n, k), from every one of x2, (…, m, k): (…, n, m).

    Of vectors that are equal it is 0, and so is its derivative. The differences are taken as they
    are, n m k of them, since |a|² + |b|² − 2ab cancels where vectors are near.

    >>> import chainrule as cr
    >>> cr.cdist(cr.asarray([[0.0, 0.0]]), cr.asarray([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"these are distances of the vectors of (…, n, k) and (…, m, k), not of {x1.shape} and "
            f"{x2.shape}"
        )
    return _length(expand_dims(x1, -2) - expand_dims(x2, -3), p)


@located
def pdist(x: Any, /, p: float = 2.0) -> Tensor:
    """The distances of all pairs of the vectors of x, (n, k): those of 0 and 1, 0 and 2 …

    >>> import chainrule as cr
    >>> cr.pdist(cr.asarray([[0.0], [1.0], [3.0]]))
    tensor([1., 3., 2.])
    """
    (x,) = operands(x)
    if x.ndim != 2:
        raise ShapeError(f"these are distances of the vectors of (n, k), not of {x.shape}")
    pairs = np.array(list(combinations(range(x.shape[0]), 2)), np.int64).reshape(-1, 2)
    return _length(getitem(x, Tensor(pairs[:, 0])) - getitem(x, Tensor(pairs[:, 1])), p)


@composite(
    formula="y = x / max((Σ_k |x[…, k]|^p)^(1 / p), eps)",
    display_only=True,
    operations=lambda y, x, **attrs: 3 * math.prod(x.shape),
    samples=lambda: [
        ((sampled(2, 3),), {}),
        ((sampled(2, 3),), {"p": 1.0, "axis": 0}),
        ((sampled(3, 2, 2),), {"p": 3.0, "axis": -1}),
    ],
)
def normalize(x: Tensor, /, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """Vectors along an axis, made to have the length 1 (p-norm); those shorter than eps, x / eps.

    >>> import chainrule as cr
    >>> cr.normalize(cr.asarray([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    return x / maximum(_length(x, p, normalise_axis(axis, x.ndim), keepdims=True), eps)


# Together


def _variables(x: Tensor) -> Tensor:
    if x.ndim > 2:
        raise ShapeError(f"rows are variables and columns observations, (n, m), not {x.shape}")
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    return x if x.ndim == 2 else x.reshape(1, -1)


def _squeezed(y: Tensor) -> Tensor:
    """A matrix, or of one variable a number."""
    return y if y.shape[0] > 1 else y[0, 0]


def _weights(x: Tensor, *given: Any) -> Tensor | None:
    found: Tensor | None = None
    for weights in given:
        if weights is None:
            continue
        (w,) = operands(weights)
        if w.shape != (x.shape[-1],):
            raise ShapeError(f"there is a weight for each of {x.shape[-1]} observations: {w.shape}")
        w = w.astype(dtypes.real_of(x.dtype))
        found = w if found is None else found * w
    return found


@composite(
    formula="y[i, j] = (Σ_k (x[i, k] − m[i]) · (x[j, k] − m[j])) / (|k| − c)",
    formula_view=lambda x, y, correction=1, **attrs: (
        {"x": np.atleast_2d(x), "m": np.atleast_2d(x).mean(1), "c": correction},
        y.reshape(np.atleast_2d(x).shape[:1] * 2),
    ),
    operations=lambda y, x, **attrs: 2 * math.prod(x.shape) * x.shape[0] if x.shape else 0,
    samples=lambda: [
        ((sampled(3, 5),), {}),
        ((sampled(2, 4),), {"correction": 0}),
        ((sampled(4),), {}),
    ],
)
def cov(
    x: Tensor, /, *, correction: float = 1, fweights: Any = None, aweights: Any = None
) -> Tensor:
    """The covariances of variables with means m: rows are variables, columns observations.

    Args:
        x: (n, m), or (m,) for one variable, of which it is the variance.
        correction: what is taken off the number of observations (NumPy's `ddof`).
        fweights: how often each observation was made.
        aweights: how much each counts.

    Where the correction takes off all observations, what is divided by is 0, as in NumPy.

    >>> import chainrule as cr
    >>> cr.cov(cr.asarray([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    rows = _variables(x)
    w = _weights(rows, fweights, aweights)
    turned = matrix_transpose
    if w is None:
        centred = rows - mean(rows, 1, keepdims=True)
        # A tensor, by which 0 may be divided; of the dtype that the derivative is to have.
        left = rows.shape[1] - correction
        degrees = full((), left if left > 0 else 0, dtype=dtypes.real_of(rows.dtype))
        return _squeezed(matmul(centred, turned(conj(centred)))) / degrees
    total = sum(w)
    centred = rows - sum(rows * w, 1, keepdims=True) / total
    degrees = total - correction
    if aweights is not None:
        counted = _weights(rows, aweights)
        assert counted is not None
        degrees = total - correction * sum(w * counted) / total
    return _squeezed(matmul(centred * w, turned(conj(centred)))) / clip(degrees, 0)


@located
def corrcoef(x: Any, /) -> Tensor:
    """The correlations of variables: rows are variables, columns observations.

    >>> import chainrule as cr
    >>> cr.corrcoef(cr.asarray([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    (x,) = operands(x)
    rows = _variables(x)
    c = cov(rows).reshape(rows.shape[0], rows.shape[0])
    every = np.arange(rows.shape[0])
    scale = sqrt(real(c[every, every]))
    y = c / (expand_dims(scale, 1) * expand_dims(scale, 0))
    return _squeezed(y if y.dtype.kind == "c" else clip(y, -1.0, 1.0))
