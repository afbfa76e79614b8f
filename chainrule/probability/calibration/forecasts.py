"""Predictive distributions of real targets, in the forms in which they are handed over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.probability.calibration.given import array_of
from chainrule.probability.calibration.normal import absolute_mean
from chainrule.probability.conformal.law import check_coverage


class Forecast(ABC):
    """A distribution for each of n rows."""

    shape: tuple[int, ...]

    @property
    @abstractmethod
    def mean(self) -> np.ndarray: ...

    @property
    @abstractmethod
    def variance(self) -> np.ndarray: ...

    @abstractmethod
    def pit(self, y: np.ndarray) -> np.ndarray:
        """F_i(y_i), in [0, 1]; uniform over rows if the forecast is calibrated."""

    @abstractmethod
    def quantile(self, q: float) -> np.ndarray:
        """The y with F_i(y) = q, for each row."""

    @abstractmethod
    def crps(self, y: np.ndarray) -> np.ndarray:
        """∫ (F_i(x) − [x ≥ y_i])² dx, for each row, in units of y."""

    @property
    def std(self) -> np.ndarray:
        found: np.ndarray = np.sqrt(self.variance)
        return found

    def interval(self, coverage: float = 0.9) -> np.ndarray:
        """(n, 2): the quantiles (1 − coverage)/2 on both sides."""
        tail = (1 - check_coverage(coverage)) / 2
        return np.stack([self.quantile(tail), self.quantile(1 - tail)], -1)


def _level(q: float) -> float:
    if not 0 < q < 1:
        raise DataError(f"q is {q}; a quantile is asked for between 0 and 1")
    return float(q)


class NormalMixture(Forecast):
    """S equally likely normal distributions: means and standard deviations (S, n); S = 1 for one.

    >>> NormalMixture(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])).variance
    array([2.])
    """

    def __init__(self, means: np.ndarray, scales: np.ndarray) -> None:
        self.means, self.scales = means, scales
        self.shape = means.shape[1:]

    @property
    def mean(self) -> np.ndarray:
        found: np.ndarray = self.means.mean(0)
        return found

    @property
    def variance(self) -> np.ndarray:
        found: np.ndarray = (self.scales**2).mean(0) + self.means.var(0)
        return found

    def pit(self, y: np.ndarray) -> np.ndarray:
        from scipy.special import ndtr

        found: np.ndarray = ndtr((y - self.means) / self.scales).mean(0)
        return found

    def quantile(self, q: float) -> np.ndarray:
        from scipy.special import ndtri

        ends = self.means + self.scales * ndtri(_level(q))
        low, high = ends.min(0), ends.max(0)  # the mixture's quantile lies between its components'
        for _ in range(60 if len(self.means) > 1 else 0):
            middle = (low + high) / 2
            below = self.pit(middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    def crps(self, y: np.ndarray) -> np.ndarray:
        """E|X − y| − ½ E|X − X'|, all means of folded normals (Grimit et al. 2006, eq. 5)."""
        near: np.ndarray = absolute_mean(y - self.means, self.scales).mean(0)
        apart = np.zeros(self.shape)
        for m, s in zip(self.means, self.scales, strict=True):
            apart += absolute_mean(m - self.means, np.hypot(s, self.scales)).mean(0)
        return near - apart / (2 * len(self.means))

    def scaled(self, factor: float) -> NormalMixture:
        """With deviations from the mean `factor` times as large."""
        return NormalMixture(self.mean + factor * (self.means - self.mean), factor * self.scales)


