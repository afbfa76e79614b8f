"""A linear map v ↦ A v as the array A: v is left out of the product that it stands in."""

from __future__ import annotations

from fractions import Fraction

from chainrule.calculus.derive.reading import elementwise_product, reshaped, summed
from chainrule.calculus.derive.rules_products import expanded
from chainrule.calculus.derive.terms import (
    Applied,
    Product,
    Sum,
    Term,
    Variable,
    contains,
    ones,
    product,
    total,
    zero,
)


class NotAProductError(Exception):
    """v stands in an operation that is not written as a product."""

    def __init__(self, term: Term) -> None:
        self.term = term


def multiplied_out(term: Term, v: Variable) -> Term:
    """A term in which no sum with v in it is a factor."""
    if isinstance(term, Sum):
        return term.over(tuple(multiplied_out(a, v) for a in term.args))
    if isinstance(term, Product) and any(isinstance(a, Sum) and contains(a, v) for a in term.args):
        new = expanded(term, lambda a: contains(a, v))
        return term if new is None else multiplied_out(new, v)
    return term


def without(term: Term, v: Variable) -> Term:
    """The array A of shape term.shape + v.shape with term = A · v.

    Of a sum it is the sum of the arrays. In a product, Σ_j … v[j] is the array with the index j.
    """
    shape = (*term.shape, *v.shape)
    if not contains(term, v):
        return zero(shape)  # a linear map's summand without v is 0
    if term is v:
        axes = range(v.ndim)
        return product([], (*axes, *axes), dict(enumerate(v.shape)))
    if isinstance(term, Sum):
        return total([(c, without(a, v)) for c, a in term.summands if contains(a, v)], shape)
    if isinstance(term, Product):
        inside = [k for k, a in enumerate(term.args) if contains(a, v)]
        if len(inside) != 1:
            raise NotAProductError(term)
        k = inside[0]
        rest = [f for j, f in enumerate(term.factors) if j != k]
        sizes = dict(enumerate(term.sizes))
        if term.args[k] is v:
            return product(rest, (*term.out, *term.indices[k]), sizes)
        fresh = range(len(sizes), len(sizes) + v.ndim)
        sizes.update(zip(fresh, v.shape, strict=True))
        inner = without(term.args[k], v), (*term.indices[k], *fresh)
        return product([*rest, inner], (*term.out, *fresh), sizes)
    if isinstance(term, Applied) and term.op.name == "where":
        return _chosen(term, v)
    if isinstance(term, Applied) and term.op.name == "reshape":
        return reshaped(without(term.args[0], v), shape)
    raise NotAProductError(term)


def _chosen(term: Applied, v: Variable) -> Term:
    """where(c, a, b) = c ⊙ a + (1 − c) ⊙ b."""
    condition, a, b = term.args
    one = Fraction(1)
    parts = []
    for c, inside in ((condition, a), (summed(term.shape, (one, ones(())), (-one, condition)), b)):
        if contains(inside, v):
            parts.append((one, elementwise_product(term.shape, c, inside)))
    return without(total(parts, term.shape), v)
