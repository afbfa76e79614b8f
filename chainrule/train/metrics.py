"""How good predictions are: measures, their intervals, and the baselines beside them.

Shapes that differ raise `ShapeError`; no rows, and values out of range, raise `DataError`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError


@dataclass(frozen=True)
class Score:
    """A measure on `n` rows that nothing was learnt from.

    Attributes:
        value: what was measured, with `low` and `high`, the ends of its 95 % interval.
        baseline: what the measure is without a network, had as `baseline_name` says.

    >>> print(Score("accuracy", 0.98611, 0.968, 0.994, 360, 0.10278, "always saying '3'"))
    accuracy 0.9861 (95 % interval 0.968 to 0.994, 360 rows); always saying '3' scores 0.1028
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    baseline: float
    baseline_name: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.name} {self.value:.4f} (95 % interval {self.low:.4g} to {self.high:.4g}, "
            f"{self.n} rows); {self.baseline_name} scores {self.baseline:.4g}"
        )


def accuracy(y: Any, predicted: Any) -> float:
    """Σ [yᵢ = ŷᵢ] / n: the share of rows whose label is right. Labels of any kind, (rows,).

    >>> accuracy(["a", "b", "b", "a"], ["a", "b", "a", "a"])
    0.75
    """
    y, predicted = _paired(y, predicted)
    return float(np.mean(y == predicted))


def log_loss(y: Any, probabilities: Any) -> float:
    """−Σ log p(yᵢ) / n: 0 is perfect, log(classes) is knowing nothing (Good 1952).

    Args:
        y: class codes, (rows,).
        probabilities: (rows, classes). One below 2⁻⁵² counts as that, so that one sure error does
            not make the loss infinite.

    >>> round(log_loss([0, 1], [[0.5, 0.5], [0.5, 0.5]]), 6)
    0.693147
    """
    y, p = np.asarray(y), np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.shape[1]:
        raise ShapeError(f"probabilities {p.shape} are not (rows, classes)")
    _paired(y, p[:, 0])
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(f"codes are whole numbers from 0 to {p.shape[1] - 1}, not {np.unique(y)}")
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).eps)).mean())


def r2(y: Any, predicted: Any) -> float:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)² (Wright 1921): 1 is perfect, 0 as good as the mean of these rows.

    Where y is constant it is 1 if every prediction is right and 0 if not, as in scikit-learn.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    y, predicted = _paired(y, predicted, np.float64)
    residual, total = np.sum((y - predicted) ** 2), np.sum((y - y.mean()) ** 2)
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return float(1 - residual / total)


def mean_absolute_error(y: Any, predicted: Any) -> float:
    """Σ |y − ŷ| / n, in the target's unit.

    >>> mean_absolute_error([1.0, 2.0], [1.0, 4.0])
    1.0
    """
    y, predicted = _paired(y, predicted, np.float64)
    return float(np.mean(np.abs(y - predicted)))


def root_mean_squared_error(y: Any, predicted: Any) -> float:
    """√(Σ (y − ŷ)² / n), in the target's unit.

    >>> root_mean_squared_error([0.0, 0.0], [1.0, 7.0])
    5.0
    """
    y, predicted = _paired(y, predicted, np.float64)
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def _paired(y: Any, predicted: Any, dtype: Any = None) -> tuple[np.ndarray, np.ndarray]:
    y, predicted = np.asarray(y, dtype), np.asarray(predicted, dtype)
    if y.shape != predicted.shape:  # broadcast, every row would be compared with every other
        raise ShapeError(f"{y.shape} true values, but {predicted.shape} predictions")
    if not y.size:
        raise DataError("there are no rows to measure")
    return y, predicted


def majority_baseline(train_codes: Any, test_codes: Any) -> float:
    """The accuracy on the test codes of always saying the training codes' commonest (the first
    of those that tie).

    >>> majority_baseline([0, 1, 1], [1, 0, 1, 1])
    0.75
    """
    train, _ = _paired(train_codes, train_codes)
    return accuracy(test_codes, np.full(np.shape(test_codes), np.bincount(train).argmax()))


def mean_baseline(train_values: Any, test_values: Any) -> tuple[float, float]:
    """(root mean squared error, R²) on the test values of always saying the training mean.

    >>> mean_baseline([0.0, 2.0], [0.0, 2.0])
    (1.0, 0.0)
    """
    train, _ = _paired(train_values, train_values, np.float64)
    said = np.full(np.shape(test_values), train.mean())
    return root_mean_squared_error(test_values, said), r2(test_values, said)
