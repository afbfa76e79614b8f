"""Elements repeated one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.structure import broadcast_to, expand_dims, reshape
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


@located
def repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element of x, or each slice along an axis, as often as `repeats` says.

    Args:
        repeats: one number, or one for each element along the axis.
        axis: None flattens x first.

    Raises:
        ShapeError: a number is negative, or there are not as many as elements.
        DTypeError: `repeats` are not whole numbers.

    >>> import chainrule as cr
    >>> cr.repeat(cr.asarray([1.0, 2.0]), 2), cr.repeat(cr.asarray([1.0, 2.0]), cr.asarray([3, 1]))
    (tensor([1., 1., 2., 2.]), tensor([1., 1., 1., 2.]))
    """
    x = as_operand(x)
    if axis is None:
        x, axis = reshape(x, (x.size,)), 0
    axis = normalise_axis(axis, x.ndim)
    size = x.shape[axis]
    counts = as_operand(repeats)
    if counts.dtype.kind not in "iu":
        raise DTypeError(f"repeats are whole numbers, and these are {counts.dtype}")
    if counts.shape not in ((), (1,), (size,)):
        raise ShapeError(
            f"repeats are one number or one for each of {size} along axis {axis}, not of shape "
            f"{counts.shape}"
        )
    times = counts._concrete("the number of repetitions")
    if times.size and times.min() < 0:
        raise ShapeError(f"nothing is repeated {times.min()} times")
    front, back = x.shape[:axis], x.shape[axis + 1 :]
    if times.size == 1:
        n = times.item()
        wide = broadcast_to(expand_dims(x, axis + 1), (*front, size, n, *back))
        return reshape(wide, (*front, size * n, *back))
    return x[(*(slice(None),) * axis, Tensor(np.repeat(np.arange(size), times)))]
