"""Bags of vectors: the embeddings of several indices, summed up, averaged, or the largest."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.arithmetic import maximum, minimum
from chainrule.ops.choosing import where
from chainrule.ops.indexing import embedding
from chainrule.ops.scattering import segment_max, segment_sum
from chainrule.ops.searching import searchsorted
from chainrule.ops.structure import expand_dims, reshape
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, ones
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


@located
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    *,
    mode: str = "mean",
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The vectors of each bag of indices, made into one: their sum, their mean, or the largest of
    each place.

    Args:
        input: whole numbers (bags, length), each row a bag; or (n,), cut by `offsets`.
        weight: (vectors, size).
        offsets: (bags,), where each bag begins; rising from 0. An empty bag gives zeros.
        mode: "sum", "mean" or "max".
        per_sample_weights: factors in the input's shape, for "sum" alone.
        include_last_offset: whether `offsets` ends with where the last bag ends.
        padding_idx: an index that counts for nothing.

    Returns:
        (bags, size).

    Raises:
        ShapeError: offsets with an input of two axes, or none with one; they do not rise from 0.
        BoundsError: an index is that of no vector.

    >>> import chainrule as cr
    >>> table = cr.asarray([[1.0], [10.0], [100.0]])
    >>> embedding_bag(cr.asarray([0, 1, 2]), table, cr.asarray([0, 2]), mode="sum").tolist()
    [[11.0], [100.0]]
    """
    indices, weight = as_operand(input), as_operand(weight)
    if mode not in ("sum", "mean", "max"):
        raise DTypeError(f'mode is "sum", "mean" or "max", not {mode!r}')
    bags, ids = _places(indices, offsets, include_last_offset)
    flat = reshape(indices, (-1,))
    if padding_idx is not None:
        padding_idx = padding_idx % weight.shape[0]
        ids = where(flat == padding_idx, bags, ids)
    vectors = embedding(flat, weight)
    if per_sample_weights is not None:
        factors = as_operand(per_sample_weights)
        if mode != "sum" or factors.shape != indices.shape:
            raise ShapeError(
                f'per_sample_weights go with mode="sum" and have the input\'s shape '
                f"{indices.shape}; here are mode={mode!r} and {factors.shape}"
            )
        vectors = vectors * reshape(factors.astype(vectors.dtype), (-1, 1))
    # What belongs to no bag is collected in one more, which is cut off.
    if mode == "sum":
        return segment_sum(vectors, ids, bags + 1)[:bags]
    counts = segment_sum(ones(flat.shape, dtype=vectors.dtype), ids, bags + 1)[:bags]
    counts = expand_dims(counts, -1)
    if mode == "mean":
        return segment_sum(vectors, ids, bags + 1)[:bags] / maximum(counts, 1)
    return where(counts > 0, segment_max(vectors, ids, bags + 1)[:bags], 0.0)


def _places(indices: Tensor, offsets: Any, last: bool) -> tuple[int, Tensor]:
    """(how many bags, the bag of each index; beyond the last: of none)."""
    if indices.ndim == 2:
        if offsets is not None:
            raise ShapeError("each row of the input is a bag already; leave the offsets out")
        bags, length = indices.shape
        return bags, Tensor(np.repeat(np.arange(bags), length))
    if indices.ndim != 1 or offsets is None:
        raise ShapeError(
            f"bags are the rows of an input (bags, length), or cut from (n,) by offsets; the input "
            f"is {indices.shape}, with offsets {'left out' if offsets is None else 'given'}"
        )
    starts = as_operand(offsets)
    if starts.ndim != 1 or starts.dtype.kind not in "iu":
        raise DTypeError(f"offsets are whole numbers (bags,), not {starts.shape} {starts.dtype}")
    values = starts._value
    if (
        values is not None
        and len(values)
        and (values[0] != 0 or (np.diff(values) < 0).any() or values[-1] > indices.shape[0])
    ):
        raise ShapeError(
            f"offsets rise from 0 to at most {indices.shape[0]}, the size of the input; they are "
            f"{values.tolist()}"
        )
    bags = starts.shape[0] - int(last)
    if bags < 0:
        raise ShapeError("include_last_offset=True asks for at least one offset")
    order = Tensor(np.arange(indices.shape[0], dtype=starts.dtype))
    found = searchsorted(starts, order, side="right").astype(dtypes.int64) - 1
    return bags, minimum(found, bags)
