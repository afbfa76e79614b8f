"""Cross-conformal prediction: every row serves to learn from and to calibrate with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.probability.calibration.given import classified, probabilities_of
from chainrule.probability.conformal.cells import damaged, unfitted
from chainrule.probability.conformal.law import CrossGuarantee, check_coverage, rank
from chainrule.probability.conformal.regions import PredictionIntervals, PredictionSets
from chainrule.probability.conformal.scores import ClassScore, RealScore, reals_of
from chainrule.tensor.locate import Explained, explained

BLOCK = 1 << 22
"""How many ends of intervals are looked at together."""


class _Cross(Explained):
    """Scores of rows, each by the model that did not learn from it, by fold."""

    def __init__(self) -> None:
        self.scores: tuple[np.ndarray, ...] = ()

    def _keep(self, scores: np.ndarray, folds: Any) -> None:
        found = reals_of(folds, "folds", len(scores))
        names, index = np.unique(found, return_inverse=True)
        if len(names) < 2 or (names != np.arange(len(names))).any():
            raise DataError(
                "folds are numbered from 0, at least two of them, and each has a row; these are "
                f"{', '.join(f'{name:g}' for name in names[:8])}"
            )
        self.scores = tuple(np.sort(scores[index == fold]) for fold in range(len(names)))

    def _law(self, coverage: float) -> CrossGuarantee:
        if not self.scores:
            raise unfitted(type(self).__name__)
        return CrossGuarantee(sum(map(len, self.scores)), len(self.scores), coverage)

    def _by_fold(self, predictions: Any) -> list[Any]:
        """What each fold's model predicts of the rows."""
        try:
            found = list(predictions)
        except TypeError:
            found = []
        if len(found) != len(self.scores):
            raise ShapeError(
                f"there are predictions of {len(found)} models, and {len(self.scores)} folds: the "
                "model of each fold, which learnt from the rows of all others, predicts all rows"
            )
        return found


