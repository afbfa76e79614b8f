"""Attention: weighted sums of values, with weights from dot products of queries and keys."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.batching import spread, trailing
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.random import bernoulli, drop
from chainrule.ops.reduction import any, sum
from chainrule.ops.softmax import softmax
from chainrule.ops.structure import matrix_transpose, reshape, sum_to
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import broadcast_shapes
from chainrule.tensor.tensor import Tensor

INTERNAL = ("attention_gradient",)


def _arguments(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    q, k, v = (as_operand(o) for o in (query, key, value))
    mask = None if attn_mask is None else as_operand(attn_mask)
    if not isinstance(dropout_p, (int, float)) or not 0 <= dropout_p < 1:
        raise DTypeError(f"dropout_p is a probability from 0 up to 1, not {dropout_p!r}")
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ShapeError(f"query, key and value are (…, length, size), not {q.shape}, {k.shape}, "
                         f"{v.shape}")  # fmt: skip
    keep = None
    if dropout_p:
        batch = broadcast_shapes(q.shape[:-2], k.shape[:-2])
        keep = bernoulli(1 - dropout_p, (*batch, q.shape[-2], k.shape[-2]))
    scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)
    return (q, k, v, mask, keep), {"is_causal": bool(is_causal), "scale": scale, "p": dropout_p}


def _check(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, keep: Tensor | None, **attrs: Any
) -> None:
    shapes = f"query {q.shape}, key {k.shape}, value {v.shape}"
    if q.shape[-1] != k.shape[-1]:
        raise ShapeError(f"queries and keys have the same size, their last one; here are {shapes}")
    if k.shape[-2] != v.shape[-2]:
        raise ShapeError(
            f"each key has a value: (…, length, size) of one length; here are {shapes}"
        )
    if not k.shape[-2]:
        raise ShapeError(f"there is no key to look at; here are {shapes}")
    if len({o.dtype for o in (q, k, v)}) > 1 or not dtypes.is_float(q.dtype) or q.dtype.kind == "c":
        raise DTypeError(
            "query, key and value have one real floating-point dtype, not "
            f"{q.dtype}, {k.dtype}, {v.dtype}"
        )
    if mask is not None:
        if mask.dtype != dtypes.bool_ and not dtypes.is_float(mask.dtype):
            raise DTypeError(
                "attn_mask is booleans, True where a query looks at a key, or numbers to add to "
                f"the scores, not {mask.dtype}"
            )
        scores = (*broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
        if broadcast_shapes(mask.shape, scores) != scores:
            raise ShapeError(f"attn_mask has the shape {mask.shape}, and the scores have {scores}")


def _causal(q: Any, k: Any) -> np.ndarray:
    """True where query i may look at key j: j ≤ i."""
    return np.tri(q.shape[-2], k.shape[-2], dtype=bool)


def _view(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, keep: Any, y: np.ndarray,
    is_causal: bool, scale: float, p: float,
) -> tuple[dict, np.ndarray]:  # fmt: skip
    added = np.zeros((q.shape[-2], k.shape[-2]))
    if is_causal:
        added = np.where(_causal(q, k), added, -np.inf)
    if mask is not None:
        added = added + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    kept = np.ones(added.shape) if keep is None else keep / (1 - p)
    return {"q": q, "k": k, "v": v, "m": added, "s": scale, "d": kept}, y


def _weights(
    query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float
) -> Tensor:
    """How much each query takes of each value, before dropout: (…, L, S)."""
    scores = matmul(query, matrix_transpose(key)) * scale
    allowed = None if mask is None or mask.dtype != dtypes.bool_ else mask
    if is_causal:
        causal = Tensor(_causal(query, key))
        allowed = causal if allowed is None else allowed & causal
    if mask is not None and mask.dtype != dtypes.bool_:
        scores = scores + mask.astype(scores.dtype)
    if allowed is None:
        return softmax(scores)
    # A row without any key is left as it is and zeroed afterwards: softmax of −∞ alone is NaN.
    some = any(allowed, axis=-1, keepdims=True)
    return where(some, softmax(where(allowed | ~some, scores, -math.inf)), 0.0)


# On NumPy arrays


def _array_weights(
    q: np.ndarray, k: np.ndarray, mask: np.ndarray | None, is_causal: bool, scale: float
) -> np.ndarray:
    """`_weights`, in place."""
    scores = np.matmul(q, np.swapaxes(k, -1, -2))
    scores *= scale
    allowed = _causal(q, k) if is_causal else None
    if mask is not None:
        if mask.dtype != dtypes.bool_:
            scores = scores + mask.astype(scores.dtype, copy=False)
        else:
            allowed = mask if allowed is None else allowed & mask
    if allowed is not None:
        np.copyto(scores, -math.inf, where=~allowed)
    peak = np.maximum.reduce(scores, -1, keepdims=True)
    none = None if allowed is None else ~allowed.any(-1, keepdims=True)
    if none is not None:
        np.copyto(peak, 0, where=none)
    scores -= peak
    np.exp(scores, scores)
    total = np.add.reduce(scores, -1, keepdims=True)
    if none is not None:
        np.copyto(total, 1, where=none)
    scores /= total
    return scores


def _dropped(x: np.ndarray, keep: np.ndarray | None, p: float) -> np.ndarray:
    return x if keep is None else np.where(keep, x * x.dtype.type(1 / (1 - p)), x.dtype.type(0))


def _kernel(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, keep: Any,
    *, is_causal: bool, scale: float, p: float,
) -> np.ndarray:  # fmt: skip
    return np.matmul(_dropped(_array_weights(q, k, mask, is_causal, scale), keep, p), v)


def _gradient_kernel(
    g: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, keep: Any,
    *, is_causal: bool, scale: float, p: float,
) -> np.ndarray:  # fmt: skip
    weights = _array_weights(q, k, mask, is_causal, scale)
    dv = np.matmul(np.swapaxes(_dropped(weights, keep, p), -1, -2), g)
    change = _dropped(np.matmul(g, np.swapaxes(v, -1, -2)), keep, p)
    change -= np.add.reduce(weights * change, -1, keepdims=True)
    change *= weights
    change *= scale
    found = (np.matmul(change, k), q), (np.matmul(np.swapaxes(change, -1, -2), q), k), (dv, v)
    return np.concatenate([sum_to.forward(d, shape=o.shape).reshape(-1) for d, o in found])


def _attend_each(op: Any, operands: Any, batched: Any, attrs: dict, size: int) -> Tensor:
    """Queries of each example, since a mask may not have more axes than the scores."""
    query = operands[0] if batched[0] else spread(operands[0], size)
    return trailing(2)(op, (query, *operands[1:]), (True, *batched[1:]), attrs, size)


def _gradient_samples() -> list:
    def sample(*shapes: tuple[int, ...], mask: Any = None, keep: Any = None, **attrs: Any) -> Any:
        q, k, v = (sampled(*shape) for shape in shapes)
        g = sampled(*broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], v.shape[-1])
        attrs = {"is_causal": False, "scale": 0.7, "p": 0.0, **attrs}
        return (np.cos(g), q, k, v, mask, keep), attrs

    triangle = np.tri(3, dtype=bool)
    return [
        sample((2, 3, 4), (2, 5, 4), (2, 5, 2)),
        sample((3, 4), (3, 4), (3, 2), is_causal=True),
        sample((2, 2, 3, 2), (2, 3, 2), (2, 3, 2), mask=triangle, keep=~triangle.T, p=0.25),
        sample((3, 4), (2, 4), (2, 2), mask=sampled(3, 2)),
        sample((3, 4), (2, 4), (2, 2), mask=np.array([True, False])),
    ]


@composite(
    formula="y = ∂L/∂query, ∂L/∂key, ∂L/∂value",
    display_only=True,
    kernel=_gradient_kernel,
    operations=lambda flat, g, q, k, v, *rest, **attrs: (
        math.prod(g.shape[:-1]) * k.shape[-2] * (6 * q.shape[-1] + 4 * v.shape[-1] + 18)
    ),
    lower="attention_gradient",
    samples=_gradient_samples,
    source="Dao et al. 2022, FlashAttention, arXiv:2205.14135, appendix B.2",
)
def attention_gradient(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    keep: Tensor | None = None,
    /,
    *,
    is_causal: bool,
    scale: float,
    p: float,
) -> Tensor:
    """The cotangents of query, key and value, raveled, one behind the other.

    With S = scale · Q Kᵀ, the weights P = softmax(S) and Y = P V: dV = Pᵀ dY and dP = dY Vᵀ, then
    through softmax dS = P ∘ (dP − Σ_j P ∘ dP), and dQ = scale · dS K and dK = scale · dSᵀ Q.
    """
    weights = _weights(query, key, mask, is_causal, scale)
    dropped, change = weights, matmul(gradient, matrix_transpose(value))
    if keep is not None:
        dropped, change = drop(weights, keep, p=p), drop(change, keep, p=p)
    change = weights * (change - sum(weights * change, axis=-1, keepdims=True)) * scale
    found = (
        (matmul(change, key), query),
        (matmul(matrix_transpose(change), query), key),
        (matmul(matrix_transpose(dropped), gradient), value),
    )
    return concat([reshape(sum_to(d, operand.shape), (-1,)) for d, operand in found])


@composite(
    formula="z[…, i, j] = s · (Σ_c q[…, i, c] · k[…, j, c]) + m[…, i, j]; "
    "w[…, i, j] = exp(z[…, i, j] − max_h z[…, i, h]); "
    "y[…, i, u] = (Σ_j w[…, i, j] · d[…, i, j] · v[…, j, u]) / (Σ_j w[…, i, j])",
    arguments=_arguments,
    kernel=_kernel,
    check=_check,
    operations=lambda y, q, k, v, *rest, **attrs: (
        math.prod(q.shape[:-1]) * k.shape[-2] * (2 * q.shape[-1] + 2 * v.shape[-1] + 13)
    ),
    lower="attention",
    batch=_attend_each,
    gradient=(attention_gradient, 3),
    formula_view=_view,
    samples=lambda: [
        ((sampled(2, 3, 4), sampled(2, 5, 4), sampled(2, 5, 2)), {}),
        ((sampled(3, 4), sampled(3, 4), sampled(3, 2)), {"is_causal": True}),
        (
            (
                sampled(2, 2, 3, 2),
                sampled(2, 2, 3, 2),
                sampled(2, 2, 3, 2),
                np.tri(3, 3, dtype=bool),
            ),
            {"scale": 1},
        ),
        ((sampled(3, 4), sampled(2, 4), sampled(2, 2), sampled(3, 2)), {}),
        # Masks that are broadcast: over queries, as padding is, and over keys.
        (
            (
                *(sampled(2, 2, 3, 2) for _ in range(3)),
                np.array([True, False, True, True, True, False]).reshape(2, 1, 1, 3),
            ),
            {},
        ),
        ((sampled(3, 4), sampled(2, 4), sampled(2, 2), sampled(2)), {}),
        ((sampled(3, 4), sampled(2, 4), sampled(2, 2), sampled(3, 1)), {}),
    ],
    source="Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    keep: Tensor | None,
    /,
    *,
    is_causal: bool,
    scale: float,
    p: float,
) -> Tensor:
    """softmax(Q Kᵀ · scale) V: for each query, the values, weighted by how well their keys fit.

    Args:
        query: (…, L, E).
        key: (…, S, E).
        value: (…, S, Ev); the result is (…, L, Ev).
        attn_mask: booleans that broadcast to (…, L, S), True where a query looks at a key; or
            numbers to add to the scores.
        dropout_p: the probability with which a weight is dropped; always, so pass 0 in use.
        is_causal: query i looks at keys 0 … i alone.
        scale: 1/√E if left out.

    A query that may look at no key gives zeros.

    >>> import chainrule as cr
    >>> q = cr.asarray([[1.0, 0.0]])
    >>> cr.scaled_dot_product_attention(q, q, cr.asarray([[5.0, 7.0]]))
    tensor([[5., 7.]])
    """
    weights = _weights(query, key, mask, is_causal, scale)
    if keep is not None:
        weights = drop(weights, keep, p=p)
    return matmul(weights, value)
