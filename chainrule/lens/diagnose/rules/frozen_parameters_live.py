"""frozen-parameters, while training: a gradient pulls, and nothing moves."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.updates import unmoved
from chainrule.lens.diagnose.rules.rule import Rule


class FrozenParametersLive(Rule):
    """Δw = 0 with g ≠ 0. What no optimiser holds, and what asks for no gradient, is seen before
    the run; this is what is left: a rate of 0, or steps too small for the numbers' precision."""

    name = "frozen-parameters"
    stage = "live"
    looks_at = "whether each parameter that has a gradient was changed by the optimiser's steps"

    def look(self, case: Case) -> Iterable[Finding]:
        trace = case.trace
        if trace is None or len(trace.samples) < 2:
            raise Missing("no steps were measured")
        held = case.optimizer.held
        still = [name for name in unmoved(case) if name in held and name not in case.first.frozen]
        if not still:
            return
        last = trace.samples[-1].parameters[still[0]]
        gradient, rate = float(last.gradient or 0.0), trace.samples[-1].rate
        shown = ", ".join(still[:3]) + (" …" if len(still) > 3 else "")
        everything = len(still) == len(held)
        yield Finding(
            self.name,
            still[0],
            f"{len(still)} of {len(held)} parameters have gradients and never changed: {shown}",
            (
                Measured("root mean square of the update", 0.0, "about 1e-3 of the weight's"),
                Measured("root mean square of the gradient", gradient, "with an effect"),
                Measured("learning rate", rate, "above 0"),
            ),
            f"w − η·g = w in the numbers' precision: η·g = {rate * gradient:.3g} against w = "
            f"{last.weight:.3g}, whose last digit is {1.2e-7 * last.weight:.3g}",
            "error" if everything else "warning",
            0.9,
            (changes.set_rate(1e-3) if everything else changes.hold(still), changes.set_rate(1e-3)),
            explains=(
                "not-learning",
                "learning-rate-too-low",
                "too-few-steps",
                "vanishing-gradients",
            ),
        )
