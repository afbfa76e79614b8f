"""Whether conformal sets and intervals cover as their law says, over many splits:

    python -m benchmarks.conformal [--splits 1000] [--rows 99] [--coverage 0.9]

Each table's held-out rows are split again and again, ROWS of them to calibrate and 100 to be
covered. How many are must be a draw from the beta-binomial law BetaBin(100, k, ROWS + 1 − k),
whatever the network is worth; split by split these draws are independent, since they depend on
ranks alone. The last column is the p-value of a Kolmogorov–Smirnov test of that, adjusted by Holm
for all lines; where it is below 0.01 the law is broken, and the command fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

import chainrule as cr
from benchmarks.calibration import calibrated, label_noise, over_trained, temperature
from benchmarks.machine import description
from chainrule import probability as prob
from chainrule.probability.novelty.drift import holm

POOL = 2000
"""Rows of a generated table."""
NEW = 100
"""Rows to be covered in each split."""
Given = tuple[np.ndarray, np.ndarray]
"""What was predicted of rows, and what was true of them."""


def generated(distortion: Callable[[int, np.random.Generator], Given]) -> Given:
    logits, y = distortion(POOL, np.random.default_rng(0))
    wide = logits.astype(np.float64)
    p = np.exp(wide - wide.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True), y


def digits() -> Given:
    """A network of 64 units that learnt from 300 rows."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    network = cr.Classifier(hidden=(64,)).fit(X[:300], y[:300])
    return np.asarray(network.predict_proba(X[300:])), y[300:]


def wrong_noise() -> Given:
    """Mean and σ of a model that knows neither: half the slope, and the wrong rows noisy."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, POOL)
    y = 2 * x + np.exp(0.7 * x) * rng.standard_t(3, POOL)
    return np.stack([x, np.exp(-0.2 * x)], 1), y


def diabetes() -> Given:
    """Two networks that learnt from 150 rows: the mean, and the mean of the first one's errors."""
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    mean = cr.Regressor(hidden=(32,)).fit(X[:100], y[:100])
    error = np.abs(y[:150] - mean.predict(X[:150]))
    scale = cr.Regressor(hidden=(32,)).fit(X[50:150], error[50:])
    predicted = [np.asarray(mean.predict(X[150:])), np.maximum(scale.predict(X[150:]), 1.0)]
    return np.stack(predicted, 1), y[150:]


CLASSES: dict[str, Callable[[], Given]] = {
    "calibrated": lambda: generated(calibrated),
    "too sure": lambda: generated(temperature),
    "label noise": lambda: generated(label_noise),
    "over-trained": lambda: generated(over_trained),
    "digits": digits,
}
REALS: dict[str, Callable[[], Given]] = {"wrong noise": wrong_noise, "diabetes": diabetes}


@dataclass(frozen=True)
class Line:
    """One table under one score: what was covered, and how large sets or intervals were."""

    table: str
    score: str
    hits: np.ndarray
    sizes: float
    empty: float

    def p_value(self, law: prob.Guarantee) -> float:
        """Of the law, by the probability-integral transform with ties broken at random."""
        exact = stats.betabinom(NEW, law.k, law.n + 1 - law.k)
        u = np.random.default_rng(2).random(len(self.hits))
        uniform = exact.cdf(self.hits - 1) + u * exact.pmf(self.hits)
        return float(stats.kstest(uniform, "uniform").pvalue)


def covered(table: str, score: str, given: Given, rows: int, coverage: float, splits: int) -> Line:
    predicted, y = given
    rng, generator = np.random.default_rng(3), cr.Generator(3)
    hits, sizes, empty = [], [], []
    for _ in range(splits):
        order = rng.permutation(len(y))
        a, b = order[:rows], order[rows : rows + NEW]
        if score in ("lac", "aps", "raps"):
            made = prob.ConformalClassifier(score, lam=0.1, k_reg=1)
            made.fit(predicted[a], y[a], generator=generator)
            sets = made.predict_set(predicted[b], coverage, generator=generator)
            sizes.append(sets.sizes.mean())
        else:
            real = prob.ConformalRegressor(score).fit(predicted[a], y[a])
            sets = real.predict_interval(predicted[b], coverage)
            sizes.append(sets.widths.mean())
        hits.append(sets.covered(y[b]).sum())
        empty.append(sets.empty.mean())
    return Line(table, score, np.array(hits), float(np.mean(sizes)), float(np.mean(empty)))


def lines(rows: int, coverage: float, splits: int) -> list[Line]:
    found = []
    for table, make in CLASSES.items():
        given = make()
        found += [
            covered(table, score, given, rows, coverage, splits) for score in ("lac", "aps", "raps")
        ]
    for table, make in REALS.items():
        both, y = make()
        mean, scale = both.T
        for score, predicted in (
            ("residual", mean),
            ("normalised", both),
            ("cqr", np.stack([mean - 1.6 * scale, mean + 1.6 * scale], 1)),
        ):
            found.append(covered(table, score, (predicted, y), rows, coverage, splits))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--splits", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=99)
    parser.add_argument("--coverage", type=float, default=0.9)
    options = parser.parse_args()
    law = prob.Guarantee(options.rows, options.coverage)
    if law.vacuous:
        parser.error(f"{law}")
    exact = stats.betabinom(NEW, law.k, law.n + 1 - law.k)
    print(description())
    print(f"{options.splits} splits of {law.n} rows to calibrate and {NEW} to be covered")
    print(f"the law: mean {law.mean:.4f}, standard deviation {exact.std() / NEW:.4f}\n")
    found = lines(options.rows, options.coverage, options.splits)
    adjusted = holm([line.p_value(law) for line in found])
    print(f"{'table':14}{'score':12}{'covered':>9}{'std':>9}{'size':>9}{'empty':>8}{'p':>7}")
    for line, p in zip(found, adjusted, strict=True):
        share = line.hits / NEW
        print(
            f"{line.table:14}{line.score:12}{share.mean():9.4f}{share.std():9.4f}"
            f"{line.sizes:9.3g}{line.empty:8.1%}{p:7.2f}"
        )
    return int((adjusted < 0.01).any())


if __name__ == "__main__":
    sys.exit(main())
