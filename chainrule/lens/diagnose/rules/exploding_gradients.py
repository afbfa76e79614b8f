"""exploding-gradients: gradients grow from layer to layer, or from step to step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.depth import depth
from chainrule.lens.diagnose.measure.jacobians import chain
from chainrule.lens.diagnose.measure.learning import learning
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.rules.rule import Rule
from chainrule.lens.diagnose.trace import Trace

MOST = 1e3


class ExplodingGradients(Rule):
    """In a run that suffers: gradients at the first layer a thousand times the last one's, or
    gradients that became a thousand times what they were at first."""

    name = "exploding-gradients"
    stage = "live"
    looks_at = "growth of gradients through depth, and through the run"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None or case.trace is None:
            raise Missing("no run was watched")
        if not how.suffers:
            return
        found = depth(case)
        through = found.first if found is not None else 1.0
        name, growth, first = _growth(case.trace)
        if through > MOST and found is not None:
            where, claim = (
                found.lowest,
                (
                    f"gradients explode: at {written(found.lowest)} they are {through:.3g} times "
                    f"those at {written(found.highest)}, {found.count - 1} layers above"
                ),
            )
            law = "; ".join(
                part
                for part in (
                    "each layer multiplies ‖δ‖² by n·E[w²]·E[φ′²], here above 1",
                    found.split(),
                    chain(case.first_probe),
                )
                if part
            )
        elif growth > MOST:
            where, claim = (
                name.rpartition(".")[0] or name,
                (
                    f"gradients explode: that of {written(name)} became "
                    + (f"{growth:.3g} times" if np.isfinite(growth) else "infinitely often")
                    + f" as large as any at the first step ({first:.3g})"
                ),
            )
            law = "∂L/∂W = δ hᵀ grows with the weights above it and the values below it"
        else:
            return
        yield Finding(
            self.name,
            where,
            claim,
            (
                Measured("gradient at the first layer ÷ at the last", through, f"below {MOST:g}"),
                Measured(
                    "largest gradient of the run ÷ the largest at first", growth, f"below {MOST:g}"
                ),
            ),
            law,
            "error" if how.broken else "warning",
            0.5,
            (
                changes.reinitialise("he"),
                changes.clip_gradients(1.0),
                changes.set_rate(case.setup.rate / 10 or 1e-4),
                changes.standardise_inputs(),
            ),
            explains=("non-finite", "not-learning"),
        )


def _growth(trace: Trace) -> tuple[str, float, float]:
    """(parameter, its largest gradient ÷ the largest of all at the first step, that one), of the
    parameter for which it is largest. One that begins with next to none, and grows to what the
    others have, is none that explodes."""
    if not trace.samples:
        return "", 1.0, 0.0
    first = max((_size(p.gradient) for p in trace.samples[0].parameters.values()), default=0.0)
    name, largest = max(
        ((name, _size(p.gradient)) for s in trace.samples for name, p in s.parameters.items()),
        key=lambda pair: pair[1],
        default=("", 0.0),
    )
    known = 0 < first < float("inf")
    return (name, largest / first, first) if known else ("", 1.0, first)


def _size(gradient: float | None) -> float:
    if gradient is None:
        return 0.0
    return gradient if np.isfinite(gradient) else float("inf")
