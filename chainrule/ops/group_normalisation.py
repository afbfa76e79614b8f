"""Normalisation within each example: of groups of channels, of channels, of neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import square
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.normalisation import batch_check, batch_norm, one_dtype, standardize
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.tensor import Tensor


def _group_arguments(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    affine = [None if o is None else as_operand(o) for o in (weight, bias)]
    return (as_operand(x), *affine), {"num_groups": num_groups, "eps": eps}


def _group_check(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, num_groups: int, eps: float
) -> None:
    if x.ndim < 2:
        raise ShapeError(f"the input is (batch, channels, …), not {x.shape}")
    if isinstance(num_groups, bool) or not isinstance(num_groups, int) or num_groups < 1:
        raise DTypeError(f"num_groups is a whole number of at least 1, not {num_groups!r}")
    if x.shape[1] % num_groups:
        raise ShapeError(
            f"num_groups {num_groups} does not divide the {x.shape[1]} channels (axis 1) of "
            f"{x.shape}"
        )
    for name, operand in (("weight", weight), ("bias", bias)):
        if operand is not None and operand.shape != x.shape[1:2]:
            raise ShapeError(
                f"the {name} has the shape {operand.shape}, and the input {x.shape} has "
                f"{x.shape[1]} channels (axis 1)"
            )
    one_dtype(x, weight, bias)


def _grouped(shape: tuple[int, ...], groups: int) -> tuple[int, ...]:
    return (shape[0], groups, shape[1] // groups, *shape[2:])


def _group_view(
    x: np.ndarray, weight: Any, bias: Any, y: np.ndarray, num_groups: int, eps: float
) -> tuple[dict, np.ndarray]:
    along = (-1, *(1,) * (x.ndim - 2))
    whole = {
        "x": x,
        "w": np.broadcast_to(1.0 if weight is None else weight.reshape(along), x.shape),
        "b": np.broadcast_to(0.0 if bias is None else bias.reshape(along), x.shape),
    }
    flat = (x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)
    return {**{k: v.reshape(flat) for k, v in whole.items()}, "ε": eps}, y.reshape(flat)


@composite(
    formula="μ[n, g] = (Σ_k x[n, g, k]) / |k|; v[n, g] = (Σ_k (x[n, g, k] − μ[n, g])²) / |k|; "
    "y[n, g, k] = w[n, g, k] · (x[n, g, k] − μ[n, g]) / √(v[n, g] + ε) + b[n, g, k]",
    arguments=_group_arguments,
    check=_group_check,
    operations=lambda y, x, *rest, **attrs: 8 * math.prod(x.shape),
    lower="normalise",
    formula_view=_group_view,
    samples=lambda: [
        ((sampled(2, 4, 3), 2, sampled(4), sampled(4)), {}),
        ((sampled(2, 6), 3), {"eps": 1e-3}),
        ((sampled(1, 3, 2, 2), 1, sampled(3)), {}),
        ((np.zeros((0, 4, 3)), 2), {}),
    ],
    source="Wu, He 2018, arXiv:1803.08494",
)
def group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, /, *, num_groups: int, eps: float
) -> Tensor:
    """Each group of channels of each example shifted and scaled to mean 0 and variance 1.

    Args:
        x: (batch, channels, …).
        num_groups: into how many groups the channels are cut.
        weight, bias: (channels,), or None.
        eps: keeps the root away from 0.

    Raises:
        ShapeError: the groups do not divide the channels.

    >>> import chainrule as cr
    >>> cr.group_norm(cr.asarray([[1.0, 3.0, 10.0, 30.0]]), 2).numpy().round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    shape = _grouped(x.shape, num_groups)
    along = (*shape[1:3], *(1,) * (x.ndim - 2))
    scale, shift = (None if o is None else reshape(o, along) for o in (weight, bias))
    axes = tuple(range(2, len(shape)))
    return reshape(standardize(reshape(x, shape), scale, shift, axes=axes, eps=eps), x.shape)


def _instance_check(
    x: Tensor, average: Tensor | None, variance: Tensor | None, *affine: Tensor | None, eps: float
) -> None:
    batch_check(x, average, variance, *affine, eps=eps)
    if average is None and math.prod(x.shape[2:]) == 1:
        raise ShapeError(
            f"one value for each channel of each example, as in {x.shape}, has no variance to "
            "divide by"
        )


