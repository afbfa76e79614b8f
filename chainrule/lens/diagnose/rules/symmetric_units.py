"""symmetric-units: units with the same weights, which get the same gradients for ever."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.rules.rule import Rule

SAME = 1e-6
CONSEQUENCES = (
    "bad-initialisation", "vanishing-gradients", "dead-units", "capacity-too-small", "not-learning",
    "too-few-steps", "learning-rate-too-low", "saturated-units", "exploding-gradients",
    "capacity-too-large", "no-nonlinearity", "input-scale", "learning-rate-too-high",
)  # fmt: skip


class SymmetricUnits(Rule):
    """If w_i = w_j and the next layer reads both with the same weights, then ∂L/∂w_i = ∂L/∂w_j:
    they are equal after every step, and the layer is as good as one unit.

    A last layer of zeros is none: its units have targets of their own; nor is a zero layer at the
    end of a residual branch, whose gradients differ.
    """

    name = "symmetric-units"
    stage = "static"
    looks_at = "whether the units of each layer start with different weights"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        if run.error is not None:
            return
        stuck = [x for x in run.layers if _alike(run, x) and _gradients_alike(run, x)]
        if not stuck:
            return
        first = stuck[0]
        weight = run.parameters[first.weight or ""]
        value = float(weight.reshape(-1)[0])
        zero = not weight.any()
        units = first.units
        paths = [layer.path for layer in stuck]
        others = map(written, paths[1:])
        yield Finding(
            self.name,
            first.path,
            f"the {units} units of {written(first.path)} have the same weights"
            + (f" ({value:g})" if float(np.ptp(weight)) == 0 else "")
            + ("" if len(stuck) == 1 else f", and so have those of {', '.join(others)}")
            + (": no gradient passes zeros" if zero else ": they get the same gradients and stay "
                                                         "alike"),
            (
                Measured("largest difference between units' weights", _spread(run, first), "not 0"),
                Measured("largest difference between their gradients ÷ gradient",
                         _gradient_spread(run, first), "about 1"),
            ),
            "∂L/∂w_i = Σ_k v_ki δ_k φ′(z_i) x: with w_i = w_j, hence z_i = z_j, and v_ki = v_kj "
            "it is "
            f"the same for i and j. {units} units do the work of one",
            "error",
            0.97,
            (changes.reinitialise("he", paths), changes.reinitialise("xavier")),
            explains=CONSEQUENCES,
        )  # fmt: skip


def _rows(layer: Layer, values: np.ndarray) -> np.ndarray | None:
    """(units, weights of each)."""
    if layer.kind not in ("linear", "conv", "matmul") or layer.units < 2:
        return None
    if layer.kind == "matmul" and values.ndim == 2 and values.shape[1] == layer.units:
        values = values.T
    return values.reshape(layer.units, -1) if len(values) == layer.units else None


def _alike(run: Pass, layer: Layer) -> bool:
    if layer.last or layer.weight is None or layer.weight in run.frozen:
        return False
    rows = _rows(layer, run.parameters[layer.weight])
    if rows is None:
        return False
    bias = run.parameters.get(layer.bias or "")
    size = float(np.abs(rows).max())
    level = bias is None or float(np.ptp(bias)) <= SAME * max(size, float(np.abs(bias).max()))
    return level and _spread(run, layer) <= SAME * size


def _spread(run: Pass, layer: Layer) -> float:
    rows = _rows(layer, run.parameters[layer.weight or ""])
    return float(np.ptp(rows, axis=0).max()) if rows is not None else float("nan")


def _gradient_spread(run: Pass, layer: Layer) -> float:
    gradient = run.gradients.get(layer.weight or "")
    rows = _rows(layer, gradient) if gradient is not None else None
    if rows is None:
        return float("nan")
    size = float(np.abs(rows).max())
    return float(np.ptp(rows, axis=0).max()) / size if size else 0.0


def _gradients_alike(run: Pass, layer: Layer) -> bool:
    """Equal gradients; with dropout, which tells units apart at random, equal weights in the next
    layer too. A zero gradient behind a residual branch of zeros only waits for the layers after."""
    spread = _gradient_spread(run, layer)
    gradient = run.gradients.get(layer.weight or "")
    if gradient is None or not gradient.any():
        return not layer.residual
    if spread <= 1e-4:
        return True
    order = [one.path for one in run.layers]
    after = run.layers[order.index(layer.path) + 1 :]
    weight = run.parameters.get(after[0].weight or "") if after else None
    return layer.dropout > 0 and weight is not None and float(np.ptp(weight)) == 0
