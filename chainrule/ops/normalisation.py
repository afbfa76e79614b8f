"""Normalisation: shifted to mean 0, and scaled to mean square 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import sqrt
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.reduction import mean
from chainrule.ops.structure import reshape, sum_to
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.inspection import finfo
from chainrule.tensor.shapes import normalise_shape
from chainrule.tensor.tensor import Tensor

INTERNAL = ("standardize", "one_dtype", "batch_check")

Axes = tuple[int, ...]


def _kernel(
    x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None,
    *, axes: Axes, eps: float, centre: bool,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """y, leaving x̂ = (x − μ) / √(σ² + ε) and the divisor's inverse."""
    wide = _wider(x.dtype)
    source = x.astype(wide, copy=False)
    n = math.prod(x.shape[a] for a in axes)
    centred = source - source.mean(axes, keepdims=True) if centre and n else source
    inverse = np.square(centred).sum(axes, keepdims=True)
    inverse *= 1 / n if n else math.nan
    inverse += eps
    np.sqrt(inverse, inverse)
    np.divide(1, inverse, inverse)
    standard = np.multiply(centred, inverse, centred if centre else None)
    y = standard.copy() if weight is None else standard * weight
    if bias is not None:
        y += bias
    return y.astype(x.dtype, copy=False), (standard, inverse)


def _pullback(
    wanted: Any, g: np.ndarray, x: np.ndarray, weight: Any, bias: Any,
    *, y: Any, residual: Any, axes: Axes, eps: float, centre: bool,
) -> tuple[np.ndarray | None, ...]:  # fmt: skip
    """With h = g · weight: ∂L/∂x = (h − mean(h) − x̂ · mean(h · x̂)) / √(σ² + ε)."""
    standard, inverse = residual
    dx = dw = db = None
    if wanted[0] and not x.size:
        dx = np.zeros(x.shape, x.dtype)
    elif wanted[0]:
        h = g.astype(standard.dtype, copy=False)
        h = h if weight is None else h * weight
        dx = h - h.mean(axes, keepdims=True) if centre else h.copy()
        dx -= standard * (h * standard).mean(axes, keepdims=True)
        dx *= inverse
        dx = dx.astype(x.dtype, copy=False)
    if wanted[1]:
        dw = sum_to.forward(g * standard, shape=weight.shape).astype(weight.dtype, copy=False)
    if wanted[2]:
        db = sum_to.forward(g, shape=bias.shape)
    return dx, dw, db


def _wider(dtype: np.dtype) -> np.dtype:
    """What squares are added up in: float32 for the half precisions, which end at 65504 or have
    three digits."""
    return dtypes.float32 if dtype.itemsize == 2 else dtype


def _in(x: Tensor, dtype: np.dtype) -> Tensor:
    return x if x.dtype == dtype else x.astype(dtype)


def _view(
    x: np.ndarray, weight: Any, bias: Any, y: np.ndarray, axes: Axes, eps: float,
    centre: bool = True,
) -> tuple[dict, np.ndarray]:  # fmt: skip
    """The axes behind one another as the last one, k."""
    kept = [a for a in range(x.ndim) if a not in axes]

    def last(v: Any) -> np.ndarray:
        whole = np.broadcast_to(v, x.shape).transpose(*kept, *axes)
        return whole.reshape(*(x.shape[a] for a in kept), math.prod(x.shape[a] for a in axes))

    scale = 1.0 if weight is None else weight
    shift = 0.0 if bias is None else bias
    parts = {"x": last(x), "w": last(scale), "b": last(shift), "ε": eps, "c": float(centre)}
    return parts, last(y)


