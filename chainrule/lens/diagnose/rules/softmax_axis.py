"""softmax-axis: a softmax that adds up to 1 over the wrong axis."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.crosstalk import crosstalk
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.head import head_of
from chainrule.lens.diagnose.loss_forms import class_axis
from chainrule.lens.diagnose.rules.rule import Rule

OWN = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "softmin": "Softmin"}
"""The module that is nothing but this operation."""


class SoftmaxAxis(Rule):
    """Probabilities add up to 1 over the classes of one example; a softmax over the batch's axis
    makes the examples compete with each other, one over the pixels' or the time axis makes places
    compete."""

    name = "softmax-axis"
    stage = "static"
    looks_at = "the axis of every softmax"

    def look(self, case: Case) -> Iterable[Finding]:
        run = case.first
        for position, op in enumerate(run.ops):
            axis = op.attrs.get("axis")
            if op.name not in OWN or not isinstance(axis, int) or op.value.ndim < 2:
                continue
            axis %= op.value.ndim
            if axis == 0 and len(op.value) == len(run.x):
                if self._leaks(case, position):
                    yield self._found(case, position, axis, "the examples of a batch", None)
                continue
            wanted = self._wanted(case, position)
            if wanted is not None and axis != wanted:
                yield self._found(case, position, axis, f"axis {axis}", wanted)

    def _leaks(self, case: Case, position: int) -> bool:
        """In the loss the first axis is the batch's; in the model it is where a row of the input
        moves another row's result."""
        start = case.loss.operation
        if start is not None and position >= start:
            return True
        return crosstalk(case).leak > 0

    def _wanted(self, case: Case, position: int) -> int | None:
        """The axis of the classes, for the softmax that the loss reads."""
        head, y = head_of(case), case.first.y
        if head is None or y is None or position != head.op:
            return None
        value = case.first.ops[position].value
        if value.shape != head.values.shape or value.ndim < 3:
            return None
        axis = class_axis(np.asarray(y), value.shape)
        return None if axis is None else axis % value.ndim

    def _found(
        self, case: Case, position: int, axis: int, over: str, wanted: int | None
    ) -> Finding:
        op = case.first.ops[position]
        line = f" ({op.place})" if op.place and not op.path else ""
        # A module that calls softmax among other things is not to be exchanged for one.
        own = any(
            path == op.path and kind == OWN[op.name]
            for path, kind, _ in case.framework.modules(case.setup.model)
        )
        value = op.value if op.name != "log_softmax" else np.exp(op.value)
        right = value.ndim - 1 if wanted is None else wanted
        row = float(value.sum(right).reshape(-1)[0])
        return Finding(
            self.name,
            case.first.place(position),
            f"{op.name}{line} adds up to 1 over {over} (axis {axis} of {op.value.shape}), not "
            f"over the classes: the first example's probabilities add up to {row:.3g}",
            (Measured("sum of the first example's probabilities", row, "1"),),
            f"softmax divides by Σ_i exp(z_ij) over axis {axis}; the probabilities of one example "
            f"add up to 1 with axis={right if wanted is not None else -1}",
            "error",
            0.97,
            (changes.replace_module(op.path, OWN[op.name], right),) if own else (),
            explains=("batch-crosstalk", "not-learning", "loss-output-mismatch", "double-softmax",
                      "vanishing-gradients", "output-activation"),
        )  # fmt: skip
