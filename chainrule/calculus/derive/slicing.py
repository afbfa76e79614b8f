"""Slices in index notation: which element of an array a part of it takes, and where it is put."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from chainrule.calculus.derive.terms import Applied, Term
from chainrule.ops.batched_indexing import ARRAY
from chainrule.ops.notation import tree


def is_slice(term: Term) -> bool:
    """Whether a term is a part of another (`getitem`), or is 0 but for a part (`add_at`), by slices
    and integers alone; what is put, without gaps."""
    if not isinstance(term, Applied) or term.op.name not in ("getitem", "add_at"):
        return False
    if ARRAY in term.attrs["pattern"] or not term.shape or 0 in term.shape:
        return False
    return term.op.name == "getitem" or all(
        axis.step == 1 and axis for axis in _axes(term) if isinstance(axis, range)
    )


def source(
    term: Applied, at: Sequence[tree.Expression]
) -> tuple[list[tree.Expression], tree.Expression | None]:
    """The place in the operand that an element comes from, and the condition under which it does;
    elsewhere it is 0. There is no condition where it always does."""
    indices = iter(at)
    if term.op.name == "getitem":
        return list(_taken(term, indices)), None
    places: list[tree.Expression] = []
    condition: tree.Expression | None = None
    for axis, size in _with_sizes(term):
        if axis is None:
            places.append(_number(0))
            continue
        index = next(indices)
        if isinstance(axis, int):
            found = [tree.Binary("=", index, _number(axis))]
        else:
            places.append(_moved(index, -axis.start))
            found = [tree.Binary("≥", index, _number(axis.start))] if axis.start else []
            if axis.stop < size:
                found.append(tree.Binary("<", index, _number(axis.stop)))
        for one in found:
            condition = one if condition is None else tree.Binary("and", condition, one)
    return places, condition


def _taken(term: Applied, indices: Iterator[tree.Expression]) -> Iterator[tree.Expression]:
    for axis in _axes(term):
        if axis is None:
            next(indices)
        elif isinstance(axis, int):
            yield _number(axis)
        else:
            index = next(indices)
            if abs(axis.step) != 1:
                index = tree.Binary("·", _number(abs(axis.step)), index)
            start = _number(axis.start)
            yield _moved(index, axis.start) if axis.step > 0 else tree.Binary("-", start, index)


def _axes(term: Applied) -> list[range | int | None]:
    return [axis for axis, _ in _with_sizes(term)]


def _with_sizes(term: Applied) -> Iterator[tuple[range | int | None, int]]:
    """For each part of the key: the positions that a slice takes, the one of an integer, or None
    for a new axis; and how long the axis is."""
    pattern: tuple[Any, ...] = term.attrs["pattern"]
    whole = term.args[0].shape if term.op.name == "getitem" else term.shape
    pattern = pattern if Ellipsis in pattern else (*pattern, Ellipsis)
    used = sum(p is not None and p is not Ellipsis for p in pattern)
    sizes = iter(whole)
    for part in pattern:
        if part is None:
            yield None, 1
        elif part is Ellipsis:
            for _ in range(len(whole) - used):
                n = next(sizes)
                yield range(n), n
        else:
            n = next(sizes)
            yield part % n if isinstance(part, int) else range(*slice(*part).indices(n)), n


def _moved(index: tree.Expression, by: int) -> tree.Expression:
    """i + by; what is moved twice is moved by the sum."""
    if isinstance(index, tree.Binary) and isinstance(index.right, tree.Number):
        before = int(index.right.text)
        return _moved(index.left, by + (before if index.operator == "+" else -before))
    return tree.Binary("+" if by > 0 else "-", index, _number(abs(by))) if by else index


def _number(value: int) -> tree.Expression:
    return tree.Number(str(value))


def key_text(pattern: tuple[Any, ...]) -> str:
    """A key as it is written in Python: `..., 1:3`."""

    def one(part: Any) -> str:
        if part is Ellipsis:
            return "..."
        if not isinstance(part, tuple):
            return str(part)
        start, stop, step = ("" if p is None else str(p) for p in part)
        return f"{start}:{stop}{':' + step if step else ''}"

    return ", ".join(one(part) for part in pattern)
