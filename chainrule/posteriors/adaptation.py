"""What a chain learns in its warm-up: the length of a step, and the scale of each coordinate."""

from __future__ import annotations

import math

import numpy as np


class StepSize:
    """The length of a step by dual averaging, so that steps are accepted as often as wished.

    log ε_t = μ − √t/γ · H̄_t, with H̄_t the running mean of target − acceptance (weights 1/(t + t₀)),
    and after the warm-up the average of log ε_t with weights t^−κ (Hoffman, Gelman 2014, §3.2.1;
    γ = 0.05, t₀ = 10, κ = 0.75, μ = log 10ε₀).
    """

    def __init__(self, first: float, target: float) -> None:
        self.target = target
        self.restart(first)

    def restart(self, first: float) -> None:
        """Begin again from a step size."""
        self.now = first
        self._centre = math.log(10 * first)
        self._count, self._lack, self._average = 0, 0.0, 0.0

    def learn(self, acceptance: float) -> None:
        """From the mean acceptance probability of a trajectory."""
        self._count += 1
        t = self._count
        self._lack += (self.target - acceptance - self._lack) / (t + 10)
        log_step = self._centre - math.sqrt(t) / 0.05 * self._lack
        weight = t**-0.75
        self._average = weight * log_step + (1 - weight) * self._average
        self.now = math.exp(log_step)

    @property
    def final(self) -> float:
        """What is kept when the warm-up is over."""
        return math.exp(self._average) if self._count else self.now


class Scales:
    """The variance of each coordinate, from the draws of a window (Welford 1962).

    It is drawn towards 10⁻³ as by 5 further draws, as Stan does (its reference manual, §15.2).
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.restart()

    def restart(self) -> None:
        self.count, self._mean = 0, np.zeros(self._size)
        self._squares = np.zeros(self._size)

    def learn(self, position: np.ndarray) -> None:
        self.count += 1
        off = position - self._mean
        self._mean += off / self.count
        self._squares += off * (position - self._mean)

    @property
    def variance(self) -> np.ndarray:
        n = self.count
        own = self._squares / max(n - 1, 1)
        found: np.ndarray = n / (n + 5) * own + 1e-3 * 5 / (n + 5)
        return found


def windows(warmup: int) -> tuple[int, list[int]]:
    """(where learning of scales begins, where its windows end), as Stan has them: 75 steps for the
    way to the bulk, windows of 25, 50, 100, …, and the last 50 for the step size alone.

    >>> windows(1000)
    (75, [100, 150, 250, 450, 950])
    >>> windows(100)
    (15, [90])
    """
    if warmup < 150:
        begin, end, length = int(0.15 * warmup), warmup - int(0.1 * warmup), warmup
    else:
        begin, end, length = 75, warmup - 50, 25
    ends, at = [], begin
    while at < end:
        # A window goes to the end where the one after it would not fit.
        at = end if at + 3 * length > end else at + length
        length *= 2
        ends.append(at)
    return begin, ends
