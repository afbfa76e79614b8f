"""What the optimiser's real steps did, from the samples of a run."""

from __future__ import annotations

import numpy as np

from chainrule.lens.diagnose.case import Case


def update_ratio(case: Case) -> float:
    """The median over samples and weight matrices of rms(Δw)/rms(w); NaN where none was seen."""
    trace = case.trace
    if trace is None:
        return float("nan")
    weights = {str(facts.get("weight")) for facts in trace.layers.values()}
    found = [
        p.update / p.weight
        for sample in trace.samples
        for name, p in sample.parameters.items()
        if p.update is not None and p.weight > 0 and p.finite and (not weights or name in weights)
    ]
    return float(np.median(found)) if found else float("nan")


def unmoved(case: Case) -> list[str]:
    """Parameters in which no step changed a bit, in at least two samples, though their gradient is
    no smaller than a hundredth of what is usual in this network (a gradient that vanished moves
    nothing either, and is another matter)."""
    trace = case.trace
    if trace is None or not trace.samples:
        return []
    usual = np.median([p.gradient for s in trace.samples for p in s.parameters.values()
                       if p.gradient] or [0.0])  # fmt: skip
    found = []
    for name in trace.samples[0].parameters:
        seen = [s.parameters[name] for s in trace.samples if name in s.parameters]
        pulled = [
            p for p in seen if p.update is not None and p.gradient and p.gradient > 0.01 * usual
        ]
        if len(pulled) >= 2 and all(p.update == 0 for p in pulled):
            found.append(name)
    return found


def descents(case: Case) -> np.ndarray:
    """For each sample the cosine between −gradient and the step, over all parameters: near 1 for
    plain gradient descent, below 0 where the step climbs."""
    trace = case.trace
    if trace is None:
        return np.zeros(0)
    sizes = {name: value.size for name, value in case.first.parameters.items()}
    found = []
    for sample in trace.samples:
        along = gradient = step = 0.0
        for name, p in sample.parameters.items():
            if p.descent is None or p.update is None or p.gradient is None or not p.finite:
                continue
            along += p.descent
            gradient += sizes.get(name, 0) * p.gradient**2
            step += sizes.get(name, 0) * p.update**2
        if gradient > 0 and step > 0 and np.isfinite(along):
            found.append(-along / (gradient * step) ** 0.5)
    return np.array(found)