class CrossConformalRegressor(_Cross):
    """CV+ intervals, and jackknife+ where each row is a fold of its own (Barber et al. 2021).

    [q⁻_i {μ₋ᵢ(x) − R_i}, q⁺_i {μ₋ᵢ(x) + R_i}]: for each row i, what the model which did not learn
    from it predicts of x, moved by that model's error on row i; q⁺ is the ⌈(n + 1)(1 − α)⌉-th
    smallest and q⁻ the same from above. See `CrossGuarantee`.

    Args:
        score: as of `ConformalRegressor`; the paper's is "residual".

    >>> y = np.array([0.0, 1.0, 2.0, 3.0])
    >>> cross = CrossConformalRegressor().fit([0.5, 0.5, 2.5, 2.5], y, folds=[0, 0, 1, 1])
    >>> found = cross.predict_interval([[1.0], [2.0]], coverage=0.7)
    >>> found.low, found.high
    (array([0.5]), array([2.5]))
    """

    def __init__(self, score: str = "residual") -> None:
        super().__init__()
        self.score = RealScore(score)

    @explained
    def fit(self, prediction: Any, y: Any, folds: Any) -> CrossConformalRegressor:
        """Calibrate; gives the object back.

        Args:
            prediction: of each of n rows, by the model that learnt from the rows of other folds.
            y: (n,) targets.
            folds: (n,), the fold of each row, from 0.
        """
        predicted = self.score.prediction(prediction)
        self._keep(self.score(predicted, reals_of(y, "targets", len(predicted))), folds)
        return self

    @explained
    def predict_interval(self, predictions: Any, coverage: float = 0.9) -> PredictionIntervals:
        """The targets that cannot be ruled out at error rate 1 − coverage.

        Args:
            predictions: of each fold's model in turn, what it predicts of the m rows:
                (K, m) for "residual".
        """
        law = self._law(check_coverage(coverage))
        by_fold = [self.score.prediction(part) for part in self._by_fold(predictions)]
        rows, k = len(by_fold[0]), rank(law.n, law.wanted)
        if any(len(part) != rows for part in by_fold):
            raise ShapeError("the folds' models predict different numbers of rows")
        low, high = np.full(rows, -np.inf), np.full(rows, np.inf)
        step = max(1, BLOCK // law.n)
        for start in range(0, 0 if law.vacuous else rows, step):
            some = slice(start, start + step)
            ends = [
                self.score.interval(part[some, None], scores[None])
                for part, scores in zip(by_fold, self.scores, strict=True)
            ]
            below, above = (np.concatenate(part, 1) for part in zip(*ends, strict=True))
            low[some] = -np.partition(-below, k - 1, 1)[:, k - 1]
            high[some] = np.partition(above, k - 1, 1)[:, k - 1]
        return PredictionIntervals(low, high, law.wanted, (law,))

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        return {"score": self.score.name, "scores": [own.tolist() for own in self.scores]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CrossConformalRegressor:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            made = cls(data["score"])
            made.scores = tuple(np.sort(np.array(own, np.float64)) for own in data["scores"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("CrossConformalRegressor", error) from None
        return made


class CrossConformalClassifier(_Cross):
    """CV+ sets of classes (Romano, Sesia and Candès 2020).

    {y : #{i : E_i < E₋ᵢ(x, y)} < (n + 1)(1 − α)}, where E₋ᵢ is the score by the model that did not
    learn from row i, and E_i that of row i's true class. See `CrossGuarantee`.

    Args:
        score, randomised, lam, k_reg: as of `ConformalClassifier`.

    >>> p = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
    >>> cross = CrossConformalClassifier().fit(p, [0, 0, 1, 1], folds=[0, 1, 0, 1])
    >>> cross.predict_set([[[0.9, 0.1]], [[0.7, 0.3]]], coverage=0.7).labels()
    [[0]]
    """

    def __init__(
        self,
        score: str = "lac",
        *,
        randomised: bool = True,
        lam: float = 0.01,
        k_reg: int = 5,
    ) -> None:
        super().__init__()
        self.score = ClassScore(score, randomised, lam, k_reg)
        self.classes = 0

    @explained
    def fit(self, p: Any, y: Any, folds: Any, *, generator: Any = None) -> CrossConformalClassifier:
        """Calibrate; gives the object back.

        Args:
            p: (n, K) probabilities, each by the model that learnt from the rows of other folds.
            y: (n,) class codes.
            folds: (n,), the fold of each row, from 0.
        """
        probabilities, labels = classified(p, y)
        scores = self.score(probabilities, self.score.uniform(len(labels), generator))
        self._keep(scores[np.arange(len(labels)), labels], folds)
        self.classes = probabilities.shape[1]
        return self

    @explained
    def predict_set(
        self, p: Any, coverage: float = 0.9, *, generator: Any = None
    ) -> PredictionSets:
        """The classes that cannot be ruled out at error rate 1 − coverage.

        Args:
            p: of each fold's model in turn, its probabilities of the m rows: (folds, m, K).
        """
        law = self._law(check_coverage(coverage))
        by_fold = [probabilities_of(part) for part in self._by_fold(p)]
        shape = (len(by_fold[0]), self.classes)
        if any(part.shape != shape for part in by_fold):
            shapes = ", ".join(str(part.shape) for part in by_fold)
            raise ShapeError(f"each fold's model gives (rows, {self.classes}); these are {shapes}")
        u, smaller = self.score.uniform(shape[0], generator), np.zeros(shape, np.int64)
        for part, scores in zip(by_fold, self.scores, strict=True):
            smaller += np.searchsorted(scores, self.score(part, u), "left")
        return PredictionSets(smaller < rank(law.n, law.wanted), law.wanted, (law,))

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        return {
            "score": self.score.name, "randomised": self.score.randomised, "lam": self.score.lam,
            "k_reg": self.score.k_reg, "classes": self.classes,
            "scores": [own.tolist() for own in self.scores],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CrossConformalClassifier:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            made = cls(
                data["score"], randomised=data["randomised"], lam=data["lam"], k_reg=data["k_reg"]
            )
            made.classes = int(data["classes"])
            made.scores = tuple(np.sort(np.array(own, np.float64)) for own in data["scores"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged("CrossConformalClassifier", error) from None
        return made
