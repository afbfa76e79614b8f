"""Functions known by their values at points: areas below them, and values between."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import clip, remainder
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.operation import operands
from chainrule.ops.reduction import sum
from chainrule.ops.running import cumulative_sum
from chainrule.ops.searching import searchsorted
from chainrule.ops.sorting import argsort
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import broadcast_shapes, normalise_axis
from chainrule.tensor.tensor import Tensor


def _areas(y: Any, x: Any, dx: Any, axis: Any) -> tuple[Tensor, int]:
    """(the area between each two neighbours, the axis): (xᵢ₊₁ − xᵢ) (yᵢ + yᵢ₊₁) / 2."""
    (y,) = operands(y)
    if y.ndim == 0:
        raise ShapeError("one number has no neighbour; the values stand along an axis")
    place = normalise_axis(axis, y.ndim)
    if not dtypes.is_float(y.dtype):
        y = y.astype(dtypes.default_float)
    front = (slice(None),) * place
    pairs = y[(*front, slice(1, None))] + y[(*front, slice(0, -1))]
    if x is None:
        return pairs * (dx / 2 if isinstance(dx, (int, float)) else operands(dx)[0] / 2), place
    (x,) = operands(x)
    if x.ndim == 1:
        if x.shape[0] != y.shape[place]:
            raise ShapeError(f"there is a point for each value: x {x.shape}, y {y.shape}")
        steps = reshape(x[1:] - x[:-1], (-1, *(1,) * (y.ndim - place - 1)))
    else:
        if x.ndim != y.ndim or broadcast_shapes(x.shape, y.shape) != y.shape:
            raise ShapeError(f"there is a point for each value: x {x.shape}, y {y.shape}")
        steps = x[(*front, slice(1, None))] - x[(*front, slice(0, -1))]
    return pairs * steps * 0.5, place


@located
def trapezoid(y: Any, x: Any = None, /, dx: Any = 1.0, *, axis: int = -1) -> Tensor:
    """The area below values y along an axis, by trapezoids: Σ (xᵢ₊₁ − xᵢ) (yᵢ + yᵢ₊₁) / 2.

    Args:
        x: where the values are, one for each along the axis, or in the shape of y; by default
            `dx` apart.

    >>> import chainrule as cr
    >>> cr.trapezoid(cr.asarray([1.0, 2.0, 3.0])).item()
    4.0
    """
    areas, place = _areas(y, x, dx, axis)
    return sum(areas, place)


@located
def cumulative_trapezoid(y: Any, x: Any = None, /, dx: Any = 1.0, *, axis: int = -1) -> Tensor:
    """The area below values up to each of them but the first, by trapezoids; as `trapezoid`.

    >>> import chainrule as cr
    >>> cr.cumulative_trapezoid(cr.asarray([1.0, 2.0, 3.0]))
    tensor([1.5, 4. ])
    """
    areas, place = _areas(y, x, dx, axis)
    return cumulative_sum(areas, axis=place)


def _check_interp(x: Any, xp: Any, fp: Any, *, period: Any, **ends: Any) -> None:
    if xp.ndim != 1 or fp.shape != xp.shape or not xp.shape[0]:
        raise ShapeError(
            f"a function is known at points xp, (n,), by values fp, (n,), with at least one: not "
            f"{xp.shape} and {fp.shape}"
        )
    if "c" in (x.dtype.kind, xp.dtype.kind):
        raise DTypeError("points are real numbers")
    values = xp._value
    if period is None and values is not None and not (np.diff(values) > 0).all():
        raise ShapeError("the points xp are in ascending order; sort them, and fp with them")
    if period is not None and (not isinstance(period, (int, float)) or not period > 0):
        raise DTypeError(f"period is a positive number, not {period!r}")


@composite(
    formula="y[…] = the line through (xp[i], fp[i]) and (xp[i + 1], fp[i + 1]) at x[…], "
    "xp[i] ≤ x[…] ≤ xp[i + 1]",
    display_only=True,
    check=_check_interp,
    operations=lambda y, x, *rest, **attrs: 8 * math.prod(x.shape),
    samples=lambda: [
        ((np.array([[0.3, 1.2], [2.7, 1.9]]), np.array([0.0, 1.0, 2.5, 3.0]), sampled(4)), {}),
        ((np.array([-1.0, 4.0]), np.array([0.0, 3.0]), sampled(2)), {"left": -5.0, "right": 7.0}),
        ((np.array([-1.3, 4.6]), np.array([0.5, 3.0, 1.7]), sampled(3)), {"period": 4}),
    ],
)
def interp(
    x: Tensor, xp: Tensor, fp: Tensor, /, left: float | None = None, right: float | None = None,
    period: float | None = None,
) -> Tensor:  # fmt: skip
    """The values at x of the piecewise straight line through points, as in NumPy.

    Args:
        xp, fp: (n,) points, in ascending order, and the values there.
        left, right: the values below and above all points; by default those at the ends.
        period: after which the function repeats itself; points need no order then.

    Raises:
        ShapeError: points and values do not belong together, or are not in order.

    >>> import chainrule as cr
    >>> cr.interp(cr.asarray([0.5, 3.0]), cr.asarray([0.0, 1.0]), cr.asarray([10.0, 20.0]))
    tensor([15., 20.])
    """
    kind = dtypes.promote(dtypes.promote(x.dtype, xp.dtype), fp.dtype)
    kind = kind if dtypes.is_float(kind) else dtypes.default_float
    x, xp, fp = (v if v.dtype == kind else v.astype(kind) for v in (x, xp, fp))
    if period is not None:
        x, xp = remainder(x, period), remainder(xp, period)
        order = argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = concat([xp[-1:] - period, xp, xp[:1] + period])
        fp = concat([fp[-1:], fp, fp[:1]])
    n = xp.shape[0]
    if n == 1:
        y = fp[0] + x * 0
    else:
        i = clip(searchsorted(xp, x, side="right") - 1, 0, n - 2)
        start, value = xp[i], fp[i]
        y = value + (fp[i + 1] - value) / (xp[i + 1] - start) * (_inside(x, xp) - start)
    if left is not None and period is None:
        y = where(x < xp[0], left, y)
    if right is not None and period is None:
        y = where(x > xp[-1], right, y)
    return y


def _inside(x: Tensor, xp: Tensor) -> Tensor:
    """x, or the end of the points beyond which it lies."""
    return where(x < xp[0], xp[0], where(x > xp[-1], xp[-1], x))


@composite(
    formula="y = Σ_k p[k] · x^(n − 1 − k)",
    display_only=True,
    operations=lambda y, p, x: 2 * math.prod(x.shape) * p.shape[0],
    samples=lambda: [
        ((sampled(4), sampled(2, 3)), {}),
        ((sampled(1), sampled(3)), {}),
        ((sampled(3), np.array(0.7)), {}),
    ],
)
def polyval(p: Tensor, x: Tensor, /) -> Tensor:
    """The polynomial with the coefficients p, of the highest power first, at x (by Horner's rule).

    >>> import chainrule as cr
    >>> cr.polyval(cr.asarray([1.0, 0.0, 2.0]), cr.asarray([3.0]))
    tensor([11.])
    """
    if p.ndim != 1:
        raise ShapeError(f"coefficients stand in one axis, and these are {p.shape}")
    y = x * 0
    for k in range(p.shape[0]):
        y = y * x + p[k]
    return y
