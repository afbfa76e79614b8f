"""Putting numbers in order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.batching import along
from chainrule.ops.declare import composite, constant_op
from chainrule.ops.indexing import take_along_axis
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor

INTERNAL = ("check_ordered",)


def check_ordered(*xs: Any) -> None:
    """DTypeError for complex numbers."""
    for x in xs:
        if x.dtype.kind == "c":
            raise DTypeError(
                "complex numbers have no order; sort their real part or modulus, or take argsort "
                "of that"
            )


def _comparisons(y: Any, x: Any, **attrs: Any) -> int:
    n = math.prod(x.shape)
    return n * max(1, n.bit_length())


def _argsort(x: np.ndarray, *, axis: int, descending: bool) -> np.ndarray:
    if not x.ndim:
        return np.zeros((), np.int64)
    if not descending:
        return np.argsort(x, axis, kind="stable")
    # Backwards twice, so that equal numbers keep their order.
    back = np.argsort(np.flip(x, axis), axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(back, axis)


def _sort_axis(x: Any, axis: int) -> int:
    """An axis of x; a single number has one to be sorted along, of itself."""
    return normalise_axis(axis, max(x.ndim, 1))


def _sort_samples() -> list:
    x = np.array([[3.0, 1.0, 2.0, -1.0], [0.5, -4.0, 7.0, 0.0]])
    return [
        ((x,), {}),
        ((x,), {"axis": 0, "descending": True}),
        ((x[:, ::-2],), {"descending": True}),
        ((np.zeros((2, 0)),), {}),
    ]


@constant_op(
    formula="y, so that x[y] is in order",
    display_only=True,
    shape=lambda x, *, axis, descending: (x.shape, dtypes.int64),
    forward=_argsort,
    reason="an index jumps, and is flat in between",
    operations=_comparisons,
    lower="sort",
    batch=along("axis"),
    method="argsort",
    samples=_sort_samples,
)
def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """The indices that put x in order along an axis; equal numbers keep their order.

    NaN counts as larger than every number, as in PyTorch and NumPy. Sorting is stable either way.

    Raises:
        DTypeError: x is complex.
        AxisError: there is no such axis.

    >>> import chainrule as cr
    >>> cr.argsort(cr.asarray([3.0, 1.0, 2.0]))
    tensor([1, 2, 0], dtype=int64)
    """
    x = as_operand(x)
    check_ordered(x)
    return (x,), {"axis": _sort_axis(x, axis), "descending": bool(descending)}


@composite(
    formula="y = the numbers of x in order along axis",
    display_only=True,
    operations=_comparisons,
    samples=_sort_samples,
)
def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """x in ascending order along an axis, or in descending order.

    Each derivative goes to where its number came from. NaN counts as larger than every number.

    Raises:
        DTypeError: x is complex.
        AxisError: there is no such axis.

    >>> import chainrule as cr
    >>> cr.sort(cr.asarray([3.0, 1.0, 2.0]), descending=True)
    tensor([3., 2., 1.])
    """
    axis = _sort_axis(x, axis)
    order = argsort(x, axis=axis, descending=descending)
    return take_along_axis(x, order, axis=axis) if x.ndim else +x
