"""Which part of a formula's intermediate values one element of its result is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chainrule.ops.notation.tree import Expression, Flat, Name, Statement, Subscript, walk


def needed(statements: Sequence[Statement], fixed: Mapping[Any, int]) -> dict[str, dict[Any, int]]:
    """For each statement before the last, by its name, the axes along which one place alone is
    read, and that place.

    Args:
        fixed: the same of the last statement: which element is asked for.

    >>> from chainrule.ops.notation import parse
    >>> softmax = parse("s[i] = Σ_j exp(x[i, j]); y[i, j] = exp(x[i, j]) / s[i]")
    >>> needed(softmax.statements, {"i": 2, "j": 5})
    {'s': {'i': 2}}
    """
    *before, last = statements
    found: dict[str, dict[Any, int]] = {}
    readers: list[tuple[Statement, Mapping[Any, int]]] = [(last, fixed)]
    for statement in reversed(before):
        target = statement.target
        uses = [
            _at(target, part, places)
            for reader, places in readers
            for part in walk(reader.value)
            if isinstance(part, (Name, Subscript, Flat)) and part.name == target.name
        ]
        first = uses[0] if uses else {}
        places = {a: p for a, p in first.items() if all(use.get(a) == p for use in uses)}
        found[target.name] = places
        readers.append((statement, places))
    return found


def _at(target: Any, part: Expression, fixed: Mapping[Any, int]) -> dict[Any, int]:
    """The places along a target's axes that one part of a statement reads, where the statement's
    own axes are fixed."""
    own, read = _indices(target), _indices(part)
    if own is None or read is None or len(own) != len(read):
        return {}
    found: dict[Any, int] = {}
    for axis, index in zip(own, read, strict=True):
        if axis is None and index is None:  # the axes behind … are the same everywhere
            found.update({a: p for a, p in fixed.items() if isinstance(a, tuple)})
        elif axis is None or index is None:
            return {}
        elif isinstance(axis, Name) and isinstance(index, Name) and index.name in fixed:
            found[axis.name] = fixed[index.name]
    return found


def _indices(part: Any) -> tuple[Expression | None, ...] | None:
    """The indices of a target, or of what reads it; None of what is read in row-major order."""
    if isinstance(part, Flat):
        return None
    return part.indices if isinstance(part, Subscript) else (None,)
