"""Margin losses: they ask that right answers lie ahead of wrong ones by some distance, and no more.

Apart from the soft ones, which are logistic, none is the likelihood of a distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DTypeError, ShapeError
from chainrule.ops.activation import relu, softplus
from chainrule.ops.choosing import where
from chainrule.ops.indexing import take, take_along_axis
from chainrule.ops.losses import check_labels
from chainrule.ops.reduction import any, mean, sum
from chainrule.ops.running import cumulative_prod
from chainrule.ops.structure import expand_dims
from chainrule.probability.losses import _class_weight, _pair, _reduced, floating
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


def signs(target: Tensor) -> Tensor:
    """Targets that are 1 or −1; anything else is told, where it can be seen."""
    values = target._value
    if values is not None and not np.isin(values, (-1, 1)).all():
        wrong = values[~np.isin(values, (-1, 1))].reshape(-1)[0]
        raise DTypeError(
            f"targets are 1 or −1, and one is {wrong}; of 0 and 1 write 2 * target - 1"
        )
    return target


@located
def hinge_embedding_loss(
    input: Any, target: Any, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """A distance x where the target is 1, and max(0, margin − x) where it is −1.

    Args:
        input: distances.
        target: 1 (alike) or −1 (different), in the input's shape.

    >>> import chainrule as cr
    >>> x = cr.asarray([0.5, 0.25])
    >>> hinge_embedding_loss(x, cr.asarray([1, -1]), reduction="none")
    tensor([0.5 , 0.75])
    """
    input, target = _pair(input, target)
    return _reduced(where(signs(target) == 1, input, relu(margin - input)), reduction)


@located
def margin_ranking_loss(
    input1: Any, input2: Any, target: Any, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """max(0, −y (x₁ − x₂) + margin): x₁ is to be the larger where y is 1, x₂ where it is −1.

    >>> import chainrule as cr
    >>> margin_ranking_loss(cr.asarray([1.0]), cr.asarray([3.0]), cr.asarray([1])).item()
    2.0
    """
    first, target = _pair(input1, target)
    second, _ = _pair(input2, first)
    return _reduced(relu(margin - signs(target) * (first - second)), reduction)


@located
def soft_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """The Bernoulli distribution with targets 1 and −1: log(1 + exp(−y x)), x the logit.

    >>> import chainrule as cr
    >>> round(soft_margin_loss(cr.asarray([0.0]), cr.asarray([-1])).item(), 4)  # log 2
    0.6931
    """
    input, target = _pair(input, target)
    return _reduced(softplus(-target * input), reduction)


@located
def multilabel_soft_margin_loss(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean"
) -> Tensor:
    """A Bernoulli distribution for each class: the mean over the classes of −y log σ(x) −
    (1 − y) log(1 − σ(x)), x the logits.

    Args:
        input: (…, C), logits.
        target: 0 to 1, in the input's shape.
        weight: (C,), a factor for each class.

    >>> import chainrule as cr
    >>> x = cr.asarray([[0.0, 0.0]])
    >>> round(multilabel_soft_margin_loss(x, cr.asarray([[1, 0]])).item(), 4)  # log 2
    0.6931
    """
    input, target = _pair(input, target)
    if input.ndim == 0:
        raise ShapeError("the input has a class axis, its last: (…, classes)")
    losses = target * softplus(-input) + (1 - target) * softplus(input)
    if weight is not None:
        losses = losses * _class_weight(weight, input)
    return _reduced(mean(losses, -1), reduction)


@located
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Σ_{i ≠ y} max(0, margin − x_y + x_i)^p / C: the right class ahead of each other one
    (Crammer, Singer 2001, JMLR 2; p = 2: squared).

    Args:
        input: (C,) or (N, C), scores.
        target: the class y, () or (N,).
        p: 1 or 2.
        weight: (C,), a factor for each right class.

    Raises:
        BoundsError: a label is no class.

    >>> import chainrule as cr
    >>> multi_margin_loss(cr.asarray([[1.0, 0.5]]), cr.asarray([0])).item()
    0.25
    """
    input, target = floating(input), as_operand(target)
    if p not in (1, 2):
        raise DTypeError(f"p is 1 or 2, not {p!r}")
    if input.ndim not in (1, 2):
        raise ShapeError(f"scores are (classes,) or (batch, classes), not {input.shape}")
    check_labels(input, target)
    right = expand_dims(target, -1)
    behind = relu(margin - take_along_axis(input, right, axis=-1) + input)
    losses = behind if p == 1 else behind * behind
    if weight is not None:
        losses = losses * expand_dims(take(_class_weight(weight, input), target, axis=0), -1)
    others = Tensor(np.arange(input.shape[-1])) != right
    return _reduced(mean(where(others, losses, 0.0), -1), reduction)


@located
def multilabel_margin_loss(input: Any, target: Any, *, reduction: str = "mean") -> Tensor:
    """Σ_j Σ_i max(0, 1 − x_j + x_i) / C, j over the right classes and i over the others.

    Args:
        input: (C,) or (N, C), scores.
        target: the right classes, in the input's shape, up to the first −1; what follows is not
            read.

    Raises:
        BoundsError: a label is no class.

    >>> import chainrule as cr
    >>> x = cr.asarray([0.1, 0.2, 0.4, 0.8])
    >>> round(multilabel_margin_loss(x, cr.asarray([3, 0, -1, 1])).item(), 2)
    0.85
    """
    input, target = floating(input), as_operand(target)
    if input.ndim not in (1, 2) or target.shape != input.shape:
        raise ShapeError(
            f"scores are (classes,) or (batch, classes), and targets of the same shape; here are "
            f"{input.shape} and {target.shape}"
        )
    if target.dtype.kind not in "iu":
        raise DTypeError(f"targets are classes, whole numbers, not {target.dtype}")
    classes, values = input.shape[-1], target._value
    if values is not None and ((values < -1) | (values >= classes)).any():
        wrong = values[(values < -1) | (values >= classes)].reshape(-1)[0]
        raise BoundsError(f"a target is {wrong}, and there are the classes 0 … {classes - 1}")
    read = cumulative_prod((target >= 0).astype(target.dtype), axis=-1) == 1
    labels = where(read, target, 0)
    matches = expand_dims(labels, -1) == Tensor(np.arange(classes))
    right = any(matches & expand_dims(read, -1), axis=-2)
    chosen = expand_dims(take_along_axis(input, labels, axis=-1), -1)
    behind = relu(1 - chosen + expand_dims(input, -2))
    counted = expand_dims(read, -1) & ~expand_dims(right, -2)
    return _reduced(sum(where(counted, behind, 0.0), axis=(-2, -1)) / classes, reduction)
