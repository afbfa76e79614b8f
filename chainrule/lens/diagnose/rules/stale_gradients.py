"""stale-gradients: gradients of earlier batches are added to each step's own."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.rules.rule import Rule

STALE = 0.9


class StaleGradients(Rule):
    """The gradient that the optimiser used is not the batch's own: it still holds those of steps
    before, since nothing cleared it."""

    name = "stale-gradients"
    stage = "live"
    looks_at = "whether each step uses the gradient of its own batch alone"

    def look(self, case: Case) -> Iterable[Finding]:
        trace = case.trace
        if trace is None:
            raise Missing("no run was watched")
        cosines = [p.fresh for s in trace.samples for p in s.parameters.values()
                   if p.fresh is not None and s.step > 0]  # fmt: skip
        event = next((e for e in trace.events if e.kind == "stale-gradients"), None)
        cosine = float(np.median(cosines)) if cosines else float("nan")
        if case.setup.clear and event is None and not cosine < STALE:
            return
        evidence = [Measured("gradients cleared between steps", "no", "yes")]
        if np.isfinite(cosine):
            evidence.append(Measured("cosine of the gradient used and the batch's own", cosine, "1",
                                     "median over samples and parameters"))  # fmt: skip
        yield Finding(
            self.name,
            event.where if event is not None and event.where else "optimizer",
            "gradients are not cleared between steps: the step at t uses g₀ + g₁ + … + g_t"
            + (f", whose cosine with g_t is {cosine:.3g}" if np.isfinite(cosine) else ""),
            evidence,
            "backward() adds to .grad; without clearing, the step is −η Σ gᵢ, gradient descent "
            "with momentum 1, which neither forgets nor stops: it circles the minimum or runs away",
            "error",
            0.95,
            (changes.clear_gradients(),),
            explains=("learning-rate-too-high", "exploding-gradients", "non-finite", "not-learning",
                      "dead-units", "saturated-units", "batch-size"),
        )  # fmt: skip
