"""What is large and small among numbers: the k largest, medians, quantiles."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import floor, isnan, logical_not, round
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, constant_op
from chainrule.ops.domain import sampled
from chainrule.ops.indexing import take_along_axis
from chainrule.ops.reduction import composite_axes, sum
from chainrule.ops.sorting import argsort, check_ordered, sort
from chainrule.ops.structure import moveaxis, permute_dims, reshape, stop_gradient
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import is_whole, normalise_axes, normalise_axis, reduced_shape
from chainrule.tensor.tensor import Tensor

INTERNAL = ("topk_places",)

METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


class Ranked(NamedTuple):
    """Numbers, and where they stood."""

    values: Tensor
    indices: Tensor


def _rank(x: Any, k: Any, axis: Any) -> tuple[Tensor, int, int]:
    x = as_operand(x)
    if x.ndim == 0:
        raise ShapeError("a single number has no axis to look along; write x[None]")
    place = normalise_axis(axis, x.ndim)
    if not is_whole(k):
        raise DTypeError(f"k is a whole number, not {k!r}")
    return x, int(k), place


def _topk_places(x: np.ndarray, *, k: int, axis: int, largest: bool) -> np.ndarray:
    """The places of the k largest (smallest), in order, of equal numbers the first first."""
    if x.dtype.itemsize == 2:
        x = x.astype(np.float32)  # NumPy puts halves in order slowly
    n = x.shape[axis]
    rows = np.moveaxis(x, axis, -1)
    if 0 < 8 * k < n and x.size and not (x != x).any():
        # All that lie beyond the k-th, and of those equal to it the first.
        edge = np.partition(rows, n - k if largest else k - 1, -1)
        edge = edge[..., n - k : n - k + 1] if largest else edge[..., k - 1 : k]
        beyond = rows > edge if largest else rows < edge
        equal = rows == edge
        short = k - np.count_nonzero(beyond, -1)[..., None]
        chosen = beyond | (equal & (np.cumsum(equal, -1) <= short))
        places = np.nonzero(chosen)[-1].reshape(*rows.shape[:-1], k)
        values = np.take_along_axis(rows, places, -1)
        order = argsort.forward(values, axis=values.ndim - 1, descending=largest)
        found = np.take_along_axis(places, order, -1)
    else:
        found = argsort.forward(rows, axis=rows.ndim - 1, descending=largest)[..., :k]
    return np.ascontiguousarray(np.moveaxis(found, -1, axis))


@constant_op(
    formula="y = the places of the k largest (smallest) x along axis, in order",
    display_only=True,
    shape=lambda x, *, k, axis, largest: (
        (*x.shape[:axis], k, *x.shape[axis + 1 :]),
        dtypes.int64,
    ),
    forward=_topk_places,
    reason="a place jumps, and is flat in between",
    operations=lambda y, x, **attrs: 2 * math.prod(x.shape),
    lower="sort",
    batch=along("axis"),
    samples=lambda: [
        ((np.round(sampled(2, 40), 1),), {"k": 3, "axis": 1, "largest": True}),
        ((np.round(sampled(40, 2), 1),), {"k": 4, "axis": 0, "largest": False}),
        ((np.round(sampled(2, 5)),), {"k": 3, "axis": 1, "largest": True}),
        ((sampled(0, 5),), {"k": 3, "axis": 1, "largest": False}),
    ],
)
def topk_places(x: Any, /, *, k: int, axis: int, largest: bool) -> Any:
    """Where the k largest or smallest numbers stand along an axis."""
    x = as_operand(x)
    check_ordered(x)
    return (x,), {"k": k, "axis": axis, "largest": largest}


@located
def topk(x: Any, k: int, /, *, axis: int = -1, largest: bool = True, sorted: bool = True) -> Ranked:
    """(values, indices) of the k largest numbers along an axis, the largest first.

    Args:
        k: how many, 0 to the length of the axis.
        largest: False for the k smallest, the smallest first.
        sorted: they are in order either way.

    Of equal numbers the first comes first; NaN counts as the largest. Each derivative goes to
    where its number stood.

    Raises:
        ShapeError: there are fewer than k.

    >>> import chainrule as cr
    >>> values, indices = cr.topk(cr.asarray([1.0, 4.0, 3.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([4.0, 3.0], [1, 2])
    """
    x, k, place = _rank(x, k, axis)
    if not 0 <= k <= x.shape[place]:
        raise ShapeError(f"there are {x.shape[place]} numbers along axis {place}, and k is {k}")
    indices = topk_places(x, k=k, axis=place, largest=bool(largest))
    return Ranked(take_along_axis(x, indices, axis=place), indices)


@located
def kthvalue(x: Any, k: int, /, *, axis: int = -1, keepdims: bool = False) -> Ranked:
    """(value, index) of the k-th smallest number along an axis; k counts from 1.

    >>> import chainrule as cr
    >>> cr.kthvalue(cr.asarray([5.0, 1.0, 3.0]), 2).values.item()
    3.0
    """
    x, k, place = _rank(x, k, axis)
    if not 1 <= k <= x.shape[place]:
        raise ShapeError(f"k is 1 … {x.shape[place]} along axis {place}, not {k}")
    front = (slice(None),) * place
    indices = argsort(x, axis=place)[(*front, slice(k - 1, k))]
    values = take_along_axis(x, indices, axis=place)
    if keepdims:
        return Ranked(values, indices)
    return Ranked(values[(*front, 0)], indices[(*front, 0)])


# Quantiles


def _rows(x: Tensor, axis: Any) -> tuple[Tensor, tuple[int, ...]]:
    """(x with what is looked over as its last axis, the axes)."""
    axes = normalise_axes(axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    number = math.prod(x.shape[a] for a in axes)
    if not number:
        raise ShapeError(f"no quantile exists of nothing: {x.shape} is empty along axes {axes}")
    moved = permute_dims(x, (*kept, *axes))
    return reshape(moved, (*(x.shape[a] for a in kept), number)), axes


def _between(below: Tensor, above: Tensor, share: Any) -> Tensor:
    """below + share · (above − below); between equal infinities there is no distance."""
    step = above - below
    return below + where(isnan(step), 0, step) * share


def _places(position: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the place below, the place above, how far between) of positions among sorted numbers."""
    low, high = np.floor(position).astype(int), np.ceil(position).astype(int)
    if method == "lower":
        high = low
    elif method == "higher":
        low = high
    elif method == "nearest":
        low = high = np.round(position).astype(int)
    share = np.full(position.shape, 0.5) if method == "midpoint" else position - low
    return low, high, np.where(low == high, 0.0, share)


def _check(x: Tensor, q: Any, method: Any) -> np.ndarray:
    if x.dtype.kind == "c":
        raise DTypeError("complex numbers have no order, and so no quantiles")
    if method not in METHODS:
        raise DTypeError(f"method is one of {', '.join(map(repr, METHODS))}, not {method!r}")
    if isinstance(q, Tensor):
        q = q._concrete("a quantile's q")
    try:
        q = np.asarray(q).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError):
        raise DTypeError(f"q is a number between 0 and 1, or several, not {q!r}") from None
    if q.size and not (q.min() >= 0 and q.max() <= 1):
        raise DTypeError(f"q is between 0 and 1, and here is {q.min() if q.min() < 0 else q.max()}")
    return q


def _quantile(x: Tensor, q: Any, axis: Any, keepdims: bool, method: str, skip: bool) -> Tensor:
    # 0, with the derivative of q: the place is q (n − 1), and its whole part has none.
    moving = q - stop_gradient(q) if isinstance(q, Tensor) and dtypes.is_float(q.dtype) else None
    q = _check(x, q, method)
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    rows, axes = _rows(x, axis)
    ordered = sort(rows, axis=-1)  # with NaN last
    if skip:
        y = _of_counted(ordered, q.reshape(-1), moving, method)
    else:
        low, high, share = _places(q.reshape(-1) * (rows.shape[-1] - 1), method)
        below, above = ordered[..., Tensor(low)], ordered[..., Tensor(high)]
        part = Tensor(share.astype(x.dtype))
        if moving is not None and method == "linear":
            part = part + reshape(moving, (-1,)).astype(x.dtype) * (rows.shape[-1] - 1)
        y = _between(below, above, part)
        y = where(isnan(ordered[..., -1:]), math.nan, y)
    shape = reduced_shape(x.shape, axes, keepdims)
    return reshape(moveaxis(y, -1, 0), (*q.shape, *shape))


def _of_counted(ordered: Tensor, q: np.ndarray, moving: Tensor | None, method: str) -> Tensor:
    """Quantiles of rows of which those that are NaN, at the end, do not count."""
    last = sum(logical_not(isnan(ordered)), -1, keepdims=True, dtype=dtypes.float64) - 1
    last = where(last < 0, 0.0, last)
    position = last * Tensor(q)
    if moving is not None:
        position = position + last * reshape(moving, (-1,)).astype(dtypes.float64)
    low = floor(position)
    share = position - low
    if method == "midpoint":
        share = where(share > 0, 0.5, 0.0)
    elif method != "linear":
        near = {"lower": low, "higher": -floor(-position), "nearest": round(position)}[method]
        low, share = near, share * 0.0
    high = where(share > 0, low + 1, low)
    below, above = (take_along_axis(ordered, p.astype(dtypes.int64), axis=-1) for p in (low, high))
    return _between(below, above, share.astype(ordered.dtype))


def _formula_view(x: np.ndarray, y: np.ndarray, axis: Any = None, **attrs: Any) -> Any:
    values, y = composite_axes(x, y, axis)
    n = values["x"].shape[-1]
    ordered = np.sort(values["x"], -1).astype(np.float64)
    return {"s": ordered, "a": (n - 1) // 2, "b": n // 2}, y


@composite(
    formula="y[…] = (s[…, a] + s[…, b]) / 2",
    operations=lambda y, x, **attrs: math.prod(x.shape) * max(1, math.prod(x.shape).bit_length()),
    formula_view=_formula_view,
    samples=lambda: [
        ((np.array([[3.0, 1.0, 2.0], [5.0, -4.0, 7.0]]),), {}),
        ((np.array([[3.0, 1.0, 2.0], [5.0, -4.0, 7.0]]),), {"axis": 1}),
        ((np.array([[3.0, 1.0], [5.0, -4.0]]),), {"axis": (0, 1), "keepdims": True}),
    ],
)
def median(x: Tensor, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The number in the middle of the sorted ones s, over an axis, several, or all.

    Of an even number, it is the mean of the two in the middle, as in NumPy (PyTorch's `median` is
    the lower of the two, `quantile(x, 0.5, method="lower")`). With a NaN among them it is NaN.

    >>> import chainrule as cr
    >>> cr.median(cr.asarray([1.0, 9.0, 3.0, 4.0])).item()
    3.5
    """
    return _quantile(x, 0.5, axis, keepdims, "linear", skip=False)


@located
def nanmedian(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """`median` of what is not NaN; NaN where nothing else is.

    >>> import chainrule as cr
    >>> cr.nanmedian(cr.asarray([1.0, cr.nan, 3.0])).item()
    2.0
    """
    return _quantile(as_operand(x), 0.5, axis, keepdims, "linear", skip=True)


@located
def quantile(
    x: Any, q: Any, /, axis: Any = None, *, keepdims: bool = False, method: str = "linear"
) -> Tensor:
    """The number below which a share q of the numbers lies, over an axis, several, or all.

    With the sorted numbers s₀ … sₙ₋₁, it stands at q (n − 1); between two numbers it is on the
    line through them (method 7 of Hyndman and Fan 1996, Am. Stat. 50, which is NumPy's).

    Args:
        q: between 0 and 1; of an array of them the axes come first in the result. It has a
            derivative between two numbers, by "linear".
        method: "linear"; or "lower", "higher", "nearest" and "midpoint" of the two numbers.

    >>> import chainrule as cr
    >>> cr.quantile(cr.asarray([0.0, 1.0, 10.0]), [0.5, 0.75])
    tensor([1. , 5.5])
    """
    return _quantile(as_operand(x), q, axis, keepdims, method, skip=False)


@located
def nanquantile(
    x: Any, q: Any, /, axis: Any = None, *, keepdims: bool = False, method: str = "linear"
) -> Tensor:
    """`quantile` of what is not NaN; NaN where nothing else is."""
    return _quantile(as_operand(x), q, axis, keepdims, method, skip=True)
