"""Whether predictive distributions of real targets mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.calibration.forecasts import forecast_and_targets
from chainrule.probability.calibration.given import array_of
from chainrule.probability.intervals import wilson_interval
from chainrule.tensor.locate import explained

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))


@explained
def probability_integral_transform(forecast: Any, y: Any) -> np.ndarray:
    """F_i(y_i) for each row: uniform between 0 and 1 if the forecast is calibrated (Dawid 1984).

    Heaped in the middle, the forecast is too wide; at both ends, too narrow; at one end, off to
    one side.

    Args:
        forecast: a pair (mean, std) of normal distributions, `prob.Normal`, what a posterior
            predicts, or (S, rows) draws, whose transform is (rank + ½)/(S + 1).
        y: (rows,), the true values.

    Returns:
        (rows,).

    Raises:
        DataError: a standard deviation that is not above 0.
        ShapeError: not one target for each row.

    >>> probability_integral_transform(([0.0, 0.0], [1.0, 2.0]), [0.0, 2.0]).round(3)
    array([0.5  , 0.841])
    """
    distribution, targets = forecast_and_targets(forecast, y)
    return distribution.pit(targets)


@explained
def crps(forecast: Any, y: Any) -> float:
    """The mean of ∫ (F_i(x) − [x ≥ y_i])² dx: the continuous ranked probability score, units of y.

    It is |m − y| for a forecast that is sure of m, and in closed form for normal distributions and
    their mixtures (Gneiting et al. 2005, eq. 5; Grimit et al. 2006, eq. 5).

    Args:
        forecast, y: as in `probability_integral_transform`.

    >>> round(crps(([0.0], [1.0]), [0.0]), 4)  # (√2 − 1)/√π
    0.2337
    """
    distribution, targets = forecast_and_targets(forecast, y)
    return float(distribution.crps(targets).mean())


@dataclass(frozen=True)
class QuantileCoverage:
    """How many true values lie below each predicted quantile.

    Attributes:
        levels: (L,), of the quantiles.
        share: (L,), of rows at or below them; the levels, if the forecast is calibrated.
        interval: (L, 2), Wilson's 95 % interval of each share.
        p_value: of Kolmogorov and Smirnov's test that the transforms are uniform.
        rows: how many there were.
    """

    levels: np.ndarray
    share: np.ndarray
    interval: np.ndarray
    p_value: float
    rows: int

    @property
    def error(self) -> float:
        """The mean of |share − level|."""
        return float(np.abs(self.share - self.levels).mean())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "levels": self.levels.tolist(),
            "share": self.share.tolist(),
            "interval": self.interval.tolist(),
            "error": self.error,
            "p_value": self.p_value,
            "rows": self.rows,
        }


@explained
def quantile_coverage(forecast: Any, y: Any, levels: Sequence[float] = LEVELS) -> QuantileCoverage:
    """The share of true values at or below each predicted quantile (Kuleshov et al. 2018, eq. 3).

    Args:
        forecast, y: as in `probability_integral_transform`.
        levels: of the quantiles, between 0 and 1.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(0, 2, 500)  # the forecast has half of the true deviation
    >>> found = quantile_coverage((np.zeros(500), np.ones(500)), y, levels=[0.1, 0.9])
    >>> found.share.round(2), found.p_value < 1e-6
    (array([0.27, 0.74]), True)
    """
    from scipy.stats import kstest

    asked = array_of(levels, "levels")
    if asked.ndim != 1 or not len(asked) or not ((asked > 0) & (asked < 1)).all():
        raise DataError(f"levels are numbers between 0 and 1, such as [0.1, 0.5, 0.9]; {levels!r}")
    u = np.sort(probability_integral_transform(forecast, y).reshape(-1))
    below = np.searchsorted(u, asked, side="right")
    return QuantileCoverage(
        asked,
        below / len(u),
        np.asarray([wilson_interval(int(b), len(u)) for b in below]),
        float(kstest(u, "uniform").pvalue),
        len(u),
    )
