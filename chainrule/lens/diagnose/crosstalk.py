"""Whether the examples of a batch reach into each other: ∂ output_i / ∂ input_j for i ≠ j."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.passes import Op

ROWS = 6
NOISE = 1e-4
"""A change relative to the outputs' own size that rounding may make."""


@dataclass(frozen=True)
class Crosstalk:
    """What changing one row did to the others.

    Attributes:
        leak: the largest change of another row's output ÷ the outputs' size, in evaluation mode;
            0 where it is within rounding, NaN where it could not be measured.
        own: the change of its own output, in the same units.
        row: which other row changed most.
    """

    leak: float = float("nan")
    own: float = float("nan")
    row: int = 0


def crosstalk(case: Case) -> Crosstalk:
    """Replace the first of a few rows, and look at the outputs of the others, in evaluation mode,
    where no normalisation over the batch remains."""
    if "crosstalk" not in case.memo:
        case.memo["crosstalk"] = _measured(case)
    return case.memo["crosstalk"]


def first_mixing(case: Case) -> tuple[Op, str] | None:
    """The first operation whose results for other rows move when the first row is replaced, and its
    place."""
    x, changed = _rows(case)
    passes = [
        case.framework.observe(case.setup.model, rows, None, None, training=False)
        for rows in (x, changed)
    ]
    for at, (before, after) in enumerate(zip(*(run.ops for run in passes), strict=False)):
        a, b = np.asarray(before.value), np.asarray(after.value)
        if a.shape != b.shape or a.shape[:1] != (len(x),) or a.dtype.kind != "f":
            continue
        if np.abs(a - b)[1:].max(initial=0) > NOISE * np.abs(a).max(initial=0):
            return before, passes[0].place(at)
    return None


def _rows(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """A few rows, and the same with another first one."""
    every = np.asarray(case.first.x)
    x, other = every[:ROWS], every[-1]
    changed = x.copy()
    changed[0] = other if not np.array_equal(other, x[0]) else x[0] * 2 + (x.dtype.kind == "f")
    return x, changed


def _measured(case: Case) -> Crosstalk:
    run = case.first
    rows = len(run.x)
    if run.outputs is None or np.shape(run.outputs)[:1] != (rows,) or rows < 3:
        return Crosstalk()
    x, changed = _rows(case)
    outputs, model = case.framework.outputs, case.setup.model
    try:
        before, after = outputs(model, x), outputs(model, changed)
    except Exception:  # a model with a number of rows built in: model-error says so if it matters
        return Crosstalk()
    size = float(np.abs(before).max())
    if len(before) != len(x) or not size or not np.isfinite(before).all():
        return Crosstalk()
    moved = np.abs(after - before).reshape(len(x), -1).max(1) / size
    if not np.isfinite(moved).all():
        return Crosstalk()
    row = 1 + int(moved[1:].argmax())
    leak = float(moved[row])
    if leak <= NOISE or not np.array_equal(outputs(model, x), before):  # or it is random anyway
        return Crosstalk(0.0, float(moved[0]), row)
    return Crosstalk(leak, float(moved[0]), row)
