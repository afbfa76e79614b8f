"""Learning curves of a run: where the held-out loss was least, and how far it rose again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.lens.diagnose.trace import Trace

GROUPS = 20


@dataclass(frozen=True)
class Turn:
    """Where the held-out curve turned.

    Attributes:
        epoch: of the least held-out loss (smoothed over three looks).
        least, last: held-out loss there, and at the end.
        noise: standard deviation from one look to the next, once the trend is taken off.
        train_least, train_last: training loss at that epoch, and at the end.
        error_least, error_last: the held-out error there and at the end (÷ a constant's).
        looks: at how many epochs the held-out rows were looked at; `after`: how many after `epoch`.
    """

    epoch: int
    least: float
    last: float
    noise: float
    train_least: float
    train_last: float
    error_least: float
    error_last: float
    looks: int
    after: int

    @property
    def rise(self) -> float:
        """(last − least) ÷ least."""
        return (self.last - self.least) / max(abs(self.least), 1e-12)


def turn_of(trace: Trace) -> Turn | None:
    """The turn of the held-out curve, or None where there are too few looks to see one."""
    looks = [e for e in trace.epochs if e.held_out_loss is not None]
    if len(looks) < 6:
        return None
    loss = np.array([e.held_out_loss for e in looks], dtype=np.float64)
    train = np.array([e.train_loss for e in looks], dtype=np.float64)
    error = np.array(
        [np.nan if e.held_out_error is None else e.held_out_error for e in looks], np.float64
    )
    if not np.isfinite(loss).all() or not np.isfinite(train[-1]):
        return None
    smooth = _medians(loss)
    at = int(smooth.argmin())
    # The second difference of a smooth curve is small: √(Var/6) of it is the noise of one look.
    noise = float(np.sqrt(np.mean(np.diff(loss[1:], 2) ** 2) / 6)) if len(loss) > 5 else 0.0
    return Turn(
        looks[at].epoch, float(smooth[at]), float(smooth[-1]), noise,
        float(train[at]), float(train[-1]), float(_medians(error)[at]), float(_medians(error)[-1]),
        len(looks), len(looks) - 1 - at,
    )  # fmt: skip


def _medians(values: np.ndarray) -> np.ndarray:
    """The median of each value and its neighbours; at the ends, of the last three."""
    if len(values) < 3:
        return values
    windows = np.lib.stride_tricks.sliding_window_view(values, 3)
    inner = np.median(windows, axis=1)
    return np.concatenate([values[:1], inner, inner[-1:]])


def loss_interval(
    framework: Any, loss: Any, outputs: np.ndarray, y: np.ndarray
) -> tuple[float, float]:
    """(loss, its standard error over rows), from the losses of 20 groups of rows: any loss that
    averages over rows, whatever it is."""
    order = np.random.default_rng(5).permutation(len(y))
    groups = [g for g in np.array_split(order, min(GROUPS, len(y))) if len(g)]
    found = np.array([framework.loss_of(loss, outputs[g], y[g]) for g in groups])
    if len(found) < 2:
        return float(found.mean()), float("inf")
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(len(found)))
