"""Arrays as sets: which elements differ, and which are among others.

Equal means equal as numbers: each NaN is an element of its own, and 0 and −0 are one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.batching import one_by_one
from chainrule.ops.declare import constant_op
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, asarray, beside
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


class UniqueAll(NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


@located
def unique_all(x: Any, /) -> UniqueAll:
    """The different elements of x in ascending order, and where they are.

    Returns:
        values, the different elements (their derivative goes to where each stands first); indices,
        where each stands first in x, flattened; inverse_indices, in x's shape, which of the values
        each element is; counts, how often each is there.

    How many there are depends on the values, so it is not for functions that are compiled.

    >>> import chainrule as cr
    >>> found = cr.unique_all(cr.asarray([2.0, 1.0, 2.0]))
    >>> found.values, found.counts
    (tensor([1., 2.]), tensor([1, 2], dtype=int64))
    """
    x = as_operand(x)
    array = x._concrete("unique_all()")
    _, indices, inverse, counts = np.unique(
        array.reshape(-1),
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=False,
    )
    places = Tensor(indices.astype(np.int64))
    values = reshape(x, (-1,))[places]
    inverse = inverse.reshape(array.shape).astype(np.int64)
    return UniqueAll(values, places, Tensor(inverse), Tensor(counts.astype(np.int64)))


@located
def unique_counts(x: Any, /) -> UniqueCounts:
    """The different elements of x in ascending order, and how often each is there.

    >>> import chainrule as cr
    >>> cr.unique_counts(cr.asarray([2, 1, 2])).counts
    tensor([1, 2], dtype=int64)
    """
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


@located
def unique_inverse(x: Any, /) -> UniqueInverse:
    """The different elements of x in ascending order, and which of them each element is.

    >>> import chainrule as cr
    >>> found = cr.unique_inverse(cr.asarray([5, 3, 5]))
    >>> found.values[found.inverse_indices]
    tensor([5, 3, 5], dtype=int64)
    """
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


@located
def unique_values(x: Any, /) -> Tensor:
    """The different elements of x in ascending order.

    >>> import chainrule as cr
    >>> cr.unique_values(cr.asarray([[2, 1], [2, 3]]))
    tensor([1, 2, 3], dtype=int64)
    """
    return unique_all(x).values


def _isin_shape(x1: Any, x2: Any, *, invert: bool) -> tuple[tuple[int, ...], np.dtype]:
    dtypes.promote(x1.dtype, x2.dtype)
    return x1.shape, dtypes.bool_


def _isin(x1: np.ndarray, x2: np.ndarray, *, invert: bool) -> np.ndarray:
    dtype = dtypes.promote(x1.dtype, x2.dtype)
    return np.isin(x1.astype(dtype), x2.astype(dtype), invert=invert)


def _isin_batch(
    op: Any, operands: Sequence[Any], batched: Sequence[bool], attrs: dict, size: int
) -> Tensor:
    if batched[1]:
        return one_by_one(op, operands, batched, attrs, size)
    return op.apply(operands, attrs)


@constant_op(
    formula="y[…] = 1 if x1[…] is among x2 else 0",
    display_only=True,
    shape=_isin_shape,
    forward=_isin,
    reason="a truth value jumps",
    operations=lambda y, x1, x2, **attrs: math.prod(x1.shape) * math.prod(x2.shape),
    lower="isin",
    batch=_isin_batch,
    samples=lambda: [
        ((np.array([[1, 2], [3, 4]]), np.array([4, 1, 9])), {}),
        ((np.array([1.0, np.nan, 3.0]), np.array([[np.nan, 3.0]])), {"invert": True}),
        ((np.zeros((0, 2)), np.zeros(0)), {}),
    ],
)
def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Any:
    """Whether each element of x1 is among those of x2, or, with `invert`, is not.

    Raises:
        DTypeError: both are Python numbers, or no dtype holds the numbers of both.

    >>> import chainrule as cr
    >>> cr.isin(cr.asarray([1, 2, 3]), cr.asarray([3, 1]))
    tensor([ True, False,  True], dtype=bool)
    """
    scalars = [isinstance(x, (bool, int, float, complex)) for x in (x1, x2)]
    if all(scalars):
        raise DTypeError("one of the two is an array; of two numbers write x1 == x2")
    if scalars[0]:
        x2 = as_operand(x2)
        x1, x2 = _beside(x1, x2) or (asarray(x1), Tensor(np.zeros(0, asarray(x1).dtype)))
    elif scalars[1]:
        x1 = as_operand(x1)
        x2, x1 = _beside(x2, x1) or (Tensor(np.zeros(0, x1.dtype)), x1)
    return (as_operand(x1), as_operand(x2)), {"invert": bool(invert)}


def _beside(number: Any, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """A Python number as an array beside another; None where it is none of that dtype's numbers."""
    try:
        return beside(number, x), x
    except DTypeError:
        return None
