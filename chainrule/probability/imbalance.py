"""Losses for classes of which there are few: focal and Dice."""

from __future__ import annotations

from typing import Any

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.activation import sigmoid, softplus
from chainrule.ops.exponential import exp
from chainrule.ops.indexing import take
from chainrule.ops.losses import check_labels, softmax_cross_entropy
from chainrule.ops.reduction import sum
from chainrule.probability.losses import (
    _class_weight,
    _classes_last,
    _pair,
    _reduced,
    floating,
)
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


def _check_gamma(gamma: Any) -> None:
    if isinstance(gamma, bool) or not isinstance(gamma, (int, float)) or not gamma >= 0:
        raise DTypeError(f"gamma is a number of at least 0, not {gamma!r}")


@located
def focal_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    gamma: float = 2.0,
    reduction: str = "mean",
) -> Tensor:
    """−(1 − p)^γ log p, with p = softmax(input)[class]: sure examples count little (Lin et al.
    2017, arXiv:1708.02002). With γ = 0 it is `cross_entropy`.

    Args:
        input: logits, (C,), (N, C) or (N, C, d₁, …).
        target: the classes, in the input's shape without the class axis.
        weight: (C,), α, a factor for each class.
        gamma: γ, at least 0.

    >>> import chainrule as cr
    >>> x = cr.asarray([[0.0, 0.0]])
    >>> round(focal_loss(x, cr.asarray([1])).item(), 4)  # (1 − ½)² log 2
    0.1733
    """
    input, target = floating(input), as_operand(target)
    _check_gamma(gamma)
    logits = _classes_last(input)
    check_labels(logits, target)
    losses = softmax_cross_entropy(logits, target)
    if gamma:
        losses = (1 - exp(-losses)) ** gamma * losses
    if weight is not None:
        losses = losses * take(_class_weight(weight, logits), target, axis=0)
    return _reduced(losses, reduction)


@located
def sigmoid_focal_loss(
    input: Any,
    target: Any,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """−α (1 − p)^γ log p of each yes, −(1 − α) p^γ log(1 − p) of each no, p = σ(input) (Lin et al.
    2017, arXiv:1708.02002, eq. 5); arguments and defaults as in torchvision.

    Args:
        input: logits.
        target: 0 or 1, in the input's shape.
        alpha: the weight of a yes, 0 to 1; −1: none.
        gamma: how little sure examples count.

    >>> import chainrule as cr
    >>> x = cr.asarray([0.0])
    >>> sigmoid_focal_loss(x, cr.asarray([1.0])).numpy().round(4).tolist()  # ¼ ½² log 2
    [0.043299999088048935]
    """
    input, target = _pair(input, target)
    _check_gamma(gamma)
    if not isinstance(alpha, (int, float)) or not (alpha == -1 or 0 <= alpha <= 1):
        raise DTypeError(f"alpha is a weight from 0 to 1, or −1 for none, not {alpha!r}")
    wrong = target * sigmoid(-input) + (1 - target) * sigmoid(input)
    losses = (1 - target) * softplus(input) + target * softplus(-input)
    if gamma:
        losses = losses * wrong**gamma
    if alpha >= 0:
        losses = losses * (alpha * target + (1 - alpha) * (1 - target))
    return _reduced(losses, reduction)


@located
def dice_loss(input: Any, target: Any, *, eps: float = 1e-6, reduction: str = "mean") -> Tensor:
    """1 − (2 Σ p y + ε) / (Σ p + Σ y + ε), for each channel of each example: how little what is
    predicted and what is there overlap (Milletari, Navab, Ahmadi 2016, arXiv:1606.04797).

    Args:
        input: probabilities (batch, channels, …), as sigmoid or softmax gives them.
        target: 0 to 1, in the input's shape.
        eps: keeps an empty channel, of which nothing is predicted, at 0.

    >>> import chainrule as cr
    >>> x = cr.asarray([[[1.0, 1.0, 0.0, 0.0]]])
    >>> y = cr.asarray([[[0.0, 1.0, 1.0, 0.0]]])
    >>> round(dice_loss(x, y).item(), 4)
    0.5
    """
    input, target = _pair(input, target)
    if input.ndim < 3:
        raise ShapeError(f"probabilities are (batch, channels, place, …), not {input.shape}")
    space = tuple(range(2, input.ndim))
    both = sum(input * target, space)
    either = sum(input, space) + sum(target, space)
    return _reduced(1 - (2 * both + eps) / (either + eps), reduction)
