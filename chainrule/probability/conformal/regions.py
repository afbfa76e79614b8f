"""What conformal prediction answers: sets of classes, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.calibration.given import labels_of
from chainrule.probability.conformal.law import CrossGuarantee, Guarantee
from chainrule.probability.conformal.scores import reals_of


class _Regions:
    """What sets and intervals share: their promises, and the warnings about them."""

    coverage: float
    guarantees: tuple[Guarantee | CrossGuarantee, ...]

    @property
    def guarantee(self) -> Guarantee | CrossGuarantee:
        """The promise; of several, one a group or class, that with the fewest calibration rows.

        Raises:
            DataError: none is made for these (an adaptive stream).
        """
        if not self.guarantees:
            raise DataError("no promise is made for single rows of an adaptive stream")
        return min(self.guarantees, key=lambda law: law.n)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Where nothing is ruled out, since too few rows were there to calibrate with."""
        return tuple(str(law) for law in self.guarantees if law.vacuous)


@dataclass(frozen=True)
class PredictionSets(_Regions):
    """For each row the classes that cannot be ruled out at error rate 1 − coverage.

    Attributes:
        members: (n, K), whether a class is in a row's set. `np.asarray(sets)` is this.
        coverage: 1 − α, as asked for.
        guarantees: what is promised; one for each group or class where calibration was by these.

    >>> sets = PredictionSets(np.array([[True, False, True], [False, False, False]]), 0.9)
    >>> sets.sizes, sets.labels(), sets.coverage_of([2, 0])
    (array([2, 0]), [[0, 2], []], 0.5)
    >>> print(sets)
    2 sets at a coverage of 0.9: 1 class on average; 1 is empty: no answer fits such a row as well
    as the right answers of calibration did.
    """

    members: np.ndarray
    coverage: float
    guarantees: tuple[Guarantee | CrossGuarantee, ...] = ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.members, dtype, copy=True if copy is None else copy)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def sizes(self) -> np.ndarray:
        """(n,): how many classes each set holds."""
        found: np.ndarray = self.members.sum(1)
        return found

    @property
    def empty(self) -> np.ndarray:
        """(n,): whether a set is empty. Such a row is like none that was answered rightly; with a
        network that is right more often than the coverage asked for, some sets must be."""
        return self.sizes == 0

    def labels(self, classes: Sequence[Any] | None = None) -> list[list[Any]]:
        """Each row's set as a list of codes, or of the names in `classes`."""
        if classes is not None and len(classes) != self.members.shape[1]:
            raise DataError(f"{len(classes)} names, and there are {self.members.shape[1]} classes")
        return [
            [code if classes is None else classes[code] for code in np.flatnonzero(row).tolist()]
            for row in self.members
        ]

    def covered(self, y: Any) -> np.ndarray:
        """(n,): whether each row's set holds its true class."""
        rows, classes = self.members.shape
        found: np.ndarray = self.members[np.arange(rows), labels_of(y, classes, rows)]
        return found

    def coverage_of(self, y: Any) -> float:
        """The share of rows whose set holds the true class."""
        return float(self.covered(y).mean()) if len(self) else float("nan")

    def __str__(self) -> str:
        if not len(self):
            return "no row, and so no set"
        mean, empty = self.sizes.mean(), int(self.empty.sum())
        text = (
            f"{_count(len(self), 'set')} at a coverage of {self.coverage:.4g}: "
            f"{mean:.3g} class{'' if mean == 1 else 'es'} on average"
        )
        if empty:
            text += (
                f"; {empty} {'is' if empty == 1 else 'are'} empty: no answer fits such a row as "
                "well as the right answers of calibration did."
            )
        return "\n".join((text, *self.warnings))

    def to_dict(self) -> dict[str, Any]:
        return {
            "coverage": self.coverage, "sets": self.labels(), "sizes": self.sizes.tolist(),
            "empty": int(self.empty.sum()), "warnings": list(self.warnings),
            "guarantees": [law.to_dict() for law in self.guarantees],
        }  # fmt: skip


@dataclass(frozen=True)
class PredictionIntervals(_Regions):
    """For each row the reals that cannot be ruled out at error rate 1 − coverage.

    Attributes:
        low: (n,), −∞ where nothing is ruled out.
        high: (n,); below `low` where the interval is empty, as those of `cqr` may be.
        coverage: 1 − α, as asked for.
        guarantees: what is promised; one for each group where calibration was by groups.

    >>> found = PredictionIntervals(np.array([0.0, 1.0]), np.array([2.0, 4.0]), 0.9)
    >>> found.widths, found.covered([1.0, 5.0]), np.asarray(found).shape
    (array([2., 3.]), array([ True, False]), (2, 2))
    """

    low: np.ndarray
    high: np.ndarray
    coverage: float
    guarantees: tuple[Guarantee | CrossGuarantee, ...] = field(default=())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.stack([self.low, self.high], 1).astype(dtype or np.float64)

    def __len__(self) -> int:
        return len(self.low)

    @property
    def widths(self) -> np.ndarray:
        """(n,): how long each interval is; 0 of an empty one."""
        return np.maximum(self.high - self.low, 0.0)

    @property
    def empty(self) -> np.ndarray:
        """(n,): whether nothing lies inside."""
        return self.high < self.low

    def covered(self, y: Any) -> np.ndarray:
        """(n,): whether each row's target lies inside, ends included."""
        targets = reals_of(y, "targets", len(self))
        return (self.low <= targets) & (targets <= self.high)

    def coverage_of(self, y: Any) -> float:
        """The share of rows whose target lies inside."""
        return float(self.covered(y).mean()) if len(self) else float("nan")

    def __str__(self) -> str:
        if not len(self):
            return "no row, and so no interval"
        width = float(np.median(self.widths))
        text = (
            f"{_count(len(self), 'interval')} at a coverage of {self.coverage:.4g}, of width "
            f"{width:.4g} in the middle"
        )
        if self.empty.any():
            text += f"; {int(self.empty.sum())} of them empty"
        return "\n".join((text, *self.warnings))

    def to_dict(self) -> dict[str, Any]:
        """JSON knows no infinity: null stands for an end that is not bounded."""
        ends = [
            [float(end) if np.isfinite(end) else None for end in pair]
            for pair in zip(self.low, self.high, strict=True)
        ]
        return {
            "coverage": self.coverage, "intervals": ends, "warnings": list(self.warnings),
            "guarantees": [law.to_dict() for law in self.guarantees],
        }  # fmt: skip


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
