"""PyTorch's functions of networks that have other arguments, or broadcast what ours does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from tests.against.torch_names import Lacks, cast, same
from tests.against.torch_shapes import at_least

Maker = Callable[..., Any]


def pooled_max(n: int, adaptive: bool = False) -> Maker:
    plain = f"nn.{'adaptive_' if adaptive else ''}max_pool{n}d"

    def call(x: Any, *args: Any, return_indices: bool = False, **kwargs: Any) -> Any:
        if adaptive and len(args) > 1:
            *args, return_indices = args
        args = tuple(a[0] if isinstance(a, tuple) and len(a) == 1 else a for a in args)
        kwargs = {k: v[0] if isinstance(v, tuple) and len(v) == 1 else v for k, v in kwargs.items()}
        return same(plain + "_with_indices" if return_indices else plain)(x, *args, **kwargs)

    return call


def pooled_mean(n: int) -> Maker:
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(
            a[0] if isinstance(a, tuple) and len(a) == 1 else a or None if a == () else a
            for a in args
        )
        return same(f"nn.avg_pool{n}d")(x, *args, **kwargs)

    return call


def pad(x: Any, widths: Any, mode: str = "constant", value: Any = None) -> Any:
    """PyTorch's widths go from the last axis to the first, and cut where they are negative."""
    pairs = list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    added = [(max(a, 0), max(b, 0)) for a, b in pairs]

    def cut(y: Any) -> Any:
        taken = zip(pairs, y.shape, strict=True)
        return y[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in taken)]

    if mode == "circular":  # goes round what is left
        return cr.pad(cut(x), added, mode=mode)
    return cut(cr.pad(x, added, 0.0 if value is None else value, mode=mode))


