"""learning-rate-too-low: steps so small that the run ends long before it has learnt."""

from __future__ import annotations

from collections.abc import Iterable
from math import log10

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.measure.rates import Tried, at_rate, unless_explained
from chainrule.lens.diagnose.measure.sharpness import critical_rate
from chainrule.lens.diagnose.measure.updates import update_ratio
from chainrule.lens.diagnose.rules.rule import Rule

USUAL = 1e-3
"""Update ÷ weight of most trainings that go well."""


class LearningRateTooLow(Rule):
    """The training rows are not fitted, and the same run with ten or a hundred times the rate fits
    them and the held-out rows far better in equally many steps."""

    name = "learning-rate-too-low"
    stage = "deep"
    looks_at = "whether a larger rate would have learnt more in as many steps"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None or how.broken or case.setup.rate <= 0 or not how.unfinished:
            return
        unless_explained(case)
        for factor in _factors(update_ratio(case)):
            other = at_rate(case, factor)
            if other is None:
                return
            if how.worse_than(other.error, other.held_out):
                yield self._finding(case, how, factor, other)
                return

    def _finding(self, case: Case, how: Learning, factor: float, other: Tried) -> Finding:
        rate = case.setup.rate
        edge = critical_rate(case)
        ratio = update_ratio(case)
        sooner = _steps_to(other.losses, how.end)
        steps = how.steps
        evidence = [
            Measured("learning rate", rate),
            Measured("error of the training rows at the end", how.error, "near 0",
                     "1 is the best constant's"),
            Measured(f"the same with the rate {rate * factor:.3g}", other.error, "",
                     f"{other.steps} steps, same seed"),
            Measured("update ÷ weight, root mean squares", ratio, "about 1e-3"),
        ]  # fmt: skip
        if edge is not None:
            evidence.append(Measured("smallest rate whose first step raises the loss", edge.shown,
                                     how=f"{edge.passes} forward passes"))  # fmt: skip
        if sooner is not None:
            evidence.append(Measured(
                f"steps to the loss {how.end:.3g} with the rate {rate * factor:.3g}", sooner,
                f"{steps} with {rate:.3g}"))  # fmt: skip
        room = "no step tried was too long"
        if edge is not None and np.isfinite(edge.rate):
            room = (
                f"the loss would bear {edge.rate:.3g} (η_c), {edge.rate / rate:.3g} times as much"
            )
        # Steps of a thousandth of the weights are usual: where they are as long, few steps are the
        # likelier fault.
        strong = not ratio > USUAL
        return Finding(
            self.name,
            "optimizer",
            f"the learning rate {rate:.3g} is too low: after {steps} steps training rows have an "
            f"error of {how.error:.3g} (1 is a constant's); with {rate * factor:.3g} it is "
            f"{other.error:.3g}",
            evidence,
            "where the loss is nearly straight, L falls by η‖g‖² a step: progress goes with η × "
            f"steps, here {rate:.3g} × {steps} = {rate * steps:.3g}; {room}",
            "warning" if strong and how.severity == "advice" else how.severity,
            0.65 if strong else 0.5,
            (
                changes.set_rate(rate * factor),
                changes.set_rate(rate * factor * 3),
                changes.use_optimizer("Adam", lr=1e-3),
            ),
            explains=("not-learning", "capacity-too-small"),
        )


def _factors(ratio: float) -> tuple[float, ...]:
    """Ten or more times the rate: the power of ten that makes steps of a thousandth of the weights,
    and the two after it."""
    first = 10.0 ** max(1, round(log10(USUAL / ratio))) if ratio > 0 else 10.0
    return first, 10 * first, 100 * first


def _steps_to(losses: np.ndarray, level: float) -> int | None:
    """After how many steps the loss, smoothed over a tenth of the run, is at most `level`."""
    width = max(1, len(losses) // 10)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    below = np.flatnonzero(smooth <= level)
    return int(below[0]) + width if len(below) else None
