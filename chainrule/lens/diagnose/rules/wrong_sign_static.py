"""wrong-sign, before the first step: what is minimised is turned around."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.rules.rule import Rule


class WrongSignStatic(Rule):
    """maximize=True on a loss, or a loss whose derivative is that of a known one times −1. Where a
    run was watched, its steps say it (the live rule of the name)."""

    name = "wrong-sign"
    stage = "static"
    looks_at = "the sign of the loss and of the optimiser's step"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.trace is not None:
            return
        facts = case.loss
        turned = (case.optimizer.maximize, facts.sign < 0, case.setup.sign < 0)
        if sum(turned) % 2 == 0:
            return
        where = "loss" if facts.sign < 0 else "optimizer"
        what = ("the loss is −1 times " + (facts.name or facts.kind) if facts.sign < 0 else
                "the optimiser climbs (maximize=True)" if case.optimizer.maximize else
                "the gradient of −loss is taken")  # fmt: skip
        yield Finding(
            self.name, where, f"{what}: the steps make the error larger",
            (Measured("sign of the step along the gradient", 1, "−1"),),
            "w ← w + η ∂L/∂w changes the loss by +η‖∂L/∂w‖² to first order",
            "error", 0.95, (changes.descend(),),
            explains=("not-learning", "exploding-gradients", "non-finite"),
        )  # fmt: skip
