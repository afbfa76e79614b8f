"""Running sums and products along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.choosing import where
from chainrule.ops.declare import linear, operation
from chainrule.ops.reduction import along_axis, elements, sum_dtype
from chainrule.ops.structure import flip, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


def _running_arguments(x: Any, axis: Any, dtype: Any) -> Any:
    x = as_operand(x)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(
                f"a running total of an array of shape {x.shape} needs an axis=; only with one "
                "dimension is it clear"
            )
        axis = 0
    kind = sum_dtype(x) if dtype is None else dtypes.as_dtype(dtype)
    return (x,), {"axis": normalise_axis(axis, x.ndim), "dtype": kind}


def _running_samples() -> list:
    x = np.sin(np.arange(1.0, 13.0) * 1.7).reshape(3, 4)
    return [((x,), {"axis": 1}), ((x[0],), {}), ((x,), {"axis": 0})]


@linear(
    formula="y[…, i] = Σ_{k ≤ i} x[…, k]",
    shape=lambda x, *, axis, dtype: (x.shape, dtype),
    forward=lambda x, *, axis, dtype: np.cumsum(x, axis, dtype),
    transpose=lambda g, x, *, axis, dtype: flip(
        cumulative_sum(flip(g, axis=axis), axis=axis), axis=axis
    ),
    operations=elements,
    lower="scan",
    formula_view=along_axis,
    samples=_running_samples,
)
def cumulative_sum(x: Any, /, *, axis: Any = None, dtype: Any = None) -> Any:
    """Running sums along an axis.

    >>> import chainrule as cr
    >>> cr.cumulative_sum(cr.asarray([1.0, 2.0, 3.0]))
    tensor([1., 3., 6.])
    """
    return _running_arguments(x, axis, dtype)


def _cumprod_matrix(x: Tensor, axis: int) -> Tensor:
    """∂y_i/∂x_k for running products along the last axis: the product of x_j, j ≤ i, j ≠ k."""
    n = x.shape[axis]
    moved = x.permute(*(a for a in range(x.ndim) if a != axis), axis)
    eye = Tensor(np.eye(n, dtype=bool))
    grid = where(eye, 1.0, reshape(moved, (*moved.shape[:-1], 1, n)))
    below = cumulative_prod(grid, axis=-1)  # [k, i]: with x_k taken as 1
    return where(Tensor(np.triu(np.ones((n, n), bool))), below, 0.0)


def _cumprod_pull(g: Tensor, x: Tensor, axis: int, equation: str) -> Tensor:
    matrix = _cumprod_matrix(x, axis)
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    moved = g.permute(order)
    column = reshape(moved, (*moved.shape, 1))
    product = (matrix if equation == "pull" else matrix.mT) @ column
    inverse = tuple(int(i) for i in np.argsort(order))
    return reshape(product, moved.shape).permute(inverse)


@operation(
    formula="y[…, i] = Π_{k ≤ i} x[…, k]",
    shape=lambda x, *, axis, dtype: (x.shape, dtype),
    forward=lambda x, *, axis, dtype: np.cumprod(x, axis, dtype),
    vjp=lambda g, x, y, *, axis, dtype: _cumprod_pull(g, x, axis, "pull"),
    jvp=lambda t, x, y, *, axis, dtype: _cumprod_pull(t, x, axis, "push"),
    operations=elements,
    lower="scan",
    formula_view=along_axis,
    samples=lambda: [*_running_samples(), ((np.array([2.0, 0.0, 3.0, 0.0]),), {})],
)
def cumulative_prod(x: Any, /, *, axis: Any = None, dtype: Any = None) -> Any:
    """Running products along an axis; its derivative is right at zeros, too."""
    return _running_arguments(x, axis, dtype)
