"""What conformal prediction promises, exactly: the law of the coverage given n rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError


def check_share(value: Any, name: str) -> float:
    """A number strictly between 0 and 1, as a float.

    Raises:
        DTypeError: it is no number.
        DataError: it does not lie between 0 and 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise DTypeError(f"{name} is a number between 0 and 1, not {value!r}")
    if not 0 < value < 1:
        raise DataError(f"{name} is {value}; it is a share of rows, between 0 and 1")
    return float(value)


def check_coverage(coverage: Any) -> float:
    """1 − α as a float.

    Raises:
        DTypeError: it is no number.
        DataError: it does not lie between 0 and 1.
    """
    try:
        return check_share(coverage, "coverage")
    except DataError as error:
        raise DataError(
            f"{error}, that sets are to hold for. Write 0.9 for an error rate of 10 %."
        ) from None


def rank(n: int, coverage: float) -> int:
    """k = ⌈(n + 1)(1 − α)⌉: which of n calibration scores, from the smallest, is the threshold.

    The product is rounded at nine digits, since (9 + 1) · (1 − 0.7) is a little above 3 in binary.

    >>> rank(99, 0.9), rank(9, 1 - 0.7), rank(8, 0.9)
    (90, 3, 9)
    """
    return math.ceil(round((n + 1) * coverage, 9))


def threshold(scores: np.ndarray, coverage: float) -> float:
    """The k-th smallest of the scores: ∞ where k > n, so that everything is let in; −∞ where
    k < 1, which an adaptive level may ask for.

    >>> threshold(np.array([3.0, 1.0, 2.0]), 0.5), threshold(np.array([3.0, 1.0, 2.0]), 0.9)
    (2.0, inf)
    """
    k = rank(len(scores), coverage)
    if k > len(scores):
        return math.inf
    return float(np.partition(scores, k - 1)[k - 1]) if k >= 1 else -math.inf


@dataclass(frozen=True)
class Guarantee:
    """The law of split conformal prediction with n calibration rows.

    Over exchangeable rows and continuous scores, the share of future rows that are covered is
    itself random, since the calibration rows are: it is Beta(k, n + 1 − k) with
    k = ⌈(n + 1)(1 − α)⌉ (Vovk 2012; Angelopoulos and Bates 2023, §3.2), whose mean is
    k/(n + 1) ≥ 1 − α. Where k > n it is 1: everything is let in. Where scores tie at the threshold
    it can only be larger.

    Attributes:
        n: calibration rows.
        wanted: 1 − α.
        tied: how many calibration scores equal the threshold.
        where: the rows that it speaks of; empty for all of them.

    >>> law = Guarantee(99, 0.9)
    >>> law.k, law.mean, [round(end, 3) for end in law.interval(0.9)]
    (90, 0.9, [0.847, 0.944])
    >>> print(law)
    99 calibration rows: 0.9 of rows to come are covered on average over calibrations. Of this one
    the coverage lies between 0.847 and 0.944 with a probability of 0.9: it is Beta(90, 10), if rows
    to come are exchangeable with these.
    """

    n: int
    wanted: float
    tied: int = 1
    where: str = ""

    @property
    def k(self) -> int:
        """Which of the n scores, from the smallest, is the threshold."""
        return rank(self.n, self.wanted)

    @property
    def vacuous(self) -> bool:
        """Whether n rows are too few, so that everything is let in."""
        return self.k > self.n

    @property
    def needed(self) -> int:
        """The least number of calibration rows for which not everything is let in."""
        return math.ceil(round(self.wanted / (1 - self.wanted), 9))

    @property
    def mean(self) -> float:
        """The mean coverage, k/(n + 1), over calibrations and rows."""
        return 1.0 if self.vacuous else self.k / (self.n + 1)

    def cdf(self, coverage: Any) -> np.ndarray:
        """P(the coverage of this calibration ≤ `coverage`)."""
        from scipy.special import betainc

        share = np.asarray(coverage, np.float64)
        if self.vacuous:
            return np.where(share < 1, 0.0, 1.0)
        return np.asarray(betainc(self.k, self.n + 1 - self.k, np.clip(share, 0.0, 1.0)))

    def interval(self, probability: float = 0.9) -> tuple[float, float]:
        """Between what the coverage of this calibration lies with this probability."""
        from scipy.special import betaincinv

        check_coverage(probability)
        if self.vacuous:
            return 1.0, 1.0
        tails = (1 - probability) / 2, (1 + probability) / 2
        low, high = (float(betaincinv(self.k, self.n + 1 - self.k, q)) for q in tails)
        return low, high

    def p_value(self, covered: int, rows: int) -> float:
        """How surprising it is that `covered` of `rows` new rows were covered: two-sided, under the
        beta-binomial law BetaBin(rows, k, n + 1 − k). Where it is tiny, the rows are not
        exchangeable with those of calibration (or, if more were covered, scores tie).

        >>> Guarantee(99, 0.9).p_value(140, 200) < 0.001 < Guarantee(99, 0.9).p_value(178, 200)
        True
        """
        from scipy.special import betaln, gammaln

        if not 0 <= covered <= rows:
            raise DataError(f"{covered} rows of {rows} cannot be covered")
        if self.vacuous:
            return float(covered == rows)
        a, b, x = self.k, self.n + 1 - self.k, np.arange(rows + 1)
        ways = gammaln(rows + 1) - gammaln(x + 1) - gammaln(rows - x + 1)
        mass = np.exp(ways + betaln(x + a, rows - x + b) - betaln(a, b))
        return float(min(1.0, 2 * min(mass[: covered + 1].sum(), mass[covered:].sum())))

    def __str__(self) -> str:
        where = f" of {self.where}" if self.where else ""
        rows = f"{self.n} calibration row{'' if self.n == 1 else 's'}{where}"
        if self.vacuous and self.where and not self.n:
            return f"calibration never saw {self.where}: nothing is ruled out there."
        if self.vacuous:
            return (
                f"{rows}: too few for a coverage of {self.wanted:.4g}, which takes {self.needed}. "
                "So nothing is ruled out."
            )
        low, high = self.interval(0.9)
        least = "at least " if self.tied > 1 else ""
        law = f"Beta({self.k}, {self.n + 1 - self.k})"
        return (
            f"{rows}: {least}{self.mean:.3g} of rows to come are covered on average over "
            f"calibrations. Of this one the coverage lies between {low:.3g} and {high:.3g} with a "
            f"probability of 0.9: it is {law}{' or more' if self.tied > 1 else ''}, if rows to "
            "come are exchangeable with these."
        )

    def to_dict(self) -> dict[str, Any]:
        """Its numbers, the mean and the 90 % interval among them."""
        return {
            "n": self.n, "wanted": self.wanted, "k": self.k, "mean": self.mean,
            "interval_90": list(self.interval(0.9)), "tied": self.tied, "where": self.where,
            "sentence": str(self),
        }  # fmt: skip


