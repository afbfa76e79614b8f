"""What training rows had in each column, as data: enough to say whether a row lies outside of it,
and whether later rows are of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError

KNOTS = 256
"""So many values of a column are kept, at equal ranks, the least and the largest among them."""


@dataclass(frozen=True)
class Ecdf:
    """A sample's distribution function at some of its values (at all, if they are few).

    Attributes:
        knots: ascending.
        below, upto: how many of the sample are < and ≤ each knot.
        n: the sample's size.
    """

    knots: tuple[float, ...]
    below: tuple[int, ...]
    upto: tuple[int, ...]
    n: int

    @classmethod
    def of(cls, x: np.ndarray) -> Ecdf:
        ordered = np.sort(x)
        distinct = np.unique(ordered)
        if len(distinct) > KNOTS:
            ranks = np.linspace(0, len(ordered) - 1, KNOTS).round().astype(np.int64)
            distinct = np.unique(ordered[ranks])
        below = np.searchsorted(ordered, distinct, "left")
        upto = np.searchsorted(ordered, distinct, "right")
        return cls(
            tuple(distinct.tolist()), tuple(below.tolist()), tuple(upto.tolist()), len(ordered)
        )

    def kolmogorov_smirnov(self, x: np.ndarray) -> tuple[float, float]:
        """(D, p) of the two-sample test against x, with Simard and L'Ecuyer's law of D at
        nm/(n + m). D is looked for at the knots alone: no larger than of the whole sample, so that
        p errs to the side of no difference.

        >>> Ecdf.of(np.arange(10.0)).kolmogorov_smirnov(np.arange(5.0))[0]
        0.5
        """
        from scipy.stats import kstwo

        ordered = np.sort(x)
        knots = np.array(self.knots)
        left = np.array(self.below) / self.n - np.searchsorted(ordered, knots, "left") / len(x)
        right = np.array(self.upto) / self.n - np.searchsorted(ordered, knots, "right") / len(x)
        largest = float(max(np.abs(left).max(), np.abs(right).max()))
        effective = round(self.n * len(x) / (self.n + len(x)))
        return largest, float(np.clip(kstwo.sf(largest, max(effective, 1)), 0.0, 1.0))


def chi_squared(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(χ², p) of Pearson's test that two rows of counts are of one law. The rarest
    categories are counted together, until at least 5 of each are expected (Cochran 1954).

    >>> [round(part, 4) for part in chi_squared(np.array([30, 70]), np.array([45, 55]))]
    [4.8, 0.0285]
    """
    from scipy.special import chdtrc

    table = np.stack([a, b]).astype(np.float64)
    table = table[:, np.argsort(table.sum(0), kind="stable")]
    total = table.sum(0)
    enough = 5 * table.sum() / table.sum(1).min()
    before = np.cumsum(total) - total
    alone = (total >= enough) & ((before == 0) | (before >= enough))
    rare = int(np.argmax(alone)) if alone.any() else len(total)
    table = np.concatenate([table[:, :rare].sum(1, keepdims=True), table[:, rare:]], 1)
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 0.0, 1.0
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, float(chdtrc(table.shape[1] - 1, statistic))


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers; `shift + scale · value` is in the table's own units."""

    name: str
    start: int
    stop: int
    shift: float
    scale: float
    std: float
    ecdf: Ecdf

    def beyond(self, X: np.ndarray) -> np.ndarray:
        """(n,): by how many training standard deviations a row lies outside of what was seen."""
        x = X[:, self.start]
        away = np.maximum(np.maximum(self.ecdf.knots[0] - x, x - self.ecdf.knots[-1]), 0.0)
        if self.std:
            return np.asarray(away / self.std)
        return np.where(away > 0, np.inf, 0.0)

    def value(self, row: np.ndarray) -> str:
        return self._written(float(row[self.start]))

    def seen(self) -> str:
        return f"{self._written(self.ecdf.knots[0])} to {self._written(self.ecdf.knots[-1])}"

    def _written(self, x: float) -> str:
        return f"{self.shift + self.scale * x:.6g}"

    def drift(self, X: np.ndarray) -> tuple[str, float, float]:
        return ("Kolmogorov–Smirnov", *self.ecdf.kolmogorov_smirnov(X[:, self.start]))