def _instance_view(
    x: np.ndarray, average: Any, variance: Any, weight: Any, bias: Any, y: np.ndarray, eps: float
) -> tuple[dict, np.ndarray]:
    flat = x.reshape(*x.shape[:2], -1)
    wide, channels = flat.astype(np.float64), x.shape[1]
    return {
        "x": flat,
        "μ": wide.mean(-1) if average is None else np.broadcast_to(average, x.shape[:2]),
        "v": wide.var(-1) if variance is None else np.broadcast_to(variance, x.shape[:2]),
        "w": np.ones(channels) if weight is None else weight,
        "b": np.zeros(channels) if bias is None else bias,
        "ε": eps,
    }, y.reshape(flat.shape)


@composite(
    formula="y[n, c, k] = w[c] · (x[n, c, k] − μ[n, c]) / √(v[n, c] + ε) + b[c]",
    check=_instance_check,
    operations=lambda y, x, *rest, **attrs: 8 * math.prod(x.shape),
    lower="normalise",
    formula_view=_instance_view,
    samples=lambda: [
        ((sampled(2, 3, 4), None, None, sampled(3), sampled(3)), {}),
        ((sampled(2, 3, 2, 2), sampled(3), np.abs(sampled(3)) + 0.5, sampled(3), sampled(3)), {}),
        ((sampled(1, 2, 5),), {"eps": 1e-3}),
    ],
    source="Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022",
)
def instance_norm(
    x: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    /,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each example shifted and scaled by its own mean and variance, or given ones.

    Args:
        x: (batch, channels, …).
        mean, variance: (channels,); None takes them of each example over all axes behind.
        weight, bias: (channels,), or None.
        eps: keeps the root away from 0.

    >>> import chainrule as cr
    >>> cr.instance_norm(cr.asarray([[[1.0, 3.0], [10.0, 30.0]]])).numpy().round(3).tolist()
    [[[-1.0, 1.0], [-1.0, 1.0]]]
    """
    if mean is not None:
        return batch_norm(x, mean, variance, weight, bias, eps)
    along = (-1, *(1,) * (x.ndim - 2))
    scale, shift = (None if o is None else reshape(o, along) for o in (weight, bias))
    return standardize(x, scale, shift, axes=tuple(range(2, x.ndim)), eps=eps)


def _neighbours(size: int) -> tuple[int, int]:
    """How many channels before and behind count, as in PyTorch."""
    return size // 2, (size - 1) // 2


def _response_check(x: Tensor, *, size: int, alpha: float, beta: float, k: float) -> None:
    if x.ndim < 3:
        raise ShapeError(f"the input is (batch, channels, length, …), not {x.shape}")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise DTypeError(f"size is a whole number of at least 1, not {size!r}")
    if not dtypes.is_float(x.dtype):
        raise DTypeError(f"the input is floating-point numbers, not {x.dtype}")


def _response_view(
    x: np.ndarray, y: np.ndarray, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> tuple[dict, np.ndarray]:
    padded = np.pad(x, [(0, 0), _neighbours(size), *[(0, 0)] * (x.ndim - 2)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, 1)
    return {"x": x, "w": windows, "α": alpha, "β": beta, "k": k}, y


@composite(
    formula="y[…] = x[…] / (k + α · (Σ_j w[…, j]²) / |j|)^β",
    check=_response_check,
    operations=lambda y, x, size=1, **attrs: (25 + size) * math.prod(x.shape),
    formula_view=_response_view,
    samples=lambda: [
        ((sampled(2, 5, 3),), {"size": 3, "alpha": 0.5}),
        ((sampled(2, 4, 2, 2),), {"size": 2, "alpha": 0.3, "beta": 0.5, "k": 2.0}),
        ((sampled(1, 2, 3),), {"size": 5}),
    ],
    source="Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep CNNs, 3.3",
)
def local_response_norm(
    x: Tensor, /, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Each number divided by (k + α · mean of the squares of `size` neighbouring channels)^β.

    Channels beyond the first and the last count as zeros. In the formula w holds the neighbours.

    Args:
        x: (batch, channels, length, …).
        size: how many neighbouring channels are looked at, itself among them.

    >>> import chainrule as cr
    >>> cr.local_response_norm(cr.ones((1, 1, 1)), 1, alpha=3.0, beta=0.5).item()
    0.5
    """
    before, behind = _neighbours(size)
    squares = square(x)
    edge = [zeros((x.shape[0], n, *x.shape[2:]), dtype=x.dtype) for n in (before, behind)]
    padded = concat([edge[0], squares, edge[1]], axis=1)
    total = padded[:, : x.shape[1]]
    for i in range(1, size):
        total = total + padded[:, i : i + x.shape[1]]
    return x / (total * (alpha / size) + k) ** beta
