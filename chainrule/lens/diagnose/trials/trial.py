"""What a trial gave: the remedy against no change and a random change, on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEAST_GAIN = 0.01
LEAST_SHARE = 0.05
"""A gain below a hundredth of a constant's error, or a twentieth of the error, is none."""
STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015)
"""The 95 % point of Student's t with 1, 2, … degrees of freedom."""
CLEAR = 0.25
"""A gain of a quarter of the error, at every seed, is one whatever the interval says."""


@dataclass(frozen=True)
class Arm:
    """One way of going on.

    Attributes:
        title: "no change", "random change: …" or the remedy's title.
        errors: the held-out yardstick of every seed (0 is perfect, 1 is a constant's).
        seeds: which.
        epochs: how long each was trained.
        seconds: in all.
    """

    title: str
    errors: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Trial:
    """Paired comparisons of a finding's remedies.

    Attributes:
        arms: "no change" first, "random change" second where the time allowed it, then the remedies
            that were tried, the one that is judged first of them.
        gain: mean over seeds of error(no change) − error(remedy); above 0 it helped.
        low, high: a 90 % interval of the gain.
        over_random: mean over seeds of error(random change) − error(remedy).
        helped: whether the remedy is recommended.
        seconds: what it took.
        given: the titles of other changes that all arms but the random one had besides.
        decided: whether it was long enough to say that something does not help: two seeds, and
            half of the run at least. If not, the remedy stays a recommendation.
    """

    arms: tuple[Arm, ...]
    gain: float
    low: float
    high: float
    over_random: float
    helped: bool
    seconds: float
    given: tuple[str, ...] = ()
    decided: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def error(self) -> float:
        """The mean held-out error of the judged remedy, at the seeds that all arms share."""
        return float(np.mean(self.arms[0].errors)) - self.gain

    def sentence(self) -> str:
        """The outcome in one line."""
        before = float(np.mean(self.arms[0].errors))
        seeds = len(self.arms[0].seeds)
        besides = f", beside {' and '.join(self.given)}" if self.given else ""
        random = any(arm.title.startswith("random change") for arm in self.arms)
        return (
            f"tried with {seeds} seed{'s' * (seeds > 1)}{besides}: held-out error {before:.3g} → "
            f"{self.error:.3g} (gain {self.gain:.3g}, 90 % interval {self.low:.3g} to "
            f"{self.high:.3g}"
            + (f"; {_compared(self.over_random)} a random change" if random else "")
            + "); "
            + self._verdict
        )

    @property
    def _verdict(self) -> str:
        if self.helped:
            return "it helped"
        if self.decided:
            return "it did not help and is not recommended"
        return f"that is undecided after {self.arms[0].epochs} epochs, which the budget allowed"


def _compared(more: float) -> str:
    """In words: how much less error than something else.

    >>> _compared(0.2), _compared(-0.1), _compared(0.0)
    ('0.2 better than', '0.1 worse than', 'as good as')
    """
    if not more:
        return "as good as"
    return f"{abs(more):.3g} {'better' if more > 0 else 'worse'} than"


def gain_of(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> tuple[float, float, float]:
    """(mean gain, low, high): a 90 % interval over seeds and held-out rows.

    d_si = error before − error after, of row i at seed s. Seeds are new draws, rows are the same
    for all seeds, so the two variances of the mean add up: s²(mean over rows)/S, with Student's t
    of S − 1 degrees, and s²(mean over seeds)/R. With one seed the rows' part is all that is known.
    """
    d = np.stack([b - a for b, a in zip(before, after, strict=True)])
    seeds, rows = d.shape
    mean = float(d.mean())
    of_seeds = 0.0
    if seeds > 1:
        t = STUDENT[min(seeds - 1, len(STUDENT)) - 1]
        of_seeds = float(t * d.mean(1).std(ddof=1) / np.sqrt(seeds))
    of_rows = float(1.645 * d.mean(0).std() / np.sqrt(rows))
    half = float(np.hypot(of_seeds, of_rows))
    return mean, mean - half, mean + half


def helps(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> bool:
    """Whether a remedy is recommended: the gain is worth it, and it is no accident.

    The interval lies above 0, or the gain is clear at every one of several seeds.
    """
    gain, low, _ = gain_of(before, after)
    error = float(np.mean([b.mean() for b in before]))
    if gain < max(LEAST_GAIN, LEAST_SHARE * error):
        return False
    each = [float(b.mean() - a.mean()) for b, a in zip(before, after, strict=True)]
    if len(each) == 1:
        return low > 0 and gain > CLEAR * error
    return min(each) > 0 and (low > 0 or gain > CLEAR * error)
