"""Rules for functions that stand for one another."""

from __future__ import annotations

import math
from fractions import Fraction

from chainrule.calculus.derive.rules import rule, tidied
from chainrule.calculus.derive.rules_products import expanded
from chainrule.calculus.derive.rules_softmax import called
from chainrule.calculus.derive.terms import (
    Number,
    Product,
    Sum,
    Term,
    applied,
    coefficient_of,
    is_ones,
    ones,
    power,
    power_of,
    product,
    scaled,
    total,
)
from chainrule.ops.operation import registry


def _with_one(t: Term, name: str) -> tuple[Number, Term, list[tuple[Number, Term]]] | None:
    """(c, f, the rest) of a sum c + c · f + …, f an operation of this name."""
    if not isinstance(t, Sum):
        return None
    one = next((s for s in t.summands if is_ones(s[1])), None)
    if one is None:
        return None
    for c, f in t.summands:
        if called(f, name) and c == one[0]:
            return c, f, [s for s in t.summands if s[1] not in (one[1], f)]
    return None


@rule("1 + expm1(a) = exp(a)")
def one_and_expm1(t: Term) -> Term | None:
    found = _with_one(t, "expm1")
    if found is None:
        return None
    c, f, rest = found
    return total([*rest, (c, applied(registry["exp"], f.args, {}, f.shape))], t.shape)


@rule("½(1 + erf(a/√2)) = Φ(a), the normal distribution")
def normal_distribution(t: Term) -> Term | None:
    found = _with_one(t, "erf")
    if found is None:
        return None
    c, f, rest = found
    share, a = coefficient_of(f.args[0])
    a = scaled(Fraction(1) if math.isclose(share, math.sqrt(0.5)) else share * math.sqrt(2), a)
    return total([*rest, (2 * c, applied(registry["ndtr"], [a], {}, f.shape))], t.shape)


@rule("numbers in front of sums: a(b + c) = ab + ac")
def numbers_into_sums(t: Term) -> Term | None:
    """Where summands come together then."""
    if not isinstance(t, Sum) or len(t.args) < 2:
        return None
    if not any(isinstance(a, Sum) and abs(c) != 1 for c, a in t.summands):
        return None
    parts: list[tuple[Number, Term]] = []
    for c, a in t.summands:
        parts += [(c * d, b) for d, b in a.summands] if isinstance(a, Sum) else [(c, a)]
    return total(parts, t.shape)


@rule("a number in front", last=True)
def one_number_in_front(t: Term) -> Term | None:
    """2a − 2b = 2 (a − b), ½a + ½b = ½ (a + b), and −a − 2b = −(a + 2b)."""
    if not isinstance(t, Sum) or len(t.args) < 2:
        return None
    sizes: set[Number] = {max(c, -c) for c in t.coefficients}
    size = sizes.pop() if len(sizes) == 1 else Fraction(1)
    size = -size if max(t.coefficients) < 0 else size
    if size == 1:
        return None
    return scaled(size, total([(c / size, a) for c, a in t.summands], t.shape))


@rule("a − ab = a(1 − b)", last=True)
def one_minus(t: Term) -> Term | None:
    """As in σ(1 − σ), (1 − h²)W and (1 − α)w: what is left of a."""
    if not isinstance(t, Sum):
        return None
    for c, whole in t.summands:
        for d, part in t.summands:
            if d != -c or is_ones(whole) or not isinstance(part, Product):
                continue
            rest = _beside(whole, part)
            if rest is not None:
                kept = [s for s in t.summands if s[1] not in (whole, part)]
                return total([*kept, (c, rest)], t.shape)
    return None


def _beside(whole: Term, part: Product) -> Term | None:
    """a(1 − b) for a and a b, where b says something to each element of a: along one axis, or a
    number."""
    wanted = _factors(whole)
    if wanted is None or part.summed or set(part.out) != set(wanted[1]):
        return None
    factors, out = wanted
    found: list[tuple[Term, tuple[int, ...]]] = []
    rest = part.factors
    for factor, given in factors:
        places = tuple(part.out[out.index(i)] for i in given)
        e, base = power_of(factor)
        match = next((f for f in rest if f[1] == places and power_of(f[0])[1] is base), None)
        if match is None or power_of(match[0])[0] < e:
            return None
        rest.remove(match)
        if power_of(match[0])[0] > e:
            rest.append((power(base, power_of(match[0])[0] - e), places))
        found.append((factor, places))
    face = tuple(dict.fromkeys(i for _, g in rest for i in g))
    if not rest or len(face) > 1:
        return None
    sizes = dict(enumerate(part.sizes))
    shape = tuple(sizes[i] for i in face)
    b = product(rest, face, {i: sizes[i] for i in face})
    inside = total([(Fraction(1), ones(shape)), (Fraction(-1), b)], shape)
    return product([*found, (inside, face)], part.out, sizes)


def _factors(t: Term) -> tuple[list[tuple[Term, tuple[int, ...]]], tuple[int, ...]] | None:
    """(the factors of a term, its indices); a term that is no product is its only factor."""
    if isinstance(t, Product):
        return None if t.summed else (t.factors, t.out)
    axes = tuple(range(t.ndim))
    return [(t, axes)], axes


@rule("a common denominator: a/s² + b/s = (a + bs)/s²")
def common_denominator(t: Term) -> Term | None:
    """Where the numerators come together."""
    if not isinstance(t, Sum) or len(t.args) != 2:
        return None
    (first, second) = (_factors(a) for a in t.args)
    if first is None or second is None:
        return None
    for bottom, places in first[0]:
        p, s = power_of(bottom)
        other = next((f for f in second[0] if power_of(f[0])[1] is s and f[1] == places), None)
        if other is None or not isinstance(s, Sum) or not set(places) <= set(first[1]):
            continue
        q = power_of(other[0])[0]
        if first[1] != second[1] or p == q or p >= 0 or q >= 0:
            continue
        sizes = dict(zip(first[1], t.shape, strict=True))
        above = []
        for c, (factors, out), mine, e in zip(
            t.coefficients, (first, second), (bottom, other[0]), (p, q), strict=True
        ):
            rest = list(factors)
            rest.remove((mine, places))
            rest.append((power(s, e - min(p, q)), places))
            top = product(rest, out, sizes)
            above.append((c, (expanded(top) if isinstance(top, Product) else None) or top))
        numerator = tidied(total(above, t.shape))
        return product([(numerator, first[1]), (power(s, min(p, q)), places)], first[1], sizes)
    return None