@composite(
    formula="μ[…] = c · (Σ_k x[…, k]) / |k|; v[…] = (Σ_k (x[…, k] − μ[…])²) / |k|; "
    "y[…, k] = w[…, k] · (x[…, k] − μ[…]) / √(v[…] + ε) + b[…, k]",
    kernel=_kernel,
    pullback=_pullback,
    operations=lambda y, x, *rest, **attrs: 8 * math.prod(x.shape),
    lower="normalise",
    formula_view=_view,
    samples=lambda: [
        ((sampled(3, 4), sampled(4), sampled(4)), {"axes": (1,), "eps": 1e-5}),
        ((sampled(3, 4, 2), sampled(4, 1)), {"axes": (0, 2), "eps": 1e-3}),
        ((sampled(2, 3),), {"axes": (0, 1), "eps": 1e-5}),
        ((sampled(3, 4), sampled(4), sampled(4)), {"axes": (1,), "eps": 1e-5, "centre": False}),
    ],
    source="Ioffe, Szegedy 2015, arXiv:1502.03167; Ba, Kiros, Hinton 2016, arXiv:1607.06450",
)
def standardize(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    /,
    *,
    axes: Axes,
    eps: float,
    centre: bool = True,
) -> Tensor:
    """(x − mean) / √(variance + eps) over axes, times weight, plus bias.

    Without `centre` nothing is subtracted: x / √(mean square + eps).
    """
    wide = _in(x, _wider(x.dtype))
    centred = wide - mean(wide, axes, keepdims=True) if centre else wide
    y = centred / sqrt(mean(centred * centred, axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    y = y if bias is None else y + bias
    return _in(y, x.dtype)


def one_dtype(*given: Tensor | None) -> None:
    present = [o.dtype for o in given if o is not None]
    if len(set(present)) > 1 or not dtypes.is_float(present[0]):
        raise DTypeError(
            "input, weight and bias have one floating-point dtype, and here are "
            f"{', '.join(map(str, present))}; write x.astype(weight.dtype)"
        )


def _last_axes(x: Any, normalized_shape: Axes) -> Axes:
    return tuple(range(x.ndim - len(normalized_shape), x.ndim))


def _layer_arguments(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    affine = [None if o is None else as_operand(o) for o in (weight, bias)]
    attrs = {"normalized_shape": normalise_shape(normalized_shape), "eps": eps}
    return (as_operand(x), *affine), attrs


def _layer_check(x: Tensor, *affine: Tensor | None, normalized_shape: Axes, eps: float) -> None:
    n = len(normalized_shape)
    if n == 0 or x.shape[-n:] != normalized_shape:
        raise ShapeError(
            f"the input's last sizes are {x.shape[-n:] if n else ()} in {x.shape}, and "
            f"{normalized_shape} are to be normalised over"
        )
    for name, operand in zip(("weight", "bias"), affine, strict=True):
        if operand is not None and operand.shape != normalized_shape:
            raise ShapeError(f"the {name} has the shape {operand.shape}, not {normalized_shape}")
    one_dtype(x, *affine)


@composite(
    formula="μ[…] = (Σ_k x[…, k]) / |k|; v[…] = (Σ_k (x[…, k] − μ[…])²) / |k|; "
    "y[…, k] = w[…, k] · (x[…, k] − μ[…]) / √(v[…] + ε) + b[…, k]",
    arguments=_layer_arguments,
    check=_layer_check,
    operations=lambda y, x, *rest, **attrs: 8 * math.prod(x.shape),
    lower="normalise",
    formula_view=lambda x, weight, bias, y, normalized_shape, eps: _view(
        x, weight, bias, y, _last_axes(x, normalized_shape), eps
    ),
    samples=lambda: [
        ((sampled(3, 4), (4,), sampled(4), sampled(4)), {}),
        ((sampled(2, 3, 4), (3, 4), sampled(3, 4)), {}),
        ((sampled(2, 3), 3), {"eps": 1e-3}),
    ],
    source="Ba, Kiros, Hinton 2016, arXiv:1607.06450",
)
def layer_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, /, *, normalized_shape: Axes, eps: float
) -> Tensor:
    """Each example shifted and scaled to mean 0 and variance 1 over its last axes.

    Args:
        x: (…, *normalized_shape).
        normalized_shape: the sizes of the axes that mean and variance are taken over.
        weight, bias: of that shape, or None.
        eps: keeps the root away from 0.
    """
    return standardize(x, weight, bias, axes=_last_axes(x, normalized_shape), eps=eps)


def _rms_arguments(x: Any, normalized_shape: Any, weight: Any = None, eps: Any = None) -> Any:
    operand, scale = as_operand(x), None if weight is None else as_operand(weight)
    if eps is None and dtypes.is_float(operand.dtype):  # other dtypes are refused
        eps = finfo(operand.dtype).eps
    return (operand, scale), {"normalized_shape": normalise_shape(normalized_shape), "eps": eps}


@composite(
    formula="m[…] = (Σ_k x[…, k]²) / |k|; y[…, k] = w[…, k] · x[…, k] / √(m[…] + ε)",
    arguments=_rms_arguments,
    check=lambda x, weight, **attrs: _layer_check(x, weight, None, **attrs),
    operations=lambda y, x, *rest, **attrs: 6 * math.prod(x.shape),
    lower="normalise",
    formula_view=lambda x, weight, y, normalized_shape, eps: _view(
        x, weight, None, y, _last_axes(x, normalized_shape), eps
    ),
    samples=lambda: [
        ((sampled(3, 4), (4,), sampled(4)), {}),
        ((sampled(2, 3, 4), (3, 4)), {"eps": 1e-3}),
        ((sampled(3), 3), {}),
        ((np.zeros((0, 3)), 3), {}),
    ],
    source="Zhang, Sennrich 2019, arXiv:1910.07467",
)
def rms_norm(x: Tensor, weight: Tensor | None, /, *, normalized_shape: Axes, eps: float) -> Tensor:
    """Each example divided by the root of its mean square over its last axes.

    Args:
        x: (…, *normalized_shape).
        normalized_shape: the sizes of the axes that the mean is taken over.
        weight: of that shape, or None.
        eps: keeps the root away from 0; None is the dtype's own, such as 1.19e-7 for float32.

    >>> import chainrule as cr
    >>> cr.rms_norm(cr.asarray([3.0, 4.0, 0.0, 0.0]), 4)
    tensor([1.2, 1.6, 0. , 0. ])
    """
    axes = _last_axes(x, normalized_shape)
    return standardize(x, weight, axes=axes, eps=eps, centre=False)


def batch_check(
    x: Tensor, average: Tensor | None, variance: Tensor | None, *affine: Tensor | None, eps: float
) -> None:
    if x.ndim < 2:
        raise ShapeError(f"the input is (batch, channels, …), not {x.shape}")
    names = ("mean", "variance", "weight", "bias")
    for name, operand in zip(names, (average, variance, *affine), strict=True):
        if operand is not None and operand.shape != x.shape[1:2]:
            raise ShapeError(
                f"the {name} has the shape {operand.shape}, and the input {x.shape} has "
                f"{x.shape[1]} channels (axis 1)"
            )
    if (average is None) != (variance is None):
        raise ShapeError("mean and variance are given together, or neither")
    one_dtype(x, average, variance, *affine)


def _batch_view(
    x: np.ndarray, average: Any, variance: Any, weight: Any, bias: Any, y: np.ndarray, eps: float
) -> tuple[dict, np.ndarray]:
    axes = (0, *range(2, x.ndim))

    def first(v: np.ndarray) -> np.ndarray:
        return np.moveaxis(v, 1, 0).reshape(x.shape[1], -1)

    c = x.shape[1]
    wide = x.astype(np.float64)
    return {
        "x": first(x),
        "μ": wide.mean(axes) if average is None else average,
        "v": wide.var(axes) if variance is None else variance,
        "w": np.ones(c) if weight is None else weight,
        "b": np.zeros(c) if bias is None else bias,
        "ε": eps,
    }, first(y)


@composite(
    formula="y[c, k] = w[c] · (x[c, k] − μ[c]) / √(v[c] + ε) + b[c]",
    check=batch_check,
    operations=lambda y, x, *rest, **attrs: 8 * math.prod(x.shape),
    lower="normalise",
    formula_view=_batch_view,
    samples=lambda: [
        ((sampled(4, 3), None, None, sampled(3), sampled(3)), {}),
        ((sampled(2, 3, 2, 2), sampled(3), np.abs(sampled(3)) + 0.5, sampled(3), sampled(3)), {}),
        ((sampled(3, 2, 4),), {"eps": 1e-3}),
    ],
    source="Ioffe, Szegedy 2015, arXiv:1502.03167",
)
def batch_norm(
    x: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    /,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel shifted and scaled by its mean and variance: the batch's, or those given.

    Args:
        x: (batch, channels, …).
        mean, variance: (channels,); None takes them over the batch and all axes behind.
        weight, bias: (channels,), or None.
        eps: keeps the root away from 0.
    """
    shape = (-1, *(1,) * (x.ndim - 2))
    scale, shift = (None if o is None else reshape(o, shape) for o in (weight, bias))
    if mean is None or variance is None:
        axes = (0, *range(2, x.ndim))
        return standardize(x, scale, shift, axes=axes, eps=eps)
    y = (x - reshape(mean, shape)) / reshape(sqrt(variance + eps), shape)
    y = y if scale is None else y * scale
    return y if shift is None else y + shift
