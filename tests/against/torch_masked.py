"""PyTorch's operations with a mask: what is masked out counts as what changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import chainrule as cr
from tests.against.torch_names import axes_of, cast, same
from tests.against.torch_reductions import lower_median

Maker = Callable[..., Any]


def filled(x: Any, mask: Any, nothing: Any, dtype: Any = None) -> Any:
    x = x if dtype is None else cast(x, dtype)
    return x if mask is None else cr.where(mask, x, nothing)


def reduced(name: str, nothing: Any) -> Maker:
    def call(
        x: Any, dim: Any = None, *, mask: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> Any:
        return same(name)(filled(x, mask, nothing, dtype), axis=axes_of(x, dim), keepdims=keepdim)

    return call


def chosen(name: str, nothing: float) -> Maker:
    def call(
        x: Any, dim: Any = None, *, mask: Any = None, keepdim: bool = False, dtype: Any = None
    ) -> Any:
        place = same(name)(filled(x, mask, nothing, dtype), axis=dim, keepdims=keepdim)
        return cr.astype(place, x.dtype)  # as PyTorch has it

    return call


def running(name: str, nothing: float, sign: int = 1) -> Maker:
    """Along one axis, with as many numbers coming out."""

    def call(x: Any, dim: int, *, mask: Any = None, dtype: Any = None) -> Any:
        return same(name)(filled(sign * x, mask, nothing, dtype), axis=dim)

    return call


def count(x: Any, axes: tuple[int, ...], mask: Any, keepdim: bool) -> Any:
    present = (
        cr.ones(x.shape) if mask is None else cr.broadcast_to(cr.where(mask, 1.0, 0.0), x.shape)
    )
    return same("sum")(cr.astype(present, cr.real(x).dtype), axis=axes, keepdims=keepdim)


def mean(
    x: Any, dim: Any = None, *, mask: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    axes = axes_of(x, dim)
    total = same("sum")(filled(x, mask, 0.0, dtype), axis=axes, keepdims=keepdim)
    return total / count(x, axes, mask, keepdim)


def median(
    x: Any, dim: int = -1, *, mask: Any = None, keepdim: bool = False, dtype: Any = None
) -> Any:
    y = filled(x, mask, math.nan, dtype)
    return lower_median(nan_counts=mask is None)(y, dim, keepdim)[0]


def spread(root: bool) -> Maker:
    def call(
        x: Any, dim: Any = None, unbiased: Any = None, *, correction: Any = None, mask: Any = None,
        keepdim: bool = False, dtype: Any = None,
    ) -> Any:  # fmt: skip
        axes = axes_of(x, dim)
        if correction is None:
            correction = 1 if unbiased is None else int(unbiased)
        away = filled(x - mean(x, axes, mask=mask, keepdim=x.ndim > 0), mask, 0.0, dtype)
        total = same("sum")(cr.real(away * cr.conj(away)), axis=axes, keepdims=keepdim)
        y = cr.astype(total / cr.maximum(count(x, axes, mask, keepdim) - correction, 0.0), x.dtype)
        return cr.sqrt(y) if root else y

    return call


def norm(
    x: Any,
    ord: Any = 2.0,
    dim: Any = None,
    *,
    mask: Any = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Any:
    nothing = math.inf if ord == -math.inf else 0.0
    y = filled(x, mask, nothing, dtype)
    return same("linalg.vector_norm")(y, ord=ord, axis=axes_of(x, dim), keepdims=keepdim)


def normalize(
    x: Any, ord: Any, dim: int, *, mask: Any = None, dtype: Any = None, eps: float = 1e-12
) -> Any:
    return same("nn.normalize")(filled(x, mask, 0.0, dtype), p=ord, axis=dim, eps=eps)


def logaddexp(
    a: Any, b: Any, *, input_mask: Any = None, other_mask: Any = None, dtype: Any = None
) -> Any:
    return cr.logaddexp(
        filled(a, input_mask, -math.inf, dtype), filled(b, other_mask, -math.inf, dtype)
    )


MASKED: dict[str, Maker] = {
    "masked.sum": reduced("sum", 0.0),
    "masked.prod": reduced("prod", 1.0),
    "masked.amax": reduced("max", -math.inf),
    "masked.amin": reduced("min", math.inf),
    "masked.logsumexp": reduced("logsumexp", -math.inf),
    "masked.argmax": chosen("argmax", -math.inf),
    "masked.argmin": chosen("argmin", math.inf),
    "masked.cumsum": running("cumulative_sum", 0.0),
    "masked.cumprod": running("cumulative_prod", 1.0),
    "masked.softmax": running("softmax", -math.inf),
    "masked.log_softmax": running("log_softmax", -math.inf),
    "masked.softmin": running("softmax", -math.inf, sign=-1),
    "masked.mean": mean,
    "masked.median": median,
    "masked.var": spread(root=False),
    "masked.std": spread(root=True),
    "masked.norm": norm,
    "masked.normalize": normalize,
    "masked.logaddexp": logaddexp,
}
