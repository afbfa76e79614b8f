"""Intervals for shares and other statistics of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where the true share lies, given `successes` in `n` (Wilson 1927, JASA 22).

    (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n), with p = successes/n and z the normal
    quantile of (1 + confidence)/2.

    >>> low, high = wilson_interval(9, 10)
    >>> round(low, 3), round(high, 3)
    (0.596, 0.982)
    """
    if not 0 <= successes <= n or n == 0:
        raise DataError(f"{successes} successes in {n} trials: from none to all of at least 1")
    z = NormalDist().inv_cdf(_tails(confidence)[1])
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Where none or all succeed an end is exactly 0 or 1; rounding would leave it beside.
    low = (centre - half) / scale if successes else 0.0
    return low, (centre + half) / scale if successes < n else 1.0


def _tails(confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise DataError(f"confidence is {confidence}: a share between 0 and 1, such as 0.95")
    return (1 - confidence) / 2, (1 + confidence) / 2


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: Any,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Where a statistic of rows lies: the percentiles (1 ± confidence)/2 of its values on as many
    rows drawn again with replacement, `resamples` times (Efron 1979, Annals of Statistics 7).

    >>> low, high = bootstrap_interval(np.mean, np.arange(100.0))
    >>> low < 49.5 < high
    True
    """
    given, tails = [np.asarray(a) for a in arrays], _tails(confidence)
    if not given or any(not a.ndim or len(a) != len(given[0]) for a in given):
        raise ShapeError(f"arrays {[a.shape for a in given]} do not have the same rows")
    n = len(given[0])
    if n == 0 or resamples < 1:
        raise DataError(f"{resamples} resamples of {n} rows: at least one of each")
    rng, values = np.random.default_rng(seed), np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(n, size=n)
        values[i] = statistic(*(a[rows] for a in given))
    low, high = np.quantile(values, tails)
    return float(low), float(high)