@dataclass(frozen=True)
class CrossGuarantee:
    """The promise of cross-conformal prediction (CV+; jackknife+ where each row is a fold).

    Over exchangeable rows at least 1 − 2α − min(2(1 − 1/K)/(n/K + 1), (1 − K/n)/(K + 1)) of rows to
    come are covered on average (Barber, Candès, Ramdas and Tibshirani 2021, Theorems 1 and 4; for
    classes Romano, Sesia and Candès 2020, Theorem 2). That is for the worst case: where the folds'
    models agree, it is about 1 − α. There is no exact law as for a split.

    Attributes:
        n: rows.
        folds: K.
        wanted: 1 − α.

    >>> CrossGuarantee(100, 100, 0.95).least, CrossGuarantee(100, 5, 0.95).least < 0.9
    (0.9, True)
    """

    n: int
    folds: int
    wanted: float

    @property
    def vacuous(self) -> bool:
        """Whether n rows are too few, so that everything is let in."""
        return rank(self.n, self.wanted) > self.n

    @property
    def least(self) -> float:
        """What is covered on average at least."""
        n, folds = self.n, self.folds
        lost = min(2 * (1 - 1 / folds) / (n / folds + 1), (1 - folds / n) / (folds + 1))
        return 1.0 if self.vacuous else max(0.0, round(1 - 2 * (1 - self.wanted) - lost, 12))

    def __str__(self) -> str:
        rows = f"{self.n} rows in {self.folds} folds"
        if self.vacuous:
            return f"{rows}: too few for a coverage of {self.wanted:.4g}. So nothing is ruled out."
        return (
            f"{rows}: about {self.wanted:.4g} of rows to come are covered on average, and at least "
            f"{self.least:.3g} however the folds' models differ, if rows are exchangeable."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "n": self.n, "folds": self.folds, "wanted": self.wanted, "least": self.least,
            "sentence": str(self),
        }  # fmt: skip
