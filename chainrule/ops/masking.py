"""Elements chosen by a mask, numbers between two others, and comparison with a tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import abs, isfinite, isnan
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.operation import operands
from chainrule.ops.reduction import all
from chainrule.ops.structure import broadcast_to, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor


def _mask(mask: Any) -> Tensor:
    mask = as_operand(mask)
    if mask.dtype != dtypes.bool_:
        raise DTypeError(f"a mask is boolean, and this one is {mask.dtype}; compare, as in x > 0")
    return mask


@located
def masked_fill(x: Any, mask: Any, value: Any, /) -> Tensor:
    """x with one value where the mask is true; no derivative flows there.

    >>> import chainrule as cr
    >>> x = cr.asarray([1.0, 2.0, 3.0])
    >>> cr.masked_fill(x, x > 1.5, 0.0)
    tensor([1., 0., 0.])
    """
    x = as_operand(x)
    if isinstance(value, (Tensor, np.ndarray)):
        value = as_operand(value)
        if value.ndim:
            raise ShapeError(f"the value is one number, not {value.shape}; write where for arrays")
        value = value.astype(x.dtype)
    return where(_mask(mask), value, x)


@located
def masked_select(x: Any, mask: Any, /) -> Tensor:
    """The elements of x where the mask is true, in one axis; the two broadcast.

    How many they are depends on values, so that it is not compiled, and not batched by `vmap`.

    >>> import chainrule as cr
    >>> x = cr.asarray([1.0, 2.0, 3.0])
    >>> cr.masked_select(x, x > 1.5)
    tensor([2., 3.])
    """
    x, mask = as_operand(x), _mask(mask)
    shape = broadcast_shapes(x.shape, mask.shape)
    chosen = np.flatnonzero(np.broadcast_to(mask._concrete("a mask"), shape))
    return reshape(broadcast_to(x, shape), (-1,))[Tensor(chosen)]


@located
def masked_scatter(x: Any, mask: Any, source: Any, /) -> Tensor:
    """x with the elements of `source`, one after the other, where the mask is true.

    Raises:
        ShapeError: the source has fewer elements than the mask is true.

    >>> import chainrule as cr
    >>> cr.masked_scatter(cr.zeros(3), cr.asarray([True, False, True]), cr.asarray([5.0, 6.0]))
    tensor([5., 0., 6.])
    """
    x, source = operands(x, source)
    mask = _mask(mask)
    shape = broadcast_shapes(x.shape, mask.shape)
    true = np.broadcast_to(mask._concrete("a mask"), shape).reshape(-1)
    number = int(true.sum())
    if number > source.size:
        raise ShapeError(f"the mask is true {number} times, and the source {source.shape} is short")
    if not number:
        return broadcast_to(x, shape)
    order = np.maximum(np.cumsum(true) - 1, 0)
    taken = reshape(reshape(source, (-1,))[Tensor(order)], shape).astype(x.dtype)
    return where(broadcast_to(mask, shape), taken, x)


@composite(
    formula="start + weight · (end − start)",
    samples=lambda: [
        ((sampled(2, 3), sampled(3) + 1, np.array(0.25)), {}),
        ((sampled(3), sampled(3) + 1, sampled(2, 1)), {}),
    ],
)
def lerp(start: Tensor, end: Tensor, weight: Tensor, /) -> Tensor:
    """The number between two others, of which `weight` says how far on: 0 the first, 1 the second.

    >>> import chainrule as cr
    >>> cr.lerp(cr.asarray([0.0, 10.0]), cr.asarray([4.0, 20.0]), 0.25)
    tensor([ 1. , 12.5])
    """
    return start + weight * (end - start)


def _tolerance(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise DTypeError(f"{name} is a number of at least 0, not {value!r}")
    return float(value)


@located
def isclose(
    a: Any, b: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether |a − b| ≤ atol + rtol |b|, element by element; infinities are close to themselves.

    >>> import chainrule as cr
    >>> cr.isclose(cr.asarray([1.0, 2.0]), cr.asarray([1.0, 2.1])).tolist()
    [True, False]
    """
    a, b = operands(a, b)
    rtol, atol = _tolerance(rtol, "rtol"), _tolerance(atol, "atol")
    if not dtypes.is_float(b.dtype):
        b = b.astype(dtypes.float64)
    near = (abs(a - b) <= atol + rtol * abs(b)) & isfinite(b)
    near = near | (a == b)
    return near | (isnan(a) & isnan(b)) if equal_nan else near


@located
def allclose(
    a: Any, b: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether all elements are close, as `isclose` says.

    >>> import chainrule as cr
    >>> bool(cr.allclose(cr.asarray([1.0, 2.0]), cr.asarray([1.0, 2.1])))
    False
    """
    return all(isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan))
