"""Rules for axes of length 1, which `keepdims` leaves for broadcasting."""

from __future__ import annotations

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.rules_softmax import called
from chainrule.calculus.derive.terms import (
    Applied,
    Product,
    Sum,
    Term,
    applied,
    product,
    topological,
    total,
)
from chainrule.ops.elementwise import Elementwise


@rule("an axis of length 1 is none", order=-1)
def axis_of_length_1(t: Term) -> Term | None:
    """Of what is computed, element by element, and read by a product."""
    if not isinstance(t, Product):
        return None
    for k, (factor, given) in enumerate(t.factors):
        for axis, index in enumerate(given):
            if t.sizes[index] != 1 or index in t.out:
                continue
            smaller = without_axis(factor, axis)
            if smaller is None:
                continue
            factors = t.factors
            factors[k] = (smaller, given[:axis] + given[axis + 1 :])
            used = {*t.out, *(i for _, g in factors for i in g)}
            sizes = {i: n for i, n in enumerate(t.sizes) if n != 1 or i in used}
            return product(factors, t.out, sizes)
    return None


def in_plain_axes(root: Term) -> Term:
    """A term as it is first written: without the axes of length 1 that only broadcasting needs."""
    while True:
        done: dict[Term, Term] = {}
        for term in topological(root):
            new = term.over(tuple(done[a] for a in term.args)) if term.args else term
            while (smaller := axis_of_length_1(new)) is not None:
                new = smaller
            done[term] = new
        if done[root] is root:
            return root
        root = done[root]


def without_axis(t: Term, axis: int) -> Term | None:
    """A term without an axis of length 1; None for one that is given with it."""
    shape = t.shape[:axis] + t.shape[axis + 1 :]
    if isinstance(t, Product):
        index = t.out[axis]
        if t.out.count(index) > 1:
            return None
        return product(t.factors, t.out[:axis] + t.out[axis + 1 :], dict(enumerate(t.sizes)))
    if isinstance(t, Sum):
        parts = [without_axis(a, axis) for a in t.args]
        if any(p is None for p in parts):
            return None
        return total([(c, p) for c, p in zip(t.coefficients, parts, strict=True) if p], shape)
    if isinstance(t, Applied) and t.attrs.get("keepdims") and t.attrs.get("axes") == (axis,):
        return applied(t.op, t.operands, {**t.attrs, "keepdims": False}, shape, t.kind)
    if isinstance(t, Applied) and (isinstance(t.op, Elementwise) or called(t, "where")):
        operands: list[Term | None] = []
        for a in t.operands:
            from_end = axis - t.ndim + (a.ndim if a is not None else 0)
            if a is not None and from_end >= 0:
                a = without_axis(a, from_end)
                if a is None:
                    return None
            operands.append(a)
        return applied(t.op, operands, t.attrs, shape, t.kind)
    return None
