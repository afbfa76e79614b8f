"""How good outputs are, measured the same for every arm of a trial, whatever its loss is."""

from __future__ import annotations

import numpy as np

from chainrule.lens.diagnose.setup import labels_of

LEAST = 0.01
"""No probability counts as smaller: a single row that is surely wrong costs −ln 0.01 = 4.6."""
WORST = 2.0
"""Of classes; also what outputs count that are not finite or not comparable."""


def error_of(outputs: np.ndarray, y: np.ndarray, task: str, reading: str = "logits") -> float:
    """The error, divided by that of the best constant: 0 is perfect, 1 no better than a constant.

    Real targets: the mean square error ÷ the variance about each column's mean (1 − R²).

    Classes: the mean of two such ratios. The share of wrong rows ÷ the share that is not of the
    commonest class tells little apart when few rows are held out; the log loss −mean ln p(label) ÷
    the entropy of the classes' shares tells everything apart, and a few rows can rule it. So p is
    not counted as smaller than 0.01, and the whole not as more than 2. Yes or no for each of
    several columns counts as so many rows.

    Args:
        outputs: (rows, …) as the model gives them.
        y: labels, one-hot rows, a column of 0 and 1, or numbers.
        task: "classes", "binary" or "real" (`Setup.task`).
        reading: what outputs for classes are: "logits", of a softmax over several and a sigmoid of
            one, or "probabilities"; of outputs for real targets only "logarithms" matters.

    >>> logits = np.array([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0], [0.0, 9.0]])
    >>> round(error_of(logits, np.array([0, 1, 0, 1]), "classes"), 3)
    0.0
    >>> round(error_of(0 * logits, np.array([0, 1, 0, 1]), "classes"), 3)
    1.0
    """
    return float(
        min(row_errors(outputs, y, task, reading).mean(), WORST if task != "real" else 1e6)
    )


def row_errors(
    outputs: np.ndarray, y: np.ndarray, task: str, reading: str = "logits"
) -> np.ndarray:
    """What each row adds to `error_of`, which is their mean."""
    outputs = np.asarray(outputs, dtype=np.float64)
    y = np.asarray(y)
    if task == "real":
        return _real(meant(outputs, reading), y.astype(np.float64))
    found = _probabilities(outputs, y, reading)
    if found is None:
        return np.full(max(len(y), 1), WORST)
    p, labels = found
    shares = np.bincount(labels) / len(labels)
    wrong = (p.argmax(1) != labels).astype(np.float64)
    surprise = -np.log(np.maximum(p[np.arange(len(labels)), labels], LEAST))
    there = shares[shares > 0]
    base, entropy = 1 - float(shares.max()), -float(there @ np.log(there))
    each = (wrong / base + surprise / entropy) / 2 if base else wrong
    return each.reshape(len(y), -1).mean(1)


def meant(outputs: np.ndarray, reading: str) -> np.ndarray:
    """Outputs for real targets, as what they stand for."""
    if reading != "logarithms":
        return outputs
    with np.errstate(over="ignore"):
        found: np.ndarray = np.exp(outputs)
    return found


def _probabilities(
    outputs: np.ndarray, y: np.ndarray, reading: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """((rows, classes), labels); None where outputs and targets do not belong together."""
    if not np.isfinite(outputs).all() or not len(y) or len(outputs) != len(y):
        return None
    single = outputs.ndim == 1 or outputs.shape[-1] == 1
    if single or (outputs.shape == y.shape and not _one_hot(y)):
        if outputs.size != y.size:
            return None
        flat, labels = outputs.reshape(-1), np.rint(y.reshape(-1)).astype(np.int64)
        if labels.min() < 0:
            return None
        with np.errstate(over="ignore"):
            yes = np.clip(flat, 0, 1) if reading == "probabilities" else 1 / (1 + np.exp(-flat))
        p = np.stack([1 - yes, yes], 1)
        return np.pad(p, ((0, 0), (0, max(0, int(labels.max()) - 1)))), labels
    if outputs.ndim > 2 and outputs.shape[2:] == y.shape[1:]:  # (n, C, places) as losses take them
        outputs = np.moveaxis(outputs, 1, -1)
    scores = outputs.reshape(-1, outputs.shape[-1])
    labels = labels_of(y) if y.ndim <= 2 and len(scores) == len(y) else y.reshape(-1)
    labels = labels.astype(np.int64)
    if len(labels) != len(scores) or labels.min() < 0:
        return None
    scores = np.pad(scores, ((0, 0), (0, max(0, int(labels.max()) + 1 - scores.shape[1]))),
                    constant_values=0.0 if reading == "probabilities" else -np.inf)  # fmt: skip
    if reading == "probabilities":
        positive = np.clip(scores, 0, None)
        total = positive.sum(1, keepdims=True)
        nothing = total == 0
        share = np.where(nothing, 1 / scores.shape[1], positive / np.where(nothing, 1, total))
        return share, labels
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True), labels


def _one_hot(y: np.ndarray) -> bool:
    return y.ndim == 2 and bool(np.all(y.sum(-1) == 1))


def _real(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    if outputs.size != y.size or not y.size or not np.isfinite(outputs).all():
        return np.full(max(len(y), 1), WORST)
    variance = float(np.mean((y - y.mean(0)) ** 2))
    with np.errstate(over="ignore"):
        square = np.minimum((outputs.reshape(y.shape) - y) ** 2, 1e300)
    return square.reshape(len(y), -1).mean(1) / (variance or 1.0)
