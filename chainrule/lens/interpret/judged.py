"""How right the answers to the rows asked about are, where their targets are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.lens.interpret.calibration import Calibration, RealCalibration
from chainrule.lens.interpret.sentence import number, share, span
from chainrule.probability.conformal.law import Guarantee
from chainrule.probability.intervals import wilson_interval

UNLIKELY = 0.01
"""Below this p-value rows are taken to be of another kind than the held-out ones."""


@dataclass(frozen=True)
class Judged:
    """Attributes:
    rows: how many rows there are.
    right, low, high: the share of them that was answered rightly, with its 95 % interval; None
        of real targets.
    rmse: the root mean squared error of real targets.
    covered: in how many rows the set (interval) holds the truth; None where there is none.
    promised: the share that it should hold in.
    p_value: how surprising that is, were these rows like the held-out ones; None where they are
        the held-out ones.
    calibration: what these rows themselves say of the probabilities; None where they are too few.
    """

    rows: int
    right: float | None
    low: float | None
    high: float | None
    rmse: float | None
    covered: int | None
    promised: float | None
    p_value: float | None
    calibration: Calibration | RealCalibration | None

    @property
    def sentence(self) -> str:
        """All this in words."""
        if self.right is not None and self.low is not None and self.high is not None:
            text = (
                f"{round(self.right * self.rows)} of these {self.rows} rows are answered rightly "
                f"({share(self.right)}, {span(self.low, self.high)})"
            )
        else:
            text = f"On these {self.rows} rows the network is off by {number(self.rmse or 0.0)}"
        if self.covered is None or self.promised is None or self.p_value is None:
            return f"{text}."
        text += (
            f"; what cannot be ruled out holds the truth in {share(self.covered / self.rows)}, "
            f"where {self.promised:.3g} was promised."
        )
        if self.p_value < UNLIKELY and self.covered < self.promised * self.rows:
            text += (
                " That is less than chance allows: these rows are of another kind than the "
                "held-out ones, and nothing that those promise holds here."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        calibration = None if self.calibration is None else self.calibration.to_dict()
        return {**vars(self), "calibration": calibration, "sentence": self.sentence}


def judged_classes(hit: np.ndarray, held: np.ndarray | None, law: Guarantee | None,
                   calibration: Calibration | None) -> Judged:  # fmt: skip
    """Of rows that were answered rightly or not, `hit`, and in the set or not, `held`."""
    n, right = len(hit), int(hit.sum())
    low, high = wilson_interval(right, n)
    return Judged(n, right / n, low, high, None, *_promise(held, law), calibration)


def judged_reals(error: np.ndarray, held: np.ndarray | None, law: Guarantee | None,
                 calibration: RealCalibration | None) -> Judged:  # fmt: skip
    """Of errors (n,) in the target's unit, and of truths in the interval or not."""
    rmse = float(np.sqrt(np.mean(error**2)))
    return Judged(len(error), None, None, None, rmse, *_promise(held, law), calibration)


def _promise(
    held: np.ndarray | None, law: Guarantee | None
) -> tuple[int | None, float | None, float | None]:
    if held is None:
        return None, None, None
    covered = int(held.sum())
    return covered, None if law is None else law.mean, (
        None if law is None else law.p_value(covered, len(held))
    )  # fmt: skip
