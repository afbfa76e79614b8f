"""Which loss this is: what the operations behind a model's output compute, by their structure.

A loss that a user writes in operations (`((out - y) ** 2).mean()`) is known as well as a named one:
from the number at the end the walk goes back over signs, factors, means and sums to the operation
that compares the output with the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.lens.diagnose.passes import LossFacts, Op

SHAPING = frozenset(
    {
        "reshape", "flatten", "squeeze", "expand_dims", "permute_dims", "astype", "unflatten",
        "identity", "matrix_transpose", "moveaxis",
    }
)  # fmt: skip
"""Operations that leave every number as it is."""
LOGITS = {"softmax_cross_entropy": "cross_entropy", "bernoulli_nll": "bce"}
"""Operations that are a loss of each row by themselves: their first operand is the prediction."""

TAKES = {"takes": "probabilities"}
"""An option of `LossFacts`: the loss takes the logarithm itself."""


def recognised(ops: Sequence[Op], output: int | None, rows: int) -> LossFacts:
    """What the last of these operations is as a loss.

    Args:
        ops: of a pass, the loss's value last.
        output: the position of the model's output; None where it is not known, and then everything
            that a parameter takes part in counts as the model's.
        rows: of the batch.
    """
    return _Reader(ops, output, rows).facts()


@dataclass
class _Core:
    """The operation that compares, and what it compares: positions, or values."""

    kind: str
    sign: float
    prediction: int | None
    target: np.ndarray | None
    options: dict[str, Any] = field(default_factory=dict)


class _Reader:
    def __init__(self, ops: Sequence[Op], output: int | None, rows: int) -> None:
        self.ops, self.output, self.rows = ops, output, rows
        self.live = self._live()

    def _live(self) -> list[bool]:
        """For each operation whether it depends on the model's output."""
        found: list[bool] = []
        for i, op in enumerate(self.ops):
            through = any(s is not None and found[s] for s in op.inputs)
            source = i == self.output if self.output is not None else _has_parameter(op)
            found.append(through or source)
        return found

    def facts(self) -> LossFacts:
        at, sign, scale = len(self.ops) - 1, 1.0, 1.0
        reductions: list[str] = []
        core = None
        while at >= 0 and core is None:
            if at == self.output:
                break
            core = self._core(at)
            if core is not None:
                break
            op = self.ops[at]
            onward = self._onward(op)
            if onward is None:
                break
            at, factor = onward
            sign, scale = sign * np.sign(factor), scale * abs(factor)
            if op.name in ("mean", "sum"):
                reductions.append(op.name)
        size = self.ops[at].value.size if at >= 0 else 0
        reduction = self._reduction(reductions, scale, size)
        if core is None:
            # Of several losses in one each has targets of its own.
            several = at >= 0 and self.ops[at].value.ndim == 0 and self._forks(self.ops[at])
            target = None if several else self._first_constant()
            return LossFacts(
                "custom", reduction, "", self.output, self._operation(self.output), target
            )
        prediction = self._settled(core.prediction)
        direction = float(np.sign(sign * core.sign)) or 1.0
        return LossFacts(
            core.kind, reduction, "", prediction, self._operation(prediction), core.target,
            core.options, direction,
        )  # fmt: skip

    # The way back to the operation that compares

    def _onward(self, op: Op) -> tuple[int, float] | None:
        """(the operand to go on with, the factor that it comes with), where there is one way."""
        live = [s for s in op.inputs if s is not None and self.live[s]]
        if len(live) != 1:
            return None
        source = live[0]
        if op.name == "negative":
            return source, -1.0
        if op.name in ("mean", "sum") or op.name in SHAPING:
            return source, 1.0
        first = op.inputs[0] == source
        other = self._value(op, 1 if first else 0) if len(op.inputs) == 2 else None
        if op.name in ("multiply", "divide"):
            if other is None or (op.name == "divide" and not first):
                return None
            if np.size(other) == 1:
                factor = float(np.asarray(other).reshape(()))
                return source, factor if op.name == "multiply" else 1 / factor if factor else 1.0
            return source, 1.0  # a weight for each row
        if op.name in ("add", "subtract") and op.value.size == 1 and op.value.ndim == 0:
            return source, -1.0 if op.name == "subtract" and not first else 1.0  # a penalty
        return None

    def _forks(self, op: Op) -> bool:
        return len({s for s in op.inputs if s is not None and self.live[s]}) > 1

    def _reduction(self, names: list[str], scale: float, size: int) -> str:
        if not names:
            return "unknown"
        if names[0] == "sum":
            counts = {self.rows, size}
            return "mean" if any(abs(scale * n - 1) < 1e-3 for n in counts if n > 1) else "sum"
        return "mean"

    # The operation that compares

    def _core(self, at: int) -> _Core | None:
        op = self.ops[at]
        if op.name in LOGITS:
            return _Core(LOGITS[op.name], 1.0, op.inputs[0], self._value(op, 1))
        if op.name == "square" or (op.name == "pow" and _is(self._value(op, 1), 2)):
            return self._difference("mse", op.inputs[0])
        if op.name == "multiply" and op.inputs[0] is not None and op.inputs[0] == op.inputs[1]:
            return self._difference("mse", op.inputs[0])
        if op.name == "abs":
            return self._difference("mae", op.inputs[0])
        if op.name == "where" and len(op.inputs) == 3:
            return self._huber(op)
        if op.name == "getitem":
            return self._picked(op)
        if op.name in ("multiply", "add", "subtract") and op.value.ndim:
            return self._logarithms(op)
        return None

    def _difference(self, kind: str, at: int | None) -> _Core | None:
        """prediction − target, or the other way round."""
        if at is None or self.ops[at].name != "subtract":
            return None
        op = self.ops[at]
        sides = [s is not None and self.live[s] for s in op.inputs]
        if sides == [True, True] or not any(sides):
            return None
        side = sides.index(True)
        return _Core(kind, 1.0, op.inputs[side], self._value(op, 1 - side))

    def _huber(self, op: Op) -> _Core | None:
        condition = op.inputs[0]
        if condition is None or not self.live[condition]:
            return None
        size = self.ops[condition].inputs[0]
        if size is not None and self.ops[size].name == "abs":
            return self._difference("huber", self.ops[size].inputs[0])
        return None

    def _picked(self, op: Op) -> _Core | None:
        """log p[i, y]: a logarithm of each row's own class."""
        source = op.inputs[0]
        if source is None:
            return None
        found = self._logarithm(source)
        if found is None:
            return None
        values = [self._value(op, k) for k in range(1, len(op.inputs))]
        labels = [v for v in values if v is not None and v.dtype.kind in "iu"]
        target = labels[-1] if labels else None  # the rows' numbers come first
        if target is not None and target.ndim > 1 and target.shape[-1] == 1:
            target = target[..., 0]
        return _Core(found[0], -1.0, found[1], target, found[2])

    def _logarithm(self, at: int) -> tuple[str, int, dict[str, Any]] | None:
        """(kind, prediction, options) of the logarithm of probabilities. Where the loss takes the
        logarithm itself, the prediction is what it takes it of."""
        at = self._settled(at, through_output=True) or at
        op = self.ops[at]
        source = op.inputs[0] if self.output is not None and at > self.output else None
        if op.name == "log_softmax":
            return ("nll", at, {}) if source is None else ("cross_entropy", source, {})
        if op.name == "log":
            return ("nll", at, {}) if source is None else ("nll", source, TAKES)
        return None

    def _logarithms(self, op: Op) -> _Core | None:
        """y log p, summed over classes; or y log p + (1 − y) log(1 − p), and its form in logits."""
        terms = [self._term(s) for s in op.inputs] if op.name != "multiply" else []
        if op.name == "multiply":
            found = self._term_of(op)
            if found is None or found[0] not in ("log", "log_softmax"):
                return None
            at, target = found[1], found[2]
            made = self._logarithm(at)
            return None if made is None else _Core(made[0], -1.0, made[1], target, made[2])
        if any(t is None for t in terms):
            return None
        (first, at, target), (second, _, other) = terms  # type: ignore[misc]
        if {first, second} == {"log", "log_complement"}:
            if first == "log_complement":
                _, at, target = terms[1]  # type: ignore[misc]
            return _Core("bce", -1.0, self.ops[at].inputs[0], target)
        if first == second == "softplus":
            for place, factor in ((at, target), (terms[1][1], other)):  # type: ignore[index]
                inner = self.ops[place].inputs[0]
                if inner is not None and self.ops[inner].name == "negative":
                    return _Core("bce_with_logits", 1.0, self.ops[inner].inputs[0], factor)
        return None

    def _term(self, at: int | None) -> tuple[str, int, np.ndarray] | None:
        return None if at is None else self._term_of(self.ops[at])

    def _term_of(self, op: Op) -> tuple[str, int, np.ndarray] | None:
        """(which logarithm, its position, the target that it is multiplied with)."""
        if op.name == "negative":
            return self._term(op.inputs[0])
        if op.name != "multiply":
            return None
        for side in (0, 1):
            at, target = op.inputs[side], self._value(op, 1 - side)
            if at is None or not self.live[at] or target is None or np.size(target) <= 1:
                continue
            name = self.ops[at].name
            if name in ("log", "log_softmax", "softplus"):
                inner = self.ops[at].inputs[0]
                if name == "log" and inner is not None and self.ops[inner].name == "subtract" and (
                    _is(self._value(self.ops[inner], 0), 1)
                ):  # fmt: skip
                    name = "log_complement"
                return name, at, target
        return None

    # Small things

    def _value(self, op: Op, side: int) -> np.ndarray | None:
        """An operand that does not depend on the model's output, as an array."""
        if side >= len(op.inputs):
            return None
        source = op.inputs[side]
        if source is not None:
            return None if self.live[source] else np.asarray(self.ops[source].value)
        value = op.operands[side]
        return None if value is None else np.asarray(value)

    def _settled(self, at: int | None, through_output: bool = False) -> int | None:
        """The operation before reshapes and casts that stand between the model and the loss."""
        while at is not None and self.ops[at].name in SHAPING:
            inside = self.output is not None and at <= self.output
            if inside and not through_output:
                break
            source = self.ops[at].inputs[0]
            if source is None:
                break
            at = source
        return at

    def _operation(self, prediction: int | None) -> int | None:
        start = prediction if prediction is not None else self.output
        if start is None:
            return None
        return next((i for i in range(start + 1, len(self.ops)) if self._reads(i, start)), None)

    def _reads(self, at: int, start: int) -> bool:
        return start in self.ops[at].inputs

    def _first_constant(self) -> np.ndarray | None:
        """What comes in behind the model's output with a number for each row."""
        start = -1 if self.output is None else self.output
        for op, live in list(zip(self.ops, self.live, strict=True))[start + 1 :]:
            if not live:
                continue
            for side in range(len(op.inputs)):
                value = self._value(op, side)
                if value is None or op.parameters[side] is not None:
                    continue
                if value.shape[:1] == (self.rows,):
                    return value
        return None


def _has_parameter(op: Op) -> bool:
    return any(p is not None for p in op.parameters)


def _is(value: Any, number: float) -> bool:
    return value is not None and np.size(value) == 1 and float(np.reshape(value, ())) == number
