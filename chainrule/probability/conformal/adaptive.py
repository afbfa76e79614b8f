"""Adaptive conformal inference: coverage that holds along a stream, whatever the stream does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.probability.conformal.cells import damaged, unfitted
from chainrule.probability.conformal.classes import ConformalClassifier
from chainrule.probability.conformal.law import check_coverage, threshold
from chainrule.probability.conformal.reals import ConformalRegressor
from chainrule.probability.conformal.regions import PredictionIntervals, PredictionSets
from chainrule.tensor.locate import Explained, explained

_KINDS = {kind.__name__: kind for kind in (ConformalClassifier, ConformalRegressor)}


class AdaptiveConformal(Explained):
    """Sets or intervals along a stream whose law may drift (ACI, Gibbs and Candès 2021).

    After each row the level moves by how that row went: α_{t+1} = α_t + γ(α − err_t), err_t = 1
    where row t was not covered. Whatever the stream, even one made by an adversary, after T rows
    |mean err − α| ≤ (max(α₁, 1 − α₁) + γ)/(γT) (Proposition 4.1); of single rows nothing is
    promised. The scores compared with are those of the latest rows, as many as calibration had.

    Args:
        conformal: a `ConformalClassifier` or `ConformalRegressor` that was fitted without groups
            and not by class. It is left as it is.
        coverage: 1 − α.
        gamma: γ > 0, how fast the level moves; the paper's is 0.005.

    Attributes:
        level: α_t. At 0 and below everything is let in, at 1 and above nothing.

    >>> conformal = ConformalRegressor().fit(np.zeros(99), np.linspace(-1, 1, 99))
    >>> stream = AdaptiveConformal(conformal, 0.9, gamma=0.05)
    >>> found = stream.follow(np.zeros(400), 3 * np.sin(np.arange(400.0)))  # three times as wide
    >>> round(found.coverage_of(3 * np.sin(np.arange(400.0))), 2)
    0.9
    """

    def __init__(
        self,
        conformal: ConformalClassifier | ConformalRegressor,
        coverage: float = 0.9,
        *,
        gamma: float = 0.005,
    ) -> None:
        if not isinstance(conformal, tuple(_KINDS.values())):
            raise DTypeError(
                f"conformal is a ConformalClassifier or a ConformalRegressor, not {conformal!r}"
            )
        if not conformal.cells.scores:
            raise unfitted(type(conformal).__name__)
        if list(conformal.cells.scores) != [(None, None)]:
            raise DataError(
                "a stream has one level, and this was calibrated by group or by class. Make one "
                "stream for each group."
            )
        if isinstance(gamma, bool) or not isinstance(gamma, (int, float)):
            raise DTypeError(f"gamma is a number, γ > 0, not {gamma!r}")
        if not 0 < gamma < np.inf:
            raise DataError(f"gamma is {gamma}; the level has to move, γ > 0")
        self.conformal, self.coverage, self.gamma = conformal, check_coverage(coverage), gamma
        self.level = 1 - self.coverage
        self.window = conformal.cells.scores[None, None]

    @explained
    def predict(
        self, prediction: Any, *, generator: Any = None
    ) -> PredictionSets | PredictionIntervals:
        """The sets or intervals of rows at the present level; nothing is learnt from them.

        Args:
            prediction: probabilities (n, K), or what a `ConformalRegressor` takes.
        """
        scored = self.conformal.scored(prediction, generator)
        q = threshold(self.window, 1 - self.level)
        return scored.below(np.full(len(scored), q), self.coverage)

    @explained
    def follow(
        self, prediction: Any, y: Any, *, generator: Any = None
    ) -> PredictionSets | PredictionIntervals:
        """The sets or intervals of rows of a stream, each made before its own truth was looked at,
        which then moved the level.

        Args:
            prediction: as in `predict`, of n rows in the order in which they came.
            y: (n,), what was true of them.
        """
        scored = self.conformal.scored(prediction, generator)
        q = np.array([self._step(score) for score in scored.of(y).tolist()], np.float64)
        return scored.below(q, self.coverage)

    def _step(self, score: float) -> float:
        """The threshold for a row of which the true answer had this score."""
        q = threshold(self.window, 1 - self.level)
        self.level += self.gamma * (1 - self.coverage - (score > q))
        self.window = np.append(self.window[1:], score)
        return q

    def to_dict(self) -> dict[str, Any]:
        """All that is needed to go on, as data that JSON holds exactly."""
        return {
            "kind": type(self.conformal).__name__, "conformal": self.conformal.to_dict(),
            "coverage": self.coverage, "gamma": self.gamma, "level": self.level,
            "window": self.window.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdaptiveConformal:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            conformal = _KINDS[data["kind"]].from_dict(data["conformal"])
            made = cls(conformal, data["coverage"], gamma=data["gamma"])
            made.level, made.window = float(data["level"]), np.array(data["window"], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("AdaptiveConformal", error) from None
        return made
