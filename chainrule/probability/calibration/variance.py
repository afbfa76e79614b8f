"""Recalibrators of real targets: a factor on the variance, and isotonic quantiles."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from chainrule.errors import DataError
from chainrule.probability.calibration.forecasts import (
    Ensemble,
    Forecast,
    NormalMixture,
    forecast_and_targets,
    forecast_of,
)
from chainrule.probability.calibration.recalibrator import ROWS_PER_PARAMETER, Recalibrator
from chainrule.tensor.locate import explained

ENOUGH_QUANTILES = 100
"""Rows from which a quantile of 1 % is worth anything."""


class VarianceScaling(Recalibrator):
    """Multiplies every variance by one factor: the mean of (y − mean)²/variance.

    It is the likeliest factor of normal distributions with the forecast's means and variances (Levi
    et al. 2022, eq. 9; Laves et al. 2020). Of a mixture, and of draws, deviations from the mean are
    stretched.

    Attributes:
        factor: of the variance; above 1 the network was too sure.

    >>> y = np.random.default_rng(0).normal(0, 2, 1000)
    >>> found = VarianceScaling().fit((np.zeros(1000), np.ones(1000)), y)
    >>> round(found.factor, 1), found.transform((np.zeros(1), np.ones(1))).std.round(1)
    (3.8, array([2.]))
    """

    name = "variance"
    stored = ("factor",)

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    @explained
    def fit(self, outputs: Any, y: Any) -> Self:
        """Fit to a forecast (see `probability_integral_transform`) and the true values (rows,).

        Raises:
            DataError: a variance of 0, or every value predicted exactly.
            ShapeError: not one target for each row.
        """
        forecast, targets = forecast_and_targets(outputs, y)
        variance = forecast.variance
        if not (variance > 0).all():
            raise DataError("the forecast's variance is 0 in a row, and no factor changes that")
        factor = float(((targets - forecast.mean) ** 2 / variance).mean())
        if not factor > 0:
            raise DataError(
                "every value is predicted exactly, so the likeliest variance is 0; are these rows "
                "that the network learnt from?"
            )
        self.factor, self.rows = factor, targets.size
        self.warnings = []
        if self.rows < ROWS_PER_PARAMETER:
            self.warnings.append(f"{self.rows} rows are few for a variance; 10 are wanted.")
        return self

    @explained
    def transform(self, outputs: Any) -> NormalMixture | Ensemble:
        """The forecast with its variance multiplied: it has `mean`, `std`, `quantile(q)` and
        `interval(coverage)`."""
        self._needs_fit()
        forecast = forecast_of(outputs)
        if not isinstance(forecast, (NormalMixture, Ensemble)):
            raise DataError("this forecast was recalibrated already; hand over the network's own")
        return forecast.scaled(self.factor**0.5)


class CalibratedForecast(Forecast):
    """A forecast whose distribution function F is replaced by R(F)."""

    LEVELS = (np.arange(200) + 0.5) / 200
    """Quantiles that stand for the distribution where a mean over it is asked for."""

    def __init__(self, forecast: Forecast, curve: np.ndarray) -> None:
        self.forecast, self.curve = forecast, curve
        self.shape = forecast.shape

    @property
    def _ensemble(self) -> Ensemble:
        return Ensemble(np.stack([self.quantile(float(q)) for q in self.LEVELS]))

    @property
    def mean(self) -> np.ndarray:
        return self._ensemble.mean

    @property
    def variance(self) -> np.ndarray:
        return self._ensemble.variance

    def pit(self, y: np.ndarray) -> np.ndarray:
        return np.interp(self.forecast.pit(y), *self.curve)

    def quantile(self, q: float) -> np.ndarray:
        if not 0 < q < 1:
            raise DataError(f"q is {q}; a quantile is asked for between 0 and 1")
        inside = np.nextafter(0, 1), np.nextafter(1, 0)
        level = np.clip(np.interp(q, self.curve[1], self.curve[0]), *inside)
        return self.forecast.quantile(float(level))

    def crps(self, y: np.ndarray) -> np.ndarray:
        return self._ensemble.crps(y)


class IsotonicQuantiles(Recalibrator):
    """Replaces each distribution function F by R(F), R rising (Kuleshov et al. 2018, alg. 1).

    R sends the r-th smallest of the n values F_i(y_i) to r/(n + 1), which is what the r-th of n
    uniform numbers is on average, and is straight between them.

    Attributes:
        curve: (2, points), from (0, 0) to (1, 1): what the network says, and what it means.

    >>> y = np.random.default_rng(0).normal(0, 2, 2000)
    >>> found = IsotonicQuantiles().fit((np.zeros(2000), np.ones(2000)), y)
    >>> found.transform((np.zeros(1), np.ones(1))).interval(0.5).round(1)  # true are ±1.35
    array([[-1.4,  1.3]])
    """

    name = "isotonic quantiles"
    stored = ("curve",)

    def __init__(self) -> None:
        super().__init__()
        self.curve = np.zeros((2, 0))

    @explained
    def fit(self, outputs: Any, y: Any) -> Self:
        """Fit to a forecast (see `probability_integral_transform`) and the true values (rows,).

        Raises:
            DataError: a standard deviation that is not above 0.
            ShapeError: not one target for each row.
        """
        forecast, targets = forecast_and_targets(outputs, y)
        u, count = np.unique(forecast.pit(targets), return_counts=True)
        values = np.cumsum(count) / (count.sum() + 1)
        inside = (u > 0) & (u < 1)
        ends = [0.0], [1.0]
        self.curve = np.stack(
            [np.concatenate([ends[0], part[inside], ends[1]]) for part in (u, values)]
        )
        self.rows = targets.size
        self.warnings = []
        if self.rows < ENOUGH_QUANTILES:
            self.warnings.append(
                f"{self.rows} rows are few for quantiles; {ENOUGH_QUANTILES} are wanted."
            )
        return self

    @explained
    def transform(self, outputs: Any) -> CalibratedForecast:
        """The forecast recalibrated; it has `mean`, `std`, `quantile(q)`, `interval(coverage)`."""
        self._needs_fit()
        return CalibratedForecast(forecast_of(outputs), self.curve)
