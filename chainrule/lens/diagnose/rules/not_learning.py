"""not-learning: the network does no better than a constant, whatever the reason."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.chance import chance
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.rules.rule import Rule

CONSTANT = 0.9
APART = 0.3


class NotLearning(Rule):
    """Training rows are fitted hardly better than by a constant, or far worse than a simple model
    fits rows that it has not seen. What causes it, other rules say; this one says that it is so."""

    name = "not-learning"
    stage = "live"
    looks_at = "the error of the training rows against a constant's and a simple model's"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None:
            raise Missing("no run was watched")
        simple = how.attainable
        behind = simple is not None and how.suffers and how.plain > max(0.5, simple + APART)
        if how.error > CONSTANT or behind or how.broken:
            yield self._finding(case, how)

    def _finding(self, case: Case, how: Learning) -> Finding:
        by = chance(case)
        simple = how.attainable
        against = "1 is the best constant's" + (
            "" if simple is None else f", {simple:.3g} a simple model's of rows it has not seen"
        )
        evidence = [
            Measured("error of the training rows at the end", how.error, "near 0", against),
            Measured("loss before the first step", how.start),
            Measured("loss at the end", how.end),
        ]
        if np.isfinite(by.level):
            evidence.append(
                Measured(
                    "loss of the best constant", by.level, "above the loss at the end", by.formula
                )
            )
        return Finding(
            self.name,
            "loss",
            f"after {case.setup.steps} steps the error of the training rows is {how.error:.3g} "
            f"({against})",
            evidence,
            "where outputs do not depend on inputs, the loss is least at the targets' mean or at "
            "the classes' shares" + (f": {by.formula}" if np.isfinite(by.level) else ""),
            "warning",
            0.3,
            (
                changes.use_optimizer("Adam", lr=1e-3),
                changes.standardise_inputs(),
                changes.set_rate(case.setup.rate * (0.1 if how.broken else 10) or 1e-3),
            ),
        )
