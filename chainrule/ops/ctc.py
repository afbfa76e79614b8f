"""Connectionist temporal classification: the likelihood of a labelling of unknown alignment."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DTypeError, ShapeError
from chainrule.ops.arithmetic import maximum
from chainrule.ops.batching import one_by_one
from chainrule.ops.choosing import where
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.ops.exponential import logaddexp
from chainrule.ops.indexing import take_along_axis
from chainrule.ops.joining import concat
from chainrule.ops.scan import scan
from chainrule.ops.structure import broadcast_to, reshape, squeeze
from chainrule.tensor import dtypes
from chainrule.tensor.creation import full
from chainrule.tensor.tensor import Tensor

INTERNAL = ("ctc_negative_log_likelihood",)

_NEVER = -1e30
"""The logarithm of 0: finite, so that nothing meets ∞ − ∞, and beyond what any sum comes to."""


def _check(log_probs: Tensor, labels: Tensor, steps: Tensor, counts: Tensor, *, blank: int) -> None:
    if log_probs.ndim != 3 or not dtypes.is_float(log_probs.dtype):
        raise ShapeError(
            f"log-probabilities are floating-point numbers (steps, batch, classes), not "
            f"{log_probs.shape} {log_probs.dtype}"
        )
    length, batch, classes = log_probs.shape
    if labels.ndim != 2 or labels.shape[0] != batch:
        raise ShapeError(f"labels are (batch, length) = ({batch}, …), not {labels.shape}")
    if isinstance(blank, bool) or not isinstance(blank, int) or not 0 <= blank < classes:
        raise BoundsError(f"blank is one of the {classes} classes, 0 … {classes - 1}, not {blank}")
    for name, given, high in (("input", steps, length), ("target", counts, labels.shape[1])):
        if given.shape != (batch,) or given.dtype.kind not in "iu":
            raise ShapeError(
                f"{name}_lengths are {batch} whole numbers, one for each of the batch, not "
                f"{given.shape} {given.dtype}"
            )
        values = given._value
        if values is not None and ((values < 0) | (values > high)).any():
            i = int(np.flatnonzero((values < 0) | (values > high))[0])
            raise ShapeError(
                f"{name}_lengths[{i}] is {values[i]}, and the {name} has {high} steps at most"
            )
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"labels are whole numbers, not {labels.dtype}")
    if labels._value is not None and counts._value is not None:
        read = np.arange(labels.shape[1]) < counts._value[:, None]
        wrong = read & ((labels._value < 0) | (labels._value >= classes) | (labels._value == blank))
        if wrong.any():
            i, j = (int(k[0]) for k in np.nonzero(wrong))
            raise BoundsError(
                f"target {j} of example {i} is {labels._value[i, j]}; targets are classes "
                f"0 … {classes - 1} other than the blank, {blank}"
            )


def _states(labels: np.ndarray, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """(each label with a blank before and behind, where a state may be entered from two before)."""
    batch, count = labels.shape
    states = np.full((batch, 2 * count + 1), blank, labels.dtype)
    states[:, 1::2] = labels
    skips = np.zeros(states.shape, bool)
    skips[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    return states, skips


def _sum3(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    peak = np.maximum(np.maximum(a, b), c)
    return peak + np.log(np.exp(a - peak) + np.exp(b - peak) + np.exp(c - peak))


def _kernel(
    log_probs: np.ndarray, labels: np.ndarray, steps: np.ndarray, counts: np.ndarray, *, blank: int
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Forward and backward through the states: Graves et al. 2006, eq. 6 to 11.

    It leaves how likely each state is at each step, given the labelling: (steps, batch, states).
    """
    dtype = log_probs.dtype
    wide = np.maximum(log_probs.astype(np.float32 if dtype.itemsize == 2 else dtype), _NEVER)
    never = wide.dtype.type(_NEVER)
    labels = np.where(np.arange(labels.shape[1]) < counts[:, None], labels, blank)
    states, skips = _states(labels, blank)
    batch, width = states.shape
    emitted = np.take_along_axis(wide, states[None], axis=-1)
    length = len(wide)
    forward = np.empty((length + 1, batch, width), wide.dtype)
    forward[0], forward[0, :, 0] = never, 0
    for t in range(length):
        a = forward[t]
        one, two = np.full_like(a, never), np.full_like(a, never)
        one[:, 1:], two[:, 2:] = a[:, :-1], a[:, :-2]
        new = _sum3(a, one, np.where(skips, two, never)) + emitted[t]
        forward[t + 1] = np.where((t < steps)[:, None], new, a)
    rows = np.arange(batch)
    last, before = forward[-1, rows, 2 * counts], forward[-1, rows, np.maximum(2 * counts - 1, 0)]
    total = np.logaddexp(last, np.where(counts > 0, before, never))
    backward = np.full((batch, width), never, wide.dtype)
    backward[rows, 2 * counts] = 0
    backward[rows, np.maximum(2 * counts - 1, 0)] = 0
    chance = np.zeros((length, batch, width), wide.dtype)
    for t in range(length - 1, -1, -1):
        within = (t < steps)[:, None]
        chance[t] = np.where(within, np.exp(forward[t + 1] + backward - total[:, None]), 0)
        b = backward + emitted[t]
        one, two = np.full_like(b, never), np.full_like(b, never)
        one[:, :-1], two[:, :-2] = b[:, 1:], np.where(skips, b, never)[:, 2:]
        backward = np.where(within, _sum3(b, one, two), backward)
    impossible = total < never / 2
    chance[:, impossible] = 0
    return np.where(impossible, np.inf, -total).astype(dtype), (chance, states)


