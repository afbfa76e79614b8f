"""Shapes: broadcasting, axes, and what to say when they do not fit."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from chainrule.errors import AxisError, DTypeError, ShapeError

Shape = tuple[int, ...]


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that arrays of these shapes broadcast to.

    Raises:
        ShapeError: two sizes differ and neither is 1; it names the axis from the right.
    """
    first = shapes[0]
    if all(shape == first for shape in shapes):
        return first
    ndim = max(map(len, shapes))
    result = [1] * ndim
    for shape in shapes:
        offset = ndim - len(shape)
        for i, n in enumerate(shape):
            m = result[offset + i]
            if m == 1:
                result[offset + i] = n
            elif n not in (1, m):
                listed = " and ".join(map(str, shapes))
                raise ShapeError(
                    f"the shapes {listed} do not broadcast: {m} against {n} in axis "
                    f"{offset + i - ndim}. Shapes are aligned at the right, and sizes must be "
                    "equal or 1; add an axis of size 1 with x[:, None] or reshape one of them."
                )
    return tuple(result)


def is_whole(value: Any) -> bool:
    """Whether this is one whole number. (Arrays of any shape have `__index__`.)"""
    try:
        operator.index(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, (bool, np.bool_))


def normalise_axis(axis: Any, ndim: int) -> int:
    """A non-negative axis; AxisError names the range."""
    if not is_whole(axis):
        raise DTypeError(f"an axis is a whole number, not {axis!r}")
    axis = axis.__index__()
    if not -ndim <= axis < ndim:
        valid = f"{-ndim} … {ndim - 1}" if ndim else "none, as there are no dimensions"
        raise AxisError(f"there is no axis {axis} in {ndim} dimensions (valid: {valid})")
    return axis % ndim


def normalise_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Sorted non-negative axes from None (all), an integer or several."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (normalise_axis(axis, ndim),)
    axes = tuple(normalise_axis(a, ndim) for a in axis)
    if len(set(axes)) != len(axes):
        raise AxisError(f"an axis is named twice in {tuple(axis)}")
    return tuple(sorted(axes))


def normalise_shape(shape: Any) -> Shape:
    """A tuple of non-negative integers from an integer or a sequence of them."""
    if hasattr(shape, "__index__"):
        shape = (shape,)
    try:
        result = tuple(int(n.__index__()) for n in shape)
    except (TypeError, AttributeError):
        raise DTypeError(f"a shape is made of whole numbers, not {shape!r}") from None
    if any(n < 0 for n in result):
        raise ShapeError(f"a shape cannot have a negative size: {result}")
    return result


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """The shape after a reduction over `axes`."""
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def sizes(value: Any, rank: int, what: str) -> tuple[int, ...]:
    """So many whole numbers, from one for all or one for each."""
    if is_whole(value):
        value = (value,) * rank
    values = tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(values) != rank or not all(is_whole(v) for v in values):
        several = f" or {_SEVERAL.get(rank, rank)} of them" if rank > 1 else ""
        raise DTypeError(f"{what} is one whole number{several}, not {value!r}")
    return tuple(int(v) for v in values)


def pair(value: Any, what: str) -> tuple[int, int]:
    """(height, width) from one number or two."""
    height, width = sizes(value, 2, what)
    return height, width


_SEVERAL = {2: "a pair", 3: "three"}
