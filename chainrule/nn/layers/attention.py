"""Attention: each place of a sequence looks at all others, and takes from those that fit."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.layers.linear import Linear
from chainrule.nn.module import Parameter
from chainrule.ops.attention import scaled_dot_product_attention
from chainrule.ops.choosing import where
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import linear, matmul
from chainrule.ops.random import dropout
from chainrule.ops.reduction import mean
from chainrule.ops.softmax import softmax
from chainrule.ops.structure import broadcast_to, matrix_transpose, permute_dims, reshape
from chainrule.tensor.creation import as_operand, full, zeros
from chainrule.tensor.tensor import Tensor


class MultiheadAttention(Layer):
    """softmax(Q Kᵀ / √d) V in several heads at once (Vaswani et al. 2017, arXiv:1706.03762).

    Query, key and value are projected, cut into `num_heads` heads of d = embed_dim / num_heads,
    and what the heads find is put together and projected again.

    Args:
        embed_dim: the size of query, key, value and result.
        num_heads: into how many heads it is cut; it divides `embed_dim`.
        dropout: the probability with which an attention weight is dropped in training.
        bias: whether the projections have one.
        add_bias_kv: whether a key and a value that are learnt stand behind the others.
        add_zero_attn: whether a key and a value of zeros stand behind the others.
        kdim, vdim: the sizes of keys and values, if they are not `embed_dim`.
        batch_first: whether sequences are (batch, length, embed_dim) rather than PyTorch's default
            (length, batch, embed_dim). Without a batch they are (length, embed_dim).

    Attributes:
        in_proj_weight: (3 · embed_dim, embed_dim), for query, key and value, Xavier-uniform; or
            None, where kdim or vdim is another size, and
        q_proj_weight, k_proj_weight, v_proj_weight: (embed_dim, size) instead.
        in_proj_bias: (3 · embed_dim,), zeros; or None.
        out_proj: the `Linear` at the end, its bias zeros.
        bias_k, bias_v: (1, 1, embed_dim) with `add_bias_kv`; or None.

    Raises:
        ShapeError: `num_heads` does not divide `embed_dim`.

    >>> import chainrule as cr
    >>> x = cr.ones((2, 5, 8))
    >>> y, weights = MultiheadAttention(8, 2, batch_first=True)(x, x, x)
    >>> y.shape, weights.shape
    ((2, 5, 8), (2, 5, 5))
    """

    bias_k: Any
    bias_v: Any

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        self.embed_dim = positive(embed_dim, "embed_dim")
        self.num_heads = positive(num_heads, "num_heads")
        if self.embed_dim % self.num_heads:
            raise ShapeError(
                f"embed_dim {embed_dim} cannot be cut into num_heads {num_heads} equal heads"
            )
        self.dropout, self.bias, self.batch_first = dropout, bool(bias), bool(batch_first)
        self.add_bias_kv, self.add_zero_attn = bool(add_bias_kv), bool(add_zero_attn)
        self.kdim = positive(embed_dim if kdim is None else kdim, "kdim")
        self.vdim = positive(embed_dim if vdim is None else vdim, "vdim")
        self.in_proj_weight: Parameter | None = None
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter(zeros((3 * embed_dim, embed_dim)))
            init.xavier_uniform_(self.in_proj_weight)
        else:
            for name, size in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
                weight = Parameter(zeros((embed_dim, size)))
                setattr(self, f"{name}_proj_weight", init.xavier_uniform_(weight))
        self.in_proj_bias = Parameter(zeros((3 * embed_dim,))) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        for name in ("bias_k", "bias_v"):
            learnt = Parameter(zeros((1, 1, embed_dim))) if add_bias_kv else None
            setattr(self, name, learnt if learnt is None else init.xavier_normal_(learnt))

    def configuration(self) -> dict[str, Any]:
        found = super().configuration()
        for name in ("kdim", "vdim"):
            found[name] = None if found[name] == self.embed_dim else found[name]
        return found

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(result, attention weights).

        Args:
            query: (batch, L, embed_dim) with `batch_first`; the result has its shape.
            key: (batch, S, kdim).
            value: (batch, S, vdim).
            key_padding_mask: (batch, S), True at keys that are padding and are not looked at; or
                numbers to add to the scores.
            need_weights: whether the weights are wanted; without them it is faster.
            attn_mask: (L, S) or (batch · num_heads, L, S), True where a query must not look at a
                key; or numbers to add. (`nn.scaled_dot_product_attention` has True for the
                opposite, as in PyTorch.)
            average_attn_weights: the weights' mean over the heads, (batch, L, S), rather than of
                each, (batch, num_heads, L, S).
            is_causal: no place looks at a later one.
        """
        same = query is key and key is value
        q = cast(query, self.any_parameter())
        k, v = (q, q) if same else (cast(key, q), cast(value, q))
        batched = q.ndim == 3
        self._check(q, k, v)
        if not batched:
            q, k, v = (reshape(x, (1, *x.shape)) for x in (q, k, v))
        elif not self.batch_first:
            q, k, v = (permute_dims(x, (1, 0, 2)) for x in (q, k, v))
        q, k, v = self._project(q, k, v, same)
        mask = self._mask(q, k, key_padding_mask, attn_mask, is_causal)
        k, v, mask = self._with_extra(k, v, mask)
        rate = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = matmul(q, matrix_transpose(k)) * (1 / math.sqrt(q.shape[-1]))
            if mask is not None:
                is_bool = mask.dtype.kind == "b"
                scores = where(mask, scores, -math.inf) if is_bool else scores + mask
            weights = dropout(softmax(scores), rate) if rate else softmax(scores)
            y = matmul(weights, v)
            weights = mean(weights, 1) if average_attn_weights else weights
        else:
            y = scaled_dot_product_attention(q, k, v, mask, dropout_p=rate)
        batch, _, length, _ = y.shape
        y = self.out_proj(reshape(permute_dims(y, (0, 2, 1, 3)), (batch, length, self.embed_dim)))
        if not batched:
            return y[0], None if weights is None else weights[0]
        return (y if self.batch_first else permute_dims(y, (1, 0, 2))), weights

    def _check(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        order = "batch, length" if self.batch_first else "length, batch"
        shapes = f"query {q.shape}, key {k.shape} and value {v.shape}"
        if q.ndim not in (2, 3) or k.ndim != q.ndim or v.ndim != q.ndim:
            raise ShapeError(
                f"sequences are ({order}, embed_dim), or without a batch (length, embed_dim); "
                f"here are {shapes}"
            )
        sizes = (self.embed_dim, self.kdim, self.vdim)
        if tuple(x.shape[-1] for x in (q, k, v)) != sizes:
            raise ShapeError(
                f"query, key and value have the last sizes {', '.join(map(str, sizes))}; here are "
                f"{shapes}"
            )
        if k.shape[:-1] != v.shape[:-1]:
            raise ShapeError(f"each key has a value; here are {shapes}")
        batch = 0 if self.batch_first else 1
        if q.ndim == 3 and q.shape[batch] != k.shape[batch]:
            raise ShapeError(
                f"query and key belong to the same batch; here are {shapes}, read as ({order}, "
                f"embed_dim). The other order is batch_first={not self.batch_first}."
            )

    def _project(
        self, q: Tensor, k: Tensor, v: Tensor, same: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value as (batch, num_heads, length, d)."""
        weight, bias, n = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        thirds = [slice(i * n, (i + 1) * n) for i in range(3)]
        if weight is None:
            parts = [
                linear(
                    x, getattr(self, f"{name}_proj_weight"), None if bias is None else bias[third]
                )
                for name, x, third in zip("qkv", (q, k, v), thirds, strict=True)
            ]
        elif same:
            together = linear(q, weight, bias)  # one product rather than three
            parts = [together[..., third] for third in thirds]
        else:
            parts = [
                linear(x, weight[third], None if bias is None else bias[third])
                for x, third in zip((q, k, v), thirds, strict=True)
            ]
        q, k, v = (self._heads(part) for part in parts)
        return q, k, v

    def _with_extra(
        self, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values with those behind them that every query may look at."""
        batch, heads, _, size = k.shape
        if self.add_bias_kv:
            shape = (batch, heads, 1, size)
            k = concat([k, broadcast_to(self._heads(self.bias_k), shape)], axis=2)
            v = concat([v, broadcast_to(self._heads(self.bias_v), shape)], axis=2)
        if self.add_zero_attn:
            nothing = zeros((batch, heads, 1, size), dtype=k.dtype)
            k, v = concat([k, nothing], axis=2), concat([v, nothing], axis=2)
        extra = int(self.add_bias_kv) + int(self.add_zero_attn)
        if mask is not None and extra:
            free = full((*mask.shape[:-1], extra), mask.dtype.kind == "b", dtype=mask.dtype)
            mask = concat([mask, free], axis=-1)
        return k, v, mask

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        return permute_dims(reshape(x, (batch, length, self.num_heads, -1)), (0, 2, 1, 3))

    def _mask(
        self, q: Tensor, k: Tensor, padding: Any, attn_mask: Any, is_causal: bool
    ) -> Tensor | None:
        """True where a query may look at a key, or numbers to add; None where all may."""
        batch, heads, length, _ = q.shape
        keys = k.shape[2]
        masks = []
        if padding is not None:
            masks.append(_fitting(padding, "key_padding_mask", (batch, keys), (batch, 1, 1, keys)))
        if attn_mask is not None:
            many = as_operand(attn_mask).ndim == 3
            shape = (batch * heads, length, keys) if many else (length, keys)
            full = (batch, heads, length, keys) if many else shape
            masks.append(_fitting(attn_mask, "attn_mask", shape, full))
        if is_causal:
            masks.append(Tensor(np.triu(np.ones((length, keys), bool), 1)))
        if not masks:
            return None
        if all(mask.dtype.kind == "b" for mask in masks):
            return ~functools.reduce(operator.or_, masks)
        added = [where(m, -math.inf, 0.0) if m.dtype.kind == "b" else m for m in masks]
        return functools.reduce(operator.add, added).astype(q.dtype)


def _fitting(mask: Any, name: str, shape: tuple[int, ...], full: tuple[int, ...]) -> Tensor:
    mask = as_operand(mask)
    if mask.shape != shape and not (len(shape) == 2 and mask.shape == shape[1:] and full[0] == 1):
        raise ShapeError(f"the {name} has the shape {mask.shape}, and {shape} is needed")
    if mask.dtype.kind not in "bf":
        raise DTypeError(
            f"the {name} is booleans, True where nothing is to be looked at, or numbers to add to "
            f"the scores, not {mask.dtype}"
        )
    return reshape(mask, full)
