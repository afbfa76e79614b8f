"""non-finite, while training: where the first number that is not finite came from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.replay import Origin, origin
from chainrule.lens.diagnose.naming import shown
from chainrule.lens.diagnose.rules.rule import Rule


class NonFiniteLive(Rule):
    """The loss was finite at first and then was not. The run is made again up to that step, and
    the step recorded, operation by operation."""

    name = "non-finite"
    stage = "live"
    looks_at = "whether losses, gradients and weights stay finite, and where they first do not"

    def look(self, case: Case) -> Iterable[Finding]:
        trace = case.trace
        if trace is None:
            raise Missing("no run was watched")
        bad = np.flatnonzero(~np.isfinite(trace.losses))
        step = int(bad[0]) if len(bad) else next(
            (s.step for s in trace.samples if not all(p.finite for p in s.parameters.values())), -1
        )  # fmt: skip
        if step < 1 or not np.isfinite(trace.losses[0]):
            return  # never, or from the start: the static rule of this name
        found = origin(case, step)
        before = trace.losses[:step]
        where = found.where if found is not None else "loss"
        yield Finding(
            self.name,
            where,
            f"the loss is not finite from step {step} on" + (f": {_first(found)}" if found else ""),
            (
                Measured("first step that is not finite", step, "none"),
                Measured("loss of the step before", float(before[-1])),
                Measured("largest loss before", float(before[np.abs(before).argmax()])),
                *(() if found is None else (
                    Measured("largest weight before it", found.weights, "near 1"),
                    Measured("largest operand", found.largest, "", f"of {found.op}"),
                )),
            ),
            _cause(found),
            "error",
            0.6,
            (
                changes.set_rate(case.setup.rate / 10 or 1e-4),
                changes.clip_gradients(1.0),
                changes.standardise_inputs(),
            ),
            explains=("not-learning",),
        )  # fmt: skip


def _first(found: Origin) -> str:
    if found.kind == "update":
        return f"the step wrote numbers that are not finite to {shown(found.where)}"
    what = "gives" if found.kind == "forward" else "has a gradient that is"
    end = "a number that is not finite" if found.kind == "forward" else "not finite"
    return (
        f"{found.op} in {shown(found.where)} {what} {end} first, from operands up to "
        f"{found.largest:.3g}"
    )


def _cause(found: Origin | None) -> str:
    limit = "float32 ends at 3.4e38, and exp(x) at x = 88.7"
    if found is None:
        return f"a number left the range of its type: {limit}"
    if found.op in ("log", "divide", "sqrt", "rsqrt", "reciprocal"):
        return (
            f"{found.op} is not finite, or its derivative is not, at 0; softmax and sigmoid round "
            "to 0 for arguments below −104 in float32; losses of logits (cross_entropy, "
            "binary_cross_entropy_with_logits) never form that 0"
        )
    if found.weights > 1e3:
        return (
            f"weights had grown to {found.weights:.3g} before it: each step overshot by more than "
            f"the one before (|1 − ηλ| > 1), until a product left the range: {limit}"
        )
    return f"{found.op} was given numbers up to {found.largest:.3g}: {limit}"
