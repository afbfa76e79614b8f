"""The core of classification: negative log-likelihoods of labels, for logits and probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import BoundsError, DTypeError, ShapeError
from chainrule.ops.arithmetic import maximum
from chainrule.ops.batching import along
from chainrule.ops.declare import composite, elementwise
from chainrule.ops.domain import Interval, sampled
from chainrule.ops.exponential import log, log1p
from chainrule.ops.indexing import take_along_axis
from chainrule.ops.softmax import log_softmax
from chainrule.ops.structure import expand_dims, squeeze
from chainrule.tensor import dtypes
from chainrule.tensor.tensor import Tensor

INTERNAL = ("softmax_cross_entropy", "check_labels", "bernoulli_nll")


def check_labels(logits: Tensor, labels: Tensor) -> None:
    if not dtypes.is_float(logits.dtype):
        raise DTypeError(f"logits are floating-point numbers, and these are {logits.dtype}")
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"labels are whole numbers, and these are {labels.dtype}. Write "
            "labels.astype(cr.int64); a probability for each class has the shape of the logits."
        )
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ShapeError(
            f"there is one label for each row of logits: {logits.shape} asks for labels of shape "
            f"{logits.shape[:-1]}, not {labels.shape}"
        )
    values = labels._value
    if values is not None and values.size:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= logits.shape[-1]:
            wrong = np.flatnonzero((values < 0) | (values >= logits.shape[-1]))
            first = int(wrong[0])
            raise BoundsError(
                f"row {first} has the label {int(values.reshape(-1)[first])}, and the logits have "
                f"{logits.shape[-1]} classes, 0 … {logits.shape[-1] - 1}. Does the last layer have "
                "an output for every class?"
            )


def _kernel(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray]]:
    shifted = logits - np.maximum.reduce(logits, -1, keepdims=True)
    flat = shifted.reshape(-1, shifted.shape[-1])
    chosen = flat[np.arange(len(flat)), labels.reshape(-1)].reshape(labels.shape)
    np.exp(shifted, shifted)
    total = np.add.reduce(shifted, -1, keepdims=True)
    nll = np.log(total[..., 0]) - chosen
    shifted /= total
    return nll, (shifted,)


def _pullback(
    wanted: Any, g: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, y: Any, residual: Any
) -> tuple[np.ndarray, None]:
    (p,) = residual
    scaled = np.multiply(p, g[..., None], order="C")  # (p − onehot) g
    flat = scaled.reshape(-1, p.shape[-1])  # a view, which is written to
    flat[np.arange(len(flat)), labels.reshape(-1)] -= g.reshape(-1)
    return scaled, None


@composite(
    formula="y[…] = log(Σ_j exp(logits[…, j])) − logits[…, labels[…]]",
    kernel=_kernel,
    pullback=_pullback,
    check=check_labels,
    batch=along(),
    operations=lambda y, logits, labels: 13 * math.prod(logits.shape),
    samples=lambda: [
        ((np.sin(np.arange(12.0) * 1.7).reshape(3, 4) * 3, np.array([0, 3, 1])), {}),
        ((np.array([1e4, -1e4, 0.0]), np.array(1)), {}),
        ((np.moveaxis(sampled(2, 4, 3), 1, -1), np.array([[0, 3, 1], [2, 2, 0]])), {}),  # strided
        ((np.zeros((0, 3)), np.zeros(0, np.int64)), {}),
    ],
)
def softmax_cross_entropy(logits: Tensor, labels: Tensor, /) -> Tensor:
    """−log softmax(logits)[label] for each row: the negative log-likelihood of the labels.

    With p = softmax(logits), the derivative is p − onehot(label) (Bishop, Pattern Recognition and
    Machine Learning, 2006, eq. 4.109).
    """
    picked = take_along_axis(log_softmax(logits), expand_dims(labels, -1), axis=-1)
    return -squeeze(picked, -1)


def _at_least(logarithm: np.ndarray) -> np.ndarray:
    return np.maximum(logarithm, logarithm.dtype.type(-100))


def _bernoulli_nll(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    one = np.ones((), p.dtype)
    return (t - one) * _at_least(np.log1p(-p)) - t * _at_least(np.log(p))


bernoulli_nll = elementwise(
    "bernoulli_nll", _bernoulli_nll,
    formula="−t · max(log(p), −100) − (1 − t) · max(log(1 − p), −100)",
    derivative=(
        lambda p, t, y: (p - t) / maximum(p * (1 - p), 1e-12),
        lambda p, t, y: maximum(log1p(-p), -100.0) - maximum(log(p), -100.0),
    ),
    domain=(Interval(0.02, 0.98), Interval(0.0, 1.0)), flops=30,
    doc="""−t log p − (1 − t) log(1 − p), the negative log-likelihood of t under Bernoulli(p).

    Logarithms are kept above −100 and the derivative's divisor above 1e-12, as in PyTorch, so that
    a probability that was rounded to 0 or 1 can still be learnt away from.""",
)  # fmt: skip
