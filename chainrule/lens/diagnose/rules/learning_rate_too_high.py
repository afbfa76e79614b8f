"""learning-rate-too-high: steps overshoot, and smaller ones would descend."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.measure.rates import Tried, at_rate, unless_explained
from chainrule.lens.diagnose.measure.sharpness import CriticalRate, critical_rate, sharpness
from chainrule.lens.diagnose.rules.rule import Rule

FACTORS = (0.1, 0.01, 0.001)
RISE = 1.3
FROM_START = 0.85
CONSEQUENCES = {
    "non-finite", "exploding-gradients", "dead-units", "saturated-units", "not-learning",
    "vanishing-gradients", "batch-size",
}  # fmt: skip


class LearningRateTooHigh(Rule):
    """The loss blew up, or stays high, and the same run with a tenth, a hundredth or a thousandth
    of the rate learns.

    Training at the edge of stability (λ ≈ 2/η, Cohen et al. 2021) is no reason: the loss must have
    suffered, and the smaller rate must have been better.
    """

    name = "learning-rate-too-high"
    stage = "deep"
    looks_at = "whether the loss rises or stays high, and would fall with smaller steps"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None or case.setup.rate <= 0 or not (how.suffers or _swings(how)):
            return
        if not how.broken and how.worst < RISE * how.start and not _swings(how):
            edge = critical_rate(case)
            if edge is not None and edge.rate > case.setup.rate:
                return  # nothing rose, and nothing was about to
        unless_explained(case)
        for factor in _factors(case, how):
            other = at_rate(case, factor)
            if other is None:
                return
            if _learns(how, other):
                yield self._finding(case, how, other, factor)
                return

    def _finding(self, case: Case, how: Learning, other: Tried, factor: float) -> Finding:
        rate = case.setup.rate
        smaller = rate * factor
        edge = critical_rate(case)
        evidence = [
            Measured("learning rate", rate),
            Measured("loss before the first step", how.start),
            Measured("largest loss of a step", how.worst, "near the first loss"),
            Measured("error of the training rows at the end", how.error, "below 1",
                     "1 is the best constant's"),
            Measured(f"the same with the rate {smaller:.3g}", other.error, "",
                     f"{other.steps} steps, same seed"),
        ]  # fmt: skip
        if edge is not None:
            evidence.append(
                Measured(
                    "smallest rate whose first step raises the loss",
                    edge.shown,
                    f"above {rate:.3g}",
                    f"{edge.passes} forward passes",
                )
            )
        if case.time_left > 1:
            sharp = sharpness(case)
            if sharp.eigenvalue > 0:  # else no curvature limits the rate there
                evidence.append(
                    Measured(
                        "largest rate that the Hessian's top eigenvalue allows at first",
                        sharp.stable,
                        f"above {rate:.3g}",
                        f"λ = {sharp.eigenvalue:.3g}, by power iteration",
                    )
                )
        return Finding(
            self.name,
            "optimizer",
            f"the learning rate {rate:.3g} is too high: "
            + (f"the loss went from {how.start:.3g} to {_shown(how)}, and with {smaller:.3g} it "
               f"falls to {other.end:.3g}" if how.broken
               else f"training rows end at an error of {how.error:.3g} (1 is a constant's), and "
               f"with {smaller:.3g} it is {other.error:.3g}"),
            evidence,
            _cause(rate, edge),
            _severity(how),
            0.8 if how.broken else 0.7,
            (
                changes.set_rate(smaller),
                changes.use_optimizer("Adam", lr=1e-3),
                changes.clip_gradients(1.0),
            ),
            explains=tuple(sorted(CONSEQUENCES - _from_start(case))),
        )  # fmt: skip


def _severity(how: Learning) -> str:
    """A loss that never rose far above where it began and is half learnt is no fault."""
    if how.broken:
        return "error"
    return "warning" if how.severity == "advice" and how.worst > 3 * how.start else how.severity


def _from_start(case: Case) -> set[str]:
    """What was so before the first step already, and so is no consequence of steps."""
    return {f.rule for f in case.found if f.strength >= FROM_START}


def _factors(case: Case, how: Learning) -> tuple[float, ...]:
    """What to multiply the rate by: not more than the critical rate allows where the loss blew up,
    and a tenth alone where it did not even stay at chance."""
    if not how.suffers:
        return FACTORS[:1]
    edge = critical_rate(case)
    if not how.broken or edge is None or edge.rate >= case.setup.rate:
        return FACTORS
    most = edge.rate / case.setup.rate
    return tuple(f for f in FACTORS if f <= most) or (most / 4,)


def _swings(how: Learning) -> bool:
    """Whether the loss was far lower on the way than at its end, or its steps swing by more than
    what is left, with training rows that are not fitted."""
    left = how.end - (how.floor if np.isfinite(how.floor) else 0.0)
    return how.error > 0.1 and (
        how.end - how.best > max(4 * how.noise, 0.25 * max(left, 0.0))
        or how.error > 2 * how.best_error
    )


def _learns(how: Learning, other: Tried) -> bool:
    if not np.isfinite(other.end):
        return False
    if how.broken:
        fewer = other.error < 0.98 * min(how.error, max(how.start_error, 0.5))
        return other.end < how.start and (fewer or 0 <= other.end < 0.5 * how.start)
    return other.error < 0.6 * how.error and how.error - other.error > 0.08


def _shown(how: Learning) -> str:
    return "numbers that are not finite" if not np.isfinite(how.end) else f"{how.worst:.3g}"


def _cause(rate: float, edge: CriticalRate | None) -> str:
    law = (
        "a step of length η along a direction of curvature λ multiplies the distance from the "
        "minimum by 1 − ηλ, which grows once ηλ > 2"
    )
    if edge is None or not np.isfinite(edge.rate):
        return law
    if edge.rate < rate:
        return (
            f"{law}; along the first step η_c = {edge.rate:.3g}, so λ_c = 2/η_c = "
            f"{edge.sharpness:.3g} and ηλ_c = {rate * edge.sharpness:.3g}"
        )
    return (
        f"{law}; along the first step η_c = {edge.rate:.3g} is above the rate, so the curvature "
        "grew on the way, or the noise of the batches did it"
    )
