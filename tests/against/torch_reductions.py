"""PyTorch's reductions, searching and counting that are short compositions of this library's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import linalg
from tests.against.torch_names import Lacks, axes_of, same
from tests.against.torch_shapes import at_least

Maker = Callable[..., Any]


def spread(name: str, *, both: bool = False) -> Maker:
    """var and std: PyTorch's default correction is 1, and `unbiased` is another word for it."""

    def call(
        x: Any,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if correction is None:
            correction = 1 if unbiased is None else int(unbiased)
        kept = {"axis": axes_of(x, dim), "keepdims": keepdim}
        y = getattr(cr, name)(x, correction=float(correction), **kept)
        return (y, cr.mean(x, **kept)) if both else y

    return call


def extremes_along(name: str) -> Maker:
    def call(x: Any, dim: int, keepdim: bool = False) -> Any:
        best = same("arg" + name)(x, axis=dim, keepdims=keepdim)
        return same(name)(x, axis=dim, keepdims=keepdim), best

    return call


def aminmax(x: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    return [same(name)(x, axis=dim, keepdims=keepdim) for name in ("min", "max")]


def lower_median(nan_counts: bool) -> Maker:
    """PyTorch's median is the lower of the two in the middle."""

    def call(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
        if dim is None:
            return call(cr.reshape(x, (-1,)), 0)[0]
        if x.ndim == 0:
            return x, cr.asarray(0)
        order = cr.argsort(x, axis=dim)
        count = x.shape[dim]
        if nan_counts:
            middle = cr.full_like(
                cr.max(cr.stop_gradient(x), axis=dim, keepdims=True), (count - 1) // 2
            )
            missing = cr.any(cr.isnan(x), axis=dim, keepdims=True)
            middle = cr.where(missing, count - 1, middle)
        else:
            present = cr.count_nonzero(~cr.isnan(x), axis=dim, keepdims=True)
            middle = cr.maximum(present - 1, 0) // 2
        best = cr.take_along_axis(order, cr.astype(middle, cr.int64), axis=dim)
        value = cr.take_along_axis(x, best, axis=dim)
        return (value, best) if keepdim else (cr.squeeze(value, dim), cr.squeeze(best, dim))

    return call


def norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if p == "nuc":
        axes = (-2, -1) if dim is None else tuple(dim)
        return same("linalg.norm")(x, "nuc", axes, keepdim)
    p = 2 if p in ("fro", None) else p
    return same("linalg.vector_norm")(x, ord=p, axis=dim, keepdims=keepdim, dtype=dtype)


def renorm(x: Any, p: float, dim: int, maxnorm: float) -> Any:
    others = tuple(a for a in range(x.ndim) if a != dim % x.ndim)
    size = linalg.vector_norm(x, ord=p, axis=others, keepdims=True)
    return x * cr.where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


def gradient(x: Any, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    axes = axes_of(x, dim)
    steps = (
        spacing
        if isinstance(spacing, (list, tuple))
        else [1.0 if spacing is None else spacing] * len(axes)
    )
    return [
        _gradient_along(x, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True)
    ]


def _gradient_along(x: Any, axis: int, step: Any, edge_order: int) -> Any:
    n = x.shape[axis]
    places = cr.asarray(step) if isinstance(step, cr.Tensor) else cr.arange(n, dtype=x.dtype) * step
    shape = (-1,) + (1,) * (x.ndim - 1)
    y = cr.moveaxis(x, axis, 0)
    h = cr.reshape(cr.diff(cr.astype(places, y.dtype)), shape)
    slope = cr.diff(y, axis=0) / h
    before, after = h[:-1], h[1:]
    inner = (after * slope[:-1] + before * slope[1:]) / (before + after)
    first, last = slope[:1], slope[-1:]
    if edge_order == 2:
        first = first + (first - slope[1:2]) * h[:1] / (h[:1] + h[1:2])
        last = last + (last - slope[-2:-1]) * h[-1:] / (h[-1:] + h[-2:-1])
    return cr.moveaxis(cr.concat([first, inner, last], axis=0), 0, axis)


# Finding and counting.


def searchsorted(
    x: Any,
    v: Any,
    *,
    right: bool = False,
    side: Any = None,
    sorter: Any = None,
    out_int32: bool = False,
) -> Any:
    side = side or ("right" if right else "left")
    if x.ndim == 1:
        return cr.searchsorted(x, v, side=side, sorter=sorter)
    count = math.prod(x.shape[:-1])
    rows = [t.reshape((count, t.shape[-1])) for t in (x, v)]
    orders = [None] * count if sorter is None else sorter.reshape((count, x.shape[-1]))
    found = [
        cr.searchsorted(a, b, side=side, sorter=s) for a, b, s in zip(*rows, orders, strict=True)
    ]
    return cr.stack(found).reshape(v.shape) if found else cr.zeros(v.shape, dtype=cr.int64)


def bucketize(v: Any, x: Any, *, right: bool = False, out_int32: bool = False) -> Any:
    return cr.searchsorted(x, cr.asarray(v), side="right" if right else "left")


def sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    if x.ndim == 0:
        return x, cr.asarray(0)
    order = cr.argsort(x, axis=dim, descending=descending)
    return cr.sort(x, axis=dim, descending=descending), order


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """PyTorch's counts of whole weights are float64, as NumPy's."""
    if weights is not None and weights.dtype.kind != "f":
        weights = cr.astype(weights, cr.float64)
    return cr.bincount(x, weights, minlength)


def unique(
    x: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
) -> Any:
    if dim is not None:
        raise Lacks("dim= (unique slices)")
    values, _, inverse, counts = cr.unique_all(x)
    made = [values, *[inverse] * return_inverse, *[counts] * return_counts]
    return made if len(made) > 1 else values


def unique_consecutive(
    x: Any, return_inverse: bool = False, return_counts: bool = False, dim: Any = None
) -> Any:
    if dim is not None:
        raise Lacks("dim= (unique slices)")
    flat = cr.reshape(x, (-1,))
    new = cr.concat([cr.ones((min(x.size, 1),), dtype=cr.bool), flat[1:] != flat[:-1]])
    start = cr.nonzero(new)[0]
    made = [flat[start]]
    if return_inverse:
        made.append((cr.cumulative_sum(cr.astype(new, cr.int64)) - 1).reshape(x.shape))
    if return_counts:
        made.append(cr.diff(start, append=cr.asarray([x.size])))
    return made if len(made) > 1 else made[0]


def histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    flat = cr.reshape(x, (-1,))
    if min == max:
        min, max = (flat.min().item(), flat.max().item()) if x.size else (0.0, 0.0)
        min, max = (min - 1, max + 1) if min == max else (min, max)
    return cr.astype(cr.histogram(flat, bins, (min, max))[0], x.dtype)


def histogram(
    x: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    flat = cr.reshape(x, (-1,))
    weight = None if weight is None else cr.reshape(weight, (-1,))
    counts, edges = cr.histogram(flat, bins, range, weights=weight, density=density)
    return cr.astype(counts, x.dtype), edges


def argwhere(x: Any) -> Any:
    if x.ndim:
        return cr.stack(cr.nonzero(x), axis=-1)
    return cr.zeros((int(x.item() != 0), 0), dtype=cr.int64)


REDUCTIONS: dict[str, Maker] = {
    "var": spread("var"),
    "var.unbiased": spread("var"),
    "std": spread("std"),
    "std.unbiased": spread("std"),
    "var_mean": spread("var", both=True),
    "var_mean.unbiased": spread("var", both=True),
    "std_mean": spread("std", both=True),
    "std_mean.unbiased": spread("std", both=True),
    "max.reduction_with_dim": extremes_along("max"),
    "min.reduction_with_dim": extremes_along("min"),
    "aminmax": aminmax,
    "median": lower_median(True),
    "nanmedian": lower_median(False),
    **{n: norm for n in ("norm", "norm.nuc", "norm.fro", "norm.inf")},
    "dist": lambda a, b, p=2: linalg.vector_norm(a - b, ord=p),
    "renorm": renorm,
    "gradient": gradient,
    "searchsorted": searchsorted,
    "bucketize": bucketize,
    "sort": sort,
    "msort": lambda x: sort(x, 0)[0],
    "unique": unique,
    "unique_consecutive": unique_consecutive,
    "histc": histc,
    "histogram": histogram,
    "argwhere": argwhere,
    "bincount": bincount,
    "unravel_index": lambda i, shape: [
        cr.asarray(p) for p in np.unravel_index(np.asarray(i), shape)
    ],
    "nonzero": lambda x, as_tuple=False: cr.nonzero(at_least(1)(x)) if as_tuple else argwhere(x),
}