@dataclass(frozen=True)
class CategoricalColumn:
    """A column of categories: one feature for each, or one feature for "no" and "yes"."""

    name: str
    start: int
    stop: int
    categories: tuple[str, ...]
    counts: tuple[int, ...]

    @staticmethod
    def codes(X: np.ndarray, start: int, stop: int) -> np.ndarray:
        """(n,): the category of each row."""
        if stop == start + 1:
            return (X[:, start] > 0.5).astype(np.int64)
        return np.asarray(X[:, start:stop].argmax(1))

    def beyond(self, X: np.ndarray) -> np.ndarray:
        """(n,): ∞ where no training row had the category, else 0."""
        seen = np.array(self.counts) > 0
        return np.where(seen[self.codes(X, self.start, self.stop)], 0.0, np.inf)

    def value(self, row: np.ndarray) -> str:
        return self.categories[int(self.codes(row[None], self.start, self.stop)[0])]

    def seen(self) -> str:
        pairs = zip(self.categories, self.counts, strict=True)
        names = [name for name, count in pairs if count]
        return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")

    def drift(self, X: np.ndarray) -> tuple[str, float, float]:
        new = np.bincount(self.codes(X, self.start, self.stop), minlength=len(self.categories))
        return ("chi-squared", *chi_squared(np.array(self.counts), new))


Described = NumericColumn | CategoricalColumn


def described(X: np.ndarray, columns: Any) -> tuple[Described, ...]:
    """The columns of X (n, d), which are described by a fitted `ColumnEncoder` (each of its columns
    is then one column here, whatever the number of its features), by names, or by nothing.

    Raises:
        ShapeError: not as many features as X has.
    """

    def numeric(name: str, at: int, shift: float = 0.0, scale: float = 1.0) -> NumericColumn:
        x = X[:, at]
        return NumericColumn(name, at, at + 1, shift, scale, float(x.std()), Ecdf.of(x))

    def categorical(name: str, start: int, stop: int, names: Sequence[str]) -> CategoricalColumn:
        codes = CategoricalColumn.codes(X, start, stop)
        counts = np.bincount(codes, minlength=len(names)).tolist()
        return CategoricalColumn(name, start, stop, tuple(names), tuple(counts))

    features = X.shape[1]
    if columns is None:
        columns = [f"column {j}" for j in range(features)]
    if hasattr(columns, "feature_names_out"):
        names = columns.feature_names_out
    else:
        names = list(columns)
        if not all(isinstance(name, str) for name in names):
            raise DTypeError("columns are the features' names, or a fitted ColumnEncoder")
    if len(names) != features:
        raise ShapeError(f"X has {features} features, and {len(names)} are named")
    if not hasattr(columns, "feature_names_out"):
        return tuple(numeric(name, at) for at, name in enumerate(names))
    found: list[Described] = []
    start = 0
    for column in columns.columns:
        stop = start + len(column.features)
        if column.kind == "categorical":
            found.append(categorical(column.name, start, stop, column.categories))
        else:
            found.append(numeric(column.name, start, column.mean, column.std))
            if column.indicator:
                found.append(categorical(f"{column.name}=missing", start + 1, stop, ("no", "yes")))
        start = stop
    return tuple(found)


def to_dict(column: Described) -> dict[str, Any]:
    return asdict(column)


def from_dict(data: Any) -> Described:
    """Raises KeyError, TypeError or ValueError where `data` is not whole."""
    own = dict(data)
    if "ecdf" in own:
        knots, below, upto = (tuple(own["ecdf"][key]) for key in ("knots", "below", "upto"))
        if not len(knots) == len(below) == len(upto) > 0:
            raise ValueError("a distribution function that is not whole")
        return NumericColumn(**{**own, "ecdf": Ecdf(knots, below, upto, int(own["ecdf"]["n"]))})
    made = CategoricalColumn(
        **{**own, "categories": tuple(own["categories"]), "counts": tuple(own["counts"])}
    )
    if len(made.categories) != len(made.counts):
        raise ValueError("not as many counts as categories")
    return made
