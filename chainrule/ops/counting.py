"""Counting: how often each whole number is there, and how many numbers each bin holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.choosing import where
from chainrule.ops.reduction import sum
from chainrule.ops.scattering import segment_sum
from chainrule.ops.searching import searchsorted
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, ones
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import is_whole
from chainrule.tensor.tensor import Tensor


class Histogram(NamedTuple):
    """How many numbers each bin holds, and the edges of the bins, one more than bins."""

    hist: Tensor
    bin_edges: Tensor


@located
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often 0, 1, 2 … are among whole numbers; with weights, the sum of theirs.

    Args:
        x: (n,), at least 0.
        weights: (n,), or None.
        minlength: the least length of the result, which otherwise ends with the largest number.

    >>> import chainrule as cr
    >>> cr.bincount(cr.asarray([1, 0, 1, 3]))
    tensor([1, 2, 0, 1], dtype=int64)
    """
    x = as_operand(x)
    if x.dtype.kind not in "iu" or x.ndim != 1:
        raise DTypeError(f"counted are whole numbers in one axis, not {x.dtype} of {x.shape}")
    if not is_whole(minlength) or minlength < 0:
        raise DTypeError(f"minlength is a whole number of at least 0, not {minlength!r}")
    values = x._concrete("numbers to be counted")
    if values.size and values.min() < 0:
        raise ShapeError(f"counted are numbers of at least 0, and here is {values.min()}")
    length = max(int(minlength), int(values.max()) + 1 if values.size else 0)
    data = ones(x.shape, dtype=dtypes.int64) if weights is None else as_operand(weights)
    return segment_sum(data, x, length)


def _edges(x: Tensor, bins: Any, range: Any) -> np.ndarray:
    dtype = x.dtype if dtypes.is_float(x.dtype) else dtypes.default_float
    if np.ndim(bins):
        edges = as_operand(bins)._concrete("the edges of bins")
        if edges.ndim != 1 or len(edges) < 2 or (np.diff(edges) < 0).any():
            raise ShapeError("the edges of bins are two numbers or more in ascending order")
        return edges
    if not hasattr(bins, "__index__"):
        raise DTypeError(f"bins is a whole number or the edges of the bins, not {bins!r}")
    if int(bins) < 1:
        raise ShapeError(f"there is at least 1 bin, not {int(bins)}")
    if range is None:
        values = x._concrete("a histogram without range=")
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    else:
        low, high = (float(end) for end in range)
    if not (np.isfinite(low) and np.isfinite(high)) or low > high:
        raise ShapeError(f"the bins go from {low} to {high}; give range=(low, high), both finite")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, int(bins) + 1).astype(dtype)


@located
def histogram(
    x: Any, /, bins: Any = 10, range: Any = None, *, density: bool = False, weights: Any = None
) -> Histogram:
    """(hist, bin_edges): how many numbers each bin holds, as in NumPy.

    Args:
        x: numbers of any shape.
        bins: how many bins of equal width, or their edges. A bin holds its lower edge and not the
            upper; the last one holds both.
        range: (low, high) of the bins; by default the smallest and the largest number.
        density: whether the counts are scaled to a density, of integral 1.
        weights: what each number counts, in x's shape; the result has a derivative in them.

    Raises:
        ShapeError: the edges are not in order, or are not finite.

    >>> import chainrule as cr
    >>> cr.histogram(cr.asarray([1.0, 2.0, 2.5, 4.0]), 3).hist
    tensor([1, 2, 1], dtype=int64)
    """
    x = as_operand(x)
    if x.dtype.kind == "c":
        raise DTypeError("complex numbers have no order, and fall into no bin")
    edges = _edges(x, bins, range)
    number = len(edges) - 1
    bounds = Tensor(edges)
    flat = reshape(x, (x.size,))
    place = searchsorted(bounds, flat, side="right") - 1
    place = where(flat == float(edges[-1]), number - 1, place)
    inside = (flat >= float(edges[0])) & (flat <= float(edges[-1]))
    place = where(inside, place, number)  # what is outside falls into a bin that is taken off
    if weights is None:
        data = ones(flat.shape, dtype=dtypes.int64)
    else:
        data = as_operand(weights)
        if data.shape != x.shape:
            raise ShapeError(f"there is a weight for each number: {data.shape} for {x.shape}")
        data = reshape(data, (x.size,))
    counts = segment_sum(data, place, number + 1)[:number]
    if density:
        widths = Tensor(np.diff(edges))
        counts = counts.astype(widths.dtype) / (sum(counts).astype(widths.dtype) * widths)
    return Histogram(counts, bounds)
