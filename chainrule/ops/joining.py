"""Joining arrays, and putting a border around them."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import along
from chainrule.ops.declare import composite, linear
from chainrule.ops.domain import sampled
from chainrule.ops.structure import alike, expand_dims, no_cost, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, full
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor

INTERNAL = ("pad_zeros",)


def _joined_shape(*xs: Any, axis: int) -> tuple[tuple[int, ...], np.dtype]:
    first = xs[0].shape
    for i, x in enumerate(xs):
        if len(x.shape) != len(first) or any(
            m != n for j, (m, n) in enumerate(zip(first, x.shape, strict=True)) if j != axis
        ):
            raise ShapeError(
                f"arrays joined along axis {axis} have equal sizes in the others: the first is "
                f"{first}, number {i} is {x.shape}"
            )
    dtype = xs[0].dtype
    for x in xs[1:]:
        dtype = dtypes.promote(dtype, x.dtype)
    total = builtins.sum(x.shape[axis] for x in xs)
    return (*first[:axis], total, *first[axis + 1 :]), dtype


def _concatenate(*xs: np.ndarray, axis: int) -> np.ndarray:
    dtype = xs[0].dtype
    for x in xs[1:]:
        dtype = dtypes.promote(dtype, x.dtype)
    return np.concatenate(xs, axis, dtype=dtype)


def _split_again(g: Tensor, *xs: Any, axis: int) -> tuple[Tensor, ...]:
    parts, start = [], 0
    for x in xs:
        stop = start + x.shape[axis]
        key = (*(slice(None),) * axis, slice(start, stop))
        parts.append(g[key])
        start = stop
    return tuple(parts)


def _several(xs: Any, name: str) -> list[Tensor]:
    tensors = [as_operand(x) for x in xs]
    if not tensors:
        raise ShapeError(f"{name} needs at least one array")
    return tensors


@linear(
    formula="y[…, i, …] = the parts of x one after the other along axis",
    display_only=True,
    shape=_joined_shape,
    forward=_concatenate,
    transpose=_split_again,
    operations=no_cost,
    lower="concatenate",
    batch=along("axis"),
    samples=lambda: [
        (([sampled(2, 3), sampled(2, 1) + 1],), {"axis": 1}),
        (([sampled(0, 2), sampled(2, 2)],), {"axis": 0}),
        (([sampled(2), sampled(2, 2)],), {"axis": None}),
    ],
)
def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Any:
    """Arrays joined along an axis that they have; with `axis=None`, flattened first.

    >>> import chainrule as cr
    >>> cr.concat([cr.asarray([1.0]), cr.asarray([2.0, 3.0])])
    tensor([1., 2., 3.])
    """
    tensors = _several(arrays, "concat")
    if axis is None:
        tensors = [reshape(x, (-1,)) for x in tensors]
        axis = 0
    if tensors[0].ndim == 0:
        raise ShapeError("numbers without dimensions have no axis to be joined along; use stack")
    return tuple(alike(*tensors)), {"axis": normalise_axis(axis, tensors[0].ndim)}


@located
def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Tensor:
    """Arrays of one shape joined along a new axis.

    >>> import chainrule as cr
    >>> cr.stack([cr.asarray([1.0, 2.0]), cr.asarray([3.0, 4.0])]).shape
    (2, 2)
    """
    tensors = _several(arrays, "stack")
    position = normalise_axis(axis, tensors[0].ndim + 1)
    return concat([expand_dims(x, position) for x in tensors], axis=position)


@located
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of x along an axis, without it."""
    x = as_operand(x)
    position = normalise_axis(axis, x.ndim)
    front = (slice(None),) * position
    return tuple(x[(*front, i)] for i in range(x.shape[position]))


def _pad_arguments(x: Tensor, widths: Any) -> tuple[tuple[int, int], ...]:
    if hasattr(widths, "__index__"):
        widths = (widths, widths)
    if len(widths) == 2 and all(hasattr(w, "__index__") for w in widths):
        widths = (widths,) * x.ndim
    pairs = [(w, w) if hasattr(w, "__index__") else tuple(w) for w in widths]
    if not all(hasattr(w, "__index__") for pair in pairs for w in pair):
        raise DTypeError(f"widths are whole numbers, not {widths!r}")
    if len(pairs) != x.ndim or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise ShapeError(
            f"pad takes a (before, after) pair of widths for each of the {x.ndim} axes of "
            f"{x.shape}, not {widths!r}"
        )
    return tuple((int(a), int(b)) for a, b in pairs)


