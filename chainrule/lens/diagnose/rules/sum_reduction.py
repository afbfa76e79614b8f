"""sum-reduction: the loss adds up over the batch, and the rate is one for its mean."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.loss_forms import growth
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.severity import weighed

ADDS = ("SGD", "ASGD", "LBFGS")
"""Optimisers whose step is proportional to the gradient; the others divide by its size."""
MEANT = 0.1
"""η · rows, the rate that a mean would have: up to this, it may have been reckoned with."""


class SumReduction(Rule):
    """Σ_i ℓ_i = n · mean ℓ: the gradient is n times as large, and so is the step of SGD."""

    name = "sum-reduction"
    stage = "static"
    looks_at = "whether the loss grows with the number of rows"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.loss.reduction != "sum":
            return
        ratio = growth(case.first, case.setup)
        if ratio is None or abs(ratio - 2) > 0.05:
            return
        facts, rows = case.optimizer, case.setup.batch_size
        momentum = float(facts.options.get("momentum") or 0)
        rate = facts.rate * rows / max(1 - momentum, 1e-3)
        matters = facts.kind in ADDS and rate > MEANT and case.setup.clip is None
        yield Finding(
            self.name,
            "loss",
            f"the loss is a sum over the {rows} rows of a batch: the rate {facts.rate:g} is "
            f"{facts.rate * rows:g} for their mean",
            (
                Measured("loss of twice the rows ÷ loss", ratio, "1"),
                Measured("rate × rows" + (" ÷ (1 − momentum)" if momentum else ""), rate,
                         f"at most {MEANT:g}"),
            ),
            f"∂/∂w Σ_i ℓ_i = n · ∂/∂w (1/n) Σ_i ℓ_i with n = {rows}: a step η∇Σ is a step (nη)∇mean"
            + ("" if facts.kind in ADDS else f"; {facts.kind} divides by the gradient's size, so "
               "that the factor matters little"),
            weighed(case) if matters else "advice",
            0.93 if matters else 0.2,
            (changes.mean_reduction(), changes.set_rate(facts.rate / rows)),
            explains=("learning-rate-too-high", "exploding-gradients", "non-finite", "dead-units",
                      "saturated-units", "not-learning", "optimizer-setting", "batch-size")
            if matters else (),
        )  # fmt: skip
