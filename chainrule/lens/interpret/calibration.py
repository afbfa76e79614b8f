"""Whether a network's probabilities mean what they say, on rows that nothing was learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.sentence import number, share, span
from chainrule.probability.calibration.choice import recalibrate
from chainrule.probability.calibration.real import (
    QuantileCoverage,
    crps,
    probability_integral_transform,
    quantile_coverage,
)
from chainrule.probability.calibration.reliability import Reliability, reliability
from chainrule.probability.calibration.scores import brier_score, log_score, sharpness
from chainrule.probability.calibration.significance import CalibrationTest, calibration_test
from chainrule.probability.intervals import wilson_interval

FEWEST = 50
"""With fewer held-out rows nothing is said about calibration: the error of 15 bins of three rows
each is chance."""
FOLDS = 5
SURE = 0.05
"""Below this p-value an error is taken to be more than chance."""


@dataclass(frozen=True)
class Calibration:
    """Of classes: what held-out rows say about the probabilities.

    Attributes:
        rows: how many held-out rows there are.
        right: the share of them that the network answers rightly, within `right_low`, `right_high`.
        said: the probability that it gives its answers on average.
        before: the reliability diagram.
        test: its calibration error, and whether that is more than chance.
        after, test_after: the same after recalibration, each row by what other rows taught; None
            where nothing was changed.
        method: what recalibrates; "identity" where nothing needs to be changed.
        brier, nll, sharpness: scores of the probabilities as they are; `nll_after` recalibrated.
        confidence, hit: (rows,), what it gives its answers, and which are right.
        unseen: classes of which there is no held-out row.
        sentence: all this in words.
    """

    rows: int
    right: float
    right_low: float
    right_high: float
    said: float
    before: Reliability
    test: CalibrationTest
    after: Reliability | None
    test_after: CalibrationTest | None
    method: str
    brier: float
    nll: float
    nll_after: float | None
    sharpness: float
    confidence: np.ndarray
    hit: np.ndarray
    unseen: tuple[str, ...]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        found = {k: v for k, v in vars(self).items() if k not in ("confidence", "hit")}
        for name in ("before", "after", "test", "test_after"):
            if found[name] is not None:
                found[name] = found[name].to_dict()
        return found


@dataclass(frozen=True)
class RealCalibration:
    """Of real targets: what held-out rows say about the predictive distribution.

    Attributes:
        rows: how many held-out rows there are.
        rmse: the root mean squared error, in the target's unit; `nothing` that of the mean alone.
        said: the standard deviation that is predicted, on average (root mean square).
        pit: (rows,), P(Y ≤ y) of the true targets: uniform where the distribution is right.
        coverage: of central quantiles, with intervals, and whether the whole is more than chance.
        crps: in the target's unit.
        factor: by which the standard deviations should be multiplied.
        sentence: all this in words.
    """

    rows: int
    rmse: float
    nothing: float
    said: float
    pit: np.ndarray
    coverage: QuantileCoverage
    crps: float
    factor: float
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "pit": self.pit.tolist(), "coverage": self.coverage.to_dict()}


@dataclass(frozen=True)
class Calibrated:
    """`facts`, and `transform`: outputs (logits) → calibrated probabilities."""

    facts: Calibration
    transform: Any


def calibrated(logits: np.ndarray, y: np.ndarray, classes: tuple[str, ...], seed: int
               ) -> Calibrated:  # fmt: skip
    """What held-out rows say of logits (n, K) and their labels (n,), and the recalibration.

    Raises:
        DataError: fewer than `FEWEST` rows.
    """
    from scipy.special import softmax

    n = len(y)
    if n < FEWEST:
        raise DataError(
            f"there are {n} held-out rows, and {FEWEST} are needed before anything can be said "
            "about calibration"
        )
    p = softmax(logits, 1)
    answers = p.argmax(1)
    hits = int((answers == y).sum())
    low, high = wilson_interval(hits, n)
    before, test = reliability(p, y), calibration_test(p, y, seed=seed)
    unseen = np.flatnonzero(np.bincount(y, minlength=p.shape[1]) == 0)
    chosen = recalibrate(logits, y)
    after = test_after = nll_after = None
    if chosen.method != "identity":
        apart = _out_of_fold(logits, y, chosen.method, seed)
        after, test_after = reliability(apart, y), calibration_test(apart, y, seed=seed)
        nll_after = log_score(apart, y)
    facts = Calibration(
        n, hits / n, low, high, float(p.max(1).mean()), before, test, after, test_after,
        chosen.method, brier_score(p, y), log_score(p, y), nll_after, sharpness(p),
        p.max(1), answers == y, tuple(classes[k] for k in unseen), "",
    )  # fmt: skip
    facts = Calibration(**{**vars(facts), "sentence": _in_words(facts)})
    return Calibrated(facts, chosen.transform)


def _out_of_fold(logits: np.ndarray, y: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Calibrated probabilities of each row, by a recalibrator that has not seen it."""
    order = np.argsort(np.random.default_rng(seed).permutation(len(y)) + len(y) * y)
    fold = np.empty(len(y), np.int64)
    fold[order] = np.arange(len(y)) % FOLDS  # each class in all folds
    found = np.empty_like(logits)
    for k in range(FOLDS):
        rest = fold != k
        found[~rest] = recalibrate(logits[rest], y[rest], method).transform(logits[~rest])
    return found


