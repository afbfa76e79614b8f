"""conflicting-labels: the same inputs with different labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.duplicates import CHANCE, chance_pairs, groups_of
from chainrule.lens.diagnose.measure.probes import classes_of
from chainrule.lens.diagnose.rules.rule import Rule

WRONG = 0.08
"""The share of rows that no function can get right from which on they are a fault."""


class ConflictingLabels(Rule):
    """Rows with equal inputs and different classes: whatever the network says of them, it is wrong
    for all but the commonest class of each group. Where inputs take few values (symbols, small
    tables) equal inputs are natural, and only advice is given."""

    name = "conflicting-labels"
    stage = "deep"
    looks_at = "rows with equal inputs and different classes"

    def look(self, case: Case) -> Iterable[Finding]:
        x, y = case.setup.x, case.setup.y
        if case.setup.task == "real" or len(x) < 20:
            raise Missing("the targets are no classes")
        if x.dtype.kind in "iu":
            return
        labels, groups = classes_of(y), groups_of(x)
        table = np.zeros((groups.max() + 1, len(np.unique(labels))), dtype=np.int64)
        np.add.at(table, (groups, np.unique(labels, return_inverse=True)[1]), 1)
        wrong = int((table.sum(1) - table.max(1)).sum())
        if wrong < max(3, 0.01 * len(x)) or wrong == len(x) - table.sum(0).max():
            return
        few_values = chance_pairs(x) * len(x) ** 2 / 2 > CHANCE
        mixed = np.flatnonzero((table > 0).sum(1)[groups] > 1)
        fault = wrong / len(x) >= WRONG and not few_values
        yield Finding(
            self.name,
            "data",
            f"{len(mixed)} rows have the inputs of another row of a different class: at least "
            f"{wrong / len(x):.1%} of the rows cannot be told right by any function of the inputs",
            (
                Measured("least training error that there can be", wrong / len(x), "0"),
                Measured("rows in conflict", len(mixed), "0",
                         ", ".join(f"row {case.setup.row(i)}" for i in mixed[:5])),
            ),
            "the least error is Σ over groups of equal inputs (rows − rows of the commonest class) "
            f"÷ n = {wrong}/{len(x)} (Bayes error of the empirical distribution)",
            "warning" if fault else "advice",
            0.7 if fault else 0.25,
            (changes.drop_rows(mixed.tolist(), "their inputs occur with different labels"),),
        )  # fmt: skip
