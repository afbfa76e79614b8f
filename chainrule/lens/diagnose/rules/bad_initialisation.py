"""bad-initialisation: first weights of a scale at which signals or gradients do not survive."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.chance import chance
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.sampling import BOUNDED, FLAT, rms, slope_of
from chainrule.lens.diagnose.severity import weighed

LARGE, SMALL = 8.0, 0.02
"""n · E[w²] outside of these is no initialiser's: LeCun 1, Glorot about 1, He 2, U(±1/√n) 1/3."""
CONSEQUENCES = (
    "saturated-units", "vanishing-gradients", "exploding-gradients", "dead-units", "non-finite",
    "learning-rate-too-high", "learning-rate-too-low", "too-few-steps", "not-learning",
    "capacity-too-small",
)  # fmt: skip


class BadInitialisation(Rule):
    """z = Σ_n w x has the variance n · E[w²] · E[x²]: with n · E[w²] of about 1 (2 for ReLU, which
    lets half pass) signals keep their size through depth (LeCun 1998, Glorot & Bengio 2010, He
    2015). Normalised layers do not depend on it."""

    name = "bad-initialisation"
    stage = "static"
    looks_at = "whether first weights let signals through at their size"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        layers = [
            layer for layer in run.layers
            if layer.kind in ("linear", "conv", "matmul") and layer.weight not in run.frozen
            and layer.weight is not None and not layer.norm and layer.fan_in > 1
        ]  # fmt: skip
        if not layers or run.error is not None or not np.isfinite(run.loss):
            return
        yield from self._large(case, run, layers)
        yield from self._small(run, layers, case)

    def _large(self, case: Case, run: Pass, layers: list[Layer]) -> Iterable[Finding]:
        wide = [layer for layer in layers if _gain(run, layer) > LARGE and _drawn(run, layer)]
        if not wide:
            return
        flat = max((_saturated(run, layer) for layer in wide), default=0.0)
        by = chance(case).level
        start = run.loss / by if np.isfinite(by) and by > 0 else float("nan")
        last = run.layers[-1]
        if flat < 0.5 and not start > 3 and not rms(last.z) > 10:
            return
        first = max(wide, key=lambda layer: _gain(run, layer))
        gain = _gain(run, first)
        yield Finding(
            self.name, first.path,
            f"the weights of {written(first.path)} start {np.sqrt(gain):.2g} times too large: its "
            f"{first.fan_in} inputs of rms {rms(first.x) if first.x is not None else 1:.2g} give "
            "sums "
            f"of rms {rms(first.z):.3g}",
            (
                Measured("n · E[w²]", gain, "1 to 2"),
                Measured("rms of the sums", rms(first.z), "about 1"),
                Measured("share of saturated activations", flat, "below 0.5"),
                Measured("loss at the start ÷ loss by chance", start, "about 1"),
            ),
            f"Var z = n · E[w²] · E[x²], n = {first.fan_in}, rms(w) = "
            f"{rms(run.parameters[first.weight or '']):.3g}: each such layer multiplies signals by "
            f"{np.sqrt(gain):.3g}, and gradients on their way back",
            weighed(case), 0.85,
            (changes.reinitialise("he"), changes.reinitialise("xavier")),
            explains=CONSEQUENCES,
        )  # fmt: skip

    def _small(self, run: Pass, layers: list[Layer], case: Case) -> Iterable[Finding]:
        hidden = [layer for layer in layers if not layer.last and not layer.residual]
        tiny = [layer for layer in hidden if 0 < _gain(run, layer) < SMALL]
        last = next((layer for layer in reversed(run.layers) if layer.last), None)
        first = run.layers[0]
        if not tiny or last is None or last.x is None or first.x is None:
            return
        kept = _spread(last.x) / max(_spread(first.x), 1e-30)
        if not kept < 1e-3 or any(layer.residual or layer.norm for layer in run.layers):
            return
        worst = min(tiny, key=lambda layer: _gain(run, layer))
        gain = _gain(run, worst)
        yield Finding(
            self.name, worst.path,
            f"the weights of {written(worst.path)} start {1 / np.sqrt(gain):.3g} times too small: "
            f"what reaches the last layer differs between examples by {kept:.1e} of what comes in",
            (
                Measured("n · E[w²]", gain, "1 to 2"),
                Measured("spread between examples at the last layer ÷ at the input", kept, "about "
                                                                                           "1"),
            ),
            f"Var z = n · E[w²] · E[x²], n = {worst.fan_in}, rms(w) = "
            f"{rms(run.parameters[worst.weight or '']):.3g}: signals and gradients shrink by "
            f"{np.sqrt(gain):.3g} in each such layer",
            weighed(case), 0.85,
            (changes.reinitialise("he"), changes.reinitialise("xavier")),
            explains=CONSEQUENCES,
        )  # fmt: skip


def _gain(run: Pass, layer: Layer) -> float:
    return layer.fan_in * rms(run.parameters[layer.weight or ""]) ** 2


def _drawn(run: Pass, layer: Layer) -> bool:
    """Whether the weights differ at all: constant ones are symmetric-units'."""
    return float(np.ptp(run.parameters[layer.weight or ""])) > 0


def _saturated(run: Pass, layer: Layer) -> float:
    slope = slope_of(layer, run)
    if layer.activation not in BOUNDED or slope is None:
        return 0.0
    return float(np.mean(slope < FLAT * BOUNDED[layer.activation]))


def _spread(values: np.ndarray) -> float:
    """How much the examples differ: rms over features of the standard deviation over rows."""
    return float(np.sqrt(np.mean(np.var(values.astype(np.float64), axis=0))))
