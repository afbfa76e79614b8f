"""Dropout: random zeros, in training only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from chainrule.errors import DTypeError
from chainrule.nn.layers.layer import Layer
from chainrule.ops.dropping import (
    alpha_dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from chainrule.ops.random import dropout
from chainrule.tensor.tensor import Tensor


class _Dropping(Layer):
    """What drops with probability p, in training, by a function."""

    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, function: Callable[..., Tensor], **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.function = staticmethod(function)

    def __init__(self, p: float = 0.5) -> None:
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise DTypeError(f"p is a probability from 0 to 1, not {p!r}")
        self.p = p

    def forward(self, x: Any) -> Tensor:
        return type(self).function(x, self.p, training=self.training)


class Dropout(_Dropping, function=dropout):
    """Sets each number to 0 with probability p and divides the others by 1 − p, in training.

    The expected value stays, so that in use (`eval()`) nothing is done (Srivastava et al. 2014,
    JMLR 15). What is dropped follows `chainrule.seed`.

    Args:
        p: the probability, 0 to 1.

    Raises:
        DTypeError: p is no probability.

    >>> import chainrule as cr
    >>> Dropout(0.5).eval()(cr.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """


class Dropout1d(_Dropping, function=dropout1d):
    """Sets whole channels of (batch, channels, length) to 0 with probability p, in training."""


class Dropout2d(_Dropping, function=dropout2d):
    """Sets whole channels of (batch, channels, height, width) to 0, in training.

    >>> import chainrule as cr
    >>> y = Dropout2d(0.5)(cr.ones((2, 8, 4, 4)))
    >>> set(y.sum(axis=(2, 3)).flatten().tolist()) <= {0.0, 32.0}
    True
    """


class Dropout3d(_Dropping, function=dropout3d):
    """Sets whole channels of (batch, channels, depth, height, width) to 0, in training."""


class AlphaDropout(_Dropping, function=alpha_dropout):
    """Dropout that keeps mean 0 and variance 1, for networks with SELU; see `alpha_dropout`."""


class FeatureAlphaDropout(_Dropping, function=feature_alpha_dropout):
    """`AlphaDropout` of whole channels, (batch, channels, …)."""
