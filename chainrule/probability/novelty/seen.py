"""SeenRange: what training rows were like, and whether a row lies outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import CheckpointError, DataError, ShapeError
from chainrule.probability.conformal.law import check_share
from chainrule.probability.novelty.described import (
    Described,
    Ecdf,
    described,
    from_dict,
    to_dict,
)
from chainrule.probability.novelty.drift import TOGETHER, ColumnDrift, Drift, holm
from chainrule.probability.novelty.mahalanobis import Mahalanobis, matrix_of
from chainrule.tensor.locate import Explained, explained

RANK = 64
"""How many directions of the covariance are kept: all of a usual table's, and few of an image's."""


@dataclass(frozen=True)
class Outside:
    """A cell outside of what training rows had in its column.

    Attributes:
        column: its name.
        value: the cell, in the table's own units.
        seen: what training rows had.
        by: how far outside, in training standard deviations; ∞ for a category that none had.
    """

    column: str
    value: str
    seen: str
    by: float

    def __str__(self) -> str:
        far = "" if np.isinf(self.by) else f", {self.by:.2g} standard deviations outside"
        return f"{self.column} = {self.value} (seen: {self.seen}{far})"


@dataclass(frozen=True)
class Familiarity:
    """Whether rows are like those that were learnt from.

    Attributes:
        p_value: (n,). Of rows like the training rows, p ≤ r in a share of at most r.
        rate: r, the false-alarm rate that was asked for.
        outside: for each row the cells outside of what was seen, the farthest first.
        unusual: for each row the columns with the largest parts of its distance, with their share.
        held_back: how many rows the p-values compare with.
    """

    p_value: np.ndarray
    rate: float
    outside: tuple[tuple[Outside, ...], ...]
    unusual: tuple[tuple[tuple[str, float], ...], ...]
    held_back: int

    @property
    def flagged(self) -> np.ndarray:
        """(n,): rows outside of what was seen, at the false-alarm rate."""
        return self.p_value <= self.rate

    @property
    def notes(self) -> tuple[str, ...]:
        """What keeps the answer from being complete."""
        least = 2 / (self.held_back + 1)
        if least <= self.rate:
            return ()
        return (
            f"{self.held_back} held-back rows are too few for a warning at a false-alarm rate of "
            f"{self.rate:.2g}; it takes {int(np.ceil(round(2 / self.rate, 9))) - 1}.",
        )

    def told(self, row: int) -> str:
        """A sentence about one row."""
        cells = "; ".join(map(str, self.outside[row][:5]))
        if not self.flagged[row]:
            inside = f"row {row} is like those that were seen (p = {self.p_value[row]:.2g})"
            return f"{inside}, though {cells}" if cells else inside
        if not cells:
            parts = " and ".join(f"{name} ({share:.0%})" for name, share in self.unusual[row])
            cells = f"no column by itself; what is unusual together is {parts}"
        return f"row {row} lies outside of what was seen (p = {self.p_value[row]:.2g}): {cells}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence about each flagged row, then the notes."""
        return (*(self.told(int(row)) for row in np.flatnonzero(self.flagged)), *self.notes)

    def to_dict(self) -> dict[str, Any]:
        """JSON knows no infinity: null stands for a category that was not seen."""
        return {
            "p_value": self.p_value.tolist(), "rate": self.rate,
            "flagged": np.flatnonzero(self.flagged).tolist(), "warnings": list(self.warnings),
            "outside": [
                [{**vars(cell), "by": cell.by if np.isfinite(cell.by) else None} for cell in row]
                for row in self.outside
            ],
        }  # fmt: skip


