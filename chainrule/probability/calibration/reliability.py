"""How often answers of a given confidence are right: reliability, and calibration errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.probability.calibration.given import classified
from chainrule.probability.calibration.normal import absolute_mean
from chainrule.probability.intervals import wilson_interval
from chainrule.tensor.locate import explained

Binning = Literal["width", "mass"]
MOST_BINS = 10_000


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: confidence against the share of answers that were right, bin by bin.

    Bin b holds confidences in (edges[b], edges[b + 1]], the first one 0, too. Where a bin is empty
    its mean confidence, share and interval are NaN.

    Attributes:
        edges: (bins + 1,), from 0 to 1.
        count: (bins,), rows in each.
        confidence: (bins,), their mean confidence.
        right: (bins,), the share of them that were right (of the class, for `kind` a class).
        kind: "confidence", of the likeliest class, or the code of a class.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    kind: str | int = "confidence"
    level: float = field(default=0.95)

    @property
    def low(self) -> np.ndarray:
        """(bins,), the lower edges."""
        return self.edges[:-1]

    @property
    def high(self) -> np.ndarray:
        """(bins,), the upper edges."""
        return self.edges[1:]

    @property
    def rows(self) -> int:
        return int(self.count.sum())

    @property
    def interval(self) -> np.ndarray:
        """(bins, 2): Wilson's interval of each share, at `level`; NaN where a bin is empty."""
        found = np.full((len(self.count), 2), np.nan)
        for b in np.flatnonzero(self.count):
            n = int(self.count[b])
            found[b] = wilson_interval(round(self.right[b] * n), n, self.level)
        return found

    @property
    def ece(self) -> float:
        """Σ_b n_b/n |right_b − confidence_b| (Naeini et al. 2015)."""
        return self.error()

    @property
    def mce(self) -> float:
        """max_b |right_b − confidence_b| over bins that hold rows."""
        return float(np.nanmax(np.abs(self.right - self.confidence)))

    def error(self, norm: int = 1, debiased: bool = False) -> float:
        """(Σ_b n_b/n |right_b − confidence_b|^norm)^(1/norm); see `expected_calibration_error`.

        Raises:
            DataError: another norm than 1 or 2, or a bin of a single row is to be debiased.
        """
        if isinstance(norm, bool) or norm not in (1, 2):
            raise DataError(f"norm is {norm!r}; calibration errors are of norm 1 or 2")
        held = self.count > 0
        n, right, confidence = self.count[held], self.right[held], self.confidence[held]
        gap, share = right - confidence, n / n.sum()
        if not debiased:
            return float((share @ np.abs(gap) ** norm) ** (1 / norm))
        if (n < 2).any():
            b = int(np.flatnonzero(self.count == 1)[0])
            raise DataError(
                f"the bin from {self.low[b]:.4g} to {self.high[b]:.4g} has a single row, of which "
                'no variance is known. Debiasing needs 2 in each: take binning="mass", fewer bins '
                "or more rows."
            )
        if norm == 2:
            square = float(share @ (gap**2 - right * (1 - right) / (n - 1)))
            return math.sqrt(max(square, 0.0))
        expected = absolute_mean(gap, np.sqrt(right * (1 - right) / n))
        return max(float(share @ (2 * np.abs(gap) - expected)), 0.0)

    def bin_of(self, confidence: float) -> int:
        """The bin that holds a confidence.

        >>> reliability([0.9, 0.3], [1, 0], bins=10).bin_of(0.85)
        8
        """
        if not 0 <= confidence <= 1:
            raise DataError(f"a confidence lies between 0 and 1, and this is {confidence}")
        return int(places(np.asarray([confidence]), self.edges)[0])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; what is unknown of an empty bin is None."""
        interval = self.interval
        bins = [
            {
                "low": float(self.low[b]),
                "high": float(self.high[b]),
                "count": int(self.count[b]),
                "confidence": _number(self.confidence[b]),
                "right": _number(self.right[b]),
                "interval": [_number(end) for end in interval[b]],
            }
            for b in range(len(self.count))
        ]
        return {
            "kind": self.kind,
            "rows": self.rows,
            "level": self.level,
            "ece": self.ece,
            "mce": self.mce,
            "bins": bins,
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def edges_of(confidence: np.ndarray, bins: int, binning: Binning) -> np.ndarray:
    """(bins + 1,), from 0 to 1: of equal width, or quantiles of the confidences (equal mass).

    Raises:
        DataError: no such binning, or no such number of bins.
    """
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)):
        raise DTypeError(f"bins is {bins!r}; it is a whole number")
    if not 1 <= bins <= MOST_BINS:
        raise DataError(f"bins is {bins}; it lies between 1 and {MOST_BINS}")
    even = np.linspace(0, 1, int(bins) + 1)
    if binning == "width":
        return even
    if binning != "mass":
        raise DataError(f'binning is {binning!r}; bins have equal "width" or equal "mass"')
    edges: np.ndarray = np.quantile(confidence, even)
    edges[0], edges[-1] = 0.0, 1.0
    return edges


def places(confidence: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each: (low, high], and 0 in the first (Guo et al. 2017, §2)."""
    return np.searchsorted(edges[1:-1], confidence, side="left")


