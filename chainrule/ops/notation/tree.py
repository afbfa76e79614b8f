"""The parts of a formula, as the parser leaves them."""

from __future__ import annotations

from dataclasses import dataclass


class Expression:
    """A part of a formula."""


@dataclass(frozen=True)
class Number(Expression):
    text: str


@dataclass(frozen=True)
class Name(Expression):
    """An operand, an attribute, an index used as a number, or π, e, ∞."""

    name: str


@dataclass(frozen=True)
class Subscript(Expression):
    """x[…, i, j + 1]; `None` among the indices stands for the ellipsis."""

    name: str
    indices: tuple[Expression | None, ...]


@dataclass(frozen=True)
class Flat(Expression):
    """x⟨n⟩: the elements in row-major order."""

    name: str
    index: str


@dataclass(frozen=True)
class Call(Expression):
    function: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True)
class Unary(Expression):
    operator: str
    operand: Expression


@dataclass(frozen=True)
class Binary(Expression):
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Choice(Expression):
    """a if condition else b."""

    then: Expression
    condition: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Reduce(Expression):
    """Σ_k body, with a condition on k in Σ_{k ≤ i}."""

    word: str
    indices: tuple[str, ...]
    condition: Expression | None
    body: Expression


@dataclass(frozen=True)
class Size(Expression):
    """|k|: how many values the index k takes."""

    index: str


@dataclass(frozen=True)
class Statement:
    """target[indices] = value; a bare expression has the target y and no indices.

    `ranges` says of indices how many values they take, where that is not what an operand that they
    stand alone in says: where only a part of an axis is read.
    """

    target: Subscript | Flat | Name
    value: Expression
    ranges: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Datum(Expression):
    """A number that stands in the place of an element.

    Attributes:
        value: the number.
        name: of the operand that it is an element of; "" where it is an intermediate value.
        position: which element, in row-major order; −1 where it lies beyond the operand's ends.
    """

    value: float
    name: str = ""
    position: int = -1


@dataclass(frozen=True)
class Rest(Expression):
    """What the terms of a sum that are not written out add up to."""

    count: int
    value: float


@dataclass(frozen=True)
class Taken(Expression):
    """The branch of a choice that is taken, and the condition that decided."""

    value: Expression
    condition: Expression
    holds: bool


def walk(part: Expression) -> list[Expression]:
    """Every part of an expression."""
    found, stack = [], [part]
    while stack:
        current = stack.pop()
        found.append(current)
        for value in vars(current).values():
            if isinstance(value, Expression):
                stack.append(value)
            elif isinstance(value, tuple):
                stack += [item for item in value if isinstance(item, Expression)]
    return found
