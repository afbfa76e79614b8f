"""Rules for powers of one number in several summands."""

from __future__ import annotations

from fractions import Fraction

from chainrule.calculus.derive.rules import rule
from chainrule.calculus.derive.terms import (
    Number,
    Product,
    Sum,
    Term,
    power,
    power_of,
    product,
    total,
)


@rule("a common denominator: a/s + b/s³ = (a + b/s²)/s", last=True)
def a_common_power(t: Term) -> Term | None:
    """Of a number s."""
    if not isinstance(t, Sum) or len(t.args) < 2 or not isinstance(t.args[0], Product):
        return None
    for factor, given in t.args[0].factors:
        e, base = power_of(factor)
        if given or e >= 0:
            continue
        exponents = [_exponent(a, base) for a in t.args]
        if max(exponents) >= 0 or len(set(exponents)) == 1:
            continue
        least = max(exponents)
        axes = tuple(range(t.ndim))
        summands: list[tuple[Number, Term]] = []
        for c, a in t.summands:
            assert isinstance(a, Product)
            part = _times_power(a, base, -least)
            inner = part.summands if isinstance(part, Sum) else [(Fraction(1), part)]
            summands += [(c * d, b) for d, b in inner]
        inside = total(summands, t.shape)
        return product([(inside, axes), (power(base, least), ())], axes, dict(enumerate(t.shape)))
    return None


def _exponent(t: Term, base: Term) -> Number:
    """The power in which a number is a factor of a product; 0 if it is none."""
    if not isinstance(t, Product):
        return 0
    found = [power_of(a) for a, given in t.factors if not given]
    return next((e for e, b in found if b is base), 0)


def _times_power(t: Product, base: Term, e: Number) -> Term:
    """A product that has a power of a number among its factors, times another power of it."""
    k = next(k for k, (a, given) in enumerate(t.factors) if not given and power_of(a)[1] is base)
    factors = t.factors
    whole = power_of(factors.pop(k)[0])[0] + e
    if whole:
        factors.append((power(base, whole), ()))
    return product(factors, t.out, dict(enumerate(t.sizes)))


@rule("a power of a power")
def a_power_of_a_power(t: Term) -> Term | None:
    """(aᵐ)ⁿ = aᵐⁿ for whole n."""
    outer, base = power_of(t)
    inner, a = power_of(base)
    whole = Fraction(outer).denominator == 1
    return power(a, inner * outer) if outer != 1 and inner != 1 and whole else None
