"""A change of one weight, tried: the network run again with the weight moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.calculus.jacobian import hvp
from chainrule.lens.explain.derivation import Check, Step
from chainrule.lens.explain.names import cotangent
from chainrule.lens.explain.questions.paths import Paths
from chainrule.lens.explain.questions.slopes import curvature, slope
from chainrule.lens.explain.questions.widening import applied
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.statement import stated
from chainrule.nn.functional import functional_call
from chainrule.nn.undisturbed import undisturbed
from chainrule.tensor.graph import OFF, Node, recording
from chainrule.tensor.tensor import Tensor

CHANGE = 0.01
"""By how much the weight is moved."""


@dataclass(frozen=True, eq=False)
class Moved:
    """The loss as a function of one weight's change: the network run again, in float64, with all
    its other parameters as they are, and the same random numbers."""

    recorded: Recorded
    parameter: str
    index: tuple[int, ...]
    paths: Paths
    _tried: dict[float, float] = field(default_factory=dict)

    @cached_property
    def _given(self) -> tuple[dict[str, Any], Any, Any]:
        recorded = self.recorded
        model = recorded.model
        names = [*recorded.parameters, *(name for name, _ in model.named_buffers())]
        cells = {name: _wide(recorded.given[name]) for name in names}
        inputs, y = recorded.arguments
        wide = tuple(_wide(x.numpy()) for x in inputs)
        return cells, wide, None if y is None else _wide(y.numpy())

    def loss(self, change: Any) -> Tensor:
        """L with the weight moved by a number, or by a tensor through which derivatives flow."""
        cells, inputs, y = self._given
        unit = np.zeros(self.recorded.parameters[self.parameter].shape)
        unit[self.index] = 1
        cells = {**cells, self.parameter: cells[self.parameter] + Tensor(unit) * change}
        recorded = self.recorded
        with (
            undisturbed(recorded.model, training=recorded.training),
            recorded.draws.replayed(),
        ):
            output = functional_call(recorded.model, cells, inputs)
            return output if recorded.loss is None else recorded.loss(output, y)

    def at(self, change: float) -> float:
        """L with the weight moved so far."""
        if change not in self._tried:
            with recording(OFF):
                self._tried[change] = float(self.loss(change).numpy())
        return self._tried[change]

    def again(self, change: float) -> float:
        """L by the recorded operations alone, run again in float64."""
        paths = self.paths
        unit = np.zeros(paths.leaf.shape)
        unit[self.index] = change
        found: dict[Node, np.ndarray] = {}
        for node in paths.passed:
            wide = paths.wide(node)
            assert wide.saved is not None
            operands = [
                found[n] if n in found else v + unit if n is paths.leaf else v
                for v, n in zip(wide.saved, node.inputs, strict=False)
            ]
            found[node] = applied(wide.op, operands, wide.attrs)
        return float(found[self.recorded.result])

    @cached_property
    def here(self) -> float:
        """L in float64 with the weight as it is."""
        return self.at(0.0)

    def change(self, change: float) -> float:
        """What a change of the weight does to L."""
        return self.at(change) - self.here

    @property
    def rounding(self) -> float:
        """How far rounding in float64 may put a loss off."""
        return 16 * float(np.finfo(np.float64).eps) * abs(self.here)

    def second(self) -> float:
        """d²L/dw², by forward mode over reverse mode."""
        zero, one = Tensor(np.zeros(())), Tensor(np.ones(()))
        return float(hvp(self.loss, (zero,), (one,)).numpy())

    def steps(self, name: str) -> tuple[Step, ...]:
        """What a change does by the derivatives, and what it does when it is tried."""
        gradient = self.recorded.gradients[self.paths.leaf][self.index].astype(np.float64)
        first, second_order = cotangent(name, parameter=True), f"∂²L/∂{name}²"
        second = self.second()
        found = [
            Step(
                name=second_order,
                title=f"{second_order}: how the slope itself changes with {name}",
                rule="forward mode over reverse mode (Pearlmutter 1994)",
                value=np.asarray(second),
                claims=(CurvatureClaim(self),),
            )
        ]
        for change in (CHANGE, -CHANGE):
            sign = "+" if change > 0 else "−"
            by = f"({name} {sign} {abs(change)})"
            after = self.at(change)
            expected = stated(
                f"ΔL expected {by}",
                f"What {name} {sign} {abs(change)} does to L by its derivatives",
                "h · g + h² / 2 · c",
                {"h": change, "g": gradient, "c": second},
                names={"g": first, "c": second_order},
                rule="Taylor's formula, to second order",
            )
            tried = stated(
                f"ΔL tried {by}",
                f"What {name} {sign} {abs(change)} does to L: the network run again in float64",
                "after − before",
                {"after": after, "before": self.here},
                names={"after": f"L {by}", "before": "L in float64"},
                rule="tried",
                digits=8,
                claims=(TriedClaim(self, change),),
            )
            assert expected.value is not None
            assert tried.value is not None
            missed = stated(
                f"ΔL missed {by}",
                "What the two leave: third and higher orders, and kinks that were passed",
                "tried − expected",
                {"tried": tried.value, "expected": expected.value},
                names={"tried": tried.name, "expected": expected.name},
            )
            found += [expected, tried, missed]
        return tuple(found)


def _wide(value: np.ndarray) -> Tensor:
    return Tensor(value.astype(np.float64) if value.dtype.kind in "fV" else value)


@dataclass(frozen=True, eq=False)
class GradientClaim:
    """That ∂L/∂w is the slope of the loss: central differences of the network run again in float64
    with the weight moved, with two steps, extrapolated (Richardson 1911)."""

    moved: Moved
    paths: Paths

    @property
    def rounding(self) -> float:
        """What rounding in the dtype that ran may explain."""
        return self.paths.rounding

    @cached_property
    def slope(self) -> tuple[float, float]:
        """(the slope, how far it may be off)."""
        moved = self.moved
        weight = moved.recorded.given[moved.parameter][moved.index]
        return slope(moved.change, 1e-3 * max(abs(float(weight)), 0.1), moved.rounding)

    def check(self, step: Step) -> Check:
        assert step.value is not None
        found, bound = self.slope
        difference = abs(float(step.value) - found)
        return Check("central differences of the loss", difference, bound + self.rounding)


@dataclass(frozen=True, eq=False)
class CurvatureClaim:
    """That ∂²L/∂w² is the curvature of the loss: second differences with two steps."""

    moved: Moved

    def check(self, step: Step) -> Check:
        assert step.value is not None
        found, bound = curvature(self.moved.change, CHANGE / 5, self.moved.rounding)
        return Check("second differences of the loss", abs(float(step.value) - found), bound)


@dataclass(frozen=True, eq=False)
class TriedClaim:
    """That the loss changes so: the recorded operations, run again in float64 from where the weight
    is used. What was before it is as it was recorded, which the rounding of the gradient covers."""

    moved: Moved
    change: float

    def check(self, step: Step) -> Check:
        assert step.value is not None
        again = self.moved.again(self.change) - self.moved.again(0.0)
        bound = 4 * abs(self.change) * self.moved.paths.rounding + 1e-13 * abs(self.moved.here)
        return Check("the recorded operations, run again", abs(float(step.value) - again), bound)
