"""duplicates: the same training row several times."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.duplicates import CHANCE, chance_pairs, groups_of
from chainrule.lens.diagnose.rules.rule import Rule

SHARE = 0.05


class Duplicates(Rule):
    """Training rows with equal inputs and equal targets weigh as much more as they are often there.
    Advice: it may be meant."""

    name = "duplicates"
    stage = "deep"
    looks_at = "training rows that occur several times"

    def look(self, case: Case) -> Iterable[Finding]:
        x, y = case.setup.x, case.setup.y
        if len(x) < 20 or chance_pairs(x) * len(x) ** 2 / 2 > CHANCE:
            return
        groups = groups_of(np.concatenate([_flat(x), _flat(y)], axis=1))
        _, first, counts = np.unique(groups, return_index=True, return_counts=True)
        more = len(x) - len(first)
        if more < SHARE * len(x):
            return
        again = np.setdiff1d(np.arange(len(x)), first)
        yield Finding(
            self.name,
            "data",
            f"{more} of {len(x)} training rows repeat another one, inputs and target",
            (
                Measured("share of rows that repeat another", more / len(x), f"below {SHARE:g}"),
                Measured("most often", int(counts.max()), "1"),
            ),
            "the loss is a mean over rows, so that a row that is there k times has k times the "
            "weight, and an epoch has fewer different rows than it counts",
            "advice",
            0.3,
            (changes.drop_rows(again.tolist(), "they repeat another row"),),
        )


def _flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values).reshape(len(values), -1).astype(np.float64)
