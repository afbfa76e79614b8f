"""One element of a formula's result with every term of every sum: what a proof is written from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.ops.notation.evaluate import (
    Axis,
    Evaluator,
    Named,
    bound_in,
    neutral,
    softmax_terms,
)
from chainrule.ops.notation.substitute import Origin, fixed_by, positions_in
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Datum,
    Expression,
    Flat,
    Name,
    Number,
    Reduce,
    Size,
    Subscript,
    Unary,
)


@dataclass(frozen=True)
class Terms(Expression):
    """A reduction with its terms written out."""

    word: str
    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Definition:
    """An intermediate value of a formula of several statements."""

    name: str
    position: int
    value: float
    written: Expression


@dataclass
class Full:
    """An element with every term.

    Attributes:
        written: the element; a `Datum` in the place of every element that is read.
        definitions: the intermediate values, each before what reads it.
    """

    written: Expression
    definitions: list[Definition] = field(default_factory=list)


class InFull:
    """Writes elements of a formula's result with every term of every sum, and with both branches
    of every choice.

    >>> from chainrule.ops.notation import parse
    >>> element = parse("y = Σ_j x[j]").instantiate({"x": [4.0, 5.0]}, ())
    >>> InFull(element.origin).element(()).written.terms
    (Datum(value=4.0, name='', position=-1), Datum(value=5.0, name='', position=-1))

    Args:
        origin: of one of them.
    """

    def __init__(self, origin: Origin) -> None:
        *before, self.last = origin.statements
        shape = tuple(1 for _ in origin.index)
        evaluator = Evaluator(origin.operands, shape)
        evaluator.fixed = fixed_by(self.last.target, origin.index)
        evaluator.prepare(origin.statements)
        self.shape, self.sizes, self.operands = shape, evaluator.sizes, evaluator.operands
        self.statements = {statement.target.name: statement for statement in before}
        self.given: Mapping[str, Any] = origin.operands
        self.places = origin.places
        self.definitions: dict[tuple[str, int], Definition] = {}

    def element(self, index: tuple[int, ...]) -> Full:
        """One element; the intermediate values of those asked for before come with it."""
        written = _Scope(self, fixed_by(self.last.target, index)).write(self.last.value, {}, 0.0)
        return Full(written, list(self.definitions.values()))

    def reads(self, part: Expression | None = None) -> int:
        """About how many numbers an element is made of."""
        if part is None:
            return self.reads(self.last.value)
        if isinstance(part, Reduce):
            terms = math.prod(self.sizes.get(i, 1) for i in bound_in(part))
            return terms * max(1, self.reads(part.body))
        if isinstance(part, (Name, Subscript, Flat)):
            behind = self.statements.get(part.name)
            return 1 if behind is None else self.reads(behind.value)
        entries = [v if isinstance(v, tuple) else (v,) for v in vars(part).values()]
        return sum(self.reads(e) for entry in entries for e in entry if isinstance(e, Expression))

    def evaluator(self, fixed: Mapping[Axis, int], outside: float) -> Evaluator:
        made = Evaluator({}, self.shape, fixed)
        made.operands, made.sizes, made.outside = dict(self.operands), self.sizes, outside
        return made


class _NoElementError(Exception):
    """A part is an array, and a number is wanted."""


class _Scope:
    """Writes one statement's value with the axes of its target fixed."""

    def __init__(self, source: InFull, fixed: dict[Axis, int]) -> None:
        self.source, self.fixed = source, fixed
        self.read: dict[tuple[int, float], tuple[Expression, Named, Named | None]] = {}

    def write(self, part: Expression, at: Mapping[Axis, int], outside: float) -> Expression:
        """A part with the indices of the reductions around it at `at`.

        Args:
            outside: what an array counts as beyond its ends.
        """
        if isinstance(part, Number) or (isinstance(part, Name) and self._is_constant(part)):
            return part
        if isinstance(part, (Name, Subscript, Flat, Size)):
            return self._element(part, at, outside)
        if isinstance(part, Unary):
            return Unary(part.operator, self.write(part.operand, at, outside))
        if isinstance(part, Binary):
            part = self._in_range(part, at)
            left, right = (self.write(p, at, outside) for p in (part.left, part.right))
            return Binary(part.operator, left, right)
        if isinstance(part, Call):
            return Call(part.function, tuple(self.write(a, at, outside) for a in part.arguments))
        if isinstance(part, Choice):
            parts = (part.then, part.condition, part.otherwise)
            return Choice(*(self._branch(p, at, outside) for p in parts))
        assert isinstance(part, Reduce)
        outside = neutral(part.word)
        return Terms(
            part.word,
            tuple(self.write(part.body, {**at, **here}, outside) for here in self._at(part, at)),
        )

    def _in_range(self, part: Binary, at: Mapping[Axis, int]) -> Binary:
        """exp(a) / Σ exp b with the largest b taken from all exponents, where the sum is no
        floating-point number by itself."""
        terms = softmax_terms(part) if part.operator == "/" else None
        if terms is None or 0 < self._pick(part.right, at, 0.0)[0] < math.inf:
            return part
        exponent, total = terms
        assert isinstance(total.body, Call)
        (other,) = total.body.arguments
        peak = Reduce("max", total.indices, None, other)
        above, below = (Call("exp", (Binary("-", e, peak),)) for e in (exponent, other))
        return Binary("/", above, Reduce("Σ", total.indices, None, below))

    def _branch(self, part: Expression, at: Mapping[Axis, int], outside: float) -> Expression:
        """A part of a choice; NaN in the place of an array where a number was chosen, for there is
        no one element of it that belongs there."""
        try:
            return self.write(part, at, outside)
        except _NoElementError:
            return Datum(math.nan)

    def _is_constant(self, part: Name) -> bool:
        known = (*self.source.operands, *self.source.sizes, *self.fixed)
        return part.name in ("π", "e", "∞") and part.name not in known

    def _at(self, part: Reduce, at: Mapping[Axis, int]) -> Iterator[dict[Axis, int]]:
        """Where a reduction's indices are, term by term."""
        indices = bound_in(part)
        for here in itertools.product(*(range(self.source.sizes[i]) for i in indices)):
            found: dict[Axis, int] = dict(zip(indices, here, strict=True))
            if part.condition is None or self._pick(part.condition, {**at, **found}, 0.0)[0]:
                yield found

    def _pick(
        self, part: Expression, at: Mapping[Axis, int], outside: float
    ) -> tuple[Any, int | None]:
        """(the value of a part, the position of the element that it is)."""
        key = (id(part), outside)
        if key not in self.read:
            value = self.source.evaluator(self.fixed, outside).value(part)
            self.read[key] = part, value, self._positions(part)
        _, value, positions = self.read[key]
        if not at.keys() >= set(value.axes):
            raise _NoElementError
        found = value.array[tuple(at[axis] for axis in value.axes)].item()
        if positions is None:
            return found, None
        place = positions.array[tuple(at[axis] for axis in positions.axes)]
        return found, int(np.real(place))

    def _positions(self, part: Expression) -> Named | None:
        """Which element of its array a part is, −1 beyond the ends; None where it is none."""
        name = getattr(part, "name", "")
        own = name in self.source.statements or isinstance(self.source.given.get(name), np.ndarray)
        if not own:
            return None
        evaluator = self.source.evaluator(self.fixed, -1.0)
        array = evaluator.operands[name]
        evaluator.operands[name] = positions_in(array, self.source.places.get(name))
        return evaluator.value(part)

    def _element(self, part: Any, at: Mapping[Axis, int], outside: float) -> Expression:
        value, position = self._pick(part, at, outside)
        if position is None or position < 0:
            return Datum(value)
        if part.name in self.source.statements:
            self._define(part.name, position, value)
        return Datum(value, part.name, position)

    def _define(self, name: str, position: int, value: float) -> None:
        if (name, position) in self.source.definitions:
            return
        statement = self.source.statements[name]
        shape = self.source.operands[name].shape
        index = tuple(int(i) for i in np.unravel_index(position, shape))
        inside = _Scope(self.source, fixed_by(statement.target, index))
        written = inside.write(statement.value, {}, 0.0)
        self.source.definitions[name, position] = Definition(name, position, value, written)
