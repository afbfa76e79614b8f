"""Gradients through the depth of a network, over the samples of its run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.measure.slopes import Slope, agree, slopes_of


@dataclass(frozen=True)
class Depth:
    """Attributes:
    lowest, highest: the paths of the first and the last layer with a gradient.
    count: of layers.
    ratio: the median over samples of rms δ_lowest ÷ rms δ_highest.
    first: the same at the first sample.
    moved: the median of rms(Δw)/rms(w) of the lowest layer's weight.
    slopes: of the first pass, split into their parts; empty where the parts do not agree with
        what was measured, so that nothing is to be claimed of them.
    """

    lowest: str
    highest: str
    count: int
    ratio: float
    first: float
    moved: float
    slopes: tuple[Slope, ...] = ()

    def split(self) -> str:
        """What makes the slope, in words; "" where the parts do not add up to it, or one is
        not known."""
        links = [self.lowest, *(s.above for s in self.slopes)]
        if not self.slopes or links != [*(s.below for s in self.slopes), self.highest]:
            return ""  # a link is not known: the rest does not make the whole
        total, weights, activation, between = (
            sum(getattr(s, what) for s in self.slopes)
            for what in ("measured", "weights", "activation", "between")
        )
        count = len(self.slopes)
        rest = f" + {between:.2f} from what stands between" if abs(between) > 0.5 else ""
        return (
            f"ln(‖δ_{self.lowest}‖²/‖δ_{self.highest}‖²) = {total:.2f} over {count} "
            f"layers, of which the weights' part Σ ln(n·E[w²]) = {weights:.2f} and the "
            f"activations' Σ ln E[φ′²] = {activation:.2f}{rest} (sum "
            f"{weights + activation + between:.2f})"
        )


def depth(case: Case) -> Depth | None:
    """None where fewer than three layers have gradients, or no sample was taken."""
    if "depth" not in case.memo:
        case.memo["depth"] = _depth(case)
    return case.memo["depth"]


def _depth(case: Case) -> Depth | None:
    trace = case.trace
    if trace is None or not trace.samples:
        return None
    paths = [path for path, facts in trace.layers.items()
             if facts.get("kind") in ("linear", "conv", "matmul")
             and trace.samples[0].layers[path].delta is not None]  # fmt: skip
    if len(paths) < 3:
        return None
    lowest, highest = paths[0], paths[-1]
    ratios = []
    for sample in trace.samples:
        low, high = (
            sample.layers[p].delta if p in sample.layers else None for p in (lowest, highest)
        )
        if low is not None and high and np.isfinite(low / high):
            ratios.append(low / high)
    if not ratios:
        return None
    weight = str(trace.layers[lowest].get("weight"))
    steps = [s.parameters[weight] for s in trace.samples if weight in s.parameters]
    moved = [p.update / p.weight for p in steps if p.update is not None and p.weight > 0]
    slopes = slopes_of(case.first_probe)
    return Depth(
        lowest,
        highest,
        len(paths),
        float(np.median(ratios)),
        ratios[0],
        float(np.median(moved)) if moved else float("nan"),
        tuple(slopes) if slopes and agree(slopes) else (),
    )
