"""wrong-sign: the steps climb, or what falls is not an error."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.measure.updates import descents
from chainrule.lens.diagnose.rules.rule import Rule

CLIMBS = -0.1
EXPLAINS = (
    "learning-rate-too-high", "exploding-gradients", "non-finite", "not-learning", "dead-units",
    "saturated-units", "stale-gradients", "learning-rate-too-low", "too-few-steps",
)  # fmt: skip


class WrongSign(Rule):
    """Σ g·Δw > 0 step after step: the loss is climbed. Or the loss falls below what it can be
    while the error of the training rows grows: the loss itself has the wrong sign."""

    name = "wrong-sign"
    stage = "live"
    looks_at = "whether the steps go down the gradient, and the error falls with the loss"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if case.trace is None or how is None:
            raise Missing("no run was watched")
        cosines = descents(case)
        event = next((e for e in case.trace.events if e.kind == "wrong-sign"), None)
        minus = case.loss.sign < 0
        odd = (case.setup.sign < 0) + case.optimizer.maximize + minus
        told = bool(odd % 2) or event is not None
        climbs = len(cosines) >= 3 and np.mean(cosines < CLIMBS) > 0.8 and how.worst > how.start
        if (told or climbs) and not minus:
            yield self._climbing(how, cosines)
        elif (told and minus) or _negated(case, how):
            yield self._negated(how)

    def _climbing(self, how: Learning, cosines: np.ndarray) -> Finding:
        middle = float(np.median(cosines)) if len(cosines) else float("nan")
        return Finding(
            self.name,
            "optimizer",
            f"the steps climb: the loss went from {how.start:.3g} to {how.worst:.3g}"
            + (f", and the cosine of step and −gradient is {middle:.3g}" if len(cosines) else ""),
            (
                Measured(
                    "cosine of the step and −gradient", middle, "above 0", "median of samples"
                ),
                Measured("loss before the first step", how.start),
                Measured("largest loss", how.worst, "near the first"),
            ),
            "to first order a step Δw changes the loss by g·Δw, which descends only below 0; here "
            "the sign of the loss or of the step is turned (maximize=True, −loss, w + η·g)",
            "error",
            0.95,
            (changes.descend(),),
            explains=EXPLAINS,
        )

    def _negated(self, how: Learning) -> Finding:
        return Finding(
            self.name,
            "loss",
            f"the loss falls to {how.end:.3g} while the error of the training rows grows from "
            f"{how.start_error:.3g} to {how.error:.3g}",
            (
                Measured("loss at the end", how.end, "0 or more"),
                Measured("error of the training rows at the end", how.error, "below 1",
                         "1 is the best constant's"),
            ),
            "what is minimised has its minimum at −∞, away from the targets: the loss has the "
            "wrong sign",
            "error",
            0.85,
            (changes.descend(),),
            explains=EXPLAINS,
        )  # fmt: skip


def _negated(case: Case, how: Learning) -> bool:
    y = case.setup.y
    if case.loss.kind in ("bce", "bce_with_logits") and (np.min(y) < 0 or np.max(y) > 1):
        return False  # such targets make that loss negative by themselves: loss-output-mismatch
    falls = how.end < min(how.start, 0.0) - 4 * how.noise
    return falls and how.error > max(1.05, how.start_error, 1.02 * how.best_error)
