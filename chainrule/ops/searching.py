"""Finding and counting: among sorted numbers, and what is not zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import along, one_by_one
from chainrule.ops.declare import constant_op
from chainrule.ops.domain import sampled
from chainrule.ops.reduction import along_axes, elements, reduction_samples
from chainrule.ops.sorting import check_ordered
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, beside
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axes, reduced_shape
from chainrule.tensor.tensor import Tensor


def _check_search(x1: Any, x2: Any, sorter: Any, side: Any) -> None:
    check_ordered(x1, x2)
    if x1.ndim != 1:
        raise ShapeError(f"what is searched in is sorted along its one axis, not {x1.shape}")
    if side not in ("left", "right"):
        raise DTypeError(f'side is "left" or "right", not {side!r}')
    if sorter is not None:
        if sorter.dtype.kind not in "iu":
            raise DTypeError(f"a sorter holds indices, and this one is {sorter.dtype}")
        if sorter.shape != x1.shape:
            raise ShapeError(f"a sorter {sorter.shape} has an index for each of {x1.shape}")


def _search_shape(x1: Any, x2: Any, *, side: str) -> tuple[tuple[int, ...], np.dtype]:
    dtypes.promote(x1.dtype, x2.dtype)
    return x2.shape, dtypes.int64


def _search(x1: np.ndarray, x2: np.ndarray, *, side: Any) -> np.ndarray:
    dtype = dtypes.promote(x1.dtype, x2.dtype)
    return np.asarray(np.searchsorted(x1.astype(dtype), x2.astype(dtype), side))


def _search_batch(
    op: Any, operands: Sequence[Any], batched: Sequence[bool], attrs: dict, size: int
) -> Tensor:
    if batched[0]:
        return one_by_one(op, operands, batched, attrs, size)
    return op.apply(operands, attrs)


@constant_op(
    formula="y[…] = how many of x1 are < x2[…] (left), or ≤ (right)",
    display_only=True,
    shape=_search_shape,
    forward=_search,
    reason="an index jumps, and is flat in between",
    operations=lambda y, x1, x2, **attrs: math.prod(x2.shape) * x1.shape[0].bit_length(),
    lower="search",
    batch=_search_batch,
    samples=lambda: [
        ((np.array([1.0, 2.0, 2.0, 5.0]), np.array([[2.0, 0.0], [9.0, 3.0]])), {}),
        ((np.array([1.0, 2.0, 2.0, 5.0]), np.array(2.0)), {"side": "right"}),
        ((np.array([2.0, 5.0, 1.0]), np.array([1.5])), {"sorter": np.array([2, 0, 1])}),
        ((np.zeros(0), sampled(3)), {}),
    ],
)
def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Any:
    """Where each number of x2 would have to be put into x1 for x1 to stay sorted.

    Args:
        x1: one-dimensional, in ascending order (or `sorter` are the indices that put it in order).
        x2: numbers of any shape, which is that of the result.
        side: "left", in front of equal numbers, or "right", behind them.

    Raises:
        ShapeError: x1 is not one-dimensional, or the sorter is of another shape.
        DTypeError: numbers are complex, or there is no such side.

    >>> import chainrule as cr
    >>> cr.searchsorted(cr.asarray([1.0, 2.0, 2.0]), cr.asarray([0.0, 2.0]), side="right")
    tensor([0, 3], dtype=int64)
    """
    x1 = as_operand(x1)
    if isinstance(x2, (int, float)) and not isinstance(x2, np.generic):
        x2 = beside(x2, x1)
    x2 = as_operand(x2)
    sorter = None if sorter is None else as_operand(sorter)
    _check_search(x1, x2, sorter, side)
    return (x1 if sorter is None else x1[sorter], x2), {"side": side}


def _count(x: np.ndarray, *, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    return np.asarray(np.sum(x.astype(bool), axes, np.int64, keepdims=keepdims))


@constant_op(
    formula="y[…] = Σ_k (1 if x[…, k] ≠ 0 else 0)",
    shape=lambda x, *, axes, keepdims: (reduced_shape(x.shape, axes, keepdims), dtypes.int64),
    forward=_count,
    reason="a count jumps",
    operations=elements,
    lower="count",
    batch=along("axes"),
    formula_view=along_axes,
    samples=lambda: [
        *reduction_samples()(),
        ((np.array([[1.0, 0.0, -0.0], [0.0, 0.0, np.nan]]),), {"axis": 1}),
    ],
)
def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements are not zero, over an axis, several, or all; NaN is not zero.

    >>> import chainrule as cr
    >>> cr.count_nonzero(cr.asarray([[1.0, 0.0], [2.0, 3.0]]), axis=1)
    tensor([1, 2], dtype=int64)
    """
    x = as_operand(x)
    return (x,), {"axes": normalise_axes(axis, x.ndim), "keepdims": bool(keepdims)}


@located
def nonzero(x: Any, /) -> tuple[Tensor, ...]:
    """The indices of the elements that are not zero, in row-major order: one array for each axis.

    How many there are depends on the values, so it is not for functions that are compiled.

    Raises:
        ShapeError: x has no dimensions.

    >>> import chainrule as cr
    >>> cr.nonzero(cr.asarray([0.0, 3.0, 4.0]))
    (tensor([1, 2], dtype=int64),)
    """
    x = as_operand(x)
    if not x.ndim:
        raise ShapeError("a number without dimensions has no indices; write x != 0")
    return tuple(Tensor(found) for found in np.nonzero(x._concrete("nonzero()").astype(bool)))
