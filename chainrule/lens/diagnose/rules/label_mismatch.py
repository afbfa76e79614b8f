"""label-mismatch: the targets have nothing to do with the inputs that stand beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.probes import (
    Reach,
    compared,
    features_of,
    reach,
    reach_of,
    takes_tokens,
)
from chainrule.lens.diagnose.measure.relation import relation_of
from chainrule.lens.diagnose.rules.rule import Rule

RELATED = 6.0
"""Standard deviations of chance from which on there is a relation."""
LEAST_ROWS = 60


@dataclass(frozen=True)
class _Seen:
    train: float
    held: float
    among_held: float


class LabelMismatch(Rule):
    """Inputs and targets in different orders (one shuffled without the other, files that do not
    fit each other), or targets that these inputs say nothing about.

    No model that is fitted with some of the rows predicts the others better than with permuted
    targets: not the network on held-out rows, and none of the simple models, each row left out in
    turn. A network may learn such rows by heart all the same (Zhang et al., Understanding Deep
    Learning Requires Rethinking Generalization, ICLR 2017).
    """

    name = "label-mismatch"
    stage = "deep"
    looks_at = "whether the inputs say anything about their targets, against permuted targets"

    def look(self, case: Case) -> Iterable[Finding]:
        setup = case.setup
        if len(setup.x) < LEAST_ROWS or len(setup.x_held) < 10:
            raise Missing("too few rows to tell a relation from chance")
        found = reach(case)
        if found.low < 0.75:
            return
        held, _, high = compared(
            setup.framework.outputs(case.final_model, setup.x_held), setup.y_held, setup.task
        )
        # A network that predicts rows it has not seen has found the relation.
        if held < 0.6 or found.relation.strength > RELATED:
            return
        among_held = _held(case)
        if among_held < 2 * RELATED and (held < 0.8 or high < 0.95):
            return
        if any(strength > RELATED for strength in _untrained(case, found)):
            return
        train, _, _ = compared(
            setup.framework.outputs(case.final_model, setup.x[found.rows]), found.y, setup.task
        )
        yield self._finding(case, found, _Seen(train, held, among_held))

    def _finding(self, case: Case, found: Reach, seen: _Seen) -> Finding:
        chance = found.relation
        mean, spread = chance.chance, chance.spread
        evidence = [
            Measured("held-out error of the network ÷ a constant's", seen.held, "below 0.8",
                     f"{len(case.setup.x_held)} rows"),
            Measured("training error ÷ a constant's", seen.train, "", "learnt by heart if small"),
            Measured("error of the best simple model ÷ a constant's", found.error,
                     "well below 1",
                     f"{found.best.kernel} ridge, each of {len(found.rows)} rows left out in turn"),
            Measured("variance that it explains", chance.explained,
                     f"above {mean + RELATED * spread:.3f}",
                     f"permuted targets: {mean:.4f} ± {spread:.4f}"),
        ]  # fmt: skip
        split = seen.among_held > 2 * RELATED
        constant = not found.features.shape[1]
        if split:
            evidence.append(
                Measured("relation among the held-out rows", seen.among_held,
                         "the same in the training rows", "standard deviations of permuted targets")
            )  # fmt: skip
            claim = (
                f"the training rows' targets do not belong to their inputs: no model predicts them "
                f"better than chance (explained variance {chance.explained:.3f}), while among "
                f"the held-out rows the relation is {seen.among_held:.0f} standard deviations of "
                "chance strong"
            )
        elif constant:
            claim = "every row has the same inputs, so that they cannot say anything of the targets"
        else:
            claim = (
                f"the inputs say nothing about the targets: held-out error is {seen.held:.2f} of a "
                f"constant's, and simple models explain {chance.explained:.3f} of the variance, "
                f"as with permuted targets ({mean:.3f} ± {spread:.3f})"
            )
        sure = split or seen.train < 0.7
        return Finding(
            self.name,
            "data",
            claim,
            tuple(evidence),
            "if p(y | x) = p(y), the least expected loss is that of the constant: the network can "
            "only learn the rows by heart (here its training error is "
            f"{seen.train:.2f} of a constant's and the held-out error {seen.held:.2f}). The usual "
            "cause is a shuffle, sort, filter or join of inputs or targets alone; shuffle both "
            "with one permutation (Zhang et al., ICLR 2017, §2)",
            "error",
            0.96 if sure else 0.85,
            explains=(
                "overfit", "not-learning", "label-noise", "too-few-steps", "learning-rate-too-low",
                "capacity-too-small", "class-imbalance", "over-regularised", "batch-size",
                "learning-rate-too-high",
            ),
        )  # fmt: skip


def _untrained(case: Case, found: Reach) -> Iterable[float]:
    """Relations read off the untrained network's layers: what a convolution sees, pixels may not
    show to a kernel."""
    count = len(found.rows)
    for layer in case.first_probe.layers:
        if layer.last or case.time_left < 0.3 or len(layer.h) < count:
            continue
        if (
            layer.kind in ("conv", "recurrent", "attention", "embedding")
            and np.isfinite(layer.h).all()
        ):
            h = layer.h[:count].reshape(count, -1)
            yield relation_of(features_of(h), found.targets).strength


def _held(case: Case) -> float:
    """How strongly targets and inputs are related among the held-out rows alone."""
    setup = case.setup
    try:
        x, y = setup.x_held[:400], setup.y_held[:400]
        return reach_of(x, y, setup.task, tokens=takes_tokens(case)).relation.strength
    except Missing:
        return 0.0
