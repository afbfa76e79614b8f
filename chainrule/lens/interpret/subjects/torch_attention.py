"""Attention weights of a PyTorch network, seen while they are made."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Attending(TorchFunctionMode):
    """Inside of the block every attention leaves its weights in `weights`, (n, heads, L, S) each.

    `nn.MultiheadAttention` is asked for the weights of each head; those of
    `scaled_dot_product_attention` are computed beside it. PyTorch leaves its fused path where a
    mode like this one is on, so that encoder layers come by here too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.multi_head_attention_forward:
            named = {**named, "need_weights": True, "average_attn_weights": False}
            result, weights = func(*args, **named)
            assert weights is not None
            self.weights.append(weights if weights.ndim == 4 else weights[None])
            wanted = (kwargs or {}).get("average_attn_weights", True)
            return result, weights.mean(-3) if wanted else weights
        result = func(*args, **named)
        if func is functional.scaled_dot_product_attention:
            weights = _weights(*args, **named)
            self.weights.append(weights if weights.ndim == 4 else weights[:, None])
        return result


def _weights(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(q kᵀ · scale + mask), as the documentation of PyTorch's function defines it."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
    return scores.softmax(-1)
