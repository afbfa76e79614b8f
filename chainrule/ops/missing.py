"""Numbers among which some are missing: what is NaN is passed over, or replaced."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.arithmetic import (
    greater_equal,
    isfinite,
    isnan,
    less_equal,
    logical_not,
    logical_or,
)
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import REALS, Interval
from chainrule.ops.reduction import all, composite_axes, elements, max, min, sum
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


def _with_gaps() -> list:
    x = np.sin(np.arange(1.0, 13.0) * 1.7).reshape(3, 4)
    return [
        ((x,), {}),
        ((np.where(x > 0.9, math.nan, x),), {"axis": 1}),
        ((np.where(x < -0.5, math.nan, x),), {"axis": (0, 1), "keepdims": True}),
    ]


def _present(x: np.ndarray, y: np.ndarray, axis: Any = None, **attrs: Any) -> Any:
    """x with zeros for what is missing, and m, ones where it is there."""
    values, y = composite_axes(x, y, axis)
    there = ~np.isnan(values["x"])
    return {"x": np.where(there, values["x"], 0), "m": there.astype(float)}, y


@composite(
    formula="y[…] = Σ_k m[…, k] · x[…, k]",
    operations=elements,
    formula_view=_present,
    samples=_with_gaps,
)
def nansum(x: Tensor, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The sum of what is not NaN (m = 1), over an axis, several, or all.

    >>> import chainrule as cr
    >>> cr.nansum(cr.asarray([1.0, cr.nan, 3.0])).item()
    4.0
    """
    return sum(where(isnan(x), 0, x), axis, keepdims=keepdims)


@composite(
    formula="y[…] = (Σ_k m[…, k] · x[…, k]) / (Σ_k m[…, k])",
    operations=elements,
    formula_view=_present,
    samples=_with_gaps,
)
def nanmean(x: Tensor, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The mean of what is not NaN (m = 1), over an axis, several, or all; NaN of nothing.

    >>> import chainrule as cr
    >>> cr.nanmean(cr.asarray([1.0, cr.nan, 3.0])).item()
    2.0
    """
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    kind = dtypes.real_of(x.dtype)
    number = sum(logical_not(isnan(x)), axis, keepdims=keepdims).astype(kind)
    return sum(where(isnan(x), 0, x), axis, keepdims=keepdims) / number


def _taken(better: Callable[[Tensor, Tensor], Tensor], first: bool) -> Callable[..., Tensor]:
    """The share of one of two in the better: all of it for the first where they are equal."""

    def share(a: Tensor, b: Tensor, y: Tensor) -> Tensor:
        of_first = logical_or(better(a, b), isnan(b))
        return where(of_first, 1.0, 0.0) if first else where(of_first, 0.0, 1.0)

    return share


fmax = elementwise(
    "fmax", np.fmax, formula="max(a, b)", accepts="ordered", domain=(REALS, Interval(3.2, 4.0)),
    derivative=(_taken(greater_equal, True), _taken(greater_equal, False)),
    doc="The larger of a and b, where one is NaN the other. Of equal ones a has the derivative, "
    "as in PyTorch.",
)  # fmt: skip
fmin = elementwise(
    "fmin", np.fmin, formula="min(a, b)", accepts="ordered", domain=(REALS, Interval(3.2, 4.0)),
    derivative=(_taken(less_equal, True), _taken(less_equal, False)),
    doc="The smaller of a and b, where one is NaN the other. Of equal ones a has the derivative, "
    "as in PyTorch.",
)  # fmt: skip


def _extreme(x: Any, axis: Any, keepdims: bool, largest: bool) -> Tensor:
    x = as_operand(x)
    if not dtypes.is_float(x.dtype):
        return (max if largest else min)(x, axis, keepdims=keepdims)
    filled = where(isnan(x), -math.inf if largest else math.inf, x)
    y = (max if largest else min)(filled, axis, keepdims=keepdims)
    return where(all(isnan(x), axis, keepdims=keepdims), math.nan, y)


@located
def nanmax(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The largest of what is not NaN, over an axis, several, or all; NaN of nothing.

    >>> import chainrule as cr
    >>> cr.nanmax(cr.asarray([1.0, cr.nan, 3.0])).item()
    3.0
    """
    return _extreme(x, axis, keepdims, largest=True)


@located
def nanmin(x: Any, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The smallest of what is not NaN, over an axis, several, or all; NaN of nothing."""
    return _extreme(x, axis, keepdims, largest=False)


@composite(
    formula="nan if x ≠ x else (posinf if x = ∞ else (neginf if x = −∞ else x))",
    formula_view=lambda x, y, nan, posinf, neginf: (
        {
            "x": x, "nan": nan,
            "posinf": np.finfo(x.dtype).max if posinf is None else posinf,
            "neginf": np.finfo(x.dtype).min if neginf is None else neginf,
        },
        y,
    ),
    samples=lambda: [
        ((np.array([1.0, -2.5, 0.0]),), {}),
        ((np.array([1.0, math.nan, math.inf]),), {"nan": 3.0, "posinf": 9.0, "neginf": -9.0}),
    ],
)  # fmt: skip
def nan_to_num(
    x: Tensor, /, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """x with other numbers for NaN and the infinities; the derivative there is 0.

    Args:
        nan, posinf, neginf: what is put in; by default 0, and the largest and the smallest number
            of the dtype.

    >>> import chainrule as cr
    >>> cr.nan_to_num(cr.asarray([cr.nan, 1.0, cr.inf]), posinf=9.0)
    tensor([0., 1., 9.])
    """
    if not dtypes.is_float(x.dtype):
        return +x if x.dtype != dtypes.bool_ else x
    if x.dtype.kind == "c":
        raise DTypeError("nan_to_num is of real numbers; take the parts: cr.real(x), cr.imag(x)")
    from ml_dtypes import finfo

    info = finfo(x.dtype)
    ends = (
        (float(info.max) if posinf is None else posinf),
        (float(info.min) if neginf is None else neginf),
    )
    replaced = where(x > 0, ends[0], where(x < 0, ends[1], where(isnan(x), nan, x)))
    return where(isfinite(x), x, replaced)
