"""What was tried of a network's shape and training, and what it gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from chainrule.lens.diagnose.finding import Change

T90 = {1: 6.31, 2: 2.92, 3: 2.35, 4: 2.13, 5: 2.02, 6: 1.94, 7: 1.89}
"""Student's t for a two-sided 90 % interval, by degrees of freedom."""
WORTH, LEAST = 0.05, 0.01
"""A gain of less than a twentieth of the error, or a hundredth of a constant's error, is none."""


@dataclass(frozen=True)
class Choice:
    """One way of building or training the network, against the network as it is.

    Attributes:
        question: "neurons", "depth", "activation", "normalisation", "dropout", "rate",
            "batch size" or "rows".
        where: the layer's path, or "".
        title: what was done, in the imperative.
        how: "from the first weights", or "from the trained weights, the function unchanged".
        before, after: held-out errors ÷ a constant's of every seed, pairwise with the same seed.
        parameters: how many more parameters it has (fewer if negative).
        change: what makes it of a setup, where it is a change for the user.
    """

    question: str
    where: str
    title: str
    how: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    parameters: int = 0
    change: Change | None = field(default=None, compare=False, repr=False)

    @property
    def gain(self) -> float:
        """Mean over seeds of error before − error after."""
        return float(np.mean(np.subtract(self.before, self.after)))

    @property
    def interval(self) -> tuple[float, float]:
        """A 90 % interval of the gain: paired t over seeds."""
        differences = np.subtract(self.before, self.after)
        n = len(differences)
        if n < 2:
            return float("-inf"), float("inf")
        half = T90.get(n - 1, 1.75) * float(np.std(differences, ddof=1)) / np.sqrt(n)
        return self.gain - half, self.gain + half

    @property
    def gain_per_parameter(self) -> float:
        """Gain ÷ parameters more; NaN where there are no more."""
        return self.gain / self.parameters if self.parameters > 0 else float("nan")

    @property
    def verdict(self) -> str:
        """ "helps", "hurts", "no difference" or "unclear"."""
        low, high = self.interval
        worth = max(WORTH * float(np.mean(self.before)), LEAST)
        if low > 0 and self.gain >= worth:
            return "helps"
        if high < 0 and self.gain <= -worth:
            return "hurts"
        if high < 2 * worth and low > -2 * worth:
            return "no difference"
        return "unclear"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        low, high = self.interval
        return {
            "question": self.question,
            "where": self.where,
            "title": self.title,
            "how": self.how,
            "before": list(self.before),
            "after": list(self.after),
            "gain": self.gain,
            "low": low,
            "high": high,
            "parameters": self.parameters,
            "gain_per_parameter": self.gain_per_parameter,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class WidthCurve:
    """L(w) = L∞ + a·w^−b for a layer's width w, L the held-out error ÷ a constant's.

    Attributes:
        where: the layer's path.
        widths, errors: what was tried: for each width the error of every seed.
        now: the layer's width.
        floor, a, b: L∞, a and b; `b_interval` is a 90 % interval (seeds drawn again).
        gain: L(now) − L(2·now), by the curve, and its 90 % interval.
    """

    where: str
    widths: tuple[int, ...]
    errors: tuple[tuple[float, ...], ...]
    now: int
    floor: float
    a: float
    b: float
    b_interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]

    def at(self, width: float) -> float:
        """The error that the curve gives a width."""
        return float(self.floor + self.a * float(width) ** -self.b)

    def sentence(self) -> str:
        """The curve in words."""
        return (
            f"the error of {self.where} follows {self.floor:.3g} + {self.a:.3g}·w^−{self.b:.2f} "
            f"(b {self.b_interval[0]:.2f} to {self.b_interval[1]:.2f}) over w = "
            f"{', '.join(map(str, self.widths))}; from {self.now} to {2 * self.now} it falls by "
            f"{self.gain:.3g} ({self.gain_interval[0]:.3g} to {self.gain_interval[1]:.3g})"
        )


@dataclass(frozen=True, repr=False)
class Advice:
    """What was tried, in order of gain, and plain sentences.

    Attributes:
        choices: everything that was tried.
        curves: for each hidden layer how the error depends on its width.
        sentences: what it comes to, a sentence for each question.
        not_tried: (what, why not).
        error: the held-out error ÷ a constant's of the network as it is, for every seed.
        epochs: how long each was trained; `of`: how long the run is.
        seconds: what it took; `budget`: what was allowed.
    """

    choices: Sequence[Choice]
    curves: Sequence[WidthCurve]
    sentences: Sequence[str]
    not_tried: Sequence[tuple[str, str]]
    error: tuple[float, ...]
    epochs: int
    of: int
    seconds: float
    budget: float

    @property
    def best(self) -> Choice | None:
        """The choice that helps most, if any does."""
        found = [c for c in self.choices if c.verdict == "helps"]
        return max(found, key=lambda c: c.gain) if found else None

    def table(self) -> list[tuple[str, ...]]:
        """(what, where, error before → after, gain with interval, per parameter, verdict) of every
        choice, the largest gain first."""
        rows: list[tuple[str, ...]] = []
        for c in sorted(self.choices, key=lambda c: -c.gain):
            low, high = c.interval
            per = f"{c.gain_per_parameter:+.2g}" if c.parameters > 0 else ""
            rows.append(
                (c.title, c.where, f"{np.mean(c.before):.3g} → {np.mean(c.after):.3g}",
                 f"{c.gain:+.3g} ({low:+.3g} to {high:+.3g})", per, c.verdict)
            )  # fmt: skip
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "sentences": list(self.sentences),
            "choices": [c.to_dict() for c in self.choices],
            "curves": [asdict(c) for c in self.curves],
            "not_tried": [list(pair) for pair in self.not_tried],
            "error": list(self.error),
            "epochs": self.epochs,
            "of": self.of,
            "seconds": self.seconds,
            "budget": self.budget,
        }

    def __str__(self) -> str:
        head = (
            f"each trained {self.epochs} of {self.of} epochs with {len(self.error)} seeds; held-"
            f"out error of the network as it is {np.mean(self.error):.3g} of a constant's "
            f"({self.seconds:.1f} s of {self.budget:g} s)"
        )
        rows = [("change", "layer", "error", "gain (90 %)", "per parameter", ""), *self.table()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
                 for row in rows]  # fmt: skip
        left = [f"not tried: {what} ({why})" for what, why in self.not_tried]
        return "\n".join([*self.sentences, "", head, *lines, *left])

    __repr__ = __str__
