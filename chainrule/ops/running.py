"""Running sums and products along an axis, and differences, which undo sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, linear, operation
from chainrule.ops.joining import concat
from chainrule.ops.operation import conjugate
from chainrule.ops.reduction import accumulator, along_axis, elements, sum_dtype
from chainrule.ops.structure import flip, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, full
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


def _running_arguments(x: Any, axis: Any, dtype: Any, initial: int | None) -> Any:
    x = as_operand(x)
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(
                f"a running total of an array of shape {x.shape} needs an axis=; only with one "
                "dimension is it clear"
            )
        axis = 0
    axis = normalise_axis(axis, x.ndim)
    kind = sum_dtype(x) if dtype is None else dtypes.as_dtype(dtype)
    dtypes.check_parts(x.dtype, kind)
    if initial is not None:
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        x = concat([full(shape, initial, dtype=x.dtype), x], axis=axis)
    return (x,), {"axis": axis, "dtype": kind}


def _running_samples() -> list:
    x = np.sin(np.arange(1.0, 13.0) * 1.7).reshape(3, 4)
    return [
        ((x,), {"axis": 1}),
        ((x[0],), {}),
        ((x,), {"axis": 0}),
        ((x[:2],), {"axis": 1, "include_initial": True}),
    ]


@linear(
    formula="y[…, i] = Σ_{k ≤ i} x[…, k]",
    shape=lambda x, *, axis, dtype: (x.shape, dtype),
    forward=lambda x, *, axis, dtype: np.cumsum(x, axis, accumulator(dtype)).astype(
        dtype, copy=False
    ),
    transpose=lambda g, x, *, axis, dtype: flip(
        cumulative_sum(flip(g, axis=axis), axis=axis), axis=axis
    ),
    operations=elements,
    lower="scan",
    batch=along("axis"),
    formula_view=along_axis,
    samples=_running_samples,
)
def cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running sums along an axis; with `include_initial`, 0 in front of them.

    >>> import chainrule as cr
    >>> cr.cumulative_sum(cr.asarray([1.0, 2.0, 3.0]))
    tensor([1., 3., 6.])
    """
    return _running_arguments(x, axis, dtype, 0 if include_initial else None)


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
    product = (conjugate(matrix) if equation == "pull" else matrix.mT) @ column
    inverse = tuple(int(i) for i in np.argsort(order))
    return reshape(product, moved.shape).permute(inverse)


@operation(
    formula="y[…, i] = Π_{k ≤ i} x[…, k]",
    shape=lambda x, *, axis, dtype: (x.shape, dtype),
    forward=lambda x, *, axis, dtype: np.cumprod(x, axis, accumulator(dtype)).astype(
        dtype, copy=False
    ),
    vjp=lambda g, x, y, *, axis, dtype: _cumprod_pull(g, x, axis, "pull"),
    jvp=lambda t, x, y, *, axis, dtype: _cumprod_pull(t, x, axis, "push"),
    operations=elements,
    lower="scan",
    batch=along("axis"),
    formula_view=along_axis,
    samples=lambda: [*_running_samples(), ((np.array([2.0, 0.0, 3.0, 0.0]),), {})],
)
def cumulative_prod(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running products along an axis; with `include_initial`, 1 in front of them.

    The derivative is right at zeros, too.
    """
    return _running_arguments(x, axis, dtype, 1 if include_initial else None)


def _diff_arguments(
    x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None
) -> Any:
    x = as_operand(x)
    if x.dtype == dtypes.bool_:
        raise DTypeError("differences are of numbers; convert the booleans with astype first")
    if not x.ndim:
        raise ShapeError("a number without dimensions has no neighbours to take differences of")
    if isinstance(n, bool) or not hasattr(n, "__index__") or n.__index__() < 0:
        raise DTypeError(f"n is how often differences are taken, a whole number, not {n!r}")
    axis = normalise_axis(axis, x.ndim)
    ends = (None if end is None else as_operand(end) for end in (prepend, append))
    return (x, *ends), {"axis": axis, "n": n.__index__()}


def _difference_samples() -> list:
    x = np.sin(np.arange(1.0, 13.0) * 1.7).reshape(3, 4)
    return [
        ((x,), {}),
        ((x,), {"axis": 0, "n": 2}),
        ((x,), {"prepend": np.arange(3).reshape(3, 1), "append": np.ones((3, 2), int)}),
        ((x[:, :1],), {}),
        ((x[0],), {"n": 0}),
    ]


@composite(
    formula="y[…, i] = x[…, i + 1] − x[…, i], n times",
    display_only=True,
    operations=lambda y, x, *ends, axis, n: n * math.prod(x.shape),
    arguments=_diff_arguments,
    samples=_difference_samples,
)
def diff(
    x: Tensor, prepend: Tensor | None = None, append: Tensor | None = None, /, *, axis: int, n: int
) -> Tensor:
    """The differences of neighbours along an axis, taken n times.

    Args:
        axis: the last one if left out.
        n: how often; each time there is one number less. With 0 it is x, as in NumPy and PyTorch.
        prepend, append: arrays put in front of x and behind it first.

    Raises:
        ShapeError: x has no dimensions, or the arrays to join do not fit.

    >>> import chainrule as cr
    >>> cr.diff(cr.asarray([1.0, 4.0, 9.0, 16.0]), n=2)
    tensor([2., 2.])
    """
    if not n:
        return +x
    parts = [part for part in (prepend, x, append) if part is not None]
    y = concat(parts, axis=axis) if len(parts) > 1 else x
    front = (slice(None),) * axis
    for _ in range(n):
        y = y[(*front, slice(1, None))] - y[(*front, slice(None, -1))]
    return y