def _pullback(
    wanted: Any, g: np.ndarray, log_probs: np.ndarray, *rest: Any, y: Any, residual: Any, blank: int
) -> tuple[np.ndarray | None, ...]:
    """∂(−log p)/∂log_probs[t, n, c] = −p(class c at step t | the labelling)."""
    chance, states = residual
    found = np.zeros(log_probs.shape, chance.dtype)
    rows = np.arange(states.shape[0])
    share = chance * -g[:, None]
    for s in range(states.shape[1]):
        found[:, rows, states[:, s]] += share[:, :, s]
    return found.astype(log_probs.dtype), None, None, None


def _samples() -> list:
    x = sampled(5, 3, 4)
    x = x - np.log(np.exp(x).sum(-1, keepdims=True))
    labels = np.array([[1, 2, 2], [3, 1, 0], [2, 0, 0]])
    return [
        ((x, labels, np.array([5, 4, 5]), np.array([3, 2, 1])), {}),
        ((x, labels[:, :1] - 1, np.array([1, 2, 5]), np.array([1, 1, 1])), {"blank": 3}),
        ((x, labels, np.array([0, 4, 2]), np.array([0, 0, 0])), {}),
        ((np.zeros((2, 0, 3)), np.zeros((0, 1), int), np.zeros(0, int), np.zeros(0, int)), {}),
    ]


@composite(
    formula="y = −log p(labels), p summed over every alignment of labels and blanks",
    display_only=True,
    kernel=_kernel,
    pullback=_pullback,
    check=_check,
    batch=one_by_one,
    operations=lambda y, log_probs, labels, *rest, **attrs: (
        40 * math.prod(log_probs.shape[:2]) * (2 * labels.shape[1] + 1)
    ),
    samples=_samples,
    source="Graves, Fernández, Gomez, Schmidhuber 2006, ICML, eq. 6 to 8",
)
def ctc_negative_log_likelihood(
    log_probs: Tensor, labels: Tensor, steps: Tensor, counts: Tensor, /, *, blank: int = 0
) -> Tensor:
    """−log of the probability of the labels, over all ways to stretch them over the steps.

    A path through the steps emits a class or the blank at each; repeated classes count once, and
    blanks not at all. Forward in time, α holds the logarithm of what all paths into a state come
    to: α'(s) = log(e^α(s) + e^α(s−1) + e^α(s−2)) + log_probs, the last term only between labels
    that differ. Labels that do not fit into the steps give ∞, and a derivative of 0.

    Args:
        log_probs: (steps, batch, classes).
        labels: (batch, most labels), padded with anything.
        steps, counts: (batch,), how many steps and labels there are.
    """
    length, batch, _ = log_probs.shape
    wide = dtypes.float32 if log_probs.dtype.itemsize == 2 else log_probs.dtype
    number = log_probs.dtype
    log_probs = maximum(log_probs.astype(wide), _NEVER)
    count = labels.shape[1]
    width = 2 * count + 1
    even = full((batch, count, 1), blank, dtype=labels.dtype)
    pairs = concat([even, reshape(labels, (batch, count, 1))], axis=-1)
    states = concat(
        [reshape(pairs, (batch, 2 * count)), full((batch, 1), blank, dtype=labels.dtype)], axis=-1
    )
    there = Tensor(np.arange(width)) < 2 * reshape(counts, (batch, 1)) + 1
    states = where(there, states, blank)  # padding may hold anything
    two_before = concat([states[:, :2], states[:, :-2]], axis=-1) if width > 2 else states
    skips = (states != blank) & (states != two_before)
    chosen = broadcast_to(reshape(states, (1, batch, width)), (length, batch, width))
    emitted = take_along_axis(log_probs, chosen, axis=-1)
    within = Tensor(np.arange(length).reshape(length, 1, 1)) < reshape(steps, (1, batch, 1))
    never = full((batch, 2), _NEVER, dtype=wide)

    def step(a: Tensor, given: Any) -> Any:
        emission, moves = given
        if width == 1:
            return where(moves, a + emission, a), None
        moved = concat([never, a], axis=-1)
        two = where(skips, moved[:, :width], _NEVER)
        new = logaddexp(logaddexp(a, moved[:, 1 : width + 1]), two) + emission
        return where(moves, new, a), None

    start = where(Tensor(np.arange(width) == 0), full((batch, width), 0.0, dtype=wide), _NEVER)
    ends, _ = scan(step, start, (emitted, within))
    last = reshape(2 * counts, (batch, 1))
    final = squeeze(take_along_axis(ends, last, axis=-1), -1)
    earlier = squeeze(take_along_axis(ends, where(last > 0, last - 1, 0), axis=-1), -1)
    total = logaddexp(final, where(counts > 0, earlier, _NEVER))
    return where(total < _NEVER / 2, math.inf, -total).astype(number)
