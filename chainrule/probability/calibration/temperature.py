"""Temperature scaling: one number for how sure to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.probability.calibration.recalibrator import ClassRecalibrator, smoothed_targets
from chainrule.tensor.locate import explained

LEAST, MOST = 1e-2, 1e2
"""Temperatures are looked for between these, times how far apart a row's outputs are (root mean
square of what each is below the largest)."""


class TemperatureScaling(ClassRecalibrator):
    """softmax(outputs / T), with the T > 0 that fits held-out labels best (Guo et al. 2017, §4.2).

    One number cannot change which class is likeliest. Where every row is right the best T would be
    0, a certainty that n rows cannot give; so each label counts as (n + 1)/(n + 2) rather than 1,
    as in Platt 1999, §2.2.

    Attributes:
        temperature: above 1 the network was too sure, below 1 not sure enough; a hundred times as
            large as the outputs where the surer ones are the less often right.

    >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]] * 50)
    >>> found = TemperatureScaling().fit(logits, [0, 0, 1, 1] * 50)  # sure in 98 %, right in 75 %
    >>> found.transform([[4.0, 0.0]]).round(2)
    array([[0.75, 0.25]])
    """

    name = "temperature"
    stored = ("classes", "temperature")
    per_class = False

    def __init__(self) -> None:
        super().__init__()
        self.temperature = 1.0

    @classmethod
    def parameters(cls, classes: int) -> int:
        return 1

    def _fit(self, logits: np.ndarray, y: np.ndarray) -> None:
        from scipy.optimize import brentq
        from scipy.special import softmax

        z = logits - logits.max(1, keepdims=True)
        size = float(np.sqrt((z**2).mean())) or 1.0
        z = z / size
        targets = smoothed_targets(y, z.shape[1])

        def slope(beta: float) -> float:
            """The derivative of −Σ t ln softmax(βz) in β, which only grows."""
            return float(((softmax(beta * z, 1) - targets) * z).sum(1).mean())

        if not z.any():  # all classes alike whatever T is
            self.temperature = 1.0
        elif slope(1 / MOST) >= 0:
            self.temperature = MOST * size
            self.warnings.append("The surer the outputs, the less often they are right.")
        elif slope(1 / LEAST) <= 0:
            self.temperature = LEAST * size
        else:
            self.temperature = size / float(brentq(slope, 1 / MOST, 1 / LEAST, xtol=1e-13))

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        found: np.ndarray = softmax(logits / self.temperature, 1)
        return found


@explained
def fit_temperature(logits: Any, labels: Any) -> float:
    """The T of `TemperatureScaling`, for which softmax(logits / T) fits held-out labels best.

    Args:
        logits: (rows, classes), of rows that nothing was learnt from.
        labels: (rows,), class codes.

    Returns:
        T > 0; above 1 the network was too sure, below 1 not sure enough.
    """
    return TemperatureScaling().fit(logits, labels).temperature