def _in_words(facts: Calibration) -> str:
    gap = facts.said - facts.right
    head = (
        f"Of {facts.rows} held-out rows the network answers {share(facts.right)} rightly "
        f"({span(facts.right_low, facts.right_high)}), and says {share(facts.said)} on average"
    )
    error = f"calibration error {facts.test.ece:.3f}"
    chance = facts.test.p_value
    if chance >= SURE:
        return (
            f"{head}: its probabilities mean what they say, as far as so many rows can tell "
            f"({error}; calibrated ones would show as much in {100 * chance:.0f} % of cases)."
            + (
                ""
                if facts.nll_after is None
                else f" {facts.method.capitalize()} scaling lowers the log score from "
                f"{facts.nll:.3f} to {facts.nll_after:.3f} all the same."
            )
        )
    kind = "over-confident" if gap > 0 else "under-confident"
    if facts.right_low <= facts.said <= facts.right_high:
        kind = "right on average, too sure of some answers and not sure enough of others"
    if facts.test_after is None:
        return (
            f"{head}: it is {kind} ({error}, p = {chance:.2g}), and no recalibration that was "
            "tried makes it better."
        )
    return (
        f"{head}: it is {kind} ({error}, more than chance, p = {chance:.2g}). After {facts.method} "
        f"scaling the error is {facts.test_after.ece:.3f}"
        + (
            ", which is no more than chance."
            if facts.test_after.p_value >= SURE
            else f", and still more than chance (p = {facts.test_after.p_value:.2g})."
        )
    )


def real_calibration(mean: np.ndarray, std: np.ndarray, y: np.ndarray, trained_mean: float
                     ) -> RealCalibration:  # fmt: skip
    """What held-out rows say of normal predictions and their targets, (n,) each.

    Raises:
        DataError: fewer than `FEWEST` rows.
    """
    n = len(y)
    if n < FEWEST:
        raise DataError(
            f"there are {n} held-out rows, and {FEWEST} are needed before anything can be said "
            "about calibration"
        )
    rmse = float(np.sqrt(np.mean((y - mean) ** 2)))
    said = float(np.sqrt(np.mean(std**2)))
    factor = float(np.sqrt(np.mean(((y - mean) / std) ** 2)))
    coverage = quantile_coverage((mean, std), y)
    facts = RealCalibration(
        n, rmse, float(np.sqrt(np.mean((y - trained_mean) ** 2))), said,
        probability_integral_transform((mean, std), y), coverage, crps((mean, std), y), factor, "",
    )  # fmt: skip
    return RealCalibration(**{**vars(facts), "sentence": _real_in_words(facts)})


def _real_in_words(facts: RealCalibration) -> str:
    head = (
        f"On {facts.rows} held-out rows the network is off by {number(facts.rmse)} (root mean "
        f"square; always saying the mean, by {number(facts.nothing)}), and expects "
        f"{number(facts.said)}"
    )
    if facts.coverage.p_value >= SURE:
        return (
            f"{head}: its spread means what it says, as far as so many rows can tell (p = "
            f"{facts.coverage.p_value:.2g}, Kolmogorov and Smirnov's test)."
        )
    if 0.9 < facts.factor < 1.1:
        return (
            f"{head}: errors are as large as it expects, but fall otherwise (p = "
            f"{facts.coverage.p_value:.2g}, Kolmogorov and Smirnov's test), as the picture shows."
        )
    kind = "it is over-confident" if facts.factor > 1 else "it is less sure than it could be"
    return (
        f"{head}: {kind}; its standard deviations should be multiplied by {facts.factor:.2f} "
        f"(p = {facts.coverage.p_value:.2g})."
    )
