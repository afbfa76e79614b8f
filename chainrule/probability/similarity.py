"""Losses on distances and similarities: what is alike near, what is different apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.activation import relu
from chainrule.ops.arithmetic import minimum, sqrt
from chainrule.ops.choosing import where
from chainrule.ops.distances import normalize, pairwise_distance
from chainrule.ops.joining import concat
from chainrule.ops.linear_algebra import matmul
from chainrule.ops.losses import softmax_cross_entropy
from chainrule.ops.reduction import sum
from chainrule.ops.structure import matrix_transpose
from chainrule.probability.losses import _pair, _reduced, floating
from chainrule.probability.margins import signs
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


@located
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """1 − cos(x₁, x₂) where the target is 1, and max(0, cos(x₁, x₂) − margin) where it is −1.

    Args:
        input1, input2: (N, D) or (D,).
        target: 1 (alike) or −1 (different), (N,) or ().

    >>> import chainrule as cr
    >>> x = cr.asarray([[1.0, 0.0]])
    >>> cosine_embedding_loss(x, x, cr.asarray([-1]), margin=0.25).item()
    0.75
    """
    first, second = _pair(input1, input2)
    target = as_operand(target)
    if first.ndim not in (1, 2) or target.shape != first.shape[:-1]:
        raise ShapeError(
            f"the inputs are (batch, size) and the target (batch,), or (size,) and (); here are "
            f"{first.shape} and {target.shape}"
        )
    tiny = 1e-12  # PyTorch's, on the squares
    lengths = (sum(first * first, -1) + tiny) * (sum(second * second, -1) + tiny)
    cosine = sum(first * second, -1) / sqrt(lengths)
    return _reduced(where(signs(target) == 1, 1 - cosine, relu(cosine - margin)), reduction)


@located
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) − d(anchor, negative) + margin), d the distance of norm p
    (Balntas et al. 2016, BMVC).

    Args:
        anchor, positive, negative: (…, D), of one shape.
        margin: how much farther the negative is to be.
        p, eps: as in `pairwise_distance`.
        swap: take the positive in the anchor's place where it is nearer to the negative.

    >>> import chainrule as cr
    >>> a, p, n = cr.asarray([[0.0]]), cr.asarray([[1.0]]), cr.asarray([[3.0]])
    >>> round(triplet_margin_loss(a, p, n, margin=3.0).item(), 4)
    1.0
    """
    return _triplet(
        anchor, positive, negative, lambda a, b: pairwise_distance(a, b, p, eps),
        margin, swap, reduction,
    )  # fmt: skip


@located
def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with a distance of your own, (a, b) → (…); Euclid's if left out.

    >>> import chainrule as cr
    >>> a, p, n = cr.asarray([[0.0]]), cr.asarray([[1.0]]), cr.asarray([[3.0]])
    >>> triplet_margin_with_distance_loss(
    ...     a, p, n, distance_function=lambda a, b: cr.abs(a - b).sum(-1), margin=3.0
    ... ).item()
    1.0
    """
    measure = pairwise_distance if distance_function is None else distance_function
    return _triplet(anchor, positive, negative, measure, margin, swap, reduction)


def _triplet(
    anchor: Any, positive: Any, negative: Any, measure: Callable, margin: Any, swap: Any,
    reduction: str,
) -> Tensor:  # fmt: skip
    anchor, positive = _pair(anchor, positive)
    _, negative = _pair(anchor, negative)
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not margin > 0:
        raise DTypeError(f"margin is a positive number, not {margin!r}")
    near, far = measure(anchor, positive), measure(anchor, negative)
    if swap:
        far = minimum(far, measure(positive, negative))
    return _reduced(relu(near - far + margin), reduction)


def _check_temperature(temperature: Any) -> None:
    wrong = isinstance(temperature, bool) or not isinstance(temperature, (int, float))
    if wrong or not temperature > 0:
        raise DTypeError(f"temperature is a positive number, not {temperature!r}")


@located
def info_nce_loss(
    query: Any,
    positive: Any,
    negatives: Any = None,
    *,
    temperature: float = 0.1,
    reduction: str = "mean",
) -> Tensor:
    """The categorical distribution: which key belongs to a query, by cosine similarity.

    −log of exp(cos(q, k⁺)/τ) / Σ_k exp(cos(q, k)/τ), the sum over the right key and the others
    (van den Oord, Li, Vinyals 2018, arXiv:1807.03748, eq. 4).

    Args:
        query, positive: (N, D), each row with its right key.
        negatives: (M, D), wrong keys of all queries; None: the right keys of the other queries.
        temperature: τ, by which similarities are divided.

    >>> import chainrule as cr
    >>> x = cr.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> round(info_nce_loss(x, x, temperature=1.0).item(), 4)  # log(1 + 1/e)
    0.3133
    """
    query, positive = _pair(query, positive)
    _check_temperature(temperature)
    if query.ndim != 2:
        raise ShapeError(f"queries and keys are (batch, size), not {query.shape}")
    query, positive = normalize(query, axis=-1), normalize(positive, axis=-1)
    if negatives is None:
        scores = matmul(query, matrix_transpose(positive))
        labels = Tensor(np.arange(query.shape[0]))
    else:
        others = floating(negatives)
        if others.ndim != 2 or others.shape[1] != query.shape[1]:
            raise ShapeError(f"negatives are (…, {query.shape[1]}), not {others.shape}")
        own = sum(query * positive, -1, keepdims=True)
        scores = concat([own, matmul(query, matrix_transpose(normalize(others, axis=-1)))], axis=-1)
        labels = Tensor(np.zeros(query.shape[0], np.int64))
    return _reduced(softmax_cross_entropy(scores / temperature, labels), reduction)


@located
def nt_xent_loss(
    view1: Any, view2: Any, *, temperature: float = 0.5, reduction: str = "mean"
) -> Tensor:
    """SimCLR's loss: each of 2N views is to find its partner among the 2N − 1 others, by cosine.

    ℓ(i, j) = −log of exp(cos(zᵢ, zⱼ)/τ) / Σ_{k ≠ i} exp(cos(zᵢ, z_k)/τ) (Chen et al. 2020,
    arXiv:2002.05709, eq. 1), a categorical likelihood.

    Args:
        view1, view2: (N, D), two views of the same N examples.
        temperature: τ.
        reduction: over the 2N views, those of `view1` first.

    >>> import chainrule as cr
    >>> x = cr.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> round(nt_xent_loss(x, x, temperature=1.0).item(), 4)  # log(1 + 2/e)
    0.5514
    """
    first, second = _pair(view1, view2)
    _check_temperature(temperature)
    if first.ndim != 2:
        raise ShapeError(f"views are (batch, size), not {first.shape}")
    n = first.shape[0]
    z = normalize(concat([first, second], axis=0), axis=-1)
    scores = matmul(z, matrix_transpose(z)) / temperature
    scores = where(Tensor(np.eye(2 * n, dtype=bool)), -np.inf, scores)
    partners = Tensor((np.arange(2 * n) + n) % (2 * n))
    return _reduced(softmax_cross_entropy(scores, partners), reduction)
