"""The ratio of two times, as the median over rounds, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ratio:
    """The median over rounds, and an interval that has the true one with 95 % confidence."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Their time over ours, round by round: above 1, ours is faster.

    The interval is the percentile bootstrap of the median (Efron, Tibshirani 1993, An Introduction
    to the Bootstrap, chapter 13).

    >>> print(ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]))
    2.00 [2.00, 2.00]
    """
    rounds = np.divide(theirs, ours)
    draws = np.random.default_rng(0).choice(rounds, (10_000, len(rounds)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return Ratio(float(np.median(rounds)), float(low), float(high))
