"""Transformers: attention and dense layers in turns, in an encoder, a decoder, or both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.nn import init
from chainrule.nn.layers.attention import MultiheadAttention
from chainrule.nn.layers.containers import ModuleList
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.layers.linear import Linear
from chainrule.nn.layers.normalisation import LayerNorm
from chainrule.nn.module import Module, check_module
from chainrule.ops import activation as activations
from chainrule.tensor.tensor import Tensor

_ACTIVATIONS = ("relu", "gelu", "silu", "mish", "elu", "selu", "leaky_relu")

Activation = str | Callable[[Tensor], Tensor]


class _Block(Layer):
    """What an encoder's and a decoder's layer have in common."""

    self_attn: MultiheadAttention

    def _build(
        self, d_model: int, nhead: int, dim_feedforward: int, dropout: float,
        activation: Activation, layer_norm_eps: float, batch_first: bool, norm_first: bool,
        bias: bool, attentions: tuple[str, ...],
    ) -> None:  # fmt: skip
        name = getattr(activation, "name", activation)  # nn.relu is the operation called "relu"
        if name in _ACTIVATIONS:
            activation = name
        elif not callable(activation):
            raise DTypeError(
                f"activation is a function, or one of {', '.join(_ACTIVATIONS)}, not {activation!r}"
            )
        self.activation, self.norm_first = activation, bool(norm_first)
        for name in attentions:
            heads = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
            setattr(self, name, heads)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        count = len(attentions) + 1
        for i in range(count):
            setattr(self, f"norm{i + 1}", LayerNorm(d_model, layer_norm_eps, bias=bias))
        for i in range(count):
            setattr(self, f"dropout{i + 1}", Dropout(dropout))

    def configuration(self) -> dict[str, Any]:
        attention = self.self_attn
        return {
            "d_model": attention.embed_dim,
            "nhead": attention.num_heads,
            "dim_feedforward": self.linear1.out_features,
            "dropout": self.dropout.p,
            "activation": self.activation,
            "layer_norm_eps": self.norm1.eps,  # type: ignore[attr-defined]
            "batch_first": attention.batch_first,
            "norm_first": self.norm_first,
            "bias": attention.bias,
        }

    def _added(self, x: Tensor, number: int, transform: Callable[[Tensor], Tensor]) -> Tensor:
        """x with what becomes of it, dropped out, added, and normalised before or after."""
        norm, drop = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + drop(transform(norm(x)))
        return norm(x + drop(transform(x)))

    def _dense(self, x: Tensor) -> Tensor:
        function = self.activation
        if isinstance(function, str):
            function = getattr(activations, function)
        return self.linear2(self.dropout(function(self.linear1(x))))


_ARGUMENTS = """
    Args:
        d_model: the size of what comes in and goes out.
        nhead: the number of attention heads.
        dim_feedforward: the size of the hidden layer of the dense network.
        dropout: the probability of each of its dropouts.
        activation: the hidden layer's, by name ("relu", "gelu", …) or as a function; one that is
            not the library's cannot be saved.
        layer_norm_eps: the `eps` of all normalisations.
        batch_first: whether sequences are (batch, length, d_model).
        norm_first: whether what goes into attention and network is normalised, rather than what
            comes out (Xiong et al. 2020, arXiv:2002.04745).
        bias: whether dense layers and normalisations have one.
"""


class TransformerEncoderLayer(_Block):
    __doc__ = f"""Self-attention, then a dense network at each place, each added to what came in and
    normalised (Vaswani et al. 2017, arXiv:1706.03762).
{_ARGUMENTS}
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
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self._build(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, ("self_attn",),
        )  # fmt: skip

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The result, in the shape of `src`; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                *(x, x, x),
                key_padding_mask=src_key_padding_mask,
                need_weights=False,
                attn_mask=src_mask,
                is_causal=is_causal,
            )[0]

        x = self._added(cast(src, self.any_parameter()), 1, attend)
        return self._added(x, 2, self._dense)


