"""Where elementwise operations are defined and smooth, as data that the suite samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An open interval, without the kinks in it.

    Attributes:
        low, high: the ends, of what is drawn for tests.
        kinks: points at which there is no derivative; samples keep away from them.
        extremes: further hard inputs for the forward pass (not for derivatives).
    """

    low: float
    high: float
    kinks: tuple[float, ...] = ()
    extremes: tuple[float, ...] = (0.0, -0.0, 1e-30, -1e-30, 1e4, -1e4, np.inf, -np.inf, np.nan)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Points in the interval, at least a hundredth of it away from ends and kinks."""
        margin = 0.01 * (self.high - self.low)
        x = rng.uniform(self.low + margin, self.high - margin, shape)
        for kink in self.kinks:
            near = np.abs(x - kink) < margin
            x = np.where(near, kink + np.where(x >= kink, margin, -margin), x)
        return x


@dataclass(frozen=True)
class Whole(Interval):
    """Whole numbers from `low` to `high`: orders and counts, in which nothing is differentiated."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Whole numbers, each end among them."""
        return rng.integers(int(self.low), int(self.high) + 1, shape)


def sampled(*shape: int) -> np.ndarray:
    """Distinct sample values of a shape, between −2 and 2."""
    n = int(np.prod(shape))
    return np.sin(np.arange(1, n + 1) * 1.7).reshape(shape) * 2


REALS = Interval(-3.0, 3.0)
POSITIVE = Interval(0.05, 5.0, extremes=(0.0, 1e-30, 1e4, np.inf, np.nan))
NONZERO = Interval(-3.0, 3.0, kinks=(0.0,))
UNIT = Interval(-1.0, 1.0, extremes=(0.0, -0.0, 1.0, -1.0, 1e-30, np.nan))
ABOVE_ONE = Interval(1.0, 5.0, extremes=(1.0, 1e4, np.inf, np.nan))
