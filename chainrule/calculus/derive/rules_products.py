"""Rules for products: zeros and ones, products in products, equal factors, sums over nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from chainrule.calculus.derive.reading import count
from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.terms import (
    Applied,
    Product,
    Sum,
    Term,
    coefficient_of,
    is_ones,
    is_zero,
    ones,
    power,
    power_of,
    product,
    scaled,
    total,
    zero,
)


@rule("a factor 0")
def a_factor_0(t: Term) -> Term | None:
    if isinstance(t, Product) and any(is_zero(a) for a in t.args):
        return zero(t.shape)
    return None


@rule("a factor 1")
def a_factor_1(t: Term) -> Term | None:
    """Indices of ones that are dropped are indices of the product still."""
    if not isinstance(t, Product) or not any(is_ones(a) for a in t.args):
        return None
    kept = [f for f in t.factors if not is_ones(f[0])]
    left = product(kept, t.out, dict(enumerate(t.sizes)))
    return a_summed_1(left) or left


@rule("a summed 1 counts the summands")
def a_summed_1(t: Term) -> Term | None:
    """Σ_k a = |k| a where k is not in a."""
    if not isinstance(t, Product):
        return None
    used = set().union(*t.indices, t.out)
    lone = [i for i in t.summed if i not in used]
    if not lone:
        return None
    sizes = {i: n for i, n in enumerate(t.sizes) if i not in lone}
    numbers: list[tuple[Term, tuple[int, ...]]] = [(count(t.sizes[i]), ()) for i in lone]
    return product([*t.factors, *numbers], t.out, sizes)


def _nested(fits: Callable[[Product, Product], bool]) -> Callable[[Term], Term | None]:
    """A rule that writes a product inside of a product as one, for the kinds that fit."""

    def rewrite(t: Term) -> Term | None:
        if not isinstance(t, Product):
            return None
        for k, inner in enumerate(t.args):
            if isinstance(inner, Product) and not is_ones(inner) and fits(t, inner):
                return inlined(t, k)
        return None

    return rewrite


def inlined(t: Product, k: int) -> Term:
    """A product whose k-th factor is one, as one product."""
    inner, places = t.args[k], t.indices[k]
    assert isinstance(inner, Product)
    same: dict[int, int] = {}  # an index of a diagonal is another index of it

    def root(i: int) -> int:
        while i in same:
            i = same[i]
        return i

    outer: dict[int, int] = {}
    for mine, theirs in zip(inner.out, places, strict=True):
        if mine in outer and root(outer[mine]) != root(theirs):
            same[root(theirs)] = root(outer[mine])
        outer.setdefault(mine, theirs)
    sizes = {root(i): n for i, n in enumerate(t.sizes)}
    start = len(t.sizes)
    for i, n in enumerate(inner.sizes):
        if i not in outer:
            outer[i] = start
            sizes[start] = n
            start += 1
    factors = [(f, [root(i) for i in given]) for j, (f, given) in enumerate(t.factors) if j != k]
    factors += [(f, [root(outer[i]) for i in given]) for f, given in inner.factors]
    return product(factors, [root(i) for i in t.out], sizes)


def _is_plain(t: Product) -> bool:
    """Whether it is one factor with its axes in another order."""
    return len(t.args) == 1 and not t.summed and sorted(t.out) == sorted(t.indices[0])


def _broadcasts(t: Product) -> bool:
    """Whether it says the same number again along some axis."""
    return not set(t.out) <= set().union(*t.indices)


rule("the identity matrix changes nothing")(_nested(lambda outer, inner: not inner.args))
rule("the transpose of a transpose")(
    _nested(lambda outer, inner: _is_plain(outer) and _is_plain(inner))
)
rule("the transpose of a product: (AB)ᵀ = BᵀAᵀ")(
    _nested(lambda outer, inner: _is_plain(outer) and not _broadcasts(inner))
)
rule("a sum over a broadcast")(
    _nested(lambda outer, inner: bool(outer.summed) and _broadcasts(inner))
)
rule("a broadcast is read where it is used")(_nested(lambda outer, inner: _broadcasts(inner)))
rule("products are associative")(_nested(lambda outer, inner: True))


@rule("equal factors make a power")
def equal_factors(t: Term) -> Term | None:
    """aᵐ aⁿ = aᵐ⁺ⁿ, element by element; a⁰ = 1."""
    if not isinstance(t, Product):
        return None
    found: dict[tuple[Term, tuple[int, ...]], int | Fraction | float] = {}
    for factor, given in t.factors:
        exponent, base = power_of(factor)
        found[base, given] = found.get((base, given), 0) + exponent
    if len(found) == len(t.args):
        return None
    factors = [
        (ones(base.shape) if e == 0 else power(base, e), given)
        for (base, given), e in found.items()
    ]
    return product(factors, t.out, dict(enumerate(t.sizes)))


@rule("a power of ones")
def a_power_of_ones(t: Term) -> Term | None:
    e, base = power_of(t)
    return power(base, e) if e != 1 and is_ones(base) else None


@rule("multiply out", tentative=True, order=90)
def multiply_out(t: Term) -> Term | None:
    """a (b + c) = a b + a c, for one sum among the factors."""
    return _summands_expanded(t, lambda product: expanded(product, deep=False))


@rule("multiply out", tentative=True, order=91)
def multiply_all_out(t: Term) -> Term | None:
    """The same for every sum among the factors."""
    return _summands_expanded(t, expanded)


def _summands_expanded(t: Term, expand: Callable[[Product], Term | None]) -> Term | None:
    """A product expanded, or every product in a sum."""
    if isinstance(t, Product):
        return expand(t)
    if not isinstance(t, Sum):
        return None
    found = [expand(a) if isinstance(a, Product) else None for a in t.args]
    if all(new is None for new in found):
        return None
    return t.over(tuple(new or a for new, a in zip(found, t.args, strict=True)))


_MOST = 24
"""How many summands a product may be multiplied out into."""


def expanded(
    t: Product, which: Callable[[Term], bool] = lambda a: True, *, deep: bool = True
) -> Term | None:
    """A product with the sums among its factors multiplied out, or with the first of them alone;
    None: it has none, or too many summands would come out."""
    counts = [len(a.args) for a in t.args if isinstance(a, Sum) and a.args and which(a)]
    if math.prod(counts) > _MOST:
        return None
    for k, inner in enumerate(t.args):
        if isinstance(inner, Sum) and len(inner.args) > 1 and which(inner):
            rest = [f for j, f in enumerate(t.factors) if j != k]
            sizes = dict(enumerate(t.sizes))
            parts = []
            for c, a in inner.summands:
                part = product([*rest, (a, t.indices[k])], t.out, sizes)
                coefficient, inside = coefficient_of(part)
                if isinstance(inside, Product):
                    part = scaled(coefficient, _flat(inside, which if deep else _nothing))
                parts.append((c, part))
            return total(parts, t.shape)
    return None


def _nothing(t: Term) -> bool:
    return False


def _flat(t: Product, which: Callable[[Term], bool]) -> Term:
    """Products among the factors written into the product, and these sums multiplied out."""
    for k, inner in enumerate(t.args):
        if isinstance(inner, Product) and not is_ones(inner):
            new = inlined(t, k)
            return _flat(new, which) if isinstance(new, Product) else new
    without_ones = a_factor_1(t)
    if isinstance(without_ones, Product):
        return _flat(without_ones, which)
    return without_ones or expanded(t, which) or t


@rule("merged axes are added up one after the other")
def merged_axes(t: Term) -> Term | None:
    """Σ_r a[r] b[r] over axes that reshaping made one of, in a and in b alike: Σ_i Σ_j."""
    if not isinstance(t, Product):
        return None
    for index in t.summed:
        places = [(k, g.index(index)) for k, g in enumerate(t.indices) if index in g]
        if not places or any(t.indices[k].count(index) > 1 for k, _ in places):
            continue
        splits = [_split(t.args[k], axis) for k, axis in places]
        if splits[0] is None or any(s != splits[0] for s in splits[1:]):
            continue
        sizes = {i: n for i, n in enumerate(t.sizes) if i != index}
        fresh = [len(t.sizes) + k for k in range(len(splits[0]))]
        sizes.update(zip(fresh, splits[0], strict=True))
        factors = list(t.factors)
        for k, axis in places:
            given = t.indices[k]
            factors[k] = t.args[k].args[0], (*given[:axis], *fresh, *given[axis + 1 :])
        return product(factors, t.out, sizes)
    return None


def _split(term: Term, axis: int) -> tuple[int, ...] | None:
    """The axes that a reshape merges into this one, where it changes nothing else."""
    if not (isinstance(term, Applied) and term.op.name == "reshape"):
        return None
    before, after = term.args[0].shape, term.shape
    extra = len(before) - len(after)
    if extra < 1 or before[:axis] != after[:axis]:
        return None
    if before[axis + extra + 1 :] != after[axis + 1 :]:
        return None
    return before[axis : axis + extra + 1]


@rule("a function of a transpose")
def function_of_a_transpose(t: Term) -> Term | None:
    """f(xᵀ) = f(x)ᵀ for what works element by element."""
    from chainrule.ops.elementwise import Elementwise

    if isinstance(t, Applied) and isinstance(t.op, Elementwise) and len(t.args) == 1:
        (inner,) = t.args
        if isinstance(inner, Product) and len(inner.args) == 1 and not inner.summed:
            moved = t.op, [inner.args[0]], t.attrs, inner.args[0].shape, t.kind
            if set(inner.out) == set(inner.indices[0]) and len(set(inner.out)) == len(inner.out):
                from chainrule.calculus.derive.terms import applied

                return inner.over((applied(*moved),))
    return None
