"""Rules for sums: sums in sums, zeros, common factors."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from functools import reduce
from math import gcd

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.terms import (
    Indices,
    Number,
    Product,
    Sum,
    Term,
    Variable,
    product,
    scaled,
    total,
)


@rule("collect equal summands")
def collect_equal_summands(t: Term) -> Term | None:
    """a + (b + 2a) = 3a + b."""
    found = _flat(t)
    return None if found is None or found[0] == found[1] else found[2]


@rule("a sum in a sum")
def a_sum_in_a_sum(t: Term) -> Term | None:
    """a + (b + c) = a + b + c."""
    found = _flat(t)
    return None if found is None else found[2]


def _flat(t: Term) -> tuple[int, int, Term] | None:
    """(how many summands it has with those of sums in it, how many are left of them, the sum)."""
    if not isinstance(t, Sum):
        return None
    parts: list[tuple[Number, Term]] = []
    for c, a in t.summands:
        if isinstance(a, Sum) and abs(c) == 1:
            parts += [(c * inner, b) for inner, b in a.summands]
        else:
            parts.append((c, a))
    if len(parts) == len(t.args):
        return None
    new = total(parts, t.shape)
    return len(parts), len(new.args) if isinstance(new, Sum) else 1, new


@rule("a number in front")
def a_number_in_front(t: Term) -> Term | None:
    """2a + 4b = 2 (a + 2b)."""
    if not isinstance(t, Sum) or len(t.args) < 2:
        return None
    if not all(isinstance(c, Fraction) for c in t.coefficients):
        return None
    exact = [Fraction(c) for c in t.coefficients]
    common = Fraction(
        reduce(gcd, (c.numerator for c in exact)),
        reduce(lambda a, b: a * b // gcd(a, b), (c.denominator for c in exact)),
    )
    if all(c < 0 for c in exact):
        common = -common
    if common in (1, -1):
        return None
    return scaled(common, total([(c / common, a) for c, a in t.summands], t.shape))


@rule("a length over itself")
def a_length_over_itself(t: Term) -> Term | None:
    """(c/6) n a = (c/2) a where n = 3: a number that holds 1/n, times n."""
    if not isinstance(t, Sum):
        return None
    parts: list[tuple[Number, Term]] = []
    for c, a in t.summands:
        for factor, given in a.factors if isinstance(a, Product) else ():
            assert isinstance(a, Product)
            if isinstance(factor, Variable) and factor.role == "length" and isinstance(c, Fraction):
                n = int(factor.evaluate({}))
                if c.denominator % n == 0:
                    rest = [f for f in a.factors if f != (factor, given)]
                    c, a = c * n, product(rest, a.out, dict(enumerate(a.sizes)))
                    break
        parts.append((c, a))
    return total(parts, t.shape)


@rule("a common factor")
def a_common_factor(t: Term) -> Term | None:
    """a b + a c = a (b + c), also where the products are of matrices."""
    if not isinstance(t, Sum) or len(t.args) < 2:
        return None
    best: Term | None = None
    uses = Counter(f for a in t.args if isinstance(a, Product) for f in set(a.args))
    tried = set()
    for first in [a for a in t.args if isinstance(a, Product)]:
        for k, (factor, given) in enumerate(first.factors):
            place = factor, tuple(i if i in first.out else None for i in given)
            if uses[factor] < 2 or place in tried:
                continue
            tried.add(place)
            found = _factored(t, first, k)
            if found is not None and found.cost < (best or t).cost:
                best = found
    return best


def _factored(t: Sum, first: Product, k: int) -> Term | None:
    """The sum with the k-th factor of one of its products, and what else can be, in front of all
    summands that have it."""
    with_it: list[tuple[Number, Product, dict[int, int]]] = []
    without: list[tuple[Number, Term]] = []
    for c, a in t.summands:
        renaming = _where_it_is(first, k, a)
        if renaming is None or not isinstance(a, Product):
            without.append((c, a))
        else:
            with_it.append((c, a, renaming))
    if len(with_it) < 2:
        return None
    # All of them in one set of indices: those of the common factors as in `first`.
    start = len(first.sizes)
    sizes = dict(enumerate(first.sizes))
    written: list[tuple[Number, list[tuple[Term, Indices]]]] = []
    for c, a, renaming in with_it:
        names = dict(renaming)
        for i in range(len(a.sizes)):
            if i not in names:
                names[i] = start
                sizes[start] = a.sizes[i]
                start += 1
        written.append((c, [(f, tuple(names[i] for i in g)) for f, g in a.factors]))
    common = [written[0][1][_index_of(written[0][1], first.factors[k])]]
    for factor in written[0][1]:
        if factor not in common and all(factor in factors for _, factors in written[1:]):
            common.append(factor)
    rests = []
    outside = {*first.out, *(i for _, g in common for i in g)}
    face: list[int] = []
    for c, factors in written:
        rest = list(factors)
        for factor in common:
            rest.remove(factor)
        if any(v.role == "direction" for f, _ in rest for v in f.variables):
            return None  # it is to stand in each summand by itself, to be left out there
        rests.append((c, rest))
        face += [i for _, g in rest for i in g if i in outside]
    face = list(dict.fromkeys(face))
    if len(face) > max(2, t.ndim):
        return None  # an array of three axes is no shorter to read
    if any(_falls_apart(rest, face) for _, rest in rests if len(face) > t.ndim):
        return None
    shape = tuple(sizes[i] for i in face)
    parts = []
    for c, rest in rests:
        used = {i for _, g in rest for i in g} | set(face)
        parts.append((c, product(rest, face, {i: sizes[i] for i in used})))
    inside = total(parts, shape)
    every = set(outside) | set(face)
    whole = product([*common, (inside, tuple(face))], first.out, {i: sizes[i] for i in every})
    return total([*without, (Fraction(1), whole)], t.shape)


def _falls_apart(factors: list[tuple[Term, Indices]], face: list[int]) -> bool:
    """Whether a product is one of arrays that share no index, such as u vᵀ."""
    reached = set(face[:1])
    for _ in factors:
        for _, g in factors:
            if reached & set(g):
                reached |= set(g)
    return not set(face) <= reached


def _index_of(factors: list[tuple[Term, Indices]], wanted: tuple[Term, Indices]) -> int:
    return factors.index(wanted)


def _where_it_is(first: Product, k: int, other: Term) -> dict[int, int] | None:
    """How `other`'s indices are called in `first`, if it has the k-th factor in the same place."""
    if not isinstance(other, Product) or other.out != first.out:
        return None
    if any(i not in set().union(*other.indices, other.out) for i in other.summed):
        return None
    outer = set(first.out)
    factor, given = first.factors[k]
    for candidate, theirs in other.factors:
        if candidate is not factor:
            continue
        renaming = {i: i for i in outer}
        fits = True
        for mine, its in zip(given, theirs, strict=True):
            if (mine in outer or its in outer) and mine != its:
                fits = False
            if renaming.setdefault(its, mine) != mine:
                fits = False
        if fits and len(set(renaming.values())) == len(renaming):
            return renaming
    return None
