"""One element of a formula's result, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.ops.notation.evaluate import Evaluator, Named, product, spread
from chainrule.ops.notation.render import Plain
from chainrule.ops.notation.tree import (
    Binary,
    Call,
    Choice,
    Expression,
    Flat,
    Name,
    Reduce,
    Statement,
    Subscript,
)


@dataclass(frozen=True)
class Term:
    """One summand: its factors as numbers, and their product."""

    factors: tuple[float, ...]
    value: float


@dataclass(frozen=True)
class Instance:
    """One element of a result: the terms that add up to `value`, or the expression with numbers.

    Attributes:
        terms: of all sums in it, largest first; empty where the element is no plain sum.
        written: the expression with its numbers, where there are no terms.
        value: the element.
    """

    terms: tuple[Term, ...]
    written: str
    value: float

    def text(self, most: int = 5) -> str:
        """The numbers, the remainder of a long sum as one, and the value."""
        if not self.terms:
            return f"{self.written} = {number(self.value)}"
        shown = self.terms[:most] if len(self.terms) > most + 1 else self.terms
        parts = [" · ".join(bracketed(f) for f in term.factors) for term in shown]
        rest = self.terms[len(shown) :]
        if rest:
            remainder = sum(t.value for t in rest)
            parts.append(f"[{len(rest):,} more terms: {number(remainder)}]")
        return f"{' + '.join(parts)} = {number(self.value)}"


def number(value: Any) -> str:
    """A number to four digits, with a true minus sign."""
    text = f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
    return text.replace("-", "−")


def bracketed(value: float) -> str:
    text = number(value)
    return f"({text})" if text.startswith("−") else text


def instance(
    statements: tuple[Statement, ...], operands: Mapping[str, Any], index: tuple[int, ...]
) -> Instance:
    """Take one element of the result apart."""
    target = statements[-1].target
    evaluator = Evaluator(operands, tuple(1 for _ in index))
    evaluator.fixed = _fixed(target, index)
    last = evaluator.prepare(statements)
    value = float(evaluator.value(last.value).array)
    terms: list[Term] = []
    if _is_sum(last.value):
        _collect(evaluator, last.value, 1.0, terms)
        terms.sort(key=lambda t: -abs(t.value))
    written = "" if terms else Numbers(evaluator).write(last.value)
    return Instance(tuple(terms), written, value)


def _fixed(target: Any, index: tuple[int, ...]) -> dict[Any, int]:
    if isinstance(target, Flat):
        return {target.index: index[0]}
    if not isinstance(target, Subscript):
        return {("…", i - len(index)): value for i, value in enumerate(index)}
    explicit = len(target.indices) - target.indices.count(None)
    batch = len(index) - explicit
    fixed: dict[Any, int] = {}
    position = 0
    for part in target.indices:
        if part is None:
            for i in range(batch):
                fixed["…", i - batch] = index[position]
                position += 1
        else:
            assert isinstance(part, Name)
            fixed[part.name] = index[position]
            position += 1
    return fixed


def _is_sum(part: Expression) -> bool:
    """Whether a part is a Σ, or sums and differences with one in it."""
    if isinstance(part, Reduce):
        return part.word == "Σ" and part.condition is None
    if isinstance(part, Binary) and part.operator in "+-":
        return _is_sum(part.left) or _is_sum(part.right)
    return False


def _collect(evaluator: Evaluator, part: Expression, sign: float, terms: list[Term]) -> None:
    if isinstance(part, Binary) and part.operator in "+-":
        _collect(evaluator, part.left, sign, terms)
        _collect(evaluator, part.right, sign if part.operator == "+" else -sign, terms)
        return
    while isinstance(part, Reduce) and part.word == "Σ" and part.condition is None:
        part = part.body
    factors = [evaluator.value(f) for f in product(part)]
    axes = tuple(dict.fromkeys(a for f in factors for a in f.axes))
    columns = np.broadcast_arrays(*(spread(Named(f.array, f.axes), axes) for f in factors))
    flat = np.stack([c.reshape(-1).astype(np.float64) for c in columns], axis=1)
    flat[:, 0] *= sign
    values = flat.prod(axis=1)
    terms.extend(
        Term(tuple(map(float, row)), float(value)) for row, value in zip(flat, values, strict=True)
    )


def _lone(text: str) -> bool:
    """Whether a text is one negative number in brackets."""
    return text.startswith("(−") and text.count("(") == 1 and text.endswith(")")


class Numbers(Plain):
    """An expression in which every operand is its number; a reduction is its value."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self.evaluator = evaluator

    def _value(self, part: Expression) -> str:
        return bracketed(self.evaluator.value(part).array.item())

    name = subscript = flat = size = reduce = _value

    def call(self, part: Call) -> str:
        """A function of numbers; they need no brackets of their own."""
        inside = [self.write(a) for a in part.arguments]
        return f"{part.function}({', '.join(t[1:-1] if _lone(t) else t for t in inside)})"

    def choice(self, part: Choice) -> str:
        """The branch that is taken, and why."""
        taken = part.then if self.evaluator.value(part.condition).array else part.otherwise
        condition = self.write(part.condition)
        fact = f"as {condition}" if taken is part.then else f"as not {condition}"
        return f"{self.write(taken)}, {fact}"