def normalised(
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Of a batch where training; to write to the running statistics is the layer's part."""
    if x.ndim < 2:
        raise Lacks("an input without an axis of channels")
    if training:
        return nn.batch_norm(x, None, None, weight, bias, eps=eps)
    return nn.batch_norm(x, mean, var, weight, bias, eps=eps)


def instance_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if use_input_stats:
        return nn.instance_norm(x, None, None, weight, bias, eps=eps)
    return nn.instance_norm(x, running_mean, running_var, weight, bias, eps=eps)


def one_hot(labels: Any, num_classes: int = -1) -> Any:
    number = int(labels.max().item()) + 1 if num_classes == -1 else num_classes
    return cr.one_hot(labels, number, dtype=cr.int64)


def attention(
    q: Any, k: Any, v: Any, *, dropout_p: float = 0.0, enable_gqa: bool = False, **kwargs: Any
) -> Any:
    if dropout_p:
        raise Lacks("dropout: each has random numbers of its own")
    if enable_gqa:
        k, v = (cr.repeat(t, q.shape[-3] // t.shape[-3], axis=-3) for t in (k, v))
    return nn.scaled_dot_product_attention(q, k, v, **kwargs)


def dropped(name: str) -> Maker:
    def call(x: Any, p: float = 0.5, training: bool = True) -> Any:
        if training and 0 < p < 1:
            raise Lacks("each has random numbers of its own")
        batch = x
        while name[-2:] in ("2d", "3d") and batch.ndim < int(name[-2]) + 2:
            batch = batch[None]
        return same(f"nn.{name}")(batch, p, training=training).reshape(x.shape)

    return call


def rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Any:
    if training and lower != upper:
        raise Lacks("each has random numbers of its own")
    return nn.rrelu(x, lower, upper, training=training)


def safe_softmax(x: Any, dim: int, dtype: Any = None) -> Any:
    x = x if dtype is None else cast(x, dtype)
    nothing = cr.all(x == -math.inf, axis=dim, keepdims=True)
    return cr.where(nothing, 0.0, cr.softmax(cr.where(nothing, 0.0, x), axis=dim))


def multi_margin(x: Any, target: Any, **kwargs: Any) -> Any:
    """PyTorch takes a number for one class, and of one row a target of the shape (1,)."""
    if x.ndim > 1:
        return nn.multi_margin_loss(x, target, **kwargs)
    y = nn.multi_margin_loss(at_least(1)(x), cr.reshape(target, ()), **kwargs)
    return cr.reshape(y, target.shape if kwargs.get("reduction") == "none" else ())


def multilabel_margin(x: Any, target: Any, *, reduction: str = "mean") -> Any:
    y = nn.multilabel_margin_loss(at_least(1)(x), at_least(1)(target), reduction=reduction)
    return cr.reshape(y, ()) if y.size == 1 and x.ndim < 2 else y


def multilabel_soft_margin(
    x: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Any:
    """PyTorch says that weights are one for each class, and takes other shapes too."""
    if weight is None or weight.ndim == 1:
        return nn.multilabel_soft_margin_loss(x, target, weight, reduction=reduction)
    each = cr.mean(
        nn.binary_cross_entropy_with_logits(x, target, weight, reduction="none"), axis=-1
    )
    return each if reduction == "none" else getattr(cr, reduction)(each)


def l1_loss(x: Any, y: Any, **kwargs: Any) -> Any:
    """Of a real and a complex number PyTorch makes both complex."""
    dtype = cr.result_type(x, y)
    return nn.l1_loss(cr.astype(x, dtype), cr.astype(y, dtype), **kwargs)


def gaussian_nll(x: Any, target: Any, var: Any, **kwargs: Any) -> Any:
    """PyTorch broadcasts where we want the shapes to be said."""
    shape = np.broadcast_shapes(x.shape, target.shape)
    var = cr.expand_dims(var, -1) if isinstance(var, cr.Tensor) and var.shape == shape[:-1] else var
    var = cr.broadcast_to(cr.asarray(var, dtype=x.dtype), shape)
    return nn.gaussian_nll_loss(
        cr.broadcast_to(x, shape), cr.broadcast_to(target, shape), var, **kwargs
    )


def with_distance(a: Any, p: Any, n: Any, *, distance_function: Any = None, **kwargs: Any) -> Any:
    return nn.triplet_margin_with_distance_loss(
        a, p, n, distance_function=nn.pairwise_distance, **kwargs
    )


def linear_cross_entropy(
    x: Any,
    matrix: Any,
    target: Any,
    /,
    *,
    linear_bias: Any = None,
    options: Any = None,
    **kwargs: Any,
) -> Any:
    bias = None if linear_bias is None else linear_bias.reshape((-1,))
    logits = nn.linear(x, matrix.reshape((-1, matrix.shape[-1])), bias)
    if matrix.ndim > 2:
        logits = logits.reshape((*x.shape[:-1], *matrix.shape[:-1]))
    return nn.cross_entropy(logits, target, **kwargs)


NETWORKS: dict[str, Maker] = {
    **{f"nn.functional.max_pool{n}d": pooled_max(n) for n in (1, 2, 3)},
    **{f"nn.functional.adaptive_max_pool{n}d": pooled_max(n, adaptive=True) for n in (1, 2, 3)},
    **{f"nn.functional.avg_pool{n}d": pooled_mean(n) for n in (1, 2, 3)},
    **{
        f"nn.functional.pad.{mode}": pad
        for mode in ("constant", "reflect", "replicate", "replicate_negative", "circular")
    },
    "constant_pad_nd": lambda x, widths, value=0.0: pad(x, widths, "constant", value),
    "nn.functional.batch_norm": normalised,
    "nn.functional.instance_norm": instance_norm,
    "nn.functional.one_hot": one_hot,
    "nn.functional.scaled_dot_product_attention": attention,
    "nn.functional.rrelu": rrelu,
    "nn.functional.dropout": dropped("dropout"),
    "nn.functional.dropout2d": dropped("dropout2d"),
    "nn.functional.dropout3d": dropped("dropout3d"),
    "nn.functional.alpha_dropout": dropped("alpha_dropout"),
    "nn.functional.feature_alpha_dropout.with_train": dropped("feature_alpha_dropout"),
    "nn.functional.feature_alpha_dropout.without_train": dropped("feature_alpha_dropout"),
    "nn.functional.gaussian_nll_loss": gaussian_nll,
    "nn.functional.triplet_margin_with_distance_loss": with_distance,
    "nn.functional.upsample_nearest": lambda x, size=None, scale_factor=None: nn.interpolate(
        x, size, scale_factor
    ),
    "nn.functional.upsample_bilinear": lambda x, size=None, scale_factor=None: nn.interpolate(
        x, size, scale_factor, "bilinear", True
    ),
    "nn.functional.multi_margin_loss": multi_margin,
    "nn.functional.multilabel_margin_loss": multilabel_margin,
    "nn.functional.multilabel_soft_margin_loss": multilabel_soft_margin,
    "torch.ops.aten._safe_softmax.default": safe_softmax,
    "nn.functional.l1_loss": l1_loss,
    "grid_sampler_2d": lambda x, g, m, p, a: nn.grid_sample(
        x, g, ["bilinear", "nearest", "bicubic"][m], ["zeros", "border", "reflection"][p], a
    ),
    "grid_sampler_3d": lambda x, g, m, p, a: nn.grid_sample(
        x, g, ["bilinear", "nearest", "bicubic"][m], ["zeros", "border", "reflection"][p], a
    ),
    **{
        f"nn.functional.linear_cross_entropy{how}": linear_cross_entropy
        for how in ("", ".chunked", ".chunked_none")
    },
}
