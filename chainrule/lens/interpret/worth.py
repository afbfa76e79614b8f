"""What a probability that a network gives is worth: how often such answers were right."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from chainrule.probability.intervals import wilson_interval

NEAR, WIDEST = 0.05, 0.1
"""Rows whose probability is within NEAR are "about" the same; where they are few, up to WIDEST."""
FEWEST = 30
"""With fewer rows near by nothing is said about a probability: their interval would be ±0.18."""

Verdict = Literal["over-confident", "under-confident", "as it says", "too few rows"]


@dataclass(frozen=True)
class Worth:
    """How often held-out rows were right that were given about the same probability.

    Attributes:
        given: what the network gave this row's answer.
        rows: how many held-out rows were given about that.
        right: the share of them that was right; None where they are too few.
        low, high: its 95 % interval (Wilson 1927).
        mean: what the network gave them on average.
        verdict: over-confident where the interval lies below the mean, under-confident above it.
    """

    given: float
    rows: int
    right: float | None
    low: float | None
    high: float | None
    mean: float | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Held:
    """Held-out rows, as (confidence, right or wrong), sorted by confidence.

    >>> confidence = np.full(100, 0.85)
    >>> worth = Held(confidence, np.arange(100) < 70).worth(0.85)
    >>> worth.rows, worth.right, worth.verdict
    (100, 0.7, 'over-confident')
    """

    def __init__(self, confidence: np.ndarray, right: np.ndarray) -> None:
        order = np.argsort(confidence, kind="stable")
        self.confidence = confidence[order]
        self.count = np.concatenate([[0], np.cumsum(right[order].astype(np.int64))])
        self.sums = np.concatenate([[0.0], np.cumsum(self.confidence)])

    def worth(self, given: float) -> Worth:
        """Of an answer that was given this probability."""
        start, end = self._near(given, NEAR)
        if end - start < FEWEST:
            distance = np.sort(np.abs(self.confidence - given))
            wide = min(WIDEST, distance[FEWEST - 1] if len(distance) >= FEWEST else WIDEST)
            start, end = self._near(given, wide)
        n = int(end - start)
        if n < FEWEST:
            return Worth(given, n, None, None, None, None, "too few rows")
        right = int(self.count[end] - self.count[start])
        low, high = wilson_interval(right, n)
        mean = float((self.sums[end] - self.sums[start]) / n)
        verdict: Verdict = "as it says"
        if high < mean:
            verdict = "over-confident"
        elif low > mean:
            verdict = "under-confident"
        return Worth(given, n, right / n, low, high, mean, verdict)

    def _near(self, given: float, width: float) -> tuple[int, int]:
        start = np.searchsorted(self.confidence, given - width - 1e-12, "left")
        end = np.searchsorted(self.confidence, given + width + 1e-12, "right")
        return int(start), int(end)
