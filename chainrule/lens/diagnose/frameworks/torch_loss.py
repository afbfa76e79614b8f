"""What a recorded PyTorch loss is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from chainrule.lens.diagnose.passes import LossFacts, Op, Pass
from chainrule.lens.diagnose.recognising import SHAPING, recognised

LOSSES = {
    "cross_entropy": "cross_entropy",
    "nll_loss": "nll",
    "nll_loss2d": "nll",
    "binary_cross_entropy": "bce",
    "binary_cross_entropy_with_logits": "bce_with_logits",
    "mse_loss": "mse",
    "l1_loss": "mae",
    "smooth_l1_loss": "huber",
    "huber_loss": "huber",
}
"""What PyTorch calls a loss → `LossFacts.kind`."""
_PLAIN = {"label_smoothing": 0.0, "ignore_index": -100, "weight": None, "pos_weight": None}
"""Options that a loss has unless it is asked for others."""


def loss_facts(found: Pass, name: str = "") -> LossFacts:
    """What the operations after the model's output are.

    Args:
        name: how the user calls the loss, where that is known.
    """
    start = -1 if found.output is None else found.output
    after = range(start + 1, len(found.ops))
    for i in after:
        op = found.ops[i]
        if op.name in LOSSES:
            reduction = str(op.attrs.get("reduction", "mean"))
            if reduction == "none":
                last = found.ops[-1].name
                reduction = last if last in ("mean", "sum") else "unknown"
            return LossFacts(
                LOSSES[op.name],
                reduction,
                name or f"F.{op.name}",
                _settled(found, op.inputs[0]),
                after[0],
                np.asarray(op.operands[1]) if len(op.operands) > 1 else found.y,
                _options(op),
                _sign(found, i),
            )
    return replace(recognised(found.ops, found.output, len(found.x)), name=name)


def _settled(found: Pass, at: int | None) -> int | None:
    """The operation before reshapes that stand between the model's output and the loss."""
    while at is not None and at != found.output and found.ops[at].name in SHAPING:
        at = found.ops[at].inputs[0]
    return at


def _options(op: Op) -> dict[str, Any]:
    return {
        key: op.attrs[key]
        for key, plain in _PLAIN.items()
        if key in op.attrs and op.attrs[key] is not plain and op.attrs[key] != plain
    }


def _sign(found: Pass, at: int) -> float:
    """−1 where what is minimised falls while the loss at this position grows."""
    sign = 1.0
    while found.readers[at]:
        at = found.readers[at][-1]
        op = found.ops[at]
        if op.name == "negative":
            sign = -sign
        elif op.name in ("multiply", "divide"):
            numbers = [v for v, i in zip(op.operands, op.inputs, strict=True) if i is None]
            sign *= (
                -1.0 if any(np.ndim(v) == 0 and v is not None and v < 0 for v in numbers) else 1.0
            )
    return sign