class SeenRange(Explained):
    """What training rows were like: of each column its distribution, of all the covariance.

    A row is compared in two ways with rows that were held back: by how far any cell lies outside of
    its column's range, and by the Mahalanobis distance, which sees combinations. Each gives a
    conformal p-value (1 + #{held-back rows at least as strange})/(n + 1) (Vovk, Gammerman and
    Shafer 2005; Bates et al. 2023), and twice the smaller of them is the row's: among rows
    exchangeable with those held back, a share of at most r has p ≤ r, whatever their distribution.

    Args:
        columns: a fitted `ColumnEncoder`, whose encoded features X has, and by whose columns and in
            whose units is told; or the features' names; or None.

    What an encoder takes out is not seen: another value in a column that was constant in training
    is encoded as 0, too.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 2)) * [10.0, 1.0] + [40.0, 0.0]
    >>> seen = SeenRange(["age", "height"]).fit(X[:400], X[400:])
    >>> found = seen.check([[45.0, 0.5], [95.0, 0.0]], rate=0.05)
    >>> found.flagged
    array([False,  True])
    >>> print(found.warnings[0])
    row 1 lies outside of what was seen (p = 0.01): age = 95 (seen: ...)
    """

    def __init__(self, columns: Any = None) -> None:
        self._named = columns
        self.columns: tuple[Described, ...] = ()
        self.distance = Mahalanobis(RANK)
        self.held_beyond = np.empty(0)
        self.held_distance = np.empty(0)

    @explained
    def fit(self, X: Any, held_back: Any) -> SeenRange:
        """Learn what rows are like; gives the object back.

        Args:
            X: (n, d), the training rows, encoded.
            held_back: (m, d), rows of the same source that nothing is learnt from, such as the
                validation rows. At a false-alarm rate of 5 % it takes at least 39.
        """
        rows, held = matrix_of(X, "X"), matrix_of(held_back, "held_back")
        if rows.shape[1] != held.shape[1]:
            raise ShapeError(f"X has {rows.shape[1]} features, and held_back {held.shape[1]}")
        if not len(held):
            raise DataError("held_back has no row, and without any no false-alarm rate is known")
        self.distance = Mahalanobis(RANK).fit(rows)
        self.columns = described(rows, self._named)
        self.held_beyond = np.sort(self._beyond(held).max(1))
        self.held_distance = np.sort(self.distance.score(held))
        return self

    def _beyond(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([column.beyond(rows) for column in self.columns], 1)

    def _rows(self, X: Any) -> np.ndarray:
        rows = matrix_of(X, "X")
        if not self.columns:
            raise DataError("this SeenRange has not seen any rows yet: call fit")
        if rows.shape[1] != self.distance.means.shape[1]:
            raise ShapeError(
                f"X has {rows.shape[1]} features, and the training rows had "
                f"{self.distance.means.shape[1]}"
            )
        return rows

    @explained
    def check(self, X: Any, *, rate: float = 0.05) -> Familiarity:
        """Whether rows (n, d) lie outside of what was seen, at a false-alarm rate."""
        rate, rows = check_share(rate, "rate"), self._rows(X)
        beyond, parts = self._beyond(rows), self.distance.parts(rows)
        own = np.stack([parts[:, c.start : c.stop].sum(1) for c in self.columns], 1)
        share = np.maximum(own, 0.0) / np.maximum(np.maximum(own, 0.0).sum(1), 1e-300)[:, None]
        p = np.minimum(
            _rank_p(self.held_beyond, beyond.max(1)), _rank_p(self.held_distance, parts.sum(1))
        )
        return Familiarity(
            np.minimum(1.0, 2 * p),
            rate,
            tuple(self._outside(row, far) for row, far in zip(rows, beyond, strict=True)),
            tuple(
                tuple((self.columns[j].name, float(row[j])) for j in np.argsort(-row)[:3])
                for row in share
            ),
            len(self.held_distance),
        )

    def _outside(self, row: np.ndarray, far: np.ndarray) -> tuple[Outside, ...]:
        order = np.argsort(-far, kind="stable")[: int((far > 0).sum())]
        return tuple(
            Outside(column.name, column.value(row), column.seen(), float(far[j]))
            for j in order.tolist()
            for column in (self.columns[j],)
        )

    @explained
    def drift(self, X: Any, *, rate: float = 0.05) -> Drift:
        """Whether rows (n, d) are, as a whole, of another kind than the training rows.

        Numeric columns by the two-sample test of Kolmogorov and Smirnov, categories by χ², and the
        distances of all rows from what was seen against those of the held-back ones, which sees
        combinations; with Holm's correction for all of them.
        """
        rate, rows = check_share(rate, "rate"), self._rows(X)
        if not len(rows):
            raise DataError("X has no row, of which nothing can be said")
        together = Ecdf.of(self.held_distance).kolmogorov_smirnov(self.distance.score(rows))
        tests = [(column.name, *column.drift(rows)) for column in self.columns]
        tests.append((TOGETHER, "Kolmogorov–Smirnov", *together))
        adjusted = holm([test[3] for test in tests]).tolist()
        found = (ColumnDrift(*test, p) for test, p in zip(tests, adjusted, strict=True))
        return Drift(tuple(found), len(rows), rate)

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back. No row of
        the training data is in it, but single cells are: 256 of a numeric column at most."""
        beyond = [far if np.isfinite(far) else None for far in self.held_beyond.tolist()]
        return {
            "columns": [to_dict(column) for column in self.columns],
            "distance": self.distance.to_dict(),
            "held_beyond": beyond, "held_distance": self.held_distance.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SeenRange:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        made = cls()
        try:
            made.columns = tuple(map(from_dict, data["columns"]))
            made.distance = Mahalanobis.from_dict(data["distance"])
            beyond = [np.inf if far is None else far for far in data["held_beyond"]]
            made.held_beyond = np.array(beyond, np.float64)
            made.held_distance = np.array(data["held_distance"], np.float64)
            if made.held_beyond.shape != made.held_distance.shape or made.held_beyond.ndim != 1:
                raise ValueError("its arrays do not fit together")
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the description of a SeenRange is not whole ({type(error).__name__}: {error}). "
                "The file is damaged, or was written by another version."
            ) from None
        return made


def _rank_p(held: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(1 + #{held ≥ score}) / (n + 1), with `held` ascending."""
    return np.asarray((1 + len(held) - np.searchsorted(held, scores, "left")) / (len(held) + 1))
