"""How good predictions are: measures, their intervals, and the baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Score:
    """A measure on rows that nothing was learnt from.

    Attributes:
        name: of the measure.
        value: what was measured.
        low, high: the ends of its 95 % interval.
        n: how many rows.
        baseline: what the measure is without a network.
        baseline_name: how the baseline is had.
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
    """The share of rows whose label is right."""
    return float(np.mean(np.asarray(y) == np.asarray(predicted)))


def log_loss(y: Any, probabilities: Any) -> float:
    """The mean of −log p(label): 0 is perfect, log(classes) is knowing nothing.

    Args:
        y: class codes, (rows,).
        probabilities: (rows, classes).

    A probability below 2⁻⁵² counts as that, so that one sure error does not make it infinite.
    """
    y, p = np.asarray(y), np.asarray(probabilities, np.float64)
    chosen = p[np.arange(len(y)), y]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).eps)).mean())


def r2(y: Any, predicted: Any) -> float:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)²: 1 is perfect, 0 as good as the mean of these rows."""
    y, predicted = np.asarray(y, np.float64), np.asarray(predicted, np.float64)
    residual, total = np.sum((y - predicted) ** 2), np.sum((y - y.mean()) ** 2)
    if total == 0:
        return 1.0 if residual == 0 else 0.0
    return float(1 - residual / total)


def mean_absolute_error(y: Any, predicted: Any) -> float:
    """The mean of |y − ŷ|, in the target's unit."""
    return float(np.mean(np.abs(np.asarray(y, np.float64) - np.asarray(predicted, np.float64))))


def root_mean_squared_error(y: Any, predicted: Any) -> float:
    """√ of the mean of (y − ŷ)², in the target's unit."""
    difference = np.asarray(y, np.float64) - np.asarray(predicted, np.float64)
    return float(np.sqrt(np.mean(difference**2)))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where the true share lies, given `successes` in `n` (Wilson 1927, JASA 22).

    (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n), with z the normal quantile.

    >>> low, high = wilson_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: Any,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Where a statistic of rows lies, from rows drawn again with replacement (Efron 1979): the
    percentiles of its values.

    >>> y = np.arange(100.0)
    >>> low, high = bootstrap_interval(lambda y: float(y.mean()), y)
    >>> low < 49.5 < high
    True
    """
    rng = np.random.default_rng(seed)
    given = [np.asarray(a) for a in arrays]
    n = len(given[0])
    values = []
    for _ in range(resamples):
        rows = rng.integers(n, size=n)
        values.append(statistic(*(a[rows] for a in given)))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def majority_baseline(train: Any, test: Any) -> float:
    """The accuracy on `test` of always saying the commonest class of `train` (codes)."""
    return float(np.mean(np.asarray(test) == np.bincount(np.asarray(train)).argmax()))


def mean_baseline(train: Any, test: Any) -> tuple[float, float]:
    """(root mean squared error, R²) on `test` of always saying the mean of `train`."""
    said = np.full(len(test), np.mean(np.asarray(train, np.float64)))
    return root_mean_squared_error(test, said), r2(test, said)
