"""dead-units: units that give 0 for every input, so that nothing can move them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.measure.ranks import dead_units
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.rules.rule import Rule

CLIPPED = frozenset({"relu", "relu6", "threshold", "hardswish", "hardshrink", "softshrink"})
MOST = 0.5


class DeadUnits(Rule):
    """Units of a layer that are exactly 0 on every one of up to 1,000 training rows.

    Zeros alone are no sign: 70 to 95 % of a healthy ReLU layer may be 0 in a batch. A unit is dead
    if none of the rows wakes it; and it is a fault only if training suffers.
    """

    name = "dead-units"
    stage = "live"
    looks_at = "units that are 0 on every row (up to 1,000), layer by layer"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None:
            raise Missing("no run was watched")
        if not how.suffers or how.broken or case.probe.error is not None:
            return
        for layer in case.probe.layers:
            share = _share(layer)
            if layer.activation in CLIPPED and share > MOST:
                yield self._finding(case, how, layer, share)

    def _finding(self, case: Case, how: Learning, layer: Layer, share: float) -> Finding:
        rows = len(case.probe.x)
        activation = case.probe.activation_path(layer)
        before = _share_at(case.first_probe, layer.path)
        count = round(share * layer.units)
        pulled = layer.by_unit(np.asarray(layer.h)).shape[0]
        return Finding(
            self.name,
            layer.path,
            f"{count} of {layer.units} units of {written(layer.path)} are dead: their "
            f"{layer.activation} is 0 for each of {rows} training rows",
            (
                Measured("share of dead units after the run", share, f"below {MOST}",
                         f"{pulled} values of each unit"),
                Measured("share before the run", before, "0"),
                Measured("error of the training rows", how.error, "near 0",
                         "1 is the best constant's"),
            ),
            f"φ′(z) = 0 for z ≤ 0 on every row, so ∂L/∂w = Σ δ φ′(z) x is exactly 0 for these "
            f"units and no step moves them again; {_when(before, share)}",
            "error",
            0.85 if before > MOST else 0.75 if share > 0.99 else 0.6,
            (
                *((changes.use_activation("LeakyReLU", [activation]),) if activation else ()),
                changes.reinitialise("he", paths=[layer.path]),
                changes.set_rate(case.setup.rate / 10 or 1e-4),
                changes.standardise_inputs(),
            ),
            explains=("not-learning", "vanishing-gradients", "capacity-too-small"),
        )  # fmt: skip


def _when(before: float, share: float) -> str:
    if before > MOST:
        return f"{before:.0%} were dead before the first step: biases or weights were drawn so"
    return (
        f"{before:.0%} were dead before the first step, {share:.0%} after the run: its steps drove "
        "them there"
    )


def _share(layer: Layer) -> float:
    return float(np.mean(dead_units(layer.by_unit(np.asarray(layer.h)))))


def _share_at(run: Pass, path: str) -> float:
    return next((_share(layer) for layer in run.layers if layer.path == path), float("nan"))
