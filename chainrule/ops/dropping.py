"""Dropout of whole channels, and the dropout that keeps the moments of SELU networks."""

from __future__ import annotations

import math
from typing import Any

from chainrule.errors import DTypeError, ShapeError
from chainrule.ops.choosing import where
from chainrule.ops.random import bernoulli, drop
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor

_SELU_LIMIT = 1.7580993408473766  # λ α: what SELU tends to at −∞, with the sign changed


def _checked(p: Any) -> float:
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
        raise DTypeError(f"p is a probability from 0 to 1, not {p!r}")
    return float(p)


def _channels(x: Tensor) -> tuple[int, ...]:
    return (*x.shape[:2], *(1,) * (x.ndim - 2))


def _dropped(x: Any, p: Any, training: bool, generator: Any, rank: int) -> Tensor:
    x, p = as_operand(x), _checked(p)
    axes = {1: "length", 2: "height, width", 3: "depth, height, width"}[rank]
    if x.ndim != rank + 2:
        raise ShapeError(
            f"the input is (batch, channels, {axes}), not {x.shape}; one alone is x[None]"
        )
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    return drop(x, bernoulli(1 - p, _channels(x), generator=generator), p=p)


@located
def dropout1d(x: Any, p: float = 0.5, *, training: bool = True, generator: Any = None) -> Tensor:
    """x, (batch, channels, length), with each channel set to 0 with probability p, and the others
    divided by 1 − p (Tompson et al. 2015, arXiv:1411.4280): neighbours tell of one another, so
    that dropping single elements would take away little.

    >>> import chainrule as cr
    >>> cr.dropout1d(cr.ones((1, 1, 2)), 1.0)
    tensor([[[0., 0.]]])
    """
    return _dropped(x, p, training, generator, 1)


@located
def dropout2d(x: Any, p: float = 0.5, *, training: bool = True, generator: Any = None) -> Tensor:
    """x, (batch, channels, height, width), with whole channels dropped, as `dropout1d`."""
    return _dropped(x, p, training, generator, 2)


@located
def dropout3d(x: Any, p: float = 0.5, *, training: bool = True, generator: Any = None) -> Tensor:
    """x, (batch, channels, depth, height, width), with whole channels dropped, as `dropout1d`."""
    return _dropped(x, p, training, generator, 3)


def _alpha(x: Any, p: Any, training: bool, generator: Any, channels: bool) -> Tensor:
    x, p = as_operand(x), _checked(p)
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    if channels and x.ndim < 2:
        raise ShapeError(f"the input is (batch, channels, …), not {x.shape}")
    keep = bernoulli(1 - p, _channels(x) if channels else x.shape, generator=generator)
    scale = 1 / math.sqrt((1 - p) * (1 + p * _SELU_LIMIT**2))
    return where(keep, x, -_SELU_LIMIT) * scale + p * _SELU_LIMIT * scale


@located
def alpha_dropout(
    x: Any, p: float = 0.5, *, training: bool = True, generator: Any = None
) -> Tensor:
    """x with each element set to −λα with probability p, and all scaled and moved so that a mean
    of 0 and a variance of 1 stay so (Klambauer et al. 2017, Self-normalizing neural networks,
    arXiv:1706.02515). −λα ≈ −1.758 is what SELU tends to.

    >>> import chainrule as cr
    >>> cr.alpha_dropout(cr.ones(3), training=False)
    tensor([1., 1., 1.])
    """
    return _alpha(x, p, training, generator, channels=False)


@located
def feature_alpha_dropout(
    x: Any, p: float = 0.5, *, training: bool = True, generator: Any = None
) -> Tensor:
    """`alpha_dropout` of whole channels of x, (batch, channels, …)."""
    return _alpha(x, p, training, generator, channels=True)
