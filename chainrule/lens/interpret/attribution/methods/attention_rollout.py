"""Attention rollout: how much of each token comes through the layers of attention."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.lens.interpret.attribution.attribute import Asked, Attribution


def attribution(asked: Asked, position: int | None = None) -> Attribution:
    """The rows of Â_m … Â_2 Â_1, Â_l = ½ (A_l + I), A_l the mean over the heads of layer l (Abnar,
    Zuidema 2020, eq. 1): the residual connection carries half.

    Args:
        position: the token whose state is read, such as 0 for one put in front, −1 for the last of
            a language model; None takes the mean over all, for networks that pool.
    """
    layers = asked.subject.attention(asked.x)
    shape = (len(asked.x), asked.x.shape[1], asked.x.shape[1])
    for weights in layers:
        if (weights.shape[0], *weights.shape[-2:]) != shape or weights.ndim != 4:
            raise ShapeError(
                "rollout follows self-attention over the tokens of a row, weights (rows, heads, L, "
                f"L) of L = {shape[1]} tokens; this network has {weights.shape}"
            )
    rolled = np.broadcast_to(np.eye(shape[1]), shape)
    for weights in layers:
        rolled = (weights.mean(1) @ rolled + rolled) / 2
    if position is not None and not -shape[1] <= position < shape[1]:
        raise DataError(f"position is {position}; there are {shape[1]} tokens")
    amounts = rolled.mean(1) if position is None else rolled[:, position]
    values = np.zeros(asked.x.shape)
    per_token = int(np.prod(asked.x.shape[2:]))
    values += (amounts / per_token).reshape(*shape[:2], *[1] * (asked.x.ndim - 2))
    return Attribution(
        "attention-rollout", values, asked.outputs, asked.background,
        "how much of each token could flow into what is read, if attention and the residual "
        "connection were all that mixes tokens; the shares add up to 1",
        "it is the same for every output and has no sign, so it says nothing for or against an "
        "answer; what the dense layers and the values do with a token is left out",
        complete=False, notes={"layers": len(layers)},
    )  # fmt: skip
