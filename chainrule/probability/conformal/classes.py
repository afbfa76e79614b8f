"""Split conformal prediction for classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.probability.calibration.given import classified, labels_of, probabilities_of
from chainrule.probability.conformal.cells import Cells, Key, damaged, groups_of, unfitted
from chainrule.probability.conformal.law import Guarantee, check_coverage
from chainrule.probability.conformal.regions import PredictionSets
from chainrule.probability.conformal.scores import ClassScore
from chainrule.tensor.locate import Explained, explained


@dataclass(frozen=True)
class ScoredClasses:
    """Rows whose classes have scores, (n, K)."""

    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def of(self, y: Any) -> np.ndarray:
        """(n,): the scores of the true classes."""
        rows, classes = self.scores.shape
        found: np.ndarray = self.scores[np.arange(rows), labels_of(y, classes, rows)]
        return found

    def below(
        self, q: np.ndarray, coverage: float, laws: tuple[Guarantee, ...] = ()
    ) -> PredictionSets:
        """The sets for thresholds of rows (n,), or of rows and classes (n, K)."""
        return PredictionSets(self.scores <= (q[:, None] if q.ndim == 1 else q), coverage, laws)


class ConformalClassifier(Explained):
    """Sets of classes that hold the true one as often as asked for, whatever the network's worth.

    Each calibration row gets a score of how badly its true class fits; with n of them the threshold
    q is the ⌈(n + 1)(1 − α)⌉-th smallest, and a row's set is the classes whose score is at most q
    (Vovk, Gammerman and Shafer 2005). What that promises, exactly, is `Guarantee`: coverage over
    all rows, not among rows like this one. It asks only that calibration rows, of which the network
    learnt nothing, and rows to come are exchangeable.

    Args:
        score: "lac" has the smallest sets on average, and empty ones among them; "aps" and "raps"
            hold more equally well for easy and hard rows; see `ClassScore`.
        by_class: a threshold for each class, so that the coverage holds for rows of each.
        randomised: "aps" and "raps" draw a uniform number for each row, as published. Without,
            nothing is drawn and no set is empty, but more is covered than asked for.
        lam, k_reg: of "raps": λ for each place beyond k_reg.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]] * 5)
    >>> conformal = ConformalClassifier().fit(p, [0, 0, 1, 1] * 5)
    >>> sets = conformal.predict_set([[0.95, 0.05], [0.55, 0.45]], coverage=0.9)
    >>> sets.labels()
    [[0], [0, 1]]
    >>> sets.guarantee.k, sets.guarantee.tied
    (19, 5)
    """

    def __init__(
        self,
        score: str = "lac",
        *,
        by_class: bool = False,
        randomised: bool = True,
        lam: float = 0.01,
        k_reg: int = 5,
    ) -> None:
        self.score = ClassScore(score, randomised, lam, k_reg)
        if not isinstance(by_class, bool):
            raise DTypeError(f"by_class is True or False, not {by_class!r}")
        self.by_class = by_class
        self.classes = 0
        self.cells = Cells({})

    @explained
    def fit(
        self, p: Any, y: Any, groups: Any = None, *, generator: Any = None
    ) -> ConformalClassifier:
        """Calibrate on rows that nothing was learnt from; gives the object back.

        Args:
            p: (n, K) probabilities, or (n,) those of the second of two classes.
            y: (n,) class codes.
            groups: (n,) texts or whole numbers: the coverage then holds within each group.
            generator: for `randomised` scores; the default generator without one.
        """
        probabilities, labels = classified(p, y)
        self.classes = probabilities.shape[1]
        own = self.scored(probabilities, generator).of(labels)
        kept = labels.tolist() if self.by_class else [None] * len(labels)
        keys = zip(groups_of(groups, len(labels)), kept, strict=True)
        self.cells = Cells.of(own, keys)
        return self

    @explained
    def predict_set(
        self, p: Any, coverage: float = 0.9, groups: Any = None, *, generator: Any = None
    ) -> PredictionSets:
        """The classes that cannot be ruled out at error rate 1 − coverage.

        Args:
            p: (m, K) probabilities.
            groups: (m,), where `fit` was given them. Of a group that calibration never saw nothing
                is ruled out.
            generator: for `randomised` scores; the default generator without one.
        """
        coverage = check_coverage(coverage)
        if not self.cells.scores:
            raise unfitted("ConformalClassifier")
        scored = self.scored(p, generator)
        own = self.cells.groups_for(groups, len(scored))
        keys: dict[Any, list[Key]] = {
            group: [(group, label if self.by_class else None) for label in range(self.classes)]
            for group in dict.fromkeys(own)
        }
        limits = {
            group: [self.cells.threshold(key, coverage) for key in row]
            for group, row in keys.items()
        }
        q = np.array([limits[group] for group in own]).reshape(len(own), self.classes)
        cells = dict.fromkeys(key for row in keys.values() for key in row)
        return scored.below(
            q, coverage, tuple(self.cells.guarantee(key, coverage) for key in cells)
        )

    def scored(self, p: Any, generator: Any = None) -> ScoredClasses:
        """Every class of every row with its score."""
        probabilities = probabilities_of(p)
        if probabilities.shape[1] != self.classes:
            raise ShapeError(
                f"these are probabilities of {probabilities.shape[1]} classes, and those of fit "
                f"were of {self.classes}"
            )
        u = self.score.uniform(len(probabilities), generator)
        return ScoredClasses(self.score(probabilities, u))

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        return {
            "score": self.score.name, "randomised": self.score.randomised, "lam": self.score.lam,
            "k_reg": self.score.k_reg, "by_class": self.by_class, "classes": self.classes,
            "cells": self.cells.to_list(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ConformalClassifier:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            made = cls(
                data["score"],
                by_class=data["by_class"],
                randomised=data["randomised"],
                lam=data["lam"],
                k_reg=data["k_reg"],
            )
            made.classes, made.cells = int(data["classes"]), Cells.from_list(data["cells"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged("ConformalClassifier", error) from None
        return made


@explained
def conformal_sets(
    p_calibration: Any,
    y_calibration: Any,
    p: Any,
    *,
    coverage: float = 0.9,
    score: str = "lac",
    groups_calibration: Any = None,
    groups: Any = None,
    by_class: bool = False,
    randomised: bool = True,
    generator: Any = None,
) -> PredictionSets:
    """`ConformalClassifier` in one call: calibrate on (p_calibration, y_calibration), and give the
    sets for the rows of p.

    Args:
        p_calibration: (n, K) probabilities of rows that nothing was learnt from, of any framework.
        y_calibration: (n,) class codes.
        p: (m, K).

    >>> p = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
    >>> print(conformal_sets(p, [0, 0, 1, 1], [[0.7, 0.3]]))
    1 set at a coverage of 0.9: 2 classes on average
    4 calibration rows: too few for a coverage of 0.9, which takes 9. So nothing is ruled out.
    """
    conformal = ConformalClassifier(score, by_class=by_class, randomised=randomised)
    conformal.fit(p_calibration, y_calibration, groups_calibration, generator=generator)
    if (groups is None) != (groups_calibration is None):
        raise DataError("groups_calibration and groups are given together, or neither is")
    return conformal.predict_set(p, coverage, groups, generator=generator)
