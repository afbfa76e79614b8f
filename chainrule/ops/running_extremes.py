"""Running maxima, minima and log-sums along an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.ops.batching import along
from chainrule.ops.declare import composite, constant_op
from chainrule.ops.domain import sampled
from chainrule.ops.exponential import logaddexp
from chainrule.ops.indexing import take_along_axis
from chainrule.ops.joining import concat
from chainrule.ops.ordering import Ranked
from chainrule.ops.reduction import along_axis, elements
from chainrule.ops.sorting import check_ordered
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor

INTERNAL = ("running_places",)


def _running_places(x: np.ndarray, *, axis: int, word: str) -> np.ndarray:
    extreme: Any = {"max": np.maximum, "min": np.minimum}[word]
    running = extreme.accumulate(x, axis)
    here = (x == running) | (x != x)
    number = np.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    return np.maximum.accumulate(np.where(here, number, 0), axis)


@constant_op(
    formula="y[…, i] = the last k ≤ i with the largest (smallest) x[…, k], k ≤ i",
    display_only=True,
    shape=lambda x, *, axis, word: (x.shape, dtypes.int64),
    forward=_running_places,
    reason="a place jumps, and is flat in between",
    operations=elements,
    lower="scan",
    batch=along("axis"),
    samples=lambda: [
        ((np.array([[1.0, 3.0, 2.0, 3.0], [4.0, -1.0, 5.0, 0.0]]),), {"axis": axis, "word": word})
        for axis, word in ((1, "max"), (0, "min"))
    ],
)
def running_places(x: Any, /, *, axis: int, word: str) -> Any:
    """Where the largest or smallest number up to each place stands."""
    x = as_operand(x)
    check_ordered(x)
    return (x,), {"axis": normalise_axis(axis, x.ndim), "word": word}


@located
def cummax(x: Any, /, *, axis: int = -1) -> Ranked:
    """(values, indices) of the largest number up to each place along an axis.

    Of equal numbers the last counts, and NaN counts as the largest, as in PyTorch.

    >>> import chainrule as cr
    >>> cr.cummax(cr.asarray([1.0, 3.0, 2.0])).values
    tensor([1., 3., 3.])
    """
    places = running_places(x, axis=axis, word="max")
    return Ranked(take_along_axis(x, places, axis=axis), places)


@located
def cummin(x: Any, /, *, axis: int = -1) -> Ranked:
    """(values, indices) of the smallest number up to each place along an axis; as `cummax`."""
    places = running_places(x, axis=axis, word="min")
    return Ranked(take_along_axis(x, places, axis=axis), places)


@composite(
    formula="y[…, i] = log(Σ_{k ≤ i} exp(x[…, k]))",
    operations=lambda y, x, axis: math.prod(x.shape) * max(1, x.shape[axis].bit_length()),
    formula_view=along_axis,
    samples=lambda: [
        ((sampled(2, 5),), {}),
        ((sampled(3, 2),), {"axis": 0}),
        ((sampled(2, 0),), {}),
        ((sampled(1, 4)[:, ::-1],), {}),
    ],
    source="Hillis and Steele 1986, Data parallel algorithms, CACM 29: sums over 1, 2, 4 … places",
)
def logcumsumexp(x: Tensor, /, *, axis: int = -1) -> Tensor:
    """log(eˣ¹ + … + eˣⁱ) up to each place along an axis, without overflow.

    >>> import chainrule as cr
    >>> cr.logcumsumexp(cr.zeros(3)).exp()
    tensor([1., 2., 3.])
    """
    axis = normalise_axis(axis, x.ndim)
    if not dtypes.is_float(x.dtype):
        x = x.astype(dtypes.default_float)
    front, n, reach = (slice(None),) * axis, x.shape[axis], 1
    while reach < n:
        added = logaddexp(x[(*front, slice(reach, n))], x[(*front, slice(0, n - reach))])
        x = concat([x[(*front, slice(0, reach))], added], axis=axis)
        reach *= 2
    return x
