"""non-finite, before the first step: NaN or infinity in the data, the pass or its gradients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Change, Finding, Measured
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Op, Pass
from chainrule.lens.diagnose.rules.rule import Rule

CAUSES = {
    "log": "log 0 = −∞ and log of a negative number is NaN: take the logarithm of a softmax by "
           "log_softmax, of a sigmoid by a loss with logits, or add an ε",
    "divide": "x/0 is infinite and 0/0 NaN: add an ε to the divisor",
    "reciprocal": "1/0 is infinite: add an ε",
    "sqrt": "√ of a negative number is NaN, and its derivative 1/(2√x) is infinite at 0: add an ε",
    "exp": "exp overflows above 88 in float32: subtract the largest element first",
    "pow": "a power of a negative number, or of 0 with a negative exponent, is no finite number",
    "square": "the square overflows above 1.8e19 in float32",
    "norm": "the derivative of a norm x/‖x‖ is 0/0 at 0: add an ε",
}  # fmt: skip
CONSEQUENCES = ("not-learning", "exploding-gradients", "model-error", "learning-rate-too-high",
                "input-scale", "target-scale", "dead-units", "unreached-parameters")  # fmt: skip


class NonFinite(Rule):
    """NaN times anything is NaN: one number makes the loss, then every gradient, then every weight
    NaN. The origin is the first operation whose operands are finite and whose result is not."""

    name = "non-finite"
    stage = "static"
    looks_at = "whether data, first pass and first gradients are finite"

    def look(self, case: Case) -> Iterable[Finding]:
        data = list(self._data(case))
        yield from data
        if data:
            return
        run = case.first
        forward = _first_bad(run)
        if forward is not None and not np.isfinite(run.loss):
            yield self._origin(run, forward)
            return
        names = [n for n, g in run.gradients.items() if g is not None and not np.isfinite(g).all()]
        if names and run.error is None:
            yield self._backward(run, _first_bad_back(run), names)

    def _data(self, case: Case) -> Iterable[Finding]:
        setup = case.setup
        arrays = {
            "inputs": setup.x,
            "targets": setup.y,
            "held-out inputs": setup.x_held,
            "held-out targets": setup.y_held,
        }
        for what, given in arrays.items():
            values = np.asarray(given)
            if values.dtype.kind not in "fc" or not values.size:
                continue
            bad = ~np.isfinite(values)
            if not bad.any():
                continue
            place = np.argwhere(bad)[0]
            rows = np.flatnonzero(bad.reshape(len(values), -1).any(1))
            column = self._column(case, what, place)
            yield Finding(
                self.name,
                column or "data",
                f"{len(rows)} of {len(values)} rows of the {what} hold NaN or infinity, first "
                f"row {setup.row(int(place[0]), 'held' in what)}"
                + (f", column {column or place[1]}" if len(place) > 1 else ""),
                (
                    Measured("numbers that are not finite", int(bad.sum()), "0"),
                    Measured("the first", str(values[tuple(place)])),
                ),
                "NaN times anything is NaN: one such number makes the loss, every gradient and, "
                "after "
                "one step, every weight NaN",
                "error",
                0.99 if what in ("inputs", "targets") else 0.7,
                (changes.drop_rows(rows.tolist(), "they hold NaN or infinity"),)
                if what in ("inputs", "targets") else (),
                explains=CONSEQUENCES,
            )  # fmt: skip

    def _column(self, case: Case, what: str, place: np.ndarray) -> str:
        columns = case.setup.columns
        inputs = "inputs" in what and len(place) == 2
        return columns[place[1]] if inputs and place[1] < len(columns) else ""

    def _origin(self, run: Pass, at: int) -> Finding:
        op = run.ops[at]
        operands = [
            v for v in op.operands if isinstance(v, np.ndarray) and v.size and v.dtype.kind == "f"
        ]
        low = min((float(v.min()) for v in operands), default=float("nan"))
        high = max((float(v.max()) for v in operands), default=float("nan"))
        return Finding(
            self.name, run.place(at),
            f"the loss is {run.loss:g} before the first step: it comes from {op.name}"
            + (f" in {written(op.path)}" if op.path else "")
            + (f" ({op.place})" if op.place else "")
            + f", whose operands lie between {low:.4g} and {high:.4g}",
            (
                Measured("operands' smallest", low), Measured("operands' largest", high),
                Measured("results that are not finite", int((~np.isfinite(op.value)).sum()), "0"),
            ),
            CAUSES.get(op.name, f"{op.name} gives NaN or infinity for these operands"),
            "error", 0.96, _remedies(op), explains=CONSEQUENCES,
        )  # fmt: skip

    def _backward(self, run: Pass, at: int | None, names: list[str]) -> Finding:
        op = None if at is None else run.ops[at]
        what = (
            ""
            if op is None
            else f": it begins in the derivative of {op.name}"
            + (f" in {written(op.path)}" if op.path else "")
        )
        return Finding(
            self.name, "loss" if at is None else run.place(at),
            f"the loss is finite, and the gradient of {names[0]}"
            + (f" and {len(names) - 1} more parameters" if len(names) > 1 else "")
            + f" is not{what}",
            (Measured("parameters with NaN or infinite gradients", len(names), "0"),),
            CAUSES.get(op.name if op is not None else "",
                       "a derivative that is infinite at these operands, or 0 · ∞ in a branch that "
                       "`where` did not choose"),
            "error", 0.95, explains=CONSEQUENCES,
        )  # fmt: skip


def _remedies(op: Op) -> tuple[Change, ...]:
    if op.name == "exp":
        return (changes.standardise_inputs(),)
    return ()


def _first_bad(run: Pass) -> int | None:
    """The first operation with a result that is not finite from operands that are."""
    for at, op in enumerate(run.ops):
        value = np.asarray(op.value)
        if value.dtype.kind != "f" or np.isfinite(value).all():
            continue
        if all(np.isfinite(v).all() for v in op.operands
               if isinstance(v, np.ndarray) and v.dtype.kind == "f"):  # fmt: skip
            return at
    return None


def _first_bad_back(run: Pass) -> int | None:
    """The last operation whose result's gradient is finite and an operand's is not."""
    backward = range(len(run.ops) - 1, -1, -1)
    for at in backward:
        op = run.ops[at]
        if op.gradient is None or not np.isfinite(op.gradient).all():
            continue
        sources = [run.ops[s].gradient for s in op.inputs if s is not None]
        if any(g is not None and not np.isfinite(g).all() for g in sources):
            return at
    for at in backward:
        gradient = run.ops[at].gradient
        if gradient is not None and not np.isfinite(gradient).all():
            return at
    return None
