"""saturated-units: activations so far out that their slope, and with it the gradient, is gone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import Learning, learning
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.sampling import BOUNDED, FLAT, rms, slope_of

MOST = 0.5


class SaturatedUnits(Rule):
    """Hidden units of sigmoid, tanh and their like whose mean slope over the rows is below a tenth
    of the steepest, in a run that suffers."""

    name = "saturated-units"
    stage = "live"
    looks_at = "the slopes of bounded activations over up to 1,000 rows, layer by layer"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None:
            raise Missing("no run was watched")
        if not how.suffers or how.broken or case.probe.error is not None:
            return
        for layer in case.probe.layers:
            if layer.last or layer.activation not in BOUNDED:
                continue
            share = _share(layer, case.probe)
            if share > MOST:
                yield self._finding(case, how, layer, share)

    def _finding(self, case: Case, how: Learning, layer: Layer, share: float) -> Finding:
        before = next((_share(other, case.first_probe) for other in case.first_probe.layers
                       if other.path == layer.path), float("nan"))  # fmt: skip
        activation = case.probe.activation_path(layer)
        slope = slope_of(layer, case.probe)
        passed = float(np.sqrt(np.mean(np.square(np.asarray(slope), dtype=np.float64))))
        size = rms(layer.z)
        steepest = BOUNDED[layer.activation]
        return Finding(
            self.name,
            layer.path,
            f"{share:.0%} of the units of {written(layer.path)} are saturated: the slope of their "
            f"{layer.activation} is below {FLAT:g} of its steepest, {steepest:.3g}",
            (
                Measured("share of saturated units after the run", share, f"below {MOST}",
                         f"mean slope over {len(case.probe.x)} rows"),
                Measured("share before the run", before, "0"),
                Measured("root mean square of what the activation takes", size, "about 1"),
                Measured("√E[φ′²]", passed, f"near {steepest:.3g}"),
                Measured("error of the training rows", how.error, "near 0",
                         "1 is the best constant's"),
            ),
            f"δ = φ′(z) Wᵀδ′: gradients that pass here are multiplied by √E[φ′²] = {passed:.3g}, "
            f"where {steepest:.3g} is possible; z has a root mean square of {size:.3g}",
            "error",
            0.85 if before > MOST else 0.55,
            (
                changes.standardise_inputs(),
                changes.reinitialise("xavier"),
                *((changes.use_activation("ReLU", [activation]),) if activation else ()),
                changes.set_rate(case.setup.rate / 10 or 1e-4),
            ),
            explains=("not-learning", "vanishing-gradients"),
        )  # fmt: skip


def _share(layer: Layer, run: Pass) -> float:
    slope = slope_of(layer, run)
    if slope is None:
        return 0.0
    by_unit = np.abs(layer.by_unit(slope)).mean(0, dtype=np.float64)
    return float(np.mean(by_unit < FLAT * BOUNDED[layer.activation]))