class TransformerDecoderLayer(_Block):
    __doc__ = f"""Self-attention, attention to an encoder's result (the memory), then a dense
    network at each place, each added to what came in and normalised (Vaswani et al. 2017,
    arXiv:1706.03762).
{_ARGUMENTS}
    >>> import chainrule as cr
    >>> layer = TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> layer(cr.ones((2, 5, 8)), cr.ones((2, 7, 8))).shape
    (2, 5, 8)
    """

    multihead_attn: MultiheadAttention

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        self._build(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, ("self_attn", "multihead_attn"),
        )  # fmt: skip

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The result, in the shape of `tgt`; masks as in `MultiheadAttention`, those that begin
        with `tgt` for the self-attention, those with `memory` for the attention to it."""
        memory = cast(memory, self.any_parameter())

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                *(x, x, x),
                key_padding_mask=tgt_key_padding_mask,
                need_weights=False,
                attn_mask=tgt_mask,
                is_causal=tgt_is_causal,
            )[0]

        def remember(x: Tensor) -> Tensor:
            return self.multihead_attn(
                *(x, memory, memory),
                key_padding_mask=memory_key_padding_mask,
                need_weights=False,
                attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )[0]

        x = self._added(cast(tgt, self.any_parameter()), 1, attend)
        return self._added(self._added(x, 2, remember), 3, self._dense)


class _Stack(Layer):
    """Copies of a layer, one on the other."""

    norm: Module | None

    def _build(self, layer: Any, num_layers: int, norm: Any) -> None:
        name = type(self).__name__
        check_module(layer, name)
        copies = [copy.deepcopy(layer) for _ in range(positive(num_layers, "num_layers"))]
        self.layers = ModuleList(copies)
        self.num_layers = num_layers
        self.norm = None if norm is None else check_module(norm, name)


class TransformerEncoder(_Stack):
    """Copies of an encoder layer, one on the other (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        encoder_layer: such as a `TransformerEncoderLayer`; copies begin with its weights.
        num_layers: how many.
        norm: what normalises the result; None for nothing.

    >>> import chainrule as cr
    >>> layer = TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> TransformerEncoder(layer, 2)(cr.ones((2, 5, 8)), is_causal=True).shape
    (2, 5, 8)
    """

    def __init__(self, encoder_layer: Any, num_layers: int, norm: Any = None) -> None:
        self._build(encoder_layer, num_layers, norm)

    def configuration(self) -> dict[str, Any]:
        return {
            "encoder_layer": self.layers[0], "num_layers": len(self.layers), "norm": self.norm
        }  # fmt: skip

    def forward(
        self, src: Any, mask: Any = None, src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
    ) -> Tensor:  # fmt: skip
        """The result, in the shape of `src`; masks as in `MultiheadAttention`, for every layer."""
        for layer in self.layers:
            src = layer(
                src, src_mask=mask, src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
            )  # fmt: skip
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(_Stack):
    """Copies of a decoder layer, one on the other (Vaswani et al. 2017, arXiv:1706.03762).

    Args:
        decoder_layer: such as a `TransformerDecoderLayer`; copies begin with its weights.
        num_layers: how many.
        norm: what normalises the result; None for nothing.

    >>> import chainrule as cr
    >>> layer = TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> decoder = TransformerDecoder(layer, 2)
    >>> decoder(cr.ones((2, 5, 8)), cr.ones((2, 7, 8)), tgt_is_causal=True).shape
    (2, 5, 8)
    """

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Any = None) -> None:
        self._build(decoder_layer, num_layers, norm)

    def configuration(self) -> dict[str, Any]:
        return {
            "decoder_layer": self.layers[0], "num_layers": len(self.layers), "norm": self.norm
        }  # fmt: skip

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The result, in the shape of `tgt`; masks as in `TransformerDecoderLayer`."""
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Layer):
    __doc__ = f"""An encoder and a decoder that attends to its result (Vaswani et al. 2017,
    arXiv:1706.03762). Weight matrices are Xavier-uniform at first.
{_ARGUMENTS}        num_encoder_layers, num_decoder_layers: how many of each.

    >>> import chainrule as cr
    >>> model = Transformer(8, 2, 1, 1, 16, batch_first=True)
    >>> model(cr.ones((2, 7, 8)), cr.ones((2, 5, 8)), tgt_is_causal=True).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        arguments = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
                     batch_first, norm_first, bias)  # fmt: skip
        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(*arguments), num_encoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )  # fmt: skip
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(*arguments), num_decoder_layers,
            LayerNorm(d_model, layer_norm_eps, bias=bias),
        )  # fmt: skip
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def configuration(self) -> dict[str, Any]:
        return {
            **self.encoder.layers[0].configuration(),
            "num_encoder_layers": len(self.encoder.layers),
            "num_decoder_layers": len(self.decoder.layers),
        }

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The decoder's result, in the shape of `tgt`; masks as in `MultiheadAttention`."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal, memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int) -> Tensor:
        """(sz, sz): −∞ above the diagonal, 0 elsewhere, to add to scores, so that no place looks
        at a later one. `is_causal=True` does the same.

        >>> Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        hidden = np.triu(np.ones((positive(sz, "sz"), sz), bool), 1)
        return Tensor(np.where(hidden, -np.inf, 0.0).astype(np.float32))
