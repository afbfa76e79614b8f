"""The statements of an optimiser's formula, evaluated in float64, and what they check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.errors import CompileError
from chainrule.lens.explain.derivation import Check, Step
from chainrule.lens.explain.steps.forward import furthest, moved_by_one_unit, widened
from chainrule.lens.explain.steps.stepping import Change
from chainrule.ops.notation.evaluate import walk
from chainrule.ops.notation.specialise import result
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Flat,
    Name,
    Reduce,
    Statement,
    Subscript,
    Unary,
)
from chainrule.tensor.graph import OFF, recording
from chainrule.tensor.inspection import finfo
from chainrule.tensor.tensor import Tensor


@dataclass(eq=False)
class Statements:
    """An update's statements, evaluated one after the other.

    Attributes:
        statements: what is evaluated.
        given: what the letters stand for at the beginning.
        kept: what the optimiser keeps, as its step left it, by primed letter. A later statement
            reads these, so that a wrong value is wrong where it arises and nowhere else.
        dtype: of the parameter.
    """

    statements: tuple[Statement, ...]
    given: dict[str, Any]
    kept: dict[str, np.ndarray]
    dtype: np.dtype
    exact: dict[str, np.ndarray] = field(init=False)
    """What each statement gives, in float64."""

    def __post_init__(self) -> None:
        self.exact = self._run(lambda statement, values: values)
        self.values = {**self.given, **self.exact, **self.kept}

    def _run(self, operands: Callable[[Statement, dict[str, Any]], Any]) -> dict[str, np.ndarray]:
        """What the statements give, each with the operands that a function makes of the values."""
        values = self.kept | self.given
        found = {}
        for statement in self.statements:
            name = statement.target.name
            found[name] = result(statement, operands(statement, values))
            values[name] = self.kept.get(name, found[name])
        return found

    @cached_property
    def bounds(self) -> dict[str, float]:
        """How far rounding may put each of the kept values off.

        The statements are evaluated again with their operands moved up or down at random. An
        element that goes through K roundings may be off by some √K of one, so they are moved by
        √K units in the last place of the parameter's dtype. The largest change is taken four times.
        """
        limits = finfo(self.dtype)
        rng = np.random.default_rng(0)
        sizes = {
            s.target.name: limits.eps * np.sqrt(_roundings(s, self.values)) for s in self.statements
        }
        operands = {s.target.name: reads(s, self.values) for s in self.statements}

        def moved(statement: Statement, values: dict[str, Any]) -> dict[str, Any]:
            name = statement.target.name
            return {k: moved_by_one_unit(values[k], sizes[name], rng) for k in operands[name]}

        runs = [self._run(moved) for _ in range(3)]
        return {
            name: 4 * max(furthest(run[name], self.exact[name]) for run in runs)
            + 4 * limits.eps * _top(self.exact[name])
            + 4 * limits.smallest_normal
            for name in self.exact.keys() & self.kept.keys()
        }


def _roundings(statement: Statement, values: Mapping[str, Any]) -> int:
    """How many roundings an element of a statement's value goes through."""
    parts = walk(statement.value)
    terms = [_terms(part, values) for part in parts if isinstance(part, Reduce)]
    operations = sum(isinstance(part, (Binary, Call, Unary)) for part in parts)
    return operations + max(terms, default=1)


def _terms(part: Reduce, values: Mapping[str, Any]) -> int:
    """How many terms a reduction has."""
    for inner in walk(part.body):
        if isinstance(inner, Flat):
            return int(np.size(values[inner.name]))
        if isinstance(inner, Subscript):
            for place, index in enumerate(inner.indices, -len(inner.indices)):
                if isinstance(index, Name) and index.name in part.indices:
                    return int(np.shape(values[inner.name])[place])
    return 1


def _top(values: np.ndarray) -> float:
    """The largest size of a finite value."""
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))


@dataclass(frozen=True, eq=False)
class UpdateClaim:
    """That a value is what its statement gives, evaluated in float64.

    Attributes:
        chain: the statements of this parameter.
        name: the value's letter.
    """

    chain: Statements
    name: str

    @property
    def rounding(self) -> float:
        """What rounding may explain; nothing of a value that was evaluated here."""
        return self.chain.bounds.get(self.name, 0.0)

    def check(self, step: Step) -> Check:
        assert step.value is not None
        if self.name not in self.chain.exact:  # stated by another statement of the chain
            kept = self.chain.kept[self.name]
            return Check("as the optimiser keeps it", furthest(step.value, kept), 0.0)
        exact = self.chain.exact[self.name]
        least = 1e-12 * _top(exact)
        return Check("formula in float64", furthest(step.value, exact), max(self.rounding, least))


def reads(statement: Statement, values: Mapping[str, Any]) -> list[str]:
    """The values that a statement reads, from left to right."""
    parts = reversed(walk(statement.value))
    names = [part.name for part in parts if isinstance(part, (Name, Subscript, Flat))]
    return [name for name in dict.fromkeys(names) if name in values]


@dataclass(frozen=True, eq=False)
class RuleClaim:
    """That a new value is what the optimiser's rule gives in float64.

    Attributes:
        change: the step that was taken.
        name: the running value's; w is the weight.
    """

    change: Change
    name: str

    def check(self, step: Step) -> Check | None:
        change, limits = self.change, finfo(self.change.p.dtype)
        rng = np.random.default_rng(0)
        given = widened({**change.before, "g": change.gradient})
        if change.group.get("maximize"):
            given["g"] = -given["g"]
        try:
            exact = self._run(given)
        except CompileError:  # there is no rule
            return None
        moved = [
            self._run({k: moved_by_one_unit(v, limits.eps, rng) for k, v in given.items()})
            for _ in range(3)
        ]
        bound = 16 * max(furthest(other, exact) for other in moved)
        bound += 4 * limits.eps * _top(exact)
        assert step.value is not None
        return Check("the rule in float64", furthest(step.value, exact), bound)

    def _run(self, given: dict[str, np.ndarray]) -> np.ndarray:
        optimizer, group = self.change.optimizer, self.change.group
        names = optimizer.running(group)
        factors = optimizer.factors(self.change.count, group, dict.fromkeys(names, 1.0))
        w, g = Tensor(given["w"]), Tensor(given["g"])
        with recording(OFF):
            new, running = optimizer.rule(w, g, [Tensor(given[k]) for k in names], factors, group)
        return {"w": new, **dict(zip(names, running, strict=True))}[self.name].numpy()