@linear(
    formula="y = x, within a border of zeros",
    display_only=True,
    shape=lambda x, *, widths: (
        tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)),
        x.dtype,
    ),
    forward=lambda x, *, widths: np.pad(x, widths) if x.ndim else x,
    transpose=lambda g, x, *, widths: g[
        tuple(slice(a, a + n) for n, (a, b) in zip(x.shape, widths, strict=True))
    ],
    operations=no_cost,
    lower="pad",
    batch=lambda op, xs, _, attrs, size: op.apply(xs, {"widths": ((0, 0), *attrs["widths"])}),
    samples=lambda: [((sampled(2, 3), ((1, 0), (0, 2))), {}), ((sampled(2), 1), {})],
)
def pad_zeros(x: Any, /, pad_width: Any) -> Any:
    """x within a border of zeros."""
    x = as_operand(x)
    return (x,), {"widths": _pad_arguments(x, pad_width)}


def _border(n: int, before: int, after: int, mode: str) -> np.ndarray:
    """Which element of an axis stands at each place, border included."""
    places = np.arange(-before, n + after)
    if n == 0 or (mode == "reflect" and max(before, after) >= n):
        raise ShapeError(
            f"an axis of {n} cannot be continued by {before} before and {after} after with "
            f'mode="{mode}"'
            + (", which has n − 1 elements to mirror; pad twice" if n else ": there is nothing")
        )
    if mode == "reflect":
        return n - 1 - np.abs(n - 1 - np.abs(places))
    return np.clip(places, 0, n - 1) if mode == "replicate" else places % n


@composite(
    formula="y = x, within a border of value, or of what mode continues x by",
    display_only=True,
    operations=no_cost,
    samples=lambda: [
        ((sampled(2, 3),), {"pad_width": ((1, 0), (0, 2)), "value": 2.0}),
        *(
            ((sampled(2, 3, 4),), {"pad_width": ((0, 0), (2, 1), (1, 3)), "mode": mode})
            for mode in ("reflect", "replicate", "circular")
        ),
    ],
)
def pad(x: Tensor, /, pad_width: Any, value: float = 0.0, *, mode: str = "constant") -> Tensor:
    """x within a border: of one value, or of x itself, continued.

    Args:
        pad_width: one number, one (before, after) pair, or a pair for each axis.
        value: what the border is made of.
        mode: "constant"; or "reflect" (mirrored, without the edge itself), "replicate" (the edge
            again and again), "circular" (from the other end), with PyTorch's names.

    Raises:
        ShapeError: a mirror would need more elements than there are.

    >>> import chainrule as cr
    >>> cr.pad(cr.asarray([1.0]), (1, 2), value=7.0)
    tensor([7., 1., 7., 7.])
    >>> cr.pad(cr.asarray([1.0, 2.0, 3.0]), 2, mode="reflect")
    tensor([3., 2., 1., 2., 3., 2., 1.])
    """
    if mode != "constant":
        if mode not in ("reflect", "replicate", "circular"):
            raise DTypeError(
                f'mode is "constant", "reflect", "replicate" or "circular", not {mode!r}'
            )
        if value != 0:
            raise DTypeError(f'a value is for mode="constant"; mode="{mode}" has none')
        for axis, (before, after) in enumerate(_pad_arguments(x, pad_width)):
            if before or after:
                places = Tensor(_border(x.shape[axis], before, after, mode))
                x = x[(*(slice(None),) * axis, places)]
        return x
    inside = pad_zeros(x, pad_width)
    if value == 0:
        return inside
    border = full(inside.shape, value, dtype=inside.dtype).numpy(copy=True)
    widths = _pad_arguments(x, pad_width)
    border[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, widths, strict=True))] = 0
    return inside + Tensor(border)


@located
def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Tensor:
    """x with its elements moved on by `shift` along an axis; the last ones come back in front."""
    x = as_operand(x)
    if axis is None:
        return reshape(roll(reshape(x, (-1,)), shift, axis=0), x.shape)
    shifts = (shift,) if hasattr(shift, "__index__") else tuple(shift)
    axes = (axis,) if hasattr(axis, "__index__") else tuple(axis)
    for s, a in zip(shifts * len(axes) if len(shifts) == 1 else shifts, axes, strict=True):
        a = normalise_axis(a, x.ndim)
        n = x.shape[a]
        if n and s % n:
            front = (slice(None),) * a
            cut = n - s % n
            x = concat([x[(*front, slice(cut, n))], x[(*front, slice(0, cut))]], axis=a)
    return x