def answers(p: np.ndarray, y: np.ndarray, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, 1 where right or else 0), (n,) each, of the likeliest class or of a given one.

    Raises:
        DataError: no such class.
    """
    if isinstance(kind, str) and kind == "confidence":
        chosen = p.argmax(1)
        return p[np.arange(len(p)), chosen], (chosen == y).astype(np.float64)
    if isinstance(kind, bool) or not isinstance(kind, (int, np.integer)):
        raise DTypeError(f'kind is {kind!r}; it is "confidence" or the code of a class')
    if not 0 <= kind < p.shape[1]:
        raise DataError(f"there is no class {kind}; their codes are 0 to {p.shape[1] - 1}")
    return p[:, kind], (y == kind).astype(np.float64)


def diagram(confidence: np.ndarray, right: np.ndarray, edges: np.ndarray) -> Reliability:
    """The diagram of checked confidences and answers in these bins."""
    place, bins = places(confidence, edges), len(edges) - 1
    count = np.bincount(place, minlength=bins)
    total = np.bincount(place, confidence, bins), np.bincount(place, right, bins)
    mean, share = (np.divide(t, count, out=np.full(bins, np.nan), where=count > 0) for t in total)
    return Reliability(edges, count, mean, share)


@explained
def reliability(
    p: Any,
    y: Any,
    *,
    bins: int = 15,
    binning: Binning = "width",
    kind: str | int = "confidence",
    level: float = 0.95,
) -> Reliability:
    """How often answers of a given confidence are right, with Wilson intervals.

    Args:
        p: (rows, classes), probabilities, or (rows,) of the second of two classes.
        y: (rows,), class codes, or one-hot rows.
        bins: how many.
        binning: "width", of equal width, or "mass", with as many rows in each.
        kind: "confidence" compares the largest probability with whether it was right; a class code
            that class's probability with whether it was the class.
        level: of the intervals.

    Raises:
        DataError: numbers that are no probabilities, labels out of range, no rows.
        ShapeError: p and y do not belong together.

    >>> found = reliability([[0.2, 0.8], [0.25, 0.75], [1.0, 0.0], [0.45, 0.55]], [1, 0, 0, 1])
    >>> found.count[[8, 11, 14]], round(found.ece, 3), round(found.mce, 3)
    (array([1, 2, 1]), 0.25, 0.45)
    """
    probabilities, labels = classified(p, y)
    confidence, right = answers(probabilities, labels, kind)
    found = diagram(confidence, right, edges_of(confidence, bins, binning))
    kept = kind if isinstance(kind, str) else int(kind)
    wilson_interval(0, 1, level)  # refuses what is no level
    return Reliability(found.edges, found.count, found.confidence, found.right, kept, level)


@explained
def expected_calibration_error(
    p: Any,
    y: Any,
    *,
    bins: int = 15,
    binning: Binning = "width",
    norm: int = 1,
    debiased: bool = False,
    kind: str | int = "confidence",
) -> float:
    """(Σ_b n_b/n |right_b − confidence_b|^norm)^(1/norm), over the bins b of `reliability`.

    With few rows it is above 0 for a calibrated network, too, since shares scatter. `debiased`
    takes the known part of that away; what comes out below 0 is 0. Norm 2: the variance of each
    share, right_b (1 − right_b)/(n_b − 1), is subtracted from its square (Kumar, Liang, Ma 2019,
    definition 4.1). Norm 1: twice the error, less its mean when the shares are drawn again from
    normal distributions with their standard errors (§5 there; the mean is in closed form here).

    Args:
        p, y, bins, binning, kind: as in `reliability`.
        norm: 1 or 2.
        debiased: see above.

    Raises:
        DataError, ShapeError: as in `reliability`; a bin of a single row cannot be debiased.

    >>> p, y = [0.9] * 10 + [0.6] * 10, [1] * 7 + [0] * 3 + [1] * 6 + [0] * 4
    >>> round(expected_calibration_error(p, y), 3)  # half of the rows are 0.2 too sure
    0.1
    >>> round(expected_calibration_error(p, y, norm=2, debiased=True), 3)
    0.0
    """
    found = reliability(p, y, bins=bins, binning=binning, kind=kind)
    return found.error(norm, bool(debiased))


@explained
def maximum_calibration_error(
    p: Any, y: Any, *, bins: int = 15, binning: Binning = "width", kind: str | int = "confidence"
) -> float:
    """max_b |right_b − confidence_b| over the bins of `reliability` that hold rows.

    The bin with the fewest rows often decides it; `Reliability.interval` says how little that is.

    >>> round(maximum_calibration_error([0.9] * 10 + [0.6] * 10, [1] * 7 + [0] * 3 + [1] * 10), 3)
    0.4
    """
    return reliability(p, y, bins=bins, binning=binning, kind=kind).mce


@explained
def classwise_calibration_error(
    p: Any, y: Any, *, bins: int = 15, binning: Binning = "width", norm: int = 1
) -> float:
    """The mean over the classes of the calibration error of each class's probability.

    It is the static calibration error (Nixon et al. 2019, eq. 3; Kull et al. 2019, classwise-ECE):
    unlike the one of confidences it sees the probabilities of all classes.

    >>> p = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]
    >>> round(classwise_calibration_error(p, [0, 1]), 3)  # (0.3 + 0.25 + 0.15) / 3
    0.233
    """
    probabilities, labels = classified(p, y)
    errors = []
    for k in range(probabilities.shape[1]):
        confidence, right = answers(probabilities, labels, k)
        found = diagram(confidence, right, edges_of(confidence, bins, binning))
        errors.append(found.error(norm))
    return float(np.mean(errors))
