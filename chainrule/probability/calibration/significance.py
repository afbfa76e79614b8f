"""Whether a calibration error is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.probability.calibration.given import classified
from chainrule.probability.calibration.reliability import Binning, answers, edges_of, places
from chainrule.tensor.locate import explained

AT_ONCE = 1 << 21
"""How many random numbers are held at a time."""
MOST_RESAMPLES = 1_000_000


@dataclass(frozen=True)
class CalibrationTest:
    """What `calibration_test` found.

    Attributes:
        ece: the calibration error of the rows.
        p_value: how often calibrated probabilities like these would show so large an error.
        expected: (low, high), the middle 95 % of errors that calibrated probabilities would show.
        interval: (low, high), a 95 % interval of the calibration error, bias of the bins removed.
        rows: how many there were.
    """

    ece: float
    p_value: float
    expected: tuple[float, float]
    interval: tuple[float, float]
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "expected": list(self.expected), "interval": list(self.interval)}


def _drawn_again(n: int, m: int, rng: np.random.Generator) -> np.ndarray:
    """(m, n): how often each of n rows occurs among n that are drawn with replacement, m times."""
    places = rng.integers(n, size=(m, n)) + n * np.arange(m)[:, None]
    return np.bincount(places.ravel(), minlength=m * n).reshape(m, n)


@explained
def calibration_test(
    p: Any,
    y: Any,
    *,
    bins: int = 15,
    binning: Binning = "mass",
    kind: str | int = "confidence",
    resamples: int = 1000,
    seed: int = 0,
) -> CalibrationTest:
    """Test the null hypothesis that the probabilities are calibrated, by the error of norm 1.

    Labels are drawn again from the probabilities themselves, which makes the hypothesis true
    (consistency resampling: Bröcker, Smith 2007; as a test Vaicenavicius et al. 2019, §5):
    p = (1 + #{error of resampled ≥ error found})/(1 + resamples). The interval is the basic
    bootstrap over rows, 2 E − q of its upper and lower quantiles q, not below 0 (Davison, Hinkley
    1997, §2.4); it reflects the bias that resampling shows, so its middle is below the error E.

    A large p-value says that these rows do not show a miscalibration of confidences (or of the
    class `kind`) at the resolution of the bins; it does not prove that there is none.

    Args:
        p, y, bins, binning, kind: as in `reliability`.
        resamples: how many of each; p-values go down to 1/(1 + resamples).
        seed: of the resampling alone.

    Raises:
        DataError, ShapeError: as in `reliability`.

    >>> p = np.random.default_rng(0).uniform(0, 1, 2000)
    >>> y = np.random.default_rng(1).uniform(0, 1, 2000) < p
    >>> calibration_test(p, y).p_value > 0.05, calibration_test(p**3, y).p_value < 0.01
    (True, True)
    """
    if isinstance(resamples, bool) or not isinstance(resamples, (int, np.integer)):
        raise DTypeError(f"resamples is {resamples!r}; it is a whole number")
    if not 1 <= resamples <= MOST_RESAMPLES:
        raise DataError(f"resamples is {resamples}; it lies between 1 and {MOST_RESAMPLES}")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DTypeError(f"seed is {seed!r}; it is a whole number, not below 0")
    probabilities, labels = classified(p, y)
    confidence, right = answers(probabilities, labels, kind)
    place = places(confidence, edges_of(confidence, bins, binning))
    order = np.argsort(place, kind="stable")
    place, confidence, right = place[order], confidence[order], right[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    n, rng = len(place), np.random.default_rng(int(seed))

    def errors(gaps: np.ndarray) -> np.ndarray:
        """Of (m, n) gaps right − confidence: Σ_b |Σ gaps of b| / n."""
        found: np.ndarray = np.abs(np.add.reduceat(gaps, starts, axis=1)).sum(1) / n
        return found

    def parts() -> Iterator[int]:
        step = max(1, AT_ONCE // n)
        for start in range(0, resamples, step):
            yield min(step, resamples - start)

    gaps = right - confidence
    ece = float(errors(gaps[None])[0])
    null = np.concatenate([errors((rng.random((m, n)) < confidence) - confidence) for m in parts()])
    again = np.concatenate([errors(_drawn_again(n, m, rng) * gaps) for m in parts()])
    low, high = np.quantile(again, [0.025, 0.975])
    inside = np.quantile(null, [0.025, 0.975])
    # Sums in another order differ by roundings; a tie counts as reached.
    reached = int((null >= ece * (1 - 1e-12)).sum())
    return CalibrationTest(
        ece,
        (1 + reached) / (1 + resamples),
        (float(inside[0]), float(inside[1])),
        (max(2 * ece - float(high), 0.0), max(2 * ece - float(low), 0.0)),
        n,
    )
