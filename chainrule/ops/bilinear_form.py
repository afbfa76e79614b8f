"""Products of two vectors through a weight for each output."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.linear_algebra import linear, matmul
from chainrule.ops.structure import reshape
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor


def _check(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    given = f"here are x1 {x1.shape}, x2 {x2.shape} and the weight {weight.shape}"
    if weight.ndim != 3 or min(x1.ndim, x2.ndim) < 1:
        raise ShapeError(f"bilinear takes (…, in1), (…, in2) and a weight (out, in1, in2); {given}")
    if x1.shape[:-1] != x2.shape[:-1]:
        raise ShapeError(f"both inputs have the same axes in front; {given}")
    if (x1.shape[-1], x2.shape[-1]) != weight.shape[1:]:
        raise ShapeError(f"the weight is (out, in1, in2) for last sizes in1 and in2; {given}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"the bias has the shape {bias.shape}, not {weight.shape[:1]}")
    kinds = [o.dtype for o in (x1, x2, weight, bias) if o is not None]
    if len(set(kinds)) > 1 or not dtypes.is_float(kinds[0]):
        raise DTypeError(
            "inputs, weight and bias have one floating-point dtype, and here are "
            f"{', '.join(map(str, kinds))}; write x.astype(weight.dtype)"
        )


@composite(
    formula="y[…, k] = Σ_i Σ_j x1[…, i] · w[k, i, j] · x2[…, j] + b[k]",
    check=_check,
    operations=lambda y, x1, x2, weight, bias=None: (
        2 * math.prod(x2.shape[:-1]) * (math.prod(weight.shape) + math.prod(weight.shape[:2]))
    ),
    formula_view=lambda x1, x2, weight, bias, y: (
        {"x1": x1, "x2": x2, "w": weight, "b": np.zeros(len(weight)) if bias is None else bias},
        y,
    ),
    samples=lambda: [
        ((sampled(2, 3), np.cos(sampled(2, 4)), sampled(5, 3, 4), sampled(5)), {}),
        ((sampled(3), sampled(2), sampled(1, 3, 2)), {}),
        ((np.zeros((0, 3)), np.zeros((0, 2)), sampled(2, 3, 2)), {}),
    ],
)
def bilinear(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None, /) -> Tensor:
    """x₁ᵀ W_k x₂ + b_k for each output k.

    Args:
        x1: (…, in1).
        x2: (…, in2), with the same axes in front.
        weight: (out, in1, in2).
        bias: (out,), or None.

    >>> import chainrule as cr
    >>> x = cr.asarray([1.0, 2.0])
    >>> cr.bilinear(x, x, cr.asarray([[[1.0, 0.0], [0.0, 1.0]]]))
    tensor([5.])
    """
    out, first, second = weight.shape
    half = reshape(linear(x2, reshape(weight, (out * first, second))), (*x2.shape[:-1], out, first))
    y = reshape(matmul(half, reshape(x1, (*x1.shape, 1))), (*x1.shape[:-1], out))
    return y if bias is None else y + bias
