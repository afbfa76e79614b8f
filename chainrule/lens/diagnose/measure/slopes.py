"""How gradients grow or shrink from layer to layer, and what makes them."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np

from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.sampling import slope_of

LOOSE = 0.35
"""How far the parts' sum may be from the measured slope: this share of it, and half a unit."""


@dataclass(frozen=True)
class Slope:
    """From a layer back to the one before it, in natural logarithms of squared norms.

    Attributes:
        below, above: the two layers' paths.
        measured: ln(‖δ_below‖²/‖δ_above‖²), with δ = ∂L/∂z.
        weights: ln(n_in · E[w²]) of the layer above.
        activation: ln E[φ′²] of the layer below; 0 where it has none.
        between: ln of what normalisation, pooling, dropout between the two do, measured.
    """

    below: str
    above: str
    measured: float
    weights: float
    activation: float
    between: float = 0.0

    @property
    def predicted(self) -> float:
        """The sum of the parts."""
        return self.weights + self.activation + self.between


def agree(slopes: list[Slope]) -> bool:
    """Whether the parts' sum reproduces the measured slope, over the whole depth."""
    measured = sum(s.measured for s in slopes)
    predicted = sum(s.predicted for s in slopes)
    return bool(
        np.isfinite(measured)
        and abs(predicted - measured) <= LOOSE * abs(measured) + 0.5 * len(slopes) ** 0.5
    )


def slopes_of(run: Pass) -> list[Slope]:
    """The slope between each two layers of which one feeds the other.

    Backward, δ_{l−1} = φ′(z_{l−1}) ⊙ W_lᵀ δ_l. If weights, slopes and gradients do not depend on
    one another, Σ_i (W_lᵀδ_l)_i² = n_{l−1} E[w²] Σ_j δ_j², so that

        ln(‖δ_{l−1}‖²/‖δ_l‖²) = ln(n_{l−1} E[w²]) + ln E[φ′(z_{l−1})²]

    (Poole et al. 2016, Schoenholz et al. 2017: χ₁ = σ_w² E[φ′²]); n_{l−1} is the fan-in, also for a
    convolution of any stride. The sum is an estimate, so it is compared with what was measured.
    """
    found = []
    for below, above in _pairs(run):
        if below.delta is None or above.delta is None or above.weight is None:
            continue
        parts = _parts(run, below, above)
        if parts is not None:
            found.append(parts)
    return found


def _pairs(run: Pass) -> list[tuple[Layer, Layer]]:
    """(layer, the next one that takes its result through operations with one input each)."""
    ends = {layer.op: layer for layer in run.layers if layer.kind in ("linear", "conv", "matmul")}
    found = []
    for above in ends.values():
        at = next((s for s in run.ops[above.op].inputs if s is not None), None)
        while at is not None and at not in ends:
            sources = {s for s in run.ops[at].inputs if s is not None}
            at = sources.pop() if len(sources) == 1 else None
        if at is not None:
            found.append((ends[at], above))
    return found


def _parts(run: Pass, below: Layer, above: Layer) -> Slope | None:
    entry = next((s for s in run.ops[above.op].inputs if s is not None), None)
    into = run.ops[entry].gradient if entry is not None else None
    weight = run.parameters.get(above.weight or "")
    if below.delta is None or above.delta is None or into is None or weight is None:
        return None
    slope = slope_of(below, run)
    if slope is None:
        return None
    low, high = _square(below.delta), _square(above.delta)
    weights = above.fan_in * _square(weight) / weight.size
    activation = float(np.nanmean(np.square(slope, dtype=np.float64)))
    if not all(0 < v < inf for v in (low, high, weights, activation)):
        return None
    between = 0.0
    if below.h_gradient is not None and below.activation:
        between += _ratio(_square(below.h_gradient), _square(into))
        if below.norm_op is not None:
            normed = run.ops[below.norm_op].gradient
            between += _ratio(low, _square(normed) if normed is not None else 0.0)
    elif not below.activation:
        between += _ratio(low, _square(into))
    return Slope(below.path, above.path, log(low / high), log(weights), log(activation), between)


def _square(values: np.ndarray) -> float:
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return float(np.dot(flat, flat))


def _ratio(upper: float, lower: float) -> float:
    return log(upper / lower) if upper > 0 and lower > 0 else 0.0
