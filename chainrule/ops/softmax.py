"""Softmax, its logarithm, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ops.batching import along
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.exponential import exp, log
from chainrule.ops.reduction import (
    along_axis,
    composite_axes,
    max,
    nonempty_axes,
    reduction_samples,
    sum,
)
from chainrule.ops.structure import reshape, stop_gradient
from chainrule.tensor import dtypes
from chainrule.tensor.shapes import normalise_axes, normalise_axis, reduced_shape
from chainrule.tensor.tensor import Tensor


def _steady(x: Tensor, axis: Any) -> Tensor:
    """The largest (real part) along the axes, a constant; 0 where infinite, to not meet ∞ − ∞."""
    from chainrule.ops.arithmetic import isfinite
    from chainrule.ops.complex import real

    peak = max(stop_gradient(real(x) if x.dtype.kind == "c" else x), axis, keepdims=True)
    return where(isfinite(peak), peak, 0.0)


def _logsumexp_kernel(
    x: np.ndarray, *, axis: Any, keepdims: bool
) -> tuple[np.ndarray, tuple[np.ndarray]]:
    axes = normalise_axes(axis, x.ndim)
    peak = np.maximum.reduce(x.real, axes, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0).astype(x.real.dtype, copy=False)
    full = np.log(np.add.reduce(np.exp(x - peak), axes, keepdims=True)) + peak
    return full.reshape(reduced_shape(x.shape, axes, keepdims)), (full,)


def _logsumexp_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: Any, residual: Any, axis: Any, keepdims: bool
) -> tuple[np.ndarray]:
    (full,) = residual
    return (g.reshape(full.shape) * np.exp(x - full).conj(),)


@composite(
    formula="y[…] = log(Σ_k exp(x[…, k]))",
    kernel=_logsumexp_kernel,
    pullback=_logsumexp_pullback,
    check=lambda x, *, axis, keepdims: nonempty_axes(x, axis, keepdims, "logarithm of a sum"),
    operations=lambda y, x, **attrs: 12 * math.prod(x.shape),
    method="logsumexp",
    batch=along("axis"),
    formula_view=composite_axes,
    samples=lambda: [*reduction_samples()(), ((np.array([800.0, 801.0]),), {})],
)
def logsumexp(x: Tensor, /, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """log Σ exp(x) over an axis, several, or all, without overflow.

    The largest element m is taken out first: m + log Σ exp(x − m). Of complex numbers it is the
    principal logarithm, and m the largest real part.

    >>> import chainrule as cr
    >>> round(cr.logsumexp(cr.asarray([1000.0, 1000.0])).item(), 3)
    1000.693
    """
    peak = _steady(x, axis)
    total = log(sum(exp(x - peak), axis, keepdims=True)) + peak
    return reshape(total, reduced_shape(x.shape, normalise_axes(axis, x.ndim), keepdims))


def _softmax_kernel(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, tuple]:
    if not x.size:  # there is no largest of nothing
        return x.copy(), ()
    y = x - np.maximum.reduce(x, axis, keepdims=True)
    np.exp(y, y)
    y /= np.add.reduce(y, axis, keepdims=True)
    return y, ()


def _softmax_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: np.ndarray, residual: Any, axis: int
) -> tuple[np.ndarray]:
    gy = g * y
    gy -= y * np.add.reduce(gy, axis, keepdims=True)
    return (gy,)


def _softmax_samples() -> list:
    x = np.sin(np.arange(1.0, 13.0) * 1.7).reshape(3, 4) * 3
    return [
        ((x,), {"axis": -1}),
        ((x,), {"axis": 0}),
        ((np.array([90.0, -90.0, 0.0]),), {}),
    ]


def _softmax_check(x: Tensor, *, axis: int) -> None:
    if not dtypes.is_float(x.dtype):
        raise DTypeError(f"probabilities are made from floating-point logits, not {x.dtype}")
    normalise_axis(axis, x.ndim)


@composite(
    formula="y[…, i] = exp(x[…, i]) / Σ_j exp(x[…, j])",
    kernel=_softmax_kernel,
    pullback=_softmax_pullback,
    check=_softmax_check,
    operations=lambda y, x, **attrs: 13 * math.prod(x.shape),
    method="softmax",
    batch=along("axis"),
    formula_view=lambda x, y, axis=-1: along_axis(x, y, axis),
    samples=_softmax_samples,
)
def softmax(x: Tensor, /, axis: int = -1) -> Tensor:
    """Positive numbers that add up to 1 along the axis, in the proportions of exp(x).

    >>> import chainrule as cr
    >>> cr.softmax(cr.asarray([0.0, 0.0]))
    tensor([0.5, 0.5])
    """
    return exp(log_softmax(x, axis))


def _log_softmax_kernel(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, tuple]:
    if not x.size:  # there is no largest of nothing
        return x.copy(), ()
    y = x - np.maximum.reduce(x, axis, keepdims=True)
    y -= np.log(np.add.reduce(np.exp(y), axis, keepdims=True))
    return y, ()


def _log_softmax_pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, *, y: np.ndarray, residual: Any, axis: int
) -> tuple[np.ndarray]:
    return (g - np.exp(y) * np.add.reduce(g, axis, keepdims=True),)


@composite(
    formula="y[…, i] = x[…, i] − log(Σ_j exp(x[…, j]))",
    kernel=_log_softmax_kernel,
    pullback=_log_softmax_pullback,
    check=_softmax_check,
    operations=lambda y, x, **attrs: 13 * math.prod(x.shape),
    method="log_softmax",
    batch=along("axis"),
    formula_view=lambda x, y, axis=-1: along_axis(x, y, axis),
    samples=_softmax_samples,
)
def log_softmax(x: Tensor, /, axis: int = -1) -> Tensor:
    """log softmax(x), exact where softmax would round to 0.

    >>> import chainrule as cr
    >>> cr.log_softmax(cr.asarray([0.0, 1000.0]))
    tensor([-1000.,     0.])
    """
    if 0 in x.shape:
        return +x
    # Not by logsumexp, which is ∞ where an x is: here all are NaN then, as in PyTorch.
    y = x - max(stop_gradient(x), axis, keepdims=True)
    return y - log(sum(exp(y), axis, keepdims=True))