class Ensemble(Forecast):
    """S equally likely values (S, n): draws of y, or members of an ensemble."""

    def __init__(self, draws: np.ndarray) -> None:
        self.draws = np.sort(draws, 0)
        self.shape = draws.shape[1:]

    @property
    def mean(self) -> np.ndarray:
        found: np.ndarray = self.draws.mean(0)
        return found

    @property
    def variance(self) -> np.ndarray:
        found: np.ndarray = self.draws.var(0)
        return found

    def pit(self, y: np.ndarray) -> np.ndarray:
        """The middle of the step at which y stands among the draws: (r + ½)/(S + 1), r its rank.

        If y is exchangeable with the draws all ranks 0 to S are equally likely (Hamill 2001). Of
        draws equal to y half are below it.
        """
        rank = (self.draws < y).sum(0) + 0.5 * (self.draws == y).sum(0)
        found: np.ndarray = (rank + 0.5) / (len(self.draws) + 1)
        return found

    def quantile(self, q: float) -> np.ndarray:
        found: np.ndarray = np.quantile(self.draws, _level(q), 0)
        return found

    def crps(self, y: np.ndarray) -> np.ndarray:
        """E|X − y| − ½ E|X − X'| of the empirical distribution (Gneiting, Raftery 2007, eq. 21)."""
        s = len(self.draws)
        weights = (2 * np.arange(1, s + 1) - s - 1).reshape(-1, *(1,) * len(self.shape))
        apart = (weights * self.draws).sum(0) / s**2  # ½ E|X − X'|, from the sorted draws
        found: np.ndarray = np.abs(self.draws - y).mean(0) - apart
        return found

    def scaled(self, factor: float) -> Ensemble:
        """With deviations from the mean `factor` times as large."""
        return Ensemble(self.mean + factor * (self.draws - self.mean))


def forecast_of(given: Any, name: str = "forecast") -> Forecast:
    """A forecast from what users have.

    | given | read as |
    |---|---|
    | a pair (mean, std), a tuple or list of two | a normal distribution for each row |
    | `prob.Normal`, or what a posterior predicts of real targets | itself |
    | an array (S, n) | S draws of each row |

    Raises:
        ShapeError: an array that is no table of draws, or a pair of different shapes.
        DataError: a standard deviation that is not above 0, no rows.
    """
    from chainrule.probability.continuous import Normal

    if isinstance(given, Forecast):
        return given
    if isinstance(given, Normal):
        means, scales = array_of(given.loc, "loc"), array_of(given.scale, "scale")
    elif hasattr(given, "means") and hasattr(given, "noise"):  # posteriors lie above this package
        spread = getattr(given, "spread", None)
        variance = given.noise if spread is None else given.noise + spread
        return NormalMixture(given.means, np.sqrt(variance))
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        means, scales = array_of(given[0], "mean"), array_of(given[1], "std")
    else:
        draws = array_of(given, name)
        if draws.ndim < 2 or not draws.size:
            raise ShapeError(
                f"{name} has the shape {draws.shape}. It is a pair (mean, std), or draws of the "
                "shape (draws, rows), of which there is at least one"
            )
        return Ensemble(draws)
    if not (scales > 0).all():
        raise DataError(f"std has {scales.min():.6g}; standard deviations are above 0")
    try:
        means, scales = np.broadcast_arrays(means, scales)
    except ValueError:
        raise ShapeError(f"mean has the shape {means.shape} and std {scales.shape}") from None
    if not means.size or not means.ndim:
        raise ShapeError(
            f"mean has the shape {means.shape}; there is a number for each of the rows"
        )
    return NormalMixture(means[None], scales[None])


def forecast_and_targets(given: Any, y: Any) -> tuple[Forecast, np.ndarray]:
    """(the forecast, the targets), checked; a column (n, 1) of targets is taken as (n,).

    Raises:
        ShapeError: not a target for each row.
    """
    forecast, targets = forecast_of(given), array_of(y, "targets")
    if targets.shape != forecast.shape and targets.shape == (*forecast.shape, 1):
        targets = targets[..., 0]
    if targets.shape != forecast.shape:
        raise ShapeError(
            f"the targets have the shape {targets.shape}, and the forecast is of {forecast.shape}"
        )
    return forecast, targets
