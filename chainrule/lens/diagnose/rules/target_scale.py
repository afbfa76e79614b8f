"""target-scale: real targets far from the scale that the outputs start with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.head import INFINITY, compares_elements, head_of
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.sampling import rms
from chainrule.lens.diagnose.severity import weighed

LARGE, SMALL, OFFSET = 10.0, 1e-2, 10.0
CONSEQUENCES = (
    "exploding-gradients", "non-finite", "learning-rate-too-high", "learning-rate-too-low",
    "too-few-steps", "not-learning", "dead-units", "saturated-units", "capacity-too-small",
    "optimizer-setting",
)  # fmt: skip


class TargetScale(Rule):
    """The outputs start near 0 with a size of about 1. Targets of mean m and deviation s have to be
    reached from there: the squared error's gradient is 2(p − y), as large as they are, and Adam
    moves a weight by at most about η in a step."""

    name = "target-scale"
    stage = "static"
    looks_at = "the mean and deviation of real targets against what the outputs start with"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.setup.task != "real" or not compares_elements(case):
            return
        head = head_of(case)
        y = np.asarray(case.setup.y, dtype=np.float64).reshape(len(case.setup.y), -1)
        if head is None or not np.isfinite(y).all() or (head.low, head.high) != (
            -INFINITY, INFINITY
        ):  # fmt: skip
            return
        mean, std = float(np.abs(y.mean(0)).max()), float(y.std(0).max())
        start = rms(head.values)
        if std <= 0:
            return
        if std > LARGE or mean > max(LARGE, OFFSET * std):
            yield self._large(case, mean, std, start)
        elif std < SMALL and mean < 1:
            yield self._small(case, mean, std, start)

    def _large(self, case: Case, mean: float, std: float, start: float) -> Finding:
        rate, steps = case.optimizer.rate, case.setup.steps
        reach = rate * steps
        adaptive = case.optimizer.kind not in ("SGD", "ASGD", "LBFGS")
        severity = weighed(case)
        return Finding(
            self.name,
            "data",
            f"the targets have a mean of {mean:.4g} and a standard deviation of {std:.4g}, and the "
            f"outputs start at an rms of {start:.2g}",
            (
                Measured("standard deviation of the targets", std, "about 1"),
                Measured("|mean| of the targets", mean, "about 0"),
                Measured("rms of the outputs at the start", start),
                Measured("rate × steps: how far a weight can go with Adam", reach)
                if adaptive else
                Measured("gradient at the start, 2·rms(p − y)", 2 * float(np.hypot(mean, std)),
                         "about 1"),
            ),
            f"∂(p − y)²/∂p = 2(p − y) is about {2 * np.hypot(mean, std):.3g} at the start: "
            + (f"{case.optimizer.kind} moves a weight by about η = {rate:g} in a step, "
               f"{reach:.3g} in "
               f"{steps} steps, while the output has to move by {np.hypot(mean, std):.4g}"
               if adaptive else
               f"a step of η = {rate:g} changes weights by η times that, and the curvature then "
               "grows with the weights squared"),
            severity,
            0.84 if severity != "advice" else 0.3,
            (changes.standardise_targets(),
             changes.combine(changes.standardise_inputs(), changes.standardise_targets())),
            explains=CONSEQUENCES if severity != "advice" else (),
        )  # fmt: skip

    def _small(self, case: Case, mean: float, std: float, start: float) -> Finding:
        severity = weighed(case, unknown="advice")
        return Finding(
            self.name,
            "data",
            f"the targets have a standard deviation of {std:.2g}, and the outputs start at an rms "
            "of "
            f"{start:.2g}: {start / std:.3g} times as large",
            (
                Measured("standard deviation of the targets", std, "about 1"),
                Measured("rms of the outputs at the start", start),
            ),
            f"the loss begins {(start / std) ** 2:.3g} times above the targets' variance, and a "
            "step "
            "that Adam makes moves outputs by more than the targets differ",
            severity,
            0.8 if severity != "advice" else 0.3,
            (changes.standardise_targets(),),
            explains=CONSEQUENCES if severity != "advice" else (),
        )  # fmt: skip
