"""The layer that transformers are stacked of."""

from __future__ import annotations

from typing import Any

from chainrule.errors import DTypeError
from chainrule.nn.layers.attention import MultiheadAttention
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.layer import Layer, cast
from chainrule.nn.layers.linear import Linear
from chainrule.nn.layers.normalisation import LayerNorm
from chainrule.ops import activation as activations
from chainrule.tensor.tensor import Tensor

_ACTIVATIONS = ("relu", "gelu", "silu", "mish", "elu", "selu", "leaky_relu")


class TransformerEncoderLayer(Layer):
    """Self-attention, then a dense network at each place, each added to what came in and
    normalised (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        d_model: the size of what comes in and goes out.
        nhead: the number of attention heads.
        dim_feedforward: the size of the hidden layer of the dense network.
        dropout: the probability of each of its dropouts.
        activation: the name of the hidden layer's activation, such as "relu" or "gelu".
        layer_norm_eps: the `eps` of both normalisations.
        batch_first: whether sequences are (batch, length, d_model).
        norm_first: whether what goes into attention and network is normalised, rather than what
            comes out (Xiong et al. 2020, arXiv:2002.04745).
        bias: whether dense layers and normalisations have one.

    >>> import chainrule as cr
    >>> TransformerEncoderLayer(8, 2, 16, batch_first=True)(cr.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        if activation not in _ACTIVATIONS:
            raise DTypeError(f"activation is one of {', '.join(_ACTIVATIONS)}, not {activation!r}")
        self.activation, self.norm_first = activation, bool(norm_first)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)

    def configuration(self) -> dict[str, Any]:
        attention = self.self_attn
        return {
            "d_model": attention.embed_dim,
            "nhead": attention.num_heads,
            "dim_feedforward": self.linear1.out_features,
            "dropout": self.dropout.p,
            "activation": self.activation,
            "layer_norm_eps": self.norm1.eps,
            "batch_first": attention.batch_first,
            "norm_first": self.norm_first,
            "bias": attention.bias,
        }

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The result, in the shape of `src`; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            found, _ = self.self_attn(
                *(x, x, x),
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
                attn_mask=src_mask,
                is_causal=is_causal,
            )
            return self.dropout1(found)

        def transform(x: Tensor) -> Tensor:
            hidden = getattr(activations, self.activation)(self.linear1(x))
            return self.dropout2(self.linear2(self.dropout(hidden)))

        x = cast(src, self.linear1.weight)
        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + transform(self.norm2(x))
        x = self.norm1(x + attend(x))
        return self.norm2(x + transform(x))
