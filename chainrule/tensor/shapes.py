"""Shapes: broadcasting, axes, and what to say when they do not fit."""

from __future__ import annotations

from typing import Any

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


def normalise_axis(axis: Any, ndim: int) -> int:
    """A non-negative axis; AxisError names the range."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
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


def pair(value: Any, what: str) -> tuple[int, int]:
    """(height, width) from one number or two."""
    if hasattr(value, "__index__"):
        value = (value, value)
    values = tuple(value) if isinstance(value, (tuple, list, str)) else ()
    if len(values) != 2 or not all(hasattr(v, "__index__") for v in values):
        raise DTypeError(f"{what} is one whole number or a pair of them, not {value!r}")
    return int(values[0]), int(values[1])
