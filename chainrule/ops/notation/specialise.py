"""Formulas of several statements under known options, and what one statement gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from chainrule.ops.notation.evaluate import Evaluator, walk
from chainrule.ops.notation.tree import (
    Choice,
    Expression,
    Flat,
    Name,
    Number,
    Statement,
    Subscript,
)


def specialised(
    statements: tuple[Statement, ...], known: Mapping[str, Any], kept: Collection[str]
) -> tuple[Statement, ...]:
    """The statements with every choice made that known numbers and flags decide.

    A statement that says no more than another name for something is left out then, and the name
    replaced, unless it is among those that are kept.
    """
    found: list[Statement] = []
    meant: dict[str, Expression] = {}
    for statement in statements:
        value = _decided(statement.value, known, meant)
        target = statement.target
        if isinstance(value, (Name, Number)) and target.name not in kept:
            meant[target.name] = value
        else:
            found.append(Statement(target, value, statement.ranges))
    return tuple(found)


def _decided(
    part: Expression, known: Mapping[str, Any], meant: Mapping[str, Expression]
) -> Expression:
    """An expression with its choices made, and names replaced by what they mean."""
    if isinstance(part, Choice):
        used = {p.name for p in walk(part.condition) if isinstance(p, (Name, Subscript, Flat))}
        if used <= set(known):
            holds = bool(Evaluator(known, ()).value(part.condition).array)
            return _decided(part.then if holds else part.otherwise, known, meant)
    if isinstance(part, (Name, Subscript, Flat)) and part.name in meant:
        value = meant[part.name]
        if isinstance(part, Name) or not isinstance(value, Name):
            return value
        part = type(part)(value.name, *list(vars(part).values())[1:])
    changed: dict[str, Any] = {}
    for key, entry in vars(part).items():
        if isinstance(entry, Expression):
            changed[key] = _decided(entry, known, meant)
        elif isinstance(entry, tuple):
            changed[key] = tuple(
                _decided(e, known, meant) if isinstance(e, Expression) else e for e in entry
            )
    return type(part)(**{**vars(part), **changed})


def result(statement: Statement, operands: Mapping[str, Any]) -> np.ndarray:
    """What a statement gives, in float64 and in the shape that its operands make."""
    evaluator = Evaluator(operands, ())
    evaluator.learn_sizes(statement.value)
    value = evaluator.value(statement.value)
    array = evaluator.arrange(value, evaluator.target_axes(statement.target, value))
    return np.array(array, dtype=np.float64)
