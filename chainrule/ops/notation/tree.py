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
    """target[indices] = value; a bare expression has the target y and no indices."""

    target: Subscript | Flat | Name
    value: Expression
