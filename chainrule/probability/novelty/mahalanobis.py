"""How far rows lie from those that were seen, in the units of their covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import CheckpointError, DataError, DTypeError, ShapeError
from chainrule.probability.calibration.given import array_of, labels_of
from chainrule.tensor.locate import Explained, explained

FLOOR = 1e-10
"""Of the largest variance: what a direction in which no row varied is taken to have, so that a row
that leaves it is very far, and rounding is not."""


def matrix_of(X: Any, name: str) -> np.ndarray:
    """(n, d), float64.

    Raises:
        ShapeError: it is no matrix, or has no column.
    """
    found = array_of(X, name)
    if found.ndim != 2 or not found.shape[1]:
        raise ShapeError(f"{name} has the shape {found.shape}; it is (rows, features)")
    return found


class Mahalanobis(Explained):
    """The squared Mahalanobis distance min_c (x − μ_c)ᵀ Σ⁻¹ (x − μ_c), larger for stranger rows.

    With classes it is that of Lee et al. 2018 (eq. 1 and 2, without the sign): a mean for each
    class and one covariance Σ = 1/n Σ_i (x_i − μ_{y_i})(x_i − μ_{y_i})ᵀ for all; without, one mean.
    For a network, x are the features before its last layer.

    Args:
        rank: keeps at most so many directions of Σ, those of the largest variance, and gives all
            others their mean variance (probabilistic principal components, Tipping and Bishop
            1999); None keeps Σ as it is.

    >>> rng = np.random.default_rng(0)
    >>> seen = Mahalanobis().fit(rng.normal(size=(1000, 2)) * [1.0, 10.0])
    >>> seen.score([[0.0, 0.0], [0.0, 10.0], [10.0, 0.0]]).round(0)
    array([ 0.,  1., 97.])
    """

    def __init__(self, rank: int | None = None) -> None:
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int)):
            raise DTypeError(f"rank is a whole number of directions or None, not {rank!r}")
        if rank is not None and rank < 1:
            raise DataError(f"rank is {rank}; at least one direction is kept")
        self.rank = rank
        self.means = np.empty((0, 0))
        self.directions = np.empty((0, 0))
        self.variances = np.empty(0)
        self.rest = 0.0

    @explained
    def fit(self, X: Any, y: Any = None) -> Mahalanobis:
        """Learn from rows; gives the object back.

        Args:
            X: (n, d), at least two rows.
            y: (n,) class codes from 0, each with a row; None for one mean.
        """
        rows = matrix_of(X, "X")
        n, d = rows.shape
        if n < 2:
            raise DataError(f"{n} rows tell nothing of how rows vary; at least two are needed")
        codes = np.zeros(n, np.int64)
        if y is not None:
            codes = labels_of(y, int(max(array_of(y, "labels").max(initial=0), 0)) + 1, n)
        sizes = np.bincount(codes)
        if not sizes.all():
            raise DataError(f"no row is of class {int(np.argmin(sizes))}, so it has no mean")
        self.means = np.stack([rows[codes == c].mean(0) for c in range(len(sizes))])
        centred = rows - self.means[codes]
        variances, directions = np.linalg.eigh(centred.T @ centred / n)
        kept = min(d, self.rank or d)
        self.variances, self.directions = variances[d - kept :], directions[:, d - kept :]
        most = float(variances[-1])  # of rows that are all alike 1 is as good as any
        least = FLOOR * (most if most > np.finfo(np.float64).tiny / FLOOR else 1.0)
        self.variances = np.maximum(self.variances, least)
        self.rest = max(float(variances[: d - kept].mean()), least) if kept < d else 0.0
        return self

    @explained
    def score(self, X: Any) -> np.ndarray:
        """(n,): the squared distance of each row to the nearest mean."""
        return np.asarray(self.parts(X).sum(1))

    @explained
    def parts(self, X: Any) -> np.ndarray:
        """(n, d), what each feature has in a row's distance: (x − μ)_j (Σ⁻¹(x − μ))_j, which add up
        to it. A part may be below 0, of a feature that makes others less strange."""
        rows = matrix_of(X, "X")
        if not self.means.size:
            raise DataError("this Mahalanobis has not seen any rows yet: call fit")
        if rows.shape[1] != self.means.shape[1]:
            raise ShapeError(
                f"X has {rows.shape[1]} features, and those of fit had {self.means.shape[1]}"
            )
        found = np.stack([self._parts(rows - mean) for mean in self.means])
        nearest = found.sum(2).argmin(0)
        return np.asarray(found[nearest, np.arange(len(rows))])

    def _parts(self, centred: np.ndarray) -> np.ndarray:
        along = centred @ self.directions
        solved = (along / self.variances) @ self.directions.T
        if self.rest:
            solved += (centred - along @ self.directions.T) / self.rest
        return np.asarray(centred * solved)

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        return {
            "rank": self.rank, "means": self.means.tolist(), "rest": self.rest,
            "directions": self.directions.tolist(), "variances": self.variances.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Mahalanobis:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            made = cls(data["rank"])
            made.means, made.directions, made.variances = (
                np.array(data[name], np.float64) for name in ("means", "directions", "variances")
            )
            made.rest = float(data["rest"])
            if made.directions.shape != (made.means.shape[1], len(made.variances)):
                raise ValueError("its arrays do not fit together")
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"the description of a Mahalanobis is not whole ({type(error).__name__}: {error}). "
                "The file is damaged, or was written by another version."
            ) from None
        return made
