"""Arrays cut into parts, put beside one another, and turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.errors import AxisError, DTypeError, ShapeError
from chainrule.ops.joining import concat
from chainrule.ops.structure import expand_dims, flip, reshape, swapaxes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import explained, located
from chainrule.tensor.shapes import is_whole, normalise_axes, normalise_axis
from chainrule.tensor.tensor import Tensor, attach


def _count(value: Any, name: str, least: int = 1) -> int:
    if not is_whole(value):
        raise DTypeError(f"{name} is a whole number, not {value!r}")
    if int(value) < least:
        raise ShapeError(f"{name} is at least {least}, not {int(value)}")
    return int(value)


def _cut(x: Tensor, axis: int, edges: Sequence[int]) -> tuple[Tensor, ...]:
    """The parts of an axis between edges that lie one behind the other."""
    front = (slice(None),) * axis
    return tuple(x[(*front, slice(start, max(start, stop)))] for start, stop in pairwise(edges))


def _axis_of(x: Any, axis: Any) -> tuple[Tensor, int, int]:
    x = as_operand(x)
    if not x.ndim:
        raise ShapeError("a number without dimensions has no axis to be cut along")
    place = normalise_axis(axis, x.ndim)
    return x, place, x.shape[place]


@located
def split(x: Any, sizes: Any, /, axis: int = 0) -> tuple[Tensor, ...]:
    """x cut along an axis into parts of given sizes.

    Args:
        sizes: the size of every part, of which the last may be smaller; or a size for each part,
            which together make up the axis. (This is PyTorch's meaning. For so many equal parts,
            or for the places at which to cut, as in NumPy, write `tensor_split`.)

    Raises:
        ShapeError: the sizes do not make up the axis.

    >>> import chainrule as cr
    >>> [part.shape for part in cr.split(cr.ones((5, 2)), 2)]
    [(2, 2), (2, 2), (1, 2)]
    >>> [part.shape for part in cr.split(cr.ones((5, 2)), [1, 4])]
    [(1, 2), (4, 2)]
    """
    x, place, n = _axis_of(x, axis)
    if np.ndim(sizes) == 0:
        size = _count(sizes, "the size of a part", 1)
        return _cut(x, place, [*range(0, max(n, 1), size), n])
    parts = [_count(size, "the size of a part", 0) for size in sizes]
    if sum(parts) != n:
        raise ShapeError(
            f"the sizes {parts} add up to {sum(parts)}, and axis {place} of {x.shape} has {n}. To "
            "cut at places write tensor_split."
        )
    edges = [0]
    for size in parts:
        edges.append(edges[-1] + size)
    return _cut(x, place, edges)


@attach("split")
@explained
def _split(self: Tensor, sizes: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The tensor cut along an axis into parts of given sizes."""
    return split(self, sizes, axis)


@located
def chunk(x: Any, chunks: int, /, axis: int = 0) -> tuple[Tensor, ...]:
    """x cut along an axis into at most so many parts, all but the last of equal size.

    >>> import chainrule as cr
    >>> [part.shape for part in cr.chunk(cr.ones((2, 6)), 3, axis=1)]
    [(2, 2), (2, 2), (2, 2)]
    """
    x, place, n = _axis_of(x, axis)
    return split(x, max(1, -(-n // _count(chunks, "the number of parts"))), place)


@attach("chunk")
@explained
def _chunk(self: Tensor, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """The tensor cut along an axis into at most so many parts."""
    return chunk(self, chunks, axis)


@located
def tensor_split(x: Any, indices_or_sections: Any, /, axis: int = 0) -> tuple[Tensor, ...]:
    """x cut along an axis into so many parts as equal as can be, or at places.

    Args:
        indices_or_sections: how many parts; or where to cut, as [2, 5] for x[:2], x[2:5], x[5:].

    >>> import chainrule as cr
    >>> [part.shape for part in cr.tensor_split(cr.ones(5), 3)]
    [(2,), (2,), (1,)]
    """
    x, place, n = _axis_of(x, axis)
    if np.ndim(indices_or_sections) == 0:
        number = _count(indices_or_sections, "the number of parts")
        size, more = divmod(n, number)
        edges = [i * size + min(i, more) for i in range(number + 1)]
        return _cut(x, place, edges)
    inside = [slice(0, _count(i, "a place", -n)).indices(n)[1] for i in indices_or_sections]
    return _cut(x, place, [0, *inside, n])


def _several(arrays: Any) -> list[Tensor]:
    if isinstance(arrays, Tensor):
        raise DTypeError("arrays are given as a list or a tuple")
    return [as_operand(x) for x in arrays]


@located
def hstack(arrays: Sequence[Any], /) -> Tensor:
    """Arrays joined side by side: along axis 1, and vectors along their one axis.

    >>> import chainrule as cr
    >>> cr.hstack([cr.ones((2, 1)), cr.zeros((2, 2))]).shape
    (2, 3)
    """
    given = [x if x.ndim else reshape(x, (1,)) for x in _several(arrays)]
    return concat(given, axis=0 if given and given[0].ndim == 1 else 1)


@located
def vstack(arrays: Sequence[Any], /) -> Tensor:
    """Arrays joined one below the other: along axis 0, with vectors as rows.

    >>> import chainrule as cr
    >>> cr.vstack([cr.ones(3), cr.zeros((2, 3))]).shape
    (3, 3)
    """
    return concat([x if x.ndim > 1 else reshape(x, (1, -1)) for x in _several(arrays)], axis=0)


@located
def dstack(arrays: Sequence[Any], /) -> Tensor:
    """Arrays joined one behind the other, along axis 2, which they get where they lack it."""
    given = [x if x.ndim > 1 else reshape(x, (1, -1)) for x in _several(arrays)]
    return concat([x if x.ndim > 2 else expand_dims(x, 2) for x in given], axis=2)


@located
def unflatten(x: Any, axis: int, sizes: Sequence[int], /) -> Tensor:
    """One axis made into several of these sizes, of which one may be −1: `flatten` undone.

    >>> import chainrule as cr
    >>> cr.unflatten(cr.ones((2, 12)), 1, (3, -1)).shape
    (2, 3, 4)
    """
    x, place, n = _axis_of(x, axis)
    parts = [_count(size, "a size", -1) for size in sizes]
    known = math.prod(size for size in parts if size != -1)
    if parts.count(-1) > 1 or (n % known if -1 in parts and known else known != n):
        raise ShapeError(f"axis {place} of {x.shape} does not divide into {tuple(sizes)}")
    whole = [n // known if size == -1 else size for size in parts]
    return reshape(x, (*x.shape[:place], *whole, *x.shape[place + 1 :]))


@located
def rot90(x: Any, /, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """x turned by k right angles in the plane of two axes, from the first to the second.

    >>> import chainrule as cr
    >>> cr.rot90(cr.asarray([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]], dtype=int64)
    """
    x = as_operand(x)
    if len(tuple(axes)) != 2 or len(normalise_axes(tuple(axes), x.ndim)) != 2:
        raise AxisError(f"a turn is in the plane of two axes, not of {tuple(axes)}")
    first, second = (normalise_axis(a, x.ndim) for a in axes)
    turns = _count(k, "k", -(1 << 62)) % 4
    if turns == 0:
        return +x
    if turns == 2:
        return flip(x, axis=(first, second))
    turned = swapaxes(x, first, second)
    return flip(turned, axis=first if turns == 1 else second)
