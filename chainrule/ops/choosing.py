"""Choosing between numbers, element by element: where, and the triangles of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import trailing
from chainrule.ops.declare import linear
from chainrule.ops.domain import sampled
from chainrule.ops.operation import as_dtype_of, operands
from chainrule.ops.structure import alike, sum_to
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, beside
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


def _where_shape(condition: Any, a: Any, b: Any) -> tuple[tuple[int, ...], np.dtype]:
    if condition.dtype != dtypes.bool_:
        raise DTypeError(
            f"the condition is boolean, and this one is {condition.dtype}; compare, as in x > 0"
        )
    return broadcast_shapes(condition.shape, a.shape, b.shape), dtypes.promote(a.dtype, b.dtype)


def _where_transpose(g: Tensor, condition: Tensor, a: Any, b: Any) -> tuple:
    zero = Tensor(np.zeros((), g.dtype))
    return (
        None,
        _fit(where(condition, g, zero), a) if dtypes.is_float(a.dtype) else None,
        _fit(where(condition, zero, g), b) if dtypes.is_float(b.dtype) else None,
    )


def _fit(g: Tensor, x: Any) -> Tensor:
    g = g if g.shape == x.shape else sum_to(g, x.shape)
    return g if g.dtype == x.dtype else as_dtype_of(g, x)


def _where_forward(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    dtype = dtypes.promote(a.dtype, b.dtype)
    result = np.where(condition, a, b)
    return result if result.dtype == dtype else result.astype(dtype)


@linear(
    formula="x1 if condition else x2",
    shape=_where_shape,
    forward=_where_forward,
    transpose=_where_transpose,
    lower="select",
    batch=trailing(0),
    samples=lambda: [
        ((np.array([True, False, True]), sampled(3), sampled(2, 1)), {}),
        ((np.array(True), sampled(2), 0.5), {}),
    ],
)
def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """x1 where the condition holds, else x2; all three broadcast.

    >>> import chainrule as cr
    >>> x = cr.asarray([-1.0, 2.0])
    >>> cr.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    condition = as_operand(condition)
    scalar1, scalar2 = (isinstance(v, (int, float)) for v in (x1, x2))
    if scalar1 and not scalar2:
        x2 = as_operand(x2)
        x1 = beside(x1, x2)
    elif scalar2 and not scalar1:
        x1 = as_operand(x1)
        x2 = beside(x2, x1)
    return (condition, *alike(*operands(x1, x2))), {}


def _triangle(x: Any, k: int, keep: Any) -> Tensor:
    x = as_operand(x)
    if x.ndim < 2:
        raise ShapeError(f"a matrix has two axes or more, and this is of shape {x.shape}")
    return where(Tensor(keep(np.ones(x.shape[-2:], bool), k)), x, 0)


@located
def tril(x: Any, /, *, k: int = 0) -> Tensor:
    """The lower triangle of matrices, zeros above diagonal k.

    >>> import chainrule as cr
    >>> cr.tril(cr.ones((2, 2)))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _triangle(x, k, np.tril)


@located
def triu(x: Any, /, *, k: int = 0) -> Tensor:
    """The upper triangle of matrices, zeros below diagonal k."""
    return _triangle(x, k, np.triu)
