"""A sentence about a step, whose numbers are checked like all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainrule.lens.explain.derivation import Check, Step
from chainrule.ops.notation.render import number


@dataclass(frozen=True, eq=False)
class Remark:
    """What a step means, in words with numbers, and how the numbers are had once more.

    Attributes:
        text: the sentence, with {} in the place of every number.
        numbers: what stands there.
        again: the same numbers from the step's value, by another route.
        bound: how far the two may lie apart, in units of the number where it is larger than 1.
        digits: how many are written of a number.
    """

    text: str
    numbers: tuple[float, ...]
    again: Callable[[np.ndarray], Sequence[float]]
    bound: float = 1e-9
    digits: int = 4

    @property
    def written(self) -> str:
        """The sentence."""
        return self.text.format(*(number(value, self.digits) for value in self.numbers))

    def check(self, step: Step) -> Check:
        """That the sentence stands in the step, and that its numbers are right."""
        assert step.value is not None
        worst = 0.0 if self.written in step.notes else float("inf")
        for value, other in zip(self.numbers, self.again(step.value), strict=True):
            gap = 0.0 if value == other else abs(value - other) / max(1.0, abs(value))
            worst = max(worst, float("inf") if gap != gap else gap)
        return Check("the numbers of the note", worst, self.bound)


def remarked(step: Step, *remarks: Remark) -> Step:
    """A step with remarks behind its notes."""
    return replace(
        step,
        notes=(*step.notes, *(remark.written for remark in remarks)),
        claims=(*step.claims, *remarks),
    )


def quoted(name: str) -> str:
    """A name that a user gave, for the text of a remark."""
    return name.replace("{", "{{").replace("}", "}}")
