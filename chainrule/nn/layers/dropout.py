"""Dropout: random zeros, in training only."""

from __future__ import annotations

from typing import Any

from chainrule.errors import DTypeError
from chainrule.nn.layers.layer import Layer
from chainrule.ops.random import dropout
from chainrule.tensor.tensor import Tensor


class Dropout(Layer):
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

    def __init__(self, p: float = 0.5) -> None:
        if not isinstance(p, (int, float)) or not 0 <= p <= 1:
            raise DTypeError(f"p is a probability from 0 to 1, not {p!r}")
        self.p = p

    def forward(self, x: Any) -> Tensor:
        return dropout(x, self.p, training=self.training)
