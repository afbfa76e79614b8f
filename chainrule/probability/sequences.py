"""The loss of a labelling whose alignment with the sequence is not known."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import CompileError, DTypeError, ShapeError
from chainrule.ops.arithmetic import isinf, maximum
from chainrule.ops.choosing import where
from chainrule.ops.ctc import ctc_negative_log_likelihood
from chainrule.ops.reduction import mean
from chainrule.ops.structure import expand_dims
from chainrule.probability.losses import _reduced, floating
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


@located
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """−log p(targets), over all alignments of the labels with the steps: connectionist temporal
    classification (Graves et al. 2006, ICML).

    Args:
        log_probs: (T, N, C) logarithms of probabilities, as `log_softmax` gives them; or (T, C).
        targets: (N, S) classes, padded with anything; or those of all examples in one row,
            (Σ target_lengths,). Without a batch (S,).
        input_lengths: (N,), how many of the T steps each example has.
        target_lengths: (N,), how many targets.
        blank: the class that stands for no label.
        reduction: "mean" divides each loss by its target's length first, as in PyTorch.
        zero_infinity: count as 0 what is impossible: more targets than steps. Otherwise it is ∞,
            and its derivative 0 (in PyTorch NaN).

    The derivative is that of this function, −p(class at step | targets). PyTorch returns that of
    what log_softmax takes instead; through log_softmax both are equal.

    Raises:
        ShapeError: lengths that do not fit the shapes.
        BoundsError: a target is the blank or no class.

    >>> import chainrule as cr
    >>> even = cr.log_softmax(cr.zeros((2, 1, 2)))
    >>> loss = ctc_loss(even, [[1]], [2], [1])  # paths "1 1", "- 1" and "1 -" of four: log 4/3
    >>> round(loss.item(), 4)
    0.2877
    """
    log_probs = floating(log_probs)
    labels, steps, counts = (as_operand(v) for v in (targets, input_lengths, target_lengths))
    alone = log_probs.ndim == 2
    if alone:
        log_probs = expand_dims(log_probs, 1)
        steps, counts = steps.reshape(-1), counts.reshape(-1)
        labels = expand_dims(labels, 0) if labels.ndim == 1 else labels
    if labels.ndim == 1:
        labels = _in_rows(labels, counts)
    losses = ctc_negative_log_likelihood(log_probs, labels, steps, counts, blank=blank)
    if zero_infinity:
        losses = where(isinf(losses), 0.0, losses)
    if reduction == "mean":
        return mean(losses / maximum(counts, 1).astype(losses.dtype))
    return losses[0] if alone and reduction == "none" else _reduced(losses, reduction)


def _in_rows(labels: Tensor, counts: Tensor) -> Tensor:
    """(N, most labels) from the labels of all examples behind one another."""
    if counts.dtype.kind not in "iu":
        raise DTypeError(f"target_lengths are whole numbers, not {counts.dtype}")
    if state.tracer is not None or counts._value is None or labels._value is None:
        raise CompileError(
            "targets in one row are cut by their lengths, which are not known while a function is "
            "traced. Pad them: (batch, most targets)."
        )
    lengths, values = counts.numpy(), labels.numpy()
    if (lengths < 0).any() or lengths.sum() != len(values):
        raise ShapeError(
            f"target_lengths add up to {lengths.sum()}, and there are {len(values)} targets in the "
            "row"
        )
    there = np.arange(lengths.max(initial=0)) < lengths.reshape(-1, 1)
    rows = np.zeros(there.shape, values.dtype)
    rows[there] = values
    return Tensor(rows)
