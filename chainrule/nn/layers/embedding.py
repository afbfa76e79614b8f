"""Embedding: a vector for each index, or for each bag of them."""

from __future__ import annotations

from typing import Any

from chainrule.errors import BoundsError, DTypeError
from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, positive
from chainrule.nn.module import Parameter
from chainrule.ops.embedding_bags import embedding_bag
from chainrule.ops.indexing import embedding
from chainrule.tensor.creation import zeros
from chainrule.tensor.tensor import Tensor


class Embedding(Layer):
    """A table of vectors, of which each index takes one: y = weight[x].

    Takes whole numbers of any shape (…) and gives (…, embedding_dim).

    Args:
        num_embeddings: how many vectors there are.
        embedding_dim: the size of each.
        padding_idx: the index of padding, whose vector is zeros at first and gets no gradient.

    Attributes:
        weight: (num_embeddings, embedding_dim), drawn from N(0, 1).

    Raises:
        BoundsError: an index is not in 0 … num_embeddings − 1.
        DTypeError: the indices are not whole numbers.

    >>> import chainrule as cr
    >>> Embedding(10, 3)(cr.asarray([[1, 2], [4, 9]])).shape
    (2, 2, 3)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None
    ) -> None:
        self.num_embeddings = positive(num_embeddings, "num_embeddings")
        self.embedding_dim = positive(embedding_dim, "embedding_dim")
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise BoundsError(
                    f"padding_idx {padding_idx} is not in 0 … {num_embeddings - 1}, the indices of "
                    f"the {num_embeddings} vectors"
                )
            padding_idx %= num_embeddings
        self.padding_idx = padding_idx
        self.weight = Parameter(zeros((self.num_embeddings, self.embedding_dim)))
        init.normal_(self.weight)
        if padding_idx is not None:
            self.weight[padding_idx] = 0.0

    def forward(self, x: Any) -> Tensor:
        return embedding(x, self.weight, padding_idx=self.padding_idx)


class EmbeddingBag(Layer):
    """The vectors of each bag of indices, made into one.

    Takes whole numbers (bags, length), each row a bag; or (n,) with `offsets`, which say where each
    bag begins. Gives (bags, embedding_dim).

    Args:
        num_embeddings: how many vectors there are.
        embedding_dim: the size of each.
        mode: "sum", "mean" or "max" of each place.
        include_last_offset: whether offsets end with where the last bag ends.
        padding_idx: the index of padding, which counts for nothing.

    Attributes:
        weight: (num_embeddings, embedding_dim), drawn from N(0, 1).

    >>> import chainrule as cr
    >>> EmbeddingBag(10, 3)(cr.asarray([1, 2, 4, 9]), cr.asarray([0, 3])).shape
    (2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        mode: str = "mean",
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> None:
        table = Embedding(num_embeddings, embedding_dim, padding_idx)
        self.num_embeddings, self.embedding_dim = table.num_embeddings, table.embedding_dim
        self.padding_idx, self.weight = table.padding_idx, table.weight
        if mode not in ("sum", "mean", "max"):
            raise DTypeError(f'mode is "sum", "mean" or "max", not {mode!r}')
        self.mode, self.include_last_offset = mode, bool(include_last_offset)

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        """(bags, embedding_dim); arguments as in `nn.embedding_bag`."""
        return embedding_bag(
            input,
            self.weight,
            offsets,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )
