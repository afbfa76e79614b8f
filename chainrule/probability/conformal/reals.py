"""Split conformal prediction for reals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.conformal.cells import Cells, damaged, groups_of, unfitted
from chainrule.probability.conformal.law import Guarantee, check_coverage
from chainrule.probability.conformal.regions import PredictionIntervals
from chainrule.probability.conformal.scores import RealScore, reals_of
from chainrule.tensor.locate import Explained, explained


@dataclass(frozen=True)
class ScoredReals:
    """Rows with what was predicted of them, from which every target has its score."""

    score: RealScore
    prediction: np.ndarray

    def __len__(self) -> int:
        return len(self.prediction)

    def of(self, y: Any) -> np.ndarray:
        """(n,): the scores of the true targets."""
        return self.score(self.prediction, reals_of(y, "targets", len(self.prediction)))

    def below(
        self, q: np.ndarray, coverage: float, laws: tuple[Guarantee, ...] = ()
    ) -> PredictionIntervals:
        """The intervals for thresholds (n,)."""
        return PredictionIntervals(*self.score.interval(self.prediction, q), coverage, laws)


class ConformalRegressor(Explained):
    """Intervals that hold the target as often as asked for, whatever the network's worth.

    With n calibration scores the threshold q is the ⌈(n + 1)(1 − α)⌉-th smallest, and a row's
    interval is the targets whose score is at most q. What that promises, exactly, is `Guarantee`.

    Args:
        score: what is predicted of a row, and how intervals adapt to it; see `RealScore`.
            "residual": the mean, and all intervals have one width; "normalised": the mean and a
            standard deviation σ, and widths go with σ; "cqr": a lower and an upper quantile.

    >>> mean, y = np.zeros(19), np.arange(19.0)
    >>> conformal = ConformalRegressor().fit(mean, y)
    >>> found = conformal.predict_interval([10.0], coverage=0.9)
    >>> found.low, found.high, found.guarantee.k
    (array([-7.]), array([27.]), 18)
    """

    def __init__(self, score: str = "residual") -> None:
        self.score = RealScore(score)
        self.cells = Cells({})

    @explained
    def fit(self, prediction: Any, y: Any, groups: Any = None) -> ConformalRegressor:
        """Calibrate on rows that nothing was learnt from; gives the object back.

        Args:
            prediction: (n,) means for "residual"; (n, 2), or a pair of arrays (n,), of mean and σ
                for "normalised", of a lower and an upper quantile for "cqr".
            y: (n,) targets.
            groups: (n,) texts or whole numbers: the coverage then holds within each group.
        """
        scores = self.scored(prediction).of(y)
        if not len(scores):
            raise DataError("there is no row to calibrate with")
        keys = ((group, None) for group in groups_of(groups, len(scores)))
        self.cells = Cells.of(scores, keys)
        return self

    @explained
    def predict_interval(
        self, prediction: Any, coverage: float = 0.9, groups: Any = None
    ) -> PredictionIntervals:
        """The targets that cannot be ruled out at error rate 1 − coverage.

        Args:
            prediction: as in `fit`, of m rows.
            groups: (m,), where `fit` was given them. Of a group that calibration never saw nothing
                is ruled out.
        """
        coverage = check_coverage(coverage)
        if not self.cells.scores:
            raise unfitted("ConformalRegressor")
        scored = self.scored(prediction)
        own = self.cells.groups_for(groups, len(scored))
        limits = {
            group: self.cells.threshold((group, None), coverage) for group in dict.fromkeys(own)
        }
        q = np.array([limits[group] for group in own], np.float64)
        laws = tuple(self.cells.guarantee((group, None), coverage) for group in limits)
        return scored.below(q, coverage, laws)

    def scored(self, prediction: Any, generator: Any = None) -> ScoredReals:
        """Rows with what was predicted of them; nothing is drawn for reals."""
        return ScoredReals(self.score, self.score.prediction(prediction))

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        return {"score": self.score.name, "cells": self.cells.to_list()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConformalRegressor:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            made = cls(data["score"])
            made.cells = Cells.from_list(data["cells"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged("ConformalRegressor", error) from None
        return made


@explained
def conformal_intervals(
    prediction_calibration: Any,
    y_calibration: Any,
    prediction: Any,
    *,
    coverage: float = 0.9,
    score: str = "residual",
    groups_calibration: Any = None,
    groups: Any = None,
) -> PredictionIntervals:
    """`ConformalRegressor` in one call: calibrate on (prediction_calibration, y_calibration), and
    give the intervals for the rows of `prediction`.

    >>> found = conformal_intervals(np.zeros(9), np.arange(9.0), [10.0])
    >>> found.low, found.high
    (array([2.]), array([18.]))
    """
    conformal = ConformalRegressor(score)
    conformal.fit(prediction_calibration, y_calibration, groups_calibration)
    if (groups is None) != (groups_calibration is None):
        raise DataError("groups_calibration and groups are given together, or neither is")
    return conformal.predict_interval(prediction, coverage, groups)
