"""What the indices of an operation's formula say about the shapes of its operands and result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.lens.explain.derivation import Check, Step
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.steps.forward import FormulaClaim, forward_step
from chainrule.ops.notation.evaluate import walk
from chainrule.ops.notation.tree import Expression, Flat, Name, Subscript
from chainrule.tensor.graph import Node


@dataclass(frozen=True)
class Axis:
    """An axis of an operand.

    Attributes:
        name: what the operand is called in the formula.
        axis: which of its axes.
        index: what stands there in the formula: an index or a sum; None behind "…".
        from_right: the place among the axes behind "…", counted from the right.
        size: its length.
    """

    name: str
    axis: int
    index: Expression | None
    from_right: int
    size: int

    @property
    def letter(self) -> str:
        """The index that stands there alone, "" otherwise."""
        return self.index.name if isinstance(self.index, Name) else ""


class Reading:
    """An operation's formula, read for what its indices say about shapes."""

    def __init__(self, recorded: Recorded, node: Node) -> None:
        self.recorded, self.node = recorded, node
        self.step = forward_step(recorded, node)
        (self.claim,) = (c for c in self.step.claims if isinstance(c, FormulaClaim))

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def flat(self) -> bool:
        """Whether the numbers stay as they are, in row-major order."""
        shown = self.claim.op.display_only
        return not shown and isinstance(self.claim.op.formula.statements[-1].target, Flat)

    @cached_property
    def operands(self) -> dict[str, np.ndarray]:
        """The arrays that the formula names and that are operands as they were given."""
        view = self.claim.view(self.claim.value)
        if view is None:
            return {}
        own = self.claim.behind.operand
        return {
            name: array
            for name, array in view[0].items()
            if name in own
            and isinstance(array, np.ndarray)
            and np.shape(self.claim.operands[own[name]]) == array.shape
        }

    def called(self, name: str) -> str:
        """What an operand is called in this network."""
        return self.claim.called[self.claim.behind.operand[name]]

    @cached_property
    def result(self) -> list[str]:
        """The index of each axis of the result; "" behind "…"."""
        view, ndim = self.claim.view(self.claim.value), self.node.value.ndim  # type: ignore[union-attr]
        if view is None or view[1].shape != self.node.shape:
            return []
        target = self.claim.op.formula.statements[-1].target
        if not isinstance(target, Subscript):
            return [""] * ndim
        batch = ndim - len(target.indices) + target.indices.count(None)
        letters: list[str] = []
        for index in target.indices:
            letters += [""] * batch if index is None else [index.name]  # type: ignore[attr-defined]
        return letters

    @cached_property
    def axes(self) -> list[Axis]:
        """The axes of every operand that the formula reads, each once."""
        if self.claim.op.display_only or self.flat:
            return []
        found: dict[tuple[str, int], Axis] = {}
        for statement in self.claim.op.formula.statements:
            for part in reversed(walk(statement.value)):
                if not isinstance(part, (Name, Subscript)) or part.name not in self.operands:
                    continue
                array = self.operands[part.name]
                indices = part.indices if isinstance(part, Subscript) else (None,)
                batch = array.ndim - len(indices) + indices.count(None)
                spread: list[tuple[Expression | None, int]] = []
                for index in indices:
                    if index is None:
                        spread += [(None, i - batch) for i in range(batch)]
                    else:
                        spread.append((index, 0))
                for axis, (index, place) in enumerate(spread):
                    size = array.shape[axis]
                    found.setdefault((part.name, axis), Axis(part.name, axis, index, place, size))
        return list(found.values())

    def having(self, letter: str) -> list[Axis]:
        """The operands' axes along which an index runs."""
        return [axis for axis in self.axes if axis.letter == letter]

    @cached_property
    def letters(self) -> list[str]:
        """The indices that run along an axis of an operand: those of the result first."""
        found = [axis.letter for axis in self.axes if axis.letter not in ("", *self.operands)]
        return list(dict.fromkeys([*(x for x in self.result if x in found), *found]))

    def shape_of(self, name: str) -> tuple[str, np.ndarray]:
        """(how an operand's shape is called, the shape)."""
        array = self.operands[name]
        return f"shape of {self.called(name)}", np.array(array.shape)


def user_of(readings: Sequence[Reading], parameter: str) -> tuple[Reading, str] | None:
    """(the operation that first uses a parameter, its name in the formula)."""
    for reading in readings:
        for name in reading.operands:
            if reading.called(name) == parameter:
                return reading, name
    return None


def shape_of_array(array: Any) -> np.ndarray:
    return np.array(np.shape(array), np.int64)


def written(shape: Sequence[int]) -> str:
    return str(tuple(int(n) for n in shape))


@dataclass(frozen=True, eq=False)
class ShapeIs:
    """That a step's value is the shape of an array, and that its title says it."""

    array: np.ndarray
    title: str

    def check(self, step: Step) -> Check:
        assert step.value is not None
        same = tuple(step.value.tolist()) == self.array.shape
        said = f"is {written(self.array.shape)}" in step.title and step.title == self.title
        return Check("the array itself", 0.0 if same and said else float("inf"), 0.0)
