"""Where in a sequence something stands, for layers that would not see it."""

from __future__ import annotations

from typing import Any

from chainrule.errors import ShapeError
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.layer import Layer, positive
from chainrule.ops.positions import rotary_embedding, sinusoidal_positions
from chainrule.ops.structure import expand_dims
from chainrule.tensor.creation import as_operand
from chainrule.tensor.tensor import Tensor


class RotaryEmbedding(Layer):
    """Pairs of numbers in queries and keys turned by angles that grow with their position (Su et
    al. 2021, arXiv:2104.09864). See `nn.rotary_embedding`.

    Args:
        dim: the size of a head, even.
        base: how slowly the last pair turns.
        interleaved: whether pairs are neighbours rather than halves.

    >>> import chainrule as cr
    >>> RotaryEmbedding(8)(cr.ones((2, 4, 5, 8))).shape  # (batch, heads, length, size)
    (2, 4, 5, 8)
    """

    def __init__(self, dim: int, base: float = 10_000.0, interleaved: bool = False) -> None:
        self.dim = positive(dim, "dim", 2)
        if dim % 2:
            raise ShapeError(f"dim is even, as numbers are turned in pairs, and not {dim}")
        self.base, self.interleaved = base, bool(interleaved)

    def forward(self, x: Any, positions: Any = None) -> Tensor:
        """x (…, length, dim) turned; `positions` (…, length) are 0, 1, 2, … if left out."""
        x = as_operand(x)
        if x.ndim < 2 or x.shape[-1] != self.dim:
            raise ShapeError(f"RotaryEmbedding takes (…, length, {self.dim}), not {x.shape}")
        return rotary_embedding(x, positions, self.base, interleaved=self.interleaved)


class PositionalEncoding(Layer):
    """Sines and cosines of the position, added to what comes in (Vaswani et al. 2017,
    arXiv:1706.03762, section 3.5). See `nn.sinusoidal_positions`.

    Args:
        d_model: the size of each step.
        dropout: the probability of the dropout behind the sum.
        batch_first: whether sequences are (batch, length, d_model).
        base: how slowly the last pair turns.

    >>> import chainrule as cr
    >>> PositionalEncoding(8, batch_first=True)(cr.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        dropout: float = 0.0,
        batch_first: bool = False,
        base: float = 10_000.0,
    ) -> None:
        self.d_model = positive(d_model, "d_model")
        self.batch_first, self.base = bool(batch_first), base
        self.drop = Dropout(dropout)

    @property
    def dropout(self) -> float:
        """The probability of the dropout."""
        return self.drop.p

    def forward(self, x: Any) -> Tensor:
        x = as_operand(x)
        if x.ndim not in (2, 3) or x.shape[-1] != self.d_model:
            order = "batch, length" if self.batch_first else "length, batch"
            raise ShapeError(
                f"PositionalEncoding takes ({order}, {self.d_model}) or (length, {self.d_model}), "
                f"not {x.shape}"
            )
        behind = x.ndim == 3 and not self.batch_first
        length = x.shape[0] if behind or x.ndim == 2 else x.shape[1]
        added = sinusoidal_positions(length, self.d_model, self.base).astype(x.dtype)
        return self.drop(x + (expand_dims(added, 1) if behind else added))
